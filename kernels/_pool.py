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
from bisect import bisect_left, insort
from collections import deque

import numpy as np

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
_returned = deque()  # blocks whose array died: the garbage collector may say so in the middle of anything
_segments = []
_free = []  # (bytes, address) of the free blocks, sorted
_starts, _ends = {}, {}  # of the free blocks: address -> bytes, address after the block -> address
_borders = set()  # where segments begin: blocks are not joined across, though the system may put segments side by side
_in_use = 0  # bytes


class _Block:
    """Owns a block while an array uses it: NumPy keeps an array's owner alive as long as any view of it."""

    __slots__ = ("address", "size", "__array_interface__")

    def __init__(self, address, size, shape, dtype):
        self.address, self.size = address, size
        self.__array_interface__ = {"version": 3, "shape": shape, "typestr": dtype.str, "data": (address, False)}

    def __del__(self):
        _returned.append(self)


def empty(shape, dtype, like=None):
    """np.empty(shape, dtype): C-contiguous, with arbitrary content; on the GPU where the array `like` is there."""
    if like is not None and type(like) is not np.ndarray:
        import cupy

        return cupy.empty(shape, dtype)  # which has a pool of its own
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < _POOLED:
        return np.empty(shape, dtype)
    return np.asarray(_Block(*_take(size), tuple(shape), dtype))


def empty_like(array):
    """np.empty_like(array): axes in the same order in memory."""
    if array.nbytes < _POOLED or type(array) is not np.ndarray:
        return np.empty_like(array)
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
        for segment in list(_segments):
            if _starts.get(segment.address) == segment.size:
                _remove(segment.address, segment.size)
                _segments.remove(segment)
                _borders.remove(segment.address)
            else:
                segment.give_back((start, size) for start, size in _starts.items())


def in_use():
    """(bytes that arrays use, bytes of addresses that are free)."""
    with _lock:
        _collect()
        return _in_use, sum(size for size, _ in _free)


class _Segment:
    """Addresses from the system, in pages of 2 MB where it has them."""

    def __init__(self, size):
        self.memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            try:
                self.memory.madvise(mmap.MADV_HUGEPAGE)
            except OSError:
                pass  # a system without
        self.address, self.size = np.frombuffer(self.memory, np.uint8).ctypes.data, size

    def give_back(self, blocks):
        """Let the system have the whole pages of those free blocks that lie here."""
        for start, size in blocks:
            offset = -(-(start - self.address) // mmap.PAGESIZE) * mmap.PAGESIZE
            length = (start + size - self.address) // mmap.PAGESIZE * mmap.PAGESIZE - offset
            if self.address <= start < self.address + self.size and length > 0:
                self.memory.madvise(mmap.MADV_DONTNEED, offset, length)


def _take(size):
    """(address, bytes) of a block of at least `size` bytes.

    A line more than is needed, so that arrays do not all begin at the same place of the caches' sets.
    """
    global _in_use
    size = (size // _LINE + 2) * _LINE
    with _lock:
        _collect()
        place = bisect_left(_free, (size, 0))
        if place == len(_free):
            _add_segment(size)
            place = bisect_left(_free, (size, 0))
        whole, address = _free[place]
        _remove(address, whole)
        if whole - size < _POOLED:
            size = whole
        else:
            _add(address + size, whole - size)
        _in_use += size
        return address, size


def _add_segment(size):
    try:
        segment = _Segment(max(_SEGMENT, -(-size // mmap.PAGESIZE) * mmap.PAGESIZE))
    except (OSError, ValueError):  # a limit on addresses: no more than must be
        try:
            segment = _Segment(-(-size // mmap.PAGESIZE) * mmap.PAGESIZE)
        except (OSError, ValueError) as error:
            raise MemoryError(f"cannot allocate an array of {size} bytes") from error
    _segments.append(segment)
    _borders.add(segment.address)
    _add(segment.address, segment.size)


def _collect():
    """Make free what arrays have returned, joined with the free blocks beside it."""
    global _in_use
    while _returned:
        block = _returned.popleft()
        start, size = block.address, block.size
        _in_use -= size
        if start + size in _starts and start + size not in _borders:
            after = _starts[start + size]
            _remove(start + size, after)
            size += after
        if start in _ends and start not in _borders:
            before = _ends[start]
            size += start - before
            _remove(before, start - before)
            start = before
        _add(start, size)


def _add(start, size):
    insort(_free, (size, start))
    _starts[start], _ends[start + size] = size, start


def _remove(start, size):
    del _free[bisect_left(_free, (size, start))], _starts[start], _ends[start + size]
