"""conv2d by the register tile: no im2col, the sums of a row of output pixels stay in registers.

Channels-last memory makes the kernel's columns and the channels of a pixel one contiguous run, so the textbook's three
inner sums over (u, v, c) are two loops: over kernel rows, and over that run. Where the image needs a border, or a
group is a part of the channels, the rows that a block of output rows reads are first copied to a small scratch array
that has the border and only the group's channels; it stays in the L2 cache.

Every loop is cut by sizes, never by the number of threads, and every element has one writer.
"""

from math import gcd

import numba
import numpy as np

from .._jit import helper, inline_sum, jit, prange
from .._layout import ceil_div
from .._pool import empty
from .._queues import share_out, tasks
from .._threads import MOST_THREADS
from .._tile import FETCHED, further, last_step, tile, tile_last, tile_width
from .._vector import STREAMED, VECTOR_BYTES, copy, fence, transpose

_SCRATCH_BYTES = 96 * 1024  # of bordered input rows per thread: well inside any L2 cache
_FEWEST_TASKS = 16  # so that cores share the work evenly also at batch 1
_SUMMED = 32768  # elements that are summed at once, to see whether all are finite
_FEW_CHANNELS, _MANY_PRODUCTS = 4, 100  # of a pixel, of each of its elements: then it pays to ask if all are finite
_PARTIAL_SUMS = 32  # weight gradient: independent sums over images, where the weights alone give too few tasks

# ---- forward -------------------------------------------------------------------------------------------------------


def forward(x, w, bias, stride, padding, dilation, groups, relu, residual, y):
    """relu: what is negative becomes 0, after the residual, if it is not None, was added."""
    last = last_step(y, relu, residual)
    side, (kh, kw, c, o) = side_by_side(w.shape, y, stride, dilation, groups), w.shape
    if side > 1 and (c <= _FEW_CHANNELS or kh * kw * o >= _MANY_PRODUCTS) and _is_finite(x):
        w, bias = shifted(w, stride[1], side), np.concatenate([bias] * side)
        y, stride = y.reshape(*y.shape[:2], -1, side * y.shape[3]), (stride[0], side * stride[1])
    _correlate(x, w, bias, stride, padding, dilation, groups, *last, y, (0, 0), (1, 1), y.shape[1:3])


def side_by_side(w_shape, y, stride, dilation, groups):
    """How many neighbouring output pixels count as one pixel of more channels, so that few channels fill a vector.

    Each meets the columns of all of them. LeNet's first layer has six channels for sixteen lanes: with two pixels side
    by side a row of its windows costs 6 vectors in place of 10. Forward, weights are zero where a column is another
    pixel's. But 0 * inf is NaN, so it is done for finite pixels alone; that is quickly told where they have few
    channels, or each many products. Of the weights' gradient, what a pixel gives for the columns of others is not used.
    """
    (kw, _, o), lanes = w_shape[1:], VECTOR_BYTES // y.itemsize
    if groups > 1 or dilation[1] > 1 or not y.size:
        return 1
    fitting = [side for side in range(1, lanes // o + 1) if y.shape[2] % side == 0]
    return min(fitting, key=lambda side: (kw + (side - 1) * stride[1]) / side, default=1)


def _is_finite(x):
    return np.isfinite(_total(x.reshape(-1)))


@jit
def _total(x):
    sums = np.empty((x.size + _SUMMED - 1) // _SUMMED, x.dtype)
    queues = share_out(sums.size)
    for thread in prange(len(queues)):
        for task in tasks(queues, thread):
            sums[task] = _sum(x[task * _SUMMED : (task + 1) * _SUMMED])
    return _sum(sums)


@inline_sum
def _sum(x):
    total = x.dtype.type(0)
    for i in range(x.size):
        total += x[i]
    return total


def shifted(w, stride, side):
    """Weights (KH, KW, C, O) for so many pixels at once: (KH, KW + (side - 1) * stride, C, side * O)."""
    kh, kw, c, o = w.shape
    wide = np.zeros((kh, kw + (side - 1) * stride, c, side * o), w.dtype)
    for pixel in range(side):
        wide[:, pixel * stride : pixel * stride + kw, :, pixel * o : (pixel + 1) * o] = w
    return wide


def _correlate(x, w, bias, stride, padding, dilation, groups, beside, least, y, first, step, count):
    """y[:, first + step*i] = the correlation of x and w at i < count. A negative padding crops the image.

    beside, least: of last_step.
    """
    n, h, wd, c = x.shape
    kh, kw, cg, o = w.shape
    og, width = o // groups, tile_width(x.dtype)
    panels = empty((groups * ceil_div(og, width), kh * kw * cg, width), x.dtype)
    starts = np.zeros((len(panels), width), x.dtype)
    _pack(w.reshape(-1), bias, og, groups, panels, starts)
    seen_h, seen_w = _rows_seen(count, (kh, kw), stride, dilation)
    pixel = _pixel(cg, x.dtype)
    covered = max(padding) <= 0 and seen_h - padding[0] <= h and seen_w - padding[1] <= wd
    inside = covered and groups == 1 and pixel == cg
    # Eight output rows reuse a panel of weights often enough.
    rows = max(1, min(count[0], 8, n * groups * count[0] // _FEWEST_TASKS))
    rows, scratch = _scratch(rows, seen_w, kh, stride[0], dilation[0], pixel, x.dtype, inside)
    _correlate_blocks(
        x.reshape(-1), x.shape, panels.reshape(-1), starts.reshape(-1), (kh, kw, cg, og), groups, width,
        stride, padding, dilation, beside, least, y.reshape(-1), y.shape, first, step, count, rows,
        seen_w, pixel, inside, scratch,
    )  # fmt: skip


def _rows_seen(count, kernel, stride, dilation):
    """How many rows and columns of the bordered image `count` output rows and columns read."""
    return [(n - 1) * s + (k - 1) * d + 1 for n, k, s, d in zip(count, kernel, stride, dilation, strict=True)]


def _scratch(rows, seen_w, kh, stride, dilation, pixel, dtype, inside):
    """(rows, scratch): at most `rows` output rows at a time, so few that the input rows they read fit the scratch."""
    if inside:
        return rows, np.empty((MOST_THREADS, 0), dtype)
    reach = (kh - 1) * dilation + 1
    fit = (_SCRATCH_BYTES // (seen_w * max(pixel, 1) * dtype.itemsize) - reach) // stride + 1
    rows = max(1, min(rows, fit))
    return rows, np.empty((MOST_THREADS, ((rows - 1) * stride + reach) * seen_w * pixel), dtype)


@jit
def _pack(w, bias, og, groups, panels, starts):
    """Weights (KH*KW*C/groups, O) to a panel per tile's width of a group's outputs, filled up with zeros."""
    blocks, run, width = panels.shape
    blocks //= groups
    queues = share_out(groups * blocks)
    for thread in prange(len(queues)):
        for task in tasks(queues, thread):
            at = task
            column = at % blocks * width
            first = at // blocks * og + column
            for j in range(min(width, og - column)):
                starts[at, j] = bias[first + j]
            if og - column < width:
                panels[at] = 0
            source, target = w.ctypes.data + w.itemsize * first, panels[at].ctypes.data
            for r in range(run):
                copy(w.dtype.type(0), min(width, og - column), source + w.itemsize * r * groups * og,
                     target + w.itemsize * r * width)  # fmt: skip


@jit
def _correlate_blocks(x, x_shape, panels, starts, w_shape, groups, width, stride, padding, dilation,
                      beside, least, y, y_shape, first, step, count, rows, seen_w, pixel, inside, scratch):  # fmt: skip
    """A task is a block of output rows of one image, for one group."""
    blocks = (count[0] + rows - 1) // rows
    queues = share_out(x_shape[0] * groups * blocks)
    for thread in prange(len(queues)):
        for task in tasks(queues, thread):
            n = task // (groups * blocks)
            g = task // blocks % groups
            top = task % blocks * rows
            _correlate_rows(n, g, top, min(top + rows, count[0]), x, x_shape, panels, starts, w_shape, width,
                            stride, padding, dilation, beside, least, y, y_shape, first, step, count, seen_w, pixel,
                            inside, scratch[numba.get_thread_id()])  # fmt: skip


@helper
def _correlate_rows(n, g, top, bottom, x, x_shape, panels, starts, w_shape, width, stride, padding, dilation,
                    beside, least, y, y_shape, first, step, count, seen_w, pixel, inside, scratch):  # fmt: skip
    kh, kw, cg, og = w_shape
    o, columns = y_shape[3], count[1]
    reach = (kh - 1) * dilation[0] + 1
    source, origin, line = _image_rows(
        x, x_shape, n, top * stride[0] - padding[0], -padding[1], g * cg, (bottom - top - 1) * stride[0] + reach,
        seen_w, cg, pixel, inside, scratch)  # fmt: skip
    ahead = _rows_after(x, x_shape, n, top, bottom, count[0], stride[0], padding[0], reach) + (0, 0)
    across, along, down = stride[1] * pixel, step[1] * o, dilation[0] * line
    kind, size = x.dtype.type(0), x.itemsize
    w_data, s_data, x_data, y_data = panels.ctypes.data, starts.ctypes.data, source.ctypes.data, y.ctypes.data
    # Without gaps between the kernel's columns, columns and channels are one run.
    runs, run = (1, kw * cg) if pixel == cg and dilation[1] == 1 or kw <= 1 else (kw, cg)
    streamed = runs == 1 and size * y.size >= STREAMED
    blocks = (og + width - 1) // width
    for block in range(blocks):
        w = w_data + size * (g * blocks + block) * kh * kw * cg * width
        wide = min(width, og - block * width)
        for i in range(top, bottom):
            row = i * stride[0] - padding[0]
            u, rows = 0, kh  # the rows of the kernel that meet the image; the others would add zeros
            if row < 0 or row + reach > x_shape[1]:  # (a division takes 26 cycles)
                u = max(0, -row + dilation[0] - 1) // dilation[0]
                rows = max(0, min(kh, (x_shape[1] - 1 - row) // dilation[0] + 1) - u)
            y_row = ((n * y_shape[1] + first[0] + step[0] * i) * y_shape[2] + first[1]) * o + g * og + block * width
            x_row = origin + (i - top) * stride[0] * line + u * down
            xt, yt = x_data + size * x_row, y_data + size * y_row
            for v in range(runs):  # the first run starts from the bias, the others add to it
                s, si = (s_data + size * (g * blocks + block) * width, 0) if v == 0 else (yt, along)
                last = (beside, least) if v == runs - 1 else (0, y.dtype.type(-np.inf))
                tile_last(kind, columns, wide, xt + size * v * dilation[1] * pixel, across, down, 1,
                          w + size * (u * kw + v) * cg * width, kw * cg * width, width, rows, run,
                          s, si, *last, streamed, yt, along, ahead[0])  # fmt: skip
                ahead = further(ahead, columns, rows * run)
    fence()


@helper
def _rows_after(x, x_shape, n, top, bottom, count, stride, padding, reach):
    """(begin, end): addresses of the image rows that the task after output rows top to bottom of image n reads first.

    count: output rows of an image. reach: input rows that one of them reads.
    """
    _, h, w, c = x_shape
    if bottom < count:
        begin = n * h + min(max(0, (bottom - 1) * stride - padding + reach), h)
    else:
        begin = (n + 1) * h
    rows = (bottom - top) * stride
    begin = x.ctypes.data + x.itemsize * begin * w * c
    return begin, begin + min(x.itemsize * rows * w * c, FETCHED)


@helper
def _image_rows(x, x_shape, n, top, left, channel, high, wide, channels, pixel, inside, scratch):
    """(array, offset, elements to the next row) of `high` rows of the bordered image of one group.

    The image itself where no border is seen and there is one group, else a copy in scratch. Pixels are `pixel` elements
    apart.
    """
    _, h, w, c = x_shape
    if inside:
        return x, ((n * h + top) * w + left) * c, w * c
    begin = min(max(-left, 0), wide)
    end = max(min(w - left, wide), begin)
    for i in range(high):
        row = scratch[i * wide * pixel : (i + 1) * wide * pixel]
        if top + i < 0 or top + i >= h:  # a forward pass skips these rows, the weights' gradient adds their zeros
            row[:] = 0
            continue
        row[: begin * pixel] = 0
        row[end * pixel :] = 0
        start = ((n * h + top + i) * w + left + begin) * c + channel
        source, target, size = x.ctypes.data + x.itemsize * start, row.ctypes.data, x.itemsize
        if pixel == channels == c:
            copy(x.dtype.type(0), (end - begin) * c, source, target + size * begin * c)
        else:
            for j in range(end - begin):
                copy(x.dtype.type(0), channels, source + size * j * c, target + size * (begin + j) * pixel)
    return scratch, 0, wide * pixel


# ---- gradient of the input -----------------------------------------------------------------------------------------


def input_grad(start, gy, w, stride, padding, dilation, groups, gx):
    """Rows of gx that are equal modulo the stride meet the same kernel rows: such a phase is a correlation of stride 1.

    With s the stride, p the padding, d the dilation: gx[i] sums gy[j] * w[u] over i + p = s*j + d*u. For i = first +
    s*k let first + p = s*q + phase; u then takes the values where d*u = phase + s*m for a whole m, and j = k + q - m.
    """
    kh, kw = w.shape[:2]
    for rows in _phases(gx.shape[1], kh, stride[0], padding[0], dilation[0]):
        for columns in _phases(gx.shape[2], kw, stride[1], padding[1], dilation[1]):
            pads, gaps, first, count = zip(rows[1], columns[1], strict=True)
            if not rows[0] or not columns[0]:  # a stride greater than the kernel: no output sees these pixels
                _fill(gx.reshape(-1), gx.shape, start, first, stride)
                continue
            taps = swapped(w, rows[0], columns[0], groups)
            _correlate(gy, taps, start, (1, 1), pads, gaps, groups, 0, gx.dtype.type(-np.inf), gx, first, stride, count)


def is_one_correlation(stride, dilation, groups):
    return stride == dilation == (1, 1) and groups == 1


def input_grad_of_one(start, residual, gy, w, padding, gx):
    """input_grad where there is one phase, plus the residual if it is not None."""
    kh, kw = w.shape[:2]
    taps = swapped(w, range(kh - 1, -1, -1), range(kw - 1, -1, -1))
    forward(gy, taps, start, (1, 1), (kh - 1 - padding[0], kw - 1 - padding[1]), (1, 1), 1, False, residual, gx)


def turned_shape(w_shape, groups):
    """The shape of the weights that the input's gradient is a correlation with."""
    kh, kw, c, o = w_shape
    return kh, kw, o // groups, c * groups


def swapped(w, rows, columns, groups=1):
    """(R, S, O/groups, C): these rows and columns of weights (KH, KW, C/groups, O), each group's channels exchanged."""
    _, _, cg, o = w.shape
    taps = empty((len(rows), len(columns), o // groups, groups * cg), w.dtype)
    _swap(w, np.array(rows), np.array(columns), groups, taps)
    return taps


_BLOCK = 16  # channels: a line of float32


@jit
def _swap(w, rows, columns, groups, taps):
    """A task is a block of output channels of one tap and group. (1024 to 2048: 5 ms less than NumPy's copy.)"""
    cg, o = w.shape[2:]
    og, size = o // groups, w.itemsize
    blocks = (og + _BLOCK - 1) // _BLOCK
    queues = share_out(len(rows) * len(columns) * groups * blocks)
    for thread in prange(len(queues)):
        for task in tasks(queues, thread):
            first, g = task % blocks * _BLOCK, task // blocks % groups
            v, u = task // (blocks * groups) % len(columns), task // (blocks * groups * len(columns))
            source = w[rows[u], columns[v]].ctypes.data + size * (g * og + first)
            target = taps[u, v].ctypes.data + size * (first * groups * cg + g * cg)
            transpose(w.dtype.type(0), min(_BLOCK, og - first), cg, source, o, target, groups * cg)


@jit
def _fill(gx, gx_shape, start, first, step):
    """gx[:, first + step*i] = start."""
    n, h, w, c = gx_shape
    queues = share_out(n * h)
    for thread in prange(len(queues)):
        for task in tasks(queues, thread):
            i = task % h
            if i % step[0] == first[0]:
                for j in range(first[1], w, step[1]):
                    pixel = gx[(task * w + j) * c :][:c]
                    for k in range(c):
                        pixel[k] = start[k]


def _phases(size, k, s, p, d):
    """For each phase that occurs: its taps, last first, and the padding, dilation, first row and row count it needs."""
    for first in range(min(s, size)):
        q, phase = divmod(first + p, s)
        taps = [u for u in range(k) if (u * d - phase) % s == 0][::-1]
        border = (taps[0] * d - phase) // s - q if taps else 0
        yield taps, (border, d // gcd(s, d), first, ceil_div(size - first, s))


# ---- gradient of the weights -----------------------------------------------------------------------------------------

_PIXELS = 128  # of gy at a time: their part of a panel is 16 kB, half of an L1 cache


def weight_grad(x, gy, stride, padding, dilation, groups, gw):
    kh, kw, cg, o = gw.shape
    side = side_by_side(gw.shape, gy, stride, dilation, groups)
    if side > 1:
        wide = np.empty((kh, kw + (side - 1) * stride[1], cg, side * o), gw.dtype)
        pixels = gy.reshape(*gy.shape[:2], -1, side * o)
        weight_grad(x, pixels, (stride[0], side * stride[1]), padding, dilation, groups, wide)
        own = [wide[:, p * stride[1] : p * stride[1] + kw, :, p * o : (p + 1) * o] for p in range(side)]
        np.sum(own, axis=0, out=gw)
        return
    og, width = o // groups, tile_width(x.dtype)
    _, seen_w = _rows_seen(gy.shape[1:3], (kh, kw), stride, dilation)
    # A copy of pixels pays where several of the kernel's taps read it.
    pixel = _pixel(cg, x.dtype) if kh * kw > 1 else cg
    inside = groups == 1 and padding == (0, 0) and pixel == cg
    # Rows of gy enough to hide the loading and storing of the sums, few enough to stay in the L1 cache.
    rows = max(1, min(gy.shape[1], (_PIXELS if kh * kw > 1 else 2 * _PIXELS) // gy.shape[2]))
    rows, scratch = _scratch(rows, seen_w, kh, stride[0], dilation[0], pixel, x.dtype, inside)
    blocks = groups * ceil_div(og, width)
    parts = max(1, min(len(x), _PARTIAL_SUMS // blocks))
    sums = empty((parts, blocks, kh * kw * cg, width), x.dtype)
    panels = np.empty((MOST_THREADS, rows * gy.shape[2] * width), x.dtype)
    _weight_grad_parts(
        x.reshape(-1), x.shape, gy.reshape(-1), gy.shape, (kh, kw, cg, og), groups, width,
        stride, padding, dilation, rows, seen_w, pixel, inside, scratch, panels, sums,
    )  # fmt: skip
    _add_parts(sums, og, groups, gw.reshape(-1, o))


def _pixel(channels, dtype):
    """Elements from a pixel to the next in scratch: a few more than the channels, where pixels would be a power of two
    of bytes apart and share a few lines of the L1 cache (1×1, 1024 to 256 channels, one core: 80 GFLOP/s; so 100).
    """
    return channels + 16 if channels * dtype.itemsize % 512 == 0 else channels


@jit
def _weight_grad_parts(x, x_shape, gy, gy_shape, w_shape, groups, width, stride, padding, dilation,
                       rows, seen_w, pixel, inside, scratch, panels, sums):  # fmt: skip
    """A task is a tile's width of a group's output channels and a part of the images, with a sum of its own."""
    og, parts = w_shape[3], sums.shape[0]
    blocks = (og + width - 1) // width
    queues = share_out(parts * groups * blocks)
    for thread in prange(len(queues)):
        for task in tasks(queues, thread):
            part = task // (groups * blocks)
            g = task // blocks % groups
            column = task % blocks * width
            own = sums[part, g * blocks + column // width]
            own[:] = 0
            for n in range(x_shape[0] * part // parts, x_shape[0] * (part + 1) // parts):
                for top in range(0, gy_shape[1], rows):
                    _weight_grad_rows(n, g, top, min(top + rows, gy_shape[1]), column, min(width, og - column),
                                      x, x_shape, gy, gy_shape, w_shape, stride, padding, dilation, seen_w, pixel,
                                      inside, scratch[numba.get_thread_id()], panels[numba.get_thread_id()],
                                      own)  # fmt: skip


@helper
def _weight_grad_rows(n, g, top, bottom, column, wide, x, x_shape, gy, gy_shape, w_shape, stride, padding, dilation,
                      seen_w, pixel, inside, scratch, panel, sums):  # fmt: skip
    kh, kw, cg, og = w_shape
    _, oh, ow, o = gy_shape
    width = sums.shape[1]
    reach = (kh - 1) * dilation[0] + 1
    source, origin, line = _image_rows(
        x, x_shape, n, top * stride[0] - padding[0], -padding[1], g * cg, (bottom - top - 1) * stride[0] + reach,
        seen_w, cg, pixel, inside, scratch)  # fmt: skip
    start = (n * oh + top) * ow * o + g * og + column
    panel_data, step = gy.ctypes.data + gy.itemsize * start, o
    if kh * kw > 1:
        _copy_panel(gy, start, o, (bottom - top) * ow, wide, panel, width)
        panel_data, step = panel.ctypes.data, width
    runs, run = (1, kw * cg) if pixel == cg and (dilation[1] == 1 or kw <= 1) else (kw, cg)
    kind, size = x.dtype.type(0), x.itemsize
    ahead = _rows_after(x, x_shape, n, top, bottom, oh, stride[0], padding[0], reach) + (0, 0)
    if wide == o:  # then the rows of gy are a run, too
        ahead = ahead[:2] + _rows_after(gy, gy_shape, n, top, bottom, oh, 1, 0, 1)
    x_data, sums_data = source.ctypes.data + size * origin, sums.ctypes.data
    for u in range(kh):
        for v in range(runs):
            at = sums_data + size * (u * kw + v) * cg * width
            tile(kind, run, wide, x_data + size * (u * dilation[0] * line + v * dilation[1] * pixel), 1,
                 stride[0] * line, stride[1] * pixel, panel_data, ow * step, step, bottom - top, ow, at, width, at,
                 width, ahead[0])  # fmt: skip
            ahead = further(ahead, run, (bottom - top) * ow)


@helper
def _copy_panel(gy, start, step, pixels, wide, panel, width):
    """`wide` channels of each pixel, side by side, in rows of `width`."""
    for p in range(pixels):
        copy(gy.dtype.type(0), wide, gy.ctypes.data + gy.itemsize * (start + p * step),
             panel.ctypes.data + gy.itemsize * p * width)  # fmt: skip


@jit
def _add_parts(sums, og, groups, gw):
    """gw (KH*KW*C/groups, O) = the sum of all parts, in order."""
    parts, blocks, rows, width = sums.shape
    queues = share_out(rows)
    for thread in prange(len(queues)):
        for task in tasks(queues, thread):
            r = task
            for block in range(blocks):
                column = block % (blocks // groups) * width
                wide = min(width, og - column)
                to = gw[r, block // (blocks // groups) * og + column :][:wide]
                first = sums[0, block, r]
                for j in range(wide):
                    to[j] = first[j]
                for part in range(1, parts):
                    more = sums[part, block, r]
                    for j in range(wide):
                        to[j] += more[j]
