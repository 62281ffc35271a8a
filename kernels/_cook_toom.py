"""Convolutions with fewer multiplications: the matrices of Winograd's F(m, r), by Cook and Toom's construction.

    y = A^T ((G g) * (B^T d))        F(m, r): m outputs of a filter g of r, from d of m + r - 1 inputs

(* elementwise) is exact, and takes m + r - 1 products where the formula takes m r. In two dimensions each matrix acts
on rows and on columns: F(4×4, 3×3) takes 36 products for 16 outputs, 2.25 each in place of 9.

Why it is right: a polynomial of degree n - 1 is given by its values at n points, so the product of two polynomials is
the product of their values, interpolated. With Vandermonde's matrix V of n = m + r - 1 points, infinity among them, the
full convolution of g and y is V^-1 ((V_r g) * (V_m y)); its transpose by y is the correlation above. The scale of each
point's row may be moved between the three matrices.

Sources: Toom 1963; Cook 1966; Winograd 1980, "Arithmetic complexity of computations"; Lavin and Gray 2016, "Fast
algorithms for convolutional neural networks".
"""

from fractions import Fraction


def cook_toom(m, r, points):
    """(A^T, G, B^T) of F(m, r) as lists of rows of Fractions: m × n, n × r and n × n, n = m + r - 1.

    Args:
        points: n - 1 different numbers; infinity is the last.

    Raises:
        ValueError: another number of points, or two that are equal.
    """
    n = m + r - 1
    points = [Fraction(p) for p in points]
    if len(points) != n - 1 or len(set(points)) != n - 1:
        raise ValueError(f"cook_toom: F({m}, {r}) needs {n - 1} different points, got {list(map(str, points))}")
    a_t = [[p**i for p in points] + [Fraction(i == m - 1)] for i in range(m)]
    # Lagrange: the rows of V^-T, each over the product of its point's distances to the others.
    distances = [_product(p - q for q in points if q != p) for p in points]
    g = [[p**j / d for j in range(r)] for p, d in zip(points, distances, strict=True)]
    g.append([Fraction(j == r - 1) for j in range(r)])
    b_t = [_coefficients([q for q in points if q != p]) + [Fraction(0)] for p in points]
    b_t.append(_coefficients(points))
    return a_t, g, b_t


def strided(m, r, stride, points, upsampled=False):
    """(A^T, G, B^T) of m outputs of a filter of r, from inputs `stride` apart: m × n, n × r and n × n.

    The filter's taps a, a + stride, … meet the inputs a, a + stride, … alone: a filter of its own for each of the
    `stride` phases a, and what they give adds up. Together they take n = stride (m - 1) + r products in place of m r.
    A phase of one tap takes them as they are: F(2×2 of 3×3) with a stride of 2 is 25 for 36, F(4×4) 81 for 144.

    Args:
        points: of the longest phase; the shorter ones take the first of them.
        upsampled: return the input's gradient's instead, stride m × n, n × r and n × inputs: the taps of a phase of the
            filter, turned around, meet all its inputs, and its outputs lie `stride` apart.
    """
    n, longest = stride * (m - 1) + r, m + len(range(0, r, stride)) - 1
    a_t, g = _zeros(stride * m if upsampled else m, n), _zeros(n, r)
    b_t = _zeros(n, longest if upsampled else n)
    first = 0
    for phase in range(stride):
        taps = range(phase, r, stride)
        size = m + len(taps) - 1
        products = range(first, first + size)
        outputs = range(stride - 1 - phase, stride * m, stride) if upsampled else range(m)
        inputs = range(size) if upsampled else range(phase, n, stride)
        if len(taps) > 1:
            forms = cook_toom(m, len(taps), points[: size - 1])
        else:
            forms = _identity(m), [[Fraction(1)]] * m, _identity(m)
        for whole, rows, columns, part in zip(
            (a_t, g, b_t), (outputs, products, products), (products, taps, inputs), forms, strict=True
        ):
            for i, row in zip(rows, part, strict=True):
                for j, value in zip(columns, row, strict=True):
                    whole[i][j] = value
        first += size
    return a_t, g, b_t


def transposed(matrices):
    """{key: matrix} of rows and columns exchanged."""
    return {key: list(zip(*matrix, strict=True)) for key, matrix in matrices.items()}


def _zeros(rows, columns):
    return [[Fraction(0)] * columns for _ in range(rows)]


def _identity(size):
    return [[Fraction(i == j) for j in range(size)] for i in range(size)]


def _product(factors):
    result = Fraction(1)
    for factor in factors:
        result *= factor
    return result


def _coefficients(roots):
    """Of the product of (x - root), from the constant term on."""
    result = [Fraction(1)]
    for root in roots:
        shifted = [Fraction(0), *result]
        result = [s - root * c for s, c in zip(shifted, [*result, Fraction(0)], strict=True)]
    return result
