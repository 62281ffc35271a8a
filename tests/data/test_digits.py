"""The digits that come with minidl, and the registry of data sets."""

import dataclasses

import numpy as np
import pytest

from minidl import data
from minidl.data import digits

# From the UCI repository's description of the test part (optdigits.names).
COUNTS = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
# The ink of all images of a class, summed from scikit-learn's copy of the set.
INK = [56415, 57007, 55566, 56151, 56239, 55915, 56336, 54289, 57408, 56392]
# The first line of optdigits.tes, a zero.
FIRST = [
    [0, 0, 5, 13, 9, 1, 0, 0],
    [0, 0, 13, 15, 10, 15, 5, 0],
    [0, 3, 15, 2, 0, 11, 8, 0],
    [0, 4, 12, 0, 0, 8, 8, 0],
    [0, 5, 8, 0, 0, 9, 8, 0],
    [0, 4, 11, 0, 1, 12, 7, 0],
    [0, 2, 14, 5, 10, 12, 0, 0],
    [0, 0, 6, 13, 10, 0, 0, 0],
]


@pytest.fixture(scope="module")
def dataset():
    return data.load("digits")


def stored():
    with np.load(digits.FILE, allow_pickle=False) as arrays:
        return arrays["images"], arrays["labels"]


def test_the_file_holds_the_uci_test_part():
    images, labels = stored()
    assert images.shape == (1797, 8, 8) and images.dtype == np.uint8
    assert labels.dtype == np.uint8 and labels[:12].tolist() == [*range(10), 0, 1]
    assert images[0].tolist() == FIRST
    assert np.bincount(labels).tolist() == COUNTS
    assert [int(images[labels == label].sum()) for label in range(10)] == INK
    assert digits.FILE.stat().st_size < 100_000


def test_shapes_types_and_range(dataset):
    assert dataset.train_images.shape == (1437, 1, 32, 32) and dataset.test_images.shape == (360, 1, 32, 32)
    for images in (dataset.train_images, dataset.test_images):
        assert images.dtype == np.float32 and images.flags.c_contiguous
        assert images.min() == 0 and images.max() == 1
    assert dataset.train_labels.dtype == dataset.test_labels.dtype == np.int64
    assert dataset.class_names == tuple("0123456789")


def test_split_keeps_every_sample_once_and_every_class_in_proportion(dataset):
    labels = np.concatenate([dataset.train_labels, dataset.test_labels])
    images = np.concatenate([dataset.train_images, dataset.test_images])
    assert np.bincount(labels).tolist() == COUNTS
    # Enlarging by 4 x 4 multiplies the sum of an image by 16, which undoes the division by 16.
    assert [float(images[labels == label].sum(dtype=np.float64)) for label in range(10)] == INK
    shares = np.array(COUNTS) * 360 / 1797
    assert np.abs(np.bincount(dataset.test_labels) - shares).max() < 1


def test_split_does_not_change():
    labels = stored()[1].astype(np.int64)
    train, test = digits.split_by_class(labels, 360, digits.SPLIT_SEED)
    assert np.array_equal(np.sort(np.concatenate([train, test])), np.arange(1797))
    # Pinned: results on the digits can be compared only while the split stays as it is.
    assert test[:10].tolist() == [1, 7, 8, 10, 16, 22, 25, 26, 27, 28] and int(test.sum()) == 314127


def test_split_by_class_gives_the_rest_to_the_largest_remainders():
    labels = np.repeat([0, 1, 2], [5, 3, 2])  # shares of 4 in 10: 2.0, 1.2, 0.8
    train, test = digits.split_by_class(labels, 4, seed=0)
    assert np.bincount(labels[test]).tolist() == [2, 1, 1]
    assert sorted([*train, *test]) == list(range(10))


def test_bilinear_matrix_by_hand():
    # 2 -> 4: centres at -1/4, 1/4, 3/4, 5/4 of the input, the outer two clamped to 0 and 1.
    expected = [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]]
    assert digits.bilinear_matrix(2, 4).tolist() == expected


def test_enlarging_is_pytorchs():
    torch = pytest.importorskip("torch")
    images = stored()[0][:50]
    theirs = torch.nn.functional.interpolate(
        torch.from_numpy(images[:, None] / np.float32(16)),
        size=(32, 32),
        mode="bilinear",
        align_corners=False,
    ).numpy()
    enlarge = digits.bilinear_matrix(8, 32)
    assert np.array_equal((enlarge @ (images / np.float32(16)) @ enlarge.T)[:, None], theirs)
    # The first train or test image of the set is the first zero, enlarged.
    dataset = data.load("digits")
    assert any(np.array_equal(theirs[0], part[0]) for part in (dataset.train_images, dataset.test_images))


def test_mean_std_and_normalize(dataset):
    pixels = dataset.train_images.astype(np.float64)
    assert dataset.mean == pytest.approx((pixels.mean(),)) and dataset.std == pytest.approx((pixels.std(),))
    normalized = dataset.normalize(dataset.train_images)
    assert normalized.dtype == np.float32 and normalized.shape == (1437, 1, 32, 32)
    assert normalized.mean(dtype=np.float64) == pytest.approx(0, abs=1e-5)
    assert normalized.std(dtype=np.float64) == pytest.approx(1, abs=1e-5)


def test_statistics_and_normalize_are_per_channel(dataset):
    rng = np.random.default_rng(0)
    images = rng.random((5000, 3, 2, 2), dtype=np.float32) * np.array([1, 2, 4]).reshape(3, 1, 1)
    mean, std = data._channel_statistics(images)
    assert mean == pytest.approx([images[:, c].mean() for c in range(3)])
    assert std == pytest.approx([images[:, c].std() for c in range(3)])
    coloured = dataclasses.replace(dataset, mean=(0.0, 1.0, 2.0), std=(1.0, 2.0, 4.0))
    assert coloured.normalize(np.full((1, 3, 1, 1), 4.0)).ravel().tolist() == [4, 1.5, 0.5]


@pytest.mark.parametrize("shape", [(1437, 32, 32), (2, 3, 32, 32)])
def test_normalize_rejects_other_shapes(dataset, shape):
    with pytest.raises(ValueError, match=r"normalize: images of digits must be \(N, 1, H, W\)"):
        dataset.normalize(np.zeros(shape))


def test_unknown_names():
    with pytest.raises(ValueError, match="unknown data set 'cifar', known are digits, mnist, fashion-mnist$"):
        data.load("cifar")
    with pytest.raises(ValueError, match="did you mean 'fashion-mnist'"):
        data.load("Fashion_MNIST")
    with pytest.raises(ValueError, match="unknown data set None"):
        data.load(None)


def test_dataset_is_frozen_and_prints_without_its_arrays(dataset):
    with pytest.raises(dataclasses.FrozenInstanceError):
        dataset.name = "other"
    assert "array" not in repr(dataset) and "CC BY 4.0" in repr(dataset)
    assert list(data.DATASETS) == ["digits", "mnist", "fashion-mnist"]
