"""Operators that take more than a few instructions, written in Loop IR: the table of them.

Measured errors stand in tests/codegen/test_math.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from ..dtypes import DType, float32, float64
from ..loop import nodes as loop
from .math_exponential import (
    acosh,
    asinh,
    atanh,
    cosh,
    exp,
    expm1,
    log,
    log1p,
    sigmoid,
    sinh,
    softplus,
    tanh,
)
from .math_numbers import Num
from .math_power import floordiv, mod, pow_, truncmod
from .math_special import digamma, erf, erfc, lgamma
from .math_trigonometric import acos, asin, atan, atan2, cos, sin, tan


@dataclass(frozen=True)
class Template:
    """`result` of `parameters`, after running `body`."""

    parameters: tuple[loop.Var, ...]
    body: tuple[loop.Stmt, ...]
    result: loop.Expr


_FUNCTIONS: dict[str, Callable[..., Num]] = {
    "exp": exp, "expm1": expm1, "log": log, "log1p": log1p, "tanh": tanh, "sigmoid": sigmoid,
    "softplus": softplus, "sinh": sinh, "cosh": cosh, "asinh": asinh, "acosh": acosh,
    "atanh": atanh, "sin": sin, "cos": cos, "tan": tan, "atan": atan, "asin": asin, "acos": acos,
    "atan2": atan2, "erf": erf, "erfc": erfc, "lgamma": lgamma, "digamma": digamma, "pow": pow_,
    "truncmod": truncmod, "mod": mod, "floordiv": floordiv,
}  # fmt: skip
# Few of their uses are hot, and float64 makes them right to the last bit of float32.
_IN_FLOAT64 = frozenset(("erfc", "lgamma", "digamma", "asin", "acos", "tan", "acosh", "asinh"))


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
