"""Sizes in C++: as expressions, and which of them the lengths of feeds tell."""

from __future__ import annotations

from ..sizes import Dim, FloorDiv, Maximum, Symbol, as_symbol, product, symbols_of
from .model import Signature, Value


def expression(dim: Dim) -> str:
    """A size in C++, worked out with numbers of detail::Count (C), which do not overflow."""
    if isinstance(dim, int):
        return f"C({dim})"
    text = ""
    for monomial, coefficient in dim.terms:
        factors = [_atom(atom) for atom in monomial]
        if abs(coefficient) != 1 or not factors:
            factors.append(str(abs(coefficient)) if factors else f"C({abs(coefficient)})")
        sign = "-" if coefficient < 0 else "+"
        text = f"{text or 'C(0)'} {sign} " if text or sign == "-" else ""
        text += " * ".join(factors)
    return text


def _atom(atom) -> str:
    if isinstance(atom, Symbol):
        return f"C({atom.name})"
    if isinstance(atom, FloorDiv):
        return f"(({expression(atom.numerator)}) / ({expression(atom.denominator)}))"
    function = "larger" if isinstance(atom, Maximum) else "smaller"
    return f"{function}({expression(atom.a)}, {expression(atom.b)})"


def count_of(value: Value) -> str:
    """How many elements a value has that is not open."""
    return expression(product(dim for dim in value.shape if dim is not None))


def deductions(s: Signature) -> list[tuple[str, Value, Dim]]:
    """Rows of (size, feed, elements for each of it): sizes that the lengths of feeds tell, each
    after those that it takes to tell it."""
    found: list[tuple[str, Value, Dim]] = []
    rest = [size.c_name for size in s.sizes]
    while rest:
        known = {size.c_name for size in s.sizes}.difference(rest)
        rows = [row for name in rest for feed in s.feeds for row in _deduce(name, feed, known)]
        if not rows:
            break
        found += [row for row in rows if row[0] == rows[0][0]]
        rest.remove(rows[0][0])
    return found


def _deduce(name: str, feed: Value, known: set[str]) -> list[tuple[str, Value, Dim]]:
    """The feed's other dimensions, if this size is one of them and nothing else is unknown."""
    others: list[Dim] = []
    for dim in feed.shape:
        symbol = as_symbol(dim)
        if dim is None:
            return []
        if symbol is None or symbol.name != name:
            others.append(dim)
    unknown = {found.name for dim in others for found in symbols_of(dim)} - known
    if unknown or len(others) + 1 != len(feed.shape):
        return []
    return [(name, feed, product(others))]


__all__ = ["count_of", "deductions", "expression"]
