"""var, std, var_mean and std_mean."""

import numpy as np
import pytest
from helpers import check_against_torch, check_second_gradient, layouts, normal

import minidl as dl
from minidl import ops

NAMES = ["var", "std", "var_mean", "std_mean"]
DIMS = [
    ((5,), None),
    ((5,), 0),
    ((2, 3), None),
    ((2, 3), 1),
    ((3, 2), -2),
    ((2, 3, 4), (0, 2)),
    ((2, 3, 4), (2, -3)),
]
OPTIONS = [{}, {"correction": 0}, {"correction": 0.5}, {"unbiased": False}, {"unbiased": True}]


def torch_function(name):
    return getattr(pytest.importorskip("torch"), name)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("shape, dim", DIMS, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_values_and_derivatives(name, shape, dim, options):
    f, torch_f = getattr(ops, name), torch_function(name)
    x = normal(*shape) + 2
    check_second_gradient(lambda x: f(x, dim, **options), x)
    for dtype in (np.float32, np.float64):
        for keepdim in (False, True):
            kwargs = {"dim": dim, "keepdim": keepdim, **options}
            check_against_torch(lambda x: f(x, **kwargs), lambda x: torch_f(x, **kwargs), x.astype(dtype))  # noqa: B023


def test_no_axes_are_all_axes():
    """As in PyTorch, whose gradient of this case is wrong."""
    x = normal(3, 4)
    assert ops.var(dl.Tensor(x), ()).item() == ops.var(dl.Tensor(x)).item()
    check_second_gradient(lambda x: ops.var(x, ()), x)


@pytest.mark.parametrize("name", NAMES)
def test_the_older_signatures(name):
    f, torch_f = getattr(ops, name), torch_function(name)
    for args in ((), (False,), (True,), (1, False), (1, True, True)):
        check_against_torch(lambda x: f(x, *args), lambda x: torch_f(x, *args), normal(3, 4))  # noqa: B023


@pytest.mark.filterwarnings("ignore:.*degrees of freedom is <= 0")
@pytest.mark.parametrize("name", NAMES)
def test_too_few_elements(name, recwarn):
    f, torch_f = getattr(ops, name), torch_function(name)
    for x in (np.zeros((2, 1)), np.zeros((2, 0)), np.ones((0, 3)), np.array([[1.0, 2.0]])):
        for correction in (1, 2):
            got = f(dl.Tensor(x), 1, correction=correction)
            expected = torch_f(pytest.importorskip("torch").tensor(x), 1, correction=correction)
            for g, e in zip(*[r if isinstance(r, tuple) else [r] for r in (got, expected)], strict=True):
                np.testing.assert_array_equal(g.numpy(), e.numpy())
    assert not [w for w in recwarn if "degrees of freedom" not in str(w.message)]
    assert np.isnan(ops.var(dl.tensor(3.0)).item()) and ops.var(dl.tensor(3.0), correction=0).item() == 0


def test_equal_elements_have_no_slope():
    """PyTorch's choice: at 0, where the root has none, the gradient of std is 0."""
    x = np.array([[3.0, 3.0, 3.0], [1.0, 2.0, 4.0]])
    check_against_torch(lambda x: ops.std(x, 1), lambda x: torch_function("std")(x, 1), x, second=False)
    leaf = dl.Tensor(x, True)
    (g,) = dl.grad(ops.std(leaf, 1).sum(), leaf, create_graph=True)
    (h,) = dl.grad((g * dl.Tensor(normal(2, 3))).sum(), leaf)
    assert g.tolist()[0] == h.tolist()[0] == [0, 0, 0] and np.isfinite(h.data).all()


def test_no_digits_are_lost_far_from_zero():
    """One pass, mean of squares less square of mean, gives 0 or a negative number here."""
    x = 1e4 + np.array([0.0, 1.0, 2.0, 3.0], np.float32)
    assert ops.var(dl.Tensor(x)).item() == pytest.approx(5 / 3, rel=1e-6)
    long = np.tile(np.array([[999.1], [1001.1]], np.float32), (200_000, 3))  # NumPy adds up columns one by one
    assert ops.var(dl.Tensor(long), 0, correction=0).tolist() == pytest.approx([1, 1, 1], rel=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_complex_numbers(name):
    z = normal(3, 4, dtype=np.complex128)
    check_against_torch(lambda x: getattr(ops, name)(x, 1), lambda x: torch_function(name)(x, 1), z)


def test_any_layout_gives_the_same():
    x = normal(2, 3, 4, 5)
    for layout, array in layouts(x):
        for dim in range(4):
            np.testing.assert_allclose(
                ops.var(dl.Tensor(array), dim).numpy(), x.var(dim, ddof=1), rtol=1e-12, err_msg=layout
            )


def test_methods():
    x = dl.tensor([[1.0, 2.0, 6.0]])
    assert x.var(1).item() == pytest.approx(7) and x.std(1, correction=0).item() == pytest.approx((14 / 3) ** 0.5)


@pytest.mark.parametrize("name", NAMES)
def test_errors(name):
    f, x = getattr(ops, name), dl.Tensor(np.zeros((2, 3)))
    with pytest.raises(TypeError, match=rf"{name}: a floating-point Tensor is needed, got int64; convert it with"):
        f(dl.tensor([1, 2]))
    with pytest.raises(TypeError, match=f"{name}: unbiased and correction exclude each other"):
        f(x, 0, unbiased=True, correction=1)
    with pytest.raises(ValueError, match=f"{name}: dim 2 is out of range for a Tensor of 2 dimensions"):
        f(x, 2)
    with pytest.raises(ValueError, match=rf"{name}: dim \(0, -2\) names an axis twice"):
        f(x, (0, -2))
    for dim in ("a", 1.5):
        with pytest.raises(TypeError, match=f"{name}: dim must be an integer"):
            f(x, dim)
    with pytest.raises(TypeError, match=f"{name}: dim must be an integer, got True"):
        f(x, True, False)
    with pytest.raises(TypeError, match=f"{name}: correction must be a number, got '1'"):
        f(x, correction="1")
