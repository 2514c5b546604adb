"""Contraction clusters: inlined producers become the prologue, elementwise members the epilogue.

The loops are `build.py`'s; here the operands and the epilogue are put into its terms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ...ir.node import Tensor
from ...loop.nodes import Expr, Stmt, Var
from ...sizes import Dim, product
from ..analysis.relations import count
from ..fusion.cluster import Cluster, root
from ..lowering.context import KernelBuilder
from ..lowering.loops import compute
from .build import Contraction, ContractionSpec, contraction_nest
from .operands import Side, operand, reader
from .spec import Live


def contraction_loops(target: Any, builder: KernelBuilder, cluster: Cluster) -> None:
    result = next(t for t in cluster.members if t.node.op.kind == "contract")
    node = result.node
    a, b, *masks = node.inputs
    batch_a, batch_b = node.attrs.get("batch", ((), ()))
    sum_a, sum_b = node.attrs["contracting"]
    free_a = tuple(k for k in range(len(a.dims)) if k not in batch_a and k not in sum_a)
    free_b = tuple(k for k in range(len(b.dims)) if k not in batch_b and k not in sum_b)
    left = Side(a, tuple(batch_a), free_a, tuple(sum_a))
    right = Side(b, tuple(batch_b), tuple(sum_b), free_b)
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
        a=operand(builder, left, True),
        b=operand(builder, right, False),
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
        spec = replace(spec, once=(reader(once, right), variables(once)))
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
