"""einsum."""

import numpy as np
import pytest
from helpers import check_against_torch, check_second_gradient, layouts, normal, to_torch
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as dl
from minidl import ops

CASES = [
    # one operand: sums, transposes, diagonals, traces
    ("i->", (3,)),
    ("i->i", (3,)),
    ("ij->ji", (2, 3)),
    ("ij->j", (2, 3)),
    ("ij->", (2, 3)),
    ("ba", (2, 3)),
    ("Ba", (2, 3)),
    ("ii->i", (3, 3)),
    ("ii->", (3, 3)),
    ("ii", (3, 3)),
    ("iii->i", (2, 2, 2)),
    ("iji->j", (2, 3, 2)),
    ("ijij->ij", (2, 3, 2, 3)),
    ("ijji->ij", (2, 3, 3, 2)),
    ("ii->i", (1, 1)),
    ("->", ()),
    ("", ()),
    # two: products by element, of matrices, outer; sums of one alone
    ("i,i->", (3,), (3,)),
    ("i,i->i", (3,), (3,)),
    ("i,j->ij", (3,), (2,)),
    ("i,j->ji", (3,), (2,)),
    ("i,j", (3,), (2,)),
    ("ij,jk->ik", (2, 3), (3, 4)),
    ("ij,jk->ki", (2, 3), (3, 4)),
    ("ij,jk", (2, 3), (3, 4)),
    ("ij,kj->", (2, 3), (4, 3)),
    ("bij,bjk->bik", (2, 3, 4), (2, 4, 5)),
    ("bij,bjk->ikb", (2, 3, 4), (2, 4, 5)),
    ("bij,jk->bik", (2, 3, 4), (4, 5)),
    ("ijkl,jl->ik", (2, 3, 2, 4), (3, 4)),
    ("bhqd,bhkd->bhqk", (2, 2, 3, 4), (2, 2, 2, 4)),
    ("ij,kl->i", (2, 3), (4, 2)),
    ("ij,->ij", (2, 3), ()),
    (",->", (), ()),
    ("ii,ij->j", (3, 3), (3, 2)),
    ("iij,ijj->ij", (2, 2, 3), (2, 3, 3)),
    ("ij,ij->ij", (2, 3), (2, 3)),
    ("ab,cb,ad->cd", (2, 3), (4, 3), (2, 5)),
    ("i,i,i->i", (3,), (3,), (3,)),
    ("i,i,i->", (3,), (3,), (3,)),
    ("ij,jk,kl,lm->im", (2, 3), (3, 2), (2, 4), (4, 3)),
    ("i,j,k->kij", (2,), (3,), (4,)),
    ("ij,k,k->ij", (2, 3), (4,), (4,)),
    # ellipsis
    ("...->", (2, 3)),
    ("...ij->...ji", (4, 2, 3)),
    ("...ij->ij", (4, 2, 3)),
    ("i...->...i", (2, 3, 4)),
    ("i...j->...", (2, 3, 4, 2)),
    ("ij->...ij", (2, 3)),
    ("...ij,...jk->...ik", (2, 1, 3, 4), (5, 4, 2)),
    ("...ij,jk", (2, 3, 4), (4, 2)),
    ("...,...->...", (3, 1), (4,)),
    ("...i,...i", (2, 3), (3,)),
    ("i...,i...->", (2, 3), (2, 3)),
    ("...ii->...i", (2, 3, 3)),
    # an extent of 1 is repeated
    ("ij,jk->ik", (2, 1), (3, 4)),
    ("ij,jk->ijk", (2, 3), (1, 4)),
    ("ij,ij->j", (1, 3), (2, 1)),
    ("ii,i->i", (1, 1), (3,)),
    ("i,i,i->i", (1,), (3,), (1,)),
    # nothing
    ("ij,jk->ik", (2, 0), (0, 4)),
    ("ij,jk->ik", (0, 3), (3, 4)),
    ("i,i->", (0,), (0,)),
    ("i,i->i", (0,), (1,)),
    ("ii->", (0, 0)),
    # spaces
    (" i j , j k -> k i ", (2, 3), (3, 4)),
]


def torch_einsum(equation):
    return lambda *xs: pytest.importorskip("torch").einsum(equation, *xs)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_and_derivatives(case):
    equation, *shapes = case
    arrays = [normal(*shape, seed=i) for i, shape in enumerate(shapes)]
    f = lambda *xs: ops.einsum(equation, *xs)  # noqa: E731
    check_second_gradient(f, *arrays)
    for dtype in (np.float32, np.float64):
        check_against_torch(f, torch_einsum(equation), *[a.astype(dtype) for a in arrays])


@given(st.data())
@settings(max_examples=150, deadline=None, derandomize=True)
def test_any_equation(data):
    """Random letters, also repeated within an operand, extents of 1, any output."""
    extents = {letter: data.draw(st.integers(1, 3)) for letter in "abcD"}
    operands = data.draw(st.lists(st.text("abcD", max_size=3), min_size=1, max_size=4))
    shapes = []
    for part in operands:
        alone = {x: data.draw(st.sampled_from((extents[x], extents[x], 1))) for x in sorted(set(part))}
        shapes.append([alone[x] for x in part])
    equation = ",".join(operands)
    if data.draw(st.booleans()):
        known = sorted(set("".join(operands)))
        output = data.draw(st.lists(st.sampled_from(known), unique=True) if known else st.just([]))
        equation += "->" + "".join(output)
    arrays = [normal(*shape, seed=i) for i, shape in enumerate(shapes)]
    check_against_torch(lambda *xs: ops.einsum(equation, *xs), torch_einsum(equation), *arrays)


def test_operands_as_a_list_and_the_same_one_twice():
    x, y = normal(2, 3), normal(3, 2, seed=1)
    assert ops.einsum("ij,jk", [dl.Tensor(x), y]).tolist() == ops.einsum("ij,jk", x, y).tolist()
    check_second_gradient(lambda x: ops.einsum("ij,kj,kl->il", x, x, x), x)


def test_large_products_go_through_the_kernel():
    a, b = normal(3, 40, 30, dtype="f4"), normal(30, 3, 50, dtype="f4", seed=1)
    check_against_torch(lambda a, b: ops.einsum("bij,jbk->kbi", a, b), torch_einsum("bij,jbk->kbi"), a, b)
    check_against_torch(lambda a, b: ops.einsum("bij,jck->bick", a, b), torch_einsum("bij,jck->bick"), a, b)


def test_any_layout_gives_the_same():
    a, b = normal(2, 3, 4), normal(4, 3, 2, seed=1)
    expected = np.einsum("ijk,kjl->li", a, b)
    for layout, x in layouts(a):
        for _, y in layouts(b):
            got = ops.einsum("ijk,kjl->li", dl.Tensor(x), dl.Tensor(y))
            np.testing.assert_allclose(got.numpy(), expected, rtol=1e-12, err_msg=layout)


def test_dtypes():
    n = dl.tensor([[1, 2], [3, 4]])
    assert ops.einsum("ij,jk", n, n).tolist() == [[7, 10], [15, 22]] and ops.einsum("ij,jk", n, n).dtype == np.int64
    assert ops.einsum("ii", n).item() == 5
    x = dl.tensor([1.0, 2.0], requires_grad=True)
    ops.einsum("ij,j->", n.double(), x).backward()
    assert x.grad.dtype == np.float32 and x.grad.tolist() == [4, 6]


@pytest.mark.parametrize("equation", ["ij,jk->ik", "ij,ij->", "ij,kj->", "ii,ij->j"])
def test_complex_gradients(equation):
    torch = pytest.importorskip("torch")
    z, w = (normal(3, 3, seed=s) + 1j * normal(3, 3, seed=s + 1) for s in (0, 2))
    a, b = dl.Tensor(z, True), dl.Tensor(w, True)
    c, d = to_torch(z).requires_grad_(), to_torch(w).requires_grad_()
    ops.einsum(equation, a, b).abs().sum().backward()
    torch.einsum(equation, c, d).abs().sum().backward()
    for g, e in ((a, c), (b, d)):
        np.testing.assert_allclose(g.grad.numpy(), e.grad.resolve_conj().numpy(), rtol=1e-10)


X, Y = dl.Tensor(np.zeros((2, 3))), dl.Tensor(np.zeros((4, 5)))


@pytest.mark.parametrize(
    "args, match",
    [
        (("ij,jk", X), "the equation has 2 operands, 1 are given"),
        (("ij", X, Y), r"the equation has 1 operands, 2 are given \(equation 'ij', shapes \(2, 3\), \(4, 5\)\)"),
        (
            ("ij,jk", X, Y),
            r"operand 1 has extent 4 for 'j', another has 3 \(equation 'ij,jk', shapes \(2, 3\), \(4, 5\)",
        ),
        (("i...,i...", X, X.T), "operand 1 has extent 3 for 'i', another has 2"),
        (("...,...", X, X.T), "operand 1 has extent 3 for dimension -2 of '...', another has 2"),
        (("ii", X), "'i' of operand 0 has extents 2 and 3"),
        (("ii", X[:1]), "'i' of operand 0 has extents 1 and 3"),
        (("i", X), "'i' does not fit the 2 dimensions of operand 0"),
        (("ijk", X), "'ijk' does not fit the 2 dimensions of operand 0"),
        (("...ijk", X), "'...ijk' does not fit the 2 dimensions"),
        (("ij->ik", X), "the output has 'k', which no operand has"),
        (("ij->ii", X), "the output has 'i' twice"),
        (("i1", X), "'i1' must consist of letters and at most one '...'"),
        (("iö", X), "'iö' must consist of letters"),
        (("i..j", X), "'i..j' must consist of letters"),
        (("i...j...", X), "must consist of letters"),
        (("ij->i->j", X), "'i->j' must consist of letters"),
        (("ij->i,j", X), "'i,j' must consist of letters"),
        (("",), "needs operands, none is given"),
        (("ij", []), "needs operands, none is given"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_equations_that_do_not_fit(args, match):
    with pytest.raises(ValueError, match=f"^einsum: .*{match}"):
        ops.einsum(*args)


def test_arguments_of_other_types():
    with pytest.raises(TypeError, match="einsum: equation must be a string, got Tensor"):
        ops.einsum(X, [0, 1])
    with pytest.raises(TypeError, match="einsum: operands must be .*not str"):
        ops.einsum("i", "j")
