"""Arithmetic with broadcasting: add, sub, mul, div, addcmul, addcdiv, lerp, neg, pow, float_power, where,
comparisons and logic.
"""

import numpy as np

from ..function import Function
from ..tensor import Tensor
from ._common import as_floating, as_tensor, astype, check_broadcast, constant, operands, unbroadcast


def _shape(operand):
    return getattr(operand, "shape", ())


class Add(Function):
    """y = a + b: dy/da = dy/db = 1."""

    elementwise = True

    @staticmethod
    def forward(ctx, a, b):
        return a + b

    @staticmethod
    def backward(ctx, grad):
        return grad, grad


class Sub(Function):
    """y = a - b: dy/da = 1, dy/db = -1."""

    elementwise = True

    @staticmethod
    def forward(ctx, a, b):
        return a - b

    @staticmethod
    def backward(ctx, grad):
        return grad, -grad if ctx.needs_input_grad[1] else None


class Mul(Function):
    """y = a * b: dy/da = b, dy/db = a."""

    elementwise = True

    @staticmethod
    def forward(ctx, a, b):
        need_a, need_b = ctx.needs_input_grad
        ctx.save_for_backward(a if need_b else None, b if need_a else None)
        return a * b

    @staticmethod
    def backward(ctx, grad):
        a, b = ctx.saved_tensors  # what is None is not needed
        if grad.dtype.kind == "c":
            a, b = a if a is None else conj(a), b if b is None else conj(b)
        return None if b is None else grad * b, None if a is None else grad * a


class Div(Function):
    """y = a / b: dy/da = 1 / b, dy/db = -a / b^2."""

    elementwise = True

    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(b, a if ctx.needs_input_grad[1] else None)
        return a / b

    @staticmethod
    def backward(ctx, grad):
        b, a = ctx.saved_tensors
        if grad.dtype.kind == "c":
            a, b = a if a is None else conj(a), conj(b)
        share = grad / b
        return share, None if a is None else share * (a / -b)


class Neg(Function):
    """y = -x: dy/dx = -1."""

    elementwise = True

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
        ctx.save_for_backward(a, b, y if ctx.needs_input_grad[1] else None)
        return y

    @staticmethod
    def backward(ctx, grad):
        a, b, y = ctx.saved_tensors
        need_a, need_b = ctx.needs_input_grad
        grad_a = grad_b = None
        if need_a:
            # b = 0 has derivative 0 everywhere, also at a = 0 where a^(b-1) is infinite.
            slope = where(b == 0, 0.0, b * a ** (b - 1)) if isinstance(b, Tensor) else b * a ** (b - 1) if b else 0.0
            grad_a = unbroadcast(grad * conj(slope), a.shape)
        if need_b:
            from .elementwise import log

            if isinstance(a, Tensor):
                log_a = where((a == 0) & (b >= 0), 0.0, log(a))
            elif a == 0:
                log_a = where(b >= 0, 0.0, -np.inf)
            else:
                log_a = np.emath.log(a).item() if b.dtype.kind == "c" or a > 0 else np.nan
            grad_b = unbroadcast(grad * conj(y * log_a), b.shape)
        return grad_a, grad_b


class Where(Function):
    """y = a where the condition holds, else b: each receives the gradient where it was taken."""

    @staticmethod
    def forward(ctx, condition, a, b):
        ctx.save_for_backward(condition)
        ctx.shapes = _shape(a), _shape(b)
        return np.where(condition, a, b)

    @staticmethod
    def backward(ctx, grad):
        _, a, b = ctx.needs_input_grad
        (condition,) = ctx.saved_tensors
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


def held(name, function, *args):
    """function(*args): an error of use where the Tensors' dtype cannot hold a Python integer."""
    try:
        return function(*args)
    except OverflowError as error:
        raise _too_large(name, error) from None


def _too_large(name, error):
    return ValueError(f"{name}: {error}")


def _are_bools(a, b):
    return (a if isinstance(a, Tensor) else b)._data.dtype.kind == "b"  # operands() gave both one kind


def add(input, other, *, alpha=1):
    """input + alpha * other, elementwise, broadcasting."""
    a, b = operands("add", input, other if alpha == 1 else mul(other, alpha))
    try:
        return Add.apply(a, b)
    except OverflowError as error:
        raise _too_large("add", error) from None


def sub(input, other, *, alpha=1):
    """input - alpha * other, elementwise, broadcasting.

    Raises:
        TypeError: both are bool.
    """
    a, b = operands("sub", input, other if alpha == 1 else mul(other, alpha))
    if _are_bools(a, b):
        raise TypeError("sub: bools cannot be subtracted; use ^ or ~")
    try:
        return Sub.apply(a, b)
    except OverflowError as error:
        raise _too_large("sub", error) from None


def mul(input, other):
    """input * other, elementwise, broadcasting."""
    a, b = operands("mul", input, other)
    try:
        return Mul.apply(a, b)
    except OverflowError as error:
        raise _too_large("mul", error) from None


def div(input, other, *, rounding_mode=None):
    """input / other, elementwise, broadcasting; integers are divided as float32, as in PyTorch.

    Args:
        rounding_mode: None, or "trunc" to round the quotient towards zero, or "floor" to round it down. Then integers
            stay integers, and as the gradient is zero none is recorded.

    Raises:
        ValueError: another rounding_mode, or integers rounded after division by zero. TypeError: bools or complex
            numbers are to be rounded.
    """
    if rounding_mode is not None:
        from .rounding import divide

        return divide("div", input, other, rounding_mode)
    a, b = operands("div", input, other)
    if (a if isinstance(a, Tensor) else b)._data.dtype.kind not in "fc":  # operands() gave both one kind
        a, b = (as_floating("div", x) if isinstance(x, Tensor) else x for x in (a, b))
    return Div.apply(a, b)


def addcmul(input, tensor1, tensor2, *, value=1):
    """input + value * tensor1 * tensor2, elementwise, broadcasting."""
    return add(input, mul(tensor1, tensor2), alpha=value)


def addcdiv(input, tensor1, tensor2, *, value=1):
    """input + value * tensor1 / tensor2, elementwise, broadcasting."""
    return add(input, div(tensor1, tensor2), alpha=value)


def lerp(input, end, weight):
    """input + weight * (end - input), elementwise, broadcasting: exactly input at weight 0, exactly end at weight 1.

    Raises:
        TypeError: input is not floating-point.
    """
    input = as_tensor("lerp", input)
    if input.dtype.kind not in "fc":
        raise TypeError(f"lerp: a floating-point Tensor is needed, got {input.dtype}; convert it with float()")
    way = sub(end, input)
    if isinstance(weight, int | float | complex):
        return add(input, mul(weight, way)) if abs(weight) < 0.5 else sub(end, mul(1 - weight, way))
    weight = as_tensor("lerp", weight)
    return where(abs(weight) < 0.5, add(input, mul(weight, way)), sub(end, mul(1 - weight, way)))


def neg(input):
    """-input, elementwise."""
    input = as_tensor("neg", input)
    if input.dtype == np.bool_:
        raise TypeError("neg: a bool Tensor cannot be negated; use ~")
    return Neg.apply(input)


def pow(input, exponent):
    """input ** exponent, elementwise, broadcasting.

    Raises:
        ValueError: integers raised to a negative integer, whose result is no integer. TypeError: both are bool.
    """
    a, b = operands("pow", input, exponent)
    if _are_bools(a, b):
        raise TypeError("pow: bools cannot be raised to a power")
    if all(x._data.dtype.kind in "iu" if isinstance(x, Tensor) else isinstance(x, int) for x in (a, b)):
        if np.any((b._data if isinstance(b, Tensor) else b) < 0):
            raise ValueError("pow: integers to a negative power are not integers; use a floating-point input")
    return held("pow", Pow.apply, a, b)


def float_power(input, exponent):
    """input ** exponent in float64 (complex128 where an operand is complex), elementwise, broadcasting."""
    input, exponent = as_tensor("float_power", input), as_tensor("float_power", exponent)
    dtype = np.dtype(np.complex128 if "c" in (input.dtype.kind, exponent.dtype.kind) else np.float64)
    return pow(astype(input, dtype), astype(exponent, dtype))


def where(condition, input, other):
    """input where the condition (bool) holds, else other, elementwise, broadcasting."""
    condition = as_tensor("where", condition)
    if condition.dtype != np.bool_:
        raise TypeError(f"where: condition must be bool, got {condition.dtype}")
    if not isinstance(input, Tensor) and not isinstance(other, Tensor):
        input, other = as_tensor("where", input), as_tensor("where", other)
    a, b = operands("where", input, other)
    like = (a if isinstance(a, Tensor) else b)._data
    a, b = (x if isinstance(x, Tensor) else held("where", constant, x, like) for x in (a, b))
    check_broadcast("where", condition, a)
    check_broadcast("where", condition, b)
    return Where.apply(condition, a, b)


def _comparison(name, ufunc, symbol):
    def compare(input, other):
        a, b = operands(name, input, other)
        return Tensor(ufunc(*(x._data if isinstance(x, Tensor) else x for x in (a, b))))

    compare.__name__ = compare.__qualname__ = name
    compare.__doc__ = f"input {symbol} other, elementwise, broadcasting: a bool Tensor without gradient."
    return compare


def _bitwise(name, ufunc, symbol):
    def operate(*inputs):
        inputs = operands(name, *inputs) if len(inputs) == 2 else [as_tensor(name, inputs[0])]
        for x in inputs:
            if isinstance(x, Tensor) and x.dtype.kind not in "biu":
                raise TypeError(f"{name}: {symbol} needs bools or integers, got {x.dtype}")
        arrays = (x._data if isinstance(x, Tensor) else x for x in inputs)
        return Tensor(held(name, ufunc, *arrays))

    operate.__name__ = operate.__qualname__ = name
    operate.__doc__ = f"{symbol} on bools, or bit by bit on integers; broadcasting."
    return operate


bitwise_and = _bitwise("bitwise_and", np.bitwise_and, "&")
bitwise_or = _bitwise("bitwise_or", np.bitwise_or, "|")
bitwise_xor = _bitwise("bitwise_xor", np.bitwise_xor, "^")
bitwise_not = _bitwise("bitwise_not", np.bitwise_not, "~")

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
    return Tensor(np.logical_not(as_tensor("logical_not", input)._data))


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
    return _assign("copy_", self, as_tensor("copy_", source))


def fill_(self, value):
    """Write one number into every element; returns this Tensor."""
    return _assign("fill_", self, value)


def zero_(self):
    """Write zeros; returns this Tensor."""
    return _assign("zero_", self, 0)


def _assign(name, tensor, value):
    from .indexing import assign

    return assign(name, tensor, ..., value)
