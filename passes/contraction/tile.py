"""Contractions in register tiles: the loops around the micro-kernels."""

from __future__ import annotations

from ...dtypes import int64
from ...loop import nodes as loop
from ...loop.nodes import Buffer, Const, Expr, Invoke, Local, Stmt, Var
from ...sizes import Dim, ceildiv, maximum, multiply
from .kernels import dot_kernel, outer_kernel
from .live import depth_of, row_at, rows_of
from .packing import Source, source_a, source_b
from .spec import (
    Contraction,
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
    within,
    zero,
)
from .tiling import TASK_OPERATIONS, Tiling, heights


def build_tile(spec: ContractionSpec, tiles: Tiling) -> Contraction:
    """Packing nests where they are needed, then

    for task parallel:  for each panel of columns:
        for k in blocks:  for each tile of the task's rows:  tile = or += a[rows, k] * b[k, columns]
        for rows:  for v vector columns:  epilogue

    or, with the sums of all panels of a task side by side in the second cache,

    for task parallel:
        for k in blocks:  for each panel of columns:  for each tile:  tile = or += …
        for rows:  for each panel:  for v vector columns:  epilogue

    or, with those sums in memory,

    for task parallel:  for its k in blocks:  for each panel:  for each tile:  tile += …
    for rows parallel:  for v vector columns:  epilogue of the sum of all tasks' sums
    """
    workspaces: list[Buffer] = []
    a, pack_a = source_a(spec, tiles, workspaces)
    b, pack_b = source_b(spec, tiles, workspaces)
    nest = (_Together if tiles.together else _Nest)(spec, tiles, a, b, workspaces).build()
    packed = b.buffer if tiles.pack_b else None
    return Contraction("tile", tuple(pack_a), tuple(pack_b), tuple(nest), tuple(workspaces), packed)


class _Nest:
    """The loops of a product; each method makes the statements of one level."""

    def __init__(
        self, spec: ContractionSpec, tiles: Tiling, a: Source, b: Source, workspaces: list[Buffer]
    ):
        self.spec, self.tiles, self.a, self.b = spec, tiles, a, b
        self.panels = ceildiv(spec.n, tiles.columns)
        self.workspaces = workspaces
        self.starts = None
        if a.row is not None:
            self.starts = Local("starts", int64, (tiles.block,), "stack")

    def build(self) -> list[Stmt]:
        spec, tiles = self.spec, self.tiles
        blocks, groups = ceildiv(spec.m, tiles.block), ceildiv(self.panels, tiles.panels)
        work = 2 * tiles.block * tiles.columns * tiles.panels * assumed(spec.k)

        def task(t: Expr) -> list[Stmt]:
            # Tasks at a time share panels of B, which stay in the last cache while A goes by.
            batch, group, block = split(t, (spec.batch, groups, blocks))
            return self.task(batch, block, group)

        return repeat(
            spec, "t", product(spec.batch, blocks, groups), loop.PARALLEL, task,
            grain_of(work, TASK_OPERATIONS[0]),
        )  # fmt: skip

    def list_starts(self, first: Expr) -> list[Stmt]:
        """Where the rows of the task start; those beyond the last one where that does."""
        if self.starts is None:
            return []
        spec, tiles = self.spec, self.tiles
        starts, row = self.starts, self.a.row
        assert row is not None

        def one(r: Expr) -> list[Stmt]:
            var = spec.variable("m", spec.m)
            m = loop.add(first, r)
            if not divides(tiles.block, spec.m):
                m = minimum(m, loop.sub(loop.index(spec.m), loop.ONE))
            return [loop.Let(var, m), loop.Store(starts, r, row(var))]

        return [starts, *repeat(spec, "r", tiles.block, loop.SERIAL, one)]

    def task(self, batch: Expr, block: Expr, group: Expr) -> list[Stmt]:
        """Panel after panel, each finished while it is in the first cache."""
        spec, tiles = self.spec, self.tiles
        first = loop.mul(block, Const(tiles.block))
        rows = within(tiles.block, first, spec.m)
        before = loop.mul(group, Const(tiles.panels))
        count = within(tiles.panels, before, self.panels)
        lets, (first, rows, count) = named(("first", first), ("rows", rows), ("panels", count))
        lets += self.list_starts(first)
        if tiles.by_rows:
            return lets + self.abreast(batch, first, rows, before, count)
        return lets + repeat(
            spec, "j", count, loop.SERIAL,
            lambda j: self.panel(batch, first, rows, loop.add(before, j)),
        )  # fmt: skip

    def panel(self, batch: Expr, first: Expr, rows: Expr, number: Expr) -> list[Stmt]:
        spec, tiles = self.spec, self.tiles
        tile = Local("tile", spec.dtype, (tiles.block, tiles.columns), "stack")
        lets, width, skip = self.columns(number)

        def multiply(d: Expr) -> list[Stmt]:
            return self.multiply(
                batch, first, rows, number, width, d, self.fresh(d),
                lambda r: (tile, loop.mul(r, Const(tiles.columns))),
            )  # fmt: skip

        body: list[Stmt] = [tile, *lets]
        body += repeat(spec, "d", self.blocks(), loop.SERIAL, multiply)
        body += self.clear_dead(tile, loop.ZERO, first, rows)

        def line(r: Expr) -> list[Stmt]:
            m = spec.variable("m", spec.m)
            start = loop.add(loop.mul(r, Const(tiles.columns)), skip)
            let = loop.Let(m, row_at(spec, loop.add(first, r)))
            return [let, *self.finish_line(tile, start, batch, m, number, width)]

        return body + repeat(spec, "r", rows, loop.SERIAL, line)

    def abreast(self, batch: Expr, first: Expr, rows: Expr, before: Expr, count: Expr):
        """All panels of a task, then whole rows of it: what the epilogue reads and writes goes by
        in long runs."""
        spec, tiles = self.spec, self.tiles
        tile = Local("tile", spec.dtype, (tiles.panels * tiles.block, tiles.columns), "stack")

        def place(j: Expr, r: Expr) -> Expr:
            return loop.mul(loop.add(loop.mul(j, Const(tiles.block)), r), Const(tiles.columns))

        def multiply(d: Expr, j: Expr) -> list[Stmt]:
            number = loop.add(before, j)
            lets, width, _ = self.columns(number)
            return lets + self.multiply(
                batch, first, rows, number, width, d, self.fresh(d), lambda r: (tile, place(j, r))
            )

        def line(r: Expr) -> list[Stmt]:
            m = spec.variable("m", spec.m)

            def part(j: Expr) -> list[Stmt]:
                number = loop.add(before, j)
                lets, width, skip = self.columns(number)
                start = loop.add(place(j, r), skip)
                return lets + self.finish_line(tile, start, batch, m, number, width)

            let = loop.Let(m, row_at(spec, loop.add(first, r)))
            return [let, *repeat(spec, "j", count, loop.SERIAL, part)]

        body = repeat(
            spec, "d", self.blocks(), loop.SERIAL,
            lambda d: repeat(spec, "j", count, loop.SERIAL, lambda j: multiply(d, j)),
        )  # fmt: skip
        if spec.order_of_rows is not None:
            body += repeat(
                spec, "j", count, loop.SERIAL,
                lambda j: self.clear_dead(tile, place(j, loop.ZERO), first, rows),
            )  # fmt: skip
        return [tile, *body, *repeat(spec, "r", rows, loop.SERIAL, line)]

    def columns(self, number: Expr) -> tuple[list[Stmt], Expr, Expr]:
        """Of a panel: how many columns it has, and how many of its tile come before them."""
        tiles = self.tiles
        at = loop.mul(number, Const(tiles.columns))
        width = within(tiles.columns, at, self.spec.n)
        # The last panel of rows that are read in place starts early enough to end with them.
        early = not tiles.pack_b and not tiles.dots
        skip = loop.sub(Const(tiles.columns), width) if early else loop.ZERO
        lets, (width, skip) = named(("width", width), ("skip", skip))
        return lets, width, skip

    def blocks(self) -> Dim | Expr:
        """Blocks of k: those with any k that counts, and one at least, so that sums are stored."""
        sweep = self.tiles.sweep
        if self.spec.order_of_k is None or sweep.blocks == 1:
            return sweep.blocks
        depth = loop.index(sweep.depth)
        count = loop.add(depth_of(self.spec), loop.sub(depth, loop.ONE))
        return loop.apply("maximum", loop.floordiv(count, depth), loop.ONE)

    def clear_dead(self, tile: Local, start: Expr, first: Expr, rows: Expr) -> list[Stmt]:
        """Zeros for the rows of a tile from `start` on that do not count."""
        if self.spec.order_of_rows is None:
            return []
        columns = Const(self.tiles.columns)
        live = self.live_rows(first, rows)
        lets, (live,) = named(("live", live))
        lets.append(loop.Let(begin := Var("begin"), loop.add(start, loop.mul(live, columns))))
        return lets + repeat(
            self.spec, "z", loop.mul(loop.sub(rows, live), columns), loop.VECTOR,
            lambda z: [loop.Store(tile, loop.add(begin, z), zero(self.spec.dtype))],
        )  # fmt: skip

    def live_rows(self, first: Expr, rows: Expr) -> Expr:
        """How many of a task's rows count: those come first."""
        if self.spec.order_of_rows is None:
            return rows
        return clamped(loop.sub(rows_of(self.spec), first), rows)

    def fresh(self, d: Expr) -> Expr:
        """Whether a block of k is the first one."""
        if self.tiles.sweep.blocks == 1:
            return loop.ONE
        return loop.sub(loop.ONE, minimum(d, loop.ONE))

    def finish_line(self, tile, start, batch, m, number, width) -> list[Stmt]:
        """The epilogue of a row of a panel, whose sums begin at `start`."""
        spec = self.spec
        at = loop.mul(number, Const(self.tiles.columns))

        def element(v: Expr) -> list[Stmt]:
            value = Var("value", spec.dtype)
            load = loop.Let(value, loop.Load(tile, loop.add(start, v)))
            # By a name that is known to be below n: a bias is then read by it as it is.
            column = spec.variable("n", spec.n)
            lets = [loop.Let(column, loop.add(at, v)), load]
            return [*lets, *spec.epilogue(batch, m, column, value)]

        return repeat(spec, "v", width, loop.VECTOR, element)

    def multiply(self, batch, first, rows, number, width, d, fresh, place) -> list[Stmt]:
        """One block of k of a panel; place(r) is where the sums of row r of the task are."""
        spec, tiles, sweep = self.spec, self.tiles, self.tiles.sweep
        indices = split(d, tuple(count for count, _, _ in sweep.outer))
        at: Expr = loop.ZERO
        k: Expr = loop.ZERO
        for index, (_, step, elements) in zip(indices, sweep.outer, strict=True):
            at = loop.add(at, loop.mul(index, loop.index(step)))
            k = loop.add(k, loop.mul(index, loop.index(elements)))
        depth: Expr = loop.index(sweep.depth)
        runs: Expr = Const(sweep.block)
        if spec.order_of_k is not None:
            depth = clamped(loop.sub(depth_of(spec), k), depth)
        elif spec.a.strided is None or not spec.a.strided.runs:
            if sweep.blocks != 1:
                assert isinstance(sweep.depth, int)
                depth = within(sweep.depth, k, spec.k)
        elif sweep.block != sweep.runs:
            runs = within(sweep.block, loop.mul(indices[-1], runs), sweep.runs)
        lets, (depth, runs, at, at_b, fresh) = named(
            ("depth", depth), ("runs", runs), ("at", at),
            ("at_b", self.b.start(batch, number, k)), ("fresh", fresh),
        )  # fmt: skip
        more, (rows,) = named(("live", self.live_rows(first, rows)))
        lets += more
        heights = loop.floordiv(loop.add(rows, Const(tiles.rows - 1)), Const(tiles.rows))

        def height(i: Expr, q: Expr) -> list[Stmt]:
            r = loop.mul(i, Const(tiles.rows))
            count: Expr = Const(tiles.rows)
            if spec.order_of_rows is not None or not divides(tiles.rows, spec.m):
                count = minimum(count, loop.sub(rows, r))
            start = self.a.start(batch, loop.add(first, r), at)
            inside, (count, at_a) = named(("count", count), ("at_a", start))
            if tiles.dots:
                return inside + self.dots(at_a, at_b, r, q, count, width, depth, fresh, place(r))
            return inside + self.outer(at_a, at_b, r, count, depth, runs, fresh, place(r))

        across: Expr = loop.ONE
        if tiles.dots:
            across = loop.add(width, Const(tiles.width - 1))
            across = loop.floordiv(across, Const(tiles.width))
        return lets + repeat(
            spec, "q", across, loop.SERIAL,
            lambda q: repeat(spec, "i", heights, loop.SERIAL, lambda i: height(i, q)),
        )  # fmt: skip

    def outer(self, at_a, at_b, r, count, depth, runs, fresh, place) -> list[Stmt]:
        tiles, dtype, sweep = self.tiles, self.spec.dtype, self.tiles.sweep
        arguments = [(self.a.buffer, at_a), (self.b.buffer, at_b), place]
        steps = [loop.index(step) for step in (*self.a.steps, self.b.steps[0])]
        scalars: list[Expr] = [depth, *steps, count, fresh]
        in_runs = sweep.runs != 1
        if in_runs:
            step = loop.index(self.b.steps[0])
            scalars += [runs, loop.index(sweep.run_step), loop.mul(depth, step)]
        if self.starts is not None:
            arguments.append((self.starts, r))

        def call(rows: int) -> Stmt:
            kernel = outer_kernel(dtype, rows, tiles.columns, in_runs, self.starts is not None)
            return Invoke(kernel, tuple(arguments), tuple(scalars))

        chosen: tuple[Stmt, ...] = (call(tiles.rows),)
        if not isinstance(count, Const):
            lower = _lower_tiles(self.spec.m, tiles.rows)
            if self.spec.order_of_rows is not None:
                # All but the one that sums in parts: what a row gives is not to depend on others.
                lower = _below(tiles.rows)
            for height in reversed(lower):
                few = loop.apply("le", count, Const(height))
                chosen = (loop.If(few, (call(height),), chosen),)
        return list(chosen)

    def dots(self, at_a, at_b, r, q, count, width, depth, fresh, place) -> list[Stmt]:
        tiles = self.tiles
        column = loop.mul(q, Const(tiles.width))
        step = loop.index(self.b.steps[1])
        present: Expr = Const(tiles.width)
        if not divides(tiles.width, self.spec.n):
            present = minimum(present, loop.sub(width, column))
        target, start = place
        arguments = (
            (self.a.buffer, at_a),
            (self.b.buffer, loop.add(at_b, loop.mul(column, step))),
            (target, loop.add(start, column)),
        )
        kernel = dot_kernel(self.spec.dtype, tiles.rows, tiles.width, tiles.columns)
        scalars = (depth, loop.index(self.a.steps[0]), step, count, present, fresh)
        return [Invoke(kernel, arguments, scalars)]


class _Together(_Nest):
    """Sums of a task in memory, [split, batch, panel, row, column] for all tasks."""

    def build(self) -> list[Stmt]:
        spec, tiles = self.spec, self.tiles
        splits, groups = tiles.splits, ceildiv(self.panels, tiles.panels)
        blocks = ceildiv(spec.m, tiles.block)
        self.high = multiply(blocks, tiles.block)
        self.line = (splits, spec.batch, self.panels, self.high)
        self.sums = Buffer(
            f"{spec.name}_sums", spec.dtype, multiply(product(*self.line), tiles.columns),
            "workspace",
        )  # fmt: skip
        self.workspaces.append(self.sums)
        # Of few blocks, as they may be where their number is not known, some splits have none.
        self.each = ceildiv(tiles.sweep.blocks, splits)
        self.used = maximum(1, ceildiv(tiles.sweep.blocks, maximum(1, self.each)))
        extents = (self.used, spec.batch, blocks, groups)
        nest = repeat(
            spec, "t", product(*extents), loop.PARALLEL, lambda t: self.share(*split(t, extents))
        )
        return nest + self.finish()

    def place(self, s: Expr, batch: Expr, number: Expr, row: Expr) -> Expr:
        """Where a line of columns is."""
        return loop.mul(loop.linear((s, batch, number, row), self.line), Const(self.tiles.columns))

    def share(self, s: Expr, batch: Expr, block: Expr, group: Expr) -> list[Stmt]:
        """The blocks of k of one split, for the rows and panels of a task."""
        spec, tiles = self.spec, self.tiles
        first = loop.mul(block, Const(tiles.block))
        rows = within(tiles.block, first, spec.m)
        before = loop.mul(group, Const(tiles.panels))
        count = within(tiles.panels, before, self.panels)
        blocks = tiles.sweep.blocks
        each = self.each
        begin = loop.mul(s, loop.index(each))
        # Where splits do not divide the blocks, the last one has fewer.
        own: Expr = loop.index(blocks)
        if tiles.splits > 1:
            own = loop.sub(loop.index(blocks), begin)
            own = minimum(loop.index(each), own)
        if spec.order_of_k is not None:
            own = clamped(loop.sub(loop.index(self.blocks()), begin), own)
        lets, (first, rows, count, begin, own) = named(
            ("first", first), ("rows", rows), ("panels", count), ("begin", begin), ("own", own)
        )
        lets += self.list_starts(first)

        def clear(j: Expr) -> list[Stmt]:
            start = self.place(s, batch, loop.add(before, j), first)
            inside, (start,) = named(("start", start))
            return inside + repeat(
                spec, "v", tiles.block * tiles.columns, loop.VECTOR,
                lambda v: [loop.Store(self.sums, loop.add(start, v), zero(spec.dtype))],
            )  # fmt: skip

        def panel(j: Expr, d: Expr) -> list[Stmt]:
            number = loop.add(before, j)
            at = loop.mul(number, Const(tiles.columns))
            width = within(tiles.columns, at, spec.n)
            inside, (width,) = named(("width", width))
            return inside + self.multiply(
                batch, first, rows, number, width, loop.add(begin, d), loop.ZERO,
                lambda r: (self.sums, self.place(s, batch, number, loop.add(first, r))),
            )  # fmt: skip

        lets += repeat(spec, "j", count, loop.SERIAL, clear)
        return lets + repeat(
            spec, "d", own, loop.SERIAL,
            lambda d: repeat(spec, "j", count, loop.SERIAL, lambda j: panel(j, d)),
        )  # fmt: skip

    def finish(self) -> list[Stmt]:
        """The epilogue of all elements, the sums of splits added up in their order."""
        spec, tiles = self.spec, self.tiles
        pitch = loop.index(multiply(product(*self.line[1:]), tiles.columns))

        def line(t: Expr) -> list[Stmt]:
            batch, row, number = split(t, (spec.batch, spec.m, self.panels))
            m, place = spec.variable("m", spec.m), spec.variable("row", spec.m)
            at = loop.mul(number, Const(tiles.columns))
            lets, width, skip = self.columns(number)
            start = loop.add(self.place(loop.ZERO, batch, number, place), skip)
            more, (start,) = named(("start", start))

            def element(v: Expr) -> list[Stmt]:
                value, total = Var("value", spec.dtype), Local("total", spec.dtype)

                def add(s: Expr) -> list[Stmt]:
                    at = loop.add(loop.add(start, loop.mul(loop.add(s, loop.ONE), pitch)), v)
                    return [loop.Accumulate(total, loop.ZERO, "add", loop.Load(self.sums, at))]

                return [
                    total,
                    loop.Store(total, loop.ZERO, loop.Load(self.sums, loop.add(start, v))),
                    *repeat(spec, "s", self.used - 1, loop.SERIAL, add),
                    loop.Let(value, loop.Load(total, loop.ZERO)),
                    *spec.epilogue(batch, m, loop.add(at, v), value),
                ]

            before = [loop.Let(place, row), loop.Let(m, row_at(spec, place)), *lets, *more]
            return before + repeat(spec, "v", width, loop.VECTOR, element)

        lines = product(spec.batch, spec.m, self.panels)
        work = tiles.columns * (tiles.splits + 4)
        return repeat(
            spec, "t", lines, loop.PARALLEL, line, grain_of(work, TASK_OPERATIONS[0] // 8)
        )


def _below(rows: int) -> tuple[int, ...]:
    return heights(rows)[:-1]


def _lower_tiles(m: Dim, rows: int) -> tuple[int, ...]:
    """Heights of lower tiles that the last rows may need."""
    lower = _below(rows)
    if lower and lower[0] > 1:
        lower = (1, *lower)
    if not isinstance(m, int):
        return lower
    return tuple(height for height in lower if 0 < m % rows <= height)[:1]
