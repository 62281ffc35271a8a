"""Whole nets beside PyTorch and onnxruntime: `minidl bench models`. What is run is in steps.py."""

import importlib.util
import os
import shutil
import statistics
import tempfile
import time
from contextlib import ExitStack

from ..explain.ledger import ledger
from ..models import blank
from . import harness, picture, steps
from .kernels import has_pytorch, roofline

PEERS = {"torch": "PyTorch", "onnxruntime": "onnxruntime"}
WORK = {"training": "training step", "inference": "inference"}
OURS = "minidl"
# Seconds of a competitor's turn, at least one run. The first runs after a pause are slow: in turns of 0.1 LeNet's step
# and PyTorch's took a quarter longer, and medians of two runs lay up to 10 % apart; of 0.6, up to 7 %.
_TURN = 0.5


def installed(peer, device="cpu"):
    """Whether what a peer needs is there; on a GPU only PyTorch runs beside ours."""
    if device == "cuda":
        return peer == "torch" and has_pytorch(device)
    return all(importlib.util.find_spec(package) for package in {peer, *(["onnx"] if peer == "onnxruntime" else [])})


def has_compiler():
    """Whether torch.compile finds a C++ compiler."""
    return any(shutil.which(name) for name in (os.environ.get("CXX"), "g++", "clang++") if name)


def measure(name, batch=None, peers=(), rounds=5, threads=None, ceiling=1.0, compiled=False, device="cpu"):
    """Training step, inference and peak memory of one of steps.NETS, as a row of JSON: see docs/benchmarks.md.

    Args:
        batch: images of a step, by default the net's own.
        peers: those of PEERS to run as well. ceiling: GFLOP/s that shares are of. compiled: also use torch.compile.
    """
    batch = batch or steps.NETS[name].batch
    row = {"model": name, "batch": batch, "image": list(steps.NETS[name].image)}
    for work, flops in _flops(name, batch).items():
        forms = compete(name, batch, work, peers, rounds, threads, compiled, device)
        for figures in forms.values():
            figures["gflops"] = flops / figures["seconds"] / 1e9
            figures["share"] = figures["gflops"] / ceiling
        best = min((form for form in forms if form != OURS), key=lambda form: forms[form]["seconds"], default=None)
        ratio = forms[best]["seconds"] / forms[OURS]["seconds"] if best else None
        row[work] = {"flops": flops, "forms": forms, "best_peer": best, "ratio": ratio}
    row["memory"] = _memory(name, batch, threads, row["training"]["forms"], device)
    return row


def compete(name, batch, work, peers=(), rounds=5, threads=None, compiled=False, device="cpu"):
    """Form -> seconds (median, least, greatest) and images/s of our net and its peers, run in turns."""
    training = work == "training"
    entries = {OURS: ("minidl", name, batch, training, device)}
    if "torch" in peers:
        for mode, arguments in _modes(compiled).items():
            entries[mode] = "pytorch", name, batch, training, *arguments, device
    if "onnxruntime" in peers and not training:
        entries["onnxruntime"] = "onnxruntime", name, batch, threads or os.cpu_count()
    with ExitStack() as stack:
        competitors = [stack.enter_context(_start(f, *e, threads=threads)) for f, e in entries.items()]
        times = {c.name: max(1, min(1000, int(_TURN / min(c.run(1))))) for c in competitors}
        seconds = harness.compare(competitors, rounds, times)
    return {
        form: {"seconds": median, "least": least, "greatest": greatest, "images_per_second": batch / median}
        for form, (median, least, greatest) in seconds.items()
    }


def cold_and_warm(name, batch, threads=None):
    """Seconds from the start of a process to its first finished training step, with an empty cache and a full one."""
    with tempfile.TemporaryDirectory() as cache:
        return {state: _first_step(name, batch, threads, cache) for state in ("cold", "warm")}


def scaling(name, most, peers=(), rounds=5, threads=None):
    """Rows over the batch sizes 1, 2, 4, … up to `most`, then over the threads from 1 to all, at the net's own batch.

    Each holds work, batch, threads and the forms of `compete`, with the seconds of one image.
    """
    cores, own = threads or os.cpu_count(), min(steps.NETS[name].batch, most)
    points = [(2**i, cores) for i in range(most.bit_length())] + [(own, count) for count in range(1, cores + 1)]
    rows = []
    for work in WORK:
        for batch, count in dict.fromkeys(points):
            forms = compete(name, batch, work, peers, rounds, count)
            for figures in forms.values():
                figures["seconds_per_image"] = figures["seconds"] / batch
            rows.append({"work": work, "batch": batch, "threads": count, "forms": forms})
    return rows


def layers(name, batch, work, rounds=5, threads=None, ceilings=(1.0, 1.0)):
    """Our own run by kernels (see profile.profile), with what binds each and its share of that ceiling.

    Args:
        ceilings: (GFLOP/s, GB/s).
    """
    with _start(OURS, "layers", name, batch, work == "training", rounds, threads=threads) as competitor:
        profile = competitor.notes
    for row in profile["kernels"]:
        least, row["bound"] = roofline(row["flops"], row["bytes"], ceilings)
        row["share"] = least / row["seconds"]
        row["gflops"], row["gbytes"] = (row[amount] / row["seconds"] / 1e9 for amount in ("flops", "bytes"))
    return profile


def geometric_means(rows):
    """Of the ratios: work -> mean over the rows that have one, None where none has."""
    means = {}
    for work in WORK:
        ratios = [row[work]["ratio"] for row in rows if row[work]["ratio"]]
        means[work] = statistics.geometric_mean(ratios) if ratios else None
    return means


def best_of(forms, peer):
    """(form, its figures) of the fastest mode of one of PEERS; None where it did not run."""
    modes = [item for item in forms.items() if item[0].startswith(PEERS[peer])]
    return min(modes, key=lambda item: item[1]["seconds"], default=None)


def draw(rows, file, title):
    """A net's training step and inference a line each: the share of the ceiling, and the ratio to the best peer."""
    lines = [(row["model"], work, row[work]) for row in rows for work in WORK]
    shares = {OURS: ("#2a6fdb", {i: figures["forms"][OURS]["share"] for i, (*_, figures) in enumerate(lines)})}
    for peer, colour in zip(PEERS, ("#e08a2e", "#9aa0a6"), strict=True):
        best = {i: best_of(figures["forms"], peer) for i, (*_, figures) in enumerate(lines)}
        shares[PEERS[peer]] = colour, {i: found[1]["share"] for i, found in best.items() if found}
    ratios = {i: figures["ratio"] for i, (*_, figures) in enumerate(lines) if figures["ratio"]}
    labels = (
        "share of the matrix product's GFLOP/s, of the direct form's operations",
        "best peer's time / minidl's: right of 1 minidl is faster",
    )
    picture.draw([f"{name} {WORK[work]}" for name, work, _ in lines], shares, ratios, labels, title, file)


def _modes(compiled):
    """PyTorch's modes: name -> (channels_last, compiled)."""
    return {
        f"PyTorch {layout}{', compiled' if through_compiler else ''}": (layout == "channels-last", through_compiler)
        for through_compiler in ((False, True) if compiled else (False,))
        for layout in ("NCHW", "channels-last")
    }


def _start(name, function, *arguments, threads, cache=None):
    return harness.Competitor(name, steps.__file__, function, *arguments, threads=threads, cache=cache)


def _flops(name, batch):
    """Work -> operations of a run: two per multiply-add of the direct form, whatever algorithm a form uses.

    A training step computes each product three times over: forward, for the input's gradient, which the first layer has
    no use for, and for the weights' gradient.
    """
    net, image = blank(name, variant=steps.NETS[name].variant), steps.NETS[name].image
    trained = ledger(net, image, training=True)
    first = next(row.macs for row in trained.rows if row.macs)
    return {
        "training": 2 * batch * (3 * trained.macs - first),
        "inference": 2 * batch * ledger(net, image).macs,
    }


def _memory(name, batch, threads, forms, device):
    """Bytes of a training step: ours, and PyTorch's in the faster of its memory formats."""
    modes = _modes(False)
    best = min((mode for mode in modes if mode in forms), key=lambda mode: forms[mode]["seconds"], default=None)
    entries = {OURS: ("minidl", device)} | ({best: ("pytorch", *modes[best], device)} if best else {})
    found = {}
    for form, entry in entries.items():
        with _start(form, "memory", name, batch, *entry, threads=threads) as competitor:
            found[form] = competitor.notes["bytes"]
    return found


def _first_step(name, batch, threads, cache):
    start = time.perf_counter()
    with _start(OURS, "minidl", name, batch, True, threads=threads, cache=cache):
        return time.perf_counter() - start
