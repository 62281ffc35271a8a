"""sum, mean, amax, amin, max, min, argmax, argmin, logsumexp, nansum, all, any, count_nonzero."""

import itertools
from functools import partial

import numpy as np
import pytest
from helpers import check_against_torch, check_gradient, check_second_gradient, distinct, layouts, normal, to_torch

import minidl as dl
from minidl import ops

FOLDS = ["sum", "mean", "amax", "amin"]
INDICES = ["argmax", "argmin"]
PAIRS = ["max", "min"]
DIMS = [
    ((), [None, 0, -1, ()]),
    ((3,), [None, 0, -1, (0,), ()]),
    ((2, 3), [None, 0, 1, -1, -2, (0, 1), (1, 0), (-1,), [0]]),
    ((2, 3, 4), [None, 0, 1, 2, -2, (0, 2), (2, 0), (-1, 0), (0, 1, 2), ()]),
    ((1, 3, 1), [None, 0, (0, 2)]),
]
CASES = [(shape, dim) for shape, dims in DIMS for dim in dims]


def torch_function(name):
    return getattr(pytest.importorskip("torch"), name)


def options(dim, keepdim):
    """As keywords; PyTorch has no keepdim without a dim."""
    return {} if dim is None and not keepdim else {"dim": dim, "keepdim": keepdim}


@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize("shape, dim", CASES, ids=str)
@pytest.mark.parametrize("name", FOLDS)
def test_folds(name, shape, dim, keepdim):
    kwargs, torch_kwargs = options(dim, keepdim), options(dim, keepdim)
    if dim is None and keepdim:
        torch_kwargs["dim"] = tuple(range(len(shape)))
    f, torch_f = getattr(ops, name), torch_function(name)
    x = distinct(*shape) + 0.7  # not symmetrical, so that sums do not cancel
    check_second_gradient(lambda x: f(x, **kwargs), x)
    for dtype in (np.float32, np.float64):
        check_against_torch(lambda x: f(x, **kwargs), lambda x: torch_f(x, **torch_kwargs), x.astype(dtype))
    assert getattr(dl.Tensor(x), name)(**kwargs).tolist() == f(dl.Tensor(x), **kwargs).tolist()


@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize("shape, dim", [c for c in CASES if isinstance(c[1], int)], ids=str)
@pytest.mark.parametrize("name", PAIRS)
def test_max_and_min_along_an_axis(name, shape, dim, keepdim):
    f, torch_f = getattr(ops, name), torch_function(name)
    x = distinct(*shape)
    check_second_gradient(lambda x: f(x, dim, keepdim)[0], x)
    for dtype in (np.float32, np.float64):
        check_against_torch(lambda x: f(x, dim, keepdim), lambda x: torch_f(x, dim, keepdim), x.astype(dtype))


@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize("shape, dim", [c for c in CASES if c[1] is None or isinstance(c[1], int)], ids=str)
@pytest.mark.parametrize("name", INDICES)
def test_indices_of_extrema(name, shape, dim, keepdim):
    x = distinct(*shape)
    got = getattr(ops, name)(dl.Tensor(x, True), dim, keepdim)
    expected = torch_function(name)(to_torch(x), dim, keepdim)
    assert got.dtype == np.int64 and not got.requires_grad
    assert got.shape == tuple(expected.shape) and got.tolist() == expected.tolist()


@pytest.mark.parametrize("name", PAIRS)
def test_max_and_min_of_all(name):
    f, torch_f = getattr(ops, name), torch_function(name)
    for x in (distinct(2, 3), np.array([[1.0, 2.0], [2.0, 1.0]])):  # equals share the gradient
        check_against_torch(f, torch_f, x)
    assert f(dl.tensor([3, 1, 2])).item() == (3 if name == "max" else 1)


# ---- ties, NaN, infinities -----------------------------------------------------------------------------------------


def test_equals_share_the_gradient_of_amax_and_amin():
    x = np.array([[1.0, 3.0, 3.0, 0.0], [2.0, 2.0, 2.0, 2.0]])
    for name in ("amax", "amin"):
        for dim in (None, 0, 1, (0, 1)):
            kwargs = options(dim, False)
            check_against_torch(partial(getattr(ops, name), **kwargs), partial(torch_function(name), **kwargs), x)


def test_the_first_of_equals_takes_the_gradient_of_max_along_an_axis():
    x = dl.tensor([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]], requires_grad=True)
    values, indices = x.max(1)
    values.backward(np.array([10.0, 20.0]))
    assert indices.tolist() == [1, 0] and x.grad.tolist() == [[0, 10, 0], [20, 0, 0]]
    assert x.argmax(1).tolist() == [1, 0] and x.argmin(1).tolist() == [0, 0]
    assert x.min(1)[1].tolist() == [0, 0] and x.argmax().item() == 1


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", [*FOLDS, *PAIRS, *INDICES])
def test_nan_and_infinities(name):
    rows = [[1.0, np.nan, 2.0], [np.inf, 1.0, -np.inf], [-np.inf, -np.inf, -np.inf], [np.nan, np.inf, np.nan]]
    for dtype in (np.float32, np.float64):
        x = np.array(rows, dtype)
        for dim in (0, 1):
            got, expected = getattr(ops, name)(dl.Tensor(x), dim), torch_function(name)(to_torch(x), dim)
            for g, e in zip(*[r if isinstance(r, tuple) else (r,) for r in (got, expected)], strict=True):
                np.testing.assert_array_equal(g.numpy(), e.numpy())


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_nan_takes_the_gradient_of_max():
    x = dl.Tensor(np.array([1.0, np.nan, 2.0]), True)
    x.max(0)[0].backward()
    assert x.grad.tolist() == [0, 1, 0]
    x.grad = None
    x.amax().backward()
    assert x.grad.tolist() == [0, 1, 0]


# ---- nothing to reduce ---------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    "shape, dim", [((0,), None), ((0,), 0), ((2, 0), 1), ((2, 0), 0), ((0, 3), 0), ((0, 3), (0, 1))]
)
def test_sums_and_means_over_nothing(shape, dim):
    for name in ("sum", "mean"):
        f, torch_f = (
            partial(function, **options(dim, False)) for function in (getattr(ops, name), torch_function(name))
        )
        check_against_torch(f, torch_f, np.zeros(shape), second=False)
    assert np.isnan(ops.mean(dl.Tensor(np.zeros((2, 0))), 1).numpy()).all()


@pytest.mark.parametrize("name", ["amax", "amin", *PAIRS, *INDICES])
def test_extrema_of_nothing(name):
    f = getattr(ops, name)
    message = r"no element to choose from, the shape is \(2, 0\) and dim is "
    for dim in (None, 1):
        with pytest.raises(ValueError, match=rf"arg{name}: {message}|{name}: {message}{dim}"):
            f(dl.Tensor(np.zeros((2, 0))), dim)
    got = f(dl.Tensor(np.zeros((2, 0))), 0)
    assert (got[0] if isinstance(got, tuple) else got).shape == (0,)
    x = dl.Tensor(np.zeros((0, 3)), True)
    got = f(x, 1)
    got = got[0] if isinstance(got, tuple) else got
    assert got.shape == (0,)
    if got.requires_grad:
        got.sum().backward()
        assert x.grad.shape == (0, 3)


# ---- dtypes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float32", "float64", "complex64"])
@pytest.mark.parametrize("name", [*FOLDS, *PAIRS, *INDICES])
def test_result_dtypes_are_pytorchs(name, dtype):
    x = np.array([[1, 0], [1, 1]], dtype)
    try:
        expected = torch_function(name)(to_torch(x))
    except (RuntimeError, NotImplementedError):  # no mean of integers, no order of complex numbers
        if (name, dtype) not in (("argmax", "bool"), ("argmin", "bool")):  # here we are more generous
            with pytest.raises(TypeError, match=f"{name}: .*{dtype}"):
                getattr(ops, name)(dl.Tensor(x))
        return
    got = getattr(ops, name)(dl.Tensor(x))
    assert f"torch.{got.dtype}" == str(expected.dtype) and got.item() == expected.item()


def test_sum_in_another_dtype():
    torch = pytest.importorskip("torch")
    check_against_torch(
        lambda x: ops.sum(x, 0, dtype=np.float64),
        lambda x: torch.sum(x, 0, dtype=torch.float64),
        normal(2, 3, dtype="f4"),
    )
    assert ops.sum(dl.tensor([1.5, 2.5]), dtype="int64").item() == 3
    assert ops.sum(dl.tensor([1, 2]), dtype="int32").dtype == np.int32
    assert ops.sum(dl.tensor([True, True]), dtype=np.float32).dtype == np.float32
    with pytest.raises(TypeError, match="dtype 'no such thing' is not understood"):
        ops.sum(dl.tensor([1.0]), dtype="no such thing")


def test_integers_are_summed_without_overflow():
    assert ops.sum(dl.Tensor(np.full(1000, 200, np.uint8))).item() == 200_000
    assert ops.sum(dl.Tensor(np.full(3, True))).item() == 3


def test_a_long_sum_of_float32_keeps_its_digits():
    x = np.full(1_000_001, 0.1, np.float32)
    assert ops.sum(dl.Tensor(x)).item() == pytest.approx(100_000.1, rel=1e-6)
    assert ops.mean(dl.Tensor(x)).item() == pytest.approx(0.1, rel=1e-6)


# ---- layouts and errors --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*FOLDS, *INDICES])
def test_any_layout_gives_the_same(name):
    x = normal(2, 3, 4, 5)
    for dim in (None, *range(4)):
        expected = getattr(np, name)(x, axis=dim)
        for layout, array in layouts(x):
            got = getattr(ops, name)(dl.Tensor(array), dim).numpy()
            np.testing.assert_allclose(got, expected, rtol=1e-12, err_msg=layout)


@pytest.mark.parametrize("name", FOLDS)
def test_gradients_of_any_layout_are_the_same(name):
    x, gradient = normal(2, 3, 4, 5), normal(2, 5, seed=1)
    results = []
    for _, array in layouts(x):
        leaf = dl.Tensor(array, True)
        getattr(ops, name)(leaf, (1, 2)).backward(gradient)
        results.append(leaf.grad.numpy())
    for a, b in itertools.pairwise(results):
        np.testing.assert_array_equal(a, b)


def test_the_gradient_of_a_mean_is_an_equal_share():
    check_gradient(lambda x: x.mean((0, 2)), normal(2, 3, 4))


@pytest.mark.parametrize("name", [*FOLDS, *PAIRS, *INDICES])
def test_errors_name_the_operation(name):
    f, x = getattr(ops, name), dl.Tensor(np.zeros((2, 3)))
    with pytest.raises(ValueError, match=f"{name}: dim 2 is out of range for a Tensor of 2 dimensions"):
        f(x, 2)
    with pytest.raises(ValueError, match=f"{name}: dim -3 is out of range"):
        f(x, -3)
    with pytest.raises(ValueError, match=f"{name}: dim 1 is out of range for a Tensor of 0 dimensions"):
        f(dl.tensor(1.0), 1)
    for dim in ("a", 1.5, True, {}):
        with pytest.raises(TypeError, match=f"{name}: dim must be an integer"):
            f(x, dim)
    with pytest.raises(TypeError, match=f"{name}: .* not list"):
        f([1.0])
    if name in FOLDS:
        with pytest.raises(ValueError, match=rf"{name}: dim \(0, -2\) names an axis twice"):
            f(x, (0, -2))


def test_the_mean_of_integers_says_what_to_do():
    with pytest.raises(
        TypeError, match=r"mean: a floating-point Tensor is needed, got int64; convert it with float\(\)"
    ):
        dl.tensor([1, 2]).mean()
    assert dl.tensor([1, 2]).float().mean().item() == 1.5


def test_the_mean_in_another_dtype():
    torch = pytest.importorskip("torch")
    check_against_torch(
        lambda x: ops.mean(x, 0, dtype="float64"),
        lambda x: torch.mean(x, 0, dtype=torch.float64),
        normal(2, 3, dtype="f4"),
    )
    assert dl.tensor([1, 2]).mean(dtype=np.float32).item() == 1.5
    with pytest.raises(TypeError, match="mean: a floating-point Tensor is needed, got int64"):
        ops.mean(dl.tensor([1.0]), dtype="int64")


# ---- logsumexp -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize("shape, dim", [c for c in CASES if c[1] not in (None, ())], ids=str)
def test_logsumexp(shape, dim, keepdim):
    torch_f = torch_function("logsumexp")
    x = normal(*shape)
    check_second_gradient(lambda x: ops.logsumexp(x, dim, keepdim), x)
    for dtype in (np.float32, np.float64):
        check_against_torch(
            lambda x: ops.logsumexp(x, dim, keepdim), lambda x: torch_f(x, dim, keepdim), x.astype(dtype), atol=1e-6
        )
    assert dl.Tensor(x).logsumexp(dim, keepdim).tolist() == ops.logsumexp(dl.Tensor(x), dim, keepdim).tolist()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_logsumexp_neither_overflows_nor_warns(dtype, recwarn):
    inf = np.inf
    rows = [[1e4, 1e4], [-1e4, -1e4], [-inf, 0.0], [-inf, -inf], [inf, 0.0], [inf, inf], [inf, -inf], [np.nan, 1.0]]
    x = np.array(rows, dtype)
    got = ops.logsumexp(dl.Tensor(x), 1).numpy()
    np.testing.assert_allclose(got, torch_function("logsumexp")(to_torch(x), 1).numpy(), rtol=1e-6)
    assert got[0] == pytest.approx(1e4 + np.log(2)) and not recwarn.list
    check_against_torch(lambda x: ops.logsumexp(x, 1), lambda x: torch_function("logsumexp")(x, 1), x[:3], second=False)


def test_logsumexp_of_nothing_of_integers_and_of_complex_numbers():
    assert ops.logsumexp(dl.Tensor(np.zeros((2, 0))), 1).tolist() == [-np.inf, -np.inf]
    assert ops.logsumexp(dl.tensor([1, 1]), 0).item() == pytest.approx(1 + np.log(2))
    check_against_torch(
        lambda x: ops.logsumexp(x, 1), lambda x: torch_function("logsumexp")(x, 1), normal(3, 4, dtype=np.complex128)
    )
    with pytest.raises(ValueError, match="logsumexp: dim 1 is out of range for a Tensor of 1 dimensions"):
        ops.logsumexp(dl.tensor([1.0]), 1)
    with pytest.raises(TypeError, match="logsumexp: dim must be an integer"):
        ops.logsumexp(dl.tensor([1.0]), "a")


# ---- nansum, all, any, count_nonzero -------------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [None, 0, 1, (0, 1)])
def test_nansum(dim):
    x = np.array([[1.0, np.nan, 2.0], [np.nan, np.nan, np.nan]])
    check_against_torch(lambda x: ops.nansum(x, dim), lambda x: torch_function("nansum")(x, dim), x)
    assert ops.nansum(dl.tensor([1, 2])).dtype == np.int64
    with pytest.raises(TypeError, match="nansum: input must be real numbers, got complex64"):
        ops.nansum(dl.tensor([1j]))


@pytest.mark.parametrize("shape, dim", [*CASES, ((0, 3), 0), ((0, 3), 1), ((0,), None)], ids=str)
@pytest.mark.parametrize("name", ["all", "any", "count_nonzero"])
def test_all_any_and_count_nonzero(name, shape, dim):
    x = normal(*shape)
    for limit in (-1, 0, 1, 10):
        for keepdim in (False, True) if name != "count_nonzero" and dim is not None else (None,):
            kwargs = {"dim": dim} if dim is not None else {}
            kwargs |= {"keepdim": keepdim} if keepdim is not None else {}
            got = getattr(dl.Tensor(x > limit), name)(**kwargs)
            expected = torch_function(name)(to_torch(x > limit), **kwargs)
            assert got.shape == tuple(expected.shape) and got.tolist() == expected.tolist()
            assert f"torch.{got.dtype}" == str(expected.dtype)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float32", "complex64"])
@pytest.mark.parametrize("name", ["all", "any", "count_nonzero"])
def test_truth_of_any_dtype(name, dtype):
    for values in ([1, 0], [1, 1], [0, 0]):
        x = np.array(values, dtype)
        got, expected = getattr(ops, name)(dl.Tensor(x)), torch_function(name)(to_torch(x))
        assert f"torch.{got.dtype}" == str(expected.dtype) and got.item() == expected.item()
    assert ops.any(dl.tensor([np.nan])).item() and ops.count_nonzero(dl.tensor([np.nan, -0.0])).item() == 1


@pytest.mark.parametrize("name", ["all", "any", "count_nonzero", "nansum"])
def test_more_errors_that_name_the_operation(name):
    f, x = getattr(ops, name), dl.Tensor(np.zeros((2, 3)))
    what = "sum" if name == "nansum" else name
    with pytest.raises(ValueError, match=f"{what}: dim 2 is out of range for a Tensor of 2 dimensions"):
        f(x, 2)
    with pytest.raises(TypeError, match=f"{what}: dim must be an integer"):
        f(x, "a")
    with pytest.raises(TypeError, match=f"{name}: .* not list"):
        f([1.0])
