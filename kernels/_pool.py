"""Memory for large arrays, used again while its pages are still there.

The system takes the pages of a large array back when it is freed and clears new ones when the next is written: for
LeNet at batch 256 that was a third of a training step (19 ms, and 14 with pages used again). Blocks that were freed
are kept as long as all memory together stays below the most that was in use at one time, and some slack: the sizes
that are free and those that are needed next are seldom the same.
"""

import math
import threading

import numpy as np

from ._layout import memory_order

_POOLED = 64 * 1024  # bytes; malloc keeps smaller blocks itself
_PAGE = 4096
_SLACK = 128 * 1024 * 1024  # bytes

_lock = threading.RLock()  # a block may be released by the garbage collector in the middle of anything
_spare = {}  # bytes -> blocks that are free
_live_bytes = _spare_bytes = _peak_bytes = 0


class _Block:
    """Owns a block while an array uses it: NumPy keeps an array's owner alive as long as any view of it."""

    __slots__ = ("memory", "__array_interface__")

    def __init__(self, memory, shape, dtype):
        self.memory = memory
        address = -(-memory.ctypes.data // 64) * 64  # a cache line
        self.__array_interface__ = {"version": 3, "shape": shape, "typestr": dtype.str, "data": (address, False)}

    def __del__(self):
        _release(self.memory)


def empty(shape, dtype, like=None):
    """np.empty(shape, dtype): C-contiguous, with arbitrary content; on the GPU where the array `like` is there."""
    if like is not None and type(like) is not np.ndarray:
        return np.empty(shape, dtype, like=like)  # CuPy has a pool of its own
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < _POOLED:
        return np.empty(shape, dtype)
    return np.asarray(_Block(_take(-(-size // _PAGE) * _PAGE + 64), tuple(shape), dtype))


def full(shape, value, dtype, like):
    """np.full(shape, value, dtype), made as by empty. (np.full with `like=` hands CuPy an argument that it lacks.)"""
    array = empty(shape, dtype, like)
    array.fill(value)
    return array


def empty_like(array):
    """np.empty_like(array): axes in the same order in memory."""
    if array.nbytes < _POOLED or type(array) is not np.ndarray:
        return np.empty_like(array)
    order = memory_order(array)
    memory = empty([array.shape[axis] for axis in order], array.dtype)
    return memory.transpose(np.argsort(order))


def empty_cache():
    """Give all blocks that no array uses back to the system."""
    global _spare_bytes, _peak_bytes
    with _lock:
        _spare.clear()
        _spare_bytes, _peak_bytes = 0, _live_bytes


def _take(size):
    global _live_bytes, _spare_bytes, _peak_bytes
    with _lock:
        _live_bytes += size
        _peak_bytes = max(_peak_bytes, _live_bytes)
        if _spare.get(size):
            _spare_bytes -= size
            return _spare[size].pop()
        while (
            _spare_bytes > _peak_bytes + _SLACK - _live_bytes
        ):  # what other sizes hold goes back before more is asked for
            kept = next(iter(_spare))
            if _spare[kept]:
                _spare[kept].pop()
                _spare_bytes -= kept
            else:
                del _spare[kept]
    return np.empty(size, np.uint8)


def _release(memory):
    global _live_bytes, _spare_bytes
    with _lock:
        _live_bytes -= memory.nbytes
        if _live_bytes + _spare_bytes + memory.nbytes <= _peak_bytes + _SLACK:
            _spare.setdefault(memory.nbytes, []).append(memory)
            _spare_bytes += memory.nbytes
