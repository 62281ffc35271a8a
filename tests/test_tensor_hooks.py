"""Hooks of Tensors, and gradients that are kept along the way."""

import itertools
import weakref

import numpy as np
import pytest
from graphs import define, leaf, no_garbage_collector, scalar

import minidl as dl

# ---- hooks -----------------------------------------------------------------------------------------------------------


def test_hooks_see_and_replace_gradients():
    x, seen = leaf(1.0, 2.0), []
    y = x * 3
    y.register_hook(lambda g: seen.append(("y", g.tolist())))
    x.register_hook(lambda g: seen.append(("x", g.tolist())))
    y.register_hook(lambda g: g * 10)
    y.register_hook(lambda g: seen.append(("y again", g.tolist())))
    x.register_hook(lambda g: g + 1)
    (y * 2).sum().backward()
    assert seen == [("y", [2, 2]), ("y again", [20, 20]), ("x", [60, 60])]
    assert x.grad.tolist() == [61, 61]


def test_a_hook_sees_the_whole_gradient_once():
    x, seen = scalar(2), []
    y = x * 3
    for t in (x, y):
        t.register_hook(lambda g: seen.append(g.item()))
    (y * y + y + x * 5).backward()
    assert seen == [13, 44]


def test_hooks_also_run_in_grad():
    x = leaf(1.0)
    y = x * 2
    y.register_hook(lambda g: g * 10)
    x.register_hook(lambda g: g * 10)
    gx, gy = dl.grad(y * 3, [x, y])
    assert (gx.item(), gy.item()) == (600, 30) and x.grad is None


def test_a_removed_hook_is_silent():
    x = leaf(1.0)
    y = x * 2
    handles = [t.register_hook(lambda g: g * 10) for t in (x, y, x)]
    for handle in handles[:2]:
        handle.remove()
        handle.remove()
    y.backward()
    assert x.grad.item() == 20


def test_a_hook_may_remove_itself():
    x = leaf(1.0)
    calls = []

    def once(g):
        calls.append(g.item())
        handle.remove()

    handle = x.register_hook(once)
    for _ in range(2):
        (x * 2).backward()
    assert calls == [2] and x.grad.item() == 4


def test_hooks_on_one_of_several_outputs():
    Two = define(lambda ctx, x: (2 * x, 3 * x), lambda ctx, a, b: 2 * a + 3 * b, "Two")
    x, seen = leaf(1.0), []
    a, b = Two.apply(x)
    a.register_hook(lambda g: seen.append(("a", g.item())))
    b.register_hook(lambda g: seen.append(("b", g.item())) or g * 100)
    (b * 7).backward(retain_graph=True)
    assert seen == [("b", 7)] and x.grad.item() == 2100
    (a * 5 + b * 7).backward()
    assert seen == [("b", 7), ("a", 5), ("b", 7)]


@pytest.mark.parametrize(
    "result, error, match",
    [
        (lambda g: dl.Tensor(np.zeros(3)), ValueError, r"what a hook returned has shape \(3,\), it must be \(2,\)"),
        (lambda g: dl.tensor([1.0, 2.0]), TypeError, "what a hook returned has dtype float32, it must be float64"),
        (lambda g: g.data, TypeError, "what a hook returned must be a Tensor, not ndarray"),
    ],
)
def test_a_hook_that_returns_something_else(result, error, match):
    x = leaf(1.0, 2.0)
    x.register_hook(result)
    with pytest.raises(error, match=match):
        x.sum().backward()
    assert x.grad is None


def test_a_hook_needs_a_gradient():
    with pytest.raises(RuntimeError, match="register_hook: the Tensor does not require a gradient"):
        dl.tensor(1.0).register_hook(print)
    with pytest.raises(RuntimeError, match="retain_grad: the Tensor does not require a gradient"):
        dl.tensor(1.0).retain_grad()


def test_what_a_hook_keeps_or_returns_is_not_changed_by_later_passes():
    x, kept, constant = leaf(1.0, 2.0), [], dl.Tensor(np.array([5.0, 5.0]))
    handle = x.register_hook(kept.append)
    for _ in range(2):
        x.sum().backward()
    assert [g.tolist() for g in kept] == [[1, 1], [1, 1]] and x.grad.tolist() == [2, 2]
    handle.remove()
    x.grad = None
    x.register_hook(lambda g: constant)
    for _ in range(2):
        x.sum().backward()
    assert constant.tolist() == [5, 5] and x.grad.tolist() == [10, 10]


def test_hooks_are_differentiable():
    x = scalar(3)
    x.register_hook(lambda g: g * g)
    (g,) = dl.grad(x * x, x, create_graph=True)  # (2 x)^2
    assert g.item() == 36
    x._hooks.clear()
    assert dl.grad(g, x)[0].item() == 24


def test_retain_grad():
    x = leaf(1.0, 2.0)
    y = x * 3
    z = y + 1
    assert y.grad is None
    for t in (x, y, z):
        t.retain_grad()
        t.retain_grad()
    y.register_hook(lambda g: g * 10)
    (z * z).sum().backward()
    assert z.grad.tolist() == [8, 14] and y.grad.tolist() == [80, 140] and x.grad.tolist() == [240, 420]


def test_retained_gradients_accumulate_and_are_their_own():
    x, start = leaf(1.0, 2.0), np.array([1.0, 2.0])
    y = x + 0
    z = y + 0
    y.retain_grad()
    z.retain_grad()
    for times in (1, 2):
        z.backward(start, retain_graph=True)
        assert y.grad.tolist() == z.grad.tolist() == [times, 2 * times]
        gradients = [x.grad.data, y.grad.data, z.grad.data, start]
        for a, b in itertools.combinations(gradients, 2):
            assert not np.shares_memory(a, b)
    z.grad.zero_()
    assert y.grad.tolist() == x.grad.tolist() == [2, 4]


def test_retain_grad_does_not_keep_the_tensor():
    with no_garbage_collector():
        x = leaf(1.0)
        y = x * 2
        y.retain_grad()
        z, reference = y * 3, weakref.ref(y)
        del y
        assert reference() is None
        z.backward()
        assert x.grad.item() == 6
