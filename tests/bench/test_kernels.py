"""minidl bench kernels: what it counts, and what its table and file hold. How fast anything is, no test asks."""

import json

import numpy as np
import pytest

from minidl import cli
from minidl.bench import kernels
from minidl.kernels import KERNELS


@pytest.mark.parametrize("name", KERNELS)
def test_every_kernel_has_workloads_that_it_takes(name):
    kernel = KERNELS[name]
    assert kernel.workloads, f"{name} has no workload"
    for make in kernel.workloads.values():
        args = make(np.random.default_rng(0), np.float32, 64)
        with np.errstate(all="ignore"):
            kernel.cpu(*args)
        assert all(np.isfinite(y).all() for y in args[-kernel.outputs :] if y.dtype.kind == "f")


def test_products_of_a_convolution_are_counted():
    x, w, bias, y = np.empty((2, 9, 8, 6)), np.empty((3, 3, 3, 4)), np.empty(4), np.empty((2, 9, 8, 4))
    geometry = (1, 1), (1, 1), (1, 1), 2
    products = 2 * 9 * 8 * 4 * 3 * 3 * 3  # outputs times what each is a sum of
    assert KERNELS["conv2d.forward"].flops(x, w, bias, *geometry, y) == 2 * products
    assert KERNELS["conv2d.input_grad"].flops(y, w, *geometry, x) == 2 * products
    assert KERNELS["conv2d.weight_grad"].flops(x, y, *geometry, w) == 2 * products


def test_names_begin_with_what_was_asked():
    forward = {"conv2d.forward", "conv2d.forward_relu", "conv2d.forward_add_relu"}
    backward = {"conv2d.input_grad", "conv2d.input_grad_add", "conv2d.weight_grad"}
    assert set(kernels.matching(["conv2d"])) == forward | backward
    assert kernels.matching([]) == list(KERNELS)
    with pytest.raises(KeyError, match="conv3d"):
        kernels.matching(["relu", "conv3d"])


def test_unknown_names_and_forms_are_named(capsys):
    assert cli.run(["bench", "kernels", "conv3d"]) == 2
    assert "there is no kernel 'conv3d'; known are" in capsys.readouterr().err
    assert cli.run(["bench", "kernels", "relu", "--forms", "fortran"]) == 2
    assert "--forms must be some of cpu, reference, pytorch, got 'fortran'" in capsys.readouterr().err


def test_a_run_writes_table_file_and_picture(tmp_path, capsys, monkeypatch):
    measured = {
        "dtype": "float32",
        "threads": 2,
        "load": None,
        "rounds": 1,
        "matmul_gflops": 100.0,
        "copy_gbytes": 10.0,
    }
    monkeypatch.setattr(kernels, "conditions", lambda *arguments: {"machine": "a machine", **measured})
    file, picture = tmp_path / "k.json", tmp_path / "k.png"
    arguments = [
        "channel_sum.forward",
        "--rounds",
        "1",
        "--forms",
        "cpu,reference",
        "--json",
        str(file),
        "--plot",
        str(picture),
    ]
    assert cli.run(["bench", "kernels", *arguments]) == 0
    printed = capsys.readouterr().out
    assert "SGEMM 100 GFLOP/s, copy 10.0 GB/s" in printed and "channel_sum.forward" in printed and "numba" in printed
    saved = json.loads(file.read_text())
    (row,) = saved["rows"]
    assert row["bound"] == "memory" and set(row["forms"]) == {"cpu", "reference"}
    ours = row["forms"]["cpu"]
    assert ours["least"] <= ours["seconds"] <= ours["greatest"]
    assert ours["gbytes"] == pytest.approx(row["bytes"] / ours["seconds"] / 1e9)
    assert ours["share"] == pytest.approx(ours["gbytes"] / 10.0)
    assert picture.read_bytes().startswith(b"\x89PNG")
