"""Tensors put together and taken apart: cat, stack and their kin; split, chunk, tensor_split, unbind."""

import numpy as np

from ..function import Function
from ..kernels import copy_into, empty
from ..kernels._layout import memory_order
from ..tensor import Tensor
from ._common import as_tensor, astype, normalize_axis, result_dtype
from .indexing import getitem
from .shape import reshape, sizes_of, unsqueeze


class Cat(Function):
    """Arrays one after another along an axis; each receives its part of the gradient."""

    @staticmethod
    def forward(ctx, axis, *arrays):
        ctx.axis, ctx.sizes = axis, [a.shape[axis] for a in arrays]
        order = memory_order(arrays[0])
        laid = [a.transpose(order) for a in arrays]
        along, back = order.index(axis), np.argsort(order).tolist()
        shape = list(laid[0].shape)
        shape[along] = sum(ctx.sizes)
        y = empty(shape, arrays[0].dtype, arrays[0])
        before, start = (slice(None),) * along, 0
        for array, size in zip(laid, ctx.sizes, strict=True):
            copy_into(y[(*before, slice(start, start + size))], array)
            start += size
        return y.transpose(back)

    @staticmethod
    def backward(ctx, grad):
        return None, *Split.apply(grad, ctx.sizes, ctx.axis)


class Split(Function):
    """Parts of given sizes along an axis, which share memory: their gradients are put together again."""

    is_view = True

    @staticmethod
    def forward(ctx, x, sizes, axis):
        ctx.axis, before, stop = axis, (slice(None),) * axis, np.cumsum(sizes).tolist()
        return tuple(x[(*before, slice(end - size, end))] for size, end in zip(sizes, stop, strict=True))

    @staticmethod
    def backward(ctx, *grads):
        return Cat.apply(ctx.axis, *grads)


class Unbind(Function):
    """The slices along an axis, which share memory: their gradients are stacked again."""

    is_view = True

    @staticmethod
    def forward(ctx, x, axis):
        ctx.axis, before = axis, (slice(None),) * axis
        return tuple(x[(*before, number, ...)] for number in range(x.shape[axis]))

    @staticmethod
    def backward(ctx, *grads):
        return stack(grads, ctx.axis)


def _sequence(name, tensors):
    if not isinstance(tensors, tuple | list):
        raise TypeError(f"{name}: a sequence of Tensors is needed, got {type(tensors).__name__}")
    tensors = [as_tensor(name, t) for t in tensors]
    if not tensors:
        raise ValueError(f"{name}: at least one Tensor is needed")
    dtype = result_dtype(*tensors)
    return [astype(t, dtype) for t in tensors]


def cat(tensors, dim=0):
    """Tensors one after another along an axis; their other extents must agree.

    An empty vector fits everything: PyTorch keeps that for old code.
    """
    tensors = _sequence("cat", tensors)
    model = next((number for number, t in enumerate(tensors) if t.shape != (0,)), 0)
    first = tensors[model]
    axis = normalize_axis("cat", dim, first.ndim)
    for number, tensor in enumerate(tensors):
        if tensor.ndim == 0:
            raise ValueError(f"cat: Tensor number {number} is 0-d; use stack")
        if tensor.shape == (0,):
            tensors[number] = reshape(tensor, *first.shape[:axis], 0, *first.shape[axis + 1 :])
            continue
        shapes = [t.shape[:axis] + t.shape[axis + 1 :] for t in (first, tensor)]
        if tensor.ndim != first.ndim or shapes[0] != shapes[1]:
            raise ValueError(
                f"cat: shapes {first.shape} (number {model}) and {tensor.shape} (number {number}) must "
                f"agree but for dim {dim}"
            )
    return Cat.apply(axis, *tensors)


def concat(tensors, dim=0):
    """cat(tensors, dim)."""
    return cat(tensors, dim)


def concatenate(tensors, dim=0):
    """cat(tensors, dim)."""
    return cat(tensors, dim)


def stack(tensors, dim=0):
    """Tensors of one shape along a new axis."""
    tensors = _sequence("stack", tensors)
    for number, tensor in enumerate(tensors):
        if tensor.shape != tensors[0].shape:
            raise ValueError(
                f"stack: all shapes must be equal, got {tensors[0].shape} (number 0) and {tensor.shape} (number "
                f"{number})"
            )
    axis = normalize_axis("stack", dim, tensors[0].ndim + 1)
    return cat([unsqueeze(tensor, axis) for tensor in tensors], axis)


def hstack(tensors):
    """Tensors beside each other: cat along axis 1, of vectors along axis 0."""
    tensors = [reshape(t, 1) if not t.ndim else t for t in _sequence("hstack", tensors)]
    return cat(tensors, 0 if tensors[0].ndim == 1 else 1)


def vstack(tensors):
    """Tensors below each other: cat along axis 0, where a vector is a row."""
    return cat([reshape(t, 1, -1) if t.ndim < 2 else t for t in _sequence("vstack", tensors)])


def split(input, split_size_or_sections, dim=0):
    """A tuple of parts along an axis: of a given size (the last may be smaller), or of the sizes listed."""
    input = as_tensor("split", input)
    if not input.ndim:
        raise ValueError("split: a 0-d Tensor cannot be split")
    axis = normalize_axis("split", dim, input.ndim)
    extent, sizes = input.shape[axis], split_size_or_sections
    if isinstance(sizes, int | np.integer):
        if sizes <= 0:
            raise ValueError(f"split: split_size must be positive, got {sizes}")
        sizes = [min(sizes, extent - start) for start in range(0, extent, sizes)] or [0]
    sizes = sizes_of("split", [sizes])
    if sum(sizes) != extent or min(sizes, default=0) < 0:
        raise ValueError(
            f"split: sizes {list(sizes)} must be non-negative and add up to {extent}, the extent of dim {dim}"
        )
    return Split.apply(input, sizes, axis)


def chunk(input, chunks, dim=0):
    """At most `chunks` parts of equal size (the last may be smaller) along an axis."""
    if not isinstance(chunks, int | np.integer) or chunks <= 0:
        raise ValueError(f"chunk: chunks must be a positive integer, got {chunks!r}")
    input = as_tensor("chunk", input)
    if not input.ndim:
        raise ValueError("chunk: a 0-d Tensor cannot be cut")
    extent = input.shape[normalize_axis("chunk", dim, input.ndim)]
    return split(input, -(-extent // chunks) or [0] * chunks, dim)


def tensor_split(input, indices_or_sections, dim=0):
    """A tuple of parts along an axis: a number of parts as equal as can be, or the parts before, between and after
    indices (as slices have them: negative ones count from the end).

    Raises:
        ValueError: a 0-d input, or a number of parts that is not positive. TypeError: no integers.
    """
    input, where = as_tensor("tensor_split", input), indices_or_sections
    if not input.ndim:
        raise ValueError("tensor_split: a 0-d Tensor cannot be split")
    axis = normalize_axis("tensor_split", dim, input.ndim)
    extent = input.shape[axis]
    where = where.tolist() if isinstance(where, Tensor | np.ndarray) else where
    if isinstance(where, int | np.integer) and not isinstance(where, bool):
        if where <= 0:
            raise ValueError(f"tensor_split: the number of sections must be positive, got {where}")
        size, longer = divmod(extent, where)
        return Split.apply(input, [size + 1] * longer + [size] * (where - longer), axis)
    indices = sizes_of("tensor_split", [where], "indices")
    before = (slice(None),) * axis
    ends = zip((0, *indices), (*indices, extent), strict=True)
    return tuple(getitem(input, (*before, slice(start, stop))) for start, stop in ends)


def unbind(input, dim=0):
    """A tuple of the slices along an axis, without that axis; they share memory.

    Raises:
        ValueError: a 0-d input.
    """
    input = as_tensor("unbind", input)
    if not input.ndim:
        raise ValueError("unbind: a 0-d Tensor has no slices")
    return Unbind.apply(input, normalize_axis("unbind", dim, input.ndim))


def iterate(self):
    """The slices along the first axis, one after the other."""
    if not self.ndim:
        raise TypeError("iteration over a 0-d Tensor")
    return iter(unbind(self))
