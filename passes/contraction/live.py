"""Products of which only some rows count (or some of what is summed): lists of those that do.

    order = live rows, the others;  n = how many are live
    for r < n:  tiles of rows order[r] of A        for r >= n:  zeros
    for r:  epilogue of row order[r]

A kernel goes through that list instead of through all rows, so that its tiles are full of rows that
count, wherever they are. Of a sum, both operands are packed in the order of the list.
"""

from __future__ import annotations

from dataclasses import replace

from ...dtypes import int64
from ...loop import nodes as loop
from ...loop.nodes import Buffer, Const, Expr, Local, Stmt, Var
from ...sizes import Dim
from .spec import ContractionSpec, repeat


def listed(spec: ContractionSpec) -> tuple[ContractionSpec, list[Stmt]]:
    """`spec` with the list, and what makes that. A is read in place only where its rows are runs,
    nothing is where it is summed."""
    assert spec.live is not None
    extent = spec.k if spec.live.summed else spec.m
    order = Buffer(f"{spec.name}_order", int64, extent + 1, "workspace")
    live = replace(spec.live, order=order)
    if live.summed:
        a, b = replace(spec.a, strided=None), replace(spec.b, strided=None)
        return replace(spec, a=a, b=b, live=live), _listing(spec, order, extent)
    strided = spec.a.strided
    if strided is not None:
        step = loop.index(strided.row_step)
        if strided.row is None and strided.column_step == 1:

            def row(position: Expr) -> Expr:
                return loop.mul(loop.Load(order, position), step)

            strided = replace(strided, row_step=0, row=row)
        else:
            strided = None
    a = replace(spec.a, strided=strided)
    return replace(spec, a=a, live=live), _listing(spec, order, extent)


def _listing(spec: ContractionSpec, order: Buffer, extent: Dim) -> list[Stmt]:
    assert spec.live is not None
    read = spec.live.read
    found = Local("found", int64)

    def one(i: Expr) -> list[Stmt]:
        flag, before, place = Var("flag"), Var("before"), Var("place")
        last = loop.sub(loop.index(extent), loop.ONE)
        # From behind: so no place is known before all are counted, and one pass is enough.
        others = loop.sub(last, loop.sub(i, before))
        return [
            loop.Let(flag, loop.cast(read(i), int64)),
            loop.Let(before, loop.Load(found, loop.ZERO)),
            loop.Let(place, loop.select(loop.apply("ne", flag, loop.ZERO), before, others)),
            loop.Store(order, place, i),
            loop.Store(found, loop.ZERO, loop.add(before, flag)),
        ]

    return [
        found,
        loop.Store(found, loop.ZERO, Const(0)),
        *repeat(spec, "i", extent, loop.SERIAL, one),
        loop.Store(order, loop.index(extent), loop.Load(found, loop.ZERO)),
    ]


def row_at(spec: ContractionSpec, position: Expr) -> Expr:
    """Which row is at a place of the list; the place itself where there is none."""
    order = spec.order_of_rows
    return position if order is None else loop.Load(order, position)


def k_at(spec: ContractionSpec, position: Expr) -> Expr:
    order = spec.order_of_k
    return position if order is None else loop.Load(order, position)


def rows_of(spec: ContractionSpec) -> Expr:
    """How many rows of A count."""
    order = spec.order_of_rows
    return loop.index(spec.m) if order is None else loop.Load(order, loop.index(spec.m))


def depth_of(spec: ContractionSpec) -> Expr:
    """How many k count."""
    order = spec.order_of_k
    return loop.index(spec.k) if order is None else loop.Load(order, loop.index(spec.k))
