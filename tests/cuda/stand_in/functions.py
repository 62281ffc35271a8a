"""The functions, ufuncs and methods of the stand-in: NumPy's, behind the parameters and loops that CuPy has."""

import inspect
import types
from pathlib import Path

import numpy as np

from . import pools, runtime, work
from .arrays import SCALARS, _no_host_arrays, host, ndarray, refuse_while_capturing, result, wrap, write

_TAKES_HOST_ARRAYS = {
    "array", "asarray", "asanyarray", "asnumpy", "shape", "ndim", "size", "result_type", "can_cast", "iscomplexobj",
    "isrealobj", "isscalar", "copyto", "full", "full_like", "take",
}  # fmt: skip
_WAITING = {"nonzero", "flatnonzero", "argwhere", "unique", "bincount", "extract", "compress"}  # for sizes
_WAITING |= {"sort", "argsort", "partition", "argpartition", "lexsort"}  # within Thrust
_CUBLAS = {"dot", "vdot", "inner", "tensordot", "einsum"}
_KEEP_ORDER = {"zeros_like", "ones_like", "full_like", "copy", "astype"}


def names(kind):
    """{name: the rest of its line} of names.txt."""
    lines = (Path(__file__).parent / "names.txt").read_text().splitlines()
    parts = [line.split(" ", 2) for line in lines if line.startswith(f"{kind} ")]
    return {part[1]: part[2] if len(part) > 2 else "" for part in parts}


def _signature(text):
    """The inspect.Signature of "(a, axis=None)"."""
    scope = {}
    exec(f"def f{text}: pass", scope)
    return inspect.signature(scope["f"])


def _without_warnings(function, *args, **kwargs):
    with np.errstate(all="ignore"):  # a GPU divides by zero in silence
        return function(*args, **kwargs)


def _check_stream(name):
    """What CuPy does to the current stream, or refuses, before a function of this name begins."""
    if name in _WAITING:
        work.wait(work.get_current_stream())
    if name in _CUBLAS and work.get_current_stream().is_capturing():
        raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")


# ---- ufuncs --------------------------------------------------------------------------------------------------------


class ufunc:
    """A ufunc with CuPy's loops: the first that all operands can be cast to safely."""

    def __init__(self, name, nin, loops):
        self.name, self.__name__, self.nin = f"cupy_{name}", name, nin
        self._numpy = getattr(np, name)
        self._loops = [loop.split("->") for loop in loops if "V" not in loop]
        self.nout = len(self._loops[0][1])
        self.types = list(loops)

    def __call__(self, *args, out=None, dtype=None, casting="same_kind", **others):
        if others:
            raise TypeError(f"Wrong arguments {others}")
        if not self.nin <= len(args) <= self.nin + self.nout:
            raise TypeError(f"Wrong number of arguments for {self.name!r}")
        out = args[self.nin] if len(args) > self.nin else out
        args = args[: self.nin]
        _no_host_arrays(args)
        if out is not None and not isinstance(out, ndarray):
            raise TypeError("Output arguments must be cupy.ndarray")
        inputs = [a if type(a) in (bool, int, float, complex) else host(a).dtype for a in args]
        loop_in, loop_out = self._loop(inputs, dtype)
        args = [host(a) for a in args]

        def compute():
            operands = [np.asarray(a, loop) for a, loop in zip(args, loop_in, strict=True)]
            values = _without_warnings(self._numpy, *operands)
            values = [
                np.asarray(v).astype(t) for v, t in zip(values if self.nout > 1 else [values], loop_out, strict=True)
            ]
            return tuple(values) if self.nout > 1 else values[0]

        if out is None or self.nout > 1:
            return result(compute)
        if not np.can_cast(loop_out[0], out.dtype, casting):
            raise TypeError(f"output (typecode {loop_out[0]}) could not be coerced to {out.dtype}")
        if np.broadcast_shapes(out.shape, *map(np.shape, args)) != out.shape:
            raise ValueError(f"operands do not broadcast to the output's shape {out.shape}")
        write(out, ..., compute)
        return out

    def _loop(self, inputs, dtype):
        if dtype is not None:
            for loop in self._loops:
                if loop[1] == np.dtype(dtype).char * self.nout:
                    return loop
        arrays = [t for t in inputs if isinstance(t, np.dtype)]
        # A Python number takes the arrays' dtype, or the least that holds its kind.
        kinds = [t if isinstance(t, np.dtype) else np.result_type(*arrays, t) for t in inputs]
        for loop in self._loops:
            if all(np.can_cast(kind, char) for kind, char in zip(kinds, loop[0], strict=True)):
                return loop
        raise TypeError(f"Wrong type ({', '.join(map(str, kinds))}) of arguments for {self.name}")

    def at(self, a, indices, b=None):
        method = {"add": "scatter_add", "maximum": "scatter_max"}.get(self.__name__)
        if method is None:
            raise NotImplementedError(f"`{self.name}.at` is not supported yet")
        getattr(a, method)(indices, b)

    def outer(self, a, b, **kwargs):
        return self(a.reshape(a.shape + (1,) * b.ndim), b, **kwargs)

    def reduce(self, array, axis=0, dtype=None, out=None, keepdims=False):
        if self.__name__ not in ("add", "multiply"):
            raise NotImplementedError(f"`{self.name}.reduce` is not supported yet")
        return (array.sum if self.__name__ == "add" else array.prod)(axis, dtype, out, keepdims)

    def accumulate(self, array, axis=0, dtype=None, out=None):
        if self.__name__ not in ("add", "multiply"):
            raise NotImplementedError(f"`{self.name}.accumulate` is not supported yet")
        return (array.cumsum if self.__name__ == "add" else array.cumprod)(axis, dtype, out)

    def reduceat(self, array, indices, axis=0, dtype=None, out=None):
        if self.__name__ != "add" or out is not None:
            raise NotImplementedError(f"`{self.name}.reduceat` is not supported yet")
        memory, starts = host(array), host(indices)

        def compute():  # as CuPy does it: differences of running sums
            sums = np.concatenate([np.zeros_like(memory.take([0], axis)), np.cumsum(memory, axis, dtype)], axis)
            return sums.take(np.append(starts[1:], memory.shape[axis]), axis) - sums.take(starts, axis)

        return result(compute)


# ---- functions and methods -----------------------------------------------------------------------------------------


def _check_kind(arguments):
    if arguments.get("kind") not in (None, "stable"):
        raise ValueError(f"kind can only be None or 'stable', not {arguments['kind']!r}")


def _check_elements(name, array):
    """CuPy has no extremum of an array without elements, even where each of those asked for would have some."""
    if (
        name in ("max", "min", "amax", "amin", "argmax", "argmin", "ptp")
        and isinstance(array, ndarray)
        and not array.size
    ):
        raise ValueError(f"zero-size array to reduction operation cupy_{name} which has no identity")


def _function(name, text):
    signature = _signature(text)

    def call(*args, **kwargs):
        arguments = signature.bind(*args, **kwargs).arguments
        work.require_device()
        _check_elements(name, args[0] if args else None)
        if name not in _TAKES_HOST_ARRAYS:
            _no_host_arrays_in(args)
            _no_host_arrays_in(kwargs.values())
        if name in ("sort", "argsort"):
            _check_kind(arguments)
            kwargs["kind"] = "stable"
        _check_stream(name)
        function, out = getattr(np, name), arguments.pop("out", None)
        if out is not None:
            arguments = {k: host(v) for k, v in arguments.items()}
            write(out, ..., lambda: _without_warnings(function, **arguments))
            return out
        hosts, options = [host(a) for a in args], {k: host(v) for k, v in kwargs.items() if k != "out"}
        keep_order = name in _KEEP_ORDER
        return result(
            lambda: _without_warnings(function, *hosts, **options), *args, *kwargs.values(), keep_order=keep_order
        )

    call.__name__ = call.__qualname__ = name
    return call


def _no_host_arrays_in(values):
    for value in values:
        if isinstance(value, tuple | list):
            _no_host_arrays_in(value)
        elif isinstance(value, np.ndarray):
            raise TypeError(f"Unsupported type {type(value)}")


def _method(name, text):
    signature = _signature(text)

    def call(self, *args, **kwargs):
        arguments = signature.bind(*args, **kwargs).arguments
        work.require_device()
        _check_elements(name, self)
        _no_host_arrays_in(args)
        _no_host_arrays_in(kwargs.values())
        if name in ("sort", "argsort"):
            _check_kind(arguments)
            arguments["kind"] = "stable"
        if name in ("copy", "flatten"):
            arguments.setdefault("order", "C")
        out = arguments.pop("out", None)
        positional = arguments.pop("shape", None) or arguments.pop("axes", ())
        arguments = {k: host(v) for k, v in arguments.items() if v is not None or k != "dtype"}
        if name in ("argmax", "argmin"):
            arguments.pop("dtype", None)
        if name in ("astype", "view", "searchsorted", "clip"):
            positional, arguments = [*positional, *arguments.values()][:1 if name != "clip" else 2], {
                k: v for k, v in arguments.items() if k in ("order", "copy", "casting", "side")
            } if name != "view" else {}  # fmt: skip
        _check_stream(name)
        memory, positional = host(self), [host(p) for p in positional]
        if name == "view" and not positional:
            return result(lambda: memory[...], self)
        method = getattr(memory, name)
        if out is not None:
            write(out, ..., lambda: _without_warnings(method, *positional, **arguments))
            return out
        if name == "astype" and _without_warnings(method, *positional, **arguments) is memory:
            return self
        return result(lambda: _without_warnings(method, *positional, **arguments), self, keep_order=name in _KEEP_ORDER)

    call.__name__ = call.__qualname__ = name
    return call


# ---- what is not NumPy's under another name ------------------------------------------------------------------------


def _empty(shape, dtype=float, order="C"):
    return ndarray(shape, dtype, order=order)


def _empty_like(prototype, dtype=None, order="K", subok=None, shape=None):
    like = np.empty_like(prototype._host, dtype, order, False, shape)
    pools.spoil(like)
    return result(lambda: like.copy("K"), keep_order=True)


def _array(obj, dtype=None, copy=True, order="K", subok=False, ndmin=0, *, blocking=False):
    work.require_device()
    if subok:
        raise NotImplementedError("CuPy has no subclasses: array(subok=True)")
    if isinstance(obj, ndarray) and not copy and (dtype is None or obj.dtype == dtype) and order in (None, "K"):
        return obj
    if isinstance(obj, np.ndarray) and order in (None, "K"):
        order = "F" if obj.flags.f_contiguous and not obj.flags.c_contiguous else "C"  # of the host's layouts these two
    source = host(obj)
    if not isinstance(obj, ndarray):
        refuse_while_capturing("a copy to the device")
        source = np.array(source)  # CuPy has read the host's memory when it returns
    return result(lambda: np.array(source, dtype, order=order or "K", ndmin=ndmin), keep_order=True)


def _asarray(a, dtype=None, order=None, *, copy=None, blocking=False):
    return _array(a, dtype, bool(copy), order)


def _asnumpy(a, stream=None, order="C", out=None, *, blocking=True):
    return a.get(stream, order, out) if isinstance(a, ndarray) else np.asarray(a, order=order)


def _copyto(dst, src, casting="same_kind", where=None):
    if isinstance(src, np.ndarray) and src.ndim:
        raise ValueError("non-scalar numpy.ndarray cannot be used for copyto")
    if not isinstance(dst, ndarray) or not isinstance(src, ndarray | SCALARS | np.ndarray):
        raise TypeError("dst must be a cupy.ndarray")
    memory, src, where = host(dst), host(src), True if where is None else host(where)
    work.do(lambda: np.copyto(memory, src, casting, where))


def _take_along_axis(a, indices, axis):
    _no_host_arrays((a, indices))
    memory, indices = host(a), host(indices)
    return result(lambda: np.take_along_axis(memory, indices % max(a.shape[axis], 1), axis))


def _put_along_axis(arr, indices, values, axis):
    _no_host_arrays((arr, indices, values))
    memory, indices, values = host(arr), host(indices), host(values)
    extent = max(arr.shape[axis], 1)
    work.do(lambda: np.put_along_axis(memory, indices % extent, values, axis))


def _diagonal(a, offset=0, axis1=0, axis2=1):
    y = result(lambda: np.diagonal(host(a), offset, axis1, axis2), a)
    y._host.flags.writeable = True
    return y


def _may_share_memory(a, b, max_work=None):
    return isinstance(a, ndarray) and isinstance(b, ndarray) and np.may_share_memory(a._host, b._host)


def _matmul(a, b, out=None, **kwargs):
    if set(kwargs) - {"axes", "axis", "keepdims", "casting", "dtype", "signature", "order"}:
        raise TypeError(f"Wrong arguments {kwargs}")
    for x in (a, b):
        if not isinstance(x, ndarray):
            raise TypeError(f"Unsupported type {type(x)}")
    if a.dtype.kind in "fc":  # integers have a kernel of CuPy's own
        _check_stream("dot")
    a, b = host(a), host(b)
    if out is None:
        return result(lambda: np.asarray(_without_warnings(np.matmul, a, b)))
    write(out, ..., lambda: _without_warnings(np.matmul, a, b))
    return out


def _get_array_module(*args):
    import sys

    return sys.modules["cupy"] if any(isinstance(a, ndarray) for a in args) else np


def _where(condition, x=None, y=None):
    if (x is None) != (y is None):
        raise ValueError("Must provide both 'x' and 'y' or neither.")
    _no_host_arrays([v for v in (condition, x, y) if v is not None])
    if x is None:
        return condition.nonzero()
    condition, x, y = host(condition), host(x), host(y)
    return result(lambda: np.where(condition, x, y))


def _as_strided(x, shape=None, strides=None):
    """cupy.lib.stride_tricks.as_strided, which has no `writeable` and no `subok`."""
    strided = np.lib.stride_tricks.as_strided(host(x), shape, strides)  # whose base is no array, so `result` would copy
    return wrap(strided, x if x.base is None else x.base, x._memory)


_OWN = {
    "empty": _empty, "empty_like": _empty_like, "array": _array, "asarray": _asarray, "asanyarray": _asarray,
    "asnumpy": _asnumpy, "copyto": _copyto, "take_along_axis": _take_along_axis, "put_along_axis": _put_along_axis,
    "diagonal": _diagonal, "may_share_memory": _may_share_memory, "shares_memory": _may_share_memory,
    "matmul": _matmul, "get_array_module": _get_array_module, "where": _where,
    "take": lambda a, indices, axis=None, out=None: a.take(indices, axis, out),
    "is_available": lambda: work.state.devices > 0,
    "get_default_memory_pool": lambda: pools.pool,
    "get_default_pinned_memory_pool": lambda: pools.pinned_pool,
}  # fmt: skip


def module():
    """The module cupy, without its part cuda."""
    cupy = types.ModuleType("cupy")
    cupy.__version__ = "14.2.0"
    for name in names("numpy"):
        setattr(cupy, name, getattr(np, name))
    for name, rest in names("ufunc").items():
        nin, *loops = rest.split()
        if isinstance(getattr(np, name, None), np.ufunc):
            setattr(cupy, name, ufunc(name, int(nin), loops))
    for name, text in names("function").items():
        if name in _OWN or hasattr(np, name):
            setattr(cupy, name, _OWN.get(name) or _function(name, text))
    for name, text in names("method").items():
        if not hasattr(ndarray, name) and hasattr(np.ndarray, name):
            setattr(ndarray, name, _method(name, text))
    cupy.ndarray, cupy.ufunc, cupy.RawModule, cupy.RawKernel = ndarray, ufunc, runtime.RawModule, runtime.RawKernel
    cupy.lib = types.SimpleNamespace(stride_tricks=types.SimpleNamespace(as_strided=_as_strided))
    cupy.newaxis = None
    return cupy
