"""conv2d."""

import itertools

import numpy as np
import pytest
from helpers import check_against_torch, check_second_gradient, close, functional, layouts, normal
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import minidl as dl
from minidl import ops

# (N, C, H, W), (O, KH, KW), stride, padding, dilation, groups
CASES = {
    "plain": ((2, 3, 7, 6), (4, 3, 2), 1, 0, 1, 1),
    "1x1": ((2, 3, 5, 4), (4, 1, 1), 1, 0, 1, 1),
    "kernel as large as the image": ((2, 3, 4, 5), (2, 4, 5), 1, 0, 1, 1),
    "row kernel": ((1, 2, 4, 6), (3, 1, 4), 1, 0, 1, 1),
    "column kernel": ((1, 2, 6, 4), (3, 5, 1), 1, (2, 0), 1, 1),
    "stride": ((2, 2, 9, 8), (3, 3, 3), 2, 0, 1, 1),
    "stride by axis": ((2, 2, 9, 11), (3, 3, 2), (2, 3), (1, 0), 1, 1),
    "stride greater than the kernel": ((1, 2, 9, 8), (3, 2, 1), (3, 4), 0, 1, 1),
    "stride greater than the image": ((1, 2, 3, 3), (3, 2, 2), 7, 1, 1, 1),
    "1x1 with stride": ((2, 4, 7, 6), (3, 1, 1), 2, 0, 1, 1),
    "padding": ((2, 2, 4, 5), (3, 3, 3), 1, 1, 1, 1),
    "padding by axis": ((2, 2, 4, 5), (3, 3, 3), 1, (2, 0), 1, 1),
    "padding greater than the kernel": ((1, 2, 3, 2), (2, 2, 2), 1, (3, 4), 1, 1),
    "dilation": ((1, 2, 9, 8), (3, 3, 2), 1, 0, 2, 1),
    "dilation by axis": ((1, 2, 9, 10), (3, 2, 3), 1, (1, 2), (3, 2), 1),
    "dilation and stride": ((2, 2, 12, 11), (3, 3, 2), (2, 3), (1, 2), (3, 2), 1),
    "dilation and stride with a common divisor": ((1, 2, 12, 11), (3, 3, 2), (4, 2), 1, (2, 4), 1),
    "groups": ((2, 4, 6, 5), (6, 3, 2), 1, 1, 1, 2),
    "groups, stride, dilation": ((2, 6, 9, 8), (3, 2, 3), 2, 1, 2, 3),
    "depthwise": ((2, 5, 6, 5), (5, 3, 3), 1, 1, 1, 5),
    "depthwise with multiplier": ((1, 3, 6, 5), (6, 3, 3), 2, 1, 1, 3),
    "one pixel": ((2, 3, 1, 1), (2, 3, 3), 1, 1, 1, 1),
    "one image row": ((1, 1, 1, 9), (1, 1, 3), 2, 0, 1, 1),
    "empty batch": ((0, 3, 5, 4), (2, 3, 3), 1, 1, 1, 1),
}


def arrays(case, dtype=np.float64, bias=True):
    (n, c, h, w), (o, kh, kw), *_, groups = CASES[case] if isinstance(case, str) else case
    shapes = [(n, c, h, w), (o, c // groups, kh, kw)] + ([(o,)] if bias else [])
    return [normal(*shape, dtype=dtype, seed=i) for i, shape in enumerate(shapes)]


def check(case, dtype, bias=True, second=True):
    geometry = (CASES[case] if isinstance(case, str) else case)[2:]
    check_against_torch(
        lambda x, w, b=None: ops.conv2d(x, w, b, *geometry),
        lambda x, w, b=None: functional().conv2d(x, w, b, *geometry),
        *arrays(case, dtype, bias),
        second=second,
    )


@pytest.mark.parametrize("case", [c for c in CASES if c not in ("dilation and stride", "dilation by axis")])
def test_derivatives(case):
    """The second ones too: of the input's, the weight's and the bias's gradient, by all of these and the cotangent."""
    (n, c, h, w), (o, kh, kw), *geometry = CASES[case]
    x, weight, bias = arrays(case)
    check_second_gradient(lambda x, w, b: ops.conv2d(x, w, b, *geometry), x[:1], weight, bias)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES)
def test_pytorch_gives_the_same(case, dtype, bias):
    check(case, dtype, bias)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("channels", [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 67])
def test_any_number_of_channels(channels, dtype):
    """Multiples of a vector's width, and what is left over; as inputs and as outputs."""
    for c, o in ((channels, 3), (3, channels), (channels, channels)):
        check(((2, c, 5, 7), (o, 3, 2), 1, 1, 1, 1), dtype, second=False)
    check(((1, channels, 4, 5), (channels, 3, 3), 1, 1, 1, channels), dtype, second=False)


@pytest.mark.parametrize("width", [1, 2, 12, 13, 14, 15, 27, 28, 29, 57])
def test_any_width_of_the_image(width):
    check(((3, 5, 3, width), (18, 3, 3), 1, 1, 1, 1), np.float32)


def test_many_images_and_tall_images():
    check(((70, 3, 5, 5), (4, 3, 3), 1, 1, 1, 1), np.float64)
    check(((1, 2, 150, 4), (3, 5, 2), 1, 2, 1, 1), np.float64)
    check(
        ((1, 40, 40, 90), (2, 3, 3), 1, 1, 1, 1), np.float64, second=False
    )  # rows that do not fit the scratch at once


sizes = st.integers(1, 3)


@given(st.data())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_any_geometry(data):
    def draw(low, high):
        return tuple(data.draw(st.integers(low, high)) for _ in range(2))

    groups = data.draw(st.integers(1, 3))
    c, o = (groups * k for k in draw(1, 3))
    kernel, stride, padding, dilation = draw(1, 4), draw(1, 4), draw(0, 3), draw(1, 3)
    size = draw(1, 9)
    assume(all(d * (k - 1) < n + 2 * p for k, d, n, p in zip(kernel, dilation, size, padding, strict=True)))
    check(((data.draw(st.integers(0, 2)), c, *size), (o, *kernel), stride, padding, dilation, groups), np.float64)


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("dilation", [1, 2, (2, 1)])
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (2, 2), (4, 3), (3, 2), (5, 4)])
def test_named_padding(kernel, dilation):
    """With an even kernel the odd row and column of zeros stand after the image."""
    x, w = normal(2, 3, 12, 11), normal(4, 3, *kernel, seed=1)
    for padding in ("same", "valid"):
        check_against_torch(
            lambda x, w: ops.conv2d(x, w, padding=padding, dilation=dilation),  # noqa: B023
            lambda x, w: functional().conv2d(x, w, padding=padding, dilation=dilation),  # noqa: B023
            x,
            w,
        )
    assert ops.conv2d(dl.Tensor(x), dl.Tensor(w), padding="same", dilation=dilation).shape == (2, 4, 12, 11)


def test_an_image_without_batch():
    for geometry in ((1, 0, 1, 1), (2, 1, 1, 1), (1, "same", 1, 1)):
        check_against_torch(
            lambda x, w, b: ops.conv2d(x, w, b, *geometry),  # noqa: B023
            lambda x, w, b: functional().conv2d(x, w, b, *geometry),  # noqa: B023
            normal(3, 6, 5),
            normal(4, 3, 3, 2, seed=1),
            normal(4, seed=2),
        )


def test_keywords_and_pairs():
    x, w = dl.Tensor(normal(1, 4, 6, 7)), dl.Tensor(normal(2, 2, 3, 3, seed=1))
    a = ops.conv2d(x, w, None, 2, 1, 2, 2)
    for pair in (tuple, list, np.array):
        b = ops.conv2d(
            input=x, weight=w, bias=None, stride=pair([2, 2]), padding=pair([1, 1]), dilation=pair([2, 2]), groups=2
        )
        assert a.tolist() == b.tolist()
    assert ops.conv2d(x, w, stride=(2,), padding=np.int64(1), dilation=[2], groups=2).tolist() == a.tolist()
    assert ops.conv2d(x.data, w.data, np.zeros(2), 2, 1, 2, 2).tolist() == a.tolist()


# ---- layouts -------------------------------------------------------------------------------------------------------


def results(x, w, b, gradient, geometry):
    leaves = [dl.Tensor(a, True) for a in (x, w, b)]
    y = ops.conv2d(*leaves, *geometry)
    y.backward(dl.Tensor(gradient))
    return [y.data] + [leaf.grad.data for leaf in leaves]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", ["plain", "1x1", "groups, stride, dilation", "stride by axis"])
def test_any_layout_gives_the_same_bits(case, dtype):
    geometry = CASES[case][2:]
    x, w, b = arrays(case, dtype)
    shape = ops.conv2d(dl.Tensor(x), dl.Tensor(w), None, *geometry).shape
    gradient = normal(*shape, dtype=dtype, seed=9)
    expected = results(x, w, b, gradient, geometry)
    for (name_x, i), (name_w, j) in itertools.product(layouts(x), layouts(w)):
        for got, e in zip(results(i, j, b, gradient, geometry), expected, strict=True):
            assert np.array_equal(got, e), (name_x, name_w)
    for (name_b, i), (name_g, j) in itertools.product(layouts(b), layouts(gradient)):
        for got, e in zip(results(x, w, i, j, geometry), expected, strict=True):
            assert np.array_equal(got, e), (name_b, name_g)


def test_a_batch_that_was_expanded():
    check_against_torch(
        lambda x, w: ops.conv2d(x.expand(3, -1, -1, -1), w),
        lambda x, w: functional().conv2d(x.expand(3, -1, -1, -1), w),
        normal(1, 2, 5, 4),
        normal(3, 2, 3, 3, seed=1),
    )


@pytest.mark.parametrize(
    ("shapes", "padding"),
    [(((2, 0, 5, 4), (3, 0, 2, 2)), 1), (((2, 3, 0, 4), (3, 3, 2, 2)), 1), (((2, 0, 5, 4), (3, 0, 1, 1)), 0)],
)
def test_no_channels_and_no_pixels(shapes, padding):
    """Such sums have no terms: what is left is the bias."""
    for form in ("reference", "cpu"):
        with dl.use_kernels(form):
            x, w = (dl.Tensor(normal(*shape), True) for shape in shapes)
            b = dl.Tensor(normal(shapes[1][0]), True)
            y = ops.conv2d(x, w, b, padding=padding)
            assert (y.data == b.data[:, None, None]).all()
            y.sum().backward()
            assert (x.grad.shape, w.grad.shape, b.grad.shape) == (*shapes, b.shape)
            assert not x.grad.data.any() and not w.grad.data.any()


def test_memory_is_channels_last():
    x, w = dl.Tensor(normal(2, 3, 5, 4), True), dl.Tensor(normal(6, 3, 3, 3), True)
    y = ops.conv2d(x, w, padding=1)
    y.sum().backward()
    assert y.data.transpose(0, 2, 3, 1).flags.c_contiguous
    assert x.grad.data.transpose(0, 2, 3, 1).flags.c_contiguous
    assert w.grad.data.transpose(2, 3, 1, 0).flags.c_contiguous


def test_inputs_are_not_written_to():
    case = arrays("groups")
    copies = [a.copy() for a in case]
    results(*case, normal(2, 6, 6, 6), (1, 1, 1, 2))
    for a, b in zip(case, copies, strict=True):
        assert np.array_equal(a, b)


def test_only_what_is_needed_is_computed():
    x, w, b = (dl.Tensor(a) for a in arrays("plain"))
    assert not ops.conv2d(x, w, b).requires_grad
    for needy in (x, w, b):
        needy.requires_grad_()
        ops.conv2d(x, w, b).sum().backward()
        assert [t.grad is not None for t in (x, w, b)] == [t is needy for t in (x, w, b)]
        needy.requires_grad_(False).grad = None


def test_a_small_net_gives_the_same_with_the_reference_kernels_and_in_pytorch():
    """Convolution, pooling, a linear layer and cross-entropy, with the gradients of all weights."""
    torch = pytest.importorskip("torch")
    f = torch.nn.functional
    shapes = [(4, 3, 12, 11), (6, 3, 3, 3), (6,), (8, 6, 3, 2), (8,), (5, 32), (5,)]
    values = [normal(*shape, seed=i) for i, shape in enumerate(shapes)]
    target = np.array([0, 4, 2, 1])

    def net(x, w1, b1, w2, b2, w3, b3):
        x = ops.max_pool2d(ops.conv2d(x, w1, b1, padding=1).relu(), 3, 2, 1)
        x = ops.max_pool2d(ops.conv2d(x, w2, b2, stride=(1, 2), padding=(0, 1)).relu(), 2, ceil_mode=True)
        x = ops.linear(x.flatten(1), w3, b3)
        return ops.cross_entropy(x, target, label_smoothing=0.1), ops.softmax(x, 1)

    def torch_net(x, w1, b1, w2, b2, w3, b3):
        x = f.max_pool2d(f.conv2d(x, w1, b1, padding=1).relu(), 3, 2, 1)
        x = f.max_pool2d(f.conv2d(x, w2, b2, stride=(1, 2), padding=(0, 1)).relu(), 2, ceil_mode=True)
        x = f.linear(x.flatten(1), w3, b3)
        return f.cross_entropy(x, torch.tensor(target), label_smoothing=0.1), torch.softmax(x, 1)

    check_against_torch(net, torch_net, *values)
    results = []
    for form in ("reference", "cpu"):
        with dl.use_kernels(form):
            leaves = [dl.Tensor(v, True) for v in values]
            loss, probabilities = net(*leaves)
            loss.backward()
            results.append([loss.data, probabilities.data, *[leaf.grad.data for leaf in leaves]])
    for reference, cpu in zip(*results, strict=True):
        close(cpu, reference, 1e-12)


@pytest.mark.parametrize("form", ["reference", "cpu"])
def test_nan_and_infinity_reach_only_the_windows_that_see_them(form):
    x, w = np.ones((1, 1, 5, 5), np.float32), np.ones((1, 1, 2, 2), np.float32)
    x[0, 0, 0, 0], x[0, 0, 4, 4] = np.nan, np.inf
    with dl.use_kernels(form):
        y = ops.conv2d(dl.Tensor(x), dl.Tensor(w)).numpy()[0, 0]
    assert np.isnan(y[0, 0]) and np.isinf(y[3, 3]) and np.isfinite(y).sum() == 14


def test_infinity_reaches_only_the_weights_that_see_it():
    """Of narrow weights the gradient takes neighbouring pixels together; a pixel's last column is no other's."""
    x, gradient = normal(1, 1, 4, 8), normal(1, 6, 4, 6, seed=3)
    x[0, 0, 2, 7] = np.inf
    gw = {}
    for form in ("reference", "cpu"):
        w = dl.Tensor(normal(6, 1, 1, 3, seed=4), True)
        with dl.use_kernels(form):
            ops.conv2d(dl.Tensor(x), w).backward(gradient)
        gw[form] = w.grad.numpy()
    assert np.isfinite(gw["cpu"][..., :2]).all() and np.isinf(gw["cpu"][..., 2]).all()
    close(gw["cpu"][..., :2], gw["reference"][..., :2], 1e-12)


def test_the_reference_kernel_gives_the_same():
    for case in CASES:
        x, w, b = arrays(case)
        geometry = CASES[case][2:]
        gradient = normal(*ops.conv2d(dl.Tensor(x), dl.Tensor(w), None, *geometry).shape, seed=9)
        expected = results(x, w, b, gradient, geometry)
        with dl.use_kernels("reference"):
            got = results(x, w, b, gradient, geometry)
        for g, e in zip(got, expected, strict=True):
            close(g, e, 1e-12, case)


# ---- errors --------------------------------------------------------------------------------------------------------

X, W = dl.Tensor(np.zeros((2, 4, 6, 5))), dl.Tensor(np.zeros((3, 4, 3, 2)))


@pytest.mark.parametrize(
    "args, options, error, match",
    [
        ((X, dl.Tensor(np.zeros((3, 2, 3, 2)))), {}, ValueError, r"\(=2\) × groups \(=1\) must equal .* \(=4\)"),
        ((X, W), {"groups": 2}, ValueError, r"in_channels of weight \(=4\) × groups \(=2\)"),
        ((X, dl.Tensor(np.zeros((3, 2, 3, 2)))), {"groups": 2}, ValueError, r"\(=3\) must be divisible by .* \(=2\)"),
        ((X, W), {"groups": 0}, ValueError, "groups must be a positive integer, got 0"),
        ((X, W), {"groups": 1.0}, ValueError, "groups must be a positive integer, got 1.0"),
        ((X, W), {"groups": True}, ValueError, "groups must be a positive integer, got True"),
        ((X, W), {"stride": 0}, ValueError, "stride must be at least 1, got 0"),
        ((X, W), {"stride": (1, -1)}, ValueError, r"stride must be at least 1, got \(1, -1\)"),
        ((X, W), {"dilation": 0}, ValueError, "dilation must be at least 1, got 0"),
        ((X, W), {"padding": -1}, ValueError, "padding must be at least 0, got -1"),
        ((X, W), {"stride": 1.5}, TypeError, "stride must be an integer or a pair of integers, got 1.5"),
        ((X, W), {"stride": (1, 2, 3)}, TypeError, r"stride must be an integer or a pair of integers, got \(1, 2, 3\)"),
        ((X, W), {"dilation": None}, TypeError, "dilation must be an integer or a pair of integers, got None"),
        ((X, W), {"padding": (1.0, 1)}, TypeError, r"padding must be an integer or a pair of integers, got \(1.0, 1\)"),
        ((X, W), {"padding": True}, TypeError, "padding must be an integer or a pair of integers, got True"),
        ((X, W), {"padding": "full"}, ValueError, "padding must be a size, 'valid' or 'same', got 'full'"),
        ((X, W), {"padding": "same", "stride": 2}, ValueError, r"padding='same' needs stride 1, got \(2, 2\)"),
        ((X, dl.Tensor(np.zeros((3, 4, 7, 2)))), {}, ValueError, "7×2 pixels .* more than the padded .* 6×5"),
        ((X, W), {"dilation": (3, 1)}, ValueError, "kernel covers 7×2 pixels"),
        ((X, dl.Tensor(np.zeros((3, 4, 0, 2)))), {}, ValueError, "weight must have an output channel and"),
        ((X, dl.Tensor(np.zeros((0, 4, 3, 2)))), {}, ValueError, "weight must have an output channel and"),
        ((dl.Tensor(np.zeros((4, 6))), W), {}, ValueError, r"input must be \(N, C, H, W\) and weight"),
        ((X, dl.Tensor(np.zeros((3, 4, 3)))), {}, ValueError, "input must be"),
        ((X, W.float()), {}, TypeError, "must all be float32 or all float64, got float64, float32"),
        ((X.long(), W.long()), {}, TypeError, "must all be float32 or all float64, got int64, int64"),
        ((X, W, dl.Tensor(np.zeros(3, np.float32))), {}, TypeError, "must all be float32 or all float64"),
        ((X, W, dl.Tensor(np.zeros(4))), {}, ValueError, r"bias must have shape \(3,\), got \(4,\)"),
        ((X, W, dl.Tensor(np.zeros((1, 3)))), {}, ValueError, r"bias must have shape \(3,\), got \(1, 3\)"),
        ((X, W, [0.0, 0.0, 0.0]), {}, TypeError, "not list"),
        (([1.0], W), {}, TypeError, "not list"),
    ],
)  # fmt: skip
def test_errors(args, options, error, match):
    with pytest.raises(error, match=f"conv2d: .*{match}"):
        ops.conv2d(*args, **options)
