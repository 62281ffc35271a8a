"""Modules and Parameters in a list or by name: Sequential, ModuleList, ModuleDict, ParameterList, ParameterDict.

A plain Python list of layers is invisible to a Module: parameters(), train() and state_dict() pass over it. What stands
in these is found, under the dotted names that PyTorch gives it: "layers.0.weight".
"""

from collections.abc import Iterable, Mapping

from ..tensor import Tensor
from .activation import ReLU
from .module import Module, Parameter


class _Numbered(Module):
    """What the lists share. The members stand in a dictionary of Module, by the names "0", "1", …

    A subclass says which dictionary (_members), what it holds (_kind), and how a value becomes one (_member).
    """

    _members, _kind = "_modules", Module

    @property
    def _held(self):
        return self.__dict__[self._members]

    def _member(self, value, what):
        if not isinstance(value, self._kind):
            raise TypeError(f"{type(self).__name__}: {what} needs a {self._kind.__name__}, got {type(value).__name__}")
        return value

    def _name(self, index):
        """The name of the member at a position, counted from the end where negative."""
        if not hasattr(index, "__index__"):
            raise TypeError(f"{type(self).__name__}: an index must be an integer or a slice, got {index!r}")
        names, position = list(self._held), index.__index__()
        if not -len(names) <= position < len(names):
            raise IndexError(f"{type(self).__name__}: index {position} is out of range for {len(names)} members")
        return names[position]

    def _renumber(self, values):
        numbered = {str(i): value for i, value in enumerate(values)}
        self._held.clear()
        self._held.update(numbered)

    def _is_numbered(self):
        return list(self._held) == [str(i) for i in range(len(self))]

    def __len__(self):
        return len(self._held)

    def __iter__(self):
        return iter(list(self._held.values()))

    def __contains__(self, value):
        return any(value is member for member in self)

    def __getitem__(self, index):
        if not isinstance(index, slice):
            return self._held[self._name(index)]
        return self._of(dict(list(self._held.items())[index]))

    def _of(self, named):
        return type(self)(named.values())

    def __setitem__(self, index, value):
        """Put a member in the place of one that is there."""
        self._held[self._name(index)] = self._member(value, "assignment")

    def __delitem__(self, index):
        """Take one or a slice of the members out; those that follow move up, where they are numbered."""
        numbered = self._is_numbered()
        for name in list(self._held)[index] if isinstance(index, slice) else [self._name(index)]:
            del self._held[name]
        if numbered:
            self._renumber(self)

    def append(self, value):
        """Add one at the end; returns the list."""
        name = str(len(self))
        if name in self._held:
            raise KeyError(f"{type(self).__name__}: append: the name {name!r} is taken")
        self._held[name] = self._member(value, "append")
        return self

    def extend(self, values):
        """Add all at the end, or, where one does not fit, none; returns the list."""
        if not isinstance(values, Iterable) or isinstance(values, str | Tensor):
            raise TypeError(f"{type(self).__name__}: extend needs an iterable, got {type(values).__name__}")
        for value in [self._member(value, "extend") for value in values]:
            self.append(value)
        return self

    def insert(self, index, value):
        """Add one before the member at a position; returns the list.

        Raises:
            IndexError: the position is out of range. ValueError: the members have names of their own.
        """
        value, size = self._member(value, "insert"), len(self)
        if not -size <= index <= size:
            raise IndexError(f"{type(self).__name__}: insert: index {index} is out of range for {size} members")
        if not self._is_numbered():
            raise ValueError(f"{type(self).__name__}: insert: the members have names ({', '.join(self._held)})")
        values = list(self)
        values.insert(index, value)
        self._renumber(values)
        return self

    def pop(self, index=-1):
        """Take one out and return it."""
        value = self._held[self._name(index)]
        del self[index]
        return value

    def __iadd__(self, values):
        return self.extend(values)

    def __add__(self, values):
        if not isinstance(values, Iterable):
            return NotImplemented
        return self._of({str(i): value for i, value in enumerate([*self, *values])})


class Sequential(_Numbered):
    """Modules one after another: given in order (named "0", "1", …), or as one dictionary of names.

    A ReLU right after a convolution, a linear layer or a batch norm is computed in the same pass over memory, unless
    either has hooks, which are to see what lies between.
    """

    def __init__(self, *modules):
        super().__init__()
        named = len(modules) == 1 and isinstance(modules[0], Mapping)
        for name, module in modules[0].items() if named else enumerate(modules):
            self.add_module(str(name), self._member(module, "a place"))

    def _of(self, named):
        return Sequential(named)

    def forward(self, input):
        return in_turn(input, *self)


def in_turn(input, *modules):
    """What the modules give, one after another, each ReLU along with the module before it as in Sequential."""
    fused, modules = False, (*modules, None)
    for module, after in zip(modules, modules[1:], strict=False):
        if fused:  # this is the ReLU that went along with the module before
            fused = False
            continue
        fused = _fuses(module, after)
        input = module(input, relu=True) if fused else module(input)
    return input


def _fuses(module, after):
    return type(after) is ReLU and getattr(module.forward, "fuses_relu", False) and not (module.hooked or after.hooked)


class ModuleList(_Numbered):
    """Modules in a list. It computes nothing: the module that holds it calls them.

    Args:
        modules: an iterable of modules.
    """

    def __init__(self, modules=None):
        super().__init__()
        self.extend(() if modules is None else modules)

    def forward(self, *inputs):
        raise TypeError("ModuleList: a list computes nothing; call its modules, or use Sequential")


class ParameterList(_Numbered):
    """Parameters in a list; a Tensor that is none becomes one, and shares its memory.

    Args:
        values: an iterable of Parameters or Tensors.
    """

    _members, _kind = "_parameters", Tensor

    def __init__(self, values=None):
        super().__init__()
        self.extend(() if values is None else values)

    def _member(self, value, what):
        return _as_parameter(super()._member(value, what))

    def extra_repr(self):
        return _described(self._held)


class _Named(Module):
    """What the dictionaries share; as _Numbered."""

    _members, _kind = "_modules", Module

    def __init__(self, values=None):
        super().__init__()
        self.update({} if values is None else values)

    @property
    def _held(self):
        return self.__dict__[self._members]

    def _member(self, value, key):
        if not isinstance(value, self._kind):
            raise TypeError(
                f"{type(self).__name__}: {key!r} must be a {self._kind.__name__}, got {type(value).__name__}"
            )
        return value

    def __len__(self):
        return len(self._held)

    def __iter__(self):
        return iter(list(self._held))

    def __contains__(self, key):
        return key in self._held

    def __getitem__(self, key):
        self._check_present(key)
        return self._held[key]

    def __setitem__(self, key, value):
        value = self._member(value, key)
        self._check_new(type(self).__name__, self._members, key, value, self._kind)
        self._held[key] = value

    def __delitem__(self, key):
        self._check_present(key)
        del self._held[key]

    def _check_present(self, key):
        if key not in self._held:
            raise KeyError(f"{type(self).__name__}: there is no {key!r}, only {', '.join(self._held) or 'nothing'}")

    def keys(self):
        """The names, in the order in which they were added."""
        return self._held.keys()

    def values(self):
        """What is held, in the order in which it was added."""
        return self._held.values()

    def items(self):
        """(name, what is held)."""
        return self._held.items()

    def clear(self):
        """Take everything out."""
        self._held.clear()

    def pop(self, key):
        """Take one out and return it."""
        value = self[key]
        del self[key]
        return value

    def update(self, values):
        """Add what a dictionary, or an iterable of pairs, holds; present names get new values."""
        if not isinstance(values, Iterable) or isinstance(values, str | Tensor):
            raise TypeError(
                f"{type(self).__name__}: update needs a dictionary or (name, value) pairs, got {type(values).__name__}"
            )
        items = values.items() if isinstance(values, Mapping | _Named) else values
        for number, item in enumerate(items):
            if not isinstance(item, tuple | list) or len(item) != 2:
                raise ValueError(f"{type(self).__name__}: update: element {number} is no pair (name, value): {item!r}")
            self[item[0]] = item[1]


class ModuleDict(_Named):
    """Modules by name. It computes nothing: the module that holds it calls them.

    Args:
        modules: a dictionary of modules, or pairs (name, module). A name must not be that of a method ("keys").
    """

    def forward(self, *inputs):
        raise TypeError("ModuleDict: a dictionary computes nothing; call its modules")


class ParameterDict(_Named):
    """Parameters by name; a Tensor that is none becomes one, and shares its memory.

    Args:
        values: a dictionary of Parameters or Tensors, or pairs (name, value).
    """

    _members, _kind = "_parameters", Tensor

    def _member(self, value, key):
        return _as_parameter(super()._member(value, key))

    def get(self, key, default=None):
        """The Parameter of that name, or the default."""
        return self._held.get(key, default)

    def setdefault(self, key, default):
        """The Parameter of that name; the default becomes it where there is none."""
        if key not in self:
            self[key] = default
        return self[key]

    def copy(self):
        """A dictionary of its own that holds the same Parameters."""
        return ParameterDict(self)

    def __or__(self, other):
        if not isinstance(other, ParameterDict):
            return NotImplemented
        both = self.copy()
        both.update(other)
        return both

    def __ior__(self, other):
        self.update(other)
        return self

    def extra_repr(self):
        return _described(self._held)


def _as_parameter(tensor):
    return tensor if isinstance(tensor, Parameter) else Parameter(tensor)


def _described(parameters):
    lines = (f"({name}): Parameter of shape {p.shape}, {p.dtype}" for name, p in parameters.items())
    return "".join(f"\n  {line}" for line in lines) + ("\n" if parameters else "")
