"""Dropout: in training each element is kept with probability 1 - p and divided by that, else it becomes 0.

N. Srivastava, G. Hinton, A. Krizhevsky, I. Sutskever, R. Salakhutdinov: Dropout: a simple way to prevent neural
networks from overfitting. JMLR 15, 2014; Krizhevsky et al. 2012, section 4.2, halve the outputs at test time instead.

dL/dx is the same function of dL/dy. Whether an element is kept depends on the seed, on how many dropouts ran since
minidl.manual_seed, and on its position: in row-major order of its indices, and of images (4-d) in the order n, h, w, c,
which is that of their memory. So it does not depend on threads, on strides or on the device, and backward makes the
mask again: a seed and a number are all that is saved.
"""

import numpy as np

from ..function import Function
from ..kernels import contiguous, empty, full
from ..kernels import dropout as kernel
from ..kernels._cuda import refuse_capture
from ..random import next_call
from ..tensor import Tensor
from ._common import as_real, check_numbers
from .conv2d import nchw, nhwc


class Dropout(Function):
    """The mask is a constant, so the operation is linear and its own adjoint: of a key, (seed, call), the same one."""

    @staticmethod
    def forward(ctx, x, p, key=None):
        key = next_call() if key is None else key
        ctx.p, ctx.key = p, key
        x = nhwc(x) if x.ndim == 4 else contiguous(x)
        y = empty(x.shape, x.dtype, x)
        _kept(x.reshape(-1), p, key, y.reshape(-1))
        return nchw(y) if x.ndim == 4 else y

    @staticmethod
    def backward(ctx, grad):
        return Dropout.apply(grad, ctx.p, ctx.key)


def _kept(x, p, key, y):
    refuse_capture(x, "dropout", "its mask is counted by the program, so every replay would drop the same elements")
    seed, call = key
    threshold = np.uint32(min(round(p * 2**32), 2**32 - 1))
    kernel.forward(x, np.uint64(seed), np.uint64(call), threshold, 1 / (1 - p), y)


def dropout(input, p=0.5, training=True):
    """In training, zeros in place of elements chosen at random with probability p; the others are divided by 1 - p.

    The mean of each element stays as it is, so nothing needs to change when training is over.

    Args:
        input: of any shape, float32 or float64.
        p: the probability of an element to become 0, from 0 to 1.
        training: with False, input is returned as it is.

    Raises:
        ValueError: p outside of 0 to 1. TypeError: p is no number, or input is neither float32, float64 nor integer.
    """
    _check("dropout", p)
    input = as_real("dropout", input)
    if not training or p == 0:
        return input
    return input * 0.0 if p == 1 else Dropout.apply(input, float(p))


def dropout2d(input, p=0.5, training=True):
    """dropout of whole channels: an image's channel is dropped or kept as one (Tompson et al. 2015, section 3.2).

    Neighbouring pixels are so alike that to drop one of them removes nothing.

    Args:
        input: (N, C, H, W); (N, C, L) is sequences of N samples, as in PyTorch.
        p, training: as dropout's. Channel c of image n has position n * C + c.

    Raises:
        as dropout; ValueError for an input of other dimensions.
    """
    _check("dropout2d", p)
    input = as_real("dropout2d", input)
    if input.ndim not in (3, 4):
        raise ValueError(f"dropout2d: input must be (N, C, H, W) or (N, C, L), got shape {input.shape}")
    if not training or p == 0:
        return input
    if p == 1:
        return input * 0.0
    factors = np.empty(input.shape[:2], input.dtype, like=input._data)
    _kept(full((factors.size,), 1, input.dtype, factors), float(p), next_call(), factors.reshape(-1))
    return input * Tensor(factors.reshape(*factors.shape, *[1] * (input.ndim - 2)))


def _check(name, p):
    check_numbers(name, p=p)
    if not 0 <= p <= 1:
        raise ValueError(f"{name}: p must be from 0 to 1, got {p}")
