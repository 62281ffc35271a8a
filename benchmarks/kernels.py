"""Every kernel of the table, its numba form beside its reference, on the largest of its samples.

.venv/bin/python benchmarks/kernels.py [NAME …]
"""

import argparse
import statistics
import time

import numpy as np

from minidl.bench import harness
from minidl.kernels import KERNELS

_ROUNDS, _LEAST_SECONDS = 7, 0.02


def microseconds(function, args):
    """Median over rounds of the mean time of one call, after one call to compile."""
    function(*args)
    rounds = []
    for _ in range(_ROUNDS):
        calls, start = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - start) < _LEAST_SECONDS:
            function(*args)
            calls += 1
        rounds.append(1e6 * elapsed / calls)
    return statistics.median(rounds)


def largest(kernel):
    """The sample with the most elements, float32."""
    samples = kernel.samples(np.random.default_rng(0), np.float32)
    return max(samples, key=lambda args: sum(a.size for a in args if isinstance(a, np.ndarray)))


def main():
    parser = argparse.ArgumentParser(description="Kernels beside their references")
    parser.add_argument("names", nargs="*", default=list(KERNELS), metavar="NAME")
    print(harness.machine())
    print("| kernel | arrays | numba, µs | reference, µs | ratio |\n|---|---|---|---|---|")
    for name in parser.parse_args().names:
        args = largest(KERNELS[name])
        shapes = " ".join("×".join(map(str, a.shape)) for a in args if isinstance(a, np.ndarray))
        with np.errstate(invalid="ignore"):
            fast, slow = microseconds(KERNELS[name], args), microseconds(KERNELS[name].reference, args)
        print(f"| {name} | {shapes} | {fast:.1f} | {slow:.1f} | {slow / fast:.1f} |", flush=True)


if __name__ == "__main__":
    main()
