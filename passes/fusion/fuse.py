"""Which nodes are computed together: Program --> Clusters, each one nest of loops.

Nodes come in topological order. A cheap one (movement, casts, a few FLOPs on one tensor) is
*inlined*: it has no cluster, its consumers compute it where they read it. Every other one joins
the cluster of something it reads, or that reads the same data, or starts its own:

    pointwise  one loop over the elements; everything in it has the same number of elements
    rows       for each row: reductions over it, and elementwise work that uses their results
               (softmax, log-sum-exp, normalisation, and their gradients), in phases; and sums
               down the columns of what is computed there
    columns    elementwise work and sums over its leading dimensions
    full       elementwise work and reductions to one value
    reduce     a reduction over other dimensions, with its inlined producers
    contract   a contraction with its prologue (inlined producers) and epilogue (elementwise work;
               maxima of windows of a convolution to few channels)
    concat     one loop for each input, each with its producers
    nest, effect, copy

Work is seen as elements in row-major order (`relations.py`), so reshapes never stand in the way.
Joining is legal where what is read of the cluster is at hand at the same element or row, and no
other cluster lies on a path between the two (a bitset of ancestors for each cluster). It always
saves memory traffic: a value that only its own cluster reads is never stored.

Rules, by the names that switch them off: `fuse` (all of them), `inline` (cheap producers into
their consumers), `fuse_pointwise`, `fuse_rows`, `fuse_columns`, `fuse_full`, `fuse_epilogue`,
`fuse_pooling`, `fuse_siblings`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from ...errors import InternalError
from ...ir.node import Node, Tensor
from ...ir.op import CONTRACT, CONVOLVE, EFFECT, LEAF, NEST, REDUCE, REGION, STATE, VIEW
from ...ir.op import POINTWISE as POINTWISE_OP
from ...ir.program import Program
from ...sizes import Dim, exact_quotient
from ..analysis.convolutions import in_blocks, takes_pooling
from ..analysis.index_math import estimate
from ..analysis.relations import LEAD, OTHER, SAME, SCALAR, count, merge
from .cluster import (
    BODIES,
    COLUMNS,
    CONCAT,
    CONTRACTION,
    EFFECT_KIND,
    ELEMENT,
    FULL,
    NEST_KIND,
    POINTWISE,
    REDUCTION,
    RESULT,
    ROW,
    ROWS,
    Cluster,
    Fusion,
    is_reduction,
    phases,
    reduction_form,
    root,
)
from .inline_values import Inliner

_TO = {ROWS: "rows", COLUMNS: "columns", FULL: "one value"}
# Of an element that a later loop over its row would compute again: more than these are kept, in a
# row that stays in the first cache where its length is known, else in memory.
COSTLY_ROW_FLOPS, COSTLY_FLOPS = 12.0, 48.0
LONGEST_ROW = 1 << 14  # elements kept in all for a row
LARGEST_CLUSTER = 160  # members: keeps basic blocks, and so compile time, in bounds


def _known_there(cluster: Cluster, have: str, how: str, level: str) -> bool:
    """Whether a member with a value for each `have` can be read, in relation `how`, by one with a
    value for each `level`, in the same loops."""
    if level == ROW:
        return have == ROW and (how == SAME or (how == SCALAR and cluster.rows == 1))
    if have == ELEMENT:
        return how == SAME or (how == SCALAR and cluster.count == 1)
    return have == ROW and how == LEAD


class _Fuser(Inliner):
    def __init__(self, program: Program, disable: frozenset[str], lasting: Collection[Tensor]):
        super().__init__(program, disable, lasting)
        self.clusters: list[Cluster] = []
        self.above: list[int] = []  # for each cluster the bits of the clusters it needs
        self.alive: list[bool] = []
        self.readers: dict[Tensor, list[Cluster]] = {}
        self.effects_so_far: dict[Node, Cluster] = {}

    # -- clusters -----------------------------------------------------------------------------

    def run(self) -> Fusion:
        for node in self.nodes:
            kind = node.op.kind
            if kind in (LEAF, VIEW):
                continue
            self.analyse(node)
            if kind == POINTWISE_OP and node.op.name != "concat":
                for tensor in node.outputs:
                    if tensor not in self.inlined:
                        self._place_pointwise(tensor)
            elif kind == REDUCE:
                if reduction_form(node.outputs[0]) == POINTWISE:
                    self._place_pointwise(node.outputs[0])
                else:
                    self._place_reduction(node.outputs[0])
            elif kind == NEST:
                self._place_nest(node)
            else:
                self._place_alone(node)
        return self._finish()

    def _new(self, kind: str, tensors: Iterable[Tensor], size: Dim = 1) -> Cluster:
        cluster = Cluster(len(self.clusters), kind, size)
        self.clusters.append(cluster)
        self.above.append(0)
        self.alive.append(True)
        for tensor in tensors:
            self._add(cluster, tensor, ELEMENT)
        return cluster

    def _place_nest(self, node: Node) -> None:
        """Loops of their own; but maxima of windows go along with the convolution they are of."""
        cluster = self.cluster_of.get(node.inputs[0]) if node.inputs else None
        if cluster is None or not self._takes_along(cluster, node):
            self._place_alone(node)
            return
        self.taken_along.add(node)
        for tensor in node.outputs:
            self._add(cluster, tensor, RESULT)

    def _takes_along(self, cluster: Cluster, node: Node) -> bool:
        if cluster.kind != CONTRACTION or not (
            self.on("fuse_epilogue") and self.on("fuse_pooling")
        ):
            return False
        if node.controls or cluster.settled != (node.outputs[0] in self.settled):
            return False
        first = cluster.nodes[0]
        alone = not any(other in self.taken_along for other in cluster.nodes)
        return alone and first.op.kind == CONVOLVE and takes_pooling(first, node)

    def _place_alone(self, node: Node) -> None:
        kind = {
            CONTRACT: CONTRACTION, CONVOLVE: NEST_KIND, NEST: NEST_KIND, EFFECT: EFFECT_KIND,
            POINTWISE_OP: CONCAT, REGION: BODIES,
        }.get(node.op.kind, NEST_KIND)  # fmt: skip
        if node.op.kind == CONVOLVE and in_blocks(node):
            kind = CONTRACTION
        size = count(node.outputs[0]) if node.outputs else 1
        cluster = self._new(kind, node.outputs, size)
        if not node.outputs:
            cluster.nodes.append(node)
        if node.op.kind == STATE:
            raise InternalError(f"lowering: {node.op.name} should have been rewritten before")
        host = kind == EFFECT_KIND and node.op.lower is None
        # A loop may be interrupted, and what is in a body may fail.
        cluster.fallible = node.op.fallible or host or kind == BODIES
        for control in node.controls:
            self._require(cluster, control)
        if node.op.kind == EFFECT or node in self.program.effects:
            for tensor in node.inputs:
                self._depend(cluster, self.resolve([(tensor, OTHER)]))
            for earlier in self.program.effects:
                if earlier is node:
                    break
                self._require(cluster, earlier)
            self.effects_so_far[node] = cluster

    def _require(self, cluster: Cluster, node: Node) -> None:
        """`cluster` runs after the effect `node`."""
        other = self.effects_so_far.get(node)
        if other is None and node.outputs:
            other = self.cluster_of.get(node.outputs[0])
        if other is not None and other is not cluster:
            cluster.after[node] = None
            self._widen(cluster, self.above[other.number] | 1 << other.number)

    def _place_pointwise(self, tensor: Tensor) -> None:
        size = count(tensor)
        deps = self.deps[tensor]
        joined: Cluster | None = None
        refused: dict[Cluster, str] = {}
        if self.on("fuse_pointwise") and not tensor.node.controls:
            for cluster in self._candidates(deps, size):
                for level in (ELEMENT, ROW):
                    why = self._refusal(cluster, tensor, level, size)
                    if not why:
                        joined = cluster
                        self._add(cluster, tensor, level)
                        break
                    refused.setdefault(cluster, why)
                if joined is not None:
                    break
        if joined is None:
            joined = self._new(POINTWISE, [tensor], size)
            self._explain(joined, tensor, refused)
            for control in tensor.node.controls:
                self._require(joined, control)
        joined.fallible = joined.fallible or tensor.node in self.checks
        for other in self._needed(deps):
            if other is not joined:
                self._merge(joined, other)

    def _explain(self, cluster: Cluster, tensor: Tensor, refused: dict[Cluster, str]) -> None:
        """Notes why a new cluster was begun, for the report."""
        for other, why in refused.items():
            if other.count == 1 or cluster.count == 1:
                continue  # a scalar beside other loops needs no explanation
            names = [node.op.name for node in other.nodes]
            loops = f"{', '.join(names[:3])}{', …' if len(names) > 3 else ''}"
            cluster.reasons.append(f"{tensor.node.op.name} not in the loops of {loops}: {why}")
            break

    def _place_reduction(self, tensor: Tensor) -> None:
        form = reduction_form(tensor)
        source = tensor.node.inputs[0]
        size = count(source)
        groups = count(tensor)
        level = ROW if form == ROWS else RESULT
        deps = self.deps[tensor]
        joined: Cluster | None = None
        refused: dict[Cluster, str] = {}
        if form != REDUCTION and self.on(f"fuse_{form}"):
            for cluster in self._candidates(deps, size):
                why = self._refusal(cluster, tensor, ELEMENT, size)
                if not why and not self._takes_reduction(cluster, form, size, groups):
                    why = f"they take no reduction to {_TO[form]}"
                if not why:
                    joined = cluster
                    if form == ROWS or cluster.kind != ROWS:
                        cluster.kind, cluster.rows = form, groups
                    self._add(cluster, tensor, level)
                    break
                refused.setdefault(cluster, why)
        if joined is None:
            joined = self._new(form, [], size)
            joined.rows = groups
            self._add(joined, tensor, level)
            self._explain(joined, tensor, refused)
        for other in self._needed(deps):
            if other is not joined:
                self._merge(joined, other)

    def _takes_reduction(self, cluster: Cluster, form: str, size: Dim, groups: Dim) -> bool:
        if cluster.count != size:
            return False
        if cluster.kind == form:
            return cluster.rows == groups
        if cluster.kind == ROWS and form == COLUMNS:
            return cluster.row_length() == groups
        if cluster.kind == COLUMNS and form == ROWS:
            if cluster.row_length() != exact_quotient(size, groups):
                return False
        elif cluster.kind != POINTWISE:
            return False
        # A few long rows would leave threads idle that the elementwise work can use.
        return form != ROWS or estimate(groups) >= 16 or estimate(size) <= 1 << 16

    def _needed(self, deps: dict[Tensor, str]) -> list[Cluster]:
        """The clusters of what is read, latest first."""
        found = {self.cluster_of[t].number for t in deps if t in self.cluster_of}
        return [self.clusters[number] for number in sorted(found, reverse=True)]

    def _candidates(self, deps: dict[Tensor, str], size: Dim) -> list[Cluster]:
        found = dict.fromkeys(self._needed(deps))
        if self.on("fuse_siblings"):
            for tensor, how in deps.items():
                if how == SAME:
                    for cluster in self.readers.get(tensor, ())[-3:]:
                        if self.alive[cluster.number] and cluster.reads.get(tensor) == SAME:
                            found[cluster] = None
        return list(found)

    def _refusal(self, cluster: Cluster, tensor: Tensor, level: str, size: Dim) -> str:
        """Why `tensor` cannot be computed in the loops of `cluster`; empty where it can."""
        if len(cluster.members) >= LARGEST_CLUSTER:
            return "they are as large as loops get"
        if level == ROW:
            if cluster.kind != ROWS or cluster.rows != size:
                return "it has another number of elements"
        elif cluster.count != size:
            return "it has another number of elements"
        rule = "fuse_epilogue" if cluster.kind == CONTRACTION else f"fuse_{cluster.kind}"
        if cluster.kind not in (POINTWISE, ROWS, COLUMNS, FULL, CONTRACTION):
            return "those are loops of their own"
        if not self.on(rule):
            return f"{rule} is switched off"
        if cluster.settled != (tensor in self.settled):
            return "only one of them is the same in every run"
        if cluster.kind == CONTRACTION and tensor.node in self.checks:
            return "it can fail"
        deps = self.deps[tensor]
        if not self._at_hand(cluster, deps, level):
            return "it reads them in another order, or when they are complete"
        bit = 1 << cluster.number
        for other in self._needed(deps):
            if other is not cluster and self.above[other.number] & bit:
                return "something that it needs too comes after them"
        return ""

    def _at_hand(self, cluster: Cluster, deps: dict[Tensor, str], level: str) -> bool:
        """Whether what is read of the cluster itself is known at the same element or row."""
        return all(
            _known_there(cluster, cluster.level[tensor], how, level)
            for tensor, how in deps.items()
            if self.cluster_of.get(tensor) is cluster
        )

    def _add(self, cluster: Cluster, tensor: Tensor, level: str) -> None:
        cluster.members.append(tensor)
        cluster.level[tensor] = level
        cluster.settled = tensor in self.settled
        if tensor.node not in cluster.nodes:
            cluster.nodes.append(tensor.node)
        self.cluster_of[tensor] = cluster
        self._depend(cluster, self.deps[tensor])

    def _depend(self, cluster: Cluster, deps: dict[Tensor, str]) -> None:
        needs = 0
        for tensor, how in deps.items():
            if tensor not in cluster.reads:
                self.readers.setdefault(tensor, []).append(cluster)
            cluster.reads[tensor] = merge(cluster.reads.get(tensor), how)
            other = self.cluster_of.get(tensor)
            if other is not None and other is not cluster:
                needs |= self.above[other.number] | 1 << other.number
        self._widen(cluster, needs)

    def _widen(self, cluster: Cluster, needs: int) -> None:
        """`cluster` needs these clusters too, and so does all that needs it."""
        above, number = self.above, cluster.number
        if not needs & ~above[number]:
            return
        above[number] |= needs
        bit = 1 << number
        for other in range(len(above)):
            if above[other] & bit:
                above[other] |= above[number]

    def _merge(self, cluster: Cluster, other: Cluster) -> bool:
        """Moves all of `other`, which `cluster` needs, into `cluster`'s loops, where it can."""
        if other.kind not in (POINTWISE, ROWS, COLUMNS) or other.count != cluster.count:
            return False
        if cluster.kind not in (POINTWISE, ROWS, COLUMNS, FULL):
            return False
        if other.kind != POINTWISE and (
            cluster.kind == FULL
            or cluster.kind != POINTWISE
            and cluster.row_length() != other.row_length()
        ):
            return False
        if not all(map(self.on, ("fuse_pointwise", f"fuse_{cluster.kind}", f"fuse_{other.kind}"))):
            return False
        if len(cluster.members) + len(other.members) > LARGEST_CLUSTER:
            return False
        if cluster.settled != other.settled:
            return False
        first, second = 1 << other.number, 1 << cluster.number
        if self.above[other.number] & second:
            return False
        # No third cluster may need `other` and be needed by `cluster`.
        between = self.above[cluster.number] & ~first
        number = other.number
        for index in self._bits(between):
            if self.alive[index] and self.above[index] >> number & 1:
                return False
        for tensor in cluster.members:
            level = ROW if cluster.level[tensor] == ROW and not is_reduction(tensor) else ELEMENT
            for read, how in self.deps[tensor].items():
                if self.cluster_of.get(read) is other and not _known_there(
                    other, other.level[read], how, level
                ):
                    return False
        if other.kind == ROWS or cluster.kind == POINTWISE:
            cluster.kind, cluster.rows = other.kind, other.rows
        self.alive[number] = False
        for tensor in other.members:
            cluster.members.append(tensor)
            cluster.level[tensor] = other.level[tensor]
            self.cluster_of[tensor] = cluster
        cluster.nodes.extend(n for n in other.nodes if n not in cluster.nodes)
        cluster.reasons.extend(other.reasons)
        cluster.fallible = cluster.fallible or other.fallible
        cluster.after.update(other.after)
        for tensor, how in other.reads.items():
            if tensor not in cluster.reads:
                self.readers.setdefault(tensor, []).append(cluster)
            cluster.reads[tensor] = merge(cluster.reads.get(tensor), how)
        above = self.above
        for index, bits in enumerate(above):
            if bits & first:
                above[index] = (bits & ~first) | second
        above[cluster.number] = (above[cluster.number] | above[number]) & ~second
        for index, bits in enumerate(above):
            if bits & second:
                above[index] = bits | above[cluster.number]
        above[number] = 0
        return True

    def _merge_siblings(self) -> None:
        """Rows and sums down columns that read the same elements read them once."""
        if not self.on("fuse_siblings"):
            return
        for cluster in self.clusters:
            if cluster.kind != ROWS or not self.alive[cluster.number]:
                continue
            for tensor, how in list(cluster.reads.items()):
                for other in self.readers[tensor] if how == SAME else ():
                    if self.alive[other.number] and other.kind == COLUMNS:
                        self._merge(cluster, other)

    @staticmethod
    def _bits(bits: int) -> Iterable[int]:
        while bits:
            low = bits & -bits
            yield low.bit_length() - 1
            bits ^= low

    # -- the result ---------------------------------------------------------------------------

    def _finish(self) -> Fusion:
        self._merge_siblings()
        position = {node: number for number, node in enumerate(self.nodes)}
        alive = [c for c in self.clusters if self.alive[c.number]]
        self.forced = self._forced()  # but for what is read only by what went along with it
        for cluster in alive:
            cluster.members.sort(key=lambda t: (position[t.node], t.index))
            cluster.nodes.sort(key=position.__getitem__)
        for tensor, cluster in self.cluster_of.items():
            alone = cluster.kind in (NEST_KIND, EFFECT_KIND, CONCAT, BODIES)
            if tensor in self.forced or (alone and tensor.index not in tensor.node.op.optional):
                cluster.stored[tensor] = None
        for cluster in alive:
            for tensor in cluster.reads:
                source = self.cluster_of.get(tensor)
                if source is not None and source is not cluster:
                    source.stored[tensor] = None
            if cluster.kind == ROWS:
                self._keep_costly(cluster)
        self._find_inlined(alive)
        return Fusion(alive, self.cluster_of, self.deps, self.settled)

    def _keep_costly(self, cluster: Cluster) -> None:
        """Keeps what several loops over a row need, where computing it again costs more."""
        phase = phases(cluster, self.deps)
        cost: dict[Tensor, float] = {}
        for tensor in cluster.members:
            own = tensor.node.op.flops
            for read in tensor.node.inputs:
                own += self.inlined.get(root(read), (0.0, 0))[0]
            behind = (cost.get(t, 0.0) for t in self.deps[tensor] if t not in cluster.stored)
            cost[tensor] = own + sum(behind)
        length = exact_quotient(cluster.count, cluster.groups())
        room = LONGEST_ROW if isinstance(length, int) else 0
        loops: dict[Tensor, set[int]] = {tensor: set() for tensor in cluster.members}
        for tensor in reversed(cluster.members):
            if is_reduction(tensor):
                loops[tensor] = {phase[tensor] - 1}
            elif cluster.level[tensor] == ELEMENT:
                if len(loops[tensor]) > 1 and tensor not in cluster.stored:
                    if (
                        isinstance(length, int)
                        and length <= room
                        and (cost[tensor] > COSTLY_ROW_FLOPS)
                    ):
                        cluster.kept[tensor] = None
                        room -= length
                    elif cost[tensor] > COSTLY_FLOPS:
                        cluster.stored[tensor] = None
                known = tensor in cluster.stored or tensor in cluster.kept
                if known or not loops[tensor]:
                    loops[tensor] = {phase[tensor]}
            for read in self.deps[tensor]:
                if read in loops and cluster.level[read] == ELEMENT:
                    loops[read] |= loops[tensor]

    def _find_inlined(self, clusters: list[Cluster]) -> None:
        """Notes for the report which inlined nodes each cluster computes."""
        for cluster in clusters:
            stack = list(cluster.nodes)
            seen = set(stack)
            while stack:
                for tensor in stack.pop().inputs:
                    node = tensor.node
                    inlined = node.op.kind == VIEW or tensor in self.inlined
                    if inlined and node not in seen:
                        seen.add(node)
                        stack.append(node)
                        if node.op.kind != VIEW:
                            cluster.inlined[node] = None


def fuse(
    program: Program,
    disable: frozenset[str] = frozenset(),
    lasting: Collection[Tensor] = (),
) -> Fusion:
    """Groups the nodes of an optimised program into clusters. `lasting` are feeds that stay the
    same from run to run."""
    return _Fuser(program, disable, lasting).run()
