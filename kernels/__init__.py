"""The hot loops and nothing else: per operation its contract, its reference, its numba form and its CUDA form."""

if __name__ != "minidl.kernels":
    raise ImportError(f"import minidl.kernels, not {__name__}: a second copy would compile every kernel twice")

from . import (
    activation,
    adam,
    adaptive_avg_pool2d,
    add,
    add_at,
    avg_pool2d,
    batch_norm,
    channel_sum,
    conv2d,
    conv_transpose2d,
    copy_rows,
    cross_entropy,
    dropout,
    erf,
    global_avg_pool2d,
    group_norm,
    layer_norm,
    local_response_norm,
    log_softmax,
    matmul,
    max_pool2d,
    relu,
    scan,
    sgd,
    softmax,
    unscale,
)
from ._cache_root import cache_root
from ._jit import is_cold
from ._kernel import COMPILED, KERNELS, Kernel, use_kernels, wide
from ._pool import empty, empty_cache, empty_like, owner
from ._threads import get_num_threads, set_num_threads
from .conv2d import exact_convolution
from .copy_rows import contiguous, copy_into, full, is_contiguous, reshaped

__all__ = [
    "COMPILED", "KERNELS", "Kernel", "activation", "adam", "adaptive_avg_pool2d", "add", "add_at", "avg_pool2d",
    "batch_norm", "cache_root", "channel_sum", "contiguous", "conv2d", "conv_transpose2d", "copy_into", "copy_rows",
    "cross_entropy", "dropout", "empty", "empty_cache", "empty_like", "erf", "exact_convolution", "full",
    "get_num_threads", "global_avg_pool2d", "group_norm", "is_cold", "is_contiguous", "layer_norm",
    "local_response_norm", "log_softmax", "matmul", "max_pool2d", "owner", "relu", "reshaped", "scan",
    "set_num_threads", "sgd", "softmax", "unscale", "use_kernels", "wide",
]  # fmt: skip
