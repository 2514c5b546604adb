"""What a run asks for, cut out of the user's graph: a pure function of feeds and variables.

    feeds, values of variables  -->  fetches, new values of variables  (+ ordered effects)

Passes are functions Program -> Program. Nodes are interned: equal nodes are one object. Leaves are
`feed` nodes (attribute `index`), `state` nodes (attribute `variable`) and `constant` nodes.
Every node remembers the definitions it came from in `origins`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from ..sizes import Symbol, symbols_of
from .build import building, infer
from .graph import Location
from .loop_sizes import found_out, sizes_in
from .node import Attrs, Node, Region, Tensor, all_nodes, topological
from .op import Op
from .types import Constraint, SizeRules, TensorType


@dataclass(frozen=True)
class Origin:
    """Where a node of a Program came from: the name and line of a definition."""

    name: str
    location: Location
    op: str

    def __str__(self) -> str:
        return f"{self.name} ({self.op}) at {self.location}"


class Replaced(NamedTuple):
    """What takes the place of a node in the list of effects, and of its outputs."""

    node: Node
    outputs: Sequence[Tensor | None]


class Interner:
    """Makes nodes of a Program; equal ones are one object. Passes share their Program's."""

    def __init__(self) -> None:
        self.origins: dict[Node, tuple[Origin, ...]] = {}
        self.constraints: list[tuple[Constraint, tuple[Origin, ...]]] = []
        self._nodes: dict[Any, Node] = {}
        self.loops: dict[Symbol, Node] = {}  # that find out a size: their number of iterations
        self.origin: tuple[Origin, ...] = ()  # of the nodes that are made now

    @classmethod
    def of(cls, other: Interner, nodes: set[Node]) -> Interner:
        """An interner that knows only these nodes of another one."""
        result = cls()
        result.origins = {n: origins for n, origins in other.origins.items() if n in nodes}
        result.constraints = other.constraints
        result._nodes = {key: n for key, n in other._nodes.items() if n in nodes}
        result.loops = {symbol: n for symbol, n in other.loops.items() if n in nodes}
        return result

    @contextmanager
    def for_origin(self, origin: tuple[Origin, ...]):
        """New nodes made inside come from `origin`."""
        saved, self.origin = self.origin, origin
        try:
            with building(self):
                yield
        finally:
            self.origin = saved

    @contextmanager
    def in_body(self, nodes: Iterable[Node] = ()):
        """New nodes made inside belong to a body that has `nodes` so far. Of the loops that find
        out a size they run after those of the body; the body runs after those around it."""
        saved = self.loops
        self.loops = {s: node for node in nodes if node.regions for s in found_out(node.attrs)}
        try:
            yield
        finally:
            self.loops = saved

    def create(
        self,
        op: Op,
        inputs: tuple[Tensor, ...],
        attrs: Attrs,
        regions: tuple[Region, ...] = (),
        name: str | None = None,
        serial: int = 0,
        controls: tuple[Node, ...] = (),
        types: tuple[TensorType, ...] | None = None,
    ) -> Node:
        """The node for these, made on first use. `types` skips the type rule (rebuilding).

        What is made with a size that a loop finds out, and reads no elements of anything of that
        size, runs after the loop.
        """
        if self.loops and op.name != "parameter":
            controls = self._after_loops(op, inputs, attrs, regions, controls)
        key = (op, inputs, attrs, regions, serial, controls, types if not inputs else None)
        node = self._nodes.get(key)
        if node is None:
            if types is None:
                rules = SizeRules()
                types = infer(op, inputs, attrs, regions, rules)
                self.constraints.extend((c, self.origin) for c in rules.constraints)
            node = Node(op, inputs, attrs, types, regions, controls, serial)
            self._nodes[key] = node
            self.origins[node] = self.origin
            for symbol in found_out(attrs) if regions else ():
                self.loops[symbol] = node
        elif not self.origins[node] and self.origin:
            self.origins[node] = self.origin
        return node

    def _after_loops(self, op: Op, inputs, attrs: Attrs, regions, controls) -> tuple[Node, ...]:
        found = dict.fromkeys(controls)
        sizes = sizes_in(attrs)
        for region in regions:
            for node in all_nodes(region.nodes()):
                sizes += [*sizes_in(node.attrs), *(t.dims or () for t in node.outputs)]
        sizes += [inputs[k].dims or () for k in op.shape_only if k < len(inputs)]
        read = [t for k, t in enumerate(inputs) if k not in op.shape_only]
        for symbol in symbols_of(tuple(sizes)):
            loop = self.loops.get(symbol)
            if loop is not None and not any(symbol in symbols_of(t.dims or ()) for t in read):
                found[loop] = None
        return tuple(found)


@dataclass(frozen=True, eq=False)
class Program:
    """A pure, interned graph with everything it computes.

    feeds:    tensors of `feed` nodes, in order
    fetches:  tensors to return, in order
    updates:  variable -> the tensor that is its value after the run
    effects:  nodes that run for what they do (assert, print, host calls), and others that may
              stop the run and were asked to run, in order
    """

    feeds: tuple[Tensor, ...]
    fetches: tuple[Tensor, ...]
    updates: Mapping[Any, Tensor]
    effects: tuple[Node, ...]
    interner: Interner = field(repr=False)
    # Sizes that a run must find equal, with the definitions that need it.
    constraints: tuple[tuple[Constraint, tuple[Origin, ...]], ...] = ()
    # The feeds' types as a run binds them. The nodes' types already take the constraints for
    # granted: two sizes that must be equal are two symbols here and one symbol there.
    feed_types: tuple[TensorType, ...] = ()

    def bound_types(self) -> tuple[TensorType, ...]:
        """`feed_types`, or the types of the feeds where nothing is taken for granted."""
        return self.feed_types or tuple(feed.tensor_type for feed in self.feeds)

    def roots(self) -> list[Tensor]:
        return [*self.fetches, *self.updates.values()]

    def nodes(self) -> list[Node]:
        """Every node that is needed, inputs before users (feeds nothing reads are left out)."""
        return topological([*(t.node for t in self.roots()), *self.effects])

    def users(self) -> dict[Tensor, list[Node]]:
        """For every tensor the nodes that read it, once for each input position."""
        result: dict[Tensor, list[Node]] = {}
        for node in self.nodes():
            for output in node.outputs:
                result.setdefault(output, [])
            for tensor in node.inputs:
                result.setdefault(tensor, []).append(node)
        return result

    def states(self) -> list[Tensor]:
        """The `state` leaves that are read, in first-use order."""
        return [n.outputs[0] for n in self.nodes() if n.op.name == "state"]

    def origin(self, node: Node) -> tuple[Origin, ...]:
        return self.interner.origins.get(node, ())

    def rewrite(
        self, rule: Callable[[Node], Node | Replaced | Sequence[Tensor | None] | Tensor | None]
    ) -> Program:
        """Applies `rule` once to every node, inputs first.

        The rule sees the node with its inputs already rewritten, and returns None (keep it), a
        Tensor (replaces a node with one output), a sequence with a Tensor or None for each output,
        or a Node that takes its place in the list of effects, too (in a `Replaced`, with other
        outputs than its own). Nodes the rule makes take over the node's origin. Returns `self` if
        nothing changed.
        """
        mapped: dict[Tensor, Tensor] = {}
        nodes: dict[Node, Node] = {}
        changed = False
        with self.interner.for_origin(()):
            for node in self.nodes():
                self.interner.origin = self.origin(node)
                new = nodes[node] = self._with_inputs(node, mapped, nodes)
                result = rule(new)
                outputs: Sequence[Tensor | None]
                if result is None:
                    outputs = new.outputs
                elif isinstance(result, Node):
                    changed = changed or result is not node
                    nodes[node] = result
                    outputs = result.outputs
                elif isinstance(result, Replaced):
                    nodes[node], outputs = result
                elif isinstance(result, Tensor):
                    outputs = (result,)
                else:
                    outputs = result
                for old, output, kept in zip(node.outputs, outputs, new.outputs, strict=True):
                    mapped[old] = output if output is not None else kept
                    changed = changed or mapped[old] is not old
                changed = changed or new is not node
        if not changed:
            return self
        return replace(
            self,
            fetches=tuple(mapped[t] for t in self.fetches),
            updates={variable: mapped[t] for variable, t in self.updates.items()},
            effects=tuple(nodes[e] for e in self.effects),
        )

    def _with_inputs(
        self, node: Node, mapped: Mapping[Tensor, Tensor], nodes: Mapping[Node, Node]
    ) -> Node:
        """`node` with its inputs and controls replaced."""
        inputs = tuple([mapped[t] for t in node.inputs])
        controls = tuple([nodes[c] for c in node.controls])
        if inputs == node.inputs and controls == node.controls:
            return node
        return self.interner.create(
            node.op, inputs, node.attrs, node.regions, serial=node.serial, controls=controls
        )


def consumers(nodes: Iterable[Node]) -> dict[Node, list[Node]]:
    """For every node the nodes that read any of its outputs, without repetition."""
    result: dict[Node, dict[Node, None]] = {}
    for node in nodes:
        result.setdefault(node, {})
        for tensor in node.inputs:
            result.setdefault(tensor.node, {})[node] = None
        for control in node.controls:
            result.setdefault(control, {})[node] = None
    return {node: list(users) for node, users in result.items()}
