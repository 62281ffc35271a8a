"""The backward pass over the graph: its order, where gradients go, what it keeps."""

import itertools
import sys
import weakref

import numpy as np
import pytest
from graphs import Square, define, doubling, leaf, no_garbage_collector, saving, scalar

import minidl as dl
from minidl import function, ops
from minidl.gradcheck.samples import SAMPLES

# ---- the shape of the graph ------------------------------------------------------------------------------------------


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
    monkeypatch.setattr(function, "next_sequence", itertools.count().__next__)
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


# ---- where gradients go ----------------------------------------------------------------------------------------------


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


# ---- keeping and freeing the graph -----------------------------------------------------------------------------------


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


def test_what_is_said_to_be_new_shares_no_memory(monkeypatch):
    """Over the samples of every operation: those that say gives_new against the look that others get."""
    autograd = sys.modules["minidl.autograd"]
    seen, differentiate = set(), autograd._differentiate

    def watched(node, ctx, grads, recording):
        results = differentiate(node, ctx, grads, recording)
        if node.gives_new:
            seen.add(node.name)
            for result in results:
                assert result is None or autograd._own(result, ctx, grads, results) is result, node.name
        return results

    monkeypatch.setattr(autograd, "_differentiate", watched)
    for sample in [sample for samples in SAMPLES.values() for sample in samples]:
        inputs = [dl.Tensor(array) for array in sample.inputs(np.random.default_rng(0))]
        for x in inputs:
            x.requires_grad_(x.dtype.kind in "fc")
        outputs = sample.f(*inputs)
        for y in outputs if isinstance(outputs, tuple | list) else [outputs]:
            for recorded in (False, True) if isinstance(y, dl.Tensor) and y.requires_grad else ():
                y.backward(dl.Tensor(np.ones(y.shape, y.dtype)), retain_graph=True, create_graph=recorded)
    assert seen == {"Conv2d", "Conv2dReLU", "Linear", "LinearReLU", "BatchNorm"}
