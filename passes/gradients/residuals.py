"""What the body of a gradient reads of the values of a body: stored, or computed again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext
from typing import Any

from ...dtypes import DType
from ...errors import NonDifferentiableError
from ...ir.body import Body
from ...ir.graph import Graph
from ...ir.loop_sizes import found_out
from ...ir.node import Node, Region, Tensor, all_nodes
from ...ir.op import POINTWISE, STATE, VIEW, find
from ...ops.convert import convert
from ...sizes import Dim, Symbol, symbols_of

Sweep = Callable[[Sequence[Tensor], Sequence[Tensor], Sequence[Tensor]], list]
CHEAP_FLOPS = 2.0  # of an element that is computed again rather than stored
_DEEPEST = 8


def zeros(dtype: DType, dims: Sequence[Dim]) -> Tensor:
    zero = convert(False) if dtype.is_bool else convert(0, dtype)
    return find("broadcast_to")(zero, shape=tuple(dims))


class Residuals:
    """What a body of a gradient reads of the values of a body: stored, or computed again.

    Values whose size a loop inside the body finds out differ from iteration to iteration and cannot
    be stacked: that loop runs again.
    """

    def __init__(self, graph: Graph, forward: Region, free: Callable[[Tensor], bool]):
        self.graph = graph
        self._nodes = set(forward.nodes())
        self.home = home_of(graph, forward)
        self.parameters = set(forward.parameters)
        self.free = free
        self.stored: dict[Tensor, None] = {}
        self.again: dict[Tensor, Tensor] = {}
        self.loops: dict[Any, Node] = {}  # inside, by the size they find out
        for node in forward.nodes():
            for size in found_out(node.attrs):
                self.loops.setdefault(size, node)

    def owns(self, tensor: Tensor) -> bool:
        """Whether a value is computed in the body; also by what was made there since."""
        if tensor.node in self._nodes:
            return True
        return self.home is not None and self.graph.body_of.get(tensor.node) is self.home

    def _inner_sizes(self, value: Any) -> list:
        return [s for s in symbols_of(value) if s in self.loops] if self.loops else []

    def is_free(self, tensor: Tensor, depth: int = 0) -> bool:
        """Whether a value can be had without storing anything for it."""
        node = tensor.node
        if node.op.name == "constant" or tensor in self.stored:
            return True
        if tensor in self.parameters:
            return self.free(tensor)
        if not self.owns(tensor):
            return True
        cheap = node.op.kind == VIEW or (
            node.op.kind == POINTWISE and node.op.flops <= CHEAP_FLOPS and not node.op.fallible
        )
        if not cheap or node.op.serial or depth > _DEEPEST:
            return False
        if self._inner_sizes(tuple(node.attrs.values())):
            return False
        return all(
            p in node.op.shape_only or self.is_free(t, depth + 1) for p, t in enumerate(node.inputs)
        )

    def recomputed(self, tensor: Tensor) -> Tensor | None:
        """The value computed again in the body that is open, or None where it is to be stored."""
        if tensor in self.parameters or tensor in self.stored:
            return None
        if not self._inner_sizes(tensor.dims or ()) and not self.is_free(tensor):
            return None
        if tensor not in self.again:
            node = tensor.node
            self._copy(node)
        return self.again[tensor]

    def loops_again(self, body: Body, sizes: Collection[Symbol]) -> list[Node]:
        """The loops that find out these sizes, as they run again in a gradient's body."""
        loops = [self.loops[size] for size in sizes if size in self.loops]
        for loop in loops:
            with self.graph.inside(body):
                self._copy(loop)
        return [self.again[loop.outputs[0]].node for loop in loops]

    def _copy(self, node: Node) -> None:
        if node.outputs[0] not in self.again:
            may_run_again(self.graph, node)
            copy = self.graph.create(node.op, node.inputs, node.attrs, node.regions)
            self.again.update(zip(node.outputs, copy.outputs, strict=True))
            if node in self.loops.values():
                self.graph.remade[copy] = self.graph.remade.get(node, node)


def only_once(node: Node) -> bool:
    """Whether running a node again may give something else, or do something twice."""
    inner = all_nodes(n for region in node.regions for n in region.nodes())
    return any(n.op.kind == STATE for n in inner)


def where_it_runs(graph: Graph, node: Node):
    """Makes operations where the node is, if it must not run again elsewhere."""
    return graph.inside(graph.body_of.get(node)) if only_once(node) else nullcontext()


def may_run_again(graph: Graph, node: Node) -> None:
    """Raises where a loop of unknown length would have to run again in a gradient and must not."""
    home, body = graph.body_of.get(node), graph.body
    while body is not None and body is not home:
        body = body.parent
    if body is home or not only_once(node):
        return
    raise NonDifferentiableError(
        f"{node.name}: a gradient goes back over this loop inside of a loop, whose number of "
        "iterations differs from one to the next: it would run again, and it draws random numbers "
        f"or uses variables that change\n  defined at {graph.location(node)}\n"
        "draw and read them outside of the inner loop, or give it a number of iterations that is "
        "known when a run begins"
    )


def home_of(graph: Graph, region: Region) -> Body | None:
    for node in region.nodes():
        if node in graph.body_of and node.op.name != "constant":
            return graph.body_of[node]
    return None
