"""Expressions with arithmetic, for operators that are written as formulas.

Selects stand in place of branches, so that one text serves scalars and vectors of any width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..dtypes import DType, float32, float64, int32, int64
from ..loop import nodes as loop


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


def copy_sign(size: Num, sign: Num) -> Num:
    """`size` >= 0 with the sign of `sign`, that of zeros included."""
    f = FORMATS[size.dtype]
    mask = -(1 << (f.integer.bits - 1))
    return size.bits(f.integer).make("or", sign.bits(f.integer).make("and", mask)).bits(size.dtype)
