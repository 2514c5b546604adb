"""Contractions as Loop IR: C[b,m,n] = epilogue(sum over k of A[b,m,k] * B[b,k,n]).

`contraction_nest` picks one of four structures by an estimate of cycles (`_choose`):

direct   small products: a few rows by one vector of columns in registers, operands read where
         they are, no workspace.
stream   up to three rows: some rows of B at a time are added to sums in the first cache, read in
         place in long runs. What bounds it is how fast B can be read.
dot      a side of at most 4: dot products along k, the loop over k vectorised.
tile     everything else. A micro-kernel, shared by all contractions of a step, adds the product
         of MR rows of A and NR columns of B over some depth to an MR x NR tile that stays in
         registers. Its operands are strided: A is read in place when it is a plain buffer, B when
         its columns are contiguous and few rows reuse it; otherwise they are packed once by nests
         of their own, with the prologue applied. A task owns the tiles of some rows and one panel
         of NR columns after the other, loops over blocks of k in order, and runs the epilogue on
         finished panels while they are in the first cache. Where rows of the result are long,
         a task has fewer rows of more panels, keeps their sums in the second cache and finishes
         whole rows.

Each element is summed in the order of k by one thread, so results do not depend on the number of
threads. The block structure is that of Goto and van de Geijn, "Anatomy of High-Performance Matrix
Multiplication" (2008), without its packing of A: the rows of a tile are few enough
to be read in place.
"""

from __future__ import annotations

from dataclasses import replace

from .direct import build_direct, build_dot
from .live import listed
from .spec import (
    Contraction,
    ContractionSpec,
    Operand,
    Strided,
    Target,
    assumed,
    count_of,
)
from .stream import MOST_ROWS, build_stream, stream_cycles
from .tile import build_tile
from .tiling import LATENCY, Tiling, product_cycles, tiling

__all__ = ["Contraction", "ContractionSpec", "Operand", "Strided", "Target", "contraction_nest"]

_REDUCE_CYCLES = 16  # adding up the lanes of one dot product
_SMALLEST_SIDE = 4  # rows or columns up to which whole dot products are considered


def contraction_nest(
    spec: ContractionSpec, target: Target, structure: str | None = None
) -> Contraction:
    """The Loop statements of a contraction for a processor.

    `structure` ("direct", "stream", "dot" or "tile") overrides the choice; "stream" needs m to be a
    number, "dot" m or n.
    """
    if spec.live is not None:
        spec, listing = listed(spec)
        built = build_tile(spec, tiling(spec, target))
        assert spec.live is not None and spec.live.order is not None
        return replace(
            built,
            pack_a=(*listing, *built.pack_a),
            workspaces=(spec.live.order, *built.workspaces),
        )
    tiles = tiling(spec, target)
    chosen = structure or min(_costs(spec, tiles).items(), key=lambda item: item[1])[0]
    if chosen == "direct":
        return build_direct(spec)
    if chosen == "dot":
        return build_dot(spec)
    if chosen == "stream":
        return build_stream(spec)
    return build_tile(spec, tiles)


def _costs(spec: ContractionSpec, tiles: Tiling) -> dict[str, float]:
    """Estimated cycles on one core of each structure that fits."""
    batch, m, n, k = (assumed(dim) for dim in (spec.batch, spec.m, spec.n, spec.k))
    lanes = tiles.lanes
    vectors = count_of(n, lanes)
    # "direct" adds up four rows at once, which hide the latency of one another. Elements of B that
    # are not neighbours are gathered one by one.
    read_b = spec.b.cost + (0 if spec.b.contiguous == "column" else lanes / 2)
    rounds = count_of(m, 4) * vectors * k
    costs = {
        "direct": batch * (rounds * (LATENCY + read_b) + spec.a.cost * m * k * vectors),
        "tile": product_cycles(spec, tiles, m),
    }
    if isinstance(spec.m, int) and 0 < spec.m <= MOST_ROWS:
        costs["stream"] = stream_cycles(spec, lanes)
    for small, big, contiguous in (
        (spec.n, m, spec.a.contiguous == "column"),
        (spec.m, n, spec.b.contiguous == "row"),
    ):
        if contiguous and isinstance(small, int) and small <= _SMALLEST_SIDE:
            costs["dot"] = batch * big * small * (k / lanes * 1.5 + _REDUCE_CYCLES)
    return costs
