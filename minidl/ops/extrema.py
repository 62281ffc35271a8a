"""The greater and the lesser of two operands, and clamp between bounds."""

import operator

import numpy as np

from ..function import Function
from ..tensor import Tensor
from ._common import as_tensor, astype, operands, quietly, unbroadcast
from .arithmetic import held, where
from .rounding import isnan


class Extreme(Function):
    """y = the greater (or lesser) of a and b, which alone receives the gradient; equals receive half each.

    Where an operand is NaN, so is y, and both receive the gradient, as in PyTorch.
    """

    @staticmethod
    def forward(ctx, a, b, choose, loses):
        ctx.save_for_backward(a, b)
        ctx.loses = loses
        return quietly(choose, a, b)

    @staticmethod
    def backward(ctx, grad):
        a, b = ctx.saved_tensors
        need_a, need_b = ctx.needs_input_grad[:2]
        shared = where(a == b, grad * 0.5, grad)
        return (
            unbroadcast(where(ctx.loses(a, b), 0.0, shared), a.shape) if need_a else None,
            unbroadcast(where(ctx.loses(b, a), 0.0, shared), b.shape) if need_b else None,
        )


class Clamp(Function):
    """y = x between two bounds, inclusive, else the bound it would pass; min(max(x, low), high), so high prevails.

    Whichever of the three y is receives the gradient; a bound that x equals receives none.
    """

    @staticmethod
    def forward(ctx, x, low, high):
        ctx.save_for_backward(x, low, high)
        y = x if low is None else np.maximum(x, low)
        return y if high is None else np.minimum(y, high)

    @staticmethod
    def backward(ctx, grad):
        x, low, high = ctx.saved_tensors
        if low is None:
            inside, below, above = x <= high, None, x > high
        elif high is None:
            inside, below, above = x >= low, x < low, None
        else:
            inside, below, above = (x >= low) & (x <= high), (x < low) & (low < high), (x > high) | (low > high)
        return tuple(
            unbroadcast(where(chosen, grad, 0.0), operand.shape) if needed else None
            for chosen, operand, needed in zip(
                (inside, below, above), (x, low, high), ctx.needs_input_grad, strict=True
            )
        )


def _ordered(name, a, b):
    """Both operands of one dtype that has an order."""
    a, b = operands(name, a, b)
    for x in (a, b):
        if isinstance(x, Tensor) and x.dtype.kind == "c":
            raise TypeError(f"{name}: complex numbers have no order, got {x.dtype}")
    return a, b


def maximum(input, other):
    """The greater of two, elementwise, broadcasting: equals share the gradient evenly, NaN wins.

    Raises:
        TypeError: an operand is complex.
    """
    return held("maximum", Extreme.apply, *_ordered("maximum", input, other), np.maximum, operator.lt)


def minimum(input, other):
    """The lesser of two, elementwise, broadcasting: equals share the gradient evenly, NaN wins.

    Raises:
        TypeError: an operand is complex.
    """
    return held("minimum", Extreme.apply, *_ordered("minimum", input, other), np.minimum, operator.gt)


def fmax(input, other):
    """The greater of two, elementwise, broadcasting: the first of equals, and a number rather than NaN.

    Raises:
        TypeError: an operand is complex.
    """
    a, b = _ordered("fmax", input, other)
    return where((a >= b) | isnan(b), a, b)


def fmin(input, other):
    """The lesser of two, elementwise, broadcasting: the first of equals, and a number rather than NaN.

    Raises:
        TypeError: an operand is complex.
    """
    a, b = _ordered("fmin", input, other)
    return where((a <= b) | isnan(b), a, b)


def clamp(input, min=None, max=None):
    """input, kept between two bounds (numbers or Tensors, which broadcast; None for no bound), elementwise.

    Where min exceeds max the result is max. The gradient passes where min <= input <= max; elsewhere it goes to the
    bound, where that is a Tensor.

    Raises:
        ValueError: neither bound is given. TypeError: an operand is complex.
    """
    return _clamp("clamp", input, min, max)


def clamp_min(input, min):
    """input, but no less than min (a number or a Tensor), elementwise; see clamp."""
    return _clamp("clamp_min", input, min, None)


def clamp_max(input, max):
    """input, but no greater than max (a number or a Tensor), elementwise; see clamp."""
    return _clamp("clamp_max", input, None, max)


def _clamp(name, input, low, high):
    if low is None and high is None:
        raise ValueError(f"{name}: a bound is needed, min or max")
    x = as_tensor(name, input)
    if low is not None:
        x, low = _ordered(name, x, low)
    if high is not None:
        x, high = _ordered(name, x, high)
    if isinstance(low, Tensor):  # the upper bound may have raised the dtype
        low = astype(low, x.dtype)
    return held(name, Clamp.apply, x, low, high)


clip = clamp


def clamp_(self, min=None, max=None):
    """clamp, written into this Tensor; returns it."""
    return self.replace_(clamp(self, min, max), "clamp_")
