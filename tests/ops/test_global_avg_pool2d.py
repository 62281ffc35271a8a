"""global_avg_pool2d."""

import numpy as np
import pytest
from helpers import check_against_torch, check_second_gradient, close, layouts, normal
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as dl
from minidl import ops


def functional():
    return pytest.importorskip("torch").nn.functional


def results(f, *arrays):
    """The value and the gradients, for a random cotangent."""
    leaves = [dl.Tensor(a, True) for a in arrays]
    y = f(*leaves)
    y.backward(normal(*y.shape, dtype=y.dtype, seed=9))
    return [y.data, *(leaf.grad.data for leaf in leaves)]


def same_on_all_forms_threads_and_layouts(f, small, large):
    """`small` as the reference kernel says, behind all strides; `large`, which is worth two threads, bit for bit."""
    first = results(f, *small)
    with dl.use_kernels("reference"):
        for got, expected in zip(first, results(f, *small), strict=True):
            close(got, expected, 1e-12)
    for name, x in layouts(small[0]):
        for got, expected in zip(results(f, x, *small[1:]), first, strict=True):
            assert np.array_equal(got, expected), name
    threads = dl.get_num_threads()
    several = results(f, *large)
    try:
        dl.set_num_threads(1)
        for got, expected in zip(results(f, *large), several, strict=True):
            assert np.array_equal(got, expected)
    finally:
        dl.set_num_threads(threads)


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
