"""Means over windows of pixels, and their gradients: the loops of avg_pool2d and adaptive_avg_pool2d.

A window is a range of rows times a range of columns. Its sum is that of its columns' sums: no sum has more terms than a
window has rows or columns.

A table (3, windows) describes the windows along one axis: where each starts, where it ends (exclusive), both inside the
image and never falling, and what it contributes to the divisor, which is the product of the two axes' parts.
"""

import numba
import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ._jit import helper, jit, prange, shared
from ._queues import share_out, tasks
from ._threads import MOST_THREADS
from ._vector import STREAMED, Vectors, fence

_ABREAST = 4  # vectors of channels that are summed together: windows of 16² pixels of 64 channels 2.6 to 1.0 ms


@jit
def means(x, rows, columns, y):
    """y (N, OH, OW, C): the mean over each window of x (N, H, W, C). A task is a row of windows.

    It gets addresses: to make views of shared arrays, threads wait for each other.
    """
    n, h, w, c = x.shape
    oh, ow, kind, size = y.shape[1], y.shape[2], x.dtype.type(0), x.itemsize
    streamed = size * y.size >= STREAMED
    queues = share_out(n * oh)
    for thread in prange(len(queues)):
        for task in tasks(queues, thread):
            image, i = task // oh, task % oh
            top, bottom = rows[0, i], rows[1, i]
            _mean_row(kind, size, x.ctypes.data + size * (image * h + top) * w * c, w * c, bottom - top, c, rows[2, i],
                      columns, y.ctypes.data + size * task * ow * c, streamed)  # fmt: skip
            fence()


def spread(gy, rows, columns, gx):
    """gx (N, H, W, C): to every pixel its shares of gy (N, OH, OW, C), of all the windows that it lies in."""
    _spread(gy, rows, columns, np.empty((MOST_THREADS, gy.shape[2] * gy.shape[3]), gy.dtype), gx)


@jit
def _spread(gy, rows, columns, sums, gx):
    n, h = gx.shape[:2]
    queues = share_out(n * h)
    for thread in prange(len(queues)):
        for task in tasks(queues, thread):
            image, r = task // h, task % h
            _spread_row(gy[image], r, rows, columns, sums[numba.get_thread_id()], gx[image, r])


@helper
def _mean_row(kind, size, x, row, rows, channels, part, columns, y, streamed):
    """A row of means over windows of so many rows, the first of which begins at address x."""
    for j in range(columns.shape[1]):
        first, last = columns[0, j], columns[1, j]
        divisor, at_x, at_y = type(kind)(part * columns[2, j]), x + size * first * channels, y + size * j * channels
        _mean(divisor, channels, at_x, row, rows, last - first, at_y, streamed)


@intrinsic
def _mean(context, divisor, channels, x, row, rows, columns, y, streamed):
    """y (C,): the sum of x (rows, columns, C), whose rows are `row` elements apart, divided.

    x, y: addresses. streamed: past the caches, where vectors of y begin with one; then call fence().
    """
    return shared(types.void(divisor, *[types.intp] * 7), _emit_mean)


def _emit_mean(builder, signature, args):
    divisor, channels, x, row, rows, columns, y, streamed = args
    vectors, number = Vectors(builder, signature.args[0].bitwidth), channels.type
    streamed, divisor = vectors.can_stream(streamed, y, channels), vectors.splat(divisor)
    x, y = vectors.pointer(x), vectors.pointer(y)

    def some(start, abreast, inside):
        """The means of some vectors of channels: of each pixel a whole line or more is read, in the order of memory."""
        places = [builder.add(start, number(v * vectors.lanes)) for v in range(abreast)]

        def load(pixel):
            return [vectors.load(builder.gep(pixel, [place]), inside) for place in places]

        def add(totals, values):
            for total, value in zip(totals, values, strict=True):
                builder.store(builder.fadd(builder.load(total), value), total)

        def column(j):
            """The sums down the rows."""
            top = builder.gep(x, [builder.mul(channels, j)])
            totals = [cgutils.alloca_once_value(builder, value) for value in load(top)]
            with cgutils.for_range(builder, rows, start=number(1)) as i:
                add(totals, load(builder.gep(top, [builder.mul(row, i.index)])))
            return [builder.load(total) for total in totals]

        totals = [cgutils.alloca_once_value(builder, value) for value in column(number(0))]
        with cgutils.for_range(builder, columns, start=number(1)) as j:
            add(totals, column(j.index))
        for total, place in zip(totals, places, strict=True):
            mean, at = builder.fdiv(builder.load(total), divisor), builder.gep(y, [place])
            if inside is not None:
                vectors.store(mean, at, inside)
                continue
            with builder.if_else(streamed) as (past_caches, otherwise):
                with past_caches:
                    vectors.stream(mean, at)
                with otherwise:
                    vectors.store(mean, at)

    group = number(_ABREAST * vectors.lanes)
    groups = builder.sdiv(channels, group)
    with cgutils.for_range(builder, groups) as loop:
        some(builder.mul(loop.index, group), _ABREAST, None)
    first = builder.mul(groups, group)
    vectors.along(builder.sub(channels, first), lambda start, inside: some(builder.add(first, start), 1, inside))


@helper
def _spread_row(gy, r, rows, columns, sums, gx):
    """gx (W, C), row number r of the gradient: every pixel sums the shares of the windows that it lies in."""
    count, channels = gy.shape[1], gy.shape[2]
    first = 0  # the windows that the row lies in are those from first to last
    while first < rows.shape[1] and rows[1, first] <= r:
        first += 1
    last = first
    while last < rows.shape[1] and rows[0, last] <= r:
        last += 1
    if first == last:
        gx[...] = 0
        return
    for i in range(first, last):
        for j in range(count):
            divisor = gy.dtype.type(rows[2, i] * columns[2, j])
            shares, share = sums[j * channels : (j + 1) * channels], gy[i, j]
            if i == first:
                for c in range(channels):
                    shares[c] = share[c] / divisor
            else:
                for c in range(channels):
                    shares[c] += share[c] / divisor
    first = last = 0
    for q in range(gx.shape[0]):
        while first < count and columns[1, first] <= q:
            first += 1
        while last < count and columns[0, last] <= q:
            last += 1
        pixel = gx[q]
        if first >= last:
            pixel[:] = 0
            continue
        shares = sums[first * channels : (first + 1) * channels]
        for c in range(channels):
            pixel[c] = shares[c]
        for j in range(first + 1, last):
            shares = sums[j * channels : (j + 1) * channels]
            for c in range(channels):
                pixel[c] += shares[c]
