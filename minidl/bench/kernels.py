"""Every form of a kernel on the same workload, beside what the machine could do: `minidl bench kernels`."""

import importlib.util
import os
import tempfile
from contextlib import ExitStack
from pathlib import Path

from ..kernels import KERNELS
from . import forms, gpu, harness, picture

FORMS = {"cpu": ("cpu", "reference", "pytorch"), "cuda": ("cuda", "cpu", "pytorch_cuda")}  # of a device, ours first
_TURN = {"cpu": 0.2, "cuda": 0.02}  # seconds of a competitor's turn, at least one run


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


def has_pytorch(device="cpu"):
    """Whether PyTorch is installed, and sees the GPU where that is asked for."""
    if importlib.util.find_spec("torch") is None:
        return False
    if device == "cpu":
        return True
    import torch

    return torch.cuda.is_available()


def measure(
    name, label, wanted=FORMS["cpu"], dtype="float32", rounds=7, threads=None, ceilings=(1.0, 1.0), cold=False,
    device="cpu", pool=None,
):  # fmt: skip
    """One workload of one kernel as a row of JSON: see docs/benchmarks.md.

    Args:
        wanted: forms; PyTorch's is left out where it has no such operation.
        device: "cpu" or "cuda". ceilings: (GFLOP/s, GB/s) that shares are of. cold: compile, whatever the cache holds.
        pool: harness.Pool whose processes are used; by default each form has a new one, which ends with the row.
    """
    with ExitStack() as stack:
        cache = stack.enter_context(tempfile.TemporaryDirectory()) if cold else None
        pool = pool or stack.enter_context(harness.Pool())
        competitors = []
        for form in (form for form in FORMS[device] if form in wanted):
            if form.startswith("pytorch") and not _has_peer(name):
                continue
            file = gpu.__file__ if "cuda" in form else forms.__file__
            competitors.append(pool.competitor(form, file, form, name, label, dtype, threads=threads, cache=cache))
        times = {c.name: max(1, min(1000, int(_TURN[device] / min(c.run(2))))) for c in competitors}
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
            **{key: c.notes[key] for key in _NOTES if key in c.notes},
        }  # fmt: skip
    ours, other, pytorch = FORMS[device]
    row["ratio_to_pytorch"] = _ratio(row["forms"], pytorch, ours)
    if device == "cuda":
        row["ratio_to_cpu"] = _ratio(row["forms"], other, ours)
    return row


_NOTES = "compile_seconds", "format", "first_seconds", "transfer_seconds", "transfer_bytes"


def _ratio(found, a, b):
    return found[a]["seconds"] / found[b]["seconds"] if {a, b} <= found.keys() else None


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


def conditions(dtype, rounds, threads, device="cpu"):
    """What the figures depend on beside the code; ceilings, the device's, are measured now.

    Raises:
        RuntimeError: device is "cuda" and there is no GPU; the message says what is missing.
    """
    found = gpu.device() if device == "cuda" else {}
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    if device == "cuda":
        ceilings = gpu.ceilings(dtype)
    else:
        ceilings = dict(zip(("matmul_gflops", "copy_gbytes"), harness.ceilings(dtype, threads), strict=True))
    return {
        "machine": harness.machine(), "load": load, "dtype": dtype, "rounds": rounds,
        "threads": threads or os.cpu_count(), **found, **ceilings,
    }  # fmt: skip


def draw(rows, file, title, device="cpu"):
    """A workload a line: what share of its ceiling each form reaches, and the ratio to PyTorch."""
    ours, other, pytorch = FORMS[device]
    names = {"cpu": "numba", "reference": "reference (NumPy)", "cuda": "CUDA"}
    drawn = {names[ours]: (ours, "#2a6fdb"), "PyTorch": (pytorch, "#e08a2e"), names[other]: (other, "#9aa0a6")}
    shares = {
        name: (colour, {i: row["forms"][form]["share"] for i, row in enumerate(rows) if form in row["forms"]})
        for name, (form, colour) in drawn.items()
    }
    ratios = {i: row["ratio_to_pytorch"] for i, row in enumerate(rows) if row["ratio_to_pytorch"]}
    labels = (
        "share of the machine's ceiling (matrix product or copy, whichever binds)",
        f"PyTorch's time / {names[ours]}'s: right of 1 {names[ours]} is faster",
    )
    picture.draw([title_of(row) for row in rows], shares, ratios, labels, title, file)


def title_of(row):
    """A row's name: kernel and workload."""
    return f"{row['kernel']} {'(largest sample)' if row['workload'] is None else row['workload']}".strip()
