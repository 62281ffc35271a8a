"""minidl bench models: what it counts, and what its tables and file hold. How fast anything is, no test asks."""

import importlib.util
import json

import numpy as np
import pytest

import minidl as dl
from minidl import cli
from minidl.bench import kernels, models, profile, steps
from minidl.kernels import Kernel

CONDITIONS = {
    "machine": "a machine", "dtype": "float32", "threads": 2, "load": None, "rounds": 1, "matmul_gflops": 100.0,
    "copy_gbytes": 10.0,
}  # fmt: skip
SCALING = [{"work": "training", "batch": 1, "threads": 1, "forms": {"minidl": {"seconds_per_image": 0.5}}}]
LENET_MACS, LENET_FIRST = 416_520, 28 * 28 * 6 * 25


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(what was printed, the JSON, the picture) of a whole run on LeNet; its steps run in processes of their own."""
    folder = tmp_path_factory.mktemp("bench")
    file, picture = folder / "m.json", folder / "m.png"
    arguments = "--batch 4 --rounds 1 --threads 1 --layers --top 3 --scaling".split()
    with pytest.MonkeyPatch.context() as patch:
        lines = []
        patch.setattr(kernels, "conditions", lambda *arguments: CONDITIONS)
        patch.setattr(models, "scaling", lambda *arguments: SCALING)  # many processes more
        patch.setattr("rich.console.Console.print", lambda self, *things: lines.extend(things))
        assert cli.run(["bench", "models", "lenet", *arguments, "--json", str(file), "--plot", str(picture)]) == 0
    return lines, json.loads(file.read_text()), picture


def test_the_file_holds_what_was_measured(run):
    _, saved, picture = run
    (row,) = saved["rows"]
    assert (row["model"], row["batch"], row["image"]) == ("lenet", 4, [1, 32, 32])
    assert row["training"]["flops"] == 2 * 4 * (3 * LENET_MACS - LENET_FIRST)
    assert row["inference"]["flops"] == 2 * 4 * LENET_MACS
    for work in ("training", "inference"):
        forms = row[work]["forms"]
        for figures in forms.values():
            assert figures["least"] <= figures["seconds"] <= figures["greatest"]
            assert figures["images_per_second"] == pytest.approx(4 / figures["seconds"])
            assert figures["gflops"] == pytest.approx(row[work]["flops"] / figures["seconds"] / 1e9)
            assert figures["share"] == pytest.approx(figures["gflops"] / 100)
        peers = {form: figures["seconds"] for form, figures in forms.items() if form != "minidl"}
        if peers:
            assert row[work]["best_peer"] == min(peers, key=peers.get)
            assert row[work]["ratio"] == pytest.approx(min(peers.values()) / forms["minidl"]["seconds"])
            assert saved["geometric_means"][work] == pytest.approx(row[work]["ratio"])
    assert all(size > 2**20 for size in row["memory"].values())
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_peers_run_where_they_are_installed(run):
    (row,) = run[1]["rows"]
    pytorch = {"PyTorch NCHW", "PyTorch channels-last"} if importlib.util.find_spec("torch") else set()
    packages = all(map(importlib.util.find_spec, ("onnx", "onnxruntime")))
    assert row["training"]["forms"].keys() == {"minidl"} | pytorch
    assert row["inference"]["forms"].keys() == {"minidl"} | pytorch | ({"onnxruntime"} if packages else set())
    assert len(row["memory"]) == (2 if pytorch else 1)


def test_the_profile_adds_up(run):
    for work, profiled in run[1]["rows"][0]["layers"].items():
        rows = profiled["kernels"]
        assert sum(row["seconds"] for row in rows) + profiled["rest"] == pytest.approx(profiled["seconds"])
        assert 0 < profiled["rest"] < profiled["seconds"]
        names = {row["kernel"] for row in rows}
        assert {"conv2d.forward_relu", "matmul.affine"} <= names
        assert ("matmul.forward" in names) == (work == "training")
        assert ("sgd.step" in names) == ("conv2d.weight_grad" in names) == (work == "training")
        assert [row["seconds"] for row in rows] == sorted((row["seconds"] for row in rows), reverse=True)


def test_scaling_goes_over_batches_and_threads(monkeypatch):
    monkeypatch.setattr(models, "compete", lambda name, batch, *rest: {"minidl": {"seconds": 3.0}})
    rows = models.scaling("lenet", 5, threads=2)
    points = [(row["work"], row["batch"], row["threads"]) for row in rows]
    expected = [(1, 2), (2, 2), (4, 2), (5, 1), (5, 2)]
    assert points == [(work, *point) for work in ("training", "inference") for point in expected]
    assert [row["forms"]["minidl"]["seconds_per_image"] for row in rows[:2]] == [3.0, 1.5]


def test_the_tables_are_printed(run):
    lines = run[0]
    assert "SGEMM 100 GFLOP/s, copy 10.0 GB/s" in lines[0]
    headers = [[column.header for column in line.columns] for line in lines if hasattr(line, "columns")]
    assert [h[0] for h in headers] == ["model", "kernel", "kernel", ""]
    assert [line.row_count for line in lines if hasattr(line, "columns")][1:3] == [5, 5]  # 3, the others, all else


def test_first_steps_with_an_empty_and_a_full_cache(monkeypatch):
    """Compiling takes half a minute: that one folder serves both processes is what can be asked at once."""
    caches = []
    monkeypatch.setattr(models, "_first_step", lambda *arguments: caches.append(arguments[-1]) or len(caches))
    assert models.cold_and_warm("lenet", 4) == {"cold": 1, "warm": 2}
    assert caches[0] == caches[1]


def test_a_record_ends_with_its_block():
    call = Kernel.__call__
    with pytest.raises(ZeroDivisionError), profile.record() as found:
        dl.ops.softmax(dl.Tensor(np.ones((2, 3), np.float32)), 1)
        _ = 1 / 0
    assert Kernel.__call__ is call
    assert [(name, about["arrays"]) for name, about, _ in found.calls] == [("softmax.forward", "2×3")]


def test_mean_ratios_are_geometric():
    rows = [{"training": {"ratio": r}, "inference": {"ratio": None}} for r in (0.5, 2.0, None)]
    assert models.geometric_means(rows) == {"training": pytest.approx(1.0), "inference": None}


@pytest.mark.parametrize("name", steps.NETS)
def test_the_twins_have_our_parameters(name):
    torch = pytest.importorskip("torch")
    from minidl.bench import twins

    with torch.device("meta"):
        theirs = {key: tuple(p.shape) for key, p in twins.TWINS[name]().named_parameters()}
    net = steps.NETS[name]
    ours = dl.models.blank(name, variant=net.variant)
    assert {key: p.shape for key, p in ours.named_parameters()} == theirs
    channels = net.image[0]
    assert ours.in_channels == channels and list(theirs.values())[-1] == (net.classes,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lenet6"], "there is no model 'lenet6'; known are lenet, resnet20"),
        (["lenet", "--peer", "torch,jax"], "--peer must be some of torch, onnxruntime, or none, got 'jax'"),
        (["lenet", "--batch", "0"], "'--batch': 0 is not in the range"),
        (["lenet", "--json", "nowhere/m.json"], "--json: nowhere/m.json cannot be written"),
    ],
)
def test_mistakes_are_named(arguments, message, capsys):
    assert cli.run(["bench", "models", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1


def test_compiling_needs_a_compiler(monkeypatch, capsys):
    monkeypatch.setattr(models.shutil, "which", lambda name: None)
    assert cli.run(["bench", "models", "lenet", "--compile"]) == 2
    assert "--compile needs a C++ compiler" in capsys.readouterr().err
