"""Loops around the body of a NEST operation."""

from __future__ import annotations

from collections.abc import Sequence

from ..loop import nodes as loop
from ..sizes import Dim

# Work, in about cycles, that a chunk of a parallel loop should have; and what an unknown size is
# taken for.
CHUNK = 20_000.0
UNKNOWN = 64


def estimate(dims: Sequence[Dim]) -> int:
    """About how many elements a shape has."""
    total = 1
    for dim in dims:
        total *= dim if isinstance(dim, int) else UNKNOWN
    return total


def around(
    variables: Sequence[loop.Var],
    dims: Sequence[Dim],
    body: Sequence[loop.Stmt],
    vector: bool,
    cost: float,
) -> list[loop.Stmt]:
    """`body` for every index of `dims`, outermost first: the innermost a vector loop if `vector`,
    the outermost parallel where there is work for it. `cost` is that of one body."""
    statements = list(body)
    for position in reversed(range(len(dims))):
        kind, grain = loop.SERIAL, 1
        if vector and position == len(dims) - 1:
            kind = loop.VECTOR
        elif position == 0:
            grain = max(1, int(CHUNK / max(cost * estimate(dims[1:]), 1.0)))
            known = isinstance(dims[0], int) and dims[0] <= grain + grain // 2
            kind, grain = (loop.SERIAL, 1) if known else (loop.PARALLEL, grain)
        extent = loop.index(dims[position])
        statements = [loop.For(variables[position], extent, kind, tuple(statements), grain)]
    return statements
