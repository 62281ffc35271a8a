"""A tile's way through Winograd's transforms (winograd.py): from pixels to V, from M to outputs, and their adjoints.

What is transformed lies as [channels / chunk][k][tile][chunk], `chunk` channels of a tile side by side, k = 0 … n² - 1:
the small path (winograd.py) has all channels in one chunk, the large one (winograd_large.py) as many as its blocks.
"""

from functools import lru_cache
from typing import NamedTuple

from numba import types
from numba.extending import intrinsic

from .._cook_toom import strided, transposed
from .._jit import helper, inline, shared
from .._layout import ceil_div
from .._transform import emit_transform
from .._vector import STREAMED, copy

_POINTS = {  # (m, r, stride): rows and columns of a tile of outputs, and of the window; infinity is the last point
    (2, 3, 1): ("0", "1", "-1"),
    (4, 3, 1): ("0", "2/3", "-2/3", "3/2", "-3/2"),
    (5, 3, 1): ("1/4", "-1/4", "4/5", "-4/5", "5/3", "-5/3"),
    (4, 4, 1): ("1/3", "-1/3", "1", "-1", "2", "-2"),
    (4, 5, 1): ("0", "1/2", "-1/2", "1", "-1", "2", "-2"),
    (4, 3, 2): ("1/3", "-1/3", "4/3", "-4/3"),
}
_FORMS = {form: number for number, form in enumerate(_POINTS, 1)}  # minus that is the input's gradient of a stride
_A, _G, _B = ({_FORMS[form]: strided(*form, points)[i] for form, points in _POINTS.items()} for i in range(3))
_UPSAMPLED = {-_FORMS[form]: strided(*form, points, upsampled=True) for form, points in _POINTS.items() if form[2] > 1}
_A_TURNED, _G_TURNED = transposed(_A), transposed(_G)
_A |= {form: a for form, (a, _, _) in _UPSAMPLED.items()}
_B |= {form: b for form, (_, _, b) in _UPSAMPLED.items()}


class Tiles(NamedTuple):
    """What tiles are transformed by, and where they lie: outputs in one image, the pixels that they see in another."""

    form: int
    n: int  # V and M of a tile are n×n numbers
    m: int  # a tile has m×m outputs
    seen: int  # and sees seen×seen pixels,
    apart: int  # so many rows or columns from the next tile's
    top: int  # the first output of the first tile, not below the image's
    left: int
    above: int  # and its first pixel
    before: int


def tiles_of_outputs(m, r, stride, padding):
    """The tiles of m×m outputs of windows of r×r. The stride, a pair, is the same in both directions."""
    s, _ = stride
    n = s * (m - 1) + r
    return Tiles(_FORMS[m, r, s], n, m, n, s * m, 0, 0, -padding[0], -padding[1])


def tiles_of_inputs(m, r, stride, padding):
    """The tiles of the input's gradient, s m × s m with a stride of s; the windows are turned around.

    Of row q of the bordered image the windows of outputs (q - r + 1) / s to q / s are what is seen. From a row
    s i + r - s on, s rows see the same first output, i: tiles begin there, the first one perhaps beyond the image.
    """
    s, _ = stride
    first = [-((p - r) % s) for p in padding]
    seen = [(f + p - (r - s)) // s for f, p in zip(first, padding, strict=True)]
    form, n = _FORMS[m, r, s], s * (m - 1) + r
    return Tiles(form if s == 1 else -form, n, s * m, m + ceil_div(r, s) - 1, m, *first, *seen)


# Transforms, see _transform.py. kind is any scalar of the dtype. What runs for each tile of the small path is
# inlined: left to LLVM, 16 to 16 channels at 32² were 0.97 to 0.99 times as fast.


@intrinsic
def transform_weights(context, kind, form, channels, x, x_row, x_column, y, y_row, y_column):
    return shared(types.void(kind, *[types.intp] * 8), _emit_weights)


@intrinsic
def gather_weights(context, kind, form, channels, x, x_row, x_column, y, y_row, y_column):
    return shared(types.void(kind, *[types.intp] * 8), _emit_gathered_weights)


@intrinsic
def _pixels(context, kind, form, channels, x, x_row, x_column, y, y_row, y_column, top, bottom, left, right, zeros):
    return shared(types.void(kind, *[types.intp] * 13), _emit_pixels)


@intrinsic
def _spread(context, kind, form, channels, x, x_row, x_column, y, y_row, y_column, top, bottom, left, right, zeros):
    return shared(types.void(kind, *[types.intp] * 13), _emit_spread)


@intrinsic
def _outputs(context, kind, form, channels, x, x_row, x_column, y, y_row, y_column, start, beside, least, streamed):
    return shared(types.void(kind, *[types.intp] * 10, kind, types.intp), _emit_outputs)


def _emit_weights(builder, signature, args):
    emit_transform(builder, signature.args[0].bitwidth, _G, args[1:])


def _emit_gathered_weights(builder, signature, args):
    emit_transform(builder, signature.args[0].bitwidth, _G_TURNED, args[1:])


def _emit_pixels(builder, signature, args):
    emit_transform(builder, signature.args[0].bitwidth, _B, args[1:9], border=args[9:])


def _emit_spread(builder, signature, args):
    emit_transform(builder, signature.args[0].bitwidth, _A_TURNED, args[1:9], border=args[9:])


def _emit_outputs(builder, signature, args):
    emit_transform(builder, signature.args[0].bitwidth, _A, args[1:9], finish=args[9:])


def outputs_of(r, y, stride=(1, 1)):
    """m: rows and columns of a tile of outputs, for windows of r and images (N, OH, OW, O); None if there is no such.

    Tiles of 5×5 take 49 products for 25 outputs in place of 36 for 16, and more for their transforms. They win where
    images need a sixth fewer products so: 1.1 to 1.3 times as fast at 13² and 14². At 28² and 56², the same, 0.9. Tiles
    of 2×2 are for images of 2², 2.2 times as fast as the direct form, which 4×4 would not be.
    """
    return _outputs_of(r, *y.shape[1:3], stride[0])


@lru_cache(1024)  # a net asks for each layer anew, three times a step
def _outputs_of(r, oh, ow, stride):
    def products(m):
        return ceil_div(oh, m) * ceil_div(ow, m) * (stride * (m - 1) + r) ** 2

    if (4, r, stride) not in _POINTS:
        return None
    if (5, r, stride) in _POINTS and 6 * products(5) <= 5 * products(4):
        return 5
    return 2 if (2, r, stride) in _POINTS and products(2) < products(4) else 4


def number_of(tiles, y):
    """How many of the tiles cover images (N, OH, OW, O)."""
    return len(y) * ceil_div(y.shape[1] - tiles.top, tiles.m) * ceil_div(y.shape[2] - tiles.left, tiles.m)


@helper
def _down_across(tiles, y_shape):
    m = tiles.m
    return (y_shape[1] - tiles.top + m - 1) // m, (y_shape[2] - tiles.left + m - 1) // m


@helper
def place_of(t, tiles, y_shape):
    """(image, row and column of its first output, row and column of its first pixel) of tile t."""
    down, across = _down_across(tiles, y_shape)
    row, column = t // across % down, t % across
    return (t // (down * across), tiles.top + row * tiles.m, tiles.left + column * tiles.m,
            tiles.above + row * tiles.apart, tiles.before + column * tiles.apart)  # fmt: skip


@inline
def next_place(place, tiles, y_shape):
    """Of the tile after the one there. (A division takes 26 cycles, and place_of has four of them.)"""
    image, i, j, a, b = place
    j, b = j + tiles.m, b + tiles.apart
    if j >= y_shape[2]:
        i, j, a, b = i + tiles.m, tiles.left, a + tiles.apart, tiles.before
    if i >= y_shape[1]:
        image, i, a = image + 1, tiles.top, tiles.above
    return image, i, j, a, b


@helper
def pixels_seen(x, x_shape, y_shape, tiles, first, end):
    """(begin, end): addresses of about the pixels of x that tiles from `first` up to `end` see."""
    return _rows(x, x_shape, _down_across(tiles, y_shape), tiles.apart, first, end)


@helper
def outputs_written(y, y_shape, tiles, first, end):
    """(begin, end): likewise, of their outputs."""
    return _rows(y, y_shape, _down_across(tiles, y_shape), tiles.m, first, end)


@helper
def _rows(x, x_shape, counts, apart, first, end):
    (down, across), (images, h, w, c), last = counts, x_shape, end - 1
    begin = first // (down * across) * h + first // across % down * apart
    stop = min(last // (down * across) * h + (last // across % down + 1) * apart, images * h)
    stop = max(begin, stop) if last >= first else begin
    return x.ctypes.data + x.itemsize * begin * w * c, x.ctypes.data + x.itemsize * stop * w * c


@inline
def transform_tile(x, x_shape, place, tiles, first, channels, to, step, chunk, zeros):
    """V of a tile, of `channels` channels from `first` on, at address `to`; from k to k + 1 are `step` elements.

    x: its address. place: of the tile. zeros: at least a vector of them.
    """
    (image, _, _, i, j), n, kind, size = place, tiles.n, zeros.dtype.type(0), zeros.itemsize
    at, row, seen = _block(x, x_shape, size, image, i, j, tiles.seen)
    end = first + channels
    while first < end:  # (numba's range divides)
        _pixels(kind, tiles.form, min(chunk, end - first), at + size * first, row, x_shape[3], to, n * step, step,
                *seen, zeros.ctypes.data)  # fmt: skip
        first, to = first + chunk, to + size * n * n * step


@helper
def spread_tile(gy, gy_shape, place, tiles, first, channels, to, step, chunk, zeros):
    """dM of a tile at address `to`, likewise."""
    (image, i, j, _, _), n, kind, size = place, tiles.n, zeros.dtype.type(0), zeros.itemsize
    at, row, seen = _block(gy, gy_shape, size, image, i, j, tiles.m)
    end = first + channels
    while first < end:  # (numba's range divides)
        _spread(kind, tiles.form, min(chunk, end - first), at + size * first, row, gy_shape[3], to, n * step, step,
                *seen, zeros.ctypes.data)  # fmt: skip
        first, to = first + chunk, to + size * n * n * step


@inline
def _block(x, x_shape, size, image, i, j, n):
    """Of n×n pixels from (i, j) on: the address, if there were pixels beyond the border; elements to the next row;
    (first row, row after the last, first column, column after the last) in the image.
    """
    _, h, w, c = x_shape
    at = x + size * ((image * h + i) * w + j) * c
    return at, w * c, (min(max(-i, 0), n), max(min(h - i, n), 0), min(max(-j, 0), n), max(min(w - j, n), 0))


@inline
def finish_tile(products, step, bias, tiles, beside, least, y, y_shape, place, first, channels, edge):
    """The outputs of a tile in `channels` channels from `first` on; then call fence().

    products: the address of their M. bias: its address. place: of the tile. beside, least: of last_step.
    """
    (image, i, j, _, _), n, m, o = place, tiles.n, tiles.m, y_shape[3]
    size, kind = edge.itemsize, edge.dtype.type(0)
    at, row, (top, bottom, left, right) = _block(y.ctypes.data, y_shape, size, image, i, j, m)
    high, wide = bottom - top, right - left
    inside, inside_edge = size * (top * row + left * o), size * (top * m + left) * channels
    image_rows, edge_rows = (at + size * first, row, o), (edge.ctypes.data, m * channels, channels)
    whole = high == m and wide == m
    rows = image_rows if whole else edge_rows
    if beside and not whole:
        behind = size * m * m * channels
        _copy_pixels(kind, size, high, wide, channels, image_rows[0] + inside + beside, *image_rows[1:],
                     edge_rows[0] + inside_edge + behind, *edge_rows[1:])  # fmt: skip
        beside = behind
    streamed = whole and size * y.size >= STREAMED
    _outputs(kind, tiles.form, channels, products, n * step, step, *rows, bias + size * first, beside, least, streamed)
    if not whole:
        _copy_pixels(kind, size, high, wide, channels, edge_rows[0] + inside_edge, *edge_rows[1:],
                     image_rows[0] + inside, *image_rows[1:])  # fmt: skip


@helper
def _copy_pixels(kind, size, high, wide, channels, x, x_row, x_column, y, y_row, y_column):
    """From address x to address y; elements have `size` bytes."""
    for a in range(high):
        for b in range(wide):
            copy(kind, channels, x + size * (a * x_row + b * x_column), y + size * (a * y_row + b * y_column))
