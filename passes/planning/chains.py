"""Values that are written over one another, all in memory that one of them has to be in.

    a = scatter(old, i, u);  b = scatter(a, j, w);  variable := b

Here `a` and `b` can both be in the variable's memory, and where that holds its old value, nothing
is copied at all. `schedule.py` sees to it that what reads a value comes before what is written over
it, and leaves off the links of a chain for which that is impossible.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass

from ...ir.node import Tensor
from ...ir.op import LEAF
from ...sizes import product
from ..fusion.cluster import NEST_KIND, Cluster
from .memory import safe_in_place

FARTHEST = 64  # values that are looked at for one chain


@dataclass(frozen=True)
class Link:
    """A cluster that computes a value, and the value over which it is to be written."""

    cluster: Cluster
    value: Hashable
    over: Tensor | None = None

    @property
    def copies(self) -> bool:
        """Whether it copies its input where it is not written over that."""
        return self.cluster.kind == NEST_KIND


def chain(
    last: Link,
    old: Tensor | None,
    cluster_of: Mapping[Tensor, Cluster],
    given: Collection[Hashable],
) -> tuple[Link, ...]:
    """The links that end with `last`, from one that can be written over `old`; where there is no
    such chain, from what the first of those is made of that would have to copy it.

    What is `given` has a place of its own, and is in no chain.
    """
    found = _from_old(last, old, cluster_of, given) if old is not None else None
    if found is not None:
        return found
    links = [last]
    while links[0].copies:
        before = _before(links[0], cluster_of, given)
        if not before:
            break
        links[:1] = [Link(*before[0]), Link(links[0].cluster, links[0].value, before[0][1])]
    return tuple(links)


def _from_old(last, old, cluster_of, given) -> tuple[Link, ...] | None:
    """Breadth first, since one of the shortest chains leaves most freedom to the schedule."""
    after: dict[Hashable, tuple[Link, ...]] = {last.value: (last,)}
    waiting = [last]
    for link in waiting:
        links = after[link.value]
        if old in link.cluster.reads and safe_in_place(link.cluster, link.value, old):
            return (Link(link.cluster, link.value, old), *links[1:])
        for cluster, tensor in _before(link, cluster_of, given) if len(after) < FARTHEST else ():
            if tensor not in after:
                waiting.append(Link(cluster, tensor))
                over = Link(link.cluster, link.value, tensor)
                after[tensor] = (waiting[-1], over, *links[1:])
    return None


def _before(link: Link, cluster_of, given) -> list[tuple[Cluster, Tensor]]:
    """What could be in the memory of a link's value before that is written."""
    value, found = link.value, []
    if not isinstance(value, Tensor):
        return []
    for tensor in link.cluster.reads:
        cluster = cluster_of.get(tensor)
        if (
            cluster is not None
            and cluster is not link.cluster
            and not cluster.settled
            and tensor not in given
            and tensor.node.op.kind != LEAF
            and tensor.dtype is value.dtype
            and product(tensor.dims) == product(value.dims)
            and safe_in_place(link.cluster, value, tensor)
        ):
            found.append((cluster, tensor))
    return found
