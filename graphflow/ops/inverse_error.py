"""The inverses of erf and erfc: what turns uniform random numbers into normal ones.

float32: M. Giles, "Approximating the erfinv function", GPU Computing Gems 2 (2011), two
polynomials in w = -log(1 - x²). float64: M. Wichura, "Algorithm AS 241: The Percentage Points of
the Normal Distribution", Applied Statistics 37 (1988), PPND16, by erfinv(x) = Φ⁻¹((1+x)/2)/√2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from ..dtypes import DType, float64
from ..errors import TypeRuleError
from ..ir.node import Node, Tensor
from ..ir.op import Op, define, find
from ..loop import nodes as loop
from .convert import convert

__all__ = ["erfcinv", "erfinv", "ndtri"]

# Giles, highest degree first: in w - 2.5 for w < 5, in sqrt(w) - 3 beyond.
_GILES_CENTRE = (
    2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087,
    -0.00125372503, -0.00417768164, 0.246640727, 1.50140941,
)  # fmt: skip
_GILES_TAIL = (
    -0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773,
    -0.0076224613, 0.00943887047, 1.00167406, 2.83297682,
)  # fmt: skip

# AS 241, numerator and denominator of its three rational functions, highest degree first.
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


def _rational(pair, x: loop.Expr) -> loop.Expr:
    return loop.apply("div", _polynomial(pair[0], x), _polynomial(pair[1], x))


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
        result = _LOWER[dtype](x, below, above, context.let, const)
        # At the ends the polynomials meet infinity; outside, the logarithm gives NaN.
        result = loop.select(loop.apply("eq", below, const(0.0)), const(math.inf), result)
        return loop.select(loop.apply("eq", above, const(0.0)), const(-math.inf), result)

    return run


def _lower_float32(x, below, above, let: Callable, const: Callable) -> loop.Expr:
    """x = 1 - below = above - 1; w = -log(1 - x²)."""
    w = let(loop.apply("neg", loop.apply("log", loop.apply("mul", below, above))))
    centre = _polynomial(_GILES_CENTRE, let(loop.apply("sub", w, const(2.5))))
    root = let(loop.apply("sub", loop.apply("sqrt", w), const(3.0)))
    beyond = _polynomial(_GILES_TAIL, root)
    chosen = loop.select(loop.apply("lt", w, const(5.0)), centre, beyond)
    return loop.apply("mul", chosen, x)


def _lower_float64(x, below, above, let: Callable, const: Callable) -> loop.Expr:
    half = const(0.5)
    q = let(loop.apply("mul", x, half))
    tail = loop.apply("mul", loop.apply("minimum", below, above), half)
    r = let(loop.apply("sqrt", loop.apply("neg", loop.apply("log", tail))))
    square = loop.apply("mul", q, q)
    centre = _rational(_CENTRE, let(loop.apply("sub", const(0.180625), square)))
    centre = loop.apply("mul", q, centre)
    middle = _rational(_MIDDLE, let(loop.apply("sub", r, const(1.6))))
    far = _rational(_FAR, let(loop.apply("sub", r, const(5.0))))
    beyond = let(loop.select(loop.apply("le", r, const(5.0)), middle, far))
    negative = loop.apply("lt", q, const(0.0))
    beyond = loop.select(negative, loop.apply("neg", beyond), beyond)
    near = loop.apply("le", loop.apply("abs", q), const(0.425))
    z = loop.select(near, centre, beyond)
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


class _Lowerings(dict):
    """float32's polynomials unless the dtype asks for more."""

    def __missing__(self, dtype: DType):
        return _lower_float32


_LOWER = _Lowerings({float64: _lower_float64})


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
