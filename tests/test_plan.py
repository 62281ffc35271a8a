"""A net that is planned runs its list of operations, and only where that is what the net does."""

import copy
import random
import sys

import numpy as np
import pytest
from planned import Net, image, infer

import minidl as dl
from minidl import nn, ops
from minidl.kernels import _pool
from minidl.random import generator


def made(then):
    dl.manual_seed(0)
    return dl.optimize_for_inference(Net(then).double(), (3, 8, 8))


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
