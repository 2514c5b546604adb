"""Elementwise work that reads in another order than it writes: by square tiles of registers.

A read whose elements are neighbours along another dimension than the written ones' would fetch a
cache line for each element. Here T rows of T elements are loaded along the dimension they are
neighbours in, turned around in registers, and used along the other one:

    out[a, b] = f(x[b, a])  -->  for each tile of T x T: load x's rows into registers;
                                 for each of T rows of the result: a vector of it from the columns

What the cluster reads is found by lowering it once, without keeping the code, with a variable for
each dimension. Tiles that reach over an end are computed element by element.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..ir.node import Tensor
from ..loop import nodes as loop
from ..loop.nodes import SERIAL, UNROLLED, VECTOR, Buffer, Const, Expr, If, Let, Load, Local, Var
from ..sizes import Dim, ceildiv, multiply, product
from .cluster import Cluster
from .index_math import Form, estimate
from .lower_context import KernelBuilder
from .lower_loops import outer, work
from .relations import OTHER

TILES = 32  # one after the other along the dimension that is written
MOST_TILED = 2  # reads that are turned around, each with a tile of registers


@dataclass(frozen=True)
class _Access:
    """A read: `buffer[constant + sum of steps[k] * index[k]]`."""

    buffer: Buffer
    constant: Dim
    steps: tuple[Dim, ...]


@dataclass(frozen=True)
class _Turn:
    """The dimensions of the elements in groups that are one each, and what to turn around: reads
    contiguous along group `along`, while the last group is contiguous in what is written."""

    groups: list[list[Dim]]
    along: int
    reads: list[_Access]
    side: int  # of a tile

    @property
    def sizes(self) -> list[Dim]:
        return [product(group) for group in self.groups]


def transposed_nest(target: Any, builder: KernelBuilder, cluster: Cluster) -> bool:
    """Adds the loops of a pointwise cluster that reads across; False where it does not."""
    if OTHER not in cluster.reads.values() or cluster.fallible or not target.vector_bits:
        return False
    turn = _find_turn(target, builder, cluster)
    if turn is None:
        return False
    _tiled(builder, cluster, turn)
    return True


# -- what is read ----------------------------------------------------------------------------------


def _find_turn(target: Any, builder: KernelBuilder, cluster: Cluster) -> _Turn | None:
    dims = max((t.dims for t in cluster.members), key=len)
    if any(product(t.dims) != product(dims) for t in cluster.members):
        return None
    accesses = _accesses(builder, cluster, dims)
    if accesses is None:
        return None
    steps = [access.steps for access in accesses]
    groups: list[list[int]] = []
    for axis, dim in enumerate(dims):
        if dim == 1:
            continue
        if groups and all(s[groups[-1][-1]] == multiply(s[axis], dim) for s in steps):
            groups[-1].append(axis)
        else:
            groups.append([axis])
    if len(groups) < 2:
        return None
    grouped = [
        _Access(x.buffer, x.constant, tuple(x.steps[group[-1]] for group in groups))
        for x in accesses
    ]
    across = list(dict.fromkeys(x for x in grouped if x.steps[-1] not in (0, 1)))
    along = {k for x in across for k, step in enumerate(x.steps[:-1]) if step == 1}
    if len(along) != 1:
        return None
    chosen = along.pop()
    reads = [x for x in across if x.steps[chosen] == 1][:MOST_TILED]
    widest = max(t.dtype.bits for t in cluster.members)
    widest = max(widest, *(x.buffer.dtype.bits for x in reads))
    if min(x.buffer.dtype.bits for x in reads) < 32:
        return None
    side = target.vector_bits // widest
    turn = _Turn([[dims[axis] for axis in group] for group in groups], chosen, reads, side)
    if side < 2 or any(estimate(turn.sizes[k]) < side for k in (chosen, -1)):
        return None
    return turn


def _accesses(
    builder: KernelBuilder, cluster: Cluster, dims: Sequence[Dim]
) -> list[_Access] | None:
    """What an element at an index reads; None where that is not linear in the index."""
    math = builder.math
    found: list[_Access] = []
    with builder.captured() as block:
        variables = [_variable(builder, "d", dim) for dim in dims]
        _values(builder, cluster, dims, builder.forms(variables))
        for expr in loop.expressions(block):
            if not isinstance(expr, Load) or not isinstance(expr.target, Buffer):
                continue
            form = math.of(_inlined(block, expr.index))
            if any(all(atom is not v for v in variables) for atom, _ in form.terms):
                return None
            steps = tuple(form.coefficient(variable) for variable in variables)
            found.append(_Access(expr.target, form.constant, steps))
    return found


def _variable(builder: KernelBuilder, prefix: str, extent: Dim) -> Var:
    """An index of this block that is known to be below an extent."""
    var = Var(builder.name(prefix))
    builder.depth_of_var[var] = len(builder.blocks) - 1
    builder.math.variable(var, extent)
    return var


def _inlined(block: Sequence[loop.Stmt], expr: Expr) -> Expr:
    """An index with the parts that have names put in again."""
    lets = {id(stmt.var): stmt.value for stmt in block if isinstance(stmt, Let)}

    def rebuilt(part: Expr) -> Expr:
        if isinstance(part, Var) and id(part) in lets:
            return rebuilt(lets[id(part)])
        if isinstance(part, loop.Apply):
            return loop.Apply(part.op, tuple(map(rebuilt, part.args)), part.dtype)
        return part

    return rebuilt(expr)


def _values(
    builder: KernelBuilder, cluster: Cluster, dims: Sequence[Dim], index: Sequence[Form]
) -> tuple[Form, list[tuple[Tensor, Expr]]]:
    """The position of an index, and the members' values there."""
    position = builder.math.linear(index, dims)
    return position, [(tensor, builder.at(tensor, position)) for tensor in cluster.members]


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


def _position(math, access: _Access, groups: dict[int, Form]) -> Form:
    total = math.constant(access.constant)
    for group, step in enumerate(access.steps):
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
    position, values = _values(builder, cluster, dims, _index(builder, turn, groups))
    for tensor, value in values:
        if tensor in cluster.stored:
            builder.store(tensor, position, value)
