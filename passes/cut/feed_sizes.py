"""The sizes of a cut: what a run binds, and what may be taken for equal once it has.

Every unknown dimension of a feed becomes a symbol of its own, s0, s1, … in the order of the feeds,
so that equal cuts are equal texts. Where a type rule needs two of them equal, the run checks it,
and the program is written with one of the two only:

    x[s0,4], y[s1,4], x - y      -->      both [s0,4] inside; a run checks s0 == s1
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ...errors import FeedError, GraphError
from ...ir.node import Tensor
from ...ir.program import Origin
from ...ir.types import Constraint, TensorType
from ...sizes import (
    Dim,
    Size,
    Symbol,
    as_symbol,
    canonical_symbol,
    exact_quotient,
    floordiv,
    is_trip_symbol,
    multiply,
    substitute,
    symbols_of,
    trip_symbol,
)

Check = tuple[Constraint, tuple[Origin, ...]]


class FeedSizes:
    """Types of the feeds as a run binds them, and what becomes of the user's symbols.

    types:   of the feeds, over s0, s1, …
    symbols: user's symbol -> its size in terms of s0, s1, …
    checks:  sizes that a run must find equal, in terms of s0, s1, …
    merged:  symbol -> the size that takes its place inside the program
    """

    def __init__(
        self,
        feeds: Sequence[Tensor],
        feed_types: Sequence[TensorType],
        bindings: Mapping[Symbol, Dim],
    ):
        self.symbols: dict[Symbol, Dim] = {}
        self.merged: dict[Symbol, Dim] = {}
        self._checks: dict[tuple[Dim, Dim], Check] = {}
        self._count = self._trips = 0
        self._bindings = bindings
        shapes = [self._shape(t, given) for t, given in zip(feeds, feed_types, strict=True)]
        self._bind_numbers(feeds, shapes)
        # Plain symbols first: a composite dimension of one feed may follow from another feed.
        for shape in shapes:
            for dim in shape:
                symbol = as_symbol(dim)
                if symbol is not None and symbol not in self.symbols:
                    self.symbols[symbol] = self._fresh()
        self.types = tuple(
            TensorType(tensor.dtype, tuple(self._bind(dim) for dim in shape))
            for tensor, shape in zip(feeds, shapes, strict=True)
        )

    def _shape(self, tensor: Tensor, given: TensorType) -> tuple[Dim, ...]:
        shape = tensor.dims if given.shape is None else given.shape
        if shape is None:
            raise FeedError(f"the rank of {tensor.name} has to be known when it is fed")
        if tensor.dims is not None and len(tensor.dims) != len(shape):
            raise FeedError(
                f"{tensor.name} is {tensor.tensor_type}, so it cannot be fed rank {len(shape)}"
            )
        return shape

    def _bind_numbers(self, feeds: Sequence[Tensor], shapes: Sequence[tuple[Dim, ...]]) -> None:
        """Symbols of dimensions that are fed as numbers."""
        for tensor, shape in zip(feeds, shapes, strict=True):
            for axis, (given, own) in enumerate(zip(shape, tensor.dims or shape, strict=True)):
                symbol = as_symbol(own)
                known = self.symbols.get(symbol, given) if symbol is not None else own
                if isinstance(given, int) and isinstance(known, int) and known != given:
                    raise FeedError(
                        f"axis {axis} of {tensor.name} {tensor.tensor_type} has size {known}, "
                        f"so it cannot be fed size {given}"
                    )
                if isinstance(given, int) and symbol is not None:
                    self.symbols[symbol] = given
                elif isinstance(given, int) and isinstance(own, Size):
                    self._solve(own, given)

    def _fresh(self) -> Dim:
        symbol = canonical_symbol(self._count)
        self._count += 1
        return self._bindings.get(symbol, Size.of(symbol))

    def _bind(self, dim: Dim) -> Dim:
        """A dimension over s0, s1, …; one that follows from no other gets its own symbol."""
        found = substitute(dim, self.symbols)
        if all(symbol.serial < 0 for symbol in symbols_of(found)):
            return found
        fresh = self._fresh()
        self._solve(found, fresh)
        return fresh

    def _solve(self, size: Dim, value: Dim) -> None:
        """From `size` == `value`, the symbol that `size` is linear in, if it has but one.

        2*n+1 == s0  -->  n := (s0-1)//2, where a run checks that 2*((s0-1)//2)+1 is s0
        """
        unknown = {symbol for symbol in symbols_of(size) if symbol.serial >= 0}
        if len(unknown) != 1:
            return
        symbol = unknown.pop()
        rest = substitute(size, {symbol: 0})
        slope = substitute(size, {symbol: 1}) - rest
        if substitute(size, {symbol: 2}) - rest != multiply(slope, 2) or slope == 0:
            return
        self.symbols[symbol] = floordiv(value - rest, slope)
        if exact_quotient(value - rest, slope) is None:
            self.require(Constraint(substitute(size, self.symbols), value, False), ())

    def bind_trips(self, symbol: Symbol) -> None:
        """Gives the size of a loop that ends when it will, which no feed tells, its own symbol."""
        self.symbols[symbol] = Size.of(trip_symbol(self._trips))
        self._trips += 1

    def resolve(self, value):
        """A size of the user's graph (or a nest of them) as it stands inside the program."""
        value = substitute(value, self.symbols)
        return substitute(value, self.merged) if self.merged else value

    def is_bound(self, symbol: Symbol) -> bool:
        return symbol in self.symbols

    def require(
        self, constraint: Constraint, origins: tuple[Origin, ...], merge: bool = True
    ) -> bool:
        """Has a run check the constraint; whether that makes one more size superfluous."""
        a = substitute(constraint.a, self.symbols)
        b = substitute(constraint.b, self.symbols)
        if any(symbol.serial >= 0 for symbol in symbols_of((a, b))):
            return False  # on a default that is not cut yet; its own type rule will ask again
        if a == b or (constraint.broadcast and (a == 1 or b == 1)):
            return False
        if any(map(is_trip_symbol, symbols_of((a, b)))):
            raise GraphError(
                f"the sizes {a} and {b} must be equal, and one is the number of iterations of a "
                "loop that only a run finds out; use one loop for both"
            )
        left, right = substitute(a, self.merged), substitute(b, self.merged)
        if left == right or (a, b) in self._checks or (b, a) in self._checks:
            return False
        self._checks[a, b] = (Constraint(a, b, constraint.broadcast), origins)
        return merge and self._merge(left, right)

    def _merge(self, a: Dim, b: Dim) -> bool:
        symbol_a, symbol_b = as_symbol(a), as_symbol(b)
        if symbol_a is not None and symbol_b is not None:
            # The one bound first stays.
            if symbol_a.serial < symbol_b.serial:
                symbol_b, b = symbol_a, b
            else:
                b = a
            return self._replace(symbol_b, b)
        if symbol_a is not None and symbol_a not in set(symbols_of(b)):
            return self._replace(symbol_a, b)
        if symbol_b is not None and symbol_b not in set(symbols_of(a)):
            return self._replace(symbol_b, a)
        return False

    def _replace(self, symbol: Symbol, value: Dim) -> bool:
        single = {symbol: value}
        self.merged = {s: substitute(v, single) for s, v in self.merged.items()} | single
        return True

    def checks(self) -> tuple[Check, ...]:
        return tuple(self._checks.values())

    def inner_types(self) -> Iterator[TensorType]:
        """The feeds' types as they stand inside the program."""
        for type_ in self.types:
            yield TensorType(type_.dtype, substitute(type_.shape, self.merged))
