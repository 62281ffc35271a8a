"""The sum of each column: what a bias that is added to every row receives as gradient.

    x  (M, C)  C-contiguous
    y  (C,)    written: y[c] = sum over m of x[m, c]

NumPy's sum over the first axis adds one short row at a time (C = 6 in LeNet: 20 times slower than copying the array).
The numba form sums blocks of rows on their own and then the blocks, which is also closer to the exact sum. Several rows
side by side count as one wide row, whose sums stay in registers while a block goes by (_passes.py).
"""

import numpy as np

from . import _channels
from ._jit import jit, prange
from ._kernel import Kernel
from ._passes import over_rows
from ._workload import LARGE


def _reference(x, y):
    y[...] = x.sum(axis=0)


def _cpu(x, y):
    if x.shape[1] == 0:
        return
    np.sum(_blocks(x.reshape(-1), *x.shape).reshape(-1, x.shape[1]), axis=0, out=y)


_add = over_rows("channel_sum", (0,), (), (1,), (), lambda v, _, x, none, sums: ([v.builder.fadd(sums[0], x[0])], []))


@jit
def _blocks(x, height, channels):
    wide, rows, blocks = _channels.cut(height, channels, x.itemsize)  # of shapes alone: threads do not change a bit
    sums, elements = np.zeros((blocks, wide), x.dtype), rows * channels
    for task in prange(blocks):
        first = np.int64(task) * elements
        addresses = x.ctypes.data, sums[task].ctypes.data
        _add(x.dtype.type(0), first, min(first + elements, x.size), wide, 0, False, addresses)
    return sums


def _gpu(x, y):
    _channels.sums_gpu(x[None], 1, y[None])


def _samples(rng, dtype):
    for shape in [(7, 3), (1, 5), (2050, 6), (513, 33), (0, 4), (5, 0)]:
        yield rng.standard_normal(shape).astype(dtype), np.empty(shape[1], dtype)


def _workload(rng, dtype, part=1):
    return rng.standard_normal((LARGE // 64 // part, 64), dtype), np.empty(64, dtype)


forward = Kernel(
    "channel_sum.forward",
    reference=_reference,
    cpu=_cpu,
    gpu=_gpu,
    samples=_samples,
    nanoseconds=lambda x, y: x.size // 4,
    workload=_workload,
)
