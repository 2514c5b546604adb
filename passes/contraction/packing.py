"""Where the tiles of a contraction find their operands: in place, or packed by nests before it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ...dtypes import DType
from ...loop import nodes as loop
from ...loop.nodes import Buffer, Const, Expr, Local, Stmt, Var
from ...sizes import Dim, ceildiv
from .live import depth_of, k_at, row_at, rows_of
from .spec import (
    ContractionSpec,
    assumed,
    clamped,
    divides,
    grain_of,
    minimum,
    named,
    product,
    repeat,
    split,
    zero,
)
from .tiling import Tiling, turns

_COPY_CHUNK = 128
_COPY_ELEMENTS = 1 << 14  # of a packing task


@dataclass(frozen=True)
class Source:
    """Where the micro-kernel finds an operand: `start` of a tile, and its steps by row and by
    column. With `row`, rows of A start where that says, and `start` knows of them nothing; it is
    then given an offset in the buffer instead of k."""

    buffer: Buffer
    start: Callable[..., Expr]
    steps: tuple[Dim, Dim]
    row: Callable[[Expr], Expr] | None = None


def source_a(
    spec: ContractionSpec, tiles: Tiling, workspaces: list[Buffer]
) -> tuple[Source, list[Stmt]]:
    """Where tiles of A start, given (batch, row, k); row is a multiple of the tile's rows."""
    strided = spec.a.strided
    if not tiles.pack_a:
        assert strided is not None
        if not strided.is_matrix:

            def in_runs(batch: Expr, row: Expr, at: Expr) -> Expr:
                return loop.add(strided.base(batch), at)

            step = strided.runs[-1][1] if strided.runs else strided.column_step
            return Source(strided.buffer, in_runs, (0, step), strided.row), []

        def in_place(batch: Expr, row: Expr, k: Expr) -> Expr:
            start = loop.add(strided.base(batch), loop.mul(row, loop.index(strided.row_step)))
            return loop.add(start, loop.mul(k, loop.index(strided.column_step)))

        steps = (strided.row_step, strided.column_step)
        return Source(strided.buffer, in_place, steps), []
    name = f"{spec.name}_a"
    if tiles.pack_a == "rows":
        packed = Buffer(name, spec.dtype, product(spec.batch, spec.m, spec.k), "workspace")
        workspaces.append(packed)

        def in_rows(batch: Expr, row: Expr, k: Expr) -> Expr:
            return loop.linear((batch, row, k), (spec.batch, spec.m, spec.k))

        return Source(packed, in_rows, (spec.k, 1)), _pack_rows(spec, packed)
    high = ceildiv(spec.m, tiles.rows)
    size = product(spec.batch, high, spec.k, tiles.rows)
    packed = Buffer(name, spec.dtype, size, "workspace")
    workspaces.append(packed)

    def in_panels(batch: Expr, row: Expr, k: Expr) -> Expr:
        panel = loop.floordiv(row, Const(tiles.rows))
        start = loop.linear((batch, panel, k), (spec.batch, high, spec.k))
        return loop.mul(start, Const(tiles.rows))

    def read(batch: Expr, m: Expr, k: Expr) -> Expr:
        return spec.a.read(batch, row_at(spec, m), k)

    nest = _pack_panels(spec, packed, tiles.rows, spec.m, read, fill=False)
    return Source(packed, in_panels, (1, tiles.rows)), nest


def source_b(
    spec: ContractionSpec, tiles: Tiling, workspaces: list[Buffer]
) -> tuple[Source, list[Stmt]]:
    """Where a panel of B starts, given (batch, number of the panel, k)."""
    columns = tiles.columns
    if not tiles.pack_b:
        strided = spec.b.strided
        assert strided is not None

        def in_place(batch: Expr, number: Expr, k: Expr) -> Expr:
            at = loop.mul(number, Const(columns))
            if not tiles.dots and not divides(columns, spec.n):
                at = minimum(at, loop.sub(loop.index(spec.n), Const(columns)))
            at = loop.mul(at, loop.index(strided.column_step))
            row = loop.mul(k, loop.index(strided.row_step))
            return loop.add(loop.add(strided.base(batch), row), at)

        return Source(strided.buffer, in_place, (strided.row_step, strided.column_step)), []
    wide = ceildiv(spec.n, columns)
    size = product(spec.batch, wide, spec.k, columns)
    packed = Buffer(f"{spec.name}_b", spec.dtype, size, "workspace")
    workspaces.append(packed)

    def in_panels(batch: Expr, number: Expr, k: Expr) -> Expr:
        start = loop.linear((batch, number, k), (spec.batch, wide, spec.k))
        return loop.mul(start, Const(columns))

    own = spec.packing_b()

    def read(batch: Expr, n: Expr, k: Expr) -> Expr:
        return own.b.read(batch, k, n)

    side = tiles.lanes if turns(spec, tiles.lanes) else 1
    nest = _pack_panels(own, packed, columns, spec.n, read, fill=True, side=side)
    return Source(packed, in_panels, (columns, 1)), nest


def _pack_rows(spec: ContractionSpec, packed: Buffer) -> list[Stmt]:
    """packed[b, m, k] = a[b, m, k], of rows and k that count where not all of them do"""
    depth: Dim | Expr = spec.k if spec.order_of_k is None else depth_of(spec)

    def task(t: Expr) -> list[Stmt]:
        batch, m = split(t, (spec.batch, spec.m))
        start = loop.mul(t, loop.index(spec.k))
        lets: list[Stmt] = []
        if spec.order_of_rows is not None:
            var = spec.variable("m", spec.m)
            lets, m = [loop.Let(var, row_at(spec, m))], var

        def element(p: Expr) -> list[Stmt]:
            k = k_at(spec, p)
            return [loop.Store(packed, loop.add(start, p), spec.a.read(batch, m, k))]

        return lets + repeat(spec, "p", depth, loop.VECTOR, element)

    grain = grain_of(assumed(spec.k), _COPY_ELEMENTS)
    rows: Dim | Expr = product(spec.batch, spec.m)
    if spec.order_of_rows is not None:
        rows = rows_of(spec)
    return repeat(spec, "t", rows, loop.PARALLEL, task, grain)


def _turned(
    dtype: DType,
    side: int,
    row: Callable[[int, Expr], Expr],
    packed: Buffer,
    start: Expr,
    step: int,
) -> list[Stmt]:
    """packed[start + c * step + r] = row(r, c), loading along c and storing along r."""
    square = Local("square", dtype, (side * side,))
    body: list[Stmt] = [square]
    for r in range(side):
        lane = Var("lane")
        element = loop.Store(square, loop.add(Const(r * side), lane), row(r, lane))
        body.append(loop.For(lane, Const(side), loop.VECTOR, (element,)))
    for c in range(side):
        lane = Var("lane")
        value = loop.Load(square, loop.add(loop.mul(lane, Const(side)), Const(c)))
        place = loop.add(loop.add(start, Const(c * step)), lane)
        body.append(loop.For(lane, Const(side), loop.VECTOR, (loop.Store(packed, place, value),)))
    return body


def _pack_panels(
    spec: ContractionSpec,
    packed: Buffer,
    width: int,
    extent: Dim,
    read: Callable[[Expr, Expr, Expr], Expr],
    fill: bool,
    side: int = 1,
) -> list[Stmt]:
    """packed[b, panel, k, v] = read(b, panel * width + v, k), or 0 beyond `extent` if `fill`.

    With `side`, where neighbours in memory are neighbours along k: in squares of that many elements
    turned around in registers, and what no square holds one by one."""
    panels, chunks = ceildiv(extent, width), ceildiv(spec.k, _COPY_CHUNK)

    def task(t: Expr) -> list[Stmt]:
        batch, panel, chunk = split(t, (spec.batch, panels, chunks))
        first = loop.mul(chunk, Const(_COPY_CHUNK))
        count: Expr = Const(_COPY_CHUNK)
        if spec.order_of_k is not None:
            count = clamped(loop.sub(depth_of(spec), first), count)
        elif not divides(_COPY_CHUNK, spec.k):
            count = minimum(count, loop.sub(loop.index(spec.k), first))
        at = loop.mul(panel, Const(width))
        present: Expr = Const(width)
        if not divides(width, extent):
            present = minimum(present, loop.sub(loop.index(extent), at))
        outside, (count, present) = named(("count", count), ("present", present))

        def line(p: Expr) -> list[Stmt]:
            k = loop.add(first, p)
            start = loop.linear((batch, panel, k), (spec.batch, panels, spec.k))
            lets, (start, k) = named(("start", loop.mul(start, Const(width))), ("k", k_at(spec, k)))
            body = lets + repeat(
                spec, "v", present, loop.VECTOR,
                lambda v: [
                    loop.Store(packed, loop.add(start, v), read(batch, loop.add(at, v), k))
                ],
            )  # fmt: skip
            if fill and not divides(width, extent):
                missing = loop.sub(Const(width), present)
                beyond = loop.add(start, present)
                body += repeat(
                    spec, "z", missing, loop.VECTOR,
                    lambda z: [loop.Store(packed, loop.add(beyond, z), zero(spec.dtype))],
                )  # fmt: skip
            return body

        if side == 1:
            return outside + repeat(spec, "p", count, loop.SERIAL, line)
        whole = loop.floordiv(count, Const(side))

        def square(i: Expr, h: Expr) -> list[Stmt]:
            above, across = loop.mul(i, Const(side)), loop.mul(h, Const(side))
            lets, (column, k) = named(
                ("column", loop.add(at, across)), ("k", loop.add(first, above))
            )
            last = loop.sub(loop.index(extent), loop.ONE)

            def row(r: int, c: Expr) -> Expr:
                place = loop.add(column, Const(r))
                if not divides(width, extent):
                    place = minimum(place, last)
                return read(batch, place, k_at(spec, loop.add(k, c)))

            start = loop.linear((batch, panel, k), (spec.batch, panels, spec.k))
            more, (start,) = named(("start", loop.add(loop.mul(start, Const(width)), across)))
            return [*lets, *more, *_turned(spec.dtype, side, row, packed, start, width)]

        body = repeat(
            spec, "i", whole, loop.SERIAL,
            lambda i: repeat(spec, "h", width // side, loop.SERIAL, lambda h: square(i, h)),
        )  # fmt: skip
        done = loop.mul(whole, Const(side))
        if divides(side, spec.k):
            return outside + body
        return [*outside, *body, *repeat(
            spec, "p", loop.sub(count, done), loop.SERIAL, lambda p: line(loop.add(done, p))
        )]  # fmt: skip

    work = width * min(_COPY_CHUNK, assumed(spec.k))
    extent_ = product(spec.batch, panels, chunks)
    return repeat(spec, "t", extent_, loop.PARALLEL, task, grain_of(work, _COPY_ELEMENTS))
