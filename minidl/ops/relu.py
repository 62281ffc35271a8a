"""Rectified linear unit: y = max(x, 0); dL/dx = 0 where y <= 0, else dL/dy. The same of a sum, in one pass."""

import numpy as np

from ..cuda import writable
from ..function import Function
from ..kernels import empty_like
from ..kernels import relu as kernel
from ..tensor import Tensor, wrap
from ._common import as_tensor, has_kernel, operands
from .arithmetic import add

_REAL = np.typecodes["AllInteger"] + np.typecodes["Float"]
_ZERO = {np.dtype(code): np.zeros((), code) for code in _REAL}  # twice as fast beside an array as Python's 0
SMALL = 1024  # elements, up to which NumPy's own expression is faster than to call the kernel (8 us)


def is_small(x, size=SMALL):
    """Whether an expression of arrays does: on a GPU only where there is no kernel."""
    return x.size <= size and isinstance(x, np.ndarray) or not has_kernel(x)


def flat(array):
    """The elements in the order of memory, as a view where the array has no gaps and may be written to."""
    flat = array.ravel(order="K")
    return flat if writable(flat) else flat.copy()  # numba compiles a second time for read-only arrays


def laid_out_as(y, x):
    """x with its elements in memory as y's are: a copy where it has gaps, repeats elements or another order of axes."""
    if x.strides == y.strides:
        return x
    aligned = empty_like(y)
    np.copyto(aligned, x)
    return aligned


class ReLU(Function):
    """Saves its output: the sign of y says all that backward needs, and the next layer keeps y anyway."""

    elementwise = True

    @staticmethod
    def forward(ctx, x):
        if is_small(x):
            zero = _ZERO[x.dtype] if isinstance(x, np.ndarray) else 0
            y = np.maximum(x, zero) + zero  # maximum leaves the sign of a zero to the CPU; the sum makes it 0
        else:
            y = empty_like(x)
            kernel.forward(flat(laid_out_as(y, x)), flat(y))
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, grad):
        return masked(grad, *ctx.saved_tensors)


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


class AddReLU(Function):
    """y = max(a + b, 0) of arrays of one shape: the sum is never stored. Both have the gradient of the sum."""

    on_arrays = True

    @staticmethod
    def forward(ctx, a, b):
        y = empty_like(a)
        kernel.add_forward(flat(laid_out_as(y, a)), flat(laid_out_as(y, b)), flat(y))
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, grad):
        gx = masked(grad, *ctx.saved_tensors)
        return tuple(gx if need else None for need in ctx.needs_input_grad)


def masked(grad, y):
    """The gradient where a ReLU that gave y let it pass, 0 elsewhere: both arrays, or both Tensors."""
    return ReLUBackward.apply(grad, wrap(y._data, None, 0)) if isinstance(y, Tensor) else _masked(grad, y)


def _masked(grad, y):
    if is_small(y):
        zero = _ZERO[y.dtype] if isinstance(y, np.ndarray) else 0
        gx = laid_out_as(y, grad).copy(order="K")
        gx[y <= zero] = 0
        return gx
    gx = empty_like(y)
    kernel.backward(flat(laid_out_as(y, grad)), flat(y), flat(gx))
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


def add_relu(input, other):
    """relu(input + other), elementwise: how a residual block ends (He et al. 2016, figure 2).

    Args:
        input, other: Tensors that broadcast. Of one shape and dtype, float32 or float64, they are read once and the
            result is written once; others are added first.

    Raises:
        ValueError: shapes that do not broadcast. TypeError: bool or complex operands.
    """
    a, b = operands("add_relu", input, other)
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        if a.shape == b.shape and has_kernel(a._data) and a._data.size > SMALL:
            return AddReLU.apply(a, b)
        if a._data.dtype.kind not in "iuf":
            raise TypeError(f"add_relu: operands must be real numbers, got {a.dtype}")
    return relu(add(a, b))


def relu_(self):
    """relu, written into this Tensor; returns it."""
    return self.replace_(relu(self), "relu_")
