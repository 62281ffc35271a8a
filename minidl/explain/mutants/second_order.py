"""The gradient is right, its own derivative is wrong: what a gradient check cannot see, and second derivatives need.

A backward pass can be differentiated again where it is written with Tensors that know where they came from. It goes
wrong where one of them was cut off from the graph, or where the backward pass is an operation with a wrong backward of
its own.
"""

import numpy as np

from ... import ops
from ...function import Function
from ...ops.conv2d import ChannelSum, Conv2d, Conv2dInputGrad, Conv2dWeightGrad
from ...ops.log_softmax import LogSoftmax, LogSoftmaxBackward
from ...ops.matmul import MatMul
from ...ops.max_pool2d import MaxPool2d, MaxPool2dBackward
from ...ops.softmax import Softmax, SoftmaxBackward
from ._mutant import Witness, mutant, normal, spaced

# ---- cut off from the graph ----------------------------------------------------------------------------------------


class ExpOfAConstant(Function):
    @staticmethod
    def forward(ctx, x):
        y = np.exp(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, grad):
        (y,) = ctx.saved_tensors
        return grad * y.detach()


mutant(
    "exp-of-a-constant",
    "exp",
    "The saved output is detached, as though it were a constant: all derivatives after the first are zero.",
    right=ops.exp,
    wrong=ExpOfAConstant.apply,
    inputs=normal((3, 4)),
    witness=lambda: Witness([[0]], [[2]], directions=[[3]]),
    order=2,
)


class TanhOfAConstant(Function):
    @staticmethod
    def forward(ctx, x):
        y = np.tanh(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, grad):
        (y,) = ctx.saved_tensors
        return grad * (1 - y * y.detach())


mutant(
    "tanh-of-half-a-constant",
    "tanh",
    "In 1 − y·y one of the two factors is detached: the second derivative is half of what it should be.",
    right=ops.tanh,
    wrong=TanhOfAConstant.apply,
    inputs=normal((3, 4)),
    witness=lambda: Witness([[1]], [[1]], directions=[[1]]),
    order=2,
)


class MulOfConstants(Function):
    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return a * b

    @staticmethod
    def backward(ctx, grad):
        a, b = ctx.saved_tensors
        return grad * b.detach(), grad * a.detach()


mutant(
    "mul-of-constants",
    "mul",
    "Backward computes with the factors' arrays, cut off from the graph. The mixed derivative of a·b, which is 1, is "
    "lost; a gradient penalty would have no effect.",
    right=ops.mul,
    wrong=MulOfConstants.apply,
    inputs=normal((3, 4), (3, 4)),
    witness=lambda: Witness([[2], [3]], [[1]], directions=[[5], [7]]),
    order=2,
)


class SoftmaxOfAConstant(Softmax):
    @staticmethod
    def backward(ctx, grad):
        (y,) = ctx.saved_tensors
        return SoftmaxBackward.apply(grad, y.detach(), ctx.axis)


mutant(
    "softmax-of-a-constant",
    "softmax",
    "The saved output is detached: second derivatives know only the way through the incoming gradient.",
    right=lambda x: ops.softmax(x, 1),
    wrong=lambda x: SoftmaxOfAConstant.apply(x, 1),
    inputs=normal((3, 4)),
    witness=lambda: Witness([[[0, 0, 0]]], [[[3, 0, 0]]], directions=[[[3, 0, 0]]]),
    order=2,
)


class NormOfAConstant(Function):
    @staticmethod
    def forward(ctx, x):
        y = np.sqrt((x * x).sum(1, keepdims=True))
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx, grad):
        x, y = ctx.saved_tensors
        return grad * x / y.detach()


mutant(
    "norm-of-a-constant",
    "norm",
    "In x/‖x‖ the norm is detached. Its second derivative should vanish along x, since the norm grows evenly there.",
    right=lambda x: ops.sqrt((x * x).sum(1, keepdim=True)),
    wrong=NormOfAConstant.apply,
    inputs=normal((3, 4)),
    witness=lambda: Witness([[[3, 4]]], [[[5]]], directions=[[[3, 4]]]),
    order=2,
)

# ---- a wrong backward of the backward ------------------------------------------------------------------------------


class SoftmaxBackwardWithoutATerm(SoftmaxBackward):
    @staticmethod
    def backward(ctx, gg):
        grad, y = ctx.saved_tensors
        along = (gg * y).sum(ctx.axis, keepdim=True)
        return y * (gg - along), gg * (grad - (grad * y).sum(ctx.axis, keepdim=True))


class SoftmaxWithAWrongSecondDerivative(Softmax):
    @staticmethod
    def backward(ctx, grad):
        (y,) = ctx.saved_tensors
        return SoftmaxBackwardWithoutATerm.apply(grad, y, ctx.axis)


mutant(
    "softmax-second-derivative-without-a-term",
    "softmax",
    "y enters y·(g − Σ g·y) twice. The derivative of the backward pass counts the first y and forgets the one in the "
    "sum.",
    right=lambda x: ops.softmax(x, 1),
    wrong=lambda x: SoftmaxWithAWrongSecondDerivative.apply(x, 1),
    inputs=normal((3, 4)),
    witness=lambda: Witness([[[0, 0, 0]]], [[[3, 0, 0]]], directions=[[[3, 0, 0]]]),
    order=2,
)


class LogSoftmaxBackwardOfTheGradient(LogSoftmaxBackward):
    @staticmethod
    def backward(ctx, gg):
        to_grad, _ = LogSoftmaxBackward.backward(ctx, gg)
        return to_grad, None


class LogSoftmaxWithAWrongSecondDerivative(LogSoftmax):
    @staticmethod
    def backward(ctx, grad):
        (y,) = ctx.saved_tensors
        return LogSoftmaxBackwardOfTheGradient.apply(grad, y, ctx.axis)


mutant(
    "log-softmax-second-derivative-of-the-gradient-alone",
    "log_softmax",
    "The backward of the backward gives a gradient to g, but None to the saved output: the Hessian of a cross-entropy "
    "would be zero.",
    right=lambda x: ops.log_softmax(x, 1),
    wrong=lambda x: LogSoftmaxWithAWrongSecondDerivative.apply(x, 1),
    inputs=normal((3, 4)),
    witness=lambda: Witness([[[0, 0]]], [[[4, 0]]], directions=[[[1, 0]]]),
    order=2,
)


class InputGradWithoutTheWeights(Conv2dInputGrad):
    @staticmethod
    def backward(ctx, gg):
        to_grad, _ = Conv2dInputGrad.backward(ctx, gg)
        return to_grad, None


class Conv2dWithAWrongSecondDerivative(Conv2d):
    @staticmethod
    def backward(ctx, grad):
        x, w = ctx.saved_tensors
        return (
            InputGradWithoutTheWeights.apply(grad, w, ctx.geometry, ctx.shapes[0]),
            Conv2dWeightGrad.apply(x, grad, ctx.geometry, ctx.shapes[1]),
            ChannelSum.apply(grad),
        )


_GEOMETRY = (1, 1), (0, 0), (1, 1), 1  # stride, padding, dilation, groups

mutant(
    "conv2d-second-derivative-without-the-weights",
    "conv2d",
    "The input gradient depends on the weights, but its own backward returns None for them. A penalty on the input's "
    "gradient would not train them.",
    right=ops.conv2d,
    wrong=lambda x, w, b: Conv2dWithAWrongSecondDerivative.apply(x, w, b, _GEOMETRY),
    inputs=normal((2, 2, 3, 4), (3, 2, 2, 3), (3,)),
    witness=lambda: Witness([[[[[1]]]], [[[[2]]]], [0]], [[[[[3]]]]], directions=[[[[[5]]]], [[[[0]]]], [0]]),
    order=2,
)


class MatMulGradOfTheFirst(Function):
    """dA = dY·Bᵀ, with a wrong derivative by B."""

    @staticmethod
    def forward(ctx, grad, b):
        ctx.save_for_backward(grad, b)
        return grad @ b.T

    @staticmethod
    def backward(ctx, gg):
        grad, b = ctx.saved_tensors
        return gg @ b, grad.mT @ gg


class MatMulWithAWrongSecondDerivative(MatMul):
    @staticmethod
    def backward(ctx, grad):
        a, b = ctx.saved_tensors
        return MatMulGradOfTheFirst.apply(grad, b), a.mT @ grad


mutant(
    "matmul-second-derivative-transposed",
    "matmul",
    "The derivative of dA = dY·Bᵀ by B is GGᵀ·dY; dYᵀ·GG is its transpose, which fits where B is square.",
    right=ops.matmul,
    wrong=MatMulWithAWrongSecondDerivative.apply,
    inputs=normal((2, 3), (3, 3)),
    witness=lambda: Witness([[[1, 2]], [[3, 4], [5, 6]]], [[[1, 10]]], directions=[[[1, 0]], [[0, 0], [0, 0]]]),
    order=2,
)


class MaxPoolBackwardOfAConstant(MaxPool2dBackward):
    @staticmethod
    def backward(ctx, gg):
        return 0 * MaxPool2dBackward.backward(ctx, gg)


class MaxPoolWithAWrongSecondDerivative(MaxPool2d):
    @staticmethod
    def backward(ctx, grad, _):
        return MaxPoolBackwardOfAConstant.apply(grad, ctx.where, ctx.geometry, ctx.shape)


mutant(
    "max-pool-second-derivative-of-zero",
    "max_pool2d",
    "“Max pooling is piecewise linear, so its second derivative is zero.” By the input it is; but the gradient is "
    "linear in the incoming one, through which derivatives must pass to the layers above.",
    right=lambda x: ops.max_pool2d(x, 2),
    wrong=lambda x: MaxPoolWithAWrongSecondDerivative.apply(x, ((2, 2), (2, 2), (0, 0), (1, 1)), (2, 3), False)[0],
    inputs=spaced((1, 2, 4, 6)),
    witness=lambda: Witness(
        [np.arange(24.0).reshape(1, 1, 4, 6)], [np.ones((1, 1, 2, 3))], directions=[np.ones((1, 1, 4, 6))]
    ),
    order=2,
)
