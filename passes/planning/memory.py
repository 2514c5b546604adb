"""Where buffers live: lifetimes, reuse in place, and one arena.

A buffer of the arena is alive from the moment it is written to the last one it is read. Every
cluster is a moment: the loops of a kernel run one after the other, so what one of them no longer
needs may be overwritten by the next, and code generation must not take the buffers of a kernel for
disjoint.
Elementwise loops may write their result over an input that dies with them (`memory.in_place`);
such a chain of values is one buffer. Where all sizes are known, buffers get offsets here, by the
best of a few greedy orders: each in the smallest gap between the buffers alive with it. Buffers
of unknown sizes get theirs when a run binds the sizes.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from ...ir.node import Tensor
from ...ir.op import LEAF, NEST
from ...sizes import Dim, Size, product
from ..analysis.relations import SAME, SCALAR
from ..fusion.cluster import COLUMNS, CONTRACTION, ELEMENT, FULL, POINTWISE, Cluster, root

ALIGNMENT = 64


@dataclass
class Life:
    """A buffer of the arena and the moments (inclusive) it must keep its contents between."""

    id: int
    bytes: Dim
    first: int
    last: int


@dataclass
class Arena:
    offsets: dict[int, int] = field(default_factory=dict)
    bytes: int | None = None
    lower_bound: int | None = None  # the most that is alive at once


def aligned(size: int) -> int:
    return max(ALIGNMENT, -(-size // ALIGNMENT) * ALIGNMENT)


def assign(lives: Sequence[Life]) -> Arena:
    """Offsets for buffers, where all their sizes are known."""
    spans: dict[int, tuple[int, int, int]] = {}
    for life in lives:
        if isinstance(life.bytes, Size):
            return Arena()
        spans[life.id] = (life.first, life.last, aligned(life.bytes))
    placed = _place(spans)
    moments = 1 + max((last for _, last, _ in spans.values()), default=-1)
    changes = [0] * (moments + 1)
    for first, last, size in spans.values():
        changes[first] += size
        changes[last + 1] -= size
    alive = bound = 0
    for change in changes:
        alive += change
        bound = max(bound, alive)
    total = max((placed[head] + size for head, (_, _, size) in spans.items()), default=0)
    return Arena(placed, total, bound)


def _place(spans: Mapping[int, tuple[int, int, int]]) -> dict[int, int]:
    """Offsets: the best of two greedy orders."""
    best: dict[int, int] = {}
    least = None
    orders = (
        lambda head: (-spans[head][2], spans[head][0], head),
        lambda head: (-(spans[head][1] - spans[head][0] + 1) * spans[head][2], head),
        lambda head: (spans[head][0], -spans[head][2], head),
    )
    for key in orders:
        placed = _place_in_order(spans, sorted(spans, key=key))
        total = max((placed[h] + spans[h][2] for h in placed), default=0)
        if least is None or total < least:
            best, least = placed, total
    return best


def _place_in_order(spans, order) -> dict[int, int]:
    """Each block into the smallest gap that holds it, between the blocks alive with it."""
    placed: dict[int, int] = {}
    at_moment: dict[int, list[int]] = {}
    for head in order:
        first, last, size = spans[head]
        rivals = {h for moment in range(first, last + 1) for h in at_moment.get(moment, ())}
        taken = sorted((placed[h], placed[h] + spans[h][2]) for h in rivals)
        offset, best, gap = 0, None, None
        for begin, end in taken:
            room = begin - offset
            if room >= size and (gap is None or room < gap):
                best, gap = offset, room
            offset = max(offset, end)
        placed[head] = offset if best is None else best
        for moment in range(first, last + 1):
            at_moment.setdefault(moment, []).append(head)
    return placed


# -- reuse in place ------------------------------------------------------------------------------


def reuse(
    clusters: Sequence[Cluster],
    given: Collection[Hashable],
    first: Mapping[Hashable, int],
    last: Mapping[Hashable, int],
) -> dict[Hashable, Hashable]:
    """Which values are written over another one, through chains: value -> the first of its chain.

    `clusters` come in order; what is `given` does not live in the arena; `first` and `last` are the
    numbers of the clusters that use a value.
    """
    result: dict[Hashable, Hashable] = {}
    for number, cluster in enumerate(clusters):
        taken: set[Tensor] = set()
        for out in cluster.stored:
            if out in given or first.get(out) != number:
                continue
            for source in cluster.reads:
                if (
                    source not in given
                    and source not in taken
                    and source.node.op.kind != LEAF
                    and first.get(source, number) < number == last.get(source)
                    and source.dtype is out.dtype
                    and product(source.dims) == product(out.dims)
                    and safe_in_place(cluster, out, source)
                ):
                    taken.add(source)
                    result[out] = result.get(source, source)
                    break
    return result


def safe_in_place(cluster: Cluster, key: Hashable, old: Tensor) -> bool:
    """Whether the cluster's loops are right when `key` is written over `old`."""
    how = cluster.reads.get(old)
    if how is None:
        return True
    if cluster.kind in (POINTWISE, CONTRACTION, COLUMNS, FULL):
        assert isinstance(key, Tensor)
        same = how == SAME or (how == SCALAR and cluster.count == 1)
        element = cluster.level.get(key) == ELEMENT
        return same and element and key.dtype.bytes == old.dtype.bytes
    if cluster.copy is not None:
        return False
    node = cluster.nodes[0]
    if node.op.kind == NEST and isinstance(key, Tensor) and node.op.in_place:
        position = node.op.in_place.get(key.index)
        if position is None or root(node.inputs[position]) is not old:
            return False
        return all(root(t) is not old for p, t in enumerate(node.inputs) if p != position)
    return False
