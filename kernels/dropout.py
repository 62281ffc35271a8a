"""Dropout with random numbers that are a function of the place: nothing is drawn, so nothing depends on the order.

    x, y       (L,)  y[i] = x[i] * scale where bits[i] >= threshold, else x[i] * 0 (a NaN stays one)
    bits       (L,)  uint32: word i % 4 of philox(counter = (i // 4, call), key = seed)
    seed, call       uint64
    threshold        uint32: an element is dropped with probability threshold / 2^32

The gradient is the same function of the gradient, with the same seed and call: no mask is kept. The last argument is
written.

Philox4x32-10 (Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3. SC 2011) is a keyed mixing of a
128-bit counter to four words of 32 bits. Its counter here is (i // 4 mod 2^32, i // 4 div 2^32, call mod 2^32,
call div 2^32), its key (seed mod 2^32, seed div 2^32). A round multiplies two words by constants, and mixes the upper
halves of the 64-bit products with the other two words and the key; ten rounds pass every test that is known.
"""

import numpy as np

from ._cuda import Source
from ._jit import inline, jit, prange
from ._kernel import Kernel
from ._queues import share_out, tasks
from ._workload import LARGE

_CUDA = Source("dropout", "forward")

_THREADS = 256  # of a block: kThreads in dropout.cu
_ROUNDS = 10
_CHUNK = 4096  # elements per task, a multiple of 4: 16 kB of random words stay in the L1 cache

# uint64 throughout: products of 32-bit words need it, and numba makes float64 of a uint64 beside an int64.
_MULTIPLIER_0, _MULTIPLIER_1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_STEP_0, _STEP_1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)  # golden ratio, and sqrt(3) - 1: the key's increments
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


def philox(counter, key):
    """Philox4x32-10 of arrays of counters.

    Args:
        counter: four arrays of words of 32 bits, as uint64. key: two such words.

    Returns:
        four arrays of words of 32 bits, as uint64.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        a, b = _MULTIPLIER_0 * c0, _MULTIPLIER_1 * c2
        c0, c1, c2, c3 = (b >> _HALF) ^ c1 ^ k0, b & _LOW, (a >> _HALF) ^ c3 ^ k1, a & _LOW
        k0, k1 = (k0 + _STEP_0) & _LOW, (k1 + _STEP_1) & _LOW
    return c0, c1, c2, c3


def _bits_reference(seed, call, bits):
    block = np.arange(-(-bits.size // 4), dtype=np.uint64)
    seed, call = np.full_like(block, seed), np.full_like(block, call)
    counter = block & _LOW, block >> _HALF, call & _LOW, call >> _HALF
    words = philox(counter, (seed & _LOW, seed >> _HALF))
    bits[...] = np.stack(words, axis=1).reshape(-1)[: bits.size]


def _forward_reference(x, seed, call, threshold, scale, y):
    bits = np.empty(x.size, np.uint32)
    _bits_reference(seed, call, bits)
    y[...] = x * np.where(bits >= threshold, scale, 0).astype(x.dtype)


@inline
def _words(block, seed, call):
    """philox of one counter, written out for numba."""
    c0, c1, c2, c3 = block & _LOW, block >> _HALF, call & _LOW, call >> _HALF
    k0, k1 = seed & _LOW, seed >> _HALF
    for _ in range(_ROUNDS):
        a, b = _MULTIPLIER_0 * c0, _MULTIPLIER_1 * c2
        c0, c1, c2, c3 = (b >> _HALF) ^ c1 ^ k0, b & _LOW, (a >> _HALF) ^ c3 ^ k1, a & _LOW
        k0, k1 = (k0 + _STEP_0) & _LOW, (k1 + _STEP_1) & _LOW
    return c0, c1, c2, c3


@jit
def _forward_cpu(x, seed, call, threshold, scale, y):
    factor, zero = x.dtype.type(scale), x.dtype.type(0)
    queues = share_out((x.size + _CHUNK - 1) // _CHUNK)
    for thread in prange(len(queues)):
        for task in tasks(queues, thread):
            start = task * _CHUNK
            count = min(_CHUNK, x.size - start)
            bits = np.empty(_CHUNK, np.uint32)
            for j in range((count + 3) // 4):  # apart from the loop below, so that both run on vectors
                w0, w1, w2, w3 = _words(np.uint64(start // 4 + j), seed, call)
                bits[4 * j], bits[4 * j + 1], bits[4 * j + 2], bits[4 * j + 3] = w0, w1, w2, w3
            for i in range(count):
                y[start + i] = x[start + i] * (factor if bits[i] >= threshold else zero)


def _forward_gpu(x, seed, call, threshold, scale, y):
    _CUDA.launch("forward", x.dtype, (x, seed, call, threshold, scale, y, x.size), elements=x.size, block=_THREADS)


def _samples(rng, dtype):
    special = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -2.0] * 3, dtype)
    large = np.uint64(2**64 - 1), np.uint64(2**63 + 5)
    for x in (rng.standard_normal(1003), special, rng.standard_normal(2 * _CHUNK + 1), np.empty(0)):
        for seed, call in ((np.uint64(0), np.uint64(0)), (np.uint64(7), np.uint64(3)), large):
            for p in (0.0, 0.5, 0.9):
                yield x.astype(dtype), seed, call, np.uint32(p * 2**32), 1 / (1 - p), np.empty(x.size, dtype)


def _workload(rng, dtype, part=1):
    x = rng.standard_normal(LARGE // part, dtype)
    return x, np.uint64(7), np.uint64(3), np.uint32(2**31), 2.0, np.empty_like(x)


forward = Kernel(
    "dropout.forward",
    reference=_forward_reference,
    cpu=_forward_cpu,
    gpu=_forward_gpu,
    samples=_samples,
    nanoseconds=lambda x, *rest: 2 * x.size,
    workload=_workload,
)
