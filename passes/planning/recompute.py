"""Has late users of a value compute it again, so that nothing holds it in between.

    a = exp(x);  b = … a …;  c = f(a, b)   -->   a = exp(x);  b = … a …;
                                                 a' = exp(x) after b;  c = f(a', b)

Nodes are interned, so what keeps `a'` apart from `a` is that it runs *after* something: a control
dependency on what comes just before its first use. It also keeps the copy from being made early.
Copies of what needs copies differ from the originals by their inputs.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from dataclasses import replace

from ...ir.node import Node, Tensor, topological
from ...ir.op import EFFECT, LEAF, REGION, STATE, VIEW
from ...ir.program import Program
from .outline import Outline


def repeatable(node: Node) -> bool:
    """Whether computing a node twice is the same as once.

    Effects and checks happen once. Random bits are a function of their seed and counter, which are
    inputs: drawing again gives the same ones.
    """
    once = node.op.kind in (EFFECT, STATE, REGION, LEAF) or node.op.serial or node.op.fallible
    return not once and all(repeatable(control) for control in node.controls)


def recompute(
    program: Program,
    outline: Outline,
    turn: int,
    again: Mapping[Node, int],
    kept: Mapping[Node, None],
) -> Program:
    """`program`, in which the clusters of `outline` after number `turn` compute the nodes `again`
    again, from `kept` ones and from each other.

    `again` gives for each node its segment; copies are shared within a segment.
    """
    return _Recompute(program, outline, turn, again, kept).run()


class _Recompute:
    def __init__(self, program, outline: Outline, turn: int, again, kept):
        self.program: Program = program
        self.order = outline.clusters()
        self.turn = turn
        self.again = again
        self.kept = kept
        self.placed = {node for cluster in self.order for node in cluster.nodes}
        self.copies: dict[int, dict[Node, Node]] = {}  # of each segment
        self.late: dict[Node, Node] = {}  # node -> what the clusters after the turn read for it
        # What has just been computed.
        self.before = next((c.nodes[-1] for c in self.order[turn::-1] if c.nodes), None)

    def run(self) -> Program:
        with self.program.interner.for_origin(()):
            for cluster in self.order[self.turn + 1 :]:
                for node in cluster.nodes:
                    self._rebuild(node)
                if cluster.nodes:
                    self.before = self.late[cluster.nodes[-1]]
            results = {t: self._result(t) for t in self.program.roots()}
        return replace(
            self.program,
            fetches=tuple(results[t] for t in self.program.fetches),
            updates={variable: results[t] for variable, t in self.program.updates.items()},
            effects=tuple(self.late.get(effect, effect) for effect in self.program.effects),
        )

    def _rebuild(self, node: Node) -> None:
        """Gives a node after the turn, and what is inlined into it, its new inputs."""
        unplaced = topological((t.node for t in node.inputs), self.placed)
        for each in (*unplaced, node):
            if each not in self.late:
                inputs = tuple(self._read(tensor) for tensor in each.inputs)
                controls = tuple(self.late.get(c, c) for c in each.controls)
                self.late[each] = self._create(each, inputs, controls)

    def _read(self, tensor: Tensor) -> Tensor:
        """What stands for an input after the turn."""
        node = tensor.node
        if node not in self.late and node in self.again:
            self.late[node] = self._copy(node)
        found = self.late.get(node)
        return tensor if found is None else found.outputs[tensor.index]

    def _result(self, tensor: Tensor) -> Tensor:
        self._rebuild_views(tensor)
        return self._read(tensor)

    def _rebuild_views(self, tensor: Tensor) -> None:
        for node in topological([tensor.node], self.placed):
            if node.op.kind != LEAF and node not in self.late:
                inputs = tuple(self._read(each) for each in node.inputs)
                self.late[node] = self._create(node, inputs, node.controls)

    def _copy(self, wanted: Node) -> Node:
        """A second `wanted`, with what it needs, just before its first use."""
        copies = self.copies.setdefault(self.again[wanted], {})
        for node in topological([wanted], ChainMap(copies, self.kept)):  # type: ignore[arg-type]
            if node.op.kind == LEAF:
                continue
            inputs = tuple(
                copies[t.node].outputs[t.index] if t.node in copies else t for t in node.inputs
            )
            changed = inputs != node.inputs
            if not changed and node.op.kind == VIEW:
                continue
            controls = () if changed or self.before is None else (self.before,)
            copies[node] = self._create(node, inputs, controls)
        return copies[wanted]

    def _create(self, node: Node, inputs: tuple[Tensor, ...], controls: tuple[Node, ...]) -> Node:
        if inputs == node.inputs and controls == node.controls:
            return node
        interner = self.program.interner
        interner.origin = self.program.origin(node)
        return interner.create(
            node.op, inputs, node.attrs, node.regions, serial=node.serial, controls=controls
        )
