"""The function under check, the point at which it is checked, and its outputs and gradients there."""

from contextlib import contextmanager

import numpy as np

from ..autograd import grad
from ..cuda import to_host
from ..function import enable_grad, is_grad_enabled, no_grad
from ..tensor import Tensor


class Variable:
    """What the derivative is taken with respect to: an input, or a parameter of the function.

    Attributes:
        name: "input 0" or "parameter fc.weight". array: its value; changed in place by differences, and restored.
        position: of the input among the arguments, None for a parameter. tensor: the parameter, None for an input.
    """

    def __init__(self, name, array, position=None, tensor=None):
        self.name, self.array, self.position, self.tensor = name, array, position, tensor

    def write(self):
        """Let a parameter that is on a GPU have the value of the array, which is a copy on the host."""
        if self.tensor is not None and self.tensor.data is not self.array:
            self.tensor.data[...] = np.asarray(self.array, like=self.tensor.data)

    @property
    def size(self):
        """How many real numbers it holds: a complex number is two."""
        return self.array.size * (2 if self.array.dtype.kind == "c" else 1)

    def place(self, entry):
        """The index of real number `entry`, for messages: "[2, 0]", and whether it is a real or imaginary part."""
        part = ""
        if self.array.dtype.kind == "c":
            entry, imaginary = divmod(entry, 2)
            part = ".imag" if imaginary else ".real"
        index = ", ".join(map(str, np.unravel_index(entry, self.array.shape))) if self.array.ndim else "()"
        return f"[{index}]{part}"

    def shift(self, entry, step):
        """Move one real number by a step; returns what it really moved by, for x + h is rounded."""
        if self.array.dtype.kind == "c":
            entry, imaginary = divmod(entry, 2)
            step = self.array.dtype.type(1j * step if imaginary else step)
            before = self.array.flat[entry]
            self.array.flat[entry] = before + step
            moved = self.array.flat[entry] - before
            return moved.imag if imaginary else moved.real
        before = self.array.flat[entry]
        self.array.flat[entry] = before + self.array.dtype.type(step)
        return float(self.array.flat[entry]) - float(before)

    def __repr__(self):
        return f"{self.name} (shape {self.array.shape}, {self.array.dtype})"


class Run:
    """One recorded evaluation: the leaves, the outputs, and gradients from them."""

    def __init__(self, leaves, outputs):
        self.leaves, self.outputs = leaves, outputs

    def gradients(self, cotangents, retain_graph=False):
        """The gradients of the leaves for cotangents, arrays or None, one per output; None where there is none."""
        pairs = [(y, c) for y, c in zip(self.outputs, cotangents, strict=True) if c is not None and y.requires_grad]
        if not pairs:
            return [None] * len(self.leaves)
        outputs, cotangents = zip(*pairs, strict=True)
        results = grad(
            list(outputs),
            self.leaves,
            [Tensor(c).to(y.device) for c, y in zip(cotangents, outputs, strict=True)],
            retain_graph=retain_graph,
            allow_unused=True,
        )
        return [None if g is None else g.detach().cpu().numpy() for g in results]


class Subject:
    """f at a point. `values` are its outputs, as one vector of real numbers; `record` gives gradients.

    Args:
        f: a function of Tensors; a Module's parameters are variables too.
        inputs: its arguments. Floating-point arrays and Tensors that require gradients are variables.
        wrt: the numbers of the arguments to take as variables, or None.
        every_output: also outputs that require no gradient are differentiated (their gradient is zero).
    """

    def __init__(self, f, inputs, wrt=None, every_output=False):
        self.f, self.every_output, self.evaluations = f, every_output, 0
        self.arguments = [plain(a) for a in inputs]
        parameters = list(f.named_parameters()) if hasattr(f, "named_parameters") else []
        tensors = [a for a in inputs if isinstance(a, Tensor)] + [tensor for _, tensor in parameters]
        self.device = next((t.device for t in tensors if t.device != "cpu"), "cpu")
        self.variables = [
            Variable(f"input {p}", np.array(a, order="K"), position=p)
            for p, a in enumerate(self.arguments)
            if _is_variable(inputs[p], p, wrt)
        ]
        for name, tensor in parameters:
            if tensor.requires_grad:
                self.variables.append(Variable(f"parameter {name}", to_host(tensor.data), tensor=tensor))
        self.chosen = None  # the numbers of the outputs that are differentiated

    def with_arrays(self, arrays):
        """The same function at another point, or with the same numbers in another layout: arrays of the inputs."""
        other = Subject.__new__(Subject)
        other.__dict__.update(self.__dict__)
        other.variables = [
            v if v.tensor is not None else Variable(v.name, a, v.position)
            for v, a in zip(self.variables, arrays, strict=True)
        ]
        return other

    def doubled(self, outputs):
        """The same function on float64 inputs, where these are less precise and f takes that; else None.

        Rounding hides small differences in float32; in float64 the differences of the same function are exact enough.
        """
        if all(v.array.dtype.itemsize >= _double(v.array).itemsize for v in self.variables):
            return None
        if any(v.tensor is not None for v in self.variables):
            return None
        other = self.with_arrays([v.array.astype(_double(v.array)) for v in self.variables])
        other.arguments = [a.astype(_double(a)) if is_floating(a) else a for a in self.arguments]
        try:
            results = other.arrays_of_outputs()
        except Exception:  # f is made for its own dtype
            return None
        alike = zip(results, outputs, strict=True)
        if all(r.dtype == _double(y) and np.allclose(r, y, 1e-3, 1e-3, equal_nan=True) for r, y in alike):
            return other
        return None

    def record(self):
        """Evaluate f and record its graph."""
        with enable_grad():
            leaves = [v.tensor if v.tensor is not None else self._tensor(v.array) for v in self.variables]
            for leaf in leaves:
                leaf.requires_grad_()
            outputs = self._call(leaves)
        if self.chosen is None:
            floating = [i for i, y in enumerate(outputs) if y.dtype.kind in "fc"]
            recorded = [i for i in floating if outputs[i].requires_grad]
            self.chosen = floating if self.every_output or not recorded else recorded
        return Run(leaves, [outputs[i] for i in self.chosen])

    def arrays_of_outputs(self):
        """The differentiated outputs as arrays, without a graph."""
        self.evaluations += 1
        with no_grad(), np.errstate(all="ignore"):
            outputs = self._call([None if v.tensor is not None else self._tensor(v.array) for v in self.variables])
        return [outputs[i].detach().cpu().numpy() for i in self.chosen]

    def values(self):
        """All differentiated outputs as one vector."""
        return flat(self.arrays_of_outputs())

    def _tensor(self, array):
        """A Tensor of an argument, which is kept on the host: its memory there, or a copy on the subject's device."""
        return Tensor(array) if self.device == "cpu" else Tensor(array).to(self.device)

    def _call(self, leaves):
        arguments = list(self.arguments)
        for variable, leaf in zip(self.variables, leaves, strict=True):
            variable.write()
            if variable.position is not None:
                arguments[variable.position] = leaf
        arguments = [self._tensor(a) if isinstance(a, np.ndarray) else a for a in arguments]
        result = self.f(*arguments)
        outputs = list(result) if isinstance(result, tuple | list) else [result]
        for number, output in enumerate(outputs):
            if not isinstance(output, Tensor):
                raise TypeError(
                    f"gradcheck: the function must return a Tensor or a tuple of Tensors; output {number} is "
                    f"{type(output).__name__}"
                )
        return outputs

    @contextmanager
    def unchanged(self):
        """Restore every variable at the end of the block, whatever happened to it."""
        kept = [v.array.copy(order="K") for v in self.variables]
        try:
            yield kept
        finally:
            for variable, array in zip(self.variables, kept, strict=True):
                variable.array[...] = array
                variable.write()


def plain(argument):
    """Tensors as NumPy arrays; all else as it is."""
    return argument.detach().cpu().numpy() if isinstance(argument, Tensor) else argument


def _is_variable(argument, position, wrt):
    if wrt is not None:
        return position in wrt
    return argument.requires_grad if isinstance(argument, Tensor) else is_floating(argument)


def _double(array):
    return np.dtype(np.complex128 if array.dtype.kind == "c" else np.float64)


def is_floating(argument):
    """Whether an argument is an array that can be differentiated by."""
    return isinstance(argument, np.ndarray) and argument.dtype.kind in "fc"


def flat(arrays):
    """Arrays as one vector of float64: a complex number as its real and imaginary part."""
    parts = []
    for array in arrays:
        double = np.complex128 if array.dtype.kind == "c" else np.float64
        parts.append(np.array(array, double, order="C").reshape(-1).view(np.float64))
    return np.concatenate(parts) if parts else np.zeros(0)


def unflatten(vector, like):
    """The inverse of flat: arrays with the shapes and dtypes of `like`."""
    arrays, start = [], 0
    for array in like:
        size = array.size * (2 if array.dtype.kind == "c" else 1)
        part = np.ascontiguousarray(vector[start : start + size])
        part = part.view(np.complex128) if array.dtype.kind == "c" else part
        arrays.append(part.reshape(array.shape).astype(array.dtype))
        start += size
    return arrays


def first_gradients(f, count, wrt):
    """The function of f's inputs and output cotangents that returns f's gradients: what gradgradcheck checks."""
    parameters = [p for p in f.parameters() if p.requires_grad] if hasattr(f, "named_parameters") else []

    def gradients(*arguments):
        recording = is_grad_enabled()
        inputs, cotangents = list(arguments[:count]), list(arguments[count:])
        with enable_grad():
            for position in wrt:
                if not inputs[position].requires_grad:
                    inputs[position] = inputs[position].detach().requires_grad_()
            result = f(*inputs)
            outputs = list(result) if isinstance(result, tuple | list) else [result]
            leaves = [inputs[position] for position in wrt] + parameters
            found = grad(
                [y for y in outputs if y.requires_grad], leaves, cotangents, create_graph=recording, allow_unused=True
            )
        return tuple(
            Tensor(np.zeros(x.shape, x.dtype, like=x.data)) if g is None else g
            for g, x in zip(found, leaves, strict=True)
        )

    if parameters:
        gradients.named_parameters = f.named_parameters
    return gradients
