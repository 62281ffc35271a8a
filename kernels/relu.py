"""Rectified linear unit.

    x, y    (L,)  y = max(x, 0); NaN stays NaN
    gy, gx  (L,)  gx = 0 where y <= 0, else gy (the derivative at 0 is taken as 0; a NaN passes it on)
    a, b    (L,)  add_forward: y = max(a + b, 0), the end of a residual block, in one pass; the gradient of both is gx

Flat C-contiguous arrays: any layout, seen in the order of its memory. The last argument is written.
"""

import numpy as np

from ._cuda import Source
from ._jit import jit, prange
from ._kernel import Kernel
from ._passes import TASK, over_elements
from ._queues import share_out, tasks
from ._workload import LARGE

_CUDA = Source("relu", "forward", "add_forward", "backward")


def _forward_reference(x, y):
    y[...] = np.where(x <= 0, 0, x)


_positive = over_elements("relu", 1, lambda vectors, x: vectors.where_positive(x, x))


@jit
def _forward_cpu(x, y):
    queues = share_out((y.size + TASK - 1) // TASK)
    for thread in prange(len(queues)):
        for task in tasks(queues, thread):
            _positive(y, task, (x.ctypes.data, y.ctypes.data))


def _forward_gpu(x, y):
    _CUDA.launch("forward", x.dtype, (x, y, x.size), elements=x.size)


def _add_forward_reference(a, b, y):
    total = a + b
    y[...] = np.where(total <= 0, 0, total)


def _positive_sum(vectors, a, b):
    total = vectors.builder.fadd(a, b)
    return vectors.where_positive(total, total)


_positive_total = over_elements("add_relu", 2, _positive_sum)


@jit
def _add_forward_cpu(a, b, y):
    queues = share_out((y.size + TASK - 1) // TASK)
    for thread in prange(len(queues)):
        for task in tasks(queues, thread):
            _positive_total(y, task, (a.ctypes.data, b.ctypes.data, y.ctypes.data))


def _add_forward_gpu(a, b, y):
    _CUDA.launch("add_forward", a.dtype, (a, b, y, a.size), elements=a.size)


def _backward_reference(gy, y, gx):
    gx[...] = np.where(y <= 0, 0, gy)


_passed_on = over_elements("relu_gradient", 2, lambda vectors, gy, y: vectors.where_positive(gy, y))


@jit
def _backward_cpu(gy, y, gx):
    queues = share_out((gx.size + TASK - 1) // TASK)
    for thread in prange(len(queues)):
        for task in tasks(queues, thread):
            _passed_on(gx, task, (gy.ctypes.data, y.ctypes.data, gx.ctypes.data))


def _backward_gpu(gy, y, gx):
    _CUDA.launch("backward", gy.dtype, (gy, y, gx, gy.size), elements=gy.size)


def _forward_samples(rng, dtype):
    special = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, 1e-30, -1e-30], dtype)
    for x in (special, rng.standard_normal(1003).astype(dtype), np.empty(0, dtype)):
        yield x, np.empty_like(x)


def _add_forward_samples(rng, dtype):
    for a, y in _forward_samples(rng, dtype):
        for b in (rng.standard_normal(a.size).astype(dtype), a[::-1].copy(), -a):
            yield a, b, y


def _backward_samples(rng, dtype):
    for x, y in _forward_samples(rng, dtype):
        _forward_reference(x, y)
        yield rng.standard_normal(x.size).astype(dtype), y, np.empty_like(x)


def _nanoseconds(*args):
    return args[-1].size // 4


def _forward_workload(rng, dtype, part=1):
    x = rng.standard_normal(LARGE // part, dtype)
    return x, np.empty_like(x)


def _add_forward_workload(rng, dtype, part=1):
    a, b = rng.standard_normal((2, LARGE // part), dtype)
    return a, b, np.empty_like(a)


def _backward_workload(rng, dtype, part=1):
    gy, x = rng.standard_normal((2, LARGE // part), dtype)
    return gy, np.maximum(x, 0), np.empty_like(gy)


forward = Kernel(
    "relu.forward",
    reference=_forward_reference,
    cpu=_forward_cpu,
    gpu=_forward_gpu,
    samples=_forward_samples,
    nanoseconds=_nanoseconds,
    workload=_forward_workload,
)
add_forward = Kernel(
    "relu.add_forward",
    reference=_add_forward_reference,
    cpu=_add_forward_cpu,
    gpu=_add_forward_gpu,
    samples=_add_forward_samples,
    nanoseconds=_nanoseconds,
    workload=_add_forward_workload,
)
backward = Kernel(
    "relu.backward",
    reference=_backward_reference,
    cpu=_backward_cpu,
    gpu=_backward_gpu,
    samples=_backward_samples,
    nanoseconds=_nanoseconds,
    workload=_backward_workload,
)
