"""Softmax and log-softmax."""

from ... import ops
from ...ops.log_softmax import LogSoftmax
from ...ops.softmax import Softmax
from ._mutant import Witness, mutant, normal


class SoftmaxWithoutTheSum(Softmax):
    @staticmethod
    def backward(ctx, grad):
        (y,) = ctx.saved_tensors
        return grad * y


mutant(
    "softmax-without-the-sum",
    "softmax",
    "dx = y·(g − Σ g·y); the sum, by which every class takes from all others, is missing.",
    right=lambda x: ops.softmax(x, 1),
    wrong=lambda x: SoftmaxWithoutTheSum.apply(x, 1),
    inputs=normal((3, 4)),
    witness=lambda: Witness([[[0, 0]]], [[[4, 0]]]),
)


class SoftmaxOfTheDiagonal(Softmax):
    @staticmethod
    def backward(ctx, grad):
        (y,) = ctx.saved_tensors
        return grad * y * (1 - y)


mutant(
    "softmax-of-the-diagonal",
    "softmax",
    "y(1 − y) is the derivative of the sigmoid, and only the diagonal of softmax's Jacobian: what class k does to the "
    "others is missing.",
    right=lambda x: ops.softmax(x, 1),
    wrong=lambda x: SoftmaxOfTheDiagonal.apply(x, 1),
    inputs=normal((3, 4)),
    witness=lambda: Witness([[[0, 0]]], [[[4, 0]]]),
)


class SoftmaxSummedOverTheBatch(Softmax):
    @staticmethod
    def backward(ctx, grad):
        (y,) = ctx.saved_tensors
        return y * (grad - (grad * y).sum(0, keepdim=True))


mutant(
    "softmax-summed-over-the-batch",
    "softmax",
    "The sum of g·y runs over the batch instead of the classes.",
    right=lambda x: ops.softmax(x, 1),
    wrong=lambda x: SoftmaxSummedOverTheBatch.apply(x, 1),
    inputs=normal((3, 4)),
    witness=lambda: Witness([[[0, 0], [0, 0]]], [[[4, 0], [0, 0]]]),
)


class SoftmaxSummedOverAll(Softmax):
    @staticmethod
    def backward(ctx, grad):
        (y,) = ctx.saved_tensors
        return y * (grad - (grad * y).sum())


mutant(
    "softmax-summed-over-all",
    "softmax",
    "The sum of g·y runs over all rows instead of each row's classes. With one row it looks right.",
    right=lambda x: ops.softmax(x, 1),
    wrong=lambda x: SoftmaxSummedOverAll.apply(x, 1),
    inputs=normal((3, 4)),
    witness=lambda: Witness([[[0, 0], [0, 0]]], [[[4, 0], [0, 0]]]),
)


class SoftmaxWithoutTheTemperature(Softmax):
    @staticmethod
    def forward(ctx, x, axis, temperature):
        return Softmax.forward(ctx, x / temperature, axis)


mutant(
    "softmax-without-the-temperature",
    "softmax",
    "The logits are divided by a temperature of 2 on the way forward; the gradient is not divided by it.",
    right=lambda x: ops.softmax(x / 2, 1),
    wrong=lambda x: SoftmaxWithoutTheTemperature.apply(x, 1, 2.0),
    inputs=normal((3, 4)),
    witness=lambda: Witness([[[0, 0]]], [[[4, 0]]]),
)


class LogSoftmaxOfTheLogarithm(LogSoftmax):
    @staticmethod
    def backward(ctx, grad):
        (y,) = ctx.saved_tensors
        return grad - y * grad.sum(1, keepdim=True)


mutant(
    "log-softmax-of-the-logarithm",
    "log_softmax",
    "dx = g − softmax(x)·Σ g. What was saved is the logarithm of the softmax, and it is used without exp.",
    right=lambda x: ops.log_softmax(x, 1),
    wrong=lambda x: LogSoftmaxOfTheLogarithm.apply(x, 1),
    inputs=normal((3, 4)),
    witness=lambda: Witness([[[0, 0]]], [[[4, 0]]]),
)


class LogSoftmaxOfOneTarget(LogSoftmax):
    @staticmethod
    def backward(ctx, grad):
        (y,) = ctx.saved_tensors
        return grad - ops.exp(y)


mutant(
    "log-softmax-of-one-target",
    "log_softmax",
    "g − softmax(x) holds where the gradients of a row add up to 1, as those of a loss with one target do; in general "
    "softmax(x) is multiplied by their sum.",
    right=lambda x: ops.log_softmax(x, 1),
    wrong=lambda x: LogSoftmaxOfOneTarget.apply(x, 1),
    inputs=normal((3, 4)),
    witness=lambda: Witness([[[0, 0]]], [[[4, 0]]]),
)


class LogSoftmaxWithSoftmaxsBackward(LogSoftmax):
    @staticmethod
    def backward(ctx, grad):
        (y,) = ctx.saved_tensors
        p = ops.exp(y)
        return p * (grad - (grad * p).sum(1, keepdim=True))


mutant(
    "log-softmax-with-softmaxs-backward",
    "log_softmax",
    "The backward pass of softmax was copied: it lacks the derivative of the logarithm, 1/softmax(x).",
    right=lambda x: ops.log_softmax(x, 1),
    wrong=lambda x: LogSoftmaxWithSoftmaxsBackward.apply(x, 1),
    inputs=normal((3, 4)),
    witness=lambda: Witness([[[0, 0]]], [[[4, 0]]]),
)
