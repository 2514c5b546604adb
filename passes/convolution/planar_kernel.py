"""The micro-kernel of convolutions to few channels: see planar.py."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from ...dtypes import DType
from ...loop import nodes as loop
from ...loop.nodes import Buffer, Const, Expr, Kernel, Let, Load, Local, Stmt, Var
from ..contraction.spec import zero


@cache
def planar_kernel(dtype: DType, lines: int, outputs: int, columns: int, width: int) -> Kernel:
    """sums[line, o, x] = sum over runs t and p < depth of
    weights[(t * depth + p) * outputs + o] * planes[line * next_line + t * run + p * step + x]

    for x < columns, where rows of `sums` are `width` apart.
    """
    weights, planes = Buffer("weights", dtype, 0), Buffer("planes", dtype, 0)
    size = (lines * outputs - 1) * width + columns
    result = Buffer("result", dtype, size, "inout")
    runs, depth, run, step, next_line = (
        Var(name) for name in ("runs", "depth", "run", "step", "next_line")
    )
    sums = Local("sums", dtype, (lines * outputs, columns))
    line = Local("line", dtype, (lines, columns))

    def across(element: Callable[[Expr], Stmt]) -> Stmt:
        v = Var("v")
        return loop.For(v, Const(columns), loop.VECTOR, (element(v),))

    def place(row: int, v: Expr, pitch: int = columns) -> Expr:
        return loop.add(Const(row * pitch), v)

    def load(k: int) -> Stmt:
        start = loop.add(at, loop.mul(Const(k), next_line))
        return across(lambda v: loop.Store(line, place(k, v), Load(planes, loop.add(start, v))))

    def multiply(row: int, k: int, x: Var) -> Stmt:
        return across(
            lambda v: loop.Accumulate(
                sums, place(row, v), "add", loop.apply("mul", x, Load(line, place(k, v)))
            )
        )

    rows = range(lines * outputs)
    body: list[Stmt] = [sums]
    body += [across(lambda v, r=r: loop.Store(sums, place(r, v), zero(dtype))) for r in rows]  # type: ignore[misc]
    t, p, first, at, weight = Var("t"), Var("p"), Var("first"), Var("at"), Var("weight")
    inner: list[Stmt] = [
        line,
        Let(at, loop.add(first, loop.mul(p, step))),
        Let(weight, loop.mul(loop.add(loop.mul(t, depth), p), Const(outputs))),
        *(load(k) for k in range(lines)),
    ]
    for o in range(outputs):
        x = Var(f"x{o}", dtype)
        inner.append(Let(x, Load(weights, loop.add(weight, Const(o)))))
        inner += [multiply(k * outputs + o, k, x) for k in range(lines)]
    one_run = (Let(first, loop.mul(t, run)), loop.For(p, depth, loop.SERIAL, tuple(inner)))
    body.append(loop.For(t, runs, loop.SERIAL, one_run))
    body += [
        across(lambda v, r=r: loop.Store(result, place(r, v, width), Load(sums, place(r, v))))  # type: ignore[misc]
        for r in rows
    ]
    name = f"planar_{dtype}_{lines}x{outputs}x{columns}_in_{width}"
    scalars = (runs, depth, run, step, next_line)
    return Kernel(name, (weights, planes, result), tuple(body), scalars)
