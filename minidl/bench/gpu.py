"""Timing on a GPU, by its own clock: the forms of a kernel there, and the ceilings of the device.

A launch returns before its work is done, so the host's clock says nothing. Events say it: one before the work and one
behind it, on the same stream. Before the first, the GPU is given a large array to fill, as often as takes it a
millisecond. That is longer than the host needs to queue a kernel's launches, which then run without a gap; and no input
is in the L2 cache any more. (A net's step may be hundreds of launches: then it is the host's time if that is longer.)

As in forms.py, nothing of minidl is imported before a function runs; each runs in a process of its own.
"""

import math
import os
import statistics
import time

FILLED = 2**28  # bytes before a timed run, which no L2 cache holds: 64 µs on an H200, 0.9 ms on a T4
LEAD = 1e-3  # seconds that they are filled for: a convolution of five launches takes the host 150 µs
SIDE = 8192  # of product's matrices
COPIED = 2**30  # bytes that copy reads


def cuda(name, label, dtype):
    """Our CUDA form. Notes: how long its arguments take to the GPU and its results back, and what compiling took."""
    import numpy as np

    import minidl as dl
    from minidl.bench import forms

    dl.cuda.empty_cache()  # of the workload that was built before
    kernel, args = forms.arguments(name, label, dtype)
    arrays = [a for a in args if isinstance(a, np.ndarray)]
    outputs = args[-kernel.outputs :]
    there = [dl.cuda.send(a, "cuda") if isinstance(a, np.ndarray) else a for a in args]
    start = time.perf_counter()
    kernel.gpu(*there)
    dl.cuda.synchronize()
    compiling = time.perf_counter() - start
    notes = {
        **forms.facts(kernel, args, np.ndarray),
        "first_seconds": compiling,
        "transfer_seconds": _transfer(dl.cuda, arrays, there[-kernel.outputs :]),
        "transfer_bytes": sum(a.nbytes for a in arrays) + sum(y.nbytes for y in outputs),
    }
    return timed(lambda: kernel.gpu(*there)), notes


def pytorch_cuda(name, label, dtype):
    """PyTorch's counterpart on the GPU, in the faster of its two memory formats. Notes: format."""
    import torch  # before minidl

    from minidl.bench import forms, peers

    torch.cuda.empty_cache()
    _, args = forms.arguments(name, label, dtype)
    peers.use_device("cuda")
    runs = {layout: timed_torch(peers.PEERS[name](peers.LAYOUTS[layout], *args)) for layout in peers.layouts(name)}
    seconds = {layout: [run() for _ in range(3)][-1] for layout, run in runs.items()}
    best = min(seconds, key=seconds.get)
    return runs[best], {"format": best}


def product(dtype, tf32=False):
    """One product of 8192² matrices by cuBLAS: the ceiling of arithmetic (1.1 TFLOP)."""
    os.environ["CUPY_TF32"] = "1" if tf32 else "0"  # CuPy reads it when it is imported
    import cupy

    a, b = (cupy.full((SIDE, SIDE), value, dtype) for value in (0.5, 2.0))
    y = cupy.empty_like(a)
    return timed(lambda: cupy.matmul(a, b, out=y))


def copy():
    """One copy of 1 GiB within the device: the ceiling of memory (2 GiB move)."""
    import cupy

    a = cupy.ones(COPIED // 4, "float32")
    b = cupy.empty_like(a)
    return timed(lambda: cupy.copyto(b, a))


def ceilings(dtype="float32"):
    """The device's, now: {"matmul_gflops", "tf32_gflops" (None for float64), "copy_gbytes"}."""
    from . import harness

    work = {"matmul_gflops": ("product", dtype), "copy_gbytes": ("copy",)}
    if dtype == "float32":
        work["tf32_gflops"] = "product", dtype, True
    seconds = {}
    for name, entry in work.items():  # one after the other: two processes would share the device
        with harness.Competitor(name, __file__, *entry) as competitor:
            seconds[name] = harness.compare([competitor], 5, 3)[name][0]
    rates = {name: (2 * COPIED if name == "copy_gbytes" else 2 * SIDE**3) / s / 1e9 for name, s in seconds.items()}
    return {"tf32_gflops": None, **rates}


def device():
    """What the figures were read on: name, driver, CUDA, multiprocessors, memory, clocks as far as CuPy tells.

    Raises:
        RuntimeError: there is no GPU; the message says what is missing.
    """
    from .. import cuda

    name = cuda.get_device_name()
    import cupy

    runtime = cupy.cuda.runtime
    properties = runtime.getDeviceProperties(cuda.current_device())
    return {
        "gpu": name, "compute_capability": f"{properties['major']}.{properties['minor']}",
        "multiprocessors": properties["multiProcessorCount"], "memory_bytes": properties["totalGlobalMem"],
        "driver_cuda": runtime.driverGetVersion(), "runtime_cuda": runtime.runtimeGetVersion(),
        "clock_khz": properties.get("clockRate"), "memory_clock_khz": properties.get("memoryClockRate"),
        "cupy": getattr(cupy, "__version__", None),
    }  # fmt: skip


def timed(work):
    """A run that returns the seconds which work on CuPy's current stream takes."""
    import cupy

    filled = cupy.empty(FILLED // 4, "float32")
    start, end = cupy.cuda.Event(), cupy.cuda.Event()
    return _timed(work, lambda: filled.fill(0), start, end, lambda: cupy.cuda.get_elapsed_time(start, end))


def timed_torch(work):
    """The same on PyTorch's current stream."""
    import torch

    filled = torch.empty(FILLED // 4, dtype=torch.float32, device="cuda")
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    return _timed(work, filled.zero_, start, end, lambda: start.elapsed_time(end))


def _timed(work, fill, start, end, milliseconds):
    def seconds(work):
        start.record()
        work()
        end.record()
        end.synchronize()
        return milliseconds() / 1e3

    fills = max(1, math.ceil(LEAD / seconds(fill)))

    def run():
        for _ in range(fills):
            fill()
        return seconds(work)

    return run


def _transfer(cuda, arrays, outputs, times=5):
    """Seconds from the host to the GPU for the arrays, and back for the outputs, as to() and cpu() move them."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        sent = [cuda.send(a, "cuda") for a in arrays]
        cuda.synchronize()
        for y in outputs:
            cuda.to_host(y)
        seconds.append(time.perf_counter() - start)
        del sent
    return statistics.median(seconds)
