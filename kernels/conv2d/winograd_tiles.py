"""A tile's way through Winograd's transforms (winograd.py): from pixels to V, from M to outputs, and their adjoints.

What is transformed lies as [channels / chunk][k][tile][chunk], `chunk` channels of a tile side by side, k = 0 … n² - 1:
the small path (winograd.py) has all channels in one chunk, the large one (winograd_large.py) as many as its blocks.
"""

from functools import lru_cache

from numba import types
from numba.extending import intrinsic

from .._cook_toom import transforms
from .._jit import helper, shared
from .._layout import ceil_div
from .._transform import emit_transform
from .._vector import STREAMED, copy

_POINTS = {  # (m, r): rows and columns of a tile of outputs, and of the window; infinity is the last point
    (2, 3): ("0", "1", "-1"),
    (4, 3): ("0", "2/3", "-2/3", "3/2", "-3/2"),
    (5, 3): ("1/4", "-1/4", "4/5", "-4/5", "5/3", "-5/3"),
    (4, 4): ("1/3", "-1/3", "1", "-1", "2", "-2"),
    (4, 5): ("0", "1/2", "-1/2", "1", "-1", "2", "-2"),
}
_A, _G, _B, _A_TURNED, _G_TURNED = transforms(_POINTS)  # A^T, G, B^T, A, G^T of Cook and Toom


# Transforms, see _transform.py. kind is any scalar of the dtype, m the rows of a tile of outputs, r of the window.


@intrinsic
def transform_weights(context, kind, m, r, channels, x, x_row, x_column, y, y_row, y_column):
    return shared(types.void(kind, *[types.intp] * 9), _emit_weights)


@intrinsic
def gather_weights(context, kind, m, r, channels, x, x_row, x_column, y, y_row, y_column):
    return shared(types.void(kind, *[types.intp] * 9), _emit_gathered_weights)


@intrinsic
def _pixels(context, kind, m, r, channels, x, x_row, x_column, y, y_row, y_column, top, bottom, left, right, zeros):
    return shared(types.void(kind, *[types.intp] * 14), _emit_pixels)


@intrinsic
def _spread(context, kind, m, r, channels, x, x_row, x_column, y, y_row, y_column, top, bottom, left, right, zeros):
    return shared(types.void(kind, *[types.intp] * 14), _emit_spread)


@intrinsic
def _outputs(context, kind, m, r, channels, x, x_row, x_column, y, y_row, y_column, start, beside, least, streamed):
    return shared(types.void(kind, *[types.intp] * 11, kind, types.intp), _emit_outputs)


def _emit_weights(builder, signature, args):
    emit_transform(builder, signature.args[0].bitwidth, _G, args[1:])


def _emit_gathered_weights(builder, signature, args):
    emit_transform(builder, signature.args[0].bitwidth, _G_TURNED, args[1:])


def _emit_pixels(builder, signature, args):
    emit_transform(builder, signature.args[0].bitwidth, _B, args[1:10], border=args[10:])


def _emit_spread(builder, signature, args):
    emit_transform(builder, signature.args[0].bitwidth, _A_TURNED, args[1:10], border=args[10:])


def _emit_outputs(builder, signature, args):
    emit_transform(builder, signature.args[0].bitwidth, _A, args[1:10], finish=args[10:])


def outputs_of(r, y):
    """m: rows and columns of a tile of outputs, for windows of r and images (N, OH, OW, O); None if there is no such.

    Tiles of 5×5 take 49 products for 25 outputs in place of 36 for 16, and more for their transforms. They win where
    images need a sixth fewer products so: 1.1 to 1.3 times as fast at 13² and 14². At 28² and 56², the same, 0.9. Tiles
    of 2×2 are for images of 2², 2.2 times as fast as the direct form, which 4×4 would not be.
    """
    return _outputs_of(r, *y.shape[1:3])


@lru_cache(1024)  # a net asks for each layer anew, three times a step
def _outputs_of(r, oh, ow):
    def products(m):
        return ceil_div(oh, m) * ceil_div(ow, m) * (m + r - 1) ** 2

    if (4, r) not in _POINTS:
        return None
    if (5, r) in _POINTS and 6 * products(5) <= 5 * products(4):
        return 5
    return 2 if (2, r) in _POINTS and products(2) < products(4) else 4


def tiles_of(m, y):
    """How many tiles cover images (N, OH, OW, O)."""
    return len(y) * ceil_div(y.shape[1], m) * ceil_div(y.shape[2], m)


@helper
def place_of(t, m, y_shape):
    """(image, row, column) of the first output of tile t."""
    down, across = (y_shape[1] + m - 1) // m, (y_shape[2] + m - 1) // m
    return t // (down * across), t // across % down * m, t % across * m


@helper
def next_place(place, m, y_shape):
    """Of the tile after the one there. (A division takes 26 cycles, and place_of has four of them.)"""
    image, i, j = place
    j += m
    if j >= y_shape[2]:
        i, j = i + m, 0
    if i >= y_shape[1]:
        image, i = image + 1, 0
    return image, i, j


@helper
def pixels_of(x, x_shape, y_shape, m, first, end):
    """(begin, end): addresses of about the pixels of x that tiles from `first` up to `end` read."""
    down, across = (y_shape[1] + m - 1) // m, (y_shape[2] + m - 1) // m
    (images, h, w, c), last = x_shape, end - 1
    begin = first // (down * across) * h + first // across % down * m
    stop = min(last // (down * across) * h + (last // across % down + 1) * m, images * h)
    stop = max(begin, stop) if last >= first else begin
    return x.ctypes.data + x.itemsize * begin * w * c, x.ctypes.data + x.itemsize * stop * w * c


@helper
def transform_tile(x, x_shape, place, m, r, padding, first, channels, to, step, chunk, zeros):
    """V of a tile, of `channels` channels from `first` on, at address `to`; from k to k + 1 are `step` elements.

    x: its address. place: of the tile. zeros: at least a vector of them.
    """
    (image, i, j), n, kind, size = place, m + r - 1, zeros.dtype.type(0), zeros.itemsize
    at, row, seen = _block(x, x_shape, size, image, i - padding[0], j - padding[1], n)
    end = first + channels
    while first < end:  # (numba's range divides)
        _pixels(kind, m, r, min(chunk, end - first), at + size * first, row, x_shape[3], to, n * step, step, *seen,
                zeros.ctypes.data)  # fmt: skip
        first, to = first + chunk, to + size * n * n * step


@helper
def spread_tile(gy, gy_shape, place, m, r, first, channels, to, step, chunk, zeros):
    """dM of a tile at address `to`, likewise."""
    (image, i, j), n, kind, size = place, m + r - 1, zeros.dtype.type(0), zeros.itemsize
    at, row, seen = _block(gy, gy_shape, size, image, i, j, m)
    end = first + channels
    while first < end:  # (numba's range divides)
        _spread(kind, m, r, min(chunk, end - first), at + size * first, row, gy_shape[3], to, n * step, step, *seen,
                zeros.ctypes.data)  # fmt: skip
        first, to = first + chunk, to + size * n * n * step


@helper
def _block(x, x_shape, size, image, i, j, n):
    """Of n×n pixels from (i, j) on: the address, if there were pixels beyond the border; elements to the next row;
    (first row, row after the last, first column, column after the last) in the image.
    """
    _, h, w, c = x_shape
    at = x + size * ((image * h + i) * w + j) * c
    return at, w * c, (min(max(-i, 0), n), max(min(h - i, n), 0), min(max(-j, 0), n), max(min(w - j, n), 0))


@helper
def finish_tile(products, step, bias, m, r, beside, least, y, y_shape, place, first, channels, edge):
    """The outputs of a tile in `channels` channels from `first` on; then call fence().

    products: the address of their M. bias: its address. place: of the tile. beside, least: of last_step.
    """
    (image, i, j), n, o, size, kind = place, m + r - 1, y_shape[3], edge.itemsize, edge.dtype.type(0)
    start = ((image * y_shape[1] + i) * y_shape[2] + j) * o + first
    high, wide = min(m, y_shape[1] - i), min(m, y_shape[2] - j)
    image_rows = y.ctypes.data + size * start, y_shape[2] * o, o  # the address, elements to the next row and pixel
    edge_rows = edge.ctypes.data, m * channels, channels
    whole = high == m and wide == m
    rows = image_rows if whole else edge_rows
    if beside and not whole:
        behind = edge.ctypes.data + size * m * m * channels
        _copy_pixels(kind, size, high, wide, channels, image_rows[0] + beside, *image_rows[1:], behind, *edge_rows[1:])
        beside = behind - edge.ctypes.data
    streamed = whole and size * y.size >= STREAMED
    _outputs(kind, m, r, channels, products, n * step, step, *rows, bias + size * first, beside, least, streamed)
    if not whole:
        _copy_pixels(kind, size, high, wide, channels, *edge_rows, *image_rows)


@helper
def _copy_pixels(kind, size, high, wide, channels, x, x_row, x_column, y, y_row, y_column):
    """From address x to address y; elements have `size` bytes."""
    for a in range(high):
        for b in range(wide):
            copy(kind, channels, x + size * (a * x_row + b * x_column), y + size * (a * y_row + b * y_column))
