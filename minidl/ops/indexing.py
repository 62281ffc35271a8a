"""Indexing as NumPy and PyTorch have it: integers, slices, None, ..., bool masks and integer arrays."""

import numpy as np

from ..function import Function
from ..tensor import Tensor
from ._common import as_tensor


class GetItem(Function):
    """y = x[index]: the gradient goes back to where the elements were taken from."""

    @staticmethod
    def forward(ctx, x, index):
        ctx.shape, ctx.index = x.shape, index
        return x[index]

    @staticmethod
    def backward(ctx, grad):
        return AddAt.apply(grad, ctx.index, ctx.shape)


class AddAt(Function):
    """The adjoint of GetItem: zeros with x added at the index; an element that was taken twice receives both gradients."""

    @staticmethod
    def forward(ctx, x, index, shape):
        ctx.index = index
        y = np.zeros(shape, x.dtype)
        if is_basic(index):
            y[index] = x
        else:
            np.add.at(y, index, x)
        return y

    @staticmethod
    def backward(ctx, grad):
        return GetItem.apply(grad, ctx.index)


class SetItem(Function):
    """y = x but for y[index] = value. Where an index is repeated the last value stands and alone receives the gradient."""

    @staticmethod
    def forward(ctx, x, index, value):
        y = x.copy(order="K")
        y[index] = value
        ctx.index, ctx.shape = index, getattr(value, "shape", ())
        if not is_basic(index):
            ctx.last = _last_writes(x.shape, index)
        return y

    @staticmethod
    def backward(ctx, grad):
        from .arithmetic import where
        from .shape import expand

        replaced = np.zeros(grad.shape, bool)
        replaced[ctx.index] = True
        to_value = GetItem.apply(grad, ctx.index)
        if not is_basic(ctx.index):
            to_value = where(Tensor(ctx.last), to_value, expand(Tensor(np.zeros((), grad.dtype)), to_value.shape))
        return where(Tensor(replaced), 0.0, grad), None, _sum_to(to_value, ctx.shape)


def _sum_to(gradient, shape):
    """Un-broadcast, also where the value had more leading axes of extent 1 than the place it was written to."""
    from ._common import unbroadcast
    from .shape import reshape

    core = shape[max(0, len(shape) - gradient.ndim) :]
    return reshape(unbroadcast(gradient, core), shape)


def _last_writes(shape, index):
    """For each element that an index selects: whether no later one selects the same place."""
    places = np.arange(int(np.prod(shape, dtype=np.int64))).reshape(shape)[index]
    writer = np.zeros(int(np.prod(shape, dtype=np.int64)), np.int64)
    order = np.arange(places.size)
    writer[places.ravel()] = order
    return (writer[places.ravel()] == order).reshape(places.shape)


def is_basic(index):
    """Whether the index selects each element at most once as a view: integers, slices, None and ... only."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(
        p is None or p is Ellipsis or isinstance(p, int | np.integer | slice) and p is not True and p is not False
        for p in parts
    )


def _plain(index):
    """The index with arrays in place of Tensors and lists."""
    if isinstance(index, tuple):
        return tuple(_plain(i) for i in index)
    if isinstance(index, Tensor):
        index = index._data
    if isinstance(index, list):
        index = np.array([_plain(i) for i in index]) if index else np.zeros(0, np.int64)
    if isinstance(index, np.ndarray) and index.dtype.kind not in "biu":
        raise TypeError(f"an index must be integer or bool, got {index.dtype}")
    return index


def getitem(input, index):
    """input[index]. Integers and slices give a view, arrays a copy.

    Raises:
        IndexError: an index out of range, or more indices than dimensions. TypeError: an index of another type.
    """
    index = _plain(index)
    try:
        return GetItem.apply(input, index)
    except IndexError as error:
        raise IndexError(f"index {index!r} does not fit shape {input.shape}: {error}") from None


def setitem(input, index, value):
    """input[index] = value, in place; the value is broadcast and converted."""
    index = _plain(index)
    if not isinstance(value, Tensor):
        value = Tensor(np.asarray(value, input.dtype))
    from .shape import astype

    try:
        result = SetItem.apply(input, index, astype(as_tensor("setitem", value), input.dtype))
    except ValueError:
        where = input._data[index].shape
        raise ValueError(f"setitem: a value of shape {value.shape} does not fit a place of shape {where}") from None
    input.replace_(result, "setitem")
