"""Linear recurrence of first order along rows: what the derivatives of a running product consist of, at any order.

    a, b, y  (M, N)  C-contiguous; y[0] = b[0], y[n] = a[n] * y[n-1] + b[n]; a[0] plays no part

The last argument is written.
"""

import numpy as np

from ._cuda import Source
from ._jit import jit, prange
from ._kernel import Kernel
from ._queues import share_out, tasks

_CUDA = Source("scan", "recurrence")


def _recurrence_reference(a, b, y):
    y[...] = b
    for n in range(1, y.shape[1]):
        y[:, n] += a[:, n] * y[:, n - 1]


@jit
def _recurrence_cpu(a, b, y):
    queues = share_out(y.shape[0])
    for thread in prange(len(queues)):
        for row in tasks(queues, thread):
            for n in range(y.shape[1]):
                y[row, n] = b[row, n]
                if n > 0:
                    y[row, n] += a[row, n] * y[row, n - 1]


def _recurrence_gpu(a, b, y):
    _CUDA.launch("recurrence", y.dtype, (a, b, y, *y.shape), threads=len(y))


def _samples(rng, dtype):
    for shape in ((1, 1), (5, 7), (1, 30), (20, 2), (0, 3), (3, 0)):
        a, b = (rng.standard_normal(shape).astype(dtype) for _ in range(2))
        yield a, b, np.empty_like(b)
    special = np.array([[1, np.nan, 2, 0], [np.nan, 0, 1, 2], [np.inf, np.inf, 0, 1]], dtype)
    yield special, np.ones_like(special), np.empty_like(special)


def _workload(rng, dtype, part=1):
    a, b = rng.standard_normal((2, 32768 // part, 256), dtype)
    return a / 4, b, np.empty_like(b)


recurrence = Kernel(
    "scan.recurrence",
    reference=_recurrence_reference,
    cpu=_recurrence_cpu,
    gpu=_recurrence_gpu,
    samples=_samples,
    workload=_workload,
)
