"""Indexing as NumPy and PyTorch have it: integers, slices, None, ..., bool masks and integer arrays."""

import numpy as np

from ..function import Function, is_grad_enabled
from ..tensor import Tensor
from ._common import astype


class GetItem(Function):
    """y = x[index], one step after the other: the gradient goes back to where the elements were taken from."""

    is_view = True

    @staticmethod
    def forward(ctx, x, steps):
        ctx.shape, ctx.steps = x.shape, steps
        return _take(x, steps)

    @staticmethod
    def backward(ctx, grad):
        return AddAt.apply(grad, ctx.steps, ctx.shape)


class AddAt(Function):
    """The adjoint of GetItem: zeros with x added at the index; an element taken twice receives both gradients."""

    @staticmethod
    def forward(ctx, x, steps, shape):
        ctx.steps = steps
        y = np.zeros(shape, x.dtype)
        if is_basic(steps[-1]):
            _take(y, steps)[...] = x
        else:
            np.add.at(_take(y, steps[:-1]), steps[-1], x)
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
            ctx.last = _last_writes(x.shape, steps)
        return y

    @staticmethod
    def backward(ctx, grad):
        from .arithmetic import where

        replaced = np.zeros(grad.shape, bool)
        _put(replaced, ctx.steps, True)
        to_value = GetItem.apply(grad, ctx.steps)
        if not is_basic(ctx.steps[-1]):
            to_value = where(Tensor(ctx.last), to_value, 0.0)
        return where(Tensor(replaced), 0.0, grad), None, _sum_to(to_value, ctx.shape)


def _take(x, steps):
    for index in steps:
        y = x[index]
        x = y if isinstance(y, np.ndarray) else x[(*index, ...)]  # one element: a 0-d view, not a number
    return x


def _put(x, steps, value):
    _take(x, steps[:-1])[steps[-1]] = value


def _sum_to(gradient, shape):
    """Un-broadcast, also where the value had more leading axes of extent 1 than the place it was written to."""
    from ._common import unbroadcast
    from .shape import reshape

    core = shape[max(0, len(shape) - gradient.ndim) :]
    return reshape(unbroadcast(gradient, core), shape)


def _last_writes(shape, steps):
    """For each element that an index selects: whether no later one selects the same place."""
    places = _take(np.arange(int(np.prod(shape, dtype=np.int64))).reshape(shape), steps)
    writer = np.zeros(int(np.prod(shape, dtype=np.int64)), np.int64)
    order = np.arange(places.size)
    writer[places.ravel()] = order
    return (writer[places.ravel()] == order).reshape(places.shape)


def is_basic(index):
    """Whether the index selects each element at most once as a view: integers, slices, None and ... only."""
    return not any(isinstance(p, np.ndarray) for p in index)


def index_steps(index, ndim):
    """An index into `ndim` axes as one or two tuples of plain parts, with x[index] = x[first][second].

    As in PyTorch integers are taken before arrays; NumPy treats them as arrays, which may move axes to the front. So
    may an ellipsis between arrays, also where it stands for no axis: then it is left out, as PyTorch does.
    """
    parts = [_part(p) for p in (index if isinstance(index, tuple) else (index,))]
    if sum(map(_axes_of, parts)) == ndim:
        parts = [p for p in parts if p is not ...]
    if is_basic(parts) or not any(isinstance(p, int) for p in parts):
        return (tuple(parts),)
    first, second = [], []
    for part in parts:
        if isinstance(part, np.ndarray):
            first += [slice(None)] * _axes_of(part)
            second.append(part)
        else:
            first.append(part)
            second += [] if isinstance(part, int) else [...] if part is ... else [slice(None)]
    return tuple(first), tuple(second)


def _axes_of(part):
    """How many axes of the input a part of an index stands for; an ellipsis takes what is left."""
    if isinstance(part, np.ndarray) and part.dtype == np.bool_:
        return part.ndim
    return 0 if part is None or part is ... else 1


def _part(part):
    """A part of an index, with arrays in place of Tensors and lists, and integers in place of arrays of one."""
    if isinstance(part, Tensor):
        part = part._data
    elif isinstance(part, bool):
        part = np.array(part)  # a mask without axes
    elif isinstance(part, list | range):
        part = np.array([_part(p) for p in part]) if part else np.zeros(0, np.int64)
    if isinstance(part, np.ndarray | np.generic):
        if part.dtype.kind not in "biu":
            raise TypeError(f"an index must be integer or bool, got {part.dtype}")
        return (
            int(part) if part.ndim == 0 and part.dtype != np.bool_ else np.array(part)
        )  # backward needs it as it is now
    if isinstance(part, slice):
        try:
            part.indices(0)
        except (TypeError, ValueError) as error:
            raise type(error)(f"an index must be a slice of integers whose step is not 0, got {part!r}") from error
    elif not (part is None or part is ... or isinstance(part, int)):
        raise TypeError(f"an index must be an integer, a slice, None, ... or an array, got {part!r}")
    return part


def getitem(input, index):
    """input[index]. Integers and slices give a view, arrays a copy.

    Raises:
        IndexError: an index out of range, or more indices than dimensions. TypeError: an index of another type.
    """
    steps = index_steps(index, input.ndim)
    try:
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
    steps, value = index_steps(index, input.ndim), value_for(name, input, value)
    try:
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
            value = Tensor(np.asarray(value, input.dtype if isinstance(value, int) else None))
        except (TypeError, ValueError) as error:
            raise type(error)(f"{name}: {error}") from None
        except OverflowError as error:
            raise ValueError(f"{name}: {error}") from None
    if value.dtype.kind == "c" and input.dtype.kind != "c":
        raise TypeError(f"{name}: {value.dtype} cannot be stored in a Tensor of {input.dtype}")
    return astype(value, input.dtype)


def _misfit(input, index, error):
    return IndexError(f"index {index!r} does not fit shape {input.shape}: {error}")
