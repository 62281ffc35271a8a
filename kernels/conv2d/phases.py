"""conv2d of a stride by Winograd's algorithm: the s×s phases of the image side by side are one image of s² C channels.

    X[i, j, (a, b, c)] = x[s i + a - p, s j + b - p, c]      W[u, v, (a, b, c), o] = w[s u + a, s v + b, c, o]

s is the stride, p the padding; there are zeros where x or w has nothing. y is then the correlation of X and W with a
stride of 1 and no padding, and the windows have R = k / s rows and columns, rounded up: of the 7×7 windows of stride 2
that ResNet begins with 4×4, of AlexNet's 11×11 of stride 4 3×3. Winograd's algorithm takes 12 and 36 products for each
output and channel in place of 49 and 121. 3×3 windows of stride 2, which would become 2×2 and take 6 for 9, are
winograd.py's: 5 for 9, and no copies.
"""

import numpy as np

from .._jit import jit, prange
from .._layout import ceil_div
from .._pool import empty
from .._queues import share_out, tasks
from .._vector import copy
from . import winograd

_LEAST = 50_000_000  # multiplications, a quarter of a millisecond of two cores: what is less loses to the copies


def fits(w_shape, y, stride, dilation, groups):
    """Whether weights (KH, KW, C, O) and an output shaped as y are a case for it, and one that it wins.

    Where weights are many and pixels few, W's own transform costs more than is saved.
    """
    kh, kw, c, o = w_shape
    worth = y.size * kh * kw * c >= _LEAST and kh * kw * c * o <= y.size
    return stride != (1, 1) and worth and winograd.fits(_shape(w_shape, stride), y, (1, 1), dilation, groups)


def _shape(w_shape, stride):
    (kh, kw, c, o), (s, t) = w_shape, stride
    return ceil_div(kh, s), ceil_div(kw, t), s * t * c, o


def forward(x, w, bias, stride, padding, relu, residual, y):
    """relu: what is negative becomes 0, after the residual, if it is not None, was added."""
    winograd.forward(
        _image(x, w.shape, y, stride, padding), _weights(w, stride), bias, (1, 1), (0, 0), relu, residual, y
    )


def input_grad(start, gy, w, stride, padding, gx):
    """gx = start (C,) at every pixel, plus the input's gradient."""
    phases = _empty_image(gx, w.shape, gy, stride)
    winograd.input_grad(np.tile(start, stride[0] * stride[1]), None, gy, _weights(w, stride), (1, 1), (0, 0), phases)
    _apart(phases, start, stride, padding, gx)


def weight_grad(x, gy, stride, padding, gw):
    (kh, kw, c, o), (s, t) = gw.shape, stride
    phases = np.empty(_shape(gw.shape, stride), gw.dtype)
    winograd.weight_grad(_image(x, gw.shape, gy, stride, padding), gy, (1, 1), (0, 0), phases)
    r = len(phases)
    rows = phases.reshape(r, r, s, t, c, o).transpose(0, 2, 1, 3, 4, 5).reshape(r * s, r * t, c, o)
    gw[...] = rows[:kh, :kw]


def _weights(w, stride):
    """W."""
    (kh, kw, c, o), (s, t), shape = w.shape, stride, _shape(w.shape, stride)
    r = shape[0]
    whole = np.zeros((r * s, r * t, c, o), w.dtype)
    whole[:kh, :kw] = w
    return whole.reshape(r, s, r, t, c, o).transpose(0, 2, 1, 3, 4, 5).reshape(shape)


def _empty_image(x, w_shape, y, stride):
    r, _, channels, _ = _shape(w_shape, stride)
    return empty((len(x), y.shape[1] + r - 1, y.shape[2] + r - 1, channels), x.dtype)


def _image(x, w_shape, y, stride, padding):
    """X."""
    phases = _empty_image(x, w_shape, y, stride)
    _side_by_side(x, stride, padding, np.zeros(x.shape[3], x.dtype), phases)
    return phases


@jit
def _side_by_side(x, stride, padding, zeros, phases):
    """A task is a row of X. It gets addresses: to make views of shared arrays, threads wait for each other."""
    (_, h, w, c), (images, high, wide, channels), (s, t) = x.shape, phases.shape, stride
    kind, size = x.dtype.type(0), x.itemsize
    inner = -(-padding[1] // t), max(0, min(wide, (w + padding[1]) // t))  # pixels of X that lie in the image
    queues = share_out(images * high)
    for thread in prange(len(queues)):
        for task in tasks(queues, thread):
            image, i = task // high, task % high
            for a in range(s):
                row = s * i + a - padding[0]
                to = phases.ctypes.data + size * (task * wide * channels + a * t * c)
                source = x.ctypes.data + size * ((image * h + row) * w - padding[1]) * c
                covered = 0 <= row < h
                for j in range(wide):
                    if covered and inner[0] <= j < inner[1]:  # columns side by side are one run of memory
                        copy(kind, t * c, source + size * j * t * c, to + size * j * channels)
                        continue
                    for b in range(t):
                        inside = covered and 0 <= t * j + b - padding[1] < w
                        at = size * (j * t + b) * c
                        copy(kind, c, source + at if inside else zeros.ctypes.data, to + size * (j * channels + b * c))


@jit
def _apart(phases, start, stride, padding, x):
    """A task is a row of x. Pixels of no phase are those that no window reaches."""
    (images, h, w, c), (_, high, wide, channels), (s, t) = x.shape, phases.shape, stride
    kind, size = x.dtype.type(0), x.itemsize
    queues = share_out(images * h)
    for thread in prange(len(queues)):
        for task in tasks(queues, thread):
            image, row = task // h, task % h
            i, a = (row + padding[0]) // s, (row + padding[0]) % s
            seen = max(0, min(w, t * wide - padding[1])) if i < high else 0
            to = x.ctypes.data + size * task * w * c
            source = phases.ctypes.data + size * ((image * high + i) * wide * channels + a * t * c)
            for j in range(padding[1] // t, wide):
                first = t * j - padding[1]
                begin, end = max(0, -first), min(t, seen - first)
                if begin < end:
                    copy(kind, (end - begin) * c, source + size * (j * channels + begin * c),
                         to + size * (first + begin) * c)  # fmt: skip
            for j in range(seen, w):
                copy(kind, c, start.ctypes.data, to + size * j * c)
