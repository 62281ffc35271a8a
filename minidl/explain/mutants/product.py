"""Matrix products and what is made of them: linear layers, contractions, attention."""

import math

import numpy as np

from ... import ops
from ...function import Function
from ...ops.matmul import Linear, MatMul
from ._mutant import Witness, mutant, normal


class MatMulWithoutTransposes(MatMul):
    @staticmethod
    def backward(ctx, grad):
        a, b = ctx.saved_tensors
        return grad @ b, a @ grad


mutant(
    "matmul-without-transposes",
    "matmul",
    "dA = dY·Bᵀ and dB = Aᵀ·dY; the transposes are missing, which square matrices do not betray.",
    right=ops.matmul,
    wrong=MatMulWithoutTransposes.apply,
    inputs=normal((3, 3), (3, 3)),
    witness=lambda: Witness([[[1, 2], [3, 4]], [[5, 6], [7, 8]]], [[[1, 0], [0, 0]]]),
)


class MatMulFromTheWrongSide(MatMul):
    @staticmethod
    def backward(ctx, grad):
        a, b = ctx.saved_tensors
        return b.mT @ grad, grad @ a.mT


mutant(
    "matmul-from-the-wrong-side",
    "matmul",
    "The transposed factor stands on the wrong side of dY: dA = Bᵀ·dY instead of dY·Bᵀ. A product of matrices does not "
    "commute.",
    right=ops.matmul,
    wrong=MatMulFromTheWrongSide.apply,
    inputs=normal((3, 3), (3, 3)),
    witness=lambda: Witness([[[1, 2], [3, 4]], [[5, 6], [7, 8]]], [[[1, 0], [0, 0]]]),
)


class MatMulExchanged(MatMul):
    @staticmethod
    def backward(ctx, grad):
        return MatMul.backward(ctx, grad)[::-1]


mutant(
    "matmul-gradients-exchanged",
    "matmul",
    "The two gradients are right and returned in the wrong order.",
    right=ops.matmul,
    wrong=MatMulExchanged.apply,
    inputs=normal((3, 3), (3, 3)),
    witness=lambda: Witness([[[1, 2], [3, 4]], [[5, 6], [7, 8]]], [[[1, 0], [0, 0]]]),
)


class MatMulOfTheFirstInTheStack(MatMul):
    @staticmethod
    def backward(ctx, grad):
        a, b = ctx.saved_tensors
        return grad @ b.mT, a[0].mT @ grad[0]


mutant(
    "matmul-of-the-first-in-the-stack",
    "matmul",
    "One matrix B multiplies a whole stack, so its gradient is the sum over the stack; only the first product counts.",
    right=ops.matmul,
    wrong=MatMulOfTheFirstInTheStack.apply,
    inputs=normal((2, 3, 4), (4, 5)),
    witness=lambda: Witness([[[[1]], [[2]]], [[3]]], [[[[1]], [[1]]]]),
)


class MatMulAveragedOverTheStack(MatMul):
    @staticmethod
    def backward(ctx, grad):
        a, b = ctx.saved_tensors
        return grad @ b.mT, (a.mT @ grad).mean(0)


mutant(
    "matmul-averaged-over-the-stack",
    "matmul",
    "The gradient of a matrix that multiplies a whole stack is the mean over the stack instead of the sum. The loss "
    "divides by the batch already, if anything does.",
    right=ops.matmul,
    wrong=MatMulAveragedOverTheStack.apply,
    inputs=normal((2, 3, 4), (4, 5)),
    witness=lambda: Witness([[[[1]], [[2]]], [[3]]], [[[[1]], [[1]]]]),
)


class LinearBiasAveraged(Linear):
    @staticmethod
    def backward(ctx, grad):
        x, w = ctx.saved_tensors
        return grad @ w, grad.mT @ x, grad.mean(0)


mutant(
    "linear-bias-averaged",
    "linear",
    "The bias is added to every row of the batch, so its gradient is the sum of theirs; the mean is taken.",
    right=ops.linear,
    wrong=LinearBiasAveraged.apply,
    inputs=normal((3, 4), (5, 4), (5,)),
    witness=lambda: Witness([[[1], [2]], [[3]], [4]], [[[1], [1]]]),
)


class LinearWeightTransposed(Linear):
    @staticmethod
    def backward(ctx, grad):
        x, w = ctx.saved_tensors
        return grad @ w, x.mT @ grad, grad.sum(0)


mutant(
    "linear-weight-transposed",
    "linear",
    "The weight is (out, in), its gradient dYᵀ·x; xᵀ·dY is the transpose, which fits where both sizes are equal.",
    right=ops.linear,
    wrong=LinearWeightTransposed.apply,
    inputs=normal((3, 4), (4, 4), (4,)),
    witness=lambda: Witness([[[1, 2]], [[3, 4], [5, 6]], [0, 0]], [[[1, 10]]]),
)


class LinearOfTheLastStep(Linear):
    @staticmethod
    def backward(ctx, grad):
        x, w = ctx.saved_tensors
        return grad @ w, grad[:, -1].mT @ x[:, -1], grad.sum((0, 1))


mutant(
    "linear-of-the-last-step",
    "linear",
    "For sequences (batch, time, features) the weight is used at every step; its gradient counts the last one only. "
    "Without an axis of time, or with one step, it looks right.",
    right=ops.linear,
    wrong=LinearOfTheLastStep.apply,
    inputs=normal((2, 3, 4), (5, 4), (5,)),
    witness=lambda: Witness([[[[1], [2]]], [[3]], [0]], [[[[1], [1]]]]),
)


class Bilinear(Function):
    """y[n, o] = sum over i, j of a[n, i]·w[o, i, j]·b[n, j], as an einsum."""

    @staticmethod
    def forward(ctx, a, w, b):
        ctx.save_for_backward(a, w, b)
        return np.einsum("ni,oij,nj->no", a, w, b)

    @staticmethod
    def backward(ctx, grad):
        a, w, b = (t.data for t in ctx.saved_tensors)
        g = grad.data
        return (
            np.einsum("no,oij,nj->ni", g, w, b),
            np.einsum("no,ni,nj->oij", g, a, b),
            np.einsum("no,oij,ni->nj", g, w, a),
        )


class BilinearWithLettersExchanged(Bilinear):
    @staticmethod
    def backward(ctx, grad):
        grad_a, grad_w, grad_b = Bilinear.backward(ctx, grad)
        return grad_a, grad_w.transpose(0, 2, 1), grad_b


mutant(
    "einsum-with-letters-exchanged",
    "einsum",
    "The gradient of w comes from einsum(“no,ni,nj->oji”): two letters of the result are exchanged. Where both extents "
    "are equal nothing complains.",
    right=Bilinear.apply,
    wrong=BilinearWithLettersExchanged.apply,
    inputs=normal((2, 4), (3, 4, 4), (2, 4)),
    witness=lambda: Witness([[[1, 2]], [[[1, 0], [0, 1]]], [[3, 4]]], [[[1]]]),
)


class BilinearOfALostLetter(Bilinear):
    @staticmethod
    def backward(ctx, grad):
        grad_a, _, grad_b = Bilinear.backward(ctx, grad)
        a, _, b = (t.data for t in ctx.saved_tensors)
        return grad_a, np.einsum("no,ni,mj->oij", grad.data, a, b), grad_b


mutant(
    "einsum-with-a-letter-too-many",
    "einsum",
    "In einsum(“no,ni,mj->oij”) the batch has two letters: every row of a meets every row of b. With a batch of one it "
    "looks right.",
    right=Bilinear.apply,
    wrong=BilinearOfALostLetter.apply,
    inputs=normal((2, 4), (3, 4, 5), (2, 5)),
    witness=lambda: Witness([[[1], [2]], [[[1]]], [[3], [4]]], [[[1], [1]]]),
)


class Scores(Function):
    """y = Q Kᵀ / √d, the scores of attention (Vaswani et al. 2017, equation 1)."""

    @staticmethod
    def forward(ctx, q, k):
        ctx.save_for_backward(q, k)
        return q @ k.T / math.sqrt(q.shape[1])

    @staticmethod
    def backward(ctx, grad):
        q, k = ctx.saved_tensors
        grad = grad / math.sqrt(q.shape[1])
        return grad @ k, grad.mT @ q


class ScoresWithoutTheScale(Scores):
    @staticmethod
    def backward(ctx, grad):
        q, k = ctx.saved_tensors
        return grad @ k, grad.mT @ q


mutant(
    "attention-scores-without-the-scale",
    "scaled_dot_product",
    "The scores are divided by √d on the way forward, their gradients are not on the way back.",
    right=Scores.apply,
    wrong=ScoresWithoutTheScale.apply,
    inputs=normal((3, 4), (5, 4)),
    witness=lambda: Witness([[[1, 0, 0, 0]], [[2, 2, 2, 2]]], [[[1]]]),
)


class OuterWithOwnFactor(Function):
    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return np.outer(a, b)

    @staticmethod
    def backward(ctx, grad):
        a, b = ctx.saved_tensors
        return grad.mT @ b, grad @ a


mutant(
    "outer-transposed",
    "outer",
    "y[i, j] = a[i]·b[j], so da = dY·b and db = dYᵀ·a; the transpose is on the wrong one.",
    right=lambda a, b: ops.reshape(a, -1, 1) * b,
    wrong=OuterWithOwnFactor.apply,
    inputs=normal((4,), (4,)),
    witness=lambda: Witness([[1, 2], [3, 4]], [[[0, 1], [0, 0]]]),
)
