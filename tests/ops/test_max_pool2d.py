"""max_pool2d."""

import itertools

import numpy as np
import pytest
from helpers import check_against_torch, check_second_gradient, distinct, functional, layouts, normal
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import minidl as dl
from minidl import ops

# (N, C, H, W), kernel_size, stride, padding, dilation, ceil_mode
CASES = {
    "2x2": ((2, 3, 6, 8), 2, None, 0, 1, False),
    "2x2, what is left over is dropped": ((2, 3, 7, 9), 2, None, 0, 1, False),
    "2x2, what is left over is kept": ((2, 3, 7, 9), 2, None, 0, 1, True),
    "overlapping": ((2, 3, 7, 9), 3, 2, 0, 1, False),
    "overlapping, ceil_mode": ((2, 3, 8, 10), 3, 2, 0, 1, True),
    "overlapping, padding": ((2, 3, 7, 8), 3, 2, 1, 1, False),
    "greater than the image, ceil_mode": ((2, 3, 2, 2), 3, 2, 0, 1, True),
    "padding, ceil_mode": ((2, 2, 6, 8), 3, 2, 1, 1, True),
    "a last window that starts in the border": ((1, 2, 5, 5), 2, 2, 1, 1, True),
    "stride 1": ((1, 2, 4, 5), (2, 3), 1, (1, 0), 1, False),
    "stride greater than the kernel": ((1, 2, 9, 8), (2, 1), (3, 4), 0, 1, False),
    "stride greater than the kernel, ceil_mode": ((1, 2, 9, 8), (2, 1), (4, 5), 0, 1, True),
    "dilation": ((1, 2, 9, 8), (2, 3), 1, 0, (3, 2), False),
    "dilation, stride, padding": ((2, 2, 10, 9), 3, 2, 1, 2, False),
    "dilation, ceil_mode": ((2, 2, 10, 9), 2, 3, 1, 2, True),
    "1x1": ((1, 2, 4, 3), 1, 1, 0, 1, False),
    "1x1 with stride": ((1, 2, 4, 3), 1, 2, 0, 1, True),
    "the whole image": ((2, 5, 4, 3), (4, 3), None, 0, 1, False),
    "many channels": ((1, 67, 4, 4), 2, None, 0, 1, False),
    "empty batch": ((0, 3, 4, 4), 2, None, 0, 1, False),
}


def same_as_pytorch(x, geometry, second=True):
    check_against_torch(
        lambda x: ops.max_pool2d(x, *geometry, return_indices=True),
        lambda x: functional().max_pool2d(x, *geometry, return_indices=True),
        x,
        second=second,
    )


@pytest.mark.parametrize("case", CASES)
def test_derivatives(case):
    shape, *geometry = CASES[case]
    check_second_gradient(lambda x: ops.max_pool2d(x, *geometry), distinct(*shape))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES)
def test_pytorch_gives_the_same(case, dtype):
    shape, *geometry = CASES[case]
    same_as_pytorch(normal(*shape, dtype=dtype), geometry)


@given(st.data())
@settings(max_examples=100, deadline=None, derandomize=True)
def test_any_geometry(data):
    """Of small whole numbers, so that there are ties; the sizes of the output are PyTorch's as well."""

    def draw(low, high):
        return tuple(data.draw(st.integers(low, high)) for _ in range(2))

    kernel, stride, dilation = draw(1, 4), draw(1, 5), draw(1, 2)
    padding = tuple(data.draw(st.integers(0, k // 2)) for k in kernel)
    size = draw(3, 9)
    assume(all(d * (k - 1) < n + 2 * p for k, d, n, p in zip(kernel, dilation, size, padding, strict=True)))
    shape = (data.draw(st.integers(0, 2)), data.draw(st.integers(1, 3)), *size)
    x = np.random.default_rng(data.draw(st.integers(0, 99))).integers(-2, 3, shape).astype(np.float64)
    same_as_pytorch(x, (kernel, stride, padding, dilation, data.draw(st.booleans())))


@pytest.mark.parametrize("case", ["overlapping, padding", "dilation, ceil_mode", "2x2"])
def test_ties_nan_and_infinities(case):
    """PyTorch's choices: the first of equals, the last NaN of a window; -inf wins against the border."""
    shape, *geometry = CASES[case]
    rng = np.random.default_rng(0)
    for dtype in (np.float32, np.float64):
        x = rng.integers(0, 3, shape).astype(dtype)
        special = rng.choice([np.nan, np.inf, -np.inf, 1.0], shape).astype(dtype)
        for image in (
            x,
            special,
            np.full(shape, -np.inf, dtype),
            np.full(shape, np.nan, dtype),
            np.zeros(shape, dtype),
        ):
            same_as_pytorch(image, geometry)


def test_an_image_without_batch():
    same_as_pytorch(normal(3, 6, 5), (2, 2, 1))
    y = ops.max_pool2d(dl.Tensor(normal(3, 6, 5)), 2)
    assert y.shape == (3, 3, 2)


def test_indices_are_places_in_the_image():
    x = dl.Tensor(distinct(2, 3, 6, 8), True)
    y, indices = ops.max_pool2d(x, 2, return_indices=True)
    assert indices.dtype == np.int64 and not indices.requires_grad
    assert np.array_equal(
        np.take_along_axis(x.data.reshape(2, 3, -1), indices.data.reshape(2, 3, -1), 2), y.data.reshape(2, 3, -1)
    )


def test_overlapping_windows_add_up():
    x = dl.Tensor(np.array([[[[0.0, 0, 0], [0, 5, 0], [0, 0, 0]]]]), True)
    ops.max_pool2d(x, 2, 1).backward(np.array([[[[1.0, 2], [3, 4]]]]))
    assert x.grad.tolist() == [[[[0, 0, 0], [0, 10, 0], [0, 0, 0]]]]


def test_keywords_and_pairs():
    x = dl.Tensor(normal(1, 2, 7, 8))
    a = ops.max_pool2d(x, (3, 3), (2, 2), (1, 1), (1, 1), False)
    assert a.tolist() == ops.max_pool2d(input=x, kernel_size=3, stride=[2], padding=np.int64(1), dilation=1).tolist()
    assert ops.max_pool2d(x.data, 3, 2, 1).tolist() == a.tolist()
    assert ops.max_pool2d(dl.tensor([[[1, 2], [3, 4]]]), 2).item() == 4


@pytest.mark.parametrize("case", ["overlapping, padding", "dilation, ceil_mode"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_any_layout_gives_the_same_bits(case, dtype):
    shape, *geometry = CASES[case]
    x = normal(*shape, dtype=dtype)
    gradient = normal(*ops.max_pool2d(dl.Tensor(x), *geometry).shape, dtype=dtype, seed=1)
    first = None
    for (name_x, i), (name_g, j) in itertools.product(layouts(x), layouts(gradient)):
        leaf = dl.Tensor(i, True)
        y, indices = ops.max_pool2d(leaf, *geometry, return_indices=True)
        y.backward(dl.Tensor(j))
        first = first or (y.data, indices.data, leaf.grad.data)
        for got, expected in zip((y.data, indices.data, leaf.grad.data), first, strict=True):
            assert np.array_equal(got, expected), (name_x, name_g)


def test_memory_is_channels_last():
    x = dl.Tensor(normal(2, 3, 6, 4), True)
    y = ops.max_pool2d(x, 2)
    y.sum().backward()
    assert y.data.transpose(0, 2, 3, 1).flags.c_contiguous and x.grad.data.transpose(0, 2, 3, 1).flags.c_contiguous


def test_the_reference_kernel_gives_the_same_bits():
    for case in CASES:
        shape, *geometry = CASES[case]
        results = []
        for form in ("reference", "cpu"):
            with dl.use_kernels(form):
                x = dl.Tensor(normal(*shape), True)
                y, indices = ops.max_pool2d(x, *geometry, return_indices=True)
                y.backward(normal(*y.shape, seed=1))
                results.append((y.data, indices.data, x.grad.data))
        for a, b in zip(*results, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-14, err_msg=case)


@pytest.mark.parametrize("geometry", [(2,), (3, 2), (3, 2, 1), (2, 3, 1, 2, True), (3, 1, 1)])
@pytest.mark.parametrize("channels", [5, 40])
def test_gradients_do_not_depend_on_threads_nor_on_the_bands(geometry, channels):
    """One large image is cut into bands; the reference is the sum that it is."""
    x = normal(1, channels, 83, 90, dtype=np.float32)
    threads, found = dl.get_num_threads(), []
    try:
        for count in {1, threads}:
            dl.set_num_threads(count)
            leaf = dl.Tensor(x, True)
            y, indices = ops.max_pool2d(leaf, *geometry, return_indices=True)
            gradient = normal(*y.shape, dtype=np.float32, seed=1)
            y.backward(gradient)
            found.append(leaf.grad.data)
    finally:
        dl.set_num_threads(threads)
    expected = np.zeros((channels, 83 * 90), np.float32)
    for c in range(channels):
        np.add.at(expected[c], indices.data[0, c].reshape(-1), gradient[0, c].reshape(-1))
    for got in found:
        assert np.array_equal(got.reshape(channels, -1), expected)


# ---- errors --------------------------------------------------------------------------------------------------------

X = dl.Tensor(np.zeros((2, 4, 6, 5)))


@pytest.mark.parametrize(
    "args, options, error, match",
    [
        ((X, 7), {}, ValueError, "a window of 7×7 .* does not fit the input's 6×5 pixels"),
        ((X, (3, 6)), {}, ValueError, "a window of 3×6 .* does not fit"),
        ((X, 3), {"dilation": 3}, ValueError, r"a window of 3×3 \(dilation \(3, 3\)\) does not fit"),
        ((X, 2), {"padding": 2}, ValueError, r"padding \(2, 2\) must be at most half of kernel_size \(2, 2\)"),
        ((X, 3), {"padding": (1, 2)}, ValueError, r"padding \(1, 2\) must be at most half of kernel_size \(3, 3\)"),
        ((X, 2), {"padding": 2, "dilation": 3}, ValueError, "must be at most half of kernel_size"),
        ((X, 0), {}, ValueError, "kernel_size must be at least 1, got 0"),
        ((X, 2), {"stride": 0}, ValueError, "stride must be at least 1, got 0"),
        ((X, 2), {"dilation": (1, 0)}, ValueError, r"dilation must be at least 1, got \(1, 0\)"),
        ((X, 2), {"padding": -1}, ValueError, "padding must be at least 0, got -1"),
        ((X, 2.0), {}, TypeError, "kernel_size must be an integer or a pair of integers, got 2.0"),
        ((X, (1, 2, 3)), {}, TypeError, r"kernel_size must be an integer or a pair of integers, got \(1, 2, 3\)"),
        ((X, "2"), {}, TypeError, "kernel_size must be an integer or a pair of integers, got '2'"),
        ((dl.Tensor(np.zeros((6, 5))), 2), {}, ValueError, r"input must be \(N, C, H, W\) or .* shape \(6, 5\)"),
        ((dl.Tensor(np.zeros((2, 4, 0, 5))), 2), {"padding": 1}, ValueError, "sees none of the input's 0"),
        ((dl.Tensor(np.zeros((2, 4, 0, 5))), 1), {}, ValueError, "does not fit the input's 0×5 pixels"),
        ((X[:, :, :2], 2), {"padding": 1, "dilation": (3, 1)}, ValueError, "dilation 3 .* sees none of the input's 2"),
        ((X.astype("float16"), 2), {}, TypeError, "input must be float32 or float64, got float16"),
        ((X.astype("complex64"), 2), {}, TypeError, "input must be float32 or float64, got complex64"),
        (([[1.0]], 2), {}, TypeError, "not list"),
    ],
)  # fmt: skip
def test_errors(args, options, error, match):
    with pytest.raises(error, match=f"max_pool2d: .*{match}"):
        ops.max_pool2d(*args, **options)
