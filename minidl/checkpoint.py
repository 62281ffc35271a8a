"""checkpoint: keep only what went into a part of a net, and compute what was saved inside again when backward needs it.

T. Chen, B. Xu, C. Zhang, C. Guestrin: Training deep nets with sublinear memory cost. 2016, arXiv:1604.06174.

The function runs as always and leaves its nodes, which are then emptied: a node keeps where its inputs came from, and
forgets what it saved. When a backward pass comes to one of them, the function runs again, on the same inputs, and
leaves a second set of nodes, operation for operation: each emptied node borrows the ctx of its twin. The twins hang on
the same inputs and parameters, so whatever is differentiated a second time finds its way through them.
"""

from . import random
from .function import cast_dtype, casting, enable_grad, is_grad_enabled, observe_nodes
from .tensor import Tensor


def checkpoint(function, *args, preserve_rng_state=True, **kwargs):
    """function(*args, **kwargs), keeping its arguments instead of what its operations save for backward.

    Args:
        function: computes with Tensors; may use parameters that are not among its arguments. It runs once more in every
            backward pass, and must then apply the same operations to the same shapes.
        preserve_rng_state: start minidl's random numbers for the second run where the first began, so that dropout
            draws the same mask.

    Returns:
        what function returns.

    Raises:
        RuntimeError: in backward, where the second run differs from the first.
    """
    if not is_grad_enabled():
        return function(*args, **kwargs)
    segment = Segment(function, args, kwargs, preserve_rng_state)
    nodes = []
    # Weights that autocast converts are converted anew in both runs, so that both record the same operations.
    with casting(segment.dtype), observe_nodes(lambda node, *_: nodes.append(node)):
        outputs = function(*args, **kwargs)
    for node in nodes:
        segment.empty(node)
    return outputs


class Segment:
    """What is needed to run the function again, and what it did the first time."""

    def __init__(self, function, args, kwargs, preserve_rng_state):
        self.function, self.args, self.kwargs = function, args, kwargs
        self.state = random.get_state() if preserve_rng_state else None
        self.dtype = cast_dtype()
        self.operations = []  # what each node of the first run is, in order
        self.versions = [(tensor, tensor.counter().value) for tensor in _tensors((args, kwargs))]

    def empty(self, node):
        """Let a node of the first run forget all but its place in the graph, and what was to stay unchanged."""
        own = vars(node)
        kept = {name: own[name] for name in _PLACE if name in own}
        if node._twin is None:
            kept["_versions"] = [
                (number, value.shape, version, counter)
                for number, (value, _, version, counter) in enumerate(
                    (entry, None, 0, entry.counter()) if isinstance(entry, Tensor) else entry for entry in node._saved
                )
                if counter is not None
            ]
        own.clear()
        own.update(kept, _twin=(self, len(self.operations)))
        self.operations.append(_describe(node))

    def run_again(self):
        """The twins of the nodes, in order: those that a second run leaves."""
        for tensor, version in self.versions:
            if tensor.counter().value != version:
                raise RuntimeError(
                    f"checkpoint: an argument of shape {tensor.shape} was changed in place by {tensor.counter().last} "
                    "after the first run, so the second would compute something else"
                )
        twins, now = [], random.get_state()
        if self.state is not None:
            random.set_state(self.state)
        try:
            with enable_grad(), casting(self.dtype), observe_nodes(lambda twin, *_: twins.append(twin)):
                self.function(*self.args, **self.kwargs)
        finally:
            if self.state is not None:
                random.set_state(now)
        operations = [_describe(twin) for twin in twins]
        for number, (first, second) in enumerate(zip(self.operations, operations)):  # noqa: B905 (lengths come next)
            if first != second:
                raise RuntimeError(
                    f"checkpoint: operation number {number} was {first} in the first run and {second} in the second; "
                    "the function must do the same each time"
                )
        if len(operations) != len(self.operations):
            raise RuntimeError(
                f"checkpoint: the first run recorded {len(self.operations)} operations, the second {len(operations)}; "
                "the function must do the same each time"
            )
        return twins


_PLACE = (
    "_edges", "_sequence", "_outputs", "_least", "_hooks", "_retained", "_trace", "_finite", "needs_input_grad",
    "_versions",
)  # fmt: skip


def borrow(node, recomputed):
    """The ctx of an emptied node: its twin, or the twin's own where checkpoints are nested.

    Each is given away once, so that what it saved dies with its use.

    Args:
        recomputed: the twins of this backward pass, by segment; added to.
    """
    while node._twin is not None:
        segment, number = node._twin
        if segment is None:
            node.raise_freed()
        for position, shape, version, counter in node._versions:
            if counter.value != version:
                node.raise_changed(position, shape, counter)
        if segment not in recomputed:
            recomputed[segment] = segment.run_again()
        node, recomputed[segment][number] = recomputed[segment][number], None
    return node


def _describe(node):
    outputs = ", ".join(f"{dtype} of shape {shape}" for shape, dtype in node._outputs)
    return f"{node.name} to {outputs} (gradients of inputs: {node.needs_input_grad})"


def _tensors(value):
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _tensors(part)
