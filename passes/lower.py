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

from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..errors import InternalError
from ..ir.node import Node, Tensor
from ..loop import nodes as loop
from ..loop.nodes import PARALLEL, SERIAL, VECTOR, Const, Expr, Load
from ..sizes import Dim, Size, ceildiv, exact_quotient, multiply, product
from .fuse import (
    COLUMNS,
    CONCAT,
    CONTRACTION,
    COPY,
    EFFECT_KIND,
    ELEMENT,
    FULL,
    NEST_KIND,
    POINTWISE,
    REDUCTION,
    ROW,
    ROWS,
    Cluster,
    Fusion,
    is_reduction,
)  # fmt: skip
from .index_math import Form, estimate
from .lower_context import ElementContext, KernelBuilder, NestContext
from .relations import LEAD, SAME, SCALAR, count

CHUNK_WORK = 1 << 17  # what one chunk of a parallel loop costs, in about quarter cycles of a lane
SMALLEST_CHUNK, LARGEST_CHUNK = 1 << 10, 1 << 15  # elements
MOST_PARTIALS = 64  # of a reduction, where its size is known

ACCUMULATOR = {
    "sum": "add", "prod": "mul", "max": "maximum", "min": "minimum", "and": "and", "or": "or",
}  # fmt: skip


@dataclass
class Lowering:
    """What all kernels of a plan share."""

    fusion: Fusion
    target: Any

    def cluster(self, builder: KernelBuilder, cluster: Cluster) -> None:
        """Adds the loops of a cluster to a kernel."""
        _LOWER[cluster.kind](self, builder, cluster)
        builder.pending.difference_update(cluster.stored)
        if cluster.copy is not None:
            builder.pending.discard(cluster.copy[1])


# -- loops over elements -------------------------------------------------------------------------


def work(cluster: Cluster) -> float:
    """The cost of an element, in about quarter cycles of a vector lane."""
    flops = sum(node.op.flops for node in (*cluster.nodes, *cluster.inlined))
    return flops + 2.0 * (len(cluster.reads) + len(cluster.stored)) + 2.0


def chunk_size(cost: float) -> int:
    """Elements in a chunk: a power of two."""
    wanted = CHUNK_WORK / max(cost, 1.0)
    return min(LARGEST_CHUNK, max(SMALLEST_CHUNK, 1 << (int(wanted).bit_length() - 1)))


def _fits(n: Dim, chunk: int) -> bool:
    """Whether so few iterations are not worth splitting."""
    return isinstance(n, int) and n <= chunk + chunk // 2


def _limit(builder: KernelBuilder, whole: Dim, start: Form, step: int) -> Expr | None:
    """min(step, whole - start), None where that is `step` always."""
    if isinstance(whole, int) and whole % step == 0:
        return None
    left = builder.math.add(builder.math.constant(whole), start, -1)
    return loop.apply("minimum", Const(step), builder.index(left))


@contextmanager
def elements(builder: KernelBuilder, n: Dim, cost: float) -> Iterator[Form]:
    """A vector loop over `n` elements, in parallel chunks where they are many."""
    math = builder.math
    if n == 1:
        yield math.constant(0)
        return
    chunk = chunk_size(cost)
    if _fits(n, chunk):
        with builder.loop(VECTOR, n) as v:
            yield v
        return
    with builder.loop(PARALLEL, ceildiv(n, chunk), prefix="chunk") as c:
        start = math.scale(c, chunk)
        bound = _limit(builder, n, start, chunk)
        with builder.loop(VECTOR, chunk, bound=bound) as v:
            yield math.add(start, v)


@contextmanager
def outer(builder: KernelBuilder, rows: Dim, row_work: float) -> Iterator[Form]:
    """A loop over rows that each cost `row_work`, in parallel where they are many."""
    if rows == 1:
        yield builder.math.constant(0)
        return
    grain = max(1, int(CHUNK_WORK / max(row_work, 1.0)))
    kind = SERIAL if _fits(rows, grain) else PARALLEL
    with builder.loop(kind, rows, grain if kind == PARALLEL else 1, prefix="row") as p:
        yield p


@contextmanager
def inner(builder: KernelBuilder, n: Dim) -> Iterator[Form]:
    """A vector loop over the elements of a row."""
    if n == 1:
        yield builder.math.constant(0)
        return
    with builder.loop(VECTOR, n) as v:
        yield v


def row_length(fusion: Fusion, cluster: Cluster) -> Dim | None:
    """The length of rows to loop over; None where one loop over all elements does.

    Only accesses other than at the same element ask for rows: then of the last dimension.
    """
    lead: Dim | None = None
    for tensor, how in cluster.reads.items():
        if how in (SAME, SCALAR) or fusion.cluster_of.get(tensor) is cluster:
            continue
        if how == LEAD and lead in (None, count(tensor)):
            lead = count(tensor)
            continue
        return _last_dimension(cluster)
    if lead is None:
        return None
    length = exact_quotient(cluster.count, lead)
    return length if length is not None else _last_dimension(cluster)


def _last_dimension(cluster: Cluster) -> Dim:
    shapes = []
    for tensor in cluster.members:
        source = tensor.node.inputs[0] if is_reduction(tensor) else tensor
        if cluster.level[tensor] == ELEMENT or is_reduction(tensor):
            shapes.append([dim for dim in source.dims if dim != 1])
    best = max(shapes, key=len, default=[])
    return best[-1] if best else 1


# -- values of members ---------------------------------------------------------------------------


def element_members(cluster: Cluster) -> list[Tensor]:
    return [t for t in cluster.members if cluster.level[t] == ELEMENT]


def compute(builder: KernelBuilder, cluster: Cluster, tensors: Sequence[Tensor], position: Form):
    """Computes members at an element, then stores those that are stored.

    Stores come last: where a variable is updated in place, nothing of it is read after them.
    """
    values = [(tensor, builder.at(tensor, position)) for tensor in tensors]
    for tensor, value in values:
        if tensor in cluster.stored:
            builder.store(tensor, position, value)


def reduced_value(builder: KernelBuilder, tensor: Tensor, position: Form) -> Expr:
    """The element of a reduction's input."""
    node = tensor.node
    index = builder.math.split(position, node.inputs[0].dims)
    exprs = tuple(builder.math.expr(part) for part in index)
    return node.op.lower(node, exprs, ElementContext(builder, node), 0)


def accumulator(tensor: Tensor) -> str:
    return ACCUMULATOR[tensor.node.attrs["kind"]]


# -- kinds of clusters ---------------------------------------------------------------------------


def _pointwise(lowering: Lowering, builder: KernelBuilder, cluster: Cluster) -> None:
    with every_element(lowering, builder, cluster) as position:
        compute(builder, cluster, cluster.members, position)


@contextmanager
def every_element(lowering: Lowering, builder: KernelBuilder, cluster: Cluster) -> Iterator[Form]:
    """Loops over all elements of a cluster, in the shape its accesses want."""
    cost = work(cluster)
    length = row_length(lowering.fusion, cluster)
    rows = None if length is None else exact_quotient(cluster.count, length)
    if rows is None or rows == 1 or length == 1:
        with elements(builder, cluster.count, cost) as position:
            yield position
        return
    with outer(builder, rows, cost * estimate(length)) as p, inner(builder, length) as v:
        yield builder.math.add(builder.math.scale(p, length), v)


def _rows(lowering: Lowering, builder: KernelBuilder, cluster: Cluster) -> None:
    """Phases over each row: every one a loop, after the reductions it depends on."""
    rows = cluster.rows
    length = exact_quotient(cluster.count, rows)
    if length is None:
        raise InternalError(f"rows of unequal length in {cluster!r}")
    phase = phases(lowering.fusion, cluster)
    math = builder.math
    inside = {t for t in cluster.members if cluster.level[t] == ELEMENT}
    reductions = [t for t in cluster.members if is_reduction(t)]
    with outer(builder, rows, work(cluster) * estimate(length)) as p:
        start = math.scale(p, length)
        for number in range(1 + max(phase.values())):
            for tensor in cluster.members:
                if cluster.level[tensor] == ROW and tensor not in reductions and (
                    phase[tensor] == number
                ):  # fmt: skip
                    compute(builder, cluster, [tensor], p)
                    builder.pending.discard(tensor)
            sums = [t for t in reductions if phase[t] == number + 1]
            stores = [t for t in inside if t in cluster.stored and phase[t] == number]
            checks = [
                t for t in inside
                if phase[t] == number and t not in cluster.stored and t.node.op.fallible
            ]  # fmt: skip
            wanted = _closure(lowering.fusion, cluster, builder, sums, [*stores, *checks])
            if not sums and not wanted:
                continue
            locals_ = {
                t: builder.local(t.dtype, loop.neutral(accumulator(t), t.dtype)) for t in sums
            }
            with inner(builder, length) as v:
                position = math.add(start, v)
                compute(builder, cluster, wanted, position)
                for tensor, local in locals_.items():
                    value = reduced_value(builder, tensor, position)
                    builder.emit(loop.Accumulate(local, loop.ZERO, accumulator(tensor), value))
            for tensor in stores:
                builder.pending.discard(tensor)
            for tensor, local in locals_.items():
                result = builder.let(Load(local, loop.ZERO), "r")
                builder.remember(tensor, p, result)
                if tensor in cluster.stored:
                    builder.store(tensor, p, result)


def phases(fusion: Fusion, cluster: Cluster) -> dict[Tensor, int]:
    """For each member of a row cluster the first loop it can be computed in (a reduction's result,
    and what is computed of it for the row: the loop before which it is known)."""
    found: dict[Tensor, int] = {}
    for tensor in cluster.members:
        needs = [found[t] for t in fusion.reads[tensor] if t in found]
        found[tensor] = max(needs, default=0) + is_reduction(tensor)
    return found


def _closure(fusion, cluster, builder, sums, stores) -> list[Tensor]:
    """The element members that these need and that are not in memory yet, in order."""
    wanted = dict.fromkeys(stores)
    stack = [*sums, *stores]
    while stack:
        for tensor in fusion.reads[stack.pop()]:
            known = tensor in cluster.stored and tensor not in builder.pending
            if cluster.level.get(tensor) == ELEMENT and tensor not in wanted and not known:
                wanted[tensor] = None
                stack.append(tensor)
    return [t for t in cluster.members if t in wanted]


def _columns(lowering: Lowering, builder: KernelBuilder, cluster: Cluster) -> None:
    """Sums down the columns: row by row into one row of sums; of many rows, one for each chunk."""
    columns = cluster.rows
    rows = exact_quotient(cluster.count, columns)
    if rows is None:
        raise InternalError(f"columns of unequal length in {cluster!r}")
    sums = [t for t in cluster.members if is_reduction(t)]
    others = element_members(cluster)
    math = builder.math
    step = max(1, chunk_size(work(cluster)) // max(1, estimate(columns)))
    if isinstance(rows, int):
        step = max(step, -(-rows // MOST_PARTIALS))

    def pass_over(first: Form, targets, base: Form, extent: Dim, bound: Expr | None) -> None:
        with inner(builder, columns) as v:
            for tensor, buffer in targets:
                zero = loop.neutral(accumulator(tensor), tensor.dtype)
                builder.emit(loop.Store(buffer, builder.index(math.add(base, v)), zero))
        with builder.loop(SERIAL, extent, bound=bound, prefix="row") as r:
            start = math.scale(math.add(first, r), columns)
            with inner(builder, columns) as v:
                position = math.add(start, v)
                compute(builder, cluster, others, position)
                for tensor, buffer in targets:
                    value = reduced_value(builder, tensor, position)
                    at = builder.index(math.add(base, v))
                    builder.emit(loop.Accumulate(buffer, at, accumulator(tensor), value))

    zero = math.constant(0)
    if _fits(rows, step):
        targets = [(t, builder.buffer(t, write=True)) for t in sums]
        pass_over(zero, targets, zero, rows, None)
        return
    chunks = ceildiv(rows, step)
    partial = [(t, builder.workspace(t.dtype, multiply(chunks, columns))) for t in sums]
    with builder.loop(PARALLEL, chunks, prefix="chunk") as c:
        first = math.scale(c, step)
        bound = _limit(builder, rows, first, step)
        pass_over(first, partial, math.scale(c, columns), step, bound)
    with elements(builder, columns, 2.0 * min(estimate(chunks), MOST_PARTIALS)) as v:
        for tensor, buffer in partial:
            local = builder.local(tensor.dtype, loop.neutral(accumulator(tensor), tensor.dtype))
            with builder.loop(SERIAL, chunks) as c:
                at = builder.index(math.add(math.scale(c, columns), v))
                value = Load(buffer, at)
                builder.emit(loop.Accumulate(local, loop.ZERO, accumulator(tensor), value))
            builder.store(tensor, v, Load(local, loop.ZERO))


def _full(lowering: Lowering, builder: KernelBuilder, cluster: Cluster) -> None:
    """One value of all elements: in chunks, whose partial results are combined in order."""
    sums = [t for t in cluster.members if is_reduction(t)]
    others = element_members(cluster)
    math = builder.math
    cost = work(cluster)
    length = row_length(lowering.fusion, cluster)
    rows = None if length is None else exact_quotient(cluster.count, length)
    by_row = rows is not None and rows != 1 and length != 1
    chunk = chunk_size(cost)

    def start_sums() -> dict[Tensor, loop.Local]:
        return {t: builder.local(t.dtype, loop.neutral(accumulator(t), t.dtype)) for t in sums}

    def add(locals_: dict[Tensor, loop.Local], position: Form) -> None:
        compute(builder, cluster, others, position)
        for tensor, local in locals_.items():
            value = reduced_value(builder, tensor, position)
            builder.emit(loop.Accumulate(local, loop.ZERO, accumulator(tensor), value))

    def all_of(locals_, first: Form, extent: Dim, bound: Expr | None) -> None:
        """Rows, or elements, first .. first + extent."""
        if not by_row:
            if extent == 1:
                add(locals_, first)
                return
            with builder.loop(VECTOR, extent, bound=bound) as v:
                add(locals_, math.add(first, v))
            return
        with builder.loop(SERIAL, extent, bound=bound, prefix="row") as r:
            start = math.scale(math.add(first, r), length)
            with inner(builder, length) as v:
                add(locals_, math.add(start, v))

    units = rows if by_row else cluster.count
    step = max(1, chunk // estimate(length)) if by_row else chunk
    if isinstance(units, int):
        step = max(step, -(-units // MOST_PARTIALS))
    zero = math.constant(0)
    if _fits(units, step):
        totals = start_sums()
        all_of(totals, zero, units, None)
    else:
        chunks = ceildiv(units, step)
        partial = {t: builder.workspace(t.dtype, chunks) for t in sums}
        with builder.loop(PARALLEL, chunks, prefix="chunk") as c:
            locals_ = start_sums()
            first = math.scale(c, step)
            all_of(locals_, first, step, _limit(builder, units, first, step))
            for tensor, local in locals_.items():
                at = builder.index(c)
                builder.emit(loop.Store(partial[tensor], at, Load(local, loop.ZERO)))
        totals = start_sums()
        for tensor, local in totals.items():
            with builder.loop(SERIAL, chunks) as c:
                value = Load(partial[tensor], builder.index(c))
                builder.emit(loop.Accumulate(local, loop.ZERO, accumulator(tensor), value))
    for tensor, local in totals.items():
        result = builder.let(Load(local, loop.ZERO), "r")
        builder.remember(tensor, zero, result)
        if tensor in cluster.stored:
            builder.store(tensor, zero, result)


def _reduction(lowering: Lowering, builder: KernelBuilder, cluster: Cluster) -> None:
    """Any dimensions: kept ones outside (the last one as lanes, if it is the innermost)."""
    (tensor,) = cluster.members
    node = tensor.node
    source = node.inputs[0]
    axes = set(node.attrs["axes"])
    # Neighbouring dimensions of one fate are one dimension.
    segments: list[tuple[bool, list[Dim]]] = []
    for axis, dim in enumerate(source.dims):
        if segments and segments[-1][0] == (axis in axes):
            segments[-1][1].append(dim)
        else:
            segments.append((axis in axes, [dim]))
    sizes = [product(dims) for _, dims in segments]
    math = builder.math
    kept = [k for k, (reduced, _) in enumerate(segments) if not reduced]
    summed = [k for k, (reduced, _) in enumerate(segments) if reduced]
    lanes = kept.pop() if not segments[-1][0] else None
    last = None if lanes is not None else summed.pop()
    op = accumulator(tensor)
    each = work(cluster) * estimate(product(source.dims)) / max(1, estimate(count(tensor)))
    forms: dict[int, Form] = {}

    def value_here() -> Expr:
        position = math.linear([forms[k] for k in range(len(segments))], sizes)
        return reduced_value(builder, tensor, position)

    def out_position() -> Form:
        order = [k for k, (reduced, _) in enumerate(segments) if not reduced]
        return math.linear([forms[k] for k in order], [sizes[k] for k in order])

    def sum_up() -> None:
        local = builder.local(tensor.dtype, loop.neutral(op, tensor.dtype))
        with builder.loop(SERIAL, product([sizes[k] for k in summed]), prefix="r") as q:
            forms.update(zip(summed, math.split(q, [sizes[k] for k in summed]), strict=True))
            if last is None:
                builder.emit(loop.Accumulate(local, loop.ZERO, op, value_here()))
            else:
                with inner(builder, sizes[last]) as v:
                    forms[last] = v
                    builder.emit(loop.Accumulate(local, loop.ZERO, op, value_here()))
        builder.store(tensor, out_position(), Load(local, loop.ZERO))

    rows = product([sizes[k] for k in kept])
    width = 1 if lanes is None else sizes[lanes]
    with outer(builder, rows, each * estimate(width)) as p:
        forms.update(zip(kept, math.split(p, [sizes[k] for k in kept]), strict=True))
        if lanes is None:
            sum_up()
        else:
            with inner(builder, width) as v:
                forms[lanes] = v
                sum_up()


def _concat(lowering: Lowering, builder: KernelBuilder, cluster: Cluster) -> None:
    """One loop for each input, so that each computes only its own part."""
    (tensor,) = cluster.members
    node = tensor.node
    axis = node.attrs["axis"] % len(tensor.dims)
    behind = product(tensor.dims[axis + 1 :])
    row = multiply(tensor.dims[axis], behind)
    before = product(tensor.dims[:axis])
    math = builder.math
    offset: Dim = 0
    for part in node.inputs:
        length = multiply(part.dims[axis], behind)
        with outer(builder, before, 6.0 * estimate(length)) as p:
            loops = elements(builder, length, 6.0) if before == 1 else inner(builder, length)
            with loops as v:
                value = builder.at(part, math.add(math.scale(p, length), v))
                place = math.add(math.scale(p, row), v)
                builder.store(tensor, math.add(place, math.constant(offset)), value)
        offset = offset + length


def _nest(lowering: Lowering, builder: KernelBuilder, cluster: Cluster) -> None:
    for node in cluster.nodes:
        for stmt in node.op.lower(node, NestContext(builder, node)):
            builder.emit(stmt)


def _copy(lowering: Lowering, builder: KernelBuilder, cluster: Cluster) -> None:
    source, key = cluster.copy  # type: ignore[misc]
    with elements(builder, count(source), 4.0) as position:
        builder.store(key, position, builder.at(source, position))


def _contraction(lowering: Lowering, builder: KernelBuilder, cluster: Cluster) -> None:
    from .lower_contract import lower_contraction

    lower_contraction(lowering, builder, cluster)


_LOWER = {
    POINTWISE: _pointwise, ROWS: _rows, COLUMNS: _columns, FULL: _full, REDUCTION: _reduction,
    CONTRACTION: _contraction, CONCAT: _concat, NEST_KIND: _nest, EFFECT_KIND: _nest, COPY: _copy,
}  # fmt: skip

__all__ = ["Hashable", "Lowering", "Node", "Size", "work"]
