"""Reads the text of users' graphs; graph_text.py prints it and has the grammar."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from ..errors import GraphError, GraphMismatchError
from ..sizes import Size, Symbol, as_symbol
from .body import Body
from .build import infer
from .graph import Graph, Location, next_serial
from .node import Attrs, Node, Region, Tensor
from .op import defined
from .types import Constraint, SizeRules, TensorType
from .values_text import LineReader, TextError, ValueReader
from .variable import VariableHandle

__all__ = ["GraphParser", "TextError", "parse_graph"]

_ID = re.compile(r"%(?P<name>.+?)(?P<number>'\d+)?(?::(?P<output>\d+))?", re.DOTALL)
_ORIGIN = re.compile(r"at (?P<file>.*):(?P<line>\d+)(?: in (?P<function>.*))?")


def parse_graph(text: str, pool: Mapping[str, np.ndarray] | None = None) -> Graph:
    """The graph that a text describes. Raises TextError, with the line, for what is no graph or
    holds Python objects."""
    graph = Graph()
    lines = iter([LineReader(line, n) for n, line in enumerate(text.split("\n"), 1) if line])
    parser = GraphParser(lines, pool or {}, graph)
    parser.read()
    parser.commit()
    return graph


class GraphParser:
    """Reads a graph's text and takes what it defines into a graph: `read`, then `commit`.

    lines: an iterator, of which `read` takes the lines of the graph
    into: the graph that nodes are made for; it stays as it is until `commit`
    prefix: put before the names of operations and variables, such as "copy/"
    known: variables of `into` that those of these names are, rather than new ones
    """

    def __init__(
        self,
        lines: Iterator[LineReader],
        pool: Mapping[str, np.ndarray],
        into: Graph,
        prefix: str = "",
        known: Mapping[str, VariableHandle] | None = None,
    ):
        self.values = ValueReader(pool, canonical=False)
        self.nodes: dict[str, Node] = {}
        self.into = into
        self._lines = lines
        self._prefix = prefix
        self._known = known or {}
        self._staged: list[tuple[Node, str, Location, Body | None]] = []
        self._bodies: dict[str, Body] = {}
        self._controls: dict[str, tuple[Node, ...]] = {}
        self._ops = defined()
        self._seed: int | None = None
        self._constraints: dict[Node, list[Constraint]] = {}
        self._owners: dict[Symbol, Node] = {}
        self._trips: dict[Node, Size] = {}
        self._remade: dict[Node, Node] = {}

    @property
    def names(self) -> dict[Node, str]:
        """The nodes that were read, with the names they are to have."""
        return {node: name for node, name, _, _ in self._staged}

    def read(self) -> None:
        """Reads up to the end of the graph."""
        reader = self.next_line()
        if not reader.take("graph") or not reader.take("{"):
            reader.fail("'graph {' was expected")
        for line in self.block():
            self._item(line)

    def commit(self) -> None:
        """Gives the nodes to the graph. Raises GraphMismatchError where names are taken, with the
        graph unchanged."""
        graph = self.into
        names = set(graph.names.values()).intersection(self.names.values())
        if names:
            listed = ", ".join(sorted(names)[:4])
            raise GraphMismatchError(f"the graph already has operations named {listed}")
        for node, name, location, body in self._staged:
            graph.restore(node, name, location, body, tuple(self._constraints.get(node, ())))
        if self._seed is not None and graph.seed is None:
            graph.seed = self._seed
        graph.size_owners.update(self._owners)
        graph.trips.update(self._trips)
        graph.remade.update(self._remade)

    # -- lines --------------------------------------------------------------------------------

    def next_line(self) -> LineReader:
        reader = next(self._lines, None)
        if reader is None:
            raise TextError("the text ends too early")
        return reader

    def block(self) -> Iterator[LineReader]:
        """The lines up to the one that is a closing brace."""
        while True:
            reader = self.next_line()
            if reader.take("}"):
                reader.end()
                return
            yield reader

    def _item(self, reader: LineReader) -> None:
        if self._defined(reader, None):
            return
        items: dict[str, Callable[[LineReader], None]] = {
            "variable": self._variable,
            "body": self._body,
            "seed": self._read_seed,
            "require": self._require,
            "owner": self._owner,
            "trips": self._read_trips,
            "remade": self._read_remade,
        }
        word = reader.next().text
        if word not in items:
            reader.fail(f"{word!r} is no part of a graph")
        items[word](reader)

    def _variable(self, reader: LineReader) -> None:
        token = reader.next()
        if token.kind != "variable":
            reader.fail("the name of a variable, such as @w, was expected")
        name = token.text[1:]
        reader.expect(":")
        type_ = self.values.type(reader)
        if type_.shape is None or not all(isinstance(dim, int) for dim in type_.shape):
            reader.fail("the shape of a variable is known")
        initial = self.values.value(reader) if reader.take("=") else None
        own = name.partition("'")[0]
        self.values.variables[name] = self._known.get(own) or VariableHandle(
            self._prefix + own, type_.dtype, type_.shape, self._location(reader), initial
        )

    def _body(self, reader: LineReader) -> None:
        reader.expect("#")
        number = reader.next().text
        if reader.peek().kind == "string":
            name, parent = self.string(reader), None
            if reader.take("inside"):
                reader.expect("#")
                parent = self._find(reader, self._bodies, reader.next().text)
            body = self._bodies[number] = Body(self.into, name, repeats=reader.take("repeats"))
            body.parent = parent
        body = self._find(reader, self._bodies, number)
        reader.expect("{")
        reader.end()
        for line in self.block():
            if not self._defined(line, body):
                line.fail("an operation was expected")

    def _defined(self, reader: LineReader, body: Body | None) -> bool:
        """Reads a node, or a list of controls for the nodes that follow, if that is what it is."""
        if reader.peek().kind == "id":
            self._node(reader, body)
        elif reader.take("controls"):
            reader.expect("#")
            number = reader.next().text
            reader.expect("=")
            self._controls[number] = tuple(self.several(reader, self.node))
            reader.end()
        else:
            return False
        return True

    def _node(self, reader: LineReader, body: Body | None) -> None:
        text = self._id(reader)
        types = tuple(self.several(reader, self.values.type)) if reader.take(":") else ()
        reader.expect("=")
        name = reader.next().text
        op = self._ops.get(name)
        if op is None:
            reader.fail(f"there is no operation {name!r}")
        inputs, attrs = self.values.arguments(reader, self.tensor)
        controls: tuple[Node, ...] = ()
        if reader.take("after"):
            if reader.take("#"):
                controls = self._find(reader, self._controls, reader.next().text)
            else:
                controls = tuple(self.several(reader, self.node))
        braces = reader.take("{")
        location = self._location(reader)
        regions = tuple(self._region(line) for line in self.block()) if braces else ()
        node = Node(
            op, tuple(inputs), Attrs(attrs), types, regions, controls, next_serial(), self.into
        )
        if text in self.nodes:
            reader.fail(f"{text} is defined twice")
        self.nodes[text] = node
        self._staged.append((node, self._prefix + _name_of(text, reader), location, body))
        _check(node, reader)

    def _region(self, reader: LineReader) -> Region:
        reader.expect("region")
        name = self.string(reader)

        def listed(word: str, read: Callable[[LineReader], Any]) -> tuple:
            return tuple(self.several(reader, read)) if reader.take(word) else ()

        parameters, results = listed("parameters", self.tensor), listed("results", self.tensor)
        effects = listed("effects", self.node)
        reader.end()
        return Region(parameters, results, effects, name)

    # -- notes --------------------------------------------------------------------------------

    def _read_seed(self, reader: LineReader) -> None:
        seed = self.values.value(reader)
        if not isinstance(seed, int):
            reader.fail("a seed is a whole number")
        self._seed = seed
        reader.end()

    def _require(self, reader: LineReader) -> None:
        node = self.node(reader)
        reader.expect(":")
        a = self.values.size(reader)
        reader.expect("==")
        b = self.values.size(reader)
        self._constraints.setdefault(node, []).append(Constraint(a, b, reader.take("broadcast")))
        reader.end()

    def _owner(self, reader: LineReader) -> None:
        size = as_symbol(self.values.size(reader))
        if size is None:
            reader.fail("a size with a name of its own was expected")
        reader.expect("=")
        self._owners[size] = self.node(reader)
        reader.end()

    def _read_trips(self, reader: LineReader) -> None:
        node = self.node(reader)
        reader.expect("=")
        trips = self.values.size(reader)
        if not isinstance(trips, Size):
            reader.fail("a size with a name of its own was expected")
        self._trips[node] = trips
        reader.end()

    def _read_remade(self, reader: LineReader) -> None:
        made = self.node(reader)
        reader.expect("=")
        self._remade[made] = self.node(reader)
        reader.end()

    # -- words --------------------------------------------------------------------------------

    def node(self, reader: LineReader) -> Node:
        """The node of an id."""
        return self._find(reader, self.nodes, self._id(reader))

    def tensor(self, reader: LineReader) -> Tensor:
        """The tensor of an id, which may have the number of an output behind it."""
        text = self._id(reader, outputs=True)
        match = _ID.fullmatch(text)
        assert match is not None
        name, output = (text, 0)
        if match["output"] is not None:
            name, output = text[: match.start("output") - 1], int(match["output"])
        node = self._find(reader, self.nodes, name)
        if output >= len(node.outputs):
            reader.fail(f"{name} has {len(node.outputs)} outputs, so there is no {text}")
        return node.outputs[output]

    def string(self, reader: LineReader) -> str:
        if reader.peek().kind != "string":
            reader.fail(f"a text in quotes was expected, not {reader.peek().text!r}")
        return self.values.value(reader)

    def several(self, reader: LineReader, read: Callable[[LineReader], Any]) -> Iterator[Any]:
        yield read(reader)
        while reader.take(","):
            yield read(reader)

    def _id(self, reader: LineReader, outputs: bool = False) -> str:
        token = reader.next()
        if token.kind != "id":
            reader.fail(f"a name such as %x was expected, not {token.text!r}")
        match = _ID.fullmatch(token.text)
        if match is None or (match["output"] is not None and not outputs):
            reader.fail(f"{token.text} names an output, not an operation")
        return token.text

    def _find(self, reader: LineReader, table: Mapping[str, Any], key: str) -> Any:
        if key not in table:
            reader.fail(f"{key} is not defined before it is used")
        return table[key]

    def _location(self, reader: LineReader) -> Location:
        if not reader.take(";"):
            reader.end()
            return Location("<unknown>", 0, "")
        match = _ORIGIN.fullmatch(reader.rest())
        if match is None:
            reader.fail("this is no line of a program")
        return Location(match["file"], int(match["line"]), match["function"] or "<module>")


def _check(node: Node, reader: LineReader) -> None:
    """The type rule agrees with what the text says; sizes it finds may have other names."""
    try:
        found = infer(node.op, node.inputs, node.attrs, node.regions, SizeRules())
    except Exception as error:  # noqa: BLE001  a rule may trip over anything in a damaged text
        if isinstance(error, GraphError):
            reader.fail(str(error))
        reader.fail(f"{node.op.name} has no meaning with these attributes")
    if not (len(found) == len(node.types) and all(map(_agree, found, node.types))):
        reader.fail(f"the results of {node.op.name} are {', '.join(map(str, found))}")


def _agree(a: TensorType, b: TensorType) -> bool:
    if a.dtype is not b.dtype or a.rank != b.rank:
        return False
    pairs = zip(a.shape or (), b.shape or (), strict=True)
    return all(x == y for x, y in pairs if isinstance(x, int) and isinstance(y, int))


def _name_of(text: str, reader: LineReader) -> str:
    """The name that an id stands for."""
    match = _ID.fullmatch(text)
    assert match is not None
    name = match["name"]
    try:
        return ast.literal_eval(name) if name[0] in "'\"" else name
    except (ValueError, SyntaxError):
        reader.fail("this is no name")
