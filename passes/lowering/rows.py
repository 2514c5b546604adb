"""Rows: for each, reductions over it and what uses their results, in phases that each are a loop.

What a phase computes and a later one needs is computed again, read from memory where it is stored
anyway, or kept in a row of the stack. Sums down the columns go along: each chunk of rows has its
own, and they are combined in order.
"""

from __future__ import annotations

from ...errors import InternalError
from ...ir.node import Tensor
from ...loop import nodes as loop
from ...loop.nodes import Load
from ...sizes import Dim
from ..analysis.index_math import Form, estimate
from ..analysis.relations import SAME
from ..fusion.cluster import ELEMENT, RESULT, ROW, Cluster, Fusion, is_reduction, phases
from .context import KernelBuilder
from .loops import compute, inner, outer, work
from .reduce import ColumnSums, accumulator, reduced_value

SHORTEST_FETCHED = 256  # elements of a row; shorter ones are there before fetching them pays


def rows_nest(fusion: Fusion, builder: KernelBuilder, cluster: Cluster) -> None:
    rows, length = cluster.groups(), cluster.row_length()
    if length is None:
        raise InternalError(f"rows of unequal length in {cluster!r}")
    if RESULT not in cluster.level.values():
        with outer(builder, rows, work(cluster) * estimate(length)) as p:
            _Row(fusion, builder, cluster, length, p, None).emit()
        return
    columns = ColumnSums(builder, cluster, rows, length)
    with columns.each_row() as p:
        _Row(fusion, builder, cluster, length, p, columns).emit()
    columns.finish()


class _Row:
    """What is computed for row number `p`."""

    def __init__(
        self,
        fusion: Fusion,
        builder: KernelBuilder,
        cluster: Cluster,
        length: Dim,
        p: Form,
        columns: ColumnSums | None,
    ):
        self.fusion, self.builder, self.cluster = fusion, builder, cluster
        self.length, self.p, self.columns = length, p, columns
        self.phase = phases(cluster, fusion.reads)
        self.kept: dict[Tensor, loop.Local] = {}  # those computed so far

    def emit(self) -> None:
        rows = {tensor: self._kept_row(tensor) for tensor in self.cluster.kept}
        for number in range(1 + max(self.phase.values())):
            self._of_the_row(number)
            self._phase(number, rows)

    def _kept_row(self, tensor: Tensor) -> loop.Local:
        assert isinstance(self.length, int), "rows of unknown length are not kept"
        builder = self.builder
        found = loop.Local(builder.name("row"), tensor.dtype, (self.length,), "stack")
        builder.depth_of_local[found] = len(builder.blocks) - 1
        builder.emit(found)
        return found

    def _of_the_row(self, number: int) -> None:
        """What has one value for the row, of the results that are known before a phase."""
        for tensor in self.cluster.members:
            if (
                self.cluster.level[tensor] == ROW
                and not is_reduction(tensor)
                and self.phase[tensor] == number
            ):
                compute(self.builder, self.cluster, [tensor], self.p)
                self.builder.pending.discard(tensor)

    def _phase(self, number: int, rows: dict[Tensor, loop.Local]) -> None:
        cluster, builder, phase = self.cluster, self.builder, self.phase
        sums = [t for t in cluster.members if is_reduction(t) and phase[t] == number + 1]
        down = [t for t in sums if cluster.level[t] == RESULT]
        keep = [t for t in cluster.kept if phase[t] == number]
        now = [t for t in cluster.members if cluster.level[t] == ELEMENT and phase[t] == number]
        stores = [t for t in now if t in cluster.stored]
        checks = [t for t in now if t not in cluster.stored and t.node.op.fallible]
        wanted, again = self._closure(sums, [*stores, *checks, *keep])
        if not sums and not wanted:
            return
        locals_ = {
            t: builder.local(t.dtype, loop.neutral(accumulator(t), t.dtype))
            for t in sums
            if t not in down
        }
        with inner(builder, self.length) as v:
            position = builder.math.add(builder.math.scale(self.p, self.length), v)
            for tensor in again:
                value = builder.let(Load(self.kept[tensor], builder.index(v)), "x")
                builder.remember(tensor, position, value)
            if number == 1:
                self._bring_next(position)
            compute(builder, cluster, wanted, position)
            for tensor in keep:
                value = builder.at(tensor, position)
                builder.emit(loop.Store(rows[tensor], builder.index(v), value))
            for tensor, local in locals_.items():
                value = reduced_value(builder, tensor, position)
                builder.emit(loop.Accumulate(local, loop.ZERO, accumulator(tensor), value))
            if self.columns is not None:
                self.columns.add(down, v, position)
        self.kept.update((tensor, rows[tensor]) for tensor in keep)
        for tensor in stores:
            builder.pending.discard(tensor)
        for tensor, local in locals_.items():
            result = builder.let(Load(local, loop.ZERO), "r")
            builder.remember(tensor, self.p, result)
            if tensor in cluster.stored:
                builder.store(tensor, self.p, result)

    def _bring_next(self, position: Form) -> None:
        """The second loop over a row finds it in the cache; it is the time to fetch the next row.

        A row is a run of memory by itself to the processor, which foresees only where one leads.
        """
        builder, length = self.builder, self.length
        if not isinstance(length, int) or length < SHORTEST_FETCHED:
            return
        for tensor, how in self.cluster.reads.items():
            key = builder.storage_of(tensor)
            if how == SAME and key is not None and key in builder.reads:
                place = builder.math.add(position, builder.math.constant(length))
                builder.emit(loop.Prefetch(builder.buffer(key, write=False), builder.index(place)))

    def _closure(self, sums, stores) -> tuple[list[Tensor], list[Tensor]]:
        """The element members that these need and that are not known yet, in order; and those
        that are kept from before."""
        cluster, builder = self.cluster, self.builder
        wanted = dict.fromkeys(stores)
        again: dict[Tensor, None] = {}
        stack = [*sums, *stores]
        while stack:
            for tensor in self.fusion.reads[stack.pop()]:
                known = tensor in cluster.stored and tensor not in builder.pending
                if tensor in self.kept:
                    again[tensor] = None
                elif cluster.level.get(tensor) == ELEMENT and tensor not in wanted and not known:
                    wanted[tensor] = None
                    stack.append(tensor)
        return [t for t in cluster.members if t in wanted], list(again)
