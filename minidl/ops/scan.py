"""Running sums and products along an axis, and the product of elements.

The derivative of a product by one factor is the product of the others. Dividing the whole by that factor fails at
zeros, so the others are multiplied, from the left and from the right. What the backward of a running product needs is
a linear recurrence, y[n] = a[n] y[n-1] + b[n], whose own derivative is one again. So derivatives of any order are
right, however many factors are zero.
"""

import numpy as np

from ..function import Function
from ..kernels import contiguous, full
from ..kernels import scan as kernel
from ..tensor import Tensor
from ._common import as_tensor, astype, normalize_axis
from .arithmetic import conj
from .joining import cat
from .rearrange import flip
from .shape import reshape, transpose


class Cumsum(Function):
    """y[n] = x[0] + … + x[n]: x[n] enters y[n] and all that follow, so its gradient is a sum from the end."""

    @staticmethod
    def forward(ctx, x, axis):
        ctx.axis = axis
        wide = np.float64 if x.dtype == np.float32 else None  # a long sum of float32 keeps its digits
        return np.cumsum(x, axis, wide).astype(x.dtype, copy=False)

    @staticmethod
    def backward(ctx, grad):
        return flip(Cumsum.apply(flip(grad, ctx.axis), ctx.axis), ctx.axis)


class Cumprod(Function):
    """y[n] = x[0] … x[n] along the last axis.

    x[k] is a factor of y[n] for n >= k: dL/dx[k] = y[k-1] s[k], where s[k] = sum over n >= k of g[n] x[k+1] … x[n]
    obeys s[k] = g[k] + x[k+1] s[k+1].
    """

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return np.cumprod(x, -1, x.dtype)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return conj(_product_before(x)) * _from_the_end(conj(x), grad)


class Recurrence(Function):
    """y[n] = a[n] y[n-1] + b[n] along the last axis, y[0] = b[0].

    b[k] enters y[k] with factor 1 and y[k] enters y[k+1] with a[k+1]: dL/db[k] = g[k] + a[k+1] dL/db[k+1], and
    dL/da[k] = y[k-1] dL/db[k].
    """

    @staticmethod
    def forward(ctx, a, b):
        y = np.empty(b.shape, b.dtype, like=b)
        if y.size:
            kernel.recurrence(*(contiguous(x).reshape(-1, x.shape[-1]) for x in (a, b, y)))
        ctx.save_for_backward(a, y)
        return y

    @staticmethod
    def backward(ctx, grad):
        a, y = ctx.saved_tensors
        to_b = _from_the_end(conj(a), grad)
        return conj(_delayed(y, 0.0)) * to_b, to_b


def _delayed(x, first):
    """x[n-1] in place of x[n] along the last axis, and `first` in place of x[0]."""
    return cat([Tensor(full((*x.shape[:-1], 1), first, x.dtype, x._data)), x], -1)[..., :-1]


def _product_before(x):
    """x[0] … x[n-1] along the last axis."""
    return Cumprod.apply(_delayed(x, 1.0))


def _from_the_end(a, b):
    """s[n] = b[n] + a[n+1] s[n+1] along the last axis."""
    return flip(Recurrence.apply(_delayed(flip(a, -1), 0.0), flip(b, -1)), -1)


class Prod(Function):
    """y = the product of x along the last axis: dy/dx[n] = the product before n times the product after n."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return np.prod(x, -1, x.dtype)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        others = _product_before(x) * flip(_product_before(flip(x, -1)), -1)
        return reshape(grad, (*grad.shape, 1)) * conj(others)


def _summand(name, input, dtype):
    """input, converted as sums and products are: to `dtype`, or integers and bools to int64."""
    input = as_tensor(name, input)
    if dtype is None and input.dtype.kind in "biu":
        dtype = np.int64
    return input if dtype is None else astype(input, dtype)


def cumsum(input, dim, dtype=None):
    """The sums of the elements up to each along `dim`; integers and bools are summed as int64."""
    input = _summand("cumsum", input, dtype)
    axis = normalize_axis("cumsum", dim, input.ndim)
    return Cumsum.apply(input, axis) if input.ndim else input.clone()


def cumprod(input, dim, dtype=None):
    """The products of the elements up to each along `dim`; integers and bools are multiplied as int64."""
    input = _summand("cumprod", input, dtype)
    axis = normalize_axis("cumprod", dim, input.ndim)
    if not input.numel() or not input.ndim:
        return input.clone()
    return transpose(Cumprod.apply(transpose(input, axis, -1)), axis, -1)


def prod(input, dim=None, keepdim=False, dtype=None):
    """The product of all elements, or along `dim`; 1 of no elements; integers and bools are multiplied as int64."""
    input = _summand("prod", input, dtype)
    if dim is None:
        y = Prod.apply(reshape(input, -1))
        return reshape(y, (1,) * input.ndim) if keepdim else y
    axis = normalize_axis("prod", dim, input.ndim)
    if not input.ndim:
        return input.clone()
    y = Prod.apply(transpose(input, axis, -1))
    y = transpose(reshape(y, (*y.shape, 1)), axis, -1)
    return y if keepdim else reshape(y, input.shape[:axis] + input.shape[axis + 1 :])
