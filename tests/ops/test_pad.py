"""pad."""

import numpy as np
import pytest
from helpers import check_against_torch, check_second_gradient, layouts, normal, to_torch
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as dl
from minidl import ops

# shape, pad
CONSTANT = [
    ((3,), (1, 2)),
    ((3,), (0, 0)),
    ((3,), (-1, -1)),
    ((3,), (-3, 0)),
    ((3,), (-3, 4)),
    ((3,), (2, -1)),
    ((2, 3), (1, 0)),
    ((2, 3), (0, 1, 2, 0)),
    ((2, 3), [-1, 1, 1, -1]),
    ((2, 3, 4), (1, 1, 0, 2, 1, 0)),
    ((2, 3), ()),
    ((0, 3), (1, 1, 2, 0)),
    ((), ()),
]
COPIES = [
    ("reflect", (1, 4), (3, 3)),
    ("reflect", (2, 4), (-1, 2)),
    ("reflect", (2, 3, 4), (1, 2, 2, 0)),
    ("reflect", (1, 2, 3, 4), (2, 1, 1, 2)),
    ("reflect", (1, 2, 2, 3, 2), (1, 0, 1, 1, 0, 1)),
    ("reflect", (0, 3, 4), (1, 1)),
    ("replicate", (1, 4), (5, 3)),
    ("replicate", (1, 4), (-3, 2)),
    ("replicate", (2, 3, 4), (1, -2, 2, 0)),
    ("replicate", (1, 2, 3, 4), (2, 1, 5, -1)),
    ("replicate", (1, 1), (2, 2)),
    ("circular", (1, 4), (4, 4)),
    ("circular", (1, 4), (-1, 2)),
    ("circular", (2, 3, 4), (1, 2)),
    ("circular", (1, 2, 3, 4), (2, 1, 3, 2)),
    ("circular", (1, 2, 3, 4), (0, 0, 1, 0)),
]


def torch_pad(*args):
    return lambda x: pytest.importorskip("torch").nn.functional.pad(x, *args)


@pytest.mark.parametrize("value", [None, 0.5])
@pytest.mark.parametrize("shape, pads", CONSTANT, ids=str)
def test_constants(shape, pads, value):
    check_second_gradient(lambda x: ops.pad(x, pads, value=value), normal(*shape))
    for dtype in (np.float32, np.float64):
        check_against_torch(
            lambda x: ops.pad(x, pads, "constant", value),
            torch_pad(list(pads), "constant", value),
            normal(*shape, dtype=dtype),
        )


@pytest.mark.parametrize("mode, shape, pads", COPIES, ids=str)
def test_copies(mode, shape, pads):
    check_second_gradient(lambda x: ops.pad(x, pads, mode), normal(*shape))
    for dtype in (np.float32, np.float64):
        check_against_torch(lambda x: ops.pad(x, pads, mode), torch_pad(pads, mode), normal(*shape, dtype=dtype))


@pytest.mark.parametrize(
    "mode, expected",
    [
        ("constant", [0, 0, 1, 2, 3, 4, 0]),
        ("reflect", [3, 2, 1, 2, 3, 4, 3]),
        ("replicate", [1, 1, 1, 2, 3, 4, 4]),
        ("circular", [3, 4, 1, 2, 3, 4, 1]),
    ],
)
def test_what_the_modes_are(mode, expected):
    assert ops.pad(dl.tensor([1, 2, 3, 4]), (2, 1), mode).tolist() == expected


@given(st.data())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_modes_agree_with_numpy(data):
    """Also along more axes than PyTorch pads."""
    shape = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    mode, numpys = data.draw(st.sampled_from([("reflect", "reflect"), ("replicate", "edge"), ("circular", "wrap")]))
    widest = {"reflect": lambda n: n - 1, "replicate": lambda n: 5, "circular": lambda n: n}[mode]
    pairs = [[data.draw(st.integers(0, widest(n))) for _ in range(2)] for n in shape]
    flat = [n for pair in reversed(pairs) for n in pair]
    x = normal(*shape)
    assert ops.pad(x, flat, mode).tolist() == np.pad(x, pairs, numpys).tolist()


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
def test_every_dtype_and_layout(mode):
    for dtype in ("bool", "uint8", "int64", "complex64"):
        x = (10 * normal(1, 3, 4)).astype(dtype)
        if (mode, dtype) != ("constant", "bool") and dtype not in ("bool", "uint8"):
            assert ops.pad(dl.Tensor(x), (1, 2), mode).tolist() == torch_pad((1, 2), mode)(to_torch(x)).tolist()
        assert ops.pad(dl.Tensor(x), (1, 2), mode).dtype == dtype
    x = normal(1, 3, 4, 2)
    for layout, array in layouts(x):
        got = ops.pad(dl.Tensor(array), (1, 0, 2, 1), mode)
        assert np.array_equal(got.numpy(), ops.pad(dl.Tensor(x), (1, 0, 2, 1), mode).numpy()), layout


def test_an_integer_tensor_takes_the_integer_part_of_the_constant():
    assert ops.pad(dl.tensor([1]), (1, 0), value=2.5).tolist() == [2, 1]


def test_images_padded_with_a_constant_stay_channels_last():
    image = dl.Tensor(np.zeros((2, 5, 4, 3), np.float32).transpose(0, 3, 1, 2))
    assert ops.pad(image, (1, 1, 2, 2)).data.transpose(0, 2, 3, 1).flags.c_contiguous


X = dl.Tensor(np.zeros((2, 3)))


@pytest.mark.parametrize(
    "args, error, match",
    [
        (((1,),), ValueError, r"pad must hold pairs, at most 2 for shape \(2, 3\), got \(1,\)"),
        (((1, 1) * 3,), ValueError, "pad must hold pairs, at most 2"),
        ((1,), TypeError, "pad must be a sequence of integers, got int"),
        (((1.0, 1),), TypeError, "pad must be an integer, got 1.0"),
        (((-2, -2),), ValueError, r"\(-2, -2\) takes away more than the 3 elements of axis 1"),
        (((-4, 4),), ValueError, r"\(-4, 4\) takes away more than the 3 elements of axis 1"),
        (((0, 0, 0, -3), "replicate"), ValueError, r"\(0, -3\) takes away more than the 2 elements of axis 0"),
        (((1, 1), "mirror"), ValueError, "mode must be one of constant, reflect, replicate, circular, got 'mirror'"),
        (((1, 1), "reflect", 1.0), ValueError, r"value is for mode constant, reflect takes none \(got 1.0\)"),
        (((3, 0), "reflect"), ValueError, r"reflect by \(3, 0\) needs 4 elements along axis 1, it has 3"),
        (((0, 4), "circular"), ValueError, r"circular by \(0, 4\) needs 4 elements along axis 1, it has 3"),
        (((1, 0), "constant", "a"), TypeError, "value must be a number, got 'a'"),
        (((1, 0), "constant", 1j), TypeError, "value 1j cannot be stored in a Tensor of float64"),
    ],
)
def test_errors(args, error, match):
    with pytest.raises(error, match=f"^pad: {match}"):
        ops.pad(X, *args)


def test_nothing_to_copy():
    for mode in ("reflect", "replicate", "circular"):
        with pytest.raises(ValueError, match=rf"pad: {mode} by \(0, 1\) needs \d elements? along axis 1, it has 0"):
            ops.pad(dl.Tensor(np.zeros((2, 0))), (0, 1), mode)
