"""conv2d by Winograd's algorithm: 3×3 windows in a quarter of the multiplications, 5×5 in a sixth.

    y tile (m×m) = A^T [ sum over c of (G w G^T) * (B^T x tile B) ] A        * elementwise; _cook_toom.py has A, G, B

Three stages, over blocks of tiles so small that what lies between them stays in the L2 cache:

    V[k, t, c]   the n×n transformed pixels of each tile, k = 0 … n² - 1
    M[k, t, o] = sum over c of V[k, t, c] * U[k, c, o]       n² matrix products, by the register tile
    y            the inverse transform of M, plus the bias

Each stage is linear, so the gradients are their adjoints: the input's is the same convolution with the windows turned
around; the weights' is dM = A gy A^T, dU[k] = V[k]^T dM[k], gw = G^T dU G.

The points are not the usual 0, ±1, ±2: of 0, ±2/3, ±3/2 the rounding error is less than half (float32, 64 channels of
unit variance: 7.5e-7 in place of 1.6e-6; the direct sum's is 5.0e-7). Sources: Lavin and Gray 2016; Barabasz, Anderson,
Soodhalter, Gregg 2020, "Error analysis and improving the accuracy of Winograd convolution".
"""

from fractions import Fraction

import numba
import numpy as np

from .._cook_toom import cook_toom
from .._jit import helper, jit, prange
from .._layout import ceil_div
from .._pool import empty
from .._tile import TALLEST, tile, tile_width
from .._transform import transform, transform_and_finish
from .._vector import VECTOR_BYTES, copy

_POINTS = {3: ("0", "2/3", "-2/3", "3/2", "-3/2"), 5: ("0", "1/2", "-1/2", "1", "-1", "2", "-2")}
OUTPUTS = 4  # m: rows and columns of a tile of outputs
_SUMMED = 256  # channels at a time: a panel's part is 32 kB


def _transposed(matrix):
    return [list(column) for column in zip(*matrix, strict=True)]


_A3, _G3, _B3 = cook_toom(OUTPUTS, 3, map(Fraction, _POINTS[3]))
_A5, _G5, _B5 = cook_toom(OUTPUTS, 5, map(Fraction, _POINTS[5]))
_pixels3, _pixels5 = transform(_B3), transform(_B5)
_outputs3, _outputs5 = transform_and_finish(_A3), transform_and_finish(_A5)
_weights3, _weights5 = transform(_G3), transform(_G5)
_spread3, _spread5 = transform(_transposed(_A3)), transform(_transposed(_A5))
_gather3, _gather5 = transform(_transposed(_G3)), transform(_transposed(_G5))


def fits(w, y, stride, dilation, groups):
    """Whether weights w and an output shaped as y are a case for it, and one that it wins.

    Below 16 channels the vectors are not full; with few tiles the transformed weights, four times as many, cost more
    than they save; where most of a tile lies beyond the image, so do the tiles.
    """
    r, channels = w.shape[0], w.shape[2:]
    if w.shape[:2] not in ((3, 3), (5, 5)) or stride != (1, 1) or dilation != (1, 1) or groups != 1:
        return False
    tiles, n = _tiles(y), OUTPUTS + r - 1
    pixels = y.shape[0] * y.shape[1] * y.shape[2]
    return min(channels) >= 16 and tiles >= 24 and 3 * n * n * tiles <= 2 * r * r * pixels


def _tiles(y):
    """How many tiles cover images (N, OH, OW, O)."""
    return len(y) * ceil_div(y.shape[1], OUTPUTS) * ceil_div(y.shape[2], OUTPUTS)


def forward(x, w, bias, padding, relu, y):
    """relu: what is negative becomes 0."""
    r, c, o = w.shape[0], *w.shape[2:]
    n, width = OUTPUTS + r - 1, tile_width(x.dtype)
    panels = empty((n * n, ceil_div(o, width), c, width), x.dtype)
    _transform_weights(w.reshape(-1), r, c, o, panels.reshape(-1), width)
    _correlate(x, panels, bias, r, padding, relu, y)


def input_grad(start, gy, w, padding, gx):
    """gx = start (C,) at every pixel, plus the input's gradient: correlation of gy with w turned around."""
    r, c, o = w.shape[0], *w.shape[2:]
    n, width = OUTPUTS + r - 1, tile_width(gy.dtype)
    turned = empty((r * r, o, c), gy.dtype)
    _turn(w.reshape(r * r, c, o), turned)
    panels = empty((n * n, ceil_div(c, width), o, width), gy.dtype)
    _transform_weights(turned.reshape(-1), r, o, c, panels.reshape(-1), width)
    _correlate(gy, panels, start, r, (r - 1 - padding[0], r - 1 - padding[1]), False, gx)


@jit
def _turn(w, turned):
    """(taps, C, O) to (taps, O, C), the last tap first, by squares that stay in the cache."""
    taps, c, o = w.shape
    for task in prange(taps * ((c + 31) // 32)):
        tap, first = np.int64(task) // ((c + 31) // 32), np.int64(task) % ((c + 31) // 32) * 32
        for j in range(0, o, 32):
            for b in range(j, min(j + 32, o)):
                for a in range(first, min(first + 32, c)):
                    turned[taps - 1 - tap, b, a] = w[tap, a, b]


@jit
def _transform_weights(w, r, c, o, panels, width):
    """Weights (r, r, C, O) to U as panels (n², O / width rounded up, C, width)."""
    n, blocks = OUTPUTS + r - 1, (o + width - 1) // width
    kind, size = w.dtype.type(0), w.itemsize
    lanes = VECTOR_BYTES // size
    for task in prange(c):
        i = np.int64(task)
        for j in range(0, o, lanes):
            x = w.ctypes.data + size * (i * o + j)
            to = panels.ctypes.data + size * ((j // width * c + i) * width + j % width)
            step = blocks * c * width
            if r == 3:
                _weights3(kind, min(lanes, o - j), x, 3 * c * o, c * o, to, n * step, step)
            else:
                _weights5(kind, min(lanes, o - j), x, 5 * c * o, c * o, to, n * step, step)


def _correlate(x, panels, bias, r, padding, relu, y):
    n, c, o = OUTPUTS + r - 1, x.shape[3], y.shape[3]
    tiles = _tiles(y)
    bytes_of_tile, width = n * n * (c + o) * x.itemsize, tile_width(x.dtype)
    least, zeros = x.dtype.type(0 if relu else -np.inf), np.zeros(width, x.dtype)
    threads, edge = numba.get_num_threads(), n * n * max(c, o)
    if panels.nbytes > _MOST_WEIGHTS:
        at_once = max(1, min(tiles, _L3 // bytes_of_tile))
        v, m = empty((n * n * at_once * c,), x.dtype), empty((n * n * at_once * o,), x.dtype)
        _correlate_stages(
            x.reshape(-1), x.shape, panels.reshape(-1), bias, r, padding, least, y.reshape(-1), y.shape, tiles,
            at_once, v, m, empty((threads, edge), x.dtype), width, zeros,
        )  # fmt: skip
        return
    blocks = ceil_div(tiles, max(2 * TALLEST, _L2 // bytes_of_tile // TALLEST * TALLEST))
    blocks += blocks % 2 if blocks < 16 else 0  # two threads share an odd few badly
    per_block = ceil_div(tiles, max(blocks, 1))
    _correlate_blocks(
        x.reshape(-1), x.shape, panels.reshape(-1), bias, r, padding, least, y.reshape(-1), y.shape, tiles, per_block,
        empty((threads, per_block * n * n * (c + o) + edge), x.dtype), width, zeros,
    )  # fmt: skip


_L2 = 640 * 1024  # bytes of a block's V and M
_L3 = 16 * 1024 * 1024
_MOST_WEIGHTS = 4 * 1024 * 1024  # bytes of U that are read anew for each block of tiles
_TILES_PER_TASK = 4


@jit
def _correlate_blocks(x, x_shape, panels, bias, r, padding, least, y, y_shape, tiles, per_block, scratch, width,
                      zeros):  # fmt: skip
    """A task is a block of tiles, from the first stage to the last."""
    n, c, o, size = OUTPUTS + r - 1, x_shape[3], y_shape[3], x.itemsize
    nn = n * n
    for task in prange((tiles + per_block - 1) // per_block):
        first = np.int64(task) * per_block
        count = min(per_block, tiles - first)
        own = scratch[numba.get_thread_id()]
        v, m, edge = own.ctypes.data, own.ctypes.data + size * nn * count * c, own[nn * count * (c + o) :]
        for t in range(count):
            _transform_tile(x, x_shape, y_shape, first + t, r, padding, v + size * t * c, count * c, edge)
        for k in range(nn):
            _multiply(v + size * k * count * c, panels.ctypes.data + size * k * ((o + width - 1) // width) * c * width,
                      m + size * k * count * o, count, c, o, 0, o, width, zeros)  # fmt: skip
        for t in range(count):
            _finish_tile(m + size * t * o, count * o, bias, r, least, y, y_shape, first + t, edge)


@jit
def _correlate_stages(x, x_shape, panels, bias, r, padding, least, y, y_shape, tiles, at_once, v, m, scratch,
                      width, zeros):  # fmt: skip
    """One stage after the other for many tiles: large weights are read once for all of them."""
    n, c, o, size = OUTPUTS + r - 1, x_shape[3], y_shape[3], x.itemsize
    nn, columns = n * n, (o + width - 1) // width
    parts = (columns + 3) // 4
    for first in range(0, tiles, at_once):
        count = min(at_once, tiles - first)
        groups = (count + _TILES_PER_TASK - 1) // _TILES_PER_TASK
        for task in prange(groups):
            begin = np.int64(task) * _TILES_PER_TASK
            for t in range(begin, min(begin + _TILES_PER_TASK, count)):
                _transform_tile(x, x_shape, y_shape, first + t, r, padding, v.ctypes.data + size * t * c, count * c,
                                scratch[numba.get_thread_id()])  # fmt: skip
        for task in prange(nn * parts):
            k, part = np.int64(task) // parts, np.int64(task) % parts
            _multiply(v.ctypes.data + size * k * count * c, panels.ctypes.data + size * k * columns * c * width,
                      m.ctypes.data + size * k * count * o, count, c, o, columns * part // parts * width,
                      min(o, columns * (part + 1) // parts * width), width, zeros)  # fmt: skip
        for task in prange(groups):
            begin = np.int64(task) * _TILES_PER_TASK
            for t in range(begin, min(begin + _TILES_PER_TASK, count)):
                _finish_tile(m.ctypes.data + size * t * o, count * o, bias, r, least, y, y_shape, first + t,
                             scratch[numba.get_thread_id()])  # fmt: skip


@helper
def _place(t, y_shape):
    """(image, row, column) of the first output of tile t."""
    down, across = (y_shape[1] + OUTPUTS - 1) // OUTPUTS, (y_shape[2] + OUTPUTS - 1) // OUTPUTS
    return t // (down * across), t // across % down * OUTPUTS, t % across * OUTPUTS


@helper
def _transform_tile(x, x_shape, y_shape, t, r, padding, to, step, edge):
    """V of tile t at address `to`."""
    image, i, j = _place(t, y_shape)
    n, c, size, kind = OUTPUTS + r - 1, x_shape[3], x.itemsize, x.dtype.type(0)
    at, row = _block(x, x_shape, image, i - padding[0], j - padding[1], n, edge)
    lanes = VECTOR_BYTES // size
    for channel in range(0, c, lanes):
        source, target = at + size * channel, to + size * channel
        if r == 3:
            _pixels3(kind, min(lanes, c - channel), source, row, c, target, n * step, step)
        else:
            _pixels5(kind, min(lanes, c - channel), source, row, c, target, n * step, step)


@helper
def _spread_tile(gy, gy_shape, t, r, to, step, edge):
    """dM of tile t at address `to`."""
    image, i, j = _place(t, gy_shape)
    n, o, size, kind = OUTPUTS + r - 1, gy_shape[3], gy.itemsize, gy.dtype.type(0)
    at, row = _block(gy, gy_shape, image, i, j, OUTPUTS, edge)
    lanes = VECTOR_BYTES // size
    for channel in range(0, o, lanes):
        source, target = at + size * channel, to + size * channel
        if r == 3:
            _spread3(kind, min(lanes, o - channel), source, row, o, target, n * step, step)
        else:
            _spread5(kind, min(lanes, o - channel), source, row, o, target, n * step, step)


@helper
def _finish_tile(m, step, bias, r, least, y, y_shape, t, edge):
    """The outputs of tile t, from M at address m."""
    n, o, size, kind = OUTPUTS + r - 1, y_shape[3], y.itemsize, y.dtype.type(0)
    image, i, j = _place(t, y_shape)
    start = ((image * y_shape[1] + i) * y_shape[2] + j) * o
    high, wide = min(OUTPUTS, y_shape[1] - i), min(OUTPUTS, y_shape[2] - j)
    whole = high == OUTPUTS and wide == OUTPUTS
    to, row = (y.ctypes.data + size * start, y_shape[2] * o) if whole else (edge.ctypes.data, OUTPUTS * o)
    lanes = VECTOR_BYTES // size
    for channel in range(0, o, lanes):
        at, there, begin = m + size * channel, to + size * channel, bias.ctypes.data + size * channel
        if r == 3:
            _outputs3(kind, min(lanes, o - channel), at, n * step, step, there, row, o, begin, least)
        else:
            _outputs5(kind, min(lanes, o - channel), at, n * step, step, there, row, o, begin, least)
    if not whole:
        for a in range(high):
            copy(kind, wide * o, edge.ctypes.data + size * a * OUTPUTS * o,
                 y.ctypes.data + size * (start + a * y_shape[2] * o))  # fmt: skip


@helper
def _block(x, x_shape, image, i, j, n, edge):
    """(address, elements to the next row) of n×n pixels from (i, j) on: in `edge` where some are beyond the image."""
    _, h, w, c = x_shape
    if i < 0 or j < 0 or i + n > h or j + n > w:
        _copy_border(x, x_shape, image, i, j, n, edge)
        return edge.ctypes.data, n * c
    return x.ctypes.data + x.itemsize * ((image * h + i) * w + j) * c, w * c


@helper
def _copy_border(x, x_shape, image, i, j, n, edge):
    """The n×n pixels from (i, j) on, zeros where there are none."""
    _, h, w, c = x_shape
    left, right = min(max(-j, 0), n), max(min(w - j, n), 0)
    for a in range(n):
        row = edge[a * n * c : (a + 1) * n * c]
        if i + a < 0 or i + a >= h or right <= left:
            row[:] = 0
            continue
        row[: left * c] = 0
        row[right * c :] = 0
        begin = ((image * h + i + a) * w + j) * c
        copy(x.dtype.type(0), (right - left) * c, x.ctypes.data + x.itemsize * (begin + left * c),
             row.ctypes.data + x.itemsize * left * c)  # fmt: skip


@helper
def _multiply(a, panels, y, rows, c, o, low, high, width, zeros):
    """y (rows, O) = a (rows, C) @ panels (O / width, C, width), addresses, for the columns low to high."""
    size, kind = zeros.itemsize, zeros.dtype.type(0)
    tiles = (rows + TALLEST - 1) // TALLEST
    for start in range(0, c, _SUMMED):
        summed = min(_SUMMED, c - start)
        for column in range(low, high, width):
            panel = panels + size * (column * c + start * width)
            for t in range(tiles):
                top, bottom = rows * t // tiles, rows * (t + 1) // tiles
                to = y + size * (top * o + column)
                begin, step = (zeros.ctypes.data, 0) if start == 0 else (to, o)
                tile(kind, bottom - top, min(width, o - column), a + size * (top * c + start), c, 0, 1, panel, 0, width,
                     1, summed, begin, step, to, o)  # fmt: skip


def weight_grad(x, gy, padding, gw):
    r, c, o = gw.shape[0], *gw.shape[2:]
    n = OUTPUTS + r - 1
    tiles = _tiles(gy)
    at_once = max(1, min(tiles, _GRADIENT_TILES))
    v, d = empty((n * n, at_once, c), x.dtype), empty((n * n, at_once, o), x.dtype)
    sums = empty((n * n, c, o), x.dtype)
    scratch = empty((numba.get_num_threads(), n * n * max(c, o)), x.dtype)
    _weight_grad(
        x.reshape(-1), x.shape, gy.reshape(-1), gy.shape, r, padding, v.reshape(-1), d.reshape(-1), tiles,
        at_once, sums.reshape(-1), gw.reshape(-1), scratch, tile_width(x.dtype), np.zeros(tile_width(x.dtype), x.dtype),
    )  # fmt: skip


_GRADIENT_TILES = 128


@jit
def _weight_grad(x, x_shape, gy, gy_shape, r, padding, v, d, tiles, at_once, sums, gw, scratch, width, zeros):
    n, c, o = OUTPUTS + r - 1, x_shape[3], gy_shape[3]
    nn, size = n * n, x.itemsize
    parts = (c + 4 * TALLEST - 1) // (4 * TALLEST)
    for first in range(0, tiles, at_once):
        count = min(at_once, tiles - first)
        for task in prange((count + _TILES_PER_TASK - 1) // _TILES_PER_TASK):
            begin = np.int64(task) * _TILES_PER_TASK
            for t in range(begin, min(begin + _TILES_PER_TASK, count)):
                edge = scratch[numba.get_thread_id()]
                _transform_tile(x, x_shape, gy_shape, first + t, r, padding, v.ctypes.data + size * t * c, count * c,
                                edge)  # fmt: skip
                _spread_tile(gy, gy_shape, first + t, r, d.ctypes.data + size * t * o, count * o, edge)
        for task in prange(nn * parts):
            k, part = np.int64(task) // parts, np.int64(task) % parts
            _add_products(v.ctypes.data + size * k * count * c, d.ctypes.data + size * k * count * o,
                          sums.ctypes.data + size * k * c * o, count, c, o, c * part // parts, c * (part + 1) // parts,
                          width, first == 0, zeros)  # fmt: skip
    kind, lanes = zeros.dtype.type(0), VECTOR_BYTES // size
    for task in prange(c):
        i = np.int64(task)
        for j in range(0, o, lanes):
            at, to = sums.ctypes.data + size * (i * o + j), gw.ctypes.data + size * (i * o + j)
            if r == 3:
                _gather3(kind, min(lanes, o - j), at, n * c * o, c * o, to, 3 * c * o, c * o)
            else:
                _gather5(kind, min(lanes, o - j), at, n * c * o, c * o, to, 5 * c * o, c * o)


@helper
def _add_products(v, d, sums, count, c, o, low, high, width, begins, zeros):
    """sums (C, O) += v (tiles, C)^T @ d (tiles, O), for the channels low to high; addresses."""
    size, kind = zeros.itemsize, zeros.dtype.type(0)
    tiles = (high - low + TALLEST - 1) // TALLEST
    for column in range(0, o, width):
        for t in range(tiles):
            a, b = low + (high - low) * t // tiles, low + (high - low) * (t + 1) // tiles
            to = sums + size * (a * o + column)
            begin, step = (zeros.ctypes.data, 0) if begins else (to, o)
            tile(kind, b - a, min(width, o - column), v + size * a, 1, 0, c, d + size * column, 0, o, 1, count,
                 begin, step, to, o)  # fmt: skip
