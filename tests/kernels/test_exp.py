"""The exponentials of kernels/_exp.py: within 2 units in the last place (the normal tail: 4), compiled to vectors."""

import numba
import numpy as np
import pytest

from minidl.kernels import _exp
from minidl.kernels._jit import _FLAGS

DTYPES = [np.float32, np.float64]
REST = [np.nan, np.inf, -np.inf, 0.0, -0.0]


def loop(function):
    @numba.njit(**_FLAGS)
    def run(x, y):
        for i in range(x.size):
            y[i] = function(x[i])

    return run


@numba.njit(**_FLAGS)
def normal(x):
    return _exp.normal(x)[0]


LOOPS = {name: loop(getattr(_exp, name)) for name in ("exp", "expm1", "log1p")} | {"normal": loop(normal)}


def ulps(got, expected):
    """The greatest distance from a result that has more digits, in units of the last place of the rounded one."""
    rounded = expected.astype(got.dtype)
    np.testing.assert_array_equal(np.isfinite(got), np.isfinite(rounded))
    np.testing.assert_array_equal(got[~np.isfinite(got)], rounded[~np.isfinite(got)])
    finite = np.isfinite(rounded)
    errors = np.abs(got.astype(expected.dtype) - expected)[finite] / np.spacing(np.abs(rounded[finite]))
    return float(errors.max())


def run(name, x):
    y = np.empty_like(x)
    LOOPS[name](x, y)
    return y


def with_more_digits(x):
    """float32 as float64, float64 as the processor's long double, where that has more."""
    if x.dtype == np.float32:
        return x.astype(np.float64)
    if np.finfo(np.longdouble).eps > 1e-18:
        pytest.skip("long double has no more digits than float64 here")
    return x.astype(np.longdouble)


@pytest.mark.parametrize(("name", "low", "high", "bound"), [
    ("exp", -110, 0, 1.0), ("exp", -760, 43, 1.0), ("exp", -1e30, 0, 1.0), ("exp", -1, 1, 1.0),
    ("expm1", -1, 0, 2.0), ("expm1", -50, 0, 2.0), ("expm1", -1e30, 0, 2.0), ("log1p", 0, 1, 2.0),
])  # fmt: skip
@pytest.mark.parametrize("dtype", DTYPES)
def test_dense_samples(name, low, high, bound, dtype):
    x = np.linspace(low, high, 400_001).astype(dtype)
    tiny = np.finfo(dtype).smallest_subnormal * np.array([1, 2, 1000], dtype)
    rest = [v for v in [*REST, *tiny, *-tiny] if not (v < low or v > high)]
    x = np.concatenate([x, np.array(rest, dtype)])
    with np.errstate(all="ignore"):
        assert ulps(run(name, x), getattr(np, name)(with_more_digits(x))) <= bound


@pytest.mark.parametrize("dtype", DTYPES)
def test_tails_of_the_normal_distribution(dtype):
    mpmath = pytest.importorskip("mpmath")
    x = np.concatenate([np.linspace(-41, 41, 1001), np.linspace(-1, 1, 301), [1e30, -1e30]]).astype(dtype)
    with mpmath.workdps(30):
        expected = [mpmath.ncdf(mpmath.mpf(float(v))) for v in x]
        spacing = np.spacing(np.array([float(e) for e in expected]).astype(dtype))
        found = zip(run("normal", x), expected, spacing, strict=True)
        errors = [abs(float((float(y) - e) / float(s))) for y, e, s in found]
    assert max(errors) <= 4
    rest = run("normal", np.array(REST, dtype))
    np.testing.assert_array_equal(rest, np.array([np.nan, 1, 0, 0.5, 0.5], dtype))


@pytest.mark.parametrize(("constants", "degrees"), [(_exp.FLOAT, (5, 4, 10)), (_exp.DOUBLE, (10, 9, 23))])
def test_coefficients_interpolate_at_chebyshevs_nodes(constants, degrees):
    mpmath = pytest.importorskip("mpmath")

    def interpolant(f, low, high, degree):
        nodes = [mpmath.cos(mpmath.pi * (k + 0.5) / (degree + 1)) for k in range(degree + 1)]
        x = [(low + high) / 2 + (high - low) / 2 * node for node in nodes]
        powers = mpmath.matrix([[v ** (degree - k) for k in range(degree + 1)] for v in x])
        return mpmath.lu_solve(powers, mpmath.matrix([f(v) for v in x]))

    def exponential(r):
        return (mpmath.expm1(r) - r) / r**2 if abs(r) > 1e-20 else mpmath.mpf(0.5)

    def artanh(square):
        s = mpmath.sqrt(square)
        return (2 * mpmath.atanh(s) - 2 * s) / s**3

    def tail(t):
        a = 4 * (1 + t) / (1 - t)
        return mpmath.ncdf(-a) * mpmath.exp(a * a / 2) * (a + 4)

    with mpmath.workdps(60):
        half, far = mpmath.log(2) / 2, mpmath.mpf(float(constants.far))
        expected = [
            interpolant(exponential, -half, half, degrees[0]),
            interpolant(artanh, mpmath.mpf(0), mpmath.mpf(1) / 9, degrees[1]),
            interpolant(tail, mpmath.mpf(-1), (far - 4) / (far + 4), degrees[2]),
        ]
        kind = type(constants.magic)
        for own, coefficients in zip((constants.exp, constants.log1p, constants.tail), expected, strict=True):
            assert own == tuple(kind(float(c)) for c in coefficients)
        assert constants.per_log2 == kind(float(1 / mpmath.log(2)))
        rest = mpmath.log(2) - mpmath.mpf(float(constants.log2))
        assert constants.log2_rest == kind(float(rest))


@pytest.mark.parametrize("name", LOOPS)
def test_llvm_makes_vectors(name):
    x = np.ones(8, np.float32)
    run(name, x)
    code = LOOPS[name].inspect_llvm(LOOPS[name].signatures[0])
    assert "fmul contract <" in code and "@exp" not in code
