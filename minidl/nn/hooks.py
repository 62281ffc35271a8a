"""Hooks of a Module: calls before and after its forward, and when the gradients of its outputs and inputs are known.

The gradients pass through two operations that change nothing, one on the inputs and one on the outputs of forward:
their backward calls the hooks.
"""

import itertools

from ..function import Function, Handle, is_grad_enabled
from ..tensor import Tensor

_changes = itertools.count(1)
_latest = 0


def changes():
    """A number that is another one after a module was given a hook, an attribute or another mode."""
    return _latest


def note_change():
    """Say that a module was changed, to whoever relies on what it was (plan.py)."""
    global _latest
    _latest = next(_changes)


def register(module, kind, hook, prepend, with_kwargs=False):
    """Add a hook of a kind: forward_pre, forward, backward_pre or backward."""
    if not callable(hook):
        raise TypeError(f"{type(module).__name__}: a hook must be callable, got {hook!r}")
    note_change()
    return Handle(module._hooks.setdefault(kind, {}), (hook, with_kwargs), prepend)


def _of(module, kind):
    return list(module._hooks.get(kind, {}).values())


def call(module, args, kwargs):
    """module.forward(*args, **kwargs) between its hooks."""
    if not module.hooked:  # any more
        module._hooks.clear()
        return module.forward(*args, **kwargs)
    for hook, with_kwargs in _of(module, "forward_pre"):
        result = hook(module, args, kwargs) if with_kwargs else hook(module, args)
        if result is None:
            continue
        if not with_kwargs:
            args = result if isinstance(result, tuple) else (result,)
        elif isinstance(result, tuple) and len(result) == 2:
            args, kwargs = result
        else:
            raise RuntimeError(
                f"{type(module).__name__}: a forward pre-hook with kwargs must return None or (args, kwargs), got "
                f"{result!r}"
            )
    watch = None
    if is_grad_enabled() and (_of(module, "backward_pre") or _of(module, "backward")):
        watch = _Watch(module, len(args))
        args = watch.inputs(args)
    output = module.forward(*args, **kwargs)
    for hook, with_kwargs in _of(module, "forward"):
        result = hook(module, args, kwargs, output) if with_kwargs else hook(module, args, output)
        output = output if result is None else result
    return output if watch is None else watch.outputs(output)


class _Watch:
    """One call of a module whose gradients are watched."""

    def __init__(self, module, count):
        self.module, self.count = module, count
        self.entered = False  # whether a gradient can arrive at an input
        self.grad_output = None

    def inputs(self, args):
        places, tensors = _differentiable(args)
        self.entered = bool(places)
        return _replaced(args, places, ModuleInputs.apply(self, places, *tensors)) if places else args

    def outputs(self, output):
        values = output if isinstance(output, tuple) else (output,)
        places, tensors = _differentiable(values)
        if not places:
            return output
        values = _replaced(values, places, ModuleOutputs.apply(self, places, len(values), *tensors))
        if not isinstance(output, tuple):
            return values[0]
        return type(output)(*values) if hasattr(output, "_fields") else values  # a named tuple stays one

    def leave(self, grad_output):
        """The gradients of the outputs are known."""
        for hook, _ in _of(self.module, "backward_pre"):
            grad_output = self._returned("backward pre-hook", hook(self.module, grad_output), grad_output)
        self.grad_output = grad_output
        if not self.entered:
            self.arrive((None,) * self.count)
        return grad_output

    def arrive(self, grad_input):
        """The gradients of the inputs are known."""
        for hook, _ in _of(self.module, "backward"):
            grad_input = self._returned("backward hook", hook(self.module, grad_input, self.grad_output), grad_input)
        return grad_input

    def _returned(self, what, result, gradients):
        if result is None:
            return gradients
        result = result if isinstance(result, tuple) else (result,)
        if len(result) != len(gradients):
            raise RuntimeError(
                f"{type(self.module).__name__}: a {what} returned {len(result)} gradients, "
                f"it was given {len(gradients)}"
            )
        return result


def _differentiable(values):
    places = [i for i, value in enumerate(values) if isinstance(value, Tensor) and value.requires_grad]
    return places, [values[i] for i in places]


def _replaced(values, places, new):
    values = list(values)
    for place, value in zip(places, new, strict=True):
        values[place] = value
    return tuple(values)


class ModuleInputs(Function):
    """The inputs as they are; backward calls the module's backward hooks."""

    @staticmethod
    def forward(ctx, watch, places, *arrays):
        ctx.set_materialize_grads(False)
        ctx.watch, ctx.places = watch, places
        return arrays

    @staticmethod
    def backward(ctx, *grads):
        grad_input = ctx.watch.arrive(_replaced((None,) * ctx.watch.count, ctx.places, grads))
        return None, None, *(grad_input[place] for place in ctx.places)


class ModuleOutputs(Function):
    """The outputs as they are; backward calls the module's backward pre-hooks."""

    @staticmethod
    def forward(ctx, watch, places, count, *arrays):
        ctx.set_materialize_grads(False)
        ctx.watch, ctx.places, ctx.count = watch, places, count
        return arrays

    @staticmethod
    def backward(ctx, *grads):
        grad_output = ctx.watch.leave(_replaced((None,) * ctx.count, ctx.places, grads))
        return None, None, None, *(grad_output[place] for place in ctx.places)
