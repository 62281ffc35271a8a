"""The pool of memory: arrays never overlap, blocks come back with the last view, pages serve again."""

import gc
import os
import sys
import threading

import numpy as np
import pytest

from minidl.kernels import _pool, empty, empty_cache, empty_like, owner

SHAPE = (64, 1024)  # 256 kB of float32


@pytest.fixture(autouse=True)
def fresh():
    gc.collect()
    empty_cache()
    yield
    empty_cache()


def address(array):
    return array.__array_interface__["data"][0]


def test_a_block_is_used_again_only_after_its_last_view():
    first = empty(SHAPE, np.float32)
    place, view = address(first), first[3:5].T[::-1]
    view[...] = 7
    del first
    second = empty(SHAPE, np.float32)
    second[...] = 1
    assert address(second) != place and (view == 7).all()
    del view
    assert address(empty(SHAPE, np.float32)) == place


def test_arrays_are_what_was_asked_for():
    for shape, dtype in [
        (SHAPE, np.float32),
        ((3, 5, 70000), np.float64),
        ((70000,), np.int32),
        ((2, 0, 9), np.float32),
    ]:
        array = empty(shape, dtype)
        assert array.shape == shape and array.dtype == dtype and array.flags.c_contiguous and array.flags.writeable
        if array.nbytes >= _pool._POOLED:
            assert address(array) % 64 == 0
    assert empty((), np.float32).shape == ()


@pytest.mark.parametrize("axes", [(0, 1, 2, 3), (0, 3, 1, 2), (3, 2, 0, 1)])
@pytest.mark.parametrize("size", [2, 40])
def test_empty_like_keeps_the_order_of_axes(axes, size):
    array = np.zeros((size, 5, 7, 60), np.float32).transpose(axes)
    like = empty_like(array)
    assert like.shape == array.shape and like.strides == array.strides


def test_random_use_never_overlaps_and_takes_little_more_than_was_live():
    rng, held = np.random.default_rng(0), []
    before, live, most, farthest = _pool.in_use()[0], 0, 0, 0
    start = None
    for number in range(4000):
        if held and rng.random() < 0.5:
            array, value = held.pop(rng.integers(len(held)))
            assert (array == value).all()
            live -= array.nbytes
        else:
            array = empty((int(rng.integers(1, 9)) * 30000,), np.float32)
            array[...] = number
            held.append((array, number))
            live += array.nbytes
            start = address(array) if start is None else start
            farthest = max(farthest, address(array) + array.nbytes - start)
        del array
        most = max(most, live)
    assert farthest < 1.5 * most
    held.clear()
    gc.collect()
    assert _pool.in_use()[0] == before


def test_free_blocks_join_in_any_order():
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [0, 2, 1, 3], [1, 3, 0, 2]):
        blocks = [empty(SHAPE, np.float32) for _ in range(4)]
        first = min(map(address, blocks))
        for number in order:
            blocks[number] = None
        large = empty((4 * 64, 1024), np.float32)  # as much as the four together
        assert address(large) == first
        del large


def test_empty_cache_gives_pages_back():
    keep, large = empty(SHAPE, np.float32), empty((4096, 4096), np.float32)
    keep[...] = large[...] = 3
    del large
    before = resident()
    empty_cache()
    assert before - resident() > 60e6
    assert (keep == 3).all()
    del keep
    empty_cache()
    assert not _pool._segments or _pool.in_use()[0] > 0


def resident():
    """Bytes of memory that the process has."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_more_than_a_segment_and_a_limit_on_addresses(monkeypatch):
    monkeypatch.setattr(_pool, "_SEGMENT", 1 << 20)
    array = empty((3 << 20,), np.uint8)
    array[-1] = 5
    monkeypatch.setattr(_pool, "_SEGMENT", 1 << 62)  # the system refuses that many
    other = empty((3 << 20,), np.uint8)
    other[-1] = 6
    assert array[-1] == 5 and other[-1] == 6
    with pytest.raises(MemoryError, match="cannot allocate an array of 46116860184273880"):
        empty((1 << 62,), np.uint8)


def test_blocks_of_segments_side_by_side_are_not_joined(monkeypatch):
    monkeypatch.setattr(_pool, "_SEGMENT", 1 << 20)
    arrays = [empty((1 << 20,), np.uint8) for _ in range(6)]
    arrays.clear()
    gc.collect()
    _pool.in_use()
    ends = {segment.address: segment.address + segment.size for segment in _pool._segments}
    assert all(start + size <= max(end for begin, end in ends.items() if begin <= start) for start, size in free())
    empty_cache()
    assert not _pool._segments or _pool.in_use()[0] > 0


def test_an_array_may_die_while_the_pool_is_at_work():
    """The garbage collector runs destructors in the middle of anything, and in any thread."""

    class Cycle:
        def __init__(self):
            self.own, self.array = self, empty(SHAPE, np.float32)

    gc.set_threshold(3)
    try:
        threads = [threading.Thread(target=lambda: [Cycle() for _ in range(300)]) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        gc.set_threshold(700, 10, 10)
    gc.collect()
    blocks = free()
    assert all(a + size <= b for (a, size), (b, _) in zip(blocks, blocks[1:], strict=False))


def test_a_view_of_an_owner_gives_nothing_back(monkeypatch):
    """The block stays in use until the last view dies, also one that was taken of the array's base, and dies once."""
    errors = []
    monkeypatch.setattr(sys, "unraisablehook", errors.append)
    before = _pool.in_use()[0]
    array = empty(SHAPE, np.float32)
    view = array.base[3:]
    del array
    assert _pool.in_use()[0] > before
    del view
    assert _pool.in_use()[0] == before and not errors


def test_many_gaps_and_the_best_of_them():
    """Of 1,600 arrays every other one dies; then the smallest gap that holds an array is taken."""
    rng = np.random.default_rng(0)
    empty(SHAPE, np.float32)
    _pool.in_use()
    before = free()
    arrays = [empty((int(n),), np.uint8) for n in rng.permutation(1600) * 64 + _pool._POOLED]
    places = sorted((address(a), a.nbytes) for a in arrays)
    assert all(a + size < b for (a, size), (b, _) in zip(places, places[1:], strict=False))
    del arrays[::2]
    _pool.in_use()
    assert len(free()) > 300  # more than there was room for
    for _ in range(50):
        size = int(rng.integers(_pool._POOLED, _pool._POOLED + 1600 * 64))
        room = [(extent, start) for start, extent in free() if extent >= (size // 64 + 2) * 64]
        array = empty((size,), np.uint8)
        assert address(array) == min(room)[1]
        arrays.append(array)
    del arrays, array
    _pool.in_use()
    assert free() == before


def free():
    """(address, bytes) of the free blocks, by address."""
    return [tuple(row) for row in _pool._free[1 : _pool._free[0, 0] + 1].tolist()]


def test_owner_tells_apart_whose_memory_an_array_is():
    small, large = np.arange(6.0).reshape(2, 3), empty((1 << 10, 1 << 6), np.float32)
    for array in (small, large):
        assert owner(array[1:]) is owner(array.T[::2]) is owner(array)
    assert owner(small) is not owner(large)
    assert owner(small.copy()) is not owner(small)
    assert owner(np.frombuffer(bytearray(8), np.uint8)) is None  # who else has that memory is unknown
    assert owner(np.asarray(memoryview(small))) is None
