"""Cross-entropy of logits with classes: loss = -log softmax(x)[target]; dL/dx = softmax(x) - target.

One kernel takes the logits to the losses, one takes them back: neither the probabilities nor their logarithms are ever
stored. In general, with a weight w[c] per class and label smoothing s (Szegedy et al. 2016, section 7),

    loss = -sum over c of q[c] w[c] log p[c],   p = softmax(x),   q[c] = (1 - s) 1{c = target} + s / C
    dloss/dx[c] = p[c] * sum over k of q[k] w[k]  -  q[c] w[c]
"""

import numpy as np

from ..function import Function
from ..kernels import contiguous, empty, full
from ..kernels import cross_entropy as kernel
from ..tensor import Tensor
from ._common import as_real, as_tensor, astype
from .arithmetic import where
from .log_softmax import log_softmax
from .losses import check_class_weight, check_classes, check_reduction, nll_loss, optional_weight, reduced, total_weight
from .softmax import softmax


class CrossEntropy(Function):
    """The loss of each class number. weight is an array (C,), target one of int64, shaped like input without axis 1."""

    @staticmethod
    def forward(ctx, x, target, weight, ignore_index, smoothing):
        ctx.save_for_backward(x)
        ctx.options = contiguous(target).reshape(-1), contiguous(weight), ignore_index, smoothing
        loss, ctx.lse = np.empty(target.size, x.dtype, like=x), np.empty((target.size, 2), x.dtype, like=x)
        kernel.forward(_rows(x), *ctx.options, loss, ctx.lse)
        return loss.reshape(target.shape)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return CrossEntropyBackward.apply(grad, x, ctx.options, ctx.lse)


class CrossEntropyBackward(Function):
    """gx = g * (p W - qw), W the sum of q[c] w[c]: linear in g, and dp/dx times a vector v is p (v - sum(p v)).

    Its backward is written with Tensor operations, so derivatives of any order exist.
    """

    @staticmethod
    def forward(ctx, grad, x, options, lse):
        ctx.save_for_backward(grad, x)
        ctx.options = options
        rows = _rows(x)
        gx = empty(rows.shape, rows.dtype, x)
        kernel.backward(rows, *options, lse, contiguous(grad).reshape(-1), gx)
        return _from_rows(gx, x.shape)

    @staticmethod
    def backward(ctx, gg):
        grad, x = ctx.saved_tensors
        target, weight, ignore_index, smoothing = ctx.options
        axis, classes = 0 if x.ndim == 1 else 1, len(weight)
        qw = ((1 - smoothing) * (np.arange(classes, like=target) == target[:, None]) + smoothing / classes) * weight
        totals = np.broadcast_to(qw.sum(1, keepdims=True), qw.shape)
        qw, totals = (Tensor(_from_rows(a, x.shape).astype(x.dtype, copy=False)) for a in (qw, totals))
        ignored = np.broadcast_to((target == ignore_index)[:, None], (len(target), classes))
        ignored = Tensor(_from_rows(ignored, x.shape))
        gg = where(ignored, 0.0, gg)
        p = softmax(where(ignored, 0.0, x), axis)  # what is ignored may be NaN
        to_grad = (gg * (p * totals - qw)).sum(axis)
        to_x = grad.unsqueeze(axis) * totals * p * (gg - (p * gg).sum(axis, keepdim=True))
        return to_grad, to_x


def _rows(x):
    """(N, C), (C,) or (N, C, d1, …) as rows of classes; a view where memory is channels-last."""
    x = np.moveaxis(x, 1, -1) if x.ndim > 2 else x
    return contiguous(x).reshape(-1, x.shape[-1])


def _from_rows(rows, shape):
    if len(shape) <= 2:
        return rows.reshape(shape)
    return np.moveaxis(rows.reshape(shape[0], *shape[2:], shape[1]), -1, 1)


def cross_entropy(input, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    """Cross-entropy between logits and classes: with respect to the logits its gradient is softmax(x) - target.

    Args:
        input: logits (N, C), (C,) or (N, C, d1, …): float32 or float64.
        target: class numbers from 0 to C - 1, integer: (N,), () or (N, d1, …); or probabilities of the classes,
            floating-point: shaped like input.
        weight: (C,) a weight per class, or None. It is used in input's dtype.
        ignore_index: class numbers of this value count for nothing.
        reduction: "mean" (over the weights of the class numbers that count; of probabilities over the samples), "sum"
            or "none".
        label_smoothing: the share of the target's probability that is spread evenly over all classes (Szegedy et al.
            2016).

    Returns:
        the loss: 0-d, or shaped like the class numbers with reduction "none".

    Raises:
        ValueError: shapes that do not fit, a target out of range, an unknown reduction. TypeError: a target that is
            neither integer nor floating-point, an input that is neither float32, float64 nor integer.
    """
    input, weight = as_real("cross_entropy", input), optional_weight("cross_entropy", weight)
    target = as_tensor("cross_entropy", target)
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"cross_entropy: label_smoothing must be from 0 to 1, got {label_smoothing}")
    axis = 0 if input.ndim == 1 else 1
    if target.dtype.kind == "f":
        _check_probabilities(input, target, weight, ignore_index, axis, reduction)
        if label_smoothing:
            target = (1 - label_smoothing) * target + label_smoothing / input.shape[axis]
        loss = -(_per_class(log_softmax(input, axis), weight, axis) * target).sum(axis)
        return reduced(loss, reduction)
    check_classes("cross_entropy", input, target, weight, ignore_index, reduction)
    weight = None if weight is None else astype(weight, input.dtype)
    if weight is not None and weight.requires_grad:
        return _composite(input, target, weight, ignore_index, reduction, float(label_smoothing), axis)
    ones = full((input.shape[axis],), 1, input.dtype, input._data) if weight is None else weight._data
    labels = target._data.astype(np.int64, copy=False)
    if input.shape[axis]:
        loss = CrossEntropy.apply(input, labels, ones, int(ignore_index), float(label_smoothing))
    else:
        loss = input.sum(axis)  # without classes all targets are ignored: zeros
    if reduction == "none":
        return loss
    loss = loss.sum()
    return loss if reduction == "sum" else loss / total_weight(labels, weight, ignore_index, input.dtype)


def _composite(input, target, weight, ignore_index, reduction, label_smoothing, axis):
    """The loss as Tensor operations: also the weights receive a gradient."""
    log_p = log_softmax(input, axis)
    loss = nll_loss(log_p, target, weight, ignore_index, reduction)
    if not label_smoothing:
        return loss
    # The evenly spread part: each class in turn is the target, with its own weight.
    counted = target._data != ignore_index
    spread = where(Tensor(counted), -_per_class(log_p, weight, axis).sum(axis), 0.0) / input.shape[axis]
    if reduction != "none":
        spread = spread.sum()
    if reduction == "mean":
        spread = spread / total_weight(target._data, weight, ignore_index, input.dtype)
    return (1 - label_smoothing) * loss + label_smoothing * spread


def _per_class(log_p, weight, axis):
    return log_p if weight is None else log_p * weight.reshape(-1, *[1] * (log_p.ndim - axis - 1))


def _check_probabilities(input, target, weight, ignore_index, axis, reduction):
    check_reduction("cross_entropy", reduction)
    if ignore_index >= 0:
        raise ValueError(
            f"cross_entropy: ignore_index (={ignore_index}) is for class numbers, target is {target.dtype}"
        )
    if not input.ndim or target.shape != input.shape:
        raise ValueError(
            f"cross_entropy: input of shape {input.shape} and probabilities of shape {target.shape} must both be (N, C)"
        )
    check_class_weight("cross_entropy", weight, input.shape[axis])
