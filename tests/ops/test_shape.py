"""reshape, permute, expand and their kin; astype, clone."""

import numpy as np
import pytest
from helpers import check_against_torch, check_second_gradient, layouts, normal, to_torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minidl as dl
from minidl import ops

# name, shape of the input, what the method (ours and PyTorch's) is called with
CASES = [
    ("reshape", (2, 3, 4), (6, 4)),
    ("reshape", (2, 3, 4), (-1,)),
    ("reshape", (2, 3, 4), ((4, -1, 2),)),
    ("reshape", (1,), ((),)),
    ("reshape", (), (1, 1)),
    ("reshape", (0, 3), (3, 0)),
    ("reshape", (2, 0), (-1, 5)),
    ("view", (2, 6), (3, 4)),
    ("flatten", (2, 3, 4), ()),
    ("flatten", (2, 3, 4), (1,)),
    ("flatten", (2, 3, 4), (-3, -2)),
    ("flatten", (2, 3, 4), (1, 1)),
    ("flatten", (), ()),
    ("flatten", (2, 0, 3), (1,)),
    ("squeeze", (1, 3, 1), ()),
    ("squeeze", (1, 3, 1), (0,)),
    ("squeeze", (1, 3, 1), (-1,)),
    ("squeeze", (1, 3, 1), (1,)),
    ("squeeze", (1, 3, 1), ((0, -1),)),
    ("squeeze", (1, 3, 1), ((),)),
    ("squeeze", (), ()),
    ("squeeze", (), (0,)),
    ("squeeze", (1, 0), ()),
    ("unsqueeze", (2, 3), (0,)),
    ("unsqueeze", (2, 3), (2,)),
    ("unsqueeze", (2, 3), (-1,)),
    ("unsqueeze", (2, 3), (-3,)),
    ("unsqueeze", (), (0,)),
    ("unsqueeze", (), (-1,)),
    ("permute", (2, 3, 4), (2, 0, 1)),
    ("permute", (2, 3, 4), ((1, 2, 0),)),
    ("permute", (2, 3, 4), (-1, 0, -2)),
    ("permute", (0, 3), (1, 0)),
    ("permute", (), ((),)),
    ("transpose", (2, 3, 4), (0, 2)),
    ("transpose", (2, 3, 4), (-1, -2)),
    ("transpose", (2, 3, 4), (1, 1)),
    ("transpose", (), (0, -1)),
    ("t", (2, 3), ()),
    ("t", (3,), ()),
    ("t", (), ()),
    ("expand", (3,), (2, 3)),
    ("expand", (2, 1, 3), (2, 4, 3)),
    ("expand", (2, 1, 3), (5, -1, 4, -1)),
    ("expand", (1,), ((2, 3),)),
    ("expand", (), (2, 2)),
    ("expand", (1, 3), (0, 3)),
    ("expand", (0, 1), (0, 4)),
    ("expand", (2, 3), (2, 3)),
    ("broadcast_to", (3, 1), ((2, 3, 4),)),
    ("ravel", (2, 3), ()),
    ("ravel", (), ()),
    ("unflatten", (6, 2), (0, (2, 3))),
    ("unflatten", (2, 6), (-1, (2, -1, 1))),
    ("unflatten", (6,), (0, [6])),
    ("unflatten", (0, 2), (0, (3, 0))),
    ("unflatten", (0, 2), (0, (-1, 3))),
    ("swapaxes", (2, 3, 4), (0, -1)),
    ("swapdims", (2, 3, 4), (0, -1)),
    ("movedim", (2, 3, 4), (0, 2)),
    ("movedim", (2, 3, 4), (-1, 0)),
    ("movedim", (2, 3, 4), (1, 1)),
    ("movedim", (2, 3, 4, 5), ((0, 1), (2, 0))),
    ("movedim", (2, 3, 4), ([2, 0, 1], [0, 1, 2])),
    ("movedim", (2, 3), ((), ())),
    ("movedim", (), (0, 0)),
    ("moveaxis", (2, 3, 4), (0, 2)),
    ("clone", (2, 3), ()),
    ("contiguous", (2, 3), ()),
    ("double", (2, 3), ()),
]


def call(name, args):
    return lambda x: getattr(x, name)(*args)


@pytest.mark.parametrize("name, shape, args", CASES, ids=str)
def test_values_and_derivatives(name, shape, args):
    f = call(name, args)
    check_second_gradient(f, normal(*shape))
    for dtype in (np.float32, np.float64):
        check_against_torch(f, f, normal(*shape, dtype=dtype))


@pytest.mark.parametrize("name, shape, args", CASES, ids=str)
def test_every_dtype_is_moved(name, shape, args):
    if name in ("double",):
        pytest.skip("a conversion")
    for dtype in ("bool", "uint8", "int64", "complex64"):
        x = (10 * normal(*shape)).astype(dtype)
        got, expected = call(name, args)(dl.Tensor(x)), call(name, args)(to_torch(x))
        for g, e in zip(*[r if isinstance(r, tuple) else (r,) for r in (got, expected)], strict=True):
            assert g.dtype == dtype and g.shape == tuple(e.shape) and g.tolist() == e.tolist()


@pytest.mark.parametrize(
    "name, args", [("reshape", (6, 20)), ("permute", (3, 1, 0, 2)), ("movedim", (0, 2)), ("unflatten", (1, (1, 3)))]
)
def test_any_layout_gives_the_same(name, args):
    x = normal(2, 3, 4, 5)
    f = call(name, args)
    for layout, array in layouts(x):
        got, expected = f(dl.Tensor(array)), f(dl.Tensor(x))
        for g, e in zip(*[r if isinstance(r, tuple) else (r,) for r in (got, expected)], strict=True):
            assert np.array_equal(g.numpy(), e.numpy()), layout


@given(st.data())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_any_permutation_and_reshape(data):
    shape = data.draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
    order = data.draw(st.permutations(range(len(shape))))
    check_against_torch(
        lambda x: (x.permute(order) * 2).reshape(x.numel()),
        lambda x: (x.permute(order) * 2).flatten(),
        normal(*shape),
    )


# ---- what is a view and what a copy --------------------------------------------------------------------------------


def test_views_share_memory():
    """What is written into a view is seen in the Tensor."""
    x = dl.Tensor(normal(2, 3, 4))
    for number, view in enumerate(
        [
            x.reshape(6, 4),
            x.flatten(),
            x[:, None].squeeze(1),
            x.unsqueeze(0),
            x.permute(2, 1, 0),
            x.transpose(0, 1),
            x.mT,
            x.expand(5, -1, -1, -1),
            x.view(4, 6),
            x.ravel(),
            x.view_as(dl.Tensor(np.zeros((4, 6)))),
            x.reshape_as(dl.Tensor(np.zeros((4, 6)))),
            x.unflatten(2, (2, 2)),
            x.swapaxes(0, 1),
            x.swapdims(0, 1),
            x.movedim(0, 2),
            x.permute(2, 0, 1).unsqueeze(1).squeeze(1),
            x[0].t(),
            x[0].T,
        ]
    ):
        if view.data.flags.writeable:
            view.data.flat[1] = 100 + number
            assert (x.data == 100 + number).sum() == 1
        assert np.shares_memory(view.data, x.data)
    assert x.contiguous() is x and x.double() is x and x.astype(np.float64) is x


def test_copies_do_not():
    x = dl.Tensor(normal(2, 3, 4))
    for copy in [x.clone(), x.float(), x.long(), x.permute(2, 1, 0).contiguous(), x.permute(2, 1, 0).view(-1)]:
        assert not np.shares_memory(copy.data, x.data)


def test_clone_keeps_the_layout_and_contiguous_makes_it_row_major():
    image = dl.Tensor(np.zeros((2, 5, 4, 3)).transpose(0, 3, 1, 2))
    assert image.clone().data.strides == image.data.strides
    assert image.contiguous().data.flags.c_contiguous
    assert image.contiguous().tolist() == image.tolist()
    check_second_gradient(lambda x: x.permute(1, 0).contiguous() * 2, normal(2, 3))


def test_T_and_mT():
    x = normal(2, 3)
    check_against_torch(lambda x: x.T @ x.mT.T, lambda x: x.T @ x.mT.T, x)
    assert dl.Tensor(normal(4, 2, 3)).mT.shape == (4, 3, 2)
    with pytest.raises(ValueError, match=r"t: at most two dimensions, got shape \(4, 2, 3\)"):
        _ = dl.Tensor(normal(4, 2, 3)).T


def test_the_shape_of_another_tensor():
    x, like = normal(2, 3), dl.Tensor(np.zeros((3, 2)))
    check_second_gradient(lambda x: x.view_as(like) * x.reshape_as(like), x)
    check_second_gradient(lambda x: x.expand_as(dl.Tensor(np.zeros((4, 2, 3)))), x)
    assert dl.Tensor(x).expand_as(like[:2, None, :1].expand(2, 2, 3)).shape == (2, 2, 3)


def test_the_gradient_of_an_expansion_is_a_sum():
    x = dl.Tensor(np.array([[1.0], [2.0]]), requires_grad=True)
    x.expand(3, 2, 4).sum().backward()
    assert x.grad.tolist() == [[12], [12]]


# ---- astype --------------------------------------------------------------------------------------------------------


def test_conversions():
    x = dl.Tensor(np.array([-1.7, 0.0, 2.5]), requires_grad=True)
    assert x.float().dtype == np.float32 and x.double() is x
    assert x.long().tolist() == [-1, 0, 2] and not x.long().requires_grad
    assert x.astype("bool").tolist() == [True, False, True] and not x.astype("bool").requires_grad
    assert x.astype(np.complex64).dtype == np.complex64
    assert dl.tensor([1, 2]).float().dtype == np.float32
    (x.float() * 2).double().sum().backward()
    assert x.grad.dtype == np.float64 and x.grad.tolist() == [2, 2, 2]
    x.grad = None
    (x.astype("complex128") * (3 + 4j)).abs().sum().backward()
    assert x.grad.dtype == np.float64 and x.grad.tolist() == [-5, 0, 5]


@pytest.mark.parametrize(
    "x, dtype, match",
    [
        (dl.tensor([1j]), "float32", "astype: a Tensor of complex64 cannot become float32"),
        (dl.tensor([1j]), "int64", "astype: a Tensor of complex64 cannot become int64"),
        (dl.tensor([1.0]), "datetime64[s]", "astype: a Tensor of float32 cannot become datetime64"),
        (dl.tensor([1.0]), object, "astype: a Tensor of float32 cannot become object"),
        (dl.tensor([1.0]), "no such thing", "astype: dtype 'no such thing' is not understood"),
        ([1.0], "float32", "astype: operands must be Tensors, arrays or numbers, not list"),
    ],
)
def test_conversion_errors(x, dtype, match):
    with pytest.raises(TypeError, match=match):
        ops.astype(x, dtype)


# ---- errors --------------------------------------------------------------------------------------------------------

X = dl.Tensor(np.zeros((2, 3)))
SCALAR = dl.tensor(1.0)


@pytest.mark.parametrize(
    "call, error, match",
    [
        (lambda: X.reshape(4), ValueError, r"reshape: shape \(2, 3\) \(6 elements\) cannot become \(4,\)"),
        (lambda: X.reshape(4, -1), ValueError, r"cannot become \(4, -1\)"),
        (lambda: X.reshape(-1, -1), ValueError, r"cannot become \(-1, -1\)"),
        (lambda: X.reshape(-2, -3), ValueError, r"reshape: sizes must be at least 0, one of them may be -1"),
        (lambda: dl.Tensor(np.zeros(0)).reshape(0, -1), ValueError, r"\(0 elements\) cannot become \(0, -1\)"),
        (lambda: X.reshape(), ValueError, r"cannot become \(\)"),
        (lambda: X.reshape(2.0, 3), TypeError, "reshape: sizes must be integers, got 2.0"),
        (lambda: X.reshape("6"), TypeError, "reshape: sizes must be integers, got '6'"),
        (lambda: X.reshape(True, 6), TypeError, "reshape: sizes must be integers, got True"),
        (lambda: X.flatten(1, 0), ValueError, "flatten: start_dim 1 comes after end_dim 0"),
        (lambda: X.flatten(2), ValueError, "flatten: dim 2 is out of range for a Tensor of 2 dimensions"),
        (lambda: X.squeeze(5), ValueError, "squeeze: dim 5 is out of range"),
        (lambda: X.squeeze((0, 0)), ValueError, "squeeze: dim .* names an axis twice"),
        (lambda: X.unsqueeze(3), ValueError, "unsqueeze: dim 3 is out of range"),
        (lambda: X.unsqueeze(None), TypeError, "unsqueeze: dim must be an integer, got None"),
        (lambda: X.permute(0), ValueError, r"permute: dims \(0,\) must name each of the 2 axes once"),
        (lambda: X.permute(0, 0), ValueError, "must name each of the 2 axes once"),
        (lambda: X.permute(0, 2), ValueError, "permute: dim 2 is out of range"),
        (lambda: X.transpose(0, 2), ValueError, "transpose: dim 2 is out of range"),
        (lambda: X.transpose(0, "a"), TypeError, "transpose: dim must be an integer, got 'a'"),
        (
            lambda: X.unflatten(1, (2, 2)),
            ValueError,
            r"unflatten: sizes \(2, 2\) must multiply to 3, the extent of dim 1",
        ),
        (lambda: X.unflatten(1, (2, -1)), ValueError, r"unflatten: sizes \(2, -1\) must multiply to 3"),
        (lambda: X.unflatten(1, (-1, -1, 3)), ValueError, "unflatten: sizes .* must multiply to 3"),
        (lambda: X.unflatten(1, (-1, -3)), ValueError, "unflatten: sizes .* must multiply to 3"),
        (lambda: X.unflatten(1, (-1, 0)), ValueError, "unflatten: sizes .* must multiply to 3"),
        (lambda: X.unflatten(1, ()), ValueError, r"unflatten: sizes \(\) must multiply to 3"),
        (lambda: X.unflatten(1, (1.5, 2)), TypeError, "unflatten: sizes must be integers, got 1.5"),
        (lambda: X.unflatten(2, (3,)), ValueError, "unflatten: dim 2 is out of range"),
        (lambda: SCALAR.unflatten(0, (1,)), ValueError, "unflatten: a 0-d Tensor has no axis to cut"),
        (lambda: X.view_as(SCALAR), ValueError, r"reshape: shape \(2, 3\) .* cannot become \(\)"),
        (lambda: X.expand_as([1]), TypeError, "expand_as: .*not list"),
        (lambda: X.swapaxes(0, 2), ValueError, "transpose: dim 2 is out of range"),
        (lambda: X.movedim(0, 2), ValueError, "movedim: dim 2 is out of range"),
        (
            lambda: X.movedim((0, 1), 0),
            ValueError,
            r"movedim: source \(0, 1\) and destination 0 must name as many axes",
        ),
        (lambda: X.movedim((0, 0), (0, 1)), ValueError, "movedim: dim .* names an axis twice"),
        (lambda: X.movedim((0, 1), (1, -1)), ValueError, "movedim: dim .* names an axis twice"),
        (lambda: X.movedim(0, "a"), TypeError, "movedim: dim must be an integer, got 'a'"),
        (lambda: X.expand(3), ValueError, r"expand: sizes \(3,\) must have at least the 2 dimensions"),
        (lambda: X.expand(4, 3), ValueError, r"expand: shape \(2, 3\) cannot be expanded to \(4, 3\)"),
        (lambda: X.expand(-1, 2, 3), ValueError, "cannot be expanded"),
        (lambda: X.expand(0, 3), ValueError, "cannot be expanded"),
    ],
)
def test_errors_name_the_operation(call, error, match):
    with pytest.raises(error, match=match):
        call()
