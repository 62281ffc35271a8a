"""What the commands of `minidl bench` print, and where they write."""

import json
import os
from pathlib import Path

import click
from rich.console import Console

from ..bench import kernels

_WIDTH = 150  # where no terminal says how wide it is


def consoles():
    """(standard output, standard error)"""
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = _WIDTH
    return console, Console(stderr=True)


def check_writable(option, file):
    """Before minutes are spent on figures that could not be kept."""
    if file and not os.access(Path(file) if Path(file).exists() else Path(file).absolute().parent, os.W_OK):
        raise click.ClickException(f"bench: {option}: {file} cannot be written")


def conditions_or_exit(*arguments):
    """kernels.conditions; where there is no GPU, its one line ends the command."""
    try:
        return kernels.conditions(*arguments)
    except RuntimeError as error:
        raise click.ClickException(f"bench: {error}") from None


def describe(conditions):
    """The machine, its GPU where that is measured, and the ceilings, a line each."""
    product = {"float32": "SGEMM", "float64": "DGEMM"}[conditions["dtype"]]
    load = conditions["load"]
    busy = f"; load average {load:.1f}: other work shares the machine" if load and load > 0.5 else ""
    tf32 = f", in TF32 {conditions['tf32_gflops']:.0f}" if conditions.get("tf32_gflops") else ""
    gpu = _gpu(conditions) if "gpu" in conditions else ""
    return (
        f"{conditions['machine']}, {conditions['threads']} threads{busy}\n{gpu}"
        f"ceilings: {product} {conditions['matmul_gflops']:.0f} GFLOP/s{tf32}, "
        f"copy {conditions['copy_gbytes']:.1f} GB/s"
    )


def _gpu(conditions):
    """The GPU in one line."""
    clock = f", {conditions['clock_khz'] / 1e6:.2f} GHz" if conditions["clock_khz"] else ""
    cuda, driver = (f"{v // 1000}.{v % 1000 // 10}" for v in (conditions["runtime_cuda"], conditions["driver_cuda"]))
    return (
        f"{conditions['gpu']}, {conditions['multiprocessors']} multiprocessors, "
        f"{conditions['memory_bytes'] / 2**30:.0f} GiB{clock}, CUDA {cuda}, driver for {driver}\n"
    )


def write_json(file, conditions, rows, **more):
    """The conditions and the rows, as JSON."""
    content = json.dumps({**conditions, "rows": rows, **more}, indent=1, ensure_ascii=False) + "\n"
    Path(file).write_text(content, encoding="utf-8")


def time_of(seconds):
    """Three digits with a unit."""
    unit, size = next(((u, s) for u, s in (("s", 1), ("ms", 1e-3)) if seconds >= s), ("µs", 1e-6))
    return f"{seconds / size:.3g} {unit}" if seconds / size < 1000 else f"{seconds / size:.0f} {unit}"
