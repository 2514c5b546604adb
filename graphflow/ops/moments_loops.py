"""Loops for mean and variance of [batch, rows, columns] over the rows.

    chunks of rows, in parallel; for each tile of columns, in registers:
        k   = the mean of the first rows
        s1 += x - k;  s2 += (x - k)^2         in blocks of rows, so that rounding stays small
        mean of the chunk k + s1/n, squared distances s2 - s1^2/n, to scratch memory
    for each batch, vectors of columns: the chunks combined, in order

Where there are few columns, several rows side by side make one wide row, whose columns are put
together only at the end; what does not fill a wide row are chunks of one row each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..dtypes import DType
from ..ir.node import Node
from ..loop import nodes as loop
from ..loop.nodes import Const, Expr, Stmt, Var
from ..sizes import Dim, ceildiv, floordiv, maximum, multiply, product
from .nests import CHUNK, estimate

_TILE = 64  # columns whose sums are in registers together
_BLOCK = 128  # rows that are added up before they join the sum of their chunk
_FIRST = 16  # one of so many rows is among the first
_CHUNK_ELEMENTS = 1 << 16
_MOST_CHUNKS = 64  # where their number is known

Body = list[Stmt]


@dataclass(frozen=True)
class _Shape:
    """The view of x, and how it is cut: `group` rows side by side, `wide` such rows, of which
    `step` make a chunk; `rest` single rows are left."""

    batch: Dim
    rows: Dim
    columns: Dim

    @property
    def group(self) -> int:
        if isinstance(self.columns, int) and 0 < self.columns < _TILE:
            return _TILE // self.columns
        return 1

    @property
    def width(self) -> Dim:
        return multiply(self.columns, self.group)

    @property
    def wide(self) -> Dim:
        return floordiv(self.rows, self.group)

    @property
    def rest(self) -> Dim:
        return self.rows - multiply(self.wide, self.group)

    @property
    def step(self) -> int:
        step = max(1, _CHUNK_ELEMENTS // max(1, estimate([self.width])))
        if isinstance(self.wide, int):
            step = max(step, -(-self.wide // _MOST_CHUNKS))
        return step

    @property
    def chunks(self) -> Dim:
        return maximum(ceildiv(self.wide, self.step), 0)


def lower_moments(node: Node, context) -> list[Stmt]:
    begin, end = node.attrs["begin"], node.attrs["end"]
    dims = node.inputs[0].dims
    shape = _Shape(product(dims[:begin]), product(dims[begin:end]), product(dims[end:]))
    return _Moments(node, context, shape).loops()


class _Moments:
    def __init__(self, node: Node, context, shape: _Shape):
        self.node, self.context, self.shape = node, context, shape
        self.dtype: DType = node.types[0].dtype
        slots = multiply(multiply(shape.batch, shape.chunks), shape.width)
        self.means = context.workspace(self.dtype, slots)
        self.distances = context.workspace(self.dtype, slots)

    # -- small words

    def let(self, body: Body, value: Expr, prefix: str = "t") -> Expr:
        if isinstance(value, (Const, Var)):
            return value
        var = self.context.var(prefix, value.dtype)
        body.append(loop.Let(var, value))
        return var

    def x(self, position: Expr) -> Expr:
        """The element at a row-major position."""
        rank = len(self.node.inputs[0].dims)
        return self.context.read(0, (*[loop.ZERO] * (rank - 1), position))

    def number(self, count: Expr) -> Expr:
        return loop.cast(count, self.dtype)

    def vector(self, extent: Dim, inner: Callable[[Body, Expr], None]) -> Stmt:
        lane = self.context.var("c")
        body: Body = []
        inner(body, lane)
        return loop.For(lane, loop.index(extent), loop.VECTOR, tuple(body))

    def each(self, extent: Expr, inner: Callable[[Body, Expr], None], prefix: str = "r") -> Stmt:
        var = self.context.var(prefix)
        body: Body = []
        inner(body, var)
        return loop.For(var, extent, loop.SERIAL, tuple(body))

    def minimum(self, a: int, b: Expr) -> Expr:
        return loop.apply("minimum", Const(a), b)

    # -- the whole

    def loops(self) -> list[Stmt]:
        shape = self.shape
        task = self.context.var("chunk")
        body: Body = []
        batch = self.let(body, loop.floordiv(task, loop.index(shape.chunks)), "b")
        chunk = self.let(body, loop.mod(task, loop.index(shape.chunks)), "j")
        first = loop.mul(chunk, Const(shape.step))
        left = loop.sub(loop.index(shape.wide), first)
        count = self.let(body, self.minimum(shape.step, left), "n")
        start = loop.mul(batch, loop.index(multiply(shape.rows, shape.columns)))
        start = self.let(body, loop.add(start, loop.mul(first, loop.index(shape.width))), "start")
        slot = self.let(body, loop.mul(task, loop.index(shape.width)), "slot")
        body += self.tiles(count, start, slot)
        tasks = multiply(shape.batch, shape.chunks)
        work = estimate([shape.width]) * min(shape.step, estimate([shape.wide])) / 4.0
        grain = max(1, int(CHUNK / max(work, 1.0)))
        few = isinstance(tasks, int) and tasks <= grain + grain // 2
        kind, grain = (loop.SERIAL, 1) if few else (loop.PARALLEL, grain)
        return [
            loop.For(task, loop.index(tasks), kind, tuple(body), grain),
            self.combined(),
        ]

    def tiles(self, count: Expr, start: Expr, slot: Expr) -> Body:
        """A chunk, `_TILE` columns after the other."""
        width = self.shape.width
        if not isinstance(width, int):
            return [self.untiled(count, start, slot)]
        whole = width // _TILE
        body: Body = []
        if whole > 1:
            tile = self.context.var("tile")
            at = loop.mul(tile, Const(_TILE))
            inner = self.tile(count, loop.add(start, at), loop.add(slot, at), _TILE)
            body.append(loop.For(tile, Const(whole), loop.SERIAL, tuple(inner)))
        elif whole:
            body += self.tile(count, start, slot, _TILE)
        rest = Const(whole * _TILE)
        if width % _TILE:
            body += self.tile(count, loop.add(start, rest), loop.add(slot, rest), width % _TILE)
        return body

    def tile(self, count: Expr, start: Expr, slot: Expr, width: int) -> Body:
        """The sums of some columns of a chunk, in registers."""
        pitch = loop.index(self.shape.width)
        zero = loop.neutral("add", self.dtype)
        names = ("k", "s1", "s2", "sum1", "sum2")
        k, s1, s2, sum1, sum2 = (self.context.local(self.dtype, (width,), n) for n in names)
        body: Body = [k, s1, s2, sum1, sum2]

        def clear(*targets: loop.Local) -> Stmt:
            return self.vector(
                width, lambda b, c: b.extend(loop.Store(target, c, zero) for target in targets)
            )

        def at(row: Expr, lane: Expr) -> Expr:
            return self.x(loop.add(loop.add(start, loop.mul(row, pitch)), lane))

        def begin(inner: Body, row: Expr) -> None:
            inner.append(
                self.vector(width, lambda b, c: b.append(loop.Accumulate(k, c, "add", at(row, c))))
            )

        def add(inner: Body, row: Expr) -> None:
            def lanes(b: Body, c: Expr) -> None:
                distance = self.let(b, loop.apply("sub", at(row, c), loop.Load(k, c)), "d")
                b.append(loop.Accumulate(s1, c, "add", distance))
                b.append(loop.Accumulate(s2, c, "add", loop.apply("mul", distance, distance)))

            inner.append(self.vector(width, lanes))

        def block(inner: Body, number: Expr) -> None:
            before = self.let(inner, loop.mul(number, Const(_BLOCK)), "r")
            rows = self.minimum(_BLOCK, loop.sub(count, before))
            inner.append(clear(s1, s2))
            inner.append(self.each(rows, lambda b, r: add(b, loop.add(before, r))))

            def lanes(b: Body, c: Expr) -> None:
                b.append(loop.Accumulate(sum1, c, "add", loop.Load(s1, c)))
                b.append(loop.Accumulate(sum2, c, "add", loop.Load(s2, c)))

            inner.append(self.vector(width, lanes))

        body.append(clear(k, sum1, sum2))
        some = self.let(body, loop.floordiv(loop.add(count, Const(_FIRST - 1)), Const(_FIRST)))
        body.append(self.each(some, begin))
        one = Const(1.0, self.dtype)
        share = self.let(body, loop.apply("div", one, self.number(some)))
        body.append(
            self.vector(
                width,
                lambda b, c: b.append(loop.Store(k, c, loop.apply("mul", loop.Load(k, c), share))),
            )
        )
        blocks = loop.floordiv(loop.add(count, Const(_BLOCK - 1)), Const(_BLOCK))
        body.append(self.each(blocks, block))
        share = self.let(body, loop.apply("div", one, self.number(count)))
        body.append(
            self.vector(
                width,
                lambda b, c: self.finish(
                    b, loop.add(slot, c), share,
                    loop.Load(k, c), loop.Load(sum1, c), loop.Load(sum2, c),
                ),
            )
        )  # fmt: skip
        return body

    def finish(self, body: Body, slot: Expr, share: Expr, k: Expr, s1: Expr, s2: Expr) -> None:
        """The mean and the squared distances of a chunk, from its sums about k."""
        move = self.let(body, loop.apply("mul", s1, share))
        distances = loop.apply("sub", s2, loop.apply("mul", s1, move))
        distances = loop.apply("maximum", distances, loop.neutral("add", self.dtype))
        body.append(loop.Store(self.means, slot, loop.apply("add", k, move)))
        body.append(loop.Store(self.distances, slot, distances))

    def untiled(self, count: Expr, start: Expr, slot: Expr) -> Stmt:
        """A chunk of a number of columns that is not known."""
        pitch = loop.index(self.shape.width)
        zero = loop.neutral("add", self.dtype)

        def lanes(body: Body, c: Expr) -> None:
            k, s1, s2 = (self.context.local(self.dtype, (), n) for n in ("k", "s1", "s2"))
            body.extend((k, s1, s2))
            body.extend(loop.Store(local, loop.ZERO, zero) for local in (k, s1, s2))

            def at(row: Expr) -> Expr:
                return self.x(loop.add(loop.add(start, loop.mul(row, pitch)), c))

            def add(inner: Body, row: Expr) -> None:
                distance = self.let(inner, loop.apply("sub", at(row), mean), "d")
                inner.append(loop.Accumulate(s1, loop.ZERO, "add", distance))
                square = loop.apply("mul", distance, distance)
                inner.append(loop.Accumulate(s2, loop.ZERO, "add", square))

            some = loop.floordiv(loop.add(count, Const(_FIRST - 1)), Const(_FIRST))
            some = self.let(body, some)
            body.append(
                self.each(some, lambda b, r: b.append(loop.Accumulate(k, loop.ZERO, "add", at(r))))
            )
            one = Const(1.0, self.dtype)
            share = loop.apply("div", one, self.number(some))
            mean = self.let(body, loop.apply("mul", loop.Load(k, loop.ZERO), share), "k")
            body.append(self.each(count, add))
            share = loop.apply("div", one, self.number(count))
            sums = [loop.Load(local, loop.ZERO) for local in (s1, s2)]
            self.finish(body, loop.add(slot, c), share, mean, *sums)

        return self.vector(self.shape.columns, lanes)

    # -- chunks together

    def combined(self) -> Stmt:
        shape = self.shape
        batch = self.context.var("b")
        share_body: Body = []
        total = self.number(loop.index(shape.rows))
        share = self.let(share_body, loop.apply("div", Const(1.0, self.dtype), total))

        def lanes(body: Body, c: Expr) -> None:
            zero = loop.neutral("add", self.dtype)
            mean = self.context.local(self.dtype, (), "mean")
            spread = self.context.local(self.dtype, (), "spread")
            body.extend((mean, spread))
            body.extend(loop.Store(local, loop.ZERO, zero) for local in (mean, spread))
            body += self.gathered(batch, c, lambda b, n, m, d: b.append(
                loop.Accumulate(mean, loop.ZERO, "add", loop.apply("mul", m, n))
            ))  # fmt: skip
            middle = self.let(body, loop.apply("mul", loop.Load(mean, loop.ZERO), share), "mean")

            def add(inner: Body, n: Expr, m: Expr, d: Expr | None) -> None:
                away = self.let(inner, loop.apply("sub", m, middle), "d")
                square = loop.apply("mul", away, loop.apply("mul", away, n))
                inner.append(loop.Accumulate(spread, loop.ZERO, "add", square))
                if d is not None:
                    inner.append(loop.Accumulate(spread, loop.ZERO, "add", d))

            body += self.gathered(batch, c, add)
            place = loop.add(loop.mul(batch, loop.index(shape.columns)), c)
            variance = loop.apply("mul", loop.Load(spread, loop.ZERO), share)
            body.append(loop.Store(self.context.output(0), place, middle))
            body.append(loop.Store(self.context.output(1), place, variance))

        inner = [*share_body, self.vector(shape.columns, lanes)]
        work = estimate([shape.columns, shape.group]) * min(_MOST_CHUNKS, estimate([shape.chunks]))
        grain = max(1, int(4 * CHUNK / max(1, work)))
        few = isinstance(shape.batch, int) and shape.batch <= grain + grain // 2
        kind, grain = (loop.SERIAL, 1) if few else (loop.PARALLEL, grain)
        return loop.For(batch, loop.index(shape.batch), kind, tuple(inner), grain)

    def gathered(self, batch: Expr, c: Expr, take: Callable) -> Sequence[Stmt]:
        """`take(body, count, mean, distances)` for every chunk of a column."""
        shape = self.shape
        columns = loop.index(shape.columns)

        def chunk(body: Body, number: Expr) -> None:
            left = loop.sub(loop.index(shape.wide), loop.mul(number, Const(shape.step)))
            count = self.let(body, self.number(self.minimum(shape.step, left)), "n")
            at = loop.add(loop.mul(batch, loop.index(shape.chunks)), number)
            at = self.let(body, loop.add(loop.mul(at, loop.index(shape.width)), c), "slot")

            def part(inner: Body, j: Expr) -> None:
                place = self.let(inner, loop.add(at, loop.mul(j, columns)), "slot")
                mean = self.let(inner, loop.Load(self.means, place), "m")
                take(inner, count, mean, loop.Load(self.distances, place))

            if shape.group == 1:
                part(body, loop.ZERO)
            else:
                body.append(self.each(Const(shape.group), part, "j"))

        def single(body: Body, row: Expr) -> None:
            place = loop.mul(batch, loop.index(shape.rows))
            place = loop.add(place, loop.add(loop.index(shape.rows - shape.rest), row))
            value = self.let(body, self.x(loop.add(loop.mul(place, columns), c)), "x")
            take(body, Const(1.0, self.dtype), value, None)

        result = [self.each(loop.index(shape.chunks), chunk, "chunk")]
        if shape.rest != 0:
            result.append(self.each(loop.index(shape.rest), single))
        return result
