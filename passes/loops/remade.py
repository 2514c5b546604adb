"""Loops and branches that were made once more with more results: what gradients go back over.

    y = while(x);  y', r = while(x) with residuals   -->   y, r = while(x)

A run that needs several of them runs one, which gives what all of them give.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...ir.graph import Graph
from ...ir.node import Attrs, Node, Region, Tensor


@dataclass(frozen=True)
class Together:
    """Nodes of which some stand for several.

    nodes: in order, with one for all that were made of the same loop
    stands_for: what became of a node that is not among them any more
    outputs: of its tensors
    first: of a node that stands for others, the one whose name and line it has
    """

    nodes: list[Node]
    stands_for: Mapping[Node, Node]
    outputs: Mapping[Tensor, Tensor]
    first: Mapping[Node, Node]

    def needs(self, nodes) -> list[Node]:
        return [self.stands_for.get(node, node) for node in nodes]


def together(graph: Graph, nodes: Sequence[Node]) -> Together:
    """`nodes`, in the order of their creation, with those made of one loop as one."""
    groups: dict[Node, list[Node]] = {}
    for node in nodes:
        if node.regions and node.op.name != "call":
            groups.setdefault(graph.remade.get(node, node), []).append(node)
    stands_for: dict[Node, Node] = {}
    outputs: dict[Tensor, Tensor] = {}
    first: dict[Node, Node] = {}
    result = []
    for node in nodes:
        group = groups.get(graph.remade.get(node, node), []) if node.regions else []
        if len(group) < 2:
            result.append(node)
        elif node is group[0]:
            whole, positions = _union(group)
            first[whole] = node
            for each, places in zip(group, positions, strict=True):
                stands_for[each] = whole
                for tensor, place in zip(each.outputs, places, strict=True):
                    outputs[tensor] = whole.outputs[place]
            result.append(whole)
    return Together(result, stands_for, outputs, first)


def _union(group: Sequence[Node]) -> tuple[Node, list[list[int]]]:
    """A node with all the results of several, and where those of each are among them."""
    whole = group[0]
    fixed = 0 if whole.op.name == "cond" else len(whole.outputs) - _stack_count(whole)
    last = [_columns(node) for node in group]
    columns: dict[tuple, None] = dict.fromkeys(last[0][fixed:])
    for rows in last[1:]:
        columns.update(dict.fromkeys(rows[fixed:]))
    order = [*last[0][:fixed], *columns]
    place = {column: fixed + k for k, column in enumerate(columns)}
    types = {
        column: type_
        for node, rows in zip(group, last, strict=True)
        for column, type_ in zip(rows[fixed:], node.types[fixed:], strict=True)
    }
    handing = whole.regions if whole.op.name == "cond" else whole.regions[-1:]
    regions = [
        Region(region.parameters, [column[k] for column in order], region.effects, region.name)
        for k, region in enumerate(handing)
    ]
    trips = {node.attrs.get("trips") for node in group} - {None}
    attrs = Attrs({**whole.attrs, "trips": trips.pop()}) if trips else whole.attrs
    totals = {
        rows[fixed + number]: total
        for node, rows in zip(group, last, strict=True)
        for number, *total in node.attrs.get("totals", ())
    }
    if totals:
        numbers = {column: number for number, column in enumerate(columns)}
        listed = sorted((numbers[column], *total) for column, total in totals.items())
        attrs = Attrs({**attrs, "totals": tuple(listed)})
    made = Node(
        whole.op,
        whole.inputs,
        attrs,
        (*whole.types[:fixed], *(types[column] for column in columns)),
        (*whole.regions[: len(whole.regions) - len(regions)], *regions),
        whole.controls,
        whole.serial,
        whole.graph,
    )
    positions = [[*range(fixed), *(place[column] for column in rows[fixed:])] for rows in last]
    return made, positions


def _stack_count(node: Node) -> int:
    carried = node.attrs["carries" if node.op.name == "scan" else "variables"]
    return len(node.outputs) - carried


def _columns(node: Node) -> list[tuple[Tensor, ...]]:
    """Of each result the tensors that give it: of both branches, or of the body."""
    regions = node.regions if node.op.name == "cond" else node.regions[-1:]
    return list(zip(*(region.results for region in regions), strict=True))
