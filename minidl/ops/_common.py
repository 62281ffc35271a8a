"""What several operations need: operands of one dtype, gradients of broadcast operands, axes, pairs of sizes."""

import contextvars

import numpy as np

from ..autograd import unbroadcast  # noqa: F401 (for the operations)
from ..cuda import apart, device_of, is_array, on_gpu
from ..kernels import COMPILED, empty, full
from ..tensor import DEFAULT_DTYPE, Tensor

_CATEGORY = {"b": 0, "u": 1, "i": 1, "f": 2, "c": 3}
_NUMBERS = {bool: 0, int: 1, float: 2, complex: 3}


_quiet = contextvars.Context()  # where NumPy does not warn
_quiet.run(np.seterr, all="ignore")


def quietly(function, *arrays):
    """function(*arrays), a formula of NumPy's whose NaN and infinity are answers, not to be warned of.

    What np.errstate(all="ignore") does in 1.0 us takes 0.3: a whole operation takes 4. In a copy of the context, as a
    thread, or a formula within a formula, cannot enter one that is entered already.
    """
    return _quiet.copy().run(function, *arrays)


def operands(name, a, b):
    """Both operands ready for an operation: Tensors of one dtype, or one Tensor and a Python number.

    Dtypes are promoted as PyTorch does: bool < integer < floating < complex; within a category a 0-d operand gives way,
    and a Python number only raises the category.

    Raises:
        TypeError: an operand is neither Tensor, array nor number. ValueError: the shapes do not broadcast.
        RuntimeError: they are on two devices.
    """
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        x, y = a._data, b._data
        if type(x) is not type(y):
            check_devices(name, input=a, other=b)
        if x.dtype is y.dtype:
            if x.shape != y.shape:
                check_broadcast(name, a, b)
            return a, b
    elif isinstance(a, Tensor) and type(b) in _NUMBERS:
        return _meet_number(a, b), b
    elif isinstance(b, Tensor) and type(a) in _NUMBERS:
        return a, _meet_number(b, a)
    a, b = _operand(name, a), _operand(name, b)
    check_devices(name, input=a, other=b)
    check_broadcast(name, a, b)
    dtype = result_dtype(a, b)
    return astype(a, dtype), astype(b, dtype)


def _operand(name, value):
    if isinstance(value, Tensor):
        return value
    if isinstance(value, tuple(_NUMBERS)) or is_array(value):
        return Tensor(value.item() if isinstance(value, np.generic) else value)
    raise TypeError(f"{name}: operands must be Tensors, arrays or numbers, not {type(value).__name__}")


def check_devices(name, **arguments):
    """Raise RuntimeError where one of an operation's arguments, Tensors or arrays, is on a GPU and another is not."""
    arrays = {argument: getattr(value, "_data", value) for argument, value in arguments.items() if value is not None}
    if len(set(map(type, arrays.values()))) == 1:
        return
    first = next(iter(arrays))
    for argument, array in arrays.items():
        if apart(arrays[first], array):
            places = f"{first} is on {device_of(arrays[first])}, {argument} on {device_of(array)}"
            raise RuntimeError(f"{name}: {places}; all must be on one device")


def check_broadcast(name, a, b):
    for m, n in zip(reversed(a.shape), reversed(b.shape)):  # noqa: B905 (the shorter shape is filled up with ones)
        if m != n and m != 1 and n != 1:
            raise ValueError(f"{name}: shapes {a.shape} and {b.shape} do not broadcast")


def _meet_number(tensor, number):
    """The Tensor, in a dtype that can hold what the operation with a Python number gives."""
    category = _NUMBERS[type(number)]
    if _CATEGORY[tensor._data.dtype.kind] >= category:
        return tensor
    dtype = {1: np.int64, 2: DEFAULT_DTYPE, 3: np.complex64}[category]
    return astype(tensor, np.result_type(tensor.dtype, dtype) if tensor._data.dtype.kind == "f" else dtype)


def result_dtype(*tensors):
    """The dtype that PyTorch gives an operation on these Tensors."""
    top = max(_CATEGORY[t.dtype.kind] for t in tensors)
    least = 2 if top == 3 else top  # a complex dtype keeps the precision of the floats it meets
    candidates = [t for t in tensors if _CATEGORY[t.dtype.kind] >= least]
    candidates = [t.dtype for t in candidates if t.ndim] or [t.dtype for t in candidates]
    dtype = np.result_type(*candidates)
    return np.result_type(dtype, np.complex64) if top == 3 else dtype


def astype(tensor, dtype):
    """The Tensor converted to `dtype`; itself where it has that dtype."""
    from .shape import astype

    return astype(tensor, dtype)


def as_tensor(name, value):
    """value as a Tensor; TypeError where it is none and cannot become one."""
    return value if isinstance(value, Tensor) else _operand(name, value)


def as_floating(name, tensor):
    """An operation's argument as a floating-point Tensor: integers become float32, as in PyTorch."""
    tensor = tensor if isinstance(tensor, Tensor) else _operand(name, tensor)
    return tensor if tensor._data.dtype.kind in "fc" else astype(tensor, DEFAULT_DTYPE)


def as_real(name, tensor):
    """An argument of a kernel as a Tensor of a dtype that it takes; integers become float32. TypeError for others."""
    if isinstance(tensor, Tensor) and tensor._data.dtype in COMPILED:
        return tensor
    tensor = as_floating(name, tensor)
    if not has_kernel(tensor._data):
        raise TypeError(f"{name}: input must be float32 or float64, got {tensor.dtype} on {tensor.device}")
    return tensor


def has_kernel(array):
    """Whether kernels take the array's dtype: float32 and float64, on a GPU also float16."""
    return array.dtype in COMPILED or array.dtype == np.float16 and on_gpu(array)


def normalize_axes(name, dim, ndim):
    """dim (an int, a sequence of ints or None for all) as a sorted tuple of axes from 0 to ndim - 1.

    Raises:
        ValueError: an axis out of range or named twice. TypeError: no integer.
    """
    if dim is None:
        return tuple(range(ndim))
    dims = tuple(dim) if isinstance(dim, tuple | list) else (dim,)
    axes = sorted(normalize_axis(name, d, ndim) for d in dims)
    if len(set(axes)) != len(axes):
        raise ValueError(f"{name}: dim {dim} names an axis twice")
    return tuple(axes)


def normalize_axis(name, dim, ndim):
    """One axis, counted from the end where negative. A 0-d Tensor has the axis 0 (and -1), as in PyTorch."""
    if not isinstance(dim, int | np.integer) or isinstance(dim, bool):
        raise TypeError(f"{name}: dim must be an integer, got {dim!r}")
    least = max(ndim, 1)
    if not -least <= dim < least:
        raise ValueError(f"{name}: dim {dim} is out of range for a Tensor of {ndim} dimensions")
    return int(dim) % least


def reduced_axes(name, dim, ndim):
    """The axes that a reduction folds. As PyTorch: an empty sequence means all; a 0-d Tensor may name 0 or -1."""
    if dim is None:
        return tuple(range(ndim))
    if type(dim) is int and 0 <= dim < ndim:
        return (dim,)
    if isinstance(dim, tuple | list) and not dim:
        dim = None
    axes = normalize_axes(name, dim, ndim)
    return axes if ndim else ()


def kept_shape(shape, axes):
    """The shape of what a reduction over axes gives, with keepdim."""
    return tuple(1 if i in axes else n for i, n in enumerate(shape))


def constant(number, like):
    """A 0-d Tensor of a number, of the dtype of the array `like` and on its device.

    Raises:
        OverflowError: an integer that the dtype cannot hold.
    """
    array = np.asarray(number, like.dtype)
    return Tensor(array if isinstance(like, np.ndarray) else full((), array.item(), like.dtype, like))


def grid(shape, like):
    """Per axis of a shape its indices, which broadcast against each other; on the device of the array `like`."""
    ndim = len(shape)
    return [
        np.arange(n, like=like).reshape([-1 if i == axis else 1 for i in range(ndim)]) for axis, n in enumerate(shape)
    ]


def check_numbers(name, **options):
    """Raise TypeError where an option of an operation is not a real number."""
    for option, value in options.items():
        if not isinstance(value, int | float | np.integer | np.floating):
            raise TypeError(f"{name}: {option} must be a number, got {value!r}")


def check_integer(name, argument, value):
    """value as an int; TypeError where it is no integer."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool):
        raise TypeError(f"{name}: {argument} must be an integer, got {value!r}")
    return int(value)


def pair(name, argument, value, least):
    """A size for rows and columns: an int for both, or two ints, each at least `least`."""
    if type(value) is int and value >= least:  # first what is usual: a convolution asks three times
        return value, value
    if type(value) is tuple and len(value) == 2:
        rows, columns = value
        if type(rows) is int and type(columns) is int and rows >= least and columns >= least:
            return value
    values = (
        (value, value) if isinstance(value, int | np.integer) else tuple(value) if hasattr(value, "__len__") else ()
    )
    if len(values) == 1:
        values *= 2
    if len(values) != 2 or any(not isinstance(v, int | np.integer) or isinstance(v, bool) for v in values):
        raise TypeError(f"{name}: {argument} must be an integer or a pair of integers, got {value!r}")
    if min(values) < least:
        raise ValueError(f"{name}: {argument} must be at least {least}, got {value!r}")
    return int(values[0]), int(values[1])


def pooled_size(name, size, kernel_size, stride, padding, dilation, ceil_mode):
    """The output's rows and columns, as PyTorch counts them."""
    result = []
    for n, k, s, p, d in zip(size, kernel_size, stride, padding, dilation, strict=True):
        room = n + 2 * p - d * (k - 1) - 1
        count = (room + s - 1 if ceil_mode else room) // s + 1
        if ceil_mode and (count - 1) * s >= n + p:  # the last window must start inside the image or its left border
            count -= 1
        if count < 1:
            raise ValueError(
                f"{name}: a window of {kernel_size[0]}×{kernel_size[1]} (dilation {dilation}) does not fit the input's "
                f"{size[0]}×{size[1]} pixels with padding {padding}"
            )
        result.append(count)
    return tuple(result)


def empty_weight(*shape):
    """An uninitialised float32 array of weights, laid out for the kernels: the output axis is the contiguous one.

    (out, in) is a transpose of (in, out), (O, C, KH, KW) a transpose of (KH, KW, C, O). Large ones begin with a cache
    line, as NumPy's do not: AlexNet's first linear layer takes 17 ms for 24, whose vectors lay across two lines each.
    """
    out, incoming, *window = shape
    memory = empty((*window, incoming, out), np.float32)
    return memory.transpose(memory.ndim - 1, memory.ndim - 2, *range(len(window)))
