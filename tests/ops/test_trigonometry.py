"""atan2 and hypot; the functions of one angle are in test_elementwise.py."""

import numpy as np
import pytest
from helpers import check_against_torch, check_second_gradient, normal, to_torch

import minidl as dl
from minidl import ops

SHAPES = [((), ()), ((3,), (3,)), ((2, 3), (3,)), ((2, 1), (1, 3)), ((0, 3), (3,)), ((2, 3), ())]


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
@pytest.mark.parametrize("name", ["atan2", "hypot"])
def test_values_and_derivatives(name, shapes):
    f, torch_f = getattr(ops, name), getattr(pytest.importorskip("torch"), name)
    a, b = normal(*shapes[0], seed=1), normal(*shapes[1], seed=2)
    check_second_gradient(f, a, b)
    for dtype in (np.float32, np.float64):
        check_against_torch(f, torch_f, a.astype(dtype), b.astype(dtype))
    assert getattr(dl.Tensor(a), name)(dl.Tensor(b)).tolist() == f(dl.Tensor(a), dl.Tensor(b)).tolist()


@pytest.mark.parametrize("name", ["atan2", "hypot"])
def test_all_quadrants_zeros_and_infinities(name):
    values = np.array([-np.inf, -2.0, -0.0, 0.0, 1.0, np.inf, np.nan])
    a, b = np.repeat(values, 7), np.tile(values, 7)
    got = getattr(ops, name)(dl.Tensor(a), dl.Tensor(b)).numpy()
    expected = getattr(pytest.importorskip("torch"), name)(to_torch(a), to_torch(b)).numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-14)
    np.testing.assert_array_equal(np.signbit(got[got == 0]), np.signbit(expected[expected == 0]))


def test_hypot_does_not_overflow():
    assert ops.hypot(dl.tensor(3e30), dl.tensor(4e30)).item() == pytest.approx(5e30)


@pytest.mark.parametrize("name", ["atan2", "hypot"])
def test_numbers_integers_and_errors(name):
    f = getattr(ops, name)
    x = dl.tensor([3, 4])
    assert f(x, 2).dtype == f(2, x).dtype == f(x, x).dtype == np.float32
    assert f(dl.Tensor(np.ones(2)), 2).dtype == np.float64
    np.testing.assert_allclose(f(2, x).numpy(), f(dl.tensor([2.0, 2.0]), x).numpy())
    with pytest.raises(TypeError, match=f"{name}: real coordinates are needed, got complex64"):
        f(dl.tensor([1j]), 1.0)
    with pytest.raises(ValueError, match=rf"{name}: shapes \(2,\) and \(3,\) do not broadcast"):
        f(x, dl.tensor([1.0, 2.0, 3.0]))
    with pytest.raises(TypeError, match=f"{name}: operands must be Tensors, arrays or numbers, not list"):
        f(x, [1.0, 2.0])
