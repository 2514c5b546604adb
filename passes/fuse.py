"""Which nodes are computed together: Program --> Clusters, each one nest of loops.

Nodes come in topological order. A cheap one (movement, casts, a few FLOPs on one tensor) is
*inlined*: it has no cluster, its consumers compute it where they read it. Every other one joins
the cluster of something it reads, or that reads the same data, or starts its own:

    pointwise  one loop over the elements; everything in it has the same number of elements
    rows       for each row: reductions over it, and elementwise work that uses their results
               (softmax, log-sum-exp, normalisation, and their gradients), in phases
    columns    elementwise work and sums over its leading dimensions
    full       elementwise work and reductions to one value
    reduce     a reduction over other dimensions, with its inlined producers
    contract   a contraction with its prologue (inlined producers) and epilogue (elementwise work)
    concat     one loop for each input, each with its producers
    nest, effect, copy

Work is seen as elements in row-major order (`relations.py`), so reshapes never stand in the way.
Joining is legal where what is read of the cluster is at hand at the same element or row, and no
other cluster lies on a path between the two (a bitset of ancestors for each cluster). It always
saves memory traffic: a value that only its own cluster reads is never stored.

Rules, by the names that switch them off: `fuse` (all of them), `inline` (cheap producers into
their consumers), `fuse_pointwise`, `fuse_rows`, `fuse_columns`, `fuse_full`, `fuse_epilogue`,
`fuse_siblings`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field

from ..ir.node import Node, Tensor
from ..ir.op import CONTRACT, EFFECT, LEAF, NEST, REDUCE, VIEW
from ..ir.op import POINTWISE as POINTWISE_OP
from ..ir.program import Program
from ..sizes import Dim, product
from .index_math import estimate
from .relations import LEAD, OTHER, SAME, SCALAR, compose, count, direct_reads, merge

POINTWISE, ROWS, COLUMNS, FULL, REDUCTION, CONTRACTION, CONCAT, NEST_KIND, EFFECT_KIND, COPY = (
    "pointwise", "rows", "columns", "full", "reduce", "contract", "concat", "nest", "effect",
    "copy",
)  # fmt: skip

CHEAP_FLOPS = 2.0  # of an inlined value that several consumers compute again
CHEAP_SCALAR_FLOPS = 8.0
LONGEST_INLINE = 12  # inlined nodes in a row, so that nothing recurses deeply
LARGEST_CLUSTER = 160  # members: keeps basic blocks, and so compile time, in bounds

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
    reads: dict[Tensor, str] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    inlined: dict[Node, None] = field(default_factory=dict)
    after: dict[Node, None] = field(default_factory=dict)  # effects that must run before
    copy: tuple[Tensor, Hashable] | None = None
    fallible: bool = False
    reasons: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        names = ", ".join(node.op.name for node in self.nodes)
        return f"<{self.kind} cluster {self.number}: {names}>"


@dataclass
class Fusion:
    """The result: clusters in a topological order, and how each tensor is found."""

    clusters: list[Cluster]
    cluster_of: dict[Tensor, Cluster]
    reads: dict[Tensor, dict[Tensor, str]]


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


class _Fuser:
    def __init__(self, program: Program, disable: frozenset[str]):
        self.program = program
        self.disable = disable
        self.nodes = program.nodes()
        self.users: dict[Tensor, list[Node]] = {}
        for node in self.nodes:
            for position, tensor in enumerate(node.inputs):
                if position not in node.op.shape_only:
                    self.users.setdefault(tensor, []).append(node)
        self.forced = self._forced()
        self.inlined: dict[Tensor, tuple[float, int]] = {}  # cost of an element, nodes in a row
        self.deps: dict[Tensor, dict[Tensor, str]] = {}
        self.checks: set[Node] = set()
        self.clusters: list[Cluster] = []
        self.cluster_of: dict[Tensor, Cluster] = {}
        self.above: list[int] = []  # for each cluster the bits of the clusters it needs
        self.alive: list[bool] = []
        self.readers: dict[Tensor, list[Cluster]] = {}
        self.effects_so_far: dict[Node, Cluster] = {}

    def on(self, rule: str) -> bool:
        return rule not in self.disable and "fuse" not in self.disable

    def _forced(self) -> set[Tensor]:
        """Tensors that must be in memory: results, and what loops of their own read."""
        found = {root(t) for t in self.program.roots()}
        for node in self.nodes:
            if node.op.kind in (NEST, EFFECT):
                found.update(root(t) for t in node.inputs)
        return found

    # -- what a tensor reads ------------------------------------------------------------------

    def _resolve(self, reads: Iterable[tuple[Tensor, str]]) -> dict[Tensor, str]:
        """Reads in terms of tensors that are not inlined."""
        found: dict[Tensor, str] = {}
        for tensor, how in reads:
            tensor = root(tensor)
            if tensor in self.inlined:
                for base, inner in self.deps[tensor].items():
                    found[base] = merge(found.get(base), compose(how, inner, inner == SCALAR))
            else:
                if product(tensor.dims) == 1:
                    how = SCALAR
                found[tensor] = merge(found.get(tensor), how)
        return found

    def _analyse(self, node: Node) -> None:
        kind = node.op.kind
        for tensor in node.outputs:
            if kind == POINTWISE_OP and node.op.name != "concat":
                reads, checks = direct_reads(tensor)
                if checks:
                    self.checks.add(node)
                self.deps[tensor] = self._resolve(reads)
                cost = self._inline_cost(tensor, reads)
                if cost is not None:
                    self.inlined[tensor] = cost
            elif kind == REDUCE:
                self.deps[tensor] = self._resolve([(node.inputs[0], SAME)])
            else:
                inputs = [
                    (t, OTHER) for p, t in enumerate(node.inputs) if p not in node.op.shape_only
                ]
                self.deps[tensor] = self._resolve(inputs)

    def _inline_cost(self, tensor: Tensor, reads) -> tuple[float, int] | None:
        """(FLOPs of an element, nodes in a row) of a value to inline, None to compute it once."""
        node = tensor.node
        if tensor in self.forced or node in self.checks or not self.on("inline"):
            return None
        cost, length = node.op.flops, 1
        for read, _ in reads:
            inner = self.inlined.get(root(read))
            if inner is not None:
                cost += inner[0]
                length = max(length, 1 + inner[1])
        if length > LONGEST_INLINE:
            return None
        deps = self.deps[tensor]
        wide = [t for t, how in deps.items() if how != SCALAR]
        if product(tensor.dims) == 1:
            return (cost, length) if cost <= CHEAP_SCALAR_FLOPS else None
        users = self._real_users(tensor)
        if len(wide) == 1 and deps[wide[0]] == SAME and self._costs_nothing(tensor, wide[0], users):
            return None
        if len(wide) <= 1 and cost <= CHEAP_FLOPS:
            return cost, length
        if len(users) == 1 and len(wide) <= 4:
            user = users[0]
            if user.op.name == "concat":
                return cost, length  # each element is computed once, in its own loop
            # Movement that reads each element at most once may compute it on the way.
            if (
                user.op.kind == POINTWISE_OP
                and len(user.inputs) == 1
                and user.op.flops == 0
                and estimate(count(user.outputs[0])) <= estimate(count(tensor))
            ):
                return cost, length
            if len(wide) <= 2 and cost == 0:  # a gather
                return cost, length
        return None

    def _costs_nothing(self, tensor: Tensor, source: Tensor, users) -> bool:
        """Whether storing `tensor`, computed where `source` is, takes no more memory traffic than
        storing `source` and computing `tensor` again wherever it is read."""
        if source.node.op.kind == LEAF or source not in self.cluster_of:
            return False
        if self.cluster_of[source].kind in (NEST_KIND, EFFECT_KIND, CONCAT, REDUCTION):
            return False
        alone = source not in self.forced and all(
            root(user.outputs[0]) is tensor
            or user.outputs[0] in self.inlined
            and (
                self.deps[user.outputs[0]].get(source) is not None
                and self._only_feeds(user.outputs[0], tensor)
            )
            for user in self._real_users(source)
        )
        # Operands of contractions are read many times, and in place only where they are stored.
        return alone or any(user.op.kind == CONTRACT for user in users)

    def _only_feeds(self, inlined: Tensor, tensor: Tensor) -> bool:
        return all(user.outputs[0] is tensor for user in self._real_users(inlined))

    def _real_users(self, tensor: Tensor) -> list[Node]:
        """The users of a tensor, seen through views."""
        found, stack = [], [tensor]
        while stack:
            for user in self.users.get(stack.pop(), ()):
                if user.op.kind == VIEW:
                    stack.append(user.outputs[0])
                else:
                    found.append(user)
        return found

    # -- clusters -----------------------------------------------------------------------------

    def run(self) -> Fusion:
        for node in self.nodes:
            kind = node.op.kind
            if kind in (LEAF, VIEW):
                continue
            self._analyse(node)
            if kind == POINTWISE_OP and node.op.name != "concat":
                for tensor in node.outputs:
                    if tensor not in self.inlined:
                        self._place_pointwise(tensor)
            elif kind == REDUCE:
                if reduction_form(node.outputs[0]) == POINTWISE:
                    self._place_pointwise(node.outputs[0])
                else:
                    self._place_reduction(node.outputs[0])
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

    def _place_alone(self, node: Node) -> None:
        kind = {
            CONTRACT: CONTRACTION, NEST: NEST_KIND, EFFECT: EFFECT_KIND, POINTWISE_OP: CONCAT,
        }.get(node.op.kind, NEST_KIND)  # fmt: skip
        size = count(node.outputs[0]) if node.outputs else 1
        cluster = self._new(kind, node.outputs, size)
        if not node.outputs:
            cluster.nodes.append(node)
        host = kind == EFFECT_KIND and node.op.lower is None
        cluster.fallible = node.op.fallible or host
        for control in node.controls:
            self._require(cluster, control)
        if node.op.kind == EFFECT or node in self.program.effects:
            for tensor in node.inputs:
                self._depend(cluster, self._resolve([(tensor, OTHER)]))
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
        if self.on("fuse_pointwise") and not tensor.node.controls:
            for cluster in self._candidates(deps, size):
                for level in (ELEMENT, ROW):
                    if self._fits(cluster, tensor, level, size):
                        joined = cluster
                        self._add(cluster, tensor, level)
                        break
                if joined is not None:
                    break
        if joined is None:
            joined = self._new(POINTWISE, [tensor], size)
            for control in tensor.node.controls:
                self._require(joined, control)
        joined.fallible = joined.fallible or tensor.node in self.checks
        for other in self._needed(deps):
            if other is not joined:
                self._merge(joined, other)

    def _place_reduction(self, tensor: Tensor) -> None:
        form = reduction_form(tensor)
        source = tensor.node.inputs[0]
        size = count(source)
        groups = count(tensor)
        level = ROW if form == ROWS else RESULT
        deps = self.deps[tensor]
        joined: Cluster | None = None
        if form != REDUCTION and self.on(f"fuse_{form}"):
            for cluster in self._candidates(deps, size):
                if not self._takes_reduction(cluster, form, size, groups):
                    continue
                if self._fits(cluster, tensor, ELEMENT, size):
                    joined = cluster
                    cluster.kind, cluster.rows = form, groups
                    self._add(cluster, tensor, level)
                    break
        if joined is None:
            joined = self._new(form, [], size)
            joined.rows = groups
            self._add(joined, tensor, level)
        for other in self._needed(deps):
            if other is not joined:
                self._merge(joined, other)

    def _takes_reduction(self, cluster: Cluster, form: str, size: Dim, groups: Dim) -> bool:
        if cluster.count != size:
            return False
        if cluster.kind == form:
            return cluster.rows == groups
        if cluster.kind != POINTWISE:
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

    def _fits(self, cluster: Cluster, tensor: Tensor, level: str, size: Dim) -> bool:
        """Whether `tensor` can be computed in the loops of `cluster`."""
        if len(cluster.members) >= LARGEST_CLUSTER:
            return False
        if level == ROW:
            if cluster.kind != ROWS or cluster.rows != size:
                return False
        elif cluster.count != size or cluster.kind not in (
            POINTWISE, ROWS, COLUMNS, FULL, CONTRACTION,
        ):  # fmt: skip
            return False
        rule = "fuse_epilogue" if cluster.kind == CONTRACTION else f"fuse_{cluster.kind}"
        if not self.on(rule):
            return False
        if cluster.kind == CONTRACTION and tensor.node in self.checks:
            return False
        deps = self.deps[tensor]
        if not self._at_hand(cluster, deps, level):
            return False
        bit = 1 << cluster.number
        return not any(
            self.above[other.number] & bit for other in self._needed(deps) if other is not cluster
        )

    def _at_hand(self, cluster: Cluster, deps: dict[Tensor, str], level: str) -> bool:
        """Whether what is read of the cluster itself is known at the same element or row."""
        for tensor, how in deps.items():
            if self.cluster_of.get(tensor) is not cluster:
                continue
            have = cluster.level[tensor]
            if level == ROW:
                if have != ROW or how not in (SAME, SCALAR):
                    return False
                if how == SCALAR and cluster.rows != 1:
                    return False
            elif have == ELEMENT:
                if how != SAME and not (how == SCALAR and cluster.count == 1):
                    return False
            elif have != ROW or how != LEAD:
                return False
        return True

    def _add(self, cluster: Cluster, tensor: Tensor, level: str) -> None:
        cluster.members.append(tensor)
        cluster.level[tensor] = level
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
        if other.kind != POINTWISE or cluster.kind in (CONTRACTION, REDUCTION, CONCAT):
            return False
        if not self.on("fuse_pointwise") or other.count != cluster.count:
            return False
        if len(cluster.members) + len(other.members) > LARGEST_CLUSTER:
            return False
        if cluster.kind not in (POINTWISE, ROWS, COLUMNS, FULL):
            return False
        if not self.on(f"fuse_{cluster.kind}"):
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
            for read, how in self.deps[tensor].items():
                if self.cluster_of.get(read) is other:
                    of_row = cluster.level[tensor] == ROW and not is_reduction(tensor)
                    want = None if of_row else SAME
                    if how != want and not (how == SCALAR and cluster.count == 1):
                        return False
        self.alive[number] = False
        for tensor in other.members:
            cluster.members.append(tensor)
            cluster.level[tensor] = ELEMENT
            self.cluster_of[tensor] = cluster
        cluster.nodes.extend(n for n in other.nodes if n not in cluster.nodes)
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

    @staticmethod
    def _bits(bits: int) -> Iterable[int]:
        while bits:
            low = bits & -bits
            yield low.bit_length() - 1
            bits ^= low

    # -- the result ---------------------------------------------------------------------------

    def _finish(self) -> Fusion:
        position = {node: number for number, node in enumerate(self.nodes)}
        alive = [c for c in self.clusters if self.alive[c.number]]
        for cluster in alive:
            cluster.members.sort(key=lambda t: (position[t.node], t.index))
            cluster.nodes.sort(key=position.__getitem__)
        for tensor, cluster in self.cluster_of.items():
            if tensor in self.forced or cluster.kind in (NEST_KIND, EFFECT_KIND, CONCAT):
                cluster.stored[tensor] = None
        for cluster in alive:
            for tensor in cluster.reads:
                source = self.cluster_of.get(tensor)
                if source is not None and source is not cluster:
                    source.stored[tensor] = None
        self._find_inlined(alive)
        return Fusion(alive, self.cluster_of, self.deps)

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


def fuse(program: Program, disable: frozenset[str] = frozenset()) -> Fusion:
    """Groups the nodes of an optimised program into clusters."""
    return _Fuser(program, disable).run()


def describe_cluster(cluster: Cluster) -> str:
    """One line for the report: the form of the loops, what they compute, what is fused in."""
    names = [node.op.name for node in cluster.nodes]
    if cluster.kind == COPY:
        return "copy of a value that belongs in two places"
    text = f"{cluster.kind} loops of {', '.join(names)}"
    if cluster.inlined:
        inlined = dict.fromkeys(node.op.name for node in cluster.inlined)
        text += f" (computing {', '.join(inlined)} where it is read)"
    return text
