"""Tasks shared out to threads: each is done once, and none is left to a thread that is busy while another has time."""

import numba
import numpy as np
import pytest

import minidl
from minidl.kernels import _queues
from minidl.kernels._queues import share_out, tasks

THREADS = numba.config.NUMBA_NUM_THREADS


@pytest.fixture
def set_threads():
    before = minidl.get_num_threads()
    yield minidl.set_num_threads
    minidl.set_num_threads(before)


@numba.njit(parallel=True)
def _count(done):
    queues = share_out(done.size)
    for thread in numba.prange(len(queues)):
        for task in tasks(queues, thread):
            done[task] += 1


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 8, 9, 100, 4099])
@pytest.mark.parametrize("threads", range(1, THREADS + 1))
def test_each_task_is_done_once(count, threads, set_threads):
    set_threads(threads)
    for _ in range(50):
        done = np.zeros(count, np.int64)
        _count(done)
        assert (done == 1).all()


@numba.njit
def _taken_by(thread, firsts, ends):
    """The tasks that a thread is given while no other takes any."""
    queues = np.zeros((firsts.size, _queues._BYTES // 8), np.int64)
    for other in range(firsts.size):
        queues[other, 0] = firsts[other] | ends[other] << 32
    return [task for task in tasks(queues, thread)]


def test_own_tasks_come_in_order_and_then_the_last_of_others():
    firsts, ends = np.array([3, 10, 20]), np.array([6, 12, 21])
    assert _taken_by(0, firsts, ends) == [3, 4, 5, 11, 10, 20]
    assert _taken_by(2, firsts, ends) == [20, 5, 4, 3, 11, 10]
    assert _taken_by(1, np.array([0, 0]), np.array([16, 0])) == [14, 15, *range(13, -1, -1)]  # at first an eighth


@numba.njit(parallel=True)
def _first_task_waits(count, done, wanted, patience):
    """Task 0 lasts until so many others are done, or until it has looked in vain so many times."""
    looks = np.zeros(1, np.int64)
    queues = share_out(count)
    for thread in numba.prange(len(queues)):
        for task in tasks(queues, thread):
            seen = _queues._look(done.ctypes.data)
            if task > 0:
                while not _queues._replace(done.ctypes.data, seen, seen + 1):
                    seen = _queues._look(done.ctypes.data)
            else:
                while seen < wanted and looks[0] < patience:
                    seen = _queues._look(done.ctypes.data)
                    looks[0] += 1
    return looks[0]


@pytest.mark.skipif(THREADS < 2, reason="needs two threads")
def test_a_busy_thread_is_relieved_of_its_tasks(set_threads):
    set_threads(2)
    count, patience = 160, 10**10
    together = count // 2 // 8  # tasks that a thread takes at first, task 0 among them
    assert _first_task_waits(count, np.zeros(1, np.int64), count - together, patience) < patience


@numba.njit
def _shared_out(count):
    return share_out(count)


def test_more_tasks_than_a_queue_has_digits_for_are_an_error():
    assert _shared_out(2**31 - 1)[-1, 0] >> 32 == 2**31 - 1
    with pytest.raises(ValueError, match="2147483647"):
        _shared_out(2**31)
