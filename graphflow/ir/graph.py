"""The graph a user declares: nodes in creation order, with names, scopes, lines and collections.

Those four live in side tables of the graph, not in the nodes: they are not part of what a node
means, and every rewrite hands them on as `Origin`s.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

from ..errors import GraphError, GraphMismatchError, NotFoundError
from ..sizes import Size, Symbol
from .body import Body, foreign_message
from .build import building, infer
from .node import Attrs, Node, Region, Tensor
from .op import Op
from .types import Constraint, SizeRules
from .variable import VariableHandle

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_PASSES = os.path.realpath(os.path.join(_PACKAGE, "passes")) + os.sep
_VALID_NAME = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*")
_serials = count(1)  # unique in the process, so a node's serial also orders effects across graphs


def next_serial() -> int:
    return next(_serials)


@dataclass(frozen=True)
class Location:
    """A line of the user's program."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def user_location() -> Location:
    """The innermost line on the stack that is not graphflow's own."""
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        inside = file.startswith((_PACKAGE, _PASSES, "<frozen"))
        if not inside and not file.endswith(f"{os.sep}contextlib.py"):
            return Location(file, frame.f_lineno, frame.f_code.co_name)
        frame = frame.f_back  # type: ignore[assignment]
    return Location("<unknown>", 0, "")


class GraphKeys:
    """Names of the standard collections, as in TensorFlow 1."""

    GLOBAL_VARIABLES = "variables"
    LOCAL_VARIABLES = "local_variables"
    TRAINABLE_VARIABLES = "trainable_variables"
    MODEL_VARIABLES = "model_variables"
    LOSSES = "losses"
    REGULARIZATION_LOSSES = "regularization_losses"
    UPDATE_OPS = "update_ops"
    SUMMARIES = "summaries"
    GLOBAL_STEP = "global_step"
    TRAIN_OP = "train_op"
    WEIGHTS = "weights"
    BIASES = "biases"
    ACTIVATIONS = "activations"
    MOVING_AVERAGE_VARIABLES = "moving_average_variables"


class Graph:
    """A set of operations under definition. `with graph.as_default():` makes it the current one."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.names: dict[Node, str] = {}
        self.locations: dict[Node, Location] = {}
        self.constraints: dict[Node, tuple[Constraint, ...]] = {}
        self.collections: dict[Any, list] = {}
        self.seed: int | None = None
        self.finalized = False
        self.version = 0  # counts definitions: sessions notice a graph that grows between runs
        self.values: dict[Node, Any] = {}  # constant_value() of small integer tensors, by node
        self.variables: dict[VariableHandle, Any] = {}  # the Variable of each handle
        self._by_name: dict[str, Node] = {}
        self._used_names: dict[str, int] = {}
        self._scope = ""
        self._controls: tuple[Node, ...] = ()
        self.body: Body | None = None  # the innermost one that is being defined
        self.body_of: dict[Node, Body] = {}  # of the nodes that are in one
        self.size_owners: dict[Symbol, Node] = {}  # of sizes that a run finds out: their loops
        self.trips: dict[Node, Size] = {}  # of loops that end when they will: how often they ran
        self.remade: dict[Node, Node] = {}  # loops with more results, and what they were made of
        self._lock = threading.RLock()

    # -- definition ---------------------------------------------------------------------------

    def create(
        self,
        op: Op,
        inputs: tuple[Tensor, ...],
        attrs: Attrs,
        regions: tuple[Region, ...] = (),
        name: str | None = None,
        controls: Iterable[Node] = (),
    ) -> Node:
        """Defines a node: type rule, name, line, control dependencies of the open contexts."""
        location = user_location()
        if self.finalized:
            raise GraphError(
                f"{op.name}: the graph is finalized, nothing can be added\n  at {location}"
            )
        for position, tensor in enumerate(inputs):
            if not isinstance(tensor, Tensor):
                raise TypeError(f"{op.name}: input {position} is {tensor!r}, not a tensor")
            if tensor.graph is not self:
                raise GraphMismatchError(
                    f"{op.name}: input {position} ({tensor.name}) belongs to another graph than "
                    f"the current one\n  at {location}"
                )
        body = self.body
        if body is not None and body.can_lift(op, inputs, regions, (*self._controls, *controls)):
            outside = tuple(map(body.outside, inputs))
            with self.inside(body.parent):
                return self.create(op, outside, attrs, (), name)
        if body is not None:
            controls = (*controls, *body.loops_for(op, inputs, attrs, regions))
            inputs = tuple(
                body.adopt_shape(t) if k in op.shape_only else body.adopt(t)
                for k, t in enumerate(inputs)
            )
        else:
            for tensor in inputs:
                if tensor.node in self.body_of and tensor.node.op.name != "constant":
                    raise GraphError(f"{op.name}: {foreign_message(self, tensor)}\n  at {location}")
        rules = SizeRules()
        try:
            types = infer(op, inputs, attrs, regions, rules)
        except GraphError as error:
            raise type(error)(f"{error}\n  at {location}") from None
        with self._lock:
            needed = tuple(dict.fromkeys((*self._controls, *controls)))
            if body is not None and needed:
                needed = body.own_controls(needed)
                if op.name == "constant":  # bodies share constants, so they belong to none
                    needed = ()
            node = Node(op, inputs, attrs, types, regions, needed, next_serial(), self)
            reused = name is not None and name.endswith("/")  # a scope's own name
            full = name[:-1] if name and reused else self.unique_name(name or op.name)
            self.names[node] = full
            self._by_name[full] = node
            self.locations[node] = location
            if rules.constraints:
                self.constraints[node] = tuple(rules.constraints)
            self.nodes.append(node)
            if body is not None:
                self.body_of[node] = body
                body.take(node)
            self.version += 1
        return node

    def restore(
        self,
        node: Node,
        name: str,
        location: Location,
        body: Body | None,
        constraints: tuple[Constraint, ...],
    ) -> None:
        """Takes in a node that was made for this graph elsewhere (read from text)."""
        with self._lock:
            self.names[node] = name
            self._by_name[name] = node
            scope = name.lower()
            while scope:  # the scopes it is in are taken, too
                self._used_names.setdefault(scope, 1)
                scope = scope.rpartition("/")[0]
            self.locations[node] = location
            if constraints:
                self.constraints[node] = constraints
            self.nodes.append(node)
            if body is not None:
                self.body_of[node] = body
                body.nodes.append(node)
            self.version += 1

    def unique_name(self, name: str, mark_as_used: bool = True) -> str:
        """`name` inside the current scope, with _1, _2, … where it is taken."""
        full = f"{self._scope}{name}"
        key = full.lower()
        taken = self._used_names.get(key, 0)
        if mark_as_used:
            self._used_names[key] = taken + 1
        if taken:
            candidate = full
            while candidate.lower() in self._used_names:
                candidate = f"{full}_{taken}"
                taken += 1
            if mark_as_used:
                self._used_names[key] = taken
                self._used_names[candidate.lower()] = 1
            full = candidate
        return full

    # -- contexts -----------------------------------------------------------------------------

    @contextmanager
    def as_default(self) -> Iterator[Graph]:
        _stack.graphs.append(self)
        try:
            with building(self):
                yield self
        finally:
            _stack.graphs.pop()

    @contextmanager
    def name_scope(self, name: str | None) -> Iterator[str]:
        """Prefixes names of operations made inside; a name that ends in / re-enters that scope."""
        saved = self._scope
        if name and not _VALID_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not a valid scope name")
        if not name:
            self._scope = ""
        elif name.endswith("/"):
            self._scope = name
        else:
            self._scope = self.unique_name(name) + "/"
        try:
            yield self._scope
        finally:
            self._scope = saved

    @contextmanager
    def inside(self, body: Body | None) -> Iterator[None]:
        """Operations made inside belong to `body`, or to none; the control dependencies that are
        open do not apply to them."""
        saved = self.body, self._controls
        self.body, self._controls = body, ()
        try:
            with self.as_default():
                yield
        finally:
            self.body, self._controls = saved

    def body_that_reads(self, variable: VariableHandle) -> Body | None:
        """The body in which a variable is to be read: the innermost open one that has written it.
        What no body has written is read before all of them, once."""
        body = self.body
        while body is not None and variable not in body.written:
            body.read_before.add(variable)
            body = body.parent
        return body

    @property
    def open_controls(self) -> tuple[Node, ...]:
        return self._controls

    @property
    def current_scope(self) -> str:
        return self._scope

    @contextmanager
    def control_dependencies(self, dependencies: Iterable | None) -> Iterator[None]:
        """Operations made inside run after `dependencies`; None clears the open ones."""
        saved = self._controls
        if dependencies is None:
            self._controls = ()
        else:
            nodes = []
            for dependency in dependencies:
                node = self.as_node(dependency)
                if node.graph is not self:
                    raise GraphMismatchError(
                        f"control_dependencies: {dependency!r} belongs to another graph"
                    )
                nodes.append(node)
            self._controls = tuple(dict.fromkeys((*saved, *nodes)))
        try:
            yield
        finally:
            self._controls = saved

    def as_node(self, value) -> Node:
        """The node of a Node, a Tensor, or anything that has an `op` (a Variable)."""
        if isinstance(value, Node):
            return value
        node = getattr(value, "op", None)
        if isinstance(node, Node):
            return node
        raise TypeError(f"{value!r} is neither an operation nor a tensor")

    # -- lookup -------------------------------------------------------------------------------

    def get_operations(self) -> list[Node]:
        return list(self.nodes)

    def get_operation_by_name(self, name: str) -> Node:
        node = self._by_name.get(name)
        if node is None:
            import difflib

            near = difflib.get_close_matches(name, self._by_name, 3)
            hint = f"; did you mean {', '.join(near)}?" if near else ""
            raise NotFoundError(f"the graph has no operation named {name!r}{hint}")
        return node

    def get_tensor_by_name(self, name: str) -> Tensor:
        operation, _, index = name.partition(":")
        if not index.isdigit():
            raise ValueError(f"{name!r} is not the name of a tensor; those look like {name}:0")
        node = self.get_operation_by_name(operation)
        if int(index) >= len(node.outputs):
            raise NotFoundError(f"operation {operation!r} has {len(node.outputs)} outputs")
        return node.outputs[int(index)]

    def as_graph_element(self, value, allow_tensor: bool = True, allow_operation: bool = True):
        """The tensor or operation that a Tensor, Node, Variable or name stands for."""
        if isinstance(value, str):
            value = (
                self.get_tensor_by_name(value)
                if ":" in value
                else self.get_operation_by_name(value)
            )
        elif not isinstance(value, (Tensor, Node)):
            convert = getattr(value, "_as_graph_element", None)
            if convert is None:
                raise TypeError(f"{value!r} is neither a tensor nor an operation")
            value = convert()
        if isinstance(value, Tensor) and not allow_tensor:
            raise TypeError(f"{value!r} is a tensor, not an operation")
        if isinstance(value, Node) and not allow_operation:
            raise TypeError(f"{value!r} is an operation, not a tensor")
        if value.graph is not self:
            raise GraphMismatchError(f"{value.name} belongs to another graph")
        return value

    # -- collections --------------------------------------------------------------------------

    def add_to_collection(self, name, value) -> None:
        self.collections.setdefault(name, []).append(value)

    def add_to_collections(self, names, value) -> None:
        for name in dict.fromkeys([names] if isinstance(names, str) else names):
            self.add_to_collection(name, value)

    def get_collection(self, name, scope: str | None = None) -> list:
        """A copy of the collection; with `scope`, the items whose name matches that prefix."""
        items = list(self.collections.get(name, ()))
        if scope is None:
            return items
        pattern = re.compile(scope)
        return [item for item in items if hasattr(item, "name") and pattern.match(item.name)]

    def get_collection_ref(self, name) -> list:
        return self.collections.setdefault(name, [])

    def clear_collection(self, name) -> None:
        self.collections.pop(name, None)

    # -- life ---------------------------------------------------------------------------------

    def finalize(self) -> None:
        """Makes every further definition an error."""
        self.finalized = True

    def location(self, node: Node) -> Location:
        return self.locations[node]

    def session_for(self, element, session):
        """`session`, or the default one, which must be a session of this graph."""
        session = session if session is not None else default_session()
        if session is None:
            raise GraphError(
                f"cannot evaluate {element.name}: no default session is open; "
                "use `with graphflow.Session():` or pass session="
            )
        if session.graph is not self:
            raise GraphMismatchError(f"{element.name} belongs to another graph than the session's")
        return session

    def to_networkx(self):
        """The graph as a networkx.MultiDiGraph: a node for each operation, by name, with its op,
        types, attributes and line; an edge for each tensor used (`tensor`, `input`) and for each
        control dependency (`control=True`)."""
        import networkx

        result = networkx.MultiDiGraph()
        for node in self.nodes:
            result.add_node(
                node.name,
                op=node.op.name,
                types=[str(t) for t in node.types],
                attrs={k: str(v) for k, v in node.attrs.items()},
                location=str(self.locations[node]),
            )
        for node in self.nodes:
            for position, tensor in enumerate(node.inputs):
                result.add_edge(
                    tensor.node.name,
                    node.name,
                    tensor=tensor.name,
                    input=position,
                    type=str(tensor.tensor_type),
                    control=False,
                )
            for control in node.controls:
                result.add_edge(control.name, node.name, control=True)
        return result


class _Stack(threading.local):
    def __init__(self) -> None:
        self.graphs: list[Graph] = []
        self.sessions: list[Any] = []


_stack = _Stack()
_global: list[Graph] = []  # the default graph outside every `with`, shared by threads


def get_default_graph() -> Graph:
    """The innermost `as_default()` graph of this thread, else the process's global one."""
    if _stack.graphs:
        return _stack.graphs[-1]
    if not _global:
        _global.append(Graph())
    return _global[0]


def reset_default_graph() -> None:
    """Replaces the global default graph by an empty one."""
    if _stack.graphs:
        raise GraphError("reset_default_graph() inside `with graph.as_default():`")
    _global[:] = [Graph()]


def default_session():
    """The innermost session of this thread opened with `with`, or None."""
    return _stack.sessions[-1] if _stack.sessions else None


def push_session(session) -> None:
    _stack.sessions.append(session)


def pop_session(session) -> None:
    if session in _stack.sessions:
        _stack.sessions.remove(session)
