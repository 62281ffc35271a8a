"""What the normalizations share: images as rows of channels, checks of their arguments, the gradient as Tensors."""

import math

import numpy as np

from ..kernels._layout import contiguous
from ..tensor import Tensor
from ._common import as_real, check_numbers
from .elementwise import rsqrt
from .reduction import mean


def as_rows(x):
    """(N, C, *) as a contiguous (N, P, C) array, P the product of *: a view where memory is channels-last."""
    last = contiguous(np.moveaxis(x, 1, -1))
    return last.reshape(len(x), math.prod(x.shape[2:]), x.shape[1])


def from_rows(rows, shape):
    """The view (N, C, *) of an (N, P, C) array."""
    return np.moveaxis(rows.reshape(shape[0], *shape[2:], shape[1]), -1, 1)


def per_channel(tensor, ndim):
    """(C,) as (1, C, 1, …), which broadcasts against (N, C, *)."""
    return tensor.reshape(1, -1, *[1] * (ndim - 2))


def affine(name, input, weight, bias, shape, eps):
    """input, weight and bias as Tensors of one dtype; None stays None.

    Raises:
        ValueError: weight or bias is not of `shape`. TypeError: dtypes that differ or are not float32 or float64.
    """
    check_numbers(name, eps=eps)
    input = as_real(name, input)
    checked = []
    for argument, tensor in (("weight", weight), ("bias", bias)):
        if tensor is not None:
            tensor = as_real(name, tensor)
            if tensor.shape != shape:
                raise ValueError(f"{name}: {argument} must have shape {shape}, got {tensor.shape}")
            if tensor.dtype != input.dtype:
                raise TypeError(f"{name}: {argument} must be {input.dtype} as input is, got {tensor.dtype}")
        checked.append(tensor)
    return input, *checked


def or_ones(weight, size, dtype):
    return np.ones(size, dtype) if weight is None else contiguous(weight)


def or_zeros(bias, size, dtype):
    return np.zeros(size, dtype) if bias is None else contiguous(bias)


def constant(array, dtype):
    return Tensor(np.asarray(array, dtype))


def normalized(x, axes, eps):
    """(xhat, rstd) as Tensor operations: what a backward that is to be differentiated again starts from."""
    deviation = x - mean(x, axes, keepdim=True)
    rstd = rsqrt(mean(deviation * deviation, axes, keepdim=True) + eps)
    return deviation * rstd, rstd


def input_gradient(grad, xhat, rstd, axes):
    """rstd * (g - mean of g - xhat * mean of g * xhat) over the axes that share a mean and a variance."""
    return rstd * (grad - mean(grad, axes, keepdim=True) - xhat * mean(grad * xhat, axes, keepdim=True))
