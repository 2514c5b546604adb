"""The inverses of erf and erfc: what turns uniform random numbers into normal ones.

M. Wichura, "Algorithm AS 241: The Percentage Points of the Normal Distribution", Applied
Statistics 37 (1988): PPND7 for float32 and PPND16 for float64, by erfinv(x) = Φ⁻¹((1+x)/2)/√2.
Both are good to the last digits of their precision over the whole range, tails included.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from ..dtypes import float64
from ..errors import TypeRuleError
from ..ir.node import Node, Tensor
from ..ir.op import Op, define, find
from ..loop import nodes as loop
from .convert import convert

__all__ = ["erfcinv", "erfinv", "ndtri"]

# Numerators and denominators, highest degree first: of 0.180625 - q² where |q| <= 0.425, q being
# the probability less 1/2; else of r - 1.6 where r <= 5, r being √(-log(1/2 - |q|)); else of r - 5.
_PPND7 = (
    ((59.109374720, 159.29113202, 50.434271938, 3.3871327179),
     (67.187563600, 78.757757664, 17.895169469, 1.0)),
    ((0.17023821103, 1.3067284816, 2.7568153900, 1.4234372777),
     (0.12021132975, 0.73700164250, 1.0)),
    ((0.017337203997, 0.42868294337, 3.0812263860, 6.6579051150),
     (0.012258202635, 0.24197894225, 1.0)),
)  # fmt: skip
_CENTRE = (
    (2.5090809287301226727e3, 3.3430575583588128105e4, 6.7265770927008700853e4,
     4.5921953931549871457e4, 1.3731693765509461125e4, 1.9715909503065514427e3,
     1.3314166789178437745e2, 3.3871328727963666080e0),
    (5.2264952788528545610e3, 2.8729085735721942674e4, 3.9307895800092710610e4,
     2.1213794301586595867e4, 5.3941960214247511077e3, 6.8718700749205790830e2,
     4.2313330701600911252e1, 1.0),
)  # fmt: skip
_MIDDLE = (
    (7.74545014278341407640e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1,
     1.27045825245236838258e0, 3.64784832476320460504e0, 5.76949722146069140550e0,
     4.63033784615654529590e0, 1.42343711074968357734e0),
    (1.05075007164441684324e-9, 5.47593808499534494600e-4, 1.51986665636164571966e-2,
     1.48103976427480074590e-1, 6.89767334985100004550e-1, 1.67638483018380384940e0,
     2.05319162663775882187e0, 1.0),
)  # fmt: skip
_FAR = (
    (2.01033439929228813265e-7, 2.71155556874348757815e-5, 1.24266094738807843860e-3,
     2.65321895265761230930e-2, 2.96560571828504891230e-1, 1.78482653991729133580e0,
     5.46378491116411436990e0, 6.65790464350110377720e0),
    (2.04426310338993978564e-15, 1.42151175831644588870e-7, 1.84631831751005468180e-5,
     7.86869131145613259100e-4, 1.48753612908506148525e-2, 1.36929880922735805310e-1,
     5.99832206555887937690e-1, 1.0),
)  # fmt: skip

_PPND16 = (_CENTRE, _MIDDLE, _FAR)


def _ratio(pair, r: np.ndarray) -> np.ndarray:
    return np.polyval(pair[0], r) / np.polyval(pair[1], r)


def _quantile(q: np.ndarray, tail: np.ndarray) -> np.ndarray:
    """Φ⁻¹(1/2 + q), where tail = 1/2 - |q| is given beside q to keep its precision."""
    r = np.sqrt(-np.log(tail))
    beyond = np.where(r <= 5, _ratio(_MIDDLE, r - 1.6), _ratio(_FAR, r - 5.0))
    beyond = np.where(np.isinf(r), np.inf, beyond)
    return np.where(
        np.abs(q) <= 0.425, q * _ratio(_CENTRE, 0.180625 - q * q), np.copysign(beyond, q)
    )


def _reference(name: str):
    def run(arrays, attrs, node):
        value = arrays[0].astype(np.float64)
        with np.errstate(all="ignore"):
            if name == "erfinv":
                result = _quantile(value / 2, (1 - np.abs(value)) / 2)
            else:
                result = _quantile((1 - value) / 2, np.minimum(value, 2 - value) / 2)
            return [(result / math.sqrt(2)).astype(arrays[0].dtype)]

    return run


def _polynomial(coefficients: Sequence[float], x: loop.Expr) -> loop.Expr:
    result: loop.Expr = loop.Const(coefficients[0], x.dtype)
    for coefficient in coefficients[1:]:
        scaled = loop.apply("mul", result, x)
        result = loop.apply("add", scaled, loop.Const(coefficient, x.dtype))
    return result


def _lower(name: str):
    def run(node: Node, index, context, output):
        v = context.let(context.read(0, index))
        dtype = v.dtype

        def const(value: float) -> loop.Const:
            return loop.Const(value, dtype)

        one = const(1.0)
        if name == "erfinv":
            x, below, above = v, loop.apply("sub", one, v), loop.apply("add", one, v)
        else:
            x, below, above = loop.apply("sub", one, v), v, loop.apply("sub", const(2.0), v)
        x, below, above = context.let(x), context.let(below), context.let(above)
        result = _quantile_over_root2(x, below, above, context.let, const)
        # At the ends the polynomials meet infinity; outside, the logarithm gives NaN.
        result = loop.select(loop.apply("eq", below, const(0.0)), const(math.inf), result)
        return loop.select(loop.apply("eq", above, const(0.0)), const(-math.inf), result)

    return run


def _quantile_over_root2(x, below, above, let: Callable, const: Callable) -> loop.Expr:
    """Φ⁻¹((1 + x) / 2) / √2, where x = 1 - below = above - 1.

    One division serves all three cases: numerator and denominator are chosen first.
    """
    centre, middle, far = _PPND16 if x.dtype is float64 else _PPND7
    q = let(loop.apply("mul", x, const(0.5)))
    tail = loop.apply("mul", loop.apply("minimum", below, above), const(0.5))
    r = let(loop.apply("sqrt", loop.apply("neg", loop.apply("log", tail))))
    near = let(loop.apply("le", loop.apply("abs", q), const(0.425)))
    beyond = let(loop.apply("gt", r, const(5.0)))
    shifted = loop.select(beyond, const(5.0), const(1.6))
    outer = let(loop.apply("sub", r, shifted))
    inner = let(loop.apply("sub", const(0.180625), loop.apply("mul", q, q)))

    def chosen(part: int) -> loop.Expr:
        tails = loop.select(beyond, _polynomial(far[part], outer), _polynomial(middle[part], outer))
        return loop.select(near, _polynomial(centre[part], inner), tails)

    ratio = let(loop.apply("div", chosen(0), chosen(1)))
    negative = loop.apply("lt", q, const(0.0))
    signed = loop.select(negative, loop.apply("neg", ratio), ratio)
    z = loop.select(near, loop.apply("mul", q, ratio), signed)
    return loop.apply("mul", z, const(1 / math.sqrt(2)))


def _infer(types, attrs, rules):
    (x,) = types
    if not x.dtype.is_floating:
        raise TypeRuleError(f"a float tensor is needed, got {x.dtype}")
    return [x]


def _vjp(sign: float):
    """d erfinv(x)/dx = √π/2 · exp(erfinv(x)²), and the opposite for erfcinv."""

    def run(node: Node, gradients):
        y, g = node.outputs[0], gradients[0]
        slope = find("mul")(
            find("exp")(find("mul")(y, y)), convert(sign * math.sqrt(math.pi) / 2, y.dtype)
        )
        return [find("mul")(g, slope)]

    return run


def _define(name: str, sign: float) -> Op:
    return define(
        Op(
            name=name,
            infer=_infer,
            reference=_reference(name),
            vjp=_vjp(sign),
            lower=_lower(name),
            any_rank=True,
            flops=50.0,
        )
    )


erfinv_op = _define("erfinv", 1.0)
erfcinv_op = _define("erfcinv", -1.0)


def erfinv(x, name: str | None = None) -> Tensor:
    """y with erf(y) = x, elementwise, for floats in [-1, 1]; ±inf at the ends, NaN outside."""
    return erfinv_op(convert(x, what="erfinv"), name=name)


def erfcinv(x, name: str | None = None) -> Tensor:
    """y with erfc(y) = x, elementwise, for floats in [0, 2]; accurate for small x."""
    return erfcinv_op(convert(x, what="erfcinv"), name=name)


def ndtri(p, name: str | None = None) -> Tensor:
    """The quantile of the standard normal distribution at probability p, elementwise."""
    p = convert(p, what="ndtri")
    y = erfcinv_op(find("mul")(p, convert(2.0, p.dtype)))
    return find("mul")(y, convert(-math.sqrt(2), p.dtype), name=name or "ndtri")
