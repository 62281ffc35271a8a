"""A few rows times a large matrix, against NumPy's product in float64."""

import numpy as np
import pytest

from minidl.kernels import matmul

# B, M, K, N: more than 4 MB of b, whose summed axis is cut into slabs; and less.
SHAPES = [
    (1, 1, 1030, 1500),
    (1, 15, 2061, 520),
    (1, 64, 1300, 1030),
    (2, 33, 700, 1025),
    (5, 3, 900, 1030),
    (1, 9, 700, 401),
]


@pytest.mark.parametrize("finish", ["plain", "relu", "residual"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_few_rows(shape, finish):
    stacks, m, k, n = shape
    rng = np.random.default_rng(3)
    a, b, start = rng.standard_normal((stacks, m, k)), rng.standard_normal((stacks, k, n)), rng.standard_normal(n)
    residual = rng.standard_normal((stacks, m, n)) if finish == "residual" else None
    expected = a @ b + start
    if finish == "residual":
        expected += residual
    if finish != "plain":
        expected = np.maximum(expected, 0)
    for given in (a, a.transpose(0, 2, 1).copy().transpose(0, 2, 1)):
        y = np.full((stacks, m, n), np.nan)
        matmul.multiply(given, b, start, y, finish != "plain", residual)
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-12)


def test_few_rows_keep_nan():
    a, b = np.ones((1, 5, 1300), np.float32), np.zeros((1, 1300, 1030), np.float32)
    b[0, 700, 9] = np.nan
    y = np.empty((1, 5, 1030), np.float32)
    matmul.multiply(a, b, np.float32(-1) * np.ones(1030, np.float32), y, relu=True)
    assert np.isnan(y[0, :, 9]).all()
    assert np.isnan(y).sum() == 5
    assert np.nansum(y) == 0
