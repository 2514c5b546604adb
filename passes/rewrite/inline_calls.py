"""Replaces calls by their bodies.

    y = call(x) { body(p) { r = exp(p) } }  -->  y = exp(x)

The operations take over the name and line of the call.
"""

from __future__ import annotations

from ...ir.node import Node, Tensor
from ...ir.program import Program
from ...ops.region import inline_call


def inline_calls(program: Program) -> Program:
    """`program` without `call` operations, nested ones included."""

    def rule(node: Node) -> list[Tensor] | None:
        return inline_call(node) if node.op.name == "call" else None

    while True:
        after = program.rewrite(rule)
        if after is program:
            return program
        program = after
