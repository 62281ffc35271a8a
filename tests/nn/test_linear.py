"""Linear holds the right weights and calls the right operation."""

import numpy as np
import pytest

import minidl as dl
from minidl import nn


def test_linear():
    layer = nn.Linear(3, 5)
    x = dl.Tensor(np.random.default_rng(0).standard_normal((2, 4, 3)).astype(np.float32))
    expected = x.data @ layer.weight.data.T + layer.bias.data
    np.testing.assert_allclose(layer(x).data, expected, rtol=1e-6)
    assert layer.weight.shape == (5, 3) and layer.weight.data.T.flags.c_contiguous
    assert nn.Linear(3, 5, bias=False).bias is None
    assert repr(layer) == "Linear(in_features=3, out_features=5, bias=True)"


def test_identity_takes_any_arguments():
    x = dl.tensor([1.0])
    assert nn.Identity(54, unused=True)(x) is x
    assert repr(nn.Identity(3)) == "Identity()"


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: nn.Linear(0, 3), "Linear: in_features must be a positive integer, got 0"),
        (lambda: nn.Linear(3, 2.0), "Linear: out_features must be a positive integer, got 2.0"),
    ],
)
def test_wrong_sizes_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
