"""Logarithm of the softmax of each row, without forming the softmax: a small probability keeps its digits.

    x       (M, N)  C-contiguous
    y       (M, N)  y[n] = x[n] - max x - log(sum over k of exp(x[k] - max x))
    gy, gx  (M, N)  gx[n] = gy[n] - exp(y[n]) * sum over k of gy[k]

from dy[k]/dx[n] = 1{k = n} - exp(y[n]). The last argument is written.
"""

import numpy as np

from ._cuda import Source, threads_of_row
from ._exp import exp
from ._jit import jit, prange
from ._kernel import Kernel
from ._queues import share_out, tasks
from .softmax import exponentials, greatest_of, rows_samples, rows_workload, sum_of, sum_of_exponentials

_CUDA = Source("log_softmax", "forward", "backward")


def _forward_reference(x, y):
    shifted = x - x.max(axis=1, keepdims=True)
    y[...] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


@jit
def _forward_cpu(x, y):
    queues = share_out(x.shape[0])
    for thread in prange(len(queues)):
        for row in tasks(queues, thread):
            x_row, y_row = x[row], y[row]
            greatest = greatest_of(x_row)
            log_total = np.log(sum_of_exponentials(x_row, greatest))
            for k in range(x_row.size):
                y_row[k] = (x_row[k] - greatest) - log_total


def _forward_gpu(x, y):
    rows, columns = x.shape
    _CUDA.launch("forward", x.dtype, (x, y, columns), grid=rows, block=threads_of_row(columns))


def _backward_reference(gy, y, gx):
    gx[...] = gy - np.exp(y) * gy.sum(axis=1, keepdims=True)


@jit
def _backward_cpu(gy, y, gx):
    queues = share_out(y.shape[0])
    for thread in prange(len(queues)):
        for row in tasks(queues, thread):
            gy_row, y_row, gx_row = gy[row], y[row], gx[row]
            total = sum_of(gy_row)
            for k in range(y_row.size):
                gx_row[k] = gy_row[k] - exp(y_row[k]) * total


def _backward_gpu(gy, y, gx):
    rows, columns = y.shape
    _CUDA.launch("backward", y.dtype, (gy, y, gx, columns), grid=rows, block=threads_of_row(columns))


def _backward_samples(rng, dtype):
    for x, y in rows_samples(rng, dtype):
        with np.errstate(invalid="ignore"):
            _forward_reference(x, y)
        yield rng.standard_normal(x.shape).astype(dtype), y, np.empty_like(x)


def _backward_workload(rng, dtype, part=1):
    x, y = rows_workload(rng, dtype, part)
    return rng.standard_normal(x.shape, dtype), x - np.log(np.exp(x).sum(axis=1, keepdims=True)), y


forward = Kernel(
    "log_softmax.forward",
    reference=_forward_reference,
    cpu=_forward_cpu,
    gpu=_forward_gpu,
    samples=rows_samples,
    nanoseconds=exponentials,
    workload=rows_workload,
)
backward = Kernel(
    "log_softmax.backward",
    reference=_backward_reference,
    cpu=_backward_cpu,
    gpu=_backward_gpu,
    samples=_backward_samples,
    nanoseconds=exponentials,
    workload=_backward_workload,
)
