"""The ledger: shapes, parameters, multiply-adds, memory, receptive fields; and the published figures."""

import math
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import minidl as dl
from minidl import nn, ops
from minidl.explain.ledger import ledger
from minidl.kernels import KERNELS
from minidl.models import published


def _rows(net, shape, **options):
    return ledger(net, shape, **options).rows


def test_lenet_is_the_papers_table():
    """Layer by layer, from the lecture's figure: shape, weights and biases, multiply-adds, receptive field, jump."""
    everything = (math.inf, math.inf)
    expected = {
        "c1": ((6, 28, 28), 6 * 25 + 6, 28 * 28 * 6 * 25, (5, 5), (1, 1)),
        "s2": ((6, 14, 14), 0, 0, (6, 6), (2, 2)),
        "c3": ((16, 10, 10), 16 * 150 + 16, 100 * 16 * 150, (14, 14), (2, 2)),
        "s4": ((16, 5, 5), 0, 0, (16, 16), (4, 4)),
        "c5": ((120,), 48_120, 48_000, everything, everything),
        "f6": ((84,), 10_164, 10_080, everything, everything),
        "output": ((10,), 850, 840, everything, everything),
    }
    result = ledger(dl.models.create("lenet"), (1, 32, 32), batch=3)
    rows = {row.name: row for row in result.rows if row.name in expected}
    for name, figures in expected.items():
        row = rows[name]
        assert (row.shape, row.parameters, row.macs, *row.field) == figures, name
        assert row.memory == 3 * 4 * math.prod(row.shape)
    assert (result.parameters, result.macs) == (61_706, 416_520)
    assert [row.name for row in result.rows].count("relu") == 4


@pytest.mark.parametrize("figures", published.NETS, ids=lambda net: " ".join([net.model, net.variant, *net.options]))
def test_published_figures(figures):
    net = dl.models.blank(figures.model, variant=figures.variant, **figures.options)
    result = ledger(net, figures.shape)
    used = sum(row.parameters for row in result.rows if row.ran)
    assert result.parameters == sum(p.numel() for p in net.parameters()) == figures.parameters
    assert used == (figures.used_parameters or figures.parameters)
    assert published.agrees(result.macs, figures.macs), f"{result.macs:,} is not {figures.macs}"
    if figures.connections:
        assert published.agrees(result.connections, figures.connections), f"{result.connections:,} connections"
    if figures.training_macs:
        trained = ledger(net, figures.shape, training=True)
        assert published.agrees(trained.macs, figures.training_macs), f"{trained.macs:,} is not {figures.training_macs}"
        assert all(row.ran for row in trained.rows)


@pytest.mark.parametrize(
    ("count", "text", "right"),
    [
        (416_520, "416,520", True), (416_521, "416,520", False), (7_609_090_048, "7.609 G", True),
        (7_609_600_000, "7.609 G", False), (724_406_816, "724.4 M", True), (724_460_000, "724.4 M", False),
        (40_551_808, "40.55 M", True), (15_470_264_320, "15.470 G", True),
    ],
)  # fmt: skip
def test_agrees_rounds_as_the_text_does(count, text, right):
    assert published.agrees(count, text) is right


def test_a_text_that_is_no_figure():
    with pytest.raises(ValueError, match="a figure is a number and M, G or nothing, got '3 T'"):
        published.agrees(3, "3 T")


class Block(nn.Module):
    """A residual block whose shortcut takes every second pixel and pads the channels, then branches that are joined."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(6)
        self.conv2 = nn.Conv2d(6, 6, (3, 5), padding=(2, 2), dilation=(2, 1), groups=2)
        self.narrow = nn.Conv2d(6, 4, 1)
        self.wide = nn.Conv2d(6, 2, 5, padding=2)
        self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)

    def forward(self, x):
        y = self.conv2(dl.ops.relu(self.bn1(self.conv1(x))))
        shortcut = dl.ops.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 1, 2))
        y = y + shortcut
        return self.pool(dl.ops.cat([self.narrow(y), self.wide(y)], 1))


def test_a_residual_block_with_branches():
    rows = _rows(Block(), (3, 20, 20))
    assert [(r.name, r.kind, r.shape, r.parameters, r.macs) for r in rows] == [
        ("conv1", "Conv2d", (6, 10, 10), 162, 100 * 6 * 27),
        ("bn1", "BatchNorm2d", (6, 10, 10), 12, 0),
        ("", "ReLU", (6, 10, 10), 0, 0),
        ("conv2", "Conv2d", (6, 10, 10), 6 * 3 * 15 + 6, 100 * 6 * 3 * 15),
        ("", "GetItem", (3, 10, 10), 0, 0),
        ("", "ConstantPad", (6, 10, 10), 0, 0),
        ("", "Add", (6, 10, 10), 0, 0),
        ("narrow", "Conv2d", (4, 10, 10), 28, 100 * 24),
        ("wide", "Conv2d", (2, 10, 10), 302, 100 * 2 * 150),
        ("", "Cat", (6, 10, 10), 0, 0),
        ("pool", "MaxPool2d", (6, 5, 5), 0, 0),
    ]  # fmt: skip
    memory = {row.kind: row.memory for row in rows}
    assert memory["GetItem"] == 0 and memory["Add"] == memory["Cat"] == 4 * 600 and memory["MaxPool2d"] == 4 * 150


def _seen(net, shape):
    """Rows and columns of the image that reach the middle of the output, by the gradient of positive weights."""
    for parameter in net.parameters():
        parameter.data[...] = np.abs(parameter.data) + 0.1
    x = dl.Tensor(np.random.default_rng(0).uniform(1, 2, (1, *shape)).astype(np.float32), requires_grad=True)
    y = net.eval()(x)
    y[0, :, y.shape[2] // 2, y.shape[3] // 2].sum().backward()
    reached = np.argwhere(x.grad.data[0].any(0))
    return tuple((reached.max(0) - reached.min(0) + 1).tolist())


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 2, 5, stride=2), nn.Conv2d(2, 1, 3)),
        lambda: nn.Sequential(nn.Conv2d(1, 2, (3, 5), dilation=(2, 1), stride=(1, 2)), nn.Conv2d(2, 1, (5, 3))),
        lambda: nn.Sequential(nn.Conv2d(1, 2, 3, stride=2), nn.AvgPool2d(3, 2), nn.Conv2d(2, 1, 3)),
        lambda: nn.Sequential(
            nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Conv2d(2, 1, 1), nn.Conv2d(1, 1, 3, dilation=3)
        ),
        lambda: nn.Sequential(nn.Conv2d(1, 2, 3, stride=3), nn.LocalResponseNorm(3), nn.Conv2d(2, 1, 3)),
    ],
)
def test_the_receptive_field_is_what_the_gradient_reaches(make):
    net = make()
    field = _rows(net, (1, 64, 64))[-1].field
    assert field.size == _seen(net, (1, 64, 64))


def test_the_receptive_field_of_vggs_last_pooling_is_212():
    """Known from the literature: 212 pixels, 32 apart."""
    layers, channels = [], 3
    for width, count in ((8, 2), (8, 2), (8, 3), (8, 3), (8, 3)):
        for _ in range(count):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        layers.append(nn.MaxPool2d(2))
    field = _rows(nn.Sequential(*layers), (3, 224, 224))[-1].field
    assert field == ((212, 212), (32, 32))


def test_transposed_convolution():
    net = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2))
    row = _rows(net, (3, 21, 21))[-1]
    assert (row.shape, row.parameters, row.macs) == ((6, 21, 21), 4 * 3 * 9 + 6, 100 * 4 * 3 * 9)
    assert row.field == ((5, 5), (1, 1))


def test_adaptive_pooling():
    rows = _rows(nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(6), nn.AdaptiveAvgPool2d(1)), (3, 14, 14))
    assert rows[1].field == ((4, 4), (2, 2)) and rows[1].shape == (2, 6, 6)
    assert rows[2].field.size == (math.inf, math.inf)
    assert _rows(nn.Sequential(nn.AdaptiveAvgPool2d(5)), (3, 5, 5))[0].field == ((1, 1), (1, 1))


def test_matmul_and_einsum_count():
    class Products(nn.Module):
        def forward(self, x):
            x = x.flatten(2)
            return dl.ops.einsum("nij,nkj->nik", x @ x.transpose(1, 2), x @ x.transpose(1, 2))

    assert ledger(Products(), (4, 3, 5)).macs == 2 * (4 * 4 * 15) + 4 * 4 * 4


class Heads(nn.Module):
    """A head that runs in training alone, as GoogLeNet's."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.bn = nn.BatchNorm2d(2)
        self.aux = nn.Sequential(nn.Flatten(), nn.Linear(72, 3))
        self.main = nn.Linear(72, 3)

    def forward(self, x):
        x = self.bn(self.conv(x))
        aux = self.aux(x) if self.training else None
        return (self.main(x.flatten(1)), aux) if self.training else self.main(x.flatten(1))


def test_modules_that_do_not_run_and_training():
    net = Heads()
    result = ledger(net, (1, 8, 8))
    (idle,) = [row for row in result.rows if not row.ran]
    assert (idle.name, idle.parameters, idle.macs) == ("aux.1", 219, 0)
    assert result.parameters == sum(p.numel() for p in net.parameters())
    trained = ledger(net, (1, 8, 8), training=True)
    assert all(row.ran for row in trained.rows)
    assert trained.macs == result.macs + 216 and trained.parameters == result.parameters


def test_nothing_is_computed_and_nothing_changes(monkeypatch):
    def forbidden(*args):
        raise AssertionError("a kernel ran")

    for kernel in KERNELS.values():
        monkeypatch.setattr(kernel, "cpu", forbidden)
        monkeypatch.setattr(kernel, "reference", forbidden)
    dl.manual_seed(3)
    expected = dl.random.generator().random()
    dl.manual_seed(3)
    net = Heads().train()
    net.conv.eval()
    before = {name: t.data.copy() for name, t in net.state_dict().items()}
    dl.manual_seed(3)
    for training in (False, True):
        ledger(net, (1, 8, 8), training=training)
    assert dl.random.generator().random() == expected
    assert all(np.array_equal(before[name], t.data) for name, t in net.state_dict().items())
    assert net.training and net.bn.training and not net.conv.training
    assert all(p.grad is None for p in net.parameters()) and not any(m._hooks.get("forward") for m in net.modules())


def test_connections_of_lenet():
    """LeCun et al. 1998, section II.B: C1 122,304, C5 48,120, F6 10,164; the lecture's C3 100 * 16 * 151."""
    rows = {row.name: row.connections for row in _rows(dl.models.create("lenet"), (1, 32, 32))}
    assert (rows["c1"], rows["c5"], rows["f6"]) == (122_304, 48_120, 10_164)
    assert rows["c3"] == 241_600 and rows["s2"] == rows["relu"] == 0


def test_connections_of_trainable_subsampling():
    """The paper's S2: 6 maps of 14×14, each output of four inputs and a bias, 5,880 connections and 12 parameters."""

    class Subsampling(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(np.ones((6, 1, 1), np.float32))
            self.bias = nn.Parameter(np.zeros((6, 1, 1), np.float32))

        def forward(self, x):
            return ops.avg_pool2d(x, 2) * self.weight + self.bias

    result = ledger(Subsampling(), (6, 28, 28))
    assert (result.parameters, result.macs, result.connections) == (12, 0, 5_880)


def test_shared_parameters_count_once():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Conv2d(2, 2, 3, padding=1)
            self.b = nn.Conv2d(2, 2, 3, padding=1)
            self.b.weight = self.a.weight

        def forward(self, x):
            return self.b(self.a(self.a(x)))

    result = ledger(Twice(), (2, 4, 4))
    assert [row.parameters for row in result.rows] == [38, 0, 2] and result.parameters == 40


def test_a_frozen_net_is_counted_too():
    net = dl.models.create("lenet")
    net.requires_grad_(False)
    assert ledger(net, (1, 32, 32)).macs == 416_520


def test_vgg_19_in_seconds_and_without_its_memory():
    """In a process of its own: its peak memory stays far below the 575 MB of the weights."""
    code = """
        import resource, time
        import minidl as dl
        from minidl import nn
        from minidl.explain.ledger import ledger
        start, layers, channels = time.perf_counter(), [], 3
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with nn.init.blank():
            for width, count in ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4)):
                for _ in range(count):
                    layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                    channels = width
                layers.append(nn.MaxPool2d(2))
            layers += [nn.Flatten(), nn.Linear(25088, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU()]
            net = nn.Sequential(*layers, nn.Linear(4096, 1000))
        result = ledger(net, (3, 224, 224), batch=256)
        taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        print(result.parameters, result.macs, time.perf_counter() - start, taken)
    """
    process = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True, timeout=120
    )
    parameters, macs, seconds, kilobytes = map(float, process.stdout.split())
    assert parameters == 143_667_240 and macs == 19_632_062_464
    assert seconds < 5
    assert kilobytes < 200_000 or sys.platform == "darwin"  # counted in bytes there


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((32, 32),), r"input_shape must be \(C, H, W\), got \(32, 32\)"),
        (((1, 0, 32),), r"input_shape must be \(C, H, W\)"),
        (((1, 32, 32), 0), "batch must be at least 1, got 0"),
        (((3, 32, 32),), "images must be"),
    ],
)
def test_mistakes(arguments, message):
    net = dl.models.create("lenet")
    with pytest.raises(ValueError, match=message):
        ledger(net, *arguments)
    assert net.training and not net._hooks.get("forward_pre")
