"""In which precision operations compute within amp.autocast, on a GPU: PyTorch's choices, with which tests compare.

- What is bound by arithmetic, products of matrices and convolutions, computes in half precision: its sums are kept in
  float32, and half the bytes move.
- What half precision would spoil computes in float32: exponentials and powers, whose results soon leave its range (6e-8
  to 65504), and what adds up many terms: sums, norms, losses.
- Everything else takes what it is given; operands of two dtypes become the wider, as always. So do, in PyTorch, the
  products tensordot, inner, dot and vdot, and instance_norm.

Conversions are operations of the graph: the gradient of a weight comes back in the weight's own dtype.
"""

from functools import wraps

import numpy as np

from ..cuda import on_gpu
from ..function import _modes, casting
from ..tensor import Tensor
from .shape import astype

HALF = {
    "addmm", "addmv", "baddbmm", "bmm", "conv2d", "conv2d_relu", "conv_transpose2d", "einsum", "linear", "linear_relu",
    "matmul", "mm", "mv",
}  # fmt: skip
FLOAT32 = {
    "acos", "asin", "binary_cross_entropy_with_logits", "cosh", "cross_entropy", "cumprod", "cumsum", "exp", "expm1",
    "group_norm", "huber_loss", "kl_div", "l1_loss", "layer_norm", "local_response_norm", "log", "log10", "log1p",
    "log2", "log_softmax", "logsumexp", "mse_loss", "nll_loss", "norm", "normalize", "pow", "prod", "reciprocal",
    "rsqrt", "sinh", "smooth_l1_loss", "softmax", "softmin", "softplus", "square", "sum", "tan", "vector_norm",
}  # fmt: skip
REFUSED = {"binary_cross_entropy": "a sigmoid in half precision is 1 from 8.3 on; use binary_cross_entropy_with_logits"}


def chosen(operation):
    """The operation as the tables above say: itself, or one that converts its Tensors first."""
    name = operation.__name__
    if name in REFUSED:
        return _refusing(operation, REFUSED[name])
    return _converting(operation, name in HALF) if name in HALF | FLOAT32 else operation


def in_float32(operation):
    """An operation that is in no table, as those of FLOAT32."""
    return _converting(operation, False)


def _converting(operation, to_half):
    @wraps(operation)
    def converting(*args, **options):
        if _modes.casts is None:
            return operation(*args, **options)
        half, kept = _modes.casts
        dtype = half if to_half else np.dtype(np.float32)
        args, options = _converted(args, dtype, kept), {k: _converted(v, dtype, kept) for k, v in options.items()}
        with casting(None):  # the operations that it is made of
            return operation(*args, **options)

    return converting


def _refusing(operation, reason):
    @wraps(operation)
    def refusing(*args, **options):
        if _modes.casts is not None and any(isinstance(a, Tensor) and on_gpu(a._data) for a in args):
            raise RuntimeError(f"{operation.__name__}: not within autocast: {reason}")
        return operation(*args, **options)

    return refusing


def _converted(value, dtype, kept):
    """A Tensor of float16 or float32 on a GPU in another dtype; what lists hold likewise; the rest as it is."""
    if isinstance(value, Tensor):
        own = value._data.dtype
        if own == dtype or own not in (np.float16, np.float32) or not on_gpu(value._data):
            return value
        if dtype == np.float32 or not (value._requires_grad and value.is_leaf and _modes.grad):
            return astype(value, dtype)
        return _converted_once(value, dtype, kept)
    if type(value) in (list, tuple):
        return type(value)([_converted(v, dtype, kept) for v in value])
    return value


def _converted_once(weight, dtype, kept):
    """A weight that is used several times within an autocast block is converted at the first, unless it changes."""
    version = weight._counter.value if weight._counter else 0
    _, converted, of_version = kept.get(id(weight), (None, None, None))
    if of_version != version:
        converted = astype(weight, dtype)
        kept[id(weight)] = weight, converted, version  # the weight, so that its id is nobody else's
    return converted
