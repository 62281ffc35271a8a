"""Layer normalization: each sample gets mean 0 and variance 1 over its own trailing axes, then a scale and a shift.

    y = (x - mean) / sqrt(var + eps) * weight + bias
    gx = (h - mean of h - xhat * mean of h * xhat) / sqrt(var + eps)       h = g * weight

Ba, Kiros & Hinton 2016, section 3. Training and evaluation are the same.
"""

import math
from functools import partial

import numpy as np

from ..function import Function
from ..kernels import contiguous, empty, full, wide
from ..kernels import layer_norm as kernel
from ._common import as_real
from ._normalization import affine, gradients, input_gradient, normalized


class LayerNorm(Function):
    """axes is how many trailing axes share a mean."""

    on_arrays = True

    @staticmethod
    def forward(ctx, x, weight, bias, axes, eps):
        ctx.save_for_backward(x, weight)
        ctx.axes, ctx.eps = axes, eps
        rows = _rows(x, axes)
        y = empty(rows.shape, x.dtype, x)
        ctx.mean, ctx.rstd = np.empty(len(rows), like=x), np.empty(len(rows), like=x)
        if x.size:
            kernel.forward(rows, _columns(weight, x, axes, 1), _columns(bias, x, axes, 0), eps, y, ctx.mean, ctx.rstd)
        return _restored(y, x.shape, axes)

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        found = gradients(
            partial(_gradients, ctx.mean, ctx.rstd, ctx.axes), partial(_formula, ctx.axes, ctx.eps), grad, x, weight
        )
        return tuple(g if need else None for g, need in zip(found, ctx.needs_input_grad, strict=False))


def _gradients(mean, rstd, axes, grad, x, weight):
    """The arrays of the gradients of x, weight and bias."""
    gy, rows = _rows(grad, axes), _rows(x, axes)
    gx, gw, gb = empty(rows.shape, x.dtype, x), *np.zeros((2, rows.shape[1]), wide(x.dtype), like=x)
    if x.size:
        kernel.backward(gy, rows, _columns(weight, x, axes, 1), mean, rstd, gx, gw, gb)
    return _restored(gx, x.shape, axes), *(_restored(a, x.shape, axes)[0] for a in (gw, gb))


def _formula(axes, eps, grad, x, weight):
    """_gradients in Tensor operations."""
    split = x.ndim - axes
    over, others = tuple(range(split, x.ndim)), tuple(range(split))
    xhat, rstd = normalized(x, over, eps)
    gx = input_gradient(grad if weight is None else grad * weight, xhat, rstd, over)
    gw, gb = (t.sum(others) if others else t for t in (grad * xhat, grad))
    return gx, gw, gb


def _is_image(ndim, axes):
    """Whether whole images are normalized, whose memory is channels-last: the small weight is permuted, not they."""
    return ndim == 4 and axes == 3


def _rows(x, axes):
    """(M, D) with the elements that share a mean as a row."""
    x = contiguous(x.transpose(0, 2, 3, 1) if _is_image(x.ndim, axes) else x)
    split = x.ndim - axes
    return x.reshape(math.prod(x.shape[:split]), math.prod(x.shape[split:]))


def _columns(values, x, axes, default):
    """weight or bias as (D,), in the order of the rows' elements."""
    if values is None:
        return full((math.prod(x.shape[x.ndim - axes :]),), default, wide(x.dtype), x)
    return contiguous(values.transpose(1, 2, 0) if _is_image(x.ndim, axes) else values).reshape(-1)


def _restored(rows, shape, axes):
    """(M, D), or (D,), as x was; of (D,) with leading axes of extent 1, which [0] takes away."""
    split = len(shape) - axes
    if rows.ndim == 1:
        shape, rows = (1, *shape[split:]), rows[None]
        if _is_image(split + axes, axes):
            return rows.reshape(1, shape[2], shape[3], shape[1]).transpose(0, 3, 1, 2)
        return rows.reshape(shape)
    if _is_image(len(shape), axes):
        return rows.reshape(shape[0], shape[2], shape[3], shape[1]).transpose(0, 3, 1, 2)
    return rows.reshape(shape)


def layer_norm(input, normalized_shape, weight=None, bias=None, eps=1e-5):
    """Bring the elements of the last axes to mean 0 and variance 1, then scale by weight and shift by bias.

    Args:
        input: (*, *normalized_shape).
        normalized_shape: int or sequence, the extents of the last axes.
        weight, bias: of normalized_shape, or None.

    Raises:
        ValueError: shapes that do not fit. TypeError: dtypes that do not go together.
    """
    input = as_real("layer_norm", input)
    if isinstance(normalized_shape, int | np.integer):
        normalized_shape = (normalized_shape,)
    shape = tuple(normalized_shape) if hasattr(normalized_shape, "__len__") else ()
    if not shape or any(not isinstance(n, int | np.integer) or isinstance(n, bool) for n in shape):
        raise TypeError(f"layer_norm: normalized_shape must be an integer or several, got {normalized_shape!r}")
    if input.shape[max(input.ndim - len(shape), 0) :] != shape:
        raise ValueError(
            f"layer_norm: the last axes of input (shape {input.shape}) must be normalized_shape (={shape})"
        )
    weight, bias = affine("layer_norm", input, weight, bias, shape, eps)
    return LayerNorm.apply(input, weight, bias, len(shape), float(eps))
