"""Kernel: one name, one signature, three forms, and inputs to try them on."""

import inspect
import threading
from contextlib import contextmanager
from functools import wraps
from itertools import repeat

import numpy as np

from . import _threads

COMPILED = np.dtype(np.float32), np.dtype(np.float64)  # the dtypes that numba forms are for
_HALF, _SINGLE = np.dtype(np.float16), np.dtype(np.float32)
KERNELS = {}  # name -> Kernel: what dispatch, tests and benchmarks run over

# numba's workqueue threading layer (macOS without OpenMP) aborts the process when two Python threads start parallel
# work at once, and one kernel already uses every core: so kernels of one process run one after the other.
_one_at_a_time = threading.RLock()
_form = "cpu"


def wide(dtype):
    """The dtype in which numbers of a dtype are computed with: float32 for float16, else itself. Real<T> in CUDA C."""
    return _SINGLE if dtype == _HALF else dtype


def each(function):
    """A form that also takes lists of as many arrays, and goes through them one after the other."""

    @wraps(function)
    def form(*args):
        if type(args[0]) is not list:
            function(*args)
            return
        for row in zip(*[a if type(a) is list else repeat(a) for a in args], strict=False):
            function(*row)

    return form


def total_bytes(arrays):
    """Bytes of an array, or of a list of arrays."""
    return sum(a.nbytes for a in arrays) if type(arrays) is list else arrays.nbytes


class Kernel:
    """A hot loop. Call it like its reference: the arrays' type picks the form.

    Where the reference is made by `each`, arrays may be lists of arrays.

    Args:
        name: "operation.direction", for example "conv2d.input_grad".
        reference: NumPy, the formula as the textbook states it; what every test trusts.
        cpu: numba.
        gpu: CuPy and CUDA C.
        samples: function (rng, dtype) that yields argument tuples, outputs included.
        nanoseconds: function of the arguments, roughly how long one thread takes; by default one per element of the
        output. outputs: how many of the last arguments are written.
        workload: what benchmarks run: a function (rng, dtype, part=1) that returns arguments (see _workload.py), or a
        dictionary label -> such a function; by default the largest sample. flops: function of the arguments, the
        additions and multiplications; None where memory is what counts. traffic: function of the arguments, the bytes
        that have to move; by default every array once.

    Raises:
        TypeError: a form whose parameters differ from the reference's.
        ValueError: a second kernel of the same name.
    """

    def __init__(
        self, name, *, reference, cpu, gpu, samples, nanoseconds=None, outputs=1,
        workload=None, flops=None, traffic=None,
    ):  # fmt: skip
        self.name, self.samples, self.outputs = name, samples, outputs
        self.reference, self.cpu, self.gpu = reference, cpu, gpu
        self.nanoseconds = nanoseconds or (lambda *args: args[-1].size)
        self.workloads = workload if isinstance(workload, dict) else {"": workload} if workload else {}
        self.flops = flops or (lambda *args: 0)
        self.traffic = traffic or (lambda *args: sum(a.nbytes for a in args if getattr(a, "ndim", 0)))
        expected = list(inspect.signature(reference).parameters)
        for form in (cpu, gpu):
            if list(inspect.signature(form).parameters) != expected:
                raise TypeError(
                    f"{name}: {form.__name__} takes {list(inspect.signature(form).parameters)}, not {expected}"
                )
        if name in KERNELS:
            raise ValueError(f"a kernel named {name!r} is already registered")
        KERNELS[name] = self

    def __call__(self, *args):
        if _form == "none":
            return None
        first = args[0][0] if type(args[0]) is list else args[0]
        if not isinstance(first, np.ndarray):
            return self.gpu(*args)
        if _form == "reference":
            return self.reference(*args)
        with _one_at_a_time:
            return _threads.run(self.cpu, self.nanoseconds(*args), args)

    def __repr__(self):
        return f"Kernel({self.name!r})"


@contextmanager
def use_kernels(form):
    """Run NumPy arrays on the "cpu" form (numba, the default) or the "reference" form (NumPy) inside the with block.

    With "none" no kernel runs: operations check their arguments and return arrays of the right shapes and arbitrary
    content, which is all that a ledger of shapes needs (explain/ledger.py) and takes no time.

    The choice holds for the whole process, so that a backward pass on another thread follows it.

    Raises:
        ValueError: any other form.
    """
    global _form
    if form not in ("reference", "cpu", "none"):
        raise ValueError(f"use_kernels: form must be 'reference', 'cpu' or 'none', got {form!r}")
    _form, previous = form, _form
    try:
        yield
    finally:
        _form = previous
