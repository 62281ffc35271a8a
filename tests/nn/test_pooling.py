"""Pooling layers call the right operation with their settings."""

import numpy as np
import pytest

import minidl as dl
from minidl import nn, ops


def images(*shape):
    return dl.Tensor(np.random.default_rng(0).standard_normal(shape).astype(np.float32))


def test_settings_reach_the_operations():
    x = images(2, 3, 7, 8)
    for layer, expected in (
        (nn.MaxPool2d(3, 2, 1, ceil_mode=True), ops.max_pool2d(x, 3, 2, 1, ceil_mode=True)),
        (nn.AvgPool2d((3, 2), 2, 1, True, False), ops.avg_pool2d(x, (3, 2), 2, 1, True, False)),
        (nn.AvgPool2d(2, divisor_override=3), ops.avg_pool2d(x, 2, divisor_override=3)),
        (nn.AdaptiveAvgPool2d((2, None)), ops.adaptive_avg_pool2d(x, (2, None))),
        (nn.GlobalAvgPool2d(), ops.global_avg_pool2d(x)),
    ):
        np.testing.assert_array_equal(layer(x).data, expected.data)
    assert repr(nn.AvgPool2d(2, ceil_mode=True)) == (
        "AvgPool2d(kernel_size=(2, 2), stride=(2, 2), padding=(0, 0), ceil_mode=True)"
    )
    assert repr(nn.AdaptiveAvgPool2d(6)) == "AdaptiveAvgPool2d(output_size=(6, 6))"


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: nn.MaxPool2d((1, 2, 3)), "MaxPool2d: kernel_size must be an integer or a pair"),
        (lambda: nn.AvgPool2d(0), "AvgPool2d: kernel_size must be at least 1, got 0"),
        (lambda: nn.AdaptiveAvgPool2d(-1), "AdaptiveAvgPool2d: output_size must not be negative, got -1"),
    ],
)
def test_wrong_sizes_are_named(build, message):
    with pytest.raises((ValueError, TypeError), match=message):
        build()
