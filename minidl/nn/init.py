"""Initial weights. Functions that end in _ fill a Tensor in place, with numbers of the seeded generator, and return it.

A layer multiplies the variance of what flows through it by fan_in * Var(w) forward and by fan_out * Var(w) backward
(and ReLU halves it). To keep it at 1 through many layers, Var(w) must be

    LeCun   1 / fan_in                    LeCun et al. 1998, "Efficient BackProp", section 4.6
    Xavier  2 / (fan_in + fan_out)        Glorot & Bengio 2010, equation 16
    He      2 / fan_in  (before a ReLU)   He et al. 2015, "Delving Deep into Rectifiers", equation 10

fan_in is the number of inputs that meet in one output, fan_out the number of outputs that one input reaches.
Orthogonal weights keep more than the variance: every singular value is 1, so no direction fades or grows, in any depth
of linear layers (Saxe, McClelland, Ganguli 2014, "Exact solutions to the nonlinear dynamics of learning in deep linear
neural networks", section 3).

With constant weights every unit of a layer computes the same and receives the same gradient: they never separate.
"""

import math
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps

import numpy as np

from ..random import generator


def fans(tensor):
    """(fan_in, fan_out) of weights (out, in) or (out, in/groups, KH, KW): shape[1] and shape[0], times KH*KW.

    They are read off the shape alone, as in PyTorch. With groups fan_in is exact, but fan_out is `groups` times the
    outputs that an input reaches. Weights of a transposed convolution are (in, out/groups, KH, KW): there the two are
    exchanged, so "fan_out" is what keeps the scale forward where stride is 1.

    Raises:
        ValueError: fewer than two dimensions.
    """
    if tensor.ndim < 2:
        raise ValueError(f"init: weights of at least two dimensions are needed, got shape {tensor.shape}")
    receptive = math.prod(tensor.shape[2:])
    return tensor.shape[1] * receptive, tensor.shape[0] * receptive


_GAINS = {
    **dict.fromkeys(("linear", "conv1d", "conv2d", "conv3d", "sigmoid"), 1.0),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), 1.0),
    "tanh": 5 / 3,
    "relu": math.sqrt(2),
    "selu": 3 / 4,
}


def calculate_gain(nonlinearity, param=None):
    """By what the standard deviation of the weights must grow to make up for an activation (PyTorch's table).

    param: the negative slope of "leaky_relu", 0.01 where None.

    Raises:
        ValueError: an unknown activation. TypeError: a slope that is no number.
    """
    if nonlinearity == "leaky_relu":
        if param is not None and (not isinstance(param, int | float) or isinstance(param, bool)):
            raise TypeError(f"calculate_gain: the negative slope must be a number, got {param!r}")
        return math.sqrt(2.0 / (1 + (0.01 if param is None else param) ** 2))
    if nonlinearity not in _GAINS:
        raise ValueError(
            "calculate_gain: nonlinearity must be linear, sigmoid, tanh, relu, leaky_relu or selu, or the name of a "
            f"convolution, got {nonlinearity!r}"
        )
    return _GAINS[nonlinearity]


_blank = ContextVar("blank", default=False)


@contextmanager
def blank():
    """Within the block the functions below that draw numbers leave weights as they are: whatever memory held.

    For a net whose weights are loaded next, or whose shapes alone matter: VGG's 140 million are neither drawn nor
    given pages of memory. The generator does not move.
    """
    token = _blank.set(True)
    try:
        yield
    finally:
        _blank.reset(token)


def _draws(function):
    @wraps(function)
    def drawn(tensor, *args, **options):
        return tensor if _blank.get() else function(tensor, *args, **options)

    return drawn


def _fill(tensor, values, what):
    # Converted to the Tensor's dtype; drawn in row-major order, whatever the layout.
    tensor.data[...] = np.asarray(values, like=tensor.data)
    tensor.mark_changed(what)
    return tensor


def _draw(tensor, draw, what):
    """_fill with draw(shape), a few rows at a time: the same numbers without 800 MB of them for VGG's largest layer."""
    data = tensor.data
    rows = len(data) if data.ndim and data.size > 1 << 20 else 0
    if not rows:
        return _fill(tensor, draw(tensor.shape), what)
    step = max(1, (1 << 20) * rows // data.size)
    for start in range(0, rows, step):
        part = data[start : start + step]
        part[...] = np.asarray(draw(part.shape), like=data)
    tensor.mark_changed(what)
    return tensor


def constant_(tensor, value):
    """Every weight the same."""
    return _fill(tensor, value, "constant_")


def zeros_(tensor):
    """All zeros."""
    return _fill(tensor, 0, "zeros_")


def ones_(tensor):
    """All ones."""
    return _fill(tensor, 1, "ones_")


@_draws
def normal_(tensor, mean=0.0, std=1.0):
    """Independent draws from the normal distribution."""
    if std < 0:
        raise ValueError(f"normal_: std must not be negative, got {std}")
    return _draw(tensor, lambda shape: generator().normal(mean, std, shape), "normal_")


@_draws
def uniform_(tensor, a=0.0, b=1.0):
    """Independent draws from the uniform distribution on [a, b)."""
    if a > b:
        raise ValueError(f"uniform_: a must not be greater than b, got {a} and {b}")
    return _draw(tensor, lambda shape: generator().uniform(a, b, shape), "uniform_")


@_draws
def trunc_normal_(tensor, mean=0.0, std=1.0, a=-2.0, b=2.0):
    """Independent draws from the part of the normal distribution that lies in [a, b]; a and b are values, not stds.

    Raises:
        ValueError: mean is not finite, std not positive and finite, or a not less than b.
    """
    if not math.isfinite(mean):
        raise ValueError(f"trunc_normal_: mean must be finite, got {mean}")
    if not 0 < std < math.inf:
        raise ValueError(f"trunc_normal_: std must be positive and finite, got {std}")
    if not a < b:
        raise ValueError(f"trunc_normal_: a must be less than b, got {a} and {b}")
    drawn = _truncated((a - mean) / std, (b - mean) / std, math.prod(tensor.shape))
    return _fill(tensor, np.clip(mean + std * drawn, a, b).reshape(tensor.shape), "trunc_normal_")


def _truncated(low, high, count):
    """Draws from the standard normal distribution between low and high, by rejection.

    As in Robert 1995, "Simulation of truncated normal variables": of the three proposals, that which is seldom
    refused, so that an interval far out in a tail takes no longer.
    """
    if high < 0:
        return -_truncated(-high, -low, count)
    random = generator()
    nearest = max(low, 0.0)
    if math.erf(high / math.sqrt(2)) - math.erf(low / math.sqrt(2)) > 0.5:  # more than a quarter of the draws

        def propose(n):
            x = random.standard_normal(n)
            return x[(x >= low) & (x <= high)]

    elif low > 0 and (high - low) * low > 1:
        rate = (low + math.sqrt(low * low + 4)) / 2

        def propose(n):
            x = low + random.exponential(1 / rate, n)
            return x[(random.random(n) <= np.exp(-((x - rate) ** 2) / 2)) & (x <= high)]

    else:

        def propose(n):
            x = random.uniform(low, high, n)
            return x[random.random(n) <= np.exp((nearest - x) * (nearest + x) / 2)]

    parts, have = [np.empty(0)], 0
    while have < count:
        parts.append(propose(count - have))
        have += len(parts[-1])
    return np.concatenate(parts)


def eye_(tensor):
    """The identity matrix, with zeros around it where the matrix is not square: a Linear that passes its input on.

    Raises:
        ValueError: not two dimensions.
    """
    if tensor.ndim != 2:
        raise ValueError(f"eye_: a Tensor of two dimensions is needed, got shape {tensor.shape}")
    return _fill(tensor, np.eye(*tensor.shape), "eye_")


def dirac_(tensor, groups=1):
    """Windows that are 1 at their centre for the channel of the same number and 0 elsewhere: a convolution that passes
    as many channels on as it can, in each group.

    Args:
        tensor: (out, in/groups, …) with one, two or three axes of the window.

    Raises:
        ValueError: another number of dimensions, or groups that do not divide out.
    """
    if tensor.ndim not in (3, 4, 5):
        raise ValueError(f"dirac_: a Tensor of 3, 4 or 5 dimensions is needed, got shape {tensor.shape}")
    if not isinstance(groups, int) or groups < 1 or tensor.shape[0] % groups:
        raise ValueError(f"dirac_: groups must be a positive integer that divides {tensor.shape[0]}, got {groups!r}")
    values = np.zeros(tensor.shape)
    centre = tuple(size // 2 for size in tensor.shape[2:])
    per_group = tensor.shape[0] // groups
    for group in range(groups):
        for channel in range(min(per_group, tensor.shape[1])):
            values[(group * per_group + channel, channel, *centre)] = 1
    return _fill(tensor, values, "dirac_")


@_draws
def orthogonal_(tensor, gain=1.0):
    """A random orthogonal matrix times gain: W W^T = gain^2 I, or W^T W where there are more rows than columns.

    Weights (out, in, KH, KW) are taken as a matrix (out, in*KH*KW). The factor Q of a matrix of normal draws is
    uniform over all orthogonal matrices once the signs of R's diagonal are made positive (Mezzadri 2007, "How to
    generate random matrices from the classical compact groups"). Before a ReLU, a gain of sqrt(2) keeps the scale.

    Raises:
        ValueError: fewer than two dimensions.
    """
    if tensor.ndim < 2:
        raise ValueError(f"orthogonal_: weights of at least two dimensions are needed, got shape {tensor.shape}")
    rows, columns = tensor.shape[0], math.prod(tensor.shape[1:])
    if not rows * columns:
        return tensor
    drawn = generator().standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(drawn)
    q *= np.where(np.diag(r) < 0, -1.0, 1.0)
    return _fill(tensor, gain * (q if rows >= columns else q.T).reshape(tensor.shape), "orthogonal_")


def kaiming_normal_(tensor, a=0.0, mode="fan_in", nonlinearity="relu"):
    """He: normal, standard deviation gain / sqrt(fan). mode: "fan_in" keeps the scale forward, "fan_out" backward."""
    return normal_(tensor, 0.0, _kaiming_std("kaiming_normal_", tensor, a, mode, nonlinearity))


def kaiming_uniform_(tensor, a=0.0, mode="fan_in", nonlinearity="relu"):
    """He: uniform with standard deviation gain / sqrt(fan)."""
    bound = math.sqrt(3.0) * _kaiming_std("kaiming_uniform_", tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound)


def _kaiming_std(name, tensor, a, mode, nonlinearity):
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"{name}: mode must be 'fan_in' or 'fan_out', got {mode!r}")
    fan = fans(tensor)[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(fan)


def xavier_normal_(tensor, gain=1.0):
    """Xavier (Glorot): normal with standard deviation gain * sqrt(2 / (fan_in + fan_out))."""
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / sum(fans(tensor))))


def xavier_uniform_(tensor, gain=1.0):
    """Xavier (Glorot): uniform with standard deviation gain * sqrt(2 / (fan_in + fan_out))."""
    bound = gain * math.sqrt(6.0 / sum(fans(tensor)))
    return uniform_(tensor, -bound, bound)


def lecun_normal_(tensor):
    """LeCun: normal with standard deviation 1 / sqrt(fan_in)."""
    return normal_(tensor, 0.0, 1.0 / math.sqrt(fans(tensor)[0]))


def lecun_uniform_(tensor):
    """LeCun: uniform with standard deviation 1 / sqrt(fan_in)."""
    bound = math.sqrt(3.0 / fans(tensor)[0])
    return uniform_(tensor, -bound, bound)


he_normal_, he_uniform_ = kaiming_normal_, kaiming_uniform_

SCHEMES = {
    "he": kaiming_normal_,
    "xavier": xavier_normal_,
    "lecun": lecun_normal_,
    "orthogonal": orthogonal_,
    "constant": lambda tensor: constant_(tensor, 1.0 / fans(tensor)[0]),
}


def initialize(module, scheme):
    """Draw all weights of a module and those below by a scheme of SCHEMES, set all biases to zero; returns the module.

    Weights are the parameters of two or more dimensions. "constant" gives all weights of a layer the same value, 1 /
    fan_in: the symmetric start that cannot learn.

    Raises:
        ValueError: an unknown scheme.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"initialize: scheme must be one of {', '.join(SCHEMES)}, got {scheme!r}")
    for name, parameter in module.named_parameters():
        if name.endswith("bias"):
            zeros_(parameter)
        elif parameter.ndim >= 2:
            SCHEMES[scheme](parameter)
    return module
