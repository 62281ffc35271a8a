"""kernels/_cuda.py: what a launch passes on, what it refuses, and how errors that come late get a name."""

import numpy as np
import pytest

from minidl.kernels import _cuda


@pytest.fixture
def source(monkeypatch, tmp_path):
    """A file of kernels that say what they were given; `boxes<T, 4>` has a second parameter."""
    (tmp_path / "given.cu").write_text("""
    #include "_common.cuh"
    template <typename T> struct Wide { using type = T; };
    template <> struct Wide<half> { using type = float; };
    template <typename T> __global__ void given(T* y, int n, bool flag, unsigned word, typename Wide<T>::type scale,
                                                const T* none) {
      y[blockIdx.x] = n + flag + word + scale + (none != nullptr);
    }
    template <typename T, int N> __global__ void boxes(T* y) { y[0] = N; }
    template <typename T, int N> __global__ void rows(const T* x, T* y, int width, int channels) {
      for (int i = threadIdx.x; i < width * channels / N; i += blockDim.x)
        Pack<T, N>::at(x + blockIdx.x * width * channels + i * N).store_to(y + blockIdx.x * width * channels + i * N);
    }
    template <typename T> __global__ void count(T* y, int size) {
      elementwise(size, [=](int i) { return y[i] + i; }, [=](int i, T value) { y[i] = value; });
    }
    """)
    monkeypatch.setattr(_cuda, "SOURCES", {})
    (tmp_path / "_common.cuh").write_text((_cuda._FOLDER / "_common.cuh").read_text())
    monkeypatch.setattr(_cuda, "_FOLDER", tmp_path)
    return _cuda.Source("given", "given", "boxes<T, 4>", "count", "rows<T, 1>", "rows<T, 4>")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numbers_become_what_kernels_declare(source, dtype, cupy):
    y = cupy.zeros(3, dtype)
    source.launch("given", dtype, (y, 40, True, np.uint32(100), 0.5, None), grid=2)
    np.testing.assert_array_equal(y.get(), [141.5, 141.5, 0])
    source.launch("boxes<T, 4>", dtype, (y,), grid=(1, 1), block=(1, 1, 1))
    assert y.get()[0] == 4


def test_no_blocks_no_launch(source, cupy):
    source.launch("given", "float32", ("no kernel would take this",), threads=0)
    source.launch("given", "float32", ("no kernel would take this",), grid=(3, 0))


def test_the_grid_fills_the_device_and_no_more(source, cupy):
    properties = cupy.cuda.runtime.getDeviceProperties(0)
    blocks = properties["multiProcessorCount"] * (properties["maxThreadsPerMultiProcessor"] // 256)
    y = cupy.zeros(blocks + 1, "float32")
    source.launch("given", "float32", (y, 1, False, np.uint32(0), 0.0, None), threads=10**8, block=256)
    np.testing.assert_array_equal(y.get(), [1] * blocks + [0])
    y[...] = 0
    source.launch("given", "float32", (y, 1, False, np.uint32(0), 0.0, None), threads=513, block=256)
    assert y.get().sum() == 3


@pytest.mark.parametrize("size", [1, 255, 1023, 1024, 1025, 4099])
def test_elementwise_comes_to_each_element_once(source, size, cupy):
    y = cupy.zeros(size + 3, "float64")
    source.launch("count", "float64", (y, size), elements=size)
    np.testing.assert_array_equal(y.get(), [*range(size), 0, 0, 0])


@pytest.mark.parametrize(("channels", "offset"), [(8, 0), (8, 1), (8, 8), (6, 0)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_block_for_each_row_and_four_channels_where_they_lie_at_sixteens(source, channels, offset, dtype, cupy):
    size = 2 * 3 * 50 * channels
    x = cupy.arange(size + 8).astype(dtype)[offset : offset + size].reshape(2, 3, 50, channels)
    y = cupy.zeros(x.shape, dtype)
    source.launch_rows("rows", x, (x, y, 50, channels))
    np.testing.assert_array_equal(y.get(), x.get())
    by_four = channels % 4 == 0 and offset * x.itemsize % 16 == 0
    assert f", {4 if by_four else 1}>" in _cuda._recent[-1]


@pytest.mark.parametrize("value", [7, np.int64(7), np.int16(7)])
def test_integers_of_all_kinds_are_ints(source, value, cupy):
    y = cupy.zeros(1, "float32")
    source.launch("given", "float32", (y, value, np.bool_(True), np.uint32(0), np.float64(0.25), None), grid=1)
    assert y.get() == [8.25]


def test_what_is_too_large_is_refused(source, cupy, monkeypatch):
    y = cupy.zeros(3, "float32")
    with pytest.raises(ValueError, match=r"given\.given<float>: 2147483648 does not fit in an int"):
        source.launch("given", "float32", (y, 2**31, True, np.uint32(0), 0.5, None), grid=1)
    monkeypatch.setattr(_cuda, "MAX_SIZE", 2)
    with pytest.raises(ValueError, match=r"an array of 3 elements; CUDA kernels take at most 2"):
        source.launch("given", "float32", (y, 1, True, np.uint32(0), 0.5, None), grid=1)


def test_an_array_with_gaps_is_refused(source, cupy):
    y = cupy.zeros((3, 2), "float32")[:, 0]
    with pytest.raises(ValueError, match=r"given\.given<float>: an array of shape \(3,\) that is not C-contiguous"):
        source.launch("given", "float32", (y, 1, True, np.uint32(0), 0.5, None), grid=1)


def test_other_types_are_refused(source, cupy):
    with pytest.raises(TypeError, match="take float16, float32 and float64, got int32"):
        source.launch("given", "int32", (), grid=1)


def test_one_file_is_one_source(source):
    with pytest.raises(ValueError, match="'given' is already registered"):
        _cuda.Source("given", "given")


def test_late_errors_name_the_latest_launches(source, cupy):
    y = cupy.zeros(3, "float32")
    for kernel, args in (("given", (y, 1, True, np.uint32(0), 0.5, None)), ("boxes<T, 4>", (y,))):
        source.launch(kernel, "float32", args, grid=1)
    stand_in = pytest.importorskip("stand_in")
    stand_in.work.fault(700)
    with (
        pytest.raises(RuntimeError, match=r"illegal.*given\.given<float>, given\.boxes<float, 4>\)"),
        _cuda.named_errors(),
    ):
        cupy.cuda.get_current_stream().synchronize()


def test_in_blocking_mode_the_very_launch_is_named(source, cupy):
    y = cupy.zeros(3, "float32")
    _cuda.blocking(True)
    try:
        source.launch("boxes<T, 4>", "float32", (y,), grid=1)
        stand_in = pytest.importorskip("stand_in")
        stand_in.work.fault(700)
        with pytest.raises(RuntimeError, match=r"\(in given\.boxes<float, 4>\)"):
            source.launch("boxes<T, 4>", "float32", (y,), grid=1)
    finally:
        _cuda.blocking(False)
