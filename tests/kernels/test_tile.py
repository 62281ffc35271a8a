"""The register tile: its two emitted forms beside each other, and the cut into tiles."""

import numba
import numpy as np
import pytest

from minidl.kernels import _tile


@numba.njit
def _both(kind, rows, width, x, step, w, summed, zeros, plain, side_by_side):
    """plain = x (rows, summed) @ w (summed, width), and side_by_side = the same of x (summed, rows) transposed."""
    last = 0, -np.inf
    _tile.tile_last(kind, rows, width, x, step, 0, 1, w, 0, width, 1, summed, zeros, 0, *last, False, plain, width, 0)
    _tile.tile(kind, rows, width, x, 1, 0, rows, w, 0, width, 1, summed, zeros, 0, side_by_side, width, 0)
    _tile.tile_last(kind, 1, width, x, step, 0, 1, w, 0, width, 1, summed, zeros, 0, *last, False, plain, width, 0)


@pytest.mark.parametrize(
    "rows", [1, 2, 7, _tile.TALLEST, _tile.TALLEST + 1, 2 * _tile.TALLEST, 2 * _tile.TALLEST + 1, 61]
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_far_apart_and_side_by_side(rows, dtype):
    random, summed = np.random.default_rng(0), 5
    for width in range(1, _tile.tile_width(np.dtype(dtype)) + 1):
        x, w = (
            random.standard_normal((rows, summed)).astype(dtype),
            random.standard_normal((summed, width)).astype(dtype),
        )
        zeros = np.zeros(width, dtype)
        plain, side_by_side = (np.full((rows + 1, width), 7, dtype) for _ in range(2))
        at_x, at_w, at_zeros, *outputs = (a.ctypes.data for a in (x, w, zeros, plain, side_by_side))
        _both(dtype(0), rows, width, at_x, summed, at_w, summed, at_zeros, *outputs)
        for got, left in (plain, x), (side_by_side, x.reshape(summed, rows).T):
            bound = (summed + 1) * np.finfo(dtype).eps * (np.abs(left) @ np.abs(w))  # of a sum of rounded products
            assert (np.abs(got[:rows] - left @ w) <= bound).all()
        assert (plain[rows] == 7).all() and (side_by_side[rows] == 7).all()
