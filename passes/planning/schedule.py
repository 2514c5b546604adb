"""The order of clusters, and which of them share a launch.

Order: what stays the same from run to run comes first. Everything that can fail, with what it
needs, comes before the first write of a variable in place; a variable is written in place only
after every other reader of its old value, and what is written over a value on the way to the new
one (`chains.py`) after every other reader of that. Among what is left the cluster that frees most
memory comes next (it keeps the live set small), then one that reads what the last one did; ties go
in the order of the program. A variable for which these wishes contradict each other is not written
in place.

Launches: clusters next to each other in that order become one launch, their loops one after the
other in one kernel, where at least one is small, or the two share data, unless both are large
contractions; so do the elementwise updates of all variables, and reductions of different data to
one value each. The loops stay as parallel as they were. `merge_launches` switches it off. Of what
stays the same from run to run only small clusters do: memory is to hold few at a time.
Small clusters that are independent of each other become branches of one launch instead, which run
at the same time (`side_by_side.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from ...ir.node import Tensor
from ...ir.op import CONVOLVE
from ...sizes import product
from ..analysis.index_math import estimate
from ..fusion.cluster import BODIES, CONTRACTION, EFFECT_KIND, FULL, NEST_KIND, POINTWISE, Cluster
from .chains import Link
from .memory import safe_in_place
from .side_by_side import branches, longest_first

SMALL_WORK = 1 << 17  # FLOPs and bytes below which a cluster gladly shares a launch
LARGEST_LAUNCH = 256  # members of all its clusters


@dataclass
class Schedule:
    """Launches in order, each with its clusters in order."""

    launches: list[list[Cluster]]
    in_place: set[Hashable] = field(default_factory=set)  # variables
    # Values on the way to one that has a place, and that one, in whose memory they are.
    chained: dict[Hashable, Hashable] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)  # of each launch
    # Of launches, by number, whose clusters run side by side: their branches.
    branches: dict[int, list[list[Cluster]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Write:
    """How a value that has a place of its own comes to be there: its chain.

    old: the old value of the variable of which it is the new one, where it could be written over
    """

    links: tuple[Link, ...]
    variable: Hashable = None
    old: Tensor | None = None


class _Order:
    """Which clusters must run before which others.

    direct: for each cluster the numbers of some, above: the bits of all of them
    """

    def __init__(self, clusters: Sequence[Cluster], cluster_of: Mapping[Tensor, Cluster]):
        self.clusters = clusters
        self.place = {cluster: number for number, cluster in enumerate(clusters)}
        of_node = {node: cluster for cluster in clusters for node in cluster.nodes}
        self.direct: list[set[int]] = []
        self.readers: dict[Tensor, list[int]] = {}
        for number, cluster in enumerate(clusters):
            sources = [cluster_of.get(tensor) for tensor in cluster.reads]
            sources += [of_node.get(node) for node in cluster.after]
            self.direct.append({self.place[s] for s in sources if s not in (None, cluster)})
            for tensor in cluster.reads:
                self.readers.setdefault(tensor, []).append(number)
        self.above = _ancestors(self.direct)

    def after_readers(self, cluster: Cluster, tensor: Tensor) -> bool:
        """Whether `cluster` can run after all others that read `tensor`; if so, it will."""
        number, above = self.place[cluster], self.above
        before = [r for r in self.readers.get(tensor, ()) if r != number]
        if any(above[r] >> number & 1 for r in before):
            return False
        extra = 0
        for r in before:
            extra |= above[r] | 1 << r
        self.direct[number].update(before)
        if extra & ~above[number]:
            above[number] |= extra
            for other, bits in enumerate(above):
                if bits >> number & 1:
                    above[other] |= above[number]
        return True

    def shown(self, tensor: Tensor | None) -> bool:
        """Whether an effect reads a value: where it fails, the value is looked at once more when
        its launch is over."""
        readers = self.readers.get(tensor, ()) if tensor is not None else ()
        return any(self.clusters[number].kind == EFFECT_KIND for number in readers)

    def possible(self, links: Sequence[Link]) -> tuple[Link, ...]:
        """The end of a chain whose links can come after what else reads what they overwrite."""
        for number in range(len(links) - 1, 0, -1):
            over = links[number].over
            assert over is not None
            if not self.after_readers(links[number].cluster, over):
                return tuple(links[number:])
        return tuple(links)

    def over_old(self, links: Sequence[Link], old: Tensor, early: int) -> Sequence[Link]:
        """The end of a chain that can be written over `old`; none where that is impossible, or
        where something would be copied twice."""
        if any(early >> self.place[link.cluster] & 1 for link in links):
            return ()
        for number, link in enumerate(links):
            if safe_in_place(link.cluster, link.value, old) and self.after_readers(
                link.cluster, old
            ):
                return Link(link.cluster, link.value, old), *links[number + 1 :]
            if number + 1 < len(links) and links[number + 1].copies:
                break
        return ()


def schedule(
    clusters: Sequence[Cluster],
    cluster_of: Mapping[Tensor, Cluster],
    writes: Sequence[Write],
    updates: Collection[Cluster],
    arena_bytes: Callable[[Tensor], int],
    disable: frozenset[str],
    transaction: bool = True,
) -> Schedule:
    """Orders clusters. `updates` are those that give a variable its new value, `writes` say what
    could be written over what; `arena_bytes` is the size of a tensor that lives in the arena, else
    0. With `transaction`, what can fail comes before writes in place."""
    before = _Order(clusters, cluster_of)
    place, direct = before.place, before.direct
    early = 0
    for number, cluster in enumerate(clusters):
        if cluster.fallible and transaction:
            early |= before.above[number] | 1 << number
    in_place: set[Hashable] = set()
    writers: set[Cluster] = set()
    chained: dict[Hashable, Hashable] = {}
    for write in writes:
        links: Sequence[Link] = before.possible(write.links)
        over_old = before.over_old(links, write.old, early) if write.old is not None else ()
        if over_old:
            links = over_old
            in_place.add(write.variable)
        if transaction and over_old:
            writers.update(link.cluster for link in links)
        elif not transaction:
            writers.update(link.cluster for link in links if before.shown(link.over))
        chained.update({link.value: links[-1].value for link in links[:-1]})
    settled = sum(1 << number for number, cluster in enumerate(clusters) if cluster.settled)

    def held(tensor: Tensor) -> int:
        return 0 if tensor in chained else arena_bytes(tensor)

    order = _order(clusters, direct, settled, early if in_place else 0, held)
    groups: dict[int, list[list[Cluster]]] = {}
    if not disable & {"side_by_side", "merge_launches", "fuse"}:
        groups = _groups(order, place, direct)
    launches, notes, found = _launches(order, groups, writers, updates, disable)
    if not disable & {"join_images", "merge_launches", "fuse"}:
        _to_readers(launches, {*found}, writers)
    return Schedule(launches, in_place, chained, notes, found)


def _groups(order, place, direct) -> dict[int, list[list[Cluster]]]:
    """Branches of clusters that run side by side, by where in the order they begin."""
    position = {place[cluster]: number for number, cluster in enumerate(order)}
    needs = [{position[n] for n in direct[place[cluster]]} for cluster in order]
    work = [cluster_work(cluster) for cluster in order]
    return {
        start: [[order[n] for n in part] for part in longest_first(parts, work)]
        for start, parts in branches(order, needs, work).items()
    }


def _ancestors(direct: Sequence[set[int]]) -> list[int]:
    """For each cluster a bit for every one that must run before it."""
    users: list[list[int]] = [[] for _ in direct]
    waiting = [len(before) for before in direct]
    for number, before in enumerate(direct):
        for other in before:
            users[other].append(number)
    above = [0] * len(direct)
    ready = [n for n, count in enumerate(waiting) if not count]
    done = 0
    while ready:
        number = ready.pop()
        done += 1
        bits = above[number] | 1 << number
        for user in users[number]:
            above[user] |= bits
            waiting[user] -= 1
            if not waiting[user]:
                ready.append(user)
    assert done == len(direct), "clusters depend on each other in a circle"
    return above


def _order(clusters, direct, settled: int, early: int, arena_bytes) -> list[Cluster]:
    """A topological order that keeps the live set small, what is settled first."""
    count = len(clusters)
    waiting = [len(before) for before in direct]
    users: list[list[int]] = [[] for _ in range(count)]
    for number, before in enumerate(direct):
        for other in sorted(before):
            users[other].append(number)
    remaining: dict[Tensor, int] = {}
    reads = [[t for t in cluster.reads if t not in cluster.level] for cluster in clusters]
    for tensors in reads:
        for tensor in tensors:
            remaining[tensor] = remaining.get(tensor, 0) + 1

    size: dict[Tensor, int] = {}

    def held(tensor: Tensor) -> int:
        if tensor not in size:
            size[tensor] = arena_bytes(tensor)
        return size[tensor]

    def growth(number: int) -> int:
        made = sum(held(t) for t in clusters[number].stored)
        return made - sum(held(t) for t in reads[number] if remaining[t] == 1)

    ready = [n for n in range(count) if not waiting[n]]
    ready.sort(key=lambda n: not settled >> n & 1)
    result: list[Cluster] = []
    while ready:
        # Looking at a few dozen keeps this linear.
        first = [n for n in ready[:64] if settled >> n & 1]
        first = first or [n for n in ready[:64] if early >> n & 1] or ready[:48]
        recent = result[-1].reads.keys() | result[-1].stored.keys() if result else set()
        chosen = min(
            first,
            key=lambda n: (growth(n), not recent & clusters[n].reads.keys(), n),
        )
        ready.remove(chosen)
        cluster = clusters[chosen]
        result.append(cluster)
        for tensor in reads[chosen]:
            remaining[tensor] -= 1
        freed = []
        for user in users[chosen]:
            waiting[user] -= 1
            if not waiting[user]:
                freed.append(user)
        if freed:
            ready = sorted(
                [*ready, *freed], key=lambda n: (not settled >> n & 1, not early >> n & 1, n)
            )
    assert len(result) == count, "clusters depend on each other in a circle"
    return result


def cluster_work(cluster: Cluster) -> float:
    """FLOPs and bytes, roughly."""
    size, total = estimate(cluster.count), 0.0
    for node in (*cluster.nodes, *cluster.inlined):
        counted = node.op.count_flops
        total += size * node.op.flops if counted is None else estimate(counted(node))
    for tensor in (*cluster.reads, *cluster.stored):
        total += estimate(product(tensor.dims)) * tensor.dtype.bytes
    return total


def is_host_call(cluster: Cluster) -> bool:
    return cluster.kind == EFFECT_KIND and cluster.nodes[0].op.lower is None


def _launches(order, groups, writers, updates, disable):
    found: dict[int, list[list[Cluster]]] = {}
    launches: list[list[Cluster]] = []
    notes: list[str] = []
    apart = "merge_launches" in disable or "fuse" in disable
    large = size = 0.0
    reads: set = set()
    stored: set = set()
    members = 0
    grouped = 0  # up to this position clusters are in a launch of branches
    for number, cluster in enumerate(order):
        if number in groups:
            parts = groups[number]
            found[len(launches)] = parts
            launches.append([each for part in parts for each in part])
            notes.append("small and independent of each other, so side by side")
            grouped = number + len(launches[-1])
        if number < grouped:
            continue
        amount = cluster_work(cluster)
        why = ""
        if apart:
            why = "merging launches is switched off"
        elif number and number == grouped:
            why = "the clusters before run side by side"
        elif launches:
            why = _apart(launches[-1], cluster, amount, large, reads, stored, members, updates)
            fails = any(c.fallible for c in launches[-1])
            if not why and fails and cluster in writers:
                why = "what can fail must be over before a variable is written in place"
        if not launches or why:
            launches.append([])
            notes.append(why)
            large = size = 0.0
            reads, stored, members = set(), set(), 0
        launches[-1].append(cluster)
        large = max(large, amount if cluster.kind == CONTRACTION else 0.0)
        size = max(size, amount)
        reads.update(t for t in cluster.reads)
        stored.update(cluster.stored)
        members += len(cluster.members) + len(cluster.inlined)
    return launches, notes, found


def _to_readers(
    launches: list[list[Cluster]], groups: Collection[int], writers: Collection[Cluster]
) -> None:
    """Moves what only the convolution of the next launch reads from the end of a launch to the
    beginning of that one, where it may be made image by image (`join_images.py`)."""
    readers: dict[Tensor, set[int]] = {}
    for number, launch in enumerate(launches):
        for cluster in launch:
            for tensor in cluster.reads:
                readers.setdefault(tensor, set()).add(number)

    def only_there(cluster: Cluster, number: int) -> bool:
        if cluster.kind not in (POINTWISE, NEST_KIND) or not cluster.stored:
            return False
        if cluster.fallible or cluster in writers:
            return False
        # Readers in its own launch came after it: they have been moved.
        users = [readers.get(tensor, set()) for tensor in cluster.stored]
        return all(found and found <= {number, number + 1} for found in users)

    for number in range(len(launches) - 2, -1, -1):
        here, following = launches[number : number + 2]
        if number in groups or number + 1 in groups or here[0].settled != following[0].settled:
            continue
        if not any(node.op.kind == CONVOLVE for cluster in following for node in cluster.nodes):
            continue
        while len(here) > 1 and only_there(here[-1], number):
            following.insert(0, here.pop())


def _apart(launch, cluster, amount, large, reads, stored, members, updates) -> str:
    """Why `cluster` does not join the launch before it; empty where it does."""
    if is_host_call(cluster) or is_host_call(launch[-1]):
        return "the host is called"
    if BODIES in (cluster.kind, launch[-1].kind):
        return "there is a loop or a branch"
    if cluster.settled != launch[-1].settled:
        return "those are computed only when a variable has changed"
    if cluster.settled and max(amount, cluster_work(launch[-1])) > SMALL_WORK:
        return "each is kept only until a later launch has packed it"
    if members + len(cluster.members) + len(cluster.inlined) > LARGEST_LAUNCH:
        return "the kernel before is as large as kernels get"
    if cluster.kind == CONTRACTION and amount > SMALL_WORK and large > SMALL_WORK:
        return "two large contractions"
    if amount <= SMALL_WORK or all(cluster_work(c) <= SMALL_WORK for c in launch[-2:]):
        return ""
    if any(t in reads or t in stored for t in cluster.reads):
        return ""
    before = launch[-1]
    if cluster.kind == before.kind != CONTRACTION:
        # All updates of an optimizer, or the norms of all gradients.
        if cluster in updates and before in updates:
            return ""
        if cluster.kind == FULL:
            return ""
    return "large, and shares no data with the launch before"
