"""Batches on the GPU: those of the CPU, channels-last, with the waiting where it belongs."""

import numpy as np
import pytest

import minidl as dl
from minidl.data import DataLoader
from minidl.data.prefetch import send_ahead

IMAGES = np.random.default_rng(0).standard_normal((10, 3, 4, 5)).astype(np.float32)


def loader(**options):
    return DataLoader(IMAGES, np.arange(10), 4, shuffle=True, seed=7, **options)


@pytest.mark.parametrize("prefetch", [0, 1, 3])
@pytest.mark.parametrize("device", ["cuda", "cuda:0"])
def test_batches_are_the_cpus(cupy, device, prefetch):
    for (x, y), (images, labels) in zip(loader(), loader(device=device, prefetch=prefetch), strict=True):
        assert dl.Tensor(images).device == dl.Tensor(labels).device == "cuda:0"
        assert images.transpose(0, 2, 3, 1).flags.c_contiguous
        np.testing.assert_array_equal(images.get(), x)
        np.testing.assert_array_equal(labels.get(), y)


@pytest.mark.parametrize("prefetch", [0, 1, 3])
def test_batches_are_the_cpus_however_late_the_gpu_is(late, prefetch):
    """All batches are taken before the first is looked at: the thread's memory serves the next ones meanwhile."""
    batches = list(loader(device="cuda", prefetch=prefetch))
    for (x, y), (images, labels) in zip(loader(), batches, strict=True):
        np.testing.assert_array_equal(images.get(), x)
        np.testing.assert_array_equal(labels.get(), y)


def test_images_come_from_page_locked_memory(cupy, monkeypatch):
    sizes, allocate = [], cupy.cuda.alloc_pinned_memory
    monkeypatch.setattr(cupy.cuda, "alloc_pinned_memory", lambda size: sizes.append(size) or allocate(size))
    list(loader(device="cuda", prefetch=2))
    assert sizes == [4 * 60 * 4, 4 * 8] * 2 + [2 * 60 * 4, 2 * 8]


def test_the_threads_stream_waits_for_the_callers_copies(cupy, monkeypatch):
    waits, wait_stream = [], dl.cuda.Stream.wait_stream
    monkeypatch.setattr(dl.cuda.Stream, "wait_stream", lambda s, other: waits.append(other) or wait_stream(s, other))
    assert len(list(loader(device="cuda", prefetch=2))) == len(waits) == 3
    assert all(other._stream.ptr == dl.cuda.current_stream()._stream.ptr for other in waits)


@pytest.mark.parametrize("prefetch", [0, 2])
def test_without_a_gpu_one_line_says_what_is_missing(monkeypatch, prefetch):
    monkeypatch.setitem(__import__("sys").modules, "cupy", None)
    with pytest.raises(RuntimeError, match="cuda: CuPy is not installed"):
        next(iter(loader(device="cuda", prefetch=prefetch)))


def test_an_error_in_the_thread_comes_after_the_batches_before_it(cupy):
    def batches():
        yield (IMAGES,)
        raise OSError("the disk is gone")

    sent = send_ahead(batches(), "cuda", 2)
    np.testing.assert_array_equal(next(sent)[0].get(), IMAGES)
    with pytest.raises(OSError, match="the disk is gone"):
        next(sent)
