"""VGG's staged start, and its largest configuration as it is."""

import numpy as np
import pytest

import minidl as dl
from minidl import models

WIDTH = {"width": 0.05, "num_classes": 6}


def _first_convolutions(config):
    """Names of the convolutions by stage, from the paper's table 1 alone."""
    counts = {"A": (1, 1, 2, 2, 2), "B": (2,) * 5, "C": (2, 2, 3, 3, 3), "D": (2, 2, 3, 3, 3), "E": (2, 2, 4, 4, 4)}
    names, at = [], 0
    for count in counts[config]:
        names.append([f"features.{at + 2 * i}" for i in range(count)])
        at += 2 * count + 1
    return names


@pytest.mark.parametrize("config", ["B", "C", "D", "E"])
def test_a_deeper_net_starts_from_a(config):
    dl.manual_seed(0)
    a, net = models.create("vgg", "A", **WIDTH), models.create("vgg", config, **WIDTH)
    matched = models.start_from(net, a)
    own, source = _first_convolutions(config), _first_convolutions("A")
    expected = [(own[s][i], source[s][i]) for s, i in ((0, 0), (1, 0), (2, 0), (2, 1))]
    expected += [(f"classifier.{i}",) * 2 for i in (0, 3, 6)]
    assert [tuple(pair) for pair in matched] == expected
    theirs, mine = a.state_dict(), net.state_dict()
    for name, other in expected:
        for part in ("weight", "bias"):
            np.testing.assert_array_equal(mine[f"{name}.{part}"].data, theirs[f"{other}.{part}"].data)
    copied = {name for name, _ in expected}
    rest = [n for n in mine if n.rpartition(".")[0] not in copied]
    assert len(rest) == 2 * (sum(map(len, own)) - 4)
    weights = np.concatenate([mine[n].data.ravel() for n in rest if n.endswith("weight")])
    assert weights.std() == pytest.approx(0.1, rel=0.05) and abs(weights.mean()) < 0.01  # variance 1e-2
    assert not any(mine[n].data.any() for n in rest if n.endswith("bias"))
    assert all(p.requires_grad for p in net.parameters())


def test_in_e_the_first_four_convolutions_are_1_3_5_and_6():
    e = models.create("vgg", "E", **WIDTH)
    matched = models.start_from(e, models.create("vgg", "A", **WIDTH))
    numbers = {name: i for i, name in enumerate((n for stage in _first_convolutions("E") for n in stage), 1)}
    assert [numbers[pair.name] for pair in matched[:4]] == [1, 3, 5, 6]


def test_the_rest_can_be_kept_and_batch_norms_go_along():
    a, net = (models.create("vgg", c, batch_norm=True, **WIDTH) for c in ("A", "B"))
    a.features[1].running_mean.data += 3
    before = {k: v.data.copy() for k, v in net.state_dict().items()}
    matched = models.start_from(net, a, rest="keep")
    assert [m.name for m in matched[:2]] == ["features.0", "features.1"] and len(matched) == 11
    assert (net.features[1].running_mean.data == 3).all()
    touched = {m.name for m in matched}
    for name, value in net.state_dict().items():
        if name.rpartition(".")[0] not in touched:
            np.testing.assert_array_equal(value.data, before[name])


def test_mistakes_change_nothing():
    net = models.create("vgg", "D", **WIDTH)
    before = {k: v.data.copy() for k, v in net.state_dict().items()}
    for trained, rest, kind, message in (
        (models.create("lenet"), "paper", TypeError, "trained must be a VGG, got LeNet"),
        (models.create("vgg", "A", **{**WIDTH, "num_classes": 5}), "paper", ValueError, r"classifier\.6 has weights"),
        (models.create("vgg", "A", **{**WIDTH, "width": 0.1}), "keep", ValueError, r"features\.0 has weights"),
        (models.create("vgg", "A", **WIDTH), "he", ValueError, "rest must be one of paper, keep, got 'he'"),
    ):
        with pytest.raises(kind, match=message):
            models.start_from(net, trained, rest)
    with pytest.raises(ValueError, match="configuration A has no convolution 2 in stage 1, D has one"):
        models.start_from(models.create("vgg", "A", **WIDTH), net)
    assert all(np.array_equal(before[k], v.data) for k, v in net.state_dict().items())


def test_vgg_e_for_real():
    """143,667,240 weights that are drawn, and one image that goes through them."""
    dl.manual_seed(0)
    net = models.create("vgg19").eval()
    assert sum(p.numel() for p in net.parameters()) == 143_667_240
    assert net.classifier[0].weight.data.std() == pytest.approx(np.sqrt(2 / 25088), rel=0.01)
    image = dl.Tensor(np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32))
    with dl.no_grad():
        logits = net(image).data
    assert logits.shape == (1, 1000) and np.isfinite(logits).all() and logits.std() > 0.1
