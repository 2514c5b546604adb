"""Rewrite rules of writes: what is written into zeros and then added is added where it belongs.

Gradients of reads are writes into zeros. In a loop that reads rows of a buffer, each of them would
be a buffer of its own, filled with zeros and added as a whole in every iteration; as additions to
the rows that were read they are done in place.
"""

from __future__ import annotations

from ...ir.node import Node, Tensor
from ...ir.op import find
from .rules import RuleTable, made_by, uniform

rule = RuleTable()


def _written_into_zeros(tensor: Tensor) -> list[Node]:
    """The additions of rows, the last one first, that `tensor` is made of; [] if not only those."""
    found: list[Node] = []
    node = made_by(tensor, "scatter")
    while node is not None and node.attrs["mode"] == "add":
        found.append(node)
        tensor = node.inputs[0]
        node = made_by(tensor, "scatter")
    return found if uniform(tensor) == 0 else []


@rule("add")
def add_rows(node: Node):  # scatter(0, i, u, "add") + x -> scatter(x, i, u, "add")
    for rows, x in (node.inputs, reversed(node.inputs)):
        writes = _written_into_zeros(rows)
        if not writes or not rows.dims == x.dims == node.outputs[0].dims:
            continue
        for write in reversed(writes):
            x = find("scatter")(x, *write.inputs[1:], **write.attrs)
        return x
    return None


@rule("add")
def add_box(node: Node):  # update(0, u, at) + x -> update(x, u + part(x, at), at)
    for box, x in (node.inputs, reversed(node.inputs)):
        write = made_by(box, "dynamic_update_slice")
        if write is None or not box.dims == x.dims == node.outputs[0].dims:
            continue
        operand, update, *at = write.inputs
        if uniform(operand) != 0 or uniform(x) == 0:
            continue
        there = find("dynamic_slice")(x, *at, size=update.dims)
        return find("dynamic_update_slice")(x, find("add")(update, there), *at)
    return None
