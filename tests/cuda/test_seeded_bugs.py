"""Mistakes put into our own kernels, one of each kind that is easily made, are found by what every kernel is asked.

(Each barrier is left out in test_barriers.py and test_common.py.)
"""

from typing import NamedTuple

import pytest
from checks import check_races, check_results

from minidl.kernels import KERNELS
from minidl.kernels._cuda import SOURCES

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


class Bug(NamedTuple):
    kernel: str
    right: str  # stands in the kernel's file or in _common.cuh,
    wrong: str  # and this in its place
    found_by: str  # "float32", "float64": its results. "races": ThreadSanitizer
    says: str  # a part of the message
    passes: tuple = ()  # what does not find it


EACH = "elementwise(size, [=](int i) { return Two<Real<T>>{load(gy"
WRITE = "for (int k = threadIdx.x; k < columns; k += blockDim.x) store(y + k, exp(load(x + k) - of.greatest)"

BUGS = {
    "one element too many": Bug("relu.backward", EACH, EACH.replace("size", "size + 1"), "float32", "outside of"),
    "one element too few": Bug("relu.backward", EACH, EACH.replace("size", "size - 1"), "float32", "nan"),
    "a race whose result is right": Bug(
        "softmax.forward", WRITE, WRITE.replace("k = threadIdx.x", "k = 0").replace("k += blockDim.x", "k++"), "races",
        "data race", ("float32", "float64"),
    ),
    "a mask without half of the warp": Bug("softmax.backward", "0xffffffffu", "0x0000ffffu", "float32", "mask"),
    "float64 goes through float": Bug(
        "softmax.forward", WRITE, WRITE.replace("exp(", "expf("), "float64", "Not equal to tolerance", ("float32",)
    ),
    "a sum of float64 in float": Bug(
        "softmax.backward", "Real<T> total = 0;", "float total = 0;", "float64", "Not equal to tolerance", ("float32",)
    ),
}  # fmt: skip


@pytest.mark.parametrize("bug", BUGS.values(), ids=BUGS)
def test_it_is_found(bug, cupy, monkeypatch):
    pytest.importorskip("stand_in")  # on a GPU what is wrong is undefined
    kernel, source = KERNELS[bug.kernel], SOURCES[bug.kernel.split(".")[0]]
    assert source.code.count(bug.right) == 1
    monkeypatch.setitem(source.__dict__, "code", source.code.replace(bug.right, bug.wrong))
    monkeypatch.setattr(source, "_modules", {})
    monkeypatch.setattr(source, "_prepared", {})
    for way in bug.passes:
        _check(way, kernel, cupy)
    with pytest.raises((AssertionError, RuntimeError), match=bug.says):
        _check(bug.found_by, kernel, cupy)


def _check(way, kernel, cupy):
    if way == "races":
        check_races(kernel, cupy)
    else:
        check_results(kernel, way, cupy)
