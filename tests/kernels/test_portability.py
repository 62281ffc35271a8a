"""Kernels for other processors than this one: compiled for fewer features and run; for Arm, compiled and looked at."""

import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import llvmlite.binding as llvm
import pytest
from llvmlite import ir
from numba import types
from numba.core import cgutils

from minidl.kernels import _channel_tile, _tile, _transform, _vector

ROOT = Path(__file__).resolve().parents[2]

# Holds some kernels to their references and prints, as JSON, a vector's bytes and the registers and instructions that
# the register tile's machine code names.
CODE = """
import copy, json, re
import numpy as np
from numba import types
from minidl.kernels import KERNELS, _jit, _tile, _vector

for name in "relu.forward", "channel_sum.forward", "softmax.forward", "matmul.forward":
    kernel = KERNELS[name]
    for args in kernel.samples(np.random.default_rng(0), "float32"):
        expected, got = copy.deepcopy(args), copy.deepcopy(args)
        kernel.reference(*expected)
        kernel.cpu(*got)
        scale = np.abs(expected[-1][np.isfinite(expected[-1])]).max(initial=1)
        np.testing.assert_allclose(got[-1], expected[-1], rtol=1e-5, atol=1e-5 * scale, err_msg=name)
signature = types.void(types.float32, *[types.intp] * 14, types.float32, *[types.intp] * 4)
code = _jit._define(signature, _tile._emit_tiles).get_asm_str()
print(json.dumps([_vector.VECTOR_BYTES, sorted(set(re.findall("[xyz]mm|vfmadd231ps", code)))]))
"""


def _on(processor, code, cache):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_")} | processor
    environment |= {"MINIDL_CACHE": str(cache), "PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="AVX2 is for x86")
@pytest.mark.filterwarnings("error")
def test_avx2(tmp_path):
    """All tests of kernels and of conv2d pass on it (docs/performance.md); these few are quickly compiled."""
    avx2 = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma"}
    assert _on(avx2, CODE, tmp_path) == [32, ["vfmadd231ps", "xmm", "ymm"]]


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="AVX is for x86")
def test_vectors_are_as_wide_as_what_numba_compiles_for(tmp_path):
    """numba takes AVX away without a word in its setting of features."""
    code = "import json\nfrom minidl.kernels import _vector\nprint(json.dumps(_vector.VECTOR_BYTES))"
    assert _on({"NUMBA_ENABLE_AVX": "0"}, code, tmp_path) == 16


@pytest.mark.parametrize(
    ("triple", "features", "bytes_and_registers"),
    [
        ("x86_64-unknown-linux-gnu", "+avx,+avx2,+avx512f,+fma", (64, 32)),
        ("x86_64-unknown-linux-gnu", "+avx,+avx2,-avx512f,+fma", (32, 16)),
        ("x86_64-unknown-linux-gnu", "+avx", (32, 16)),
        ("x86_64-unknown-linux-gnu", "+sse4.2", (16, 16)),
        ("aarch64-unknown-linux-gnu", "+neon,+sve", (16, 32)),
        ("arm64-apple-darwin24.0.0", "", (16, 32)),  # older versions of LLVM cannot tell there
        ("powerpc64le-unknown-linux-gnu", "", (16, 16)),
    ],
)
def test_registers(triple, features, bytes_and_registers, monkeypatch):
    codegen = type(_vector.cpu_target.target_context.codegen())
    monkeypatch.setattr(codegen, "magic_tuple", lambda self: (triple, "generic", features))
    assert _vector._bytes_and_registers() == bytes_and_registers


# A fused product of vectors, and a call, in Arm's assembly.
ARM, FUSED, CALL = "aarch64-unknown-linux-gnu", r"\bfml[as]\s+v\d+\.(?:4s|2d)", r"\bbl\s"


def _arm(arguments, emit):
    """The assembly of a function of that many addresses and strides, whose body `emit` builds."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    try:
        machine = llvm.Target.from_triple(ARM).create_target_machine("generic", opt=3)
    except RuntimeError:
        pytest.skip("this llvmlite compiles for its own machine alone")
    module = ir.Module()
    module.triple = ARM
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [ir.IntType(64)] * arguments), "function")
    builder = ir.IRBuilder(function.append_basic_block())
    emit(builder, function.args)
    builder.ret_void()
    parsed = llvm.parse_assembly(str(module))
    passes = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=3))
    passes.getModulePassManager().run(parsed, passes)
    return machine.emit_assembly(parsed)


@pytest.mark.parametrize("bits", [32, 64])
def test_the_tile_on_arm(bits, monkeypatch):
    """A step of 14 rows of two vectors is 28 fused instructions; some sums go through the stack."""

    monkeypatch.setattr(_vector, "VECTOR_BYTES", 16)

    def emit(builder, args):
        vectors = _vector.Vectors(builder, bits)
        width, x, xi, xa, xb, w, wa, wb, na, nb, s, si, beside, streamed, y, yi, ahead = args
        x, w, s, y = map(vectors.pointer, (x, w, s, y))
        least, streamed = ir.Constant(vectors.real, float("-inf")), builder.trunc(streamed, ir.IntType(1))
        place = cgutils.alloca_once_value(builder, ahead)
        args = width, x, xi, xa, xb, w, wa, wb, na, nb, s, si, beside, least, streamed, y, yi
        _tile._emit_tile(builder, vectors, args, place, ir.IntType(64)(64), 14, 2)

    assembly = _arm(17, emit)
    assert len(re.findall(FUSED, assembly)) == 28 and not re.search(f"fmul|{CALL}", assembly)


@pytest.mark.parametrize("group", [1, 2])
def test_the_tile_of_channels_on_arm(group, monkeypatch):
    """The products are fused in every case, of 1 to 14 rows (of groups, 6) and one vector or two."""
    monkeypatch.setattr(_vector, "VECTOR_BYTES", 16)

    def emit(builder, args):
        args = list(args)
        args.insert(15, ir.Constant(ir.FloatType(), float("-inf")))  # least
        signature = types.void(types.UniTuple(types.float32, group))
        _channel_tile._emit_tiles(builder, signature, [None, *args])

    assembly = _arm(18, emit)
    rows = sum(range(1, 15)) if group == 1 else sum(range(1, 7))
    assert len(re.findall(FUSED, assembly)) == group * rows * 3 and not re.search(f"fmul|{CALL}", assembly)


@pytest.mark.parametrize("bits", [32, 64])
def test_a_transform_on_arm(bits, monkeypatch):
    """All its products are fused with a sum."""
    monkeypatch.setattr(_vector, "VECTOR_BYTES", 16)

    def emit(builder, args):
        _transform.emit_transform(builder, bits, {1: [[1, 2, 0], [1, 3, 0]]}, args)

    assembly = _arm(8, emit)
    assert re.search(FUSED, assembly) and not re.search(f"fmul|{CALL}", assembly)
