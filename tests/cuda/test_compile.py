"""NVRTC takes every kernel for every generation of GPUs, and the table of what they need is up to date."""

import json

import nvrtc
import pytest

from minidl.kernels._cuda import SOURCES

pytestmark = pytest.mark.skipif(nvrtc.unavailable() is not None, reason=str(nvrtc.unavailable()))


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_every_kernel_compiles_and_the_table_says_what_it_takes(source):
    found = nvrtc.all_resources(source)
    for instance, by_architecture in found.items():
        for architecture, properties in by_architecture.items():
            assert properties["spilled"] == 0, f"{source.path}.{instance}, {architecture}"
            assert properties["shared"] <= 48 << 10, f"{source.path}.{instance}, {architecture}"
    table = json.loads(nvrtc.TABLE.read_text())
    if table["nvrtc"] != nvrtc.version():
        pytest.skip(
            f"the table is of NVRTC {table['nvrtc']}, here is {nvrtc.version()}: kernels compile, no comparison"
        )
    listed = {
        name.split(".", 1)[1]: row for name, row in table["kernels"].items() if name.startswith(f"{source.path}.")
    }
    assert listed == found, "run `make gpu-table`"


def test_the_table_holds_no_kernel_that_is_gone():
    table = json.loads(nvrtc.TABLE.read_text())
    assert {name.split(".", 1)[0] for name in table["kernels"]} == set(SOURCES)


def test_an_error_is_shown_with_its_line():
    with pytest.raises(ValueError, match=r"kernel\.cu\(2\).*no_such_thing"):
        nvrtc.resources("__global__ void f() {\n  no_such_thing();\n}", ("f",), "sm_90")


def test_registers_shared_memory_and_spills_are_read():
    """A kernel that asks for 8 kB of shared memory, and for far more numbers than it is allowed registers."""
    code = """
    __global__ void __launch_bounds__(1024, 2) f(double* x) {
      __shared__ double row[1024];
      double mine[64];
      for (int i = 0; i < 64; i++) mine[i] = x[i * 1024 + threadIdx.x];
      row[threadIdx.x] = mine[0];
      __syncthreads();
      for (int k = 0; k < 100; k++)
        #pragma unroll
        for (int i = 0; i < 64; i++) mine[i] = mine[i] * mine[(i * 7 + 1) % 64] + row[k];
      for (int i = 0; i < 64; i++) x[i * 1024 + threadIdx.x] = mine[i];
    }
    """
    properties = nvrtc.resources(code, ("f",), "sm_90")["f"]
    assert properties["registers"] <= 32
    assert properties["shared"] >= 8192
    assert properties["spilled"] > 0
