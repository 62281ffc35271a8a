"""Losses: cross-entropy with its options, and differences."""

import numpy as np

from ... import ops
from ...function import Function
from ...tensor import Tensor
from ._mutant import Witness, mutant, normal

# ---- cross-entropy -------------------------------------------------------------------------------------------------


class CrossEntropy(Function):
    """ops.cross_entropy forward; backward by the formula (softmax(x) − target distribution)·weight / total weight.

    `share` is a target's weight (0 where it is ignored), `wanted` the distribution that is compared with. Mutants
    replace one of them, or backward.
    """

    @staticmethod
    def forward(ctx, x, target, options):
        ctx.save_for_backward(x)
        ctx.target, ctx.options = target, options
        options = {k: Tensor(v) if k == "weight" else v for k, v in options.items()}
        return ops.cross_entropy(Tensor(x), Tensor(target), **options).data

    def wanted(ctx, classes):
        smoothing = ctx.options.get("label_smoothing", 0)
        return (1 - smoothing) * np.eye(classes)[np.maximum(ctx.target, 0)] + smoothing / classes

    def share(ctx):
        weight = ctx.options.get("weight")
        share = np.ones(len(ctx.target)) if weight is None else weight[np.maximum(ctx.target, 0)]
        return np.where(ctx.target == ctx.options.get("ignore_index", -100), 0, share)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        share = ctx.share()[:, None]
        return grad * (ops.softmax(x, 1) - Tensor(ctx.wanted(x.shape[1]))) * Tensor(share / share.sum())


def _loss(**options):
    """The right function of (x, target); its weights per class are given as an array."""
    options = {k: Tensor(v) if k == "weight" else v for k, v in options.items()}
    return lambda x, target: ops.cross_entropy(x, target, **options)


def _wrong_loss(function, **options):
    return lambda x, target: function.apply(x, target.data, options)


def _logits_and_targets(rng):
    return rng.standard_normal((4, 3)), rng.permutation([0, 1, 2, 2])


def _two_classes():
    """Two rows, classes as likely as each other: the right gradient is ±1/4."""
    return Witness([[[0, 0], [0, 0]], np.array([0, 1])], [np.array(1.0)])


class CrossEntropyNotDivided(CrossEntropy):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * (ops.softmax(x, 1) - Tensor(ctx.wanted(x.shape[1])))


mutant(
    "cross-entropy-not-divided",
    "cross_entropy",
    "The loss is the mean over the batch; its gradient is not divided by the number of rows.",
    right=_loss(),
    wrong=_wrong_loss(CrossEntropyNotDivided),
    inputs=_logits_and_targets,
    witness=_two_classes,
)


class CrossEntropyWithoutTheTarget(CrossEntropy):
    def wanted(ctx, classes):
        return np.zeros((len(ctx.target), classes))


mutant(
    "cross-entropy-without-the-target",
    "cross_entropy",
    "softmax(x) − onehot(target) without the second part: every class is pushed down, the right one too.",
    right=_loss(),
    wrong=_wrong_loss(CrossEntropyWithoutTheTarget),
    inputs=_logits_and_targets,
    witness=_two_classes,
)


class CrossEntropyWithoutGrad(CrossEntropy):
    @staticmethod
    def backward(ctx, grad):
        return CrossEntropy.backward(ctx, 1.0)


mutant(
    "cross-entropy-without-grad",
    "cross_entropy",
    "“The loss is the end of the graph”: the incoming gradient is taken for 1. A loss that is scaled, or one of "
    "several, loses its factor.",
    right=_loss(),
    wrong=_wrong_loss(CrossEntropyWithoutGrad),
    inputs=_logits_and_targets,
    witness=lambda: Witness([[[0, 0], [0, 0]], np.array([0, 1])], [np.array(4.0)]),
)


class CrossEntropyWithoutSmoothing(CrossEntropy):
    def wanted(ctx, classes):
        return np.eye(classes)[ctx.target]


mutant(
    "cross-entropy-without-smoothing",
    "cross_entropy",
    "With label smoothing the target is spread over all classes; the gradient still wants the one class alone.",
    right=_loss(label_smoothing=0.1),
    wrong=_wrong_loss(CrossEntropyWithoutSmoothing, label_smoothing=0.1),
    inputs=_logits_and_targets,
    witness=_two_classes,
)


class CrossEntropyThatPushesTheIgnored(CrossEntropy):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        counted = (ctx.target >= 0).sum()
        return grad * (ops.softmax(x, 1) - Tensor(ctx.wanted(x.shape[1]))) / counted


mutant(
    "cross-entropy-that-counts-the-ignored",
    "cross_entropy",
    "Rows whose target is ignored (padding) add nothing to the loss, but receive a gradient, here that of class 0.",
    right=_loss(ignore_index=-100),
    wrong=_wrong_loss(CrossEntropyThatPushesTheIgnored, ignore_index=-100),
    inputs=lambda rng: (rng.standard_normal((4, 3)), rng.permutation([0, 1, 2, -100])),
    witness=lambda: Witness([[[0, 0], [0, 0]], np.array([0, -100])], [np.array(1.0)]),
)


class CrossEntropyDividedByTheBatch(CrossEntropy):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        share = ctx.share()[:, None] / len(ctx.target)
        return grad * (ops.softmax(x, 1) - Tensor(ctx.wanted(x.shape[1]))) * Tensor(share)


mutant(
    "cross-entropy-divided-by-the-batch",
    "cross_entropy",
    "The mean runs over the targets that count; the gradient is divided by the number of all rows, ignored ones too.",
    right=_loss(ignore_index=-100),
    wrong=_wrong_loss(CrossEntropyDividedByTheBatch, ignore_index=-100),
    inputs=lambda rng: (rng.standard_normal((4, 3)), rng.permutation([0, 1, 2, -100])),
    witness=lambda: Witness([[[0, 0], [0, 0]], np.array([0, -100])], [np.array(1.0)]),
)

mutant(
    "cross-entropy-weights-not-normalised",
    "cross_entropy",
    "With weights per class the mean is a weighted one, divided by the sum of the weights; the gradient is divided by "
    "the number of rows.",
    right=_loss(weight=np.array([1.0, 2.0, 3.0])),
    wrong=_wrong_loss(CrossEntropyDividedByTheBatch, weight=np.array([1.0, 2.0, 3.0])),
    inputs=_logits_and_targets,
    witness=lambda: Witness([[[0, 0, 0], [0, 0, 0]], np.array([0, 2])], [np.array(1.0)]),
)


class CrossEntropyWeightsOfAllClasses(CrossEntropy):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        total = ctx.share().sum()
        weight = Tensor(ctx.options["weight"])
        return grad * (ops.softmax(x, 1) - Tensor(ctx.wanted(x.shape[1]))) * weight / total


mutant(
    "cross-entropy-weights-of-columns",
    "cross_entropy",
    "A row's weight is that of its target. The gradient's columns are multiplied by the weights of their own classes "
    "instead.",
    right=_loss(weight=np.array([1.0, 2.0, 3.0])),
    wrong=_wrong_loss(CrossEntropyWeightsOfAllClasses, weight=np.array([1.0, 2.0, 3.0])),
    inputs=_logits_and_targets,
    witness=lambda: Witness([[[0, 0, 0], [0, 0, 0]], np.array([0, 2])], [np.array(1.0)]),
)

# ---- other losses --------------------------------------------------------------------------------------------------


class BinaryCrossEntropy(Function):
    """The mean of log(1 + exp x) − x·t, for logits x and targets t: dx = (σ(x) − t) / n."""

    @staticmethod
    def forward(ctx, x, t):
        ctx.save_for_backward(x, t)
        return np.mean(np.logaddexp(0, x) - x * t)

    @staticmethod
    def backward(ctx, grad):
        x, t = ctx.saved_tensors
        return grad * (1 / (1 + ops.exp(-x)) - t) / x.numel(), -grad * x / x.numel()


class BinaryCrossEntropyWithTheSigmoidTwice(BinaryCrossEntropy):
    @staticmethod
    def backward(ctx, grad):
        x, _ = ctx.saved_tensors
        p = 1 / (1 + ops.exp(-x))
        to_x, to_t = BinaryCrossEntropy.backward(ctx, grad)
        return to_x * p * (1 - p), to_t


mutant(
    "binary-cross-entropy-with-the-sigmoid-twice",
    "binary_cross_entropy_with_logits",
    "σ(x) − t is already the derivative by the logit; it is multiplied by σ′(x) once more. Confident mistakes then "
    "hardly learn.",
    right=BinaryCrossEntropy.apply,
    wrong=BinaryCrossEntropyWithTheSigmoidTwice.apply,
    inputs=lambda rng: (rng.standard_normal((3, 4)), rng.uniform(0, 1, (3, 4))),
    witness=lambda: Witness([[0], [1]], [np.array(4.0)]),
)


class MSEOfTheSum(Function):
    @staticmethod
    def forward(ctx, x, target):
        ctx.save_for_backward(x, target)
        return np.mean((x - target) * (x - target))

    @staticmethod
    def backward(ctx, grad):
        x, target = ctx.saved_tensors
        g = grad * 2 * (x - target) / len(x)
        return g, -g


mutant(
    "mse-divided-by-the-rows",
    "mse_loss",
    "The mean runs over all elements; the gradient is divided by the number of rows. With one column it looks right.",
    right=ops.mse_loss,
    wrong=MSEOfTheSum.apply,
    inputs=normal((3, 4), (3, 4)),
    witness=lambda: Witness([[[1, 2]], [[0, 0]]], [np.array(1.0)]),
)


class MSEWithoutTheTarget(Function):
    @staticmethod
    def forward(ctx, x, target):
        ctx.save_for_backward(x, target)
        return np.mean((x - target) * (x - target))

    @staticmethod
    def backward(ctx, grad):
        x, target = ctx.saved_tensors
        g = grad * 2 * (x - target) / x.numel()
        return g, g


mutant(
    "mse-with-one-sign",
    "mse_loss",
    "Both inputs receive the same gradient; the target's has the opposite sign. It goes unnoticed until the target is "
    "computed too, as in distillation.",
    right=ops.mse_loss,
    wrong=MSEWithoutTheTarget.apply,
    inputs=normal((3, 4), (3, 4)),
    witness=lambda: Witness([[[1, 2]], [[0, 0]]], [np.array(1.0)]),
)


class Hinge(Function):
    """The mean of max(0, 1 − x·t), for targets t of ±1: dx = −t/n where x·t < 1."""

    @staticmethod
    def forward(ctx, x, t):
        ctx.save_for_backward(x)
        ctx.t = t
        return np.mean(np.maximum(0, 1 - x * t))

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * ops.where(x * Tensor(ctx.t) < 1, Tensor(-ctx.t / ctx.t.size), 0.0)


class HingeWithoutTheMargin(Hinge):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * ops.where(x * Tensor(ctx.t) < 0, Tensor(-ctx.t / ctx.t.size), 0.0)


_SIDES = np.array([1.0, -1.0, 1.0, -1.0, 1.0, -1.0])

mutant(
    "hinge-without-the-margin",
    "hinge_loss",
    "Elements on the right side but within the margin, 0 < x·t < 1, still have a loss and a gradient; the mask "
    "compares with 0 instead of 1.",
    right=lambda x: Hinge.apply(x, _SIDES),
    wrong=lambda x: HingeWithoutTheMargin.apply(x, _SIDES),
    inputs=lambda rng: (_SIDES * (np.array([-1.0, -0.5, 0.3, 0.6, 1.5, 2.0]) + rng.uniform(0, 0.2, 6)),),
    witness=lambda: Witness([[0.5, 1, -2, 0.5, 3, -3]], [np.array(6.0)]),
)
