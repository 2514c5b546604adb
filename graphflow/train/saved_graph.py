"""Saved graphs: one file of text that holds a graph, its variables, collections and signatures.

    file       = "graphflow graph 1" graph variables collections signatures pool
    variables  = "variables {" @w "reads" id "starts" tensor "assigned" id
                               ["trainable"] ["constrained"] … "}"
    collections = "collections {" "name" "=" [item, …] … "}"
    signatures = "signatures {" "name" ["feeds" named, …] ["fetches" named, …] … "}"
    named      = "name" "=" item
    item       = "tensor" tensor | "operation" id | "variable" @w | "state" @w | value
    pool       = "pool {" "digest" dtype "[" size, … "]" base64 … "}"

One line an entry. What a graph is, is in ir/graph_text.py. `reads` is the operation with the
variable's own name, `starts` its initial value, `assigned` its initializer. The pool holds the
arrays that are too long for a line that people read, as bytes in little-endian order.
"""

from __future__ import annotations

import base64
import binascii
import os
import warnings
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..dtypes import as_dtype
from ..errors import DataLossError, GraphError, NotFoundError
from ..ir.graph import Graph
from ..ir.graph_reader import GraphParser
from ..ir.graph_text import GraphPrinter
from ..ir.node import Node, Tensor
from ..ir.values_text import LineReader, TextError
from ..ir.variable import VariableHandle
from ..ops.random import RANDOM_STATES, SESSION_SEED
from ..ops.variables import Variable
from .checkpoint import write_atomically
from .signatures import SIGNATURES, Signatures, checked_signatures, get_signatures

__all__ = ["Imported", "SavedGraph", "UnsavableGraphError"]

_HEADER = "graphflow graph"
_VERSION = 1


class UnsavableGraphError(GraphError, ValueError):
    """A graph holds what no file can: calls of Python functions."""


@dataclass(frozen=True)
class Imported:
    """What reading a saved graph added to a graph.

    variables: by the names that they have in checkpoints of the graph that was saved
    signatures: name -> {"feeds": {name: tensor}, "fetches": {name: tensor or operation}}
    """

    variables: dict[str, Variable]
    signatures: Signatures


class SavedGraph:
    """The text of a saved graph: made of a graph, or read from a file."""

    def __init__(self, content: bytes, source: str = "the saved graph"):
        self.content = content
        self.source = source

    @classmethod
    def of(
        cls,
        graph: Graph,
        collections: Collection | None = None,
        signatures: Mapping[str, Any] | None = None,
    ) -> SavedGraph:
        """The text of a graph with those of its collections (None: all).

        signatures: those of the graph if None; see `signatures.py`.

        Raises UnsavableGraphError naming the operations that call Python functions.
        """
        return cls(_Writer(graph).content(collections, signatures))

    @classmethod
    def read(cls, filename) -> SavedGraph:
        """The content of a file. Raises NotFoundError where there is none."""
        path = os.fspath(filename)
        try:
            with open(path, "rb") as file:
                return cls(file.read(), path)
        except (FileNotFoundError, IsADirectoryError):
            raise NotFoundError(f"there is no saved graph {path}") from None

    def write(self, filename) -> None:
        """Writes the file, whole or not at all."""

        def write(temporary: str) -> None:
            with open(temporary, "wb") as file:
                file.write(self.content)

        write_atomically(filename, write)

    def load(self, graph: Graph, scope: str | None = None) -> Imported:
        """Adds everything to `graph`, with `scope` before its names.

        Raises DataLossError where the text is truncated, damaged or not a saved graph, and
        GraphMismatchError where the graph has operations of these names; it is then unchanged.
        """
        found = _version(self.content)
        if found is not None and found != _VERSION:
            raise DataLossError(
                f"{self.source} has format {found} of saved graphs; this graphflow reads {_VERSION}"
            )
        try:
            return _Reader(self.content, graph, scope).imported()
        except TextError as error:
            raise DataLossError(
                f"{self.source} is truncated, damaged or not a saved graph: {error}"
            ) from None


# -- writing -------------------------------------------------------------------------------------


class _Writer:
    def __init__(self, graph: Graph):
        self.graph = graph
        self.printer = GraphPrinter(graph)

    def content(self, collections, signatures) -> bytes:
        graph, printer = self.graph, self.printer
        if graph.body is not None:
            raise GraphError(f"the graph cannot be saved inside {graph.body.name}")
        if signatures is None:
            signatures = get_signatures(graph)
        # The graph comes first and is printed last: it declares the variables that it is told of.
        tables = [
            *self._table("variables", self._variables()),
            *self._table("collections", self._collections(collections)),
            *self._table("signatures", self._signatures(checked_signatures(graph, signatures))),
        ]
        text = printer.text()
        self._check()
        pool = self._table("pool", self._pool())
        return "\n".join([f"{_HEADER} {_VERSION}", text.rstrip(), *tables, *pool, ""]).encode()

    def _check(self) -> None:
        if not self.printer.unreadable:
            return
        lines = []
        for node in self.printer.unreadable[:8]:
            objects = [value for value in node.attrs.values() if callable(value)]
            what = f" calls {objects[0]}" if objects else ""
            lines.append(f"\n  {node.name} ({node.op.name}){what}, at {self.graph.location(node)}")
        more = len(self.printer.unreadable) - len(lines)
        raise UnsavableGraphError(
            "the graph cannot be saved, since a file does not hold Python functions:"
            + "".join(lines)
            + (f"\n  and {more} more" if more else "")
        )

    @staticmethod
    def _table(name: str, rows: Iterator[str]) -> Iterator[str]:
        yield f"{name} {{"
        for row in rows:
            yield f"  {row}"
        yield "}"

    def _variables(self) -> Iterator[str]:
        printer = self.printer
        for handle, variable in self.graph.variables.items():
            row = f"{printer.values.variable(handle)} reads {printer.node(variable.op)}"
            row += f" starts {printer.tensor(variable.initial_value)}"
            row += f" assigned {printer.node(variable.initializer)}"
            row += " trainable" if variable.trainable else ""
            yield row + (" constrained" if variable.constraint is not None else "")

    def _collections(self, wanted: Collection | None) -> Iterator[str]:
        for name, items in self.graph.collections.items():
            chosen = wanted is None or name in wanted or name == RANDOM_STATES
            if name == SIGNATURES or not chosen:
                continue
            if not isinstance(name, str):
                _warn(f"collection {name!r} is not saved: its name is not a string")
                continue
            texts = [(item, self._item(item)) for item in items]
            for item, text in texts:
                if text is None:
                    _warn(f"collection {name!r} is saved without {item!r}, which has no text")
            known = ", ".join(text for _, text in texts if text is not None)
            yield f"{name!r} ={' ' if known else ''}{known}"

    def _signatures(self, signatures: Signatures) -> Iterator[str]:
        for name, signature in signatures.items():
            row = repr(name)
            for word in ("feeds", "fetches"):
                entries = [f"{k!r} = {self._item(v)}" for k, v in signature[word].items()]
                row += f" {word} {', '.join(entries)}" if entries else ""
            yield row

    def _item(self, item: Any) -> str | None:
        """The text of an item of a collection; None where it has none."""
        printer = self.printer
        if isinstance(item, Tensor):
            return f"tensor {printer.tensor(item)}" if printer.knows(item.node) else None
        if isinstance(item, Node):
            return f"operation {printer.node(item)}" if printer.knows(item) else None
        if isinstance(item, Variable):
            known = item.handle in self.graph.variables
            return f"variable {printer.values.variable(item.handle)}" if known else None
        if isinstance(item, VariableHandle):
            return f"state {printer.values.variable(item)}"
        objects = len(printer.values.objects)
        text = printer.values.value(item)
        return text if len(printer.values.objects) == objects else None

    def _pool(self) -> Iterator[str]:
        for digest, array in self.printer.values.pool.items():
            data = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
            shape = ",".join(map(str, array.shape))
            name = as_dtype(array.dtype).name
            yield f'"{digest}" {name}[{shape}] {base64.b64encode(data).decode()}'


def _warn(message: str) -> None:
    warnings.warn(f"saving the graph: {message}", RuntimeWarning, stacklevel=2)


# -- reading -------------------------------------------------------------------------------------


class _Reader:
    def __init__(self, content: bytes, graph: Graph, scope: str | None):
        if graph.body is not None:
            raise GraphError(f"a saved graph cannot be read inside {graph.body.name}")
        if graph.finalized:
            raise GraphError("the graph is finalized, nothing can be added")
        self.graph = graph
        prefix = graph.current_scope
        if scope:
            prefix = graph.unique_name(scope, mark_as_used=False) + "/"
        lines, pool = _lines(content)
        seeds = [h for h in graph.collections.get(RANDOM_STATES, ()) if h.name == SESSION_SEED]
        # A session gives the seed to one variable of each graph, whatever the scope.
        known = {h.name: h for h in seeds}
        self.parser = GraphParser(lines, pool, graph, prefix, known)
        self._variables: dict[VariableHandle, Variable] = {}

    def imported(self) -> Imported:
        parser, graph = self.parser, self.graph
        parser.read()
        by_name: dict[str, Variable] = {}
        for line in self._table("variables"):
            name, variable = self._variable(line)
            self._variables[variable.handle] = by_name[name] = variable
        collections = [self._collection(line) for line in self._table("collections")]
        signatures = dict(self._signature(line) for line in self._table("signatures"))
        parser.commit()
        graph.variables.update(self._variables)
        for name, items in collections:
            mine = graph.get_collection_ref(name)
            mine += [item for item in items if name != RANDOM_STATES or item not in mine]
        if signatures:
            graph.get_collection_ref(SIGNATURES)[:] = [{**get_signatures(graph), **signatures}]
        return Imported(by_name, signatures)

    def _table(self, name: str) -> Iterator[LineReader]:
        reader = self.parser.next_line()
        if not reader.take(name) or not reader.take("{"):
            reader.fail(f"'{name} {{' was expected")
        return self.parser.block()

    def _variable(self, reader: LineReader) -> tuple[str, Variable]:
        parser = self.parser
        token = reader.peek().text
        handle = self._handle(reader)
        reader.expect("reads")
        element = parser.tensor(reader)
        reader.expect("starts")
        initial = parser.tensor(reader)
        reader.expect("assigned")
        initializer = parser.node(reader)
        trainable, constrained = reader.take("trainable"), reader.take("constrained")
        reader.end()
        constraint = _LostConstraint(handle.name) if constrained else None
        return token[1:], Variable.restored(
            handle, element, initial, initializer, trainable, constraint
        )

    def _handle(self, reader: LineReader) -> VariableHandle:
        handle = self.parser.values.value(reader)
        if not isinstance(handle, VariableHandle):
            reader.fail("the name of a variable, such as @w, was expected")
        return handle

    def _collection(self, reader: LineReader) -> tuple[str, list]:
        name = self.parser.string(reader)
        reader.expect("=")
        items = []
        if reader.peek().kind != "end":
            items = list(self.parser.several(reader, self._item))
        reader.end()
        return name, items

    def _signature(self, reader: LineReader) -> tuple[str, dict[str, dict[str, Any]]]:
        def named(reader: LineReader) -> tuple[str, Any]:
            name = self.parser.string(reader)
            reader.expect("=")
            return name, self._item(reader)

        def listed(word: str) -> dict[str, Any]:
            return dict(self.parser.several(reader, named)) if reader.take(word) else {}

        name = self.parser.string(reader)
        signature = {"feeds": listed("feeds"), "fetches": listed("fetches")}
        reader.end()
        return name, signature

    def _item(self, reader: LineReader) -> Any:
        if reader.take("tensor"):
            return self.parser.tensor(reader)
        if reader.take("operation"):
            return self.parser.node(reader)
        if reader.take("variable"):
            handle = self._handle(reader)
            if handle not in self._variables:
                reader.fail(f"@{handle} is not among the variables")
            return self._variables[handle]
        if reader.take("state"):
            return self._handle(reader)
        return self.parser.values.value(reader)


class _LostConstraint:
    """What is left of a variable's constraint: an optimizer that asks for it says so."""

    def __init__(self, name: str):
        self.name = name

    def __call__(self, value):
        raise GraphError(
            f"the constraint of variable {self.name} is a Python function, which a saved graph "
            "does not hold: define the optimizer's step before the graph is saved"
        )


def _version(content: bytes) -> int | None:
    """The format that the first line states; None where it is no such line."""
    first = content[:100].partition(b"\n")[0].decode(errors="replace")
    name, _, number = first.rpartition(" ")
    return int(number) if name == _HEADER and number.isdecimal() else None


def _lines(content: bytes) -> tuple[Iterator[LineReader], dict[str, np.ndarray]]:
    """The lines between the header and the pool, and the pool."""
    rows = content.split(b"\n")
    if _version(content) is None:
        raise TextError(f"line 1: '{_HEADER} {_VERSION}' was expected")
    end = len(rows) - 1
    while end and not rows[end].strip():
        end -= 1
    start = end - 1
    while start > 0 and rows[start] != b"pool {":
        start -= 1
    if rows[end] != b"}" or start <= 0:
        raise TextError("the text ends too early")
    pool = dict(_array(rows[n], n + 1) for n in range(start + 1, end))
    try:
        texts = [row.decode() for row in rows[1:start]]
    except UnicodeDecodeError as error:
        raise TextError(f"it is not text ({error.reason})") from None
    return iter([LineReader(t, n) for n, t in enumerate(texts, 2) if t.strip()]), pool


def _array(row: bytes, number: int) -> tuple[str, np.ndarray]:
    head, _, data = row.strip().rpartition(b" ")
    try:
        digest, _, type_ = head.decode().partition(" ")
        name, _, dims = type_.rstrip("]").partition("[")
        shape = tuple(int(dim) for dim in dims.split(",") if dim)
        dtype = as_dtype(name).numpy.newbyteorder("<")
        array = np.frombuffer(base64.b64decode(data, validate=True), dtype).reshape(shape)
    except (ValueError, TypeError, UnicodeDecodeError, binascii.Error):
        raise TextError(f"line {number}: an array of the pool is damaged") from None
    return digest.strip('"'), array.astype(array.dtype.newbyteorder("="), copy=False)
