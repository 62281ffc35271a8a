"""group_norm and instance_norm."""

import numpy as np
import pytest
from helpers import check_against_torch, close, functional, layouts, normal

import minidl as dl
from minidl import ops
from minidl.kernels import get_num_threads

# shape, groups
CASES = [
    ((2, 6, 3, 4), 3), ((2, 6, 3, 4), 1), ((2, 6, 3, 4), 6), ((3, 6), 2), ((2, 4, 5), 2), ((1, 67, 2, 3), 67),
    ((2, 66, 9, 8), 11), ((0, 6, 2, 2), 2),
]  # fmt: skip


def to_torch(x):
    return pytest.importorskip("torch").from_numpy(x.copy())


def arrays(shape, dtype=np.float64):
    return normal(*shape, dtype=dtype), *(normal(shape[1], dtype=dtype, seed=s) for s in (1, 2))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape, groups", CASES, ids=str)
def test_group_norm_as_pytorch(shape, groups, dtype):
    check_against_torch(
        lambda x, w, b: ops.group_norm(x, groups, w, b, 1e-3),
        lambda x, w, b: functional().group_norm(x, groups, w, b, 1e-3),
        *arrays(shape, dtype), atol=1e-5 if dtype == np.float32 else 1e-12,
    )  # fmt: skip


@pytest.mark.parametrize("use_input_stats", [True, False])
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (3, 4, 6), (1, 67, 3, 2)], ids=str)
def test_instance_norm_as_pytorch(shape, use_input_stats):
    stats = normal(shape[1], seed=3), np.abs(normal(shape[1], seed=4)) + 0.5
    ours, theirs = [s.copy() for s in stats], [to_torch(s) for s in stats]
    check_against_torch(
        lambda x, w, b: ops.instance_norm(x, *ours, w, b, use_input_stats, 0.3),
        lambda x, w, b: functional().instance_norm(x, *theirs, w, b, use_input_stats, 0.3),
        *arrays(shape), atol=1e-10,
    )  # fmt: skip
    for a, b, old in zip(ours, theirs, stats, strict=True):
        close(a, b.numpy(), 1e-12)
        assert np.array_equal(a, old) != use_input_stats


@pytest.mark.parametrize("shape, groups", CASES[:5], ids=str)
def test_derivatives(shape, groups):
    def f(x, w, b):
        return ops.group_norm(x, groups, w, b)

    def instance(x, w, b):
        return ops.instance_norm(x, None, None, w, b)

    assert dl.gradcheck(f, arrays(shape)) and dl.gradgradcheck(f, arrays(shape))
    if len(shape) > 2:
        assert dl.gradcheck(instance, arrays(shape)) and dl.gradgradcheck(instance, arrays(shape))


@pytest.mark.parametrize("offset, scale", [(1e4, 1.0), (1e6, 1.0), (1.0, 1e-4), (0.0, 1e-6)])
def test_float32_keeps_its_digits_far_from_zero(offset, scale):
    x = (offset + scale * normal(2, 6, 20, 21)).astype(np.float32)
    exact = x.astype(np.float64).reshape(2, 3, -1)
    rstd = 1 / np.sqrt(exact.var(2, keepdims=True) + 1e-12)
    xhat = (exact - exact.mean(2, keepdims=True)) * rstd
    leaf = dl.Tensor(x, True)
    y = ops.group_norm(leaf, 3, eps=1e-12)
    close(y.data, xhat.reshape(x.shape), 1e-5)
    g = normal(*x.shape, seed=1, dtype=np.float32)
    y.backward(g)
    g = g.astype(np.float64).reshape(exact.shape)
    expected = rstd * (g - g.mean(2, keepdims=True) - xhat * (g * xhat).mean(2, keepdims=True))
    close(leaf.grad.data, expected.reshape(x.shape), 1e-5)


def test_one_group_is_layer_norm_and_a_group_per_channel_instance_norm():
    x = normal(2, 6, 3, 4)
    close(ops.group_norm(x, 1).data, ops.layer_norm(x, (6, 3, 4)).data, 1e-12)
    close(ops.group_norm(x, 6).data, ops.instance_norm(x).data, 1e-12)


def test_nan_stays_in_its_group():
    x = normal(2, 6, 3, 4, dtype=np.float32)
    x[0, 0, 0, 0] = np.nan
    y = ops.group_norm(x, 3).data
    assert np.isnan(y[0, :2]).all() and np.isfinite(y[0, 2:]).all() and np.isfinite(y[1]).all()


def test_any_layout_gives_the_same_bits():
    x, gradient, first = normal(2, 6, 4, 3, dtype=np.float32), normal(2, 6, 4, 3, dtype=np.float32, seed=1), None
    for name, i in layouts(x):
        leaf = dl.Tensor(i, True)
        y = ops.group_norm(leaf, 2)
        y.backward(dl.Tensor(gradient))
        first = first or (y.data, leaf.grad.data)
        assert np.array_equal(y.data, first[0]) and np.array_equal(leaf.grad.data, first[1]), name
    assert y.data.transpose(0, 2, 3, 1).flags.c_contiguous


def test_one_and_two_threads_give_the_same_bits():
    threads, results = get_num_threads(), []
    try:
        for count in (1, min(2, threads)):
            dl.set_num_threads(count)
            leaves = [dl.Tensor(a, True) for a in arrays((1, 48, 71, 53), np.float32)]
            y = ops.group_norm(leaves[0], 4, *leaves[1:])
            y.backward(normal(*y.shape, dtype=np.float32, seed=6))
            results.append([y.data, *(leaf.grad.data for leaf in leaves)])
    finally:
        dl.set_num_threads(threads)
    assert all(np.array_equal(a, b) for a, b in zip(*results, strict=True))


X = normal(2, 6, 3, 4)


@pytest.mark.parametrize(
    "call, error, match",
    [
        (lambda: ops.group_norm(X, 4), ValueError, r"num_groups \(=4\) must divide the input's channels \(=6\)"),
        (lambda: ops.group_norm(X, 0), ValueError, r"num_groups \(=0\) must divide"),
        (lambda: ops.group_norm(X, 2.0), TypeError, "num_groups must be an integer, got 2.0"),
        (lambda: ops.group_norm(X[0, 0, 0], 1), ValueError, r"input must be \(N, C\) or \(N, C, \*\)"),
        (lambda: ops.group_norm(X, 2, np.ones(2)), ValueError, r"weight must have shape \(6,\), got \(2,\)"),
        (lambda: ops.group_norm(X[:1, :, 0, 0], 6), ValueError, "groups must have more than one value"),
        (lambda: ops.instance_norm(X[:, :, 0, 0]), ValueError, "with an axis after the channels"),
        (lambda: ops.instance_norm(X[:, :, :1, 0]), ValueError, "more than one pixel is needed"),
        (lambda: ops.instance_norm(X, use_input_stats=False), ValueError, "must be given where use_input_stats"),
        (lambda: ops.instance_norm(X, np.ones(2), np.ones(6)), ValueError, r"running_mean must have shape \(6,\)"),
    ],
)  # fmt: skip
def test_errors(call, error, match):
    with pytest.raises(error, match=match):
        call()
