"""Rows from one array to another whose rows lie elsewhere: how images are joined along their channels, and cut up.

    x  (P, C)  rows of contiguous elements, any distance apart
    y  (P, C)  likewise, written: y = x

NumPy copies rows one after the other on one core: GoogLeNet's joins took a tenth of its inference.
"""

import numpy as np

from ._jit import jit, prange
from ._kernel import COMPILED, Kernel
from ._pool import empty
from ._vector import STREAMED, copy, fence, stream
from ._workload import LARGE

_TASK = 16384  # elements
_LEAST = 65536  # bytes: less is copied before a kernel begins


def _reference(x, y):
    y[...] = x


def _cpu(x, y):
    if y.size:
        steps = x.strides[0] // x.itemsize, y.strides[0] // y.itemsize
        _copy(x[0, :1], y[0, :1], *x.shape, *steps, max(1, _TASK // x.shape[1]))


@jit
def _copy(x, y, height, width, x_step, y_step, rows):
    kind, size = x.dtype.type(0), x.itemsize
    streamed = size * height * width >= STREAMED
    for task in prange((height + rows - 1) // rows):
        for row in range(np.int64(task) * rows, min((np.int64(task) + 1) * rows, height)):
            if streamed:
                stream(kind, width, x.ctypes.data + size * row * x_step, y.ctypes.data + size * row * y_step)
            else:
                copy(kind, width, x.ctypes.data + size * row * x_step, y.ctypes.data + size * row * y_step)
        fence()


def _gpu(x, y):
    y[...] = x


def _samples(rng, dtype):
    for height, width in ((1, 1), (5, 3), (700, 37), (3, 20000), (0, 4), (6, 0)):
        wide = rng.standard_normal((height, width + 11)).astype(dtype)
        yield wide[:, 4 : 4 + width], np.empty((height, width), dtype)
        yield wide[:, :width].copy(), np.empty_like(wide)[:, 9 : 9 + width]


def _workload(rng, dtype, part=1):
    wide = rng.standard_normal((LARGE // 256 // part, 256), dtype)
    return wide[:, :96], np.empty((len(wide), 96), dtype)


forward = Kernel(
    "copy_rows.forward", reference=_reference, cpu=_cpu, gpu=_gpu, samples=_samples, workload=_workload,
    nanoseconds=lambda x, y: y.size // 4,
)  # fmt: skip


# ---- what uses it --------------------------------------------------------------------------------------------------


def contiguous(array):
    """`array` itself where it is C-contiguous and writable, else a copy.

    Writable, because numba compiles a second time for read-only arrays. CuPy's have no such flag.
    """
    if array.flags.c_contiguous and (type(array) is not np.ndarray or array.flags.writeable):
        return array
    if type(array) is not np.ndarray:
        return array.copy(order="C")
    copied = empty(array.shape, array.dtype)
    copy_into(copied, array)
    return copied


def copy_into(target, source):
    """target[...] = source, by rows where both have them."""
    if source.nbytes >= _LEAST and source.dtype == target.dtype and source.dtype in COMPILED:
        rows = _rows(source), _rows(target)
        if rows[0] is not None and rows[1] is not None:
            forward(*rows)
            return
    target[...] = source


def _rows(array):
    """The array as rows (P, C) of its last axis, a view, where such rows are contiguous and evenly apart; else None."""
    if array.ndim < 2 or not array.size or array.strides[-1] != array.itemsize:
        return None
    for stride, inner, extent in zip(array.strides[:-2], array.strides[1:-1], array.shape[1:-1], strict=True):
        if stride != inner * extent:
            return None
    return np.lib.stride_tricks.as_strided(
        array, (array.size // array.shape[-1], array.shape[-1]), array.strides[-2:], writeable=array.flags.writeable
    )
