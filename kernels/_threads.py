"""numba owns the threads. There is no BLAS inside a kernel, so no second pool of threads waits for them."""

import os

import numba

_OPENMP_SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def _load_openmp():
    """Load numba's OpenMP layer with threads that sleep while they wait, unless the user has set how they wait.

    By default they spin for milliseconds, on cores that others need: two processes that trained LeNet side by side on
    two cores made 119 images/s each, and 6,700 with sleeping threads. OpenMP reads the variable when it is loaded; it
    is taken away again so that no other library or child process sees it.
    """
    if any(name in os.environ for name in _OPENMP_SETTINGS):
        return
    os.environ["OMP_WAIT_POLICY"] = "passive"
    try:
        from numba.np.ufunc import omppool  # noqa: F401
    except ImportError:
        pass  # no OpenMP on this machine: numba uses TBB or threads of its own
    finally:
        del os.environ["OMP_WAIT_POLICY"]


_load_openmp()


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


_WORTH_WAKING = 60_000  # nanoseconds: to wake a sleeping thread takes 20 to 50 microseconds


def run(function, nanoseconds, args):
    """function(*args) on all threads, or on this one alone where the estimated time is too short to share."""
    threads = numba.get_num_threads()
    if threads == 1 or nanoseconds > _WORTH_WAKING:
        return function(*args)
    numba.set_num_threads(1)
    try:
        return function(*args)
    finally:
        numba.set_num_threads(threads)
