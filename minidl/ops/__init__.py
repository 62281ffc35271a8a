"""Operations on Tensors, with PyTorch's names, arguments and semantics; importing it gives Tensor its methods.

A family of short operations shares a file (arithmetic, elementwise, activation, reduction, shape, …); an operation
with a kernel has a file of the kernel's name.
"""

from ..tensor import Tensor
from . import arithmetic, extrema, indexing
from .activation import elu, gelu, hardtanh, leaky_relu, logsigmoid, relu6, sigmoid, silu, softplus
from .arithmetic import (
    add,
    addcdiv,
    addcmul,
    bitwise_and,
    bitwise_not,
    bitwise_or,
    bitwise_xor,
    conj,
    div,
    eq,
    float_power,
    ge,
    gt,
    le,
    lerp,
    logical_and,
    logical_not,
    logical_or,
    lt,
    mul,
    ne,
    neg,
    pow,
    sub,
    where,
)
from .comparison import allclose, equal, isclose
from .conv2d import conv2d
from .elementwise import abs, exp, exp2, expm1, log, log1p, log2, log10, reciprocal, rsqrt, sign, sqrt, square, tanh
from .erf import erf, erfc
from .extrema import clamp, clamp_max, clamp_min, clip, fmax, fmin, maximum, minimum
from .log_softmax import log_softmax
from .losses import cross_entropy, mse_loss, nll_loss
from .matmul import linear, matmul
from .max_pool2d import max_pool2d
from .norm import norm, normalize, vector_norm
from .reduction import all, amax, amin, any, argmax, argmin, count_nonzero, logsumexp, max, mean, min, nansum, sum
from .relu import relu, relu_
from .rounding import ceil, floor, floor_divide, fmod, frac, isfinite, isinf, isnan, remainder, round, trunc
from .scan import cumprod, cumsum, prod
from .shape import (
    astype,
    broadcast_to,
    cat,
    chunk,
    clone,
    contiguous,
    expand,
    flatten,
    flip,
    permute,
    reshape,
    split,
    squeeze,
    stack,
    t,
    transpose,
    unsqueeze,
)
from .softmax import softmax, softmin
from .sorting import argsort, median, sort, topk
from .statistics import std, std_mean, var, var_mean
from .trigonometry import acos, acosh, asin, asinh, atan, atan2, atanh, cos, cosh, hypot, sin, sinh, tan

__all__ = [
    "abs", "acos", "acosh", "add", "addcdiv", "addcmul", "all", "allclose", "amax", "amin", "any", "argmax",
    "argmin", "argsort", "asin", "asinh", "astype", "atan", "atan2", "atanh", "bitwise_and", "bitwise_not",
    "bitwise_or", "bitwise_xor", "broadcast_to", "cat", "ceil", "chunk", "clamp", "clamp_max", "clamp_min", "clip",
    "clone", "conj", "contiguous", "conv2d", "cos", "cosh", "count_nonzero", "cross_entropy", "cumprod", "cumsum",
    "div", "elu", "eq", "equal", "erf", "erfc", "exp", "exp2", "expand", "expm1", "flatten", "flip", "float_power",
    "floor", "floor_divide", "fmax", "fmin", "fmod", "frac", "ge", "gelu", "gt", "hardtanh", "hypot", "isclose",
    "isfinite", "isinf", "isnan", "le", "leaky_relu", "lerp", "linear", "log", "log10", "log1p", "log2",
    "log_softmax", "logical_and", "logical_not", "logical_or", "logsigmoid", "logsumexp", "lt", "matmul", "max",
    "max_pool2d", "maximum", "mean", "median", "min", "minimum", "mse_loss", "mul", "nansum", "ne", "neg",
    "nll_loss", "norm", "normalize", "permute", "pow", "prod", "reciprocal", "relu", "relu6", "remainder",
    "reshape", "round", "rsqrt", "sigmoid", "sign", "silu", "sin", "sinh", "softmax", "softmin", "softplus", "sort",
    "split", "sqrt", "square", "squeeze", "stack", "std", "std_mean", "sub", "sum", "t", "tan", "tanh", "topk",
    "transpose", "trunc", "unsqueeze", "var", "var_mean", "vector_norm", "where",
]  # fmt: skip

_METHODS = [
    abs, acos, acosh, add, addcdiv, addcmul, all, allclose, amax, amin, any, argmax, argmin, argsort, asin, asinh,
    astype, atan, atan2, atanh, broadcast_to, ceil, chunk, clamp, clamp_max, clamp_min, clone, conj, contiguous,
    cos, cosh, count_nonzero, cumprod, cumsum, div, eq, equal, erf, erfc, exp, exp2, expand, expm1, flatten, flip,
    float_power, floor, floor_divide, fmax, fmin, fmod, frac, ge, gt, hypot, isclose, isfinite, isinf, isnan, le,
    lerp, log, log10, log1p, log2, log_softmax, logical_and, logical_not, logical_or, logsumexp, lt, matmul, max,
    maximum, mean, median, min, minimum, mul, nansum, ne, neg, norm, permute, pow, prod, reciprocal, relu,
    remainder, reshape, round, rsqrt, sigmoid, sign, sin, sinh, softmax, sort, split, sqrt, square, squeeze, std,
    sub, sum, t, tan, tanh, topk, transpose, trunc, unsqueeze, var, arithmetic.add_,
    arithmetic.sub_, arithmetic.mul_, arithmetic.div_, arithmetic.copy_, arithmetic.fill_, arithmetic.zero_,
    extrema.clamp_, relu_,
]  # fmt: skip
for _method in _METHODS:
    setattr(Tensor, _method.__name__, _method)
Tensor.view = reshape
Tensor.clip = clamp
Tensor.where = lambda self, condition, other: where(condition, self, other)


def _reflected(operation):
    return lambda self, other: operation(other, self)


_OPERATORS = {
    "add": add, "sub": sub, "mul": mul, "truediv": div, "pow": pow, "matmul": matmul,
    "floordiv": floor_divide, "mod": remainder,
    "and": bitwise_and, "or": bitwise_or, "xor": bitwise_xor,
}  # fmt: skip
for _name, _operation in _OPERATORS.items():
    setattr(Tensor, f"__{_name}__", _operation)
    setattr(Tensor, f"__r{_name}__", _reflected(_operation))
for _operation in (eq, ne, lt, le, gt, ge, neg, abs):
    setattr(Tensor, f"__{_operation.__name__}__", _operation)
Tensor.__invert__ = bitwise_not
Tensor.__iadd__, Tensor.__isub__ = arithmetic.add_, arithmetic.sub_
Tensor.__imul__, Tensor.__itruediv__ = arithmetic.mul_, arithmetic.div_
Tensor.__getitem__, Tensor.__setitem__ = indexing.getitem, indexing.setitem
Tensor.T = property(t, doc="The transpose of a matrix.")
Tensor.mT = property(lambda self: transpose(self, -1, -2), doc="The last two axes exchanged.")
Tensor.float = lambda self: astype(self, "float32")
Tensor.double = lambda self: astype(self, "float64")
Tensor.long = lambda self: astype(self, "int64")
