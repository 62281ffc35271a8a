"""Add numbers at places, some of which meet: what the gradient of x[index] does with an array of indices.

    places  (M,)            int64, from 0 to L - 1
    x       (M,) or (M, R)  numbers, or rows of them
    y       (L,) or (L, R)  changed: y[places[i]] += x[i], in the order of i

C-contiguous arrays. Numbers that meet in one place are added in their order, so the result is the same to the last bit
on any number of threads. The CUDA form sorts the places first, equals in their order, and gives each run of equals to
one thread: atomic additions would come in another order each time. (CuPy's add.at is made of those, its add.reduceat of
differences of running sums, in which the digits of small sums drown.)

A table's gradient, 8192 rows of 256, took 20 ms by NumPy's add.at, which goes from element to element on one core.
"""

import numpy as np

from ._cuda import Source
from ._jit import jit, prange
from ._kernel import Kernel
from ._queues import share_out, tasks
from ._workload import LARGE

_CUDA = Source("add_at", "forward")
_BANDS = 4  # of y, each with one writer; all of them read all places
_FEWEST = 32  # columns of a task


def _reference(places, x, y):
    np.add.at(y, places, x)


def _cpu(places, x, y):
    if x.ndim == 2:
        _add_rows(places, x, y)
    else:
        _add_elements(places, x, y)


@jit
def _add_elements(places, x, y):
    queues = share_out(_BANDS)
    for thread in prange(len(queues)):
        for band in tasks(queues, thread):
            first, last = y.size * band // _BANDS, y.size * (band + 1) // _BANDS
            for i in range(places.size):
                if first <= places[i] < last:
                    y[places[i]] += x[i]


@jit
def _add_rows(places, x, y):
    """A task has some columns of all rows, so that each element has one writer."""
    columns = y.shape[1]
    bands = max(1, min(_BANDS, columns // _FEWEST))
    queues = share_out(bands)
    for thread in prange(len(queues)):
        for band in tasks(queues, thread):
            first, last = columns * band // bands, columns * (band + 1) // bands
            for i in range(places.size):
                from_row, row = x[i, first:last], y[places[i], first:last]
                for j in range(row.size):
                    row[j] += from_row[j]


def _gpu(places, x, y):
    if x.ndim == 2:
        columns = np.arange(x.shape[1], dtype=places.dtype, like=places)
        places, x, y = (places[:, None] * x.shape[1] + columns).reshape(-1), x.reshape(-1), y.reshape(-1)
    order = places.argsort(kind="stable")
    sorted_places, order = places[order].astype(np.int32), order.astype(np.int32)
    _CUDA.launch("forward", x.dtype, (sorted_places, order, x, y, x.size), threads=x.size)


def _samples(rng, dtype):
    for count, size in ((1, 1), (1000, 7), (300, 1000), (5, 5), (0, 3)):
        places = rng.integers(0, size, count)
        yield places, rng.standard_normal(count).astype(dtype), rng.standard_normal(size).astype(dtype)
    for count, size, columns in ((40, 90, 256), (200, 5, 3), (0, 4, 2)):
        places = rng.integers(0, size, count)
        yield places, rng.standard_normal((count, columns)).astype(dtype), np.ones((size, columns), dtype)
    special = np.array([np.nan, 1, np.inf, -np.inf, np.inf, 2], dtype)
    yield np.array([0, 1, 2, 3, 3, 1]), special, np.zeros(5, dtype)


def _workload(rng, dtype, part=1):
    """The gradient of a table of 10,000 rows, of which a batch has read some."""
    count = LARGE // part // 8
    return rng.integers(0, 10_000, count) * 64 % 640_000, rng.standard_normal(count, dtype), np.zeros(640_000, dtype)


forward = Kernel(
    "add_at.forward",
    reference=_reference,
    cpu=_cpu,
    gpu=_gpu,
    samples=_samples,
    nanoseconds=lambda places, x, y: x.size,
    workload=_workload,
)
