"""What fusing gives: clusters of nodes, each computed by one nest of loops."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ...ir.node import Node, Tensor
from ...ir.op import REDUCE, VIEW
from ...sizes import Dim, exact_quotient

if TYPE_CHECKING:
    from .settled import Settled

(
    POINTWISE, ROWS, COLUMNS, FULL, REDUCTION, CONTRACTION, CONCAT, NEST_KIND, EFFECT_KIND, COPY,
    BODIES,
) = (
    "pointwise", "rows", "columns", "full", "reduce", "contract", "concat", "nest", "effect",
    "copy", "bodies",
)  # fmt: skip
TOGETHER = "side by side"  # stands for clusters that run at one moment
PREPARATION = "prepare"  # of what a later cluster needs of settled values; it has no members

ELEMENT, ROW, RESULT = "element", "row", "result"  # what a member has one value for


@dataclass(eq=False)
class Cluster:
    """Nodes computed by one nest of loops. `level` says for each member what it has a value for:
    each element, each row, or (reductions to columns or one value) only after the loops."""

    number: int
    kind: str
    count: Dim = 1
    rows: Dim | None = None  # of rows; of columns the number of columns
    members: list[Tensor] = field(default_factory=list)
    level: dict[Tensor, str] = field(default_factory=dict)
    stored: dict[Tensor, None] = field(default_factory=dict)
    kept: dict[Tensor, None] = field(default_factory=dict)  # for the time of a row
    reads: dict[Tensor, str] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    inlined: dict[Node, None] = field(default_factory=dict)
    after: dict[Node, None] = field(default_factory=dict)  # effects that must run before
    copy: tuple[Tensor, Hashable] | None = None
    fallible: bool = False
    settled: bool = False  # all of it is: see settled.py
    reasons: list[str] = field(default_factory=list)

    def groups(self) -> Dim:
        """The number of rows, or of columns, of loops that have them."""
        assert self.rows is not None
        return self.rows

    def row_length(self) -> Dim | None:
        """The number of elements of a row, where the elements are rows, or columns side by side."""
        if self.kind == COLUMNS:
            return self.rows
        return exact_quotient(self.count, self.groups()) if self.kind == ROWS else None

    def __repr__(self) -> str:
        names = ", ".join(node.op.name for node in self.nodes)
        return f"<{self.kind} cluster {self.number}: {names}>"


@dataclass
class Fusion:
    """The result: clusters in a topological order, and how each tensor is found."""

    clusters: list[Cluster]
    cluster_of: dict[Tensor, Cluster]
    reads: dict[Tensor, dict[Tensor, str]]
    settled: Settled


def root(tensor: Tensor) -> Tensor:
    """The tensor whose memory a chain of views shares."""
    while tensor.node.op.kind == VIEW:
        tensor = tensor.node.inputs[0]
    return tensor


def reduction_form(tensor: Tensor) -> str:
    """rows, columns, full, or reduce (anything else), by where the reduced dimensions stand;
    pointwise where they all have size 1."""
    source = tensor.node.inputs[0]
    axes = set(tensor.node.attrs["axes"])
    labels = [k in axes for k, dim in enumerate(source.dims) if dim != 1]
    if not any(labels):
        return POINTWISE
    if all(labels):
        return FULL
    changes = sum(a != b for a, b in zip(labels, labels[1:], strict=False))
    if changes == 1:
        return ROWS if labels[-1] else COLUMNS
    return REDUCTION


def is_reduction(tensor: Tensor) -> bool:
    """Whether a tensor combines elements of its input (over more than dimensions of size 1)."""
    return tensor.node.op.kind == REDUCE and reduction_form(tensor) != POINTWISE


def phases(cluster: Cluster, reads: Mapping[Tensor, Mapping[Tensor, str]]) -> dict[Tensor, int]:
    """For each member of a row cluster the first loop over the row it can be computed in (for a
    reduction's result, and what is computed of it for the row: the loop before which it is known).
    """
    found: dict[Tensor, int] = {}
    for tensor in cluster.members:
        needs = [found[t] for t in reads[tensor] if t in found]
        found[tensor] = max(needs, default=0) + is_reduction(tensor)
    return found


def describe_cluster(cluster: Cluster) -> str:
    """One line for the report: the form of the loops, what they compute, what is fused in."""
    names = [node.op.name for node in cluster.nodes]
    if cluster.kind == COPY:
        return "copy of a value that belongs in two places"
    if cluster.kind == PREPARATION:
        return "packing for a later launch"
    text = f"{cluster.kind} loops of {', '.join(names)}"
    if cluster.inlined:
        inlined = dict.fromkeys(node.op.name for node in cluster.inlined)
        text += f" (computing {', '.join(inlined)} where it is read)"
    return "; ".join([text, *cluster.reasons])
