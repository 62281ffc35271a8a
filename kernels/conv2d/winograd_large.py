"""winograd.py where the weights are large: transformed, four times as many, they would travel to memory and back.

So they never exist as a whole. A task has a panel of output channels and some tiles, and transforms the weights between
that panel and a chunk of input channels just before it uses them, in its L2 cache; the products of the chunks add up
there as well. (Where there are many tiles, the weights are transformed once after all, in the order of their use.) The
transformed pixels V are made first, for as many tiles as the L3 cache holds, and all tasks read them. The weights'
gradient goes the other way: dU of a chunk and two panels is summed up in the L2 cache and transformed back there.
"""

import numba
import numpy as np

from .._jit import helper, jit, prange
from .._layout import apart, ceil_div
from .._pool import empty
from .._queues import share_out, tasks
from .._threads import MOST_THREADS
from .._tile import TALLEST, tile, tile_width
from .._vector import copy, fence, prefetch
from .winograd_tiles import (
    finish_tile,
    gather_weights,
    next_place,
    number_of,
    place_of,
    spread_tile,
    transform_tile,
    transform_weights,
)

_CHUNK = 64  # input channels at a time: with 512-bit vectors and 3×3 windows U of a chunk and a panel is 295 kB, or 400
_L2 = 448 * 1024  # bytes of M of a task
_CORRELATE_L3 = 6 * 1024 * 1024  # bytes of V
_GRADIENT_L3 = 32 * 1024 * 1024  # bytes of V and dM
_TILES_PER_TASK = 4
_FEW = 3  # tasks that transform the same weights


def _at_once(tiles, size, most):
    """How many of the tiles, of so many bytes each, are at work together."""
    return ceil_div(tiles, max(1, ceil_div(tiles * size, most)))


def correlate(x, w, tiles, turned, bias, beside, least, y):
    """y = the correlation of x with w, or, `turned`, with w turned around and its channels exchanged.

    Each pixel of y starts from the bias; beside, least: of last_step.
    """
    r, c, threads = len(w), x.shape[3], MOST_THREADS
    nn, width, number = tiles.n**2, tile_width(x.dtype), number_of(tiles, y)
    chunks = ceil_div(c, _CHUNK)
    at_once = _at_once(number, nn * chunks * _CHUNK * x.itemsize, _CORRELATE_L3)
    per_task = ceil_div(at_once, ceil_div(at_once, max(2 * TALLEST, _L2 // (nn * width * x.itemsize))))
    # Elements from one k to the next of V, U and M.
    steps = apart(at_once * _CHUNK), apart(_CHUNK * width), apart(per_task * width)
    blocks, kept = chunks * ceil_div(y.shape[3], width), number > _FEW * per_task
    _correlate(
        x.reshape(-1), x.shape, w.reshape(-1), r, turned, bias, tiles, number, beside, least, y.reshape(-1), y.shape,
        at_once, per_task, steps, empty((nn * chunks * steps[0],), x.dtype),
        empty((threads, 2 * tiles.m * tiles.m * width), x.dtype),
        empty((blocks if kept else threads, nn * steps[1]), x.dtype), kept, empty((threads, r * r * steps[1]), x.dtype),
        empty((threads, nn * steps[2]), x.dtype), width, np.zeros(width, x.dtype),
    )  # fmt: skip


@jit
def _correlate(x, x_shape, w, r, turned, bias, tiles, number, beside, least, y, y_shape, at_once, per_task, steps, v,
               edges, weights, kept, taps, products, width, zeros):  # fmt: skip
    c, o, size = x_shape[3], y_shape[3], x.itemsize
    nn, panels = tiles.n * tiles.n, (o + width - 1) // width
    chunks = (c + _CHUNK - 1) // _CHUNK
    if kept:
        queues = share_out(panels * chunks)
        for thread in prange(len(queues)):
            for task in tasks(queues, thread):
                column, chunk = task // chunks * width, task % chunks * _CHUNK
                _transform_chunk(w, tiles, r, c, o, turned, chunk, min(_CHUNK, c - chunk), column,
                                 min(width, o - column), width, steps[1], taps[numba.get_thread_id()],
                                 weights[task])  # fmt: skip
    for first in range(0, number, at_once):
        count = min(at_once, number - first)
        queues = share_out((count + _TILES_PER_TASK - 1) // _TILES_PER_TASK)
        for thread in prange(len(queues)):
            for task in tasks(queues, thread):
                begin = task * _TILES_PER_TASK
                place = place_of(first + begin, tiles, y_shape)
                for t in range(begin, min(begin + _TILES_PER_TASK, count)):
                    transform_tile(x.ctypes.data, x_shape, place, tiles, 0, c, v.ctypes.data + size * t * _CHUNK,
                                   steps[0], _CHUNK, zeros)  # fmt: skip
                    place = next_place(place, tiles, y_shape)
        parts = (count + per_task - 1) // per_task
        queues = share_out(panels * parts)
        for thread in prange(len(queues)):
            for task in tasks(queues, thread):
                part, column = task // panels, task % panels * width
                low, high, wide = count * part // parts, count * (part + 1) // parts, min(width, o - column)
                own, edge = products[numba.get_thread_id()], edges[numba.get_thread_id()]
                for chunk in range(0, c, _CHUNK):
                    channels = min(_CHUNK, c - chunk)
                    u = weights[column // width * chunks + chunk // _CHUNK if kept else numba.get_thread_id()]
                    if not kept:
                        _transform_chunk(w, tiles, r, c, o, turned, chunk, channels, column, wide, width, steps[1],
                                         taps[numba.get_thread_id()], u)  # fmt: skip
                    pixels = v.ctypes.data + size * (chunk // _CHUNK * nn * steps[0] + low * _CHUNK)
                    _multiply_chunk(pixels, nn, high - low, u.ctypes.data, channels, wide, width, steps, chunk == 0,
                                    own.ctypes.data, zeros)  # fmt: skip
                place = place_of(first + low, tiles, y_shape)
                for t in range(high - low):
                    finish_tile(own.ctypes.data + size * t * width, steps[2], bias.ctypes.data, tiles, beside, least, y,
                                y_shape, place, column, wide, edge)  # fmt: skip
                    place = next_place(place, tiles, y_shape)
                fence()


@helper
def _multiply_chunk(v, nn, count, u, channels, wide, width, steps, begins, own, zeros):
    """M (n², tiles, width) (+)= V of a chunk of channels times U of the chunk and a panel; addresses."""
    size = zeros.itemsize
    for k in range(nn):
        to = own + size * k * steps[2]
        begin, step = (zeros.ctypes.data, 0) if begins else (to, width)
        after = v + size * (k + 1) * steps[0]  # V of the next product, to fetch from the L3 cache
        tile(zeros.dtype.type(0), count, wide, v + size * k * steps[0], _CHUNK, 0, 1, u + size * k * steps[1], 0, width,
             1, channels, begin, step, to, width, after)  # fmt: skip


@helper
def _transform_chunk(w, tiles, r, c, o, turned, chunk, channels, column, wide, width, step, taps, to):
    """U (n², chunk, width) of a chunk of input channels and a panel of output channels."""
    n, kind, size = tiles.n, w.dtype.type(0), w.itemsize
    source, row, tap = w.ctypes.data + size * (chunk * o + column), o, c * o
    # Short runs of rows far apart, which no hardware foresees.
    for k in range(r * r):
        for i in range(wide if turned else channels):
            at = (k * o + column + i) * c + chunk if turned else (k * c + chunk + i) * o + column
            for j in range(0, size * (channels if turned else wide), 64):
                prefetch(w.ctypes.data + size * at + j)
    if turned:  # w is (taps, O, C) then
        for k in range(r * r):
            for j in range(wide):
                run = w[((r * r - 1 - k) * o + column + j) * c + chunk :][:channels]
                for i in range(channels):
                    taps[k * step + i * width + j] = run[i]
        source, row, tap = taps.ctypes.data, width, step
    for i in range(channels):
        transform_weights(kind, abs(tiles.form), wide, source + size * i * row, r * tap, tap,
                          to.ctypes.data + size * i * width, n * step, step)  # fmt: skip


def weight_grad(x, gy, tiles, gw):
    r, c, o = len(gw), *gw.shape[2:]
    nn, width, number, threads = tiles.n**2, tile_width(x.dtype), number_of(tiles, gy), MOST_THREADS
    chunks, panels = ceil_div(c, _CHUNK), ceil_div(o, width)
    chunk = ceil_div(ceil_div(c, chunks), 8) * 8  # nearly equal ones, for threads to share
    at_once = _at_once(number, nn * (chunks * chunk + panels * width) * x.itemsize, _GRADIENT_L3)
    steps = apart(at_once * chunk), apart(at_once * width), apart(chunk * width)  # from one k to the next
    _weight_grad(
        x.reshape(-1), x.shape, gy.reshape(-1), gy.shape, tiles, number, r, at_once, chunk, steps,
        empty((nn * chunks * steps[0],), x.dtype), empty((nn * panels * steps[1],), x.dtype),
        empty((threads, 2 * nn * steps[2]), x.dtype),
        empty((threads, r * r * steps[2]), x.dtype), gw.reshape(-1), width, np.zeros(width, x.dtype),
    )  # fmt: skip


@jit
def _weight_grad(x, x_shape, gy, gy_shape, tiles, number, r, at_once, most, steps, v, d, sums, taps, gw, width,
                 zeros):  # fmt: skip
    """most: channels of a chunk."""
    c, o, size = x_shape[3], gy_shape[3], x.itemsize
    nn, panels, chunks = tiles.n * tiles.n, (o + width - 1) // width, (c + most - 1) // most
    for first in range(0, number, at_once):
        count = min(at_once, number - first)
        queues = share_out((count + _TILES_PER_TASK - 1) // _TILES_PER_TASK)
        for thread in prange(len(queues)):
            for task in tasks(queues, thread):
                begin = task * _TILES_PER_TASK
                place = place_of(first + begin, tiles, gy_shape)
                for t in range(begin, min(begin + _TILES_PER_TASK, count)):
                    transform_tile(x.ctypes.data, x_shape, place, tiles, 0, c, v.ctypes.data + size * t * most,
                                   steps[0], most, zeros)  # fmt: skip
                    spread_tile(gy.ctypes.data, gy_shape, place, tiles, 0, o, d.ctypes.data + size * t * width,
                                steps[1], width, zeros)  # fmt: skip
                    place = next_place(place, tiles, gy_shape)
        pairs = (panels + 1) // 2  # V comes once from the L3 cache for two panels, and their dU fits the L2 cache
        queues = share_out(chunks * pairs)
        for thread in prange(len(queues)):
            for task in tasks(queues, thread):
                chunk, pair, own = task // pairs, task % pairs * 2, sums[numba.get_thread_id()]
                channels, beyond = min(most, c - chunk * most), min(pair + 2, panels)
                for k in range(nn):  # dU[k] (chunk, width) = V[k]^T (tiles, chunk) @ dM[k] (tiles, width)
                    for panel in range(pair, beyond):
                        # What the next product reads, to fetch from the L3 cache.
                        after = v.ctypes.data + size * (chunk * nn + k + 1) * steps[0]
                        if panel > pair:
                            after = d.ctypes.data + size * (pair * nn + k + 1) * steps[1]
                        tile(zeros.dtype.type(0), channels, min(width, o - panel * width),
                             v.ctypes.data + size * (chunk * nn + k) * steps[0], 1, 0,
                             most, d.ctypes.data + size * (panel * nn + k) * steps[1], 0, width, 1, count,
                             zeros.ctypes.data, 0, own.ctypes.data + size * ((panel - pair) * nn + k) * steps[2], width,
                             after)  # fmt: skip
                for panel in range(pair, beyond):
                    _gather_chunk(own[(panel - pair) * nn * steps[2] :], tiles, r, c, o, chunk * most, channels,
                                  panel * width, min(width, o - panel * width), width, steps[2], first > 0,
                                  taps[numba.get_thread_id()], gw)  # fmt: skip


@helper
def _gather_chunk(sums, tiles, r, c, o, first, channels, column, wide, width, step, more, taps, gw):
    """gw (+)= the weights' gradient from dU (n², chunk, width)."""
    n, kind, size = tiles.n, gw.dtype.type(0), gw.itemsize
    for i in range(channels):
        at = size * i * width
        gather_weights(
            kind, tiles.form, wide, sums.ctypes.data + at, n * step, step, taps.ctypes.data + at, r * step, step
        )
    for k in range(r * r):
        for i in range(channels):
            to = gw[(k * c + first + i) * o + column :][:wide]
            part = taps[k * step + i * width :][:wide]
            if more:
                for j in range(wide):
                    to[j] += part[j]
            else:
                copy(kind, wide, part.ctypes.data, to.ctypes.data)
