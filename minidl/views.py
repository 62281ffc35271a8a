"""Changes in place of Tensors that share memory: the graph follows what the memory does.

`v = y[1:3]; v.add_(w)` changes y as well. y's place in the graph becomes that of an `Overwrite`: y as it was, with v's
new value in its region. All views of y then take their places anew, as the same views of what y is now.

Every view knows its base, the Tensor that is no view, and the steps from there: operations that return views, and their
arguments. The base's counter of changes knows its living views. So it is the change that pays for the search; a Tensor
that is read pays nothing.
"""

import weakref

import numpy as np

from .function import Function, _modes
from .tensor import Tensor, wrap


class View:
    """What a Tensor is a view of.

    steps: (the steps before, Function, arguments after the Tensor, which output), () for the base itself, None where
    they are unknown. obstacle: why this view cannot be changed in place while the graph is recorded, or None.
    """

    __slots__ = ("base", "steps", "obstacle")

    def __init__(self, base, steps, obstacle):
        self.base, self.steps, self.obstacle = base, steps, obstacle


_ROOM = 8  # references to views kept before the dead ones among them are looked for


def note(view, node, args, several):
    """Note where `view`, an output of `node` (one of several), shares its memory with one of the arguments."""
    array = view._data
    owner = array if array.base is None else array.base  # NumPy lets every view refer to the owner
    for source in args:
        if isinstance(source, Tensor) and (owner is source._data or owner is source._data.base):
            break
    else:
        return
    counter = view._counter = source._counter or source.counter()
    if not _modes.grad:
        view._view = View(None, None, "made under no_grad()")
        return
    known = source._view
    base, steps, obstacle = (source, (), None) if known is None else (known.base, known.steps, known.obstacle)
    if not node.is_view or source is not args[0]:
        steps, obstacle = None, f"returned by {node.name}.forward, which does not say how it was made (is_view)"
    elif steps is not None:
        steps = steps, type(node), args[1:], view._index
        obstacle = f"one of several that {node.name} returned" if several else obstacle
    view._view = View(base, steps, obstacle)
    if len(counter.views) >= counter.room:
        counter.views = [reference for reference in counter.views if reference() is not None]
        counter.room = 2 * len(counter.views) + _ROOM
    counter.views.append(weakref.ref(view))


def replace_history(tensor, result, what):
    """Give `tensor`, whose memory is about to receive `result`, and all that share the memory their new places.

    Raises:
        RuntimeError: a leaf that requires a gradient, or a view of one; a view whose way from its base is unknown.
    """
    view = tensor._view or View(tensor, (), None)
    base, steps, obstacle = view.base, view.steps, view.obstacle
    if obstacle:
        raise RuntimeError(
            f"{what}: the Tensor shares its memory with another, it is a view {obstacle}; use an operation that "
            "returns a new Tensor, or change a clone()"
        )
    if base._node is None and base._requires_grad:
        kind = "a leaf" if base is tensor else "a view of a leaf"
        raise RuntimeError(f"{what}: {kind} that requires a gradient was to be changed in place; do it under no_grad()")
    views = [view for view in (reference() for reference in tensor.counter().views) if view is not None]
    views = [view for view in views if view._view is not None and view._view.base is base]
    for view in views:
        if view._view.steps is None and view._requires_grad:
            raise RuntimeError(
                f"{what}: the Tensor shares its memory with another, {view._view.obstacle}; use an operation that "
                "returns a new Tensor, or change a clone()"
            )
    if result._node is not None:
        result._node.keep_before_change(tensor)
    _move(base, result if base is tensor else Overwrite.apply(base, result, steps))
    for view in views:
        if view._view.steps is not None:
            _move(view, _follow(base, view._view.steps))


def _move(tensor, result):
    """Let the tensor stand where the result stands."""
    if tensor._node is not None:
        tensor._node.move_retained(tensor, result)
    tensor._node, tensor._index, tensor._requires_grad = result._node, result._index, result._requires_grad


def _follow(base, steps):
    """The view of `base` that the steps lead to."""
    path = []
    while steps:
        steps, *step = steps
        path.append(step)
    for operation, args, index in reversed(path):
        views = operation.apply(base, *args)
        base = views[index] if isinstance(views, tuple) else views
    return base


class Overwrite(Function):
    """y with `part` in place of the view that the steps lead to. The memory itself is written by whoever applies it."""

    is_view = True

    @staticmethod
    def forward(ctx, y, part, steps):
        # A mask with y's axes in the order that they have in memory: what is a view of y is a view of the mask.
        ctx.mask = np.zeros_like(y, bool)
        _follow(wrap(ctx.mask, None, 0), steps)._data[...] = True
        ctx.steps = steps
        return y

    @staticmethod
    def backward(ctx, grad):
        from .ops import where

        return where(wrap(ctx.mask, None, 0), 0.0, grad), _follow(grad, ctx.steps)
