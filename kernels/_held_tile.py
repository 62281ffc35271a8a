"""The register tile where few channels are summed: a column of vectors of weights stays in registers, rows go by.

    y[i, j] = sum over b < nb of x[i, b] * w[b, j]      nb where holds(nb)

_tile.py keeps the sums of 14 rows in registers. Over 12 or 16 channels it spends half of its time on beginning and
ending them. Here a sum lives for nb products, each of a weight in a register and a scalar that the instruction itself
fetches from x. In turns, Winograd's form from 16 to 16 channels at 32²: 1.15 times as fast.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ._jit import helper, shared
from ._vector import LINE, REGISTERS, Vectors

_ROWS = 8  # at a time: two products a cycle, each of which takes four
_FEWEST, _MOST = 12, min(16, REGISTERS - _ROWS - 1)  # channels


@helper
def holds(nb):
    """Whether tile_held has a case for so many channels. With 16 registers it has none."""
    return _FEWEST <= nb <= _MOST


@intrinsic
def tile_held(context, kind, rows, width, x, w, wb, nb, y, yi, ahead):
    """Any number of rows and columns; x has rows of nb, one after the other.

    kind is any scalar of the arrays' dtype; x, w and y are addresses in bytes, strides count elements. ahead: an
    address or 0; memory from there on is fetched into the L2 cache, a line for each row and vector of columns.
    """
    return shared(types.void(kind, *[types.intp] * 9), _emit)


def _emit(builder, signature, args):
    _, rows, width, x, w, wb, nb, y, yi, ahead = args
    vectors = Vectors(builder, signature.args[0].bitwidth)
    nothing = builder.icmp_signed("==", ahead, ahead.type(0))  # then the same line of w, again and again
    place = cgutils.alloca_once_value(builder, builder.select(nothing, w, ahead))
    line = builder.select(nothing, ahead.type(0), ahead.type(LINE))
    for count in range(_FEWEST, _MOST + 1):
        with builder.if_then(builder.icmp_signed("==", nb, nb.type(count))):
            _emit_columns(builder, vectors, count, rows, width, x, w, wb, y, yi, place, line)


def _emit_columns(builder, vectors, nb, rows, width, x, w, wb, y, yi, place, line):
    i64 = ir.IntType(64)

    def column(first, inside):
        """A vector of columns from `first` on, of all rows."""
        at = [builder.gep(vectors.pointer(w), [builder.add(first, builder.mul(wb, i64(b)))]) for b in range(nb)]
        weights = [vectors.load(pointer, inside) for pointer in at]
        x_place = cgutils.alloca_once_value(builder, vectors.pointer(x))
        y_place = cgutils.alloca_once_value(builder, builder.gep(vectors.pointer(y), [first]))

        def next_rows(count):
            x_start, y_start = builder.load(x_place), builder.load(y_place)
            sums = [vectors.constant(0)] * count
            for b, weight in enumerate(weights):
                for i in range(count):
                    value = vectors.splat(builder.load(builder.gep(x_start, [i64(i * nb + b)])))
                    sums[i] = vectors.fma(value, weight, sums[i])
            for i, value in enumerate(sums):
                vectors.store(value, builder.gep(y_start, [builder.mul(yi, i64(i))]), inside)
                vectors.prefetch(builder.load(place))
                builder.store(builder.add(builder.load(place), line), place)
            builder.store(builder.gep(x_start, [i64(count * nb)]), x_place)
            builder.store(builder.gep(y_start, [builder.mul(yi, i64(count))]), y_place)

        with cgutils.for_range(builder, builder.sdiv(rows, i64(_ROWS))):
            next_rows(_ROWS)
        with cgutils.for_range(builder, builder.srem(rows, i64(_ROWS))):
            next_rows(1)

    vectors.along(width, column)
