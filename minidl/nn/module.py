"""Module: a layer or a net. It holds parameters, buffers and other modules, found by the names they are assigned to."""

import numpy as np

from ..tensor import Tensor
from . import hooks

_MISSING = object()


class Parameter(Tensor):
    """A Tensor that a Module trains."""

    __slots__ = ()

    def __init__(self, data, requires_grad=True):
        super().__init__(data, requires_grad)

    def __repr__(self):
        return f"Parameter containing:\n{super().__repr__()}"


class Module:
    """Subclass it: assign Parameters and Modules in __init__ (after super().__init__()), compute in forward.

    Attributes:
        training: True after train(), False after eval(): dropout and batch norm behave differently.
    """

    def __init__(self):
        # Set past __setattr__, which needs them.
        self.__dict__.update(training=True, _parameters={}, _buffers={}, _modules={}, _hooks={})

    def forward(self, *inputs):
        """What the module computes."""
        raise NotImplementedError(f"{type(self).__name__} needs a method forward")

    def __call__(self, *inputs, **options):
        return hooks.call(self, inputs, options) if self._hooks else self.forward(*inputs, **options)

    # ---- hooks -------------------------------------------------------------------------------------------------------

    def register_forward_pre_hook(self, hook, *, prepend=False, with_kwargs=False):
        """Call hook(module, args) before each forward; what it returns, if not None, replaces the arguments.

        A single value stands for a tuple of it. With with_kwargs it is hook(module, args, kwargs), which may return a
        pair of both. With prepend it runs before those registered so far.

        Returns:
            a handle whose remove() takes the hook away.
        """
        return hooks.register(self, "forward_pre", hook, prepend, with_kwargs)

    def register_forward_hook(self, hook, *, prepend=False, with_kwargs=False):
        """Call hook(module, args, output) after each forward; what it returns, if not None, replaces the output.

        With with_kwargs it is hook(module, args, kwargs, output). See register_forward_pre_hook.
        """
        return hooks.register(self, "forward", hook, prepend, with_kwargs)

    def register_full_backward_pre_hook(self, hook, prepend=False):
        """Call hook(module, grad_output) when the gradients of the outputs are known.

        grad_output is a tuple, with None for an output without gradient; a tuple that the hook returns replaces it.
        """
        return hooks.register(self, "backward_pre", hook, prepend)

    def register_full_backward_hook(self, hook, prepend=False):
        """Call hook(module, grad_input, grad_output) when the gradients of the positional inputs are known.

        Both are tuples, with None where there is no gradient; a tuple that the hook returns replaces grad_input.
        """
        return hooks.register(self, "backward", hook, prepend)

    # ---- what it holds -----------------------------------------------------------------------------------------------

    def __setattr__(self, name, value):
        if "_parameters" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__}: call super().__init__() before assigning {name!r}")
        kind = "_parameters" if isinstance(value, Parameter) else "_modules" if isinstance(value, Module) else None
        for members in ("_parameters", "_buffers", "_modules"):
            present = self.__dict__[members]
            if name in present and members != kind:
                if value is None or members == "_buffers" and isinstance(value, Tensor):
                    present[name] = value
                    return
                del present[name]
        if kind:
            self.__dict__.pop(name, None)
            self.__dict__[kind][name] = value
        else:
            object.__setattr__(self, name, value)

    def __getattr__(self, name):  # called only where normal lookup fails
        for members in ("_parameters", "_buffers", "_modules"):
            value = self.__dict__.get(members, {}).get(name, _MISSING)
            if value is not _MISSING:
                return value
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __delattr__(self, name):
        for members in ("_parameters", "_buffers", "_modules"):
            if name in self.__dict__[members]:
                del self.__dict__[members][name]
                return
        object.__delattr__(self, name)

    def __dir__(self):
        return [*super().__dir__(), *self._parameters, *self._buffers, *self._modules]

    def register_parameter(self, name, parameter):
        """Hold a Parameter, or None where an optional one is absent."""
        if parameter is not None and not isinstance(parameter, Parameter):
            raise TypeError(f"register_parameter: {name!r} must be a Parameter or None, got {type(parameter).__name__}")
        self._parameters[name] = parameter

    def register_buffer(self, name, tensor):
        """Hold a Tensor that is saved with the module but not trained."""
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(f"register_buffer: {name!r} must be a Tensor or None, got {type(tensor).__name__}")
        self._buffers[name] = tensor

    def add_module(self, name, module):
        """Hold a module under a name that need not be an identifier."""
        if not isinstance(module, Module):
            raise TypeError(f"add_module: {name!r} must be a Module, got {type(module).__name__}")
        if not name or "." in name:
            raise ValueError(f"add_module: a name must be non-empty and without dots, got {name!r}")
        self._modules[name] = module

    def children(self):
        """The modules held directly."""
        return (module for _, module in self.named_children())

    def named_children(self):
        """(name, module) of the modules held directly."""
        return ((name, module) for name, module in self._modules.items() if module is not None)

    def modules(self):
        """This module and all below, each once."""
        return (module for _, module in self.named_modules())

    def named_modules(self, prefix="", seen=None):
        """(dotted name, module) of this module and all below, each once; this one's name is the prefix."""
        seen = set() if seen is None else seen
        if self not in seen:
            seen.add(self)
            yield prefix, self
            for name, child in self.named_children():
                yield from child.named_modules(f"{prefix}.{name}" if prefix else name, seen)

    def _named_members(self, members):
        seen = set()
        for prefix, module in self.named_modules():
            for name, tensor in module.__dict__[members].items():
                if tensor is not None and tensor not in seen:
                    seen.add(tensor)
                    yield f"{prefix}.{name}" if prefix else name, tensor

    def parameters(self):
        """All Parameters of this module and those below, each once."""
        return (tensor for _, tensor in self.named_parameters())

    def named_parameters(self):
        """(dotted name, Parameter) of this module and those below, each once."""
        return self._named_members("_parameters")

    def buffers(self):
        """All buffers of this module and those below, each once."""
        return (tensor for _, tensor in self.named_buffers())

    def named_buffers(self):
        """(dotted name, buffer) of this module and those below, each once."""
        return self._named_members("_buffers")

    # ---- what is done to all of it -----------------------------------------------------------------------------------

    def train(self, mode=True):
        """Set `training` here and below; returns the module."""
        for module in self.modules():
            module.__dict__["training"] = bool(mode)
        return self

    def eval(self):
        """train(False)."""
        return self.train(False)

    def apply(self, function):
        """Call function(module) for every module below, then for this one; returns the module."""
        for child in self.children():
            child.apply(function)
        function(self)
        return self

    def requires_grad_(self, requires_grad=True):
        """Set requires_grad of all parameters; returns the module."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self):
        """Forget all gradients: .grad becomes None."""
        for parameter in self.parameters():
            parameter.grad = None

    def to(self, dtype):
        """Convert floating-point parameters and buffers to a dtype, in place; returns the module."""
        dtype = np.dtype(dtype)
        if dtype.kind != "f":
            raise TypeError(f"to: dtype must be floating-point, got {dtype}")
        for tensor in (*self.parameters(), *self.buffers()):
            if tensor.dtype.kind == "f":
                tensor.data = tensor.data.astype(dtype)
                tensor.grad = None
        return self

    def double(self):
        """to(float64)."""
        return self.to(np.float64)

    def float(self):
        """to(float32)."""
        return self.to(np.float32)

    # ---- weights as a dictionary -------------------------------------------------------------------------------------

    def state_dict(self):
        """Dotted name -> Tensor of every parameter and buffer; the Tensors share their memory with the module."""
        return {name: tensor.detach() for name, tensor in self._state()}

    def _state(self):
        for prefix, module in self.named_modules():
            for members in (module._parameters, module._buffers):
                for name, tensor in members.items():
                    if tensor is not None:
                        yield f"{prefix}.{name}" if prefix else name, tensor

    def load_state_dict(self, state, strict=True):
        """Copy Tensors or arrays from a dictionary of state_dict's form into the module: all of them, or nothing.

        Args:
            strict: also require that no name is missing or unknown.

        Returns:
            (missing names, unknown names); both empty where strict.

        Raises:
            KeyError: names that are missing or unknown, listed. ValueError: shapes that differ, listed.
            Nothing has changed then.
        """
        own = dict(self._state())
        missing = [name for name in own if name not in state]
        unknown = [name for name in state if name not in own]
        if strict and (missing or unknown):
            raise KeyError(
                f"load_state_dict of {type(self).__name__}: missing {', '.join(missing) or 'nothing'}; "
                f"unknown {', '.join(unknown) or 'nothing'}"
            )
        arrays = {name: np.asarray(value.data if isinstance(value, Tensor) else value) for name, value in state.items()}
        wrong = [
            f"{name} is {arrays[name].shape}, must be {own[name].shape}"
            for name in own
            if name in arrays and arrays[name].shape != own[name].shape
        ]
        wrong += [f"{name} has dtype {a.dtype}" for name, a in arrays.items() if a.dtype.kind not in "biuf"]
        if wrong:
            raise ValueError(f"load_state_dict of {type(self).__name__}: {'; '.join(wrong)}")
        for name, tensor in own.items():
            if name in arrays:
                tensor.data[...] = arrays[name]
                tensor.mark_changed("load_state_dict")
        return missing, unknown

    # ---- how it prints -----------------------------------------------------------------------------------------------

    def extra_repr(self):
        """The settings that repr shows between the parentheses."""
        return ""

    def __repr__(self):
        inner = [self.extra_repr()] if self.extra_repr() else []
        inner += [f"({name}): {module!r}".replace("\n", "\n  ") for name, module in self.named_children()]
        if not self._modules:
            return f"{type(self).__name__}({', '.join(inner)})"
        return f"{type(self).__name__}(\n  " + "\n  ".join(inner) + "\n)"
