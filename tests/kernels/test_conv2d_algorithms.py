"""conv2d's algorithms, Winograd's above all, against the formula, and what each is chosen for."""

from fractions import Fraction

import numpy as np
import pytest
from helpers import normal, rng
from helpers import results as value_and_gradients

import minidl as dl
from minidl import ops
from minidl.kernels._cook_toom import cook_toom, strided
from minidl.kernels.conv2d import narrow, phases, pieces, reference, winograd, winograd_rows
from minidl.kernels.conv2d.direct import turned_shape
from minidl.kernels.conv2d.winograd_tiles import outputs_of

WINOGRAD = [  # (N, C, H, W, O, K, padding): tiles that the image cuts, few and many channels, weights beyond the cache
    (3, 16, 17, 19, 16, 3, 1), (2, 19, 24, 13, 37, 3, 0), (4, 16, 21, 12, 40, 3, 2), (2, 16, 30, 29, 21, 5, 2),
    (3, 33, 15, 22, 16, 5, 0), (8, 200, 14, 13, 160, 3, 1), (2, 12, 19, 26, 35, 4, 1), (3, 20, 14, 15, 35, 3, 1),
    (2, 21, 24, 30, 17, 3, 2), (30, 19, 2, 2, 37, 3, 1), (14, 13, 2, 4, 18, 3, 1),
]  # fmt: skip


def test_winograds_tile_is_5x5_where_that_saves_a_sixth_of_the_products_and_2x2_for_images_of_two_rows():
    tried = 1, 2, 3, 6, 7, 8, 10, 13, 14, 15, 16, 28, 56, 224
    sizes = {size: outputs_of(3, np.empty((1, size, size, 1))) for size in tried}
    assert sizes == {1: 2, 2: 2, 3: 4, 6: 4, 7: 4, 8: 4, 10: 5, 13: 5, 14: 5, 15: 5, 16: 4, 28: 4, 56: 4, 224: 4}
    assert [outputs_of(r, np.empty((1, 14, 14, 1))) for r in (1, 2, 4, 5, 6)] == [None, None, 4, 4, None]


@pytest.mark.parametrize("case", WINOGRAD)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_winograd_is_the_formula(case, dtype):
    """Forward and both gradients against the plain sums, which exact_convolution() asks for."""
    n, c, h, w, o, k, padding = case
    arrays = [normal(n, c, h, w, dtype=dtype), normal(o, c, k, k, dtype=dtype, seed=1), normal(o, dtype=dtype, seed=2)]
    y = np.empty((n, h + 2 * padding - k + 1, w + 2 * padding - k + 1, o))
    assert winograd.fits((k, k, c, o), y, (1, 1), (1, 1), 1)

    def f(x, w, b):
        return ops.conv2d(x, w, b, padding=padding)

    fast, exact = fast_and_exact(f, arrays, 2e-5 if dtype == np.float32 else 1e-13)
    assert any(not np.array_equal(a, b) for a, b in zip(fast, exact, strict=True))


def fast_and_exact(f, arrays, atol):
    """Values and gradients of f by what is chosen, and in exact_convolution(); they are held to each other."""
    fast = value_and_gradients(f, *arrays)
    with dl.exact_convolution():
        exact = value_and_gradients(f, *arrays)
    for a, b in zip(fast, exact, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=atol * np.abs(b).max())
    return fast, exact


def assert_other_sums(f, arrays):
    """All but the bias's gradient, which is the same sum."""
    for a, b in zip(*fast_and_exact(f, arrays, 2e-5), strict=True):
        assert a.ndim == 1 or not np.array_equal(a, b)


PHASES = [  # (N, H, W, C, O, KH, KW, stride, padding): windows that are no multiple of the stride, pixels none sees
    (2, 64, 61, 3, 14, 7, 7, (2, 2), (3, 3)), (1, 63, 60, 3, 16, 11, 11, (4, 4), (2, 2)),
    (2, 31, 40, 5, 17, 5, 5, (2, 2), (0, 1)), (1, 60, 60, 4, 13, 5, 7, (2, 3), (2, 2)),
    (1, 33, 30, 16, 20, 6, 3, (2, 1), (1, 1)), (1, 40, 42, 7, 12, 5, 5, (2, 2), (4, 4)),
    (1, 31, 29, 12, 12, 5, 5, (2, 2), (9, 7)), (1, 67, 66, 2, 12, 13, 10, (4, 3), (0, 0)),
]  # fmt: skip


def hold_to_the_formula(algorithm, case, dtype, dilation=(1, 1), groups=1):
    """algorithm(x, weights, bias, residual, start, gy, stride, padding, y, gx, gw), with a ReLU after the residual."""
    n, h, w, c, o, kh, kw, stride, padding = case
    x, weights, bias = normal(n, h, w, c), normal(kh, kw, c // groups, o, seed=1), normal(o, seed=2)
    sizes = zip((h, w), padding, (kh, kw), stride, dilation, strict=True)
    size = [(e + 2 * p - d * (k - 1) - 1) // s + 1 for e, p, k, s, d in sizes]
    gy, residual, start = normal(n, *size, o, seed=3), normal(n, *size, o, seed=4), normal(c, seed=5)
    y, gx, gw = np.empty_like(gy), np.empty_like(x), np.empty_like(weights)
    geometry = stride, padding, dilation, groups
    reference.forward(x, weights, bias, *geometry, y)
    reference.input_grad(gy, weights, *geometry, gx)
    reference.weight_grad(x, gy, *geometry, gw)
    expected = np.maximum(y + residual, 0), gx + start, gw

    arrays = [a.astype(dtype) for a in (x, weights, bias, residual, start, gy)]
    results = [np.full_like(a, np.nan, dtype) for a in (y, gx, gw)]
    algorithm(*arrays, stride, padding, *results)
    for result, truth in zip(results, expected, strict=True):
        np.testing.assert_allclose(
            result, truth, rtol=0, atol=(2e-5 if dtype == np.float32 else 1e-13) * np.abs(truth).max()
        )


@pytest.mark.parametrize("case", PHASES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_phases_of_a_stride_are_the_formula(case, dtype):
    def algorithm(x, weights, bias, residual, start, gy, stride, padding, y, gx, gw):
        phases.forward(x, weights, bias, stride, padding, True, residual, y)
        phases.input_grad(start, gy, weights, stride, padding, gx)
        phases.weight_grad(x, gy, stride, padding, gw)

    hold_to_the_formula(algorithm, case, dtype)


STRIDED = [  # as PHASES: tiles that the image cuts, or that begin beyond it; borders of all widths; many channels
    (2, 17, 19, 16, 20, 3, 3, (2, 2), (1, 1)), (3, 16, 14, 13, 37, 3, 3, (2, 2), (0, 0)),
    (1, 33, 18, 20, 17, 3, 3, (2, 2), (0, 1)), (2, 15, 16, 12, 70, 3, 3, (2, 2), (2, 3)),
    (3, 12, 13, 140, 200, 3, 3, (2, 2), (1, 0)), (9, 2, 3, 33, 12, 3, 3, (2, 2), (1, 1)),
]  # fmt: skip


@pytest.mark.parametrize("case", STRIDED)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_winograd_of_a_stride_is_the_formula(case, dtype):
    def algorithm(x, weights, bias, residual, start, gy, stride, padding, y, gx, gw):
        winograd.forward(x, weights, bias, stride, padding, True, residual, y)
        winograd.input_grad(start, x, gy, weights, stride, padding, gx)
        gx -= x  # the residual
        winograd.weight_grad(x, gy, stride, padding, gw)

    hold_to_the_formula(algorithm, case, dtype)


def test_windows_of_stride_2_are_winograds_where_tiles_fit_but_not_in_exact_convolution():
    """ResNet's layers of 28² outputs; of 14² only the weights' gradient, whose transforms are few."""
    arrays = [normal(4, 128, 56, 56), normal(128, 128, 3, 3, seed=1), normal(128, seed=2)]
    assert_other_sums(lambda *of: ops.conv2d(*of, stride=2, padding=1), [a.astype(np.float32) for a in arrays])
    assert not winograd.fits((3, 3, 256, 256), np.empty((16, 14, 14, 256)), (2, 2), (1, 1), 1)
    assert winograd.weight_grad_fits((3, 3, 256, 256), np.empty((16, 14, 14, 256)), (2, 2), (1, 1), 1)
    assert not winograd.fits((3, 3, 128, 128), np.empty((16, 28, 28, 128)), (2, 1), (1, 1), 1)


ROWS = [  # as PHASES: tiles that the image cuts, several panels, few outputs side by side, borders wider than a row
    (2, 14, 14, 6, 16, 5, 5, (1, 1), (0, 0)), (3, 9, 11, 5, 7, 5, 4, (1, 1), (2, 1)),
    (2, 13, 10, 4, 70, 3, 3, (1, 1), (1, 1)), (1, 8, 9, 16, 6, 5, 5, (1, 1), (4, 4)),
    (2, 17, 9, 3, 6, 3, 5, (1, 1), (0, 3)), (40, 11, 12, 2, 3, 3, 2, (1, 1), (2, 0)),
    (1, 3, 8, 9, 5, 3, 1, (1, 1), (0, 0)), (2, 23, 210, 7, 11, 5, 3, (1, 1), (2, 1)),
]  # fmt: skip


@pytest.mark.parametrize("case", ROWS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_winograd_down_the_rows_is_the_formula(case, dtype):
    def algorithm(x, weights, bias, residual, start, gy, stride, padding, y, gx, gw):
        winograd_rows.forward(x, weights, bias, padding, True, residual, y)
        winograd_rows.input_grad(start, None, gy, weights, padding, gx)
        winograd_rows.weight_grad(x, gy, padding, gw)

    hold_to_the_formula(algorithm, case, dtype)


@pytest.mark.parametrize("c, o, k, size", [(6, 16, 5, 14), (1, 6, 5, 32), (3, 16, 3, 32), (3, 64, 3, 64)])
def test_few_channels_are_winograds_but_not_in_exact_convolution(c, o, k, size):
    """LeNet's layers, ResNet-20's and VGG's first. For one image the plain sums are kept."""
    arrays = [a.astype(np.float32) for a in (normal(12, c, size, size), normal(o, c, k, k, seed=1), normal(o, seed=2))]
    outputs = np.empty((12, size - k + 1, size - k + 1, o))
    assert winograd_rows.fits((k, k, c, o), outputs, (1, 1), (1, 1), 1)
    assert not winograd_rows.fits((k, k, c, 4), outputs[:1, ..., :4], (1, 1), (1, 1), 1)
    fast, exact = fast_and_exact(ops.conv2d, arrays, 1e-5)
    for number in (0, 2):  # of the input's gradient others may be quicker
        assert not np.array_equal(fast[number], exact[number])


NARROW = [  # as PHASES, dilation and groups: depthwise, of a stride, several outputs or inputs of a channel, few lanes
    ((2, 9, 11, 5, 5, 3, 3, (1, 1), (1, 1)), (1, 1), 5), ((2, 9, 11, 40, 40, 3, 3, (2, 2), (1, 1)), (1, 1), 40),
    ((1, 40, 33, 300, 300, 5, 4, (2, 1), (2, 3)), (1, 1), 300), ((1, 4, 5, 6, 6, 2, 2, (3, 3), (3, 4)), (1, 1), 6),
    ((2, 9, 12, 8, 24, 3, 2, (2, 3), (1, 0)), (1, 1), 8), ((2, 9, 12, 24, 8, 3, 3, (1, 2), (0, 2)), (2, 3), 8),
    ((1, 9, 12, 15, 20, 3, 3, (1, 1), (3, 0)), (1, 2), 5), ((2, 9, 11, 40, 40, 3, 3, (2, 2), (1, 1)), (1, 1), 20),
    ((2, 19, 11, 72, 72, 3, 3, (2, 1), (1, 1)), (2, 3), 18), ((1, 13, 9, 520, 520, 3, 5, (1, 2), (0, 4)), (1, 1), 130),
    ((2, 9, 11, 272, 272, 3, 3, (1, 1), (1, 1)), (1, 2), 34), ((2, 5, 6, 256, 256, 1, 1, (1, 1), (0, 0)), (1, 1), 32),
]  # fmt: skip


def test_depthwise_convolution_and_groups_that_fill_no_vector_are_narrow():
    """MobileNet's, EfficientNet's and ResNeXt's layers; not AlexNet's two groups, nor groups of one alone."""
    float32 = np.dtype(np.float32)
    for w_shape, groups in [((3, 3, 1, 32), 32), ((5, 5, 1, 240), 240), ((3, 3, 4, 128), 32), ((5, 5, 1, 16), 8)]:
        assert narrow.fits(w_shape, groups, float32) and narrow.weight_grad_fits(w_shape, groups, float32)
        assert narrow.fits(turned_shape(w_shape, groups), groups, float32)
    for w_shape, groups in [((5, 5, 48, 256), 2), ((3, 3, 32, 1024), 32), ((3, 3, 1, 16), 1), ((3, 3, 1, 64), 2)]:
        assert not narrow.fits(w_shape, groups, float32)


PIECES = [  # as NARROW: groups, dilation, both; images that the dilation does not divide, borders of all widths
    ((2, 17, 15, 32, 64, 3, 3, (1, 1), (1, 1)), (1, 1), 2), ((3, 19, 22, 12, 17, 3, 3, (1, 1), (2, 0)), (2, 3), 1),
    ((2, 26, 25, 26, 39, 5, 5, (1, 1), (3, 4)), (2, 1), 1), ((2, 14, 14, 24, 36, 3, 3, (1, 1), (5, 2)), (2, 2), 2),
]  # fmt: skip


def by_narrow(dilation, groups, x, weights, bias, residual, start, gy, stride, padding, y, gx, gw):
    geometry = stride, padding, dilation, groups
    narrow.forward(x, weights, bias, *geometry, True, residual, y)
    narrow.input_grad(start, x, gy, weights, *geometry, gx)
    gx -= x  # the residual
    narrow.weight_grad(x, gy, *geometry, gw)


def by_pieces(dilation, groups, x, weights, bias, residual, start, gy, stride, padding, y, gx, gw):
    pieces.forward(x, weights, bias, padding, dilation, groups, True, residual, y)
    pieces.input_grad(start, x, gy, weights, padding, dilation, groups, gx)
    gx -= x  # the residual
    pieces.weight_grad(x, gy, padding, dilation, groups, gw)


GROUPED = [(by_narrow, *case) for case in NARROW] + [(by_pieces, *case) for case in PIECES]


@pytest.mark.parametrize("form, case, dilation, groups", GROUPED)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_groups_and_dilated_windows_are_the_formula(form, case, dilation, groups, dtype):
    def algorithm(*arguments):
        form(dilation, groups, *arguments)

    hold_to_the_formula(algorithm, case, dtype, dilation, groups)


def test_alexnets_two_groups_and_dilated_windows_are_winograds_but_not_in_exact_convolution():
    for c, o, k, size, dilation, groups in [(96, 256, 5, 27, 1, 2), (384, 256, 3, 13, 1, 2), (128, 128, 3, 28, 2, 1)]:
        arrays = [normal(8, c, size, size), normal(o, c // groups, k, k, seed=1), normal(o, seed=2)]
        arrays = [a.astype(np.float32) for a in arrays]

        def f(x, w, b, k=k, dilation=dilation, groups=groups):
            return ops.conv2d(x, w, b, padding=dilation * (k // 2), dilation=dilation, groups=groups)

        assert_other_sums(f, arrays)


def test_first_layers_are_phases_but_not_in_exact_convolution():
    """ResNet's and AlexNet's, against the plain sums."""
    for k, stride, padding in ((7, 2, 3), (11, 4, 2)):
        arrays = [normal(2, 3, 224, 224), normal(64, 3, k, k, seed=1), normal(64, seed=2)]
        arrays = [a.astype(np.float32) for a in arrays]
        size = (224 + 2 * padding - k) // stride + 1
        assert phases.fits((k, k, 3, 64), np.empty((2, size, size, 64)), (stride, stride), (1, 1), 1)

        def f(x, w, b, stride=stride, padding=padding):
            return ops.conv2d(x, w, b, stride=stride, padding=padding)

        assert_other_sums(f, arrays)


def drawn(random, size):
    return [Fraction(int(v)) for v in random.integers(-9, 9, size)]


def bilinear(matrices, w, x):
    """A^T ((G w) * (B^T x))."""

    def times(matrix, vector):
        return [sum(c * v for c, v in zip(row, vector, strict=True)) for row in matrix]

    a, g, b = matrices
    return times(a, [u * v for u, v in zip(times(g, w), times(b, x), strict=True)])


@pytest.mark.parametrize("m, r, stride", [(4, 3, 2), (2, 3, 2), (3, 5, 2), (2, 7, 3), (3, 4, 4), (5, 3, 1)])
def test_strided_is_exact_and_so_is_its_gradient(m, r, stride):
    random, points = rng(4), [Fraction(p) for p in ("0", "1", "-1", "1/2", "-1/2", "2", "-2")]
    n, longest = stride * (m - 1) + r, m + (r - 1) // stride
    w, x, gy = drawn(random, r), drawn(random, n), drawn(random, longest)
    outputs = [sum(x[stride * i + j] * w[j] for j in range(r)) for i in range(m)]
    assert bilinear(strided(m, r, stride, points[: longest - 1]), w, x) == outputs
    # Output i's window covers the rows stride i … stride i + r - 1; of the rows from r - stride on all are known.
    rows = [sum(w[q - stride * i] * gy[i] for i in range(longest) if 0 <= q - stride * i < r) for q in range(99)]
    gradients = bilinear(strided(m, r, stride, points[: longest - 1], upsampled=True), w[::-1], gy)
    assert gradients == rows[r - stride :][: stride * m]


def test_cook_toom_is_exact_for_other_sizes_and_points():
    random = rng(3)
    for m, r, points in [
        (2, 3, (0, 1, -1)), (4, 3, (0, "2/3", "-2/3", "3/2", "-3/2")), (3, 2, (0, 5, -1)), (1, 4, (0, 1, 2)),
        (4, 5, (0, "1/2", "-1/2", 1, -1, 2, -2)), (5, 3, ("1/4", "-1/4", "4/5", "-4/5", "5/3", "-5/3")),
        (5, 5, ("1/4", "-1/4", "2/3", "-2/3", "5/4", "-5/4", "5/2", "-5/2")), (6, 3, (0, 1, -1, 2, -2, 3, -3)),
    ]:  # fmt: skip
        x, w = drawn(random, m + r - 1), drawn(random, r)
        outputs = [sum(x[i + j] * w[j] for j in range(r)) for i in range(m)]
        assert bilinear(cook_toom(m, r, map(Fraction, points)), w, x) == outputs
    with pytest.raises(ValueError, match=r"F\(2, 3\) needs 3 different points, got \['0', '1', '1'\]"):
        cook_toom(2, 3, (0, 1, 1))
