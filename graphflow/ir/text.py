"""Programs as text (`.gf`), and back: what prints, parses. Users' graphs: graph_text.py.

    program  = "program {" variable* node* footer* "}"
    variable = "variable" @name ":" type ["=" value] [origin]
    node     = id, … [":" type, …] "=" op ["#" serial] "(" id, … [attr "=" value, …] ")"
               ["after" id, …] ["{" region* "}"] [origin]
    region   = name "{" node* "parameters" id, … "results" id, … "effects" id, … "}"
    footer   = "feeds" id, … | "bind" type, … | "fetches" id, … | "update" @variable "=" id
             | "effects" id, … | "require" size "==" size ["broadcast"] [origin]
    origin   = ";" name ["(" op ")"] "at" file ":" line ["in" function], separated by "|"

One node a line. Values of attributes are in values_text.py. An id stands for a tensor, or for a
node that has none. Two prints of equal graphs are the same bytes in every process.

    %3: float32[s0,100] = add(%1, %2) ; w/add at model.py:12
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..sizes import Dim
from .graph import Location
from .node import Attrs, Node, Region, Tensor, topological
from .op import Op, defined
from .program import Interner, Origin, Program
from .types import Constraint
from .values_text import LineReader, TextError, ValuePrinter, ValueReader
from .variable import VariableHandle

__all__ = [
    "TextError",
    "parse_program",
    "pool_of",
    "print_program",
    "read_program",
    "write_program",
]


# -- printing ------------------------------------------------------------------------------------


def print_program(program: Program, origins: bool = True) -> str:
    """The text of a program; `origins` adds the definitions that each node comes from."""
    return _Printer(origins).program(program)


def pool_of(program: Program) -> dict[str, np.ndarray]:
    """The arrays that do not fit into the text, by digest."""
    printer = _Printer(False)
    printer.program(program)
    return printer.values.pool


def write_program(program: Program, path: str | Path) -> None:
    """Writes the text to `path`, and the arrays beside it to `path`.pool/<digest>.npy."""
    path = Path(path)
    path.write_text(print_program(program))
    pool = pool_of(program)
    if pool:
        folder = path.with_name(path.name + ".pool")
        folder.mkdir(exist_ok=True)
        for digest, array in pool.items():
            np.save(folder / f"{digest}.npy", array, allow_pickle=False)


def read_program(path: str | Path) -> Program:
    """Reads what `write_program` wrote; TextError where it is not that."""
    path = Path(path)
    folder = path.with_name(path.name + ".pool")
    pool = {f.stem: np.load(f, allow_pickle=False) for f in sorted(folder.glob("*.npy"))}
    return parse_program(path.read_text(), pool)


class _Printer:
    def __init__(self, origins: bool):
        self.values = ValuePrinter()
        self.origins = origins
        self.lines: list[str] = []
        self.ids: dict[Tensor | Node, str] = {}
        self.count = 0

    def program(self, program: Program) -> str:
        roots = [t.node for t in (*program.feeds, *program.roots())]
        nodes = topological([*roots, *program.effects])
        self._nodes(nodes, "  ", program.origin)
        ids = self._ids
        footer = [f"  feeds {ids(program.feeds)}"] if program.feeds else []
        if program.feed_types:
            footer.append(f"  bind {', '.join(map(self.values.type, program.feed_types))}")
        if program.fetches:
            footer.append(f"  fetches {ids(program.fetches)}")
        for variable, tensor in program.updates.items():
            footer.append(f"  update {self.values.variable(variable)} = {self.ids[tensor]}")
        if program.effects:
            footer.append(f"  effects {ids(program.effects)}")
        for constraint, origins in program.constraints:
            kind = " broadcast" if constraint.broadcast else ""
            a, b = self.values.size(constraint.a), self.values.size(constraint.b)
            footer.append(f"  require {a} == {b}{kind}{self._origins(origins, '')}")
        variables = [self._variable(handle) for handle in self.values.variables]
        return "\n".join(["program {", *variables, *self.lines, *footer, "}"]) + "\n"

    def _variable(self, handle: VariableHandle) -> str:
        initial = f" = {self.values.value(handle.initial)}" if handle.initial is not None else ""
        origin = self._origins((Origin(handle.name, handle.location, "variable"),), "variable")
        type_ = self.values.type(handle.tensor_type)
        return f"  variable {self.values.variable(handle)}: {type_}{initial}{origin}"

    def _nodes(self, nodes: Iterable[Node], indent: str, origin: Callable) -> None:
        for node in nodes:
            self._node(node, indent, origin)

    def _node(self, node: Node, indent: str, origin: Callable) -> None:
        inner = len(self.lines)
        for region in node.regions:
            self._region(region, indent + "  ", origin)
        body = self.lines[inner:]
        del self.lines[inner:]
        results: list[str] = []
        for tensor in node.outputs:
            results.append(self._new_id(tensor))
        if not results:
            results.append(self._new_id(node))
        self.ids[node] = results[0]
        head = ", ".join(results)
        if node.outputs:
            head += ": " + ", ".join(self.values.type(t) for t in node.types)
        arguments = [self.ids[t] for t in node.inputs]
        for key, value in node.attrs.items():
            if not (node.op.name == "feed" and key == "type"):
                arguments.append(f"{key}={self.values.value(value)}")
        serial = f"#{node.serial}" if node.serial else ""
        line = f"{indent}{head} = {node.op.name}{serial}({', '.join(arguments)})"
        if node.controls:
            line += f" after {self._ids(node.controls)}"
        if body:
            line += " {"
        self.lines.append(line + self._origins(origin(node), node.op.name))
        if body:
            self.lines += [*body, indent + "}"]

    def _region(self, region: Region, indent: str, origin: Callable) -> None:
        saved = dict(self.ids)
        self.lines.append(f"{indent}{region.name} {{")
        self._nodes(region.nodes(), indent + "  ", origin)
        for word, items in (
            ("parameters", region.parameters),
            ("results", region.results),
            ("effects", region.effects),
        ):
            if items:
                self.lines.append(f"{indent}  {word} {self._ids(items)}")
        self.lines.append(indent + "}")
        self.ids = saved

    def _new_id(self, key: Tensor | Node) -> str:
        self.ids[key] = name = f"%{self.count}"
        self.count += 1
        return name

    def _ids(self, items: Iterable[Tensor | Node]) -> str:
        return ", ".join(self.ids[item] for item in items)

    def _origins(self, origins: Sequence[Origin], op: str) -> str:
        if not self.origins or not origins:
            return ""
        return " ; " + " | ".join(_origin_text(o, op) for o in origins)


def _origin_text(origin: Origin, op: str) -> str:
    place = origin.location
    shown = "" if origin.op == op else f" ({origin.op})"
    function = f" in {place.function}" if place.function not in ("", "<module>") else ""
    return f"{origin.name}{shown} at {place.file}:{place.line}{function}"


# -- reading -------------------------------------------------------------------------------------


def parse_program(text: str, pool: Mapping[str, np.ndarray] | None = None) -> Program:
    """The program a text describes; `pool` has the arrays that are not in the text.

    Types are taken from the text, not inferred: `verify` says whether they are right. Raises
    TextError, with the line, for what is no program or holds Python objects.
    """
    return _Parser(text, pool or {}).program()


_ORIGIN = re.compile(
    r"(?P<name>.*?)(?: \((?P<op>\w+)\))? at (?P<file>.*?):(?P<line>\d+)(?: in (?P<function>.+))?"
)


class _Parser:
    def __init__(self, text: str, pool: Mapping[str, np.ndarray]):
        self.values = ValueReader(pool)
        self.tensors: dict[str, Tensor] = {}
        self.nodes: dict[str, Node] = {}
        self.interner = Interner()
        self._ops: Mapping[str, Op] = defined()
        self._lines = [
            LineReader(line, number)
            for number, line in enumerate(text.splitlines(), 1)
            if line.strip()
        ]
        self._position = 0

    def _next(self) -> LineReader:
        if self._position == len(self._lines):
            raise TextError("the text ends before the graph does")
        self._position += 1
        return self._lines[self._position - 1]

    def program(self) -> Program:
        self._header("program")
        parts: dict[str, Any] = {"feeds": (), "bind": (), "fetches": (), "effects": ()}
        updates: dict[VariableHandle, Tensor] = {}
        constraints: list[tuple[Constraint, tuple[Origin, ...]]] = []
        for reader in self._body():
            word = reader.peek().text
            if word in ("feeds", "fetches"):
                reader.next()
                parts[word] = tuple(self.tensors[i] for i in self._ids(reader))
            elif word == "effects":
                reader.next()
                parts[word] = tuple(self.nodes[i] for i in self._ids(reader))
            elif word == "bind":
                reader.next()
                parts[word] = tuple(self._list(reader, self.values.type))
            elif word == "update":
                reader.next()
                variable = self.values.value(reader)
                reader.expect("=")
                updates[variable] = self.tensors[self._id(reader)]
            elif word == "require":
                reader.next()
                constraints.append(self._constraint(reader))
            else:
                self._statement(reader)
        return Program(
            parts["feeds"],
            parts["fetches"],
            updates,
            parts["effects"],
            self.interner,
            tuple(constraints),
            parts["bind"],
        )

    def _header(self, kind: str) -> None:
        reader = self._next()
        if not reader.take(kind) or not reader.take("{"):
            reader.fail(f"'{kind} {{' was expected")

    def _body(self) -> Iterator[LineReader]:
        while True:
            reader = self._next()
            if reader.peek().text == "}":
                return
            yield reader

    def _statement(self, reader: LineReader) -> None:
        if reader.take("variable"):
            self._variable(reader)
        else:
            self._node(reader)

    def _variable(self, reader: LineReader) -> None:
        name = reader.next().text[1:]
        reader.expect(":")
        type_ = self.values.type(reader)
        initial = self.values.value(reader) if reader.take("=") else None
        origins = self._origins(reader, "variable")
        location = origins[0].location if origins else Location("<unknown>", 0, "")
        own = origins[0].name if origins else name
        self.values.variables[name] = VariableHandle(
            own, type_.dtype, type_.shape or (), location, initial
        )

    def _node(self, reader: LineReader) -> None:
        ids = list(self._ids(reader))
        types = tuple(self._list(reader, self.values.type)) if reader.take(":") else ()
        reader.expect("=")
        name = reader.next().text
        op = self._ops.get(name)
        if op is None:
            reader.fail(f"there is no operation {name!r}")
        serial = int(reader.next().text) if reader.take("#") else 0
        inputs, attrs = self.values.arguments(reader, self._tensor)
        if name == "feed":
            attrs["type"] = types[0]
        controls: tuple[Node, ...] = ()
        if reader.take("after"):
            controls = tuple(self.nodes[i] for i in self._ids(reader))
        braces = reader.take("{")
        origins = self._origins(reader, name)
        regions = tuple(self._regions()) if braces else ()
        with self.interner.for_origin(origins):
            node = self.interner.create(
                op, tuple(inputs), Attrs(attrs), regions, None, serial, controls, types
            )
        if len(ids) != max(len(types), 1):
            reader.fail(f"{len(ids)} ids for {len(types)} results")
        self.tensors.update(zip(ids, node.outputs, strict=False))
        for i in ids:
            self.nodes[i] = node

    def _regions(self) -> Iterator[Region]:
        for reader in self._body():
            name = reader.next().text
            reader.expect("{")
            parts: dict[str, tuple] = {"parameters": (), "results": (), "effects": ()}
            for inner in self._body():
                word = inner.peek().text
                if word in parts:
                    inner.next()
                    table: Mapping[str, Any] = self.nodes if word == "effects" else self.tensors
                    parts[word] = tuple(table[i] for i in self._ids(inner))
                else:
                    self._statement(inner)
            yield Region(parts["parameters"], parts["results"], parts["effects"], name)

    def _constraint(self, reader: LineReader) -> tuple[Constraint, tuple[Origin, ...]]:
        a: Dim = self.values.size(reader)
        reader.expect("==")
        b: Dim = self.values.size(reader)
        broadcast = reader.take("broadcast")
        return Constraint(a, b, broadcast), self._origins(reader, "")

    def _tensor(self, reader: LineReader) -> Tensor:
        name = self._id(reader)
        if name not in self.tensors:
            reader.fail(f"{name} has no value yet")
        return self.tensors[name]

    def _id(self, reader: LineReader) -> str:
        token = reader.next()
        if token.kind != "id":
            reader.fail(f"an id such as %0 was expected, not {token.text!r}")
        return token.text

    def _ids(self, reader: LineReader) -> Iterator[str]:
        return self._list(reader, self._id)

    def _list(self, reader: LineReader, read: Callable) -> Iterator[Any]:
        yield read(reader)
        while reader.take(","):
            yield read(reader)

    def _origins(self, reader: LineReader, op: str) -> tuple[Origin, ...]:
        if not reader.take(";"):
            if reader.peek().kind != "end":
                reader.fail("the line should end here")
            return ()
        origins = []
        for text in reader.rest().split(" | "):
            match = _ORIGIN.fullmatch(text)
            if match is None:
                reader.fail("this is no origin")
            location = Location(match["file"], int(match["line"]), match["function"] or "<module>")
            origins.append(Origin(match["name"], location, match["op"] or op))
        return tuple(origins)
