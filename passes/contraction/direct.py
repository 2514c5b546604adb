"""Contractions without tiles: sums in registers over operands that are read where they are."""

from __future__ import annotations

from ...loop import nodes as loop
from ...loop.nodes import Buffer, Expr, Local, Stmt, Var
from ...sizes import Dim, ceildiv
from .spec import (
    Contraction,
    ContractionSpec,
    assumed,
    divides,
    grain_of,
    minimum,
    product,
    repeat,
    split,
    zero,
)

_ROWS = 4  # of "direct": independent sums over one vector of columns
_TASK_OPERATIONS = 1 << 18
_COPY_CHUNK = 4096


def build_direct(spec: ContractionSpec) -> Contraction:
    """For blocks of rows in parallel, vectors of columns: all of k, then the epilogue.

    for t parallel:  for v vector n:  acc[R] = 0;  for p: acc[r] += a[m+r, p] * b[p, v];  epilogue
    """
    rows = min(_ROWS, spec.m) if isinstance(spec.m, int) and spec.m else _ROWS
    exact = divides(rows, spec.m)
    blocks = ceildiv(spec.m, rows)
    work = 2 * rows * assumed(spec.n) * assumed(spec.k)

    def block(t: Expr) -> list[Stmt]:
        b, number = split(t, (spec.batch, blocks))
        first = loop.mul(number, loop.Const(rows))
        lets: list[Stmt] = []
        at: list[Expr] = []
        for r in range(rows):
            m: Expr = loop.add(first, loop.Const(r))
            if not exact:
                m = minimum(m, loop.sub(loop.index(spec.m), loop.ONE))
            var = spec.variable("m", spec.m)
            lets.append(loop.Let(var, m))
            at.append(var)
        return lets + repeat(spec, "n", spec.n, loop.VECTOR, lambda n: columns(b, first, at, n))

    def columns(b: Expr, first: Expr, at: list[Expr], n: Expr) -> list[Stmt]:
        sums = Local("sums", spec.dtype, (rows,))
        body: list[Stmt] = [sums]
        body += [loop.Store(sums, loop.Const(r), zero(spec.dtype)) for r in range(rows)]

        def step(p: Expr) -> list[Stmt]:
            right = Var("right", spec.dtype)
            stmts: list[Stmt] = [loop.Let(right, spec.b.read(b, p, n))]
            for r, m in enumerate(at):
                value = loop.apply("mul", spec.a.read(b, m, p), right)
                stmts.append(loop.Accumulate(sums, loop.Const(r), "add", value))
            return stmts

        body += repeat(spec, "p", spec.k, loop.SERIAL, step)
        for r, m in enumerate(at):
            value = Var("value", spec.dtype)
            done: list[Stmt] = [loop.Let(value, loop.Load(sums, loop.Const(r)))]
            done += spec.epilogue(b, m, n, value)
            if exact or r == 0:
                body += done
            else:
                inside = loop.apply("lt", loop.add(first, loop.Const(r)), loop.index(spec.m))
                body.append(loop.If(inside, tuple(done)))
        return body

    tasks = product(spec.batch, blocks)
    grain = grain_of(work, _TASK_OPERATIONS)
    nest = repeat(spec, "t", tasks, loop.PARALLEL, block, grain)
    return Contraction("direct", (), (), tuple(nest))


def build_dot(spec: ContractionSpec) -> Contraction:
    """Dot products along k, for the few rows or columns of the small side at once.

    for t parallel:  acc_s = 0;  for p vector k: acc_s += big[t, p] * small[s, p];  epilogue
    """
    by_rows = isinstance(spec.n, int) and (not isinstance(spec.m, int) or spec.n <= spec.m)
    small, big = (spec.n, spec.m) if by_rows else (spec.m, spec.n)
    assert isinstance(small, int)
    operand = spec.b if by_rows else spec.a
    in_place = operand.cost == 0 and operand.contiguous == ("row" if by_rows else "column")

    def read_small(b: Expr, s: Expr, p: Expr) -> Expr:
        return operand.read(b, p, s) if by_rows else operand.read(b, s, p)

    packing: tuple[Stmt, ...] = ()
    workspaces: tuple[Buffer, ...] = ()
    fetch = read_small
    if not in_place:
        packed = Buffer(
            f"{spec.name}_{'b' if by_rows else 'a'}",
            spec.dtype,
            product(spec.batch, small, spec.k),
            "workspace",
        )
        workspaces = (packed,)
        packing = tuple(_copy_lines(spec, packed, small, read_small))

        def fetch(b: Expr, s: Expr, p: Expr) -> Expr:
            return loop.Load(packed, loop.linear((b, s, p), (spec.batch, small, spec.k)))

    def task(t: Expr) -> list[Stmt]:
        b, place = split(t, (spec.batch, big))
        var = spec.variable("m" if by_rows else "n", big)
        sums = [Local(f"sum{s}", spec.dtype) for s in range(small)]
        body: list[Stmt] = [loop.Let(var, place), *sums]
        body += [loop.Store(total, loop.ZERO, zero(spec.dtype)) for total in sums]

        def step(p: Expr) -> list[Stmt]:
            line = Var("line", spec.dtype)
            element = spec.a.read(b, var, p) if by_rows else spec.b.read(b, p, var)
            stmts: list[Stmt] = [loop.Let(line, element)]
            for s, total in enumerate(sums):
                value = loop.apply("mul", line, fetch(b, loop.Const(s), p))
                stmts.append(loop.Accumulate(total, loop.ZERO, "add", value))
            return stmts

        body += repeat(spec, "p", spec.k, loop.VECTOR, step)
        for s, total in enumerate(sums):
            value = Var("value", spec.dtype)
            body.append(loop.Let(value, loop.Load(total, loop.ZERO)))
            m, n = (var, loop.Const(s)) if by_rows else (loop.Const(s), var)
            body += spec.epilogue(b, m, n, value)
        return body

    grain = grain_of(2 * small * assumed(spec.k), _TASK_OPERATIONS)
    nest = tuple(repeat(spec, "t", product(spec.batch, big), loop.PARALLEL, task, grain))
    if by_rows:
        return Contraction("dot", (), packing, nest, workspaces)
    return Contraction("dot", packing, (), nest, workspaces)


def _copy_lines(spec: ContractionSpec, packed: Buffer, lines: Dim, read) -> list[Stmt]:
    """packed[b, s, p] = read(b, s, p), in chunks of p."""
    chunks = ceildiv(spec.k, _COPY_CHUNK)

    def task(t: Expr) -> list[Stmt]:
        b, s, chunk = split(t, (spec.batch, lines, chunks))
        first = loop.mul(chunk, loop.Const(_COPY_CHUNK))
        count = minimum(loop.Const(_COPY_CHUNK), loop.sub(loop.index(spec.k), first))

        def element(p: Expr) -> list[Stmt]:
            p = loop.add(first, p)
            place = loop.linear((b, s, p), (spec.batch, lines, spec.k))
            return [loop.Store(packed, place, read(b, s, p))]

        return repeat(spec, "p", count, loop.VECTOR, element)

    extent = product(spec.batch, lines, chunks)
    work = min(_COPY_CHUNK, assumed(spec.k))
    return repeat(spec, "t", extent, loop.PARALLEL, task, grain_of(work, _TASK_OPERATIONS >> 3))
