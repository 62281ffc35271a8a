"""All functions of one element: values, derivatives, dtypes, layouts, special values."""

import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers import check_against_torch, check_second_gradient, layouts, normal, to_torch

import minidl as dl
from minidl import ops
from minidl.ops._common import quietly

# Where each function of one element is smooth; all files of such functions share these tests.
ANYWHERE = [
    "abs", "asinh", "atan", "cos", "cosh", "elu", "erf", "erfc", "exp", "exp2", "expm1", "gelu", "hardtanh",
    "leaky_relu", "logsigmoid", "reciprocal", "relu6", "sigmoid", "silu", "sin", "sinh", "softplus", "square", "tan",
    "tanh",
]  # fmt: skip
POSITIVE = ["log", "log10", "log1p", "log2", "rsqrt", "sqrt"]
WITHIN_ONE = ["acos", "asin", "atanh"]
ABOVE_ONE = ["acosh"]
NAMES = [*ANYWHERE, *POSITIVE, *WITHIN_ONE, *ABOVE_ONE]
STEPS = ["ceil", "floor", "round", "sign", "trunc"]
TESTS = ["isfinite", "isinf", "isnan"]
FUNCTIONAL = ["elu", "gelu", "hardtanh", "leaky_relu", "logsigmoid", "relu6", "silu", "softplus"]
REAL = ["elu", "erf", "erfc", "gelu", "hardtanh", "leaky_relu", "logsigmoid", "relu6", "softplus"]
COMPLEX = [name for name in NAMES if name not in REAL and name != "silu"]  # PyTorch has no gradient of a complex silu
SHAPES = [(), (4,), (2, 3), (0,), (2, 0, 3), (1, 1)]


def torch_function(name):
    torch = pytest.importorskip("torch")
    return getattr(torch.nn.functional if name in FUNCTIONAL else torch, name)


def smooth(name, *shape, dtype=np.float64):
    """Elements at which a function is smooth, and at least 0.3 from 0, where some have a kink or a pole."""
    x = normal(*shape)
    x = np.where(x < 0, -0.3, 0.3) + x
    if name in POSITIVE:
        x = np.abs(x)
    elif name in WITHIN_ONE:
        x = x / (1 + np.abs(x))
    elif name in ABOVE_ONE:
        x = 1 + np.abs(x)
    return np.asarray(x, dtype)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_derivatives(name, shape):
    f = getattr(ops, name)
    check_second_gradient(f, smooth(name, *shape))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_pytorch_gives_the_same(name, shape, dtype):
    x = smooth(name, *shape, dtype=dtype)
    check_against_torch(getattr(ops, name), torch_function(name), x)


@pytest.mark.parametrize("name", NAMES)
def test_third_derivatives(name):
    def slope(x):
        with dl.enable_grad():
            x = x if x.requires_grad else x.detach().requires_grad_()
            z = x / (x * x + 1) if name in WITHIN_ONE else x * x + 1
            return dl.grad(getattr(ops, name)(z).sum(), x, create_graph=True)[0]

    check_second_gradient(slope, np.array([0.4, 0.7, 1.3, -0.6]))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", [*NAMES, *STEPS])
def test_special_values(name):
    values = np.array([0.0, -0.0, 1e-45, 1e38, 1000.0, -1000.0, -1.0, np.inf, -np.inf, np.nan], np.float32)
    got = getattr(ops, name)(dl.Tensor(values)).numpy()
    expected = torch_function(name)(to_torch(values)).numpy()
    different = {"sign": 9, "gelu": 7, "log1p": 2}.get(name)  # PyTorch: sign(NaN) 0, gelu(inf) NaN, log1p(1e-45) 0
    if different is not None:
        got, expected = np.delete(got, different), np.delete(expected, different)
    np.testing.assert_allclose(got, expected, rtol=1e-6)
    np.testing.assert_array_equal(np.signbit(got[got == 0]), np.signbit(expected[expected == 0]))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", NAMES)
def test_gradients_at_kinks_poles_and_infinities(name):
    values = np.array([0.0, -0.0, 1000.0, np.inf, -np.inf, np.nan])
    if name == "abs":  # at NaN PyTorch's gradient is 0, ours NaN
        values = values[:-1]
    if name == "acosh":  # at -inf, where it is NaN, PyTorch's gradient is 0, ours NaN
        values = np.delete(values, 4)
    check_against_torch(getattr(ops, name), torch_function(name), values, second=False)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", NAMES)
def test_no_warning_where_nan_or_infinity_is_the_answer(name, dtype, recwarn):
    with np.errstate(all="warn"):
        getattr(ops, name)(dl.Tensor(np.array([-1e38, -1000, -2, -1, 0, 1, 2, 1000, 1e38, np.inf, np.nan], dtype)))
    assert not recwarn.list


@pytest.mark.parametrize("name", NAMES)
def test_any_layout_gives_the_same(name):
    x = smooth(name, 2, 3, 4, 5, dtype=np.float32)
    f = getattr(ops, name)
    expected = f(dl.Tensor(x)).numpy()
    for layout, array in layouts(x):
        np.testing.assert_allclose(f(dl.Tensor(array)).numpy(), expected, rtol=1e-6, err_msg=layout)


@pytest.mark.parametrize("name", [*NAMES, *STEPS, *TESTS])
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float32", "float64"])
def test_result_dtypes_are_pytorchs(name, dtype):
    x = np.ones(2, dtype)
    if dtype == "bool" and name in ("abs", "hardtanh", "relu6", "ceil", "floor", "round", "trunc"):
        with pytest.raises(TypeError, match=f"{name.replace('relu6', 'hardtanh')}: .*bool"):
            getattr(ops, name)(dl.Tensor(x))
        return
    got = getattr(ops, name)(dl.Tensor(x))
    assert not got.requires_grad
    try:
        expected = torch_function(name)(to_torch(x))
    except (NotImplementedError, RuntimeError):  # of integers some activations take none; here they become float32
        assert got.dtype == np.float32 or name == "hardtanh"
        return
    assert f"torch.{got.dtype}" == str(expected.dtype)
    assert got.tolist() == pytest.approx(expected.tolist(), nan_ok=True)


@pytest.mark.parametrize("name", COMPLEX)
def test_complex_numbers(name):
    torch = pytest.importorskip("torch")
    z = normal(4, seed=1) + 1j * normal(4, seed=2)

    def run(f, absolute, x, grad):
        y = f(x)
        (g,) = grad(absolute(y + 0.5).sum(), x, create_graph=True)
        (h,) = grad(absolute(g).sum(), x)
        return [t.detach().numpy() for t in (y, g, h)]

    got = run(getattr(ops, name), ops.abs, dl.Tensor(z, True), dl.grad)
    expected = run(torch_function(name), torch.abs, torch.tensor(z, requires_grad=True), torch.autograd.grad)
    for g, e in zip(got, expected, strict=True):
        np.testing.assert_allclose(g, e, rtol=1e-10, atol=1e-12)
        assert g.dtype == e.dtype


def test_the_absolute_value_of_a_complex_zero_has_gradient_zero():
    z = dl.tensor([0j, 3 + 4j], requires_grad=True)
    ops.abs(z).sum().backward()
    assert z.grad.tolist() == pytest.approx([0, 0.6 + 0.8j])


@pytest.mark.parametrize("name", [*STEPS, *TESTS])
def test_step_functions_have_no_gradient(name):
    values = np.array([-2.5, -1.5, -0.5, -0.0, 0.0, 0.49, 0.5, 1.5, 2.5, np.inf, -np.inf, np.nan])
    values = values[:-1] if name == "sign" else values
    check_against_torch(getattr(ops, name), torch_function(name), values)
    assert not getattr(ops, name)(dl.tensor([1.0, -2.0], requires_grad=True)).requires_grad


@pytest.mark.parametrize("name", ["isfinite", "isinf", "isnan"])
def test_a_complex_number_is_as_its_parts(name):
    z = np.array([1 + 1j, complex(np.nan, 1), complex(1, np.inf), complex(np.inf, np.nan)])
    assert getattr(ops, name)(dl.Tensor(z)).tolist() == torch_function(name)(to_torch(z)).tolist()


@pytest.mark.parametrize("name", [*STEPS, *REAL])
def test_what_has_no_complex_form_says_so(name):
    with pytest.raises(TypeError, match=f"{name.replace('relu6', 'hardtanh')}: .*complex64"):
        getattr(ops, name)(dl.tensor([1j]))


@pytest.mark.parametrize("name", [*NAMES, *STEPS, *TESTS])
def test_methods_numbers_arrays_and_errors(name):
    f = getattr(ops, name)
    x = dl.tensor([0.25, 1.0])
    expected = f(x).numpy()
    np.testing.assert_array_equal(f(np.array([0.25, 1.0], np.float32)).numpy(), expected)
    np.testing.assert_array_equal(f(1).numpy(), f(dl.tensor(1)).numpy())
    if name not in FUNCTIONAL:
        np.testing.assert_array_equal(getattr(x, name)().numpy(), expected)
    for wrong in ([1.0], None, "text"):
        with pytest.raises(TypeError, match=f".*Tensors, arrays or numbers, not {type(wrong).__name__}") as error:
            f(wrong)
        assert str(error.value).startswith(name.replace("relu6", "hardtanh") + ": ")


# ---- closed forms --------------------------------------------------------------------------------------------------


def test_small_arguments_keep_their_digits():
    x = dl.Tensor(np.array([1e-20, -1e-20]))
    assert ops.expm1(x).tolist() == ops.log1p(x).tolist() == x.tolist()
    assert ops.erfc(dl.Tensor(np.array(10.0))).item() == pytest.approx(2.088487583762545e-45, rel=1e-12)


def test_powers_of_two_are_exact():
    x = dl.tensor([-3.0, 0.0, 1.0, 10.0])
    assert ops.exp2(x).tolist() == [0.125, 1, 2, 1024] and ops.log2(ops.exp2(x)).tolist() == x.tolist()
    assert ops.log10(dl.tensor([1.0, 1000.0])).tolist() == pytest.approx([0, 3])


def test_square_and_reciprocal_of_integers():
    assert ops.square(dl.tensor([3, -2])).tolist() == [9, 4] and ops.square(dl.tensor([True])).dtype == np.int64
    assert ops.reciprocal(dl.tensor([2, 4])).tolist() == [0.5, 0.25]


def test_erf_runs_on_the_reference_too():
    x = dl.Tensor(normal(3, 4), True)
    with dl.use_kernels("reference"):
        expected = ops.erf(x).data, ops.erfc(x).data
    for got, e in zip((ops.erf(x).data, ops.erfc(x).data), expected, strict=True):
        np.testing.assert_allclose(got, e, rtol=1e-14)
    np.testing.assert_allclose(expected[0] + expected[1], 1, rtol=1e-15)


def test_numpy_is_silent_within_a_formula_within_a_formula_and_in_every_thread():
    def nested(x):
        return quietly(np.log, quietly(lambda x: 1 / quietly(np.exp, x), x))

    before = np.geterr()
    with warnings.catch_warnings(), ThreadPoolExecutor(4) as pool:
        warnings.simplefilter("error")
        found = list(pool.map(nested, [np.array([1e3, -1e3])] * 64))
    assert all((y == [-np.inf, np.inf]).all() for y in found)
    assert np.geterr() == before
