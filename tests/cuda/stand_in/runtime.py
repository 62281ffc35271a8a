"""cupy.cuda of the stand-in: devices, streams, events, graphs, memory pools, modules of CUDA C.

Work is handed to do(). It is done at once; or as late as a GPU may do it, in the block of deferring(), so that a wait
that was forgotten shows in the numbers; or, while its stream is being captured, at every launch of the graph.
"""

import threading
import time
import types
import weakref
from collections import deque
from contextlib import contextmanager

import numpy as np

_ERRORS = {
    2: "cudaErrorMemoryAllocation: out of memory",
    35: "cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime version",
    700: "cudaErrorIllegalAddress: an illegal memory access was encountered",
    900: "cudaErrorStreamCaptureUnsupported: operation not permitted when stream is capturing",
    901: "cudaErrorStreamCaptureInvalidated: operation failed due to a previous error during capture",
}
_state = types.SimpleNamespace(devices=1, fault=None, deferring=False, streams=[], held=[])
_local = threading.local()
_running = threading.RLock()  # held by the thread that does deferred work: any may come to wait for it


class CUDARuntimeError(RuntimeError):
    def __init__(self, status):
        self.status = status
        super().__init__(_ERRORS[status])


def require_device():
    """What every call that needs the driver does first."""
    if not _state.devices:
        raise CUDARuntimeError(35)


def wait(*streams):
    """What every call that waits does, by default for all streams: an error of work that was started shows here."""
    require_device()
    for stream in streams or _state.streams:
        stream._refuse_if_capturing()
        stream._run()
    if _state.fault is not None:
        raise CUDARuntimeError(_state.fault)


def do(action):
    """Hand work to the current stream."""
    _streams()[-1]._take(action)


def at_once():
    """Whether work that is handed to the current stream is done before do() returns."""
    return not _state.deferring and _streams()[-1]._captured is None


@contextmanager
def deferring():
    """Within the block all streams, also the default one, leave their work until something waits for it.

    What an array held is overwritten with garbage when its memory is free again, in the order of the stream on which it
    was taken: a pool may give it to the next one who asks there.
    """
    _state.deferring = True
    try:
        yield
        wait()
    finally:
        _state.deferring = False
        _state.held.clear()
        for stream in _state.streams:
            stream._queue.clear()


def fault(status):
    """Let work that was started fail: it stays so until recover(), as a CUDA context is lost after such an error."""
    _state.fault = status


def recover():
    """Forget the fault."""
    _state.fault = None


# ---- memory --------------------------------------------------------------------------------------------------------


class MemoryPool:
    """Counts what arrays hold. What they give back stays with the pool until free_all_blocks()."""

    def __init__(self, allocator=None):
        self._used = self._total = self._limit = 0

    def malloc(self, size):
        """What using_allocator() takes. The stand-in's arrays then ask the pool themselves."""
        raise NotImplementedError

    def _take(self, size):
        self._used += size
        if self._limit and self._used > self._limit:
            self._used -= size
            raise OutOfMemoryError(f"Out of memory allocating {size:,} bytes (allocated so far: {self._used:,} bytes)")
        self._total = max(self._total, self._used)

    def used_bytes(self):
        require_device()
        return self._used

    def total_bytes(self):
        require_device()
        return self._total

    def free_bytes(self):
        require_device()
        return self._total - self._used

    def free_all_blocks(self, stream=None):
        self._total = self._used

    def get_limit(self):
        return self._limit

    def set_limit(self, size=None, fraction=None):
        self._limit = size


class OutOfMemoryError(MemoryError):
    pass


pool = MemoryPool()


@contextmanager
def using_allocator(allocator=None):
    """Arrays that this thread makes in the block have memory of another pool; allocator is its `malloc`."""
    before, _local.pool = _pool(), allocator.__self__
    try:
        yield
    finally:
        _local.pool = before


def _pool():
    return getattr(_local, "pool", pool)


class Memory:
    """A block of the current pool for an array, which lives as long as an array refers to it."""

    def __init__(self, array):
        self.size, self.device = -(-array.nbytes // 512) * 512, current_device()
        self._array, self._stream, self._pool = (
            array,
            _streams()[-1],
            weakref.ref(_pool()),
        )  # as CuPy: no more than that
        _pool()._take(self.size)
        touch(self)

    def __del__(self):
        if owner := self._pool():
            owner._used -= self.size
        if _state.deferring:
            array = self._array
            self._stream._queue.append(lambda: spoil(array))


def touch(memory):
    """Note that work which the current stream is handed uses this memory: a graph of it will, at every launch."""
    captured = _streams()[-1]._captured
    if captured is not None:
        captured.memory[id(memory)] = weakref.ref(memory), memory._pool


def hold(array):
    """Keep an array that work may find by its address alone until the work is done: that of a graph, with the graph."""
    captured = _streams()[-1]._captured
    if captured is not None:
        captured.work.append(lambda: array)
    elif _state.deferring:
        _state.held.append(array)


def spoil(array):
    """Put in an array what fresh memory holds, at its worst: NaN, or large numbers."""
    kind = array.dtype.kind
    array[...] = np.nan if kind in "fc" else True if kind == "b" else np.iinfo(array.dtype).max // 3


class MemoryPointer:
    def __init__(self, mem, ptr):
        self.mem, self.ptr = mem, ptr


class PinnedMemoryPointer(bytearray):
    """Host memory that a copy can read while the host goes on."""

    def size(self):
        return len(self)


class PinnedMemoryPool:
    def free_all_blocks(self):
        pass

    def n_free_blocks(self):
        return 0


pinned_pool = PinnedMemoryPool()


def alloc_pinned_memory(size):
    require_device()
    return PinnedMemoryPointer(-(-size // 512) * 512)


# ---- streams -------------------------------------------------------------------------------------------------------


class Stream:
    """Work in order."""

    null = None

    def __init__(self, null=False, non_blocking=False, ptds=False, priority=None):
        if not null:
            require_device()
        self.ptr = 0 if null else id(self)
        self.is_non_blocking, self.waited_for = non_blocking, []
        self._queue, self._captured = deque(), None  # what is left to do; the Graph that it goes to instead
        _state.streams.append(self)

    def _take(self, action):
        if self._captured is not None:
            self._captured.work.append(action)
        elif _state.deferring:
            self._queue.append(action)
        else:
            action()

    def _run(self, until=lambda: False):
        with _running:
            while self._queue and not until():
                self._queue.popleft()()

    def _refuse_if_capturing(self):
        """What cannot be recorded fails, and the capture with it."""
        if self._captured is not None:
            self._captured.valid = False
            raise CUDARuntimeError(900)

    @property
    def done(self):
        require_device()
        self._refuse_if_capturing()
        if _state.fault is not None:
            raise CUDARuntimeError(_state.fault)
        return not self._queue

    def synchronize(self):
        wait(self)

    def begin_capture(self, mode=None):
        if not self.ptr:
            raise RuntimeError("cannot capture on the default (legacy) stream")
        self._refuse_if_capturing()
        self._captured = Graph._of()

    def end_capture(self):
        if self._captured is None:
            raise CUDARuntimeError(900)
        graph, self._captured = self._captured, None
        if not graph.valid:
            raise CUDARuntimeError(901)
        return graph

    def is_capturing(self):
        return self._captured is not None

    def record(self, event=None):
        event = event or Event()
        event.record(self)
        return event

    def wait_event(self, event):
        require_device()
        self.waited_for.append(event)
        moment = event._moment
        if moment is not None:
            self._take(moment.reach)

    def use(self):
        _streams()[-1] = self
        return self

    def __enter__(self):
        _streams().append(self)
        return self

    def __exit__(self, *exception):
        _streams().pop()


Stream.null = Stream(null=True)


def _streams():
    if not hasattr(_local, "streams"):
        _local.streams = [Stream.null]
    return _local.streams


def get_current_stream(device_id=-1):
    require_device()
    return _streams()[-1]


class _Moment:
    """A place in the work of a stream."""

    def __init__(self, stream):
        self.stream, self.at = stream, None
        stream._take(self._pass)

    def _pass(self):
        self.at = time.perf_counter()

    def reach(self):
        """Let the stream work until it is here."""
        self.stream._run(lambda: self.at is not None)


class Event:
    """A moment on a stream: the one that was recorded last."""

    def __init__(self, block=False, disable_timing=False, interprocess=False):
        require_device()
        self._timed, self._moment = not disable_timing, None

    @property
    def done(self):
        self._check()
        return self._moment is None or self._moment.at is not None

    def record(self, stream=None):
        require_device()
        self._moment = _Moment(stream or _streams()[-1])

    def synchronize(self):
        self._check()
        if self._moment is not None:
            self._moment.reach()

    def _check(self):
        require_device()
        if self._moment is not None:
            self._moment.stream._refuse_if_capturing()
        if _state.fault is not None:
            raise CUDARuntimeError(_state.fault)


def get_elapsed_time(start, end):
    times = [event._moment and event._moment.at for event in (start, end)]
    if None in times or not (start._timed and end._timed) or _state.fault is not None:
        raise CUDARuntimeError(_state.fault or 700)
    return (times[1] - times[0]) * 1e3


class Graph:
    """What a stream was handed while it was captured."""

    @classmethod
    def _of(cls):
        self = cls.__new__(cls)
        self.work, self.memory, self.valid = [], {}, True
        return self

    def __init__(self, *args, **kwargs):
        raise NotImplementedError("currently this class cannot be initiated by the user")

    def launch(self, stream=None):
        """Hand the work to a stream again.

        A GPU would read and write the same addresses whosever they are by now; that is an error here.
        """
        require_device()
        for memory, owner in self.memory.values():
            if memory() is None and owner() in (None, pool):
                raise RuntimeError("the stand-in: this graph uses memory that was given back and may be another's")
        for action in self.work:
            (stream or _streams()[-1])._take(action)


# ---- devices -------------------------------------------------------------------------------------------------------


def _devices():
    if not hasattr(_local, "devices"):
        _local.devices = [0]
    return _local.devices


def current_device():
    require_device()
    return _devices()[-1]


class Device:
    def __init__(self, device=None):
        self.id = current_device() if device is None else int(device)

    def synchronize(self):
        wait()

    def use(self):
        require_device()
        _devices()[-1] = self.id
        return self

    @property
    def compute_capability(self):
        require_device()
        return "90"

    @property
    def mem_info(self):
        require_device()
        return 80 * 2**30 - pool._total, 80 * 2**30

    def __enter__(self):
        require_device()
        _devices().append(self.id)
        return self

    def __exit__(self, *exception):
        _devices().pop()

    def __int__(self):
        return self.id

    def __eq__(self, other):
        return isinstance(other, Device) and other.id == self.id

    def __repr__(self):
        return f"<CUDA Device {self.id}>"


def _count():
    require_device()
    return _state.devices


def _properties(device):
    require_device()
    return {
        "name": b"Stand-in", "major": 9, "minor": 0, "multiProcessorCount": 132, "warpSize": 32,
        "maxThreadsPerBlock": 1024, "maxThreadsPerMultiProcessor": 2048, "sharedMemPerBlock": 49152,
        "sharedMemPerBlockOptin": 232448, "sharedMemPerMultiprocessor": 233472, "regsPerBlock": 65536,
        "maxGridSize": (2**31 - 1, 65535, 65535), "maxThreadsDim": (1024, 1024, 64), "totalGlobalMem": 80 * 2**30,
        "clockRate": 1_980_000, "memoryClockRate": 2_619_000, "memoryBusWidth": 5120, "l2CacheSize": 50 * 2**20,
    }  # fmt: skip


# ---- CUDA C --------------------------------------------------------------------------------------------------------


class RawModule:
    """CUDA C, compiled when the first function is asked for."""

    def __init__(self, code=None, *, path=None, options=(), backend="nvrtc", translate_cucomplex=False,
                 enable_cooperative_groups=False, name_expressions=None, jitify=None):  # fmt: skip
        if not isinstance(options, tuple) or path is not None or backend != "nvrtc":
            raise TypeError("the stand-in takes code, options as a tuple, and nvrtc")
        self.code, self.options, self.name_expressions = code, options, name_expressions

    def get_function(self, name):
        from emulator import RawModule as Emulated

        require_device()
        if not hasattr(self, "_module"):
            self._module = Emulated(self.code, self.options, self.name_expressions)
        return RawKernel._of(self._module.get_function(name), name)


class RawKernel:
    """A function of a module: call it with a grid, a block and the arguments, device arrays and numbers."""

    @classmethod
    def _of(cls, emulated, name):
        self = cls.__new__(cls)
        self._emulated, self.name, self.max_dynamic_shared_size_bytes = emulated, name, 49152
        return self

    def __call__(self, grid, block, args, *, shared_mem=0, stream=None, enable_cooperative_groups=False):
        from .arrays import ndarray

        require_device()
        args = [np.uint64(0) if a is None else a for a in args]  # a null pointer
        for arg in args:
            if isinstance(arg, ndarray):
                touch(arg._memory)
            elif not isinstance(arg, int | float | complex | np.generic):
                raise TypeError(f"Unsupported type {type(arg)}")
        if shared_mem > self.max_dynamic_shared_size_bytes:
            raise CUDADriverError("CUDA_ERROR_INVALID_VALUE: invalid argument")
        values = tuple(a._host if isinstance(a, ndarray) else a for a in args)
        do(lambda: self._emulated(grid, block, values, shared_mem))


class CUDADriverError(RuntimeError):
    pass


def module(devices, driver):
    """cupy.cuda, of a machine with so many devices and a driver for a version of CUDA (0: none)."""
    _state.devices, _state.fault, _state.streams = devices, None, [Stream.null]
    cuda = types.ModuleType("cupy.cuda")
    for part in (Device, Event, Graph, MemoryPool, MemoryPointer, PinnedMemoryPool, Stream, alloc_pinned_memory,
                 get_current_stream, get_elapsed_time, using_allocator):  # fmt: skip
        setattr(cuda, part.__name__, part)
    cuda.is_available = lambda: _state.devices > 0
    cuda.get_device_id = current_device
    cuda.memory = types.SimpleNamespace(OutOfMemoryError=OutOfMemoryError)
    cuda.driver = types.SimpleNamespace(CUDADriverError=CUDADriverError)
    cuda.runtime = types.ModuleType("cupy.cuda.runtime")
    cuda.runtime.CUDARuntimeError = CUDARuntimeError
    cuda.runtime.getDeviceCount, cuda.runtime.getDeviceProperties = _count, _properties
    cuda.runtime.getDevice = cuda.get_device_id
    cuda.runtime.deviceSynchronize = wait
    cuda.runtime.memGetInfo = lambda: Device(0).mem_info
    cuda.runtime.driverGetVersion = lambda: driver
    cuda.runtime.runtimeGetVersion = lambda: 13000
    return cuda
