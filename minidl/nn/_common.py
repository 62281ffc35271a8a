"""What several layers need: the check of their sizes, and biases of zeros."""

import numpy as np

from .module import Parameter


def check_sizes(layer, **sizes):
    """Raise ValueError, with the layer's name and the size's, where a size is not a positive integer."""
    for name, size in sizes.items():
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise ValueError(f"{layer}: {name} must be a positive integer, got {size!r}")


def zeros(size):
    """A Parameter (size,) of zeros."""
    return Parameter(np.zeros(size, np.float32))
