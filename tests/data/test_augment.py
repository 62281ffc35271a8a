"""RandomAffine against whole-pixel shifts and SciPy's affine transform."""

import numpy as np
import pytest
from scipy import ndimage

from minidl.data.augment import RandomAffine

IMAGES = np.random.default_rng(0).random((3, 2, 9, 11)).astype(np.float32) + 1


class Fixed:
    """Draws given numbers in place of random ones."""

    def __init__(self, *draws):
        self.draws = list(draws)

    def uniform(self, low, high, size):
        return np.broadcast_to(np.asarray(self.draws.pop(0), float).T, size)


def test_nothing_to_do_changes_nothing():
    result = RandomAffine()(IMAGES, np.random.default_rng(0))
    np.testing.assert_allclose(result, IMAGES, rtol=1e-6)
    assert result.dtype == np.float32


def test_whole_shifts_move_pixels_and_bring_in_the_background():
    result = RandomAffine(translate=2)(IMAGES, Fixed(0, 1, [[2, -1]] * 3))  # pixel (i, j) comes from (i + 2, j - 1)
    np.testing.assert_allclose(result[:, :, :7, 1:], IMAGES[:, :, 2:, :10], rtol=1e-6)
    assert (result[:, :, 7:] == IMAGES.min()).all() and (result[:, :, :, 0] == IMAGES.min()).all()


def test_equals_scipy():
    angle, scale, shift = np.array([5.0, -8.0, 0.0]), np.array([1.1, 0.9, 1.0]), np.array([[0.5, 1], [-2, 0.3], [0, 0]])
    result = RandomAffine(10, 2, 0.1)(IMAGES, Fixed(angle, scale, shift))
    for n in range(3):
        a = np.deg2rad(angle[n])
        matrix = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) / scale[n]
        centre = np.array([4.0, 5.0])
        for c in range(2):
            expected = ndimage.affine_transform(
                IMAGES[n, c], matrix, centre - matrix @ centre + shift[n], order=1, mode="grid-constant",
                cval=IMAGES.min(),
            )  # fmt: skip
            np.testing.assert_allclose(result[n, c], expected, atol=1e-5)


def test_amounts_differ_from_image_to_image_and_repeat_with_the_seed():
    same = np.repeat(IMAGES[:1], 4, axis=0)
    augment = RandomAffine(10, 2, 0.1)
    one, again = (augment(same, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(one, again)
    assert len({image.tobytes() for image in one}) == 4


def test_misuse_is_named():
    for settings in ({"degrees": -1}, {"scale": 1}):
        with pytest.raises(ValueError, match="RandomAffine: amounts must not be negative and scale less than 1"):
            RandomAffine(**settings)
