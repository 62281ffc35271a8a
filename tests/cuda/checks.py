"""What tests of the GPU share: what is asked of a kernel's CUDA form (its reference's results, and no races), Tensors.

CuPy may be the stand-in.
"""

import copy

import numpy as np
from emulator import RawModule, execution, launched
from helpers import normal

import minidl as dl

# float16: only storage, arithmetic is in float32. An element is rounded once, to 11 bits.
RTOL = {"float16": 1e-3, "float32": 1e-5, "float64": 1e-12}


def check_results(kernel, dtype, cupy):
    """All samples give what the reference gives, and inputs are left alone."""
    for number, (args, expected) in enumerate(samples(kernel, dtype)):
        inputs, outputs = run(kernel, args, cupy)
        assert_close(outputs, expected, dtype, f"sample {number}")
        for before, after in zip(args, inputs, strict=False):
            assert not isinstance(before, np.ndarray) or before.tobytes() == after.tobytes(), f"sample {number}"


def check_races(kernel, cupy):
    """ThreadSanitizer sees no two threads at the same memory with nothing between them, right results or not.

    A launch takes a tenth of a second, so few samples stand for all: the smallest, the largest, and one for each launch
    that neither of them makes.
    """
    by_size = sorted(samples(kernel, "float32"), key=lambda sample: sum(np.size(a) for a in sample[0]))
    filled = [sample for sample in by_size if all(a.size for a in sample[0][-kernel.outputs :])] or by_size
    known = set()
    for number, sample in enumerate([filled[0], *filled[:0:-1]]):
        launches = _launches(kernel, sample[0], cupy)
        if number > 1 and known >= launches:
            continue
        known |= launches
        with execution(sanitizer="thread"):
            _, outputs = run(kernel, sample[0], cupy)
        assert_close(outputs, sample[1], "float32", "under ThreadSanitizer")


def _launches(kernel, args, cupy):
    """What a sample launches."""
    launched.clear()
    run(kernel, copy.deepcopy(args), cupy)
    return set(launched)


def samples(kernel, dtype):
    """The kernel's samples, each with the outputs that its reference gives, and whether it reads the outputs first.

    Outputs that are not read hold NaN, so that an element that is not written shows.
    """
    for args in kernel.samples(np.random.default_rng(0), np.dtype(dtype)):
        poisoned = copy.deepcopy(args)
        for y in poisoned[-kernel.outputs :]:
            y[...] = np.nan if y.dtype.kind == "f" else 77
        expected, of_poisoned = _reference(kernel, args), _reference(kernel, poisoned)
        reads = any(e.tobytes() != p.tobytes() for e, p in zip(expected, of_poisoned, strict=True))
        yield args if reads else poisoned, expected


def _reference(kernel, args):
    """The outputs of the reference, in float32 where the arrays are float16."""
    args = [_wider(a) if isinstance(a, np.ndarray) else a for a in args]
    kernel.reference(*args)
    return args[-kernel.outputs :]


def _wider(array):
    return array.astype(np.float32) if array.dtype == np.float16 else array.copy()


def run(kernel, args, cupy):
    """The arrays of args after the CUDA form has run on copies of them: inputs, outputs."""
    on_device = [cupy.asarray(a) if isinstance(a, np.ndarray) else a for a in args]
    kernel.gpu(*on_device)
    arrays = [a.get() if isinstance(a, cupy.ndarray) else a for a in on_device]
    return arrays[: -kernel.outputs], arrays[-kernel.outputs :]


def assert_close(got, expected, dtype, message):
    for g, e in zip(got, expected, strict=True):
        scale = np.abs(e[np.isfinite(e)]).max(initial=1)
        np.testing.assert_allclose(
            g.astype(e.dtype), e, rtol=RTOL[dtype], atol=RTOL[dtype] * scale, err_msg=message
        )  # fmt: skip


def on(device, *shape, seed=0, dtype=np.float32, requires_grad=False):
    """A leaf of random numbers on a device."""
    return dl.tensor(normal(*shape, seed=seed), dtype=dtype, device=device, requires_grad=requires_grad)


def launch(code, name, grid, block, *args, shared_mem=0):
    """Run a kernel of CUDA C on the emulator."""
    RawModule(code, name_expressions=(name,)).get_function(name)((grid,), (block,), args, shared_mem)
