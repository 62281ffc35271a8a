"""Small constant matrices on both sides of a block, for every channel at once: Winograd's transforms.

    y[i, j] = sum over a, b of m[i, a] * x[a, b] * m[j, b]       x[a, b] and y[i, j] are runs of channels

Each matrix becomes straight-line vector instructions: zeros vanish, ones become additions, and two rows that differ
only in the sign of some columns (points p and -p) share their two partial sums.
"""

from llvmlite import ir
from numba.core import cgutils

from ._vector import Vectors


def emit_transform(builder, bits, matrices, args, finish=None, border=None):
    """Emit the transform of a block by matrices[r], for all its channels. All are integers of 64 bits but `least`.

    matrices: number r -> matrix.
    args: (r, channels, x, x_row, x_column, y, y_row, y_column). x and y are addresses in bytes of their first elements,
        strides count elements.
    finish: (start, beside, least, streamed) or None. The run at address `start` and a residual are added to each
        result; the last three are as for tile_last.
    border: (top, bottom, left, right, zeros) or None. Of a block that may reach over an image's border, rows top to
        bottom and columns left to right are in the image; the others count as zero and are not read. zeros is the
        address of a vector of zeros.
    """
    vectors, (r, channels, *args) = Vectors(builder, bits), args
    for number, matrix in matrices.items():
        with builder.if_then(builder.icmp_signed("==", r, r.type(number))):
            _emit_channels(builder, vectors, matrix, channels, args, finish, border)


def _emit_channels(builder, vectors, matrix, channels, args, finish, border):
    """Vectors of channels, one after the other, and one with a mask for what is left.

    (Masked stores, where they are not needed, take a quarter of a small layer's weight gradient.)
    """

    def emit_all(border):
        def emit(first, inside):
            """The vector from the channel `first` on."""
            x, x_row, x_column, y, y_row, y_column = args
            before = builder.mul(first, first.type(vectors.size))
            own = builder.add(x, before), x_row, x_column, builder.add(y, before), y_row, y_column
            last = finish and (builder.add(finish[0], before), *finish[1:])
            _emit_vector(builder, vectors, matrix, inside, own, last, border)

        vectors.along(channels, emit)

    if border is None:
        emit_all(None)
        return
    # Of a block that lies inside no pixel has to be asked whether it exists.
    top, bottom, left, right = border[:4]
    size = top.type(len(matrix[0]))
    seen = builder.mul(builder.sub(bottom, top), builder.sub(right, left))
    with builder.if_else(builder.icmp_signed("==", seen, builder.mul(size, size))) as (covered, cut):
        with covered:
            emit_all(None)
        with cut:
            emit_all(border)


def _emit_vector(builder, vectors, matrix, inside, args, finish, border):
    x, x_row, x_column, y, y_row, y_column = args

    def at(start, *steps):
        """The address of an element: strides times whole numbers further on."""
        pointer = vectors.pointer(start)
        for stride, times in steps:
            pointer = builder.gep(pointer, [builder.mul(stride, ir.IntType(64)(times))])
        return pointer

    def total(terms):
        """The sum of coefficient * value."""
        result = None
        for coefficient, value in sorted(terms, key=lambda term: abs(term[0]) != 1):  # additions first
            if result is None:
                result = value if coefficient == 1 else builder.fmul(vectors.constant(coefficient), value)
            elif abs(coefficient) == 1:
                result = (builder.fadd if coefficient == 1 else builder.fsub)(result, value)
            else:
                result = vectors.fma(vectors.constant(coefficient), value, result)
        return vectors.constant(0) if result is None else result

    def times(values):
        """The matrix times a vector of values."""
        results = [None] * len(matrix)
        for i, row in enumerate(matrix):
            if results[i] is not None:
                continue
            terms = [(c, v) for c, v in zip(row, values, strict=True) if c]
            for k in range(i + 1, len(matrix)):
                other = [c for c, own in zip(matrix[k], row, strict=True) if own]
                mirrored = all(abs(a) == abs(b) for a, b in zip(matrix[k], row, strict=True))
                same = [t for t, c in zip(terms, other, strict=True) if t[0] == c]
                if mirrored and 0 < len(same) < len(terms):
                    even, odd = total(same), total([t for t, c in zip(terms, other, strict=True) if t[0] != c])
                    results[i], results[k] = builder.fadd(even, odd), builder.fsub(even, odd)
                    break
            else:
                results[i] = total(terms)
        return results

    def within(low, high):
        """Per index of a row or column: whether low <= index < high."""
        indices = map(low.type, range(len(matrix[0])))
        return [builder.and_(builder.icmp_signed("<=", low, k), builder.icmp_signed("<", k, high)) for k in indices]

    def pixel(a, b):
        pointer = at(x, (x_row, a), (x_column, b))
        if border is not None:
            pointer = builder.select(builder.and_(rows[a], across[b]), pointer, vectors.pointer(border[4]))
        return vectors.load(pointer, inside)

    if border is not None:
        rows, across = within(*border[:2]), within(*border[2:4])
    size = len(matrix[0])
    columns = [times([pixel(a, b) for a in range(size)]) for b in range(size)]  # columns[b][i]
    if finish:
        start, beside, least = vectors.load(at(finish[0]), inside), finish[1], vectors.splat(finish[2])
        streamed = vectors.can_stream(finish[3], y, y_row, y_column)
        has_residual = builder.icmp_signed("!=", beside, beside.type(0))
    for i in range(len(matrix)):
        row = times([column[i] for column in columns])
        if finish:
            totals = [cgutils.alloca_once_value(builder, builder.fadd(value, start)) for value in row]
            with builder.if_then(has_residual):
                for j, total_of_j in enumerate(totals):
                    residual = vectors.load(vectors.beside(at(y, (y_row, i), (y_column, j)), beside), inside)
                    builder.store(builder.fadd(builder.load(total_of_j), residual), total_of_j)
            row = [vectors.at_least(builder.load(total_of_j), least) for total_of_j in totals]
        if finish and inside is None:
            with builder.if_else(streamed) as (then, otherwise):
                with then:
                    for j, value in enumerate(row):
                        vectors.stream(value, at(y, (y_row, i), (y_column, j)))
                with otherwise:
                    for j, value in enumerate(row):
                        vectors.store(value, at(y, (y_row, i), (y_column, j)))
        else:
            for j, value in enumerate(row):
                vectors.store(value, at(y, (y_row, i), (y_column, j)), inside)
