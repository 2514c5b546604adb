"""How a contraction is cut into register tiles, panels, blocks and tasks for a processor.

Everything here depends on sizes and on the target, never on the number of threads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ...sizes import Dim, ceildiv, is_nonnegative, maximum, multiply
from .spec import (
    ContractionSpec,
    Target,
    assumed,
    count_of,
    product,
)

LATENCY = 4  # cycles of a fused multiply-add
NEST_CYCLES = 3000  # of one more parallel loop: waking threads and waiting for the last
_DEPTH = 512  # elements of k that a tile takes at once
_LARGEST_DEPTH = 1024  # up to here, all of k at once
_LARGEST_BLOCK = 96  # rows of a task
TASK_OPERATIONS = (1 << 20, 1 << 24)  # of a task: least, most
_SPLIT_OPERATIONS = 1 << 23  # of a product that is worth splitting along k
_TASKS = 32  # as many as are wanted where the product is large enough
_LONG = 16  # blocks of k from which sums are kept in memory
_STREAMS = 3  # arrays that an epilogue goes through from which on it wants long runs of them
# Bytes between rows of the result from which on one panel's pieces of them are slow to write, and
# the tiles one on another that must read each panel of B for whole rows to pay instead.
_APART, _HIGH = 2048, 4
_CALL_CYCLES = 30  # around one tile
_DOT_COLUMNS = 16  # of a panel whose products are summed along k
_DOT_DEPTH = 512  # so that the panel stays in the first cache
_DOT_CYCLES = 60  # adding up the lanes of all sums of one dot tile
_REUSE_ROWS = 96  # rows from which packing B can pay
# Rows from which it pays where the second cache keeps a panel's rows as they lie: 1,000 products of
# rows of 1,000 took 0.96 times as long without, 2,000 of 2,000 took 1.05 times as long.
_REUSE_FAR = 1536
_WAYS = 8  # of the second cache, at least


@dataclass(frozen=True)
class Sweep:
    """How k is gone through: blocks one after the other, each of `runs` runs of `depth` elements.

    outer: the loops over blocks, (count, step in A, elements of k) each; the step is in columns of
        A where A is a matrix, else in elements of its buffer.
    """

    outer: tuple[tuple[Dim, Dim, Dim], ...]
    runs: Dim  # that the innermost of these loops goes through, at most `block` at a time
    block: int
    run_step: Dim  # between runs, in elements of A's buffer
    depth: Dim  # where A is a matrix, the last block may be shorter

    @property
    def blocks(self) -> Dim:
        return product(*(count for count, _, _ in self.outer))


@dataclass(frozen=True)
class Tiling:
    """How a contraction is cut into tiles of `rows` by `width`, in panels of `columns`.

    With `dots`, lanes run along k, and a panel has several tiles side by side; otherwise they run
    along n, and a tile is as wide as a panel.
    """

    lanes: int
    dots: bool
    rows: int
    width: int
    columns: int
    block: int  # rows of a task, a multiple of `rows`
    panels: int  # panels of columns of a task
    sweep: Sweep
    pack_a: str  # "" (read in place), "rows" (row-major copy) or "panels" (of `rows` rows)
    pack_b: bool
    splits: int = 1  # ranges of k that tasks of their own sum, added up by a nest after them
    # Whether sums are kept in memory, all panels of a task going through one block of k after
    # the other: where k is long, and what it reads would not stay in the caches otherwise.
    together: bool = False
    # Whether all panels of a task are finished together, whole rows at a time: their sums are in
    # the second cache until then.
    by_rows: bool = False

    @property
    def step_cycles(self) -> float:
        """Of one step along k of a tile (one vector of steps with `dots`), with two multiply-adds
        and two loads a cycle."""
        across = self.width if self.dots else self.width // self.lanes
        return max(self.rows * across / 2, (self.rows + across) / 2, LATENCY)


def heights(rows: int) -> tuple[int, ...]:
    """The tiles there are for rows at the end, up to that of `rows` rows."""
    parts = 3 if rows % 3 == 0 else 2
    return tuple(rows // parts * number for number in range(1, parts + 1))


def tiling(spec: ContractionSpec, target: Target) -> Tiling:
    """The cut of a contraction on a processor. It depends on sizes only, never on threads."""
    bits = max(32, spec.dtype.bits)
    lanes = max(1, target.vector_bits // bits)
    outer = _outer_tiling(spec, target, lanes)
    dots = _dot_tiling(spec, target, lanes)
    if dots is not None:
        # Whatever the number of rows, packing costs the same, so few rows decide where unknown.
        m = spec.m if isinstance(spec.m, int) else assumed(spec.m) // 4
        if product_cycles(spec, dots, m) <= product_cycles(spec, outer, m):
            return dots
    return outer


def turns(spec: ContractionSpec, lanes: int) -> bool:
    """Whether packing B turns squares of it around in registers."""
    return lanes > 1 and spec.b.contiguous == "row" and spec.dtype.bits >= 32


def product_cycles(spec: ContractionSpec, tiles: Tiling, m: int) -> float:
    """An estimate for one core and m rows, packing included."""
    batch, n, k = (assumed(dim) for dim in (spec.batch, spec.n, spec.k))
    steps = count_of(k, tiles.lanes) if tiles.dots else k
    tile: float = steps * tiles.step_cycles + _CALL_CYCLES
    if tiles.dots:
        tile += _DOT_CYCLES * max(1, count_of(k, _DOT_DEPTH))
    else:
        tile += 2 * tiles.rows * tiles.width // tiles.lanes  # storing it
    cycles: float = count_of(m, tiles.rows) * count_of(n, tiles.width) * tile
    cycles += m * count_of(n, tiles.lanes) * 5  # the epilogue, from the first cache
    if tiles.pack_a:
        spread: float = 1 if spec.a.contiguous else tiles.lanes
        cycles += m * k * (spec.a.cost + 3 * spread) / tiles.lanes + NEST_CYCLES
    if tiles.pack_b and spec.once is None:
        spread = 1 if spec.b.contiguous == "column" else tiles.lanes / 2
        if turns(spec, tiles.lanes):
            spread = 1.5
        vectors = count_of(n, tiles.columns) * tiles.columns / tiles.lanes
        cycles += k * vectors * (spec.b.cost + 3 * spread) + NEST_CYCLES
    return batch * cycles


def _outer_tiling(spec: ContractionSpec, target: Target, lanes: int) -> Tiling:
    # rows x 2 sums, 2 vectors of B and a broadcast element of A fit the registers, and the sums
    # are enough to hide the latency of a multiply-add on two units. More rows read B less often.
    rows = 12 if target.registers >= 32 else 6 if target.vector_bits >= 256 else 4
    columns = lanes * (1 if isinstance(spec.n, int) and spec.n <= lanes else 2)
    if isinstance(spec.m, int) and spec.m:
        rows = next((height for height in heights(rows) if spec.m <= height), rows)
    m, n, k = (assumed(dim) for dim in (spec.m, spec.n, spec.k))
    size = spec.dtype.bytes
    sweep = _sweep(spec, _DEPTH, _LARGEST_DEPTH)
    pack_a = _packing_of_a(spec)
    pack_b = _packs_b(spec, target, columns, m, k * n * size)
    found = Tiling(
        lanes, False, rows, columns, columns, *_task(spec, target, rows, columns), sweep,
        pack_a, pack_b,
    )  # fmt: skip
    return _together(spec, target, found)


def _dot_tiling(spec: ContractionSpec, target: Target, lanes: int) -> Tiling | None:
    """Lanes along k, for a B whose neighbours in memory are along k, so that it needs no packing;
    None where an operand does not lie like that."""
    a, b = spec.a.strided, spec.b.strided
    if lanes == 1 or b is None or b.row_step != 1:
        return None
    if a is not None and not (a.is_matrix and a.column_step == 1):
        return None
    if a is None and spec.a.contiguous == "row":
        return None
    rows, width = (4, 4) if target.registers >= 32 else (4, 2)
    columns = _DOT_COLUMNS
    return Tiling(
        lanes, True, rows, width, columns, *_task(spec, target, rows, columns),
        _sweep(spec, _DOT_DEPTH, _DOT_DEPTH), "" if a is not None else "rows", False,
    )  # fmt: skip


def _sweep(spec: ContractionSpec, depth: int, largest: int) -> Sweep:
    """Blocks of about `depth` elements of k; all of k at once up to `largest`."""
    strided = spec.a.strided
    if strided is None or not strided.runs or spec.k == 0:
        if isinstance(spec.k, int) and spec.k <= largest:
            return Sweep((), 1, 1, 0, spec.k)
        # At least one, so that the sums of no products are stored too.
        count = maximum(1, ceildiv(spec.k, depth))
        return Sweep(((count, depth, depth),), 1, 1, 0, depth)
    *outer, (inner, _) = strided.runs
    run_count, run_step = outer.pop() if outer else (1, 0)
    known = assumed(inner)
    block = max(1, depth // max(1, known))
    if isinstance(run_count, int):
        if run_count * known <= largest:
            block = run_count
        block = max(1, count_of(run_count, max(1, count_of(run_count, block))))
    loops: list[tuple[Dim, Dim, Dim]] = []
    length: Dim = multiply(inner, run_count)
    for count, its_step in reversed(outer):
        loops.insert(0, (count, its_step, length))
        length = multiply(length, count)
    if block != run_count:
        parts = maximum(1, ceildiv(run_count, block))
        loops.append((parts, multiply(run_step, block), multiply(inner, block)))
    return Sweep(tuple(loops), run_count, block, run_step, inner)


def _together(spec: ContractionSpec, target: Target, tiles: Tiling) -> Tiling:
    """Keeps sums in memory where k is long and the result small, and splits k among tasks where
    rows and columns do not make enough of them."""
    batch, m, n, k = (assumed(dim) for dim in (spec.batch, spec.m, spec.n, spec.k))
    counts = [count for count, _, _ in tiles.sweep.outer]
    certain = all(is_nonnegative(count - 1) for count in counts)
    blocks = assumed(tiles.sweep.blocks)
    if tiles.pack_a:
        return tiles
    # Rows of unknown number may be few, and their tasks then had better share the columns.
    streams = spec.streams >= _STREAMS and isinstance(spec.m, int)
    if blocks < _LONG and (not certain or streams):
        return _by_rows(spec, target, tiles)
    if certain and blocks < _LONG:
        if not isinstance(spec.m, int) or n * spec.dtype.bytes < _APART:
            return tiles
        whole = _by_rows(spec, target, tiles)
        return whole if whole.block >= _HIGH * tiles.rows else tiles
    size = spec.dtype.bytes
    panels = count_of(n, tiles.columns)
    room = target.l2 // 2 // size
    # As many columns as possible of as many rows as fit, so that A and B are read seldom.
    wide = max(1, min(panels, room // (4 * tiles.rows * tiles.columns)))
    wide = count_of(panels, count_of(panels, wide))
    high = max(tiles.rows, min(m, room // (wide * tiles.columns)) // tiles.rows * tiles.rows)
    parts = count_of(m, high)
    high = count_of(count_of(m, parts), tiles.rows) * tiles.rows
    tasks = batch * parts * count_of(panels, wide)
    splits = 1
    if 2 * m * n * k * batch >= _SPLIT_OPERATIONS and tasks < _TASKS // 2:
        splits = min(count_of(_TASKS // 2, tasks), blocks // 2)
    return replace(tiles, block=high, panels=wide, splits=max(1, splits), together=True)


def _by_rows(spec: ContractionSpec, target: Target, tiles: Tiling) -> Tiling:
    """Tasks of as many columns as there are, and few enough rows for all their sums to stay in the
    cache: what an epilogue reads and writes goes by in long runs, and the elements of A are read
    once however long k is."""
    batch, m, n, k = (assumed(dim) for dim in (spec.batch, spec.m, spec.n, spec.k))
    room = target.l2 // 8 // spec.dtype.bytes
    panels = count_of(n, tiles.columns)
    most = max(1, room // (4 * tiles.rows * tiles.columns))
    panels = count_of(panels, count_of(panels, most))
    least = TASK_OPERATIONS[0]
    wanted = min(room // (panels * tiles.columns), count_of(m * batch, _TASKS // 2))
    wanted = max(wanted, least // max(1, 2 * k * panels * tiles.columns), tiles.rows)
    parts = count_of(m, wanted) if isinstance(spec.m, int) else 0
    high = count_of(m, parts) if parts else wanted
    return replace(tiles, block=count_of(high, tiles.rows) * tiles.rows, panels=panels,
                   by_rows=True)  # fmt: skip


def _task(spec: ContractionSpec, target: Target, rows: int, columns: int) -> tuple[int, int]:
    """(rows, panels) of a task: enough tasks to share out, each large enough to be worth it, and
    its rows of A in the second cache."""
    batch, m, n, k = (assumed(dim) for dim in (spec.batch, spec.m, spec.n, spec.k))
    least, most = TASK_OPERATIONS
    task = min(most, max(least, 2 * batch * m * n * k // _TASKS))
    resident = target.l2 // 2 // max(1, min(k, _DEPTH) * spec.dtype.bytes)
    limit = min(_LARGEST_BLOCK, resident, task // max(1, 2 * k * columns))
    limit = max(limit, 4 * rows)
    if isinstance(spec.m, int):
        blocks = max(1, count_of(spec.m, _LARGEST_BLOCK), round(spec.m / limit))
        block = count_of(count_of(spec.m, blocks), rows) * rows
    else:
        block = count_of(limit, rows) * rows
    block = max(block, rows)
    panels = max(1, task // max(1, 2 * min(block, m) * k * columns))
    return block, max(1, min(panels, count_of(n, columns)))


def _packing_of_a(spec: ContractionSpec) -> str:
    """Rows that lie in memory are read where they lie, even side by side and far apart along k: a
    copy of them takes longer than it saves (weight gradients of 1,024 by 1,024 over 256)."""
    if spec.a.strided is not None:
        return ""
    return "panels" if spec.a.contiguous == "row" else "rows"


def _packs_b(spec: ContractionSpec, target: Target, columns: int, m: int, bytes_: int) -> bool:
    strided = spec.b.strided
    if strided is None or strided.column_step != 1 or not is_nonnegative(spec.n - columns):
        return True
    if spec.once is not None:
        return True
    if bytes_ < 2 * target.l2:
        return False
    return m >= (_REUSE_ROWS if _collides(spec, strided.row_step, target) else _REUSE_FAR)


def _collides(spec: ContractionSpec, row_step: Dim, target: Target) -> bool:
    """Whether the rows of a block of a panel of B share so few sets of the second cache that it
    cannot keep them from one tile to the next: those 4,096 bytes apart share 16 of 1,024."""
    if not isinstance(row_step, int):
        return True
    way = target.l2 // _WAYS
    lines = _WAYS * way // math.gcd(max(1, row_step * spec.dtype.bytes), way)
    return min(assumed(spec.k), _LARGEST_DEPTH) > lines // 2
