"""Layer normalization of rows: each row is brought to mean 0 and variance 1, then scaled and shifted by column.

    x             (M, D)  input
    weight, bias  (D,)    as gw and gb: float32 where x is float16
    y             (M, D)  written: y = (x - mean) / sqrt(var + eps) * weight + bias
    mean, rstd    (M,)    written, float64: of each row its mean, and 1 / sqrt(var + eps)
    gy, gx        (M, D)  gradients of y and x; gx is written
    gw, gb        (D,)    written: gradients of weight and bias

Ba, Kiros & Hinton 2016, equations 3 and 4. A row stays in cache while it is read again.
"""

import numpy as np

from . import _channels
from ._cuda import Source, threads_of_row
from ._jit import helper, inline_rounded, inline_sum, jit, prange
from ._kernel import Kernel, wide
from ._layout import ceil_div
from ._pool import empty
from ._queues import share_out, tasks

_CUDA = Source("layer_norm", "forward", "backward", "parameter_sums")


@inline_sum
def _total(x, share):
    total = x.dtype.type(0)
    for k in range(x.size):
        total += x[k] * share
    return total


@inline_sum
def _deviations(d):
    total, squares = d.dtype.type(0), d.dtype.type(0)
    for k in range(d.size):
        total += d[k]
        squares += d[k] * d[k]
    return total, squares


@inline_sum
def _gradient_sums(gy, xhat, weight):
    total, products = gy.dtype.type(0), gy.dtype.type(0)
    for k in range(gy.size):
        g = gy[k] * weight[k]
        total += g
        products += g * xhat[k]
    return total, products


# ---- forward -------------------------------------------------------------------------------------------------------


def _forward_reference(x, weight, bias, eps, y, mean, rstd):
    wide = x.astype(np.float64)
    mean[...] = wide.mean(axis=1)
    deviation = wide - mean[:, None]
    var = (deviation**2).mean(axis=1)
    rstd[...] = 1 / np.sqrt(var + eps)
    xhat = deviation * rstd[:, None]
    y[...] = xhat * weight + bias


@jit
def _forward_cpu(x, weight, bias, eps, y, mean, rstd):
    rows, d = x.shape
    share = x.dtype.type(1.0 / d)
    queues = share_out(rows)
    for thread in prange(len(queues)):
        for row in tasks(queues, thread):
            about = _total(x[row], share)
            for k in range(d):
                y[row, k] = x[row, k] - about  # y holds the deviations until they are scaled
            total, squares = _deviations(y[row])
            low = np.float64(total) / d
            var = max(np.float64(squares) / d - low * low, 0.0)
            if squares != squares:
                var = np.float64(squares)
            mean[row] = about + low if np.isfinite(total) else np.float64(about)
            rstd[row] = 1 / np.sqrt(var + eps)
            scale, shift = x.dtype.type(rstd[row]), x.dtype.type(low * rstd[row])
            for k in range(d):
                y[row, k] = (y[row, k] * scale - shift) * weight[k] + bias[k]


def _forward_gpu(x, weight, bias, eps, y, mean, rstd):
    rows, d = x.shape
    _CUDA.launch("forward", x.dtype, (x, weight, bias, y, mean, rstd, d, eps), grid=rows, block=threads_of_row(d))


# ---- backward ------------------------------------------------------------------------------------------------------


def _backward_reference(gy, x, weight, mean, rstd, gx, gw, gb):
    xhat = (x - mean[:, None]) * rstd[:, None]
    gb[...] = gy.sum(axis=0)
    gw[...] = (gy * xhat).sum(axis=0)
    gxhat = gy * weight
    mean_g = gxhat.mean(axis=1, keepdims=True)
    mean_gxhat = (gxhat * xhat).mean(axis=1, keepdims=True)
    gx[...] = rstd[:, None] * (gxhat - mean_g - xhat * mean_gxhat)


def _backward_cpu(gy, x, weight, mean, rstd, gx, gw, gb):
    rows = max(1, min(64, ceil_div(len(x), 8)))  # per block: by size, so that sums do not depend on the threads
    sums = np.zeros((ceil_div(len(x), rows), 2, x.shape[1]), x.dtype)
    _blocks(gy, x, weight, mean, rstd, rows, sums, gx)
    gw[...], gb[...] = sums[:, 0].sum(axis=0), sums[:, 1].sum(axis=0)


@jit
def _blocks(gy, x, weight, mean, rstd, rows, sums, gx):
    queues = share_out(len(sums))
    for thread in prange(len(queues)):
        for block in tasks(queues, thread):
            first = block * rows
            for row in range(first, min(first + rows, len(x))):
                _row(gy[row], x[row], weight, mean[row], rstd[row], sums[block, 0], sums[block, 1], gx[row])


@inline_rounded
def _centred(gy, weight, mean):
    """In a row of one element the product is its own mean, and what is left is 0; scale may be 300."""
    return gy * weight - mean


@helper
def _row(gy, x, weight, mean, rstd, sum_gxhat, sum_g, gx):
    d = x.size
    high, scale = x.dtype.type(mean), x.dtype.type(rstd)
    low = x.dtype.type((mean - high) * rstd) if np.isfinite(mean) else x.dtype.type(0)
    for k in range(d):
        gx[k] = (x[k] - high) * scale - low  # gx holds xhat until it is used
    total, products = _gradient_sums(gy, gx, weight)
    a, b = x.dtype.type(total / d), x.dtype.type(products / d)
    for k in range(d):
        xhat = gx[k]
        sum_gxhat[k] += gy[k] * xhat
        sum_g[k] += gy[k]
        gx[k] = scale * (_centred(gy[k], weight[k], a) - xhat * b)


def _backward_gpu(gy, x, weight, mean, rstd, gx, gw, gb):
    rows, d = x.shape
    _CUDA.launch("backward", x.dtype, (gy, x, weight, mean, rstd, gx, d), grid=rows, block=threads_of_row(d))
    block, rows_of_block, blocks, tiles = _channels.tile(rows, d)
    partial = empty((2, d, blocks), np.float64, x)
    args = gy, x, mean, rstd, *partial, rows, d, blocks, rows_of_block
    _CUDA.launch("parameter_sums", x.dtype, args, grid=blocks * tiles, block=block)
    for sums, y in zip(partial, (gw, gb), strict=True):
        _channels.totals_gpu(sums, 1, y)


# ---- samples and registration --------------------------------------------------------------------------------------

_SHAPES = [(7, 3), (2, 1), (1, 500), (131, 6), (1000, 67), (65, 1030), (2, 33000), (0, 3)]


def _forward_samples(rng, dtype):
    inputs = [rng.standard_normal(shape).astype(dtype) for shape in _SHAPES]
    x = rng.standard_normal((5, 700))
    inputs += [(x + 1e4).astype(dtype), (1e-4 * x + 1).astype(dtype), np.full((4, 100), 0.1, dtype)]
    x[0, 3], x[1, 8], x[2, 9], x[2, 10] = np.nan, np.inf, np.inf, -np.inf
    inputs += [x.astype(dtype)]
    for x in inputs:
        weight, bias = rng.standard_normal((2, x.shape[1])).astype(wide(dtype))
        yield x, weight, bias, 1e-5, np.empty_like(x), np.empty(len(x)), np.empty(len(x))


def _backward_samples(rng, dtype):
    for x, weight, bias, eps, y, mean, rstd in _forward_samples(rng, dtype):
        _forward_reference(x, weight, bias, eps, y, mean, rstd)
        gy = rng.standard_normal(x.shape).astype(dtype)
        yield gy, x, weight, mean, rstd, np.empty_like(x), np.empty_like(weight), np.empty_like(weight)


def _forward_workload(rng, dtype, part=1):
    x = rng.standard_normal((8192 // part, 1024), dtype)
    weight, bias = rng.standard_normal((2, 1024), dtype)
    return x, weight, bias, 1e-5, np.empty_like(x), np.empty(len(x)), np.empty(len(x))


def _backward_workload(rng, dtype, part=1):
    x, weight, bias, eps, y, mean, rstd = _forward_workload(rng, dtype, part)
    _forward_reference(x, weight, bias, eps, y, mean, rstd)
    gy = rng.standard_normal(x.shape, dtype)
    return gy, x, weight, mean, rstd, y, np.empty_like(weight), np.empty_like(weight)


forward = Kernel(
    "layer_norm.forward",
    reference=_forward_reference,
    cpu=_forward_cpu,
    gpu=_forward_gpu,
    samples=_forward_samples,
    nanoseconds=lambda x, *rest: x.size // 2,
    outputs=3,
    workload=_forward_workload,
)
backward = Kernel(
    "layer_norm.backward",
    reference=_backward_reference,
    cpu=_backward_cpu,
    gpu=_backward_gpu,
    samples=_backward_samples,
    nanoseconds=lambda gy, *rest: gy.size,
    outputs=3,
    workload=_backward_workload,
)
