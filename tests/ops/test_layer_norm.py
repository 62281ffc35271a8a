"""layer_norm."""

import numpy as np
import pytest
from helpers import check_against_torch, check_second_gradient, close, functional, layouts, normal
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as dl
from minidl import ops
from minidl.kernels import get_num_threads

# shape, normalized_shape
CASES = [
    ((4, 5), (5,)), ((5,), (5,)), ((2, 3, 5), (5,)), ((2, 3, 5), (3, 5)), ((2, 3, 4, 5), (3, 4, 5)),
    ((2, 3, 4, 5), (5,)), ((2, 3, 4, 5), (4, 5)), ((2, 3, 4, 5), (2, 3, 4, 5)), ((131, 67), (67,)), ((0, 5), (5,)),
    ((0, 3, 4, 5), (3, 4, 5)),
]  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape, normalized", CASES, ids=str)
def test_pytorch_gives_the_same(shape, normalized, dtype):
    x, w, b = normal(*shape, dtype=dtype), *(normal(*normalized, dtype=dtype, seed=s) for s in (1, 2))
    atol = 1e-5 if dtype == np.float32 else 1e-12
    check_against_torch(
        lambda x, w, b: ops.layer_norm(x, normalized, w, b, 1e-3),
        lambda x, w, b: functional().layer_norm(x, normalized, w, b, 1e-3),
        x, w, b, atol=atol,
    )  # fmt: skip
    check_against_torch(
        lambda x: ops.layer_norm(x, normalized), lambda x: functional().layer_norm(x, normalized), x, atol=atol
    )


@given(st.data())
@settings(max_examples=30, deadline=None, derandomize=True)
def test_any_shape(data):
    shape = tuple(data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=4)))
    normalized = (*shape[data.draw(st.integers(0, len(shape) - 1)) + 1 :], data.draw(st.integers(2, 67)))
    shape = (*shape, normalized[-1]) if len(normalized) == 1 else (*shape, normalized[-1])
    check_against_torch(
        lambda x, w: ops.layer_norm(x, normalized, w), lambda x, w: functional().layer_norm(x, normalized, w),
        normal(*shape), normal(*normalized, seed=1), rtol=1e-8, atol=1e-8,
    )  # fmt: skip


@pytest.mark.parametrize("shape, normalized", CASES[:7], ids=str)
def test_derivatives(shape, normalized):
    def f(x, w, b):
        return ops.layer_norm(x, normalized, w, b)

    arrays = normal(*shape), normal(*normalized, seed=1), normal(*normalized, seed=2)
    if shape == (2, 3, 5):
        check_second_gradient(f, *arrays, rtol=1e-5)
    assert dl.gradcheck(f, arrays) and dl.gradgradcheck(f, arrays)


@pytest.mark.parametrize("offset, scale", [(1e4, 1.0), (1e6, 1.0), (1.0, 1e-4), (0.0, 1e-6), (0.0, 1e6)])
@pytest.mark.parametrize("size", [7, 64, 3000])
def test_float32_keeps_its_digits_far_from_zero(offset, scale, size):
    x = (offset + scale * normal(6, size)).astype(np.float32)
    exact = x.astype(np.float64)
    rstd = 1 / np.sqrt(exact.var(1, keepdims=True) + 1e-12)
    xhat = (exact - exact.mean(1, keepdims=True)) * rstd
    leaf = dl.Tensor(x, True)
    y = ops.layer_norm(leaf, size, eps=1e-12)
    close(y.data, xhat, 1e-5)
    g = normal(6, size, seed=1, dtype=np.float32)
    y.backward(g)
    expected = rstd * (g - g.mean(1, keepdims=True, dtype=np.float64) - xhat * (g * xhat).mean(1, keepdims=True))
    close(leaf.grad.data, expected, 1e-5)


def test_nan_and_infinities_stay_in_their_row():
    x = normal(4, 6, dtype=np.float32)
    x[0, 0], x[1, 2] = np.nan, np.inf
    y = ops.layer_norm(x, 6).data
    assert np.isnan(y[:2]).all() and np.isfinite(y[2:]).all()


def test_batch_norm_works_by_columns_and_layer_norm_by_rows():
    """On one matrix each is the other of its transpose."""
    x = normal(5, 7)
    columns = ops.batch_norm(x, None, None, training=True).data
    rows = ops.layer_norm(np.ascontiguousarray(x.T), 5).data
    close(columns, rows.T, 1e-12)
    close(columns.mean(0), np.zeros(7), 1e-12, atol=1e-12)
    close(ops.layer_norm(x, 7).data.mean(1), np.zeros(5), 1e-12, atol=1e-12)


@pytest.mark.parametrize("normalized", [(5, 4, 3), (4, 3), (3,)])
def test_any_layout_gives_the_same_bits(normalized):
    x, gradient, first = normal(2, 5, 4, 3, dtype=np.float32), normal(2, 5, 4, 3, dtype=np.float32, seed=1), None
    for name, i in layouts(x):
        leaf, w = dl.Tensor(i, True), dl.Tensor(normal(*normalized, dtype=np.float32), True)
        y = ops.layer_norm(leaf, normalized, w)
        y.backward(dl.Tensor(gradient))
        first = first or (y.data, leaf.grad.data, w.grad.data)
        for got, expected in zip((y.data, leaf.grad.data, w.grad.data), first, strict=True):
            assert np.array_equal(got, expected), name
    if len(normalized) == 3:
        assert y.data.transpose(0, 2, 3, 1).flags.c_contiguous


def test_one_and_two_threads_give_the_same_bits():
    threads, results = get_num_threads(), []
    try:
        for count in (1, min(2, threads)):
            dl.set_num_threads(count)
            leaves = [dl.Tensor(normal(*s, dtype=np.float32), True) for s in ((700, 301), (301,), (301,))]
            y = ops.layer_norm(leaves[0], 301, *leaves[1:])
            y.backward(normal(700, 301, dtype=np.float32, seed=6))
            results.append([y.data, *(leaf.grad.data for leaf in leaves)])
    finally:
        dl.set_num_threads(threads)
    assert all(np.array_equal(a, b) for a, b in zip(*results, strict=True))


X = normal(2, 3, 4)


@pytest.mark.parametrize(
    "args, error, match",
    [
        ((X, 3), ValueError, r"the last axes of input \(shape \(2, 3, 4\)\) must be normalized_shape \(=\(3,\)\)"),
        ((X, (1, 2, 3, 4)), ValueError, "the last axes of input"),
        ((X, ()), TypeError, "normalized_shape must be an integer or several"),
        ((X, 4.0), TypeError, "normalized_shape must be an integer or several, got 4.0"),
        ((X, 4, np.ones(3)), ValueError, r"weight must have shape \(4,\), got \(3,\)"),
        ((X, 4, None, np.ones((1, 4))), ValueError, r"bias must have shape \(4,\), got \(1, 4\)"),
        ((X, 4, np.ones(4, np.float32)), TypeError, "weight must be float64 as input is, got float32"),
    ],
)
def test_errors(args, error, match):
    with pytest.raises(error, match=match):
        ops.layer_norm(*args)
