"""local_response_norm."""

import numpy as np
import pytest
from helpers import check_against_torch, check_second_gradient, close, functional, layouts, normal
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as dl
from minidl import ops
from minidl.kernels import get_num_threads


def same_as_pytorch(x, *args):
    check_against_torch(
        lambda x: ops.local_response_norm(x, *args), lambda x: functional().local_response_norm(x, *args), x
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(2, 7, 3, 4), (2, 7, 5), (3, 1, 2, 2), (2, 67, 2, 1)], ids=str)
@pytest.mark.parametrize("args", [(5,), (3, 0.7, 0.75, 2.0), (4, 0.5, 0.6, 1.0), (1, 0.5, 1.0), (9, 0.3)], ids=str)
def test_pytorch_gives_the_same(shape, args, dtype):
    same_as_pytorch(normal(*shape, dtype=dtype), *args)


@given(st.integers(1, 67), st.integers(1, 12), st.sampled_from([0.75, 0.5, 1.3]))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_any_window(channels, size, beta):
    same_as_pytorch(normal(2, channels, 3), size, 0.6, beta, 1.5)


@pytest.mark.parametrize("args", [(5, 0.8, 0.75, 1.5), (4, 0.8, 0.6, 1.5), (20, 0.8)])
def test_derivatives(args):
    x = normal(2, 6, 3, 4)
    check_second_gradient(lambda x: ops.local_response_norm(x, *args), normal(2, 5, 2), rtol=1e-5)
    assert dl.gradcheck(lambda x: ops.local_response_norm(x, *args), (x,))
    assert dl.gradgradcheck(lambda x: ops.local_response_norm(x, *args), (x,))


def test_the_papers_formula_written_out():
    """b[i] = a[i] / (k + alpha * sum from max(0, i - n/2) to min(N - 1, i + n/2) of a[j]^2)^beta, section 3.3."""
    a, (n, alpha, beta, k) = normal(2, 9, 2, 3), (5, 0.3, 0.75, 2.0)
    b = np.empty_like(a)
    for i in range(9):
        b[:, i] = a[:, i] / (k + alpha * (a[:, max(0, i - 2) : min(8, i + 2) + 1] ** 2).sum(1)) ** beta
    close(ops.local_response_norm(a, n, alpha, beta, k, divide_alpha=False).data, b, 1e-13)
    close(ops.local_response_norm(a, n, alpha * n, beta, k).data, b, 1e-13)


def test_an_empty_batch_and_nan():
    x = dl.Tensor(np.zeros((0, 3, 2)), True)
    ops.local_response_norm(x, 3).backward(np.zeros((0, 3, 2)))
    assert x.grad.shape == (0, 3, 2)
    x = normal(1, 9, 2, dtype=np.float32)
    x[0, 4, 0] = np.nan
    y = ops.local_response_norm(x, 3).data
    assert np.isnan(y[0, 3:6, 0]).all() and np.isnan(y).sum() == 3


def test_any_layout_and_thread_count_gives_the_same_bits():
    x, gradient, threads, first = normal(2, 96, 40, 9, dtype=np.float32), normal(2, 96, 40, 9, dtype=np.float32), (
        get_num_threads()), None  # fmt: skip
    try:
        for number, (name, i) in enumerate(layouts(x)):
            dl.set_num_threads(1 + number % min(2, threads))
            leaf = dl.Tensor(i, True)
            y = ops.local_response_norm(leaf, 5)
            y.backward(dl.Tensor(gradient))
            first = first or (y.data, leaf.grad.data)
            assert np.array_equal(y.data, first[0]) and np.array_equal(leaf.grad.data, first[1]), name
    finally:
        dl.set_num_threads(threads)


@pytest.mark.parametrize(
    "args, error, match",
    [
        ((normal(2, 3), 3), ValueError, r"input must be \(N, C, \*\) with an axis after the channels, got"),
        ((normal(2, 3, 4), 0), ValueError, "size must be at least 1, got 0"),
        ((normal(2, 3, 4), 2.5), TypeError, "size must be an integer, got 2.5"),
        ((normal(2, 3, 4), 3, "a"), TypeError, "alpha must be a number, got 'a'"),
        ((normal(2, 3, 4).astype(np.float16), 3), TypeError, "input must be float32 or float64, got float16"),
    ],
)  # fmt: skip
def test_errors(args, error, match):
    with pytest.raises(error, match=f"local_response_norm: .*{match}"):
        ops.local_response_norm(*args)
