"""What the normalizations share: images as rows of channels, checks of their arguments, the gradient as Tensors."""

import math

import numpy as np

from ..autograd import grad
from ..function import Function, enable_grad, is_grad_enabled
from ..kernels import contiguous, full, wide
from ..tensor import Tensor
from ._common import as_real, astype, check_numbers
from .elementwise import rsqrt
from .reduction import mean
from .shape import clone


def as_rows(x):
    """(N, C, *) as a contiguous (N, P, C) array, P the product of *: a view where memory is channels-last."""
    return _channels_last(x).reshape(len(x), math.prod(x.shape[2:]), x.shape[1])


def as_matrix(x):
    """(N, C, *) as a contiguous (N · P, C) array: as_rows of all images, one after the other."""
    return _channels_last(x).reshape(-1, x.shape[1])


def as_rows_apart(x):
    """as_matrix, but a view, of rows that lie evenly apart, where x is a slice of the channels of a NumPy array."""
    view = _with_channels_last(x)
    if type(x) is np.ndarray and view.strides[-1] == x.itemsize and view.strides[-2] > 0 and x.flags.writeable:
        try:
            return view.reshape(-1, x.shape[1], copy=False)
        except ValueError:  # they do not, unless x has no elements
            pass
    return as_matrix(x)


def _with_channels_last(x):
    return x.transpose((0, 2, 3, 1) if x.ndim == 4 else (0, *range(2, x.ndim), 1))


def _channels_last(x):
    return contiguous(_with_channels_last(x))


def from_rows(rows, shape):
    """The view (N, C, *) of an (N, P, C) array."""
    return rows.reshape(shape[0], *shape[2:], shape[1]).transpose(0, len(shape) - 1, *range(1, len(shape) - 1))


def per_channel(tensor, ndim):
    """(C,) as (1, C, 1, …), which broadcasts against (N, C, *)."""
    return tensor.reshape(1, -1, *[1] * (ndim - 2))


def affine(name, input, weight, bias, shape, eps):
    """weight and bias as Tensors of the dtype of the Tensor `input`, but float32 where it is float16; None stays None.

    A weight in half precision, of a net that was converted, becomes float32: few numbers, which kernels read as such.

    Raises:
        ValueError: weight or bias is not of `shape`. TypeError: dtypes that do not go together.
    """
    check_numbers(name, eps=eps)
    dtype, checked = wide(input.dtype), []
    for argument, tensor in (("weight", weight), ("bias", bias)):
        fits = isinstance(tensor, Tensor) and tensor._data.dtype == dtype and tensor._data.shape == shape
        if tensor is not None and not fits:
            tensor = as_real(name, tensor)
            if tensor.shape != shape:
                raise ValueError(f"{name}: {argument} must have shape {shape}, got {tensor.shape}")
            if tensor.dtype != dtype and input.dtype == np.float16:
                tensor = astype(tensor, wide(tensor.dtype))
            if tensor.dtype != dtype:
                raise TypeError(f"{name}: {argument} must be {input.dtype} as input is, got {tensor.dtype}")
        checked.append(tensor)
    return checked


def or_ones(weight, size, like):
    return full((size,), 1, wide(like.dtype), like) if weight is None else contiguous(weight)


def or_zeros(bias, size, like):
    return np.zeros(size, wide(like.dtype), like=like) if bias is None else contiguous(bias)


def normalized(x, axes, eps):
    """(xhat, rstd) as Tensor operations: what a backward that is to be differentiated again starts from."""
    deviation = x - mean(x, axes, keepdim=True)
    rstd = rsqrt(mean(deviation * deviation, axes, keepdim=True) + eps)
    return deviation * rstd, rstd


def input_gradient(grad, xhat, rstd, axes):
    """rstd * (g - mean of g - xhat * mean of g * xhat) over the axes that share a mean and a variance."""
    return rstd * (grad - mean(grad, axes, keepdim=True) - xhat * mean(grad * xhat, axes, keepdim=True))


def gradients(fast, formula, *operands):
    """Gradients from a kernel; their own derivatives from the same formula in Tensor operations.

    fast takes arrays (of a gradient, an input, weight or None, …) and gives the arrays of the gradients; formula takes
    Tensors and gives the same as Tensors. operands: all arrays, or, where the pass is recorded, all Tensors.
    """
    return _Gradients.apply(fast, formula, *operands) if isinstance(operands[0], Tensor) else fast(*operands)


class _Gradients(Function):
    """What fast gives. The formula is differentiated by the engine, to any order: the second derivative of a
    normalization has a dozen terms that nobody needs to read.
    """

    @staticmethod
    def forward(ctx, fast, formula, *tensors):
        ctx.set_materialize_grads(False)
        ctx.formula = formula
        ctx.save_for_backward(*tensors)
        return fast(*tensors)

    @staticmethod
    def backward(ctx, *grads):
        recording, wanted, inputs = is_grad_enabled(), [], []
        with enable_grad():
            for tensor, needed in zip(ctx.saved_tensors, ctx.needs_input_grad[2:], strict=True):
                if tensor is not None:  # each its own Tensor, should one stand for two inputs
                    tensor = clone(tensor) if recording else tensor.detach().requires_grad_(needed)
                if needed:
                    wanted.append(tensor)
                inputs.append(None if tensor is None else astype(tensor, wide(tensor.dtype)))
            outputs = ctx.formula(*inputs)
            pairs = [
                (astype(y, g.dtype), g)
                for y, g in zip(outputs, grads, strict=True)
                if g is not None and y.requires_grad
            ]
        found = [None] * len(wanted)
        if pairs:
            outputs, cotangents = zip(*pairs, strict=True)
            found = grad(outputs, wanted, cotangents, create_graph=recording, allow_unused=True)
        found = iter(found)
        return None, None, *(next(found) if needed else None for needed in ctx.needs_input_grad[2:])
