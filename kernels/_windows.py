"""Means over windows of pixels, and their gradients: the loops of avg_pool2d and adaptive_avg_pool2d.

A window is a range of rows times a range of columns, so its sum is taken in two steps: the rows of an output row's
windows are added up once, a long run that fills the vectors whatever the number of channels, then the columns of each
window. Overlapping windows share the first step, and no sum has more terms than a window has rows or columns.

A table (3, windows) describes the windows along one axis: where each starts, where it ends (exclusive), both inside the
image and never falling, and what it contributes to the divisor, which is the product of the two axes' parts.
"""

import numba
import numpy as np

from ._jit import helper, jit, prange
from ._queues import share_out, tasks
from ._threads import MOST_THREADS


def means(x, rows, columns, y):
    """y (N, OH, OW, C): the mean over each window of x (N, H, W, C)."""
    _means(x, rows, columns, np.empty((MOST_THREADS, x.shape[2] * x.shape[3]), x.dtype), y)


@jit
def _means(x, rows, columns, sums, y):
    n, oh = y.shape[:2]
    queues = share_out(n * oh)
    for thread in prange(len(queues)):
        for task in tasks(queues, thread):
            image, i = task // oh, task % oh
            _mean_row(x[image], rows[0, i], rows[1, i], rows[2, i], columns, sums[numba.get_thread_id()], y[image, i])


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
def _mean_row(x, top, bottom, part, columns, sums, y):
    """y (OW, C): the means of a row of windows over the rows top to bottom of x (H, W, C)."""
    channels, count = x.shape[2], y.shape[0]
    if count == 0:
        return
    first, last = columns[0, 0] * channels, columns[1, count - 1] * channels
    row = x[top].reshape(-1)[first:last]
    rows_sum = sums[first:last]  # slices: LLVM knows that their indices are not negative, and fills the vectors
    if bottom - top == 1:
        for k in range(row.size):
            rows_sum[k] = row[k]
    else:
        other = x[top + 1].reshape(-1)[first:last]
        for k in range(row.size):
            rows_sum[k] = row[k] + other[k]
        for r in range(top + 2, bottom):
            row = x[r].reshape(-1)[first:last]
            for k in range(row.size):
                rows_sum[k] += row[k]
    for j in range(count):
        mean, wide = y[j], columns[1, j] - columns[0, j]
        divisor = x.dtype.type(part * columns[2, j])
        window = sums[columns[0, j] * channels : columns[1, j] * channels].reshape(wide, channels)
        one = window[0]
        if wide == 1:
            for c in range(channels):
                mean[c] = one[c] / divisor
        elif wide == 2:
            two = window[1]
            for c in range(channels):
                mean[c] = (one[c] + two[c]) / divisor
        else:
            two, final = window[1], window[wide - 1]
            for c in range(channels):
                mean[c] = one[c] + two[c]
            for v in range(2, wide - 1):
                next = window[v]
                for c in range(channels):
                    mean[c] += next[c]
            for c in range(channels):
                mean[c] = (mean[c] + final[c]) / divisor


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
