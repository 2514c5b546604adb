"""Cases of elementwise operations."""

from __future__ import annotations

import math

import mpmath
import numpy as np
from cases import EXACT, FUNCTION, ROUNDING, Tolerance, case, random

from graphflow.ops import activation, arithmetic, logic
from graphflow.ops import math as unary

# Sizes 0, 1, odd, past a vector, and past a grain.
SHAPES = {"scalar": (), "one": (1,), "none": (0, 3), "odd": (7, 5), "long": (3, 1031)}
FLOATS = ("float32", "float64")
INTEGERS = ("int8", "uint8", "int32", "int64")


def wide(function):
    """A scalar function of floats, exact to float64 and rounded to the dtype of the argument."""
    apply = np.frompyfunc(lambda x: float(function(float(x))), 1, 1)
    return lambda x: np.asarray(apply(x), dtype=np.float64).astype(x.dtype)


def _gamma(function):
    def of(x: float) -> float:
        try:
            return float(function(mpmath.mpf(x)))
        except (ValueError, ZeroDivisionError):
            return math.nan

    return of


# -- one argument --------------------------------------------------------------------------------

UNARY = {
    # name: (function, NumPy, low, high)
    "negative": (unary.negative, np.negative, -3, 3),
    "abs": (unary.abs, np.abs, -3, 3),
    "sign": (unary.sign, np.sign, -3, 3),
    "floor": (unary.floor, np.floor, -9, 9),
    "ceil": (unary.ceil, np.ceil, -9, 9),
    "round": (unary.round, np.rint, -9, 9),
    "sqrt": (unary.sqrt, np.sqrt, 0.1, 9),
    "rsqrt": (unary.rsqrt, lambda x: (1 / np.sqrt(x.astype(np.float64))).astype(x.dtype), 0.1, 9),
    "reciprocal": (unary.reciprocal, lambda x: 1 / x, 0.2, 5),
    "exp": (unary.exp, np.exp, -5, 5),
    "expm1": (unary.expm1, np.expm1, -3, 3),
    "log": (unary.log, np.log, 0.05, 20),
    "log1p": (unary.log1p, np.log1p, -0.9, 5),
    "sin": (unary.sin, np.sin, -9, 9),
    "cos": (unary.cos, np.cos, -9, 9),
    "tan": (unary.tan, np.tan, -1.4, 1.4),
    "asin": (unary.asin, np.arcsin, -0.95, 0.95),
    "acos": (unary.acos, np.arccos, -0.95, 0.95),
    "atan": (unary.atan, np.arctan, -5, 5),
    "sinh": (unary.sinh, np.sinh, -4, 4),
    "cosh": (unary.cosh, np.cosh, -4, 4),
    "tanh": (unary.tanh, np.tanh, -4, 4),
    "asinh": (unary.asinh, np.arcsinh, -5, 5),
    "acosh": (unary.acosh, np.arccosh, 1.1, 9),
    "atanh": (unary.atanh, np.arctanh, -0.95, 0.95),
    "sigmoid": (unary.sigmoid, wide(lambda x: 1 / (1 + math.exp(-x))), -9, 9),
    "softplus": (unary.softplus, wide(lambda x: math.log1p(math.exp(x))), -9, 9),
    "log_sigmoid": (unary.log_sigmoid, wide(lambda x: -math.log1p(math.exp(-x))), -9, 9),
    "erf": (unary.erf, wide(math.erf), -4, 4),
    "erfc": (unary.erfc, wide(math.erfc), -4, 4),
    "lgamma": (unary.lgamma, wide(math.lgamma), 2.5, 9),
    "digamma": (unary.digamma, wide(_gamma(mpmath.digamma)), 2, 9),
    "trigamma": (unary.trigamma, wide(_gamma(lambda x: mpmath.polygamma(1, x))), 0.3, 9),
    "square": (arithmetic.square, np.square, -3, 3),
    "relu": (activation.relu, lambda x: np.maximum(x, 0), -3, 3),
    "relu6": (activation.relu6, lambda x: np.clip(x, 0, 6), -3, 9),
    "elu": (activation.elu, wide(lambda x: x if x > 0 else math.expm1(x)), -3, 3),
    "selu": (
        activation.selu,
        wide(lambda x: 1.0507009873554805 * (x if x > 0 else 1.6732632423543772 * math.expm1(x))),
        -3,
        3,
    ),
    "leaky_relu": (activation.leaky_relu, wide(lambda x: x if x > 0 else 0.2 * x), -3, 3),
    "softsign": (activation.softsign, lambda x: x / (1 + np.abs(x)), -5, 5),
    "swish": (activation.swish, wide(lambda x: x / (1 + math.exp(-x))), -5, 5),
    "gelu": (
        activation.gelu,
        wide(lambda x: x * 0.5 * math.erfc(-x / math.sqrt(2))),
        -3,
        3,
    ),
    "gelu_tanh": (
        lambda x: activation.gelu(x, approximate=True),
        wide(lambda x: x * 0.5 * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))),
        -3,
        3,
    ),
}
_EXACT = {"negative", "abs", "sign", "floor", "ceil", "round", "sqrt", "relu", "relu6", "square"}
# lgamma and digamma have a root in these ranges, beside which only an absolute error is kept.
_NEAR_ROOT = Tolerance(4e-6, 2e-6, "an absolute error beside the function's root")
_ROOTS = {"gelu", "gelu_tanh", "swish", "softplus", "log_sigmoid", "elu", "selu", "trigamma"}

for _name, (_build, _numpy, _low, _high) in UNARY.items():
    _tolerance = EXACT if _name in _EXACT else _NEAR_ROOT if _name in _ROOTS else FUNCTION
    for _dtype in FLOATS:
        for _label in ("odd", "long") if _dtype == "float32" else ("odd",):
            case(
                f"{_name}-{_dtype}-{_label}",
                _build,
                (_dtype, SHAPES[_label], _low, _high),
                expected=_numpy,
                tolerance=_tolerance,
                differentiable=_name not in ("floor", "ceil", "round", "sign"),
            )

for _label in ("scalar", "one", "none"):
    for _name in ("negative", "exp", "relu", "sigmoid"):
        _build, _numpy, _low, _high = UNARY[_name]
        case(
            f"{_name}-float32-{_label}",
            _build,
            ("float32", SHAPES[_label], _low, _high),
            expected=_numpy,
            tolerance=EXACT if _name in _EXACT else FUNCTION,
        )

_EDGES = np.array(
    [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-40, -1e-40, 3.4e38, -3.4e38, 0.5, -0.5,
     1e-10, -1e-10, 88.8, -88.8, 104.0, -104.0, 1e10, -1e10, 2.5, -2.5, 1.5]
)  # fmt: skip
for _name in (
    "negative", "abs", "sign", "floor", "ceil", "round", "sqrt", "exp", "expm1", "log", "log1p",
    "tanh", "atan", "asinh", "erf", "relu", "sin", "cos",
):  # fmt: skip
    _build, _numpy, *_ = UNARY[_name]
    _edges = _EDGES.copy()
    if _name in ("sin", "cos"):
        _edges = _edges[np.abs(np.nan_to_num(_edges, posinf=0, neginf=0)) < 1e4]
    for _dtype in FLOATS:
        case(
            f"{_name}-{_dtype}-edges",
            _build,
            _edges.astype(_dtype),
            expected=_numpy,
            tolerance=EXACT if _name in _EXACT else FUNCTION,
            differentiable=False,
        )

for _dtype in ("int8", "int32", "int64"):
    for _name in ("negative", "abs", "sign", "square"):
        case(
            f"{_name}-{_dtype}",
            UNARY[_name][0],
            (_dtype, SHAPES["odd"], -9, 9),
            expected=UNARY[_name][1],
        )

# -- two arguments -------------------------------------------------------------------------------

BINARY = {
    "add": (arithmetic.add, np.add, EXACT),
    "subtract": (arithmetic.subtract, np.subtract, EXACT),
    "multiply": (arithmetic.multiply, np.multiply, EXACT),
    "maximum": (arithmetic.maximum, np.maximum, EXACT),
    "minimum": (arithmetic.minimum, np.minimum, EXACT),
    "squared_difference": (
        arithmetic.squared_difference,
        lambda a, b: np.square(a - b),
        EXACT,
    ),
}
BROADCASTS = {
    "same": ((4, 9), (4, 9)),
    "row": ((4, 9), (9,)),
    "column": ((4, 9), (4, 1)),
    "outer": ((5, 1, 3), (1, 6, 1)),
    "number": ((4, 9), ()),
    "rank": ((3,), (2, 4, 3)),
    "none": ((0, 3), (3,)),
}
for _name, (_build, _numpy, _tolerance) in BINARY.items():
    for _label, (_a, _b) in BROADCASTS.items():
        case(
            f"{_name}-float32-{_label}",
            _build,
            ("float32", _a),
            ("float32", _b),
            expected=_numpy,
            tolerance=_tolerance,
            # A row or a smaller rank is not aligned with the first axis of the other.
            symbolic=[(0,), (0,)] if _label == "same" else [(0,), ()],
        )
    for _dtype in ("float64", *INTEGERS):
        case(
            f"{_name}-{_dtype}",
            _build,
            (_dtype, (6, 11), 0, 12),
            (_dtype, (6, 11), 0, 12),
            expected=_numpy,
        )

case(
    "add-two-unknown-axes",
    arithmetic.add,
    ("float32", (3, 5)),
    ("float32", (3, 5)),
    expected=np.add,
    symbolic=[(0, 1), (0, 1)],
)

_SIGNED = np.array([7, -7, 7, -7, 6, -6, 0, 1, -1, 127, -128, -128], np.int8)
_DIVISORS = np.array([3, 3, -3, -3, 2, -2, 5, -1, 1, -128, -1, 1], np.int8)


def _truncated(a, b):
    return (np.sign(a.astype(np.int64)) * np.sign(b.astype(np.int64))
            * (np.abs(a.astype(np.int64)) // np.abs(b.astype(np.int64)))).astype(a.dtype
)  # fmt: skip


DIVISIONS = {
    "floordiv": (arithmetic.floordiv, np.floor_divide, lambda a, b: np.floor(a / b)),
    "mod": (arithmetic.floormod, np.mod, np.mod),
    "truncatediv": (arithmetic.truncatediv, _truncated, lambda a, b: np.trunc(a / b)),
    "truncatemod": (arithmetic.truncatemod, np.fmod, np.fmod),
}
for _name, (_build, _numpy, _floats) in DIVISIONS.items():
    for _dtype in ("int8", "int32", "int64"):
        # -128 / -1 overflows int8, and wraps.
        case(
            f"{_name}-{_dtype}",
            _build,
            _SIGNED.astype(_dtype),
            _DIVISORS.astype(_dtype),
            expected=_numpy,
        )
    case(f"{_name}-uint8", _build, ("uint8", (5, 7), 0, 255), ("uint8", (5, 7), 1, 255),
         expected=np.mod if "mod" in _name else np.floor_divide)  # fmt: skip
    for _dtype in FLOATS:
        case(
            f"{_name}-{_dtype}",
            _build,
            (_dtype, (5, 7), -9, 9),
            (_dtype, (5, 7), 0.5, 3),
            expected=_floats,
            tolerance=Tolerance(2e-6, 2e-6, "a remainder is what is left after cancellation"),
            differentiable=_name in ("mod", "truncatemod") and _dtype == "float64",
        )
    case(f"{_name}-int32-constant", lambda a, build=_build: build(a, 7), ("int32", (31,), -90, 90),
         expected=lambda a, f=_numpy: f(a, np.int32(7)))  # fmt: skip

for _dtype in FLOATS:
    case(f"truediv-{_dtype}", arithmetic.truediv, (_dtype, (5, 7)), (_dtype, (5, 7), 0.5, 3),
         expected=np.divide)  # fmt: skip
    case(f"pow-{_dtype}", arithmetic.pow, (_dtype, (5, 7), 0.1, 3), (_dtype, (5, 7), -2, 2),
         expected=np.power, tolerance=FUNCTION)  # fmt: skip
    case(f"atan2-{_dtype}", arithmetic.atan2, (_dtype, (5, 7)), (_dtype, (5, 7)),
         expected=np.arctan2, tolerance=FUNCTION)  # fmt: skip
case("truediv-int32", arithmetic.truediv, ("int32", (5, 7)), ("int32", (5, 7), 1, 9),
     expected=np.divide)  # fmt: skip
case("truediv-int8", arithmetic.truediv, ("int8", (5, 7)), ("int8", (5, 7), 1, 9),
     expected=lambda a, b: a.astype(np.float32) / b.astype(np.float32))  # fmt: skip
case("div-int32", arithmetic.div, ("int32", (5, 7), -9, 9), ("int32", (5, 7), 1, 9),
     expected=np.floor_divide)  # fmt: skip
case("div_no_nan", arithmetic.div_no_nan, np.array([1.0, 2.0, 0.0], np.float32),
     np.array([0.0, 4.0, 0.0], np.float32), expected=lambda a, b: np.array([0, 0.5, 0], a.dtype),
     differentiable=False)  # fmt: skip
for _exponent in (2.0, 3.0, 0.5, -1.0, 0.0, 1.0):
    case(f"pow-by-{_exponent}", lambda x, e=_exponent: x**e, ("float32", (5, 7), 0.1, 3),
         expected=lambda x, e=_exponent: np.power(x, np.float32(e)), tolerance=FUNCTION
)  # fmt: skip
for _dtype in INTEGERS:
    case(f"pow-{_dtype}", arithmetic.pow, (_dtype, (5, 7), 0, 4), (_dtype, (5, 7), 0, 3),
         expected=np.power)  # fmt: skip
case("pow-int32-constant", lambda x: x**5, ("int32", (9,), -9, 9), expected=lambda x: x**5)
case("add_n", lambda *t: arithmetic.add_n(t), *[("float32", (3, 4))] * 4,
     expected=lambda *a: ((a[0] + a[1]) + a[2]) + a[3])  # fmt: skip
case("clip_by_value", lambda x: unary.clip_by_value(x, -0.5, 1.0), ("float32", (5, 7)),
     expected=lambda x: np.clip(x, np.float32(-0.5), np.float32(1)))  # fmt: skip
case("polynomial", lambda x: 1 + x * (2.5 - x * (x / 3 - 0.25)), ("float32", (4, 31)),
     expected=lambda x: 1 + x * (np.float32(2.5) - x * (x / np.float32(3) - np.float32(0.25))),
     tolerance=ROUNDING)  # fmt: skip

# -- comparisons, logic, bits --------------------------------------------------------------------

COMPARISONS = {
    "equal": (logic.equal, np.equal), "not_equal": (logic.not_equal, np.not_equal),
    "less": (logic.less, np.less), "less_equal": (logic.less_equal, np.less_equal),
    "greater": (logic.greater, np.greater),
    "greater_equal": (logic.greater_equal, np.greater_equal),
}  # fmt: skip
for _name, (_build, _numpy) in COMPARISONS.items():
    for _dtype in (*FLOATS, *INTEGERS):
        case(f"{_name}-{_dtype}", _build, (_dtype, (7, 9), 0, 3), (_dtype, (7, 9), 0, 3),
             expected=_numpy, differentiable=False)  # fmt: skip
    _numbers = np.array([np.nan, 1.0, np.inf, -0.0, np.nan], np.float32)
    case(f"{_name}-edges", _build, _numbers,
         np.array([np.nan, np.nan, np.inf, 0.0, 1.0], np.float32),
         expected=_numpy, differentiable=False)  # fmt: skip

_A = np.array([[True, True, False, False], [True, False, True, False]])
LOGIC = {
    "logical_and": (logic.logical_and, np.logical_and),
    "logical_or": (logic.logical_or, np.logical_or),
    "logical_xor": (logic.logical_xor, np.logical_xor),
}
for _name, (_build, _numpy) in LOGIC.items():
    case(_name, _build, _A, _A[::-1].copy(), expected=_numpy)
    case(f"{_name}-long", _build, ("bool", (3, 1031)), ("bool", (3, 1031)), expected=_numpy)
case("logical_not", logic.logical_not, ("bool", (5, 13)), expected=np.logical_not)
for _name in ("is_nan", "is_inf", "is_finite"):
    for _dtype in FLOATS:
        case(f"{_name}-{_dtype}", getattr(logic, _name), _EDGES.astype(_dtype),
             expected=getattr(np, _name.replace("_", "")), differentiable=False)  # fmt: skip
for _dtype in INTEGERS:
    for _name in ("bitwise_and", "bitwise_or", "bitwise_xor"):
        case(f"{_name}-{_dtype}", getattr(logic, _name), (_dtype, (5, 7), 0, 127),
             (_dtype, (5, 7), 0, 127), expected=getattr(np, _name))  # fmt: skip
    case(f"invert-{_dtype}", logic.invert, (_dtype, (5, 7), 0, 127), expected=np.invert)
    case(f"left_shift-{_dtype}", logic.left_shift, (_dtype, (5, 7), 0, 127),
         (_dtype, (5, 7), 0, 70), expected=np.left_shift)  # fmt: skip
    case(f"right_shift-{_dtype}", logic.right_shift,
         (_dtype, (5, 7), 0 if _dtype == "uint8" else -127, 127),
         (_dtype, (5, 7), 0, 70), expected=np.right_shift)  # fmt: skip
case("right_shift-by-2", lambda x: x >> 2, ("int32", (33,), -99, 99), expected=lambda x: x >> 2)

# -- selection and conversion --------------------------------------------------------------------

case("where", logic.where, ("bool", (5, 7)), ("float32", (5, 7)), ("float32", (5, 7)),
     expected=np.where)  # fmt: skip
case("where-rows", logic.where, ("bool", (5,)), ("float32", (5, 7)), ("float32", (5, 7)),
     expected=lambda c, x, y: np.where(c[:, None], x, y))  # fmt: skip
case("where-scalars", lambda c: logic.where(c, 1.0, 0.0), ("bool", (5, 7)),
     expected=lambda c: np.where(c, np.float32(1), np.float32(0)))  # fmt: skip
case("where-differentiable", lambda x, y: logic.where(x > y, x * y, unary.exp(x)),
     ("float32", (5, 7)), ("float32", (5, 7)),
     expected=lambda x, y: np.where(x > y, x * y, np.exp(x)), tolerance=FUNCTION)  # fmt: skip
case("where_v2-broadcast", lambda c, x: logic.where_v2(c, x, 0.0), ("bool", (7,)),
     ("float32", (5, 7)), expected=lambda c, x: np.where(c, x, np.float32(0)),
     symbolic=[(), (0,)])  # fmt: skip
case("where-int8", logic.where, ("bool", (5, 7)), ("int8", (5, 7)), ("int8", (5, 7)),
     expected=np.where)  # fmt: skip

for _from in (*FLOATS, *INTEGERS, "bool"):
    for _to in (*FLOATS, *INTEGERS, "bool"):
        if _from != _to:
            case(f"cast-{_from}-{_to}", lambda x, to=_to: logic.cast(x, to),
                 (_from, (5, 7), 0, 100), expected=lambda x, to=_to: x.astype(to),
                 differentiable=False)  # fmt: skip
case("cast-negative-float-int32", lambda x: logic.cast(x, "int32"),
     np.array([-1.5, -0.5, 0.5, 1.99, -7.01], np.float32), expected=lambda x: x.astype(np.int32),
     differentiable=False)  # fmt: skip
_WIDE = np.array([-1e12, -129.0, -128.0, 0.5, 127.0, 128.0, 300.0, 1e12])
for _to in ("int8", "uint8", "int32"):
    _info = np.iinfo(_to)
    case(f"saturate_cast-{_to}", lambda x, to=_to: logic.saturate_cast(x, to), _WIDE,
         expected=lambda x, i=_info, to=_to: np.clip(x, i.min, i.max).astype(to),
         differentiable=False)  # fmt: skip
case("saturate_cast-float32-int32", lambda x: logic.saturate_cast(x, "int32"),
     np.array([-1e12, 1e12, 5.5], np.float32),
     expected=lambda x: np.array([-(2**31), 2**31 - 128, 5], np.int32),
     differentiable=False)  # fmt: skip
case("identity", logic.identity, ("float32", (5, 7)), expected=lambda x: x)
case("operators", lambda x, y: (-x + 2 * y - x / y) ** 2 - abs(x) % 3 + y // 1,
     ("float32", (5, 7)), ("float32", (5, 7), 1, 2),
     expected=lambda x, y: np.square(-x + 2 * y - x / y) - np.abs(x) % 3 + np.floor(y / 1),
     tolerance=Tolerance(3e-6, 3e-6, "a square and a remainder of rounded numbers"),
     differentiable=False)  # fmt: skip
case("bool-operators", lambda a, b: (a & ~b) | (a ^ b), ("bool", (5, 7)), ("bool", (5, 7)),
     expected=lambda a, b: (a & ~b) | (a ^ b))  # fmt: skip
case("int-operators", lambda a, b: ((a & b) | (a ^ 3)) + ~b - (a << 2), ("int32", (5, 7)),
     ("int32", (5, 7)), expected=lambda a, b: ((a & b) | (a ^ 3)) + ~b - (a << 2))  # fmt: skip
case("randomness-is-the-table's", lambda x: x, random("x").random(3), expected=lambda x: x)
