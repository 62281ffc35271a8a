"""Products by name: dot, vdot, outer, inner, mv, mm, bmm, addmv, addmm, baddbmm, tensordot, kron.

Most fix how many dimensions their operands have: a slip that matmul would broadcast is an error here.
"""

from ..tensor import Tensor
from ._common import as_tensor, check_integer, normalize_axis
from .arithmetic import conj
from .einsum import sum_products
from .matmul import matmul
from .shape import reshape


def dot(input, tensor):
    """The sum of the products of two vectors' elements (without conjugation)."""
    a, b = _factors("dot", input, 1, tensor, 1)
    return matmul(a, b)


def vdot(input, other):
    """dot of the conjugate of input and other."""
    a, b = _factors("vdot", input, 1, other, 1)
    return matmul(conj(a), b)


def outer(input, vec2):
    """The matrix input[i] * vec2[j] of two vectors."""
    a, b = as_tensor("outer", input), as_tensor("outer", vec2)
    _check_dimensions("outer", (a, 1), (b, 1))
    return reshape(a, -1, 1) * b


def mv(input, vec):
    """The product of a matrix and a vector."""
    return matmul(*_factors("mv", input, 2, vec, 1))


def mm(input, mat2):
    """The product of two matrices."""
    return matmul(*_factors("mm", input, 2, mat2, 2))


def bmm(input, mat2):
    """The products of two stacks of matrices, (B, M, K) and (B, K, N)."""
    return matmul(*_factors("bmm", input, 3, mat2, 3))


def addmv(input, mat, vec, *, beta=1, alpha=1):
    """beta * input + alpha * (mat @ vec); input broadcasts. With beta = 0 it does not count, even where it is NaN."""
    return _add_product("addmv", input, matmul(*_factors("addmv", mat, 2, vec, 1)), beta, alpha)


def addmm(input, mat1, mat2, *, beta=1, alpha=1):
    """beta * input + alpha * (mat1 @ mat2); input broadcasts. With beta = 0 it does not count, even where it is NaN."""
    return _add_product("addmm", input, matmul(*_factors("addmm", mat1, 2, mat2, 2)), beta, alpha)


def baddbmm(input, batch1, batch2, *, beta=1, alpha=1):
    """beta * input + alpha * bmm(batch1, batch2); input broadcasts. With beta = 0 it does not count, even as NaN."""
    return _add_product("baddbmm", input, matmul(*_factors("baddbmm", batch1, 3, batch2, 3)), beta, alpha)


def inner(input, other):
    """The sums of products over the last axes: dot of vectors; a 0-d operand scales the other.

    Returns:
        a Tensor of shape input.shape[:-1] + other.shape[:-1].

    Raises:
        ValueError: the last extents differ.
    """
    a, b = as_tensor("inner", input), as_tensor("inner", other)
    if not a.ndim or not b.ndim:
        return a * b
    if a.shape[-1] != b.shape[-1]:
        raise ValueError(f"inner: the last extents of shapes {a.shape} and {b.shape} must agree")
    return tensordot(a, b, ([-1], [-1]))


def tensordot(a, b, dims=2):
    """The sums of products over several axes at once.

    Args:
        a, b: Tensors; along a summed axis one of them may have extent 1.
        dims: how many of a's last axes are summed with b's first, or two sequences: the axes of a and those of b.

    Returns:
        a Tensor with the other axes of a and then those of b.

    Raises:
        ValueError: extents that differ, or axes that do not exist.
    """
    a, b = as_tensor("tensordot", a), as_tensor("tensordot", b)
    axes_a, axes_b = _summed_axes(a, b, dims)
    pairs = list(zip(axes_a, axes_b, strict=True))
    if any(a.shape[i] != b.shape[j] and 1 not in (a.shape[i], b.shape[j]) for i, j in pairs):
        raise ValueError(f"tensordot: the extents of shapes {a.shape} and {b.shape} along dims {dims} must agree")
    # Every axis gets a number, a summed axis of b that of its partner.
    labels_a, labels_b = list(range(a.ndim)), list(range(a.ndim, a.ndim + b.ndim))
    extents = dict(enumerate(a.shape + b.shape))
    for i, j in pairs:
        labels_b[j] = i
        extents[i] = b.shape[j] if a.shape[i] == 1 else a.shape[i]
    rest = [i for i in labels_a if i not in axes_a] + [j for j in labels_b if j >= a.ndim]
    return sum_products([a, b], [labels_a, labels_b], rest, extents)


def _summed_axes(a, b, dims):
    if isinstance(dims, Tensor):
        dims = dims.tolist()
    if isinstance(dims, tuple | list) and len(dims) == 2 and all(isinstance(d, tuple | list) for d in dims):
        if len(dims[0]) != len(dims[1]):
            raise ValueError(f"tensordot: dims must name as many axes of a as of b, got {dims}")
        axes = [[normalize_axis("tensordot", d, x.ndim) for d in own] for own, x in zip(dims, (a, b), strict=True)]
        if any(len(set(own)) != len(own) for own in axes):
            raise ValueError(f"tensordot: dims {dims} name an axis twice")
        return axes
    count = check_integer("tensordot", "dims", dims)
    if not 0 <= count <= min(a.ndim, b.ndim):
        raise ValueError(f"tensordot: dims {count} does not fit the dimensions of shapes {a.shape} and {b.shape}")
    return list(range(a.ndim - count, a.ndim)), list(range(count))


def kron(input, other):
    """The Kronecker product: every element of input times the whole of other, in blocks."""
    a, b = as_tensor("kron", input), as_tensor("kron", other)
    ndim = max(a.ndim, b.ndim)
    own = [(1,) * (ndim - x.ndim) + x.shape for x in (a, b)]
    pairs = list(zip(*own, strict=True))
    y = reshape(a, [n for m, _ in pairs for n in (m, 1)]) * reshape(b, [n for _, m in pairs for n in (1, m)])
    return reshape(y, [m * n for m, n in pairs])


def _check_dimensions(name, *expected):
    if any(x.ndim != ndim for x, ndim in expected):
        wanted = " and ".join(f"{ndim} dimension{'s' if ndim > 1 else ''}" for _, ndim in expected)
        shapes = " and ".join(str(x.shape) for x, _ in expected)
        raise ValueError(f"{name}: operands of {wanted} are needed, got shapes {shapes}")


def _factors(name, a, a_ndim, b, b_ndim):
    """Both factors as Tensors of so many dimensions, which matmul can multiply without broadcasting."""
    a, b = as_tensor(name, a), as_tensor(name, b)
    _check_dimensions(name, (a, a_ndim), (b, b_ndim))
    if a.shape[-1] != b.shape[0 if b_ndim == 1 else -2] or a_ndim == 3 and len(a) != len(b):
        raise ValueError(f"{name}: shapes {a.shape} and {b.shape} do not fit together")
    return a, b


def _add_product(name, input, product, beta, alpha):
    input = as_tensor(name, input)
    own = (1,) * (product.ndim - input.ndim) + input.shape
    if len(own) > product.ndim or any(m not in (1, n) for m, n in zip(own, product.shape, strict=True)):
        raise ValueError(f"{name}: input of shape {input.shape} does not broadcast to the product's, {product.shape}")
    if alpha != 1:
        product = product * alpha
    if beta == 0:
        return product
    return (input if beta == 1 else input * beta) + product
