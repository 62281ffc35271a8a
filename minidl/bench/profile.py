"""Where the time of a step goes: every call of a kernel, forward and backward alike, and what is left."""

import time
from contextlib import contextmanager

import numpy as np

from ..kernels import Kernel
from .forms import facts


class Record:
    """The calls of kernels within a with block of `record`.

    Attributes:
        calls: (name, facts of the arguments, seconds) of each. own: seconds that the record itself took.
    """

    def __init__(self):
        self.calls, self.own = [], 0.0


@contextmanager
def record():
    """Time every call of a kernel in the with block; yields a Record."""
    found, call = Record(), Kernel.__call__

    def timed(kernel, *args):
        start = time.perf_counter()
        result = call(kernel, *args)
        end = time.perf_counter()
        # Read off now: to keep the arrays would keep their memory from those that come after.
        found.calls.append((kernel.name, facts(kernel, args, np.ndarray), end - start))
        found.own += time.perf_counter() - end
        return result

    Kernel.__call__ = timed
    try:
        yield found
    finally:
        Kernel.__call__ = call


def profile(run, rounds):
    """The run of median time among `rounds`, as a dictionary for JSON.

    Its calls are added up by kernel and shapes, slowest first. "seconds" is the run's time without the record's own,
    "rest" what no kernel took: the engine, and what NumPy does itself.
    """
    for _ in range(3):  # loads machine code, fills the pool; a net that is planned runs its list from the third on
        run()
    runs = []
    for _ in range(rounds):
        start = time.perf_counter()
        with record() as found:
            run()
        runs.append((time.perf_counter() - start - found.own, found.calls))
    total, calls = sorted(runs, key=lambda run: run[0])[(rounds - 1) // 2]
    rows = {}
    for name, about, seconds in calls:
        key = name, about["arrays"]
        row = rows.setdefault(key, dict(zip(("kernel", "arrays"), key, strict=True)))
        for what, amount in {"calls": 1, "seconds": seconds, "flops": about["flops"], "bytes": about["bytes"]}.items():
            row[what] = row.get(what, 0) + amount
    rows = sorted(rows.values(), key=lambda row: -row["seconds"])
    return {"seconds": total, "rest": total - sum(row["seconds"] for row in rows), "kernels": rows}
