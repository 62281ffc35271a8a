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
