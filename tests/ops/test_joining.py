"""cat, stack and their kin; split, chunk, tensor_split, unbind."""

import numpy as np
import pytest
from helpers import check_against_torch, check_second_gradient, normal, to_torch

import minidl as dl
from minidl import ops

# name, shape of the input, what the method (ours and PyTorch's) is called with
CASES = [
    ("split", (5, 2), (2,)),
    ("split", (5, 2), (5,)),
    ("split", (5, 2), (7,)),
    ("split", (2, 6), ([1, 0, 3, 2], 1)),
    ("split", (2, 6), ((2, 4), -1)),
    ("split", (0, 2), (3,)),
    ("chunk", (7, 2), (3,)),
    ("chunk", (2, 4), (4, 1)),
    ("chunk", (2, 4), (9, -1)),
    ("chunk", (5,), (1,)),
    ("chunk", (0, 2), (3,)),
    ("tensor_split", (5, 2), (2,)),
    ("tensor_split", (5, 2), (7,)),
    ("tensor_split", (2, 5), (3, -1)),
    ("tensor_split", (5, 2), ((1, 3),)),
    ("tensor_split", (5, 2), ([3, 1],)),  # parts that overlap
    ("tensor_split", (5, 2), ((-2, 9),)),
    ("tensor_split", (5, 2), ((),)),
    ("tensor_split", (0, 2), (2,)),
    ("unbind", (3, 2), ()),
    ("unbind", (2, 3, 4), (1,)),
    ("unbind", (2, 3), (-1,)),
    ("unbind", (3,), ()),
    ("unbind", (2, 0), ()),
]


def call(name, args):
    return lambda x: getattr(x, name)(*args)


@pytest.mark.parametrize("name, shape, args", CASES, ids=str)
def test_values_and_derivatives(name, shape, args):
    f = call(name, args)
    check_second_gradient(f, normal(*shape))
    for dtype in (np.float32, np.float64):
        check_against_torch(f, f, normal(*shape, dtype=dtype))
    for dtype in ("bool", "uint8", "int64", "complex64"):
        x = (10 * normal(*shape)).astype(dtype)
        got, expected = f(dl.Tensor(x)), f(to_torch(x))
        for g, e in zip(*[r if isinstance(r, tuple) else (r,) for r in (got, expected)], strict=True):
            assert g.dtype == dtype and g.shape == tuple(e.shape) and g.tolist() == e.tolist()


# ---- cat and stack -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shapes, dim",
    [
        ([(2, 3), (4, 3)], 0),
        ([(2, 3), (2, 1), (2, 0)], 1),
        ([(2, 3), (2, 1)], -1),
        ([(2, 3, 4), (2, 3, 4)], -3),
        ([(3,)], 0),
        ([(0,), (2,)], 0),
        ([(0, 2), (0, 3)], 1),
        # an empty vector fits everything
        ([(0,), (2, 3)], 0),
        ([(2, 3), (0,), (2, 1)], 1),
        ([(2, 1, 3), (0,)], -2),
        ([(0,), (0,)], 0),
    ],
    ids=str,
)
def test_cat(shapes, dim):
    torch = pytest.importorskip("torch")
    arrays = [normal(*shape, seed=i) for i, shape in enumerate(shapes)]
    check_second_gradient(lambda *xs: ops.cat(xs, dim), *arrays)
    for dtype in (np.float32, np.float64):
        check_against_torch(
            lambda *xs: ops.cat(xs, dim), lambda *xs: torch.cat(xs, dim), *[a.astype(dtype) for a in arrays]
        )


@pytest.mark.parametrize("dim", [0, 1, 2, -1, -2, -3])
def test_stack(dim):
    torch = pytest.importorskip("torch")
    arrays = [normal(2, 3, seed=i) for i in range(3)]
    check_second_gradient(lambda *xs: ops.stack(xs, dim), *arrays)
    check_against_torch(lambda *xs: ops.stack(xs, dim), lambda *xs: torch.stack(xs, dim), *arrays)
    assert ops.stack([dl.tensor(1.0), dl.tensor(2.0)], 0 if dim in (0, 1, 2) else -1).tolist() == [1, 2]


def test_cat_and_stack_of_the_same_tensor_and_of_constants():
    check_second_gradient(lambda x: ops.cat([x, x * 2, dl.Tensor(np.ones((2, 1))), x], 1), normal(2, 3))
    check_second_gradient(lambda x: ops.stack([x, x]), normal(2, 3))
    x = dl.tensor([1.0], requires_grad=True)
    ops.cat([dl.tensor([5.0]), x, np.array([2.0], np.float32)]).sum().backward()
    assert x.grad.tolist() == [1]


def test_cat_and_stack_promote_dtypes_as_pytorch_does():
    torch = pytest.importorskip("torch")
    dtypes = ["bool", "uint8", "int64", "float32", "float64", "complex64"]
    for a in dtypes:
        for b in dtypes:
            x, y = np.ones(2, a), np.ones(3, b)
            assert f"torch.{ops.cat([dl.Tensor(x), dl.Tensor(y)]).dtype}" == str(
                torch.cat([to_torch(x), to_torch(y)]).dtype
            )
    check_against_torch(
        lambda a, b: ops.cat([a, b]), lambda a, b: torch.cat([a, b]), normal(2, dtype="f4"), normal(2), rtol=1e-6
    )


def test_cat_of_channels_last_images_stays_so():
    image = dl.Tensor(np.zeros((2, 5, 4, 3), np.float32).transpose(0, 3, 1, 2))
    y = ops.cat([image, image], 1)
    assert y.shape == (2, 6, 5, 4) and y.data.transpose(0, 2, 3, 1).flags.c_contiguous


@pytest.mark.parametrize(
    "shapes", [[(2,), (3,)], [(2, 3), (2, 1)], [(), (2,)], [(), ()], [(2, 3, 1), (2, 2, 1)]], ids=str
)
def test_hstack(shapes):
    check_stacking("hstack", shapes)


@pytest.mark.parametrize(
    "shapes", [[(3,), (3,)], [(2, 3), (1, 3)], [(3,), (2, 3)], [(), ()], [(2, 3, 1), (1, 3, 1)]], ids=str
)
def test_vstack(shapes):
    check_stacking("vstack", shapes)


def check_stacking(name, shapes):
    torch = pytest.importorskip("torch")
    arrays = [normal(*shape, seed=i) for i, shape in enumerate(shapes)]
    check_second_gradient(lambda *xs: getattr(ops, name)(xs), *arrays)
    check_against_torch(lambda *xs: getattr(ops, name)(xs), lambda *xs: getattr(torch, name)(xs), *arrays)


def test_other_names_of_cat():
    x = dl.Tensor(normal(2, 3))
    for f in (ops.concat, ops.concatenate):
        assert f([x, x], dim=1).tolist() == ops.cat([x, x], 1).tolist()


def test_an_empty_vector_counts_for_the_dtype():
    y = ops.cat([dl.Tensor(np.zeros(0)), dl.Tensor(np.zeros((2, 1), np.float32))], 1)
    assert y.dtype == np.float64 and y.shape == (2, 1)


# ---- what is a view ------------------------------------------------------------------------------------------------


def test_parts_are_views():
    """What is written into a part is seen in the Tensor."""
    x = dl.Tensor(np.zeros((3, 4)))
    parts = [*x.split(2), *x.chunk(3, 1), *x.tensor_split(2), *x.tensor_split((1, 3), 1), *x.unbind(), *x.unbind(1), *x]
    for number, part in enumerate(parts, start=1):
        part.data[...] = number
        assert (x.data == number).sum() == part.numel()
    first, second = dl.Tensor(np.zeros(2))
    assert first.shape == () and isinstance(first.data, np.ndarray)


def test_a_part_that_is_changed_in_place_is_noticed():
    x = dl.Tensor(np.ones(3), True) * 1
    y = x * x
    with dl.no_grad():
        x.unbind()[0].fill_(2)
    with pytest.raises(RuntimeError, match="changed in place"):
        y.sum().backward()


def test_sections_may_be_a_tensor():
    x = dl.Tensor(normal(5))
    for where in (dl.tensor([1, 3]), np.array([1, 3])):
        assert [p.shape for p in x.tensor_split(where)] == [(1,), (2,), (2,)]
    assert [p.shape for p in x.tensor_split(dl.tensor(2))] == [(3,), (2,)]


def test_only_some_parts_are_used():
    check_second_gradient(lambda x: x.split(2)[1] * x.unbind()[0][:1], normal(5, 3))


def test_iteration():
    x = dl.Tensor(normal(3, 2), True)
    nodes = {id(row.grad_fn) for row in x}
    assert [row.tolist() for row in x] == x.tolist() and len(nodes) == 1  # one node for all rows
    check_second_gradient(lambda x: sum(row * row * i for i, row in enumerate(x)), normal(3, 2))


# ---- errors --------------------------------------------------------------------------------------------------------

X = dl.Tensor(np.zeros((2, 3)))
SCALAR = dl.tensor(1.0)


@pytest.mark.parametrize(
    "call, error, match",
    [
        (lambda: X.split(0), ValueError, "split: split_size must be positive, got 0"),
        (lambda: X.split([1, 2]), ValueError, r"split: sizes \[1, 2\] must be non-negative and add up to 2"),
        (lambda: X.split([3, -1]), ValueError, "split: sizes .* must be non-negative"),
        (lambda: X.split([]), ValueError, "split: sizes .* must be non-negative and add up to 2"),
        (lambda: X.split("ab"), TypeError, "split: sizes must be integers, got 'ab'"),
        (lambda: X.split([1.0, 1.0]), TypeError, "split: sizes must be integers, got 1.0"),
        (lambda: X.split(1, 2), ValueError, "split: dim 2 is out of range"),
        (lambda: SCALAR.split(1), ValueError, "split: a 0-d Tensor cannot be split"),
        (lambda: X.chunk(0), ValueError, "chunk: chunks must be a positive integer, got 0"),
        (lambda: X.chunk(1.5), ValueError, "chunk: chunks must be a positive integer, got 1.5"),
        (lambda: SCALAR.chunk(1), ValueError, "chunk: a 0-d Tensor cannot be cut"),
        (lambda: ops.cat([]), ValueError, "cat: at least one Tensor is needed"),
        (
            lambda: ops.cat([X, dl.Tensor(np.zeros((2, 4)))]),
            ValueError,
            r"cat: shapes \(2, 3\) \(number 0\) and \(2, 4\) \(number 1\)",
        ),
        (lambda: ops.cat([X, dl.Tensor(np.zeros(3))]), ValueError, "must agree but for dim 0"),
        (lambda: ops.cat([SCALAR]), ValueError, "cat: Tensor number 0 is 0-d; use stack"),
        (lambda: ops.cat([X], 2), ValueError, "cat: dim 2 is out of range"),
        (lambda: ops.cat([X, "text"]), TypeError, "cat: .* not str"),
        (lambda: ops.cat(3), TypeError, "cat: a sequence of Tensors is needed, got int"),
        (lambda: ops.stack([]), ValueError, "stack: at least one Tensor is needed"),
        (
            lambda: ops.stack([X, SCALAR]),
            ValueError,
            r"stack: all shapes must be equal, got \(2, 3\) \(number 0\) and \(\)",
        ),
        (lambda: ops.stack([X], 3), ValueError, "stack: dim 3 is out of range"),
        (
            lambda: ops.cat([X, SCALAR.reshape(1)[:0], X.T]),
            ValueError,
            r"\(2, 3\) \(number 0\) and \(3, 2\) \(number 2\)",
        ),
        (
            lambda: ops.cat([SCALAR.reshape(1)[:0], X, X.T]),
            ValueError,
            r"\(2, 3\) \(number 1\) and \(3, 2\) \(number 2\)",
        ),
        (lambda: ops.hstack(X), TypeError, "hstack: a sequence of Tensors is needed, got Tensor"),
        (lambda: ops.hstack([X, X.T]), ValueError, "cat: shapes .* must agree but for dim 1"),
        (lambda: ops.vstack([]), ValueError, "vstack: at least one Tensor is needed"),
        (lambda: X.tensor_split(0), ValueError, "tensor_split: the number of sections must be positive, got 0"),
        (lambda: X.tensor_split((1, 1.5)), TypeError, "tensor_split: indices must be integers, got 1.5"),
        (lambda: X.tensor_split(None), TypeError, "tensor_split: indices must be integers, got None"),
        (lambda: X.tensor_split(1, 2), ValueError, "tensor_split: dim 2 is out of range"),
        (lambda: SCALAR.tensor_split(1), ValueError, "tensor_split: a 0-d Tensor cannot be split"),
        (lambda: X.unbind(2), ValueError, "unbind: dim 2 is out of range"),
        (lambda: SCALAR.unbind(), ValueError, "unbind: a 0-d Tensor has no slices"),
        (lambda: iter(SCALAR), TypeError, "iteration over a 0-d Tensor"),
    ],
)
def test_errors_name_the_operation(call, error, match):
    with pytest.raises(error, match=match):
        call()
