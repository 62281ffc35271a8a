"""Losses and dropout as modules."""

import numpy as np
import pytest
from helpers import normal

import minidl as dl
from minidl import nn

X, Y = np.random.default_rng(0).uniform(0.1, 0.9, (2, 5, 4))
CLASSES = np.array([0, 3, 1, 1, 2])
WEIGHT = np.array([0.5, 2.0, 1.0, 1.5])
MODULES = [
    ("CrossEntropyLoss", {}, CLASSES),
    ("CrossEntropyLoss", {"weight": WEIGHT, "ignore_index": 1, "label_smoothing": 0.2, "reduction": "sum"}, CLASSES),
    ("NLLLoss", {"weight": WEIGHT, "ignore_index": 2}, CLASSES),
    ("BCELoss", {"weight": WEIGHT}, Y),
    ("BCEWithLogitsLoss", {"weight": WEIGHT, "pos_weight": WEIGHT, "reduction": "none"}, Y),
    ("KLDivLoss", {"reduction": "batchmean", "log_target": True}, Y),
    ("MSELoss", {"reduction": "sum"}, Y),
    ("L1Loss", {}, Y),
    ("SmoothL1Loss", {"beta": 0.3}, Y),
    ("HuberLoss", {"delta": 0.3, "reduction": "none"}, Y),
]


@pytest.mark.parametrize("name, options, target", MODULES)
def test_losses_are_pytorchs(name, options, target):
    torch = pytest.importorskip("torch")
    theirs = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    expected = getattr(torch.nn, name)(**theirs)(torch.tensor(X), torch.tensor(target))
    loss = getattr(nn, name)(**options)
    np.testing.assert_allclose(loss(dl.Tensor(X), dl.Tensor(target)).numpy(), expected.numpy(), rtol=1e-12)
    assert "reduction" in repr(loss) and not list(loss.parameters())


def test_weights_are_saved_with_the_module():
    assert np.array_equal(nn.CrossEntropyLoss(WEIGHT).state_dict()["weight"].numpy(), WEIGHT)
    assert not nn.CrossEntropyLoss().state_dict()


def test_unknown_reductions():
    with pytest.raises(ValueError, match="MSELoss: reduction must be one of none, mean, sum, got 'average'"):
        nn.MSELoss("average")
    with pytest.raises(ValueError, match="L1Loss: reduction must be one of none, mean, sum, got 'batchmean'"):
        nn.L1Loss("batchmean")


@pytest.mark.parametrize("kind", [nn.Dropout, nn.Dropout2d])
def test_dropout_is_active_in_training_only(kind):
    layer, x = kind(0.3), dl.Tensor(normal(4, 5, 6, 7))
    dl.manual_seed(0)
    y = layer(x)
    assert 0 < (y.data == 0).mean() < 1
    layer.eval()
    assert layer(x) is x and repr(layer) == f"{kind.__name__}(p=0.3)"
    dl.manual_seed(0)
    assert np.array_equal(layer.train()(x).data, y.data)
    with pytest.raises(ValueError, match=f"{kind.__name__}: p must be from 0 to 1, got 1.5"):
        kind(1.5)
