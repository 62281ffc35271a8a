"""Rectified linear unit: y = max(x, 0); dL/dx = dL/dy where y > 0, else 0 (also at x = 0)."""

import numpy as np

from ..function import Function
from ..kernels import relu as kernel
from ._common import as_tensor


def _flat(array):
    """The elements in the order of memory, as a view where the array has no gaps."""
    return array.ravel(order="K")


class ReLU(Function):
    """Saves its output: the sign of y says all that backward needs, and the next layer keeps y anyway."""

    @staticmethod
    def forward(ctx, x):
        y = np.empty_like(x)
        kernel.forward(_flat(x), _flat(y))
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, grad):
        (y,) = ctx.saved_tensors
        return ReLUBackward.apply(grad, y.detach())


class ReLUBackward(Function):
    """gx = gy where y > 0. Linear in gy; its derivative with respect to y is zero."""

    @staticmethod
    def forward(ctx, grad, y):
        ctx.save_for_backward(y)
        if grad.strides != y.strides:
            grad = np.copyto(aligned := np.empty_like(y), grad) or aligned
        gx = np.empty_like(y)
        kernel.backward(_flat(grad), _flat(y), _flat(gx))
        return gx

    @staticmethod
    def backward(ctx, grad):
        (y,) = ctx.saved_tensors
        return ReLUBackward.apply(grad, y), None


def relu(input):
    """max(input, 0), elementwise. NaN stays NaN."""
    return ReLU.apply(as_tensor("relu", input))
