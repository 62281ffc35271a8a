"""Functions of one element: powers, exponentials, activations."""

import math

import numpy as np

from ... import ops
from ...function import Function
from ._mutant import Witness, mutant, normal, positive, spaced


class Elementwise(Function):
    """y = f(x) of each element. A subclass gives f of an array, and slope, dy/dx as a function of Tensors x and y."""

    @staticmethod
    def forward(ctx, x):
        y = ctx.f(x)
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.slope(*ctx.saved_tensors)


# ---- powers, exponentials, logarithms ------------------------------------------------------------------------------


class SquareWithoutTheTwo(Elementwise):
    f = staticmethod(lambda x: x * x)
    slope = staticmethod(lambda x, y: x)


mutant(
    "square-without-the-two",
    "square",
    "The derivative of x² is 2x; the 2 is missing.",
    right=lambda x: x * x,
    wrong=SquareWithoutTheTwo.apply,
    inputs=normal((3, 4)),
    witness=lambda: Witness([[3]], [[1]]),
)


class ExpOfTheInput(Elementwise):
    f = np.exp
    slope = staticmethod(lambda x, y: x)


mutant(
    "exp-of-the-input",
    "exp",
    "exp is its own derivative, so grad is multiplied by the output; it is multiplied by the input.",
    right=ops.exp,
    wrong=ExpOfTheInput.apply,
    inputs=normal((3, 4)),
    witness=lambda: Witness([[0]], [[1]]),
)


class LogMultiplied(Elementwise):
    f = np.log
    slope = staticmethod(lambda x, y: x)


mutant(
    "log-multiplied",
    "log",
    "The derivative of log x is 1/x; grad is multiplied by x instead of divided.",
    right=ops.log,
    wrong=LogMultiplied.apply,
    inputs=positive((3, 4)),
    witness=lambda: Witness([[2]], [[1]]),
)


class Log1p(Elementwise):
    f = np.log1p
    slope = staticmethod(lambda x, y: 1 / (1 + x))


class Log1pWithoutTheOne(Log1p):
    slope = staticmethod(lambda x, y: 1 / x)


mutant(
    "log1p-without-the-one",
    "log1p",
    "The derivative of log(1 + x) is 1/(1 + x); that of log x was copied.",
    right=Log1p.apply,
    wrong=Log1pWithoutTheOne.apply,
    inputs=positive((3, 4)),
    witness=lambda: Witness([[1]], [[1]]),
)


class SqrtWithoutTheHalf(Elementwise):
    f = np.sqrt
    slope = staticmethod(lambda x, y: 1 / y)


mutant(
    "sqrt-without-the-half",
    "sqrt",
    "The derivative of √x is 1/(2√x); the 2 is missing.",
    right=ops.sqrt,
    wrong=SqrtWithoutTheHalf.apply,
    inputs=positive((3, 4)),
    witness=lambda: Witness([[4]], [[1]]),
)


class Rsqrt(Elementwise):
    f = staticmethod(lambda x: 1 / np.sqrt(x))
    slope = staticmethod(lambda x, y: -0.5 * y * y * y)


class RsqrtSquared(Rsqrt):
    slope = staticmethod(lambda x, y: -0.5 * y * y)


mutant(
    "rsqrt-squared",
    "rsqrt",
    "The derivative of x^(−1/2) is −x^(−3/2)/2 = −y³/2; y is only squared. At x = 1 nobody would notice.",
    right=Rsqrt.apply,
    wrong=RsqrtSquared.apply,
    inputs=positive((3, 4)),
    witness=lambda: Witness([[4]], [[16]]),
)


class Sin(Elementwise):
    f = np.sin
    slope = staticmethod(lambda x, y: Cos.apply(x))


class Cos(Elementwise):
    f = np.cos
    slope = staticmethod(lambda x, y: -Sin.apply(x))


class CosWithoutTheMinus(Cos):
    slope = staticmethod(lambda x, y: Sin.apply(x))


mutant(
    "cos-without-the-minus",
    "cos",
    "The derivative of the cosine is minus the sine; the minus is missing.",
    right=Cos.apply,
    wrong=CosWithoutTheMinus.apply,
    inputs=normal((3, 4)),
    witness=lambda: Witness([[math.pi / 2]], [[1]]),
)


class AbsWithoutTheSign(Elementwise):
    f = np.abs
    slope = staticmethod(lambda x, y: 1.0)


mutant(
    "abs-without-the-sign",
    "abs",
    "The derivative of |x| is the sign of x; grad is handed on as it is, also where x is negative.",
    right=ops.abs,
    wrong=AbsWithoutTheSign.apply,
    inputs=spaced((3, 4)),
    witness=lambda: Witness([[-2, 3]], [[1, 1]]),
)


class AbsOfTheGradient(Elementwise):
    f = np.abs

    @staticmethod
    def backward(ctx, grad):
        x, _ = ctx.saved_tensors
        return ops.abs(grad) * ops.sign(x)


mutant(
    "abs-of-the-gradient",
    "abs",
    "The absolute value is also taken of the incoming gradient: wrong for negative cotangents alone, which a check "
    "with ones never sees.",
    right=ops.abs,
    wrong=AbsOfTheGradient.apply,
    inputs=spaced((5, 6), gap=0.1),
    witness=lambda: Witness([[-2, 3]], [[-1, -1]]),
)


class Erf(Elementwise):
    f = np.vectorize(math.erf, otypes=[np.float64])
    slope = staticmethod(lambda x, y: 2 / math.sqrt(math.pi) * ops.exp(-x * x))


class ErfOfTheNormalDensity(Erf):
    slope = staticmethod(lambda x, y: 2 / math.sqrt(math.pi) * ops.exp(-x * x / 2))


mutant(
    "erf-of-the-normal-density",
    "erf",
    "The derivative of erf is 2/√π·exp(−x²); the exponent was taken from the normal density, exp(−x²/2).",
    right=Erf.apply,
    wrong=ErfOfTheNormalDensity.apply,
    inputs=normal((3, 4)),
    witness=lambda: Witness([[1]], [[1]]),
)

# ---- saturating activations ----------------------------------------------------------------------------------------


class TanhWithoutTheSquare(Elementwise):
    f = np.tanh
    slope = staticmethod(lambda x, y: 1 - y)


mutant(
    "tanh-without-the-square",
    "tanh",
    "The derivative of tanh is 1 − y²; the square is missing.",
    right=ops.tanh,
    wrong=TanhWithoutTheSquare.apply,
    inputs=normal((3, 4)),
    witness=lambda: Witness([[1]], [[1]]),
)


class TanhOfTheInput(Elementwise):
    f = np.tanh
    slope = staticmethod(lambda x, y: 1 - x * x)


mutant(
    "tanh-of-the-input",
    "tanh",
    "1 − y² is computed with the input for y. Close to 0, where tanh x is nearly x, it looks right.",
    right=ops.tanh,
    wrong=TanhOfTheInput.apply,
    inputs=normal((3, 4)),
    witness=lambda: Witness([[1]], [[1]]),
)


class Sigmoid(Elementwise):
    f = staticmethod(lambda x: 0.5 * (1 + np.tanh(0.5 * x)))
    slope = staticmethod(lambda x, y: y * (1 - y))


class SigmoidOfTheInput(Sigmoid):
    slope = staticmethod(lambda x, y: x * (1 - x))


mutant(
    "sigmoid-of-the-input",
    "sigmoid",
    "y(1 − y) holds for the output; the input was put in.",
    right=Sigmoid.apply,
    wrong=SigmoidOfTheInput.apply,
    inputs=normal((3, 4)),
    witness=lambda: Witness([[0]], [[4]]),
)


class SigmoidThatOverflows(Sigmoid):
    slope = staticmethod(lambda x, y: ops.exp(-x) / (1 + ops.exp(-x)) ** 2)


mutant(
    "sigmoid-that-overflows",
    "sigmoid",
    "The formula exp(−x) / (1 + exp(−x))² is right, but for large negative x both exponentials overflow and their "
    "quotient is NaN instead of 0.",
    right=Sigmoid.apply,
    wrong=SigmoidThatOverflows.apply,
    inputs=lambda rng: (np.append(rng.standard_normal(8), -rng.uniform(800, 900)),),
    witness=lambda: Witness([[0, -800]], [[4, 4]]),
)


class SiLU(Elementwise):
    f = staticmethod(lambda x: x * Sigmoid.f(x))
    slope = staticmethod(lambda x, y: (s := Sigmoid.apply(x)) + y * (1 - s))


class SiLUWithoutTheProductRule(SiLU):
    slope = staticmethod(lambda x, y: Sigmoid.apply(x))


mutant(
    "silu-without-the-product-rule",
    "silu",
    "x·σ(x) is differentiated as though σ(x) were a constant: the term x·σ′(x) is missing.",
    right=SiLU.apply,
    wrong=SiLUWithoutTheProductRule.apply,
    inputs=normal((3, 4)),
    witness=lambda: Witness([[1]], [[1]]),
)


class Softplus(Elementwise):
    f = staticmethod(lambda x: np.logaddexp(0, x))
    slope = staticmethod(lambda x, y: Sigmoid.apply(x))


class SoftplusThatOverflows(Softplus):
    slope = staticmethod(lambda x, y: ops.exp(x) / (1 + ops.exp(x)))


mutant(
    "softplus-that-overflows",
    "softplus",
    "exp(x) / (1 + exp(x)) is right on paper; for large x it is ∞/∞ = NaN where the derivative is 1.",
    right=Softplus.apply,
    wrong=SoftplusThatOverflows.apply,
    inputs=lambda rng: (np.append(rng.standard_normal(8), rng.uniform(800, 900)),),
    witness=lambda: Witness([[0, 800]], [[2, 2]]),
)

# ---- piecewise activations -----------------------------------------------------------------------------------------


class ReLUMaskOfTheGradient(Elementwise):
    f = staticmethod(lambda x: np.maximum(x, 0))

    @staticmethod
    def backward(ctx, grad):
        return ops.where(grad > 0, grad, 0.0)


mutant(
    "relu-mask-of-the-gradient",
    "relu",
    "relu is applied to the gradient: what passes is decided by the sign of grad instead of the sign of x. (Zeiler and "
    "Fergus 2014 do so on purpose, to draw what a unit sees.)",
    right=ops.relu,
    wrong=ReLUMaskOfTheGradient.apply,
    inputs=spaced((5, 6), gap=0.1),
    witness=lambda: Witness([[-2, 3]], [[1, -1]]),
)


class ReLUGuided(Elementwise):
    f = staticmethod(lambda x: np.maximum(x, 0))

    @staticmethod
    def backward(ctx, grad):
        x, _ = ctx.saved_tensors
        return ops.where((x > 0) & (grad > 0), grad, 0.0)


mutant(
    "relu-guided",
    "relu",
    "Besides the mask of x, negative gradients are set to zero. (Guided backpropagation, Springenberg et al. 2015, "
    "does so on purpose; it is no derivative.) With a cotangent of ones it looks right.",
    right=ops.relu,
    wrong=ReLUGuided.apply,
    inputs=spaced((5, 6), gap=0.1),
    witness=lambda: Witness([[-2, 3]], [[1, -1]]),
)


class LeakyReLU(Elementwise):
    f = staticmethod(lambda x: np.where(x > 0, x, 0.1 * x))

    @staticmethod
    def backward(ctx, grad):
        x, _ = ctx.saved_tensors
        return ops.where(x > 0, grad, 0.1 * grad)


class LeakyReLUOnTheWrongSide(LeakyReLU):
    @staticmethod
    def backward(ctx, grad):
        x, _ = ctx.saved_tensors
        return ops.where(x < 0, grad, 0.1 * grad)


mutant(
    "leaky-relu-on-the-wrong-side",
    "leaky_relu",
    "The comparison is turned round: the small slope is applied to positive x.",
    right=LeakyReLU.apply,
    wrong=LeakyReLUOnTheWrongSide.apply,
    inputs=spaced((3, 4)),
    witness=lambda: Witness([[-2, 3]], [[10, 10]]),
)

_ALPHA = 1.5  # of elu; at 1 its mistakes do not show


class ELU(Elementwise):
    f = staticmethod(lambda x: np.where(x > 0, x, _ALPHA * np.expm1(x)))
    slope = staticmethod(lambda x, y: ops.where(x > 0, 1.0, y + _ALPHA))


class ELUWithoutAlpha(ELU):
    slope = staticmethod(lambda x, y: ops.where(x > 0, 1.0, ops.exp(x)))


mutant(
    "elu-without-alpha",
    "elu",
    "For x < 0 the derivative is α·exp(x); α is missing. With the default α = 1 it looks right.",
    right=ELU.apply,
    wrong=ELUWithoutAlpha.apply,
    inputs=spaced((3, 4)),
    witness=lambda: Witness([[-1, 3]], [[1, 1]]),
)


class ELUOfTheOutput(ELU):
    slope = staticmethod(lambda x, y: ops.where(x > 0, 1.0, y + 1))


mutant(
    "elu-output-plus-one",
    "elu",
    "For x < 0 the derivative is y + α; y + 1 holds for α = 1 alone.",
    right=ELU.apply,
    wrong=ELUOfTheOutput.apply,
    inputs=spaced((3, 4)),
    witness=lambda: Witness([[-1, 3]], [[1, 1]]),
)


def _gelu_slope_by_tanh(x, cubic):
    """The derivative of x/2·(1 + tanh u), u = √(2/π)·(x + cubic·x³)."""
    scale = math.sqrt(2 / math.pi)
    t = ops.tanh(scale * (x + cubic * x * x * x))
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * scale * (1 + 3 * cubic * x * x)


class GELU(Elementwise):
    """y = x·Φ(x), with the normal distribution's Φ: dy/dx = Φ(x) + x·φ(x)."""

    f = staticmethod(lambda x: 0.5 * x * (1 + Erf.f(x / math.sqrt(2))))
    slope = staticmethod(
        lambda x, y: 0.5 * (1 + Erf.apply(x / math.sqrt(2))) + x * ops.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    )


class GELUOfTheApproximation(GELU):
    slope = staticmethod(lambda x, y: _gelu_slope_by_tanh(x, 0.044715))


mutant(
    "gelu-of-the-approximation",
    "gelu",
    "The forward pass is the exact gelu, the derivative that of its approximation by tanh. They differ by less than "
    "one in a thousand: a loose tolerance lets it pass.",
    right=GELU.apply,
    wrong=GELUOfTheApproximation.apply,
    inputs=normal((3, 4)),
    witness=lambda: Witness([[2]], [[1]]),
)


class GELUByTanh(Elementwise):
    f = staticmethod(lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x))))
    slope = staticmethod(lambda x, y: _gelu_slope_by_tanh(x, 0.044715))


class GELUWithAWrongConstant(GELUByTanh):
    slope = staticmethod(lambda x, y: _gelu_slope_by_tanh(x, 0.044175))


mutant(
    "gelu-with-two-digits-exchanged",
    "gelu",
    "In gelu's approximation by tanh the constant is 0.044715; the derivative uses 0.044175.",
    right=GELUByTanh.apply,
    wrong=GELUWithAWrongConstant.apply,
    inputs=normal((3, 4)),
    witness=lambda: Witness([[1]], [[1]]),
)


class Clamp(Elementwise):
    """y = x between −1 and 1, else the nearer bound. On the bounds the gradient passes, as in PyTorch."""

    f = staticmethod(lambda x: np.clip(x, -1, 1))
    slope = staticmethod(lambda x, y: ops.where((x >= -1) & (x <= 1), 1.0, 0.0))


class ClampPassedThrough(Clamp):
    slope = staticmethod(lambda x, y: 1.0)


mutant(
    "clamp-passed-through",
    "clamp",
    "Outside the bounds the output is constant and has no gradient; here it passes everywhere. (A straight-through "
    "estimator does so on purpose; it is no derivative.)",
    right=Clamp.apply,
    wrong=ClampPassedThrough.apply,
    inputs=lambda rng: (rng.permutation([-1.7, -1.3, -0.6, -0.2, 0.3, 0.7, 1.2, 1.6]) + rng.uniform(-0.1, 0.1, 8),),
    witness=lambda: Witness([[-2, 0.5, 3]], [[1, 1, 1]]),
)


class ClampOnOneSide(Clamp):
    slope = staticmethod(lambda x, y: ops.where(x <= 1, 1.0, 0.0))


mutant(
    "clamp-on-one-side",
    "clamp",
    "Only the upper bound stops the gradient; below the lower one it passes.",
    right=Clamp.apply,
    wrong=ClampOnOneSide.apply,
    inputs=lambda rng: (rng.permutation([-1.7, -1.3, -0.6, -0.2, 0.3, 0.7, 1.2, 1.6]) + rng.uniform(-0.1, 0.1, 8),),
    witness=lambda: Witness([[-2, 0.5, 3]], [[1, 1, 1]]),
)


class HuberLoss(Elementwise):
    """y = x²/2 where |x| < 1, else |x| − 1/2."""

    f = staticmethod(lambda x: np.where(np.abs(x) < 1, x * x / 2, np.abs(x) - 0.5))
    slope = staticmethod(lambda x, y: ops.where(ops.abs(x) < 1, x, ops.sign(x)))


class HuberLossOfTheSquare(HuberLoss):
    slope = staticmethod(lambda x, y: x)


mutant(
    "huber-loss-of-the-square",
    "huber_loss",
    "The parabola's derivative is used everywhere; beyond 1 the loss is a line and the derivative only the sign.",
    right=HuberLoss.apply,
    wrong=HuberLossOfTheSquare.apply,
    inputs=lambda rng: (rng.permutation([-2.5, -1.5, -0.6, -0.2, 0.3, 0.7, 1.4, 2.2]) + rng.uniform(-0.1, 0.1, 8),),
    witness=lambda: Witness([[0.5, -3]], [[1, 1]]),
)
