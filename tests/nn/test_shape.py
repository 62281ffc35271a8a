"""Flatten and Unflatten."""

import numpy as np
import pytest

import minidl as dl
from minidl import nn


def test_flatten_and_unflatten():
    x = dl.Tensor(np.random.default_rng(0).standard_normal((2, 3, 7, 7)).astype(np.float32))
    np.testing.assert_array_equal(nn.Flatten()(x).data, x.data.reshape(2, -1))
    np.testing.assert_array_equal(nn.Flatten(0, 1)(x).data, x.data.reshape(6, 7, 7))
    np.testing.assert_array_equal(nn.Unflatten(1, (3, -1, 7))(nn.Flatten()(x)).data, x.data)
    assert repr(nn.Flatten()) == "Flatten(start_dim=1, end_dim=-1)"
    assert repr(nn.Unflatten(1, [3, 4])) == "Unflatten(dim=1, unflattened_size=(3, 4))"


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: nn.Unflatten(1.0, (2,)), TypeError, "Unflatten: dim must be an integer, got 1.0"),
        (lambda: nn.Unflatten(1, 2), TypeError, "unflattened_size must be a tuple or list of integers, got 2"),
        (lambda: nn.Unflatten(1, (2, 2))(dl.tensor([[1.0] * 5])), ValueError, "must multiply to 5"),
    ],
)
def test_misuse_is_named(build, error, message):
    with pytest.raises(error, match=message):
        build()
