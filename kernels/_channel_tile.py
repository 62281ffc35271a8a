"""The register tile of channels of which only a few meet: depthwise convolution, and groups of few channels.

    y[i, j] = s[i, j] + sum over a < na, b < nb, k < g of x[i, a, b, j - j % g + k] * w[a, b, k, j]      channel_tile
    y[i, k, j] = s[i, k, j] + sum over a < na, b < nb of x[i, a, b, j - j % g + k] * w[a, b, j]    channel_tile_gradient

g neighbouring channels are a group; depthwise, g is 1. j is contiguous in all arrays. _tile.py multiplies a scalar of x
by a vector of w, here both are vectors, and x's is one that the group's channel k fills: its lanes are exchanged on the
way from memory to the product. Otherwise it is as there: the sums stay in registers, each is one of fused multiply-adds
in the order of (a, b, k), s is added in the end, and the code is compiled once for all kernels, for each g.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ._jit import shared
from ._tile import TALLEST, emit_down, opaque
from ._vector import VECTOR_BYTES, Vectors

_FEW = 6  # rows where g > 1: enough to keep the products going, and each is written out g times


def channels_that_share_a_vector(dtype):
    """The sizes of groups g for which there is a tile: 1 and powers of two that are less than a vector."""
    return [g for g in (1, 2, 4, 8) if g * dtype.itemsize < VECTOR_BYTES]


@intrinsic
def channel_tile(
    context, group, rows, width, x, xi, xa, xb, w, wa, wb, wk, na, nb, s, si, beside, least, streamed, y, yi
):
    """Any number of rows, 1 to tile_width columns, of whole groups.

    group: a tuple of g scalars of the arrays' dtype. x, w, s and y are addresses in bytes, strides count elements.
    beside, least: of last_step. streamed: past the caches, if y and its rows begin at multiples of a vector; then call
    fence().
    """
    return shared(types.void(group, *[types.intp] * 15, group.dtype, *[types.intp] * 3), _emit_tiles)


@intrinsic
def channel_tile_gradient(context, group, rows, width, x, xi, xa, xb, w, wa, wb, na, nb, s, si, y, yi):
    """Any number of rows i, likewise; (i, k) are the rows of s and of y."""
    return shared(types.void(group, *[types.intp] * 15), _emit_gradient_tiles)


def _emit_tiles(builder, signature, args):
    group = signature.args[0]
    _, rows, width, x, xi, xa, xb, w, wa, wb, wk, na, nb, s, si, beside, least, streamed, y, yi = args
    vectors = Vectors(builder, group.dtype.bitwidth)
    streamed, least = vectors.can_stream(streamed, y, yi, width), vectors.splat(least)

    def one(height, count, pointers, steps):
        (x, s, y), (xi, si, yi), tile = pointers, steps, _Tile(builder, vectors, width, count)

        def add_products(x, w, sums):
            for k in range(group.count):
                weights = tile.loads(tile.row(w, wk, k))
                # Read again for each k: LLVM would keep them, and have no registers for the sums.
                pixels = vectors.pointer(opaque(builder, builder.ptrtoint(x, ir.IntType(64)))) if k else x
                for i in range(height):
                    tile.add_products(sums[i], tile.loads(tile.row(pixels, xi, i), group.count, k), weights)

        sums = tile.sums(height, (x, xa, xb), (vectors.pointer(w), wa, wb), na, nb, add_products)
        with builder.if_then(builder.icmp_signed("!=", beside, beside.type(0))):
            for i in range(height):
                tile.add(sums[i], tile.loads(vectors.beside(tile.row(y, yi, i), beside)))
        for i in range(height):
            tile.add(sums[i], tile.loads(tile.row(s, si, i)))
        with builder.if_else(streamed) as branches:
            for branch, past_caches in zip(branches, (True, False), strict=True):
                with branch:
                    for i in range(height):
                        values = [vectors.at_least(builder.load(place), least) for place in sums[i]]
                        tile.store(values, tile.row(y, yi, i), past_caches)

    tallest = TALLEST if group.count == 1 else _FEW
    emit_down(builder, vectors, rows, width, tallest, (x, s, y), (xi, si, yi), one)


def _emit_gradient_tiles(builder, signature, args):
    group = signature.args[0]
    _, rows, width, x, xi, xa, xb, w, wa, wb, na, nb, s, si, y, yi = args
    vectors, g = Vectors(builder, group.dtype.bitwidth), group.count

    def one(height, count, pointers, steps):
        (x, s, y), (xi, _, _), tile = pointers, steps, _Tile(builder, vectors, width, count)

        def add_products(x, w, sums):
            weights = tile.loads(w)
            for i in range(height):
                for k in range(g):
                    tile.add_products(sums[i * g + k], tile.loads(tile.row(x, xi, i), g, k), weights)

        sums = tile.sums(height * g, (x, xa, xb), (vectors.pointer(w), wa, wb), na, nb, add_products)
        for i in range(height * g):
            tile.add(sums[i], tile.loads(tile.row(s, si, i)))
            tile.store([builder.load(place) for place in sums[i]], tile.row(y, yi, i), False)

    steps = xi, *(builder.mul(stride, stride.type(g)) for stride in (si, yi))
    emit_down(builder, vectors, rows, width, max(1, TALLEST // g), (x, s, y), steps, one)


class _Tile:
    """`count` vectors of columns, of which the last may not be whole."""

    def __init__(self, builder, vectors, width, count):
        self.builder, self.vectors, self.count = builder, vectors, count
        inside = vectors.mask(builder.sub(width, width.type((count - 1) * vectors.lanes)))
        self.masks = [None] * (count - 1) + [inside]

    def row(self, pointer, stride, i):
        return self.builder.gep(pointer, [self.builder.mul(stride, stride.type(i))])

    def _at(self, row, j):
        return self.builder.gep(row, [ir.IntType(64)(j * self.vectors.lanes)])

    def loads(self, row, g=1, k=0):
        """A row's vectors, of each g neighbours the k-th in place of all."""
        values = [self.vectors.load(self._at(row, j), mask) for j, mask in enumerate(self.masks)]
        if g == 1:
            return values
        lanes = self.vectors.lanes
        chosen = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [lane - lane % g + k for lane in range(lanes)])
        return [self.builder.shuffle_vector(value, ir.Constant(value.type, ir.Undefined), chosen) for value in values]

    def store(self, values, row, past_caches):
        for j, value in enumerate(values):
            if past_caches:
                self.vectors.stream(value, self._at(row, j))
            else:
                self.vectors.store(value, self._at(row, j), self.masks[j])

    def add(self, places, values):
        for place, value in zip(places, values, strict=True):
            self.builder.store(self.builder.fadd(self.builder.load(place), value), place)

    def add_products(self, places, x, w):
        for place, *factors in zip(places, x, w, strict=True):
            self.builder.store(self.vectors.fma(*factors, self.builder.load(place)), place)

    def sums(self, height, x, w, na, nb, add_products):
        """Places of the sums over (a, b) of what add_products(x, w, sums) adds; x, w: (pointer, xa, xb)."""
        builder = self.builder
        sums = [[cgutils.alloca_once(builder, self.vectors.type) for _ in range(self.count)] for _ in range(height)]
        for row in sums:
            for place in row:
                builder.store(self.vectors.constant(0), place)
        with cgutils.for_range(builder, na) as outer:
            starts = [builder.gep(start, [builder.mul(outer.index, step)]) for start, step, _ in (x, w)]
            with cgutils.for_range(builder, nb) as inner:
                here = [
                    builder.gep(start, [builder.mul(inner.index, step)])
                    for start, (_, _, step) in zip(starts, (x, w), strict=True)
                ]
                add_products(*here, sums)
        return sums
