"""What is exported: names for feeds and fetches, and what they are called in C."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import FeedError, FetchError, GraphError
from ..fetches import Fetches, resolve_feeds
from ..ir.graph import Graph
from ..ir.node import Node, Tensor
from ..ir.types import TensorType
from .names import identifiers

# Functions that every model has: no signature may take their names.
FUNCTIONS = (
    "create", "destroy", "message", "get", "set", "save", "load", "instruction_set", "spec",
    "options", "status", "variable", "size", "hash", "version", "weights_bytes",
)  # fmt: skip
# What stands after a signature's name in the names of its other functions.
SUFFIXES = ("_reserve", "_arena_bytes")


@dataclass(frozen=True)
class Signature:
    """Named feeds and fetches, resolved.

    feeds:   tensors by name, in order, with the types they are fed with
    wanted:  distinct tensors and operations, in the order of the fetches
    outputs: names of the tensors among them, in order
    """

    name: str
    feeds: Mapping[str, Tensor]
    types: Sequence[TensorType]
    wanted: Sequence[Tensor | Node]
    outputs: Sequence[str]


def resolve(graph: Graph, signatures: Mapping[str, Mapping[str, Any]]) -> list[Signature]:
    """Those of `export`, checked. Raises FeedError, FetchError, TypeError or ValueError."""
    if not isinstance(signatures, Mapping) or not signatures:
        raise TypeError(
            'export: signatures must be a dict such as {"predict": {"feeds": {"x": x}, '
            f'"fetches": {{"p": p}}}}}}, got {signatures!r}'
        )
    for name in signatures:
        if not isinstance(name, str) or not name:
            raise TypeError(f"export: the name of a signature must be a string, got {name!r}")
    named = identifiers(signatures, "signatures")
    for name, clean in named.items():
        if clean in FUNCTIONS:
            raise ValueError(
                f"export: every model has a function {clean} already: rename signature {name!r}"
            )
        for suffix in SUFFIXES:
            if clean.endswith(suffix) and clean[: -len(suffix)] in named.values():
                raise ValueError(
                    f"export: signature {clean[: -len(suffix)]!r} has a function {clean} already: "
                    f"rename signature {name!r}"
                )
    return [_resolve(graph, name, given) for name, given in signatures.items()]


def _resolve(graph: Graph, name: str, given: Mapping[str, Any]) -> Signature:
    if not isinstance(given, Mapping) or not set(given) <= {"feeds", "fetches"}:
        raise TypeError(
            f'export: signature {name!r} must be a dict with "feeds" and "fetches", got {given!r}'
        )
    feeds, fetches = given.get("feeds", {}), given.get("fetches", {})
    for what, rows in (("feeds", feeds), ("fetches", fetches)):
        if not isinstance(rows, Mapping) or not all(isinstance(key, str) for key in rows):
            raise TypeError(f"export: {what} of {name!r} must be a dict by name, got {rows!r}")
    if not fetches:
        raise ValueError(f"export: signature {name!r} fetches nothing")
    identifiers([*feeds, *fetches], f"of signature {name!r},")
    try:
        tensors = resolve_feeds(graph, list(feeds.values()))
    except FeedError as error:
        raise FeedError(f"export: signature {name!r}: {error}") from None
    for key, tensor in zip(feeds, tensors, strict=True):
        if tensor.dims is None:
            raise FeedError(
                f"export: signature {name!r}: feed {key!r} ({tensor.name}, defined at "
                f"{graph.location(tensor.node)}) has no rank: declare its shape"
            )
    outputs, wanted = _fetched(graph, name, fetches)
    return Signature(
        name,
        dict(zip(feeds, tensors, strict=True)),
        [tensor.tensor_type for tensor in tensors],
        wanted,
        outputs,
    )


def _fetched(
    graph: Graph, name: str, fetches: Mapping[str, Any]
) -> tuple[list[str], list[Tensor | Node]]:
    outputs: list[str] = []
    wanted: dict[Tensor | Node, str] = {}
    for key, value in fetches.items():
        try:
            found = list(Fetches(graph, value).wanted)
        except GraphError as error:
            raise FetchError(f"export: signature {name!r}: {error}") from None
        if len(found) != 1:
            raise FetchError(
                f"export: signature {name!r}: fetch {key!r} is {value!r}, not one tensor or "
                "operation: give each part a name of its own"
            )
        element = found[0]
        if element in wanted:
            raise FetchError(
                f"export: signature {name!r}: {wanted[element]!r} and {key!r} fetch the same "
                f"{'tensor' if isinstance(element, Tensor) else 'operation'}, {element.name}"
            )
        wanted[element] = key
        if isinstance(element, Tensor):
            outputs.append(key)
    return outputs, list(wanted)


__all__ = ["FUNCTIONS", "SUFFIXES", "Signature", "resolve"]
