"""Makes equal expressions one node.

    a + b, b + a  -->  a + b        x - x, where both sides were computed twice  -->  once

Nodes are interned, so equal ones already are one; what is left is to give commutative operations
one order of operands: constants last, otherwise in the order in which the program computes them.
"""

from __future__ import annotations

from ...ir.node import Node, Tensor
from ...ir.op import find
from ...ir.program import Program
from .rules import COMMUTATIVE


def cse(program: Program) -> Program:
    """`program` with the operands of commutative operations in one order."""
    place: dict[Tensor, int] = {}

    def order(tensor: Tensor) -> tuple[bool, int]:
        return tensor.node.op.name == "constant", place.setdefault(tensor, len(place))

    def rule(node: Node) -> Tensor | None:
        result = None
        if node.op.name in COMMUTATIVE:
            a, b = node.inputs
            if order(b) < order(a):
                swapped = find(node.op.name)(b, a, **node.attrs)
                if swapped.tensor_type == node.types[0]:
                    result = swapped
        for tensor in node.outputs if result is None else (result,):
            place.setdefault(tensor, len(place))
        return result

    return program.rewrite(rule)
