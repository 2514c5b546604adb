"""The gradients of attention, by pairs of blocks: see `lower.py`."""

from __future__ import annotations

from typing import Any

from ...ir.node import Node
from ...loop import nodes as loop
from ...loop.nodes import Const, Expr, Let, Stmt, Store, Var
from ...sizes import ceildiv, multiply
from ..contraction.spec import named, within, zero
from ..lowering.context import KernelBuilder
from .blocks import Blocks


class Gradients(Blocks):
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
            body += self.clear(sums, start, multiply(self.long, pitch))
        body += self.repeat(
            "g",
            ceildiv(self.queries, self.high),
            loop.SERIAL,
            lambda g: self.block_of_queries(batch, g),
        )
        for sums, pitch, size, output in (
            (self.dk, self.padded_size, self.size, self.outputs[1]),
            (self.dv, self.padded_width, self.width, self.outputs[2]),
        ):

            def line(row: Expr, sums=sums, pitch=pitch, size=size, output=output) -> list[Stmt]:
                start = self.sums_at(batch, row, pitch)
                place = loop.mul(loop.linear((batch, row), (self.batch, self.keys)), Const(size))
                return self.repeat(
                    "c",
                    size,
                    loop.VECTOR,
                    lambda c: [
                        Store(output, loop.add(place, c), loop.Load(sums, loop.add(start, c)))
                    ],
                )

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
                Store(totals, r, base),
                Store(shares, r, self.read(share, batch, query)),
            ]

        body += self.clear(dq, loop.ZERO, self.high * self.padded_size)
        body += self.repeat("r", rows, loop.SERIAL, prepare)
        panels = self.wide // self.columns

        def block(j: Expr) -> list[Stmt]:
            key = loop.mul(j, Const(self.wide))
            count = within(self.wide, key, self.keys)
            inner, (key, count, columns) = named(
                ("key", key), ("count", count), ("across", self.computed(count))
            )

            def panel(at):
                return lambda p: at(batch, loop.add(loop.mul(j, Const(panels)), p))

            def across(memory, pitch):
                return memory, lambda p: loop.mul(p, Const(self.columns)), pitch

            inner += self.multiply(
                (queries, loop.ZERO, self.padded_size, 1),
                (self.k, panel(self.at_k), self.columns),
                (scores, loop.ZERO, self.wide),
                rows,
                count,
                Const(self.size),
                loop.ONE,
            )
            inner += self.multiply(
                (given, loop.ZERO, self.padded_width, 1),
                (self.v, panel(self.at_v), self.columns),
                (slopes, loop.ZERO, self.wide),
                rows,
                count,
                Const(self.width),
                loop.ONE,
            )
            inner += self.repeat(
                "r",
                rows,
                loop.SERIAL,
                lambda r: self.slope(
                    scores, slopes, totals, shares, batch, loop.add(first, r), key, columns, r
                ),
            )
            inner += self.multiply(
                (scores, loop.ZERO, 1, self.wide),
                across(given, self.padded_width),
                (self.dv, self.sums_at(batch, key, self.padded_width), self.padded_width),
                count,
                self.width,
                rows,
                loop.ZERO,
            )
            inner += self.multiply(
                (slopes, loop.ZERO, 1, self.wide),
                across(queries, self.padded_size),
                (self.dk, self.sums_at(batch, key, self.padded_size), self.padded_size),
                count,
                self.size,
                rows,
                loop.ZERO,
            )
            return inner + self.multiply(
                (slopes, loop.ZERO, self.wide, 1),
                (
                    self.k_rows,
                    lambda p: loop.add(self.at_row(batch, key), loop.mul(p, Const(self.columns))),
                    self.padded_size,
                ),
                (dq, loop.ZERO, self.padded_size),
                rows,
                self.size,
                count,
                loop.ZERO,
            )

        body += self.repeat("k", self.block_count(loop.add(first, rows)), loop.SERIAL, block)
        output = self.outputs[0]
        if output is None:
            return body

        def finish(r: Expr) -> list[Stmt]:
            row = loop.linear((batch, loop.add(first, r)), (self.batch, self.queries))
            start, (row,) = named(("row", loop.mul(row, Const(self.size))))
            return start + self.repeat(
                "c",
                self.size,
                loop.VECTOR,
                lambda c: [
                    Store(
                        output,
                        loop.add(row, c),
                        loop.apply(
                            "mul",
                            loop.Load(dq, loop.add(loop.mul(r, Const(self.padded_size)), c)),
                            self.number(self.scale),
                        ),
                    )
                ],
            )

        return body + self.repeat("r", rows, loop.SERIAL, finish)

    def slope(self, scores, slopes, totals, shares, batch, query, key, width, r) -> list[Stmt]:
        """Scores of a row become weights, and the gradients of weights those of scores."""
        at = loop.mul(r, Const(self.wide))
        line, total, share = Var("query"), Var("total", self.dtype), Var("share", self.dtype)

        def element(j: Expr) -> list[Stmt]:
            p, place = Var("p", self.dtype), loop.add(at, j)
            score = self.score(scores, at, batch, line, key, j)
            rest = loop.apply("sub", loop.Load(slopes, place), share)
            return [
                Let(p, loop.apply("exp", loop.apply("sub", score, total))),
                Store(scores, place, p),
                Store(slopes, place, loop.apply("mul", p, rest)),
            ]

        return [
            Let(line, query),
            Let(total, loop.Load(totals, r)),
            Let(share, loop.Load(shares, r)),
            *self.repeat("j", width, loop.VECTOR, element),
        ]
