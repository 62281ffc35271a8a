"""Error function and its complement: derfc/dx = -derf/dx = -2 / sqrt(pi) * exp(-x^2)."""

import math

import numpy as np

from ..kernels import empty_like
from ..kernels import erf as kernel
from ._common import as_real
from .elementwise import OfInput, exp
from .relu import flat


def _elementwise(kernel, x):
    y = empty_like(x)
    if x.strides != y.strides:  # x has gaps or repeats elements
        np.copyto(y, x)
        x = y
    kernel(flat(x), flat(y))
    return y


class Erf(OfInput):
    f = staticmethod(lambda x: _elementwise(kernel.forward, x))
    slope = staticmethod(lambda x: exp(-(x * x)) * (2 / math.sqrt(math.pi)))


class Erfc(OfInput):
    f = staticmethod(lambda x: _elementwise(kernel.complement, x))
    slope = staticmethod(lambda x: exp(-(x * x)) * (-2 / math.sqrt(math.pi)))


def erf(input):
    """2 / sqrt(pi) times the integral of exp(-t^2) from 0 to input, elementwise.

    Raises:
        TypeError: input is neither float32, float64 nor integer.
    """
    return Erf.apply(as_real("erf", input))


def erfc(input):
    """1 - erf(input), elementwise, with all its digits where it is small.

    Raises:
        TypeError: input is neither float32, float64 nor integer.
    """
    return Erfc.apply(as_real("erfc", input))
