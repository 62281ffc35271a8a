"""conv2d as the textbook states it: a sum over the kernel's positions, each a matrix product over channels.

    y[n, i, j, o]  = b[o] + sum over u, v, c of  xp[n, i*s + u*d, j*s + v*d, c] * w[u, v, c, o]
    gxp[n, i*s + u*d, j*s + v*d, c] += sum over o of        gy[n, i, j, o] * w[u, v, c, o]
    gw[u, v, c, o] = sum over n, i, j of                    xp[n, i*s + u*d, j*s + v*d, c] * gy[n, i, j, o]

xp is x with a border of zeros. Both gradients follow from the first line by the chain rule: each product that enters an
output sends that output's gradient times the one factor back to the other. Groups are independent convolutions.
"""

import numpy as np


def _bordered(x, padding):
    (ph, pw) = padding
    return np.pad(x, ((0, 0), (ph, ph), (pw, pw), (0, 0)))


def _positions(w, y, stride, dilation):
    """For each kernel position (u, v): the slices that pick the pixels of xp it meets, one for each output pixel."""
    (sh, sw), (dh, dw) = stride, dilation
    for u in range(w.shape[0]):
        for v in range(w.shape[1]):
            rows = slice(u * dh, u * dh + (y.shape[1] - 1) * sh + 1, sh)
            columns = slice(v * dw, v * dw + (y.shape[2] - 1) * sw + 1, sw)
            yield u, v, rows, columns


def _groups(channels_in, channels_out, groups):
    """For each group: its slice of the input's channels and of the output's."""
    ci, co = channels_in // groups, channels_out // groups
    return [(slice(g * ci, (g + 1) * ci), slice(g * co, (g + 1) * co)) for g in range(groups)]


def forward(x, w, bias, stride, padding, dilation, groups, y):
    xp = _bordered(x, padding)
    y[...] = bias
    for cs, os in _groups(x.shape[3], y.shape[3], groups):
        for u, v, rows, columns in _positions(w, y, stride, dilation):
            y[..., os] += xp[:, rows, columns, cs] @ w[u, v, :, os]


def input_grad(gy, w, stride, padding, dilation, groups, gx):
    gxp = _bordered(np.zeros_like(gx), padding)
    for cs, os in _groups(gx.shape[3], gy.shape[3], groups):
        for u, v, rows, columns in _positions(w, gy, stride, dilation):
            gxp[:, rows, columns, cs] += gy[..., os] @ w[u, v, :, os].T
    gx[...] = gxp[:, padding[0] : padding[0] + gx.shape[1], padding[1] : padding[1] + gx.shape[2]]


def weight_grad(x, gy, stride, padding, dilation, groups, gw):
    xp = _bordered(x, padding)
    for cs, os in _groups(x.shape[3], gy.shape[3], groups):
        for u, v, rows, columns in _positions(gw, gy, stride, dilation):
            gw[u, v, :, os] = np.einsum("nijc,nijo->co", xp[:, rows, columns, cs], gy[..., os])
