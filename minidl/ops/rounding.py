"""Rounding, division with rounding and its remainders, and tests for NaN and infinity.

A rounded value does not change where its input changes a little, so its gradient is zero and none is recorded.
"""

import numpy as np

from ..function import Function
from ..tensor import Tensor
from ._common import as_tensor, operands, quietly, unbroadcast
from .arithmetic import held


class Remainder(Function):
    """y = a - b * q for a quotient q rounded to an integer: dy/da = 1, dy/db = -q."""

    @staticmethod
    def forward(ctx, a, b, ufunc, rounding_mode):
        ctx.save_for_backward(a, b)
        ctx.rounding_mode = rounding_mode
        return quietly(ufunc, a, b)

    @staticmethod
    def backward(ctx, grad):
        a, b = ctx.saved_tensors
        need_a, need_b = ctx.needs_input_grad[:2]
        return (
            unbroadcast(grad, a.shape) if need_a else None,
            unbroadcast(-grad * divide("remainder", a, b, ctx.rounding_mode), b.shape) if need_b else None,
        )


def _rounding(name, ufunc, to):
    def rounded(input):
        input = _real(name, input)
        return Tensor(input._data.copy() if input.dtype.kind in "iu" else ufunc(input._data))

    rounded.__name__ = rounded.__qualname__ = name
    rounded.__doc__ = f"""The nearest integer {to}, elementwise; the gradient is zero, so none is recorded.

    Raises:
        TypeError: input is bool or complex.
    """
    return rounded


floor = _rounding("floor", np.floor, "not above input")
ceil = _rounding("ceil", np.ceil, "not below input")
trunc = _rounding("trunc", np.trunc, "on the way to zero")


def round(input, *, decimals=0):
    """The nearest number of so many decimals (tens, hundreds, … if negative), elementwise; halves go to the even one.

    The gradient is zero, so none is recorded.

    Raises:
        TypeError: input is bool or complex, or decimals no integer.
    """
    if not isinstance(decimals, int | np.integer):
        raise TypeError(f"round: decimals must be an integer, got {decimals!r}")
    return Tensor(np.round(_real("round", input)._data, decimals))


def frac(input):
    """input - trunc(input), elementwise: what follows the decimal point, with the input's sign.

    Raises:
        TypeError: input is bool or complex.
    """
    input = _real("frac", input)
    return input - trunc(input)


def _real(name, input):
    input = as_tensor(name, input)
    if input.dtype.kind not in "iuf":
        raise TypeError(f"{name}: input must be real numbers, got {input.dtype}")
    return input


def _dividends(name, input, other):
    """Both operands of one dtype, in which a rounded quotient exists."""
    a, b = operands(name, input, other)
    dtype = (a if isinstance(a, Tensor) else b).dtype
    if dtype.kind == "c":
        raise TypeError(f"{name}: operands must be real numbers, got {dtype}")
    if dtype == np.bool_:
        raise TypeError(f"{name}: bools cannot be divided with rounding")
    if dtype.kind in "iu" and not np.all(b._data if isinstance(b, Tensor) else b):
        raise ValueError(f"{name}: an integer was to be divided by zero")
    return a, b


def divide(name, input, other, rounding_mode):
    """The rounded quotient: div(input, other, rounding_mode=…) under the name of the operation that needs it."""
    if rounding_mode not in ("trunc", "floor"):
        raise ValueError(f"{name}: rounding_mode must be None, 'trunc' or 'floor', got {rounding_mode!r}")
    a, b = (x._data if isinstance(x, Tensor) else x for x in _dividends(name, input, other))
    with np.errstate(all="ignore"):
        if rounding_mode == "floor":
            y = held(name, np.floor_divide, a, b)
        elif np.result_type(a, b).kind == "f":
            y = np.trunc(np.true_divide(a, b))
        else:  # exact, where the quotient of large integers is no float
            y = np.floor_divide(a - held(name, np.fmod, a, b), b)
    return Tensor(y)


def floor_divide(input, other):
    """input / other rounded down, elementwise, broadcasting; integers stay integers. No gradient is recorded.

    Raises:
        ValueError: integers are divided by zero. TypeError: bools or complex numbers.
    """
    return divide("floor_divide", input, other, "floor")


def remainder(input, other):
    """input - floor(input / other) * other, elementwise, broadcasting: it has the sign of other, as Python's %.

    Raises:
        ValueError: integers are divided by zero. TypeError: bools or complex numbers.
    """
    return held("remainder", Remainder.apply, *_dividends("remainder", input, other), np.remainder, "floor")


def fmod(input, other):
    """input - trunc(input / other) * other, elementwise, broadcasting: it has the sign of input, as C's fmod.

    Raises:
        ValueError: integers are divided by zero. TypeError: bools or complex numbers.
    """
    return held("fmod", Remainder.apply, *_dividends("fmod", input, other), np.fmod, "trunc")


def _test(name, ufunc, what):
    def test(input):
        return Tensor(ufunc(as_tensor(name, input)._data))

    test.__name__ = test.__qualname__ = name
    test.__doc__ = f"Which elements {what}: a bool Tensor. A complex number does if either part does."
    return test


isnan = _test("isnan", np.isnan, "are NaN")
isinf = _test("isinf", np.isinf, "are inf or -inf")


def isfinite(input):
    """Which elements are neither NaN nor infinite: a bool Tensor."""
    return Tensor(np.isfinite(as_tensor("isfinite", input)._data))
