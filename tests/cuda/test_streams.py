"""Streams, events and memory of a GPU, as a user sees them."""

import numpy as np
import pytest
from checks import on

import minidl as dl


def test_streams_and_events(cupy):
    side, start, end = dl.cuda.Stream(), dl.cuda.Event(enable_timing=True), dl.cuda.Event(enable_timing=True)
    start.record()
    with dl.cuda.stream(side) as s:
        assert s is side and cupy.cuda.get_current_stream().ptr == side._stream.ptr
        y = on("cuda", 3) + 1
        end = side.record_event(end)
    assert cupy.cuda.get_current_stream().ptr != side._stream.ptr
    current = dl.cuda.current_stream()
    current.wait_stream(side)
    assert getattr(current._stream, "waited_for", True)  # as the stand-in notes
    side.synchronize()
    end.synchronize()
    assert start.elapsed_time(end) >= 0 and end.query() and side.query()
    assert np.allclose(y.cpu().numpy(), on("cpu", 3).numpy() + 1)


WAITS = {
    "stream.synchronize": lambda side: side.synchronize(),
    "synchronize": lambda side: dl.cuda.synchronize(),
    "wait_stream": lambda side: dl.cuda.current_stream().wait_stream(side),
    "wait_event": lambda side: dl.cuda.current_stream().wait_event(side.record_event()),
    "event.synchronize": lambda side: side.record_event().synchronize(),
}


@pytest.mark.parametrize("name", WAITS)
def test_what_waits_finds_the_work_done(late, name):
    x, side = on("cuda", 3), dl.cuda.Stream()
    side.wait_stream(dl.cuda.current_stream())
    with dl.cuda.stream(side):
        y = x.relu() + 1
    event = side.record_event()
    WAITS[name](side)
    if "synchronize" in name:
        assert side.query() and event.query()
    assert np.array_equal((y * 2).cpu().numpy(), (np.maximum(on("cpu", 3).numpy(), 0) + 1) * 2)


@pytest.mark.parametrize("forgotten", ["before", "after"])
def test_a_wait_that_was_forgotten_shows_in_the_numbers(late, forgotten):
    pytest.importorskip("stand_in")  # a GPU may be quick enough
    x, side = on("cuda", 3), dl.cuda.Stream()
    if forgotten == "after":
        side.wait_stream(dl.cuda.current_stream())
    with dl.cuda.stream(side):
        y = x + 1
    if forgotten == "before":
        side.synchronize()
    else:
        assert not side.query() and not side.record_event().query()
    assert np.isnan((y * 2).cpu().numpy()).all()


def test_memory_that_is_given_back_serves_the_stream_it_was_taken_on(late):
    """Of that stream's next work, which may come before another stream has read it."""
    stand_in = pytest.importorskip("stand_in")
    for waits in (True, False):
        side = dl.cuda.Stream()
        with dl.cuda.stream(side):
            x = on("cuda", 3)
        side.synchronize()
        y = x + 1
        if waits:
            side.wait_stream(dl.cuda.current_stream())
        del x
        side.synchronize()
        assert np.isnan(y.cpu().numpy()).all() != waits
    assert stand_in.work.at_once() is False


def test_memory_is_told(cupy):
    before = dl.cuda.memory_allocated()
    x = dl.tensor(np.zeros(1 << 16, np.float32), device="cuda")
    assert dl.cuda.memory_allocated() - before == 1 << 18 and dl.cuda.memory_reserved() >= dl.cuda.memory_allocated()
    assert dl.cuda.memory_stats()["allocated"] == before + (1 << 18) and dl.cuda.memory_stats()["total"] > 1 << 30
    del x
    assert dl.cuda.memory_allocated() == before
    dl.cuda.empty_cache()
    assert dl.cuda.memory_reserved() < before + (1 << 18)
