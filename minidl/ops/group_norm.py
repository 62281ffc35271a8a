"""Group normalization: the channels of an image in groups, each of mean 0 and variance 1 over its pixels and channels.

    y = (x - mean) / sqrt(var + eps) * weight + bias        mean and var per image and group
    gx = (h - mean of h - xhat * mean of h * xhat) / sqrt(var + eps)       h = g * weight

Wu & He 2018. One group is layer norm of an image; a group per channel is instance norm (Ulyanov et al. 2016).
"""

import math

import numpy as np

from ..function import Function, is_grad_enabled
from ..kernels import empty
from ..kernels import group_norm as kernel
from ._common import as_real, check_integer, check_numbers
from ._normalization import affine, as_rows, from_rows, input_gradient, normalized, or_ones, or_zeros, per_channel
from .batch_norm import batch_norm, running_statistics, update_running


class GroupNorm(Function):
    """statistics is an empty list that receives mean and var, each (N, groups)."""

    @staticmethod
    def forward(ctx, x, weight, bias, groups, eps, statistics):
        ctx.save_for_backward(x, weight)
        ctx.groups, ctx.eps = groups, eps
        rows = _grouped(x, groups)
        ctx.mean, ctx.var = np.zeros((len(x), groups)), np.ones((len(x), groups))
        y, shape = empty(rows.shape, x.dtype), rows.shape[2:]
        if x.size:
            scale, shift = or_ones(weight, x.shape[1], x.dtype), or_zeros(bias, x.shape[1], x.dtype)
            kernel.forward(rows, scale.reshape(shape), shift.reshape(shape), eps, y, ctx.mean, ctx.var)
        statistics += ctx.mean, ctx.var
        return from_rows(y, x.shape)

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        need_weight, need_bias = ctx.needs_input_grad[1:3]
        if is_grad_enabled() and x.numel():
            scaled = grad if weight is None else grad * per_channel(weight, x.ndim)
            shape = (len(x), ctx.groups, -1)
            xhat, rstd = normalized(x.reshape(shape), (2,), ctx.eps)
            gx = input_gradient(scaled.reshape(shape), xhat, rstd, (2,)).reshape(x.shape)
            axes = (0, *range(2, x.ndim))
            gw = (grad * xhat.reshape(x.shape)).sum(axes) if need_weight else None
            return gx, gw, grad.sum(axes) if need_bias else None
        gy, rows = _grouped(grad._data, ctx.groups), _grouped(x._data, ctx.groups)
        gx, gw, gb = empty(rows.shape, x.dtype), *np.zeros((2, *rows.shape[2:]), x.dtype)
        if x.numel():
            scale = or_ones(None if weight is None else weight._data, x.shape[1], x.dtype).reshape(rows.shape[2:])
            kernel.backward(gy, rows, scale, ctx.mean, ctx.var, ctx.eps, gx, gw, gb)
        gw, gb = gw.reshape(-1) if need_weight else None, gb.reshape(-1) if need_bias else None
        return from_rows(gx, x.shape), gw, gb


def _grouped(x, groups):
    """(N, C, *) as (N, P, groups, C/groups)."""
    rows = as_rows(x)
    return rows.reshape(*rows.shape[:2], groups, x.shape[1] // groups)


def group_norm(input, num_groups, weight=None, bias=None, eps=1e-5):
    """Bring each group of channels of each image to mean 0 and variance 1, then scale and shift by channel.

    Args:
        input: (N, C, *). num_groups: into how many groups of equal size the channels are cut, in order.
        weight, bias: (C,) or None.

    Raises:
        ValueError: shapes that do not fit, groups that do not divide the channels, groups of one element.
        TypeError: dtypes that differ or are not float32 or float64.
    """
    input = as_real("group_norm", input)
    if input.ndim < 2:
        raise ValueError(f"group_norm: input must be (N, C) or (N, C, *), got shape {input.shape}")
    groups = check_integer("group_norm", "num_groups", num_groups)
    if groups < 1 or input.shape[1] % groups:
        raise ValueError(f"group_norm: num_groups (={groups}) must divide the input's channels (={input.shape[1]})")
    input, weight, bias = affine("group_norm", input, weight, bias, (input.shape[1],), eps)
    if input.numel() == groups:  # as PyTorch: one image, and one element in each group
        raise ValueError(f"group_norm: groups must have more than one value, got input of shape {input.shape}")
    return GroupNorm.apply(input, weight, bias, groups, float(eps), [])


def instance_norm(
    input, running_mean=None, running_var=None, weight=None, bias=None, use_input_stats=True, momentum=0.1, eps=1e-5
):
    """Bring each channel of each image to mean 0 and variance 1 over its pixels, then scale and shift by channel.

    Args:
        input: (N, C, *), at least one axis after the channels.
        running_mean, running_var: (C,) or None. With use_input_stats they follow the averages over the images, in
            place; without, they stand for the images' own and this is batch_norm's evaluation.
        weight, bias: (C,) or None.

    Raises:
        ValueError: shapes that do not fit, running statistics missing, one pixel per image.
        TypeError: dtypes that differ or are not float32 or float64.
    """
    name = "instance_norm"
    check_numbers(name, momentum=momentum)
    input = as_real(name, input)
    if input.ndim < 3:
        raise ValueError(f"{name}: input must be (N, C, *) with an axis after the channels, got shape {input.shape}")
    channels, pixels = input.shape[1], math.prod(input.shape[2:])
    input, weight, bias = affine(name, input, weight, bias, (channels,), eps)
    running = running_statistics(name, running_mean, running_var, channels)
    if not use_input_stats:
        if not running:
            raise ValueError(f"{name}: running_mean and running_var must be given where use_input_stats is False")
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    if pixels == 1:
        raise ValueError(f"{name}: more than one pixel is needed, got input of shape {input.shape}")
    statistics = []
    y = GroupNorm.apply(input, weight, bias, channels, float(eps), statistics)
    if running and input.numel():
        mean, var = (s.mean(axis=0) for s in statistics)
        update_running(name, running, mean, var * (pixels / (pixels - 1)), momentum)
    return y
