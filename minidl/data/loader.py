"""DataLoader: a data set in batches, in an order that depends on the seed and the epoch alone."""

from collections.abc import Callable, Iterator

import numpy as np

from ..cuda import is_device
from .prefetch import ahead, send_ahead


class DataLoader:
    """Batches of images and labels as arrays: NumPy's, or on a GPU CuPy's.

    images:     (N, C, H, W), any dtype
    labels:     (N,)
    batch_size: samples per batch; the last batch of an epoch holds what is left
    shuffle:    draw a new order for each epoch, else keep the order of the arrays
    seed:       an integer >= 0; with the epoch's number it settles the order and what `transform` draws
    drop_last:  leave out a last batch that is not full
    transform:  the hook for augmentation: `transform(images, rng)` gets the images of a batch and a
                `numpy.random.Generator`, and returns the images to use in their place
    prefetch:   how many batches a thread gathers ahead, while the caller computes; 0: none, each when it is asked for
    device:     where batches go, "cpu", "cuda" or "cuda:1". With prefetch they are copied there while the GPU computes:
                out of page-locked memory, on a stream of their own

    `len(loader)` is the number of batches. Each iteration is one epoch and yields `(images, labels)`, copies
    that the caller may change. The memory of the images is channels-last: a `transpose(0, 3, 1, 2)` of a
    C-contiguous (B, H, W, C) array, which for C = 1 is C-contiguous as well.

    Epochs are counted from 0, and the next one's number is `loader.epoch`. Epoch k is the same whether or not
    the epochs before it were run, so a resumed training says `loader.set_epoch(k)` and goes on as if it had
    never stopped.

    Raises TypeError or ValueError, naming the argument, where shapes do not fit or numbers are out of range.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        batch_size: int,
        shuffle: bool = False,
        seed: int = 0,
        drop_last: bool = False,
        transform: Callable[[np.ndarray, np.random.Generator], np.ndarray] | None = None,
        prefetch: int = 0,
        device: str = "cpu",
    ):
        images, labels = np.asarray(images), np.asarray(labels)
        if images.ndim != 4:
            raise ValueError(f"DataLoader: images must be (N, C, H, W), not of shape {images.shape}")
        if labels.ndim != 1:
            raise ValueError(f"DataLoader: labels must be (N,), not of shape {labels.shape}")
        if len(images) != len(labels):
            raise ValueError(f"DataLoader: images (N={len(images)}) and labels (N={len(labels)}) differ")
        if len(images) == 0:
            raise ValueError("DataLoader: images must not be empty (N=0)")
        self.batch_size = _integer("batch_size", batch_size, minimum=1)
        if drop_last and self.batch_size > len(images):
            raise ValueError(
                f"DataLoader: drop_last=True leaves no batch, batch_size (={batch_size}) > N (={len(images)})"
            )
        # Once, here: np.take copies all of an array that is not contiguous, for every batch.
        self._nhwc = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
        self._labels = labels
        self.shuffle = shuffle
        self.seed = _integer("seed", seed, minimum=0)
        self.drop_last = drop_last
        self.transform = transform
        self.prefetch = _integer("prefetch", prefetch, minimum=0)
        if not is_device(device):
            raise ValueError(f"DataLoader: device must be 'cpu', 'cuda' or 'cuda:1', got {device!r}")
        self.device = device
        self.epoch = 0

    def __len__(self) -> int:
        full, rest = divmod(len(self._labels), self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def set_epoch(self, epoch: int) -> None:
        """Makes `epoch`, an integer >= 0, the number of the next iteration."""
        self.epoch = _integer("epoch", epoch, minimum=0)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        epoch = self.epoch
        self.epoch += 1
        batches = self._batches(epoch)
        if self.device != "cpu":
            return send_ahead(batches, self.device, self.prefetch)
        return ahead(batches, self.prefetch) if self.prefetch else batches

    def _batches(self, epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        n = len(self._labels)
        order = self._rng(epoch).permutation(n) if self.shuffle else np.arange(n)
        for batch in range(len(self)):
            chosen = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            images = np.take(self._nhwc, chosen, axis=0).transpose(0, 3, 1, 2)
            if self.transform is not None:
                images = np.asarray(self.transform(images, self._rng(epoch, batch)))
                if images.ndim != 4 or len(images) != len(chosen):
                    raise ValueError(f"DataLoader: transform must return ({len(chosen)}, C, H, W), not {images.shape}")
            yield images, np.take(self._labels, chosen)

    def _rng(self, *key: int) -> np.random.Generator:
        # spawn_key, and not a list as the entropy: SeedSequence([s, e]) equals SeedSequence([s, e, 0]).
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence(self.seed, spawn_key=key)))


def _integer(name: str, value: int, minimum: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"DataLoader: {name} must be an integer, not {value!r}")
    if value < minimum:
        raise ValueError(f"DataLoader: {name} (={value}) must be >= {minimum}")
    return int(value)
