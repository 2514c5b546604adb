"""Bodies under definition: what a function of tensors defines becomes a region of its own.

While a body is open in a graph, every operation made belongs to it. A tensor from outside that one
of them reads is *captured*: inside, a parameter takes its place, and the operation that gets the
region gets the tensor as an operand. Integer constants are used as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from ..errors import GraphError
from ..sizes import Symbol, symbols_of
from .loop_sizes import sizes_in
from .node import Attrs, FrozenArray, Node, Region, Tensor, all_nodes
from .op import CONTRACT, EFFECT, POINTWISE, REDUCE, STATE, VIEW, Op, find
from .types import TensorType

if TYPE_CHECKING:
    from .graph import Graph

_LIFTED = (POINTWISE, VIEW, REDUCE, CONTRACT)
_GROWING = ("broadcast_to", "broadcast_like", "pad", "concat", "gather", "shape", "size")

# What stands, in a body, for a tensor of another body that is not around it; None: nothing does.
Foreign = Callable[[Tensor], "Tensor | None"]


class Body:
    """A body of `name` (for messages) while it is being defined in `graph`.

    repeats: it is a loop's; what depends on nothing inside is then made before the loop, once
    captured: tensors from outside, with the parameters that stand for them, in order of first use
    written: variables that it writes, where that is known already: their reads are inside
    controls: operations outside that something inside is to run after
    tells: of sizes that loops of another body find out, those loops, made once more in this one
    """

    def __init__(
        self,
        graph: Graph,
        name: str,
        foreign: Foreign | None = None,
        repeats: bool = False,
        written: Iterable = (),
    ):
        self.repeats = repeats
        self.graph = graph
        self.name = name
        self.parent = graph.body
        self.foreign = foreign
        self.tells: Callable[[Collection[Symbol]], list[Node]] | None = None
        self.captured: dict[Tensor, Tensor] = {}
        self._stands_for: dict[Tensor, Tensor] = {}  # parameter -> what was captured
        self.controls: dict[Node, None] = dict.fromkeys(graph.open_controls)
        self.written: set = set(written)  # variables, known before or found on the way
        self.read_before: set = set()  # variables that were read outside for this body
        self.nodes: list[Node] = []
        self._count = 0

    @contextmanager
    def open(self) -> Iterator[Body]:
        """Makes operations inside the body."""
        with self.graph.inside(self):
            yield self

    def parameter(self, type_: TensorType) -> Tensor:
        """A new parameter; the body has to be open."""
        self._count += 1
        return find("parameter")(index=self._count - 1, dtype=type_.dtype, shape=type_.shape)

    def take(self, node: Node) -> None:
        """Remembers a node made in this body."""
        self.nodes.append(node)
        if node.op.kind == STATE and node.op.serial:
            body: Body | None = self
            while body is not None:
                body.written.add(node.attrs["variable"])
                body = body.parent

    def adopt(self, tensor: Tensor) -> Tensor:
        """The tensor as operations of this body may read it."""
        home = self.graph.body_of.get(tensor.node)
        if home is self:
            return tensor
        if tensor.node.op.name == "constant":
            # One that a gradient may be asked for is an operand until a run is cut.
            apart = tensor.dtype.is_floating and self._is_around(tensor)
            if not apart:
                return tensor
        found = self.captured.get(tensor)
        if found is not None:
            return found
        if not self._is_around(tensor):
            found = self.foreign(tensor) if self.foreign is not None else None
            if found is not None:
                return found
            raise GraphError(foreign_message(self.graph, tensor))
        found = self.captured[tensor] = self.parameter(tensor.tensor_type)
        return found

    def outside(self, tensor: Tensor) -> Tensor:
        """What a parameter stands for; other tensors as they are."""
        return self._stands_for.get(tensor, tensor)

    def can_lift(self, op: Op, inputs, regions, controls) -> bool:
        """Whether an operation can be made before the loop instead: it depends on nothing inside,
        may run whether or not an iteration does, and is no larger than what it is made of."""
        if not self.repeats or regions or op.serial or op.fallible or op.kind not in _LIFTED:
            return False
        if any(self.graph.body_of.get(node) is self for node in controls):
            return False
        lifted = False
        for tensor in inputs:
            constant = tensor.node.op.name == "constant"
            inside = self.graph.body_of.get(tensor.node) is self
            if inside and not constant and tensor not in self._stands_for:
                return False
            if not inside and not constant and not self._is_around(tensor):
                return False
            lifted = lifted or not constant
        return lifted and op.name not in _GROWING

    def _is_around(self, tensor: Tensor) -> bool:
        home = self.graph.body_of.get(tensor.node)
        return home is None or home in self._around()

    def adopt_shape(self, tensor: Tensor) -> Tensor:
        """A tensor of the type of `tensor`, of which nothing else is read: what is outside need
        not be captured for it."""
        known = tensor.dims is not None
        if not known or self.graph.body_of.get(tensor.node) is self or tensor in self.captured:
            return self.adopt(tensor)
        zero = FrozenArray(np.zeros((), tensor.dtype.numpy))
        return find("broadcast_to")(find("constant")(value=zero), shape=tensor.dims)

    def capture(self, tensor: Tensor) -> Tensor:
        """A parameter for a tensor of another body, which whoever makes the region provides."""
        found = self.captured.get(tensor)
        if found is None:
            found = self.captured[tensor] = self.parameter(tensor.tensor_type)
            self._stands_for[found] = tensor
        return found

    def _around(self) -> Iterator[Body]:
        body = self.parent
        while body is not None:
            yield body
            body = body.parent

    def own_controls(self, controls: Sequence[Node]) -> tuple[Node, ...]:
        """The controls that are in this body; those around it become the whole region's. Of other
        bodies there are none to wait for: what is made once more from their values runs later."""
        own = []
        around = {None, *self._around()}
        for node in controls:
            home = self.graph.body_of.get(node)
            if home is self:
                own.append(node)
            elif home in around:
                self.controls[node] = None
        return tuple(own)

    def loops_for(self, op: Op, inputs: Sequence[Tensor], attrs: Attrs, regions) -> list[Node]:
        """What an operation here has to run after, since it is made with sizes that those find
        out and reads nothing that does."""
        tells = [body.tells for body in (self, *self._around()) if body.tells is not None]
        if not tells:
            return []
        sizes = list(sizes_in(attrs))
        sizes += [inputs[k].dims or () for k in op.shape_only if k < len(inputs)]
        inner = all_nodes(node for region in regions for node in region.nodes())
        sizes += [size for node in inner for size in sizes_in(node.attrs)]
        symbols = dict.fromkeys(symbols_of(tuple(sizes)))
        return [loop for tell in tells for loop in tell(symbols)] if symbols else []

    def region(self, parameters: Sequence[Tensor], results: Sequence[Tensor]) -> Region:
        """The region from these parameters, then those of what was captured, to the results. What
        has an effect in it runs, whether or not a result needs it."""
        effects = tuple(node for node in self.nodes if has_effect(node))
        captured = [p for p in self.captured.values() if p not in parameters]
        return Region((*parameters, *captured), results, effects, name=self.name)

    def closed(
        self, own: Sequence[Tensor], operands: Sequence[Tensor], results: Sequence[Tensor]
    ) -> Region:
        """The region with parameters of its own, then one for each of `operands`."""
        with self.open():
            captured = [self.capture(tensor) for tensor in operands]
        return self.region([*own, *captured], results)


def captured_by(bodies: Sequence[Body]) -> list[Tensor]:
    """What several bodies use from outside, each once."""
    return list(dict.fromkeys(tensor for body in bodies for tensor in body.captured))


def traced_with_writes(make: Callable, trace: Callable) -> list[Body]:
    """The bodies that `make(written variables)` gives, when `trace(bodies)` has defined them.

    A variable that no iteration writes is read once, before the loop. That one of them does is
    known only at the end: then the bodies are defined once more, with the reads inside.
    """
    written: set = set()
    while True:
        bodies = make(written)
        trace(bodies)
        found = set().union(*(body.written for body in bodies))
        if not found.intersection(*[set().union(*(body.read_before for body in bodies))]):
            return bodies
        written |= found


def has_effect(node: Node) -> bool:
    """Whether a node runs for what it does: checks, prints, calls, writes of variables, and what
    has such a node in its body."""
    if node.op.kind == EFFECT or (node.op.kind == STATE and node.op.serial):
        return node.op.name != "no_op"
    return any(region.effects for region in node.regions)


def foreign_message(graph: Graph, tensor: Tensor) -> str:
    body = graph.body_of[tensor.node]
    return (
        f"{tensor.name} was defined inside {body.name}, at {graph.locations[tensor.node]}; outside "
        "of it only what it returns can be used"
    )
