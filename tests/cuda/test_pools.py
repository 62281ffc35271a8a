"""Poolings on a GPU beyond their kernels' samples."""

import numpy as np
import pytest

from minidl.kernels import KERNELS


def test_sizes_whose_product_is_beyond_an_int_are_refused(cupy):
    x, y = (cupy.asarray(np.zeros((1, size, 1, 1), np.float32)) for size in (60_000, 40_000))
    for args in ((x, y), (y, x)):
        with pytest.raises(ValueError, match=r"60000 pixels to 40000|40000 pixels to 60000"):
            KERNELS["adaptive_avg_pool2d.forward"].gpu(*args)
    with pytest.raises(ValueError, match="60000 pixels to 40000"):
        KERNELS["adaptive_avg_pool2d.backward"].gpu(y, x)


def test_the_greatest_sizes_are_pooled(cupy):
    """46,340 squared is just below an int's end."""
    x, y = np.ones((1, 46_339, 1, 1), np.float32), np.zeros((1, 46_339, 1, 1), np.float32)
    result = cupy.asarray(y)
    KERNELS["adaptive_avg_pool2d.forward"].gpu(cupy.asarray(x), result)
    np.testing.assert_array_equal(result.get(), x)
