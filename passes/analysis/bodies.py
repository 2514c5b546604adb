"""How operands, parameters and results of operations with bodies lie; bodies as programs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...ir.build import current_builder
from ...ir.node import Attrs, Node, Region, Tensor
from ...ir.program import Program
from ...ops.control_flow import split_scan
from ...sizes import Dim, Symbol, substitute


@dataclass(frozen=True)
class Inside:
    """What is known of a body's program from outside.

    carried: parameters that iterations hand on, and what `updates` of the program calls them
    lasting: parameters that are the same in all iterations
    """

    carried: Mapping[Tensor, Any]
    lasting: Collection[Tensor]


@dataclass(frozen=True)
class Layout:
    """Where values that bodies hand on are added to an operation: before `place` of its operands,
    `body_place` of the parameters of its bodies, and `result_place` of their results.

    extra: how many; attrs: what becomes of the operation's attributes
    handing: the numbers of the bodies that hand values on
    """

    place: int
    body_place: int
    result_place: int
    extra: int
    handing: tuple[int, ...]
    attrs: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def of(node: Node, extra: int) -> Layout:
        attrs = node.attrs
        if node.op.name == "while":
            count = attrs["variables"]
            return Layout(count, count, count, extra, (1,), {"variables": count + extra})
        if node.op.name == "scan":
            count = attrs["carries"]
            place = count + (1 if attrs["bounded"] else 0)
            return Layout(place, count, count, extra, (0,), {"carries": count + extra})
        operands, results = len(node.inputs), len(node.regions[0].results)
        skipped = 1 if node.op.name == "cond" else 0
        handing = tuple(range(len(node.regions)))
        return Layout(operands, operands - skipped, results, extra, handing)

    def operands(self, inputs: Sequence, written: Sequence, read: Sequence) -> tuple:
        return (*inputs[: self.place], *written, *inputs[self.place :], *read)

    def parameters(self, parameters: Sequence, reads: int) -> tuple[list, list, list]:
        """Of parameters in their new places: the old ones, those of written, of read values."""
        end = len(parameters) - reads
        written = list(parameters[self.body_place : self.body_place + self.extra])
        own = [*parameters[: self.body_place], *parameters[self.body_place + self.extra : end]]
        return own, written, list(parameters[end:])

    def hands_on(self, number: int) -> bool:
        return number in self.handing

    def results(self, results: Sequence, written: Sequence) -> list:
        return [*results[: self.result_place], *written, *results[self.result_place :]]

    def split(self, outputs: Sequence) -> tuple[list, list]:
        """Outputs as before, and those that were added."""
        end = self.result_place + self.extra
        return [*outputs[: self.result_place], *outputs[end:]], list(
            outputs[self.result_place : end]
        )


def in_memory(node: Node) -> Sequence[Tensor]:
    """The inputs of an operation with bodies that these find in memory. Values that a loop begins
    with are computed into the loop's own."""
    attrs = node.attrs
    if node.op.name == "repeat":
        return (node.inputs[0], *node.inputs[1 + attrs["variables"] :])
    if node.op.name == "scan":
        bounds, _, rows, captured = split_scan(node.inputs, attrs)
        return (*bounds, *rows, *captured)
    return node.inputs


def inline(
    region: Region,
    operands: Sequence[Tensor],
    effects: list[Node],
    sizes: Mapping[Symbol, Dim] | None = None,
) -> list[Tensor]:
    """The results of a body for these operands, as operations of the current builder; what the
    body does is added to `effects`. Any tensors of the body may be its parameters here. `sizes`
    stand for symbols of the body."""
    mapped: dict[Tensor, Tensor] = dict(zip(region.parameters, operands, strict=True))
    nodes: dict[Node, Node] = {}
    builder: Any = current_builder()
    for node in region.nodes():
        if node.outputs and all(tensor in mapped for tensor in node.outputs):
            continue
        copy = builder.create(
            node.op,
            tuple(mapped[tensor] for tensor in node.inputs),
            Attrs({k: substitute(v, sizes) for k, v in node.attrs.items()})
            if sizes
            else node.attrs,
            node.regions,
            None,
            serial=node.serial,
            controls=tuple(nodes[control] for control in node.controls if control in nodes),
        )
        nodes[node] = copy
        mapped.update(zip(node.outputs, copy.outputs, strict=True))
    effects += [nodes[effect] for effect in region.effects]
    return [mapped[result] for result in region.results]


def each_body(program: Program, rewrite: Callable[[Program], Program]) -> Program:
    """`program` with every body in it rewritten, as a program of its own."""

    def rule(node: Node) -> Node | None:
        regions = tuple(_rewritten(region, program, rewrite) for region in node.regions)
        return with_regions(program, node, regions)

    return program.rewrite(rule)


def with_regions(program: Program, node: Node, regions: Sequence[Region]) -> Node | None:
    """A node with other bodies of the same types; None where they are the same."""
    if all(new is old for new, old in zip(regions, node.regions, strict=True)):
        return None
    return program.interner.create(
        node.op,
        node.inputs,
        node.attrs,
        tuple(regions),
        serial=node.serial,
        controls=node.controls,
    )


def _rewritten(region: Region, around: Program, rewrite: Callable[[Program], Program]) -> Region:
    before = body_program(region, around)
    with around.interner.in_body(region.nodes()):
        after = rewrite(before)
    if after is before:
        return region
    return Region(region.parameters, after.fetches, after.effects, region.name)


def body_program(region: Region, around: Program) -> Program:
    """A body as a program that is fed its parameters."""
    return Program(region.parameters, region.results, {}, region.effects, around.interner)
