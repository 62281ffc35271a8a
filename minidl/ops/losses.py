"""Losses: cross_entropy, nll_loss, mse_loss.

cross_entropy: -log softmax(x)[target], the negative log-likelihood of the right class. With respect to the logits its
gradient is softmax(x) - onehot(target).
"""

import numpy as np

from ..tensor import Tensor
from ._common import as_floating, as_tensor
from .arithmetic import where
from .indexing import getitem
from .log_softmax import log_softmax

_REDUCTIONS = ("none", "mean", "sum")


def cross_entropy(input, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    """Cross-entropy between logits and classes.

    Args:
        input: logits (N, C), (C,) or (N, C, d1, …): floating-point.
        target: class numbers from 0 to C - 1, integer: (N,), () or (N, d1, …).
        weight: (C,) a weight per class, or None.
        ignore_index: targets of this value count for nothing.
        reduction: "mean" (over the weights of the targets that count), "sum" or "none".
        label_smoothing: the share of the target's probability that is spread evenly over all classes (Szegedy et al.
            2016).

    Returns:
        the loss: 0-d, or shaped like target with reduction "none".

    Raises:
        ValueError: shapes that do not fit, a target out of range, an unknown reduction. TypeError: a target that is not
            integer.
    """
    input, weight = as_floating("cross_entropy", input), _weight("cross_entropy", weight)
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"cross_entropy: label_smoothing must be from 0 to 1, got {label_smoothing}")
    _check_classes("cross_entropy", input, target, weight, ignore_index, reduction)
    log_p = log_softmax(input, 0 if input.ndim == 1 else 1)
    loss = nll_loss(log_p, target, weight, ignore_index, reduction)
    if not label_smoothing:
        return loss
    # The evenly spread part: each class in turn is the target, with its own weight.
    axis = 0 if input.ndim == 1 else 1
    classes = input.shape[axis]
    each = log_p if weight is None else log_p * weight.reshape(-1, *[1] * (input.ndim - axis - 1))
    labels = as_tensor("cross_entropy", target)._data
    spread = where(Tensor(labels != ignore_index), -each.sum(axis), 0.0) / classes
    if reduction != "none":
        spread = spread.sum()
    if reduction == "mean":
        spread = spread / _total_weight(labels, weight, ignore_index, input.dtype)
    return (1 - label_smoothing) * loss + label_smoothing * spread


def nll_loss(input, target, weight=None, ignore_index=-100, reduction="mean"):
    """Negative log-likelihood: minus the log-probability of each target; arguments as cross_entropy's."""
    input, weight = as_floating("nll_loss", input), _weight("nll_loss", weight)
    _check_classes("nll_loss", input, target, weight, ignore_index, reduction)
    labels = as_tensor("nll_loss", target)._data
    counted = labels != ignore_index
    chosen = np.where(counted, labels, 0)
    if input.ndim == 1:
        picked = getitem(input, chosen)
    else:
        grid = np.indices(labels.shape, sparse=True)
        picked = getitem(input, (grid[0], chosen, *grid[1:]))
    loss = -picked if weight is None else -picked * getitem(weight, chosen)
    if not counted.all():
        loss = where(Tensor(counted), loss, 0.0)
    if reduction == "none":
        return loss
    if reduction == "sum":
        return loss.sum()
    return loss.sum() / _total_weight(labels, weight, ignore_index, input.dtype)


def _weight(name, weight):
    return None if weight is None else as_tensor(name, weight)


def _total_weight(labels, weight, ignore_index, dtype):
    counted = labels[labels != ignore_index]
    return Tensor(np.asarray(counted.size, dtype)) if weight is None else getitem(weight, counted).sum()


def _check_classes(name, input, target, weight, ignore_index, reduction):
    labels = as_tensor(name, target)
    if reduction not in _REDUCTIONS:
        raise ValueError(f"{name}: reduction must be one of {', '.join(_REDUCTIONS)}, got {reduction!r}")
    if labels.dtype.kind not in "iu":
        raise TypeError(f"{name}: target must be integer class numbers, got {labels.dtype}")
    if not input.ndim or labels.shape != (() if input.ndim == 1 else input.shape[:1] + input.shape[2:]):
        raise ValueError(
            f"{name}: input of shape {input.shape} and target of shape {labels.shape} do not fit (N, C) and (N,)"
        )
    classes = input.shape[0 if input.ndim == 1 else 1]
    wrong = (labels._data != ignore_index) & ((labels._data < 0) | (labels._data >= classes))
    if wrong.any():
        raise ValueError(f"{name}: target {labels._data[wrong].flat[0]} is out of range for {classes} classes")
    if weight is not None and weight.shape != (classes,):
        raise ValueError(f"{name}: weight must have shape ({classes},), got {weight.shape}")


def mse_loss(input, target, reduction="mean"):
    """The squared difference: averaged ("mean"), summed ("sum") or per element ("none").

    Raises:
        ValueError: shapes that differ, an unknown reduction.
    """
    input, target = as_floating("mse_loss", input), as_tensor("mse_loss", target)
    if input.shape != target.shape:
        raise ValueError(
            f"mse_loss: input of shape {input.shape} and target of shape {target.shape} must have one shape"
        )
    if reduction not in _REDUCTIONS:
        raise ValueError(f"mse_loss: reduction must be one of {', '.join(_REDUCTIONS)}, got {reduction!r}")
    difference = input - target
    loss = difference * difference
    return loss if reduction == "none" else loss.sum() if reduction == "sum" else loss.mean()
