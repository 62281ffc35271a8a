"""pad: more elements at the ends of axes, or fewer.

A constant is written around the elements, so they alone have a gradient. In the other modes each new element is a copy
of an old one, along one axis after the other, and its gradient is added to that of the old one:

    reflect     3 2 [1 2 3 4] 3 2       the mirror stands on the last element, which is not repeated
    replicate   1 1 [1 2 3 4] 4 4
    circular    3 4 [1 2 3 4] 1 2
"""

import numpy as np

from ..function import Function
from ..kernels import copy_into, full
from ._common import as_tensor, check_integer
from .indexing import getitem


class ConstantPad(Function):
    """Before and after each axis so many elements of a constant; negative numbers take elements away.

    The adjoint takes away what was added, and puts zeros where elements were taken away.
    """

    @staticmethod
    def forward(ctx, x, pads, value):
        ctx.pads = pads
        shape = [n + before + after for n, (before, after) in zip(x.shape, pads, strict=True)]
        y = full(shape, value, x.dtype, x, x.strides)
        copy_into(y[_inside(shape, pads)], x[_inside(x.shape, [(-before, -after) for before, after in pads])])
        return y

    @staticmethod
    def backward(ctx, grad):
        return ConstantPad.apply(grad, [(-before, -after) for before, after in ctx.pads], 0)


def _inside(shape, pads):
    """What is left of an array without the elements that were added to it; of an array without axes the array."""
    return *(slice(max(b, 0), n - max(a, 0)) for n, (b, a) in zip(shape, pads, strict=True)), ...


def pad(input, pad, mode="constant", value=None):
    """Add elements at the ends of the last axes.

    Args:
        input: a Tensor.
        pad: how many before and after, in pairs, that of the last axis first: (left, right, top, bottom, …). Negative
            numbers take elements away.
        mode: "constant", "reflect", "replicate" or "circular".
        value: the constant (default 0).

    Raises:
        ValueError: more pairs than dimensions, an axis that would get a negative extent, an unknown mode, a value in
            another mode than constant; reflect with as many elements as there are, circular with more, and an axis
            without elements to copy. TypeError: pad holds other than integers.
    """
    input = as_tensor("pad", input)
    pads = _pairs(input, pad)
    for axis, (n, (before, after)) in enumerate(zip(input.shape, pads, strict=True)):
        if n + before + after < 0 or min(before, after) < -n:
            raise ValueError(f"pad: {(before, after)} takes away more than the {n} elements of axis {axis}")
    if mode == "constant":
        return ConstantPad.apply(input, pads, _constant(input, 0 if value is None else value))
    if mode not in _SOURCES:
        raise ValueError(f"pad: mode must be one of constant, {', '.join(_SOURCES)}, got {mode!r}")
    if value:
        raise ValueError(f"pad: value is for mode constant, {mode} takes none (got {value})")
    for axis, (n, (before, after)) in enumerate(zip(input.shape, pads, strict=True)):
        if (before, after) == (0, 0):
            continue
        least = {"reflect": max(before, after, 0) + 1, "replicate": 1, "circular": max(before, after, 1)}[mode]
        if n < least:
            raise ValueError(f"pad: {mode} by {(before, after)} needs {least} elements along axis {axis}, it has {n}")
        input = getitem(input, (slice(None),) * axis + (_SOURCES[mode](n, before, after),))
    return input


def _pairs(input, pad):
    """A pair (before, after) for every axis, from PyTorch's flat list that begins with the last axis."""
    if not isinstance(pad, tuple | list):
        raise TypeError(f"pad: pad must be a sequence of integers, got {type(pad).__name__}")
    numbers = [check_integer("pad", "pad", n) for n in pad]
    if len(numbers) % 2 or len(numbers) > 2 * input.ndim:
        raise ValueError(f"pad: pad must hold pairs, at most {input.ndim} for shape {input.shape}, got {tuple(pad)}")
    pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
    return [(0, 0)] * (input.ndim - len(pairs)) + pairs[::-1]


def _constant(input, value):
    if not isinstance(value, int | float | complex | np.number):
        raise TypeError(f"pad: value must be a number, got {value!r}")
    if isinstance(value, complex) and input.dtype.kind != "c":
        raise TypeError(f"pad: value {value} cannot be stored in a Tensor of {input.dtype}")
    return value


def _reflected(n, before, after):
    place = np.abs(np.arange(-before, n + after))
    return n - 1 - np.abs(n - 1 - place)


def _replicated(n, before, after):
    return np.clip(np.arange(-before, n + after), 0, n - 1)


def _circular(n, before, after):
    """What is taken away goes first: the circle closes without it."""
    kept = np.arange(n)[max(-before, 0) : n - max(-after, 0)]
    return kept[np.arange(-max(before, 0), len(kept) + max(after, 0)) % max(len(kept), 1)]


_SOURCES = {"reflect": _reflected, "replicate": _replicated, "circular": _circular}
