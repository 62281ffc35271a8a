"""Layers that give a Tensor another shape."""

from .. import ops
from .module import Module


class Flatten(Module):
    """Join the axes from start_dim to end_dim: (N, C, H, W) to (N, C*H*W) by default."""

    def __init__(self, start_dim=1, end_dim=-1):
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, input):
        return ops.flatten(input, self.start_dim, self.end_dim)

    def extra_repr(self):
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """Cut the axis dim into axes of these sizes, of which one may be -1: (N, C*H*W) to (N, C, H, W).

    Raises:
        TypeError: dim is no integer, or unflattened_size no tuple or list of integers.
    """

    def __init__(self, dim, unflattened_size):
        super().__init__()
        for what, value, right in (
            ("dim", dim, _integer(dim)),
            ("unflattened_size", unflattened_size, _integers(unflattened_size)),
        ):
            if not right:
                needed = "an integer" if what == "dim" else "a tuple or list of integers"
                raise TypeError(f"Unflatten: {what} must be {needed}, got {value!r}")
        self.dim, self.unflattened_size = dim, tuple(unflattened_size)

    def forward(self, input):
        return ops.unflatten(input, self.dim, self.unflattened_size)

    def extra_repr(self):
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"


def _integer(value):
    return isinstance(value, int) and not isinstance(value, bool)


def _integers(values):
    return isinstance(values, tuple | list) and all(map(_integer, values))
