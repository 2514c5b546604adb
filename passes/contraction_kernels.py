"""The micro-kernels of contractions: the inside of one tile, the same for all sizes.

They are called with the strides of their operands. Both write all elements of a tile, but read
only the first rows of A (and columns of B) that they are told of: the others repeat the last of
them, and what they give is not used. The sizes of their buffers say what surely is there.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from ..dtypes import DType
from ..loop import nodes as loop
from ..loop.nodes import Buffer, Const, Expr, Kernel, Local, Stmt, Var
from .contraction_spec import minimum, zero


def _starts(name: str, count: int, present: Expr, step: Expr) -> tuple[list[Stmt], list[Var]]:
    """Where each of `count` rows starts, those that are not present where the last one does."""
    lets: list[Stmt] = []
    found: list[Var] = []
    for number in range(count):
        var = Var(f"{name}{number}")
        which = minimum(Const(number), loop.sub(present, loop.ONE)) if number else loop.ZERO
        lets.append(loop.Let(var, loop.mul(which, step)))
        found.append(var)
    return lets, found


@cache
def outer_kernel(dtype: DType, rows: int, columns: int) -> Kernel:
    """c = or += a[rows, depth] * b[depth, columns], c in registers: a sum of outer products.

    Element (r, p) of a is at r * a_row + p * a_step, (p, v) of b at p * b_step + v; c is dense.
    `fresh` nonzero: c is overwritten. Each element is summed in the order of p.
    """
    a, b = Buffer("a", dtype, 0), Buffer("b", dtype, 0)
    c = Buffer("c", dtype, rows * columns, "inout")
    depth, a_row, a_step, b_step, count, fresh = (
        Var(name) for name in ("depth", "a_row", "a_step", "b_step", "count", "fresh")
    )
    sums = Local("sums", dtype, (rows, columns))
    line = Local("line", dtype, (columns,))

    def across(element: Callable[[Expr], Stmt]) -> Stmt:
        v = Var("v")
        return loop.For(v, Const(columns), loop.VECTOR, (element(v),))

    def all_rows(element: Callable[[Expr], Stmt]) -> list[Stmt]:
        return [
            across(lambda v, r=r: element(loop.add(Const(r * columns), v)))  # type: ignore[misc]
            for r in range(rows)
        ]

    lets, starts = _starts("row", rows, count, a_row)
    begin = loop.If(
        loop.apply("ne", fresh, loop.ZERO),
        tuple(all_rows(lambda at: loop.Store(sums, at, zero(dtype)))),
        tuple(all_rows(lambda at: loop.Store(sums, at, loop.Load(c, at)))),
    )
    p = Var("p")
    fetch = across(lambda v: loop.Store(line, v, loop.Load(b, loop.add(loop.mul(p, b_step), v))))
    step: list[Stmt] = [line, fetch]
    for r, start in enumerate(starts):
        x = Var(f"x{r}", dtype)
        step.append(loop.Let(x, loop.Load(a, loop.add(start, loop.mul(p, a_step)))))

        def add(v: Expr, r: int = r, x: Var = x) -> Stmt:
            value = loop.apply("mul", x, loop.Load(line, v))
            return loop.Accumulate(sums, loop.add(Const(r * columns), v), "add", value)

        step.append(across(add))
    body = [sums, *lets, begin, loop.For(p, depth, loop.SERIAL, tuple(step))]
    body += all_rows(lambda at: loop.Store(c, at, loop.Load(sums, at)))
    name = f"multiply_{dtype}_{rows}x{columns}"
    return Kernel(name, (a, b, c), tuple(body), (depth, a_row, a_step, b_step, count, fresh))


@cache
def dot_kernel(dtype: DType, rows: int, columns: int, c_row: int) -> Kernel:
    """c = or += a[rows, depth] * b[columns, depth] transposed: dot products, lanes along depth.

    Element (r, p) of a is at r * a_row + p, (v, p) of b at v * b_row + p, (r, v) of c at
    r * c_row + v. `fresh` nonzero: c is overwritten. The tree of each sum depends on depth only.
    """
    a, b = Buffer("a", dtype, 0), Buffer("b", dtype, 0)
    c = Buffer("c", dtype, (rows - 1) * c_row + columns, "inout")
    depth, a_row, b_row, a_count, b_count, fresh = (
        Var(name) for name in ("depth", "a_row", "b_row", "a_count", "b_count", "fresh")
    )
    lets_a, starts_a = _starts("row", rows, a_count, a_row)
    lets_b, starts_b = _starts("column", columns, b_count, b_row)
    sums = {(r, v): Local(f"sum{r}_{v}", dtype) for r in range(rows) for v in range(columns)}
    body: list[Stmt] = [*lets_a, *lets_b, *sums.values()]
    body += [loop.Store(total, loop.ZERO, zero(dtype)) for total in sums.values()]
    p = Var("p")
    xs = [Var(f"x{r}", dtype) for r in range(rows)]
    ys = [Var(f"y{v}", dtype) for v in range(columns)]
    step: list[Stmt] = [
        loop.Let(x, loop.Load(a, loop.add(start, p))) for x, start in zip(xs, starts_a, strict=True)
    ]
    step += [
        loop.Let(y, loop.Load(b, loop.add(start, p))) for y, start in zip(ys, starts_b, strict=True)
    ]
    step += [
        loop.Accumulate(total, loop.ZERO, "add", loop.apply("mul", xs[r], ys[v]))
        for (r, v), total in sums.items()
    ]
    body.append(loop.For(p, depth, loop.VECTOR, tuple(step)))
    values = [(Const(r * c_row + v), loop.Load(s, loop.ZERO)) for (r, v), s in sums.items()]
    body.append(
        loop.If(
            loop.apply("ne", fresh, loop.ZERO),
            tuple(loop.Store(c, at, value) for at, value in values),
            tuple(loop.Accumulate(c, at, "add", value) for at, value in values),
        )
    )
    name = f"dots_{dtype}_{rows}x{columns}"
    return Kernel(name, (a, b, c), tuple(body), (depth, a_row, b_row, a_count, b_count, fresh))
