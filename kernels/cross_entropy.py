"""Cross-entropy of each row of logits with its class, without forming the probabilities.

    x              (M, C)  C-contiguous logits
    target         (M,)    int64: the class of each row, from 0 to C - 1, or ignore_index
    weight         (C,)    a weight w[c] per class
    smoothing              s, the share of the target's probability that is spread evenly over the classes
    loss           (M,)    loss = -sum over c of q[c] w[c] log p[c],   p = softmax(x),  q[c] = (1 - s) 1{c = t} + s / C
    lse            (M, 2)  the greatest logit of the row, and log(sum over k of exp(x[k] - greatest))
    scale          (M,)    dL/dloss of each row
    gx             (M, C)  gx[c] = scale * (p[c] * sum over k of q[k] w[k]  -  q[c] w[c])

from log p[c] = x[c] - lse and dlse/dx[c] = p[c]. A row whose target is ignore_index has loss, lse and gradient 0. The
two parts of lse are the log-sum-exp; added, 1e4 + 0.7 in float32 would keep three digits of the second. Backward needs
the row's two numbers where a softmax would keep the whole row. The last arguments are written.
"""

import numpy as np

from ._cuda import Source, threads_of_row
from ._exp import exp
from ._jit import jit, prange
from ._kernel import Kernel
from ._queues import share_out, tasks
from .softmax import greatest_of, sum_of_exponentials

_CUDA = Source("cross_entropy", "forward", "backward")


def _smoothed(x, target, weight, smoothing):
    """q[c] w[c] of each row."""
    classes = x.shape[1]
    q = (1 - smoothing) * (np.arange(classes) == target[:, None]) + smoothing / classes
    return (q * weight).astype(x.dtype)


def _forward_reference(x, target, weight, ignore_index, smoothing, loss, lse):
    greatest = x.max(axis=1, keepdims=True)
    log_total = np.log(np.exp(x - greatest).sum(axis=1, keepdims=True))
    log_p = (x - greatest) - log_total
    certain = (np.arange(x.shape[1]) != target[:, None]) & (smoothing == 0)  # 0 * log(0) is 0
    ignored = target == ignore_index
    loss[...] = -np.where(certain, 0, _smoothed(x, target, weight, smoothing) * log_p).sum(axis=1)
    loss[ignored] = 0
    lse[...] = np.concatenate([greatest, log_total], axis=1)
    lse[ignored] = 0


@jit
def _forward_cpu(x, target, weight, ignore_index, smoothing, loss, lse):
    classes = x.shape[1]
    queues = share_out(x.shape[0])
    for thread in prange(len(queues)):
        for row in tasks(queues, thread):
            t = target[row]
            if t == ignore_index:
                loss[row], lse[row, 0], lse[row, 1] = 0, 0, 0
            else:
                greatest = greatest_of(x[row])
                log_total = np.log(sum_of_exponentials(x[row], greatest))
                lse[row, 0], lse[row, 1] = greatest, log_total
                value = 0.0
                if smoothing < 1:
                    value -= (1 - smoothing) * weight[t] * ((x[row, t] - greatest) - log_total)
                if smoothing > 0:
                    spread = 0.0
                    for k in range(classes):
                        spread += weight[k] * ((x[row, k] - greatest) - log_total)
                    value -= smoothing / classes * spread
                loss[row] = value


def _forward_gpu(x, target, weight, ignore_index, smoothing, loss, lse):
    rows, classes = x.shape
    args = x, target, weight, classes, ignore_index, 1.0 - smoothing, smoothing / classes, loss, lse
    _CUDA.launch("forward", x.dtype, args, grid=rows, block=threads_of_row(classes))


def _backward_reference(x, target, weight, ignore_index, smoothing, lse, scale, gx):
    ignored = (target == ignore_index)[:, None]
    p = np.exp((np.where(ignored, 0, x) - lse[:, :1]) - lse[:, 1:])
    qw = _smoothed(x, target, weight, smoothing)
    gx[...] = np.where(ignored, 0, scale[:, None] * (p * qw.sum(axis=1, keepdims=True) - qw))


@jit
def _backward_cpu(x, target, weight, ignore_index, smoothing, lse, scale, gx):
    classes, kind = x.shape[1], x.dtype.type
    total = 0.0
    for k in range(classes):
        total += weight[k]
    queues = share_out(x.shape[0])
    for thread in prange(len(queues)):
        for row in tasks(queues, thread):
            t = target[row]
            if t == ignore_index:
                gx[row] = 0
            else:
                own, even = (1 - smoothing) * weight[t], smoothing / classes
                factor = kind(scale[row] * (own + even * total))
                greatest, log_total = lse[row, 0], lse[row, 1]
                x_row, gx_row = x[row], gx[row]
                for k in range(classes):
                    gx_row[k] = factor * exp((x_row[k] - greatest) - log_total)
                if smoothing > 0:
                    part = kind(scale[row] * even)
                    for k in range(classes):
                        gx[row, k] -= part * weight[k]
                gx[row, t] -= kind(scale[row] * own)


def _backward_gpu(x, target, weight, ignore_index, smoothing, lse, scale, gx):
    rows, classes = x.shape
    args = x, target, weight, classes, ignore_index, 1.0 - smoothing, smoothing / classes, lse, scale, gx
    _CUDA.launch("backward", x.dtype, args, grid=rows, block=threads_of_row(classes))


def _forward_samples(rng, dtype):
    special = [[np.nan, 1, 2], [-np.inf, 0, 1], [np.inf, 0, 1], [-np.inf, -np.inf, -np.inf], [0, 1, np.nan]]
    for x, target in (
        (rng.standard_normal((7, 5)), [0, 4, -100, 1, 1, 3, 2]),
        (1e4 * rng.standard_normal((6, 9)), [0, 8, 3, 4, -100, 2]),
        (1e4 + rng.standard_normal((5, 3)), [0, 1, 2, -100, 1]),
        (np.array(special), [1, 1, 0, 2, -100]),
        (np.array([[-np.inf, 0, 1]]), [0]),
        (np.zeros((3, 1)), [0, 0, -100]),
        (rng.standard_normal((40, 67)), rng.integers(0, 67, 40)),
        (np.empty((0, 3)), []),
    ):
        x, target = x.astype(dtype), np.array(target, np.int64)
        for smoothing in (0.0, 0.1, 1.0):
            weight = rng.uniform(0.5, 2.0, x.shape[1]).astype(dtype)
            yield x, target, weight, -100, smoothing, np.empty(len(x), dtype), np.empty((len(x), 2), dtype)


def _backward_samples(rng, dtype):
    for *inputs, loss, lse in _forward_samples(rng, dtype):
        with np.errstate(invalid="ignore"):
            _forward_reference(*inputs, loss, lse)
        scale = rng.standard_normal(len(loss)).astype(dtype)
        yield *inputs, lse, scale, np.empty_like(inputs[0])


def _nanoseconds(x, *rest):
    return 2 * x.size


def _forward_workload(rng, dtype, part=1):
    x = rng.standard_normal((8192 // part, 1000), dtype)
    target = rng.integers(0, 1000, len(x))
    return x, target, np.ones(1000, dtype), -100, 0.0, np.empty(len(x), dtype), np.empty((len(x), 2), dtype)


def _backward_workload(rng, dtype, part=1):
    *inputs, loss, lse = _forward_workload(rng, dtype, part)
    _forward_cpu(*inputs, loss, lse)
    return *inputs, lse, rng.standard_normal(len(loss), dtype), np.empty_like(inputs[0])


forward = Kernel(
    "cross_entropy.forward",
    reference=_forward_reference,
    cpu=_forward_cpu,
    gpu=_forward_gpu,
    samples=_forward_samples,
    nanoseconds=_nanoseconds,
    outputs=2,
    workload=_forward_workload,
)
backward = Kernel(
    "cross_entropy.backward",
    reference=_backward_reference,
    cpu=_backward_cpu,
    gpu=_backward_gpu,
    samples=_backward_samples,
    nanoseconds=_nanoseconds,
    workload=_backward_workload,
)
