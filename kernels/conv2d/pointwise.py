"""conv2d by 1×1 kernels: a matrix product of pixels and weights, as no pixel meets another.

The direct form works through rows of an image, and tiles of 14 pixels leave half of a row of 7 empty. A product takes
pixels of several rows and images; while one block of them meets all weights, what the next one reads is fetched.
"""

from math import prod

from .._jit import helper, jit, prange
from .._pool import empty
from .._queues import share_out, tasks
from .._tile import TALLEST
from .._vector import STREAMED, copy, fence, stream
from ..copy_rows import contiguous
from ..matmul import multiply


def fits(w, stride, padding, groups):
    return stride == (1, 1) and fits_strided(w, padding, groups)


def fits_strided(w, padding, groups):
    return w.shape[:2] == (1, 1) and padding == (0, 0) and groups == 1


def wins(w, stride, y):
    """Whether it beats the direct form forward. With a stride: where a row is less than a tile, and channels are so
    many that their copy costs little (1.05 to 1.3; else 0.8 to 1.0).
    """
    return stride == (1, 1) or y.shape[2] < TALLEST and w.shape[2] >= 256


def forward(x, w, bias, stride, relu, residual, y):
    """stride: the pixels that it meets are put together first."""
    if stride != (1, 1):
        x = contiguous(x[:, :: stride[0], :: stride[1]])
    multiply(_pixels(x), w[0], bias, _pixels(y), relu, None if residual is None else _pixels(residual))


def input_grad(start, residual, gy, w, gx):
    residual = None if residual is None else _pixels(residual)
    multiply(_pixels(gy), w[0].transpose(0, 2, 1), start, _pixels(gx), False, residual)


def input_grad_strided(start, gy, w, stride, gx):
    seen = empty((*gy.shape[:3], gx.shape[3]), gx.dtype)
    input_grad(start, None, gy, w, seen)
    _spread(seen, stride, start, gx)


def _pixels(image):
    return image.reshape(1, prod(image.shape[:3]), image.shape[3])


@jit
def _spread(seen, stride, start, gx):
    """gx = start (C,), but `seen` at the pixels that the stride meets. A task is a row of gx."""
    n, h, w, c = gx.shape
    _, oh, ow, _ = seen.shape
    queues = share_out(n * h)
    for thread in prange(len(queues)):
        for task in tasks(queues, thread):
            image, row = task // h, task % h
            i = row // stride[0] if row % stride[0] == 0 else oh
            source = seen.ctypes.data + gx.itemsize * (image * oh + i) * ow * c
            at = gx.ctypes.data + gx.itemsize * task * w * c
            _spread_row(gx.dtype.type(0), gx.itemsize, source, ow if i < oh else 0, stride[1], start.ctypes.data, c, at,
                        w, gx.itemsize * gx.size >= STREAMED)  # fmt: skip


@helper
def _spread_row(kind, size, seen, count, stride, start, c, gx, w, streamed):
    """A row of gx, from `count` pixels of seen; addresses."""
    for j in range(w):
        source = seen + size * (j // stride) * c if j % stride == 0 and j // stride < count else start
        if streamed:
            stream(kind, c, source, gx + size * j * c)
        else:
            copy(kind, c, source, gx + size * j * c)
    fence()
