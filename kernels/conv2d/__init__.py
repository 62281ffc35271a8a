"""Two-dimensional convolution (cross-correlation) over channels-last images.

    x     (N, H, W, C)              input
    w     (KH, KW, C/groups, O)     weights
    bias  (O,)                      zeros where there is none
    y     (N, OH, OW, O)   output (forward_relu: not below 0), OH = (H + 2*padding - dilation*(KH-1) - 1) // stride + 1
    gx, gw, gy                      gradients, shaped as x, w, y
    residual                        of forward_add_relu, shaped as y; of input_grad_add, what gx is added to

stride, padding and dilation are pairs (rows, columns). Arrays are C-contiguous and of one dtype. The last argument is
written. reference.py has the formula; direct.py is the numba form. winograd.py is one of fewer multiplications for 3×3
to 5×5 kernels, and 3×3 of stride 2 (winograd_large.py where they have many channels; both use winograd_tiles.py),
winograd_rows.py the same down the rows alone for few channels; phases.py brings larger kernels with a stride to
winograd.py. pointwise.py is one for 1×1 kernels, im2col.py one of weight_grad where there are many weights, and of
small images, scatter.py one of input_grad for few channels and small images, narrow.py one of groups of few channels;
pieces.py takes groups of many and dilated windows apart for winograd.py. gpu.py is the CUDA form: it launches
conv2d.cu, the formula, and winograd.cu, the same for 3×3 kernels in fewer multiplications.
"""

from contextlib import contextmanager

import numpy as np

from .. import add, relu
from .._kernel import Kernel
from . import direct, gpu, im2col, narrow, phases, pieces, pointwise, reference, scatter, winograd, winograd_rows
from .direct import turned_shape

# (N, H, W, C, O, KH, KW, stride, padding, dilation, groups): pairwise distinct sizes, so that no transpose hides.
_CASES = [
    (2, 7, 9, 3, 5, 3, 2, (1, 1), (0, 0), (1, 1), 1),
    (3, 8, 6, 2, 17, 3, 3, (1, 1), (1, 1), (1, 1), 1),
    (2, 11, 10, 4, 6, 5, 3, (2, 3), (2, 1), (1, 1), 1),
    (2, 9, 12, 6, 4, 3, 2, (2, 1), (1, 2), (2, 3), 2),
    (1, 6, 5, 33, 67, 1, 1, (1, 1), (0, 0), (1, 1), 1),
    (2, 5, 7, 4, 8, 1, 1, (2, 2), (0, 0), (1, 1), 1),  # pixels that no output sees
    (3, 7, 6, 20, 9, 1, 1, (1, 1), (0, 0), (1, 1), 1),
    (2, 6, 7, 5, 5, 3, 3, (1, 1), (2, 2), (1, 1), 5),  # depthwise
    (1, 12, 13, 1, 6, 2, 3, (3, 2), (1, 0), (4, 3), 1),  # stride and dilation share no divisor
    (0, 5, 4, 3, 2, 3, 3, (1, 1), (1, 1), (1, 1), 1),  # empty batch
    (0, 5, 4, 3, 3, 3, 3, (1, 1), (1, 1), (1, 1), 3),
    (17, 28, 30, 1, 6, 5, 5, (1, 1), (0, 0), (1, 1), 1),  # LeNet's first layer, more images than partial sums
    (2, 20, 47, 16, 40, 3, 3, (1, 1), (1, 1), (1, 1), 1),  # several tiles across and several blocks down
    (2, 9, 11, 8, 7, 3, 5, (1, 2), (1, 3), (1, 1), 1),  # a kernel's row of few channels, yet wider than a tile
    (1, 7, 12, 4, 5, 2, 7, (2, 1), (0, 2), (1, 1), 1),
    (1, 40, 41, 3, 4, 5, 5, (1, 1), (2, 0), (1, 1), 1),  # more products than the scratch of a block of rows holds
    (2, 3, 5, 256, 7, 1, 1, (1, 1), (0, 0), (1, 1), 1),  # a GPU's choice: a matrix product
    (4, 13, 15, 96, 99, 3, 3, (1, 1), (1, 1), (1, 1), 1),  # a GPU's choice: Winograd's algorithm
    (2, 7, 5, 65, 130, 1, 1, (2, 2), (0, 0), (1, 1), 1),  # weights' gradient by im2col
    (1, 4, 6, 67, 131, 2, 3, (2, 1), (0, 1), (1, 1), 1),
    (1, 3, 4, 130, 140, 1, 2, (1, 1), (0, 1), (1, 2), 2),
    (2, 3, 4, 65, 520, 1, 1, (1, 1), (0, 0), (1, 1), 1),  # whose panels are copied
    (1, 4, 5, 130, 253, 2, 3, (1, 2), (1, 0), (2, 1), 1),  # forward by im2col
    (2, 9, 12, 1, 6, 5, 5, (1, 1), (2, 2), (1, 1), 1),  # few output channels: several pixels side by side
    (1, 8, 16, 3, 2, 3, 4, (2, 3), (1, 2), (1, 1), 1),
    (2, 4, 5, 3, 7, 2, 3, (1, 2), (3, 5), (1, 1), 1),  # windows that lie in the border altogether
    (2, 9, 7, 4, 12, 3, 3, (2, 2), (1, 1), (1, 1), 4),  # depthwise, three outputs of each channel
    (2, 5, 8, 257, 6, 1, 1, (2, 3), (0, 0), (1, 1), 1),  # a product of the pixels that a stride meets
    (3, 14, 19, 5, 34, 5, 4, (1, 1), (2, 1), (1, 1), 1),  # Winograd's algorithm down the rows; the last tile ends early
    (5, 21, 16, 7, 10, 3, 3, (1, 1), (1, 2), (1, 1), 1),
    (2, 9, 7, 130, 130, 3, 3, (1, 1), (1, 1), (1, 1), 130),  # depthwise, more channels than two tiles
    (1, 7, 8, 24, 24, 3, 5, (2, 1), (1, 2), (1, 1), 6),  # groups of four, which share a vector, and
    (1, 6, 11, 15, 10, 3, 4, (1, 2), (2, 0), (2, 3), 5),  # of three to two, which do not
]


# Layers of ResNet and VGG: label -> a case as above.
_LAYERS = {
    "3×3, 64 to 64": (8, 56, 56, 64, 64, 3, 3, (1, 1), (1, 1), (1, 1), 1),
    "1×1, 256 to 64": (8, 56, 56, 256, 64, 1, 1, (1, 1), (0, 0), (1, 1), 1),
    "3×3, 512 to 512": (8, 14, 14, 512, 512, 3, 3, (1, 1), (1, 1), (1, 1), 1),
    "7×7 stride 2, 3 to 64": (8, 224, 224, 3, 64, 7, 7, (2, 2), (3, 3), (1, 1), 1),
}


def _arrays(rng, dtype, n, h, w, c, o, kh, kw, stride, padding, dilation, groups):
    oh = (h + 2 * padding[0] - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    ow = (w + 2 * padding[1] - dilation[1] * (kw - 1) - 1) // stride[1] + 1
    shapes = (n, h, w, c), (kh, kw, c // groups, o), (n, oh, ow, o)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes], (stride, padding, dilation, groups)


def _cases(rng, dtype):
    for case in _CASES:
        yield _arrays(rng, dtype, *case)


def _forward_samples(rng, dtype, cases=_cases):
    for (x, w, y), geometry in cases(rng, dtype):
        yield x, w, rng.standard_normal(y.shape[3]).astype(dtype), *geometry, np.empty_like(y)


def _forward_add_relu_samples(rng, dtype, cases=_cases):
    for x, w, bias, *geometry, y in _forward_samples(rng, dtype, cases):
        yield x, w, bias, rng.standard_normal(y.shape).astype(dtype), *geometry, y


def _input_grad_samples(rng, dtype, cases=_cases):
    for (x, w, gy), geometry in cases(rng, dtype):
        yield gy, w, *geometry, np.empty_like(x)


def _input_grad_add_samples(rng, dtype, cases=_cases):
    for gy, w, *geometry, gx in _input_grad_samples(rng, dtype, cases):
        yield gy, w, rng.standard_normal(gx.shape).astype(dtype), *geometry, gx


def _weight_grad_samples(rng, dtype, cases=_cases):
    for (x, w, gy), geometry in cases(rng, dtype):
        yield x, gy, *geometry, np.empty_like(w)


def _workloads(samples):
    """label -> function, one for each layer: the sample that `samples` makes of it."""

    def workload(layer):
        def arguments(rng, dtype, part=1):
            case = max(1, layer[0] // part), *layer[1:]
            (args,) = samples(rng, dtype, lambda rng, dtype: [_arrays(rng, dtype, *case)])
            return args

        return arguments

    return {label: workload(layer) for label, layer in _LAYERS.items()}


def _flops(weights, pixels):
    """A product and a sum per output pixel and weight that one of its channels meets, those on the border included."""
    return 2 * pixels.size * weights.size // max(1, weights.shape[3])


def _nanoseconds(weights, pixels):
    """Of the products of each output pixel with the weights that one of its channels meets: about 20 a nanosecond."""
    return pixels.size * weights.size // max(1, weights.shape[3]) // 20


# What follows is the one place that chooses an algorithm. Figures: the time of the direct form over that of the chosen.


_exact = False


@contextmanager
def exact_convolution():
    """Within the block, convolutions are sums of products as their formula says, without Winograd's algorithm.

    Winograd's rounding errors are about those of the plain sum, but they are others, and a NaN or an infinity reaches
    all outputs of its tile (docs/performance.md). It holds for the whole process.
    """
    global _exact
    before, _exact = _exact, True
    try:
        yield
    finally:
        _exact = before


def _winograd(w, y, stride, dilation, groups):
    return not _exact and winograd.fits(w.shape, y, stride, dilation, groups)


def _rows(w_shape, y, stride, dilation, groups):
    return not _exact and winograd_rows.fits(w_shape, y, stride, dilation, groups)


def _phases(w, y, stride, dilation, groups):
    return not _exact and phases.fits(w.shape, y, stride, dilation, groups)


def _pieces(w_shape, y, stride, dilation, groups):
    return not _exact and pieces.fits(w_shape, y, stride, dilation, groups)


def _forward(x, w, bias, stride, padding, dilation, groups, y):
    _forward_finished(x, w, bias, stride, padding, dilation, groups, False, None, y)


def _forward_relu(x, w, bias, stride, padding, dilation, groups, y):
    _forward_finished(x, w, bias, stride, padding, dilation, groups, True, None, y)


def _forward_add_relu(x, w, bias, residual, stride, padding, dilation, groups, y):
    _forward_finished(x, w, bias, stride, padding, dilation, groups, True, residual, y)


def _forward_finished(x, w, bias, stride, padding, dilation, groups, relu, residual, y):
    if pointwise.fits_strided(w, padding, groups) and pointwise.wins(w, stride, y):
        pointwise.forward(x, w, bias, stride, relu, residual, y)
    elif _winograd(w, y, stride, dilation, groups):  # 1.9 to 3.7; with a stride of 2 1.0 to 1.3
        winograd.forward(x, w, bias, stride, padding, relu, residual, y)
    elif _rows(w.shape, y, stride, dilation, groups):  # 1.05 to 2
        winograd_rows.forward(x, w, bias, padding, relu, residual, y)
    elif _phases(w, y, stride, dilation, groups):  # 1.2 to 1.9
        phases.forward(x, w, bias, stride, padding, relu, residual, y)
    elif _pieces(w.shape, y, stride, dilation, groups):  # 1.2 to 3.4
        pieces.forward(x, w, bias, padding, dilation, groups, relu, residual, y)
    elif narrow.fits(w.shape, groups, w.dtype):  # 1.2 to 13
        narrow.forward(x, w, bias, stride, padding, dilation, groups, relu, residual, y)
    elif im2col.forward_fits(w, y, groups):  # 1.1; 2.5 for one image
        im2col.forward(x, w, bias, stride, padding, dilation, relu, residual, y)
    else:
        direct.forward(x, w, bias, stride, padding, dilation, groups, relu, residual, y)


def _forward_relu_reference(x, w, bias, stride, padding, dilation, groups, y):
    reference.forward(x, w, bias, stride, padding, dilation, groups, y)
    relu.forward.reference(y, y)


def _forward_add_relu_reference(x, w, bias, residual, stride, padding, dilation, groups, y):
    reference.forward(x, w, bias, stride, padding, dilation, groups, y)
    relu.add_forward.reference(y, residual, y)


def input_grad_onto(start, residual, gy, w, stride, padding, dilation, groups, gx):
    """gx = start (C,) at every pixel, plus the input's gradient, plus the residual if it is not None."""
    turned = turned_shape(w.shape, groups)
    # Whether no window lies in the border altogether, which Winograd's algorithm asks for.
    inside = all(p < k * d for k, p, d in zip(w.shape[:2], padding, dilation, strict=True))
    if _phases(w, gy, stride, dilation, groups):  # 1.5 to 3.3
        phases.input_grad(start, gy, w, stride, padding, gx)
    elif inside and _rows(turned, gx, stride, dilation, groups) and winograd_rows.wins(gx):
        return winograd_rows.input_grad(start, residual, gy, w, padding, gx)  # 1.0 to 6
    elif stride != (1, 1) and _winograd(w, gy, stride, dilation, groups):
        return winograd.input_grad(start, residual, gy, w, stride, padding, gx)  # 1.1 to 1.4
    elif scatter.fits(gy, w, stride, groups):  # 1.1 to 6
        scatter.input_grad(start, gy, w, stride, padding, dilation, gx)
    elif pointwise.fits(w, stride, padding, groups):  # 1.05 to 1.6; 1.1 to 4.9 for one image
        return pointwise.input_grad(start, residual, gy, w, gx)
    elif pointwise.fits_strided(w, padding, groups):
        pointwise.input_grad_strided(start, gy, w, stride, gx)
    elif inside and _winograd(w, gx, stride, dilation, groups):
        return winograd.input_grad(start, residual, gy, w, stride, padding, gx)
    elif inside and _pieces(turned, gx, stride, dilation, groups):
        return pieces.input_grad(start, residual, gy, w, padding, dilation, groups, gx)  # 1.1 to 3.0
    elif narrow.fits(turned, groups, w.dtype, stride):  # 1.2 to 13
        return narrow.input_grad(start, residual, gy, w, stride, padding, dilation, groups, gx)
    elif direct.is_one_correlation(stride, dilation, groups):
        return direct.input_grad_of_one(start, residual, gy, w, padding, gx)
    else:
        direct.input_grad(start, gy, w, stride, padding, dilation, groups, gx)
    if residual is not None:
        add.forward.cpu(gx.reshape(-1), residual.reshape(-1), gx.reshape(-1))


def _input_grad(gy, w, stride, padding, dilation, groups, gx):
    input_grad_onto(np.zeros(gx.shape[3], gx.dtype), None, gy, w, stride, padding, dilation, groups, gx)


def _input_grad_add(gy, w, residual, stride, padding, dilation, groups, gx):
    input_grad_onto(np.zeros(gx.shape[3], gx.dtype), residual, gy, w, stride, padding, dilation, groups, gx)


def _input_grad_add_reference(gy, w, residual, stride, padding, dilation, groups, gx):
    reference.input_grad(gy, w, stride, padding, dilation, groups, gx)
    gx += residual


def _weight_grad(x, gy, stride, padding, dilation, groups, gw):
    if not _exact and winograd.weight_grad_fits(gw.shape, gy, stride, dilation, groups):
        winograd.weight_grad(x, gy, stride, padding, gw)
    elif _rows(gw.shape, gy, stride, dilation, groups):  # 1.05 to 3
        winograd_rows.weight_grad(x, gy, padding, gw)
    elif _phases(gw, gy, stride, dilation, groups):  # 1.3 to 2.0
        phases.weight_grad(x, gy, stride, padding, gw)
    elif _pieces(gw.shape, gy, stride, dilation, groups):  # 1.1 to 3.0
        pieces.weight_grad(x, gy, padding, dilation, groups, gw)
    elif narrow.weight_grad_fits(gw.shape, groups, gw.dtype):  # 4 to 46
        narrow.weight_grad(x, gy, stride, padding, dilation, groups, gw)
    elif im2col.fits(gw, groups):  # 0.95 to 2.4
        im2col.weight_grad(x, gy, stride, padding, dilation, groups, gw)
    else:
        direct.weight_grad(x, gy, stride, padding, dilation, groups, gw)


# On a GPU the two choices that follow are derived, not measured: from bytes and operations of an H100 and a T4
# (docs/gpu.md).


def _pointwise_gpu(w, stride, padding, groups):
    """1×1: cuBLAS comes nearer to the device's limits, and multiplies half on tensor cores. But what it gives has to be
    read and written once more for the bias, and only many channels make up for that.
    """
    least = 32 if w.dtype == np.float16 else 256
    return pointwise.fits(w, stride, padding, groups) and w.shape[2] >= least


def _winograd_gpu(w, y, stride, dilation, groups):
    """3×3: V and M move 44 bytes per pixel and channel of float32, which pays from 33 (A100) or 65 (H100) to 82 (T4)
    channels on; the transformed weights do from 30 tiles on; tiles that lie half beyond the image leave no gain.
    """
    if _exact or w.shape[:2] != (3, 3) or stride != (1, 1) or dilation != (1, 1) or groups != 1:
        return False
    tiles, pixels = gpu.tiles_of(y), y.shape[0] * y.shape[1] * y.shape[2]
    return min(w.shape[2:]) >= 96 and tiles >= 64 and pixels >= 8 * tiles


def _forward_gpu(x, w, bias, stride, padding, dilation, groups, y):
    _forward_finished_gpu(x, w, bias, stride, padding, dilation, groups, False, y)


def _forward_relu_gpu(x, w, bias, stride, padding, dilation, groups, y):
    _forward_finished_gpu(x, w, bias, stride, padding, dilation, groups, True, y)


def _forward_add_relu_gpu(x, w, bias, residual, stride, padding, dilation, groups, y):
    _forward_finished_gpu(x, w, bias, stride, padding, dilation, groups, False, y)
    relu.add_forward.gpu(*(array.reshape(-1) for array in (y, residual, y)))


def _forward_finished_gpu(x, w, bias, stride, padding, dilation, groups, relu, y):
    if _pointwise_gpu(w, stride, padding, groups):
        gpu.pointwise_forward(x, w, bias, relu, y)
    elif _winograd_gpu(w, y, stride, dilation, groups):
        gpu.winograd_forward(x, w, bias, padding, relu, y)
    else:
        gpu.forward(x, w, bias, stride, padding, dilation, groups, relu, y)


def input_grad_onto_gpu(start, gy, w, stride, padding, dilation, groups, gx):
    """gx = start (C,) at every pixel, nothing where it is None, plus the input's gradient."""
    if start is None and pointwise.fits(w, stride, padding, groups):
        gpu.pointwise_input_grad(gy, w, gx)
    elif _winograd_gpu(w, gx, stride, dilation, groups):
        gpu.winograd_input_grad(start, gy, w, padding, gx)
    else:
        gpu.input_grad(start, gy, w, stride, padding, dilation, groups, gx)


def _input_grad_gpu(gy, w, stride, padding, dilation, groups, gx):
    input_grad_onto_gpu(None, gy, w, stride, padding, dilation, groups, gx)


def _input_grad_add_gpu(gy, w, residual, stride, padding, dilation, groups, gx):
    _input_grad_gpu(gy, w, stride, padding, dilation, groups, gx)
    add.forward.gpu(*(array.reshape(-1) for array in (gx, residual, gx)))


def _weight_grad_gpu(x, gy, stride, padding, dilation, groups, gw):
    if pointwise.fits(gw, stride, padding, groups):
        gpu.pointwise_weight_grad(x, gy, gw)
    elif _winograd_gpu(gw, gy, stride, dilation, groups):
        gpu.winograd_weight_grad(x, gy, padding, gw)
    else:
        gpu.weight_grad(x, gy, stride, padding, dilation, groups, gw)


def _kernel(name, reference, cpu, gpu, samples, counted):
    """counted: of the arguments, the weights and the outputs (or their gradient), which say how many products it is."""
    return Kernel(
        name,
        reference=reference,
        cpu=cpu,
        gpu=gpu,
        samples=samples,
        nanoseconds=lambda *args: _nanoseconds(*counted(*args)),
        workload=_workloads(samples),
        flops=lambda *args: _flops(*counted(*args)),
    )


def _of_forward(x, w, *rest):
    return w, rest[-1]


def _of_input_grad(gy, w, *rest):
    return w, gy


def _of_weight_grad(x, gy, *rest):
    return rest[-1], gy


forward = _kernel("conv2d.forward", reference.forward, _forward, _forward_gpu, _forward_samples, _of_forward)
forward_relu = _kernel(
    "conv2d.forward_relu", _forward_relu_reference, _forward_relu, _forward_relu_gpu, _forward_samples, _of_forward
)
forward_add_relu = _kernel(
    "conv2d.forward_add_relu", _forward_add_relu_reference, _forward_add_relu, _forward_add_relu_gpu,
    _forward_add_relu_samples, _of_forward,
)  # fmt: skip
input_grad = _kernel(
    "conv2d.input_grad", reference.input_grad, _input_grad, _input_grad_gpu, _input_grad_samples, _of_input_grad
)
input_grad_add = _kernel(
    "conv2d.input_grad_add", _input_grad_add_reference, _input_grad_add, _input_grad_add_gpu,
    _input_grad_add_samples, _of_input_grad,
)  # fmt: skip
weight_grad = _kernel(
    "conv2d.weight_grad", reference.weight_grad, _weight_grad, _weight_grad_gpu, _weight_grad_samples, _of_weight_grad
)
