"""The error function, and the logarithm of the gamma function with its derivative.

Sources: [fdlibm] Sun Microsystems, Freely Distributable LIBM 5.3; [A&S] Abramowitz and Stegun,
Handbook of Mathematical Functions (1964).
"""

from __future__ import annotations

import math

from ..dtypes import float32, float64, int32, int64
from .math_exponential import exp, log
from .math_numbers import Num, copy_sign, horner
from .math_trigonometric import cos, sin

# [fdlibm] s_erf.c
_ERF_P = (
    -2.37630166566501626084e-05, -5.77027029648944159157e-03, -2.84817495755985104766e-02,
    -3.25042107247001499370e-01, 1.28379167095512558561e-01,
)  # fmt: skip
_ERF_Q = (
    -3.96022827877536812320e-06, 1.32494738004321644526e-04, 5.08130628187576562776e-03,
    6.50222499887672944485e-02, 3.97917223959155352819e-01, 1.0,
)  # fmt: skip
_ERX = 8.45062911510467529297e-01
_ERF_PA = (
    -2.16637559486879084300e-03, 3.54783043256182359371e-02, -1.10894694282396677476e-01,
    3.18346619901161753674e-01, -3.72207876035701323847e-01, 4.14856118683748331666e-01,
    -2.36211856075265944077e-03,
)  # fmt: skip
_ERF_QA = (
    1.19844998467991074170e-02, 1.36370839120290507362e-02, 1.26171219808761642112e-01,
    7.18286544141962662868e-02, 5.40397917702171048937e-01, 1.06420880400844228286e-01, 1.0,
)  # fmt: skip
_ERF_RA = (
    -9.81432934416914548592e00, -8.12874355063065934246e01, -1.84605092906711035994e02,
    -1.62396669462573470355e02, -6.23753324503260060396e01, -1.05586262253232909814e01,
    -6.93858572707181764372e-01, -9.86494403484714822705e-03,
)  # fmt: skip
_ERF_SA = (
    -6.04244152148580987438e-02, 6.57024977031928170135e00, 1.08635005541779435134e02,
    4.29008140027567833386e02, 6.45387271733267880336e02, 4.34565877475229228821e02,
    1.37657754143519042600e02, 1.96512716674392571292e01, 1.0,
)  # fmt: skip
_ERF_RB = (
    -4.83519191608651397019e02, -1.02509513161107724954e03, -6.37566443368389627722e02,
    -1.60636384855821916062e02, -1.77579549177547519889e01, -7.99283237680523006574e-01,
    -9.86494292470009928597e-03,
)  # fmt: skip
_ERF_SB = (
    -2.24409524465858183362e01, 4.74528541206955367215e02, 2.55305040643316442583e03,
    3.19985821950859553908e03, 1.53672958608443695994e03, 3.25792512996573918826e02,
    3.03380607434824582924e01, 1.0,
)  # fmt: skip


def _erf_parts(x: Num) -> tuple[Num, Num, Num, Num, Num]:
    """|x|, and of it: erf near 0, erf - erx around 1, erfc further out, and 1 - erfc."""
    size = x.abs()
    z = x * x
    near = size.fma(horner(z, _ERF_P) / horner(z, _ERF_Q), size)
    s = size - 1.0
    around = horner(s, _ERF_PA) / horner(s, _ERF_QA)
    bounded = size.make("maximum", 1.25).make("minimum", 28.0)
    t = 1.0 / (bounded * bounded)
    ratio = (bounded < 1 / 0.35).where(
        horner(t, _ERF_RA) / horner(t, _ERF_SA), horner(t, _ERF_RB) / horner(t, _ERF_SB)
    )
    # exp(-x*x) without losing the low half of x*x.
    high = bounded.bits(int64).make("and", -(1 << 32)).bits(float64)
    tail = exp(-high * high - 0.5625) * exp((high - bounded) * (high + bounded) + ratio) / bounded
    return size, near, around, tail, 1.0 - tail


# float32, each the least maximal error of its degree (Lawson's weights): erf(x)/x by x² in [0, 1];
# -log2(erfc(x)) in [1, 4], weighted by erfc(x); 2^r in [-1/2, 1/2].
_ERF_NEAR = (
    -5.63142182e-4, 4.91755133e-3, -2.67113112e-2, 0.112801801, -0.376123262, 1.12837912,
)  # fmt: skip
_ERF_FAR = (
    1.65970416e-3, -2.13202898e-2, 0.127871994, 0.944228086, 1.61212287, 3.85447632e-3,
)  # fmt: skip
_EXP2 = (1.32764714e-3, 9.67554133e-3, 5.55071328e-2, 0.240221197, 0.693146967, 1.00000007)


def _erf_single(x: Num) -> Num:
    """x P(x²) up to 1, then 1 - 2^-Q(|x|), which is 1 from 4 on."""
    size = x.abs()
    near = size * horner(size * size, _ERF_NEAR)
    exponent = horner(size.make("minimum", 4.0), _ERF_FAR)
    shift = 1.5 * 2.0**23
    moved = exponent + shift  # its low bits are the nearest integer
    power = horner(moved - shift - exponent, _EXP2).bits(int32)
    rest = (power - moved.bits(int32).make("shl", 23)).bits(float32)
    return copy_sign((size >= 1.0).where(1.0 - rest, near), x)


def erf(x: Num) -> Num:
    if x.dtype is float32:
        return _erf_single(x)
    size, near, around, _, far = _erf_parts(x)
    value = (size < 0.84375).where(near, (size < 1.25).where(around + _ERX, far))
    return x.make("isnan").where(x, copy_sign(value, x))


def erfc(x: Num) -> Num:
    size, near, around, tail, _ = _erf_parts(x)
    positive = x >= 0.0
    inner = positive.where((size < 0.25).where(1.0 - near, 0.5 - (near - 0.5)), near + 1.0)
    middle = positive.where((1.0 - _ERX) - around, around + (1.0 + _ERX))
    outer = positive.where(tail, 2.0 - tail)
    value = (size < 0.84375).where(inner, (size < 1.25).where(middle, outer))
    return x.make("isnan").where(x, value)


# Bernoulli's numbers over 2k(2k-1), and over 2k: the asymptotic series of lgamma and digamma
# (Abramowitz and Stegun, 6.1.41 and 6.3.18), taken at 8 or more.
_STIRLING = (1 / 156, -691 / 360360, 1 / 1188, -1 / 1680, 1 / 1260, -1 / 360, 1 / 12)
_DIGAMMA = (1 / 12, -691 / 32760, 1 / 132, -1 / 240, 1 / 252, -1 / 120, 1 / 12)
_SHIFT = 8


def lgamma(x: Num) -> Num:
    reflected = x < 0.5
    z = reflected.where(1.0 - x, x)
    small = z < float(_SHIFT)
    product = z
    for step in range(1, _SHIFT):
        product = product * (z + float(step))
    shifted = small.where(z + float(_SHIFT), z)
    inverse = 1.0 / shifted
    series = horner(inverse * inverse, _STIRLING) * inverse
    value = (shifted - 0.5) * (log(shifted) - 1.0) + (0.5 * math.log(2 * math.pi) - 0.5) + series
    value = small.where(value - log(product), value)
    # [A&S 6.1.17] gamma(x) gamma(1-x) = pi / sin(pi x)
    fraction = x - x.make("floor")
    other = math.log(math.pi) - log(sin(fraction * math.pi).abs()) - value
    value = reflected.where(other, value)
    pole = (x <= 0.0).both(fraction.equals(0.0))
    value = pole.make("or", x.abs().equals(math.inf)).where(math.inf, value)
    return x.make("isnan").where(x, value)


def digamma(x: Num) -> Num:
    reflected = x <= 0.0
    z = reflected.where(1.0 - x, x)
    small = z < float(_SHIFT)
    steps = 1.0 / z
    for step in range(1, _SHIFT):
        steps = steps + 1.0 / (z + float(step))
    shifted = small.where(z + float(_SHIFT), z)
    inverse = 1.0 / shifted
    square = inverse * inverse
    value = log(shifted) - 0.5 * inverse - horner(square, _DIGAMMA) * square
    value = small.where(value - steps, value)
    fraction = x - x.make("floor")
    angle = fraction * math.pi
    value = reflected.where(value - math.pi * (cos(angle) / sin(angle)), value)
    pole = reflected.both(fraction.equals(0.0))
    value = pole.where(x.equals(0.0).where(copy_sign(x.like(math.inf), -x), math.nan), value)
    return x.equals(math.inf).where(x, value)
