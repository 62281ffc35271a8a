"""The GPU backend without a GPU: CuPy is the stand-in, and CUDA C runs on the emulator."""

import pytest
import stand_in
from emulator import unavailable


@pytest.fixture
def cupy():
    """The stand-in under CuPy's name; skips where no CUDA C can be emulated."""
    if unavailable():
        pytest.skip(unavailable())
    yield stand_in.install()
    stand_in.uninstall()
