"""Winograd's algorithm moves no net's logits."""

import numpy as np
import pytest

import minidl as dl
from minidl import models

# Wide enough for Winograd's algorithm, small in all else.
NETS = {
    "resnet20": ((3, 32, 32), {}),
    "vgg11": ((3, 32, 32), {"stem": "small", "width": 0.25}),
    "googlenet": ((3, 32, 32), {"stem": "small", "width": 0.5}),
    "resnet18": ((3, 32, 32), {"stem": "small", "width": 0.5}),
}


@pytest.mark.parametrize("name", NETS)
def test_logits_stay(name):
    shape, options = NETS[name]
    dl.manual_seed(0)
    net = models.create(name, num_classes=10, **options).eval()
    x = dl.Tensor(np.random.default_rng(1).standard_normal((8, *shape)).astype(np.float32))
    with dl.no_grad():
        with dl.exact_convolution():
            expected = net(x).data
        found = net(x).data
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()  # 1e-3 is promised
    assert not np.array_equal(found, expected), "the algorithm was not used"
