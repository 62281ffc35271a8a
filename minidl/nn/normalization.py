"""Normalization layers: batch, layer, group, instance and local response normalization, with PyTorch's names."""

import numpy as np

from .. import ops
from ..tensor import Tensor
from ._common import check_sizes, zeros
from .module import Module, Parameter


class _Running(Module):
    """What batch and instance norm hold: weight and bias where affine, running statistics where they are tracked."""

    _ndims = ()

    def __init__(self, num_features, eps, momentum, affine, track_running_stats):
        super().__init__()
        check_sizes(type(self).__name__, num_features=num_features)
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = bool(affine), bool(track_running_stats)
        self.register_parameter("weight", _ones(num_features) if affine else None)
        self.register_parameter("bias", zeros(num_features) if affine else None)
        track = self.track_running_stats
        self.register_buffer("running_mean", Tensor(np.zeros(num_features, np.float32)) if track else None)
        self.register_buffer("running_var", Tensor(np.ones(num_features, np.float32)) if track else None)
        self.register_buffer("num_batches_tracked", Tensor(np.zeros((), np.int64)) if track else None)

    def reset_running_stats(self):
        """Mean 0, variance 1, no batch seen."""
        if self.track_running_stats:
            for name, value in (("running_mean", 0), ("running_var", 1), ("num_batches_tracked", 0)):
                buffer = getattr(self, name)
                buffer.data[...] = value
                buffer.mark_changed("reset_running_stats")

    def reset_parameters(self):
        """Weight 1, bias 0 and the running statistics as at first."""
        self.reset_running_stats()
        if self.affine:
            for parameter, value in ((self.weight, 1), (self.bias, 0)):
                parameter.data[...] = value
                parameter.mark_changed("reset_parameters")

    def _check_input(self, input):
        if input.ndim not in self._ndims:
            shapes = " or ".join(f"{n}-d" for n in self._ndims)
            raise ValueError(f"{type(self).__name__}: input must be {shapes}, got shape {input.shape}")

    def extra_repr(self):
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"track_running_stats={self.track_running_stats}"
        )


class _BatchNorm(_Running):
    def __init__(self, num_features, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True):
        super().__init__(num_features, eps, momentum, affine, track_running_stats)

    def forward(self, input, relu=False, residual=None):
        """The normalized input; with relu, relu(normalized input + residual) in the same passes over memory."""
        if residual is not None and not relu:
            raise ValueError(f"{type(self).__name__}: residual goes with relu=True")
        self._check_input(input)
        momentum = 0.0 if self.momentum is None else self.momentum
        mean, var, batches = self.running_mean, self.running_var, self.num_batches_tracked
        if not (self.training and self.track_running_stats):
            batches = None
        elif self.momentum is None and batches is not None:  # the average over all batches so far, and this one
            momentum = 1 / (batches.item() + 1)
        training = self.training or mean is None and var is None
        running = (mean, var) if not self.training or self.track_running_stats else (None, None)
        arguments = input, *running, self.weight, self.bias, training, momentum, self.eps
        if relu:
            return ops.batch_norm_relu(*arguments, residual, num_batches_tracked=batches)
        return ops.batch_norm(*arguments, num_batches_tracked=batches)

    forward.fuses_relu = True  # see Conv2d


class BatchNorm1d(_BatchNorm):
    """Batch normalization of (N, C) or (N, C, L); see ops.batch_norm.

    Args:
        num_features: C. momentum: the weight of the newest batch in the running statistics; None: their plain average.
        affine: whether there are weight and bias.
        track_running_stats: whether evaluation uses running statistics; without, it uses the batch's as training does.

    Attributes:
        weight, bias: (C,), ones and zeros at first. running_mean, running_var: (C,) and
            num_batches_tracked: int64, buffers.
    """

    _ndims = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Batch normalization of images (N, C, H, W); see BatchNorm1d."""

    _ndims = (4,)


class _InstanceNorm(_Running):
    def __init__(self, num_features, eps=1e-5, momentum=0.1, affine=False, track_running_stats=False):
        super().__init__(num_features, eps, momentum, affine, track_running_stats)

    def forward(self, input):
        self._check_input(input)
        batched = self._ndims[-1]
        channels = input.shape[input.ndim - batched + 1]
        if channels != self.num_features:
            raise ValueError(
                f"{type(self).__name__}: num_features (={self.num_features}) must be the input's channels (={channels})"
            )
        if input.ndim < batched:
            return self._normalized(ops.unsqueeze(input, 0)).squeeze(0)
        return self._normalized(input)

    def _normalized(self, input):
        use_input_stats = self.training or not self.track_running_stats
        momentum = 0.0 if self.momentum is None else self.momentum
        running = self.running_mean, self.running_var
        return ops.instance_norm(input, *running, self.weight, self.bias, use_input_stats, momentum, self.eps)


class InstanceNorm1d(_InstanceNorm):
    """Instance normalization of (N, C, L) or (C, L); see ops.instance_norm and BatchNorm1d."""

    _ndims = (2, 3)


class InstanceNorm2d(_InstanceNorm):
    """Instance normalization of images (N, C, H, W) or (C, H, W); see ops.instance_norm and BatchNorm1d."""

    _ndims = (3, 4)


class LayerNorm(Module):
    """Layer normalization over the last axes; see ops.layer_norm.

    Attributes:
        weight, bias: of normalized_shape, ones and zeros at first; None without elementwise_affine (or bias).
    """

    def __init__(self, normalized_shape, eps=1e-5, elementwise_affine=True, bias=True):
        super().__init__()
        shape = (normalized_shape,) if isinstance(normalized_shape, int | np.integer) else tuple(normalized_shape)
        self.normalized_shape, self.eps, self.elementwise_affine = shape, eps, bool(elementwise_affine)
        self.register_parameter("weight", _ones(shape) if elementwise_affine else None)
        self.register_parameter("bias", zeros(shape) if elementwise_affine and bias else None)

    def forward(self, input):
        return ops.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self):
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}, "
            f"bias={self.bias is not None}"
        )


class GroupNorm(Module):
    """Group normalization of (N, num_channels, *); see ops.group_norm.

    Attributes:
        weight, bias: (num_channels,), ones and zeros at first; None without affine.
    """

    def __init__(self, num_groups, num_channels, eps=1e-5, affine=True):
        super().__init__()
        check_sizes("GroupNorm", num_groups=num_groups, num_channels=num_channels)
        if num_channels % num_groups:
            raise ValueError(
                f"GroupNorm: num_channels (={num_channels}) must be divisible by num_groups (={num_groups})"
            )
        self.num_groups, self.num_channels, self.eps, self.affine = num_groups, num_channels, eps, bool(affine)
        self.register_parameter("weight", _ones(num_channels) if affine else None)
        self.register_parameter("bias", zeros(num_channels) if affine else None)

    def forward(self, input):
        return ops.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self):
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}"


class LocalResponseNorm(Module):
    """Local response normalization over `size` channels; see ops.local_response_norm.

    Args:
        divide_alpha: False for the paper's formula, in which alpha is not divided by size.
    """

    def __init__(self, size, alpha=1e-4, beta=0.75, k=1.0, *, divide_alpha=True):
        super().__init__()
        check_sizes("LocalResponseNorm", size=size)
        self.size, self.alpha, self.beta, self.k, self.divide_alpha = size, alpha, beta, k, bool(divide_alpha)

    def forward(self, input):
        return ops.local_response_norm(
            input, self.size, self.alpha, self.beta, self.k, divide_alpha=self.divide_alpha
        )  # fmt: skip

    def extra_repr(self):
        text = f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
        return text if self.divide_alpha else text + ", divide_alpha=False"


def _ones(size):
    return Parameter(np.ones(size, np.float32))
