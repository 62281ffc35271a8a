"""flip, roll, rot90, repeat, tile, repeat_interleave, meshgrid."""

import numpy as np
import pytest
from helpers import check_against_torch, check_second_gradient, normal, to_torch

import minidl as dl
from minidl import ops

# name, shape of the input, what the method (ours and PyTorch's) is called with
CASES = [
    ("flip", (2, 3, 4), ((0, 2),)),
    ("flip", (2, 3, 4), ((-1,),)),
    ("flip", (2, 3), ((),)),
    ("flip", (0, 3), ((0, 1),)),
    ("flip", (), ((0,),)),
    ("fliplr", (2, 3), ()),
    ("flipud", (2, 3), ()),
    ("flipud", (3,), ()),
    *[("rot90", (2, 3, 4), (k, dims)) for k in (-1, 0, 1, 2, 3, 6) for dims in ((0, 1), (2, 0), [1, -1])],
    ("rot90", (2, 3), ()),
    ("roll", (5,), (2,)),
    ("roll", (2, 3), (-1,)),
    ("roll", (2, 3), (1, 1)),
    ("roll", (2, 3, 4), ((1, -5), (0, 2))),
    ("roll", (2, 3), ((1, 1), (1, 1))),  # one axis twice
    ("roll", (2, 3), ((4,), (-1,))),
    ("roll", (0, 3), (2, 1)),
    ("roll", (0, 3), (2,)),
    ("roll", (), (1,)),
    ("repeat", (2, 3), (2, 1)),
    ("repeat", (2, 3), ((2, 1, 3),)),
    ("repeat", (3,), (0,)),
    ("repeat", (), (2,)),
    ("repeat", (), ((),)),
    ("repeat", (2, 0), (2, 3)),
    ("tile", (2, 3), (2,)),
    ("tile", (2, 3), ((2, 1, 3),)),
    ("tile", (2, 3), ((),)),
    ("tile", (2,), (0, 2)),
    ("repeat_interleave", (2, 3), (2,)),
    ("repeat_interleave", (2, 3), (2, 1)),
    ("repeat_interleave", (2, 3), (0, -1)),
    ("repeat_interleave", (), (3,)),
    ("repeat_interleave", (0, 2), (3, 0)),
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


def test_any_number_of_repetitions_of_each():
    torch = pytest.importorskip("torch")
    x = normal(2, 3)
    for counts in ([1, 0, 2], [2], [0, 0, 0]):
        check_against_torch(
            lambda x: x.repeat_interleave(dl.tensor(counts), 1),  # noqa: B023
            lambda x: x.repeat_interleave(torch.tensor(counts), 1),  # noqa: B023
            x,
        )
    check_second_gradient(lambda x: x.repeat_interleave(np.array([2, 0, 1]), dim=-1), x)


@pytest.mark.parametrize("indexing", ["ij", "xy"])
@pytest.mark.parametrize("shapes", [[(3,)], [(2,), (3,)], [(2,), (3,), (4,)], [(), (2,)], [(0,), (2,)]], ids=str)
def test_meshgrid(shapes, indexing):
    torch = pytest.importorskip("torch")
    arrays = [normal(*shape, seed=i) for i, shape in enumerate(shapes)]
    check_second_gradient(lambda *xs: ops.meshgrid(*xs, indexing=indexing), *arrays)
    check_against_torch(
        lambda *xs: ops.meshgrid(xs, indexing=indexing), lambda *xs: torch.meshgrid(*xs, indexing=indexing), *arrays
    )


def test_copies_do_not_share_memory():
    x = dl.Tensor(normal(2, 3))
    for copy in [x.flip(0), x.roll(1), x.rot90(), x.rot90(0), x.repeat(1, 1), x.tile(1), x.repeat_interleave(1, 0)]:
        assert not np.shares_memory(copy.data, x.data)


def test_images_stay_channels_last():
    image = dl.Tensor(np.zeros((2, 5, 4, 3), np.float32).transpose(0, 3, 1, 2))
    for y in (image.flip(3), image.roll(1, 2)):
        assert y.data.transpose(0, 2, 3, 1).flags.c_contiguous


# ---- errors --------------------------------------------------------------------------------------------------------

X = dl.Tensor(np.zeros((2, 3)))
SCALAR = dl.tensor(1.0)


@pytest.mark.parametrize(
    "call, error, match",
    [
        (lambda: X.flip(2), ValueError, "flip: dim 2 is out of range"),
        (lambda: X.flip((0, 0)), ValueError, "flip: dim .* names an axis twice"),
        (lambda: X[0].fliplr(), ValueError, r"fliplr: at least two dimensions are needed, got shape \(3,\)"),
        (lambda: SCALAR.flipud(), ValueError, "flipud: at least one dimension is needed"),
        (lambda: X.rot90(1, (0,)), ValueError, r"rot90: dims must name two axes of shape \(2, 3\), got \(0,\)"),
        (lambda: X.rot90(1, (0, 0)), ValueError, "rot90: dim .* names an axis twice"),
        (lambda: X.rot90(1, (0, 2)), ValueError, "rot90: dim 2 is out of range"),
        (lambda: X.rot90(0.5), TypeError, "rot90: k must be an integer, got 0.5"),
        (lambda: X.roll((1, 2)), ValueError, r"roll: as many shifts as dims are needed, got \(1, 2\) and \(\)"),
        (lambda: X.roll(1, (0, 1)), ValueError, r"roll: as many shifts as dims are needed, got \(1,\) and \(0, 1\)"),
        (lambda: X.roll(1, 2), ValueError, "roll: dim 2 is out of range"),
        (lambda: X.roll(1.5), TypeError, "roll: shifts must be integers, got 1.5"),
        (lambda: X.repeat(2), ValueError, r"repeat: one number .* for each of the 2 dimensions, got \(2,\)"),
        (lambda: X.repeat(2, -1), ValueError, r"repeat: one number of at least 0 .*, got \(2, -1\)"),
        (lambda: X.repeat(2, 1.0), TypeError, "repeat: repeats must be integers, got 1.0"),
        (lambda: X.tile(-1), ValueError, r"tile: dims must be at least 0, got \(-1,\)"),
        (lambda: X.tile("a"), TypeError, "tile: dims must be integers, got 'a'"),
        (lambda: X.repeat_interleave(-1), ValueError, "repeat_interleave: repeats must be at least 0, got -1"),
        (lambda: X.repeat_interleave(1.5), TypeError, "repeat_interleave: repeats must be integers, got float32"),
        (
            lambda: X.repeat_interleave(dl.tensor([1, 2]), 1),
            ValueError,
            r"repeat_interleave: repeats must be one number or 3, got shape \(2,\)",
        ),
        (lambda: X.repeat_interleave(2, 0, output_size=5), ValueError, "output_size 5 is not the sum of repeats, 4"),
        (lambda: X.repeat_interleave(2, 2), ValueError, "repeat_interleave: dim 2 is out of range"),
        (lambda: ops.meshgrid(), ValueError, "meshgrid: at least one Tensor is needed"),
        (lambda: ops.meshgrid(X), ValueError, r"meshgrid: Tensor number 0 must be a vector, its shape is \(2, 3\)"),
        (lambda: ops.meshgrid(X[0], indexing="a"), ValueError, "meshgrid: indexing must be ij or xy, got 'a'"),
        (lambda: ops.meshgrid("a"), TypeError, "meshgrid: .*not str"),
    ],
)
def test_errors_name_the_operation(call, error, match):
    with pytest.raises(error, match=match):
        call()
