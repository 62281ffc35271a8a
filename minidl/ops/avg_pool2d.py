"""Average pooling: y is the mean of each window; every pixel of it receives the same share of the window's gradient.

Subsampling as in LeCun et al. 1998, section II.B, without its coefficients.
"""

from ..function import Function
from ..kernels import avg_pool2d as kernel
from ..kernels import empty
from ._common import as_real, pair, pooled_size
from .conv2d import nchw, nhwc


class AvgPool2d(Function):
    """geometry is (kernel_size, stride, padding, count_include_pad, divisor), the first three as pairs."""

    @staticmethod
    def forward(ctx, x, geometry, size):
        ctx.geometry, ctx.size = geometry, x.shape[2:]
        y = empty((len(x), *size, x.shape[1]), x.dtype, x)
        kernel.forward(nhwc(x), *geometry, y)
        return nchw(y)

    @staticmethod
    def backward(ctx, grad):
        return AvgPool2dBackward.apply(grad, ctx.geometry, ctx.size)


class AvgPool2dBackward(Function):
    """gx: each window's gradient, divided, to all of its pixels. Linear, and the adjoint of AvgPool2d."""

    @staticmethod
    def forward(ctx, grad, geometry, size):
        ctx.geometry, ctx.size = geometry, grad.shape[2:]
        gx = empty((len(grad), *size, grad.shape[1]), grad.dtype, grad)
        kernel.backward(nhwc(grad), *geometry, gx)
        return nchw(gx)

    @staticmethod
    def backward(ctx, gg):
        return AvgPool2d.apply(gg, ctx.geometry, ctx.size)


def avg_pool2d(
    input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None
):
    """The mean of each window.

    Args:
        input: (N, C, H, W), or (C, H, W) for one image.
        kernel_size, stride, padding: int or pair (rows, columns); stride is kernel_size where None. The border of zeros
            that padding adds is at most half of kernel_size.
        ceil_mode: add a last window where one that starts in the image or its left border would reach over the edge.
            What lies beyond the border is not counted.
        count_include_pad: whether the zeros of the border count as pixels of the mean.
        divisor_override: what the sums are divided by in place of the number of pixels; not 0.

    Returns:
        (N, C, OH, OW), OH = (H + 2*padding - KH) / stride + 1, rounded down (up with ceil_mode).

    Raises:
        ValueError: sizes that do not fit, an image without pixels, a divisor of 0.
        TypeError: sizes that are no integers.
    """
    input = as_real("avg_pool2d", input)
    if input.ndim == 3:
        return avg_pool2d(
            input.unsqueeze(0), kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
        ).squeeze(0)
    if input.ndim != 4 or 0 in input.shape[2:]:
        raise ValueError(f"avg_pool2d: input must be (N, C, H, W) or (C, H, W) with pixels, got shape {input.shape}")
    kernel_size = pair("avg_pool2d", "kernel_size", kernel_size, 1)
    stride = kernel_size if stride is None or stride == () else pair("avg_pool2d", "stride", stride, 1)
    padding = pair("avg_pool2d", "padding", padding, 0)
    if any(2 * p > k for p, k in zip(padding, kernel_size, strict=True)):
        raise ValueError(f"avg_pool2d: padding {padding} must be at most half of kernel_size {kernel_size}")
    if divisor_override is not None and (
        not isinstance(divisor_override, int) or isinstance(divisor_override, bool) or divisor_override == 0
    ):
        raise ValueError(f"avg_pool2d: divisor_override must be an integer other than 0, got {divisor_override!r}")
    size = pooled_size("avg_pool2d", input.shape[2:], kernel_size, stride, padding, (1, 1), ceil_mode)
    return AvgPool2d.apply(input, (kernel_size, stride, padding, bool(count_include_pad), divisor_override or 0), size)
