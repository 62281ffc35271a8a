"""`minidl train` as a user runs it: a process, its streams, its exit status and the files it leaves."""

import csv
import gzip
import importlib
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

import minidl as dl
from minidl.train import evaluate


def minidl(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "minidl", *map(str, arguments)],
        capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL, env={**os.environ, **environment},
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two epochs on the digits, and the folder they leave."""
    out = tmp_path_factory.mktemp("runs") / "new" / "run"
    return minidl("train", "lenet", "--epochs", 2, "--seed", 3, "--out", out, NUMBA_NUM_THREADS="1"), out


def test_output_without_a_terminal_is_plain_lines(run):
    process, out = run
    assert process.returncode == 0 and process.stderr == ""
    assert "\x1b" not in process.stdout and "\r" not in process.stdout
    lines = process.stdout.splitlines()
    assert re.fullmatch(
        r"lenet on digits: 1,437 images to train on, 360 to test; 2 epochs of 45 steps, .*seed 3", lines[0]
    )
    epochs = [line for line in lines if line.startswith("epoch ")]
    assert len(epochs) == 2
    figures = r"loss [\d.]+  accuracy [\d.]+  test loss [\d.]+  test accuracy [\d.]+  [\d,]+ images/s"
    assert re.fullmatch(rf"epoch 2/2  {figures}  0:00:00 left", epochs[1])
    number = r"[01]\.\d{4}"
    assert re.fullmatch(
        rf"train accuracy: top-1 {number}, top-5 {number}; test accuracy: top-1 {number}, top-5 {number}; [\d.]+ s",
        lines[-1],
    )


def test_compiling_is_announced_although_the_memory_of_the_weights_compiles_first(monkeypatch):
    module, create, cold, compiled = importlib.import_module("minidl.cli.train"), dl.models.create, [True], []

    def create_net(*args, **options):
        cold[0] = False
        return create(*args, **options)

    monkeypatch.setattr(module.models, "create", create_net)
    monkeypatch.setattr(module.kernels, "is_cold", lambda: cold[0])
    monkeypatch.setattr(module, "compile_kernels", lambda *args: compiled.append(args))
    monkeypatch.setattr(module, "fit", lambda *args: ())
    result = CliRunner().invoke(module.train, ["lenet"])
    assert result.exit_code == 0, result.output
    assert "compiling the kernels for this CPU" in result.output and len(compiled) == 1


def test_the_folder_holds_weights_metrics_and_curves(run):
    process, out = run
    assert sorted(f.name for f in out.iterdir()) == ["curves.png", "last.safetensors", "metrics.csv"]
    rows = list(csv.DictReader(open(out / "metrics.csv")))
    assert [row["epoch"] for row in rows] == ["1", "2"] and float(rows[1]["train_loss"]) < float(rows[0]["train_loss"])
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")
    # The weights give the accuracy that was printed.
    digits, net = dl.data.load("digits"), dl.models.create("lenet")
    net.load_state_dict(dl.load(out / "last.safetensors"))
    score = evaluate(net, digits.normalize(digits.test_images), digits.test_labels)
    assert f"test accuracy: top-1 {score.top1:.4f}, top-5 {score.top5:.4f}" in process.stdout
    assert float(rows[1]["test_top1"]) == score.top1 > 0.85
    metadata = dl.load_metadata(out / "last.safetensors")
    assert (metadata["model"], metadata["data"], metadata["epoch"], metadata["seed"]) == ("lenet", "digits", 2, 3)


def test_same_seed_same_bits_on_any_number_of_threads(run, tmp_path):
    _, out = run
    arguments = "train", "lenet", "--epochs", 2, "--out", tmp_path
    minidl(*arguments, "--seed", 3, NUMBA_NUM_THREADS="2")
    again = (tmp_path / "last.safetensors").read_bytes()
    assert again == (out / "last.safetensors").read_bytes()
    minidl(*arguments, "--seed", 4, NUMBA_NUM_THREADS="2")
    assert (tmp_path / "last.safetensors").read_bytes() != again


IDX_LABELS = b"\x00\x00\x08\x01" + (12).to_bytes(4, "big") + bytes(range(10)) + bytes(2)
IDX_IMAGES = b"\x00\x00\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (12, 28, 28)) + bytes(12 * 28 * 28)
GOOD = {
    "train-images-idx3-ubyte": IDX_IMAGES, "train-labels-idx1-ubyte": IDX_LABELS,
    "t10k-images-idx3-ubyte": IDX_IMAGES, "t10k-labels-idx1-ubyte": IDX_LABELS,
}  # fmt: skip
BROKEN = {
    "no IDX": {"train-images-idx3-ubyte": b"these are not the images you are looking for"},
    "label out of range": {"train-labels-idx1-ubyte": IDX_LABELS[:-1] + b"\x0b"},
    "truncated": {"train-images-idx3-ubyte": IDX_IMAGES[:-100]},
    "truncated gzip": {"train-images-idx3-ubyte": None, "train-images-idx3-ubyte.gz": gzip.compress(IDX_IMAGES)[:-9]},
    "counts differ": {"t10k-labels-idx1-ubyte": b"\x00\x00\x08\x01" + (3).to_bytes(4, "big") + bytes(3)},
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_data_is_one_line_and_overwrites_nothing(case, tmp_path):
    folder, out = tmp_path / "data" / "fashion-mnist", tmp_path / "out"
    folder.mkdir(parents=True)
    for name, content in {**GOOD, **BROKEN[case]}.items():
        if content is not None:
            (folder / name).write_bytes(content)
    out.mkdir()
    (out / "last.safetensors").write_bytes(b"precious")
    process = minidl("train", "lenet", "--data", "fashion-mnist", "--out", out, MINIDL_DATA=str(tmp_path / "data"))
    _assert_one_line(process, next(iter(BROKEN[case])))
    assert {f.name: f.read_bytes() for f in out.iterdir()} == {"last.safetensors": b"precious"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "lenot"), "did you mean 'lenet'?"),
        (("train", "lenet", "--data", "digit"), "unknown data set 'digit', known are digits, mnist, fashion-mnist"),
        (("train", "lenet", "--epochs", "0"), "'--epochs': 0 is not in the range"),
        (("train", "lenet", "--batch-size", "x"), "'--batch-size': 'x' is not a valid integer"),
        (("train", "lenet", "--lr", "0"), "lr must be a positive number, got 0.0"),
        (("train", "lenet", "--lr", "inf"), "lr must be a positive number, got inf"),
        (("train", "lenet", "--lr", "nan"), "lr must be a positive number, got nan"),
        (("train", "lenet", "--seed", "-1"), "'--seed': -1 is not in the range"),
        (("train", "lenet", "--speed", "3"), "No such option"),
        (("train",), "Missing argument 'MODEL'"),
        (("practise",), "No such command 'practise'"),
        (("summary", "lenot"), "unknown model 'lenot', known are lenet"),
        (("summary", "lenet", "--size", "0"), "'--size': 0 is not in the range"),
        (("summary", "lenet", "--size", "28"), "LeNet: images must be (N, 1, 32, 32), got (1, 1, 28, 28)"),
        (("summary", "lenet", "--variant", "papers"), "variant must be one of lecture, paper"),
        (("summary", "resnet18", "-o", "shortcut"), "must be NAME=VALUE, got 'shortcut'"),
        (("summary", "resnet18", "-o", "shortcut=D"), "shortcut must be one of A, B, C, got 'D'"),
        (("summary", "vgg16", "-o", "batchnorm=true"), "vgg16 has no such option"),
        (("summary", "vgg16", "--size", "31"), "H and W at least 32, got shape (1, 3, 31, 31)"),
        (("export", "lenet", "--out", "a.onnx"), "Missing option '--weights'"),
        (("export", "lenet", "--weights", "absent", "--out", "a.onnx"), "load: there is no file absent"),
    ],
)
def test_mistakes_are_one_line(arguments, message, tmp_path):
    process = minidl(*arguments, *(("--out", tmp_path / "out") if arguments[0] == "train" and arguments[1:] else ()))
    _assert_one_line(process, message)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("precious")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        _assert_one_line(minidl("train", "lenet", "--out", out), f"out: {out} cannot be written to")
    assert (tmp_path / "file").read_text() == "precious"


def test_a_set_that_is_not_there_says_how_to_get_it(tmp_path):
    process = minidl(
        "train", "lenet", "--data", "mnist",
        MINIDL_DATA=str(tmp_path), MINIDL_CACHE=str(tmp_path), XDG_DATA_DIRS=str(tmp_path), https_proxy="http://127.0.0.1:9",
    )  # fmt: skip
    assert process.returncode == 2 and process.stdout == "" and "Traceback" not in process.stderr
    assert "MINIDL_DATA" in process.stderr and str(tmp_path / "data" / "mnist") in process.stderr


def test_divergence_is_one_line_and_keeps_the_last_good_weights(tmp_path):
    process = minidl("train", "lenet", "--lr", "1e9", "--epochs", 1, "--out", tmp_path)
    assert process.returncode == 1 and process.stderr.count("\n") == 1
    assert re.search(r"minidl: the loss is (nan|inf) at step \d+ of epoch 1: a lower learning rate", process.stderr)
    assert not list(tmp_path.iterdir())


def test_help_and_version():
    assert "train" in minidl("--help").stdout
    assert "--batch-size" in minidl("train", "--help").stdout
    assert minidl("--version").stdout.strip().endswith(dl.__version__)


def test_a_progress_bar_on_a_terminal():
    pty = pytest.importorskip("pty")
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "minidl", "train", "lenet", "--epochs", "1"], stdout=slave, stderr=slave,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "120"},
    )  # fmt: skip
    os.close(slave)
    output = b""
    try:
        while chunk := os.read(master, 65536):
            output += chunk
    except OSError:  # Linux's end of file
        pass
    assert process.wait() == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output.decode())
    assert re.search(r"epoch 1/1 .*━.*loss \d\.\d{4} accuracy \d\.\d{4} [\d,]+ images/s \d:\d\d:\d\d", text)
    assert "test accuracy: top-1" in text.splitlines()[-1]


def _assert_one_line(process, message):
    assert process.returncode == 2 and process.stdout == ""
    assert process.stderr.startswith("minidl: ") and process.stderr.count("\n") == 1
    assert message in process.stderr


def test_first_figures_are_those_of_numpy():
    """The mean image of the digits, so that a wrong scale or crop on the way to the net would show."""
    digits = dl.data.load("digits")
    normal = digits.normalize(digits.train_images)
    assert abs(normal.mean()) < 1e-4 and abs(normal.std() - 1) < 1e-4
    assert np.isclose(digits.train_images.mean(), digits.mean[0])


# ---- minidl gradcheck ------------------------------------------------------------------------------------------------

WRONG = """
import minidl as dl

class Square(dl.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return {factor} * x * grad

def product(a, b):
    return dl.ops.matmul(a, b).exp()
"""


def test_gradcheck_of_operations():
    process = minidl("gradcheck", "conv2d", "amax")
    assert process.returncode == 0 and process.stderr == ""
    assert process.stdout.splitlines()[-1] == "2 operations, 5 samples: 5 right, 0 wrong"


def test_gradcheck_of_a_file_explains_and_draws(tmp_path):
    (tmp_path / "mine.py").write_text(WRONG.format(factor=1))
    process = minidl("gradcheck", f"{tmp_path}/mine.py:Square", "--plot", tmp_path / "a.png")
    assert process.returncode == 1
    assert "likely: off by a factor 1/2 everywhere" in process.stdout
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    (tmp_path / "mine.py").write_text(WRONG.format(factor=2))
    for name, options in (("Square", ["--shape", "2,3"]), ("Square", ["--dtype", "float32"]), ("product", ["--fast"])):
        process = minidl("gradcheck", f"{tmp_path}/mine.py:{name}", *options)
        assert process.returncode == 0, process.stdout
        assert process.stdout.splitlines()[-1] == "1 operations, 1 samples: 1 right, 0 wrong"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["conv9d"], "there is no operation 'conv9d'; known are abs, "),
        ([], "name operations, or FILE.py:NAME, or say --all"),
        (["nowhere.py:f"], "there is no file nowhere.py"),
        ([f"{__file__}:nothing"], "there is no function 'nothing'"),
        ([f"{__file__}:minidl", "--shape", "2,x"], "--shape must be integers such as 2,3, got '2,x'"),
    ],
)
def test_gradcheck_mistakes_are_one_line(arguments, message):
    process = minidl("gradcheck", *arguments)
    assert process.returncode == 2 and process.stdout == ""
    assert process.stderr.startswith("minidl: gradcheck: ") and message in process.stderr
    assert process.stderr.count("\n") == 1


# ---- minidl summary --------------------------------------------------------------------------------------------------


def test_summary_prints_layers_totals_and_what_is_published(tmp_path):
    process = minidl("summary", "lenet", "--batch", 64, "--json", tmp_path / "lenet.json")
    assert process.returncode == 0 and process.stderr == ""
    lines = process.stdout.splitlines()
    assert lines[0].split() == ["layer", "type", "output", "parameters", "MACs", "memory", "sees", "jump"]
    (c3,) = [line.split() for line in lines if line.startswith("c3 ")]
    assert c3 == ["c3", "Conv2d", "16×10×10", "2,416", "240,000", "410", "kB", "14", "2"]
    (total,) = [line.split() for line in lines if line.startswith("total ")]
    assert total[:3] == ["total", "61,706", "416,520"]
    (counted,), (expected,) = (
        [line.split()[-2:] for line in lines if line.startswith(s)] for s in ("counted", "expec")
    )
    assert counted == expected == ["61,706", "416,520"]
    assert any(line.startswith("- The paper counts connections") for line in lines)
    written = json.loads((tmp_path / "lenet.json").read_text())
    assert (written["parameters"], written["macs"], written["batch"]) == (61706, 416520, 64)
    assert written["layers"][0] == {
        "name": "c1", "type": "Conv2d", "output": [6, 28, 28], "parameters": 156, "macs": 117600, "connections": 122304,
        "memory_bytes": 64 * 4 * 6 * 28 * 28, "receptive_field": [5, 5], "jump": [1, 1], "ran": True,
    }  # fmt: skip
    assert written["layers"][-1]["receptive_field"] is None and written["published"]["parameters"] == 61706


def test_summary_of_other_classes_and_channels():
    process = minidl("summary", "lenet", "--classes", 4, "--channels", 3)
    assert process.returncode == 0
    assert "published: figures for images of 1×32×32 and 10 classes" in process.stdout
    (total,) = [line.split() for line in process.stdout.splitlines() if line.startswith("total ")]
    assert total[1] == f"{61706 + 2 * 6 * 25 - 6 * 85:,}"


# ---- minidl export ---------------------------------------------------------------------------------------------------


def test_export_of_what_train_left(run, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    _, out = run
    process = minidl("export", "lenet", "--weights", out / "last.safetensors", "--out", tmp_path / "net.onnx")
    assert process.returncode == 0 and process.stderr == ""
    assert process.stdout == f"wrote {tmp_path}/net.onnx: lenet, any number of images of 1×32×32, operator set 17\n"
    digits, net = dl.data.load("digits"), dl.models.load(out / "last.safetensors")
    images = digits.normalize(digits.test_images[:7])
    found = runtime.InferenceSession(tmp_path / "net.onnx").run(None, {"input": images})[0]
    np.testing.assert_allclose(found, net(dl.Tensor(images)).data, rtol=1e-4, atol=1e-4)


def test_export_mistakes(run, tmp_path):
    pytest.importorskip("onnx")
    _, out = run
    (tmp_path / "w.pth").write_bytes(b"\x80\x02.")
    weights, target = out / "last.safetensors", tmp_path / "net.onnx"
    for arguments, message in (
        (("lenot", "--weights", weights), "holds the weights of lenet, not of lenot"),
        (("lenet", "--weights", weights, "--classes", 3), "output.weight is (10, 84), must be (3, 84)"),
        (("lenet", "--weights", tmp_path / "w.pth"), "w.pth is a pickle, which can run code when it is read."),
    ):
        process = minidl("export", *arguments, "--out", target)
        assert process.returncode == 2 and process.stdout == "" and "Traceback" not in process.stderr
        assert process.stderr.startswith("minidl: ") and message in process.stderr
        assert not target.exists()
