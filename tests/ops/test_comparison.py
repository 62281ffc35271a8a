"""isclose, allclose and equal."""

import numpy as np
import pytest
from helpers import to_torch

import minidl as dl
from minidl import ops

A = np.array([1.0, 1.0, 1.0, 0.0, np.inf, np.inf, np.nan, -np.inf, 1e10])
B = np.array([1.000001, 1.1, 1.24, 1e-9, np.inf, -np.inf, np.nan, 1.0, 1.00001e10])


@pytest.mark.parametrize("options", [{}, {"rtol": 0.2}, {"atol": 1e-12, "rtol": 0.0}, {"equal_nan": True}], ids=str)
def test_isclose_is_pytorchs(options):
    torch = pytest.importorskip("torch")
    for a, b in ((A, B), (B, A), (A[:, None], B)):
        got = ops.isclose(dl.Tensor(a), dl.Tensor(b), **options)
        expected = torch.isclose(to_torch(a), to_torch(b), **options)
        assert got.dtype == np.bool_ and got.tolist() == expected.tolist()
        assert ops.allclose(dl.Tensor(a), dl.Tensor(b), **options) is bool(expected.all())


def test_isclose_of_numbers_integers_and_methods():
    x = dl.tensor([1, 2, 3])
    assert x.isclose(2).tolist() == [False, True, False] and x.isclose(dl.tensor([1.0, 2.5, 3.0])).tolist() == [1, 0, 1]
    assert x.allclose(dl.tensor([1, 2, 3])) is True and x.allclose(2) is False
    assert ops.allclose(dl.Tensor(np.zeros(0)), 1.0) is True


def test_equal():
    x = dl.tensor([[1.0, 2.0]])
    assert x.equal(dl.tensor([[1.0, 2.0]])) is True and ops.equal(x, dl.tensor([[1, 2]])) is True
    assert x.equal(dl.tensor([1.0, 2.0])) is False and x.equal(dl.tensor([[1.0, 3.0]])) is False
    assert ops.equal(dl.tensor([np.nan]), dl.tensor([np.nan])) is False
    assert ops.equal(dl.Tensor(np.zeros(0)), dl.Tensor(np.ones(0))) is True


@pytest.mark.parametrize("name", ["isclose", "allclose"])
def test_errors(name):
    f, x = getattr(ops, name), dl.tensor([1.0, 2.0])
    with pytest.raises(ValueError, match=f"{name}: rtol must be at least 0, got -1"):
        f(x, x, rtol=-1)
    with pytest.raises(ValueError, match=f"{name}: atol must be at least 0, got nan"):
        f(x, x, atol=float("nan"))
    with pytest.raises(TypeError, match=f"{name}: atol must be a number, got None"):
        f(x, x, atol=None)
    with pytest.raises(ValueError, match=rf"{name}: shapes \(2,\) and \(3,\) do not broadcast"):
        f(x, dl.tensor([1.0, 2.0, 3.0]))
    with pytest.raises(TypeError, match=f"{name}: operands must be Tensors, arrays or numbers, not list"):
        f(x, [1.0])
    with pytest.raises(TypeError, match="equal: operands must be Tensors, arrays or numbers, not list"):
        ops.equal(x, [1.0])
