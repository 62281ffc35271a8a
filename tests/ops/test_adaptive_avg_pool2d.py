"""adaptive_avg_pool2d."""

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
@settings(max_examples=60, deadline=None, derandomize=True)
def test_any_size(data):
    sizes = st.integers(1, 9)
    shape = (
        data.draw(st.integers(0, 2)),
        data.draw(st.sampled_from([1, 2, 3, 17, 67])),
        data.draw(sizes),
        data.draw(sizes),
    )
    output = tuple(data.draw(st.one_of(st.none(), sizes)) for _ in range(2))
    check_against_torch(
        lambda x: ops.adaptive_avg_pool2d(x, output),
        lambda x: functional().adaptive_avg_pool2d(x, output),
        normal(*shape, dtype=data.draw(st.sampled_from([np.float32, np.float64]))),
    )


@pytest.mark.parametrize("size", [1, (3, 4), (7, 2)])
def test_derivatives(size):
    check_second_gradient(lambda x: ops.adaptive_avg_pool2d(x, size), normal(2, 2, 5, 6))


def test_windows_overlap_where_the_division_has_a_remainder():
    x = dl.Tensor(np.arange(5.0).reshape(1, 1, 1, 5), True)
    y = ops.adaptive_avg_pool2d(x, (1, 3))
    assert y.tolist() == [[[[0.5, 2.0, 3.5]]]]
    y.backward(np.array([[[[2.0, 3.0, 4.0]]]]))
    assert x.grad.tolist() == [[[[1, 2, 1, 3, 2]]]]


def test_forms_threads_and_layouts():
    def f(x):
        return ops.adaptive_avg_pool2d(x, (7, 4))

    same_on_all_forms_threads_and_layouts(f, [normal(2, 5, 9, 7)], [normal(1, 19, 150, 151, dtype=np.float32)])


X = dl.Tensor(np.zeros((2, 4, 6, 5)))


@pytest.mark.parametrize(
    "args, error, match",
    [
        ((X, -1), ValueError, "output_size must not be negative, got -1"),
        ((X, (1, 2, 3)), TypeError, "output_size must be an integer, None or a pair of these"),
        ((X, 1.5), TypeError, "output_size must be an integer, None or a pair of these, got 1.5"),
        ((X[:, :, :0], 1), ValueError, "with pixels, got shape"),
        ((X[0, 0], 1), ValueError, "input must be"),
    ],
)
def test_errors(args, error, match):
    with pytest.raises(error, match=f"adaptive_avg_pool2d: .*{match}"):
        ops.adaptive_avg_pool2d(*args)
