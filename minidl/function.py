"""Function: an operation and, applied, a node of the graph; the modes that say whether the graph is recorded.

Every operation on Tensors that require gradients leaves a node: it knows which nodes (or leaf Tensors) its inputs came
from, and what its backward needs. Gradients are Tensors and backward is written with the same operations as forward, so
a gradient can be differentiated again (create_graph=True). autograd.py walks the graph.
"""

import itertools
import threading
import traceback
import weakref
from contextlib import ContextDecorator

import numpy as np

from . import cuda
from . import tensor as _tensor  # the one circular import of the house: each needs the other's class

# ---- modes ---------------------------------------------------------------------------------------------------------


class _Modes(threading.local):
    grad = True
    casts = None  # within autocast (amp.py): the dtype, and the weights that were converted to it
    observers = ()  # called with every node that is recorded, its outputs and its arguments
    reader = None  # called with every Tensor whose numbers are read


_modes = _Modes()


class _Mode(ContextDecorator):
    """A switch for the current thread: a context manager, or a decorator that switches during each call."""

    def __init__(self, name, value):
        self._name, self._value, self._previous = name, value, []

    def __enter__(self):
        previous = getattr(_modes, self._name)
        self._previous.append(previous)
        setattr(_modes, self._name, (*previous, self._value) if self._name == "observers" else self._value)
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


def casting(dtype):
    """In the with block, let operations convert their Tensors on a GPU to `dtype` where ops/_autocast.py says so.

    With None they compute in the dtypes that they are given. What was converted is kept until the block ends.
    """
    return _Mode("casts", None if dtype is None else (dtype, {}))


def cast_dtype():
    """The dtype of the `casting` that this thread is in, or None."""
    return _modes.casts and _modes.casts[0]


def detect_anomaly():
    """Within the block, a backward pass that produces NaN or Inf raises and names the line of the forward operation.

    Where the forward pass had given NaN or Inf before, the first operation that did is named too. Both the forward and
    the backward pass must run inside. It keeps a stack trace per operation: slow, to find bugs.
    """
    return _Mode("observers", keep_trace)


def keep_trace(node, outputs, _):
    """Note where the operation was called, and whether its outputs are finite."""
    node._trace = traceback.extract_stack()[:-2]
    node._finite = all(np.isfinite(tensor._data).all() for tensor in outputs)


def observe_nodes(observer):
    """Call observer(node, outputs, arguments of apply) for every node that the with block records on this thread."""
    return _Mode("observers", observer)


def observe_reads(reader):
    """Call reader(tensor) for every Tensor whose numbers are read on this thread: .data, numpy, item, tolist, bool."""
    return _Mode("reader", reader)


def is_observed():
    """Whether observe_nodes or detect_anomaly is at work on this thread."""
    return bool(_modes.observers)


# ---- a node of the graph -------------------------------------------------------------------------------------------

_NUMBERS = {type(None), bool, int, float, complex}  # what is saved as it is
next_sequence = itertools.count().__next__
_ROOM = 8  # references to views kept before the dead ones among them are looked for
AFTER_ACCUMULATION = "after accumulation"  # the key of a leaf's hooks that run once .grad has been added to


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

    Attributes of a subclass:
        on_arrays: set True for an operation whose backward is written with operators and `call` alone. Where nothing is
            recorded it is given arrays in place of Tensors, on which the same formula runs faster.
        adds_onto: set True, beside on_arrays, for an operation whose backward can add its first input's gradient to
            what that input's value has received from its other users (`ctx.take_onto()`), where there is any.
        gives_new: set True for an operation whose backward gives arrays that share memory with nothing: not with each
            other, with what it was given, or with what ctx keeps. A leaf then keeps its gradient without a look.
        elementwise: set True for an operation as above whose inputs broadcast. The gradients that it returns are then
            also summed over the axes along which an input was repeated.
        is_view: set True for an operation whose outputs may share the memory of its first input, and nothing but that:
            changes in place are then followed (views.py): of the input, and of the output where it is the only one.

    Attributes of ctx:
        needs_input_grad: tuple of bool, one per input of forward.
        saved_tensors: what was saved, as Tensors.
    """

    on_arrays = False
    adds_onto = False
    gives_new = False
    elementwise = False
    is_view = False
    _saved = ()  # Tensors that nothing had changed; else (value, index of an output, version, counter)
    _freed = False
    _least = None  # how many gradients backward returns at least: trailing inputs that are no Tensors need none
    _hooks = None  # index of an output -> its hooks
    _retained = None  # index of an output -> weak reference to the Tensor whose .grad is kept
    _trace, _finite = None, True  # under detect_anomaly: the stack of the forward call, and what it gave
    _constants = ()
    _materialize = True
    _onto = ()  # during a backward that adds_onto: the array, until it is taken
    _twin = None  # (segment, number): where to borrow what was saved, see checkpoint.py

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
        self._saved = arrays  # until `apply` knows their places

    def mark_non_differentiable(self, *arrays):
        """In forward: say which outputs have no gradient; their Tensors do not require one."""
        self._constants = tuple(map(id, arrays))

    def set_materialize_grads(self, value):
        """In forward, with False: let backward receive None, not zeros, for outputs that have no gradient."""
        self._materialize = bool(value)

    @property
    def next_functions(self):
        """(node or leaf, which of the node's outputs) per input of forward; (None, 0) for one without gradient."""
        return tuple((None, 0) if edge is None else edge for edge in self._edges)

    @property
    def saved_tensors(self):
        """The saved arrays as Tensors, in order (as arrays where an elementwise backward is not recorded).

        Raises:
            RuntimeError: the graph was freed by an earlier pass, a saved Tensor was changed in place since, or the
                gradient is to be differentiated again and a saved array is neither an input nor an output.
        """
        if self._freed:
            self.raise_freed()
        Tensor, recording = _tensor.Tensor, _modes.grad
        as_arrays = self.on_arrays and not recording
        restored = []
        for entry in self._saved:
            if isinstance(entry, Tensor):
                restored.append(entry._data if as_arrays else entry)
                if entry._counter is not None and entry._counter.value:
                    self.raise_changed(len(restored) - 1, entry.shape, entry._counter)
                continue
            value, index, version, counter = entry
            if isinstance(value, Tensor):
                restored.append(value._data if as_arrays else value)
            elif as_arrays:
                restored.append(value)
            elif index is not None:
                restored.append(_tensor.wrap(value, self, index, counter))
            elif not cuda.is_array(value):
                restored.append(value)
            elif recording and value.dtype.kind in "fc":
                raise RuntimeError(
                    f"{self.name} cannot be differentiated twice: array number {len(restored)} that it saved is "
                    "neither an input nor an output, so its own derivative is unknown. Compute it in backward, or "
                    "keep a constant as attribute of ctx."
                )
            else:
                restored.append(_tensor.wrap(_as_array(self, value), None, 0))
            if counter is not None and counter.value != version:
                self.raise_changed(len(restored) - 1, value.shape, counter)
        return tuple(restored)

    def saved_values(self):
        """What was saved, as it is kept: Tensors of inputs, arrays of outputs and of others, numbers."""
        return [entry if isinstance(entry, _tensor.Tensor) else entry[0] for entry in self._saved]

    def raise_freed(self):
        raise RuntimeError(
            f"backward through {self.name} a second time: what it saved was freed by the first pass. "
            "Pass retain_graph=True to the first backward() or grad()."
        )

    def raise_changed(self, number, shape, counter):
        raise RuntimeError(
            f"Tensor number {number} that {self.name} saved for its backward (shape {shape}) was changed in place "
            f"afterwards by {counter.last}; use an operation that returns a new Tensor, or change a copy"
        )

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

    def retains(self, index, tensor):
        """Whether the Tensor is one whose .grad is set."""
        return bool(self._retained) and self._retained.get(index, lambda: None)() is tensor

    def keep_before_change(self, tensor):
        """Where a Tensor was saved that this node's output is to replace in place, save a copy of it instead."""
        if any(value is tensor for value in self.saved_values()):
            old = _tensor.wrap(tensor._data.copy(order="K"), tensor._node, tensor._index)
            pairs = zip(self._saved, self.saved_values(), strict=True)
            self._saved = [old if value is tensor else entry for entry, value in pairs]

    def move_retained(self, tensor, result):
        """Let a Tensor that `result` replaces in place keep the gradient of its new value, not of this output."""
        if self.retains(tensor._index, tensor):
            del self._retained[tensor._index]
            if result._node is not None:
                result._node.retain_output(result._index, tensor)

    def take_onto(self):
        """(array,): what the gradient of the first input, which backward returns, is to be added to; () if nothing."""
        onto, self._onto = self._onto, ()
        return onto

    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        cls.on_arrays = cls.on_arrays or cls.elementwise

    @classmethod
    def call(cls, x, *args):
        """apply where x is a Tensor; forward alone where it is an array. For a backward that is given either."""
        if isinstance(x, _tensor.Tensor):
            return cls.apply(x, *args)
        ctx = cls()
        ctx.needs_input_grad = (False,) * (1 + len(args))
        return cls.forward(ctx, np.asarray(x) if isinstance(x, np.generic) else x, *args)

    @classmethod
    def apply(cls, *args):
        """Run forward on the Tensors' arrays; record a node while recording, if an input requires a gradient."""
        node = cls()
        Tensor, recording = _tensor.Tensor, _modes.grad
        arrays, needs, edges = [], [], []
        for a in args:
            if isinstance(a, Tensor):
                arrays.append(a._data)
                if recording and a._requires_grad:
                    needs.append(True)
                    edges.append((a if a._node is None else a._node, a._index))
                    continue
            else:
                arrays.append(a)
            needs.append(False)
            edges.append(None)
        recording = True in needs
        if recording and len(arrays) > 1 and (arrays[0] is arrays[1] or len(arrays) > 2):
            _tell_apart(arrays)
        node.needs_input_grad = tuple(needs)
        try:
            output = cls.forward(node, *arrays)
        except Exception:
            _check_devices(node, args)
            raise
        if type(output) is tuple:
            tensors = tuple([node._output(array, i, args, arrays, recording, True) for i, array in enumerate(output)])
            node._outputs = tuple([(tensor._data.shape, tensor._data.dtype) for tensor in tensors])
        else:
            tensor = node._output(output, 0, args, arrays, recording, False)
            array = tensor._data
            tensors, node._outputs = (tensor,), ((array.shape, array.dtype),)
        if recording:
            node._edges, node._sequence = edges, next_sequence()
            if not isinstance(a, Tensor):
                node._least = len(args)
                while not isinstance(args[node._least - 1], Tensor):
                    node._least -= 1
            if node._saved:
                saved = []
                for array in node._saved:
                    if type(array) in _NUMBERS:
                        saved.append((array, None, 0, None))
                        continue
                    position = 0  # counted by hand: zip takes 0.1 us more
                    for own in arrays:
                        if own is array and isinstance(args[position], Tensor):  # an input is kept as its Tensor
                            x = args[position]
                            saved.append(x if x._counter is None else (x, None, x._counter.value, x._counter))
                            break
                        position += 1
                    else:
                        saved.append(_keep(array, output, tensors))
                node._saved = saved
            for observe in _modes.observers:
                observe(node, tensors, args)
        return tensors if type(output) is tuple else tensor

    def _output(self, array, index, args, arrays, recording, several):
        """The Tensor of output number `index`, which may be one of several."""
        if self._constants and id(array) in self._constants:
            recording = False
        if type(array) is not np.ndarray:
            array = _as_array(self, array)
        tensor = _tensor.wrap(array, self if recording and array.dtype.kind in "fc" else None, index)
        for own in arrays:
            if own is array:  # forward returned its input
                break
        else:
            if array.base is None:
                return tensor
        _note_view(tensor, self, args, several)
        return tensor


def _note_view(view, node, args, several):
    """Note where `view`, an output of `node` (one of several), shares its memory with one of the arguments."""
    array = view._data
    owner = array if array.base is None else array.base  # NumPy lets every view refer to the owner
    for source in args:
        if isinstance(source, _tensor.Tensor) and (owner is source._data or owner is source._data.base):
            break
    else:
        return
    counter = view._counter = source._counter or source.counter()
    if not _modes.grad:
        view._view = _tensor.View(None, None, "made under no_grad()")
        return
    known = source._view
    base, steps, obstacle = (source, (), None) if known is None else (known.base, known.steps, known.obstacle)
    if not node.is_view or source is not args[0]:
        steps, obstacle = None, f"returned by {node.name}.forward, which does not say how it was made (is_view)"
    elif steps is not None:
        steps = steps, type(node), args[1:], view._index
        obstacle = f"one of several that {node.name} returned" if several else obstacle
    view._view = _tensor.View(base, steps, obstacle)
    if len(counter.views) >= counter.room:
        counter.views = [reference for reference in counter.views if reference() is not None]
        counter.room = 2 * len(counter.views) + _ROOM
    counter.views.append(weakref.ref(view))


def _tell_apart(arrays):
    """Let no array stand for two Tensors, as x and x.detach(): of what forward saves it must be known which it was."""
    if len({*map(id, arrays)}) == len(arrays):
        return
    seen = set()
    for position, array in enumerate(arrays):
        if id(array) in seen and cuda.is_array(array):
            arrays[position] = array.view()
        seen.add(id(array))


def _check_devices(node, args):
    """Say so where forward failed because its arrays are of two libraries."""
    places = [(number, a.device) for number, a in enumerate(args) if isinstance(a, _tensor.Tensor)]
    for number, device in places:
        if device != places[0][1]:
            raise RuntimeError(
                f"{node.name}: input {places[0][0]} is on {places[0][1]}, input {number} on {device}; "
                "all must be on one device"
            )


def _as_array(node, output):
    if isinstance(output, np.generic | np.ndarray):
        return np.asarray(output)
    if cuda.on_gpu(output):
        return output
    raise TypeError(f"{node.name}.forward must return arrays, got {type(output).__name__}")


def _keep(array, output, tensors):
    """(value, output index, version, counter) of a saved array that is no input.

    An output is kept as its array: its Tensor would keep the node, and the node it.
    """
    for index, own in enumerate(output if type(output) is tuple else (output,)):
        if own is array:
            counter = tensors[index].counter()
            return tensors[index]._data, index, counter.value, counter
    return array, None, 0, None


class Handle:
    """Removes a hook."""

    _next = itertools.count().__next__

    def __init__(self, hooks, hook, prepend=False):
        self._hooks, self._key = hooks, Handle._next()
        later = dict(hooks) if prepend else {}
        for key in later:
            del hooks[key]
        hooks[self._key] = hook
        hooks.update(later)

    def remove(self):
        """Take the hook away; a second time does nothing."""
        self._hooks.pop(self._key, None)


def check_gradient(what, gradient, shape, dtype, like):
    """Raise an error of use where it is no Tensor of this shape and dtype on the device of the array `like`."""
    if not isinstance(gradient, _tensor.Tensor):
        raise TypeError(f"{what} must be a Tensor, not {type(gradient).__name__}")
    if gradient.shape != shape:
        raise ValueError(f"{what} has shape {gradient.shape}, it must be {shape}")
    if gradient.dtype != dtype:
        raise TypeError(f"{what} has dtype {gradient.dtype}, it must be {dtype}")
    if cuda.apart(gradient._data, like):
        raise RuntimeError(f"{what} is on {gradient.device}, it must be on {cuda.device_of(like)}")
