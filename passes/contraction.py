"""Contractions as Loop IR: C[b,m,n] = epilogue(sum over k of A[b,m,k] * B[b,k,n]).

`contraction_nest` picks one of three structures by an estimate of cycles (`_choose`):

direct   small products: a few rows by one vector of columns in registers, operands read where
         they are, no workspace.
dot      a side of at most 4: dot products along k, the loop over k vectorised.
tile     everything else. A micro-kernel, shared by all contractions of a step, adds the product
         of MR rows of A and NR columns of B over some depth to an MR x NR tile that stays in
         registers. Its operands are strided: A is read in place when it is a plain buffer, B when
         its columns are contiguous and few rows reuse it; otherwise they are packed once by nests
         of their own, with the prologue applied. A task owns the tiles of some rows and one panel
         of NR columns after the other, loops over blocks of k in order, and runs the epilogue on
         finished panels while they are in the first cache.

Each element is summed in the order of k by one thread, so results do not depend on the number of
threads. The block structure is that of Goto and van de Geijn, "Anatomy of High-Performance Matrix
Multiplication" (2008), without its packing of A: eight rows are few enough to be read in place.
"""

from __future__ import annotations

from .contraction_direct import build_direct, build_dot
from .contraction_spec import (
    Contraction,
    ContractionSpec,
    Operand,
    Strided,
    Target,
    assumed,
)
from .contraction_tile import Tiling, build_tile, tiling

__all__ = ["Contraction", "ContractionSpec", "Operand", "Strided", "Target", "contraction_nest"]

# Cycles, as measured on machines with two fused multiply-adds and two loads a cycle.
_NEST_CYCLES = 3000  # one more parallel loop: waking threads and waiting for the last
_LATENCY = 4  # of a fused multiply-add
_REDUCE_CYCLES = 16  # adding up the lanes of one dot product
_SMALLEST_SIDE = 4  # rows or columns up to which dot products are considered


def contraction_nest(
    spec: ContractionSpec, target: Target, structure: str | None = None
) -> Contraction:
    """The Loop statements of a contraction for a processor.

    `structure` ("direct", "dot" or "tile") overrides the choice; "dot" needs m or n to be a number.
    """
    tiles = tiling(spec, target)
    chosen = structure or min(_costs(spec, tiles).items(), key=lambda item: item[1])[0]
    if chosen == "direct":
        return build_direct(spec)
    if chosen == "dot":
        return build_dot(spec)
    return build_tile(spec, tiles)


def _costs(spec: ContractionSpec, tiles: Tiling) -> dict[str, float]:
    """Estimated cycles on one core of each structure that fits."""
    batch, m, n, k = (assumed(dim) for dim in (spec.batch, spec.m, spec.n, spec.k))
    lanes = tiles.lanes
    vectors = -(-n // lanes)
    costs = {
        # Four independent sums hide the latency of one another.
        "direct": batch
        * (
            -(-m // 4) * vectors * k * _LATENCY
            + spec.a.cost * m * k * vectors
            + spec.b.cost * k * vectors * -(-m // 4)
        )
    }
    panels = -(-n // tiles.columns)
    step = max(tiles.rows * tiles.vectors / 2, (tiles.rows + tiles.vectors) / 2, _LATENCY)
    tile = batch * -(-m // tiles.rows) * panels * (k * step + 6 * tiles.rows * tiles.vectors)
    if tiles.pack_a:
        spread = 1 if spec.a.contiguous in ("row", "column") else lanes
        tile += batch * m * k * (spec.a.cost + 3 * spread) / lanes + _NEST_CYCLES
    if tiles.pack_b:
        spread = 1 if spec.b.contiguous == "column" else lanes / 2
        tile += batch * k * panels * tiles.vectors * (spec.b.cost + 3 * spread) + _NEST_CYCLES
    costs["tile"] = tile
    for small, big, contiguous in (
        (spec.n, m, spec.a.contiguous == "column"),
        (spec.m, n, spec.b.contiguous == "row"),
    ):
        if contiguous and isinstance(small, int) and small <= _SMALLEST_SIDE:
            costs["dot"] = batch * big * small * (k / lanes * 1.5 + _REDUCE_CYCLES)
    return costs
