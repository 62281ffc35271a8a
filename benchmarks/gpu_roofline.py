"""What each kernel's workload takes on a GPU at least, on paper: its bytes and operations over a data sheet's rates.

    .venv/bin/python benchmarks/gpu_roofline.py [--dtype float64] > table.md

No GPU is needed, and nothing is measured. Bytes and operations are those that `minidl bench kernels` counts: every
array once, two operations per multiply-add of the direct form. No kernel can be faster, but for a convolution by
Winograd's algorithm, which needs fewer products, and one whose arrays the L2 cache holds already.
"""

import argparse

import numpy as np

from minidl.bench import forms, kernels
from minidl.kernels import KERNELS

# GFLOP/s of float32 and float64 outside the tensor cores, GB/s: NVIDIA's data sheets (H100 SXM 2023, T4 2019).
GPUS = {
    "H100 SXM": {"float32": 67_000, "float64": 34_000, "memory": 3_350},
    "T4": {"float32": 8_100, "float64": 253, "memory": 320},
}


def bounds(name, label, dtype):
    """(bytes, operations, {GPU: (seconds, what binds)}, shapes of the arrays) of a workload."""
    facts = forms.facts(*forms.arguments(name, label, dtype), np.ndarray)
    size, flops = facts["bytes"], facts["flops"]
    found = {gpu: kernels.roofline(flops, size, (rates[dtype], rates["memory"])) for gpu, rates in GPUS.items()}
    return size, flops, found, facts["arrays"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    dtype = parser.parse_args().dtype
    print("| kernel | arrays | MB | GFLOP | FLOP/byte |", " | ".join(GPUS), "|")
    print("|---|---|--:|--:|--:|" + "--:|" * len(GPUS))
    for name, label in kernels.workloads(list(KERNELS)):
        size, flops, found, arrays = bounds(name, label, dtype)
        least = (f"{seconds * 1e3:.3g} ms, {bound}" for seconds, bound in found.values())
        title = kernels.title_of({"kernel": name, "workload": label})
        print(
            f"| {title} | {arrays} | {size / 1e6:.0f} | {flops / 1e9:.3g} | {flops / size:.3g} |",
            " | ".join(least),
            "|",
        )


if __name__ == "__main__":
    main()
