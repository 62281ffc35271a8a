"""Convolution written out with windows (im2col): what goes wrong on the way back to images, weights and bias."""

import numpy as np

from ...function import Function
from ._mutant import Witness, mutant, normal

# ---- the right one -------------------------------------------------------------------------------------------------


def _window(u, v, size, stride, dilation):
    """Where the kernel's element (u, v) reads the padded image, for all output pixels."""
    rows, columns = (
        slice(k * dilation, k * dilation + (n - 1) * stride + 1, stride) for k, n in ((u, size[0]), (v, size[1]))
    )
    return ..., rows, columns


def windows(x, kernel, size, stride, padding, dilation):
    """im2col: (N, C, H, W) to (N, C, KH, KW, OH, OW), what each kernel element meets at each output pixel."""
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    columns = np.empty((*x.shape[:2], *kernel, *size))
    for u, v in np.ndindex(*kernel):
        columns[:, :, u, v] = x[_window(u, v, size, stride, dilation)]
    return columns


def add_windows(columns, shape, stride, padding, dilation):
    """col2im, the way back: a pixel receives the sum of what all windows hold that it was copied to."""
    n, c, h, w = shape
    x = np.zeros((n, c, h + 2 * padding, w + 2 * padding))
    for u, v in np.ndindex(*columns.shape[2:4]):
        x[_window(u, v, columns.shape[4:], stride, dilation)] += columns[:, :, u, v]
    return x[:, :, padding : padding + h, padding : padding + w]


class Convolution(Function):
    """y[n, o, i, j] = b[o] + sum over c, u, v of x[n, c, i·s + u·d − p, j·s + v·d − p]·w[o, c, u, v], in groups.

    columns is what windows() makes of x. The three gradients are methods of their own, for mutants to replace.
    """

    @staticmethod
    def forward(ctx, x, w, bias, stride=1, padding=0, dilation=1, groups=1):
        ctx.save_for_backward(x, w)
        ctx.stride, ctx.padding, ctx.dilation, ctx.groups = stride, padding, dilation, groups
        seen = [(k - 1) * dilation + 1 for k in w.shape[2:]]
        ctx.size = [(n + 2 * padding - k) // stride + 1 for n, k in zip(x.shape[2:], seen, strict=True)]
        columns = ctx.grouped(windows(x, w.shape[2:], ctx.size, stride, padding, dilation))
        y = np.einsum("ngcuvij,gocuv->ngoij", columns, ctx.grouped(w, 0))
        return y.reshape(len(x), len(w), *ctx.size) + bias.reshape(-1, 1, 1)

    def grouped(ctx, array, axis=1):
        """The axis of channels as two: groups, and channels within a group."""
        return array.reshape(*array.shape[:axis], ctx.groups, -1, *array.shape[axis + 1 :])

    @staticmethod
    def backward(ctx, grad):
        x, w = (t.data for t in ctx.saved_tensors)
        return ctx.to_input(grad.data, x, w), ctx.to_weight(grad.data, x, w), ctx.to_bias(grad.data)

    def to_input(ctx, grad, x, w):
        columns = np.einsum("ngoij,gocuv->ngcuvij", ctx.grouped(grad), ctx.grouped(w, 0))
        columns = columns.reshape(*x.shape[:2], *w.shape[2:], *ctx.size)
        return add_windows(columns, x.shape, ctx.stride, ctx.padding, ctx.dilation)

    def to_weight(ctx, grad, x, w):
        columns = ctx.grouped(windows(x, w.shape[2:], ctx.size, ctx.stride, ctx.padding, ctx.dilation))
        return np.einsum("ngoij,ngcuvij->gocuv", ctx.grouped(grad), columns).reshape(w.shape)

    def to_bias(ctx, grad):
        return grad.sum((0, 2, 3))


def _conv(function, *geometry):
    """The function of (x, w, bias) for a geometry: stride, padding, dilation, groups."""
    return lambda x, w, bias: function.apply(x, w, bias, *geometry)


# ---- the wrong ones ------------------------------------------------------------------------------------------------


class ConvolutionThatOverwrites(Convolution):
    def to_input(ctx, grad, x, w):
        columns = np.einsum("noij,ocuv->ncuvij", grad, w)
        gx = np.zeros(x.shape)
        for u, v in np.ndindex(*w.shape[2:]):
            gx[_window(u, v, ctx.size, ctx.stride, ctx.dilation)] = columns[:, :, u, v]
        return gx


mutant(
    "conv2d-that-overwrites",
    "conv2d",
    "Where windows overlap, a pixel receives only what the last one sends: col2im assigns instead of adding. With "
    "stride equal to the kernel's size nothing overlaps and it looks right.",
    right=_conv(Convolution),
    wrong=_conv(ConvolutionThatOverwrites),
    inputs=normal((2, 2, 4, 5), (3, 2, 2, 3), (3,)),
    witness=lambda: Witness([[[[[1, 2, 3]]]], [[[[1, 10]]]], [0]], [[[[[1, 1]]]]]),
)


class ConvolutionWithoutTheStride(Convolution):
    def to_input(ctx, grad, x, w):
        columns = np.einsum("noij,ocuv->ncuvij", grad, w)
        return add_windows(columns, x.shape, 1, ctx.padding, ctx.dilation)


mutant(
    "conv2d-without-the-stride",
    "conv2d",
    "The input gradient puts the windows one pixel apart; forward moved them by the stride.",
    right=_conv(Convolution, 2),
    wrong=_conv(ConvolutionWithoutTheStride, 2),
    inputs=normal((2, 2, 5, 6), (3, 2, 2, 3), (3,)),
    witness=lambda: Witness([[[[[1, 2, 3, 4]]]], [[[[1, 10]]]], [0]], [[[[[1, 1]]]]]),
)


class ConvolutionWithAFlippedKernel(Convolution):
    def to_input(ctx, grad, x, w):
        return Convolution.to_input(ctx, grad, x, w[:, :, ::-1, ::-1])


mutant(
    "conv2d-with-a-flipped-kernel",
    "conv2d",
    "The input gradient is a full convolution with the kernel turned by 180 degrees once; here it is turned twice (or "
    "not at all). A symmetric kernel does not betray it.",
    right=_conv(Convolution),
    wrong=_conv(ConvolutionWithAFlippedKernel),
    inputs=normal((2, 2, 4, 5), (3, 2, 3, 3), (3,)),
    witness=lambda: Witness([[[[[1, 2]]]], [[[[1, 10]]]], [0]], [[[[[1]]]]]),
)


class ConvolutionCroppedOffByOne(Convolution):
    def to_input(ctx, grad, x, w):
        p = ctx.padding
        columns = np.einsum("noij,ocuv->ncuvij", grad, w)
        padded = add_windows(columns, (*x.shape[:2], *(n + 2 * p for n in x.shape[2:])), ctx.stride, 0, ctx.dilation)
        return padded[:, :, p - 1 : p - 1 + x.shape[2], p - 1 : p - 1 + x.shape[3]]


mutant(
    "conv2d-cropped-off-by-one",
    "conv2d",
    "The border is cut off the padded image's gradient one pixel too far up and to the left. Without padding there is "
    "nothing to cut.",
    right=_conv(Convolution, 1, 1),
    wrong=_conv(ConvolutionCroppedOffByOne, 1, 1),
    inputs=normal((2, 2, 4, 5), (3, 2, 3, 3), (3,)),
    witness=lambda: Witness([[[[[1, 2]]]], [[[[1]]]], [0]], [[[[[0] * 4, [0, 1, 10, 0], [0] * 4]]]]),
)


class ConvolutionWithoutTheDilation(Convolution):
    def to_weight(ctx, grad, x, w):
        columns = windows(x, w.shape[2:], ctx.size, ctx.stride, ctx.padding, 1)
        return np.einsum("noij,ncuvij->ocuv", grad, columns)


mutant(
    "conv2d-without-the-dilation",
    "conv2d",
    "The weight gradient reads neighbouring pixels; forward left gaps of the dilation between them.",
    right=_conv(Convolution, 1, 0, 2),
    wrong=_conv(ConvolutionWithoutTheDilation, 1, 0, 2),
    inputs=normal((2, 2, 4, 6), (3, 2, 2, 3), (3,)),
    witness=lambda: Witness([[[[[1, 2, 3]]]], [[[[1, 10]]]], [0]], [[[[[1]]]]]),
)


class ConvolutionWithGroupsMixed(Convolution):
    def to_input(ctx, grad, x, w):
        n, c, h, wd = x.shape
        gx = Convolution.to_input(ctx, grad, x, w).reshape(n, ctx.groups, c // ctx.groups, h, wd)
        return gx.swapaxes(1, 2).reshape(x.shape)


mutant(
    "conv2d-with-groups-mixed",
    "conv2d",
    "The channels of the input gradient come out interleaved: channel within the group first, group second. In forward "
    "a group's channels stand together.",
    right=_conv(Convolution, 1, 0, 1, 2),
    wrong=_conv(ConvolutionWithGroupsMixed, 1, 0, 1, 2),
    inputs=normal((2, 4, 3, 4), (6, 2, 2, 3), (6,)),
    witness=lambda: Witness(
        [[[[[1]], [[2]], [[3]], [[4]]]], [[[[1]], [[10]]], [[[100]], [[1000]]]], [0, 0]], [[[[[1]], [[1]]]]]
    ),
)


class ConvolutionOfTheOutputsSize(Convolution):
    def to_input(ctx, grad, x, w):
        columns = np.einsum("noij,ocuv->ncuvij", grad, w)
        seen = [(n - 1) * ctx.stride + k for n, k in zip(ctx.size, w.shape[2:], strict=True)]
        return add_windows(columns, (*x.shape[:2], *seen), ctx.stride, 0, 1)


mutant(
    "conv2d-of-the-size-seen",
    "conv2d",
    "The input's size is computed back from the output's, (OH − 1)·stride + KH. Where the stride leaves a remainder, "
    "rows that no window saw are missing from the gradient, which then has the wrong shape.",
    right=_conv(Convolution, 2),
    wrong=_conv(ConvolutionOfTheOutputsSize, 2),
    inputs=normal((2, 2, 5, 6), (3, 2, 2, 3), (3,)),
    witness=lambda: Witness([[[[[1, 2, 3]]]], [[[[1, 10]]]], [0]], [[[[[1]]]]]),
)


class ConvolutionWithoutTheLastRow(Convolution):
    def to_weight(ctx, grad, x, w):
        gw = np.zeros(w.shape)
        for i in range(x.shape[2] - w.shape[2]):
            for j in range(ctx.size[1]):
                seen = x[:, :, i : i + w.shape[2], j : j + w.shape[3]]
                gw += np.einsum("no,ncuv->ocuv", grad[:, :, i, j], seen)
        return gw


mutant(
    "conv2d-without-the-last-row",
    "conv2d",
    "The loop of the weight gradient runs over range(H − KH); there are H − KH + 1 rows of windows, and the last is "
    "left out.",
    right=_conv(Convolution),
    wrong=_conv(ConvolutionWithoutTheLastRow),
    inputs=normal((2, 2, 4, 5), (3, 2, 2, 3), (3,)),
    witness=lambda: Witness([[[[[1], [2]]]], [[[[1]]]], [0]], [[[[[1], [1]]]]]),
)


class ConvolutionWithChannelsExchanged(Convolution):
    def to_weight(ctx, grad, x, w):
        return Convolution.to_weight(ctx, grad, x, w).swapaxes(0, 1)


mutant(
    "conv2d-with-channels-exchanged",
    "conv2d",
    "The weight gradient's axes of output and input channels are exchanged, which fits where there are as many of "
    "both.",
    right=_conv(Convolution),
    wrong=_conv(ConvolutionWithChannelsExchanged),
    inputs=normal((2, 3, 3, 4), (3, 3, 2, 3), (3,)),
    witness=lambda: Witness([[[[[1]], [[2]]]], [[[[1]], [[2]]], [[[3]], [[4]]]], [0, 0]], [[[[[1]], [[10]]]]]),
)


class ConvolutionAveragedOverTheBatch(Convolution):
    def to_weight(ctx, grad, x, w):
        return Convolution.to_weight(ctx, grad, x, w) / len(x)


mutant(
    "conv2d-averaged-over-the-batch",
    "conv2d",
    "The weight gradient is divided by the number of images. The loss does that, if anything does; the operation sums.",
    right=_conv(Convolution),
    wrong=_conv(ConvolutionAveragedOverTheBatch),
    inputs=normal((2, 2, 3, 4), (3, 2, 2, 3), (3,)),
    witness=lambda: Witness([[[[[1]]], [[[2]]]], [[[[1]]]], [0]], [[[[[1]]], [[[1]]]]]),
)


class ConvolutionBiasOfTheFirstImage(Convolution):
    def to_bias(ctx, grad):
        return grad[0].sum((1, 2))


mutant(
    "conv2d-bias-of-the-first-image",
    "conv2d",
    "The bias is added to every image of the batch; its gradient counts the first one only.",
    right=_conv(Convolution),
    wrong=_conv(ConvolutionBiasOfTheFirstImage),
    inputs=normal((2, 2, 3, 4), (3, 2, 2, 3), (3,)),
    witness=lambda: Witness([[[[[1]]], [[[2]]]], [[[[1]]]], [0]], [[[[[1]]], [[[1]]]]]),
)


class ConvolutionBiasOfOnePixel(Convolution):
    def to_bias(ctx, grad):
        return grad.sum(0)[:, 0, 0]


mutant(
    "conv2d-bias-of-one-pixel",
    "conv2d",
    "The bias is added to every pixel; its gradient is summed over the batch, as in a linear layer, but not over the "
    "pixels.",
    right=_conv(Convolution),
    wrong=_conv(ConvolutionBiasOfOnePixel),
    inputs=normal((2, 2, 3, 4), (3, 2, 2, 3), (3,)),
    witness=lambda: Witness([[[[[1, 2]]]], [[[[1]]]], [0]], [[[[[1, 1]]]]]),
)
