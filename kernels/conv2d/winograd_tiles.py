"""A tile's way through Winograd's transforms (winograd.py): from pixels to V, from M to outputs, and their adjoints.

What is transformed lies as [channels / chunk][k][tile][chunk], `chunk` channels of a tile side by side, k = 0 … n² - 1:
the small path (winograd.py) has all channels in one chunk, the large one (winograd_large.py) as many as its blocks.
"""

from fractions import Fraction

from .._cook_toom import cook_toom
from .._jit import helper
from .._layout import ceil_div
from .._transform import transform, transform_and_finish, transform_image
from .._vector import STREAMED, VECTOR_BYTES, copy

OUTPUTS = 4  # m: rows and columns of a tile of outputs
_POINTS = {
    3: ("0", "2/3", "-2/3", "3/2", "-3/2"),
    4: ("1/3", "-1/3", "1", "-1", "2", "-2"),
    5: ("0", "1/2", "-1/2", "1", "-1", "2", "-2"),
}
WINDOWS = tuple(_POINTS)
_A, _G, _B = zip(*(cook_toom(OUTPUTS, r, map(Fraction, points)) for r, points in _POINTS.items()), strict=True)


def _by_size(matrices, transposed=False):
    """r -> its matrix."""
    if transposed:
        matrices = [[list(column) for column in zip(*matrix, strict=True)] for matrix in matrices]
    return dict(zip(_POINTS, matrices, strict=True))


# Each is called with r, the rows of the window.
_pixels, _spread = transform_image(_by_size(_B)), transform_image(_by_size(_A, transposed=True))
_outputs = transform_and_finish(_by_size(_A))
transform_weights, gather_weights = transform(_by_size(_G)), transform(_by_size(_G, transposed=True))


def tiles_of(y):
    """How many tiles cover images (N, OH, OW, O)."""
    return len(y) * ceil_div(y.shape[1], OUTPUTS) * ceil_div(y.shape[2], OUTPUTS)


@helper
def _place(t, y_shape):
    """(image, row, column) of the first output of tile t."""
    down, across = (y_shape[1] + OUTPUTS - 1) // OUTPUTS, (y_shape[2] + OUTPUTS - 1) // OUTPUTS
    return t // (down * across), t // across % down * OUTPUTS, t % across * OUTPUTS


@helper
def pixels_of(x, x_shape, y_shape, first, end, channel):
    """(address of a channel of the first, how many): about the pixels of x that tiles from `first` up to `end` read."""
    down, across = (y_shape[1] + OUTPUTS - 1) // OUTPUTS, (y_shape[2] + OUTPUTS - 1) // OUTPUTS
    (images, h, w, c), last = x_shape, end - 1
    begin = first // (down * across) * h + first // across % down * OUTPUTS
    stop = min(last // (down * across) * h + (last // across % down + 1) * OUTPUTS, images * h)
    return x.ctypes.data + x.itemsize * (begin * w * c + channel), max(0, stop - begin) * w if last >= first else 0


@helper
def transform_tile(x, x_shape, y_shape, t, r, padding, first, channels, to, step, chunk, zeros):
    """V of tile t, of `channels` channels from `first` on, at address `to`; from k to k + 1 are `step` elements.

    zeros: at least a vector of them.
    """
    (_, i, j), n, c = _place(t, y_shape), OUTPUTS + r - 1, x_shape[3]
    i, j = i - padding[0], j - padding[1]
    at, row, seen = _block(x, x_shape, t, y_shape, i, j, n)
    kind, size, lanes = x.dtype.type(0), x.itemsize, VECTOR_BYTES // x.itemsize
    for channel in range(0, channels, lanes):
        source, target = at + size * (first + channel), to + size * (channel // chunk * n * n * step + channel % chunk)
        _pixels(kind, r, min(lanes, channels - channel), source, row, c, target, n * step, step, *seen,
                zeros.ctypes.data)  # fmt: skip


@helper
def spread_tile(gy, gy_shape, t, r, first, channels, to, step, chunk, zeros):
    """dM of tile t at address `to`, likewise."""
    (_, i, j), n, o = _place(t, gy_shape), OUTPUTS + r - 1, gy_shape[3]
    at, row, seen = _block(gy, gy_shape, t, gy_shape, i, j, OUTPUTS)
    kind, size, lanes = gy.dtype.type(0), gy.itemsize, VECTOR_BYTES // gy.itemsize
    for channel in range(0, channels, lanes):
        source, target = at + size * (first + channel), to + size * (channel // chunk * n * n * step + channel % chunk)
        _spread(kind, r, min(lanes, channels - channel), source, row, o, target, n * step, step, *seen,
                zeros.ctypes.data)  # fmt: skip


@helper
def _block(x, x_shape, t, y_shape, i, j, n):
    """Of n×n pixels from (i, j) on, of the image of tile t: the address, if there were pixels beyond the border;
    elements to the next row; (first row, row after the last, first column, column after the last) in the image.
    """
    _, h, w, c = x_shape
    at = x.ctypes.data + x.itemsize * ((_place(t, y_shape)[0] * h + i) * w + j) * c
    return at, w * c, (min(max(-i, 0), n), max(min(h - i, n), 0), min(max(-j, 0), n), max(min(w - j, n), 0))


@helper
def finish_tile(m, step, bias, r, beside, least, y, y_shape, t, first, channels, edge):
    """The outputs of tile t in `channels` channels from `first` on, from their M at address m; then call fence().

    beside, least: of last_step.
    """
    n, o, size, kind = OUTPUTS + r - 1, y_shape[3], y.itemsize, y.dtype.type(0)
    image, i, j = _place(t, y_shape)
    start = ((image * y_shape[1] + i) * y_shape[2] + j) * o + first
    high, wide = min(OUTPUTS, y_shape[1] - i), min(OUTPUTS, y_shape[2] - j)
    image_rows = y.ctypes.data + size * start, y_shape[2] * o, o  # the address, elements to the next row and pixel
    edge_rows = edge.ctypes.data, OUTPUTS * channels, channels
    whole = high == OUTPUTS and wide == OUTPUTS
    rows = image_rows if whole else edge_rows
    if beside and not whole:
        behind = edge.ctypes.data + size * OUTPUTS * OUTPUTS * channels
        _copy_pixels(kind, size, high, wide, channels, image_rows[0] + beside, *image_rows[1:], behind, *edge_rows[1:])
        beside = behind - edge.ctypes.data
    lanes, streamed = VECTOR_BYTES // size, whole and size * y.size >= STREAMED
    for channel in range(0, channels, lanes):
        at, to, begin = m + size * channel, rows[0] + size * channel, bias.ctypes.data + size * (first + channel)
        _outputs(kind, r, min(lanes, channels - channel), at, n * step, step, to, rows[1], rows[2], begin, beside,
                 least, streamed)  # fmt: skip
    if not whole:
        _copy_pixels(kind, size, high, wide, channels, *edge_rows, *image_rows)


@helper
def _copy_pixels(kind, size, high, wide, channels, x, x_row, x_column, y, y_row, y_column):
    """From address x to address y; elements have `size` bytes."""
    for a in range(high):
        for b in range(wide):
            copy(kind, channels, x + size * (a * x_row + b * x_column), y + size * (a * y_row + b * y_column))
