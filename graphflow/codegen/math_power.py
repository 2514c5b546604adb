"""Powers, and remainders of floating-point division."""

from __future__ import annotations

import math

from ..dtypes import float32, float64
from .math_exponential import LN2_HIGH, LN2_LOW, exp, log, log_parts
from .math_numbers import Num, copy_sign, horner


def _pow_float(x: Num, y: Num) -> Num:
    """IEEE 754's pow; float32 in float64, so that log's error does not grow with y."""
    size = x.abs()
    if x.dtype is float32:
        value = exp(y.cast(float64) * log(size.cast(float64))).cast(float32)
    else:
        value = _pow_wide(size, y)
    whole = y.make("floor").equals(y)
    half = y * 0.5
    odd = whole.both(half.make("floor").make("ne", half))
    negative = copy_sign(x.like(1.0), x) < 0.0
    value = negative.both(odd).where(-value, value)
    undefined = (x < 0.0).both(x.make("isfinite")).both(y.make("isfinite")).both(whole.make("not"))
    value = undefined.where(math.nan, value)
    value = x.equals(-1.0).both(y.abs().equals(math.inf)).where(1.0, value)
    return x.equals(1.0).make("or", y.equals(0.0)).where(1.0, value)


def _pow_wide(x: Num, y: Num) -> Num:
    """exp(y log x) with log x as a sum of two numbers.

    log x = k ln 2 + 2 atanh(s), s = f/(2+f); the rounding errors of s and of the sums are kept.
    """
    k, f = log_parts(x)
    d = f + 2.0
    s = f / d
    s_low = (s.fma(-1.0 * d, f) - s * (f - (d - 2.0))) / d
    z = s * s
    series = horner(z, [2 / (2 * i + 1) for i in range(11, 0, -1)]) * z * s
    lead = k * LN2_HIGH[float64]
    high = lead + s * 2.0
    lost = (lead - high) + s * 2.0
    low = lost + (s_low * 2.0 + series + k * LN2_LOW[float64])
    total = high + low
    low = (high - total) + low
    product = y * total
    rest = y.fma(total, -product) + y * low
    value = exp(product)
    value = product.make("isfinite").where(value + value * rest, value)
    value = value.make("isnan").where(exp(product), value)
    edge = x.equals(0.0).make("or", x.equals(math.inf))
    return edge.where(exp(y * log(x)), value)


def _pow_integer(x: Num, y: Num) -> Num:
    """By squaring; 0 for negative exponents of anything but 1 and -1, as truncation gives."""
    result, base, rest = x.like(1), x, y
    for _ in range(x.dtype.bits if x.dtype.bits <= 8 else x.dtype.bits - 1):
        odd = rest.make("and", 1).equals(1)
        result = odd.where(result * base, result)
        base = base * base
        rest = rest.make("shr", 1)
    if x.dtype.is_unsigned:
        return result
    odd = y.make("and", 1).equals(1)
    inverse = x.equals(1).where(1, x.equals(-1).where(odd.where(-1, x.like(1)), x.like(0)))
    return (y < 0).where(inverse, result)


def pow_(x: Num, y: Num) -> Num:
    return _pow_float(x, y) if x.dtype.is_floating else _pow_integer(x, y)


def truncmod(x: Num, y: Num) -> Num:
    """C's fmod. Exact while the quotient has fewer bits than a mantissa; beyond, what is left of
    repeated reduction."""
    size, divisor = x.abs(), y.abs()
    rest = size.cast(float64)
    wide = divisor.cast(float64)
    for _ in range(3):
        quotient = (rest / wide).make("trunc")
        rest = quotient.fma(-1.0 * wide, rest)
        rest = (rest < 0.0).where(rest + wide, rest)
    value = rest.cast(x.dtype)
    value = (value >= divisor).where(value - divisor, value)
    value = copy_sign(value.abs(), x)
    value = divisor.equals(math.inf).both(x.make("isfinite")).where(x, value)
    return divisor.equals(0.0).where(math.nan, value)


def mod(x: Num, y: Num) -> Num:
    """Python's and NumPy's remainder: it has the divisor's sign."""
    rest = truncmod(x, y)
    wrong = rest.make("ne", 0.0).both((rest < 0.0).make("ne", y < 0.0))
    value = wrong.where(rest + y, rest)
    return value.equals(0.0).where(copy_sign(value.like(0.0), y), value)


def floordiv(x: Num, y: Num) -> Num:
    """NumPy's: (x - mod(x, y)) / y, made integral."""
    rest = mod(x, y)
    quotient = (x - rest) / y
    down = quotient.make("floor")
    value = (quotient - down > 0.5).where(down + 1.0, down)
    value = quotient.equals(0.0).where(copy_sign(value.like(0.0), x / y), value)
    return y.equals(0.0).where(x / y, value)
