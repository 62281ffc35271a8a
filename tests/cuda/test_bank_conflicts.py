"""The emulator counts how many turns a warp's accesses to shared memory take, line by line."""

import math

import numpy as np
import pytest
from checks import launch
from emulator import bank_turns

pytestmark = pytest.mark.usefixtures("emulator")


@pytest.mark.parametrize("stride", [0, 1, 2, 3, 4, 8, 12, 17, 31, 32, 33])
def test_the_turns_of_a_stride_are_its_common_divisor_with_the_banks(stride):
    code = """
    __global__ void read(float* y, int stride) {
      extern __shared__ float words[];
      y[threadIdx.x] = words[threadIdx.x * stride];
    }"""
    y = np.zeros(64, np.float32)
    with bank_turns() as lines:
        launch(code, "read", 2, 64, y, np.int32(stride), shared_mem=64 * 4 * (stride + 1))
    turns = math.gcd(stride, 32) if stride else 1  # one word for all takes one turn
    ((place, line),) = lines.items()
    assert place == "kernel.cu:4" and (line.accesses, line.turns, line.least) == (4, 4 * turns, 4)  # of four warps


@pytest.mark.parametrize(
    ("kind", "least", "turns"),  # turns by step; of 8 bytes each half of the warp has its own, of 16 each quarter
    [("double", 2, {1: 2, 2: 4, 16: 32}), ("float4", 4, {1: 4, 8: 32}), ("half", 1, {1: 1, 2: 1, 64: 32})],
)
def test_turns_of_wide_and_narrow_words(kind, least, turns):
    code = f"""#include <cuda_fp16.h>
    __global__ void read({kind}* y, int step) {{
      __align__(16) extern __shared__ {kind} words[];
      y[threadIdx.x] = words[step * threadIdx.x];
    }}"""
    y = np.zeros((32, 4) if kind == "float4" else 32, {"double": "f8", "float4": "f4", "half": "f2"}[kind])
    for step, expected in turns.items():
        with bank_turns() as lines:
            launch(code, "read", 1, 32, y, np.int32(step), shared_mem=16384)
        (line,) = lines.values()
        assert (line.accesses, line.turns, line.least) == (1, expected, least)


def test_lanes_that_go_apart_meet_at_their_instruction_again():
    """Half of the lanes skip an access; the next one is an access of all, of one turn."""
    code = """
    __global__ void apart(float* y) {
      __shared__ float words[32];
      const int t = threadIdx.x;
      words[t] = t;
      if (t % 2) y[t] = words[t ^ 1];
      y[t + 32] = words[t ^ 3];
    }"""
    with bank_turns() as lines:
        launch(code, "apart", 1, 32, np.zeros(64, np.float32))
    found = sorted((place, line.accesses, line.turns) for place, line in lines.items())
    assert found == [(f"kernel.cu:{line}", 1, 1) for line in (5, 6, 7)]
