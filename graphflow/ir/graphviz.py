"""Graphs as Graphviz text: an ellipse for each leaf, a box for each operation, an edge for each
tensor used (labelled with its type), dashed for control dependencies.

    dot -Tsvg step.dot -o step.svg
"""

from __future__ import annotations

from collections.abc import Iterable

from .graph import Graph
from .node import Node, topological
from .op import EFFECT, LEAF, STATE
from .program import Program
from .values_text import ValuePrinter

_SHAPES = {LEAF: "ellipse", STATE: "cylinder", EFFECT: "octagon"}


def to_dot(graph: Graph | Program) -> str:
    """The Graphviz text of a user's graph or of a Program."""
    if isinstance(graph, Program):
        roots = [t.node for t in (*graph.feeds, *graph.roots())]
        nodes = topological([*roots, *graph.effects])
    else:
        nodes = graph.nodes
    values = ValuePrinter()
    ids = {node: f"n{number}" for number, node in enumerate(nodes)}
    lines = ["digraph graph_ {" if isinstance(graph, Graph) else "digraph program {"]
    lines += ['  node [fontname="sans-serif", fontsize=10];', "  edge [fontsize=8];"]
    for node in nodes:
        lines.append(_node(node, ids[node], _title(graph, node), values))
    for node in nodes:
        for tensor in node.inputs:
            label = _quoted(values.type(tensor.tensor_type))
            lines.append(f"  {ids[tensor.node]} -> {ids[node]} [label={label}];")
        for control in node.controls:
            lines.append(f"  {ids[control]} -> {ids[node]} [style=dashed];")
    if isinstance(graph, Program):
        lines += _results(graph, ids)
    return "\n".join([*lines, "}"]) + "\n"


def _title(graph: Graph | Program, node: Node) -> str:
    if isinstance(graph, Graph):
        return node.name
    origins = graph.origin(node)
    return origins[0].name if origins else ""


def _node(node: Node, name: str, title: str, values: ValuePrinter) -> str:
    lines = [node.op.name if not title else f"{node.op.name}: {title}"]
    lines += [
        f"{key} = {_short(values.value(value))}"
        for key, value in node.attrs.items()
        if not (node.op.name == "feed" and key == "type")
    ]
    shape = _SHAPES.get(node.op.kind, "box")
    return f"  {name} [shape={shape}, label={_quoted(chr(10).join(lines))}];"


def _results(program: Program, ids: dict[Node, str]) -> Iterable[str]:
    for number, tensor in enumerate(program.fetches):
        yield f"  fetch{number} [shape=note, label={_quoted(f'fetch {number}')}];"
        yield f"  {ids[tensor.node]} -> fetch{number};"
    for number, (variable, tensor) in enumerate(program.updates.items()):
        yield f"  update{number} [shape=cylinder, label={_quoted(f'{variable} after')}];"
        yield f"  {ids[tensor.node]} -> update{number};"


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
