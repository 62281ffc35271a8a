"""The backward pass over the graph that Functions leave: `grad`, and `backward` behind Tensor.backward."""

import numpy as np

from . import cuda
from . import tensor as _tensor
from .checkpoint import borrow
from .function import (
    AFTER_ACCUMULATION,
    Function,
    _modes,
    casting,
    check_gradient,
    keep_trace,
    next_sequence,
    set_grad_enabled,
)
from .kernels import COMPILED, add, empty_like, owner
from .kernels._layout import memory_order

_LARGE = 16384  # elements, which are summed by a kernel
_NO_ARRAYS = {type(None), bool, int, float, tuple, list}


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
                gradient = _tensor.Tensor(np.asarray(gradient, tensor.dtype, like=tensor._data))
            except (TypeError, ValueError):
                raise TypeError(
                    f"{name}: the gradient of the output must be a Tensor or an array, got {gradient!r}"
                ) from None
        check_gradient(f"{name}: the gradient of the output", gradient, tensor.shape, tensor.dtype, tensor._data)
        checked.append(gradient)
    return tensors, checked


def _run(roots, gradients, retain_graph, create_graph, inputs):
    """Propagate gradients from the roots: into the leaves' .grad where inputs is None, else returned for the inputs.

    Nodes are visited in the order opposite to their creation. A node's inputs existed before it, so when its turn
    comes all users of its outputs have been visited and its gradient is complete; going depth first instead would pass
    on gradients that still lack a term wherever a value is used twice. A leaf comes right after the last of its users.
    The walk keeps a list of its own instead of recursing, so a graph may be as deep as memory allows.

    Gradients are Tensors while the pass is recorded and bare arrays otherwise: a Tensor operation costs five times as
    much as one on a small array (2 x 3: 1.5 to 0.3 us).
    """
    if _modes.casts:  # gradients have the dtypes that the forward pass chose
        with casting(None):
            return _run(roots, gradients, retain_graph, create_graph, inputs)
    retain_graph = create_graph if retain_graph is None else retain_graph
    wanted = None if inputs is None else {_place(tensor): None for tensor in inputs}
    order = _order({_place(tensor)[0] for tensor in roots}, wanted)
    reached = None if wanted is None else set(order)  # None: all
    recomputed = {}  # segment of a checkpoint -> the nodes of its second run
    pending = {}  # node or leaf -> the gradients of its outputs so far
    for tensor, gradient in zip(roots, gradients, strict=True):
        target, index = _place(tensor)
        if reached is None or target in reached:
            gradient = gradient if create_graph else gradient._data
            if target is tensor:
                gradient = _copy(gradient)
            totals = pending.setdefault(target, [None] * (1 if target is tensor else len(target._outputs)))
            totals[index] = gradient if totals[index] is None else _sum(totals[index], gradient)
    with set_grad_enabled(create_graph):
        anomaly = keep_trace in _modes.observers
        for target in order:
            grads = pending.pop(target, None)
            if grads is None:
                continue
            if target._hooks or target._retained:
                _run_hooks(target, grads)
            if wanted is not None:
                for index, gradient in enumerate(grads):
                    if (target, index) in wanted:
                        wanted[target, index] = gradient
            edges = target._edges
            if edges is None:  # a leaf
                if wanted is None:
                    _finish_leaf(target, grads[0])
                continue
            if reached is not None and not any(edge is not None and edge[0] in reached for edge in edges):
                continue
            ctx = target if target._twin is None else borrow(target, recomputed)
            onto = ()
            if target.adds_onto:
                onto = ctx._onto = () if create_graph else _received(edges[0], pending)
            results = _differentiate(target, ctx, grads, create_graph)
            added = onto and not ctx.take_onto()
            for number, edge in enumerate(edges):
                result = results[number]
                if edge is None or result is None:
                    continue
                source, index = edge
                leaf = source._edges is None
                shape, dtype = (source._data.shape, source._data.dtype) if leaf else source._outputs[index]
                if create_graph or type(result) is not np.ndarray or result.dtype is not dtype or result.shape != shape:
                    result = _checked(target, number, result, shape, dtype, grads, create_graph)
                if anomaly:
                    _check_finite(target, number, result)
                totals = pending.get(source)
                if totals is None:
                    if reached is not None and source not in reached:
                        continue
                    if leaf:
                        pending[source] = [result if target.gives_new else _own(result, ctx, grads, results)]
                        continue
                    totals = pending[source] = [None] * len(source._outputs)
                if totals[index] is None or added and number == 0:
                    totals[index] = result
                elif leaf and not create_graph:
                    totals[index] += result  # in place: a leaf's gradient is its own from the first term on
                else:
                    totals[index] = _sum(totals[index], result)
            if not retain_graph:
                target._saved, target._freed = (), True
                if ctx is not target:
                    target._twin = None, 0
    return None if inputs is None else [_as_tensor(wanted[_place(tensor)]) for tensor in inputs]


def _received(edge, pending):
    """(array,): what the value at an edge has received from its users so far; () if nothing, and for a leaf."""
    totals = pending.get(edge[0]) if edge is not None and edge[0]._edges is not None else None
    return () if totals is None or totals[edge[1]] is None else (totals[edge[1]],)


def _place(tensor):
    """What the gradient of a tensor is kept under: the leaf itself, or its node, and which output it is."""
    return (tensor if tensor._node is None else tensor._node), tensor._index


def _order(starts, wanted):
    """Nodes and leaves that the starts depend on, each after all that use it; with `wanted`, those that lead to one."""
    rank = {target: 0 if target._edges is None else 2 * target._sequence + 1 for target in starts}
    nodes = [target for target in starts if target._edges is not None]
    for node in nodes:  # which grows
        after_node = 2 * node._sequence
        for edge in node._edges:
            if edge is None:
                continue
            target = edge[0]
            if target._edges is None:  # a leaf
                if rank.get(target, after_node) >= after_node:
                    rank[target] = after_node
            elif target not in rank:
                rank[target] = 2 * target._sequence + 1
                nodes.append(target)
    order = sorted(rank, key=rank.__getitem__, reverse=True)
    if wanted is None:
        return order
    leads = {target for target, _ in wanted}
    for target in reversed(order):
        if any(edge is not None and edge[0] in leads for edge in target._edges or ()):
            leads.add(target)
    return [target for target in order if target in leads]


def _sum(a, b):
    """What a value that is used twice receives."""
    on_gpu = cuda.on_gpu(a)
    if on_gpu or (type(a) is type(b) is np.ndarray and a.size > _LARGE):
        order, has_kernel = memory_order(a), a.dtype in COMPILED or (on_gpu and a.dtype == np.float16)
        alike = a.strides == b.strides and a.dtype == b.dtype
        if has_kernel and alike and a.transpose(order).flags.c_contiguous:
            total = empty_like(a)
            add.forward(*(array.transpose(order).reshape(-1) for array in (a, b, total)))
            return total
        if on_gpu:
            return np.add(a, b, out=np.empty_like(a))  # a + b would be in row-major order, which images are not
    total = a + b
    return np.asarray(total) if isinstance(total, np.generic) else total  # NumPy makes numbers of 0-d arrays


def _as_tensor(gradient):
    return gradient if gradient is None or isinstance(gradient, _tensor.Tensor) else _tensor.wrap(gradient, None, 0)


def _finish_leaf(leaf, gradient):
    if not leaf._hooks:
        _accumulate(leaf, gradient)
        return
    _accumulate(leaf, _copy(gradient))  # what a hook saw or returned may be in use elsewhere
    for function in list(leaf._hooks.get(AFTER_ACCUMULATION, {}).values()):
        function(leaf)


def _run_hooks(target, grads):
    for index, functions in (target._hooks or {}).items():
        if index == AFTER_ACCUMULATION or grads[index] is None:
            continue
        for function in list(functions.values()):
            gradient = _as_tensor(grads[index])
            result = function(gradient)
            if result is not None:
                check_gradient("what a hook returned", result, gradient.shape, gradient.dtype, gradient._data)
                grads[index] = result if _modes.grad else result._data
    for index, reference in (target._retained or {}).items():
        tensor = reference()
        if tensor is not None and grads[index] is not None:
            _accumulate(tensor, _copy(grads[index]))


def _differentiate(node, ctx, grads, recording):
    """What the node's backward returns, one per input; outputs without a gradient count as zero."""
    if len(grads) > 1 and ctx._materialize:
        like = next(g for g in grads if g is not None)
        like = like._data if recording else like
        for index, (shape, dtype) in enumerate(node._outputs):
            if grads[index] is None:
                zeros = np.zeros(shape, dtype, like=like)
                grads[index] = _tensor.wrap(zeros, None, 0) if recording else zeros
    as_arrays = node.on_arrays and not recording
    results = node.backward(ctx, *(grads if recording or as_arrays else map(_as_tensor, grads)))
    if type(results) is not tuple:
        results = tuple(results) if isinstance(results, list) else (results,)
    expected = len(node._edges)
    if len(results) != expected:
        if not (node._least or expected) <= len(results) <= expected:
            raise RuntimeError(f"{node.name}.backward returned {len(results)} gradients for {expected} inputs")
        results += (None,) * (expected - len(results))
    if not (recording or as_arrays):
        results = [result._data if isinstance(result, _tensor.Tensor) else result for result in results]
    return results


def _checked(node, number, result, shape, dtype, grads, recording):
    """The gradient that the node's backward gave its input `number`: a Tensor while recording, otherwise an array."""
    array = result._data if isinstance(result, _tensor.Tensor) else _as_gradient(node, number, result)
    if not recording:
        result = array
    elif not isinstance(result, _tensor.Tensor):
        result = _tensor.wrap(array, _Opaque(node, grads, array), 0)
    if array.shape != shape or array.dtype != dtype:
        if node.elementwise and _was_repeated(shape, array.shape):
            result = unbroadcast(result, shape)
        what = f"{node.name}.backward: the gradient of input number {number}"
        array = result._data if recording else result
        check_gradient(what, _as_tensor(result), shape, dtype, array)
    return result


def _was_repeated(shape, wide):
    pairs = zip(reversed(shape), reversed(wide))  # noqa: B905 (lengths may differ)
    return len(shape) <= len(wide) and all(n in (1, m) for n, m in pairs)


def unbroadcast(gradient, shape):
    """Sum a gradient (Tensor or array) over the axes along which an operand of `shape` was repeated.

    The repeated element entered every copy, so its derivative is the sum of theirs.
    """
    if gradient.shape == shape:
        return gradient
    extra = gradient.ndim - len(shape)
    axes = tuple(range(extra)) + tuple(
        extra + i for i, n in enumerate(shape) if n == 1 and gradient.shape[extra + i] != 1
    )
    total = gradient.sum(axes).reshape(shape)
    return np.asarray(total) if isinstance(total, np.generic) else total  # NumPy makes numbers of 0-d arrays


def _as_gradient(node, number, result):
    if isinstance(result, np.ndarray | np.generic):
        return np.asarray(result)
    if cuda.on_gpu(result):
        return result
    raise TypeError(
        f"{node.name}.backward returned {type(result).__name__} as gradient of input number {number}; "
        "it must be a Tensor, an array or None"
    )


def _check_finite(node, number, result):
    """Raise where the gradient of an input is not finite, and name the lines of the forward pass that explain it."""
    array = result._data if isinstance(result, _tensor.Tensor) else result
    if np.isfinite(array).all():
        return
    kind = "NaN" if np.isnan(array).any() else "Inf"
    before = [n for n in _order({node}, None) if n._edges is not None and not n._finite]
    first = min(before, key=lambda n: n._sequence, default=None)
    raise RuntimeError(
        f"{node.name}.backward produced {kind} in the gradient of input number {number}; forward was {_line(node)}"
        + (f". {first.name}.forward had given NaN or Inf before, at {_line(first)}" if first else "")
    )


def _line(node):
    """The line outside of minidl from which the operation was called."""
    if not node._trace:
        return "an operation that ran outside detect_anomaly()"
    package = __file__.rsplit("autograd.py", 1)[0]
    frame = next((f for f in reversed(node._trace) if not f.filename.startswith(package)), node._trace[-1])
    return f"{frame.filename}:{frame.lineno}, in {frame.name}: {frame.line}"


def _own(result, ctx, grads, results):
    """A copy where the gradient shares memory with what the pass, a saved Tensor or another gradient still uses.

    A leaf keeps its gradient and changes it in place when the next term, or the next pass, adds to it.
    """
    Tensor = _tensor.Tensor
    array = result._data if isinstance(result, Tensor) else result
    kind = type(array)
    if not cuda.writable(array):
        return _copy(result)
    itself, memory = 0, owner(array) if kind is np.ndarray else None
    # The last: constants kept as attributes of ctx. A plain loop, as each weight's gradient comes here.
    for other in (*results, *grads, *ctx.saved_values(), *vars(ctx).values()):
        if other is result:
            itself += 1
            if itself > 1:
                return _copy(result)
            continue
        if type(other) is not kind:
            if type(other) in _NO_ARRAYS:
                continue
            if isinstance(other, Tensor):
                other = other._data
            if not isinstance(other, kind):
                continue
        if memory is not None:
            its = owner(other)
            if its is not None and its is not memory:
                continue
        if cuda.may_share_memory(other, array):
            return _copy(result)
    return result


def _copy(gradient):
    return gradient.clone() if isinstance(gradient, _tensor.Tensor) else gradient.copy(order="K")


def _accumulate(tensor, gradient):
    if tensor._grad is None:
        tensor._grad = _as_tensor(gradient)
    elif isinstance(gradient, _tensor.Tensor) or tensor._grad._requires_grad:
        tensor._grad = tensor._grad + gradient
    else:
        np.add(tensor._grad._data, gradient, out=tensor._grad._data)
        tensor._grad.mark_changed("backward()")


class _Opaque(Function):
    """Stands where a gradient came back as a plain array: to differentiate it again is an error that names the culprit.

    What the array depends on is known to its author alone: at most on all that went into the culprit and its gradients.
    """

    def __init__(self, culprit, grads, array):
        self._culprit, self._sequence = culprit.name, next_sequence()
        self._edges = culprit._edges + [_place(g) for g in grads if g._requires_grad]
        self._outputs = [(array.shape, array.dtype)]

    @staticmethod
    def backward(ctx, *grads):
        raise RuntimeError(
            f"{ctx._culprit}.backward returned NumPy arrays, which cannot be differentiated again: "
            "write it with Tensor operations"
        )
