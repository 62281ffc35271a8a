"""How an optimizer hands its arrays to a kernel: flat, in the order of the parameter's memory."""

from contextlib import contextmanager

import numpy as np

from ..kernels import contiguous
from ..kernels._layout import memory_order
from ..tensor import Tensor


@contextmanager
def flat(parameter, gradient, state, names):
    """The arrays of a step as flat ones: (gradient, parameter, *those of `state` by `names`).

    Weights are transposes of contiguous arrays, and so are their gradients: then all are views, and nothing is copied.
    A gradient in another order is copied; so is a state (one that was loaded), and kept in its new order. A parameter
    with gaps in its memory is copied and written back.
    """
    order = memory_order(parameter)
    inside = contiguous(parameter.transpose(order))
    arrays = []
    for name in names:
        kept = contiguous(state[name].data.transpose(order))
        if not np.may_share_memory(kept, state[name].data):
            state[name] = Tensor(kept.transpose(np.argsort(order)))
        arrays.append(kept.reshape(-1))
    yield contiguous(gradient.transpose(order)).reshape(-1), inside.reshape(-1), *arrays
    if not np.may_share_memory(inside, parameter):
        parameter[...] = inside.transpose(np.argsort(order))


def run(kernel, dtype):
    """The kernel, or for what numba does not compile (half precision, complex numbers) its reference."""
    return kernel if dtype in (np.float32, np.float64) else kernel.reference
