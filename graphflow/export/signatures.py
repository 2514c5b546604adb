"""What is exported: names for feeds and fetches, and what they are called in C."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import FeedError, FetchError, GraphError
from ..fetches import Fetches, resolve_feeds
from ..ir.graph import Graph
from ..ir.node import Node, Tensor
from ..ir.types import TensorType

# Words that are no names in C99 or C++17, and those that the generated headers use themselves.
_WORDS = """
    auto break case char const continue default do double else enum extern float for goto if
    inline int long register restrict return short signed sizeof static struct switch typedef union
    unsigned void volatile while alignas alignof and and_eq asm bitand bitor bool catch char8_t
    char16_t char32_t class compl concept const_cast consteval constexpr constinit co_await
    co_return co_yield decltype delete dynamic_cast explicit export false friend mutable namespace
    new noexcept not not_eq nullptr operator or or_eq private protected public reinterpret_cast
    requires static_assert static_cast template this thread_local throw true try typeid typename
    using virtual wchar_t xor xor_eq model options NULL"""
_TAKEN = frozenset(_WORDS.split())
# Functions that every model has: no signature may take their names.
FUNCTIONS = (
    "create", "destroy", "message", "get", "set", "save", "load", "instruction_set", "spec",
    "options", "status", "variable", "size",
)  # fmt: skip


def identifier(name: str) -> str:
    """The C identifier that stands for a name: "dense/kernel:0" is dense_kernel_0."""
    clean = re.sub(r"\W", "_", name, flags=re.ASCII)
    if not clean or clean[0].isdigit():
        clean = f"_{clean}"
    return f"{clean}_" if clean in _TAKEN else clean


def identifiers(names: Iterable[str], what: str) -> dict[str, str]:
    """The identifier of each name; ValueError where two names have the same one."""
    found: dict[str, str] = {}
    owners: dict[str, str] = {}
    for name in names:
        clean = identifier(name)
        if clean in owners and owners[clean] != name:
            raise ValueError(
                f"export: {what} {owners[clean]!r} and {name!r} are both called {clean} in C: "
                "rename one of them"
            )
        owners[clean] = name
        found[name] = clean
    return found


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
    """The signatures of `export`. Raises FeedError, FetchError, TypeError or ValueError."""
    if not isinstance(signatures, Mapping) or not signatures:
        raise TypeError(
            'export: signatures must be a dict such as {"predict": {"feeds": {"x": x}, '
            f'"fetches": {{"p": p}}}}}}, got {signatures!r}'
        )
    named = identifiers(signatures, "signatures")
    for name, clean in named.items():
        if clean in FUNCTIONS:
            raise ValueError(
                f"export: every model has a function {clean} already: rename signature {name!r}"
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


__all__ = ["Signature", "identifier", "identifiers", "resolve"]
