"""The emulator under ThreadSanitizer: it sees two threads at the same memory with nothing between."""

import numpy as np
import pytest
from checks import launch
from emulator import EmulationError, execution
from test_emulator import ORDERS, TREE, changed, tree

pytestmark = pytest.mark.usefixtures("emulator")


def test_thread_sanitizer_accepts_a_right_kernel():
    with execution(sanitizer="thread"):
        assert tree(TREE)


def test_thread_sanitizer_finds_a_race_whose_result_is_right():
    """Each thread writes what its neighbour writes too, the same value: the result is right in any order."""
    code = "__global__ void touch(int* flag) {\n  flag[threadIdx.x / 2] = 7;\n}"
    flag = np.zeros(32, np.int32)
    launch(code, "touch", 1, 64, flag)
    assert (flag == 7).all()
    with execution(sanitizer="thread"), pytest.raises(EmulationError, match=r"race(.|\n)*kernel\.cu:2"):
        launch(code, "touch", 1, 64, flag)


# The memory that two threads write, of those of a block or of a grid, after a barrier.
TWO = """
__global__ void two(int* flag, int first, int second) {
  __shared__ int seven;
  if (threadIdx.x == 0) seven = 7;
  __syncthreads();
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i == first || i == second) flag[0] = seven;
}
"""


@pytest.mark.parametrize(("block", "second"), [(256, 1), (256, 32), (256, 255), (1024, 32), (1024, 255), (1024, 1023)])
def test_thread_sanitizer_finds_a_race_between_any_two_threads_of_a_large_block(block, second):
    """255 apart they are one to a run time that has 255 slots: see fibers.h."""
    flag = np.zeros(1, np.int32)
    with execution(sanitizer="thread"):
        launch(TWO, "two", 1, block, flag, np.int32(0), np.int32(0))
        assert flag == 7
        with pytest.raises(EmulationError, match=r"race(.|\n)*kernel\.cu:7"):
            launch(TWO, "two", 1, block, flag, np.int32(0), np.int32(second))


@pytest.mark.parametrize("second", [1, 32, 255, 1024])
def test_thread_sanitizer_finds_a_race_between_any_two_blocks(second):
    flag = np.zeros(1, np.int32)
    with execution(sanitizer="thread"), pytest.raises(EmulationError, match=r"race(.|\n)*kernel\.cu:7"):
        launch(TWO, "two", 1025, 1, flag, np.int32(0), np.int32(second))


@pytest.mark.parametrize("block", [256, 1024])
def test_thread_sanitizer_finds_a_race_of_all_threads_whose_result_is_right(block):
    code = changed(TWO, "if (i == first || i == second) flag", "flag")
    flag = np.zeros(1, np.int32)
    launch(code, "two", 1, block, flag, np.int32(0), np.int32(0))
    assert flag == 7
    with execution(sanitizer="thread"), pytest.raises(EmulationError, match=r"race(.|\n)*kernel\.cu:7"):
        launch(code, "two", 1, block, flag, np.int32(0), np.int32(0))


def test_thread_sanitizer_remembers_where_a_race_began():
    """Of an access too long ago it does not know the place, and the later run time then reports nothing."""
    code = """
    __global__ void late(int* flag, int* x) {
      if (threadIdx.x == 0) flag[0] = 7;
      for (int i = 0; i < 3000; i++) x[i * 64 + threadIdx.x] = i;
      if (threadIdx.x == 32) flag[0] = 7;
    }
    """
    with execution(sanitizer="thread"), pytest.raises(EmulationError, match=r"Previous.*\n *#0 late .*kernel\.cu:3"):
        launch(code, "late", 1, 64, np.zeros(1, np.int32), np.zeros(3000 * 64, np.int32))


@pytest.mark.parametrize("order", ORDERS)
def test_thread_sanitizer_finds_a_race_between_two_shuffles(order):
    """The last lane to come to the first goes on to the second before the others leave the first."""
    code = """
    __global__ void warp(int* y) {
      int lane = __shfl_sync(~0u, threadIdx.x, threadIdx.x);
      y[0] = 7;
      lane = __shfl_sync(~0u, lane, lane);
      y[1 + lane] = y[0];
    }
    """
    y = np.zeros(33, np.int32)
    with execution(sanitizer="thread", order=order):
        launch(changed(code, "y[0] = 7", "if (lane == 4) y[0] = 7"), "warp", 1, 32, y)
        assert (y == 7).all()
        with pytest.raises(EmulationError, match=r"race(.|\n)*kernel\.cu:4"):
            launch(code, "warp", 1, 32, y)


def test_thread_sanitizer_finds_a_race_between_blocks():
    """Thread t of each block writes flag[t]; no two of one block meet."""
    code = "__global__ void touch(int* flag) { flag[threadIdx.x] = 7; }"
    flag = np.zeros(64, np.int32)
    with execution(sanitizer="thread"):
        launch(code, "touch", 1, 64, flag)
        with pytest.raises(EmulationError, match="race"):
            launch(code, "touch", 2, 64, flag)


def test_thread_sanitizer_finds_a_race_between_blocks_that_have_barriers():
    """And does not take the shared memory of one block for that of the next."""
    code = """
    template <typename T> __global__ void touch(T* flag) {
      __shared__ T seven[64];
      seven[threadIdx.x] = 7;
      __syncthreads();
      flag[PLACE] = seven[63 - threadIdx.x];
      WAIT
    }
    """
    flag = np.zeros(128, np.int32)
    for wait in ("", "__syncthreads();"):
        right = code.replace("PLACE", "blockIdx.x * 64 + threadIdx.x").replace("WAIT", wait)
        with execution(sanitizer="thread"):
            launch(right, "touch<int>", 2, 64, flag)
            with pytest.raises(EmulationError, match=r"race(.|\n)*kernel\.cu:6"):
                launch(right.replace("blockIdx.x * 64 + ", ""), "touch<int>", 2, 64, flag)


def test_barriers_order_no_blocks_however_many_there_are():
    """The emulator's addresses for them begin anew after 2¹⁴, here with the last block."""
    code = """
    __global__ void touch(int* flag) {
      if (blockIdx.x == 0) flag[0] = 7;
      for (int i = 0; i < 63; i++) __syncthreads();
      if (blockIdx.x == 256) flag[0] = 7;
    }
    """
    with execution(sanitizer="thread"), pytest.raises(EmulationError, match=r"race(.|\n)*kernel\.cu:5"):
        launch(code, "touch", 257, 1, np.zeros(1, np.int32))


def test_thread_sanitizer_finds_a_missing_barrier_that_the_order_hides():
    """Read by the thread that wrote it last, in the order of the emulator alone."""
    code = changed(TREE, "__syncthreads();\n  for", "for")
    with execution(sanitizer="thread"), pytest.raises(EmulationError, match=r"race(.|\n)*in tree"):
        tree(code)
