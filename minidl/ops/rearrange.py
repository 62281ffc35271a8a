"""Elements in another order, or several times: flip, roll, rot90, repeat, tile, repeat_interleave, meshgrid."""

import numpy as np

from ..function import Function
from ._common import as_tensor, check_integer, normalize_axes, normalize_axis
from .indexing import getitem
from .shape import clone, expand, reshape, sizes_of, transpose


class Flip(Function):
    """The order along axes reversed; so is the gradient's."""

    @staticmethod
    def forward(ctx, x, axes):
        ctx.axes = axes
        return np.flip(x, axes).copy(order="K")

    @staticmethod
    def backward(ctx, grad):
        return Flip.apply(grad, ctx.axes)


class Roll(Function):
    """Elements moved along axes, round the end to the start; the gradient is moved back."""

    @staticmethod
    def forward(ctx, x, shifts, axes):
        ctx.shifts, ctx.axes = shifts, axes
        return np.roll(x, shifts, axes)

    @staticmethod
    def backward(ctx, grad):
        return Roll.apply(grad, [-shift for shift in ctx.shifts], ctx.axes)


class Repeat(Function):
    """The whole of x so many times along each axis: an element receives the sum of its copies' gradients."""

    @staticmethod
    def forward(ctx, x, repeats):
        ctx.shape, ctx.repeats = x.shape, repeats
        return np.tile(x, repeats)

    @staticmethod
    def backward(ctx, grad):
        extents = (1,) * (len(ctx.repeats) - len(ctx.shape)) + ctx.shape
        pairs = reshape(grad, [size for both in zip(ctx.repeats, extents, strict=True) for size in both])
        copies = tuple(range(0, pairs.ndim, 2))
        return reshape(pairs.sum(copies) if copies else pairs, ctx.shape)


def flip(input, dims):
    """The order along `dims` reversed (a copy)."""
    input = as_tensor("flip", input)
    axes = normalize_axes("flip", dims, input.ndim)
    return Flip.apply(input, axes if input.ndim else ())


def fliplr(input):
    """The order along axis 1 reversed."""
    input = as_tensor("fliplr", input)
    if input.ndim < 2:
        raise ValueError(f"fliplr: at least two dimensions are needed, got shape {input.shape}")
    return flip(input, 1)


def flipud(input):
    """The order along axis 0 reversed."""
    input = as_tensor("flipud", input)
    if not input.ndim:
        raise ValueError("flipud: at least one dimension is needed, the Tensor is 0-d")
    return flip(input, 0)


def rot90(input, k=1, dims=(0, 1)):
    """Turned k times by a quarter in the plane of two axes, from the first towards the second (a copy)."""
    input, turns = as_tensor("rot90", input), check_integer("rot90", "k", k) % 4
    dims = sizes_of("rot90", [dims], "dims")
    if len(dims) != 2 or len(normalize_axes("rot90", dims, input.ndim)) != 2 or input.ndim < 2:
        raise ValueError(f"rot90: dims must name two axes of shape {input.shape}, got {dims}")
    if turns == 0:
        return clone(input)
    if turns == 2:
        return flip(input, dims)
    return transpose(flip(input, dims[1 if turns == 1 else 0]), *dims)


def roll(input, shifts, dims=None):
    """Elements moved by `shifts` along `dims`, round the end to the start; without dims along the flattened Tensor.

    Raises:
        ValueError: another number of shifts than of dims.
    """
    input = as_tensor("roll", input)
    shifts = sizes_of("roll", [shifts], "shifts")
    dims = () if dims is None else tuple(dims) if isinstance(dims, tuple | list) else (dims,)
    if not dims and len(shifts) == 1:
        return reshape(Roll.apply(reshape(input, -1), shifts, (0,)), input.shape)
    if len(shifts) != len(dims):
        raise ValueError(f"roll: as many shifts as dims are needed, got {shifts} and {dims}")
    axes = tuple(normalize_axis("roll", d, input.ndim) for d in dims)
    return Roll.apply(input, shifts, axes) if input.ndim else clone(input)


def repeat(input, *repeats):
    """The whole Tensor so many times along each axis; more numbers than axes give new leading axes (a copy).

    Raises:
        ValueError: fewer numbers than axes, or a negative one.
    """
    input, repeats = as_tensor("repeat", input), sizes_of("repeat", repeats, "repeats")
    if len(repeats) < input.ndim or min(repeats, default=0) < 0:
        raise ValueError(
            f"repeat: one number of at least 0 is needed for each of the {input.ndim} dimensions, got {repeats}"
        )
    return Repeat.apply(input, repeats)


def tile(input, *dims):
    """repeat, but where there are fewer numbers than axes they count for the last axes."""
    input, dims = as_tensor("tile", input), sizes_of("tile", dims, "dims")
    if min(dims, default=0) < 0:
        raise ValueError(f"tile: dims must be at least 0, got {dims}")
    return repeat(input, (1,) * (input.ndim - len(dims)) + dims)


def repeat_interleave(input, repeats, dim=None, *, output_size=None):
    """Each element (or slice along `dim`) so many times in a row; without dim of the flattened Tensor.

    Args:
        repeats: a number, or a vector of one number for each element along the axis.
        output_size: their sum, if given (PyTorch needs not wait for its device then; here it is only checked).

    Raises:
        ValueError: a negative number, a vector of another length, or an output_size that is not the sum.
    """
    input = as_tensor("repeat_interleave", input)
    if dim is None:
        input = reshape(input, -1)
    elif not input.ndim:
        input = reshape(input, 1)
    axis = normalize_axis("repeat_interleave", 0 if dim is None else dim, input.ndim)
    counts = as_tensor("repeat_interleave", repeats).cpu()._data  # the result's shape depends on them
    if counts.dtype.kind not in "iu":
        raise TypeError(f"repeat_interleave: repeats must be integers, got {counts.dtype}")
    if counts.shape not in ((), (1,), (input.shape[axis],)):
        raise ValueError(
            f"repeat_interleave: repeats must be one number or {input.shape[axis]}, got shape {counts.shape}"
        )
    if counts.size and counts.min() < 0:
        raise ValueError(f"repeat_interleave: repeats must be at least 0, got {counts.min()}")
    index = np.repeat(np.arange(input.shape[axis]), counts)
    if output_size is not None and output_size != len(index):
        raise ValueError(f"repeat_interleave: output_size {output_size} is not the sum of repeats, {len(index)}")
    return getitem(input, (*(slice(None),) * axis, index))


def meshgrid(*tensors, indexing="ij"):
    """The coordinates of a grid: for each vector a Tensor of the grid's shape, in which it runs along its own axis.

    Args:
        tensors: vectors or 0-d Tensors, or one list of them.
        indexing: "ij", or "xy": the first two axes of the grid exchanged.

    Returns:
        a tuple of Tensors that share memory with the vectors.
    """
    if len(tensors) == 1 and isinstance(tensors[0], tuple | list):
        tensors = tensors[0]
    tensors = [as_tensor("meshgrid", t) for t in tensors]
    if not tensors:
        raise ValueError("meshgrid: at least one Tensor is needed")
    if indexing not in ("ij", "xy"):
        raise ValueError(f"meshgrid: indexing must be ij or xy, got {indexing!r}")
    for number, tensor in enumerate(tensors):
        if tensor.ndim > 1:
            raise ValueError(f"meshgrid: Tensor number {number} must be a vector, its shape is {tensor.shape}")
    shape = [tensor.numel() for tensor in tensors]
    grids = []
    for axis, tensor in enumerate(tensors):
        grid = expand(reshape(tensor, [-1 if i == axis else 1 for i in range(len(tensors))]), shape)
        grids.append(transpose(grid, 0, 1) if indexing == "xy" and len(tensors) > 1 else grid)
    return tuple(grids)
