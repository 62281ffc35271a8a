"""conv2d on a GPU: conv2d.cu, winograd.cu, and matrix products for 1×1 kernels. __init__.py chooses among them.

Products are those of matmul.py, which chooses between cuBLAS and its own.
"""

import math

import numpy as np

from .. import _cuda, matmul
from .._layout import ceil_div
from .._pool import empty

# A thread's tile, rows and columns: how fast a multiprocessor of an H200 is with it, as a multiple of the first.
_TILES = {(4, 4): 1.0, (8, 4): 1.2, (8, 8): 1.35}

_CUDA = _cuda.Source(
    "conv2d/conv2d",
    *(f"{kernel}<T, {s}, {w}>" for kernel in ("forward", "input_grad", "weight_grad") for s, w in _TILES),
    "add_parts",
    "add_bias",
)
_WINOGRAD = _cuda.Source("conv2d/winograd", "pixels", "spread", "outputs", "windows", "gather")
_THREADS = 256


def forward(x, w, bias, stride, padding, dilation, groups, relu, y):
    """relu: what is negative becomes 0."""
    n, oh, ow, o = y.shape
    args = x, w, bias, y, relu, *x.shape, oh, ow, o, *w.shape[:2], *stride, *padding, *dilation, groups
    _launch("forward", x.dtype, n * oh * ow, o // groups, groups, args)


def input_grad(start, gy, w, stride, padding, dilation, groups, gx):
    """gx = start (C,) at every pixel, nothing where it is None, plus the input's gradient."""
    n, h, wd, c = gx.shape
    every = [s // math.gcd(s, d) for s, d in zip(stride, dilation, strict=True)]
    args = (
        start, gy, w, gx, n, h, wd, c, *gy.shape[1:], *w.shape[:2], *stride, *padding, *dilation, *every, groups,
    )  # fmt: skip
    rows = n * ceil_div(h, stride[0]) * ceil_div(wd, stride[1])
    _launch("input_grad", gy.dtype, rows, c // groups, groups * stride[0] * stride[1], args)


_PARTS_FOR = 512  # blocks: about two per multiprocessor of a large GPU
_LEAST_PIXELS = 256  # of a part: less would be more work for add_parts than for weight_grad


def weight_grad(x, gy, stride, padding, dilation, groups, gw):
    kh, kw, c, o = gw.shape
    pixels = gy.shape[0] * gy.shape[1] * gy.shape[2]
    blocks = max(1, ceil_div(kh * kw * c, 64) * ceil_div(o // groups, 64) * groups)
    count = max(1, min(_PARTS_FOR // blocks, pixels // _LEAST_PIXELS))
    per_part = ceil_div(pixels, count)
    parts = _scratch((count, *gw.shape), gw)
    args = x, gy, parts, per_part, *x.shape, *gy.shape[1:], kh, kw, *stride, *padding, *dilation, groups
    _launch("weight_grad", x.dtype, kh * kw * c, o // groups, groups * count, args)
    _CUDA.launch("add_parts", gw.dtype, (parts, count, gw, gw.size), threads=gw.size)


def _launch(kernel, dtype, rows, columns, products, args):
    """A block per tile of each of the products (rows, columns).

    Large tiles need less of memory, shared or not; but they leave multiprocessors idle where there are few, and compute
    in vain beyond the edges. The order of summation is the same, so the results are.
    """
    grids = {(s, w): (ceil_div(rows, 16 * s), ceil_div(columns, 16 * w), products) for s, w in _TILES}

    def time(tile):  # of the multiprocessor that has most to do
        return ceil_div(math.prod(grids[tile]), _cuda.multiprocessors()) * math.prod(tile) / _TILES[tile]

    s, w = min(_TILES, key=time)
    _CUDA.launch(f"{kernel}<T, {s}, {w}>", dtype, args, grid=grids[s, w], block=_THREADS)


# ---- 1×1 kernels of stride 1: products of matrices that are in memory ------------------------------------------------


def pointwise_forward(x, w, bias, relu, y):
    matmul.forward.gpu(_pixels(x), w[0], _pixels(y))
    _CUDA.launch("add_bias", y.dtype, (y, bias, relu, y.size, bias.size), elements=y.size)


def pointwise_input_grad(gy, w, gx):
    matmul.forward.gpu(_pixels(gy), w[0].transpose(0, 2, 1), _pixels(gx))


def pointwise_weight_grad(x, gy, gw):
    matmul.forward.gpu(_pixels(x).transpose(0, 2, 1), _pixels(gy), gw[0])


def _pixels(image):
    return image.reshape(1, -1, image.shape[3])


# ---- 3×3 kernels by Winograd's algorithm ----------------------------------------------------------------------------

_PRODUCTS = 36  # of a tile: 6×6
_AT_ONCE = 1 << 25  # elements of V and M: tiles enough for a large GPU, and 128 MB in float32


def winograd_forward(x, w, bias, padding, relu, y):
    _winograd_correlate(x, _windows(w, False), bias, padding, relu, y)


def winograd_input_grad(start, gy, w, padding, gx):
    """The correlation of gy with the windows turned around; see input_grad for start."""
    _winograd_correlate(gy, _windows(w, True), start, (2 - padding[0], 2 - padding[1]), False, gx)


def winograd_weight_grad(x, gy, padding, gw):
    c, o = gw.shape[2:]
    sums = None
    for first, tiles in _runs_of_tiles(gy, c + o):
        v, d = _scratch((_PRODUCTS, tiles, c), x), _scratch((_PRODUCTS, tiles, o), x)
        _transform_pixels(x, v, first, padding, gy)
        _WINOGRAD.launch("spread", gy.dtype, (gy, d, first, tiles, *gy.shape[1:]), threads=tiles * o)
        products = _scratch((_PRODUCTS, c, o), gw)
        matmul.forward.gpu(v.transpose(0, 2, 1), d, products)
        sums = products if sums is None else np.add(sums, products, out=sums)
    _WINOGRAD.launch("gather", gw.dtype, (sums, gw, c * o), threads=c * o)


def tiles_of(y):
    """How many tiles of 4×4 cover images (N, OH, OW, O)."""
    return len(y) * ceil_div(y.shape[1], 4) * ceil_div(y.shape[2], 4)


def _winograd_correlate(x, u, bias, padding, relu, y):
    c, o = u.shape[1:]
    for first, tiles in _runs_of_tiles(y, c + o):
        v, m = _scratch((_PRODUCTS, tiles, c), x), _scratch((_PRODUCTS, tiles, o), x)
        _transform_pixels(x, v, first, padding, y)
        matmul.forward.gpu(v, u, m)
        _WINOGRAD.launch("outputs", y.dtype, (m, bias, y, relu, first, tiles, *y.shape[1:]), threads=tiles * o)


def _runs_of_tiles(y, channels):
    """(first tile, number of tiles), so many that V and M together have not more than _AT_ONCE elements."""
    tiles, at_once = tiles_of(y), max(1, _AT_ONCE // (_PRODUCTS * channels))
    return [(first, min(at_once, tiles - first)) for first in range(0, tiles, at_once)]


def _transform_pixels(x, v, first, padding, y):
    args = x, v, first, v.shape[1], *x.shape[1:], *y.shape[1:3], *padding
    _WINOGRAD.launch("pixels", x.dtype, args, threads=v.shape[1] * v.shape[2])


def _windows(w, turned):
    """U (36, C, O), or turned (36, O, C)."""
    c, o = w.shape[2:]
    u = _scratch((_PRODUCTS, o, c) if turned else (_PRODUCTS, c, o), w)
    _WINOGRAD.launch("windows", w.dtype, (w, u, turned, c, o), threads=c * o)
    return u


def _scratch(shape, like):
    """An array in which is added up: what is stored in half is float32 here."""
    return empty(shape, np.promote_types(like.dtype, np.float32), like)
