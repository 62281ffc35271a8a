"""The activations' options, their tails and their errors; test_elementwise.py has what all functions share."""

import math

import numpy as np
import pytest
from helpers import check_against_torch, check_second_gradient, distinct, layouts, normal

import minidl as dl
from minidl import ops

OPTIONS = [
    ("leaky_relu", {"negative_slope": 0.3}),
    ("leaky_relu", {"negative_slope": -1}),
    ("leaky_relu", {"negative_slope": 0}),
    ("elu", {"alpha": 0.5}),
    ("elu", {"alpha": -2.0}),
    ("gelu", {"approximate": "tanh"}),
    ("softplus", {"beta": 3}),
    ("softplus", {"beta": 0.5, "threshold": 1}),
    ("hardtanh", {"min_val": -0.5, "max_val": 2}),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name, options", OPTIONS, ids=str)
def test_options(name, options, dtype):
    f, torch_f = getattr(ops, name), getattr(pytest.importorskip("torch").nn.functional, name)
    x = 0.01 + distinct(4, 15)  # no element on a kink
    check_against_torch(lambda x: f(x, **options), lambda x: torch_f(x, **options), x.astype(dtype))
    if options != {"beta": 0.5, "threshold": 1}:  # so low a threshold makes a jump
        check_second_gradient(lambda x: f(x, **options), x)


EXACT = ["gelu", "silu", "sigmoid", "tanh", "softplus", "logsigmoid", "elu", "leaky_relu", "hardtanh"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name, options", [*((name, {}) for name in EXACT), *OPTIONS], ids=str)
def test_large_arrays_which_take_the_kernels(name, options, dtype):
    torch = pytest.importorskip("torch")
    torch_f = getattr(torch if name in ("sigmoid", "tanh") else torch.nn.functional, name)
    x = np.sort(3 * normal(16, 130)).astype(dtype)
    f = getattr(ops, name)
    check_against_torch(lambda x: f(x, **options), lambda x: torch_f(x, **options), x)
    expected = f(dl.Tensor(x), **options).numpy()
    for layout, array in layouts(x):
        np.testing.assert_array_equal(f(dl.Tensor(array), **options).numpy(), expected, err_msg=layout)


@pytest.mark.parametrize("name", [*EXACT, "gelu_tanh"])
def test_recorded_and_plain_gradients_are_the_same(name):
    """One is a formula of Tensors, the other a kernel, or for small arrays the formula on arrays."""
    f = getattr(ops, name) if name != "gelu_tanh" else gelu_by_tanh
    for size in (30, 3000):
        x = dl.Tensor(3 * normal(size), True)
        plain, recorded = (dl.grad(f(x), x, normal(size, seed=1), create_graph=c)[0] for c in (False, True))
        np.testing.assert_allclose(plain.data, recorded.data, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", ["elu", "gelu", "hardtanh", "leaky_relu", "logsigmoid", "relu6", "silu", "softplus"])
def test_kinks_are_pytorchs(name):
    torch_f = getattr(pytest.importorskip("torch").nn.functional, name)
    x = np.array([-1.0, -0.0, 0.0, 1.0, 6.0, 20.0, -20.0, 20.000001])
    # Where elu's and softplus's two pieces meet, PyTorch's second derivative is the right-hand one, ours the left-hand.
    check_against_torch(getattr(ops, name), torch_f, x, second=name not in ("elu", "softplus"))


def test_hardtanh_passes_no_gradient_at_its_bounds_where_clamp_does():
    x = dl.tensor([-1.0, 0.5, 1.0], requires_grad=True)
    assert dl.grad(ops.hardtanh(x).sum(), x)[0].tolist() == [0, 1, 0]
    assert dl.grad(ops.clamp(x, -1, 1).sum(), x)[0].tolist() == [1, 1, 1]


@pytest.mark.parametrize("copies", [1, 200], ids=["formula", "kernel"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tails(dtype, copies):
    """Far from zero: no overflow, no NaN, and small values keep their digits. The formulas are Python's, in float64."""
    values = copies * [-700.0, -80.0, -40.0, -5.0, -1e-9, 5.0, 40.0, 80.0, 700.0, 1e15, -1e15]
    x = dl.Tensor(np.array(values, dtype), requires_grad=True)
    rtol = 3e-6 if dtype == np.float32 else 1e-13
    least = float(np.finfo(dtype).tiny)
    small = sigmoids(values)
    log1p = [math.log1p(math.exp(-abs(v))) for v in values]
    inner = sigmoids([min(2 * math.sqrt(2 / math.pi) * (v + 0.044715 * v**3), 1e300) for v in values])
    forms = {
        ops.sigmoid: small,
        ops.tanh: [math.tanh(v) for v in values],
        ops.logsigmoid: [min(v, 0) - e for v, e in zip(values, log1p, strict=True)],
        ops.softplus: [max(v, 0) + (e if v <= 20 else 0) for v, e in zip(values, log1p, strict=True)],
        ops.silu: [v * s for v, s in zip(values, small, strict=True)],
        ops.elu: [v if v > 0 else math.expm1(v) for v in values],
        ops.gelu: [0.5 * v * math.erfc(-v / math.sqrt(2)) for v in values],
        gelu_by_tanh: [v * s for v, s in zip(values, inner, strict=True)],
    }
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        for f, expected in forms.items():
            y = f(x)
            np.testing.assert_allclose(y.data, expected, rtol, least, err_msg=f.__name__)
            if f is gelu_by_tanh:  # whose dv/dx grows with the square of x
                continue
            (plain,) = dl.grad(y, x, np.ones(len(values)), retain_graph=True)
            (g,) = dl.grad(y, x, np.ones(len(values)), create_graph=True)
            (h,) = dl.grad(g, x, np.ones(len(values)))
            assert all(np.isfinite(z.data).all() for z in (plain, g, h)), f.__name__
    (g,) = dl.grad(ops.logsigmoid(x).sum(), x)
    np.testing.assert_allclose(g.data, sigmoids([-v for v in values]), rtol, least)
    (g,) = dl.grad(ops.silu(x).sum(), x)
    slopes = [s * (1 + v * (1 - s)) for v, s in zip(values, small, strict=True)]
    np.testing.assert_allclose(g.data, slopes, rtol, least)


def gelu_by_tanh(x):
    return ops.gelu(x, "tanh")


def sigmoids(values):
    """1 / (1 + e^-x) in Python's float64; e^x where nothing can be told apart."""
    return [1 / (1 + math.exp(-v)) if v > -40 else math.exp(v) for v in values]


def test_silu_is_x_times_sigmoid():
    x = normal(5)
    np.testing.assert_allclose(ops.silu(dl.Tensor(x)).numpy(), x / (1 + np.exp(-x)), rtol=1e-14)


def test_integers_of_bounded_functions_stay_integers():
    x = dl.tensor([-4, 0, 9])
    assert ops.relu6(x).tolist() == [0, 0, 6] and ops.relu6(x).dtype == np.int64
    assert ops.hardtanh(x).tolist() == [-1, 0, 1]
    assert ops.relu(x).tolist() == [0, 0, 9] and ops.relu(x).dtype == np.int64


def test_relu_in_place():
    x = dl.Tensor(normal(6), True)
    y = x * 2
    assert y.relu_() is y
    y.backward(np.ones(6))
    np.testing.assert_array_equal(y.data, np.maximum(2 * x.data, 0))
    np.testing.assert_array_equal(x.grad.data, 2.0 * (x.data > 0))
    with pytest.raises(RuntimeError, match="relu_: a leaf that requires a gradient"):
        x.relu_()


def test_errors():
    x = dl.tensor([1.0])
    with pytest.raises(ValueError, match="gelu: approximate must be 'none' or 'tanh', got 'erf'"):
        ops.gelu(x, "erf")
    with pytest.raises(ValueError, match=r"hardtanh: max_val \(=-1\) must not be less than min_val \(=1\)"):
        ops.hardtanh(x, 1, -1)
    for name, option in [
        ("leaky_relu", "negative_slope"),
        ("elu", "alpha"),
        ("softplus", "beta"),
        ("softplus", "threshold"),
        ("hardtanh", "min_val"),
        ("hardtanh", "max_val"),
    ]:
        for value in ("1", None, dl.tensor(1.0)):
            with pytest.raises(TypeError, match=f"{name}: {option} must be a number, got"):
                getattr(ops, name)(x, **{option: value})
    for f in (ops.gelu, ops.erf, ops.erfc):
        with pytest.raises(TypeError, match=f"{f.__name__}: .*float16"):
            f(x.astype("float16"))
