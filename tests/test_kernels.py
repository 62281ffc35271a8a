"""Every kernel in the table agrees with its reference; registering a kernel adds its tests."""

import copy

import numpy as np
import pytest

from minidl.kernels import KERNELS

RTOL = {"float32": 1e-5, "float64": 1e-12}


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_numba_agrees_with_reference(kernel, dtype):
    samples = list(kernel.samples(np.random.default_rng(0), dtype))
    assert samples
    for number, args in enumerate(samples):
        expected, got = copy.deepcopy(args), copy.deepcopy(args)
        kernel.reference(*expected)
        kernel.cpu(*got)
        for e, g in zip(expected[-kernel.outputs :], got[-kernel.outputs :], strict=True):
            scale = np.abs(e[np.isfinite(e)]).max(initial=1)
            np.testing.assert_allclose(g, e, rtol=RTOL[dtype], atol=RTOL[dtype] * scale, err_msg=f"sample {number}")


def _bytes(args):
    return [a.tobytes() for a in args if isinstance(a, np.ndarray)]


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("form", ["reference", "cpu"])
@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_inputs_are_left_alone(kernel, form):
    for number, args in enumerate(kernel.samples(np.random.default_rng(0), "float32")):
        before = _bytes(args[: -kernel.outputs])
        getattr(kernel, form)(*args)
        assert _bytes(args[: -kernel.outputs]) == before, f"sample {number}"


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_every_element_is_written(kernel):
    """What was in the outputs before makes no difference, unless the reference says that it is to be read."""

    def run(form, args, garbage):
        args = copy.deepcopy(args)
        for y in args[-kernel.outputs :] if garbage else ():
            y[...] = np.nan if y.dtype.kind == "f" else 77
        form(*args)
        return _bytes(args[-kernel.outputs :])

    for number, args in enumerate(kernel.samples(np.random.default_rng(0), "float32")):
        for a in args[-kernel.outputs :]:
            a[...] = 1 if not np.isfinite(a).all() else a
        if run(kernel.reference, args, True) == run(kernel.reference, args, False):
            assert run(kernel.cpu, args, True) == run(kernel.cpu, args, False), f"sample {number}"


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_an_empty_array_is_among_the_samples(kernel):
    arrays = [a for args in kernel.samples(np.random.default_rng(0), "float32") for a in args]
    assert any(isinstance(a, np.ndarray) and a.size == 0 for a in arrays)
