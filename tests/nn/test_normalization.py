"""Normalization layers: PyTorch's attributes, state and values, step by step."""

import numpy as np
import pytest
from helpers import close, normal

import minidl as dl
from minidl import nn

# name, arguments, options, shapes of the inputs of successive calls
LAYERS = [
    ("BatchNorm1d", (3,), {}, [(5, 3), (4, 3, 2)]),
    ("BatchNorm2d", (3,), {}, [(5, 3, 4, 2), (2, 3, 1, 1)]),
    ("BatchNorm2d", (3, 0.01, 0.3), {}, [(5, 3, 4, 2), (2, 3, 1, 1)]),
    ("BatchNorm2d", (3,), {"momentum": None}, [(5, 3, 4, 2), (2, 3, 1, 3), (1, 3, 2, 2)]),
    ("BatchNorm2d", (3,), {"affine": False}, [(5, 3, 4, 2)]),
    ("BatchNorm2d", (3,), {"track_running_stats": False}, [(5, 3, 4, 2)]),
    ("InstanceNorm1d", (3,), {}, [(2, 3, 5), (3, 5)]),
    ("InstanceNorm2d", (3,), {}, [(2, 3, 5, 4), (3, 5, 4)]),
    ("InstanceNorm2d", (3,), {"affine": True, "track_running_stats": True}, [(2, 3, 5, 4), (3, 3, 2, 2)]),
    ("InstanceNorm2d", (3,), {"track_running_stats": True, "momentum": None}, [(2, 3, 5, 4)]),
    ("LayerNorm", (6,), {}, [(2, 6), (2, 3, 6)]),
    ("LayerNorm", ([3, 4, 2],), {"eps": 0.1}, [(2, 3, 4, 2)]),
    ("LayerNorm", (6,), {"elementwise_affine": False}, [(2, 6)]),
    ("LayerNorm", (6,), {"bias": False}, [(2, 6)]),
    ("GroupNorm", (2, 6), {}, [(2, 6, 4, 3), (3, 6)]),
    ("GroupNorm", (3, 6, 0.1, False), {}, [(2, 6, 4)]),
    ("LocalResponseNorm", (3,), {"alpha": 0.5}, [(2, 6, 4, 3)]),
]


def pair_of(name, args, options):
    torch = pytest.importorskip("torch")
    ours, theirs = getattr(nn, name)(*args, **options), getattr(torch.nn, name)(*args, **options)
    state = {k: normal(*v.shape, dtype=np.float32) for k, v in theirs.state_dict().items() if "running" not in k}
    state = {k: v for k, v in state.items() if "num" not in k}
    for key, value in state.items():
        ours.load_state_dict({key: value}, strict=False)
        theirs.load_state_dict({key: torch.from_numpy(value)}, strict=False)
    return ours, theirs


def same_state(ours, theirs):
    a, b = ours.state_dict(), theirs.state_dict()
    assert list(a) == list(b)
    for name in a:
        assert a[name].dtype == b[name].numpy().dtype, name
        close(a[name].data, b[name].numpy(), 1e-5, name)


@pytest.mark.parametrize("name, args, options, shapes", LAYERS)
def test_pytorch_does_the_same(name, args, options, shapes):
    torch = pytest.importorskip("torch")
    ours, theirs = pair_of(name, args, options)
    same_state(ours, theirs)
    for training in (True, False):
        ours.train(training), theirs.train(training)
        for seed, shape in enumerate(shapes):
            x = 2 * normal(*shape, dtype=np.float32, seed=seed) + 1
            leaf, torch_leaf = dl.Tensor(x, True), torch.tensor(x, requires_grad=True)
            y, torch_y = ours(leaf), theirs(torch_leaf)
            close(y.data, torch_y.detach().numpy(), 1e-5, "value")
            gradient = normal(*shape, dtype=np.float32, seed=9)
            ours.zero_grad(), theirs.zero_grad()
            y.backward(gradient), torch_y.backward(torch.from_numpy(gradient))
            # A batch of two values per channel has gradients that cancel to nothing but rounding.
            close(leaf.grad.data, torch_leaf.grad.numpy(), 1e-5, "gradient", atol=1e-5)
            for (key, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
                close(p.grad.data, q.grad.numpy(), 1e-5, key, atol=1e-5)
            same_state(ours, theirs)


def test_state_is_saved_and_loaded():
    torch = pytest.importorskip("torch")
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))
    net(dl.Tensor(normal(2, 1, 5, 5, dtype=np.float32)))
    assert list(net.state_dict())[2:] == [
        "1.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked",
    ]  # fmt: skip
    twin = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4))
    twin.load_state_dict({name: torch.tensor(t.data.copy()) for name, t in net.state_dict().items()})
    assert twin[1].num_batches_tracked.item() == 1
    again = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))
    again.load_state_dict({k: v.numpy() for k, v in twin.state_dict().items()})
    x = dl.Tensor(normal(3, 1, 5, 5, dtype=np.float32))
    assert np.array_equal(net.eval()(x).data, again.eval()(x).data)
    net[1].reset_parameters()
    assert net[1].num_batches_tracked.item() == 0 and not net[1].running_mean.data.any()


def test_running_statistics_stay_out_of_the_graph_and_of_training():
    layer = nn.BatchNorm2d(2)
    layer(dl.Tensor(normal(2, 2, 3, 3, dtype=np.float32), True))
    assert not layer.running_mean.requires_grad and layer.num_batches_tracked.item() == 1
    assert [name for name, _ in layer.named_parameters()] == ["weight", "bias"]
    before = layer.running_mean.data.copy()
    layer.eval()(dl.Tensor(normal(2, 2, 3, 3, dtype=np.float32)))
    assert np.array_equal(layer.running_mean.data, before) and layer.num_batches_tracked.item() == 1
    assert layer.double().running_var.dtype == np.float64 and layer.num_batches_tracked.dtype == np.int64


def test_the_papers_local_response_norm():
    x = normal(2, 7, 3, dtype=np.float64)
    got = nn.LocalResponseNorm(5, 0.4, k=2.0, divide_alpha=False)(dl.Tensor(x)).data
    close(got, nn.LocalResponseNorm(5, 2.0, k=2.0)(dl.Tensor(x)).data, 1e-12)
    assert "divide_alpha=False" in repr(nn.LocalResponseNorm(5, divide_alpha=False))


def test_repr_names_the_settings():
    assert repr(nn.BatchNorm2d(3)) == "BatchNorm2d(3, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)"
    assert repr(nn.LayerNorm([3, 2])) == "LayerNorm((3, 2), eps=1e-05, elementwise_affine=True, bias=True)"
    assert repr(nn.GroupNorm(2, 4)) == "GroupNorm(2, 4, eps=1e-05, affine=True)"
    assert repr(nn.LocalResponseNorm(5)) == "LocalResponseNorm(5, alpha=0.0001, beta=0.75, k=1.0)"


@pytest.mark.parametrize(
    "build, message",
    [
        (lambda: nn.BatchNorm2d(0), "BatchNorm2d: num_features must be a positive integer, got 0"),
        (lambda: nn.BatchNorm2d(3)(dl.Tensor(np.ones((2, 3)))), r"BatchNorm2d: input must be 4-d, got shape \(2, 3\)"),
        (lambda: nn.BatchNorm1d(3)(dl.Tensor(np.ones((2, 3, 1, 1)))), "BatchNorm1d: input must be 2-d or 3-d"),
        (lambda: nn.BatchNorm1d(3)(dl.Tensor(np.ones((1, 3), np.float32))), "training needs more than one value"),
        (lambda: nn.BatchNorm1d(4)(dl.Tensor(np.ones((2, 3), np.float32))), r"weight must have shape \(3,\)"),
        (lambda: nn.InstanceNorm2d(4)(dl.Tensor(np.ones((2, 3, 5, 5)))), r"num_features \(=4\) must be .* \(=3\)"),
        (lambda: nn.GroupNorm(4, 6), r"GroupNorm: num_channels \(=6\) must be divisible by num_groups \(=4\)"),
        (lambda: nn.LocalResponseNorm(0), "LocalResponseNorm: size must be a positive integer, got 0"),
    ],
)  # fmt: skip
def test_errors(build, message):
    with pytest.raises((ValueError, TypeError), match=message):
        build()
