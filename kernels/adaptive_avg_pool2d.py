"""Average pooling of channels-last images of any size to an output of a given size.

    x   (N, H, W, C)    input
    y   (N, OH, OW, C)  written: the mean of each window
    gy  (N, OH, OW, C)  gradient of y
    gx  (N, H, W, C)    written: gradient of x

Output row i averages the input's rows from floor(i * H / OH) to ceil((i + 1) * H / OH), exclusive; so do columns. The
windows cover the image, overlap by a pixel where the division has a remainder, and repeat pixels where OH > H.
"""

import numpy as np

from . import _windows
from ._cuda import Source
from ._kernel import Kernel

_CUDA = Source("adaptive_avg_pool2d", "forward", "backward<T, 1>", "backward<T, 4>")

# ---- forward -------------------------------------------------------------------------------------------------------


def _window(i, j, size, output_size):
    """The rows and columns of window (i, j): from its start, rounded down, to its end, rounded up."""
    return [
        slice(at * n // count, -(-(at + 1) * n // count))
        for at, n, count in zip((i, j), size, output_size, strict=True)
    ]


def _forward_reference(x, y):
    for i, j in np.ndindex(y.shape[1:3]):
        rows, columns = _window(i, j, x.shape[1:3], y.shape[1:3])
        y[:, i, j] = x[:, rows, columns].mean(axis=(1, 2))


def _table(count, size):
    """The windows along one axis, as _windows.py takes them."""
    at = np.arange(count, dtype=np.int64)
    start, end = at * size // count, ((at + 1) * size + count - 1) // count
    return np.stack([start, end, end - start])


def _forward_cpu(x, y):
    _windows.means(x, *map(_table, y.shape[1:3], x.shape[1:3]), y)


def _forward_gpu(x, y):
    _CUDA.launch("forward", x.dtype, (x, y, y.size, *_sizes(x, y)), threads=y.size)


def _sizes(x, y):
    """What a kernel is told of both.

    Raises:
        ValueError: axes whose product does not fit in an int, in which the kernel computes it.
    """
    for size, count in zip(x.shape[1:3], y.shape[1:3], strict=True):
        if (size + 1) * (count + 1) >= 2**31:
            raise ValueError(
                f"adaptive_avg_pool2d: {size} pixels to {count}: on a GPU their product must be below {2**31}"
            )
    return *x.shape[1:], *y.shape[1:3]


# ---- backward ------------------------------------------------------------------------------------------------------


def _backward_reference(gy, gx):
    gx[...] = 0
    for i, j in np.ndindex(gy.shape[1:3]):
        window = (slice(None), *_window(i, j, gx.shape[1:3], gy.shape[1:3]))
        count = gx[window].shape[1] * gx[window].shape[2]
        gx[window] += gy[:, i : i + 1, j : j + 1] / count


def _backward_cpu(gy, gx):
    _windows.spread(gy, *map(_table, gy.shape[1:3], gx.shape[1:3]), gx)


def _backward_gpu(gy, gx):
    _CUDA.launch_rows("backward", gx, (gy, gx, *_sizes(gx, gy)))


# ---- samples and registration --------------------------------------------------------------------------------------

# (N, H, W, C, OH, OW)
_CASES = [
    (2, 6, 8, 3, 3, 4),
    (2, 7, 9, 5, 3, 4),  # overlapping
    (1, 13, 6, 17, 6, 6),
    (2, 3, 2, 33, 5, 7),  # more windows than pixels
    (1, 40, 30, 4, 1, 1),
    (2, 7, 9, 8, 3, 4),  # channels in fours
    (1, 4, 5, 2, 0, 3),
    (0, 4, 6, 3, 2, 3),
]


def _forward_samples(rng, dtype):
    for n, h, w, c, oh, ow in _CASES:
        x = rng.standard_normal((n, h, w, c)).astype(dtype)
        special = np.where(rng.random(x.shape) < 0.1, rng.choice([np.nan, np.inf, -np.inf], x.shape), x).astype(dtype)
        for image in (x, special):
            yield image, np.empty((n, oh, ow, c), dtype)


def _backward_samples(rng, dtype):
    for x, y in _forward_samples(rng, dtype):
        yield rng.standard_normal(y.shape).astype(dtype), np.empty_like(x)


def _forward_workload(rng, dtype, part=1):
    x = rng.standard_normal((max(1, 16 // part), 112, 112, 64), dtype)
    return x, np.empty((len(x), 7, 7, 64), dtype)


def _backward_workload(rng, dtype, part=1):
    x, y = _forward_workload(rng, dtype, part)
    return rng.standard_normal(y.shape, dtype), x


forward = Kernel(
    "adaptive_avg_pool2d.forward",
    reference=_forward_reference,
    cpu=_forward_cpu,
    gpu=_forward_gpu,
    samples=_forward_samples,
    nanoseconds=lambda x, y: max(x.size // 3, y.size),
    workload=_forward_workload,
)
backward = Kernel(
    "adaptive_avg_pool2d.backward",
    reference=_backward_reference,
    cpu=_backward_cpu,
    gpu=_backward_gpu,
    samples=_backward_samples,
    nanoseconds=lambda gy, gx: max(gy.size, gx.size // 2),
    workload=_backward_workload,
)
