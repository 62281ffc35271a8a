"""Activation layers give, differentiate and print what PyTorch's do."""

import numpy as np
import pytest

import minidl as dl
from minidl import nn

LAYERS = [
    ("ReLU", ()), ("ReLU6", ()), ("LeakyReLU", ()), ("LeakyReLU", (0.2,)), ("ELU", ()), ("ELU", (0.5,)), ("GELU", ()),
    ("GELU", ("tanh",)), ("SiLU", ()), ("Sigmoid", ()), ("LogSigmoid", ()), ("Tanh", ()), ("Softplus", ()),
    ("Softplus", (2.0, 1.5)), ("Hardtanh", ()), ("Hardtanh", (-0.5, 2.0)), ("Softmax", (1,)), ("Softmax", (-2,)),
    ("Softmin", (0,)), ("LogSoftmax", (-1,)),
]  # fmt: skip
INPLACE = ["ReLU", "ReLU6", "LeakyReLU", "ELU", "SiLU", "Hardtanh"]


@pytest.mark.parametrize(("name", "arguments"), LAYERS)
def test_values_gradients_and_repr_are_pytorchs(name, arguments):
    torch = pytest.importorskip("torch")
    array = 3 * np.random.default_rng(0).standard_normal((4, 5, 3))
    weights = np.random.default_rng(1).standard_normal((4, 5, 3))
    x, torch_x = dl.Tensor(array, requires_grad=True), torch.tensor(array, requires_grad=True)
    layer, torch_layer = getattr(nn, name)(*arguments), getattr(torch.nn, name)(*arguments)
    y, torch_y = layer(x), torch_layer(torch_x)
    y.backward(dl.Tensor(weights))
    torch_y.backward(torch.tensor(weights))
    np.testing.assert_allclose(y.data, torch_y.detach().numpy(), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(x.grad.data, torch_x.grad.numpy(), rtol=1e-11, atol=1e-14)
    assert repr(layer) == repr(torch_layer)


@pytest.mark.parametrize("name", INPLACE)
def test_inplace_gives_the_same(name):
    torch = pytest.importorskip("torch")
    x = dl.Tensor(3 * np.random.default_rng(0).standard_normal((4, 5)))
    expected = getattr(nn, name)()(x).data
    layer = getattr(nn, name)(inplace=True)
    assert repr(layer) == repr(getattr(torch.nn, name)(inplace=True))
    before = x.data.copy()
    np.testing.assert_array_equal(layer(x).data, expected)
    np.testing.assert_array_equal(x.data, expected if name == "ReLU" else before)


def test_relu_in_place_is_differentiated():
    x = dl.tensor([-1.0, 2.0], requires_grad=True)
    nn.ReLU(inplace=True)(x * 3).sum().backward()
    np.testing.assert_array_equal(x.grad.data, [0, 3])
    with pytest.raises(RuntimeError, match="in place"):
        nn.ReLU(inplace=True)(x)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: nn.GELU("erf"), ValueError, "GELU: approximate must be 'none' or 'tanh', got 'erf'"),
        (lambda: nn.Hardtanh(1, 1), ValueError, r"Hardtanh: min_val \(=1\) must be less than max_val \(=1\)"),
        (lambda: nn.Softmax(None), TypeError, "Softmax: dim must be an integer, got None"),
        (lambda: nn.LogSoftmax(1.5), TypeError, "LogSoftmax: dim must be an integer, got 1.5"),
        (lambda: nn.Softmax(2)(dl.tensor([1.0])), ValueError, "softmax: dim 2 is out of range"),
    ],
)
def test_misuse_is_named(build, error, message):
    with pytest.raises(error, match=message):
        build()
