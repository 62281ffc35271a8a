"""matmul and linear."""

import numpy as np
import pytest
from helpers import check_against_torch, check_second_gradient, close, layouts, normal
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as dl
from minidl import ops

SHAPES = [
    ((3,), (3,)),
    ((2, 3), (3,)),
    ((3,), (3, 4)),
    ((2, 3), (3, 4)),
    ((5, 2, 3), (3, 4)),
    ((2, 3), (5, 3, 4)),
    ((5, 2, 3), (5, 3, 4)),
    ((5, 2, 3), (3,)),
    ((3,), (5, 3, 4)),
    ((2, 1, 2, 3), (5, 3, 4)),
    ((1, 2, 3), (5, 3, 1)),
    ((1, 1), (1, 1)),
    # nothing: no rows, no columns, nothing to sum, no matrices
    ((0, 3), (3, 4)),
    ((2, 3), (3, 0)),
    ((2, 0), (0, 4)),
    ((0,), (0,)),
    ((0, 2, 3), (3, 4)),
    ((0, 2, 3), (0, 3, 4)),
    ((1, 2, 3), (0, 3, 4)),
]
# More than the 4096 multiplications from which on the kernel works instead of NumPy.
LARGE = [
    ((17, 33), (33, 35)),
    ((3, 16, 20), (20, 19)),
    ((3, 16, 20), (3, 20, 19)),
    ((2, 1, 9, 64), (3, 64, 33)),
    ((300,), (300, 40)),
]


def torch_matmul(a, b):
    return a @ b


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_values_and_derivatives(shapes):
    a, b = normal(*shapes[0], seed=1), normal(*shapes[1], seed=2)
    check_second_gradient(ops.matmul, a, b)
    for dtype in (np.float32, np.float64):
        check_against_torch(ops.matmul, torch_matmul, a.astype(dtype), b.astype(dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shapes", LARGE, ids=str)
def test_large_products(shapes, dtype):
    a, b = normal(*shapes[0], dtype=dtype, seed=1), normal(*shapes[1], dtype=dtype, seed=2)
    check_against_torch(ops.matmul, torch_matmul, a, b)


@given(st.data())
@settings(max_examples=50, deadline=None, derandomize=True)
def test_any_stacks_that_broadcast(data):
    extent = st.integers(0, 4)
    m, k, n = (data.draw(extent) for _ in range(3))
    stack = data.draw(st.lists(extent, max_size=2))
    cut = [data.draw(st.integers(0, len(stack))) for _ in range(2)]
    a, b = ([data.draw(st.sampled_from((s, 1))) for s in stack[c:]] for c in cut)
    check_against_torch(ops.matmul, torch_matmul, normal(*a, m, k), normal(*b, k, n, seed=1))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shapes", [((2, 3), (3, 4)), LARGE[0], LARGE[2]], ids=str)
def test_any_layout_gives_the_same(shapes, dtype):
    a, b = normal(*shapes[0], dtype=dtype, seed=1), normal(*shapes[1], dtype=dtype, seed=2)
    gradient = np.asarray(normal(*np.matmul(a, b).shape, seed=3), dtype)
    expected = [np.matmul(a.astype("f8"), b.astype("f8"))]
    expected += [np.matmul(gradient.astype("f8"), b.mT), np.matmul(a.mT.astype("f8"), gradient)]
    for layout_a, x in layouts(a):
        for layout_b, y in layouts(b):
            if "C" not in (layout_a, layout_b) and layout_a != layout_b:
                continue
            leaves = dl.Tensor(x, True), dl.Tensor(y, True)
            product = leaves[0] @ leaves[1]
            product.backward(gradient)
            got = [product.detach().numpy(), leaves[0].grad.numpy(), leaves[1].grad.numpy()]
            for g, e in zip(got, expected, strict=True):
                close(g, e, 1e-5 if dtype == np.float32 else 1e-12, (layout_a, layout_b))


def test_products_with_transposes():
    a, b = normal(3, 2), normal(4, 3, seed=1)
    check_second_gradient(lambda a, b: a.T @ b.T, a, b)
    check_second_gradient(lambda a: a @ a.T @ a, a)


def test_a_stack_that_was_expanded():
    a, b = normal(40, 30), normal(3, 30, 20, seed=1)
    check_against_torch(lambda a, b: a.expand(3, 40, 30) @ b, lambda a, b: a.expand(3, 40, 30) @ b, a, b)
    check_against_torch(lambda a, b: b.mT @ a.expand(3, 40, 30).mT, lambda a, b: b.mT @ a.expand(3, 40, 30).mT, a, b)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("extent", [3, 40])
def test_nan_and_infinity(extent):
    a, b = np.ones((extent, extent), np.float32), np.ones((extent, extent), np.float32)
    a[0, 0], a[1, 1], b[2, 2] = np.nan, np.inf, 0
    got = (dl.Tensor(a) @ dl.Tensor(b)).numpy()
    expected = a.astype(np.float64) @ b
    np.testing.assert_array_equal(got, expected)


def test_dtypes():
    n = dl.tensor([[1, 2], [3, 4]])
    assert (n @ n).tolist() == [[7, 10], [15, 22]] and (n @ n).dtype == np.int64
    assert (n @ n.double()).dtype == np.float64 and (n.float() @ n.double()).dtype == np.float64
    x = dl.tensor([[1.0, 2.0]], requires_grad=True)
    (x @ n.double()).sum().backward()
    assert x.grad.dtype == np.float32 and x.grad.tolist() == [[3, 7]]
    big = dl.Tensor(np.full((20, 300), 7))
    assert (big @ big.T)[0, 0].item() == 300 * 49


def test_complex_products():
    torch = pytest.importorskip("torch")
    z, w = normal(2, 3) + 1j * normal(2, 3, seed=1), normal(3, 2, seed=2) + 1j * normal(3, 2, seed=3)
    a, b = dl.Tensor(z, True), dl.Tensor(w, True)
    (a @ b).abs().sum().backward()
    c, d = torch.tensor(z, requires_grad=True), torch.tensor(w, requires_grad=True)
    (c @ d).abs().sum().backward()
    for g, e in ((a, c), (b, d)):
        np.testing.assert_allclose(g.grad.numpy(), e.grad.numpy(), rtol=1e-10)


@pytest.mark.parametrize(
    "a, b, match",
    [
        (
            np.ones((2, 3)),
            np.ones((2, 3)),
            r"matmul: the inner extents of shapes \(2, 3\) and \(2, 3\) differ \(3 and 2\)",
        ),
        (np.ones(3), np.ones(4), r"differ \(3 and 4\)"),
        (np.ones(()), np.ones(3), r"matmul: operands must have at least one dimension, got shapes \(\) and \(3,\)"),
        (
            np.ones((2, 2, 3)),
            np.ones((3, 3, 2)),
            r"matmul: the stacks of shapes \(2, 2, 3\) and \(3, 3, 2\) do not broadcast",
        ),
    ],
)
def test_shapes_that_do_not_fit(a, b, match):
    with pytest.raises(ValueError, match=match):
        ops.matmul(dl.Tensor(a), dl.Tensor(b))
    with pytest.raises(ValueError, match=match):
        ops.matmul(a, b)


def test_operands_that_are_no_tensors():
    for wrong in ([1.0], None, "text"):
        with pytest.raises(TypeError, match=f"matmul: .* not {type(wrong).__name__}"):
            dl.tensor([1.0]) @ wrong
    with pytest.raises(ValueError, match="at least one dimension"):
        dl.tensor([1.0]) @ 2.0


# ---- linear --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 4, 3), (0, 3)])
@pytest.mark.parametrize("bias", [False, True])
def test_linear(shape, bias):
    torch = pytest.importorskip("torch")
    arrays = [normal(*shape), normal(5, 3, seed=1)] + ([normal(5, seed=2)] if bias else [])
    check_second_gradient(ops.linear, *arrays)
    for dtype in (np.float32, np.float64):
        check_against_torch(ops.linear, torch.nn.functional.linear, *[a.astype(dtype) for a in arrays])


def test_a_large_linear_layer():
    torch = pytest.importorskip("torch")
    arrays = [normal(50, 40, dtype="f4"), normal(30, 40, dtype="f4", seed=1), normal(30, dtype="f4", seed=2)]
    check_against_torch(ops.linear, torch.nn.functional.linear, *arrays)


@pytest.mark.parametrize(
    "shapes, match",
    [
        (
            ((2, 4), (5, 3), None),
            r"linear: the last extent of input \(shape \(2, 4\)\) must equal in_features of weight",
        ),
        (((), (5, 3), None), "linear: the last extent of input"),
        (((3,), (3,), None), r"weight \(shape \(3,\)"),
        (((2, 3), (5, 3), (3,)), r"linear: bias must have shape \(5,\), got \(3,\)"),
        (((2, 3), (5, 3), (1, 5)), r"linear: bias must have shape \(5,\), got \(1, 5\)"),
    ],
)
def test_linear_shapes_that_do_not_fit(shapes, match):
    with pytest.raises(ValueError, match=match):
        ops.linear(*[None if shape is None else dl.Tensor(np.ones(shape)) for shape in shapes])


def test_linear_arguments_that_are_no_tensors():
    x, w = dl.Tensor(np.ones((2, 3))), dl.Tensor(np.ones((5, 3)))
    for args in (("text", w), (x, [1.0]), (x, w, [1.0] * 5)):
        with pytest.raises(TypeError, match="linear: .*Tensors, arrays or numbers"):
            ops.linear(*args)
    assert ops.linear(x.data, w.data, np.ones(5)).shape == (2, 5)
