"""Vector instructions, for what numba has no words for: how the intrinsics of this package emit LLVM's.

A partial vector is read and written under a mask, so no byte outside an array is touched.
"""

from contextlib import contextmanager

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from ._jit import shared


def _bytes_and_registers():
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


VECTOR_BYTES, REGISTERS = _bytes_and_registers()
STREAMED = 4 * 1024 * 1024  # bytes: a larger result is written past the caches, where the next reader hardly finds it
LINE = 64  # bytes of a cache line
_I1, _I32, _I64 = ir.IntType(1), ir.IntType(32), ir.IntType(64)


class Vectors:
    """Emits instructions of vectors of reals of so many bits; strides and counts are in elements."""

    def __init__(self, builder, bits):
        self.builder, self.lanes, self.size = builder, VECTOR_BYTES * 8 // bits, bits // 8  # size: of an element
        self.real = ir.FloatType() if bits == 32 else ir.DoubleType()
        self.type, mask = ir.VectorType(self.real, self.lanes), ir.VectorType(_I1, self.lanes)

        def declare(name, result, *arguments, element=f"f{bits}"):
            kind = ir.FunctionType(result, arguments)
            return cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v{self.lanes}{element}")

        self._fma = declare("fmuladd", self.type, self.type, self.type, self.type)
        self._masked_load = declare("masked.load", self.type, self.type.as_pointer(), _I32, mask, self.type)
        self._masked_store = declare("masked.store", ir.VoidType(), self.type, self.type.as_pointer(), _I32, mask)
        numbers = ir.VectorType(_I32, self.lanes)
        self._masked_load_of_numbers = declare(
            "masked.load", numbers, numbers.as_pointer(), _I32, mask, numbers, element="i32"
        )
        self._masked_store_of_numbers = declare(
            "masked.store", ir.VoidType(), numbers, numbers.as_pointer(), _I32, mask, element="i32"
        )

    def pointer(self, address):
        return self.builder.inttoptr(address, self.real.as_pointer())

    def constant(self, number):
        return ir.Constant(self.type, [float(number)] * self.lanes)

    def splat(self, value):
        """`value` in every lane."""
        undefined = ir.Constant(ir.VectorType(value.type, self.lanes), ir.Undefined)
        one = self.builder.insert_element(undefined, value, _I32(0))
        return self.builder.shuffle_vector(
            one, undefined, ir.Constant(ir.VectorType(_I32, self.lanes), [0] * self.lanes)
        )

    def mask(self, count):
        """The lanes below `count`, which is positive.

        From the bits of an integer: a comparison LLVM moves to where its result is used, into the loops.
        """
        builder, word = self.builder, ir.IntType(self.lanes)
        most = count.type(self.lanes)
        missing = builder.sub(most, builder.select(builder.icmp_signed("<", count, most), count, most))
        bits = builder.lshr(word(2**self.lanes - 1), builder.trunc(missing, word))
        return builder.bitcast(bits, ir.VectorType(_I1, self.lanes))

    def along(self, count, emit):
        """Emit a loop over `count` elements: emit(first, None) for each whole vector, emit(first, mask) for a rest."""
        builder, lanes = self.builder, count.type(self.lanes)
        with cgutils.for_range(builder, builder.sdiv(count, lanes)) as loop:
            emit(builder.mul(loop.index, lanes), None)
        left = builder.srem(count, lanes)
        with builder.if_then(builder.icmp_signed(">", left, left.type(0))):
            emit(builder.sub(count, left), self.mask(left))

    def load(self, pointer, mask=None):
        """The vector at a pointer to its first element; zeros where the mask is not set."""
        at = self.builder.bitcast(pointer, self.type.as_pointer())
        if mask is None:
            return self.builder.load(at, align=self.size)  # arrays need not be aligned to vectors
        return self.builder.call(self._masked_load, [at, _I32(self.size), mask, self.constant(0)])

    def load_numbers(self, pointer, mask=None):
        """As load, of whole numbers of 32 bits."""
        numbers = ir.VectorType(_I32, self.lanes)
        at = self.builder.bitcast(pointer, numbers.as_pointer())
        if mask is None:
            return self.builder.load(at, align=4)
        return self.builder.call(self._masked_load_of_numbers, [at, _I32(4), mask, ir.Constant(numbers, None)])

    def store(self, value, pointer, mask=None):
        """Store a vector, of whole numbers of 32 bits if it is one."""
        at = self.builder.bitcast(pointer, value.type.as_pointer())
        whole = value.type != self.type
        align = 4 if whole else self.size
        if mask is None:
            self.builder.store(value, at, align=align)
        else:
            store = self._masked_store_of_numbers if whole else self._masked_store
            self.builder.call(store, [value, at, _I32(align), mask])

    def stream(self, value, pointer):
        """Store past the caches, so that no line is read before it is written; at a multiple of VECTOR_BYTES.

        Other threads see it after fence().
        """
        builder = self.builder
        store = builder.store(value, builder.bitcast(pointer, self.type.as_pointer()), align=VECTOR_BYTES)
        store.set_metadata("nontemporal", builder.module.add_metadata([_I32(1)]))

    def prefetch(self, address, into=2):
        """Fetch the cache line at an address in bytes into the L2 cache: it is read soon, and no hardware foresees it.

        into: 1 for the L1 cache, which is for what lies in L2 and is read within a few steps. It waits for few lines at
        a time, and products for those. What the next block needs, in winograd.py not fetched, into L1 and into L2: 64
        to 64 channels at 56² 6.5, 7.2, 6.5 ms; 16 at 32², weights' gradient 3.1, 2.7, 2.1.
        """
        byte = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte, _I32, _I32, _I32])
        fetch = cgutils.get_or_insert_function(self.builder.module, kind, "llvm.prefetch.p0i8")
        place = self.builder.inttoptr(address, byte)
        self.builder.call(fetch, [place, _I32(0), _I32(4 - into), _I32(1)])  # to read, 3 for L1 and 2 for L2, data

    def can_stream(self, wanted, address, *steps):
        """Whether the integer `wanted` is not 0, and an address and steps of elements are multiples of VECTOR_BYTES."""
        builder, size = self.builder, _I64(self.size)
        remainder = address
        for step in steps:
            remainder = builder.or_(remainder, builder.mul(step, size))
        remainder = builder.and_(remainder, _I64(VECTOR_BYTES - 1))
        return builder.and_(builder.icmp_signed("!=", wanted, _I64(0)), builder.icmp_signed("==", remainder, _I64(0)))

    def beside(self, pointer, distance):
        """The pointer `distance` bytes further on."""
        return self.pointer(self.builder.add(self.builder.ptrtoint(pointer, _I64), distance))

    def fma(self, a, b, c):
        """a * b + c, rounded once."""
        return self.builder.call(self._fma, [a, b, c])

    def where_positive(self, value, x):
        """value, but 0 where x <= 0: a ReLU's gradient. NaN is not <= 0."""
        zero = self.constant(0)
        return self.builder.select(self.builder.fcmp_ordered("<=", x, zero), zero, value)

    def at_least(self, value, least):
        """The greater of both; a NaN in `value` stays."""
        return self.builder.select(self.builder.fcmp_ordered("<", value, least), least, value)


@intrinsic
def copy(context, kind, count, x, y):
    """Copy `count` elements of kind's dtype from address x to y (in bytes): runs too short to call a function for."""
    return _along_a_run(kind, lambda vectors, x, y, inside: vectors.load(x, inside))


@intrinsic
def add(context, kind, count, x, y):
    """Add `count` elements at address x to those at y, likewise."""
    return _along_a_run(
        kind, lambda vectors, x, y, inside: vectors.builder.fadd(vectors.load(y, inside), vectors.load(x, inside))
    )


def _along_a_run(kind, value):
    """What an intrinsic returns that stores value(vectors, x, y, mask) at y, vector by vector."""

    def emit(context, builder, signature, args):
        vectors = Vectors(builder, kind.bitwidth)
        count, x, y = args[1], vectors.pointer(args[2]), vectors.pointer(args[3])

        def one(start, inside):
            at_x, at_y = builder.gep(x, [start]), builder.gep(y, [start])
            vectors.store(value(vectors, at_x, at_y, inside), at_y, inside)

        vectors.along(count, one)
        return context.get_dummy_value()

    return types.void(kind, types.intp, types.intp, types.intp), emit


@intrinsic
def stream(context, kind, count, x, y):
    """copy, past the caches; y is a multiple of the dtype's size. Other threads see y after fence()."""

    def emit(context, builder, signature, args):
        vectors = Vectors(builder, kind.bitwidth)
        lanes, size = _I64(vectors.lanes), _I64(kind.bitwidth // 8)
        count, x, y = args[1], vectors.pointer(args[2]), vectors.pointer(args[3])
        beyond = builder.urem(builder.udiv(args[3], size), lanes)  # elements of y's first vector that lie before y
        head = builder.urem(builder.sub(lanes, beyond), lanes)
        head = builder.select(builder.icmp_signed("<", head, count), head, count)
        whole = builder.sdiv(builder.sub(count, head), lanes)

        def part(start, length):
            with builder.if_then(builder.icmp_signed(">", length, _I64(0))):
                inside = vectors.mask(length)
                vectors.store(vectors.load(builder.gep(x, [start]), inside), builder.gep(y, [start]), inside)

        part(_I64(0), head)
        with cgutils.for_range(builder, whole) as loop:
            start = builder.add(head, builder.mul(loop.index, lanes))
            vectors.stream(vectors.load(builder.gep(x, [start])), builder.gep(y, [start]))
        start = builder.add(head, builder.mul(whole, lanes))
        part(start, builder.sub(count, start))
        return context.get_dummy_value()

    return types.void(kind, types.intp, types.intp, types.intp), emit


@intrinsic
def transpose(context, kind, rows, columns, x, x_column, y, y_row):
    """y[i, j] = x[j, i], rows and columns of y; addresses in bytes, steps in elements. Squares of a vector's lanes."""
    return shared(types.void(kind, *[types.intp] * 6), _emit_transpose)


def _emit_transpose(builder, signature, args):
    vectors = Vectors(builder, signature.args[0].bitwidth)
    _, rows, columns, x, x_column, y, y_row = args
    lanes, size = _I64(vectors.lanes), _I64(vectors.size)
    x_column, y_row = builder.mul(x_column, size), builder.mul(y_row, size)
    with _squares(builder, rows, lanes) as row, _squares(builder, columns, lanes) as column:
        source = builder.add(builder.add(x, builder.mul(row, size)), builder.mul(column, x_column))
        target = builder.add(builder.add(y, builder.mul(row, y_row)), builder.mul(column, size))
        high, wide = builder.sub(rows, row), builder.sub(columns, column)
        whole = builder.and_(*(builder.icmp_signed(">=", count, lanes) for count in (high, wide)))
        with builder.if_else(whole) as (then, otherwise):
            with then:
                _emit_square(builder, vectors, None, None, source, x_column, target, y_row)
            with otherwise:
                _emit_square(builder, vectors, high, wide, source, x_column, target, y_row)


@contextmanager
def _squares(builder, count, lanes):
    """A loop over the first of every `lanes` of so many."""
    with cgutils.for_range(builder, builder.sdiv(builder.add(count, builder.sub(lanes, _I64(1))), lanes)) as loop:
        yield builder.mul(loop.index, lanes)


def _emit_square(builder, vectors, rows, columns, x, x_column, y, y_row):
    """One square, or what is there of it; steps in bytes."""
    lanes = vectors.lanes
    inside, values = columns and vectors.mask(columns), []
    for j in range(lanes):
        before = builder.mul(x_column, _I64(j))
        if columns:  # a column that is not there stands for one that is: nothing is read beyond
            before = builder.select(builder.icmp_signed("<", _I64(j), columns), before, _I64(0))
        values.append(vectors.load(vectors.pointer(builder.add(x, before)), rows and vectors.mask(rows)))
    for distance in (1 << bit for bit in range(lanes.bit_length() - 1)):  # exchanges a bit of row and of column
        low = [j if not j & distance else lanes + j - distance for j in range(lanes)]
        high = [j + distance if not j & distance else lanes + j for j in range(lanes)]
        for i in range(lanes):
            if not i & distance:
                pair = values[i], values[i + distance]
                for place, chosen in ((i, low), (i + distance, high)):
                    values[place] = builder.shuffle_vector(*pair, ir.Constant(ir.VectorType(_I32, lanes), chosen))
    for i, value in enumerate(values):
        place = vectors.pointer(builder.add(y, builder.mul(y_row, _I64(i))))
        if rows is None:
            vectors.store(value, place)
        else:
            with builder.if_then(builder.icmp_signed("<", _I64(i), rows)):
                vectors.store(value, place, inside)


@intrinsic
def fence(context):
    """Let other threads see what was streamed before what is written after."""

    def emit(context, builder, signature, args):
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), emit


@intrinsic
def prefetch(context, address):
    """Vectors.prefetch, of the line at an address in bytes."""

    def emit(context, builder, signature, args):
        Vectors(builder, 32).prefetch(args[0])
        return context.get_dummy_value()

    return types.void(types.intp), emit


@intrinsic
def rank(context, x):
    """An integer per real number, in the order of the numbers; -0 is below 0, and NaN above all.

    LLVM makes vectors of a loop for the greatest integer. For the greatest real number it would have to forget of NaN.
    """

    def emit(context, builder, signature, args):
        word = ir.IntType(x.bitwidth)
        greatest, bits = word(2 ** (x.bitwidth - 1) - 1), builder.bitcast(args[0], word)
        negative = builder.ashr(bits, word(x.bitwidth - 1))  # all ones; else 0
        ordered = builder.xor(bits, builder.and_(negative, greatest))  # of negative numbers the larger are less
        return builder.select(builder.fcmp_unordered("uno", args[0], args[0]), greatest, ordered)

    return types.Integer.from_bitwidth(x.bitwidth)(x), emit


@intrinsic
def of_rank(context, number):
    """The real number of a rank."""
    real = {32: types.float32, 64: types.float64}[number.bitwidth]

    def emit(context, builder, signature, args):
        word = ir.IntType(number.bitwidth)
        negative = builder.ashr(args[0], word(number.bitwidth - 1))
        bits = builder.xor(args[0], builder.and_(negative, word(2 ** (number.bitwidth - 1) - 1)))
        return builder.bitcast(bits, context.get_value_type(real))

    return real(number), emit
