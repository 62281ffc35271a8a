"""Each __syncthreads() of each kernel is needed, and the tests know: with any one of them gone, they are red."""

import re
from functools import cache

import pytest
from checks import check_races, check_results
from emulator import execution, launched

from minidl.kernels import KERNELS
from minidl.kernels._cuda import SOURCES
from minidl.kernels.matmul import own_products

ORDERS = ("forward", "reverse", 2, 3, 4, 5)

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def barriers(code):
    """The "file:line" of each __syncthreads() of a module's code, in the order of their numbers."""
    places, file, line = [], "?", 0
    for text in re.sub(r"/\*.*?\*/", lambda comment: "\n" * comment[0].count("\n"), code, flags=re.DOTALL).split("\n"):
        if marker := re.match(r'#line (\d+) "(.*)"', text):
            line, file = int(marker[1]), marker[2]
            continue
        places += [f"{file}:{line}"] * len(re.findall(r"__syncthreads(?:_\w+)?\(", text.split("//")[0]))
        line += 1
    return places


# Those of _common.cuh stand in every file; test_common.py has them.
CASES = [
    pytest.param(source, number, id=place)
    for source in SOURCES.values()
    for number, place in enumerate(barriers(source.code))
    if not place.startswith("_common.cuh")
]


@pytest.fixture(autouse=True)
def products_have_barriers():
    pytest.importorskip("stand_in")  # a GPU leaves out no barrier
    with own_products():
        yield


@cache
def kernels_that_come_to(code, number):
    """The kernels of which a sample's launch comes to a barrier."""
    return [KERNELS[name] for name, reached in _all_reached().items() if (code, number) in reached]


@cache
def _all_reached():
    import cupy

    of = {}
    for name, kernel in KERNELS.items():
        launched.clear()
        check_results(kernel, "float32", cupy)
        of[name] = {(code, number) for (code, _), numbers in launched.items() for number in numbers}
    return of


@pytest.mark.parametrize(("source", "number"), CASES)
def test_without_the_barrier_the_tests_are_red(source, number, cupy):
    kernels = kernels_that_come_to(source.code, number)
    assert kernels, "no kernel's sample comes to this barrier"
    assert any(_is_red(kernel, source, number, cupy) for kernel in kernels)


def _is_red(kernel, source, number, cupy):
    """Whether a test of the kernel fails without the barrier: the quick ones first."""
    with execution(skipped_barrier=(source.code, number)):
        for order in ORDERS:
            with execution(order=order):
                if _fails(check_results, kernel, "float32", cupy):
                    return True
        return _fails(check_races, kernel, cupy)


def _fails(check, *args):
    try:
        check(*args)
    except (AssertionError, RuntimeError):
        return True
    return False
