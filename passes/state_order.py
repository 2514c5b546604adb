"""Which write of a variable each read sees, and in which order writes apply.

A read sees the value after the last write among its ancestors, by data or control; without one,
the value before the step. Writes apply in the order of their creation, which no dependency
contradicts. That order is the program's own only where it does not matter (additions, subtractions
and scatter updates commute) or where dependencies say it: a plain assign that is not ordered with
every other write of its variable is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ..errors import UnorderedWritesError
from ..ir.node import Node
from ..ir.op import STATE


def is_write(node: Node) -> bool:
    return node.op.kind == STATE and node.op.serial


def last_writes(
    nodes: Sequence[Node], needs: Callable[[Node], Iterable[Node]]
) -> dict[Node, Node | None]:
    """For every state operation among `nodes` the write whose value it finds, or None.

    nodes: in the order of their creation
    needs: what a node depends on, by data or control, in so far as it is among `nodes`

    Ancestors are bit sets of writes, numbered in order. Raises UnorderedWritesError.
    """
    found: dict[Node, Node | None] = {}
    writes = [node for node in nodes if is_write(node)]
    if not writes:
        return {node: None for node in nodes if node.op.kind == STATE}
    before: dict[Node, int] = {}  # the writes among a node's ancestors
    bits = {node: 1 << number for number, node in enumerate(writes)}
    of_variable: dict[object, int] = {}  # the writes of a variable so far
    assigns: dict[object, int] = {}  # the plain ones among them
    for node in nodes:
        mask = 0
        for need in needs(node):
            mask |= before[need]
        bit = bits.get(node, 0)
        if node.op.kind == STATE:
            variable = node.attrs["variable"]
            earlier = of_variable.get(variable, 0)
            if bit:
                must = earlier if node.op.name == "assign" else assigns.get(variable, 0)
                if must & ~mask:
                    _unordered(node, writes[(must & ~mask).bit_length() - 1])
                # Every write follows the one before it, whether or not it depends on it.
                seen = earlier
                of_variable[variable] = earlier | bit
                if node.op.name == "assign":
                    assigns[variable] = assigns.get(variable, 0) | bit
            else:
                seen = mask & earlier
            found[node] = writes[seen.bit_length() - 1] if seen else None
        before[node] = mask | bit
    return found


def _unordered(node: Node, other: Node) -> None:
    def line(write: Node) -> str:
        graph = write.graph
        where = f" at {graph.location(write)}" if graph is not None else ""
        return f"\n  {write.name} ({write.op.name}){where}"

    variable = node.attrs["variable"]
    raise UnorderedWritesError(
        f"two writes of variable {variable} in one run have no order between them:"
        f"{line(other)}{line(node)}\n"
        "put the later one under `with graphflow.control_dependencies([earlier]):`, or run them "
        "one after the other"
    )
