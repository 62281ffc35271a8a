"""What a forward pass did, in order and by module."""

import numpy as np
import pytest

import minidl as dl
from minidl import nn
from minidl.trace import place, trace


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 3), nn.Identity())

    def forward(self, x):
        return dl.ops.relu(self.body(x) + x)


def test_steps_and_calls():
    net = Net()
    passed = trace(net, np.ones((2, 3), np.float32))
    assert [(s.name, s.is_layer, [c.name for c in s.calls]) for s in passed.steps] == [
        ("body.0", True, ["Linear"]), ("body.1", True, []), ("", False, ["Add"]), ("", False, ["ReLU"]),
    ]  # fmt: skip
    (_, linear), (_, add), (_, relu) = passed.calls()
    assert linear.args[0] is passed.inputs[0] and linear.args[1] is net.body[0].weight
    assert place(add.args[0]) == place(linear.outputs[0]) and place(relu.outputs[0]) == place(passed.output)
    assert not any(module._hooks.get(kind) for module in net.modules() for kind in ("forward", "forward_pre"))


def test_inside_no_grad_and_of_a_frozen_net():
    net = Net().requires_grad_(False)
    with dl.no_grad():
        passed = trace(net, np.ones((2, 3), np.float32))
    assert [call.name for _, call in passed.calls()] == ["Linear", "Add", "ReLU"]


def test_a_value_replaced_in_place_is_another():
    class InPlace(nn.Module):
        def forward(self, x):
            y = x * 2
            self.before = place(y)
            return dl.ops.relu_(y)

    net = InPlace()
    passed = trace(net, np.ones(3, np.float32))
    assert place(passed.output) != net.before


def test_hooks_go_when_the_net_fails():
    net = Net()
    with pytest.raises(ValueError):
        trace(net, np.ones((2, 4), np.float32))
    assert not any(module._hooks.get(kind) for module in net.modules() for kind in ("forward", "forward_pre"))
