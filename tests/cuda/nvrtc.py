"""NVIDIA's compiler, which needs no GPU: what each kernel takes of a multiprocessor.

`python tests/cuda/nvrtc.py` writes the table resources.json again. NVRTC and CUDA's headers come with the extra
gpu-emulate.
"""

import ctypes
import importlib.util
import json
import re
import sys
from functools import cache
from pathlib import Path

ARCHITECTURES = ("sm_75", "sm_80", "sm_90", "sm_100")  # Turing (T4), Ampere (A100), Hopper (H100), Blackwell (B200)
TABLE = Path(__file__).parent / "resources.json"


def _found(pattern):
    """What NVIDIA's wheels hold under a name: nvidia/cu13/lib/…, of CUDA 12 nvidia/cuda_nvrtc/lib/…"""
    spec = importlib.util.find_spec("nvidia")
    folders = spec.submodule_search_locations if spec else ()
    return sorted(path for folder in folders for path in Path(folder).glob(pattern))


@cache
def unavailable():
    """Why nothing can be compiled here, or None."""
    if not _found("*/lib/libnvrtc.so.*"):
        return "NVRTC is not installed: pip install minidl[gpu-emulate]"
    if not _found("*/include/cuda_fp16.h"):
        return "CUDA's headers are not installed: pip install minidl[gpu-emulate]"
    return None


@cache
def _library():
    newest = max(_found("*/lib/libnvrtc.so.*"), key=lambda path: int(path.suffix[1:]))  # beside it there may be CuPy's
    return ctypes.CDLL(str(newest))


def version():
    """For example "13.0"."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    _library().nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    return f"{major.value}.{minor.value}"


def resources(code, instances, architecture, options=("-std=c++17",)):
    """Compile kernels; say how many registers a thread of each has, and how many bytes are shared and spilled.

    Returns:
        dictionary instance -> {"registers", "shared", "spilled"}; "spilled" is bytes that a thread stores to memory
        because it has too few registers.

    Raises:
        ValueError: NVRTC does not take the code; the message is NVRTC's.
    """
    lib, program = _library(), ctypes.c_void_p()
    lib.nvrtcCreateProgram(ctypes.byref(program), code.encode(), b"kernel.cu", 0, None, None)
    try:
        for instance in instances:
            lib.nvrtcAddNameExpression(program, instance.encode())
        headers = [f"-I{path.parent}" for path in _found("*/include/cuda_fp16.h")]
        flags = [*options, *headers, f"-arch={architecture}", "--ptxas-options=-v"]
        failed = lib.nvrtcCompileProgram(program, len(flags), (ctypes.c_char_p * len(flags))(*map(str.encode, flags)))
        log = _log(program)
        if failed:
            raise ValueError(f"{architecture}: NVRTC does not take the code:\n{log}")
        return {instance: _properties(log, _mangled(program, instance)) for instance in instances}
    finally:
        lib.nvrtcDestroyProgram(ctypes.byref(program))


def _log(program):
    size = ctypes.c_size_t()
    _library().nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    _library().nvrtcGetProgramLog(program, log)
    return log.value.decode()


def _mangled(program, instance):
    name = ctypes.c_char_p()
    if _library().nvrtcGetLoweredName(program, instance.encode(), ctypes.byref(name)):
        raise ValueError(f"NVRTC knows no {instance}")
    return name.value.decode()


def _properties(log, name):
    """Out of ptxas' report: "… 8 bytes spill stores …", "Used 32 registers, …, 128 bytes smem"."""
    report = re.search(rf"Compiling entry function '{re.escape(name)}'(.*?Used [^\n]*)", log, re.DOTALL)[1]
    shared = re.search(r"(\d+) bytes smem", report)
    return {
        "registers": int(re.search(r"Used (\d+) registers", report)[1]),
        "shared": int(shared[1]) if shared else 0,
        "spilled": int(re.search(r"(\d+) bytes spill stores", report)[1]),
    }


def all_resources(source):
    """Every instance of a file's kernels on every architecture: instance -> architecture -> properties."""
    from minidl.kernels._cuda import C_TYPES, OPTIONS

    instances = [instance for dtype in C_TYPES for instance in source.instances(dtype)]
    of = {architecture: resources(source.code, instances, architecture, OPTIONS) for architecture in ARCHITECTURES}
    return {instance: {architecture: of[architecture][instance] for architecture in of} for instance in instances}


def main():
    from minidl.kernels._cuda import SOURCES

    kernels = {path: all_resources(source) for path, source in sorted(SOURCES.items())}
    lines = [
        f"{json.dumps(f'{path}.{instance}')}: {json.dumps(properties)}"
        for path, instances in kernels.items()
        for instance, properties in instances.items()
    ]
    TABLE.write_text(f'{{"nvrtc": "{version()}", "kernels": {{\n' + ",\n".join(lines) + "\n}}\n")


if __name__ == "__main__":
    sys.exit(unavailable() or main())
