"""Exponentials for numba's loops, without branches, calls or tables: LLVM makes vectors of them.

numba's np.exp calls the C library for one element after the other, which takes ten times as long as to read and to
write it. Here every function is a polynomial behind a change of variable:

    exp     x = n ln 2 + r, |r| <= ln 2 / 2:   e^x = 2^n (1 + q),   q = e^r - 1 = r + r^2 P(r),   for x <= 0
    expm1   of the same q, for x <= 0:         e^x - 1 = 2^n q + (2^n - 1)
    log1p   s = x / (2 + x), 0 <= x <= 1:      log(1 + x) = 2 artanh s = 2 s + s^3 P(s^2)
    normal  t = (a - 4) / (a + 4), a >= 0:     the chance of a standard normal variable to be above a is
                                               e^(-a^2/2) P(t) / (a + 4)

x may be float32 or float64, and so is the result. P interpolates at Chebyshev's nodes; tests/kernels/test_exp.py
computes its coefficients anew. NaN and infinities are what they are in NumPy.
"""

from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from ._jit import inline


class Constants(NamedTuple):
    """What depends on the type. Polynomials begin with the highest power."""

    magic: float  # 1.5 * 2^(bits of the fraction): beside it a number is rounded to an integer, its last bits
    per_log2: float  # 1 / ln 2
    log2: float  # ln 2, so short that its product with n is exact
    log2_rest: float
    least: float  # below it e^x is 0
    lifted: float  # magic + n0: 2^(n + n0) is no subnormal number, where e^x is one
    lowering: float  # 2^-n0
    least_normal: float  # above it 2^n is no subnormal number; below it e^x - 1 is -1
    far: float  # above it e^(-a^2/2) is 0
    exp: tuple
    log1p: tuple
    tail: tuple


def _constants(kind, *values):
    return Constants(*(tuple(map(kind, v)) if isinstance(v, tuple) else kind(v) for v in values))


FLOAT = _constants(
    np.float32, 1.5 * 2**23, 1.44269504, 0.693145751953125, 1.42860682e-6, -104, 1.5 * 2**23 + 64, 2.0**-64, -87, 15,
    (1.9890981e-4, 1.3933642e-3, 8.3333105e-3, 0.041666467, 0.16666667, 0.5),
    (0.2322433, 0.21706575, 0.28592357, 0.39999706, 0.6666667),
    (-5.155659e-5, -2.3179868e-4, 1.710546e-4, 1.6452193e-3, -3.4893174e-3, -7.545268e-3, 0.06039753, -0.18652128,
     0.38713735, -0.6078967, 0.75528514),
)  # fmt: skip
DOUBLE = _constants(
    np.float64, 1.5 * 2**52, 1.4426950408889634, 0.6931471805598903, 5.497923018708371e-14, -746,
    1.5 * 2**52 + 512, 2.0**-512, -708, 40,
    (2.0914679376583935e-9, 2.510520637395701e-8, 2.7557273661348637e-7, 2.7557255425746435e-6, 2.4801587325533363e-5,
     1.9841269874800493e-4, 1.3888888888883752e-3, 8.333333333326141e-3, 0.04166666666666667, 0.1666666666666667, 0.5),
    (0.1616404561194353, 0.08800738486144674, 0.12001072809590713, 0.13314144209654935, 0.15385570064958623,
     0.18181789436132859, 0.22222222717427864, 0.2857142856710876, 0.40000000000014585, 0.6666666666666666),
    (-7.227674920350449e-10, -2.511372928694166e-9, 1.917695265350152e-9, 1.9587727444446167e-8, 1.32610923300199e-8,
     -8.536991353342608e-8, -1.549271323887327e-7, 2.717809948345e-7, 1.0215205012909071e-6, -6.296896838092998e-7,
     -5.920156161474508e-6, 7.166661392310459e-7, 3.514468067075562e-5, -1.9082589727909575e-6, -2.3109493413064064e-4,
     1.333443125592139e-4, 1.6308184574697466e-3, -3.479692367412914e-3, -7.540188966719381e-3, 0.06039657489093769,
     -0.18652185795965745, 0.38713740074221453, -0.6078966419718921, 0.7552851304157515),
)  # fmt: skip


def _constants_for(x):
    """FLOAT or DOUBLE, as x is."""


@overload(_constants_for)
def _(x):
    constants = FLOAT if x == types.float32 else DOUBLE
    return lambda x: constants


# ---- instructions --------------------------------------------------------------------------------------------------

_FRACTION = {types.float32: 23, types.float64: 52}


@intrinsic
def _power_of_two(context, t):
    """2^n of t = magic + n: n is the last bits of t; moved up to the exponent's place, with 1.0 added, they are it."""

    def emit(context, builder, signature, args):
        word = ir.IntType(t.bitwidth)
        one = np.ones(1, f"f{t.bitwidth // 8}").view(f"i{t.bitwidth // 8}").item()
        exponent = builder.shl(builder.bitcast(args[0], word), word(_FRACTION[t]))
        return builder.bitcast(builder.add(exponent, word(one)), args[0].type)

    return t(t), emit


@intrinsic
def _upper_half(context, x):
    """x without the lower half of its digits, so that its square is exact."""

    def emit(context, builder, signature, args):
        word = ir.IntType(x.bitwidth)
        cleared = builder.and_(builder.bitcast(args[0], word), word(-1 << (_FRACTION[x] // 2 + 1)))
        return builder.bitcast(cleared, args[0].type)

    return x(x), emit


@intrinsic
def _polynomial(context, coefficients, x):
    """Horner's rule, written out: LLVM does not unroll a loop over 24 coefficients, and then makes no vectors."""

    def emit(context, builder, signature, args):
        y, *rest = cgutils.unpack_tuple(builder, args[0])
        for coefficient in rest:
            product = builder.fmul(y, args[1], flags=["contract"])
            y = builder.fadd(product, coefficient, flags=["contract"])
        return y

    return x(coefficients, x), emit


# ---- functions -----------------------------------------------------------------------------------------------------


@inline
def _reduced(x, rest):
    """(n, q) of x + rest = n ln 2 + r."""
    k = _constants_for(x)
    n = (x * k.per_log2 + k.magic) - k.magic
    r = ((x - n * k.log2) - n * k.log2_rest) + rest
    return n, r + r * r * _polynomial(k.exp, r)


@inline
def _exp_of_sum(x, rest):
    """e^(x + rest), of a small rest."""
    k = _constants_for(x)
    n, q = _reduced(k.least if x < k.least else x, rest)
    # A power of two that is no subnormal number, and lowered at the end, which is rounded where e^x is subnormal.
    power = _power_of_two(n + k.lifted)
    return (power + power * q) * k.lowering


@inline
def exp(x):
    """e^x of x <= 0 (up to 43 it is as exact, beyond it is any number). Less than 1 unit in the last place from it,
    subnormal numbers included.
    """
    return _exp_of_sum(x, type(x)(0))


@inline
def expm1(x):
    """e^x - 1 of x <= 0."""
    k = _constants_for(x)
    n, q = _reduced(k.least_normal if x < k.least_normal else x, type(x)(0))
    power = _power_of_two(n + k.magic)
    return power * q + (power - type(x)(1))


@inline
def log1p(x):
    """log(1 + x) of 0 <= x <= 1."""
    two = type(x)(2)
    s = x / (two + x)
    square = s * s
    return two * s + s * square * _polynomial(_constants_for(x).log1p, square)


@inline
def normal(x):
    """(the chance of a standard normal variable to be below x, its density at x times sqrt(2 pi))."""
    k = _constants_for(x)
    one, half, four = type(x)(1), type(x)(0.5), type(x)(4)
    a = abs(x)
    a = k.far if a > k.far else a
    upper = _upper_half(a)  # a^2 has twice the digits of a, all of which count where it is large
    e = _exp_of_sum(-half * upper * upper, -half * (a - upper) * (a + upper))
    w = one / (a + four)
    tail = e * w * _polynomial(k.tail, (a - four) * w)
    return (tail if x < 0 else one - tail), e
