"""How a kernel file launches its CUDA C.

    _CUDA = Source("relu", "forward", "backward")                       # relu.cu, and its kernels

    def _forward_gpu(x, y):
        _CUDA.launch("forward", x.dtype, (x, y, x.size), threads=x.size)

A kernel is a template on the type T of its arrays' elements, float, double or half. `forward` stands for `forward<T>`;
one with more parameters is named in full, `Source("conv2d", "forward<T, 64>", "forward<T, 128>")`. NVRTC compiles a
file for one T when that is first launched; CuPy keeps the machine code.

**Sizes are int.** 64-bit indices cost registers, and a division by one costs dozens of instructions. So no array may
have more than `MAX_SIZE` elements, which `launch` checks; a kernel then need not care, neither for an offset nor for
the last step of a loop beyond the end.

**Errors come late.** A launch returns before its kernel has run, and a fault in it is raised by whatever waits for the
device next. `named_errors` adds the names of the latest launches to it; `blocking(True)` waits after each launch, so
that the very one is named.
"""

import re
from collections import deque
from contextlib import contextmanager
from functools import cache, cached_property
from pathlib import Path

import numpy as np

from ._layout import ceil_div

SOURCES = {}  # name -> Source: what tests compile

# An int ends at 2^31 - 1; the difference is more than all threads of a grid-stride loop, which step beyond the end.
MAX_SIZE = 2**31 - 2**22

C_TYPES = {np.dtype(np.float32): "float", np.dtype(np.float64): "double", np.dtype(np.float16): "half"}
OPTIONS = ("-std=c++17",)
PER_THREAD = 4  # elements of a thread in elementwise (_common.cuh)
PIECE = 1024  # elements of a block of launch_many: four per thread, so that also small nets give many blocks work
_FOLDER = Path(__file__).parent

_recent = deque(maxlen=16)  # names of the latest launches
_held = []  # tables that the CUDA graph which is captured now will read: one at a time in a process
_blocking = False


class Source:
    """A .cu file beside the kernels, and the kernels in it.

    Args:
        path: the file's, without suffix, from this folder: "relu", "conv2d/conv2d". kernels: their names, as above.

    Raises:
        ValueError: the same file twice.
    """

    def __init__(self, path, *kernels):
        if path in SOURCES:
            raise ValueError(f"Source: {path!r} is already registered")
        self.path, self.kernels = path, kernels
        self._modules = {}  # (dtype, device) -> cupy.RawModule
        self._prepared = {}  # (kernel, dtype as the caller says it, device) -> what _prepare gives
        SOURCES[path] = self

    @cached_property
    def code(self):
        """The file's text, with _common.cuh in it: CuPy's cache of machine code does not see what NVRTC includes."""
        file = _FOLDER / f"{self.path}.cu"
        return with_common(file.read_text(), file.name)

    def instances(self, dtype):
        """The kernels' full names for a type of elements: ("forward<float>", "forward<float, 64>")."""
        return tuple(_instance(kernel, C_TYPES[np.dtype(dtype)]) for kernel in self.kernels)

    def launch(self, kernel, dtype, args, *, threads=None, elements=None, grid=None, block=256, shared_mem=0):
        """Launch a kernel on CuPy's current stream.

        Args:
            kernel: its name, as given to Source. dtype: of T.
            args: arrays; None, a null pointer; and numbers, which become what kernels declare: a bool `bool`, an
                integer `int`, an unsigned NumPy integer itself, a float `Real<T>`; and lists of arrays, which become
                tables of their addresses (`T* const*`).
            threads: how many items there are, for a kernel that loops with FOR_EACH: the grid fills the device, and
                no more. elements: likewise, for a kernel that calls elementwise. grid: else, the number of blocks, an
                int or a tuple. block: threads per block, likewise.
            shared_mem: bytes of dynamic shared memory.
        A grid of no blocks is not launched: there is nothing to do.

        Raises:
            TypeError: a dtype that has no kernels. ValueError: an array that is too large or not C-contiguous, or an
                integer beyond an int.
            RuntimeError: CUDA refuses the launch; in blocking mode, the kernel fails.
        """
        if threads is not None:
            grid = min(ceil_div(threads, block), _blocks_that_fill_the_device(_device(), block))
        elif elements is not None:
            grid = ceil_div(elements, PER_THREAD * block)
        grid, block = _tuple(grid), _tuple(block)
        if 0 in grid:
            return
        prepared = self._prepared.get((kernel, dtype, _device()))
        if prepared is None:
            prepared = self._prepare(kernel, dtype)
        name, single, function = prepared
        values = tuple([_argument(name, arg, single) for arg in args])
        note(name)
        try:
            function(grid, block, values, shared_mem=shared_mem)
            if _blocking:
                _synchronize()
        except RuntimeError as error:
            raise _with_launches(error, 1) from error

    def launch_rows(self, kernel, image, args):
        """Launch kernel<T, N> with a block for each row of images (N, H, W, C); a thread takes N channels at a time.

        Args:
            kernel: its name alone; for N see channels_at_once. image: whose rows they are, and whose dtype is T.
            args: as of `launch`.

        Raises:
            TypeError, ValueError, RuntimeError: as `launch`.
        """
        n, height, width, channels = image.shape
        at_once = channels_at_once(channels, args)
        threads = min(256, 32 * ceil_div(width * channels, 32 * at_once))
        grid = n * height if image.size else 0
        self.launch(f"{kernel}<T, {at_once}>", image.dtype, args, grid=grid, block=threads)

    def launch_many(self, kernel, dtype, args, sizes):
        """Launch a kernel once for many arrays.

        Args:
            args: as of `launch`, with lists of arrays. The kernel takes four more, those of Piece (_common.cuh).
            sizes: how many elements each array of a list has.

        Raises:
            TypeError, ValueError, RuntimeError: as `launch`.
        """
        first = np.cumsum([0, *(ceil_div(size, PIECE) for size in sizes)])  # of each array the first piece, then all
        if not first[-1]:
            return
        pieces = table(np.array([first[:-1], sizes], np.int32))
        self.launch(kernel, dtype, (*args, pieces[0], pieces[1], len(sizes), PIECE), grid=int(first[-1]))

    def _prepare(self, kernel, dtype):
        """(name for messages, whether Real<T> is float, the compiled kernel): looked up by every launch, made once."""
        import cupy

        key, dtype = (kernel, dtype, _device()), np.dtype(dtype)
        if dtype not in C_TYPES:
            raise TypeError(f"{self.path}: CUDA kernels take float16, float32 and float64, got {dtype}")
        instance, names = _instance(kernel, C_TYPES[dtype]), self.instances(dtype)
        of_device = dtype, _device()
        if of_device not in self._modules:
            self._modules[of_device] = cupy.RawModule(code=self.code, options=OPTIONS, name_expressions=names)
        with named_errors():
            function = self._modules[of_device].get_function(instance)
        self._prepared[key] = f"{self.path}.{instance}", dtype != np.float64, function
        return self._prepared[key]


def with_common(text, name):
    """CUDA C with _common.cuh in the place of its #include; errors keep the lines of the two files."""
    before, include, after = text.partition('#include "_common.cuh"\n')
    if not include:
        return f'#line 1 "{name}"\n{text}'
    common, line = (_FOLDER / "_common.cuh").read_text(), before.count("\n") + 2
    return f'#line 1 "{name}"\n{before}#line 1 "_common.cuh"\n{common}#line {line} "{name}"\n{after}'


def blocking(on):
    """Wait for each kernel after its launch, to learn which one fails. Slow: for finding an error."""
    global _blocking
    _blocking = bool(on)


def note(launch):
    """Name what is launched, for errors that come late."""
    _recent.append(launch)


@contextmanager
def named_errors(count=_recent.maxlen):
    """Add to a CUDA error inside the with block the names of the `count` latest launches, of which one caused it.

    Raises:
        RuntimeError: instead of CuPy's, which is its cause.
    """
    try:
        yield
    except RuntimeError as error:  # the base of CuPy's CUDARuntimeError and CUDADriverError
        raise _with_launches(error, count) from error


def _with_launches(error, count):
    launches = list(_recent)[-count:]
    where = f"in {launches[0]}" if len(launches) == 1 else f"in one of the latest launches: {', '.join(launches)}"
    if not launches:
        where = "minidl launched no kernel before"
    return RuntimeError(f"{error} ({where})")


def is_capturing():
    """Whether the current stream's work is not done but recorded, as a CUDA graph."""
    import cupy

    return cupy.cuda.get_current_stream().is_capturing()


def table(array):
    """A small NumPy array on the device, for launches to read.

    While a CUDA graph is captured it is copied at once, on a stream aside, and must live as long as the graph: `held`.
    """
    import cupy

    if not is_capturing():
        return cupy.asarray(array)
    with cupy.cuda.Stream(non_blocking=True) as aside:
        copied = cupy.asarray(array)
        aside.synchronize()
    _held.append(copied)
    return copied


@contextmanager
def held():
    """A list of the tables that are made within the block."""
    global _held
    _held = []
    try:
        yield _held
    finally:
        _held = []


def refuse_capture(array, what, why):
    """What the program decides or counts anew each time would be the same in every replay of a CUDA graph.

    Raises:
        RuntimeError: the array is on a GPU, and a graph is being captured.
    """
    if not isinstance(array, np.ndarray | np.generic) and is_capturing():
        raise RuntimeError(f"{what} cannot be part of a CUDA graph: {why}")


def channels_at_once(channels, args):
    """N of Pack (_common.cuh): 4 where channels come in fours and arrays lie at multiples of 16 bytes, else 1."""
    aligned = all(a.data.ptr % 16 == 0 for a in args if getattr(a, "ndim", 0))
    return 4 if channels % 4 == 0 and aligned else 1


def threads_of_row(columns):
    """Of a block that has a row: whole warps, of which each thread has four elements or more."""
    return 32 * max(1, min(8, columns // 128))


def _instance(kernel, c_type):
    """forward -> forward<float>; forward<T, 64> -> forward<float, 64>."""
    return re.sub(r"\bT\b", c_type, kernel) if "<" in kernel else f"{kernel}<{c_type}>"


def _tuple(sizes):
    return tuple(map(int, sizes)) if isinstance(sizes, tuple) else (int(sizes),)


_NULL = np.uint64(0)  # eight bytes of zeros; CuPy passes no None
_BOOLS = {False: np.bool_(False), True: np.bool_(True)}
_ints = {}  # int -> np.int32: NumPy takes half a microsecond to make one, and a convolution has twenty


def _argument(name, value, single):
    """What CuPy is to pass: it would make a long long of an int, and a double of a float.

    A launch has a dozen, so they go by their exact types. single: whether Real<T> is float.
    """
    kind = type(value)
    if kind is int:
        found = _ints.get(value)
        return _int(name, value) if found is None else found
    if value is None:
        return _NULL
    if kind is bool:
        return _BOOLS[value]
    if kind is float:
        return np.float32(value) if single else np.float64(value)
    if kind is list:
        return _addresses([_argument(name, array, single) for array in value])
    if isinstance(value, np.generic):
        if isinstance(value, np.unsignedinteger | np.bool_):
            return value
        return _argument(name, value.item(), single)
    if value.size > MAX_SIZE:
        raise ValueError(f"{name}: an array of {value.size} elements; CUDA kernels take at most {MAX_SIZE}")
    if not value.flags.c_contiguous:
        raise ValueError(
            f"{name}: an array of shape {value.shape} that is not C-contiguous; kernels see its memory alone"
        )
    return value


def _int(name, value):
    if not -(2**31) <= value < 2**31:
        raise ValueError(f"{name}: {value} does not fit in an int")
    if len(_ints) == 1 << 16:
        _ints.clear()
    return _ints.setdefault(value, np.int32(value))


def _addresses(arrays):
    """On the device, where the arrays are: they must live until the kernel is launched."""
    return table(np.array([array.data.ptr for array in arrays], np.uint64))


def _device():
    import cupy

    return cupy.cuda.runtime.getDevice()


@cache
def _blocks_that_fill_the_device(device, threads_per_block):
    """As many blocks as its multiprocessors hold at once; more would only wait."""
    import cupy

    properties = cupy.cuda.runtime.getDeviceProperties(device)
    per_multiprocessor = max(1, properties["maxThreadsPerMultiProcessor"] // threads_per_block)
    return properties["multiProcessorCount"] * per_multiprocessor


def multiprocessors():
    """How many the current device has: with fewer blocks, some have nothing to do."""
    return _multiprocessors(_device())


@cache
def _multiprocessors(device):
    import cupy

    return cupy.cuda.runtime.getDeviceProperties(device)["multiProcessorCount"]


def _synchronize():
    import cupy

    cupy.cuda.get_current_stream().synchronize()
