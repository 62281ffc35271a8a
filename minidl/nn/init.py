"""Initial weights. Functions that end in _ fill a Tensor in place, with numbers of the seeded generator, and return it.

A layer multiplies the variance of what flows through it by fan_in * Var(w) forward and by fan_out * Var(w) backward
(and ReLU halves it). To keep it at 1 through many layers, Var(w) must be

    LeCun   1 / fan_in                    LeCun et al. 1998, "Efficient BackProp", section 4.6
    Xavier  2 / (fan_in + fan_out)        Glorot & Bengio 2010, equation 16
    He      2 / fan_in  (before a ReLU)   He et al. 2015, "Delving Deep into Rectifiers", equation 10

fan_in is the number of inputs that meet in one output, fan_out the number of outputs that one input reaches.
With constant weights every unit of a layer computes the same and receives the same gradient: they never separate.
"""

import math

import numpy as np

from ..random import generator


def fans(tensor):
    """(fan_in, fan_out) of weights (out, in) or (out, in/groups, KH, KW).

    Raises:
        ValueError: fewer than two dimensions.
    """
    if tensor.ndim < 2:
        raise ValueError(f"init: weights of at least two dimensions are needed, got shape {tensor.shape}")
    receptive = math.prod(tensor.shape[2:])
    return tensor.shape[1] * receptive, tensor.shape[0] * receptive


def calculate_gain(nonlinearity, param=None):
    """By what the standard deviation of the weights must grow to make up for an activation (PyTorch's table)."""
    if nonlinearity in ("linear", "sigmoid", "conv2d"):
        return 1.0
    if nonlinearity == "tanh":
        return 5.0 / 3
    if nonlinearity == "relu":
        return math.sqrt(2.0)
    if nonlinearity == "leaky_relu":
        return math.sqrt(2.0 / (1 + (0.01 if param is None else param) ** 2))
    raise ValueError(
        f"calculate_gain: nonlinearity must be linear, sigmoid, tanh, relu or leaky_relu, got {nonlinearity!r}"
    )


def _fill(tensor, values, what):
    tensor.data[...] = values  # converted to the Tensor's dtype; drawn in row-major order, whatever the layout
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


def normal_(tensor, mean=0.0, std=1.0):
    """Independent draws from the normal distribution."""
    if std < 0:
        raise ValueError(f"normal_: std must not be negative, got {std}")
    return _fill(tensor, generator().normal(mean, std, tensor.shape), "normal_")


def uniform_(tensor, a=0.0, b=1.0):
    """Independent draws from the uniform distribution on [a, b)."""
    if a > b:
        raise ValueError(f"uniform_: a must not be greater than b, got {a} and {b}")
    return _fill(tensor, generator().uniform(a, b, tensor.shape), "uniform_")


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
        if parameter.ndim >= 2:
            SCHEMES[scheme](parameter)
        elif name.endswith("bias"):
            zeros_(parameter)
    return module


def empty_weight(*shape):
    """An uninitialised float32 array of weights, laid out for the kernels: the output axis is the contiguous one.

    (out, in) is a transpose of (in, out), (O, C, KH, KW) a transpose of (KH, KW, C, O).
    """
    out, incoming, *window = shape
    memory = np.empty((*window, incoming, out), np.float32)
    return memory.transpose(memory.ndim - 1, memory.ndim - 2, *range(len(window)))
