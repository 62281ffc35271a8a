"""Transposed convolution over channels-last images: every input pixel stamps the kernel, scaled, into the output.

    x     (N, H, W, C)              input
    w     (KH, KW, O/groups, C)     weights: those of a conv2d from O channels to C
    bias  (O,)                      zeros where there is none
    y     (N, OH, OW, O)            written, OH = (H - 1)*stride - 2*padding + dilation*(KH-1) + output_padding + 1

stride, padding and dilation are pairs (rows, columns); output_padding shows in y's size alone and is less than stride.
That is the gradient that conv2d sends to its input, so the numba and CUDA forms are conv2d's, started from the bias;
and its own gradients are conv2d.forward (of the input) and conv2d.weight_grad with image and gradient exchanged (of the
weights).
"""

import numpy as np

from . import conv2d
from ._kernel import Kernel


def _forward_reference(x, w, bias, stride, padding, dilation, groups, y):
    n, oh, ow, o = y.shape
    kh, kw, og, _ = w.shape
    cg = x.shape[3] // groups
    canvas = np.zeros((n, oh + 2 * padding[0], ow + 2 * padding[1], o), x.dtype)
    for i, j in np.ndindex(x.shape[1:3]):
        rows = slice(i * stride[0], i * stride[0] + (kh - 1) * dilation[0] + 1, dilation[0])
        columns = slice(j * stride[1], j * stride[1] + (kw - 1) * dilation[1] + 1, dilation[1])
        for g in range(groups):
            cs, os = slice(g * cg, (g + 1) * cg), slice(g * og, (g + 1) * og)
            canvas[:, rows, columns, os] += np.einsum("nc,uvoc->nuvo", x[:, i, j, cs], w[..., cs])
    y[...] = canvas[:, padding[0] : padding[0] + oh, padding[1] : padding[1] + ow] + bias


def _forward_cpu(x, w, bias, stride, padding, dilation, groups, y):
    conv2d.input_grad_onto(bias, None, x, w, stride, padding, dilation, groups, y)


def _forward_gpu(x, w, bias, stride, padding, dilation, groups, y):
    conv2d.input_grad_onto_gpu(bias, x, w, stride, padding, dilation, groups, y)


# (N, H, W, C, O, KH, KW, stride, padding, dilation, output_padding, groups)
_CASES = [
    (2, 4, 5, 3, 7, 3, 2, (1, 1), (0, 0), (1, 1), (0, 0), 1),
    (2, 3, 4, 5, 17, 3, 4, (2, 2), (1, 0), (1, 1), (1, 0), 1),
    (1, 4, 3, 6, 4, 2, 3, (3, 2), (1, 2), (2, 1), (2, 1), 2),
    (2, 3, 4, 33, 67, 1, 1, (1, 1), (0, 0), (1, 1), (0, 0), 1),
    (1, 3, 4, 5, 40, 2, 1, (3, 4), (0, 0), (1, 1), (2, 3), 1),  # pixels that no stamp reaches
    (1, 3, 4, 5, 2, 2, 1, (3, 4), (0, 0), (1, 1), (2, 3), 1),
    (2, 5, 4, 6, 3, 3, 3, (2, 1), (1, 1), (1, 2), (0, 0), 3),
    (0, 4, 3, 2, 5, 3, 3, (2, 2), (1, 1), (1, 1), (1, 1), 1),
]


def _samples(rng, dtype):
    for n, h, wd, c, o, kh, kw, stride, padding, dilation, output_padding, groups in _CASES:
        oh, ow = (
            (size - 1) * s - 2 * p + d * (k - 1) + extra + 1
            for size, s, p, d, k, extra in zip(
                (h, wd), stride, padding, dilation, (kh, kw), output_padding, strict=True
            )
        )
        shapes = (n, h, wd, c), (kh, kw, o // groups, c), (o,)
        x, w, bias = (rng.standard_normal(shape).astype(dtype) for shape in shapes)
        yield x, w, bias, stride, padding, dilation, groups, np.empty((n, oh, ow, o), dtype)


def _workload(rng, dtype, part=1):
    """Twice the size, as decoders want."""
    x, w, bias = (rng.standard_normal(shape, dtype) for shape in ((max(1, 8 // part), 28, 28, 64), (4, 4, 64, 64), 64))
    return x, w, bias, (2, 2), (1, 1), (1, 1), 1, np.empty((len(x), 56, 56, 64), dtype)


forward = Kernel(
    "conv_transpose2d.forward",
    reference=_forward_reference,
    cpu=_forward_cpu,
    gpu=_forward_gpu,
    samples=_samples,
    nanoseconds=lambda x, w, *rest: x.size * w.size // max(1, w.shape[3]) // 20,
    workload=_workload,
    flops=lambda x, w, *rest: 2 * x.size * w.size // max(1, w.shape[3]),
)
