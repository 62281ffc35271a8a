"""What Python takes between two kernels, by how many MB went through the caches since it last ran.

The Python is that of a batch norm in training, forward, without its kernels (use_kernels("none")). Before each run an
array is summed, as a kernel would read it.
"""

import statistics
import time

import numpy as np

import minidl as dl
from minidl import nn
from minidl.kernels import use_kernels

ROUNDS, SIZES = 100, (0.01, 1, 2, 4, 8, 16, 32, 64, 200)

norm = nn.BatchNorm2d(64)
images = dl.Tensor(np.zeros((16, 28, 28, 64), np.float32).transpose(0, 3, 1, 2))


def main():
    with use_kernels("none"), np.errstate(all="ignore"):
        for megabytes in SIZES:
            streamed, seconds = np.ones(int(megabytes * 2**18), np.float32), []
            for _ in range(ROUNDS):
                streamed.sum()
                start = time.perf_counter()
                norm(images)
                seconds.append(time.perf_counter() - start)
            print(f"{megabytes:6g} MB  {1e6 * statistics.median(seconds):6.1f} µs")


if __name__ == "__main__":
    main()
