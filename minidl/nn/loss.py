"""Losses as modules: they hold the settings that ops.* takes. Called with (input, target)."""

from .. import ops
from ..ops._common import as_tensor
from .module import Module


class _Loss(Module):
    """reduction: "mean", "sum" or "none"."""

    def __init__(self, reduction="mean"):
        super().__init__()
        if reduction not in self._reductions:
            known = ", ".join(self._reductions)
            raise ValueError(f"{type(self).__name__}: reduction must be one of {known}, got {reduction!r}")
        self.reduction = reduction

    _reductions = ("none", "mean", "sum")

    def extra_repr(self):
        return f"reduction={self.reduction!r}"


class _WeightedLoss(_Loss):
    def __init__(self, weight=None, reduction="mean"):
        super().__init__(reduction)
        # A buffer: saved with the module and not trained.
        self.register_buffer("weight", None if weight is None else as_tensor(type(self).__name__, weight))


class CrossEntropyLoss(_WeightedLoss):
    """Cross-entropy between logits and classes; see ops.cross_entropy.

    Args:
        weight: (C,) a weight per class, or None.
        ignore_index, reduction, label_smoothing: as ops.cross_entropy's.
    """

    def __init__(self, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
        super().__init__(weight, reduction)
        self.ignore_index, self.label_smoothing = ignore_index, label_smoothing

    def forward(self, input, target):
        return ops.cross_entropy(input, target, self.weight, self.ignore_index, self.reduction, self.label_smoothing)


class NLLLoss(_WeightedLoss):
    """Minus the log-probability of each class number; see ops.nll_loss."""

    def __init__(self, weight=None, ignore_index=-100, reduction="mean"):
        super().__init__(weight, reduction)
        self.ignore_index = ignore_index

    def forward(self, input, target):
        return ops.nll_loss(input, target, self.weight, self.ignore_index, self.reduction)


class BCELoss(_WeightedLoss):
    """Cross-entropy of probabilities; see ops.binary_cross_entropy."""

    def forward(self, input, target):
        return ops.binary_cross_entropy(input, target, self.weight, self.reduction)


class BCEWithLogitsLoss(_WeightedLoss):
    """Cross-entropy of the sigmoid of the input; see ops.binary_cross_entropy_with_logits."""

    def __init__(self, weight=None, reduction="mean", pos_weight=None):
        super().__init__(weight, reduction)
        self.register_buffer("pos_weight", None if pos_weight is None else as_tensor("BCEWithLogitsLoss", pos_weight))

    def forward(self, input, target):
        return ops.binary_cross_entropy_with_logits(input, target, self.weight, self.reduction, self.pos_weight)


class KLDivLoss(_Loss):
    """Kullback-Leibler divergence; see ops.kl_div."""

    _reductions = ("none", "batchmean", "mean", "sum")

    def __init__(self, reduction="mean", log_target=False):
        super().__init__(reduction)
        self.log_target = log_target

    def forward(self, input, target):
        return ops.kl_div(input, target, self.reduction, self.log_target)


class MSELoss(_Loss):
    """The squared difference; see ops.mse_loss."""

    def forward(self, input, target):
        return ops.mse_loss(input, target, self.reduction)


class L1Loss(_Loss):
    """The absolute difference; see ops.l1_loss."""

    def forward(self, input, target):
        return ops.l1_loss(input, target, self.reduction)


class SmoothL1Loss(_Loss):
    """Squared near 0, absolute further out; see ops.smooth_l1_loss."""

    def __init__(self, reduction="mean", beta=1.0):
        super().__init__(reduction)
        self.beta = beta

    def forward(self, input, target):
        return ops.smooth_l1_loss(input, target, self.reduction, self.beta)


class HuberLoss(_Loss):
    """Squared near 0, absolute further out; see ops.huber_loss."""

    def __init__(self, reduction="mean", delta=1.0):
        super().__init__(reduction)
        self.delta = delta

    def forward(self, input, target):
        return ops.huber_loss(input, target, self.reduction, self.delta)
