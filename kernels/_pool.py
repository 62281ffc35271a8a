"""Memory for large arrays, used again while its pages are still there.

The system takes the pages of a large array back when it is freed and clears new ones when the next is written: for
LeNet at batch 256 that was a third of a training step (19 ms, and 14 with pages used again). So large arrays are cut
out of segments that stay. A freed block joins the free blocks beside it, and an array takes the smallest that holds it:
its pages then serve arrays of other sizes, too, and no more memory is held than was once in use at a time, and some
gaps. (Blocks that were kept for arrays of their own size held twice as much, or lost their pages: ResNet-18's first
batch norm waited 67 ms for fresh ones in its backward pass, and takes 14.) Pages of 2 MB, where the system has them,
save the cores much of the looking up of addresses.
"""

import math
import mmap
import os
import threading
from collections import deque

import numpy as np

from ._jit import jit_serial
from ._layout import in_memory_order

_POOLED = 64 * 1024  # bytes; malloc keeps smaller blocks itself
_LINE = 64  # bytes of a cache line


def _half_of_memory():
    """Bytes of addresses of a segment, half of the machine's memory; only pages that were written to take any of it.

    So much that there is one segment: an array then takes what was never written to only when nothing else is large
    enough. With segments of 1 GiB the rest of the second was the smaller choice, and a process that trains ResNet-50
    took 2,480 MB; now 1,790.
    """
    try:
        return max(1 << 30, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2)
    except (AttributeError, OSError, ValueError):
        return 1 << 30


_SEGMENT = _half_of_memory()

_lock = threading.Lock()
_returned = deque()  # (address, bytes) of blocks whose array died: the garbage collector may say so at any moment
_segments = []
_free = np.zeros((256, 2), np.int64)  # (address, bytes) of the free blocks, by address, after a row (their number, 0)
_in_use = 0  # bytes


class _Block(np.ndarray):
    """Owns a block while an array uses it: NumPy keeps an array's owner alive as long as any view of it."""

    __slots__ = ("place",)

    def __del__(self):
        if hasattr(self, "place"):  # a view of it, which somebody took from `base`, has none
            _returned.append(self.place)


def empty(shape, dtype, like=None):
    """np.empty(shape, dtype): C-contiguous, with arbitrary content; on the GPU where the array `like` is there."""
    if like is not None and type(like) is not np.ndarray:
        import cupy

        return cupy.empty(shape, dtype)  # which has a pool of its own
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    return np.empty(shape, dtype) if size < _POOLED else np.ndarray(shape, dtype, _take(size))


def empty_like(array):
    """np.empty_like(array): axes in the same order in memory."""
    if array.nbytes < _POOLED or type(array) is not np.ndarray:
        return np.empty_like(array)
    if array.ndim == 4:  # images; to find out how any array lies takes longer than to allocate
        n, c, h, w = array.shape
        y = empty((n, h, w, c), array.dtype).transpose(0, 3, 1, 2)
        if y.strides == array.strides:
            return y
    elif array.flags.c_contiguous:
        return empty(array.shape, array.dtype)
    return in_memory_order(array, lambda memory: empty(memory.shape, memory.dtype))


def owner(array):
    """What the memory of a NumPy array belongs to: arrays of other owners share none of it. None where that is unknown.

    It is an array: NumPy lets every view refer to the one whose memory it is.
    """
    base = array.base
    if type(base) is np.ndarray:
        array, base = base, base.base
    return array if type(base) is _Block or base is None and array.flags.owndata else None


def empty_cache():
    """Give the memory that no array uses back to the system."""
    with _lock:
        _collect()
        count = int(_free[0, 0])
        for segment in list(_segments):
            whole = (_free[1 : count + 1] == (segment.address, segment.size)).all(1)
            if whole.any():
                _free[1:count] = _free[1 : count + 1][~whole]
                _free[0, 0] = count = count - 1
                _segments.remove(segment)
            else:
                segment.give_back(_free[1 : count + 1].tolist())


def in_use():
    """(bytes that arrays use, bytes of addresses that are free)."""
    with _lock:
        _collect()
        return _in_use, int(_free[1 : _free[0, 0] + 1, 1].sum())


class _Segment:
    """Addresses from the system, in pages of 2 MB where it has them.

    The last line is left out: so a block never ends where another segment begins, and is not joined with it.
    """

    def __init__(self, size):
        self.memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            try:
                self.memory.madvise(mmap.MADV_HUGEPAGE)
            except OSError:
                pass  # a system without
        self.address, self.size = np.frombuffer(self.memory, np.uint8).ctypes.data, size - _LINE

    def give_back(self, blocks):
        """Let the system have the whole pages of those free blocks that lie here."""
        for start, size in blocks:
            offset = -(-(start - self.address) // mmap.PAGESIZE) * mmap.PAGESIZE
            length = (start + size - self.address) // mmap.PAGESIZE * mmap.PAGESIZE - offset
            if self.address <= start < self.address + self.size and length > 0:
                self.memory.madvise(mmap.MADV_DONTNEED, offset, length)


def _take(size):
    """A block of at least `size` bytes.

    A line more than is needed, so that arrays do not all begin at the same place of the caches' sets.
    """
    global _in_use
    size = (size // _LINE + 2) * _LINE
    with _lock:
        _collect()
        address, taken = _cut(_free, size)
        if not taken:
            _add_segment(size)
            address, taken = _cut(_free, size)
        _in_use += taken
        for segment in _segments:
            if segment.address <= address < segment.address + segment.size:
                break
    block = _Block(taken, np.uint8, segment.memory, address - segment.address)
    block.place = address, taken
    return block


def _add_segment(size):
    size += _LINE
    try:
        segment = _Segment(max(_SEGMENT, -(-size // mmap.PAGESIZE) * mmap.PAGESIZE))
    except (OSError, ValueError):  # a limit on addresses: no more than must be
        try:
            segment = _Segment(-(-size // mmap.PAGESIZE) * mmap.PAGESIZE)
        except (OSError, ValueError) as error:
            raise MemoryError(f"cannot allocate an array of {size} bytes") from error
    _segments.append(segment)
    _add(segment.address, segment.size)


def _collect():
    """Make free what arrays have returned."""
    global _in_use
    while _returned:
        address, size = _returned.popleft()
        _in_use -= size
        _add(address, size)


def _add(address, size):
    global _free
    if _join(_free, address, size):
        _free = np.concatenate((_free, np.zeros_like(_free)))


# A step of GoogLeNet takes 719 blocks. In Python, with sorted lists, it took 10 ms of 740 to find and to join them.


@jit_serial
def _cut(free, size):
    """(address, bytes) cut from the smallest free block that holds `size`; (0, 0) if none does."""
    best, count = 0, free[0, 0]
    for row in range(1, count + 1):
        if free[row, 1] >= size and (best == 0 or free[row, 1] < free[best, 1]):
            best = row
    if best == 0:
        return 0, 0
    address, whole = free[best, 0], free[best, 1]
    if whole - size >= _POOLED:
        free[best, 0] += size
        free[best, 1] -= size
        return address, size
    for row in range(best, count):
        free[row, 0], free[row, 1] = free[row + 1, 0], free[row + 1, 1]
    free[0, 0] -= 1
    return address, whole


@jit_serial
def _join(free, address, size):
    """Add a block, joined with the free blocks beside it. Whether there is no room for another."""
    count = free[0, 0]
    row = count + 1  # of the first block after it
    while row > 1 and free[row - 1, 0] > address:
        row -= 1
    before = row > 1 and free[row - 1, 0] + free[row - 1, 1] == address
    after = row <= count and address + size == free[row, 0]
    if before and after:
        free[row - 1, 1] += size + free[row, 1]
        for later in range(row, count):
            free[later, 0], free[later, 1] = free[later + 1, 0], free[later + 1, 1]
        free[0, 0] -= 1
    elif before:
        free[row - 1, 1] += size
    elif after:
        free[row, 0] = address
        free[row, 1] += size
    else:
        for later in range(count, row - 1, -1):
            free[later + 1, 0], free[later + 1, 1] = free[later, 0], free[later, 1]
        free[row, 0], free[row, 1] = address, size
        free[0, 0] += 1
    return free[0, 0] + 2 > len(free)
