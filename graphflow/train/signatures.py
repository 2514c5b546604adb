"""Signatures: names for what a graph is asked for, such as "predict", with named feeds and fetches.

    {"predict": {"feeds": {"x": x}, "fetches": {"p": p}}, "train_step": {…}}

They are kept with the graph, saved with it, and what `graphflow.export` takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import GraphMismatchError, NotFoundError
from ..ir.graph import Graph, get_default_graph
from ..ir.node import Node, Tensor
from ..ops.variables import Variable

__all__ = ["Signatures", "get_signatures", "set_signatures"]

SIGNATURES = "signatures"  # collection: one mapping
Signatures = dict[str, dict[str, dict[str, Any]]]


def get_signatures(graph: Graph | None = None) -> Signatures:
    """The signatures of a graph (None: the current one): those that were set, or saved with it."""
    graph = get_default_graph() if graph is None else graph
    found = graph.get_collection(SIGNATURES)
    return dict(found[0]) if found else {}


def set_signatures(signatures: Mapping[str, Any], graph: Graph | None = None) -> None:
    """Keeps signatures with a graph (None: the current one), replacing those it has.

    signatures: name -> {"feeds": {name: tensor}, "fetches": {name: tensor, variable or operation}};
        tensors and operations may be given by their names, such as "x:0" and "train".

    Raises TypeError, ValueError or NotFoundError for what is no signature of this graph.
    """
    graph = get_default_graph() if graph is None else graph
    graph.get_collection_ref(SIGNATURES)[:] = [checked_signatures(graph, signatures)]


def checked_signatures(graph: Graph, signatures: Mapping[str, Any]) -> Signatures:
    """The signatures with the graph's own tensors and operations in place of names."""
    result: Signatures = {}
    for name, signature in signatures.items():
        what = f"signature {name!r}"
        if not isinstance(name, str):
            raise TypeError(f"{what}: its name must be a string")
        if not isinstance(signature, Mapping) or not signature.keys() <= {"feeds", "fetches"}:
            raise TypeError(
                f'{what} must be {{"feeds": {{name: tensor}}, "fetches": {{name: tensor}}}}, '
                f"got {signature!r}"
            )
        feeds, fetches = signature.get("feeds") or {}, signature.get("fetches") or {}
        if not fetches:
            raise ValueError(f"{what} has no fetches")
        result[name] = {
            "feeds": {k: _feed(graph, f"{what}, feed {k!r}", v) for k, v in feeds.items()},
            "fetches": {k: element(graph, f"{what}, fetch {k!r}", v) for k, v in fetches.items()},
        }
    return result


def _feed(graph: Graph, what: str, value: Any) -> Tensor:
    found = element(graph, what, value)
    if not isinstance(found, Tensor):
        raise TypeError(f"{what} is the operation {found.name}, which cannot be fed")
    return found


def element(graph: Graph, what: str, value: Any) -> Tensor | Node:
    """The tensor or operation that a value, or a name such as "x:0" or "train", stands for. The
    name of an operation that has results is its first one."""
    if isinstance(value, str):
        try:
            found = graph.as_graph_element(value)
        except (NotFoundError, ValueError) as error:
            raise type(error)(f"{what}: {error}") from None
        if isinstance(found, Node) and found.outputs and found.types[0].dtype.kind != "token":
            return found.outputs[0]
        return found
    if isinstance(value, Variable):
        value = value._as_graph_element()
    if not isinstance(value, (Tensor, Node)):
        raise TypeError(f"{what} is {value!r}, not a tensor or an operation")
    if value.graph is not graph:
        raise GraphMismatchError(f"{what}: {value.name} belongs to another graph")
    return value
