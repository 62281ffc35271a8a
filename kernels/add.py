"""The sum of two arrays: what a value that is used twice receives as its gradient.

    a, b  (L,)  y = a + b
    y     (L,)  written; may be a or b

Flat C-contiguous arrays: any layout, seen in the order of its memory. NumPy adds on one core: ResNet-50's sums took a
thirtieth of its training step. CuPy adds images that are channels-last in the order of their axes, so that neighbouring
threads have elements that lie apart: on an H200 the 17 sums took a ninth of the step.
"""

import numpy as np

from ._cuda import Source
from ._jit import jit, prange
from ._kernel import Kernel
from ._passes import TASK, over_elements
from ._queues import share_out, tasks
from ._workload import LARGE

_CUDA = Source("add", "forward")


def _reference(a, b, y):
    y[...] = a + b


_total = over_elements("add", 2, lambda vectors, a, b: vectors.builder.fadd(a, b))


@jit
def _cpu(a, b, y):
    queues = share_out((y.size + TASK - 1) // TASK)
    for thread in prange(len(queues)):
        for task in tasks(queues, thread):
            _total(y, task, (a.ctypes.data, b.ctypes.data, y.ctypes.data))


def _gpu(a, b, y):
    _CUDA.launch("forward", a.dtype, (a, b, y, a.size), elements=a.size)


def _samples(rng, dtype):
    special = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, 1e-30], dtype)
    for a in (special, rng.standard_normal(1003).astype(dtype), np.empty(0, dtype)):
        yield a, a[::-1].copy(), np.empty_like(a)


def _workload(rng, dtype, part=1):
    a, b = rng.standard_normal((2, LARGE // part), dtype)
    return a, b, np.empty_like(a)


forward = Kernel(
    "add.forward", reference=_reference, cpu=_cpu, gpu=_gpu, samples=_samples, workload=_workload,
    nanoseconds=lambda a, b, y: a.size // 4,
)  # fmt: skip


@jit
def add_parts(parts, y):
    """y (L,) = the sum of parts (K, L), in order: how kernels put together what tasks of theirs summed up."""
    queues = share_out((y.size + 4095) // 4096)
    for thread in prange(len(queues)):
        for task in tasks(queues, thread):
            part_of = slice(task * 4096, min((task + 1) * 4096, y.size))
            to, first = y[part_of], parts[0][part_of]
            for k in range(to.size):
                to[k] = first[k]
            for number in range(1, len(parts)):
                more = parts[number][part_of]
                for k in range(to.size):
                    to[k] += more[k]
