"""Normalisation: mean and variance depend on the input too, which is where its backward goes wrong."""

import numpy as np

from ... import ops
from ...function import Function
from ...tensor import Tensor
from ._mutant import Witness, mutant, normal

# ---- batch norm ----------------------------------------------------------------------------------------------------


class BatchNorm(Function):
    """y = x̂·w + b, x̂ = (x − mean) / √(var + eps) over the batch (Ioffe and Szegedy 2015): x is (N, C).

    With g = grad·w, dx = (g − mean(g) − x̂·mean(g·x̂)) / √(var + eps), all means over `axis`. `to_input` is a method of
    its own, for mutants to replace.
    """

    axis = 0

    @staticmethod
    def forward(ctx, x, w, b, eps):
        ctx.save_for_backward(x, w)
        ctx.eps = eps
        centred = x - x.mean(ctx.axis, keepdims=True)
        return centred / np.sqrt((centred * centred).mean(ctx.axis, keepdims=True) + eps) * w + b

    def mean(ctx, x):
        return x.mean(ctx.axis, keepdim=True)

    @staticmethod
    def backward(ctx, grad):
        x, w = ctx.saved_tensors
        centred = x - ctx.mean(x)
        std = ops.sqrt(ctx.mean(centred * centred) + ctx.eps)
        return ctx.to_input(grad * w, centred / std, std), (grad * centred / std).sum(0), grad.sum(0)

    def to_input(ctx, g, normed, std):
        return (g - ctx.mean(g) - normed * ctx.mean(g * normed)) / std


def _norm(function, eps=1e-2):
    """The function of (x, w, b); eps is large, so that what is wrong with it shows."""
    return lambda x, w, b: function.apply(x, w, b, eps)


def _rows_of_three():
    """One channel with mean 3 and variance 6, and a cotangent for its first row alone."""
    return Witness([[[0], [3], [6]], [2], [0]], [[[1], [0], [0]]])


class BatchNormWithoutTheMeanTerm(BatchNorm):
    def to_input(ctx, g, normed, std):
        return (g - normed * ctx.mean(g * normed)) / std


mutant(
    "batch-norm-without-the-mean-term",
    "batch_norm",
    "The way through the mean is missing, − mean(g): the gradients of a channel should add up to zero over the batch.",
    right=_norm(BatchNorm),
    wrong=_norm(BatchNormWithoutTheMeanTerm),
    inputs=normal((5, 3), (3,), (3,)),
    witness=_rows_of_three,
)


class BatchNormWithoutTheVarianceTerm(BatchNorm):
    def to_input(ctx, g, normed, std):
        return (g - ctx.mean(g)) / std


mutant(
    "batch-norm-without-the-variance-term",
    "batch_norm",
    "The way through the variance is missing, − x̂·mean(g·x̂). A larger input is not made larger by the normalisation, "
    "so the gradient must be orthogonal to x̂.",
    right=_norm(BatchNorm),
    wrong=_norm(BatchNormWithoutTheVarianceTerm),
    inputs=normal((5, 3), (3,), (3,)),
    witness=_rows_of_three,
)


class BatchNormOfConstants(BatchNorm):
    def to_input(ctx, g, normed, std):
        return g / std


mutant(
    "batch-norm-of-constants",
    "batch_norm",
    "Mean and variance are taken for constants. That is right in evaluation, with running statistics, and wrong in "
    "training.",
    right=_norm(BatchNorm),
    wrong=_norm(BatchNormOfConstants),
    inputs=normal((5, 3), (3,), (3,)),
    witness=_rows_of_three,
)


class BatchNormWithoutEps(BatchNorm):
    def to_input(ctx, g, normed, std):
        variance = std * std - ctx.eps
        return BatchNorm.to_input(ctx, g, normed, ops.sqrt(variance))


mutant(
    "batch-norm-without-eps",
    "batch_norm",
    "The backward pass divides by √var, the forward pass by √(var + eps). (eps is 1e-2 here.)",
    right=_norm(BatchNorm),
    wrong=_norm(BatchNormWithoutEps),
    inputs=normal((5, 3), (3,), (3,)),
    witness=lambda: Witness([[[0], [0], [0.3]], [1], [0]], [[[1], [0], [0]]]),
)

mutant(
    "batch-norm-without-a-small-eps",
    "batch_norm",
    "As batch-norm-without-eps, with the usual eps of 1e-5: for data of variance 1 the error is 5 in a million. It "
    "shows where a channel hardly varies, as here.",
    right=_norm(BatchNorm, 1e-5),
    wrong=_norm(BatchNormWithoutEps, 1e-5),
    inputs=lambda rng: (0.05 * rng.standard_normal((5, 3)), *normal((3,), (3,))(rng)),
    witness=lambda: Witness([[[0], [0], [0.03]], [1], [0]], [[[1], [0], [0]]]),
)


class BatchNormOfASample(BatchNorm):
    def to_input(ctx, g, normed, std):
        n = len(g.data)
        return (g - ctx.mean(g) - normed * (g * normed).sum(0, keepdim=True) / (n - 1)) / std


mutant(
    "batch-norm-of-a-sample",
    "batch_norm",
    "Training normalises with the variance divided by n; the backward pass has n − 1, which belongs to the running "
    "variance.",
    right=_norm(BatchNorm),
    wrong=_norm(BatchNormOfASample),
    inputs=normal((5, 3), (3,), (3,)),
    witness=_rows_of_three,
)


class BatchNormWeightOfTheInput(BatchNorm):
    @staticmethod
    def backward(ctx, grad):
        x, _ = ctx.saved_tensors
        to_input, _, to_bias = BatchNorm.backward(ctx, grad)
        return to_input, (grad * x).sum(0), to_bias


mutant(
    "batch-norm-weight-of-the-input",
    "batch_norm",
    "The weight multiplies x̂, so its gradient is the sum of grad·x̂; grad·x is summed. For data that is normalised "
    "already it looks nearly right.",
    right=_norm(BatchNorm),
    wrong=_norm(BatchNormWeightOfTheInput),
    inputs=normal((5, 3), (3,), (3,)),
    witness=_rows_of_three,
)


class BatchNormWithoutTheWeight(BatchNorm):
    def to_input(ctx, g, normed, std):
        _, w = ctx.saved_tensors
        return BatchNorm.to_input(ctx, g / w, normed, std)


mutant(
    "batch-norm-without-the-weight",
    "batch_norm",
    "The input's gradient is computed from grad instead of grad·w. The weight starts at 1, so at initialisation it "
    "looks right.",
    right=_norm(BatchNorm),
    wrong=_norm(BatchNormWithoutTheWeight),
    inputs=normal((5, 3), (3,), (3,)),
    witness=_rows_of_three,
)


class NormOfRunningStatistics(Function):
    """Batch norm in evaluation: mean and variance are given, x̂ = (x − mean) / √(var + eps)."""

    @staticmethod
    def forward(ctx, x, mean, std):
        ctx.save_for_backward(x)
        ctx.mean, ctx.std = mean, std
        return (x - mean) / std

    @staticmethod
    def backward(ctx, grad):
        return grad / Tensor(ctx.std)


class NormOfRunningStatisticsAsInTraining(NormOfRunningStatistics):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        normed = (x - Tensor(ctx.mean)) / Tensor(ctx.std)
        return (grad - grad.mean(0) - normed * (grad * normed).mean(0)) / Tensor(ctx.std)


mutant(
    "batch-norm-in-evaluation-as-in-training",
    "batch_norm",
    "In evaluation mean and variance are running statistics and do not depend on the input: dx = g/√(var + eps). The "
    "formula of training is used.",
    right=lambda x: NormOfRunningStatistics.apply(x, np.array([1.0]), np.array([2.0])),
    wrong=lambda x: NormOfRunningStatisticsAsInTraining.apply(x, np.array([1.0]), np.array([2.0])),
    inputs=normal((5, 3)),
    witness=lambda: Witness([[[1], [3]]], [[[2], [2]]]),
)

# ---- layer norm, normalised vectors --------------------------------------------------------------------------------


class LayerNorm(BatchNorm):
    """As batch norm, with mean and variance over the features of each row (Ba et al. 2016)."""

    axis = 1


class LayerNormOverTheBatch(LayerNorm):
    def to_input(ctx, g, normed, std):
        return (g - g.mean(0, keepdim=True) - normed * (g * normed).mean(0, keepdim=True)) / std


mutant(
    "layer-norm-over-the-batch",
    "layer_norm",
    "The means of the gradient are taken over the batch, as in batch norm, instead of each row's features.",
    right=_norm(LayerNorm),
    wrong=_norm(LayerNormOverTheBatch),
    inputs=normal((4, 4), (4,), (4,)),
    witness=lambda: Witness([[[0, 3, 6], [6, 3, 0]], [1, 2, 3], [0, 0, 0]], [[[1, 0, 0], [0, 0, 0]]]),
)


class LayerNormWithTheWeightLate(LayerNorm):
    def to_input(ctx, g, normed, std):
        _, w = ctx.saved_tensors
        return BatchNorm.to_input(ctx, g / w, normed, std) * w


mutant(
    "layer-norm-with-the-weight-late",
    "layer_norm",
    "The result is multiplied by the weight at the end instead of grad at the start. In batch norm that is the same; "
    "here the means run over features, each with a weight of its own.",
    right=_norm(LayerNorm),
    wrong=_norm(LayerNormWithTheWeightLate),
    inputs=normal((3, 4), (4,), (4,)),
    witness=lambda: Witness([[[0, 3, 6]], [1, 2, 3], [0, 0, 0]], [[[1, 0, 0]]]),
)


class LayerNormWithoutTheWeight(LayerNorm):
    def to_input(ctx, g, normed, std):
        _, w = ctx.saved_tensors
        return BatchNorm.to_input(ctx, g / w, normed, std)


mutant(
    "layer-norm-without-the-weight",
    "layer_norm",
    "The input's gradient is computed from grad instead of grad·w. The weight starts at 1, so at initialisation it "
    "looks right.",
    right=_norm(LayerNorm),
    wrong=_norm(LayerNormWithoutTheWeight),
    inputs=normal((3, 4), (4,), (4,)),
    witness=lambda: Witness([[[0, 3, 6]], [2, 2, 3], [0, 0, 0]], [[[1, 0, 0]]]),
)


class Normalize(Function):
    """y = x / ‖x‖ along axis 1: dx = (g − y·(g·y)) / ‖x‖."""

    @staticmethod
    def forward(ctx, x):
        y = x / np.sqrt((x * x).sum(1, keepdims=True))
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx, grad):
        x, y = ctx.saved_tensors
        return (grad - y * (grad * y).sum(1, keepdim=True)) / ops.sqrt((x * x).sum(1, keepdim=True))


class NormalizeByAConstant(Normalize):
    @staticmethod
    def backward(ctx, grad):
        x, _ = ctx.saved_tensors
        return grad / ops.sqrt((x * x).sum(1, keepdim=True))


mutant(
    "normalize-by-a-constant",
    "normalize",
    "The norm is taken for a constant. A vector of length 1 cannot grow, so the part of grad along y must vanish.",
    right=Normalize.apply,
    wrong=NormalizeByAConstant.apply,
    inputs=normal((3, 4)),
    witness=lambda: Witness([[[3, 4]]], [[[5, 0]]]),
)
