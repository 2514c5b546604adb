"""Which clusters run side by side: small ones that do not need each other.

    a; b; c; d  -->  a, c | b, d       where c needs a, d needs b, and nothing else

A cluster too small to be worth sharing out among threads runs on one of them while the others
wait. Where several such clusters come next to each other and fall into branches that are
independent, each branch is a task of one parallel loop, its clusters one after the other. All of
them then happen at one moment: their buffers share no memory with one another.

What is gained is estimated for two threads, so results and plans do not depend on how many there
are: the work that is left when half of it, or the longest branch, is over, less the cost of
handing tasks out.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ..fusion.cluster import BODIES, EFFECT_KIND, Cluster

# In the units of `schedule.cluster_work`, of which about 80 take a nanosecond.
REGION_WORK = 300_000  # of handing out tasks, to threads that may be asleep, and waiting for them
MOST_WORK = 3 << 19  # of a cluster that is not shared out by itself
LEAST_SHARE = 4  # at least one part in so many of the work must be saved
_WINDOW = 32  # clusters of a group
_ALONE = 8  # clusters after which a second branch must have begun


def branches(
    order: Sequence[Cluster], needs: Sequence[Collection[int]], work: Sequence[float]
) -> dict[int, list[list[int]]]:
    """Groups of clusters, by the position in `order` at which they begin: the positions in each
    branch. `needs` are, for each position, those of the clusters that must run before."""
    fit = [_fits(cluster, amount) for cluster, amount in zip(order, work, strict=True)]
    found: dict[int, list[list[int]]] = {}
    start = 0
    while start < len(order):
        group = _best_group(start, fit, needs, work) if fit[start] else None
        if group is None:
            start += 1
            continue
        found[start] = group
        start += sum(map(len, group))
    return found


def _fits(cluster: Cluster, amount: float) -> bool:
    alone = cluster.fallible or cluster.settled or cluster.kind in (EFFECT_KIND, BODIES)
    return not alone and amount <= MOST_WORK


def _best_group(start, fit, needs, work) -> list[list[int]] | None:
    """Of the groups that begin with this cluster the one that saves most."""
    parts: list[list[int]] = []
    best, most = None, 0.0
    for number in range(start, min(start + _WINDOW, len(fit))):
        if not fit[number]:
            break
        mine = [part for part in parts if any(other in needs[number] for other in part)]
        parts = [part for part in parts if part not in mine]
        parts.append(sorted([number, *(other for part in mine for other in part)]))
        if len(parts) == 1:
            if number - start >= _ALONE:
                break
            continue
        amounts = [sum(work[other] for other in part) for part in parts]
        total = sum(amounts)
        saved = total - max(total / 2, *amounts) - REGION_WORK
        if saved > most and saved * LEAST_SHARE >= total:
            best, most = [list(part) for part in parts], saved
    return best


def longest_first(parts: Sequence[list[int]], work: Sequence[float]) -> list[list[int]]:
    """Branches in the order in which threads take them: the longest ones first."""
    return sorted(parts, key=lambda part: (-sum(work[number] for number in part), part))
