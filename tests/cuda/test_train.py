"""The training loop on the GPU: what it reports and leaves is the CPU's, in mixed precision almost."""

from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from helpers import close

import minidl as dl
from minidl import data, models, train
from minidl.cli.train import train as command


@pytest.fixture
def few(monkeypatch):
    """The digits, but few of them, so that an epoch is two steps."""
    digits = data.load("digits")
    dataset = replace(
        digits, train_images=digits.train_images[:7], train_labels=digits.train_labels[:7],
        test_images=digits.test_images[:3], test_labels=digits.test_labels[:3],
    )  # fmt: skip
    monkeypatch.setattr(data, "load", lambda name: dataset)
    return dataset


def fitted(dataset, device, amp=False):
    """The losses and accuracies of two steps of LeNet, and by how much they changed the net's parameters."""
    dl.manual_seed(0)
    size = dataset.train_images.shape[-1]
    net = models.create("lenet", width=0.3, image_size=size).to(device)
    before = [p.detach().cpu().numpy().copy() for p in net.parameters()]
    recipe = replace(train.recipe("lenet", "digits"), epochs=1, batch_size=4)
    *steps, epoch = train.fit(net, dataset, recipe, 1, amp)
    assert len(steps) == 2 and all(p.device.startswith(device) for p in net.parameters())
    figures = [(s.loss, s.top1) for s in steps] + [(epoch.test_loss, epoch.test_top1), (epoch.test_top5, 0)]
    return np.array(figures), [p.detach().cpu().numpy() - b for p, b in zip(net.parameters(), before, strict=True)]


@pytest.mark.parametrize("amp", [False, True], ids=["float32", "mixed"])
def test_two_steps_of_lenet_are_the_cpus(cupy, few, amp):
    figures, changes = fitted(few, "cuda", amp)
    with dl.use_kernels("reference"):
        expected, wanted = fitted(few, "cpu")
    rtol = 1e-2 if amp else 1e-4
    close(figures, expected, rtol)
    for got, change in zip(changes, wanted, strict=True):
        close(got, change, rtol)
    assert np.allclose(figures, expected, rtol=1e-6) is not amp


def test_the_command_on_the_gpu(cupy, few, tmp_path, monkeypatch):
    given = []
    monkeypatch.setitem(command.callback.__globals__, "fit", lambda *args: given.append(args) or train.fit(*args))
    arguments = ["lenet", "--epochs", "1", "--batch-size", "4", "--device", "cuda", "--amp", "--out", str(tmp_path)]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output
    ((net, *_, amp),) = given
    assert amp and next(net.parameters()).device == "cuda:0"
    assert f"; {dl.cuda.get_device_name()}, mixed precision" in result.output.splitlines()[0]
    assert "test accuracy: top-1" in result.output.splitlines()[-1]
    assert all(t.dtype == np.float32 for t in dl.load(tmp_path / "last.safetensors").values() if t.dtype.kind == "f")


def test_without_a_gpu_one_line_says_what_is_missing(few, monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "cupy", None)
    for arguments, message in [
        (["--device", "cuda"], "Error: cuda: CuPy is not installed"),
        (["--amp"], "Error: --amp needs --device cuda"),
    ]:
        result = CliRunner().invoke(command, ["lenet", "--out", str(tmp_path / "out"), *arguments])
        assert result.exit_code and result.output.startswith(message) and result.output.count("\n") == 1
        assert not (tmp_path / "out").exists()
    net = models.create("lenet")
    with pytest.raises(ValueError, match="device_type 'cpu' computes in float32 alone"):
        next(train.fit(net, few, train.recipe("lenet", "digits"), 0, amp=True))
