"""Results of 4 MiB and more are written past the caches: the same numbers, wherever the arrays begin."""

import numba
import numpy as np
import pytest

from minidl import kernels
from minidl.kernels._vector import STREAMED, fence, stream


@numba.njit
def _stream(x, y):
    stream(x.dtype.type(0), x.size, x.ctypes.data, y.ctypes.data)
    fence()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_stream_writes_what_it_should_and_nothing_else(dtype):
    x = np.arange(1, 200, dtype=dtype)
    for offset in range(17):
        for count in (0, 1, 3, 8, 15, 16, 17, 31, 64, 65, 150):
            y = np.zeros(200, dtype)
            _stream(x[3 : 3 + count], y[offset : offset + count])
            np.testing.assert_array_equal(y[offset : offset + count], x[3 : 3 + count])
            assert not y[:offset].any() and not y[offset + count :].any()


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def _array(rng, shape, dtype, offset=0):
    """Random numbers that begin `offset` elements after a multiple of 64 bytes."""
    size = int(np.prod(shape))
    room = np.empty(size + 64, dtype)
    start = -room.ctypes.data // room.itemsize % 16 + offset
    array = room[start : start + size].reshape(shape)
    array[...] = rng.standard_normal(shape)
    return array


def _check(name, args, outputs, dtype):
    """The kernel's last arguments beside the reference's."""
    assert max(array.nbytes for array in args[-outputs:]) >= STREAMED
    expected = [*args[:-outputs], *(np.empty_like(array) for array in args[-outputs:])]
    kernels.KERNELS[name].reference(*expected)
    for array in args[-outputs:]:
        array.fill(np.nan)
    kernels.KERNELS[name](*args)
    for array, right in zip(args[-outputs:], expected[-outputs:], strict=True):
        scale = np.abs(right).max(initial=1)
        np.testing.assert_allclose(array, right, rtol=0, atol=(2e-5 if dtype == np.float32 else 1e-12) * scale)


@pytest.mark.parametrize("offset", [0, 4])
@pytest.mark.parametrize(
    ("n", "size", "channels", "outputs", "window", "stride"),
    [
        (2, 91, 5, 64, 3, 1),  # direct
        (2, 92, 5, 66, 3, 1),  # rows of outputs that do not begin at multiples of a vector
        (2, 95, 8, 64, 1, 1),  # a matrix product
        (1, 260, 7, 96, 3, 2),
        (2, 91, 16, 64, 3, 1),  # Winograd's algorithm; 91 is no multiple of a tile's 4
        (1, 91, 16, 130, 5, 1),
        (1, 54, 200, 400, 3, 1),  # with large weights
    ],
)
def test_convolution(n, size, channels, outputs, window, stride, offset, rng):
    pad = window // 2
    out = (size + 2 * pad - window) // stride + 1
    for dtype in (np.float32, np.float64)[: 1 if channels > 100 else 2]:
        x, w = _array(rng, (n, size, size, channels), dtype), _array(rng, (window, window, channels, outputs), dtype)
        bias, y = _array(rng, (outputs,), dtype), _array(rng, (n, out, out, outputs), dtype, offset)
        geometry = (stride, stride), (pad, pad), (1, 1), 1
        for name in ("conv2d.forward", "conv2d.forward_relu"):
            _check(name, (x, w, bias, *geometry, y), 1, dtype)
        _check("conv2d.forward_add_relu", (x, w, bias, _array(rng, y.shape, dtype), *geometry, y), 1, dtype)
        backwards = w.transpose(0, 1, 3, 2).copy()  # what goes from x to y is the gradient of what goes from y to x
        if stride == 1:
            args = x, backwards, _array(rng, y.shape, dtype), *geometry, y
            _check("conv2d.input_grad_add", args, 1, dtype)


@pytest.mark.parametrize("offset", [0, 3])
@pytest.mark.parametrize(("rows", "columns"), [(20_000, 64), (40_001, 33)])
def test_batch_norm(rows, columns, offset, rng):
    for dtype in (np.float32, np.float64):
        x, gy, residual, y, gx, gr = (_array(rng, (rows, columns), dtype, offset * k) for k in range(6))
        weight, bias, gw, gb = (_array(rng, (columns,), dtype) for _ in range(4))
        mean, rstd = x.mean(0, np.float64), 1 / x.std(0, dtype=np.float64)
        _check("batch_norm.forward", (x, mean, rstd, weight, bias, residual, True, y), 1, dtype)
        for training in (True, False):
            args = mean, rstd, weight, bias, training, True, gx, gw, gb
            _check("batch_norm.backward", (gy, x, y, *args, gr), 4, dtype)
            _check("batch_norm.backward", (gy, x, y[:0], *args, gr[:0]), 4, dtype)


@pytest.mark.parametrize("offset", [0, 5])
def test_rows(offset, rng):
    for dtype in (np.float32, np.float64):
        wide = _array(rng, (20_000, 150), dtype, offset)
        _check("copy_rows.forward", (_array(rng, (1, 20_000, 64), dtype), wide[None, :, 40:104]), 1, dtype)
