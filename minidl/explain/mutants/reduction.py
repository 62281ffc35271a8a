"""Many elements to one: sums, means, variances, norms, products, extrema."""

import numpy as np

from ... import ops
from ...function import Function
from ...tensor import Tensor
from ._mutant import Witness, mutant, normal, positive, spaced

# ---- sums and means ------------------------------------------------------------------------------------------------


class SumNotExpanded(Function):
    @staticmethod
    def forward(ctx, x):
        return x.sum(1)

    @staticmethod
    def backward(ctx, grad):
        return grad


mutant(
    "sum-not-expanded",
    "sum",
    "Every element of a row enters its sum, so each receives the sum's gradient; it is returned with the output's "
    "shape instead of the input's.",
    right=lambda x: ops.sum(x, 1),
    wrong=SumNotExpanded.apply,
    inputs=normal((3, 4)),
    witness=lambda: Witness([[[1, 2], [3, 4]]], [[1, 10]]),
)


class SumExpandedAlongTheWrongAxis(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.shape = x.shape
        return x.sum(1)

    @staticmethod
    def backward(ctx, grad):
        return grad.expand(ctx.shape)


mutant(
    "sum-expanded-along-the-wrong-axis",
    "sum",
    "The gradient lacks the axis that was summed. Broadcasting adds it in front instead of where it was, which a "
    "square input does not betray.",
    right=lambda x: ops.sum(x, 1),
    wrong=SumExpandedAlongTheWrongAxis.apply,
    inputs=normal((4, 4)),
    witness=lambda: Witness([[[1, 2], [3, 4]]], [[1, 10]]),
)


class MeanNotDivided(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.shape = x.shape
        return x.sum(1) / x.shape[1]

    @staticmethod
    def backward(ctx, grad):
        return grad.unsqueeze(1).expand(ctx.shape)


mutant(
    "mean-not-divided",
    "mean",
    "Each of n elements has a share of 1/n in the mean; the gradient of the sum is returned.",
    right=lambda x: ops.mean(x, 1),
    wrong=MeanNotDivided.apply,
    inputs=normal((3, 4)),
    witness=lambda: Witness([[[1, 2], [3, 4]]], [[1, 10]]),
)


class MeanDividedByTheSize(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.shape, ctx.size = x.shape, x.size
        return x.sum(1) / x.shape[1]

    @staticmethod
    def backward(ctx, grad):
        return grad.unsqueeze(1).expand(ctx.shape) / ctx.size


mutant(
    "mean-divided-by-the-size",
    "mean",
    "The gradient is divided by the number of all elements instead of those that were averaged. With a batch of one "
    "row it looks right.",
    right=lambda x: ops.mean(x, 1),
    wrong=MeanDividedByTheSize.apply,
    inputs=normal((3, 4)),
    witness=lambda: Witness([[[1, 2], [3, 4]]], [[4, 8]]),
)


class CumSum(Function):
    """y[i] = x[0] + … + x[i]: x[i] receives the gradients of y[i] and all after it."""

    @staticmethod
    def forward(ctx, x):
        return np.cumsum(x, 0)

    @staticmethod
    def backward(ctx, grad):
        return ops.flip(CumSum.apply(ops.flip(grad, 0)), 0)


class CumSumNotReversed(CumSum):
    @staticmethod
    def backward(ctx, grad):
        return CumSum.apply(grad)


mutant(
    "cumsum-not-reversed",
    "cumsum",
    "x[i] enters y[i] and all later sums, so gradients are accumulated from the end; they are accumulated from the "
    "start.",
    right=CumSum.apply,
    wrong=CumSumNotReversed.apply,
    inputs=normal((5, 2)),
    witness=lambda: Witness([[1, 2, 3]], [[1, 10, 100]]),
)


class CumSumExclusive(CumSum):
    @staticmethod
    def backward(ctx, grad):
        return CumSum.backward(ctx, grad) - grad


mutant(
    "cumsum-exclusive",
    "cumsum",
    "x[i] enters y[i] itself too; the gradients are accumulated from y[i + 1] on.",
    right=CumSum.apply,
    wrong=CumSumExclusive.apply,
    inputs=normal((5, 2)),
    witness=lambda: Witness([[1, 2, 3]], [[1, 10, 100]]),
)


class LogSumExp(Function):
    """y = log(sum of exp x) over axis 1: dy/dx = exp(x − y)."""

    @staticmethod
    def forward(ctx, x):
        shift = x.max(1, keepdims=True)
        y = np.log(np.exp(x - shift).sum(1, keepdims=True)) + shift
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx, grad):
        x, y = ctx.saved_tensors
        return grad * ops.exp(x - y)


class LogSumExpThatOverflows(LogSumExp):
    @staticmethod
    def backward(ctx, grad):
        x, _ = ctx.saved_tensors
        return grad * ops.exp(x) / ops.exp(x).sum(1, keepdim=True)


mutant(
    "logsumexp-that-overflows",
    "logsumexp",
    "The forward pass shifts by the maximum, the backward pass does not: exp(800) / exp(800) is NaN.",
    right=LogSumExp.apply,
    wrong=LogSumExpThatOverflows.apply,
    inputs=lambda rng: (rng.standard_normal((3, 4)) + np.array([[0.0], [800.0], [-800.0]]),),
    witness=lambda: Witness([[[800, 800]]], [[[1]]]),
)


class LogSumExpOverAll(LogSumExp):
    @staticmethod
    def backward(ctx, grad):
        x, _ = ctx.saved_tensors
        return grad * ops.exp(x) / ops.exp(x).sum()


mutant(
    "logsumexp-over-all",
    "logsumexp",
    "The gradient is the softmax of each row; the exponentials are divided by their sum over all rows.",
    right=LogSumExp.apply,
    wrong=LogSumExpOverAll.apply,
    inputs=normal((3, 4)),
    witness=lambda: Witness([[[0, 0], [0, 0]]], [[[1], [1]]]),
)

# ---- variances and norms -------------------------------------------------------------------------------------------


class Var(Function):
    """y = sum of (x − mean)² / (n − 1) over axis 1: dy/dx = 2 (x − mean) / (n − 1)."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.var(1, ddof=1, keepdims=True)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * 2 * (x - x.mean(1, keepdim=True)) / (x.shape[1] - 1)


class VarDividedByN(Var):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * 2 * (x - x.mean(1, keepdim=True)) / x.shape[1]


mutant(
    "var-divided-by-n",
    "var",
    "The variance is that of a sample, divided by n − 1; its gradient is divided by n.",
    right=Var.apply,
    wrong=VarDividedByN.apply,
    inputs=normal((3, 4)),
    witness=lambda: Witness([[[1, 2, 6]]], [[[1]]]),
)


class VarMeanCountedTwice(Var):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        through_mean = -2 * x.mean(1, keepdim=True) / (x.shape[1] - 1)
        return grad * (2 * (x - x.mean(1, keepdim=True)) / (x.shape[1] - 1) + through_mean)


mutant(
    "var-mean-counted-twice",
    "var",
    "A second term is added for the way through the mean. That way counts for nothing, since the deviations add up to "
    "zero. For data of mean zero it looks right.",
    right=Var.apply,
    wrong=VarMeanCountedTwice.apply,
    inputs=lambda rng: (rng.standard_normal((3, 4)) + 1,),
    witness=lambda: Witness([[[1, 2, 6]]], [[[1]]]),
)


class VarNotCentred(Var):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * 2 * x / (x.shape[1] - 1)


mutant(
    "var-not-centred",
    "var",
    "The mean is not subtracted from x: the gradient of the mean square instead of the variance.",
    right=Var.apply,
    wrong=VarNotCentred.apply,
    inputs=normal((3, 4)),
    witness=lambda: Witness([[[1, 2, 6]]], [[[1]]]),
)


class Std(Function):
    """y = the root of the variance over axis 1: dy/dx = (x − mean) / ((n − 1) y)."""

    @staticmethod
    def forward(ctx, x):
        y = x.std(1, ddof=1, keepdims=True)
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx, grad):
        x, y = ctx.saved_tensors
        return grad * (x - x.mean(1, keepdim=True)) / ((x.shape[1] - 1) * y)


class StdOfTheVariance(Std):
    @staticmethod
    def backward(ctx, grad):
        x, _ = ctx.saved_tensors
        return grad * 2 * (x - x.mean(1, keepdim=True)) / (x.shape[1] - 1)


mutant(
    "std-of-the-variance",
    "std",
    "The gradient of the variance is returned; the derivative of the square root, 1/(2y), is left out.",
    right=Std.apply,
    wrong=StdOfTheVariance.apply,
    inputs=normal((3, 4)),
    witness=lambda: Witness([[[1, 2, 3]]], [[[1]]]),
)


class Norm(Function):
    """y = √(sum of x²) over axis 1: dy/dx = x / y, taken as 0 at 0."""

    @staticmethod
    def forward(ctx, x):
        y = np.sqrt((x * x).sum(1, keepdims=True))
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx, grad):
        x, y = ctx.saved_tensors
        return grad * x / ops.where(y == 0, 1.0, y)


class NormNotDivided(Norm):
    @staticmethod
    def backward(ctx, grad):
        x, _ = ctx.saved_tensors
        return grad * x


mutant(
    "norm-not-divided",
    "norm",
    "The derivative of the Euclidean norm is x/‖x‖, a vector of length 1; x itself is returned. For unit vectors it "
    "looks right.",
    right=Norm.apply,
    wrong=NormNotDivided.apply,
    inputs=normal((3, 4)),
    witness=lambda: Witness([[[3, 4]]], [[[5]]]),
)


class NormOfZero(Norm):
    @staticmethod
    def backward(ctx, grad):
        x, y = ctx.saved_tensors
        return grad * x / y


mutant(
    "norm-of-zero",
    "norm",
    "Where a whole row is zero (a dead unit's weights, a padded word) x/‖x‖ is 0/0 = NaN, and NaN spreads to all "
    "weights. 0 is one of the norm's subgradients there.",
    right=Norm.apply,
    wrong=NormOfZero.apply,
    inputs=lambda rng: (rng.standard_normal((3, 4)) * np.array([[1.0], [0.0], [1.0]]),),
    witness=lambda: Witness([[[3, 4], [0, 0]]], [[[5], [5]]]),
)

# ---- products ------------------------------------------------------------------------------------------------------


class Prod(Function):
    """y = the product over axis 1: dy/dx[i] is the product of the others, without a division."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.prod(1, keepdims=True)

    @staticmethod
    def backward(ctx, grad):
        x = ctx.saved_tensors[0].data
        others = [np.delete(x, i, 1).prod(1) for i in range(x.shape[1])]
        return grad * Tensor(np.stack(others, 1))


class ProdByDivision(Prod):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        y = Tensor(x.data.prod(1, keepdims=True))
        return grad * y / x


mutant(
    "prod-by-division",
    "prod",
    "The product of the other factors is computed as y / x[i]: 0/0 = NaN where a factor is zero, although the gradient "
    "of that factor is the product of the rest.",
    right=Prod.apply,
    wrong=ProdByDivision.apply,
    inputs=lambda rng: (rng.uniform(0.5, 2, (3, 4)) * (np.arange(12).reshape(3, 4) != 5),),
    witness=lambda: Witness([[[0, 2, 3]]], [[[1]]]),
)


class ProdWithoutGradientAtZero(Prod):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        y = Tensor(x.data.prod(1, keepdims=True))
        return grad * ops.where(x == 0, 0.0, y / ops.where(x == 0, 1.0, x))


mutant(
    "prod-without-gradient-at-zero",
    "prod",
    "The NaN of y / x[i] at a zero is replaced by 0. But the only zero factor of a product has the gradient that "
    "matters most: the product of the others.",
    right=Prod.apply,
    wrong=ProdWithoutGradientAtZero.apply,
    inputs=lambda rng: (rng.uniform(0.5, 2, (3, 4)) * (np.arange(12).reshape(3, 4) != 5),),
    witness=lambda: Witness([[[0, 2, 3]]], [[[1]]]),
)


class CumProd(Function):
    """y[i] = x[0]·…·x[i]: x[i] receives the sum of grad·y from i to the end, divided by x[i] (which is not zero)."""

    @staticmethod
    def forward(ctx, x):
        y = np.cumprod(x)
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx, grad):
        x, y = ctx.saved_tensors
        return ops.flip(CumSum.apply(ops.flip(grad * y, 0)), 0) / x


class CumProdOfOneTerm(CumProd):
    @staticmethod
    def backward(ctx, grad):
        x, y = ctx.saved_tensors
        return grad * y / x


mutant(
    "cumprod-of-one-term",
    "cumprod",
    "x[i] is a factor of y[i] and of all later products; only the gradient of y[i] is counted.",
    right=CumProd.apply,
    wrong=CumProdOfOneTerm.apply,
    inputs=positive((5,)),
    witness=lambda: Witness([[1, 2, 3]], [[1, 1, 1]]),
)

# ---- extrema -------------------------------------------------------------------------------------------------------


class AMaxTiesCountedTwice(Function):
    @staticmethod
    def forward(ctx, x):
        y = x.max(1, keepdims=True)
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx, grad):
        x, y = ctx.saved_tensors
        return ops.where(x == y, grad, 0.0)


mutant(
    "amax-ties-counted-twice",
    "amax",
    "Each of several equal maxima receives the whole gradient; they should share it. After a relu or in rounded data "
    "ties are common.",
    right=lambda x: ops.amax(x, 1, keepdim=True),
    wrong=AMaxTiesCountedTwice.apply,
    inputs=lambda rng: (np.concatenate([x := spaced((3, 3))(rng)[0], x.max(1, keepdims=True)], 1),),
    witness=lambda: Witness([[[3, 1, 3]]], [[[2]]]),
)


class MaxOverAll(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.max(1, keepdims=True)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return ops.where(x == ops.amax(x), grad, 0.0)


mutant(
    "amax-over-all",
    "amax",
    "The mask compares with the maximum of the whole array instead of each row's: all rows but one get no gradient.",
    right=lambda x: ops.amax(x, 1, keepdim=True),
    wrong=MaxOverAll.apply,
    inputs=spaced((3, 4)),
    witness=lambda: Witness([[[1, 2], [4, 3]]], [[[1], [1]]]),
)


class MaxWithANegativeDim(Function):
    @staticmethod
    def forward(ctx, x, dim):
        ctx.shape, ctx.dim, ctx.index = x.shape, dim, np.argmax(x, dim)
        return np.max(x, dim)

    @staticmethod
    def backward(ctx, grad):
        gx = np.zeros(ctx.shape)
        axis = ctx.dim % (len(ctx.shape) - 1)
        np.put_along_axis(gx, np.expand_dims(ctx.index, axis), np.expand_dims(grad.data, axis), axis)
        return gx


mutant(
    "max-with-a-negative-dim",
    "max",
    "A negative dim is counted from the end of the output, which has one axis less than the input: −1 becomes the axis "
    "before the last. With dims from 0 on all is right, and on a square input nothing complains.",
    right=lambda x: ops.max(x, -1)[0],
    wrong=lambda x: MaxWithANegativeDim.apply(x, -1),
    inputs=spaced((2, 3, 3)),
    witness=lambda: Witness([[[[1, 2], [4, 3]]]], [[[1, 10]]]),
)


class SortByTheSamePermutation(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.order = np.argsort(x)
        return x[ctx.order]

    @staticmethod
    def backward(ctx, grad):
        return grad[ctx.order]


mutant(
    "sort-by-the-same-permutation",
    "sort",
    "y[i] = x[order[i]], so the gradient of y[i] goes to place order[i], by the inverse permutation; the same "
    "permutation is applied again. Exchanging two elements would not betray it, a cycle of three does.",
    right=lambda x: x[np.argsort(x.data)],
    wrong=SortByTheSamePermutation.apply,
    inputs=lambda rng: ((np.array([2.0, 0.0, 1.0, 3.0, 4.0]) + rng.uniform(0, 0.8, 5)),),
    witness=lambda: Witness([[3, 1, 2]], [[1, 10, 100]]),
)
