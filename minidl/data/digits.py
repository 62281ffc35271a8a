"""The digits that come with minidl: 1,797 real handwritten digits, so that a first training needs no network.

They are the test part of the UCI set "Optical Recognition of Handwritten Digits" (see CREDITS.md): 8 x 8
images whose pixels count the ink, 0..16, in the 4 x 4 cells of a 32 x 32 scan.
"""

from pathlib import Path

import numpy as np

FILE = Path(__file__).with_name("digits.npz")
INK = 16  # the largest pixel: all of a cell's 4 x 4 dots
NUM_TEST = 360
SPLIT_SEED = 1998


def load_digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Train images, train labels, test images, test labels.

    Images are float32 (N, 1, 32, 32) in [0, 1], enlarged from 8 x 8 by `bilinear_matrix`; labels are int64
    (N,) in 0..9. N is 1437 for training and 360 for testing.

    The split is always the same and every class has its share of both parts (`split_by_class`). It is a split
    by sample: the set does not say who wrote which digit, so its 13 writers appear on both sides, and the
    test accuracy says how the network does on new digits of known hands, not on new hands.
    """
    with np.load(FILE, allow_pickle=False) as arrays:
        images, labels = arrays["images"], arrays["labels"].astype(np.int64)
    enlarge = bilinear_matrix(8, 32)
    images = (enlarge @ (images.astype(np.float32) / INK) @ enlarge.T)[:, None]
    train, test = split_by_class(labels, NUM_TEST, SPLIT_SEED)
    return images[train], labels[train], images[test], labels[test]


def bilinear_matrix(size: int, new_size: int) -> np.ndarray:
    """The matrix R, float32 (new_size, size), for which `R @ image @ R.T` is the image resized bilinearly.

    Pixels are squares and their values sit at the centres: output pixel i has its centre at (i + 1/2) size /
    new_size of the input. Its two neighbours are weighted by their distance; beyond the outer centres the
    border's value goes on. This is `torch.nn.functional.interpolate(mode="bilinear", align_corners=False)`.
    """
    position = ((np.arange(new_size) + 0.5) * size / new_size - 0.5).clip(0, size - 1)
    distance = np.abs(position[:, None] - np.arange(size))
    return (1 - distance).clip(0).astype(np.float32)


def split_by_class(labels: np.ndarray, num_test: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the train and of the test samples, each in ascending order.

    labels: (N,) integers from 0. Each class gives its share of the `num_test` test samples: the whole part of
    `num_test * count / N`, and the samples still missing come from the classes with the largest remainders
    (the lower class where two are equal).
    """
    # RandomState and not Generator: NumPy promises never to change its stream (NEP 19).
    order = np.random.RandomState(seed).permutation(len(labels))
    counts = np.bincount(labels)
    shares, remainders = np.divmod(num_test * counts, len(labels))
    shares[np.argsort(-remainders, kind="stable")[: num_test - shares.sum()]] += 1
    test = np.concatenate([order[labels[order] == label][:share] for label, share in enumerate(shares)])
    return np.setdiff1d(np.arange(len(labels)), test), np.sort(test)
