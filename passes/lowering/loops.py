"""Loops over the elements of clusters, in chunks of fixed size, and the values of their members."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ...ir.node import Tensor
from ...loop import nodes as loop
from ...loop.nodes import PARALLEL, SERIAL, VECTOR, Const, Expr
from ...sizes import Dim, ceildiv, exact_quotient
from ..analysis.index_math import Form, estimate
from ..analysis.relations import LEAD, SAME, SCALAR, count
from ..fusion.cluster import ELEMENT, Cluster, Fusion, is_reduction
from .context import KernelBuilder

# What one chunk of a parallel loop costs at least, in about quarter cycles of a lane: handing a
# chunk to another core takes a few hundred nanoseconds.
CHUNK_WORK = 1 << 19
SMALLEST_CHUNK, LARGEST_CHUNK = 1 << 10, 1 << 15  # elements
ROW_WORK = 1 << 10  # of coming to the next row, in the same unit
# Large loops of known size have chunks as large as leave so many for the threads to share.
ENOUGH_CHUNKS = 64
LARGEST_SHARE = 1 << 24  # of such a chunk's work


def work(cluster: Cluster) -> float:
    """The cost of an element, in about quarter cycles of a vector lane."""
    flops = sum(node.op.flops for node in (*cluster.nodes, *cluster.inlined))
    return flops + 2.0 * (len(cluster.reads) + len(cluster.stored)) + 2.0


def chunk_size(cost: float) -> int:
    """Elements in a chunk: a power of two."""
    wanted = CHUNK_WORK / max(cost, 1.0)
    return min(LARGEST_CHUNK, max(SMALLEST_CHUNK, 1 << (int(wanted).bit_length() - 1)))


def _share(n: Dim, cost: float) -> int:
    """How many of `n` iterations go into a chunk so that there are enough chunks."""
    if not isinstance(n, int):
        return 1
    most = max(1, min(n // ENOUGH_CHUNKS, int(LARGEST_SHARE / max(cost, 1.0))))
    return 1 << (most.bit_length() - 1)


def fits(n: Dim, chunk: int) -> bool:
    """Whether so few iterations are not worth splitting."""
    return isinstance(n, int) and n <= chunk + chunk // 2


def limit(builder: KernelBuilder, whole: Dim, start: Form, step: int) -> Expr | None:
    """min(step, whole - start), None where that is `step` always."""
    if isinstance(whole, int) and whole % step == 0:
        return None
    left = builder.math.add(builder.math.constant(whole), start, -1)
    return loop.apply("minimum", Const(step), builder.index(left))


@contextmanager
def elements(builder: KernelBuilder, n: Dim, cost: float) -> Iterator[Form]:
    """A vector loop over `n` elements, in parallel chunks where they are many."""
    math = builder.math
    if n == 1:
        yield math.constant(0)
        return
    chunk = chunk_size(cost)
    if fits(n, chunk):
        with builder.loop(VECTOR, n) as v:
            yield v
        return
    chunk = max(chunk, _share(n, cost))
    with builder.loop(PARALLEL, ceildiv(n, chunk), prefix="chunk") as c:
        start = math.scale(c, chunk)
        bound = limit(builder, n, start, chunk)
        with builder.loop(VECTOR, chunk, bound=bound) as v:
            yield math.add(start, v)


@contextmanager
def outer(builder: KernelBuilder, rows: Dim, row_work: float) -> Iterator[Form]:
    """A loop over rows whose elements cost `row_work`, in parallel where they are many."""
    if rows == 1:
        yield builder.math.constant(0)
        return
    row_work += ROW_WORK
    grain = max(1, int(CHUNK_WORK / row_work))
    kind = SERIAL if fits(rows, grain) else PARALLEL
    grain = max(grain, _share(rows, row_work))
    with builder.loop(kind, rows, grain if kind == PARALLEL else 1, prefix="row") as p:
        yield p


@contextmanager
def inner(builder: KernelBuilder, n: Dim) -> Iterator[Form]:
    """A vector loop over the elements of a row."""
    if n == 1:
        yield builder.math.constant(0)
        return
    with builder.loop(VECTOR, n) as v:
        yield v


def row_shape(fusion: Fusion, cluster: Cluster) -> tuple[Dim, Dim] | None:
    """(rows, their length) to loop over; None where one loop over all elements does."""
    length = _row_length(fusion, cluster)
    return None if length is None else _in_rows(cluster, length)


def _in_rows(cluster: Cluster, length: Dim) -> tuple[Dim, Dim] | None:
    if length == 1:
        return None
    rows = exact_quotient(cluster.count, length)
    return None if rows is None or rows == 1 else (rows, length)


def _row_length(fusion: Fusion, cluster: Cluster) -> Dim | None:
    """The length of rows to loop over; None where one loop over all elements does.

    Only accesses other than at the same element ask for rows: then of the last dimension.
    """
    lead: Dim | None = None
    for tensor, how in cluster.reads.items():
        if how in (SAME, SCALAR) or fusion.cluster_of.get(tensor) is cluster:
            continue
        if how == LEAD and lead in (None, count(tensor)):
            lead = count(tensor)
            continue
        return _last_dimension(cluster)
    if lead is None:
        return None
    length = exact_quotient(cluster.count, lead)
    return length if length is not None else _last_dimension(cluster)


def _last_dimension(cluster: Cluster) -> Dim:
    shapes = []
    for tensor in cluster.members:
        source = tensor.node.inputs[0] if is_reduction(tensor) else tensor
        if cluster.level[tensor] == ELEMENT or is_reduction(tensor):
            shapes.append([dim for dim in source.dims if dim != 1])
    best = max(shapes, key=len, default=[])
    return best[-1] if best else 1


# -- values of members ---------------------------------------------------------------------------


def element_members(cluster: Cluster) -> list[Tensor]:
    return [t for t in cluster.members if cluster.level[t] == ELEMENT]


def compute(builder: KernelBuilder, cluster: Cluster, tensors: Sequence[Tensor], position: Form):
    """Computes members at an element, then stores those that are stored.

    Stores come last: where a variable is updated in place, nothing of it is read after them.
    """
    values = [(tensor, builder.at(tensor, position)) for tensor in tensors]
    for tensor, value in values:
        if tensor in cluster.stored:
            builder.store(tensor, position, value)


@contextmanager
def every_element(
    fusion: Fusion, builder: KernelBuilder, cluster: Cluster, length: Dim | None = None
) -> Iterator[Form]:
    """Loops over all elements of a cluster, in rows of a length or the shape its accesses want."""
    cost = work(cluster)
    shape = row_shape(fusion, cluster) if length is None else _in_rows(cluster, length)
    if shape is None:
        with elements(builder, cluster.count, cost) as position:
            yield position
        return
    rows, length = shape
    with outer(builder, rows, cost * estimate(length)) as p, inner(builder, length) as v:
        yield builder.math.add(builder.math.scale(p, length), v)
