"""How kernels are compiled: numba's flags, set in one place, and a cache of machine code that can be trusted.

numba's own cache misses an edit in another file that a kernel calls, raises on a damaged file, and lets two processes
compile the same thing at once. Ours is a folder per key, and the key is a hash of every kernel source, the versions of
numba and llvmlite, Python's bytecode tag and the CPU that numba compiles for. A file holds one compiled signature, or
code that kernels share, behind its SHA-256: a file that does not match, or that numba cannot rebuild, is compiled
again. One process compiles a file; others wait for it, or compile what else they need meanwhile.

The payload is numba's own format, which is pickled. It is read only from folders and files that belong to this user and
that nobody else may write to, and only what the hash in front of it vouches for.
"""

import fcntl
import hashlib
import os
import pickle
import re
import shutil
import sys
import tempfile
import warnings
from contextlib import ExitStack, contextmanager, suppress
from functools import cache, partial
from pathlib import Path

import llvmlite.binding
import numba
from llvmlite import ir
from numba import prange  # noqa: F401  (kernels take it from here, beside jit)
from numba.core import cgutils
from numba.core.caching import NullCache
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompileResult
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target
from numba.core.serialize import dumps

from ._cache_root import cache_root

# error_model: a float division by zero gives inf as in NumPy. contract: a*b+c may become one fused instruction. No
# other fast-math flag: nnan and ninf would delete the tests by which max-pool propagates NaN (isnan becomes False).
# no_cfunc_wrapper: nothing here is called as a C function, and a third of the modules need not be compiled.
_FLAGS = {"error_model": "numpy", "fastmath": {"contract"}, "no_cfunc_wrapper": True}
_KEPT_KEYS = 4  # cache folders of earlier sources, numba versions or CPUs that stay when a new one is made
_MAGIC = b"minidl machine code 1\n"


def helper(function):
    """Compile a function that kernels call. Its code is cached as part of theirs."""
    return numba.njit(**_FLAGS)(function)


def inline(function):
    """A helper that is copied into each place that calls it, where constant arguments become constants of its code."""
    return numba.njit(forceinline=True, **_FLAGS)(function)


def inline_sum(function):
    """`inline` for sums along a run, which LLVM may take in several accumulators at once.

    3 to 4 times as fast as sixteen accumulators written out. The order is fixed when it is compiled, so it does not
    depend on the number of threads; NaN and Inf stay what they are.
    """
    flags = {**_FLAGS, "fastmath": {*_FLAGS["fastmath"], "reassoc"}}
    return numba.njit(forceinline=True, **flags)(function)


def inline_rounded(function):
    """`inline` without fused instructions: every product is rounded, so that what is equal cancels to zero."""
    return numba.njit(forceinline=True, **{**_FLAGS, "fastmath": False})(function)


@cache
def shared(signature, emit):
    """What an intrinsic returns whose code is compiled once: kernels call it by a name that LLVM knows.

    For code so large that it would take long to compile as a part of every kernel, as a helper is. The first argument
    of the signature tells the dtypes apart; numba converts arguments to its types. Nothing is returned.

    emit: a function (builder, signature, args) of a module, which emits the instructions.
    """
    define = partial(_define, signature, emit)

    def call(context, builder, signature, args):
        define()
        context.active_code_library._reload_init.add(define)  # numba calls it before it loads the kernel from a file
        kind = ir.FunctionType(ir.VoidType(), [argument.type for argument in args])
        builder.call(cgutils.get_or_insert_function(builder.module, kind, _symbol(signature, emit)), args)
        return context.get_dummy_value()

    return signature, call


def jit_serial(function):
    """`jit` without threads: for few numbers, where NumPy's operations take a microsecond each."""
    return jit(function, parallel=False)


def jit(function, parallel=True):
    """Compile a kernel for as many signatures as it is called with; its `prange` loops run on numba's threads.

    Raises:
        TypeError: a function inside a function. Its file would be found by every other function of that name.
    """
    if "<locals>" in function.__qualname__:
        raise TypeError(f"jit: a kernel must be a function of a module, got {function.__qualname__}")
    dispatcher = numba.njit(parallel=parallel, **_FLAGS)(function)
    directory = cache_directory()
    covered = function.__module__.startswith(f"{__package__}.")  # by the key
    if covered and directory is not None and not numba.config.DISABLE_JIT:
        dispatcher._cache = _KernelCache(function, directory)
        compile_unlocked = dispatcher.compile

        def compile_locked(signature):
            with _compiling(dispatcher._cache.file(signature)), _our_libraries():
                return compile_unlocked(signature)

        dispatcher.compile = compile_locked
    return dispatcher


@cache
def cache_directory():
    """The folder for this key's machine code, made if missing; None where no private folder can be made."""
    try:
        root = cache_root() / "jit"
        directory = root / _key()
        known = directory.is_dir()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        (directory / "locks").mkdir(mode=0o700, exist_ok=True)
        if not _is_ours(directory.stat()):
            raise PermissionError(f"{directory} can be written by others")
        with tempfile.TemporaryFile(dir=directory):
            pass
        os.utime(directory)  # the least recently used folders are forgotten
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home directory
        warnings.warn(
            f"compiled kernels cannot be kept, so every start compiles them again: {error}. "
            "Set MINIDL_CACHE to a folder of your own.",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
    if not known:
        _forget_old_keys(root, directory)
    return directory


def _is_ours(status):
    return status.st_uid == os.getuid() and not status.st_mode & 0o022


def is_cold():
    """Whether the kernels are still to be compiled, as far as the cache tells."""
    directory = cache_directory()
    return directory is None or not any(file.is_file() for file in directory.iterdir())


def _key():
    """A hash of everything that decides the machine code."""
    digest = hashlib.sha256()
    folder = Path(__file__).parent
    for source in sorted(folder.rglob("*.py")):
        digest.update(f"{source.relative_to(folder)}\0".encode() + source.read_bytes())
    settings = {
        k: v for k, v in os.environ.items() if k.startswith("NUMBA_") and "THREAD" not in k and "CACHE" not in k
    }
    machine = cpu_target.target_context.codegen().magic_tuple()
    versions = numba.__version__, llvmlite.__version__, sys.implementation.cache_tag
    digest.update(repr((versions, machine, sorted(settings.items()))).encode())
    return digest.hexdigest()[:32]


def _forget_old_keys(root, current):
    def used(folder):
        return folder.stat().st_mtime

    with suppress(OSError):
        keys = (f for f in root.iterdir() if f.is_dir() and re.fullmatch("[0-9a-f]{32}", f.name))
        for folder in sorted((f for f in keys if f != current), key=used, reverse=True)[_KEPT_KEYS:]:
            shutil.rmtree(folder, ignore_errors=True)


_compiled_now = set()  # files of kernels and of the kernels that they call, whose locks this process holds


@contextmanager
def _compiling(file):
    """Hold numba's lock, against other threads, and the file's, against other processes. Always in this order.

    A kernel waits for the kernels and the shared code that it calls; as none calls what calls it, none waits for ever.
    """
    with global_compiler_lock, ExitStack() as releases:
        if file not in _compiled_now:
            # A folder that was deleted, a file system without locks: the worst is that work is done twice.
            with suppress(OSError):
                lock = releases.enter_context(open(file.parent / "locks" / file.name, "ab"))
                fcntl.flock(lock, fcntl.LOCK_EX)  # released at the latest when the process dies
                releases.callback(fcntl.flock, lock, fcntl.LOCK_UN)  # closing is not enough: a fork may hold the file
            _compiled_now.add(file)
            releases.callback(_compiled_now.discard, file)
        yield


class _Library(JITCodeLibrary):
    """numba's machine code of a function, with what it does for nothing left out.

    A `prange` loop's body is wrapped twice, as code of the kernel, which links it in and is compiled whole. What is
    linked in would be optimized and made machine code of by itself, too, which nothing calls: a sixth of the time that
    a kernel takes to compile.

    Of a library from a file numba builds LLVM's code again beside the machine code. Only a kernel that is compiled
    against it looks at that, so it is built when asked for. At once, with a second copy of the machine code, it took 34
    of the 1,022 MB of an AlexNet in training, 18 of 109 of LeNet, and a tenth of the time to LeNet's first step.
    """

    _bitcode = None

    def _is_wrapper(self):
        return self.name == "parallelgufuncwrapper" or "_GufuncWrapper object" in self.name

    def _optimize_final_module(self):
        if not self._is_wrapper():
            super()._optimize_final_module()

    def _finalize_final_module(self):
        if not self._is_wrapper():
            return super()._finalize_final_module()
        self._finalize_dynamic_globals()
        self._finalized = True

    def serialize_using_object_code(self):
        name, kind, data = super().serialize_using_object_code()
        module = self._get_module_for_linking()
        values = *module.functions, *module.global_variables
        return name, kind, (*data, [value.name for value in values if not value.is_declaration])

    @classmethod
    def _unserialize(cls, codegen, state):
        name, _, (machine_code, bitcode, symbols) = state
        library = codegen.create_library(name)
        library.enable_object_caching()
        library._set_compiled_object(machine_code)
        library._finalize_final_module()
        library._compiled_object, library._bitcode = None, bitcode  # LLVM has its own copy of the machine code
        codegen._engine._defined_symbols.update(symbols)
        return library

    def _get_module_for_linking(self):
        if self._bitcode is not None:
            self._shared_module, self._bitcode = llvmlite.binding.parse_bitcode(self._bitcode), None
        return super()._get_module_for_linking()


@contextmanager
def _our_libraries():
    """Under numba's lock: other code that uses numba has its libraries as they are."""
    codegen = cpu_target.target_context.codegen()
    before, codegen._library_class = codegen._library_class, _Library
    try:
        yield
    finally:
        codegen._library_class = before


def _symbol(signature, emit):
    return f"{_name(emit)}.{signature.args[0]}"


@cache
def _define(signature, emit):
    """Load or compile what is shared, and tell LLVM its address. Returns the library, which owns the memory."""
    symbol, directory, codegen = _symbol(signature, emit), cache_directory(), cpu_target.target_context.codegen()
    if directory is None:
        library = _emit_library(symbol, signature, emit)
    else:
        file = directory / symbol
        with _compiling(file), _our_libraries():
            library = _load(file, lambda *state: codegen.unserialize_library(state))
            if library is None:
                library = _emit_library(symbol, signature, emit)
                _save(file, library.serialize_using_object_code())
    llvmlite.binding.add_symbol(symbol, library.get_pointer_to_function(symbol))
    return library


def _emit_library(symbol, signature, emit):
    target = cpu_target.target_context
    library = target.codegen().create_library(symbol)
    library.enable_object_caching()
    module = library.create_ir_module(symbol)
    kind = ir.FunctionType(ir.VoidType(), [target.get_value_type(argument) for argument in signature.args])
    function = ir.Function(module, kind, symbol)
    builder = ir.IRBuilder(function.append_basic_block())
    emit(builder, signature, function.args)
    builder.ret_void()
    library.add_ir_module(module)
    library.finalize()
    return library


def _name(function):
    return f"{function.__module__.removeprefix('minidl.kernels.')}.{function.__qualname__}"


def _load(file, rebuild):
    """rebuild(*what was saved); None where the file is missing, damaged or foreign, or numba cannot rebuild it."""
    try:
        with open(file, "rb") as opened:
            content = opened.read() if _is_ours(os.fstat(opened.fileno())) else b""
    except OSError:
        return None
    start = len(_MAGIC) + 32
    payload = content[start:]
    if content[:start] != _MAGIC + hashlib.sha256(payload).digest():
        return None
    try:
        return rebuild(*pickle.loads(payload))
    except Exception:  # whatever numba raises: the answer is to compile again
        return None


def _save(file, compiled):
    payload = dumps(compiled)
    try:
        with tempfile.NamedTemporaryFile(dir=file.parent, prefix="new-", delete=False) as new:
            new.write(_MAGIC + hashlib.sha256(payload).digest() + payload)
        os.replace(new.name, file)
    except OSError as error:
        warnings.warn(f"the compiled kernel {file.name} could not be kept: {error}", RuntimeWarning, stacklevel=2)
        with suppress(OSError, UnboundLocalError):
            os.unlink(new.name)


class _KernelCache(NullCache):
    """numba's cache interface (load_overload, save_overload) over one file per compiled signature."""

    def __init__(self, function, directory):
        self._name = _name(function)
        self._directory = directory

    @property
    def cache_path(self):
        return str(self._directory)

    def file(self, signature):
        return self._directory / f"{self._name}-{hashlib.sha256(repr(signature).encode()).hexdigest()[:16]}"

    def load_overload(self, signature, target_context):
        target_context.refresh()
        return _load(self.file(signature), partial(CompileResult._rebuild, target_context))

    def save_overload(self, signature, result):
        if result.library.has_dynamic_globals:
            # Addresses of this process: a C function (numba.get_num_threads is one), a global array over 1 MB.
            warnings.warn(f"{self._name} holds addresses, so every start compiles it", RuntimeWarning, stacklevel=2)
            return
        _save(self.file(signature), result._reduce())
