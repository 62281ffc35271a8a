"""Rows on a GPU: what operations join, pad and cut out is copied by the kernel, 16 bytes at a time where it can be."""

import numpy as np
import pytest
from helpers import normal

import minidl as dl
from minidl import kernels
from minidl.kernels import _cuda

WIDE, NARROW = "copy_rows.forward<{}, float4>", "copy_rows.forward<{0}, {0}>"


def image(channels, dtype, seed=0):
    return normal(2, 40, 31, channels, dtype=dtype, seed=seed).transpose(0, 3, 1, 2)


@pytest.fixture
def launches():
    """The names of the latest ones."""
    _cuda._recent.clear()
    return _cuda._recent


@pytest.mark.parametrize(("dtype", "c_type"), [("float32", "float"), ("float64", "double"), ("float16", "half")])
@pytest.mark.parametrize(("channels", "name"), [((24, 16), WIDE), ((24, 17), NARROW)], ids=["sixteens", "elements"])
def test_images_are_joined_along_their_channels(cupy, launches, channels, name, dtype, c_type):
    parts = [image(c, dtype, seed) for seed, c in enumerate(channels)]
    y = dl.ops.cat([dl.Tensor(part).cuda() for part in parts], 1)
    assert set(launches) == {name.format(c_type)}
    np.testing.assert_array_equal(y.cpu().numpy(), np.concatenate(parts, 1))


@pytest.mark.parametrize("channels", [32, 33])
def test_a_border_of_a_constant(cupy, launches, channels):
    x = image(channels, "float32")
    y = dl.ops.pad(dl.Tensor(x).cuda(), (1, 2, 3, 0), value=7.0)
    assert "copy_rows" in launches[-1]
    np.testing.assert_array_equal(y.cpu().numpy(), np.pad(x, [(0, 0), (0, 0), (3, 0), (1, 2)], constant_values=7))


def test_every_second_pixel_and_its_gradient(cupy, launches):
    x = dl.Tensor(image(64, "float32")).cuda().detach().requires_grad_()
    y = x[:, :, ::2, ::2]
    g = normal(*y.shape, dtype=np.float32)
    (gx,) = dl.grad(y, x, dl.Tensor(g.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2)).cuda())
    expected = np.zeros(x.shape, np.float32)
    expected[:, :, ::2, ::2] = g
    assert WIDE.format("float") in launches
    np.testing.assert_array_equal(gx.cpu().numpy(), expected)


@pytest.mark.parametrize("turn", [lambda a: a[:, ::-1], lambda a: a.transpose(0, 2, 1, 3), lambda a: a[..., ::2]])
@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_any_layout_becomes_contiguous(cupy, turn, dtype):
    array = (100 * normal(3, 40, 32, 20)).astype(dtype)
    y = kernels.contiguous(turn(cupy.asarray(array)))
    assert y.flags.c_contiguous
    np.testing.assert_array_equal(y.get(), turn(array))
