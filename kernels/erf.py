"""Error function: the chance that a normal variable of variance 1/2 lies between -x and x, and its complement.

    x, y  (L,)  forward:     y = erf(x) = 2 / sqrt(pi) * integral of exp(-t^2) over t from 0 to x
                complement:  y = erfc(x) = 1 - erf(x), with all its digits where it is small

Flat C-contiguous arrays: any layout, seen in the order of its memory. The last argument is written. NumPy has no such
function, so the reference calls Python's one element after the other.
"""

import math

import numpy as np

from ._cuda import Source
from ._jit import jit, prange
from ._kernel import Kernel
from ._queues import share_out, tasks
from ._workload import LARGE

_CHUNK = 1024
_CUDA = Source("erf", "forward", "complement")


def _forward_reference(x, y):
    y[...] = [math.erf(element) for element in x]


@jit
def _forward_cpu(x, y):
    queues = share_out((x.size + _CHUNK - 1) // _CHUNK)
    for thread in prange(len(queues)):
        for task in tasks(queues, thread):
            part = slice(task * _CHUNK, min((task + 1) * _CHUNK, x.size))
            x_part, y_part = x[part], y[part]
            for i in range(x_part.size):
                y_part[i] = math.erf(x_part[i])


def _forward_gpu(x, y):
    _CUDA.launch("forward", x.dtype, (x, y, x.size), elements=x.size)


def _complement_reference(x, y):
    y[...] = [math.erfc(element) for element in x]


@jit
def _complement_cpu(x, y):
    queues = share_out((x.size + _CHUNK - 1) // _CHUNK)
    for thread in prange(len(queues)):
        for task in tasks(queues, thread):
            part = slice(task * _CHUNK, min((task + 1) * _CHUNK, x.size))
            x_part, y_part = x[part], y[part]
            for i in range(x_part.size):
                y_part[i] = math.erfc(x_part[i])


def _complement_gpu(x, y):
    _CUDA.launch("complement", x.dtype, (x, y, x.size), elements=x.size)


def _samples(rng, dtype):
    special = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, 1e-30, 6.0, -6.0, 30.0], dtype)
    for x in (special, (3 * rng.standard_normal(1003)).astype(dtype), np.empty(0, dtype)):
        yield x, np.empty_like(x)


def _nanoseconds(*args):
    return 10 * args[-1].size


def _workload(rng, dtype, part=1):
    x = rng.standard_normal(LARGE // part, dtype)
    return x, np.empty_like(x)


forward = Kernel(
    "erf.forward",
    reference=_forward_reference,
    cpu=_forward_cpu,
    gpu=_forward_gpu,
    samples=_samples,
    nanoseconds=_nanoseconds,
    workload=_workload,
)
complement = Kernel(
    "erf.complement",
    reference=_complement_reference,
    cpu=_complement_cpu,
    gpu=_complement_gpu,
    samples=_samples,
    nanoseconds=_nanoseconds,
    workload=_workload,
)
