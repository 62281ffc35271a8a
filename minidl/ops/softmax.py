"""Softmax: y[n] = exp(x[n]) / sum over k of exp(x[k]); dL/dx[n] = y[n] * (g[n] - sum over k of g[k] y[k])."""

import numpy as np

from ..function import Function
from ..kernels import contiguous
from ..kernels import softmax as kernel
from ._common import as_real, as_tensor, astype, normalize_axis
from .arithmetic import neg


def along_rows(kernel, axis, *arrays):
    """Run a kernel of rows (inputs, output) along an axis; returns the output, shaped as the inputs."""
    moved = [contiguous(np.moveaxis(a, axis, -1)) if a.ndim else a.reshape(1) for a in arrays]
    rows = [a.reshape(-1, a.shape[-1]) if a.size else a.reshape(0, 1) for a in moved]
    output = np.empty_like(rows[0])
    kernel(*rows, output)
    output = output.reshape(moved[0].shape)
    return np.moveaxis(output, -1, axis) if arrays[0].ndim else output.reshape(())


def converted(name, input, dtype):
    """The input in float32 or float64: in dtype, where that is given.

    Raises:
        TypeError: any other dtype.
    """
    if dtype is not None:
        input = astype(as_tensor(name, input), dtype)
        if input.dtype.kind != "f":
            raise TypeError(f"{name}: dtype must be float32 or float64, got {input.dtype}")
    return as_real(name, input)


class Softmax(Function):
    @staticmethod
    def forward(ctx, x, axis):
        y = along_rows(kernel.forward, axis, x)
        ctx.save_for_backward(y)
        ctx.axis = axis
        return y

    @staticmethod
    def backward(ctx, grad):
        (y,) = ctx.saved_tensors
        return SoftmaxBackward.apply(grad, y, ctx.axis)


class SoftmaxBackward(Function):
    """gx = y * (g - sum(g y)): linear in g, and differentiable in y as the formula stands."""

    @staticmethod
    def forward(ctx, grad, y, axis):
        ctx.save_for_backward(grad, y)
        ctx.axis = axis
        return along_rows(kernel.backward, axis, grad, y)

    @staticmethod
    def backward(ctx, gg):
        grad, y = ctx.saved_tensors
        along = (gg * y).sum(ctx.axis, keepdim=True)
        to_y = gg * (grad - (grad * y).sum(ctx.axis, keepdim=True)) - along * grad
        return y * (gg - along), to_y


def softmax(input, dim, dtype=None):
    """Exponentials of the input divided by their sum along `dim`, shifted so that none overflows.

    dtype: convert the input first.
    """
    input = converted("softmax", input, dtype)
    return Softmax.apply(input, normalize_axis("softmax", dim, input.ndim))


def softmin(input, dim, dtype=None):
    """softmax of -input along `dim`; dtype: convert it first."""
    return softmax(neg(input), dim, dtype)
