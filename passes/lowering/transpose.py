"""Elementwise work that reads in another order than it writes: by square tiles of registers.

A read whose elements are neighbours along another dimension than the written ones' would fetch a
cache line for each element. Here T rows of T elements are loaded along the dimension they are
neighbours in, turned around in registers, and used along the other one:

    out[a, b] = f(x[b, a])  -->  for each tile of T x T: load x's rows into registers;
                                 for each of T rows of the result: a vector of it from the columns

Tiles that reach over an end are computed element by element.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...loop import nodes as loop
from ...loop.nodes import SERIAL, UNROLLED, VECTOR, Const, If, Load, Local
from ...sizes import Dim, ceildiv, product
from ..analysis.index_math import Form, estimate
from ..fusion.cluster import Cluster
from .access import Access, Pattern, values_at
from .context import KernelBuilder
from .loops import outer, work

TILES = 32  # one after the other along the dimension that is written
MOST_TILED = 2  # reads that are turned around, each with a tile of registers


@dataclass(frozen=True)
class _Turn:
    """What to turn around: reads contiguous along group `along` of the dimensions, while the last
    group is contiguous in what is written."""

    groups: list[list[Dim]]
    sizes: list[Dim]
    along: int
    reads: list[Access]
    side: int  # of a tile


def transposed_nest(
    target: Any, builder: KernelBuilder, cluster: Cluster, pattern: Pattern
) -> bool:
    """Adds the loops of a pointwise cluster that reads across; False where it does not."""
    turn = _find_turn(target, cluster, pattern)
    if turn is not None:
        _tiled(builder, cluster, turn)
    return turn is not None


def _find_turn(target: Any, cluster: Cluster, pattern: Pattern) -> _Turn | None:
    if len(pattern.groups) < 2:
        return None
    across = list(
        dict.fromkeys(x for x in pattern.reads if x.is_linear and x.steps[-1] not in (0, 1))
    )
    along = {k for x in across for k, step in enumerate(x.steps[:-1]) if step == 1}
    if len(along) != 1:
        return None
    chosen = along.pop()
    reads = [x for x in across if x.steps[chosen] == 1][:MOST_TILED]
    if min(x.buffer.dtype.bits for x in reads) < 32:
        return None
    widest = max(t.dtype.bits for t in cluster.members)
    side = target.vector_bits // max(widest, *(x.buffer.dtype.bits for x in reads))
    sizes = pattern.sizes
    if side < 2 or any(estimate(sizes[k]) < side for k in (chosen, -1)):
        return None
    return _Turn(pattern.groups, sizes, chosen, reads, side)


# -- the loops -------------------------------------------------------------------------------------


def _tiled(builder: KernelBuilder, cluster: Cluster, turn: _Turn) -> None:
    math, side, along = builder.math, turn.side, turn.along
    sizes = turn.sizes
    last = len(sizes) - 1
    rest = [k for k in range(last) if k != along]
    wide, high = sizes[along], sizes[last]
    tiles = min(TILES, -(-high // side)) if isinstance(high, int) else TILES
    counts = [*(sizes[k] for k in rest), ceildiv(wide, side), ceildiv(high, tiles * side)]
    with outer(builder, product(counts), work(cluster) * side * side * tiles) as p:
        *others, row, column = math.split(p, counts)
        outside = dict(zip(rest, others, strict=True))
        first = math.scale(column, tiles * side)
        with _tiles(builder, tiles, high, first, side) as j:
            at = math.scale(row, side), math.add(first, math.scale(j, side))
            inside = [
                loop.apply("le", builder.index(math.add(start, math.constant(side))),
                           loop.index(size))
                for start, size in zip(at, (wide, high), strict=True)
                if not isinstance(size, int) or size % side
            ]  # fmt: skip
            if not inside:
                _whole_tile(builder, cluster, turn, outside, at)
                return
            with builder.captured() as whole:
                _whole_tile(builder, cluster, turn, outside, at)
            with builder.captured() as part:
                _part_of_tile(builder, cluster, turn, outside, at)
            condition = inside[0] if len(inside) == 1 else loop.apply("and", *inside)
            builder.emit(If(condition, tuple(whole), tuple(part)))


def _tiles(builder: KernelBuilder, tiles: int, size: Dim, first: Form, side: int):
    """A loop over the tiles of a block that has some."""
    bound = None
    if not isinstance(size, int) or size % (tiles * side):
        left = builder.math.add(builder.math.constant(size + (side - 1)), first, -1)
        count = loop.floordiv(builder.index(left), Const(side))
        bound = loop.apply("minimum", Const(tiles), count)
    return builder.loop(SERIAL, tiles, bound=bound, prefix="tile")


def _index(builder: KernelBuilder, turn: _Turn, groups: dict[int, Form]) -> list[Form]:
    """The index over all dimensions, from one for each group."""
    parts: list[Form] = []
    for number, dims in enumerate(turn.groups):
        parts += builder.math.split(groups[number], dims)
    return parts


def _whole_tile(builder, cluster, turn: _Turn, outside: dict[int, Form], at) -> None:
    math, side, last = builder.math, turn.side, len(turn.groups) - 1
    tiles = []
    for access in turn.reads:
        tile = Local(builder.name("tile"), access.buffer.dtype, (side * side,))
        builder.depth_of_local[tile] = len(builder.blocks) - 1
        builder.emit(tile)
        tiles.append(tile)
        with builder.loop(UNROLLED, side, prefix="r") as r, builder.loop(VECTOR, side) as c:
            groups = {**outside, turn.along: math.add(at[0], c), last: math.add(at[1], r)}
            value = Load(access.buffer, builder.index(_position(math, access, groups)))
            place = builder.index(math.add(math.scale(r, side), c))
            builder.emit(loop.Store(tile, place, value))
    with builder.loop(UNROLLED, side, prefix="r") as r:
        row = builder.named(math.add(at[0], r), turn.sizes[turn.along])
        with builder.loop(VECTOR, side) as c:
            groups = {**outside, turn.along: row}
            groups[last] = builder.named(math.add(at[1], c), turn.sizes[last])
            place = builder.index(math.add(math.scale(c, side), r))
            for access, tile in zip(turn.reads, tiles, strict=True):
                position = _position(math, access, groups)
                builder.staged[access.buffer, id(position)] = Load(tile, place)
            _element(builder, cluster, turn, groups)
            builder.staged.clear()


def _position(math, access: Access, groups: dict[int, Form]) -> Form:
    total = math.constant(access.constant)
    for group, step in enumerate(access.steps):
        assert step is not None
        total = math.add(total, math.scale(groups[group], step))
    return total


def _part_of_tile(builder, cluster, turn: _Turn, outside: dict[int, Form], at) -> None:
    math, side, last = builder.math, turn.side, len(turn.groups) - 1
    left = [
        loop.apply("minimum", Const(side),
                   builder.index(math.add(math.constant(turn.sizes[k]), start, -1)))
        for k, start in zip((turn.along, last), at, strict=True)
    ]  # fmt: skip
    with builder.loop(SERIAL, side, bound=left[0], prefix="r") as r:
        row = builder.named(math.add(at[0], r), turn.sizes[turn.along])
        with builder.loop(VECTOR, side, bound=left[1]) as c:
            groups = {**outside, turn.along: row}
            groups[last] = builder.named(math.add(at[1], c), turn.sizes[last])
            _element(builder, cluster, turn, groups)


def _element(builder, cluster: Cluster, turn: _Turn, groups: dict[int, Form]) -> None:
    dims = [dim for group in turn.groups for dim in group]
    position, values = values_at(builder, cluster, dims, _index(builder, turn, groups))
    for tensor, value in values:
        if tensor in cluster.stored:
            builder.store(tensor, position, value)
