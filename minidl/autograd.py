"""The backward pass over the graph that Functions leave: `grad`, and `backward` behind Tensor.backward."""

import numpy as np

from . import tensor as _tensor
from .function import Function, _modes, _next_sequence, check_gradient, set_grad_enabled


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


def _report_anomaly(node, number, result):
    kind = "NaN" if np.isnan(result._data).any() else "Inf"
    where = "an operation that ran outside detect_anomaly()"
    if node._trace:
        package = __file__.rsplit("autograd.py", 1)[0]
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
