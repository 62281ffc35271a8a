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

_COPIES = 3  # processes of which the median counts: by their pages, one copies at 33 and another at 46 GB/s
_REST = 0.05  # seconds between turns, for spinning threads to fall asleep; with 0.2 LeNet took up to twice as long


class Competitor:
    """A process that builds `function(*arguments)` of a file and runs it on demand; it ends with a with block.

    The function returns a callable, or (callable, notes): what it found out while it was building. A callable that
    returns a float has read the seconds from a clock of its own, a GPU's; else they are this process's.

    Args:
        threads: how many the libraries in the process may use, by default as many as they like.
        cache: a folder for machine code, by default the user's.

    Raises:
        RuntimeError: the process ended.
    """

    def __init__(self, name, file, function, *arguments, threads=None, cache=None):
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(file), function, json.dumps(arguments)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(threads, cache),
        )  # fmt: skip
        self.first, self.notes = self._answer()  # seconds of the first run

    def run(self, times):
        """Seconds of each of `times` runs."""
        return self._ask(times)

    def build(self, function, *arguments):
        """Give up what the process runs, and build something else from its file."""
        self.first, self.notes = self._ask([function, arguments])

    def close(self):
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def _ask(self, what):
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self):
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process of {self.name} ended with status {self._process.wait()}")
        return json.loads(line)


class Pool:
    """Competitors that go on from one piece of work to the next; they end with a with block."""

    def __init__(self):
        self._running = {}

    def competitor(self, name, file, function, *arguments, **options):
        """The process of that name builds it, or a new one, as Competitor would."""
        if name in self._running:
            self._running[name].build(function, *arguments)
        else:
            self._running[name] = Competitor(name, file, function, *arguments, **options)
        return self._running[name]

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        for competitor in self._running.values():
            competitor.close()


_THREADS = "NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"


def environment(threads=None, cache=None):
    """This process's environment without the settings that cripple NumPy's BLAS, with minidl on the path."""
    kept = {k: v for k, v in os.environ.items() if k not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")}
    if threads is not None:
        kept |= dict.fromkeys(_THREADS, str(threads))
    if cache is not None:
        kept["MINIDL_CACHE"] = str(cache)
    root = str(Path(__file__).resolve().parents[2])
    return {**kept, "PYTHONPATH": os.pathsep.join([root, *filter(None, [kept.get("PYTHONPATH")])])}


def compare(competitors, rounds, times):
    """Run the competitors in turns; name -> (median, least, greatest) seconds of the medians of the rounds.

    times: runs per round, a number or one per name.
    """
    if not isinstance(times, dict):
        times = {competitor.name: times for competitor in competitors}
    medians = {competitor.name: [] for competitor in competitors}
    for competitor in competitors:
        competitor.run(times[competitor.name])  # warm up: compile, fill caches, settle the clock
    for _ in range(rounds):
        for competitor in competitors:
            time.sleep(_REST)
            medians[competitor.name].append(statistics.median(competitor.run(times[competitor.name])))
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


def matmul(dtype):
    """One product of 2048² matrices by NumPy's BLAS: the ceiling of arithmetic (17.18 GFLOP)."""
    import numpy as np

    a, b = (np.random.default_rng(i).standard_normal((2048, 2048), dtype) for i in range(2))
    out = np.empty_like(a)
    return lambda: np.matmul(a, b, out=out)


def copy():
    """One pass over 256 MB that reads every element and writes another: the ceiling of memory (512 MB move).

    A plain copy would become a call of memcpy, which goes past the caches and was slower here than what kernels do:
    22.6 GB/s to 25.0 at this size, 16.8 to 59 at a quarter of it, where a large last-level cache still helps.
    """
    import numba
    import numpy as np

    a, b = np.ones(2**26, np.float32), np.empty(2**26, np.float32)

    @numba.njit(parallel=True)
    def copy_all(a, b):
        for i in numba.prange(a.size):
            b[i] = -a[i]

    return lambda: copy_all(a, b)


def ceilings(dtype="float32", threads=None):
    """(GFLOP/s of a matrix product of that dtype, GB/s of a copy) of this machine, now."""
    copies = [f"copy {i}" for i in range(_COPIES)]
    competitors = [
        Competitor("matmul", __file__, "matmul", dtype, threads=threads),
        *(Competitor(name, __file__, "copy", threads=threads) for name in copies),
    ]
    # Turns long enough for what follows a pause not to count: in three runs a copy read 22 GB/s, and goes on at 33.
    seconds = compare(competitors, 5, {"matmul": 5, **dict.fromkeys(copies, 20)})
    for competitor in competitors:
        competitor.close()
    copied = statistics.median(seconds[name][0] for name in copies)
    return 2 * 2048**3 / seconds["matmul"][0] / 1e9, 2 * 4 * 2**26 / copied / 1e9


def _serve(file, function, arguments):
    """Child process: build the competitor, then run it as often as each line of the input says, or build another."""
    answers, sys.stdout = sys.stdout, sys.stderr  # what libraries print must not mix with the answers
    spec = importlib.util.spec_from_file_location("competitor", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    run, answer = _build(module, function, arguments)
    print(json.dumps(answer), file=answers, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        if isinstance(asked, int):
            answer = [_seconds(run) for _ in range(asked)]
        else:
            run = None  # its memory is free for the next
            run, answer = _build(module, *asked)
        print(json.dumps(answer), file=answers, flush=True)


def _build(module, function, arguments):
    """(a run, [seconds of the first, notes])."""
    built = getattr(module, function)(*arguments)
    run, notes = built if isinstance(built, tuple) else (built, {})
    start = time.perf_counter()
    run()
    return run, [time.perf_counter() - start, notes]


def _seconds(run):
    start = time.perf_counter()
    read = run()
    return read if isinstance(read, float) else time.perf_counter() - start


if __name__ == "__main__":
    sys.path.pop(0)  # this folder, whose files no competitor should import by their bare names
    _serve(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
