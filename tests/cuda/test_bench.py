"""minidl bench --device cuda on the stand-in: what is run, counted and written. How fast anything is, no test asks."""

import json

import pytest

import minidl as dl
from minidl import cli
from minidl.bench import gpu, harness, kernels, steps
from minidl.kernels import KERNELS


class InProcess:
    """Competitor without a process, which would not have the stand-in."""

    def __init__(self, name, file, function, *arguments, **options):
        self.name = name
        self._module = next(m for m in (gpu, kernels.forms, steps) if m.__file__ == file)
        self.build(function, *arguments)

    def build(self, function, *arguments):
        built = getattr(self._module, function)(*arguments)
        self._run, self.notes = built if isinstance(built, tuple) else (built, {})
        self.run(1)

    def close(self):
        pass

    def run(self, times):
        return [seconds if (seconds := self._run()) is not None else 1.0 for _ in range(times)]

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass


@pytest.fixture
def small(cupy, monkeypatch):
    """Small arrays, and no processes."""
    for name, size in (("FILLED", 4096), ("SIDE", 32), ("COPIED", 4096)):
        monkeypatch.setattr(gpu, name, size)
    monkeypatch.setattr(harness, "Competitor", InProcess)
    monkeypatch.setenv("CUPY_TF32", "0")  # put back after the test
    kernel = KERNELS["relu.forward"]
    monkeypatch.setattr(kernel, "workloads", {"": lambda rng, dtype, part=1: next(kernel.samples(rng, dtype))})
    monkeypatch.setattr(kernel, "cpu", kernel.reference)  # numba compiles for long
    return cupy


def test_the_events_enclose_the_work_and_nothing_else(small, monkeypatch):
    pytest.importorskip("stand_in")  # CuPy's own types take no other methods
    seen, record = [], small.cuda.Event.record
    monkeypatch.setattr(small.cuda.Event, "record", lambda e, *stream: seen.append("event") or record(e, *stream))
    monkeypatch.setattr(small.ndarray, "fill", lambda array, value: seen.append("fill"))
    monkeypatch.setattr(small.cuda, "get_elapsed_time", lambda start, end: 0.4)  # ms: a millisecond takes three fills
    run = gpu.timed(lambda: seen.append("work"))
    seen.clear()
    assert run() == 0.0004
    assert seen == ["fill"] * 3 + ["event", "work", "event"]


def test_a_form_runs_the_kernel_on_the_gpu(small):
    run, notes = gpu.cuda("relu.forward", "", "float32")
    assert run() > 0 and notes["transfer_seconds"] > 0
    assert notes["transfer_bytes"] == 3 * 7 * 4  # x there, y there and back
    assert notes["bytes"] == 2 * 7 * 4


def test_ceilings_count_a_product_and_a_copy(small, monkeypatch):
    monkeypatch.setattr(harness, "compare", lambda competitors, rounds, times: {competitors[0].name: (1e-3, 0, 0)})
    rate = 2 * 32**3 / 1e-3 / 1e9
    assert gpu.ceilings() == pytest.approx({"matmul_gflops": rate, "tf32_gflops": rate, "copy_gbytes": 0.008192})
    assert gpu.ceilings("float64")["tf32_gflops"] is None


def test_table_file_and_picture(small, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(kernels, "has_pytorch", lambda device: False)
    file, picture = tmp_path / "k.json", tmp_path / "k.png"
    arguments = ["relu.forward", "--device", "cuda", "--rounds", "1", "--json", str(file), "--plot", str(picture)]
    assert cli.run(["bench", "kernels", *arguments]) == 0
    printed = capsys.readouterr().out
    name = dl.cuda.get_device_name()
    assert f"{name}, " in printed and "multiprocessors" in printed
    if name == "Stand-in":
        assert "Stand-in, 132 multiprocessors, 80 GiB, 1.98 GHz, CUDA 13.0, driver for 13.0" in printed
    assert "in TF32" in printed and "PyTorch is not installed or sees no GPU" in printed and "there and back" in printed
    saved = json.loads(file.read_text())
    assert saved["gpu"] == name and saved["driver_cuda"] >= saved["runtime_cuda"] // 1000 * 1000
    (row,) = saved["rows"]
    cuda, cpu = row["forms"]["cuda"], row["forms"]["cpu"]
    assert row["ratio_to_cpu"] == pytest.approx(cpu["seconds"] / cuda["seconds"]) and row["ratio_to_pytorch"] is None
    assert cuda["share"] == pytest.approx(row["bytes"] / saved["copy_gbytes"] / 1e9 / cuda["seconds"])
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_models(small, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(steps.NETS, "lenet", steps.Net(2, (1, 32, 32), 10, "lecture"))
    file, plot = tmp_path / "m.json", tmp_path / "m.png"
    assert (
        cli.run(
            ["bench", "models", "lenet", "--device", "cuda", "--rounds", "1", "--json", str(file), "--plot", str(plot)]
        )
        == 0
    )
    assert plot.read_bytes()[:4] == b"\x89PNG"
    printed = capsys.readouterr().out
    assert (
        dl.cuda.get_device_name() in printed and "onnxruntime is not installed or does not run on this GPU" in printed
    )
    (row,) = json.loads(file.read_text())["rows"]
    assert row["training"]["forms"]["minidl"]["seconds"] > row["inference"]["forms"]["minidl"]["seconds"] > 0
    weights = 4 * 61706  # LeNet's
    assert row["memory"]["minidl"] > 3 * weights  # and gradients, and velocities
    assert cli.run(["bench", "models", "lenet", "--device", "cuda", "--layers"]) == 2
    assert "--layers measures the CPU" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["kernels", "models"])
def test_without_a_gpu_one_line_says_so(command, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "cupy", None)
    assert cli.run(["bench", command, *(["relu"] * (command == "kernels")), "--device", "cuda"]) == 2
    assert capsys.readouterr().err.strip().splitlines()[-1].endswith('pip install "minidl[gpu]"')


def test_forms_are_the_devices(capsys):
    assert cli.run(["bench", "kernels", "relu", "--device", "cuda", "--forms", "reference"]) == 2
    assert "--forms must be some of cuda, cpu, pytorch_cuda, got 'reference'" in capsys.readouterr().err


def test_a_run_may_read_a_clock_of_its_own(tmp_path):
    (tmp_path / "c.py").write_text("def own():\n    return lambda: 0.125\n")
    with harness.Competitor("own", tmp_path / "c.py", "own") as competitor:
        assert competitor.run(3) == [0.125] * 3


def test_a_pools_process_goes_on_to_the_next_work(tmp_path):
    code = "import os\ndef own(seconds):\n    return lambda: seconds, {'process': os.getpid()}\n"
    (tmp_path / "c.py").write_text(code)
    with harness.Pool() as pool:
        first = pool.competitor("own", tmp_path / "c.py", "own", 0.125)
        process = first.notes["process"]
        assert first.run(1) == [0.125]
        second = pool.competitor("own", tmp_path / "c.py", "own", 0.5)
        assert second.run(2) == [0.5] * 2 and second.notes["process"] == process
        assert pool.competitor("other", tmp_path / "c.py", "own", 1.0).notes["process"] != process
    with pytest.raises((ValueError, OSError)):
        first.run(1)  # it has ended
