"""What benchmarks run kernels on.

A workload is a function (rng, dtype, part=1) of one tuple of arguments, outputs included, of a size that occurs in
nets; `part` divides the extent of its first axis, for tests. What only moves memory gets arrays that no cache holds.
"""

LARGE = 2**26  # elements: 256 MiB of float32. At 64 MiB a cache that the system calls 32 MiB large still helped
