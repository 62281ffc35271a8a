"""Elements moved, repeated, joined and cut: the gradient must take the way back."""

import numpy as np

from ... import ops
from ...function import Function
from ...tensor import Tensor
from ._mutant import Witness, mutant, normal

# ---- other axes ----------------------------------------------------------------------------------------------------


class ReshapeInFortranOrder(Function):
    @staticmethod
    def forward(ctx, x, shape):
        ctx.shape = x.shape
        return x.reshape(shape)

    @staticmethod
    def backward(ctx, grad):
        return grad.data.reshape(ctx.shape, order="F")


mutant(
    "reshape-in-fortran-order",
    "reshape",
    "The gradient is given the input's shape column by column (as MATLAB does), while forward went row by row.",
    right=lambda x: ops.reshape(x, 2, 6),
    wrong=lambda x: ReshapeInFortranOrder.apply(x, (2, 6)),
    inputs=normal((3, 4)),
    witness=lambda: Witness([[[1, 2, 3], [4, 5, 6], [7, 8, 9], [10, 11, 12]]], [np.arange(12.0).reshape(2, 6)]),
)


class PermuteNotInverted(Function):
    @staticmethod
    def forward(ctx, x, axes):
        ctx.axes = axes
        return x.transpose(axes)

    @staticmethod
    def backward(ctx, grad):
        return grad.permute(*ctx.axes)


mutant(
    "permute-not-inverted",
    "permute",
    "The gradient goes back by the same permutation instead of its inverse. For an exchange of two axes they are the "
    "same; in a cycle of three they are not.",
    right=lambda x: ops.permute(x, 1, 2, 0),
    wrong=lambda x: PermuteNotInverted.apply(x, (1, 2, 0)),
    inputs=normal((3, 3, 3)),
    witness=lambda: Witness([np.zeros((2, 2, 2))], [np.arange(8.0).reshape(2, 2, 2)]),
)


class TransposeForgotten(Function):
    @staticmethod
    def forward(ctx, x):
        return x.T

    @staticmethod
    def backward(ctx, grad):
        return grad


mutant(
    "transpose-forgotten",
    "transpose",
    "The gradient of the transpose is handed on without being transposed back; a square matrix does not betray it.",
    right=lambda x: ops.transpose(x, 0, 1),
    wrong=TransposeForgotten.apply,
    inputs=normal((4, 4)),
    witness=lambda: Witness([[[1, 2], [3, 4]]], [[[1, 10], [100, 1000]]]),
)

# ---- repeated ------------------------------------------------------------------------------------------------------


class ExpandWithoutTheSum(Function):
    @staticmethod
    def forward(ctx, x, shape):
        return np.broadcast_to(x, shape)

    @staticmethod
    def backward(ctx, grad):
        return grad[:, :1]


mutant(
    "expand-without-the-sum",
    "expand",
    "One element became many, so it receives the sum of their gradients; only the first copy's is taken.",
    right=lambda x: ops.expand(x, 3, 4),
    wrong=lambda x: ExpandWithoutTheSum.apply(x, (3, 4)),
    inputs=normal((3, 1)),
    witness=lambda: Witness([[[1], [2], [3]]], [np.ones((3, 4))]),
)


class Tile(Function):
    """y = x, x, x one after another: (3,) to (9,)."""

    @staticmethod
    def forward(ctx, x, times):
        ctx.times = times
        return np.tile(x, times)

    @staticmethod
    def backward(ctx, grad):
        return grad.reshape(ctx.times, -1).sum(0)


class TileAsRepeatInterleave(Tile):
    @staticmethod
    def backward(ctx, grad):
        return grad.reshape(-1, ctx.times).sum(1)


mutant(
    "tile-as-repeat-interleave",
    "tile",
    "tile puts copies of the whole vector one after another: 1 2 1 2. The gradient is summed as though each element "
    "had been repeated in place: 1 1 2 2.",
    right=lambda x: Tile.apply(x, 3),
    wrong=lambda x: TileAsRepeatInterleave.apply(x, 3),
    inputs=normal((4,)),
    witness=lambda: Witness([[1, 2]], [[1, 10, 100, 1000, 10000, 100000]]),
)

# ---- joined, cut, moved --------------------------------------------------------------------------------------------


class CatExchanged(Function):
    @staticmethod
    def forward(ctx, a, b):
        ctx.at = len(a)
        return np.concatenate([a, b])

    @staticmethod
    def backward(ctx, grad):
        return grad[ctx.at :], grad[: ctx.at]


mutant(
    "cat-exchanged",
    "cat",
    "Each part receives the other's gradient. Parts of equal size do not betray it.",
    right=lambda a, b: ops.cat([a, b]),
    wrong=CatExchanged.apply,
    inputs=normal((2, 3), (2, 3)),
    witness=lambda: Witness([[1], [2]], [[1, 10]]),
)


class CatWithoutTheOffset(Function):
    @staticmethod
    def forward(ctx, a, b):
        ctx.sizes = len(a), len(b)
        return np.concatenate([a, b])

    @staticmethod
    def backward(ctx, grad):
        return tuple(grad[:size] for size in ctx.sizes)


mutant(
    "cat-without-the-offset",
    "cat",
    "Every part's gradient is cut from the start of grad; the place where the part begins is not added.",
    right=lambda a, b: ops.cat([a, b]),
    wrong=CatWithoutTheOffset.apply,
    inputs=normal((3, 2), (2, 2)),
    witness=lambda: Witness([[1, 2], [3]], [[1, 10, 100]]),
)


class Split(Function):
    """The first two elements, and the rest."""

    @staticmethod
    def forward(ctx, x):
        return x[:2].copy(), x[2:].copy()

    @staticmethod
    def backward(ctx, first, second):
        return ops.cat([first, second])


class SplitInReverse(Split):
    @staticmethod
    def backward(ctx, first, second):
        return ops.cat([second, first])


mutant(
    "split-in-reverse",
    "split",
    "The gradients of the parts are put together in the wrong order.",
    right=Split.apply,
    wrong=SplitInReverse.apply,
    inputs=normal((5,)),
    witness=lambda: Witness([[1, 2, 3]], [[1, 10], [100]]),
)


class SplitOfTheLastPart(Split):
    @staticmethod
    def backward(ctx, first, second):
        return ops.cat([0 * first, second])


mutant(
    "split-of-the-last-part",
    "split",
    "Where several outputs are used, the gradient of the first is overwritten by that of the last instead of both "
    "being kept.",
    right=Split.apply,
    wrong=SplitOfTheLastPart.apply,
    inputs=normal((5,)),
    witness=lambda: Witness([[1, 2, 3]], [[1, 10], [100]]),
)


class FlipNotFlipped(Function):
    @staticmethod
    def forward(ctx, x):
        return np.flip(x, 0).copy()

    @staticmethod
    def backward(ctx, grad):
        return grad


mutant(
    "flip-not-flipped",
    "flip",
    "The order of the elements was reversed, that of their gradients is not.",
    right=lambda x: ops.flip(x, 0),
    wrong=FlipNotFlipped.apply,
    inputs=normal((4, 3)),
    witness=lambda: Witness([[1, 2]], [[1, 10]]),
)


class Roll(Function):
    """The elements moved on by some places; what leaves at the end comes in at the start."""

    @staticmethod
    def forward(ctx, x, shift):
        ctx.shift = shift
        return np.roll(x, shift, 0)

    @staticmethod
    def backward(ctx, grad):
        return Roll.apply(grad, -ctx.shift)


class RollInTheSameDirection(Roll):
    @staticmethod
    def backward(ctx, grad):
        return Roll.apply(grad, ctx.shift)


mutant(
    "roll-in-the-same-direction",
    "roll",
    "The gradient is rolled on instead of back. By half the extent both are the same.",
    right=lambda x: Roll.apply(x, 1),
    wrong=lambda x: RollInTheSameDirection.apply(x, 1),
    inputs=normal((5, 2)),
    witness=lambda: Witness([[1, 2, 3]], [[1, 10, 100]]),
)


class Pad(Function):
    """Zeros before and after: the gradient is cut out again."""

    @staticmethod
    def forward(ctx, x, before, after):
        ctx.before, ctx.end = before, before + len(x)
        return np.pad(x, (before, after))

    @staticmethod
    def backward(ctx, grad):
        return grad[ctx.before : ctx.end]


class PadOffByOne(Pad):
    @staticmethod
    def backward(ctx, grad):
        return grad[ctx.before - 1 : ctx.end - 1]


mutant(
    "pad-off-by-one",
    "pad",
    "The part that is cut out of the gradient starts one place too early.",
    right=lambda x: Pad.apply(x, 2, 1),
    wrong=lambda x: PadOffByOne.apply(x, 2, 1),
    inputs=normal((5,)),
    witness=lambda: Witness([[1, 2]], [[1, 10, 100, 1000, 10000]]),
)


class PadWithSidesExchanged(Pad):
    @staticmethod
    def backward(ctx, grad):
        after = len(grad) - ctx.end
        return grad[after : after + ctx.end - ctx.before]


mutant(
    "pad-with-sides-exchanged",
    "pad",
    "The gradient is cut as though the padding before and after were exchanged. With equal padding it looks right.",
    right=lambda x: Pad.apply(x, 2, 1),
    wrong=lambda x: PadWithSidesExchanged.apply(x, 2, 1),
    inputs=normal((5,)),
    witness=lambda: Witness([[1, 2]], [[1, 10, 100, 1000, 10000]]),
)


class ReplicatePad(Function):
    """The first and last element repeated once outside: they receive the gradients of their copies too."""

    @staticmethod
    def forward(ctx, x):
        return np.pad(x, 1, mode="edge")

    @staticmethod
    def backward(ctx, grad):
        return ops.cat([grad[:1] + grad[1:2], grad[2:-2], grad[-2:-1] + grad[-1:]])


class ReplicatePadCropped(ReplicatePad):
    @staticmethod
    def backward(ctx, grad):
        return grad[1:-1]


mutant(
    "replicate-pad-cropped",
    "pad",
    "The border is cut off, as for padding with zeros. But a replicated border is made of the edge elements, which "
    "must receive its gradient.",
    right=ReplicatePad.apply,
    wrong=ReplicatePadCropped.apply,
    inputs=normal((5,)),
    witness=lambda: Witness([[1, 2]], [[1, 10, 100, 1000]]),
)


class Tril(Function):
    """The lower triangle; zeros above the diagonal."""

    @staticmethod
    def forward(ctx, x):
        return np.tril(x)

    @staticmethod
    def backward(ctx, grad):
        return Tril.apply(grad)


class TrilAsTriu(Tril):
    @staticmethod
    def backward(ctx, grad):
        return Tensor(np.triu(grad.data))


mutant(
    "tril-as-triu",
    "tril",
    "The gradient of the upper triangle is kept, which is where the output is constant; that of the lower one is lost.",
    right=Tril.apply,
    wrong=TrilAsTriu.apply,
    inputs=normal((3, 4)),
    witness=lambda: Witness([[[1, 2], [3, 4]]], [[[1, 10], [100, 1000]]]),
)


class Diagonal(Function):
    """The diagonal of a matrix: zeros beside it in the gradient."""

    @staticmethod
    def forward(ctx, x):
        ctx.shape = x.shape
        return np.diagonal(x).copy()

    @staticmethod
    def backward(ctx, grad):
        return Tensor(np.eye(*ctx.shape)) * grad


class DiagonalOfRows(Diagonal):
    @staticmethod
    def backward(ctx, grad):
        return grad.unsqueeze(0).expand(ctx.shape)


mutant(
    "diagonal-spread-over-columns",
    "diagonal",
    "The gradient of the diagonal is broadcast into the whole matrix; elements beside the diagonal have none.",
    right=Diagonal.apply,
    wrong=DiagonalOfRows.apply,
    inputs=normal((4, 4)),
    witness=lambda: Witness([[[1, 2], [3, 4]]], [[1, 10]]),
)
