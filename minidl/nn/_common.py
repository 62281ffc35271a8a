"""What several layers need: sizes that are checked, and biases that start at zero."""

import numpy as np

from .module import Parameter


def check_sizes(layer, **sizes):
    for name, size in sizes.items():
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise ValueError(f"{layer}: {name} must be a positive integer, got {size!r}")


def zeros(size):
    return Parameter(np.zeros(size, np.float32))
