"""Local response normalization: a channel is divided by a power of the sum of its neighbours' squares.

    s[c] = k + alpha' * sum over the window's j of x[j]^2         y[c] = x[c] * s[c]^(-beta)
    gx[i] = g[i] * s[i]^(-beta) - 2 alpha' beta x[i] * sum over the j whose window holds i of g[j] x[j] s[j]^(-beta-1)

Krizhevsky et al. 2012, section 3.3, where alpha' = alpha; PyTorch's alpha' is alpha / size.
"""

from functools import partial

import numpy as np

from ..function import Function
from ..kernels import empty
from ..kernels import local_response_norm as kernel
from ..tensor import Tensor
from ._common import as_real, check_integer, check_numbers
from ._normalization import as_matrix, from_rows, gradients
from .gather import narrow
from .joining import cat


class LocalResponseNorm(Function):
    """alpha is the factor of the sum as it stands."""

    on_arrays = True

    @staticmethod
    def forward(ctx, x, size, alpha, beta, k):
        ctx.save_for_backward(x)
        ctx.size, ctx.alpha, ctx.beta, ctx.k = size, alpha, beta, k
        rows = as_matrix(x)
        y, ctx.scale = empty(rows.shape, x.dtype, x), empty(rows.shape, x.dtype, x)
        if x.size:
            kernel.forward(rows, size, alpha, beta, k, y, ctx.scale)
        return from_rows(y, x.shape)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        numbers = ctx.size, ctx.alpha, ctx.beta
        (gx,) = gradients(partial(_gradient, ctx.scale, *numbers), partial(_formula, *numbers, ctx.k), grad, x)
        return gx


def _gradient(scale, size, alpha, beta, grad, x):
    """The array of the gradient of x."""
    gy, rows = (as_matrix(a) for a in (grad, x))
    gx = empty(rows.shape, x.dtype, x)
    if x.size:
        kernel.backward(gy, rows, scale, size, alpha, beta, gx)
    return (from_rows(gx, x.shape),)


def _formula(size, alpha, beta, k, grad, x):
    """_gradient in Tensor operations."""
    before, after = size // 2, (size - 1) // 2
    scale = alpha * _window_sums(x * x, before, after) + k
    power = grad * scale**-beta
    return (power - 2 * alpha * beta * x * _window_sums(power * x / scale, after, before),)


def _window_sums(x, before, after):
    """For each channel c the sum of the channels c - before … c + after that exist."""
    channels = x.shape[1]
    if not channels:
        return x
    before, after = min(before, channels - 1), min(after, channels - 1)
    zeros = [Tensor(np.zeros((len(x), n, *x.shape[2:]), x.dtype, like=x._data)) for n in (before, after)]
    padded = cat([zeros[0], x, zeros[1]], 1)
    total = narrow(padded, 1, 0, channels)
    for start in range(1, before + after + 1):
        total = total + narrow(padded, 1, start, channels)
    return total


def local_response_norm(input, size, alpha=1e-4, beta=0.75, k=1.0, *, divide_alpha=True):
    """Divide each channel by (k + alpha / size * the sum of the squares of `size` channels around it) ^ beta.

    Args:
        input: (N, C, *), at least one axis after the channels.
        size: how many channels, this one among them; of an even number, one more lies before than after.
        divide_alpha: False for the paper's formula, alpha times the sum. AlexNet's numbers, size=5, alpha=1e-4,
            beta=0.75, k=2, are the paper's; with PyTorch's formula the sum weighs a fifth of that.

    Raises:
        ValueError: size less than 1, or too few axes. TypeError: numbers or dtypes that are of another kind.
    """
    name = "local_response_norm"
    input = as_real(name, input)
    if input.ndim < 3:
        raise ValueError(f"{name}: input must be (N, C, *) with an axis after the channels, got shape {input.shape}")
    size = check_integer(name, "size", size)
    if size < 1:
        raise ValueError(f"{name}: size must be at least 1, got {size}")
    check_numbers(name, alpha=alpha, beta=beta, k=k)
    alpha = float(alpha) / size if divide_alpha else float(alpha)
    return LocalResponseNorm.apply(input, size, alpha, float(beta), float(k))
