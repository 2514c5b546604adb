"""Users' graphs as text (`.gf`): every node in the order of its definition, by name.

    graph    = "graph {" item* "}"
    item     = variable | node | body | controls | note
    variable = "variable" @name ":" type ["=" value] [origin]
    node     = id [":" type, …] "=" op "(" tensor, … [attr "=" value, …] ")"
               ["after" (id, … | "#"number)] ["{" region* "}"] [origin]
    controls = "controls" "#"number "=" id, …
    region   = "region" "name" ["parameters" tensor, …] ["results" tensor, …] ["effects" id, …]
    body     = "body" "#"number ["name" ["inside" "#"number] ["repeats"]] "{" node* "}"
    note     = "seed" number | "require" id ":" size "==" size ["broadcast"]
             | "owner" symbol "=" id | "trips" id "=" symbol | "remade" id "=" id
    id       = "%"name | "%'any name'", with '2, '3, … where several nodes have one name
    tensor   = id [":"output]
    origin   = ";" "at" file ":" line ["in" function]

A body is what the function of a loop or branch defines: its nodes stand in it, in as many pieces
as they were defined in, and the regions of an operation name them. Several operations may have
regions of one body, as gradients make them. Long lists of control dependencies, which whole parts
of a graph share, stand by themselves before their first use. Notes are the graph's side tables.

    %dense/add: float32[n,100] = add(%dense/MatMul, %dense/bias/read) ; at model.py:12

Values of attributes are in values_text.py. graph_reader.py reads it all back.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from ..sizes import Size
from .body import Body
from .graph import Graph, Location
from .node import Node, Tensor
from .values_text import ValuePrinter
from .variable import VariableHandle

__all__ = ["GraphPrinter", "print_graph"]

_FEW = 3  # control dependencies that are listed at each node
_PLAIN = re.compile(r"[\w.][\w.\\/>-]*")


def print_graph(graph: Graph) -> tuple[str, dict[str, np.ndarray]]:
    """The text of a graph, and the arrays that do not fit into it, by digest."""
    printer = GraphPrinter(graph)
    return printer.text(), printer.values.pool


# -- printing ------------------------------------------------------------------------------------


class GraphPrinter:
    """Prints a graph; `node` and `tensor` give the names by which its text refers to them.

    unreadable: the nodes that have attributes without a text, when the graph is printed
    """

    def __init__(self, graph: Graph):
        self.graph = graph
        self.values = ValuePrinter()
        self._ids: dict[Node, str] = {}
        self._bodies: dict[Body, int] = {}
        self._controls: dict[tuple[Node, ...], int] = {}
        self.unreadable: list[Node] = []
        taken: dict[str, int] = {}
        for node in graph.nodes:
            name = graph.names[node]
            count = taken[name] = taken.get(name, 0) + 1
            shown = name if _PLAIN.fullmatch(name) else repr(name)
            self._ids[node] = f"%{shown}" if count == 1 else f"%{shown}'{count}"

    def node(self, node: Node) -> str:
        return self._ids[node]

    def tensor(self, tensor: Tensor) -> str:
        name = self._ids[tensor.node]
        return f"{name}:{tensor.index}" if tensor.index else name

    def knows(self, node: Node) -> bool:
        return node in self._ids

    def text(self) -> str:
        lines = [*self._nodes(), *self._notes()]
        # Last, when it is known which variables there are.
        variables = [self._variable(handle) for handle in self.values.variables]
        return "\n".join(["graph {", *variables, *lines, "}"]) + "\n"

    def _variable(self, handle: VariableHandle) -> str:
        initial = f" = {self.values.value(handle.initial)}" if handle.initial is not None else ""
        type_ = self.values.type(handle.tensor_type)
        origin = _origin(handle.location)
        return f"  variable {self.values.variable(handle)}: {type_}{initial}{origin}"

    def _nodes(self) -> Iterator[str]:
        open_body: Body | None = None
        for node in self.graph.nodes:
            body = self.graph.body_of.get(node)
            if body is not open_body:
                if open_body is not None:
                    yield f"{'  ' * _depth(open_body)}}}"
                if body is not None:
                    yield from self._open(body)
                open_body = body
            yield from self._node(node, "  " * (1 + _depth(body)))
        if open_body is not None:
            yield f"{'  ' * _depth(open_body)}}}"

    def _open(self, body: Body) -> Iterator[str]:
        indent = "  " * _depth(body)
        if body in self._bodies:
            yield f"{indent}body #{self._bodies[body]} {{"
            return
        inside = ""
        if body.parent is not None:
            if body.parent not in self._bodies:
                yield from self._open(body.parent)
                yield f"{'  ' * _depth(body.parent)}}}"
            inside = f" inside #{self._bodies[body.parent]}"
        number = self._bodies[body] = len(self._bodies)
        repeats = " repeats" if body.repeats else ""
        yield f"{indent}body #{number} {body.name!r}{inside}{repeats} {{"

    def _node(self, node: Node, indent: str) -> Iterator[str]:
        types = ", ".join(self.values.type(t) for t in node.types)
        arguments = [self.tensor(t) for t in node.inputs]
        objects = len(self.values.objects)
        arguments += [f"{key}={self.values.value(value)}" for key, value in node.attrs.items()]
        if len(self.values.objects) > objects:
            self.unreadable.append(node)
        line = f"{indent}{self.node(node)}{': ' if types else ''}{types}"
        line += f" = {node.op.name}({', '.join(arguments)})"
        if len(node.controls) > _FEW:
            if node.controls not in self._controls:
                number = self._controls[node.controls] = len(self._controls)
                yield f"{indent}controls #{number} = {', '.join(map(self.node, node.controls))}"
            line += f" after #{self._controls[node.controls]}"
        elif node.controls:
            line += f" after {', '.join(map(self.node, node.controls))}"
        if node.regions:
            line += " {"
        yield line + _origin(self.graph.locations[node])
        for region in node.regions:
            parts = [f"region {region.name!r}"]
            for word, items in (
                ("parameters", map(self.tensor, region.parameters)),
                ("results", map(self.tensor, region.results)),
                ("effects", map(self.node, region.effects)),
            ):
                listed = ", ".join(items)
                if listed:
                    parts.append(f"{word} {listed}")
            yield f"{indent}  {' '.join(parts)}"
        if node.regions:
            yield f"{indent}}}"

    def _notes(self) -> Iterator[str]:
        graph, size = self.graph, self.values.size
        if graph.seed is not None:
            yield f"  seed {graph.seed}"
        for node, constraints in graph.constraints.items():
            for c in constraints:
                broadcast = " broadcast" if c.broadcast else ""
                yield f"  require {self.node(node)}: {size(c.a)} == {size(c.b)}{broadcast}"
        for symbol, node in graph.size_owners.items():
            yield f"  owner {size(Size.of(symbol))} = {self.node(node)}"
        for node, trips in graph.trips.items():
            yield f"  trips {self.node(node)} = {size(trips)}"
        for made, node in graph.remade.items():
            yield f"  remade {self.node(made)} = {self.node(node)}"


def _depth(body: Body | None) -> int:
    depth = 0
    while body is not None:
        depth, body = depth + 1, body.parent
    return depth


def _origin(place: Location) -> str:
    function = f" in {place.function}" if place.function not in ("", "<module>") else ""
    file = place.file.replace("\n", " ")
    return f" ; at {file}:{place.line}{function}"
