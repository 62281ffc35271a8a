"""Small constant matrices on both sides of a block, for every channel at once: Winograd's transforms.

    y[i, j] = sum over a, b of m[i, a] * x[a, b] * m[j, b]       x[a, b] and y[i, j] are runs of channels
    y[i] = sum over a of m[i, a] * x[a]                          along one axis: x[a] and y[i] are rows

Each matrix becomes straight-line vector instructions, in a loop where the block is large: zeros vanish, ones become
additions, and of points p and -p two rows share their partial sums, or two columns the sum and the difference of what
they are multiplied by.
"""

from functools import partial

from llvmlite import ir
from numba.core import cgutils

from ._vector import Vectors

_LOOPED = 8  # rows of a block


def emit_transform(builder, bits, matrices, args, finish=None, border=None):
    """Emit the transform of a block by matrices[form], for all its channels. All are integers of 64 bits but `least`.

    matrices: whole number -> matrix of Fractions.
    args: (form, channels, x, x_row, x_column, y, y_row, y_column). x and y are addresses in bytes of their first
        elements, strides count elements.
    finish: (start, beside, least, streamed) or None. The run at address `start` and a residual are added to each
        result; the last three are as for tile_last.
    border: (top, bottom, left, right, zeros) or None. Of a block that may reach over an image's border, rows top to
        bottom and columns left to right are in the image; the others count as zero and are not read. zeros is the
        address of a vector of zeros.
    """
    vectors, (form, *args) = Vectors(builder, bits), args
    for matrix in _chosen(builder, matrices, form):
        _emit_channels(builder, vectors, matrix, args, finish, border)


def _chosen(builder, matrices, form):
    """Each matrix; what is emitted then runs where it is matrices[form]."""
    for number, matrix in matrices.items():
        with builder.if_then(builder.icmp_signed("==", form, form.type(number))):
            yield matrix


def _finishes(vectors, finish, *steps):
    """(start, beside or None, least, past_caches): each that `finish` may be; what is emitted then runs where it is so.

    Asked once, not at every row of the outputs: its values would go through the stack. steps: as of can_stream.
    """
    if finish is None:
        yield None
        return
    (start, beside, least, streamed), builder = finish, vectors.builder
    residual = builder.icmp_signed("!=", beside, beside.type(0))
    streamed = vectors.can_stream(streamed, *steps)
    for has_residual, at_residual in _both(builder, residual):
        with at_residual:
            for past_caches, at_stores in _both(builder, streamed):
                with at_stores:
                    yield start, beside if has_residual else None, least, past_caches


def _emit_channels(builder, vectors, matrix, args, finish, border):
    """Vectors of channels, one after the other, and one with a mask for what is left.

    (Masked stores, where they are not needed, take a quarter of a small layer's weight gradient.)
    """
    channels, x, x_row, x_column, y, y_row, y_column = args

    def emit_all(border, finish=None):
        def emit(first, inside):
            """The vector from the channel `first` on."""
            before = builder.mul(first, first.type(vectors.size))
            own = builder.add(x, before), x_row, x_column, builder.add(y, before), y_row, y_column
            _emit_vector(builder, vectors, matrix, inside, own, _further(builder, finish, before), border)

        vectors.along(channels, emit)

    if border is None:
        for end in _finishes(vectors, finish, y, y_row, y_column):
            emit_all(None, end)
    else:
        # Of a block that lies inside no pixel has to be asked whether it exists.
        top, bottom, left, right = border[:4]
        size = top.type(len(matrix[0]))
        seen = builder.mul(builder.sub(bottom, top), builder.sub(right, left))
        for covered, at in _both(builder, builder.icmp_signed("==", seen, builder.mul(size, size))):
            with at:
                emit_all(None if covered else border)


def _further(builder, finish, distance):
    """finish, of elements so many bytes further on."""
    return finish and (builder.add(finish[0], distance), *finish[1:])


def _both(builder, condition):
    """(True, context), (False, context): what is emitted within runs where the condition is so."""
    with builder.if_else(condition) as (then, otherwise):
        yield True, then
        yield False, otherwise


def _emit_vector(builder, vectors, matrix, inside, args, finish, border):
    """Down the columns of the block, then along the rows of what that gives."""
    (x, x_row, x_column, y, y_row, y_column), size, index = args, len(matrix[0]), ir.IntType(64)

    def at(start, *steps):
        """The address of an element: strides times whole numbers further on."""
        pointer = vectors.pointer(start)
        for stride, times in steps:
            pointer = builder.gep(pointer, [builder.mul(stride, times)])
        return pointer

    def within(low, high):
        """index -> whether low <= index < high."""
        return lambda k: builder.and_(builder.icmp_signed("<=", low, k), builder.icmp_signed("<", k, high))

    def pixel(a, b):
        pointer = at(x, (x_row, a), (x_column, b))
        if border is not None:
            pointer = builder.select(builder.and_(rows[a.constant], across(b)), pointer, vectors.pointer(border[4]))
        return vectors.load(pointer, inside)

    if border is not None:
        rows, across = [within(*border[:2])(index(a)) for a in range(size)], within(*border[2:4])
    between = cgutils.alloca_once(builder, vectors.type, size=size * len(matrix))

    def half(i, b):
        return builder.gep(between, [builder.add(builder.mul(i, index(size)), b)])

    for b in _each(builder, size, size):
        for i, value in enumerate(_times(vectors, matrix, [pixel(index(a), b) for a in range(size)])):
            builder.store(value, half(index(i), b))
    last = _loaded(vectors, finish, inside)
    for i in _each(builder, len(matrix), size):
        values = [builder.load(half(i, index(b))) for b in range(size)]
        for j, value in enumerate(_times(vectors, matrix, values)):
            _store(vectors, value, at(y, (y_row, i), (y_column, index(j))), inside, last)


def _each(builder, count, size):
    """Each index: what is emitted runs for all. A loop of vector code where the block would not fit the registers.

    It compiles in half of the time, and 5×5 windows are 0.96 to 1.06 times as fast. So would blocks of 6×6 be, 0.96 to
    1.04, but 16 channels at 32² lost.
    """
    if size >= _LOOPED:
        with cgutils.for_range(builder, ir.IntType(64)(count)) as loop:
            yield loop.index
    else:
        yield from map(ir.IntType(64), range(count))


def _loaded(vectors, finish, inside):
    """(start, beside, least, past_caches): the address `start` and the scalar `least` as vectors."""
    if finish is None:
        return None
    start, beside, least, past_caches = finish
    return vectors.load(vectors.pointer(start), inside), beside, vectors.splat(least), past_caches


def _store(vectors, value, place, inside, last):
    """Store a result, finished if `last` is not None."""
    start, beside, least, past_caches = last or (None, None, None, False)
    if last:
        value = vectors.builder.fadd(value, start)
    if beside:
        value = vectors.builder.fadd(value, vectors.load(vectors.beside(place, beside), inside))
    if last:
        value = vectors.at_least(value, least)
    if past_caches and inside is None:
        vectors.stream(value, place)
    else:
        vectors.store(value, place, inside)


def emit_rows(builder, bits, matrices, args, finish=None, border=None):
    """Emit the transform of rows by matrices[form]. All are integers of 64 bits but `least`.

    args: (form, count, x, x_row, y, y_row, high): rows of `count` elements, of which the first `high` of y are wanted.
    finish: as of emit_transform; `start` is the address of a row.
    border: (top, bottom, zeros) or None. Rows top to bottom of x are there; the others count as zero and are not read.
    """
    vectors, (form, count, x, x_row, y, y_row, high), number = Vectors(builder, bits), args, args[0].type

    def emit_row(first, inside, matrix, finish):
        before = builder.mul(first, number(vectors.size))

        def row(start, step, k):
            far = builder.mul(step, number(k * vectors.size))
            return vectors.pointer(builder.add(builder.add(start, before), far))

        def value(a):
            place = row(x, x_row, a)
            if border is not None:
                top, bottom, zeros = border
                after, ahead = builder.icmp_signed("<=", top, number(a)), builder.icmp_signed("<", number(a), bottom)
                place = builder.select(builder.and_(after, ahead), place, vectors.pointer(zeros))
            return vectors.load(place, inside)

        results = _times(vectors, matrix, [value(a) for a in range(len(matrix[0]))])
        last = _loaded(vectors, _further(builder, finish, before), inside)
        for i, result in enumerate(results):
            with builder.if_then(builder.icmp_signed("<", number(i), high)):
                _store(vectors, result, row(y, y_row, i), inside, last)

    for matrix in _chosen(builder, matrices, form):
        for end in _finishes(vectors, finish, y, y_row):
            vectors.along(count, partial(emit_row, matrix=matrix, finish=end))


def _times(vectors, matrix, values):
    """The matrix times a vector of values."""
    builder = vectors.builder
    matrix, values = _columns_shared(builder, matrix, values)
    results = [None] * len(matrix)
    for i, row in enumerate(matrix):
        if results[i] is not None:
            continue
        k = next((k for k in range(i + 1, len(matrix)) if _mirrored(row, matrix[k])), None)
        if k is None:
            results[i] = _total(vectors, row, values)
            continue
        # Row i is even + odd, row k even - odd. What they have in common of a factor is left to the last step.
        even = [(a + b) / 2 for a, b in zip(row, matrix[k], strict=True)]
        odd = [(a - b) / 2 for a, b in zip(row, matrix[k], strict=True)]
        factor = 1 if any(abs(c) == 1 for c in odd) else next(c for c in odd if c)
        even, odd = _total(vectors, even, values), _total(vectors, [c / factor for c in odd], values)
        if factor == 1:
            results[i], results[k] = builder.fadd(even, odd), builder.fsub(even, odd)
        else:
            factor = vectors.constant(factor)
            results[i], results[k] = (vectors.fma(factor, part, even) for part in (odd, builder.fneg(odd)))
    return results


def _mirrored(a, b):
    """Whether two rows, or columns, differ in the sign of some of their numbers, and only so."""
    same = [p == q for p, q in zip(a, b, strict=True) if p or q]
    return all(abs(p) == abs(q) for p, q in zip(a, b, strict=True)) and True in same and False in same


def _columns_shared(builder, matrix, values):
    """(matrix, values) of the same product, where mirrored columns meet the sum and the difference of two values."""
    columns, values = list(zip(*matrix, strict=True)), list(values)
    for j, column in enumerate(columns):
        for k in range(j + 1, len(columns)):
            other = columns[k]
            if _mirrored(column, other):
                values[j], values[k] = builder.fadd(values[j], values[k]), builder.fsub(values[j], values[k])
                columns[j] = [(a + b) / 2 for a, b in zip(column, other, strict=True)]
                columns[k] = [(a - b) / 2 for a, b in zip(column, other, strict=True)]
                break
    return list(zip(*columns, strict=True)), values


def _total(vectors, coefficients, values):
    """The sum of coefficient * value."""
    builder, result = vectors.builder, None
    terms = [(c, value) for c, value in zip(coefficients, values, strict=True) if c]
    for coefficient, value in sorted(terms, key=lambda term: (term[0] != 1, term[0] != -1)):  # additions first
        if result is None:
            result = value if coefficient == 1 else builder.fmul(vectors.constant(coefficient), value)
        elif abs(coefficient) == 1:
            result = (builder.fadd if coefficient == 1 else builder.fsub)(result, value)
        else:
            result = vectors.fma(vectors.constant(coefficient), value, result)
    return vectors.constant(0) if result is None else result
