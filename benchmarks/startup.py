"""Seconds from the start of a process to a net's first finished training step, with an empty and a warm JIT cache.

    .venv/bin/python benchmarks/startup.py [--runs 5]
    .venv/bin/python benchmarks/startup.py --layers

The child does what `minidl train lenet` does up to there: imports the command line, loads the digits, builds the net.
With --layers it trains a step of a small net that holds every layer of the five nets, so that what is compiled is at
least what each of them needs.
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

_LAYERS = """
import time
import numpy as np
import minidl as dl
from minidl import nn
net = nn.Sequential(
    nn.Conv2d(3, 16, 7, 2, 3), nn.ReLU(), nn.LocalResponseNorm(5), nn.MaxPool2d(3, 2, ceil_mode=True),
    nn.Conv2d(16, 32, 3, padding=1, groups=2, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
    nn.Conv2d(32, 64, 1, 2), nn.BatchNorm2d(64), nn.ReLU(), nn.AvgPool2d(3, 2), nn.AdaptiveAvgPool2d(6),
    nn.GlobalAvgPool2d(), nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 10),
)
optimizer = dl.optim.SGD(net.parameters(), 0.01, momentum=0.9, weight_decay=5e-4)
x = dl.Tensor(np.random.default_rng(0).standard_normal((8, 3, 128, 128), np.float32))
loss = dl.ops.cross_entropy(net(x), dl.Tensor(np.arange(8)), label_smoothing=0.1)
a, b = dl.Tensor(np.ones((2, 64, 8, 8), np.float32), requires_grad=True), dl.Tensor(np.ones((2, 64, 8, 8), np.float32))
(loss + dl.ops.add_relu(a, b).mean()).backward()
optimizer.step()
print(time.time())
"""


def first_step(cache, code):
    """Seconds until a new process has done one step, with its machine code in the folder `cache`."""
    start = time.time()
    environment = {**harness.environment(), "MINIDL_CACHE": cache}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # else Python compiles all modules anew: half a second
    child = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return float(child.stdout) - start


def main():
    parser = argparse.ArgumentParser(description="Time to the first training step")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--layers", action="store_true", help="a net of every layer instead of LeNet")
    options = parser.parse_args()
    code = _LAYERS if options.layers else _CHILD
    print(harness.machine())
    with tempfile.TemporaryDirectory() as cache:
        print(f"cold: {first_step(cache, code):.1f} s", flush=True)
        warm = [first_step(cache, code) for _ in range(options.runs)]
        size = sum(f.stat().st_size for f in os.scandir(next(os.scandir(os.path.join(cache, "jit")))))
    print(
        f"warm: {statistics.median(warm):.2f} s ({min(warm):.2f} to {max(warm):.2f}); machine code {size / 1e6:.1f} MB"
    )


if __name__ == "__main__":
    main()
