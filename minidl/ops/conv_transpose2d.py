"""Transposed convolution: every input pixel stamps the kernel, scaled by it, into the output (Zeiler et al. 2010).

    y[n, o, i*s + u*d - p, j*s + v*d - p] += x[n, c, i, j] * w[c, o, u, v], from b[o]

It is the gradient that conv2d sends to its input, so conv2d's operations are its derivatives.
"""

import numpy as np

from ..function import Function
from ..kernels import contiguous, empty
from ..kernels import conv_transpose2d as kernel
from ._common import as_tensor, pair
from .conv2d import ChannelSum, Conv2d, Conv2dWeightGrad, check_dtypes, check_groups, hwio, nchw, nhwc


class ConvTranspose2d(Function):
    """geometry is (stride, padding, dilation, groups), the first three as pairs."""

    @staticmethod
    def forward(ctx, x, w, bias, geometry, size):
        need_x, need_w = ctx.needs_input_grad[:2]
        ctx.save_for_backward(x if need_w else None, w if need_x else None)
        ctx.shape, ctx.geometry = w.shape, geometry
        channels = w.shape[1] * geometry[3]
        y = empty((len(x), *size, channels), x.dtype, x)
        bias = np.zeros(channels, x.dtype, like=x) if bias is None else contiguous(bias)
        kernel.forward(nhwc(x), hwio(w), bias, *geometry, y)
        return nchw(y)

    @staticmethod
    def backward(ctx, grad):
        x, w = ctx.saved_tensors
        need_x, need_w, need_bias = ctx.needs_input_grad[:3]
        return (
            Conv2d.apply(grad, w, None, ctx.geometry) if need_x else None,
            Conv2dWeightGrad.apply(grad, x, ctx.geometry, ctx.shape) if need_w else None,
            ChannelSum.apply(grad) if need_bias else None,
        )


def conv_transpose2d(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """The transpose of a convolution: what enlarges images by learned weights.

    Args:
        input: (N, C_in, H, W), or (C_in, H, W) for one image.
        weight: (C_in, C_out/groups, KH, KW): that of the conv2d from C_out to C_in channels.
        bias: (C_out,) or None.
        stride, dilation: int or pair (rows, columns), at least 1: pixels between stamps, between kernel elements.
        padding: int or pair of rows and columns cut off on each side of the output.
        output_padding: int or pair of rows and columns that are kept at the bottom and the right in addition; less than
            stride or dilation. Of the sizes that a conv2d of this stride maps to H it picks one.
        groups: the channels are cut into this many independent transposed convolutions.

    Returns:
        (N, C_out, OH, OW), OH = (H - 1)*stride - 2*padding + dilation*(KH-1) + output_padding + 1.

    Raises:
        ValueError: shapes or sizes that do not fit. TypeError: dtypes that differ or are not floating-point.
    """
    name = "conv_transpose2d"
    input, weight = as_tensor(name, input), as_tensor(name, weight)
    bias = None if bias is None else as_tensor(name, bias)
    if input.ndim == 3:
        options = stride, padding, output_padding, groups, dilation
        return conv_transpose2d(input.unsqueeze(0), weight, bias, *options).squeeze(0)
    if input.ndim != 4 or weight.ndim != 4:
        raise ValueError(
            f"{name}: input must be (N, C_in, H, W) and weight (C_in, C_out/groups, KH, KW), got {input.shape} and "
            f"{weight.shape}"
        )
    stride, dilation = pair(name, "stride", stride, 1), pair(name, "dilation", dilation, 1)
    padding, output_padding = pair(name, "padding", padding, 0), pair(name, "output_padding", output_padding, 0)
    check_groups(name, groups)
    if len(weight) != input.shape[1]:
        raise ValueError(
            f"{name}: in_channels of weight (={len(weight)}) must equal the input's channels (={input.shape[1]})"
        )
    if len(weight) % groups:
        raise ValueError(f"{name}: in_channels of weight (={len(weight)}) must be divisible by groups (={groups})")
    if 0 in weight.shape or 0 in input.shape[2:]:
        raise ValueError(
            f"{name}: weight must not be empty and the input must have pixels, got {weight.shape} and {input.shape}"
        )
    check_dtypes(name, input, weight, bias)
    if bias is not None and bias.shape != (weight.shape[1] * groups,):
        raise ValueError(f"{name}: bias must have shape {(weight.shape[1] * groups,)}, got {bias.shape}")
    if any(o >= max(s, d) for o, s, d in zip(output_padding, stride, dilation, strict=True)):
        raise ValueError(
            f"{name}: output_padding {output_padding} must be less than stride {stride} or dilation {dilation}"
        )
    if any(o >= s for o, s in zip(output_padding, stride, strict=True)):
        # Rows of zeros after the image stamp nothing and give the same size; what is left fits one conv2d.
        from .pad import pad

        rows, columns = (o // s for o, s in zip(output_padding, stride, strict=True))
        input = pad(input, (0, columns, 0, rows))
        output_padding = tuple(o % s for o, s in zip(output_padding, stride, strict=True))
    size = tuple(
        (n - 1) * s - 2 * p + d * (k - 1) + o + 1
        for n, s, p, d, k, o in zip(
            input.shape[2:], stride, padding, dilation, weight.shape[2:], output_padding, strict=True
        )
    )
    if min(size) < 1:
        raise ValueError(f"{name}: padding {padding} leaves an output of {size[0]}×{size[1]} pixels")
    return ConvTranspose2d.apply(input, weight, bias, (stride, padding, dilation, groups), size)
