"""cupy.cuda of the stand-in: devices, streams, events, memory pools, modules of CUDA C."""

import threading
import time
import types

import numpy as np

_ERRORS = {
    2: "cudaErrorMemoryAllocation: out of memory",
    35: "cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime version",
    700: "cudaErrorIllegalAddress: an illegal memory access was encountered",
}
_state = types.SimpleNamespace(devices=1, fault=None)
_local = threading.local()


class CUDARuntimeError(RuntimeError):
    def __init__(self, status):
        self.status = status
        super().__init__(_ERRORS[status])


def require_device():
    """What every call that needs the driver does first."""
    if not _state.devices:
        raise CUDARuntimeError(35)


def wait():
    """What every call that waits for the device does: an error of work that was started before shows here."""
    require_device()
    if _state.fault is not None:
        raise CUDARuntimeError(_state.fault)


def fault(status):
    """Let work that was started fail: it stays so until recover(), as a CUDA context is lost after such an error."""
    _state.fault = status


def recover():
    """Forget the fault."""
    _state.fault = None


# ---- memory --------------------------------------------------------------------------------------------------------


class MemoryPool:
    """Counts what arrays hold. What they give back stays with the pool until free_all_blocks()."""

    def __init__(self):
        self._used = self._total = self._limit = 0

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


class Memory:
    """A block of the pool, which lives as long as an array refers to it."""

    def __init__(self, size):
        self.size, self.device = -(-size // 512) * 512, current_device()
        pool._take(self.size)

    def __del__(self):
        pool._used -= getattr(self, "size", 0)


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
    """Work in order. Here it is done at once; what is recorded are the calls."""

    null = None

    def __init__(self, null=False, non_blocking=False, ptds=False, priority=None):
        if not null:
            require_device()
        self.ptr = 0 if null else id(self)
        self.is_non_blocking, self.waited_for = non_blocking, []

    @property
    def done(self):
        wait()
        return True

    def synchronize(self):
        wait()

    def is_capturing(self):
        return False

    def record(self, event=None):
        event = event or Event()
        event.record(self)
        return event

    def wait_event(self, event):
        require_device()
        self.waited_for.append(event)

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


class Event:
    """A moment on a stream."""

    def __init__(self, block=False, disable_timing=False, interprocess=False):
        require_device()
        self._timed, self._at = not disable_timing, None

    @property
    def done(self):
        wait()
        return True

    def record(self, stream=None):
        require_device()
        self._at = time.perf_counter()

    def synchronize(self):
        wait()


def get_elapsed_time(start, end):
    wait()
    if start._at is None or end._at is None or not (start._timed and end._timed):
        raise CUDARuntimeError(700)
    return (end._at - start._at) * 1e3


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
            if not isinstance(arg, ndarray | int | float | complex | np.generic):
                raise TypeError(f"Unsupported type {type(arg)}")
        if shared_mem > self.max_dynamic_shared_size_bytes:
            raise CUDADriverError("CUDA_ERROR_INVALID_VALUE: invalid argument")
        self._emulated(grid, block, tuple(a._host if isinstance(a, ndarray) else a for a in args), shared_mem)


class CUDADriverError(RuntimeError):
    pass


def module(devices, driver):
    """cupy.cuda, of a machine with so many devices and a driver for a version of CUDA (0: none)."""
    _state.devices, _state.fault = devices, None
    cuda = types.ModuleType("cupy.cuda")
    for part in (Device, Event, MemoryPool, MemoryPointer, PinnedMemoryPool, Stream, alloc_pinned_memory,
                 get_current_stream, get_elapsed_time):  # fmt: skip
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
