"""optimize_for_training: a net goes on by its list of operations, to the last bit as it was, graph included."""

import copy
import random

import numpy as np
import pytest
from helpers import normal
from planned import Net, image

import minidl as dl
from minidl import models, nn, ops
from minidl.kernels import KERNELS, _pool
from minidl.random import generator

NETS = {
    "lenet": ({"variant": "lecture", "width": 0.5}, (1, 32, 32)),
    "alexnet": ({"variant": "torchvision", "width": 0.05, "num_classes": 10}, (3, 71, 75)),
    "googlenet": ({"variant": "torchvision", "width": 0.1, "num_classes": 10}, (3, 64, 60)),
    "resnet20": ({"width": 0.25}, (3, 12, 10)),
    "resnet50": ({"width": 0.05, "num_classes": 10}, (3, 33, 40)),
    "vgg11": ({"width": 0.03, "num_classes": 10}, (3, 36, 32)),
}


def train(net, size, steps, momentum=0.9):
    """The losses of `steps` steps on batches of their own, and how often a module of the net ran in each."""
    optimizer, rng = dl.optim.SGD(net.parameters(), 0.01, momentum=momentum), np.random.default_rng(0)
    losses, runs, first = [], [], next(module for module in net.modules() if isinstance(module, nn.Conv2d))
    forward = type(first).forward
    for _ in range(steps):
        x = dl.Tensor(rng.standard_normal((3, *size)).astype(np.float32))
        labels, calls = dl.Tensor(rng.integers(0, 10, 3)), []
        type(first).forward = lambda *args, calls=calls, **options: calls.append(1) or forward(*args, **options)
        try:
            loss = models.training_loss(net(x), labels)
        finally:
            type(first).forward = forward
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        runs.append(len(calls))
    return losses, runs


@pytest.mark.parametrize("name", NETS)
def test_training_is_the_same_to_the_last_bit(name):
    options, size = NETS[name]
    dl.manual_seed(0)
    plain = models.create(name, **options)
    planned = copy.deepcopy(plain)
    assert dl.optimize_for_training(planned) is planned
    states = []
    for net in (plain, planned):
        dl.manual_seed(1)
        losses, runs = train(net, size, 5)
        states.append((losses, {k: v.numpy().copy() for k, v in net.state_dict().items()}))
    (expected_losses, expected), (losses, state) = states
    assert runs[0] and runs[1] and runs[2:] == [0, 0, 0]  # from the third step on the net's Python does not run
    assert losses == expected_losses and len(set(losses)) == 5
    assert state.keys() == expected.keys()
    for key, array in expected.items():
        assert np.array_equal(state[key], array), key


def planned_for_training(then, inputs=None):
    """A net in double precision of which two runs have been seen."""
    dl.manual_seed(0)
    net = dl.optimize_for_training(Net(then).double())
    for seed in (5, 6):
        net(*(inputs or [image(seed)]))
    return net


def goes_by_list(net, *inputs):
    before = len(net.runs)
    net(*inputs)
    return len(net.runs) == before


def twin(net):
    """The net without a plan, with parameters of its own."""
    other = copy.deepcopy(net)
    del other.forward
    return other


@pytest.mark.parametrize(
    "then",
    [
        lambda net, y: net.linear(y),
        lambda net, y: (net.linear(y.relu()) * 2 - 1).flatten(1)[:, 3:9] * 1,
        lambda net, y: ops.cat([y, net.linear(y)], 3).split([5, 6], 3)[1].tanh(),
        lambda net, y: net.linear(y).mean((2, 1)) * net.linear.bias + net.linear.bias,
        lambda net, y: y.softmax(1).exp().transpose(1, 2) * y.transpose(1, 2),
        lambda net, y: y.sigmoid() + y,
        lambda net, y: ops.max_pool2d(y, 2, return_indices=True)[0] + y.shape[0],
    ],
)
def test_derivatives_of_any_order_are_the_nets(then):
    net = planned_for_training(then)
    other, x = twin(net), image(1)
    assert goes_by_list(net, x)
    results = []
    for each in (net, other):
        leaf = dl.Tensor(x.data.copy(), requires_grad=True)
        for _ in range(3):  # a kind of inputs of its own, as the gradient of the input is asked for
            y = each(leaf)
        parameters = [leaf, *(p for p in each.parameters() if p is not each.linear.weight or "linear" in names(then))]
        first = dl.grad((y * y).sum(), parameters, create_graph=True, allow_unused=True)
        total = sum((g * g).sum() for g in first if g is not None)
        second = dl.grad(total, parameters, allow_unused=True)
        results.append([None if g is None else g.data for g in (y, *first, *second)])
    for got, expected in zip(*results, strict=True):
        assert got is expected is None or np.array_equal(got, expected)


def names(function):
    return function.__code__.co_names


def test_backward_twice_hooks_and_changes_in_place():
    net = planned_for_training(lambda net, y: net.linear(y.relu()))
    other, x = twin(net), image(1)
    for each in (net, other):
        seen = []
        handle = each.conv.weight.register_hook(lambda g, seen=seen: seen.append(g.data.copy()))
        loss = each(x).sum()
        loss.backward(retain_graph=True)
        loss.backward()
        assert len(seen) == 2 and np.array_equal(seen[0], seen[1])
        with pytest.raises(RuntimeError, match="a second time"):
            loss.backward()
        handle.remove()
        loss = each(x).sum()
        with dl.no_grad():
            each.linear.weight.mul_(2)
        with pytest.raises(RuntimeError, match="changed in place"):
            loss.backward()
        y = each(x)
        y.mul_(2)
        y.sum().backward()
    assert goes_by_list(net, x)
    for a, b in zip(net.parameters(), other.parameters(), strict=True):
        assert np.array_equal(a.grad.data, b.grad.data)


class Times(dl.Function):
    """x * w, which saves what is needed alone: another number of arrays where x is recorded than where it is not."""

    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(*(a for a, need in zip((w, x), ctx.needs_input_grad, strict=True) if need))
        return x * w

    @staticmethod
    def backward(ctx, grad):
        saved = iter(ctx.saved_tensors)
        return tuple(grad * next(saved) if need else None for need in ctx.needs_input_grad)


def test_what_is_saved_may_depend_on_what_is_needed():
    class Product(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(normal(3, 4))

        def forward(self, x):
            return Times.apply(Times.apply(x, self.w), self.w)

    net, x = dl.optimize_for_training(Product()), image(1, 3, 4)
    for _ in range(4):
        y = net(x)
        (first,) = dl.grad(y.sum(), [net.w], create_graph=True)
        (second,) = dl.grad(first.sum(), [net.w])
    assert any(net.forward.plans.values())
    np.testing.assert_allclose(first.data, 2 * x.data * net.w.data)
    np.testing.assert_allclose(second.data, 2 * x.data)


def test_an_output_that_backward_needs_is_watched():
    net, x = planned_for_training(lambda net, y: y.sigmoid()), image(1)
    assert goes_by_list(net, x)
    y = net(x)
    with dl.no_grad():
        y.mul_(2)
    with pytest.raises(RuntimeError, match="changed in place"):
        y.sum().backward()


@pytest.mark.parametrize(
    "then",
    [
        lambda net, y: y if y.sum().item() > 0 else -y,
        lambda net, y: y * dl.Tensor(y.data > 0),
        lambda net, y: y * (y > 0),
        lambda net, y: y + dl.Tensor(np.ones(6)),
        lambda net, y: y * random.choice([1, 1]),
        lambda net, y: y * float(generator().choice([1.0, 1.0])),
        lambda net, y: y * float(net.new.choice([1.0, 1.0])),
        lambda net, y: y * float(net.old.choice([1.0, 1.0])),
        lambda net, y: y * net.python.choice([1, 1]),
        lambda net, y: dl.checkpoint(lambda v: v.tanh(), y) * 2,
        lambda net, y: y.transpose(1, 2),  # a view: what is changed in it changes what comes before
        lambda net, y: {"y": y},
        lambda net, y: (y, 1),
    ],
)
def test_what_no_list_can_give_trains_as_it_is(then):
    net = planned_for_training(then)
    assert not goes_by_list(net, image()) and not goes_by_list(net, image())


def test_what_is_without_gradient_stays_so():
    net, x = planned_for_training(lambda net, y: net.linear(y.relu())), image(1)
    assert goes_by_list(net, x)
    net.conv.requires_grad_(False)
    calls, kernel = [], KERNELS["conv2d.input_grad"]
    original, kernel.reference = kernel.reference, lambda *args: calls.append(1) or original(*args)
    try:
        with dl.use_kernels("reference"):
            for number in range(4):
                assert goes_by_list(net, x) == (number > 1)
                loss = net(x).sum() if number > 1 else Net.forward(net, x).sum()
                loss.backward()
    finally:
        kernel.reference = original
    assert not calls and net.conv.weight.grad is None and net.linear.weight.grad is not None
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    assert not net(x).requires_grad


def test_modes_have_lists_of_their_own():
    net = planned_for_training(lambda net, y: net.linear(net.dropout(y)))
    x = image(1)
    assert goes_by_list(net, x)
    for _ in range(30):
        net.eval()
        with dl.no_grad():  # its list would be tried out, in the memory of a training step
            assert not goes_by_list(net, x)
        net.train()
        assert goes_by_list(net, x)
    del net.forward
    assert not goes_by_list(net, x)


def test_running_statistics_go_on_as_without():
    dl.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    planned = dl.optimize_for_training(copy.deepcopy(plain))
    x = image(0).astype(np.float32)
    for net in (plain, planned):
        for _ in range(3):
            net(x)
        with dl.no_grad():
            net(x)
        total = (net[1].running_mean * dl.tensor(np.ones(4), requires_grad=True, dtype=np.float32)).sum()
        net(x)
        with pytest.raises(RuntimeError, match="changed in place"):
            total.backward()
    assert planned.state_dict().keys() == plain.state_dict().keys()
    for key, value in plain.state_dict().items():
        assert np.array_equal(planned.state_dict()[key].numpy(), value.numpy()), key
    assert planned[1].num_batches_tracked.item() == 5


def test_training_takes_no_more_memory_than_without(monkeypatch):
    """What no later operation takes and backward does not need is let go while the net runs."""
    dl.manual_seed(0)
    layers = [layer for _ in range(6) for layer in (nn.Conv2d(1, 1, 1), nn.Tanh())]
    plain = nn.Sequential(*layers, nn.Conv2d(1, 1, 1, bias=False))
    planned, x, most = dl.optimize_for_training(copy.deepcopy(plain)), image(0, 1, 1, 512, 512).astype(np.float32), []
    kernel = KERNELS["conv2d.forward"]
    form = kernel.cpu
    monkeypatch.setattr(kernel, "cpu", lambda *args: alive.append(_pool.in_use()[0]) or form(*args))
    for net in (plain, planned):
        for _ in range(3):
            alive = []
            y = net(x)
            before = _pool.in_use()[0]
            y.sum().backward()
            del y
        assert len(alive) == 7
        most.append(max(*alive, before) - alive[0])
    assert most[1] <= most[0]


def test_only_a_module_is_planned():
    with pytest.raises(TypeError, match="optimize_for_training: net must be a Module, got function"):
        dl.optimize_for_training(image)
