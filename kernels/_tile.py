"""The register tile: the one inner loop that every convolution and matrix product here runs on.

    y[i, j] = s[i, j] + sum over a < na, b < nb of x[i, a, b] * w[a, b, j]      i < height,  j < width

Each array is given by the address of its first element and a stride per index; j is contiguous in w, s and y. So one
tile serves a convolution (i: output pixels, a: kernel rows, b: kernel columns and channels), its weight gradient (i:
kernel columns and channels, a: output rows, b: output pixels) and a matrix product (i: rows, b: the summed axis). s
is what is added at the end: a bias (stride 0), zeros, or y itself. (Begun from s, a sum that is cut into parts would
round every product at the size of the whole; VGG's gradients were three times as far from float64's as PyTorch's.)

The height x width sums stay in vector registers; a step loads one row of w and `height` scalars of x. numba has no loop
that LLVM turns into this, so the tile is emitted as vector instructions. Every element is summed in the order of (a, b)
by fused multiply-adds, whatever the tile's height: how the work is cut does not change a bit of the result.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from ._jit import helper


def _vector_bytes_and_registers():
    """The width of a vector register in bytes, and how many there are, on the CPU that numba compiles for.

    NUMBA_CPU_FEATURES counts and NUMBA_ENABLE_AVX; of NUMBA_CPU_NAME alone LLVM does not tell what it implies.
    """
    triple, _, features = cpu_target.target_context.codegen().magic_tuple()
    enabled = features.split(",")
    if "+avx512f" in enabled:
        return 64, 32
    if "+avx" in enabled or "+avx2" in enabled:
        return 32, 16
    if triple.startswith(("aarch64", "arm64")):  # NEON is part of it, whether or not the system tells
        return 16, 32
    return 16, 16


VECTOR_BYTES, _REGISTERS = _vector_bytes_and_registers()
VECTORS = 2  # a tile is this many vectors wide
# The tallest tile that leaves registers for the row of w and a broadcast: one that spills runs at half the speed.
TALLEST = (_REGISTERS - 4) // VECTORS


def tile_width(dtype):
    """The most columns a tile of this dtype has: what wide operands are cut, or packed, into."""
    return VECTORS * VECTOR_BYTES // dtype.itemsize


@helper
def tile(kind, height, width, x, xi, xa, xb, w, wa, wb, na, nb, s, si, y, yi):
    """Compute a tile of `height` (1 to TALLEST) rows and `width` (1 to tile_width) columns; see the module.

    kind is any scalar of the arrays' dtype; x, w, s and y are addresses in bytes, strides count elements.
    """
    _tile(kind, height, width, x, xi, xa, xb, w, wa, wb, na, nb, s, si, y, yi)


@intrinsic
def _tile(context, kind, height, width, x, xi, xa, xb, w, wa, wb, na, nb, s, si, y, yi):
    lanes = VECTOR_BYTES * 8 // kind.bitwidth

    def emit(context, builder, signature, args):
        """One case per height and number of vectors, each with its own registers."""
        height, width = args[1:3]
        several = builder.icmp_signed(">", width, width.type(lanes))
        done = builder.append_basic_block("tile.done")
        shape = builder.add(builder.mul(height, height.type(VECTORS)), builder.zext(several, height.type))
        cases = builder.switch(shape, done)
        for rows in range(1, TALLEST + 1):
            for vectors in range(1, VECTORS + 1):
                block = builder.append_basic_block(f"tile.{rows}x{vectors}")
                cases.add_case(height.type(VECTORS * rows + vectors - 1), block)
                with builder.goto_block(block):
                    _emit_tile(builder, kind.bitwidth, args, rows, vectors, lanes)
                    builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    return types.void(kind, *[types.intp] * 15), emit


def _emit_tile(builder, bits, args, height, vectors, lanes):
    """The instructions of a tile of fixed height and number of vectors."""
    _, _, width, x, xi, xa, xb, w, wa, wb, na, nb, s, si, y, yi = args
    i32, i64 = ir.IntType(32), ir.IntType(64)
    real = ir.FloatType() if bits == 32 else ir.DoubleType()
    vector, mask_type = ir.VectorType(real, lanes), ir.VectorType(ir.IntType(1), lanes)
    align = bits // 8  # arrays need not be aligned to vectors

    def declare(name, result, *arguments):
        function_type = ir.FunctionType(result, arguments)
        return cgutils.get_or_insert_function(builder.module, function_type, f"llvm.{name}.v{lanes}f{bits}")

    fma = declare("fmuladd", vector, vector, vector, vector)
    # A partial vector is read and written under a mask, so no byte outside the array is touched.
    masked_load = declare("masked.load", vector, vector.as_pointer(), i32, mask_type, vector)
    masked_store = declare("masked.store", ir.VoidType(), vector, vector.as_pointer(), i32, mask_type)

    def broadcast(value):
        vector_type = ir.VectorType(value.type, lanes)
        undefined = ir.Constant(vector_type, ir.Undefined)
        one = builder.insert_element(undefined, value, i32(0))
        return builder.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(i32, lanes), [0] * lanes))

    def address(row, j):
        return builder.bitcast(builder.gep(row, [i64(j * lanes)]), vector.as_pointer())

    lane = ir.Constant(ir.VectorType(i64, lanes), list(range((vectors - 1) * lanes, vectors * lanes)))
    inside = builder.icmp_signed("<", lane, broadcast(width))  # of the last vector; those before it are whole

    def load(row, j):
        if j < vectors - 1:
            return builder.load(address(row, j), align=align)
        return builder.call(masked_load, [address(row, j), i32(align), inside, ir.Constant(vector, [0.0] * lanes)])

    def store(value, row, j):
        if j < vectors - 1:
            builder.store(value, address(row, j), align=align)
        else:
            builder.call(masked_store, [value, address(row, j), i32(align), inside])

    x, w, s, y = (builder.inttoptr(start, real.as_pointer()) for start in (x, w, s, y))
    sums = [[cgutils.alloca_once(builder, vector) for _ in range(vectors)] for _ in range(height)]
    for i in range(height):
        for j in range(vectors):
            builder.store(ir.Constant(vector, [0.0] * lanes), sums[i][j])
    with cgutils.for_range(builder, na) as outer:
        xa_start = builder.gep(x, [builder.mul(outer.index, xa)])
        wa_start = builder.gep(w, [builder.mul(outer.index, wa)])
        with cgutils.for_range(builder, nb) as inner:
            xb_start = builder.gep(xa_start, [builder.mul(inner.index, xb)])
            wb_start = builder.gep(wa_start, [builder.mul(inner.index, wb)])
            row = [load(wb_start, j) for j in range(vectors)]
            for i in range(height):
                value = broadcast(builder.load(builder.gep(xb_start, [builder.mul(xi, i64(i))])))
                for j in range(vectors):
                    builder.store(builder.call(fma, [value, row[j], builder.load(sums[i][j])]), sums[i][j])
    for i in range(height):
        row, start = builder.gep(y, [builder.mul(yi, i64(i))]), builder.gep(s, [builder.mul(si, i64(i))])
        for j in range(vectors):
            store(builder.fadd(load(start, j), builder.load(sums[i][j])), row, j)
