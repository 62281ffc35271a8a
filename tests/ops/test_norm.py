"""vector_norm, norm and normalize."""

import math

import numpy as np
import pytest
from helpers import check_against_torch, check_gradient, check_second_gradient, distinct, layouts, normal

import minidl as dl
from minidl import ops

INF = math.inf
ORDERS = [2, 1, 0, INF, -INF, 3, 2.5, 0.5, -1, -2, 1.5]
DIMS = [((), None), ((5,), None), ((5,), 0), ((2, 3), None), ((2, 3), -1), ((2, 3, 4), (0, 2)), ((2, 3), ())]


def torch_norms():
    return pytest.importorskip("torch").linalg.vector_norm


@pytest.mark.parametrize("shape, dim", DIMS, ids=str)
@pytest.mark.parametrize("order", ORDERS)
def test_values_and_derivatives(order, shape, dim):
    torch_f = torch_norms()
    x = distinct(*shape) + 0.03  # absolute values differ
    if order:
        check = check_second_gradient if shape else check_gradient  # of one element the second derivative is zero
        check(lambda x: ops.vector_norm(x, order, dim), x, rtol=1e-5)
    for dtype, rtol in ((np.float32, 1e-4), (np.float64, 1e-10)):
        for keepdim in (False, True):
            check_against_torch(
                lambda x: ops.vector_norm(x, order, dim, keepdim),  # noqa: B023
                lambda x: torch_f(x, order, dim, keepdim),  # noqa: B023
                x.astype(dtype),
                rtol=rtol,
                atol=0 if shape else rtol,
            )


@pytest.mark.parametrize("order", [2, 1, 0, INF, -INF, 3, 2.5, 0.5, 1.5, -1, -2])
def test_at_zero_the_gradient_is_zero(order):
    """Of a row of zeros, of zeros among others, and of ties."""
    x = np.array([[0.0, 0.0, 0.0], [0.0, 2.0, -3.0], [2.0, -2.0, 1.0]])
    check_against_torch(lambda x: ops.vector_norm(x, order, 1), lambda x: torch_norms()(x, order, 1), x, second=False)
    leaf = dl.Tensor(x, True)
    if order:
        (g,) = dl.grad(ops.vector_norm(leaf, order, 1).sum(), leaf, create_graph=True)
        assert g.tolist()[0] == [0, 0, 0]
        if order not in (1, INF, -INF):  # those are linear
            (h,) = dl.grad((g * dl.Tensor(normal(3, 3))).sum(), leaf)
            assert np.isfinite(h.data).all()


@pytest.mark.parametrize("order", [2, 1, 0, INF, -INF, 3, 0.5])
def test_complex_numbers(order):
    z = normal(3, 4, dtype=np.complex128)
    check_against_torch(
        lambda x: ops.vector_norm(x, order, 1), lambda x: torch_norms()(x, order, 1), z, second=order != 0
    )


def test_norm_is_vector_norm_with_names():
    torch = pytest.importorskip("torch")
    x = normal(3, 4)
    for args in ((), ("fro",), (1,), (INF,), (2, 1), (3, 0, True), ("fro", (0, 1)), ("fro", 1, True)):
        check_against_torch(lambda x: ops.norm(x, *args), lambda x: torch.norm(x, *args), x)  # noqa: B023
    assert dl.tensor([3.0, 4.0]).norm().item() == 5
    assert ops.norm(dl.tensor([3, 4]), dtype="float64").dtype == np.float64
    check_against_torch(
        lambda x: ops.vector_norm(x, dtype="float64"),
        lambda x: torch_norms()(x, dtype=torch.float64),
        normal(3, dtype="f4"),
    )


def test_normalize():
    torch = pytest.importorskip("torch")
    x = normal(3, 4)
    for kwargs in ({}, {"p": 1, "dim": 0}, {"p": 3.0, "dim": -1}, {"p": INF}, {"dim": (0, 1)}, {"eps": 2.0}):
        check_second_gradient(lambda x: ops.normalize(x, **kwargs), x)  # noqa: B023
        check_against_torch(
            lambda x: ops.normalize(x, **kwargs),  # noqa: B023
            lambda x: torch.nn.functional.normalize(x, **kwargs),  # noqa: B023
            x,
        )
    zero = dl.Tensor(np.zeros((1, 3)), True)
    y = ops.normalize(zero)
    y.sum().backward()
    assert y.tolist() == [[0, 0, 0]] and np.isfinite(zero.grad.data).all()


def test_no_elements():
    empty = dl.Tensor(np.zeros((0, 3)), True)
    for order in (0, 1, 2, 0.5):
        assert ops.vector_norm(empty, order, 0).tolist() == [0, 0, 0]
    ops.vector_norm(empty, 2, 0).sum().backward()
    assert empty.grad.shape == (0, 3)
    assert ops.vector_norm(empty, INF, 1).shape == (0,)
    for order in (INF, -INF, -1):
        with pytest.raises(ValueError, match=rf"vector_norm: no elements have no norm of order {order}"):
            ops.vector_norm(empty, order)


def test_any_layout_gives_the_same():
    x = normal(2, 3, 4, 5)
    for layout, array in layouts(x):
        np.testing.assert_allclose(
            ops.norm(dl.Tensor(array), dim=(1, 3)).numpy(), np.sqrt((x * x).sum((1, 3))), rtol=1e-13, err_msg=layout
        )


@pytest.mark.parametrize("name", ["norm", "vector_norm", "normalize"])
def test_errors(name):
    f, x = getattr(ops, name), dl.Tensor(np.zeros((2, 3)))
    with pytest.raises(TypeError, match=f"{name}: a floating-point Tensor is needed, got int64"):
        f(dl.tensor([[1, 2]]))
    for order in (None, True, 1j):
        with pytest.raises(
            TypeError, match=f"{name}: the order of the norm must be a number, got {order!r}".replace("(", r"\(")
        ):
            f(x, order)
    with pytest.raises(ValueError, match=f"{name}: dim 2 is out of range for a Tensor of 2 dimensions"):
        f(x, 2, 2)
    with pytest.raises(TypeError, match=f"{name}: dim must be an integer"):
        f(x, 2, "a")
    with pytest.raises(TypeError, match=f"{name}: .* not list"):
        f([1.0])
    with pytest.raises(TypeError, match="normalize: eps must be a number, got None"):
        ops.normalize(x, eps=None)
    with pytest.raises(ValueError, match="norm: p must be a number or 'fro', got 'nuc'"):
        ops.norm(x, "nuc")
