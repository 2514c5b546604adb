"""The operands of a contraction: where their elements lie, or what computes them.

An operand that only moves what lies in memory (a transpose, a part, heads that are taken apart) is
read where it lies, as long as steps through memory say where that is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...ir.node import Tensor
from ...ir.op import POINTWISE, VIEW
from ...loop.nodes import Expr, Load
from ...sizes import Dim, multiply
from ..analysis.index_math import Form
from ..analysis.relations import scalar_constant
from ..lowering.access import Place, place_of
from ..lowering.context import KernelBuilder
from .spec import Operand, Strided, assumed

_SHORTEST_RUN = 16  # elements along k that lie together, from which on A is read in place


@dataclass(frozen=True)
class Side:
    """One operand: its dimensions in three groups, each seen as one."""

    tensor: Tensor
    batch: tuple[int, ...]
    row: tuple[int, ...]
    column: tuple[int, ...]

    def dims(self, group: Sequence[int]) -> list[Dim]:
        return [self.tensor.dims[axis] for axis in group]


def reader(builder: KernelBuilder, side: Side) -> Callable[[Expr, Expr, Expr], Expr]:
    math = builder.math

    def read(batch: Expr, row: Expr, column: Expr) -> Expr:
        index: list[Form] = [math.constant(0)] * len(side.tensor.dims)
        groups = (side.batch, side.row, side.column)
        for group, part in zip(groups, builder.forms((batch, row, column)), strict=True):
            for axis, form in zip(group, math.split(part, side.dims(group)), strict=True):
                index[axis] = form
        return builder.expression(side.tensor, tuple(index))

    return read


def operand(builder: KernelBuilder, side: Side, left: bool) -> Operand:
    """The first operand (`left`), which may lie in several runs along k, or the second one."""
    place = place_of(builder, side.tensor)
    cost = 0 if place is not None else _cost(builder, side.tensor)
    parts = place.parts if place is not None else _likely_parts(builder, side.tensor)
    rows, columns = _runs(_parts(side.row, parts)), _runs(_parts(side.column, parts))
    row, column = _single(rows), _single(columns)
    along = columns[-1][1] if columns else 0, rows[-1][1] if rows else 0
    contiguous = "column" if along[0] == 1 else "row" if along[1] == 1 else ""
    read, strided = reader(builder, side), None
    if place is not None:
        batches, zero = _runs(_parts(side.batch, parts)), builder.math.constant(0)
        from_start = _offset(builder, batches, place.start)
        if row is not None and column is not None:
            strided = Strided(place.buffer, from_start, row, column)
        elif left and columns and assumed(columns[-1][0]) >= _SHORTEST_RUN:
            offset = _offset(builder, rows, zero)
            strided = Strided(place.buffer, from_start, row=offset, runs=columns)
        read = _loader(builder, place, (batches, rows, columns))
    return Operand(read, strided, contiguous, cost)


Parts = Sequence[tuple[Dim, Dim]]  # (count, step) from the outermost to the innermost


def _parts(group: Sequence[int], parts: Sequence[Parts]) -> Parts:
    return [part for axis in group for part in parts[axis]]


def _offset(builder: KernelBuilder, parts: Parts, start: Form) -> Callable[[Expr], Expr]:
    """Where an index over several parts is."""
    return lambda index: builder.math.expr(_moved(builder, start, parts, index))


def _loader(
    builder: KernelBuilder, place: Place, groups: Sequence[Parts]
) -> Callable[[Expr, Expr, Expr], Expr]:
    """What reads the element at an index over each of the groups."""

    def read(*indices: Expr) -> Expr:
        at = place.start
        for parts, index in zip(groups, indices, strict=True):
            at = _moved(builder, at, parts, index)
        return Load(place.buffer, builder.math.expr(at))

    return read


def _moved(builder: KernelBuilder, start: Form, parts: Parts, index: Expr) -> Form:
    """`start` and what an index over several parts adds to it."""
    math = builder.math
    (form,) = builder.forms((index,))
    numbers = math.split(form, [count for count, _ in parts])
    for (_, step), number in zip(parts, numbers, strict=True):
        start = math.add(start, math.scale(number, step))
    return start


def _runs(parts: Parts) -> tuple[tuple[Dim, Dim], ...]:
    """Those parts as one that are gone through as one."""
    runs: list[tuple[Dim, Dim]] = []
    for count, step in parts:
        if count == 1:
            continue
        if runs and runs[-1][1] == multiply(step, count):
            count = multiply(runs.pop()[0], count)
        runs.append((count, step))
    return tuple(runs)


def _single(runs: Sequence[tuple[Dim, Dim]]) -> Dim | None:
    """The step where there is only one."""
    if len(runs) > 1:
        return None
    return runs[0][1] if runs else 0


def _likely_parts(builder: KernelBuilder, tensor: Tensor) -> Sequence[Parts]:
    """For what is not stored: a transpose only reorders steps, and other inlined work is taken to
    read something of its own layout."""
    order = list(range(len(tensor.dims)))
    while not _is_stored(builder, tensor) and tensor.node.op.name == "transpose":
        perm = tensor.node.attrs["perm"]
        order = [perm[axis] for axis in order]
        tensor = tensor.node.inputs[0]
    steps: list[Dim] = [1] * len(tensor.dims)
    for axis in range(len(tensor.dims) - 2, -1, -1):
        steps[axis] = multiply(steps[axis + 1], tensor.dims[axis + 1])
    return [((tensor.dims[axis], steps[axis]),) for axis in order]


def _is_stored(builder: KernelBuilder, tensor: Tensor) -> bool:
    if scalar_constant(tensor.node) is not None:
        return False
    return builder.storage_of(tensor) is not None


def _cost(builder: KernelBuilder, tensor: Tensor) -> int:
    """FLOPs of the inlined nodes of one element."""
    total, stack = 0.0, [tensor]
    while stack:
        tensor = stack.pop()
        if _is_stored(builder, tensor) or tensor.node.op.kind not in (POINTWISE, VIEW):
            continue
        total += tensor.node.op.flops
        stack.extend(tensor.node.inputs)
    return int(total)
