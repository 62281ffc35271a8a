"""Matrix product and the linear layer.

Y = A B:  dL/dA = dL/dY B^T,  dL/dB = A^T dL/dY
"""

import math

import numpy as np

from ..function import Function
from ..kernels import COMPILED, contiguous, empty
from ..kernels import matmul as kernel
from ..kernels._cuda import note
from ._common import as_tensor, astype, has_kernel, result_dtype, unbroadcast
from .arithmetic import conj
from .reduction import Sum
from .relu import masked
from .shape import Permute, Reshape, reshape, transpose, unsqueeze

_SMALL = 4096  # multiplications: below, NumPy's call is over before the kernel's threads have started


class MatMul(Function):
    """A stack of products of matrices (..., M, K) and (..., K, N); the leading axes broadcast."""

    @staticmethod
    def forward(ctx, a, b):
        need_a, need_b = ctx.needs_input_grad
        ctx.save_for_backward(a if need_b else None, b if need_a else None)
        ctx.shapes = a.shape, b.shape
        return product(a, b)

    @staticmethod
    def backward(ctx, grad):
        a, b = ctx.saved_tensors
        need_a, need_b = ctx.needs_input_grad
        return (
            unbroadcast(matmul(grad, transpose(b, -1, -2).conj()), ctx.shapes[0]) if need_a else None,
            unbroadcast(matmul(transpose(a, -1, -2).conj(), grad), ctx.shapes[1]) if need_b else None,
        )


def _by_kernel(a, b):
    if isinstance(a, np.ndarray):
        return a.dtype in COMPILED and a.size * b.shape[-1] >= _SMALL
    return has_kernel(a) and not kernel.by_cublas()


def product(a, b):
    """The product of stacks of matrices, as arrays."""
    if not _by_kernel(a, b):
        if not isinstance(a, np.ndarray):
            note("matmul.forward by cuBLAS")
        return np.matmul(a, b)  # on a GPU cuBLAS, by CuPy
    stack = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    shape = *stack, a.shape[-2], b.shape[-1]
    if b.ndim == 2:  # one matrix b: a's stack is one tall matrix
        rows = math.prod(a.shape[:-1])
        y = empty((1, rows, b.shape[-1]), a.dtype, a)
        kernel.forward(a.reshape(1, rows, a.shape[-1]), b[None], y)
    else:
        a, b = (np.broadcast_to(x, stack + x.shape[-2:]).reshape(math.prod(stack), *x.shape[-2:]) for x in (a, b))
        y = empty((len(a), a.shape[1], b.shape[2]), a.dtype, a)
        kernel.forward(a, b, y)
    return y.reshape(shape)


def matmul(input, other):
    """Matrix product as in PyTorch: matrices in the last two axes, the others broadcast; a vector is a row or a column.

    Raises:
        ValueError: a 0-d operand, inner extents that differ, or stacks that do not broadcast.
    """
    a, b = as_tensor("matmul", input), as_tensor("matmul", other)
    if not a.ndim or not b.ndim:
        raise ValueError(f"matmul: operands must have at least one dimension, got shapes {a.shape} and {b.shape}")
    inner = b.shape[0] if b.ndim == 1 else b.shape[-2]
    if a.shape[-1] != inner:
        raise ValueError(
            f"matmul: the inner extents of shapes {a.shape} and {b.shape} differ ({a.shape[-1]} and {inner})"
        )
    if a.dtype != b.dtype:
        dtype = result_dtype(a, b)
        a, b = astype(a, dtype), astype(b, dtype)
    row, column = a.ndim == 1, b.ndim == 1
    a = unsqueeze(a, 0) if row else a
    b = unsqueeze(b, 1) if column else b
    try:
        np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        raise ValueError(f"matmul: the stacks of shapes {input.shape} and {other.shape} do not broadcast") from None
    y = MatMul.apply(a, b)
    if row or column:
        y = reshape(y, y.shape[:-2] + (() if row else y.shape[-2:-1]) + (() if column else y.shape[-1:]))
    return y


class Linear(Function):
    """y = x W^T + b: dL/dx = dL/dy W, dL/dW = dL/dy^T x, dL/db = the sum of dL/dy over all but the last axis."""

    on_arrays = gives_new = True

    @staticmethod
    def forward(ctx, x, w, bias):
        need_x, need_w, _ = ctx.needs_input_grad
        ctx.save_for_backward(x if need_w else None, w if need_x else None)
        return _affine(x, w, bias, False)

    @staticmethod
    def backward(ctx, grad):
        return _gradients(ctx, grad, *ctx.saved_tensors)


class LinearReLU(Function):
    """max(Linear, 0): what is below zero is never stored."""

    on_arrays = gives_new = True

    @staticmethod
    def forward(ctx, x, w, bias):
        need_x, need_w, _ = ctx.needs_input_grad
        y = _affine(x, w, bias, True)
        ctx.save_for_backward(x if need_w else None, w if need_x else None, y)
        return y

    @staticmethod
    def backward(ctx, grad):
        x, w, y = ctx.saved_tensors
        return _gradients(ctx, masked(grad, y), x, w)


def _affine(x, w, bias, relu):
    """x (..., K) times w (N, K) transposed, plus bias (N,) where it is not None; with relu not below 0. Arrays."""
    rows, columns = x.reshape(-1, x.shape[-1]), w.T
    if bias is not None and _by_kernel(rows, columns):
        y = empty((1, len(rows), len(w)), x.dtype, x)
        kernel.affine(rows[None], columns[None], contiguous(bias), relu, y)
    else:
        y = product(rows, columns)
        if bias is not None:
            y += bias
        if relu:
            y = np.maximum(y, 0) + 0  # the sum makes a zero's sign positive
    return y.reshape(*x.shape[:-1], len(w))


def _gradients(ctx, grad, x, w):
    need_x, need_w, need_bias = ctx.needs_input_grad
    rows, grad_x, grad_w = _rows(grad), None, None
    if need_x:
        grad_x = MatMul.call(rows, conj(w))
        grad_x = grad_x if grad.ndim == 2 else Reshape.call(grad_x, (*grad.shape[:-1], w.shape[1]))
    if need_w:  # in the memory order of the weights, (in, out)
        grad_w = Permute.call(MatMul.call(conj(Permute.call(_rows(x), (1, 0))), rows), (1, 0))
    return grad_x, grad_w, Sum.call(rows, (0,), False) if need_bias else None


def _rows(x):
    return x if x.ndim == 2 else Reshape.call(x, (-1, x.shape[-1]))


def linear(input, weight, bias=None):
    """input @ weight.T + bias.

    Args:
        input: (..., in_features). weight: (out_features, in_features). bias: (out_features,) or None.

    Returns:
        (..., out_features).

    Raises:
        ValueError: shapes that do not fit.
    """
    return _linear(Linear, input, weight, bias)


def linear_relu(input, weight, bias=None):
    """relu(linear(…)) in one pass over memory. Arguments and errors are linear's.

    Raises:
        TypeError: complex numbers.
    """
    return _linear(LinearReLU, input, weight, bias)


def _linear(function, input, weight, bias):
    input, weight = as_tensor("linear", input), as_tensor("linear", weight)
    if weight.ndim != 2 or not input.ndim or input.shape[-1] != weight.shape[1]:
        raise ValueError(
            f"linear: the last extent of input (shape {input.shape}) must equal in_features of weight (shape "
            f"{weight.shape}: out_features, in_features)"
        )
    bias = None if bias is None else as_tensor("linear", bias)
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"linear: bias must have shape {weight.shape[:1]}, got {bias.shape}")
    given = [t for t in (input, weight, bias) if t is not None]
    dtype = result_dtype(*given)
    if function is LinearReLU and dtype.kind == "c":
        raise TypeError(f"linear_relu: input, weight and bias must be real numbers, got {dtype}")
    return function.apply(*(t if t is None else astype(t, dtype) for t in (input, weight, bias)))
