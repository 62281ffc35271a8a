"""The hot loops and nothing else: per operation its contract, its reference, its numba form and its CUDA form."""

if __name__ != "minidl.kernels":
    raise ImportError(f"import minidl.kernels, not {__name__}: a second copy would compile every kernel twice")

from . import (
    adam,
    channel_sum,
    conv2d,
    cross_entropy,
    dropout,
    erf,
    log_softmax,
    matmul,
    max_pool2d,
    relu,
    scan,
    sgd,
    softmax,
)
from ._cache_root import cache_root
from ._jit import is_cold
from ._kernel import KERNELS, Kernel, use_kernels
from ._pool import empty, empty_cache, empty_like
from ._threads import get_num_threads, set_num_threads

__all__ = [
    "KERNELS",
    "Kernel",
    "cache_root",
    "adam",
    "channel_sum",
    "conv2d",
    "cross_entropy",
    "dropout",
    "empty",
    "empty_cache",
    "empty_like",
    "erf",
    "get_num_threads",
    "is_cold",
    "log_softmax",
    "matmul",
    "max_pool2d",
    "relu",
    "scan",
    "set_num_threads",
    "sgd",
    "softmax",
    "use_kernels",
]
