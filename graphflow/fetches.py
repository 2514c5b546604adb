"""What may be fetched and fed, and how it is named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from .errors import FeedError, FetchError, GraphError, GraphMismatchError
from .ir.graph import Graph
from .ir.node import Node, Tensor


class IndexedSlicesValue(NamedTuple):
    """The value of a fetched IndexedSlices: rows `values` at `indices` of a tensor of shape
    `dense_shape` (None where it was not given)."""

    values: Any
    indices: Any
    dense_shape: Any


class Fetches:
    """A nest of fetches, resolved: what to compute, and the nest of the results.

    wanted: distinct tensors and operations, in order of first appearance
    tensors: those of them that give a value; an output's number is its position here
    shape: the nest, with a number for each tensor and None for each operation
    """

    def __init__(self, graph: Graph, nest: Any):
        self.graph = graph
        self.wanted: dict[Tensor | Node, None] = {}
        self.tensors: dict[Tensor, int] = {}
        self.shape = self._resolve(nest)

    def _resolve(self, nest: Any) -> Any:
        if nest is None:
            return None
        if isinstance(nest, (list, tuple)):
            items = [self._resolve(item) for item in nest]
            if hasattr(nest, "_fields"):
                return type(nest)(*items)
            return items if isinstance(nest, list) else tuple(items)
        if isinstance(nest, Mapping):
            # Rebuilt as the caller's own type where that is possible, as TensorFlow 1 does.
            items = [(key, self._resolve(value)) for key, value in nest.items()]
            return dict(items) if type(nest) is dict else type(nest)(items)  # type: ignore[call-arg]
        parts = getattr(nest, "_fetch_parts", None)
        if parts is not None:
            kind = getattr(nest, "_fetched_as", IndexedSlicesValue)
            return kind(*(self._resolve(part) for part in parts()))
        element = self._element(nest)
        self.wanted[element] = None
        if isinstance(element, Node):
            return None
        return self.tensors.setdefault(element, len(self.tensors))

    def _element(self, leaf: Any) -> Tensor | Node:
        try:
            element = self.graph.as_graph_element(leaf)
        except GraphMismatchError as error:
            raise FetchError(f"cannot fetch {_text(leaf)}: {error}") from None
        except GraphError as error:
            raise FetchError(f"cannot fetch {_text(leaf)}: {error}") from None
        except (TypeError, ValueError):
            raise FetchError(
                f"cannot fetch {_text(leaf)} of type {type(leaf).__name__}: fetch tensors, "
                "operations, variables, their names, or lists, tuples and dicts of them"
            ) from None
        if isinstance(element, Tensor) and element.dtype.kind == "token":
            return element.node
        return element


def resolve_feeds(graph: Graph, keys: Sequence[Any]) -> list[Tensor]:
    """The tensors that the keys of a feed_dict stand for."""
    tensors: list[Tensor] = []
    for key in keys:
        try:
            element = graph.as_graph_element(key)
        except GraphMismatchError as error:
            raise FeedError(
                f"cannot feed {_text(key)}: it belongs to another graph than the session's"
                f"{_near(graph, key)}"
            ) from error
        except (GraphError, TypeError, ValueError) as error:
            raise FeedError(
                f"cannot use {_text(key)} of type {type(key).__name__} as the key of a feed: "
                f"{error}"
            ) from None
        if isinstance(element, Node):
            if len(element.outputs) != 1 or element.outputs[0].dtype.kind == "token":
                raise FeedError(f"cannot feed the operation {element.name!r}: feed a tensor")
            element = element.outputs[0]
        if element in tensors:
            raise FeedError(f"{element.name} is fed twice in one feed_dict")
        tensors.append(element)
    return tensors


def _near(graph: Graph, key: Any) -> str:
    """A hint at the tensor of the right graph that has the same name."""
    name = getattr(key, "name", None)
    try:
        twin = graph.as_graph_element(name) if isinstance(name, str) else None
    except (GraphError, TypeError, ValueError):
        twin = None
    if twin is None:
        return ""
    line = graph.location(twin.op if isinstance(twin, Tensor) else twin)
    return f"\n  the session's graph has a tensor of that name, defined at {line}"


def _text(leaf: Any) -> str:
    name = getattr(leaf, "name", None)
    return name if isinstance(name, str) else repr(leaf)[:80]
