"""sort, argsort, topk and median."""

import numpy as np
import pytest
from helpers import check_against_torch, check_second_gradient, distinct, layouts, to_torch

import minidl as dl
from minidl import ops

CASES = [((), 0), ((1,), 0), ((5,), -1), ((2, 3), 0), ((2, 3), 1), ((2, 3, 4), 1), ((0, 3), 1), ((2, 1, 3), 1)]
NAN = np.nan


def torch_function(name):
    return getattr(pytest.importorskip("torch"), name)


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("shape, dim", CASES, ids=str)
def test_sort(shape, dim, descending):
    x = distinct(*shape)
    check_second_gradient(lambda x: ops.sort(x, dim, descending)[0], x)
    for dtype in (np.float32, np.float64):
        check_against_torch(
            lambda x: x.sort(dim, descending), lambda x: x.sort(dim=dim, descending=descending), x.astype(dtype)
        )
    got = dl.Tensor(x).argsort(dim, descending)
    assert got.dtype == np.int64 and got.tolist() == to_torch(x).argsort(dim=dim, descending=descending).tolist()


@pytest.mark.parametrize("largest", [False, True])
@pytest.mark.parametrize("shape, dim", CASES, ids=str)
def test_topk(shape, dim, largest):
    x = distinct(*shape)
    for k in range(1, (shape[dim] if shape else 1) + 1):
        check_second_gradient(lambda x: ops.topk(x, k, dim, largest)[0], x)  # noqa: B023
        check_against_torch(lambda x: x.topk(k, dim, largest), lambda x: x.topk(k, dim, largest), x)  # noqa: B023


@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize("shape, dim", CASES, ids=str)
def test_median(shape, dim, keepdim):
    x = distinct(*shape)
    check_second_gradient(lambda x: ops.median(x, dim, keepdim)[0], x)
    check_against_torch(lambda x: x.median(dim, keepdim), lambda x: x.median(dim, keepdim), x)
    if x.size:
        check_second_gradient(ops.median, x)
        check_against_torch(ops.median, torch_function("median"), x)


def test_equals_keep_their_order_and_nan_is_greatest():
    torch = pytest.importorskip("torch")
    x = np.array([2.0, NAN, 1.0, 2.0, np.inf, NAN, 1.0, -np.inf])
    many = np.tile(x, 50)  # NumPy's other sort is stable for few elements
    for descending in (False, True):
        expected = torch.argsort(to_torch(many), dim=0, descending=descending, stable=True)
        assert ops.argsort(dl.Tensor(many), 0, descending).tolist() == expected.tolist()
    for descending in (False, True):
        got, expected = (
            ops.sort(dl.Tensor(x), 0, descending),
            torch.sort(to_torch(x), dim=0, descending=descending, stable=True),
        )
        for g, e in zip(got, expected, strict=True):
            np.testing.assert_array_equal(g.numpy(), e.numpy())
    assert ops.topk(dl.Tensor(x), 3)[1].tolist() == [1, 5, 4]
    assert ops.topk(dl.Tensor(x), 3, largest=False)[0].tolist() == [-np.inf, 1, 1]


def test_the_median_of_nan_is_nan():
    torch = pytest.importorskip("torch")
    x = np.array([[1.0, NAN, 2.0, NAN], [4.0, 1.0, 3.0, 2.0]])
    for g, e in zip(ops.median(dl.Tensor(x), 1), torch.median(to_torch(x), 1), strict=True):
        np.testing.assert_array_equal(g.numpy(), e.numpy())
    assert np.isnan(ops.median(dl.Tensor(x)).item()) and np.isnan(ops.median(dl.Tensor(np.zeros(0))).item())
    assert ops.median(dl.tensor([3, 1, 2, 5])).item() == 2


def test_the_five_best_classes():
    scores = dl.Tensor(distinct(4, 10))
    values, classes = scores.topk(5, 1)
    np.testing.assert_array_equal(classes.numpy(), np.argsort(-scores.numpy(), 1)[:, :5])
    np.testing.assert_array_equal(values.numpy(), -np.sort(-scores.numpy(), 1)[:, :5])


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float32"])
def test_dtypes(dtype):
    x = dl.Tensor(np.array([1, 0, 1], dtype))
    values, indices = ops.sort(x)
    assert values.dtype == x.dtype and indices.dtype == np.int64 and values.tolist() == [0, 1, 1]
    assert ops.topk(x, 0)[0].shape == (0,)


def test_any_layout_gives_the_same():
    x = distinct(2, 3, 4, 5)
    for layout, array in layouts(x):
        for dim in range(4):
            np.testing.assert_array_equal(ops.sort(dl.Tensor(array), dim)[0].numpy(), np.sort(x, dim), layout)


@pytest.mark.parametrize("name", ["sort", "argsort", "topk", "median"])
def test_errors(name):
    f = getattr(ops, name)
    f = (lambda x, dim=0: ops.topk(x, 1, dim)) if name == "topk" else f
    x = dl.Tensor(np.zeros((2, 3)))
    with pytest.raises(ValueError, match=f"{name}: dim 2 is out of range for a Tensor of 2 dimensions"):
        f(x, 2)
    with pytest.raises(TypeError, match=f"{name}: dim must be an integer"):
        f(x, "a")
    with pytest.raises(TypeError, match=f"{name}: complex numbers have no order, got complex64"):
        f(dl.tensor([1j]))
    with pytest.raises(TypeError, match=f"{name}: .* not list"):
        f([1.0])


def test_errors_of_sizes():
    x = dl.Tensor(np.zeros((2, 3)))
    for k in (4, -1):
        with pytest.raises(ValueError, match=rf"topk: k \(={k}\) must be from 0 to .* along dim 1, 3"):
            ops.topk(x, k, 1)
    for k in (1.0, True, None):
        with pytest.raises(TypeError, match=f"topk: k must be an integer, got {k}"):
            ops.topk(x, k)
    with pytest.raises(ValueError, match=r"median: no element to choose from, the shape is \(2, 0\) and dim is 1"):
        ops.median(dl.Tensor(np.zeros((2, 0))), 1)
