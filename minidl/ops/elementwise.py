"""Functions of one element: powers, exponentials, logarithms, abs, sign; and what such functions share."""

import math

import numpy as np

from ..function import Function
from ..tensor import Tensor
from ._common import as_floating, as_tensor, astype, quietly
from .arithmetic import conj, where


class OfInput(Function):
    """y = f(x) of each element, where dy/dx is a formula in x.

    A subclass gives both: `f` of an array, `slope` of a Tensor; both receive the options that follow x.
    """

    @staticmethod
    def forward(ctx, x, *options):
        ctx.save_for_backward(x)
        ctx.options = options
        return quietly(ctx.f, x, *options)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * conj(ctx.slope(x, *ctx.options))


class OfOutput(Function):
    """y = f(x) of each element, where dy/dx is a formula in y: so the input need not be kept.

    A subclass gives both: `f` of an array, `slope` of a Tensor, written with operators alone.
    """

    elementwise = True

    @staticmethod
    def forward(ctx, x):
        y = quietly(ctx.f, x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, grad):
        (y,) = ctx.saved_tensors
        return grad * conj(ctx.slope(y))


class Exp(OfOutput):
    """y = e^x: dy/dx = y."""

    f = np.exp
    slope = staticmethod(lambda y: y)


class Log(Function):
    """y = log x: dy/dx = 1 / x."""

    elementwise = True

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return quietly(np.log, x)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad / conj(x)


class Exp2(OfOutput):
    """y = 2^x: dy/dx = y log 2."""

    f = np.exp2
    slope = staticmethod(lambda y: y * math.log(2))


class Expm1(OfOutput):
    """y = e^x - 1: dy/dx = y + 1."""

    f = np.expm1
    slope = staticmethod(lambda y: y + 1)


class Log2(OfInput):
    """y = log x / log 2: dy/dx = 1 / (x log 2)."""

    f = np.log2
    slope = staticmethod(lambda x: 1 / (x * math.log(2)))


class Log10(OfInput):
    """y = log x / log 10: dy/dx = 1 / (x log 10)."""

    f = np.log10
    slope = staticmethod(lambda x: 1 / (x * math.log(10)))


class Log1p(OfInput):
    """y = log(1 + x): dy/dx = 1 / (1 + x)."""

    f = np.log1p
    slope = staticmethod(lambda x: 1 / (1 + x))


class Sqrt(Function):
    """y = sqrt x: dy/dx = 1 / (2 y)."""

    elementwise = True

    @staticmethod
    def forward(ctx, x):
        y = quietly(np.sqrt, x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, grad):
        (y,) = ctx.saved_tensors
        return grad / (2 * conj(y))


class Rsqrt(OfOutput):
    """y = 1 / sqrt x: dy/dx = -y^3 / 2."""

    f = staticmethod(lambda x: 1 / np.sqrt(x))
    slope = staticmethod(lambda y: y * y * y * -0.5)


class Reciprocal(OfOutput):
    """y = 1 / x: dy/dx = -y^2."""

    f = staticmethod(lambda x: 1 / x)
    slope = staticmethod(lambda y: -(y * y))


class Square(OfInput):
    """y = x^2: dy/dx = 2 x."""

    f = np.square
    slope = staticmethod(lambda x: 2 * x)


class Abs(Function):
    """y = |x|: dy/dx = sign x, taken as 0 at 0; of a complex number the sign is x / |x|."""

    @staticmethod
    def forward(ctx, x):
        y = np.abs(x)
        ctx.save_for_backward(x, y if x.dtype.kind == "c" else None)
        return y

    @staticmethod
    def backward(ctx, grad):
        x, y = ctx.saved_tensors
        return grad * (x / where(y == 0, 1.0, y) if x.dtype.kind == "c" else sign(x))


def exp(input):
    """e to the power of input, elementwise."""
    return Exp.apply(as_floating("exp", input))


def exp2(input):
    """2 to the power of input, elementwise."""
    return Exp2.apply(as_floating("exp2", input))


def expm1(input):
    """exp(input) - 1, elementwise, with all its digits where input is small."""
    return Expm1.apply(as_floating("expm1", input))


def log(input):
    """Natural logarithm, elementwise; NaN below 0 and -inf at 0."""
    return Log.apply(as_floating("log", input))


def log2(input):
    """Logarithm to base 2, elementwise; NaN below 0 and -inf at 0."""
    return Log2.apply(as_floating("log2", input))


def log10(input):
    """Logarithm to base 10, elementwise; NaN below 0 and -inf at 0."""
    return Log10.apply(as_floating("log10", input))


def log1p(input):
    """log(1 + input), elementwise, with all its digits where input is small; NaN below -1 and -inf at -1."""
    return Log1p.apply(as_floating("log1p", input))


def sqrt(input):
    """Square root, elementwise; NaN below 0."""
    return Sqrt.apply(as_floating("sqrt", input))


def rsqrt(input):
    """1 / sqrt(input), elementwise; NaN below 0 and inf at 0."""
    return Rsqrt.apply(as_floating("rsqrt", input))


def reciprocal(input):
    """1 / input, elementwise."""
    return Reciprocal.apply(as_floating("reciprocal", input))


def square(input):
    """input * input, elementwise; integers stay integers."""
    input = as_tensor("square", input)
    return Square.apply(astype(input, np.int64) if input.dtype == np.bool_ else input)


def abs(input):
    """Absolute value, elementwise.

    Raises:
        TypeError: input is bool.
    """
    input = as_tensor("abs", input)
    if input.dtype == np.bool_:
        raise TypeError("abs: a bool Tensor has no absolute value")
    return Abs.apply(input)


def sign(input):
    """-1, 0 or 1 elementwise; its gradient is zero everywhere, so none is recorded.

    Raises:
        TypeError: input is complex.
    """
    input = as_tensor("sign", input)
    if input.dtype.kind == "c":
        raise TypeError(f"sign: a real Tensor is needed, got {input.dtype}")
    return Tensor(input._data.copy() if input.dtype == np.bool_ else np.sign(input._data))
