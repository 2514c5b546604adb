"""Direct loops for the gradient of a convolution with respect to its kernel.

Blocks of weights in parallel, vectors of output channels; sums over the batch and all positions,
one row of the image at a time, so that rounding errors grow with the number of rows and with the
length of one, not with their product:

    total[Q] = 0
    for n, rows:
        acc[Q] = 0
        for t:  acc[q] += x[n, row, t*stride + k - low, channel] * g[n, row, t, v]
        total[q] += acc[q]

A block holds input channels for one tap, whose positions inside the input are counted beforehand;
of a depthwise kernel it holds taps, which meet the same gradients, for a block of channels.
"""

from __future__ import annotations

from itertools import product as indices

from ..ir.node import Node
from ..loop import nodes as loop
from ..loop.nodes import Expr, Stmt
from ..sizes import ceildiv
from .convolution_loops import (
    LANES,
    ConvolutionNest,
    all_of,
    block_size,
    element_at,
    guarded,
    tap_place,
    within,
)
from .nests import estimate
from .windows import Window

CHANNELS = 8  # input channels of a block
TAPS = 16  # of a block of a depthwise kernel
DEPTH = 64  # channels of a block of a depthwise kernel


def lower_convolve_weights(node: Node, context) -> list[Stmt]:
    nest = _DepthwiseWeights if node.outputs[0].dims[-2] == 1 else _Weights
    return nest(node, context).loops()


class _Weights(ConvolutionNest):
    """A block of input channels for one tap."""

    def __init__(self, node: Node, context):
        super().__init__(node, context)
        self.size = block_size(self.channels, CHANNELS)
        self.blocks = ceildiv(self.channels, self.size)

    def loops(self) -> list[Stmt]:
        cost = self.size * estimate(self.node.inputs[1].dims) / LANES
        kernel = [window.kernel for window in self.windows]
        return self.tasks([*kernel, self.blocks], cost, self.block)

    def block(self, index: list[Expr]) -> list[Stmt]:
        *taps, number = index
        body: list[Stmt] = []
        first = loop.mul(number, loop.Const(self.size))
        members = []  # the last one stands for those beyond it
        for q in range(self.size):
            member = loop.add(first, loop.Const(q))
            if self.channels != self.blocks * self.size:
                end = loop.sub(loop.index(self.channels), loop.ONE)
                member = loop.apply("minimum", member, end)
            members.append(self.named(body, member, "member"))
        ranges = [self.range(body, window, k) for window, k in zip(self.windows, taps, strict=True)]
        return body + self.vectors(
            lambda output, channel: self.weight_sums(taps, members, ranges, output, channel)
        )

    def range(self, body: list[Stmt], window: Window, k: Expr) -> tuple[Expr, Expr]:
        """The first position at which a tap meets the input, and the number of positions from
        there to the last."""
        if not window.padded:
            return loop.ZERO, loop.index(window.steps)
        tap, stride = tap_place(window, k), loop.Const(window.stride)
        before = loop.apply("maximum", loop.sub(loop.ZERO, tap), loop.ZERO)
        first = loop.floordiv(loop.add(before, loop.Const(window.stride - 1)), stride)
        first = self.named(body, first, "first")
        after = loop.sub(loop.index(window.spread + window.stride - 1), tap)
        last = loop.apply("floordiv", loop.apply("maximum", after, loop.ZERO), stride)
        last = loop.apply("minimum", last, loop.index(window.steps))
        count = loop.apply("maximum", loop.sub(last, first), loop.ZERO)
        return first, self.named(body, count, "count")

    def weight_sums(
        self,
        taps: list[Expr],
        members: list[Expr],
        ranges: list[tuple[Expr, Expr]],
        output: Expr,
        channel: Expr,
    ) -> list[Stmt]:
        total, body = self.sums(self.size, "total")
        n = self.context.var("n")

        def along(axis: int, places: list[Expr], elements: list[Expr], acc) -> list[Stmt]:
            """The positions along a spatial dimension and those after it."""
            if axis == len(self.windows):
                gradient = self.context.var("gradient", self.dtype)
                products: list[Stmt] = [loop.Let(gradient, self.load(1, n, *places, output))]
                for q, member in enumerate(members):
                    value = self.load(0, n, *elements, loop.add(channel, member))
                    value = loop.apply("mul", value, gradient)
                    products.append(loop.Accumulate(acc, loop.Const(q), "add", value))
                return products
            window, (first, count) = self.windows[axis], ranges[axis]
            step = self.context.var("step")
            lets: list[Stmt] = []
            t = self.named(lets, loop.add(first, step), "t")
            place = loop.add(loop.mul(t, loop.Const(window.stride)), tap_place(window, taps[axis]))
            element, conditions = element_at(window, place)
            inner: list[Stmt] = []
            element = self.named(inner, element, "element")
            clear: list[Stmt] = []
            if axis == len(self.windows) - 1:
                acc, clear = self.sums(self.size, "acc")
            inner += along(axis + 1, [*places, t], [*elements, element], acc)
            body = (*lets, *guarded(conditions, inner))
            return self.row(clear, loop.For(step, count, loop.SERIAL, body), acc, total)

        batch = loop.index(self.node.inputs[0].dims[0])
        body.append(loop.For(n, batch, loop.SERIAL, tuple(along(0, [], [], None))))
        *outer, last = taps
        for q, member in enumerate(members):
            value = loop.Load(total, loop.Const(q))
            body.append(self.store(*outer, last, member, output, value=value))
        return body

    def row(self, clear: list[Stmt], inner: Stmt, acc: loop.Local, total: loop.Local) -> list[Stmt]:
        """A loop over positions; where it is over those of a row, its sums join the total."""
        if not clear:
            return [inner]
        joined = []
        for q in range(total.size):
            value = loop.Load(acc, loop.Const(q))
            joined.append(loop.Accumulate(total, loop.Const(q), "add", value))
        return [*clear, inner, *joined]


class _DepthwiseWeights(_Weights):
    """A block of taps along the last dimensions for a block of channels. Taps that meet no
    element at a position add zeros there; positions where all do need no checks."""

    def __init__(self, node: Node, context):
        super().__init__(node, context)
        # The last dimensions, of as many taps as a block may hold.
        count, taps = 1, self.last.kernel
        for window in reversed(self.outer):
            if taps * window.kernel > TAPS:
                break
            count, taps = count + 1, taps * window.kernel
        self.inner = self.windows[len(self.windows) - count :]
        self.leading = self.windows[: len(self.windows) - count]
        self.size = block_size(taps, TAPS)
        self.blocks = ceildiv(taps, self.size)
        self.depth = block_size(self.outputs, DEPTH)

    def loops(self) -> list[Stmt]:
        *points, channels = self.node.inputs[1].dims
        cost = self.size * self.depth * estimate(points) / LANES
        kernel = [window.kernel for window in self.leading]
        return self.tasks(
            [*kernel, self.blocks, ceildiv(self.outputs, self.depth)], cost, self.block
        )

    def block(self, index: list[Expr]) -> list[Stmt]:
        *leading, number, part = index
        body: list[Stmt] = []
        kernel = [window.kernel for window in self.inner]
        members: list[tuple[Expr, ...]] = [
            tuple(map(loop.Const, taps)) for taps in indices(*map(range, kernel))
        ]
        if self.blocks != 1:  # of one dimension; the last tap stands for those beyond it
            first = loop.mul(number, loop.Const(self.size))
            members = []
            for q in range(self.size):
                tap = loop.add(first, loop.Const(q))
                tap = loop.apply("minimum", tap, loop.Const(self.last.kernel - 1))
                members.append((self.named(body, tap, "tap"),))
        ranges = [
            self.range(body, window, k) for window, k in zip(self.leading, leading, strict=True)
        ]
        first = self.named(body, loop.mul(part, loop.index(self.depth)), "first")
        extent: Expr = loop.index(self.depth)
        if self.outputs != self.depth * ceildiv(self.outputs, self.depth):
            rest = loop.sub(loop.index(self.outputs), first)
            extent = self.named(body, loop.apply("minimum", extent, rest), "extent")
        lane = self.context.var("v")
        output = loop.add(first, lane)
        sums = self.tap_sums(leading, members, ranges, output, self.group_of(output))
        return [*body, loop.For(lane, extent, loop.VECTOR, tuple(sums))]

    def tap_sums(
        self,
        leading: list[Expr],
        members: list[tuple[Expr, ...]],
        ranges: list[tuple[Expr, Expr]],
        output: Expr,
        channel: Expr,
    ) -> list[Stmt]:
        total, body = self.sums(self.size, "total")
        n = self.context.var("n")

        def along(axis: int, places: list[Expr], elements: list[Expr], met, acc) -> list[Stmt]:
            """The positions along a spatial dimension and those after it. `met` has, for each
            dimension whose taps are in the block, what each tap meets."""
            if axis == len(self.windows):
                return self.products(n, places, elements, met, members, output, channel, acc)
            window, step = self.windows[axis], self.context.var("step")
            lets: list[Stmt] = []
            clear: list[Stmt] = []
            leads = axis < len(self.leading)
            first, count = ranges[axis] if leads else (loop.ZERO, loop.index(window.steps))
            t = self.named(lets, loop.add(first, step), "t")
            start = loop.mul(t, loop.Const(window.stride))
            if axis == len(self.windows) - 1:
                acc, clear = self.sums(self.size, "acc")
            if leads:
                place = loop.add(start, tap_place(window, leading[axis]))
                element, conditions = element_at(window, place)
                inner: list[Stmt] = []
                element = self.named(inner, element, "element")
                inner += along(axis + 1, [*places, t], [*elements, element], met, acc)
                inner = guarded(conditions, inner)
            else:
                # Each tap of this dimension once.
                here = dict.fromkeys(taps[axis - len(self.leading)] for taps in members)
                found = {k: self.meeting(lets, window, start, k) for k in here}
                inner = along(axis + 1, [*places, t], elements, [*met, found], acc)
            return self.row(clear, loop.For(step, count, loop.SERIAL, (*lets, *inner)), acc, total)

        batch = loop.index(self.node.inputs[0].dims[0])
        body.append(loop.For(n, batch, loop.SERIAL, tuple(along(0, [], [], [], None))))
        for q, taps in enumerate(members):
            value = loop.Load(total, loop.Const(q))
            body.append(self.store(*leading, *taps, loop.ZERO, output, value=value))
        return body

    def meeting(
        self, body: list[Stmt], window: Window, start: Expr, k: Expr
    ) -> tuple[Expr, Expr | None]:
        """The element a tap meets, and whether there is one (None: always)."""
        element, conditions = element_at(window, loop.add(start, tap_place(window, k)))
        element = self.named(body, element, "element")
        if window.padded:
            conditions += within(element, window.size)
        return element, self.named(body, all_of(conditions), "inside") if conditions else None

    def products(self, n, places, elements, met, members, output, channel, acc) -> list[Stmt]:
        """What one position adds to the sums of the taps."""
        gradient = self.context.var("gradient", self.dtype)
        read: list[Stmt] = [loop.Let(gradient, self.load(1, n, *places, output))]
        plain: list[Stmt] = []
        checked: list[Stmt] = []
        conditions = [inside for found in met for _, inside in found.values() if inside is not None]
        for q, taps in enumerate(members):
            hits = [found[k] for found, k in zip(met, taps, strict=True)]
            inside = [condition for _, condition in hits if condition is not None]
            value = self.load(0, n, *elements, *(element for element, _ in hits), channel)
            plain.append(self.add(acc, q, value, gradient))
            if not inside:
                checked.append(plain[-1])
                continue
            here = self.named(checked, all_of(inside), "inside")
            # What is not taken must still be safe to read.
            safe = [
                element if condition is None else loop.select(here, element, loop.ZERO)
                for element, condition in hits
            ]
            value = self.load(0, n, *elements, *safe, channel)
            checked.append(self.add(acc, q, loop.select(here, value, self.zero), gradient))
        if not conditions:
            return [*read, *plain]
        return [*read, loop.If(all_of(conditions), tuple(plain), tuple(checked))]

    def add(self, acc: loop.Local, q: int, value: Expr, gradient: Expr) -> Stmt:
        return loop.Accumulate(acc, loop.Const(q), "add", loop.apply("mul", value, gradient))
