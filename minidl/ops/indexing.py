"""Indexing as NumPy and PyTorch have it: integers, slices, None, ..., bool masks and integer arrays."""

import numpy as np

from ..cuda import apart, beside, device_of, is_array, may_look, on_gpu
from ..function import Function, is_grad_enabled
from ..kernels import COMPILED, contiguous, copy_into, full
from ..kernels import add_at as kernel
from ..kernels._cuda import named_errors
from ..tensor import Tensor
from ._common import astype

_HOST = np.zeros(0)  # what numbers in lists are gathered like


class GetItem(Function):
    """y = x[index], one step after the other: the gradient goes back to where the elements were taken from."""

    is_view = True

    @staticmethod
    def forward(ctx, x, steps):
        ctx.shape, ctx.strides, ctx.steps = x.shape, x.strides, steps
        return _take(x, steps)

    @staticmethod
    def backward(ctx, grad):
        return AddAt.apply(grad, ctx.steps, ctx.shape, ctx.strides)


class AddAt(Function):
    """The adjoint of GetItem: zeros with x added at the index; an element taken twice receives both gradients.

    The zeros lie as what was indexed: with axes in another order, sums with other gradients take several times as long.
    """

    @staticmethod
    def forward(ctx, x, steps, shape, strides=None):
        ctx.steps = steps
        y = full(shape, 0, x.dtype, x, strides if is_basic(steps[-1]) else None)
        if is_basic(steps[-1]):
            copy_into(_take(y, steps), x)
        elif _are_rows(steps, x, y):
            places = steps[0][0].reshape(-1).astype(np.int64) % len(y)  # a negative one counts from the end
            kernel.forward(places, contiguous(x.reshape(places.size, -1)), y.reshape(len(y), -1))
        elif isinstance(y, np.ndarray):
            np.add.at(_take(y, steps[:-1]), steps[-1], x)
        else:
            _add_in_order(y, steps, x)
        return y

    @staticmethod
    def backward(ctx, grad):
        return GetItem.apply(grad, ctx.steps)


class SetItem(Function):
    """y = x but for y[index] = value. Where an index is repeated the last value stands and alone has a gradient."""

    @staticmethod
    def forward(ctx, x, steps, value):
        y = x.copy(order="K")
        _put(y, steps, value)
        ctx.steps, ctx.shape = steps, value.shape
        if not is_basic(steps[-1]):
            ctx.last = _last_writes(x, steps)
        return y

    @staticmethod
    def backward(ctx, grad):
        from .arithmetic import where

        replaced = np.zeros(grad.shape, bool, like=grad._data)
        _put(replaced, ctx.steps, True)
        to_value = GetItem.apply(grad, ctx.steps)
        if not is_basic(ctx.steps[-1]):
            to_value = where(Tensor(ctx.last), to_value, 0.0)
        return where(Tensor(replaced), 0.0, grad), None, _sum_to(to_value, ctx.shape)


def _take(x, steps):
    for index in steps:
        y = x[index]
        x = x[(*index, ...)] if isinstance(y, np.generic) else y  # one element: a 0-d view, not a number
    return x


def _put(x, steps, value):
    """x[steps] = value. Of values that meet in one place the last stands: NumPy's rule, but on a GPU any might."""
    if isinstance(x, np.ndarray) or is_basic(steps[-1]) or not isinstance(value, type(x)):
        _take(x, steps[:-1])[steps[-1]] = value
        return
    places = _places(x, steps)
    last = _last_writes(x, steps)
    flat = x.reshape(-1)
    flat[places[last]] = np.broadcast_to(value, places.shape)[last]
    if not np.may_share_memory(flat, x):
        x[...] = flat.reshape(x.shape)


def _are_rows(steps, x, y):
    """Whether x is added to rows of y that one array of integers names: the gradient of a table, on a CPU."""
    (index, *others), whole = steps[0], isinstance(y, np.ndarray) and y.flags.c_contiguous and y.dtype in COMPILED
    return len(steps) == 1 and not others and whole and x.size > 0 and y.ndim > 1 and index.dtype.kind in "iu"


def _add_in_order(y, steps, x):
    """np.add.at on a GPU, in the order of x."""
    places, x, total = _places(y, steps).reshape(-1), x.reshape(-1), y.reshape(-1)
    if y.dtype.kind == "c":
        for part in ("real", "imag"):
            sums = np.zeros(y.size, x.real.dtype, like=y)
            kernel.forward(places, contiguous(getattr(x, part)), sums)
            total += sums if part == "real" else 1j * sums
    elif y.dtype.kind == "f":
        kernel.forward(places, contiguous(x), total)
    else:  # the order makes no difference, and CuPy adds uint64, in which negative numbers wrap around to themselves
        sums = np.zeros(y.size, np.uint64, like=y)
        np.add.at(sums, places, x.astype(np.int64).view(np.uint64))
        total += sums.view(np.int64).astype(y.dtype)


def _sum_to(gradient, shape):
    """Un-broadcast, also where the value had more leading axes of extent 1 than the place it was written to."""
    from ._common import unbroadcast
    from .shape import reshape

    core = shape[max(0, len(shape) - gradient.ndim) :]
    return reshape(unbroadcast(gradient, core), shape)


def _places(x, steps):
    """The number of each element that an index into x selects, in row-major order of x."""
    return _take(np.arange(x.size, like=x).reshape(x.shape), steps)


def _last_writes(x, steps):
    """For each element that an index into x selects: whether no later one selects the same place."""
    places = _places(x, steps)
    flat, order = places.reshape(-1), np.arange(places.size, like=x).astype(np.uint64)
    writer = np.zeros(x.size, np.uint64, like=x)
    np.maximum.at(writer, flat, order)
    return (writer[flat] == order).reshape(places.shape)


def _check_bounds(x, steps):
    """Raise IndexError where an array of integers in an index is out of range: on a GPU it would wrap around."""
    if not on_gpu(x) or is_basic(steps[-1]) or not may_look(x):
        return
    x, index, axis = _take(x, steps[:-1]), steps[-1], 0
    for part in index:
        if part is ...:
            axis += x.ndim - sum(map(_axes_of, index))
        elif hasattr(part, "dtype") and part.dtype != np.bool_ and part.size:
            extent = x.shape[axis]
            with named_errors():
                ends = int(part.min()), int(part.max())
            for number in ends:
                if not -extent <= number < extent:
                    raise IndexError(f"index {number} is out of bounds for axis {axis} with size {extent}")
        axis += _axes_of(part)


def is_basic(index):
    """Whether the index selects each element at most once as a view: integers, slices, None and ... only."""
    return not any(hasattr(p, "dtype") for p in index)


def index_steps(index, x):
    """An index into x, an array or Tensor, as one or two tuples of plain parts, with x[index] = x[first][second].

    As in PyTorch integers are taken before arrays; NumPy treats them as arrays, which may move axes to the front. So
    may an ellipsis between arrays, also where it stands for no axis: then it is left out, as PyTorch does.
    """
    like = x._data if isinstance(x, Tensor) else x
    parts = [_part(p, like) for p in (index if isinstance(index, tuple) else (index,))]
    if sum(map(_axes_of, parts)) == like.ndim:
        parts = [p for p in parts if p is not ...]
    if is_basic(parts) or not any(isinstance(p, int) for p in parts):
        return (tuple(parts),)
    first, second = [], []
    for part in parts:
        if hasattr(part, "dtype"):
            first += [slice(None)] * _axes_of(part)
            second.append(part)
        else:
            first.append(part)
            second += [] if isinstance(part, int) else [...] if part is ... else [slice(None)]
    return tuple(first), tuple(second)


def _axes_of(part):
    """How many axes of the input a part of an index stands for; an ellipsis takes what is left."""
    if hasattr(part, "dtype") and part.dtype == np.bool_:
        return part.ndim
    return 0 if part is None or part is ... else 1


def _part(part, like):
    """A part of an index, with arrays in place of Tensors and lists, and integers in place of arrays of one.

    What is no Tensor goes to the device of the array `like`.
    """
    if type(part) is int or part is None or part is ...:
        return part
    if isinstance(part, slice):
        try:
            part.indices(0)
        except (TypeError, ValueError) as error:
            raise type(error)(f"an index must be a slice of integers whose step is not 0, got {part!r}") from error
        return part
    data = part._data if isinstance(part, Tensor) else part
    if apart(data, like) and (data is not part or on_gpu(data)):
        raise RuntimeError(f"an index is on {device_of(data)}, what it indexes on {device_of(like)}")
    if isinstance(part, Tensor):
        part = part._data
    elif isinstance(part, bool):
        part = np.array(part)  # a mask without axes
    elif isinstance(part, list | range):
        part = np.array([_part(p, _HOST) for p in part]) if part else np.zeros(0, np.int64)
    if is_array(part):
        if part.dtype.kind not in "biu":
            raise TypeError(f"an index must be integer or bool, got {part.dtype}")
        if part.ndim == 0 and part.dtype != np.bool_:
            return int(part)
        return np.array(beside(part, like), like=like)  # a copy: backward needs it as it is now
    if not isinstance(part, int):
        raise TypeError(f"an index must be an integer, a slice, None, ... or an array, got {part!r}")
    return part


def getitem(input, index):
    """input[index]. Integers and slices give a view, arrays a copy.

    Raises:
        IndexError: an index out of range, or more indices than dimensions. TypeError: an index of another type.
    """
    steps = index_steps(index, input)
    try:
        _check_bounds(input._data, steps)
        return GetItem.apply(input, steps)
    except IndexError as error:
        raise _misfit(input, index, error) from None


def setitem(input, index, value):
    """input[index] = value, in place; the value is broadcast and converted.

    Raises:
        IndexError: an index out of range, or more indices than dimensions. ValueError: a value that does not fit.
        TypeError: an index or a value of another type. RuntimeError: as for every operation in place.
    """
    assign("setitem", input, index, value)


def assign(name, input, index, value):
    """input[index] = value on behalf of the operation `name`; returns input."""
    steps, value = index_steps(index, input), value_for(name, input, value)
    try:
        _check_bounds(input._data, steps)
        if is_grad_enabled() and (input.requires_grad or value.requires_grad):
            return input.replace_(SetItem.apply(input, steps, value), name)
        input.check_writable(name)
        _put(input._data, steps, value._data)
    except IndexError as error:
        raise _misfit(input, index, error) from None
    except ValueError:
        where = _take(input._data, steps).shape
        raise ValueError(f"{name}: a value of shape {value.shape} does not fit a place of shape {where}") from None
    input.mark_changed(name)
    return input


def value_for(name, input, value):
    """What is assigned, as a Tensor of input's dtype."""
    if not isinstance(value, Tensor):
        try:
            value = np.asarray(value, input.dtype if isinstance(value, int) else None)
            value = Tensor(beside(value, input._data))
        except (TypeError, ValueError) as error:
            raise type(error)(f"{name}: {error}") from None
        except OverflowError as error:
            raise ValueError(f"{name}: {error}") from None
    if apart(value._data, input._data):
        raise RuntimeError(f"{name}: the value is on {value.device}, the Tensor on {input.device}")
    if value.dtype.kind == "c" and input.dtype.kind != "c":
        raise TypeError(f"{name}: {value.dtype} cannot be stored in a Tensor of {input.dtype}")
    return astype(value, input.dtype)


def _misfit(input, index, error):
    return IndexError(f"index {index!r} does not fit shape {input.shape}: {error}")
