"""Partial loading, freezing, and rates by name."""

import numpy as np
import pytest

import minidl as dl
from minidl import nn


class Net(nn.Module):
    def __init__(self, classes=3):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3))
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(64, classes))

    def forward(self, x):
        return self.classifier(self.features(x))


def _step(net, optimizer):
    x = dl.Tensor(np.random.default_rng(0).standard_normal((5, 1, 8, 8)).astype(np.float32))
    optimizer.zero_grad()
    dl.ops.cross_entropy(net(x), dl.Tensor(np.array([0, 1, 2, 0, 1]))).backward()
    optimizer.step()


def _copy(net):
    return {name: t.data.copy() for name, t in net.state_dict().items()}


def test_a_new_classifier_on_old_features():
    old, new = Net(classes=7), Net(classes=3)
    before, state = _copy(new), {**old.state_dict(), "other": np.zeros(2)}
    report = nn.load_matching(new, state)
    assert report.wrong_shape == [("classifier.1.weight", (7, 64), (3, 64)), ("classifier.1.bias", (7,), (3,))]
    assert report.missing == [] and report.unexpected == ["other"]
    assert report.loaded == [name for name in before if name.startswith("features")]
    after = _copy(new)
    for name in before:
        source = state[name].data if name in report.loaded else before[name]
        np.testing.assert_array_equal(after[name], source)
    assert str(report) == (
        "loaded 9 of 11\nunexpected: other\nother shape: classifier.1.weight is (7, 64), the net's is (3, 64)\n"
        "other shape: classifier.1.bias is (7,), the net's is (3,)"
    )


def test_missing_names_are_reported():
    report = nn.load_matching(Net(), {"features.0.bias": np.ones(4)})
    assert report.loaded == ["features.0.bias"] and len(report.missing) == 10
    assert str(report).startswith("loaded 1 of 11\nmissing: features.0.weight, ")


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        ({"a.b": np.ones(2)}, ValueError, "nothing of the state fits Net: it has a.b, the net features.0.weight, "),
        ({}, ValueError, "it has nothing"),
        ([1], TypeError, "state must be a dictionary, got list"),
        ({"features.0.bias": np.ones(4), "x": np.array(["a"])}, TypeError, "x must hold numbers, its dtype is <U1"),
    ],
)
def test_what_fits_nowhere_changes_nothing(state, error, message):
    net = Net()
    before = _copy(net)
    with pytest.raises(error, match=message):
        nn.load_matching(net, state)
    assert all(np.array_equal(before[name], array) for name, array in _copy(net).items())


def test_frozen_parameters_stay_and_thawed_ones_move():
    net = Net()
    optimizer = dl.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    _step(net, optimizer)  # leaves gradients and velocity
    names = nn.freeze(net, "features.*")
    assert names == [name for name, _ in net.named_parameters() if name.startswith("features")]
    before = _copy(net)
    optimizer.step()  # freeze took the gradients away
    for _ in range(2):
        _step(net, optimizer)
    after = _copy(net)
    moved = {name for name in before if not np.array_equal(before[name], after[name])}
    assert moved == {
        "classifier.1.weight", "classifier.1.bias", "features.1.running_mean", "features.1.running_var",
        "features.1.num_batches_tracked",
    }  # fmt: skip
    assert nn.unfreeze(net, "features.[13].*") == [f"features.{i}.{n}" for i in (1, 3) for n in ("weight", "bias")]
    _step(net, optimizer)
    assert not np.array_equal(net.features[3].weight.data, after["features.3.weight"])
    np.testing.assert_array_equal(net.features[0].weight.data, after["features.0.weight"])


def test_frozen_statistics():
    net = Net().train()
    nn.freeze(net, "features.*", statistics=True)
    assert net.training and not net.features[1].training and net.features[0].training
    before = _copy(net)
    _step(net, dl.optim.SGD(nn.parameter_groups(net, {}), lr=0.1))
    after = _copy(net)
    assert {n for n in before if not np.array_equal(before[n], after[n])} == {
        "classifier.1.weight",
        "classifier.1.bias",
    }
    nn.unfreeze(net, "*")
    assert net.features[1].training and all(p.requires_grad for p in net.parameters())


def test_rates_by_name():
    net = Net()
    groups = nn.parameter_groups(
        net, {"classifier.*.bias": {"lr": 0.5, "weight_decay": 0.0}, "classifier.*": {"lr": 0.1}}, {"lr": 0.01}
    )
    named = dict(net.named_parameters())
    assert [(g["lr"], len(g["params"])) for g in groups] == [(0.5, 1), (0.1, 1), (0.01, 6)]
    assert groups[0]["params"][0] is named["classifier.1.bias"]
    before = _copy(net)
    optimizer = dl.optim.SGD(groups, lr=9.0)
    _step(net, optimizer)
    for name, rate in (("classifier.1.bias", 0.5), ("classifier.1.weight", 0.1), ("features.0.weight", 0.01)):
        np.testing.assert_allclose(named[name].data, before[name] - rate * named[name].grad.data, rtol=1e-5, atol=1e-7)


def test_groups_leave_frozen_parameters_out():
    net = Net()
    nn.freeze(net, "features.*")
    (group,) = nn.parameter_groups(net, {"features.*": {"lr": 0.1}})
    assert {id(p) for p in group["params"]} == {id(p) for p in net.classifier.parameters()}
    assert dl.optim.SGD([group], lr=0.3).param_groups[0]["lr"] == 0.3


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda net: nn.freeze(net, "feature.*"), ValueError, r"freeze: no parameter matches 'feature\.\*'; they"),
        (lambda net: nn.unfreeze(net, "x"), ValueError, "unfreeze: no parameter matches 'x'"),
        (lambda net: nn.parameter_groups(net, {"x*": {}}), ValueError, r"parameter_groups: no parameter matches 'x\*'"),
        (
            lambda net: nn.parameter_groups(net, {"*": {}, "features.*": {}}), ValueError,
            r"all that 'features\.\*' matches belongs to an earlier pattern",
        ),
        (lambda net: nn.parameter_groups(net, {"*": 0.1}), TypeError, "settings must be a dictionary pattern"),
    ],
)  # fmt: skip
def test_mistakes(call, error, message):
    net = Net()
    with pytest.raises(error, match=message):
        call(net)
    assert all(p.requires_grad for p in net.parameters())


def test_blank_weights_are_not_drawn():
    dl.manual_seed(5)
    state = dl.random.generator().bit_generator.state
    with nn.init.blank():
        net = Net()
    assert dl.random.generator().bit_generator.state == state
    net.load_state_dict(Net().state_dict())
    first = nn.init.normal_(dl.Tensor(np.zeros(3))).data
    assert first.any()
