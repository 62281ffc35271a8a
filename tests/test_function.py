"""The graph and the backward pass over it: Function, grad, backward, hooks, modes."""

import gc
import itertools
import threading
import weakref
from contextlib import contextmanager

import numpy as np
import pytest
from helpers import check_gradient, check_second_gradient, normal

import minidl as dl
from minidl import function, ops


def leaf(*values, dtype=np.float64):
    return dl.Tensor(np.array(values, dtype), requires_grad=True)


def scalar(value):
    return dl.Tensor(np.array(float(value)), requires_grad=True)


@contextmanager
def no_garbage_collector():
    """What dies inside dies by reference counts alone."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def define(forward, backward, name="Custom"):
    """A Function from its two methods."""
    return type(name, (dl.Function,), {"forward": staticmethod(forward), "backward": staticmethod(backward)})


def saving(ctx, x):
    ctx.save_for_backward(x)
    return x * x


def doubling(ctx, x):
    return 2 * x


Square = define(saving, lambda ctx, grad: 2 * ctx.saved_tensors[0] * grad, "Square")
Double = define(doubling, lambda ctx, grad: 2 * grad, "Double")

# ---- the shape of the graph ----------------------------------------------------------------------------------------


def test_a_product_with_itself():
    x = scalar(3)
    (x * x).backward()
    assert x.grad.item() == 6


def test_the_same_tensor_twice_as_input():
    for f, expected in [
        (lambda x: x + x, 2),
        (lambda x: x - x, 0),
        (lambda x: x / x, 0),
        (lambda x: x**x, 27 * (np.log(3) + 1)),
    ]:
        x = scalar(3)
        f(x).backward()
        assert x.grad.item() == pytest.approx(expected)


def test_a_diamond():
    x = scalar(2)
    a = x * 3
    b, c = a * a, a + 1
    (b * c).backward()  # 9 x^2 (3 x + 1)
    assert x.grad.item() == 81 * 4 + 18 * 2


def test_nested_diamonds_are_walked_once():
    x = scalar(1)
    y = x
    for _ in range(60):  # 2^60 paths
        y = y + y
    y.backward()
    assert x.grad.item() == 2.0**60


def test_fan_out_and_uneven_depths():
    x = scalar(2)
    near, far = x * 5, x
    for _ in range(20):
        far = far * 1.0
    (far + near + far * near).backward()
    assert x.grad.item() == 1 + 5 + 20


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_a_leaf_waits_for_all_its_users(order, monkeypatch):
    """Also for the very first operation of a process, whose number is zero."""
    monkeypatch.setattr(function, "_next_sequence", itertools.count().__next__)
    x = scalar(1)
    terms = [x * 2, x * 3, x * 4]
    a, b, c = (terms[i] for i in order)
    (a + (b + c)).backward()
    assert x.grad.item() == 9


def test_a_deep_chain():
    x = leaf(1.0)
    y = x
    for _ in range(10_000):
        y = y + 1
    y.backward()
    assert x.grad.item() == 1
    (g,) = dl.grad(y, x)
    assert g.item() == 1
    del y  # freeing it must not recurse either


def test_a_deep_chain_differentiated_twice():
    x = scalar(1)
    y = x
    for _ in range(2_000):
        y = y * 1.0 + 0.0
    (g,) = dl.grad(y * y, x, create_graph=True)
    (h,) = dl.grad(g, x)
    assert (g.item(), h.item()) == (2, 2)


@pytest.mark.parametrize("deep", [True, False])
def test_a_hundred_thousand_nodes(deep):
    x = leaf(1.0)
    if deep:
        y = x
        for _ in range(100_000):
            y = -y
    else:
        level = [-x for _ in range(50_000)]
        while len(level) > 1:
            level = [a + b for a, b in zip(level[::2], level[1::2], strict=False)] + level[len(level) & ~1 :]
        y = level[0]
        del level
    alive = weakref.ref(y.grad_fn)
    with no_garbage_collector():
        y.backward()
        assert x.grad.item() == (1 if deep else -50_000)
        del y
        assert alive() is None


def test_a_deep_graph_that_nobody_walks_can_be_freed():
    y = leaf(1.0)
    for _ in range(100_000):
        y = Square.apply(y)
    alive = weakref.ref(y.grad_fn)
    with no_garbage_collector():
        del y
        assert alive() is None


def test_zero_size_tensors():
    x = dl.Tensor(np.zeros((0, 3)), requires_grad=True)
    ((x * 2 + 1) @ dl.Tensor(np.ones((3, 4)))).exp().sum().backward()
    assert x.grad.shape == (0, 3)
    w = dl.Tensor(np.ones(3), requires_grad=True)
    (x * w).sum().backward()
    assert w.grad.tolist() == [0, 0, 0]
    x.grad = None
    x.backward(np.zeros((0, 3)))
    assert x.grad.shape == (0, 3)


def test_integer_and_bool_inputs_take_no_part():
    x, n, m = leaf(1.0, 2.0), dl.tensor([2, 3]), dl.tensor([True, False])
    y = x * n + m
    (y * (n > 2)).sum().backward()
    assert x.grad.tolist() == [0, 3] and n.grad is None and m.grad is None
    assert not (n + m).requires_grad and not (x > 1).requires_grad


# ---- where gradients go --------------------------------------------------------------------------------------------


def test_gradients_accumulate_until_they_are_cleared():
    x = leaf(1.0, 2.0)
    for times in (1, 2, 3):
        (x * x).sum().backward()
        assert x.grad.tolist() == [2 * times, 4 * times]
    x.grad = None
    (x * x).sum().backward()
    assert x.grad.tolist() == [2, 4]


def test_a_gradient_has_the_shape_and_dtype_of_its_tensor():
    for dtype in (np.float32, np.float64):
        x, y = dl.Tensor(np.ones((2, 3), dtype), True), dl.Tensor(np.ones((3,), np.float64), True)
        (x * y).sum().backward()
        assert x.grad.shape == x.shape and x.grad.dtype == dtype and not x.grad.requires_grad
        assert y.grad.shape == y.shape and y.grad.dtype == np.float64


def test_backward_from_a_leaf():
    x, start = leaf(1.0, 2.0), np.array([3.0, 4.0])
    x.backward(start)
    assert x.grad.tolist() == [3, 4] and not np.shares_memory(x.grad.data, start)
    y = scalar(5)
    y.backward()
    assert y.grad.item() == 1


def passing(x, gradient):
    (x + 0).backward(gradient)


SHARING = {
    "a root that is a leaf": lambda x, g: x.backward(g),
    "an operation that passes it on": lambda x, g: (x + 0).backward(g),
    "several that do": lambda x, g: (x + 0).clone().reshape(2, 1).T.reshape(2).backward(g),
    "a sum": lambda x, g: (x + x).backward(g),
    "a view": lambda x, g: ops.cat([x[:1], x[1:]]).backward(g),
    "a chain of in-place changes": lambda x, g: (x + 0).add_(1).backward(g),
}


@pytest.mark.parametrize("name", SHARING)
@pytest.mark.parametrize("as_tensor", [True, False])
def test_a_leafs_gradient_is_not_the_users_array(name, as_tensor):
    x, start = leaf(1.0, 2.0), np.array([3.0, 4.0])
    gradient = dl.Tensor(start) if as_tensor else start
    SHARING[name](x, gradient)
    first = x.grad.tolist()
    SHARING[name](x, gradient)
    assert start.tolist() == [3, 4]
    assert x.grad.tolist() == [2 * v for v in first]
    assert not np.shares_memory(x.grad.data, start)


def test_gradients_of_several_leaves_do_not_share_memory():
    a, b, c = leaf(1.0, 2.0), leaf(3.0, 4.0), leaf(5.0, 6.0)
    (a + b + c.reshape(2)).sum().backward()
    for x, y in itertools.combinations((a, b, c), 2):
        assert not np.shares_memory(x.grad.data, y.grad.data)
    a.grad.mul_(10)
    assert (a.grad.tolist(), b.grad.tolist(), c.grad.tolist()) == ([10, 10], [1, 1], [1, 1])
    ops.stack([a, b]).backward(np.ones((2, 2)))
    a.grad.mul_(0)
    assert b.grad.tolist() == [2, 2]


def test_a_gradient_can_be_written_to():
    """That of a sum is one number seen many times: as a gradient it is an array of its own."""
    x = dl.Tensor(np.zeros((2, 3)), requires_grad=True)
    x.sum().backward()
    x.grad.data[0, 0] = 5
    assert x.grad.tolist() == [[5, 1, 1], [1, 1, 1]]


def test_a_gradient_shares_no_memory_with_what_was_saved_or_kept():
    constant = np.array([3.0, 4.0])

    def forward(ctx, x):
        ctx.constant = constant
        return x * constant

    for returned in (lambda c: c, lambda c: dl.Tensor(c), lambda c: c.reshape(2)):
        F = define(forward, lambda ctx, grad, returned=returned: returned(ctx.constant))
        x = leaf(1.0, 2.0)
        for _ in range(3):
            F.apply(x).sum().backward()
        assert constant.tolist() == [3, 4] and x.grad.tolist() == [9, 12]


def test_grad_leaves_grad_alone():
    x, y = leaf(1.0), leaf(2.0)
    dl.grad((x * y).sum(), x)
    assert x.grad is None and y.grad is None


def test_grad_of_leaves_and_computed_tensors():
    x = scalar(3)
    y = x * x
    z = y * y
    gx, gy, gz = dl.grad(z, [x, y, z])
    assert (gx.item(), gy.item(), gz.item()) == (4 * 27, 18, 1)
    assert isinstance(dl.grad(x * 2, x), tuple)


def test_grad_of_a_tensor_with_respect_to_itself():
    x = leaf(1.0, 2.0)
    y = x * 2
    for t in (x, y):
        (g,) = dl.grad(t, t, dl.Tensor(np.array([3.0, 4.0])))
        assert g.tolist() == [3, 4]
    assert dl.grad(scalar(1) * 1 + 0, [t := scalar(2)], allow_unused=True) == (None,) and t.grad is None


def test_grad_of_several_outputs_and_inputs():
    a, b = scalar(2), scalar(3)
    first, second = a * b, a + b
    ga, gb = dl.grad([first, second], [a, b], [np.array(10.0), np.array(1.0)], retain_graph=True)
    assert (ga.item(), gb.item()) == (31, 21)
    ga, again = dl.grad([first, second], [a, a], retain_graph=True)
    assert ga.item() == again.item() == 4
    ga, gb = dl.grad((first * 1, first * 1), (a, b), (dl.Tensor(np.array(1.0)), None))
    assert (ga.item(), gb.item()) == (6, 4)
    assert dl.grad([a, a * b], a)[0].item() == 4
    product = a * b
    assert dl.grad([product, product], a)[0].item() == 6


def test_grad_of_an_input_that_is_an_output_along_the_way():
    x = scalar(2)
    y = x * 3
    z = y * y
    gy, gx = dl.grad([y, z], [y, x])
    assert (gy.item(), gx.item()) == (13, 39)


def test_unused_inputs():
    x, y = scalar(2), scalar(3)
    z = x * 2
    with pytest.raises(RuntimeError, match="grad: the outputs do not depend on input number 1 .allow_unused=True"):
        dl.grad(z, [x, y], retain_graph=True)
    gx, gy = dl.grad(z, [x, y], allow_unused=True)
    assert gx.item() == 2 and gy is None
    assert dl.grad(z, [y, x * 2], allow_unused=True) == (None, None)


def test_grad_visits_only_what_leads_to_the_inputs():
    def fail(ctx, grad):
        raise AssertionError("visited")

    x, y = scalar(2), scalar(3)
    z = define(doubling, fail).apply(y) + x * 5
    assert dl.grad(z, x, retain_graph=True)[0].item() == 5
    with pytest.raises(AssertionError, match="visited"):
        z.backward()
    y = define(doubling, fail).apply(x)
    assert dl.grad(y * 3, y)[0].item() == 3


@pytest.mark.parametrize(
    "call, error, match",
    [
        (lambda x: (x * 2).backward(), RuntimeError, r"backward: an output of shape \(2,\) is not a scalar"),
        (lambda x: dl.grad(x * 2, x), RuntimeError, r"grad: an output of shape \(2,\) is not a scalar"),
        (lambda x: x.detach().sum().backward(), RuntimeError, "backward: the output does not require a gradient"),
        (lambda x: dl.tensor([1, 2]).sum().backward(), RuntimeError, "does not require a gradient"),
        (lambda x: dl.grad(x.sum(), x.detach()), RuntimeError, "grad: input number 0 does not require a gradient"),
        (lambda x: dl.grad(x.sum(), [x, 3]), TypeError, "grad: inputs must be Tensors, got int"),
        (lambda x: dl.grad([x.data], x), TypeError, "grad: outputs must be Tensors, got ndarray"),
        (lambda x: dl.grad(x.sum(), 3), TypeError, "grad: inputs must be Tensors, got int"),
        (lambda x: x.backward(np.zeros(3)), ValueError, r"gradient of the output has shape \(3,\), it must be \(2,\)"),
        (lambda x: x.backward(dl.tensor([1.0, 2.0])), TypeError, "has dtype float32, it must be float64"),
        (lambda x: x.backward("text"), TypeError, "gradient of the output must be a Tensor or an array, got 'text'"),
        (lambda x: x.backward([[1.0], [2.0, 3.0]]), TypeError, "gradient of the output must be a Tensor or an array"),
        (lambda x: dl.grad([x, x], x, [np.ones(2)]), ValueError, "grad: 1 gradients for 2 outputs"),
        (lambda x: dl.grad(x, x, 3.0), ValueError, r"gradient of the output has shape \(\), it must be \(2,\)"),
    ],
)
def test_errors_of_use(call, error, match):
    with pytest.raises(error, match=match):
        call(leaf(1.0, 2.0))


def test_gradients_may_be_given_as_arrays_or_lists():
    for gradient in (np.array([3.0, 4.0]), [3, 4], (3.0, 4.0), np.array([3, 4], np.float32), np.array([3, 4])):
        x = leaf(1.0, 2.0)
        (x * 2).backward(gradient)
        assert x.grad.tolist() == [6, 8] and x.grad.dtype == np.float64


# ---- keeping and freeing the graph ---------------------------------------------------------------------------------


def test_a_second_pass_needs_retain_graph():
    x = scalar(3)
    y = x * x
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.item() == 12
    message = "backward through Mul a second time: .* Pass retain_graph=True to the first"
    with pytest.raises(RuntimeError, match=message):
        y.backward()
    with pytest.raises(RuntimeError, match=message):
        dl.grad(y, x)
    with pytest.raises(RuntimeError, match=message):
        (y * 2).backward()


def test_create_graph_retains_unless_told_otherwise():
    x = scalar(3)
    y = x * x
    dl.grad(y, x, create_graph=True)
    dl.grad(y, x, create_graph=True, retain_graph=False)
    with pytest.raises(RuntimeError, match="a second time"):
        dl.grad(y, x)


def test_backward_frees_what_was_saved_as_it_goes():
    freed_before = []

    def spying(ctx, grad):
        freed_before.append(later() is None)
        return 2 * ctx.saved_tensors[0] * grad

    with no_garbage_collector():
        x = leaf(1.0, 2.0)
        y = define(saving, spying).apply(x) + 0
        z = y.exp()
        y, later = z.sum(), weakref.ref(z.data)  # the exponential is kept by its node alone
        del z
        assert later() is not None
        y.backward()
        assert freed_before == [True] and later() is None


def test_retain_graph_keeps_what_was_saved():
    with no_garbage_collector():
        x = leaf(1.0, 2.0)
        z = x.exp()
        y, saved = z.sum(), weakref.ref(z.data)
        del z
        y.backward(retain_graph=True)
        assert saved() is not None
        y.backward()
        assert saved() is None


def test_a_graph_dies_with_its_last_tensor():
    def build():
        x = leaf(1.0, 2.0)
        z, _ = ops.max(x.reshape(1, 2) @ dl.Tensor(np.ones((2, 2)), True), 1)
        return x, (Square.apply(x) * 2).relu().exp().sum(), z

    build()  # a compilation would leave cycles behind
    with no_garbage_collector():
        x, y, z = build()
        nodes = [weakref.ref(y.grad_fn), weakref.ref(z.grad_fn)]
        array = weakref.ref(x.data)
        del x, y, z
        assert [node() for node in nodes] == [None, None] and array() is None


def test_a_graph_dies_after_backward_and_double_backward():
    with no_garbage_collector():
        x = leaf(1.0, 2.0)
        y = Square.apply(x).exp().sum()
        (g,) = dl.grad(y, x, create_graph=True)
        (h,) = dl.grad(g.sum(), x)
        nodes = [weakref.ref(y.grad_fn), weakref.ref(g.grad_fn)]
        array = weakref.ref(x.data)
        del x, y, g, h
        assert [node() for node in nodes] == [None, None] and array() is None


def test_no_graph_means_no_node():
    x = leaf(1.0)
    with dl.no_grad():
        y = x.exp()
    assert y.is_leaf and not y.requires_grad


def test_an_error_in_backward_leaves_the_engine_usable():
    def fail(ctx, grad):
        raise ZeroDivisionError("on purpose")

    x = leaf(1.0)
    y = define(doubling, fail).apply(x * 2)
    for create_graph in (False, True):
        with pytest.raises(ZeroDivisionError, match="on purpose"):
            y.backward(create_graph=create_graph)
        assert dl.is_grad_enabled() and x.grad is None
    (x * 3).backward()
    assert x.grad.item() == 3


# ---- hooks ---------------------------------------------------------------------------------------------------------


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


# ---- modes ---------------------------------------------------------------------------------------------------------


def test_no_grad_and_enable_grad_nest():
    x = leaf(1.0)
    assert dl.is_grad_enabled()
    with dl.no_grad():
        assert not dl.is_grad_enabled() and not (x * 2).requires_grad
        with dl.enable_grad():
            assert (x * 2).requires_grad
            with dl.set_grad_enabled(False):
                assert not (x * 2).requires_grad
            with dl.set_grad_enabled(True):
                assert (x * 2).requires_grad
        assert not dl.is_grad_enabled()
    assert (x * 2).requires_grad
    with pytest.raises(KeyError), dl.no_grad():
        raise KeyError
    assert dl.is_grad_enabled()


def test_a_mode_object_can_be_entered_again():
    mode = dl.no_grad()
    with mode, mode:
        assert not dl.is_grad_enabled()
    assert dl.is_grad_enabled()
    with mode:
        assert not dl.is_grad_enabled()


def test_modes_as_decorators():
    @dl.no_grad()
    def quiet(x, depth=2):
        """Its own docstring."""
        assert not dl.is_grad_enabled()
        return quiet(x, depth - 1) if depth else loud(x)

    @dl.enable_grad()
    def loud(x):
        return x * 2

    assert quiet(leaf(1.0)).requires_grad and dl.is_grad_enabled()
    assert quiet.__name__ == "quiet" and quiet.__doc__ == "Its own docstring."


def test_modes_are_of_one_thread():
    seen = {}

    def other():
        seen["at start"] = dl.is_grad_enabled()
        with dl.no_grad():
            inside.set()
            leave.wait(10)
        seen["at end"] = dl.is_grad_enabled()

    inside, leave = threading.Event(), threading.Event()
    with dl.no_grad():
        thread = threading.Thread(target=other)
        thread.start()
        inside.wait(10)
    seen["here"] = dl.is_grad_enabled()
    leave.set()
    thread.join()
    assert seen == {"at start": True, "here": True, "at end": True}


def test_backward_on_several_threads():
    """Each on a graph of its own, with a decorated function that several threads are inside of at once."""
    barrier = threading.Barrier(4, timeout=10)
    results = {}

    @dl.no_grad()
    def together():
        barrier.wait()
        return dl.is_grad_enabled()

    def work(number):
        x = scalar(number)
        quiet = together()
        for _ in range(50):
            (x * x).backward()
        results[number] = quiet, dl.is_grad_enabled(), x.grad.item()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {n: (False, True, 100.0 * n) for n in range(4)}


# ---- detect_anomaly ------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    "x, f, kind, name, number",
    [
        (0.0, lambda x: x.sqrt() * 0, "NaN", "Sqrt", 0),
        (0.0, lambda x: x.sqrt(), "Inf", "Sqrt", 0),
        (0.0, lambda x: 1 / x, "Inf", "Div", 1),
        (1e200, lambda x: x * x * x.detach(), "Inf", "Mul", 0),
    ],
)
def test_detect_anomaly_names_the_line_of_the_forward_operation(x, f, kind, name, number):
    x = scalar(x)
    with dl.detect_anomaly():
        y = f(x)
        with pytest.raises(RuntimeError) as caught:
            y.backward()
    line = f.__code__.co_firstlineno
    assert str(caught.value).startswith(f"{name}.backward produced {kind} in the gradient of input number {number}")
    assert f"{__file__}:{line}, in <lambda>: (" in str(caught.value)
    assert x.grad is None
    f(x).backward()  # outside nothing is checked
    assert not np.isfinite(x.grad.item())


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_detect_anomaly_without_a_recorded_line():
    x = scalar(0)
    y = x.sqrt()
    with dl.detect_anomaly(), pytest.raises(RuntimeError, match=r"an operation that ran outside detect_anomaly\(\)"):
        y.backward()


def test_detect_anomaly_lets_finite_gradients_pass():
    x = scalar(2)
    with dl.detect_anomaly():
        (x * x).backward()
        with dl.detect_anomaly():
            pass
        (g,) = dl.grad(x.log(), x, create_graph=True)
        g.backward()
    assert x.grad.item() == 4 - 0.25


# ---- a user's own Function -----------------------------------------------------------------------------------------


def test_a_function_of_ones_own():
    check_second_gradient(Square.apply, normal(3))
    x = leaf(1.0, 2.0)
    y = Square.apply(x)
    assert y.grad_fn.name == "Square" and repr(y.grad_fn) == "<Square>"
    y = Square.apply(x)
    with pytest.raises(TypeError):
        Square.apply(x=x)


def test_several_outputs():
    def forward(ctx, x, y):
        ctx.save_for_backward(x, y)
        return x * y, x + y, np.sin(x)

    def backward(ctx, product, total, sine):
        x, y = ctx.saved_tensors
        return product * y + total + sine * Cos.apply(x), product * x + total

    Cos = define(lambda ctx, x: np.cos(x), lambda ctx, grad: None, "Cos")
    F = define(forward, backward)
    check_gradient(F.apply, normal(2, 3), normal(2, 3, seed=1))
    for chosen in itertools.combinations(range(3), 2):  # an output without a gradient counts as zero
        check_gradient(lambda x, y, chosen=chosen: [F.apply(x, y)[i] for i in chosen], normal(2), normal(2, seed=1))


def test_one_output_in_a_tuple_stays_a_tuple():
    F = define(lambda ctx, x: (2 * x,), lambda ctx, grad: 2 * grad)
    (y,) = F.apply(x := leaf(1.0))
    y.backward()
    assert x.grad.item() == 2


def test_saved_outputs_are_differentiated():
    def forward(ctx, x):
        y = np.exp(x)
        ctx.save_for_backward(y)
        return y

    F = define(forward, lambda ctx, grad: grad * ctx.saved_tensors[0])
    check_second_gradient(F.apply, normal(3))


def test_inputs_that_are_no_tensors():
    def forward(ctx, x, power, name, *rest):
        ctx.power = power
        assert name == "name" and rest == (None,) and ctx.needs_input_grad[1:] == (False, False, False)
        ctx.save_for_backward(x)
        return x**power

    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return ctx.power * x ** (ctx.power - 1) * grad, *nones

    F, nones = define(forward, backward), []
    for _ in range(4):  # those for trailing inputs that are no Tensors may be left out
        check_second_gradient(lambda x: F.apply(x, 3, "name", None), normal(3))
        nones.append(None)


def test_gradients_of_none_and_of_inputs_that_need_none():
    F = define(lambda ctx, x, y: x * y, lambda ctx, grad: (None, grad))
    x, y, c = leaf(2.0), leaf(3.0), dl.Tensor(np.array([4.0]))
    F.apply(x, y).backward()
    assert x.grad is None and y.grad.item() == 1
    F.apply(c, x).backward()
    assert c.grad is None and x.grad.item() == 1
    F.apply(x, c).backward()  # a gradient for what needs none is dropped
    assert c.grad is None and x.grad.item() == 1
    assert dl.grad(F.apply(x, y), [x, y], allow_unused=True)[0] is None


def test_needs_input_grad():
    seen = []
    F = define(lambda ctx, *xs: seen.append(ctx.needs_input_grad) or sum(xs), lambda ctx, grad: (grad,) * 3)
    F.apply(leaf(1.0), dl.tensor(2.0), 3)
    with dl.no_grad():
        F.apply(leaf(1.0), leaf(2.0), leaf(3.0))
    assert seen == [(True, False, False), (False, False, False)]


@pytest.mark.parametrize(
    "backward, error, match",
    [
        (lambda ctx, g: (g, g, g), RuntimeError, "Custom.backward returned 3 gradients for 2 inputs"),
        (lambda ctx, g: g, RuntimeError, "Custom.backward returned 1 gradients for 2 inputs"),
        (lambda ctx, g: (), RuntimeError, "Custom.backward returned 0 gradients for 2 inputs"),
        (
            lambda ctx, g: (g, g.reshape(1, 2)),
            ValueError,
            r"Custom.backward: the gradient of input number 1 has shape \(1, 2\), it must be \(2,\)",
        ),
        (lambda ctx, g: (g.sum(), g), ValueError, r"input number 0 has shape \(\), it must be \(2,\)"),
        (lambda ctx, g: (g, g.float()), TypeError, "input number 1 has dtype float32, it must be float64"),
        (lambda ctx, g: (g, g.data.astype(int)), TypeError, "input number 1 has dtype int64, it must be float64"),
        (lambda ctx, g: (g, 0.0), TypeError, "Custom.backward returned float as gradient of input number 1"),
        (lambda ctx, g: (g, [1.0, 2.0]), TypeError, "Custom.backward returned list as gradient of input number 1"),
    ],
)
def test_a_backward_that_returns_something_else(backward, error, match):
    F = define(lambda ctx, x, y: x + y, backward)
    x, y = leaf(1.0, 2.0), leaf(3.0, 4.0)
    with pytest.raises(error, match=match):
        F.apply(x, y).sum().backward()
    assert x.grad is None and y.grad is None


@pytest.mark.parametrize("result", [None, [np.zeros(2)], 1.0, "text", (np.zeros(2), None)])
def test_a_forward_that_returns_something_else(result):
    kind = type(result[-1] if isinstance(result, tuple) else result).__name__
    with pytest.raises(TypeError, match=f"Custom.forward must return arrays, got {kind}"):
        define(lambda ctx, x: result, None).apply(leaf(1.0))


def test_numpy_numbers_are_arrays():
    F = define(lambda ctx, x: x.sum(), lambda ctx, grad: np.full(2, grad.item()))
    x = leaf(1.0, 2.0)
    y = F.apply(x)
    assert y.shape == () and type(y.data) is np.ndarray
    y.backward()
    assert x.grad.tolist() == [1, 1]


def test_a_function_without_its_methods():
    with pytest.raises(NotImplementedError, match=r"static method forward\(ctx, \*inputs\)"):
        type("Empty", (dl.Function,), {}).apply(leaf(1.0))
    with pytest.raises(NotImplementedError, match=r"static method backward\(ctx, \*grad_outputs\)"):
        type("Half", (dl.Function,), {"forward": staticmethod(doubling)}).apply(leaf(1.0)).backward()


# 2 x g, as arrays
ArraySquare = define(saving, lambda ctx, grad: 2 * ctx.saved_tensors[0].data * grad.data, "ArraySquare")


def test_a_backward_that_returns_arrays_cannot_be_differentiated_again():
    x = scalar(3)
    ArraySquare.apply(x).backward()
    assert x.grad.item() == 6
    message = "ArraySquare.backward returned NumPy arrays, which cannot be differentiated again"
    y = ArraySquare.apply(x)
    (g,) = dl.grad(y, x, create_graph=True)
    assert g.item() == 6 and g.requires_grad
    with pytest.raises(RuntimeError, match=message):
        g.backward()
    with pytest.raises(RuntimeError, match=message):
        dl.grad(g, x, allow_unused=True)


def test_arrays_from_backward_are_an_error_also_where_another_path_is_differentiable():
    """The second derivative of x^2 * x would silently lack the term of the Function."""
    x = scalar(3)
    (g,) = dl.grad(ArraySquare.apply(x) * x, x, create_graph=True)
    assert g.item() == 27
    with pytest.raises(RuntimeError, match="ArraySquare.backward returned NumPy arrays"):
        dl.grad(g, x)
    (g,) = dl.grad(ArraySquare.apply(x) + x * x, x, create_graph=True)
    with pytest.raises(RuntimeError, match="ArraySquare.backward returned NumPy arrays"):
        g.backward()


def test_an_array_from_a_linear_backward_is_harmless_to_what_does_not_reach_it():
    x, y = scalar(3), scalar(2)
    gx, gy = dl.grad(ArraySquare.apply(x) + y * y, [x, y], create_graph=True)
    assert dl.grad(gy, y)[0].item() == 2


def test_a_saved_intermediate_cannot_be_differentiated_again():
    def forward(ctx, x):
        twice = 2 * x
        ctx.save_for_backward(x, twice)
        return x * x

    F = define(forward, lambda ctx, grad: ctx.saved_tensors[1] * grad, "Intermediate")
    x = scalar(3)
    F.apply(x).backward()
    assert x.grad.item() == 6
    with pytest.raises(RuntimeError, match="Intermediate cannot be differentiated twice: array number 1 that it saved"):
        dl.grad(F.apply(x), x, create_graph=True)


def test_saved_integers_and_other_things():
    def forward(ctx, x):
        index = np.array([1, 0])
        ctx.save_for_backward(x, index, None, 3)
        return x[index]

    def backward(ctx, grad):
        x, index, nothing, three = ctx.saved_tensors
        assert (nothing, three) == (None, 3) and isinstance(index, dl.Tensor)
        return grad[index]

    check_second_gradient(define(forward, backward).apply, normal(2))


def test_integer_outputs_require_no_gradient():
    F = define(lambda ctx, x: (x * 2, x.argmax(), x > 0), lambda ctx, grad, index, positive: 2 * grad)
    x = leaf(1.0, 2.0)
    y, index, positive = F.apply(x)
    assert y.requires_grad and not index.requires_grad and not positive.requires_grad
    assert index.item() == 1 and positive.tolist() == [True, True]
    (y * index).sum().backward()
    assert x.grad.tolist() == [2, 2]


def test_a_function_that_returns_its_input_shares_its_memory():
    Identity = define(lambda ctx, x: x, lambda ctx, grad: grad, "Identity")
    x = leaf(1.0, 2.0)
    y = Identity.apply(x)
    square = x * x
    with pytest.raises(RuntimeError, match="shares its memory with another"):
        y.add_(1)
    with dl.no_grad():
        y.add_(1)
    assert x.tolist() == [2, 3]
    with pytest.raises(RuntimeError, match="changed in place"):
        square.sum().backward()
    y.sum().backward()
    assert x.grad.tolist() == [1, 1]


def test_a_function_that_calls_functions():
    def forward(ctx, x):
        ctx.save_for_backward(x)
        with dl.no_grad():
            return Double.apply(Square.apply(dl.Tensor(x))).data

    F = define(forward, lambda ctx, grad: 4 * ctx.saved_tensors[0] * grad)
    check_second_gradient(F.apply, normal(3))


def test_backward_inside_backward():
    """Checkpointing: a backward that recomputes its forward and differentiates it with a pass of its own."""

    def forward(ctx, x):
        ctx.save_for_backward(x)
        return np.exp(x) * x

    def backward(ctx, grad):
        x = ctx.saved_tensors[0].detach().requires_grad_()
        with dl.enable_grad():
            y = x.exp() * x
        return dl.grad(y, x, grad)

    check_gradient(define(forward, backward).apply, normal(3))


def test_backward_sees_whether_it_is_recorded():
    seen = []
    F = define(doubling, lambda ctx, grad: seen.append((dl.is_grad_enabled(), grad.requires_grad)) or 2 * grad)
    x = leaf(1.0)
    F.apply(x).backward()
    F.apply(x).backward(dl.Tensor(np.ones(1), True))
    F.apply(x).backward(dl.Tensor(np.ones(1), True), create_graph=True)
    assert seen == [(False, False), (False, False), (True, True)]


# ---- higher derivatives --------------------------------------------------------------------------------------------


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


# ---- anything goes -------------------------------------------------------------------------------------------------

# What one step of a random program does with two 2 x 2 matrices: new values, views, and changes in place.
NEW_VALUES = [
    lambda lib, x, y: x + y,
    lambda lib, x, y: x - 3 * y,
    lambda lib, x, y: x * y,
    lambda lib, x, y: x / (y * y + 1),
    lambda lib, x, y: x @ y,
    lambda lib, x, y: (x * 0.3).tanh() + y,
    lambda lib, x, y: x.relu(),
    lambda lib, x, y: (x * 0.1).exp(),
    lambda lib, x, y: x**2,
    lambda lib, x, y: x.softmax(1),
    lambda lib, x, y: x.mean(0, keepdim=True) + y,
    lambda lib, x, y: x.max(1)[0].reshape(2, 1) * y,
    lambda lib, x, y: x.flip((0,)),
    lambda lib, x, y: x.clone(),
    lambda lib, x, y: x.detach() * y,
    lambda lib, x, y: x[[1, 1]],
    lambda lib, x, y: lib.where(x > y, x, y * 2),
    lambda lib, x, y: lib.cat([x, y])[1:3] * 2,
]
VIEWS = [lambda lib, x, y: x.T, lambda lib, x, y: x[0].expand(2, 2), lambda lib, x, y: x.reshape(4).reshape(2, 2)]
IN_PLACE = [
    lambda lib, x, y: x.add_(y * 1),
    lambda lib, x, y: x.sub_(y[0] * 1),
    lambda lib, x, y: x.mul_(y * 1),
    lambda lib, x, y: x.mul_(1.5),
    lambda lib, x, y: x.__setitem__((0, 1), y[1, 0] * 2),
    lambda lib, x, y: x.__setitem__(1, y[0] * 1),
    lambda lib, x, y: x.__setitem__((slice(None), 0), 0.0),
    lambda lib, x, y: x.copy_(y * 1),
]


def run_program(lib, steps, leaves):
    values = [leaf * 1 for leaf in leaves]
    for step, i, j in steps:
        result = step(lib, values[i], values[j])
        values.append(values[i] if step in IN_PLACE else result)
    loss = (values[-1] * values[-1]).sum() + values[len(values) // 2].sum() + values[0].sum()
    loss.backward()
    return [loss.item()] + [np.zeros((2, 2)) if leaf.grad is None else leaf.grad.numpy() for leaf in leaves]


def test_random_programs_agree_with_pytorch():
    """Some programs are refused by either side, because a value that backward needs was changed, or has views."""
    torch = pytest.importorskip("torch")
    random, agreed = np.random.default_rng(0), 0
    for _ in range(1000):
        steps = []
        for count in range(3, random.integers(6, 16)):
            kind = (NEW_VALUES, VIEWS, IN_PLACE)[random.choice(3, p=[0.7, 0.1, 0.2])]
            steps.append((kind[random.integers(len(kind))], *random.integers(0, count, 2)))
        values = [random.standard_normal((2, 2)) for _ in range(3)]
        try:
            expected = run_program(torch, steps, [torch.tensor(v, requires_grad=True) for v in values])
            got = run_program(ops, steps, [dl.Tensor(v, requires_grad=True) for v in values])
        except RuntimeError:
            continue
        for g, e in zip(got, expected, strict=True):
            np.testing.assert_allclose(g, e, rtol=1e-8, atol=1e-8 * np.abs(e).max())
        agreed += 1
    assert agreed > 400


# ---- what an author of Functions may say ---------------------------------------------------------------------------


def test_outputs_marked_as_not_differentiable():
    def forward(ctx, x):
        ctx.save_for_backward(x)
        count = np.array([float(len(x))])
        ctx.mark_non_differentiable(count)
        return x * x, count

    seen = []

    def backward(ctx, grad, of_count):
        seen.append(of_count.tolist())
        return 2 * ctx.saved_tensors[0] * grad

    F, x = define(forward, backward), leaf(1.0, 2.0)
    y, count = F.apply(x)
    assert y.requires_grad and not count.requires_grad and count.is_leaf
    (y * count).sum().backward()
    assert x.grad.tolist() == [4, 8] and seen == [[0]]
    only = define(lambda ctx, x: ctx.mark_non_differentiable(y := x.argmax() * 1.0) or y, None)
    assert not only.apply(x).requires_grad


@pytest.mark.parametrize("create_graph", [False, True])
def test_gradients_that_are_not_materialized(create_graph):
    seen = []

    def forward(ctx, x):
        ctx.set_materialize_grads(False)
        return 2 * x, 3 * x

    def backward(ctx, a, b):
        seen.append((a is None, b is None))
        return 2 * a if b is None else 3 * b if a is None else 2 * a + 3 * b

    F, x = define(forward, backward), leaf(1.0)
    for chosen in ([0], [1], [0, 1]):
        outputs = F.apply(x)
        sum(outputs[i] for i in chosen).backward(create_graph=create_graph)
        x.grad = None
    assert seen == [(False, True), (True, False), (False, False)]


def test_the_graph_can_be_walked():
    x, c = leaf(1.0), dl.Tensor(np.array([2.0]))
    y = (x * c) + x.exp()
    (first, _), (second, index) = y.grad_fn.next_functions
    assert (first.name, second.name, index) == ("Mul", "Exp", 0)
    assert first.next_functions == ((x, 0), (None, 0))
    with pytest.raises(AttributeError):
        y.grad_fn.next_functions = ()


def test_an_elementwise_function_of_ones_own():
    """Its formula runs on arrays, on Tensors where it is recorded, and its gradients are summed over repeated axes."""
    kinds = set()

    class Hypotenuse(dl.Function):
        elementwise = True

        @staticmethod
        def forward(ctx, a, b):
            y = np.hypot(a, b)
            ctx.save_for_backward(a, b, y)
            return y

        @staticmethod
        def backward(ctx, grad):
            a, b, y = ctx.saved_tensors
            kinds.add(type(y))
            return grad * a / y, grad * b / y

    for shapes in [((2, 3), (2, 3)), ((2, 3), (3,)), ((2, 1), (1, 3)), ((), (2,)), ((), ()), ((4, 1, 3), (2, 1))]:
        check_second_gradient(Hypotenuse.apply, normal(*shapes[0]) + 3, normal(*shapes[1], seed=1) - 3)
    assert kinds == {np.ndarray, dl.Tensor}


@pytest.mark.parametrize(
    "backward, error, match",
    [
        (lambda ctx, g: (g, g[:1]), ValueError, r"input number 1 has shape \(1,\), it must be \(2,\)"),
        (lambda ctx, g: (g.reshape(2, 1), g), ValueError, r"input number 0 has shape \(2, 1\), it must be \(2,\)"),
        (lambda ctx, g: (g, g.astype(np.float32)), TypeError, "input number 1 has dtype float32, it must be float64"),
        (lambda ctx, g: (g, 1.0), TypeError, "backward returned float as gradient of input number 1"),
    ],
)
def test_an_elementwise_backward_that_returns_something_else(backward, error, match):
    F = define(lambda ctx, x, y: x + y, backward)
    F.elementwise = True
    with pytest.raises(error, match=match):
        F.apply(leaf(1.0, 2.0), leaf(3.0, 4.0)).sum().backward()


# ---- arrays of two libraries ---------------------------------------------------------------------------------------


class ArrayElsewhere:
    """Stands in for an array on a GPU: it computes with its like, and refuses NumPy's."""

    __cuda_array_interface__ = {}
    __array_priority__ = 1000
    __array_ufunc__ = None
    base = None

    def __init__(self, array):
        self.array, self.shape, self.dtype, self.ndim = array, array.shape, array.dtype, array.ndim

    def __add__(self, other):
        if isinstance(other, np.ndarray):
            raise TypeError("unsupported operand")
        return ArrayElsewhere(self.array + (other.array if isinstance(other, ArrayElsewhere) else other))

    __radd__ = __add__


def test_devices():
    here, there = dl.Tensor(np.ones(2)), dl.Tensor(ArrayElsewhere(np.ones(2)))
    assert (here.device, there.device) == ("cpu", "cuda")
    both = there + there
    assert both.device == "cuda" and both.data.array.tolist() == [2, 2] and (there + 1).data.array.tolist() == [2, 2]
    with pytest.raises(RuntimeError, match="Add: input 0 is on cpu, input 1 on cuda; all must be on one device"):
        here + there
    with pytest.raises(RuntimeError, match="Add: input 0 is on cuda, input 1 on cpu; all must be on one device"):
        there + here
    F = define(lambda ctx, n, *xs: xs[0] + xs[1] + xs[2], None, "Three")
    with pytest.raises(RuntimeError, match="Three: input 1 is on cuda, input 3 on cpu"):
        F.apply(3, there, there, here)
    with pytest.raises(TypeError, match="unsupported operand"):  # the error was not about devices
        define(lambda ctx, x: x + np.ones(2), None).apply(there)


# ---- detect_anomaly in depth ---------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_detect_anomaly_names_the_users_line_of_a_module():
    net = dl.nn.Sequential(dl.nn.Linear(2, 2), dl.nn.Linear(2, 2))
    with dl.detect_anomaly():
        y = net(dl.tensor([[1.0, 2.0]]))  # the users line
        with pytest.raises(RuntimeError, match=r"backward produced NaN .*test_function.py:\d+, .*# the users line"):
            y.backward([[np.inf, np.inf]])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_detect_anomaly_says_where_the_forward_pass_went_wrong():
    x = leaf(-1.0, 1.0)
    with dl.detect_anomaly():
        y = x.log()  # the first
        z = (y * y).exp()
        with pytest.raises(RuntimeError) as caught:
            z.sum().backward()
    assert "Exp.backward produced NaN" in str(caught.value)
    assert "Log.forward had given NaN or Inf before, at" in str(caught.value)
    assert str(caught.value).endswith("# the first")
