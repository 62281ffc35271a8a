"""Diagonals and triangles of matrices: diagonal, diag, diag_embed, trace, tril, triu.

Diagonal number `offset` of a matrix x holds x[i, i + offset]: above the main one where offset is positive.
"""

import numpy as np

from ..function import Function
from ._common import as_tensor, check_integer, normalize_axis


class Diagonal(Function):
    """y[..., i] = x[..., i, i + offset] along the axes dim1 and dim2; shares memory."""

    is_view = True

    @staticmethod
    def forward(ctx, x, offset, dim1, dim2):
        ctx.shape, ctx.place = x.shape, (offset, dim1, dim2)
        return _diagonal(x, *ctx.place)

    @staticmethod
    def backward(ctx, grad):
        return DiagonalEmbed.apply(grad, *ctx.place, ctx.shape)


class DiagonalEmbed(Function):
    """The adjoint of Diagonal: zeros of a shape, with x on the diagonal."""

    @staticmethod
    def forward(ctx, x, offset, dim1, dim2, shape):
        ctx.place = offset, dim1, dim2
        y = np.zeros(shape, x.dtype, like=x)
        _diagonal(y, *ctx.place)[...] = x
        return y

    @staticmethod
    def backward(ctx, grad):
        return Diagonal.apply(grad, *ctx.place)


def _diagonal(x, offset, dim1, dim2):
    y = np.diagonal(x, offset, dim1, dim2)
    if isinstance(x, np.ndarray) and x.flags.writeable:
        y.flags.writeable = True  # NumPy hands out a view that is read-only
    return y


class Triangle(Function):
    """x where a diagonal or what is below (above) it, else 0; so is the gradient."""

    @staticmethod
    def forward(ctx, x, offset, cut):
        ctx.offset, ctx.cut = offset, cut
        return cut(x, offset)

    @staticmethod
    def backward(ctx, grad):
        return Triangle.apply(grad, ctx.offset, ctx.cut)


def diagonal(input, offset=0, dim1=0, dim2=1):
    """The diagonal of the matrices in the axes dim1 and dim2, as last axis; shares memory.

    Raises:
        ValueError: fewer than two dimensions, or dim1 and dim2 are one axis.
    """
    input, offset = as_tensor("diagonal", input), check_integer("diagonal", "offset", offset)
    if input.ndim < 2:
        raise ValueError(f"diagonal: at least two dimensions are needed, got shape {input.shape}")
    axes = [normalize_axis("diagonal", d, input.ndim) for d in (dim1, dim2)]
    if axes[0] == axes[1]:
        raise ValueError(f"diagonal: dim1 ({dim1}) and dim2 ({dim2}) must be two axes")
    return Diagonal.apply(input, offset, *axes)


def diag_embed(input, offset=0, dim1=-2, dim2=-1):
    """Square matrices, in the axes dim1 and dim2 of the result, that are 0 but for input's last axis on a diagonal.

    Raises:
        ValueError: a 0-d input, or dim1 and dim2 are one axis.
    """
    input, offset = as_tensor("diag_embed", input), check_integer("diag_embed", "offset", offset)
    if not input.ndim:
        raise ValueError("diag_embed: at least one dimension is needed, the Tensor is 0-d")
    axes = [normalize_axis("diag_embed", d, input.ndim + 1) for d in (dim1, dim2)]
    if axes[0] == axes[1]:
        raise ValueError(f"diag_embed: dim1 ({dim1}) and dim2 ({dim2}) must be two axes")
    shape = list(input.shape[:-1])
    for axis in sorted(axes):
        shape.insert(axis, input.shape[-1] + abs(offset))
    return DiagonalEmbed.apply(input, offset, *axes, tuple(shape))


def diag(input, diagonal=0):
    """Of a vector the matrix with it on a diagonal, of a matrix the diagonal (a copy).

    Raises:
        ValueError: input is neither.
    """
    input, offset = as_tensor("diag", input), check_integer("diag", "diagonal", diagonal)
    if input.ndim == 1:
        return diag_embed(input, offset)
    if input.ndim != 2:
        raise ValueError(f"diag: a vector or a matrix is needed, got shape {input.shape}")
    return Diagonal.apply(input, offset, 0, 1).clone()


def trace(input):
    """The sum of a matrix's main diagonal.

    Raises:
        ValueError: input is no matrix.
    """
    input = as_tensor("trace", input)
    if input.ndim != 2:
        raise ValueError(f"trace: a matrix is needed, got shape {input.shape}")
    return Diagonal.apply(input, 0, 0, 1).sum()


def tril(input, diagonal=0):
    """The lower triangle of the matrices in the last two axes, up to a diagonal; the rest is 0."""
    return _triangle("tril", input, diagonal, np.tril)


def triu(input, diagonal=0):
    """The upper triangle of the matrices in the last two axes, from a diagonal on; the rest is 0."""
    return _triangle("triu", input, diagonal, np.triu)


def _triangle(name, input, diagonal, cut):
    input, offset = as_tensor(name, input), check_integer(name, "diagonal", diagonal)
    if input.ndim < 2:
        raise ValueError(f"{name}: at least two dimensions are needed, got shape {input.shape}")
    return Triangle.apply(input, offset, cut)
