"""Activation functions as layers: they hold an operation's settings.

Where PyTorch's layer has `inplace`, ours takes it. ReLU then changes its input, as PyTorch's does; the others compute
the same output in an array of its own and leave the input alone.
"""

from .. import ops
from .module import Module


def _with_inplace(text, inplace):
    return ", ".join(filter(None, (text, "inplace=True" if inplace else "")))


class ReLU(Module):
    """max(x, 0), elementwise; with inplace, in the memory of x."""

    def __init__(self, inplace=False):
        super().__init__()
        self.inplace = bool(inplace)

    def forward(self, input):
        return ops.relu_(input) if self.inplace else ops.relu(input)

    def extra_repr(self):
        return _with_inplace("", self.inplace)


class LeakyReLU(Module):
    """x where it is positive, else negative_slope * x."""

    def __init__(self, negative_slope=0.01, inplace=False):
        super().__init__()
        self.negative_slope, self.inplace = negative_slope, bool(inplace)

    def forward(self, input):
        return ops.leaky_relu(input, self.negative_slope)

    def extra_repr(self):
        return _with_inplace(f"negative_slope={self.negative_slope}", self.inplace)


class ELU(Module):
    """x where it is positive, else alpha * (exp(x) - 1)."""

    def __init__(self, alpha=1.0, inplace=False):
        super().__init__()
        self.alpha, self.inplace = alpha, bool(inplace)

    def forward(self, input):
        return ops.elu(input, self.alpha)

    def extra_repr(self):
        return _with_inplace(f"alpha={self.alpha}", self.inplace)


class GELU(Module):
    """x times the chance that a standard normal variable is below it; approximate: "none" or "tanh"."""

    def __init__(self, approximate="none"):
        super().__init__()
        if approximate not in ("none", "tanh"):
            raise ValueError(f"GELU: approximate must be 'none' or 'tanh', got {approximate!r}")
        self.approximate = approximate

    def forward(self, input):
        return ops.gelu(input, self.approximate)

    def extra_repr(self):
        return f"approximate={self.approximate!r}"


class SiLU(Module):
    """x * sigmoid(x), elementwise."""

    def __init__(self, inplace=False):
        super().__init__()
        self.inplace = bool(inplace)

    def forward(self, input):
        return ops.silu(input)

    def extra_repr(self):
        return _with_inplace("", self.inplace)


class Sigmoid(Module):
    """1 / (1 + exp(-x)), elementwise."""

    def forward(self, input):
        return ops.sigmoid(input)


class LogSigmoid(Module):
    """log(sigmoid(x)), elementwise."""

    def forward(self, input):
        return ops.logsigmoid(input)


class Tanh(Module):
    """The hyperbolic tangent, elementwise."""

    def forward(self, input):
        return ops.tanh(input)


class Softplus(Module):
    """log(1 + exp(beta * x)) / beta, elementwise; x itself where beta * x exceeds the threshold."""

    def __init__(self, beta=1.0, threshold=20.0):
        super().__init__()
        self.beta, self.threshold = beta, threshold

    def forward(self, input):
        return ops.softplus(input, self.beta, self.threshold)

    def extra_repr(self):
        return f"beta={self.beta}, threshold={self.threshold}"


class Hardtanh(Module):
    """x, kept between min_val and max_val."""

    def __init__(self, min_val=-1.0, max_val=1.0, inplace=False):
        super().__init__()
        if not min_val < max_val:
            raise ValueError(f"Hardtanh: min_val (={min_val}) must be less than max_val (={max_val})")
        self.min_val, self.max_val, self.inplace = min_val, max_val, bool(inplace)

    def forward(self, input):
        return ops.hardtanh(input, self.min_val, self.max_val)

    def extra_repr(self):
        return _with_inplace(f"min_val={self.min_val}, max_val={self.max_val}", self.inplace)


class ReLU6(Hardtanh):
    """x, kept between 0 and 6."""

    def __init__(self, inplace=False):
        super().__init__(0.0, 6.0, inplace)

    def extra_repr(self):
        return _with_inplace("", self.inplace)


class _AlongAxis(Module):
    """An operation along the axis dim, which must be named: PyTorch's guess is deprecated."""

    def __init__(self, dim):
        super().__init__()
        if not isinstance(dim, int) or isinstance(dim, bool):
            raise TypeError(f"{type(self).__name__}: dim must be an integer, got {dim!r}")
        self.dim = dim

    def extra_repr(self):
        return f"dim={self.dim}"


class Softmax(_AlongAxis):
    """Exponentials divided by their sum along dim."""

    def forward(self, input):
        return ops.softmax(input, self.dim)


class Softmin(_AlongAxis):
    """softmax of -x along dim."""

    def forward(self, input):
        return ops.softmin(input, self.dim)


class LogSoftmax(_AlongAxis):
    """log(softmax(x)) along dim, computed without forming the softmax."""

    def forward(self, input):
        return ops.log_softmax(input, self.dim)
