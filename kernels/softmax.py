"""Softmax of each row, shifted by the row's greatest element so that no exponential overflows.

    x       (M, N)  C-contiguous
    y       (M, N)  y[n] = exp(x[n] - max x) / sum over k of exp(x[k] - max x)
    gy, gx  (M, N)  gx[n] = y[n] * (gy[n] - sum over k of gy[k] * y[k])

from dy[k]/dx[n] = y[k] * (1{k = n} - y[n]). The last argument is written.
"""

import numpy as np

from ._cuda import Source, threads_of_row
from ._exp import exp
from ._jit import inline, inline_sum, jit, prange
from ._kernel import Kernel
from ._queues import share_out, tasks
from ._vector import of_rank, rank

_CUDA = Source("softmax", "forward", "backward")


def _forward_reference(x, y):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    y[...] = e / e.sum(axis=1, keepdims=True)


@inline
def greatest_of(x):
    """The greatest element of a row; NaN is greater than all."""
    greatest = rank(x[0])
    for k in range(x.size):
        other = rank(x[k])
        greatest = other if other > greatest else greatest  # max would make an int64 of them
    return of_rank(greatest)


@inline_sum
def sum_of_exponentials(x, greatest):
    """The sum of e^(x[k] - greatest): of float64 also for float32 rows, it costs nothing beside the exponentials."""
    total = 0.0
    for k in range(x.size):
        total += exp(x[k] - greatest)
    return total


@inline_sum
def sum_of(x):
    total = 0.0
    for k in range(x.size):
        total += x[k]
    return total


@inline_sum
def _product(x, y):
    total = 0.0
    for k in range(x.size):
        total += x[k] * y[k]
    return total


@jit
def _forward_cpu(x, y):
    queues = share_out(x.shape[0])
    for thread in prange(len(queues)):
        for row in tasks(queues, thread):
            x_row, y_row = x[row], y[row]
            greatest = greatest_of(x_row)
            for k in range(x_row.size):
                y_row[k] = exp(x_row[k] - greatest)
            share = y.dtype.type(1 / sum_of(y_row))
            for k in range(x_row.size):
                y_row[k] *= share


def _forward_gpu(x, y):
    rows, columns = x.shape
    _CUDA.launch("forward", x.dtype, (x, y, columns), grid=rows, block=threads_of_row(columns))


def _backward_reference(gy, y, gx):
    gx[...] = y * (gy - (gy * y).sum(axis=1, keepdims=True))


@jit
def _backward_cpu(gy, y, gx):
    queues = share_out(y.shape[0])
    for thread in prange(len(queues)):
        for row in tasks(queues, thread):
            gy_row, y_row, gx_row = gy[row], y[row], gx[row]
            total = _product(gy_row, y_row)
            for k in range(y_row.size):
                gx_row[k] = y_row[k] * (gy_row[k] - total)


def _backward_gpu(gy, y, gx):
    rows, columns = y.shape
    _CUDA.launch("backward", y.dtype, (gy, y, gx, columns), grid=rows, block=threads_of_row(columns))


def rows_samples(rng, dtype):
    """Rows of ordinary, large, equal and infinite elements, for softmax and log_softmax alike."""
    ordinary = rng.standard_normal((5, 7)).astype(dtype)
    special = [[np.nan, 1, 2], [-np.inf, 0, 1], [np.inf, 0, 1], [-np.inf, -np.inf, -np.inf], [1, 0, -np.nan]]
    large = (1e4 * rng.standard_normal((4, 9))).astype(dtype)
    for x in (
        ordinary,
        np.array(special, dtype),
        large,
        np.ones((3, 4), dtype),
        np.ones((2, 1), dtype),
        np.empty((0, 3), dtype),
    ):
        yield x, np.empty_like(x)


def _backward_samples(rng, dtype):
    for x, y in rows_samples(rng, dtype):
        with np.errstate(invalid="ignore"):
            _forward_reference(x, y)
        yield rng.standard_normal(x.shape).astype(dtype), y, np.empty_like(x)


def exponentials(*args):
    """Nanoseconds of one exponential per element of the output, and of two more passes over it."""
    return 2 * args[-1].size


def rows_workload(rng, dtype, part=1):
    """The scores of 1,000 classes, as ImageNet has."""
    x = rng.standard_normal((8192 // part, 1000), dtype)
    return x, np.empty_like(x)


def _backward_workload(rng, dtype, part=1):
    gy, y = rng.standard_normal((2, 8192 // part, 1000), dtype)
    np.exp(y, out=y)
    return gy, y / y.sum(axis=1, keepdims=True), np.empty_like(gy)


forward = Kernel(
    "softmax.forward",
    reference=_forward_reference,
    cpu=_forward_cpu,
    gpu=_forward_gpu,
    samples=rows_samples,
    nanoseconds=exponentials,
    workload=rows_workload,
)
backward = Kernel(
    "softmax.backward",
    reference=_backward_reference,
    cpu=_backward_cpu,
    gpu=_backward_gpu,
    samples=_backward_samples,
    nanoseconds=exponentials,
    workload=_backward_workload,
)
