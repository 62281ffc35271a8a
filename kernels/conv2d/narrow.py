"""conv2d of groups of few channels: depthwise convolution and its kin.

    y[p, o] = sum over (u, v, k) of x[p * stride + (u, v) * dilation, (o // og) * cg + k] * w[u, v, k, o]

A group has cg inputs and og outputs. The direct form goes from group to group, and fills og of a vector's lanes. Here
vectors run along the channels of all groups (_channel_tile.py). A task first copies the pixels that a block of output
rows reads, with their border. Where groups have as many outputs as inputs, and a vector holds whole groups, an output
lies where its group's inputs do. Else the copy has for each k the input k of each output's group, one after the other
(`laid` inputs for each output, where it is 1 otherwise).

The input's gradient is the same sum of gy, between whose pixels are zeros for a stride (a weight that is not finite
makes NaN of them, as it does of the border). Of the weights' gradient a task sums a part of the images, and its tiles'
rows are the taps. Sources: Chollet 2017, "Xception"; Xie et al. 2017,
"Aggregated residual transformations for deep neural networks".
"""

import numba
import numpy as np

from .._channel_tile import channel_tile, channel_tile_gradient, channels_that_share_a_vector
from .._jit import helper, jit, prange
from .._layout import ceil_div
from .._pool import empty
from .._queues import share_out, tasks
from .._threads import MOST_THREADS
from .._tile import last_step, tile_width
from .._vector import LINE, STREAMED, VECTOR_BYTES, copy, fence, prefetch
from ..add import add_parts
from ..copy_rows import contiguous
from .direct import turned_shape

_WIDE = 256  # channels of a task, about: with half as many, 28² × 256 took 1.3 times as long
_SCRATCH = 384 * 1024  # bytes of pixels, about, that stay in the L2 cache
_FEWEST_TASKS = 16
_AHEAD = 2048  # elements that are copied before what is fetched
_PICKED = 3.5  # cycles that it takes to pick an input of an output
_DIRECT, _DIRECT_GRADIENT = 1.5, 3.5  # cycles of a product of the direct form, forward and for the weights' gradient


def fits(w_shape, groups, dtype, spacing=(1, 1), direct=_DIRECT):
    """Whether weights (KH, KW, cg, O) are of groups so narrow that it is faster than the direct form.

    Cycles for each output and input of its group: here a product fills the lanes, there the group's outputs. direct: of
    its products.
    """
    kh, kw, _, o = w_shape
    if groups == 1 or 0 in w_shape:
        return False
    taps, lanes = kh * kw, VECTOR_BYTES // dtype.itemsize
    picked = 0 if _lie_together(w_shape, groups, dtype) else _PICKED
    return spacing[0] * spacing[1] * taps / lanes + picked < direct * taps * groups / o


def _lie_together(w_shape, groups, dtype):
    cg, o = w_shape[2:]
    return cg * groups == o and cg in channels_that_share_a_vector(dtype)


def forward(x, w, bias, stride, padding, dilation, groups, relu, residual, y):
    """relu: what is negative becomes 0, after the residual, if it is not None, was added."""
    _correlate(x, w, bias, stride, (1, 1), padding, dilation, groups, *last_step(y, relu, residual), y)


def input_grad(start, residual, gy, w, stride, padding, dilation, groups, gx):
    """gx = start (C,) at every pixel, plus the input's gradient, plus the residual if it is not None."""
    kh, kw, cg, o = w.shape
    backwards = w[::-1, ::-1].reshape(kh, kw, cg, groups, o // groups).transpose(0, 1, 4, 3, 2)
    backwards = contiguous(backwards.reshape(turned_shape(w.shape, groups)))
    padding = dilation[0] * (kh - 1) - padding[0], dilation[1] * (kw - 1) - padding[1]
    _correlate(gy, backwards, start, (1, 1), stride, padding, dilation, groups, *last_step(gx, False, residual), gx)


def _plan(w_shape, y_shape, stride, dilation, groups, dtype):
    """(group, together, laid, calls, inputs, columns, wide, rows, scratch): how a task lays out pixels, and memory.

    group: a tuple of g zeros. calls: of a tile for a window's row; where its inputs do not lie at one distance, one for
    each column. inputs: of each output the first input of its group. columns: of the pixels that a row of y reads.
    wide, rows: the channels and the rows of y of a task.
    """
    (kh, kw, cg, o), (_, oh, ow, _), width = w_shape, y_shape, tile_width(dtype)
    together = _lie_together(w_shape, groups, dtype)
    g = cg if together else 1
    calls = kw if cg > g and dilation[1] > 1 else 1
    inputs = np.arange(o, dtype=np.uint32) // np.uint32(o // groups) * np.uint32(cg)
    wide = ceil_div(o, ceil_div(o, _WIDE) * width) * width
    columns = (ow - 1) * stride[1] + (kw - 1) * dilation[1] + 1
    row, reach = columns * (cg // g) * min(wide, o), (kh - 1) * dilation[0] + 1
    rows = max(1, min(oh, (_SCRATCH // (row * dtype.itemsize) - reach) // stride[0] + 1))
    rows = ceil_div(oh, ceil_div(oh, rows))
    scratch = empty((MOST_THREADS, ((rows - 1) * stride[0] + reach) * row), dtype)
    return (dtype.type(0),) * g, together, cg // g, calls, inputs, columns, wide, rows, scratch


def _correlate(x, w, start, stride, spacing, padding, dilation, groups, beside, least, y):
    """spacing: from a pixel of x to the next lie so many, of which the others are zeros."""
    if y.size == 0:
        return
    plan = _plan(w.shape, y.shape, stride, dilation, groups, x.dtype)
    _correlate_blocks(
        *plan, x.reshape(-1), x.shape, w.reshape(-1), w.shape, start, stride, spacing, padding, dilation, beside,
        least, tile_width(x.dtype), y.reshape(-1), y.shape,
    )  # fmt: skip


@jit
def _correlate_blocks(group, together, laid, calls, inputs, columns, wide, rows, scratch, x, x_shape, w, w_shape, start,
                      stride, spacing, padding, dilation, beside, least, width, y, y_shape):  # fmt: skip
    """A task is a block of rows of an image and of channels."""
    (kh, kw, cg, o), (n, oh, ow, _), size = w_shape, y_shape, x.itemsize
    blocks, sides = (oh + rows - 1) // rows, (o + wide - 1) // wide
    taps, streamed, none = kw * laid // calls, size * y.size >= STREAMED, y.dtype.type(-np.inf)
    queues = share_out(n * blocks * sides)
    for thread in prange(len(queues)):
        for task in tasks(queues, thread):
            first, i = task % sides * wide, task // sides % blocks * rows
            image = task // (sides * blocks)
            here, high, own = min(wide, o - first), min(rows, oh - i), scratch[numba.get_thread_id()]
            line, apart = columns * laid * here, here * (dilation[1] if laid == 1 else 1)
            _lay_out(x, x_shape, image, spacing, i * stride[0] - padding[0], -padding[1],
                     (high - 1) * stride[0] + (kh - 1) * dilation[0] + 1, columns, laid, together,
                     inputs[first : first + here], own)  # fmt: skip
            for row in range(high):
                for column in range(0, here, width):
                    at = own.ctypes.data + size * (row * stride[0] * line + column)
                    at_w = w.ctypes.data + size * (first + column)
                    to = y.ctypes.data + size * (((image * oh + i + row) * ow) * o + first + column)
                    for v in range(calls):
                        begin, below = (start.ctypes.data + size * (first + column), 0) if v == 0 else (to, o)
                        last = (beside, least, streamed) if v == calls - 1 else (0, none, False)
                        channel_tile(group, ow, min(width, here - column), at + size * v * dilation[1] * laid * here,
                                     stride[1] * laid * here, dilation[0] * line, apart, at_w + size * v * taps * o,
                                     kw * cg * o, len(group) * o, o, kh, taps, begin, below, *last, to, o)  # fmt: skip
            fence()


@helper
def _lay_out(x, x_shape, image, spacing, top, left, rows, columns, laid, together, inputs, to):
    """Pixels from (top, left) on of an image to (rows, columns, laid, channels), zeros where there are none."""
    (_, h, w, c), kind, size, here = x_shape, x.dtype.type(0), x.itemsize, inputs.size
    pixel, first = laid * here, np.int64(inputs[0])
    begin = min(max(0, -left), columns)
    end = max(begin, min(columns, (w - 1) * spacing[1] + 1 - left))
    for i in range(rows):
        line, row = i * columns * pixel, top + i
        if row < 0 or row % spacing[0] != 0 or row >= h * spacing[0]:
            to[line : line + columns * pixel] = 0
            continue
        source = (image * h + row // spacing[0]) * w * c
        if spacing[1] == 1:
            to[line : line + begin * pixel] = 0
            to[line + end * pixel : line + columns * pixel] = 0
            if together and here == c:
                copy(kind, (end - begin) * c, x.ctypes.data + size * (source + (left + begin) * c),
                     to.ctypes.data + size * (line + begin * c))  # fmt: skip
                continue
        else:
            to[line : line + columns * pixel] = 0
        j = begin + -(left + begin) % spacing[1]
        while j < end:
            at, place = source + (left + j) // spacing[1] * c, line + j * pixel
            if together:
                # Runs that lie apart the hardware does not foresee: 14² × 512 from memory takes 0.8 to 0.9 of the time.
                fetched = x.ctypes.data + size * (at + first + max(1, _AHEAD // here) * c)
                for k in range(0, size * here, LINE):
                    prefetch(fetched + k)
                copy(kind, here, x.ctypes.data + size * (at + first), to.ctypes.data + size * place)
            else:
                for k in range(laid):
                    _pick(x[at + k : at + c], inputs, to[place + k * here : place + (k + 1) * here])
            j += spacing[1]


@helper
def _pick(x, inputs, to):
    for o in range(to.size):  # of unsigned indices numba does not ask whether they are negative: 1.7 times as fast
        to[np.uint64(o)] = x[np.uint64(inputs[np.uint64(o)])]


def weight_grad_fits(w_shape, groups, dtype):
    return fits(w_shape, groups, dtype, direct=_DIRECT_GRADIENT)


def weight_grad(x, gy, stride, padding, dilation, groups, gw):
    if x.size == 0 or gy.size == 0:
        gw[...] = 0
        return
    plan = _plan(gw.shape, gy.shape, stride, dilation, groups, x.dtype)
    *_, wide, rows, _ = plan
    blocks, sides = len(gy) * ceil_div(gy.shape[1], rows), ceil_div(gw.shape[3], wide)
    sums = empty((min(blocks, ceil_div(_FEWEST_TASKS, sides)), gw.size), x.dtype)
    _add_products(
        *plan, x.reshape(-1), x.shape, gy.reshape(-1), gy.shape, gw.shape, stride, padding, dilation,
        tile_width(x.dtype), np.zeros(wide, x.dtype), sums,
    )  # fmt: skip
    add_parts(sums, gw.reshape(-1))


@jit
def _add_products(group, together, laid, calls, inputs, columns, wide, rows, scratch, x, x_shape, gy, gy_shape, w_shape,
                  stride, padding, dilation, width, zeros, sums):  # fmt: skip
    """A task is a part of the blocks of rows of gy, and of the channels."""
    (kh, kw, _, o), (n, oh, ow, _), size = w_shape, gy_shape, x.itemsize
    downs, sides, parts = (oh + rows - 1) // rows, (o + wide - 1) // wide, len(sums)
    taps = kw * laid // calls
    queues = share_out(parts * sides)
    for thread in prange(len(queues)):
        for task in tasks(queues, thread):
            first, part = task % sides * wide, task // sides
            here, own = min(wide, o - first), scratch[numba.get_thread_id()]
            line, apart = columns * laid * here, here * (dilation[1] if laid == 1 else 1)
            begin, end = n * downs * part // parts, n * downs * (part + 1) // parts
            for block in range(begin, end):
                image, i = block // downs, block % downs * rows
                high = min(rows, oh - i)
                _lay_out(x, x_shape, image, (1, 1), i * stride[0] - padding[0], -padding[1],
                         (high - 1) * stride[0] + (kh - 1) * dilation[0] + 1, columns, laid, together,
                         inputs[first : first + here], own)  # fmt: skip
                for column in range(0, here, width):
                    at_gy = gy.ctypes.data + size * ((image * oh + i) * ow * o + first + column)
                    for tap in range(kh * calls):
                        u, v = tap // calls, tap % calls
                        at = own.ctypes.data + size * (u * dilation[0] * line + v * dilation[1] * laid * here + column)
                        to = sums[part].ctypes.data + size * (tap * taps * len(group) * o + first + column)
                        start, below = (zeros.ctypes.data, 0) if block == begin else (to, o)
                        channel_tile_gradient(group, taps, min(width, here - column), at, apart, stride[0] * line,
                                              stride[1] * laid * here, at_gy, ow * o, o, high, ow, start, below, to,
                                              o)  # fmt: skip
