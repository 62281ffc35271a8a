"""Global average pooling: one number per channel, the mean of its pixels, whatever the image's size.

Lin, Chen and Yan 2014, "Network in Network", section 3.2: it takes the place of the last fully connected layers.
"""

from ..function import Function
from ..kernels import empty
from ..kernels import global_avg_pool2d as kernel
from ._common import as_real
from .conv2d import nchw, nhwc


class GlobalAvgPool2d(Function):
    """(N, C, H, W) to (N, C, 1, 1)."""

    @staticmethod
    def forward(ctx, x):
        ctx.size = x.shape[2:]
        y = empty((len(x), 1, 1, x.shape[1]), x.dtype, x)
        kernel.forward(nhwc(x), y)
        return nchw(y)

    @staticmethod
    def backward(ctx, grad):
        return GlobalAvgPool2dBackward.apply(grad, ctx.size)


class GlobalAvgPool2dBackward(Function):
    """gx: the same share of the gradient to every pixel. Linear, and the adjoint of GlobalAvgPool2d."""

    @staticmethod
    def forward(ctx, grad, size):
        gx = empty((len(grad), *size, grad.shape[1]), grad.dtype, grad)
        kernel.backward(nhwc(grad), gx)
        return nchw(gx)

    @staticmethod
    def backward(ctx, gg):
        return GlobalAvgPool2d.apply(gg)


def global_avg_pool2d(input):
    """The mean of all pixels, channel by channel.

    Args:
        input: (N, C, H, W), or (C, H, W) for one image.

    Returns:
        (N, C, 1, 1), or (C, 1, 1).

    Raises:
        ValueError: another number of dimensions, or an image without pixels. TypeError: no real floating-point dtype.
    """
    input = as_real("global_avg_pool2d", input)
    if input.ndim == 3:
        return global_avg_pool2d(input.unsqueeze(0)).squeeze(0)
    if input.ndim != 4 or 0 in input.shape[2:]:
        raise ValueError(
            f"global_avg_pool2d: input must be (N, C, H, W) or (C, H, W) with pixels, got shape {input.shape}"
        )
    return GlobalAvgPool2d.apply(input)
