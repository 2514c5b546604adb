"""What is inlined: values so cheap that their consumers compute them where they read them.

    y = cast(x) * 2;  a = exp(y);  b = sum(y)    -->    a = exp(cast(x) * 2);  b = sum(cast(x) * 2)

An inlined tensor has no loops and no memory. Which tensors lie behind it, and how their elements
lie to its own, is kept in `deps`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from ...ir.node import Node, Tensor
from ...ir.op import CONTRACT, CONVOLVE, EFFECT, LEAF, NEST, POINTWISE, REDUCE, REGION, VIEW
from ...ir.program import Program
from ...sizes import product
from ..analysis.bodies import in_memory
from ..analysis.convolutions import walked
from ..analysis.index_math import estimate
from ..analysis.relations import OTHER, SAME, SCALAR, compose, count, direct_reads, merge
from .cluster import BODIES, CONCAT, EFFECT_KIND, NEST_KIND, REDUCTION, Cluster, root
from .settled import Settled

CHEAP_FLOPS = 2.0  # of an inlined value that several consumers compute again
CHEAP_SCALAR_FLOPS = 8.0
SMALL_SHARE = 16  # a value so many times smaller than what it is combined with stays in the cache
LONGEST_INLINE = 12  # inlined nodes in a row, so that nothing recurses deeply


def _is_small(tensor: Tensor, beside: int) -> bool:
    """Whether reading a tensor again costs little where `beside` elements are read: a bias."""
    return SMALL_SHARE * estimate(count(tensor)) <= beside


class Inliner:
    """Decides node by node, in topological order; `cluster_of` knows those placed before."""

    def __init__(self, program: Program, disable: frozenset[str], lasting: Collection[Tensor]):
        self.program = program
        self.disable = disable
        self.nodes = program.nodes()
        self.users: dict[Tensor, list[Node]] = {}
        for node in self.nodes:
            for position, tensor in enumerate(node.inputs):
                if position not in node.op.shape_only:
                    self.users.setdefault(tensor, []).append(node)
        self.settled = Settled(program, "prepare" not in disable, lasting)
        self.taken_along: set[Node] = set()  # NEST nodes in the loops of others
        self.forced = self._forced()
        self.inlined: dict[Tensor, tuple[float, int]] = {}  # cost of an element, nodes in a row
        self.deps: dict[Tensor, dict[Tensor, str]] = {}
        self.checks: set[Node] = set()
        self.cluster_of: dict[Tensor, Cluster] = {}

    def on(self, rule: str) -> bool:
        return rule not in self.disable and "fuse" not in self.disable

    def _forced(self) -> set[Tensor]:
        """Tensors that must be in memory: results, and what loops of their own read."""
        found = {root(t) for t in self.program.roots()} | self.settled.kept
        for node in self.nodes:
            if node in self.taken_along:
                continue
            if node.op.kind in (NEST, EFFECT):
                found.update(root(t) for t in node.inputs)
            elif node.op.kind == REGION:
                found.update(root(t) for t in in_memory(node))
            elif node.op.kind == CONVOLVE:
                found.update(root(t) for t in walked(node))
        return found

    def resolve(self, reads: Iterable[tuple[Tensor, str]]) -> dict[Tensor, str]:
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

    def analyse(self, node: Node) -> None:
        kind = node.op.kind
        for tensor in node.outputs:
            if kind == POINTWISE and node.op.name != "concat":
                reads, checks = direct_reads(tensor)
                if checks:
                    self.checks.add(node)
                self.deps[tensor] = self.resolve(reads)
                cost = self._inline_cost(tensor, reads)
                if cost is not None:
                    self.inlined[tensor] = cost
            elif kind == REDUCE:
                self.deps[tensor] = self.resolve([(node.inputs[0], SAME)])
            else:
                inputs = [
                    (t, OTHER) for p, t in enumerate(node.inputs) if p not in node.op.shape_only
                ]
                self.deps[tensor] = self.resolve(inputs)

    def _inline_cost(self, tensor: Tensor, reads) -> tuple[float, int] | None:
        """(FLOPs of an element, nodes in a row) of a value to inline, None to compute it once."""
        node = tensor.node
        if node.controls or tensor in self.forced or node in self.checks or not self.on("inline"):
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
        size = estimate(count(tensor))
        wide = [t for t, how in deps.items() if how != SCALAR and not _is_small(t, size)]
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
                user.op.kind == POINTWISE
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
        if self.cluster_of[source].kind in (NEST_KIND, EFFECT_KIND, CONCAT, REDUCTION, BODIES):
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
