"""Norms on a GPU beyond their kernels' samples: what the tolerance of samples would hide."""

import numpy as np
import pytest
from checks import assert_close, run
from emulator import execution

from minidl.kernels import KERNELS

SUMS = [f"{norm}.{way}" for norm in ("batch_norm", "group_norm", "layer_norm") for way in ("forward", "backward")]
SUMS += ["batch_norm.statistics", "channel_sum.forward", "global_avg_pool2d.forward"]

pytestmark = pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # of references, at infinities


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_variance_of_equal_numbers_is_never_negative(dtype, cupy):
    """It is a difference, and by rounding might be: its root would be NaN."""
    for rows in (3, 5, 11, 49, 100, 700):
        x = np.full((rows, 4), 0.1, dtype) * np.arange(1, 5, dtype=dtype)
        _, (_, var, _) = run(KERNELS["batch_norm.statistics"], (x, 0.0, *np.empty((3, 4))), cupy)
        assert (var >= 0).all()
        outputs = np.empty((4, rows), dtype), np.empty(4), np.empty(4)
        ones = np.ones(rows, dtype)
        _, (_, _, rstd) = run(KERNELS["layer_norm.forward"], (x.T.copy(), ones, ones, 0.0, *outputs), cupy)
        assert not np.isnan(rstd).any()


def test_gradient_of_few_rows_with_a_large_mean(cupy):
    """A float32 near 10,000 has steps of 0.001: the mean's digits below that count."""
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((6, 5)) + 1e4).astype(np.float32)
    mean, var = x.mean(axis=0, dtype=np.float64), x.var(axis=0, dtype=np.float64)
    gy, weight = rng.standard_normal((6, 5)).astype(np.float32), np.ones(5, np.float32)
    outputs = np.empty_like(x), np.empty_like(weight), np.empty_like(weight), np.empty((0, 5), np.float32)
    args = gy, x, x[:0], mean, 1 / np.sqrt(var + 1e-5), weight, weight, True, False, *outputs
    _, got = run(KERNELS["batch_norm.backward"], args, cupy)
    KERNELS["batch_norm.backward"].reference(*args)
    assert_close(got, outputs, "float32", "")


@pytest.mark.parametrize("name", SUMS)
def test_the_order_of_threads_does_not_change_a_bit(name, cupy):
    kernel = KERNELS[name]
    largest = max(kernel.samples(np.random.default_rng(0), np.float32), key=lambda args: args[0].size)
    results = set()
    for order in ("forward", "reverse", 2):
        with execution(order=order):
            _, outputs = run(kernel, largest, cupy)
            results.add(b"".join(y.tobytes() for y in outputs))
    assert len(results) == 1
