"""One step of stochastic gradient descent in one pass over parameter, gradient and velocity.

    g     (L,)  the gradient
    w     (L,)  the parameter, changed
    v     (L,)  the velocity, changed; zeros before the first step; (0,) where momentum is 0

    d = g + weight_decay * w                       (times lr, if lr_in_velocity)
    v = momentum * v + keep * d                    keep is 1 - dampening, and 1 at the first step
    u = d + momentum * v  if nesterov  else  v     (u = d where momentum is 0)
    w = w - lr * u                                 (w - u, if lr_in_velocity)

Flat C-contiguous arrays: any layout, seen in the order of the parameter's memory. The last two arguments are changed.
g, w and v may be lists of arrays, of as many parameters; on a GPU all of them are changed in one launch.
Krizhevsky et al. 2012, section 5, keep the rate in the velocity; Sutskever et al. 2013 is Nesterov's form.
"""

from ._cuda import Source
from ._jit import helper, jit, jit_serial, prange
from ._kernel import Kernel, each, total_bytes
from ._queues import share_out, tasks
from ._workload import LARGE

_CUDA = Source("sgd", "step")

# Elements per task. In a * b + c * d either product may be rounded before the other is added to it, and the loop over
# vectors may choose differently than the one over what is left: so what is left must not depend on the threads.
CHUNK = 4096
SHARED = 16 * CHUNK  # elements of an array, at least, that threads share: to wake them takes as long as half of it


def _reference(g, lr, momentum, keep, weight_decay, nesterov, lr_in_velocity, w, v):
    kind = w.dtype.type
    d = g + kind(weight_decay) * w if weight_decay else g
    if lr_in_velocity:
        d = kind(lr) * d
    u = d
    if momentum:
        v[...] = kind(momentum) * v + kind(keep) * d
        u = d + kind(momentum) * v if nesterov else v
    w -= u if lr_in_velocity else kind(lr) * u


def _cpu(g, lr, momentum, keep, weight_decay, nesterov, lr_in_velocity, w, v):
    step = _in_turn if w.size < SHARED else _shared
    step(g, lr, momentum, keep, weight_decay, nesterov, lr_in_velocity, w, v)


@jit
def _shared(g, lr, momentum, keep, weight_decay, nesterov, lr_in_velocity, w, v):
    queues = share_out((w.size + CHUNK - 1) // CHUNK)
    for thread in prange(len(queues)):
        for task in tasks(queues, thread):
            _chunk(task, g, lr, momentum, keep, weight_decay, nesterov, lr_in_velocity, w, v)


@jit_serial
def _in_turn(g, lr, momentum, keep, weight_decay, nesterov, lr_in_velocity, w, v):
    for task in range((w.size + CHUNK - 1) // CHUNK):
        _chunk(task, g, lr, momentum, keep, weight_decay, nesterov, lr_in_velocity, w, v)


@helper
def _chunk(task, g, lr, momentum, keep, weight_decay, nesterov, lr_in_velocity, w, v):
    kind = w.dtype.type
    decay, mu, part = kind(weight_decay), kind(momentum), kind(keep)
    inner = kind(lr if lr_in_velocity else 1)
    outer = kind(1 if lr_in_velocity else lr)
    part_of = slice(task * CHUNK, min((task + 1) * CHUNK, w.size))
    if momentum == 0:
        _plain(g[part_of], decay, inner, outer, w[part_of])
    else:
        _with_momentum(g[part_of], decay, inner, outer, mu, part, nesterov, w[part_of], v[part_of])


def _gpu(g, lr, momentum, keep, weight_decay, nesterov, lr_in_velocity, w, v):
    rates = (float(lr), 1.0) if lr_in_velocity else (1.0, float(lr))
    g, w, v = (a if isinstance(a, list) else [a] for a in (g, w, v))
    args = g, *rates, float(momentum), float(keep), float(weight_decay), bool(nesterov), w, v
    _CUDA.launch_many("step", w[0].dtype, args, [a.size for a in w])


# Of slices, as LLVM cannot know that start + i is not negative, which numba would count from the end: then nothing is
# vectorised, and a step of 64 million parameters took 442 ms.


@helper
def _plain(g, decay, inner, outer, w):
    for i in range(w.size):
        d = g[i] + decay * w[i] if decay != 0 else g[i]
        w[i] -= outer * (inner * d)


@helper
def _with_momentum(g, decay, inner, outer, mu, part, nesterov, w, v):
    for i in range(w.size):
        d = inner * (g[i] + decay * w[i] if decay != 0 else g[i])
        velocity = mu * v[i] + part * d
        v[i] = velocity
        w[i] -= outer * (d + mu * velocity if nesterov else velocity)


def _samples(rng, dtype):
    for size in (1, 1003, 0, 2 * CHUNK + 5):
        for momentum, keep, weight_decay, nesterov in (
            (0.0, 1.0, 0.0, False),
            (0.0, 1.0, 0.01, False),
            (0.9, 1.0, 0.0, False),
            (0.9, 0.7, 0.01, False),
            (0.9, 1.0, 0.01, True),
        ):
            for inside in (False, True):
                g, w, v = rng.standard_normal((3, size)).astype(dtype)
                yield g, 0.1, momentum, keep, weight_decay, nesterov, inside, w, v if momentum else v[:0]


def _workload(rng, dtype, part=1):
    """With momentum and weight decay, as every recipe here has them."""
    g, w, v = rng.standard_normal((3, LARGE // part), dtype)
    return g, 1e-3, 0.9, 1.0, 5e-4, False, False, w, v


def _traffic(g, *rest):
    """Bytes: the gradient is read, parameter and velocity are read and written."""
    return total_bytes(g) + sum(2 * total_bytes(a) for a in rest[-2:])


step = Kernel(
    "sgd.step",
    reference=each(_reference),
    cpu=each(_cpu),
    gpu=_gpu,
    samples=_samples,
    nanoseconds=lambda g, *rest: total_bytes(g) // 8,
    outputs=2,
    workload=_workload,
    traffic=_traffic,
)
