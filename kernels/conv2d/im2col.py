"""conv2d and the gradient of its weights as matrix products: im2col.

    y[p, o] = sum over r of X[p, r] * w[r, o]      r = (u, v, c), X[p, r] the element of x that tap r meets at pixel p
    gw[r, o] = sum over p of X[p, r] * gy[p, o]

Forward X is written for many pixels, of images so small that the direct form's tiles would be half empty. For the
gradient a task has some rows r of gw and some of its columns, and copies its part of X for a few pixels at a time, side
by side in the L2 cache. Pixels that lie a power of two of bytes apart in x share a few lines of the caches;
their copies don't. Partial sums over parts of the pixels are added in order, so threads do not change a bit.
"""

import numba
import numpy as np

from .._jit import helper, jit, prange
from .._layout import ceil_div
from .._pool import empty
from .._queues import share_out, tasks
from .._threads import MOST_THREADS
from .._tile import TALLEST, further, tile, tile_width
from .._vector import copy
from ..add import add_parts
from ..matmul import multiply

_ROWS = 37 * TALLEST  # of gw in a task, and
_SUMS = 560 * 1024  # bytes of it; of 1×1 windows twice as many, as their X is narrow (1.01 to 1.07)
_PIXELS = 208  # at a time
_APART = 2048  # bytes: where pixels of gy lie so far apart or farther its panels are copied, too (1.1 to 1.2; else 0.9)
_RUN = 16  # pixels of X in a task, forward
_UNFOLDED = 32 * 1024 * 1024  # bytes of X, at most, forward
_GROUP = 80  # outputs
_FEWEST_TASKS = 16  # so that cores share the work evenly


def forward_fits(w, y, groups):
    """Whether rows of y leave much of the direct form's tiles empty, and each pixel is used often enough for a copy."""
    c, o = w.shape[2:]
    return groups == 1 and 2 * y.shape[2] <= TALLEST and c * o >= 128 * 256


def forward(x, w, bias, stride, padding, dilation, relu, residual, y):
    pixels, rows = y.shape[0] * y.shape[1] * y.shape[2], w.shape[0] * w.shape[1] * w.shape[2]
    at_once = max(_RUN, _UNFOLDED // (rows * x.itemsize))
    unfolded = empty((min(pixels, at_once), rows), x.dtype)
    weights, outputs = w.reshape(1, rows, -1), y.reshape(1, pixels, y.shape[3])
    residuals = None if residual is None else residual.reshape(outputs.shape)
    for first in range(0, pixels, at_once):
        part = slice(first, first + at_once)
        own = unfolded[: pixels - first]
        _unfold_all(x.reshape(-1), x.shape, y.shape, w.shape, stride, padding, dilation, first, own)
        beside = None if residuals is None else residuals[:, part]
        multiply(own[None], weights, bias, outputs[:, part], relu, beside)


@jit
def _unfold_all(x, x_shape, y_shape, w_shape, stride, padding, dilation, begin, unfolded):
    """X, of the pixels from `begin` on."""
    pixels, rows = unfolded.shape
    queues = share_out((pixels + _RUN - 1) // _RUN)
    for thread in prange(len(queues)):
        for task in tasks(queues, thread):
            first = task * _RUN
            count = min(_RUN, pixels - first)
            _unfold(x, x_shape, y_shape, w_shape, 0, stride, padding, dilation, begin + first, count, 0, rows,
                    unfolded[first:].reshape(-1))  # fmt: skip


def fits(gw, groups):
    """Whether the weights are so many that products outweigh the copying.

    Of groups of few outputs the direct form is faster (16 to 64 outputs 1.15 to 2.4 times as fast, 128 0.85 to 1.0).
    """
    kh, kw, c, o = gw.shape
    return (groups == 1 or o >= _GROUP * groups) and kh * kw * c >= 64 and kh * kw * c * o >= 64 * 128


def weight_grad(x, gy, stride, padding, dilation, groups, gw):
    kh, kw, cg, o = gw.shape
    width = tile_width(x.dtype)
    rows, panels = kh * kw * cg, ceil_div(o // groups, width)
    pixels = gy.shape[0] * gy.shape[1] * gy.shape[2]
    high, most = ceil_div(rows, ceil_div(rows, _ROWS)), 2 * _SUMS if kh * kw == 1 else _SUMS
    cuts = ceil_div(rows, high), ceil_div(panels, max(1, most // (high * width * x.itemsize)))
    tasks = groups * cuts[0] * cuts[1]
    parts = max(1, min(ceil_div(_FEWEST_TASKS, tasks), ceil_div(pixels, 4 * _PIXELS)))
    sums = empty((parts, gw.size), x.dtype)
    threads, wide = MOST_THREADS, ceil_div(panels, cuts[1])
    _parts(
        x.reshape(-1), x.shape, gy.reshape(-1), gy.shape, gw.shape, groups, width, stride, padding, dilation, cuts,
        empty((threads, _PIXELS * high), x.dtype),
        empty((threads, _PIXELS * wide * width if o * x.itemsize >= _APART else 0), x.dtype), sums,
        np.zeros(width, x.dtype),
    )  # fmt: skip
    add_parts(sums, gw.reshape(-1))  # for one part a copy, of weights that are few beside the pixels


@jit
def _parts(x, x_shape, gy, gy_shape, w_shape, groups, width, stride, padding, dilation, cuts, unfolded, panels, sums,
           zeros):  # fmt: skip
    """A task is a block of rows and of columns of one group of gw, and a part of the pixels."""
    kh, kw, cg, o = w_shape
    og, rows, parts, kind, size = o // groups, kh * kw * cg, len(sums), x.dtype.type(0), x.itemsize
    blocks, pixels = (og + width - 1) // width, gy_shape[0] * gy_shape[1] * gy_shape[2]
    pointwise = kh * kw == 1 and stride == (1, 1) and padding == (0, 0)
    queues = share_out(parts * groups * cuts[0] * cuts[1])
    for thread in prange(len(queues)):
        for task in tasks(queues, thread):
            column_cut, row_cut = task % cuts[1], task // cuts[1] % cuts[0]
            g, part = task // (cuts[0] * cuts[1]) % groups, task // (cuts[0] * cuts[1] * groups)
            low, high = rows * row_cut // cuts[0], rows * (row_cut + 1) // cuts[0]
            left, right = blocks * column_cut // cuts[1], blocks * (column_cut + 1) // cuts[1]
            own, packed, out = unfolded[numba.get_thread_id()], panels[numba.get_thread_id()], sums[part]
            begin, end = pixels * part // parts, pixels * (part + 1) // parts
            steps = (end - begin + _PIXELS - 1) // _PIXELS
            for step in range(steps):  # of nearly equal length: a short one reads and writes all sums for few products
                first, beyond = begin + (end - begin) * step // steps, begin + (end - begin) * (step + 1) // steps
                count = beyond - first
                _unfold(x, x_shape, gy_shape, w_shape, g, stride, padding, dilation, first, count, low, high, own)
                panel, pixel, along = gy.ctypes.data + size * (first * o + g * og + left * width), o, width
                if packed.size:
                    _pack(gy, o, first, count, g * og, left, right, og, width, packed)
                    panel, pixel, along = packed.ctypes.data, width, count * width
                # What the next block reads, where it is a run of memory.
                from_x = size * x_shape[3] if pointwise and high - low == x_shape[3] else 0  # bytes of a pixel
                from_gy = size * o if right - left == blocks and groups == 1 else 0
                at_x, at_gy = x.ctypes.data + from_x * beyond, gy.ctypes.data + from_gy * beyond
                after = min(count, end - beyond)
                ahead = at_x, at_x + from_x * after, at_gy, at_gy + from_gy * after
                for block in range(left, right):
                    to = out.ctypes.data + size * (low * o + g * og + block * width)
                    start, si = (zeros.ctypes.data, 0) if step == 0 else (to, o)
                    tile(kind, high - low, min(width, og - block * width), own.ctypes.data, 1, 0, high - low,
                         panel + size * (block - left) * along, 0, pixel, 1, count, start, si, to, o,
                         ahead[0])  # fmt: skip
                    ahead = further(ahead, high - low, count)


@helper
def _pack(gy, o, first, count, channel, left, right, og, width, packed):
    """gy of `count` pixels from `first` on, one panel of a group's channels after the other."""
    size = gy.itemsize
    for p in range(count):
        at = gy.ctypes.data + size * ((first + p) * o + channel)
        to = packed.ctypes.data + size * p * width
        for block in range(left, right):
            copy(gy.dtype.type(0), min(width, og - block * width), at + size * block * width,
                 to + size * (block - left) * count * width)  # fmt: skip


@helper
def _unfold(x, x_shape, gy_shape, w_shape, g, stride, padding, dilation, first, count, low, high, to):
    """Rows low to high of X, for `count` pixels from `first` on, to (count, high - low)."""
    (_, h, w, c), (_, kw, cg, _), (_, oh, ow, _) = x_shape, w_shape, gy_shape
    kind, size = x.dtype.type(0), x.itemsize
    j, i, n = first % ow, first // ow % oh, first // (ow * oh)
    run = kw * cg
    joined = cg == c and dilation[1] == 1  # a row of the window is one run of memory
    for p in range(count):
        start = p * (high - low) - low
        for u in range(low // run, (high + run - 1) // run):
            row, column = i * stride[0] - padding[0] + u * dilation[0], j * stride[1] - padding[1]
            a, b = max(low, u * run), min(high, (u + 1) * run)
            if row < 0 or row >= h:
                to[start + a : start + b] = 0
            elif joined:
                skipped = (((n * h + row) * w + column) * c) - u * run
                inside, outside = max(a, u * run - column * c), min(b, u * run + (w - column) * c)
                if inside >= outside:
                    to[start + a : start + b] = 0
                    continue
                if inside > a:
                    to[start + a : start + inside] = 0
                copy(kind, outside - inside, x.ctypes.data + size * (skipped + inside),
                     to.ctypes.data + size * (start + inside))  # fmt: skip
                if outside < b:
                    to[start + outside : start + b] = 0
            else:
                for v in range((a - u * run) // cg, (b - u * run + cg - 1) // cg):
                    at = u * run + v * cg
                    begin, end = max(a, at), min(b, at + cg)
                    q = column + v * dilation[1]
                    if q < 0 or q >= w:
                        to[start + begin : start + end] = 0
                    else:
                        source = ((n * h + row) * w + q) * c + g * cg - at
                        copy(kind, end - begin, x.ctypes.data + size * (source + begin),
                             to.ctypes.data + size * (start + begin))  # fmt: skip
        j += 1
        if j == ow:
            j, i = 0, i + 1
            if i == oh:
                i, n = 0, n + 1
