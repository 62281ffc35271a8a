"""Leaves and small Functions that the tests of the engine are made of."""

import gc
from contextlib import contextmanager

import numpy as np

import minidl as dl


def leaf(*values, dtype=np.float64):
    return dl.Tensor(np.array(values, dtype), requires_grad=True)


def scalar(value):
    return dl.Tensor(np.array(float(value)), requires_grad=True)


@contextmanager
def no_garbage_collector():
    """What dies inside dies by reference counts alone."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def define(forward, backward, name="Custom"):
    """A Function from its two methods."""
    return type(name, (dl.Function,), {"forward": staticmethod(forward), "backward": staticmethod(backward)})


def saving(ctx, x):
    ctx.save_for_backward(x)
    return x * x


def doubling(ctx, x):
    return 2 * x


Square = define(saving, lambda ctx, grad: 2 * ctx.saved_tensors[0] * grad, "Square")
Double = define(doubling, lambda ctx, grad: 2 * grad, "Double")
