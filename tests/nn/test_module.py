"""Module: registration, traversal, state_dict, modes, repr."""

import copy

import numpy as np
import pytest

import minidl as dl
from minidl import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 5, bias=False))
        self.scale = nn.Parameter(np.ones(5, np.float32))
        self.register_buffer("count", dl.tensor(7))

    def forward(self, x):
        return self.body(x) * self.scale


def test_members_are_found_by_their_names():
    net = Net()
    assert [n for n, _ in net.named_parameters()] == ["scale", "body.0.weight", "body.0.bias", "body.2.weight"]
    assert [n for n, _ in net.named_buffers()] == ["count"]
    assert [n for n, _ in net.named_modules()] == ["", "body", "body.0", "body.1", "body.2"]
    assert list(net.state_dict()) == ["scale", "count", "body.0.weight", "body.0.bias", "body.2.weight"]
    assert sum(p.numel() for p in net.parameters()) == 5 + 12 + 4 + 20


def test_a_shared_parameter_counts_once():
    layer = nn.Linear(2, 2)
    net = nn.Sequential(layer, layer)
    assert len(list(net.parameters())) == 2
    assert list(net.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias"]  # as PyTorch's
    assert [n for n, _ in net.named_modules()] == ["", "0"]
    assert [n for n, _ in net.named_modules(remove_duplicate=False)] == ["", "0", "1"]
    assert [n for n, _ in net.named_parameters(remove_duplicate=False)] == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert net.load_state_dict(net.state_dict()) == ([], [])


def test_assignment_replaces_whatever_had_the_name():
    net = Net()
    net.scale = nn.Linear(1, 1)
    assert [n for n, _ in net.named_parameters()] == [
        "body.0.weight",
        "body.0.bias",
        "body.2.weight",
        "scale.weight",
        "scale.bias",
    ]
    net.scale = "text"
    assert net.scale == "text" and "scale" not in dict(net.named_modules())
    del net.body
    assert not list(net.parameters())
    net.register_parameter("absent", None)
    assert net.absent is None and not net.state_dict().get("absent")


def test_misuse_is_named():
    class Forgetful(nn.Module):
        def __init__(self):
            self.layer = nn.ReLU()

    with pytest.raises(AttributeError, match=r"Forgetful: call super\(\).__init__\(\) before assigning 'layer'"):
        Forgetful()
    with pytest.raises(AttributeError, match="Net has no attribute 'depth'"):
        Net().depth  # noqa: B018
    with pytest.raises(NotImplementedError, match="needs a method forward"):
        nn.Module()(1)
    with pytest.raises(TypeError, match="register_buffer: 'b' must be a Tensor or None, got list"):
        Net().register_buffer("b", [1])
    with pytest.raises(TypeError, match="register_parameter: 'p' must be a Parameter or None, got Tensor"):
        Net().register_parameter("p", dl.tensor(1.0))
    with pytest.raises(ValueError, match="without dots, got 'a.b'"):
        Net().add_module("a.b", nn.ReLU())
    with pytest.raises(TypeError, match="'m' must be a Module or None, got int"):
        Net().add_module("m", 3)


def test_modes_reach_every_module():
    net = Net()
    assert net.eval() is net and not any(m.training for m in net.modules())
    assert net.train() is net and all(m.training for m in net.modules())
    net.body[0].requires_grad_(False)
    assert [p.requires_grad for p in net.parameters()] == [True, False, False, True]
    seen = []
    net.apply(lambda m: seen.append(type(m).__name__))
    assert seen == ["Linear", "ReLU", "Linear", "Sequential", "Net"]


def test_zero_grad_and_dtypes():
    net = Net()
    net(dl.tensor([[1.0, 2.0, 3.0]])).sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())
    assert {t.dtype.name for t in net.double().state_dict().values()} == {"float64", "int64"}
    assert net.float().scale.dtype == np.float32
    with pytest.raises(TypeError, match="to: dtype must be floating-point, got int32"):
        net.to("int32")


def test_state_dict_goes_from_net_to_net():
    dl.manual_seed(1)
    one, other = Net(), Net()
    x = dl.tensor(np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32))
    assert not np.array_equal(one(x).data, other(x).data)
    assert other.load_state_dict({k: v.numpy().copy() for k, v in one.state_dict().items()}) == ([], [])
    assert np.array_equal(one(x).data, other(x).data)


def test_a_state_dict_that_does_not_fit_changes_nothing():
    net = Net()
    before = {k: v.data.copy() for k, v in net.state_dict().items()}
    zeros = {k: np.zeros_like(v) for k, v in before.items()}
    with pytest.raises(KeyError, match=r"load_state_dict of Net: missing count, body.2.weight; unknown other"):
        net.load_state_dict({k: v for k, v in zeros.items() if k not in ("count", "body.2.weight")} | {"other": 1})
    with pytest.raises(ValueError, match=r"scale is \(6,\), must be \(5,\); body.0.bias has dtype <U1"):
        net.load_state_dict(zeros | {"scale": np.zeros(6), "body.0.bias": np.array(["a"] * 4)})
    assert all(np.array_equal(before[k], v.data) for k, v in net.state_dict().items())
    assert net.load_state_dict({"scale": np.zeros(5), "other": 1}, strict=False) == (
        ["count", "body.0.weight", "body.0.bias", "body.2.weight"],
        ["other"],
    )
    assert not net.scale.data.any()


def test_loading_into_saved_weights_is_noticed_by_backward():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    y = net(dl.tensor([[1.0, 2.0]])).sum()
    net.load_state_dict(net.state_dict())
    with pytest.raises(RuntimeError, match="changed in place afterwards by load_state_dict"):
        y.backward()


def test_deepcopy_is_independent():
    net = Net()
    twin = copy.deepcopy(net)
    twin.scale.data[:] = 5
    assert (net.scale.data == 1).all()
    assert [n for n, _ in twin.named_parameters()] == [n for n, _ in net.named_parameters()]
    assert isinstance(twin.scale, nn.Parameter)


def test_repr_shows_the_structure():
    assert repr(Net()) == (
        "Net(\n"
        "  (body): Sequential(\n"
        "    (0): Linear(in_features=3, out_features=4, bias=True)\n"
        "    (1): ReLU()\n"
        "    (2): Linear(in_features=4, out_features=5, bias=False)\n"
        "  )\n"
        ")"
    )


def test_a_buffer_may_stay_out_of_the_state_dict():
    net = Net()
    net.register_buffer("mask", dl.tensor([1.0, 0.0]), persistent=False)
    net.register_buffer("absent", None)
    assert [n for n, _ in net.named_buffers()] == ["count", "mask"] and "mask" not in net.state_dict()
    assert net.double().mask.dtype == np.float64  # it goes with the module all the same
    assert copy.deepcopy(net).load_state_dict(net.state_dict()) == ([], [])
    with pytest.raises(KeyError, match="unknown mask"):
        net.load_state_dict(net.state_dict() | {"mask": np.ones(2)})
    net.mask = dl.tensor([5.0])  # replaces the buffer, which stays what it was
    assert net.get_buffer("mask").item() == 5 and "mask" not in net.state_dict()
    net.mask = nn.Parameter(np.ones(2, np.float32))
    assert "mask" in net.state_dict()
    net.register_buffer("absent", dl.tensor(1.0))
    assert "absent" in net.state_dict()


def test_members_by_their_path():
    net = Net()
    assert net.get_submodule("") is net and net.get_submodule("body.0") is net.body[0]
    assert net.get_parameter("body.0.bias") is net.body[0].bias and net.get_buffer("count").item() == 7
    assert [n for n, _ in net.named_parameters(prefix="net", recurse=False)] == ["net.scale"]
    assert list(net.parameters(recurse=False)) == [net.scale] and len(list(net.buffers(recurse=False))) == 1
    assert dict(net.named_children()) == {"body": net.body} and next(net.children()) is net.body
    for call, message in [
        (lambda: net.get_submodule("body.7.x"), r"get_submodule: Sequential has no module '7' \(of 'body.7.x'\)"),
        (
            lambda: net.get_parameter("body.2.bias"),
            r"get_parameter: Linear has no parameter 'bias' \(of 'body.2.bias'\)",
        ),
        (lambda: net.get_buffer("scale"), "get_buffer: Net has no buffer 'scale'"),
    ]:
        with pytest.raises(AttributeError, match=message):
            call()


def test_names_that_cannot_be():
    net = Net()
    with pytest.raises(KeyError, match="register_buffer: Net has another attribute 'scale'"):
        net.register_buffer("scale", dl.tensor(1.0))
    with pytest.raises(KeyError, match="add_module: Net has another attribute 'forward'"):
        net.add_module("forward", nn.ReLU())
    with pytest.raises(ValueError, match="register_parameter: a name must be non-empty and without dots, got ''"):
        net.register_parameter("", None)
    with pytest.raises(TypeError, match="register_buffer: a name must be a string, got 3"):
        net.register_buffer(3, None)


def test_zero_grad_can_keep_the_array_and_to_takes_what_a_tensor_takes():
    net = Net()
    net(dl.tensor([[1.0, 2.0, 3.0]])).sum().backward()
    net.scale.grad.data[:] = 3
    net.zero_grad(set_to_none=False)
    assert (net.scale.grad.data == 0).all()
    assert net.to("cpu") is net and net.cpu() is net
    assert net.to(dl.tensor(1.0, dtype=np.float64)).scale.dtype == np.float64
    for call, error, message in [
        (lambda: net.to("gpu"), ValueError, "'gpu' is neither a device"),
        (lambda: net.to(3), TypeError, "a dtype, a device or a Tensor is needed, got 3"),
        (lambda: net.load_state_dict([1]), TypeError, "state must be a dictionary, got list"),
    ]:
        with pytest.raises(error, match=message):
            call()


def test_the_report_of_what_was_not_loaded_has_names():
    report = Net().load_state_dict({"other": 1}, strict=False)
    assert report.unexpected_keys == ["other"] and report.missing_keys[0] == "scale"
