"""What a GPU cannot beat: for each kernel's benchmark the bytes, the operations and the bound, derived, not measured.

    .venv/bin/python benchmarks/gpu_roofline.py

A kernel takes at least the time in which the memory moves its bytes, and the time in which the cores do its operations.
Peaks are from NVIDIA's data sheets, float32 without tensor cores: H100 SXM 67 TFLOP/s and 3,350 GB/s, T4 8.1 TFLOP/s
and 320 GB/s. Bytes and operations are those that `minidl bench kernels` counts: each array moved once, a product and a
sum per weight and pixel.
"""

import numpy as np

PEAKS = {"H100": (67e12, 3350e9), "T4": (8.1e12, 320e9)}  # operations per second, bytes per second


def bound(flops, traffic, peak):
    """(seconds, "operations" or "bytes": what binds)."""
    by_operations, by_bytes = flops / peak[0], traffic / peak[1]
    return max(by_operations, by_bytes), "operations" if by_operations > by_bytes else "bytes"


def rows():
    """(kernel, label, GFLOP, MB, {GPU: (seconds, what binds)}) of every kernel that has a benchmark."""
    from minidl.kernels import KERNELS

    for name, kernel in KERNELS.items():
        for label, workload in kernel.workloads.items():
            args = workload(np.random.default_rng(0), np.dtype(np.float32))
            flops, traffic = kernel.flops(*args), kernel.traffic(*args)
            yield name, label, flops / 1e9, traffic / 1e6, {g: bound(flops, traffic, p) for g, p in PEAKS.items()}


def main():
    print("| kernel | GFLOP | MB | " + " | ".join(f"{gpu}, µs" for gpu in PEAKS) + " | bound by |")
    print("|---|---|---|" + "---|" * len(PEAKS) + "---|")
    for name, label, gflop, megabytes, bounds in rows():
        times = " | ".join(f"{seconds * 1e6:,.0f}" for seconds, _ in bounds.values())
        what = " / ".join(sorted({what for _, what in bounds.values()}))
        work = f"{gflop:.2f}" if gflop else "–"
        print(f"| {name}{', ' + label if label else ''} | {work} | {megabytes:,.1f} | {times} | {what} |")


if __name__ == "__main__":
    main()
