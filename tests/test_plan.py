"""A net that is planned runs its list of operations, and only where that is what the net does."""

import copy
import random
import sys

import numpy as np
import pytest
from helpers import normal

import minidl as dl
from minidl import models, nn, ops
from minidl.kernels import KERNELS, _pool
from minidl.random import generator


def image(seed=0, *shape):
    return dl.Tensor(normal(*(shape or (2, 3, 8, 8)), seed=seed))


class Net(nn.Module):
    """Its forward is `then`; `runs` counts how often Python goes through it."""

    def __init__(self, then):
        super().__init__()
        self.conv, self.linear, self.dropout = nn.Conv2d(3, 4, 3), nn.Linear(6, 5), nn.Dropout(0.5)
        self.then, self.runs, self.flag = then, [], False
        self.new, self.old, self.python = np.random.default_rng(0), np.random.RandomState(0), random.Random(0)

    def forward(self, x):
        self.runs.append(1)
        return self.then(self, self.conv(x))


def made(then):
    dl.manual_seed(0)
    return dl.optimize_for_inference(Net(then).double(), (3, 8, 8))


def infer(net, *inputs):
    with dl.no_grad():
        return net(*inputs).data


def is_planned(net, *inputs):
    """Whether the net's Python stays out of the next call."""
    infer(net, *inputs)
    before = len(net.runs)
    infer(net, *inputs)
    return len(net.runs) == before


@pytest.mark.parametrize(
    "then",
    [
        lambda net, y: net.linear(y),
        lambda net, y: (net.linear(y.relu()) * 2 - 1).flatten(1)[:, 3:9],
        lambda net, y: ops.cat([y, net.linear(y)], 3).split([5, 6], 3)[1],
        lambda net, y: net.linear(y).mean((2, 1)) * net.linear.bias + net.linear.bias,
        lambda net, y: net.dropout(y).softmax(1).transpose(1, 2),
        lambda net, y: y.relu().add_(1).mul_(y) + y,  # in place
        lambda net, y: ops.max_pool2d(y, 2, return_indices=True)[0] + y.shape[0],
    ],
)
def test_the_list_gives_what_the_net_gives(then):
    net = made(then)
    assert is_planned(net, image())
    for x in image(), image(1), image(2, 3, 3, 11, 8) * 100:
        expected = net(x)
        got = infer(net, x), infer(net, x)
        assert all(np.array_equal(expected.data, y) for y in got)
        assert got[0].flags.writeable and not np.shares_memory(*got)


@pytest.mark.parametrize(
    "then",
    [
        lambda net, y: y if y.sum().item() > 0 else -y,  # a branch
        lambda net, y: y if (y.abs() < 1e3).all() else -y,  # one that the other numbers take, too
        lambda net, y: y if y.max().data < 1e3 else -y,
        lambda net, y: y if max(y.flatten().tolist()) < 1e3 else -y,
        lambda net, y: y / float(y.max()),  # a number
        lambda net, y: y * dl.Tensor(y.data > 0),  # an array
        lambda net, y: y * (y > 0),  # no operation that autograd records
        lambda net, y: y[:, y.data.argmax() % 4],
        lambda net, y: y + dl.Tensor(np.ones(6)),  # whose origin is not known
        lambda net, y: y * random.choice([1, 1]),  # which draws, whatever comes of it
        lambda net, y: y * np.random.choice([1.0, 1.0]),
        lambda net, y: y * float(generator().choice([1.0, 1.0])),
        lambda net, y: ops.sqrt(y.abs()) if y.data.flat[0] > 0 else y.abs(),
    ],
)
def test_what_depends_on_values_runs_as_it_is(then):
    net = made(then)
    assert not is_planned(net, image())
    for seed in range(4):
        np.testing.assert_array_equal(infer(net, image(seed)), net(image(seed)).data)


def test_changes_of_the_net_are_seen():
    net, x = made(lambda net, y: net.linear(net.dropout(y)) * (2 if net.flag else 1)), image()
    plain = infer(net, x)
    assert is_planned(net, x)
    net.flag = True
    np.testing.assert_array_equal(infer(net, x), 2 * plain)
    assert is_planned(net, x)
    net.flag = False
    with dl.no_grad():
        net.linear.weight.data[...] *= 3
        net.linear.bias.data[...] *= 3
    np.testing.assert_allclose(infer(net, x), 3 * plain, rtol=1e-12)
    net.linear = nn.Linear(6, 2).double().eval()
    assert infer(net, x).shape == (2, 4, 6, 2)
    net.dropout.train()
    assert not np.array_equal(infer(net, x), infer(net, x))
    net.dropout.eval()
    assert is_planned(net, x)


def test_hooks_run():
    net, seen = made(lambda net, y: net.linear(y)), []
    assert is_planned(net, image())
    handle = net.linear.register_forward_hook(lambda module, args, output: seen.append(1))
    infer(net, image())
    infer(net, image())
    assert len(seen) == 2
    handle.remove()
    net.flag = None
    assert is_planned(net, image())


def test_modes_and_options_run_the_net():
    net, x = made(lambda net, y: net.linear(y)), image()
    assert is_planned(net, x)
    before = len(net.runs)
    assert not net(x).requires_grad and len(net.runs) == before  # nothing that it is made of requires a gradient
    with dl.no_grad(), dl.detect_anomaly():
        net(x)
    with pytest.raises(TypeError, match="unexpected keyword argument 'y'"), dl.no_grad():
        net(x, y=1)
    assert len(net.runs) == before + 1
    x.requires_grad_()
    net(x).sum().backward()
    assert x.grad is not None


def test_a_copy_has_plans_of_its_own():
    net, x = made(lambda net, y: net.linear(y)), image()
    plain = infer(net, x)
    other = copy.deepcopy(net)
    other.linear.bias.data += 1
    assert is_planned(other, x)
    np.testing.assert_allclose(infer(other, x), plain + 1)
    np.testing.assert_array_equal(infer(net, x), plain)
    again = dl.optimize_for_inference(net, (3, 8, 8))
    np.testing.assert_array_equal(infer(again, x), plain)
    assert is_planned(again, x)


def test_a_net_that_never_comes_to_rest_runs_as_it_is():
    def then(net, y):
        net.flag = [net.flag]
        return net.linear(y)

    net = made(then)
    for _ in range(40):
        infer(net, image())
    before = len(net.runs)
    infer(net, image())
    assert len(net.runs) == before + 1


def test_mistakes_are_told_as_without_a_plan():
    net = made(lambda net, y: net.linear(y))
    infer(net, image())
    for x, match in (
        (image(0, 2, 4, 8, 8), "in_channels of weight"),
        (dl.Tensor(np.zeros((1, 3, 8, 8), int)), "conv2d"),
    ):
        for _ in range(2):
            with pytest.raises((ValueError, TypeError), match=match):
                infer(net, x)
    with pytest.raises(TypeError):
        infer(net)


def test_values_are_let_go_when_nobody_takes_them():
    """As many buffers as are alive at a time, not as there are operations."""
    width, layers = 512, 12
    dl.manual_seed(0)
    net = dl.optimize_for_inference(nn.Sequential(*[nn.Conv2d(1, 1, 1) for _ in range(layers)]), (1, width, width))
    x = dl.Tensor(np.zeros((1, 1, width, width), np.float32))
    infer(net, x)
    alive = []
    kernel = sys.modules["minidl.ops.conv2d"].kernel
    original = kernel.forward

    def forward(*args):
        alive.append(_pool.in_use()[0])
        return original(*args)

    kernel.forward = forward
    try:
        infer(net, x)
    finally:
        kernel.forward = original
    assert len(alive) == layers and max(alive) - alive[0] <= 1.1 * 4 * width * width


def test_dropout_draws_anew_in_each_run():
    net, x = made(lambda net, y: ops.dropout(y, 0.5, True)), image()
    assert is_planned(net, x)
    dl.manual_seed(3)
    planned = [infer(net, x) for _ in range(3)]
    dl.manual_seed(3)
    with dl.no_grad():
        plain = [type(net).forward(net, x).data for _ in range(3)]
    assert all(np.array_equal(a, b) for a, b in zip(planned, plain, strict=True))
    assert not np.array_equal(planned[0], planned[1])


# ---- training ------------------------------------------------------------------------------------------------------

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


def test_training_takes_no_more_memory_than_without():
    dl.manual_seed(0)
    plain = nn.Sequential(*[nn.Conv2d(1, 1, 3, padding=1), nn.Tanh(), nn.Flatten(2), nn.Softmax(-1)])
    planned, x, most = dl.optimize_for_training(copy.deepcopy(plain)), image(0, 1, 1, 512, 512).astype(np.float32), []
    for net in (plain, planned):
        for _ in range(3):
            held = []
            y = net(x)
            held.append(_pool.in_use()[0])
            y.sum().backward()
            held.append(_pool.in_use()[0])
            del y
        most.append(max(held))
    assert most[1] <= most[0]


def test_only_a_module_is_planned():
    with pytest.raises(TypeError, match="optimize_for_training: net must be a Module, got function"):
        dl.optimize_for_training(image)


@pytest.mark.parametrize("training", [False, True])
def test_parameters_of_another_kind_are_seen(training):
    """In place, so that no module is told: the kernels of a list would read float64 as float32."""
    dl.manual_seed(0)
    net = Net(lambda net, y: net.linear(y))
    net = dl.optimize_for_training(net) if training else dl.optimize_for_inference(net, (3, 8, 8))
    x = image().astype(np.float32)
    run = net if training else lambda x: dl.Tensor(infer(net, x))
    for _ in range(3):
        plain = run(x)
    net.double()
    with pytest.raises(TypeError, match="must all be float32 or all float64, got float32, float64"):
        run(x)
    np.testing.assert_allclose(run(image()).data, plain.data, rtol=1e-5, atol=1e-6)
    net.float()
    for _ in range(3):
        np.testing.assert_array_equal(run(x).data, plain.data)
    net.linear.weight.data = net.linear.weight.data[:4]
    with pytest.raises(ValueError, match="bias must have shape"):
        run(x)
    net.linear.bias.data = net.linear.bias.data[:4]
    for _ in range(3):
        np.testing.assert_array_equal(run(x).data, plain.data[..., :4])
