"""Attention by blocks: a block of queries meets one block of keys after the other in the caches.

    once a batch entry:   keys turned into panels for q kᵀ, values in padded rows (and, for the
                          gradients, values in panels and keys in rows)
    forward, in parallel over blocks of queries:
        for each block of keys:   s = q kᵀ;   m' = max(m, s);   p = exp(s - m')
                                  sums, y = exp(m - m') (sums, y);   sums += p;   y += p v
        y / sums
    gradients, in parallel over batch entries:
        for each block of queries, for each block of keys:
            s = q kᵀ;  dp = g vᵀ;  p = exp(s - total);  ds = p (dp - share)
            dv += pᵀ g;  dk += dsᵀ q;  dq += ds k

Scores exist for one block only, so memory grows with the length of sequences, not with its square.
Products are the micro-kernel's of contractions; a block pair is computed by one thread, in order, so
that results do not depend on the number of threads. With causal masks blocks of keys behind the
last query of a block are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..ir.node import Node, Tensor
from ..loop import nodes as loop
from ..loop.nodes import (
    Accumulate,
    Buffer,
    Const,
    Expr,
    Invoke,
    Let,
    Local,
    Stmt,
    Store,
    Target,
    Var,
)
from ..sizes import Dim, ceildiv, multiply, product
from .contraction_kernels import outer_kernel
from .contraction_spec import count_of, grain_of, minimum, named, repeat, split, within, zero
from .lower_context import KernelBuilder

_ROWS = 8  # of the micro-kernel
_VECTORS = 2  # of its columns
_QUERIES, _KEYS = 64, 128  # of a block
_COPY_ELEMENTS = 1 << 13  # of a packing task
_TASK_OPERATIONS = 1 << 19


def attention_loops(target: Any, builder: KernelBuilder, node: Node) -> None:
    """Adds the loops of `attention` or `attention_gradients` to a kernel."""
    make = _Forward if node.op.name == "attention" else _Gradients
    for stmt in make(target, builder, node).build():
        builder.emit(stmt)


class _Blocks:
    """What both directions share. Sizes: `queries` and `keys` long, `size` and `width` wide."""

    def __init__(self, target: Any, builder: KernelBuilder, node: Node):
        self.builder, self.node = builder, node
        self.dtype = node.inputs[0].dtype
        self.lanes = max(1, target.vector_bits // self.dtype.bits)
        self.columns = _VECTORS * self.lanes
        q, k, v = node.inputs[:3]
        self.lead = tuple(q.dims[:-2])
        self.batch = product(self.lead)
        self.queries, self.keys = q.dims[-2], k.dims[-2]
        self.size, self.width = q.dims[-1], v.dims[-1]
        assert isinstance(self.size, int) and isinstance(self.width, int)
        self.padded_size, self.padded_width = self.padded(self.size), self.padded(self.width)
        self.scale: float = node.attrs["scale"]
        self.causal: bool = node.attrs["causal"]
        self.bias: Tensor | None = None
        self.high = self._block(_QUERIES, self.queries, _ROWS)
        self.wide = self._block(_KEYS, self.keys, self.columns)
        self.blocks = ceildiv(self.keys, self.wide)

    @staticmethod
    def _block(most: int, length: Dim, unit: int) -> int:
        most = max(most, unit)
        return min(most, max(1, count_of(length, unit)) * unit) if isinstance(length, int) else most

    def padded(self, size: int) -> int:
        return max(1, count_of(size, self.columns)) * self.columns

    def variable(self, prefix: str, extent: Dim) -> Var:
        var = Var(self.builder.name(prefix))
        self.builder.math.variable(var, extent)
        return var

    def repeat(self, prefix: str, extent: Dim | Expr, kind: str, body, grain: int = 1):
        return repeat(self, prefix, extent, kind, body, grain)  # type: ignore[arg-type]

    def local(self, name: str, *shape: int) -> Local:
        return Local(self.builder.name(name), self.dtype, shape, "stack" if shape else "register")

    def number(self, value: float) -> Const:
        return Const(value, self.dtype)

    # -- operands -----------------------------------------------------------------------------

    def read(self, tensor: Tensor, batch: Expr, *index: Expr) -> Expr:
        """An element, with whatever produces it."""
        math, builder = self.builder.math, self.builder
        lead, *rest = builder.forms((batch, *index))
        return builder.expression(tensor, (*math.split(lead, self.lead), *rest))

    def panels_across(self, name: str, tensor: Tensor, length: Dim, size: int):
        """A copy with `columns` rows side by side: [batch, panel, size, column], 0 beyond `length`;
        by square tiles turned round in registers where they are whole."""
        columns, side = self.columns, self.lanes
        panels = ceildiv(length, columns)
        buffer = self.builder.workspace(self.dtype, multiply(product((self.batch, panels, size)), columns))  # fmt: skip

        def place(batch: Expr, panel: Expr, c: Expr, column: Expr) -> Expr:
            line = loop.linear((batch, panel, c), (self.batch, panels, size))
            return loop.add(loop.mul(line, Const(columns)), column)

        def task(t: Expr) -> list[Stmt]:
            batch, panel = split(t, (self.batch, panels))
            first = loop.mul(panel, Const(columns))
            present = within(columns, first, length)
            lets, (batch, panel, first, present) = named(
                ("b", batch), ("panel", panel), ("first", first), ("present", present)
            )

            def turned(c0: Expr) -> list[Stmt]:
                stmts: list[Stmt] = []
                for half in range(_VECTORS):
                    tile = Local(self.builder.name("tile"), self.dtype, (side * side,))
                    r0 = loop.add(first, Const(half * side))
                    stmts.append(tile)
                    stmts += self.repeat("r", side, loop.UNROLLED, lambda r, tile=tile, r0=r0: self.repeat(
                        "c", side, loop.VECTOR, lambda c, r=r: [Store(
                            tile, loop.add(loop.mul(r, Const(side)), c),
                            self.read(tensor, batch, loop.add(r0, r), loop.add(c0, c)))]))  # fmt: skip
                    stmts += self.repeat("r", side, loop.UNROLLED, lambda r, tile=tile, half=half: self.repeat(
                        "c", side, loop.VECTOR, lambda c, r=r: [Store(
                            buffer, place(batch, panel, loop.add(c0, r), loop.add(Const(half * side), c)),
                            loop.Load(tile, loop.add(loop.mul(c, Const(side)), r)))]))  # fmt: skip
                return stmts

            def one_by_one(start: int) -> list[Stmt]:
                def line(c: Expr) -> list[Stmt]:
                    at = loop.add(Const(start), c)
                    stmts = self.repeat("v", present, loop.VECTOR, lambda v: [Store(
                        buffer, place(batch, panel, at, v),
                        self.read(tensor, batch, loop.add(first, v), at))])  # fmt: skip
                    missing = loop.sub(Const(columns), present)
                    return stmts + self.repeat("v", missing, loop.VECTOR, lambda v: [Store(
                        buffer, place(batch, panel, at, loop.add(present, v)), zero(self.dtype))])  # fmt: skip

                return self.repeat("p", size - start, loop.SERIAL, line)

            whole = size // side * side if side > 1 else 0
            tiled = self.repeat(
                "t", whole // side, loop.SERIAL, lambda t: turned(loop.mul(t, Const(side)))
            ) if whole else []  # fmt: skip
            rest = one_by_one(whole) if whole < size else []
            if isinstance(present, Const) and present.value == columns:
                return [*lets, *tiled, *rest]
            full = loop.apply("eq", present, Const(columns))
            return [*lets, loop.If(full, (*tiled, *rest), tuple(one_by_one(0)))]

        grain = grain_of(columns * size, _COPY_ELEMENTS)
        nest = self.repeat("t", multiply(self.batch, panels), loop.PARALLEL, task, grain)
        return nest, buffer, lambda batch, panel: place(batch, panel, loop.ZERO, loop.ZERO)

    def rows_padded(self, tensor: Tensor, length: Dim, size: int):
        """A copy in rows of a multiple of `columns`, 0 beyond `size`."""
        pitch = self.padded(size)
        buffer = self.builder.workspace(self.dtype, multiply(multiply(self.batch, length), pitch))

        def line(t: Expr) -> list[Stmt]:
            batch, row = split(t, (self.batch, length))
            start = loop.mul(t, Const(pitch))
            lets, (batch, row, start) = named(("b", batch), ("row", row), ("start", start))
            return lets + self.copy_line(
                buffer, start, size, lambda c: self.read(tensor, batch, row, c)
            )

        grain = grain_of(pitch, _COPY_ELEMENTS)
        nest = self.repeat("t", multiply(self.batch, length), loop.PARALLEL, line, grain)

        def place(batch: Expr, row: Expr) -> Expr:
            return loop.mul(loop.linear((batch, row), (self.batch, length)), Const(pitch))

        return nest, buffer, place

    def copy_line(
        self, to: Target, start: Expr, size: int, value: Callable[[Expr], Expr]
    ) -> list[Stmt]:
        """A padded row."""
        stmts = self.repeat(
            "c", size, loop.VECTOR, lambda c: [Store(to, loop.add(start, c), value(c))]
        )
        if self.padded(size) > size:
            stmts += self.repeat("c", self.padded(size) - size, loop.VECTOR, lambda c: [
                Store(to, loop.add(start, loop.add(Const(size), c)), zero(self.dtype))])  # fmt: skip
        return stmts

    def copy_block(
        self, to: Local, tensor: Tensor, batch, first, rows, size: int, factor: float = 1.0
    ):
        """Rows of a block, padded, times `factor`."""

        def line(r: Expr) -> list[Stmt]:
            row = loop.add(first, r)

            def value(c: Expr) -> Expr:
                x = self.read(tensor, batch, row, c)
                return x if factor == 1 else loop.apply("mul", x, self.number(factor))

            return self.copy_line(to, loop.mul(r, Const(self.padded(size))), size, value)

        return self.repeat("r", rows, loop.SERIAL, line)

    # -- products -----------------------------------------------------------------------------

    def multiply(self, a: tuple, b: tuple, c: tuple, rows: Expr, width: Expr | int, depth: Expr,
                 fresh: Expr) -> list[Stmt]:  # fmt: skip
        """c = or += a b for `rows` and panels that cover `width`.

        a: (memory, start, step of a row, step along depth); b: (memory, start of a panel, step);
        c: (memory, start, step of a row, a number)
        """
        memory, start, row_step, step = a
        target, place, c_row = c
        kernel = outer_kernel(self.dtype, _ROWS, self.columns, c_row=c_row)
        panels: Expr | int
        if isinstance(width, int):
            panels = count_of(width, self.columns)
        else:
            panels = loop.floordiv(loop.add(width, Const(self.columns - 1)), Const(self.columns))
        tiles = loop.floordiv(loop.add(rows, Const(_ROWS - 1)), Const(_ROWS))

        def tile(j: Expr, i: Expr) -> list[Stmt]:
            r = loop.mul(i, Const(_ROWS))
            count = minimum(Const(_ROWS), loop.sub(rows, r))
            at = loop.add(
                loop.add(place, loop.mul(r, Const(c_row))), loop.mul(j, Const(self.columns))
            )
            arguments = (
                (memory, loop.add(start, loop.mul(r, loop.index(row_step)))),
                (b[0], b[1](j)),
                (target, at),
            )
            scalars = (
                depth,
                loop.index(row_step),
                loop.index(step),
                loop.index(b[2]),
                count,
                fresh,
            )
            return [Invoke(kernel, arguments, scalars)]

        return self.repeat("j", panels, loop.SERIAL, lambda j: self.repeat(
            "i", tiles, loop.SERIAL, lambda i: tile(j, i)))  # fmt: skip

    # -- scores -------------------------------------------------------------------------------

    def block_count(self, last: Expr) -> Expr:
        """Of blocks of keys that queries before `last` see."""
        blocks = loop.index(self.blocks)
        if not self.causal:
            return blocks
        seen = loop.floordiv(loop.add(last, Const(self.wide - 1)), Const(self.wide))
        return minimum(seen, blocks)

    def score(self, s: Local, at: Expr, batch: Expr, query: Expr, first: Expr, j: Expr) -> Expr:
        """The score of key first + j, -infinity where it is not seen."""
        value: Expr = loop.Load(s, loop.add(at, j))
        key = loop.add(first, j)
        last = loop.sub(loop.index(self.keys), loop.ONE)
        if self.bias is not None:
            value = loop.apply("add", value, self.read_bias(batch, query, minimum(key, last)))
        unseen = self.number(float("-inf"))
        if self.causal:
            value = loop.select(loop.apply("le", key, minimum(query, last)), value, unseen)
        elif not isinstance(self.keys, int) or self.keys % self.wide:
            value = loop.select(loop.apply("le", key, last), value, unseen)
        return value

    def read_bias(self, batch: Expr, query: Expr, key: Expr) -> Expr:
        bias, math, builder = self.bias, self.builder.math, self.builder
        assert bias is not None
        lead, *rest = builder.forms((batch, query, key))
        index = [*math.split(lead, self.lead), *rest][len(self.lead) + 2 - len(bias.dims) :]
        zero_ = math.constant(0)
        return builder.expression(
            bias,
            tuple(zero_ if dim == 1 else form for dim, form in zip(bias.dims, index, strict=True)),
        )

    def output(self, position: int) -> Buffer | None:
        key = self.builder.storage_of(self.node.outputs[position])
        return None if key is None else self.builder.buffer(key, write=True)


class _Forward(_Blocks):
    def __init__(self, target: Any, builder: KernelBuilder, node: Node):
        super().__init__(target, builder, node)
        self.bias = node.inputs[3] if len(node.inputs) > 3 else None

    def build(self) -> list[Stmt]:
        _, k, v = self.node.inputs[:3]
        pack_k, self.k, self.at_k = self.panels_across("keys", k, self.keys, self.size)
        pack_v, self.v, self.at_v = self.rows_padded(v, self.keys, self.width)
        self.y, self.total = self.output(0), self.output(1)
        groups = ceildiv(self.queries, self.high)
        work = 2 * self.high * (self.size + self.width) * _KEYS
        return [*pack_k, *pack_v, *self.repeat(
            "t", multiply(self.batch, groups), loop.PARALLEL,
            lambda t: self.task(*split(t, (self.batch, groups))), grain_of(work, _TASK_OPERATIONS),
        )]  # fmt: skip

    def task(self, batch: Expr, group: Expr) -> list[Stmt]:
        q = self.node.inputs[0]
        queries, scores = (
            self.local("q", self.high, self.padded_size),
            self.local("s", self.high, self.wide),
        )
        y = self.local("y", self.high, self.padded_width)
        largest, sums = self.local("largest", self.high), self.local("sums", self.high)
        first = loop.mul(group, Const(self.high))
        rows = within(self.high, first, self.queries)
        lets, (batch, first, rows) = named(("b", batch), ("first", first), ("rows", rows))
        body: list[Stmt] = [queries, scores, y, largest, sums, *lets]
        body += self.copy_block(queries, q, batch, first, rows, self.size, self.scale)
        body += self.repeat("r", rows, loop.SERIAL, lambda r: [
            Store(largest, r, self.number(float("-inf"))), Store(sums, r, zero(self.dtype)),
            *self.repeat("c", self.padded_width, loop.VECTOR, lambda c: [Store(
                y, loop.add(loop.mul(r, Const(self.padded_width)), c), zero(self.dtype))]),
        ])  # fmt: skip
        panels = self.wide // self.columns

        def block(j: Expr) -> list[Stmt]:
            key = loop.mul(j, Const(self.wide))
            count = within(self.wide, key, self.keys)
            inner, (key, count) = named(("key", key), ("count", count))
            inner += self.multiply(
                (queries, loop.ZERO, self.padded_size, 1),
                (self.k, lambda p: self.at_k(batch, loop.add(loop.mul(j, Const(panels)), p)), self.columns),
                (scores, loop.ZERO, self.wide), rows, count, Const(self.size), loop.ONE,
            )  # fmt: skip
            inner += self.repeat("r", rows, loop.SERIAL, lambda r: self.weigh(
                scores, y, largest, sums, batch, loop.add(first, r), key, r))  # fmt: skip
            return inner + self.multiply(
                (scores, loop.ZERO, self.wide, 1),
                (self.v, lambda p: loop.add(self.at_v(batch, key), loop.mul(p, Const(self.columns))), self.padded_width),
                (y, loop.ZERO, self.padded_width), rows, self.width, count, loop.ZERO,
            )  # fmt: skip

        body += self.repeat("k", self.block_count(loop.add(first, rows)), loop.SERIAL, block)
        return body + self.repeat("r", rows, loop.SERIAL, lambda r: self.finish(
            y, largest, sums, batch, loop.add(first, r), r))  # fmt: skip

    def weigh(self, scores, y, largest, sums, batch, query, key, r) -> list[Stmt]:
        """Scores of a row become exponentials; what was summed before shrinks to the new largest."""
        at = loop.mul(r, Const(self.wide))
        found, total = self.local("found"), self.local("total")
        before, base, shrink = (Var(name, self.dtype) for name in ("before", "base", "shrink"))
        line = Var("query")
        low = self.number(float("-inf"))
        stmts: list[Stmt] = [Let(line, query), found, total, Let(before, loop.Load(largest, r)),
                             Store(found, loop.ZERO, before), Store(total, loop.ZERO, zero(self.dtype))]  # fmt: skip

        def seen(j: Expr) -> list[Stmt]:
            value = Var("score", self.dtype)
            return [Let(value, self.score(scores, at, batch, line, key, j)),
                    Store(scores, loop.add(at, j), value), Accumulate(found, loop.ZERO, "maximum", value)]  # fmt: skip

        stmts += self.repeat("j", self.wide, loop.VECTOR, seen)
        most = Var("most", self.dtype)
        stmts.append(Let(most, loop.Load(found, loop.ZERO)))
        stmts.append(Let(base, loop.select(loop.apply("eq", most, low), zero(self.dtype), most)))
        stmts.append(Let(shrink, loop.apply("exp", loop.apply("sub", before, base))))

        def weight(j: Expr) -> list[Stmt]:
            p = Var("p", self.dtype)
            place = loop.add(at, j)
            return [Let(p, loop.apply("exp", loop.apply("sub", loop.Load(scores, place), base))),
                    Store(scores, place, p), Accumulate(total, loop.ZERO, "add", p)]  # fmt: skip

        stmts += self.repeat("j", self.wide, loop.VECTOR, weight)
        kept = loop.apply("mul", loop.Load(sums, r), shrink)
        stmts.append(Store(sums, r, loop.apply("add", kept, loop.Load(total, loop.ZERO))))
        stmts.append(Store(largest, r, most))
        if self.blocks == 1:
            return stmts

        def smaller(c: Expr) -> list[Stmt]:
            place = loop.add(loop.mul(r, Const(self.padded_width)), c)
            return [Store(y, place, loop.apply("mul", loop.Load(y, place), shrink))]

        return stmts + self.repeat("c", self.padded_width, loop.VECTOR, smaller)

    def finish(self, y, largest, sums, batch, query, r) -> list[Stmt]:
        total, share = Var("sum", self.dtype), Var("share", self.dtype)
        none = loop.apply("eq", total, zero(self.dtype))
        row = Var("row")
        stmts: list[Stmt] = [
            Let(total, loop.Load(sums, r)),
            Let(share, loop.select(none, zero(self.dtype), loop.apply("reciprocal", total))),
            Let(row, loop.linear((batch, query), (self.batch, self.queries))),
        ]
        if self.y is not None:
            stmts += self.repeat("c", self.width, loop.VECTOR, lambda c: [Store(
                self.y, loop.add(loop.mul(row, Const(self.width)), c),
                loop.apply("mul", loop.Load(y, loop.add(loop.mul(r, Const(self.padded_width)), c)), share),
            )])  # fmt: skip
        if self.total is not None:
            value = loop.apply("add", loop.Load(largest, r), loop.apply("log", total))
            value = loop.select(none, self.number(float("-inf")), value)
            stmts.append(Store(self.total, row, value))
        return stmts


class _Gradients(_Blocks):
    def __init__(self, target: Any, builder: KernelBuilder, node: Node):
        super().__init__(target, builder, node)
        self.bias = node.inputs[6] if len(node.inputs) > 6 else None

    def build(self) -> list[Stmt]:
        _, k, v = self.node.inputs[:3]
        pack_k, self.k, self.at_k = self.panels_across("keys", k, self.keys, self.size)
        pack_v, self.v, self.at_v = self.panels_across("values", v, self.keys, self.width)
        rows_k, self.k_rows, self.at_row = self.rows_padded(k, self.keys, self.size)
        # The sums of gradients of keys and values, in whole tiles.
        self.long = multiply(self.blocks, self.wide)
        self.dk = self.builder.workspace(
            self.dtype, multiply(multiply(self.batch, self.long), self.padded_size)
        )
        self.dv = self.builder.workspace(
            self.dtype, multiply(multiply(self.batch, self.long), self.padded_width)
        )
        self.outputs = [self.output(position) for position in range(3)]
        tasks = self.repeat("t", self.batch, loop.PARALLEL, self.task)
        return [*pack_k, *pack_v, *rows_k, *tasks]

    def sums_at(self, batch: Expr, key: Expr, pitch: int) -> Expr:
        return loop.mul(loop.linear((batch, key), (self.batch, self.long)), Const(pitch))

    def task(self, batch: Expr) -> list[Stmt]:
        lets, (batch,) = named(("b", batch))
        body: list[Stmt] = list(lets)
        for sums, pitch in ((self.dk, self.padded_size), (self.dv, self.padded_width)):
            start = self.sums_at(batch, loop.ZERO, pitch)
            body += self.repeat("z", multiply(self.long, pitch), loop.VECTOR, lambda z, sums=sums, start=start: [
                Store(sums, loop.add(start, z), zero(self.dtype))])  # fmt: skip
        body += self.repeat(
            "g", ceildiv(self.queries, self.high), loop.SERIAL, lambda g: self.block_of_queries(batch, g)
        )  # fmt: skip
        for sums, pitch, size, output in (
            (self.dk, self.padded_size, self.size, self.outputs[1]),
            (self.dv, self.padded_width, self.width, self.outputs[2]),
        ):

            def line(row: Expr, sums=sums, pitch=pitch, size=size, output=output) -> list[Stmt]:
                start = self.sums_at(batch, row, pitch)
                place = loop.mul(loop.linear((batch, row), (self.batch, self.keys)), Const(size))
                return self.repeat("c", size, loop.VECTOR, lambda c: [
                    Store(output, loop.add(place, c), loop.Load(sums, loop.add(start, c)))])  # fmt: skip

            if output is not None:
                body += self.repeat("r", self.keys, loop.SERIAL, line)
        return body

    def block_of_queries(self, batch: Expr, group: Expr) -> list[Stmt]:
        q, _, _, g, total, share = self.node.inputs[:6]
        queries = self.local("q", self.high, self.padded_size)
        given = self.local("g", self.high, self.padded_width)
        scores, slopes = (self.local(name, self.high, self.wide) for name in ("s", "ds"))
        dq = self.local("dq", self.high, self.padded_size)
        totals, shares = self.local("totals", self.high), self.local("shares", self.high)
        first = loop.mul(group, Const(self.high))
        rows = within(self.high, first, self.queries)
        lets, (first, rows) = named(("first", first), ("rows", rows))
        body: list[Stmt] = [queries, given, scores, slopes, dq, totals, shares, *lets]
        body += self.copy_block(queries, q, batch, first, rows, self.size, self.scale)
        body += self.copy_block(given, g, batch, first, rows, self.width)
        low = self.number(float("-inf"))

        def prepare(r: Expr) -> list[Stmt]:
            query, value = Var("query"), Var("total", self.dtype)
            base = loop.select(loop.apply("eq", value, low), zero(self.dtype), value)
            return [
                Let(query, loop.add(first, r)),
                Let(value, self.read(total, batch, query)),
                Store(totals, r, base), Store(shares, r, self.read(share, batch, query)),
                *self.repeat("c", self.padded_size, loop.VECTOR, lambda c: [Store(
                    dq, loop.add(loop.mul(r, Const(self.padded_size)), c), zero(self.dtype))]),
            ]  # fmt: skip

        body += self.repeat("r", rows, loop.SERIAL, prepare)
        panels = self.wide // self.columns

        def block(j: Expr) -> list[Stmt]:
            key = loop.mul(j, Const(self.wide))
            count = within(self.wide, key, self.keys)
            inner, (key, count) = named(("key", key), ("count", count))

            def panel(at):
                return lambda p: at(batch, loop.add(loop.mul(j, Const(panels)), p))

            def across(memory, pitch):
                return memory, lambda p: loop.mul(p, Const(self.columns)), pitch

            inner += self.multiply(
                (queries, loop.ZERO, self.padded_size, 1), (self.k, panel(self.at_k), self.columns),
                (scores, loop.ZERO, self.wide), rows, count, Const(self.size), loop.ONE,
            )  # fmt: skip
            inner += self.multiply(
                (given, loop.ZERO, self.padded_width, 1), (self.v, panel(self.at_v), self.columns),
                (slopes, loop.ZERO, self.wide), rows, count, Const(self.width), loop.ONE,
            )  # fmt: skip
            inner += self.repeat("r", rows, loop.SERIAL, lambda r: self.slope(
                scores, slopes, totals, shares, batch, loop.add(first, r), key, r))  # fmt: skip
            inner += self.multiply(
                (scores, loop.ZERO, 1, self.wide), across(given, self.padded_width),
                (self.dv, self.sums_at(batch, key, self.padded_width), self.padded_width),
                count, self.width, rows, loop.ZERO,
            )  # fmt: skip
            inner += self.multiply(
                (slopes, loop.ZERO, 1, self.wide), across(queries, self.padded_size),
                (self.dk, self.sums_at(batch, key, self.padded_size), self.padded_size),
                count, self.size, rows, loop.ZERO,
            )  # fmt: skip
            return inner + self.multiply(
                (slopes, loop.ZERO, self.wide, 1),
                (self.k_rows, lambda p: loop.add(self.at_row(batch, key), loop.mul(p, Const(self.columns))), self.padded_size),
                (dq, loop.ZERO, self.padded_size), rows, self.size, count, loop.ZERO,
            )  # fmt: skip

        body += self.repeat("k", self.block_count(loop.add(first, rows)), loop.SERIAL, block)
        output = self.outputs[0]
        if output is None:
            return body

        def finish(r: Expr) -> list[Stmt]:
            row = loop.linear((batch, loop.add(first, r)), (self.batch, self.queries))
            start, (row,) = named(("row", loop.mul(row, Const(self.size))))
            return start + self.repeat("c", self.size, loop.VECTOR, lambda c: [Store(
                output, loop.add(row, c),
                loop.apply("mul", loop.Load(dq, loop.add(loop.mul(r, Const(self.padded_size)), c)), self.number(self.scale)),
            )])  # fmt: skip

        return body + self.repeat("r", rows, loop.SERIAL, finish)

    def slope(self, scores, slopes, totals, shares, batch, query, key, r) -> list[Stmt]:
        """Scores of a row become weights, and the gradients of weights those of scores."""
        at = loop.mul(r, Const(self.wide))
        line, total, share = Var("query"), Var("total", self.dtype), Var("share", self.dtype)

        def element(j: Expr) -> list[Stmt]:
            p, place = Var("p", self.dtype), loop.add(at, j)
            score = self.score(scores, at, batch, line, key, j)
            rest = loop.apply("sub", loop.Load(slopes, place), share)
            return [Let(p, loop.apply("exp", loop.apply("sub", score, total))), Store(scores, place, p),
                    Store(slopes, place, loop.apply("mul", p, rest))]  # fmt: skip

        return [
            Let(line, query), Let(total, loop.Load(totals, r)), Let(share, loop.Load(shares, r)),
            *self.repeat("j", self.wide, loop.VECTOR, element),
        ]  # fmt: skip
