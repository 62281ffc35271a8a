"""Average pooling over channels-last images.

    x      (N, H, W, C)    input
    y      (N, OH, OW, C)  written: the sum of each window, divided
    gy     (N, OH, OW, C)  gradient of y
    gx     (N, H, W, C)    written: gradient of x

kernel_size, stride and padding are pairs (rows, columns). The border of zeros is at most half a window. With ceil_mode
the last window may reach over the border's edge; what lies beyond counts nowhere. The divisor is `divisor` where that
is not 0; else the number of pixels of the window, with (count_include_pad) or without those of the border.
"""

import numba
import numpy as np

from ._jit import helper, jit, prange
from ._kernel import Kernel
from ._windows import mean_row, spread_row

# ---- forward -------------------------------------------------------------------------------------------------------


def _window(i, j, size, kernel_size, stride, padding, count_include_pad, divisor):
    """The rows and columns of the image in window (i, j), and what its sum is divided by."""
    inside, bordered = [], []
    for at, n, k, s, p in zip((i, j), size, kernel_size, stride, padding, strict=True):
        start, end = at * s - p, min(at * s - p + k, n + p)
        inside.append(slice(max(start, 0), min(end, n)))
        bordered.append(end - start)
    rows, columns = inside
    if not divisor:
        divisor = bordered[0] * bordered[1]
        if not count_include_pad:
            divisor = (rows.stop - rows.start) * (columns.stop - columns.start)
    return rows, columns, divisor


def _forward_reference(x, kernel_size, stride, padding, count_include_pad, divisor, y):
    for i, j in np.ndindex(y.shape[1:3]):
        rows, columns, count = _window(i, j, x.shape[1:3], kernel_size, stride, padding, count_include_pad, divisor)
        y[:, i, j] = x[:, rows, columns].sum(axis=(1, 2)) / count


@helper
def _table(count, size, k, s, p, count_include_pad, divisor):
    """The windows along one axis, as _windows.py takes them."""
    table = np.empty((3, count), np.int64)
    for at in range(count):
        start, end = at * s - p, min(at * s - p + k, size + p)
        table[0, at], table[1, at] = max(start, 0), min(end, size)
        table[2, at] = end - start if count_include_pad else table[1, at] - table[0, at]
        if divisor:
            table[2, at] = divisor
    return table


@jit
def _forward_cpu(x, kernel_size, stride, padding, count_include_pad, divisor, y):
    n, oh, ow, _ = y.shape
    _, h, w, channels = x.shape
    rows = _table(oh, h, kernel_size[0], stride[0], padding[0], count_include_pad, divisor)
    columns = _table(ow, w, kernel_size[1], stride[1], padding[1], count_include_pad, np.int64(divisor != 0))
    sums = np.empty((numba.get_num_threads(), w * channels), x.dtype)
    for task in prange(n * oh):
        image, i = np.int64(task) // oh, np.int64(task) % oh
        mean_row(x[image], rows[0, i], rows[1, i], rows[2, i], columns, sums[numba.get_thread_id()], y[image, i])


# ---- backward ------------------------------------------------------------------------------------------------------


def _backward_reference(gy, kernel_size, stride, padding, count_include_pad, divisor, gx):
    gx[...] = 0
    for i, j in np.ndindex(gy.shape[1:3]):
        rows, columns, count = _window(i, j, gx.shape[1:3], kernel_size, stride, padding, count_include_pad, divisor)
        gx[:, rows, columns] += gy[:, i : i + 1, j : j + 1] / count


@jit
def _backward_cpu(gy, kernel_size, stride, padding, count_include_pad, divisor, gx):
    _, oh, ow, channels = gy.shape
    n, h, w, _ = gx.shape
    rows = _table(oh, h, kernel_size[0], stride[0], padding[0], count_include_pad, divisor)
    columns = _table(ow, w, kernel_size[1], stride[1], padding[1], count_include_pad, np.int64(divisor != 0))
    sums = np.empty((numba.get_num_threads(), ow * channels), gy.dtype)
    for task in prange(n * h):
        image, r = np.int64(task) // h, np.int64(task) % h
        spread_row(gy[image], r, rows, columns, sums[numba.get_thread_id()], gx[image, r])


# ---- samples and registration --------------------------------------------------------------------------------------

# (N, H, W, C, kernel_size, stride, padding, OH, OW)
_CASES = [
    (2, 6, 8, 3, (2, 2), (2, 2), (0, 0), 3, 4),
    (2, 7, 9, 5, (3, 3), (2, 2), (1, 1), 4, 5),  # overlapping
    (1, 8, 11, 17, (3, 2), (2, 3), (1, 0), 5, 4),  # ceil_mode: windows over the edge
    (1, 9, 10, 2, (2, 5), (1, 2), (0, 2), 8, 5),
    (2, 9, 8, 33, (2, 1), (4, 3), (0, 0), 2, 3),  # pixels between the windows
    (1, 40, 30, 4, (40, 30), (1, 1), (0, 0), 1, 1),
    (0, 4, 6, 3, (2, 2), (2, 2), (0, 0), 2, 3),
]


def _forward_samples(rng, dtype):
    for n, h, w, c, kernel_size, stride, padding, oh, ow in _CASES:
        x = rng.standard_normal((n, h, w, c)).astype(dtype)
        special = np.where(rng.random(x.shape) < 0.1, rng.choice([np.nan, np.inf, -np.inf], x.shape), x).astype(dtype)
        for image in (x, special):
            for counting in ((True, 0), (False, 0), (True, 7)):
                yield image, kernel_size, stride, padding, *counting, np.empty((n, oh, ow, c), dtype)


def _backward_samples(rng, dtype):
    for x, *geometry, y in _forward_samples(rng, dtype):
        yield rng.standard_normal(y.shape).astype(dtype), *geometry, np.empty_like(x)


def _forward_workload(rng, dtype, part=1):
    x = rng.standard_normal((max(1, 16 // part), 112, 112, 64), dtype)
    return x, (2, 2), (2, 2), (0, 0), True, 0, np.empty((len(x), 56, 56, 64), dtype)


def _backward_workload(rng, dtype, part=1):
    x, *geometry, y = _forward_workload(rng, dtype, part)
    return rng.standard_normal(y.shape, dtype), *geometry, x


forward = Kernel(
    "avg_pool2d.forward",
    reference=_forward_reference,
    cpu=_forward_cpu,
    samples=_forward_samples,
    nanoseconds=lambda x, *rest: x.size // 3,
    workload=_forward_workload,
)
backward = Kernel(
    "avg_pool2d.backward",
    reference=_backward_reference,
    cpu=_backward_cpu,
    samples=_backward_samples,
    nanoseconds=lambda *args: args[-1].size // 2,
    workload=_backward_workload,
)
