"""Initial weights have the variance their papers ask for, and the layout the kernels take."""

import math

import numpy as np
import pytest
from scipy import stats

import minidl as dl
from minidl import nn
from minidl.nn import init
from minidl.ops._common import empty_weight

SHAPE = (64, 48, 3, 5)  # fan_in 720, fan_out 960
FAN_IN, FAN_OUT = 48 * 15, 64 * 15


def weights():
    return nn.Parameter(empty_weight(*SHAPE))


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
        ("selu", None),
        ("conv3d", None),
        ("conv_transpose2d", None),
    ]:
        assert init.calculate_gain(name, param) == pytest.approx(torch.nn.init.calculate_gain(name, param))
    with pytest.raises(ValueError, match="nonlinearity must be linear, .* got 'swish'"):
        init.calculate_gain("swish")
    with pytest.raises(TypeError, match="the negative slope must be a number, got 'steep'"):
        init.calculate_gain("leaky_relu", "steep")


@pytest.mark.parametrize("shape", [(40, 40), (20, 70), (70, 20), (16, 3, 5, 5), (64, 4, 3, 3), (1, 9), (9, 1)])
@pytest.mark.parametrize("gain", [1.0, math.sqrt(2)])
def test_orthogonal(shape, gain):
    dl.manual_seed(2)
    w = init.orthogonal_(dl.Tensor(np.empty(shape)), gain).data.reshape(shape[0], -1)
    product = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    np.testing.assert_allclose(product, gain**2 * np.eye(len(product)), atol=1e-12)


def test_orthogonal_is_uniform_over_orthogonal_matrices():
    """A rotation or reflection of the plane has an angle; without the fix of signs it falls in half of them."""
    dl.manual_seed(0)
    drawn = [init.orthogonal_(dl.Tensor(np.empty((2, 2)))).data for _ in range(2000)]
    angles = [math.atan2(w[1, 0], w[0, 0]) for w in drawn]
    assert stats.kstest(angles, stats.uniform(-math.pi, 2 * math.pi).cdf).pvalue > 1e-3
    assert 0.45 < np.mean([np.linalg.det(w) > 0 for w in drawn]) < 0.55
    assert init.orthogonal_(dl.Tensor(np.empty((0, 3)))).shape == (0, 3)


@pytest.mark.parametrize(
    ("mean", "std", "a", "b"),
    [
        (0, 1, -2, 2), (0, 0.02, -2, 2), (1, 2, 0.5, 3), (0, 1, -0.1, 0.3), (0, 1, 5, math.inf), (0, 1, -9, -6),
        (3, 0.5, -2, 2), (0, 1, 4, 4.01), (0, 1, 0.7, 30), (0, 1, -math.inf, math.inf), (0, 1, -0.01, math.inf),
        (0, 1, 30, 30.01), (10, 0.01, -2, 2),
    ],
)  # fmt: skip
def test_truncated_normal(mean, std, a, b):
    dl.manual_seed(4)
    w = init.trunc_normal_(dl.Tensor(np.empty((100, 200))), mean, std, a, b).data.ravel()
    law = stats.truncnorm((a - mean) / std, (b - mean) / std, mean, std)
    assert w.min() >= a and w.max() <= b
    assert stats.kstest(w, law.cdf).pvalue > 1e-3


def test_moments_are_pytorchs():
    torch = pytest.importorskip("torch")
    for name, options in [
        ("trunc_normal_", {"mean": 0.2, "std": 0.7, "a": -1, "b": 0.5}),
        ("orthogonal_", {"gain": 1.5}),
        ("xavier_uniform_", {"gain": 2}),
        ("kaiming_normal_", {"mode": "fan_out"}),
    ]:
        torch.manual_seed(0)
        dl.manual_seed(0)
        ours = getattr(init, name)(weights(), **options).data
        theirs = getattr(torch.nn.init, name)(torch.empty(SHAPE), **options).numpy()
        size = theirs.std()
        assert abs(ours.mean() - theirs.mean()) < 0.02 * size and ours.std() == pytest.approx(size, rel=0.02)
        assert np.mean(ours**4) == pytest.approx(np.mean(theirs**4), rel=0.08)


def test_eye_and_dirac_are_pytorchs():
    torch = pytest.importorskip("torch")
    for shape in [(3, 3), (2, 5), (5, 2)]:
        np.testing.assert_array_equal(
            init.eye_(dl.Tensor(np.empty(shape))).data, torch.nn.init.eye_(torch.empty(shape)).numpy()
        )
    for shape, groups in [
        ((6, 3, 5), 1),
        ((6, 3, 3, 4), 2),
        ((4, 7, 1, 2), 1),
        ((6, 2, 3, 3, 3), 3),
        ((8, 8, 3, 3), 1),
    ]:
        np.testing.assert_array_equal(
            init.dirac_(dl.Tensor(np.empty(shape)), groups).data,
            torch.nn.init.dirac_(torch.empty(shape), groups).numpy(),
        )


def test_dirac_passes_images_on():
    x = dl.Tensor(np.random.default_rng(0).standard_normal((2, 6, 5, 4)))
    w = init.dirac_(dl.Tensor(np.empty((6, 3, 3, 3))), groups=2)
    np.testing.assert_array_equal(dl.ops.conv2d(x, w, padding=1, groups=2).data, x.data)


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
    w = init.initialize(net, "orthogonal")[1].weight.data.reshape(4, -1)
    np.testing.assert_allclose(w @ w.T, np.eye(4), atol=1e-6)
    with pytest.raises(ValueError, match="scheme must be one of he, xavier, lecun, orthogonal, constant, got 'zero'"):
        init.initialize(net, "zero")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: init.kaiming_normal_(dl.tensor([1.0])), r"at least two dimensions are needed, got shape \(1,\)"),
        (lambda: init.kaiming_uniform_(weights(), mode="fan"), "mode must be 'fan_in' or 'fan_out', got 'fan'"),
        (lambda: init.normal_(weights(), std=-1), "std must not be negative, got -1"),
        (lambda: init.uniform_(weights(), 2, 1), "a must not be greater than b, got 2 and 1"),
        (lambda: init.trunc_normal_(weights(), std=0), "trunc_normal_: std must be positive and finite, got 0"),
        (lambda: init.trunc_normal_(weights(), math.nan), "trunc_normal_: mean must be finite, got nan"),
        (lambda: init.trunc_normal_(weights(), a=2, b=2), "trunc_normal_: a must be less than b, got 2 and 2"),
        (lambda: init.eye_(weights()), r"eye_: a Tensor of two dimensions is needed, got shape \(64, 48, 3, 5\)"),
        (lambda: init.dirac_(dl.tensor([[1.0]])), r"dirac_: a Tensor of 3, 4 or 5 dimensions is needed, got shape"),
        (lambda: init.dirac_(weights(), 3), "dirac_: groups must be a positive integer that divides 64, got 3"),
        (lambda: init.orthogonal_(dl.tensor([1.0])), r"orthogonal_: weights of at least two .* got shape \(1,\)"),
        (lambda: dl.manual_seed(-1), "seed must be an integer of at least 0, got -1"),
        (lambda: dl.manual_seed(1.5), "seed must be an integer of at least 0, got 1.5"),
    ],
)
def test_misuse_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
