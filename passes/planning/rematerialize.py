"""Computes values again instead of keeping them, where a memory budget demands it.

    a = relu(x @ u);  b = relu(a @ v);  …;  gradient of u needs a
                 -->  a = relu(x @ u);  b = relu(a @ v);  …;  a' = relu(x @ u) after …

Values that wait for the way back (they are alive at the *turn*, where most bytes wait) are cut
into segments of about equal bytes, where few bytes cross. What crosses is kept; the rest of every
segment but the last is computed again from it, just before it is used. With √n segments a chain of
n values so needs memory for 2√n of them and each is computed at most twice (Chen, Xu, Zhang and
Guestrin: Training deep nets with sublinear memory cost, arXiv:1604.06174). What costs much work
for each byte it frees is kept while cheaper values suffice; no more segments are computed again
than are needed. Applied to its own result, the pass goes below 2√n.

Numbers of segments and prices are tried out: each candidate is fused, ordered and laid out as
the plan will be (`Outline`), and the one with the least additional work that fits is taken.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from ...ir.node import Node, topological
from ...ir.op import LEAF
from ...ir.program import Program
from ...plan import Plan
from ...sizes import product
from ..analysis.index_math import estimate
from ..pipeline import PassOptions
from .build_plan import build_plan
from .outline import Outline
from .places import Copy
from .recompute import recompute, repeatable

# FLOPs and bytes of work for a byte that is freed: elementwise work and normalisations stay below
# the first price, most contractions below none but the last.
PRICES = (16.0, 128.0, float("inf"))
MOST_ROUNDS = 3
MOST_PLANS = 4  # laid out with their kernels, whose workspaces the candidates leave out


def rematerialize(
    program: Program, plan: Plan, budget: int, target: Any, options: PassOptions
) -> tuple[Program, Plan]:
    """`program` and its `plan`, changed so that a run needs `budget` bytes at its peak, or as few
    as are found; themselves where nothing smaller is found, or sizes are not known.

    Plans that are larger than the one given are never taken.
    """
    if plan.peak_bytes is None or plan.peak_bytes <= budget:
        return program, plan
    disable = frozenset(options.disable)
    best, least = program, plan
    aim = budget
    for _ in range(MOST_PLANS):
        found = _search(program, aim, disable)
        if found is None:
            break
        made = build_plan(found.program, target, options)
        assert made.peak_bytes is not None and least.peak_bytes is not None
        if made.peak_bytes < least.peak_bytes:
            best, least = found.program, made
        if made.peak_bytes <= budget or found.peak > aim:
            break
        aim = budget - (made.peak_bytes - found.peak)  # the workspaces of kernels
    if least is plan:
        return program, plan
    note = f"{least.peak_bytes:,} B instead of {plan.peak_bytes:,} B; {_again(program, best)}"
    return best, replace(least, reasons={**least.reasons, "rematerialize": note})


def _again(before: Program, after: Program) -> str:
    count = len(after.nodes()) - len(before.nodes())
    return f"{count} operations are computed again"


# -- the search ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Candidate:
    program: Program
    peak: int
    work: float


def _search(program: Program, aim: int, disable: frozenset[str]) -> _Candidate | None:
    """The candidate of the least work that needs at most `aim` bytes, or of the fewest bytes."""
    start = _Candidate(program, _peak(Outline(program, disable)), 0.0)
    best = start
    for _ in range(MOST_ROUNDS):
        found = _round(best, aim, disable)
        if found is None or found.peak >= best.peak:
            break
        best = found
        if best.peak <= aim:
            break
    return best if best is not start else None


def _round(start: _Candidate, aim: int, disable: frozenset[str]) -> _Candidate | None:
    """The best candidate of one application to a program."""
    outline = Outline(start.program, disable)
    timeline = _Timeline(start.program, outline)

    def candidate(cut: _Cut, price: float, count: int | None = None) -> _Candidate:
        again, kept, work = timeline.choose(cut, price, count)
        made = recompute(start.program, outline, timeline.turn, again, kept)
        return _Candidate(made, _peak(Outline(made, disable)), start.work + work)

    best: _Candidate | None = None
    for price in PRICES:
        fitting: tuple[_Candidate, _Cut] | None = None
        worse = 0
        previous: int | None = None
        for cut in timeline.cuts():
            found = candidate(cut, price)
            if best is None or found.peak < best.peak:
                best = found
            if found.peak <= aim and (fitting is None or found.work < fitting[0].work):
                fitting = found, cut
            worse = worse + 1 if previous is not None and found.peak >= previous else 0
            previous = found.peak
            if worse == 2:
                break
        if fitting is not None:
            cheapest, cut = fitting
            return _fewest(cheapest, len(timeline.waiting), aim, partial(candidate, cut, price))
    return best


def _fewest(best: _Candidate, most: int, aim: int, of: Callable[[int], _Candidate]) -> _Candidate:
    """The candidate that still fits when the fewest of the values made first are computed again."""
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        found = of(middle)
        if found.peak <= aim:
            best, high = found, middle
        else:
            low = middle
    return best


def _peak(outline: Outline) -> int:
    found = outline.footprint()
    assert found.arena.bytes is not None and isinstance(found.outside_bytes, int)
    return found.arena.bytes + found.outside_bytes


# -- what could be computed again ----------------------------------------------------------------


@dataclass(frozen=True)
class _Cut:
    """Segments of a program's way there: their first clusters, in order."""

    starts: tuple[int, ...]

    @property
    def count(self) -> int:
        return len(self.starts)

    def segment_of(self, position: int) -> int:
        return bisect_left(self.starts, position + 1) - 1


class _Timeline:
    """When the clusters of an outline make values and use them.

    position: of each node, the number of the cluster that computes it
    bytes:    of each node, those of the arena that hold its results
    turn:     the cluster at which most bytes wait to be used again
    waiting:  nodes whose results wait then, in the order in which they are computed
    """

    def __init__(self, program: Program, outline: Outline):
        self.program = program
        order = outline.clusters()
        self.position = {n: number for number, c in enumerate(order) for n in c.nodes}
        self.bytes: dict[Node, int] = {}
        self.uses: dict[Node, list[int]] = {}
        self.given: set[Node] = set()
        for number, cluster in enumerate(order):
            for tensor in cluster.stored:
                if tensor in outline.places:
                    self.given.add(tensor.node)
                else:
                    size = estimate(product(tensor.dims)) * tensor.dtype.bytes
                    self.bytes[tensor.node] = self.bytes.get(tensor.node, 0) + size
            for tensor in cluster.reads:
                uses = self.uses.setdefault(tensor.node, [])
                if not uses or uses[-1] != number:
                    uses.append(number)
        for key in outline.places:
            if isinstance(key, Copy):
                self.given.add(key.of.node)
        self.length = len(order)
        self.turn = self._turn()
        self.waiting = [n for n in self.position if n in self.bytes and self._waits(n)]

    def _waits(self, node: Node) -> bool:
        begin, end = self._gap(node)
        return begin <= self.turn < end

    def _gap(self, node: Node) -> tuple[int, int]:
        """The longest time a node's results wait: the clusters before and after it."""
        events = [self.position[node], *self.uses.get(node, ())]
        pairs = list(zip(events, events[1:], strict=False))
        return max(pairs, key=lambda pair: pair[1] - pair[0], default=(events[0], events[0]))

    def _turn(self) -> int:
        change = [0] * (self.length + 1)
        for node, size in self.bytes.items():
            begin, end = self._gap(node)
            if end - begin > 1:
                change[begin] += size
                change[end] -= size
        waiting, most, turn = 0, -1, 0
        for number, step in enumerate(change[:-1]):
            waiting += step
            if waiting > most:
                most, turn = waiting, number
        return turn

    def cuts(self) -> Iterator[_Cut]:
        """Cuts into more and more segments of about equal bytes, where few bytes cross."""
        crossing = self._crossing()
        total = sum(self.bytes[node] for node in self.waiting)
        known: set[_Cut] = set()
        count = 2.0
        while round(count) <= len(self.waiting) + 1:
            starts = [0]
            mass = 0
            share = total / round(count)
            candidates: list[int] = []
            for node in self.waiting:
                mass += self.bytes[node]
                reached = mass - share * (len(starts) - 1)
                # Near the end of a share, the place where least crosses.
                if reached > 0.75 * share and self.position[node] < self.turn:
                    candidates.append(self.position[node] + 1)
                if reached >= share and candidates and len(starts) < round(count):
                    starts.append(min(candidates, key=lambda at: (crossing[at], -at)))
                    candidates = []
            cut = _Cut(tuple(dict.fromkeys(starts)))
            if cut.count > 1 and cut not in known:
                known.add(cut)
                yield cut
            count *= 1.4142

    def _crossing(self) -> list[int]:
        """For each cluster before the turn the bytes made before it and used from it on until the
        turn."""
        change = [0] * (self.length + 2)
        for node, size in self.bytes.items():
            begin = self.position[node]
            end = max((use for use in self.uses.get(node, ()) if use <= self.turn), default=begin)
            change[begin + 1] += size
            change[end + 1] -= size
        bytes_so_far = 0
        result = []
        for step in change:
            bytes_so_far += step
            result.append(bytes_so_far)
        return result

    def choose(
        self, cut: _Cut, price: float, count: int | None = None
    ) -> tuple[dict[Node, int], dict[Node, None], float]:
        """What to compute again, with the segment of each; what is kept; and the work of it.

        It is chosen of all segments but the last, and of the first `count` values that wait.
        """
        kept = dict.fromkeys(n for n in self.position if n in self.given and n not in self.bytes)
        kept |= dict.fromkeys(n for n in self.program.nodes() if n.op.kind == LEAF)
        again: dict[Node, int] = {}
        work = 0.0
        by_segment: list[list[Node]] = [[] for _ in cut.starts]
        for number, node in enumerate(self.waiting):
            segment = cut.segment_of(self.position[node])
            if segment == cut.count - 1 or (count is not None and number >= count):
                kept[node] = None
            by_segment[segment].append(node)
        kept |= self._lifted(kept, price)
        for segment in range(cut.count - 2, -1, -1):
            done: dict[Node, None] = {}
            for node in by_segment[segment]:
                if node in kept:
                    continue
                stop = _Stop(self, kept, done, cut.starts[segment])
                needs = topological([node], stop)  # type: ignore[arg-type]
                cost = sum(map(_work, needs))
                if cost > price * self.bytes[node] or not all(map(repeatable, needs)):
                    kept[node] = None
                    continue
                again[node] = segment
                work += cost
                done |= dict.fromkeys(needs)
            # What the segment is computed from has to stay.
            for node in done:
                for tensor in node.inputs:
                    source = tensor.node
                    if self.position.get(source, self.length) < cut.starts[segment]:
                        kept[source] = None
        return again, kept, work

    def _lifted(self, kept: Mapping[Node, None], price: float) -> dict[Node, None]:
        """Costly values that do not wait, but from which more bytes that do follow cheaply: u = a@b
        for exp(u), sin(u) and cos(u)."""
        gain: dict[Node, int] = {}
        for node in self.waiting:
            if node in kept or _costly(node, price):
                continue
            sources: dict[Node, None] = {}
            stop = _Until(kept, self.bytes, node, price, sources)
            needs = topological([node], stop)  # type: ignore[arg-type]
            if sum(map(_work, needs)) <= price * self.bytes[node]:
                for source in sources:
                    gain[source] = gain.get(source, 0) + self.bytes[node]
        return {node: None for node, size in gain.items() if size > _bytes(node)}


class _Until:
    """Where the search for cheap ways to a value ends; costly sources are noted."""

    def __init__(self, kept, stored, wanted: Node, price: float, sources: dict[Node, None]):
        self.kept, self.stored, self.wanted = kept, stored, wanted
        self.price, self.sources = price, sources

    def __contains__(self, node: Node) -> bool:
        if node is self.wanted:
            return False
        if node in self.kept or node in self.stored:
            return True
        if _costly(node, self.price):
            self.sources[node] = None
            return True
        return False


class _Stop:
    """Where the search for what has to be computed again ends."""

    def __init__(self, timeline: _Timeline, kept, done, start: int):
        self.position = timeline.position
        self.kept, self.done, self.start = kept, done, start

    def __contains__(self, node: Node) -> bool:
        before = self.position.get(node, self.start) < self.start
        return before or node in self.kept or node in self.done


def _bytes(node: Node) -> int:
    return sum(estimate(product(t.dims or ())) * t.dtype.bytes for t in node.outputs)


def _costly(node: Node, price: float) -> bool:
    return not repeatable(node) or _work(node) > price * _bytes(node)


def _work(node: Node) -> float:
    """FLOPs and bytes, roughly."""
    total = 0.0
    for tensor in node.outputs:
        elements = estimate(product(tensor.dims or ()))
        total += elements * (tensor.dtype.bytes + node.op.flops)
    if node.op.count_flops is not None:
        total += estimate(node.op.count_flops(node))
    return total
