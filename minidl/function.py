"""Function: an operation and, applied, a node of the graph; the backward pass over that graph.

Every operation on Tensors that require gradients leaves a node: it knows which nodes (or leaf Tensors) its inputs came
from, and what its backward needs. `backward` turns the gradient of a node's outputs into the gradients of its inputs,
`run_backward` does so from the outputs back to the leaves. Gradients are Tensors and backward is written with the same
operations as forward, so a gradient can be differentiated again (create_graph=True).
"""

import itertools
import threading
import traceback
import weakref
from contextlib import ContextDecorator

import numpy as np

from . import tensor as _tensor  # the one circular import of the house: each needs the other's class

# ---- modes ---------------------------------------------------------------------------------------------------------


class _Modes(threading.local):
    grad = True
    anomaly = False


_modes = _Modes()


class _Mode(ContextDecorator):
    """A switch for the current thread: a context manager, or a decorator that switches during each call."""

    def __init__(self, name, value):
        self._name, self._value, self._previous = name, value, []

    def __enter__(self):
        self._previous.append(getattr(_modes, self._name))
        setattr(_modes, self._name, self._value)
        return self

    def __exit__(self, *exception):
        setattr(_modes, self._name, self._previous.pop())

    def _recreate_cm(self):  # a decorated function may run in several threads at once
        return _Mode(self._name, self._value)


def no_grad():
    """Record no graph in the with block (or the decorated function): results do not require gradients."""
    return _Mode("grad", False)


def enable_grad():
    """Record the graph in the with block (or the decorated function), also inside no_grad."""
    return _Mode("grad", True)


def set_grad_enabled(mode):
    """enable_grad() if mode else no_grad()."""
    return _Mode("grad", bool(mode))


def is_grad_enabled():
    """Whether operations of this thread record the graph."""
    return _modes.grad


def detect_anomaly():
    """Within the block, a backward pass that produces NaN or Inf raises and names the line of the forward operation.

    Both the forward and the backward pass must run inside. It keeps a stack trace per operation: slow, to find bugs.
    """
    return _Mode("anomaly", True)


# ---- a node of the graph -------------------------------------------------------------------------------------------

_next_sequence = itertools.count().__next__


class Function:
    """An operation with its derivative. Subclass it, write `forward` and `backward`, call `apply`.

        class Square(Function):
            @staticmethod
            def forward(ctx, x):                  # x: a NumPy array
                ctx.save_for_backward(x)
                return x * x                      # an array, or a tuple of arrays

            @staticmethod
            def backward(ctx, grad):              # grad: a Tensor shaped like the output
                (x,) = ctx.saved_tensors          # Tensors
                return 2 * x * grad               # one gradient per input of forward; None where there is none

        y = Square.apply(x)

    `ctx` is the node. Write backward with Tensor operations and it can be differentiated again; gradients returned as
    NumPy arrays cannot, and a second differentiation says so. Gradients of trailing inputs that are no Tensors may be
    left out. What is not a Tensor (sizes, masks) may be kept as an attribute of ctx.

    Attributes of ctx:
        needs_input_grad: tuple of bool, one per input of forward.
        saved_tensors: what was saved, as Tensors.
    """

    _saved = ()
    _freed = False
    _hooks = None  # index of an output -> its hooks
    _retained = None  # index of an output -> weak reference to the Tensor whose .grad is kept
    _trace = None  # the stack of the forward call, under detect_anomaly
    _to_save = ()

    @staticmethod
    def forward(ctx, *inputs):
        """Arrays in, an array or a tuple of arrays out."""
        raise NotImplementedError("a Function needs a static method forward(ctx, *inputs)")

    @staticmethod
    def backward(ctx, *grad_outputs):
        """Gradients of the outputs in, gradients of the inputs out."""
        raise NotImplementedError("a Function needs a static method backward(ctx, *grad_outputs)")

    def save_for_backward(self, *arrays):
        """Keep arrays until the backward pass. An input or an output is kept with its place in the graph."""
        self._to_save = arrays

    @property
    def saved_tensors(self):
        """The saved arrays as Tensors, in order.

        Raises:
            RuntimeError: the graph was freed by an earlier pass, a saved Tensor was changed in place since, or the
                gradient is to be differentiated again and a saved array is neither an input nor an output.
        """
        if self._freed:
            raise RuntimeError(
                f"backward through {self.name} a second time: what it saved was freed by the first pass. "
                "Pass retain_graph=True to the first backward() or grad()."
            )
        return tuple(self._restore(number, *entry) for number, entry in enumerate(self._saved))

    def _restore(self, number, value, index, version, counter):
        if counter is not None and counter.value != version:
            raise RuntimeError(
                f"Tensor number {number} that {self.name} saved for its backward (shape {value.shape}) was changed in "
                f"place afterwards by {counter.last}; use an operation that returns a new Tensor, or change a copy"
            )
        if isinstance(value, _tensor.Tensor):
            return value
        if index is not None:
            return _tensor.wrap(value, self, index, counter)
        if not isinstance(value, np.ndarray | np.generic):
            return value
        if _modes.grad and value.dtype.kind in "fc":
            raise RuntimeError(
                f"{self.name} cannot be differentiated twice: array number {number} that it saved is neither an input "
                "nor an output, so its own derivative is unknown. Compute it in backward, or keep a constant as "
                "attribute of ctx."
            )
        return _tensor.wrap(np.asarray(value), None, 0)

    @property
    def name(self):
        """The operation's name, for messages."""
        return type(self).__name__

    def __repr__(self):
        return f"<{self.name}>"

    def output_hooks(self, index):
        """The hooks of one output, to add to."""
        if self._hooks is None:
            self._hooks = {}
        return self._hooks.setdefault(index, {})

    def retain_output(self, index, tensor):
        """Let the backward pass set .grad of the Tensor that is output number `index`."""
        if self._retained is None:
            self._retained = {}
        self._retained[index] = weakref.ref(tensor)

    def keep_before_change(self, tensor):
        """Where a Tensor was saved that this node's output is to replace in place, save a copy of it instead."""
        if any(value is tensor for value, *_ in self._saved):
            old = _tensor.wrap(tensor._data.copy(order="K"), tensor._node, tensor._index)
            self._saved = [(old, None, 0, None) if entry[0] is tensor else entry for entry in self._saved]

    def move_retained(self, tensor, result):
        """Let a Tensor that `result` replaces in place keep the gradient of its new value, not of this output."""
        if self._retained and self._retained.get(tensor._index, lambda: None)() is tensor:
            del self._retained[tensor._index]
            if result._node is not None:
                result._node.retain_output(result._index, tensor)

    @classmethod
    def apply(cls, *args):
        """Run forward on the Tensors' arrays; record a node while recording, if an input requires a gradient."""
        node = cls()
        Tensor, wrap = _tensor.Tensor, _tensor.wrap
        arrays, needs, inputs = [], [], []
        for a in args:
            if isinstance(a, Tensor):
                arrays.append(a._data)
                needs.append(a._requires_grad)
                inputs.append(a)
            else:
                arrays.append(a)
                needs.append(False)
        recording = _modes.grad and True in needs
        node.needs_input_grad = tuple(needs) if recording else (False,) * len(needs)
        output = cls.forward(node, *arrays)
        arrays = output if type(output) is tuple else (output,)
        tensors = []
        for index, array in enumerate(arrays):
            if type(array) is not np.ndarray:
                array = _as_array(cls, array)
            if recording and array.dtype.kind in "fc":
                result = wrap(array, node, index)
            else:
                result = wrap(array, None, 0)
            _share_counter(result, inputs)
            tensors.append(result)
        if recording:
            node._sequence = _next_sequence()
            edges = node._edges = []
            for a, need in zip(args, needs):  # noqa: B905 (strict costs as much as the loop)
                edges.append((a if a._node is None else a._node, a._index) if need else None)
            node._outputs = [(a._data.shape, a._data.dtype) for a in tensors]
            node._least = len(args)  # gradients that backward returns: those of trailing non-Tensors may be missing
            while not isinstance(args[node._least - 1], Tensor):
                node._least -= 1
            if node._to_save:
                node._saved = [_keep(a, inputs, arrays, tensors) for a in node._to_save]
            if _modes.anomaly:
                node._trace = traceback.extract_stack()[:-1]
        node._to_save = ()
        return tuple(tensors) if type(output) is tuple else tensors[0]


def _as_array(cls, output):
    if type(output) is np.ndarray:
        return output
    if isinstance(output, np.generic | np.ndarray):
        return np.asarray(output)
    raise TypeError(f"{cls.__name__}.forward must return arrays, got {type(output).__name__}")


def _share_counter(view, inputs):
    """Give a view of an input's memory, or an input that forward returned, the input's counter of changes."""
    base = view._data if view._data.base is None else view._data.base  # NumPy lets every view refer to the owner
    for tensor in inputs:
        array = tensor._data
        if base is array or array.base is base:
            tensor.share_counter(view)
            return


def _keep(array, inputs, arrays, tensors):
    """(value, output index, version, counter) of a saved array.

    An input is kept as its Tensor. An output is kept as its array: its Tensor would keep the node, and the node it.
    """
    for tensor in inputs:
        if tensor._data is array:
            if tensor._counter is None:
                tensor._counter = _tensor.Counter()
            return tensor, None, tensor._counter.value, tensor._counter
    for index, output in enumerate(arrays):
        if output is array:
            tensor = tensors[index]
            if tensor._counter is None:
                tensor._counter = _tensor.Counter()
            return tensor._data, index, tensor._counter.value, tensor._counter
    return array, None, 0, None


class _Opaque(Function):
    """Stands where a gradient came back as a plain array: to differentiate it again is an error that names the culprit.

    What the array depends on is known to its author alone: at most on all that went into the culprit and its gradients.
    """

    def __init__(self, culprit, grads, array):
        self._culprit, self._sequence = culprit.name, _next_sequence()
        self._edges = culprit._edges + [_place(g) for g in grads if g._requires_grad]
        self._outputs = [(array.shape, array.dtype)]

    @staticmethod
    def backward(ctx, *grads):
        raise RuntimeError(
            f"{ctx._culprit}.backward returned NumPy arrays, which cannot be differentiated again: "
            "write it with Tensor operations"
        )


class Handle:
    """Removes a hook."""

    _next = itertools.count().__next__

    def __init__(self, hooks, hook):
        self._hooks, self._key = hooks, Handle._next()
        hooks[self._key] = hook

    def remove(self):
        """Take the hook away; a second time does nothing."""
        self._hooks.pop(self._key, None)


# ---- the backward pass ---------------------------------------------------------------------------------------------


def backward(tensors, gradients=None, retain_graph=None, create_graph=False):
    """Add to every leaf's .grad the derivative of sum(gradient * tensor) with respect to it; see Tensor.backward."""
    tensors, gradients = _roots("backward", tensors, gradients)
    _run(tensors, gradients, retain_graph, create_graph, None)


def grad(outputs, inputs, grad_outputs=None, retain_graph=None, create_graph=False, allow_unused=False):
    """The derivatives of sum(grad_output * output) with respect to `inputs`; no .grad is changed.

    Args:
        outputs, inputs: a Tensor or a sequence of Tensors.
        grad_outputs: for each output an array or Tensor of its shape, or None for an output of one element.
        retain_graph: keep what the graph saved (default: create_graph).
        create_graph: make the gradients differentiable.
        allow_unused: give None for an input that the outputs do not depend on, instead of raising.

    Returns:
        a tuple of Tensors shaped like the inputs.

    Raises:
        RuntimeError: an input does not require a gradient, or is not used and allow_unused is False.
    """
    outputs, grad_outputs = _roots("grad", outputs, grad_outputs)
    inputs = _sequence_of_tensors("grad: inputs", inputs)
    for number, tensor in enumerate(inputs):
        if not tensor.requires_grad:
            raise RuntimeError(f"grad: input number {number} does not require a gradient")
    results = _run(outputs, grad_outputs, retain_graph, create_graph, inputs)
    for number, result in enumerate(results):
        if result is None and not allow_unused:
            raise RuntimeError(
                f"grad: the outputs do not depend on input number {number} (allow_unused=True gives None for it)"
            )
    return tuple(results)


def _sequence_of_tensors(name, tensors):
    tensors = list(tensors) if isinstance(tensors, tuple | list) else [tensors]
    for tensor in tensors:
        if not isinstance(tensor, _tensor.Tensor):
            raise TypeError(f"{name} must be Tensors, got {type(tensor).__name__}")
    return tensors


def _roots(name, tensors, gradients):
    """Check where a pass starts; fill in the gradient 1 of a Tensor with one element."""
    tensors = _sequence_of_tensors(f"{name}: outputs", tensors)
    if gradients is None:
        gradients = [None] * len(tensors)
    elif not isinstance(gradients, tuple | list):
        gradients = [gradients]
    if len(gradients) != len(tensors):
        raise ValueError(f"{name}: {len(gradients)} gradients for {len(tensors)} outputs")
    checked = []
    for tensor, gradient in zip(tensors, gradients, strict=True):
        if not tensor.requires_grad:
            raise RuntimeError(
                f"{name}: the output does not require a gradient (no leaf before it has requires_grad=True)"
            )
        if gradient is None:
            if tensor._data.size != 1:
                raise RuntimeError(
                    f"{name}: an output of shape {tensor.shape} is not a scalar: pass the gradient to start from, of "
                    "that shape"
                )
            gradient = np.ones_like(tensor._data)
        if not isinstance(gradient, _tensor.Tensor):
            try:
                gradient = _tensor.Tensor(np.asarray(gradient, tensor.dtype))
            except (TypeError, ValueError):
                raise TypeError(
                    f"{name}: the gradient of the output must be a Tensor or an array, got {gradient!r}"
                ) from None
        check_gradient(f"{name}: the gradient of the output", gradient, tensor.shape, tensor.dtype)
        checked.append(gradient)
    return tensors, checked


def _run(roots, gradients, retain_graph, create_graph, inputs):
    """Propagate gradients from the roots: into the leaves' .grad where inputs is None, else returned for the inputs.

    Nodes are visited in the order opposite to their creation. A node's inputs existed before it, so when its turn
    comes all users of its outputs have been visited and its gradient is complete; going depth first instead would pass
    on gradients that still lack a term wherever a value is used twice. A leaf comes right after the last of its users.
    The walk keeps a list of its own instead of recursing, so a graph may be as deep as memory allows.
    """
    retain_graph = create_graph if retain_graph is None else retain_graph
    wanted = None if inputs is None else {_place(tensor): None for tensor in inputs}
    order = _order({_place(tensor)[0] for tensor in roots}, wanted)
    reached = set(order)
    pending = {}  # node or leaf -> the gradients of its outputs so far
    for tensor, gradient in zip(roots, gradients, strict=True):
        target, index = _place(tensor)
        if target in reached:
            gradient = gradient if create_graph else _tensor.wrap(gradient._data, None, 0)
            _add(pending, target, index, gradient.clone() if target is tensor else gradient)
    with set_grad_enabled(create_graph):
        for target in order:
            grads = pending.pop(target, None)
            if grads is None:
                continue
            _run_hooks(target, grads)
            if wanted is not None:
                for index, gradient in enumerate(grads):
                    if (target, index) in wanted:
                        wanted[target, index] = gradient
            if isinstance(target, _tensor.Tensor):
                if wanted is None:  # what a hook saw or returned may be in use elsewhere
                    _accumulate(target, _copy(grads[0]) if target._hooks else grads[0], create_graph)
                continue
            if wanted is not None and not any(edge is not None and edge[0] in reached for edge in target._edges):
                continue
            results = _differentiate(target, grads, create_graph)
            for edge, result in zip(target._edges, results, strict=False):
                if edge is not None and result is not None and edge[0] in reached:
                    if isinstance(edge[0], _tensor.Tensor) and edge[0] not in pending:
                        result = _own(result, target, grads, results)
                    _add(pending, *edge, result)
            if not retain_graph:
                target._saved, target._freed = (), True
    return None if inputs is None else [wanted[_place(tensor)] for tensor in inputs]


def _place(tensor):
    """What the gradient of a tensor is kept under: the leaf itself, or its node, and which output it is."""
    return (tensor if tensor._node is None else tensor._node), tensor._index


def _order(starts, wanted):
    """Nodes and leaves that the starts depend on, each after all that use it; with `wanted`, those that lead to one."""
    rank = {target: 2 * target._sequence + 1 if isinstance(target, Function) else 0 for target in starts}
    stack = [target for target in starts if isinstance(target, Function)]
    while stack:
        node = stack.pop()
        for edge in node._edges:
            if edge is None:
                continue
            target = edge[0]
            if isinstance(target, Function):
                if target not in rank:
                    rank[target] = 2 * target._sequence + 1
                    stack.append(target)
            else:
                rank[target] = min(rank.get(target, rank[node]), 2 * node._sequence)
    order = sorted(rank, key=rank.__getitem__, reverse=True)
    if wanted is None:
        return order
    leads = {target for target, _ in wanted}
    for target in reversed(order):
        if isinstance(target, Function) and any(edge is not None and edge[0] in leads for edge in target._edges):
            leads.add(target)
    return [target for target in order if target in leads]


def _add(pending, target, index, gradient):
    """Add to the gradient of one output: a value that is used twice receives the sum."""
    grads = pending.get(target)
    if grads is None:
        pending[target] = grads = [None] * (len(target._outputs) if isinstance(target, Function) else 1)
    grads[index] = gradient if grads[index] is None else grads[index] + gradient


def _run_hooks(target, grads):
    if isinstance(target, _tensor.Tensor):
        hooks = {0: target._hooks} if target._hooks else None
    else:
        hooks = target._hooks
    if hooks:
        for index, functions in hooks.items():
            for function in list(functions.values()):
                if grads[index] is not None:
                    result = function(grads[index])
                    if result is not None:
                        check_gradient("what a hook returned", result, grads[index].shape, grads[index].dtype)
                        grads[index] = result
    if isinstance(target, Function) and target._retained:
        for index, reference in target._retained.items():
            tensor = reference()
            if tensor is not None and grads[index] is not None:
                tensor._grad = _copy(grads[index]) if tensor._grad is None else tensor._grad + grads[index]


def _differentiate(node, grads, create_graph):
    """The gradients of the node's inputs, checked; outputs without a gradient count as zero."""
    for index, (shape, dtype) in enumerate(node._outputs):
        if grads[index] is None:
            grads[index] = _tensor.wrap(np.zeros(shape, dtype), None, 0)
    results = node.backward(node, *grads)
    results = list(results) if isinstance(results, tuple | list) else [results]
    if not node._least <= len(results) <= len(node._edges):
        raise RuntimeError(f"{node.name}.backward returned {len(results)} gradients for {len(node._edges)} inputs")
    for number, (result, edge) in enumerate(zip(results, node._edges, strict=False)):
        if result is None:
            continue
        if edge is None:
            results[number] = None
            continue
        if not isinstance(result, _tensor.Tensor):
            array = _as_gradient(node, number, result)
            results[number] = result = _tensor.wrap(array, _Opaque(node, grads, array) if create_graph else None, 0)
        target, index = edge
        shape, dtype = (target.shape, target.dtype) if isinstance(target, _tensor.Tensor) else target._outputs[index]
        if result._data.shape != shape or result._data.dtype != dtype:
            check_gradient(f"{node.name}.backward: the gradient of input number {number}", result, shape, dtype)
        if _modes.anomaly and not np.isfinite(result._data).all():
            _report_anomaly(node, number, result)
    return results


def _as_gradient(node, number, result):
    if isinstance(result, np.ndarray | np.generic):
        return np.asarray(result)
    raise TypeError(
        f"{node.name}.backward returned {type(result).__name__} as gradient of input number {number}; "
        "it must be a Tensor, an array or None"
    )


def check_gradient(what, gradient, shape, dtype):
    if not isinstance(gradient, _tensor.Tensor):
        raise TypeError(f"{what} must be a Tensor, not {type(gradient).__name__}")
    if gradient.shape != shape:
        raise ValueError(f"{what} has shape {gradient.shape}, it must be {shape}")
    if gradient.dtype != dtype:
        raise TypeError(f"{what} has dtype {gradient.dtype}, it must be {dtype}")


def _report_anomaly(node, number, result):
    kind = "NaN" if np.isnan(result._data).any() else "Inf"
    where = "an operation that ran outside detect_anomaly()"
    if node._trace:
        package = __file__.rsplit("function.py", 1)[0]
        frame = next((f for f in reversed(node._trace) if not f.filename.startswith(package)), node._trace[-1])
        where = f"{frame.filename}:{frame.lineno}, in {frame.name}: {frame.line}"
    raise RuntimeError(
        f"{node.name}.backward produced {kind} in the gradient of input number {number}; forward was {where}"
    )


def _own(result, node, grads, results):
    """A copy where the gradient shares memory with what the pass, a saved Tensor or another gradient still uses.

    A leaf keeps its gradient and changes it in place when the next pass adds to it.
    """
    others = [g for g in grads if g is not None]
    others += [r for r in results if r is not None and r is not result]
    others += [value for value, *_ in node._saved]
    others += vars(node).values()  # constants kept as attributes of ctx
    arrays = [o._data if isinstance(o, _tensor.Tensor) else o for o in others]
    shared = sum(r is result for r in results) > 1 or not result._data.flags.writeable
    if not shared and not any(isinstance(a, np.ndarray) and np.may_share_memory(a, result._data) for a in arrays):
        return result
    return _copy(result)


def _copy(gradient):
    return gradient.clone() if _modes.grad else _tensor.wrap(gradient._data.copy(order="K"), None, 0)


def _accumulate(leaf, gradient, create_graph):
    if leaf._grad is None:
        leaf._grad = gradient
    elif create_graph or leaf._grad._requires_grad:
        leaf._grad = leaf._grad + gradient
    else:
        np.add(leaf._grad._data, gradient._data, out=leaf._grad._data)
        leaf._grad.mark_changed("backward()")
