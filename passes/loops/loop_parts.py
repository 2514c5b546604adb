"""A loop taken apart: what goes in, what its body hands on, what comes out.

    take apart  -->  drop, add, or move parts  -->  put together

Passes change the lists of a `Loop`; `rebuilt` makes the operation of what is left and says which
tensors take the place of its outputs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ...ir.build import current_builder
from ...ir.node import Attrs, Node, Region, Tensor
from ...ir.op import find
from ...ir.program import Program
from ...ops.control_flow import repeat_op, scan_op, split_scan
from ...sizes import Dim
from ..analysis.bodies import inline


@dataclass
class Carried:
    """A value that iterations hand on: at first, in the body, after the body, at last.

    sizes: dimensions that change: (axis, size in the body, size at last)
    """

    start: Tensor
    parameter: Tensor
    result: Tensor
    final: Tensor
    sizes: tuple[tuple[int, Dim, Dim], ...] = ()


@dataclass
class Given:
    """An operand and the parameter for it, or for its rows. size: what a row says the size of."""

    outside: Tensor
    parameter: Tensor
    size: Dim | None = None


@dataclass
class Stacked:
    """A row of each iteration, and the output of all of them (None: a new one).

    total: where rows differ in size, the elements of all before an iteration, and of all at last
    """

    row: Tensor
    whole: Tensor | None
    total: tuple[Dim, Dim] | None = None


@dataclass
class Loop:
    """A `repeat` or a `scan`.

    control: what says whether to begin, or the number of rows: no more than one tensor
    go_on: of a repeat, what the body says
    """

    node: Node
    control: list[Tensor]
    carried: list[Carried]
    rows: list[Given]
    captured: list[Given]
    stacked: list[Stacked]
    go_on: list[Tensor]
    effects: tuple[Node, ...]
    found: dict[Tensor, Tensor] = field(default_factory=dict)  # outputs known otherwise

    @staticmethod
    def of(node: Node) -> Loop:
        (region,) = node.regions
        parameters, results = region.parameters, list(region.results)
        go_on: list[Tensor] = []
        if node.op is scan_op:
            control, starts, sequences, captured = split_scan(node.inputs, node.attrs)
        else:
            count = node.attrs["variables"]
            control, sequences = node.inputs[:1], ()
            starts, captured = node.inputs[1 : 1 + count], node.inputs[1 + count :]
            go_on.append(results.pop(0))
        first, last = len(starts), len(starts) + len(sequences)
        carried = [
            Carried(*parts)
            for parts in zip(starts, parameters, results, node.outputs, strict=False)
        ]
        for number, axis, inside, outside in node.attrs.get("varying", ()):
            carried[number].sizes += ((axis, inside, outside),)
        rows = [Given(*pair) for pair in zip(sequences, parameters[first:last], strict=True)]
        for given, size in zip(rows, node.attrs.get("sizes", ()), strict=False):
            given.size = size
        stacked = [
            Stacked(*pair) for pair in zip(results[first:], node.outputs[first:], strict=True)
        ]
        for number, inside, outside in node.attrs.get("totals", ()):
            stacked[number].total = inside, outside
        return Loop(
            node,
            list(control),
            carried,
            rows,
            [Given(*pair) for pair in zip(captured, parameters[last:], strict=True)],
            stacked,
            go_on,
            region.effects,
        )

    @property
    def is_scan(self) -> bool:
        return self.node.op is scan_op

    @property
    def length(self) -> Dim:
        return self.node.attrs["length" if self.is_scan else "trips"]

    def parameters(self) -> list[Tensor]:
        given = [each.parameter for each in (*self.rows, *self.captured)]
        return [*(each.parameter for each in self.carried), *given]

    def results(self) -> list[Tensor]:
        after = [*self.go_on, *(each.result for each in self.carried)]
        return [*after, *(each.row for each in self.stacked)]

    def nodes(self) -> list[Node]:
        return Region(self.parameters(), self.results(), self.effects).nodes()

    def substitute(self, replaced: dict[Tensor, Tensor]) -> None:
        """Has the body read other tensors in the place of parameters."""
        if not replaced:
            return
        own = [p for p in self.parameters() if p not in replaced]
        region = Region([*replaced, *own], self.results(), self.effects)
        self._inlined(region, [*replaced.values(), *own])

    def _inlined(self, region: Region, operands: list[Tensor]) -> None:
        effects: list[Node] = []
        builder: Any = current_builder()
        with builder.in_body():
            values = iter(inline(region, operands, effects))
        self.go_on = [next(values) for _ in self.go_on]
        for each in self.carried:
            each.result = next(values)
        for stack in self.stacked:
            stack.row = next(values)
        self.effects = tuple(effects)

    def rebuilt(self, program: Program) -> tuple[Node, dict[Tensor, Tensor]]:
        """The operation of the parts as they are, and what takes the place of the outputs; new
        stacks get their outputs."""
        node = self.node
        own = self.parameters()
        new = [
            find("parameter")(index=index, dtype=p.dtype, shape=p.dims)
            for index, p in enumerate(own)
        ]
        if new != own:
            region = Region(own, self.results(), self.effects)
            self._inlined(region, new)
        name = node.regions[0].name
        body = Region(new, self.results(), self.effects, name)
        counts: dict[str, Any] = {"variables": len(self.carried)}
        if self.is_scan:
            counts = {"carries": len(self.carried), "sequences": len(self.rows)}
            counts["bounded"] = bool(self.control)
        if "varying" in node.attrs:
            rows = [(k, *row) for k, each in enumerate(self.carried) for row in each.sizes]
            counts["varying"] = tuple(rows)
        if "totals" in node.attrs:
            totals = [(k, *each.total) for k, each in enumerate(self.stacked) if each.total]
            counts["totals"] = tuple(totals)
        operands = [
            *self.control,
            *(each.start for each in self.carried),
            *(each.outside for each in (*self.rows, *self.captured)),
        ]
        made = program.interner.create(
            node.op,
            tuple(operands),
            Attrs({**node.attrs, **counts}),
            (body,),
            serial=node.serial if self.effects else 0,
            controls=node.controls,
        )
        outputs = dict(self.found)
        for each, tensor in zip(self.carried, made.outputs, strict=False):
            outputs[each.final] = tensor
        for stack, tensor in zip(self.stacked, made.outputs[len(self.carried) :], strict=True):
            if stack.whole is not None:
                outputs[stack.whole] = tensor
            stack.whole = tensor
        return made, outputs


def changes_sizes(node: Node) -> bool:
    """Whether what the body of a loop computes may be of other sizes in each iteration."""
    return any(node.attrs.get(kind) for kind in ("varying", "totals", "sizes"))


def is_loop(node: Node) -> bool:
    return node.op is scan_op or node.op is repeat_op
