"""Has every operation that computes floats checked for NaN and infinity, on request.

    y = log(x)  -->  y = check_numerics(log(x))

Movement is left out: it computes nothing. The run that finds one names the operation and its line.
"""

from __future__ import annotations

from ...ir.node import Node, Tensor
from ...ir.op import ATTEND, CONTRACT, CONVOLVE, NEST, POINTWISE, REDUCE, find
from ...ir.program import Program
from .rules import words

_KINDS = (POINTWISE, REDUCE, CONTRACT, CONVOLVE, ATTEND, NEST)
_MOVEMENT = words(
    "transpose broadcast_to slice pad concat reverse gather gather_nd identity stop_gradient "
    "dynamic_slice dynamic_update_slice check_numerics one_hot iota size shape select"
)


def check_numerics(program: Program) -> Program:
    """`program` with a check after every operation that computes floats."""
    interner = program.interner

    def rule(node: Node) -> list[Tensor] | None:
        if node.op.kind not in _KINDS or node.op.name in _MOVEMENT:
            return None
        if not any(tensor.dtype.is_floating for tensor in node.outputs):
            return None
        origins = interner.origins.get(node, ())
        name = origins[0].name if origins else node.op.name
        return [
            find("check_numerics")(tensor, message=name) if tensor.dtype.is_floating else tensor
            for tensor in node.outputs
        ]

    return program.rewrite(rule)
