"""optimize_for_inference: the same outputs without batch norms."""

import numpy as np
import pytest
from helpers import normal

import minidl as dl
from minidl import nn, ops
from minidl.kernels import KERNELS


def _settled(net):
    """Running statistics and affine weights that are not those of the start."""
    random = np.random.default_rng(1)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.running_mean, -1, 1), (module.running_var, 0.5, 2), (module.weight, 1, 2), (module.bias, 0, 1),
            ):  # fmt: skip
                tensor.data[...] = random.uniform(low, high, tensor.shape)
    return net


NETS = [
    ("resnet18", {"width": 0.1}), ("resnet50", {"width": 0.1, "variant": "paper"}), ("resnet20", {}),
    ("resnet20", {"shortcut": "C"}), ("plain20", {}), ("googlenet", {"width": 0.1, "variant": "torchvision"}),
    ("googlenet", {"width": 0.1}), ("vgg11", {"width": 0.1, "batch_norm": True}), ("vgg11", {"width": 0.1}),
    ("alexnet", {"width": 0.1}), ("lenet", {}), ("lenet", {"variant": "paper"}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "options"), NETS)
def test_every_net(name, options):
    dl.manual_seed(0)
    net = _settled(dl.models.create(name, **options)).double()
    before = {k: v.data.copy() for k, v in net.state_dict().items()}
    fast = dl.optimize_for_inference(net)
    size = 32 if name in ("lenet", "resnet20", "plain20") else 224 if name == "alexnet" else 64
    x = dl.Tensor(normal(2, net.in_channels, size, size))
    assert net.training
    expected = net.eval()(x).data
    np.testing.assert_allclose(fast(x).data, expected, rtol=0, atol=1e-11 * np.abs(expected).max())
    left = [n for n, m in fast.named_modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(name.startswith("aux") for name in left)  # heads, which do not run
    assert not any(p.requires_grad for p in fast.parameters()) and not fast.training
    assert all(np.array_equal(before[k], v.data) for k, v in net.state_dict().items())


class Shared(nn.Module):
    """Convolutions whose output is needed as it is, that serve twice, or whose norm does: none may be folded."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
        self.norm_a, self.norm_b, self.norm_c = nn.BatchNorm2d(4), nn.BatchNorm2d(4), nn.BatchNorm2d(4)

    def forward(self, x):
        x = self.a(x)
        y = self.norm_a(x) + x
        y = self.b(self.norm_b(self.b(y)))
        return self.norm_c(self.norm_c(self.c(y)))


def test_what_cannot_be_folded_stays():
    dl.manual_seed(0)
    net = _settled(Shared()).double().eval()
    fast = dl.optimize_for_inference(net, (3, 9, 8))
    assert sum(isinstance(m, nn.BatchNorm2d) for m in fast.modules()) == 3
    x = dl.Tensor(normal(2, 3, 9, 8))
    np.testing.assert_array_equal(fast(x).data, net(x).data)


def test_a_sequential_with_groups_and_strides():
    dl.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=2, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.ConvTranspose2d(8, 4, 2), nn.BatchNorm2d(4), nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6, affine=False),
    )  # fmt: skip
    net = net.double().eval()
    for module in (net[1], net[4], net[6]):
        module.running_mean.data += 0.3
        module.running_var.data *= 1.7
    fast = dl.optimize_for_inference(net)
    x = dl.Tensor(normal(2, 4, 12, 11))
    np.testing.assert_allclose(fast(x).data, net(x).data, rtol=0, atol=1e-12)
    assert [type(m).__name__ for m in fast] == [
        "Identity", "FoldedConv2d", "ReLU", "ConvTranspose2d", "BatchNorm2d", "Identity", "FoldedConv2d",
    ]  # fmt: skip


def relus(net):
    """How many ReLUs are computed apart from a convolution in a run of the net."""
    calls = []
    for module in net.modules():
        if isinstance(module, nn.ReLU):
            module.register_forward_hook(lambda module, args, output: calls.append(module))
    net(dl.Tensor(normal(1, 3, 8, 8)))
    return len(calls)


class OneReLU(nn.Module):
    def __init__(self, then):
        super().__init__()
        self.conv, self.linear, self.relu, self.then = nn.Conv2d(3, 4, 3), nn.Linear(6, 5), nn.ReLU(), then

    def forward(self, x):
        return self.then(self, self.relu(self.linear(self.relu(self.conv(x)))))


@pytest.mark.parametrize(
    ("then", "left"),
    [
        (lambda net, y: y, 0),
        (lambda net, y: net.relu(y - 1), 3),  # it also follows a difference
        (lambda net, y: y + net.conv.bias.sum() + net.linear(y @ net.linear.weight).sum(), 2),  # a layer serves twice
    ],
    ids=["of layers alone", "of a difference", "of a layer that serves twice"],
)
def test_relus_go_into_the_layers_before(then, left):
    dl.manual_seed(0)
    net = OneReLU(then).double()
    fast, x = dl.optimize_for_inference(net, (3, 8, 8)), dl.Tensor(normal(2, 3, 8, 8, seed=1))
    np.testing.assert_allclose(fast(x).data, net.eval()(x).data, rtol=1e-12)
    assert relus(fast) == left and relus(net) == max(left, 2)


def test_the_run_that_is_traced_leaves_no_hooks():
    fast = dl.optimize_for_inference(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh()), (3, 8, 8))
    fast(dl.Tensor(normal(1, 3, 8, 8, dtype=np.float32)))
    assert not any(module._hooks for module in fast.modules())


def test_mistakes():
    with pytest.raises(TypeError, match="net must be a Module, got function"):
        dl.optimize_for_inference(ops.relu)
    with pytest.raises(ValueError, match=r"say which input_shape \(C, H, W\) the net takes: linear"):
        dl.optimize_for_inference(nn.Sequential(nn.Flatten(), nn.Linear(7, 3)))
    with pytest.raises(ValueError, match="H and W at least 32"):
        dl.optimize_for_inference(dl.models.create("vgg11", width=0.1), (3, 16, 16))


def test_linear_layers_alone_take_their_relu_along():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.relu = nn.Linear(48, 9), nn.Linear(9, 4), nn.ReLU()

        def forward(self, x):
            return self.relu(self.second(self.relu(self.first(x.flatten(1)))))

    dl.manual_seed(0)
    net = Net()
    fast = dl.optimize_for_inference(net, (3, 4, 4))
    x = dl.Tensor(np.random.default_rng(0).standard_normal((5, 3, 4, 4)).astype(np.float32))
    assert type(fast.relu) is nn.Identity and type(net.relu) is nn.ReLU
    assert fast(x).grad_fn is None and (net(x).data > 0).any()
    np.testing.assert_allclose(fast(x).data, net(x).data, rtol=1e-5, atol=1e-6)


class Flattening(nn.Module):
    def __init__(self, then):
        super().__init__()
        self.conv, self.pool, self.flatten = nn.Conv2d(2, 3, 3, padding=1), nn.MaxPool2d(2), nn.Flatten()
        self.linear, self.other, self.columns = nn.Linear(36, 5), nn.Linear(36, 5), nn.Linear(3, 5)
        self.dropout, self.rows, self.then = nn.Dropout(), nn.Flatten(1, 2), then

    def forward(self, x):
        return self.then(self, self.pool(self.conv(x)))


@pytest.mark.parametrize(
    ("then", "in_memory_order"),
    [
        (lambda net, y: net.linear(net.flatten(y)), True),
        (lambda net, y: net.linear(net.dropout(net.flatten(y).relu())), False),  # a ReLU between
        (lambda net, y: net.linear(net.dropout(net.flatten(y))).relu(), True),
        (lambda net, y: net.linear(net.flatten(y)) + net.other(net.flatten(y)), False),
        (lambda net, y: net.linear(net.flatten(y)) * net.linear(net.flatten(y * 2)), False),
        (lambda net, y: net.linear(z := net.flatten(y)) + z.sum(), False),
        (lambda net, y: net.columns(net.rows(y)), False),  # (N, C * H, W)
        (
            lambda net, y: net.linear(net.flatten(y)) + net.linear.weight[0, 7],
            False,
        ),  # weights used twice
        (lambda net, y: net.linear(y.flatten(1)), False),  # no module, which could be replaced
    ],
)
def test_images_are_flattened_as_they_lie_in_memory(then, in_memory_order):
    dl.manual_seed(0)
    net = Flattening(then).double().eval()
    fast = dl.optimize_for_inference(net, (2, 8, 6))
    assert (type(fast.flatten).__name__ == "FlattenPixels") == in_memory_order and type(net.flatten) is nn.Flatten
    # Other images of as many numbers mean what they did.
    for height, width in [(8, 6)] if "columns" in then.__code__.co_names else [(8, 6), (6, 8), (4, 12)]:
        x = dl.Tensor(normal(5, 2, height, width, seed=height))
        np.testing.assert_allclose(fast(x).data, net(x).data, rtol=1e-12, atol=1e-12)


def test_flattening_in_memory_order_copies_nothing(monkeypatch):
    net = dl.optimize_for_inference(dl.models.create("lenet", "lecture"))
    x = dl.Tensor(normal(64, 32, 32, 1, dtype=np.float32).transpose(0, 3, 1, 2))
    copies, kernel = [], KERNELS["copy_rows.forward"]
    monkeypatch.setattr(kernel, "cpu", lambda *args, form=kernel.cpu: copies.append(1) or form(*args))
    with dl.no_grad():
        for _ in range(3):
            net(x)
    assert not copies
