"""PyTorch's own samples: value, gradient and second gradient of every operation that we have too.

The samples are those of PyTorch's tests (its operator database), which import the package expecttest.
"""

import pytest
from helpers import check_against_torch

import minidl as dl
from minidl import ops

torch = pytest.importorskip("torch")
pytest.importorskip("expecttest")
op_db = pytest.importorskip("torch.testing._internal.common_methods_invocations").op_db

# PyTorch's name -> ours
OPERATIONS = {
    **{name: getattr(ops, name) for name in (
        "abs", "acos", "acosh", "add", "addcdiv", "addcmul", "addmm", "addmv", "all", "allclose", "amax", "amin", "any",
        "argmax", "argmin", "argsort", "argwhere", "asin", "asinh", "atan", "atan2", "atanh", "baddbmm", "bmm",
        "broadcast_to", "cat", "ceil", "chunk", "clamp", "clamp_max", "clamp_min", "clone", "cos", "cosh",
        "count_nonzero", "cumprod", "cumsum", "diag", "diag_embed", "diagonal", "div", "dot", "eq", "equal", "erf",
        "erfc", "exp", "exp2", "expand", "expand_as", "expm1", "flatten", "flip", "fliplr", "flipud", "float_power",
        "floor", "floor_divide", "fmax", "fmin", "fmod", "frac", "gather", "ge", "gt", "hstack", "hypot", "index_add",
        "index_put", "index_select", "inner", "isclose", "isfinite", "isinf", "isnan", "kron", "le", "lerp", "log",
        "log10", "log1p", "log2", "log_softmax", "logical_and", "logical_not", "logical_or", "logsumexp", "lt",
        "masked_fill", "masked_select", "matmul", "max", "maximum", "mean", "median", "meshgrid", "min", "minimum",
        "mm", "movedim", "mul", "mv", "nansum", "narrow", "ne", "neg", "nonzero", "norm", "outer", "permute", "pow",
        "prod", "ravel", "reciprocal", "remainder", "repeat", "repeat_interleave", "reshape", "reshape_as", "roll",
        "rot90", "round", "rsqrt", "scatter", "scatter_add", "select", "sigmoid", "sign", "sin", "sinh", "softmax",
        "sort", "split", "sqrt", "square", "squeeze", "stack", "std", "std_mean", "sub", "sum", "t", "take",
        "take_along_dim", "tan", "tanh", "tensor_split", "tensordot", "tile", "topk", "trace", "transpose", "tril",
        "triu", "trunc", "unbind", "unflatten", "unsqueeze", "var", "var_mean", "vdot", "view_as", "vstack",
    )},
    **{f"nn.functional.{name}": getattr(ops, name) for name in (
        "adaptive_avg_pool2d", "avg_pool2d", "batch_norm", "binary_cross_entropy", "binary_cross_entropy_with_logits",
        "conv2d", "conv_transpose2d", "cross_entropy", "elu", "gelu", "group_norm", "hardtanh", "huber_loss",
        "instance_norm", "kl_div", "l1_loss", "layer_norm", "leaky_relu", "linear", "local_response_norm", "logsigmoid",
        "max_pool2d", "mse_loss", "nll_loss", "normalize", "pad", "relu", "relu6", "silu", "smooth_l1_loss",
        "softmin", "softplus",
    )},
    "linalg.vector_norm": ops.vector_norm,
    "einsum": lambda operands, equation: ops.einsum(equation, operands),
    "view": ops.reshape,
    "where": lambda input, condition, other: ops.where(condition, input, other),
    "__getitem__": lambda input, index: input[index],
}  # fmt: skip

# What we leave out on purpose: a name in PyTorch, which of its samples, and why.
NOT_OFFERED = [
    ("norm", lambda sample: "nuc" in (*sample.args, *sample.kwargs.values()), "needs singular values"),
    ("nn.functional.batch_norm", lambda sample: sample.input.ndim < 2, "an empty input without channels"),
]

# PyTorch has complex samples also for these, which are for real numbers here.
REAL_ONLY = {
    "log_softmax", "softmax", "nn.functional.conv2d", "nn.functional.conv_transpose2d", "nn.functional.linear",
    "nn.functional.softmin",
}  # fmt: skip

# With one element, derivatives of these are zero, or all but zero, because terms cancel.
CANCELLING = {
    "linalg.vector_norm", "nn.functional.batch_norm", "nn.functional.group_norm", "nn.functional.instance_norm",
    "nn.functional.layer_norm", "nn.functional.logsigmoid", "nn.functional.normalize", "norm", "prod",
}  # fmt: skip

# PyTorch adds 1e-12 to denominators of this second gradient, and is that much off where they are small.
INEXACT = {"nn.functional.binary_cross_entropy": 1e-8}

DATABASE = [op for op in op_db if op.name in OPERATIONS]


def leaves_of(value):
    """The Tensors of a sample's arguments that require a gradient, in order."""
    if isinstance(value, torch.Tensor):
        return [value] if value.requires_grad else []
    values = value.values() if isinstance(value, dict) else value if isinstance(value, tuple | list) else ()
    return [leaf for v in values for leaf in leaves_of(v)]


def replace(value, leaves, constant):
    """A sample's arguments with the next of `leaves` for each of leaves_of, and constant(t) for the other Tensors."""
    if isinstance(value, torch.Tensor):
        return next(leaves) if value.requires_grad else constant(value)
    if isinstance(value, dict):
        return {key: replace(v, leaves, constant) for key, v in value.items()}
    return type(value)(replace(v, leaves, constant) for v in value) if isinstance(value, tuple | list) else value


def for_us(value):
    """PyTorch's dtypes by their names, which NumPy shares."""
    if isinstance(value, dict):
        return {key: for_us(v) for key, v in value.items()}
    return str(value).removeprefix("torch.") if isinstance(value, torch.dtype) else value


def left_out(op, sample):
    return any(name == op.name and chosen(sample) for name, chosen, _ in NOT_OFFERED)


def samples(op, dtype=torch.float32):
    return list(op.sample_inputs("cpu", dtype, requires_grad=op.supports_autograd))


def test_the_database_has_every_operation_and_every_sample_that_is_left_out():
    assert {op.name for op in DATABASE} == set(OPERATIONS)
    for name, chosen, why in NOT_OFFERED:
        assert any(chosen(sample) for op in DATABASE if op.name == name for sample in samples(op)), (name, why)


@pytest.mark.filterwarnings(
    "ignore:Using padding='same'", "ignore:Casting complex values to real", "ignore:reduction. 'mean' divides"
)
@pytest.mark.parametrize(
    "op, dtype",
    [
        pytest.param(op, dtype, id=f"{dtype}-{op.name}-{op.variant_test_name}".strip("-"))
        for op in DATABASE
        for dtype in (torch.float32, torch.float64, torch.complex128)
        if dtype in op.supported_dtypes("cpu") and not (dtype.is_complex and op.name in REAL_ONLY)
    ],
)
def test_samples(op, dtype):
    chosen = [sample for sample in samples(op, dtype) if not left_out(op, sample)]
    if not chosen:
        pytest.skip("not offered, see the table")
    for sample in chosen:
        arguments = sample.input, sample.args, sample.kwargs

        def ours(*leaves):
            input, args, kwargs = replace(arguments, iter(leaves), lambda t: dl.Tensor(t.resolve_conj().numpy()))  # noqa: B023
            result = OPERATIONS[op.name](input, *args, **for_us(kwargs))
            return dl.tensor(result) if isinstance(result, bool) else result

        def theirs(*leaves):
            input, args, kwargs = replace(arguments, iter(leaves), lambda t: t)  # noqa: B023
            result = op(input, *args, **kwargs)
            return torch.tensor(result) if isinstance(result, bool) else result

        try:
            arrays = [t.detach().resolve_conj().numpy() for t in leaves_of(arguments)]
            rtol = 1e-5 if dtype == torch.float32 else INEXACT.get(op.name, 1e-10)
            atol = 10 * rtol if op.name in CANCELLING else 0.0
            check_against_torch(ours, theirs, *arrays, rtol=rtol, atol=atol, second=op.supports_gradgrad)
        except Exception as error:
            error.add_note(str(sample)) if hasattr(error, "add_note") else None
            raise
