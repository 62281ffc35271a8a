"""avg_pool2d."""

import numpy as np
import pytest
from helpers import (
    check_against_torch,
    check_second_gradient,
    functional,
    normal,
    same_on_all_forms_threads_and_layouts,
)
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import minidl as dl
from minidl import ops


@given(st.data())
@settings(max_examples=80, deadline=None, derandomize=True)
def test_any_geometry(data):
    def draw(low, high):
        return tuple(data.draw(st.integers(low, high)) for _ in range(2))

    kernel, stride, size = draw(1, 4), draw(1, 5), draw(1, 9)
    padding = tuple(data.draw(st.integers(0, k // 2)) for k in kernel)
    assume(all(k <= n + 2 * p for k, n, p in zip(kernel, size, padding, strict=True)))
    options = data.draw(st.booleans()), data.draw(st.booleans()), data.draw(st.sampled_from([None, 1, 7, -2]))
    shape = data.draw(st.integers(0, 2)), data.draw(st.sampled_from([1, 2, 3, 8, 17, 33, 67])), *size
    check_against_torch(
        lambda x: ops.avg_pool2d(x, kernel, stride, padding, *options),
        lambda x: functional().avg_pool2d(x, kernel, stride, padding, *options),
        normal(*shape, dtype=data.draw(st.sampled_from([np.float32, np.float64]))),
    )


@pytest.mark.parametrize("geometry", [(2,), (3, 2, 1), (3, 2, 1, True, False), ((2, 3), 1, 0, False, True, 5)])
def test_derivatives(geometry):
    check_second_gradient(lambda x: ops.avg_pool2d(x, *geometry), normal(2, 2, 6, 7))


def test_ceil_mode_counts_the_border_but_not_what_lies_beyond():
    x = dl.Tensor(np.ones((1, 1, 5, 5)))
    assert ops.avg_pool2d(x, 2, ceil_mode=True).tolist() == [[[[1.0] * 3] * 3]]
    y = ops.avg_pool2d(x, 3, 3, 1, ceil_mode=True).data
    assert y[0, 0, 0, 0] == pytest.approx(4 / 9) and ops.avg_pool2d(x, 3, 3, 1, True, False).data.min() == 1


def test_nan_and_infinity_stay_in_their_windows():
    x = np.ones((1, 1, 6, 6), np.float32)
    x[0, 0, 0, 0], x[0, 0, 5, 5], x[0, 0, 4, 0], x[0, 0, 5, 1] = np.nan, np.inf, np.inf, -np.inf
    y = ops.avg_pool2d(dl.Tensor(x), 2).data[0, 0]
    assert np.isnan(y[0, 0]) and y[2, 2] == np.inf and np.isnan(y[2, 0]) and (y == 1).sum() == 6


def test_forms_threads_and_layouts():
    def f(x):
        return ops.avg_pool2d(x, 3, 2, 1, True, False)

    same_on_all_forms_threads_and_layouts(f, [normal(2, 5, 6, 7)], [normal(1, 19, 150, 151, dtype=np.float32)])


X = dl.Tensor(np.zeros((2, 4, 6, 5)))


@pytest.mark.parametrize(
    "args, options, error, match",
    [
        ((X, 7), {}, ValueError, "a window of 7×7 .* does not fit the input's 6×5 pixels"),
        ((X, 2), {"padding": 2}, ValueError, r"padding \(2, 2\) must be at most half of kernel_size \(2, 2\)"),
        ((X, 2), {"stride": 0}, ValueError, "stride must be at least 1, got 0"),
        ((X, 2), {"padding": -1}, ValueError, "padding must be at least 0, got -1"),
        ((X, 2), {"divisor_override": 0}, ValueError, "divisor_override must be an integer other than 0, got 0"),
        ((X, 2.0), {}, TypeError, "kernel_size must be an integer or a pair of integers, got 2.0"),
        ((X[:, :, :0], 1), {}, ValueError, "with pixels, got shape"),
        ((X[0, 0], 1), {}, ValueError, "input must be"),
        ((X.astype("complex64"), 2), {}, TypeError, "input must be float32 or float64, got complex64"),
    ],
)
def test_errors(args, options, error, match):
    with pytest.raises(error, match=f"avg_pool2d: .*{match}"):
        ops.avg_pool2d(*args, **options)
