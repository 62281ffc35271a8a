"""conv2d in CUDA C: what its samples alone do not show, the choice of an algorithm and of the size of a tile."""

import numpy as np
import pytest
from checks import assert_close
from emulator import execution

from minidl.kernels import _cuda, conv2d, conv_transpose2d, exact_convolution
from minidl.kernels.conv2d import gpu, reference

GEOMETRY = (2, 1), (1, 2), (1, 2), 2  # stride, padding, dilation, groups
DIRECTIONS = ("forward", "input_grad", "weight_grad")


def arrays(rng, dtype, n, h, w, c, o, k, stride, padding, dilation, groups):
    oh = (h + 2 * padding[0] - dilation[0] * (k - 1) - 1) // stride[0] + 1
    ow = (w + 2 * padding[1] - dilation[1] * (k - 1) - 1) // stride[1] + 1
    shapes = (n, h, w, c), (k, k, c // groups, o), (n, oh, ow, o), (o,)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def run(direction, x, w, gy, bias, geometry, cupy, form="gpu"):
    """What a direction gives, and the names of the kernels that ran."""
    of = {
        "forward": ((x, w, bias), np.empty_like(gy)),
        "input_grad": ((gy, w), np.empty_like(x)),
        "weight_grad": ((x, gy), np.empty_like(w)),
    }
    inputs, y = of[direction]
    if form == "reference":
        getattr(reference, direction)(*inputs, *geometry, y)
        return y
    y = cupy.asarray(y)
    y.fill(np.nan)
    _cuda._recent.clear()
    getattr(conv2d, direction).gpu(*map(cupy.asarray, inputs), *geometry, y)
    return y.get(), " ".join(_cuda._recent)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_all_tiles_give_the_same_bits(cupy, monkeypatch, direction, dtype):
    """Which tile is best depends on the device; which order an element's terms are added in must not."""
    case = arrays(np.random.default_rng(0), dtype, 2, 13, 11, 140, 138, 3, *GEOMETRY)
    results = {}
    for (s, w), order in ((((4, 4), "forward")), ((8, 4), "reverse"), ((8, 8), "forward"), ((8, 8), 2)):
        monkeypatch.setattr(gpu, "_TILES", {(s, w): 1.0})
        with execution(order=order):
            got, names = run(direction, *case, GEOMETRY, cupy)
        assert f", {s}, {w}>" in names
        results[got.tobytes()] = got
    assert len(results) == 1
    assert_close([got], [run(direction, *case, GEOMETRY, cupy, "reference")], dtype, "")


@pytest.mark.parametrize("tile", [(8, 4), (8, 8)], ids=str)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_large_tiles_have_no_races(cupy, monkeypatch, direction, tile):
    monkeypatch.setattr(gpu, "_TILES", {tile: 1.0})
    case = arrays(np.random.default_rng(0), "float32", 1, 9, 8, 132, 134, 2, *GEOMETRY)
    with execution(sanitizer="thread"):
        _, names = run(direction, *case, GEOMETRY, cupy)
    assert f", {tile[0]}, {tile[1]}>" in names


# Of products (rows, columns): what was fastest on an H200, which has 132 multiprocessors (docs/gpu.md).
@pytest.mark.parametrize(
    ("rows", "columns", "products", "fastest"),
    [
        (50176, 64, 1, "8, 4"),  # 3×3, 64 channels, 16 images of 56²
        (12544, 512, 1, "8, 8"),  # 1×1 stride 2, 256 to 512
        (200704, 64, 1, "8, 4"),  # 7×7 stride 2, 3 to 64, of 224²
        (576, 64, 56, "4, 4"),  # its weights' gradient, of 56² in 56 parts
        (1152, 128, 14, "8, 8"),  # that of 128 channels
        (784, 512, 1, "4, 4"),  # 3×3 stride 2, 512 channels, of 14²
    ],
)
def test_the_tile_is_the_fastest(monkeypatch, rows, columns, products, fastest):
    launched = []
    monkeypatch.setattr(_cuda, "multiprocessors", lambda: 132)
    monkeypatch.setattr(gpu._CUDA, "launch", lambda kernel, *args, **sizes: launched.append(kernel))
    gpu._launch("forward", np.float32, rows, columns, products, ())
    assert launched == [f"forward<T, {fastest}>"]


def test_the_weights_gradient_is_summed_in_parts_of_the_sizes_alone(cupy, monkeypatch):
    """2,600 pixels in 10 parts of 260. The first product is so large that what its part adds to it, 1 each, is lost."""
    geometry = (1, 1), (0, 0), (1, 1), 1
    x, w, gy, bias = arrays(np.random.default_rng(0), "float32", 1, 52, 50, 2, 3, 1, *geometry)
    x[...] = gy[...] = 1
    x[0, 0, 0] = 2**24
    for multiprocessors in (132, 1):
        monkeypatch.setattr(_cuda, "multiprocessors", lambda count=multiprocessors: count)
        gw = cupy.asarray(w)
        gpu.weight_grad(*map(cupy.asarray, (x, gy)), *geometry, gw)
        assert (gw.get() == 2**24 + 9 * 260).all()


WINOGRAD = (1, 1), (1, 0), (1, 1), 1


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_winograds_algorithm_in_several_runs_of_tiles(cupy, monkeypatch, direction, dtype):
    case = arrays(np.random.default_rng(0), dtype, 3, 21, 19, 97, 96, 3, *WINOGRAD)
    monkeypatch.setattr(gpu, "_AT_ONCE", 36 * (97 + 96) * 31)  # 31 tiles of 90
    got, names = run(direction, *case, WINOGRAD, cupy)
    assert names.count("winograd.pixels") == 3
    wide = [a.astype("float32") if dtype == "float16" else a for a in case]
    assert_close([got], [run(direction, *wide, WINOGRAD, cupy, "reference")], dtype, "")


@pytest.mark.parametrize("padding", [(0, 1), (3, 4)])
def test_a_transposed_convolution_by_winograds_algorithm(cupy, padding):
    """It begins with the bias; a padding beyond the window takes pixels away from the border."""
    rng = np.random.default_rng(0)
    shapes = (1, 34, 36, 96), (3, 3, 97, 96), (97,), (1, 36 - 2 * padding[0], 38 - 2 * padding[1], 97)
    x, w, bias, y = (rng.standard_normal(shape) for shape in shapes)
    geometry = (1, 1), padding, (1, 1), 1
    expected = np.empty_like(y)
    conv_transpose2d.forward.reference(x, w, bias, *geometry, expected)
    _cuda._recent.clear()
    on_device = [cupy.asarray(a) for a in (x, w, bias)]
    conv_transpose2d.forward.gpu(*on_device, *geometry, got := cupy.asarray(y))
    assert "winograd" in " ".join(_cuda._recent)
    assert_close([got.get()], [expected], "float64", "")


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_exact_convolution_does_without_winograds_algorithm(cupy, direction):
    case = arrays(np.random.default_rng(0), "float32", 1, 32, 32, 96, 96, 3, *WINOGRAD)
    with exact_convolution():
        exact, names = run(direction, *case, WINOGRAD, cupy)
    assert "winograd" not in names
    quick, names = run(direction, *case, WINOGRAD, cupy)
    assert "winograd" in names
    assert exact.tobytes() != quick.tobytes()
    assert_close([quick], [exact], "float32", "")


def test_relu_lets_a_nan_through(cupy):
    geometry = (1, 1), (0, 0), (1, 1), 1
    for c, o, k, size in ((3, 2, 2, 4), (256, 2, 1, 4), (96, 96, 3, 34)):  # the formula, a matrix product, Winograd's
        x, w, gy, bias = arrays(np.random.default_rng(0), "float32", 1, size, size, c, o, k, *geometry)
        x[0, 0, 0, 0] = np.nan
        y = cupy.asarray(gy)
        conv2d.forward_relu.gpu(*map(cupy.asarray, (x, w, bias)), *geometry, y)
        y = y.get()
        assert np.isnan(y[0, 0, 0]).all()
        assert np.nanmin(y) == 0


@pytest.fixture
def multiplied(cupy, monkeypatch):
    """The CuPy arrays that np.matmul is given: operands and results."""
    given, matmul = [], np.matmul

    def spy(a, b, **out):
        given.extend(array for array in (a, b, *out.values()) if isinstance(array, cupy.ndarray))
        return matmul(a, b, **out)

    monkeypatch.setattr(np, "matmul", spy)
    return given


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_cupy_copies_no_operand_of_a_1x1_kernels_product(cupy, multiplied, direction):
    """Two matrices it takes transposed; of a stack of them it would make copies in row-major order."""
    geometry = (1, 1), (0, 0), (1, 1), 1
    case = arrays(np.random.default_rng(0), "float32", 2, 5, 4, 256, 7, 1, *geometry)
    got, _ = run(direction, *case, geometry, cupy)
    assert [a.ndim for a in multiplied] == [2, 2, 2]
    assert all(a.flags.c_contiguous or a.T.flags.c_contiguous for a in multiplied)
    assert_close([got], [run(direction, *case, geometry, cupy, "reference")], "float32", "")


def test_winograds_transformed_weights_come_as_the_product_takes_them(cupy, multiplied):
    case = arrays(np.random.default_rng(0), "float32", 2, 28, 28, 97, 96, 3, *WINOGRAD)
    run("input_grad", *case, WINOGRAD, cupy)
    assert multiplied and all(a.flags.c_contiguous for a in multiplied)
