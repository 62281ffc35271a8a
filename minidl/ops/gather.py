"""Elements read and written at indices: gather, scatter, index_select, take, masked_fill and their kin.

All are x[index] with an index made of theirs. To read has the derivative of x[index]: what an element gave away comes
back, summed where it was taken several times. To add at an index is its adjoint; to write takes the gradient from what
was overwritten and gives it to the value.
"""

import numpy as np

from ..cuda import beside, holds
from ..tensor import Tensor
from ._common import as_tensor, astype, check_broadcast, check_devices, check_integer, grid, normalize_axis
from .arithmetic import where
from .indexing import AddAt, SetItem, getitem, index_steps, value_for
from .shape import expand, reshape

# ---- slices --------------------------------------------------------------------------------------------------------


def narrow(input, dim, start, length):
    """The elements start to start + length - 1 along an axis; shares memory. A negative start counts from the end.

    Raises:
        IndexError: they do not lie within the axis. ValueError: a 0-d input, or a negative length.
    """
    input = as_tensor("narrow", input)
    if not input.ndim:
        raise ValueError("narrow: a 0-d Tensor has no axis to narrow")
    axis = normalize_axis("narrow", dim, input.ndim)
    start = check_integer("narrow", "start", start.item() if isinstance(start, Tensor) else start)
    length, extent = check_integer("narrow", "length", length), input.shape[axis]
    if length < 0:
        raise ValueError(f"narrow: length must be at least 0, got {length}")
    first = start + extent if start < 0 else start
    if not 0 <= first <= extent - length:
        raise IndexError(f"narrow: {length} elements from {start} do not lie within dim {dim} of extent {extent}")
    return getitem(input, (*(slice(None),) * axis, slice(first, first + length)))


def select(input, dim, index):
    """The slice number `index` along an axis, without that axis; shares memory.

    Raises:
        IndexError: the index is out of range. ValueError: a 0-d input.
    """
    input = as_tensor("select", input)
    if not input.ndim:
        raise ValueError("select: a 0-d Tensor has no axis to select from")
    axis = normalize_axis("select", dim, input.ndim)
    index = check_integer("select", "index", index.item() if isinstance(index, Tensor) else index)
    if not -input.shape[axis] <= index < input.shape[axis]:
        raise IndexError(f"select: index {index} is out of range for dim {dim} of extent {input.shape[axis]}")
    return getitem(input, (*(slice(None),) * axis, index))


# ---- one index for whole slices ------------------------------------------------------------------------------------


def index_select(input, dim, index):
    """The slices along an axis that a vector of indices names.

    Raises:
        IndexError: an index out of range. ValueError: index is no vector. TypeError: it is not integer.
    """
    input, index = as_tensor("index_select", input), _indices("index_select", index, input)
    axis = normalize_axis("index_select", dim, input.ndim)
    rows = _vector("index_select", index)
    _check_range("index_select", rows, dim, _extent(input, axis))
    if not input.ndim:
        if len(rows) != 1:
            raise ValueError(f"index_select: a 0-d Tensor has one element, index has shape {index.shape}")
        return reshape(input, ())
    return getitem(input, (*(slice(None),) * axis, rows))


def index_add(input, dim, index, source, *, alpha=1):
    """input with alpha times the slices of `source` added to the slices that a vector of indices names.

    Raises:
        IndexError: an index out of range. ValueError: shapes that do not fit. TypeError: index is not integer, or
            source has another dtype.
    """
    input, index, source = (
        as_tensor("index_add", input),
        _indices("index_add", index, input),
        as_tensor("index_add", source),
    )
    axis = normalize_axis("index_add", dim, input.ndim)
    rows = _vector("index_add", index)
    _check_range("index_add", rows, dim, _extent(input, axis))
    _check_dtype("index_add", input, "source", source)
    x, part = (reshape(t, 1) if not t.ndim else t for t in (input, source))
    if part.shape != (*x.shape[:axis], len(rows), *x.shape[axis + 1 :]):
        raise ValueError(
            f"index_add: source of shape {source.shape} does not fit input of shape {input.shape} and {len(rows)} "
            f"indices along dim {dim}"
        )
    part = part if alpha == 1 else astype(part * alpha, input.dtype)
    return reshape(x + AddAt.apply(part, index_steps((*(slice(None),) * axis, rows), x), x.shape), input.shape)


# ---- an index for each element -------------------------------------------------------------------------------------


def gather(input, dim, index):
    """y[i][j]… = input[i][index[i][j]…]… for dim = 1: along one axis each element of index says which one to take.

    Args:
        input: a Tensor. dim: the axis.
        index: integers of as many dimensions, whose other extents are at most those of input.

    Returns:
        a Tensor of index's shape.

    Raises:
        IndexError: an index out of range. ValueError: shapes that do not fit. TypeError: index is not integer.
    """
    input, index = as_tensor("gather", input), _indices("gather", index, input)
    x = reshape(input, 1) if not input.ndim else input
    return reshape(getitem(x, _places("gather", x, dim, index)), index.shape)


def scatter(input, dim, index, src):
    """input with y[i][index[i][j]…]… = src[i][j]… for dim = 1: gather's places are written to.

    Args:
        input, dim, index: as gather's; the places that one index names twice keep the last value.
        src: a Tensor that is at least as large as index, of input's dtype, or a number.

    Raises:
        as gather; ValueError also for a src smaller than index, TypeError for one of another dtype.
    """
    x, steps, src = _scattered("scatter", input, dim, index, src)
    return reshape(SetItem.apply(x, steps, src), as_tensor("scatter", input).shape)


def scatter_add(input, dim, index, src):
    """input with src[i][j]… added to y[i][index[i][j]…]… for dim = 1: the adjoint of gather; arguments as scatter's."""
    x, steps, src = _scattered("scatter_add", input, dim, index, as_tensor("scatter_add", src))
    return reshape(x + AddAt.apply(src, steps, x.shape), as_tensor("scatter_add", input).shape)


def _scattered(name, input, dim, index, src):
    """input with at least one axis, the index of the places to write to, and what goes there."""
    input, index = as_tensor(name, input), _indices(name, index, input)
    if isinstance(src, bool | int | float | complex):
        src = expand(value_for(name, input, src), index.shape)
    src = as_tensor(name, src)
    _check_dtype(name, input, "src", src)
    x, src = (reshape(t, 1) if not t.ndim else t for t in (input, src))
    places = _places(name, x, dim, index)
    if not index.size:
        return x, index_steps(places, x), reshape(src, -1)[:0]
    extents = index.shape or (1,)
    if src.ndim != len(extents) or any(n > m for n, m in zip(extents, src.shape, strict=True)):
        raise ValueError(f"{name}: index of shape {index.shape} does not fit into src of shape {src.shape}")
    return x, index_steps(places, x), getitem(src, tuple(slice(n) for n in extents))


def _places(name, x, dim, index):
    """The tuple of arrays with which x[places] is gather(x, dim, index); an empty index fits everything."""
    axis = normalize_axis(name, dim, x.ndim)
    if not index.size:
        return (index.reshape(-1),) * x.ndim
    index = index if index.ndim else index.reshape(1)
    others = [y.shape[:axis] + y.shape[axis + 1 :] for y in (index, x)]
    if index.ndim != x.ndim or any(n > m for n, m in zip(*others, strict=True)):
        raise ValueError(
            f"{name}: index of shape {index.shape} must have as many dimensions as input (shape {x.shape}), and no "
            f"greater extents but along dim {dim}"
        )
    _check_range(name, index, dim, x.shape[axis])
    places = grid(index.shape, index)
    places[axis] = index
    return tuple(places)


def take(input, index):
    """The elements of the flattened input at indices (negative ones count from the end), in index's shape.

    Raises:
        IndexError: an index out of range. TypeError: index is not integer.
    """
    input, index = as_tensor("take", input), _indices("take", index, input)
    if index.size and not -input.numel() <= index.min() <= index.max() < input.numel():
        wrong = index.min() if index.min() < -input.numel() else index.max()
        raise IndexError(f"take: index {wrong} is out of range for the {input.numel()} elements of shape {input.shape}")
    return getitem(reshape(input, -1), index)


def take_along_dim(input, indices, dim=None):
    """gather, where input and indices broadcast in the other axes; without dim both are flattened.

    Raises:
        as gather, but negative indices count from the end.
    """
    input, indices = as_tensor("take_along_dim", input), as_tensor("take_along_dim", indices)
    if dim is None:
        input, indices, dim = reshape(input, -1), reshape(indices, -1), 0
    axis = normalize_axis("take_along_dim", dim, input.ndim)
    if input.ndim != indices.ndim:
        raise ValueError(
            f"take_along_dim: input and indices must have as many dimensions, got shapes {input.shape} and "
            f"{indices.shape}"
        )
    if not input.ndim:
        return gather(input, dim, indices)
    others = [x.shape[:axis] + (1,) + x.shape[axis + 1 :] for x in (input, indices)]
    try:
        shape = np.broadcast_shapes(*others)
    except ValueError:
        raise ValueError(
            f"take_along_dim: shapes {input.shape} and {indices.shape} do not broadcast but for dim {dim}"
        ) from None
    input, indices = (expand(x, (*shape[:axis], x.shape[axis], *shape[axis + 1 :])) for x in (input, indices))
    index = _indices("take_along_dim", indices, input)
    return gather(input, dim, np.where(index < 0, index + input.shape[axis], index))


def index_put(input, indices, values, accumulate=False):
    """input with y[indices] = values, or with accumulate y[indices] += values, where places named twice get both.

    Args:
        indices: a tuple as for input[indices]. values: a Tensor of input's dtype that broadcasts to that place.

    Raises:
        as input[indices] = values; TypeError for values of another dtype.
    """
    input, values = as_tensor("index_put", input), as_tensor("index_put", values)
    if not isinstance(indices, tuple | list):
        raise TypeError(f"index_put: indices must be a tuple, got {type(indices).__name__}")
    _check_dtype("index_put", input, "values", values)
    steps = index_steps(tuple(indices), input)
    place = getitem(input.detach(), tuple(indices)).shape
    try:
        np.broadcast_to(np.empty(values.shape), place)
    except ValueError:
        raise ValueError(f"index_put: values of shape {values.shape} do not fit a place of shape {place}") from None
    if accumulate:
        return input + AddAt.apply(expand(values, place), steps, input.shape)
    return SetItem.apply(input, steps, values)


# ---- masks ---------------------------------------------------------------------------------------------------------


def masked_fill(input, mask, value):
    """value (a number or 0-d Tensor) where the mask is True, else input; both broadcast. It keeps input's dtype.

    Raises:
        TypeError: mask is not bool, or the value is complex and input is not. ValueError: value has dimensions, or the
            shapes do not broadcast.
    """
    input, mask = _masked("masked_fill", input, mask)
    value = value_for("masked_fill", input, value)
    if value.ndim:
        raise ValueError(f"masked_fill: value must be a number or a 0-d Tensor, got shape {value.shape}")
    return where(mask, value, input)


def masked_select(input, mask):
    """A vector of the elements where the mask is True; both broadcast.

    Raises:
        TypeError: mask is not bool. ValueError: the shapes do not broadcast.
    """
    input, mask = _masked("masked_select", input, mask)
    shape = np.broadcast_shapes(input.shape, mask.shape)
    return getitem(expand(input, shape), np.broadcast_to(mask._data, shape))


def _masked(name, input, mask):
    input, mask = as_tensor(name, input), as_tensor(name, mask)
    if mask.dtype != np.bool_:
        raise TypeError(f"{name}: mask must be bool, got {mask.dtype}")
    check_broadcast(name, input, mask)
    return input, mask


def nonzero(input, *, as_tuple=False):
    """The indices of the elements that are not 0, in order: int64 (count, dimensions).

    With as_tuple a vector of indices for each axis, such that input[nonzero(input, as_tuple=True)] are the elements.
    """
    array = as_tensor("nonzero", input)._data
    if as_tuple:
        return tuple(Tensor(axis) for axis in np.nonzero(array if array.ndim else array.reshape(1)))
    return Tensor(np.argwhere(array))


def argwhere(input):
    """nonzero(input)."""
    return nonzero(input)


# ---- checks --------------------------------------------------------------------------------------------------------


def _indices(name, index, input):
    if isinstance(index, np.ndarray):
        index = beside(index, getattr(input, "_data", input))
    index = as_tensor(name, index)
    check_devices(name, input=input, index=index)
    index = index._data
    if index.dtype.kind not in "iu":
        raise TypeError(f"{name}: indices must be integers, got {index.dtype}")
    return index


def _vector(name, index):
    if index.ndim > 1:
        raise ValueError(f"{name}: index must be a vector, its shape is {index.shape}")
    return index.reshape(-1)


def _extent(input, axis):
    return input.shape[axis] if input.ndim else 1


def _check_range(name, index, dim, extent):
    wrong = (index < 0) | (index >= extent)
    if holds(wrong):
        raise IndexError(f"{name}: index {index[wrong].flat[0]} is out of range for dim {dim} of extent {extent}")


def _check_dtype(name, input, what, other):
    if other.dtype != input.dtype:
        raise TypeError(f"{name}: {what} must have input's dtype {input.dtype}, got {other.dtype}")
