"""Rows that lie apart in memory, as a slice of an image's channels does, for passes over rows that lie together.

A thread copies a block of them before it passes over it: it then lies in the L2 cache, and is not written to memory and
read again. What the copy reads next is fetched as in copy_rows.py, as the hardware does not foresee it.
"""

import numba
import numpy as np

from ._jit import helper
from ._layout import span
from ._pool import empty
from ._threads import MOST_THREADS
from ._vector import LINE, copy, prefetch

_AHEAD = 8192  # bytes that are copied before what is fetched


def flat(gy, block):
    """(elements, from row to row, scratch memory) of rows (1, P, C) that may lie apart; of more sets they lie together.

    block: elements that a thread passes over at a time, or a row if that is longer.
    """
    channels, step = gy.shape[2], gy.strides[1] // gy.itemsize
    if gy.flags.c_contiguous or gy.shape[1] == 1:
        return gy.reshape(-1), channels, np.empty((1, 0), gy.dtype)
    return span(gy), step, empty((MOST_THREADS, max(block, channels)), gy.dtype)


@helper
def together(gy, first, last, channels, step, scratch):
    """Where element 0 of rows would lie whose elements first to last are together."""
    if step == channels:
        return gy.ctypes.data
    size, own = gy.itemsize, scratch[numba.get_thread_id()].ctypes.data
    ahead = size * step * max(1, _AHEAD // max(1, size * channels))
    for row in range((last - first) // channels):
        source = gy.ctypes.data + size * step * (first // channels + row)
        for at in range(0, size * channels, LINE):
            prefetch(source + ahead + at)
        copy(gy.dtype.type(0), channels, source, own + size * channels * row)
    return own - size * first
