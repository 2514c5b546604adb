"""Convolutions to few channels: pixels side by side in vectors, not channels.

    y[n, t, x, o]  =  sum over (ky, c), kx  of  w[ky, c, kx, o] * planes[n, ty + ky, c, x + kx]

A vector of output channels would be mostly empty where there are but a few. So the roles change:
weights are the first operand of the micro-kernel, one row an output channel, and windows the second
one: the input is copied with its pixels along each line, [image, line, channel, pixel], where the
windows of neighbouring pixels are neighbours too, and a step to the next channel or tap line is
always the same. Sums of a line of outputs come as [channel, pixel], and the epilogue takes them so.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..loop import nodes as loop
from ..loop.nodes import Buffer, Const, Expr, Invoke, Let, Local, Stmt, Var
from ..sizes import Dim, ceildiv
from .contraction_kernels import outer_kernel
from .contraction_spec import (
    Contraction,
    ContractionSpec,
    Target,
    count_of,
    grain_of,
    named,
    product,
    repeat,
    split,
    within,
    zero,
)

_TASK_OPERATIONS = 1 << 18
_COPY_ELEMENTS = 1 << 13


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


def few_channels(lines: Lines, outputs: int, target: Target) -> bool:
    """Whether vectors of pixels are fuller than vectors of channels."""
    lanes = target.vector_bits // 32
    return lanes >= 4 and 2 * outputs <= lanes <= 2 * lines.wide


def build_planar(spec: ContractionSpec, lines: Lines, target: Target) -> Contraction:
    """`spec` is the convolution as a contraction over (taps, channels); its `b.read` and `epilogue`
    are used, with rows numbered as there."""
    return _Planar(spec, lines, target).build()


class _Planar:
    def __init__(self, spec: ContractionSpec, lines: Lines, target: Target):
        self.spec, self.lines = spec, lines
        lanes = max(1, target.vector_bits // spec.dtype.bits)
        self.columns = lanes if lines.wide <= lanes else 2 * lanes
        assert isinstance(spec.n, int)
        self.outputs = spec.n
        self.runs = lines.taps[0] * lines.channels
        across = count_of(lines.wide, self.columns)
        reach = across * self.columns + lines.pixel_start + (lines.taps[1] - 1) * lines.pixel_step
        self.pitch = max(lines.pixels, reach)
        size = product(lines.batch, lines.lines, lines.channels, self.pitch)
        self.planes = Buffer(f"{spec.name}_planes", spec.dtype, size, "workspace")
        size = self.runs * lines.taps[1] * self.outputs
        self.weights = Buffer(f"{spec.name}_weights", spec.dtype, size, "workspace")

    def build(self) -> Contraction:
        lines, spec = self.lines, self.spec
        work = 2 * self.runs * lines.taps[1] * self.outputs * lines.wide
        nest = repeat(
            spec, "t", product(lines.batch, lines.high), loop.PARALLEL, self.line,
            grain_of(work, _TASK_OPERATIONS),
        )  # fmt: skip
        return Contraction(
            "planar", tuple(self.copy_input()), tuple(self.copy_weights()), tuple(nest),
            (self.planes, self.weights), self.weights,
        )  # fmt: skip

    def copy_input(self) -> list[Stmt]:
        """planes[n, y, c, x] = x[n, y, x, c], or 0 beyond the last pixel"""
        spec, lines = self.spec, self.lines

        def line(t: Expr) -> list[Stmt]:
            source = loop.mul(t, Const(lines.pixels * lines.channels))
            target = loop.mul(t, Const(lines.channels * self.pitch))
            lets, (source, target) = named(("source", source), ("target", target))

            def channel(c: Expr) -> list[Stmt]:
                start = loop.add(target, loop.mul(c, Const(self.pitch)))
                inner, (start, first) = named(("start", start), ("first", loop.add(source, c)))

                def move(x: Expr) -> list[Stmt]:
                    at = loop.add(first, loop.mul(x, Const(lines.channels)))
                    return [loop.Store(self.planes, loop.add(start, x), loop.Load(lines.x, at))]

                inner += repeat(spec, "x", lines.pixels, loop.VECTOR, move)
                beyond = loop.add(start, Const(lines.pixels))
                return inner + repeat(
                    spec, "x", self.pitch - lines.pixels, loop.VECTOR,
                    lambda x: [loop.Store(self.planes, loop.add(beyond, x), zero(spec.dtype))],
                )  # fmt: skip

            return lets + repeat(spec, "c", lines.channels, loop.SERIAL, channel)

        grain = grain_of(lines.channels * self.pitch, _COPY_ELEMENTS)
        return repeat(spec, "t", product(lines.batch, lines.lines), loop.PARALLEL, line, grain)

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

    def line(self, t: Expr) -> list[Stmt]:
        """One line of outputs of an image, tile by tile of pixels."""
        spec, lines = self.spec, self.lines
        batch, y = split(t, (lines.batch, lines.high))
        row = loop.add(loop.mul(y, Const(lines.line_step)), Const(lines.line_start))
        place = loop.linear((batch, row), (lines.batch, lines.lines))
        start = loop.mul(place, Const(lines.channels * self.pitch))
        lets, (start,) = named(("start", loop.add(start, Const(lines.pixel_start))))
        sums = Local("sums", spec.dtype, (self.outputs, self.columns), "stack")
        kernel = outer_kernel(spec.dtype, self.outputs, self.columns, runs=True)
        wide = lines.taps[1]
        scalars = (
            Const(wide), loop.ONE, Const(self.outputs), Const(lines.pixel_step),
            Const(self.outputs), loop.ONE, Const(self.runs), Const(wide * self.outputs),
            Const(self.pitch),
        )  # fmt: skip

        def tile(j: Expr) -> list[Stmt]:
            first = loop.mul(j, Const(self.columns))
            inner, (first,) = named(("first", first))
            arguments = (
                (self.weights, loop.ZERO), (self.planes, loop.add(start, first)), (sums, loop.ZERO),
            )  # fmt: skip
            inner.append(Invoke(kernel, arguments, scalars))
            count = within(self.columns, first, lines.wide)

            def channel(o: Expr) -> list[Stmt]:
                def pixel(x: Expr) -> list[Stmt]:
                    m, value = spec.variable("m", spec.m), Var("value", spec.dtype)
                    where = loop.add(loop.mul(t, Const(lines.wide)), loop.add(first, x))
                    at = loop.add(loop.mul(o, Const(self.columns)), x)
                    lets: list[Stmt] = [Let(m, where), Let(value, loop.Load(sums, at))]
                    return [*lets, *spec.epilogue(loop.ZERO, m, o, value)]

                return repeat(spec, "x", count, loop.VECTOR, pixel)

            return inner + repeat(spec, "o", self.outputs, loop.SERIAL, channel)

        tiles = ceildiv(lines.wide, self.columns)
        return [sums, *lets, *repeat(spec, "j", tiles, loop.SERIAL, tile)]
