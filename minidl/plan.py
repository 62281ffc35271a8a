"""A net's forward pass as a list of its operations, run again without the Python between them.

A small operation costs as much in modules, checks and Tensors as in arithmetic: a quarter of LeNet's inference. A run
shows which operations there are and what each takes; after that a pass is their `forward` on arrays, one after the
other, and the nodes that `apply` would have left where the graph is recorded. That is right as long as the net does the
same for all inputs of a kind. So it may not look at a Tensor's numbers nor draw any, and nothing may be in the list
whose origin is unknown: an array or a Tensor that is neither an input, a parameter or buffer, nor the output of an
operation of the list. And another run, on other numbers, has to show the same list, for operations that look at numbers
themselves. Where that fails, the net runs as it is.
"""

import operator
import random
from typing import NamedTuple

import numpy as np

from .function import (
    cast_dtype,
    enable_grad,
    is_grad_enabled,
    is_observed,
    next_sequence,
    observe_nodes,
    observe_reads,
)
from .nn.hooks import changes
from .nn.module import Module
from .random import generator
from .tensor import Tensor, changes_of_kind, kind_of, wrap
from .trace import place

_MOST_PLANS = 16  # kinds of inputs of which the list is kept
_MOST_TRIES = 32  # lists that are made of a net, kept or not: one that never comes to rest runs as it is
_GENERATORS = np.random.Generator, np.random.RandomState, random.Random
_CONSTANTS = type(None), bool, int, float, complex, str, slice, type(...)


def optimize_for_training(net):
    """Let a net run its operations one after the other, without the Python between them.

    What it computes stays the same to the last bit, and so does what autograd makes of it. The first two calls with
    inputs of another shape, or in another mode, run as ever and show which operations there are. A net whose operations
    depend on numbers (a branch on a Tensor, random numbers of its own) goes on as it is, and so does one that records
    no gradient: for that there is optimize_for_inference. What forward does beside its operations (to print, to count)
    then happens no more, unless a hook does it. `del net.forward` undoes it.

    Returns:
        the net itself.

    Raises:
        TypeError: net is no Module.
    """
    if not isinstance(net, Module):
        raise TypeError(f"optimize_for_training: net must be a Module, got {type(net).__name__}")
    net.forward = PlannedForward(net, tried_out=False)
    return net


class PlannedForward:
    """Stands as `forward` in a net, and runs the list of its operations; without a list, what the net's class defines.

    A hook, another mode and an attribute that is set anywhere in the net are seen: the list is made again. What is
    changed in other ways (a global variable, an item of a list) is not.

    Args:
        tried_out: make the list of an evaluation, too, from two more runs on numbers of their own. As they record a
            graph, they take the memory of a training step.
    """

    def __init__(self, net, tried_out=True):
        self.net, self.tried_out, self.tries = net, tried_out, 0
        self.plans, self.first = {}, {}  # by kinds of inputs: the plan, None without; the plan that one run showed
        self.seen, self.state = None, []  # of the net when the plans were made
        self.modes, self.held, self.kinds = (), [], []  # of its modules; its parameters and buffers, and of what kind
        self.generators = []  # of random numbers, attributes of its modules

    def __deepcopy__(self, memo):
        return PlannedForward(memo.get(id(self.net), self.net), self.tried_out)

    def __call__(self, *inputs, **options):
        if options or is_observed() or cast_dtype():
            return self._forward(*inputs, **options)
        for x in inputs:
            if type(x) is not Tensor or x._data.dtype.kind != "f":
                return self._forward(*inputs)
        if self.seen != (changes(), changes_of_kind()):
            self._look()
        tensors = [*inputs, *self.held]
        needs = tuple([x._requires_grad for x in tensors]) if is_grad_enabled() else ()
        recording = True in needs
        key = self.modes, recording and needs, *[kind_of(x._data) for x in inputs]
        plan = self.plans.get(key, ...)
        if plan is ... and recording:
            return self._run_and_look(key, inputs)
        if plan is ...:
            plan = self._try_out(key, inputs)
        if plan is None:
            return self._forward(*inputs)
        return (plan.run_recorded if recording else plan.run)(tensors)

    def _forward(self, *inputs, **options):
        return type(self.net).forward(self.net, *inputs, **options)

    def _look(self):
        """Forget the plans if anything in the net is another than it was, but for modes."""
        state, modes = [], []
        for module in self.net.modules():
            state += module, module.hooked
            for name, value in module.__dict__.items():
                if name == "training":
                    modes.append(value)
                    continue
                state.append(value)
                if name in ("_parameters", "_buffers", "_modules"):
                    state += value.values()
        held = [*self.net.parameters(), *self.net.buffers()]
        kinds = [kind_of(tensor._data) for tensor in held]
        if len(state) != len(self.state) or any(map(operator.is_not, state, self.state)) or kinds != self.kinds:
            self.plans.clear()
            self.first.clear()
        self.seen, self.state, self.modes = (changes(), changes_of_kind()), state, tuple(modes)
        self.held, self.kinds = held, kinds
        self.generators = [value for value in state if isinstance(value, _GENERATORS)]

    def _may_try(self):
        """Whether to look which operations there are. Counts."""
        self.tries += 1
        return self.tries <= _MOST_TRIES and not any(module.hooked for module in self.net.modules())

    def _keep(self, key, plan):
        if len(self.plans) >= _MOST_PLANS:
            self.plans.pop(next(iter(self.plans), None), None)
        self.plans[key] = plan
        return plan

    def _try_out(self, key, inputs):
        """The plan for inputs of this kind, from two runs beside the net's own; None where there is none.

        Not in training: runs change running statistics.
        """
        plan = None
        if self.tried_out and True not in self.modes and self._may_try():
            plan = self._probe([x._data for x in inputs])
            with np.errstate(all="ignore"):
                again = plan and self._probe([-x._data for x in inputs])
            plan = plan if again and plan.is_as(again) else None
        return self._keep(key, plan)

    def _probe(self, arrays):
        try:
            with enable_grad():
                _, plan, _ = self._look_on([Tensor(a, requires_grad=True) for a in arrays])
                return plan
        except Exception:
            return None  # which the net without a plan shall tell

    def _run_and_look(self, key, inputs):
        """What the net gives. Two runs of the same list in a row make it the plan."""
        if not self._may_try():
            self._keep(key, None)
            return self._forward(*inputs)
        # What a constant goes into is recorded, too, as it is part of the list; then its gradient is renounced.
        traced = [x if x._requires_grad else Tensor(x, requires_grad=True) for x in inputs]
        output, plan, nodes = self._look_on(traced)
        _cut(nodes, [x for x, given in zip(traced, inputs, strict=True) if x is not given])
        if plan and any(y._view for y in (output if isinstance(output, tuple) else (output,))):
            plan = None  # what is changed in it changes what it is a view of
        before = self.first.pop(key, None)
        if plan and before and plan.is_as(before):
            self._keep(key, plan)
        elif plan:
            self.first[key] = plan
        return output

    def _look_on(self, inputs):
        """(what the net gives, the _Plan of the run or None, its nodes)."""
        recording, states = _Recording([*inputs, *self.held]), _random_states(self.generators)
        counts = [tensor.counter().value for tensor in self.held]
        with observe_nodes(recording.note), observe_reads(recording.refuse):
            output = self._forward(*inputs)
        changed = [
            (len(inputs) + number, tensor.counter().last)
            for number, (tensor, count) in enumerate(zip(self.held, counts, strict=True))
            if tensor.counter().value != count
        ]
        plan = recording.plan(output, changed) if _random_states(self.generators) == states else None
        return output, plan, recording.nodes


def _cut(nodes, leaves):
    """Let the graph of the nodes end where nothing but these leaves comes before."""
    ends = set(leaves)
    for node in nodes:
        node._edges = [None if edge is None or edge[0] in ends else edge for edge in node._edges]
        node.needs_input_grad = tuple([edge is not None for edge in node._edges])
        if True not in node.needs_input_grad:
            ends.add(node)


def _random_states(generators):
    """Where generators are, these and those that belong to nobody. Dropout's numbers are drawn by its operation."""
    states = [random.getstate(), np.random.get_state(legacy=False)]
    for each in (generator(), *generators):
        if isinstance(each, random.Random):
            states.append(each.getstate())
        else:
            states.append(each.bit_generator.state if isinstance(each, np.random.Generator) else each.get_state(False))
    return [_plain(state) for state in states]


def _plain(state):
    """A generator's state as what == compares as a whole."""
    if isinstance(state, dict):
        return {key: _plain(value) for key, value in state.items()}
    return state.tobytes() if isinstance(state, np.ndarray) else state


class _Step(NamedTuple):
    """An operation. Values are numbered: the inputs, what the net holds, then all outputs in order."""

    function: type
    constants: list  # the arguments; None where another is put
    taken: list  # (position of an argument, number of the value)
    least: int  # see Function._least
    first: int  # the number of the first output
    done: list  # numbers of outputs that no later step takes


class _Recording:
    """The operations of a run as steps."""

    def __init__(self, tensors):
        self.tensors, self.numbers = tensors, {place(tensor): number for number, tensor in enumerate(tensors)}
        self.size = len(tensors)
        self.steps, self.nodes, self.last = [], [], {}
        self.refused = len(self.numbers) < self.size  # one Tensor in two places

    def refuse(self, *_):
        """There is no plan: of a Tensor whose numbers are read."""
        self.refused = True

    def note(self, node, outputs, args):
        """Take over an operation: at once, as what is replaced in place has another place later."""
        self.nodes.append(node)  # as long as it lives no other has its place
        constants, taken = [None] * len(args), []
        for position, value in enumerate(args):
            if isinstance(value, Tensor):
                number = self.numbers.get(place(value))
                if number is None:
                    return self.refuse()
                taken.append((position, number))
                self.last[number] = len(self.steps)
            elif _is_constant(value):
                constants[position] = value
            else:
                return self.refuse()
        for output in outputs:
            self.last[self.size] = len(self.steps)
            self.numbers[place(output)] = self.size
            self.size += 1
        self.steps.append(_Step(type(node), constants, taken, node._least, self.size - len(outputs), []))

    def plan(self, output, changed):
        """The _Plan; None without one, and where forward returns anything but outputs of its operations."""
        outputs = output if isinstance(output, tuple) else (output,)
        if self.refused or not outputs or not all(type(y) is Tensor for y in outputs):
            return None
        if any(node._twin or node._hooks or node._retained for node in self.nodes):  # checkpoints, hooks of Tensors
            return None
        returned = [self.numbers.get(place(y), -1) for y in outputs]
        if min(returned) < len(self.tensors):
            return None
        for number, step in self.last.items():
            if number >= len(self.tensors) and number not in returned:
                self.steps[step].done.append(number)
        return _Plan(self.steps, self.size, returned, type(output) if isinstance(output, tuple) else None, changed)


def _is_constant(value):
    if isinstance(value, tuple | list):
        return all(map(_is_constant, value))
    return isinstance(value, _CONSTANTS)


class _Plan:
    def __init__(self, steps, size, returned, kind, changed):
        self.steps, self.size, self.returned, self.kind = steps, size, returned, kind
        self.changed = changed  # (number, by what) of what the net holds and changes in place

    def is_as(self, other):
        """Whether both are the same operations on the same values."""
        return vars(self) == vars(other)

    def _give(self, outputs):
        if self.kind is None:
            return outputs[0]
        return self.kind(*outputs) if hasattr(self.kind, "_fields") else self.kind(outputs)

    def run(self, tensors):
        """What the net gives for [*inputs, *what it holds]."""
        values = [tensor._data for tensor in tensors] + [None] * (self.size - len(tensors))
        for function, constants, taken, _, first, done in self.steps:
            args = constants.copy()
            for position, number in taken:
                args[position] = values[number]
            node = function()
            node.needs_input_grad = (False,) * len(args)
            output = function.forward(node, *args)
            if type(output) is tuple:
                values[first : first + len(output)] = output
            else:
                values[first] = output
            for number in done:
                values[number] = None
        return self._give([wrap(_as_array(values[number]), None, 0) for number in self.returned])

    def run_recorded(self, tensors):
        """run, leaving the nodes that Function.apply leaves."""
        values = [tensor._data for tensor in tensors]
        edges = [(x if x._node is None else x._node, x._index) if x._requires_grad else None for x in tensors]
        room = [None] * (self.size - len(tensors))
        values, edges, tensors = values + room, edges + room, tensors + room
        for function, constants, taken, least, first, done in self.steps:
            args, own = constants.copy(), [None] * len(constants)
            for position, number in taken:
                args[position], own[position] = values[number], edges[number]
            node = function()
            node.needs_input_grad = tuple([edge is not None for edge in own])
            output = function.forward(node, *args)
            outputs = [_as_array(array) for array in output] if type(output) is tuple else [_as_array(output)]
            values[first : first + len(outputs)] = outputs
            if True in node.needs_input_grad:
                node._edges, node._sequence, node._least = own, next_sequence(), least
                node._outputs = tuple([(array.shape, array.dtype) for array in outputs])
                for index, array in enumerate(outputs):
                    if array.dtype.kind in "fc" and id(array) not in node._constants:
                        edges[first + index] = node, index
                if node._saved:
                    known = [number for _, number in taken] + list(range(first, first + len(outputs)))
                    node._saved = [_entry(array, known, first, values, edges, tensors) for array in node._saved]
            for number in done:
                values[number] = edges[number] = tensors[number] = None
        for number, what in self.changed:
            tensors[number].mark_changed(what)
        return self._give([_tensor(number, values, edges, tensors) for number in self.returned])


def _entry(array, known, first, values, edges, tensors):
    """What a node keeps of an array that it saved: see Function._saved. known: numbers of what it took and gave."""
    for number in known:
        if values[number] is array:
            break
    else:
        return array, None, 0, None
    tensor = _tensor(number, values, edges, tensors)
    if number >= first:  # an output: its Tensor would keep the node, and the node it
        counter = tensor.counter()
        return array, number - first, counter.value, counter
    counter = tensor._counter
    return tensor if counter is None else (tensor, None, counter.value, counter)


def _tensor(number, values, edges, tensors):
    """The Tensor of a value, made where there is none."""
    if tensors[number] is None:
        tensors[number] = wrap(values[number], *(edges[number] or (None, 0)))
    return tensors[number]


def _as_array(output):
    return np.asarray(output) if isinstance(output, np.generic) else output
