"""Convolution clusters in the terms of contractions: windows are rows, weights the second operand.

    y[n, t, o]   row (n, t), column o, summed over (taps, c): a run of channels for each tap,
                 taps of the last dimension beside each other one run
    dw[k, c, o]  row (k, c), column o, summed over (n, t): a run of positions for each row of
                 the image

Nothing is gathered into a matrix first: rows of the first operand start wherever their window
does, and the micro-kernel walks the runs ("implicit GEMM"; the offsets of rows are those of
Dukhan, "The Indirect Convolution Algorithm", 2019). Inputs are in memory with their padding, which
`layout` has seen to.

Where the input has zeros between its elements (a transposed convolution, or the gradient of one
with a stride), outputs fall into phases that meet different taps. Each phase is a product of its
own over the elements alone; none of the zeros is multiplied.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product as combinations
from typing import Any

from ...ir.node import Node, Tensor
from ...ir.op import CONVOLVE
from ...loop import nodes as loop
from ...loop.nodes import Expr, Stmt
from ...ops.pooling_kinds import store_maximum
from ...ops.windows import Window, windows
from ...sizes import Dim, multiply, product
from ..analysis.convolutions import Phase, in_lines, phases_of
from ..analysis.index_math import Form
from ..contraction.build import ContractionSpec, Operand, Strided, contraction_nest
from ..contraction.lower import emit_contraction, variables
from ..contraction.spec import count_of
from ..fusion.cluster import Cluster
from ..lowering.context import KernelBuilder, NestContext
from ..lowering.loops import compute, element_members
from .planar import Lines, Pool, build_planar, few_channels
from .tap_lanes import Taps, build_taps, fuller_taps
from .winograd import TAPS, TILE, Image, build_winograd, reach, worthwhile

Runs = tuple[tuple[Dim, Dim], ...]


def convolution_loops(
    target: Any, builder: KernelBuilder, cluster: Cluster, disable: frozenset[str]
) -> None:
    result = next(t for t in cluster.members if t.node.op.kind == CONVOLVE)
    if result.node.op.name == "convolve_weights":
        _weights(target, builder, cluster, result)
        return
    phases = [phases_of(window) or [] for window in windows(result.node)]
    for chosen in combinations(*phases):
        _phase(target, builder, cluster, result, chosen, "winograd" not in disable)


def _phase(
    target: Any,
    builder: KernelBuilder,
    cluster: Cluster,
    result: Tensor,
    along: Sequence[Phase],
    filtering: bool,
) -> None:
    """The outputs of one phase in each dimension."""
    math = builder.math
    x, w = result.node.inputs
    groups = result.node.attrs["groups"]
    each, width = w.dims[-2], _part(w.dims[-1], groups)
    steps = _steps(x)
    counts = [x.dims[0], *(phase.count for phase in along)]
    taps = [phase.taps for phase in along]

    def row(m: Expr) -> Expr:
        n, *positions = math.split(math.of(m), counts)
        total = math.scale(n, steps[0])
        for i, phase, step in zip(positions, along, steps[1:], strict=False):
            total = math.add(total, math.scale(i, multiply(phase.step, step)))
        return math.expr(total)

    origin: Dim = 0
    for phase, step in zip(along, steps[1:], strict=False):
        origin = origin + multiply(phase.start, step)

    def base(group: Expr) -> Expr:
        total = math.scale(math.of(group), each)
        return math.expr(math.add(total, math.constant(origin)))

    runs = [
        (phase.taps, multiply(phase.tap_step, step))
        for phase, step in zip(along, steps[1:], strict=False)
    ]
    length = product((*taps, each))
    whole = all(phase.taps_every == 1 and phase.tap == 0 for phase in along)
    whole = whole and taps == list(w.dims[:-2])

    def reader(builder: KernelBuilder) -> Callable[[Expr, Expr, Expr], Expr]:
        math = builder.math

        def read(group: Expr, k: Expr, n: Expr) -> Expr:
            g, row_, column = builder.forms((group, k, n))
            *numbers, c = math.split(row_, [*taps, each])
            index: list[Form] = [
                math.add(math.scale(j, phase.taps_every), math.constant(phase.tap))
                for j, phase in zip(numbers, along, strict=True)
            ]
            index += [c, math.add(math.scale(g, width), column)]
            return builder.expression(w, tuple(index))

        return read

    stored = builder.storage_of(w)
    strided = None
    if stored is not None and whole:
        strided = Strided(
            builder.buffer(stored, write=False),
            lambda group: math.expr(math.scale(math.of(group), width)),
            w.dims[-1],
        )

    def position(group: Expr, m: Expr, n: Expr) -> Form:
        g, row_, column = builder.forms((group, m, n))
        channel = math.add(math.scale(g, width), column)
        if all(phase.every == 1 for phase in along):
            return math.add(math.scale(row_, w.dims[-1]), channel)
        batch, *places = math.split(row_, counts)
        index = [batch]
        for i, phase in zip(places, along, strict=True):
            index.append(math.add(math.scale(i, phase.every), math.constant(phase.first)))
        return math.linear([*index, channel], result.dims)

    _nest(
        target, builder, cluster, result, position,
        _image(builder, result, along, base) if filtering else None,
        _lines(builder, result, along),
        batch=groups, m=product(counts), n=width, k=length,
        a=Strided(_memory(builder, x), base, row=row, runs=_joined((*runs, (each, 1)))),
        b=Operand(reader(builder), strided, "column" if stored is not None else "row"),
        once=reader if builder.is_settled(w) else None,
    )  # fmt: skip


def _weights(target: Any, builder: KernelBuilder, cluster: Cluster, result: Tensor) -> None:
    math = builder.math
    x, g = result.node.inputs
    groups, along = result.node.attrs["groups"], windows(result.node)
    each, width = result.dims[-2], _part(result.dims[-1], groups)
    steps = _steps(x)
    kernel = [window.kernel for window in along]

    def row(m: Expr) -> Expr:
        *taps, c = math.split(math.of(m), [*kernel, each])
        total = c
        for k, window, step in zip(taps, along, steps[1:], strict=False):
            total = math.add(total, math.scale(k, multiply(window.dilation, step)))
        return math.expr(total)

    origin: Dim = 0
    for window, step in zip(along, steps[1:], strict=False):
        origin = origin - multiply(window.low, step)

    def base(group: Expr) -> Expr:
        total = math.scale(math.of(group), each)
        return math.expr(math.add(total, math.constant(origin)))

    runs = [(x.dims[0], steps[0])]
    for size, window, step in zip(g.dims[1:-1], along, steps[1:], strict=False):
        runs.append((size, multiply(window.stride, step)))
    gradient = _memory(builder, g)

    def read(group: Expr, k: Expr, n: Expr) -> Expr:
        part, row_, column = builder.forms((group, k, n))
        place = math.add(math.scale(row_, g.dims[-1]), math.scale(part, width))
        return builder.expression(g, math.split(math.add(place, column), g.dims))

    def beginning(group: Expr) -> Expr:
        return math.expr(math.scale(math.of(group), width))

    def position(group: Expr, m: Expr, n: Expr) -> Form:
        part, row_, column = builder.forms((group, m, n))
        place = math.add(math.scale(row_, result.dims[-1]), math.scale(part, width))
        return math.add(place, column)

    _nest(
        target, builder, cluster, result, position, None, None,
        batch=groups, m=product((*kernel, each)), n=width, k=product(g.dims[:-1]),
        a=Strided(_memory(builder, x), base, row=row, runs=_joined(runs)),
        b=Operand(read, Strided(gradient, beginning, g.dims[-1])),
        taps=_taps(builder, result, along),
    )  # fmt: skip


def _nest(
    target, builder, cluster, result, position, image, lines, *, batch, m, n, k, a, b, once=None,
    taps=None,
) -> None:  # fmt: skip
    math = builder.math
    others = [t for t in element_members(cluster) if t is not result]

    def element(group: Expr, row: Expr, column: Expr, value: Expr) -> Form:
        place = position(
            *(
                math.expr(math.constant(0)) if size == 1 else part
                for size, part in zip((batch, m, n), (group, row, column), strict=True)
            )
        )
        builder.remember(result, place, value)
        compute(builder, cluster, [result, *others], place)
        return place

    def epilogue(group: Expr, row: Expr, column: Expr, value: Expr) -> list[Stmt]:
        with builder.captured() as block:
            element(group, row, column, value)
        return block

    def unread(*index: Expr) -> Expr:
        raise AssertionError("the windows of a convolution are read in place")

    spec = ContractionSpec(
        name=builder.name("convolve"),
        dtype=result.dtype,
        batch=batch,
        m=m,
        n=n,
        k=k,
        a=Operand(unread, a, ""),
        b=b,
        epilogue=epilogue,
        variable=variables(builder),
    )
    if once is not None:
        preparing = builder.preparing()
        spec = replace(spec, once=(once(preparing), variables(preparing)))
    pooling = next((node for node in cluster.nodes if node.op.name == "window_max"), None)
    if pooling is not None:
        assert lines is not None, "only convolutions in lines take a pooling along"
        pool = _pool(builder, pooling, element)
        built = build_planar(spec, lines, target, pool)
    elif image is not None and worthwhile(image, n, target, once is None):
        built = build_winograd(spec, image, target)
    elif lines is not None and few_channels(lines, n, target):
        built = build_planar(spec, lines, target)
    elif taps is not None and fuller_taps(taps, n, target):
        built = build_taps(spec, taps, target)
    else:
        built = contraction_nest(spec, target, "tile")
    emit_contraction(builder, built, spec)


def _pool(
    builder: KernelBuilder, pooling: Node, element: Callable[[Expr, Expr, Expr, Expr], Form]
) -> Pool:
    """Maxima of windows of what is computed of a convolution's elements."""
    (source,) = pooling.inputs

    def epilogue(
        index: Sequence[Expr], rows: Sequence[Expr], column: Expr, values: Sequence[Expr]
    ) -> list[Stmt]:
        with builder.captured() as block:
            places = [element(loop.ZERO, m, column, v) for m, v in zip(rows, values, strict=True)]
            met = [builder.at(source, at) for at in places]
            context = NestContext(builder, pooling)
            for stmt in store_maximum(pooling, context, (*index, column), met):
                builder.emit(stmt)
        return block

    return Pool(pooling.attrs["kernel"], epilogue)


def _image(
    builder: KernelBuilder, result: Tensor, along: Sequence[Phase], base: Callable[[Expr], Expr]
) -> Image | None:
    """The convolution for minimal filtering, where it has the form that takes."""
    math = builder.math
    x, w = result.node.inputs
    high_wide = result.dims[1:-1]
    if tuple(w.dims[:-2]) != (TAPS, TAPS) or result.node.attrs["groups"] != 1:
        return None
    if any((p.every, p.step, p.tap_step) != (1, 1, 1) for p in along):
        return None
    if not all(isinstance(dim, int) for dim in (*high_wide, *w.dims[-2:], *x.dims[1:])):
        return None
    for phase, size, there in zip(along, high_wide, x.dims[1:-1], strict=True):
        if phase.start + reach(size) > there:
            return None
    high, wide = high_wide
    steps = _steps(x)
    counts = (x.dims[0], count_of(high, TILE), count_of(wide, TILE))

    def split(tile: Expr) -> tuple[Expr, Expr, Expr]:
        n, row, column = math.split(math.of(tile), counts)
        return math.expr(n), math.expr(row), math.expr(column)

    def start(tile: Expr) -> Expr:
        n, row, column = math.split(math.of(tile), counts)
        total = math.scale(n, steps[0])
        total = math.add(total, math.scale(row, multiply(steps[1], TILE)))
        total = math.add(total, math.scale(column, multiply(steps[2], TILE)))
        return loop.add(math.expr(total), base(loop.ZERO))

    return Image(
        _memory(builder, x), start, split, steps[1], steps[2], x.dims[0], high, wide, w.dims[-2]
    )


def _lines(builder: KernelBuilder, result: Tensor, along: Sequence[Phase]) -> Lines | None:
    """The convolution for vectors of pixels, where it has the form that takes."""
    if not in_lines(result.node):
        return None
    down, across = along
    batch, high, wide, channels = result.node.inputs[0].dims
    return Lines(
        _memory(builder, result.node.inputs[0]), batch, high, wide, channels,  # type: ignore[arg-type]
        down.count, across.count, down.step, down.start,  # type: ignore[arg-type]
        across.tap_step, across.start, (down.taps, across.taps),  # type: ignore[arg-type]
    )  # fmt: skip


def _taps(builder: KernelBuilder, result: Tensor, along: Sequence[Window]) -> Taps | None:
    """The gradient of weights for vectors of taps, where it has the form that takes."""
    x, g = result.node.inputs
    if result.node.attrs["groups"] != 1 or len(along) != 2:
        return None
    if not all(isinstance(dim, int) for dim in (*x.dims[1:], *g.dims[1:], *result.dims)):
        return None
    down, across = along
    whole = (down.expansion, across.expansion, across.dilation) == (1, 1, 1)
    if not whole or down.low > 0 or across.low > 0:
        return None
    batch, lines, pixels, channels = x.dims
    return Taps(
        _memory(builder, x), _memory(builder, g), batch, lines, pixels, channels,  # type: ignore[arg-type]
        g.dims[1], g.dims[2], down.stride, -down.low, down.dilation,  # type: ignore[arg-type]
        across.stride, -across.low, (down.kernel, across.kernel),  # type: ignore[arg-type]
    )  # fmt: skip


def _memory(builder: KernelBuilder, tensor: Tensor):
    key = builder.storage_of(tensor)
    assert key is not None, "the inputs of convolutions are stored"
    return builder.buffer(key, write=False)


def _part(size: Dim, groups: int) -> Dim:
    return size if groups == 1 else size // groups


def _steps(tensor: Tensor) -> list[Dim]:
    """From one element to the next along each dimension."""
    steps: list[Dim] = [1]
    for dim in reversed(tensor.dims[1:]):
        steps.insert(0, multiply(steps[0], dim))
    return steps


def _joined(runs: Sequence[tuple[Dim, Dim]]) -> Runs:
    """Runs that follow each other without a gap made one; at least one run."""
    found: list[tuple[Dim, Dim]] = []
    for count, step in runs:
        if found and count == 1:
            continue
        if found and found[-1][1] == multiply(count, step):
            found[-1] = (multiply(found[-1][0], count), step)
        elif found and found[-1][0] == 1:
            found[-1] = (count, step)
        else:
            found.append((count, step))
    return tuple(found)
