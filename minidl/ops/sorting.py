"""Order along an axis: sort, argsort, topk, median. NaN counts as greater than any number, as in PyTorch."""

import numpy as np

from ..kernels import contiguous
from ..tensor import Tensor
from ._common import as_tensor, constant, normalize_axis
from .reduction import Pick
from .shape import reshape


def _order(x, axis, descending):
    """Indices that sort along an axis, equals in the order in which they stand."""
    if not descending:
        return np.argsort(x, axis, kind="stable")
    last = x.shape[axis] - 1
    return np.flip(last - np.argsort(np.flip(x, axis), axis, kind="stable"), axis)


def _checked(name, input, dim):
    """The Tensor, with an axis at least, and that axis."""
    input = as_tensor(name, input)
    if input.dtype.kind == "c":
        raise TypeError(f"{name}: complex numbers have no order, got {input.dtype}")
    axis = normalize_axis(name, dim, input.ndim)
    return (input if input.ndim else reshape(input, 1)), axis, input.shape


def sort(input, dim=-1, descending=False, stable=False):
    """The pair (values, indices) of the elements in order along `dim`. Always stable: equals keep their order.

    Raises:
        TypeError: input is complex.
    """
    x, axis, shape = _checked("sort", input, dim)
    indices = contiguous(_order(x._data, axis, descending))
    return reshape(Pick.apply(x, indices, axis), shape), Tensor(indices.reshape(shape))


def argsort(input, dim=-1, descending=False, stable=False):
    """The indices that sort the elements along `dim`: int64. Always stable: equals keep their order.

    Raises:
        TypeError: input is complex.
    """
    x, axis, shape = _checked("argsort", input, dim)
    return Tensor(contiguous(_order(x._data, axis, descending)).reshape(shape))


def topk(input, k, dim=-1, largest=True, sorted=True):
    """The pair (values, indices) of the k greatest (or least) elements along `dim`, in order; the first of equals.

    Raises:
        ValueError: there are fewer than k elements. TypeError: input is complex, or k no integer.
    """
    x, axis, shape = _checked("topk", input, dim)
    if not isinstance(k, int | np.integer) or isinstance(k, bool):
        raise TypeError(f"topk: k must be an integer, got {k!r}")
    if not 0 <= k <= x.shape[axis]:
        raise ValueError(f"topk: k (={k}) must be from 0 to the number of elements along dim {dim}, {x.shape[axis]}")
    order = _order(x._data, axis, largest)
    indices = contiguous(order[(slice(None),) * axis + (slice(k),)])
    values = Pick.apply(x, indices, axis)
    return (values, Tensor(indices)) if shape or not k else (reshape(values, ()), Tensor(indices.reshape(())))


def median(input, dim=None, keepdim=False):
    """The middle element in order, the lower of two; NaN if there is one. With `dim` the pair (values, indices).

    Raises:
        ValueError: no elements along `dim`. TypeError: input is complex.
    """
    if dim is None:
        x, axis, _ = _checked("median", reshape(as_tensor("median", input), -1), 0)
        if not x.numel():
            return constant(np.nan, x._data)
    else:
        x, axis, shape = _checked("median", input, dim)
    count = x.shape[axis]
    if not count:
        raise ValueError(f"median: no element to choose from, the shape is {shape} and dim is {dim}")
    order = _order(x._data, axis, False)
    middle = order[(slice(None),) * axis + (slice((count - 1) // 2, (count + 1) // 2),)]
    if x.dtype.kind == "f":
        nan = np.isnan(x._data)
        first = nan.argmax(axis=axis, keepdims=True)
        middle = np.where(nan.any(axis=axis, keepdims=True), first, middle)
    values = Pick.apply(x, middle, axis)
    if dim is None:
        return reshape(values, ())
    kept = shape if not shape else values.shape if keepdim else shape[:axis] + shape[axis + 1 :]
    return reshape(values, kept), Tensor(middle.reshape(kept))
