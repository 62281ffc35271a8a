"""cupy.ndarray of the stand-in."""

import numpy as np

from . import pools, runtime, work

cupy = None  # the module as it stands under that name; set by install()
SCALARS = int | float | complex | np.generic  # bool is an int
_KINDS = "?bBhHiIlLqQefdFD"


def host(value):
    """What NumPy is to see in place of an argument."""
    if isinstance(value, ndarray):
        pools.touch(value._memory)
        return value._host
    if isinstance(value, tuple | list):
        return type(value)(map(host, value))
    return value


def result(compute, *sources, keep_order=False):
    """What the NumPy code compute() returns as device arrays: views of the sources where they share memory, else new.

    CuPy makes new ones in row-major order, whatever the order of what went in; but for copies (keep_order). Where work
    is not done at once, compute() runs for the shapes alone, and again when the numbers are wanted.
    """
    arrays = _on_device(compute(), sources, keep_order)
    if not work.at_once():
        # The memory of the new arrays, not the arrays: work that is left to do keeps none of them alive.
        new = [y._host if isinstance(y, ndarray) and y.base is None else None for y in _flat(arrays)]

        def fill():
            for memory, value in zip(new, _flat(compute()), strict=True):
                if memory is not None:
                    memory[...] = value

        for memory in new:
            if memory is not None:
                pools.spoil(memory)
        if any(memory is not None for memory in new):
            work.do(fill)
    return arrays


def _flat(values):
    return [v for value in values for v in _flat(value)] if isinstance(values, tuple | list) else [values]


def _on_device(value, sources, keep_order):
    if isinstance(value, tuple | list):
        return type(value)(_on_device(v, sources, keep_order) for v in value)
    if isinstance(value, np.generic):
        value = np.asarray(value)
    if not isinstance(value, np.ndarray):
        return value
    if value.dtype.char not in _KINDS:
        raise ValueError(f"Unsupported dtype {value.dtype}")
    owner = _owner(value)
    for source in _arrays(sources):
        if _owner(source._host) is owner:
            return wrap(value, source.base if source.base is not None else source, source._memory)
    return wrap(value if keep_order else np.array(value, order="C"))


def write(array, index, compute):
    """array[index] = compute(), as work of the current stream; index is NumPy's."""
    memory = host(array)
    work.do(lambda: memory.__setitem__(index, compute()))


def refuse_while_capturing(what):
    """CuPy would record a copy out of host memory that another copy will have taken by the time of a replay."""
    if work.streams()[-1]._captured is not None:
        raise RuntimeError(f"the stand-in: {what} while a graph is captured")


def _wait_to_read(stream):
    """Let a stream finish, for the host to read. CuPy refuses before CUDA does."""
    if stream.is_capturing():
        raise RuntimeError("the current stream is capturing, so D2H transfers are disallowed")
    work.wait(stream)


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


def wrap(array, base=None, memory=None):
    work.require_device()
    self = ndarray.__new__(ndarray)
    self._host, self.base = array, base
    self._memory = pools.PooledMemory(array) if memory is None else memory
    return self


def garbage(shape, dtype, order="C"):
    """What fresh memory holds, at its worst: NaN, or large numbers."""
    work.require_device()
    array = np.empty(shape, dtype, order)
    pools.spoil(array)
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
        flat = host(self._array).flat
        return result(lambda: np.asarray(flat[index]).copy())

    def __setitem__(self, index, value):
        _no_host_arrays((value,))
        flat, value = host(self._array).flat, host(value)
        work.do(lambda: flat.__setitem__(index, value))


def _part(memory, name, *sources):
    return result(lambda: getattr(memory, name) if sources else getattr(memory, name).copy(), *sources)


class ndarray:
    """An array on the device. Its memory is NumPy's, which nobody but this folder and the emulator may see."""

    __array_priority__ = 100
    __hash__ = None
    __slots__ = ("_host", "base", "_memory", "__weakref__")

    def __init__(self, shape, dtype=float, memptr=None, strides=None, order="C"):
        if memptr is not None or strides is not None:
            raise NotImplementedError("the stand-in makes arrays of their own memory alone")
        self._host, self.base = garbage(shape, dtype, order), None
        self._memory = pools.PooledMemory(self._host)

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
    real = property(lambda self: _part(host(self), "real", self))
    imag = property(lambda self: _part(host(self), "imag"))

    @property
    def data(self):
        from emulator import remember

        remember(self._host)
        pools.hold(self._host)
        pools.touch(self._memory)
        return pools.MemoryPointer(self._memory, self._host.ctypes.data)

    @property
    def __cuda_array_interface__(self):
        work.require_device()
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
        _wait_to_read(stream or work.get_current_stream())
        if out is None:
            return np.array(self._host, order=order)
        if not isinstance(out, np.ndarray) or out.dtype != self.dtype or out.shape != self.shape:
            raise TypeError("out must be a NumPy array of the same dtype and shape")
        if not (out.flags.c_contiguous or out.flags.f_contiguous):
            raise RuntimeError("`out` cannot be specified when copying to non-contiguous ndarray")
        out[...] = self._host
        return out

    def set(self, arr, stream=None):
        work.require_device()
        if not isinstance(arr, np.ndarray) or arr.dtype != self.dtype:
            raise TypeError("Only numpy.ndarray of the same dtype can be set to cupy.ndarray")
        if arr.shape != self.shape:
            raise ValueError(f"Shape mismatch. Old shape: {self.shape}, new shape: {arr.shape}")
        if not (self.flags.c_contiguous or self.flags.f_contiguous):
            raise RuntimeError("Cannot set to non-contiguous array")
        refuse_while_capturing("set()")
        if stream is None:
            stream = work.get_current_stream()
            stream._take(lambda: self._host.__setitem__(..., arr))
            stream.synchronize()
        else:  # the host's memory is read when the stream comes to it
            memory = self._host
            stream._take(lambda: memory.__setitem__(..., arr))

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
        places, memory = _wrapped(index, self.shape), host(self)
        if not isinstance(memory[places()], np.ndarray):  # one element: a 0-d view
            return result(lambda: memory[(*places(), ...)], self)
        return result(lambda: memory[places()], self)

    def __setitem__(self, index, value):
        places = _wrapped(index, self.shape)
        advanced = any(isinstance(part, np.ndarray) for part in places())
        if isinstance(value, np.ndarray) and value.ndim and not advanced:
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        if not isinstance(value, ndarray | np.ndarray | SCALARS):
            raise TypeError(f"Unsupported type {type(value)}")
        value, memory = host(value), host(self)
        if not advanced:
            np.broadcast_to(value, memory[places()].shape)  # raises now
            work.do(lambda: memory.__setitem__(places(), value))
        else:
            numbers = np.arange(self.size).reshape(self.shape)
            np.broadcast_to(np.asarray(value), numbers[places()].shape)
            work.do(lambda: _scatter(memory, numbers[places()], np.asarray(value)))

    def take(self, indices, axis=None, out=None):
        if out is not None:
            raise NotImplementedError("the stand-in's take returns a new array: out is not there")
        extent = self.size if axis is None else self.shape[axis]
        memory, indices = host(self), np.asarray(host(indices))
        if not extent and indices.size:
            raise IndexError("cannot do a non-empty take from an empty axes.")
        return result(lambda: memory.take(indices % max(extent, 1), axis))

    def scatter_add(self, slices, value):
        _no_host_arrays((value,))
        if self.dtype.char not in "iIlLqQefd" or self.dtype == np.int64:
            raise TypeError(f"scatter_add does not support {self.dtype}")
        memory, places, value = host(self), _wrapped(slices, self.shape), host(value)
        work.do(lambda: np.add.at(memory, places(), value))

    def scatter_max(self, slices, value):
        _no_host_arrays((value,))
        if self.dtype.type not in (np.int32, np.uint32, np.uint64, np.float32, np.float64):
            raise TypeError(f"scatter_max does not support {self.dtype}")
        memory, places, value = host(self), _wrapped(slices, self.shape), host(value)
        work.do(lambda: np.maximum.at(memory, places(), value))

    def fill(self, value):
        if isinstance(value, np.ndarray) and value.ndim:
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        if not self._host.flags.writeable:
            raise ValueError("assignment destination is read-only")
        memory, value = host(self), host(value)
        work.do(lambda: memory.fill(value))


def _scatter(memory, numbers, values):
    """Of a place that is written twice CuPy may keep any value; here it is the first."""
    flat = np.array(memory, order="C").reshape(-1)
    flat[numbers.reshape(-1)[::-1]] = np.broadcast_to(values, numbers.shape).reshape(-1)[::-1]
    memory[...] = flat.reshape(memory.shape)


def _no_host_arrays(values):
    """What CuPy's scalars do not take."""
    for value in values:
        if not isinstance(value, ndarray | SCALARS):
            raise TypeError(f"Unsupported type {type(value)}")


def _wrapped(index, shape):
    """A function that gives an index for NumPy, as a tuple: integer arrays taken modulo the extent of their axis.

    It is a function because the integers may not be known yet. Of a mask the number of places must be: that waits.
    """
    parts = []
    for part in index if isinstance(index, tuple) else (index,):
        if isinstance(part, list | ndarray | np.ndarray | bool | np.bool_):
            if isinstance(part, list | np.ndarray):
                refuse_while_capturing("an index that is copied to the device")
            array = np.asarray(host(part))
            part = array.astype(np.int32) if isinstance(part, list) and not array.size else array
            if part.dtype.kind not in "biu":
                raise IndexError(f"arrays used as indices must be of integer or boolean type. (actual: {part.dtype})")
            if part.dtype == bool:
                _wait_to_read(work.get_current_stream())
        elif not (part is None or part is ... or isinstance(part, slice | int | np.integer)):
            raise IndexError(f"only integers, slices, ellipsis, None and arrays are valid indices, not {part!r}")
        parts.append(part)
    masks = [isinstance(p, np.ndarray) and p.dtype == bool for p in parts]
    used = [p.ndim if mask else 0 if p is None or p is ... else 1 for p, mask in zip(parts, masks, strict=True)]
    if sum(used) > len(shape):
        raise IndexError(f"too many indices for array: array is {len(shape)}-dimensional")
    if sum(masks) > 1:
        raise NotImplementedError("CuPy takes one boolean array in an index")
    axis, extents = 0, []
    for part, axes in zip(parts, used, strict=True):
        if part is ...:
            axis += len(shape) - sum(used)
        integers = isinstance(part, np.ndarray) and part.dtype != bool
        if integers and part.size and not shape[axis]:
            raise IndexError("cannot do a non-empty take from an empty axes.")
        extents.append(max(shape[axis], 1) if integers else None)
        axis += axes
    return lambda: tuple(p if n is None else p % n for p, n in zip(parts, extents, strict=True))


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
