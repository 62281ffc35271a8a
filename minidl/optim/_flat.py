"""How an optimizer hands its arrays to a kernel: flat, in the order of the parameter's memory, those alike together."""

import numpy as np

from ..kernels import COMPILED, contiguous
from ..kernels._layout import memory_order
from ..tensor import Tensor


def run(kernel, steps):
    """Run a kernel for several parameters: one call for all whose settings and dtype are the same, on a GPU one launch.

    Args:
        kernel: called with (gradient, *settings, parameter, *states), as sgd.step.
        steps: per parameter (settings, parameter, gradient, state, names): the names of its states in the dictionary
            `state`; in the end None for each that the settings leave out.
    """
    alike, copies = {}, []
    for settings, parameter, gradient, state, names in steps:
        g, w, *states = _flat(parameter, gradient, state, names, copies)
        alike.setdefault((type(w), w.dtype, settings), []).append((g, w, *states))
    for (kind, dtype, settings), rows in alike.items():
        g, *changed = map(list, zip(*rows, strict=True))
        # What numba does not compile (half precision, complex numbers) is left to the reference.
        compiled = dtype in COMPILED or (kind is not np.ndarray and dtype == np.float16)
        (kernel if compiled else kernel.reference)(g, *settings, *changed)
    for parameter, copy in copies:
        parameter[...] = copy


def _flat(parameter, gradient, state, names, copies):
    """The arrays of a step as flat ones: [gradient, parameter, *those of `state` by `names`].

    Weights are transposes of contiguous arrays, and so are their gradients: then all are views, and nothing is copied.
    A gradient in another order is copied; so is a state (one that was loaded), and kept in its new order. A parameter
    with gaps in its memory is copied, and noted in `copies` to be written back.
    """
    if type(parameter) is np.ndarray:
        flat, strides = [], parameter.strides
        for array in (gradient, parameter, *[state[name]._data for name in names if name is not None]):
            view = array.ravel("K")
            if array.strides != strides or view.base is None or not view.flags.writeable:
                break
            flat.append(view)
        else:
            return [*flat, *[flat[1][:0]] * names.count(None)]
    order = memory_order(parameter)
    view = parameter.transpose(order)
    inside = contiguous(view)
    if inside is not view:
        copies.append((parameter, inside.transpose(_back(order))))
    arrays = [contiguous(gradient.transpose(order)).reshape(-1), inside.reshape(-1)]
    for name in names:
        if name is None:
            arrays.append(arrays[1][:0])
            continue
        view = state[name].data.transpose(order)
        kept = contiguous(view)
        if kept is not view:
            state[name] = Tensor(kept.transpose(_back(order)))
        arrays.append(kept.reshape(-1))
    return arrays


def _back(order):
    """The order of axes that undoes a transpose to `order`."""
    return np.argsort(order).tolist()
