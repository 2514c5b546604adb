"""Drops what bodies carry along for nothing.

    while(i, s, k){ …, k }           -->  k is the same in all iterations: an operand
    a loop variable nothing reads    -->  gone, with what computes it
    an operand that is a constant    -->  a constant of the body
    cond(true){ a }{ b }             -->  a

Works on the outermost bodies; those inside have been programs of their own before.
"""

from __future__ import annotations

import numpy as np

from ...ir.loop_sizes import sizes_in
from ...ir.node import FrozenArray, Node, Region, Tensor, all_nodes, topological
from ...ir.op import find
from ...ir.program import Program, Replaced
from ...ops.control_flow import cond_op
from ...sizes import Symbol, symbols_of
from ..analysis.bodies import inline
from ..rewrite.rules import uniform
from .loop_parts import Given, Loop, is_loop

Rewritten = Node | Replaced | list[Tensor] | None


def trim_bodies(program: Program) -> Program:
    """`program` with bodies that hand on, and are given, only what something needs."""
    used = {tensor for node in program.nodes() for tensor in node.inputs}
    used.update(program.roots())
    # Rewriting meets nodes in this order, but with other inputs.
    flags = iter([[t in used for t in n.outputs] for n in program.nodes() if n.regions])

    sizes = _asked_for(program)

    def rule(node: Node) -> Rewritten:
        if not node.regions:
            return None
        wanted = next(flags)
        if is_loop(node):
            for number, _, _, outside in node.attrs.get("varying", ()):
                wanted[number] = wanted[number] or not sizes.isdisjoint(symbols_of(outside))
            return _loop(program, node, wanted)
        return _cond(program, node, wanted) if node.op is cond_op else None

    return program.rewrite(rule)


def _asked_for(program: Program) -> set[Symbol]:
    """Sizes that loops find out and something is made with, be it of no other value of theirs."""
    if not any(node.attrs.get("varying") for node in program.nodes()):
        return set()
    return {s for node in all_nodes(program.nodes()) for s in symbols_of(sizes_in(node.attrs))}


def stand_in(tensor: Tensor) -> Tensor:
    """A tensor in the place of one that nobody reads."""
    zero = find("constant")(value=FrozenArray(np.zeros((), tensor.dtype.numpy)))
    return find("broadcast_to")(zero, shape=tensor.dims)


# -- loops ---------------------------------------------------------------------------------------


def _loop(program: Program, node: Node, wanted: list[bool]) -> Rewritten:
    loop = Loop.of(node)
    before = len(loop.carried), len(loop.captured), len(loop.rows), len(loop.stacked)
    _keep_constants(loop)
    _drop_dead(loop, {t for t, flag in zip(node.outputs, wanted, strict=True) if flag})
    if before == (len(loop.carried), len(loop.captured), len(loop.rows), len(loop.stacked)):
        return None
    made, outputs = loop.rebuilt(program)
    return Replaced(made, [outputs[t] if t in outputs else stand_in(t) for t in node.outputs])


def _keep_constants(loop: Loop) -> None:
    """Constants become the body's own, values that no iteration changes operands."""
    for each in list(loop.carried):
        if each.result is each.parameter:
            loop.carried.remove(each)
            loop.captured.append(Given(each.start, each.parameter))
            loop.found[each.final] = each.start
    replaced: dict[Tensor, Tensor] = {}
    known: dict[Tensor, Tensor] = {}
    for given in list(loop.captured):
        if given.outside.node.op.name == "constant":
            replaced[given.parameter] = given.outside
        elif given.outside in known:
            replaced[given.parameter] = known[given.outside]
        else:
            known[given.outside] = given.parameter
            continue
        loop.captured.remove(given)
    loop.substitute(replaced)


def _drop_dead(loop: Loop, wanted: set[Tensor]) -> None:
    """What no result, effect or further iteration needs is gone."""
    loop.stacked = [stack for stack in loop.stacked if stack.whole in wanted]
    roots = [*loop.go_on, *(stack.row for stack in loop.stacked)]
    live = [each for each in loop.carried if each.final in wanted]
    while True:
        needed = topological(
            [t.node for t in (*roots, *(each.result for each in live))] + list(loop.effects)
        )
        tensors = {tensor for node in needed for tensor in node.outputs}
        more = [e for e in loop.carried if e.parameter in tensors and e not in live]
        if not more:
            break
        live += more
    loop.carried = [each for each in loop.carried if each in live]
    loop.rows = [g for g in loop.rows if g.parameter in tensors or g.size is not None]
    loop.captured = [given for given in loop.captured if given.parameter in tensors]


# -- branches ------------------------------------------------------------------------------------


def _cond(program: Program, node: Node, wanted: list[bool]) -> Rewritten:
    predicate, *operands = node.inputs
    known = uniform(predicate)
    if known is not None and not node.regions[0 if known else 1].effects:
        return inline(node.regions[0 if known else 1], operands, [])
    kept = [k for k, flag in enumerate(wanted) if flag]
    read = [
        {tensor for each in topological([r.results[k].node for k in kept] + list(r.effects))
         for tensor in each.outputs}
        for r in node.regions
    ]  # fmt: skip
    needed = [
        k
        for k, operand in enumerate(operands)
        if operand.node.op.name != "constant"
        and any(r.parameters[k] in found for r, found in zip(node.regions, read, strict=True))
    ]
    if len(kept) == len(wanted) and len(needed) == len(operands):
        return None
    regions = []
    for region in node.regions:
        new = dict(zip(region.parameters, operands, strict=True))
        own = []
        for index, k in enumerate(needed):
            old = region.parameters[k]
            own.append(find("parameter")(index=index, dtype=old.dtype, shape=old.dims))
            new[old] = own[-1]
        effects: list[Node] = []
        wanted_results = Region(region.parameters, [region.results[k] for k in kept],
                                region.effects)  # fmt: skip
        stands = [new[p] if p in own or new[p] in own or new[p].node.op.name == "constant"
                  else stand_in(p) for p in region.parameters]  # fmt: skip
        with program.interner.in_body():
            results = inline(wanted_results, stands, effects)
        regions.append(Region(own, results, effects, region.name))
    made = program.interner.create(
        node.op,
        (predicate, *(operands[k] for k in needed)),
        node.attrs,
        tuple(regions),
        serial=node.serial,
        controls=node.controls,
    )
    outputs = [stand_in(tensor) for tensor in node.outputs]
    for k, tensor in zip(kept, made.outputs, strict=True):
        outputs[k] = tensor
    return Replaced(made, outputs)
