"""Contractions in register tiles: packing nests, the micro-kernel, and the loops around it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from ..dtypes import DType
from ..loop import nodes as loop
from ..loop.nodes import Buffer, Const, Expr, Invoke, Kernel, Local, Stmt, Var
from ..sizes import Dim, ceildiv, is_nonnegative
from .contraction_spec import (
    Contraction,
    ContractionSpec,
    Target,
    assumed,
    divides,
    grain_of,
    minimum,
    product,
    repeat,
    split,
    zero,
)

_DEPTH = 1024  # elements of k that a tile takes at once
_LARGEST_DEPTH = 1536  # up to here, all of k at once
_LARGEST_BLOCK = 128  # rows of a task
_TASK_OPERATIONS = (1 << 20, 1 << 23)  # of a task: least, most
_TASKS = 32  # as many as are wanted where the product is large enough
_COPY_CHUNK = 128
_COPY_ELEMENTS = 1 << 14  # of a packing task
_REUSE_ROWS = 96  # rows from which packing B can pay


@dataclass(frozen=True)
class Tiling:
    """How a contraction is cut: a tile has `rows` by `columns` = vectors * lanes elements."""

    lanes: int
    rows: int
    vectors: int
    block: int  # rows of a task, a multiple of `rows`
    panels: int  # panels of columns of a task
    depth: Dim  # elements of k at once
    pack_a: str  # "" (read in place), "rows" (row-major copy) or "panels" (of `rows` rows)
    pack_b: bool

    @property
    def columns(self) -> int:
        return self.vectors * self.lanes


def tiling(spec: ContractionSpec, target: Target) -> Tiling:
    """The cut of a contraction on a processor. It depends on sizes only, never on threads."""
    bits = max(32, spec.dtype.bits)
    lanes = max(1, target.vector_bits // bits)
    # rows x 2 sums, 2 vectors of B and a broadcast element of A fit the registers, and the sums
    # are enough to hide the latency of a multiply-add on two units.
    rows = 8 if target.registers >= 32 else 6 if target.vector_bits >= 256 else 4
    vectors = 2
    if isinstance(spec.n, int) and spec.n <= lanes:
        vectors = 1
    if isinstance(spec.m, int) and 0 < spec.m <= rows // 2:
        rows //= 2
    columns = lanes * vectors
    batch, m, n, k = (assumed(dim) for dim in (spec.batch, spec.m, spec.n, spec.k))
    size = spec.dtype.bytes
    operations = 2 * batch * m * n * k
    least, most = _TASK_OPERATIONS
    task = min(most, max(least, operations // _TASKS))
    depth: Dim = _DEPTH
    if isinstance(spec.k, int) and spec.k <= _LARGEST_DEPTH:
        depth = spec.k
    resident = target.l2 // 2 // max(1, min(k, _DEPTH) * size)
    limit = min(_LARGEST_BLOCK, resident, task // max(1, 2 * k * columns))
    limit = max(limit, 4 * rows)
    if isinstance(spec.m, int):
        blocks = max(1, ceildiv(spec.m, _LARGEST_BLOCK), round(spec.m / limit))
        block = ceildiv(ceildiv(spec.m, blocks), rows) * rows
    else:
        block = ceildiv(limit, rows) * rows
    block = max(block, rows)
    panels = max(1, task // max(1, 2 * min(block, m) * k * columns))
    panels = min(panels, ceildiv(n, columns)) or 1
    return Tiling(
        lanes, rows, vectors, block, panels, depth,
        _packing_of_a(spec, target, m * k * size), _packs_b(spec, target, columns, m, k * n * size),
    )  # fmt: skip


def _packing_of_a(spec: ContractionSpec, target: Target, bytes_: int) -> str:
    strided = spec.a.strided
    if strided is None:
        return "panels" if spec.a.contiguous == "row" else "rows"
    # Eight rows side by side: each step of k is in another page, which is slow beyond the cache.
    if strided.row_step == 1 and strided.column_step != 1 and bytes_ >= 2 * target.l2:
        return "panels"
    return ""


def _packs_b(spec: ContractionSpec, target: Target, columns: int, m: int, bytes_: int) -> bool:
    strided = spec.b.strided
    if strided is None or strided.column_step != 1 or not is_nonnegative(spec.n - columns):
        return True
    return m >= _REUSE_ROWS and bytes_ >= 2 * target.l2


@cache
def micro_kernel(dtype: DType, rows: int, columns: int) -> Kernel:
    """c[rows, columns] += a[rows, depth] * b[depth, columns], c in registers throughout.

    Element (r, p) of a is at r * a_row + p * a_step, (p, v) of b at p * b_step + v; c is dense.
    Only the first `count` rows of a are read: the others repeat the last of them, and what they
    give is not used.
    """
    a, b = Buffer("a", dtype, 1), Buffer("b", dtype, 1)
    c = Buffer("c", dtype, rows * columns, "inout")
    depth, a_row, a_step, b_step, count = (
        Var(name) for name in ("depth", "a_row", "a_step", "b_step", "count")
    )
    sums = Local("sums", dtype, (rows, columns))
    line = Local("line", dtype, (columns,))
    body: list[Stmt] = [sums]

    def across(element: Callable[[Expr], Stmt]) -> Stmt:
        v = Var("v")
        return loop.For(v, Const(columns), loop.VECTOR, (element(v),))

    def place(r: int, v: Expr) -> Expr:
        return loop.add(Const(r * columns), v)

    starts: list[Var] = []
    for r in range(rows):
        start = Var(f"row{r}")
        which = minimum(Const(r), loop.sub(count, loop.ONE)) if r else loop.ZERO
        body.append(loop.Let(start, loop.mul(which, a_row)))
        starts.append(start)
        body.append(across(lambda v, r=r: loop.Store(sums, place(r, v), loop.Load(c, place(r, v)))))
    p = Var("p")
    fetch = across(lambda v: loop.Store(line, v, loop.Load(b, loop.add(loop.mul(p, b_step), v))))
    step: list[Stmt] = [line, fetch]
    for r, start in enumerate(starts):
        x = Var(f"x{r}", dtype)
        step.append(loop.Let(x, loop.Load(a, loop.add(start, loop.mul(p, a_step)))))

        def add(v: Expr, r: int = r, x: Var = x) -> Stmt:
            return loop.Accumulate(
                sums, place(r, v), "add", loop.apply("mul", x, loop.Load(line, v))
            )

        step.append(across(add))
    body.append(loop.For(p, depth, loop.SERIAL, tuple(step)))
    for r in range(rows):
        body.append(across(lambda v, r=r: loop.Store(c, place(r, v), loop.Load(sums, place(r, v)))))
    name = f"multiply_{dtype}_{rows}x{columns}"
    return Kernel(name, (a, b, c), tuple(body), (depth, a_row, a_step, b_step, count))


@dataclass(frozen=True)
class _Source:
    """Where the micro-kernel finds an operand: `start` of a tile, and its two steps."""

    buffer: Buffer
    start: Callable[..., Expr]
    steps: tuple[Dim, Dim]


def build_tile(spec: ContractionSpec, tiles: Tiling) -> Contraction:
    """for task parallel:  for each panel of columns:  tile[block, NR] = 0
    for k in blocks:  for each MR rows:  tile[rows] += a[rows, k] * b[k, panel]
    for rows:  for v vector columns:  epilogue"""
    workspaces: list[Buffer] = []
    a, pack_a = _source_a(spec, tiles, workspaces)
    b, pack_b = _source_b(spec, tiles, workspaces)
    columns = tiles.columns
    all_panels = ceildiv(spec.n, columns)
    blocks, groups = ceildiv(spec.m, tiles.block), ceildiv(all_panels, tiles.panels)
    whole = divides(tiles.block, spec.m)

    def task(t: Expr) -> list[Stmt]:
        batch, block, group = split(t, (spec.batch, blocks, groups))
        first = loop.mul(block, Const(tiles.block))
        rows: Expr = Const(tiles.block)
        if not whole:
            rows = minimum(rows, loop.sub(loop.index(spec.m), first))
        count: Expr = Const(tiles.panels)
        before = loop.mul(group, count)
        if not divides(tiles.panels, all_panels):
            count = minimum(count, loop.sub(loop.index(all_panels), before))
        lets, (rows, count) = _named(("rows", rows), ("panels", count))
        return lets + repeat(
            spec, "j", count, loop.SERIAL,
            lambda j: panel(batch, first, rows, loop.add(before, j)),
        )  # fmt: skip

    def panel(batch: Expr, first: Expr, rows: Expr, number: Expr) -> list[Stmt]:
        tile = Local("tile", spec.dtype, (tiles.block, columns), "stack")
        heights = loop.floordiv(loop.add(rows, Const(tiles.rows - 1)), Const(tiles.rows))
        body: list[Stmt] = [tile]
        body += repeat(
            spec, "z", loop.mul(heights, Const(tiles.rows * columns)), loop.VECTOR,
            lambda z: [loop.Store(tile, z, zero(spec.dtype))],
        )  # fmt: skip
        body += repeat(
            spec, "d", ceildiv(spec.k, tiles.depth) if tiles.depth else 0, loop.SERIAL,
            lambda d: multiply(batch, first, rows, number, heights, d, tile),
        )  # fmt: skip
        # The last panel of a B that is read in place starts early enough to end with it.
        at = loop.mul(number, Const(columns))
        width: Expr = Const(columns)
        if not divides(columns, spec.n):
            width = minimum(width, loop.sub(loop.index(spec.n), at))
        skip = loop.ZERO if tiles.pack_b else loop.sub(Const(columns), width)
        lets, (width, skip) = _named(("width", width), ("skip", skip))
        body += lets

        def finish(r: Expr) -> list[Stmt]:
            m = spec.variable("m", spec.m)
            line = loop.add(loop.mul(r, Const(columns)), skip)

            def element(v: Expr) -> list[Stmt]:
                value = Var("value", spec.dtype)
                load = loop.Let(value, loop.Load(tile, loop.add(line, v)))
                return [load, *spec.epilogue(batch, m, loop.add(at, v), value)]

            named = loop.Let(m, loop.add(first, r))
            return [named, *repeat(spec, "v", width, loop.VECTOR, element)]

        return body + repeat(spec, "r", rows, loop.SERIAL, finish)

    def multiply(batch, first, rows, number, heights, d, tile) -> list[Stmt]:
        k = loop.mul(d, loop.index(tiles.depth))
        depth: Expr = loop.index(tiles.depth)
        if tiles.depth != spec.k and not divides(_DEPTH, spec.k):
            depth = minimum(depth, loop.sub(loop.index(spec.k), k))
        lets, (depth, at_b) = _named(("depth", depth), ("at_b", b.start(batch, number, k)))

        def height(i: Expr) -> list[Stmt]:
            r = loop.mul(i, Const(tiles.rows))
            count: Expr = Const(tiles.rows)
            if not divides(tiles.rows, spec.m):
                count = minimum(count, loop.sub(rows, r))
            start = a.start(batch, loop.add(first, r), k)
            named, (count, at_a) = _named(("count", count), ("at_a", start))

            def call(tall: int) -> Stmt:
                kernel = micro_kernel(spec.dtype, tall, columns)
                arguments = (
                    (a.buffer, at_a),
                    (b.buffer, at_b),
                    (tile, loop.mul(r, Const(columns))),
                )
                steps = (*a.steps, b.steps[0])
                return Invoke(kernel, arguments, (depth, *map(loop.index, steps), count))

            half = tiles.rows // 2
            if isinstance(count, Const) or not _may_leave(spec.m, tiles.rows, half):
                return [*named, call(tiles.rows)]
            few = loop.apply("le", count, Const(half))
            return [*named, loop.If(few, (call(half),), (call(tiles.rows),))]

        return lets + repeat(spec, "i", heights, loop.SERIAL, height)

    work = 2 * tiles.block * columns * tiles.panels * assumed(spec.k)
    nest = repeat(
        spec, "t", product(spec.batch, blocks, groups), loop.PARALLEL, task,
        grain_of(work, _TASK_OPERATIONS[0]),
    )  # fmt: skip
    return Contraction("tile", tuple(pack_a), tuple(pack_b), tuple(nest), tuple(workspaces))


def _may_leave(m: Dim, rows: int, half: int) -> bool:
    """Whether the last tile may have so few rows that a lower tile does."""
    return not isinstance(m, int) or 0 < m % rows <= half


def _named(*values: tuple[str, Expr]) -> tuple[list[Stmt], list[Expr]]:
    """Names for what is not a constant, so that it is computed once."""
    lets: list[Stmt] = []
    result: list[Expr] = []
    for name, value in values:
        if isinstance(value, (Const, Var)):
            result.append(value)
        else:
            var = Var(name)
            lets.append(loop.Let(var, value))
            result.append(var)
    return lets, result


# -- operands --------------------------------------------------------------------------------------


def _source_a(
    spec: ContractionSpec, tiles: Tiling, workspaces: list[Buffer]
) -> tuple[_Source, list[Stmt]]:
    """Where tiles of A start, given (batch, row, k); row is a multiple of the tile's rows."""
    strided = spec.a.strided
    if not tiles.pack_a:
        assert strided is not None

        def in_place(batch: Expr, row: Expr, k: Expr) -> Expr:
            start = loop.add(strided.base(batch), loop.mul(row, loop.index(strided.row_step)))
            return loop.add(start, loop.mul(k, loop.index(strided.column_step)))

        steps = (strided.row_step, strided.column_step)
        return _Source(strided.buffer, in_place, steps), []
    name = f"{spec.name}_a"
    if tiles.pack_a == "rows":
        packed = Buffer(name, spec.dtype, product(spec.batch, spec.m, spec.k), "workspace")
        workspaces.append(packed)

        def in_rows(batch: Expr, row: Expr, k: Expr) -> Expr:
            return loop.linear((batch, row, k), (spec.batch, spec.m, spec.k))

        return _Source(packed, in_rows, (spec.k, 1)), _pack_rows(spec, packed)
    high = ceildiv(spec.m, tiles.rows)
    size = product(spec.batch, high, spec.k, tiles.rows)
    packed = Buffer(name, spec.dtype, size, "workspace")
    workspaces.append(packed)

    def in_panels(batch: Expr, row: Expr, k: Expr) -> Expr:
        panel = loop.floordiv(row, Const(tiles.rows))
        start = loop.linear((batch, panel, k), (spec.batch, high, spec.k))
        return loop.mul(start, Const(tiles.rows))

    def read(batch: Expr, m: Expr, k: Expr) -> Expr:
        return spec.a.read(batch, m, k)

    nest = _pack_panels(spec, packed, tiles.rows, spec.m, read, fill=False)
    return _Source(packed, in_panels, (1, tiles.rows)), nest


def _source_b(
    spec: ContractionSpec, tiles: Tiling, workspaces: list[Buffer]
) -> tuple[_Source, list[Stmt]]:
    """Where a panel of B starts, given (batch, number of the panel, k)."""
    columns = tiles.columns
    if not tiles.pack_b:
        strided = spec.b.strided
        assert strided is not None

        def in_place(batch: Expr, number: Expr, k: Expr) -> Expr:
            at = loop.mul(number, Const(columns))
            if not divides(columns, spec.n):
                at = minimum(at, loop.sub(loop.index(spec.n), Const(columns)))
            row = loop.mul(k, loop.index(strided.row_step))
            return loop.add(loop.add(strided.base(batch), row), at)

        return _Source(strided.buffer, in_place, (strided.row_step, 1)), []
    wide = ceildiv(spec.n, columns)
    size = product(spec.batch, wide, spec.k, columns)
    packed = Buffer(f"{spec.name}_b", spec.dtype, size, "workspace")
    workspaces.append(packed)

    def in_panels(batch: Expr, number: Expr, k: Expr) -> Expr:
        start = loop.linear((batch, number, k), (spec.batch, wide, spec.k))
        return loop.mul(start, Const(columns))

    def read(batch: Expr, n: Expr, k: Expr) -> Expr:
        return spec.b.read(batch, k, n)

    nest = _pack_panels(spec, packed, columns, spec.n, read, fill=True)
    return _Source(packed, in_panels, (columns, 1)), nest


def _pack_rows(spec: ContractionSpec, packed: Buffer) -> list[Stmt]:
    """packed[b, m, k] = a[b, m, k]"""

    def task(t: Expr) -> list[Stmt]:
        batch, m = split(t, (spec.batch, spec.m))
        start = loop.mul(t, loop.index(spec.k))
        return repeat(
            spec, "p", spec.k, loop.VECTOR,
            lambda p: [loop.Store(packed, loop.add(start, p), spec.a.read(batch, m, p))],
        )  # fmt: skip

    grain = grain_of(assumed(spec.k), _COPY_ELEMENTS)
    return repeat(spec, "t", product(spec.batch, spec.m), loop.PARALLEL, task, grain)


def _pack_panels(
    spec: ContractionSpec,
    packed: Buffer,
    width: int,
    extent: Dim,
    read: Callable[[Expr, Expr, Expr], Expr],
    fill: bool,
) -> list[Stmt]:
    """packed[b, panel, k, v] = read(b, panel * width + v, k), or 0 beyond `extent` if `fill`."""
    panels, chunks = ceildiv(extent, width), ceildiv(spec.k, _COPY_CHUNK)

    def task(t: Expr) -> list[Stmt]:
        batch, panel, chunk = split(t, (spec.batch, panels, chunks))
        first = loop.mul(chunk, Const(_COPY_CHUNK))
        count: Expr = Const(_COPY_CHUNK)
        if not divides(_COPY_CHUNK, spec.k):
            count = minimum(count, loop.sub(loop.index(spec.k), first))
        at = loop.mul(panel, Const(width))
        present: Expr = Const(width)
        if not divides(width, extent):
            present = minimum(present, loop.sub(loop.index(extent), at))
        lets, (count, present) = _named(("count", count), ("present", present))

        def line(p: Expr) -> list[Stmt]:
            k = loop.add(first, p)
            start = loop.linear((batch, panel, k), (spec.batch, panels, spec.k))
            named, (start,) = _named(("start", loop.mul(start, Const(width))))
            body = named + repeat(
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

        return lets + repeat(spec, "p", count, loop.SERIAL, line)

    work = width * min(_COPY_CHUNK, assumed(spec.k))
    extent_ = product(spec.batch, panels, chunks)
    return repeat(spec, "t", extent_, loop.PARALLEL, task, grain_of(work, _COPY_ELEMENTS))
