"""exp, log, sqrt, tanh, abs, sign."""

import numpy as np
import pytest
from helpers import check_against_torch, check_second_gradient, layouts, normal, to_torch

import minidl as dl
from minidl import ops

NAMES = ["exp", "log", "sqrt", "tanh", "abs"]
SHAPES = [(), (4,), (2, 3), (0,), (2, 0, 3), (1, 1)]


def torch_function(name):
    return getattr(pytest.importorskip("torch"), name)


def away_from_zero(*shape, dtype=np.float64, positive=False):
    x = normal(*shape)
    return np.asarray((np.abs(x) + 0.3) * (1 if positive else np.where(x < 0, -1, 1)), dtype)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_derivatives(name, shape):
    f = getattr(ops, name)
    check_second_gradient(f, away_from_zero(*shape, positive=name in ("log", "sqrt")))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_pytorch_gives_the_same(name, shape, dtype):
    x = away_from_zero(*shape, dtype=dtype, positive=name in ("log", "sqrt"))
    check_against_torch(getattr(ops, name), torch_function(name), x)


@pytest.mark.parametrize("name", NAMES)
def test_third_derivatives(name):
    def slope(x):
        with dl.enable_grad():
            x = x if x.requires_grad else x.detach().requires_grad_()
            return dl.grad(getattr(ops, name)(x * x + 1).sum(), x, create_graph=True)[0]

    check_second_gradient(slope, away_from_zero(4, positive=True))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", [*NAMES, "sign"])
def test_special_values(name):
    values = np.array([0.0, -0.0, 1e-45, 1e38, 1000.0, -1000.0, -1.0, np.inf, -np.inf, np.nan], np.float32)
    got = getattr(ops, name)(dl.Tensor(values)).numpy()
    expected = torch_function(name)(to_torch(values)).numpy()
    if name == "sign":  # NumPy's sign of NaN is NaN, PyTorch's 0
        got, expected = got[:-1], expected[:-1]
    np.testing.assert_allclose(got, expected, rtol=1e-6)
    np.testing.assert_array_equal(np.signbit(got[got == 0]), np.signbit(expected[expected == 0]))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", NAMES)
def test_gradients_at_kinks_poles_and_infinities(name):
    values = np.array([0.0, -0.0, 1000.0, np.inf, -np.inf, np.nan])
    if name == "abs":  # at NaN PyTorch's gradient is 0, ours NaN
        values = values[:-1]
    check_against_torch(getattr(ops, name), torch_function(name), values, second=False)


@pytest.mark.parametrize("name", ["log", "sqrt"])
def test_no_warning_where_nan_or_infinity_is_the_answer(name, recwarn):
    getattr(ops, name)(dl.tensor([-1.0, 0.0]))
    assert not recwarn


@pytest.mark.parametrize("name", NAMES)
def test_any_layout_gives_the_same(name):
    x = away_from_zero(2, 3, 4, 5, dtype=np.float32, positive=True)
    f = getattr(ops, name)
    expected = f(dl.Tensor(x)).numpy()
    for layout, array in layouts(x):
        np.testing.assert_allclose(f(dl.Tensor(array)).numpy(), expected, rtol=1e-6, err_msg=layout)


@pytest.mark.parametrize("name", [*NAMES, "sign"])
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float32", "float64"])
def test_result_dtypes_are_pytorchs(name, dtype):
    x = np.ones(2, dtype)
    if (name, dtype) == ("abs", "bool"):
        with pytest.raises(TypeError, match="abs: a bool Tensor has no absolute value"):
            ops.abs(dl.Tensor(x))
        return
    got, expected = getattr(ops, name)(dl.Tensor(x)), torch_function(name)(to_torch(x))
    assert f"torch.{got.dtype}" == str(expected.dtype)
    assert got.tolist() == pytest.approx(expected.tolist())
    assert not got.requires_grad


@pytest.mark.parametrize("name", NAMES)
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


def test_sign_has_no_gradient_and_no_complex_form():
    assert not ops.sign(dl.tensor([1.0, -2.0], requires_grad=True)).requires_grad
    with pytest.raises(TypeError, match="sign: a real Tensor is needed, got complex64"):
        ops.sign(dl.tensor([1j]))


@pytest.mark.parametrize("name", [*NAMES, "sign"])
def test_methods_numbers_arrays_and_errors(name):
    f = getattr(ops, name)
    x = dl.tensor([0.25, 1.0])
    assert getattr(x, name)().tolist() == f(x).tolist() == f(np.array([0.25, 1.0], np.float32)).tolist()
    assert f(4).item() == f(dl.tensor(4)).item()
    for wrong in ([1.0], None, "text"):
        with pytest.raises(TypeError, match=f"{name}: .*Tensors, arrays or numbers, not {type(wrong).__name__}"):
            f(wrong)
