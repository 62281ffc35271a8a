"""Changes in place of Tensors that share memory: values and gradients are PyTorch's, whatever is a view of what."""

import gc
import weakref

import numpy as np
import pytest
from helpers import check_gradient, check_second_gradient, close, normal

import minidl as dl
from minidl import ops


def leaf(*shape, seed=0):
    return dl.Tensor(normal(*shape, seed=seed), requires_grad=True)


# ---- against PyTorch -----------------------------------------------------------------------------------------------

CASES = {
    "y[0] += 1": lambda y, w: y.__setitem__(0, y[0].add_(1)),
    "y[:, 0].mul_(2)": lambda y, w: y[:, 0].mul_(2),
    "a slice takes a sum": lambda y, w: y[1:3].add_(w),
    "a transpose of a slice of a reshape": lambda y, w: y.reshape(2, 8)[:, 2:6].T.mul_(w.T),
    "a view and then its base": lambda y, w: (y[1:3].mul_(w), y.mul_(3)),
    "a base and then its view": lambda y, w: (y[1:3], y.mul_(3))[0].mul_(w),
    "two views that overlap": lambda y, w: (y[0:2].mul_(w), y[1:3].mul_(w)),
    "a view of a view": lambda y, w: y[1:][:2].sub_(w),
    "an assignment to a view": lambda y, w: y.T.__setitem__((slice(None), 0), w[1]),
    "an assignment by an array of indices": lambda y, w: y[1:].__setitem__([2, 0], w),
    "a view takes its own base's values": lambda y, w: y[0].add_(y.sum(0)),
    "a view is zeroed": lambda y, w: y[1:3].zero_(),
    "a view is filled and then used": lambda y, w: y[1:3].fill_(2.0).mul_(w),
    "a diagonal": lambda y, w: y.diagonal(1).mul_(w[0, 1:]),
    "a column of a narrower matrix": lambda y, w: y.narrow(0, 1, 2).select(1, 3).add_(w[:, 0]),
    "one element": lambda y, w: y[2, 3].add_(w[0, 0]),
    "all of it": lambda y, w: y.reshape(16).mul_(w.sum()),
    "an axis of extent one": lambda y, w: y.unsqueeze(0)[:, 1:3].squeeze(0).add_(w),
}


@pytest.mark.parametrize("name", CASES)
def test_a_change_through_a_view_matches_pytorch(name):
    """An earlier view, a later one, the base and what was computed before the change all enter the loss."""
    torch = pytest.importorskip("torch")

    def gradients(x, w):
        y = x * 2 + 1
        before, early = (y + 1).sum(), y[:, 1:].T
        CASES[name](y, w)
        late = y.reshape(4, 4)[2]
        loss = before + (y.exp() * 0.01).sum() + (early**2).sum() + (late**3).sum()
        loss.backward()
        return [loss, y, early, late, x.grad, w.grad]

    values, weights = normal(4, 4, seed=1), normal(2, 4, seed=2)
    got = gradients(dl.Tensor(values, True), dl.Tensor(weights, True))
    expected = gradients(torch.tensor(values, requires_grad=True), torch.tensor(weights, requires_grad=True))
    for g, e in zip(got, expected, strict=True):
        if e is None:
            assert g is None
        else:
            close(g.detach().numpy(), e.detach().numpy(), 1e-12, name)


def test_a_constant_takes_part_once_its_view_is_changed():
    torch = pytest.importorskip("torch")

    def gradients(x, zeros):
        other = zeros[2:]
        zeros[:2].add_(x)
        zeros[1:3].mul_(3)
        (zeros * zeros + other.sum()).sum().backward()
        return [zeros.detach().numpy(), x.grad.numpy()]

    got = gradients(dl.Tensor(normal(2), True), dl.Tensor(np.zeros(4)))
    expected = gradients(torch.tensor(normal(2), requires_grad=True), torch.zeros(4, dtype=torch.float64))
    for g, e in zip(got, expected, strict=True):
        close(g, e, 1e-12)


# What one step of a random program does with two of its 4 x 4 matrices.
NEW_VALUES = [
    lambda lib, x, y: x + y,
    lambda lib, x, y: x * 0.5,
    lambda lib, x, y: x * y * 0.3,
    lambda lib, x, y: (x * 0.3).tanh(),
    lambda lib, x, y: x.clone(),
    lambda lib, x, y: x.detach() + y,
    lambda lib, x, y: x @ y * 0.1,
    lambda lib, x, y: lib.cat([x[2:], y[:2]]),
]
VIEWS = [
    lambda lib, x, y: x.T,
    lambda lib, x, y: x.reshape(2, 8).reshape(4, 4),
    lambda lib, x, y: x[:, :],
    lambda lib, x, y: x.unsqueeze(0)[0],
    lambda lib, x, y: x.reshape(16)[:].reshape(4, 4),
    lambda lib, x, y: x.T.unsqueeze(1).squeeze(1),
    lambda lib, x, y: x.detach(),
]
IN_PLACE = [  # operands have memory of their own: PyTorch reads overlapping operands while it writes
    lambda lib, x, y: x.add_(y * 0.5),
    lambda lib, x, y: x.mul_(0.5),
    lambda lib, x, y: x[1:3].add_(y[:2] * 1),
    lambda lib, x, y: x[:, 1].mul_(y[0].detach() * 1),
    lambda lib, x, y: x.T[1:].sub_(y[1:] * 1),
    lambda lib, x, y: x.reshape(16)[3:9].mul_(0.5),
    lambda lib, x, y: x[0, 1:].zero_(),
    lambda lib, x, y: x[2:].copy_(y[:2] * 1),
    lambda lib, x, y: x.__setitem__((slice(None), 2), y[1] * 1),
    lambda lib, x, y: x[1:].__setitem__([0, 2], y[:2] * 1),
]


def run_program(lib, steps, leaves):
    values = [leaf * 1 for leaf in leaves]
    for step, i, j in steps:
        result = step(lib, values[i], values[j])
        values.append(values[i] if step in IN_PLACE else result)
    loss = sum((value * value).sum() * (0.1 * number + 0.1) for number, value in enumerate(values))
    loss.backward()
    gradients = [np.zeros((4, 4)) if leaf.grad is None else leaf.grad.numpy() for leaf in leaves]
    return [value.detach().numpy() for value in values] + gradients


def test_random_programs_of_views_and_changes_agree_with_pytorch():
    """Where PyTorch refuses (a value that backward needs was changed), minidl may: never elsewhere."""
    torch = pytest.importorskip("torch")
    random, agreed, changed = np.random.default_rng(0), 0, 0
    for _ in range(600):
        steps = []
        for count in range(3, random.integers(6, 14)):
            kind = (NEW_VALUES, VIEWS, IN_PLACE)[random.choice(3, p=[0.3, 0.35, 0.35])]
            steps.append((kind[random.integers(len(kind))], *random.integers(0, count, 2)))
        values = [random.standard_normal((4, 4)) for _ in range(3)]
        try:
            expected = run_program(torch, steps, [torch.tensor(v, requires_grad=True) for v in values])
        except RuntimeError:
            continue
        got = run_program(ops, steps, [dl.Tensor(v, requires_grad=True) for v in values])
        for g, e in zip(got, expected, strict=True):
            np.testing.assert_allclose(g, e, rtol=1e-8, atol=1e-8 * np.abs(e).max(initial=1e-8))
        agreed += 1
        changed += any(step in IN_PLACE for step, *_ in steps)
    assert agreed > 300 and changed > 250


# ---- against numerical derivatives ---------------------------------------------------------------------------------


def changed_through_views(x, w):
    y = x * x
    v = y[1:3]
    t = v.T[:2]
    v *= w
    t += x[:2, :2]
    return y.sin() if hasattr(y, "sin") else y * y, t * w[0, 0]


def test_derivatives_of_first_and_second_order():
    check_gradient(changed_through_views, normal(4, 3), normal(2, 3, seed=1))
    check_second_gradient(changed_through_views, normal(4, 3), normal(2, 3, seed=1))


@pytest.mark.parametrize("order", ["C", "F"])
def test_bases_of_any_layout(order):
    """A gradient in another layout than y's cannot be seen through the same strides; the region is the same."""

    def f(x, w):
        y = x.T.contiguous().T if order == "F" else x * 1
        y = y * 1
        (y.T if order == "F" else y).reshape(12)[2:7].mul_(w)
        return y.T * y.T

    check_second_gradient(f, normal(4, 3), normal(5, seed=1))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_nans_outside_the_region_stay_there():
    x = leaf(3)
    y = x * 1
    y[0].mul_(0)
    (y * dl.Tensor(np.array([np.inf, 1.0, np.nan]))).sum().backward()
    assert x.grad.tolist()[1] == 1 and np.isnan(x.grad.tolist()[0]) and np.isnan(x.grad.tolist()[2])
    x.grad = None
    y = x * 1
    y[0].zero_()
    (y * dl.Tensor(np.array([np.inf, 1.0, 2.0]))).sum().backward()
    assert x.grad.tolist() == [0, 1, 2]


# ---- what cannot be followed ---------------------------------------------------------------------------------------


def test_a_view_of_a_leaf():
    x = leaf(3)
    for view in (x[0], x.reshape(3, 1), x[1:][:1]):
        with pytest.raises(RuntimeError, match="add_: a view of a leaf that requires a gradient .* under no_grad"):
            view.add_(1)
    with dl.no_grad():
        x[0].add_(1)
    assert x.is_leaf


def test_views_made_under_no_grad_or_by_detach_count_changes_only():
    x, w = leaf(3), leaf(2, seed=1)
    y = x * 1
    square = y * y
    with dl.no_grad():
        view = y[1:]
    detached = y.detach()[1:]
    detached.mul_(2)
    view.mul_(2)
    close(y.detach().numpy(), x.detach().numpy() * [1, 4, 4], 1e-15)
    y.sum().backward()
    assert x.grad.tolist() == [1, 1, 1]
    with pytest.raises(RuntimeError, match="that Mul saved .* by mul_"):
        square.sum().backward()
    with pytest.raises(RuntimeError, match=r"add_: the Tensor shares its memory .* a view made under no_grad\(\)"):
        view.add_(w)
    detached.add_(w)  # as in PyTorch: a history of its own, of which y knows nothing
    assert detached.requires_grad and y.grad_fn.name == "Mul"


@pytest.mark.parametrize(
    "several",
    [
        lambda y: y.split(2),
        lambda y: y.chunk(2),
        lambda y: y.split([1, 3]),
        lambda y: y.tensor_split(3),
        lambda y: y.reshape(2, 2).unbind(),
        lambda y: list(y.reshape(2, 2)),
    ],
)
def test_views_of_which_there_are_several(several):
    x = leaf(4)
    y = x * 1
    parts = several(y)
    for part in (parts[1], parts[0][:1]):
        with pytest.raises(RuntimeError, match="mul_: the Tensor .* one of several that (Split|Unbind) returned"):
            part.mul_(2)
    y.mul_(3)  # the parts follow
    (parts[0].sum() + y.sum()).backward()
    assert x.grad.tolist()[0] == 6 and x.grad.tolist()[-1] == 3
    with dl.no_grad():
        several(y)[0].zero_()
    assert y.tolist()[0] == 0


def test_a_function_that_does_not_say_what_its_view_is():
    class Middle(dl.Function):
        @staticmethod
        def forward(ctx, x):
            return x[1:2]

        @staticmethod
        def backward(ctx, grad):
            return ops.cat([grad * 0, grad, grad * 0])

    y = leaf(3) * 1
    view = Middle.apply(y)
    for changed in (y, view, view[:]):
        with pytest.raises(RuntimeError, match=r"shares its memory with another, .*returned by Middle.forward"):
            changed.add_(1)
    del view, changed
    y.add_(1)


def test_a_function_that_says_so():
    class Middle(dl.Function):
        is_view = True

        @staticmethod
        def forward(ctx, x):
            return x[1:2]

        @staticmethod
        def backward(ctx, grad):
            return ops.cat([grad * 0, grad, grad * 0])

    x = leaf(3)
    y = x * 1
    Middle.apply(y).mul_(5)
    y.sum().backward()
    assert x.grad.tolist() == [1, 5, 1]


# ---- what it costs -------------------------------------------------------------------------------------------------


def test_views_that_died_are_forgotten():
    y = leaf(3) * 1
    for _ in range(10_000):
        y[0]
    assert len(y.counter().views) < 100


def test_a_view_keeps_its_base_and_both_die_together():
    gc.collect()
    gc.disable()
    try:
        y = leaf(3) * 1
        view, reference = y[1:], weakref.ref(y)
        view.mul_(2)
        del y
        assert reference() is not None
        del view
        assert reference() is None
    finally:
        gc.enable()


def test_hooks_and_kept_gradients_follow_the_new_values():
    torch = pytest.importorskip("torch")

    def gradients(x):
        y = x * 2
        v = y[1:]
        y.retain_grad()
        v.retain_grad()
        v.mul_(5)
        (y * 3).sum().backward()
        return [y.grad.tolist(), v.grad if v.grad is None else v.grad.tolist(), x.grad.tolist()]

    assert gradients(leaf(2)) == gradients(torch.ones(2, dtype=torch.float64, requires_grad=True))
