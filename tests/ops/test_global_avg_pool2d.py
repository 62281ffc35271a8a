"""global_avg_pool2d."""

import numpy as np
import pytest
from helpers import (
    check_against_torch,
    check_second_gradient,
    functional,
    normal,
    same_on_all_forms_threads_and_layouts,
)
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as dl
from minidl import ops


@given(st.data())
@settings(max_examples=40, deadline=None, derandomize=True)
def test_any_size(data):
    shape = [data.draw(st.integers(*r)) for r in ((0, 3), (1, 67), (1, 20), (1, 20))]
    x = normal(*shape, dtype=data.draw(st.sampled_from([np.float32, np.float64])))
    check_against_torch(ops.global_avg_pool2d, lambda x: functional().adaptive_avg_pool2d(x, 1), x)


def test_derivatives():
    check_second_gradient(ops.global_avg_pool2d, normal(2, 3, 4, 5))


@pytest.mark.parametrize("channels", [1, 3, 64])
def test_large_images_lose_no_digits(channels):
    """A float32 sum of 360,000 pixels, one after the other, is wrong in the third digit."""
    x = (1e4 + normal(1, channels, 600, 600)).astype(np.float32)
    y = ops.global_avg_pool2d(dl.Tensor(x)).data.reshape(-1)
    np.testing.assert_allclose(y, x.reshape(channels, -1).mean(1, dtype=np.float64), rtol=2e-7)


def test_forms_threads_and_layouts():
    f = ops.global_avg_pool2d
    same_on_all_forms_threads_and_layouts(f, [normal(2, 5, 9, 7)], [normal(1, 19, 150, 151, dtype=np.float32)])


def test_an_image_without_batch_and_nan():
    x = normal(3, 4, 5)
    x[1, 2, 3] = np.nan
    y = ops.global_avg_pool2d(dl.Tensor(x))
    assert y.shape == (3, 1, 1) and np.isnan(y.data.reshape(-1)).tolist() == [False, True, False]


@pytest.mark.parametrize("shape", [(2, 3, 0, 4), (3, 4)])
def test_errors(shape):
    with pytest.raises(ValueError, match=r"global_avg_pool2d: input must be \(N, C, H, W\) .* with pixels, got shape"):
        ops.global_avg_pool2d(dl.Tensor(np.zeros(shape)))
