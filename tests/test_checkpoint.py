"""checkpoint: bit for bit what the plain run gives, with the memory of the segments free in between."""

import gc
import itertools
import tracemalloc
import weakref

import numpy as np
import pytest
from helpers import close, normal

import minidl as dl
from minidl import nn, ops, random


def leaf(*shape, seed=0, dtype=np.float64):
    return dl.Tensor(normal(*shape, seed=seed, dtype=dtype), requires_grad=True)


def plain(function, *args, **kwargs):
    return function(*args, **kwargs)


class Block(nn.Module):
    """Convolution, pooling (which keeps indices), ReLU, and a product whose both factors are saved."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1)
        self.pool = nn.MaxPool2d(3, 1, 1)

    def forward(self, x):
        y = self.pool(self.conv(x)).relu()
        return y * self.conv(y).tanh()


def net(run):
    """Two blocks after one another; values and gradients of x and of all parameters."""
    dl.manual_seed(0)
    first, second, x = Block(), Block(), leaf(2, 2, 5, 5, dtype=np.float32)
    loss = (run(second, run(first, x)) ** 2).sum()
    parameters = [*first.parameters(), *second.parameters()]
    return loss, x, parameters


def same(got, expected):
    for g, e in zip(got, expected, strict=True):
        np.testing.assert_array_equal(g.detach().numpy(), e.detach().numpy())


def test_values_and_gradients_are_those_of_the_plain_run_bit_for_bit():
    results = []
    for run in (plain, dl.checkpoint):
        loss, x, parameters = net(run)
        loss.backward()
        results.append([loss, x.grad, *(p.grad for p in parameters)])
    same(*results)


def test_grad_and_second_derivatives():
    """The second ones to rounding: they flow through both runs, and are added up in another order."""
    results, exact = [], []
    for run in (plain, dl.checkpoint):
        loss, x, parameters = net(run)
        firsts = dl.grad(loss, [x, *parameters], create_graph=True)
        penalty = sum((g * g).sum() for g in firsts)
        results.append(dl.grad(penalty, [x, *parameters]))
        exact.append([loss, *firsts])
    same(*exact)
    for got, expected in zip(*results, strict=True):
        close(got.numpy(), expected.numpy(), 1e-5)


def test_derivatives_to_the_third_order_through_nested_checkpoints():
    def cube(x, run):
        return run(lambda x: run(lambda x: x * x, x) * x, x)

    results = []
    for run in (plain, dl.checkpoint):
        x = leaf(3)
        y, all_ = cube(x, run).sum(), []
        for _ in range(3):
            (y,) = dl.grad(y, x, create_graph=True)
            all_.append(y)
            y = y.sum()
        results.append(all_)
    same(*results)
    assert results[1][2].tolist() == [6, 6, 6]


@pytest.mark.parametrize("create_graph", [False, True])
def test_nested_checkpoints_run_no_more_than_needed(create_graph):
    runs = []

    def inner(x):
        runs.append("inner")
        return x.exp() * x

    def outer(x):
        runs.append("outer")
        return dl.checkpoint(inner, x * 2).tanh()

    x = leaf(3)
    y = dl.checkpoint(outer, x).sum()
    assert runs == ["outer", "inner"]
    y.backward(create_graph=create_graph)
    assert runs == ["outer", "inner", "outer", "inner", "inner"]
    twin = dl.Tensor(x.data, requires_grad=True)
    ((twin * 2).exp() * (twin * 2)).tanh().sum().backward()
    np.testing.assert_array_equal(x.grad.detach().numpy(), twin.grad.numpy())


def test_several_outputs_inputs_and_structures():
    def f(a, numbers, *, scale, extra=None):
        b, c = numbers["b"], numbers["c"]
        return a * b, {"sum": (a + c.exp()) * scale, "none": extra}, [b.tanh(), 3]

    results = []
    for run in (plain, dl.checkpoint):
        a, b, c = leaf(3), leaf(3, seed=1), leaf(3, seed=2)
        product, more, (tanh, three) = run(f, a, {"b": b, "c": c}, scale=2.0)
        assert three == 3 and more["none"] is None
        (product.sum() + (more["sum"] ** 2).sum()).backward()  # tanh is not used
        results.append([product, more["sum"], tanh, a.grad, b.grad, c.grad])
    same(*results)


def test_inputs_that_do_not_require_a_gradient():
    x, w = dl.Tensor(normal(3)), leaf(3, seed=1)
    dl.checkpoint(lambda x: (x * w).exp(), x).sum().backward()
    np.testing.assert_array_equal(w.grad.numpy(), np.exp(x.data * w.data) * x.data)
    assert not dl.checkpoint(lambda x: x.exp(), x).requires_grad


def test_no_grad_is_a_plain_call():
    runs, x = [], leaf(3)
    with dl.no_grad():
        y = dl.checkpoint(lambda x: runs.append(1) or x.exp(), x)
    assert y.is_leaf and runs == [1]


def test_hooks_see_each_gradient_once():
    seen = []

    def f(x):
        y = x * 2
        y.register_hook(lambda g: seen.append(("inside", g.tolist())) or g * 10)
        return y.exp()

    x = leaf(2)
    y = dl.checkpoint(f, x)
    y.register_hook(lambda g: seen.append(("output", g.tolist())))
    x.register_hook(lambda g: seen.append(("input", len(g))))
    y.sum().backward()
    assert [name for name, _ in seen] == ["output", "inside", "input"]
    np.testing.assert_array_equal(x.grad.numpy(), np.exp(x.data * 2) * 10 * 2)


def test_retain_graph_and_freed_graphs():
    x = leaf(3)
    y = dl.checkpoint(lambda x: x.exp() * x, x).sum()
    y.backward(retain_graph=True)
    first = x.grad.numpy().copy()
    y.backward()
    np.testing.assert_array_equal(x.grad.numpy(), 2 * first)
    with pytest.raises(RuntimeError, match="backward through Mul a second time"):
        y.backward()


def drop(x):
    """Dropout: a mask from minidl's generator, kept as a constant."""
    return x * dl.Tensor((random.generator().random(x.shape) < 0.5).astype(x.dtype))


def test_the_second_run_draws_the_same_random_numbers_and_the_generator_goes_on():
    draws, gradients = [], []
    for run in (plain, dl.checkpoint):
        dl.manual_seed(1)
        x = leaf(1000)
        y = run(lambda x: drop(drop(x).exp()), x)
        draws.append(random.generator().random())
        y.sum().backward()
        draws.append(random.generator().random())
        gradients.append(x.grad)
    same(*[[g] for g in gradients])
    assert draws[:2] == draws[2:]


def test_without_the_generators_state_the_mask_is_another():
    dl.manual_seed(1)
    x = leaf(1000)
    y = dl.checkpoint(drop, x, preserve_rng_state=False)
    y.sum().backward()
    assert ((y.detach().numpy() != 0) != (x.grad.numpy() != 0)).any()


# ---- memory --------------------------------------------------------------------------------------------------------


class Keeping(dl.Function):
    """Keeps an array as an attribute of ctx, as a pooling does its indices."""

    kept = []

    @staticmethod
    def forward(ctx, x):
        ctx.mask = (x > 0).astype(x.dtype)
        Keeping.kept.append(weakref.ref(ctx.mask))
        return x * ctx.mask

    @staticmethod
    def backward(ctx, grad):
        return grad * dl.Tensor(ctx.mask)


def test_what_was_saved_or_kept_dies_after_the_first_run_and_after_its_use_in_the_second():
    inner, alive = [], []

    def f(x):
        y = (x * 2).exp()
        inner.append(weakref.ref(y.data))
        z = Keeping.apply(y)
        z.register_hook(lambda g: alive.append(None if inner[-1]() is None else "exp"))
        return z.tanh()

    Keeping.kept.clear()
    gc.disable()
    try:
        x = leaf(3)
        y = dl.checkpoint(f, x)
        assert inner[0]() is None and Keeping.kept[0]() is None
        y.sum().backward()
        assert len(inner) == 2 and inner[1]() is None and Keeping.kept[1]() is None
        assert alive == ["exp"]  # in the second run it is there until it has been used
    finally:
        gc.enable()


def test_a_long_chain_takes_the_memory_of_one_segment():
    def segment(x):
        for _ in range(10):
            x = x.sin()  # by NumPy, whose memory tracemalloc sees
        return x

    def peak(run):
        x = dl.Tensor(np.zeros(100_000), requires_grad=True)
        tracemalloc.start()
        y = x
        for _ in range(10):
            y = run(segment, y)
        y.sum().backward()
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most / x.data.nbytes

    assert peak(plain) > 100
    assert peak(dl.checkpoint) < 35  # ten inputs, the ten values of one segment, and what is being computed


def test_a_segment_dies_with_its_nodes():
    class Argument:
        pass

    gc.disable()
    try:
        x, argument = leaf(3), Argument()
        reference = weakref.ref(argument)
        y = dl.checkpoint(lambda x, _: x.exp(), x, argument)
        del argument
        assert reference() is not None
        y.sum().backward()
        assert reference() is None
        y = dl.checkpoint(lambda x, _: x.exp(), x, argument := Argument())
        reference = weakref.ref(argument)
        del argument, y
        assert reference() is None
    finally:
        gc.enable()


# ---- what goes wrong -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "second, match",
    [
        (lambda x: x.exp().tanh(), "first run recorded 1 operations, the second 2"),
        (lambda x: x, "first run recorded 1 operations, the second 0"),
        (lambda x: x.tanh(), r"operation number 0 was Exp to float64 of shape \(3,\).* and Tanh to"),
        (lambda x: x[:2].exp(), r"operation number 0 was Exp to .* and GetItem to float64 of shape \(2,\)"),
    ],
)
def test_a_second_run_that_differs(second, match):
    runs = itertools.chain([lambda x: x.exp()], itertools.repeat(second))
    x = leaf(3)
    y = dl.checkpoint(lambda x: next(runs)(x), x).sum()
    with pytest.raises(RuntimeError, match=f"checkpoint: .*{match}.* must do the same each time"):
        y.backward()
    assert x.grad is None


def test_a_parameter_that_is_frozen_in_between():
    x, w = leaf(3), leaf(3, seed=1)
    y = dl.checkpoint(lambda x: x * w, x).sum()
    w.requires_grad_(False)
    with pytest.raises(RuntimeError, match=r"\(True, True\).* in the first run and .*\(True, False\)"):
        y.backward()


def test_changes_in_place_between_the_runs_are_named():
    x, w = leaf(3), leaf(3, seed=1)
    y = dl.checkpoint(lambda x: x * w, x).sum()
    with dl.no_grad():
        w.add_(1)
    with pytest.raises(RuntimeError, match="that Mul saved for its backward .* changed in place afterwards by add_"):
        y.backward()
    y = dl.checkpoint(lambda x: x + w, x).sum()
    with dl.no_grad():
        x.mul_(2)
    with pytest.raises(RuntimeError, match="checkpoint: an argument of shape .* changed in place by mul_"):
        y.backward()


def test_exceptions_leave_the_engine_usable():
    runs = itertools.count()

    def f(x, fail):
        if next(runs) == fail:
            raise ZeroDivisionError("on purpose")
        return drop(x).exp()

    x = leaf(3)
    with pytest.raises(ZeroDivisionError):
        dl.checkpoint(f, x, 0)
    y = dl.checkpoint(f, x, 2)
    dl.manual_seed(5)
    with pytest.raises(ZeroDivisionError):
        y.sum().backward()
    drawn = random.generator().random()
    dl.manual_seed(5)
    assert drawn == random.generator().random()
    assert dl.is_grad_enabled() and x.grad is None
    z = x * 2
    assert vars(z.grad_fn)["_edges"]  # no segment takes later nodes in
    dl.checkpoint(f, x, -1).sum().backward()
    assert x.grad is not None


def test_changes_in_place_inside_a_segment():
    def f(x):
        y = x * 2
        y[1:].mul_(x[:2])
        return y.exp()

    results = []
    for run in (plain, dl.checkpoint):
        x = leaf(3)
        y = run(f, x)
        y.sum().backward()
        results.append([y, x.grad])
    same(*results)


def test_a_gradient_is_not_a_parameters_memory():
    class Pass(dl.Function):
        @staticmethod
        def forward(ctx, x, w):
            ctx.save_for_backward(x, w)
            return x * w

        @staticmethod
        def backward(ctx, grad):
            x, w = ctx.saved_tensors
            return w, x  # right where the gradient is 1

    x, w = leaf(3), leaf(3, seed=1)
    dl.checkpoint(Pass.apply, x, w).sum().backward()
    assert not np.shares_memory(x.grad.data, w.data) and not np.shares_memory(w.grad.data, x.data)


def test_detect_anomaly_names_the_line_inside_the_segment():
    def f(x):
        y = x * 2
        return y.sqrt()  # this line

    x = dl.Tensor(np.zeros(2), requires_grad=True)
    with dl.detect_anomaly(), pytest.raises(RuntimeError, match=r"Sqrt.backward produced Inf .*# this line"):
        with np.errstate(divide="ignore"):
            dl.checkpoint(f, x).sum().backward()


def test_an_operation_of_pytorch_agrees():
    torch = pytest.importorskip("torch")
    from torch.utils.checkpoint import checkpoint

    values, weights = normal(3, 4), normal(4, 4, seed=1)

    def f(w):
        return lambda x: ((x @ w).tanh() @ w).exp()

    x, w = dl.Tensor(values, True), dl.Tensor(weights, True)
    dl.checkpoint(f(w), dl.checkpoint(f(w), x)).sum().backward()
    tx, tw = (torch.tensor(v, requires_grad=True) for v in (values, weights))
    checkpoint(f(tw), checkpoint(f(tw), tx, use_reentrant=False), use_reentrant=False).sum().backward()
    for got, expected in ((x, tx), (w, tw)):
        np.testing.assert_allclose(got.grad.numpy(), expected.grad.numpy(), rtol=1e-10)


def test_ops_is_untouched():
    assert ops.exp(leaf(1)).grad_fn._twin is None
