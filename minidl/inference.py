"""A net for inference alone: batch norms folded into the convolutions before them, residuals and ReLUs along with them.
Images are flattened as they lie in memory, for linear layers with their weights in that order.

In evaluation a batch norm is y = x * s + t with s = weight / sqrt(running_var + eps) and t = bias - running_mean * s,
two numbers per channel. After a convolution x = W * input + b that is the convolution (s W) * input + (s b + t).
"""

import copy
from collections import Counter

import numpy as np

from . import nn, ops
from .cuda import send
from .kernels import use_kernels
from .plan import PlannedForward
from .tensor import Tensor
from .trace import place, trace

_SIZES = 224, 32, 28, 64, 512  # rows and columns that are tried where no shape is given


class FoldedConv2d(nn.Module):
    """A convolution with a batch norm in its weights. It stands where the batch norm stood, and takes its arguments."""

    def __init__(self, conv, weight, bias):
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight, False), nn.Parameter(bias, False)
        self.geometry = conv.stride, conv.padding, conv.dilation, conv.groups

    def forward(self, input, relu=False, residual=None):
        if residual is not None and not relu:
            raise ValueError("FoldedConv2d: residual goes with relu=True")
        if relu:
            return ops.conv2d_relu(input, self.weight, self.bias, *self.geometry, residual)
        return ops.conv2d(input, self.weight, self.bias, *self.geometry)

    forward.fuses_relu = True  # see Conv2d


class ReLUAfter(nn.Module):
    """A convolution or a linear layer and the ReLU that came next."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, input):
        return self.layer(input, relu=True)


class FlattenPixels(nn.Module):
    """(N, C, H, W) to (N, H * W * C), a view of channels-last memory; for a Linear with its weights in that order."""

    def __init__(self, shape):
        super().__init__()
        self.shape = shape  # (C, H, W)

    def forward(self, input):
        if input.shape[1:] != self.shape:  # as many numbers, which Flatten takes as they come
            input = input.flatten(1).reshape(-1, *self.shape)
        return input.permute(0, 2, 3, 1).flatten(1)


def optimize_for_inference(net, input_shape=None):
    """A copy of a net in evaluation mode that gives the same outputs, to rounding, in less time.

    Folded are batch norms whose input is the output of a convolution that nothing else sees, as one run of the net
    shows (of shapes alone, so it takes no time). The convolution then runs in the place of the batch norm, which knows
    of the residual and the ReLU that follow. A ReLU module that only ever follows convolutions and linear layers goes
    into them. Between a Flatten module and the linear layer that alone sees what it gives, an image's numbers go in the
    order of memory, (H, W, C). All else, dropout included, is as in net.eval(). The copy is not to be trained: its
    running statistics are gone.

    The copy runs its operations one after the other, without the Python between them (plan.py). The first call with
    inputs of another shape takes three times as long, as it looks which operations there are. What forward does beside
    them (to print, to fill a list) then happens no more, unless a hook does it.

    Args:
        input_shape: (C, H, W) of images that the net takes; by default net.in_channels and a usual size.

    Raises:
        ValueError: no usual size fits, or the net does not take the shape. TypeError: net is no Module.
    """
    if not isinstance(net, nn.Module):
        raise TypeError(f"optimize_for_inference: net must be a Module, got {type(net).__name__}")
    net = copy.deepcopy(net).eval()
    for parameter in net.parameters():
        parameter.requires_grad_(True)  # what is traced is what autograd sees
    calls = list(_traced(net, input_shape).calls())
    for parameter in net.parameters():
        parameter.requires_grad_(False)
        parameter.grad = None
    runs = Counter(name for name, call in calls if call.name in ("Conv2d", "Linear", "BatchNorm", "Reshape"))
    steps = _with_sources(calls, runs)
    for name, call, source in steps:
        foldable = call.name == "BatchNorm" and runs[name] == 1 and source is not None
        if foldable and isinstance(net.get_submodule(source), nn.Conv2d):
            _fold(net, source, name)
    _flatten_as_in_memory(net, steps, runs)
    _put_relus_into_layers(net, steps)
    net.forward = PlannedForward(net)
    return net


def _with_sources(calls, runs):
    """(module, call, source) of each call; source: the layer whose output this call takes, and no other.

    None where another takes it too, or where the layer runs more than once.
    """
    made, used, steps = {}, Counter(), []
    for name, call in calls:
        made.update((place(output), name) for output in call.outputs)
        used.update(place(argument) for argument in call.args if isinstance(argument, Tensor))
    for name, call in calls:
        taken = place(call.args[0]) if isinstance(call.args[0], Tensor) else None
        source = made.get(taken)
        alone = source is not None and used[taken] == runs[source] == 1
        steps.append((name, call, source if alone else None))
    return steps


def _flatten_as_in_memory(net, steps, runs):
    reshapes = [(name, call) for name, call, _ in steps if call.name == "Reshape" and call.outputs[0].ndim == 2]
    flattened = {name: call.args[0].shape[1:] for name, call in reshapes}
    for name, call, source in steps:
        if call.name != "Linear" or runs[name] != 1 or len(flattened.get(source, ())) != 3:
            continue
        flatten, linear = net.get_submodule(source), net.get_submodule(name)
        layers = type(flatten) is nn.Flatten and flatten.start_dim == 1 and type(linear) is nn.Linear
        if layers and sum(value is linear.weight for _, call, _ in steps for value in call.args) == 1:
            shape = flattened[source]
            weight = linear.weight.data.T.reshape(*shape, -1).transpose(1, 2, 0, 3)  # to (H, W, C, O), which memory is
            linear.weight = nn.Parameter(weight.reshape(-1, weight.shape[-1]).T, False)
            _replace(net, source, FlattenPixels(shape).eval())


def _put_relus_into_layers(net, steps):
    """Each ReLU module that only ever follows convolutions and linear layers."""
    sources = {}  # ReLU -> what it follows, a layer's name or None, each time it runs
    for name, call, source in steps:
        if call.name == "ReLU" and type(net.get_submodule(name)) is nn.ReLU:
            sources.setdefault(name, []).append(source)
    for name, before in sources.items():
        kinds = {None if source is None else type(net.get_submodule(source)) for source in before}
        if kinds <= {nn.Conv2d, nn.Linear}:
            for source in before:
                _replace(net, source, ReLUAfter(net.get_submodule(source)).eval())
            _replace(net, name, nn.Identity().eval())


def _traced(net, input_shape):
    if input_shape is not None:
        shapes = [tuple(input_shape)]
    else:
        channels = getattr(net, "in_channels", None) or next(
            (m.in_channels for m in net.modules() if isinstance(m, nn.Conv2d)), 3
        )
        shapes = [(channels, size, size) for size in _SIZES]
    parameter = next(net.parameters(), None)
    dtype = np.float32 if parameter is None else parameter.dtype
    reason = None
    for c, h, w in shapes:
        try:
            with use_kernels("none"), np.errstate(all="ignore"):
                image = np.zeros((1, h, w, c), dtype).transpose(0, 3, 1, 2)
                return trace(net, image if parameter is None else send(image, parameter.device))
        except ValueError as error:
            reason = reason or error
    raise ValueError(f"optimize_for_inference: say which input_shape (C, H, W) the net takes: {reason}")


def _fold(net, source, name):
    """Put the convolution `source` into the batch norm `name`."""
    conv, norm = net.get_submodule(source), net.get_submodule(name)
    mean, var = (t.data.astype(np.float64) for t in (norm.running_mean, norm.running_var))
    scale = (1.0 if norm.weight is None else norm.weight.data) / np.sqrt(var + norm.eps)
    shift = (0.0 if norm.bias is None else norm.bias.data) - mean * scale
    bias = shift if conv.bias is None else shift + conv.bias.data * scale
    weight = conv.weight.data.transpose(2, 3, 1, 0)  # as kernels take it: CuPy would lay a product out in rows
    folded = (weight * scale).astype(weight.dtype).transpose(3, 2, 0, 1)
    _replace(net, source, nn.Identity().eval())
    _replace(net, name, FoldedConv2d(conv, folded, bias.astype(folded.dtype)).eval())


def _replace(net, path, module):
    parent, _, name = path.rpartition(".")
    net.get_submodule(parent).add_module(name, module)
