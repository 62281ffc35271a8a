"""Memory of a GPU and page-locked memory of the host: pools, and the blocks that arrays have of them."""

import weakref
from contextlib import contextmanager

import numpy as np

from . import work


class MemoryPool:
    """Counts what arrays hold. What they give back stays with the pool until free_all_blocks()."""

    def __init__(self, allocator=None):
        self._used = self._total = self._limit = 0

    def malloc(self, size):
        """What using_allocator() takes. The stand-in's arrays then ask the pool themselves."""
        raise NotImplementedError

    def _take(self, size):
        self._used += size
        if self._limit and self._used > self._limit:
            self._used -= size
            raise OutOfMemoryError(f"Out of memory allocating {size:,} bytes (allocated so far: {self._used:,} bytes)")
        self._total = max(self._total, self._used)

    def used_bytes(self):
        work.require_device()
        return self._used

    def total_bytes(self):
        work.require_device()
        return self._total

    def free_bytes(self):
        work.require_device()
        return self._total - self._used

    def free_all_blocks(self, stream=None):
        self._total = self._used

    def get_limit(self):
        return self._limit

    def set_limit(self, size=None, fraction=None):
        self._limit = size


class OutOfMemoryError(MemoryError):
    pass


pool = MemoryPool()


@contextmanager
def using_allocator(allocator=None):
    """Arrays that this thread makes in the block have memory of another pool; allocator is its `malloc`."""
    before, work.local.pool = _pool(), allocator.__self__
    try:
        yield
    finally:
        work.local.pool = before


def _pool():
    return getattr(work.local, "pool", pool)


class PooledMemory:
    """A block of the current pool for an array, which lives as long as an array refers to it."""

    def __init__(self, array):
        self.size, self.device = -(-array.nbytes // 512) * 512, work.current_device()
        self._array, self._stream = array, work.streams()[-1]
        self._pool = weakref.ref(_pool())  # as CuPy: no more than that
        _pool()._take(self.size)
        touch(self)

    def __del__(self):
        if owner := self._pool():
            owner._used -= self.size
        if work.state.deferring:
            array = self._array
            self._stream._queue.append(lambda: spoil(array))


def touch(memory):
    """Note that work which the current stream is handed uses this memory: a graph of it will, at every launch."""
    captured = work.streams()[-1]._captured
    if captured is not None:
        # A pool of the graph's own gives its blocks to nobody else.
        lasting = None if memory._pool() is pool else memory._pool
        captured.memory[id(memory)] = weakref.ref(memory), lasting


def hold(array):
    """Keep an array that work may find by its address alone until the work is done: that of a graph, with the graph."""
    captured = work.streams()[-1]._captured
    if captured is not None:
        captured.work.append(lambda: array)
    elif work.state.deferring:
        work.state.held.append(array)


def spoil(array):
    """Put in an array what fresh memory holds, at its worst: NaN, or large numbers."""
    kind = array.dtype.kind
    array[...] = np.nan if kind in "fc" else True if kind == "b" else np.iinfo(array.dtype).max // 3


class MemoryPointer:
    def __init__(self, mem, ptr):
        self.mem, self.ptr = mem, ptr


class PinnedMemoryPointer(bytearray):
    """Host memory that a copy can read while the host goes on."""

    def size(self):
        return len(self)


class PinnedMemoryPool:
    def free_all_blocks(self):
        pass

    def n_free_blocks(self):
        return 0


pinned_pool = PinnedMemoryPool()


def alloc_pinned_memory(size):
    work.require_device()
    return PinnedMemoryPointer(-(-size // 512) * 512)
