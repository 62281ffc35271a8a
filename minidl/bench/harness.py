"""Time competitors fairly: each in a process of its own, in turns, so that drift and left-over threads hit all alike.

A competitor is a function (in an importable file) that returns a callable; the callable is one run, for example one
training step. Processes that are not being timed sleep: a library whose threads spin after their work (PyTorch's
OpenMP) would otherwise slow down the next one.
"""

import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

_REST = 0.05  # seconds between turns, for spinning threads to fall asleep


class Competitor:
    """A process that builds `function(*arguments)` of a file and runs it on demand."""

    def __init__(self, name, file, function, *arguments):
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(file), function, json.dumps(arguments)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(),
        )  # fmt: skip
        self.ready = json.loads(self._process.stdout.readline())

    def run(self, times):
        """Seconds of each of `times` runs."""
        self._process.stdin.write(f"{times}\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self):
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def environment():
    """This process's environment without the settings that cripple NumPy's BLAS, with minidl on the path."""
    kept = {k: v for k, v in os.environ.items() if k not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")}
    root = str(Path(__file__).resolve().parents[2])
    return {**kept, "PYTHONPATH": os.pathsep.join([root, *filter(None, [kept.get("PYTHONPATH")])])}


def compare(competitors, rounds, times):
    """Run the competitors in turns; name -> (median, least, greatest) seconds of the medians of the rounds."""
    medians = {competitor.name: [] for competitor in competitors}
    for competitor in competitors:
        competitor.run(times)  # warm up: compile, fill caches, settle the clock
    for _ in range(rounds):
        for competitor in competitors:
            time.sleep(_REST)
            medians[competitor.name].append(statistics.median(competitor.run(times)))
    return {name: (statistics.median(m), min(m), max(m)) for name, m in medians.items()}


def machine():
    """What the figures were read on, in one line."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{model}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"


def sgemm():
    """One product of 2048² float32 matrices by NumPy's BLAS: the ceiling of arithmetic (17.18 GFLOP)."""
    import numpy as np

    a, b = (np.random.default_rng(i).standard_normal((2048, 2048), dtype=np.float32) for i in range(2))
    out = np.empty_like(a)
    return lambda: np.matmul(a, b, out=out)


def copy():
    """One copy of 256 MB: the ceiling of memory (512 MB read and written)."""
    import numba
    import numpy as np

    a, b = np.ones(2**26, np.float32), np.empty(2**26, np.float32)

    @numba.njit(parallel=True)
    def copy_all(a, b):
        for i in numba.prange(a.size):
            b[i] = a[i]

    return lambda: copy_all(a, b)


def ceilings():
    """(GFLOP/s of SGEMM, GB/s of a copy) of this machine, now."""
    competitors = [Competitor("sgemm", __file__, "sgemm"), Competitor("copy", __file__, "copy")]
    seconds = compare(competitors, 5, 3)
    for competitor in competitors:
        competitor.close()
    return 2 * 2048**3 / seconds["sgemm"][0] / 1e9, 2 * 4 * 2**26 / seconds["copy"][0] / 1e9


def _serve(file, function, arguments):
    """Child process: build the competitor, then run it as often as each line of the input says."""
    answers, sys.stdout = sys.stdout, sys.stderr  # what libraries print must not mix with the answers
    spec = importlib.util.spec_from_file_location("competitor", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    start = time.perf_counter()
    run = getattr(module, function)(*arguments)
    run()
    print(json.dumps(time.perf_counter() - start), file=answers, flush=True)
    for line in sys.stdin:
        seconds = []
        for _ in range(int(line)):
            start = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - start)
        print(json.dumps(seconds), file=answers, flush=True)


if __name__ == "__main__":
    sys.path.pop(0)  # this folder, whose files no competitor should import by their bare names
    _serve(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
