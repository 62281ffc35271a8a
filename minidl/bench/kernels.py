"""Every form of a kernel on the same workload, beside what the machine could do: `minidl bench kernels`."""

import importlib.util
import os
import tempfile
from contextlib import ExitStack
from pathlib import Path

from ..kernels import KERNELS
from . import forms, harness, picture

FORMS = "cpu", "reference", "pytorch"
_TURN = 0.1  # seconds of a competitor's turn, at least one run


def matching(names):
    """The kernels' names that begin with one of `names`; all where there is none.

    Raises:
        KeyError: the first of `names` that no kernel's name begins with.
    """
    for name in names:
        if not any(kernel.startswith(name) for kernel in KERNELS):
            raise KeyError(name)
    return [kernel for kernel in KERNELS if not names or kernel.startswith(tuple(names))]


def workloads(names):
    """(name, label) of all that is to be run; label None stands for the largest sample."""
    return [(name, label) for name in names for label in (KERNELS[name].workloads or [None])]


def has_pytorch():
    return importlib.util.find_spec("torch") is not None


def measure(name, label, wanted=FORMS, dtype="float32", rounds=7, threads=None, ceilings=(1.0, 1.0), cold=False):
    """One workload of one kernel as a row of JSON: see docs/benchmarks.md.

    Args:
        wanted: forms; "pytorch" is left out where it is not installed or has no such operation.
        ceilings: (GFLOP/s, GB/s) that shares are of. cold: compile, whatever the cache holds.
    """
    with ExitStack() as stack:
        cache = stack.enter_context(tempfile.TemporaryDirectory()) if cold else None
        competitors = []
        for form in (form for form in FORMS if form in wanted):
            if form == "pytorch" and not _has_peer(name):
                continue
            started = harness.Competitor(form, forms.__file__, form, name, label, dtype, threads=threads, cache=cache)
            competitors.append(stack.enter_context(started))
        times = {c.name: max(1, min(1000, int(_TURN / min(c.run(2))))) for c in competitors}
        seconds = harness.compare(competitors, rounds, times)
    facts = next((c.notes for c in competitors if "bytes" in c.notes), None) or _facts(name, label, dtype)
    row = {"kernel": name, "workload": label, **{key: facts[key] for key in ("arrays", "flops", "bytes")}}
    floor, row["bound"] = roofline(row["flops"], row["bytes"], ceilings)
    row["forms"] = {}
    for c in competitors:
        median, least, greatest = (s * c.notes.get("scale", 1) for s in seconds[c.name])
        row["forms"][c.name] = {
            "seconds": median, "least": least, "greatest": greatest, "estimated": "scale" in c.notes,
            "gflops": row["flops"] / median / 1e9, "gbytes": row["bytes"] / median / 1e9, "share": floor / median,
            **({key: c.notes[key] for key in ("compile_seconds", "format") if key in c.notes}),
        }  # fmt: skip
    both = {"cpu", "pytorch"} <= row["forms"].keys()
    row["ratio_to_pytorch"] = row["forms"]["pytorch"]["seconds"] / row["forms"]["cpu"]["seconds"] if both else None
    return row


def roofline(flops, size, ceilings):
    """(seconds that the machine needs at least, which ceiling it is that binds) for operations and bytes."""
    arithmetic, memory = flops / ceilings[0] / 1e9, size / ceilings[1] / 1e9
    return max(arithmetic, memory), "arithmetic" if arithmetic > memory else "memory"


def _has_peer(name):
    if not has_pytorch():
        return False
    # Read, not imported: PyTorch takes seconds to load, and this process needs nothing else of it.
    return f'"{name}": ' in Path(__file__).with_name("peers.py").read_text(encoding="utf-8")


def _facts(name, label, dtype):
    import numpy as np

    kernel, args = forms.arguments(name, label, dtype)
    return forms.facts(kernel, args, np.ndarray)


def conditions(dtype, rounds, threads):
    """What the figures depend on beside the code; ceilings are measured now."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    gflops, gbytes = harness.ceilings(dtype, threads)
    return {
        "machine": harness.machine(), "load": load, "dtype": dtype, "rounds": rounds,
        "threads": threads or os.cpu_count(), "matmul_gflops": gflops, "copy_gbytes": gbytes,
    }  # fmt: skip


def draw(rows, file, title):
    """A workload a line: what share of its ceiling each form reaches, and the ratio to PyTorch."""
    drawn = {"numba": ("cpu", "#2a6fdb"), "PyTorch": ("pytorch", "#e08a2e"),
                   "reference (NumPy)": ("reference", "#9aa0a6")}  # fmt: skip
    shares = {
        name: (colour, {i: row["forms"][form]["share"] for i, row in enumerate(rows) if form in row["forms"]})
        for name, (form, colour) in drawn.items()
    }
    ratios = {i: row["ratio_to_pytorch"] for i, row in enumerate(rows) if row["ratio_to_pytorch"]}
    labels = (
        "share of the machine's ceiling (matrix product or copy, whichever binds)",
        "PyTorch's time / numba's: right of 1 numba is faster",
    )
    picture.draw([title_of(row) for row in rows], shares, ratios, labels, title, file)


def title_of(row):
    """A row's name: kernel and workload."""
    return f"{row['kernel']} {'(largest sample)' if row['workload'] is None else row['workload']}".strip()
