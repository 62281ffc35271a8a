"""conv2d by im2col, against the textbook's sums."""

import numpy as np
import pytest

from minidl.kernels.conv2d import im2col, reference

# (N, H, W, C, O), (KH, KW), stride, padding, dilation
CASES = [
    ((3, 9, 6, 5, 7), (3, 2), (2, 1), (1, 0), (1, 1)),
    ((2, 7, 8, 3, 33), (2, 3), (1, 2), (2, 1), (2, 1)),
    ((0, 4, 4, 3, 5), (3, 3), (1, 1), (1, 1), (1, 1)),
]


@pytest.mark.parametrize("finish", ["plain", "relu", "residual"])
@pytest.mark.parametrize("bytes_at_once", [1, 1 << 12, 1 << 25])
@pytest.mark.parametrize("case", CASES, ids=["3x2", "dilated", "no images"])
def test_forward_agrees_with_the_sums(case, bytes_at_once, finish, monkeypatch):
    monkeypatch.setattr(im2col, "_UNFOLDED", bytes_at_once)  # parts that end within an image, and all at once
    (n, h, w, c, o), kernel, stride, padding, dilation = case
    rng = np.random.default_rng(7)
    x, weight, bias = rng.standard_normal((n, h, w, c)), rng.standard_normal((*kernel, c, o)), rng.standard_normal(o)
    oh, ow = (
        (size + 2 * p - d * (k - 1) - 1) // s + 1
        for size, k, s, p, d in zip((h, w), kernel, stride, padding, dilation, strict=True)
    )
    y, expected = np.full((n, oh, ow, o), np.nan), np.empty((n, oh, ow, o))
    reference.forward(x, weight, bias, stride, padding, dilation, 1, expected)
    residual = rng.standard_normal(y.shape) if finish == "residual" else None
    im2col.forward(x, weight, bias, stride, padding, dilation, finish != "plain", residual, y)
    if residual is not None:
        expected += residual
    np.testing.assert_allclose(y, expected if finish == "plain" else np.maximum(expected, 0), rtol=0, atol=1e-12)
