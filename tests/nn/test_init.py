"""Initial weights have the variance their papers ask for, and the layout the kernels take."""

import math

import numpy as np
import pytest
from scipy import stats

import minidl as dl
from minidl import nn
from minidl.nn import init

SHAPE = (64, 48, 3, 5)  # fan_in 720, fan_out 960
FAN_IN, FAN_OUT = 48 * 15, 64 * 15


def weights():
    return nn.Parameter(init.empty_weight(*SHAPE))


@pytest.mark.parametrize(
    ("fill", "variance", "distribution"),
    [
        (init.kaiming_normal_, 2 / FAN_IN, "norm"),
        (init.he_uniform_, 2 / FAN_IN, "uniform"),
        (lambda w: init.kaiming_normal_(w, mode="fan_out"), 2 / FAN_OUT, "norm"),
        (lambda w: init.kaiming_uniform_(w, a=math.sqrt(5), nonlinearity="leaky_relu"), 1 / (3 * FAN_IN), "uniform"),
        (lambda w: init.kaiming_normal_(w, nonlinearity="linear"), 1 / FAN_IN, "norm"),
        (init.xavier_normal_, 2 / (FAN_IN + FAN_OUT), "norm"),
        (init.xavier_uniform_, 2 / (FAN_IN + FAN_OUT), "uniform"),
        (lambda w: init.xavier_normal_(w, gain=5 / 3), 25 / 9 * 2 / (FAN_IN + FAN_OUT), "norm"),
        (init.lecun_normal_, 1 / FAN_IN, "norm"),
        (init.lecun_uniform_, 1 / FAN_IN, "uniform"),
        (lambda w: init.normal_(w, 0, 0.3), 0.09, "norm"),
        (lambda w: init.uniform_(w, -1, 1), 1 / 3, "uniform"),
    ],
)
def test_distribution(fill, variance, distribution):
    dl.manual_seed(5)
    w = fill(weights()).data.astype(float).ravel()
    scale = math.sqrt(variance)
    law = (
        stats.norm(0, scale)
        if distribution == "norm"
        else stats.uniform(-math.sqrt(3) * scale, 2 * math.sqrt(3) * scale)
    )
    assert stats.kstest(w, law.cdf).pvalue > 1e-3  # 46,080 draws: 1 % off in scale already fails at 1e-2


def test_gains_are_pytorchs():
    torch = pytest.importorskip("torch")
    for name, param in [
        ("linear", None),
        ("sigmoid", None),
        ("tanh", None),
        ("relu", None),
        ("leaky_relu", 0.3),
        ("leaky_relu", None),
    ]:
        assert init.calculate_gain(name, param) == pytest.approx(torch.nn.init.calculate_gain(name, param))
    with pytest.raises(ValueError, match="nonlinearity must be linear, .* got 'selu'"):
        init.calculate_gain("selu")


def test_constant_weights_never_separate():
    """The lecture's warning: units that start equal receive equal gradients, whatever the data."""
    x = dl.tensor(np.random.default_rng(0).standard_normal((9, 4)).astype(np.float32))
    for scheme, distinct in (("constant", 1), ("he", 6)):
        dl.manual_seed(0)
        net = init.initialize(nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)), scheme)
        optimizer = dl.optim.SGD(net.parameters(), 0.1)
        for _ in range(5):
            optimizer.zero_grad()
            dl.ops.cross_entropy(net(x), dl.tensor([0, 1, 2] * 3)).backward()
            optimizer.step()
        assert len(np.unique(net[0].weight.data, axis=0)) == distinct


def test_same_seed_same_weights_whatever_the_layout():
    dl.manual_seed(3)
    one = init.he_normal_(weights()).data
    dl.manual_seed(3)
    other = init.he_normal_(dl.Tensor(np.empty(SHAPE, np.float32))).data
    np.testing.assert_array_equal(one, other)
    assert one.transpose(2, 3, 1, 0).flags.c_contiguous


def test_initialize():
    net = nn.Sequential(nn.Linear(30, 40), nn.Conv2d(3, 4, 5))
    net[0].bias.data[:] = 1
    assert init.initialize(net, "constant") is net
    assert (net[0].weight.data == np.float32(1 / 30)).all() and (net[1].weight.data == np.float32(1 / 75)).all()
    assert not net[0].bias.data.any()
    with pytest.raises(ValueError, match="scheme must be one of he, xavier, lecun, constant, got 'zero'"):
        init.initialize(net, "zero")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: init.kaiming_normal_(dl.tensor([1.0])), r"at least two dimensions are needed, got shape \(1,\)"),
        (lambda: init.kaiming_uniform_(weights(), mode="fan"), "mode must be 'fan_in' or 'fan_out', got 'fan'"),
        (lambda: init.normal_(weights(), std=-1), "std must not be negative, got -1"),
        (lambda: init.uniform_(weights(), 2, 1), "a must not be greater than b, got 2 and 1"),
        (lambda: dl.manual_seed(-1), "seed must be an integer of at least 0, got -1"),
        (lambda: dl.manual_seed(1.5), "seed must be an integer of at least 0, got 1.5"),
    ],
)
def test_misuse_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
