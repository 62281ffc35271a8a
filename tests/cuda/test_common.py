"""What kernels share: _common.cuh's types, loops and reductions."""

import numpy as np
import pytest
from emulator import EmulationError, RawModule, execution
from test_barriers import barriers

from minidl.kernels._cuda import C_TYPES, with_common

pytestmark = pytest.mark.usefixtures("emulator")

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
template <typename T> __global__ void column_sums(const T* x, Real<T>* y) {
  const int i = threadIdx.y * blockDim.x + threadIdx.x;
  const Real<T> first = column_sum(load(x + i));
  y[i] = column_sum(load(x + i) + first);
}
template <typename T> __global__ void parts(const T* x, Real<T>* y, int width) {
  y[threadIdx.x] = warp_reduce<Sum>(load(x + threadIdx.x), width);
}
template <typename T> __global__ void copy(const T* x, T* y, int size) {
  FOR_EACH(i, size) store(y + i, load(x + i));
}
template <typename T> __global__ void add(const T* x, T* y, int size) {
  FOR_EACH(i, size) store(y + i, load(y + i) + load(x + i));
}
""",
    "test.cu",
)


def run(kernel, x, y, *numbers, grid=1, block=256):
    names = tuple(f"{name}<{C_TYPES[x.dtype]}>" for name in ("sums", "greatest", "column_sums", "parts", "copy", "add"))
    function = RawModule(CODE, name_expressions=names).get_function(f"{kernel}<{C_TYPES[x.dtype]}>")
    function((grid,), np.atleast_1d(block).tolist(), (x, y, *map(np.int32, numbers)))
    return y


def sums_are_right(dtype, block):
    """Integers, so that every order of adding them gives the same."""
    x = np.random.default_rng(0).integers(-4, 5, 777).astype(dtype)
    y = run("sums", x, np.full(block, np.nan, LIKE.get(dtype, dtype)), x.size, block=block)
    total = x.astype(np.float64).sum()
    return (y == total + block * total).all()


def column_sums_are_right(dtype, columns, rows):
    x = np.random.default_rng(0).integers(-4, 5, (rows, columns)).astype(dtype)
    y = run("column_sums", x, np.full(x.shape, np.nan, LIKE.get(dtype, dtype)), block=(columns, rows))
    total = x.astype(np.float64).sum(axis=0)
    return (y == total + rows * total).all()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("block", [32, 64, 256, 1024])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_every_thread_gets_the_sum(dtype, block, order):
    with execution(order=order):
        assert sums_are_right(dtype, block)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("columns", "rows"), [(1, 1), (3, 7), (32, 8), (1, 256), (85, 3), (4, 64)])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_every_thread_gets_its_columns_sum(dtype, columns, rows, order):
    with execution(order=order):
        assert column_sums_are_right(dtype, columns, rows)


@pytest.mark.parametrize("width", [1, 2, 8, 32])
def test_threads_side_by_side_get_their_sum(width):
    x = np.random.default_rng(0).integers(-4, 5, 64).astype(np.float32)
    y = run("parts", x, np.empty_like(x), width, block=64)
    np.testing.assert_array_equal(y, np.repeat(x.reshape(-1, width).sum(axis=1), width))


def test_reductions_have_no_races():
    with execution(sanitizer="thread"):
        assert sums_are_right("float32", 64)
        assert column_sums_are_right("float32", 5, 13)


@pytest.mark.parametrize(("number", "place"), list(enumerate(barriers(CODE))))
def test_without_a_barrier_they_are_wrong(number, place):
    with execution(skipped_barrier=(CODE, number)):
        right = []
        for order in ORDERS:
            with execution(order=order):
                right.append(sums_are_right("float32", 256) and column_sums_are_right("float32", 8, 32))
        with execution(sanitizer="thread"), pytest.raises(EmulationError, match="race"):
            sums_are_right("float32", 64)
            column_sums_are_right("float32", 5, 13)
    assert not all(right), place


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_greatest(dtype):
    x = np.random.default_rng(0).standard_normal(200).astype(dtype)
    y = run("greatest", x, np.empty(256, LIKE.get(dtype, dtype)), x.size)
    np.testing.assert_array_equal(y, x.max())
    x[::] = -np.inf
    np.testing.assert_array_equal(run("greatest", x, y, x.size), -np.inf)
    x[123] = np.nan
    assert np.isnan(run("greatest", x, y, x.size)).all()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize(("grid", "block"), [(1, 32), (3, 64), (40, 256)])
def test_for_each_comes_to_each_element_once_and_half_keeps_its_bits(dtype, grid, block):
    x = np.random.default_rng(0).standard_normal(1003).astype(dtype)
    x[:4] = [np.inf, -0.0, 6e-8, np.nan]
    np.testing.assert_array_equal(run("copy", x, np.full_like(x, 7), x.size, grid=grid, block=block), x)
    ones = np.ones_like(x)
    np.testing.assert_array_equal(run("add", ones, ones.copy(), x.size, grid=grid, block=block), 2)
