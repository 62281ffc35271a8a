"""softmax, log_softmax and softmin."""

import numpy as np
import pytest
from helpers import check_against_torch, check_second_gradient, close, layouts, normal
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minidl as dl
from minidl import ops

NAMES = ["softmax", "log_softmax"]
CASES = [
    ((), 0),
    ((), -1),
    ((1,), 0),
    ((5,), 0),
    ((5,), -1),
    ((2, 3), 0),
    ((2, 3), 1),
    ((2, 3, 4), 0),
    ((2, 3, 4), 1),
    ((2, 3, 4), -1),
    ((2, 1, 3), 1),
    ((0, 3), 1),
    ((0, 3), 0),
    ((3, 0), 1),
    ((3, 0), 0),
    ((0,), 0),
]


def torch_function(name):
    return getattr(pytest.importorskip("torch"), name)


@pytest.mark.parametrize("shape, dim", CASES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_values_and_derivatives(name, shape, dim):
    f, torch_f = getattr(ops, name), torch_function(name)
    x = normal(*shape)
    check_second_gradient(lambda x: f(x, dim), x)
    for dtype in (np.float32, np.float64):
        check_against_torch(lambda x: f(x, dim), lambda x: torch_f(x, dim), x.astype(dtype))


@given(hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4), st.integers(-3, 2), st.sampled_from(NAMES))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_any_shape(shape, dim, name):
    dim = dim % len(shape)
    check_against_torch(
        lambda x: getattr(ops, name)(x, dim), lambda x: torch_function(name)(x, dim), 3 * normal(*shape)
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", NAMES)
def test_large_and_small_numbers(name, dtype):
    """Nothing overflows, and small probabilities keep their digits."""
    rows = [[1e4, 0.0, -1e4], [80.0, 79.0, -20.0], [-1e4, -1e4 - 1, -1e4 - 2], [3e4, 3e4, 3e4], [0.0, -50.0, -100.0]]
    x = np.array(rows, dtype)
    f, torch_f = getattr(ops, name), torch_function(name)
    got, expected = f(dl.Tensor(x), 1).numpy(), torch_f(pytest.importorskip("torch").tensor(x), 1).numpy()
    np.testing.assert_allclose(got, expected, rtol=2e-6 if dtype == np.float32 else 1e-12, atol=1e-300)
    check_against_torch(lambda x: f(x, 1), lambda x: torch_f(x, 1), x)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", NAMES)
def test_nan_and_infinities(name):
    torch = pytest.importorskip("torch")
    rows = [[np.nan, 1, 2], [1, 2, np.nan], [-np.inf, 0, 1], [np.inf, 0, 1], [-np.inf] * 3, [np.inf, -np.inf, 0]]
    for dtype in (np.float32, np.float64):
        x = np.array(rows, dtype)
        got, expected = getattr(ops, name)(dl.Tensor(x), 1).numpy(), torch_function(name)(torch.tensor(x), 1).numpy()
        np.testing.assert_allclose(got, expected, rtol=1e-6)
    masked = np.array([[-np.inf, 0.0, 1.0]])
    check_against_torch(
        lambda x: ops.softmax(x, 1), lambda x: torch.softmax(x, 1), masked, second=False
    )  # a masked element has gradient 0


@pytest.mark.parametrize("name", NAMES)
def test_in_another_dtype(name):
    torch = pytest.importorskip("torch")
    f, torch_f = getattr(ops, name), torch_function(name)
    for x in (normal(2, 3, dtype=np.float32), np.array([[1, 2, 3]])):
        check_against_torch(
            lambda x: f(x, 1, dtype="float64"), lambda x: torch_f(x, 1, dtype=torch.float64), x, rtol=1e-6
        )
    assert dl.tensor([1.0]).double().softmax(0, "float32").dtype == np.float32
    with pytest.raises(TypeError, match=f"{name}: dtype must be float32 or float64, got int64"):
        f(dl.tensor([1.0]), 0, dtype="int64")


def test_softmin_is_softmax_of_the_negative():
    torch = pytest.importorskip("torch")
    x = normal(3, 4)
    check_second_gradient(lambda x: ops.softmin(x, 1), x)
    check_against_torch(lambda x: ops.softmin(x, 0), lambda x: torch.nn.functional.softmin(x, 0), x)
    assert ops.softmin(dl.tensor([1, 2]), 0, dtype="float64").dtype == np.float64


def test_probabilities_add_up_to_one():
    x = dl.Tensor(100 * normal(50, 1000, dtype=np.float32))
    np.testing.assert_allclose(ops.softmax(x, 1).sum(1).numpy(), 1, rtol=1e-5)
    np.testing.assert_allclose(ops.log_softmax(x, 1).exp().sum(1).numpy(), 1, rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", NAMES)
def test_any_layout_gives_the_same(name, dtype):
    f = getattr(ops, name)
    x, gradient = normal(2, 3, 4, 5, dtype=dtype), normal(2, 3, 4, 5, dtype=dtype, seed=1)
    for dim in range(4):
        first = None
        for layout, array in layouts(x):
            leaf = dl.Tensor(array, True)
            y = f(leaf, dim)
            y.backward(dl.Tensor(dict(layouts(gradient))[layout]))
            first = first or (y.data, leaf.grad.data)
            assert np.array_equal(y.data, first[0]) and np.array_equal(leaf.grad.data, first[1]), (layout, dim)


def test_the_derivative_of_softmax_is_that_of_its_logarithm():
    x, v = dl.Tensor(normal(4, 5), True), normal(4, 5, seed=1)
    a = dl.grad(ops.softmax(x, 1).log(), x, v)[0].numpy()
    b = dl.grad(ops.log_softmax(x, 1), x, v)[0].numpy()
    close(a, b, 1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_dtypes_and_errors(name):
    f = getattr(ops, name)
    x = dl.Tensor(np.zeros((2, 3), np.float32))
    assert f(dl.tensor([1, 2]), 0).dtype == np.float32 and f(dl.tensor([True]), 0).dtype == np.float32
    assert getattr(x, name)(1).tolist() == f(x, 1).tolist()
    for dtype in ("float16", "complex64"):
        with pytest.raises(TypeError, match=f"{name}: input must be float32 or float64, got {dtype}"):
            f(x.astype(dtype), 1)
    for dim in (2, -3):
        with pytest.raises(ValueError, match=f"{name}: dim {dim} is out of range for a Tensor of 2 dimensions"):
            f(x, dim)
    for dim in (None, 0.5, (0, 1)):
        with pytest.raises(TypeError, match=f"{name}: dim must be an integer"):
            f(x, dim)
    with pytest.raises(TypeError, match=f"{name}: .* not list"):
        f([1.0], 0)
