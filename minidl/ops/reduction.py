"""Reductions over axes: sum, mean, max, min, amax, amin, argmax, argmin.

`dim` is an axis, several, or None for all; with keepdim they stay as axes of extent 1.
"""

import numpy as np

from ..function import Function
from ..tensor import Tensor
from ._common import as_tensor, astype, normalize_axes, normalize_axis


def _kept_shape(shape, axes):
    return tuple(1 if i in axes else n for i, n in enumerate(shape))


class Sum(Function):
    """y = sum of x over axes: every x enters with factor 1, so each receives the gradient of its sum."""

    @staticmethod
    def forward(ctx, x, axes, keepdim):
        ctx.shape, ctx.kept = x.shape, _kept_shape(x.shape, axes)
        return np.sum(x, axis=axes, keepdims=keepdim)

    @staticmethod
    def backward(ctx, grad):
        from .shape import expand, reshape

        return expand(reshape(grad, ctx.kept), ctx.shape)


class Extremum(Function):
    """y = the greatest (or least) x over axes: equals share the gradient evenly, as PyTorch's amax and amin."""

    @staticmethod
    def forward(ctx, x, axes, keepdim, reduce):
        ctx.kept = _kept_shape(x.shape, axes)
        y = reduce(x, axis=axes, keepdims=keepdim)
        with np.errstate(invalid="ignore"):
            best = np.reshape(y, ctx.kept)
            ctx.chosen = (x == best) | (np.isnan(x) & np.isnan(best))
        ctx.axes = axes
        return y

    @staticmethod
    def backward(ctx, grad):
        from .shape import reshape

        share = ctx.chosen / ctx.chosen.sum(axis=ctx.axes, keepdims=True)
        return reshape(grad, ctx.kept) * Tensor(share.astype(grad.dtype))


class Pick(Function):
    """y = the elements of x at one index along an axis: they alone receive the gradient."""

    @staticmethod
    def forward(ctx, x, index, axis):
        ctx.shape, ctx.axis, ctx.index = x.shape, axis, index
        return np.take_along_axis(x, index, axis)

    @staticmethod
    def backward(ctx, grad):
        return Place.apply(grad, ctx.index, ctx.axis, ctx.shape)


class Place(Function):
    """The adjoint of Pick: zeros, and the elements of x at the index."""

    @staticmethod
    def forward(ctx, x, index, axis, shape):
        ctx.axis, ctx.index = axis, index
        y = np.zeros(shape, x.dtype)
        np.put_along_axis(y, index, x, axis)
        return y

    @staticmethod
    def backward(ctx, grad):
        return Pick.apply(grad, ctx.index, ctx.axis)


def sum(input, dim=None, keepdim=False, dtype=None):
    """The sum over `dim`; integers and bools are summed as int64."""
    input = as_tensor("sum", input)
    if dtype is not None:
        input = astype(input, dtype)
    elif input.dtype.kind in "biu":
        input = astype(input, np.int64)
    return Sum.apply(input, _axes("sum", dim, input.ndim), bool(keepdim))


def mean(input, dim=None, keepdim=False):
    """The mean over `dim`: NaN over no elements.

    Raises:
        TypeError: input is not floating-point.
    """
    input = as_tensor("mean", input)
    if input.dtype.kind not in "fc":
        raise TypeError(f"mean: a floating-point Tensor is needed, got {input.dtype}; convert it with float()")
    axes = _axes("mean", dim, input.ndim)
    count = int(np.prod([input.shape[a] for a in axes], dtype=np.int64)) if input.ndim else 1
    total = Sum.apply(input, axes, bool(keepdim))
    return total / count if count else total * float("nan")


def _axes(name, dim, ndim):
    """As PyTorch: an empty sequence means all axes; a 0-d Tensor may be reduced over axis 0 or -1."""
    if isinstance(dim, tuple | list) and not dim:
        dim = None
    axes = normalize_axes(name, dim, ndim)
    return axes if ndim else ()


def _ordered(name, input):
    input = as_tensor(name, input)
    if input.dtype.kind == "c":
        raise TypeError(f"{name}: complex numbers have no order, got {input.dtype}")
    return input


def _extremum(name, input, dim, keepdim, reduce):
    input = _ordered(name, input)
    axes = _axes(name, dim, input.ndim)
    if any(input.shape[a] == 0 for a in axes):
        raise ValueError(f"{name}: no element to choose from, the shape is {input.shape} and dim is {dim}")
    return Extremum.apply(input, axes, bool(keepdim), reduce)


def amax(input, dim=None, keepdim=False):
    """The greatest element over `dim`; equal ones share the gradient evenly. NaN wins."""
    return _extremum("amax", input, dim, keepdim, np.max)


def amin(input, dim=None, keepdim=False):
    """The least element over `dim`; equal ones share the gradient evenly. NaN wins."""
    return _extremum("amin", input, dim, keepdim, np.min)


def argmax(input, dim=None, keepdim=False):
    """The index of the greatest element along `dim` (of the flattened Tensor if None): int64, the first of equals."""
    return _arg("argmax", input, dim, keepdim, np.argmax)


def argmin(input, dim=None, keepdim=False):
    """The index of the least element along `dim` (of the flattened Tensor if None): int64, the first of equals."""
    return _arg("argmin", input, dim, keepdim, np.argmin)


def _arg(name, input, dim, keepdim, find):
    input = _ordered(name, input)
    axis = None if dim is None else normalize_axis(name, dim, input.ndim)
    if input._data.size == 0 and (axis is None or input.shape[axis] == 0):
        raise ValueError(f"{name}: no element to choose from, the shape is {input.shape} and dim is {dim}")
    if input.ndim == 0:
        return Tensor(np.zeros((), np.int64))
    return Tensor(np.asarray(find(input._data, axis=axis, keepdims=bool(keepdim)), np.int64))


def _extremum_along(name, input, dim, keepdim, find, whole):
    if dim is None:
        return whole(input)
    input = as_tensor(name, input)
    from .shape import reshape

    indices = _arg(name, input, dim, True, find)
    if input.ndim == 0:
        return reshape(input, ()), indices
    axis = normalize_axis(name, dim, input.ndim)
    values = Pick.apply(input, indices._data, axis)
    if not keepdim:
        shape = input.shape[:axis] + input.shape[axis + 1 :]
        values, indices = reshape(values, shape), reshape(indices, shape)
    return values, indices


def max(input, dim=None, keepdim=False):
    """The greatest element; with `dim` a pair (values, indices) along that axis, the first of equals taken."""
    return _extremum_along("max", input, dim, keepdim, np.argmax, amax)


def min(input, dim=None, keepdim=False):
    """The least element; with `dim` a pair (values, indices) along that axis, the first of equals taken."""
    return _extremum_along("min", input, dim, keepdim, np.argmin, amin)
