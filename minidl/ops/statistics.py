"""Variance and standard deviation over axes: sum of |x - mean|^2 / (n - correction), in two passes, and its root."""

import numpy as np

from ..function import Function
from ._common import as_tensor, check_numbers, kept_shape, reduced_axes
from .arithmetic import where
from .reduction import mean
from .shape import reshape


class Var(Function):
    """y = sum of |x - mean|^2 / dof: dy/dx = 2 (x - mean) / dof; that the mean moves cancels out."""

    @staticmethod
    def forward(ctx, x, axes, dof, keepdim):
        ctx.save_for_backward(x)
        ctx.axes, ctx.dof, ctx.kept = axes, dof, kept_shape(x.shape, axes)
        wide = np.result_type(x.dtype, np.float64)  # so that long sums of float32 keep their digits
        with np.errstate(all="ignore"):  # of no elements: 0 / 0
            deviation = x - x.sum(axis=axes, dtype=wide, keepdims=True) / (x.size / max(np.prod(ctx.kept), 1))
            squares = deviation.real**2 + deviation.imag**2
            return (squares.sum(axis=axes, keepdims=keepdim) / dof).astype(x.real.dtype)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        factor = 2 / ctx.dof if ctx.dof else np.inf
        return factor * reshape(grad, ctx.kept) * (x - mean(x, ctx.axes, keepdim=True))


class Root(Function):
    """y = sqrt x: dy/dx = 1 / (2 y), taken as 0 where y is 0, as PyTorch does for a standard deviation."""

    @staticmethod
    def forward(ctx, x):
        y = np.asarray(np.sqrt(x), like=x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, grad):
        (y,) = ctx.saved_tensors
        return where(y == 0, 0.0, grad / (2 * where(y == 0, 1.0, y)))


def _checked(name, input, dim, unbiased, correction):
    """The Tensor, the axes, and the number of elements less the correction (at least 0)."""
    input = as_tensor(name, input)
    if input.dtype.kind not in "fc":
        raise TypeError(f"{name}: a floating-point Tensor is needed, got {input.dtype}; convert it with float()")
    if isinstance(dim, bool) and unbiased is None:  # var(input, unbiased)
        dim, unbiased = None, dim
    if unbiased is not None and correction is not None:
        raise TypeError(f"{name}: unbiased and correction exclude each other; unbiased=True is correction=1")
    if correction is None:
        correction = 1 if unbiased is None else int(unbiased)
    check_numbers(name, correction=correction)
    axes = reduced_axes(name, dim, input.ndim)
    count = int(np.prod([input.shape[a] for a in axes], dtype=np.int64))
    return input, axes, max(count - correction, 0)


def var(input, dim=None, unbiased=None, keepdim=False, *, correction=None):
    """The variance over `dim`: the sum of |x - mean|^2, divided by the number of elements less the correction.

    Args:
        dim: an axis, several, or None for all; var(input, unbiased) is understood as well.
        unbiased: the older name of correction: True is 1, False is 0.
        correction: 1 unless given. With as many elements, or fewer, the result is NaN or infinite.

    Raises:
        TypeError: input is not floating-point, or both unbiased and correction are given.
    """
    return Var.apply(*_checked("var", input, dim, unbiased, correction), bool(keepdim))


def std(input, dim=None, unbiased=None, keepdim=False, *, correction=None):
    """The standard deviation over `dim`, the root of var; where it is 0 its gradient is taken as 0."""
    return Root.apply(Var.apply(*_checked("std", input, dim, unbiased, correction), bool(keepdim)))


def var_mean(input, dim=None, unbiased=None, keepdim=False, *, correction=None):
    """The pair (var, mean) over `dim`."""
    input, axes, dof = _checked("var_mean", input, dim, unbiased, correction)
    return Var.apply(input, axes, dof, bool(keepdim)), mean(input, axes, keepdim)


def std_mean(input, dim=None, unbiased=None, keepdim=False, *, correction=None):
    """The pair (std, mean) over `dim`."""
    input, axes, dof = _checked("std_mean", input, dim, unbiased, correction)
    return Root.apply(Var.apply(input, axes, dof, bool(keepdim))), mean(input, axes, keepdim)
