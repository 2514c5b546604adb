"""Computes what depends on constants alone, with the reference evaluator.

    mul(2, 3)  -->  6

Results larger than what they are computed from stay operations (a broadcast costs nothing and its
result would fill memory), and so does whatever fails: it fails in the run.
"""

from __future__ import annotations

from ...errors import GraphError
from ...ir.evaluate import run_node
from ...ir.node import FrozenArray, Node, Tensor
from ...ir.op import EFFECT, LEAF, find
from ...ir.program import Program
from ...ir.types import is_static
from ...sizes import product, symbols_of

_SMALL = 16  # elements that a result may always have
_LIMIT = 1 << 20  # elements that a result may ever have


def fold(program: Program) -> Program:
    """`program` with constant subexpressions evaluated."""
    return program.rewrite(_fold)


def _fold(node: Node) -> list[Tensor] | None:
    if node.op.kind in (LEAF, EFFECT) or node.serial or node.regions or not node.inputs:
        return None
    arrays = []
    for tensor in node.inputs:
        if tensor.node.op.name != "constant":
            return None
        arrays.append(tensor.node.attrs["value"].array)
    if not all(is_static(type_.shape) for type_ in node.types):
        return None
    if next(symbols_of(tuple(node.attrs.values())), None) is not None:
        return None
    given = sum(array.size for array in arrays)
    for type_ in node.types:
        size = product(type_.shape or ())
        if isinstance(size, int) and size > min(max(_SMALL, given), _LIMIT):
            return None
    try:
        outputs = run_node(node, arrays, {})
    except (GraphError, ArithmeticError, IndexError, ValueError):
        return None
    return [find("constant")(value=FrozenArray(array)) for array in outputs]
