"""Every kernel's CUDA form agrees with its reference, on the emulator."""

import pytest
from checks import RTOL, check_races, check_results
from emulator import execution

from minidl.kernels import KERNELS

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
