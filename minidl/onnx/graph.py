"""Nets as ONNX files, which other programs run.

    minidl.onnx.export(net, "net.onnx", (3, 224, 224))

The net runs twice, on two and on three random images, and every operation it called becomes a node (or a few) of the
graph: trace.py says which ran. What differs between the two graphs is what depends on the number of images. In the
shape of a reshape that is one extent, which is written as "the rest"; anywhere else, a number that followed from the
images would stand in the file as a constant, and the export stops.

The operator set is 17. Windows are written out: where ceil_mode or an adaptive size decides how far a window reaches,
the file has the padding that this gives for images of the given size.
"""

import numpy as np

from ..serialization import atomic_write
from ..tensor import Tensor
from ..trace import place, trace
from .operators import HANDLERS

OPSET = 17


def export(net, path, input_shape, batch=None):
    """Write a net in evaluation mode to an ONNX file, whole or not at all. The net stays as it is.

    Args:
        input_shape: of one image or sample, for example (3, 224, 224).
        batch: how many images the graph takes; any number where None.

    Raises:
        ValueError: a shape that the net does not take, or an operation that has no form in ONNX here, which is named
            with its module. ImportError: the package onnx is not installed.
    """
    content = build(net, input_shape, batch).SerializeToString()
    atomic_write(path, lambda temporary: _write(temporary, content))


def build(net, input_shape, batch=None):
    """The onnx.ModelProto of a net; as export."""
    onnx = _package()
    shape = tuple(input_shape)
    if not shape or any(not isinstance(n, int) or n < 1 for n in shape):
        raise ValueError(f"export: input_shape must be the positive sizes of one image, (C, H, W), got {input_shape!r}")
    if batch is not None and (not isinstance(batch, int) or batch < 1):
        raise ValueError(f"export: batch must be a positive integer or None, got {batch!r}")
    parameter = next(net.parameters(), None)
    dtype = np.dtype(np.float32) if parameter is None else parameter.dtype
    random = np.random.default_rng(0)
    graphs = [
        _Graph(onnx, net, random.standard_normal((count, *shape)).astype(dtype))
        for count in ((2, 3) if batch is None else (batch, batch))
    ]
    first, second = graphs
    _compare(first, second)
    graph = onnx.helper.make_graph(
        first.nodes,
        type(net).__name__,
        [_described(onnx, "input", *(g.passed.inputs[0] for g in graphs))],
        [
            _described(onnx, name, a, b)
            for name, a, b in zip(first.output_names, first.outputs, second.outputs, strict=True)
        ],
        [onnx.numpy_helper.from_array(np.asarray(a, order="C"), name) for name, a in first.constants.items()],
    )
    model = onnx.helper.make_model(graph, producer_name="minidl", opset_imports=[onnx.helper.make_opsetid("", OPSET)])
    model.ir_version = 8  # that of the operator set: older programs read it too
    onnx.checker.check_model(model, full_check=True)
    return model


def _package():
    try:
        import onnx
    except ImportError:
        raise ImportError("export: the package onnx is needed: pip install 'minidl[onnx]'") from None
    return onnx


def _write(path, content):
    with open(path, "wb") as file:
        file.write(content)


def _described(onnx, name, a, b):
    """An input or output; an extent that differs between the two runs is the number of images."""
    kind = onnx.helper.np_dtype_to_tensor_dtype(a.dtype)
    shape = [m if m == n else "batch" for m, n in zip(a.shape, b.shape, strict=True)]
    return onnx.helper.make_tensor_value_info(name, kind, shape)


def _compare(first, second):
    """Make one graph of both, in the first: see the head of this file."""
    if [n.SerializeToString() for n in first.nodes] != [n.SerializeToString() for n in second.nodes]:
        pairs = zip(first.nodes, second.nodes, strict=False)
        node = next((a for a, b in pairs if a != b), first.nodes[-1])
        raise ValueError(f"export: the net does something else for other images, from {node.name} ({node.op_type}) on")
    for name, a in first.constants.items():
        b = second.constants[name]
        if a is b or a.shape == b.shape and np.array_equal(a, b, equal_nan=a.dtype.kind == "f"):
            continue
        differs = np.flatnonzero(a != b) if a.shape == b.shape and name in first.shapes else ()
        if len(differs) != 1:
            raise ValueError(
                f"export: {name} follows from the images or from how many there are, but would stand in the file as a "
                "constant; compute it with operations on the input"
            )
        a[differs] = -1


class _Graph:
    """The nodes and constants of one run; the handlers of operators.py are called with it."""

    def __init__(self, onnx, net, images):
        self.onnx, self.nodes, self.constants, self.shapes = onnx, [], {}, set()
        self.state = {id(t): name for name, t in (*net.named_parameters(), *net.named_buffers())}
        self.values, self.names = {}, set()
        modes = [(module, module.training) for module in net.modules()]
        net.eval()
        try:
            self.passed = trace(net, images)
        finally:
            for module, mode in modes:
                module.training = mode
        self.values[place(self.passed.inputs[0])] = "input"
        for module, call in self.passed.calls():
            self.module = module
            self._translate(call)
        output = self.passed.output
        self.outputs = output if isinstance(output, tuple) else (output,)
        fields = getattr(output, "_fields", [f"output{i}" for i in range(len(self.outputs))])
        self.output_names = list(fields) if isinstance(output, tuple) else ["output"]
        self.module = ""
        for name, tensor in zip(self.output_names, self.outputs, strict=True):
            self.nodes.append(onnx.helper.make_node("Identity", [self.value(tensor)], [name], name=f"{name}_"))

    def _translate(self, call):
        if not any(isinstance(a, Tensor) and place(a) in self.values for a in call.args):
            return  # made of parameters alone: its result is a constant
        if call.name in ("ModuleInputs", "ModuleOutputs"):  # backward hooks: the values stay
            tensors = [a for a in call.args if isinstance(a, Tensor)]
            names = [self.value(a) for a in tensors]
        elif call.name not in HANDLERS:
            where = f"in {self.module}" if self.module else "in the net"
            raise ValueError(f"export: {call.name} ({where}) has no form in ONNX here; known are {', '.join(HANDLERS)}")
        else:
            names = HANDLERS[call.name](self, call)
            names = names if isinstance(names, list) else [names]
        for tensor, name in zip(call.outputs, names, strict=False):
            self.values[place(tensor)] = name

    def _unique(self, hint):
        name, number = hint, 1
        while name in self.names:
            name, number = f"{hint}_{number}", number + 1
        self.names.add(name)
        return name

    def value(self, tensor):
        """The name of a Tensor's value: what an earlier node gives, or a constant."""
        if place(tensor) in self.values:
            return self.values[place(tensor)]
        return self.constant(tensor.data, self.state.get(id(tensor)))

    def constant(self, array, name=None, dtype=None):
        """The name of an array in the file; the same again for a parameter that is there already."""
        if name in self.constants and self.constants[name] is array:
            return name
        name = self._unique(name or f"{self.module or 'net'}.constant")
        self.constants[name] = np.asarray(array, dtype)
        return name

    def shape(self, shape):
        """The name of a shape in which one extent may be the number of images."""
        name = self.constant(np.array(shape, np.int64), f"{self.module or 'net'}.shape")
        self.shapes.add(name)
        return name

    def integers(self, values):
        return self.constant(np.array(values, np.int64))

    def operand(self, value, dtype):
        """The name of a Tensor, or of a Python number as a constant."""
        return self.value(value) if isinstance(value, Tensor) else self.constant(np.array(value, dtype))

    def add(self, op, *inputs, outputs=1, **attributes):
        """Add a node; returns the name of its output, or a list of them."""
        name = self._unique(f"{self.module or 'net'}.{op}")
        names = [name] if outputs == 1 else [f"{name}.{i}" for i in range(outputs)]
        self.nodes.append(self.onnx.helper.make_node(op, list(inputs), names, name=name, **attributes))
        return names[0] if outputs == 1 else names

    def numbers(self, value, channels, dtype, otherwise):
        """The name of a parameter that may be absent: then `otherwise` everywhere."""
        return self.constant(np.full(channels, otherwise, dtype)) if value is None else self.value(value)
