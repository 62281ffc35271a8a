"""Whether Tensors are equal, or close: isclose, allclose, equal."""

import numpy as np

from ..tensor import Tensor
from ._common import as_tensor, check_devices, check_numbers, operands


def isclose(input, other, rtol=1e-05, atol=1e-08, equal_nan=False):
    """Which elements satisfy |input - other| <= atol + rtol * |other|, broadcasting: a bool Tensor.

    Infinities are close to themselves, NaN to NaN if equal_nan.

    Raises:
        ValueError: rtol or atol is negative. TypeError: it is no number.
    """
    return Tensor(_close("isclose", input, other, rtol, atol, equal_nan))


def allclose(input, other, rtol=1e-05, atol=1e-08, equal_nan=False):
    """Whether isclose holds of all elements: a bool.

    Raises:
        ValueError: rtol or atol is negative. TypeError: it is no number.
    """
    return bool(np.all(_close("allclose", input, other, rtol, atol, equal_nan)))


def _close(name, input, other, rtol, atol, equal_nan):
    check_numbers(name, rtol=rtol, atol=atol)
    for argument, value in (("rtol", rtol), ("atol", atol)):
        if not value >= 0:
            raise ValueError(f"{name}: {argument} must be at least 0, got {value!r}")
    a, b = (x._data if isinstance(x, Tensor) else x for x in operands(name, input, other))
    return np.isclose(a, b, rtol, atol, equal_nan)


def equal(input, other):
    """Whether both have the same shape and equal elements: a bool. NaN equals nothing."""
    a, b = as_tensor("equal", input), as_tensor("equal", other)
    check_devices("equal", input=a, other=b)
    return bool(np.array_equal(a._data, b._data))
