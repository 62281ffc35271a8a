"""RawModule: CuPy's, with NumPy arrays for device memory and the emulator for a GPU."""

import ctypes
import shutil
import struct
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from .build import EmulationError, build, source_line
from .memory import GuardedCopy, array_at, regions_of


@dataclass
class Execution:
    """How kernels run, until changed: order "forward", "reverse" or the seed of a shuffle (2 or more)."""

    order: str | int = "forward"
    sanitizer: str | None = "undefined"  # or "thread", "banks", or None
    skipped_barrier: tuple | None = None  # (a module's code, number of a __syncthreads() in it) that does nothing
    after: object = None  # a function that is called after each launch with the kernel's library

    def config(self, code):
        """The fields of fibers.h's Config; the last two are for ThreadSanitizer, and worker.h changes them."""
        order = {"forward": 0, "reverse": 1}.get(self.order, self.order)
        skipped = self.skipped_barrier and self.skipped_barrier[0] == code
        return order, self.skipped_barrier[1] if skipped else -1, 0, 0


_execution = Execution()
launched = {}  # (module's code, kernel's name) -> the numbers of the barriers that its launches came to


@contextmanager
def execution(**changes):
    """Run the launches inside the with block otherwise: see Execution."""
    global _execution
    _execution, before = replace(_execution, **changes), _execution
    try:
        yield
    finally:
        _execution = before


class _Config(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in ("order", "skipped_barrier", "unordered_blocks", "first_bit")]


class _Failure(ctypes.Structure):
    _fields_ = [
        ("what", ctypes.c_char * 160),
        ("file", ctypes.c_char * 64),
        ("line", ctypes.c_int),
        ("address", ctypes.c_size_t),
        ("block", ctypes.c_uint * 3),
        ("thread", ctypes.c_uint * 3),
    ]


class RawModule:
    """CUDA C to run on the CPU. Compiled at the first launch; takes the arguments of cupy.RawModule that we use.

    Args:
        code: CUDA C. options: -D and -I reach g++, others are NVRTC's. name_expressions: kernels ("forward<float>").
        sanitizer: None: as `execution` says at the time of the launch.
    """

    def __init__(self, code, options=(), name_expressions=(), sanitizer=None):
        self.code, self.options, self.sanitizer = code, tuple(options), sanitizer
        self.name_expressions = tuple(name_expressions)

    def get_function(self, name):
        """A kernel to launch.

        Raises:
            EmulationError: no such name.
        """
        if name not in self.name_expressions:
            raise EmulationError(f"get_function: {name!r} is not among the name expressions {self.name_expressions}")
        return Function(self, name)

    def build(self, sanitizer):
        return build(self.code, self.name_expressions, self.options, sanitizer)


@cache
def _load(path):
    return ctypes.CDLL(str(path))


class Table:
    """An argument that is an array of addresses: `array`, its copy, and `targets`, the arrays that begin there."""

    def __init__(self, array):
        self.array, self.targets = array.copy(), [array_at(address) for address in array]
        self.array.flags.writeable = False  # kernels see other addresses, of copies; none of them comes back


class Function:
    """A kernel of a module. Call it as CuPy's: kernel(grid, block, args, shared_mem=0)."""

    def __init__(self, module, name):
        self.module, self.name = module, name
        self.number = module.name_expressions.index(name)

    def __call__(self, grid, block, args, shared_mem=0):
        grid, block = ((*map(int, size), 1, 1)[:3] for size in (grid, block))
        self._check_sizes(grid, block, shared_mem)
        library = _load(self.module.build("undefined"))
        values = self._values(library, args)
        if (self.module.sanitizer or _execution.sanitizer) == "thread":
            self._run_under_thread_sanitizer(grid, block, shared_mem, values)
        else:
            library = _load(self.module.build(_execution.sanitizer))
            self._run(library, grid, block, shared_mem, values)
            if _execution.after is not None:
                _execution.after(library)

    def _check_sizes(self, grid, block, shared_mem):
        """CUDA's limits of a launch, compute capability 7.5 and later."""
        threads = block[0] * block[1] * block[2]
        if not (min(block) >= 1 and threads <= 1024 and max(block[:2]) <= 1024 and block[2] <= 64):
            raise EmulationError(f"{self.name}: CUDA_ERROR_INVALID_VALUE: block {block}")
        if not (min(grid) >= 1 and grid[0] < 2**31 and max(grid[1:]) < 2**16):
            raise EmulationError(f"{self.name}: CUDA_ERROR_INVALID_VALUE: grid {grid}")
        if not 0 <= shared_mem <= 48 << 10:
            raise EmulationError(f"{self.name}: CUDA_ERROR_INVALID_VALUE: {shared_mem} bytes of shared memory")

    # ---- arguments -------------------------------------------------------------------------------------------------

    def _values(self, library, args):
        """The arguments as CuPy would pass them: arrays as they are, numbers as NumPy scalars.

        A GPU would read whatever bytes it gets; here their types must be those that the kernel declares.
        """
        signature = ctypes.create_string_buffer(4096)
        getattr(library, f"signature_{self.number}")(signature)
        declared = signature.value.decode().split()
        if len(args) != len(declared):
            raise EmulationError(f"{self.name}: takes {len(declared)} arguments, got {len(args)}")
        return [self._value(i, a, kind) for i, (a, kind) in enumerate(zip(args, declared, strict=True))]

    def _value(self, index, value, declared):
        where = f"{self.name}: argument {index}"
        if declared[0] in "*&":
            if isinstance(value, np.uint64) and value == 0:  # a null pointer
                return value
            if not isinstance(value, np.ndarray):
                raise EmulationError(f"{where}: the kernel declares a pointer, got {type(value).__name__}")
            if declared[1] in "*&":
                if declared[0] == "*" or value.dtype != np.uint64:
                    raise EmulationError(f"{where}: a table of addresses is uint64 and const, got {value.dtype}")
                table = Table(value)
                for target in table.targets:
                    self._value(index, target, declared[1:])
                return table
            if value.dtype != np.dtype(declared[1]):
                raise EmulationError(
                    f"{where}: the kernel declares a pointer to {np.dtype(declared[1])}, got {value.dtype} elements"
                )
            if declared[0] == "*" and not value.flags.writeable:
                raise EmulationError(f"{where}: the kernel may write to an array that is read-only")
            return value
        if isinstance(value, np.ndarray):
            raise EmulationError(f"{where}: the kernel declares a {np.dtype(declared)}, got an array")
        if not isinstance(value, (bool, int, float, np.generic)):
            raise EmulationError(f"{where}: CuPy takes no {type(value).__name__}")
        passed = np.asarray(value)  # CuPy passes a Python int as a long long and a Python float as a double
        if passed.dtype != np.dtype(declared):
            raise EmulationError(f"{where}: the kernel declares {np.dtype(declared)}, CuPy would pass {passed.dtype}")
        return passed[()]

    # ---- in this process -------------------------------------------------------------------------------------------

    def _run(self, library, grid, block, shared_mem, values):
        values, arrays, tables = _parts(values)
        copies = [
            (GuardedCopy(first, last, at_start=_execution.order == "reverse"), sharers)
            for first, last, sharers in regions_of(arrays)
        ]
        moved = {id(a): copy.address + a.ctypes.data - copy.first for copy, sharers in copies for a in sharers}
        for table in tables:
            addresses = np.array([moved[id(target)] for target in table.targets], np.uint64)
            ctypes.memmove(moved[id(table.array)], addresses.ctypes.data, addresses.nbytes)
        held = [np.array(moved[id(v)], np.uint64) if isinstance(v, np.ndarray) else np.array(v) for v in values]
        addresses = (ctypes.c_void_p * max(1, len(held)))(*(a.ctypes.data for a in held))
        failure, config = _Failure(), _Config(*_execution.config(self.module.code))
        failed = getattr(library, f"launch_{self.number}")(
            (ctypes.c_uint * 3)(*grid), (ctypes.c_uint * 3)(*block), ctypes.c_size_t(shared_mem),
            ctypes.byref(config), ctypes.byref(failure), addresses,
        )  # fmt: skip
        intact = all(copy.intact() for copy, _ in copies)
        for copy, sharers in copies:
            if any(a.flags.writeable for a in sharers):
                copy.copy_back()
            copy.release()
        if failed:
            raise EmulationError(f"{self.name}: {self._describe(failure, library)}")
        if not intact:
            raise EmulationError(f"{self.name}: wrote outside of an array, into the gap before a guard page")
        self._note_barriers(library)

    def _describe(self, failure, library):
        if failure.line:
            place = f"{failure.file.decode()}:{failure.line}"
        else:
            place = source_line(library._name, failure.address)
        block, thread = tuple(failure.block), tuple(failure.thread)
        return f"{failure.what.decode()}, at {place}, block {block}, thread {thread}"

    def _note_barriers(self, library):
        library.reached_barriers.restype = ctypes.POINTER(ctypes.c_bool)
        reached = library.reached_barriers()
        numbers = {i for i in range(library.barriers()) if reached[i]}
        for i in numbers:
            reached[i] = False
        launched.setdefault((self.module.code, self.name), set()).update(numbers)

    # ---- in a process of its own, under ThreadSanitizer ------------------------------------------------------------

    def _run_under_thread_sanitizer(self, grid, block, shared_mem, values):
        values, arrays, tables = _parts(values)
        regions = regions_of(arrays)
        counts = self.number, len(regions), len(values), sum(len(table.targets) for table in tables)
        head = struct.pack("6IQ4i4i", *grid, *block, shared_mem, *_execution.config(self.module.code), *counts)
        out = _run_program(self.module.build("thread"), head + self._request(regions, values, tables), self.name)
        for first, last, sharers in regions:
            if any(a.flags.writeable for a in sharers):
                ctypes.memmove(first, out[: last - first], last - first)
            out = out[last - first :]

    def _request(self, regions, values, tables):
        region_of = {id(a): (i, a.ctypes.data - first) for i, (first, _, arrays) in enumerate(regions) for a in arrays}
        parts = [struct.pack("Q", last - first) + ctypes.string_at(first, last - first) for first, last, _ in regions]
        for value in values:
            if isinstance(value, np.ndarray):
                parts.append(struct.pack("qQ", *region_of[id(value)]))
            else:
                parts.append(struct.pack("q8s", -1, np.asarray(value).tobytes()))
        for table in tables:
            region, offset = region_of[id(table.array)]
            for number, target in enumerate(table.targets):
                parts.append(struct.pack("4Q", region, offset + 8 * number, *region_of[id(target)]))
        return b"".join(parts)


def _parts(values):
    """Of a launch's arguments: the values, with arrays in the place of tables; all arrays; the tables."""
    tables = [v for v in values if isinstance(v, Table)]
    values = [v.array if isinstance(v, Table) else v for v in values]
    arrays = [v for v in values if isinstance(v, np.ndarray)]
    return values, arrays + [target for table in tables for target in table.targets], tables


def _run_program(program, request, name):
    # Without setarch -R, ThreadSanitizer may not find the addresses that it wants free.
    # history_size: the most that all versions take; an access that is forgotten is not reported, or without its place.
    prefix = ["setarch", "-R"] if shutil.which("setarch") else []
    result = subprocess.run(
        [*prefix, str(program)],
        input=request,
        capture_output=True,
        env={"TSAN_OPTIONS": "halt_on_error=1 exitcode=66 atexit_sleep_ms=0 history_size=7"},
    )
    if result.returncode == 66:
        raise EmulationError(f"{name}: race\n{result.stderr.decode()}")
    if result.returncode:
        raise EmulationError(f"{name}: {result.stderr.decode() or result.returncode}")
    return result.stdout
