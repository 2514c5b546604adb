"""Reductions: down columns, of everything, and any other; over rows see `rows.py`.

Partial results belong to chunks of fixed size, whatever the number of threads, and are combined
in order: results are bit-identical from run to run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from ...errors import InternalError
from ...ir.node import Tensor
from ...loop import nodes as loop
from ...loop.nodes import PARALLEL, SERIAL, VECTOR, Buffer, Expr, Load
from ...sizes import Dim, ceildiv, exact_quotient, multiply, product
from ..analysis.index_math import Form, estimate
from ..analysis.relations import count
from ..fusion.cluster import RESULT, Cluster, Fusion, is_reduction
from .context import ElementContext, KernelBuilder
from .loops import (
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

MOST_PARTIALS = 64  # of a reduction, where its size is known
NARROW = 16  # columns; fewer leave most of a vector empty

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


def columns_nest(fusion: Fusion, builder: KernelBuilder, cluster: Cluster) -> None:
    """Sums down the columns: row by row into one row of sums; of many rows, one for each chunk."""
    columns = cluster.groups()
    rows = exact_quotient(cluster.count, columns)
    if rows is None:
        raise InternalError(f"columns of unequal length in {cluster!r}")
    side_by_side = _side_by_side(rows, columns)
    sums = ColumnSums(builder, cluster, rows, columns, side_by_side)
    others = element_members(cluster)
    with sums.each_row() as p, inner(builder, sums.wide) as v:
        position = builder.math.add(builder.math.scale(p, sums.wide), v)
        compute(builder, cluster, others, position)
        sums.add(sums.tensors, v, position)
    sums.finish()


def _side_by_side(rows: Dim, columns: Dim) -> int:
    """How many rows to take as one, where one would leave most of a vector empty."""
    if not isinstance(columns, int) or not 0 < columns < NARROW:
        return 1
    number = 1
    while columns * number < 2 * NARROW and exact_quotient(rows, 2 * number) is not None:
        number *= 2
    return number


class ColumnSums:
    """The reductions of a cluster down its columns, while its rows go by in chunks of fixed size:
    first of each chunk, then of the chunks in order. `side_by_side` rows count as one, `wide`, each
    with sums of its own."""

    def __init__(
        self,
        builder: KernelBuilder,
        cluster: Cluster,
        rows: Dim,
        columns: Dim,
        side_by_side: int = 1,
    ):
        self.builder, self.columns, self.side_by_side = builder, columns, side_by_side
        self.wide = multiply(columns, side_by_side)
        together = exact_quotient(rows, side_by_side)
        assert together is not None
        self.rows = rows = together
        self.tensors = [t for t in cluster.members if cluster.level[t] == RESULT]
        self.step = max(1, chunk_size(work(cluster)) // max(1, estimate(self.wide)))
        if isinstance(rows, int):
            self.step = max(self.step, -(-rows // MOST_PARTIALS))
        self.chunks: Dim = 1 if fits(rows, self.step) else ceildiv(rows, self.step)
        self.direct = self.chunks == 1 and side_by_side == 1
        self.base = builder.math.constant(0)  # of this chunk's sums
        self.sums: dict[Tensor, Buffer] = {}
        for tensor in self.tensors:
            if self.direct:
                self.sums[tensor] = builder.buffer(tensor, write=True)
            else:
                size = multiply(self.chunks, self.wide)
                self.sums[tensor] = builder.workspace(tensor.dtype, size)

    @contextmanager
    def each_row(self) -> Iterator[Form]:
        """Chunks in parallel, the rows of each one after the other."""
        builder, math = self.builder, self.builder.math
        if self.chunks == 1:
            self._clear()
            with builder.loop(SERIAL, self.rows, prefix="row") as r:
                yield r
            return
        with builder.loop(PARALLEL, self.chunks, prefix="chunk") as c:
            self.base = math.scale(c, self.wide)
            self._clear()
            first = math.scale(c, self.step)
            bound = limit(builder, self.rows, first, self.step)
            with builder.loop(SERIAL, self.step, bound=bound, prefix="row") as r:
                row = math.add(first, r)
                yield row if bound is None else builder.named(row, self.rows)

    def _clear(self) -> None:
        with inner(self.builder, self.wide) as v:
            for tensor, buffer in self.sums.items():
                zero = loop.neutral(accumulator(tensor), tensor.dtype)
                self.builder.emit(loop.Store(buffer, self._at(v), zero))

    def _at(self, v: Form) -> Expr:
        return self.builder.index(self.builder.math.add(self.base, v))

    def add(self, tensors: Iterable[Tensor], v: Form, position: Form) -> None:
        """Adds the element at a position, in column `v`."""
        for tensor in tensors:
            value = reduced_value(self.builder, tensor, position)
            target = self.sums[tensor]
            added = loop.Accumulate(target, self._at(v), accumulator(tensor), value)
            self.builder.emit(added)

    def finish(self) -> None:
        """Combines the sums of chunks, and of rows side by side."""
        if self.direct:
            return
        builder, math = self.builder, self.builder.math
        parts = multiply(self.chunks, self.side_by_side)
        cost = 2.0 * min(estimate(parts), MOST_PARTIALS)
        with elements(builder, self.columns, cost) as v:
            for tensor, buffer in self.sums.items():
                zero = loop.neutral(accumulator(tensor), tensor.dtype)
                local = builder.local(tensor.dtype, zero)
                with builder.loop(SERIAL, parts) as c:
                    at = builder.index(math.add(math.scale(c, self.columns), v))
                    op = accumulator(tensor)
                    builder.emit(loop.Accumulate(local, loop.ZERO, op, Load(buffer, at)))
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
