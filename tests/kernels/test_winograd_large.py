"""The form of Winograd's algorithm for large weights, against the textbook's sums."""

import numpy as np
import pytest

from minidl.kernels.conv2d import reference, winograd_large
from minidl.kernels.conv2d.winograd_tiles import tiles_of_inputs, tiles_of_outputs

# (N, H, W, C, O, window, stride, padding, outputs of a tile): several chunks and panels, none of them full; tiles that
# reach over the border.
CASES = [
    (3, 9, 10, 70, 45, 3, 1, (1, 1), 4), (2, 11, 6, 131, 33, 3, 1, (0, 2), 4), (2, 9, 13, 66, 35, 5, 1, (2, 1), 4),
    (3, 14, 11, 70, 45, 3, 1, (1, 2), 5), (2, 17, 14, 70, 45, 3, 2, (1, 0), 4),
]  # fmt: skip


@pytest.mark.parametrize("budget", ["all", "few", "kept"])
@pytest.mark.parametrize("case", CASES, ids=["3x3", "3x3-wide-border", "5x5", "3x3-by-5", "3x3-stride-2"])
def test_agrees_with_the_sums(case, budget, monkeypatch):
    n, h, w, c, o, r, s, padding, m = case
    if budget == "few":  # several rounds, of different sizes
        monkeypatch.setattr(winograd_large, "_CORRELATE_L3", 1 << 20)
        monkeypatch.setattr(winograd_large, "_GRADIENT_L3", 1 << 20)
    elif budget == "kept":
        monkeypatch.setattr(winograd_large, "_FEW", 0)
    rng = np.random.default_rng(5)
    x, weight = rng.standard_normal((n, h, w, c)), rng.standard_normal((r, r, c, o))
    bias, start = rng.standard_normal(o), rng.standard_normal(c)
    shape = n, (h + 2 * padding[0] - r) // s + 1, (w + 2 * padding[1] - r) // s + 1, o
    geometry = (s, s), padding, (1, 1), 1
    outputs, inputs = (tiles(m, r, (s, s), padding) for tiles in (tiles_of_outputs, tiles_of_inputs))
    gy = rng.standard_normal(shape)

    expected, y = np.empty(shape), np.full(shape, np.nan)
    reference.forward(x, weight, bias, *geometry, expected)
    winograd_large.correlate(x, weight, outputs, False, bias, 0, 0.0, y)
    np.testing.assert_allclose(y, np.maximum(expected, 0), rtol=0, atol=1e-10)

    expected, gx = np.empty(x.shape), np.full(x.shape, np.nan)
    reference.input_grad(gy, weight, *geometry, expected)
    winograd_large.correlate(gy, weight, inputs, True, start, 0, -np.inf, gx)
    np.testing.assert_allclose(gx, expected + start, rtol=0, atol=1e-10)

    expected, gw = np.empty(weight.shape), np.full(weight.shape, np.nan)
    reference.weight_grad(x, gy, *geometry, expected)
    winograd_large.weight_grad(x, gy, outputs, gw)
    np.testing.assert_allclose(gw, expected, rtol=0, atol=1e-10)
