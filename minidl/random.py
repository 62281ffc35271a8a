"""The random numbers of the library: one generator, and a key for numbers that depend on their place, by one seed."""

import numpy as np

_generator = np.random.default_rng(0)
_seed = _calls = 0


def manual_seed(seed):
    """Start the generator that initial weights are drawn from, and the numbers that dropout masks are made of.

    Args:
        seed: an integer of at least 0. Of more than 64 bits, the lowest 64 make the dropout masks.

    Raises:
        ValueError: any other seed.
    """
    global _generator, _seed, _calls
    if not isinstance(seed, int | np.integer) or isinstance(seed, bool) or seed < 0:
        raise ValueError(f"manual_seed: seed must be an integer of at least 0, got {seed!r}")
    _generator = np.random.default_rng(int(seed))
    _seed, _calls = int(seed) % 2**64, 0


def generator():
    """The numpy.random.Generator in use."""
    return _generator


def next_call():
    """(seed, number of this call since manual_seed): what keys the random numbers of one dropout."""
    global _calls
    _calls += 1
    return _seed, _calls - 1


def get_state():
    """All that decides the numbers to come, for set_state."""
    return _generator.bit_generator.state, _seed, _calls


def set_state(state):
    """Go on from where get_state() was called."""
    global _seed, _calls
    _generator.bit_generator.state, _seed, _calls = state
