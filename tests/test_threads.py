"""The number of threads changes how long a kernel takes and not one bit of what it computes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numba
import pytest

import minidl
from minidl import kernels

ROOT = Path(__file__).resolve().parents[1]

# Runs every kernel of the table on 1 to 4 threads and prints, as JSON, a list per kernel and dtype: for each of its
# inputs which of the outputs seen so far its outputs are, by number of threads. (SHA-256 of them took 29 of 58 s.)
CODE = """
import copy, json
import numpy as np
import minidl
import numba
from minidl.kernels import KERNELS, Kernel

THREADS = range(1, 5)

def larger(kernel, rng, dtype):
    \"\"\"Inputs with enough work for several threads: a part of the benchmark's.\"\"\"
    if kernel.name == "careless":
        return [(rng.standard_normal(100_003).astype(dtype), np.empty(1, dtype))]
    return [make(rng, np.dtype(dtype).type, 16) for make in kernel.workloads.values()]

@numba.njit(parallel=True)
def total(x, y):
    sum = x.dtype.type(0)
    for i in numba.prange(x.size):
        sum += x[i]
    y[0] = sum

Kernel("careless", reference=total.py_func, cpu=total, gpu=total.py_func, samples=lambda rng, dtype: [])

results = {}
for kernel in KERNELS.values():
    for dtype in "float32", "float64":
        rng = np.random.default_rng(0)
        found = results[f"{kernel.name} {dtype}"] = []
        for args in [*kernel.samples(rng, dtype), *larger(kernel, rng, dtype)]:
            found.append([])
            seen = []
            for threads in THREADS:
                minidl.set_num_threads(threads)
                assert minidl.get_num_threads() == threads
                used = copy.deepcopy(args)
                kernel.cpu(*used)  # and not kernel(*used), which keeps little work on one thread
                outputs = b"".join(y.tobytes() for y in used[-kernel.outputs :])
                if outputs not in seen:
                    seen.append(outputs)
                found[-1].append(seen.index(outputs))
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def results():
    environment = os.environ | {"NUMBA_NUM_THREADS": "4", "PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", kernels.KERNELS)
def test_threads_do_not_change_a_bit(results, name, dtype):
    found = results[f"{name} {dtype}"]
    assert found
    assert [number for number, by_threads in enumerate(found) if len(set(by_threads)) != 1] == []


def test_a_careless_sum_would_be_found(results):
    """A sum that is split by threads, as numba does it unasked, differs."""
    for dtype in "float32", "float64":
        (by_threads,) = results[f"careless {dtype}"]
        assert len(set(by_threads)) > 1


@pytest.mark.parametrize("count", [0, -1, True, 1.5, "2", None, numba.config.NUMBA_NUM_THREADS + 1])
def test_wrong_number_of_threads(count):
    before = minidl.get_num_threads()
    with pytest.raises(ValueError, match=rf"integer from 1 to {numba.config.NUMBA_NUM_THREADS}, got {count!r}$"):
        minidl.set_num_threads(count)
    assert minidl.get_num_threads() == before


def test_number_of_threads_is_kept():
    before = minidl.get_num_threads()
    try:
        minidl.set_num_threads(1)
        assert minidl.get_num_threads() == 1
    finally:
        minidl.set_num_threads(before)
    assert minidl.get_num_threads() == before
