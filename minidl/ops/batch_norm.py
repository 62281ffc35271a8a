"""Batch normalization: each channel gets mean 0 and variance 1 over all images and pixels, then a scale and a shift.

    y = (x - mean) / sqrt(var + eps) * weight + bias
    gx = weight / sqrt(var + eps) * (g - mean of g - xhat * mean of g * xhat)       xhat = (x - mean) / sqrt(var + eps)

Ioffe & Szegedy 2015, algorithm 1. In evaluation mean and var are running averages, constants: gx is its first term.
"""

from functools import partial

import numpy as np

from ..cuda import is_array
from ..function import Function
from ..kernels import batch_norm as kernel
from ..kernels import empty, full, wide
from ..tensor import Tensor
from ._common import as_real, check_devices, check_numbers
from ._normalization import (
    affine,
    as_matrix,
    as_rows_apart,
    from_rows,
    gradients,
    input_gradient,
    normalized,
    or_ones,
    or_zeros,
    per_channel,
)
from .arithmetic import where


class BatchNorm(Function):
    """In training running_mean, running_var and batches, the number of batches, are changed in place; None are not."""

    on_arrays = gives_new = True

    @staticmethod
    def forward(ctx, x, weight, bias, residual, running_mean, running_var, batches, training, momentum, eps, relu):
        channels, rows = x.shape[1], as_matrix(x)
        ctx.training, ctx.relu, ctx.eps = training, relu, eps
        if training and batches is not None:
            batches += 1
        if training and rows.size:
            ctx.mean, var, ctx.rstd = empty((3, channels), np.float64, x)
            kernel.statistics(rows, eps, ctx.mean, var, ctx.rstd)
            if running_mean is not None:
                update_running(running_mean, running_var, ctx.mean, var, len(rows), momentum)
        elif training:  # no images
            ctx.mean, ctx.rstd = np.zeros(channels, like=x), full((channels,), 1, np.float64, x)
        else:
            ctx.mean = running_mean.astype(np.float64)  # a copy: later changes do not reach backward
            ctx.rstd = 1 / np.sqrt(running_var.astype(np.float64) + eps)
        y = _output(rows, ctx.mean, ctx.rstd, weight, bias, residual, relu)
        y = from_rows(y, x.shape)
        # In training x says where a ReLU gave 0, and is read anyway; but not behind a residual.
        kept = relu and (residual is not None or not ctx.training)
        ctx.save_for_backward(x, weight, bias if relu and not kept else None, y if kept else None)
        return y

    @staticmethod
    def backward(ctx, grad):
        x, weight, bias, y = ctx.saved_tensors
        about = array_of(y), array_of(bias), ctx.relu, ctx.mean, ctx.rstd, ctx.training, ctx.needs_input_grad[3]
        found = gradients(partial(_gradients, *about), partial(_formula, *about, ctx.eps), grad, x, weight)
        found = [g if need else None for g, need in zip(found, ctx.needs_input_grad, strict=False)]
        return *found, *[None] * (7 - len(found))


def _output(rows, mean, rstd, weight, bias, residual, relu):
    """The array (M, C) of the outputs."""
    channels = rows.shape[1]
    added = rows[:0] if residual is None else as_matrix(residual)
    y = empty(rows.shape, rows.dtype, rows)
    if rows.size:
        kernel.forward(
            rows, mean, rstd, or_ones(weight, channels, rows), or_zeros(bias, channels, rows), added, relu, y
        )
    return y


def _gradients(y, bias, relu, mean, rstd, training, need_residual, grad, x, weight):
    """The arrays of the gradients of x, weight, bias and, if needed, residual.

    y is given where a ReLU and a residual came last.
    """
    channels, gy, rows = x.shape[1], as_rows_apart(grad), as_matrix(x)
    outputs = rows[:0] if y is None else as_matrix(y)
    gx = empty(rows.shape, x.dtype, x)
    make = empty if rows.size else np.zeros
    gw, gb = (make((channels,), wide(x.dtype), like=x) for _ in range(2))
    gresidual = empty(rows.shape, x.dtype, x) if need_residual else rows[:0]
    if rows.size:
        scale, shift = or_ones(weight, channels, x), or_zeros(bias, channels, x)
        kernel.backward(gy, rows, outputs, mean, rstd, scale, shift, training, relu, gx, gw, gb, gresidual)
    found = from_rows(gx, x.shape), gw, gb
    return (*found, from_rows(gresidual, x.shape)) if need_residual else found


def _formula(y, bias, relu, mean, rstd, training, need_residual, eps, grad, x, weight):
    """_gradients in Tensor operations."""
    axes = (0, *range(2, x.ndim))
    if relu:
        if y is None:
            rows, own = as_matrix(x._data), None if weight is None else weight._data
            y = from_rows(_output(rows, mean, rstd, own, bias, None, True), x.shape)
        grad = where(Tensor(y <= 0), 0.0, grad)
    if training:
        xhat, rstd = normalized(x, axes, eps)
    else:
        mean, rstd = (per_channel(Tensor(a.astype(x.dtype, copy=False)), x.ndim) for a in (mean, rstd))
        xhat = (x - mean) * rstd
    scaled = grad if weight is None else grad * per_channel(weight, x.ndim)
    gx = input_gradient(scaled, xhat, rstd, axes) if training else scaled * rstd
    found = gx, (grad * xhat).sum(axes), grad.sum(axes)
    return (*found, grad) if need_residual else found


def batch_norm(
    input, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5, *,
    num_batches_tracked=None,
):  # fmt: skip
    """Bring each channel to mean 0 and variance 1, then scale by weight and shift by bias.

    Args:
        input: (N, C) or (N, C, *), for example images (N, C, H, W).
        running_mean, running_var: (C,) Tensors or arrays. In training they are changed in place, outside of the graph:
            running = (1 - momentum) * running + momentum * batch's, with the batch's variance divided by count - 1;
            or both None. In evaluation they stand for the batch's.
        weight, bias: (C,) or None. On a GPU float32 (or float16) where input is float16.
        training: normalize by the mean and the variance (divided by the count) of this batch.
        num_batches_tracked: an integer () Tensor or array to which training adds 1, or None.

    Raises:
        ValueError: shapes that do not fit; running statistics missing in evaluation; one value per channel in training.
        TypeError: dtypes that do not go together.
    """
    return _apply(
        "batch_norm", input, running_mean, running_var, weight, bias, training, momentum, eps, num_batches_tracked,
        False, None,
    )  # fmt: skip


def batch_norm_relu(
    input, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5, residual=None, *,
    num_batches_tracked=None,
):  # fmt: skip
    """relu(batch_norm(input, …) + residual) in one pass over memory less each way: the end of a residual block.

    residual: shaped as input, or None. The other arguments and errors are batch_norm's.
    """
    return _apply(
        "batch_norm_relu", input, running_mean, running_var, weight, bias, training, momentum, eps,
        num_batches_tracked, True, residual,
    )  # fmt: skip


def _apply(
    name, input, running_mean, running_var, weight, bias, training, momentum, eps, num_batches_tracked, relu, residual
):
    check_numbers(name, momentum=momentum)
    input = as_real(name, input)
    if input.ndim < 2:
        raise ValueError(f"{name}: input must be (N, C) or (N, C, *), got shape {input.shape}")
    channels = input.shape[1]
    weight, bias = affine(name, input, weight, bias, (channels,), eps)
    if residual is not None:
        residual = as_real(name, residual)
        if residual.shape != input.shape or residual.dtype != input.dtype:
            raise ValueError(
                f"{name}: residual must be {input.dtype} of input's shape {input.shape}, got {residual.dtype} "
                f"{residual.shape}"
            )
    running = running_statistics(name, running_mean, running_var, channels)
    check_devices(name, input=input, running_mean=running_mean, running_var=running_var)
    if training and input.numel() == channels > 0:
        raise ValueError(f"{name}: training needs more than one value per channel, got input of shape {input.shape}")
    if not (training or running):
        raise ValueError(f"{name}: running_mean and running_var must be given where training is False")
    arguments = (*(running or (None, None)), num_batches_tracked)
    y = BatchNorm.apply(input, weight, bias, residual, *arguments, bool(training), float(momentum), float(eps), relu)
    if training:
        mark_changed(name, *arguments)
    return y


def array_of(value):
    return value._data if isinstance(value, Tensor) else value


def running_statistics(name, running_mean, running_var, channels):
    """The pair, or () where both are None.

    Raises:
        ValueError: only one is given, or a shape other than (channels,). TypeError: no floating-point Tensor or array.
    """
    if running_mean is None and running_var is None:
        return ()
    for argument, value in (("running_mean", running_mean), ("running_var", running_var)):
        if value is None:
            raise ValueError(f"{name}: {argument} is None; running_mean and running_var go together")
        if not isinstance(value, Tensor) and not is_array(value) or value.dtype.kind != "f":
            raise TypeError(f"{name}: {argument} must be a floating-point Tensor or array, got {value!r}")
        if value.shape != (channels,):
            raise ValueError(f"{name}: {argument} must have shape {(channels,)}, got {value.shape}")
    return running_mean, running_var


def update_running(running_mean, running_var, mean, var, count, momentum):
    """running = (1 - momentum) * running + momentum * batch's, in place; mean and var are those of `count` values."""
    compiled = running_mean.dtype == running_var.dtype and running_mean.flags.c_contiguous
    update = kernel.update_running if compiled and running_var.flags.c_contiguous else kernel.update_running.reference
    update(mean, var, count, momentum, running_mean, running_var)


def mark_changed(name, *values):
    """Say of those that are Tensors that the operation changed them in place."""
    for value in values:
        if isinstance(value, Tensor):
            value.mark_changed(name)
