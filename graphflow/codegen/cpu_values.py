"""What expressions are while they become code: SSA values, and linear forms of int64 ones.

Indices are kept as linear forms (constant + sum of coefficient * value + stride * lane) for as long
as they can be, so that an address is a base, hoisted as far out as its parts allow, and a small
rest; and so that a vector access is seen to be contiguous.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

from ..dtypes import DType, bool_, int64

_FLOATS = {32: "float", 64: "double"}


def type_of(dtype: DType, lanes: int = 0) -> str:
    """The LLVM type of a value in registers; `lanes` 0 is a scalar."""
    if dtype.is_floating:
        element = _FLOATS[dtype.bits]
    else:
        element = "i1" if dtype.is_bool else f"i{dtype.bits}"
    return f"<{lanes} x {element}>" if lanes else element


def memory_type(dtype: DType, lanes: int = 0) -> str:
    """The LLVM type of an element in memory."""
    if dtype.is_bool:
        return f"<{lanes} x i8>" if lanes else "i8"
    return type_of(dtype, lanes)


def literal(number, dtype: DType, lanes: int = 0) -> str:
    """A constant as an operand."""
    if dtype.is_floating:
        value = float(number)
        if dtype.bits == 32 and math.isfinite(value):
            # LLVM takes a float's constant as the double of the same value.
            try:
                value = struct.unpack("<f", struct.pack("<f", value))[0]
            except OverflowError:
                value = math.copysign(math.inf, value)
        if math.isnan(value):
            text = "0x7FF8000000000000"
        else:
            text = f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"
    elif dtype.is_bool:
        text = "true" if number else "false"
    else:
        text = str(wrap(int(number), dtype))
    return f"splat ({type_of(dtype)} {text})" if lanes else text


def wrap(number: int, dtype: DType) -> int:
    """An integer modulo 2**bits, in the range of its dtype."""
    number &= (1 << dtype.bits) - 1
    if not dtype.is_unsigned and number >> (dtype.bits - 1):
        number -= 1 << dtype.bits
    return number


def vector_literal(element: str, numbers: Sequence[int | str]) -> str:
    return "<" + ", ".join(f"{element} {n}" for n in numbers) + ">"


class Value:
    """An SSA value or a constant. `level`: how deep in the nest of scopes it is defined; `number`:
    of a constant; `nonnegative`: an integer known not to be below zero."""

    __slots__ = ("text", "dtype", "lanes", "level", "number", "nonnegative")

    def __init__(self, text, dtype, lanes=0, level=0, number=None, nonnegative=False):
        self.text, self.dtype, self.lanes, self.level = text, dtype, lanes, level
        self.number, self.nonnegative = number, nonnegative

    @property
    def type(self) -> str:
        return type_of(self.dtype, self.lanes)

    @property
    def typed(self) -> str:
        return f"{type_of(self.dtype, self.lanes)} {self.text}"


def constant(number, dtype: DType, lanes: int = 0) -> Value:
    if dtype.is_integer:
        number = wrap(int(number), dtype)
    elif dtype.is_bool:
        number = bool(number)
    nonnegative = dtype.is_integer and number >= 0
    return Value(literal(number, dtype, lanes), dtype, lanes, 0, number, nonnegative)


def poison(dtype: DType, lanes: int = 0) -> Value:
    return Value("poison", dtype, lanes)


TRUE, FALSE = constant(True, bool_), constant(False, bool_)


class Linear:
    """constant + sum(coefficient * value for terms) + stride * lane, an int64.

    `terms` maps a scalar value's text to (value, coefficient)."""

    __slots__ = ("constant", "terms", "stride")
    dtype = int64

    def __init__(self, constant: int, terms: dict[str, tuple[Value, int]], stride: int = 0):
        self.constant, self.terms, self.stride = constant, terms, stride

    @staticmethod
    def of(value: Value | Linear) -> Linear:
        if isinstance(value, Linear):
            return value
        if value.number is not None:
            return Linear(value.number, {})
        return Linear(0, {value.text: (value, 1)})

    @property
    def number(self) -> int | None:
        return self.constant if not self.terms and not self.stride else None

    @property
    def nonnegative(self) -> bool:
        return (
            self.constant >= 0
            and self.stride >= 0
            and all(c >= 0 and v.nonnegative for v, c in self.terms.values())
        )

    def uniform(self) -> Linear:
        """The part that all lanes share."""
        return Linear(self.constant, self.terms) if self.stride else self

    def plus(self, other: Linear, factor: int = 1) -> Linear:
        terms = dict(self.terms)
        for key, (value, coefficient) in other.terms.items():
            total = coefficient * factor + (terms[key][1] if key in terms else 0)
            if total:
                terms[key] = (value, total)
            else:
                del terms[key]
        return Linear(
            self.constant + factor * other.constant, terms, self.stride + factor * other.stride
        )

    def times(self, factor: int) -> Linear:
        if factor == 1:
            return self
        if factor == 0:
            return Linear(0, {})
        terms = {key: (value, c * factor) for key, (value, c) in self.terms.items()}
        return Linear(self.constant * factor, terms, self.stride * factor)

    def sorted_terms(self) -> list[tuple[Value, int]]:
        """Outermost first, so that what inner loops share is computed outside them."""
        return sorted(self.terms.values(), key=lambda term: term[0].level)


Operand = Value | Linear
