"""Arithmetic with broadcasting: add, sub, mul, div, neg, pow, maximum, minimum, where, and comparisons."""

import numpy as np

from ..function import Function
from ..tensor import Tensor
from ._common import as_floating, as_tensor, astype, operands, unbroadcast


def _shape(operand):
    return operand.shape if isinstance(operand, np.ndarray) else ()


class Add(Function):
    """y = a + b: dy/da = dy/db = 1."""

    @staticmethod
    def forward(ctx, a, b):
        ctx.shapes = _shape(a), _shape(b)
        return a + b

    @staticmethod
    def backward(ctx, grad):
        a, b = ctx.needs_input_grad
        return (
            unbroadcast(grad, ctx.shapes[0]) if a else None,
            unbroadcast(grad, ctx.shapes[1]) if b else None,
        )


class Sub(Function):
    """y = a - b: dy/da = 1, dy/db = -1."""

    @staticmethod
    def forward(ctx, a, b):
        ctx.shapes = _shape(a), _shape(b)
        return a - b

    @staticmethod
    def backward(ctx, grad):
        a, b = ctx.needs_input_grad
        return (
            unbroadcast(grad, ctx.shapes[0]) if a else None,
            unbroadcast(-grad, ctx.shapes[1]) if b else None,
        )


class Mul(Function):
    """y = a * b: dy/da = b, dy/db = a."""

    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return a * b

    @staticmethod
    def backward(ctx, grad):
        a, b = ctx.saved_tensors
        need_a, need_b = ctx.needs_input_grad
        return (
            unbroadcast(grad * conj(b), a.shape) if need_a else None,
            unbroadcast(grad * conj(a), b.shape) if need_b else None,
        )


class Div(Function):
    """y = a / b: dy/da = 1 / b, dy/db = -a / b^2 = -y / b."""

    @staticmethod
    def forward(ctx, a, b):
        y = np.true_divide(a, b)
        ctx.save_for_backward(b, y)
        ctx.a_shape = _shape(a)
        return y

    @staticmethod
    def backward(ctx, grad):
        b, y = ctx.saved_tensors
        need_a, need_b = ctx.needs_input_grad
        share = grad / conj(b)
        return (
            unbroadcast(share, ctx.a_shape) if need_a else None,
            unbroadcast(-share * conj(y), b.shape) if need_b else None,
        )


class Neg(Function):
    """y = -x: dy/dx = -1."""

    @staticmethod
    def forward(ctx, x):
        return -x

    @staticmethod
    def backward(ctx, grad):
        return -grad


class Pow(Function):
    """y = a^b: dy/da = b * a^(b-1), dy/db = y * log a. At a = 0 the latter counts as 0 where b >= 0, as in PyTorch."""

    @staticmethod
    def forward(ctx, a, b):
        y = np.power(a, b)
        ctx.save_for_backward(a, b, y)
        return y

    @staticmethod
    def backward(ctx, grad):
        a, b, y = ctx.saved_tensors
        need_a, need_b = ctx.needs_input_grad
        grad_a = grad_b = None
        if need_a:
            # b = 0 has derivative 0 everywhere, also at a = 0 where a^(b-1) is infinite.
            slope = where(b == 0, 0.0, b * a ** (b - 1)) if isinstance(b, Tensor) else b * a ** (b - 1) if b else 0 * a
            grad_a = unbroadcast(grad * conj(slope), a.shape)
        if need_b:
            from .elementwise import log

            log_a = log(a) if isinstance(a, Tensor) else np.log(a)
            slope = y * where(((a == 0) & (b >= 0)) if isinstance(a, Tensor) else (b >= 0) & (a == 0), 0.0, log_a)
            grad_b = unbroadcast(grad * conj(slope), b.shape)
        return grad_a, grad_b


class Where(Function):
    """y = a where the condition holds, else b: each receives the gradient where it was taken."""

    @staticmethod
    def forward(ctx, condition, a, b):
        ctx.condition, ctx.shapes = condition, (_shape(a), _shape(b))
        return np.where(condition, a, b)

    @staticmethod
    def backward(ctx, grad):
        _, a, b = ctx.needs_input_grad
        condition = Tensor(ctx.condition)
        return (
            None,
            unbroadcast(where(condition, grad, 0.0), ctx.shapes[0]) if a else None,
            unbroadcast(where(condition, 0.0, grad), ctx.shapes[1]) if b else None,
        )


class Conj(Function):
    """Complex conjugate. A gradient of a real loss is dL/dRe + i dL/dIm, as in PyTorch."""

    @staticmethod
    def forward(ctx, x):
        return np.conj(x)

    @staticmethod
    def backward(ctx, grad):
        return conj(grad)


def conj(x):
    """The complex conjugate; a real Tensor or number itself."""
    if isinstance(x, Tensor):
        return Conj.apply(x) if x._data.dtype.kind == "c" else x
    return x.conjugate()


def add(input, other, *, alpha=1):
    """input + alpha * other, elementwise, broadcasting."""
    return Add.apply(*operands("add", input, other if alpha == 1 else mul(other, alpha)))


def sub(input, other, *, alpha=1):
    """input - alpha * other, elementwise, broadcasting."""
    return Sub.apply(*operands("sub", input, other if alpha == 1 else mul(other, alpha)))


def mul(input, other):
    """input * other, elementwise, broadcasting."""
    return Mul.apply(*operands("mul", input, other))


def div(input, other):
    """input / other, elementwise, broadcasting; integers are divided as float32, as in PyTorch."""
    a, b = operands("div", input, other)
    if not any(isinstance(x, Tensor) and x._data.dtype.kind in "fc" for x in (a, b)):
        a, b = (as_floating("div", x) if isinstance(x, Tensor) else x for x in (a, b))
    return Div.apply(a, b)


def neg(input):
    """-input, elementwise."""
    input = as_tensor("neg", input)
    if input.dtype == np.bool_:
        raise TypeError("neg: a bool Tensor cannot be negated; use ~")
    return Neg.apply(input)


def pow(input, exponent):
    """input ** exponent, elementwise, broadcasting.

    Raises:
        ValueError: integers raised to a negative integer, whose result is no integer.
    """
    a, b = operands("pow", input, exponent)
    if all(x._data.dtype.kind in "iu" if isinstance(x, Tensor) else isinstance(x, int) for x in (a, b)):
        if np.any((b._data if isinstance(b, Tensor) else b) < 0):
            raise ValueError("pow: integers to a negative power are not integers; use a floating-point input")
    return Pow.apply(a, b)


def where(condition, input, other):
    """input where the condition (bool) holds, else other, elementwise, broadcasting."""
    condition = as_tensor("where", condition)
    if condition.dtype != np.bool_:
        raise TypeError(f"where: condition must be bool, got {condition.dtype}")
    a, b = operands("where", input, other) if isinstance(input, Tensor) or isinstance(other, Tensor) else (input, other)
    if not isinstance(a, Tensor) or not isinstance(b, Tensor):
        dtype = (a if isinstance(a, Tensor) else b if isinstance(b, Tensor) else Tensor([a, b])).dtype
        a, b = (x if isinstance(x, Tensor) else Tensor(np.asarray(x, dtype)) for x in (a, b))
    return Where.apply(condition, a, b)


def _comparison(name, ufunc, symbol):
    def compare(input, other):
        a, b = operands(name, input, other)
        return Tensor(np.asarray(ufunc(*(x._data if isinstance(x, Tensor) else x for x in (a, b)))))

    compare.__name__ = compare.__qualname__ = name
    compare.__doc__ = f"input {symbol} other, elementwise, broadcasting: a bool Tensor without gradient."
    return compare


eq = _comparison("eq", np.equal, "==")
ne = _comparison("ne", np.not_equal, "!=")
lt = _comparison("lt", np.less, "<")
le = _comparison("le", np.less_equal, "<=")
gt = _comparison("gt", np.greater, ">")
ge = _comparison("ge", np.greater_equal, ">=")
logical_and = _comparison("logical_and", np.logical_and, "and")
logical_or = _comparison("logical_or", np.logical_or, "or")


def logical_not(input):
    """Not input, elementwise: a bool Tensor without gradient."""
    return Tensor(np.asarray(np.logical_not(as_tensor("logical_not", input)._data)))


def _in_place(name, operation):
    def change(self, other):
        return self.replace_(operation(self, other), name)

    change.__name__ = change.__qualname__ = name
    change.__doc__ = f"{operation.__name__}, written into this Tensor; returns it."
    return change


add_ = _in_place("add_", add)
sub_ = _in_place("sub_", sub)
mul_ = _in_place("mul_", mul)
div_ = _in_place("div_", div)


def copy_(self, source):
    """Write `source` (broadcast, converted) into this Tensor; returns it."""
    source = astype(as_tensor("copy_", source), self.dtype)
    from .shape import expand

    return self.replace_(source if source.shape == self.shape else expand(source, self.shape), "copy_")


def fill_(self, value):
    """Write one number into every element; returns this Tensor."""
    return copy_(self, Tensor(np.asarray(value, self.dtype)))


def zero_(self):
    """Write zeros; returns this Tensor."""
    return fill_(self, 0)
