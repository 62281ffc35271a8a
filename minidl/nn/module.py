"""Module: a layer or a net. It holds parameters, buffers and other modules, found by the names they are assigned to."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from .. import cuda
from ..tensor import Tensor, conversion
from . import hooks


class LoadReport(NamedTuple):
    """What a state_dict and a module did not have in common."""

    missing_keys: list  # the module has them, the dictionary does not
    unexpected_keys: list  # the dictionary has them, the module does not


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
        self.__dict__.update(training=True, _parameters={}, _buffers={}, _modules={}, _hooks={}, _not_saved=set())

    def forward(self, *inputs):
        """What the module computes."""
        raise NotImplementedError(f"{type(self).__name__} needs a method forward")

    @property
    def hooked(self):
        """Whether a hook waits for this module's calls."""
        return any(self._hooks.values())

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
        hooks.note_change()
        kind = "_parameters" if isinstance(value, Parameter) else "_modules" if isinstance(value, Module) else None
        for members in ("_parameters", "_buffers", "_modules"):
            present = self.__dict__[members]
            if name in present and members != kind:
                if value is None or members == "_buffers" and not kind and isinstance(value, Tensor):
                    present[name] = value
                    return
                del present[name]
                self._not_saved.discard(name)
        if kind:
            self.__dict__.pop(name, None)
            self.__dict__[kind][name] = value
        else:
            object.__setattr__(self, name, value)

    def __getattr__(self, name):  # called only where normal lookup fails
        own = self.__dict__
        for members in ("_parameters", "_buffers", "_modules"):
            if members in own and name in own[members]:
                return own[members][name]
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __delattr__(self, name):
        hooks.note_change()
        for members in ("_parameters", "_buffers", "_modules"):
            if name in self.__dict__[members]:
                del self.__dict__[members][name]
                self._not_saved.discard(name)
                return
        object.__delattr__(self, name)

    def __dir__(self):
        return [*super().__dir__(), *self._parameters, *self._buffers, *self._modules]

    def register_parameter(self, name, parameter):
        """Hold a Parameter, or None where an optional one is absent.

        Raises:
            TypeError: neither of these, or the name is no string. ValueError: an empty name, or one with dots.
            KeyError: the module has another attribute of that name.
        """
        self._check_new("register_parameter", "_parameters", name, parameter, Parameter)
        self._parameters[name] = parameter

    def register_buffer(self, name, tensor, persistent=True):
        """Hold a Tensor that goes with the module (to, state_dict) but is not trained, or None where it is absent.

        Args:
            persistent: whether it belongs to the state_dict.

        Raises:
            as register_parameter.
        """
        self._check_new("register_buffer", "_buffers", name, tensor, Tensor)
        self._buffers[name] = tensor
        (self._not_saved.discard if persistent else self._not_saved.add)(name)

    def add_module(self, name, module):
        """Hold a module, or None, under a name that need not be an identifier.

        Raises:
            as register_parameter.
        """
        self._check_new("add_module", "_modules", name, module, Module)
        self._modules[name] = module

    register_module = add_module

    def _check_new(self, what, members, name, value, kind):
        if value is not None and not isinstance(value, kind):
            raise TypeError(f"{what}: {name!r} must be a {kind.__name__} or None, got {type(value).__name__}")
        if not isinstance(name, str):
            raise TypeError(f"{what}: a name must be a string, got {name!r}")
        if not name or "." in name:
            raise ValueError(f"{what}: a name must be non-empty and without dots, got {name!r}")
        if name not in self.__dict__[members] and hasattr(self, name):
            raise KeyError(f"{what}: {type(self).__name__} has another attribute {name!r}")
        hooks.note_change()

    def children(self):
        """The modules held directly, each once."""
        return (module for _, module in self.named_children())

    def named_children(self):
        """(name, module) of the modules held directly, each once."""
        seen = set()
        for name, module in self._modules.items():
            if module is not None and module not in seen:
                seen.add(module)
                yield name, module

    def modules(self):
        """This module and all below, each once."""
        return (module for _, module in self.named_modules())

    def named_modules(self, memo=None, prefix="", remove_duplicate=True):
        """(dotted name, module) of this module and all below; this one's name is the prefix.

        Args:
            memo: a set of modules to leave out; those given are added to it.
            remove_duplicate: give each module once, however many names it has.
        """
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, child in self._modules.items():
            if child is not None:
                yield from child.named_modules(memo, f"{prefix}.{name}" if prefix else name, remove_duplicate)

    def _named_members(self, members, prefix, recurse, remove_duplicate):
        seen = set()
        modules = self.named_modules(None, prefix, remove_duplicate) if recurse else [(prefix, self)]
        for path, module in modules:
            for name, tensor in module.__dict__[members].items():
                if tensor is not None and tensor not in seen:
                    if remove_duplicate:
                        seen.add(tensor)
                    yield f"{path}.{name}" if path else name, tensor

    def parameters(self, recurse=True):
        """All Parameters of this module and, with recurse, of those below, each once."""
        return (tensor for _, tensor in self.named_parameters(recurse=recurse))

    def named_parameters(self, prefix="", recurse=True, remove_duplicate=True):
        """(dotted name, Parameter) of this module and, with recurse, of those below, each once."""
        return self._named_members("_parameters", prefix, recurse, remove_duplicate)

    def buffers(self, recurse=True):
        """All buffers of this module and, with recurse, of those below, each once."""
        return (tensor for _, tensor in self.named_buffers(recurse=recurse))

    def named_buffers(self, prefix="", recurse=True, remove_duplicate=True):
        """(dotted name, buffer) of this module and, with recurse, of those below, each once."""
        return self._named_members("_buffers", prefix, recurse, remove_duplicate)

    def get_submodule(self, target):
        """The module of a dotted name, as named_modules gives it; this one for "".

        Raises:
            AttributeError: there is none.
        """
        module = self
        for name in target.split(".") if target else ():
            inner = module._modules.get(name)
            if inner is None:
                raise AttributeError(f"get_submodule: {type(module).__name__} has no module {name!r} (of {target!r})")
            module = inner
        return module

    def get_parameter(self, target):
        """The Parameter of a dotted name, as named_parameters gives it.

        Raises:
            AttributeError: there is none.
        """
        return self._get_member("get_parameter", "_parameters", "parameter", target)

    def get_buffer(self, target):
        """The buffer of a dotted name, as named_buffers gives it.

        Raises:
            AttributeError: there is none.
        """
        return self._get_member("get_buffer", "_buffers", "buffer", target)

    def _get_member(self, what, members, noun, target):
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        tensor = module.__dict__[members].get(name)
        if tensor is None:
            raise AttributeError(f"{what}: {type(module).__name__} has no {noun} {name!r} (of {target!r})")
        return tensor

    # ---- what is done to all of it -----------------------------------------------------------------------------------

    def train(self, mode=True):
        """Set `training` here and below; returns the module."""
        hooks.note_change()
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

    def zero_grad(self, set_to_none=True):
        """Forget all gradients: .grad becomes None, or, without set_to_none, a present one becomes zero."""
        for parameter in self.parameters():
            if set_to_none or parameter.grad is None:
                parameter.grad = None
            else:
                parameter.grad = Tensor(np.zeros_like(parameter.grad.data))

    def to(self, *targets):
        """Convert floating-point parameters and buffers to a dtype, move all of them to a device ("cpu", "cuda",
        "cuda:1"), or both as a Tensor has them: in place; returns the module.

        The Parameters stay the same objects. Gradients move with them; a new dtype forgets them. An optimizer made
        before keeps its state where it was: make it afterwards.

        Raises:
            TypeError: a dtype that is not floating-point. RuntimeError: "cuda", and there is no GPU.
            ValueError: a string that names neither device nor dtype.
        """
        for target in targets:
            dtype, device = conversion(target)
            if dtype is not None and dtype.kind != "f":
                raise TypeError(f"to: dtype must be floating-point, got {dtype}")
            device = None if device is None else cuda.full_name(device)
            for tensor in (*self.parameters(), *self.buffers()):
                if dtype is not None and tensor.dtype.kind == "f" and tensor.dtype != dtype:
                    tensor.data = tensor.data.astype(dtype)
                    tensor.grad = None
                if device is not None and tensor.device != device:
                    gradient, tensor.grad = tensor.grad, None
                    tensor.data = cuda.send(tensor.data, device)
                    tensor.grad = None if gradient is None else gradient.to(device)
        return self

    def cpu(self):
        """to("cpu")."""
        return self.to("cpu")

    def cuda(self, device=None):
        """to("cuda"), or to the GPU of a number."""
        return self.to("cuda" if device is None else f"cuda:{device}")

    def double(self):
        """to(float64)."""
        return self.to(np.float64)

    def float(self):
        """to(float32)."""
        return self.to(np.float32)

    # ---- weights as a dictionary -------------------------------------------------------------------------------------

    def state_dict(self):
        """Dotted name -> Tensor of every parameter and persistent buffer; the Tensors share the module's memory.

        What has several names stands under each of them, as in PyTorch.
        """
        return {name: tensor.detach() for name, tensor in self._state()}

    def _state(self):
        for prefix, module in self.named_modules(remove_duplicate=False):
            for members in (module._parameters, module._buffers):
                for name, tensor in members.items():
                    if tensor is not None and name not in module._not_saved:
                        yield f"{prefix}.{name}" if prefix else name, tensor

    def load_state_dict(self, state, strict=True):
        """Copy Tensors or arrays from a dictionary of state_dict's form into the module: all of them, or nothing.

        Args:
            strict: also require that no name is missing or unknown.

        Returns:
            LoadReport(missing_keys, unexpected_keys); both empty where strict.

        Raises:
            KeyError: names that are missing or unknown, listed. ValueError: shapes that differ, listed.
            TypeError: state is no dictionary. Nothing has changed then.
        """
        if not isinstance(state, Mapping):
            raise TypeError(f"load_state_dict: state must be a dictionary, got {type(state).__name__}")
        own = dict(self._state())
        missing = [name for name in own if name not in state]
        unknown = [name for name in state if name not in own]
        if strict and (missing or unknown):
            raise KeyError(
                f"load_state_dict of {type(self).__name__}: missing {', '.join(missing) or 'nothing'}; "
                f"unknown {', '.join(unknown) or 'nothing'}"
            )
        arrays = {name: v.data if isinstance(v, Tensor) else np.asarray(v) for name, v in state.items()}
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
                tensor.data[...] = cuda.send(arrays[name], tensor.device)
                tensor.mark_changed("load_state_dict")
        return LoadReport(missing, unknown)

    # ---- how it prints -----------------------------------------------------------------------------------------------

    def extra_repr(self):
        """The settings that repr shows between the parentheses."""
        return ""

    def __repr__(self):
        inner = [self.extra_repr()] if self.extra_repr() else []
        inner += [f"({name}): {module!r}".replace("\n", "\n  ") for name, module in self._modules.items()]
        if not self._modules:
            return f"{type(self).__name__}({', '.join(inner)})"
        return f"{type(self).__name__}(\n  " + "\n  ".join(inner) + "\n)"
