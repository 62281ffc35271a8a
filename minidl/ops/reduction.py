"""Reductions over axes: sum, nansum, mean, logsumexp, max, min, amax, amin, argmax, argmin, all, any, count_nonzero.

`dim` is an axis, several, or None for all; with keepdim they stay as axes of extent 1.
"""

import math

import numpy as np

from ..function import Function
from ..tensor import Tensor
from ._common import as_floating, as_tensor, astype, kept_shape, normalize_axis, reduced_axes
from .arithmetic import conj, where
from .elementwise import exp
from .extrema import maximum, minimum
from .relu import SMALL
from .rounding import isnan


class Sum(Function):
    """y = sum of x over axes: every x enters with factor 1, so each receives the gradient of its sum."""

    on_arrays = True

    @staticmethod
    def forward(ctx, x, axes, keepdim):
        ctx.shape, ctx.axes = x.shape, axes
        return np.add.reduce(x, axes, x.dtype, None, keepdim)

    @staticmethod
    def backward(ctx, grad):
        return Spread.call(grad, ctx.axes, ctx.shape)


class Spread(Function):
    """The adjoint of Sum: each sum's x to all elements of `shape` that entered it."""

    on_arrays = True

    @staticmethod
    def forward(ctx, x, axes, shape):
        ctx.axes, ctx.kept = axes, x.ndim == len(shape)
        x = x if ctx.kept else x.reshape(kept_shape(shape, axes))
        if x.shape == shape:
            return x
        if not isinstance(x, np.ndarray) or math.prod(shape) > SMALL:
            return np.broadcast_to(x, shape)
        y = np.empty(shape, x.dtype)  # 0.4 us, the view 2.4
        y[...] = x
        return y

    @staticmethod
    def backward(ctx, grad):
        return Sum.call(grad, ctx.axes, ctx.kept)


class Extremum(Function):
    """y = the greatest (or least) x over axes: equals share the gradient evenly, as PyTorch's amax and amin."""

    @staticmethod
    def forward(ctx, x, axes, keepdim, reduce):
        ctx.kept = kept_shape(x.shape, axes)
        if x.size:
            y = reduce(x, axis=axes, keepdims=keepdim)
        else:  # no extrema, as no axis of extent 0 is reduced; CuPy refuses
            shape = ctx.kept if keepdim else [n for axis, n in enumerate(x.shape) if axis not in axes]
            y = np.zeros(shape, x.dtype, like=x)
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


class LogSumExp(Function):
    """y = log(sum of e^x), shifted so that no exponential overflows: dy/dx = e^(x - y)."""

    @staticmethod
    def forward(ctx, x, axes, keepdim):
        ctx.kept = kept_shape(x.shape, axes)
        shift = x.real.max(axis=axes, keepdims=True) if x.size else np.zeros(ctx.kept, x.real.dtype, like=x)
        shift = np.where(np.isfinite(shift), shift, 0)
        with np.errstate(all="ignore"):
            y = np.log(np.exp(x - shift).sum(axis=axes, keepdims=True)) + shift
        y = np.asarray(y if keepdim else np.squeeze(y, axes), like=x)
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx, grad):
        from .shape import reshape

        x, y = ctx.saved_tensors
        return reshape(grad, ctx.kept) * conj(exp(x - reshape(y, ctx.kept)))


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
        y = np.zeros(shape, x.dtype, like=x)
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
    elif input._data.dtype.kind in "biu":
        input = astype(input, np.int64)
    return Sum.apply(input, reduced_axes("sum", dim, input._data.ndim), bool(keepdim))


def nansum(input, dim=None, keepdim=False, dtype=None):
    """The sum over `dim` with NaN counted as zero; integers and bools are summed as int64.

    Raises:
        TypeError: input is complex.
    """
    input = as_tensor("nansum", input)
    if input.dtype.kind == "c":
        raise TypeError(f"nansum: input must be real numbers, got {input.dtype}")
    if input.dtype.kind == "f":
        input = where(isnan(input), 0.0, input)
    return sum(input, dim, keepdim, dtype)


def mean(input, dim=None, keepdim=False, dtype=None):
    """The mean over `dim`, of the input converted to dtype where that is given: NaN over no elements.

    Raises:
        TypeError: the dtype of the mean is not floating-point.
    """
    input = as_tensor("mean", input)
    if dtype is not None:
        input = astype(input, dtype)
    if input.dtype.kind not in "fc":
        raise TypeError(f"mean: a floating-point Tensor is needed, got {input.dtype}; convert it with float()")
    axes = reduced_axes("mean", dim, input.ndim)
    count = int(np.prod([input.shape[a] for a in axes], dtype=np.int64)) if input.ndim else 1
    total = Sum.apply(input, axes, bool(keepdim))
    return total / count if count else total * float("nan")


def logsumexp(input, dim, keepdim=False):
    """log(sum(exp(input))) over `dim`, shifted so that nothing overflows; -inf over no elements."""
    input = as_floating("logsumexp", input)
    return LogSumExp.apply(input, reduced_axes("logsumexp", dim, input.ndim), bool(keepdim))


def _ordered(name, input):
    input = as_tensor(name, input)
    if input.dtype.kind == "c":
        raise TypeError(f"{name}: complex numbers have no order, got {input.dtype}")
    return input


def _extremum(name, input, dim, keepdim, reduce):
    input = _ordered(name, input)
    axes = reduced_axes(name, dim, input.ndim)
    if 0 in [input.shape[a] for a in axes]:
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
        return Tensor(np.zeros((), np.int64, like=input._data))
    return Tensor(np.asarray(find(input._data, axis=axis, keepdims=bool(keepdim)), np.int64, like=input._data))


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


def max(input, dim=None, keepdim=False, *, other=None):
    """The greatest element; with `dim` a pair (values, indices) along that axis, the first of equals taken.

    max(input, other) of two Tensors is maximum(input, other).

    Raises:
        TypeError: both dim and other are given.
    """
    if isinstance(dim, Tensor) and other is None:
        dim, other = None, dim
    if other is not None:
        if dim is not None:
            raise TypeError("max: give either dim or other, not both")
        return maximum(input, other)
    return _extremum_along("max", input, dim, keepdim, np.argmax, amax)


def min(input, dim=None, keepdim=False, *, other=None):
    """The least element; with `dim` a pair (values, indices) along that axis, the first of equals taken.

    min(input, other) of two Tensors is minimum(input, other).

    Raises:
        TypeError: both dim and other are given.
    """
    if isinstance(dim, Tensor) and other is None:
        dim, other = None, dim
    if other is not None:
        if dim is not None:
            raise TypeError("min: give either dim or other, not both")
        return minimum(input, other)
    return _extremum_along("min", input, dim, keepdim, np.argmin, amin)


def all(input, dim=None, keepdim=False):
    """Whether all elements over `dim` are true (not zero): bool, or uint8 of an uint8 Tensor as in PyTorch."""
    return _logical("all", input, dim, keepdim, np.all)


def any(input, dim=None, keepdim=False):
    """Whether any element over `dim` is true (not zero): bool, or uint8 of an uint8 Tensor as in PyTorch."""
    return _logical("any", input, dim, keepdim, np.any)


def _logical(name, input, dim, keepdim, reduce):
    input = as_tensor(name, input)
    axes = () if dim == () else reduced_axes(name, dim, input.ndim)  # here PyTorch's empty tuple means no axis
    y = reduce(input._data, axis=axes, keepdims=bool(keepdim))
    return Tensor(np.asarray(y, np.uint8 if input.dtype == np.uint8 else np.bool_, like=input._data))


def count_nonzero(input, dim=None):
    """How many elements over `dim` are not zero: int64."""
    input = as_tensor("count_nonzero", input)
    axes = reduced_axes("count_nonzero", dim, input.ndim)
    return Tensor(np.sum(input._data != 0, axis=axes, dtype=np.int64))
