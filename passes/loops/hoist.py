"""Takes out of loops what is the same in all their iterations.

    while(s){ s + f(k) }  -->  c = f(k);  while(s){ s + c }

Only what costs something is taken out: movement is part of the loops that read it, and what is much
larger than all it is made of would be read from memory instead.
"""

from __future__ import annotations

from ...ir.node import Node, Tensor, topological
from ...ir.op import EFFECT, LEAF, POINTWISE, VIEW, find
from ...ir.program import Program, Replaced
from ...sizes import product
from ..analysis.index_math import estimate
from .loop_parts import Given, Loop, is_loop

LARGEST_GROWTH = 4
_NEW = 1 << 20  # parameters under construction are numbered from here on


def hoist(program: Program) -> Program:
    """`program` with invariant work before its loops."""

    def rule(node: Node) -> Replaced | None:
        if not is_loop(node):
            return None
        loop = Loop.of(node)
        found = _invariants(loop)
        if not found:
            return None
        outside = {given.parameter: given.outside for given in loop.captured}
        copies = copied_outside(program, found, outside)
        replaced: dict[Tensor, Tensor] = {}
        for number, tensor in enumerate(found):
            parameter = new_parameter(tensor, number)
            loop.captured.append(Given(copies[tensor], parameter))
            replaced[tensor] = parameter
        loop.substitute(replaced)
        made, outputs = loop.rebuilt(program)
        return Replaced(made, [outputs[tensor] for tensor in node.outputs])

    return program.rewrite(rule)


def new_parameter(tensor: Tensor, number: int) -> Tensor:
    return find("parameter")(index=_NEW + number, dtype=tensor.dtype, shape=tensor.dims)


def copied_outside(
    program: Program, tensors: list[Tensor], outside: dict[Tensor, Tensor]
) -> dict[Tensor, Tensor]:
    """Values of a body that depend on nothing but parameters of which `outside` says what they
    are, computed around it."""
    known = dict(outside)
    stop = {tensor.node for tensor in outside}
    for node in topological([tensor.node for tensor in tensors], stop):
        inputs = tuple(known.get(t, t) for t in node.inputs)
        if node.op.kind == LEAF:
            copy = node
        else:  # perhaps the very node, unless it has to wait for a loop here
            copy = program.interner.create(node.op, inputs, node.attrs, node.regions)
        known.update(zip(node.outputs, copy.outputs, strict=True))
    return known


def repeatable(node: Node) -> bool:
    """Whether a node may run at another time, or although no iteration needs it."""
    return not (node.op.kind == EFFECT or node.serial or node.op.fallible or node.controls)


def _invariants(loop: Loop) -> list[Tensor]:
    """What is to be computed before the loop: values that others in the body, or its results,
    read, with arithmetic behind them."""
    same = {given.parameter.node for given in loop.captured}
    costs: dict[Node, bool] = {}
    sizes: dict[Node, int] = {}
    nodes = loop.nodes()
    for node in nodes:
        if node.op.kind == LEAF:
            if node in same or node.op.name == "constant":
                costs[node] = False
                sizes[node] = estimate(product(node.outputs[0].dims))
            continue
        if not repeatable(node) or not node.inputs:
            continue
        if all(t.node in costs for t in node.inputs):
            free = node.op.kind == VIEW or (node.op.kind == POINTWISE and node.op.flops == 0)
            costs[node] = not free or any(costs[t.node] for t in node.inputs)
            sizes[node] = sum(sizes[t.node] for t in dict.fromkeys(node.inputs))
    found: dict[Tensor, None] = {}
    results = set(loop.results())
    for node in nodes:
        reads = [t for k, t in enumerate(node.inputs) if k not in node.op.shape_only]
        for tensor in reads if node not in costs else ():
            found[tensor] = None
    found.update({t: None for node in costs for t in node.outputs if t in results})
    return [
        tensor
        for tensor in found
        if costs.get(tensor.node, False)
        and estimate(product(tensor.dims)) <= LARGEST_GROWTH * max(sizes[tensor.node], 1)
    ]
