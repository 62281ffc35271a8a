"""SGD against PyTorch's and against the paper's formula, written out."""

import numpy as np
import pytest

import minidl as dl
from minidl.optim import SGD, CosineAnnealingLR

START = np.array([1.0, -2.0, 3.0])
GRADIENTS = np.random.default_rng(0).standard_normal((6, 3))


def run(gradients=GRADIENTS, lrs=None, **settings):
    w = dl.nn.Parameter(START.copy())
    optimizer = SGD([w], **settings)
    for number, g in enumerate(gradients):
        if lrs:
            optimizer.param_groups[0]["lr"] = lrs[number]
        w.grad = dl.Tensor(g.copy())
        optimizer.step()
    return w.data


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"momentum": 0.9},
        {"momentum": 0.9, "dampening": 0.3},
        {"weight_decay": 0.1},
        {"momentum": 0.9, "weight_decay": 0.1, "nesterov": True},
        {"momentum": 0.5, "dampening": 1.0, "weight_decay": 0.01},
    ],
)
def test_equals_pytorch(settings):
    torch = pytest.importorskip("torch")
    w = torch.tensor(START, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=0.1, **settings)
    for g in GRADIENTS:
        w.grad = torch.tensor(g)
        optimizer.step()
    np.testing.assert_allclose(run(lr=0.1, **settings), w.detach().numpy(), rtol=1e-12)


def test_the_papers_convention_keeps_the_rate_in_the_velocity():
    lrs = [0.1, 0.1, 0.1, 0.01, 0.01, 0.01]
    w, v = START.copy(), np.zeros(3)
    for g, lr in zip(GRADIENTS, lrs, strict=True):  # Krizhevsky et al. 2012, section 5
        v = 0.9 * v - 0.05 * lr * w - lr * g
        w = w + v
    settings = {"momentum": 0.9, "weight_decay": 0.05}
    np.testing.assert_allclose(run(lr=0.1, lrs=lrs, lr_in_velocity=True, **settings), w, rtol=1e-12)
    assert np.abs(run(lr=0.1, lrs=lrs, **settings) - w).max() > 0.01  # PyTorch's differs once the rate drops
    constant = run(lr=0.1, lr_in_velocity=True, **settings), run(lr=0.1, **settings)
    np.testing.assert_allclose(*constant, rtol=1e-12)


def test_float32_stays_float32_and_the_gradient_is_left_alone():
    w = dl.nn.Parameter(START.astype(np.float32))
    optimizer = SGD([w], 0.1, momentum=0.9, weight_decay=0.1)
    gradient = dl.Tensor(GRADIENTS[0].astype(np.float32))
    w.grad = gradient
    for _ in range(2):
        optimizer.step()
    assert w.dtype == np.float32 and optimizer.state[w]["momentum_buffer"].dtype == np.float32
    np.testing.assert_array_equal(gradient.data, GRADIENTS[0].astype(np.float32))


def test_groups_have_settings_of_their_own():
    a, b, idle = (dl.nn.Parameter(START.copy()) for _ in range(3))
    optimizer = SGD([{"params": [a]}, {"params": [b, idle], "lr": 1.0}], lr=0.1)
    for w in (a, b):
        w.grad = dl.Tensor(np.ones(3))
    optimizer.step()
    np.testing.assert_allclose((START - a.data, START - b.data, START - idle.data), [[0.1] * 3, [1.0] * 3, [0.0] * 3])
    optimizer.zero_grad()
    assert a.grad is None and b.grad is None


def test_a_saved_optimizer_goes_on_as_if_it_had_not_stopped():
    w = dl.nn.Parameter(START.copy())
    optimizer = SGD([w], 0.1, momentum=0.9)
    for g in GRADIENTS[:3]:
        w.grad = dl.Tensor(g)
        optimizer.step()
    twin = dl.nn.Parameter(w.data.copy())
    other = SGD([twin], 5.0)
    other.load_state_dict(optimizer.state_dict())
    for g in GRADIENTS[3:]:
        twin.grad = dl.Tensor(g)
        other.step()
    np.testing.assert_allclose(twin.data, run(lr=0.1, momentum=0.9), rtol=1e-12)


def test_a_step_between_forward_and_backward_is_noticed():
    w = dl.nn.Parameter(START.copy())
    optimizer = SGD([w], 0.1)
    w.grad = dl.Tensor(np.ones(3))
    loss = (w * w).sum()
    optimizer.step()
    with pytest.raises(RuntimeError, match=r"changed in place afterwards by SGD.step\(\)"):
        loss.backward()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": -1}, "SGD: lr must be at least 0, got -1"),
        ({"lr": float("nan")}, "SGD: lr must be at least 0, got nan"),
        ({"lr": 1, "momentum": -0.5}, "SGD: momentum must be at least 0"),
        ({"lr": 1, "nesterov": True}, "nesterov needs momentum > 0"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ValueError, match=message):
        SGD([dl.nn.Parameter(START.copy())], **settings)


def test_wrong_parameters():
    w = dl.nn.Parameter(START.copy())
    with pytest.raises(ValueError, match="has no parameters"):
        SGD([], 0.1)
    with pytest.raises(TypeError, match="leaf Tensors, got ndarray"):
        SGD([START], 0.1)
    with pytest.raises(TypeError, match="leaf Tensors"):
        SGD([w * 2], 0.1)
    with pytest.raises(ValueError, match="stands in two groups"):
        SGD([{"params": [w]}, {"params": [w]}], 0.1)
    with pytest.raises(ValueError, match="unknown settings rate"):
        SGD([{"params": [w], "rate": 1}], 0.1)


def test_state_that_does_not_fit_changes_nothing():
    optimizer = SGD([dl.nn.Parameter(START.copy())], 0.1, momentum=0.9)
    good = optimizer.state_dict()
    for saved, message in [
        ({**good, "groups": []}, "0 groups for 1"),
        ({**good, "state": {3: {}}}, "no parameter number 3"),
        ({**good, "state": {0: {"momentum_buffer": dl.tensor([1.0])}}}, r"is \(1,\), must be \(3,\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            optimizer.load_state_dict({**saved, "groups": [{**g, "lr": 9} for g in saved["groups"]]})
        assert optimizer.param_groups[0]["lr"] == 0.1 and not optimizer.state


def test_cosine_schedule_equals_pytorch():
    torch = pytest.importorskip("torch")
    ours = SGD([dl.nn.Parameter(START.copy())], 0.3)
    theirs = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.3)
    schedules = CosineAnnealingLR(ours, 7, 0.01), torch.optim.lr_scheduler.CosineAnnealingLR(theirs, 7, 0.01)
    for _ in range(7):
        theirs.step()
        for schedule in schedules:
            schedule.step()
        assert ours.param_groups[0]["lr"] == pytest.approx(theirs.param_groups[0]["lr"], rel=1e-9)
    schedules[0].step()
    assert ours.param_groups[0]["lr"] == 0.01
    with pytest.raises(ValueError, match="T_max must be at least 1, got 0"):
        CosineAnnealingLR(ours, 0)


class Clipped(SGD):
    """A user's optimizer, which changes how one parameter is updated."""

    def update(self, parameter, gradient, group, state):
        super().update(parameter, np.clip(gradient, -0.5, 0.5), group, state)
        parameter[parameter < 0] = 0


class Signs(dl.optim.Optimizer):
    """One from scratch."""

    def check(self, group):
        pass

    def update(self, parameter, gradient, group, state):
        parameter -= group["lr"] * np.sign(gradient)


def test_an_update_of_the_users_is_called_for_each_parameter():
    for kind, expected in ((Clipped, [0.95, 0.0, 3.05]), (Signs, [0.9, -2.1, 3.1])):
        weights = [dl.nn.Parameter(START.copy()), dl.nn.Parameter(START.copy())]
        for w in weights:
            w.grad = dl.Tensor(np.array([1.0, 2.0, -3.0]))
        kind(weights, lr=0.1).step()
        for w in weights:
            np.testing.assert_allclose(w.data, expected)
