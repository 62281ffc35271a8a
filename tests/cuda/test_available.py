"""Without the emulator most tests here are skipped: so where it should work, that it does is a test of its own."""

import platform
import re
import shutil
import subprocess

import pytest
from emulator import unavailable


def _version_of_gpp():
    if shutil.which("g++") is None:
        return 0
    version = subprocess.run(["g++", "-dumpfullversion"], capture_output=True, text=True).stdout
    return int(re.match(r"\d*", version)[0] or 0)


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the emulator's threads are for x86-64")
@pytest.mark.skipif(_version_of_gpp() < 12, reason="the emulator needs g++ 12 or newer")
def test_the_emulator_compiles():
    assert unavailable() is None
