"""CUDA C to a library, or for ThreadSanitizer to a program, by g++; kept in the cache by a hash of what decides it."""

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from minidl.kernels import cache_root

HERE = Path(__file__).parent

# Contraction off: whether a * b + c is rounded once or twice would depend on the CPU that compiles.
# Dwarf 4: of version 5, addr2line (binutils 2.40) takes a #line for the file that it stands in.
_FLAGS = (
    "-std=c++20 -O1 -g1 -gdwarf-4 -fPIC -march=x86-64-v3 -ffp-contract=off -fno-strict-aliasing -w -Wno-psabi".split()
)
_SANITIZERS = {
    None: [],
    "undefined": [
        "-fsanitize=bounds,alignment,shift,float-cast-overflow,signed-integer-overflow",
        "-fsanitize-undefined-trap-on-error",
    ],
    # A thread of its has one list of callers, and stands for several of ours: without is better than mixed.
    "thread": ["-fsanitize=thread", "--param=tsan-instrument-func-entry-exit=0"],
    "banks": [  # of AddressSanitizer only the calls before each access: see banks.h
        "-fsanitize=kernel-address",
        "--param=asan-instrumentation-with-call-threshold=0",
        "--param=asan-stack=0",
        "--param=asan-globals=0",
    ],
}


class EmulationError(RuntimeError):
    """A kernel does what a GPU would not forgive, or would and should not."""


@cache
def unavailable():
    """Why nothing can be emulated here, or None."""
    if shutil.which("g++") is None:
        return "the emulator needs g++, which is not installed"
    probe = '#include "emulate.h"\nint main() {}\n'
    command = ["g++", *_FLAGS, f"-I{HERE}", "-fsyntax-only", "-x", "c++", "-"]
    failed = subprocess.run(command, input=probe, capture_output=True, text=True)
    return f"the emulator does not compile here: {failed.stderr.strip()}" if failed.returncode else None


def translate(code, names, sanitizer):
    """CUDA C to C++: what macros cannot do, and a function of C for each kernel of `names`."""
    # Dynamic shared memory has no size that C++ could know: it becomes a pointer.
    code = re.sub(
        r"extern\s+__shared__\s+([^;\[]*?)\s*(\w+)\s*\[\s*\]\s*;", r"\1* \2 = (\1*)emulator::dynamic_shared;", code
    )
    # An unnamed namespace: without it, each __shared__ variable of a template would be one for the whole process.
    return "\n".join(
        [
            f'#include "{"worker" if sanitizer == "thread" else "emulate"}.h"',
            '#include "banks.h"' if sanitizer == "banks" else "",
            "constexpr int emulate_first_barrier = __COUNTER__;",
            "namespace {",
            '#line 1 "kernel.cu"',
            code,
            '#line 1 "exports"',
            "}",
            "constexpr int emulate_barriers = __COUNTER__ - emulate_first_barrier - 1;",
            "static_assert(emulate_barriers <= emulator::kMaxBarriers);",
            'extern "C" int barriers() { return emulate_barriers; }',
            'extern "C" bool* reached_barriers() { return emulator::reached; }',
            *(f"EMULATE_EXPORT({number}, {name})" for number, name in enumerate(names)),
            *(
                [
                    f"static const Launch launches[] = {{{', '.join(f'launch_{i}' for i in range(len(names)))}}};",
                    "int main() { return work(launches); }",
                ]
                if sanitizer == "thread"
                else []
            ),
            "",
        ]
    )


def build(code, names, options=(), sanitizer="undefined"):
    """The path of the library, or of the program with sanitizer="thread".

    Raises:
        EmulationError: g++ does not take it; the message is g++'s.
    """
    source = translate(code, names, sanitizer)
    flags = [*_FLAGS, *_SANITIZERS[sanitizer], *(o for o in options if o.startswith(("-D", "-I")))]
    headers = "".join(header.read_text() for header in sorted(HERE.glob("*.h")))
    key = hashlib.sha256("\0".join([source, headers, _compiler(), *flags]).encode()).hexdigest()[:32]
    folder = cache_root() / "emulator"
    built = folder / key
    if not built.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _compile(source, flags, sanitizer, built)
    return built


def _compile(source, flags, sanitizer, built):
    with tempfile.TemporaryDirectory(dir=built.parent) as scratch:
        product = Path(scratch) / "product"
        (Path(scratch) / "kernel.cpp").write_text(source)
        kind = [] if sanitizer == "thread" else ["-shared"]
        command = ["g++", *flags, *kind, f"-I{HERE}", f"{scratch}/kernel.cpp", "-o", str(product), "-ldl"]
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode:
            raise EmulationError(f"g++ does not take the kernel:\n{result.stderr}")
        with contextlib.suppress(FileExistsError):
            os.replace(product, built)  # whole or not at all


@cache
def _compiler():
    return subprocess.run(["g++", "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]


def source_line(library, address):
    """The "file:line" of an instruction of a library, by addr2line; "?" where it is not known."""
    if shutil.which("addr2line") is None:
        return "?"
    command = ["addr2line", "-i", "-e", str(library), hex(address)]
    lines = subprocess.run(command, capture_output=True, text=True).stdout.split("\n")
    # Inlined functions come innermost first; the first place in a kernel's file is the one to show.
    places = [line.split(" ")[0].rsplit("/", 1)[-1] for line in lines if line]
    return next((place for place in places if re.search(r"\.cuh?:\d", place)), "?")
