"""Seconds from the start of a process to LeNet's first finished training step, with an empty and with a warm JIT cache.

    .venv/bin/python benchmarks/startup.py [--runs 5]

The child does what `minidl train lenet` does up to there: imports the command line, loads the digits, builds the net.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

from minidl.bench import harness

_CHILD = """
import time
from minidl import cli, data, models
from minidl.train import Step, fit, recipe
next(e for e in fit(models.create("lenet"), data.load("digits"), recipe("lenet", "digits"), 0) if isinstance(e, Step))
print(time.time())
"""


def first_step(cache):
    """Seconds until a new process has done one step, with its machine code in the folder `cache`."""
    start = time.time()
    environment = {**harness.environment(), "MINIDL_CACHE": cache}
    child = subprocess.run([sys.executable, "-c", _CHILD], env=environment, capture_output=True, text=True, check=True)
    return float(child.stdout) - start


def main():
    parser = argparse.ArgumentParser(description="Time to the first training step")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    print(harness.machine())
    with tempfile.TemporaryDirectory() as cache:
        print(f"cold: {first_step(cache):.1f} s", flush=True)
        warm = [first_step(cache) for _ in range(options.runs)]
        size = sum(f.stat().st_size for f in os.scandir(next(os.scandir(os.path.join(cache, "jit")))))
    print(
        f"warm: {statistics.median(warm):.2f} s ({min(warm):.2f} to {max(warm):.2f}); machine code {size / 1e6:.1f} MB"
    )


if __name__ == "__main__":
    main()
