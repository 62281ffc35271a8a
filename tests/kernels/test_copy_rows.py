"""What operations call, copy_into, contiguous, reshaped and full, does as NumPy, for arrays laid out in any way."""

import numpy as np
import pytest

from minidl import kernels
from minidl.kernels import copy_rows

SHAPE = 6, 9, 20, 31  # 134 kB in float32: enough for the kernel


def layouts(array):
    """The same numbers, lying in other ways."""
    yield array
    yield array[::-1, :, ::-1].copy()[::-1, :, ::-1]
    for axes in ((0, 3, 1, 2), (1, 0, 2, 3), (3, 2, 1, 0)):
        yield array.transpose(axes).copy().transpose(np.argsort(axes))
    for gaps in ((1, 1, 2, 1), (1, 2, 3, 1), (2, 1, 1, 1), (1, 1, 1, 2)):
        wide = np.zeros([n * gap + 1 for n, gap in zip(array.shape, gaps, strict=True)], array.dtype)
        inside = wide[tuple(slice(1, None, gap) for gap in gaps)]
        inside[...] = array
        yield inside


@pytest.fixture
def calls(monkeypatch):
    """The shapes that the kernel is called with."""
    shapes, kernel = [], copy_rows.forward

    def forward(x, y):
        shapes.append(x.shape)
        kernel(x, y)

    monkeypatch.setattr("minidl.kernels.copy_rows.forward", forward)
    return shapes


@pytest.fixture
def array():
    return np.random.default_rng(0).standard_normal(SHAPE)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_any_layout_into_any_other(array, dtype, calls):
    array = (100 * array).astype(dtype)
    for source in layouts(array):
        for target in list(layouts(np.zeros_like(array))):
            whole = target if target.base is None else target.base
            kernels.copy_into(target, source)
            np.testing.assert_array_equal(target, array)
            assert np.count_nonzero(whole) == np.count_nonzero(array)  # nothing between the rows
    assert bool(calls) == (dtype != np.int64)


def test_distances_that_are_found(array, calls):
    images = array.astype(np.float32).transpose(0, 3, 1, 2)  # channels-last
    y = np.zeros((6, 40, 9, 20), np.float32).transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2)
    kernels.copy_into(y[:, 4:35], images)
    np.testing.assert_array_equal(y[:, 4:35], images)
    assert calls == [(1, 6 * 9 * 20, 31)]
    for rows, shapes in ((18, [(6 * 9, 20, 31)]), (17, [])):  # 17 is not twice 9: a third distance, so NumPy copies
        wide = np.zeros((6, rows, 39, 31), np.float32).transpose(0, 3, 1, 2)
        calls.clear()
        kernels.copy_into(wide[:, :, ::2, ::2], images)
        np.testing.assert_array_equal(wide[:, :, ::2, ::2], images)
        assert calls == shapes


def test_columns_are_found(array, calls):
    """Images from channels first to channels last and back, a part of the channels, and a matrix."""
    first = array.astype(np.float32).repeat(2, 0)
    last = first.transpose(0, 2, 3, 1)
    cases = [
        (last, (12, 620, 9)),
        (last[..., 2:], (12, 620, 7)),
        (last[::2, 1:], (6, 589, 9)),
        (last.copy().transpose(0, 3, 1, 2), (12, 9, 620)),
        (first.reshape(108, 620).T, (1, 620, 108)),
    ]
    for x, shape in cases:
        calls.clear()
        y = np.full(x.shape, np.nan, np.float32)
        kernels.copy_into(y, x)
        np.testing.assert_array_equal(y, x)
        assert calls == [shape]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
def test_reshaped(array, dtype, calls):
    array = (100 * array).astype(dtype)
    for x in layouts(array):
        for shape in ((6, -1), (54, 620), (6, 9, 620), (6, 3, 3, 20, 31), (-1,)):
            calls.clear()
            y = kernels.reshaped(x, shape)
            np.testing.assert_array_equal(y, array.reshape(shape))
            is_view = np.shares_memory(x, x.reshape(shape))
            assert np.shares_memory(x, y) == is_view
            assert not (is_view and calls)
    flattened = kernels.reshaped(array.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2), (6, -1))
    np.testing.assert_array_equal(flattened, array.reshape(6, -1))
    assert bool(calls) == (dtype != np.int32)
    with pytest.raises(ValueError, match="reshape"):
        kernels.reshaped(array.T, (6, 7))


def test_contiguous(array):
    for x in layouts(array):
        y = kernels.contiguous(x)
        assert y.flags.c_contiguous and y.flags.writeable
        np.testing.assert_array_equal(y, array)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.complex64])
@pytest.mark.parametrize("value", [0, -2, 77])
def test_full(dtype, value, calls):
    for shape, strides in (((), None), ((5,), None), (SHAPE, None), (SHAPE, (5, 3, 9, 1)), ((0, 7), None)):
        got = kernels.full(shape, value, dtype, np.empty(0), strides)
        np.testing.assert_array_equal(got, np.full(shape, value, dtype))
        assert got.dtype == dtype
        if strides:
            assert np.argsort(got.strides).tolist() == np.argsort(strides).tolist()
    assert bool(calls) == (dtype in (np.float32, np.float64))
