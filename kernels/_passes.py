"""Passes over rows of channels in vector instructions, whose sums and numbers per channel stay in registers.

numba's inner loop along a row reads and writes a sum in memory for every element: where a normalization's backward
needs two arrays, that is seven loads and two stores a vector. Here the inner loop goes down the rows, with the numbers
of a few vectors of channels at hand: its sums over 128 kB of each, in the L2 cache, took 10 us of a core and take 7.
"""

from functools import reduce

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ._jit import helper, shared
from ._vector import REGISTERS, STREAMED, VECTOR_BYTES, Vectors, fence

ABREAST = 4 if REGISTERS >= 32 else 2  # vectors of a row that are at hand together
_PART = 16 * 1024  # bytes of an array that are passed over before the next vectors of the same rows
_NEAR = 2048  # bytes that a pass along memory fetches ahead


_NAMES = set()


def over_rows(name, inputs, numbers, sums, outputs, formula):
    """A function for numba: apply(scalar, first, last, wide, far, streamed, addresses), a pass over elements.

    It is compiled once, under its name. It goes over elements first to last of contiguous arrays, as rows of `wide`
    elements, of which the last may be shorter. addresses: in bytes, of arrays; of these,

    inputs, outputs: the places of those that it reads and writes.
    numbers, sums: the places of those of `wide` elements, one for each of a row; sums are added to.
    formula: a function (vectors, scalar, inputs, numbers, sums) of vectors of elements, which gives the new sums and
        the outputs.

    far: how many bytes ahead the inputs are fetched into the L2 cache; 0: so far that they come in time. streamed:
    outputs go past the caches, if they and rows begin at multiples of a vector; then call fence().

    Raises:
        ValueError: a second pass of the same name, for which the code of the first would be found.
    """

    def emit(builder, signature, args):
        vectors = Vectors(builder, signature.args[0].bitwidth)
        pointers = [vectors.pointer(address) for address in cgutils.unpack_tuple(builder, args[-1])]
        arrays = [[pointers[place] for place in places] for places in (inputs, numbers, sums, outputs)]
        _emit(builder, vectors, formula, args[:-1], *arrays)

    if name in _NAMES:
        raise ValueError(f"over_rows: a pass named {name!r} is already defined")
    _NAMES.add(name)
    emit.__qualname__ = f"{over_rows.__name__}.{name}"

    @intrinsic
    def apply(context, scalar, first, last, wide, far, streamed, addresses):
        return shared(types.void(scalar, *[types.intp] * 5, types.UniTuple(types.intp, len(addresses))), emit)

    return apply


TASK = 16384  # elements of flat arrays: more than one for what two threads should share


def over_elements(name, inputs, formula):
    """A function for numba: apply(y, task, addresses), the elements of task number `task` of flat arrays, TASK to each.

    addresses: in bytes, of so many inputs and of y, which the formula, a function (vectors, *inputs), gives.
    """
    places = tuple(range(inputs))
    one = over_rows(
        name, places, (), (), (inputs,), lambda vectors, _, values, *none: ([], [formula(vectors, *values)])
    )

    @helper
    def apply(y, task, addresses):
        first = task * TASK
        wide, streamed = ABREAST * VECTOR_BYTES // y.itemsize, y.itemsize * y.size >= STREAMED
        one(y.dtype.type(0), first, min(first + TASK, y.size), wide, 0, streamed, addresses)
        fence()

    return apply


def _emit(builder, vectors, formula, args, inputs, numbers, sums, outputs):
    scalar, first, last, wide, far, streamed = args
    i64 = first.type
    group, size = i64(ABREAST * vectors.lanes), i64(vectors.size)
    near = builder.select(builder.icmp_signed(">", wide, group), i64(_PART), i64(_NEAR))
    far = builder.select(builder.icmp_signed("==", far, i64(0)), near, far)
    elements = builder.sub(last, first)
    rows, rest = builder.udiv(elements, wide), builder.urem(elements, wide)
    at_once = builder.udiv(i64(_PART), builder.mul(wide, size))
    at_once = builder.select(builder.icmp_signed(">", at_once, i64(1)), at_once, i64(1))
    parts = builder.udiv(builder.add(rows, builder.sub(at_once, i64(1))), at_once)
    aligned = [vectors.can_stream(streamed, builder.ptrtoint(builder.gep(y, [first]), i64), wide) for y in outputs]
    every = reduce(builder.and_, aligned, ir.IntType(1)(1))
    scalar = vectors.splat(scalar)
    with cgutils.for_range(builder, builder.add(parts, i64(1))) as part:  # the last: what is left of a row
        is_rest = builder.icmp_signed("==", part.index, parts)
        top = builder.select(is_rest, rows, builder.mul(part.index, at_once))
        left = builder.sub(rows, top)
        count = builder.select(builder.icmp_signed("<", left, at_once), left, at_once)
        count = builder.select(is_rest, i64(1), count)
        lanes = builder.select(is_rest, rest, wide)
        start = builder.add(first, builder.mul(top, wide))
        groups = builder.udiv(builder.add(lanes, builder.sub(group, i64(1))), group)
        with cgutils.for_range(builder, groups) as at:
            lane = builder.mul(at.index, group)
            have = builder.sub(lanes, lane)
            common = builder, vectors, formula, (scalar, start, wide, count, far), (inputs, numbers, sums, outputs)
            with builder.if_else(builder.icmp_signed(">=", have, group)) as (whole, partial):
                with whole:
                    with builder.if_else(every) as (then, otherwise):
                        with then:
                            _emit_group(*common, lane, ABREAST, None, True)
                        with otherwise:
                            _emit_group(*common, lane, ABREAST, None, False)
                with partial:
                    width = i64(vectors.lanes)
                    singles = builder.udiv(builder.add(have, builder.sub(width, i64(1))), width)
                    with cgutils.for_range(builder, singles) as single:
                        before = builder.mul(single.index, width)
                        mask = vectors.mask(builder.sub(have, before))
                        _emit_group(*common, builder.add(lane, before), 1, mask, False)


def _emit_group(builder, vectors, formula, args, arrays, lane, abreast, mask, streams):
    """A few vectors of some rows, of which the first begins at element `start`."""
    (scalar, start, wide, rows, far), (inputs, numbers, sums, outputs) = args, arrays
    i64 = lane.type
    lanes = [builder.add(lane, i64(j * vectors.lanes)) for j in range(abreast)]

    def load(array, at):
        return vectors.load(builder.gep(array, [at]), mask)

    own = [[load(number, at) for number in numbers] for at in lanes]
    totals = [[cgutils.alloca_once_value(builder, load(total, at)) for total in sums] for at in lanes]
    with cgutils.for_range(builder, rows) as row:
        begin = builder.add(start, builder.mul(row.index, wide))
        for j, at in enumerate(lanes):
            element = builder.add(begin, at)
            values = []
            for array in inputs:
                place = builder.gep(array, [element])
                vectors.prefetch(builder.add(builder.ptrtoint(place, i64), far))
                values.append(vectors.load(place, mask))
            news, results = formula(vectors, scalar, values, own[j], [builder.load(slot) for slot in totals[j]])
            for slot, new in zip(totals[j], news, strict=True):
                builder.store(new, slot)
            for array, result in zip(outputs, results, strict=True):
                place = builder.gep(array, [element])
                if streams:
                    vectors.stream(result, place)
                else:
                    vectors.store(result, place, mask)
    for j, at in enumerate(lanes):
        for total, slot in zip(sums, totals[j], strict=True):
            vectors.store(builder.load(slot), builder.gep(total, [at]), mask)
