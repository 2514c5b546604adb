"""Direct loops for convolutions: sums in registers over operands that are read where they are.

Blocks of positions along the last spatial dimension, in parallel; for each block vectors
of output channels:

    acc[P] = 0
    for taps, c:  acc[p] += x[n, position of p and tap, c] * w[tap, c, v]
    y[n, position of p, v] = acc[p]

Blocks that stay inside the input along that dimension need no checks; others read zeros outside.
With one input channel to a group (depthwise) x is a vector too, and there is no loop over c.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from ..ir.node import Node
from ..loop import nodes as loop
from ..loop.nodes import Expr, Stmt, Var
from ..sizes import Dim, ceildiv, product
from .nests import CHUNK, estimate
from .windows import Window, windows

PIXELS = 8  # positions of a block: independent sums, which hide the latency of a multiply-add
_UNROLLED = 8  # loops of at most so many iterations become straight code
LANES = 8  # multiply-adds of a cycle, roughly


def block_size(size: Dim, most: int) -> int:
    """At most `most`; such that blocks are of equal size where that is possible."""
    if not isinstance(size, int) or size == 0:
        return most
    blocks = -(-size // most)
    return -(-size // blocks)


def repeat(var: Var, extent: Dim, body: Sequence[Stmt]) -> Stmt:
    short = isinstance(extent, int) and extent <= _UNROLLED
    kind = loop.UNROLLED if short else loop.SERIAL
    return loop.For(var, loop.index(extent), kind, tuple(body))


def all_of(conditions: Sequence[Expr]) -> Expr:
    result = conditions[0]
    for condition in conditions[1:]:
        result = loop.apply("and", result, condition)
    return result


def guarded(conditions: Sequence[Expr], body: Sequence[Stmt]) -> list[Stmt]:
    return [loop.If(all_of(conditions), tuple(body))] if conditions else list(body)


def within(place: Expr, size: Dim) -> list[Expr]:
    return [loop.apply("ge", place, loop.ZERO), loop.apply("lt", place, loop.index(size))]


def tap_place(window: Window, k: Expr) -> Expr:
    """Where a tap at output position 0 is in the spread-out input."""
    return loop.sub(loop.mul(k, loop.Const(window.dilation)), loop.index(window.low))


def element_at(window: Window, place: Expr) -> tuple[Expr, list[Expr]]:
    """The element at a place of the spread-out input, and the conditions for there being one
    unless the place is before the first or after the last."""
    if window.expansion == 1:
        return place, []
    spacing = loop.Const(window.expansion)
    rest = loop.apply("mod", place, spacing)
    return loop.apply("floordiv", place, spacing), [loop.apply("eq", rest, loop.ZERO)]


class ConvolutionNest:
    """What the loops of both operations share."""

    def __init__(self, node: Node, context):
        self.node, self.context = node, context
        self.windows = windows(node)
        *self.outer, self.last = self.windows
        self.groups: int = node.attrs["groups"]
        self.dtype = node.types[0].dtype
        weights = node.inputs[1] if node.op.name == "convolve" else node.outputs[0]
        self.channels: Dim = weights.dims[-2]  # of the input, for each group
        self.outputs: Dim = weights.dims[-1]
        self.depthwise = self.channels == 1
        self.zero = loop.neutral("add", self.dtype)

    def named(self, body: list[Stmt], value: Expr, prefix: str) -> Expr:
        if isinstance(value, (loop.Const, loop.SizeOf, Var)):
            return value
        var = self.context.var(prefix, value.dtype)
        body.append(loop.Let(var, value))
        return var

    def tasks(
        self, dims: Sequence[Dim], cost: float, body: Callable[[list[Expr]], list[Stmt]]
    ) -> list[Stmt]:
        """body(indices) for every index of `dims`, spread over threads."""
        task = self.context.var("task")
        statements: list[Stmt] = []
        rest: Expr = task
        index: list[Expr] = []
        for dim in reversed(dims[1:]):
            part = loop.ZERO if dim == 1 else loop.mod(rest, loop.index(dim))
            index.append(self.named(statements, part, "at"))
            rest = rest if dim == 1 else loop.floordiv(rest, loop.index(dim))
        index.append(self.named(statements, rest, "at"))
        statements += body(index[::-1])
        grain = max(1, int(CHUNK / max(cost, 1.0)))
        extent = loop.index(product(dims))
        return [loop.For(task, extent, loop.PARALLEL, tuple(statements), grain)]

    def vectors(self, body: Callable[[Expr, Expr], list[Stmt]]) -> list[Stmt]:
        """body(output channel, its group's first input channel) for vectors of output channels."""
        lane = self.context.var("v")
        if self.depthwise or self.groups == 1:
            extent = loop.index(self.outputs)
            return [loop.For(lane, extent, loop.VECTOR, tuple(body(lane, self.group_of(lane))))]
        group = self.context.var("group")
        share = self.outputs // self.groups
        output = loop.add(loop.mul(group, loop.index(share)), lane)
        first = loop.mul(group, loop.index(self.channels))
        vector = loop.For(lane, loop.index(share), loop.VECTOR, tuple(body(output, first)))
        return [loop.For(group, loop.Const(self.groups), loop.SERIAL, (vector,))]

    def group_of(self, output: Expr) -> Expr:
        """The group of an output channel, which is its input channel where groups have one."""
        if self.groups == 1:
            return loop.ZERO
        return loop.floordiv(output, loop.index(self.outputs // self.groups))

    def load(self, position: int, *index: Expr) -> Expr:
        dims = self.node.inputs[position].dims
        return loop.Load(self.context.input(position), loop.linear(index, dims))

    def store(self, *index: Expr, value: Expr) -> Stmt:
        at = loop.linear(index, self.node.outputs[0].dims)
        return loop.Store(self.context.output(), at, value)

    def sums(self, count: int, prefix: str) -> tuple[loop.Local, list[Stmt]]:
        local = self.context.local(self.dtype, (count,), prefix)
        clear = [loop.Store(local, loop.Const(p), self.zero) for p in range(count)]
        return local, [local, *clear]


# -- convolve ------------------------------------------------------------------------------------


class _Convolve(ConvolutionNest):
    """Positions of a block lie `period` apart along the last dimension, so that a tap meets
    elements for all or none of them, also where zeros have been put between elements."""

    def __init__(self, node: Node, context):
        super().__init__(node, context)
        last = self.last
        self.period = last.expansion // math.gcd(last.expansion, last.stride)
        self.length = ceildiv(last.steps, self.period)
        self.pixels = block_size(self.length, PIXELS)
        self.blocks = ceildiv(self.length, self.pixels)

    def loops(self) -> list[Stmt]:
        steps = [window.steps for window in self.outer]
        kernel = self.node.inputs[1].dims
        cost = self.pixels * estimate(kernel) / LANES
        dims = [self.node.outputs[0].dims[0], *steps, self.period, self.blocks]
        return self.tasks(dims, cost, self.block)

    def block(self, index: list[Expr]) -> list[Stmt]:
        n, *rows, phase, number = index
        body: list[Stmt] = []
        first = self.named(body, loop.mul(number, loop.Const(self.pixels)), "first")
        length: Expr = loop.index(self.last.steps)
        if self.period != 1:  # the positions of this phase, perhaps none
            left = loop.sub(loop.index(self.last.steps + self.period - 1), phase)
            length = self.named(body, loop.floordiv(left, loop.Const(self.period)), "length")
        exact = self.period == 1 and self.length == self.blocks * self.pixels
        inner: list[Stmt] = []
        places = []  # the last one stands for those beyond it
        for p in range(self.pixels):
            place = loop.add(first, loop.Const(p))
            if not exact:
                place = loop.apply("minimum", place, loop.sub(length, loop.ONE))
            places.append(self.named(inner, place, "place"))
        inner += self.columns(n, rows, phase, places)
        if self.period != 1:
            return [*body, loop.If(loop.apply("lt", first, length), tuple(inner))]
        return body + inner

    def columns(self, n: Expr, rows: list[Expr], phase: Expr, places: list[Expr]) -> list[Stmt]:
        """Checks the block as a whole: taps of one inside the input need no checks of their own."""

        def vectors(checked: bool) -> list[Stmt]:
            return self.vectors(
                lambda output, channel: self.pixel_sums(
                    n, rows, phase, places, output, channel, checked
                )
            )

        last = self.last
        if not last.padded:
            return vectors(False)
        if self.blocks == 1:
            return vectors(True)
        start = loop.mul(phase, loop.Const(last.stride))
        pace = loop.Const(self.period * last.stride)
        ends = []
        for place, tap in ((places[0], 0), (places[-1], last.kernel - 1)):
            at = loop.add(start, loop.mul(place, pace))
            ends.append(within(loop.add(at, tap_place(last, loop.Const(tap))), last.spread))
        inside = all_of([ends[0][0], ends[1][1]])
        return [loop.If(inside, tuple(vectors(False)), tuple(vectors(True)))]

    def pixel_sums(
        self,
        n: Expr,
        rows: list[Expr],
        phase: Expr,
        places: list[Expr],
        output: Expr,
        channel: Expr,
        checked: bool,
    ) -> list[Stmt]:
        acc, body = self.sums(self.pixels, "acc")
        taps = [self.context.var("k") for _ in (*self.outer, self.last)]

        def along(axis: int, elements: list[Expr]) -> Stmt:
            """The taps along a spatial dimension and those after it."""
            if axis == len(self.outer):
                inner = self.products(
                    n, elements, phase, places, taps, output, channel, acc, checked
                )
                if self.depthwise:  # the taps are the innermost loop
                    return repeat(taps[axis], self.last.kernel, inner)
                extent = loop.Const(self.last.kernel)
                return loop.For(taps[axis], extent, loop.SERIAL, tuple(inner))
            window = self.outer[axis]
            lets: list[Stmt] = []
            place = loop.mul(rows[axis], loop.Const(window.stride))
            place = self.named(lets, loop.add(place, tap_place(window, taps[axis])), "place")
            element, conditions = element_at(window, place)
            if window.padded:
                conditions += within(place, window.spread)
            named: list[Stmt] = []
            element = self.named(named, element, "row")
            inner = [*named, along(axis + 1, [*elements, element])]
            extent = loop.Const(window.kernel)
            return loop.For(taps[axis], extent, loop.SERIAL, (*lets, *guarded(conditions, inner)))

        body.append(along(0, []))
        for p, place in enumerate(places):
            t = loop.add(phase, loop.mul(place, loop.Const(self.period)))
            value = loop.Load(acc, loop.Const(p))
            body.append(self.store(n, *rows, t, output, value=value))
        return body

    def products(
        self,
        n: Expr,
        elements: list[Expr],
        phase: Expr,
        places: list[Expr],
        taps: list[Var],
        output: Expr,
        channel: Expr,
        acc: loop.Local,
        checked: bool,
    ) -> list[Stmt]:
        """What one tap adds to the sums of a block."""
        last = self.last
        body: list[Stmt] = []
        start = loop.mul(phase, loop.Const(last.stride))
        start = self.named(body, loop.add(start, tap_place(last, taps[-1])), "start")
        first, conditions = element_at(last, start)
        lets: list[Stmt] = []
        first = self.named(lets, first, "first")
        pace = loop.Const(self.period * last.stride // last.expansion)
        where: list[tuple[Expr, Expr | None]] = []
        for place in places:
            element = self.named(lets, loop.add(first, loop.mul(place, pace)), "element")
            inside = None
            if checked:
                inside = self.named(lets, all_of(within(element, last.size)), "inside")
                # What is not taken must still be safe to read.
                element = self.named(lets, loop.select(inside, element, loop.ZERO), "element")
            where.append((element, inside))
        c = self.context.var("c")
        each: Expr = loop.ZERO if self.depthwise else c
        weight = self.context.var("weight", self.dtype)
        inner: list[Stmt] = [loop.Let(weight, self.load(1, *taps, each, output))]
        for p, (element, inside) in enumerate(where):
            value = self.load(0, n, *elements, element, loop.add(channel, each))
            if inside is not None:
                value = loop.select(inside, value, self.zero)
            product_ = loop.apply("mul", value, weight)
            inner.append(loop.Accumulate(acc, loop.Const(p), "add", product_))
        lets += inner if self.depthwise else [repeat(c, self.channels, inner)]
        return [*body, *guarded(conditions, lets)]


def lower_convolve(node: Node, context) -> list[Stmt]:
    return _Convolve(node, context).loops()
