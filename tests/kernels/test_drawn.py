"""The numba form of every layer's kernels against the reference, forward and backward, on images that Hypothesis draws:
any batch, also none, 1 to 67 channels, any layout of memory, ties, NaN and infinities.
"""

import copy
from functools import partial

import numpy as np
import pytest
from helpers import close, layouts
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as dl
from minidl import ops
from minidl.kernels import KERNELS

RTOL = {"float32": 1e-5, "float64": 1e-12}


def divisor(data, channels):
    return data.draw(st.sampled_from([d for d in range(1, channels + 1) if channels % d == 0]))


def affine(rng, x):
    return [rng.standard_normal(x.shape[1]).astype(x.dtype) for _ in range(2)]


def convolution(op, rng, x, data):
    groups, k = divisor(data, x.shape[1]), data.draw(st.integers(1, 2))
    out = groups * data.draw(st.integers(1, 3))
    shape = (out, x.shape[1] // groups, k, k) if op is ops.conv2d else (x.shape[1], out // groups, k, k)
    w, b = rng.standard_normal(shape).astype(x.dtype), rng.standard_normal(out).astype(x.dtype)
    stride, padding = data.draw(st.integers(1, 2)), data.draw(st.integers(0, k - 1))
    return (lambda x, w, b: op(x, w, b, stride, padding, groups=groups)), [x, w, b]


def seeded(op, data):
    seed, p = data.draw(st.integers(0, 2**40)), data.draw(st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]))

    def f(x):
        dl.manual_seed(seed)
        return op(x, p)

    return f


# name -> function (rng, x, data) that gives a function of Tensors, and its arrays
LAYERS = {
    "adaptive_avg_pool2d": lambda rng, x, data: (lambda x: ops.adaptive_avg_pool2d(x, (2, 3)), [x]),
    "add_relu": lambda rng, x, data: (ops.add_relu, [x, rng.integers(-2, 3, x.shape).astype(x.dtype)]),
    "avg_pool2d": lambda rng, x, data: (lambda x: ops.avg_pool2d(x, 2, 1, 1), [x]),
    "batch_norm": lambda rng, x, data: (
        lambda x, w, b: ops.batch_norm(x, None, None, w, b, training=True), [x, *affine(rng, x)]),
    "batch_norm_relu": lambda rng, x, data: (
        lambda x, w, b: ops.batch_norm_relu(x, None, None, w, b, True, residual=x), [x, *affine(rng, x)]),
    "conv2d": lambda rng, x, data: convolution(ops.conv2d, rng, x, data),
    "conv_transpose2d": lambda rng, x, data: convolution(ops.conv_transpose2d, rng, x, data),
    "cross_entropy": lambda rng, x, data: (
        partial(lambda t, x: ops.cross_entropy(x, t, reduction="sum", label_smoothing=0.1),
                dl.Tensor(rng.integers(0, x.shape[1], (len(x), *x.shape[2:])))), [x]),
    "dropout": lambda rng, x, data: (seeded(ops.dropout, data), [x]),
    "dropout2d": lambda rng, x, data: (seeded(ops.dropout2d, data), [x]),
    "global_avg_pool2d": lambda rng, x, data: (ops.global_avg_pool2d, [x]),
    "group_norm": lambda rng, x, data: (
        partial(lambda g, x, w, b: ops.group_norm(x, g, w, b), divisor(data, x.shape[1])), [x, *affine(rng, x)]),
    "layer_norm": lambda rng, x, data: (lambda x: ops.layer_norm(x, x.shape[1:]), [x]),
    "local_response_norm": lambda rng, x, data: (
        partial(lambda n, x: ops.local_response_norm(x, n, 0.5), data.draw(st.integers(1, 7))), [x]),
    "log_softmax": lambda rng, x, data: (lambda x: ops.log_softmax(x, 1), [x]),
    "max_pool2d": lambda rng, x, data: (lambda x: ops.max_pool2d(x, 3, 2, 1), [x]),
    "relu": lambda rng, x, data: (ops.relu, [x]),
    "softmax": lambda rng, x, data: (lambda x: ops.softmax(x, 1), [x]),
}  # fmt: skip
DIVIDES_BY_ITS_SPREAD = {"batch_norm", "batch_norm_relu", "group_norm", "layer_norm"}


def rng_of(x):
    return np.random.default_rng(x.numel())


def outcome(form, f, arrays):
    """The output, and the gradients for a random cotangent."""
    inputs = [dl.Tensor(a, requires_grad=True) for a in arrays]
    with dl.use_kernels(form), np.errstate(all="ignore"):
        y = f(*inputs)
        grads = dl.grad(y, inputs, dl.Tensor(rng_of(y).standard_normal(y.shape).astype(y.dtype)))
    return [t.data for t in (y.detach(), *grads)]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", LAYERS)
@given(st.data())
@settings(max_examples=25, deadline=None, derandomize=True)
def test_layers(name, data):
    dtype = data.draw(st.sampled_from(["float32", "float64"]))
    shape = data.draw(st.tuples(st.integers(0, 3), st.integers(1, 67), st.integers(2, 7), st.integers(3, 8)))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    x = rng.standard_normal(shape)
    content = data.draw(st.sampled_from(["normal", "ties", "special"]))
    if content == "ties":
        x = rng.integers(-2, 3, shape).astype(float)
    elif content == "special" and name not in DIVIDES_BY_ITS_SPREAD:
        x = np.where(rng.random(shape) < 0.05, rng.choice([np.nan, np.inf, -np.inf], shape), x)
    kinds = dict(layouts(x.astype(dtype)))
    f, arrays = LAYERS[name](rng, kinds[data.draw(st.sampled_from(sorted(kinds)))], data)
    with np.errstate(all="ignore"):
        for got, expected in zip(outcome("cpu", f, arrays), outcome("reference", f, arrays), strict=True):
            close(got, expected, RTOL[dtype], name, atol=RTOL[dtype])


@pytest.mark.parametrize("name", ["sgd.step", "adam.step"])
@given(st.data())
@settings(max_examples=25, deadline=None, derandomize=True)
def test_optimizers(name, data):
    dtype = data.draw(st.sampled_from(["float32", "float64"]))
    rng, size = np.random.default_rng(data.draw(st.integers(0, 1000))), data.draw(st.integers(0, 9000))
    rate, decay, flags = (
        0.1,
        data.draw(st.sampled_from([0.0, 0.01])),
        data.draw(st.tuples(st.booleans(), st.booleans())),
    )
    if name == "sgd.step":
        g, w, v = rng.standard_normal((3, size)).astype(dtype)
        momentum = data.draw(st.sampled_from([0.0, 0.9]))
        args = g, rate, momentum, 0.7, decay, flags[0] and momentum > 0, flags[1], w, v if momentum else v[:0]
    else:
        g, w, m, v, top = rng.standard_normal((5, size)).astype(dtype)
        args = g, 3, rate, 0.9, 0.999, 1e-8, decay, *flags, w, m, v * v, top * top if flags[1] else top[:0]
    got, expected = copy.deepcopy(args), copy.deepcopy(args)
    kernel = KERNELS[name]
    kernel.cpu(*got)
    kernel.reference(*expected)
    for g, e in zip(got[-kernel.outputs :], expected[-kernel.outputs :], strict=True):
        close(g, e, RTOL[dtype], name)
