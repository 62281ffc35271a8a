"""The pool of memory: arrays never overlap, blocks come back with the last view, no more is kept than agreed."""

import gc

import numpy as np
import pytest

from minidl.kernels import _pool, empty, empty_cache, empty_like

SHAPE = (64, 1024)  # 256 kB of float32


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    empty_cache()
    monkeypatch.setattr(_pool, "_SLACK", 0)
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


def test_random_use_never_overlaps_and_never_keeps_more_than_was_live():
    rng, held = np.random.default_rng(0), []
    live = most = 0
    for number in range(2000):
        if held and rng.random() < 0.5:
            array, value = held.pop(rng.integers(len(held)))
            assert (array == value).all()
            live -= array.nbytes
        else:
            array = empty((int(rng.integers(1, 9)) * 30000,), np.float32)
            array[...] = number
            held.append((array, number))
            live += array.nbytes
        del array
        most = max(most, live)
        assert _pool._live_bytes + _pool._spare_bytes <= most + 2000 * 4096
    held.clear()
    gc.collect()
    assert _pool._live_bytes == 0 < _pool._spare_bytes
    empty_cache()
    assert _pool._spare_bytes == 0 and not _pool._spare


def test_other_sizes_make_room():
    small = [empty(SHAPE, np.float32) for _ in range(4)]
    del small
    assert _pool._spare_bytes > 4 * 64 * 1024 * 4
    large = empty((1024, 1024), np.float32)  # as much as the four together
    assert _pool._spare_bytes < large.nbytes // 4
