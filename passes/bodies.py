"""How the operands, parameters and results of operations with bodies lie, and bodies as programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..ir.node import Node


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

    def in_body(self, inputs: Sequence) -> Sequence:
        """Of operands before anything is added, those that are parameters of the bodies."""
        return inputs[self.place - self.body_place :]

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
