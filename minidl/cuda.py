"""GPUs: whether there is one, streams and events, graphs, memory; and how arrays get there and back.

    x = dl.tensor([1.0, 2.0]).to("cuda")      # or .cuda(); "cuda:1" is the second GPU
    net.to("cuda")
    y = net(x).cpu().numpy()

A Tensor on a GPU holds a CuPy array. Operations do not know: they call NumPy's functions, which hand a CuPy array to
CuPy (NumPy's protocols __array_ufunc__ and __array_function__; `like=` where an array is made), and our kernels, which
look at the array's type. So there is one code for both.

A GPU works behind the program: a call returns before its work is done. What needs the result waits for it (item(),
cpu(), synchronize()), and an error shows there; the message then names the kernels that were launched last.

CuPy is imported when a GPU is first asked for, never by `import minidl`.
"""

import sys
from contextlib import contextmanager, suppress

import numpy as np

from .kernels import contiguous, full
from .kernels._cuda import held, is_capturing, named_errors, note, refuse_capture
from .kernels._layout import in_memory_order

# ---- arrays --------------------------------------------------------------------------------------------------------


def on_gpu(value):
    """Whether it is an array on a GPU."""
    cupy = sys.modules.get("cupy")  # without it there is none
    return cupy is not None and isinstance(value, cupy.ndarray)


def is_array(value):
    """Whether it is an array of either library, or NumPy's number."""
    return isinstance(value, np.ndarray | np.generic) or on_gpu(value)


def apart(a, b):
    """Whether one of two arrays is on a GPU and the other is not."""
    return type(a) is not type(b) and on_gpu(a) != on_gpu(b)


def writable(array):
    """Whether its elements may be changed. CuPy has no such flag: there an array is not that repeats elements."""
    if isinstance(array, np.ndarray):
        return array.flags.writeable
    return not any(n > 1 and stride == 0 for n, stride in zip(array.shape, array.strides, strict=True))


def may_share_memory(a, b):
    """np.may_share_memory for two arrays of one library; on a GPU arrays of different blocks of the pool share nothing.

    CuPy's own takes microseconds, and a backward pass asks for each weight's gradient a dozen times.
    """
    if isinstance(a, np.ndarray):
        return np.may_share_memory(a, b)
    pooled, one, other = sys.modules["cupy"].cuda.memory.PooledMemory, a.data.mem, b.data.mem
    if one is not other and isinstance(one, pooled) and isinstance(other, pooled):
        return False
    return np.may_share_memory(a, b)


def device_of(array):
    """ "cpu", or "cuda:0"."""
    return f"cuda:{array.device.id}" if on_gpu(array) else "cpu"


def is_device(name):
    """Whether it names a device: "cpu", "cuda" or "cuda:" and a number."""
    if not isinstance(name, str):
        return False
    kind, colon, number = name.partition(":")
    return name == "cpu" or kind == "cuda" and (not colon or number.isdecimal())


def full_name(name):
    """A device with its number: "cuda" is the current GPU.

    Raises:
        RuntimeError: there is no GPU, or none of this number.
    """
    if name == "cpu":
        return name
    count, number = _cupy().cuda.runtime.getDeviceCount(), name.partition(":")[2]
    if not number:
        return f"cuda:{current_device()}"
    if int(number) >= count:
        raise RuntimeError(f"cuda: there is no {name}, this machine has {count} GPU{'s' if count > 1 else ''}")
    return name


def send(array, device):
    """The array on a device: itself where it is there, else a copy with its axes in the same order in memory."""
    device = full_name(device)
    if device == device_of(array):
        return array
    if on_gpu(array):
        refuse_capture(array, f"{device_of(array)} to {device}", "the numbers are not there before a replay")
    if device == "cpu":
        with named_errors():
            return in_memory_order(array, lambda memory: memory.get())
    cupy = _cupy()
    if is_capturing():
        raise RuntimeError(f"cpu to {device} cannot be part of a CUDA graph: send before, copy_() before each replay")
    with cupy.cuda.Device(int(device.partition(":")[2])):
        return in_memory_order(array, lambda memory: cupy.array(contiguous(memory)))


def beside(array, like):
    """A NumPy array where the array `like` is: itself or a copy. An array that is there already is itself.

    Raises:
        RuntimeError: it would be copied to a GPU while a CUDA graph is captured. Only a single number may be.
    """
    if on_gpu(like) and not on_gpu(array):
        if not array.ndim:
            return full((), array.item(), array.dtype, like)
        refuse_capture(like, "an array of the CPU", "a replay would read its memory when it may hold something else")
    return np.asarray(array, like=like)


def to_host(array):
    """The array as NumPy's, after all work on it."""
    return send(array, "cpu")


# ---- devices -------------------------------------------------------------------------------------------------------


def is_available():
    """Whether Tensors can be on a GPU: CuPy is installed, new enough, and finds one."""
    try:
        import cupy
    except ImportError:
        return False
    return _new_enough(cupy) and cupy.is_available()


def _new_enough(cupy):
    return int(cupy.__version__.partition(".")[0]) >= 14  # 13 lacks functions that operations call


def _cupy():
    """CuPy, where there is a GPU.

    Raises:
        RuntimeError: CuPy is not installed or too old, so is the driver, or there is no GPU.
    """
    try:
        import cupy
    except ImportError:
        raise RuntimeError(
            'cuda: CuPy is not installed; the extra "gpu" brings it: pip install "minidl[gpu]"'
        ) from None
    if not _new_enough(cupy):
        raise RuntimeError(f'cuda: CuPy {cupy.__version__} is too old, 14.2 is needed: pip install "minidl[gpu]"')
    if cupy.is_available():
        return cupy
    driver, needed = cupy.cuda.runtime.driverGetVersion(), cupy.cuda.runtime.runtimeGetVersion()
    if not driver:
        raise RuntimeError("cuda: CuPy is installed, but this machine has no NVIDIA driver")
    if driver // 1000 < needed // 1000:
        other = ", or have cupy-cuda12x[ctk] in the place of this CuPy" if driver // 1000 == 12 else ""
        raise RuntimeError(
            f"cuda: the NVIDIA driver is for CUDA {driver // 1000}, the installed CuPy needs one for CUDA "
            f"{needed // 1000}: update the driver{other}"
        )
    raise RuntimeError("cuda: CuPy and the driver find no GPU (does CUDA_VISIBLE_DEVICES hide it?)")


def device_count():
    """The number of GPUs; 0 without CuPy or a driver."""
    return _cupy().cuda.runtime.getDeviceCount() if is_available() else 0


def current_device():
    """The number of the GPU that "cuda" stands for."""
    return _cupy().cuda.runtime.getDevice()


def device(number):
    """A with block in which "cuda" is the GPU of this number, and operations on its arrays run there."""
    return _cupy().cuda.Device(_number(number))


def get_device_name(device=None):
    """What the maker calls the GPU: a number, "cuda:1", or None for the current one."""
    name = _cupy().cuda.runtime.getDeviceProperties(_number(device))["name"]
    return name.decode() if isinstance(name, bytes) else name


def synchronize(device=None):
    """Wait until the GPU has done all its work.

    Raises:
        RuntimeError: some of it failed; the message names the latest kernels.
    """
    waited_for = _cupy().cuda.Device(_number(device))
    with named_errors():
        waited_for.synchronize()


def _number(device):
    if isinstance(device, int) and not isinstance(device, bool):
        device = f"cuda:{device}"
    device = "cuda" if device is None else device
    if not is_device(device) or device == "cpu":
        raise ValueError(f"cuda: a GPU is needed, its number or 'cuda:0', got {device!r}")
    return int(full_name(device).partition(":")[2])


# ---- streams -------------------------------------------------------------------------------------------------------


class Stream:
    """A queue of work on the GPU: work in one goes in order, work in two may overlap. Use it with stream(s)."""

    def __init__(self):
        self._stream = _cupy().cuda.Stream(non_blocking=True)

    @classmethod
    def _around(cls, stream):
        self = cls.__new__(cls)
        self._stream = stream
        return self

    def synchronize(self):
        """Wait until all its work is done."""
        with named_errors():
            self._stream.synchronize()

    def query(self):
        """Whether all its work is done."""
        with named_errors():
            return self._stream.done

    def record_event(self, event=None):
        """Mark this moment of the queue; returns the Event."""
        event = event or Event()
        event.record(self)
        return event

    def wait_event(self, event):
        """Let the work that is queued from now on wait for an Event of another stream. The program does not wait."""
        self._stream.wait_event(event._event)

    def wait_stream(self, other):
        """Let the work that is queued from now on wait for what the other stream holds now."""
        self.wait_event(other.record_event())


class Event:
    """A moment of a stream.

    Args:
        enable_timing: elapsed_time is to be asked for.
    """

    def __init__(self, enable_timing=False):
        self._event = _cupy().cuda.Event(disable_timing=not enable_timing)

    def record(self, stream=None):
        """Mark this moment of a stream (by default the current one)."""
        self._event.record((stream or current_stream())._stream)

    def synchronize(self):
        """Wait until the GPU has come here."""
        with named_errors():
            self._event.synchronize()

    def query(self):
        """Whether the GPU has come here."""
        with named_errors():
            return self._event.done

    def elapsed_time(self, end):
        """Milliseconds from here to another Event; both are waited for, and were made with enable_timing."""
        end.synchronize()
        return _cupy().cuda.get_elapsed_time(self._event, end._event)


def may_look(array):
    """Whether an array's numbers can be looked at: not those of a GPU whose work is only being recorded."""
    return not on_gpu(array) or not is_capturing()


def holds(condition):
    """Whether any element of an array of bool does; of a GPU whose work is only being recorded False, unseen."""
    if not on_gpu(condition):
        return bool(condition.any())
    if is_capturing():
        return False
    with named_errors():
        return bool(condition.any())


def current_stream():
    """The Stream that operations go to."""
    return Stream._around(_cupy().cuda.get_current_stream())


@contextmanager
def stream(stream):
    """In the with block, operations go to this Stream."""
    with stream._stream:
        yield stream


# ---- graphs --------------------------------------------------------------------------------------------------------


class CUDAGraph:
    """Work on the GPU that is recorded once, by graph(), and launched as a whole: a launch costs the program some µs.

    A replay is the same work on the same memory, whatever the program has done since. So what comes in is written to
    the Tensors that the recorded work read (`copy_`), and what comes out is found in those that it made. Numbers of the
    program, as a learning rate, stay those that they were.
    """

    def __init__(self):
        self.reset()

    def replay(self):
        """Put the recorded work on the current stream.

        Raises:
            RuntimeError: nothing is recorded.
        """
        if self._graph is None:
            raise RuntimeError("CUDAGraph: there is nothing to replay; record it first: with dl.cuda.graph(g): …")
        note("CUDAGraph.replay()")
        with named_errors():
            self._graph.launch()

    def reset(self):
        """Forget what is recorded. The memory is free when also the Tensors that it made are gone."""
        self._graph = self._pool = self._tables = None


@contextmanager
def graph(cuda_graph, stream=None):
    """Record the work of the with block in a CUDAGraph; none of it is done.

        step()                                   # once or more before: what first steps alone do is not to be replayed
        g = dl.cuda.CUDAGraph()
        with dl.cuda.graph(g):
            step()
        for images, labels in loader:
            x.copy_(images), y.copy_(labels)     # the Tensors that step() reads
            g.replay()

    Memory that is asked for in the block comes from a pool of the graph's own, and stays its own. What else it reads or
    writes (weights, inputs) must be there as long as it is replayed. Matrix products are not cuBLAS's, which CuPy does
    not record, but kernels/matmul.cu's.

    Args:
        stream: a Stream to record on; by default a new one.

    Raises:
        RuntimeError: the CUDAGraph has a graph already; and in the block, whatever cannot be replayed: what needs a
            number of the GPU (item(), cpu(), printing), copies between CPU and GPU, random numbers, counts of steps.
    """
    if cuda_graph._graph is not None:
        raise RuntimeError("graph: this CUDAGraph has recorded something already; reset() makes it forget")
    cupy = _cupy()
    synchronize()
    recording, pool = (stream or Stream())._stream, cupy.cuda.MemoryPool()
    with recording, cupy.cuda.using_allocator(pool.malloc), held() as tables:
        recording.begin_capture()
        try:
            yield
        except BaseException:
            with suppress(RuntimeError):  # that the capture has failed
                recording.end_capture()
            raise
        with named_errors():
            cuda_graph._graph = recording.end_capture()
    cuda_graph._pool, cuda_graph._tables = pool, tables


# ---- memory --------------------------------------------------------------------------------------------------------


def memory_allocated():
    """Bytes that arrays on the GPU hold."""
    return _cupy().get_default_memory_pool().used_bytes()


def memory_reserved():
    """Bytes that CuPy's pool has taken from the GPU: what arrays hold, and what it keeps for the next ones."""
    return _cupy().get_default_memory_pool().total_bytes()


def memory_stats():
    """Bytes by name: "allocated" and "reserved" as the functions of these names; "free" and "total" of the GPU."""
    free, total = _cupy().cuda.runtime.memGetInfo()
    return {"allocated": memory_allocated(), "reserved": memory_reserved(), "free": free, "total": total}


def empty_cache():
    """Give what the pools keep, of the GPU and of page-locked host memory, back to the system."""
    _cupy().get_default_memory_pool().free_all_blocks()
    _cupy().get_default_pinned_memory_pool().free_all_blocks()
