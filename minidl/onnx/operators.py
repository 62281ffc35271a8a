"""What each Function becomes in an ONNX graph: one handler per operation.

A handler is called with the graph (graph.py) and the Call, adds nodes, and returns the name of its value, or a list of
names. graph.value names a Tensor, graph.constant an array, graph.add a new node's output.
"""

import math

import numpy as np

from ..tensor import Tensor

HANDLERS = {}


def _handles(*names):
    def register(function):
        HANDLERS.update(dict.fromkeys(names, function))
        return function

    return register


def _plain(name, op):
    """Operations of Tensors and numbers that ONNX has under some name."""

    @_handles(name)
    def handle(graph, call):
        dtype = call.outputs[0].dtype
        return graph.add(op, *(graph.operand(a, dtype) for a in call.args))


for _name, _op in {
    "Add": "Add", "Sub": "Sub", "Mul": "Mul", "Div": "Div", "Pow": "Pow", "Neg": "Neg", "MatMul": "MatMul",
    "ReLU": "Relu", "Tanh": "Tanh", "Sigmoid": "Sigmoid", "Exp": "Exp", "Log": "Log", "Sqrt": "Sqrt", "Abs": "Abs",
    "Reciprocal": "Reciprocal", "Erf": "Erf", "GlobalAvgPool2d": "GlobalAveragePool",
}.items():  # fmt: skip
    _plain(_name, _op)


@_handles("AddReLU")
def _add_relu(graph, call):
    return graph.add("Relu", graph.add("Add", *map(graph.value, call.args)))


@_handles("Square")
def _square(graph, call):
    x = graph.value(call.args[0])
    return graph.add("Mul", x, x)


@_handles("Rsqrt")
def _rsqrt(graph, call):
    return graph.add("Reciprocal", graph.add("Sqrt", graph.value(call.args[0])))


@_handles("Erfc")
def _erfc(graph, call):
    one = graph.constant(np.array(1, call.outputs[0].dtype))
    return graph.add("Sub", one, graph.add("Erf", graph.value(call.args[0])))


@_handles("SiLU")
def _silu(graph, call):
    x = graph.value(call.args[0])
    return graph.add("Mul", x, graph.add("Sigmoid", x))


@_handles("GELU")
def _gelu(graph, call):
    """x (1 + erf(x / sqrt 2)) / 2."""
    x, half, one, root = _with_constants(graph, call, 0.5, 1, math.sqrt(0.5))
    below = graph.add("Add", one, graph.add("Erf", graph.add("Mul", x, root)))
    return graph.add("Mul", graph.add("Mul", half, x), below)


@_handles("GELUTanh")
def _gelu_tanh(graph, call):
    """x sigmoid(v), v = x (c + c k x^2), c = 2 sqrt(2 / pi), k = 0.044715."""
    c = 2 * math.sqrt(2 / math.pi)
    x, linear, cubic = _with_constants(graph, call, c, 0.044715 * c)
    slope = graph.add("Add", linear, graph.add("Mul", cubic, graph.add("Mul", x, x)))
    return graph.add("Mul", x, graph.add("Sigmoid", graph.add("Mul", x, slope)))


def _with_constants(graph, call, *numbers):
    """The names of an operation's input and of numbers in its dtype."""
    x = call.args[0]
    return graph.value(x), *(graph.constant(np.array(number, x.dtype)) for number in numbers)


@_handles("LeakyReLU")
def _leaky_relu(graph, call):
    return graph.add("LeakyRelu", graph.value(call.args[0]), alpha=float(call.args[1]))


@_handles("Elu")
def _elu(graph, call):
    return graph.add("Elu", graph.value(call.args[0]), alpha=float(call.args[1]))


@_handles("Softplus")
def _softplus(graph, call):
    """Past the threshold ours is x itself, which differs from the formula by less than e^-20."""
    x, beta, _ = call.args
    name, beta = graph.value(x), graph.constant(np.array(beta, x.dtype))
    return graph.add("Div", graph.add("Softplus", graph.add("Mul", name, beta)), beta)


@_handles("Hardtanh", "Clamp")
def _clip(graph, call):
    x, low, high = call.args
    return graph.add("Clip", graph.value(x), *("" if b is None else graph.operand(b, x.dtype) for b in (low, high)))


@_handles("Conv2d")
def _conv2d(graph, call):
    x, weight, bias, (stride, padding, dilation, groups) = call.args[:4]
    inputs = [graph.value(t) for t in (x, weight, bias) if t is not None]
    return graph.add(
        "Conv", *inputs, kernel_shape=weight.shape[2:], strides=stride, pads=padding * 2, dilations=dilation,
        group=groups,
    )  # fmt: skip


@_handles("Conv2dReLU")
def _conv2d_relu(graph, call):
    y, residual = _conv2d(graph, call), call.args[4]
    return graph.add("Relu", y if residual is None else graph.add("Add", y, graph.value(residual)))


@_handles("ConvTranspose2d")
def _conv_transpose2d(graph, call):
    x, weight, bias, (stride, padding, dilation, groups), size = call.args
    least = [
        (n - 1) * s - 2 * p + d * (k - 1) + 1
        for n, s, p, d, k in zip(x.shape[2:], stride, padding, dilation, weight.shape[2:], strict=True)
    ]
    return graph.add(
        "ConvTranspose", *(graph.value(t) for t in (x, weight, bias) if t is not None), kernel_shape=weight.shape[2:],
        strides=stride, pads=padding * 2, dilations=dilation, group=groups,
        output_padding=[m - n for m, n in zip(size, least, strict=True)],
    )  # fmt: skip


@_handles("Linear")
def _linear(graph, call):
    x, weight, bias = call.args
    if x.ndim == 2:
        return graph.add("Gemm", *(graph.value(t) for t in (x, weight, bias) if t is not None), transB=1)
    y = graph.add("MatMul", graph.value(x), graph.add("Transpose", graph.value(weight), perm=[1, 0]))
    return y if bias is None else graph.add("Add", y, graph.value(bias))


@_handles("LinearReLU")
def _linear_relu(graph, call):
    return graph.add("Relu", _linear(graph, call))


@_handles("Contract")
def _contract(graph, call):
    a, a_labels, b, b_labels, out = call.args
    letter = {label: chr(97 + i) for i, label in enumerate(dict.fromkeys([*a_labels, *b_labels]))}
    terms = ["".join(letter[label] for label in labels) for labels in (a_labels, b_labels, out)]
    return graph.add("Einsum", graph.value(a), graph.value(b), equation=f"{terms[0]},{terms[1]}->{terms[2]}")


def _ends(size, windows, kernel_size, stride, padding, dilation):
    """The padding after each axis that lets the last window be whole: more than was asked for with ceil_mode."""
    return [
        max(p, (w - 1) * s + d * (k - 1) + 1 - n - p)
        for n, w, k, s, p, d in zip(size, windows, kernel_size, stride, padding, dilation, strict=True)
    ]


@_handles("MaxPool2d")
def _max_pool2d(graph, call):
    x, (kernel_size, stride, padding, dilation), size, _ = call.args
    ends = _ends(x.shape[2:], size, kernel_size, stride, padding, dilation)
    return graph.add(
        "MaxPool", graph.value(x), kernel_shape=kernel_size, strides=stride, pads=[*padding, *ends],
        dilations=dilation,
    )  # fmt: skip


@_handles("AvgPool2d")
def _avg_pool2d(graph, call):
    """The mean of the pixels that a window holds, times what PyTorch divides by in their number's place."""
    x, (kernel_size, stride, padding, include, divisor), size = call.args
    ends = _ends(x.shape[2:], size, kernel_size, stride, padding, (1, 1))
    y = graph.add(
        "AveragePool", graph.value(x), kernel_shape=kernel_size, strides=stride, pads=[*padding, *ends],
        count_include_pad=0,
    )  # fmt: skip
    real, counted = [], []
    for n, w, k, s, p in zip(x.shape[2:], size, kernel_size, stride, padding, strict=True):
        starts = np.arange(w) * s - p
        real.append(np.minimum(starts + k, n) - np.maximum(starts, 0))
        counted.append(np.minimum(starts + k, n + p) - starts)
    real, counted = np.outer(*real), np.outer(*counted)
    divisors = np.full_like(real, divisor) if divisor else counted if include else real
    if np.array_equal(divisors, real):
        return y
    return graph.add("Mul", y, graph.constant(real / divisors, dtype=x.dtype))


@_handles("AdaptiveAvgPool2d")
def _adaptive_avg_pool2d(graph, call):
    """Windows of one size are average pooling; others are two matrices, of rows and of columns."""
    x, size = call.args
    y = graph.value(x)
    if x.shape[2:] == tuple(size):
        return y
    if not any(n % out for n, out in zip(x.shape[2:], size, strict=True)):
        window = [n // out for n, out in zip(x.shape[2:], size, strict=True)]
        return graph.add("AveragePool", y, kernel_shape=window, strides=window)
    rows, columns = (_means(n, out).astype(x.dtype) for n, out in zip(x.shape[2:], size, strict=True))
    return graph.add("MatMul", graph.constant(rows), graph.add("MatMul", y, graph.constant(columns.T)))


def _means(extent, windows):
    matrix = np.zeros((windows, extent))
    for i in range(windows):
        start, stop = i * extent // windows, -(-(i + 1) * extent // windows)
        matrix[i, start:stop] = 1 / (stop - start)
    return matrix


@_handles("BatchNorm")
def _batch_norm(graph, call):
    x, weight, bias, residual, mean, var, _, training, _, eps, relu = call.args
    if training:
        raise ValueError(
            f"export: the batch norm in {graph.module or 'the net'} normalises by the batch; it needs running "
            "statistics (track_running_stats=True)"
        )
    mean, var = (value.data if isinstance(value, Tensor) else value for value in (mean, var))
    channels, path = x.shape[1], f"{graph.module}." if graph.module else ""
    y = graph.add(
        "BatchNormalization", graph.value(x), graph.numbers(weight, channels, x.dtype, 1),
        graph.numbers(bias, channels, x.dtype, 0), graph.constant(mean, f"{path}running_mean", x.dtype),
        graph.constant(var, f"{path}running_var", x.dtype), epsilon=eps,
    )  # fmt: skip
    y = y if residual is None else graph.add("Add", y, graph.value(residual))
    return graph.add("Relu", y) if relu else y


@_handles("LayerNorm")
def _layer_norm(graph, call):
    x, weight, bias, axes, eps = call.args
    shape = x.shape[-axes:]
    scale, shift = graph.numbers(weight, shape, x.dtype, 1), graph.numbers(bias, shape, x.dtype, 0)
    return graph.add("LayerNormalization", graph.value(x), scale, shift, axis=-axes, epsilon=eps)


@_handles("GroupNorm")
def _group_norm(graph, call):
    """Instance normalization of the groups as channels, then each channel's scale and shift."""
    x, weight, bias, groups, eps, _ = call.args
    flat = graph.shape((x.shape[0], groups, math.prod(x.shape[1:]) // groups))
    one, zero = (graph.constant(np.full(groups, value, x.dtype)) for value in (1, 0))
    y = graph.add("Reshape", graph.value(x), flat)
    y = graph.add("Reshape", graph.add("InstanceNormalization", y, one, zero, epsilon=eps), graph.shape(x.shape))
    per_channel = graph.integers((1, -1, *(1,) * (x.ndim - 2)))
    for op, value in (("Mul", weight), ("Add", bias)):
        if value is not None:
            y = graph.add(op, y, graph.add("Reshape", graph.value(value), per_channel))
    return y


@_handles("LocalResponseNorm")
def _local_response_norm(graph, call):
    """ONNX divides alpha by the size; here it is the factor of the sum as it stands."""
    x, size, alpha, beta, k = call.args
    if size % 2 == 0:
        raise ValueError(
            f"export: local response norm over {size} channels in {graph.module or 'the net'}: ONNX centres windows of "
            "an even size elsewhere; only odd sizes can be exported"
        )
    return graph.add("LRN", graph.value(x), size=size, alpha=alpha * size, beta=beta, bias=k)


@_handles("Softmax", "LogSoftmax")
def _softmax(graph, call):
    return graph.add(call.name, graph.value(call.args[0]), axis=call.args[1])


@_handles("Sum")
def _sum(graph, call):
    x, axes, keepdim = call.args
    return graph.add("ReduceSum", graph.value(x), graph.integers(axes), keepdims=int(keepdim), noop_with_empty_axes=1)


@_handles("Reshape")
def _reshape(graph, call):
    return graph.add("Reshape", graph.value(call.args[0]), graph.shape(call.outputs[0].shape), allowzero=0)


@_handles("Expand")
def _expand(graph, call):
    """1 keeps an extent, so the number of images need not be said."""
    x, shape = call.args[0], call.outputs[0].shape
    own = (1,) * (len(shape) - x.ndim) + x.shape
    return graph.add(
        "Expand", graph.value(x), graph.integers([1 if m == n else n for m, n in zip(own, shape, strict=True)])
    )


@_handles("Permute")
def _permute(graph, call):
    return graph.add("Transpose", graph.value(call.args[0]), perm=call.args[1])


@_handles("Cat")
def _cat(graph, call):
    axis, *tensors = call.args
    return graph.add("Concat", *map(graph.value, tensors), axis=axis)


@_handles("Split")
def _split(graph, call):
    x, sizes, axis = call.args
    parts = graph.add("Split", graph.value(x), graph.integers(sizes), outputs=len(sizes), axis=axis)
    return parts if isinstance(parts, list) else [parts]


@_handles("ConstantPad")
def _pad(graph, call):
    x, pads, value = call.args
    widths = graph.integers([before for before, _ in pads] + [after for _, after in pads])
    return graph.add("Pad", graph.value(x), widths, graph.constant(np.array(value, x.dtype)))


@_handles("GetItem")
def _getitem(graph, call):
    x, steps = call.args
    y, shape = graph.value(x), x.shape
    for step in steps:
        y, shape = _take(graph, y, shape, list(step))
    return y


def _take(graph, y, shape, parts):
    """One step of an index: slices, then integers and arrays, then new axes."""
    if ... in [p if p is ... else None for p in parts]:
        at = next(i for i, p in enumerate(parts) if p is ...)
        given = sum(p is not None and p is not ... for p in parts)
        parts[at : at + 1] = [slice(None)] * (len(shape) - given)
    new = [i for i, p in enumerate(p for p in parts if not isinstance(p, int)) if p is None]
    parts = [p for p in parts if p is not None]
    parts += [slice(None)] * (len(shape) - len(parts))
    arrays = [axis for axis, p in enumerate(parts) if isinstance(p, np.ndarray)]
    if len(arrays) > 1 or any(parts[a].dtype.kind == "b" or parts[a].ndim != 1 for a in arrays):
        raise ValueError(
            f"export: an index in {graph.module or 'the net'} picks by masks or several arrays, which has no form here"
        )
    slices = [
        (axis, *p.indices(n))
        for axis, (p, n) in enumerate(zip(parts, shape, strict=True))
        if isinstance(p, slice) and p.indices(n) != (0, n, 1)
    ]
    if slices:
        axes, starts, stops, strides = zip(*slices, strict=True)
        stops = [np.iinfo(np.int64).min if stop < 0 else stop for stop in stops]
        y = graph.add("Slice", y, *(graph.integers(v) for v in (starts, stops, axes, strides)))
    shape = [len(range(*p.indices(n))) if isinstance(p, slice) else n for p, n in zip(parts, shape, strict=True)]
    for axis in arrays:
        y = graph.add("Gather", y, graph.integers(parts[axis]), axis=axis)
        shape[axis] = len(parts[axis])
    for axis in reversed([axis for axis, p in enumerate(parts) if isinstance(p, int)]):
        y = graph.add("Gather", y, graph.constant(np.array(parts[axis], np.int64)), axis=axis)
        del shape[axis]
    if new:
        y = graph.add("Unsqueeze", y, graph.integers(new))
        for axis in new:
            shape.insert(axis, 1)
    return y, tuple(shape)


@_handles("Astype")
def _astype(graph, call):
    return graph.add("Cast", graph.value(call.args[0]), to=graph.onnx.helper.np_dtype_to_tensor_dtype(call.args[1]))


@_handles("Clone")
def _clone(graph, call):
    return graph.value(call.args[0])
