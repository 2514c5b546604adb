"""Gradients of the weights of convolutions to few channels: taps side by side in vectors.

    dw[ky, (kx, c), o]  =  sum over n, t, x  of  g[n, t, x, o] * line[n, t + ky, (x + kx, c)]

A vector of output channels would be mostly empty where there are but a few. The taps of a line of
the kernel with their channels, though, lie side by side in the input, and make fuller vectors: they
are the columns of the micro-kernel, output channels its rows, and pixels what is summed over.

    for groups of images, parallel:
        sums [ky, panel, o, (kx, c)]  =  0
        for images of the group, in bands of lines:
            lines    of the input, on the stack: vectors may reach beyond the last pixel
            for ky:  for panels:  sums += g[pixels, o] transposed * lines[pixels, (kx, c)]
    for (ky, kx, c) parallel:  for v vector channels:  epilogue of the sum of all groups' sums

Images are cut into groups by their number alone, so results do not depend on the threads.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...loop import nodes as loop
from ...loop.nodes import Buffer, Const, Expr, Invoke, Let, Load, Local, Stmt, Var
from ...sizes import Dim, ceildiv
from ..contraction.kernels import outer_kernel
from ..contraction.spec import (
    Contraction,
    ContractionSpec,
    Target,
    assumed,
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
from ..contraction.tiling import LATENCY, TASK_OPERATIONS

_GROUPS = 8
_STACK_ELEMENTS = 1 << 14  # of lines that a task copies for itself
_WORTHWHILE = 0.8  # of the cycles of tiles of channels


@dataclass(frozen=True)
class Taps:
    """The gradient: x [batch, lines, pixels, channels] and g [batch, high, wide, o] in memory.

    Tap ky of output line t is input line t * line_step + line_start + ky * tap_step; tap kx of
    pixel x is pixel x * pixel_step + pixel_start + kx. taps: (lines, pixels) of the kernel
    """

    x: Buffer
    g: Buffer
    batch: Dim
    lines: int
    pixels: int
    channels: int
    high: int
    wide: int
    line_step: int
    line_start: int
    tap_step: int
    pixel_step: int
    pixel_start: int
    taps: tuple[int, int]


def fuller_taps(taps: Taps, outputs: int, target: Target) -> bool:
    """Whether vectors of taps take fewer cycles than vectors of output channels."""
    lanes = target.vector_bits // 32
    if lanes < 4 or outputs > lanes:
        return False
    shape = _Shape(taps, outputs, lanes, target.registers)
    if not shape.band or assumed(taps.batch) * shape.bands < _GROUPS:
        return False
    panel = max(outputs * shape.vectors / 2, LATENCY)
    apart = taps.taps[0] * taps.taps[1] * taps.channels / 2
    return taps.taps[0] * shape.panels * panel < _WORTHWHILE * apart


def build_taps(spec: ContractionSpec, taps: Taps, target: Target) -> Contraction:
    """`spec` is the gradient as a contraction with rows (ky, kx, c); its `epilogue` is used."""
    return _TapLanes(spec, taps, target).build()


class _Shape:
    """How vectors and bands of lines are cut."""

    def __init__(self, taps: Taps, outputs: int, lanes: int, registers: int):
        self.run = taps.taps[1] * taps.channels
        total = count_of(self.run, lanes)
        self.vectors = 2 if total > 1 and 2 * (outputs + 1) <= registers - 2 else 1
        self.columns = self.vectors * lanes
        self.panels = count_of(total, self.vectors)
        self.pitch = taps.pixels * taps.channels
        self.reach = (taps.taps[0] - 1) * taps.tap_step + 1  # lines that one output line meets
        fitting = [
            n for n in range(1, taps.high + 1)
            if ((n - 1) * taps.line_step + self.reach) * self.pitch <= _STACK_ELEMENTS
        ]  # fmt: skip
        self.band = max(fitting, default=0)  # output lines of a band; 0: not even one
        self.bands = count_of(taps.high, self.band) if self.band else 1


class _TapLanes:
    def __init__(self, spec: ContractionSpec, taps: Taps, target: Target):
        assert isinstance(spec.n, int)
        self.spec, self.taps, self.outputs = spec, taps, spec.n
        lanes = target.vector_bits // spec.dtype.bits
        self.shape = shape = _Shape(taps, self.outputs, lanes, target.registers)
        self.units = product(taps.batch, shape.bands)
        self.groups = min(_GROUPS, self.units) if isinstance(self.units, int) else _GROUPS
        self.met = (shape.band - 1) * taps.line_step + shape.reach
        size = self.met * shape.pitch
        self.lines = Local(f"{spec.name}_lines", spec.dtype, (size + shape.columns,), "stack")
        self.each = taps.taps[0] * shape.panels * self.outputs * shape.columns
        self.sums = Buffer(f"{spec.name}_sums", spec.dtype, self.groups * self.each, "workspace")

    def build(self) -> Contraction:
        tasks = repeat(self.spec, "t", self.groups, loop.PARALLEL, self.group)
        return Contraction("taps", (), (), (*tasks, *self.finish()), (self.sums,))

    def group(self, number: Expr) -> list[Stmt]:
        spec, shape = self.spec, self.shape
        each = ceildiv(self.units, self.groups)
        begin = loop.mul(number, loop.index(each))
        own = loop.apply("maximum", loop.sub(loop.index(self.units), begin), loop.ZERO)
        lets, (begin, own, start) = named(
            ("begin", begin), ("own", minimum(loop.index(each), own)),
            ("start", loop.mul(number, Const(self.each))),
        )  # fmt: skip

        def unit(d: Expr) -> list[Stmt]:
            # An image has a name, so that what is made for this loop alone can be made here.
            image = spec.variable("image", self.taps.batch)
            at, band = split(loop.add(begin, d), (self.taps.batch, shape.bands))
            if shape.bands > 1:
                return self.lines_of(at, band, start)
            return [Let(image, at), *self.lines_of(image, loop.ZERO, start)]

        clear = repeat(
            spec, "v", self.each, loop.VECTOR,
            lambda v: [loop.Store(self.sums, loop.add(start, v), zero(spec.dtype))],
        )  # fmt: skip
        return [self.lines, *lets, *clear, *repeat(spec, "d", own, loop.SERIAL, unit)]

    def lines_of(self, image: Expr, band: Expr, sums: Expr) -> list[Stmt]:
        """The sums of one band of an image."""
        spec, taps, shape = self.spec, self.taps, self.shape
        top = loop.mul(band, Const(shape.band))
        high = within(shape.band, top, taps.high)
        first = loop.add(loop.mul(top, Const(taps.line_step)), Const(taps.line_start))
        source = loop.add(loop.mul(image, Const(taps.lines)), first)
        last = (taps.high - 1) * taps.line_step + shape.reach + taps.line_start
        met = within(self.met, first, last)
        row = loop.add(loop.mul(image, Const(taps.high)), top)
        lets, (high, source, count, at) = named(
            ("high", high),
            ("source", loop.mul(source, Const(shape.pitch))),
            ("count", loop.mul(met, Const(shape.pitch))),
            ("at", loop.mul(row, Const(taps.wide * self.outputs))),
        )
        copy = repeat(
            spec, "x", count, loop.VECTOR,
            lambda x: [loop.Store(self.lines, x, Load(taps.x, loop.add(source, x)))],
        )  # fmt: skip
        beyond = repeat(
            spec, "x", shape.columns, loop.VECTOR,
            lambda x: [loop.Store(self.lines, loop.add(count, x), zero(spec.dtype))],
        )  # fmt: skip
        kernel = outer_kernel(spec.dtype, self.outputs, shape.columns, runs=True)
        pixel = taps.pixel_step * taps.channels
        scalars: tuple[Expr, ...] = (
            Const(taps.wide), loop.ONE, Const(self.outputs), Const(pixel), Const(self.outputs),
            loop.ZERO, high, Const(taps.wide * self.outputs), Const(taps.line_step * shape.pitch),
        )  # fmt: skip

        def panel(ky: Expr, j: Expr) -> list[Stmt]:
            line = loop.mul(ky, Const(taps.tap_step * shape.pitch))
            line = loop.add(line, Const(taps.pixel_start * taps.channels))
            line = loop.add(line, loop.mul(j, Const(shape.columns)))
            place = loop.linear((ky, j), (taps.taps[0], shape.panels))
            place = loop.mul(place, Const(self.outputs * shape.columns))
            arguments = (
                (taps.g, at), (self.lines, line), (self.sums, loop.add(sums, place)),
            )  # fmt: skip
            return [Invoke(kernel, arguments, scalars)]

        return [*lets, *copy, *beyond] + repeat(
            spec, "k", taps.taps[0], loop.SERIAL,
            lambda ky: repeat(spec, "j", shape.panels, loop.SERIAL, lambda j: panel(ky, j)),
        )  # fmt: skip

    def finish(self) -> list[Stmt]:
        """The epilogue of all elements, the sums of groups added up in their order."""
        spec, shape = self.spec, self.shape

        def row(t: Expr) -> list[Stmt]:
            m = spec.variable("m", spec.m)
            ky, place = split(t, (self.taps.taps[0], shape.run))
            j = loop.floordiv(place, Const(shape.columns))
            lane = loop.mod(place, Const(shape.columns))
            if shape.panels == 1:
                j, lane = loop.ZERO, place
            start = loop.linear((ky, j), (self.taps.taps[0], shape.panels))
            start = loop.add(loop.mul(start, Const(self.outputs * shape.columns)), lane)
            lets, (start,) = named(("start", start))

            def element(o: Expr) -> list[Stmt]:
                value = Var("value", spec.dtype)
                at = loop.add(start, loop.mul(o, Const(shape.columns)))
                total: Expr = Load(self.sums, at)
                for group in range(1, self.groups):
                    more = Load(self.sums, loop.add(at, Const(group * self.each)))
                    total = loop.apply("add", total, more)
                return [Let(value, total), *spec.epilogue(loop.ZERO, m, o, value)]

            vector = repeat(spec, "o", self.outputs, loop.VECTOR, element)
            return [Let(m, t), *lets, *vector]

        grain = grain_of(self.outputs * (self.groups + 4), TASK_OPERATIONS[0] // 8)
        return repeat(spec, "t", spec.m, loop.PARALLEL, row, grain)


__all__ = ["Taps", "build_taps", "fuller_taps"]
