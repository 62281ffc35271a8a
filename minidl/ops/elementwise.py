"""Functions of one element: exp, log, sqrt, tanh, abs."""

import numpy as np

from ..function import Function
from ..tensor import Tensor
from ._common import as_floating, as_tensor
from .arithmetic import conj, where


class Exp(Function):
    """y = exp x: dy/dx = y."""

    elementwise = True

    @staticmethod
    def forward(ctx, x):
        y = np.exp(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, grad):
        (y,) = ctx.saved_tensors
        return grad * conj(y)


class Log(Function):
    """y = log x: dy/dx = 1 / x."""

    elementwise = True

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return np.log(x)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad / conj(x)


class Sqrt(Function):
    """y = sqrt x: dy/dx = 1 / (2 y)."""

    elementwise = True

    @staticmethod
    def forward(ctx, x):
        y = np.sqrt(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, grad):
        (y,) = ctx.saved_tensors
        return grad / (2 * conj(y))


class Tanh(Function):
    """y = tanh x: dy/dx = 1 - y^2."""

    elementwise = True

    @staticmethod
    def forward(ctx, x):
        y = np.tanh(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, grad):
        (y,) = ctx.saved_tensors
        return grad * conj(1 - y * y)


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


def log(input):
    """Natural logarithm, elementwise; NaN below 0 and -inf at 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return Log.apply(as_floating("log", input))


def sqrt(input):
    """Square root, elementwise; NaN below 0."""
    with np.errstate(invalid="ignore"):
        return Sqrt.apply(as_floating("sqrt", input))


def tanh(input):
    """Hyperbolic tangent, elementwise."""
    return Tanh.apply(as_floating("tanh", input))


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
