"""Convolutions hold the right weights and call the right operation."""

import numpy as np
import pytest

import minidl as dl
from minidl import nn


def images(*shape):
    return dl.Tensor(np.random.default_rng(0).standard_normal(shape).astype(np.float32))


def test_conv2d_settings_reach_the_operation():
    torch = pytest.importorskip("torch")
    layer = nn.Conv2d(4, 6, (3, 2), stride=(1, 2), padding=(2, 1), dilation=(2, 1), groups=2)
    x = images(2, 4, 9, 8)
    expected = torch.nn.functional.conv2d(
        torch.tensor(x.data), torch.tensor(layer.weight.data.copy()), torch.tensor(layer.bias.data),
        (1, 2), (2, 1), (2, 1), 2,
    )  # fmt: skip
    np.testing.assert_allclose(layer(x).data, expected.numpy(), rtol=1e-4, atol=1e-5)
    assert layer.weight.shape == (6, 2, 3, 2)
    assert layer.weight.data.transpose(2, 3, 1, 0).flags.c_contiguous  # as the kernels take it
    assert repr(layer) == ("Conv2d(4, 6, kernel_size=(3, 2), stride=(1, 2), padding=(2, 1), dilation=(2, 1), groups=2)")
    assert nn.Conv2d(1, 1, 3, padding="same", bias=False)(images(1, 1, 5, 5)).shape == (1, 1, 5, 5)


def test_conv_transpose2d_settings_reach_the_operation():
    torch = pytest.importorskip("torch")
    layer = nn.ConvTranspose2d(4, 6, (3, 2), (2, 3), (1, 0), (1, 2), groups=2, dilation=(1, 2))
    x = images(2, 4, 5, 4)
    expected = torch.nn.functional.conv_transpose2d(
        torch.tensor(x.data), torch.tensor(layer.weight.data.copy()), torch.tensor(layer.bias.data),
        (2, 3), (1, 0), (1, 2), 2, (1, 2),
    )  # fmt: skip
    np.testing.assert_allclose(layer(x).data, expected.numpy(), rtol=1e-4, atol=1e-5)
    assert layer.weight.shape == (4, 3, 3, 2)
    assert repr(layer) == (
        "ConvTranspose2d(4, 6, kernel_size=(3, 2), stride=(2, 3), padding=(1, 0), output_padding=(1, 2), "
        "dilation=(1, 2), groups=2)"
    )


def test_conv_transpose2d_keeps_the_scale():
    """Of rectified noise, whose mean square is 1/2: He's rule."""
    dl.manual_seed(0)
    y = nn.ConvTranspose2d(64, 64, 4, 2, bias=False)(dl.Tensor(np.maximum(images(2, 64, 16, 16).data, 0))).data
    assert y[:, :, 4:-4, 4:-4].var() == pytest.approx(1, rel=0.15)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: nn.Conv2d(3, 4, 3, groups=2), r"Conv2d: in_channels \(=3\) must be divisible by groups \(=2\)"),
        (lambda: nn.Conv2d(4, 3, 3, groups=2), r"Conv2d: out_channels \(=3\) must be divisible by groups \(=2\)"),
        (lambda: nn.Conv2d(3, 4, 0), "Conv2d: kernel_size must be at least 1, got 0"),
        (lambda: nn.Conv2d(3, 4, 3, stride=0), "Conv2d: stride must be at least 1, got 0"),
        (lambda: nn.Conv2d(3, 4, 3, padding=-1), "Conv2d: padding must be at least 0, got -1"),
        (lambda: nn.ConvTranspose2d(3, 4, 3, groups=2), r"ConvTranspose2d: in_channels \(=3\) must be divisible"),
        (lambda: nn.ConvTranspose2d(3, 0, 3), "ConvTranspose2d: out_channels must be a positive integer, got 0"),
    ],
)
def test_wrong_sizes_are_named(build, message):
    with pytest.raises((ValueError, TypeError), match=message):
        build()
