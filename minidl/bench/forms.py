"""The forms of a kernel, each built in a process of its own: what Competitor calls.

A form is built from the kernel's name, so that no arrays travel between processes. Nothing of minidl is imported before
a function runs: PyTorch has to be loaded before numba, or its threads would wait as numba's are told to.
"""

import time

_PART = 32  # a reference form that would take too long runs on this part of the workload
_LONGEST = 1.0  # seconds of a run of a reference form


def cpu(name, label, dtype):
    """The numba form, called as operations call it. Notes: the seconds of compiling, None where it was loaded."""
    import numpy as np
    from numba.core import event

    kernel, args = arguments(name, label, dtype)
    seconds = []
    with event.install_timer("numba:compile", seconds.append):
        _quiet(kernel, args)()
    return _quiet(kernel, args), {**facts(kernel, args, np.ndarray), "compile_seconds": seconds[0] if seconds else None}


def reference(name, label, dtype):
    """The NumPy form. Notes: scale is by how much longer the whole workload takes than what is run, where too long."""
    import numpy as np

    kernel, args = arguments(name, label, dtype)
    notes = facts(kernel, args, np.ndarray)
    if label is not None:
        _, less = arguments(name, label, dtype, _PART)
        part, scale = facts(kernel, less, np.ndarray), 1.0
        for amount in ("bytes", "flops"):
            if part[amount]:
                scale = notes[amount] / part[amount]
        run = _quiet(kernel.reference, less)
        start = time.perf_counter()
        run()
        if scale > 1 and (time.perf_counter() - start) * scale > _LONGEST:
            return run, {**notes, "scale": scale}
    return _quiet(kernel.reference, args), notes


def pytorch(name, label, dtype):
    """PyTorch's counterpart, in the faster of its two memory formats. Notes: format."""
    import torch  # noqa: F401, before minidl

    from minidl.bench import peers

    _, args = arguments(name, label, dtype)
    runs = {layout: peers.PEERS[name](peers.LAYOUTS[layout], *args) for layout in peers.layouts(name)}
    seconds = {}
    for layout, run in runs.items():
        run()
        start = time.perf_counter()
        run()
        run()
        seconds[layout] = time.perf_counter() - start
    best = min(seconds, key=seconds.get)
    return runs[best], {"format": best}


def arguments(name, label, dtype, part=1):
    """(kernel, its arguments) for the workload of that label, or for the largest sample where label is None."""
    import numpy as np

    from minidl.kernels import KERNELS

    kernel, rng = KERNELS[name], np.random.default_rng(0)
    if label is not None:
        return kernel, kernel.workloads[label](rng, dtype, part)
    with np.errstate(all="ignore"):
        samples = list(kernel.samples(rng, dtype))
    return kernel, max(samples, key=lambda args: sum(a.size for a in args if isinstance(a, np.ndarray)))


def facts(kernel, args, array):
    """What the arithmetic and the memory of a call are: flops, bytes, and the arrays' shapes in words."""
    shapes = dict.fromkeys("×".join(map(str, a.shape)) for a in args if isinstance(a, array) and a.ndim and a.size)
    return {"flops": int(kernel.flops(*args)), "bytes": int(kernel.traffic(*args)), "arrays": " ".join(shapes)}


def _quiet(function, args):
    import numpy as np

    def run():
        with np.errstate(all="ignore"):
            function(*args)

    return run
