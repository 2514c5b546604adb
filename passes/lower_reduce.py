"""Reductions: over rows with what uses their results, down columns, of everything, and any other.

Partial results belong to chunks of fixed size, whatever the number of threads, and are combined
in order: results are bit-identical from run to run.
"""

from __future__ import annotations

from ..errors import InternalError
from ..ir.node import Tensor
from ..loop import nodes as loop
from ..loop.nodes import PARALLEL, SERIAL, VECTOR, Expr, Load
from ..sizes import Dim, ceildiv, exact_quotient, multiply, product
from .cluster import ELEMENT, ROW, Cluster, Fusion, is_reduction, phases
from .index_math import Form, estimate
from .lower_context import ElementContext, KernelBuilder
from .lower_loops import (
    chunk_size,
    compute,
    element_members,
    elements,
    fits,
    inner,
    limit,
    outer,
    row_shape,
    work,
)
from .relations import count

MOST_PARTIALS = 64  # of a reduction, where its size is known

ACCUMULATOR = {
    "sum": "add", "prod": "mul", "max": "maximum", "min": "minimum", "and": "and", "or": "or",
}  # fmt: skip


def reduced_value(builder: KernelBuilder, tensor: Tensor, position: Form) -> Expr:
    """The element of a reduction's input."""
    node = tensor.node
    index = builder.math.split(position, node.inputs[0].dims)
    exprs = tuple(builder.math.expr(part) for part in index)
    assert node.op.lower is not None
    return node.op.lower(node, exprs, ElementContext(builder, node), 0)


def accumulator(tensor: Tensor) -> str:
    return ACCUMULATOR[tensor.node.attrs["kind"]]


def rows_nest(fusion: Fusion, builder: KernelBuilder, cluster: Cluster) -> None:
    """Phases over each row: every one a loop, after the reductions it depends on."""
    rows = cluster.groups()
    length = exact_quotient(cluster.count, rows)
    if length is None:
        raise InternalError(f"rows of unequal length in {cluster!r}")
    phase = phases(cluster, fusion.reads)
    math = builder.math
    inside = {t for t in cluster.members if cluster.level[t] == ELEMENT}
    reductions = [t for t in cluster.members if is_reduction(t)]
    kept: dict[Tensor, loop.Local] = {}  # those computed so far
    with outer(builder, rows, work(cluster) * estimate(length)) as p:
        start = math.scale(p, length)
        kept_rows = {t: _kept_row(builder, t, length) for t in cluster.kept}
        for number in range(1 + max(phase.values())):
            for tensor in cluster.members:
                if cluster.level[tensor] == ROW and tensor not in reductions and (
                    phase[tensor] == number
                ):  # fmt: skip
                    compute(builder, cluster, [tensor], p)
                    builder.pending.discard(tensor)
            sums = [t for t in reductions if phase[t] == number + 1]
            keep = [t for t in cluster.kept if phase[t] == number]
            stores = [t for t in inside if t in cluster.stored and phase[t] == number]
            checks = [
                t for t in inside
                if phase[t] == number and t not in cluster.stored and t.node.op.fallible
            ]  # fmt: skip
            wanted, again = _closure(
                fusion, cluster, builder, kept, sums, [*stores, *checks, *keep]
            )
            if not sums and not wanted:
                continue
            locals_ = {
                t: builder.local(t.dtype, loop.neutral(accumulator(t), t.dtype)) for t in sums
            }
            with inner(builder, length) as v:
                position = math.add(start, v)
                for tensor in again:
                    value = builder.let(Load(kept[tensor], builder.index(v)), "x")
                    builder.remember(tensor, position, value)
                compute(builder, cluster, wanted, position)
                for tensor in keep:
                    value = builder.at(tensor, position)
                    builder.emit(loop.Store(kept_rows[tensor], builder.index(v), value))
                for tensor, local in locals_.items():
                    value = reduced_value(builder, tensor, position)
                    builder.emit(loop.Accumulate(local, loop.ZERO, accumulator(tensor), value))
            kept.update((tensor, kept_rows[tensor]) for tensor in keep)
            for tensor in stores:
                builder.pending.discard(tensor)
            for tensor, local in locals_.items():
                result = builder.let(Load(local, loop.ZERO), "r")
                builder.remember(tensor, p, result)
                if tensor in cluster.stored:
                    builder.store(tensor, p, result)


def _kept_row(builder: KernelBuilder, tensor: Tensor, length: Dim) -> loop.Local:
    assert isinstance(length, int), "rows of unknown length are not kept"
    found = loop.Local(builder.name("row"), tensor.dtype, (length,), "stack")
    builder.depth_of_local[found] = len(builder.blocks) - 1
    builder.emit(found)
    return found


def _closure(fusion, cluster, builder, kept, sums, stores) -> tuple[list[Tensor], list[Tensor]]:
    """The element members that these need and that are not known yet, in order; and those of them
    that are kept from before."""
    wanted = dict.fromkeys(stores)
    again: dict[Tensor, None] = {}
    stack = [*sums, *stores]
    while stack:
        for tensor in fusion.reads[stack.pop()]:
            known = tensor in cluster.stored and tensor not in builder.pending
            if tensor in kept:
                again[tensor] = None
            elif cluster.level.get(tensor) == ELEMENT and tensor not in wanted and not known:
                wanted[tensor] = None
                stack.append(tensor)
    return [t for t in cluster.members if t in wanted], list(again)


def columns_nest(fusion: Fusion, builder: KernelBuilder, cluster: Cluster) -> None:
    """Sums down the columns: row by row into one row of sums; of many rows, one for each chunk."""
    columns = cluster.groups()
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
    if fits(rows, step):
        targets = [(t, builder.buffer(t, write=True)) for t in sums]
        pass_over(zero, targets, zero, rows, None)
        return
    chunks = ceildiv(rows, step)
    partial = [(t, builder.workspace(t.dtype, multiply(chunks, columns))) for t in sums]
    with builder.loop(PARALLEL, chunks, prefix="chunk") as c:
        first = math.scale(c, step)
        bound = limit(builder, rows, first, step)
        pass_over(first, partial, math.scale(c, columns), step, bound)
    with elements(builder, columns, 2.0 * min(estimate(chunks), MOST_PARTIALS)) as v:
        for tensor, buffer in partial:
            local = builder.local(tensor.dtype, loop.neutral(accumulator(tensor), tensor.dtype))
            with builder.loop(SERIAL, chunks) as c:
                at = builder.index(math.add(math.scale(c, columns), v))
                value = Load(buffer, at)
                builder.emit(loop.Accumulate(local, loop.ZERO, accumulator(tensor), value))
            builder.store(tensor, v, Load(local, loop.ZERO))


def full_nest(fusion: Fusion, builder: KernelBuilder, cluster: Cluster) -> None:
    """One value of all elements: in chunks, whose partial results are combined in order."""
    sums = [t for t in cluster.members if is_reduction(t)]
    others = element_members(cluster)
    math = builder.math
    shape = row_shape(fusion, cluster)
    units, length = shape or (cluster.count, 1)  # rows, or elements

    def start_sums() -> dict[Tensor, loop.Local]:
        return {t: builder.local(t.dtype, loop.neutral(accumulator(t), t.dtype)) for t in sums}

    def add(locals_: dict[Tensor, loop.Local], position: Form) -> None:
        compute(builder, cluster, others, position)
        for tensor, local in locals_.items():
            value = reduced_value(builder, tensor, position)
            builder.emit(loop.Accumulate(local, loop.ZERO, accumulator(tensor), value))

    def all_of(locals_, first: Form, extent: Dim, bound: Expr | None) -> None:
        """Rows, or elements, first .. first + extent."""
        if shape is None:
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

    step = max(1, chunk_size(work(cluster)) // max(1, estimate(length)))
    if isinstance(units, int):
        step = max(step, -(-units // MOST_PARTIALS))
    zero = math.constant(0)
    if fits(units, step):
        totals = start_sums()
        all_of(totals, zero, units, None)
    else:
        chunks = ceildiv(units, step)
        partial = {t: builder.workspace(t.dtype, chunks) for t in sums}
        with builder.loop(PARALLEL, chunks, prefix="chunk") as c:
            locals_ = start_sums()
            first = math.scale(c, step)
            all_of(locals_, first, step, limit(builder, units, first, step))
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


def reduction_nest(fusion: Fusion, builder: KernelBuilder, cluster: Cluster) -> None:
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
