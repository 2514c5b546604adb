"""Circular functions and their inverses.

Sources: [fdlibm] Sun Microsystems, Freely Distributable LIBM 5.3; [cephes] S. Moshier, Cephes
Mathematical Library 2.8.
"""

from __future__ import annotations

import math

from ..dtypes import float32, float64, int64
from .math_numbers import Num, copy_sign, horner

# pi/2 in parts of which all but the last have few bits, so that products with n are exact.
_HALF_PI = {
    float32: (1.5703125, 4.837512969970703125e-4, 7.54978995489188216e-8),
    float64: (1.57079632673412561417e00, 6.07710050630396597660e-11, 2.02226624879595063154e-21),
}
_SIN = {
    float32: (-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1),  # [cephes] sinf.c
    float64: (
        1.58969099521155010221e-10, -2.50507602534068634195e-08, 2.75573137070700676789e-06,
        -1.98412698298579493134e-04, 8.33333333332248946124e-03, -1.66666666666666324348e-01,
    ),
}  # fmt: skip
_COS = {
    float32: (2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2),
    float64: (
        -1.13596475577881948265e-11, 2.08757232129817482790e-09, -2.75573143513906633035e-07,
        2.48015872894767294178e-05, -1.38888888888741095749e-03, 4.16666666666666019037e-02,
    ),
}  # fmt: skip


def _quadrant(x: Num) -> tuple[Num, Num, Num]:
    """(quadrant, sin r, cos r) of x = quadrant pi/2 + r, in float64 by three parts of pi/2: within
    a few ulp up to |x| = 2**30. Beyond, digits of pi are missing; r is kept in its range, so that
    results stay in theirs."""
    wide = x.cast(float64)
    n = (wide * (2 / math.pi)).round()
    high, middle, low = _HALF_PI[float64]
    r = n.fma(-low, n.fma(-middle, n.fma(-high, wide)))
    r = r.make("maximum", -math.pi / 4).make("minimum", math.pi / 4).cast(x.dtype)
    z = r * r
    sine = (z * r).fma(horner(z, _SIN[x.dtype]), r)
    cosine = (z * z).fma(horner(z, _COS[x.dtype]), z.fma(-0.5, 1.0))
    return n.cast(int64), sine, cosine


def _by_quadrant(q: Num, a: Num, b: Num) -> Num:
    odd = q.make("and", 1).equals(1)
    negative = q.make("and", 2).equals(2)
    value = odd.where(b, a)
    return negative.where(-value, value)


def sin(x: Num) -> Num:
    q, sine, cosine = _quadrant(x)
    value = _by_quadrant(q, sine, cosine)
    value = x.equals(0.0).where(x, value)
    return x.make("isfinite").where(value, math.nan)


def cos(x: Num) -> Num:
    q, sine, cosine = _quadrant(x)
    value = _by_quadrant(q + 1, sine, cosine)
    return x.make("isfinite").where(value, math.nan)


def tan(x: Num) -> Num:
    q, sine, cosine = _quadrant(x)
    odd = q.make("and", 1).equals(1)
    value = odd.where(-cosine, sine) / odd.where(sine, cosine)
    value = x.equals(0.0).where(x, value)
    return x.make("isfinite").where(value, math.nan)


# [cephes] atan.c
_ATAN_P = (
    -8.750608600031904122785e-1, -1.615753718733365076637e1, -7.500855792314704667340e1,
    -1.228866684490136173410e2, -6.485021904942025371773e1,
)  # fmt: skip
_ATAN_Q = (
    1.0, 2.485846490142306297962e1, 1.650270098316988542046e2, 4.328810604912902668951e2,
    4.853903996359136964868e2, 1.945506571482613964425e2,
)  # fmt: skip
_ATAN_FLOAT = (8.05374449538e-2, -1.38776856032e-1, 1.99777106478e-1, -3.33329491539e-1)


def atan(x: Num) -> Num:
    size = x.abs()
    steep, middle = size > 2.414213562373095, size > 0.4142135623730950
    reduced = steep.where(-1.0 / size, middle.where((size - 1.0) / (size + 1.0), size))
    base = steep.where(math.pi / 2, middle.where(math.pi / 4, size.like(0.0)))
    z = reduced * reduced
    if x.dtype is float32:
        value = (z * reduced).fma(horner(z, _ATAN_FLOAT), reduced)
    else:
        low = 6.123233995736765886130e-17
        rest = steep.where(low, middle.where(low / 2, size.like(0.0)))
        series = z * (horner(z, _ATAN_P) / horner(z, _ATAN_Q))
        value = series.fma(reduced, reduced) + rest
    return copy_sign(base + value, x)


def asin(x: Num) -> Num:
    return atan(x / ((1.0 - x) * (x + 1.0)).sqrt())


def acos(x: Num) -> Num:
    return atan(((1.0 - x) / (x + 1.0)).sqrt()) * 2.0


def atan2(y: Num, x: Num) -> Num:
    up, right = y.abs(), x.abs()
    infinite = up.equals(math.inf).both(right.equals(math.inf))
    nothing = up.equals(0.0).both(right.equals(0.0))
    ratio = infinite.where(1.0, nothing.where(0.0, up / right))
    angle = atan(ratio)
    # The sign of a zero x decides between 0 and pi.
    left = copy_sign(x.like(1.0), x) < 0.0
    value = left.where(math.pi - angle, angle)
    value = copy_sign(value, y)
    return x.make("isnan").make("or", y.make("isnan")).where(math.nan, value)
