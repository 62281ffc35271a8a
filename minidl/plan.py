"""A net's forward pass as a list of its operations, run again without the Python between them.

A small operation costs as much in modules, checks and Tensors as in arithmetic: a quarter of LeNet's inference. One run
shows which operations there are and what each takes; after that a pass is their `forward` on arrays, one after the
other. That is right as long as the net does the same for all inputs of a shape. So it may not look at a Tensor's
numbers, and nothing may be in the list whose origin is unknown: an array or a Tensor that is neither an input, a
parameter or buffer, nor the output of an operation of the list. And another run, on other numbers, has to show the same
list, for operations that look at numbers themselves. Where that fails, the net runs as it is.
"""

import operator
from typing import NamedTuple

import numpy as np

from .function import cast_dtype, enable_grad, is_grad_enabled, is_observed, observe_nodes, observe_reads
from .nn.hooks import changes
from .tensor import Tensor, wrap
from .trace import place

_MOST_PLANS = 8  # shapes of which the list is kept
_MOST_TRIES = 16  # lists that are made of a net, kept or not: one that never comes to rest runs as it is
_CONSTANTS = type(None), bool, int, float, complex, str, slice, type(...)


class PlannedForward:
    """Stands as `forward` in a net. Within no_grad() it runs the list of operations; else what the net's class defines.

    A hook, another mode and an attribute that is set anywhere in the net are seen: the list is made again. What is
    changed in other ways (a global variable, an item of a list) is not.
    """

    def __init__(self, net):
        self.net, self.plans, self.tries = net, {}, 0
        self.seen, self.state = None, []  # of the net when the plans were made

    def __deepcopy__(self, memo):
        return PlannedForward(memo.get(id(self.net), self.net))

    def __call__(self, *inputs, **options):
        planned = not (options or is_grad_enabled() or is_observed() or cast_dtype())
        if not planned or any(type(x) is not Tensor or x._data.dtype.kind != "f" for x in inputs):
            return self._forward(*inputs, **options)
        if self.seen != changes():
            self._look()
        key = tuple([(x._data.shape, x._data.dtype, type(x._data)) for x in inputs])
        arrays = [x._data for x in inputs]
        plan = self.plans.get(key, ...)
        if plan is ...:
            plan = self._make(key, arrays)
        return self._forward(*inputs) if plan is None else plan.run(arrays)

    def _forward(self, *inputs, **options):
        return type(self.net).forward(self.net, *inputs, **options)

    def _look(self):
        """Forget the plans if anything in the net is another than it was."""
        state = list(_state(self.net))
        if len(state) != len(self.state) or any(map(operator.is_not, state, self.state)):
            self.plans.clear()
        self.seen, self.state = changes(), state

    def _make(self, key, arrays):
        """The plan for inputs of this kind; None where there is none."""
        self.tries += 1
        plan = None
        if self.tries <= _MOST_TRIES and not any(module.hooked for module in self.net.modules()):
            plan = _plan(self.net, self._forward, arrays)
            with np.errstate(all="ignore"):
                again = plan and _plan(self.net, self._forward, [-array for array in arrays])
            plan = plan if again and plan.is_as(again) else None
        if len(self.plans) >= _MOST_PLANS:
            self.plans.pop(next(iter(self.plans), None), None)
        self.plans[key] = plan
        return plan


def _state(net):
    """Everything that modules hold, and whether hooks wait."""
    for module in net.modules():
        yield module
        yield module.hooked
        for name, value in module.__dict__.items():
            yield value
            if name in ("_parameters", "_buffers", "_modules"):
                yield from value.values()


class _Step(NamedTuple):
    """An operation. Values are numbered: the inputs, then all outputs in order."""

    function: type
    constants: list  # the arguments; None where another is put
    taken: list  # (position of an argument, number of the value)
    held: list  # (position of an argument, Tensor of the net)
    first: int  # the number of the first output
    done: list  # numbers of values that no later step takes


def _plan(net, forward, arrays):
    """The _Plan of one run; None where an operation takes what is of unknown origin, or the net returns it."""
    calls, reads, inputs = [], [], [Tensor(array, requires_grad=True) for array in arrays]

    def observe(node, outputs, args):
        # At once: what is replaced in place has another place later. The node is kept, as places are told by its id.
        places = [place(value) if isinstance(value, Tensor) else None for value in args]
        calls.append((node, args, places, outputs, [place(tensor) for tensor in outputs]))

    try:
        with enable_grad(), observe_nodes(observe), observe_reads(reads.append):
            output = forward(*inputs)
    except Exception:
        return None  # which the net without a plan shall tell
    if reads:
        return None
    own = {id(tensor) for members in (net.parameters(), net.buffers()) for tensor in members}
    numbers, steps, last = {place(x): number for number, x in enumerate(inputs)}, [], {}
    for node, args, places, _, made in calls:
        constants, taken, held = [None] * len(args), [], []
        for position, value in enumerate(args):
            number = numbers.get(places[position])
            if number is not None:
                taken.append((position, number))
                last[number] = len(steps)
            elif id(value) in own:
                held.append((position, value))
            elif _is_constant(value):
                constants[position] = value
            else:
                return None
        first = len(numbers)
        for output_place in made:
            last[len(numbers)] = len(steps)
            numbers[output_place] = len(numbers)
        steps.append(_Step(type(node), constants, taken, held, first, []))
    returned = numbers.get(place(output)) if type(output) is Tensor else None
    if returned is None or returned < len(inputs):
        return None
    del last[returned]
    for number, step in last.items():
        steps[step].done.append(number)
    return _Plan(steps, len(numbers), returned)


def _is_constant(value):
    if isinstance(value, tuple | list):
        return all(map(_is_constant, value))
    return isinstance(value, _CONSTANTS)


class _Plan:
    def __init__(self, steps, size, returned):
        self.steps, self.size, self.returned = steps, size, returned

    def is_as(self, other):
        """Whether both are the same operations on the same values and Tensors."""

        def described(plan):
            steps = [
                step._replace(held=[(position, id(tensor)) for position, tensor in step.held]) for step in plan.steps
            ]
            return steps, plan.returned

        return described(self) == described(other)

    def run(self, arrays):
        """The net's output, a Tensor."""
        values = arrays + [None] * (self.size - len(arrays))
        for function, constants, taken, held, first, done in self.steps:
            args = constants.copy()
            for position, number in taken:
                args[position] = values[number]
            for position, tensor in held:
                args[position] = tensor._data
            node = function()
            node.needs_input_grad = (False,) * len(args)
            output = function.forward(node, *args)
            if type(output) is tuple:
                values[first : first + len(output)] = output
            else:
                values[first] = output
            for number in done:
                values[number] = None
        output = values[self.returned]
        return wrap(np.asarray(output) if isinstance(output, np.generic) else output, None, 0)
