"""The same elements under other axes (reshape, permute, expand and their kin), in another dtype, in other memory."""

import math

import numpy as np

from ..cuda import device_of, full_name, send
from ..function import Function
from ..kernels import reshaped
from ..tensor import Tensor
from ._common import as_tensor, normalize_axes, normalize_axis, unbroadcast


class Reshape(Function):
    """The same elements in the same order under another shape."""

    is_view = on_arrays = True

    @staticmethod
    def forward(ctx, x, shape):
        ctx.shape = x.shape
        return reshaped(x, shape)

    @staticmethod
    def backward(ctx, grad):
        return Reshape.call(grad, ctx.shape)


class Permute(Function):
    """y's axis i is x's axis axes[i]; the gradient goes back by the inverse permutation."""

    is_view = on_arrays = True

    @staticmethod
    def forward(ctx, x, axes):
        ctx.axes = axes
        return x.transpose(axes)

    @staticmethod
    def backward(ctx, grad):
        return Permute.call(grad, tuple(int(i) for i in np.argsort(ctx.axes)))


class Expand(Function):
    """Repeat x along new axes and axes of extent 1: an element receives the sum of its copies' gradients."""

    is_view = on_arrays = True

    @staticmethod
    def forward(ctx, x, shape):
        ctx.shape = x.shape
        return np.broadcast_to(x, shape)

    @staticmethod
    def backward(ctx, grad):
        return unbroadcast(grad, ctx.shape)


class Astype(Function):
    """A conversion of dtype; the gradient is converted back: that of a real number is the real part."""

    on_arrays = True

    @staticmethod
    def forward(ctx, x, dtype):
        ctx.dtype = x.dtype
        return (x.real if dtype.kind == "f" else x).astype(dtype)

    @staticmethod
    def backward(ctx, grad):
        return Astype.call(grad, ctx.dtype)


class Move(Function):
    """The same elements on another device; the gradient moves back."""

    on_arrays = True

    @staticmethod
    def forward(ctx, x, device):
        ctx.device = device_of(x)
        return send(x, device)

    @staticmethod
    def backward(ctx, grad):
        return Move.call(grad, ctx.device)


class Clone(Function):
    """A copy in memory of its own."""

    on_arrays = True

    @staticmethod
    def forward(ctx, x, order):
        return x.copy(order)

    @staticmethod
    def backward(ctx, grad):
        return grad


def sizes_of(name, sizes, what="sizes"):
    """Sizes (or other integers) given as one sequence or as several arguments."""
    if len(sizes) == 1 and isinstance(sizes[0], tuple | list):
        sizes = sizes[0]
    for size in sizes:
        if type(size) is not int:
            break
    else:
        return tuple(sizes)
    for size in sizes:
        if not isinstance(size, int | np.integer) or isinstance(size, bool):
            raise TypeError(f"{name}: {what} must be integers, got {size!r}")
    return tuple(map(int, sizes))


def reshape(input, *shape):
    """The elements in row-major order under another shape; one size may be -1, to be computed.

    Shares memory with the input where the layout allows, and copies where it does not. So does Tensor.view: PyTorch's
    refuses to copy, but whether a Tensor is laid out in rows is nobody's concern here (images are not).

    Raises:
        ValueError: the number of elements differs.
    """
    input, shape = as_tensor("reshape", input), sizes_of("reshape", shape)
    if shape and min(shape) < -1:
        raise ValueError(f"reshape: sizes must be at least 0, one of them may be -1, got {shape}")
    try:
        return Reshape.apply(input, shape)
    except ValueError:
        raise ValueError(f"reshape: shape {input.shape} ({input.numel()} elements) cannot become {shape}") from None


def flatten(input, start_dim=0, end_dim=-1):
    """The axes from start_dim to end_dim joined into one."""
    input = as_tensor("flatten", input)
    if input.ndim == 0:
        return reshape(input, 1)
    start, end = (normalize_axis("flatten", d, input.ndim) for d in (start_dim, end_dim))
    if start > end:
        raise ValueError(f"flatten: start_dim {start_dim} comes after end_dim {end_dim}")
    joined = int(np.prod(input.shape[start : end + 1], dtype=np.int64))
    return reshape(input, *input.shape[:start], joined, *input.shape[end + 1 :])


def ravel(input):
    """The elements in row-major order along one axis."""
    return reshape(as_tensor("ravel", input), -1)


def unflatten(input, dim, sizes):
    """One axis cut into several of these sizes, of which one may be -1.

    Raises:
        ValueError: the sizes do not multiply to the axis' extent.
    """
    input, sizes = as_tensor("unflatten", input), sizes_of("unflatten", [sizes])
    if not input.ndim:
        raise ValueError("unflatten: a 0-d Tensor has no axis to cut")
    axis = normalize_axis("unflatten", dim, input.ndim)
    extent, known = input.shape[axis], math.prod(size for size in sizes if size != -1)
    whole = sizes.count(-1) == 1 and min(sizes) == -1 and known and extent % known == 0
    if not sizes or not whole and (min(sizes) < 0 or known != extent):
        raise ValueError(f"unflatten: sizes {sizes} must multiply to {extent}, the extent of dim {dim}")
    sizes = [extent // known if size == -1 else size for size in sizes]
    return reshape(input, *input.shape[:axis], *sizes, *input.shape[axis + 1 :])


def view_as(input, other):
    """view(input, other.shape)."""
    return reshape(input, as_tensor("view_as", other).shape)


def reshape_as(input, other):
    """reshape(input, other.shape)."""
    return reshape(input, as_tensor("reshape_as", other).shape)


def squeeze(input, dim=None):
    """Without the axes of extent 1 (of those in `dim`, where given)."""
    input = as_tensor("squeeze", input)
    axes = normalize_axes("squeeze", dim, input.ndim)
    return reshape(input, tuple(n for i, n in enumerate(input.shape) if n != 1 or i not in axes))


def unsqueeze(input, dim):
    """With a new axis of extent 1 at `dim`."""
    input = as_tensor("unsqueeze", input)
    axis = normalize_axis("unsqueeze", dim, input.ndim + 1)
    return reshape(input, *input.shape[:axis], 1, *input.shape[axis:])


def permute(input, *dims):
    """The axes in the order `dims`; shares memory."""
    input, dims = as_tensor("permute", input), sizes_of("permute", dims)
    axes = tuple(normalize_axis("permute", d, input.ndim) for d in dims)
    if sorted(axes) != list(range(input.ndim)):
        raise ValueError(f"permute: dims {dims} must name each of the {input.ndim} axes once")
    return Permute.apply(input, axes)


def transpose(input, dim0, dim1):
    """Two axes exchanged; shares memory."""
    input = as_tensor("transpose", input)
    axes = list(range(input.ndim))
    if axes:
        a, b = (normalize_axis("transpose", d, input.ndim) for d in (dim0, dim1))
        axes[a], axes[b] = b, a
    return Permute.apply(input, tuple(axes))


def swapaxes(input, axis0, axis1):
    """transpose(input, axis0, axis1)."""
    return transpose(input, axis0, axis1)


def swapdims(input, dim0, dim1):
    """transpose(input, dim0, dim1)."""
    return transpose(input, dim0, dim1)


def movedim(input, source, destination):
    """Axes moved to other places, the rest in their order; shares memory.

    Args:
        source, destination: an axis each, or sequences of one length.

    Raises:
        ValueError: an axis out of range or named twice, or lengths that differ.
    """
    input = as_tensor("movedim", input)
    moved, places = (list(d) if isinstance(d, tuple | list) else [d] for d in (source, destination))
    if len(moved) != len(places):
        raise ValueError(f"movedim: source {source} and destination {destination} must name as many axes")
    normalize_axes("movedim", moved, input.ndim), normalize_axes("movedim", places, input.ndim)  # none twice
    if not input.ndim:
        return permute(input, ())
    moved, places = ([normalize_axis("movedim", d, input.ndim) for d in dims] for dims in (moved, places))
    order = [axis for axis in range(input.ndim) if axis not in moved]
    for place, axis in sorted(zip(places, moved, strict=True)):
        order.insert(place, axis)
    return permute(input, order)


def moveaxis(input, source, destination):
    """movedim(input, source, destination)."""
    return movedim(input, source, destination)


def t(input):
    """The transpose of a matrix; a vector or 0-d Tensor itself."""
    input = as_tensor("t", input)
    if input.ndim > 2:
        raise ValueError(f"t: at most two dimensions, got shape {input.shape}; use transpose or mT")
    return Permute.apply(input, tuple(reversed(range(input.ndim))))


def expand(input, *sizes):
    """Repeated to `sizes` along new leading axes and axes of extent 1 (-1 keeps an extent); shares memory."""
    input, sizes = as_tensor("expand", input), sizes_of("expand", sizes)
    if len(sizes) < input.ndim:
        raise ValueError(f"expand: sizes {sizes} must have at least the {input.ndim} dimensions of shape {input.shape}")
    own = (1,) * (len(sizes) - input.ndim) + input.shape
    new = len(sizes) - input.ndim
    shape = tuple(n if s == -1 and i >= new else s for i, (s, n) in enumerate(zip(sizes, own, strict=True)))
    if any(s != n and n != 1 or s < 0 for s, n in zip(shape, own, strict=True)):
        raise ValueError(
            f"expand: shape {input.shape} cannot be expanded to {sizes}: only axes of extent 1 are repeated"
        )
    return Expand.apply(input, shape)


def expand_as(input, other):
    """expand(input, other.shape)."""
    return expand(input, as_tensor("expand_as", other).shape)


def broadcast_to(input, shape):
    """expand(input, shape)."""
    return expand(input, shape)


def astype(input, dtype):
    """Converted to `dtype`; itself where it has that dtype.

    Raises:
        TypeError: no dtype of numbers; a complex Tensor that is to become real.
    """
    input = as_tensor("astype", input)
    try:
        dtype = np.dtype(dtype)
    except TypeError:
        raise TypeError(f"astype: dtype {dtype!r} is not understood") from None
    if input._data.dtype == dtype:
        return input
    if dtype.kind not in "biufc" or dtype.kind in "iuf" and input._data.dtype.kind == "c":
        raise TypeError(f"astype: a Tensor of {input.dtype} cannot become {dtype}")
    if dtype.kind not in "fc" and input._data.dtype.kind in "fc":
        return Tensor(input._data.astype(dtype))  # piecewise constant: no gradient
    return Astype.apply(input, dtype)


def move(input, device):
    """The Tensor on a device ("cpu", "cuda:0"); itself where it is there."""
    device = full_name(device)
    return input if device == input.device else Move.apply(input, device)


def clone(input):
    """A copy with memory of its own, through which gradients flow."""
    return Clone.apply(as_tensor("clone", input), "K")


def contiguous(input):
    """A row-major Tensor of the same elements: itself where it is one."""
    input = as_tensor("contiguous", input)
    return input if input._data.flags.c_contiguous else Clone.apply(input, "C")
