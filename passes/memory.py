"""Where buffers live: lifetimes, reuse in place, and one arena.

A buffer of the arena is alive from the launch that writes it to the last one that reads it.
Elementwise loops may write their result over an input that dies with them (`memory.in_place`);
such a chain of buffers is one block. Where all sizes are known, blocks get offsets here: the
largest first, each at the lowest place that no block alive at the same time holds. Symbolic
blocks get theirs when a run binds the sizes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..sizes import Dim, Size

ALIGNMENT = 64


@dataclass
class Life:
    """A buffer of the arena and the launches (inclusive) it must keep its contents between."""

    id: int
    bytes: Dim
    first: int
    last: int


@dataclass
class Arena:
    offsets: dict[int, int] = field(default_factory=dict)
    bytes: int | None = None
    lower_bound: int | None = None  # the most that is alive at once
    # Lives with each chain of reuse widened to that of its block, for run-time assignment.
    lives: dict[int, tuple[int, int]] = field(default_factory=dict)


def aligned(size: int) -> int:
    return max(ALIGNMENT, -(-size // ALIGNMENT) * ALIGNMENT)


def assign(lives: Sequence[Life], reuse: Mapping[int, int]) -> Arena:
    """Offsets for buffers. `reuse` maps a buffer to the one of equal size it is written over,
    whose last launch is its first."""
    block: dict[int, int] = {}
    by_id = {life.id: life for life in lives}
    for life in sorted(lives, key=lambda life: life.first):
        source = reuse.get(life.id)
        block[life.id] = block[source] if source is not None else life.id
    if any(isinstance(life.bytes, Size) for life in lives):
        return Arena()
    spans: dict[int, tuple[int, int, int]] = {}
    for life in lives:
        head = block[life.id]
        size = aligned(by_id[head].bytes)  # type: ignore[arg-type]
        first, last, _ = spans.get(head, (life.first, life.last, size))
        spans[head] = (min(first, life.first), max(last, life.last), size)
    placed = _place(spans)
    launches = 1 + max((last for _, last, _ in spans.values()), default=-1)
    changes = [0] * (launches + 1)
    for first, last, size in spans.values():
        changes[first] += size
        changes[last + 1] -= size
    alive = bound = 0
    for change in changes:
        alive += change
        bound = max(bound, alive)
    total = max((placed[head] + size for head, (_, _, size) in spans.items()), default=0)
    return Arena({life.id: placed[block[life.id]] for life in lives}, total, bound)


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
    at_launch: dict[int, list[int]] = {}
    for head in order:
        first, last, size = spans[head]
        rivals = {h for launch in range(first, last + 1) for h in at_launch.get(launch, ())}
        taken = sorted((placed[h], placed[h] + spans[h][2]) for h in rivals)
        offset, best, gap = 0, None, None
        for begin, end in taken:
            room = begin - offset
            if room >= size and (gap is None or room < gap):
                best, gap = offset, room
            offset = max(offset, end)
        placed[head] = offset if best is None else best
        for launch in range(first, last + 1):
            at_launch.setdefault(launch, []).append(head)
    return placed
