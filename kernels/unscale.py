"""Gradients of a loss that was multiplied: divided again, and looked through for infinities and NaN, in one pass.

    x       (L,)  a gradient
    y       (L,)  written: x * factor; may be x itself
    faults  (ceil(L / PIECE),)  written, int32: of each PIECE elements of y, how many are infinite or NaN

Flat C-contiguous arrays: any layout, seen in the order of memory. On a GPU x and y may be lists of arrays, which one
launch changes; `faults` has the pieces of all of them, one array's after the other's: see `pieces`.
Micikevicius et al. 2018, section 3.2.
"""

import numpy as np

from ._cuda import PIECE, Source
from ._jit import helper, jit, prange
from ._kernel import Kernel
from ._layout import ceil_div
from ._queues import share_out, tasks
from ._workload import LARGE

_CUDA = Source("unscale", "forward")


def pieces(*sizes):
    """How many elements `faults` has for arrays of these sizes."""
    return sum(ceil_div(size, PIECE) for size in sizes)


def _reference(x, factor, y, faults):
    y[...] = x * x.dtype.type(factor)
    for piece in range(faults.size):
        faults[piece] = np.count_nonzero(~np.isfinite(y[piece * PIECE : (piece + 1) * PIECE]))


@jit
def _cpu(x, factor, y, faults):
    scale = x.dtype.type(factor)
    queues = share_out(faults.size)
    for thread in prange(len(queues)):
        for piece in tasks(queues, thread):
            part = slice(piece * PIECE, min((piece + 1) * PIECE, x.size))
            faults[piece] = _multiply(x[part], scale, y[part])


@helper
def _multiply(x, scale, y):
    faults = 0
    for i in range(x.size):
        y[i] = x[i] * scale
        faults += 0 if np.isfinite(y[i]) else 1
    return faults


def _gpu(x, factor, y, faults):
    x, y = (a if isinstance(a, list) else [a] for a in (x, y))
    _CUDA.launch_many("forward", x[0].dtype, (x, float(factor), y, faults), [a.size for a in x])


def _samples(rng, dtype):
    for size in (1, 1003, 0, 2 * PIECE, 5 * PIECE + 7):
        x = rng.standard_normal(size).astype(dtype)
        yield x, 0.3, np.empty_like(x), np.empty(pieces(size), np.int32)
    x[[3, PIECE, PIECE + 1, -1]] = np.nan, np.inf, -np.inf, np.inf
    yield x, 0.3, np.empty_like(x), np.empty(pieces(size), np.int32)


def _workload(rng, dtype, part=1):
    x = rng.standard_normal(LARGE // part, dtype)
    return x, 2.0**-16, np.empty_like(x), np.empty(pieces(x.size), np.int32)


forward = Kernel(
    "unscale.forward",
    reference=_reference,
    cpu=_cpu,
    gpu=_gpu,
    samples=_samples,
    nanoseconds=lambda x, *rest: x.size // 4,
    outputs=2,
    workload=_workload,
)
