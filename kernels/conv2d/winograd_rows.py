"""conv2d by Winograd's algorithm down the rows alone, for few channels: 5×5 windows in 9 rows of products for 25.

    rows i … i + m - 1 of y = A^T [ sum over v, c of (G w)[k, v, c] * (B^T x)[k, j + v, c] ]     k = 0 … m + r - 2

winograd.py has tiles of m×m outputs, transformed channel by channel: of six channels ten lanes of sixteen are empty.
Here a transform goes down the rows of an image, which are long runs of memory whatever the channels, and a row of
outputs is a direct convolution by windows of one row. Per row of outputs that is (m + r - 1) / m rows of products in
place of r. It is the more exact one, too (float32, six channels of unit variance): 5×5 windows are 7.8e-7 from
float64's, those of winograd.py 1.6e-6, the direct sum 2.2e-7; 3×3 windows 2.2e-7, and the direct sum 1.3e-7.

The gradients are adjoints: the input's is the same with the windows turned around; the weights' is dM = A gy,
dU[k] = V[k]^T dM[k], gw = G^T dU.
"""

import numba
import numpy as np
from numba import types
from numba.extending import intrinsic

from .._cook_toom import cook_toom, transposed
from .._jit import helper, jit, prange, shared
from .._layout import apart, ceil_div
from .._pool import empty
from .._queues import share_out, tasks
from .._threads import MOST_THREADS
from .._tile import last_step, tile, tile_width
from .._transform import emit_rows
from .._vector import STREAMED, copy, fence
from ..add import add_parts
from .direct import shifted, side_by_side, swapped

_ROWS = {5: 5, 3: 4}  # m of r
_POINTS = {
    5: ("1/4", "-1/4", "2/3", "-2/3", "5/4", "-5/4", "5/2", "-5/2"),
    3: ("0", "2/3", "-2/3", "3/2", "-3/2"),
}
_A, _G, _B = ({r: cook_toom(_ROWS[r], r, points)[i] for r, points in _POINTS.items()} for i in range(3))
_LEAST = 8  # rows and columns of an image
_PRODUCTS = 1_000_000  # of the plain sums, which take 10 microseconds of two cores
_L2 = 256 * 1024  # bytes of V and dM that a task of the weights' gradient has at once
_PARTS = 16  # of the images, with weights' gradients of their own


# Transforms of rows, see _transform.py. kind is any scalar of the dtype.


@intrinsic
def _weights(context, kind, r, count, x, x_row, y, y_row, high):
    return shared(types.void(kind, *[types.intp] * 7), _emit_weights)


@intrinsic
def _gathered(context, kind, r, count, x, x_row, y, y_row, high):
    return shared(types.void(kind, *[types.intp] * 7), _emit_gathered)


@intrinsic
def _pixels(context, kind, r, count, x, x_row, y, y_row, high, top, bottom, zeros):
    return shared(types.void(kind, *[types.intp] * 10), _emit_pixels)


@intrinsic
def _spread(context, kind, r, count, x, x_row, y, y_row, high, top, bottom, zeros):
    return shared(types.void(kind, *[types.intp] * 10), _emit_spread)


@intrinsic
def _outputs(context, kind, r, count, x, x_row, y, y_row, high, start, beside, least, streamed):
    return shared(types.void(kind, *[types.intp] * 9, kind, types.intp), _emit_outputs)


def _emit_weights(builder, signature, args):
    emit_rows(builder, signature.args[0].bitwidth, _G, args[1:])


def _emit_gathered(builder, signature, args):
    emit_rows(builder, signature.args[0].bitwidth, transposed(_G), args[1:])


def _emit_pixels(builder, signature, args):
    emit_rows(builder, signature.args[0].bitwidth, _B, args[1:8], border=args[8:])


def _emit_spread(builder, signature, args):
    emit_rows(builder, signature.args[0].bitwidth, transposed(_A), args[1:8], border=args[8:])


def _emit_outputs(builder, signature, args):
    emit_rows(builder, signature.args[0].bitwidth, _A, args[1:8], finish=args[8:])


def fits(w_shape, y, stride, dilation, groups):
    """Whether weights (r, KW, C, O) and an output shaped as y are a case for it, and one that it wins.

    With 12 channels and more on either side winograd.py saves more; the products of three elements of a row are too
    short; of small images, so are the rows. Small layers keep the plain sums: of a gradient that does not reach a pixel
    Winograd's leave some 1e-8, and who looks at single numbers sees zeros there.
    """
    r, columns, *channels = w_shape
    if r not in _ROWS or stride != (1, 1) or dilation != (1, 1) or groups != 1:
        return False
    worth = y.size * r * columns * channels[0] >= _PRODUCTS
    return worth and min(channels) < 12 and columns * channels[0] >= 5 and min(y.shape[1:3]) >= _LEAST


def wins(gx):
    """Whether it beats scatter.py: not where rows of few channels are short (0.3 to 1.2)."""
    return gx.shape[3] >= 6 or gx.shape[2] >= 56


def forward(x, w, bias, padding, relu, residual, y):
    """relu: what is negative becomes 0, after the residual, if it is not None, was added."""
    _correlate(x, w, bias, padding, *last_step(y, relu, residual), y)


def input_grad(start, residual, gy, w, padding, gx):
    """gx = start (C,) at every pixel, plus the input's gradient, plus the residual if it is not None.

    No padding is greater than the windows' reach.
    """
    kh, kw = w.shape[:2]
    taps = swapped(w, range(kh - 1, -1, -1), range(kw - 1, -1, -1))
    _correlate(gy, taps, start, (kh - 1 - padding[0], kw - 1 - padding[1]), *last_step(gx, False, residual), gx)


def _correlate(x, w, bias, padding, beside, least, y):
    side = side_by_side(w.shape, y, (1, 1), (1, 1), 1)
    if side > 1:  # what is not finite reaches a neighbour's columns, too, as it does all rows of its tile
        w, bias = shifted(w, 1, side), np.concatenate([bias] * side)
        y = y.reshape(*y.shape[:2], -1, side * y.shape[3])
    r, kw, c, o = w.shape
    m, width = _ROWS[r], tile_width(x.dtype)
    n, seen = m + r - 1, (x.shape[2] + 2 * padding[1]) * c  # elements of a bordered row
    steps = apart(seen), apart(y.shape[2] * o)  # of V and M
    panels = empty((n, ceil_div(o, width), kw * c, width), x.dtype)
    _transform_weights(w.reshape(-1), w.shape, m, width, panels.reshape(-1), empty((n, kw * c * o), x.dtype))
    _correlate_rows(
        x.reshape(-1), x.shape, panels.reshape(-1), np.tile(bias, y.shape[2]), (m, *w.shape), side * c, padding, beside,
        least, y.reshape(-1), y.shape, steps, empty((MOST_THREADS, n * sum(steps)), x.dtype), width,
        np.zeros(max(width, c), x.dtype),
    )  # fmt: skip


@jit
def _transform_weights(w, w_shape, m, width, panels, rows):
    """Weights (r, KW, C, O) to U as panels (n, O / width rounded up, KW * C, width)."""
    r, kw, c, o = w_shape
    n, run, blocks, kind, size = m + r - 1, kw * c, (o + width - 1) // width, w.dtype.type(0), w.itemsize
    _weights(kind, r, run * o, w.ctypes.data, run * o, rows.ctypes.data, run * o, n)
    queues = share_out(n * blocks)
    for thread in prange(len(queues)):
        for task in tasks(queues, thread):
            k, block = task // blocks, task % blocks
            source = rows.ctypes.data + size * (k * run * o + block * width)
            target = panels.ctypes.data + size * task * run * width
            for i in range(run):
                copy(kind, min(width, o - block * width), source + size * i * o, target + size * i * width)


@jit
def _correlate_rows(x, x_shape, panels, bias, w_shape, across, padding, beside, least, y, y_shape, steps, scratch,
                    width, zeros):  # fmt: skip
    """A task is m rows of outputs of an image."""
    (m, r, kw, c, o), (_, oh, ow, _) = w_shape, y_shape
    n, run, kind, size = m + r - 1, kw * c, zeros.dtype.type(0), zeros.itemsize
    down, panel = (oh + m - 1) // m, size * run * width
    queues = share_out(x_shape[0] * down)
    for thread in prange(len(queues)):
        for task in tasks(queues, thread):
            image, i = task // down, task % down * m
            v = scratch[numba.get_thread_id()].ctypes.data
            products, u = v + size * n * steps[0], panels.ctypes.data
            _transform_rows(x, x_shape, image, i - padding[0], m, r, padding[1], v, steps[0], zeros)
            for k in range(n):
                for column in range(0, o, width):
                    tile(kind, ow, min(width, o - column), v + size * k * steps[0], across, 0, 1, u, 0, width, 1, run,
                         zeros.ctypes.data, 0, products + size * (k * steps[1] + column), o, 0)  # fmt: skip
                    u += panel
            to = y.ctypes.data + size * (image * oh + i) * ow * o
            _outputs(kind, r, ow * o, products, steps[1], to, ow * o, min(m, oh - i), bias.ctypes.data, beside, least,
                     size * y.size >= STREAMED)  # fmt: skip
            fence()


@helper
def _transform_rows(x, x_shape, image, top, m, r, left, to, step, zeros):
    """V of rows `top` to top + n - 1 of an image, with `left` pixels of zeros on either side, at address `to`."""
    (_, h, w, c), n, size, kind = x_shape, m + r - 1, zeros.itemsize, zeros.dtype.type(0)
    source = x.ctypes.data + size * (image * h + top) * w * c
    _pixels(kind, r, w * c, source, w * c, to + size * left * c, step, n, -top, h - top, zeros.ctypes.data)
    for k in range(n):
        for j in range(left):
            copy(kind, c, zeros.ctypes.data, to + size * (k * step + j * c))
            copy(kind, c, zeros.ctypes.data, to + size * (k * step + (left + w + j) * c))


def weight_grad(x, gy, padding, gw):
    r, kw, c, o = gw.shape
    m, width = _ROWS[r], tile_width(x.dtype)
    n, run, down = m + r - 1, kw * c, ceil_div(gy.shape[1], m)
    steps = apart((x.shape[2] + 2 * padding[1]) * c), gy.shape[2] * o  # of V and dM
    at_once = max(1, _L2 // (n * sum(steps) * x.itemsize))
    parts = max(1, min(_PARTS, len(x) * down))
    sums = empty((parts, gw.size), x.dtype)
    _weight_grad(
        x.reshape(-1), x.shape, gy.reshape(-1), gy.shape, (m, *gw.shape), padding, steps, at_once,
        empty((MOST_THREADS, n * (at_once * sum(steps) + run * o)), x.dtype), sums, width,
        np.zeros(max(width, c), x.dtype),
    )  # fmt: skip
    add_parts(sums, gw.reshape(-1))


@jit
def _weight_grad(x, x_shape, gy, gy_shape, w_shape, padding, steps, at_once, scratch, sums, width, zeros):
    """A task is a part of all rows of tiles, with a dU of its own."""
    (m, r, kw, c, o), (images, oh, ow, _) = w_shape, gy_shape
    n, run, kind, size, parts = m + r - 1, kw * c, zeros.dtype.type(0), zeros.itemsize, len(sums)
    down = (oh + m - 1) // m
    queues = share_out(parts)
    for thread in prange(len(queues)):
        for task in tasks(queues, thread):
            begin, end = images * down * task // parts, images * down * (task + 1) // parts
            v = scratch[numba.get_thread_id()].ctypes.data
            d = v + size * n * at_once * steps[0]
            u = d + size * n * at_once * steps[1]
            for first in range(begin, end, at_once):
                count = min(at_once, end - first)
                for t in range(count):
                    image, i = (first + t) // down, (first + t) % down * m
                    _transform_rows(x, x_shape, image, i - padding[0], m, r, padding[1], v + size * t * steps[0],
                                    at_once * steps[0], zeros)  # fmt: skip
                    source = gy.ctypes.data + size * (image * oh + i) * ow * o
                    _spread(kind, r, ow * o, source, ow * o, d + size * t * steps[1], at_once * steps[1], n, 0, oh - i,
                            zeros.ctypes.data)  # fmt: skip
                for k in range(n):  # dU[k] (run, O) += V[k] (pixels, run)^T @ dM[k] (pixels, O)
                    at_v, at_d = v + size * k * at_once * steps[0], d + size * k * at_once * steps[1]
                    for column in range(0, o, width):
                        to = u + size * (k * run * o + column)
                        start, step = (zeros.ctypes.data, 0) if first == begin else (to, o)
                        tile(kind, run, min(width, o - column), at_v, 1, steps[0], c, at_d + size * column, steps[1], o,
                             count, ow, start, step, to, o, 0)  # fmt: skip
            _gathered(kind, r, run * o, u, run * o, sums[task].ctypes.data, run * o, r)
