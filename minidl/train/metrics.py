"""Top-k accuracy: the share of images whose class is among the k that the net finds likeliest."""

import numpy as np


def correct(logits, labels, k):
    """How many rows of logits (N, C) have fewer than k classes ranked before their label.

    Of equal logits the lower class number ranks first, so a net that says the same of all classes is right as often
    as it would be by chance. A row whose label has the logit NaN is wrong.

    Raises:
        ValueError: k less than 1, or shapes that do not fit.
    """
    if k < 1:
        raise ValueError(f"top-k accuracy: k must be at least 1, got {k}")
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise ValueError(
            f"top-k accuracy: logits must be (N, C) and labels (N,), got {logits.shape} and {labels.shape}"
        )
    own = np.take_along_axis(logits, labels[:, None], axis=1)
    before = np.arange(logits.shape[1]) < labels[:, None]
    ahead = (logits > own) | ((logits == own) & before) | np.isnan(logits)
    return int((ahead.sum(axis=1) < k).sum()) if len(labels) else 0


def accuracy(logits, labels, k=1):
    """The share of rows of logits (N, C) whose label is among the k greatest; see `correct`. NaN for no rows."""
    return correct(logits, labels, k) / len(labels) if len(labels) else float("nan")
