"""One forward pass of a net as a list: which operation ran in which module, on which Tensors, with what result.

explain/ledger.py counts over it, onnx/ translates it. What it records is what ran: no layer has to describe itself.
"""

from dataclasses import dataclass, field

from .function import enable_grad, observe_nodes
from .tensor import Tensor


@dataclass
class Call:
    """One operation: its Function, the arguments of apply (Tensors among them) and its output Tensors."""

    function: type
    args: tuple
    outputs: tuple

    @property
    def name(self):
        """The Function's name."""
        return self.function.__name__


@dataclass
class Step:
    """A module without modules inside and the operations it called; or one operation that another module called."""

    name: str  # the module's dotted name; "" for the net itself
    module: object
    is_layer: bool  # whether it is the former
    calls: list = field(default_factory=list)
    output: object = None  # of a layer


@dataclass
class Trace:
    """All steps in order, the input Tensors and what the net returned."""

    steps: list
    inputs: tuple
    output: object

    def calls(self):
        """(name of the module, Call), in order."""
        return ((step.name, call) for step in self.steps for call in step.calls)


def place(tensor):
    """What identifies a Tensor's value within a trace, also after it was replaced in place."""
    return (id(tensor), 0) if tensor._node is None else (id(tensor._node), tensor._index)


def trace(net, *arrays):
    """Run a net on arrays and record all operations whose result depends on them or on a parameter that is trained.

    The net is left as it was, but for what its layers do in training mode.
    """
    steps, stack, handles = [], [(None, "", False)], []

    def enter(module, name, is_layer):
        stack.append((module, name, is_layer))
        if is_layer:
            steps.append(Step(name, module, True))

    def leave(is_layer, output):
        stack.pop()
        if is_layer:
            steps[-1].output = output

    def observe(node, outputs, args):
        module, name, is_layer = stack[-1]
        if not is_layer:
            steps.append(Step(name, module, False))
        steps[-1].calls.append(Call(type(node), args, outputs))

    inputs = tuple(Tensor(array, requires_grad=True) for array in arrays)
    try:
        for name, module in net.named_modules():
            is_layer = not any(True for _ in module.children())
            handles += [
                module.register_forward_pre_hook(
                    lambda module, _, name=name, is_layer=is_layer: enter(module, name, is_layer), prepend=True
                ),
                module.register_forward_hook(lambda module, _, output, is_layer=is_layer: leave(is_layer, output)),
            ]
        with enable_grad(), observe_nodes(observe):
            output = net(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    return Trace(steps, inputs, output)
