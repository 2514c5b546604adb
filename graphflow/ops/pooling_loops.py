"""Loops over pooling windows, and over the places that windows cover.

Both directions are gathers, so that iterations are independent: forward, an output position meets
the input through its taps; backward, an input position meets the outputs whose windows cover it.
Along one dimension an input position is  i = q * stride + r - low,  and the taps k that meet it
solve  k * dilation = r  (mod stride), each at output  q - (k * dilation - r) / stride.  So all
positions of one *block* q meet the same few outputs, which are loaded once for all of them.

    rows (batch, all but the last spatial dimension) in parallel:
        blocks inside, where every tap meets an element:  no tests, windows laid out as straight
            code; vectors of channels, or of neighbouring blocks and channels together where
            these are side by side in memory
        positions at the edges:  vectors of channels around loops over the taps that meet anything
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product as indices
from math import gcd, prod
from typing import Union

from ..ir.node import Node
from ..loop import nodes as loop
from ..loop.nodes import Const, Expr, Stmt, Var
from ..sizes import Dim, ceildiv, floordiv, maximum, minimum, multiply, product
from .nests import CHUNK, estimate
from .windows import Window

MOST_TAPS = 36  # of a window that is laid out as straight code
_LANES = 8  # elements of a cycle, roughly


def _at_least_zero(value: Expr) -> Expr:
    return loop.apply("maximum", value, loop.ZERO)


def _ceildiv(value: Expr, step: int) -> Expr:
    """ceil(max(value, 0) / step)"""
    if step == 1:
        return _at_least_zero(value)
    return loop.floordiv(loop.add(_at_least_zero(value), Const(step - 1)), Const(step))


# -- one dimension -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Meeting:
    """What one position meets: for each m in first .. first + count, an element of the source and
    the tap through which it is met."""

    first: Expr
    count: Expr
    source: Callable[[Expr], Expr]
    tap: Callable[[Expr], Expr]


def _meeting(first: Expr, stop: Expr, source, tap) -> Meeting:
    return Meeting(first, _at_least_zero(loop.sub(stop, first)), source, tap)


class Forward:
    """Output positions of a window, which meet elements of the input. A block is one position."""

    def __init__(self, window: Window):
        self.window = window
        self.scale, self.offset = 1, 0
        self.size: Dim = window.steps  # of the target
        self.blocks: tuple[Dim, Dim] = (0, window.steps)
        self.inside: tuple[Dim, Dim] = _whole(window, 0, 0)

    def meet(self, position: Expr) -> Meeting:
        w = self.window
        origin = loop.sub(loop.mul(position, Const(w.stride)), loop.index(w.low))
        return _meeting(
            *taps_within(w, position, 0, 0),
            lambda m: loop.add(origin, loop.mul(m, Const(w.dilation))),
            lambda m: m,
        )

    def targets(self) -> list[list[tuple[int, int]]]:
        """For each position of a block, the (source, tap) it meets; sources from `base` on."""
        w = self.window
        return [[(k * w.dilation, k) for k in range(w.kernel)]]

    def base(self, block: Expr) -> Expr:
        w = self.window
        return loop.sub(loop.mul(block, Const(w.stride)), loop.index(w.low))

    @property
    def step(self) -> int:
        """From the sources of one block to those of the next."""
        return self.window.stride


class Backward:
    """Input positions, which meet the outputs whose windows cover them. `counted`: a sum's, where
    blocks inside must meet windows that are divided by all taps only."""

    def __init__(self, window: Window, counted: tuple[Dim, Dim] | None = None):
        self.window = w = window
        self.scale, self.offset = w.stride, w.low
        self.size: Dim = w.size
        self.step = 1
        last = w.size + w.low - 1
        self.blocks: tuple[Dim, Dim] = (floordiv(w.low, w.stride), floordiv(last, w.stride) + 1)
        reach = max((-source for met in self.targets() for source, _ in met), default=0)
        begin, end = (0, w.steps) if counted is None else _whole(w, *counted)
        begin = maximum(ceildiv(w.low, w.stride), begin + reach)
        end = minimum(floordiv(w.size + w.low, w.stride), end)
        self.inside: tuple[Dim, Dim] = (begin, maximum(begin, end))

    def meet(self, position: Expr) -> Meeting:
        w = self.window
        common = gcd(w.stride, w.dilation)
        step, back = w.stride // common, w.dilation // common
        place = loop.add(position, loop.index(w.low))
        rest = loop.mod(place, Const(w.stride))
        least = loop.floordiv(rest, Const(common))
        least = loop.mod(loop.mul(least, Const(pow(back, -1, step))), Const(step))
        shift = loop.sub(loop.mul(least, Const(w.dilation)), rest)
        origin = loop.sub(
            loop.floordiv(place, Const(w.stride)), loop.floordiv(shift, Const(w.stride))
        )
        stop = _ceildiv(loop.sub(Const(w.kernel), least), step)
        if common > 1:
            met = loop.apply("eq", loop.mod(rest, Const(common)), loop.ZERO)
            stop = loop.select(met, stop, loop.ZERO)
        stop = loop.apply("minimum", stop, _ceildiv(loop.add(origin, loop.ONE), back))
        return _meeting(
            _ceildiv(loop.sub(origin, loop.index(w.steps - 1)), back),
            stop,
            lambda m: loop.sub(origin, loop.mul(m, Const(back))),
            lambda m: loop.add(least, loop.mul(m, Const(step))),
        )

    def targets(self) -> list[list[tuple[int, int]]]:
        w = self.window
        return [
            [
                ((r - k * w.dilation) // w.stride, k)
                for k in range(w.kernel)
                if (k * w.dilation - r) % w.stride == 0
            ]
            for r in range(w.stride)
        ]

    def base(self, block: Expr) -> Expr:
        return block


def _whole(w: Window, before: Dim, after: Dim) -> tuple[Dim, Dim]:
    """From which to before which output all taps are in the input with so much around it."""
    if (before, after) == (w.low, w.high) or not w.padded:
        return 0, w.steps
    begin = ceildiv(maximum(w.low - before, 0), w.stride)
    end = floordiv(w.size + after + w.low - w.extent, w.stride) + 1
    return begin, maximum(begin, minimum(end, w.steps))


def taps_within(w: Window, position: Expr, before: Dim, after: Dim) -> tuple[Expr, Expr]:
    """From which to before which tap the window at a position is in the input with so much
    around it."""
    origin = loop.sub(loop.mul(position, Const(w.stride)), loop.index(w.low - before))
    first = _ceildiv(loop.sub(loop.ZERO, origin), w.dilation)
    stop = _ceildiv(loop.sub(loop.index(w.size + before + after), origin), w.dilation)
    return first, loop.apply("minimum", Const(w.kernel), stop)


# -- all dimensions ------------------------------------------------------------------------------

Axis = Union[Forward, Backward]
Index = tuple[Expr, ...]  # batch, spatial, channel
Body = list[Stmt]


class Pooling:
    """What is done with what a position meets. `read(index)` gives loads of the source there."""

    def __init__(self, node: Node, context, axes: Sequence[Axis]):
        self.node, self.context, self.axes = node, context, axes

    def start(self, body: Body, target: Index, meetings: Sequence[Meeting]) -> None:
        """At an edge: declares what is gathered."""
        raise NotImplementedError

    def gather(self, body: Body, source: Index, tap: Expr) -> None:
        """At an edge: takes in one element."""
        raise NotImplementedError

    def finish(self, body: Body, target: Index) -> None:
        """At an edge: stores the result."""
        raise NotImplementedError

    def block(self, body: Body, load: Callable, targets: Sequence[tuple[Index, list]]) -> None:
        """Inside: for each target its (source, tap); `load(input, source)` reads an element."""
        raise NotImplementedError

    # -- for subclasses

    def let(self, body: Body, value: Expr, prefix: str = "t") -> Expr:
        if isinstance(value, (Const, Var)):
            return value
        var = self.context.var(prefix, value.dtype)
        body.append(loop.Let(var, value))
        return var

    def local(self, body: Body, value: Expr) -> loop.Local:
        local = self.context.local(value.dtype, prefix="held")
        body += [local, loop.Store(local, loop.ZERO, value)]
        return local

    def store(self, body: Body, target: Index, value: Expr, output: int = 0) -> None:
        if not self.context.wanted(output):
            return
        place = loop.linear(target, self.node.outputs[output].dims)
        body.append(loop.Store(self.context.output(output), place, value))


def sweep(kind: Pooling) -> list[Stmt]:
    """The loops around `kind` for every position of its output."""
    node, axes, context = kind.node, kind.axes, kind.context
    batch, channels = node.outputs[0].dims[0], node.outputs[0].dims[-1]
    *outer, last = axes
    counts = [batch, *(axis.blocks[1] - axis.blocks[0] for axis in outer)]
    row = context.var("row")
    body: Body = []
    parts = _unflatten(kind, body, row, counts)
    n = parts[0]
    blocks = [
        kind.let(body, loop.add(part, loop.index(axis.blocks[0])), "q")
        for part, axis in zip(parts[1:], outer, strict=True)
    ]
    taps = prod(axis.window.kernel for axis in axes)
    straight = taps <= MOST_TAPS and prod(axis.scale for axis in axes) <= MOST_TAPS
    begin, end = last.inside
    if not straight:
        begin, end = 0, 0
    covered = end - begin
    conditions = _inside_rows(outer, blocks)
    some = not (isinstance(covered, int) and covered == 0)
    if some:
        middle = _blocks(kind, n, blocks, begin, covered, channels)
        body += [loop.If(_all(conditions), tuple(middle))] if conditions else middle
    left = multiply(begin, last.scale) - last.offset if some else 0
    skipped = multiply(covered, last.scale)
    if conditions or not (left == 0 and skipped == last.size):
        gap: Expr = loop.index(skipped)
        if conditions and some:
            gap = kind.let(body, loop.select(_all(conditions), gap, loop.ZERO), "gap")
        body += _edges(kind, n, blocks, left, gap, channels)
    work = estimate([last.size, channels]) * prod(axis.scale for axis in outer)
    grain = max(
        1, int(CHUNK * _LANES / max(1.0, work * (1.0 + taps / prod(a.scale for a in axes))))
    )
    rows = product(counts)
    few = isinstance(rows, int) and rows <= grain + grain // 2
    loop_kind, grain = (loop.SERIAL, 1) if few else (loop.PARALLEL, grain)
    return [loop.For(row, loop.index(rows), loop_kind, tuple(body), grain)]


def _unflatten(kind: Pooling, body: Body, row: Var, counts: Sequence[Dim]) -> list[Expr]:
    """The index in a shape that a row-major number stands for."""
    parts: list[Expr] = []
    rest: Expr = row
    for count in reversed(counts[1:]):
        parts.append(kind.let(body, loop.mod(rest, loop.index(count)), "i"))
        rest = kind.let(body, loop.floordiv(rest, loop.index(count)), "i")
    return [rest, *reversed(parts)]


def _all(conditions: Sequence[Expr]) -> Expr:
    result = conditions[0]
    for condition in conditions[1:]:
        result = loop.apply("and", result, condition)
    return result


def _inside_rows(outer: Sequence[Axis], blocks: Sequence[Expr]) -> list[Expr]:
    """What must hold for a row of blocks to be inside, but for what always does."""
    conditions = []
    for axis, block in zip(outer, blocks, strict=True):
        begin, end = axis.inside
        if begin != axis.blocks[0]:
            conditions.append(loop.apply("ge", block, loop.index(begin)))
        if end != axis.blocks[1]:
            conditions.append(loop.apply("lt", block, loop.index(end)))
    return conditions


def _blocks(
    kind: Pooling, n: Expr, blocks: Sequence[Expr], begin: Dim, count: Dim, channels: Dim
) -> list[Stmt]:
    """Blocks begin .. begin + count of the last dimension, without tests."""
    *_, last = kind.axes
    body: Body = []
    lane = kind.context.var("c")
    flat = channels == 1 or (last.scale == 1 and last.step == 1)
    if flat:
        # Blocks and channels are one vector; of one channel, with strides between its lanes.
        block: Expr = loop.index(begin)
        extent = multiply(count, channels)
        source_lane = loop.mul(lane, Const(last.step))
        target_lane = loop.mul(lane, Const(last.scale))
    else:
        number = kind.context.var("w")
        block = loop.add(number, loop.index(begin))
        extent, source_lane, target_lane = channels, lane, lane
    every = [*blocks, block]
    bases = [axis.base(q) for axis, q in zip(kind.axes, every, strict=True)]
    loads: dict[tuple, Expr] = {}

    def load(position: int, source: tuple[int, ...]) -> Expr:
        found = loads.get((position, source))
        if found is None:
            places = [loop.add(b, Const(s)) for b, s in zip(bases, source, strict=True)]
            value = kind.context.read(position, (n, *places, source_lane))
            found = loads[(position, source)] = kind.let(body, value, "x")
        return found

    kernel = [axis.window.kernel for axis in kind.axes]
    targets = []
    for rests in indices(*(range(axis.scale) for axis in kind.axes)):
        place = [
            loop.sub(loop.add(loop.mul(q, Const(axis.scale)), Const(r)), loop.index(axis.offset))
            for axis, q, r in zip(kind.axes, every, rests, strict=True)
        ]
        met = [axis.targets()[r] for axis, r in zip(kind.axes, rests, strict=True)]
        pairs = [
            (tuple(source for source, _ in pair), _number([tap for _, tap in pair], kernel))
            for pair in indices(*met)
        ]
        targets.append(((n, *place, target_lane), pairs))
    kind.block(body, load, targets)
    inner = loop.For(lane, loop.index(extent), loop.VECTOR, tuple(body))
    return [inner if flat else loop.For(number, loop.index(count), loop.SERIAL, (inner,))]


def _number(taps: Sequence[int], kernel: Sequence[int]) -> int:
    """The number of a tap in row-major order."""
    number = 0
    for tap, size in zip(taps, kernel, strict=True):
        number = number * size + tap
    return number


def _edges(
    kind: Pooling, n: Expr, blocks: Sequence[Expr], left: Dim, gap: Expr, channels: Dim
) -> list[Stmt]:
    """Every position of a row of blocks, but for `gap` of them from `left` on."""
    *outer, last = kind.axes
    context = kind.context
    number, lane = context.var("w"), context.var("c")
    row: Body = []
    places: list[Expr] = []
    inside: list[Expr] = []
    rests = []
    for axis, q in zip(outer, blocks, strict=True):
        place = q
        if axis.scale > 1 or axis.offset != 0:
            rest = context.var("r")
            rests.append((rest, axis.scale))
            place = loop.add(loop.mul(q, Const(axis.scale)), rest)
            place = kind.let(row, loop.sub(place, loop.index(axis.offset)), "i")
            inside.append(loop.apply("ge", place, loop.ZERO))
            inside.append(loop.apply("lt", place, loop.index(axis.size)))
        places.append(place)
    meetings = [_named(kind, row, a.meet(p)) for a, p in zip(outer, places, strict=True)]
    column: Body = []
    before = loop.apply("lt", number, loop.index(left))
    place = loop.select(before, number, loop.add(number, gap))
    if isinstance(gap, Const) and gap.value == 0:
        place = number
    place = kind.let(column, place, "i")
    every = [*meetings, _named(kind, column, last.meet(place))]
    body: Body = []
    target = (n, *places, place, lane)
    kind.start(body, target, every)
    steps = [context.var("m") for _ in every]
    element: Body = []
    at = [
        kind.let(element, loop.add(meeting.first, step), "k")
        for meeting, step in zip(every, steps, strict=True)
    ]
    source = tuple(meeting.source(m) for meeting, m in zip(every, at, strict=True))
    tap: Expr = loop.ZERO
    for meeting, m, axis in zip(every, at, kind.axes, strict=True):
        tap = loop.add(loop.mul(tap, Const(axis.window.kernel)), meeting.tap(m))
    kind.gather(element, (n, *source, lane), tap)
    for meeting, step in zip(reversed(every), reversed(steps), strict=True):
        element = [loop.For(step, meeting.count, loop.SERIAL, tuple(element))]
    body += element
    kind.finish(body, target)
    column.append(loop.For(lane, loop.index(channels), loop.VECTOR, tuple(body)))
    length = loop.sub(loop.index(last.size), gap)
    walk: list[Stmt] = [loop.For(number, length, loop.SERIAL, tuple(column))]
    row += [loop.If(_all(inside), tuple(walk))] if inside else walk
    result: list[Stmt] = row
    for rest, scale in reversed(rests):
        result = [loop.For(rest, Const(scale), loop.SERIAL, tuple(result))]
    return result


def _named(kind: Pooling, body: Body, meeting: Meeting) -> Meeting:
    first = kind.let(body, meeting.first, "first")
    return Meeting(first, kind.let(body, meeting.count, "count"), meeting.source, meeting.tap)
