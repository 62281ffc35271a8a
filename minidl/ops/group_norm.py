"""Group normalization: the channels of an image in groups, each of mean 0 and variance 1 over its pixels and channels.

    y = (x - mean) / sqrt(var + eps) * weight + bias        mean and var per image and group
    gx = (h - mean of h - xhat * mean of h * xhat) / sqrt(var + eps)       h = g * weight

Wu & He 2018. One group is layer norm of an image; a group per channel is instance norm (Ulyanov et al. 2016).
"""

import math
from functools import partial

import numpy as np

from ..function import Function
from ..kernels import empty, full, wide
from ..kernels import group_norm as kernel
from ._common import as_real, check_devices, check_integer, check_numbers
from ._normalization import (
    affine,
    as_rows,
    from_rows,
    gradients,
    input_gradient,
    normalized,
    or_ones,
    or_zeros,
    per_channel,
)
from .batch_norm import array_of, batch_norm, mark_changed, running_statistics, update_running


class GroupNorm(Function):
    """statistics is an empty list that receives mean and var, each (N, groups)."""

    on_arrays = True

    @staticmethod
    def forward(ctx, x, weight, bias, groups, eps, statistics):
        ctx.save_for_backward(x, weight)
        ctx.groups, ctx.eps = groups, eps
        rows = _grouped(x, groups)
        ctx.mean, ctx.var = np.zeros((len(x), groups), like=x), full((len(x), groups), 1, np.float64, x)
        y, shape = empty(rows.shape, x.dtype, x), rows.shape[2:]
        if x.size:
            scale, shift = or_ones(weight, x.shape[1], x), or_zeros(bias, x.shape[1], x)
            kernel.forward(rows, scale.reshape(shape), shift.reshape(shape), eps, y, ctx.mean, ctx.var)
        statistics += ctx.mean, ctx.var
        return from_rows(y, x.shape)

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        found = gradients(
            partial(_gradients, ctx.mean, ctx.var, ctx.groups, ctx.eps), partial(_formula, ctx.groups, ctx.eps),
            grad, x, weight,
        )  # fmt: skip
        return tuple(g if need else None for g, need in zip(found, ctx.needs_input_grad, strict=False))


def _gradients(mean, var, groups, eps, grad, x, weight):
    """The arrays of the gradients of x, weight and bias."""
    gy, rows = _grouped(grad, groups), _grouped(x, groups)
    gx, gw, gb = empty(rows.shape, x.dtype, x), *np.zeros((2, *rows.shape[2:]), wide(x.dtype), like=x)
    if x.size:
        scale = or_ones(weight, x.shape[1], x).reshape(rows.shape[2:])
        kernel.backward(gy, rows, scale, mean, var, eps, gx, gw, gb)
    return from_rows(gx, x.shape), gw.reshape(-1), gb.reshape(-1)


def _formula(groups, eps, grad, x, weight):
    """_gradients in Tensor operations."""
    shape, axes = (len(x), groups, x.numel() // max(len(x) * groups, 1)), (0, *range(2, x.ndim))
    scaled = grad if weight is None else grad * per_channel(weight, x.ndim)
    xhat, rstd = normalized(x.reshape(shape), (2,), eps)
    gx = input_gradient(scaled.reshape(shape), xhat, rstd, (2,)).reshape(x.shape)
    return gx, (grad * xhat.reshape(x.shape)).sum(axes), grad.sum(axes)


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
        TypeError: dtypes that do not go together.
    """
    input = as_real("group_norm", input)
    if input.ndim < 2:
        raise ValueError(f"group_norm: input must be (N, C) or (N, C, *), got shape {input.shape}")
    groups = check_integer("group_norm", "num_groups", num_groups)
    if groups < 1 or input.shape[1] % groups:
        raise ValueError(f"group_norm: num_groups (={groups}) must divide the input's channels (={input.shape[1]})")
    weight, bias = affine("group_norm", input, weight, bias, (input.shape[1],), eps)
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
        TypeError: dtypes that do not go together.
    """
    name = "instance_norm"
    check_numbers(name, momentum=momentum)
    input = as_real(name, input)
    if input.ndim < 3:
        raise ValueError(f"{name}: input must be (N, C, *) with an axis after the channels, got shape {input.shape}")
    channels, pixels = input.shape[1], math.prod(input.shape[2:])
    weight, bias = affine(name, input, weight, bias, (channels,), eps)
    running = running_statistics(name, running_mean, running_var, channels)
    check_devices(name, input=input, running_mean=running_mean, running_var=running_var)
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
        update_running(*map(array_of, running), mean, var, pixels, momentum)
        mark_changed(name, *running)
    return y
