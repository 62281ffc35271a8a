"""cupy.ndarray of the stand-in."""

import numpy as np

from . import runtime

cupy = None  # the module as it stands under that name; set by install()
SCALARS = int | float | complex | np.generic  # bool is an int
_KINDS = "?bBhHiIlLqQefdFD"


def host(value):
    """What NumPy is to see in place of an argument."""
    if isinstance(value, ndarray):
        return value._host
    if isinstance(value, tuple | list):
        return type(value)(map(host, value))
    return value


def result(value, *sources, keep_order=False):
    """What NumPy returned as device arrays: views of the sources where they share memory, else new ones.

    CuPy makes those in row-major order, whatever the order of what went in; but for copies (keep_order).
    """
    if isinstance(value, tuple | list):
        return type(value)(result(v, *sources, keep_order=keep_order) for v in value)
    if isinstance(value, np.generic):
        value = np.asarray(value)
    if not isinstance(value, np.ndarray):
        return value
    if value.dtype.char not in _KINDS:
        raise ValueError(f"Unsupported dtype {value.dtype}")
    owner = _owner(value)
    for source in _arrays(sources):
        if _owner(source._host) is owner:
            return _wrap(value, source.base if source.base is not None else source, source._memory)
    return _wrap(value if keep_order else np.array(value, order="C"))


def _owner(array):
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _arrays(values):
    for value in values:
        if isinstance(value, ndarray):
            yield value
        elif isinstance(value, tuple | list):
            yield from _arrays(value)


def _wrap(array, base=None, memory=None):
    runtime.require_device()
    self = ndarray.__new__(ndarray)
    self._host, self.base = array, base
    self._memory = runtime.Memory(array.nbytes) if memory is None else memory
    return self


def garbage(shape, dtype, order="C"):
    """What fresh memory holds, at its worst: NaN, or large numbers."""
    runtime.require_device()
    array = np.empty(shape, dtype, order)
    array.view(np.uint8 if array.dtype.itemsize == 1 else array.dtype)[...] = (
        np.nan if array.dtype.kind in "fc" else True if array.dtype.kind == "b" else np.iinfo(array.dtype).max // 3
    )
    return array


class Flags:
    """Memory layout. There is no `writeable`."""

    def __init__(self, array):
        flags = array._host.flags
        self.c_contiguous, self.f_contiguous, self.owndata = flags.c_contiguous, flags.f_contiguous, array.base is None
        self.forc, self.fnc = flags.forc, flags.fnc


class FlatIterator:
    """x.flat: one element, or a slice of them."""

    def __init__(self, array):
        self._array = array

    def __getitem__(self, index):
        return result(np.asarray(self._array._host.flat[index]).copy())

    def __setitem__(self, index, value):
        _no_host_arrays((value,))
        self._array._host.flat[index] = host(value)


class ndarray:
    """An array on the device. Its memory is NumPy's, which nobody but this folder and the emulator may see."""

    __array_priority__ = 100
    __hash__ = None
    __slots__ = ("_host", "base", "_memory", "__weakref__")

    def __init__(self, shape, dtype=float, memptr=None, strides=None, order="C"):
        if memptr is not None or strides is not None:
            raise NotImplementedError("the stand-in makes arrays of their own memory alone")
        self._host, self.base = garbage(shape, dtype, order), None
        self._memory = runtime.Memory(self._host.nbytes)

    # ---- what it is --------------------------------------------------------------------------------------------------

    shape = property(lambda self: self._host.shape)
    dtype = property(lambda self: self._host.dtype)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    strides = property(lambda self: self._host.strides)
    itemsize = property(lambda self: self._host.itemsize)
    nbytes = property(lambda self: self._host.nbytes)
    flags = property(lambda self: Flags(self))
    flat = property(lambda self: FlatIterator(self))
    device = property(lambda self: runtime.Device(self._memory.device))
    T = property(lambda self: self.transpose())
    mT = property(lambda self: self.swapaxes(-1, -2))
    real = property(lambda self: result(self._host.real, self))
    imag = property(lambda self: result(self._host.imag.copy()))

    @property
    def data(self):
        from emulator import remember

        remember(self._host)
        return runtime.MemoryPointer(self._memory, self._host.ctypes.data)

    @property
    def __cuda_array_interface__(self):
        runtime.require_device()
        return {
            "version": 3, "shape": self.shape, "typestr": self.dtype.str, "strides": self.strides, "descr": [],
            "data": (self._host.ctypes.data, False), "stream": 1,
        }  # fmt: skip

    def __len__(self):
        if not self.ndim:
            raise TypeError("len() of unsized object")
        return len(self._host)

    def __iter__(self):
        if not self.ndim:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self)))

    # ---- NumPy's protocols -------------------------------------------------------------------------------------------

    def __array__(self, dtype=None, copy=None):
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. "
            "Please use `.get()` to construct a NumPy array explicitly."
        )

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        both = inputs
        if "out" in kwargs:
            if len(kwargs["out"]) != 1:
                raise ValueError("The 'out' parameter must have exactly one array value")
            both += kwargs["out"]
            kwargs["out"] = kwargs["out"][0]
        function = getattr(cupy, ufunc.__name__, None)
        if function is None or method not in ("__call__", "outer", "at", "reduce", "accumulate", "reduceat"):
            return NotImplemented
        if any(not isinstance(x, ndarray | np.ndarray | SCALARS) for x in both):
            return NotImplemented
        if ufunc.__name__ in ("greater", "greater_equal", "less", "less_equal", "equal", "not_equal"):
            inputs = tuple(x.item() if isinstance(x, np.ndarray) and not x.ndim else x for x in inputs)
        return (function if method == "__call__" else getattr(function, method))(*inputs, **kwargs)

    def __array_function__(self, function, kinds, args, kwargs):
        own = cupy
        for part in (*function.__module__.split(".")[1:], function.__name__):
            own = getattr(own, part, None)
        if own is None or own is function or any(kind not in (ndarray, np.ndarray) for kind in kinds):
            return NotImplemented
        return own(*args, **kwargs)

    # ---- to the host -------------------------------------------------------------------------------------------------

    def get(self, stream=None, order="C", out=None, blocking=True):
        runtime.wait()
        if out is None:
            return np.array(self._host, order=order)
        if not isinstance(out, np.ndarray) or out.dtype != self.dtype or out.shape != self.shape:
            raise TypeError("out must be a NumPy array of the same dtype and shape")
        if not (out.flags.c_contiguous or out.flags.f_contiguous):
            raise RuntimeError("`out` cannot be specified when copying to non-contiguous ndarray")
        out[...] = self._host
        return out

    def set(self, arr, stream=None):
        runtime.require_device()
        if not isinstance(arr, np.ndarray) or arr.dtype != self.dtype:
            raise TypeError("Only numpy.ndarray of the same dtype can be set to cupy.ndarray")
        if arr.shape != self.shape:
            raise ValueError(f"Shape mismatch. Old shape: {self.shape}, new shape: {arr.shape}")
        if not (self.flags.c_contiguous or self.flags.f_contiguous):
            raise RuntimeError("Cannot set to non-contiguous array")
        self._host[...] = arr

    def item(self):
        return self.get().item()

    def tolist(self):
        return self.get().tolist()

    def __bool__(self):
        return bool(self.get())

    def __int__(self):
        return int(self.get())

    def __float__(self):
        return float(self.get())

    def __complex__(self):
        return complex(self.get())

    def __repr__(self):
        return repr(self.get())

    def __format__(self, spec):
        return format(self.get(), spec)

    def __copy__(self):
        return self.copy()

    def __deepcopy__(self, memo):
        return self.copy()

    # ---- indexing ----------------------------------------------------------------------------------------------------

    def __getitem__(self, index):
        index = _wrapped(index, self.shape)
        value = self._host[index]
        if not isinstance(value, np.ndarray):  # one element: a 0-d view
            value = self._host[(*index, ...)]
        return result(value, self)

    def __setitem__(self, index, value):
        places = _wrapped(index, self.shape)
        advanced = any(isinstance(part, np.ndarray) for part in places)
        if isinstance(value, np.ndarray) and value.ndim and not advanced:
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        if not isinstance(value, ndarray | np.ndarray | SCALARS):
            raise TypeError(f"Unsupported type {type(value)}")
        value = host(value)
        if not advanced:
            self._host[places] = value
            return
        # Of a place that is written twice CuPy may keep any value; here it is the first.
        numbers = np.arange(self.size).reshape(self.shape)[places]
        target = np.broadcast_to(np.asarray(value), numbers.shape)
        flat = np.array(self._host, order="C").reshape(-1)
        flat[numbers.reshape(-1)[::-1]] = target.reshape(-1)[::-1]
        self._host[...] = flat.reshape(self.shape)

    def take(self, indices, axis=None, out=None):
        if out is not None:
            raise NotImplementedError("the stand-in's take returns a new array: out is not there")
        extent = self.size if axis is None else self.shape[axis]
        indices = np.asarray(host(indices))
        if not extent and indices.size:
            raise IndexError("cannot do a non-empty take from an empty axes.")
        return result(self._host.take(indices % max(extent, 1), axis))

    def scatter_add(self, slices, value):
        _no_host_arrays((value,))
        if self.dtype.char not in "iIlLqQefd" or self.dtype == np.int64:
            raise TypeError(f"scatter_add does not support {self.dtype}")
        np.add.at(self._host, _wrapped(slices, self.shape), host(value))

    def scatter_max(self, slices, value):
        _no_host_arrays((value,))
        if self.dtype.type not in (np.int32, np.uint32, np.uint64, np.float32, np.float64):
            raise TypeError(f"scatter_max does not support {self.dtype}")
        np.maximum.at(self._host, _wrapped(slices, self.shape), host(value))

    def fill(self, value):
        if isinstance(value, np.ndarray) and value.ndim:
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        self._host.fill(host(value))


def _no_host_arrays(values):
    """What CuPy's scalars do not take."""
    for value in values:
        if not isinstance(value, ndarray | SCALARS):
            raise TypeError(f"Unsupported type {type(value)}")


def _wrapped(index, shape):
    """An index for NumPy, as a tuple: integer arrays taken modulo the extent of their axis."""
    parts = []
    for part in index if isinstance(index, tuple) else (index,):
        if isinstance(part, list | ndarray | np.ndarray | bool | np.bool_):
            array = np.asarray(host(part))
            part = array.astype(np.int32) if isinstance(part, list) and not array.size else array
            if part.dtype.kind not in "biu":
                raise IndexError(f"arrays used as indices must be of integer or boolean type. (actual: {part.dtype})")
        elif not (part is None or part is ... or isinstance(part, slice | int | np.integer)):
            raise IndexError(f"only integers, slices, ellipsis, None and arrays are valid indices, not {part!r}")
        parts.append(part)
    masks = [isinstance(p, np.ndarray) and p.dtype == bool for p in parts]
    used = [p.ndim if mask else 0 if p is None or p is ... else 1 for p, mask in zip(parts, masks, strict=True)]
    if sum(used) > len(shape):
        raise IndexError(f"too many indices for array: array is {len(shape)}-dimensional")
    if sum(masks) > 1:
        raise NotImplementedError("CuPy takes one boolean array in an index")
    axis, wrapped = 0, []
    for part, axes in zip(parts, used, strict=True):
        if part is ...:
            axis += len(shape) - sum(used)
        elif isinstance(part, np.ndarray) and part.dtype != bool:
            if part.size and not shape[axis]:
                raise IndexError("cannot do a non-empty take from an empty axes.")
            part = part % max(shape[axis], 1)
        wrapped.append(part)
        axis += axes
    return tuple(wrapped)


def _operator(name, ufunc):
    def forward(self, other):
        if getattr(other, "__array_ufunc__", 0) is None:  # another library's turn
            return NotImplemented
        return getattr(cupy, ufunc)(self, other)

    def reflected(self, other):
        return getattr(cupy, ufunc)(other, self)

    def in_place(self, other):
        return getattr(cupy, ufunc)(self, other, self)

    setattr(ndarray, f"__{name}__", forward)
    if name not in ("eq", "ne", "lt", "le", "gt", "ge"):
        setattr(ndarray, f"__r{name}__", reflected)
        setattr(ndarray, f"__i{name}__", in_place)


for _name, _ufunc in {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "true_divide", "floordiv": "floor_divide",
    "mod": "remainder", "pow": "power", "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor",
    "lshift": "left_shift", "rshift": "right_shift", "matmul": "matmul", "eq": "equal", "ne": "not_equal",
    "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal",
}.items():  # fmt: skip
    _operator(_name, _ufunc)
ndarray.__neg__ = lambda self: cupy.negative(self)
ndarray.__pos__ = lambda self: cupy.positive(self)
ndarray.__abs__ = lambda self: cupy.absolute(self)
ndarray.__invert__ = lambda self: cupy.invert(self)
