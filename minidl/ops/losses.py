"""Losses: how far an input is from its target.

nll_loss                     -log p[target] of classes, from their log-probabilities
binary_cross_entropy         -(t log x + (1 - t) log(1 - x)); …_with_logits with x = sigmoid(input)
kl_div                       t (log t - x), the Kullback-Leibler divergence from the log-probabilities x
mse_loss, l1_loss            d^2 and |d| of the difference d
smooth_l1_loss, huber_loss   d^2 near 0, |d| further out, and smooth in between (Huber 1964; Girshick 2015)

Each is averaged ("mean"), summed ("sum") or left per element ("none") by `reduction`. cross_entropy, which takes
logits, has a kernel and a file of its own.
"""

import warnings

import numpy as np

from ..cuda import holds
from ..function import Function
from ..tensor import Tensor
from ._common import as_floating, as_real, as_tensor, check_broadcast, check_devices, grid, operands
from .activation import logsigmoid
from .arithmetic import where
from .elementwise import abs, exp, log
from .indexing import getitem

_REDUCTIONS = ("none", "mean", "sum")


# ---- classes -------------------------------------------------------------------------------------------------------


def nll_loss(input, target, weight=None, ignore_index=-100, reduction="mean"):
    """Negative log-likelihood: minus the log-probability of each class number.

    Args:
        input: log-probabilities (N, C), (C,) or (N, C, d1, …).
        target, weight, ignore_index, reduction: as cross_entropy's, target class numbers.

    Raises:
        as cross_entropy.
    """
    input, weight = as_floating("nll_loss", input), optional_weight("nll_loss", weight)
    check_classes("nll_loss", input, target, weight, ignore_index, reduction)
    labels = as_tensor("nll_loss", target)._data
    counted = labels != ignore_index
    chosen = np.where(counted, labels, 0)
    if input.ndim == 1:
        picked = getitem(input, chosen)
    else:
        first, *others = grid(labels.shape, labels)
        picked = getitem(input, (first, chosen, *others))
    loss = -picked if weight is None else -picked * getitem(weight, chosen)
    if not isinstance(counted, np.ndarray) or not counted.all():  # to ask a GPU is to wait for it
        loss = where(Tensor(counted), loss, 0.0)
    if reduction == "none":
        return loss
    if reduction == "sum":
        return loss.sum()
    return loss.sum() / total_weight(labels, weight, ignore_index, input.dtype)


def optional_weight(name, weight):
    return None if weight is None else as_tensor(name, weight)


def total_weight(labels, weight, ignore_index, dtype):
    counted = labels != ignore_index
    if weight is None:
        return Tensor(np.asarray(np.count_nonzero(counted), dtype, like=labels))
    return where(Tensor(counted), getitem(weight, np.where(counted, labels, 0)), 0.0).sum()


def check_classes(name, input, target, weight, ignore_index, reduction):
    labels = as_tensor(name, target)
    check_devices(name, input=input, target=labels, weight=weight)
    check_reduction(name, reduction)
    if labels.dtype.kind not in "iu":
        raise TypeError(f"{name}: target must be integer class numbers, got {labels.dtype}")
    if not input.ndim or labels.shape != (() if input.ndim == 1 else input.shape[:1] + input.shape[2:]):
        raise ValueError(
            f"{name}: input of shape {input.shape} and target of shape {labels.shape} do not fit (N, C) and (N,)"
        )
    classes = input.shape[0 if input.ndim == 1 else 1]
    wrong = (labels._data != ignore_index) & ((labels._data < 0) | (labels._data >= classes))
    if holds(wrong):
        raise ValueError(f"{name}: target {labels._data[wrong].flat[0]} is out of range for {classes} classes")
    check_class_weight(name, weight, classes)


def check_class_weight(name, weight, classes):
    if weight is not None and weight.shape != (classes,):
        raise ValueError(f"{name}: weight must have shape ({classes},), got {weight.shape}")


# ---- probabilities -------------------------------------------------------------------------------------------------


class BinaryCrossEntropy(Function):
    """y = -(t log x + (1 - t) log(1 - x)) with logarithms of at least -100: finite also where x is 0 or 1.

    dy/dx = (x - t) / (x (1 - x)), whose denominator is at least 1e-12, and dy/dt = log(1 - x) - log x; as in PyTorch.
    """

    @staticmethod
    def forward(ctx, x, t):
        ctx.save_for_backward(x, t)
        with np.errstate(divide="ignore"):
            log_x, log_rest = np.maximum(np.log(x), -100), np.maximum(np.log1p(-x), -100)
        return -(t * log_x + (1 - t) * log_rest)

    @staticmethod
    def backward(ctx, grad):
        x, t = ctx.saved_tensors
        need_x, need_t = ctx.needs_input_grad
        grad_x = grad_t = None
        if need_x:
            slope = x * (1 - x)
            grad_x = grad * (x - t) / where(slope < 1e-12, 1e-12, slope)
        if need_t:
            grad_t = grad * (log(1 - x) - log(x))
        return grad_x, grad_t


def binary_cross_entropy(input, target, weight=None, reduction="mean"):
    """-(t log x + (1 - t) log(1 - x)) of probabilities x and targets t, both from 0 to 1.

    Args:
        input, target: Tensors of one shape.
        weight: a Tensor that broadcasts to it, or None.
        reduction: "mean", "sum" or "none".

    Raises:
        ValueError: shapes that do not fit, input outside of 0 to 1, an unknown reduction.
    """
    name = "binary_cross_entropy"
    input, target, weight = _of_one_shape(name, input, target, weight, reduction)
    wrong = (input._data < 0) | (input._data > 1)
    if holds(wrong):
        raise ValueError(f"{name}: input must be probabilities from 0 to 1, got {input._data[wrong].flat[0]}")
    return reduced(_weighted(BinaryCrossEntropy.apply(input, target), weight), reduction)


def binary_cross_entropy_with_logits(input, target, weight=None, reduction="mean", pos_weight=None):
    """binary_cross_entropy(sigmoid(input), target), exact also where the sigmoid is 0 or 1.

    Args:
        input, target, weight, reduction: as binary_cross_entropy's; input may be any number.
        pos_weight: a Tensor that broadcasts to target: what t log x is multiplied by, or None.

    Raises:
        ValueError: shapes that do not fit, an unknown reduction.
    """
    name = "binary_cross_entropy_with_logits"
    input, target, weight = _of_one_shape(name, input, target, weight, reduction)
    log_x, log_rest = logsigmoid(input), logsigmoid(-input)
    positive = target * log_x
    if pos_weight is not None:
        pos_weight = as_tensor(name, pos_weight)
        _check_fits(name, "pos_weight", pos_weight, target)
        positive = positive * pos_weight
    return reduced(_weighted(-(positive + (1 - target) * log_rest), weight), reduction)


def _of_one_shape(name, input, target, weight, reduction):
    input, target = as_real(name, input), as_real(name, target)
    check_reduction(name, reduction)
    if input.shape != target.shape:
        raise ValueError(f"{name}: input of shape {input.shape} and target of shape {target.shape} must have one shape")
    weight = optional_weight(name, weight)
    if weight is not None:
        _check_fits(name, "weight", weight, input)
    return *operands(name, input, target), weight


def _check_fits(name, what, weight, input):
    """Whether a weight broadcasts to input's shape."""
    own = (1,) * (input.ndim - weight.ndim) + weight.shape
    if len(own) > input.ndim or any(n not in (1, m) for n, m in zip(own, input.shape, strict=True)):
        raise ValueError(f"{name}: {what} of shape {weight.shape} does not broadcast to shape {input.shape}")


def kl_div(input, target, reduction="mean", log_target=False):
    """Kullback-Leibler divergence: t (log t - x) of log-probabilities x and probabilities t; 0 where t is 0.

    Args:
        input: log-probabilities.
        target: probabilities, or with log_target their logarithms; it broadcasts with input.
        reduction: "batchmean" (the sum divided by the first extent, which is what mathematics calls the divergence),
            "mean" (over all elements), "sum" or "none".

    Raises:
        ValueError: shapes that do not broadcast, an unknown reduction.
    """
    input, target = as_real("kl_div", input), as_real("kl_div", target)
    check_reduction("kl_div", reduction, ("none", "batchmean", "mean", "sum"))
    check_broadcast("kl_div", input, target)
    if log_target:
        loss = exp(target) * (target - input)
    else:
        loss = target * (log(where(target == 0, 1.0, target)) - input)
    if reduction == "batchmean":
        return loss.sum() / (input.shape[0] if input.ndim else 1)
    return reduced(loss, reduction)


# ---- differences ---------------------------------------------------------------------------------------------------


def mse_loss(input, target, reduction="mean", weight=None):
    """The squared difference d^2.

    Args:
        input, target: Tensors of one shape. Others broadcast, with a warning: mostly that is a mistake.
        reduction: "mean", "sum" or "none".
        weight: a Tensor of the same shape, or None; the mean is divided by its sum.

    Raises:
        ValueError: shapes that do not broadcast, an unknown reduction.
    """
    difference, weight = _difference("mse_loss", input, target, reduction, weight)
    return _weighted_mean(difference * difference, weight, reduction)


def l1_loss(input, target, reduction="mean", weight=None):
    """The absolute difference |d|, also of complex numbers; arguments as mse_loss's."""
    difference, weight = _difference("l1_loss", input, target, reduction, weight, as_floating)
    return _weighted_mean(abs(difference), weight, reduction)


def smooth_l1_loss(input, target, reduction="mean", beta=1.0):
    """d^2 / (2 beta) where |d| < beta, else |d| - beta / 2; arguments as mse_loss's.

    Raises:
        as mse_loss; ValueError for a negative beta.
    """
    if not beta >= 0:
        raise ValueError(f"smooth_l1_loss: beta must be at least 0, got {beta}")
    difference, _ = _difference("smooth_l1_loss", input, target, reduction)
    distance = abs(difference)
    if beta == 0:
        return reduced(distance, reduction)
    return reduced(where(distance < beta, difference * difference * (0.5 / beta), distance - 0.5 * beta), reduction)


def huber_loss(input, target, reduction="mean", delta=1.0, weight=None):
    """d^2 / 2 where |d| <= delta, else delta (|d| - delta / 2); arguments as mse_loss's.

    The mean counts elements, whatever their weight (so it is in PyTorch).

    Raises:
        as mse_loss; ValueError for a delta that is not positive.
    """
    if not delta > 0:
        raise ValueError(f"huber_loss: delta must be positive, got {delta}")
    difference, weight = _difference("huber_loss", input, target, reduction, weight)
    distance = abs(difference)
    loss = where(distance <= delta, 0.5 * difference * difference, delta * (distance - 0.5 * delta))
    return reduced(_weighted(loss, weight), reduction)


def _difference(name, input, target, reduction, weight=None, convert=as_real):
    """input - target, and the weight as a Tensor."""
    input, target, weight = convert(name, input), convert(name, target), optional_weight(name, weight)
    check_reduction(name, reduction)
    check_broadcast(name, input, target)
    if weight is not None and weight.shape != input.shape:
        raise ValueError(f"{name}: weight of shape {weight.shape} must be shaped like input, {input.shape}")
    if input.shape != target.shape:
        warnings.warn(
            f"{name}: input of shape {input.shape} and target of shape {target.shape} are broadcast; if that is not "
            "meant, the loss is wrong",
            stacklevel=4,
        )
    return input - target, weight


# ---- reductions ----------------------------------------------------------------------------------------------------


def check_reduction(name, reduction, known=_REDUCTIONS):
    if reduction not in known:
        raise ValueError(f"{name}: reduction must be one of {', '.join(known)}, got {reduction!r}")


def _weighted(loss, weight):
    return loss if weight is None else loss * weight


def reduced(loss, reduction):
    return loss if reduction == "none" else loss.sum() if reduction == "sum" else loss.mean()


def _weighted_mean(loss, weight, reduction):
    """As reduced, but the mean is over the weights."""
    if weight is None or reduction != "mean":
        return reduced(_weighted(loss, weight), reduction)
    return (loss * weight).sum() / weight.sum()
