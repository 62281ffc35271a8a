"""Changes in place of Tensors that share memory: the graph follows what the memory does.

`v = y[1:3]; v.add_(w)` changes y as well. y's place in the graph becomes that of an `Overwrite`: y as it was, with v's
new value in its region. All views of y then take their places anew, as the same views of what y is now.

Every view knows its base, the Tensor that is no view, and the steps from there: operations that return views, and their
arguments. The base's counter of changes knows its living views. So it is the change that pays for the search; a Tensor
that is read pays nothing.
"""

import numpy as np

from .function import Function
from .tensor import View, wrap


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
