"""What kernels share: _common.cuh's types, loops and reductions."""

import numpy as np
import pytest
from emulator import EmulationError, RawModule, execution, unavailable
from test_barriers import barriers

from minidl.kernels._cuda import C_TYPES, with_common

pytestmark = pytest.mark.skipif(unavailable() is not None, reason=str(unavailable()))

ORDERS = ("forward", "reverse", 2, 3, 4)
LIKE = {"float16": "float32"}  # the type of arithmetic, where it is another

# Two reductions of one kind one after the other, as the mean and the variance are: the second must not overtake.
CODE = with_common(
    """
#include "_common.cuh"
template <typename T> __global__ void sums(const T* x, Real<T>* y, int size) {
  Real<T> own = 0;
  for (int i = threadIdx.x; i < size; i += blockDim.x) own += load(x + i);
  const Real<T> first = block_reduce<Sum>(own);
  const Real<T> second = block_reduce<Sum>(own + first);
  y[threadIdx.x] = second;
}
template <typename T> __global__ void greatest(const T* x, Real<T>* y, int size) {
  y[threadIdx.x] = block_reduce<Max>(threadIdx.x < size ? load(x + threadIdx.x) : Max::identity<Real<T>>());
}
template <typename T> __global__ void copy(const T* x, T* y, int size) {
  FOR_EACH(i, size) store(y + i, load(x + i));
}
""",
    "test.cu",
)


def run(kernel, x, y, grid=1, block=256):
    names = tuple(f"{name}<{C_TYPES[x.dtype]}>" for name in ("sums", "greatest", "copy"))
    function = RawModule(CODE, name_expressions=names).get_function(f"{kernel}<{C_TYPES[x.dtype]}>")
    function((grid,), (block,), (x, y, np.int32(x.size)))
    return y


def sums_are_right(dtype, block):
    """Integers, so that every order of adding them gives the same."""
    x = np.random.default_rng(0).integers(-4, 5, 777).astype(dtype)
    y = run("sums", x, np.full(block, np.nan, LIKE.get(dtype, dtype)), block=block)
    total = x.astype(np.float64).sum()
    return (y == total + block * total).all()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("block", [32, 64, 256, 1024])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_every_thread_gets_the_sum(dtype, block, order):
    with execution(order=order):
        assert sums_are_right(dtype, block)


def test_reductions_have_no_races():
    with execution(sanitizer="thread"):
        assert sums_are_right("float32", 64)


@pytest.mark.parametrize(("number", "place"), list(enumerate(barriers(CODE))))
def test_without_a_barrier_they_are_wrong(number, place):
    with execution(skipped_barrier=(CODE, number)):
        right = []
        for order in ORDERS:
            with execution(order=order):
                right.append(sums_are_right("float32", 256))
        with execution(sanitizer="thread"), pytest.raises(EmulationError, match="race"):
            sums_are_right("float32", 64)
    assert not all(right), place


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_greatest(dtype):
    x = np.random.default_rng(0).standard_normal(200).astype(dtype)
    y = run("greatest", x, np.empty(256, LIKE.get(dtype, dtype)))
    np.testing.assert_array_equal(y, x.max())
    x[::] = -np.inf
    np.testing.assert_array_equal(run("greatest", x, y), -np.inf)
    x[123] = np.nan
    assert np.isnan(run("greatest", x, y)).all()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize(("grid", "block"), [(1, 32), (3, 64), (40, 256)])
def test_for_each_comes_to_each_element_and_half_keeps_its_bits(dtype, grid, block):
    x = np.random.default_rng(0).standard_normal(1003).astype(dtype)
    x[:4] = [np.inf, -0.0, 6e-8, np.nan]
    np.testing.assert_array_equal(run("copy", x, np.full_like(x, 7), grid, block), x)
