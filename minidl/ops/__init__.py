"""Operations on Tensors, with PyTorch's names, arguments and semantics; importing it gives Tensor its methods.

A family of one-line operations shares a file (arithmetic, elementwise, reduction, products, losses; shape, joining,
rearrange and diagonal, which move elements; indexing and gather); an operation with a kernel has a file of the kernel's
name.
"""

from ..tensor import Tensor
from . import arithmetic, indexing, joining
from .arithmetic import (
    add,
    bitwise_and,
    bitwise_not,
    bitwise_or,
    bitwise_xor,
    conj,
    div,
    eq,
    ge,
    gt,
    le,
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
from .conv2d import conv2d
from .diagonal import diag, diag_embed, diagonal, trace, tril, triu
from .einsum import einsum
from .elementwise import abs, exp, log, sign, sqrt, tanh
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
from .joining import cat, chunk, concat, concatenate, hstack, split, stack, tensor_split, unbind, vstack
from .log_softmax import log_softmax
from .losses import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    huber_loss,
    kl_div,
    l1_loss,
    mse_loss,
    nll_loss,
    smooth_l1_loss,
)
from .matmul import linear, matmul
from .max_pool2d import max_pool2d
from .pad import pad
from .products import addmm, addmv, baddbmm, bmm, dot, inner, kron, mm, mv, outer, tensordot, vdot
from .rearrange import flip, fliplr, flipud, meshgrid, repeat, repeat_interleave, roll, rot90, tile
from .reduction import amax, amin, argmax, argmin, max, mean, min, sum
from .relu import relu
from .shape import (
    astype,
    broadcast_to,
    clone,
    contiguous,
    expand,
    expand_as,
    flatten,
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
from .softmax import softmax

__all__ = [
    "abs", "add", "addmm", "addmv", "amax", "amin", "argmax", "argmin", "argwhere", "astype", "baddbmm",
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "bitwise_and", "bitwise_not", "bitwise_or",
    "bitwise_xor", "bmm", "broadcast_to", "cat", "chunk", "clone", "concat", "concatenate", "conj", "contiguous",
    "conv2d", "cross_entropy", "diag", "diag_embed", "diagonal", "div", "dot", "einsum", "eq", "exp", "expand",
    "expand_as", "flatten", "flip", "fliplr", "flipud", "gather", "ge", "gt", "hstack", "huber_loss",
    "index_add", "index_put", "index_select", "inner", "kl_div", "kron", "l1_loss", "le", "linear", "log",
    "log_softmax", "logical_and", "logical_not", "logical_or", "lt", "masked_fill", "masked_select", "matmul",
    "max", "max_pool2d", "mean", "meshgrid", "min", "mm", "moveaxis", "movedim", "mse_loss", "mul", "mv", "narrow",
    "ne", "neg", "nll_loss", "nonzero", "outer", "pad", "permute", "pow", "ravel",
    "relu", "repeat", "repeat_interleave", "reshape", "reshape_as", "roll", "rot90", "scatter", "scatter_add",
    "select", "sign", "smooth_l1_loss", "softmax", "split", "sqrt", "squeeze", "stack", "sub", "sum", "swapaxes",
    "swapdims", "t", "take", "take_along_dim", "tanh", "tensor_split", "tensordot", "tile", "trace", "transpose",
    "tril", "triu", "unbind", "unflatten", "unsqueeze", "vdot", "view_as", "vstack", "where",
]  # fmt: skip

_METHODS = [
    abs, add, addmm, addmv, amax, amin, argmax, argmin, argwhere, astype, baddbmm, bmm, broadcast_to, chunk, clone,
    conj, contiguous, diag, diag_embed, diagonal, div, dot, eq, exp, expand, expand_as, flatten, flip, fliplr,
    flipud, gather, ge, gt, index_add, index_put, index_select, inner, kron, le, log, log_softmax, logical_and,
    logical_not, logical_or, lt, masked_fill, masked_select, matmul, max, mean, min, mm, moveaxis, movedim, mul, mv,
    narrow, ne, neg, nonzero, outer, permute, pow, ravel, relu, repeat, repeat_interleave, reshape, reshape_as,
    roll, rot90, scatter, scatter_add, select, sign, softmax, split, sqrt, squeeze, sub, sum, swapaxes, swapdims, t,
    take, take_along_dim, tanh, tensor_split, tile, trace, transpose, tril, triu, unbind, unflatten, unsqueeze,
    vdot, view_as,
    arithmetic.add_, arithmetic.sub_, arithmetic.mul_, arithmetic.div_, arithmetic.copy_, arithmetic.fill_,
    arithmetic.zero_,
]  # fmt: skip
for _method in _METHODS:
    setattr(Tensor, _method.__name__, _method)
Tensor.view = reshape
Tensor.where = lambda self, condition, other: where(condition, self, other)


def _reflected(operation):
    return lambda self, other: operation(other, self)


_OPERATORS = {
    "add": add, "sub": sub, "mul": mul, "truediv": div, "pow": pow, "matmul": matmul,
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
Tensor.__iter__ = joining.iterate
Tensor.T = property(t, doc="The transpose of a matrix.")
Tensor.mT = property(lambda self: transpose(self, -1, -2), doc="The last two axes exchanged.")
Tensor.float = lambda self: astype(self, "float32")
Tensor.double = lambda self: astype(self, "float64")
Tensor.long = lambda self: astype(self, "int64")
