"""Cuts what one run needs out of the user's graph, and makes it a pure function.

    graph with variables, reads, assigns     -->     Program: feeds, values of variables
                                                     -> fetches, new values of variables

Feeds end the search for what is needed (any tensor can be fed); state operations become the values
they hand on; effects are kept in the order of their creation. Every node's type is inferred anew,
so that fed ranks and sizes reach whatever depends on them.
"""

from __future__ import annotations

import difflib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ...errors import FeedError, GraphError, InternalError, TypeRuleError
from ...ir.build import building
from ...ir.graph import Graph
from ...ir.loop_sizes import bound_in
from ...ir.node import Attrs, Node, Region, Tensor
from ...ir.op import EFFECT, STATE, find
from ...ir.program import Interner, Origin, Program
from ...ir.types import TensorType, is_static
from ...ops.control_flow import body_types
from ...ops.movement import resolve_like
from ...ops.reduction import resolve_reduce, resolve_sum_to
from ...sizes import Dim, Size, Symbol, as_symbol, symbols_of
from ..analysis.bodies import Layout
from ..loops.remade import Together, together
from .feed_sizes import FeedSizes
from .state_order import is_write, last_writes, variables_of

# What takes its shape from another tensor becomes a plain operation now that ranks are known.
_RESOLVED = {
    "broadcast_like": resolve_like,
    "reshape_like": resolve_like,
    "sum_to": resolve_sum_to,
    "reduce": resolve_reduce,
}


def cut(
    graph: Graph,
    fetches: Sequence[Tensor | Node],
    feeds: Sequence[Tensor],
    feed_types: Sequence[TensorType] | None = None,
    bindings: Mapping[Symbol, Dim] | None = None,
) -> Program:
    """The Program that computes `fetches` from `feeds`.

    fetches: tensors to compute and operations to run
    feed_types: the feeds' types as far as the run knows them; ranks always are known
    bindings: sizes to fix, by the symbols of an earlier cut of the same feeds

    Raises FeedError where a placeholder is needed but not fed, UnorderedWritesError where two
    writes of a variable have no order, TypeRuleError where the fed types do not fit.
    """
    types = [t.tensor_type for t in feeds] if feed_types is None else list(feed_types)
    for feed in feeds:
        if feed.graph is not graph:
            raise FeedError(
                f"{feed.name} {feed.tensor_type} cannot be fed: it belongs to another graph"
            )
    sizes = FeedSizes(feeds, types, bindings or {})
    needed = _needed(graph, fetches, feeds, sizes)
    try:
        return _cut(graph, fetches, feeds, needed, sizes, True)
    except TypeRuleError:
        if not sizes.merged:
            raise
    # A size that broadcasts with two others can only be 1: nothing is to be taken for granted.
    sizes = FeedSizes(feeds, types, bindings or {})
    return _cut(graph, fetches, feeds, needed, sizes, False)


def _cut(graph, fetches, feeds, needed: Sequence[Node], sizes: FeedSizes, merge: bool) -> Program:
    for node in needed:
        for constraint in graph.constraints.get(node, ()):
            sizes.require(constraint, (_origin(graph, node),), merge or not constraint.broadcast)
    while True:
        program, constraints = _Cut(graph, feeds, needed, sizes).program(fetches)
        again = False
        for constraint, origins in constraints:
            again |= sizes.require(constraint, origins, merge or not constraint.broadcast)
        if not again:
            return program(sizes)


# -- what is needed ------------------------------------------------------------------------------


def _needed(
    graph: Graph, fetches: Sequence[Tensor | Node], feeds: Sequence[Tensor], sizes: FeedSizes
) -> list[Node]:
    """The nodes that have to run, in the order of their creation."""
    fed = set(feeds)
    users: dict[Node, Node | None] = {}  # the node that needs it, None for a fetch
    queue: deque[Node] = deque()
    for fetch in fetches:
        for node in _nodes_behind(fetch, fed):
            if node not in users:
                users[node] = None
                queue.append(node)
    while queue:
        node = queue.popleft()
        if node.op.name == "placeholder":
            raise _missing_feed(graph, node, users, feeds, None)
        wanted = list(_needs(node, fed))
        for symbol in dict.fromkeys(_all_symbols_in(node)):
            if sizes.is_bound(symbol) or node.op.name == "placeholder_with_default":
                continue
            owner = _owner(graph, symbol)
            if owner is node or (owner is not None and owner in graph.body_of):
                continue  # of a loop in one of the bodies
            if owner is None:
                raise InternalError(f"nothing gives the size {symbol} of {node.name} its value")
            if owner.op.name == "placeholder":
                users.setdefault(owner, node)
                raise _missing_feed(graph, owner, users, feeds, symbol)
            wanted.append(owner)
        for need in wanted:
            if need not in users:
                users[need] = node
                queue.append(need)
    return sorted(users, key=lambda node: node.serial)


def _nodes_behind(value: Tensor | Node, fed: set[Tensor]) -> Iterator[Node]:
    if isinstance(value, Tensor):
        if value not in fed:
            yield value.node
    elif not value.outputs or not all(output in fed for output in value.outputs):
        yield value


def _needs(node: Node, fed: set[Tensor]) -> Iterator[Node]:
    inputs = node.inputs
    if node.op.name == "override_gradient":
        inputs = inputs[: node.attrs["count"]]  # the rest is for differentiation alone
    for tensor in inputs:
        if tensor not in fed:
            yield tensor.node
    for control in node.controls:
        yield from _nodes_behind(control, fed)


def _symbols_in(attrs: Attrs) -> Iterator[Symbol]:
    for value in attrs.values():
        if isinstance(value, (tuple, Size)):
            yield from symbols_of(value)


def _all_symbols_in(node: Node) -> Iterator[Symbol]:
    """The sizes that a node, or anything in its bodies, is made with, but for those that it gives
    a value itself."""
    own = set(bound_in(node.attrs))
    yield from (symbol for symbol in _symbols_in(node.attrs) if symbol not in own)
    for region in node.regions:
        for inner in region.nodes():
            yield from (symbol for symbol in _all_symbols_in(inner) if symbol not in own)


def _owner(graph: Graph, symbol: Symbol) -> Node | None:
    """The placeholder whose dimension `symbol` is, or the loop whose iterations it counts."""
    if symbol in graph.size_owners:
        return graph.size_owners[symbol]
    for node in graph.nodes:
        declared = node.op.name in ("placeholder", "placeholder_with_default")
        if declared and symbol in symbols_of(node.outputs[0].dims or ()):
            return node
    return None


def _missing_feed(
    graph: Graph,
    node: Node,
    users: Mapping[Node, Node | None],
    feeds: Sequence[Tensor],
    symbol: Symbol | None,
) -> FeedError:
    """What to feed, the path from the fetch that needs it, and what was fed instead."""
    path = [node]
    while (user := users[path[-1]]) is not None:
        path.append(user)
    path.reverse()
    names = [f"{step.name} ({step.op.name})" for step in path[:-1]]
    if len(names) > 5:
        names = [*names[:3], f"{len(names) - 4} more", names[-1]]
    missing = node.outputs[0]
    lines = [f"placeholder {missing.name} {missing.tensor_type} must be fed"]
    lines.append(f"  defined at {graph.location(node)}")
    if names:
        what = "its size" if symbol is not None else "it"
        lines.append(f"  {what} is needed by {' <- '.join(reversed(names))}")
    if feeds:
        lines.append(f"  fed: {', '.join(feed.name for feed in feeds[:6])}")
        close = difflib.get_close_matches(node.name, [feed.node.name for feed in feeds], 1)
        if close:
            lines.append(f"  is {close[0]}:0 another one of a similar name?")
    return FeedError("\n".join(lines))


# -- the pure function ---------------------------------------------------------------------------


def _origin(graph: Graph, node: Node) -> Origin:
    return Origin(graph.names[node], graph.locations[node], node.op.name)


def _as_defined(node: Node, inputs: Sequence[Tensor]) -> bool:
    """Whether a node's types are what they were when it was defined: known sizes of known sizes
    only, so that its type rule would neither find nor ask anything new."""
    if not inputs or node.regions:
        return False
    for old, new in zip(node.inputs, inputs, strict=True):
        if not is_static(new.dims) or old.tensor_type != new.tensor_type:
            return False
    return all(is_static(type_.shape) for type_ in node.types)


class _Scope:
    """What is known while the operations of a graph, or of a body, are converted one by one.

    previous: gives the value that a variable has at the beginning
    tensors:  of the user's graph -> of the Program
    effects:  in order; checked: pure nodes that may stop the run
    values:   (write, variable) -> the variable's value after it
    latest:   variable -> its value so far
    trips:    sizes that loops here find out; each body has its own, whatever the user's are
    """

    def __init__(self, previous: Callable[[Any], Tensor], seen: Mapping, whole: Together):
        self.previous = previous
        self.seen = seen
        self.whole = whole
        self.tensors: dict[Tensor, Tensor] = {}
        self.effects: list[Node] = []
        self.checked: list[Node] = []
        self.values: dict[tuple, Tensor] = {}
        self.latest: dict[Any, Tensor] = {}
        self.trips: set[Symbol] = set()

    def all_effects(self) -> tuple[Node, ...]:
        """Effects, and what only a control dependency asks for but may stop the run. Checks that
        results use are roots too: no rewrite may lose one with its value."""
        return tuple(dict.fromkeys((*self.effects, *self.checked)))


class _Cut:
    """One attempt at the Program, with the sizes merged so far."""

    def __init__(self, graph: Graph, feeds, needed: Sequence[Node], sizes: FeedSizes):
        self.graph = graph
        self.feeds = feeds
        self.needed = needed
        self.sizes = sizes
        self.interner = Interner()
        self.regions: dict[tuple, Region] = {}
        self.serial = 0

    def program(self, fetches):
        interner = self.interner
        fed = set(self.feeds)
        whole = together(self.graph, self.needed)
        seen = last_writes(whole.nodes, lambda node: whole.needs(_needs(node, fed)))
        scope = _Scope(_state, seen, whole)
        inputs = []
        for index, (feed, type_) in enumerate(
            zip(self.feeds, self.sizes.inner_types(), strict=True)
        ):
            with interner.for_origin((_origin(self.graph, feed.node),)):
                tensor = find("feed")(index=index, type=type_)
            inputs.append(tensor)
            scope.tensors[feed] = tensor
        with building(interner):
            for node in whole.nodes:
                self._add(node, scope)
        interner.origin = ()
        results = tuple(scope.tensors[f] for f in fetches if isinstance(f, Tensor))
        updates = {
            variable: value
            for variable, value in scope.latest.items()
            if not (value.node.op.name == "state" and value.node.attrs["variable"] is variable)
        }
        effects = scope.all_effects()

        def build(sizes: FeedSizes) -> Program:
            return Program(
                tuple(inputs), results, updates, effects, interner, sizes.checks(), sizes.types
            )

        return build, interner.constraints

    def _add(self, node: Node, scope: _Scope) -> None:
        origin = _origin(self.graph, scope.whole.first.get(node, node))
        self.interner.origin = (origin,)
        try:
            outputs = self._convert(node, scope)
        except GraphError as error:
            if str(origin.location) in str(error):
                raise
            raise type(error)(f"{error}\n  {origin}") from None
        for old, new in zip(node.outputs, outputs, strict=True):
            scope.tensors.setdefault(old, new)
        if node in scope.whole.first:
            for old, whole in scope.whole.outputs.items():
                if whole.node is node:
                    scope.tensors.setdefault(old, scope.tensors[whole])

    def _convert(self, node: Node, scope: _Scope) -> Sequence[Tensor]:
        op = node.op
        if op.name == "override_gradient":
            return [scope.tensors[t] for t in node.inputs[: node.attrs["count"]]]
        inputs = tuple(scope.tensors[t] for t in node.inputs)
        if op.kind == STATE:
            return self._state(node, inputs, scope)
        if op.name == "placeholder_with_default":
            return [self._default(node, inputs[0])]
        if op.name == "no_op":
            return node.outputs
        if node.regions:
            return self._with_bodies(node, inputs, scope)
        new = self._create(node, inputs, self._attrs(node), (), scope, op.kind == EFFECT)
        resolve = _RESOLVED.get(op.name)
        plain = resolve(new) if resolve is not None else None
        return new.outputs if plain is None else [plain]

    def _create(self, node: Node, inputs, attrs: Attrs, regions, scope: _Scope, effect: bool):
        serial = 0
        if node.op.serial or effect:
            self.serial += 1
            serial = self.serial
        known = node.types if attrs is node.attrs and _as_defined(node, inputs) else None
        new = self.interner.create(node.op, inputs, attrs, regions, serial=serial, types=known)
        if effect:
            scope.effects.append(new)
        elif node.op.fallible:
            scope.checked.append(new)
        return new

    def _attrs(self, node: Node) -> Attrs:
        if node.op.name == "call":  # its own derivative has served
            return Attrs({**node.attrs, "gradient": None})
        if next(_symbols_in(node.attrs), None) is None:
            return node.attrs
        return Attrs({key: self.sizes.resolve(value) for key, value in node.attrs.items()})

    def _value(self, node: Node, variable, scope: _Scope) -> Tensor:
        """The value of a variable that an operation finds."""
        write = scope.seen[node, variable]
        if write is not None:
            return scope.values[write, variable]
        with self.interner.for_origin((Origin(variable.name, variable.location, "variable"),)):
            return scope.previous(variable)

    def _state(self, node: Node, inputs, scope: _Scope) -> Sequence[Tensor]:
        variable = node.attrs["variable"]
        previous = self._value(node, variable, scope)
        attrs = self._attrs(node)
        update = node.op.update
        if update is None:
            raise InternalError(f"op {node.op.name} has no update rule")
        if attrs is not node.attrs:
            value, results = update(
                previous, inputs, Node(node.op, node.inputs, attrs, node.types, graph=node.graph)
            )
        else:
            value, results = update(previous, inputs, node)
        if is_write(node):
            scope.values[node, variable] = value
            scope.latest[variable] = value
        return results

    def _default(self, node: Node, source: Tensor) -> Tensor:
        """An unfed placeholder_with_default is its input; its symbols are that one's sizes."""
        for own, dim in zip(node.outputs[0].dims or (), source.dims or (), strict=False):
            symbol = as_symbol(own)
            if symbol is not None and not self.sizes.is_bound(symbol):
                self.sizes.symbols[symbol] = dim
        return source

    # -- bodies -------------------------------------------------------------------------------

    def _with_bodies(self, node: Node, inputs, scope: _Scope) -> Sequence[Tensor]:
        """An operation with bodies. Variables that they use become operands, those that they
        write become values that the bodies hand on:

            while(i) { w.assign_add(i); i + 1 }  -->  while(i, w) { i + 1, w + i }
        """
        told = list(symbols_of(node.attrs.get("sizes")))  # these have a meaning in its body alone
        for symbol in bound_in(node.attrs):
            if symbol in told or symbol in scope.trips:
                continue
            if symbol in self.graph.size_owners:
                scope.trips.add(symbol)
                self.sizes.bind_trips(symbol)
        around = dict(self.sizes.symbols)
        for symbol in told:
            self.sizes.bind_trips(symbol)
        written, read = variables_of(node)
        given = {v: self._value(node, v, scope) for v in (*written, *read)}
        layout = Layout.of(node, len(written))
        operands = layout.operands(inputs, [given[v] for v in written], [given[v] for v in read])
        attrs = Attrs({**self._attrs(node), **layout.attrs})
        types = body_types(node.op, [t.tensor_type for t in operands], attrs)
        origin = self.interner.origin
        regions = tuple(
            self._region(node, number, types, layout, list(written), list(read))
            for number in range(len(node.regions))
        )
        self.interner.origin = origin
        effect = any(region.effects for region in regions)
        new = self._create(node, operands, attrs, regions, scope, effect)
        self.sizes.symbols = around
        results, values = layout.split(new.outputs)
        for variable, value in zip(written, values, strict=True):
            scope.values[node, variable] = value
            scope.latest[variable] = value
        return results

    def _region(self, owner: Node, number: int, types, layout: Layout, written, read):
        """A body over this program's sizes, its parameters of the given types.

        Equal bodies are one object, so that equal operations are.
        """
        region = owner.regions[number]
        interner = self.interner
        with interner.for_origin(interner.origin):
            parameters = [
                find("parameter")(index=index, dtype=type_.dtype, shape=type_.shape)
                for index, type_ in enumerate(types)
            ]
        own, first, second = layout.parameters(parameters, len(read))
        values = dict(zip([*written, *read], [*first, *second], strict=True))
        whole = together(self.graph, sorted(region.nodes(), key=lambda node: node.serial))
        seen = last_writes(
            whole.nodes,
            lambda node: whole.needs([*(t.node for t in node.inputs), *node.controls]),
        )
        scope = _Scope(values.__getitem__, seen, whole)
        scope.tensors.update(zip(region.parameters, own, strict=True))
        known = dict(self.sizes.symbols)
        with interner.in_body():
            for node in whole.nodes:
                if not node.outputs or node.outputs[0] not in scope.tensors:
                    self._add(node, scope)
        self.sizes.symbols = known
        results: list[Any] = [scope.tensors[t] for t in region.results]
        if layout.hands_on(number):
            after = [scope.latest.get(variable, values[variable]) for variable in written]
            results = layout.results(results, after)
        elif scope.latest:  # a condition; those that it does not write keep their values
            results += [scope.latest.get(variable, values[variable]) for variable in written]
        key = (tuple(parameters), tuple(results), scope.all_effects(), region.name)
        return self.regions.setdefault(key, Region(*key))


def _state(variable) -> Tensor:
    return find("state")(variable=variable)
