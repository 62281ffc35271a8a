"""The GPU backend without a GPU: CuPy is the stand-in, and CUDA C runs on the emulator.

With MINIDL_TEST_DEVICE=cuda (make gpu-check) it is CuPy itself, and the device. What only the stand-in can do, such
as a fault at will, is skipped.
"""

import os
import sys

import pytest

ON_DEVICE = os.environ.get("MINIDL_TEST_DEVICE") == "cuda"
collect_ignore = ["test_stand_in.py"] if ON_DEVICE else []
if ON_DEVICE:
    sys.modules["stand_in"] = None  # pytest.importorskip("stand_in") skips


@pytest.fixture(scope="session")
def emulator():
    """Skips where no CUDA C can be emulated: without g++, or on another processor than x86-64."""
    from emulator import unavailable

    if unavailable():
        pytest.skip(unavailable())


@pytest.fixture
def cupy(request):
    """CuPy where the device is asked for; else the stand-in under its name, and the emulator."""
    if ON_DEVICE:
        yield pytest.importorskip("cupy")
        return
    request.getfixturevalue("emulator")
    import stand_in

    yield stand_in.install()
    stand_in.uninstall()


@pytest.fixture
def late(cupy):
    """cupy, with work that is done as late as a GPU may do it (stand_in.work.deferring); a GPU is late by itself."""
    if ON_DEVICE:
        yield cupy
        return

    from stand_in import work

    with work.deferring():
        yield cupy
