"""Local response normalization: each channel is divided by a power of the squares of its neighbours' sum.

    x       (M, C)  input, M = N * H * W pixels of channels-last images
    scale   (M, C)  written: scale[c] = k + alpha * sum over the window's j of x[j]^2
    y       (M, C)  written: y[c] = x[c] * scale[c]^(-beta)
    gy, gx  (M, C)  gradients of y and x; gx is written

The window of channel c is the channels from c - size // 2 to c + (size - 1) // 2 that exist. alpha is the factor of the
sum as it stands; PyTorch's is alpha / size. Krizhevsky et al. 2012, section 3.3.
"""

import numpy as np

from ._cuda import Source
from ._jit import inline, jit, prange
from ._kernel import Kernel
from ._layout import ceil_div
from ._queues import share_out, tasks

_CUDA = Source("local_response_norm", "forward", "backward")
_BLOCK = 16384  # elements of a task
_THREADS = 256  # of a block on a GPU: BLOCK in local_response_norm.cu


def _window(c, channels, size):
    return range(max(0, c - size // 2), min(channels, c + (size - 1) // 2 + 1))


# ---- forward -------------------------------------------------------------------------------------------------------


def _forward_reference(x, size, alpha, beta, k, y, scale):
    channels = x.shape[1]
    for c in range(channels):
        window = list(_window(c, channels, size))
        scale[:, c] = k + alpha * (x[:, window] ** 2).sum(axis=1)
    y[...] = x * scale**-beta


@inline
def _window_sums(values, before, after, factor, start, sums):
    """sums[c] = start + factor * sum of values[c - before .. c + after]; one run over all channels per neighbour."""
    channels = values.size
    sums[:] = 0
    for shift in range(-min(before, channels - 1), min(after, channels - 1) + 1):
        for c in range(max(0, -shift), min(channels, channels - shift)):
            sums[c] += values[c + shift]
    for c in range(channels):
        sums[c] = start + factor * sums[c]


@inline
def _power(scale, beta, out):
    """out = scale^(-beta); the paper's exponent 3/4 takes two square roots, which the CPU does for several at once."""
    one = scale.dtype.type(1)
    if beta == 0.75:
        for c in range(scale.size):
            root = np.sqrt(scale[c])
            out[c] = one / (root * np.sqrt(root))
    else:
        exponent = scale.dtype.type(-beta)
        for c in range(scale.size):
            out[c] = scale[c] ** exponent


@jit
def _forward_blocks(x, size, alpha, beta, k, rows, y, scale):
    factor, start = x.dtype.type(alpha), x.dtype.type(k)
    queues = share_out((len(x) + rows - 1) // rows)
    for thread in prange(len(queues)):
        for block in tasks(queues, thread):
            squares = np.empty(x.shape[1], x.dtype)
            first = block * rows
            for m in range(first, min(first + rows, len(x))):
                for c in range(x.shape[1]):
                    squares[c] = x[m, c] * x[m, c]
                _window_sums(squares, size // 2, (size - 1) // 2, factor, start, scale[m])
                _power(scale[m], beta, y[m])
                for c in range(x.shape[1]):
                    y[m, c] *= x[m, c]


def _forward_cpu(x, size, alpha, beta, k, y, scale):
    _forward_blocks(x, size, float(alpha), float(beta), float(k), _rows(x), y, scale)


def _rows(x):
    return ceil_div(_BLOCK, max(x.shape[1], 1))


def _forward_gpu(x, size, alpha, beta, k, y, scale):
    sizes = x.size, x.shape[1], *_reach(size, x.shape[1])
    args = x, y, scale, *sizes, float(alpha), float(beta), float(k)
    _CUDA.launch("forward", x.dtype, args, grid=ceil_div(x.size, _THREADS), block=_THREADS)


def _reach(size, channels):
    """How many channels before and after its own a window has, at most."""
    return min(size // 2, channels - 1), min((size - 1) // 2, channels - 1)


# ---- backward ------------------------------------------------------------------------------------------------------


def _backward_reference(gy, x, scale, size, alpha, beta, gx):
    channels = x.shape[1]
    inner = gy * x * scale ** (-beta - 1)
    gx[...] = gy * scale**-beta
    for i in range(channels):
        seers = [j for j in range(channels) if i in _window(j, channels, size)]
        gx[:, i] -= 2 * alpha * beta * x[:, i] * inner[:, seers].sum(axis=1)


@jit
def _backward_blocks(gy, x, scale, size, alpha, beta, rows, gx):
    one, factor, zero = x.dtype.type(1), x.dtype.type(2 * alpha * beta), x.dtype.type(0)
    queues = share_out((len(x) + rows - 1) // rows)
    for thread in prange(len(queues)):
        for block in tasks(queues, thread):
            scratch = np.empty((3, x.shape[1]), x.dtype)
            power, inner, sums = scratch[0], scratch[1], scratch[2]
            first = block * rows
            for m in range(first, min(first + rows, len(x))):
                _power(scale[m], beta, power)
                for c in range(x.shape[1]):
                    power[c] *= gy[m, c]
                    inner[c] = power[c] * x[m, c] * (one / scale[m, c])
                # Gathered: i is seen by the channels whose windows hold it, the mirror image of its own window.
                _window_sums(inner, (size - 1) // 2, size // 2, factor, zero, sums)
                for c in range(x.shape[1]):
                    gx[m, c] = power[c] - x[m, c] * sums[c]


def _backward_cpu(gy, x, scale, size, alpha, beta, gx):
    _backward_blocks(gy, x, scale, size, float(alpha), float(beta), _rows(x), gx)


def _backward_gpu(gy, x, scale, size, alpha, beta, gx):
    sizes = x.size, x.shape[1], *reversed(_reach(size, x.shape[1]))
    args = gy, x, scale, gx, *sizes, float(alpha), float(beta)
    _CUDA.launch("backward", x.dtype, args, grid=ceil_div(x.size, _THREADS), block=_THREADS)


# ---- samples and registration --------------------------------------------------------------------------------------

# (M, C, size, alpha, beta, k)
_CASES = [
    (7, 9, 5, 0.3, 0.75, 2.0),
    (300, 96, 5, 1e-4, 0.75, 2.0),
    (5, 67, 4, 0.5, 0.6, 1.0),  # an even window reaches one channel further back
    (4, 3, 8, 0.5, 1.0, 1.0),  # wider than the channels
    (3, 2, 20, 0.5, 0.5, 1.0),
    (2, 300, 290, 0.01, 0.75, 1.0),
    (6, 5, 1, 0.5, 0.75, 1.0),
    (6, 1, 3, 0.5, 0.75, 1.0),
    (0, 4, 3, 0.5, 0.75, 1.0),
]


def _forward_samples(rng, dtype):
    for m, c, *numbers in _CASES:
        x = rng.standard_normal((m, c)).astype(dtype)
        yield x, *numbers, np.empty_like(x), np.empty_like(x)
    x = rng.standard_normal((4, 9)).astype(dtype)
    x[0, 3], x[1, 5] = np.nan, np.inf
    yield x, 3, 0.5, 0.75, 1.0, np.empty_like(x), np.empty_like(x)


def _backward_samples(rng, dtype):
    for x, size, alpha, beta, k, y, scale in _forward_samples(rng, dtype):
        _forward_reference(x, size, alpha, beta, k, y, scale)
        yield rng.standard_normal(x.shape).astype(dtype), x, scale, size, alpha, beta, np.empty_like(x)


def _forward_workload(rng, dtype, part=1):
    """AlexNet's first, at batch 32, with the paper's numbers."""
    x = rng.standard_normal((32 * 55 * 55 // part, 96), dtype)
    return x, 5, 1e-4, 0.75, 2.0, np.empty_like(x), np.empty_like(x)


def _backward_workload(rng, dtype, part=1):
    x, size, alpha, beta, k, y, scale = _forward_workload(rng, dtype, part)
    _forward_cpu(x, size, alpha, beta, k, y, scale)
    return rng.standard_normal(x.shape, dtype), x, scale, size, alpha, beta, y


forward = Kernel(
    "local_response_norm.forward",
    reference=_forward_reference,
    cpu=_forward_cpu,
    gpu=_forward_gpu,
    samples=_forward_samples,
    nanoseconds=lambda x, *rest: 3 * x.size,
    outputs=2,
    workload=_forward_workload,
)
backward = Kernel(
    "local_response_norm.backward",
    reference=_backward_reference,
    cpu=_backward_cpu,
    gpu=_backward_gpu,
    samples=_backward_samples,
    nanoseconds=lambda gy, *rest: 4 * gy.size,
    workload=_backward_workload,
)
