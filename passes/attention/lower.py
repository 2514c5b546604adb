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

Scores exist for one block only, so memory grows with the length of sequences, not its
square. Products are those of the micro-kernel of contractions. A pair of blocks is computed by one
thread, in order, so that results do not depend on the number of threads. With a causal mask, blocks
of keys behind the last query of a block are left out.
"""

from __future__ import annotations

from typing import Any

from ...ir.node import Node
from ...loop import nodes as loop
from ...loop.nodes import (
    Accumulate,
    Const,
    Expr,
    Let,
    Stmt,
    Store,
    Var,
)
from ...sizes import ceildiv, multiply
from ..contraction.spec import grain_of, named, split, within, zero
from ..lowering.context import KernelBuilder
from .blocks import KEYS, Blocks
from .gradients import Gradients

_TASK_OPERATIONS = 1 << 19


def attention_loops(target: Any, builder: KernelBuilder, node: Node) -> None:
    """Adds the loops of `attention` or `attention_gradients` to a kernel."""
    make = _Forward if node.op.name == "attention" else Gradients
    for stmt in make(target, builder, node).build():
        builder.emit(stmt)


class _Forward(Blocks):
    def __init__(self, target: Any, builder: KernelBuilder, node: Node):
        super().__init__(target, builder, node)
        self.bias = node.inputs[3] if len(node.inputs) > 3 else None

    def build(self) -> list[Stmt]:
        _, k, v = self.node.inputs[:3]
        pack_k, self.k, self.at_k = self.panels_across("keys", k, self.keys, self.size)
        pack_v, self.v, self.at_v = self.rows_padded(v, self.keys, self.width)
        self.y, self.total = self.output(0), self.output(1)
        groups = ceildiv(self.queries, self.high)
        work = 2 * self.high * (self.size + self.width) * KEYS
        return [
            *pack_k,
            *pack_v,
            *self.repeat(
                "t",
                multiply(self.batch, groups),
                loop.PARALLEL,
                lambda t: self.task(*split(t, (self.batch, groups))),
                grain_of(work, _TASK_OPERATIONS),
            ),
        ]

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
        body += self.clear(y, loop.ZERO, self.high * self.padded_width)
        body += self.repeat(
            "r",
            rows,
            loop.SERIAL,
            lambda r: [
                Store(largest, r, self.number(float("-inf"))),
                Store(sums, r, zero(self.dtype)),
            ],
        )
        panels = self.wide // self.columns

        def block(j: Expr) -> list[Stmt]:
            key = loop.mul(j, Const(self.wide))
            count = within(self.wide, key, self.keys)
            inner, (key, count, width) = named(
                ("key", key), ("count", count), ("width", self.computed(count))
            )
            inner += self.multiply(
                (queries, loop.ZERO, self.padded_size, 1),
                (
                    self.k,
                    lambda p: self.at_k(batch, loop.add(loop.mul(j, Const(panels)), p)),
                    self.columns,
                ),
                (scores, loop.ZERO, self.wide),
                rows,
                count,
                Const(self.size),
                loop.ONE,
            )
            inner += self.repeat(
                "r",
                rows,
                loop.SERIAL,
                lambda r: self.weigh(
                    scores, y, largest, sums, batch, loop.add(first, r), key, width, r
                ),
            )
            return inner + self.multiply(
                (scores, loop.ZERO, self.wide, 1),
                (
                    self.v,
                    lambda p: loop.add(self.at_v(batch, key), loop.mul(p, Const(self.columns))),
                    self.padded_width,
                ),
                (y, loop.ZERO, self.padded_width),
                rows,
                self.width,
                count,
                loop.ZERO,
            )

        body += self.repeat("k", self.block_count(loop.add(first, rows)), loop.SERIAL, block)
        return body + self.repeat(
            "r",
            rows,
            loop.SERIAL,
            lambda r: self.finish(y, largest, sums, batch, loop.add(first, r), r),
        )

    def weigh(self, s, y, largest, sums, batch, query, key, width, r) -> list[Stmt]:
        """Scores of a row become exponentials; what was summed shrinks to the new largest."""
        at = loop.mul(r, Const(self.wide))
        found, total = self.local("found"), self.local("total")
        before, base, shrink = (Var(name, self.dtype) for name in ("before", "base", "shrink"))
        line = Var("query")
        low = self.number(float("-inf"))
        stmts: list[Stmt] = [
            Let(line, query),
            found,
            total,
            Let(before, loop.Load(largest, r)),
            Store(found, loop.ZERO, before),
            Store(total, loop.ZERO, zero(self.dtype)),
        ]

        def seen(j: Expr) -> list[Stmt]:
            value = Var("score", self.dtype)
            return [
                Let(value, self.score(s, at, batch, line, key, j)),
                Store(s, loop.add(at, j), value),
                Accumulate(found, loop.ZERO, "maximum", value),
            ]

        stmts += self.repeat("j", width, loop.VECTOR, seen)
        most = Var("most", self.dtype)
        stmts.append(Let(most, loop.Load(found, loop.ZERO)))
        stmts.append(Let(base, loop.select(loop.apply("eq", most, low), zero(self.dtype), most)))
        stmts.append(Let(shrink, loop.apply("exp", loop.apply("sub", before, base))))

        def weight(j: Expr) -> list[Stmt]:
            p = Var("p", self.dtype)
            place = loop.add(at, j)
            return [
                Let(p, loop.apply("exp", loop.apply("sub", loop.Load(s, place), base))),
                Store(s, place, p),
                Accumulate(total, loop.ZERO, "add", p),
            ]

        stmts += self.repeat("j", width, loop.VECTOR, weight)
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
            stmts += self.repeat(
                "c",
                self.width,
                loop.VECTOR,
                lambda c: [
                    Store(
                        self.y,
                        loop.add(loop.mul(row, Const(self.width)), c),
                        loop.apply(
                            "mul",
                            loop.Load(y, loop.add(loop.mul(r, Const(self.padded_width)), c)),
                            share,
                        ),
                    )
                ],
            )
        if self.total is not None:
            value = loop.apply("add", loop.Load(largest, r), loop.apply("log", total))
            value = loop.select(none, self.number(float("-inf")), value)
            stmts.append(Store(self.total, row, value))
        return stmts
