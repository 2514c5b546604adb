"""Operators that take more than a few instructions, written in Loop IR.

Each is a function of expressions, with selects in place of branches, so that the same text serves
scalars and vectors of any width. Where nothing else is said, formulas of float32 are those of
float64 with shorter series. Measured errors stand in tests/codegen/test_math.py.

Sources: [fdlibm] Sun Microsystems, Freely Distributable LIBM 5.3; [cephes] S. Moshier, Cephes
Mathematical Library 2.8; [kahan] W. Kahan, log1p of the HP-15C Advanced Functions Handbook (1982).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from ..dtypes import DType, float32, float64, int32, int64
from ..loop import nodes as loop


@dataclass(frozen=True)
class Template:
    """`result` of `parameters`, after running `body`."""

    parameters: tuple[loop.Var, ...]
    body: tuple[loop.Stmt, ...]
    result: loop.Expr


class Num:
    """An expression with arithmetic; every intermediate value is named once, by a Let."""

    __slots__ = ("body", "expr")

    def __init__(self, body: list[loop.Stmt], expr: loop.Expr):
        self.body, self.expr = body, expr

    @property
    def dtype(self) -> DType:
        return self.expr.dtype

    def make(self, op: str, *others, dtype: DType | None = None) -> Num:
        args = [self.expr, *(self.like(other).expr for other in others)]
        value = loop.apply(op, *args, dtype=dtype)
        var = loop.Var(f"t{len(self.body)}", value.dtype)
        self.body.append(loop.Let(var, value))
        return Num(self.body, var)

    def like(self, other) -> Num:
        if isinstance(other, Num):
            return other
        number = float(other) if self.dtype.is_floating else int(other)
        return Num(self.body, loop.Const(number, self.dtype))

    def constant(self, value, dtype: DType) -> Num:
        return Num(self.body, loop.Const(value, dtype))

    def __add__(self, other):
        return self.make("add", other)

    def __radd__(self, other):
        return self.like(other) + self

    def __sub__(self, other):
        return self.make("sub", other)

    def __rsub__(self, other):
        return self.like(other) - self

    def __mul__(self, other):
        return self.make("mul", other)

    def __rmul__(self, other):
        return self.like(other) * self

    def __truediv__(self, other):
        return self.make("div", other)

    def __rtruediv__(self, other):
        return self.like(other) / self

    def __neg__(self):
        return self.make("neg")

    def __lt__(self, other):
        return self.make("lt", other)

    def __gt__(self, other):
        return self.make("gt", other)

    def __le__(self, other):
        return self.make("le", other)

    def __ge__(self, other):
        return self.make("ge", other)

    def equals(self, other) -> Num:
        return self.make("eq", other)

    def both(self, other) -> Num:
        return self.make("and", other)

    def abs(self) -> Num:
        return self.make("abs")

    def sqrt(self) -> Num:
        return self.make("sqrt")

    def round(self) -> Num:
        return self.make("round")

    def fma(self, b, c) -> Num:
        """self * b + c, rounded once."""
        return self.make("fma", b, c)

    def cast(self, dtype: DType) -> Num:
        return self if self.dtype is dtype else self.make("cast", dtype=dtype)

    def bits(self, dtype: DType) -> Num:
        return self.make("bitcast", dtype=dtype)

    def where(self, yes, no) -> Num:
        """yes where this condition holds, else no."""
        source = yes if isinstance(yes, Num) else no
        a, b = source.like(yes), source.like(no)
        value = loop.select(self.expr, a.expr, b.expr)
        var = loop.Var(f"t{len(self.body)}", value.dtype)
        self.body.append(loop.Let(var, value))
        return Num(self.body, var)


def horner(x: Num, coefficients: Sequence[float]) -> Num:
    """The polynomial with these coefficients, that of the highest power first."""
    total = x.like(coefficients[0])
    for coefficient in coefficients[1:]:
        total = total.fma(x, coefficient)
    return total


@dataclass(frozen=True)
class Format:
    """How numbers of a type are stored."""

    integer: DType
    mantissa: int
    bias: int
    least_normal: float
    scale: int  # a power of two that makes every denormal normal


FORMATS = {
    float32: Format(int32, 23, 127, 2.0**-126, 25),
    float64: Format(int64, 52, 1023, 2.0**-1022, 54),
}


def power_of_two(n: Num, dtype: DType) -> Num:
    """2**n for an integer n of the exponent range of normal numbers."""
    f = FORMATS[dtype]
    return (n + f.bias).make("shl", f.mantissa).bits(dtype)


def copy_sign(size: Num, sign: Num) -> Num:
    """`size` >= 0 with the sign of `sign`, that of zeros included."""
    f = FORMATS[size.dtype]
    mask = -(1 << (f.integer.bits - 1))
    return size.bits(f.integer).make("or", sign.bits(f.integer).make("and", mask)).bits(size.dtype)


_LN2_HIGH = {float32: 0.693359375, float64: 6.93147180369123816490e-01}
_LN2_LOW = {float32: -2.12194440054690581e-4, float64: 1.90821492927058770002e-10}


def _reduce_exp(x: Num) -> tuple[Num, Num]:
    """(n, r): x = n ln 2 + r with |r| <= ln(2)/2, n an integral number of x's type."""
    dtype = x.dtype
    n = (x * (1 / math.log(2))).round()
    r = n.fma(-_LN2_HIGH[dtype], x)
    return n, n.fma(-_LN2_LOW[dtype], r)


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
    whole = n.cast(FORMATS[dtype].integer)
    half = whole.make("sar", 1)
    value = _exp_tail(r) + 1.0
    # Two factors, so that results near overflow and denormal ones come out right.
    return value * power_of_two(half, dtype) * power_of_two(whole - half, dtype)


def expm1(x: Num) -> Num:
    dtype = x.dtype
    limits = (-20.0, 90.0) if dtype is float32 else (-40.0, 711.0)
    clamped = x.make("maximum", limits[0]).make("minimum", limits[1])
    n, r = _reduce_exp(clamped)
    whole = n.cast(FORMATS[dtype].integer)
    scale = power_of_two(whole.make("minimum", FORMATS[dtype].bias), dtype)
    near = scale.fma(_exp_tail(r), scale - 1.0)
    far = exp(x)
    value = (x > (20.0 if dtype is float32 else 40.0)).where(far, near)
    # exp(r) - 1 is r for the smallest r; zeros keep their signs.
    return x.equals(0.0).where(x, value)


_LOG = {
    # [fdlibm] e_log.c and e_logf.c: log(1+f) = f - f*f/2 + s*(f*f/2 + R(s*s)), s = f/(2+f)
    float32: (0.24279078841, 0.28498786688, 0.40000972152, 0.66666662693),
    float64: (
        1.479819860511658591e-01, 1.531383769920937332e-01, 1.818357216161805012e-01,
        2.222219843214978396e-01, 2.857142874366239149e-01, 3.999999999940941908e-01,
        6.666666666666735130e-01,
    ),
}  # fmt: skip


def _log_parts(x: Num) -> tuple[Num, Num]:
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
    k, f = _log_parts(x)
    s = f / (f + 2.0)
    z = s * s
    rest = horner(z, _LOG[x.dtype]) * z
    half = f * f * 0.5
    low, high = _LN2_LOW[x.dtype], _LN2_HIGH[x.dtype]
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
    t = expm1(x.abs() * -2.0)
    size = -t / (t + 2.0)
    return copy_sign(size.abs(), x)


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


def erf(x: Num) -> Num:
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
    k, f = _log_parts(x)
    d = f + 2.0
    s = f / d
    s_low = (s.fma(-1.0 * d, f) - s * (f - (d - 2.0))) / d
    z = s * s
    series = horner(z, [2 / (2 * i + 1) for i in range(11, 0, -1)]) * z * s
    lead = k * _LN2_HIGH[float64]
    high = lead + s * 2.0
    lost = (lead - high) + s * 2.0
    low = lost + (s_low * 2.0 + series + k * _LN2_LOW[float64])
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


_FUNCTIONS: dict[str, Callable[..., Num]] = {
    "exp": exp, "expm1": expm1, "log": log, "log1p": log1p, "tanh": tanh, "sigmoid": sigmoid,
    "softplus": softplus, "sinh": sinh, "cosh": cosh, "asinh": asinh, "acosh": acosh,
    "atanh": atanh, "sin": sin, "cos": cos, "tan": tan, "atan": atan, "asin": asin, "acos": acos,
    "atan2": atan2, "erf": erf, "erfc": erfc, "lgamma": lgamma, "digamma": digamma, "pow": pow_,
    "truncmod": truncmod, "mod": mod, "floordiv": floordiv,
}  # fmt: skip
# Few of their uses are hot, and float64 makes them right to the last bit of float32.
_IN_FLOAT64 = frozenset(
    ("erf", "erfc", "lgamma", "digamma", "asin", "acos", "tan", "acosh", "asinh")
)


@cache
def template(op: str, dtype: DType) -> Template:
    """The operator for operands of this type."""
    function = _FUNCTIONS[op]
    body: list[loop.Stmt] = []
    count = 2 if op in ("pow", "atan2", "mod", "truncmod", "floordiv") else 1
    parameters = tuple(loop.Var(name, dtype) for name in "xy"[:count])
    operands = [Num(body, parameter) for parameter in parameters]
    if dtype is float32 and op in _IN_FLOAT64:
        result = function(*(operand.cast(float64) for operand in operands)).cast(float32)
    else:
        result = function(*operands)
    return Template(parameters, tuple(body), result.expr)
