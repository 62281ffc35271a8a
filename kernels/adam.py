"""One step of Adam or AdamW in one pass over parameter, gradient and both moments.

    g     (L,)  the gradient
    t           the number of this step, from 1
    w     (L,)  the parameter, changed
    m     (L,)  running mean of the gradient, changed; zeros before the first step
    v     (L,)  running mean of its square, changed; zeros before the first step
    top   (L,)  the greatest v so far, changed; (0,) where amsgrad is False

    g = g + weight_decay * w                       (decoupled: w = w - lr * weight_decay * w instead)
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g^2
    w = w - lr * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)      (amsgrad: top = max(top, v) for v)

Flat C-contiguous arrays: any layout, seen in the order of the parameter's memory. The last four arguments are changed.
g, w, m, v and top may be lists of arrays, of as many parameters; on a GPU all of them are changed in one launch.
Kingma & Ba 2015, algorithm 1; Loshchilov & Hutter 2019, algorithm 2 (decoupled); Reddi et al. 2018 (amsgrad).
"""

import math

import numpy as np

from ._cuda import Source
from ._jit import helper, inline, jit, jit_serial, prange
from ._kernel import Kernel, each, total_bytes
from ._queues import share_out, tasks
from ._workload import LARGE
from .sgd import CHUNK, SHARED

_CUDA = Source("adam", "step")


def _reference(g, t, lr, beta1, beta2, eps, weight_decay, decoupled, amsgrad, w, m, v, top):
    kind = w.dtype.type
    if weight_decay and decoupled:
        w *= kind(1 - lr * weight_decay)
    elif weight_decay:
        g = g + kind(weight_decay) * w
    m[...] = kind(beta1) * m + kind(1 - beta1) * g
    v[...] = kind(beta2) * v + kind(1 - beta2) * g * g
    if amsgrad:
        top[...] = np.maximum(top, v)
    m_hat = m / kind(1 - beta1**t)  # the means began at 0: of t terms the weights add up to 1 - beta^t
    v_hat = (top if amsgrad else v) / kind(1 - beta2**t)
    w -= kind(lr) * m_hat / (np.sqrt(v_hat) + kind(eps))


def _cpu(g, t, lr, beta1, beta2, eps, weight_decay, decoupled, amsgrad, w, m, v, top):
    step = _in_turn if w.size < SHARED else _shared
    step(g, t, lr, beta1, beta2, eps, weight_decay, decoupled, amsgrad, w, m, v, top)


@jit
def _shared(g, t, lr, beta1, beta2, eps, weight_decay, decoupled, amsgrad, w, m, v, top):
    numbers = _numbers(w.dtype.type, t, lr, beta1, beta2, eps, weight_decay, decoupled)
    queues = share_out((w.size + CHUNK - 1) // CHUNK)
    for thread in prange(len(queues)):
        for task in tasks(queues, thread):
            _chunk(task, g, numbers, amsgrad, w, m, v, top)


@jit_serial
def _in_turn(g, t, lr, beta1, beta2, eps, weight_decay, decoupled, amsgrad, w, m, v, top):
    numbers = _numbers(w.dtype.type, t, lr, beta1, beta2, eps, weight_decay, decoupled)
    for task in range((w.size + CHUNK - 1) // CHUNK):
        _chunk(task, g, numbers, amsgrad, w, m, v, top)


@helper
def _numbers(kind, t, lr, beta1, beta2, eps, weight_decay, decoupled):
    keep_m, add_m, keep_v, add_v = kind(beta1), kind(1 - beta1), kind(beta2), kind(1 - beta2)
    rate, root, least = kind(lr / (1 - beta1**t)), kind(1 / math.sqrt(1 - beta2**t)), kind(eps)
    shrink, decay = kind(1 - lr * weight_decay if decoupled else 1), kind(0 if decoupled else weight_decay)
    return keep_m, add_m, keep_v, add_v, rate, root, least, shrink, decay


@helper
def _chunk(task, g, numbers, amsgrad, w, m, v, top):
    part = slice(task * CHUNK, min((task + 1) * CHUNK, w.size))
    if amsgrad:
        _block(g[part], numbers, True, w[part], m[part], v[part], top[part])
    else:
        _block(g[part], numbers, False, w[part], m[part], v[part], top)


def _gpu(g, t, lr, beta1, beta2, eps, weight_decay, decoupled, amsgrad, w, m, v, top):
    rate, root = lr / (1 - beta1**t), 1 / math.sqrt(1 - beta2**t)
    shrink, decay = (1 - lr * weight_decay, 0.0) if decoupled else (1.0, float(weight_decay))
    numbers = *map(float, (beta1, 1 - beta1, beta2, 1 - beta2, rate, root, eps, shrink)), decay
    g, w, m, v, top = (a if isinstance(a, list) else [a] for a in (g, w, m, v, top))
    _CUDA.launch_many("step", w[0].dtype, (g, *numbers, bool(amsgrad), w, m, v, top), [a.size for a in w])


@inline
def _block(g, numbers, amsgrad, w, m, v, top):
    keep_m, add_m, keep_v, add_v, rate, root, least, shrink, decay = numbers
    for i in range(w.size):
        d = g[i] + decay * w[i] if decay != 0 else g[i]
        mean = keep_m * m[i] + add_m * d
        square = keep_v * v[i] + add_v * d * d
        m[i], v[i] = mean, square
        if amsgrad:
            if square > top[i] or square != square:
                top[i] = square
            square = top[i]
        w[i] = shrink * w[i] - rate * mean / (np.sqrt(square) * root + least)


def _samples(rng, dtype):
    for size in (1, 1003, 0, 2 * CHUNK + 5):
        for t, weight_decay, decoupled, amsgrad in (
            (1, 0.0, False, False),
            (3, 0.01, False, False),
            (7, 0.01, True, False),
            (1000, 0.01, False, True),
        ):
            g, w, m, v, top = rng.standard_normal((5, size)).astype(dtype)
            yield (g, t, 0.1, 0.9, 0.999, 1e-8, weight_decay, decoupled, amsgrad, w, m, v * v,
                   top * top if amsgrad else top[:0])  # fmt: skip


def _workload(rng, dtype, part=1):
    g, w, m, v = rng.standard_normal((4, LARGE // part), dtype)
    return g, 10, 1e-3, 0.9, 0.999, 1e-8, 0.0, False, False, w, m, v * v, v[:0]


def _traffic(g, *rest):
    """Bytes: the gradient is read, parameter and moments are read and written."""
    return total_bytes(g) + sum(2 * total_bytes(a) for a in rest[-4:])


step = Kernel(
    "adam.step",
    reference=each(_reference),
    cpu=each(_cpu),
    gpu=_gpu,
    samples=_samples,
    nanoseconds=lambda g, *rest: total_bytes(g) // 2,
    outputs=4,
    workload=_workload,
    traffic=_traffic,
)
