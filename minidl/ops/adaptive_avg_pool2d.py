"""Average pooling to an output of a given size: the windows follow from the image's size.

y[n, c, i, j] = mean of x[n, c, floor(i*H/OH) : ceil((i+1)*H/OH), floor(j*W/OW) : ceil((j+1)*W/OW)]
"""

import numpy as np

from ..function import Function
from ..kernels import adaptive_avg_pool2d as kernel
from ..kernels import empty
from ._common import as_real
from .conv2d import nchw, nhwc
from .global_avg_pool2d import global_avg_pool2d


class AdaptiveAvgPool2d(Function):
    """(N, C, H, W) to (N, C, *size)."""

    @staticmethod
    def forward(ctx, x, size):
        ctx.size = x.shape[2:]
        y = empty((len(x), *size, x.shape[1]), x.dtype, x)
        kernel.forward(nhwc(x), y)
        return nchw(y)

    @staticmethod
    def backward(ctx, grad):
        return AdaptiveAvgPool2dBackward.apply(grad, ctx.size)


class AdaptiveAvgPool2dBackward(Function):
    """gx: each window's gradient, divided, to all of its pixels. Linear, and the adjoint of AdaptiveAvgPool2d."""

    @staticmethod
    def forward(ctx, grad, size):
        ctx.size = grad.shape[2:]
        gx = empty((len(grad), *size, grad.shape[1]), grad.dtype, grad)
        kernel.backward(nhwc(grad), gx)
        return nchw(gx)

    @staticmethod
    def backward(ctx, gg):
        return AdaptiveAvgPool2d.apply(gg, ctx.size)


def adaptive_avg_pool2d(input, output_size):
    """The means of windows that cover the image, as many as output_size says.

    Args:
        input: (N, C, H, W), or (C, H, W) for one image.
        output_size: int or pair (rows, columns), at least 0; None for a side keeps the input's.

    Returns:
        (N, C, *output_size).

    Raises:
        ValueError: a negative size, or an image without pixels. TypeError: sizes that are no integers.
    """
    input = as_real("adaptive_avg_pool2d", input)
    if input.ndim == 3:
        return adaptive_avg_pool2d(input.unsqueeze(0), output_size).squeeze(0)
    if input.ndim != 4 or 0 in input.shape[2:]:
        raise ValueError(
            f"adaptive_avg_pool2d: input must be (N, C, H, W) or (C, H, W) with pixels, got shape {input.shape}"
        )
    size = tuple(
        own if wanted is None else wanted
        for wanted, own in zip(output_sizes("adaptive_avg_pool2d", output_size), input.shape[2:], strict=True)
    )
    return global_avg_pool2d(input) if size == (1, 1) else AdaptiveAvgPool2d.apply(input, size)


def output_sizes(name, output_size):
    """output_size as a pair of integers or None."""
    sizes = tuple(output_size) if isinstance(output_size, tuple | list) else (output_size,)
    sizes = sizes * 2 if len(sizes) == 1 else sizes
    whole = [isinstance(s, int | np.integer) and not isinstance(s, bool) or s is None for s in sizes]
    if len(sizes) != 2 or not all(whole):
        raise TypeError(f"{name}: output_size must be an integer, None or a pair of these, got {output_size!r}")
    if any(s is not None and s < 0 for s in sizes):
        raise ValueError(f"{name}: output_size must not be negative, got {output_size!r}")
    return tuple(None if s is None else int(s) for s in sizes)
