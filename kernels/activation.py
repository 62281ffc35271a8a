"""Activation functions: y = f(x), elementwise, and gx = gy * df/dx.

    function  its name: one of FUNCTIONS
    a, b      its parameters, numbers; 0 where the table has none
    x, y      (L,)
    gy, gx    (L,)
    of        (L,)  what gx is computed from: y of sigmoid and tanh, x of all others

    function     y = f(x)                                       df/dx
    sigmoid      1 / (1 + e^-x)                                 y (1 - y)
    tanh         (e^2x - 1) / (e^2x + 1)                        1 - y^2
    silu         x s, s = sigmoid(x)                            s (1 + x (1 - s))
    gelu         x P(x), the chance of a normal variable        P(x) + x e^(-x^2/2) / sqrt(2 pi)
                 to be below x
    gelu_tanh    x s, s = sigmoid(v), v = c x (1 + k x^2)       s + x s (1 - s) dv/dx, dv/dx = c (1 + 3 k x^2)
    softplus     log(1 + e^(a x)) / a; x where a x > b          sigmoid(a x); 1 where a x > b
    logsigmoid   -log(1 + e^-x)                                 sigmoid(-x)
    elu          x where x > 0, else a (e^x - 1)                1 where x > 0, else a e^x
    leaky_relu   x where x > 0, else a x                        1 where x > 0, else a
    hardtanh     x, kept between a and b                        1 between them, 0 at the bounds and beyond

with c = 2 sqrt(2 / pi) and k = 0.044715 (Hendrycks and Gimpel, 2016: x (1 + tanh(v / 2)) / 2, which is x sigmoid(v)).
Flat C-contiguous arrays: any layout, seen in the order of its memory. The last argument is written.
"""

import math

import numpy as np

from ._cuda import Source
from ._exp import exp, expm1, log1p, normal
from ._jit import inline, jit, prange
from ._kernel import Kernel
from ._queues import share_out, tasks
from ._workload import LARGE

GELU_SCALE, GELU_CUBIC = 2 * math.sqrt(2 / math.pi), 0.044715  # c and k above
_DENSITY = 1 / math.sqrt(2 * math.pi)  # the normal distribution's at 0

_FUNCTORS = {
    "sigmoid": "Sigmoid", "tanh": "Tanh", "silu": "SiLU", "gelu": "GELU", "gelu_tanh": "GELUTanh",
    "softplus": "Softplus", "logsigmoid": "LogSigmoid", "elu": "ELU", "leaky_relu": "LeakyReLU", "hardtanh": "Hardtanh",
}  # fmt: skip
_CUDA = Source("activation", *(f"{way}<T, {name}>" for way in ("forward", "backward") for name in _FUNCTORS.values()))

# ---- NumPy ---------------------------------------------------------------------------------------------------------


def _sigmoid_of(x):
    return 1 / (1 + np.exp(-x))


def _log1p_exp_of(x):
    """log(1 + e^-|x|)."""
    return np.log1p(np.exp(-np.abs(x)))


def _normal_of(x):
    """The chance of a standard normal variable to be below x. NumPy has no such function, Python one of a number."""
    y = [math.erfc(-v * math.sqrt(0.5)) / 2 for v in x.ravel().tolist()]
    return np.array(y, x.dtype).reshape(x.shape)


def _gelu_inner(x):
    """(v, dv/dx) of gelu_tanh."""
    square = x * x
    return GELU_SCALE * x * (1 + GELU_CUBIC * square), GELU_SCALE * (1 + 3 * GELU_CUBIC * square)


def _silu_slope(x):
    s = _sigmoid_of(x)
    return s * (1 + x * (1 - s))


def _gelu_tanh_slope(x):
    v, slope = _gelu_inner(x)
    s = _sigmoid_of(v)
    return s + x * (s * (1 - s)) * slope


# name -> y of (x, a, b), gx of (gy, of, a, b)
FORMULAS = {
    "sigmoid": (lambda x, a, b: _sigmoid_of(x), lambda gy, y, a, b: gy * (y * (1 - y))),
    "tanh": (lambda x, a, b: np.tanh(x), lambda gy, y, a, b: gy * (1 - y * y)),
    "silu": (lambda x, a, b: x * _sigmoid_of(x), lambda gy, x, a, b: gy * _silu_slope(x)),
    "gelu": (
        lambda x, a, b: x * _normal_of(x),
        lambda gy, x, a, b: gy * (_normal_of(x) + x * np.exp(-x * x / 2) * _DENSITY),
    ),
    "gelu_tanh": (
        lambda x, a, b: x * _sigmoid_of(_gelu_inner(x)[0]),
        lambda gy, x, a, b: gy * _gelu_tanh_slope(x),
    ),
    "softplus": (
        lambda x, a, b: np.where(a * x > b, x, (np.maximum(a * x, 0) + _log1p_exp_of(a * x)) / a),
        lambda gy, x, a, b: np.where(a * x > b, gy, gy * _sigmoid_of(a * x)),
    ),
    "logsigmoid": (lambda x, a, b: np.minimum(x, 0) - _log1p_exp_of(x), lambda gy, x, a, b: gy * _sigmoid_of(-x)),
    "elu": (
        lambda x, a, b: np.where(x > 0, x, a * np.expm1(x)),
        lambda gy, x, a, b: np.where(x <= 0, gy * (a * np.exp(x)), gy),
    ),
    "leaky_relu": (lambda x, a, b: np.where(x > 0, x, x * a), lambda gy, x, a, b: np.where(x > 0, gy, gy * a)),
    "hardtanh": (lambda x, a, b: np.clip(x, a, b), lambda gy, x, a, b: np.where((x <= a) | (x >= b), 0, gy)),
}
FUNCTIONS = tuple(FORMULAS)
FROM_OUTPUT = "sigmoid", "tanh"  # whose gradient is computed from y


def _forward_reference(x, function, a, b, y):
    with np.errstate(all="ignore"):  # NaN and infinity are answers
        y[...] = FORMULAS[function][0](x, a, b)


def _backward_reference(gy, of, function, a, b, gx):
    with np.errstate(all="ignore"):
        gx[...] = FORMULAS[function][1](gy, of, a, b)


# ---- numba ---------------------------------------------------------------------------------------------------------
#
# Per function one of x, and one of gy and what gx is computed from. Each writes its numbers in the type of x, as numba
# would compute in float64 otherwise. A choice of two results is no branch: both are computed, in vectors.


@inline
def _logistic(x):
    """(s, s (1 - s)) of s = sigmoid(x), both with all their digits where they are small."""
    one, e = type(x)(1), exp(-abs(x))
    part = one / (one + e)
    return (part if x >= 0 else e * part), e * part * part


@inline
def _log1p_exp(x):
    return log1p(exp(-abs(x)))


@inline
def _gelu_argument(x):
    c, k, one, three = type(x)(GELU_SCALE), type(x)(GELU_CUBIC), type(x)(1), type(x)(3)
    square = x * x
    return c * x * (one + k * square), c * (one + three * k * square)


@inline
def _sigmoid(x, a, b):
    return _logistic(x)[0]


@inline
def _sigmoid_backward(gy, y, a, b):
    return gy * (y * (type(y)(1) - y))


@inline
def _tanh(x, a, b):
    two = type(x)(2)
    e = expm1(-two * abs(x))
    return math.copysign(e / (two + e), x)


@inline
def _tanh_backward(gy, y, a, b):
    return gy * (type(y)(1) - y * y)


@inline
def _silu(x, a, b):
    return x * _logistic(x)[0]


@inline
def _silu_backward(gy, x, a, b):
    s, slope = _logistic(x)
    return gy * (s + x * slope)


@inline
def _gelu(x, a, b):
    return x * normal(x)[0]


@inline
def _gelu_backward(gy, x, a, b):
    below, e = normal(x)
    return gy * (below + x * (e * type(x)(_DENSITY)))


@inline
def _gelu_tanh(x, a, b):
    return x * _logistic(_gelu_argument(x)[0])[0]


@inline
def _gelu_tanh_backward(gy, x, a, b):
    v, inner = _gelu_argument(x)
    s, slope = _logistic(v)
    return gy * (s + x * slope * inner)


@inline
def _softplus(x, a, b):
    z, zero = a * x, type(x)(0)
    return x if z > b else ((z if z > 0 else zero) + _log1p_exp(z)) / a


@inline
def _softplus_backward(gy, x, a, b):
    return gy if a * x > b else gy * _logistic(a * x)[0]


@inline
def _logsigmoid(x, a, b):
    return (x if x < 0 else type(x)(0)) - _log1p_exp(x)


@inline
def _logsigmoid_backward(gy, x, a, b):
    return gy * _logistic(-x)[0]


@inline
def _elu(x, a, b):
    return x if x > 0 else a * math.copysign(expm1(x), x)


@inline
def _elu_backward(gy, x, a, b):
    return gy * (a * exp(x)) if x <= 0 else gy


@inline
def _leaky_relu(x, a, b):
    return x if x > 0 else x * a


@inline
def _leaky_relu_backward(gy, x, a, b):
    return gy if x > 0 else gy * a


@inline
def _hardtanh(x, a, b):
    above = a if x < a else x
    return b if above > b else above


@inline
def _hardtanh_backward(gy, x, a, b):
    return type(gy)(0) if x <= a or x >= b else gy


# Elements per task. The loop over vectors may fuse other products than the one over what is left of a task: so what is
# left must not depend on the threads.
CHUNK = 16384


def _loops(function, of_x, of_gy):
    """The function's loops forward and backward, compiled when they are called first."""

    def forward(x, a, b, y):
        kind = x.dtype.type
        first, second = kind(a), kind(b)
        queues = share_out((x.size + CHUNK - 1) // CHUNK)
        for thread in prange(len(queues)):
            for task in tasks(queues, thread):
                part = slice(task * CHUNK, min((task + 1) * CHUNK, x.size))
                x_part, y_part = x[part], y[part]
                for i in range(x_part.size):
                    y_part[i] = of_x(x_part[i], first, second)

    def backward(gy, of, a, b, gx):
        kind = of.dtype.type
        first, second = kind(a), kind(b)
        queues = share_out((of.size + CHUNK - 1) // CHUNK)
        for thread in prange(len(queues)):
            for task in tasks(queues, thread):
                part = slice(task * CHUNK, min((task + 1) * CHUNK, of.size))
                gy_part, of_part, gx_part = gy[part], of[part], gx[part]
                for i in range(of_part.size):
                    gx_part[i] = of_gy(gy_part[i], of_part[i], first, second)

    for loop in forward, backward:
        loop.__qualname__ = f"{function}_{loop.__name__}"  # the name of its machine code, which must be its own
    return jit(forward), jit(backward)


_LOOPS = {
    "sigmoid": _loops("sigmoid", _sigmoid, _sigmoid_backward),
    "tanh": _loops("tanh", _tanh, _tanh_backward),
    "silu": _loops("silu", _silu, _silu_backward),
    "gelu": _loops("gelu", _gelu, _gelu_backward),
    "gelu_tanh": _loops("gelu_tanh", _gelu_tanh, _gelu_tanh_backward),
    "softplus": _loops("softplus", _softplus, _softplus_backward),
    "logsigmoid": _loops("logsigmoid", _logsigmoid, _logsigmoid_backward),
    "elu": _loops("elu", _elu, _elu_backward),
    "leaky_relu": _loops("leaky_relu", _leaky_relu, _leaky_relu_backward),
    "hardtanh": _loops("hardtanh", _hardtanh, _hardtanh_backward),
}


def _forward_cpu(x, function, a, b, y):
    _LOOPS[function][0](x, float(a), float(b), y)


def _backward_cpu(gy, of, function, a, b, gx):
    _LOOPS[function][1](gy, of, float(a), float(b), gx)


# ---- CUDA ----------------------------------------------------------------------------------------------------------


def _forward_gpu(x, function, a, b, y):
    args = x, float(a), float(b), y, x.size
    _CUDA.launch(f"forward<T, {_FUNCTORS[function]}>", x.dtype, args, elements=x.size)


def _backward_gpu(gy, of, function, a, b, gx):
    args = gy, of, float(a), float(b), gx, of.size
    _CUDA.launch(f"backward<T, {_FUNCTORS[function]}>", of.dtype, args, elements=of.size)


# ---- to try them on ------------------------------------------------------------------------------------------------

_OPTIONS = {
    "softplus": [(1, 20), (3, 2.5), (0.5, 1)],
    "elu": [(1, 0), (-0.5, 0)],
    "leaky_relu": [(0.01, 0), (-1, 0)],
    "hardtanh": [(-1, 1), (0.5, 2)],
}


def _forward_samples(rng, dtype):
    special = np.array([0, -0.0, np.nan, np.inf, -np.inf, 1e-30, -1e-30, 1, -1, 0.5, 2, 100, -100], dtype)
    for function in FUNCTIONS:
        for a, b in _OPTIONS.get(function, [(0, 0)]):
            for x in (special, (3 * rng.standard_normal(303)).astype(dtype), np.empty(0, dtype)):
                yield x, function, a, b, np.empty_like(x)


def _backward_samples(rng, dtype):
    for x, function, a, b, y in _forward_samples(rng, dtype):
        of = x
        if function in FROM_OUTPUT:
            _forward_reference(x, function, a, b, y)
            of = y
        yield rng.standard_normal(x.size).astype(dtype), of, function, a, b, np.empty_like(x)


def _nanoseconds(*args):
    return args[-1].size


def _forward_workload(function):
    def workload(rng, dtype, part=1):
        x = rng.standard_normal(LARGE // part, dtype)
        return x, function, *_OPTIONS.get(function, [(0, 0)])[0], np.empty_like(x)

    return workload


def _backward_workload(function):
    def workload(rng, dtype, part=1):
        gy, of = rng.standard_normal((2, LARGE // part), dtype)
        return gy, of, function, *_OPTIONS.get(function, [(0, 0)])[0], np.empty_like(gy)

    return workload


_MEASURED = "tanh", "silu", "gelu", "softplus"  # one for each function of _exp.py


forward = Kernel(
    "activation.forward",
    reference=_forward_reference,
    cpu=_forward_cpu,
    gpu=_forward_gpu,
    samples=_forward_samples,
    nanoseconds=_nanoseconds,
    workload={function: _forward_workload(function) for function in _MEASURED},
)
backward = Kernel(
    "activation.backward",
    reference=_backward_reference,
    cpu=_backward_cpu,
    gpu=_backward_gpu,
    samples=_backward_samples,
    nanoseconds=_nanoseconds,
    workload={function: _backward_workload(function) for function in _MEASURED},
)
