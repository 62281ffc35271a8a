"""Top-k accuracy against a count by sorting."""

import numpy as np
import pytest

from minidl.train import accuracy, correct


@pytest.mark.parametrize("k", [1, 2, 5, 10, 12])
def test_counts_like_sorting(k):
    rng = np.random.default_rng(k)
    logits, labels = rng.integers(0, 4, (200, 10)).astype(np.float32), rng.integers(0, 10, 200)  # many ties
    ranked = np.argsort(-logits, axis=1, kind="stable")[:, :k]  # equals in the order of the classes
    assert correct(logits, labels, k) == sum(label in row for label, row in zip(labels, ranked, strict=True))


def test_special_rows():
    nan = np.array([[np.nan, 1.0], [np.nan, np.nan]], np.float32)
    assert correct(nan, np.array([1, 0]), 1) == 0
    assert accuracy(np.zeros((10, 10), np.float32), np.arange(10)) == 0.1
    assert np.isnan(accuracy(np.zeros((0, 3)), np.zeros(0, int)))


def test_misuse_is_named():
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        correct(np.zeros((1, 2)), np.zeros(1, int), 0)
    with pytest.raises(ValueError, match=r"got \(1, 2\) and \(2,\)"):
        correct(np.zeros((1, 2)), np.zeros(2, int), 1)
