"""cumsum, cumprod and prod; above all products with zeros among the factors."""

import math

import numpy as np
import pytest
from helpers import check_against_torch, check_gradient, check_second_gradient, close, layouts, normal

import minidl as dl
from minidl import ops

RUNNING = ["cumsum", "cumprod"]
CASES = [
    ((), 0),
    ((), -1),
    ((1,), 0),
    ((5,), 0),
    ((2, 3), 0),
    ((2, 3), -1),
    ((2, 3, 4), 1),
    ((0,), 0),
    ((0, 3), 1),
    ((3, 0), 1),
]
# No zero, one, two, three; side by side and apart; at both ends; nothing else.
ZEROS = [
    [2.0, -3.0, 0.5, 1.5],
    [2.0, 0.0, 0.5, 1.5],
    [0.0, -3.0, 0.5, 1.5],
    [2.0, -3.0, 0.5, 0.0],
    [2.0, 0.0, 0.0, 1.5],
    [0.0, -3.0, 0.5, 0.0],
    [0.0, 0.0, 0.0, 1.5],
    [0.0, 0.0, 0.0, 0.0],
]


def torch_function(name):
    return getattr(pytest.importorskip("torch"), name)


@pytest.mark.parametrize("shape, dim", CASES, ids=str)
@pytest.mark.parametrize("name", [*RUNNING, "prod"])
def test_along_an_axis(name, shape, dim):
    f, torch_f = getattr(ops, name), torch_function(name)
    x = normal(*shape)
    check_second_gradient(lambda x: f(x, dim), x)
    for dtype in (np.float32, np.float64):
        check_against_torch(lambda x: f(x, dim), lambda x: torch_f(x, dim), x.astype(dtype))
    assert getattr(dl.Tensor(x), name)(dim).tolist() == f(dl.Tensor(x), dim).tolist()


@pytest.mark.parametrize("shape", [(), (1,), (5,), (2, 3), (2, 1, 3), (0,), (0, 3)], ids=str)
def test_product_of_all(shape):
    x = normal(*shape)
    check_second_gradient(ops.prod, x)
    check_against_torch(ops.prod, torch_function("prod"), x)
    assert ops.prod(dl.Tensor(x), keepdim=True).shape == (1,) * len(shape)
    for dim in range(len(shape)):
        check_against_torch(
            lambda x: ops.prod(x, dim, True),  # noqa: B023
            lambda x: x.prod(dim, True),  # noqa: B023
            x,
            atol=1e-14,  # of one factor the second derivative is zero
        )


@pytest.mark.parametrize("factors", ZEROS, ids=str)
@pytest.mark.parametrize("name", ["prod", "cumprod"])
def test_zeros_among_the_factors(name, factors):
    """To third order, against numerical derivatives; the gradient of prod also against the sum over subsets."""
    f = getattr(ops, name)
    check_second_gradient(lambda x: f(x, 0), np.array(factors))
    check_second_gradient(lambda x: f(x, 0), np.array([factors, factors[::-1]]).T)

    def slope(x):
        with dl.enable_grad():
            x = x if x.requires_grad else x.detach().requires_grad_()
            return dl.grad((f(x * 1, 0) * dl.Tensor(np.array([1.0, 2, 3, 4]))).sum(), x, create_graph=True)[0]

    check_second_gradient(slope, np.array(factors))
    if name == "prod":
        x = dl.tensor(np.array(factors), requires_grad=True)
        (g,) = dl.grad(ops.prod(x), x, create_graph=True)
        (h,) = dl.grad(g[0], x)
        assert g.tolist() == pytest.approx([math.prod(factors[:k] + factors[k + 1 :]) for k in range(4)])
        assert h.tolist() == pytest.approx(
            [0] + [math.prod(v for i, v in enumerate(factors) if i not in (0, k)) for k in range(1, 4)]
        )


@pytest.mark.parametrize("name", [*RUNNING, "prod"])
def test_complex_numbers(name):
    z = normal(3, 4, dtype=np.complex128)
    z[0, 1] = z[2, 2] = z[2, 3] = 0
    check_against_torch(lambda x: getattr(ops, name)(x, 1), lambda x: torch_function(name)(x, 1), z)


@pytest.mark.parametrize("name", [*RUNNING, "prod"])
def test_dtypes_are_pytorchs(name):
    torch = pytest.importorskip("torch")
    for dtype in ("bool", "uint8", "int64", "float32", "float64", "complex64"):
        x = np.array([1, 1, 0], dtype)
        got, expected = getattr(ops, name)(dl.Tensor(x), 0), torch_function(name)(torch.tensor(x), 0)
        assert f"torch.{got.dtype}" == str(expected.dtype) and got.tolist() == expected.tolist()
    x = dl.tensor([1, 2, 300])
    assert getattr(ops, name)(x, 0, dtype="float64").dtype == np.float64
    check_against_torch(
        lambda x: getattr(ops, name)(x, 0, dtype="float64"),
        lambda x: torch_function(name)(x, 0, dtype=torch.float64),
        normal(3, dtype="f4"),
    )


def test_integers_are_multiplied_without_overflow():
    assert ops.prod(dl.Tensor(np.full(5, 200, np.uint8))).item() == 200**5
    assert ops.prod(dl.Tensor(np.zeros((2, 0), np.float32)), 1).tolist() == [1, 1]


def test_a_long_running_sum_keeps_its_digits():
    x = dl.Tensor(np.full(1_000_001, 0.1, np.float32))
    assert ops.cumsum(x, 0).numpy()[-1] == pytest.approx(100_000.1, rel=1e-6)


def test_a_long_product_has_a_gradient():
    x = dl.Tensor(np.full(100_000, 1.0001), requires_grad=True)
    ops.prod(x).backward()
    np.testing.assert_allclose(x.grad.data, 1.0001**99_999, rtol=1e-8)


@pytest.mark.parametrize("name", [*RUNNING, "prod"])
def test_any_layout_gives_the_same(name):
    x, f = normal(2, 3, 4, 5), getattr(ops, name)
    for dim in range(4):
        first = None
        for layout, array in layouts(x):
            leaf = dl.Tensor(array, True)
            y = f(leaf, dim)
            y.backward(normal(*y.shape, seed=1))
            first = first or (y.data, leaf.grad.data)
            close(y.data, first[0], 1e-14, layout)
            close(leaf.grad.data, first[1], 1e-14, layout)


def test_the_reference_kernel_gives_the_same():
    x = normal(3, 4)
    with dl.use_kernels("reference"):
        check_gradient(lambda x: ops.cumprod(x, 0), x)


@pytest.mark.parametrize("name", [*RUNNING, "prod"])
def test_errors_name_the_operation(name):
    f, x = getattr(ops, name), dl.Tensor(np.zeros((2, 3)))
    for dim in (2, -3):
        with pytest.raises(ValueError, match=f"{name}: dim {dim} is out of range for a Tensor of 2 dimensions"):
            f(x, dim)
    for dim in ("a", 1.5, True, (0, 1)):
        with pytest.raises(TypeError, match=f"{name}: dim must be an integer"):
            f(x, dim)
    with pytest.raises(TypeError, match=f"{name}: .* not list"):
        f([1.0], 0)
