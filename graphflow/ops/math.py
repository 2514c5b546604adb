"""Elementwise functions of one tensor: primitives and the functions of TensorFlow 1."""

from __future__ import annotations

import math

import numpy as np

from ..ir.node import Node, Tensor
from ..ir.op import Op
from ..loop import nodes as loop
from .arithmetic import add_op, div_op, mul_op, sub_op
from .convert import convert
from .pointwise import FLOAT, SIGNED, elementwise, no_gradient

__all__ = [
    "abs",
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atanh",
    "ceil",
    "clip_by_value",
    "cos",
    "cosh",
    "digamma",
    "erf",
    "erfc",
    "exp",
    "expm1",
    "floor",
    "lgamma",
    "log",
    "log1p",
    "log_sigmoid",
    "negative",
    "reciprocal",
    "rint",
    "round",
    "rsqrt",
    "sigmoid",
    "sign",
    "sin",
    "sinh",
    "softplus",
    "sqrt",
    "tan",
    "tanh",
    "trigamma",
]

# -- special functions for the references --------------------------------------------------------


def _lgamma(x: float) -> float:
    if math.isinf(x):
        return math.inf
    try:
        return math.lgamma(x)
    except ValueError:  # the poles at 0, -1, -2, …
        return math.inf


def _digamma(x: np.ndarray) -> np.ndarray:
    """The derivative of lgamma: reflection, recurrence up to 10, then the asymptotic series
    (Abramowitz & Stegun 6.3.5, 6.3.7 and 6.3.18)."""
    wide = np.asarray(x, dtype=np.float64)
    reflect = wide <= 0
    z = np.where(reflect, 1.0 - wide, wide)
    result = np.zeros_like(z)
    while np.any(z < 10):
        small = z < 10
        result = np.where(small, result - 1.0 / z, result)
        z = np.where(small, z + 1.0, z)
    square = 1.0 / (z * z)
    tail = 1 / 240 - square * (1 / 132 - square * (691 / 32760 - square / 12))
    series = square * (1 / 12 - square * (1 / 120 - square * (1 / 252 - square * tail)))
    result = result + np.log(z) - 0.5 / z - series
    pole = reflect & (wide == np.floor(wide))
    turned = result - np.pi / np.tan(np.pi * wide)
    return np.where(pole, np.nan, np.where(reflect, turned, result))


def _wide(function) -> np.ufunc:
    """A scalar function of Python floats as one of arrays, computed in float64."""
    apply = np.frompyfunc(function, 1, 1)
    return lambda x: np.asarray(apply(x.astype(np.float64)), dtype=np.float64)  # type: ignore


def _sigmoid(x: np.ndarray) -> np.ndarray:
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e))


def _rsqrt(x: np.ndarray) -> np.ndarray:
    return (1 / np.sqrt(x.astype(np.float64))).astype(x.dtype)


# -- primitives ----------------------------------------------------------------------------------


def _number(value: float, like: Tensor) -> Tensor:
    return convert(value, like.dtype)


def _lower_abs(node: Node, index, context, output):
    x = context.read(0, index)
    if x.dtype.is_floating:
        return loop.apply("abs", x)
    x = context.let(x)
    zero = loop.Const(0, x.dtype)
    return loop.select(loop.apply("lt", x, zero), loop.apply("sub", zero, x), x)


def _lower_sign(node: Node, index, context, output):
    x = context.read(0, index)
    if x.dtype.is_floating:
        return loop.apply("sign", x)
    x = context.let(x)
    zero, one = loop.Const(0, x.dtype), loop.Const(1, x.dtype)
    negative_ = loop.select(loop.apply("lt", x, zero), loop.Const(-1, x.dtype), zero)
    return loop.select(loop.apply("gt", x, zero), one, negative_)


def _unary(name, function, derivative, accepts=FLOAT, lower=None, flops=20.0) -> Op:
    """`derivative(x, y)` is dy/dx as a tensor; None where it is 0 almost everywhere."""

    def vjp(node: Node, g: Tensor):
        return (mul_op(g, derivative(node.inputs[0], node.outputs[0])),)

    rule = no_gradient if derivative is None else vjp
    return elementwise(name, function, accepts, lower or name, rule, flops=flops)


neg_op: Op = elementwise("neg", np.negative, SIGNED, "neg", lambda node, g: (neg_op(g),))
abs_op = _unary("abs", np.abs, lambda x, y: sign_op(x), SIGNED, _lower_abs, flops=1)
sign_op: Op = elementwise(
    "sign", np.sign, SIGNED, _lower_sign, lambda node, g: (mul_op(g, _number(0, g)),)
)
floor_op = _unary("floor", np.floor, None, flops=1)
ceil_op = _unary("ceil", np.ceil, None, flops=1)
round_op = _unary("round", np.rint, None, flops=1)
# Derivatives in terms of the result where that is already computed and loses nothing.
sqrt_op = elementwise(
    "sqrt",
    np.sqrt,
    FLOAT,
    "sqrt",
    lambda node, g: (div_op(mul_op(g, _number(0.5, g)), node.outputs[0]),),
    flops=4,
)
rsqrt_op = _unary(
    "rsqrt", _rsqrt, lambda x, y: mul_op(_number(-0.5, y), mul_op(y, mul_op(y, y))), flops=6
)
reciprocal_op = _unary("reciprocal", np.reciprocal, lambda x, y: neg_op(mul_op(y, y)), flops=4)
exp_op = _unary("exp", np.exp, lambda x, y: y)
expm1_op = _unary("expm1", np.expm1, lambda x, y: exp_op(x))
log_op = elementwise(
    "log", np.log, FLOAT, "log", lambda node, g: (div_op(g, node.inputs[0]),), flops=20
)
log1p_op = elementwise(
    "log1p",
    np.log1p,
    FLOAT,
    "log1p",
    lambda node, g: (div_op(g, add_op(node.inputs[0], _number(1, g))),),
    flops=25,
)
sin_op = _unary("sin", np.sin, lambda x, y: cos_op(x), flops=25)
cos_op: Op = _unary("cos", np.cos, lambda x, y: neg_op(sin_op(x)), flops=25)
tan_op = _unary("tan", np.tan, lambda x, y: add_op(mul_op(y, y), _number(1, y)), flops=35)


def _one_minus_square(x: Tensor) -> Tensor:
    """1 - x^2 as (1 - x)(1 + x), which keeps its precision beside 1."""
    one = _number(1, x)
    return mul_op(sub_op(one, x), add_op(one, x))


asin_op = _unary("asin", np.arcsin, lambda x, y: rsqrt_op(_one_minus_square(x)), flops=30)
acos_op = _unary("acos", np.arccos, lambda x, y: neg_op(rsqrt_op(_one_minus_square(x))), flops=30)
atan_op = _unary(
    "atan", np.arctan, lambda x, y: reciprocal_op(add_op(mul_op(x, x), _number(1, x))), flops=25
)
sinh_op = _unary("sinh", np.sinh, lambda x, y: cosh_op(x), flops=30)
cosh_op: Op = _unary("cosh", np.cosh, lambda x, y: sinh_op(x), flops=30)
tanh_op = _unary("tanh", np.tanh, lambda x, y: sub_op(_number(1, y), mul_op(y, y)), flops=25)
asinh_op = _unary(
    "asinh", np.arcsinh, lambda x, y: rsqrt_op(add_op(mul_op(x, x), _number(1, x))), flops=40
)
acosh_op = _unary(
    "acosh",
    np.arccosh,
    lambda x, y: rsqrt_op(neg_op(_one_minus_square(x))),
    flops=40,
)
atanh_op = _unary("atanh", np.arctanh, lambda x, y: reciprocal_op(_one_minus_square(x)), flops=35)
sigmoid_op = _unary("sigmoid", _sigmoid, lambda x, y: mul_op(y, sub_op(_number(1, y), y)), flops=25)
softplus_op = _unary(
    "softplus", lambda x: np.logaddexp(x.dtype.type(0), x), lambda x, y: sigmoid_op(x), flops=45
)
erf_op = _unary("erf", _wide(math.erf), lambda x, y: _bell(x), flops=30)
erfc_op = _unary("erfc", _wide(math.erfc), lambda x, y: neg_op(_bell(x)), flops=35)
lgamma_op = _unary("lgamma", _wide(_lgamma), lambda x, y: digamma_op(x), flops=80)
digamma_op: Op = _unary("digamma", _digamma, lambda x, y: trigamma(x), flops=80)


def _bell(x: Tensor) -> Tensor:
    """2 / sqrt(pi) * exp(-x^2), the derivative of erf."""
    return mul_op(_number(2 / math.sqrt(math.pi), x), exp_op(neg_op(mul_op(x, x))))


# -- public functions ----------------------------------------------------------------------------


def _public(op: Op, meaning: str, name: str):
    def function(x, name=None) -> Tensor:
        return op(convert(x, what=function.__name__), name=name)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{meaning}, elementwise."
    return function


negative = _public(neg_op, "-x", "negative")
sign = _public(sign_op, "-1, 0 or 1 by the sign of x; NaN of NaN", "sign")
floor = _public(floor_op, "The largest whole number not above x", "floor")
ceil = _public(ceil_op, "The smallest whole number not below x", "ceil")
rint = _public(round_op, "The nearest whole number; halves go to the even one", "rint")
sqrt = _public(sqrt_op, "The square root of x", "sqrt")
rsqrt = _public(rsqrt_op, "1 / sqrt(x)", "rsqrt")
reciprocal = _public(reciprocal_op, "1 / x", "reciprocal")
exp = _public(exp_op, "e to the power of x", "exp")
expm1 = _public(expm1_op, "exp(x) - 1, precise for small x", "expm1")
log = _public(log_op, "The natural logarithm of x", "log")
log1p = _public(log1p_op, "log(1 + x), precise for small x", "log1p")
sin = _public(sin_op, "The sine of x (radians)", "sin")
cos = _public(cos_op, "The cosine of x (radians)", "cos")
tan = _public(tan_op, "The tangent of x (radians)", "tan")
asin = _public(asin_op, "The angle whose sine is x", "asin")
acos = _public(acos_op, "The angle whose cosine is x", "acos")
atan = _public(atan_op, "The angle whose tangent is x", "atan")
sinh = _public(sinh_op, "The hyperbolic sine of x", "sinh")
cosh = _public(cosh_op, "The hyperbolic cosine of x", "cosh")
tanh = _public(tanh_op, "The hyperbolic tangent of x", "tanh")
asinh = _public(asinh_op, "The inverse hyperbolic sine of x", "asinh")
acosh = _public(acosh_op, "The inverse hyperbolic cosine of x", "acosh")
atanh = _public(atanh_op, "The inverse hyperbolic tangent of x", "atanh")
sigmoid = _public(sigmoid_op, "1 / (1 + exp(-x))", "sigmoid")
erf = _public(erf_op, "The error function of x", "erf")
erfc = _public(erfc_op, "1 - erf(x), precise for large x", "erfc")
lgamma = _public(lgamma_op, "The logarithm of the absolute value of gamma(x)", "lgamma")
digamma = _public(digamma_op, "The derivative of lgamma at x", "digamma")


def abs(x, name=None) -> Tensor:  # noqa: A001
    """The absolute value of x, elementwise. Its gradient at 0 is 0."""
    tensor = convert(x, what="abs")
    if tensor.dtype.is_unsigned:
        from .logic import identity

        return identity(tensor, name=name)
    return abs_op(tensor, name=name)


def round(x, name=None) -> Tensor:  # noqa: A001
    """The nearest whole number, halves to the even one; integers stay as they are."""
    tensor = convert(x, what="round")
    return tensor if tensor.dtype.is_integer else round_op(tensor, name=name)


def softplus(features, name=None) -> Tensor:
    """log(1 + exp(x)), elementwise, without overflow."""
    return softplus_op(convert(features, what="softplus"), name=name)


def log_sigmoid(x, name=None) -> Tensor:
    """log(sigmoid(x)), elementwise, without overflow."""
    return neg_op(softplus_op(neg_op(convert(x, what="log_sigmoid"))), name=name or "log_sigmoid")


def trigamma(x, name=None) -> Tensor:
    """The derivative of digamma at x, elementwise: reflection for x < 1/2, recurrence up to
    x + 8, then the asymptotic series (Abramowitz & Stegun 6.4.6, 6.4.7 and 6.4.12)."""
    from .logic import less, select_op

    x = convert(x, what="trigamma")
    one = _number(1, x)
    reflect = less(x, _number(0.5, x))
    z = select_op(reflect, sub_op(one, x), x)
    total = reciprocal_op(mul_op(z, z))
    for step in range(1, 8):
        shifted = add_op(z, _number(step, x))
        total = add_op(total, reciprocal_op(mul_op(shifted, shifted)))
    z = add_op(z, _number(8, x))
    inverse = reciprocal_op(z)
    square = mul_op(inverse, inverse)
    series = _number(5 / 66, x)
    for coefficient in (-1 / 30, 1 / 42, -1 / 30, 1 / 6):
        series = add_op(_number(coefficient, x), mul_op(square, series))
    # 1/z + 1/(2 z^2) + 1/(6 z^3) - …
    tail = add_op(inverse, mul_op(square, add_op(_number(0.5, x), mul_op(inverse, series))))
    total = add_op(total, tail)
    # psi1(1 - x) + psi1(x) = (pi / sin(pi x))^2; x is replaced where that is not used.
    angle = mul_op(select_op(reflect, x, _number(0.5, x)), _number(math.pi, x))
    ratio = div_op(_number(math.pi, x), sin_op(angle))
    turned = sub_op(mul_op(ratio, ratio), total)
    return select_op(reflect, turned, total, name=name or "trigamma")


def clip_by_value(t, clip_value_min, clip_value_max, name=None) -> Tensor:
    """t limited to [clip_value_min, clip_value_max], elementwise; the limits broadcast.

    The gradient is that of t where it lies within, both ends included.
    """
    from .arithmetic import maximum, minimum

    tensor = convert(t, what="clip_by_value")
    return maximum(minimum(tensor, clip_value_max), clip_value_min, name=name or "clip_by_value")
