"""Writes short loops of elementwise work out, so that their iterations are fused.

    scan(h, xs){ tanh(h + x) } of 2 rows   -->   tanh(tanh(h + xs[0]) + xs[1])

Two to four iterations of a body on 64 numbers take 0.4 µs as a loop, most of it launches, and less
than half of that as one loop over the elements, which then go through memory once. Products and
reductions are launches of their own either way, and gain nothing; neither do rows that are put
together afterwards.
"""

from __future__ import annotations

from ...ir.node import Node, Tensor
from ...ir.op import LEAF, POINTWISE, VIEW, find
from ...ir.program import Program
from ...ops.control_flow import scan_op
from ..analysis.bodies import inline
from .loop_parts import Loop, changes_sizes

MOST_ITERATIONS = 4
MOST_OPERATIONS = 64  # of all iterations


def unroll_loops(program: Program) -> Program:
    """`program` with the iterations of short loops of elementwise work one after the other."""

    def rule(node: Node) -> list[Tensor] | None:
        return _written_out(node) if _is_short(node) else None

    return program.rewrite(rule)


def _is_short(node: Node) -> bool:
    if node.op is not scan_op or node.serial or node.controls or node.attrs["bounded"]:
        return False
    length = node.attrs["length"]
    if not isinstance(length, int) or length > MOST_ITERATIONS or changes_sizes(node):
        return False
    loop = Loop.of(node)
    work = [inner for inner in loop.nodes() if inner.op.kind != LEAF]
    if loop.stacked or loop.effects or length * len(work) > MOST_OPERATIONS:
        return False
    return all(
        n.op.kind in (POINTWISE, VIEW) and not (n.op.fallible or n.serial or n.controls)
        for n in work
    )


def _written_out(node: Node) -> list[Tensor]:
    loop, length = Loop.of(node), node.attrs["length"]
    values = [each.start for each in loop.carried]
    captured = [given.outside for given in loop.captured]
    for number in range(length - 1, -1, -1) if node.attrs["reverse"] else range(length):
        rows = [_row(given.outside, number) for given in loop.rows]
        values = inline(node.regions[0], [*values, *rows, *captured], [])
    return values


def _row(tensor: Tensor, number: int) -> Tensor:
    dims = tensor.dims[1:]
    begin, strides = (number, *[0] * len(dims)), (1,) * len(tensor.dims)
    part = find("slice")(tensor, begin=begin, size=(1, *dims), strides=strides)
    return find("reshape")(part, shape=dims)
