"""Elements taken by index: the gradient goes back to where they came from, and adds up where one was taken twice."""

import numpy as np

from ... import ops
from ...function import Function
from ._mutant import Witness, mutant, normal

_ROWS = np.array([0, 2, 2, 3])  # row 2 is taken twice, row 1 not at all


class TakeRows(Function):
    """y = x[index]; a mutant says how the gradient gets back."""

    @staticmethod
    def forward(ctx, x, index):
        ctx.shape, ctx.index = x.shape, index
        return x[index]


class TakeRowsThatOverwrites(TakeRows):
    @staticmethod
    def backward(ctx, grad):
        gx = np.zeros(ctx.shape)
        gx[ctx.index] = grad.data
        return gx


mutant(
    "index-that-overwrites",
    "getitem",
    "A row that was taken twice receives only the gradient of its last copy: gx[index] = grad, where gradients of one "
    "place must be added (np.add.at).",
    right=lambda x: x[_ROWS],
    wrong=lambda x: TakeRowsThatOverwrites.apply(x, _ROWS),
    inputs=normal((5, 3)),
    witness=lambda: Witness([[1, 2, 3, 4]], [[1, 20, 30, 4]]),
)


class TakeRowsBuffered(TakeRows):
    @staticmethod
    def backward(ctx, grad):
        gx = np.zeros(ctx.shape)
        gx[ctx.index] += grad.data
        return gx


mutant(
    "index-with-plus-equals",
    "embedding",
    "gx[index] += grad looks like a sum, but NumPy reads gx[index] once, adds, and writes back: a word that occurs "
    "twice still keeps one gradient only. np.add.at adds both.",
    right=lambda index, x: x[index],
    wrong=lambda index, x: TakeRowsBuffered.apply(x, index.data),
    inputs=lambda rng: (rng.permutation([0, 1, 1, 4]), rng.standard_normal((5, 3))),
    witness=lambda: Witness([np.array([0, 1, 1]), [[1], [2]]], [[[1], [10], [100]]]),
)


class EmbeddingByFrequency(TakeRows):
    @staticmethod
    def backward(ctx, grad):
        gx = np.zeros(ctx.shape)
        np.add.at(gx, ctx.index, grad.data)
        return gx / np.maximum(np.bincount(ctx.index, minlength=len(gx)), 1)[:, None]


mutant(
    "embedding-divided-by-frequency",
    "embedding",
    "The gradient of a word is divided by how often it occurs in the batch: the mean instead of the sum. (PyTorch's "
    "scale_grad_by_freq does so when asked; it is no derivative.)",
    right=lambda index, x: x[index],
    wrong=lambda index, x: EmbeddingByFrequency.apply(x, index.data),
    inputs=lambda rng: (rng.permutation([0, 1, 1, 4]), rng.standard_normal((5, 3))),
    witness=lambda: Witness([np.array([0, 1, 1]), [[1], [2]]], [[[1], [10], [100]]]),
)


class Gather(Function):
    """y[i, j] = x[i, index[i, j]]."""

    @staticmethod
    def forward(ctx, x, index):
        ctx.shape, ctx.index = x.shape, index
        return np.take_along_axis(x, index, 1)

    @staticmethod
    def backward(ctx, grad):
        gx = np.zeros(ctx.shape)
        np.add.at(gx, (np.arange(len(gx))[:, None], ctx.index), grad.data)
        return gx, None


class GatherThatOverwrites(Gather):
    @staticmethod
    def backward(ctx, grad):
        gx = np.zeros(ctx.shape)
        np.put_along_axis(gx, ctx.index, grad.data, 1)
        return gx, None


mutant(
    "gather-that-overwrites",
    "gather",
    "put_along_axis is the way back only where no index repeats: an element taken twice keeps the last gradient.",
    right=Gather.apply,
    wrong=GatherThatOverwrites.apply,
    inputs=lambda rng: (rng.standard_normal((3, 4)), np.stack([rng.permutation([0, 2, 2]) for _ in range(3)])),
    witness=lambda: Witness([[[5, 6, 7]], np.array([[1, 1, 2]])], [[[100, 10, 1]]]),
)


class GatherAlongTheWrongAxis(Gather):
    @staticmethod
    def backward(ctx, grad):
        gx = np.zeros(ctx.shape)
        np.add.at(gx, (ctx.index, np.arange(gx.shape[1])), grad.data)
        return gx, None


mutant(
    "gather-along-the-wrong-axis",
    "gather",
    "The elements were taken along axis 1; their gradients are put back along axis 0. On a square input nothing "
    "complains.",
    right=Gather.apply,
    wrong=GatherAlongTheWrongAxis.apply,
    inputs=lambda rng: (rng.standard_normal((3, 3)), np.array([[1, 2, 2], [0, 0, 1], [2, 1, 0]])),
    witness=lambda: Witness([[[1, 2], [3, 4]], np.array([[0, 0], [1, 1]])], [[[1, 10], [100, 1000]]]),
)


class ReversedSlice(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.shape = x.shape
        return x[::-2].copy()

    @staticmethod
    def backward(ctx, grad):
        gx = np.zeros(ctx.shape)
        gx[::2] = grad.data
        return gx


mutant(
    "slice-without-its-direction",
    "getitem",
    "x[::-2] was taken from the end; its gradients are put down from the start.",
    right=lambda x: ops.flip(x, 0)[::2],
    wrong=ReversedSlice.apply,
    inputs=normal((5, 2)),
    witness=lambda: Witness([[1, 2, 3]], [[1, 10]]),
)


class MaskWithTheFirstPlaces(Function):
    @staticmethod
    def forward(ctx, x, mask):
        ctx.shape = x.shape
        return x[mask]

    @staticmethod
    def backward(ctx, grad):
        gx = np.zeros(ctx.shape)
        gx.flat[: grad.numel()] = grad.data
        return gx, None


mutant(
    "mask-to-the-first-places",
    "masked_select",
    "The gradients of the selected elements are put into the first places of the input instead of where the mask is "
    "true.",
    right=lambda x, mask: x[mask],
    wrong=MaskWithTheFirstPlaces.apply,
    inputs=lambda rng: (rng.standard_normal((3, 4)), np.arange(12).reshape(3, 4) % 3 == 1),
    witness=lambda: Witness([[1, 2, 3], np.array([False, True, True])], [[1, 10]]),
)


class PutRow(Function):
    """y = x with row 1 replaced by value: x's gradient there is zero."""

    @staticmethod
    def forward(ctx, x, value):
        y = x.copy()
        y[1] = value
        return y

    @staticmethod
    def backward(ctx, grad):
        keep = np.ones(grad.shape)
        keep[1] = 0
        return grad * keep, grad[1]


class PutRowThatKeeps(PutRow):
    @staticmethod
    def backward(ctx, grad):
        return grad, grad[1]


mutant(
    "setitem-that-keeps",
    "setitem",
    "Elements that were overwritten no longer enter the output, but still receive its gradient.",
    right=PutRow.apply,
    wrong=PutRowThatKeeps.apply,
    inputs=normal((3, 4), (4,)),
    witness=lambda: Witness([[1, 2, 3], np.array(5.0)], [[1, 10, 100]]),
)


class IndexAdd(Function):
    """y = x with source[k] added to row index[k]: source[k] receives the gradient of row index[k]."""

    @staticmethod
    def forward(ctx, x, source, index):
        ctx.index = index
        y = x.copy()
        np.add.at(y, index, source)
        return y

    @staticmethod
    def backward(ctx, grad):
        return grad, grad[ctx.index]


class IndexAddWithoutTheIndex(IndexAdd):
    @staticmethod
    def backward(ctx, grad):
        return grad, grad[: len(ctx.index)]


mutant(
    "index-add-without-the-index",
    "index_add",
    "source[k] receives the gradient of row k instead of row index[k], to which it was added.",
    right=lambda x, source: IndexAdd.apply(x, source, _ROWS),
    wrong=lambda x, source: IndexAddWithoutTheIndex.apply(x, source, _ROWS),
    inputs=normal((5, 3), (4, 3)),
    witness=lambda: Witness([[0, 0, 0, 0], [1, 2, 3, 4]], [[1, 10, 100, 1000]]),
)
