"""numba owns the threads. There is no BLAS inside a kernel, so no second pool of threads waits for them."""

import os
from functools import cache

import numba
from numba.np.ufunc import parallel

_CHOSEN = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "20000"}


def _load_openmp():
    """Load numba's OpenMP layer with threads that soon sleep when they wait, unless the user has set how they wait.

    By default they spin for many milliseconds, on cores that others need: two processes that trained LeNet side by side
    on two cores made 119 images/s each. With 20,000 turns (about 0.4 ms) it is 5,000 each, with 5,000 turns 9,500. But
    what Python does between two kernels is longer than 5,000 turns, and to wake a thread takes long on a virtual
    machine: alone, LeNet's inference took 3.7 ms for 3.1, its training step 13 for 11. OpenMP reads the variables when
    it is loaded; they are taken away again so that no other library or child process sees them.
    """
    if any(name in os.environ for name in (*_CHOSEN, "KMP_BLOCKTIME")):
        return
    os.environ.update(_CHOSEN)
    try:
        from numba.np.ufunc import omppool  # noqa: F401
    except ImportError:
        pass  # no OpenMP on this machine: numba uses TBB or threads of its own
    finally:
        for name in _CHOSEN:
            del os.environ[name]


_load_openmp()

# Rows of the scratch memory that kernels give each of their threads. How many run now numba alone knows, and to ask it
# takes a microsecond, which it did fifty times in a training step of LeNet.
MOST_THREADS = numba.config.NUMBA_NUM_THREADS


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


@cache
def _access():
    """numba's get_num_threads and set_num_threads, past the locks that they take each time: 4 us for a small kernel."""
    numba.get_num_threads()  # starts the threads, where they have not been started
    return tuple(getattr(parallel, f"_{name}", getattr(numba, name)) for name in ("get_num_threads", "set_num_threads"))


_WORTH_WAKING = 60_000  # nanoseconds: to wake a sleeping thread takes 20 to 50 microseconds


def run(function, nanoseconds, args):
    """function(*args) on all threads, or on this one alone where the estimated time is too short to share."""
    if nanoseconds > _WORTH_WAKING:
        return function(*args)
    get_threads, set_threads = _access()
    threads = get_threads()
    if threads == 1:
        return function(*args)
    set_threads(1)
    try:
        return function(*args)
    finally:
        set_threads(threads)
