"""To train a net further from weights that fit it in part: load what fits, freeze some, give the rest rates of its own.

    report = load_matching(net, minidl.load("vgg.safetensors"))     # a new classifier stays as it was drawn
    freeze(net, "features.*")
    optimizer = SGD(parameter_groups(net, {"classifier.*": {"lr": 0.01}}), lr=0.001, momentum=0.9)

Patterns are those of a shell, matched against the names that named_parameters gives: * stands for anything, dots
included, ? for one character, [12] for either.
"""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import NamedTuple

import numpy as np

from ..tensor import Tensor


class MatchReport(NamedTuple):
    """What load_matching did, by name."""

    loaded: list
    missing: list  # the net has them, the state does not
    unexpected: list  # the state has them, the net does not
    wrong_shape: list  # (name, the state's shape, the net's)

    def __str__(self):
        lines = [f"loaded {len(self.loaded)} of {len(self.loaded) + len(self.missing) + len(self.wrong_shape)}"]
        lines += [f"missing: {', '.join(self.missing)}"] if self.missing else []
        lines += [f"unexpected: {', '.join(self.unexpected)}"] if self.unexpected else []
        lines += [f"other shape: {name} is {given}, the net's is {own}" for name, given, own in self.wrong_shape]
        return "\n".join(lines)


def load_matching(net, state):
    """Copy from a dictionary of state_dict's form what the net has under the same name in the same shape.

    Returns:
        a MatchReport of what was loaded and what was not.

    Raises:
        TypeError: state is no dictionary of Tensors or arrays of numbers. ValueError: nothing fits. Then nothing has
        changed.
    """
    if not isinstance(state, Mapping):
        raise TypeError(f"load_matching: state must be a dictionary, got {type(state).__name__}")
    own = net.state_dict()
    arrays = {name: v.data if isinstance(v, Tensor) else np.asarray(v) for name, v in state.items()}
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf":
            raise TypeError(f"load_matching: {name} must hold numbers, its dtype is {array.dtype}")
    fitting = [name for name in own if name in arrays and arrays[name].shape == own[name].shape]
    report = MatchReport(
        fitting,
        [name for name in own if name not in arrays],
        [name for name in arrays if name not in own],
        [(n, arrays[n].shape, own[n].shape) for n in own if n in arrays and arrays[n].shape != own[n].shape],
    )
    if own and not fitting:
        raise ValueError(
            f"load_matching: nothing of the state fits {type(net).__name__}: it has {_some(arrays)}, "
            f"the net {_some(own)}"
        )
    net.load_state_dict({name: arrays[name] for name in fitting}, strict=False)
    return report


def _some(names):
    names = list(names)
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "") if names else "nothing"


def freeze(net, *patterns, statistics=False):
    """Keep the parameters whose names match a pattern as they are: they no longer require gradients.

    Args:
        patterns: "*" for all.
        statistics: also put the batch norms of these parameters into evaluation mode, so that their running statistics
            stay and are what they normalise by. net.train() undoes that: call freeze again after it.

    Returns:
        the names, in order.

    Raises:
        ValueError: a pattern that matches no parameter.
    """
    names = _set("freeze", net, patterns, False)
    if statistics:
        for path in {name.rpartition(".")[0] for name in names}:
            module = net.get_submodule(path)
            if "running_mean" in module._buffers:
                module.eval()
    return names


def unfreeze(net, *patterns):
    """Train the parameters whose names match a pattern again, and their batch norms' statistics; as freeze."""
    names = _set("unfreeze", net, patterns, True)
    for path in {name.rpartition(".")[0] for name in names}:
        module = net.get_submodule(path)
        if "running_mean" in module._buffers:
            module.train(net.training)
    return names


def _set(what, net, patterns, requires_grad):
    chosen = {}
    for pattern in patterns:
        chosen.update(_matching(what, net, pattern))
    ordered = [name for name, _ in net.named_parameters() if name in chosen]
    for name in ordered:
        parameter = chosen[name]
        parameter.requires_grad_(requires_grad)
        if not requires_grad:
            parameter.grad = None  # or an optimizer would go on with it
    return ordered


def _matching(what, net, pattern):
    found = {name: p for name, p in net.named_parameters() if fnmatchcase(name, pattern)}
    if not found:
        raise ValueError(
            f"{what}: no parameter matches {pattern!r}; they are {_some(name for name, _ in net.named_parameters())}"
        )
    return found


def parameter_groups(net, settings, default=None):
    """Groups for an optimizer: the parameters of each pattern with settings of their own, the rest with the default's.

    Frozen parameters are left out. Of several patterns that match a name, the first holds.

    Args:
        settings: pattern -> settings, such as {"classifier.*": {"lr": 0.1}}.
        default: settings of the rest; what none names is the optimizer's own.

    Raises:
        ValueError: a pattern that matches no parameter, or none that an earlier one has not taken. TypeError: settings
        that are no dictionaries.
    """
    if not isinstance(settings, Mapping) or any(not isinstance(own, Mapping) for own in settings.values()):
        raise TypeError(f"parameter_groups: settings must be a dictionary pattern -> settings, got {settings!r}")
    taken, groups = set(), []
    for pattern, own in settings.items():
        found = _matching("parameter_groups", net, pattern)
        new = {name: p for name, p in found.items() if name not in taken}
        if not new:
            raise ValueError(f"parameter_groups: all that {pattern!r} matches belongs to an earlier pattern")
        taken.update(new)
        groups.append({**own, "params": [p for p in new.values() if p.requires_grad]})
    rest = [p for name, p in net.named_parameters() if name not in taken and p.requires_grad]
    groups.append({**(default or {}), "params": rest})
    return [group for group in groups if group["params"]]
