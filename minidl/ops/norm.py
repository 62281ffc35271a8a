"""Vector norms: (sum of |x|^p)^(1/p), its limits at p = inf, -inf and 0, and division by a norm.

At the zero vector, where a norm has a kink, the gradient is taken as 0, as in PyTorch.
"""

import math

import numpy as np

from ..function import Function
from ..tensor import Tensor
from ._common import as_tensor, astype, check_numbers, kept_shape, reduced_axes
from .arithmetic import where
from .elementwise import abs
from .extrema import clamp_min
from .reduction import amax, amin, sum
from .shape import reshape


class Norm(Function):
    """y = (sum of |x|^p)^(1/p): dy/dx = x |x|^(p-2) / y^(p-1), taken as 0 where x or y is 0."""

    @staticmethod
    def forward(ctx, x, p, axes, keepdim):
        ctx.p, ctx.kept = p, kept_shape(x.shape, axes)
        with np.errstate(all="ignore"):
            if p == 2:
                y = np.sqrt(np.sum(x.real**2 + x.imag**2 if x.dtype.kind == "c" else x * x, axes, keepdims=keepdim))
            else:
                y = np.sum(np.abs(x) ** p, axes, keepdims=keepdim) ** (1 / p)
        y = np.asarray(y, like=x)
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx, grad):
        x, y = ctx.saved_tensors
        p = ctx.p
        y, grad = reshape(y, ctx.kept), reshape(grad, ctx.kept)
        scale = where(y == 0, 0.0, grad / where(y == 0, 1.0, y) ** (p - 1))
        if p == 2:
            return x * scale
        return where(x == 0, 0.0, x * where(x == 0, 1.0, abs(x)) ** (p - 2)) * scale


def vector_norm(x, ord=2, dim=None, keepdim=False, *, dtype=None):
    """(sum of |x|^ord)^(1/ord) over `dim`, an axis, several, or None for all; torch.linalg.vector_norm.

    ord = 0 counts the elements that are not zero, inf and -inf give the greatest and the least absolute value. dtype:
    convert the input first.

    Raises:
        TypeError: input is not floating-point, or ord no number. ValueError: the norm of no elements does not exist.
    """
    return _norm("vector_norm", x, ord, dim, keepdim, dtype)


def norm(input, p="fro", dim=None, keepdim=False, dtype=None):
    """vector_norm(input, p, dim, keepdim); "fro", the Frobenius norm, is that of p = 2 over the elements of a matrix.

    Raises:
        ValueError: p is "nuc" or another word: the sum of singular values is not offered.
    """
    if isinstance(p, str) and p != "fro":
        raise ValueError(f"norm: p must be a number or 'fro', got {p!r}")
    return _norm("norm", input, 2 if p == "fro" else p, dim, keepdim, dtype)


def _norm(name, input, p, dim, keepdim, dtype):
    x = as_tensor(name, input)
    if dtype is not None:
        x = astype(x, dtype)
    if x.dtype.kind not in "fc":
        raise TypeError(f"{name}: a floating-point Tensor is needed, got {x.dtype}; convert it with float()")
    if not isinstance(p, int | float) or isinstance(p, bool):
        raise TypeError(f"{name}: the order of the norm must be a number, got {p!r}")
    axes = reduced_axes(name, dim, x.ndim)
    if (p < 0 or p == math.inf) and any(x.shape[a] == 0 for a in axes):
        raise ValueError(f"{name}: no elements have no norm of order {p}, the shape is {x.shape} and dim is {dim}")
    if p == 0:
        count = np.sum(x._data != 0, axis=axes, keepdims=bool(keepdim))
        return Tensor(np.asarray(count, x._data.real.dtype, like=x._data))
    if math.isinf(p):
        return (amax if p > 0 else amin)(abs(x), axes, keepdim)
    if p == 1:
        return sum(abs(x), axes, keepdim)
    return Norm.apply(x, p, axes, bool(keepdim))


def normalize(input, p=2.0, dim=1, eps=1e-12):
    """input divided by its norm of order p over `dim`, or by eps where the norm is less.

    Raises:
        TypeError: input is not floating-point, or p or eps no number.
    """
    input = as_tensor("normalize", input)
    check_numbers("normalize", eps=eps)
    return input / clamp_min(_norm("normalize", input, p, dim, True, None), eps)
