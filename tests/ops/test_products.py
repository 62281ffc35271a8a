"""Products by name: dot, outer, mm, addmm, tensordot and their kin."""

import numpy as np
import pytest
from helpers import check_against_torch, check_second_gradient, normal

import minidl as dl
from minidl import ops

# name, shapes of the Tensors, keyword arguments
CASES = [
    ("dot", [(3,), (3,)], {}),
    ("dot", [(0,), (0,)], {}),
    ("vdot", [(3,), (3,)], {}),
    ("outer", [(3,), (4,)], {}),
    ("outer", [(0,), (4,)], {}),
    ("inner", [(3,), (3,)], {}),
    ("inner", [(2, 3), (4, 3)], {}),
    ("inner", [(2, 3), (3,)], {}),
    ("inner", [(2, 2, 3), (4, 3)], {}),
    ("inner", [(), (2, 3)], {}),
    ("inner", [(2,), ()], {}),
    ("inner", [(2, 0), (3, 0)], {}),
    ("mv", [(2, 3), (3,)], {}),
    ("mv", [(0, 3), (3,)], {}),
    ("mm", [(2, 3), (3, 4)], {}),
    ("mm", [(2, 0), (0, 4)], {}),
    ("bmm", [(2, 3, 4), (2, 4, 5)], {}),
    ("bmm", [(0, 3, 4), (0, 4, 5)], {}),
    ("addmv", [(2,), (2, 3), (3,)], {"beta": 0.5, "alpha": 2}),
    ("addmv", [(), (2, 3), (3,)], {}),
    ("addmm", [(2, 4), (2, 3), (3, 4)], {}),
    ("addmm", [(2, 4), (2, 3), (3, 4)], {"beta": -0.5, "alpha": 3}),
    ("addmm", [(4,), (2, 3), (3, 4)], {"alpha": 0}),
    ("addmm", [(2, 1), (2, 3), (3, 4)], {"beta": 2}),
    ("addmm", [(), (2, 0), (0, 4)], {}),
    ("baddbmm", [(2, 3, 5), (2, 3, 4), (2, 4, 5)], {"beta": 0.5, "alpha": 2}),
    ("baddbmm", [(5,), (2, 3, 4), (2, 4, 5)], {}),
    ("tensordot", [(2, 3, 4), (3, 4, 5)], {}),
    ("tensordot", [(2, 3, 4), (4, 3, 2)], {"dims": 1}),
    ("tensordot", [(2, 3), (4,)], {"dims": 0}),
    ("tensordot", [(2, 3, 4), (4, 5, 2)], {"dims": ([0, -1], [2, 0])}),
    ("tensordot", [(2, 3, 4), (2, 3, 4)], {"dims": ((0, 1, 2), (0, 1, 2))}),
    ("tensordot", [(2, 3), (1, 3)], {"dims": ([0], [0])}),
    ("tensordot", [(2, 0), (0, 3)], {"dims": 1}),
    ("kron", [(2, 3), (3, 2)], {}),
    ("kron", [(2,), (3, 2)], {}),
    ("kron", [(2, 1, 2), (3,)], {}),
    ("kron", [(), (2, 2)], {}),
    ("kron", [(0, 2), (3, 2)], {}),
]


@pytest.mark.parametrize("name, shapes, options", CASES, ids=str)
def test_values_and_derivatives(name, shapes, options):
    torch = pytest.importorskip("torch")
    arrays = [normal(*shape, seed=i) for i, shape in enumerate(shapes)]
    f = lambda *xs: getattr(ops, name)(*xs, **options)  # noqa: E731
    check_second_gradient(f, *arrays)
    for dtype in (np.float32, np.float64):
        check_against_torch(f, lambda *xs: getattr(torch, name)(*xs, **options), *[a.astype(dtype) for a in arrays])
    if name != "tensordot":  # they are methods, too
        x, *others = map(dl.Tensor, arrays)
        assert getattr(x, name)(*others, **options).tolist() == f(*arrays).tolist()


def test_with_beta_0_the_input_does_not_count():
    nan = np.full((2, 2), np.nan)
    for name, shape in (("addmm", (2, 2)), ("baddbmm", (3, 2, 2))):
        a, b = normal(*shape), normal(*shape, seed=1)
        assert getattr(ops, name)(nan, a, b, beta=0).tolist() == ops.matmul(a, b).tolist()


def test_vdot_conjugates_its_first_operand():
    a, b = dl.Tensor(np.array([1 + 2j, 3j])), dl.Tensor(np.array([2 - 1j, 1 + 0j]))
    assert ops.vdot(a, b).item() == np.vdot(a.data, b.data) != ops.dot(a, b).item()


V, M, S = (dl.Tensor(np.zeros(shape)) for shape in ((3,), (2, 3), (2, 3, 3)))


@pytest.mark.parametrize(
    "call, error, match",
    [
        (lambda: ops.dot(V, M), ValueError, r"dot: operands of 1 dimension and 1 dimension are needed, got .*\(2, 3\)"),
        (lambda: ops.dot(V, V[:2]), ValueError, r"dot: shapes \(3,\) and \(2,\) do not fit together"),
        (lambda: ops.vdot(M, V), ValueError, "vdot: operands of 1 dimension and 1 dimension are needed"),
        (lambda: ops.outer(M, V), ValueError, "outer: operands of 1 dimension and 1 dimension are needed"),
        (lambda: ops.mv(V, M), ValueError, "mv: operands of 2 dimensions and 1 dimension are needed"),
        (lambda: ops.mv(M, V[:2]), ValueError, r"mv: shapes \(2, 3\) and \(2,\) do not fit together"),
        (lambda: ops.mm(S, M), ValueError, "mm: operands of 2 dimensions and 2 dimensions are needed"),
        (lambda: ops.mm(M, M), ValueError, r"mm: shapes \(2, 3\) and \(2, 3\) do not fit together"),
        (lambda: ops.bmm(S, M), ValueError, "bmm: operands of 3 dimensions and 3 dimensions are needed"),
        (lambda: ops.bmm(S, S[:1]), ValueError, r"bmm: shapes \(2, 3, 3\) and \(1, 3, 3\) do not fit together"),
        (lambda: ops.addmm(V, M, M), ValueError, "addmm: shapes .* do not fit together"),
        (lambda: ops.addmm(M, M, M.T), ValueError, r"addmm: input of shape \(2, 3\) does not broadcast .* \(2, 2\)"),
        (lambda: ops.addmm(S, M, M.T), ValueError, r"addmm: input of shape \(2, 3, 3\) does not broadcast"),
        (lambda: ops.addmm(M, M, M.T, beta=0), ValueError, "addmm: input of shape .* does not broadcast"),
        (lambda: ops.addmv(M, M, V), ValueError, "addmv: input of shape .* does not broadcast"),
        (lambda: ops.baddbmm(V, M, S), ValueError, "baddbmm: operands of 3 dimensions and 3 dimensions are needed"),
        (lambda: ops.inner(M, M.T), ValueError, r"inner: the last extents of shapes \(2, 3\) and \(3, 2\) must agree"),
        (lambda: ops.tensordot(M, M, 1), ValueError, "tensordot: the extents of shapes .* along dims 1 must agree"),
        (lambda: ops.tensordot(M, M, 3), ValueError, "tensordot: dims 3 does not fit the dimensions"),
        (lambda: ops.tensordot(M, M, -1), ValueError, "tensordot: dims -1 does not fit the dimensions"),
        (lambda: ops.tensordot(M, M, ([0], [0, 1])), ValueError, "tensordot: dims must name as many axes of a as of b"),
        (lambda: ops.tensordot(M, M, ([0, 0], [0, 1])), ValueError, "tensordot: dims .* name an axis twice"),
        (lambda: ops.tensordot(M, M, ([2], [0])), ValueError, "tensordot: dim 2 is out of range"),
        (lambda: ops.tensordot(M, M, 1.5), TypeError, "tensordot: dims must be an integer, got 1.5"),
        (lambda: ops.mm(M, "text"), TypeError, "mm: .*not str"),
    ],
)
def test_errors_name_the_operation(call, error, match):
    with pytest.raises(error, match=match):
        call()
