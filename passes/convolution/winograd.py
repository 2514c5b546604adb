"""Convolutions of 3x3 taps with fewer products: minimal filtering F(4x4, 3x3).

    y = Aᵀ [ (G w Gᵀ) ∘ (Bᵀ x B) ] A        for each tile of 4x4 outputs and 6x6 inputs

(Winograd 1980; Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2016). Summed
over channels, each of the 36 elements of a transformed tile is a product of matrices [tiles, C] x
[C, O]: 36 multiplications for what takes 144, at the price of the transforms.

For tasks of some tiles in parallel: transform their inputs; for each panel of output channels the
36 products, by the micro-kernel of contractions; transform back; the epilogue. Transformed inputs
and sums stay in the second cache. Weights are transformed once before, into panels.

Rounding errors grow by the transforms: results agree with exact ones to about 1e-5 of the largest
(direct sums to 1e-6), which the case table states as this path's own tolerance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

from ...dtypes import DType
from ...loop import nodes as loop
from ...loop.nodes import Buffer, Const, Expr, Invoke, Local, Stmt, Var
from ...sizes import Dim, ceildiv, multiply
from ..contraction.kernels import outer_kernel
from ..contraction.spec import (
    Contraction,
    ContractionSpec,
    Target,
    assumed,
    count_of,
    divides,
    grain_of,
    minimum,
    named,
    product,
    repeat,
    within,
)
from .winograd_kernels import Both, inputs_kernel, sums_kernel

TILE = 4  # outputs along each side
TAPS = 3
WIDE = TILE + TAPS - 1  # inputs along each side
_ELEMENTS = WIDE * WIDE
_COLUMNS = 2  # vectors of a panel
_ROWS = 8  # tiles of the micro-kernel
_TASK_OPERATIONS = 1 << 18
_BYTES_A_CYCLE = 3.5  # that a core gets from memory

Matrix = tuple[tuple[Fraction, ...], ...]


def _matrix(*rows: Sequence[float | Fraction]) -> Matrix:
    return tuple(tuple(Fraction(x) for x in row) for row in rows)


# By the method of Toom and Cook for the points 0, 1, -1, 2, -2 and infinity, scaled so that the
# inputs' matrix has whole numbers.
INPUTS = _matrix(
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)  # Bᵀ
_6, _12, _24 = Fraction(1, 6), Fraction(1, 12), Fraction(1, 24)
WEIGHTS = _matrix(
    (Fraction(1, 4), 0, 0),
    (-_6, -_6, -_6),
    (-_6, _6, -_6),
    (_24, _12, _6),
    (_24, -_12, _6),
    (0, 0, 1),
)  # G
OUTPUTS = _matrix(
    (1, 1, 1, 1, 1, 0),
    (0, 1, -1, 2, -2, 0),
    (0, 1, 1, 4, 4, 0),
    (0, 1, -1, 8, -8, 1),
)  # Aᵀ


@dataclass(frozen=True)
class Image:
    """The convolution: x in memory with all that tiles reach, y [batch, high, wide, channels].

    start(t) is where tile t begins in x, split(t) its (image, row, column) of tiles; `row_step`
    and `column_step` lead from an element of x to the one below and beside it.
    """

    x: Buffer
    start: Callable[[Expr], Expr]
    split: Callable[[Expr], tuple[Expr, Expr, Expr]]
    row_step: Dim
    column_step: Dim
    batch: Dim
    high: int
    wide: int
    channels: int  # of x

    @property
    def tiles(self) -> Dim:
        return product(self.batch, count_of(self.high, TILE), count_of(self.wide, TILE))


def reach(size: Dim) -> Dim:
    """How many inputs along a side the tiles of `size` outputs reach."""
    return multiply(ceildiv(size, TILE), TILE) + TAPS - 1


def worthwhile(image: Image, outputs: int, target: Target, per_run: bool = True) -> bool:
    """Whether this takes less time than sums over windows, by an estimate of cycles.

    per_run: whether the weights are transformed in every run
    """
    lanes = target.vector_bits // 32
    if lanes < 4 or image.channels < lanes or outputs < lanes:
        return False
    # Where the batch is unknown, few images decide: this loses most where they are few, the direct
    # way little where they are many.
    batch = image.batch if isinstance(image.batch, int) else 4 if per_run else 1
    tiles = batch * count_of(image.high, TILE) * count_of(image.wide, TILE)
    channels, points = image.channels, batch * image.high * image.wide
    columns = count_of(outputs, _COLUMNS * lanes) * _COLUMNS * lanes
    rate = 2 * lanes  # multiply-adds a cycle
    direct = points * TAPS * TAPS * channels * columns / (0.9 * rate)
    products = _ELEMENTS * count_of(tiles, _ROWS) * _ROWS * channels * columns / (0.8 * rate)
    transforms = tiles * (count_of(channels, lanes) * 220 + count_of(outputs, lanes) * 150)
    # With few tiles the weights, four times as many, are what takes time: writing them, which reads
    # the lines first, and reading them back.
    size = channels * columns * 4 / _BYTES_A_CYCLE
    weights = max(channels * count_of(outputs, lanes) * 100, 2 * _ELEMENTS * size)
    if not per_run:
        weights = 0
    products, direct = max(products, _ELEMENTS * size), max(direct, TAPS * TAPS * size)
    return products + transforms + weights < 0.85 * direct


def build_winograd(spec: ContractionSpec, image: Image, target: Target) -> Contraction:
    """`spec` is the convolution as a contraction over (taps, channels); its `b.read` and `epilogue`
    are used, with rows numbered as there."""
    return _Winograd(spec, image, target).build()


class _Winograd:
    def __init__(self, spec: ContractionSpec, image: Image, target: Target):
        self.spec, self.image, self.target = spec, image, target
        self.dtype = spec.dtype
        self.lanes = max(1, target.vector_bits // spec.dtype.bits)
        self.columns = _COLUMNS * self.lanes
        self.panels = ceildiv(spec.n, self.columns)
        self.block = self._block()
        size = product(self.panels, _ELEMENTS, image.channels, self.columns)
        self.weights = Buffer(f"{spec.name}_weights", spec.dtype, size, "workspace")
        self.inputs = Local(
            "inputs", spec.dtype, (_ELEMENTS, self.block, image.channels), "stack"
        )  # fmt: skip
        self.sums = Local("sums", spec.dtype, (_ELEMENTS, self.block, self.columns), "stack")
        self.outputs = Local(
            "outputs", spec.dtype, (self.block, TILE * TILE, self.columns), "stack"
        )  # fmt: skip

    def _block(self) -> int:
        """Tiles of a task: their inputs and sums fit half the second cache, and there are tasks
        enough."""
        tile = (_ELEMENTS * (self.image.channels + self.columns)) * self.dtype.bytes
        fitting = max(1, self.target.l2 * 5 // 8 // tile // _ROWS)
        tiles = count_of(assumed(self.image.tiles), _ROWS)
        tasks = max(1, count_of(tiles, fitting))
        if tasks > 1 and tasks % 2:
            tasks += 1
        return max(1, min(fitting, count_of(tiles, tasks))) * _ROWS

    def build(self) -> Contraction:
        tiles = self.image.tiles
        count = ceildiv(tiles, self.block)
        nest = repeat(self.spec, "t", count, loop.PARALLEL, self.task)
        return Contraction("winograd", (), tuple(self.transform_weights()), tuple(nest),
                           (self.weights,), self.weights)  # fmt: skip

    # -- weights ------------------------------------------------------------------------------

    def transform_weights(self) -> list[Stmt]:
        """weights[panel, e, c, v] = (G w[:, :, c, v] Gᵀ)[e]"""
        spec, image = self.spec.packing_b(), self.image

        def line(t: Expr) -> list[Stmt]:
            panel = loop.floordiv(t, Const(image.channels))
            c = loop.mod(t, Const(image.channels))
            lets, (panel, c) = named(("panel", panel), ("c", c))
            at = loop.mul(panel, Const(self.columns))
            width = within(self.columns, at, spec.n)

            def element(v: Expr) -> list[Stmt]:
                n = loop.add(at, v)
                taps = [
                    [
                        spec.b.read(
                            loop.ZERO, loop.add(Const((i * TAPS + j) * image.channels), c), n
                        )
                        for j in range(TAPS)
                    ]
                    for i in range(TAPS)
                ]
                stmts, found = _both_sides(WEIGHTS, taps, self.dtype)
                for e, value in enumerate(found):
                    place = loop.linear(
                        (panel, Const(e), c), (self.panels, _ELEMENTS, image.channels)
                    )
                    place = loop.add(loop.mul(place, Const(self.columns)), v)
                    stmts.append(loop.Store(self.weights, place, value))
                return stmts

            return lets + repeat(spec, "v", width, loop.VECTOR, element)

        count = multiply(self.panels, image.channels)
        return repeat(
            spec, "t", count, loop.PARALLEL, line, grain_of(self.columns * 100, _TASK_OPERATIONS)
        )

    # -- tiles --------------------------------------------------------------------------------

    def task(self, t: Expr) -> list[Stmt]:
        spec, image = self.spec, self.image
        first = loop.mul(t, Const(self.block))
        count = within(self.block, first, image.tiles)
        lets, (first, count) = named(("first", first), ("count", count))
        body: list[Stmt] = [self.inputs, self.sums, self.outputs, *lets]
        body += repeat(spec, "i", count, loop.SERIAL, lambda i: self.transform_inputs(first, i))
        return body + repeat(
            spec, "j", self.panels, loop.SERIAL, lambda j: self.panel(first, count, j)
        )

    def transform_inputs(self, first: Expr, i: Expr) -> list[Stmt]:
        """inputs[e, i, c] = (Bᵀ x B)[e] of tile first + i"""
        spec, image = self.spec, self.image
        tile = spec.variable("tile", image.tiles)
        start = Var("start")
        lets: list[Stmt] = [
            loop.Let(tile, loop.add(first, i)), loop.Let(start, image.start(tile)),
        ]  # fmt: skip

        whole = image.channels % self.lanes == 0
        kernel = inputs_kernel(self.dtype, WIDE, self.lanes, whole, _transforms(INPUTS, self.dtype))
        channels = Const(image.channels)
        arguments = ((image.x, start), (self.inputs, loop.mul(i, channels)))
        steps = (loop.index(image.row_step), loop.index(image.column_step))
        scalars = (channels, *steps, Const(self.block * image.channels))
        return [*lets, Invoke(kernel, arguments, scalars)]

    def panel(self, first: Expr, count: Expr, j: Expr) -> list[Stmt]:
        spec = self.spec
        at = loop.mul(j, Const(self.columns))
        width = within(self.columns, at, spec.n)
        lets, (at, width) = named(("at", at), ("width", width))
        body = lets + self.products(count, j)
        body += repeat(spec, "i", count, loop.SERIAL, self.transform_sums)
        return body + repeat(
            spec, "i", count, loop.SERIAL, lambda i: self.finish(first, i, at, width)
        )

    def products(self, count: Expr, j: Expr) -> list[Stmt]:
        """sums[e] = inputs[e] weights[j, e]"""
        spec, channels = self.spec, self.image.channels
        kernel = outer_kernel(self.dtype, _ROWS, self.columns)
        heights = loop.floordiv(loop.add(count, Const(_ROWS - 1)), Const(_ROWS))

        def one(e: Expr, i: Expr) -> list[Stmt]:
            row = loop.add(loop.mul(e, Const(self.block)), loop.mul(i, Const(_ROWS)))
            weights = loop.linear((j, e), (self.panels, _ELEMENTS))
            arguments = (
                (self.inputs, loop.mul(row, Const(channels))),
                (self.weights, loop.mul(weights, Const(channels * self.columns))),
                (self.sums, loop.mul(row, Const(self.columns))),
            )
            present: Expr = Const(_ROWS)
            if not divides(self.block, self.image.tiles):
                present = minimum(present, loop.sub(count, loop.mul(i, Const(_ROWS))))
            scalars = (
                Const(channels), Const(channels), loop.ONE, Const(self.columns), present, loop.ONE,
            )  # fmt: skip
            return [Invoke(kernel, arguments, scalars)]

        return repeat(
            spec, "e", _ELEMENTS, loop.SERIAL,
            lambda e: repeat(spec, "q", heights, loop.SERIAL, lambda i: one(e, i)),
        )  # fmt: skip

    def transform_sums(self, i: Expr) -> list[Stmt]:
        """outputs[i, y, v] = (Aᵀ sums A)[y]"""

        kernel = sums_kernel(
            self.dtype, WIDE, self.lanes, self.columns, _transforms(OUTPUTS, self.dtype)
        )
        arguments = (
            (self.sums, loop.mul(i, Const(self.columns))),
            (self.outputs, loop.mul(i, Const(TILE * TILE * self.columns))),
        )
        return [Invoke(kernel, arguments, (Const(self.block * self.columns),))]

    def finish(self, first: Expr, i: Expr, at: Expr, width: Expr) -> list[Stmt]:
        """The epilogue of the outputs of a tile that exist."""
        spec, image = self.spec, self.image
        tile = spec.variable("tile", image.tiles)
        batch, row, column = image.split(tile)
        y0, x0 = loop.mul(row, Const(TILE)), loop.mul(column, Const(TILE))
        lets, (batch, y0, x0) = named(("image", batch), ("y", y0), ("x", x0))
        down = within(TILE, y0, image.high)
        across = within(TILE, x0, image.wide)

        def pixel(y: Expr, x: Expr) -> list[Stmt]:
            m = spec.variable("m", spec.m)
            place = loop.linear(
                (batch, loop.add(y0, y), loop.add(x0, x)), (image.batch, image.high, image.wide)
            )
            line = loop.linear((i, y, x), (self.block, TILE, TILE))
            line = loop.mul(line, Const(self.columns))

            def element(v: Expr) -> list[Stmt]:
                value = Var("value", self.dtype)
                load = loop.Let(value, loop.Load(self.outputs, loop.add(line, v)))
                return [load, *spec.epilogue(loop.ZERO, m, loop.add(at, v), value)]

            return [loop.Let(m, place), *repeat(spec, "v", width, loop.VECTOR, element)]

        loops = repeat(
            spec, "y", down, loop.SERIAL,
            lambda y: repeat(spec, "x", across, loop.SERIAL, lambda x: pixel(y, x)),
        )  # fmt: skip
        return [loop.Let(tile, loop.add(first, i)), *lets, *loops]


# -- transforms ------------------------------------------------------------------------------------


def _both_sides(
    matrix: Matrix, values: Sequence[Sequence[Expr]], dtype
) -> tuple[list[Stmt], list[Expr]]:
    """matrix · values · matrixᵀ, row by row."""
    stmts: list[Stmt] = []
    middle = [  # columns of matrix · values
        _apply(matrix, [row[x] for row in values], dtype, stmts) for x in range(len(values[0]))
    ]
    found: list[Expr] = []
    for y in range(len(matrix)):
        found += _apply(matrix, [column[y] for column in middle], dtype, stmts)
    return stmts, found


@cache
def _transforms(matrix: Matrix, dtype: DType) -> Both:
    return lambda values: _both_sides(matrix, values, dtype)


def _apply(matrix: Matrix, values: Sequence[Expr], dtype, stmts: list[Stmt]) -> list[Expr]:
    """matrix · values. Rows that differ in signs only share their two halves, and columns that do
    are added and subtracted first."""

    def name(value: Expr) -> Expr:
        var = Var("w", dtype)
        stmts.append(loop.Let(var, value))
        return var

    def total(terms: Sequence[tuple[Fraction, Expr]]) -> Expr | None:
        result: Expr | None = None
        # Terms of one and minus one last, so that others become fused multiply-adds.
        for factor, value in sorted(terms, key=lambda term: abs(term[0]) != 1):
            if abs(factor) == 1:
                if result is None:
                    result = value if factor == 1 else loop.apply("neg", value)
                else:
                    result = loop.apply("add" if factor == 1 else "sub", result, value)
                continue
            scaled = loop.apply("mul", value, Const(float(factor), dtype))
            result = scaled if result is None else loop.apply("add", result, scaled)
        return result

    columns = list(zip(*matrix, strict=True))
    inputs: list[tuple[tuple[Fraction, ...], Expr]] = []
    taken: set[int] = set()
    for a in range(len(columns)):
        if a in taken:
            continue
        b = next(
            (
                b
                for b in range(a + 1, len(columns))
                if b not in taken
                and len(matrix) < len(columns)
                and all(abs(p) == abs(q) for p, q in zip(columns[a], columns[b], strict=True))
            ),
            None,
        )
        if b is None:
            inputs.append((columns[a], values[a]))
            continue
        taken.add(b)
        same = name(loop.apply("add", values[a], values[b]))
        other = name(loop.apply("sub", values[a], values[b]))
        pairs = list(zip(columns[a], columns[b], strict=True))
        inputs.append((tuple(p if p == q else Fraction(0) for p, q in pairs), same))
        inputs.append((tuple(p if p != q else Fraction(0) for p, q in pairs), other))
    rows = [[(column[r], value) for column, value in inputs] for r in range(len(matrix))]
    rows = [[(f, value) for f, value in row if f] for row in rows]
    results: list[Expr | None] = [None] * len(rows)
    for a, row in enumerate(rows):
        if results[a] is not None:
            continue
        twin = next((b for b in range(a + 1, len(rows)) if _twins(row, rows[b])), None)
        if twin is None or results[twin] is not None:
            results[a] = name(total(row) or loop.neutral("add", dtype))
            continue
        even = [(f, v) for (f, v), (g, _) in zip(row, rows[twin], strict=True) if f == g]
        odd = [(f, v) for (f, v), (g, _) in zip(row, rows[twin], strict=True) if f != g]
        first, second = total(even), total(odd)
        assert first is not None and second is not None
        first, second = name(first), name(second)
        results[a] = name(loop.apply("add", first, second))
        results[twin] = name(loop.apply("sub", first, second))
    return [result for result in results if result is not None]


def _twins(a, b) -> bool:
    """Whether two rows differ in some, not all, signs only."""
    if len(a) != len(b) or any(v is not w or abs(f) != abs(g) for (f, v), (g, w) in zip(a, b)):  # noqa: B905
        return False
    return 0 < sum(f != g for (f, _), (g, _) in zip(a, b, strict=True)) < len(a)
