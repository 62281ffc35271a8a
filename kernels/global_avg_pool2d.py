"""The mean of all pixels of each image, channel by channel, over channels-last images of any size.

    x   (N, H, W, C)  input
    y   (N, 1, 1, C)  written: y[n, c] = sum over h, w of x[n, h, w, c] / (H*W)
    gy  (N, 1, 1, C)  gradient of y
    gx  (N, H, W, C)  written: gx[n, h, w, c] = gy[n, c] / (H*W)

The numba form sums blocks of pixels on their own and then the blocks in float64: a float32 sum of 50,000 pixels that
are 1 on average, one after the other, is off in the fourth digit. The blocks are also what cores share at batch 1. They
are cut by shapes alone, so that the sum does not depend on the number of threads.
"""

import numba
import numpy as np

from . import _channels
from ._cuda import Source, channels_at_once
from ._jit import jit, prange
from ._kernel import Kernel
from ._layout import ceil_div
from ._pool import empty
from ._queues import share_out, tasks
from ._threads import MOST_THREADS
from .channel_sum import add_rows

_CUDA = Source("global_avg_pool2d", *(f"{kernel}<T, {n}>" for kernel in ("forward", "backward") for n in (1, 4)))

# ---- forward -------------------------------------------------------------------------------------------------------


def _forward_reference(x, y):
    y[...] = x.mean(axis=(1, 2), keepdims=True, dtype=np.float64)


def _forward_cpu(x, y):
    n, h, w, channels = x.shape
    if y.size == 0:
        return
    wide, rows, blocks = _channels.blocks_of(h * w, channels, x.itemsize)
    sums = empty((n, blocks, wide), x.dtype)  # of a net's last layer 2 MB, whose fresh pages took 5 ms
    _means(x.reshape(-1), h * w, rows, sums, empty((MOST_THREADS, channels), np.float64), y.reshape(n, channels))


@jit
def _means(x, pixels, rows, sums, totals, y):
    (n, channels), (_, blocks, wide) = y.shape, sums.shape
    queues = share_out(n * blocks)
    for thread in prange(len(queues)):
        for task in tasks(queues, thread):
            image, block = task // blocks, task % blocks
            first = (image * pixels + block * rows) * channels
            last = (image * pixels + min((block + 1) * rows, pixels)) * channels
            sums[image, block] = 0
            add_rows(x.dtype.type(0), first, last, wide, 0, False, (x.ctypes.data, sums[image, block].ctypes.data))
    queues = share_out(n)
    for thread in prange(len(queues)):
        for image in tasks(queues, thread):
            total, mean = totals[numba.get_thread_id()], y[image]
            total[:] = 0
            for block in range(blocks):
                for start in range(0, wide, channels):
                    part = sums[image, block, start : start + channels]
                    for c in range(channels):
                        total[c] += part[c]
            for c in range(channels):
                mean[c] = total[c] / pixels


_FEW = 1024  # pixels, of which a block adds up all: 128 for a thread, or fewer


def _forward_gpu(x, y):
    n, h, w, channels = x.shape
    pixels = h * w
    if pixels > _FEW:
        _channels.sums_gpu(x.reshape(n, pixels, channels), pixels, y.reshape(n, channels))
        return
    at_once = channels_at_once(channels, (x, y))
    width = max(1, min(32, channels // at_once))
    lanes = max(1, min(256 // width, pixels // 4))  # threads above each other
    grid = n * ceil_div(channels, width * at_once)
    _CUDA.launch(f"forward<T, {at_once}>", x.dtype, (x, y, pixels, channels), grid=grid, block=(width, lanes))


# ---- backward ------------------------------------------------------------------------------------------------------


def _backward_reference(gy, gx):
    gx[...] = gy / (gx.shape[1] * gx.shape[2])


@jit
def _backward_cpu(gy, gx):
    n, h, w, channels = gx.shape
    shares = gy / gy.dtype.type(h * w)
    queues = share_out(n * h)
    for thread in prange(len(queues)):
        for task in tasks(queues, thread):
            image, r = task // h, task % h
            share = shares[image, 0, 0]
            for q in range(w):
                pixel = gx[image, r, q]
                for c in range(channels):
                    pixel[c] = share[c]


def _backward_gpu(gy, gx):
    _CUDA.launch_rows("backward", gx, (gy, gx, *gx.shape[1:]))


# ---- samples and registration --------------------------------------------------------------------------------------


_SHAPES = [(3, 7, 5, 3), (2, 1, 1, 67), (1, 65, 33, 5), (3, 7, 7, 132), (2, 40, 41, 64), (1, 9, 7, 130), (0, 4, 6, 3)]


def _forward_samples(rng, dtype):
    for shape in _SHAPES:
        x = rng.standard_normal(shape).astype(dtype)
        special = np.where(rng.random(x.shape) < 0.01, rng.choice([np.nan, np.inf, -np.inf], x.shape), x).astype(dtype)
        for image in (x, special):
            yield image, np.empty((shape[0], 1, 1, shape[3]), dtype)


def _backward_samples(rng, dtype):
    for x, y in _forward_samples(rng, dtype):
        yield rng.standard_normal(y.shape).astype(dtype), np.empty_like(x)


def _forward_workload(rng, dtype, part=1):
    x = rng.standard_normal((max(1, 256 // part), 7, 7, 1024), dtype)
    return x, np.empty((len(x), 1, 1, 1024), dtype)


def _backward_workload(rng, dtype, part=1):
    x, y = _forward_workload(rng, dtype, part)
    return rng.standard_normal(y.shape, dtype), x


forward = Kernel(
    "global_avg_pool2d.forward",
    reference=_forward_reference,
    cpu=_forward_cpu,
    gpu=_forward_gpu,
    samples=_forward_samples,
    nanoseconds=lambda x, y: x.size // 4,
    workload=_forward_workload,
)
backward = Kernel(
    "global_avg_pool2d.backward",
    reference=_backward_reference,
    cpu=_backward_cpu,
    gpu=_backward_gpu,
    samples=_backward_samples,
    nanoseconds=lambda gy, gx: gx.size // 4,
    workload=_backward_workload,
)
