"""conv_transpose2d."""

import numpy as np
import pytest
from helpers import (
    check_against_torch,
    check_second_gradient,
    functional,
    normal,
    same_on_all_forms_threads_and_layouts,
)
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import minidl as dl
from minidl import ops


def check(shapes, geometry, dtype=np.float64, second=True):
    check_against_torch(
        lambda x, w, b=None: ops.conv_transpose2d(x, w, b, *geometry),
        lambda x, w, b=None: functional().conv_transpose2d(x, w, b, *geometry),
        *(normal(*shape, dtype=dtype, seed=i) for i, shape in enumerate(shapes)),
        second=second,
    )


@given(st.data())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_any_geometry(data):
    def draw(low, high):
        return tuple(data.draw(st.integers(low, high)) for _ in range(2))

    groups, (n, _) = data.draw(st.integers(1, 3)), draw(0, 2)
    c, o = draw(1, 4)
    kernel, stride, padding, dilation, size = draw(1, 4), draw(1, 4), draw(0, 3), draw(1, 3), draw(1, 5)
    extra = tuple(data.draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True))
    assume(
        all(
            (m - 1) * s - 2 * p + d * (k - 1) + e + 1 > 0
            for m, s, p, d, k, e in zip(size, stride, padding, dilation, kernel, extra, strict=True)
        )
    )
    shapes = (n, c * groups, *size), (c * groups, o, *kernel), (o * groups,)
    check(shapes, (stride, padding, extra, groups, dilation))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("channels", [1, 3, 8, 16, 17, 33, 67])
def test_any_number_of_channels(channels, dtype):
    for c, o in ((channels, 3), (3, channels)):
        check([(2, c, 3, 4), (c, o, 3, 2), (o,)], (2, 1, 1), dtype, second=False)


@pytest.mark.parametrize("geometry", [(), (2, 1, 1), ((1, 3), (1, 0), 0, 2), (1, 0, 1, 1, 2), (4,)])
def test_derivatives(geometry):
    groups = geometry[3] if len(geometry) > 3 else 1
    check_second_gradient(
        lambda x, w, b: ops.conv_transpose2d(x, w, b, *geometry),
        normal(1, 2, 3, 2), normal(2, 2, 3, 2, seed=1), normal(2 * groups, seed=2),
    )  # fmt: skip


def test_one_pixel_stamps_the_kernel():
    x, w = np.zeros((1, 1, 2, 2)), np.arange(1.0, 5).reshape(1, 1, 2, 2)
    x[0, 0, 1, 0] = 10
    y = ops.conv_transpose2d(dl.Tensor(x), dl.Tensor(w), dl.Tensor([0.5]).double(), 2)
    assert y.tolist() == [[[[0.5] * 4, [0.5] * 4, [10.5, 20.5, 0.5, 0.5], [30.5, 40.5, 0.5, 0.5]]]]


def test_it_is_the_transpose_of_conv2d():
    """<conv(a), b> = <a, conv_transpose(b)>."""
    w = dl.Tensor(normal(5, 3, 3, 2, seed=1))
    a, b = dl.Tensor(normal(2, 3, 8, 7, seed=2)), dl.Tensor(normal(2, 5, 4, 4, seed=3))
    left = (ops.conv2d(a, w, None, 2, 1) * b).sum().item()
    right = (a * ops.conv_transpose2d(b, w, None, 2, 1, (1, 1))).sum().item()
    assert left == pytest.approx(right, rel=1e-12)


def test_forms_threads_and_layouts():
    def f(x, w, b):
        return ops.conv_transpose2d(x, w, b, 2, 1, 1)

    def arrays(n, c, o, size, dtype):
        return [normal(n, c, size, size + 1, dtype=dtype), normal(c, o, 3, 3, dtype=dtype), normal(o, dtype=dtype)]

    same_on_all_forms_threads_and_layouts(f, arrays(2, 3, 4, 4, np.float64), arrays(1, 30, 20, 40, np.float32))


def test_an_image_without_batch_and_no_bias():
    check([(3, 4, 5), (3, 2, 3, 3)], (2, 1, 1))


X, W = dl.Tensor(np.zeros((2, 4, 6, 5))), dl.Tensor(np.zeros((4, 3, 3, 2)))


@pytest.mark.parametrize(
    "args, options, error, match",
    [
        ((X, dl.Tensor(np.zeros((3, 4, 3, 2)))), {}, ValueError, r"weight \(=3\) must equal the input's .* \(=4\)"),
        ((X, W), {"groups": 3}, ValueError, r"\(=4\) must be divisible by groups \(=3\)"),
        ((X, W), {"groups": 0}, ValueError, "groups must be a positive integer, got 0"),
        ((X, W), {"stride": 0}, ValueError, "stride must be at least 1, got 0"),
        ((X, W), {"padding": -1}, ValueError, "padding must be at least 0, got -1"),
        ((X, W), {"padding": 4}, ValueError, r"padding \(4, 4\) leaves an output of 0×-2 pixels"),
        ((X, W), {"output_padding": 1}, ValueError, r"output_padding \(1, 1\) must be less than stride \(1, 1\)"),
        ((X, W, dl.Tensor(np.zeros(4))), {}, ValueError, r"bias must have shape \(3,\), got \(4,\)"),
        ((X, W.float()), {}, TypeError, "must all be float32 or all float64, got float64, float32"),
        ((X[:, :, :0], W), {}, ValueError, "the input must have pixels"),
        ((X[0, 0], W), {}, ValueError, "input must be"),
    ],
)  # fmt: skip
def test_errors(args, options, error, match):
    with pytest.raises(error, match=f"conv_transpose2d: .*{match}"):
        ops.conv_transpose2d(*args, **options)
