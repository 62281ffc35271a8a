"""maximum, minimum, fmax, fmin and clamp."""

import numpy as np
import pytest
from helpers import check_against_torch, check_second_gradient, distinct, layouts, normal

import minidl as dl
from minidl import ops

NAMES = ["maximum", "minimum", "fmax", "fmin"]
SHAPES = [((), ()), ((3,), (3,)), ((2, 3), (3,)), ((2, 1), (1, 3)), ((0, 3), (3,)), ((), (2, 3))]
NAN = np.nan
# An element and its bounds: inside, at a bound, beyond; bounds that cross or coincide; NaN in each place.
ELEMENTS = np.array([0, 1, 2, 3, 4, NAN, 2, 0, 2, 5, 2, 2, 0, 2, np.inf, -np.inf])
LOW = np.array([1, 1, 1, 1, 1, 1, NAN, 3, 3, 3, 2, 1, 2, -np.inf, 1, 1])
HIGH = np.array([3, 3, 3, 3, 3, 3, 3, 1, 1, 1, 2, NAN, 2, np.inf, 3, 3])


def torch_function(name):
    return getattr(pytest.importorskip("torch"), name)


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_the_greater_and_the_lesser(name, shapes):
    f, (a, b) = getattr(ops, name), (normal(*shape, seed=i) for i, shape in enumerate(shapes))
    check_second_gradient(f, a, b)
    for dtype in (np.float32, np.float64):
        check_against_torch(f, torch_function(name), a.astype(dtype), b.astype(dtype))
    method = getattr(dl.Tensor(a), name)(dl.Tensor(b))
    assert method.tolist() == f(dl.Tensor(a), dl.Tensor(b)).tolist()


@pytest.mark.parametrize("name", NAMES)
def test_ties_nan_and_infinities(name):
    values = np.array([-np.inf, -1.0, 0.0, 2.0, np.inf, np.nan])
    a, b = np.repeat(values, 6), np.tile(values, 6)
    check_against_torch(getattr(ops, name), torch_function(name), a, b)


def test_equals_share_the_gradient():
    a, b = dl.tensor([1.0, 2.0], requires_grad=True), dl.tensor([1.0, 3.0], requires_grad=True)
    ops.maximum(a, b).backward(np.array([4.0, 4.0]))
    assert a.grad.tolist() == [2, 0] and b.grad.tolist() == [2, 4]


@pytest.mark.parametrize("name", ["max", "min"])
def test_max_and_min_of_two_tensors(name):
    a, b = normal(2, 3, seed=1), normal(3, seed=2)
    check_against_torch(getattr(ops, name), torch_function(name), a, b)
    by_keyword = [lambda x, y, f=f: f(x, other=y) for f in (getattr(ops, name), torch_function(name))]
    check_against_torch(*by_keyword, a, b)
    with pytest.raises(TypeError, match=f"{name}: give either dim or other"):
        getattr(ops, name)(dl.Tensor(a), 0, other=dl.Tensor(b))
    x = dl.Tensor(a)
    assert getattr(x, name)(dl.Tensor(b)).tolist() == getattr(ops, name + "imum")(x, b).tolist()


@pytest.mark.parametrize("name", NAMES)
def test_numbers_integers_and_dtypes(name):
    f = getattr(ops, name)
    assert f(dl.tensor([1, 3]), 2).dtype == np.int64 and f(dl.tensor([1, 3]), 2.5).dtype == np.float32
    assert f(2, dl.tensor([1, 3])).tolist() == f(dl.tensor([2, 2]), dl.tensor([1, 3])).tolist()
    assert f(dl.tensor([True, False]), dl.tensor([False, False])).dtype == np.bool_
    check_against_torch(f, torch_function(name), np.array([1, 5]), np.array([2.5, 3.5], np.float32))
    with pytest.raises(TypeError, match=f"{name}: complex numbers have no order, got complex64"):
        f(dl.tensor([1.0]), 1j)
    with pytest.raises(ValueError, match=rf"{name}: shapes \(2,\) and \(3,\) do not broadcast"):
        f(dl.tensor([1.0, 2.0]), dl.tensor([1.0, 2.0, 3.0]))
    with pytest.raises(TypeError, match=f"{name}: operands must be Tensors, arrays or numbers, not list"):
        f(dl.tensor([1.0]), [2.0])
    if "imum" in name:
        with pytest.raises(ValueError, match=f"{name}: Python integer 300 out of bounds for uint8"):
            f(dl.Tensor(np.array([1], np.uint8)), 300)


# ---- clamp ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bounds", [(-0.4, 0.6), (None, 0.2), (0.2, None), (0.5, -0.5), (NAN, 1.0), (1, 1)], ids=str)
def test_clamp_between_numbers(bounds):
    clamp = torch_function("clamp")
    x = distinct(4, 5) + 0.01
    if NAN not in bounds:
        check_second_gradient(lambda x: ops.clamp(x, *bounds), x)
    for dtype in (np.float32, np.float64):
        check_against_torch(lambda x: ops.clamp(x, *bounds), lambda x: clamp(x, *bounds), x.astype(dtype))
        check_against_torch(lambda x: x.clip(*bounds), lambda x: x.clip(*bounds), ELEMENTS.astype(dtype))


def test_clamp_between_tensors():
    clamp = torch_function("clamp")
    for arrays in ((ELEMENTS, LOW, HIGH), (normal(2, 3), normal(3, seed=1), normal(2, 1, seed=2))):
        check_against_torch(ops.clamp, clamp, *arrays)
        x, low, high = arrays
        check_against_torch(ops.clamp_min, torch_function("clamp_min"), x, low)
        check_against_torch(ops.clamp_max, torch_function("clamp_max"), x, high)
        check_against_torch(lambda x, high: ops.clamp(x, max=high), lambda x, high: clamp(x, max=high), x, high)
    check_second_gradient(ops.clamp, *arrays)
    check_second_gradient(ops.clamp, normal(3, seed=5), normal(2, 3, seed=6), normal(seed=7))
    check_against_torch(ops.clamp, clamp, normal(0, 3), normal(3), normal(0, 3))


def test_the_gradient_passes_at_the_bounds():
    x = dl.tensor([-1.0, -1.1, 0.0, 1.0, 1.1], requires_grad=True)
    x.clamp(-1, 1).sum().backward()
    assert x.grad.tolist() == [1, 0, 1, 1, 0]


def test_clamp_promotes_as_pytorch():
    torch = pytest.importorskip("torch")
    x = np.array([1, 5, 9])
    for bounds in ((2, 7), (2.5, None), (None, 6.5), (2, 6.5), (True, 4)):
        got, expected = ops.clamp(dl.Tensor(x), *bounds), torch.clamp(torch.tensor(x), *bounds)
        assert got.tolist() == expected.tolist() and f"torch.{got.dtype}" == str(expected.dtype)
    low, high = np.array([2.0] * 3, np.float32), np.array([7.0] * 3, np.float64)
    check_against_torch(ops.clamp, torch.clamp, x, low, high, rtol=1e-6)
    check_against_torch(ops.clamp, torch.clamp, low, x, high, rtol=1e-6)


def test_any_layout_gives_the_same():
    x = normal(2, 3, 4, 5)
    for layout, array in layouts(x):
        np.testing.assert_array_equal(ops.clamp(dl.Tensor(array), -0.5, 0.5).numpy(), np.clip(x, -0.5, 0.5), layout)


def test_clamp_in_place():
    x = dl.tensor([-2.0, 0.5, 3.0], requires_grad=True)
    y = x * 1
    assert y.clamp_(-1, 1) is y and y.tolist() == [-1, 0.5, 1]
    y.sum().backward()
    assert x.grad.tolist() == [0, 1, 0]
    z = dl.tensor([5.0, 7.0])
    z.clamp_(max=6)
    assert z.tolist() == [5, 6]
    with pytest.raises(TypeError, match="clamp_: float32 cannot be stored in a Tensor of int64"):
        dl.tensor([1]).clamp_(0.5)


def test_clamp_errors():
    x = dl.tensor([1.0, 2.0])
    with pytest.raises(ValueError, match="clamp: a bound is needed, min or max"):
        x.clamp()
    for name in ("clamp", "clamp_min", "clamp_max"):
        f = getattr(ops, name)
        with pytest.raises(TypeError, match=f"{name}: complex numbers have no order, got complex64"):
            f(dl.tensor([1j]), 1.0)
        with pytest.raises(ValueError, match=rf"{name}: shapes \(2,\) and \(3,\) do not broadcast"):
            f(x, dl.tensor([1.0, 2.0, 3.0]))
        with pytest.raises(TypeError, match=f"{name}: operands must be Tensors, arrays or numbers, not str"):
            f(x, "0")
        with pytest.raises(ValueError, match=f"{name}: Python integer -1 out of bounds for uint8"):
            f(dl.Tensor(np.array([1], np.uint8)), -1)
