"""Nets on one thread where other test processes have the other cores.

Two processes of two threads on two cores wait for each other at the end of every kernel: these tests took 220 s, and
take 140 to 175. No result depends on it: tests/test_threads.py holds every kernel to the same bits on
any number of threads.
"""

import os

import pytest

import minidl as dl


@pytest.fixture(autouse=True)
def one_thread_beside_other_processes():
    before = dl.get_num_threads()
    if "PYTEST_XDIST_WORKER" in os.environ:
        dl.set_num_threads(1)
    yield
    dl.set_num_threads(before)
