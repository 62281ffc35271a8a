"""Activation functions beside relu: sigmoid, tanh, silu, leaky_relu, elu, gelu, softplus, logsigmoid, hardtanh, relu6.

Far from zero they neither overflow nor lose the digits of what is small. Forward and backward are one pass each.
"""

import math

import numpy as np

from ..function import Function
from ..kernels import activation as kernel
from ..kernels import empty_like
from ..tensor import Tensor
from ._common import as_floating, as_real, as_tensor, check_numbers, quietly
from .arithmetic import conj, where
from .elementwise import Exp
from .erf import Erfc
from .extrema import Clamp
from .relu import SMALL, flat, is_small, laid_out_as


class Activation(Function):
    """y = f(x) of each element.

    A subclass names f in the kernel's table and gives `gradient`: gx as a formula of Tensors, with which a recorded
    backward pass can be differentiated again, and of arrays, for those that are small or have no kernel.
    """

    on_arrays = True
    function = None
    parameters = 0, 0  # of those that have none
    small = SMALL  # elements, up to which NumPy's formula is faster than to call the kernel

    @staticmethod
    def forward(ctx, x, a=0, b=0):
        if is_small(x, ctx.small):
            y = np.asarray(quietly(kernel.FORMULAS[ctx.function][0], x, a, b), like=x)
        else:
            y = empty_like(x)
            kernel.forward(flat(laid_out_as(y, x)), ctx.function, a, b, flat(y))
        ctx.save_for_backward(y if ctx.function in kernel.FROM_OUTPUT else x)
        ctx.parameters = a, b
        return y

    @staticmethod
    def backward(ctx, grad):
        (of,) = ctx.saved_tensors
        a, b = ctx.parameters
        if isinstance(of, Tensor) or is_small(of, ctx.small):
            return ctx.gradient(grad, of, a, b)
        gx = empty_like(of)
        kernel.backward(flat(laid_out_as(gx, grad)), flat(laid_out_as(gx, of)), ctx.function, a, b, flat(gx))
        return gx


def _choose(condition, x, y):
    """where, of Tensors or of arrays."""
    return where(condition, x, y) if isinstance(condition, Tensor) else np.where(condition, x, y)


class Sigmoid(Activation):
    """y = 1 / (1 + e^-x): dy/dx = y (1 - y). Far below zero e^-x is inf and y is 0, as it should be."""

    function = "sigmoid"
    gradient = staticmethod(lambda grad, y, a, b: grad * conj(y * (1 - y)))


class Tanh(Activation):
    """y = tanh x: dy/dx = 1 - y^2."""

    function = "tanh"

    @staticmethod
    def forward(ctx, x):
        if not is_small(x):
            return Activation.forward(ctx, x)
        y = np.tanh(x)  # never warns: to silence NumPy costs 1 us of 4
        ctx.save_for_backward(y)
        return y

    gradient = staticmethod(lambda grad, y, a, b: grad * conj(1 - y * y))


class SiLU(Activation):
    """y = x s, s = sigmoid(x): dy/dx = s (1 + x (1 - s))."""

    function = "silu"

    @staticmethod
    def gradient(grad, x, a, b):
        s = Sigmoid.call(x)
        return grad * conj(s * (1 + x * (1 - s)))


class GELU(Activation):
    """y = x P(x), the chance of a normal variable to be below x: dy/dx = P(x) + x p(x) with its density p."""

    function = "gelu"
    small = 64  # of a normal variable Python alone knows, element by element

    @staticmethod
    def gradient(grad, x, a, b):
        density = Exp.call(x * x * -0.5) * (1 / math.sqrt(2 * math.pi))
        return grad * (0.5 * Erfc.call(x * -math.sqrt(0.5)) + x * density)


class GELUTanh(Activation):
    """y = x s, s = sigmoid(v), v = c x (1 + k x^2): dy/dx = s + x s (1 - s) dv/dx."""

    function = "gelu_tanh"

    @staticmethod
    def gradient(grad, x, a, b):
        c, k = kernel.GELU_SCALE, kernel.GELU_CUBIC
        s = Sigmoid.call(c * x * (1 + k * x * x))
        return grad * (s + x * (s * (1 - s)) * (c * (1 + 3 * k * x * x)))


class Softplus(Activation):
    """y = log(1 + e^(b x)) / b, and x itself where b x is above the threshold: dy/dx = sigmoid(b x), or 1 there."""

    function = "softplus"

    @staticmethod
    def gradient(grad, x, beta, threshold):
        z = beta * x
        return _choose(z > threshold, grad, grad * Sigmoid.call(z))


class LogSigmoid(Activation):
    """y = -log(1 + e^-x): dy/dx = sigmoid(-x), as exp(logsigmoid(-x)): exact to second order."""

    function = "logsigmoid"
    gradient = staticmethod(lambda grad, x, a, b: grad * Exp.call(LogSigmoid.call(-x)))


class Elu(Activation):
    """y = x where x > 0, else alpha (e^x - 1): dy/dx = 1 or alpha e^x."""

    function = "elu"
    gradient = staticmethod(
        lambda grad, x, alpha, b: _choose(x <= 0, grad * (alpha * Exp.call(Clamp.call(x, None, 0))), grad)
    )


class LeakyReLU(Activation):
    """y = x where x > 0, else slope * x."""

    function = "leaky_relu"
    gradient = staticmethod(lambda grad, x, slope, b: _choose(x > 0, grad, grad * slope))


class Hardtanh(Activation):
    """y = x between two bounds, which it does not leave: dy/dx = 1 between them, 0 at the bounds and beyond."""

    function = "hardtanh"
    gradient = staticmethod(lambda grad, x, least, greatest: _choose((x <= least) | (x >= greatest), 0.0, grad))


def _real(name, input):
    input = as_floating(name, input)
    if input.dtype.kind == "c":
        raise TypeError(f"{name}: input must be real numbers, got {input.dtype}")
    return input


def sigmoid(input):
    """1 / (1 + exp(-input)), elementwise."""
    return Sigmoid.apply(as_floating("sigmoid", input))


def tanh(input):
    """Hyperbolic tangent, elementwise."""
    return Tanh.apply(as_floating("tanh", input))


def silu(input):
    """input * sigmoid(input), elementwise (Elfwing et al., 2017; also known as swish)."""
    return SiLU.apply(as_floating("silu", input))


def softplus(input, beta=1, threshold=20):
    """log(1 + exp(beta * input)) / beta, elementwise; input itself where beta * input exceeds the threshold.

    Raises:
        TypeError: input is complex, or beta or threshold no number.
    """
    check_numbers("softplus", beta=beta, threshold=threshold)
    return Softplus.apply(_real("softplus", input), beta, threshold)


def logsigmoid(input):
    """log(sigmoid(input)), elementwise.

    Raises:
        TypeError: input is complex.
    """
    return LogSigmoid.apply(_real("logsigmoid", input))


def leaky_relu(input, negative_slope=0.01):
    """input where it is positive, else negative_slope * input (Maas et al., 2013).

    Raises:
        TypeError: input is complex, or negative_slope no number.
    """
    check_numbers("leaky_relu", negative_slope=negative_slope)
    return LeakyReLU.apply(_real("leaky_relu", input), negative_slope)


def elu(input, alpha=1.0):
    """input where it is positive, else alpha * (exp(input) - 1) (Clevert et al., 2015).

    Raises:
        TypeError: input is complex, or alpha no number.
    """
    check_numbers("elu", alpha=alpha)
    return Elu.apply(_real("elu", input), alpha)


def gelu(input, approximate="none"):
    """input times the chance that a standard normal variable is below it (Hendrycks and Gimpel, 2016).

    Args:
        approximate: "none" for the exact function, "tanh" for the paper's approximation of it.

    Raises:
        ValueError: any other word. TypeError: input is neither float32, float64 nor integer.
    """
    if approximate == "none":
        return GELU.apply(as_real("gelu", input))
    if approximate == "tanh":
        return GELUTanh.apply(_real("gelu", input))
    raise ValueError(f"gelu: approximate must be 'none' or 'tanh', got {approximate!r}")


def hardtanh(input, min_val=-1.0, max_val=1.0):
    """input, kept between min_val and max_val. Unlike clamp's, the gradient is 0 at the bounds; integers stay so.

    Raises:
        ValueError: max_val is less than min_val. TypeError: input is bool or complex, or a bound no number.
    """
    input = as_tensor("hardtanh", input)
    if input.dtype.kind not in "iuf":
        raise TypeError(f"hardtanh: input must be real numbers, got {input.dtype}")
    check_numbers("hardtanh", min_val=min_val, max_val=max_val)
    if max_val < min_val:
        raise ValueError(f"hardtanh: max_val (={max_val}) must not be less than min_val (={min_val})")
    if input.dtype.kind != "f":
        min_val, max_val = int(min_val), int(max_val)
    return Hardtanh.apply(input, min_val, max_val)


def relu6(input):
    """input, kept between 0 and 6 (Krizhevsky, 2010)."""
    return hardtanh(input, 0, 6)
