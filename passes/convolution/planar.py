"""Convolutions to few channels: pixels side by side in vectors, not channels.

    y[n, t, x, o]  =  sum over (ky, c), kx  of  w[ky, c, kx, o] * planes[n, ty + ky, c, x + kx]

A vector of output channels would be mostly empty where there are but a few. So the roles change:
weights are the first operand of the micro-kernel, one row an output channel, and windows the second
one: the input is copied with its pixels along each line, [image, line, channel, pixel], where the
windows of neighbouring pixels are neighbours too, and a step to the next channel or tap line is
always the same.

    for bands of lines of an image, parallel:
        planes   the lines of the input that they meet, on the stack (of all images in memory
                 beforehand, where lines are too long for that)
        for groups of lines:
            sums     [line, channel, pixel]: two lines at a time use a weight twice
            rows     [line, pixel, channel]: turned around, tile by tile in registers
            for pixels:  for v vector channels:  epilogue

Where the maxima of windows apart from each other follow, a group is a line of windows, and the
epilogue is given all elements of a window: what is pooled is never stored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...loop import nodes as loop
from ...loop.nodes import Buffer, Const, Expr, Invoke, Let, Load, Local, Stmt, Var
from ...sizes import Dim
from ..contraction.spec import (
    Contraction,
    ContractionSpec,
    Target,
    count_of,
    grain_of,
    minimum,
    named,
    product,
    repeat,
    split,
    within,
    zero,
)
from .planar_kernel import planar_kernel

_TASK_OPERATIONS = 1 << 18
_COPY_ELEMENTS = 1 << 13
_STACK_ELEMENTS = 1 << 14  # of planes that one task copies for itself
_FEW_TASKS = 8
_TASKS_AHEAD = 2  # of the task whose lines are fetched: threads take turns


@dataclass(frozen=True)
class Lines:
    """The convolution: x [batch, lines, pixels, channels] in memory, y [batch, high, wide, o].

    Output line t meets input lines t * line_step + line_start and the following ones, pixel x input
    pixels x + pixel_start + k * pixel_step. taps: (lines, pixels) of the kernel
    """

    x: Buffer
    batch: Dim
    lines: int
    pixels: int
    channels: int
    high: int
    wide: int
    line_step: int
    line_start: int
    pixel_step: int
    pixel_start: int
    taps: tuple[int, int]


@dataclass(frozen=True)
class Pool:
    """Windows of (lines, pixels) of y, next to each other, that y is made of.

    epilogue(index, m, o, values) gives the statements for channel o of a window: its index (image,
    line, pixel) and, for each of its elements, the row of the contraction and the sum there.
    """

    window: tuple[int, int]
    epilogue: Callable[[Sequence[Expr], Sequence[Expr], Expr, Sequence[Expr]], list[Stmt]]


def few_channels(lines: Lines, outputs: int, target: Target) -> bool:
    """Whether vectors of pixels are fuller than vectors of channels."""
    lanes = target.vector_bits // 32
    return lanes >= 4 and 2 * outputs <= lanes <= 2 * lines.wide


def build_planar(
    spec: ContractionSpec, lines: Lines, target: Target, pool: Pool | None = None
) -> Contraction:
    """`spec` is the convolution as a contraction over (taps, channels); its `b.read` and `epilogue`
    (but with a pool, which has its own) are used, with rows numbered as there."""
    return _Planar(spec, lines, target, pool).build()


class _Planar:
    def __init__(self, spec: ContractionSpec, lines: Lines, target: Target, pool: Pool | None):
        self.spec, self.lines, self.pool = spec, lines, pool
        self.lanes = lanes = max(1, target.vector_bits // spec.dtype.bits)
        assert isinstance(spec.n, int)
        self.outputs = spec.n
        vectors = 1 if lines.wide <= lanes or 2 * self.outputs + 3 > target.registers else 2
        self.columns = vectors * lanes
        both = 2 * vectors * (self.outputs + 1) < target.registers
        self.together = 2 if both and lines.high > 1 else 1
        self.down, self.across = pool.window if pool else (self.together, 1)
        self.together = min(self.together, self.down)
        self.groups = count_of(lines.high, self.down)
        self.runs = lines.taps[0] * lines.channels
        self.width = count_of(lines.wide, self.columns) * self.columns
        reach = self.width + lines.pixel_start + (lines.taps[1] - 1) * lines.pixel_step
        self.pitch = max(lines.pixels, reach)
        size = self.runs * lines.taps[1] * self.outputs
        self.weights = Buffer(f"{spec.name}_weights", spec.dtype, size, "workspace")
        self.band = self._groups_of_a_band()
        self.planes: Buffer | Local
        if self.band:
            size = self._met(self.band) * lines.channels * self.pitch
            self.planes = Local(f"{spec.name}_planes", spec.dtype, (size,), "stack")
        else:
            whole = product(lines.batch, lines.lines, lines.channels, self.pitch)
            self.planes = Buffer(f"{spec.name}_planes", spec.dtype, whole, "workspace")

    def _met(self, groups: int) -> int:
        """How many lines of the input so many groups meet."""
        high = min(groups * self.down, self.lines.high)
        return (high - 1) * self.lines.line_step + self.lines.taps[0]

    def _groups_of_a_band(self) -> int:
        """As many as fit on the stack and leave enough tasks; 0 where bands of lines would have
        more in common with each other than of their own."""
        line = self.lines.channels * self.pitch
        fitting = [n for n in range(1, self.groups + 1) if self._met(n) * line <= _STACK_ELEMENTS]
        least = min(self.groups, count_of(2 * (self.lines.taps[0] - 1), self.down))
        most = max(fitting, default=0)
        if most < least:
            return 0
        if isinstance(self.lines.batch, int):
            most = min(most, max(least, count_of(self.lines.batch * self.groups, _FEW_TASKS)))
        return most

    def build(self) -> Contraction:
        lines, spec = self.lines, self.spec
        bands = count_of(self.groups, self.band or 1)
        work = 2 * self.runs * lines.taps[1] * self.outputs * lines.wide * self.down
        task = self.one_band if self.band else self.one_group
        nest = repeat(
            spec, "t", product(lines.batch, bands), loop.PARALLEL,
            lambda t: task(*split(t, (lines.batch, bands))),
            grain_of(work * (self.band or 1), _TASK_OPERATIONS),
        )  # fmt: skip
        spaces = [self.planes] if isinstance(self.planes, Buffer) else []
        return Contraction(
            "planar", () if self.band else tuple(self.copy_all()), tuple(self.copy_weights()),
            tuple(nest), (*spaces, self.weights), self.weights,
        )  # fmt: skip

    # -- copies -------------------------------------------------------------------------------

    def copy_all(self) -> list[Stmt]:
        """planes[n, y, c, x] = x[n, y, x, c], or 0 beyond the last pixel"""
        spec, lines = self.spec, self.lines
        grain = grain_of(lines.channels * self.pitch, _COPY_ELEMENTS)
        return repeat(
            spec, "t", product(lines.batch, lines.lines), loop.PARALLEL,
            lambda t: self.copy_line(t, t), grain,
        )  # fmt: skip

    def copy_line(self, source: Expr, target: Expr) -> list[Stmt]:
        """Line number `source` of all images to number `target` of the planes."""
        spec, lines = self.spec, self.lines
        lets, (source, target) = named(
            ("source", loop.mul(source, Const(lines.pixels * lines.channels))),
            ("target", loop.mul(target, Const(lines.channels * self.pitch))),
        )

        def channel(c: Expr) -> list[Stmt]:
            start = loop.add(target, loop.mul(c, Const(self.pitch)))
            inner, (start, first) = named(("start", start), ("first", loop.add(source, c)))

            def move(x: Expr) -> list[Stmt]:
                at = loop.add(first, loop.mul(x, Const(lines.channels)))
                return [loop.Store(self.planes, loop.add(start, x), Load(lines.x, at))]

            inner += repeat(spec, "x", lines.pixels, loop.VECTOR, move)
            beyond = loop.add(start, Const(lines.pixels))
            return inner + repeat(
                spec, "x", self.pitch - lines.pixels, loop.VECTOR,
                lambda x: [loop.Store(self.planes, loop.add(beyond, x), zero(spec.dtype))],
            )  # fmt: skip

        return lets + repeat(spec, "c", lines.channels, loop.SERIAL, channel)

    def copy_weights(self) -> list[Stmt]:
        """weights[ky, c, kx, o] = w[ky, kx, c, o]"""
        spec, lines = self.spec.packing_b(), self.lines
        wide = lines.taps[1]

        def run(t: Expr) -> list[Stmt]:
            ky, c, kx = split(t, (lines.taps[0], lines.channels, wide))
            row = loop.linear((ky, kx, c), (*lines.taps, lines.channels))
            lets, (row, start) = named(("row", row), ("start", loop.mul(t, Const(self.outputs))))

            def element(o: Expr) -> list[Stmt]:
                value = spec.b.read(loop.ZERO, row, o)
                return [loop.Store(self.weights, loop.add(start, o), value)]

            return lets + repeat(spec, "o", self.outputs, loop.VECTOR, element)

        return repeat(spec, "t", self.runs * wide, loop.PARALLEL, run, _COPY_ELEMENTS)

    # -- tasks --------------------------------------------------------------------------------

    def one_band(self, image: Expr, band: Expr) -> list[Stmt]:
        """Groups of lines of an image, with the planes that they meet."""
        spec, lines = self.spec, self.lines
        assert isinstance(self.planes, Local)
        lets, (begin,) = named(("begin", loop.mul(band, Const(self.band))))
        count = within(self.band, begin, self.groups)
        first = loop.mul(begin, Const(self.down * lines.line_step))
        source = loop.add(loop.mul(image, Const(lines.lines)), first)
        source = loop.add(source, Const(lines.line_start))
        # Of the last band: those that the last line meets, not those of the next image.
        last = (lines.high - 1) * lines.line_step + lines.taps[0]
        met = within(self._met(self.band), first, last)
        more, (source, count) = named(("above", source), ("count", count))
        copy = repeat(spec, "y", met, loop.SERIAL, lambda y: self.copy_line(loop.add(source, y), y))
        groups = repeat(
            spec, "g", count, loop.SERIAL,
            lambda g: [
                *self.fetch_ahead(source, g),
                *self.group(
                    image, loop.add(begin, g), loop.mul(g, Const(self.down * lines.line_step))
                ),
            ],
        )  # fmt: skip
        return [self.planes, *lets, *more, *copy, *groups]

    def fetch_ahead(self, source: Expr, g: Expr) -> list[Stmt]:
        """Asks for a part of the lines of a later task, which begins as far behind this one's
        `source` as that task is. The copying of lines waits for memory, the sums do not use it."""
        lines = self.lines
        line = lines.pixels * lines.channels
        far = lines.lines if self.band == self.groups else self.band * self.down * lines.line_step
        each = count_of(self._met(self.band) * line, self.band * self.lanes) * self.lanes
        start = loop.mul(loop.add(source, Const(_TASKS_AHEAD * far)), Const(line))
        lets, (start,) = named(("ahead", loop.add(start, loop.mul(g, Const(each)))))
        return lets + repeat(
            self.spec, "x", each, loop.VECTOR,
            lambda x: [loop.Prefetch(lines.x, loop.add(start, x))],
        )  # fmt: skip

    def one_group(self, image: Expr, number: Expr) -> list[Stmt]:
        """A group of lines, the planes of all images in memory."""
        lines = self.lines
        row = loop.mul(number, Const(self.down * lines.line_step))
        place = loop.add(loop.mul(image, Const(lines.lines)), row)
        return self.group(image, number, loop.add(place, Const(lines.line_start)))

    def group(self, image: Expr, number: Expr, line: Expr) -> list[Stmt]:
        """Group `number` of an image, which begins at number `line` of the planes."""
        spec, lines = self.spec, self.lines
        sums = Local("sums", spec.dtype, (self.down * self.outputs, self.width), "stack")
        rows = Local("rows", spec.dtype, (self.down, self.width, self.outputs), "stack")
        top = loop.mul(number, Const(self.down))
        start = loop.add(
            loop.mul(line, Const(lines.channels * self.pitch)), Const(lines.pixel_start)
        )
        lets, (top, start) = named(("top", top), ("start", start))
        present = within(self.down, top, lines.high)
        above = loop.add(loop.mul(image, Const(lines.high)), top)
        more, (present, above) = named(("present", present), ("above", above))
        body: list[Stmt] = [sums, rows, *lets, *more]
        for first in range(0, self.down, self.together):
            body += self.multiply(
                first, min(self.together, self.down - first), start, present, sums
            )
        body += self.turn(sums, rows)
        if self.pool:
            return body + self.windows(image, number, above, rows)
        return body + self.elements(above, present, rows)

    def multiply(
        self, first: int, count: int, start: Expr, present: Expr, sums: Local
    ) -> list[Stmt]:
        """The sums of `count` lines of a group; of lines that are not there, something."""
        spec, lines = self.spec, self.lines
        kernel = planar_kernel(spec.dtype, count, self.outputs, self.columns, self.width)
        step = lines.line_step * lines.channels * self.pitch
        # A line that is not there reads what the one before it does.
        there = minimum(Const(first), loop.sub(present, loop.ONE))
        follows = loop.sub(minimum(Const(first + count - 1), loop.sub(present, loop.ONE)), there)
        begin = loop.add(start, loop.mul(there, Const(step)))
        scalars = (
            Const(self.runs), Const(lines.taps[1]), Const(self.pitch), Const(lines.pixel_step),
            loop.mul(follows, Const(step)),
        )  # fmt: skip

        def tile(j: Expr) -> list[Stmt]:
            column = loop.mul(j, Const(self.columns))
            at = loop.add(Const(first * self.outputs * self.width), column)
            arguments = (
                (self.weights, loop.ZERO), (self.planes, loop.add(begin, column)), (sums, at),
            )  # fmt: skip
            return [Invoke(kernel, arguments, scalars)]

        return repeat(spec, "j", self.width // self.columns, loop.SERIAL, tile)

    def turn(self, sums: Local, rows: Local) -> list[Stmt]:
        """rows[line, x, o] = sums[line, o, x]"""
        spec, side, outputs = self.spec, self.lanes, self.outputs

        def tile(line: Expr, j: Expr, first: int) -> list[Stmt]:
            count = min(side, outputs - first)
            square = Local("square", spec.dtype, (side * side,))
            x, v = Var("x"), Var("v")
            column = loop.mul(j, Const(side))
            source = loop.mul(
                loop.add(loop.mul(line, Const(outputs)), Const(first)), Const(self.width)
            )
            target = loop.add(loop.mul(line, Const(self.width)), column)
            target = loop.add(loop.mul(target, Const(outputs)), Const(first))
            lets, (source, target) = named(("source", loop.add(source, column)), ("target", target))
            body: list[Stmt] = [square, *lets]
            for o in range(count):
                c = Var("c")
                load = Load(sums, loop.add(loop.add(source, Const(o * self.width)), c))
                store = loop.Store(square, loop.add(Const(o * side), c), load)
                body.append(loop.For(c, Const(side), loop.VECTOR, (store,)))
            turned = Load(square, loop.add(loop.mul(v, Const(side)), x))
            place = loop.add(loop.add(target, loop.mul(x, Const(outputs))), v)
            vector = loop.For(v, Const(count), loop.VECTOR, (loop.Store(rows, place, turned),))
            body.append(loop.For(x, Const(side), loop.UNROLLED, (vector,)))
            return body

        return repeat(
            spec, "l", self.down, loop.SERIAL,
            lambda line: repeat(
                spec, "j", self.width // side, loop.SERIAL,
                lambda j: [s for o in range(0, outputs, side) for s in tile(line, j, o)],
            ),
        )  # fmt: skip

    # -- what becomes of the sums -------------------------------------------------------------

    def elements(self, above: Expr, present: Expr, rows: Local) -> list[Stmt]:
        spec, wide = self.spec, self.lines.wide

        def pixel(line: Expr, x: Expr) -> list[Stmt]:
            m = spec.variable("m", spec.m)
            where = loop.add(loop.mul(loop.add(above, line), Const(wide)), x)
            start = loop.mul(loop.add(loop.mul(line, Const(self.width)), x), Const(self.outputs))
            lets, (start,) = named(("start", start))

            def channel(o: Expr) -> list[Stmt]:
                value = Var("value", spec.dtype)
                load = Let(value, Load(rows, loop.add(start, o)))
                return [load, *spec.epilogue(loop.ZERO, m, o, value)]

            vector = repeat(spec, "o", self.outputs, loop.VECTOR, channel)
            return [Let(m, where), *lets, *vector]

        return repeat(
            spec, "l", present, loop.SERIAL,
            lambda line: repeat(spec, "x", wide, loop.SERIAL, lambda x: pixel(line, x)),
        )  # fmt: skip

    def windows(self, image: Expr, number: Expr, above: Expr, rows: Local) -> list[Stmt]:
        spec, pool, wide = self.spec, self.pool, self.lines.wide
        assert pool is not None
        count = wide // self.across
        taps = [(line, k) for line in range(self.down) for k in range(self.across)]

        def window(x: Expr) -> list[Stmt]:
            column = loop.mul(x, Const(self.across))
            lets, (start,) = named(("start", loop.mul(column, Const(self.outputs))))
            ms = [spec.variable("m", spec.m) for _ in taps]
            for m, (line, k) in zip(ms, taps, strict=True):
                row = loop.mul(loop.add(above, Const(line)), Const(wide))
                lets.append(Let(m, loop.add(loop.add(row, column), Const(k))))

            def channel(o: Expr) -> list[Stmt]:
                values = [Var("value", spec.dtype) for _ in taps]
                loads: list[Stmt] = []
                for value, (line, k) in zip(values, taps, strict=True):
                    at = loop.add(start, Const((line * self.width + k) * self.outputs))
                    loads.append(Let(value, Load(rows, loop.add(at, o))))
                return loads + pool.epilogue((image, number, x), ms, o, values)

            return lets + repeat(spec, "o", self.outputs, loop.VECTOR, channel)

        return repeat(spec, "x", count, loop.SERIAL, window)
