"""Mistakes of state, memory, precision and of the incoming gradient: the formula is right, its use is not."""

import numpy as np

from ... import ops
from ...function import Function
from ...tensor import Tensor
from ._mutant import Witness, mutant, normal, spaced


class Square(Function):
    """y = x²: dy/dx = 2x. The operation in which most of these mistakes are shown."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * 2 * x


# ---- the incoming gradient -----------------------------------------------------------------------------------------


class SquareWithoutGrad(Square):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 2 * x


mutant(
    "grad-ignored",
    "square",
    "The incoming gradient is taken for ones. After a sum it is, so a check of f(x).sum() passes.",
    right=Square.apply,
    wrong=SquareWithoutGrad.apply,
    inputs=normal((3, 4)),
    witness=lambda: Witness([[3]], [[5]]),
)


class SquareOfGrad(Square):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * grad * 2 * x


mutant(
    "grad-squared",
    "square",
    "The incoming gradient enters squared (it was multiplied in twice). A backward pass is linear in it. With ones, "
    "and with the unit vectors of a Jacobian, it looks right.",
    right=Square.apply,
    wrong=SquareOfGrad.apply,
    inputs=normal((3, 4)),
    witness=lambda: Witness([[3]], [[5]]),
)


class SquareOfGradNormalised(Square):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad / ops.sqrt((grad * grad).sum()) * 2 * x


mutant(
    "grad-normalised",
    "square",
    "The incoming gradient is scaled to length 1, so that training is stable: no longer linear, no longer a "
    "derivative. With the unit vectors of a Jacobian it looks right.",
    right=Square.apply,
    wrong=SquareOfGradNormalised.apply,
    inputs=normal((3, 4)),
    witness=lambda: Witness([[1, 1]], [[3, 4]]),
)


class SquareDividedByGrad(Square):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 2 * x / grad


mutant(
    "grad-as-divisor",
    "square",
    "The product of the chain rule is written as a quotient. With a cotangent of ones it looks right.",
    right=Square.apply,
    wrong=SquareDividedByGrad.apply,
    inputs=normal((3, 4)),
    witness=lambda: Witness([[3]], [[2]]),
)


class SquareClipped(Square):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return Tensor(np.clip((grad * 2 * x).data, -1, 1))


mutant(
    "gradient-clipped-at-one",
    "square",
    "Gradients are clipped to ±1 within the operation. Small ones are right, so it depends on the sample whether a "
    "check sees it.",
    right=Square.apply,
    wrong=SquareClipped.apply,
    inputs=lambda rng: (3 * spaced((3, 4))(rng)[0],),
    witness=lambda: Witness([[0.25, 3]], [[1, 1]]),
)


class SquareWithoutTheTiny(Square):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        gx = (grad * 2 * x).data
        return np.where(np.abs(gx) < 1e-2, 0, gx)


mutant(
    "tiny-gradients-dropped",
    "square",
    "Gradients below 0.01 are set to zero (to save communication). An absolute tolerance above that never sees it.",
    right=Square.apply,
    wrong=SquareWithoutTheTiny.apply,
    inputs=lambda rng: (rng.choice([-1, 1], (3, 4)) * rng.uniform(1e-4, 2e-3, (3, 4)),),
    witness=lambda: Witness([[0.001]], [[1]]),
)

# ---- numbers that are slightly wrong -------------------------------------------------------------------------------


class SquareOffByAPercent(Square):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * 2.02 * x


mutant(
    "one-percent-off",
    "square",
    "All gradients are 1 % too large.",
    right=Square.apply,
    wrong=SquareOffByAPercent.apply,
    inputs=normal((3, 4)),
    witness=lambda: Witness([[50]], [[1]]),
)


class SquareOffInOneElement(Square):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        factor = np.full(x.shape, 2.0)
        factor.flat[-1] = 2.002
        return grad * Tensor(factor) * x


mutant(
    "one-in-a-thousand-off-in-one-element",
    "square",
    "The last element's gradient is 0.1 % too large, all others are right. A norm over all elements hardly moves.",
    right=Square.apply,
    wrong=SquareOffInOneElement.apply,
    inputs=spaced((3, 4)),
    witness=lambda: Witness([[1, 500]], [[1, 1]]),
)


class VarInSinglePrecision(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        centred = x - x.mean(0)
        return (centred * centred).mean(0)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        single = x.data.astype(np.float32)
        return grad.data * 2 * (single - single.mean(0)).astype(np.float64) / len(single)


def _var(x):
    centred = x - x.mean(0)
    return (centred * centred).mean(0)


mutant(
    "gradient-in-single-precision",
    "var",
    "The gradient is computed in float32 and converted back. Where the mean is large and the deviations small, most of "
    "the digits are lost in their difference.",
    right=_var,
    wrong=VarInSinglePrecision.apply,
    inputs=lambda rng: (rng.standard_normal((5, 2)) + 4000,),
    witness=lambda: Witness([[2.0**24, 2.0**24 + 1]], [np.array(1.0)]),
)


class SquareInIntegers(Square):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        gx = np.zeros(x.shape, int)
        gx[...] = grad.data * 2 * x.data
        return gx.astype(np.float64)


mutant(
    "gradient-in-integers",
    "square",
    "The gradient is collected in an array of integers, as zeros_like of some labels would give: its fraction is cut "
    "off. With whole numbers it looks right.",
    right=Square.apply,
    wrong=SquareInIntegers.apply,
    inputs=normal((3, 4)),
    witness=lambda: Witness([[0.75]], [[1]]),
)


class SquareInAnotherDtype(Square):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return np.float32(2) * (grad.data * x.data).astype(np.float32)


mutant(
    "gradient-of-another-dtype",
    "square",
    "A float32 gradient is returned for a float64 input. minidl refuses it; an engine that converts silently loses "
    "half of the digits.",
    right=Square.apply,
    wrong=SquareInAnotherDtype.apply,
    inputs=normal((3, 4)),
    witness=lambda: Witness([[3]], [[1]]),
)

# ---- a part of the elements ----------------------------------------------------------------------------------------


class SquareOfPositives(Square):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * 2 * ops.abs(x)


mutant(
    "right-for-positive-x",
    "square",
    "|x| stands where x belongs: right for all positive inputs. A sample drawn from [0, 1) never sees it.",
    right=Square.apply,
    wrong=SquareOfPositives.apply,
    inputs=spaced((3, 4)),
    witness=lambda: Witness([[-3]], [[1]]),
)


class SquareOfTheFirstRow(Square):
    @staticmethod
    def backward(ctx, grad):
        gx = Square.backward(ctx, grad).data.copy()
        gx[1:] = 0
        return gx


mutant(
    "first-row-of-the-batch",
    "square",
    "Only the first row of the batch receives its gradient. With a batch of one it looks right.",
    right=Square.apply,
    wrong=SquareOfTheFirstRow.apply,
    inputs=normal((3, 4)),
    witness=lambda: Witness([[[1], [2]]], [[[1], [1]]]),
)


class SquareWithoutTheTail(Square):
    @staticmethod
    def backward(ctx, grad):
        gx = Square.backward(ctx, grad).data.copy()
        gx.flat[gx.size // 4 * 4 :] = 0
        return gx


mutant(
    "vector-tail-forgotten",
    "square",
    "The loop takes four elements at a time and leaves out the rest, at most three. With sizes that are multiples of "
    "four it is right.",
    right=Square.apply,
    wrong=SquareWithoutTheTail.apply,
    inputs=normal((3, 5)),
    witness=lambda: Witness([[1, 2, 3, 4, 5]], [[1, 1, 1, 1, 1]]),
)

# ---- memory --------------------------------------------------------------------------------------------------------


class SquareOfMemory(Square):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * 2 * Tensor(x.data.ravel(order="K").reshape(x.shape))


mutant(
    "input-read-in-memory-order",
    "square",
    "The saved input is read as it lies in memory, as a C loop over a pointer does: right for row-major arrays only. A "
    "transposed input gets another element's derivative.",
    right=Square.apply,
    wrong=SquareOfMemory.apply,
    inputs=normal((3, 4)),
    witness=lambda: Witness([np.array([[1.0, 2.0], [3.0, 4.0]], order="F")], [[[1, 1], [1, 1]]]),
    hidden="an input that is not row-major",
)


class SquareOfGradsMemory(Square):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return Tensor(grad.data.ravel(order="K").reshape(grad.shape)) * 2 * x


mutant(
    "gradient-read-in-memory-order",
    "square",
    "The incoming gradient is read as it lies in memory. It is row-major in a check, and a transpose behind many an "
    "operation of a real net.",
    right=Square.apply,
    wrong=SquareOfGradsMemory.apply,
    inputs=normal((3, 4)),
    witness=lambda: Witness([[[1, 2], [3, 4]]], [np.array([[1.0, 10.0], [100.0, 1000.0]], order="F")]),
    hidden="a cotangent that is not row-major",
)


class SquareThatScalesGrad(Square):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        g = grad.data
        g *= 2
        return g * x.data


mutant(
    "grad-changed-in-place",
    "square",
    "grad *= 2 changes the array that the caller gave, and that the other users of the sum receive too. Alone the "
    "operation is right; here exp(x) is added to it and sees twice its gradient.",
    right=lambda x: ops.exp(x) + Square.apply(x),
    wrong=lambda x: ops.exp(x) + SquareThatScalesGrad.apply(x),
    inputs=normal((3, 4)),
    witness=lambda: Witness([[0, 3]], [[1, 1]]),
)

mutant(
    "repeated-grad-changed-in-place",
    "square",
    "As grad-changed-in-place, alone. The gradient that a sum hands on is one number under many addresses, stride 0: "
    "writing to it fails, or changes all elements at once.",
    right=Square.apply,
    wrong=SquareThatScalesGrad.apply,
    inputs=normal((3, 4)),
    witness=lambda: Witness([[1, 2]], [np.broadcast_to(1.0, 2)]),
    hidden="a cotangent of stride 0, or the same cotangent twice",
)


class SquareThatScalesItsInput(Square):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        gx = x.data
        gx *= 2
        return grad.data * gx


mutant(
    "input-changed-in-backward",
    "square",
    "The saved input is used as scratch memory: 2x is computed in its place. The gradient is right, but the weights "
    "have doubled, and a second pass starts from them.",
    right=Square.apply,
    wrong=SquareThatScalesItsInput.apply,
    inputs=normal((3, 4)),
    witness=lambda: Witness([[3]], [[1]], passes=2),
    hidden="a second pass, or a look at the input after the first",
)


class SumThatScatters(Function):
    """y = the sum of the rows index of x."""

    @staticmethod
    def forward(ctx, x, index):
        ctx.index, ctx.buffer = index, np.zeros(x.shape)
        return x[index].sum(0)

    @staticmethod
    def backward(ctx, grad):
        np.add.at(ctx.buffer, ctx.index, grad.data)
        return ctx.buffer


mutant(
    "buffer-of-forward-not-cleared",
    "getitem",
    "The gradient is added up in a buffer that forward allocated. A second pass over the retained graph adds to what "
    "the first one left.",
    right=lambda x: x[np.array([0, 2, 2])].sum(0),
    wrong=lambda x: SumThatScatters.apply(x, np.array([0, 2, 2])),
    inputs=normal((4, 3)),
    witness=lambda: Witness([[1, 2, 3]], [np.array(1.0)], passes=2),
    hidden="a second pass over the same graph",
)


class SquareOfTheFirstPass(Square):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        first, ctx.used = not hasattr(ctx, "used"), True
        return grad * 2 * x if first else grad


mutant(
    "right-in-the-first-pass",
    "square",
    "What backward needs is dropped after the first pass, to save memory. A second pass over the retained graph finds "
    "nothing and hands its gradient on.",
    right=Square.apply,
    wrong=SquareOfTheFirstPass.apply,
    inputs=normal((3, 4)),
    witness=lambda: Witness([[3]], [[1]], passes=2),
    hidden="a second pass over the same graph",
)


class SquareInAWorkspace(Square):
    workspace = np.empty(200)  # one for all calls: saves an allocation

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        gx = SquareInAWorkspace.workspace[: x.data.size].reshape(x.shape)
        np.multiply(grad.data, 2 * x.data, out=gx)
        return gx


mutant(
    "one-workspace-for-all",
    "square",
    "All calls return their gradient in the same workspace. One call is right; where there are two, as here, the later "
    "gradient overwrites the earlier one.",
    right=lambda a, b: Square.apply(a) - Square.apply(b),
    wrong=lambda a, b: SquareInAWorkspace.apply(a) - SquareInAWorkspace.apply(b),
    inputs=normal((3, 4), (3, 4)),
    witness=lambda: Witness([[1], [2]], [[1]]),
)


class SquareOfTheLastCall(Square):
    saved = None

    @staticmethod
    def forward(ctx, x):
        SquareOfTheLastCall.saved = x
        return x * x

    @staticmethod
    def backward(ctx, grad):
        return grad * 2 * Tensor(SquareOfTheLastCall.saved)


mutant(
    "input-kept-in-the-class",
    "square",
    "forward keeps its input in the class (or in the layer) instead of in ctx. Where the operation is used twice, as "
    "with shared weights, both backward passes see the later input.",
    right=lambda a, b: Square.apply(a) - Square.apply(b),
    wrong=lambda a, b: SquareOfTheLastCall.apply(a) - SquareOfTheLastCall.apply(b),
    inputs=normal((3, 4), (3, 4)),
    witness=lambda: Witness([[1], [2]], [[1]]),
)

mutant(
    "part-of-the-graph-cut-off",
    "mul",
    "One factor was computed from the array (x.data, .numpy(), detach()), so no gradient flows through it: x·tanh(x) "
    "is differentiated as though tanh(x) were a constant.",
    right=lambda x: x * ops.tanh(x),
    wrong=lambda x: x * ops.tanh(x.detach()),
    inputs=normal((3, 4)),
    witness=lambda: Witness([[1]], [[1]]),
)

# ---- chance --------------------------------------------------------------------------------------------------------


class Dropout(Function):
    """y = x·mask / (1 − p) (Srivastava et al. 2014, with the scale at training); the generator draws the mask."""

    @staticmethod
    def forward(ctx, x, p, generator):
        ctx.p, ctx.generator = p, generator
        ctx.mask = generator.random(x.shape) >= p
        return x * ctx.mask / (1 - p)

    @staticmethod
    def backward(ctx, grad):
        return grad * Tensor(ctx.mask / (1 - ctx.p))


class DropoutNotRescaled(Dropout):
    @staticmethod
    def backward(ctx, grad):
        return grad * Tensor(ctx.mask / 1)


mutant(
    "dropout-not-rescaled",
    "dropout",
    "What is kept is divided by 1 − p on the way forward, its gradient is not on the way back.",
    right=lambda x: Dropout.apply(x, 0.25, np.random.default_rng(0)),
    wrong=lambda x: DropoutNotRescaled.apply(x, 0.25, np.random.default_rng(0)),
    inputs=normal((3, 4)),
    witness=lambda: Witness([[1, 2, 3, 4]], [[3, 3, 3, 3]]),
)


class DropoutWithoutTheMask(Dropout):
    @staticmethod
    def backward(ctx, grad):
        return grad / (1 - ctx.p)


mutant(
    "dropout-without-the-mask",
    "dropout",
    "The gradient is scaled but not masked: elements that were dropped receive it too.",
    right=lambda x: Dropout.apply(x, 0.5, np.random.default_rng(0)),
    wrong=lambda x: DropoutWithoutTheMask.apply(x, 0.5, np.random.default_rng(0)),
    inputs=normal((3, 4)),
    witness=lambda: Witness([[1, 2, 3, 4]], [[1, 1, 1, 1]]),
)


class DropoutDrawnAgain(Dropout):
    @staticmethod
    def backward(ctx, grad):
        mask = ctx.generator.random(grad.shape) >= ctx.p
        return grad * Tensor(mask / (1 - ctx.p))


mutant(
    "dropout-drawn-again",
    "dropout",
    "Backward draws a mask of its own. On average it is right, so that training hardly suffers; but it is not the "
    "derivative of what forward computed.",
    right=lambda x: Dropout.apply(x, 0.5, np.random.default_rng(0)),
    wrong=lambda x: DropoutDrawnAgain.apply(x, 0.5, np.random.default_rng(0)),
    inputs=normal((3, 4)),
    witness=lambda: Witness([[1, 2, 3, 4, 5, 6]], [[1, 1, 1, 1, 1, 1]]),
)
