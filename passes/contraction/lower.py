"""Contraction clusters: inlined producers become the prologue, elementwise members the epilogue.

The loops are `build.py`'s; here the operands and the epilogue are put into its terms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...ir.node import Tensor
from ...ir.op import POINTWISE, VIEW
from ...loop.nodes import Expr, Stmt, Var
from ...sizes import Dim, multiply, product
from ..analysis.index_math import Form
from ..analysis.relations import count, scalar_constant
from ..fusion.cluster import Cluster, root
from ..lowering.context import KernelBuilder
from ..lowering.loops import compute
from .build import Contraction, ContractionSpec, Operand, Strided, contraction_nest
from .spec import Live


@dataclass(frozen=True)
class _Side:
    """One operand: its dimensions in three groups, each seen as one."""

    tensor: Tensor
    batch: tuple[int, ...]
    row: tuple[int, ...]
    column: tuple[int, ...]

    def dims(self, group: Sequence[int]) -> list[Dim]:
        return [self.tensor.dims[axis] for axis in group]


def contraction_loops(target: Any, builder: KernelBuilder, cluster: Cluster) -> None:
    result = next(t for t in cluster.members if t.node.op.kind == "contract")
    node = result.node
    a, b, *masks = node.inputs
    batch_a, batch_b = node.attrs.get("batch", ((), ()))
    sum_a, sum_b = node.attrs["contracting"]
    free_a = tuple(k for k in range(len(a.dims)) if k not in batch_a and k not in sum_a)
    free_b = tuple(k for k in range(len(b.dims)) if k not in batch_b and k not in sum_b)
    left = _Side(a, tuple(batch_a), free_a, tuple(sum_a))
    right = _Side(b, tuple(batch_b), tuple(sum_b), free_b)
    sizes = (product(left.dims(batch_a)), product(left.dims(free_a)), product(right.dims(free_b)))
    math = builder.math
    others = [t for t in cluster.members if t is not result]

    def epilogue(batch: Expr, m: Expr, n: Expr, value: Expr) -> list[Stmt]:
        with builder.captured() as block:
            index = [
                math.constant(0) if size == 1 else form
                for size, form in zip(sizes, builder.forms((batch, m, n)), strict=True)
            ]
            position = math.linear(index, sizes)
            builder.remember(result, position, value)
            compute(builder, cluster, [result, *others], position)
        return block

    spec = ContractionSpec(
        name=builder.name("contract"),
        dtype=result.dtype,
        batch=sizes[0],
        m=sizes[1],
        n=sizes[2],
        k=product(left.dims(sum_a)),
        a=_operand(builder, left),
        b=_operand(builder, right),
        epilogue=epilogue,
        streams=_streams(cluster, result),
        variable=variables(builder),
    )
    if masks:
        summed = node.attrs["of"] == "summed"
        (live,), rows = masks, left.column if summed else left.row
        spec = replace(spec, live=Live(_mask_reader(builder, live, left.dims(rows)), summed))
    # What is packed once knows nothing of what counts in a run.
    if builder.is_settled(b) and not (spec.live is not None and spec.live.summed):
        once = builder.preparing()
        spec = replace(spec, once=(_reader(once, right), variables(once)))
    emit_contraction(builder, contraction_nest(spec, target), spec)


def _mask_reader(
    builder: KernelBuilder, live: Tensor, dims: Sequence[Dim]
) -> Callable[[Expr], Expr]:
    """Says of a place in `dims`, the first of which the mask has, whether it counts."""

    def read(place: Expr) -> Expr:
        (form,) = builder.forms((place,))
        index = builder.math.split(form, dims)[: len(live.dims)]
        return builder.expression(live, tuple(index))

    return read


def _streams(cluster: Cluster, result: Tensor) -> int:
    """How many arrays as large as the result the epilogue reads or writes."""
    others = {*cluster.members, *map(root, result.node.inputs)}
    size = count(result)
    return sum(count(t) == size for t in cluster.stored) + sum(
        count(t) == size and t not in others for t in cluster.reads
    )


def variables(builder: KernelBuilder) -> Callable[[str, Dim], Var]:
    """What makes variables whose extents the builder knows."""

    def variable(prefix: str, extent: Dim) -> Var:
        var = Var(builder.name(prefix))
        builder.math.variable(var, extent)
        return var

    return variable


def emit_contraction(builder: KernelBuilder, built: Contraction, spec: ContractionSpec) -> None:
    """The loops into the kernel; those that pack B into the one before it, where B is settled."""
    builder.workspaces.extend(built.workspaces)
    body = built.body
    if spec.once is not None and built.packed is not None:
        once = builder.preparing()
        once.kept.append(built.packed)
        for stmt in built.pack_b:
            once.emit(stmt)
        body = (*built.pack_a, *built.product)
    for stmt in body:
        builder.emit(stmt)


def _reader(builder: KernelBuilder, side: _Side) -> Callable[[Expr, Expr, Expr], Expr]:
    math = builder.math

    def read(batch: Expr, row: Expr, column: Expr) -> Expr:
        index: list[Form] = [math.constant(0)] * len(side.tensor.dims)
        groups = (side.batch, side.row, side.column)
        for group, part in zip(groups, builder.forms((batch, row, column)), strict=True):
            for axis, form in zip(group, math.split(part, side.dims(group)), strict=True):
                index[axis] = form
        return builder.expression(side.tensor, tuple(index))

    return read


def _operand(builder: KernelBuilder, side: _Side) -> Operand:
    math = builder.math
    base, strides = _strides(builder, side.tensor)
    if strides is None:
        row = column = None
    else:
        row = _group_stride(side, side.row, strides)
        column = _group_stride(side, side.column, strides)
    contiguous = "column" if column == 1 else "row" if row == 1 else ""
    strided = None
    if base is not None and row is not None and column is not None and strides is not None:
        key = builder.storage_of(base)

        def start(batch: Expr) -> Expr:
            total = math.constant(0)
            (form,) = builder.forms((batch,))
            parts = math.split(form, side.dims(side.batch))
            for axis, part in zip(side.batch, parts, strict=True):
                total = math.add(total, math.scale(part, strides[axis]))
            return math.expr(total)

        if key is not None:
            strided = Strided(builder.buffer(key, write=False), start, row, column)
    cost = 0 if base is not None else _cost(builder, side.tensor)
    return Operand(_reader(builder, side), strided, contiguous, cost)


def _strides(builder: KernelBuilder, tensor: Tensor) -> tuple[Tensor | None, list[Dim] | None]:
    """(the tensor in memory or None, the step in memory of each dimension).

    A transpose that is not stored only reorders steps; other inlined work is taken to read
    something of its own layout.
    """
    order = list(range(len(tensor.dims)))
    while not _is_stored(builder, tensor) and tensor.node.op.name == "transpose":
        perm = tensor.node.attrs["perm"]
        order = [perm[axis] for axis in order]
        tensor = tensor.node.inputs[0]
    steps: list[Dim] = [1] * len(tensor.dims)
    for axis in range(len(tensor.dims) - 2, -1, -1):
        steps[axis] = multiply(steps[axis + 1], tensor.dims[axis + 1])
    return (tensor if _is_stored(builder, tensor) else None), [steps[axis] for axis in order]


def _is_stored(builder: KernelBuilder, tensor: Tensor) -> bool:
    if scalar_constant(tensor.node) is not None:
        return False
    return builder.storage_of(tensor) is not None


def _group_stride(side: _Side, group: Sequence[int], strides: Sequence[Dim]) -> Dim | None:
    """The step of several dimensions taken as one; None where there is no single one."""
    wide = [axis for axis in group if side.tensor.dims[axis] != 1]
    if not wide:
        return 0
    for axis, following in zip(wide, wide[1:], strict=False):
        if strides[axis] != multiply(strides[following], side.tensor.dims[following]):
            return None
    return strides[wide[-1]]


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
