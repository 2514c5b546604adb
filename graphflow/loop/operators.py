"""What every operator of Loop expressions means, in NumPy: the oracle of code generation.

Operands are NumPy scalars or arrays of one value a lane; an int64 operand may also be a Python
integer. Results have the dtype the expression states. Nothing is undefined: integers wrap, division
of an integer by zero gives 0 (so does its remainder), shifting by the width or more gives what
shifting bit by bit would, and a float that no integer of the result's type can hold becomes the
nearest one (NaN: 0).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ..dtypes import DType

_ASYMPTOTIC_FROM = 16.0  # digamma: the recurrence up to here, then the series


def typed(value, dtype: DType):
    """`value` (Python or NumPy, scalar or array) in exactly `dtype`, converted as NumPy casts."""
    array = np.asarray(value)
    return array[()] if array.dtype == dtype.numpy else array.astype(dtype.numpy)[()]


def cast(value, dtype: DType, source: DType):
    """`value` of dtype `source` converted, out-of-range floats to the nearest integer."""
    value = np.asarray(typed(value, source))
    if not (source.is_floating and dtype.is_integer):
        return typed(value, dtype)
    whole = np.trunc(np.where(np.isnan(value), 0, value)).astype(np.float64)
    low, high = int(dtype.min), int(dtype.max)
    inside = (whole > low) & (whole < high)
    result = np.where(inside, whole, 0).astype(dtype.numpy)
    result = np.where(whole >= high, dtype.max, result)
    return typed(np.where(whole <= low, dtype.min, result), dtype)


def bitcast(value, dtype: DType):
    """The same bits read as `dtype`."""
    return np.asarray(value).view(dtype.numpy)[()]


def select(condition, a, b):
    return np.where(condition, a, b)[()]


def _elementwise(function: Callable[[float], float]) -> Callable:
    def run(x):
        x = np.asarray(x)
        flat = [function(float(v)) for v in x.reshape(-1)]
        return np.array(flat, dtype=x.dtype).reshape(x.shape)[()]

    return run


def _lgamma(x: float) -> float:
    if math.isinf(x) or (x <= 0 and x == math.floor(x)):
        return math.inf
    return math.lgamma(x)


def _digamma(x: float) -> float:
    """Abramowitz and Stegun 6.3.5 (recurrence), 6.3.7 (reflection), 6.3.18 (asymptotic series)."""
    if math.isnan(x) or x == -math.inf or (x < 0 and x == math.floor(x)):
        return math.nan
    if x == 0:
        return -math.copysign(math.inf, x)
    if x == math.inf:
        return x
    if x < 0:
        return _digamma(1 - x) - math.pi / math.tan(math.pi * math.fmod(x, 1.0))
    result = 0.0
    while x < _ASYMPTOTIC_FROM:
        result -= 1 / x
        x += 1
    r = 1 / (x * x)
    series = r * (1 / 12 - r * (1 / 120 - r * (1 / 252 - r * (1 / 240 - r * (5 / 660)))))
    return result + math.log(x) - 0.5 / x - series


def _integer_division(function: Callable) -> Callable:
    def run(a, b):
        by_zero = np.equal(b, 0)
        return np.where(
            by_zero, 0, function(a, np.where(by_zero, 1, b).astype(np.asarray(b).dtype))
        )

    return run


def _truncated_quotient(a, b):
    quotient, exact = np.floor_divide(a, b), np.equal(np.remainder(a, b), 0)
    return quotient + np.where(~exact & (np.less(a, 0) != np.less(b, 0)), 1, 0).astype(
        np.asarray(quotient).dtype
    )


def _integer_power(a, b):
    """a ** b with wrapping; a negative exponent gives 0 unless the base is 1 or -1."""
    a, b = np.broadcast_arrays(a, b)
    positive = np.power(a, np.maximum(b, 0))
    odd = np.equal(np.bitwise_and(b, 1), 1)
    inverse = np.where(np.equal(a, 1), 1, np.where(np.equal(a, -1), np.where(odd, -1, 1), 0))
    return np.where(np.less(b, 0), inverse.astype(a.dtype), positive)


def _shift(kind: str, dtype: DType) -> Callable:
    bits = dtype.bits
    unsigned = np.dtype(f"uint{bits}")

    def run(a, b):
        a, b = np.asarray(a), np.asarray(b)
        beyond = (b < 0) | (b >= bits)
        amount = np.where(beyond, 0, b).astype(b.dtype)
        if kind == "shl":
            return np.where(beyond, 0, np.left_shift(a, amount))
        if kind == "shr":
            shifted = np.right_shift(a.view(unsigned), amount.astype(unsigned))
            return np.where(beyond, 0, shifted).astype(unsigned).view(a.dtype)
        return np.where(beyond, np.where(a < 0, -1, 0), np.right_shift(a, amount))

    return run


def _fma(dtype: DType) -> Callable:
    if not dtype.is_floating:
        return lambda a, b, c: a * b + c
    wide = np.float64 if dtype.bits < 64 else np.longdouble

    def run(a, b, c):
        return np.asarray(a, wide) * np.asarray(b, wide) + np.asarray(c, wide)

    return run


def _mulhi(dtype: DType) -> Callable:
    bits = dtype.bits
    mask = (1 << bits) - 1

    def run(a, b):
        a, b = np.broadcast_arrays(a, b)
        if bits <= 32:
            unsigned = np.dtype(f"uint{bits}")
            product = a.view(unsigned).astype(np.uint64) * b.view(unsigned).astype(np.uint64)
            return (product >> np.uint64(bits)).astype(unsigned).view(a.dtype)
        high = [
            ((int(x) & mask) * (int(y) & mask)) >> bits
            for x, y in zip(a.reshape(-1), b.reshape(-1), strict=True)
        ]
        return np.array(high, np.uint64).view(a.dtype).reshape(a.shape)

    return run


def _sigmoid(x):
    return np.where(
        x >= 0, 1 / (1 + np.exp(-np.abs(x))), np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x)))
    )


_FUNCTIONS: dict[str, Callable] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply,
    "maximum": np.maximum, "minimum": np.minimum, "atan2": np.arctan2,
    "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor,
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater,
    "ge": np.greater_equal,
    "neg": np.negative, "abs": np.absolute, "sign": np.sign, "not": np.invert,
    "floor": np.floor, "ceil": np.ceil, "round": np.rint, "trunc": np.trunc, "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x), "reciprocal": lambda x: 1 / x,
    "exp": np.exp, "expm1": np.expm1, "log": np.log, "log1p": np.log1p,
    "sin": np.sin, "cos": np.cos, "tan": np.tan,
    "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan,
    "sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh,
    "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh,
    "sigmoid": _sigmoid, "softplus": lambda x: np.logaddexp(x, np.zeros_like(x)),
    "erf": _elementwise(math.erf), "erfc": _elementwise(math.erfc),
    "lgamma": _elementwise(_lgamma), "digamma": _elementwise(_digamma),
    "isnan": np.isnan, "isinf": np.isinf, "isfinite": np.isfinite,
    "ldexp": lambda x, n: np.ldexp(x, np.asarray(n).astype(np.int32)),
    "select": select,
}  # fmt: skip

# Those that leave an integer as it is, where NumPy would convert it to floating point.
_ROUNDING = ("floor", "ceil", "round", "trunc")


def function(op: str, dtype: DType, operand: DType) -> Callable:
    """The function that computes `op` on operands of dtype `operand`, giving `dtype`."""
    if op == "cast":
        return lambda x: cast(x, dtype, operand)
    if op == "bitcast":
        return lambda x: bitcast(typed(x, operand), dtype)
    integral = operand.is_integer
    if op == "div":
        found = _integer_division(_truncated_quotient) if integral else np.divide
    elif op == "floordiv":
        found = _integer_division(np.floor_divide) if integral else np.floor_divide
    elif op == "mod":
        found = _integer_division(np.remainder) if integral else np.remainder
    elif op == "truncmod":
        found = _integer_division(np.fmod) if integral else np.fmod
    elif op == "pow":
        found = _integer_power if integral else np.power
    elif op in ("shl", "shr", "sar"):
        found = _shift(op, operand)
    elif op == "fma":
        found = _fma(operand)
    elif op == "mulhi":
        found = _mulhi(operand)
    elif op in _ROUNDING and not operand.is_floating:
        found = np.positive
    else:
        found = _FUNCTIONS[op]
    if op == "select":
        return lambda c, a, b: typed(select(c, typed(a, dtype), typed(b, dtype)), dtype)
    return lambda *args: typed(found(*(typed(arg, operand) for arg in args)), dtype)


# Folding over lanes, in the order NumPy's reduction takes.
REDUCTIONS: dict[str, Callable] = {
    "add": np.add.reduce, "mul": np.multiply.reduce,
    "maximum": np.maximum.reduce, "minimum": np.minimum.reduce,
    "and": np.bitwise_and.reduce, "or": np.bitwise_or.reduce,
}  # fmt: skip
