"""The emulator finds what is wrong: kernels with a mistake each, and what it says about them."""

import numpy as np
import pytest
from checks import launch
from emulator import EmulationError, execution, remember

pytestmark = pytest.mark.usefixtures("emulator")

ORDERS = ("forward", "reverse", 2, 3, 4)

# The sum of 256 numbers per block, by a tree in shared memory.
TREE = """
__global__ void tree(const float* x, float* sums, int size) {
  __shared__ float partial[256];
  const int t = threadIdx.x, i = blockIdx.x * 256 + t;
  partial[t] = i < size ? x[i] : 0;
  __syncthreads();
  for (int half = 128; half > 0; half /= 2) {
    if (t < half) partial[t] += partial[t + half];
    __syncthreads();
  }
  if (t == 0) sums[blockIdx.x] = partial[0];
}
"""
SECOND_BARRIER = "partial[t + half];\n    __syncthreads();"


def tree(code, size=1000):
    """Whether the sums are right."""
    x = np.random.default_rng(0).standard_normal(size).astype(np.float32)
    blocks = -(-size // 256)
    sums = np.full(blocks, np.nan, np.float32)
    launch(code, "tree", blocks, 256, x, sums, np.int32(size))
    expected = np.pad(x, (0, blocks * 256 - size)).reshape(blocks, 256).sum(1)
    return np.allclose(sums, expected, atol=1e-4)


def changed(code, old, new):
    assert old in code
    return code.replace(old, new)


@pytest.mark.parametrize("order", ORDERS)
def test_a_right_kernel_runs_in_every_order(order):
    with execution(order=order):
        assert tree(TREE)
        assert tree(TREE, size=1024)


def test_orders_find_a_missing_barrier():
    """At least one of them: which, depends on the kernel."""
    for missing in ("__syncthreads();\n  for", "__syncthreads();\n  }"):
        wrong = []
        for order in ORDERS:
            with execution(order=order):
                wrong.append(not tree(changed(TREE, missing, missing.removeprefix("__syncthreads();"))))
        assert any(wrong)
        assert not all(wrong)  # else any test would do


@pytest.mark.parametrize("number", [0, 1])
def test_a_barrier_can_be_skipped(number):
    right = []
    for order in ORDERS:
        with execution(order=order, skipped_barrier=(TREE, number)):
            right.append(tree(TREE))
    assert not all(right)


# ---- memory ----------------------------------------------------------------------------------------------------------

COPY = """
__global__ void copy(const float* x, float* y, int size) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < size)
    y[i + WRITE] = x[i + READ];
}
"""


@pytest.mark.parametrize(("read", "write", "order"), [
    (1, 0, "forward"), (0, 1, "forward"), (-1, 0, "reverse"), (0, -1, "reverse"),
])  # fmt: skip
def test_a_step_outside_of_an_array_is_named(read, write, order):
    x, y = np.ones((2, 512), np.float32)
    code = COPY.replace("READ", str(read)).replace("WRITE", str(write))
    block, thread = (0, 0) if order == "reverse" else (1, 255)
    message = rf"copy: access outside of an array, at kernel\.cu:5, block \({block}, 0, 0\), thread \({thread}, 0, 0\)"
    with execution(order=order), pytest.raises(EmulationError, match=message):
        launch(COPY.replace("READ", str(read)).replace("WRITE", str(write)), "copy", 2, 256, x, y, np.int32(512))
    launch(code.replace(str(read), "0").replace(str(write), "0"), "copy", 2, 256, x, y, np.int32(512))


def test_a_write_into_the_gap_before_the_guard_page_is_seen():
    """501 floats end 12 bytes before a multiple of 16, at which arrays begin and the page does."""
    x, y = np.ones((2, 512), np.float32)[:, :501]
    code = COPY.replace("READ", "0").replace("WRITE", "1")
    with pytest.raises(EmulationError, match="wrote outside of an array"):
        launch(code, "copy", 2, 256, x, y, np.int32(501))


def test_a_gap_that_is_copied_into_another_is_seen():
    """What is read beyond x is not what stands beyond y."""
    x, y = np.ones((2, 512), np.float32)[:, :501]
    code = COPY.replace("READ", "1").replace("WRITE", "1")
    with pytest.raises(EmulationError, match="wrote outside of an array"):
        launch(code, "copy", 2, 256, x, y, np.int32(501))


def test_a_read_from_the_gap_is_nan():
    x, y = np.ones((2, 512), np.float32)[:, :501]
    launch(COPY.replace("READ", "1").replace("WRITE", "0"), "copy", 2, 256, x, y, np.int32(501))
    assert np.isnan(y[500])


def test_arrays_that_overlap_stay_one():
    """Each thread moves its element one up: with the last thread first, every element moves once."""
    x = np.arange(257, dtype=np.float32)
    with execution(order="reverse"):
        launch(COPY.replace("READ", "0").replace("WRITE", "0"), "copy", 1, 256, x[:256], x[1:], np.int32(256))
    np.testing.assert_array_equal(x, [0, *range(256)])
    with execution(order="forward"):
        launch(COPY.replace("READ", "0").replace("WRITE", "0"), "copy", 1, 256, x[:256], x[1:], np.int32(256))
    np.testing.assert_array_equal(x, np.zeros(257))


@pytest.mark.parametrize("far", [4096, 200_000, -4096, -200_000])
def test_a_step_far_outside_of_an_array_is_named(far):
    code = "__global__ void copy(const float* x, float* y, int far) { y[threadIdx.x] = x[int(threadIdx.x) + far]; }"
    x, y = np.zeros((2, 64), np.float32)
    for order in ("forward", "reverse"):
        with execution(order=order), pytest.raises(EmulationError, match="access outside of an array"):
            launch(code, "copy", 1, 64, x, y.copy(), np.int32(far))


def test_an_index_beyond_a_shared_array_is_named():
    code = changed(TREE, "partial[t + half]", "partial[t + half + 1]")
    with pytest.raises(EmulationError, match=r"tree: undefined behaviour: an index out of bounds.*kernel\.cu:8"):
        tree(code)


def test_shared_memory_that_is_not_written_is_nan():
    assert not tree(changed(TREE, "partial[t] = i < size ? x[i] : 0;", "if (i < size) partial[t] = x[i];"))


DYNAMIC = """
__global__ void turn(float* x) {
  extern __shared__ float row[];
  row[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  x[threadIdx.x] = row[blockDim.x - 1 - threadIdx.x];
}
"""


def test_dynamic_shared_memory():
    x = np.arange(64, dtype=np.float32)
    launch(DYNAMIC, "turn", 1, 64, x, shared_mem=256)
    np.testing.assert_array_equal(x, np.arange(64)[::-1])


def test_too_little_dynamic_shared_memory_is_seen():
    with pytest.raises(EmulationError, match=r"access outside of an array, at kernel\.cu:4, .*thread \(48, 0, 0\)"):
        launch(DYNAMIC, "turn", 1, 64, np.zeros(64, np.float32), shared_mem=192)


VECTOR = "__global__ void scale(float4* x) {\n  x[threadIdx.x].x *= 2;\n}"


def test_a_misaligned_vector_is_named():
    x = np.ones(132, np.float32)
    launch(VECTOR, "scale", 1, 32, x[:128])
    assert x[0] == 2
    with pytest.raises(EmulationError, match=r"misaligned address.*kernel\.cu:2"):
        launch(VECTOR, "scale", 1, 32, x[1:129])


def test_an_int_that_overflows_is_named():
    code = "__global__ void far(int* x, int n) { x[0] = n * n > 0; }"
    with pytest.raises(EmulationError, match="overflows"):
        launch(code, "far", 1, 1, np.zeros(1, np.int32), np.int32(100_000))


def test_a_division_by_zero_is_named():
    code = "__global__ void divide(int* x, int n) { x[0] = 7 / n; }"
    with pytest.raises(EmulationError, match="integer division by zero"):
        launch(code, "divide", 1, 1, np.zeros(1, np.int32), np.int32(0))


# ---- barriers and shuffles -------------------------------------------------------------------------------------------


def test_a_barrier_that_some_threads_miss_is_named():
    code = changed(TREE, SECOND_BARRIER, "partial[t + half];\n    if (t < 8) __syncthreads();")
    with pytest.raises(EmulationError, match=r"(returned|deadlock|different __syncthreads).*kernel\.cu:\d+, block"):
        tree(code)


def test_different_barriers_do_not_meet():
    code = changed(
        TREE, SECOND_BARRIER, "partial[t + half];\n    if (t < 8) __syncthreads();\n    else __syncthreads();"
    )
    with pytest.raises(EmulationError, match=r"wait at different __syncthreads\(\), at kernel\.cu:(9|10)"):
        tree(code)


def test_a_barrier_after_a_return_is_named():
    code = changed(TREE, "partial[t] = i < size ? x[i] : 0;", "if (i >= size) return;\n  partial[t] = x[i];")
    with pytest.raises(EmulationError, match=r"after other threads of the block have returned"):
        tree(code)


WARP = """
__global__ void warp(const float* x, float* y) {
  float value = x[threadIdx.x];
  for (int bit = 16; bit > 0; bit /= 2) value += __shfl_xor_sync(MASK, value, bit);
  y[threadIdx.x] = value;
}
"""


@pytest.mark.parametrize("order", ORDERS)
def test_a_sum_by_shuffles(order):
    x = np.arange(64, dtype=np.float32)
    y = np.empty_like(x)
    with execution(order=order):
        launch(WARP.replace("MASK", "0xffffffffu"), "warp", 1, 64, x, y)
    np.testing.assert_array_equal(y, np.repeat(x.reshape(2, 32).sum(1), 32))


@pytest.mark.parametrize(("mask", "threads", "order", "message"), [
    ("0xffffu", 64, "reverse", "whose mask leaves it out"),
    ("0xffffffffu", 48, "forward", "names lanes beyond the block"),
    ("threadIdx.x % 32 < 16 ? 0xffff0000u | 1u << threadIdx.x % 32 : 0xffffffffu", 64, "forward", "different masks"),
    ("threadIdx.x % 32 < 16 ? 0xffffu : 0xffff0000u", 64, "forward", "reads a lane that its mask leaves out"),
])  # fmt: skip
def test_wrong_masks_are_named(mask, threads, order, message):
    x = np.arange(64, dtype=np.float32)
    with execution(order=order), pytest.raises(EmulationError, match=rf"{message}.*kernel\.cu:4"):
        launch(WARP.replace("MASK", f"({mask})"), "warp", 1, threads, x, np.empty_like(x))


def test_shuffles_votes_and_counts_give_what_cuda_gives():
    code = """
    __global__ void all(int* y) {
      const int t = threadIdx.x;
      int* mine = y + t * 8;
      mine[0] = __shfl_sync(~0u, t, 3);
      mine[1] = __shfl_sync(~0u, t, 3, 8);
      mine[2] = __shfl_up_sync(~0u, t, 2);
      mine[3] = __shfl_down_sync(~0u, t, 2);
      mine[4] = __ballot_sync(~0u, t < 5);
      mine[5] = __syncthreads_count(t % 2);
      mine[6] = __syncthreads_or(t == 40) + 2 * __syncthreads_and(t < 40);
      mine[7] = __any_sync(~0u, t == 2) + 2 * __all_sync(~0u, t < 32);
    }
    """
    y = np.full((64, 8), -1, np.int32)
    launch(code, "all", 1, 64, y)
    lane, warp = np.arange(64) % 32, np.arange(64) // 32 * 32
    expected = [
        warp + 3,
        warp + lane // 8 * 8 + 3,
        warp + np.where(lane < 2, lane, lane - 2),
        warp + np.where(lane > 29, lane, lane + 2),
        np.where(warp == 0, 31, 0),
        32 + 0 * lane,
        1 + 0 * lane,
        np.where(warp == 0, 3, 0),
    ]
    np.testing.assert_array_equal(y.T, expected)


# ---- what a launch is given ------------------------------------------------------------------------------------------


def test_half_rounds_to_nearest_even():
    code = """
    __global__ void narrow(const float* x, half* h, float* y) {
      const int t = threadIdx.x;
      h[t] = __float2half_rn(x[t]);
      y[t] = __half2float(h[t]);
    }
    """
    x = np.random.default_rng(0).standard_normal(512).astype(np.float32)
    x[:8] = [np.nan, np.inf, 65519, 65520, 1e-8, 6e-8, 1 + 2**-11, 1 + 3 * 2**-11]
    h, y = np.empty(512, np.float16), np.empty(512, np.float32)
    launch(code, "narrow", 1, 512, x, h, y)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(h, x.astype(np.float16))
    np.testing.assert_array_equal(y, h.astype(np.float32))


@pytest.mark.parametrize(("place", "value", "message"), [
    (0, np.ones(512), "pointer to float32, got float64"),
    (2, 512, "declares int32, CuPy would pass int64"),
    (2, 512.0, "declares int32, CuPy would pass float64"),
    (2, np.ones(4, np.int32), "declares a int32, got an array"),
    (1, np.float32(1), "declares a pointer, got float32"),
])  # fmt: skip
def test_arguments_of_another_type_are_named(place, value, message):
    args = [np.ones(512, np.float32), np.empty(512, np.float32), np.int32(512)]
    args[place] = value
    with pytest.raises(EmulationError, match=f"argument {place}.*{message}"):
        launch(COPY.replace("READ", "0").replace("WRITE", "0"), "copy", 1, 512, *args)


def test_launches_that_cuda_refuses():
    code = "__global__ void nothing() {}"
    launch(code, "nothing", 1, 1024)
    for grid, block, shared_mem in ((1, 1025, 0), (0, 32, 0), (1, 32, 50_000)):
        with pytest.raises(EmulationError, match="CUDA_ERROR_INVALID_VALUE"):
            launch(code, "nothing", grid, block, shared_mem=shared_mem)


def test_what_gcc_does_not_take_is_shown():
    with pytest.raises(EmulationError, match=r"kernel\.cu:2.*no_such_thing"):
        launch("__global__ void f() {\n  no_such_thing();\n}", "f", 1, 1)


def test_shared_memory_of_templates_is_nan_too():
    code = """
    template <typename T> __global__ void leak(T* x) {
      __shared__ T row[32];
      x[threadIdx.x] = row[threadIdx.x];
      row[threadIdx.x] = 1;
    }
    """
    for c_type, dtype in (("float", "f4"), ("double", "f8")):
        x = np.zeros(32, dtype)
        launch(code, f"leak<{c_type}>", 3, 32, x)
        assert np.isnan(x).all()


def test_templates_have_shared_memory_of_their_own():
    code = """
    template <typename T> __global__ void swap(T* x) {
      __shared__ T both[2];
      both[threadIdx.x] = x[threadIdx.x];
      __syncthreads();
      x[threadIdx.x] = both[1 - threadIdx.x];
    }
    """
    for c_type, dtype in (("float", "f4"), ("double", "f8"), ("int", "i4")):
        x = np.array([1, 2], dtype)
        launch(code, f"swap<{c_type}>", 1, 2, x)
        np.testing.assert_array_equal(x, [2, 1])


# ---- tables of addresses -------------------------------------------------------------------------------------------

EACH = """
__global__ void twice(const float* const* from, float* const* to, const int* sizes) {
  const int array = blockIdx.x, i = threadIdx.x;
  if (i < sizes[array]) to[array][i] = 2 * from[array][i];
}
"""


def addresses(arrays):
    for array in arrays:
        remember(array)
    return np.array([array.ctypes.data for array in arrays], np.uint64)


def twice(code, sizes=(3, 5), keep=True):
    """Whether each of some arrays holds twice the other; with keep=False they are gone before the launch."""
    x, y = ([np.full(n, 1.5 + k, np.float32) for n in sizes] for k in range(2))
    tables, count = (addresses(x), addresses(y)), np.array(sizes, np.int32)
    if not keep:
        y = None
    launch(code, "twice", len(sizes), 32, *tables, count)
    return all(np.array_equal(b, 2 * a) for a, b in zip(x, y, strict=True))


@pytest.mark.parametrize("sanitizer", ["undefined", "thread"])
def test_a_kernel_follows_a_table_of_addresses(sanitizer):
    with execution(sanitizer=sanitizer):
        assert twice(EACH)


def test_what_is_wrong_with_a_table():
    for old, new, message in [
        ("i < sizes", "i <= sizes", "access outside of an array, at kernel.cu:4, block .*, thread"),
        ("from[array]", "from[array + 1]", "access outside of an array"),
        ("float* const* to", "float** to", "a table of addresses is uint64 and const"),
        ("const float* const* from", "const double* const* from", "pointer to float64, got float32"),
    ]:
        with pytest.raises(EmulationError, match=message):
            twice(changed(EACH, old, new), sizes=(4, 4))
    with pytest.raises(EmulationError, match="no array that is alive begins at the address 0x"):
        twice(EACH, keep=False)
