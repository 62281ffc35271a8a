"""Layers: they hold weights and call operations; the mathematics is in ops/."""

from .. import ops
from . import init
from ._common import check_sizes, zeros
from .module import Module, Parameter


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
        self.weight = init.kaiming_normal_(Parameter(init.empty_weight(out_features, in_features)))
        self.register_parameter("bias", zeros(out_features) if bias else None)

    def forward(self, input):
        return ops.linear(input, self.weight, self.bias)

    def extra_repr(self):
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class ReLU(Module):
    """max(x, 0), elementwise."""

    def forward(self, input):
        return ops.relu(input)


class Flatten(Module):
    """Join the axes from start_dim to end_dim: (N, C, H, W) to (N, C*H*W) by default."""

    def __init__(self, start_dim=1, end_dim=-1):
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, input):
        return ops.flatten(input, self.start_dim, self.end_dim)

    def extra_repr(self):
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Sequential(Module):
    """Modules one after another: given in order (named "0", "1", …), or as one dictionary of names."""

    def __init__(self, *modules):
        super().__init__()
        named = len(modules) == 1 and isinstance(modules[0], dict)
        for name, module in modules[0].items() if named else enumerate(modules):
            self.add_module(str(name), module)

    def forward(self, input):
        for module in self.children():
            input = module(input)
        return input

    def __len__(self):
        return len(self._modules)

    def __iter__(self):
        return iter(self.children())

    def __getitem__(self, index):
        names = list(self._modules)
        if isinstance(index, slice):
            return Sequential({name: self._modules[name] for name in names[index]})
        return self._modules[names[index]]
