"""Data sets by name, and the loader that cuts them into batches:

    dataset = load("digits")
    images = dataset.normalize(dataset.train_images)
    loader = DataLoader(images, dataset.train_labels, batch_size=32, shuffle=True)

All of it is NumPy arrays; the training loop makes tensors of the batches.
"""

import difflib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from minidl.data.digits import load_digits
from minidl.data.loader import DataLoader
from minidl.data.mnist import DatasetNotFoundError, load_mnist

__all__ = ["DATASETS", "DataLoader", "Dataset", "DatasetNotFoundError", "load"]

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
DIGITS = tuple("0123456789")
CLOTHES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set in memory.

    Images are float32 (N, C, H, W) in [0, 1], labels int64 (N,) in 0..len(class_names) - 1. `mean` and `std`
    hold one number per channel, taken over all pixels of all training images, padding included. `credit` says
    whose work it is.
    """

    name: str
    train_images: np.ndarray = field(repr=False)
    train_labels: np.ndarray = field(repr=False)
    test_images: np.ndarray = field(repr=False)
    test_labels: np.ndarray = field(repr=False)
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    credit: str

    def normalize(self, images: np.ndarray) -> np.ndarray:
        """`(images - mean) / std` channel by channel, float32, in a new array of the same shape (N, C, H, W).

        Raises ValueError where images is not of that shape with the data set's number of channels.
        """
        images = np.asarray(images)
        if images.ndim != 4 or images.shape[1] != len(self.mean):
            raise ValueError(
                f"normalize: images of {self.name} must be (N, {len(self.mean)}, H, W), not {images.shape}"
            )
        mean, std = (np.array(values, np.float32).reshape(1, -1, 1, 1) for values in (self.mean, self.std))
        normalized = np.subtract(images, mean, dtype=np.float32)
        normalized /= std
        return normalized


@dataclass(frozen=True)
class Entry:
    """What is known of a data set before it is read. `read` returns the four arrays of `Dataset`."""

    read: Callable[[], Arrays]
    class_names: tuple[str, ...]
    credit: str


DATASETS = {
    "digits": Entry(
        load_digits,
        DIGITS,
        "Optical Recognition of Handwritten Digits, E. Alpaydin and C. Kaynak, 1998, UCI Machine Learning "
        "Repository, doi 10.24432/C50P49, CC BY 4.0",
    ),
    "mnist": Entry(
        partial(load_mnist, "mnist"),
        DIGITS,
        "The MNIST database of handwritten digits, Y. LeCun, C. Cortes and C. J. C. Burges, from NIST's "
        "Special Databases 1 and 3",
    ),
    "fashion-mnist": Entry(
        partial(load_mnist, "fashion-mnist"),
        CLOTHES,
        "Fashion-MNIST, H. Xiao, K. Rasul and R. Vollgraf, 2017, arXiv:1708.07747, (c) 2017 Zalando SE, MIT licence",
    ),
}


def load(name: str) -> Dataset:
    """The data set of that name, one of `DATASETS`.

    Raises ValueError where there is no such name or a file of the set is broken, and DatasetNotFoundError
    where its files are not here and cannot be downloaded (`minidl.data.mnist` says where it looks).
    """
    if name not in DATASETS:
        close = difflib.get_close_matches(str(name).lower(), DATASETS, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"load: unknown data set {name!r}, known are {', '.join(DATASETS)}{hint}")
    entry = DATASETS[name]
    train_images, train_labels, test_images, test_labels = entry.read()
    mean, std = _channel_statistics(train_images)
    return Dataset(
        name, train_images, train_labels, test_images, test_labels, entry.class_names, mean, std, entry.credit
    )


def _channel_statistics(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of images (N, C, H, W), summed in float64."""
    channels = images.shape[1]
    mean = images.mean(axis=(0, 2, 3), dtype=np.float64)
    squares = np.zeros(channels)
    # By slices: the float64 differences of all of MNIST's pixels would take half a gigabyte.
    for start in range(0, len(images), 4096):
        difference = images[start : start + 4096] - mean.reshape(channels, 1, 1)
        squares += np.square(difference).sum(axis=(0, 2, 3))
    std = np.sqrt(squares * channels / images.size)
    return tuple(mean.tolist()), tuple(std.tolist())
