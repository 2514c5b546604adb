"""What stays the same from run to run: values of constants and of variables that a step only reads.

They are computed when one of those variables has changed since the last run, and kept between runs:
weights scaled by batch normalisation, packed for contractions, transformed for convolutions. The
runtime compares versions of variables; see `gf_run_bind` in native/core/run.c.
"""

from __future__ import annotations

from collections.abc import Collection

from ...ir.node import Node, Tensor
from ...ir.op import ATTEND, CONTRACT, CONVOLVE, LEAF, NEST, POINTWISE, REDUCE, VIEW
from ...ir.program import Program
from ...sizes import product
from ..analysis.relations import direct_reads
from .cluster import root

_KINDS = (ATTEND, CONTRACT, CONVOLVE, NEST, POINTWISE, REDUCE, VIEW)
# Keeping takes memory for good. What is so much larger than all it is made of is computed anew.
LARGEST_GROWTH = 4


class Settled:
    """The nodes of a program that are settled, and which of their values are worth keeping.

    nodes: those whose values are the same in every run until a variable changes from outside
    kept:  values that others read, with arithmetic behind them: they are stored, once
    """

    def __init__(self, program: Program, enabled: bool = True, lasting: Collection[Tensor] = ()):
        self.nodes: set[Node] = set()
        self.kept: set[Tensor] = set()
        self.lasting = {tensor.node for tensor in lasting}  # leaves that count as constants
        if enabled:
            self._find(program)

    def __contains__(self, tensor: Tensor) -> bool:
        return tensor.node in self.nodes

    def _find(self, program: Program) -> None:
        # A value that a run hands out is made by that run.
        given = {root(tensor).node for tensor in program.roots()}
        behind: dict[Node, frozenset[Node]] = {}  # constants and variables
        costs: dict[Node, bool] = {}
        users: dict[Tensor, list[Node]] = {}
        nodes = program.nodes()
        for node in nodes:
            for position, tensor in enumerate(node.inputs):
                if position not in node.op.shape_only:
                    users.setdefault(tensor, []).append(node)
            if node.op.kind == LEAF:
                lasting = (
                    node in self.lasting
                    or node.op.name == "constant"
                    or (node.op.name == "state" and node.attrs["variable"] not in program.updates)
                )
                if lasting and _is_static(node):
                    self.nodes.add(node)
                    behind[node] = frozenset([node])
                    costs[node] = False
                continue
            if node in given or not self._follows(node):
                continue
            leaves = frozenset().union(*(behind[t.node] for t in node.inputs))
            size = sum(product(t.dims) * t.dtype.bytes for t in node.outputs)  # type: ignore[misc]
            whole = sum(product(leaf.outputs[0].dims) * leaf.outputs[0].dtype.bytes  # type: ignore[misc]
                        for leaf in leaves)  # fmt: skip
            if size > LARGEST_GROWTH * whole:
                continue
            self.nodes.add(node)
            behind[node] = leaves
            costs[node] = _computes(node) or any(costs[t.node] for t in node.inputs)
        for node in nodes:
            if node not in self.nodes or node.op.kind == LEAF:
                continue
            for tensor in node.outputs:
                if costs[node] and any(u not in self.nodes for u in users.get(tensor, ())):
                    self._keep(tensor, costs)

    def _follows(self, node: Node) -> bool:
        """Whether a node depends on nothing but settled ones, and can be computed at any time."""
        if node.op.kind not in _KINDS or node.controls or node.op.fallible or not node.inputs:
            return False
        if not all(t.node in self.nodes for t in node.inputs) or not _is_static(node):
            return False
        if node.op.kind == POINTWISE and node.op.name != "concat":
            return not any(direct_reads(tensor)[1] for tensor in node.outputs)
        return True

    def _keep(self, tensor: Tensor, costs: dict[Node, bool]) -> None:
        """Stores what movement moves, not what it makes of it."""
        stack = [tensor]
        while stack:
            tensor = stack.pop()
            if not costs[tensor.node]:
                continue
            if _computes(tensor.node):
                self.kept.add(tensor)
            else:
                stack.extend(tensor.node.inputs)


def _computes(node: Node) -> bool:
    if node.op.kind in (POINTWISE, VIEW):
        return node.op.flops > 0 and node.op.kind == POINTWISE
    return True


def _is_static(node: Node) -> bool:
    return all(isinstance(dim, int) for t in node.outputs for dim in t.dims)
