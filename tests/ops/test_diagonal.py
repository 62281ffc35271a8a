"""diagonal, diag, diag_embed, trace, tril, triu."""

import numpy as np
import pytest
from helpers import check_against_torch, check_second_gradient, layouts, normal, to_torch

import minidl as dl

# name, shape of the input, what the method (ours and PyTorch's) is called with
CASES = [
    *[("diagonal", (3, 4), (offset,)) for offset in (0, 1, -1, 3, -2, 9, -9)],
    ("diagonal", (3, 3), ()),
    ("diagonal", (2, 3, 4), (0, 1, 2)),
    ("diagonal", (2, 3, 4), (1, -1, 0)),
    ("diagonal", (2, 3, 4), (-1, 2, 0)),
    ("diagonal", (0, 3), ()),
    *[("diag_embed", (3,), (offset,)) for offset in (0, 1, -2)],
    ("diag_embed", (2, 3), ()),
    ("diag_embed", (2, 3), (1, 0, 2)),
    ("diag_embed", (2, 3), (-1, 1, 0)),
    ("diag_embed", (2, 0), (1,)),
    *[("diag", (3,), (offset,)) for offset in (0, 2, -1)],
    *[("diag", (3, 4), (offset,)) for offset in (0, 2, -1, 8)],
    ("trace", (3, 3), ()),
    ("trace", (2, 3), ()),
    ("trace", (0, 3), ()),
    *[(name, (3, 4), (offset,)) for name in ("tril", "triu") for offset in (0, 1, -1, 5, -5)],
    *[(name, (2, 3, 3), ()) for name in ("tril", "triu")],
    *[(name, (0, 3), ()) for name in ("tril", "triu")],
]


@pytest.mark.parametrize("name, shape, args", CASES, ids=str)
def test_values_and_derivatives(name, shape, args):
    def f(x):
        return getattr(x, name)(*args)

    check_second_gradient(f, normal(*shape))
    for dtype in (np.float32, np.float64):
        check_against_torch(f, f, normal(*shape, dtype=dtype))
    for dtype in ("bool", "uint8", "int64", "complex64"):
        if name != "trace":  # a sum
            x = (10 * normal(*shape)).astype(dtype)
            assert f(dl.Tensor(x)).tolist() == f(to_torch(x)).tolist()


def test_any_layout_gives_the_same():
    x = normal(2, 3, 4)
    for layout, array in layouts(x):
        for name, args in (("diagonal", (1, 2, 0)), ("tril", ()), ("triu", (1,))):
            got, expected = getattr(dl.Tensor(array), name)(*args), getattr(dl.Tensor(x), name)(*args)
            assert np.array_equal(got.numpy(), expected.numpy()), layout


def test_diagonal_is_a_view_and_diag_a_copy():
    x = dl.Tensor(np.zeros((2, 3)))
    x.diagonal(1).data[...] = [1, 2]
    x.diag().data[...] = 7
    assert x.tolist() == [[0, 1, 0], [0, 0, 2]]
    x.diagonal().fill_(5)
    assert x.tolist() == [[5, 1, 0], [0, 5, 2]]
    fixed = np.zeros((2, 2))
    fixed.flags.writeable = False
    with pytest.raises(RuntimeError, match="read-only"):
        dl.Tensor(fixed).diagonal().fill_(1)


def test_what_is_outside_of_a_triangle_may_be_nan():
    x = dl.Tensor(np.array([[1.0, np.nan], [np.inf, 2.0]]), True)
    x.tril().backward(np.ones((2, 2)))
    assert x.tril().tolist() == [[1, 0], [np.inf, 2]] and x.grad.tolist() == [[1, 0], [1, 1]]


V, M = dl.Tensor(np.zeros(3)), dl.Tensor(np.zeros((2, 3)))


@pytest.mark.parametrize(
    "call, error, match",
    [
        (lambda: V.diagonal(), ValueError, r"diagonal: at least two dimensions are needed, got shape \(3,\)"),
        (lambda: M.diagonal(0, 1, -1), ValueError, r"diagonal: dim1 \(1\) and dim2 \(-1\) must be two axes"),
        (lambda: M.diagonal(0, 0, 2), ValueError, "diagonal: dim 2 is out of range"),
        (lambda: M.diagonal(0.5), TypeError, "diagonal: offset must be an integer, got 0.5"),
        (lambda: V[0].diag_embed(), ValueError, "diag_embed: at least one dimension is needed"),
        (lambda: V.diag_embed(0, 1, -1), ValueError, r"diag_embed: dim1 \(1\) and dim2 \(-1\) must be two axes"),
        (lambda: V.diag_embed(0, 0, 2), ValueError, "diag_embed: dim 2 is out of range"),
        (lambda: M[None].diag(), ValueError, r"diag: a vector or a matrix is needed, got shape \(1, 2, 3\)"),
        (lambda: M.diag(None), TypeError, "diag: diagonal must be an integer, got None"),
        (lambda: V.trace(), ValueError, r"trace: a matrix is needed, got shape \(3,\)"),
        (lambda: V.tril(), ValueError, r"tril: at least two dimensions are needed, got shape \(3,\)"),
        (lambda: V.triu(), ValueError, "triu: at least two dimensions are needed"),
        (lambda: M.triu(True), TypeError, "triu: diagonal must be an integer, got True"),
    ],
)
def test_errors_name_the_operation(call, error, match):
    with pytest.raises(error, match=match):
        call()
