"""What pooling operations do with the elements that a position meets (see pooling_loops.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import prod

from ..ir.node import Node
from ..loop import nodes as loop
from ..loop.nodes import Const, Expr, Stmt
from .pooling_loops import (
    Axis,
    Backward,
    Body,
    Forward,
    Index,
    Meeting,
    Pooling,
    sweep,
    taps_within,
)
from .windows import pooling_windows


def _together(factors: Sequence[Expr]) -> Expr:
    result: Expr = loop.ONE
    for factor in factors:
        result = loop.mul(result, factor)
    return result


class _Max(Pooling):
    """The first maximum of each window and, where it is wanted, the tap that holds it."""

    def __init__(self, node: Node, context, axes: Sequence[Axis]):
        super().__init__(node, context, axes)
        self.named = context.wanted(1)
        self.dtype, self.taps = node.types[0].dtype, node.types[1].dtype

    def larger(self, value: Expr, held: Expr) -> Expr:
        if not self.dtype.is_floating:
            return loop.apply("gt", value, held)
        other = loop.apply("not", loop.apply("le", value, held))
        return loop.apply("and", other, loop.apply("eq", held, held))

    def start(self, body: Body, target: Index, meetings: Sequence[Meeting]) -> None:
        self.held = self.local(body, loop.neutral("maximum", self.dtype))
        if self.named:
            # The first element is it until another is larger, which none is where all are lowest.
            first: Expr = loop.ZERO
            some: Expr = loop.ONE
            for meeting, axis in zip(meetings, self.axes, strict=True):
                first = loop.add(loop.mul(first, Const(axis.window.kernel)), meeting.first)
                some = loop.apply("minimum", some, meeting.count)
            self.where = self.local(body, loop.cast(loop.mul(first, some), self.taps))

    def gather(self, body: Body, source: Index, tap: Expr) -> None:
        value = self.let(body, self.context.read(0, source), "x")
        if not self.named:
            body.append(loop.Accumulate(self.held, loop.ZERO, "maximum", value))
            return
        held = self.let(body, loop.Load(self.held, loop.ZERO))
        larger = self.let(body, self.larger(value, held))
        before = self.let(body, loop.Load(self.where, loop.ZERO))
        now = loop.select(larger, loop.cast(tap, self.taps), before)
        body.append(loop.Store(self.held, loop.ZERO, loop.select(larger, value, held)))
        body.append(loop.Store(self.where, loop.ZERO, now))

    def finish(self, body: Body, target: Index) -> None:
        self.store(body, target, loop.Load(self.held, loop.ZERO))
        if self.named:
            self.store(body, target, loop.Load(self.where, loop.ZERO), output=1)

    def block(self, body: Body, load: Callable, targets: Sequence[tuple[Index, list]]) -> None:
        for target, met in targets:
            self.put(body, target, ((load(0, source), number) for source, number in met))

    def put(self, body: Body, target: Index, values: Iterable[tuple[Expr, int]]) -> None:
        """Stores the maximum of (value, tap) in order, and its tap."""
        (held, number), *others = values
        where: Expr = Const(number, self.taps)
        for value, number in others:
            if self.named:
                larger = self.let(body, self.larger(value, held))
                held = self.let(body, loop.select(larger, value, held))
                where = self.let(body, loop.select(larger, Const(number, self.taps), where))
            else:
                held = self.let(body, loop.apply("maximum", held, value))
        self.store(body, target, held)
        if self.named:
            self.store(body, target, where, output=1)


class _Take(Pooling):
    """The element of each window at the tap that input 1 names."""

    def __init__(self, node: Node, context, axes: Sequence[Axis]):
        super().__init__(node, context, axes)
        self.taps = node.inputs[1].dtype
        self.zero = loop.neutral("add", node.types[0].dtype)

    def start(self, body: Body, target: Index, meetings: Sequence[Meeting]) -> None:
        self.held = self.local(body, self.zero)
        self.where = self.let(body, self.context.read(1, target), "where")

    def gather(self, body: Body, source: Index, tap: Expr) -> None:
        hit = loop.apply("eq", self.where, loop.cast(tap, self.taps))
        held = loop.Load(self.held, loop.ZERO)
        value = loop.select(hit, self.context.read(0, source), held)
        body.append(loop.Store(self.held, loop.ZERO, value))

    def finish(self, body: Body, target: Index) -> None:
        self.store(body, target, loop.Load(self.held, loop.ZERO))

    def block(self, body: Body, load: Callable, targets: Sequence[tuple[Index, list]]) -> None:
        for target, met in targets:
            where = self.let(body, self.context.read(1, target), "where")
            held: Expr = self.zero
            for source, number in met:
                hit = loop.apply("eq", where, Const(number, self.taps))
                held = self.let(body, loop.select(hit, load(0, source), held))
            self.store(body, target, held)


class _Put(Pooling):
    """The sum of what the windows that cover a position put there: input 0, of those that name it
    in input 1."""

    def __init__(self, node: Node, context, axes: Sequence[Axis]):
        super().__init__(node, context, axes)
        self.taps = node.inputs[1].dtype
        self.zero = loop.neutral("add", node.types[0].dtype)

    def start(self, body: Body, target: Index, meetings: Sequence[Meeting]) -> None:
        self.held = self.local(body, self.zero)

    def gather(self, body: Body, source: Index, tap: Expr) -> None:
        hit = loop.apply("eq", self.context.read(1, source), loop.cast(tap, self.taps))
        value = loop.select(hit, self.context.read(0, source), self.zero)
        body.append(loop.Accumulate(self.held, loop.ZERO, "add", value))

    def finish(self, body: Body, target: Index) -> None:
        self.store(body, target, loop.Load(self.held, loop.ZERO))

    def block(self, body: Body, load: Callable, targets: Sequence[tuple[Index, list]]) -> None:
        for target, met in targets:
            held: Expr = self.zero
            for source, number in met:
                hit = loop.apply("eq", load(1, source), Const(number, self.taps))
                value = loop.select(hit, load(0, source), self.zero)
                held = value if held is self.zero else loop.apply("add", held, value)
                held = self.let(body, held)
            self.store(body, target, held)


class _Sum(Pooling):
    """Sums of windows, or of what windows spread; divided by how many elements are counted."""

    def __init__(self, node: Node, context, axes: Sequence[Axis]):
        super().__init__(node, context, axes)
        self.dtype = node.types[0].dtype
        self.spread = isinstance(axes[0], Backward)
        self.counted = node.attrs["counted"]

    def share(self, window: Index) -> Expr | None:
        """One divided by the count of the window at an output position; None where it is 1."""
        if self.counted is None:
            return None
        counts: list[Expr] = []
        for axis, position, around in zip(self.axes, window[1:-1], self.counted, strict=True):
            w = axis.window
            if around == (w.low, w.high):
                counts.append(Const(w.kernel))
            else:
                first, stop = taps_within(w, position, *around)
                counts.append(loop.apply("maximum", loop.sub(stop, first), loop.ONE))
        count = _together(counts)
        one = Const(1.0, self.dtype)
        if isinstance(count, Const):
            return Const(1.0 / count.value, self.dtype)
        return loop.apply("div", one, loop.cast(count, self.dtype))

    def start(self, body: Body, target: Index, meetings: Sequence[Meeting]) -> None:
        self.held = self.local(body, loop.neutral("add", self.dtype))
        self.factor = None if self.spread else self.share(target)

    def gather(self, body: Body, source: Index, tap: Expr) -> None:
        value = self.context.read(0, source)
        factor = self.share(source) if self.spread else None
        if factor is not None:
            value = loop.apply("mul", value, factor)
        body.append(loop.Accumulate(self.held, loop.ZERO, "add", value))

    def finish(self, body: Body, target: Index) -> None:
        value: Expr = loop.Load(self.held, loop.ZERO)
        if self.factor is not None:
            value = loop.apply("mul", value, self.factor)
        self.store(body, target, value)

    def block(self, body: Body, load: Callable, targets: Sequence[tuple[Index, list]]) -> None:
        taps = prod(axis.window.kernel for axis in self.axes)
        for target, met in targets:
            held: Expr = loop.neutral("add", self.dtype)
            for number, (source, _) in enumerate(met):
                value = load(0, source)
                held = self.let(body, loop.apply("add", held, value) if number else value)
            if self.counted is not None and met and taps > 1:
                held = loop.apply("mul", held, Const(1.0 / taps, self.dtype))
            self.store(body, target, held)


def store_maximum(node: Node, context, target: Index, values: Sequence[Expr]) -> list[Stmt]:
    """What `window_max` stores at `target` for a window that meets `values`, a value a tap."""
    body: Body = []
    taps = zip(values, range(len(values)), strict=True)
    _Max(node, context, ()).put(body, target, taps)
    return body


# -- lowering of the operations ------------------------------------------------------------------


def _over_outputs(kind: type[Pooling]) -> Callable[..., list[Stmt]]:
    def lower(node: Node, context) -> list[Stmt]:
        windows = pooling_windows(node.inputs[0].dims[1:-1], node.attrs)
        return sweep(kind(node, context, [Forward(w) for w in windows]))

    return lower


def _over_inputs(kind: type[Pooling]) -> Callable[..., list[Stmt]]:
    def lower(node: Node, context) -> list[Stmt]:
        windows = pooling_windows(node.attrs["sizes"], node.attrs)
        counted = node.attrs.get("counted") or [None] * len(windows)
        axes = [Backward(w, c) for w, c in zip(windows, counted, strict=True)]
        return sweep(kind(node, context, axes))

    return lower


lower_window_max = _over_outputs(_Max)
lower_window_take = _over_outputs(_Take)
lower_window_sum = _over_outputs(_Sum)
lower_window_put = _over_inputs(_Put)
lower_window_spread = _over_inputs(_Sum)
