"""batch_norm and batch_norm_relu."""

import numpy as np
import pytest
from helpers import check_against_torch, check_second_gradient, close, functional, layouts, normal
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as dl
from minidl import ops
from minidl.kernels import get_num_threads

SHAPES = [(7, 3), (4, 3, 5), (2, 3, 4, 5), (5, 1, 2, 1), (2, 67, 3, 3), (0, 3, 4, 4)]


def to_torch(x):
    return pytest.importorskip("torch").from_numpy(x.copy())


def weights(channels, dtype=np.float64):
    return normal(channels, dtype=dtype, seed=1), normal(channels, dtype=dtype, seed=2)


def running(channels, dtype=np.float64):
    return normal(channels, dtype=dtype, seed=3), np.abs(normal(channels, dtype=dtype, seed=4)) + 0.5


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_pytorch_gives_the_same(shape, dtype, training):
    stats = running(shape[1], dtype)
    ours, theirs = [s.copy() for s in stats], [to_torch(s) for s in stats]
    check_against_torch(
        lambda x, w, b: ops.batch_norm(x, *ours, w, b, training, 0.2, 1e-3),
        lambda x, w, b: functional().batch_norm(x, *theirs, w, b, training, 0.2, 1e-3),
        normal(*shape, dtype=dtype), *weights(shape[1], dtype), atol=1e-5 if dtype == np.float32 else 1e-12,
    )  # fmt: skip
    for a, b, old in zip(ours, theirs, stats, strict=True):
        close(a, b.numpy(), 1e-6 if dtype == np.float32 else 1e-13, "running statistics")
        assert np.array_equal(a, old) == (not training or shape[0] == 0)


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_relu_and_residual(shape, training, residual):
    stats = running(shape[1])

    def ours(x, w, b, *r):
        kept = [s.copy() for s in stats]
        return ops.batch_norm_relu(x, *kept, w, b, training, residual=r[0] if r else None)

    def theirs(x, w, b, *r):
        y = functional().batch_norm(x, *map(to_torch, stats), w, b, training)
        return functional().relu(y + r[0] if r else y)

    arrays = [normal(*shape), *weights(shape[1]), *([normal(*shape, seed=5)] if residual else [])]
    check_against_torch(ours, theirs, *arrays, atol=1e-12)


@given(st.data())
@settings(max_examples=30, deadline=None, derandomize=True)
def test_any_shape(data):
    channels = data.draw(st.integers(1, 67))
    shape = (data.draw(st.integers(2, 5)), channels, *data.draw(st.lists(st.integers(1, 4), max_size=2)))
    check_against_torch(
        lambda x, w, b: ops.batch_norm(x, None, None, w, b, True),
        lambda x, w, b: functional().batch_norm(x, None, None, w, b, True),
        normal(*shape), *weights(channels), rtol=1e-8, atol=1e-8,
    )  # fmt: skip


@pytest.mark.parametrize("training", [True, False])
def test_derivatives(training):
    stats = running(3)
    for f in (ops.batch_norm, ops.batch_norm_relu):

        def call(x, w, b, f=f):
            return f(x, *(s.copy() for s in stats), w, b, training)

        check_second_gradient(call, normal(2, 3, 2, 2), *weights(3), rtol=1e-5)
        x = normal(2, 3, 4, 5)
        assert dl.gradcheck(call, (x, *weights(3))) and dl.gradgradcheck(call, (x, *weights(3)))


@pytest.mark.parametrize("offset, scale", [(1e4, 1.0), (1e6, 1.0), (-1e4, 0.5), (1.0, 1e-4), (0.0, 1e-6), (0, 1e6)])
def test_float32_keeps_its_digits_far_from_zero(offset, scale):
    """E[x^2] - E[x]^2 in float32 would leave nothing: its rounding is 1e8 * 6e-8 for a mean of 1e4."""
    x = (offset + scale * normal(8, 5, 20, 20)).astype(np.float32)
    exact = x.astype(np.float64)
    mean, var = exact.mean((0, 2, 3), keepdims=True), exact.var((0, 2, 3), keepdims=True)
    xhat = (exact - mean) / np.sqrt(var + 1e-12)
    leaf = dl.Tensor(x, True)
    kept = np.zeros(5), np.zeros(5)
    y = ops.batch_norm(leaf, *kept, training=True, momentum=1.0, eps=1e-12)
    close(y.data, xhat, 1e-5)
    close(kept[0], mean.reshape(-1), 1e-9, atol=1e-7 * scale)
    close(kept[1], var.reshape(-1) * 3200 / 3199, 1e-5)
    g = normal(*x.shape, seed=1, dtype=np.float32)
    y.backward(g)
    wide = g.astype(np.float64)
    over = {"axis": (0, 2, 3), "keepdims": True}
    expected = (wide - wide.mean(**over) - xhat * (wide * xhat).mean(**over)) / np.sqrt(var + 1e-12)
    close(leaf.grad.data, expected, 1e-5)


def test_nan_and_infinities_stay_in_their_channel():
    x = normal(4, 3, 2, 2, dtype=np.float32)
    x[0, 0, 0, 0], x[1, 1, 0, 0] = np.nan, np.inf
    kept = np.zeros(3, np.float32), np.ones(3, np.float32)
    y = ops.batch_norm(dl.Tensor(x), *kept, training=True)
    assert np.isnan(y.data[:, :2]).all() and np.isfinite(y.data[:, 2]).all()
    theirs = to_torch(np.zeros(3, np.float32)), to_torch(np.ones(3, np.float32))
    expected = functional().batch_norm(to_torch(x), *theirs, training=True)
    close(y.data, expected.numpy(), 1e-5)
    for a, b in zip(kept, theirs, strict=True):
        close(a, b.numpy(), 1e-5)
    relu = ops.batch_norm_relu(dl.Tensor(x), None, None, training=True)
    assert np.isnan(relu.data[:, :2]).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_any_layout_gives_the_same_bits(dtype):
    x, gradient, first = normal(2, 5, 4, 3, dtype=dtype), normal(2, 5, 4, 3, dtype=dtype, seed=1), None
    for (name, i), (_, j) in zip(layouts(x), reversed(list(layouts(gradient))), strict=True):
        leaf = dl.Tensor(i, True)
        y = ops.batch_norm(leaf, None, None, training=True)
        y.backward(dl.Tensor(j))
        first = first or (y.data, leaf.grad.data)
        assert np.array_equal(y.data, first[0]) and np.array_equal(leaf.grad.data, first[1]), name
    assert y.data.transpose(0, 2, 3, 1).flags.c_contiguous and leaf.grad.data.transpose(0, 2, 3, 1).flags.c_contiguous


def test_one_and_two_threads_give_the_same_bits():
    threads, results = get_num_threads(), []
    x, r = normal(8, 48, 31, 17, dtype=np.float32), normal(8, 48, 31, 17, dtype=np.float32, seed=5)
    try:
        for count in (1, min(2, threads)):
            dl.set_num_threads(count)
            leaves = [dl.Tensor(a, True) for a in (x, *weights(48, np.float32), r)]
            kept = np.zeros(48), np.ones(48)
            y = ops.batch_norm_relu(leaves[0], *kept, *leaves[1:3], True, residual=leaves[3])
            y.backward(normal(*x.shape, dtype=np.float32, seed=6))
            results.append([y.data, *kept, *(leaf.grad.data for leaf in leaves)])
    finally:
        dl.set_num_threads(threads)
    assert all(np.array_equal(a, b) for a, b in zip(*results, strict=True))


def test_running_statistics_may_be_tensors():
    mean, var = dl.Tensor(np.zeros(3, np.float32)), dl.Tensor(np.ones(3, np.float32))
    saved = (mean * dl.Tensor(np.ones(3, np.float32), True)).sum()
    ops.batch_norm(dl.Tensor(normal(4, 3, dtype=np.float32), True), mean, var, training=True)
    assert mean.data.any() and not mean.requires_grad
    with pytest.raises(RuntimeError, match="changed in place afterwards by batch_norm"):
        saved.backward()


def test_evaluation_remembers_the_statistics_of_its_call():
    mean, var = dl.Tensor(np.zeros(3)), dl.Tensor(np.ones(3))
    x = dl.Tensor(normal(4, 3), True)
    y = ops.batch_norm(x, mean, var, eps=0.0)
    ops.batch_norm(x.detach(), mean, var, training=True)
    y.backward(np.ones((4, 3)))
    assert np.array_equal(x.grad.data, np.ones((4, 3)))


X = normal(2, 3, 4, 5)


@pytest.mark.parametrize(
    "args, options, error, match",
    [
        ((X, None, None), {}, ValueError, "running_mean and running_var must be given where training is False"),
        ((X, np.zeros(3), None), {"training": True}, ValueError, "running_var is None"),
        ((X, np.zeros(2), np.ones(3)), {}, ValueError, r"running_mean must have shape \(3,\), got \(2,\)"),
        ((X, np.zeros(3), np.ones((3, 1))), {}, ValueError, r"running_var must have shape \(3,\), got \(3, 1\)"),
        ((X, np.zeros(3, int), np.ones(3)), {}, TypeError, "running_mean must be a floating-point Tensor"),
        ((X, None, None, np.ones(4)), {"training": True}, ValueError, r"weight must have shape \(3,\), got \(4,\)"),
        ((X, None, None, np.ones(3, np.float32)), {"training": True}, TypeError, "weight must be float64 as input"),
        ((X[:1, :, :1, :1], None, None), {"training": True}, ValueError, "needs more than one value per channel"),
        ((X[0, 0, 0], None, None), {"training": True}, ValueError, r"input must be \(N, C\) or .* got shape \(5,\)"),
        ((X, None, None), {"training": True, "momentum": "a"}, TypeError, "momentum must be a number, got 'a'"),
        ((X.astype(np.float16), None, None), {"training": True}, TypeError, "float32 or float64, got float16"),
    ],
)
def test_errors(args, options, error, match):
    for name in ("batch_norm", "batch_norm_relu"):
        with pytest.raises(error, match=f"{name}: .*{match}"):
            getattr(ops, name)(*args, **options)
    with pytest.raises(ValueError, match="residual must be float64 of input's shape"):
        ops.batch_norm_relu(X, None, None, training=True, residual=X[:1])
