"""The register tile: the one inner loop that every convolution and matrix product here runs on.

    y[i, j] = s[i, j] + sum over a < na, b < nb of x[i, a, b] * w[a, b, j]      i < rows,  j < width

Each array is given by the address of its first element and a stride per index; j is contiguous in w, s and y. So one
tile serves a convolution (i: output pixels, a: kernel rows, b: kernel columns and channels), its weight gradient (i:
kernel columns and channels, a: output rows, b: output pixels) and a matrix product (i: rows, b: the summed axis). s
is what is added at the end: a bias (stride 0), zeros, or y itself. (Begun from s, a sum that is cut into parts would
round every product at the size of the whole; VGG's gradients were three times as far from float64's as PyTorch's.)

Rows are cut into tiles as high as the registers allow, and two halves of what is left then. A tile's sums stay in
vector registers; a step loads one row of w and a scalar of x for each of the tile's rows. numba has no loop that LLVM
turns into this, so the tile is emitted as vector instructions. They are compiled once for all kernels: as a part of
each they took half of the time to compile. Every element is summed in the order of (a, b) by fused multiply-adds,
whatever the tile's height: how the work is cut does not change a bit of the result.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ._jit import helper, shared
from ._vector import LINE, REGISTERS, VECTOR_BYTES, Vectors

VECTORS = 2  # a tile is this many vectors wide
# The tallest tile that leaves registers for the row of w and a broadcast: one that spills runs at half the speed.
TALLEST = (REGISTERS - 4) // VECTORS
# The operands mostly lie in L2, whence a step's lines come too late unless they are asked for some steps before: with w
# from there a tile ran at 205 of 270 GFLOP/s, and at 250 so. Twice as far on for x, and its lines were gone again where
# pixels lie 2 kB apart (0.85 times as fast); half as far for w, no difference. A tile of one vector does half of the
# products for as many loads, of which a core does two a cycle: there it costs more than it gains (0.83 times as fast).
_STEPS_W, _STEPS_X = 8, 4
_OWN = 64  # elements from row to row, at most, of sums that a task has to itself
FETCHED = 256 * 1024  # bytes, at most, that a task fetches for the next: they share the L2 cache with its own


def tile_width(dtype):
    """The most columns a tile of this dtype has: what wide operands are cut, or packed, into."""
    return VECTORS * VECTOR_BYTES // dtype.itemsize


def last_step(y, relu, residual):
    """How an output y ends, for tile_last: (beside, least).

    beside: the bytes from an element of y to that of a residual shaped as y; 0 where it is None. least: 0 for a ReLU,
    else -inf.
    """
    beside = 0 if residual is None else residual.ctypes.data - y.ctypes.data
    return beside, y.dtype.type(0 if relu else -np.inf)


@helper
def tile(kind, rows, width, x, xi, xa, xb, w, wa, wb, na, nb, s, si, y, yi, ahead):
    """Compute any number of rows and 1 to tile_width columns; see the module.

    kind is any scalar of the arrays' dtype; x, w, s and y are addresses in bytes, strides count elements. ahead: an
    address or 0; memory from there on is fetched into the L2 cache, a line a step.
    """
    tile_last(kind, rows, width, x, xi, xa, xb, w, wa, wb, na, nb, s, si, 0, -np.inf, False, y, yi, ahead)


@intrinsic(prefer_literal=True)
def tile_last(
    context, kind, rows, width, x, xi, xa, xb, w, wa, wb, na, nb, s, si, beside, least, streamed, y, yi, ahead
):
    """tile for the last sum of an output: adds a residual; what is less than `least` becomes it; NaN stays.

    beside, least: of last_step. streamed: past the caches, if y and its rows begin at multiples of a vector; then call
    fence().
    """
    plain = types.void(kind, *[types.intp] * 14, kind, *[types.intp] * 4)
    if not isinstance(xi, types.Literal) or xi.literal_value != 1:
        return shared(plain, _emit_tiles)
    _, call = shared(plain, _emit_tiles_side_by_side)
    # numba finds what is emitted by the types of the arguments: they must not be those of the other.
    return types.void(*plain.args[:4], xi, *plain.args[5:]), call


@helper
def further(ahead, rows, steps):
    """What is still to be fetched after a call of so many rows and na * nb steps.

    ahead: (address, end, address, end) of two runs of memory, one after the other; zeros where there is none.
    """
    return beyond(ahead, (rows + TALLEST - 1) // TALLEST * steps)


@helper
def beyond(ahead, lines):
    """What is still to be fetched after so many lines."""
    address, end, then, last = ahead
    address += LINE * lines
    return (address, end, then, last) if address < end else (then, last, 0, 0)


def _emit_tiles_side_by_side(builder, signature, args):
    """Where xi is the constant 1, as in the gradients of weights: a small layer's took 2 % longer else."""
    _emit_tiles(builder, signature, (*args[:4], args[4].type(1), *args[5:]))


def _emit_tiles(builder, signature, args):
    (_, rows, width, x, xi, xa, xb, w, wa, wb, na, nb, s, si, beside, least, streamed, y, yi, ahead) = args
    vectors, number = Vectors(builder, signature.args[0].bitwidth), rows.type
    nothing = builder.icmp_signed("==", ahead, number(0))  # then the same line of w, again and again
    place = cgutils.alloca_once_value(builder, builder.select(nothing, w, ahead))
    line = builder.select(nothing, number(0), number(LINE))
    streamed = vectors.can_stream(streamed, y, yi, width)

    def one(height, count, pointers, steps):
        (x, s, y), (xi, si, yi) = pointers, steps
        of_x, of_w = [[opaque(builder, stride) for stride in strides] for strides in ((xa, xb), (wa, wb))]
        args = width, x, xi, *of_x, vectors.pointer(w), *of_w, na, nb, s, si, beside, least, streamed, y, yi
        _emit_tile(builder, vectors, args, place, line, height, count)

    emit_down(builder, vectors, rows, width, TALLEST, (x, s, y), (xi, si, yi), one)


def emit_down(builder, vectors, rows, width, tallest, starts, steps, one):
    """From tile to tile down the rows. One case per height and number of vectors, each with its own registers.

    one(height, count, pointers, steps) emits a case. starts: addresses; of a row, to the next of which it is a step.
    """
    number = rows.type
    wide = builder.zext(builder.icmp_signed(">", width, number(vectors.lanes)), number)
    places = [cgutils.alloca_once_value(builder, vectors.pointer(start)) for start in starts]
    left = cgutils.alloca_once_value(builder, rows)
    following, chosen, done = (builder.append_basic_block(f"tile.{name}") for name in ("following", "one", "done"))
    builder.branch(following)
    builder.position_at_end(following)
    height = _height(builder, builder.load(left), tallest)
    builder.cbranch(builder.icmp_signed(">", height, number(0)), chosen, done)
    builder.position_at_end(chosen)
    pointers = [builder.load(place) for place in places]
    cases = builder.switch(builder.add(builder.mul(height, number(VECTORS)), wide), done)
    for high in range(1, tallest + 1):
        for count in range(1, VECTORS + 1):
            block = builder.append_basic_block(f"tile.{high}x{count}")
            cases.add_case(number(VECTORS * high + count - 1), block)
            with builder.goto_block(block):
                # Else LLVM computes the multiples of all strides for all cases ahead, at each call: 135 cycles.
                own = [opaque(builder, step) for step in steps]
                one(high, count, pointers, own)
                for place, pointer, step in zip(places, pointers, own, strict=True):
                    builder.store(builder.gep(pointer, [builder.mul(step, number(high))]), place)
                builder.store(builder.sub(builder.load(left), number(high)), left)
                builder.branch(following)
    builder.position_at_end(done)


def _height(builder, left, tallest):
    """Of the next tile of so many rows: the tallest, but half of the last two."""
    count = left.type
    half = builder.ashr(builder.add(left, count(1)), count(1))
    last = builder.icmp_signed("<=", left, count(tallest))
    several = builder.icmp_signed(">", left, count(2 * tallest))
    return builder.select(last, left, builder.select(several, count(tallest), half))


def _emit_tile(builder, emitted, args, place, line, height, vectors):
    """The instructions of a tile of fixed height and number of vectors. Each step fetches what `place` points to."""
    width, x, xi, xa, xb, w, wa, wb, na, nb, s, si, beside, least, streamed, y, yi = args
    i64, lanes = ir.IntType(64), emitted.lanes
    inside = emitted.mask(builder.sub(width, i64((vectors - 1) * lanes)))  # of the last vector; those before are whole
    masks = [None] * (vectors - 1) + [inside]

    def at(row, j):
        return builder.gep(row, [i64(j * lanes)])

    def fetch(row_of):
        for i in range(height):
            for j in range(vectors):
                emitted.prefetch(builder.ptrtoint(at(row_of(i), j), i64))

    # What is added in the end is fetched while the products are summed: the residual, and sums begun before, unless
    # their rows are so near that they are a task's own, in its L2 cache (else 0.93 to 0.97 times as fast). Into the L1
    # cache, weights' gradients are 1.02 times as fast in place of 1.02 to 1.15: rows a power of two of bytes apart.
    has_residual = builder.icmp_signed("!=", beside, i64(0))
    with builder.if_then(has_residual):
        fetch(lambda i: emitted.beside(builder.gep(y, [builder.mul(yi, i64(i))]), beside))
    with builder.if_then(builder.icmp_signed(">", si, i64(_OWN))):
        fetch(lambda i: builder.gep(s, [builder.mul(si, i64(i))]))
    # A pointer for every third row, as an address may add a stride and twice a stride. With one for each row, or one
    # that goes from row to row, a step has more instructions than a core takes in while it does the products.
    side_by_side = isinstance(xi, ir.Constant)
    apart = height if side_by_side else 3
    sums = [[cgutils.alloca_once(builder, emitted.type) for _ in range(vectors)] for _ in range(height)]
    for i in range(height):
        for j in range(vectors):
            builder.store(emitted.constant(0), sums[i][j])
    with cgutils.for_range(builder, na) as outer:
        xa_start = builder.gep(x, [builder.mul(outer.index, xa)])
        wa_start = builder.gep(w, [builder.mul(outer.index, wa)])
        pointers = [cgutils.alloca_once(builder, x.type) for _ in range(0, height, apart)]
        for k, pointer in enumerate(pointers):
            builder.store(builder.gep(xa_start, [builder.mul(xi, i64(apart * k))]), pointer)
        with cgutils.for_range(builder, nb) as inner:
            wb_start = builder.gep(wa_start, [builder.mul(inner.index, wb)])
            starts = [builder.load(pointer) for pointer in pointers]
            starts[1:] = [opaque(builder, start) for start in starts[1:]]
            emitted.prefetch(builder.load(place))
            builder.store(builder.add(builder.load(place), line), place)
            if vectors == VECTORS:
                bytes_of_w, last_of_x = vectors * VECTOR_BYTES, (height - 1) * emitted.size
                _fetch(builder, emitted, wb_start, wb, _STEPS_W, range(0, bytes_of_w, LINE))
                if side_by_side:  # else a row's next element is mostly in the line of this one
                    _fetch(builder, emitted, starts[0], xb, _STEPS_X, [*range(0, last_of_x, LINE), last_of_x])
            row = [emitted.load(at(wb_start, j), masks[j]) for j in range(vectors)]
            for i in range(height):
                at_x = builder.gep(starts[i // apart], [builder.mul(xi, i64(i % apart))])
                value = emitted.splat(builder.load(at_x))
                for j in range(vectors):
                    builder.store(emitted.fma(value, row[j], builder.load(sums[i][j])), sums[i][j])
            for start, pointer in zip(starts, pointers, strict=True):
                builder.store(builder.gep(start, [xb]), pointer)
    with builder.if_then(has_residual):
        for i in range(height):
            row = emitted.beside(builder.gep(y, [builder.mul(yi, i64(i))]), beside)
            for j in range(vectors):
                value = builder.fadd(builder.load(sums[i][j]), emitted.load(at(row, j), masks[j]))
                builder.store(value, sums[i][j])
    least = emitted.splat(least)
    with builder.if_else(streamed) as branches:
        for branch, past_caches in zip(branches, (True, False), strict=True):
            with branch:
                for i in range(height):
                    row, start = builder.gep(y, [builder.mul(yi, i64(i))]), builder.gep(s, [builder.mul(si, i64(i))])
                    for j in range(vectors):
                        value = builder.fadd(emitted.load(at(start, j), masks[j]), builder.load(sums[i][j]))
                        value = emitted.at_least(value, least)
                        if past_caches:
                            emitted.stream(value, at(row, j))
                        else:
                            emitted.store(value, at(row, j), masks[j])


def _fetch(builder, emitted, pointer, stride, steps, offsets):
    """Fetch into the L1 cache what lies so many steps on from a pointer, and these bytes further."""
    then = builder.ptrtoint(builder.gep(pointer, [builder.mul(stride, stride.type(steps))]), ir.IntType(64))
    for offset in offsets:
        emitted.prefetch(builder.add(then, then.type(offset)), into=1)


def opaque(builder, value):
    """The value, of which LLVM does not know whence it came: it cannot compute it from another, nor ahead of here."""
    if isinstance(value, ir.Constant):
        return value
    same = ir.InlineAsm(ir.FunctionType(value.type, [value.type]), "", "=r,0")
    return builder.call(same, [value])
