"""The stand-in refuses what CuPy refuses, and differs from NumPy where CuPy does. Without a GPU alone: see conftest.py.

What CuPy does was read in its source and, where that needs no driver, tried on CuPy 14.2 itself.
"""

import numpy as np
import pytest
import stand_in


@pytest.fixture
def cupy():
    yield stand_in.install()
    stand_in.uninstall()


@pytest.fixture
def x(cupy):
    return cupy.asarray(np.arange(6.0).reshape(2, 3))


REFUSED = {
    "conversion to NumPy": (lambda c, x: np.asarray(x), TypeError, "Implicit conversion to a NumPy array"),
    "a copy to NumPy": (lambda c, x: np.ascontiguousarray(x), TypeError, "Implicit conversion"),
    "NumPy's array on the right": (lambda c, x: x + np.ones(3), TypeError, "Unsupported type <class 'numpy.ndarray'>"),
    "NumPy's array on the left": (lambda c, x: np.ones(3) + x, TypeError, "Unsupported type"),
    "NumPy's 0-d array": (lambda c, x: np.maximum(x, np.zeros(())), TypeError, "Unsupported type"),
    "NumPy's array among several": (lambda c, x: np.concatenate([x, np.ones((1, 3))]), TypeError, "Unsupported type"),
    "NumPy's array in where": (lambda c, x: np.where(x > 2, x, np.ones(3)), TypeError, "Unsupported type"),
    "NumPy's array as value": (lambda c, x: x.__setitem__(..., np.ones(3)), ValueError, "cannot be used for fill"),
    "NumPy's array to copy from": (lambda c, x: np.copyto(x, np.ones(3)), ValueError, "cannot be used for copyto"),
    "NumPy's array to write to": (lambda c, x: np.add(x, x, out=np.ones((2, 3))), TypeError, "must be cupy.ndarray"),
    "a ufunc CuPy lacks": (lambda c, x: np.spacing(x), TypeError, "returned NotImplemented"),
    "a function CuPy lacks": (lambda c, x: np.block([x, x]), TypeError, "no implementation found"),
    "a module's function CuPy lacks": (lambda c, x: np.emath.log(x), TypeError, "no implementation found"),
    "a name CuPy lacks": (lambda c, x: c.block, AttributeError, "block"),
    "a ufunc's argument": (lambda c, x: np.add(x, x, where=x > 1), TypeError, "Wrong arguments"),
    "a function's argument": (lambda c, x: np.sum(x, where=x > 1), TypeError, "'where'"),
    "a method's argument": (lambda c, x: x.max(initial=0), TypeError, "'initial'"),
    "ones beside an array": (lambda c, x: np.ones(2, like=x), TypeError, "'device'"),
    "another reduction": (lambda c, x: np.maximum.reduce(x), NotImplementedError, "cupy_maximum.reduce"),
    "add.at with a tuple": (lambda c, x: np.add.at(x, (c.arange(2), 0), 1.0), TypeError, "returned NotImplemented"),
    "a loop CuPy lacks": (lambda c, x: np.floor(x.astype(complex)), TypeError, "Wrong type"),
    "an unstable sort": (lambda c, x: np.argsort(x, kind="quicksort"), ValueError, "kind can only be None or 'stable'"),
    "the extremum of no element": (lambda c, x: np.max(c.zeros((0, 3)), axis=1), ValueError, "no identity"),
    "an index of floats": (lambda c, x: x[c.asarray([0.5])], IndexError, "integer or boolean type"),
    "two masks": (lambda c, x: x[x[:, 0] > 0, x[0] > 0], NotImplementedError, "one boolean array"),
    "an integer out of range": (lambda c, x: x[2], IndexError, "out of bounds"),
    "a flag": (lambda c, x: x.flags.writeable, AttributeError, "writeable"),
    "use as a key": (lambda c, x: {x: 1}, TypeError, "unhashable"),
    "use as an integer": (lambda c, x: [1, 2][c.asarray(0)], TypeError, "indices must be integers"),
    "an array of objects": (lambda c, x: c.asarray(np.array([None])), ValueError, "Unsupported dtype"),
    "a write to repeated elements": (lambda c, x: c.broadcast_to(x, (2, 2, 3)).fill(0), ValueError, "read-only"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(cupy, x, name):
    call, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        call(cupy, x)


def test_indices_wrap_around_and_of_values_that_meet_the_first_stands(cupy, x):
    assert x[cupy.asarray([2, -1])].get().tolist() == [[0, 1, 2], [3, 4, 5]]
    assert x[:, [3, 5]].get().tolist() == [[0, 2], [3, 5]]
    assert cupy.take(x, cupy.asarray([6, 7])).get().tolist() == [0, 1]
    x[cupy.asarray([0, 2]), 0] = cupy.asarray([7.0, 8.0])
    assert x[:, 0].get().tolist() == [7, 3]


def test_results_are_arrays_of_the_device_also_where_numpy_makes_numbers(cupy, x):
    for y in (x.sum(), x[0, 1], np.max(x), x.argmax(), np.add.reduce(x, (0, 1)), x > 2, np.isfinite(x).all()):
        assert type(y) is cupy.ndarray
    assert x.sum().shape == x[0, 1].shape == ()
    x[0, 1] = 9.0
    assert x[0, 1].item() == float(x[0, 1]) == 9


def test_views_share_memory_and_name_their_base(cupy, x):
    for view in (x[0], x.T, x[:, None], x.reshape(-1), x[0][1:], np.moveaxis(x, 0, 1), np.diagonal(x), np.flip(x, 0)):
        assert view.base is x
        assert np.may_share_memory(view, x)
    for copy in (x + 0, x.copy(), x[[0]], np.concatenate([x, x]), x.T.reshape(-1)):
        assert not np.may_share_memory(copy, x)
    np.diagonal(x)[...] = 5.0
    assert x[1, 1].item() == 5


def test_results_lie_in_rows_whatever_went_in_but_for_copies(cupy, x):
    for y in (x.T + 1, np.where(x.T > 0, x.T, 0.0), np.concatenate([x.T, x.T]), x.T[[0, 1]], x.T.copy()):
        assert y.flags.c_contiguous
    for y in (x.T.copy(order="K"), np.empty_like(x.T), np.zeros_like(x.T), x.T.astype("f4")):
        assert not y.flags.c_contiguous and y.flags.f_contiguous


def test_fresh_memory_is_nan(cupy):
    assert np.isnan(cupy.empty((2, 3)).get()).all() and np.isnan(np.empty_like(cupy.zeros(3)).get()).all()
    assert (np.abs(cupy.empty(3, np.int64).get()) > 1e9).all()


def test_kinds_of_numbers(cupy, x):
    half, single = x.astype(np.float16), x.astype(np.float32)
    assert (single + 1.5).dtype == np.float32 and (half + 1).dtype == np.float16  # a Python number gives way
    assert (single + np.float64(1)).dtype == (single + x).dtype == np.float64
    assert (x.astype(np.int32) / 2).dtype == np.float64 and np.floor(x.astype(np.int32)).dtype == np.int32
    assert np.true_divide(single, 0).get()[1, 2] == np.inf  # without a warning


def test_memory_is_counted(cupy):
    pool = cupy.get_default_memory_pool()
    before = pool.used_bytes()
    x = cupy.zeros(1000)
    view = x[1:]
    assert pool.used_bytes() - before == 8192  # in blocks of 512
    del x
    assert pool.used_bytes() - before == 8192
    del view
    assert pool.used_bytes() == before and pool.total_bytes() >= before + 8192
    pool.free_all_blocks()
    assert pool.total_bytes() == before


def test_a_fault_shows_where_the_host_waits(cupy, x):
    stand_in.work.fault(700)
    y = x + 1  # is queued
    device, stream = cupy.cuda.Device(0), cupy.cuda.Stream.null
    for wait in (y.get, y.item, device.synchronize, stream.synchronize, lambda: bool(y[0, 0])):
        with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="cudaErrorIllegalAddress"):
            wait()
    stand_in.work.recover()
    assert y[0, 0].item() == 1


def test_what_cannot_be_captured_fails_and_the_capture_with_it(cupy, x):
    stream, error, mask = cupy.cuda.Stream(non_blocking=True), cupy.cuda.runtime.CUDARuntimeError, x > 0
    with pytest.raises(RuntimeError, match="cannot capture on the default"):
        cupy.cuda.Stream.null.begin_capture()
    waits = dict.fromkeys(
        (stream.synchronize, lambda: stream.done, cupy.cuda.Device(0).synchronize, x.argsort, stream.begin_capture),
        "cudaErrorStreamCaptureUnsupported",
    )
    for wait, message in {**waits, lambda: stream.record().synchronize(): "cudaErrorCapturedEvent"}.items():
        with stream:
            stream.begin_capture()
            with pytest.raises(error, match=message):
                wait()
            with pytest.raises(error, match="cudaErrorStreamCaptureInvalidated"):
                stream.end_capture()
    with stream:
        stream.begin_capture()
        for call in (lambda: x @ x.T, lambda: cupy.dot(x, x.T), lambda: cupy.einsum("ij->i", x)):
            with pytest.raises(NotImplementedError, match="calling cuBLAS API during stream capture"):
                call()
        for call in (lambda: cupy.asarray([1]), lambda: x[[0]], lambda: x.set(np.ones((2, 3)))):
            with pytest.raises(RuntimeError, match="the stand-in: .* while a graph is captured"):
                call()
        for call in (x.get, lambda: x[mask], lambda: bool(x[0, 0])):  # CuPy refuses: CUDA does not come to know
            with pytest.raises(RuntimeError, match="capturing, so D2H transfers are disallowed"):
                call()
        x += 1
        graph = stream.end_capture()
    assert x[0, 0].get() == 0
    graph.launch()
    graph.launch(stream)
    assert x[0, 0].get() == 2


def test_a_graph_whose_memory_may_be_anothers_is_not_launched(cupy, x):
    def graph(of):
        stream = cupy.cuda.Stream(non_blocking=True)
        with stream:
            stream.begin_capture()
            y = of(x)
            return stream.end_capture(), y

    good, y = graph(lambda x: x + 1)
    good.launch()
    assert y[0, 0].get() == 1
    del y
    own = cupy.cuda.MemoryPool()
    with cupy.cuda.using_allocator(own.malloc):
        also_good, y = graph(lambda x: (x + 1) * 2)
    also_good.launch()
    assert y[0, 0].get() == 2
    bad, y = graph(lambda x: (x + 1) * 2)  # the sum has gone back to the pool that all share
    del own
    for lost in (good, also_good, bad):
        with pytest.raises(RuntimeError, match="this graph uses memory that was given back"):
            lost.launch()


def test_without_a_device_every_call_fails():
    cupy = stand_in.install(devices=0, driver=0)
    assert not cupy.is_available() and cupy.cuda.runtime.driverGetVersion() == 0
    calls = (cupy.cuda.Stream, cupy.cuda.Event, lambda: cupy.zeros(3), lambda: cupy.asarray([1]),
             cupy.cuda.runtime.getDeviceCount, lambda: cupy.cuda.alloc_pinned_memory(8))  # fmt: skip
    for call in calls:
        with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="cudaErrorInsufficientDriver"):
            call()
    stand_in.uninstall()


@pytest.mark.usefixtures("emulator")
def test_a_kernel_takes_arrays_of_the_device_alone(cupy, x):
    code = "__global__ void twice(const double* x, double* y, int n) { for (int i = 0; i < n; i++) y[i] = 2 * x[i]; }"
    kernel = cupy.RawModule(code=code, name_expressions=("twice",)).get_function("twice")
    y = cupy.empty(6)
    kernel((1,), (1,), (x, y, np.int32(6)))
    assert y.get().tolist() == [0, 2, 4, 6, 8, 10]
    with pytest.raises(TypeError, match="Unsupported type <class 'numpy.ndarray'>"):
        kernel((1,), (1,), (np.zeros(6), y, np.int32(6)))
