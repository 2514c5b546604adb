"""Exponentials, logarithms, and what is made of them.

Formulas of float32 are those of float64 with shorter series. Sources: [fdlibm] Sun Microsystems,
Freely Distributable LIBM 5.3; [kahan] W. Kahan, log1p of the HP-15C Advanced Functions Handbook
(1982).
"""

from __future__ import annotations

import math

from ..dtypes import DType, float32, float64
from .math_numbers import FORMATS, Num, copy_sign, horner

LN2_HIGH = {float32: 0.693359375, float64: 6.93147180369123816490e-01}
LN2_LOW = {float32: -2.12194440054690581e-4, float64: 1.90821492927058770002e-10}


def _reduce_exp(x: Num) -> tuple[Num, Num]:
    """(n, r): x = n ln 2 + r with |r| <= ln(2)/2, n an integral number of x's type."""
    dtype = x.dtype
    # Where one is the last place, an addition rounds to the nearest integer.
    shift = 1.5 * 2.0 ** FORMATS[dtype].mantissa
    n = x.fma(1 / math.log(2), shift) - shift
    r = n.fma(-LN2_HIGH[dtype], x)
    return n, n.fma(-LN2_LOW[dtype], r)


def _exp_tail(r: Num) -> Num:
    """exp(r) - 1 for |r| <= ln(2)/2: Taylor's series, whose rest is below half an ulp."""
    last = 7 if r.dtype is float32 else 13
    series = horner(r, [1 / math.factorial(k) for k in range(last, 1, -1)])
    return (r * r).fma(series, r)


def exp(x: Num) -> Num:
    dtype = x.dtype
    limits = (-105.0, 90.0) if dtype is float32 else (-747.0, 711.0)
    clamped = x.make("maximum", limits[0]).make("minimum", limits[1])
    n, r = _reduce_exp(clamped)
    return (_exp_tail(r) + 1.0).make("ldexp", n)


def expm1(x: Num) -> Num:
    dtype = x.dtype
    limits = (-20.0, 90.0) if dtype is float32 else (-40.0, 711.0)
    clamped = x.make("maximum", limits[0]).make("minimum", limits[1])
    n, r = _reduce_exp(clamped)
    near = _expm1_near(n, r)
    far = exp(x)
    value = (x > (20.0 if dtype is float32 else 40.0)).where(far, near)
    # exp(r) - 1 is r for the smallest r; zeros keep their signs.
    return x.equals(0.0).where(x, value)


def _expm1_near(n: Num, r: Num) -> Num:
    """exp(n ln 2 + r) - 1 for exponentials that are no larger than the type's powers of two."""
    scale = n.like(1.0).make("ldexp", n.make("minimum", FORMATS[n.dtype].bias))
    return scale.fma(_exp_tail(r), scale - 1.0)


_LOG = {
    # [fdlibm] e_log.c and e_logf.c: log(1+f) = f - f*f/2 + s*(f*f/2 + R(s*s)), s = f/(2+f)
    float32: (0.24279078841, 0.28498786688, 0.40000972152, 0.66666662693),
    float64: (
        1.479819860511658591e-01, 1.531383769920937332e-01, 1.818357216161805012e-01,
        2.222219843214978396e-01, 2.857142874366239149e-01, 3.999999999940941908e-01,
        6.666666666666735130e-01,
    ),
}  # fmt: skip


def log_parts(x: Num) -> tuple[Num, Num]:
    """(k, f): x = 2**k (1 + f), sqrt(1/2) <= 1 + f < sqrt(2), for a positive finite x."""
    dtype = x.dtype
    fmt = FORMATS[dtype]
    small = x < fmt.least_normal
    scaled = small.where(x * 2.0**fmt.scale, x)
    bits = scaled.bits(fmt.integer)
    # The mantissa field of sqrt(1/2) + a bit: adding it carries into the exponent at sqrt(2).
    one = int.from_bytes(_pack(1.0, dtype), "little")
    root = int.from_bytes(_pack(math.sqrt(0.5), dtype), "little")
    moved = bits + (one - root)
    k = moved.make("sar", fmt.mantissa) - fmt.bias
    mantissa = moved.make("and", (1 << fmt.mantissa) - 1) + root
    k = small.where(k - fmt.scale, k)
    return k.cast(dtype), mantissa.bits(dtype) - 1.0


def _pack(value: float, dtype: DType) -> bytes:
    return dtype.numpy.type(value).tobytes()


def _log_finite(x: Num) -> Num:
    k, f = log_parts(x)
    s = f / (f + 2.0)
    z = s * s
    rest = horner(z, _LOG[x.dtype]) * z
    half = f * f * 0.5
    low, high = LN2_LOW[x.dtype], LN2_HIGH[x.dtype]
    return k.fma(high, f - (half - s.fma(half + rest, k * low)))


def log(x: Num) -> Num:
    value = _log_finite(x)
    value = x.equals(math.inf).where(x, value)
    value = x.equals(0.0).where(-math.inf, value)
    return (x >= 0.0).where(value, math.nan)


def log1p(x: Num) -> Num:
    """[kahan]: what rounding 1 + x loses is made up for by the quotient."""
    u = x + 1.0
    value = log(u) * (x / (u - 1.0))
    value = u.equals(1.0).where(x, value)
    value = u.equals(0.0).where(-math.inf, value)
    return u.equals(math.inf).where(u, value)


def tanh(x: Num) -> Num:
    # Of a negative argument expm1 needs its near branch only.
    exponent = (x.abs() * -2.0).make("maximum", -20.0 if x.dtype is float32 else -40.0)
    t = _expm1_near(*_reduce_exp(exponent))
    return copy_sign((t / (t + 2.0)).abs(), x)


def sigmoid(x: Num) -> Num:
    e = exp(-x.abs())
    return (x >= 0.0).where(1.0, e) / (e + 1.0)


def softplus(x: Num) -> Num:
    return x.make("maximum", 0.0) + log1p(exp(-x.abs()))


def _large(x: Num) -> tuple[Num, Num]:
    """(|x|, whether exp(|x|) may overflow where half of it does not)"""
    size = x.abs()
    return size, size > (88.0 if x.dtype is float32 else 709.0)


def sinh(x: Num) -> Num:
    size, large = _large(x)
    t = expm1(size)
    root = exp(size * 0.5)
    value = large.where(root * 0.5 * root, (t + t / (t + 1.0)) * 0.5)
    return copy_sign(value, x)


def cosh(x: Num) -> Num:
    size, large = _large(x)
    e = exp(size)
    root = exp(size * 0.5)
    return large.where(root * 0.5 * root, e * 0.5 + 0.5 / e)


def asinh(x: Num) -> Num:
    size = x.abs()
    square = size * size
    near = log1p(size + square / ((square + 1.0).sqrt() + 1.0))
    far = log(size) + math.log(2)
    return copy_sign((size > 1e9).where(far, near), x)


def acosh(x: Num) -> Num:
    t = x - 1.0
    near = log1p(t + (t * (t + 2.0)).sqrt())
    return (x > 1e9).where(log(x) + math.log(2), near)


def atanh(x: Num) -> Num:
    size = x.abs()
    return copy_sign(log1p(size * 2.0 / (1.0 - size)) * 0.5, x)
