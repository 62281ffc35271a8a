"""The ledger of a net: shapes, parameters, multiply-adds, memory and receptive field of every layer.

The net runs once, on one image, with no kernel at work (use_kernels("none")): the shapes are those that its operations
give, and to go through VGG-19 takes a fraction of a second and no memory to speak of. The counts follow from what ran:

    convolution              out pixels * out channels * (in channels / groups) * KH * KW
    transposed convolution   in pixels * in channels * (out channels / groups) * KH * KW
    linear, matmul           out elements * extent that is summed over

Biases, pooling, normalization and elementwise operations count nothing, as is usual. LeCun et al. 1998 count
connections instead: one more for every bias that is added to an output, and one for each element that average pooling
reads.

Receptive field: how many rows and columns of the image an element of the output can see, by the recurrence

    size' = size + (KH - 1) * dilation * jump        jump' = jump * stride

where jump is how far apart in the image two neighbours of the output look (Le and Borji 2017, "What are the receptive,
effective receptive, and projective fields of neurons in convolutional neural networks?", section 2). It may be greater
than the image: then the rest is padding. Where branches meet, the greatest counts.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..kernels import use_kernels
from ..tensor import Tensor
from ..trace import place, trace


class Field(NamedTuple):
    """Receptive field and jump, rows and columns each; infinite where the whole image is seen."""

    size: tuple
    jump: tuple


_PIXEL, _ALL = Field((1, 1), (1, 1)), Field((math.inf,) * 2, (math.inf,) * 2)
_VIEWS = {"Reshape", "Permute", "Expand", "GetItem", "Split", "Unbind", "Diagonal", "ModuleInputs", "ModuleOutputs"}


@dataclass(frozen=True)
class Row:
    """A layer (each time it is called), or an operation between layers.

    Attributes:
        name: the module's; "" where the net itself calls the operation. kind: its class, or the operation's.
        shape: of its output for one image. parameters: of its own, each counted once in the ledger.
        macs, connections: multiply-adds for one image; these, and those of biases and subsampling.
        memory: bytes of what it computes, for the batch; views cost none.
        field: its Field, None where it depends on no image.
        ran: False for a module with parameters that the forward pass passed by (GoogLeNet's heads in evaluation).
    """

    name: str
    kind: str
    shape: tuple
    parameters: int
    macs: int
    connections: int
    memory: int
    field: Field | None
    ran: bool = True


@dataclass(frozen=True)
class Ledger:
    """The rows and their sums."""

    rows: tuple
    input_shape: tuple  # of one image
    batch: int

    @property
    def parameters(self):
        """All parameters, those of modules that did not run included."""
        return sum(row.parameters for row in self.rows)

    @property
    def macs(self):
        """Multiply-adds for one image."""
        return sum(row.macs for row in self.rows)

    @property
    def connections(self):
        """Connections for one image, as LeCun et al. 1998 count them."""
        return sum(row.connections for row in self.rows)

    @property
    def memory(self):
        """Bytes of all that is computed for the batch: what training keeps, roughly."""
        return sum(row.memory for row in self.rows)

    def as_dict(self):
        """What JSON can hold; a receptive field of the whole image is null."""
        return {
            "input": list(self.input_shape),
            "batch": self.batch,
            "layers": [_as_dict(row) for row in self.rows],
            "parameters": self.parameters,
            "macs": self.macs,
            "connections": self.connections,
            "memory_bytes": self.memory,
        }


def ledger(net, input_shape, batch=1, training=False):
    """The Ledger of a net for images of a shape (C, H, W); memory is given for `batch` of them.

    Args:
        training: run what the net runs in training, such as auxiliary heads. The layers themselves stay in evaluation,
            so nothing is drawn and no running statistic changes.

    Raises:
        ValueError: the shape is not three positive sizes, or the net does not take it; batch less than 1.
    """
    shape = tuple(input_shape)
    if len(shape) != 3 or any(not isinstance(n, int) or n < 1 for n in shape):
        raise ValueError(f"ledger: input_shape must be (C, H, W), got {input_shape!r}")
    if batch < 1:
        raise ValueError(f"ledger: batch must be at least 1, got {batch}")
    modes = [(module, module.training) for module in net.modules()]
    parameter = next(net.parameters(), None)
    dtype = np.float32 if parameter is None else parameter.dtype
    image = np.zeros((1, *shape[1:], shape[0]), dtype).transpose(0, 3, 1, 2)
    try:
        for module, _ in modes:
            module.training = training and any(True for _ in module.children())
        with use_kernels("none"), np.errstate(all="ignore"):
            passed = trace(net, image)
    finally:
        for module, mode in modes:
            module.training = mode
    return Ledger(tuple(_rows(net, passed, batch)), shape, batch)


def _rows(net, passed, batch):
    fields = {place(tensor): _PIXEL for tensor in passed.inputs}
    counted, visited = set(), set()

    def own_parameters(module):
        new = [p for p in module._parameters.values() if p is not None and id(p) not in counted]
        counted.update(map(id, new))
        return sum(p.numel() for p in new)

    for step in passed.steps:
        for call in step.calls:
            seen = [fields[place(a)] for a in call.args if isinstance(a, Tensor) and place(a) in fields]
            if seen:
                for output in call.outputs:
                    fields[place(output)] = _field(call, _widest(seen))
        output = _first_tensor(step.output) if step.is_layer else step.calls[-1].outputs[0]
        visited.add(step.module)
        yield Row(
            step.name,
            type(step.module).__name__ if step.is_layer else step.calls[-1].name,
            () if output is None else output.shape[1:],
            0 if step.module is None else own_parameters(step.module),
            sum(map(_macs, step.calls)),
            sum(_macs(call) + _additions(call) for call in step.calls),
            batch * sum(_memory(call) for call in step.calls),
            None if output is None else fields.get(place(output)),
        )
    for name, module in net.named_modules():
        if module not in visited and (count := own_parameters(module)):
            yield Row(name, type(module).__name__, (), count, 0, 0, 0, None, ran=any(True for _ in module.children()))


def _first_tensor(value):
    while isinstance(value, tuple | list) and value:
        value = value[0]
    return value if isinstance(value, Tensor) else None


def _widest(fields):
    return Field(*(tuple(map(max, *pairs)) if len(pairs) > 1 else pairs[0] for pairs in zip(*fields, strict=True)))


def _macs(call):
    """Multiply-adds of an operation on one image."""
    args, output = call.args, call.outputs[0]
    if call.name in ("Conv2d", "Conv2dReLU"):
        return output.numel() * math.prod(args[1].shape[1:])
    if call.name == "ConvTranspose2d":
        return args[0].numel() * math.prod(args[1].shape[1:])
    if call.name in ("Linear", "LinearReLU", "MatMul"):
        return output.numel() * args[0].shape[-1]
    if call.name == "Contract":
        a, a_labels, b, b_labels, _ = args
        return math.prod(
            {**dict(zip(a_labels, a.shape, strict=True)), **dict(zip(b_labels, b.shape, strict=True))}.values()
        )
    return 0


def _additions(call):
    """What connections are more than multiply-adds: added biases, and elements that average pooling reads."""
    args, elements = call.args, call.outputs[0].numel()
    if call.name in ("Conv2d", "Conv2dReLU", "ConvTranspose2d", "Linear", "LinearReLU"):
        return elements if args[2] is not None else 0
    if call.name == "AvgPool2d":
        return elements * math.prod(args[1][0])
    if call.name == "Add":
        return elements if any(isinstance(a, Tensor) and a.requires_grad and a.is_leaf for a in args) else 0
    return 0


def _memory(call):
    return 0 if call.name in _VIEWS else sum(t.data.nbytes for t in call.outputs if t.dtype.kind == "f")


def _field(call, before):
    """What the output sees, where the inputs see `before`."""
    args, window = call.args, None
    if call.name in ("Conv2d", "Conv2dReLU"):
        stride, _, dilation, _ = args[3]
        window = args[1].shape[2:], stride, dilation
    elif call.name == "ConvTranspose2d":
        return _transposed(before, args[1].shape[2:], *(args[3][i] for i in (0, 2)))
    elif call.name == "MaxPool2d":
        kernel_size, stride, _, dilation = args[1]
        window = kernel_size, stride, dilation
    elif call.name == "AvgPool2d":
        window = *args[1][:2], (1, 1)
    elif call.name == "AdaptiveAvgPool2d":
        sizes = list(zip(args[0].shape[2:], call.outputs[0].shape[2:], strict=True))
        if all(out > 1 or n == 1 for n, out in sizes):
            # The widest window; its neighbours are n / out apart on the average.
            widest = tuple(max(-(-(i + 1) * n // out) - i * n // out for i in range(out)) for n, out in sizes)
            window = widest, tuple(n / out for n, out in sizes), (1, 1)
        else:
            return _ALL
    elif call.name == "GetItem":
        return _sliced(call, before)
    elif call.name in ("GlobalAvgPool2d", "Linear", "LinearReLU", "MatMul", "Contract", "Sum"):
        return _ALL
    if window is None:
        return before
    kernel_size, stride, dilation = window
    return Field(
        tuple(n + (k - 1) * d * j for n, k, d, j in zip(before.size, kernel_size, dilation, before.jump, strict=True)),
        tuple(_whole(j * s) for j, s in zip(before.jump, stride, strict=True)),
    )


def _transposed(before, kernel_size, stride, dilation):
    """An output element hears of at most ceil(seen / stride) neighbours, of a kernel that covers `seen`."""
    reach = [-(-(d * (k - 1) + 1) // s) - 1 for k, s, d in zip(kernel_size, stride, dilation, strict=True)]
    return Field(
        tuple(n + r * j for n, r, j in zip(before.size, reach, before.jump, strict=True)),
        tuple(_whole(j / s) for j, s in zip(before.jump, stride, strict=True)),
    )


def _sliced(call, before):
    """Steps of slices along the last two of four axes."""
    steps = call.args[1]
    if call.args[0].ndim != 4 or call.outputs[0].ndim != 4 or len(steps) != 1:
        return before
    parts = list(steps[0])
    at = next((i for i, part in enumerate(parts) if part is ...), None)
    if at is not None:
        parts[at : at + 1] = [slice(None)] * (5 - len(parts))
    parts += [slice(None)] * (4 - len(parts))
    strides = [abs(p.step or 1) if isinstance(p, slice) else 1 for p in parts[2:]]
    return Field(before.size, tuple(j * s for j, s in zip(before.jump, strides, strict=True)))


def _whole(value):
    return int(value) if value != math.inf and value == int(value) else value


def _as_dict(row):
    def pair(values):
        return None if math.inf in values else list(values)

    return {
        "name": row.name,
        "type": row.kind,
        "output": list(row.shape),
        "parameters": row.parameters,
        "macs": row.macs,
        "connections": row.connections,
        "memory_bytes": row.memory,
        "receptive_field": None if row.field is None else pair(row.field.size),
        "jump": None if row.field is None else pair(row.field.jump),
        "ran": row.ran,
    }
