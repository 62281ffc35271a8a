"""minidl bench models NAME …: time whole nets beside PyTorch and onnxruntime."""

import os

import click
from rich.table import Table

from ..bench import models as bench
from ..bench import steps
from ._bench_output import check_writable, conditions_or_exit, consoles, describe, time_of, write_json


@click.command("models")
@click.argument("names", nargs=-1, metavar="[NAME] …")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--peer", "peers", metavar="LIST", default=",".join(bench.PEERS), show_default=True, help="Or none.")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="Turns of each competitor.")
@click.option("--threads", type=click.IntRange(1, os.cpu_count()), help="By default one per core.")
@click.option("--batch", type=click.IntRange(1), help="Images of a step; by default each net's own.")
@click.option("--compile", "compiled", is_flag=True, help="PyTorch also through torch.compile, which takes minutes.")
@click.option("--layers", is_flag=True, help="Also where our own time goes, kernel by kernel.")
@click.option("--top", type=click.IntRange(1), default=30, show_default=True, help="Lines of --layers.")
@click.option("--cold", is_flag=True, help="Also the time to the first step, with an empty cache and a full one.")
@click.option("--scaling", is_flag=True, help="Also over the batch sizes 1, 2, 4, … and the numbers of threads.")
@click.option("--max-batch", type=click.IntRange(1), help="Greatest batch of --scaling; by default the step's.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False), metavar="FILE", help="Also write the figures.")
@click.option("--plot", type=click.Path(dir_okay=False), metavar="FILE", help="Also draw the figures into an image.")
def models(
    names, device, peers, rounds, threads, batch, compiled, layers, top, cold, scaling, max_batch, json_file, plot
):  # fmt: skip
    """Time nets: training step, inference and memory, beside PyTorch and onnxruntime where they are installed.

    NAME is one of lenet, resnet20, alexnet, googlenet, resnet18, resnet50, vgg16; all where none is given. Each
    competitor runs in a process of its own, in turns. Shares are of the matrix product's GFLOP/s, measured first.
    With --device cuda all runs are on the GPU and by its own clock, and memory is what the pools have taken from it.
    """
    names, peers = _names(names), _peers(peers)
    if compiled and not bench.has_compiler():
        raise click.ClickException("bench: --compile needs a C++ compiler: $CXX, g++ or clang++, none is there")
    for option, wanted in (("--layers", layers), ("--cold", cold), ("--scaling", scaling)):
        if device == "cuda" and wanted:
            raise click.ClickException(f"bench: {option} measures the CPU; leave it out with --device cuda")
    for option, file in (("--json", json_file), ("--plot", plot)):
        check_writable(option, file)
    console, status = consoles()
    conditions = conditions_or_exit("float32", rounds, threads, device)
    conditions = {**conditions, "peers": [peer for peer in peers if bench.installed(peer, device)]}
    console.print(describe(conditions))
    for peer in peers:
        if peer not in conditions["peers"]:
            why = "is not installed" + " or does not run on this GPU" * (device == "cuda")
            console.print(f"{bench.PEERS[peer]} {why}: it is left out")
    peers, ceilings = conditions["peers"], (conditions["matmul_gflops"], conditions["copy_gbytes"])
    rows = []
    with status.status("") as line:
        for number, name in enumerate(names):
            line.update(f"{number + 1}/{len(names)} {name}")
            size = batch or steps.NETS[name].batch
            try:
                row = bench.measure(name, size, peers, rounds, threads, ceilings[0], compiled, device)
                if layers:
                    row["layers"] = {w: bench.layers(name, size, w, rounds, threads, ceilings) for w in bench.WORK}
                if cold:
                    row["first_step"] = bench.cold_and_warm(name, size, threads)
                if scaling:
                    row["scaling"] = bench.scaling(name, max_batch or size, peers, rounds, threads)
            except RuntimeError as error:  # a process ended, and said why on standard error
                raise click.ClickException(f"bench: {name}: {error}") from None
            rows.append(row)
            means = bench.geometric_means(rows)
            if json_file:
                write_json(json_file, conditions, rows, geometric_means=means)  # should the rest never come
    console.print(_table(rows))
    _print_more(console, rows, means, top)
    if json_file:
        console.print(f"wrote {json_file}")
    if plot:
        bench.draw(rows, plot, describe(conditions))
        console.print(f"wrote {plot}")


def _names(names):
    for name in names:
        if name not in steps.NETS:
            raise click.ClickException(f"bench: there is no model {name!r}; known are {', '.join(steps.NETS)}")
    return list(dict.fromkeys(names)) or list(steps.NETS)


def _peers(text):
    if text == "none":
        return []
    peers = [peer.strip() for peer in text.split(",")]
    for peer in peers:
        if peer not in bench.PEERS:
            raise click.ClickException(f"bench: --peer must be some of {', '.join(bench.PEERS)}, or none, got {peer!r}")
    return peers


def _columns(*left, right):
    table = Table(box=None, pad_edge=False)
    for title in left:
        table.add_column(title)
    for title in right:
        table.add_column(title, justify="right", no_wrap=True)
    return table


def _table(rows):
    titles = "time", "least to greatest", "images/s", "GFLOP/s", "of SGEMM", "memory", "peer / minidl"
    table = _columns("model", "", "form", right=titles)
    for row in rows:
        first = f"{row['model']}, batch {row['batch']}"
        for work, title in bench.WORK.items():
            result = row[work]
            for form, figures in result["forms"].items():
                size = row["memory"].get(form) if work == "training" else None
                table.add_row(
                    first, title, form, time_of(figures["seconds"]), _spread(figures),
                    f"{figures['images_per_second']:.4g}", f"{figures['gflops']:.1f}", f"{figures['share']:.1%}",
                    f"{size / 1e6:.0f} MB" if size else "",
                    f"{result['ratio']:.2f}" if form == bench.OURS and result["ratio"] else "",
                )  # fmt: skip
                first = title = ""
    return table


def _print_more(console, rows, means, top):
    """The means, and of each net what was asked for."""
    for work, mean in means.items():
        if mean:
            console.print(f"{bench.WORK[work]}, geometric mean of best peer / minidl: {mean:.2f}")
    for row in rows:
        name = f"{row['model']}, batch {row['batch']}"
        if "first_step" in row:
            cold, warm = (time_of(row["first_step"][state]) for state in ("cold", "warm"))
            console.print(f"\n{name}: first step done after {cold} with an empty cache, {warm} with a full one")
        for work, profile in row.get("layers", {}).items():
            console.print(f"\n{name}, {bench.WORK[work]}: {time_of(profile['seconds'])}")
            console.print(_layers(profile, top))
        if "scaling" in row:
            console.print(f"\n{row['model']}, time of one image")
            console.print(_scaling(row["scaling"]))


def _layers(profile, top):
    titles = "calls", "time", "of all", "GFLOP/s", "GB/s", "bound by", "of ceiling"
    table = _columns("kernel", "arrays", right=titles)

    def line(name, arrays, calls, seconds, *more):
        table.add_row(name, arrays, str(calls), time_of(seconds), f"{seconds / profile['seconds']:.1%}", *more)

    for row in profile["kernels"][:top]:
        line(
            row["kernel"], row["arrays"], row["calls"], row["seconds"], f"{row['gflops']:.1f}", f"{row['gbytes']:.1f}",
            row["bound"], f"{row['share']:.1%}",
        )  # fmt: skip
    if others := profile["kernels"][top:]:
        line(f"{len(others)} more", "", sum(row["calls"] for row in others), sum(row["seconds"] for row in others))
    line("all else", "engine, and NumPy itself", "", profile["rest"])
    return table


def _scaling(rows):
    forms = list(dict.fromkeys(form for row in rows for form in row["forms"]))
    table = _columns("", right=("batch", "threads", *forms))
    for row in rows:
        times = [time_of(row["forms"][f]["seconds_per_image"]) if f in row["forms"] else "" for f in forms]
        table.add_row(bench.WORK[row["work"]], str(row["batch"]), str(row["threads"]), *times)
    return table


def _spread(figures):
    return f"{time_of(figures['least'])} to {time_of(figures['greatest'])}"
