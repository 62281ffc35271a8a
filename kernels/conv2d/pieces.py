"""conv2d of groups of many channels, and of dilated windows, by Winograd's algorithm: as convolutions that are neither.

A window of dilation d meets every d-th row and column of the image: so outputs whose rows and columns leave the same
rests by d see only pixels that leave the same rests, and are a convolution of these. Groups are convolutions of their
own to begin with. Each piece's pixels are put together, convolved, and its outputs put where they belong; a copy costs
little beside the products that are saved.
"""

import numpy as np

from .._pool import empty
from ..copy_rows import contiguous, copy_into
from . import winograd

_FEWEST = 32  # channels of a group, and
_LEAST = 50_000_000  # multiplications of a piece, a quarter of a millisecond of two cores


def fits(w_shape, y, stride, dilation, groups):
    """Whether weights (KH, KW, cg, O) and an output shaped as y are a case for it, and one that it wins."""
    kh, kw, cg, o = w_shape
    if groups * dilation[0] * dilation[1] == 1 or stride != (1, 1) or min(cg, o // groups) < _FEWEST:
        return False
    smallest = y[:, dilation[0] - 1 :: dilation[0], dilation[1] - 1 :: dilation[1], : o // groups]
    fitting = winograd.fits((kh, kw, cg, o // groups), smallest, (1, 1), (1, 1), 1)
    return fitting and smallest.size * kh * kw * cg >= _LEAST


def _pieces(w_shape, padding, dilation, groups):
    """Of each piece: where its pixels lie in x, its channels in w, its outputs in y, and the padding."""
    cg, og = w_shape[2], w_shape[3] // groups
    (down, across), every = dilation, slice(None)
    for group, i, j in np.ndindex(groups, *dilation):
        row, column = i - padding[0], j - padding[1]  # of x, that the first output's window begins at
        inputs, outputs = slice(group * cg, (group + 1) * cg), slice(group * og, (group + 1) * og)
        pixels = every, slice(row % down, None, down), slice(column % across, None, across), inputs
        written = every, slice(i, None, down), slice(j, None, across), outputs
        yield pixels, (..., outputs), written, (-(row // down), -(column // across))


def forward(x, w, bias, padding, dilation, groups, relu, residual, y):
    """relu: what is negative becomes 0, after the residual, if it is not None, was added."""
    for pixels, channels, outputs, border in _pieces(w.shape, padding, dilation, groups):
        piece = empty(y[outputs].shape, y.dtype)
        beside = None if residual is None else contiguous(residual[outputs])
        winograd.forward(
            contiguous(x[pixels]), contiguous(w[channels]), bias[channels], (1, 1), border, relu, beside, piece
        )
        copy_into(y[outputs], piece)


def input_grad(start, residual, gy, w, padding, dilation, groups, gx):
    """gx = start (C,) at every pixel, plus the input's gradient, plus the residual if it is not None."""
    for pixels, channels, outputs, border in _pieces(w.shape, padding, dilation, groups):
        piece = empty(gx[pixels].shape, gx.dtype)
        beside = None if residual is None else contiguous(residual[pixels])
        gradients, weights = contiguous(gy[outputs]), contiguous(w[channels])
        winograd.input_grad(start[pixels[3]], beside, gradients, weights, (1, 1), border, piece)
        copy_into(gx[pixels], piece)


def weight_grad(x, gy, padding, dilation, groups, gw):
    gw[...] = 0
    for pixels, channels, outputs, border in _pieces(gw.shape, padding, dilation, groups):
        piece = empty(gw[channels].shape, gw.dtype)
        winograd.weight_grad(contiguous(x[pixels]), contiguous(gy[outputs]), (1, 1), border, piece)
        gw[channels] += piece
