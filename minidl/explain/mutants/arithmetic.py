"""Arithmetic of two operands: broadcasting, signs, powers, choices."""

import numpy as np

from ... import ops
from ...function import Function
from ._mutant import Witness, mutant, normal, positive, spaced

# ---- broadcasting --------------------------------------------------------------------------------------------------


class AddWithoutUnbroadcast(Function):
    @staticmethod
    def forward(ctx, a, b):
        return a + b

    @staticmethod
    def backward(ctx, grad):
        return grad, grad


mutant(
    "add-without-unbroadcast",
    "add",
    "b is repeated along the axes in which it has extent 1, but its gradient is not summed over them: it has the "
    "output's shape instead of b's.",
    right=ops.add,
    wrong=AddWithoutUnbroadcast.apply,
    inputs=normal((3, 4), (1, 4)),
    witness=lambda: Witness([[[1, 2], [3, 4]], [[5, 6]]], [[[1, 10], [100, 1000]]]),
)


class AddUnbroadcastBySlice(Function):
    @staticmethod
    def forward(ctx, a, b):
        return a + b

    @staticmethod
    def backward(ctx, grad):
        return grad, grad[:1]


mutant(
    "add-unbroadcast-by-slice",
    "add",
    "b's row enters every row of the output, so its gradient is the sum of theirs; only the first one is taken.",
    right=ops.add,
    wrong=AddUnbroadcastBySlice.apply,
    inputs=normal((3, 4), (1, 4)),
    witness=lambda: Witness([[[1, 2], [3, 4]], [[5, 6]]], [[[1, 10], [100, 1000]]]),
)


class MulUnbroadcastByMean(Function):
    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return a * b

    @staticmethod
    def backward(ctx, grad):
        a, b = ctx.saved_tensors
        return grad * b, (grad * a).mean(0, keepdim=True)


mutant(
    "mul-unbroadcast-by-mean",
    "mul",
    "The gradient of a repeated operand is the mean over its copies instead of their sum.",
    right=ops.mul,
    wrong=MulUnbroadcastByMean.apply,
    inputs=normal((3, 4), (1, 4)),
    witness=lambda: Witness([[[1, 2], [3, 4]], [[5, 6]]], [[[1, 1], [1, 1]]]),
)


class MulSummedOverTheWrongAxis(Function):
    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return a * b

    @staticmethod
    def backward(ctx, grad):
        a, b = ctx.saved_tensors
        return grad * b, (grad * a).sum(1)


mutant(
    "mul-summed-over-the-wrong-axis",
    "mul",
    "A vector times a square matrix is repeated down the rows, so its gradient is a sum over axis 0; it is summed over "
    "axis 1, and the shapes still fit.",
    right=ops.mul,
    wrong=MulSummedOverTheWrongAxis.apply,
    inputs=normal((4, 4), (4,)),
    witness=lambda: Witness([[[1, 2], [3, 4]], [5, 6]], [[[1, 1], [1, 1]]]),
)

# ---- sums, products, quotients -------------------------------------------------------------------------------------


class SubWithTwoPluses(Function):
    @staticmethod
    def forward(ctx, a, b):
        return a - b

    @staticmethod
    def backward(ctx, grad):
        return grad, grad


mutant(
    "sub-with-two-pluses",
    "sub",
    "b is subtracted, so its gradient is −grad; the minus is missing.",
    right=ops.sub,
    wrong=SubWithTwoPluses.apply,
    inputs=normal((3, 4), (3, 4)),
    witness=lambda: Witness([[5], [3]], [[1]]),
)


class NegPassedThrough(Function):
    @staticmethod
    def forward(ctx, x):
        return -x

    @staticmethod
    def backward(ctx, grad):
        return grad


mutant(
    "neg-passed-through",
    "neg",
    "The gradient is handed on unchanged; the derivative of −x is −1.",
    right=ops.neg,
    wrong=NegPassedThrough.apply,
    inputs=normal((3, 4)),
    witness=lambda: Witness([[5]], [[1]]),
)


class MulWithOwnValue(Function):
    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return a * b

    @staticmethod
    def backward(ctx, grad):
        a, b = ctx.saved_tensors
        return grad * a, grad * b


mutant(
    "mul-with-own-value",
    "mul",
    "Each factor's gradient is multiplied by its own value instead of the other factor's.",
    right=ops.mul,
    wrong=MulWithOwnValue.apply,
    inputs=normal((3, 4), (3, 4)),
    witness=lambda: Witness([[2], [3]], [[1]]),
)


class MulThatCountsOnce(Function):
    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        ctx.same = np.may_share_memory(a, b)
        return a * b

    @staticmethod
    def backward(ctx, grad):
        a, b = ctx.saved_tensors
        return grad * b, None if ctx.same else grad * a


mutant(
    "square-that-counts-once",
    "mul",
    "Where one Tensor is both factors, only its first use receives a gradient: x·x gets x instead of 2x. With two "
    "different Tensors all is right.",
    right=lambda x: ops.mul(x, x),
    wrong=lambda x: MulThatCountsOnce.apply(x, x),
    inputs=normal((3, 4)),
    witness=lambda: Witness([[3]], [[1]]),
)


class DivWithoutTheSquare(Function):
    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return a / b

    @staticmethod
    def backward(ctx, grad):
        a, b = ctx.saved_tensors
        return grad / b, -grad * a / b


mutant(
    "div-without-the-square",
    "div",
    "The derivative of a/b by b is −a/b²; the denominator is not squared.",
    right=ops.div,
    wrong=DivWithoutTheSquare.apply,
    inputs=lambda rng: (rng.standard_normal((3, 4)), rng.uniform(0.5, 2, (3, 4))),
    witness=lambda: Witness([[6], [2]], [[1]]),
)


class DivWithoutTheMinus(Function):
    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return a / b

    @staticmethod
    def backward(ctx, grad):
        a, b = ctx.saved_tensors
        return grad / b, grad * a / (b * b)


mutant(
    "div-without-the-minus",
    "div",
    "The quotient falls where b grows: its derivative by b is −a/b²; the minus is missing.",
    right=ops.div,
    wrong=DivWithoutTheMinus.apply,
    inputs=lambda rng: (rng.standard_normal((3, 4)), rng.uniform(0.5, 2, (3, 4))),
    witness=lambda: Witness([[6], [2]], [[1]]),
)

# ---- powers --------------------------------------------------------------------------------------------------------


class Power(Function):
    """y = a^b of two Tensors of one shape: dy/da = b·a^(b−1), dy/db = y·log a."""

    @staticmethod
    def forward(ctx, a, b):
        y = np.power(a, b)
        ctx.save_for_backward(a, b, y)
        return y

    @staticmethod
    def backward(ctx, grad):
        a, b, y = ctx.saved_tensors
        return grad * b * a ** (b - 1), grad * y * ops.log(a)


class PowExponentNotLowered(Power):
    @staticmethod
    def backward(ctx, grad):
        a, b, y = ctx.saved_tensors
        return grad * b * y, grad * y * ops.log(a)


mutant(
    "pow-exponent-not-lowered",
    "pow",
    "The derivative of a^b by a is b·a^(b−1); the exponent is not lowered.",
    right=Power.apply,
    wrong=PowExponentNotLowered.apply,
    inputs=positive((3, 4), (3, 4)),
    witness=lambda: Witness([[2], [3]], [[1]]),
)


class PowLogOfTheExponent(Power):
    @staticmethod
    def backward(ctx, grad):
        a, b, y = ctx.saved_tensors
        return grad * b * a ** (b - 1), grad * y * ops.log(b)


mutant(
    "pow-log-of-the-exponent",
    "pow",
    "The derivative of a^b by b is a^b·log a; the logarithm is taken of the exponent.",
    right=Power.apply,
    wrong=PowLogOfTheExponent.apply,
    inputs=positive((3, 4), (3, 4)),
    witness=lambda: Witness([[1], [2]], [[1]]),
)


class SquareDividedByTheBase(Function):
    @staticmethod
    def forward(ctx, x):
        y = np.power(x, 2)
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx, grad):
        x, y = ctx.saved_tensors
        return grad * 2 * y / x


mutant(
    "pow-divided-by-the-base",
    "pow",
    "b·a^(b−1) is computed as b·y/a, which is 0/0 = NaN where the base is exactly 0.",
    right=lambda x: ops.pow(x, 2),
    wrong=SquareDividedByTheBase.apply,
    inputs=lambda rng: (rng.standard_normal((3, 4)) * (np.arange(4) > 0),),
    witness=lambda: Witness([[0, 3]], [[1, 1]]),
)

# ---- choices -------------------------------------------------------------------------------------------------------


class Maximum(Function):
    """y = the greater of a and b; equals take half of the gradient each, as in PyTorch."""

    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return np.maximum(a, b)

    @staticmethod
    def backward(ctx, grad):
        a, b = ctx.saved_tensors
        share = ops.where(a == b, 0.5, ops.where(a > b, 1.0, 0.0))
        return grad * share, grad * (1 - share)


class MaximumTiesToBoth(Maximum):
    @staticmethod
    def backward(ctx, grad):
        a, b = ctx.saved_tensors
        return ops.where(a >= b, grad, 0.0), ops.where(b >= a, grad, 0.0)


mutant(
    "maximum-ties-to-both",
    "maximum",
    "Where a equals b both receive the whole gradient: together twice what there is.",
    right=Maximum.apply,
    wrong=MaximumTiesToBoth.apply,
    inputs=lambda rng: (a := rng.standard_normal((3, 4)), a + np.array([0.0, 1.0, -1.0, 2.0])),
    witness=lambda: Witness([[2, 5], [2, 3]], [[1, 1]]),
)


class WhereToBoth(Function):
    @staticmethod
    def forward(ctx, condition, a, b):
        return np.where(condition, a, b)

    @staticmethod
    def backward(ctx, grad):
        return None, grad, grad


mutant(
    "where-to-both",
    "where",
    "Both operands receive the whole gradient, also where they were not chosen.",
    right=ops.where,
    wrong=WhereToBoth.apply,
    inputs=lambda rng: (rng.permutation(np.arange(12) % 2 == 0).reshape(3, 4), *normal((3, 4), (3, 4))(rng)),
    witness=lambda: Witness([np.array([True, False]), [1, 2], [3, 4]], [[1, 1]]),
)


class WhereExchanged(Function):
    @staticmethod
    def forward(ctx, condition, a, b):
        ctx.save_for_backward(condition)
        return np.where(condition, a, b)

    @staticmethod
    def backward(ctx, grad):
        (condition,) = ctx.saved_tensors
        return None, ops.where(condition, 0.0, grad), ops.where(condition, grad, 0.0)


mutant(
    "where-exchanged",
    "where",
    "Each operand receives the gradient where the other one was chosen.",
    right=ops.where,
    wrong=WhereExchanged.apply,
    inputs=lambda rng: (rng.permutation(np.arange(12) % 2 == 0).reshape(3, 4), *normal((3, 4), (3, 4))(rng)),
    witness=lambda: Witness([np.array([True, False]), [1, 2], [3, 4]], [[1, 10]]),
)

mutant(
    "where-behind-a-square-root",
    "where",
    "where() discards the square root of negative numbers but not its derivative: 0 times NaN is NaN. The root's "
    "argument must be made safe before the root is taken.",
    right=lambda x: ops.where(x > 0, ops.sqrt(ops.where(x > 0, x, 1.0)), 0.0),
    wrong=lambda x: ops.where(x > 0, ops.sqrt(x), 0.0),
    inputs=spaced((3, 4)),
    witness=lambda: Witness([[4, -1]], [[1, 1]]),
)


class Atan2(Function):
    """The angle of the point (x, y): dy = x / (x² + y²), dx = −y / (x² + y²)."""

    @staticmethod
    def forward(ctx, y, x):
        ctx.save_for_backward(y, x)
        return np.arctan2(y, x)

    @staticmethod
    def backward(ctx, grad):
        y, x = ctx.saved_tensors
        square = x * x + y * y
        return grad * x / square, -grad * y / square


class Atan2Exchanged(Atan2):
    @staticmethod
    def backward(ctx, grad):
        return Atan2.backward(ctx, grad)[::-1]


mutant(
    "atan2-gradients-exchanged",
    "atan2",
    "The gradients are returned in the wrong order: y receives that of x, and x that of y. The shapes are equal, so "
    "nothing complains.",
    right=Atan2.apply,
    wrong=Atan2Exchanged.apply,
    inputs=positive((3, 4), (3, 4)),
    witness=lambda: Witness([[1], [2]], [[5]]),
)


class Remainder(Function):
    """y = a − b·floor(a / b): dy/da = 1, dy/db = −floor(a / b)."""

    @staticmethod
    def forward(ctx, a, b):
        ctx.quotient = np.floor(a / b)
        return a - b * ctx.quotient

    @staticmethod
    def backward(ctx, grad):
        return grad, -grad * ctx.quotient


class RemainderOfAConstant(Remainder):
    @staticmethod
    def backward(ctx, grad):
        return grad, 0 * grad


mutant(
    "remainder-of-a-constant",
    "remainder",
    "The divisor is taken for a constant; the remainder a − b·floor(a/b) falls by floor(a/b) where b grows by 1.",
    right=Remainder.apply,
    wrong=RemainderOfAConstant.apply,
    inputs=lambda rng: (rng.integers(1, 5, (3, 4)) + rng.uniform(0.3, 0.6, (3, 4)), rng.uniform(0.98, 1.02, (3, 4))),
    witness=lambda: Witness([[7], [2]], [[1]]),
)
