"""ONNX files, run by onnxruntime at two batch sizes beside the net itself."""

import math
import sys
from typing import NamedTuple

import numpy as np
import pytest

import minidl as dl
from minidl import nn, ops

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")


class Lambda(nn.Module):
    """A function of Tensors as a net; modules given by name are held."""

    def __init__(self, function, **modules):
        super().__init__()
        self.function = function
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, x):
        return self.function(self, x)


def _settled(net):
    """The net with running statistics and affine weights that are not those of the start."""
    random = np.random.default_rng(1)
    for module in net.modules():
        for name in ("running_mean", "running_var", "weight", "bias"):
            tensor = getattr(module, name, None)
            if tensor is not None and ("running" in name or isinstance(module, nn.GroupNorm | nn.LayerNorm)):
                tensor.data[...] = random.uniform(0.5, 2, tensor.shape)
    return net


def _check(net, shape, path, batches=(1, 5), tolerance=2e-5, **options):
    _settled(net)
    dl.onnx.export(net, path, shape, **options)
    onnx.checker.check_model(str(path), full_check=True)
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    training = net.training
    net.eval()
    random = np.random.default_rng(2)
    for batch in batches:
        images = random.standard_normal((batch, *shape)).astype(np.float32)
        with dl.no_grad():
            expected = net(dl.Tensor(images))
        expected = expected if isinstance(expected, tuple) else (expected,)
        found = session.run(None, {"input": images})
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            assert a.dtype == b.dtype and a.shape == b.shape
            np.testing.assert_allclose(a, b.data, rtol=tolerance, atol=tolerance)
    net.train(training)
    return session


def _kinds(path):
    return [node.op_type for node in onnx.load(path).graph.node]


def test_lenet(tmp_path):
    net = dl.models.create("lenet")
    net.c1.eval()
    path = tmp_path / "lenet.onnx"
    dl.onnx.export(net, path, (1, 32, 32))
    assert net.training and not net.c1.training  # the net is as it was
    assert not any(p.grad is not None for p in net.parameters())
    session = _check(net, (1, 32, 32), path)
    model = onnx.load(path)
    assert {i.name for i in model.graph.initializer} >= set(net.state_dict())
    assert _kinds(path).count("Gemm") == 3 and "Dropout" not in _kinds(path)
    assert [session.get_inputs()[0].shape, session.get_outputs()[0].shape] == [["batch", 1, 32, 32], ["batch", 10]]
    assert [tmp_path / "lenet.onnx"] == list(tmp_path.iterdir())


CONVOLUTIONS = {
    "grouped": dict(stride=(2, 1), padding=(1, 2), dilation=(1, 2), groups=2),
    "plain": dict(bias=False),
    "same": dict(padding="same"),
}


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_convolution(case, tmp_path):
    _check(nn.Sequential(nn.Conv2d(4, 6, 3, **CONVOLUTIONS[case])), (4, 11, 12), tmp_path / "a")


@pytest.mark.parametrize(
    "options",
    [
        dict(stride=2), dict(stride=(3, 2), padding=1, output_padding=(2, 1), groups=2), dict(dilation=2, bias=False)
    ],
)  # fmt: skip
def test_transposed_convolution(options, tmp_path):
    _check(nn.Sequential(nn.ConvTranspose2d(4, 6, 3, **options)), (4, 5, 6), tmp_path / "a")


@pytest.mark.parametrize("size", [(10, 11), (11, 13), (7, 7)])
@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("options", [dict(stride=2), dict(stride=2, padding=1), dict(stride=3), dict(dilation=2)])
def test_max_pooling(size, ceil_mode, options, tmp_path):
    _check(nn.Sequential(nn.MaxPool2d(3, ceil_mode=ceil_mode, **options)), (2, *size), tmp_path / "a")


@pytest.mark.parametrize("size", [(10, 11), (11, 13), (7, 7)])
@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        dict(stride=2), dict(stride=2, padding=1), dict(stride=2, padding=1, count_include_pad=False),
        dict(stride=3, divisor_override=5), dict(stride=2, padding=1, divisor_override=2),
    ],
)  # fmt: skip
def test_average_pooling(size, ceil_mode, options, tmp_path):
    _check(nn.Sequential(nn.AvgPool2d(3, ceil_mode=ceil_mode, **options)), (2, *size), tmp_path / "a")


@pytest.mark.parametrize(
    ("output", "kinds"), [(1, ["GlobalAveragePool"]), (4, ["AveragePool"]), ((5, 3), ["MatMul"] * 2), ((8, 12), [])]
)
def test_adaptive_pooling(output, kinds, tmp_path):
    _check(nn.Sequential(nn.AdaptiveAvgPool2d(output)), (2, 8, 12), tmp_path / "a")
    assert _kinds(tmp_path / "a") == [*kinds, "Identity"]


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Sequential(nn.BatchNorm2d(4, eps=0.1), nn.BatchNorm2d(4, affine=False)),
        lambda: nn.Sequential(nn.LocalResponseNorm(5, 0.5, k=2.0), nn.LocalResponseNorm(3, 1.0, divide_alpha=False)),
        lambda: nn.Sequential(nn.GroupNorm(2, 4, eps=0.1), nn.GroupNorm(4, 4, affine=False)),
        lambda: nn.Sequential(nn.LayerNorm((6, 5), eps=0.1), nn.LayerNorm(5, elementwise_affine=False)),
        lambda: nn.Sequential(nn.InstanceNorm2d(4)),
    ],
)  # fmt: skip
def test_normalization(make, tmp_path):
    _check(make(), (4, 6, 5), tmp_path / "a")


@pytest.mark.parametrize(
    "name", ["ReLU", "Tanh", "Sigmoid", "LeakyReLU", "ELU", "GELU", "Hardtanh", "ReLU6", "SiLU", "Softplus"]
)
def test_activations(name, tmp_path):
    _check(nn.Sequential(getattr(nn, name)()), (3, 4), tmp_path / "a")


def test_gelu_by_tanh(tmp_path):
    _check(nn.Sequential(nn.GELU("tanh")), (3, 4), tmp_path / "a")


@pytest.mark.parametrize("make", [lambda: nn.Softmax(1), lambda: nn.LogSoftmax(1), lambda: nn.Softmax(2)])
def test_softmax(make, tmp_path):
    _check(nn.Sequential(make()), (5, 3), tmp_path / "a")


def _fused(net, x):
    """The end of a residual block in one operation."""
    return ops.batch_norm_relu(
        net.conv(x), net.bn.running_mean, net.bn.running_var, net.bn.weight, net.bn.bias, residual=x, eps=0.01
    )


def _shortcut(net, x):
    """Option A of ResNet: every second pixel, new channels of zeros."""
    return (ops.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2)) + net.conv(x)).mean((2, 3))


class Answer(NamedTuple):
    logits: object
    aux: object


def _masked(net, x):
    """Weights computed of parameters alone are constants."""
    return ops.conv2d(x, net.conv.weight * dl.Tensor(np.array([0, 1, 1, 0], np.float32).reshape(-1, 1, 1, 1)))


NETS = {
    "fused": lambda: Lambda(_fused, conv=nn.Conv2d(4, 4, 3, padding=1), bn=nn.BatchNorm2d(4)),
    "shortcut": lambda: Lambda(_shortcut, conv=nn.Conv2d(4, 8, 3, stride=2, padding=1)),
    "branches": lambda: Lambda(
        lambda net, x: ops.cat([net.a(x), net.b(x), x], 1), a=nn.Conv2d(4, 2, 1), b=nn.Conv2d(4, 3, 5, padding=2)
    ),
    "named": lambda: Lambda(lambda net, x: Answer(net.a(x.flatten(1)), x.sum((1, 2))), a=nn.Linear(4 * 8 * 6, 3)),
    "frozen": lambda: nn.Sequential(nn.Conv2d(4, 2, 3), nn.Flatten(), nn.Linear(48, 3, bias=False)).requires_grad_(
        False
    ),
    "masked": lambda: Lambda(_masked, conv=nn.Conv2d(4, 4, 3)),
    "shared": lambda: Lambda(lambda net, x: net.a(ops.relu_(net.a(x))), a=nn.Conv2d(4, 4, 3)),
    "tokens": lambda: Lambda(lambda net, x: net.a(x.flatten(2).transpose(1, 2)), a=nn.Linear(4, 5)),
    "products": lambda: Lambda(lambda net, x: ops.einsum("nchw,nkhw->nck", x, x * 0.1) @ x.flatten(2)),
    "arithmetic": lambda: Lambda(lambda net, x: (-x * x + 2 / (x * x + 1) - ops.exp(x) ** 0.5) / 3 - ops.abs(x)),
    "clamped": lambda: Lambda(lambda net, x: ops.clamp(x, -0.5, 0.7) + ops.clamp(x, max=0.1)),
    "index": lambda: Lambda(lambda net, x: x[:, [2, 0, 1, 1], ::-1, 1:5:2] + x[:, None, 0, :, -1:]),
    "split": lambda: Lambda(lambda net, x: ops.mul(*ops.split(x, 2, 1))),
    "expanded": lambda: Lambda(lambda net, x: x.sum(1, keepdim=True).expand(-1, 3, 8, 6)),
    "cropped": lambda: Lambda(lambda net, x: ops.pad(x, (-1, 2, 1, -3), value=1.5)),
    "gated": lambda: Lambda(lambda net, x: net.norm(x) * x.mean((2, 3), keepdim=True), norm=nn.BatchNorm2d(4)),
    "add_relu": lambda: Lambda(lambda net, x: ops.add_relu(x, net.a(x)), a=nn.Conv2d(4, 4, 3, padding=1)),
}


def test_residual_blocks_of_a_folded_net(tmp_path):
    dl.manual_seed(0)
    net = _settled(dl.models.create("resnet20"))
    fast = dl.optimize_for_inference(net)
    dl.onnx.export(fast, tmp_path / "a", (3, 32, 32))
    images = np.random.default_rng(3).standard_normal((2, 3, 32, 32)).astype(np.float32)
    (found,) = runtime.InferenceSession(str(tmp_path / "a")).run(None, {"input": images})
    expected = net.eval()(dl.Tensor(images)).data
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-4 * np.abs(expected).max())
    assert "BatchNormalization" not in _kinds(tmp_path / "a") and _kinds(tmp_path / "a").count("Add") >= 9


@pytest.mark.parametrize("name", NETS)
def test_nets(name, tmp_path):
    _check(NETS[name](), (4, 8, 6), tmp_path / "a", batches=(1, 2, 3, 64))


def test_a_sum_that_is_fused_for_many_images_alone(tmp_path):
    """Up to 1,024 elements add_relu is two operations, above it is one: between the two images and the three."""
    net = Lambda(lambda net, x: ops.add_relu(x, net.a(x)), a=nn.Conv2d(8, 8, 3, padding=1))
    _check(net, (8, 8, 8), tmp_path / "a")
    assert _kinds(tmp_path / "a") == ["Conv", "Add", "Relu", "Identity"]


def test_dropout_is_absent(tmp_path):
    _check(nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5)), (3,), tmp_path / "a")
    assert _kinds(tmp_path / "a") == ["Gemm", "Identity"]


def test_names_of_several_outputs(tmp_path):
    session = _check(NETS["named"](), (4, 8, 6), tmp_path / "a")
    assert [(o.name, o.shape) for o in session.get_outputs()] == [("logits", ["batch", 3]), ("aux", ["batch", 6])]


def test_a_fixed_batch(tmp_path):
    net = Lambda(lambda net, x: x.mean(0))  # which no graph for any number of images has
    with pytest.raises(ValueError, match=r"net\.constant_1 follows from the images or from how many there are"):
        dl.onnx.export(net, tmp_path / "a", (2, 3))
    session = _check(net, (2, 3), tmp_path / "a", batches=(4,), batch=4)
    assert session.get_inputs()[0].shape == [4, 2, 3]


def test_backward_hooks_do_not_show(tmp_path):
    net = nn.Sequential(nn.Linear(3, 2), nn.ReLU())
    net.register_full_backward_hook(lambda *_: None)
    _check(net, (3,), tmp_path / "a")
    assert _kinds(tmp_path / "a") == ["Gemm", "Relu", "Identity"]


@pytest.mark.parametrize("name", [name for name in dl.models.MODELS if name != "lenet"])
def test_published_net(name, tmp_path):
    """Whatever models.create knows, at a size that its stages allow, and the torchvision names."""
    options = {"width": 0.25} if name.startswith("vgg") else {}  # their linear layers are files of half a gigabyte
    net = dl.models.create(name, num_classes=5, **options)
    size = 224 if name in ("alexnet", "googlenet", "vgg") else 64
    _check(net, (3, size, size), tmp_path / name, batches=(1, 2), tolerance=1e-3)


def _detached(net, x):
    return x + dl.Tensor(x.data * 2)


MISTAKES = {
    "operation": (
        Lambda(lambda net, x: ops.cumsum(x, 1)),
        (3, 4),
        r"Cumsum \(in the net\) has no form in ONNX here; known are ",
    ),
    "inside": (nn.Sequential(Lambda(lambda net, x: ops.cumsum(x, 1))), (3, 4), r"Cumsum \(in 0\)"),
    "detached": (Lambda(_detached), (3, 4), r"net\.constant follows from the images"),
    "even kernel": (
        nn.Sequential(nn.Conv2d(1, 1, 2, padding="same")),
        (1, 4, 4),
        r"0\.constant follows from the images",
    ),
    "branch": (
        Lambda(lambda net, x: x * 2 if len(x) == 2 else -x),
        (3,),
        "does something else for other images, from net.Mul",
    ),
    "batch statistics": (
        nn.Sequential(nn.BatchNorm2d(2, track_running_stats=False)),
        (2, 4, 4),
        "batch norm in 0 normalises by",
    ),
    "even window": (nn.Sequential(nn.LocalResponseNorm(4)), (5, 4, 4), "response norm over 4 channels in 0"),
    "mask": (Lambda(lambda net, x: x[:, np.array([True, False, True])]), (3, 4), "picks by masks or several arrays"),
    "shape": (nn.Linear(2, 2), (0,), r"input_shape must be the positive sizes of one image, \(C, H, W\), got \(0,\)"),
    "other shape": (nn.Linear(2, 2), (3,), "linear: "),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_named_and_write_nothing(name, tmp_path):
    net, shape, message = MISTAKES[name]
    with pytest.raises(ValueError, match=message):
        dl.onnx.export(net, tmp_path / "a", shape)
    assert not list(tmp_path.iterdir()) and net.training


def test_a_batch_that_is_none():
    with pytest.raises(ValueError, match="batch must be a positive integer or None, got 0"):
        dl.onnx.build(nn.Linear(2, 2), (2,), batch=0)


def test_without_the_package(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"export: the package onnx is needed: pip install 'minidl\[onnx\]'"):
        dl.onnx.export(nn.Linear(2, 2), tmp_path / "a", (2,))


def test_the_file_counts_what_the_net_has(tmp_path):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))
    dl.onnx.export(net, tmp_path / "a", (3, 4, 4))
    held = {i.name: math.prod(i.dims) for i in onnx.load(tmp_path / "a").graph.initializer}
    assert {name: held[name] for name in net.state_dict() if "num_batches" not in name} == {
        name: t.numel() for name, t in net.state_dict().items() if "num_batches" not in name
    }


PUBLISHED = [
    ("lenet", "lecture", {}, (1, 32, 32)), ("lenet", "paper", {"image_size": 28}, (1, 28, 28)),
    *[("alexnet", v, {"width": 0.05}, (3, 99, 70)) for v in ("paper", "ungrouped", "torchvision")],
    *[("vgg", c, {"width": 0.05}, (3, 40, 33)) for c in ("A", "A-LRN", "B", "C", "D", "E")],
    ("vgg16", None, {"width": 0.05, "batch_norm": True, "stem": "small"}, (3, 28, 28)),
    ("googlenet", "paper", {"width": 0.1}, (3, 75, 64)), ("googlenet", "torchvision", {"width": 0.1}, (3, 64, 75)),
    ("googlenet", "torchvision", {"width": 0.1, "transform_input": True}, (3, 64, 64)),
    ("googlenet", "paper", {"width": 0.1, "batch_norm": True, "stem": "small"}, (3, 32, 32)),
    *[("resnet18", "paper", {"width": 0.1, "shortcut": s}, (3, 40, 33)) for s in "ABC"],
    ("resnet34", None, {"width": 0.1}, (3, 40, 33)), ("resnet50", None, {"width": 0.1}, (3, 40, 33)),
    ("resnet50", "paper", {"width": 0.1, "stem": "small"}, (3, 20, 20)),
    ("resnet101", None, {"width": 0.05}, (3, 33, 33)), ("resnet152", None, {"width": 0.05}, (3, 33, 33)),
    *[(f"resnet{d}", None, {"width": 0.25}, (3, 17, 16)) for d in (20, 32, 44, 56, 110)],
    *[(f"plain{d}", None, {"width": 0.1}, (3, 33, 32)) for d in (18, 34, 20, 56)],
]  # fmt: skip


@pytest.mark.parametrize(("name", "variant", "options", "shape"), PUBLISHED, ids=[f"{n} {v}" for n, v, *_ in PUBLISHED])
def test_every_net(name, variant, options, shape, tmp_path):
    dl.manual_seed(0)
    net = dl.models.create(name, variant, num_classes=7 if name != "lenet" else 10, **options)
    _check(net, shape, tmp_path / "net.onnx", tolerance=1e-4)
