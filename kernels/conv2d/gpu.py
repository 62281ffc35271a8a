"""conv2d in CUDA C: how conv2d.cu and winograd.cu are launched. __init__.py chooses among them."""

from math import gcd

import numpy as np

from .. import _cuda
from .._layout import ceil_div
from .._pool import empty

_CUDA = _cuda.Source(
    "conv2d/conv2d",
    *(f"{kernel}<T, {side}>" for kernel in ("forward", "input_grad", "weight_grad") for side in (4, 8)),
    "add_parts",
)
_THREADS = 256


def forward(x, w, bias, stride, padding, dilation, groups, relu, y):
    """relu: what is negative becomes 0."""
    n, oh, ow, o = y.shape
    args = x, w, bias, y, relu, *x.shape, oh, ow, o, *w.shape[:2], *stride, *padding, *dilation, groups
    _launch("forward", x.dtype, n * oh * ow, o // groups, groups, args)


def input_grad(start, gy, w, stride, padding, dilation, groups, gx):
    """gx = start (C,) at every pixel, nothing where it is None, plus the input's gradient."""
    n, h, wd, c = gx.shape
    every = [s // gcd(s, d) for s, d in zip(stride, dilation, strict=True)]
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
    parts = empty((count, *gw.shape), np.promote_types(gw.dtype, np.float32), gw)
    args = x, gy, parts, per_part, *x.shape, *gy.shape[1:], kh, kw, *stride, *padding, *dilation, groups
    _launch("weight_grad", x.dtype, kh * kw * c, o // groups, groups * count, args)
    _CUDA.launch("add_parts", gw.dtype, (parts, count, gw, gw.size), threads=gw.size)


def _launch(kernel, dtype, rows, columns, products, args):
    """A block per tile of each of the products (rows, columns).

    Large tiles need less memory traffic, but only where there are blocks enough for all multiprocessors. The order of
    summation is the same, so the results are.
    """
    grids = {side: (ceil_div(rows, 16 * side), ceil_div(columns, 16 * side), products) for side in (4, 8)}
    large = columns > 64 and np.prod(grids[8]) >= _cuda.multiprocessors()
    side = 8 if large else 4
    _CUDA.launch(f"{kernel}<T, {side}>", dtype, args, grid=grids[side], block=_THREADS)
