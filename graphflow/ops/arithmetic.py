"""Elementwise arithmetic of two tensors: primitives and the functions of TensorFlow 1.

Division: `/` and `truediv` are true division (integers become floats first), `//` and `floordiv`
round towards minus infinity, `div` is `//` for integers and `/` for floats (Python 2's meaning,
which TensorFlow 1 keeps), `truncatediv` rounds towards zero. `mod` has the sign of the divisor,
`truncatemod` that of the dividend. An integer divisor of zero fails the run.
"""

from __future__ import annotations

import numpy as np

from ..dtypes import DType, float32, float64
from ..errors import InvalidArgumentError
from ..ir.node import Node, Tensor
from ..loop import nodes as loop
from .convert import convert, convert_all, convert_pair, reject
from .pointwise import FLOAT, NUMERIC, elementwise

__all__ = [
    "accumulate_n",
    "add",
    "add_n",
    "atan2",
    "div",
    "div_no_nan",
    "divide",
    "floor_div",
    "floordiv",
    "floormod",
    "maximum",
    "minimum",
    "mod",
    "multiply",
    "pow",
    "realdiv",
    "scalar_mul",
    "square",
    "squared_difference",
    "subtract",
    "truediv",
    "truncatediv",
    "truncatemod",
]

# -- primitives ----------------------------------------------------------------------------------

add_op = elementwise("add", np.add, NUMERIC, "add", lambda node, g: (g, g))
sub_op = elementwise("sub", np.subtract, NUMERIC, "sub", lambda node, g: (g, -g))


def _mul_vjp(node: Node, g: Tensor):
    a, b = node.inputs
    return mul_op(g, b), mul_op(g, a)


mul_op = elementwise("mul", np.multiply, NUMERIC, "mul", _mul_vjp)


def _div_vjp(node: Node, g: Tensor):
    _, b = node.inputs
    quotient = div_op(g, b)
    return quotient, -mul_op(quotient, node.outputs[0])


div_op = elementwise("div", np.true_divide, FLOAT, "div", _div_vjp, flops=4)

_ZERO_DIVISION = "integer division by zero"


def _nonzero(function):
    """The reference of an integer division: a zero divisor is an error."""

    def divide(a: np.ndarray, b: np.ndarray):
        if a.dtype.kind in "iu" and np.any(b == 0) and np.broadcast(a, b).size:
            raise InvalidArgumentError(_ZERO_DIVISION)
        return function(a, b)

    return divide


def _lower_division(operator: str, truncates: bool, remainder: bool):
    """Integers: the divisors 0 (checked) and -1 (whose quotient can overflow) never reach the
    machine's division, which traps on both."""

    def lower(node: Node, index, context, output):
        a = context.read_broadcast(0, index)
        b = context.read_broadcast(1, index)
        dtype = a.dtype
        if dtype.is_floating:
            if truncates:
                return loop.apply("truncmod", a, b)
            if not remainder:
                return loop.apply("floor", loop.apply("div", a, b))
            return loop.apply("mod", a, b)
        if isinstance(b, loop.Const) and b.value not in (0, -1):
            return loop.apply(operator, a, b)
        a, b = context.let(a), context.let(b)
        zero, one = loop.Const(0, dtype), loop.Const(1, dtype)
        context.check(loop.apply("ne", b, zero), _ZERO_DIVISION, error="InvalidArgumentError")
        bad = loop.apply("eq", b, zero)
        if dtype.is_unsigned:
            return loop.apply(operator, a, loop.select(bad, one, b))
        minus = loop.apply("eq", b, loop.Const(-1, dtype))
        safe = loop.select(loop.apply("or", bad, minus), one, b)
        special = zero if remainder else loop.apply("sub", zero, a)
        return loop.select(minus, special, loop.apply(operator, a, safe))

    return lower


def _truncate_divide(a: np.ndarray, b: np.ndarray):
    quotient = np.floor_divide(a, b)
    inexact = quotient * b != a
    return quotient + (inexact & ((a < 0) != (b < 0))).astype(a.dtype)


def _floor_quotient(a: np.ndarray, b: np.ndarray):
    # floor(a / b), not NumPy's correction by the remainder: what the compiled step computes.
    return np.floor(a / b) if a.dtype.kind == "f" else np.floor_divide(a, b)


def _no_quotient_gradient(node: Node, g: Tensor):
    return None, None


floordiv_op = elementwise(
    "floordiv",
    _nonzero(_floor_quotient),
    NUMERIC,
    _lower_division("floordiv", truncates=False, remainder=False),
    _no_quotient_gradient,
    flops=5,
    fallible=True,
)


def _mod_vjp(node: Node, g: Tensor):
    a, b = node.inputs
    return g, -mul_op(g, floordiv_op(a, b))


mod_op = elementwise(
    "mod",
    _nonzero(np.mod),
    NUMERIC,
    _lower_division("mod", truncates=False, remainder=True),
    _mod_vjp,
    flops=6,
    fallible=True,
)


def _lower_truncatediv(node: Node, index, context, output):
    if node.inputs[0].dtype.is_floating:
        a = context.read_broadcast(0, index)
        return loop.apply("trunc", loop.apply("div", a, context.read_broadcast(1, index)))
    return _truncating(node, index, context, output)


_truncating = _lower_division("div", truncates=False, remainder=False)

truncatediv_op = elementwise(
    "truncatediv",
    _nonzero(lambda a, b: np.trunc(a / b) if a.dtype.kind == "f" else _truncate_divide(a, b)),
    NUMERIC,
    _lower_truncatediv,
    _no_quotient_gradient,
    flops=5,
    fallible=True,
)


def _truncatemod_vjp(node: Node, g: Tensor):
    a, b = node.inputs
    return g, -mul_op(g, truncatediv_op(a, b))


truncatemod_op = elementwise(
    "truncatemod",
    _nonzero(np.fmod),
    NUMERIC,
    _lower_division("truncmod", truncates=True, remainder=True),
    _truncatemod_vjp,
    flops=6,
    fallible=True,
)


def _extremum_vjp(compare: str):
    """The gradient goes to the first operand where both are equal, as in TensorFlow 1."""

    def vjp(node: Node, g: Tensor):
        from .logic import compare_ops, select_op

        a, b = node.inputs
        # max(a, b) tells as well as b whether it is a. Of relu only the result then has to wait for
        # the gradient, and that is in memory for the next layer anyway.
        first = compare_ops[compare](a, node.outputs[0] if a.dims == () else b)
        zero = convert(0, g.dtype)
        return select_op(first, g, zero), select_op(first, zero, g)

    return vjp


maximum_op = elementwise("maximum", np.maximum, NUMERIC, "maximum", _extremum_vjp("greater_equal"))
minimum_op = elementwise("minimum", np.minimum, NUMERIC, "minimum", _extremum_vjp("less_equal"))


def _pow_vjp(node: Node, g: Tensor):
    """x^(y-1) has a false singularity at x = y = 0, and log(x) one where x <= 0: both are moved
    out of the way before they are computed, so that no NaN gets through a mask."""
    from .logic import equal, greater, logical_and, select_op
    from .math import log
    from .values import constant_value

    x, y = node.inputs
    one = convert(1, x.dtype)
    exponent = constant_value(y)
    base = x
    if exponent is None or np.any(exponent == 0):
        base = select_op(logical_and(equal(x, 0.0), equal(y, 0.0)), one, x)
    to_base = mul_op(mul_op(g, y), pow_op(base, sub_op(y, one)))
    positive = greater(x, 0.0)
    logarithm = select_op(positive, log(select_op(positive, x, one)), convert(0, x.dtype))
    return to_base, mul_op(mul_op(g, node.outputs[0]), logarithm)


_NEGATIVE_POWER = "an integer to a negative integer power"


def _pow_reference(a: np.ndarray, b: np.ndarray):
    if a.dtype.kind in "iu" and np.any(b < 0):
        raise InvalidArgumentError(_NEGATIVE_POWER)
    return np.power(a, b)


def _lower_pow(node: Node, index, context, output):
    a = context.read_broadcast(0, index)
    b = context.read_broadcast(1, index)
    dtype = a.dtype
    if dtype.is_floating:
        return loop.apply("pow", a, b)
    # Square and multiply over the bits of the exponent.
    zero, one = loop.Const(0, dtype), loop.Const(1, dtype)
    constant = b.value if isinstance(b, loop.Const) and b.value >= 0 else None
    if constant is None:
        b = context.let(b)
        if not dtype.is_unsigned:
            context.check(loop.apply("ge", b, zero), _NEGATIVE_POWER, error="InvalidArgumentError")
    result: loop.Expr = one
    bits = dtype.bits - (0 if dtype.is_unsigned else 1)
    for bit in range(bits if constant is None else int(constant).bit_length()):
        a = context.let(loop.apply("mul", a, a) if bit else a)
        if constant is not None:
            if int(constant) >> bit & 1:
                result = context.let(loop.apply("mul", result, a))
            continue
        odd = loop.apply("and", loop.apply("shr", b, loop.Const(bit, dtype)), one)
        factor = loop.select(loop.apply("ne", odd, zero), a, one)
        result = context.let(loop.apply("mul", result, factor))
    return result


pow_op = elementwise("pow", _pow_reference, NUMERIC, _lower_pow, _pow_vjp, flops=40, fallible=True)


def _atan2_vjp(node: Node, g: Tensor):
    y, x = node.inputs
    scaled = div_op(g, add_op(mul_op(x, x), mul_op(y, y)))
    return mul_op(x, scaled), -mul_op(y, scaled)


atan2_op = elementwise("atan2", np.arctan2, FLOAT, "atan2", _atan2_vjp, flops=30)

# -- public functions ----------------------------------------------------------------------------


def add(x, y, name=None) -> Tensor:
    """x + y, elementwise."""
    return add_op(*convert_pair(x, y, "add"), name=name)


def subtract(x, y, name=None) -> Tensor:
    """x - y, elementwise."""
    return sub_op(*convert_pair(x, y, "subtract"), name=name)


def multiply(x, y, name=None) -> Tensor:
    """x * y, elementwise."""
    return mul_op(*convert_pair(x, y, "multiply"), name=name)


def scalar_mul(scalar, x, name=None) -> Tensor:
    """A number times a tensor."""
    factor, tensor = convert_pair(scalar, x, "scalar_mul")
    if factor.rank not in (0, None):
        reject("scalar_mul", f"a scalar is needed, got {factor.tensor_type}")
    return mul_op(factor, tensor, name=name)


# What integers become before a true division, as in TensorFlow 1.
_QUOTIENT: dict[str, DType] = {
    "int8": float32, "uint8": float32, "int32": float64, "uint32": float64, "int64": float64,
}  # fmt: skip


def truediv(x, y, name=None) -> Tensor:
    """x / y as floats: integers of 8 bits become float32, wider ones float64."""
    from .logic import cast

    a, b = convert_pair(x, y, "truediv")
    if a.dtype is b.dtype and a.dtype.is_integer:
        wide = _QUOTIENT[a.dtype.name]
        a, b = cast(a, wide), cast(b, wide)
    return div_op(a, b, name=name or "truediv")


def divide(x, y, name=None) -> Tensor:
    """x / y: the same as truediv."""
    return truediv(x, y, name=name)


def realdiv(x, y, name=None) -> Tensor:
    """x / y for floats."""
    return div_op(*convert_pair(x, y, "realdiv"), name=name)


def floordiv(x, y, name=None) -> Tensor:
    """floor(x / y), elementwise. Integer division by zero fails the run."""
    return floordiv_op(*convert_pair(x, y, "floordiv"), name=name)


floor_div = floordiv


def div(x, y, name=None) -> Tensor:
    """x / y with Python 2's meaning: floor division of integers, true division of floats."""
    a, b = convert_pair(x, y, "div")
    return (div_op if a.dtype.is_floating else floordiv_op)(a, b, name=name)


def div_no_nan(x, y, name=None) -> Tensor:
    """x / y, and 0 where y is 0; the gradient is 0 there too."""
    from .logic import equal, select_op

    a, b = convert_pair(x, y, "div_no_nan")
    zero = equal(b, convert(0, b.dtype))
    safe = div_op(a, select_op(zero, convert(1, b.dtype), b))
    return select_op(zero, convert(0, a.dtype), safe, name=name or "div_no_nan")


def floormod(x, y, name=None) -> Tensor:
    """x - floor(x / y) * y: the remainder with the sign of y."""
    return mod_op(*convert_pair(x, y, "mod"), name=name)


mod = floormod


def truncatediv(x, y, name=None) -> Tensor:
    """x / y rounded towards zero."""
    return truncatediv_op(*convert_pair(x, y, "truncatediv"), name=name)


def truncatemod(x, y, name=None) -> Tensor:
    """The remainder with the sign of x."""
    return truncatemod_op(*convert_pair(x, y, "truncatemod"), name=name)


def pow(x, y, name=None) -> Tensor:  # noqa: A001
    """x to the power of y. Negative integer powers of integers fail the run."""
    return pow_op(*convert_pair(x, y, "pow"), name=name)


def square(x, name=None) -> Tensor:
    """x * x, elementwise."""
    tensor = convert(x, what="square")
    return mul_op(tensor, tensor, name=name or "Square")


def squared_difference(x, y, name=None) -> Tensor:
    """(x - y)^2, elementwise."""
    difference = subtract(x, y)
    return mul_op(difference, difference, name=name or "SquaredDifference")


def maximum(x, y, name=None) -> Tensor:
    """The larger of x and y, elementwise; NaN where either is. Ties send the gradient to x."""
    return maximum_op(*convert_pair(x, y, "maximum"), name=name)


def minimum(x, y, name=None) -> Tensor:
    """The smaller of x and y, elementwise; NaN where either is. Ties send the gradient to x."""
    return minimum_op(*convert_pair(x, y, "minimum"), name=name)


def atan2(y, x, name=None) -> Tensor:
    """The angle of the point (x, y), in (-pi, pi]."""
    return atan2_op(*convert_pair(y, x, "atan2"), name=name)


def add_n(inputs, name=None) -> Tensor:
    """The sum of tensors of one shape and dtype, added from the first to the last."""
    from .logic import identity

    tensors = convert_all(inputs, "add_n") if isinstance(inputs, (list, tuple)) else [inputs]
    if not tensors:
        reject("add_n", "at least one tensor is needed")
    known = [t for t in tensors if t.dims is not None]
    for other in known[1:]:
        differs = len(other.dims) != len(known[0].dims) or any(
            isinstance(a, int) and isinstance(b, int) and a != b
            for a, b in zip(known[0].dims, other.dims, strict=True)
        )
        if differs:
            reject(
                "add_n",
                f"all inputs must have one shape, got {known[0].tensor_type} "
                f"and {other.tensor_type}",
            )
    if len(tensors) == 1:
        return identity(tensors[0], name=name)
    total = tensors[0]
    for tensor in tensors[1:-1]:
        total = add_op(total, tensor)
    return add_op(total, tensors[-1], name=name or "AddN")


def accumulate_n(inputs, shape=None, tensor_dtype=None, name=None) -> Tensor:
    """The same as add_n; `shape` and `tensor_dtype` are accepted and not needed."""
    return add_n(inputs, name=name or "AccumulateN")
