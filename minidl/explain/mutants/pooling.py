"""Pooling: which pixel of a window receives its gradient, and what share."""

import numpy as np

from ...function import Function
from ._mutant import Witness, mutant, normal, spaced


class MaxPool(Function):
    """y = the greatest pixel of each window of k·k pixels; of equals the first one receives the gradient.

    ctx.where holds for every window the row and the column of its maximum in the padded image.
    """

    @staticmethod
    def forward(ctx, x, k, stride, padding=0):
        ctx.save_for_backward(x)
        ctx.k, ctx.stride, ctx.padding = k, stride, padding
        n, c, h, w = x.shape
        x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)), constant_values=-np.inf)
        y = np.empty((n, c, *((size + 2 * padding - k) // stride + 1 for size in (h, w))))
        ctx.where = np.empty((2, *y.shape), int)
        for image, channel, i, j in np.ndindex(y.shape):
            window = x[image, channel, i * stride : i * stride + k, j * stride : j * stride + k]
            u, v = np.unravel_index(window.argmax(), window.shape)
            y[image, channel, i, j] = window[u, v]
            ctx.where[:, image, channel, i, j] = i * stride + u, j * stride + v
        return y

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        gx = np.zeros(x.shape)
        for place in np.ndindex(grad.shape):
            row, column = ctx.where[(..., *place)] - ctx.padding
            gx[(*place[:2], row, column)] += grad.data[place]
        return gx


def _pool(function, *geometry):
    """The function of x for a geometry: k, stride, padding."""
    return lambda x: function.apply(x, *geometry)


class MaxPoolThatOverwrites(MaxPool):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        gx = np.zeros(x.shape)
        for place in np.ndindex(grad.shape):
            row, column = ctx.where[(..., *place)] - ctx.padding
            gx[(*place[:2], row, column)] = grad.data[place]
        return gx


mutant(
    "max-pool-that-overwrites",
    "max_pool2d",
    "A pixel that is the maximum of two overlapping windows receives the gradient of the last one only. Windows that "
    "do not overlap do not betray it.",
    right=_pool(MaxPool, 3, 1),
    wrong=_pool(MaxPoolThatOverwrites, 3, 1),
    inputs=spaced((1, 2, 4, 5)),
    witness=lambda: Witness([[[[[1, 9, 2, 3], [0, 0, 0, 0], [4, 5, 6, 7]]]]], [[[[[1, 10]]]]]),
)


class MaxPoolTiesCountedTwice(MaxPool):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        gx = np.zeros(x.shape)
        for image, channel, i, j in np.ndindex(grad.shape):
            window = image, channel, *(slice(a * ctx.stride, a * ctx.stride + ctx.k) for a in (i, j))
            gx[window] += (x.data[window] == x.data[window].max()) * grad.data[image, channel, i, j]
        return gx


mutant(
    "max-pool-ties-counted-twice",
    "max_pool2d",
    "Every pixel that equals the window's maximum receives the whole gradient. After a relu whole windows are zero, "
    "and each of their pixels gets it.",
    right=_pool(MaxPool, 2, 2),
    wrong=_pool(MaxPoolTiesCountedTwice, 2, 2),
    inputs=lambda rng: (np.repeat(spaced((1, 2, 4, 2))(rng)[0], 2, 3),),
    witness=lambda: Witness([[[[[5, 5], [1, 2]]]]], [[[[[1]]]]]),
    at_kink=True,
)


class MaxPoolOfThePaddedPlace(MaxPool):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        gx = np.zeros((*x.shape[:2], *(size + 2 * ctx.padding for size in x.shape[2:])))
        for place in np.ndindex(grad.shape):
            gx[(*place[:2], *ctx.where[(..., *place)])] += grad.data[place]
        return gx[:, :, : x.shape[2], : x.shape[3]]


mutant(
    "max-pool-of-the-padded-place",
    "max_pool2d",
    "The place of the maximum counts from the padded image's corner, but is used in the image without its border: all "
    "gradients are shifted by the padding.",
    right=_pool(MaxPool, 2, 2, 1),
    wrong=_pool(MaxPoolOfThePaddedPlace, 2, 2, 1),
    inputs=spaced((1, 2, 4, 6)),
    witness=lambda: Witness([[[[[1, 2], [4, 3]]]]], [[[[[1, 10], [100, 1000]]]]]),
)


class MaxPoolOfThePlaceInTheWindow(MaxPool):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        gx = np.zeros(x.shape)
        for place in np.ndindex(grad.shape):
            row, column = ctx.where[(..., *place)] - ctx.stride * np.array(place[2:])
            gx[(*place[:2], row, column)] += grad.data[place]
        return gx


mutant(
    "max-pool-of-the-place-in-the-window",
    "max_pool2d",
    "The index of the maximum within its window is used as an index into the image: all gradients land in the first "
    "window.",
    right=_pool(MaxPool, 2, 2),
    wrong=_pool(MaxPoolOfThePlaceInTheWindow, 2, 2),
    inputs=spaced((1, 2, 4, 6)),
    witness=lambda: Witness([[[[[1, 2, 4, 3], [0, 0, 0, 0]]]]], [[[[[1, 10]]]]]),
)


class MaxPoolOfTheMean(MaxPool):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        share = grad.data / ctx.k**2
        return share.repeat(ctx.k, 2).repeat(ctx.k, 3).reshape(x.shape)


mutant(
    "max-pool-as-average-pool",
    "max_pool2d",
    "The gradient is spread evenly over the window, as for the average. Sums over a window come out right, so checks "
    "of sums alone pass.",
    right=_pool(MaxPool, 2, 2),
    wrong=_pool(MaxPoolOfTheMean, 2, 2),
    inputs=spaced((1, 2, 4, 6)),
    witness=lambda: Witness([[[[[1, 2], [4, 3]]]]], [[[[[4]]]]]),
)


class AvgPool(Function):
    """y = the mean of the pixels of each window that lie inside the image."""

    @staticmethod
    def forward(ctx, x, k, stride, padding=0):
        ctx.shape, ctx.k, ctx.stride, ctx.padding = x.shape, k, stride, padding
        n, c, h, w = x.shape
        y = np.empty((n, c, *((size + 2 * padding - k) // stride + 1 for size in (h, w))))
        for i, j in np.ndindex(y.shape[2:]):
            y[:, :, i, j] = x[ctx.window(i, j)].mean((2, 3))
        return y

    def window(ctx, i, j):
        rows, columns = (
            slice(max(a * ctx.stride - ctx.padding, 0), a * ctx.stride - ctx.padding + ctx.k) for a in (i, j)
        )
        return ..., rows, columns

    @staticmethod
    def backward(ctx, grad):
        gx = np.zeros(ctx.shape)
        for i, j in np.ndindex(grad.shape[2:]):
            pixels = gx[ctx.window(i, j)]
            pixels += grad.data[:, :, i, j, None, None] / ctx.count(pixels)
        return gx

    def count(ctx, pixels):
        return pixels.shape[2] * pixels.shape[3]


class AvgPoolOfFullWindows(AvgPool):
    def count(ctx, pixels):
        return ctx.k**2


mutant(
    "avg-pool-of-full-windows",
    "avg_pool2d",
    "At the border the mean is over fewer pixels, those inside the image; the gradient is divided by k² everywhere. "
    "(PyTorch's count_include_pad decides which one forward means.)",
    right=_pool(AvgPool, 2, 2, 1),
    wrong=_pool(AvgPoolOfFullWindows, 2, 2, 1),
    inputs=normal((1, 2, 4, 6)),
    witness=lambda: Witness([[[[[1, 2], [3, 4]]]]], [np.full((1, 1, 2, 2), 4.0)]),
)


class AvgPoolNotDivided(AvgPool):
    def count(ctx, pixels):
        return 1


mutant(
    "avg-pool-not-divided",
    "avg_pool2d",
    "Each pixel of a window receives the whole gradient instead of its share.",
    right=_pool(AvgPool, 2, 2),
    wrong=_pool(AvgPoolNotDivided, 2, 2),
    inputs=normal((1, 2, 4, 6)),
    witness=lambda: Witness([[[[[1, 2], [3, 4]]]]], [[[[[4]]]]]),
)


class AvgPoolOfOneSide(AvgPool):
    def count(ctx, pixels):
        return ctx.k


mutant(
    "avg-pool-of-one-side",
    "avg_pool2d",
    "The gradient is divided by the window's side k instead of its area k².",
    right=_pool(AvgPool, 2, 2),
    wrong=_pool(AvgPoolOfOneSide, 2, 2),
    inputs=normal((1, 2, 4, 6)),
    witness=lambda: Witness([[[[[1, 2], [3, 4]]]]], [[[[[4]]]]]),
)
