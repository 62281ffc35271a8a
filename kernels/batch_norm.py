"""Batch normalization of rows: every column (channel) is brought to mean 0 and variance 1, then scaled and shifted.

    x          (M, C)  input, M = N * H * W pixels of channels-last images
    mean, var  (C,)    float64: mean and mean squared deviation of each column
    rstd       (C,)    float64: 1 / sqrt(var + eps)
    running_mean, running_var (C,)   averages over batches, of any floating-point type; those of var divide by count - 1
    weight, bias (C,)    as gw and gb: float32 where x is float16
    residual   (M, C)  added before the ReLU; (0, C) where there is none
    y          (M, C)  y = (x - mean) * rstd * weight + bias [+ residual], then max(y, 0) where relu
    gy         (M, C)  gradient of y. For its gradient a ReLU needs y; (0, C) in its place: y is computed anew from x
    gx         (M, C)  gradient of x; training says that mean and var were x's own and move with it
    gw, gb     (C,)    gradients of weight and bias
    gresidual  (M, C)  gradient of the residual; (0, C) where there is none

What is written comes last. Ioffe & Szegedy 2015, algorithm 1 and section 3; He et al. 2015, figure 2 for the residual.
"""

import numpy as np

from . import _channels
from ._jit import jit_serial
from ._kernel import Kernel, wide
from ._pool import empty
from ._workload import LARGE
from .copy_rows import contiguous, copy_into

# ---- statistics ----------------------------------------------------------------------------------------------------


def _statistics_reference(x, eps, mean, var, rstd):
    x = x.astype(np.float64)
    mean[...] = x.mean(axis=0)
    var[...] = ((x - mean) ** 2).mean(axis=0)
    rstd[...] = 1 / np.sqrt(var + eps)


def _statistics_cpu(x, eps, mean, var, rstd):
    _channels.moments(x[None], eps, mean[None], var[None], rstd[None])


def _statistics_gpu(x, eps, mean, var, rstd):
    _channels.moments_gpu(x[None], 1, eps, mean, var, rstd)


def _update_running_reference(mean, var, count, momentum, running_mean, running_var):
    running_mean[...] = (1 - momentum) * running_mean + momentum * mean
    running_var[...] = (1 - momentum) * running_var + momentum * (var * (count / (count - 1)))


@jit_serial
def _update_running_cpu(mean, var, count, momentum, running_mean, running_var):
    for c in range(mean.size):
        running_mean[c] = (1 - momentum) * running_mean[c] + momentum * mean[c]
        running_var[c] = (1 - momentum) * running_var[c] + momentum * (var[c] * (count / (count - 1)))


def _update_running_gpu(mean, var, count, momentum, running_mean, running_var):
    """NumPy's form would be nine launches, of 12 µs each on the host of an H200."""
    _channels.update_running_gpu(mean, var, count, momentum, running_mean, running_var)


# ---- forward -------------------------------------------------------------------------------------------------------


def _forward_reference(x, mean, rstd, weight, bias, residual, relu, y):
    xhat = (x - mean) * rstd
    z = xhat * weight + bias
    if residual.size:
        z = z + residual
    y[...] = np.where(z <= 0, 0, z) if relu else z


def _forward_cpu(x, mean, rstd, weight, bias, residual, relu, y):
    _channels.normalize(x[None], mean[None], rstd[None], weight, bias, residual, relu, y)


def _forward_gpu(x, mean, rstd, weight, bias, residual, relu, y):
    _channels.normalize_gpu(x[None], 1, mean, rstd, weight, bias, residual if residual.size else None, relu, y)


# ---- backward ------------------------------------------------------------------------------------------------------


def _backward_reference(gy, x, y, mean, rstd, weight, bias, training, relu, gx, gw, gb, gresidual):
    if relu and not len(y):
        y = np.empty_like(x)
        _forward_reference(x, mean, rstd, weight, bias, y[:0], True, y)
    g = np.where(y <= 0, 0, gy) if relu else gy
    xhat = (x - mean) * rstd
    sum_g, sum_gxhat = g.sum(axis=0), (g * xhat).sum(axis=0)
    gb[...], gw[...] = sum_g, sum_gxhat
    if training:
        gx[...] = weight * rstd * (g - sum_g / len(x) - xhat * sum_gxhat / len(x))
    else:
        gx[...] = weight * rstd * g
    if gresidual.size:
        gresidual[...] = g


def _backward_cpu(gy, x, y, mean, rstd, weight, bias, training, relu, gx, gw, gb, gresidual):
    kind = _channels.NO_RELU
    if relu and not len(y) and (gresidual.size or not training):  # rare, and not worth loops of their own
        y = empty(x.shape, x.dtype)
        _forward_cpu(x, mean, rstd, weight, bias, y[:0], True, y)
    if relu:
        kind = _channels.BY_OUTPUT if len(y) else _channels.BY_INPUT
    kept = gresidual if gresidual.size and relu else None
    numbers = mean[None], rstd[None], weight, bias
    _channels.gradients(gy[None], x[None], y, kind, 1, *numbers, training, gx, gw, gb, kept)
    if gresidual.size and not relu:
        copy_into(gresidual, gy)


def _backward_gpu(gy, x, y, mean, rstd, weight, bias, training, relu, gx, gw, gb, gresidual):
    output, kept = y if len(y) else None, gresidual if gresidual.size else None
    numbers = mean, rstd, weight, bias
    _channels.gradients_gpu(contiguous(gy), x[None], output, bool(relu), 1, *numbers, training, gx, gw, gb, kept)


# ---- samples and registration --------------------------------------------------------------------------------------

_SHAPES = [(7, 3), (2, 1), (1031, 6), (5000, 17), (129, 67), (40, 600), (3, 33000)]


def _inputs(rng, dtype):
    """Rows of every shape; large means; constant columns; first rows unlike the others; NaN and infinities."""
    for shape in _SHAPES:
        yield rng.standard_normal(shape).astype(dtype)
    x = rng.standard_normal((700, 5))
    yield (x + 1e4).astype(dtype)
    yield (1e-4 * x + [1, -1, 0, 10, 3]).astype(dtype)
    yield np.full((100, 4), 0.1, dtype)
    yield (x + 100 * (np.arange(700) < 40)[:, None]).astype(dtype)
    x[3, 0], x[8, 1], x[9, 2], x[10, 2] = np.nan, np.inf, np.inf, -np.inf
    yield x.astype(dtype)
    x[699], x[8, 1] = [0, np.inf, 0, np.nan, -np.inf], 0
    yield x.astype(dtype)


def _statistics_samples(rng, dtype):
    for x in [*_inputs(rng, dtype), np.empty((5, 0), dtype)]:
        yield x, 1e-5, *np.empty((3, x.shape[1]))


def _update_running_samples(rng, dtype):
    for channels, count, momentum in ((1, 2, 0.1), (7, 1031, 0.5), (600, 10**8, 0.0), (0, 2, 1.0)):
        mean, var, running_mean, running_var = rng.standard_normal((4, channels))
        yield mean, var**2, count, momentum, running_mean.astype(dtype), (running_var**2).astype(dtype)


def _forward_samples(rng, dtype):
    for number, x in enumerate([*_inputs(rng, dtype), np.empty((0, 3), dtype)]):
        mean, var, rstd = np.zeros(x.shape[1]), np.ones(x.shape[1]), np.ones(x.shape[1])
        if len(x):
            _statistics_reference(x, 1e-5, mean, var, rstd)
        weight, bias = rng.standard_normal((2, x.shape[1])).astype(wide(dtype))
        residual = rng.standard_normal(x.shape if number % 2 else (0, x.shape[1])).astype(dtype)
        for relu in (False, True):
            yield x, mean, rstd, weight, bias, residual, relu, np.empty_like(x)


def _backward_samples(rng, dtype):
    for x, mean, rstd, weight, bias, residual, relu, y in _forward_samples(rng, dtype):
        _forward_reference(x, mean, rstd, weight, bias, residual, relu, y)
        gy = rng.standard_normal(x.shape).astype(dtype)
        for training in (True, False):
            outputs = np.empty_like(x), np.empty_like(weight), np.empty_like(weight), np.empty_like(residual)
            yield gy, x, y if relu else y[:0], mean, rstd, weight, bias, training, relu, *outputs
        apart = np.empty((len(x), x.shape[1] + 5), dtype)[:, 2 : 2 + x.shape[1]]
        apart[...] = gy  # rows that lie apart
        outputs = np.empty_like(x), np.empty_like(weight), np.empty_like(weight), np.empty_like(residual)
        yield apart, x, y if relu else y[:0], mean, rstd, weight, bias, True, relu, *outputs
        if relu and not residual.size:
            outputs = np.empty_like(x), np.empty_like(weight), np.empty_like(weight), np.empty_like(residual)
            yield gy, x, y[:0], mean, rstd, weight, bias, len(x) % 2 == 0, relu, *outputs


def _statistics_workload(rng, dtype, part=1):
    x = rng.standard_normal((LARGE // 64 // part, 64), dtype)
    return x, 1e-5, *np.empty((3, 64))


def _update_running_workload(rng, dtype, part=1):
    return *np.ones((2, 2048)), 1000, 0.1, *np.ones((2, 2048), dtype)


def _forward_workload(rng, dtype, part=1):
    x, eps, mean, var, rstd = _statistics_workload(rng, dtype, part)
    _statistics_reference(x, eps, mean, var, rstd)
    weight, bias = rng.standard_normal((2, 64), dtype)
    return x, mean, rstd, weight, bias, x[:0], False, np.empty_like(x)


def _backward_workload(rng, dtype, part=1):
    x, mean, rstd, weight, bias, none, relu, y = _forward_workload(rng, dtype, part)
    gy = rng.standard_normal(x.shape, dtype)
    return (
        gy,
        x,
        none,
        mean,
        rstd,
        weight,
        bias,
        True,
        relu,
        y,
        np.empty_like(weight),
        np.empty_like(weight),
        none.copy(),
    )


statistics = Kernel(
    "batch_norm.statistics",
    reference=_statistics_reference,
    cpu=_statistics_cpu,
    gpu=_statistics_gpu,
    samples=_statistics_samples,
    nanoseconds=lambda x, *rest: x.size // 3,
    outputs=3,
    workload=_statistics_workload,
)
update_running = Kernel(
    "batch_norm.update_running",
    reference=_update_running_reference,
    cpu=_update_running_cpu,
    gpu=_update_running_gpu,
    samples=_update_running_samples,
    nanoseconds=lambda mean, *rest: mean.size,
    outputs=2,
    workload=_update_running_workload,
)
forward = Kernel(
    "batch_norm.forward",
    reference=_forward_reference,
    cpu=_forward_cpu,
    gpu=_forward_gpu,
    samples=_forward_samples,
    nanoseconds=lambda x, *rest: x.size // 3,
    workload=_forward_workload,
)
backward = Kernel(
    "batch_norm.backward",
    reference=_backward_reference,
    cpu=_backward_cpu,
    gpu=_backward_gpu,
    samples=_backward_samples,
    nanoseconds=lambda gy, *rest: gy.size,
    outputs=4,
    workload=_backward_workload,
)
