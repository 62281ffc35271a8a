"""round with decimals, frac, and division with rounding; test_elementwise.py has floor, ceil, trunc and isnan."""

import operator

import numpy as np
import pytest
from helpers import check_against_torch, check_gradient, check_second_gradient, normal, to_torch

import minidl as dl
from minidl import ops

SHAPES = [((), ()), ((3,), (3,)), ((2, 3), (3,)), ((2, 1), (1, 3)), ((0, 3), (3,)), ((), (2, 3))]
QUOTIENTS = {
    "floor_divide": lambda module: lambda a, b: module.floor_divide(constant(a), constant(b)),
    "trunc": lambda module: lambda a, b: module.div(a, b, rounding_mode="trunc"),
    "floor": lambda module: lambda a, b: module.div(a, b, rounding_mode="floor"),
}
REMAINDERS = {"remainder": lambda module: module.remainder, "fmod": lambda module: module.fmod}
DIVISIONS = {**QUOTIENTS, **REMAINDERS}
NAMES = {"trunc": "div", "floor": "div"}


def constant(x):
    """x without gradient where it is a Tensor: PyTorch has no derivative of floor_divide, nor we."""
    return x.detach() if hasattr(x, "detach") else x


def pair(name):
    return DIVISIONS[name](ops), DIVISIONS[name](pytest.importorskip("torch"))


@pytest.mark.parametrize("decimals", [0, 1, 3, -1])
def test_decimals(decimals):
    torch = pytest.importorskip("torch")
    x = 100 * normal(50)
    check_against_torch(lambda x: ops.round(x, decimals=decimals), lambda x: torch.round(x, decimals=decimals), x)
    assert ops.round(dl.tensor([0.5, 1.5, 2.5])).tolist() == [0, 2, 2]


def test_decimals_are_an_integer():
    with pytest.raises(TypeError, match="round: decimals must be an integer, got 1.5"):
        ops.round(dl.tensor([1.0]), decimals=1.5)


def test_frac():
    x = np.array([-2.75, -0.5, 0.25, 3.125])
    check_second_gradient(ops.frac, x)
    check_against_torch(ops.frac, pytest.importorskip("torch").frac, x)
    assert ops.frac(dl.tensor([2, -3])).tolist() == [0, 0]


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
@pytest.mark.parametrize("name", DIVISIONS)
def test_divisions_are_pytorchs(name, shapes):
    a, b = 10 * normal(*shapes[0], seed=1), 3 * normal(*shapes[1], seed=2)
    for dtype in (np.float32, np.float64):
        check_against_torch(*pair(name), a.astype(dtype), b.astype(dtype))


@pytest.mark.parametrize("name", REMAINDERS)
def test_remainders_have_numerical_derivatives(name):
    check_gradient(
        pair(name)[0], np.array([7.3, -7.3, 7.3, -7.3]), np.array([[2.1, 2.1, -2.1, -2.1], [5.0, 9.0, -5, -9]])
    )


@pytest.mark.parametrize("name", DIVISIONS)
def test_signs_zeros_and_infinities(name):
    values = np.array([-np.inf, -7.0, -2.0, -0.0, 0.0, 2.0, 7.0, np.inf, np.nan])
    a, b = np.repeat(values, 9), np.tile(values, 9)
    f, torch_f = pair(name)
    np.testing.assert_array_equal(f(dl.Tensor(a), dl.Tensor(b)).numpy(), torch_f(to_torch(a), to_torch(b)).numpy())


@pytest.mark.parametrize("name", DIVISIONS)
def test_integers_stay_integers(name):
    f, torch_f = pair(name)
    a, b = np.repeat([-7, -1, 0, 7, 2**62 + 1], 4), np.tile([-3, -1, 2, 7], 5)
    got, expected = f(dl.Tensor(a), dl.Tensor(b)), torch_f(to_torch(a), to_torch(b))
    assert got.dtype == np.int64 and got.tolist() == expected.tolist()
    small = f(dl.Tensor(np.array([200, 7], np.uint8)), 3)
    assert small.dtype == np.uint8 and small.tolist() == torch_f(to_torch(np.array([200, 7], np.uint8)), 3).tolist()
    assert f(dl.tensor([7]), 2.0).dtype == np.float32


@pytest.mark.parametrize("name", DIVISIONS)
def test_numbers_on_either_side(name):
    f, torch_f = pair(name)
    x = np.array([1.5, -2.5, 4.0])
    check_against_torch(lambda x: f(x, 2), lambda x: torch_f(x, 2), x)
    if name in REMAINDERS:
        check_gradient(lambda x: f(7, x), x)
    assert f(7, dl.Tensor(x)).tolist() == f(dl.Tensor(np.full(3, 7.0)), dl.Tensor(x)).tolist()


def test_operators():
    x, y = dl.tensor([7.0, -7.0, 7.5]), dl.tensor([2.0, 2.0, -2.0])
    for f in (operator.floordiv, operator.mod):
        expected = [f(a, b) for a, b in zip(x.tolist(), y.tolist(), strict=True)]
        assert f(x, y).tolist() == expected
        assert f(x, 2).tolist() == [f(a, 2) for a in x.tolist()] and f(9, y).tolist() == [f(9, b) for b in y.tolist()]


@pytest.mark.parametrize("name", DIVISIONS)
def test_errors_name_the_operation(name):
    f, what = DIVISIONS[name](ops), NAMES.get(name, name)
    with pytest.raises(ValueError, match=f"{what}: an integer was to be divided by zero"):
        f(dl.tensor([1, 2]), dl.tensor([1, 0]))
    with pytest.raises(ValueError, match=f"{what}: an integer was to be divided by zero"):
        f(dl.tensor([1, 2]), 0)
    with pytest.raises(TypeError, match=f"{what}: bools cannot be divided with rounding"):
        f(dl.tensor([True]), dl.tensor([True]))
    with pytest.raises(TypeError, match=f"{what}: operands must be real numbers, got complex64"):
        f(dl.tensor([1j]), 2.0)
    with pytest.raises(TypeError, match=f"{what}: operands must be Tensors, arrays or numbers, not list"):
        f(dl.tensor([1.0]), [2.0])
    with pytest.raises(ValueError, match=rf"{what}: shapes \(2,\) and \(3,\) do not broadcast"):
        f(dl.tensor([1.0, 2.0]), dl.tensor([1.0, 2.0, 3.0]))
    with pytest.raises(ValueError, match=f"{what}: Python integer 300 out of bounds for uint8"):
        f(dl.Tensor(np.array([1], np.uint8)), 300)


def test_an_unknown_rounding_mode():
    with pytest.raises(ValueError, match="div: rounding_mode must be None, 'trunc' or 'floor', got 'ceil'"):
        ops.div(dl.tensor([1.0]), 2, rounding_mode="ceil")
