"""Operations that have no gradient, comparisons, logic, places, whole numbers, give on the GPU what NumPy gives."""

import numpy as np
import pytest

import minidl as dl
from minidl import ops

NUMBERS = np.array([[2.5, -1.0, 0.0, 2.5, 3.5], [np.nan, np.inf, -np.inf, -0.0, -2.5], [1.5, 1.5, -7.0, 0.5, 9.0]])
OTHERS = np.array([[2.5, 1.0, -0.0, 2.0, 0.5], [np.nan, np.inf, np.inf, 1.0, -2.5], [4.0, 1.5, -2.0, 0.5, -3.0]])
FINITE = np.nan_to_num(NUMBERS, nan=1.5, posinf=4, neginf=-4)
WHOLE, WORDS = np.array([[6, -7, 0, 1], [3, 3, -1, 12]]), np.array([[5, 2, 1, 1], [-3, 4, 7, 10]])
TRUE = WHOLE > 0
EMPTY, ONE = np.zeros((0, 3)), np.array(2.5)

# name -> the arguments that are arrays, others by name, and NumPy's answer to them all
ONE_ARRAY = {
    "isfinite": np.isfinite, "isinf": np.isinf, "isnan": np.isnan, "logical_not": np.logical_not,
    "ceil": np.ceil, "floor": np.floor, "round": np.round, "sign": np.sign, "trunc": np.trunc,
}  # fmt: skip
TWO_ARRAYS = {
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
    "logical_and": np.logical_and, "logical_or": np.logical_or,
    "floor_divide": np.floor_divide, "isclose": np.isclose,
}  # fmt: skip
OF_WHOLE = {"bitwise_and": np.bitwise_and, "bitwise_or": np.bitwise_or, "bitwise_xor": np.bitwise_xor}


def on_gpu(name, *arrays, **options):
    """The operation's results, as NumPy arrays."""
    y = getattr(ops, name)(*(dl.Tensor(a).to("cuda") for a in arrays), **options)
    results = y if isinstance(y, tuple) else (y,)
    assert all(r.device == "cuda:0" for r in results if isinstance(r, dl.Tensor))
    results = [r.cpu().numpy() if isinstance(r, dl.Tensor) else r for r in results]
    return results if isinstance(y, tuple) else results[0]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", [*ONE_ARRAY, *TWO_ARRAYS])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_elementwise(cupy, name, dtype):
    """floor_divide by zero is inf or NaN as in NumPy; round takes the even one of two."""
    one = name in ONE_ARRAY
    for arrays in ((NUMBERS, OTHERS), (FINITE, OTHERS[0]), (EMPTY, EMPTY), (ONE, OTHERS)):
        arrays = [a.astype(dtype) for a in arrays[: 1 if one else 2]]
        expected = (ONE_ARRAY if one else TWO_ARRAYS)[name](*arrays)
        got = on_gpu(name, *arrays)
        np.testing.assert_array_equal(got, expected)
        assert got.dtype == expected.dtype


@pytest.mark.parametrize("name", [*OF_WHOLE, "bitwise_not"])
def test_bits(cupy, name):
    for arrays in ((WHOLE, WORDS), (TRUE, WORDS > 1)):
        expected = ~arrays[0] if name == "bitwise_not" else OF_WHOLE[name](*arrays)
        np.testing.assert_array_equal(on_gpu(name, *arrays[: 1 if name == "bitwise_not" else 2]), expected)


@pytest.mark.parametrize("dim", [None, 0, -1])
def test_reductions(cupy, dim):
    options = {} if dim is None else {"dim": dim}
    for name, of, array in (
        ("all", np.all, TRUE), ("any", np.any, TRUE), ("count_nonzero", np.count_nonzero, WHOLE),
        ("argmax", np.argmax, FINITE), ("argmin", np.argmin, FINITE),
    ):  # fmt: skip
        np.testing.assert_array_equal(on_gpu(name, array, **options), of(array, axis=dim), err_msg=name)
    assert on_gpu("argmax", NUMBERS) == 5 == on_gpu("argmin", NUMBERS)  # the NaN, as in NumPy


def test_places(cupy):
    """Of equal elements the first comes first."""
    np.testing.assert_array_equal(on_gpu("argsort", FINITE, stable=True), np.argsort(FINITE, 1, kind="stable"))
    np.testing.assert_array_equal(on_gpu("argwhere", WHOLE), np.argwhere(WHOLE))
    np.testing.assert_array_equal(on_gpu("nonzero", WHOLE), np.argwhere(WHOLE))
    for name, places in (("max", FINITE.argmax(1)), ("min", FINITE.argmin(1))):
        values, where = on_gpu(name, FINITE, dim=1)
        np.testing.assert_array_equal(where, places)
        np.testing.assert_array_equal(values, np.take_along_axis(FINITE, places[:, None], 1)[:, 0])
    order = np.argsort(FINITE, 1, kind="stable")
    for name, options, places in (
        ("sort", {"stable": True}, order), ("topk", {"k": 2}, None), ("median", {"dim": 1}, order[:, 2]),
    ):  # fmt: skip
        values, where = on_gpu(name, FINITE, **options)
        if places is not None and name == "sort":
            np.testing.assert_array_equal(where, places)
        where = where.reshape(len(FINITE), -1)
        np.testing.assert_array_equal(values.reshape(where.shape), np.take_along_axis(FINITE, where, 1))
    np.testing.assert_array_equal(on_gpu("topk", FINITE, k=2)[0], -np.sort(-FINITE, 1)[:, :2])
    np.testing.assert_array_equal(on_gpu("median", FINITE, dim=1)[0], np.sort(FINITE, 1)[:, 2])


def test_whole_arrays(cupy):
    assert on_gpu("equal", FINITE, FINITE) is True and on_gpu("equal", NUMBERS, NUMBERS) is False
    assert on_gpu("equal", FINITE, FINITE[:2]) is False
    assert on_gpu("allclose", FINITE, FINITE * (1 + 1e-6)) is True and on_gpu("allclose", FINITE, FINITE + 1) is False
    assert on_gpu("allclose", NUMBERS, NUMBERS, equal_nan=True) is True


def test_none_is_forgotten():
    """Those whose gradient is checked are in test_ops.py."""
    from minidl.gradcheck.samples import SAMPLES

    here = {*ONE_ARRAY, *TWO_ARRAYS, *OF_WHOLE, "bitwise_not", "all", "any", "count_nonzero", "argmax", "argmin"}
    here |= {"argsort", "argwhere", "nonzero", "equal", "allclose"}
    assert set(ops.__all__) - set(SAMPLES) <= here
