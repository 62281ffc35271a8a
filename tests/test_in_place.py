"""Changes in place: the counter that tells backward of them, and the graph that follows them."""

import gc

import helpers
import numpy as np
import pytest
from graphs import leaf
from helpers import normal

import minidl as dl

# ---- the version counter -------------------------------------------------------------------------------------------


def changed_by_add(x):
    with dl.no_grad():
        x += 1


def changed_by_data(x):
    x.data = x.data + 1


def changed_through_detach(x):
    x.detach().zero_()


def changed_through_a_view(x):
    with dl.no_grad():
        x[0].zero_()


def changed_through_a_reshaped_view(x):
    with dl.no_grad():
        x.reshape(2, 1)[1] = 5.0


def changed_through_a_tensor_of_it(x):
    dl.Tensor(x).fill_(5)


def changed_by_a_masked_assignment(x):
    with dl.no_grad():
        x[x > 0] = 5.0


CHANGES = {
    changed_by_add: "add_",
    changed_by_data: r"assigning to \.data",
    changed_through_detach: "zero_",
    changed_through_a_view: "zero_",
    changed_through_a_reshaped_view: "setitem",
    changed_through_a_tensor_of_it: "fill_",
    changed_by_a_masked_assignment: "setitem",
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda f: f.__name__)
def test_a_saved_input_that_was_changed_is_named(change):
    x = leaf(1.0, 2.0)
    y = x * x
    change(x)
    match = (
        rf"Tensor number 0 that Mul saved for its backward \(shape \(2,\)\) was changed in place.* by {CHANGES[change]}"
    )
    with pytest.raises(RuntimeError, match=match):
        y.sum().backward()


@pytest.mark.parametrize("change", CHANGES, ids=lambda f: f.__name__)
def test_a_saved_output_that_was_changed_is_named(change):
    x = leaf(1.0, 2.0)
    y = x.exp()
    z = y * 2
    change(y)
    with pytest.raises(RuntimeError, match=f"that Exp saved .* by {CHANGES[change]}"):
        z.sum().backward()


def test_changes_before_or_after_matter_only_between():
    x = leaf(1.0, 2.0)
    changed_by_add(x)
    y = (x * x).sum()
    y.backward()
    changed_by_add(x)
    assert x.grad.tolist() == [4, 6]


def test_a_change_of_what_is_not_saved_is_allowed():
    x, c = leaf(1.0, 2.0), dl.tensor([3.0, 4.0]).double()
    y = (x + c).sum() + (x * 2).sum()
    changed_by_add(x)
    changed_by_add(c)
    y.backward()
    assert x.grad.tolist() == [3, 3]


def test_a_factor_that_backward_does_not_need_is_not_saved():
    """x is not needed where c has no gradient: x may change, and its memory is not kept."""
    x, c = leaf(1.0, 2.0), dl.tensor([3.0, 4.0]).double()
    y = (x * c).sum()
    changed_by_add(x)
    y.backward()
    assert x.grad.tolist() == [3, 4]
    y = (x * c).sum()
    changed_by_add(c)
    with pytest.raises(RuntimeError, match="that Mul saved"):
        y.backward()


FREE_OUTPUTS = {
    "x + w": lambda x, w: x + w,
    "x * w": lambda x, w: x * w,
    "x / 2": lambda x, w: x / 2,
    "x ** 2": lambda x, w: x**2,
    "-x": lambda x, w: -x,
    "x.abs()": lambda x, w: x.abs(),
    "x.log()": lambda x, w: x.log(),
    "x.sum(0)": lambda x, w: x.sum(0),
    "x.mean(0)": lambda x, w: x.mean(0),
    "x.clone()": lambda x, w: x.clone(),
    "x.double()": lambda x, w: x.float().double(),
    "x[[0, 1]]": lambda x, w: x[[0, 1]],
    "x @ w": lambda x, w: x.reshape(1, 2) @ w.reshape(2, 1),
}


@pytest.mark.parametrize("name", FREE_OUTPUTS)
def test_an_output_that_backward_does_not_need_may_change(name):
    torch = pytest.importorskip("torch")

    def gradients(x, w):
        y = FREE_OUTPUTS[name](x, w)
        y += 1
        (y * y).sum().backward()
        return [x.grad.tolist(), None if w.grad is None else w.grad.tolist()]

    values = [1.5, 2.5], [3.0, 5.0]
    got = gradients(*[leaf(*v) for v in values])
    assert got == gradients(*[torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in values])


def test_an_input_whose_partner_is_constant_may_change():
    w = dl.Tensor(normal(2, 3))
    for f in (lambda x: x @ w, lambda x: dl.ops.conv2d(x.reshape(1, 2, 1, 1), w.T.reshape(3, 2, 1, 1))):
        x = leaf(1.0, 2.0)
        y = f(x)
        changed_by_add(x)
        y.sum().backward()
        np.testing.assert_allclose(x.grad.data, w.data.sum(1))


def test_a_changed_condition_or_index_is_noticed_or_harmless():
    x, condition = leaf(1.0, 2.0), dl.tensor([True, False])
    y = dl.ops.where(condition, x, 0.0).sum()
    condition.fill_(False)
    with pytest.raises(RuntimeError, match="that Where saved"):
        y.backward()
    index = np.array([0, 1])
    y = x[index].sum() + x[dl.Tensor(index)].sum()
    index[...] = 0
    y.backward()
    assert x.grad.tolist() == [2, 2]


# ---- changes in place ----------------------------------------------------------------------------------------------


def test_in_place_operations_change_the_memory_and_return_the_tensor():
    array = np.array([1.0, 2.0])
    x = dl.Tensor(array)
    assert x.add_(1) is x and array.tolist() == [2, 3]
    assert x.sub_(dl.Tensor(np.array([1.0, 1.0]))) is x and array.tolist() == [1, 2]
    assert x.mul_(4) is x and array.tolist() == [4, 8]
    assert x.div_(2) is x and array.tolist() == [2, 4]
    assert x.copy_(dl.tensor([5, 6])) is x and array.tolist() == [5, 6]
    assert x.copy_(dl.tensor(7.0)) is x and array.tolist() == [7, 7]
    assert x.fill_(3) is x and array.tolist() == [3, 3]
    assert x.zero_() is x and array.tolist() == [0, 0]
    x[1] = 9
    assert array.tolist() == [0, 9]
    alias = x
    x += 1
    x -= np.array([1.0, 2.0])
    x *= 3
    x /= 2
    assert x is alias and array.tolist() == [0, 12]
    assert x.data is array


def test_views_see_changes():
    x = dl.tensor([[1.0, 2.0], [3.0, 4.0]])
    x[0] += 10
    x[1, 1].add_(5)
    x.T[0, 1] = 7
    x.reshape(4)[1:2].zero_()
    assert x.tolist() == [[11, 0], [7, 9]]


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.add_(1),
        lambda x: x.__iadd__(1),
        lambda x: x.mul_(2),
        lambda x: x.copy_(dl.tensor([5.0, 2.0])),
        lambda x: x.zero_(),
        lambda x: x.__setitem__(0, 5.0),
    ],
)
def test_a_leaf_that_requires_a_gradient(change):
    x = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match=r"a leaf that requires a gradient .* under no_grad\(\)"):
        change(x)
    assert x.tolist() == [1, 2] and x.is_leaf
    with dl.no_grad():
        change(x)
    assert x.tolist() != [1, 2] and x.is_leaf and x.requires_grad


def test_no_grad_changes_of_a_computed_tensor_keep_its_place():
    x = leaf(1.0, 2.0)
    y = x + 1
    with dl.no_grad():
        y.mul_(10)
    assert y.tolist() == [20, 30] and y.requires_grad
    y.sum().backward()
    assert x.grad.tolist() == [1, 1]


IN_PLACE = {
    "y += 1": lambda y, w: y.add_(1),
    "y += w": lambda y, w: y.add_(w),
    "y -= w": lambda y, w: y.sub_(w),
    "y *= 3": lambda y, w: y.mul_(3),
    "y *= constant": lambda y, w: y.mul_(w.detach() + 0),
    "y *= w": lambda y, w: y.mul_(w),
    "y /= w": lambda y, w: y.div_(w),
    "y /= 2": lambda y, w: y.div_(2.0),
    "y[0] = w[1]": lambda y, w: y.__setitem__(0, w[1]),
    "y[[1, 0]] = w": lambda y, w: y.__setitem__([1, 0], w),
    "y[:] = 2": lambda y, w: y.__setitem__(slice(None), 2.0),
    "y.copy_(w)": lambda y, w: y.copy_(w),
    "y[0] = 3 y[0]": lambda y, w: y.__setitem__(0, y[0] * 3),
    "y += y[0]": lambda y, w: y.add_(y[0] * 2),
    "y += y": lambda y, w: y.add_(y),
    "y += 1; y *= 2; y -= w": lambda y, w: y.add_(1).mul_(2).sub_(w),
}


@pytest.mark.parametrize("name", IN_PLACE)
def test_in_place_on_a_computed_tensor_matches_pytorch(name):
    """Before and after the change y enters another term, so that a wrong place in the graph shows."""
    torch = pytest.importorskip("torch")

    def gradients(x, w, backward):
        y = x * 3
        before = (y + 1).sum()
        IN_PLACE[name](y, w)
        backward(before + (y * w).sum())
        return y, x.grad, w.grad

    values, weights = normal(2, seed=1), normal(2, seed=2) + 3
    got = gradients(dl.Tensor(values, True), dl.Tensor(weights, True), lambda loss: loss.backward())
    expected = gradients(
        torch.tensor(values, requires_grad=True),
        torch.tensor(weights, requires_grad=True),
        lambda loss: loss.backward(),
    )
    for g, e in zip(got, expected, strict=True):
        helpers.close(g.detach().numpy(), e.detach().numpy(), 1e-12)


def test_in_place_on_products_with_itself():
    """PyTorch refuses these: what it saved has changed. Here the value before is kept."""

    def f(x, w):
        y = x * 3
        y *= y
        y *= w
        y *= y
        y /= w
        return y

    helpers.check_gradient(f, normal(2), normal(2, seed=1) + 3)


def test_what_another_operation_saved_may_still_not_change():
    x, w = leaf(1.0, 2.0), leaf(3.0, 4.0)
    y = x + 0
    z = y * w
    y *= w
    with pytest.raises(RuntimeError, match="that Mul saved .* changed in place afterwards by mul_"):
        z.sum().backward()
    y.sum().backward()
    assert x.grad.tolist() == [3, 4] and w.grad.tolist() == [1, 2]


def test_a_constant_becomes_computed():
    x, y = leaf(1.0, 2.0), dl.Tensor(np.zeros(3))
    y[1:] = x * 2
    y.add_(1)
    assert y.requires_grad and not y.is_leaf and y.tolist() == [1, 3, 5]
    (y * y).sum().backward()
    assert x.grad.tolist() == [12, 20]


def test_retain_grad_and_hooks_follow_the_value_that_was_changed():
    torch = pytest.importorskip("torch")

    def gradient(x):
        y = x * 2
        y.retain_grad()
        y *= 5
        (y * 3).sum().backward()
        return y.grad.tolist(), x.grad.tolist()

    assert gradient(leaf(1.0)) == gradient(torch.tensor([1.0], requires_grad=True)) == ([3], [30])


def test_in_place_errors_name_the_operation_and_leave_the_tensor_as_it_was():
    x = dl.tensor([1.0, 2.0])
    with pytest.raises(
        ValueError, match=r"add_: the result's shape \(3, 2\) is not that of the Tensor changed, \(2,\)"
    ):
        x.add_(dl.Tensor(np.zeros((3, 2))))
    with pytest.raises(TypeError, match="mul_: complex64 cannot be stored in a Tensor of float32"):
        x.mul_(1j)
    with pytest.raises(TypeError, match="add_: float32 cannot be stored in a Tensor of int64"):
        dl.tensor([1, 2]).add_(0.5)
    with pytest.raises(TypeError, match="div_: float32 cannot be stored in a Tensor of int64"):
        dl.tensor([1, 2]).div_(2)
    with pytest.raises(ValueError, match="copy_|expand"):
        x.copy_(dl.Tensor(np.zeros(3)))
    with pytest.raises(TypeError, match="copy_"):
        x.copy_("text")
    assert x.tolist() == [1, 2]
    y = dl.tensor([1.0, 2.0]).double()
    assert y.add_(dl.tensor([1, 2])).dtype == np.float64
    assert x.add_(y).dtype == np.float32 and x.tolist() == [3, 6]


def test_in_place_of_another_dtype_converts_the_gradient_back():
    x, w = leaf(1.0, 2.0, dtype=np.float32), leaf(3.0, 4.0)
    y = x * 2
    y += w * w
    assert y.dtype == np.float32
    y.sum().backward()
    assert x.grad.dtype == np.float32 and x.grad.tolist() == [2, 2]
    assert w.grad.dtype == np.float64 and w.grad.tolist() == [6, 8]


def test_memory_that_must_not_be_written():
    array = np.zeros(2)
    array.flags.writeable = False
    with pytest.raises(RuntimeError, match="add_: the Tensor's memory is read-only"):
        dl.Tensor(array).add_(1)
    with pytest.raises(RuntimeError, match="zero_: the Tensor's memory is read-only"):
        dl.tensor([1.0]).expand(3).zero_()
    x = leaf(1.0)
    constant = dl.Tensor(array)
    with pytest.raises(RuntimeError, match="read-only"):
        constant[0] = x[0]
    assert constant.is_leaf and not constant.requires_grad


def test_a_tensor_dies_with_its_last_reference():
    import weakref

    gc.collect()
    gc.disable()
    try:
        x = dl.tensor([1.0])
        x.add_(1)
        reference = weakref.ref(x)
        view = x[0:1]
        del x
        assert view.tolist() == [2]
        del view  # which kept its base
        assert reference() is None
    finally:
        gc.enable()


def test_format():
    loss = dl.tensor(0.25, requires_grad=True) * 2
    assert f"{loss:.3f}" == "0.500" and f"{dl.tensor(7):04d}" == "0007"
    assert f"{loss}" == repr(loss) and f"{dl.tensor([1, 2])}" == "tensor([1, 2])"
