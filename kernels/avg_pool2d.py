"""Average pooling over channels-last images.

    x      (N, H, W, C)    input
    y      (N, OH, OW, C)  written: the sum of each window, divided
    gy     (N, OH, OW, C)  gradient of y
    gx     (N, H, W, C)    written: gradient of x

kernel_size, stride and padding are pairs (rows, columns). The border of zeros is at most half a window. With ceil_mode
the last window may reach over the border's edge; what lies beyond counts nowhere. The divisor is `divisor` where that
is not 0; else the number of pixels of the window, with (count_include_pad) or without those of the border.
"""

import numpy as np

from . import _windows
from ._cuda import Source
from ._kernel import Kernel

_CUDA = Source("avg_pool2d", "forward", "backward<T, 1>", "backward<T, 4>")

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


def _table(count, size, k, s, p, count_include_pad):
    """The windows along one axis, as _windows.py takes them."""
    start = np.arange(count, dtype=np.int64) * s - p
    end = np.minimum(start + k, size + p)
    inside = np.maximum(start, 0), np.minimum(end, size)
    return np.stack([*inside, end - start if count_include_pad else inside[1] - inside[0]])


def _tables(size, out, kernel_size, stride, padding, count_include_pad, divisor):
    axes = zip(out, size, kernel_size, stride, padding, strict=True)
    rows, columns = (_table(*axis, count_include_pad) for axis in axes)
    if divisor:
        rows[2], columns[2] = divisor, 1
    return rows, columns


def _forward_cpu(x, kernel_size, stride, padding, count_include_pad, divisor, y):
    _windows.means(x, *_tables(x.shape[1:3], y.shape[1:3], kernel_size, stride, padding, count_include_pad, divisor), y)


def _forward_gpu(x, kernel_size, stride, padding, count_include_pad, divisor, y):
    sizes = *x.shape[1:], *y.shape[1:3], *kernel_size, *stride, *padding, bool(count_include_pad), divisor
    _CUDA.launch("forward", x.dtype, (x, y, y.size, *sizes), threads=y.size)


# ---- backward ------------------------------------------------------------------------------------------------------


def _backward_reference(gy, kernel_size, stride, padding, count_include_pad, divisor, gx):
    gx[...] = 0
    for i, j in np.ndindex(gy.shape[1:3]):
        rows, columns, count = _window(i, j, gx.shape[1:3], kernel_size, stride, padding, count_include_pad, divisor)
        gx[:, rows, columns] += gy[:, i : i + 1, j : j + 1] / count


def _backward_cpu(gy, kernel_size, stride, padding, count_include_pad, divisor, gx):
    tables = _tables(gx.shape[1:3], gy.shape[1:3], kernel_size, stride, padding, count_include_pad, divisor)
    _windows.spread(gy, *tables, gx)


def _backward_gpu(gy, kernel_size, stride, padding, count_include_pad, divisor, gx):
    sizes = *gx.shape[1:], *gy.shape[1:3], *kernel_size, *stride, *padding, bool(count_include_pad), divisor
    _CUDA.launch_rows("backward", gx, (gy, gx, *sizes))


# ---- samples and registration --------------------------------------------------------------------------------------

# (N, H, W, C, kernel_size, stride, padding, OH, OW)
_CASES = [
    (2, 6, 8, 3, (2, 2), (2, 2), (0, 0), 3, 4),
    (2, 7, 9, 5, (3, 3), (2, 2), (1, 1), 4, 5),  # overlapping
    (1, 8, 11, 17, (3, 2), (2, 3), (1, 0), 5, 4),  # ceil_mode: windows over the edge
    (1, 9, 10, 2, (2, 5), (1, 2), (0, 2), 8, 5),
    (2, 9, 8, 33, (2, 1), (4, 3), (0, 0), 2, 3),  # pixels between the windows
    (1, 40, 30, 4, (40, 30), (1, 1), (0, 0), 1, 1),
    (2, 7, 6, 12, (3, 2), (2, 2), (1, 0), 4, 3),  # channels in fours
    (2, 5, 6, 70, (3, 2), (1, 2), (1, 0), 5, 3),  # groups of vectors of channels, and a rest
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
    gpu=_forward_gpu,
    samples=_forward_samples,
    nanoseconds=lambda x, *rest: x.size // 3,
    workload=_forward_workload,
)
backward = Kernel(
    "avg_pool2d.backward",
    reference=_backward_reference,
    cpu=_backward_cpu,
    gpu=_backward_gpu,
    samples=_backward_samples,
    nanoseconds=lambda *args: args[-1].size // 2,
    workload=_backward_workload,
)
