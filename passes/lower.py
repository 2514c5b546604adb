"""Clusters --> Loop IR: each cluster becomes one nest of loops in the kernel of its launch.

Loops run over elements in row-major order, in one of two shapes:

    elements    one vector loop, in chunks that run in parallel where there is enough work
    rows        rows in parallel, a vector loop over the elements of a row

Which index of which tensor an element belongs to is index arithmetic (`index_math.py`), so shapes
matter only where a row must end at the end of a dimension to keep accesses contiguous.

Chunks are of fixed size, whatever the number of threads: partial results are combined in the same
order every time, and results are bit-identical.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from ..ir.node import Tensor
from ..ir.op import ATTEND, CONVOLVE
from ..sizes import Dim, multiply, product
from .analysis.index_math import Form, estimate
from .analysis.relations import OTHER, count
from .attention.lower import attention_loops
from .contraction.lower import contraction_loops
from .convolution.lower import convolution_loops
from .fusion.cluster import (
    COLUMNS,
    CONCAT,
    CONTRACTION,
    COPY,
    EFFECT_KIND,
    FULL,
    NEST_KIND,
    POINTWISE,
    REDUCTION,
    ROWS,
    Cluster,
    Fusion,
)
from .lowering.access import access_pattern
from .lowering.context import KernelBuilder, NestContext
from .lowering.loops import compute, elements, every_element, inner, outer
from .lowering.reduce import columns_nest, full_nest, reduction_nest
from .lowering.rows import rows_nest
from .lowering.transpose import transposed_nest

_ABREAST = 8  # inputs of a concatenation in one loop


@dataclass
class Lowering:
    """What all kernels of a plan share."""

    fusion: Fusion
    target: Any
    disable: frozenset[str]

    def cluster(self, builder: KernelBuilder, cluster: Cluster) -> None:
        """Adds the loops of a cluster to a kernel."""
        if cluster.kind in _REDUCE:
            _REDUCE[cluster.kind](self.fusion, builder, cluster)
        else:
            _LOWER[cluster.kind](self, builder, cluster)
        builder.pending.difference_update(cluster.stored)
        if cluster.copy is not None:
            builder.pending.discard(cluster.copy[1])


def _pointwise(lowering: Lowering, builder: KernelBuilder, cluster: Cluster) -> None:
    length = None
    if OTHER in cluster.reads.values():
        pattern = access_pattern(builder, cluster)
        if pattern is not None:
            if transposed_nest(lowering.target, builder, cluster, pattern):
                return
            length = pattern.sizes[-1] if pattern.groups else 1
    with every_element(lowering.fusion, builder, cluster, length) as position:
        compute(builder, cluster, cluster.members, position)


def _concat(lowering: Lowering, builder: KernelBuilder, cluster: Cluster) -> None:
    """For each row what of it comes from each input, so that each computes only its own part.
    Inputs of one length, next to each other, go along in one loop: they may read the same."""
    (tensor,) = cluster.members
    node = tensor.node
    axis = node.attrs["axis"] % len(tensor.dims)
    behind = product(tensor.dims[axis + 1 :])
    row = multiply(tensor.dims[axis], behind)
    before = product(tensor.dims[:axis])
    math = builder.math
    runs: list[tuple[Dim, list[Tensor]]] = []  # (length, inputs of it)
    for part in node.inputs:
        length = multiply(part.dims[axis], behind)
        if runs and runs[-1][0] == length and len(runs[-1][1]) < _ABREAST:
            runs[-1][1].append(part)
        else:
            runs.append((length, [part]))

    def run(p: Form, v: Form, length: Dim, parts: list[Tensor], offset: Dim) -> None:
        values = [builder.at(part, math.add(math.scale(p, length), v)) for part in parts]
        for value in values:
            place = math.add(math.add(math.scale(p, row), v), math.constant(offset))
            builder.store(tensor, place, value)
            offset = offset + length

    starts: list[Dim] = list(
        accumulate((multiply(length, len(parts)) for length, parts in runs), initial=0)
    )
    if before == 1:
        for (length, parts), offset in zip(runs, starts, strict=False):
            for number, part in enumerate(parts):
                with elements(builder, length, 6.0) as v:
                    run(math.constant(0), v, length, [part], offset + length * number)
        return
    with outer(builder, before, 6.0 * estimate(row)) as p:
        for (length, parts), offset in zip(runs, starts, strict=False):
            with inner(builder, length) as v:
                run(p, v, length, parts, offset)


def _nest(lowering: Lowering, builder: KernelBuilder, cluster: Cluster) -> None:
    for node in cluster.nodes:
        if node.op.kind == ATTEND:
            attention_loops(lowering.target, builder, node)
            continue
        assert node.op.lower is not None
        for stmt in node.op.lower(node, NestContext(builder, node)):
            builder.emit(stmt)


def _copy(lowering: Lowering, builder: KernelBuilder, cluster: Cluster) -> None:
    source, key = cluster.copy  # type: ignore[misc]
    with elements(builder, count(source), 4.0) as position:
        builder.store(key, position, builder.at(source, position))


def _contraction(lowering: Lowering, builder: KernelBuilder, cluster: Cluster) -> None:
    if any(node.op.kind == CONVOLVE for node in cluster.nodes):
        convolution_loops(lowering.target, builder, cluster, lowering.disable)
    else:
        contraction_loops(lowering.target, builder, cluster)


_LOWER = {
    POINTWISE: _pointwise, CONTRACTION: _contraction, CONCAT: _concat, NEST_KIND: _nest,
    EFFECT_KIND: _nest, COPY: _copy,
}  # fmt: skip
_REDUCE = {
    ROWS: rows_nest, COLUMNS: columns_nest, FULL: full_nest, REDUCTION: reduction_nest,
}  # fmt: skip
