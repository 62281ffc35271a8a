"""Rectified linear unit: y = max(x, 0); dL/dx = 0 where y <= 0, else dL/dy."""

import numpy as np

from ..function import Function
from ..kernels import empty_like
from ..kernels import relu as kernel
from ..tensor import Tensor, wrap
from ._common import as_tensor

_COMPILED = np.dtype(np.float32), np.dtype(np.float64)
_REAL = np.typecodes["AllInteger"] + np.typecodes["Float"]
_ZERO = {np.dtype(code): np.zeros((), code) for code in _REAL}  # twice as fast beside an array as Python's 0
_SMALL = 1024  # elements, up to which NumPy's own expression is faster than to call the kernel (8 us)


def flat(array):
    """The elements in the order of memory, as a view where the array has no gaps and may be written to."""
    flat = array.ravel(order="K")
    return flat if flat.flags.writeable else flat.copy()  # numba compiles a second time for read-only arrays


class ReLU(Function):
    """Saves its output: the sign of y says all that backward needs, and the next layer keeps y anyway."""

    elementwise = True

    @staticmethod
    def forward(ctx, x):
        if x.size <= _SMALL or x.dtype not in _COMPILED:
            zero = _ZERO[x.dtype]
            y = np.maximum(x, zero) + zero  # maximum leaves the sign of a zero to the CPU; the sum makes it 0
        else:
            y = empty_like(x)
            if x.strides != y.strides:  # x has gaps or repeats elements
                np.copyto(y, x)
                x = y
            kernel.forward(flat(x), flat(y))
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, grad):
        (y,) = ctx.saved_tensors
        return ReLUBackward.apply(grad, wrap(y._data, None, 0)) if isinstance(y, Tensor) else _masked(grad, y)


class ReLUBackward(Function):
    """gx = 0 where y <= 0, else gy. Linear in gy; its derivative with respect to y is zero."""

    @staticmethod
    def forward(ctx, grad, y):
        ctx.save_for_backward(y)
        return _masked(grad, y)

    @staticmethod
    def backward(ctx, grad):
        (y,) = ctx.saved_tensors
        return ReLUBackward.apply(grad, y), None


def _masked(grad, y):
    if y.size <= _SMALL or y.dtype not in _COMPILED:
        zero = _ZERO[y.dtype]
        return np.where(y <= zero, zero, grad)
    if grad.strides != y.strides:
        grad = np.copyto(aligned := empty_like(y), grad) or aligned
    gx = empty_like(y)
    kernel.backward(flat(grad), flat(y), flat(gx))
    return gx


def relu(input):
    """max(input, 0), elementwise. NaN stays NaN.

    Raises:
        TypeError: input is bool or complex.
    """
    input = as_tensor("relu", input)
    if input._data.dtype.kind not in "iuf":
        raise TypeError(f"relu: input must be real numbers, got {input.dtype}")
    return ReLU.apply(input)


def relu_(self):
    """relu, written into this Tensor; returns it."""
    return self.replace_(relu(self), "relu_")
