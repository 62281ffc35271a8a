"""Two-dimensional convolution (cross-correlation), as in LeCun et al. 1998, section II.A, and PyTorch's conv2d.

    y[n, o, i, j] = b[o] + sum over c, u, v of  x[n, c, i*s + u*d - p, j*s + v*d - p] * w[o, c, u, v]

It is linear in x and in w. The two gradients are linear as well, each in the two factors it is made of, so the three
operations below are closed: the derivative of each is written with the others, to any order.
"""

import numpy as np

from ..function import Function
from ..kernels import channel_sum, contiguous, empty
from ..kernels import conv2d as kernel
from ._common import as_tensor, has_kernel, pair
from .relu import is_small, masked


def nhwc(x):
    """The channels-last array behind (N, C, H, W): itself if memory is laid out so, else a copy (at the net's door)."""
    return contiguous(x.transpose(0, 2, 3, 1))


def hwio(w):
    """The (KH, KW, C/groups, O) array behind weights (O, C/groups, KH, KW)."""
    return contiguous(w.transpose(2, 3, 1, 0))


def nchw(y):
    """The (N, C, H, W) view of a channels-last array."""
    return y.transpose(0, 3, 1, 2)


class Conv2d(Function):
    """geometry is (stride, padding, dilation, groups), the first three as pairs."""

    on_arrays = adds_onto = gives_new = True

    @staticmethod
    def forward(ctx, x, w, bias, geometry):
        need_x, need_w = ctx.needs_input_grad[:2]
        ctx.save_for_backward(x if need_w else None, w if need_x else None)
        return _output(ctx, kernel.forward, x, w, bias, geometry)

    @staticmethod
    def backward(ctx, grad):
        return _gradients(ctx, grad, *ctx.saved_tensors)


class Conv2dReLU(Function):
    """max(Conv2d + residual, 0): what is below zero is never stored."""

    on_arrays = adds_onto = gives_new = True

    @staticmethod
    def forward(ctx, x, w, bias, geometry, residual):
        need_x, need_w = ctx.needs_input_grad[:2]
        if residual is None:
            y = _output(ctx, kernel.forward_relu, x, w, bias, geometry)
        else:
            y = _output(ctx, kernel.forward_add_relu, x, w, bias, geometry, nhwc(residual))
        ctx.save_for_backward(x if need_w else None, w if need_x else None, y)
        return y

    @staticmethod
    def backward(ctx, grad):
        x, w, y = ctx.saved_tensors
        sums = None
        if ctx.needs_input_grad[2] and type(y) is np.ndarray and not is_small(y):
            grad, sums = _masked_and_summed(grad, y)
        else:
            grad = masked(grad, y)
        return *_gradients(ctx, grad, x, w, sums), None, grad if ctx.needs_input_grad[4] else None


def _masked_and_summed(grad, y):
    """NumPy arrays: the gradient where the ReLU that gave y let it pass, and its sum per channel.

    On a GPU it would be as many launches as the two operations.
    """
    images, sums = nhwc(y), np.empty(y.shape[1], y.dtype)
    passed = empty(images.shape, y.dtype)
    channel_sum.masked(*(a.reshape(-1, y.shape[1]) for a in (nhwc(grad), images, passed)), sums)
    return nchw(passed), sums


def _output(ctx, forward, x, w, bias, geometry, *residual):
    ctx.shapes, ctx.geometry = (x.shape, w.shape), geometry
    stride, padding, dilation, _ = geometry
    size = _output_size(x.shape[2:], w.shape[2:], stride, padding, dilation)
    y = empty((len(x), *size, len(w)), x.dtype, x)
    bias = np.zeros(len(w), x.dtype, like=x) if bias is None else contiguous(bias)
    forward(nhwc(x), hwio(w), bias, *residual, *geometry, y)
    return nchw(y)


def _gradients(ctx, grad, x, w, sums=None):
    """The bias's is `sums` where that is known."""
    need_x, need_w, need_bias = ctx.needs_input_grad[:3]
    return (
        Conv2dInputGrad.call(grad, w, ctx.geometry, ctx.shapes[0], *ctx.take_onto()) if need_x else None,
        Conv2dWeightGrad.call(x, grad, ctx.geometry, ctx.shapes[1]) if need_w else None,
        ChannelSum.call(grad) if need_bias and sums is None else sums,
    )


class Conv2dInputGrad(Function):
    """gx: every output pixel sends its gradient, times the weights, back to the pixels it saw.

    onto: an array that is added, in one pass over memory instead of three more; not where it is recorded.
    """

    @staticmethod
    def forward(ctx, grad, w, geometry, shape, onto=None):
        ctx.save_for_backward(grad, w)
        ctx.geometry = geometry
        n, c, h, wd = shape
        gx = empty((n, h, wd, c), grad.dtype, grad)
        if onto is None:
            kernel.input_grad(nhwc(grad), hwio(w), *geometry, gx)
        else:
            kernel.input_grad_add(nhwc(grad), hwio(w), nhwc(onto), *geometry, gx)
        return nchw(gx)

    @staticmethod
    def backward(ctx, gg):
        grad, w = ctx.saved_tensors
        need_grad, need_w = ctx.needs_input_grad[:2]
        return (
            Conv2d.apply(gg, w, None, ctx.geometry) if need_grad else None,
            Conv2dWeightGrad.apply(gg, grad, ctx.geometry, w.shape) if need_w else None,
        )


class Conv2dWeightGrad(Function):
    """gw: a weight receives the products of the output gradients with the pixels it met."""

    @staticmethod
    def forward(ctx, x, grad, geometry, shape):
        ctx.save_for_backward(x, grad)
        ctx.geometry = geometry
        o, c, kh, kw = shape
        gw = empty((kh, kw, c, o), x.dtype, x)
        kernel.weight_grad(nhwc(x), nhwc(grad), *geometry, gw)
        return gw.transpose(3, 2, 0, 1)

    @staticmethod
    def backward(ctx, gg):
        x, grad = ctx.saved_tensors
        need_x, need_grad = ctx.needs_input_grad[:2]
        return (
            Conv2dInputGrad.apply(grad, gg, ctx.geometry, x.shape) if need_x else None,
            Conv2d.apply(x, gg, None, ctx.geometry) if need_grad else None,
        )


class ChannelSum(Function):
    """(N, C, H, W) to (C,): what a bias that is added to every pixel receives."""

    @staticmethod
    def forward(ctx, grad):
        ctx.shape = grad.shape
        y = np.empty(grad.shape[1], grad.dtype, like=grad)
        channel_sum.forward(nhwc(grad).reshape(-1, grad.shape[1]), y)
        return y

    @staticmethod
    def backward(ctx, gg):
        return gg.reshape(1, -1, 1, 1).expand(ctx.shape)


def check_groups(name, groups):
    if not isinstance(groups, int) or isinstance(groups, bool) or groups < 1:
        raise ValueError(f"{name}: groups must be a positive integer, got {groups!r}")


def check_dtypes(name, input, weight, bias):
    dtypes = [t.dtype for t in (input, weight, bias) if t is not None]
    if len(set(dtypes)) > 1 or not has_kernel(input._data):
        raise TypeError(
            f"{name}: input, weight and bias must all be float32 or all float64, got {', '.join(map(str, dtypes))}"
        )


def _output_size(size, kernel_size, stride, padding, dilation):
    (h, w), (kh, kw), (top, left), (down, across) = size, kernel_size, padding, dilation
    rows, columns = h + 2 * top - down * (kh - 1) - 1, w + 2 * left - across * (kw - 1) - 1
    return rows // stride[0] + 1, columns // stride[1] + 1


def conv2d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """Slide kernels over images.

    Args:
        input: (N, C, H, W), or (C, H, W) for one image.
        weight: (O, C/groups, KH, KW).
        bias: (O,) or None.
        stride, dilation: int or pair (rows, columns), at least 1: pixels between outputs, between kernel elements.
        padding: int or pair of zeros added on each side, "valid" (none) or "same" (output as large as input; stride 1).
        groups: the channels are cut into this many independent convolutions.

    Returns:
        (N, O, OH, OW), OH = (H + 2*padding - dilation*(KH-1) - 1) // stride + 1.

    Raises:
        ValueError: shapes or sizes that do not fit. TypeError: dtypes that differ or are not floating-point.
    """
    return _convolve(Conv2d, input, weight, bias, stride, padding, dilation, groups)


def conv2d_relu(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, residual=None):
    """relu(conv2d(…) + residual) in one pass over memory less each way, or two: the end of a residual block.

    residual: shaped as the output, or None. The other arguments and errors are conv2d's.
    """
    return _convolve(Conv2dReLU, input, weight, bias, stride, padding, dilation, groups, residual)


def _convolve(function, input, weight, bias, stride, padding, dilation, groups, *residual):
    input, weight = as_tensor("conv2d", input), as_tensor("conv2d", weight)
    bias = None if bias is None else as_tensor("conv2d", bias)
    if input.ndim == 3:
        residual = [r if r is None else as_tensor("conv2d", r).unsqueeze(0) for r in residual]
        return _convolve(
            function, input.unsqueeze(0), weight, bias, stride, padding, dilation, groups, *residual
        ).squeeze(0)
    shape, (o, channels, *kernel_size) = input.shape, weight.shape if weight.ndim == 4 else (0, 0)
    if len(shape) != 4 or not kernel_size:
        raise ValueError(
            f"conv2d: input must be (N, C, H, W) and weight (O, C/groups, KH, KW), got {shape} and {weight.shape}"
        )
    stride, dilation = pair("conv2d", "stride", stride, 1), pair("conv2d", "dilation", dilation, 1)
    check_groups("conv2d", groups)
    if channels * groups != shape[1]:
        raise ValueError(
            f"conv2d: in_channels of weight (={channels}) × groups (={groups}) must equal the input's channels "
            f"(={shape[1]})"
        )
    if o % groups:
        raise ValueError(f"conv2d: out_channels of weight (={o}) must be divisible by groups (={groups})")
    if 0 in kernel_size or not o:
        raise ValueError(
            f"conv2d: weight must have an output channel and a kernel of a pixel, its shape is {weight.shape}"
        )
    check_dtypes("conv2d", input, weight, bias)
    if bias is not None and bias.shape != (o,):
        raise ValueError(f"conv2d: bias must have shape {(o,)}, got {bias.shape}")
    if isinstance(padding, str):
        input, padding = _named_padding(input, kernel_size, padding, stride, dilation)
        shape = input.shape
    padding = pair("conv2d", "padding", padding, 0)
    size = _output_size(shape[2:], kernel_size, stride, padding, dilation)
    if min(size) < 1:
        seen = [d * (k - 1) + 1 for k, d in zip(kernel_size, dilation, strict=True)]
        padded = [n + 2 * p for n, p in zip(shape[2:], padding, strict=True)]
        raise ValueError(
            f"conv2d: the kernel covers {seen[0]}×{seen[1]} pixels (with dilation), more than the padded input's "
            f"{padded[0]}×{padded[1]}"
        )
    if residual and residual[0] is not None:
        residual = [as_tensor("conv2d", residual[0])]
        if residual[0].shape != (shape[0], o, *size) or residual[0].dtype != input.dtype:
            raise ValueError(
                f"conv2d: residual must be {input.dtype} of the output's shape {(shape[0], o, *size)}, got "
                f"{residual[0].dtype} {residual[0].shape}"
            )
    return function.apply(input, weight, bias, (stride, padding, dilation, groups), *residual)


def _named_padding(input, kernel_size, padding, stride, dilation):
    if padding == "valid":
        return input, 0
    if padding != "same":
        raise ValueError(f"conv2d: padding must be a size, 'valid' or 'same', got {padding!r}")
    if stride != (1, 1):
        raise ValueError(f"conv2d: padding='same' needs stride 1, got {stride}")
    total = [d * (k - 1) for k, d in zip(kernel_size, dilation, strict=True)]
    if any(t % 2 for t in total):  # the odd zero goes after the image, as in PyTorch
        from .joining import cat

        for axis, extra in ((2, total[0] % 2), (3, total[1] % 2)):
            shape = [extra if a == axis else n for a, n in enumerate(input.shape)]
            input = cat([input, as_tensor("conv2d", np.zeros(shape, input.dtype, like=input._data))], axis)
    return input, tuple(t // 2 for t in total)
