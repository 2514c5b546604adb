"""Has loops of an unknown number of iterations keep checkpoints for their gradients.

    F: c, r = repeat(c0){ f }                     of t iterations, r residuals
    B: d = scan(d0, r; backwards){ b }

    -->  F: c, cs, n = repeat(c0, k = 0){ repeat { f } up to k + FIRST times;  k + 1 }
         B: d = scan(d0, cs, n; backwards){ r = scan(c){ f };  scan(r; backwards){ b } }, of n rows

Each segment may be one iteration longer than the one before it, so that of t iterations there are
about √2t, none longer than that: O(√t) rows in memory although nothing tells t beforehand. The size
that told the number of iterations tells that of the segments (cs: where each began, n: how many
iterations it had). Every iteration is computed twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...dtypes import bool_, int32
from ...ir.loop_sizes import sizes_in
from ...ir.node import Attrs, FrozenArray, Node, Region, Tensor, all_nodes
from ...ir.op import find
from ...ir.program import Program, Replaced
from ...ops.control_flow import repeat_op, scan_op
from ...sizes import Dim, Symbol, as_symbol, symbols_of
from ..analysis.bodies import inline
from .loop_parts import Loop, changes_sizes
from .trim_bodies import stand_in

FIRST = 16  # iterations of the first segment


def checkpoint_whiles(program: Program) -> Program:
    """`program` with checkpoints in loops that nothing but their gradient reads the rows of."""
    pairs = _pairs(program)
    if not pairs:
        return program
    forward = {pair.forward: pair for pair in pairs}
    backward = {pair.backward: pair for pair in pairs}
    order = iter(program.nodes())

    def rule(node: Node) -> Replaced | None:
        before = next(order)
        if before in forward:
            return forward[before].in_segments(program, node)
        if before in backward:
            return backward[before].segments_back(program, node)
        return None

    return program.rewrite(rule)


def _pairs(program: Program) -> list[_Pair]:
    users, roots = program.users(), set(program.roots())
    nodes = program.nodes()
    found = []
    for node in nodes:
        trips = as_symbol(node.attrs.get("trips"))
        if node.op is not repeat_op or trips is None or node.serial or changes_sizes(node):
            continue
        stacks = node.outputs[node.attrs["variables"] :]
        readers = {user for tensor in stacks for user in users[tensor]}
        if len(readers) != 1 or not roots.isdisjoint(stacks):
            continue
        (gradient,) = readers
        if _goes_back(gradient, stacks) and not _is_told(nodes, trips, {node, gradient}):
            found.append(_Pair(node, gradient))
    return found


def _goes_back(node: Node, stacks: Sequence[Tensor]) -> bool:
    """Whether a node is the scan back over these stacks and nothing else, with no rows of its
    own."""
    if node.op is not scan_op or node.serial or node.attrs["bounded"] or changes_sizes(node):
        return False
    loop = Loop.of(node)
    inside = {given.outside for given in loop.rows}
    captured = {given.outside for given in loop.captured}
    plain = not loop.stacked and node.attrs["reverse"]
    return plain and inside == set(stacks) and captured.isdisjoint(stacks)


def _is_told(nodes: Sequence[Node], size: Symbol, apart: set[Node]) -> bool:
    """Whether anything else depends on a size: another operation, or the body of any."""
    rest = [node for node in nodes if node not in apart]
    inner = [n for node in apart for region in node.regions for n in region.nodes()]
    return any(
        size in symbols_of((*sizes_in(node.attrs), *(t.dims or () for t in node.outputs)))
        for node in all_nodes([*rest, *inner])
    )


def _number(value: int) -> Tensor:
    return find("constant")(value=FrozenArray(np.array(value, np.int32)))


def _parameters(like: Sequence[Tensor], first: int = 0) -> list[Tensor]:
    return [
        find("parameter")(index=first + k, dtype=tensor.dtype, shape=tensor.dims)
        for k, tensor in enumerate(like)
    ]


def _scalar(dtype, index: int) -> Tensor:
    return find("parameter")(index=index, dtype=dtype, shape=())


@dataclass
class _Pair:
    """A loop and its gradient; `checkpoints` and `counts`: stacks of the loop in segments."""

    forward: Node
    backward: Node
    loop: Loop | None = None
    checkpoints: Sequence[Tensor] = ()
    counts: Tensor | None = None

    # -- forward ------------------------------------------------------------------------------

    def in_segments(self, program: Program, node: Node) -> Replaced:
        """What takes the place of the loop's outputs."""
        loop = self.loop = Loop.of(node)
        count = len(loop.carried)
        starts = [each.start for each in loop.carried]
        captured = [given.outside for given in loop.captured]
        with program.interner.in_body():
            own = _parameters(starts)
            segment = _scalar(int32, count)
            lasting = _parameters(captured, count + 1)
            limit = find("add")(segment, _number(FIRST))
            begin = find("constant")(value=FrozenArray(np.array(True)))
            inner = program.interner.create(
                repeat_op,
                (begin, *own, _number(0), begin, *lasting, limit),
                Attrs({"variables": count + 2, "trips": None, "varying": ()}),
                (self._segment(loop),),
            )
            after, done, on = inner.outputs[:count], inner.outputs[count], inner.outputs[count + 1]
            body = Region(
                [*own, segment, *lasting],
                [on, *after, find("add")(segment, _number(1)), *own, done],
                (),
                node.regions[0].name,
            )
        made = program.interner.create(
            repeat_op,
            (*loop.control, *starts, _number(0), *captured),
            Attrs({**node.attrs, "variables": count + 1}),
            (body,),
            controls=node.controls,
        )
        self.checkpoints, self.counts = made.outputs[count + 1 : -1], made.outputs[-1]
        stacks = [stand_in(tensor) for tensor in node.outputs[count:]]
        return Replaced(made, [*made.outputs[:count], *stacks])

    def _segment(self, loop: Loop) -> Region:
        """The loop's body, which goes on for as long as the loop does and the segment lasts."""
        region, count = loop.node.regions[0], len(loop.carried)
        own = _parameters([each.parameter for each in loop.carried])
        done, on = _scalar(int32, count), _scalar(bool_, count + 1)
        lasting = _parameters([given.parameter for given in loop.captured], count + 2)
        limit = _scalar(int32, count + 2 + len(lasting))
        plain = Region(
            region.parameters, [*loop.go_on, *(each.result for each in loop.carried)], (), ""
        )
        goes_on, *after = inline(plain, [*own, *lasting], [])
        more = find("add")(done, _number(1))
        stays = find("logical_and")(goes_on, find("less")(more, limit))
        parameters = [*own, done, on, *lasting, limit]
        return Region(parameters, [stays, *after, more, goes_on], (), region.name)

    # -- backwards ----------------------------------------------------------------------------

    def segments_back(self, program: Program, node: Node) -> Replaced:
        """The scan over the segments, each of which runs the loop again and then back."""
        gradient, loop = Loop.of(node), self.loop
        assert loop is not None and self.counts is not None
        row = {each.whole: each.row for each in Loop.of(self.forward).stacked}
        rows = [row[given.outside] for given in Loop.of(self.backward).rows]
        used = list(dict.fromkeys(rows))
        values = [each.start for each in gradient.carried]
        again = [given.outside for given in loop.captured]
        captured = [given.outside for given in gradient.captured]
        segments = node.attrs["length"]
        longest = segments + FIRST - 1
        with program.interner.in_body():
            own = _parameters(values)
            starts = _parameters([each.parameter for each in loop.carried], len(own))
            count = _scalar(int32, len(own) + len(starts))
            outer = _parameters(again, len(own) + len(starts) + 1)
            lasting = _parameters(captured, len(own) + len(starts) + 1 + len(outer))
            results = [*(each.result for each in loop.carried), *used]
            forward = Region(loop.node.regions[0].parameters, results, (), node.regions[0].name)
            made = _bounded(program, forward, count, starts, (), outer, longest, False)
            stacks = dict(zip(used, made[len(starts) :], strict=True))
            sequences = [stacks[each] for each in rows]
            after = _bounded(
                program, node.regions[0], count, own, sequences, lasting, longest, True
            )
            parameters = [*own, *starts, count, *outer, *lasting]
            body = Region(parameters, after, (), node.regions[0].name)
        whole = program.interner.create(
            scan_op,
            (*values, *self.checkpoints, self.counts, *again, *captured),
            Attrs({**node.attrs, "sequences": len(self.checkpoints) + 1}),
            (body,),
            controls=node.controls,
        )
        return Replaced(whole, whole.outputs)


def _bounded(
    program: Program, region: Region, bound: Tensor, carried, rows, captured, length: Dim, reverse
) -> list[Tensor]:
    """The results of a scan over no more than `bound` rows."""
    attrs = {
        "carries": len(carried),
        "sequences": len(rows),
        "length": length,
        "reverse": reverse,
        "bounded": True,
    }
    inputs = (bound, *carried, *rows, *captured)
    return list(program.interner.create(scan_op, inputs, Attrs(attrs), (region,)).outputs)
