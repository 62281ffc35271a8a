"""The sum of each column: what a bias that is added to every row receives as gradient.

    x         (M, C)  C-contiguous
    y         (C,)    written: y[c] = sum over m of x[m, c]
    gy, r, x  (M, C)  masked: behind a ReLU that gave r, x = 0 where r <= 0, else gy; it is written, and its sums

NumPy's sum over the first axis adds one short row at a time (C = 6 in LeNet: 20 times slower than copying the array).
The numba form sums blocks of rows on their own and then the blocks, which is also closer to the exact sum. Several rows
side by side count as one wide row, whose sums stay in registers while a block goes by (_passes.py).
"""

import numpy as np

from . import _channels, relu
from ._jit import jit, prange
from ._kernel import Kernel
from ._passes import over_rows
from ._queues import share_out, tasks
from ._vector import STREAMED, fence
from ._workload import LARGE


def _reference(x, y):
    y[...] = x.sum(axis=0)


def _cpu(x, y):
    if x.shape[1] == 0:
        return
    np.sum(_blocks(x.reshape(-1), *x.shape).reshape(-1, x.shape[1]), axis=0, out=y)


add_rows = over_rows(
    "channel_sum", (0,), (), (1,), (), lambda v, _, x, none, sums: ([v.builder.fadd(sums[0], x[0])], [])
)


@jit
def _blocks(x, height, channels):
    wide, rows, blocks = _channels.cut(height, channels, x.itemsize)  # of shapes alone: threads do not change a bit
    sums, elements = np.zeros((blocks, wide), x.dtype), rows * channels
    queues = share_out(blocks)
    for thread in prange(len(queues)):
        for task in tasks(queues, thread):
            first = task * elements
            addresses = x.ctypes.data, sums[task].ctypes.data
            add_rows(x.dtype.type(0), first, min(first + elements, x.size), wide, 0, False, addresses)
    return sums


def _gpu(x, y):
    _channels.sums_gpu(x[None], 1, y[None])


# ---- masked --------------------------------------------------------------------------------------------------------


def _masked_reference(gy, r, x, y):
    x[...] = np.where(r <= 0, 0, gy)
    y[...] = x.sum(axis=0)


def _masked_cpu(gy, r, x, y):
    if x.shape[1] == 0:
        return
    flat = (a.reshape(-1) for a in (gy, r, x))
    np.sum(_masked_blocks(*flat, *x.shape).reshape(-1, x.shape[1]), axis=0, out=y)


def _mask_and_add(v, _, inputs, none, sums):
    x = v.where_positive(*inputs)
    return [v.builder.fadd(sums[0], x)], [x]


_add_masked = over_rows("channel_sum.masked", (0, 1), (), (3,), (2,), _mask_and_add)


@jit
def _masked_blocks(gy, r, x, height, channels):
    wide, rows, blocks = _channels.cut(height, channels, x.itemsize)
    sums, elements, streamed = np.zeros((blocks, wide), x.dtype), rows * channels, x.itemsize * x.size >= STREAMED
    queues = share_out(blocks)
    for thread in prange(len(queues)):
        for task in tasks(queues, thread):
            first = task * elements
            addresses = gy.ctypes.data, r.ctypes.data, x.ctypes.data, sums[task].ctypes.data
            _add_masked(x.dtype.type(0), first, min(first + elements, x.size), wide, 0, streamed, addresses)
            fence()
    return sums


def _masked_gpu(gy, r, x, y):
    relu.backward.gpu(gy.reshape(-1), r.reshape(-1), x.reshape(-1))
    _gpu(x, y)


# ---- samples and registration --------------------------------------------------------------------------------------


def _samples(rng, dtype):
    for shape in [(7, 3), (1, 5), (2050, 6), (513, 33), (0, 4), (5, 0)]:
        yield rng.standard_normal(shape).astype(dtype), np.empty(shape[1], dtype)


def _masked_samples(rng, dtype):
    for gy, y in _samples(rng, dtype):
        r = np.maximum(rng.standard_normal(gy.shape).astype(dtype), 0)
        r[2:3, :2] = np.nan  # passes its gradient on
        yield gy, r, np.empty_like(gy), y


def _workload(rng, dtype, part=1):
    return rng.standard_normal((LARGE // 64 // part, 64), dtype), np.empty(64, dtype)


def _masked_workload(rng, dtype, part=1):
    gy, x = rng.standard_normal((2, LARGE // 64 // part, 64), dtype)
    return gy, np.maximum(x, 0), np.empty_like(gy), np.empty(64, dtype)


forward = Kernel(
    "channel_sum.forward",
    reference=_reference,
    cpu=_cpu,
    gpu=_gpu,
    samples=_samples,
    nanoseconds=lambda x, y: x.size // 4,
    workload=_workload,
)
masked = Kernel(
    "channel_sum.masked",
    reference=_masked_reference,
    cpu=_masked_cpu,
    gpu=_masked_gpu,
    samples=_masked_samples,
    outputs=2,
    nanoseconds=lambda gy, r, x, y: x.size // 4,
    workload=_masked_workload,
)
