"""The sizes in the attributes of operations, and which of them a loop gives a value itself.

What the attributes of loops mean is said in `ops/control_flow.py`.
"""

from __future__ import annotations

from ..sizes import Size, Symbol, symbols_of
from .node import Attrs

_BINDING = ("trips", "varying", "totals", "sizes")


def found_out(attrs: Attrs) -> list[Symbol]:
    """The sizes that a loop tells when it has ended."""
    sizes = [attrs.get("trips"), *(row[3] for row in attrs.get("varying", ()))]
    sizes += [row[2] for row in attrs.get("totals", ())]
    return [symbol for size in sizes for symbol in symbols_of(size)]


def bound_in(attrs: Attrs) -> list[Symbol]:
    """The sizes that a loop gives a value, in its bodies or when it has ended."""
    inside = [row[2] for row in attrs.get("varying", ())]
    inside += [row[1] for row in attrs.get("totals", ())]
    return [*found_out(attrs), *symbols_of(inside), *symbols_of(attrs.get("sizes"))]


def sizes_in(attrs: Attrs) -> list:
    """The sizes that an operation is told, where a loop may have found them out."""
    values = [v for k, v in attrs.items() if k not in _BINDING]
    return [value for value in values if isinstance(value, (tuple, Size))]
