"""The input's gradient by products first, then each to the pixel it belongs to.

Every output pixel's gradient times the whole kernel is one row of a matrix product, (pixels, O) by (O, KH*KW*C). Its
columns fill the vectors although C may not, and its rows the tiles although the image's may not. Each row is then added
to the window it came from. An image is one task, so each pixel has one writer and one order of summing. LeNet's C3 (6
channels, batch 256) takes 0.75 ms this way and 2.0 the direct way.
"""

import numba
import numpy as np

from .._jit import helper, jit, prange
from .._layout import ceil_div
from .._queues import share_out, tasks
from .._threads import MOST_THREADS
from .._tile import TALLEST, tile, tile_width
from .._vector import add
from ..matmul import pack

_SCRATCH_BYTES = 128 * 1024  # of products per thread: inside the L2 cache
_FEWEST_PIXELS = 4 * TALLEST  # at a time: they share one reading of the weights


def fits(gy, w, stride, groups):
    """Whether it beats the direct form: for few channels, and for a stride where rows of gy are shorter than a tile."""
    kh, kw, c, _ = w.shape
    few = c <= tile_width(w.dtype) // 4
    short = max(stride) > 1 and kh * kw > 1 and gy.shape[2] < TALLEST
    return groups == 1 and c > 0 and (few or short)


def input_grad(start, gy, w, stride, padding, dilation, gx):
    kh, kw, c, o = w.shape
    columns, width = kh * kw * c, tile_width(gx.dtype)
    panels = np.empty((1, ceil_div(columns, width), o, width), gx.dtype)
    pack(w.reshape(1, columns, o).transpose(0, 2, 1), panels)
    rows = max(_SCRATCH_BYTES // (gy.shape[2] * columns * gx.itemsize), ceil_div(_FEWEST_PIXELS, gy.shape[2]))
    rows = min(rows, gy.shape[1])
    scratch = np.empty((MOST_THREADS, rows * gy.shape[2] * columns), gx.dtype)
    zeros = np.zeros(width, gx.dtype)
    window = kh, kw, c
    _scatter(start, gy, panels.reshape(-1), window, width, stride, padding, dilation, gx, rows, scratch, zeros)


@jit
def _scatter(start, gy, panels, window, width, stride, padding, dilation, gx, rows, scratch, zeros):
    queues = share_out(gy.shape[0])
    for thread in prange(len(queues)):
        for n in tasks(queues, thread):
            products = scratch[numba.get_thread_id()]
            pixels = gx[n].reshape(-1, start.size)
            for pixel in range(len(pixels)):
                for c in range(start.size):  # gx[n] = start has numba compile the text of its error for 3 seconds
                    pixels[pixel, c] = start[c]
            for top in range(0, gy.shape[1], rows):
                bottom = min(top + rows, gy.shape[1])
                _multiply(gy[n, top:bottom], panels, window, width, products, zeros)
                for i in range(top, bottom):
                    _add_row(products, i, top, gy.shape[2], window, stride, padding, dilation, gx[n])


@helper
def _multiply(gy, panels, window, width, products, zeros):
    """products (pixels, KH*KW*C) = gy (pixels, O) @ the kernel (O, KH*KW*C)."""
    pixels, o, columns = gy.shape[0] * gy.shape[1], gy.shape[2], window[0] * window[1] * window[2]
    kind, size = gy.dtype.type(0), gy.itemsize
    for first in range(0, columns, width):
        tile(kind, pixels, min(width, columns - first), gy.ctypes.data, o, 0, 1, panels.ctypes.data + size * first * o,
             0, width, 1, o, zeros.ctypes.data, 0, products.ctypes.data + size * first, columns, 0)  # fmt: skip


@helper
def _add_row(products, i, top, ow, window, stride, padding, dilation, gx):
    """Add the products of a row of output pixels to the image gx (H, W, C)."""
    (kh, kw, c), (h, w, _) = window, gx.shape
    pixels, kind, size = gx.reshape(-1), gx.dtype.type(0), gx.itemsize
    for j in range(ow):
        left = j * stride[1] - padding[1]
        for u in range(kh):
            r = i * stride[0] - padding[0] + u * dilation[0]
            if r < 0 or r >= h:
                continue
            start = (((i - top) * ow + j) * kh + u) * kw * c
            if dilation[1] == 1:  # the kernel's columns and channels are one run of the image
                first, last = max(0, -left), min(kw, w - left)
                add(kind, (last - first) * c, products.ctypes.data + size * (start + first * c),
                    gx.ctypes.data + size * (r * w + left + first) * c)  # fmt: skip
            else:
                for v in range(kw):
                    q = left + v * dilation[1]
                    if 0 <= q < w:
                        for k in range(c):
                            pixels[(r * w + q) * c + k] += products[start + v * c + k]
