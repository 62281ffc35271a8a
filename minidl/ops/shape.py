"""Operations that move elements: reshape, transpose, expand, cat, stack, split, flip, astype, clone."""

import numpy as np

from ..function import Function
from ..tensor import Tensor
from ..views import forbid_changes
from ._common import as_tensor, normalize_axes, normalize_axis, result_dtype, unbroadcast


class Reshape(Function):
    """The same elements in the same order under another shape."""

    is_view = True

    @staticmethod
    def forward(ctx, x, shape):
        ctx.shape = x.shape
        return x.reshape(shape)

    @staticmethod
    def backward(ctx, grad):
        return reshape(grad, ctx.shape)


class Permute(Function):
    """y's axis i is x's axis axes[i]; the gradient goes back by the inverse permutation."""

    is_view = True

    @staticmethod
    def forward(ctx, x, axes):
        ctx.axes = axes
        return x.transpose(axes)

    @staticmethod
    def backward(ctx, grad):
        return Permute.apply(grad, tuple(int(i) for i in np.argsort(ctx.axes)))


class Expand(Function):
    """Repeat x along new axes and axes of extent 1: an element receives the sum of its copies' gradients."""

    is_view = True

    @staticmethod
    def forward(ctx, x, shape):
        ctx.shape = x.shape
        return np.broadcast_to(x, shape)

    @staticmethod
    def backward(ctx, grad):
        return unbroadcast(grad, ctx.shape)


class Cat(Function):
    """Arrays one after another along an axis; each receives its part of the gradient."""

    @staticmethod
    def forward(ctx, axis, *arrays):
        ctx.axis, ctx.sizes = axis, [a.shape[axis] for a in arrays]
        return np.concatenate(arrays, axis)

    @staticmethod
    def backward(ctx, grad):
        return None, *split(grad, ctx.sizes, ctx.axis)


class Flip(Function):
    """The order along axes reversed; so is the gradient's."""

    @staticmethod
    def forward(ctx, x, axes):
        ctx.axes = axes
        return np.flip(x, axes).copy(order="K")

    @staticmethod
    def backward(ctx, grad):
        return Flip.apply(grad, ctx.axes)


class Astype(Function):
    """A conversion of dtype; the gradient is converted back: that of a real number is the real part."""

    @staticmethod
    def forward(ctx, x, dtype):
        ctx.dtype = x.dtype
        return (x.real if dtype.kind == "f" else x).astype(dtype)

    @staticmethod
    def backward(ctx, grad):
        return Astype.apply(grad, ctx.dtype)


class Clone(Function):
    """A copy in memory of its own."""

    @staticmethod
    def forward(ctx, x, order):
        return x.copy(order)

    @staticmethod
    def backward(ctx, grad):
        return grad


def _sizes(name, sizes):
    """Sizes given as one sequence or as several arguments."""
    if len(sizes) == 1 and isinstance(sizes[0], tuple | list):
        sizes = sizes[0]
    for size in sizes:
        if not isinstance(size, int | np.integer) or isinstance(size, bool):
            raise TypeError(f"{name}: sizes must be integers, got {size!r}")
    return tuple(int(size) for size in sizes)


def reshape(input, *shape):
    """The elements in row-major order under another shape; one size may be -1, to be computed.

    Shares memory with the input where the layout allows.

    Raises:
        ValueError: the number of elements differs.
    """
    input, shape = as_tensor("reshape", input), _sizes("reshape", shape)
    if any(size < -1 for size in shape):
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
    input, dims = as_tensor("permute", input), _sizes("permute", dims)
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


def t(input):
    """The transpose of a matrix; a vector or 0-d Tensor itself."""
    input = as_tensor("t", input)
    if input.ndim > 2:
        raise ValueError(f"t: at most two dimensions, got shape {input.shape}; use transpose or mT")
    return Permute.apply(input, tuple(reversed(range(input.ndim))))


def expand(input, *sizes):
    """Repeated to `sizes` along new leading axes and axes of extent 1 (-1 keeps an extent); shares memory."""
    input, sizes = as_tensor("expand", input), _sizes("expand", sizes)
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


def broadcast_to(input, shape):
    """expand(input, shape)."""
    return expand(input, shape)


def _sequence(name, tensors):
    if not isinstance(tensors, tuple | list):
        raise TypeError(f"{name}: a sequence of Tensors is needed, got {type(tensors).__name__}")
    tensors = [as_tensor(name, t) for t in tensors]
    if not tensors:
        raise ValueError(f"{name}: at least one Tensor is needed")
    dtype = result_dtype(*tensors)
    return [astype(t, dtype) for t in tensors]


def cat(tensors, dim=0):
    """Tensors one after another along an axis; their other extents must agree."""
    tensors = _sequence("cat", tensors)
    first = tensors[0]
    axis = normalize_axis("cat", dim, first.ndim)
    for number, tensor in enumerate(tensors):
        if tensor.ndim == 0:
            raise ValueError(f"cat: Tensor number {number} is 0-d; use stack")
        shapes = [t.shape[:axis] + t.shape[axis + 1 :] for t in (first, tensor)]
        if tensor.ndim != first.ndim or shapes[0] != shapes[1]:
            raise ValueError(
                f"cat: shapes {first.shape} (number 0) and {tensor.shape} (number {number}) must agree but for dim "
                f"{dim}"
            )
    return Cat.apply(axis, *tensors)


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


def split(input, split_size_or_sections, dim=0):
    """A tuple of parts along an axis: of a given size (the last may be smaller), or of the sizes listed."""
    from .indexing import getitem

    input = as_tensor("split", input)
    if not input.ndim:
        raise ValueError("split: a 0-d Tensor cannot be split")
    axis = normalize_axis("split", dim, input.ndim)
    extent, sizes = input.shape[axis], split_size_or_sections
    if isinstance(sizes, int | np.integer):
        if sizes <= 0:
            raise ValueError(f"split: split_size must be positive, got {sizes}")
        sizes = [min(sizes, extent - start) for start in range(0, extent, sizes)] or [0]
    sizes = _sizes("split", [sizes])
    if sum(sizes) != extent or min(sizes, default=0) < 0:
        raise ValueError(
            f"split: sizes {list(sizes)} must be non-negative and add up to {extent}, the extent of dim {dim}"
        )
    starts = np.cumsum([0, *sizes]).tolist()
    before = (slice(None),) * axis
    parts = tuple(getitem(input, (*before, slice(a, b))) for a, b in zip(starts[:-1], starts[1:], strict=True))
    forbid_changes(parts, "split")
    return parts


def chunk(input, chunks, dim=0):
    """At most `chunks` parts of equal size (the last may be smaller) along an axis."""
    if not isinstance(chunks, int | np.integer) or chunks <= 0:
        raise ValueError(f"chunk: chunks must be a positive integer, got {chunks!r}")
    input = as_tensor("chunk", input)
    if not input.ndim:
        raise ValueError("chunk: a 0-d Tensor cannot be cut")
    extent = input.shape[normalize_axis("chunk", dim, input.ndim)]
    return split(input, -(-extent // chunks) or [0] * chunks, dim)


def flip(input, dims):
    """The order along `dims` reversed (a copy)."""
    input = as_tensor("flip", input)
    axes = normalize_axes("flip", dims, input.ndim)
    return Flip.apply(input, axes if input.ndim else ())


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


def clone(input):
    """A copy with memory of its own, through which gradients flow."""
    return Clone.apply(as_tensor("clone", input), "K")


def contiguous(input):
    """A row-major Tensor of the same elements: itself where it is one."""
    input = as_tensor("contiguous", input)
    return input if input._data.flags.c_contiguous else Clone.apply(input, "C")
