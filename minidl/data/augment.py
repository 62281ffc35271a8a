"""Augmentation: images changed at random in ways that leave their class alone. For DataLoader's `transform`."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class RandomAffine:
    """Rotate, move and scale each image of a batch by amounts of its own, as LeCun et al. 1998 distort MNIST (III.A).

    degrees:   rotation, uniform in [-degrees, degrees]
    translate: shift in pixels along each axis, uniform in [-translate, translate]
    scale:     enlargement, uniform in [1 - scale, 1 + scale]

    Called with images (N, C, H, W) and a numpy.random.Generator; returns new images of that shape. Pixels are
    interpolated bilinearly; what comes in from outside has the batch's least value (the background of digits).

    Raises:
        ValueError: a negative amount, or scale of 1 or more.
    """

    degrees: float = 0.0
    translate: float = 0.0
    scale: float = 0.0

    def __post_init__(self):
        if min(self.degrees, self.translate, self.scale) < 0 or self.scale >= 1:
            raise ValueError(f"RandomAffine: amounts must not be negative and scale less than 1, got {self}")

    def __call__(self, images, rng):
        n, _, h, w = images.shape
        angle = np.deg2rad(rng.uniform(-self.degrees, self.degrees, n))
        zoom = 1 / rng.uniform(1 - self.scale, 1 + self.scale, n)
        shift = rng.uniform(-self.translate, self.translate, (2, n))
        # Where output pixel (i, j) comes from, counted from the centre: rotated, scaled, moved.
        i, j = np.arange(h)[:, None] - (h - 1) / 2, np.arange(w) - (w - 1) / 2
        cos, sin = ((zoom * f(angle))[:, None, None] for f in (np.cos, np.sin))
        rows = cos * i - sin * j + shift[0, :, None, None] + (h - 1) / 2
        columns = sin * i + cos * j + shift[1, :, None, None] + (w - 1) / 2
        return _sample(images, rows, columns)


def _sample(images, rows, columns):
    """The images (N, C, H, W) at fractional places (N, H, W), the least value of all outside."""
    n, c, h, w = images.shape
    framed = np.full((n, h + 2, w + 2, c), images.min(), images.dtype)
    framed[:, 1:-1, 1:-1] = images.transpose(0, 2, 3, 1)
    top, left = np.floor(rows).astype(int), np.floor(columns).astype(int)
    down, right = (rows - top).astype(images.dtype)[..., None], (columns - left).astype(images.dtype)[..., None]
    number = np.arange(n)[:, None, None]

    def corner(i, j):
        return framed[number, (i + 1).clip(0, h + 1), (j + 1).clip(0, w + 1)]

    above = corner(top, left) * (1 - right) + corner(top, left + 1) * right
    below = corner(top + 1, left) * (1 - right) + corner(top + 1, left + 1) * right
    return (above * (1 - down) + below * down).transpose(0, 3, 1, 2)
