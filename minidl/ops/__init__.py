"""Operations on Tensors, with PyTorch's names, arguments and semantics; importing it gives Tensor its methods.

A family of short operations shares a file (arithmetic, elementwise, activation, reduction, products, losses; shape,
joining, rearrange and diagonal, which move elements; indexing and gather; …); an operation with a kernel has a file of
the kernel's name.
"""

from ..tensor import Tensor
from . import _autocast, arithmetic, extrema, indexing, joining
from .activation import elu, gelu, hardtanh, leaky_relu, logsigmoid, relu6, sigmoid, silu, softplus, tanh
from .adaptive_avg_pool2d import adaptive_avg_pool2d
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
from .avg_pool2d import avg_pool2d
from .batch_norm import batch_norm, batch_norm_relu
from .comparison import allclose, equal, isclose
from .conv2d import conv2d, conv2d_relu
from .conv_transpose2d import conv_transpose2d
from .cross_entropy import cross_entropy
from .diagonal import diag, diag_embed, diagonal, trace, tril, triu
from .dropout import dropout, dropout2d
from .einsum import einsum
from .elementwise import (
    abs,
    exp,
    exp2,
    expm1,
    log,
    log1p,
    log2,
    log10,
    reciprocal,
    rsqrt,
    sign,
    sqrt,
    square,
)
from .erf import erf, erfc
from .extrema import clamp, clamp_max, clamp_min, clip, fmax, fmin, maximum, minimum
from .gather import (
    argwhere,
    gather,
    index_add,
    index_put,
    index_select,
    masked_fill,
    masked_select,
    narrow,
    nonzero,
    scatter,
    scatter_add,
    select,
    take,
    take_along_dim,
)
from .global_avg_pool2d import global_avg_pool2d
from .group_norm import group_norm, instance_norm
from .joining import cat, chunk, concat, concatenate, hstack, split, stack, tensor_split, unbind, vstack
from .layer_norm import layer_norm
from .local_response_norm import local_response_norm
from .log_softmax import log_softmax
from .losses import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    huber_loss,
    kl_div,
    l1_loss,
    mse_loss,
    nll_loss,
    smooth_l1_loss,
)
from .matmul import linear, linear_relu, matmul
from .max_pool2d import max_pool2d
from .norm import norm, normalize, vector_norm
from .pad import pad
from .products import addmm, addmv, baddbmm, bmm, dot, inner, kron, mm, mv, outer, tensordot, vdot
from .rearrange import flip, fliplr, flipud, meshgrid, repeat, repeat_interleave, roll, rot90, tile
from .reduction import (
    all,
    amax,
    amin,
    any,
    argmax,
    argmin,
    count_nonzero,
    logsumexp,
    max,
    mean,
    min,
    nansum,
    sum,
)
from .relu import add_relu, relu, relu_
from .rounding import ceil, floor, floor_divide, fmod, frac, isfinite, isinf, isnan, remainder, round, trunc
from .scan import cumprod, cumsum, prod
from .shape import (
    astype,
    broadcast_to,
    clone,
    contiguous,
    expand,
    expand_as,
    flatten,
    move,
    moveaxis,
    movedim,
    permute,
    ravel,
    reshape,
    reshape_as,
    squeeze,
    swapaxes,
    swapdims,
    t,
    transpose,
    unflatten,
    unsqueeze,
    view_as,
)
from .softmax import softmax, softmin
from .sorting import argsort, median, sort, topk
from .statistics import std, std_mean, var, var_mean
from .trigonometry import acos, acosh, asin, asinh, atan, atan2, atanh, cos, cosh, hypot, sin, sinh, tan

__all__ = [
    "abs", "acos", "acosh", "adaptive_avg_pool2d", "add", "add_relu", "addcdiv", "addcmul", "addmm", "addmv", "all",
    "allclose", "amax", "amin", "any", "argmax", "argmin", "argsort", "argwhere", "asin", "asinh", "astype", "atan",
    "atan2", "atanh", "avg_pool2d", "baddbmm", "batch_norm", "batch_norm_relu", "binary_cross_entropy",
    "binary_cross_entropy_with_logits", "bitwise_and", "bitwise_not", "bitwise_or", "bitwise_xor", "bmm",
    "broadcast_to", "cat", "ceil", "chunk", "clamp", "clamp_max", "clamp_min", "clip", "clone", "concat", "concatenate",
    "conj", "contiguous", "conv2d", "conv2d_relu", "conv_transpose2d", "cos", "cosh", "count_nonzero", "cross_entropy",
    "cumprod", "cumsum", "diag", "diag_embed", "diagonal", "div", "dot", "dropout", "dropout2d", "einsum", "elu", "eq",
    "equal", "erf", "erfc", "exp", "exp2", "expand", "expand_as", "expm1", "flatten", "flip", "fliplr", "flipud",
    "float_power", "floor", "floor_divide", "fmax", "fmin", "fmod", "frac", "gather", "ge", "gelu", "global_avg_pool2d",
    "group_norm", "gt", "hardtanh", "hstack", "huber_loss", "hypot", "index_add", "index_put", "index_select", "inner",
    "instance_norm", "isclose", "isfinite", "isinf", "isnan", "kl_div", "kron", "l1_loss", "layer_norm", "le",
    "leaky_relu", "lerp", "linear", "linear_relu", "local_response_norm", "log", "log10", "log1p", "log2",
    "log_softmax", "logical_and", "logical_not", "logical_or", "logsigmoid", "logsumexp", "lt", "masked_fill",
    "masked_select", "matmul", "max", "max_pool2d", "maximum", "mean", "median", "meshgrid", "min", "minimum", "mm",
    "moveaxis", "movedim", "mse_loss", "mul", "mv", "nansum", "narrow", "ne", "neg", "nll_loss", "nonzero", "norm",
    "normalize", "outer", "pad", "permute", "pow", "prod", "ravel", "reciprocal", "relu", "relu6", "remainder",
    "repeat", "repeat_interleave", "reshape", "reshape_as", "roll", "rot90", "round", "rsqrt", "scatter", "scatter_add",
    "select", "sigmoid", "sign", "silu", "sin", "sinh", "smooth_l1_loss", "softmax", "softmin", "softplus", "sort",
    "split", "sqrt", "square", "squeeze", "stack", "std", "std_mean", "sub", "sum", "swapaxes", "swapdims", "t", "take",
    "take_along_dim", "tan", "tanh", "tensor_split", "tensordot", "tile", "topk", "trace", "transpose", "tril", "triu",
    "trunc", "unbind", "unflatten", "unsqueeze", "var", "var_mean", "vdot", "vector_norm", "view_as", "vstack", "where",
]  # fmt: skip

for _name in __all__:
    globals()[_name] = _autocast.chosen(globals()[_name])

_METHODS = [
    abs, acos, acosh, add, addcdiv, addcmul, addmm, addmv, all, allclose, amax, amin, any, argmax, argmin, argsort,
    argwhere, asin, asinh, astype, atan, atan2, atanh, baddbmm, bmm, broadcast_to, ceil, chunk, clamp, clamp_max,
    clamp_min, clone, conj, contiguous, cos, cosh, count_nonzero, cumprod, cumsum, diag, diag_embed, diagonal, div, dot,
    eq, equal, erf, erfc, exp, exp2, expand, expand_as, expm1, flatten, flip, fliplr, flipud, float_power, floor,
    floor_divide, fmax, fmin, fmod, frac, gather, ge, gt, hypot, index_add, index_put, index_select, inner, isclose,
    isfinite, isinf, isnan, kron, le, lerp, log, log10, log1p, log2, log_softmax, logical_and, logical_not, logical_or,
    logsumexp, lt, masked_fill, masked_select, matmul, max, maximum, mean, median, min, minimum, mm, moveaxis, movedim,
    mul, mv, nansum, narrow, ne, neg, nonzero, norm, outer, permute, pow, prod, ravel, reciprocal, relu, remainder,
    repeat, repeat_interleave, reshape, reshape_as, roll, rot90, round, rsqrt, scatter, scatter_add, select, sigmoid,
    sign, sin, sinh, softmax, sort, split, sqrt, square, squeeze, std, sub, sum, swapaxes, swapdims, t, take,
    take_along_dim, tan, tanh, tensor_split, tile, topk, trace, transpose, tril, triu, trunc, unbind, unflatten,
    unsqueeze, var, vdot, view_as,
    arithmetic.add_, arithmetic.sub_, arithmetic.mul_, arithmetic.div_, arithmetic.copy_, arithmetic.fill_,
    arithmetic.zero_, extrema.clamp_, relu_,
]  # fmt: skip
for _method in _METHODS:
    setattr(Tensor, _method.__name__, _method)
Tensor.view = reshape
Tensor._move = move  # behind Tensor.to
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
Tensor.__rtruediv__ = _autocast.in_float32(Tensor.__rtruediv__)  # as reciprocal
for _operation in (eq, ne, lt, le, gt, ge, neg, abs):
    setattr(Tensor, f"__{_operation.__name__}__", _operation)
Tensor.__invert__ = bitwise_not
Tensor.__iadd__, Tensor.__isub__ = arithmetic.add_, arithmetic.sub_
Tensor.__imul__, Tensor.__itruediv__ = arithmetic.mul_, arithmetic.div_
Tensor.__getitem__, Tensor.__setitem__ = indexing.getitem, indexing.setitem
Tensor.__iter__ = joining.iterate
Tensor.T = property(t, doc="The transpose of a matrix.")
Tensor.mT = property(lambda self: transpose(self, -1, -2), doc="The last two axes exchanged.")
Tensor.float = lambda self: astype(self, "float32")
Tensor.double = lambda self: astype(self, "float64")
Tensor.long = lambda self: astype(self, "int64")
