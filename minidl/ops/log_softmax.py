"""Log-softmax: y[n] = x[n] - log(sum over k of exp(x[k])); dL/dx[n] = g[n] - exp(y[n]) * sum over k of g[k]."""

from ..function import Function
from ..kernels import log_softmax as kernel
from ._common import normalize_axis
from .elementwise import exp
from .softmax import along_rows, converted


class LogSoftmax(Function):
    @staticmethod
    def forward(ctx, x, axis):
        y = along_rows(kernel.forward, axis, x)
        ctx.save_for_backward(y)
        ctx.axis = axis
        return y

    @staticmethod
    def backward(ctx, grad):
        (y,) = ctx.saved_tensors
        return LogSoftmaxBackward.apply(grad, y, ctx.axis)


class LogSoftmaxBackward(Function):
    """gx = g - exp(y) * sum(g): linear in g, and differentiable in y as the formula stands."""

    @staticmethod
    def forward(ctx, grad, y, axis):
        ctx.save_for_backward(grad, y)
        ctx.axis = axis
        return along_rows(kernel.backward, axis, grad, y)

    @staticmethod
    def backward(ctx, gg):
        grad, y = ctx.saved_tensors
        weighted = gg * exp(y)
        return gg - weighted.sum(ctx.axis, keepdim=True), -weighted * grad.sum(ctx.axis, keepdim=True)


def log_softmax(input, dim, dtype=None):
    """The logarithm of softmax(input, dim), computed without forming the softmax.

    dtype: convert the input first.
    """
    input = converted("log_softmax", input, dtype)
    return LogSoftmax.apply(input, normalize_axis("log_softmax", dim, input.ndim))
