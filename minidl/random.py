"""The random numbers of the library: one generator that `manual_seed` starts."""

import numpy as np

_generator = np.random.default_rng(0)


def manual_seed(seed):
    """Start the generator that initial weights and dropout masks are drawn from.

    Args:
        seed: an integer of at least 0.

    Raises:
        ValueError: any other seed.
    """
    global _generator
    if not isinstance(seed, int | np.integer) or isinstance(seed, bool) or seed < 0:
        raise ValueError(f"manual_seed: seed must be an integer of at least 0, got {seed!r}")
    _generator = np.random.default_rng(int(seed))


def generator():
    """The numpy.random.Generator in use."""
    return _generator
