"""Rewrite rules of elementwise arithmetic.

What a run gives stays equal (==) to what it would have given, but for roundings, for results that
overflowed or cancelled before and now do not (the stability rewrites, after Theano's), and for
pow(x, 0.5) of -inf. Nothing that is NaN becomes a number in any other way: x * 0, x - x and x / x
of floats stay.
"""

from __future__ import annotations

import math

import numpy as np

from ...ir.node import Node, Tensor
from ...ir.op import find
from .rules import (
    RuleTable,
    beside,
    constant_operand,
    filled,
    fitted,
    is_float,
    made_by,
    never_negative,
    number,
    uniform,
)

rule = RuleTable()


def _(name: str, *inputs: Tensor, **attrs) -> Tensor:
    return find(name)(*inputs, **attrs)


# -- neutral elements ----------------------------------------------------------------------------


@rule("add")
def add_zero(node: Node):  # x + 0 -> x
    return fitted(node, beside(node, 0))


@rule("sub")
def sub_zero(node: Node):  # x - 0 -> x
    return fitted(node, node.inputs[0]) if uniform(node.inputs[1]) == 0 else None


@rule("sub")
def sub_itself(node: Node):  # x - x -> 0, of integers
    same = node.inputs[0] is node.inputs[1]
    return filled(node, 0) if same and not is_float(node) else None


@rule("mul")
def mul_one(node: Node):  # x * 1 -> x
    return fitted(node, beside(node, 1))


@rule("mul")
def mul_zero(node: Node):  # x * 0 -> 0, of integers
    return filled(node, 0) if not is_float(node) and beside(node, 0) is not None else None


@rule("mul")
def mul_minus_one(node: Node):  # x * -1 -> -x
    if node.outputs[0].dtype.is_unsigned:
        return None
    x = fitted(node, beside(node, -1))
    return None if x is None else _("neg", x)


@rule("div", "floordiv", "truncatediv")
def div_one(node: Node):  # x / 1 -> x
    if uniform(node.inputs[1]) != 1 or (node.op.name != "div" and is_float(node)):
        return None
    return fitted(node, node.inputs[0])


@rule("maximum", "minimum", "logical_and", "logical_or", "bitwise_and", "bitwise_or")
def idempotent(node: Node):  # max(x, x) -> x
    return node.inputs[0] if node.inputs[0] is node.inputs[1] else None


@rule("logical_and")
def and_constant(node: Node):  # x and True -> x, x and False -> False
    x, value = constant_operand(node)
    if x is None:
        return None
    return fitted(node, x) if value else filled(node, False)


@rule("logical_or")
def or_constant(node: Node):  # x or False -> x, x or True -> True
    x, value = constant_operand(node)
    if x is None:
        return None
    return filled(node, True) if value else fitted(node, x)


@rule("logical_not")
def not_not(node: Node):  # not not x -> x
    inner = made_by(node.inputs[0], "logical_not")
    return inner.inputs[0] if inner is not None else None


# -- signs ---------------------------------------------------------------------------------------


@rule("neg")
def neg_neg(node: Node):  # -(-x) -> x
    inner = made_by(node.inputs[0], "neg")
    return inner.inputs[0] if inner is not None else None


@rule("add")
def add_neg(node: Node):  # x + -y -> x - y
    for x, y in (node.inputs, node.inputs[::-1]):
        inner = made_by(y, "neg")
        if inner is not None:
            return _("sub", x, inner.inputs[0])
    return None


@rule("sub")
def sub_neg(node: Node):  # x - -y -> x + y
    inner = made_by(node.inputs[1], "neg")
    return None if inner is None else _("add", node.inputs[0], inner.inputs[0])


@rule("mul", "div")
def neg_both(node: Node):  # -x * -y -> x * y
    a, b = (made_by(t, "neg") for t in node.inputs)
    return _(node.op.name, a.inputs[0], b.inputs[0]) if a is not None and b is not None else None


@rule("mul")
def mul_neg_constant(node: Node):  # -x * c -> x * -c
    x, value = constant_operand(node)
    inner = made_by(x, "neg")
    if inner is None or not is_float(node):
        return None
    return fitted(node, _("mul", inner.inputs[0], number(-value, node.outputs[0].dtype)))


@rule("abs")
def abs_neg(node: Node):  # |-x| -> |x|
    inner = made_by(node.inputs[0], "neg")
    return _("abs", inner.inputs[0]) if inner is not None and is_float(node) else None


@rule("abs")
def abs_positive(node: Node):  # |x| -> x, where x cannot be negative
    x = node.inputs[0]
    return x if x.dtype.is_floating and never_negative(x) and not _may_be_minus_zero(x) else None


def _may_be_minus_zero(x: Tensor) -> bool:
    return x.node.op.name in ("sqrt", "constant", "broadcast_to")


# -- constants together --------------------------------------------------------------------------


@rule("mul")
def mul_constants(node: Node):  # (x * a) * b -> x * (a * b)
    x, outer = constant_operand(node)
    inner = made_by(x, "mul")
    if inner is None:
        return None
    y, value = constant_operand(inner)
    if y is None:
        return None
    merged = _product(value, outer, node)
    return None if merged is None else fitted(node, _("mul", y, number(merged, y.dtype)))


def _product(a, b, node: Node):
    """a * b in the node's dtype; None where that would overflow or lose bits."""
    dtype = node.outputs[0].dtype
    with np.errstate(all="ignore"):
        merged = dtype.numpy.type(a) * dtype.numpy.type(b)
    if not dtype.is_floating:
        return merged
    tiny = np.finfo(dtype.numpy).tiny
    return merged if np.isfinite(merged) and abs(merged) >= tiny else None


@rule("add")
def add_constants(node: Node):  # (x + a) + b -> x + (a + b), of integers
    x, outer = constant_operand(node)
    inner = made_by(x, "add")
    if inner is None or is_float(node):
        return None
    y, value = constant_operand(inner)
    if y is None:
        return None
    scalar = y.dtype.numpy.type
    with np.errstate(all="ignore"):
        return fitted(node, _("add", y, number(scalar(value) + scalar(outer), y.dtype)))


@rule("div")
def div_power_of_two(node: Node):  # x / 2**k -> x * 2**-k
    value = uniform(node.inputs[1])
    if value is None or not math.isfinite(value) or value == 0:
        return None
    mantissa, exponent = math.frexp(value)
    if abs(mantissa) != 0.5 or not -100 < exponent < 100:
        return None
    x = node.inputs[0]
    return fitted(node, _("mul", x, number(1 / value, x.dtype)))


# -- quotients and powers ------------------------------------------------------------------------


@rule("div")
def one_over(node: Node):  # 1 / x -> reciprocal(x)
    if uniform(node.inputs[0]) != 1:
        return None
    x = fitted(node, node.inputs[1])
    return None if x is None else _("reciprocal", x)


@rule("mul")
def mul_reciprocal(node: Node):  # x * reciprocal(y) -> x / y
    for x, y in (node.inputs, node.inputs[::-1]):
        inner = made_by(y, "reciprocal")
        # Where y is the smaller one, a reciprocal and many products are cheaper.
        if inner is not None and uniform(x) is None and y.dims == node.outputs[0].dims:
            return _("div", x, inner.inputs[0])
    return None


@rule("reciprocal")
def reciprocal_twice(node: Node):  # 1 / sqrt(x) -> rsqrt(x)
    inner = made_by(node.inputs[0], "sqrt")
    return None if inner is None else _("rsqrt", inner.inputs[0])


@rule("pow")
def pow_constant(node: Node):  # x**2 -> x*x, x**1 -> x, x**0 -> 1, x**-1 -> 1/x, x**0.5 -> sqrt(x)
    power = uniform(node.inputs[1])
    if power is None:
        return None
    if power == 0:
        return filled(node, 1)
    x = fitted(node, node.inputs[0])
    if x is None or power not in (1, 2, 3) and not is_float(node):
        return None
    if power == 1:
        return x
    if power == 2:
        return _("mul", x, x)
    if power == 3:
        return _("mul", _("mul", x, x), x)
    name = {-1: "reciprocal", 0.5: "sqrt", -0.5: "rsqrt"}.get(power)
    return None if name is None else _(name, x)


# -- exp, log and sigmoid ------------------------------------------------------------------------


@rule("log")
def log_exp(node: Node):  # log(exp(x)) -> x
    inner = made_by(node.inputs[0], "exp")
    return None if inner is None else inner.inputs[0]


@rule("exp")
def exp_log(node: Node):  # exp(log(x)) -> x, where x cannot be negative
    inner = made_by(node.inputs[0], "log")
    return inner.inputs[0] if inner is not None and never_negative(inner.inputs[0]) else None


@rule("log")
def log_one_plus(node: Node):  # log(1 + x) -> log1p(x)
    inner = made_by(node.inputs[0], "add")
    x = fitted(node, beside(inner, 1)) if inner is not None else None
    return None if x is None else _("log1p", x)


@rule("sub")
def exp_minus_one(node: Node):  # exp(x) - 1 -> expm1(x)
    inner = made_by(node.inputs[0], "exp")
    if inner is None or uniform(node.inputs[1]) != 1:
        return None
    x = fitted(node, inner.inputs[0])
    return None if x is None else _("expm1", x)


@rule("log1p")
def log1p_exp(node: Node):  # log1p(exp(x)) -> softplus(x)
    inner = made_by(node.inputs[0], "exp")
    return None if inner is None else _("softplus", inner.inputs[0])


@rule("log1p")
def log1p_neg_sigmoid(node: Node):  # log1p(-sigmoid(x)) -> -softplus(x)
    outer = made_by(node.inputs[0], "neg")
    inner = made_by(outer.inputs[0], "sigmoid") if outer is not None else None
    return None if inner is None else _("neg", _("softplus", inner.inputs[0]))


@rule("log")
def log_sigmoid(node: Node):  # log(sigmoid(x)) -> -softplus(-x)
    inner = made_by(node.inputs[0], "sigmoid")
    return None if inner is None else _("neg", _("softplus", _("neg", inner.inputs[0])))


@rule("sub")
def one_minus_sigmoid(node: Node):  # 1 - sigmoid(x) -> sigmoid(-x)
    inner = made_by(node.inputs[1], "sigmoid")
    if inner is None or uniform(node.inputs[0]) != 1:
        return None
    x = fitted(node, inner.inputs[0])
    return None if x is None else _("sigmoid", _("neg", x))


@rule("reciprocal")
def sigmoid_written_out(node: Node):  # 1 / (1 + exp(-x)) -> sigmoid(x)
    total = made_by(node.inputs[0], "add")
    power = made_by(beside(total, 1), "exp") if total is not None else None
    if power is None:
        return None
    x = fitted(node, power.inputs[0])
    return None if x is None else _("sigmoid", _("neg", x))


@rule("log")
def log_exp_quotient(node: Node):  # log(exp(x) / y) -> x - log(y), as in log(softmax)
    quotient = made_by(node.inputs[0], "div")
    power = made_by(quotient.inputs[0], "exp") if quotient is not None else None
    if quotient is None or power is None:
        return None
    if not never_negative(quotient.inputs[1]) and not _sum_of_exp(quotient):
        return None
    return _("sub", power.inputs[0], _("log", quotient.inputs[1]))


def _sum_of_exp(quotient: Node) -> bool:
    """Whether the divisor is a sum of exponentials, which is positive."""
    y = quotient.inputs[1]
    while y.node.op.name in ("reshape", "broadcast_to"):
        y = y.node.inputs[0]
    total = made_by(y, "reduce")
    return total is not None and total.attrs["kind"] == "sum" and never_negative(total.inputs[0])


# -- selection, comparison, conversion -----------------------------------------------------------


@rule("select")
def select_constant(node: Node):  # select(True, a, b) -> a
    condition, a, b = node.inputs
    value = uniform(condition)
    return None if value is None else fitted(node, a if value else b)


@rule("select")
def select_same(node: Node):  # select(c, a, a) -> a
    _condition, a, b = node.inputs
    return fitted(node, a) if a is b else None


@rule("select")
def select_not(node: Node):  # select(not c, a, b) -> select(c, b, a)
    inner = made_by(node.inputs[0], "logical_not")
    return None if inner is None else _("select", inner.inputs[0], *node.inputs[:0:-1])


@rule("equal", "less_equal", "greater_equal", "not_equal", "less", "greater")
def compare_itself(node: Node):  # x == x -> True, of integers
    x, y = node.inputs
    if x is not y or x.dtype.is_floating:
        return None
    return filled(node, node.op.name in ("equal", "less_equal", "greater_equal"))


@rule("cast")
def cast_same(node: Node):  # cast(x, its own dtype) -> x
    return node.inputs[0] if node.inputs[0].dtype is node.attrs["dtype"] else None


@rule("cast")
def cast_twice(node: Node):  # cast(cast(x, wider), d) -> cast(x, d)
    inner = made_by(node.inputs[0], "cast")
    if inner is None:
        return None
    x = inner.inputs[0]
    exact = x.dtype.is_bool or np.can_cast(x.dtype.numpy, inner.attrs["dtype"].numpy, "safe")
    return _("cast", x, dtype=node.attrs["dtype"]) if exact else None


@rule("identity", "stop_gradient")
def identity(node: Node):  # identity(x) -> x
    return node.inputs[0]
