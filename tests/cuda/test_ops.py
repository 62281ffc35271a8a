"""Every operation on the GPU: value and gradient are the CPU's, and the gradient is the numerical one.

Over the samples of minidl/gradcheck/samples.py. On the CPU the reference kernels run: they are not the code under test.
"""

import numpy as np
import pytest
from helpers import close

import minidl as dl
from minidl.gradcheck.samples import SAMPLES

RTOL = {np.float64: 1e-12, np.float32: 1e-5}  # a third each of the element, of the largest one and of 1
ALL = [sample for samples in SAMPLES.values() for sample in samples]


def named(sample):
    return f"{sample.operation} {sample.label}".strip()


def rounded(array, dtype):
    """A floating-point array in another precision; integers as they are."""
    if array.dtype.kind not in "fc":
        return array
    single = np.complex64 if array.dtype.kind == "c" else np.float32
    return array.astype(single if dtype == np.float32 else array.dtype)


def value_and_gradients(sample, arrays, device):
    """The outputs of a sample and, for random cotangents, the gradients of its inputs: NumPy arrays."""
    inputs = [dl.Tensor(a).to(device).detach() for a in arrays]
    for x in inputs:
        x.requires_grad_(x.dtype.kind in "fc")
    y = sample.f(*inputs)
    outputs = list(y) if isinstance(y, tuple | list) else [y]
    assert all(y.device == inputs[0].device for y in outputs)
    differentiable = [y for y in outputs if y.requires_grad]
    rng = np.random.default_rng(1)
    cotangents = [dl.Tensor(rng.standard_normal(y.shape).astype(y.dtype)).to(y.device) for y in differentiable]
    leaves = [x for x in inputs if x.requires_grad]
    gradients = dl.grad(differentiable, leaves, cotangents, allow_unused=True)
    assert all(g is None or g.device == inputs[0].device for g in gradients)
    return [None if t is None else t.detach().cpu().numpy() for t in [*outputs, *gradients]]


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("sample", ALL, ids=named)
def test_value_and_gradient_are_the_cpus(cupy, sample, dtype):
    arrays = [rounded(a, dtype) for a in sample.inputs(np.random.default_rng(0))]
    got = value_and_gradients(sample, arrays, "cuda")
    with dl.use_kernels("reference"):
        expected = value_and_gradients(sample, arrays, "cpu")
    for number, (g, e) in enumerate(zip(got, expected, strict=True)):
        assert (g is None) == (e is None)
        if e is not None:
            assert g.dtype == e.dtype
            close(g, e, RTOL[dtype] / 3, f"{named(sample)}, result {number}", atol=RTOL[dtype] / 3)


@pytest.mark.filterwarnings("ignore::minidl.GradcheckWarning")  # of kinks and equal extents, on which samples stand
@pytest.mark.parametrize("sample", ALL, ids=named)
def test_gradient_is_the_numerical_one(cupy, sample):
    inputs = [dl.Tensor(a).to("cuda").detach() for a in sample.inputs(np.random.default_rng(0))]
    for x in inputs:
        x.requires_grad_(x.dtype.kind in "fc")
    dl.gradcheck(sample.f, inputs, fast_mode=True, check_layouts=False)
