"""numba owns the threads. There is no BLAS inside a kernel, so no second pool of threads waits for them."""

import numba


def set_num_threads(count):
    """Run kernels on `count` threads. Results do not depend on it, bit for bit.

    Raises:
        ValueError: count is no integer between 1 and the number of threads numba started with
            (NUMBA_NUM_THREADS, by default the number of cores).
    """
    most = numba.config.NUMBA_NUM_THREADS
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= most:
        raise ValueError(f"set_num_threads: count must be an integer from 1 to {most}, got {count!r}")
    numba.set_num_threads(count)


def get_num_threads():
    """The number of threads that kernels run on."""
    return numba.get_num_threads()
