"""Linear, and Identity, which changes nothing."""

from .. import ops
from ..ops._common import empty_weight
from . import init
from ._common import check_sizes, zeros
from .module import Module, Parameter


class Identity(Module):
    """The input as it is. It takes and ignores any arguments, so that it can stand in for any layer."""

    def __init__(self, *args, **kwargs):
        super().__init__()

    def forward(self, input):
        return input


class Linear(Module):
    """y = x W^T + b over the last axis.

    Args:
        in_features, out_features: extents of the last axis of input and output.
        bias: whether there is a b.

    Attributes:
        weight: (out_features, in_features), He normal at first. bias: (out_features,), zeros at first.
    """

    def __init__(self, in_features, out_features, bias=True):
        super().__init__()
        check_sizes("Linear", in_features=in_features, out_features=out_features)
        self.in_features, self.out_features = in_features, out_features
        self.weight = init.kaiming_normal_(Parameter(empty_weight(out_features, in_features)))
        self.register_parameter("bias", zeros(out_features) if bias else None)

    def forward(self, input, relu=False):
        """The layer; with relu, its maximum with 0 in the same pass over memory."""
        return (ops.linear_relu if relu else ops.linear)(input, self.weight, self.bias)

    forward.fuses_relu = True  # see Conv2d

    def extra_repr(self):
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
