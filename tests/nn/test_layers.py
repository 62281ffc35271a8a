"""Layers hold the right weights and call the right operation."""

import numpy as np
import pytest

import minidl as dl
from minidl import nn


def images(*shape):
    return dl.Tensor(np.random.default_rng(0).standard_normal(shape).astype(np.float32))


def test_linear():
    layer = nn.Linear(3, 5)
    x = images(2, 4, 3)
    expected = x.data @ layer.weight.data.T + layer.bias.data
    np.testing.assert_allclose(layer(x).data, expected, rtol=1e-6)
    assert layer.weight.shape == (5, 3) and layer.weight.data.T.flags.c_contiguous
    assert nn.Linear(3, 5, bias=False).bias is None


def test_relu_flatten():
    x = images(2, 3, 7, 7)
    np.testing.assert_array_equal(nn.ReLU()(x).data, np.maximum(x.data, 0))
    np.testing.assert_array_equal(nn.Flatten()(x).data, x.data.reshape(2, -1))
    np.testing.assert_array_equal(nn.Flatten(0, 1)(x).data, x.data.reshape(6, 7, 7))


def test_sequential():
    net = nn.Sequential({"first": nn.Linear(2, 3), "second": nn.ReLU()})
    assert list(net.state_dict()) == ["first.weight", "first.bias"]
    assert len(net) == 2 and net[-1] is net.second and [type(m) for m in net] == [nn.Linear, nn.ReLU]
    assert list(net[:1].state_dict()) == ["first.weight", "first.bias"]
    assert nn.Sequential()(5) == 5


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: nn.Linear(0, 3), "Linear: in_features must be a positive integer, got 0"),
        (lambda: nn.Linear(3, 2.0), "Linear: out_features must be a positive integer, got 2.0"),
    ],
)
def test_wrong_sizes_are_named(build, message):
    with pytest.raises((ValueError, TypeError), match=message):
        build()
