"""The transforms of minimal filtering (`winograd.py`) as kernels that all convolutions share.

What differs between layers, the steps in memory, are parameters: the code of a transform is long,
and the time it takes to compile counts for as much as a few cycles of address arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

from ...dtypes import DType
from ...loop import nodes as loop
from ...loop.nodes import Buffer, Const, Expr, Kernel, Let, Load, Stmt, Var

Both = Callable[[Sequence[Sequence[Expr]]], tuple[list[Stmt], list[Expr]]]


@cache
def inputs_kernel(dtype: DType, wide: int, lanes: int, whole: bool, both: Both) -> Kernel:
    """y[e, c] = (Bᵀ x B)[e] of a tile, for channels c.

    Element (i, j, c) of x is at i * row_step + j * column_step + c, (e, c) of y at e * y_step + c.
    both(x): the transformed elements. whole: vectors of channels have all their lanes
    """
    x, y = Buffer("x", dtype, 0), Buffer("y", dtype, 0, "out")
    channels, row_step, column_step, y_step = scalars = tuple(
        Var(name) for name in ("channels", "row_step", "column_step", "y_step")
    )
    lets, rows, columns = _steps(wide, row_step, column_step)

    def element(c: Expr) -> list[Stmt]:
        values = [[Load(x, loop.add(loop.add(row, column), c)) for column in columns]
                  for row in rows]  # fmt: skip
        stmts, found = both(values)
        for e, value in enumerate(found):
            stmts.append(loop.Store(y, loop.add(loop.mul(Const(e), y_step), c), value))
        return stmts

    body = (*lets, _vectors(channels, lanes, whole, element))
    name = f"transform_inputs_{dtype}_{lanes}{'' if whole else '_part'}"
    return Kernel(name, (x, y), body, scalars)


@cache
def sums_kernel(dtype: DType, wide: int, lanes: int, columns: int, both: Both) -> Kernel:
    """y[e, v] = (Aᵀ x A)[e] of a tile, for `columns` v, side by side.

    Element (i, j, v) of x is at (i * wide + j) * x_step + v.
    """
    x, y = Buffer("x", dtype, 0), Buffer("y", dtype, 0, "out")
    x_step = Var("x_step")
    lets, rows, places = _steps(wide, loop.mul(Const(wide), x_step), x_step)

    def element(v: Expr) -> list[Stmt]:
        values = [[Load(x, loop.add(loop.add(row, place), v)) for place in places] for row in rows]
        stmts, found = both(values)
        for e, value in enumerate(found):
            stmts.append(loop.Store(y, loop.add(Const(e * columns), v), value))
        return stmts

    body = (*lets, _vectors(Const(columns), lanes, columns % lanes == 0, element))
    return Kernel(f"transform_sums_{dtype}_{lanes}x{columns}", (x, y), body, (x_step,))


def _steps(count: int, row: Expr, column: Expr) -> tuple[list[Stmt], list[Expr], list[Expr]]:
    """Names for the multiples of two steps."""
    lets: list[Stmt] = []
    found: list[list[Expr]] = [[], []]
    for multiples, step, prefix in zip(found, (row, column), ("row", "column"), strict=True):
        for number in range(count):
            var = Var(f"{prefix}{number}")
            lets.append(Let(var, loop.mul(Const(number), step)))
            multiples.append(var)
    return lets, found[0], found[1]


def _vectors(
    count: Expr, lanes: int, whole: bool, element: Callable[[Expr], list[Stmt]]
) -> loop.For:
    """One vector after the other, the code of `element` but once."""
    chunk, v = Var("chunk"), Var("v")
    at = loop.mul(chunk, Const(lanes))
    width: Expr = Const(lanes)
    if not whole:
        width = loop.apply("minimum", width, loop.sub(count, at))
    vector = loop.For(v, width, loop.VECTOR, tuple(element(loop.add(at, v))))
    chunks = loop.floordiv(loop.add(count, Const(lanes - 1)), Const(lanes))
    return loop.For(chunk, chunks, loop.SERIAL, (vector,))
