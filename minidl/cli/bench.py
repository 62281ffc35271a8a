"""minidl bench kernels NAME …: time every form of the kernels beside the machine's ceilings and PyTorch.

bench_models.py has `minidl bench models`.
"""

import os
from contextlib import nullcontext

import click
from rich.table import Table

from ..bench import harness, kernels
from ..kernels import KERNELS
from ._bench_output import check_writable, conditions_or_exit, consoles, describe, time_of, write_json
from .bench_models import models

_NAMES = {"cpu": "numba", "reference": "NumPy", "pytorch": "PyTorch", "cuda": "CUDA", "pytorch_cuda": "PyTorch"}


@click.group(invoke_without_command=True)
@click.option("--ceilings", "show_ceilings", is_flag=True, help="The same as `minidl bench ceilings`.")
@click.pass_context
def bench(context, show_ceilings):
    """Measure kernels and whole nets, and what the machine could do at best."""
    if context.invoked_subcommand is None:
        if not show_ceilings:
            raise click.exceptions.NoArgsIsHelpError(context)
        context.invoke(ceilings)


bench.add_command(models)


@bench.command("ceilings")
@click.option("--dtype", type=click.Choice(["float32", "float64"]), default="float32", show_default=True)
@click.option("--threads", type=click.IntRange(1, os.cpu_count()), help="By default one per core.")
def ceilings(dtype="float32", threads=None):
    """Measure the rate of a matrix product and of a copy."""
    console, _ = consoles()
    console.print(describe(kernels.conditions(dtype, None, threads)))


@bench.command("kernels")
@click.argument("names", nargs=-1, metavar="[NAME] …")
@click.option("--device", type=click.Choice(list(kernels.FORMS)), default="cpu", show_default=True)
@click.option("--forms", metavar="LIST", help="Which forms to time: some of cpu,reference,pytorch; all by default.")
@click.option("--dtype", type=click.Choice(["float32", "float64"]), default="float32", show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=7, show_default=True, help="Turns of each form.")
@click.option("--threads", type=click.IntRange(1, os.cpu_count()), help="By default one per core.")
@click.option("--cold", is_flag=True, help="Compile every kernel anew, to see how long that takes.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False), metavar="FILE", help="Also write the figures.")
@click.option("--plot", type=click.Path(dir_okay=False), metavar="FILE", help="Also draw the figures into an image.")
def kernels_command(names, device, forms, dtype, rounds, threads, cold, json_file, plot):
    """Time kernels: numba, the NumPy reference and, where it is installed, PyTorch.

    With --device cuda: our CUDA form by the GPU's own clock, numba on the CPU, and PyTorch on the GPU. Forms are then
    cuda,cpu,pytorch_cuda. What arrays take to the GPU and back has a column of its own.

    NAME is the beginning of kernels' names: conv2d stands for conv2d.forward, conv2d.input_grad and its others.
    Each form runs in a process of its own, in turns. Shares are of the machine's ceiling, measured first.
    """
    forms = _forms(forms, device)
    todo = kernels.workloads(_matching(names))
    for option, file in (("--json", json_file), ("--plot", plot)):
        check_writable(option, file)
    console, status = consoles()
    conditions = conditions_or_exit(dtype, rounds, threads, device)
    console.print(describe(conditions))
    if any(form.startswith("pytorch") for form in forms) and not kernels.has_pytorch(device):
        console.print(f"PyTorch is not installed{' or sees no GPU' * (device == 'cuda')}: its column stays empty")
        forms = [form for form in forms if not form.startswith("pytorch")]
    rows, best = [], (conditions["matmul_gflops"], conditions["copy_gbytes"])
    # On a GPU processes stay: to start one takes seconds, and its clock sees the kernels alone. But cold ones are new.
    stay = device == "cuda" and not cold
    with status.status("") as line, harness.Pool() if stay else nullcontext() as pool:
        for number, (name, label) in enumerate(todo):
            line.update(f"{number + 1}/{len(todo)} {name} {label or ''}")
            rows.append(kernels.measure(name, label, forms, dtype, rounds, threads, best, cold, device, pool))
            if json_file:
                write_json(json_file, conditions, rows)  # what is there so far, should the rest never come
    console.print(_table(rows) if device == "cpu" else _gpu_table(rows))
    if any(form["estimated"] for row in rows for form in row["forms"].values()):
        console.print("~ estimated from a part of the workload")
    if json_file:
        console.print(f"wrote {json_file}")
    if plot:
        kernels.draw(rows, plot, describe(conditions), device)
        console.print(f"wrote {plot}")


def _forms(text, device):
    known = kernels.FORMS[device]
    if text is None:
        return list(known)
    forms = [form.strip() for form in text.split(",") if form.strip()]
    for form in forms or [text]:
        if form not in known:
            raise click.ClickException(f"bench: --forms must be some of {', '.join(known)}, got {form!r}")
    return forms


def _matching(names):
    try:
        return kernels.matching(names)
    except KeyError as error:
        known = ", ".join(sorted(KERNELS))
        raise click.ClickException(f"bench: there is no kernel {error.args[0]!r}; known are {known}") from None


def _table(rows):
    table = Table(box=None, pad_edge=False)
    table.add_column("kernel")
    table.add_column("arrays", max_width=34)
    table.add_column("form")
    for title in ("time", "least to greatest", "rate", "of ceiling", "compile", "PyTorch / numba"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        first = [kernels.title_of(row), row["arrays"]]
        for form, figures in row["forms"].items():
            rate = _rate(row, figures)
            compiled = ""
            if form == "cpu":
                compiled = "cached" if figures["compile_seconds"] is None else f"{figures['compile_seconds']:.1f} s"
            ratio = f"{row['ratio_to_pytorch']:.2f}" if form == "cpu" and row["ratio_to_pytorch"] else ""
            name = _NAMES[form] + (", " + figures["format"] if len(figures.get("format", "")) > 4 else "")
            table.add_row(
                *first, name, ("~ " if figures["estimated"] else "") + time_of(figures["seconds"]),
                f"{time_of(figures['least'])} to {time_of(figures['greatest'])}", rate, f"{figures['share']:.1%}",
                compiled, ratio,
            )  # fmt: skip
            first = ["", ""]
    return table


def _gpu_table(rows):
    table = Table(box=None, pad_edge=False)
    table.add_column("kernel")
    table.add_column("arrays", max_width=34)
    table.add_column("form")
    for title in ("time", "least to greatest", "rate", "of ceiling", "there and back", "CPU / GPU", "PyTorch / CUDA"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        first = [kernels.title_of(row), row["arrays"]]
        for form, figures in row["forms"].items():
            ours = form == "cuda"
            table.add_row(
                *first, _NAMES[form], time_of(figures["seconds"]),
                f"{time_of(figures['least'])} to {time_of(figures['greatest'])}", _rate(row, figures),
                f"{figures['share']:.1%}", time_of(figures["transfer_seconds"]) if ours else "",
                f"{row['ratio_to_cpu']:.2f}" if ours and row["ratio_to_cpu"] else "",
                f"{row['ratio_to_pytorch']:.2f}" if ours and row["ratio_to_pytorch"] else "",
            )  # fmt: skip
            first = ["", ""]
    return table


def _rate(row, figures):
    arithmetic = row["bound"] == "arithmetic"
    return f"{figures['gflops']:.1f} GFLOP/s" if arithmetic else f"{figures['gbytes']:.1f} GB/s"
