"""Memory layout: how kernels see arrays."""

import numpy as np


def memory_order(array):
    """The axes from the longest stride to the shortest: transposed to this order, an array lies in rows."""
    return sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))


def in_memory_order(array, copy):
    """copy(array with its axes in the order of memory), with the axes back in their order."""
    order = memory_order(array)
    copied = copy(array.transpose(order))
    return copied.transpose(np.argsort(order).tolist()) if array.ndim else copied


def as_strided(array, shape, strides):
    """A view of the memory of a NumPy or CuPy array from its first element on, read-only where the array is."""
    if type(array) is np.ndarray:
        return np.lib.stride_tricks.as_strided(array, shape, strides, writeable=array.flags.writeable)
    import cupy

    return cupy.lib.stride_tricks.as_strided(array, shape, strides)


def span(array):
    """All the memory from the array's first element to its last, as a flat array; no stride is negative."""
    size = 1 + sum((n - 1) * (s // array.itemsize) for n, s in zip(array.shape, array.strides, strict=True))
    return as_strided(array, (size,), (array.itemsize,))


def apart(elements):
    """At least `elements`: how far apart things lie that are read or written together. An odd number of cache lines.

    A power of two of bytes apart, they would share a few lines of the L1 cache and evict each other.
    """
    return (ceil_div(elements, 16) | 1) * 16


def ceil_div(a, b):
    """The least integer not below a / b."""
    return -(-a // b)
