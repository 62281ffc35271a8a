"""Activation functions beside relu: sigmoid, silu, leaky_relu, elu, gelu, softplus, logsigmoid, hardtanh, relu6.

Far from zero they neither overflow nor lose the digits of what is small.
"""

import math

import numpy as np

from ..function import Function
from ._common import as_floating, as_tensor, check_numbers
from .arithmetic import where
from .elementwise import OfInput, OfOutput, exp, tanh
from .erf import erfc
from .extrema import clamp_max


class Sigmoid(OfOutput):
    """y = 1 / (1 + e^-x): dy/dx = y (1 - y). Far below zero e^-x is inf and y is 0, as it should be."""

    f = staticmethod(lambda x: 1 / (1 + np.exp(-x)))
    slope = staticmethod(lambda y: y * (1 - y))


class Softplus(OfInput):
    """y = log(1 + e^(b x)) / b, and x itself where b x is above the threshold: dy/dx = sigmoid(b x), or 1 there."""

    @staticmethod
    def f(x, beta, threshold):
        z = beta * x
        return np.where(z > threshold, x, (np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))) / beta)

    @staticmethod
    def slope(x, beta, threshold):
        z = beta * x
        return where(z > threshold, 1.0, sigmoid(z))


class LogSigmoid(OfInput):
    """y = -log(1 + e^-x): dy/dx = sigmoid(-x), as exp(logsigmoid(-x)): exact to second order."""

    f = staticmethod(lambda x: np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x))))
    slope = staticmethod(lambda x: exp(logsigmoid(-x)))


class Elu(OfInput):
    """y = x where x > 0, else alpha (e^x - 1): dy/dx = 1 or alpha e^x."""

    f = staticmethod(lambda x, alpha: np.where(x > 0, x, alpha * np.expm1(x)))
    slope = staticmethod(lambda x, alpha: where(x <= 0, alpha * exp(clamp_max(x, 0)), 1.0))


class LeakyReLU(Function):
    """y = x where x > 0, else slope * x."""

    @staticmethod
    def forward(ctx, x, negative_slope):
        ctx.save_for_backward(x)
        ctx.negative_slope = negative_slope
        return np.where(x > 0, x, x * negative_slope)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return where(x > 0, grad, grad * ctx.negative_slope)


class Hardtanh(Function):
    """y = x between two bounds, which it does not leave: dy/dx = 1 between them, 0 at the bounds and beyond."""

    @staticmethod
    def forward(ctx, x, least, greatest):
        ctx.save_for_backward(x)
        ctx.bounds = least, greatest
        return np.clip(x, least, greatest)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        least, greatest = ctx.bounds
        return where((x <= least) | (x >= greatest), 0.0, grad)


def _real(name, input):
    input = as_floating(name, input)
    if input.dtype.kind == "c":
        raise TypeError(f"{name}: input must be real numbers, got {input.dtype}")
    return input


def sigmoid(input):
    """1 / (1 + exp(-input)), elementwise."""
    return Sigmoid.apply(as_floating("sigmoid", input))


def silu(input):
    """input * sigmoid(input), elementwise (Elfwing et al., 2017; also known as swish)."""
    input = as_floating("silu", input)
    return input * sigmoid(input)


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
    input = _real("gelu", input)
    if approximate == "none":
        return 0.5 * input * erfc(input * -math.sqrt(0.5))
    if approximate == "tanh":
        return 0.5 * input * (1 + tanh(math.sqrt(2 / math.pi) * (input + 0.044715 * input * input * input)))
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
