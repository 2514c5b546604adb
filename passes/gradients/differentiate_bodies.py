"""Derivatives of operations with bodies.

    c', ys = scan(c, xs){ body }   -->   dc, dxs, dk = scan(dc', dys, residuals, xs; backwards)

The gradient of a loop is a scan over its iterations in reverse. What its body needs of the values
that the loop computed comes from *residuals*: the loop is made once more with those values among
its results, one row an iteration, and takes the place of the first one when a run is cut
(`merge_loops`). Values that cost next to nothing are computed again instead. Since the gradient is
itself a scan, it can be differentiated like any other.

Of a branch, the gradient is a branch on the same predicate.

A loop or branch in the body of a loop runs again in the gradient's body. Where it draws random
numbers or uses variables that would be something else: then it is made once more where it is, and
what the gradient needs of it is stored with the other values of that body.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...errors import NonDifferentiableError
from ...ir.graph import Graph
from ...ir.node import Node, Tensor
from ...ops.control_flow import cond_op, scan_op, while_op
from .branch_gradient import BranchGradient
from .loop_gradient import LoopGradient
from .residuals import Sweep


def gradient_of_bodies(
    graph: Graph, node: Node, sums: Sequence[Tensor | None], wanted: Sequence[bool], sweep: Sweep
) -> list[Any]:
    """The gradients of a node's inputs, where they are `wanted`.

    sweep(ys, begins, xs): gradients of each x, of nodes that lie between, as operations here
    """
    if node.op is cond_op:
        return BranchGradient(graph, node, sums, wanted, sweep).run()
    if node.op in (while_op, scan_op):
        return LoopGradient(graph, node, sums, wanted, sweep).run()
    raise NonDifferentiableError(f"{node.name} ({node.op.name}) has no derivative")
