"""Contractions in register tiles: their cut, packing, and the loops around the micro-kernel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..loop import nodes as loop
from ..loop.nodes import Buffer, Const, Expr, Invoke, Local, Stmt, Var
from ..sizes import Dim, ceildiv, is_nonnegative, maximum
from .contraction_kernels import dot_kernel, outer_kernel
from .contraction_spec import (
    ASSUMED_SIZE,
    Contraction,
    ContractionSpec,
    Target,
    assumed,
    count_of,
    divides,
    grain_of,
    minimum,
    product,
    repeat,
    split,
    zero,
)

LATENCY = 4  # cycles of a fused multiply-add
NEST_CYCLES = 3000  # of one more parallel loop: waking threads and waiting for the last
_DEPTH = 1024  # elements of k that a tile takes at once
_LARGEST_DEPTH = 1536  # up to here, all of k at once
_LARGEST_BLOCK = 128  # rows of a task
_TASK_OPERATIONS = (1 << 20, 1 << 23)  # of a task: least, most
_TASKS = 32  # as many as are wanted where the product is large enough
_CALL_CYCLES = 30  # around one tile
_DOT_COLUMNS = 16  # of a panel whose products are summed along k
_DOT_DEPTH = 512  # so that the panel stays in the first cache
_DOT_CYCLES = 60  # adding up the lanes of all sums of one dot tile
_COPY_CHUNK = 128
_COPY_ELEMENTS = 1 << 14  # of a packing task
_REUSE_ROWS = 96  # rows from which packing B can pay


@dataclass(frozen=True)
class Tiling:
    """How a contraction is cut into tiles of `rows` by `width`, in panels of `columns`.

    With `dots`, lanes run along k, and a panel has several tiles side by side; otherwise they run
    along n, and a tile is as wide as a panel.
    """

    lanes: int
    dots: bool
    rows: int
    width: int
    columns: int
    block: int  # rows of a task, a multiple of `rows`
    panels: int  # panels of columns of a task
    depth: Dim  # elements of k at once
    pack_a: str  # "" (read in place), "rows" (row-major copy) or "panels" (of `rows` rows)
    pack_b: bool

    @property
    def step_cycles(self) -> float:
        """Of one step along k of a tile (one vector of steps with `dots`), with two multiply-adds
        and two loads a cycle."""
        across = self.width if self.dots else self.width // self.lanes
        return max(self.rows * across / 2, (self.rows + across) / 2, LATENCY)


def tiling(spec: ContractionSpec, target: Target) -> Tiling:
    """The cut of a contraction on a processor. It depends on sizes only, never on threads."""
    bits = max(32, spec.dtype.bits)
    lanes = max(1, target.vector_bits // bits)
    outer = _outer_tiling(spec, target, lanes)
    dots = _dot_tiling(spec, target, lanes)
    if dots is not None:
        # Whatever the number of rows, packing costs the same, so few rows decide where unknown.
        m = spec.m if isinstance(spec.m, int) else ASSUMED_SIZE // 4
        if product_cycles(spec, dots, m) <= product_cycles(spec, outer, m):
            return dots
    return outer


def product_cycles(spec: ContractionSpec, tiles: Tiling, m: int) -> float:
    """An estimate for one core and m rows, packing included."""
    batch, n, k = (assumed(dim) for dim in (spec.batch, spec.n, spec.k))
    steps = count_of(k, tiles.lanes) if tiles.dots else k
    tile: float = steps * tiles.step_cycles + _CALL_CYCLES
    if tiles.dots:
        tile += _DOT_CYCLES * max(1, count_of(k, _DOT_DEPTH))
    else:
        tile += 2 * tiles.rows * tiles.width // tiles.lanes  # storing it
    cycles: float = count_of(m, tiles.rows) * count_of(n, tiles.width) * tile
    cycles += m * count_of(n, tiles.lanes) * 5  # the epilogue, from the first cache
    if tiles.pack_a:
        spread: float = 1 if spec.a.contiguous else tiles.lanes
        cycles += m * k * (spec.a.cost + 3 * spread) / tiles.lanes + NEST_CYCLES
    if tiles.pack_b:
        spread = 1 if spec.b.contiguous == "column" else tiles.lanes / 2
        vectors = count_of(n, tiles.columns) * tiles.columns / tiles.lanes
        cycles += k * vectors * (spec.b.cost + 3 * spread) + NEST_CYCLES
    return batch * cycles


def _outer_tiling(spec: ContractionSpec, target: Target, lanes: int) -> Tiling:
    # rows x 2 sums, 2 vectors of B and a broadcast element of A fit the registers, and the sums
    # are enough to hide the latency of a multiply-add on two units.
    rows = 8 if target.registers >= 32 else 6 if target.vector_bits >= 256 else 4
    columns = lanes * (1 if isinstance(spec.n, int) and spec.n <= lanes else 2)
    if isinstance(spec.m, int) and 0 < spec.m <= rows // 2:
        rows //= 2
    m, n, k = (assumed(dim) for dim in (spec.m, spec.n, spec.k))
    size = spec.dtype.bytes
    depth: Dim = _DEPTH
    if isinstance(spec.k, int) and spec.k <= _LARGEST_DEPTH:
        depth = spec.k
    return Tiling(
        lanes, False, rows, columns, columns, *_task(spec, target, rows, columns), depth,
        _packing_of_a(spec, target, m * k * size), _packs_b(spec, target, columns, m, k * n * size),
    )  # fmt: skip


def _dot_tiling(spec: ContractionSpec, target: Target, lanes: int) -> Tiling | None:
    """Lanes along k, for a B whose neighbours in memory are along k, so that it needs no packing;
    None where an operand does not lie like that."""
    a, b = spec.a.strided, spec.b.strided
    if lanes == 1 or b is None or b.row_step != 1 or (a is not None and a.column_step != 1):
        return None
    if a is None and spec.a.contiguous == "row":
        return None
    rows, width = (4, 4) if target.registers >= 32 else (4, 2)
    columns = _DOT_COLUMNS
    depth: Dim = _DOT_DEPTH
    if isinstance(spec.k, int) and spec.k <= _DOT_DEPTH:
        depth = spec.k
    return Tiling(
        lanes, True, rows, width, columns, *_task(spec, target, rows, columns), depth,
        "" if a is not None else "rows", False,
    )  # fmt: skip


def _task(spec: ContractionSpec, target: Target, rows: int, columns: int) -> tuple[int, int]:
    """(rows, panels) of a task: enough tasks to share out, each large enough to be worth it, and
    its rows of A in the second cache."""
    batch, m, n, k = (assumed(dim) for dim in (spec.batch, spec.m, spec.n, spec.k))
    least, most = _TASK_OPERATIONS
    task = min(most, max(least, 2 * batch * m * n * k // _TASKS))
    resident = target.l2 // 2 // max(1, min(k, _DEPTH) * spec.dtype.bytes)
    limit = min(_LARGEST_BLOCK, resident, task // max(1, 2 * k * columns))
    limit = max(limit, 4 * rows)
    if isinstance(spec.m, int):
        blocks = max(1, count_of(spec.m, _LARGEST_BLOCK), round(spec.m / limit))
        block = count_of(count_of(spec.m, blocks), rows) * rows
    else:
        block = count_of(limit, rows) * rows
    block = max(block, rows)
    panels = max(1, task // max(1, 2 * min(block, m) * k * columns))
    return block, max(1, min(panels, count_of(n, columns)))


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


@dataclass(frozen=True)
class _Source:
    """Where the micro-kernel finds an operand: `start` of a tile, and its steps by row and by
    column."""

    buffer: Buffer
    start: Callable[..., Expr]
    steps: tuple[Dim, Dim]


def build_tile(spec: ContractionSpec, tiles: Tiling) -> Contraction:
    """Packing nests where they are needed, then

    for task parallel:  for each panel of columns:
        for k in blocks:  for each tile of the task's rows:  tile = or += a[rows, k] * b[k, columns]
        for rows:  for v vector columns:  epilogue
    """
    workspaces: list[Buffer] = []
    a, pack_a = _source_a(spec, tiles, workspaces)
    b, pack_b = _source_b(spec, tiles, workspaces)
    nest = _Nest(spec, tiles, a, b).build()
    return Contraction("tile", tuple(pack_a), tuple(pack_b), tuple(nest), tuple(workspaces))


class _Nest:
    """The loops of a product; each method makes the statements of one level."""

    def __init__(self, spec: ContractionSpec, tiles: Tiling, a: _Source, b: _Source):
        self.spec, self.tiles, self.a, self.b = spec, tiles, a, b
        self.panels = ceildiv(spec.n, tiles.columns)
        # At least one, so that the sums of no products are stored too.
        self.depths: Dim = 1
        if tiles.depth != spec.k:
            self.depths = maximum(1, ceildiv(spec.k, tiles.depth))

    def build(self) -> list[Stmt]:
        spec, tiles = self.spec, self.tiles
        blocks, groups = ceildiv(spec.m, tiles.block), ceildiv(self.panels, tiles.panels)
        work = 2 * tiles.block * tiles.columns * tiles.panels * assumed(spec.k)
        return repeat(
            spec, "t", product(spec.batch, blocks, groups), loop.PARALLEL,
            lambda t: self.task(*split(t, (spec.batch, blocks, groups))),
            grain_of(work, _TASK_OPERATIONS[0]),
        )  # fmt: skip

    def task(self, batch: Expr, block: Expr, group: Expr) -> list[Stmt]:
        spec, tiles = self.spec, self.tiles
        first = loop.mul(block, Const(tiles.block))
        rows = _within(tiles.block, first, spec.m)
        before = loop.mul(group, Const(tiles.panels))
        count = _within(tiles.panels, before, self.panels)
        lets, (rows, count) = _named(("rows", rows), ("panels", count))
        return lets + repeat(
            spec, "j", count, loop.SERIAL,
            lambda j: self.panel(batch, first, rows, loop.add(before, j)),
        )  # fmt: skip

    def panel(self, batch: Expr, first: Expr, rows: Expr, number: Expr) -> list[Stmt]:
        spec, tiles = self.spec, self.tiles
        tile = Local("tile", spec.dtype, (tiles.block, tiles.columns), "stack")
        at = loop.mul(number, Const(tiles.columns))
        width = _within(tiles.columns, at, spec.n)
        # The last panel of rows that are read in place starts early enough to end with them.
        early = not tiles.pack_b and not tiles.dots
        skip = loop.sub(Const(tiles.columns), width) if early else loop.ZERO
        lets, (width, skip) = _named(("width", width), ("skip", skip))
        body: list[Stmt] = [tile, *lets]
        body += repeat(
            spec, "d", self.depths, loop.SERIAL,
            lambda d: self.multiply(batch, first, rows, number, width, d, tile),
        )  # fmt: skip

        def finish(r: Expr) -> list[Stmt]:
            m = spec.variable("m", spec.m)
            line = loop.add(loop.mul(r, Const(tiles.columns)), skip)

            def element(v: Expr) -> list[Stmt]:
                value = Var("value", spec.dtype)
                load = loop.Let(value, loop.Load(tile, loop.add(line, v)))
                return [load, *spec.epilogue(batch, m, loop.add(at, v), value)]

            named = loop.Let(m, loop.add(first, r))
            return [named, *repeat(spec, "v", width, loop.VECTOR, element)]

        return body + repeat(spec, "r", rows, loop.SERIAL, finish)

    def multiply(self, batch, first, rows, number, width, d, tile) -> list[Stmt]:
        """One block of k of a panel."""
        spec, tiles = self.spec, self.tiles
        k = loop.mul(d, loop.index(tiles.depth))
        depth: Expr = loop.index(spec.k)
        if self.depths != 1:
            assert isinstance(tiles.depth, int)
            depth = _within(tiles.depth, k, spec.k)
        fresh = loop.ONE if self.depths == 1 else loop.sub(loop.ONE, minimum(d, loop.ONE))
        lets, (depth, at_b, fresh) = _named(
            ("depth", depth), ("at_b", self.b.start(batch, number, k)), ("fresh", fresh)
        )
        heights = loop.floordiv(loop.add(rows, Const(tiles.rows - 1)), Const(tiles.rows))

        def height(i: Expr, q: Expr) -> list[Stmt]:
            r = loop.mul(i, Const(tiles.rows))
            count: Expr = Const(tiles.rows)
            if not divides(tiles.rows, spec.m):
                count = minimum(count, loop.sub(rows, r))
            start = self.a.start(batch, loop.add(first, r), k)
            named, (count, at_a) = _named(("count", count), ("at_a", start))
            if tiles.dots:
                return named + self.dots(at_a, at_b, r, q, count, width, depth, fresh, tile)
            return named + self.outer(at_a, at_b, r, count, depth, fresh, tile)

        across: Expr = loop.ONE
        if tiles.dots:
            across = loop.add(width, Const(tiles.width - 1))
            across = loop.floordiv(across, Const(tiles.width))
        return lets + repeat(
            spec, "q", across, loop.SERIAL,
            lambda q: repeat(spec, "i", heights, loop.SERIAL, lambda i: height(i, q)),
        )  # fmt: skip

    def outer(self, at_a, at_b, r, count, depth, fresh, tile) -> list[Stmt]:
        tiles, dtype = self.tiles, self.spec.dtype
        place = loop.mul(r, Const(tiles.columns))
        arguments = ((self.a.buffer, at_a), (self.b.buffer, at_b), (tile, place))
        steps = [loop.index(step) for step in (*self.a.steps, self.b.steps[0])]
        scalars = (depth, *steps, count, fresh)

        def call(rows: int) -> Stmt:
            return Invoke(outer_kernel(dtype, rows, tiles.columns), arguments, scalars)

        half = tiles.rows // 2
        if isinstance(count, Const) or not _may_leave(self.spec.m, tiles.rows, half):
            return [call(tiles.rows)]
        few = loop.apply("le", count, Const(half))
        return [loop.If(few, (call(half),), (call(tiles.rows),))]

    def dots(self, at_a, at_b, r, q, count, width, depth, fresh, tile) -> list[Stmt]:
        tiles = self.tiles
        column = loop.mul(q, Const(tiles.width))
        step = loop.index(self.b.steps[1])
        present: Expr = Const(tiles.width)
        if not divides(tiles.width, self.spec.n):
            present = minimum(present, loop.sub(width, column))
        arguments = (
            (self.a.buffer, at_a),
            (self.b.buffer, loop.add(at_b, loop.mul(column, step))),
            (tile, loop.add(loop.mul(r, Const(tiles.columns)), column)),
        )
        kernel = dot_kernel(self.spec.dtype, tiles.rows, tiles.width, tiles.columns)
        scalars = (depth, loop.index(self.a.steps[0]), step, count, present, fresh)
        return [Invoke(kernel, arguments, scalars)]


def _within(count: int, start: Expr, extent: Dim) -> Expr:
    """`count`, or what is left from `start` to `extent` where that is less."""
    if divides(count, extent):
        return Const(count)
    return minimum(Const(count), loop.sub(loop.index(extent), start))


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
            if not tiles.dots and not divides(columns, spec.n):
                at = minimum(at, loop.sub(loop.index(spec.n), Const(columns)))
            at = loop.mul(at, loop.index(strided.column_step))
            row = loop.mul(k, loop.index(strided.row_step))
            return loop.add(loop.add(strided.base(batch), row), at)

        return _Source(strided.buffer, in_place, (strided.row_step, strided.column_step)), []
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
