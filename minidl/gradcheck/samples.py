"""Samples on which operations are checked: `minidl gradcheck NAME`, and the tests.

Extents differ pairwise where the operation allows it, so that an exchanged axis shows. Ties, kinks, zeros, repeated
indices, empty and 0-d arrays stand beside the generic sample, as samples of their own.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .. import ops, random
from ..tensor import Tensor

SAMPLES = {}  # name of an operation -> its Samples


@dataclass(frozen=True)
class Sample:
    """A function of Tensors and the arrays to check it at.

    Attributes:
        operation, label: what it is. f: the function. makers: for each input a function of a numpy Generator.
    """

    operation: str
    label: str
    f: Callable
    makers: tuple

    def inputs(self, rng):
        """The arrays, drawn anew."""
        return tuple(make(rng) for make in self.makers)


def _sample(operation, *makers, f=None, label=""):
    SAMPLES.setdefault(operation, []).append(Sample(operation, label, f or getattr(ops, operation), makers))


def normal(*shape):
    """Normally distributed, of both signs."""
    return lambda rng: rng.standard_normal(shape)


def positive(*shape):
    """From 0.5 to 2."""
    return lambda rng: rng.uniform(0.5, 2.0, shape)


def within(low, high, *shape):
    """Uniform in an interval."""
    return lambda rng: rng.uniform(low, high, shape)


def distinct(*shape):
    """No two closer than 0.1, none closer to 0 than 0.05, in random order."""
    count = int(np.prod(shape))
    return lambda rng: (rng.permutation(count) - count // 2 + 0.5).reshape(shape) * 0.1


def levels(*shape):
    """Whole numbers from -1 to 1: full of ties and zeros."""
    return lambda rng: rng.integers(-1, 2, shape).astype(float)


def classes(count, *shape):
    """Class numbers or indices."""
    return lambda rng: rng.integers(0, count, shape)


def fixed(values):
    """The same array always."""
    return lambda rng: np.array(values)


def complex_(*shape):
    """Complex numbers."""
    return lambda rng: rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


def beside(x, values):
    """A Tensor of these values on the device of x."""
    return Tensor(np.array(values)).to(x.device)


def seeded(f):
    """f with the same random numbers at each call, and without effect on those that are drawn elsewhere."""

    def g(*inputs):
        state = random.get_state()
        random.manual_seed(1)
        try:
            return f(*inputs)
        finally:
            random.set_state(state)

    return g


# ---- arithmetic ------------------------------------------------------------------------------------------------------

for _name in ("add", "sub", "mul", "div"):
    _sample(_name, normal(2, 3), positive(2, 3))
    _sample(_name, normal(4, 1, 3), positive(2, 1), label="broadcasting both ways")
    _sample(_name, normal(), positive(2, 3), label="0-d")
    _sample(_name, normal(0, 3), positive(3), label="empty")
    _sample(_name, complex_(2, 3), complex_(3), label="complex")
_sample("pow", positive(2, 3), normal(3))
_sample("pow", normal(2, 3), f=lambda x: x**3, label="number")
_sample("float_power", positive(2, 3), normal(3))
_sample("neg", normal(2, 3))
_sample("conj", complex_(2, 3))
_sample("where", fixed([[True, False, True], [False, False, True]]), normal(2, 3), normal(3))
_sample("addcmul", normal(2, 3), normal(3), normal(2, 1))
_sample("addcdiv", normal(2, 3), normal(3), positive(2, 1))
_sample("lerp", normal(2, 3), normal(2, 3), normal(3))
_sample("hypot", normal(2, 3), positive(3))
_sample("atan2", normal(2, 3), positive(3))
_sample("fmod", normal(2, 3), positive(3))
_sample("remainder", normal(2, 3), positive(3))

# ---- functions of one element ----------------------------------------------------------------------------------------

for _name in (
    "exp", "exp2", "expm1", "sin", "cos", "sinh", "cosh", "tanh", "atan", "asinh", "erf", "erfc", "sigmoid", "square",
    "abs", "relu", "relu6", "leaky_relu", "elu", "gelu", "silu", "softplus", "logsigmoid", "hardtanh", "frac",
):  # fmt: skip
    _sample(_name, normal(4, 5))
    _sample(_name, normal(0, 3), label="empty")
for _name in ("log", "log2", "log10", "log1p", "sqrt", "rsqrt", "reciprocal"):
    _sample(_name, positive(3, 4))
for _name in ("asin", "acos", "atanh", "tan"):
    _sample(_name, within(-0.9, 0.9, 3, 4))
_sample("acosh", within(1.2, 3.0, 3, 4))
_sample("clip", normal(3, 4), f=lambda x: ops.clip(x, -0.5, 0.8))
for _name in ("abs", "relu", "leaky_relu", "hardtanh"):
    _sample(_name, levels(3, 4), label="kinks")
_sample("gelu", normal(3, 4), f=lambda x: ops.gelu(x, approximate="tanh"), label="tanh")
_sample("leaky_relu", normal(3, 4), f=lambda x: ops.leaky_relu(x, 0.3), label="slope 0.3")
_sample("elu", normal(3, 4), f=lambda x: ops.elu(x, 2.5), label="alpha 2.5")
_sample("softplus", normal(3, 4), f=lambda x: ops.softplus(x, 3.0), label="beta 3")

# ---- extrema ---------------------------------------------------------------------------------------------------------

for _name in ("maximum", "minimum", "fmax", "fmin"):
    _sample(_name, distinct(2, 3), normal(3))
    _sample(_name, levels(3, 4), levels(3, 4), label="ties")
_sample("clamp", normal(3, 4), f=lambda x: ops.clamp(x, -0.5, 0.8))
_sample("clamp", normal(3, 4), normal(4), f=lambda x, low: ops.clamp(x, low), label="Tensor as bound")
_sample("clamp_min", normal(3, 4), f=lambda x: ops.clamp_min(x, 0.1))
_sample("clamp_max", normal(3, 4), f=lambda x: ops.clamp_max(x, 0.1))
for _name in ("amax", "amin"):
    _sample(_name, distinct(3, 4), f=lambda x, name=_name: getattr(ops, name)(x, 1))
    _sample(_name, levels(3, 4), f=lambda x, name=_name: getattr(ops, name)(x, 1), label="ties")
for _name in ("max", "min", "median"):
    _sample(_name, distinct(3, 4), f=lambda x, name=_name: getattr(ops, name)(x, -1)[0])
for _name in ("max", "min"):
    _sample(_name, levels(3, 4), label="ties")
_sample("sort", distinct(3, 4), f=lambda x: ops.sort(x, 1)[0])
_sample("topk", distinct(3, 4), f=lambda x: ops.topk(x, 2)[0])

# ---- reductions ------------------------------------------------------------------------------------------------------

for _name in ("sum", "mean", "prod", "var", "std", "logsumexp", "norm", "vector_norm", "nansum"):
    _sample(_name, normal(3, 4, 2), f=lambda x, name=_name: getattr(ops, name)(x, dim=1))
for _name in ("sum", "mean", "var", "std"):
    _sample(_name, normal(3, 4, 2), f=lambda x, name=_name: getattr(ops, name)(x, dim=(0, -1), keepdim=True),
            label="two axes")  # fmt: skip
_sample("prod", levels(4, 3), f=lambda x: ops.prod(x, 1), label="zeros")
for _name in ("var_mean", "std_mean"):
    _sample(_name, normal(3, 4), f=lambda x, name=_name: getattr(ops, name)(x, dim=1))
_sample("norm", normal(3, 4), f=lambda x: ops.norm(x, 1), label="p 1")
_sample("norm", distinct(3, 4), f=lambda x: ops.norm(x, float("inf"), 1), label="p inf")
_sample("norm", positive(3, 4), f=lambda x: ops.norm(x, 3, 0), label="p 3")
_sample("normalize", normal(3, 4))
_sample("cumsum", normal(3, 4), f=lambda x: ops.cumsum(x, 1))
_sample("cumprod", normal(3, 4), f=lambda x: ops.cumprod(x, 0))
_sample("softmax", normal(3, 4), f=lambda x: ops.softmax(x, 1))
_sample("softmin", normal(3, 4), f=lambda x: ops.softmin(x, 0))
_sample("log_softmax", normal(3, 4, 2), f=lambda x: ops.log_softmax(x, 1))

# ---- shape -----------------------------------------------------------------------------------------------------------

_ONES = Tensor(np.ones((4, 6)))
for _name, _call in {
    "reshape": lambda x: ops.reshape(x, 4, -1), "flatten": lambda x: ops.flatten(x, 1), "ravel": ops.ravel,
    "permute": lambda x: ops.permute(x, 2, 0, 1), "transpose": lambda x: ops.transpose(x, 0, 2),
    "swapaxes": lambda x: ops.swapaxes(x, 0, 1), "swapdims": lambda x: ops.swapdims(x, 0, 1),
    "movedim": lambda x: ops.movedim(x, 0, 2), "moveaxis": lambda x: ops.moveaxis(x, 2, 0),
    "unsqueeze": lambda x: ops.unsqueeze(x, 1), "squeeze": lambda x: ops.squeeze(x[:1]),
    "unflatten": lambda x: ops.unflatten(x, 1, (3, 1)), "reshape_as": lambda x: ops.reshape_as(x, _ONES),
    "view_as": lambda x: ops.view_as(x, _ONES), "clone": ops.clone, "contiguous": ops.contiguous,
    "flip": lambda x: ops.flip(x, (0, 2)), "fliplr": ops.fliplr, "flipud": ops.flipud,
    "rot90": lambda x: ops.rot90(x, 1, (0, 1)), "roll": lambda x: ops.roll(x, (1, -1), (0, 2)),
    "repeat": lambda x: ops.repeat(x, 2, 1, 1, 2), "tile": lambda x: ops.tile(x, (2, 1)),
    "repeat_interleave": lambda x: ops.repeat_interleave(x, 2, 1), "split": lambda x: ops.split(x, 3, 2),
    "chunk": lambda x: ops.chunk(x, 2, 2), "tensor_split": lambda x: ops.tensor_split(x, 3, 2),
    "unbind": lambda x: ops.unbind(x, 1), "narrow": lambda x: ops.narrow(x, 2, 1, 2),
    "select": lambda x: ops.select(x, 1, 2), "diagonal": lambda x: ops.diagonal(x, 1, 0, 2),
    "tril": lambda x: ops.tril(x, 1), "triu": lambda x: ops.triu(x, -1), "diag_embed": ops.diag_embed,
    "index_select": lambda x: ops.index_select(x, 2, beside(x, [3, 0, 3])),
    "take": lambda x: ops.take(x, beside(x, [5, 0, 5, 23])),
    "masked_fill": lambda x: ops.masked_fill(x, beside(x, np.arange(4) % 2 == 0), 0.5),
    "masked_select": lambda x: ops.masked_select(x, beside(x, np.arange(24).reshape(2, 3, 4) % 3 == 0)),
}.items():  # fmt: skip
    _sample(_name, normal(2, 3, 4), f=_call)
_sample("t", normal(2, 3))
_sample("trace", normal(3, 4))
_sample("diag", normal(4))
_sample("diag", normal(3, 4), f=lambda x: ops.diag(x, 1), label="of a matrix")
_sample("expand", normal(3, 1), f=lambda x: ops.expand(x, 2, 3, 4))
_sample("expand_as", normal(3, 1), f=lambda x: ops.expand_as(x, Tensor(np.ones((2, 3, 4)))))
_sample("broadcast_to", normal(3, 1), f=lambda x: ops.broadcast_to(x, (2, 3, 4)))
_sample("astype", normal(2, 3), f=lambda x: ops.astype(x, "complex128"))
for _name in ("cat", "concat", "concatenate"):
    _sample(_name, normal(2, 3), normal(4, 3), f=lambda a, b, name=_name: getattr(ops, name)([a, b]))
_sample("cat", normal(2, 3), normal(0, 3), f=lambda a, b: ops.cat([a, b]), label="empty part")
_sample("stack", normal(2, 3), normal(2, 3), f=lambda a, b: ops.stack([a, b], 1))
_sample("hstack", normal(2, 3), normal(2, 4), f=lambda a, b: ops.hstack([a, b]))
_sample("vstack", normal(2, 3), normal(4, 3), f=lambda a, b: ops.vstack([a, b]))
_sample("meshgrid", normal(2), normal(3), f=lambda a, b: ops.meshgrid(a, b, indexing="ij"))
for _mode, _sizes in (("constant", (1, 2, 0, 1)), ("constant", (-1, 2)), ("reflect", (2, 1, 1, 1)),
                      ("replicate", (2, 1, 1, 1)), ("circular", (2, 1, 1, 1))):  # fmt: skip
    _sample("pad", normal(2, 3, 4, 5), f=lambda x, m=_mode, s=_sizes: ops.pad(x, s, m), label=f"{_mode} {_sizes}")

# ---- indexing --------------------------------------------------------------------------------------------------------

_sample("getitem", normal(4, 3), f=lambda x: x[[0, 1, 1, 3]], label="repeated index")
_sample("getitem", normal(4, 3, 2), f=lambda x: x[1:, ..., ::2], label="slices")
_sample("getitem", normal(4, 3, 2), f=lambda x: x[:, [2, 0], None], label="mixed")
_sample("gather", normal(4, 3), classes(4, 5, 3), f=lambda x, i: ops.gather(x, 0, i))
_sample("take_along_dim", normal(4, 3), classes(4, 2, 3), f=lambda x, i: ops.take_along_dim(x, i, 0))
_sample("scatter", normal(4, 3), fixed([[0, 1, 2], [3, 0, 1]]), normal(2, 3),
        f=lambda x, i, s: ops.scatter(x, 0, i, s))  # fmt: skip
_sample("scatter_add", normal(4, 3), classes(4, 5, 3), normal(5, 3), f=lambda x, i, s: ops.scatter_add(x, 0, i, s))
_sample("index_add", normal(4, 3), fixed([2, 0, 2]), normal(3, 3), f=lambda x, i, s: ops.index_add(x, 0, i, s))
_sample("index_put", normal(4, 3), fixed([2, 0]), normal(2, 3), f=lambda x, i, v: ops.index_put(x, (i,), v))

# ---- products --------------------------------------------------------------------------------------------------------

_sample("matmul", normal(2, 3), normal(3, 4))
_sample("matmul", normal(2, 1, 3, 4), normal(5, 4, 6), label="broadcast stacks")
_sample("matmul", normal(3), normal(2, 3, 4), label="vector")
_sample("matmul", complex_(2, 3), complex_(3, 4), label="complex")
_sample("linear", normal(2, 5, 3), normal(4, 3), normal(4))
_sample("linear_relu", normal(2, 5, 3), normal(4, 3), normal(4))
_sample("linear_relu", normal(5, 3), normal(4, 3), label="no bias")
for _name, _shapes in {
    "dot": ((3,), (3,)), "vdot": ((3,), (3,)), "outer": ((2,), (3,)), "inner": ((2, 3), (4, 3)),
    "mv": ((2, 3), (3,)), "mm": ((2, 3), (3, 4)), "bmm": ((5, 2, 3), (5, 3, 4)), "kron": ((2, 3), (4, 1)),
    "addmm": ((2, 4), (2, 3), (3, 4)), "addmv": ((2,), (2, 3), (3,)), "baddbmm": ((5, 2, 4), (5, 2, 3), (5, 3, 4)),
}.items():  # fmt: skip
    _sample(_name, *(normal(*shape) for shape in _shapes))
_sample("tensordot", normal(2, 3, 4), normal(4, 3, 5), f=lambda a, b: ops.tensordot(a, b, ([1, 2], [1, 0])))
_sample("einsum", normal(2, 3), normal(3, 4), normal(4), f=lambda a, b, c: ops.einsum("ij,jk,k->ki", a, b, c))
_sample("einsum", normal(3, 3, 2), f=lambda a: ops.einsum("iij->ji", a), label="diagonal")
_sample("einsum", normal(2, 3, 4), normal(4, 5), f=lambda a, b: ops.einsum("...i,ij->...j", a, b), label="ellipsis")

# ---- nets ------------------------------------------------------------------------------------------------------------

_sample("conv2d", normal(2, 3, 6, 5), normal(4, 3, 3, 2), normal(4), f=lambda x, w, b: ops.conv2d(x, w, b, padding=1))
_sample("conv2d_relu", normal(2, 3, 6, 5), normal(4, 3, 3, 2), normal(4),
        f=lambda x, w, b: ops.conv2d_relu(x, w, b, padding=1))  # fmt: skip
_sample("conv2d_relu", normal(2, 3, 6, 5), normal(4, 3, 3, 2), normal(4), normal(2, 4, 6, 6),
        f=lambda x, w, b, r: ops.conv2d_relu(x, w, b, padding=1, residual=r), label="residual")  # fmt: skip
_sample("conv2d", normal(2, 3, 7, 6), normal(4, 3, 3, 2), f=lambda x, w: ops.conv2d(x, w, None, (2, 3), (1, 0)),
        label="stride")  # fmt: skip
_sample("conv2d", normal(1, 4, 7, 6), normal(6, 2, 2, 3), normal(6),
        f=lambda x, w, b: ops.conv2d(x, w, b, 1, 1, (2, 1), 2), label="dilation, groups")  # fmt: skip
_sample("max_pool2d", distinct(2, 3, 7, 5), f=lambda x: ops.max_pool2d(x, 3, 2, 1), label="overlapping")
_sample("max_pool2d", levels(1, 2, 5, 4), f=lambda x: ops.max_pool2d(x, 2, 1), label="ties")
_sample("avg_pool2d", normal(2, 3, 7, 5), f=lambda x: ops.avg_pool2d(x, 3, 2, 1), label="overlapping")
_sample("avg_pool2d", normal(1, 2, 6, 5), f=lambda x: ops.avg_pool2d(x, 2, 2, 1, True, False), label="ceil_mode")
_sample("adaptive_avg_pool2d", normal(2, 3, 7, 5), f=lambda x: ops.adaptive_avg_pool2d(x, (3, 4)))
_sample("global_avg_pool2d", normal(2, 3, 4, 5))
_sample("conv_transpose2d", normal(2, 3, 3, 4), normal(3, 4, 3, 2), normal(4),
        f=lambda x, w, b: ops.conv_transpose2d(x, w, b, (2, 1), (1, 0), (1, 0)))  # fmt: skip
_sample("conv_transpose2d", normal(1, 4, 2, 3), normal(4, 3, 2, 3), normal(6),
        f=lambda x, w, b: ops.conv_transpose2d(x, w, b, 1, 1, (1, 0), 2, 2), label="dilation, groups")  # fmt: skip
_sample("cross_entropy", normal(5, 4), classes(4, 5))
_WEIGHTS = [0.5, 2.0, 1.0, 1.5]
_sample("cross_entropy", normal(5, 4), fixed([0, 3, -100, 1, 1]),
        f=lambda x, t: ops.cross_entropy(x, t, beside(x, _WEIGHTS), label_smoothing=0.2), label="weights")  # fmt: skip
_sample("cross_entropy", normal(2, 4, 3), classes(4, 2, 3),
        f=lambda x, t: ops.cross_entropy(x, t, reduction="none", ignore_index=2), label="per pixel")  # fmt: skip
_sample("cross_entropy", normal(4), classes(4), f=lambda x, t: ops.cross_entropy(x, t, reduction="sum"), label="one")
_sample("cross_entropy", normal(2, 3), normal(2, 3), label="probabilities")


def _tall(x):
    """x above itself often enough that an operation uses its kernel."""
    return ops.repeat(x, 100, 1)


_sample("dropout", normal(3, 5), f=seeded(lambda x: ops.dropout(x, 0.4)))
_sample("dropout", normal(2, 3, 4, 5), f=seeded(ops.dropout), label="images")
_sample("dropout", normal(3, 5), f=seeded(lambda x: ops.dropout(x, 0.4, training=False)), label="evaluation")
_sample("dropout2d", normal(2, 3, 4, 5), f=seeded(ops.dropout2d))
_sample("add_relu", normal(4, 5), normal(5))
_sample("add_relu", normal(3, 4), normal(3, 4), f=lambda a, b: ops.add_relu(_tall(a), _tall(b))[:3],
        label="fused")  # fmt: skip
_sample("nll_loss", normal(5, 4), classes(4, 5))
_sample("mse_loss", normal(2, 3), normal(2, 3))
_sample("l1_loss", normal(2, 3), normal(2, 3))
_sample("smooth_l1_loss", normal(2, 3), normal(2, 3))
_sample("huber_loss", normal(2, 3), normal(2, 3))
_sample("kl_div", normal(2, 3), positive(2, 3))
_sample("binary_cross_entropy", within(0.1, 0.9, 2, 3), within(0.1, 0.9, 2, 3))
_sample("binary_cross_entropy_with_logits", normal(2, 3), within(0.0, 1.0, 2, 3))

# ---- normalization ---------------------------------------------------------------------------------------------------


def _running(x, count):
    """Fresh running statistics: those of a call in training are changed in place."""
    return beside(x, np.linspace(-0.5, 0.5, count)), beside(x, np.linspace(0.5, 2.0, count))


for _name in ("batch_norm", "batch_norm_relu"):
    _f = getattr(ops, _name)
    _sample(_name, normal(6, 3), f=lambda x, f=_f: f(x, None, None, training=True), label="no weights")
    for _training in (True, False):
        _sample(_name, normal(2, 3, 2, 4), normal(3), normal(3), label=f"training {_training}",
                f=lambda x, w, b, f=_f, t=_training: f(x, *_running(x, 3), w, b, t))  # fmt: skip
_sample("batch_norm_relu", normal(2, 3, 2, 4), normal(3), normal(3), normal(2, 3, 2, 4), label="residual",
        f=lambda x, w, b, r: ops.batch_norm_relu(x, None, None, w, b, True, residual=r))  # fmt: skip
_sample("layer_norm", normal(2, 3, 5), normal(5), normal(5), f=lambda x, w, b: ops.layer_norm(x, 5, w, b))
_sample("layer_norm", normal(2, 3, 2, 4), normal(3, 2, 4), normal(3, 2, 4), label="images",
        f=lambda x, w, b: ops.layer_norm(x, (3, 2, 4), w, b))  # fmt: skip
_sample("layer_norm", normal(2, 3, 4), f=lambda x: ops.layer_norm(x, (3, 4)), label="no weights")
_sample("group_norm", normal(2, 6, 2, 3), normal(6), normal(6), f=lambda x, w, b: ops.group_norm(x, 3, w, b))
_sample("group_norm", normal(2, 6), f=lambda x: ops.group_norm(x, 2), label="no pixels")
_sample("instance_norm", normal(2, 3, 2, 4), normal(3), normal(3),
        f=lambda x, w, b: ops.instance_norm(x, None, None, w, b))  # fmt: skip
_sample("instance_norm", normal(2, 3, 5), f=lambda x: ops.instance_norm(x, *_running(x, 3), use_input_stats=False),
        label="running statistics")  # fmt: skip
_sample("local_response_norm", normal(2, 7, 2, 3), f=lambda x: ops.local_response_norm(x, 5, 0.8, 0.75, 1.5))
_sample("local_response_norm", normal(2, 5, 3), label="even size",
        f=lambda x: ops.local_response_norm(x, 4, 0.5, 0.6, divide_alpha=False))  # fmt: skip
