"""What a step computes when, and where its values lie: a plan before it has kernels."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

from ...ir.node import Tensor
from ...ir.op import LEAF
from ...ir.program import Program
from ...plan import ARENA, CONSTANT, FEED, KEPT, LATE, OUTPUT, ROW, STACK, STATE_IN, STATE_OUT
from ...sizes import Dim, is_trip_symbol, product, symbols_of
from ..analysis.bodies import Inside
from ..analysis.index_math import estimate
from ..fusion.cluster import TOGETHER, Cluster
from ..fusion.fuse import fuse
from .chains import Link, chain
from .memory import Arena, Life, assign, reuse
from .places import Place, Places, Stored
from .schedule import Schedule, Write, schedule

_ORDER = {
    FEED: 0, CONSTANT: 1, STATE_IN: 2, STATE_OUT: 3, OUTPUT: 4, KEPT: 5, ROW: 6, STACK: 7, LATE: 8,
    ARENA: 9,
}  # fmt: skip
# Where the bytes of a run are that its plan does not know, or that count elsewhere.
_UNCOUNTED = (ARENA, FEED, ROW, STACK, LATE)
_NOWHERE = Place(ARENA, 0)


@dataclass
class Arrangement:
    """Where the values of launches lie.

    stored: what is in memory, by key; those written over another one (`reuse`) are left out
    ids:    numbers of them; of a value written over another one that one's
    first, last: moments at which they are used, the first and the last
    outside_bytes: what a run needs beside the arena and its feeds
    """

    stored: dict[Hashable, Stored]
    ids: dict[Hashable, int]
    first: dict[Hashable, int]
    last: dict[Hashable, int]
    arena: Arena
    outside_bytes: Dim


def one_moment(
    rows: Iterable[tuple[Cluster, dict[Hashable, None]]],
) -> list[tuple[Cluster, dict[Hashable, None]]]:
    """Clusters that run at the same time, each with what it uses, as one."""
    used: dict[Hashable, None] = {}
    for _, keys in rows:
        used.update(keys)
    return [(Cluster(-1, TOGETHER), used)]


class Outline(Places):
    """The clusters of a program in launches, in order, and the places of values."""

    def __init__(
        self,
        program: Program,
        disable: frozenset[str] = frozenset(),
        inside: Inside | None = None,
    ):
        lasting = inside.lasting if inside else ()
        super().__init__(program, fuse(program, disable, lasting), inside)
        self.disable = disable
        # Memory that changes places with other memory while a run is under way.
        self.twins: list[tuple[Hashable, Hashable]] = []
        self.schedule = self._scheduled()

    def _scheduled(self) -> Schedule:
        clusters = [*self.fusion.clusters, *self.copies]
        by_copy = {c.copy[1]: c for c in self.copies if c.copy is not None}
        fetched = [key for key, _ in self.outputs]
        writes, updates = [], set()
        for variable, state in self.states.items():
            key, read = state["write"], state["read"]
            if key is None:
                continue
            cluster = by_copy.get(key) or self.fusion.cluster_of[key]
            updates.add(cluster)
            kept = read in fetched or "in_place_state" in self.disable
            if kept or (read is not None and tuple(state["shape"]) != tuple(read.dims)):
                read = None
            writes.append(Write(self._chain(cluster, key, read), variable, read))
        for key in dict.fromkeys(fetched):
            made = isinstance(key, Tensor) and self.places.get(key, _NOWHERE).place == OUTPUT
            if made and key in self.fusion.cluster_of:
                writes.append(Write(self._chain(self.fusion.cluster_of[key], key, None)))

        def arena_bytes(tensor: Tensor) -> int:
            if tensor in self.places or tensor.node.op.kind == LEAF:
                return 0
            return estimate(product(tensor.dims)) * tensor.dtype.bytes

        found = schedule(
            clusters, self.fusion.cluster_of, writes, updates, arena_bytes, self.disable,
            transaction=self.inside is None,
        )  # fmt: skip
        self.places.update({value: self.places[key] for value, key in found.chained.items()})
        return found

    def _chain(self, cluster: Cluster, key: Hashable, old: Tensor | None) -> tuple[Link, ...]:
        """The values on the way to `key` that could be in its memory."""
        last = Link(cluster, key)
        if "memory.in_place" in self.disable:
            return (last,)
        return chain(last, old, self.fusion.cluster_of, self.places)

    def clusters(self) -> list[Cluster]:
        """All clusters in the order in which they run."""
        return [cluster for launch in self.schedule.launches for cluster in launch]

    def footprint(self) -> Arrangement:
        """The memory of all clusters but for their workspaces."""
        moments: list[tuple[Cluster, Iterable[Hashable]]] = []
        for number, launch in enumerate(self.schedule.launches):
            rows = [(each, self.touched(each)) for each in launch]
            moments += one_moment(rows) if number in self.schedule.branches else rows
        return self.arrange(moments)

    def touched(self, cluster: Cluster) -> dict[Hashable, None]:
        """The keys of what a cluster reads and writes, workspaces aside."""
        keys = map(self.storage_of, (*cluster.reads, *cluster.stored))
        found = dict.fromkeys(key for key in keys if key is not None)
        if cluster.copy is not None:
            found[cluster.copy[1]] = None
        return found

    def arrange(self, moments: Sequence[tuple[Cluster, Iterable[Hashable]]]) -> Arrangement:
        """The memory of clusters in order, each with the keys of what it uses; those that run at
        the same time are one of them (`one_moment`)."""
        first: dict[Hashable, int] = {}
        last: dict[Hashable, int] = {}
        for number, (_, keys) in enumerate(moments):
            for key in keys:
                first.setdefault(key, number)
                last[key] = number

        def twins_last() -> None:
            for a, b in self.twins:
                first[a] = first[b] = min(first[a], first[b])
                last[a] = last[b] = max(last[a], last[b])

        twins_last()
        stored = {key: self.stored(key) for key in dict.fromkeys((*self.places, *first))}
        over: dict[Hashable, Hashable] = {}
        if "memory.in_place" not in self.disable:
            over.update(reuse([cluster for cluster, _ in moments], self.places, first, last))
        over.update(self.schedule.chained)
        for key, source in over.items():
            first[source] = min(first[source], first[key])
            last[source] = max(last[source], last[key])
        twins_last()  # what is written over one of them may be in the memory of the other
        # Stable: arena buffers stay in order of first use.
        rows = sorted(
            (row for row in stored.items() if row[0] not in over),
            key=lambda row: (_ORDER[row[1].place.place], row[1].place.index),
        )
        ids = {key: number for number, (key, _) in enumerate(rows)}
        for key, source in over.items():
            ids[key] = ids[source]
        in_arena = [(key, it) for key, it in rows if it.place.place == ARENA]
        arena = assign([Life(ids[key], it.bytes, first[key], last[key]) for key, it in in_arena])
        written_over = {
            self.states[v]["write"]
            for v in self.schedule.in_place
            if self.states[v]["read"] is not None
        }
        outside: Dim = 0
        for key, it in rows:
            late = any(map(is_trip_symbol, symbols_of(it.bytes)))
            if it.place.place not in _UNCOUNTED and key not in written_over and not late:
                outside = outside + it.bytes
        return Arrangement(dict(rows), ids, first, last, arena, outside)
