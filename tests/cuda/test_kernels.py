"""Every kernel's CUDA form agrees with its reference, on the emulator; giving a kernel a gpu form adds its tests."""

import copy

import numpy as np
import pytest
from emulator import execution

from minidl.kernels import KERNELS

KERNELS_ON_GPU = {name: kernel for name, kernel in KERNELS.items() if kernel.gpu is not None}
# float16: only storage, arithmetic is in float32. An element is rounded once, to 11 bits.
RTOL = {"float16": 1e-3, "float32": 1e-5, "float64": 1e-12}
# The order of threads and blocks: 2 and more are seeds of shuffles.
RUNS = [(d, order) for d in RTOL for order in ("forward", "reverse", 2, 3) if d == "float32" or order in ("reverse", 2)]

pytestmark = [
    pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning"),
]


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


@pytest.mark.parametrize(("dtype", "order"), RUNS)
@pytest.mark.parametrize("kernel", KERNELS_ON_GPU.values(), ids=KERNELS_ON_GPU)
def test_cuda_agrees_with_reference(kernel, dtype, order, cupy):
    with execution(order=order):
        for number, (args, expected) in enumerate(samples(kernel, dtype)):
            inputs, outputs = run(kernel, args, cupy)
            assert_close(outputs, expected, dtype, f"sample {number}")
            for before, after in zip(args, inputs, strict=False):
                assert not isinstance(before, np.ndarray) or before.tobytes() == after.tobytes(), f"sample {number}"


@pytest.mark.parametrize("kernel", KERNELS_ON_GPU.values(), ids=KERNELS_ON_GPU)
def test_no_races(kernel, cupy):
    """ThreadSanitizer sees no two threads at the same memory with nothing between them, right results or not."""
    by_size = sorted(samples(kernel, "float32"), key=lambda sample: sum(a.size for a in sample[0] if np.ndim(a)))
    filled = [sample for sample in by_size if all(a.size for a in sample[0][-kernel.outputs :])]
    with execution(sanitizer="thread"):
        for args, expected in (filled[0], filled[-1]):
            _, outputs = run(kernel, args, cupy)
            assert_close(outputs, expected, "float32", "under ThreadSanitizer")
