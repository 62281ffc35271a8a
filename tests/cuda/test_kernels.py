"""Every kernel's CUDA form agrees with its reference, on the emulator."""

import math
import re

import numpy as np
import pytest
from checks import RTOL, check_races, check_results
from emulator import execution, launched

from minidl.kernels import KERNELS, _cuda
from minidl.kernels.conv2d import exact_convolution
from minidl.kernels.matmul import own_products

# The order of threads and blocks: 2 and more are seeds of shuffles.
RUNS = [(d, order) for d in RTOL for order in ("forward", "reverse", 2, 3) if d == "float32" or order in ("reverse", 2)]

pytestmark = [
    pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning"),
]


@pytest.mark.parametrize(("dtype", "order"), RUNS)
@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_cuda_agrees_with_reference(kernel, dtype, order, cupy):
    with execution(order=order):
        check_results(kernel, dtype, cupy)


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_no_races(kernel, cupy):
    check_races(kernel, cupy)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_small_numbers_keep_their_digits(dtype, cupy):
    """check_results allows an error of the size of the largest element; here each number has its own."""
    x = np.array([1.0, 2.0, 3.0, 4.0, 6.0, 8.0], dtype)
    y = cupy.zeros(6, dtype)
    KERNELS["erf.complement"].gpu(cupy.asarray(x), y)
    np.testing.assert_allclose(y.get(), [math.erfc(v) for v in x], rtol=10 * RTOL[dtype])
    x = np.array([-1e-9, -0.5, -4.0, -8.0, -16.0, -40.0], dtype)
    for function, f in {
        "sigmoid": lambda v: 1 / (1 + math.exp(-v)),
        "tanh": math.tanh,
        "silu": lambda v: v / (1 + math.exp(-v)),
        "softplus": lambda v: math.log1p(math.exp(v)),
        "logsigmoid": lambda v: v - math.log1p(math.exp(v)),
        "elu": math.expm1,
    }.items():
        KERNELS["activation.forward"].gpu(cupy.asarray(x), function, 1, 20, y)
        np.testing.assert_allclose(y.get(), [f(v) for v in x.tolist()], rtol=RTOL[dtype], err_msg=function)
    KERNELS["activation.forward"].gpu(cupy.asarray(x[:4]), "gelu", 0, 0, y[:4])
    expected = [v * math.erfc(-v / math.sqrt(2)) / 2 for v in x[:4].tolist()]
    np.testing.assert_allclose(y.get()[:4], expected, rtol=10 * RTOL[dtype])
    # Integers and halves, so that x itself is exact: log p of the greatest is -log(1 + exp(-1/2)), near -0.47.
    x = np.array([[1e4, 1e4 - 0.5], [-1e6, -1e6 - 0.5]], dtype)
    y = cupy.zeros((2, 2), dtype)
    KERNELS["log_softmax.forward"].gpu(cupy.asarray(x), y)
    greatest = -math.log1p(math.exp(-0.5))
    np.testing.assert_allclose(y.get(), [[greatest, greatest - 0.5]] * 2, rtol=RTOL[dtype])


def test_every_kernel_of_every_file_is_launched(cupy, monkeypatch):
    pytest.importorskip("stand_in")  # a GPU keeps no record
    launched.clear()
    with own_products():
        for kernel in KERNELS.values():
            check_results(kernel, "float32", cupy)
    monkeypatch.setattr(_cuda, "multiprocessors", lambda: 1)  # which large tiles fill
    with exact_convolution():
        for direction in ("forward", "input_grad", "weight_grad"):
            check_results(KERNELS[f"conv2d.{direction}"], "float32", cupy)
    for source in _cuda.SOURCES.values():
        assert {name for code, name in launched if code == source.code} == set(source.instances("float32"))


def test_every_kernel_of_every_file_is_known_to_python():
    """What a file declares is what its Source names: no kernel is dead, no file either."""
    for file in _cuda._FOLDER.rglob("*.cu"):
        source = _cuda.SOURCES[file.relative_to(_cuda._FOLDER).with_suffix("").as_posix()]
        code = re.sub("//.*", "", file.read_text())
        declared = re.findall(r"__global__ void\s+(?:__launch_bounds__\(.*\)\s+)?((?!__)\w+)\(", code)
        assert len(declared) == code.count("__global__") > 0
        assert set(declared) == {name.split("<")[0] for name in source.kernels}, file
