"""Trigonometric and hyperbolic functions, their inverses, and atan2 and hypot of two coordinates."""

import numpy as np

from ..function import Function
from ..tensor import Tensor
from ._common import as_floating, operands, unbroadcast
from .elementwise import OfInput, OfOutput, sqrt


class Sin(OfInput):
    """y = sin x: dy/dx = cos x."""

    f = np.sin
    slope = staticmethod(lambda x: cos(x))


class Cos(OfInput):
    """y = cos x: dy/dx = -sin x."""

    f = np.cos
    slope = staticmethod(lambda x: -sin(x))


class Tan(OfOutput):
    """y = tan x: dy/dx = 1 + y^2."""

    f = np.tan
    slope = staticmethod(lambda y: 1 + y * y)


class Asin(OfInput):
    """y = arcsin x: dy/dx = 1 / sqrt(1 - x^2)."""

    f = np.arcsin
    slope = staticmethod(lambda x: 1 / sqrt(1 - x * x))


class Acos(OfInput):
    """y = arccos x: dy/dx = -1 / sqrt(1 - x^2)."""

    f = np.arccos
    slope = staticmethod(lambda x: -1 / sqrt(1 - x * x))


class Atan(OfInput):
    """y = arctan x: dy/dx = 1 / (1 + x^2)."""

    f = np.arctan
    slope = staticmethod(lambda x: 1 / (1 + x * x))


class Sinh(OfInput):
    """y = sinh x: dy/dx = cosh x."""

    f = np.sinh
    slope = staticmethod(lambda x: cosh(x))


class Cosh(OfInput):
    """y = cosh x: dy/dx = sinh x."""

    f = np.cosh
    slope = staticmethod(lambda x: sinh(x))


class Asinh(OfInput):
    """y = arsinh x: dy/dx = 1 / sqrt(x^2 + 1)."""

    f = np.arcsinh
    slope = staticmethod(lambda x: 1 / sqrt(x * x + 1))


class Acosh(OfInput):
    """y = arcosh x: dy/dx = 1 / (sqrt(x - 1) sqrt(x + 1)); two roots, for the branch that complex numbers need."""

    f = np.arccosh
    slope = staticmethod(lambda x: 1 / (sqrt(x - 1) * sqrt(x + 1)))


class Atanh(OfInput):
    """y = artanh x: dy/dx = 1 / (1 - x^2)."""

    f = np.arctanh
    slope = staticmethod(lambda x: 1 / (1 - x * x))


class Atan2(Function):
    """The angle of the point (x, y): dy = x / (x^2 + y^2), dx = -y / (x^2 + y^2)."""

    @staticmethod
    def forward(ctx, y, x):
        ctx.save_for_backward(y, x)
        return np.arctan2(y, x)

    @staticmethod
    def backward(ctx, grad):
        y, x = ctx.saved_tensors
        share = grad / (y * y + x * x)
        return unbroadcast(share * x, y.shape), unbroadcast(-share * y, x.shape)


class Hypot(Function):
    """z = sqrt(x^2 + y^2): dz/dx = x / z, dz/dy = y / z."""

    @staticmethod
    def forward(ctx, x, y):
        z = np.asarray(np.hypot(x, y), like=x)
        ctx.save_for_backward(x, y, z)
        return z

    @staticmethod
    def backward(ctx, grad):
        x, y, z = ctx.saved_tensors
        share = grad / z
        return unbroadcast(share * x, x.shape), unbroadcast(share * y, y.shape)


def sin(input):
    """Sine of an angle in radians, elementwise."""
    return Sin.apply(as_floating("sin", input))


def cos(input):
    """Cosine of an angle in radians, elementwise."""
    return Cos.apply(as_floating("cos", input))


def tan(input):
    """Tangent of an angle in radians, elementwise."""
    return Tan.apply(as_floating("tan", input))


def asin(input):
    """The angle from -pi/2 to pi/2 with this sine, elementwise; NaN outside [-1, 1]."""
    return Asin.apply(as_floating("asin", input))


def acos(input):
    """The angle from 0 to pi with this cosine, elementwise; NaN outside [-1, 1]."""
    return Acos.apply(as_floating("acos", input))


def atan(input):
    """The angle from -pi/2 to pi/2 with this tangent, elementwise."""
    return Atan.apply(as_floating("atan", input))


def sinh(input):
    """Hyperbolic sine, elementwise."""
    return Sinh.apply(as_floating("sinh", input))


def cosh(input):
    """Hyperbolic cosine, elementwise."""
    return Cosh.apply(as_floating("cosh", input))


def asinh(input):
    """Inverse of sinh, elementwise."""
    return Asinh.apply(as_floating("asinh", input))


def acosh(input):
    """Inverse of cosh, at least 0, elementwise; NaN below 1."""
    return Acosh.apply(as_floating("acosh", input))


def atanh(input):
    """Inverse of tanh, elementwise; inf at 1 and NaN beyond."""
    return Atanh.apply(as_floating("atanh", input))


def _coordinates(name, *inputs):
    """Two real Tensors of one floating-point dtype."""
    inputs = [as_floating(name, x) if not isinstance(x, Tensor) else x for x in inputs]
    inputs = [as_floating(name, x) for x in operands(name, *inputs)]
    if inputs[0].dtype.kind == "c":
        raise TypeError(f"{name}: real coordinates are needed, got {inputs[0].dtype}")
    return inputs


def atan2(input, other):
    """The angle from -pi to pi of the point (x = other, y = input), elementwise, broadcasting.

    Raises:
        TypeError: an operand is complex.
    """
    return Atan2.apply(*_coordinates("atan2", input, other))


def hypot(input, other):
    """sqrt(input^2 + other^2) without overflow, elementwise, broadcasting.

    Raises:
        TypeError: an operand is complex.
    """
    return Hypot.apply(*_coordinates("hypot", input, other))
