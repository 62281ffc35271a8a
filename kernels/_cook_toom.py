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


def transforms(points):
    """(A^T, G, B^T, A, G^T), each as {(m, r): matrix}, for points {(m, r): those of F(m, r)}."""
    forms = {form: cook_toom(*form, of) for form, of in points.items()}
    a_t, g, b_t = ({form: matrices[i] for form, matrices in forms.items()} for i in range(3))
    return a_t, g, b_t, *({form: list(zip(*matrix, strict=True)) for form, matrix in of.items()} for of in (a_t, g))


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
