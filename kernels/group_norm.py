"""Group normalization: the channels of an image are cut into groups; each group of each image gets mean 0, variance 1.

    x             (N, P, G, K)  input: N images of P = H * W pixels, G groups of K channels
    weight, bias  (G, K)        as gw and gb: float32 where x is float16
    y             (N, P, G, K)  written: y = (x - mean) / sqrt(var + eps) * weight + bias
    mean, var     (N, G)        written, float64: over the P * K elements of each group of each image
    gy, gx        (N, P, G, K)  gradients of y and x; gx is written
    gw, gb        (G, K)        written: gradients of weight and bias

Wu & He 2018, equations 1, 2 and 6. With K = 1 this is instance norm (Ulyanov et al. 2016).
"""

import numpy as np

from . import _channels
from ._kernel import Kernel, wide
from ._pool import empty

# ---- forward -------------------------------------------------------------------------------------------------------


def _forward_reference(x, weight, bias, eps, y, mean, var):
    wide = x.astype(np.float64)
    mean[...] = wide.mean(axis=(1, 3), dtype=np.longdouble)  # of numbers near 10,000 float64's mean is 5e-12 off
    deviation = wide - mean[:, None, :, None]
    var[...] = (deviation**2).mean(axis=(1, 3))
    xhat = deviation / np.sqrt(var[:, None, :, None] + eps)
    y[...] = xhat * weight + bias


def _forward_cpu(x, weight, bias, eps, y, mean, var):
    n, p, g, k = x.shape
    channels = x.reshape(n, p, g * k)
    m, v, of_channels = np.empty((3, n, g * k))
    _channels.moments(channels, eps, m, v, of_channels)
    m, v = m.reshape(n, g, k), v.reshape(n, g, k)
    mean[...] = m.mean(axis=2)
    with np.errstate(invalid="ignore"):  # inf - inf
        var[...] = v.mean(axis=2) + ((m - mean[:, :, None]) ** 2).mean(axis=2)  # as _channels puts blocks together
    rstd = 1 / np.sqrt(var + eps)
    mean, rstd = np.repeat(mean, k, axis=1), np.repeat(rstd, k, axis=1)
    _channels.normalize(channels, mean, rstd, weight.reshape(-1), bias.reshape(-1), x[:0], False, y)


def _forward_gpu(x, weight, bias, eps, y, mean, var):
    n, p, g, k = x.shape
    channels = x.reshape(n, p, g * k)
    rstd = empty(var.shape, np.float64, x)
    _channels.moments_gpu(channels, k, eps, mean, var, rstd)
    _channels.normalize_gpu(channels, k, mean, rstd, weight, bias, None, False, y)


# ---- backward ------------------------------------------------------------------------------------------------------


def _backward_reference(gy, x, weight, mean, var, eps, gx, gw, gb):
    rstd = 1 / np.sqrt(var + eps)[:, None, :, None]
    xhat = (x - mean[:, None, :, None]) * rstd
    gb[...] = gy.sum(axis=(0, 1))
    gw[...] = (gy * xhat).sum(axis=(0, 1))
    gxhat = gy * weight
    over = {"axis": (1, 3), "keepdims": True}
    gx[...] = rstd * (gxhat - gxhat.mean(**over) - xhat * (gxhat * xhat).mean(**over))


def _backward_cpu(gy, x, weight, mean, var, eps, gx, gw, gb):
    n, p, g, k = x.shape
    shape, none = (n, p, g * k), np.zeros(g * k, weight.dtype)
    numbers = (np.repeat(a, k, axis=1) for a in (mean, 1 / np.sqrt(var + eps)))
    rows = gy.reshape(shape), x.reshape(shape), x[:0], _channels.NO_RELU
    _channels.gradients(*rows, k, *numbers, weight.reshape(-1), none, True, gx, gw.reshape(-1), gb.reshape(-1))


def _backward_gpu(gy, x, weight, mean, var, eps, gx, gw, gb):
    n, p, g, k = x.shape
    rstd = 1 / np.sqrt(var + eps)
    rows = gy, x.reshape(n, p, g * k)
    _channels.gradients_gpu(*rows, None, False, k, mean, rstd, weight, None, True, gx, gw, gb, None)


# ---- samples and registration --------------------------------------------------------------------------------------

_SHAPES = [(2, 7, 3, 2), (1, 1, 2, 5), (3, 900, 4, 1), (2, 1200, 1, 6), (4, 49, 32, 4), (1, 6000, 2, 32)]


def _forward_samples(rng, dtype):
    images = [rng.standard_normal(shape).astype(dtype) for shape in _SHAPES]
    x = rng.standard_normal((3, 50, 2, 3))
    images += [(x + 1e4).astype(dtype), (1e-4 * x + 1).astype(dtype), np.ones((2, 9, 3, 2), dtype)]
    x[0, 3, 0, 0], x[0, 4, 1, 1], x[2, 4, 1, 1], x[2, 5, 1, 1] = np.nan, np.inf, np.inf, -np.inf
    many_channels = np.sin(np.arange(700.0)).reshape(2, 5, 1, 70)
    images += [x.astype(dtype), np.empty((0, 5, 2, 3), dtype), many_channels.astype(dtype)]
    for x in images:
        weight, bias = rng.standard_normal((2, *x.shape[2:])).astype(wide(dtype))
        yield x, weight, bias, 1e-5, np.empty_like(x), np.empty(x.shape[::2][:2]), np.empty(x.shape[::2][:2])


def _backward_samples(rng, dtype):
    for x, weight, bias, eps, y, mean, var in _forward_samples(rng, dtype):
        _forward_reference(x, weight, bias, eps, y, mean, var)
        gy = rng.standard_normal(x.shape).astype(dtype)
        yield gy, x, weight, mean, var, eps, np.empty_like(x), np.empty_like(weight), np.empty_like(weight)


def _forward_workload(rng, dtype, part=1):
    """32 groups, as the paper has."""
    x = rng.standard_normal((max(1, 16 // part), 56 * 56, 32, 8), dtype)
    weight, bias = rng.standard_normal((2, 32, 8), dtype)
    return x, weight, bias, 1e-5, np.empty_like(x), np.empty((len(x), 32)), np.empty((len(x), 32))


def _backward_workload(rng, dtype, part=1):
    x, weight, bias, eps, y, mean, var = _forward_workload(rng, dtype, part)
    _forward_cpu(x, weight, bias, eps, y, mean, var)
    gy = rng.standard_normal(x.shape, dtype)
    return gy, x, weight, mean, var, eps, y, np.empty_like(weight), np.empty_like(weight)


forward = Kernel(
    "group_norm.forward",
    reference=_forward_reference,
    cpu=_forward_cpu,
    gpu=_forward_gpu,
    samples=_forward_samples,
    nanoseconds=lambda x, *rest: x.size,
    outputs=3,
    workload=_forward_workload,
)
backward = Kernel(
    "group_norm.backward",
    reference=_backward_reference,
    cpu=_backward_cpu,
    gpu=_backward_gpu,
    samples=_backward_samples,
    nanoseconds=lambda gy, *rest: gy.size,
    outputs=3,
    workload=_backward_workload,
)
