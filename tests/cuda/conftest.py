"""The tests of the GPU backend, on the real CuPy where there is a GPU, else on a stand-in."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # stand_in, emulator


def _real_device():
    try:
        import cupy
    except ImportError:
        return False
    return cupy.is_available()


@pytest.fixture
def cupy():
    """The module cupy: the real one where there is a device, else the stand-in."""
    if _real_device():
        import cupy

        yield cupy
        return
    import stand_in

    kept = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "cupy"}
    yield stand_in.install()
    stand_in.uninstall()
    sys.modules.update(kept)
