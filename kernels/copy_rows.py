"""Rows from one array to another whose rows lie elsewhere: how images are joined along their channels, and cut up.

    x  (B, P, C)  rows of contiguous elements, P of them and B times as many evenly apart, or the same row again (0);
                  or columns of contiguous elements: images with channels first are (N, C, H * W)
    y  (B, P, C)  rows, as of x, written: y = x

With two distances a row may also be every second pixel of every second row of an image. NumPy copies rows one after the
other on one core: GoogLeNet's joins took a tenth of its inference. Columns it copies element by element: 16 photographs
with channels first took 8.3 ms to lay out for a net's first layer, and take 2.5.
"""

import numpy as np

from ._cuda import Source
from ._jit import jit, prange
from ._kernel import COMPILED, Kernel
from ._layout import memory_order, span
from ._pool import empty
from ._queues import share_out, tasks
from ._vector import LINE, STREAMED, copy, fence, prefetch, stream, transpose
from ._workload import LARGE

_CUDA = Source("copy_rows", "forward<T, T>", "forward<T, float4>")

_UNIT = 16  # bytes that a thread of a GPU copies at a time, where all is made of such
_TASK = 16384  # elements
_AHEAD = 8192  # bytes that are copied before what is fetched
_LEAST = 65536  # bytes: less is copied before a kernel begins


def _reference(x, y):
    y[...] = x


def _cpu(x, y):
    if not y.size:
        return
    by_columns = x.shape[2] > 1 and x.strides[2] != x.itemsize
    steps = [stride // y.itemsize for stride in (*x.strides[:: 2 if by_columns else 1][:2], *y.strides[:2])]
    rows = max(1, _TASK // y.shape[2])
    arguments = y.dtype.type(0), x.ctypes.data, y.ctypes.data, y.itemsize, *y.shape, *steps
    if by_columns:
        _transpose(*arguments, rows)
    else:
        _copy(*arguments, rows)


@jit
def _copy(kind, x, y, size, blocks, height, width, x_block, x_step, y_block, y_step, rows):
    """x, y: addresses, so that read-only arrays are no type of their own."""
    streamed = size * blocks * height * width >= STREAMED
    # Pieces of rows that lie apart the hardware does not foresee: GoogLeNet's splits take 0.6 to 0.9 of the time.
    apart = size * width if x_step > width else 0
    ahead = size * x_step * max(1, _AHEAD // max(1, size * width))
    queues = share_out((blocks * height + rows - 1) // rows)
    for thread in prange(len(queues)):
        for task in tasks(queues, thread):
            first = task * rows
            block, row = first // height, first % height
            for _ in range(first, min(first + rows, blocks * height)):
                source = x + size * (block * x_block + row * x_step)
                target = y + size * (block * y_block + row * y_step)
                for at in range(0, apart, LINE):
                    prefetch(source + ahead + at)
                if streamed:
                    stream(kind, width, source, target)
                else:
                    copy(kind, width, source, target)
                row += 1
                if row == height:
                    block, row = block + 1, 0
            fence()


@jit
def _transpose(kind, x, y, size, blocks, height, width, x_block, x_column, y_block, y_step, rows):
    parts = (height + rows - 1) // rows
    queues = share_out(blocks * parts)
    for thread in prange(len(queues)):
        for task in tasks(queues, thread):
            block, first = task // parts, task % parts * rows
            source, target = x + size * (block * x_block + first), y + size * (block * y_block + first * y_step)
            transpose(kind, min(rows, height - first), width, source, x_column, target, y_step)


def _gpu(x, y):
    if not y.size:
        return
    if y.shape[2] > 1 and x.strides[2] != x.itemsize:
        y[...] = x  # CuPy's
        return
    blocks, height, width = y.shape
    steps = [s // y.itemsize if n > 1 else 0 for a in (x, y) for s, n in zip(a.strides[:2], y.shape[:2], strict=True)]
    if min(steps) < 0:
        y[...] = x  # CuPy's
        return
    per_unit = _UNIT // y.itemsize
    whole = all(n % per_unit == 0 for n in (width, *steps)) and all(a.data.ptr % _UNIT == 0 for a in (x, y))
    unit, n = ("float4", per_unit) if whole else ("T", 1)
    count, sizes = blocks * height * width // n, (height, width // n, *(step // n for step in steps))
    _CUDA.launch(f"forward<T, {unit}>", y.dtype, (span(x), span(y), count, *sizes), elements=count)


def _samples(rng, dtype):
    for height, width in ((1, 1), (5, 3), (700, 37), (3, 20000), (0, 4), (6, 0)):
        wide = rng.standard_normal((1, height, width + 11)).astype(dtype)
        yield wide[:, :, 4 : 4 + width], np.empty((1, height, width), dtype)
        yield wide[:, :, :width].copy(), np.empty_like(wide)[:, :, 9 : 9 + width]
    wide = rng.standard_normal((2, 7, 40)).astype(dtype)  # in sixteens of bytes
    yield wide[:, :, 8:24], np.empty((2, 7, 24), dtype)[:, :, 8:]
    yield wide[:, ::-1, 8:24], np.empty((2, 7, 16), dtype)
    pixels = rng.standard_normal((6, 9, 5)).astype(dtype)
    yield pixels[::2, ::3], np.empty((3, 3, 5), dtype)
    yield pixels.copy(), np.empty((12, 10, 6), dtype)[::2, 1:, 1:]
    for shape in ((3, 5, 7), (2, 3, 5000), (2, 25, 16), (1, 40, 33), (3, 1, 4), (3, 2, 1), (0, 2, 3)):
        yield rng.standard_normal(shape).astype(dtype).transpose(0, 2, 1), np.empty((shape[0], *shape[:0:-1]), dtype)
    some = rng.standard_normal((4, 30, 50)).astype(dtype)[::2, 3:21, 9:].transpose(0, 2, 1)
    yield some, np.empty((2, 90, 20), dtype)[:, ::2, :18][:, :41]


def _joined(rng, dtype, part=1):
    wide = rng.standard_normal((1, LARGE // 256 // part, 256), dtype)
    return wide[:, :, :96], np.empty((1, wide.shape[1], 96), dtype)


def _channels_last(rng, dtype, part=1):
    images = rng.standard_normal((LARGE // (3 * 224**2) // part + 1, 3, 224**2), dtype).transpose(0, 2, 1)
    return images, np.empty(images.shape, dtype)


forward = Kernel(
    "copy_rows.forward", reference=_reference, cpu=_cpu, gpu=_gpu, samples=_samples,
    workload={"rows": _joined, "channels-first photographs": _channels_last},
    nanoseconds=lambda x, y: y.size // 4,
)  # fmt: skip


# ---- what uses it --------------------------------------------------------------------------------------------------


def is_contiguous(array):
    """Whether it is C-contiguous and writable: numba compiles a second time for read-only arrays. CuPy has no such."""
    flags = array.flags
    return flags.c_contiguous and (type(array) is not np.ndarray or flags.writeable)


def contiguous(array):
    """`array` itself where it is C-contiguous and writable, else a copy."""
    if is_contiguous(array):
        return array
    copied = empty(array.shape, array.dtype, array)
    copy_into(copied, array)
    return copied


def reshaped(array, shape):
    """array.reshape(shape): a view where there is one. Of a large array a kernel makes the copy."""
    if type(array) is not np.ndarray or array.nbytes < _LEAST or array.flags.c_contiguous:
        return array.reshape(shape)
    try:
        return array.reshape(shape, copy=False)
    except ValueError:  # the elements lie in another order, unless they are too many or too few
        return contiguous(array).reshape(shape)


def full(shape, value, dtype, like, strides=None):
    """np.full(shape, value, dtype), made as by empty, its axes in memory in the order of these strides.

    (np.full with `like=` hands CuPy an argument that it lacks.)
    """
    order = sorted(range(len(shape)), key=lambda axis: -abs(strides[axis])) if strides else range(len(shape))
    array = empty([shape[axis] for axis in order], dtype, like)
    if array.nbytes >= _LEAST and isinstance(array, np.ndarray):
        copy_into(array, np.broadcast_to(np.full(array.shape[-1], value, array.dtype), array.shape))
    else:
        array.fill(value)
    return array.transpose(np.argsort(order).tolist()) if strides else array


def copy_into(target, source):
    """target[...] = source, arrays of one shape; by a kernel where both have rows, or the source has columns."""
    has_kernel = source.dtype in COMPILED or (source.dtype == np.float16 and type(source) is not np.ndarray)
    if source.nbytes >= _LEAST and source.dtype == target.dtype and has_kernel:
        rows = _rows(source, target)
        if rows is not None:
            forward(*rows)
            return
    target[...] = source


def _rows(source, target):
    """Both as (B, P, C), views, where such rows of the target, and of the source rows or columns, are contiguous and
    evenly apart; else None.
    """
    order = memory_order(target)
    axes = [axis for axis in order if target.shape[axis] > 1]
    steps = source.strides, target.strides
    if not axes or target.strides[axes[-1]] != target.itemsize:
        return None
    shape, strides = [], [[], []]
    for axis in axes:
        extent = target.shape[axis]
        if shape and all(s[-1] == step[axis] * extent for s, step in zip(strides, steps, strict=True)):
            shape[-1] *= extent
            for s, step in zip(strides, steps, strict=True):
                s[-1] = step[axis]
        else:
            shape.append(extent)
            for s, step in zip(strides, steps, strict=True):
                s.append(step[axis])
    if len(shape) > 3 or target.itemsize not in strides[0][-2:]:
        return None
    shape = [1] * (3 - len(shape)) + shape
    return [a.transpose(order).reshape(shape) for a in (source, target)]  # views, as such axes join without a copy
