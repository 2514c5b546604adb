"""Symbolic sizes: canonical integer expressions over the unknown dimensions of a graph.

A dimension (`Dim`) is an `int`, or a `Size` where it depends on a symbol. A `Size` is a sum of
products of atoms with integer coefficients, kept sorted, so that equal expressions are equal
objects in value and hash. Atoms are

    Symbol(name, serial)        the size of a `None` dimension
    FloorDiv(a, b)              floor(a / b), where the division is not known to be exact
    Maximum(a, b), Minimum(a, b)
    Root(a)                     floor(sqrt(a)), 0 where a is negative

Text form, which `parse_size` reads back:  n   2*n+1   n*m   (n-1)//2   max(n,1)   root(n)
Every symbol stands for a non-negative number.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import total_ordering
from itertools import count
from typing import Union

_serials = count()


@dataclass(frozen=True)
class Symbol:
    """The size of a dimension that is known only when a run binds it."""

    name: str
    serial: int

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class FloorDiv:
    numerator: Dim
    denominator: Dim

    def __str__(self) -> str:
        return f"{_group(self.numerator)}//{_group(self.denominator)}"


@dataclass(frozen=True)
class Maximum:
    a: Dim
    b: Dim

    def __str__(self) -> str:
        return f"max({self.a},{self.b})"


@dataclass(frozen=True)
class Minimum:
    a: Dim
    b: Dim

    def __str__(self) -> str:
        return f"min({self.a},{self.b})"


@dataclass(frozen=True)
class Root:
    of: Dim

    def __str__(self) -> str:
        return f"root({self.of})"


Atom = Union[Symbol, FloorDiv, Maximum, Minimum, Root]
Monomial = tuple[Atom, ...]


def _group(value: Dim) -> str:
    text = str(value)
    return text if text.isidentifier() or text.isdigit() else f"({text})"


def _atom_key(atom: Atom) -> tuple:
    """Orders atoms by what they are made of. (Texts would do, but those of nested sizes that share
    parts grow exponentially.)"""
    if isinstance(atom, Symbol):
        return 0, atom.name, atom.serial
    return _ORDER[type(atom)], *(_dim_key(part) for part in _parts(atom))


_ORDER = {FloorDiv: 1, Maximum: 2, Minimum: 3, Root: 4}


def _parts(atom: FloorDiv | Maximum | Minimum | Root) -> tuple[Dim, ...]:
    if isinstance(atom, FloorDiv):
        return atom.numerator, atom.denominator
    if isinstance(atom, Root):
        return (atom.of,)
    return atom.a, atom.b


def _dim_key(value: Dim) -> tuple:
    return value.key if isinstance(value, Size) else (0, value)


@total_ordering
class Size:
    """A sum of products of atoms; immutable, canonical, never a plain integer."""

    __slots__ = ("terms", "_hash", "_key", "_nonnegative")

    def __init__(self, terms: tuple[tuple[Monomial, int], ...]):
        self.terms = terms
        self._hash = hash(terms)
        self._key: tuple | None = None
        self._nonnegative: bool | None = None

    @property
    def key(self) -> tuple:
        """By which sizes are put in order. Shared parts have one key, and compare by identity."""
        if self._key is None:
            terms = tuple((tuple(map(_atom_key, m)), c) for m, c in self.terms)
            self._key = 1, terms
        return self._key

    @staticmethod
    def of(atom: Atom) -> Size:
        return Size((((atom,), 1),))

    def __eq__(self, other) -> bool:
        return self is other or (
            isinstance(other, Size) and self._hash == other._hash and self.terms == other.terms
        )

    def __lt__(self, other) -> bool:
        raise TypeError(f"the size {self} is not known yet, so it cannot be compared with {other}")

    def __hash__(self) -> int:
        return self._hash

    def __bool__(self) -> bool:
        raise TypeError(f"the size {self} is not known yet, so it has no truth value")

    def __add__(self, other: Dim) -> Dim:
        return _combine(self, other, 1)

    __radd__ = __add__

    def __sub__(self, other: Dim) -> Dim:
        return _combine(self, other, -1)

    def __rsub__(self, other: Dim) -> Dim:
        return _combine(self * -1, other, 1)

    def __neg__(self) -> Dim:
        return self * -1

    def __mul__(self, other: Dim) -> Dim:
        return multiply(self, other)

    __rmul__ = __mul__

    def __floordiv__(self, other: Dim) -> Dim:
        return floordiv(self, other)

    def __rfloordiv__(self, other: Dim) -> Dim:
        return floordiv(other, self)

    def __mod__(self, other: Dim) -> Dim:
        return self - multiply(floordiv(self, other), other)

    def __str__(self) -> str:
        parts: list[str] = []
        for monomial, coefficient in self.terms:
            factors = "*".join(
                f"({atom})" if isinstance(atom, FloorDiv) else str(atom) for atom in monomial
            )
            if not factors:
                text = str(abs(coefficient))
            elif abs(coefficient) == 1:
                text = factors
            else:
                text = f"{abs(coefficient)}*{factors}"
            parts.append(("-" if coefficient < 0 else "+" if parts else "") + text)
        text = "".join(parts)
        only = self.terms[0]
        if len(self.terms) == 1 and only[1] == 1 and len(only[0]) == 1:
            return str(only[0][0])
        return text

    __repr__ = __str__


Dim = Union[int, Size]
Shape = tuple[Dim, ...]


def symbol(name: str) -> Size:
    """A new unknown size, distinct from every other one even if the name is taken."""
    return Size.of(Symbol(name, next(_serials)))


def canonical_symbol(number: int) -> Symbol:
    """The symbol s<number>: the same one in every Program, and never one of a user's graph."""
    return Symbol(f"s{number}", -1 - number)


_TRIPS = -1_000_000


def trip_symbol(number: int) -> Symbol:
    """The symbol t<number> of a Program: how many iterations a loop has, which no feed tells."""
    return Symbol(f"t{number}", _TRIPS - number)


def is_trip_symbol(symbol: Symbol) -> bool:
    return symbol.serial <= _TRIPS


def _terms(value: Dim) -> dict[Monomial, int]:
    if isinstance(value, Size):
        return dict(value.terms)
    return {(): int(value)} if value else {}


def _from_terms(terms: Mapping[Monomial, int]) -> Dim:
    kept = [(monomial, c) for monomial, c in terms.items() if c]
    if not kept:
        return 0
    if len(kept) == 1 and not kept[0][0]:
        return kept[0][1]
    kept.sort(key=lambda term: (not term[0], [_atom_key(atom) for atom in term[0]]))
    return Size(tuple(kept))


def _combine(a: Dim, b: Dim, sign: int) -> Dim:
    if isinstance(a, Size) and isinstance(b, int):  # the constant is the last term
        whole, last = a.terms, 0
        if not whole[-1][0]:
            whole, last = whole[:-1], whole[-1][1]
        last += sign * b
        return Size((*whole, ((), last))) if last else Size(whole)
    terms = _terms(a)
    for monomial, coefficient in _terms(b).items():
        terms[monomial] = terms.get(monomial, 0) + sign * coefficient
    return _from_terms(terms)


def multiply(a: Dim, b: Dim) -> Dim:
    if not isinstance(a, Size):
        if not isinstance(b, Size):
            return a * b
        a, b = b, a
    if isinstance(b, int):
        if b == 1:
            return a
        return Size(tuple((monomial, c * b) for monomial, c in a.terms)) if b else 0
    terms: dict[Monomial, int] = {}
    for left, x in _terms(a).items():
        for right, y in _terms(b).items():
            monomial = tuple(sorted(left + right, key=_atom_key))
            terms[monomial] = terms.get(monomial, 0) + x * y
    return _from_terms(terms)


def product(dims) -> Dim:
    """The number of elements of a shape."""
    result: Dim = 1
    for dim in dims:
        result = multiply(result, dim)
    return result


def exact_quotient(a: Dim, b: Dim) -> Dim | None:
    """a / b where that is a size for every value of the symbols, else None."""
    if a == b:
        return 1
    if isinstance(b, int):
        if b == 0:
            return None
        if not isinstance(a, Size):
            return None if a % b else a // b
        if any(c % b for _, c in a.terms):
            return None
        return Size(tuple((monomial, c // b) for monomial, c in a.terms))
    if isinstance(a, int):
        return 0 if a == 0 else None
    # Polynomial long division by the leading term of b.
    lead, lead_coefficient = b.terms[0]
    quotient: Dim = 0
    rest: Dim = a
    for _ in range(len(a.terms) + 8):
        if not isinstance(rest, Size):
            return quotient if rest == 0 else None
        for monomial, coefficient in rest.terms:
            left = list(monomial)
            if coefficient % lead_coefficient == 0 and all(_take(left, atom) for atom in lead):
                step = _from_terms({tuple(left): coefficient // lead_coefficient})
                quotient = _combine(quotient, step, 1)
                rest = _combine(rest, multiply(step, b), -1)
                break
        else:
            return None
    return None


def _take(atoms: list[Atom], atom: Atom) -> bool:
    if atom in atoms:
        atoms.remove(atom)
        return True
    return False


def floordiv(a: Dim, b: Dim) -> Dim:
    if isinstance(a, int) and isinstance(b, int):
        return a // b
    exact = exact_quotient(a, b)
    if exact is not None:
        return exact
    if isinstance(b, int) and b > 0:
        # (2*n + m + 3) // 2 = n + (m + 1) // 2 + 1: what is left has one form.
        whole, rest = {}, {}
        for monomial, c in _terms(a).items():
            part = c // b if not monomial or c % b == 0 else 0
            whole[monomial], rest[monomial] = part, c - part * b
        left = _from_terms(rest)
        last = left // b if isinstance(left, int) else Size.of(FloorDiv(left, b))
        return _combine(_from_terms(whole), last, 1)
    return Size.of(FloorDiv(a, b))


def ceildiv(a: Dim, b: Dim) -> Dim:
    return floordiv(a + b - 1, b)


def is_nonnegative(value: Dim) -> bool:
    """Whether the value is known to be >= 0 for all values of its symbols."""
    if isinstance(value, int):
        return value >= 0
    if value._nonnegative is None:
        value._nonnegative = _proves(value, 2)
    return value._nonnegative


def _proves(value: Dim, steps: int) -> bool:
    """Whether a value is seen to be >= 0, in so many steps; each leads to a few other values."""
    if isinstance(value, int):
        return value >= 0
    if all(c >= 0 and all(map(_atom_nonnegative, m)) for m, c in value.terms):
        return True
    if steps == 0 or len(value.terms) > _MOST_TERMS:
        return False
    single = [(m[0], c) for m, c in value.terms if len(m) == 1]
    return _exceeds_quotients(value, single, steps - 1) or _in_all_cases(value, single, steps - 1)


_MOST_TERMS = 6  # of sizes that are looked into


def _in_all_cases(value: Size, single: list[tuple[Atom, int]], steps: int) -> bool:
    """Whether that is so since max(a, b) is a or b, and no less than either."""
    for atom, c in single:
        if isinstance(atom, (Maximum, Minimum)):
            rest = value - Size.of(atom) * c
            cases = (_proves(rest + part * c, steps) for part in (atom.a, atom.b))
            return any(cases) if isinstance(atom, Maximum) == (c > 0) else all(cases)
    return False


def _exceeds_quotients(value: Size, single: list[tuple[Atom, int]], steps: int) -> bool:
    """Whether that is so since x // d is no more than x / d, and no more than y // d where
    x <= y."""
    found = [
        (atom, atom.denominator, c)
        for atom, c in single
        if isinstance(atom, FloorDiv)
        if isinstance(atom.denominator, int) and atom.denominator > 0
    ]
    for atom, d, c in found:
        if c > 0:
            continue
        rest = value - Size.of(atom) * c
        if _proves(rest * d + atom.numerator * c, steps):
            return True
        for other, e, more in found:
            if d == e and more >= -c and _proves(other.numerator - atom.numerator, steps):
                return _proves(rest + Size.of(other) * c, steps)
    return False


def _atom_nonnegative(atom: Atom) -> bool:
    if isinstance(atom, (Symbol, Root)):
        return True
    if isinstance(atom, FloorDiv):
        return is_nonnegative(atom.numerator) and is_nonnegative(atom.denominator)
    if isinstance(atom, Maximum):
        return is_nonnegative(atom.a) or is_nonnegative(atom.b)
    return is_nonnegative(atom.a) and is_nonnegative(atom.b)


def maximum(a: Dim, b: Dim) -> Dim:
    if isinstance(a, int) and isinstance(b, int):
        return max(a, b)
    if is_nonnegative(a - b):
        return a
    if is_nonnegative(b - a):
        return b
    first, second = sorted((a, b), key=_dim_key)
    return Size.of(Maximum(first, second))


def minimum(a: Dim, b: Dim) -> Dim:
    if isinstance(a, int) and isinstance(b, int):
        return min(a, b)
    if is_nonnegative(a - b):
        return b
    if is_nonnegative(b - a):
        return a
    first, second = sorted((a, b), key=_dim_key)
    return Size.of(Minimum(first, second))


def root(value: Dim) -> Dim:
    """The largest whole number whose square is at most `value`; 0 where that is negative."""
    return Size.of(Root(value)) if isinstance(value, Size) else math.isqrt(max(value, 0))


def symbols_of(value) -> Iterator[Symbol]:
    """The symbols in a size, in the order of its text; shapes and other nests are searched too."""
    if isinstance(value, Size):
        for monomial, _ in value.terms:
            for atom in monomial:
                if isinstance(atom, Symbol):
                    yield atom
                else:
                    yield from symbols_of(_parts(atom))
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from symbols_of(item)


def as_symbol(value) -> Symbol | None:
    """The symbol a size consists of, or None where it is a number or anything more."""
    if isinstance(value, Size) and len(value.terms) == 1:
        monomial, coefficient = value.terms[0]
        if coefficient == 1 and len(monomial) == 1 and isinstance(monomial[0], Symbol):
            return monomial[0]
    return None


def _rebuild(value: Dim, leaf: Callable[[Symbol], Dim]) -> Dim:
    if not isinstance(value, Size):
        return value
    total: Dim = 0
    for monomial, coefficient in value.terms:
        term: Dim = coefficient
        for atom in monomial:
            if isinstance(atom, Symbol):
                factor = leaf(atom)
            elif isinstance(atom, FloorDiv):
                factor = floordiv(_rebuild(atom.numerator, leaf), _rebuild(atom.denominator, leaf))
            elif isinstance(atom, Maximum):
                factor = maximum(_rebuild(atom.a, leaf), _rebuild(atom.b, leaf))
            elif isinstance(atom, Root):
                factor = root(_rebuild(atom.of, leaf))
            else:
                factor = minimum(_rebuild(atom.a, leaf), _rebuild(atom.b, leaf))
            term = multiply(term, factor)
        total = _combine(total, term, 1)
    return total


def substitute(value, replacements: Mapping[Symbol, Dim]):
    """`value` (a Dim, or a nest of tuples of anything) with symbols replaced."""
    if isinstance(value, Size):
        return _rebuild(value, lambda s: replacements.get(s, Size.of(s)))
    if isinstance(value, tuple):
        items = tuple(substitute(item, replacements) for item in value)
        if all(new is old for new, old in zip(items, value, strict=True)):
            return value
        return type(value)(*items) if hasattr(value, "_fields") else items
    return value


def evaluate(value: Dim, bindings: Mapping[Symbol, int]) -> int:
    """The number a size stands for, given one for each of its symbols."""
    result = _rebuild(value, lambda s: bindings[s])
    assert isinstance(result, int)
    return result


def parse_size(text: str, symbols: Callable[[str], Dim]) -> Dim:
    """Reads the text form back; `symbols` gives the size a name stands for.

    Raises ValueError for anything that is not a size.
    """

    def read(node) -> Dim:
        if isinstance(node, ast.Constant) and type(node.value) is int:
            return node.value
        if isinstance(node, ast.Name):
            return symbols(node.id)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return 0 - read(node.operand)
        if isinstance(node, ast.BinOp):
            a, b = read(node.left), read(node.right)
            if isinstance(node.op, ast.Add):
                return a + b
            if isinstance(node.op, ast.Sub):
                return a - b
            if isinstance(node.op, ast.Mult):
                return multiply(a, b)
            if isinstance(node.op, ast.FloorDiv):
                return floordiv(a, b)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            known = {("max", 2): maximum, ("min", 2): minimum, ("root", 1): root}
            function = known.get((node.func.id, len(node.args)))
            if function is not None:
                return function(*map(read, node.args))  # type: ignore[operator]
        raise ValueError(f"not a size: {text!r}")

    try:
        return read(ast.parse(text, mode="eval").body)
    except SyntaxError as error:
        raise ValueError(f"not a size: {text!r}") from error
