"""Hooks of modules: what they are given, what they may replace, in which order, beside PyTorch's."""

from collections import namedtuple

import numpy as np
import pytest
from helpers import check_second_gradient, normal

import minidl as dl
from minidl import nn


class Affine(nn.Module):
    def forward(self, x, y=None, *, scale=2.0):
        return x * scale if y is None else (x * y, x + y, 3)


def leaf(*values):
    return dl.Tensor(np.array(values), requires_grad=True)


# ---- forward -------------------------------------------------------------------------------------------------------


def test_forward_pre_hooks_see_and_replace_the_arguments():
    module, seen = Affine(), []
    module.register_forward_pre_hook(lambda m, args: seen.append((m, len(args))))
    module.register_forward_pre_hook(lambda m, args: args[0] + 1)
    module.register_forward_pre_hook(lambda m, args: (args[0] * 10,))
    assert module(leaf(1.0)).tolist() == [40] and seen == [(module, 1)]


def test_forward_hooks_see_and_replace_the_output():
    module, seen = Affine(), []
    module.register_forward_hook(lambda m, args, output: seen.append((len(args), output.tolist())))
    module.register_forward_hook(lambda m, args, output: output + args[0])
    assert module(leaf(1.0)).tolist() == [3] and seen == [(1, [2])]


def test_hooks_with_keyword_arguments():
    module, seen = Affine(), []
    module.register_forward_pre_hook(lambda m, args, kwargs: (args, {"scale": kwargs["scale"] * 2}), with_kwargs=True)
    module.register_forward_hook(lambda m, args, kwargs, output: seen.append(kwargs), with_kwargs=True)
    assert module(leaf(1.0), scale=5.0).tolist() == [10] and seen == [{"scale": 10.0}]
    module.register_forward_pre_hook(lambda m, args, kwargs: args, with_kwargs=True)
    with pytest.raises(
        RuntimeError, match=r"Affine: a forward pre-hook with kwargs must return None or \(args, kwargs"
    ):
        module(leaf(1.0), scale=1.0)


def test_order_prepend_and_removal():
    module, seen = Affine(), []
    handles = [
        module.register_forward_hook(lambda m, args, output, n=n: seen.append(n), prepend=n == 2) for n in range(3)
    ]
    module(leaf(1.0))
    assert seen == [2, 0, 1]
    handles[0].remove()
    handles[0].remove()
    module(leaf(1.0))
    assert seen == [2, 0, 1, 2, 1]


def test_a_hook_must_be_callable():
    for kind in ("forward_pre", "forward", "full_backward_pre", "full_backward"):
        with pytest.raises(TypeError, match="Affine: a hook must be callable, got 3"):
            getattr(Affine(), f"register_{kind}_hook")(3)


# ---- backward ------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Full backward hook")
def test_backward_hooks_are_pytorchs():
    """Two layers with all four hooks, each replacing something; the order of all calls and every gradient."""
    torch = pytest.importorskip("torch")
    weights = [normal(3, 4), normal(2, 3, seed=1)]

    def run(nn, tensor):
        net, log = nn.Sequential(nn.Linear(4, 3, bias=False), nn.ReLU(), nn.Linear(3, 2, bias=False)), []
        net[0].weight.data, net[2].weight.data = (tensor(w).data for w in weights)

        def note(name, *gradients):
            log.append((name, [[None if g is None else g.tolist() for g in gs] for gs in gradients]))

        def forward(name):
            def hook(module, args, output):
                note(f"forward {name}", args, (output,))
                return output * 2

            return hook

        def backward(name):
            def hook(module, grad_input, grad_output):
                note(f"backward {name}", grad_input, grad_output)
                return None if grad_input[0] is None else (grad_input[0] * 3,)

            return hook

        for name, module in (("net", net), ("0", net[0]), ("1", net[1]), ("2", net[2])):
            module.register_forward_pre_hook(lambda m, args, name=name: note(f"pre {name}", args))
            module.register_forward_hook(forward(name))
            module.register_full_backward_hook(backward(name))
            module.register_full_backward_pre_hook(
                lambda m, grad_output, name=name: note(f"backward pre {name}", grad_output) or (grad_output[0] * 0.5,)
            )
        x = tensor(normal(5, 4, seed=2))
        (net(x) ** 2).sum().backward()
        note("data without gradient", (net[0].weight.grad, net[2].weight.grad))
        x.requires_grad_()
        (net(x) ** 2).sum().backward()
        note("end", (x.grad, net[0].weight.grad, net[2].weight.grad))
        return log

    got = run(nn, lambda a: dl.Tensor(a.copy()))
    expected = run(torch.nn, lambda a: torch.tensor(a))
    assert [name for name, _ in got] == [name for name, _ in expected]
    for (name, values), (_, others) in zip(got, expected, strict=True):
        for v, o in zip(sum(values, []), sum(others, []), strict=True):
            assert (v is None) == (o is None), name
            if v is not None:
                np.testing.assert_allclose(v, o, rtol=1e-10, err_msg=name)


def test_several_inputs_and_outputs():
    module, seen = Affine(), []
    module.register_full_backward_hook(lambda m, gi, go: seen.append((gi, go)))
    x, y = leaf(2.0), dl.Tensor(np.array([5.0]))
    product, _, three = module(x, y)
    assert three == 3
    product.backward()
    ((grad_input, grad_output),) = seen
    assert [g and g.item() for g in grad_input] == [5, None]
    assert [g and g.item() for g in grad_output] == [1, None, None]
    assert x.grad.item() == 5 and y.grad is None


def test_a_named_tuple_stays_one():
    Pair = namedtuple("Pair", "a b")

    class Two(nn.Module):
        def forward(self, x):
            return Pair(x * 2, x * 3)

    module, seen = Two(), []
    module.register_full_backward_hook(lambda m, gi, go: seen.append(go))
    pair = module(leaf(1.0))
    assert type(pair) is Pair
    (pair.a + pair.b).backward()
    assert [g.item() for g in seen[0]] == [1, 1]


def test_hooks_change_neither_values_nor_derivatives():
    module = Affine()
    module.register_full_backward_hook(lambda m, gi, go: None)
    module.register_full_backward_pre_hook(lambda m, go: None)
    check_second_gradient(lambda x: module(x * x).tanh(), normal(3))


def test_no_grad_and_constants_call_no_backward_hooks():
    module = Affine()
    module.register_full_backward_hook(lambda m, gi, go: 1 / 0)
    with dl.no_grad():
        assert module(leaf(1.0)).is_leaf
    assert module(dl.tensor([1.0])).tolist() == [2]


def test_a_wrong_number_of_gradients():
    module = Affine()
    module.register_full_backward_hook(lambda m, gi, go: (gi[0], gi[0]))
    with pytest.raises(RuntimeError, match="Affine: a backward hook returned 2 gradients, it was given 1"):
        module(leaf(1.0)).backward()


def test_hooks_within_a_checkpoint():
    module, seen = Affine(), []
    module.register_full_backward_hook(lambda m, gi, go: seen.append(gi[0].item()) or (gi[0] * 10,))
    x = leaf(1.0)
    dl.checkpoint(lambda x: module(x).exp(), x).backward()
    assert x.grad.item() == pytest.approx(np.exp(2) * 20) and seen == [pytest.approx(np.exp(2) * 2)]
