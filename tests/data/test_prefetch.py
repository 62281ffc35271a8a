"""Batches gathered ahead: the same ones, with errors at their place, and a thread that ends."""

import threading
import time

import numpy as np
import pytest

from minidl.data import DataLoader
from minidl.data.prefetch import ahead


def threads():
    return [t for t in threading.enumerate() if t.name == "minidl-prefetch"]


def loader(**options):
    images = np.arange(22 * 3 * 4 * 5, dtype=np.float32).reshape(22, 3, 4, 5)
    return DataLoader(images, np.arange(22), 4, shuffle=True, seed=7, **options)


@pytest.mark.parametrize("prefetch", [1, 2, 9])
def test_batches_are_those_without_prefetch(prefetch):
    def flip(x, rng):
        return x[..., ::-1] if rng.random() < 0.5 else x

    expected, got = loader(transform=flip), loader(transform=flip, prefetch=prefetch)
    for _ in range(2):  # epochs
        for (x, y), (a, b) in zip(expected, got, strict=True):
            assert x.tobytes() == a.tobytes() and x.strides == a.strides and y.tobytes() == b.tobytes()
    assert not threads()


def test_gathering_overlaps_with_the_callers_work():
    """Batch 2 is gathered while the caller has batch 1: the thread says so before the caller goes on."""
    gathered = [threading.Event() for _ in range(3)]

    def items():
        for number, event in enumerate(gathered):
            event.set()
            yield number

    for number in ahead(items(), 1):
        assert number == 2 or gathered[number + 1].wait(10)


def test_no_more_is_gathered_than_asked_for():
    begun = []
    iterator = ahead((begun.append(n) or n for n in range(10)), 2)
    assert next(iterator) == 0
    time.sleep(0.1)
    assert begun == [0, 1, 2]  # the one that was taken, and two
    iterator.close()


def test_an_error_reaches_the_caller_after_the_batches_before_it():
    def fail(x, rng):
        if len(seen) == 2:
            raise ArithmeticError("no such image")
        seen.append(1)
        return x

    seen, got = [], 0
    with pytest.raises(ArithmeticError, match="no such image"):
        for _ in loader(transform=fail, prefetch=2):
            got += 1
    assert got == 2 and not threads()


@pytest.mark.parametrize("leave", ["break", "raise", "close"])
def test_who_leaves_early_leaves_no_thread(leave):
    batches = iter(loader(prefetch=2))
    next(batches)
    if leave == "raise":
        with pytest.raises(ZeroDivisionError):
            for _ in batches:
                raise ZeroDivisionError
    elif leave == "break":
        for _ in batches:
            break
    batches.close()
    assert not threads()


@pytest.mark.parametrize("options, error, message", [
    ({"prefetch": -1}, ValueError, r"prefetch \(=-1\) must be >= 0"),
    ({"prefetch": 1.5}, TypeError, "prefetch must be an integer, not 1.5"),
    ({"device": "gpu"}, ValueError, "device must be 'cpu', 'cuda' or 'cuda:1', got 'gpu'"),
])  # fmt: skip
def test_errors_of_use(options, error, message):
    with pytest.raises(error, match=message):
        loader(**options)
