"""gather, scatter, index_select, take, masked_fill and their kin."""

import numpy as np
import pytest
from helpers import check_against_torch, check_gradient, check_second_gradient, layouts, normal
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as dl
from minidl import ops

MASK = np.array([[True, False, True], [False, False, True]])
# name, shapes of the floating-point arguments, all arguments with "x" for one of these
CASES = [
    ("narrow", [(4, 3)], ("x", 0, 1, 2)),
    ("narrow", [(4, 3)], ("x", -1, -2, 2)),
    ("narrow", [(4, 3)], ("x", 0, 4, 0)),
    ("select", [(4, 3)], ("x", 0, 2)),
    ("select", [(4, 3)], ("x", -1, -3)),
    ("select", [(4,)], ("x", 0, 1)),
    ("index_select", [(3, 4)], ("x", 0, np.array([2, 0, 2]))),
    ("index_select", [(3, 4)], ("x", -1, np.array([1]))),
    ("index_select", [(3, 4)], ("x", 1, np.array(3))),
    ("index_select", [(3, 4)], ("x", 1, np.array([], np.int64))),
    ("index_select", [()], ("x", 0, np.array([0]))),
    ("index_add", [(3, 2), (4, 2)], ("x", 0, np.array([2, 0, 2, 2]), "x")),
    ("index_add", [(2, 3), (2, 1)], ("x", -1, np.array([1]), "x")),
    ("index_add", [(2, 3), (2, 0)], ("x", 1, np.array([], np.int64), "x")),
    ("index_add", [(), ()], ("x", 0, np.array(0), "x")),
    ("gather", [(3, 4)], ("x", 0, np.array([[2, 0, 2], [1, 1, 0]]))),
    ("gather", [(3, 4)], ("x", 1, np.array([[3, 0, 0, 1, 2, 2]]))),
    ("gather", [(2, 3, 2)], ("x", -2, np.array([[[1, 2], [0, 0]]]))),
    ("gather", [(4,)], ("x", 0, np.array([3, 3, 0]))),
    ("gather", [(4,)], ("x", 0, np.zeros((2, 0), np.int64))),
    ("gather", [()], ("x", 0, np.array(0))),
    ("gather", [()], ("x", -1, np.array([0, 0]))),
    ("scatter", [(3, 4), (2, 3)], ("x", 0, np.array([[2, 0, 1], [1, 1, 0]]), "x")),
    ("scatter", [(3, 4), (0, 3)], ("x", 0, np.zeros((0, 3), np.int64), "x")),
    ("scatter", [(3, 4)], ("x", -1, np.array([[3, 0], [0, 1]]), 2.5)),
    ("scatter", [(), ()], ("x", 0, np.array(0), "x")),
    ("scatter_add", [(3, 4), (2, 3)], ("x", 0, np.array([[2, 0, 2], [2, 1, 0]]), "x")),
    ("scatter_add", [(3,), (5,)], ("x", 0, np.array([1, 1, 1, 0, 1]), "x")),
    ("scatter_add", [(), (2,)], ("x", 0, np.array([0, 0]), "x")),
    ("take", [(2, 3)], ("x", np.array([[0, 5], [-1, 2]]))),
    ("take", [(2, 3)], ("x", np.array(4))),
    ("take", [()], ("x", np.array([0, -1]))),
    ("take", [(0,)], ("x", np.array([], np.int64))),
    ("take_along_dim", [(3, 4)], ("x", np.array([[2, 0, 0, 1]]), 0)),
    ("take_along_dim", [(3, 4)], ("x", np.array([[1, -1]]), 1)),
    ("take_along_dim", [(1, 4)], ("x", np.array([[1], [0]]), 1)),
    ("take_along_dim", [(3, 4)], ("x", np.array([[11, 2], [3, 3]]))),
    ("index_put", [(3, 2), (2, 2)], ("x", (np.array([2, 0]),), "x")),
    ("index_put", [(3, 2), ()], ("x", (np.array([2, 0]), np.array([1, 1])), "x")),
    ("index_put", [(2, 3), ()], ("x", (MASK,), "x")),
    ("index_put", [(3, 2), (1, 2)], ("x", (np.array([2, 0, 2]),), "x", True)),
    ("index_put", [(3, 2), (3,)], ("x", (np.array([2, 2, 2]), np.array([1, 1, 0])), "x", True)),
    ("masked_fill", [(2, 3)], ("x", MASK, 1.5)),
    ("masked_fill", [(2, 3), ()], ("x", MASK, "x")),
    ("masked_fill", [(3,)], ("x", MASK, -np.inf)),
    ("masked_fill", [(2, 2, 3)], ("x", MASK, 0)),
    ("masked_fill", [()], ("x", np.array(True), 2)),
    ("masked_select", [(2, 3)], ("x", MASK)),
    ("masked_select", [(3,)], ("x", MASK)),
    ("masked_select", [(2, 1)], ("x", MASK)),
    ("masked_select", [()], ("x", np.array(True))),
    ("masked_select", [(0, 3)], ("x", np.array([True, False, True]))),
]


def bind(arguments, xs, wrap):
    """The arguments, with the next of xs for each "x" and wrap(array) for each array."""
    xs = iter(xs)

    def one(a):
        if isinstance(a, str):
            return next(xs)
        return tuple(map(one, a)) if isinstance(a, tuple) else wrap(a) if isinstance(a, np.ndarray) else a

    return [one(a) for a in arguments]


@pytest.mark.parametrize("name, shapes, arguments", CASES, ids=str)
def test_values_and_derivatives(name, shapes, arguments):
    torch = pytest.importorskip("torch")
    arrays = [normal(*shape, seed=i) for i, shape in enumerate(shapes)]
    f = lambda *xs: getattr(ops, name)(*bind(arguments, xs, dl.Tensor))  # noqa: E731
    # A constant of infinity has no numerical derivative.
    if not any(isinstance(a, float) and np.isinf(a) for a in arguments):
        check_second_gradient(f, *arrays)
    for dtype in (np.float32, np.float64):
        check_against_torch(
            f,
            lambda *xs: getattr(torch, name)(*bind(arguments, xs, torch.tensor)),
            *[a.astype(dtype) for a in arrays],
        )
    x, *others = bind(arguments, arrays, lambda a: a)
    assert getattr(dl.Tensor(x), name)(*others).tolist() == f(*arrays).tolist()  # a method, too


@pytest.mark.parametrize("name", ["scatter", "scatter_add"])
@pytest.mark.parametrize(
    "index", [[[3, 0], [0, 1]], [[1]], np.zeros((0, 2), np.int64), np.zeros((3, 0), np.int64)], ids=str
)
def test_a_src_larger_than_the_index(name, index):
    """PyTorch has no gradient for it."""
    torch = pytest.importorskip("torch")
    x, src, index = normal(3, 4), normal(3, 3, seed=1), np.array(index)
    check_second_gradient(lambda x, src: getattr(ops, name)(x, 1, index, src), x, src)
    expected = getattr(torch.tensor(x), name)(1, torch.tensor(index), torch.tensor(src))
    assert getattr(dl.Tensor(x), name)(1, index, src).tolist() == expected.tolist()


@given(st.data())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_any_gather_and_scatter_add(data):
    torch = pytest.importorskip("torch")
    shape = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    dim = data.draw(st.integers(-len(shape), len(shape) - 1))
    extents = [data.draw(st.integers(1, n)) for n in shape]
    extents[dim] = data.draw(st.integers(1, 5))
    index = np.random.default_rng(data.draw(st.integers(0, 99))).integers(0, shape[dim], extents)
    x, src = normal(*shape), normal(*extents, seed=1)
    check_against_torch(lambda x: ops.gather(x, dim, index), lambda x: x.gather(dim, torch.tensor(index)), x)
    check_against_torch(
        lambda x, s: ops.scatter_add(x, dim, index, s), lambda x, s: x.scatter_add(dim, torch.tensor(index), s), x, src
    )
    check_gradient(lambda x, s: ops.scatter(x, dim, index, s), x, src)


def test_options():
    torch = pytest.importorskip("torch")
    index, x, y = np.array([1, 1, 0]), normal(2, 3), normal(3, 3, seed=1)
    check_against_torch(
        lambda x, y: x.index_add(0, index, y, alpha=-2),
        lambda x, y: x.index_add(0, torch.tensor(index), y, alpha=-2),
        x,
        y,
    )
    assert dl.Tensor(x).narrow(1, dl.tensor(1), 2).tolist() == x[:, 1:].tolist()
    assert dl.Tensor(x).select(0, dl.tensor(1)).tolist() == x[1].tolist()


def test_the_last_of_several_values_for_one_place_stands_and_takes_the_gradient():
    x, v = dl.Tensor(np.zeros(2), True), dl.Tensor(np.array([1.0, 2.0, 3.0]), True)
    y = x.scatter(0, np.array([1, 0, 1]), v)
    y.backward(np.array([10.0, 20.0]))
    assert y.tolist() == [2, 3] and v.grad.tolist() == [0, 10, 20] and x.grad.tolist() == [0, 0]


def test_an_index_that_is_changed_later_does_not_matter():
    for call in (
        lambda x, i: x.gather(0, i),
        lambda x, i: x.index_select(0, i),
        lambda x, i: x.index_add(0, i, x[:2]),
        lambda x, i: x.scatter(0, i, x[:2]),
        lambda x, i: x.scatter_add(0, i, x[:2]),
        lambda x, i: x.take(i),
        lambda x, i: x.index_put((i,), x[:2]),
    ):
        grads = []
        for change in (False, True):
            x, index = dl.Tensor(np.array([1.0, 2.0, 3.0]), True), np.array([0, 2])
            y = call(x, index)
            index[0] = 1 if change else 0
            y.backward(np.arange(1.0, len(y) + 1))
            grads.append(x.grad.tolist())
        assert grads[0] == grads[1]


def test_narrow_and_select_are_views():
    x = dl.Tensor(np.zeros((3, 4)))
    x.narrow(1, 1, 2).data[...] = 1
    x.select(0, 2).data[...] = 2
    x.select(0, 0).select(0, 3).data[...] = 3
    assert x.tolist() == [[0, 1, 1, 3], [0, 1, 1, 0], [2, 2, 2, 2]]


def test_numbers_are_not_rounded_to_float32_on_the_way():
    x = dl.Tensor(np.zeros(2))
    assert x.masked_fill(np.array([True, False]), 0.1).tolist() == [0.1, 0]
    assert x.scatter(0, np.array([1]), 0.1).tolist() == [0, 0.1]
    n = dl.tensor([1, 2]).masked_fill(np.array([True, False]), 7.9)
    assert n.tolist() == [7, 2] and n.dtype == np.int64


def test_what_is_masked_may_be_nan():
    x = dl.Tensor(np.array([np.nan, 1.0]), True)
    y = x.masked_fill(np.array([True, False]), 0.0)
    (y * y).sum().backward()
    assert y.tolist() == [0, 1] and x.grad.tolist() == [0, 2]


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 0), (2, 2, 2)])
def test_nonzero(shape):
    torch = pytest.importorskip("torch")
    x = np.maximum(normal(*shape), 0)
    got, expected = dl.Tensor(x).nonzero(), torch.tensor(x).nonzero()
    assert got.dtype == np.int64 and got.shape == tuple(expected.shape) and got.tolist() == expected.tolist()
    assert ops.argwhere(x).tolist() == expected.tolist()
    axes, torch_axes = dl.Tensor(x).nonzero(as_tuple=True), torch.tensor(x).nonzero(as_tuple=True)
    assert [a.tolist() for a in axes] == [a.tolist() for a in torch_axes]
    if shape:
        assert dl.Tensor(x)[axes].tolist() == x[x != 0].tolist()


def test_any_layout_gives_the_same():
    x, index = normal(2, 3, 4), np.array([[[2, 0, 1, 1]]])
    for layout, array in layouts(x):
        leaf = dl.Tensor(array, True)
        for f in (
            lambda x: x.gather(1, index),
            lambda x: x.take(np.array([5, 1, 0])),
            lambda x: x.scatter_add(1, index, x),
            lambda x: x.masked_select(x > 0),
        ):
            assert np.array_equal(f(leaf).detach().numpy(), f(dl.Tensor(x)).numpy()), layout


X, V, SCALAR = dl.Tensor(np.zeros((2, 3))), dl.Tensor(np.zeros(3)), dl.Tensor(np.zeros(()))
ROWS, J = np.array([0, 1]), np.array([[0, 1]])


@pytest.mark.parametrize(
    "call, error, match",
    [
        (lambda: X.narrow(0, 1, 2), IndexError, "narrow: 2 elements from 1 do not lie within dim 0 of extent 2"),
        (lambda: X.narrow(0, -3, 1), IndexError, "narrow: 1 elements from -3 do not lie within dim 0 of extent 2"),
        (lambda: X.narrow(0, 0, -1), ValueError, "narrow: length must be at least 0, got -1"),
        (lambda: X.narrow(0, 0.5, 1), TypeError, "narrow: start must be an integer, got 0.5"),
        (lambda: X.narrow(2, 0, 1), ValueError, "narrow: dim 2 is out of range"),
        (lambda: SCALAR.narrow(0, 0, 1), ValueError, "narrow: a 0-d Tensor has no axis"),
        (lambda: X.select(1, 3), IndexError, "select: index 3 is out of range for dim 1 of extent 3"),
        (lambda: X.select(1, -4), IndexError, "select: index -4 is out of range"),
        (lambda: X.select(1, "a"), TypeError, "select: index must be an integer, got 'a'"),
        (lambda: SCALAR.select(0, 0), ValueError, "select: a 0-d Tensor has no axis"),
        (
            lambda: X.index_select(0, np.array([2])),
            IndexError,
            "index_select: index 2 is out of range for dim 0 of extent 2",
        ),
        (lambda: X.index_select(0, np.array([-1])), IndexError, "index_select: index -1 is out of range"),
        (lambda: X.index_select(0, J), ValueError, r"index_select: index must be a vector, its shape is \(1, 2\)"),
        (lambda: X.index_select(0, V), TypeError, "index_select: indices must be integers, got float64"),
        (lambda: X.index_select(0, [0]), TypeError, "index_select: .*not list"),
        (lambda: X.index_select(2, ROWS), ValueError, "index_select: dim 2 is out of range"),
        (lambda: SCALAR.index_select(0, np.array([0, 0])), ValueError, "index_select: a 0-d Tensor has one element"),
        (
            lambda: X.index_add(1, ROWS, X),
            ValueError,
            r"index_add: source of shape \(2, 3\) does not fit input of .* and 2 indices",
        ),
        (
            lambda: X.index_add(0, ROWS, X.float()),
            TypeError,
            "index_add: source must have input's dtype float64, got float32",
        ),
        (lambda: X.index_add(0, np.array([0, 2]), X), IndexError, "index_add: index 2 is out of range"),
        (lambda: X.index_add(0, J, X), ValueError, "index_add: index must be a vector"),
        (lambda: X.gather(0, np.array([[2]])), IndexError, "gather: index 2 is out of range for dim 0 of extent 2"),
        (lambda: X.gather(0, np.array([[-1]])), IndexError, "gather: index -1 is out of range"),
        (
            lambda: X.gather(0, ROWS),
            ValueError,
            r"gather: index of shape \(2,\) must have as many dimensions as input \(shape \(2, 3\)\)",
        ),
        (
            lambda: X.gather(1, np.zeros((3, 1), int)),
            ValueError,
            "gather: index of shape .* no greater extents but along dim 1",
        ),
        (lambda: X.gather(0, X), TypeError, "gather: indices must be integers, got float64"),
        (lambda: X.gather(2, J), ValueError, "gather: dim 2 is out of range"),
        (
            lambda: X.scatter(0, J, X[:, :1]),
            ValueError,
            r"scatter: index of shape \(1, 2\) does not fit into src of shape \(2, 1\)",
        ),
        (lambda: X.scatter(0, J, V), ValueError, "scatter: index of shape .* does not fit into src"),
        (lambda: X.scatter(0, J, X.float()), TypeError, "scatter: src must have input's dtype float64, got float32"),
        (lambda: X.scatter(0, J, 1j), TypeError, "scatter: complex128 cannot be stored in a Tensor of float64"),
        (lambda: X.scatter(0, J + 1, X), IndexError, "scatter: index 2 is out of range"),
        (lambda: X.scatter_add(0, ROWS, X), ValueError, "scatter_add: index of shape .* must have as many dimensions"),
        (lambda: X.scatter_add(0, J, "a"), TypeError, "scatter_add: .*not str"),
        (lambda: X.take(np.array([6])), IndexError, "take: index 6 is out of range for the 6 elements"),
        (lambda: X.take(np.array([-7, 0])), IndexError, "take: index -7 is out of range"),
        (lambda: X.take(V), TypeError, "take: indices must be integers, got float64"),
        (
            lambda: X.take_along_dim(ROWS, 0),
            ValueError,
            "take_along_dim: input and indices must have as many dimensions",
        ),
        (
            lambda: X.take_along_dim(np.zeros((3, 1), int), 1),
            ValueError,
            "take_along_dim: shapes .* do not broadcast but for dim 1",
        ),
        (lambda: X.take_along_dim(np.array([[3]]), 1), IndexError, "gather: index 3 is out of range"),
        (lambda: X.index_put(ROWS, V), TypeError, "index_put: indices must be a tuple, got ndarray"),
        (
            lambda: X.index_put((ROWS,), np.zeros(2)),
            ValueError,
            r"index_put: values of shape \(2,\) do not fit a place of shape \(2, 3\)",
        ),
        (lambda: X.index_put((ROWS,), V.float()), TypeError, "index_put: values must have input's dtype"),
        (lambda: X.index_put((ROWS + 1,), V), IndexError, "does not fit shape .*out of bounds"),
        (lambda: X.masked_fill(np.array([1, 0, 1]), 0), TypeError, "masked_fill: mask must be bool, got int64"),
        (
            lambda: X.masked_fill(MASK, V),
            ValueError,
            r"masked_fill: value must be a number or a 0-d Tensor, got shape \(3,\)",
        ),
        (lambda: X.masked_fill(MASK.T, 0), ValueError, r"masked_fill: shapes \(2, 3\) and \(3, 2\) do not broadcast"),
        (lambda: X.masked_fill(MASK, 1j), TypeError, "masked_fill: complex128 cannot be stored in a Tensor of float64"),
        (lambda: X.masked_select(X), TypeError, "masked_select: mask must be bool, got float64"),
        (lambda: X.masked_select(MASK.T), ValueError, "masked_select: shapes .* do not broadcast"),
        (lambda: ops.nonzero("a"), TypeError, "nonzero: .*not str"),
    ],
)
def test_errors_name_the_operation(call, error, match):
    with pytest.raises(error, match=match):
        call()
