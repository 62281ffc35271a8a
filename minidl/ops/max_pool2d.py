"""Max pooling: y is the greatest element of each window; its gradient goes to that element alone, the first of equals.

Overlapping windows (stride less than the kernel) as in Krizhevsky et al. 2012, section 3.4.
"""

import numpy as np

from ..function import Function
from ..kernels import empty
from ..kernels import max_pool2d as kernel
from ..tensor import Tensor
from ._common import as_real, pair, pooled_size
from .conv2d import nchw, nhwc


class MaxPool2d(Function):
    """geometry is (kernel_size, stride, padding, dilation) as pairs.

    The second output is where the maxima were: of no images where neither the gradient nor the caller needs it.
    """

    on_arrays = True

    @staticmethod
    def forward(ctx, x, geometry, size, indices):
        y = empty((len(x), *size, x.shape[1]), x.dtype, x)
        where = empty(y.shape if indices or ctx.needs_input_grad[0] else (0, *y.shape[1:]), np.int32, x)
        ctx.geometry, ctx.shape, ctx.where = geometry, x.shape, where
        ctx.set_materialize_grads(False)  # whole numbers have none
        kernel.forward(nhwc(x), *geometry, y, where)
        return nchw(y), nchw(where)

    @staticmethod
    def backward(ctx, grad, _):
        return MaxPool2dBackward.call(grad, ctx.where, ctx.geometry, ctx.shape)


class MaxPool2dBackward(Function):
    """gx: each window's gradient at the place of its maximum. Linear in the gradient."""

    @staticmethod
    def forward(ctx, grad, where, geometry, shape):
        ctx.where, ctx.geometry, ctx.shape = where, geometry, shape
        n, c, h, w = shape
        gx = empty((n, h, w, c), grad.dtype, grad)
        kernel.backward(nhwc(grad), where, *geometry, gx)
        return nchw(gx)

    @staticmethod
    def backward(ctx, gg):
        return MaxPool2dTake.apply(gg, ctx.where, ctx.geometry)


class MaxPool2dTake(Function):
    """The elements at the places of the maxima: the adjoint of MaxPool2dBackward."""

    @staticmethod
    def forward(ctx, x, where, geometry):
        ctx.where, ctx.geometry, ctx.shape = where, geometry, x.shape
        n, oh, ow, c = where.shape
        pixels = nhwc(x).reshape(n, x.shape[2] * x.shape[3], c)
        return nchw(np.take_along_axis(pixels, where.reshape(n, oh * ow, c), 1).reshape(where.shape))

    @staticmethod
    def backward(ctx, grad):
        return MaxPool2dBackward.apply(grad, ctx.where, ctx.geometry, ctx.shape)


def max_pool2d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    """The greatest element of each window.

    Args:
        input: (N, C, H, W), or (C, H, W) for one image.
        kernel_size, stride, padding, dilation: int or pair (rows, columns); stride is kernel_size where None. The
            border that padding adds (at most half of kernel_size) never wins.
        ceil_mode: add a last window where one that starts in the image or its left border would reach over the edge.
        return_indices: also return the place of each maximum, row * W + column, as int64.

    Returns:
        (N, C, OH, OW), OH = (H + 2*padding - dilation*(KH-1) - 1) / stride + 1, rounded down (up with ceil_mode).

    Raises:
        ValueError: sizes that do not fit. NaN in a window gives NaN.
    """
    input = as_real("max_pool2d", input)
    if input.ndim == 3:
        results = max_pool2d(input.unsqueeze(0), kernel_size, stride, padding, dilation, ceil_mode, True)
        y, indices = (r.squeeze(0) for r in results)
        return (y, indices) if return_indices else y
    if input.ndim != 4:
        raise ValueError(f"max_pool2d: input must be (N, C, H, W) or (C, H, W), got shape {input.shape}")
    kernel_size = pair("max_pool2d", "kernel_size", kernel_size, 1)
    stride = kernel_size if stride is None else pair("max_pool2d", "stride", stride, 1)
    padding = pair("max_pool2d", "padding", padding, 0)
    dilation = pair("max_pool2d", "dilation", dilation, 1)
    if any(2 * p > k for p, k in zip(padding, kernel_size, strict=True)):
        raise ValueError(f"max_pool2d: padding {padding} must be at most half of kernel_size {kernel_size}")
    size = pooled_size("max_pool2d", input.shape[2:], kernel_size, stride, padding, dilation, ceil_mode)
    for axis in (0, 1):
        _check_windows(input.shape[2 + axis], size[axis], *(g[axis] for g in (kernel_size, stride, padding, dilation)))
    y, where = MaxPool2d.apply(input, (kernel_size, stride, padding, dilation), size, return_indices)
    return (y, Tensor(where._data.astype(np.int64))) if return_indices else y


def _check_windows(extent, count, kernel_size, stride, padding, dilation):
    """A dilated window may step over a small image: it has no greatest element."""
    for start in range(-padding, 0 if dilation == 1 else count * stride - padding, stride):
        if not any(0 <= start + i * dilation < extent for i in range(kernel_size)):
            raise ValueError(
                f"max_pool2d: a window of {kernel_size} pixels with dilation {dilation} and padding {padding} sees "
                f"none of the input's {extent}"
            )
