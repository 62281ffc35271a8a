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
        "abs", "add", "addmm", "addmv", "amax", "amin", "argmax", "argmin", "argwhere", "baddbmm", "bmm",
        "broadcast_to", "cat", "chunk", "clone", "diag", "diag_embed", "diagonal", "div", "dot", "exp", "expand",
        "expand_as", "flatten", "flip", "fliplr", "flipud", "gather", "hstack", "index_add", "index_put",
        "index_select", "inner", "kron", "log", "log_softmax", "masked_fill", "masked_select", "matmul", "max",
        "mean", "meshgrid", "min", "mm", "movedim", "mul", "mv", "narrow", "neg", "nonzero", "outer", "permute",
        "pow", "ravel", "repeat", "repeat_interleave", "reshape", "reshape_as", "roll", "rot90", "scatter",
        "scatter_add", "select", "softmax", "split", "sqrt", "squeeze", "stack", "sub", "sum", "t", "take",
        "take_along_dim", "tanh", "tensor_split", "tensordot", "tile", "trace", "transpose", "tril", "triu",
        "unbind", "unflatten", "unsqueeze", "vdot", "view_as", "vstack",
    )},
    **{f"nn.functional.{name}": getattr(ops, name) for name in (
        "binary_cross_entropy", "binary_cross_entropy_with_logits", "conv2d", "cross_entropy", "huber_loss",
        "kl_div", "l1_loss", "linear", "max_pool2d", "mse_loss", "nll_loss", "pad", "relu", "smooth_l1_loss",
    )},
    "einsum": lambda operands, equation: ops.einsum(equation, operands),
    "view": ops.reshape,
    "where": lambda input, condition, other: ops.where(condition, input, other),
    "__getitem__": lambda input, index: input[index],
}  # fmt: skip

# What we leave out on purpose: a name in PyTorch, which of its samples, and why.
NOT_OFFERED = [
    (
        "div",
        lambda sample: sample.kwargs.get("rounding_mode"),
        "division rounds only as integers are divided in Python",
    ),
    (
        "max",
        lambda sample: sample.args and isinstance(sample.args[0], torch.Tensor),
        "of two Tensors: maximum is another name",
    ),
    (
        "min",
        lambda sample: sample.args and isinstance(sample.args[0], torch.Tensor),
        "of two Tensors: minimum is another name",
    ),
    ("softmax", lambda sample: "dtype" in sample.kwargs, "convert first, with astype"),
    ("log_softmax", lambda sample: "dtype" in sample.kwargs, "convert first, with astype"),
]

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


@pytest.mark.filterwarnings("ignore:Using padding='same'", "ignore:reduction. 'mean' divides")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("op", DATABASE, ids=lambda op: f"{op.name}-{op.variant_test_name}".strip("-"))
def test_samples(op, dtype):
    chosen = [sample for sample in samples(op, dtype) if not left_out(op, sample)]
    if not chosen:
        pytest.skip("not offered, see the table")
    for sample in chosen:
        arguments = sample.input, sample.args, sample.kwargs

        def ours(*leaves):
            input, args, kwargs = replace(arguments, iter(leaves), lambda t: dl.Tensor(t.numpy()))  # noqa: B023
            return OPERATIONS[op.name](input, *args, **for_us(kwargs))

        def theirs(*leaves):
            input, args, kwargs = replace(arguments, iter(leaves), lambda t: t)  # noqa: B023
            return op(input, *args, **kwargs)

        try:
            arrays = [t.detach().numpy() for t in leaves_of(arguments)]
            rtol = 1e-5 if dtype == torch.float32 else INEXACT.get(op.name, 1e-10)
            check_against_torch(ours, theirs, *arrays, rtol=rtol, second=op.supports_gradgrad)
        except Exception as error:
            error.add_note(str(sample)) if hasattr(error, "add_note") else None
            raise
