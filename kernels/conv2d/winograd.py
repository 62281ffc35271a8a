"""conv2d by Winograd's algorithm: 3×3 windows in a quarter of the multiplications, 4×4 in a fifth, 5×5 in a sixth.

And 3×3 windows of stride 2 in nine sixteenths of them (strided in _cook_toom.py).

    y tile (m×m) = A^T [ sum over c of (G w G^T) * (B^T x tile B) ] A        * elementwise; _cook_toom.py has A, G, B

A tile has 4×4 outputs, or 5×5 or 2×2 of a 3×3 window where those fit the images better (14² takes 9 of 49 products for
16 of 36).

Three stages, over blocks of tiles so small that what lies between them stays in the L2 cache:

    V[k, t, c]   the n×n transformed pixels of each tile, k = 0 … n² - 1
    M[k, t, o] = sum over c of V[k, t, c] * U[k, c, o]       n² matrix products, by the register tile
    y            the inverse transform of M, plus the bias

Each stage is linear, so the gradients are their adjoints: the input's is the same convolution with the windows turned
around; the weights' is dM = A gy A^T, dU[k] = V[k]^T dM[k], gw = G^T dU G.

The points of 3×3 windows are not the usual 0, ±1, ±2: of 0, ±2/3, ±3/2 the rounding error is less than half (float32,
64 channels of unit variance: 7.5e-7 in place of 1.6e-6; the direct sum's is 5.0e-7). Tiles of 5×5 are as far off as
the usual ones of 4×4. Sources: Lavin and Gray 2016;
Barabasz, Anderson, Soodhalter, Gregg 2020, "Error analysis and improving the accuracy of Winograd convolution".
"""

import numba
import numpy as np

from .._held_tile import holds, tile_held
from .._jit import helper, jit, prange
from .._layout import apart, ceil_div
from .._pool import empty
from .._queues import share_out, tasks
from .._threads import MOST_THREADS
from .._tile import TALLEST, VECTORS, beyond, further, last_step, tile, tile_width
from .._vector import fence
from ..add import add_parts
from . import winograd_large
from .direct import swapped
from .winograd_tiles import (
    finish_tile,
    gather_weights,
    next_place,
    number_of,
    outputs_of,
    outputs_written,
    pixels_seen,
    place_of,
    spread_tile,
    tiles_of_inputs,
    tiles_of_outputs,
    transform_tile,
    transform_weights,
)

_SUMMED = 256  # channels at a time: a panel's part is 32 kB
_L2 = 640 * 1024  # bytes of what a task has between its stages
_MOST_WEIGHTS = 4 * 1024 * 1024  # bytes of U that are read anew for each block of tiles
_BLOCK = 64  # weights' gradient: input and output channels of a task, whose dU is 590 kB then (tiles of 5×5: 800)
_MANY = 96  # channels, from which on winograd_large.py has the weights' gradient: 0.97 to 1.38; else 0.5 to 1.1
_FEWEST_TASKS = 16
_FEWEST_TILES = 32  # that a task adds to dU at once: with 16, loading and storing it takes as long as the products


def fits(w_shape, y, stride, dilation, groups, most=2 / 3):
    """Whether weights (r, r, C, O) and an output shaped as y are a case for it, and one that it wins.

    Below 12 channels the vectors are far from full; with few tiles the transformed weights, four times as many, cost
    more than they save; where most of a tile lies beyond the image, so do the tiles: it takes `most` of the products.
    """
    r, columns, *channels = w_shape
    m = outputs_of(r, y, stride)
    if m is None or columns != r or stride[0] != stride[1] or dilation != (1, 1) or groups != 1:
        return False
    tiles = tiles_of_outputs(m, r, stride, (0, 0))
    number, pixels = number_of(tiles, y), y.shape[0] * y.shape[1] * y.shape[2]
    return min(channels) >= 12 and number >= 24 and tiles.n**2 * number <= most * r * r * pixels


def weight_grad_fits(w_shape, y, stride, dilation, groups):
    """Likewise, for weight_grad: 1.0 to 1.2 times as fast with three quarters of the products, of 3×3 by 2 at 14²."""
    return fits(w_shape, y, stride, dilation, groups, 3 / 4 if min(w_shape[2:]) >= 128 else 2 / 3)


def _large(w, tiles):
    """Whether the transformed weights outgrow the caches: then winograd_large.py."""
    return tiles.n * tiles.n * w.shape[2] * w.shape[3] * w.itemsize > _MOST_WEIGHTS


def forward(x, w, bias, stride, padding, relu, residual, y):
    """relu: what is negative becomes 0, after the residual, if it is not None, was added."""
    last = last_step(y, relu, residual)
    tiles = tiles_of_outputs(outputs_of(len(w), y, stride), len(w), stride, padding)
    if _large(w, tiles):
        winograd_large.correlate(x, w, tiles, False, bias, *last, y)
    else:
        _correlate(x, w, tiles, bias, *last, y)


def input_grad(start, residual, gy, w, stride, padding, gx):
    """gx = start (C,) at every pixel, plus the input's gradient, which is the correlation of gy with w turned around,
    plus the residual if it is not None.
    """
    r, last = len(w), last_step(gx, False, residual)
    m = outputs_of(r, gx if stride == (1, 1) else gy, stride)
    tiles = tiles_of_inputs(m, r, stride, padding)
    if _large(w, tiles):
        winograd_large.correlate(gy, w, tiles, True, start, *last, gx)
    else:
        backwards = range(r - 1, -1, -1)
        _correlate(gy, swapped(w, backwards, backwards), tiles, start, *last, gx)


def _correlate(x, w, tiles, bias, beside, least, y):
    r, c, o = len(w), *w.shape[2:]
    n, width, number = tiles.n, tile_width(x.dtype), number_of(tiles, y)
    u_step = apart(ceil_div(o, width) * c * width)
    panels = empty((n * n * u_step,), x.dtype)
    _transform_weights(w.reshape(-1), abs(tiles.form), n, r, c, o, panels, u_step, width)
    blocks = ceil_div(number, max(2 * TALLEST, _L2 // (n * n * (c + o) * x.itemsize) // TALLEST * TALLEST))
    blocks += blocks % 2 if blocks < 16 else 0  # two threads share an odd few badly
    per_block = ceil_div(number, max(blocks, 1))
    steps = apart(per_block * c), u_step, apart(per_block * o)  # from a k to the next of V, U and M
    scratch = empty((MOST_THREADS, n * n * (steps[0] + steps[2]) + 2 * tiles.m * tiles.m * o), x.dtype)
    _correlate_blocks(
        x.reshape(-1), x.shape, panels, bias, tiles, number, per_block, beside, least, y.reshape(-1), y.shape, steps,
        scratch, width, np.zeros(width, x.dtype),
    )  # fmt: skip


@jit
def _transform_weights(w, form, n, r, c, o, panels, step, width):
    """Weights (r, r, C, O) to U as panels (n², O / width rounded up, C, width)."""
    kind, size = w.dtype.type(0), w.itemsize
    queues = share_out(c)
    for thread in prange(len(queues)):
        for task in tasks(queues, thread):
            i = task
            for j in range(0, o, width):
                transform_weights(kind, form, min(width, o - j), w.ctypes.data + size * (i * o + j), r * c * o, c * o,
                                  panels.ctypes.data + size * (j * c + i * width), n * step, step)  # fmt: skip


@jit
def _correlate_blocks(x, x_shape, panels, bias, tiles, number, per_block, beside, least, y, y_shape, steps, scratch,
                      width, zeros):  # fmt: skip
    """A task is a block of tiles, from the first stage to the last."""
    nn, c, o, size = tiles.n * tiles.n, x_shape[3], y_shape[3], x.itemsize
    queues = share_out((number + per_block - 1) // per_block)
    for thread in prange(len(queues)):
        for task in tasks(queues, thread):
            first = task * per_block
            end = min(first + per_block, number)
            own = scratch[numba.get_thread_id()]
            v, products, edge = (
                own.ctypes.data,
                own.ctypes.data + size * nn * steps[0],
                own[nn * (steps[0] + steps[2]) :],
            )
            start = place_of(first, tiles, y_shape)
            place = start
            for t in range(end - first):
                transform_tile(x.ctypes.data, x_shape, place, tiles, 0, c, v + size * t * c, steps[0], c, zeros)
                place = next_place(place, tiles, y_shape)
            written = outputs_written(y, y_shape, tiles, first, end if beside else first)
            residual = written[0] + beside, written[1] + beside
            ahead = pixels_seen(x, x_shape, y_shape, tiles, end, min(end + per_block, number)) + residual
            for k in range(nn):
                ahead = _multiply(v + size * k * steps[0], panels.ctypes.data + size * k * steps[1],
                                  products + size * k * steps[2], end - first, c, o, width, zeros, ahead)  # fmt: skip
            place = start
            for t in range(end - first):
                finish_tile(products + size * t * o, steps[2], bias.ctypes.data, tiles, beside, least, y, y_shape,
                            place, 0, o, edge)  # fmt: skip
                place = next_place(place, tiles, y_shape)
            fence()


@helper
def _multiply(a, panels, y, rows, c, o, width, zeros, ahead):
    """y (rows, O) = a (rows, C) @ panels (O / width, C, width), addresses. Returns what is still to be fetched."""
    size, kind = zeros.itemsize, zeros.dtype.type(0)
    for start in range(0, c, _SUMMED):
        for column in range(0, o, width):
            to = y + size * column
            begin, step = (zeros.ctypes.data, 0) if start == 0 else (to, o)
            summed, wide = min(_SUMMED, c - start), min(width, o - column)
            panel = panels + size * (column * c + start * width)
            if holds(c):
                tile_held(kind, rows, wide, a, panel, width, c, to, o, ahead[0])
                ahead = beyond(ahead, rows * ((VECTORS * wide + width - 1) // width))
            else:
                tile(kind, rows, wide, a + size * start, c, 0, 1, panel, 0, width, 1, summed, begin, step, to, o,
                     ahead[0])  # fmt: skip
                ahead = further(ahead, rows, summed)
    return ahead


def weight_grad(x, gy, stride, padding, gw):
    r, c, o = gw.shape[0], *gw.shape[2:]
    tiles = tiles_of_outputs(outputs_of(r, gy, stride), r, stride, padding)
    if min(c, o) >= _MANY or _large(gw, tiles):
        winograd_large.weight_grad(x, gy, tiles, gw)
        return
    nn, number, width, threads = tiles.n**2, number_of(tiles, gy), tile_width(x.dtype), MOST_THREADS
    cuts = ceil_div(c, _BLOCK), ceil_div(o, _BLOCK)
    block = ceil_div(ceil_div(c, cuts[0]), 16) * 16, ceil_div(ceil_div(o, cuts[1]), width) * width
    parts = max(1, min(ceil_div(_FEWEST_TASKS, cuts[0] * cuts[1]), number // 64))
    free = _L2 // (nn * x.itemsize) - block[0] * block[1]
    at_once = max(_FEWEST_TILES, free // sum(block))
    steps = apart(at_once * block[0]), apart(at_once * block[1]), apart(block[0] * block[1])  # of V, dM and dU
    sums = empty((parts, gw.size), x.dtype)
    _weight_grad(
        x.reshape(-1), x.shape, gy.reshape(-1), gy.shape, tiles, number, r, at_once, cuts, block, steps,
        empty((threads, nn * sum(steps)), x.dtype), sums, width, np.zeros(width, x.dtype),
    )  # fmt: skip
    add_parts(sums, gw.reshape(-1))


@jit
def _weight_grad(x, x_shape, gy, gy_shape, tiles, number, r, at_once, cuts, block, steps, scratch, sums, width,
                 zeros):  # fmt: skip
    """A task is a block of input and output channels and a part of the tiles, with a dU of its own."""
    n, c, o, size = tiles.n, x_shape[3], gy_shape[3], x.itemsize
    nn, parts = n * n, len(sums)
    queues = share_out(parts * cuts[0] * cuts[1])
    for thread in prange(len(queues)):
        for task in tasks(queues, thread):
            part, row = task // (cuts[0] * cuts[1]), task // cuts[1] % cuts[0] * block[0]
            column = task % cuts[1] * block[1]
            high, wide = min(block[0], c - row), min(block[1], o - column)
            own = scratch[numba.get_thread_id()]
            v, d = own.ctypes.data, own.ctypes.data + size * nn * steps[0]
            u = d + size * nn * steps[1]
            begin, end = number * part // parts, number * (part + 1) // parts
            for first in range(begin, end, at_once):
                count = min(at_once, end - first)
                place = place_of(first, tiles, gy_shape)
                for t in range(count):
                    transform_tile(x.ctypes.data, x_shape, place, tiles, row, high, v + size * t * block[0],
                                   steps[0], block[0], zeros)  # fmt: skip
                    spread_tile(gy.ctypes.data, gy_shape, place, tiles, column, wide, d + size * t * block[1], steps[1],
                                block[1], zeros)  # fmt: skip
                    place = next_place(place, tiles, gy_shape)
                after = min(first + count + at_once, end)
                # Of a part of the channels the pixels are no run.
                next_x = pixels_seen(x, x_shape, gy_shape, tiles, first + count, after if high == c else first + count)
                next_gy = outputs_written(gy, gy_shape, tiles, first + count, after if wide == o else first + count)
                ahead = next_x + next_gy
                for k in range(nn):
                    ahead = _add_products(v + size * k * steps[0], d + size * k * steps[1], u + size * k * steps[2],
                                          count, high, wide, block, width, first == begin, zeros, ahead)  # fmt: skip
            for i in range(high):
                to = part * r * r * c * o + (row + i) * o + column
                gather_weights(zeros.dtype.type(0), tiles.form, wide, u + size * i * block[1], n * steps[2], steps[2],
                               sums.ctypes.data + size * to, r * c * o, c * o)  # fmt: skip


@helper
def _add_products(v, d, u, count, high, wide, block, width, begins, zeros, ahead):
    """dU (block) += V (tiles, block[0])^T @ dM (tiles, block[1]), addresses; of it high rows and wide columns.

    Returns what is still to be fetched.
    """
    size = zeros.itemsize
    for column in range(0, wide, width):
        to = u + size * column
        begin, step = (zeros.ctypes.data, 0) if begins else (to, block[1])
        tile(zeros.dtype.type(0), high, min(width, wide - column), v, 1, 0, block[0], d + size * column, 0, block[1], 1,
             count, begin, step, to, block[1], ahead[0])  # fmt: skip
        ahead = further(ahead, high, count)
    return ahead
