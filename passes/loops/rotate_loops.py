"""Gives every loop one body, which also says whether to go on.

    while(i) { i < n } { i + 1 }  -->  repeat(i < n, i) { j = i + 1;  j < n, j }

The condition is computed once before the loop, and then along with the values that it looks at.
What it writes to variables it hands on each time, the last one included.
"""

from __future__ import annotations

from dataclasses import replace

from ...ir.node import Node, Region
from ...ir.program import Program
from ...ops.control_flow import repeat_op
from ...sizes import symbols_of
from ..analysis.bodies import inline


def rotate_loops(program: Program) -> Program:
    """`program` with `repeat` for `while`."""
    before: dict[Node, list[Node]] = {}  # what conditions do, before each loop

    def rule(node: Node) -> Node | None:
        if node.op.name != "while":
            return None
        condition, body = node.regions
        first: list[Node] = []
        sizes = {
            symbol: node.inputs[number].dims[axis]
            for number, axis, inside, _ in node.attrs.get("varying", ())
            for symbol in symbols_of(inside)
        }
        begin, *written = inline(condition, node.inputs, first, sizes)
        count = node.attrs["variables"]
        starts = [*node.inputs[: count - len(written)], *written]
        with program.interner.in_body():
            rotated = _rotated(node, condition, body)
        new = program.interner.create(
            repeat_op,
            (begin, *starts, *node.inputs[count:]),
            node.attrs,
            (rotated,),
            serial=node.serial,
            controls=node.controls,
        )
        before[new] = first
        return new

    after = program.rewrite(rule)
    if after is program:
        return program
    return replace(after, effects=_with_conditions(after.effects, before))


def _with_conditions(effects, before) -> tuple[Node, ...]:
    found: dict[Node, None] = {}
    for effect in effects:
        found.update(dict.fromkeys((*before.get(effect, ()), effect)))
    return tuple(found)


def _rotated(node: Node, condition: Region, body: Region) -> Region:
    count = node.attrs["variables"]
    effects: list[Node] = []
    results = inline(body, body.parameters, effects)
    # The condition is about the next values, and their sizes.
    sizes = {
        symbol: results[number].dims[axis]
        for number, axis, inside, _ in node.attrs.get("varying", ())
        for symbol in symbols_of(inside)
    }
    operands = [*results[:count], *body.parameters[count:]]
    go_on, *written = inline(condition, operands, effects, sizes)
    results[count - len(written) : count] = written
    return Region(body.parameters, [go_on, *results], effects, body.name)
