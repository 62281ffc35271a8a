"""cupy.cuda of the stand-in: devices, modules of CUDA C; and what work.py and pools.py have of it."""

import types

import numpy as np

from . import pools, work


class Device:
    def __init__(self, device=None):
        self.id = work.current_device() if device is None else int(device)

    def synchronize(self):
        work.wait()

    def use(self):
        work.require_device()
        work.devices()[-1] = self.id
        return self

    @property
    def compute_capability(self):
        work.require_device()
        return "90"

    @property
    def mem_info(self):
        work.require_device()
        return 80 * 2**30 - pools.pool._total, 80 * 2**30

    def __enter__(self):
        work.require_device()
        work.devices().append(self.id)
        return self

    def __exit__(self, *exception):
        work.devices().pop()

    def __int__(self):
        return self.id

    def __eq__(self, other):
        return isinstance(other, Device) and other.id == self.id

    def __repr__(self):
        return f"<CUDA Device {self.id}>"


def _count():
    work.require_device()
    return work.state.devices


def _properties(device):
    work.require_device()
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

        work.require_device()
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

        work.require_device()
        args = [np.uint64(0) if a is None else a for a in args]  # a null pointer
        for arg in args:
            if isinstance(arg, ndarray):
                pools.touch(arg._memory)
            elif not isinstance(arg, int | float | complex | np.generic):
                raise TypeError(f"Unsupported type {type(arg)}")
        if shared_mem > self.max_dynamic_shared_size_bytes:
            raise CUDADriverError("CUDA_ERROR_INVALID_VALUE: invalid argument")
        values = tuple(a._host if isinstance(a, ndarray) else a for a in args)
        work.do(lambda: self._emulated(grid, block, values, shared_mem))


class CUDADriverError(RuntimeError):
    pass


def module(devices, driver):
    """cupy.cuda, of a machine with so many devices and a driver for a version of CUDA (0: none)."""
    work.state.devices, work.state.fault, work.state.streams = devices, None, [work.Stream.null]
    cuda = types.ModuleType("cupy.cuda")
    cuda.Device = Device
    parts = {
        work: ("Event", "Graph", "Stream", "get_current_stream", "get_elapsed_time"),
        pools: ("MemoryPointer", "MemoryPool", "PinnedMemoryPool", "alloc_pinned_memory", "using_allocator"),
    }
    for part, names in parts.items():
        for name in names:
            setattr(cuda, name, getattr(part, name))
    cuda.is_available = lambda: work.state.devices > 0
    cuda.get_device_id = work.current_device
    cuda.memory = types.SimpleNamespace(OutOfMemoryError=pools.OutOfMemoryError, PooledMemory=pools.PooledMemory)
    cuda.driver = types.SimpleNamespace(CUDADriverError=CUDADriverError)
    cuda.runtime = types.ModuleType("cupy.cuda.runtime")
    cuda.runtime.CUDARuntimeError = work.CUDARuntimeError
    cuda.runtime.getDeviceCount, cuda.runtime.getDeviceProperties = _count, _properties
    cuda.runtime.getDevice = cuda.get_device_id
    cuda.runtime.deviceSynchronize = work.wait
    cuda.runtime.memGetInfo = lambda: Device(0).mem_info
    cuda.runtime.driverGetVersion = lambda: driver
    cuda.runtime.runtimeGetVersion = lambda: 13000
    return cuda
