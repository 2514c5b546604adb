"""Which write of a variable each read sees, and in which order writes apply.

A read sees the value after the last write among its ancestors, by data or control; without one,
the value before the step. Writes apply in the order of their creation, which no dependency
contradicts. That order is the program's own only where it does not matter (additions, subtractions
and scatter updates commute) or where dependencies say it: a plain assign that is not ordered with
every other write of its variable is an error, and so is an operation whose bodies write it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ...errors import UnorderedWritesError
from ...ir.node import Node
from ...ir.op import STATE

Use = tuple[Node, object]  # an operation and a variable that it uses


def is_write(node: Node) -> bool:
    return node.op.kind == STATE and node.op.serial


def variables_of(node: Node) -> tuple[dict[object, None], dict[object, None]]:
    """The variables that an operation, or anything in its bodies, writes; and those it reads."""
    written: dict[object, None] = {}
    read: dict[object, None] = {}
    stack = [node]
    while stack:
        each = stack.pop()
        if each.op.kind == STATE:
            (written if each.op.serial else read)[each.attrs["variable"]] = None
        for region in each.regions:
            stack.extend(reversed(region.nodes()))
    return written, {variable: None for variable in read if variable not in written}


def last_writes(
    nodes: Sequence[Node], needs: Callable[[Node], Iterable[Node]]
) -> dict[Use, Node | None]:
    """For every use of a variable by one of `nodes` the write whose value it finds, or None.

    nodes: in the order of their creation; one whose bodies use variables does so itself
    needs: what a node depends on, by data or control, in so far as it is among `nodes`

    Ancestors are bit sets of writes, numbered in order. Raises UnorderedWritesError.
    """
    found: dict[Use, Node | None] = {}
    uses = {node: variables_of(node) for node in nodes if node.op.kind == STATE or node.regions}
    writes = [node for node in nodes if node in uses and uses[node][0]]
    if not writes:
        return {(n, v): None for n, (_, read) in uses.items() for v in read}
    before: dict[Node, int] = {}  # the writes among a node's ancestors
    bits = {node: 1 << number for number, node in enumerate(writes)}
    of_variable: dict[object, int] = {}  # the writes of a variable so far
    assigns: dict[object, int] = {}  # those among them whose order matters
    for node in nodes:
        mask = 0
        for need in needs(node):
            mask |= before[need]
        bit = bits.get(node, 0)
        written, read = uses.get(node, ({}, {}))
        matters = node.op.name == "assign" or node.op.kind != STATE
        for variable in written:
            earlier = of_variable.get(variable, 0)
            must = earlier if matters else assigns.get(variable, 0)
            if must & ~mask:
                _unordered(node, writes[(must & ~mask).bit_length() - 1], variable)
            of_variable[variable] = earlier | bit
            if matters:
                assigns[variable] = assigns.get(variable, 0) | bit
            # Every write follows the one before it, whether or not it depends on it.
            found[node, variable] = writes[earlier.bit_length() - 1] if earlier else None
        for variable in read:
            visible = mask & of_variable.get(variable, 0)
            found[node, variable] = writes[visible.bit_length() - 1] if visible else None
        before[node] = mask | bit
    return found


def _unordered(node: Node, other: Node, variable: object) -> None:
    def line(write: Node) -> str:
        graph = write.graph
        where = f" at {graph.location(write)}" if graph is not None else ""
        return f"\n  {write.name} ({write.op.name}){where}"

    raise UnorderedWritesError(
        f"two writes of variable {variable} in one run have no order between them:"
        f"{line(other)}{line(node)}\n"
        "put the later one under `with graphflow.control_dependencies([earlier]):`, or run them "
        "one after the other"
    )
