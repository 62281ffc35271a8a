"""Derivatives of derivatives: create_graph=True."""

import pytest
from graphs import leaf, scalar
from helpers import check_gradient, normal

import minidl as dl
from minidl import ops


def test_derivatives_to_the_fourth_order():
    x = scalar(2)
    y = x**4
    for expected in (32, 48, 48, 24):
        (y,) = dl.grad(y, x, create_graph=True)
        assert y.item() == pytest.approx(expected)


def test_backward_with_create_graph_accumulates_differentiably():
    x = scalar(3)
    (x * x).backward(create_graph=True)
    assert x.grad.requires_grad and x.grad.item() == 6
    g, x.grad = x.grad, None
    (g * g).backward()
    assert x.grad.item() == 24 and not x.grad.requires_grad


def test_accumulation_over_a_differentiable_gradient():
    x = scalar(3)
    (x * x).backward(create_graph=True)
    first = x.grad
    (x * x * x).backward(create_graph=True)
    assert first.item() == 6 and x.grad.item() == 33
    total, x.grad = x.grad, None
    assert dl.grad(total, x)[0].item() == 20


@pytest.mark.parametrize(
    "twin",
    [lambda x: x.detach(), lambda x: dl.Tensor(x), lambda x: dl.Tensor(x.data)],
    ids=["detach", "Tensor", "data"],
)
def test_a_constant_that_shares_the_variables_array_stays_constant(twin):
    """What was saved must not be taken for the other factor, which has a derivative."""
    x = scalar(3)
    for y in (x * twin(x), twin(x) * x, x / twin(x), ops.where(dl.tensor(True), x * twin(x), twin(x))):
        (g,) = dl.grad(y, x, create_graph=True)
        assert not g.requires_grad or dl.grad(g, x, allow_unused=True)[0] in (None, 0)


def test_the_derivative_with_respect_to_the_cotangent():
    x, v = leaf(1.0, 2.0), leaf(3.0, 4.0)
    (g,) = dl.grad(x * x, x, v, create_graph=True)
    gx, gv = dl.grad(g.sum(), [x, v])
    assert gx.tolist() == [6, 8] and gv.tolist() == [2, 4]


def test_a_gradient_penalty():
    """The derivative of |dy/dx|^2 for y = a^T tanh(W x), against numerical ones: mixed second derivatives."""

    def penalty(x, w, a):
        with dl.enable_grad():
            x = x if x.requires_grad else x.detach().requires_grad_()
            (g,) = dl.grad(a @ (w @ x).tanh(), x, create_graph=True)
        return (g * g).sum()

    check_gradient(penalty, normal(3), normal(4, 3, seed=1), normal(4, seed=2))
