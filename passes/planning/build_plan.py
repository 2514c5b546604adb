"""Program --> Plan: fuse, place values in memory, order, lower, lay out the arena.

    program  --fuse-->  clusters  --schedule-->  launches  --lower-->  kernels  --memory-->  plan

Where values live: feeds, constants and old values of variables are given; a variable's new value
and a fetched value are written where they stay; everything else that is stored is in the arena.
A fetched value that is also a variable's new value, or given, is not copied. A value that would
have to be in two such places, or that no cluster computes (a variable assigned a feed, two
variables swapped), is copied by a cluster of its own.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any

from ...ir.node import Node, Tensor
from ...ir.program import Program
from ...loop import nodes as loop
from ...loop.nodes import Stmt
from ...plan import CONSTANT, FEED, KEPT, HostCall, Launch, Output, Plan, PlanBuffer, State
from ...sizes import Size
from ..analysis.bodies import Inside
from ..fusion.cluster import BODIES, PREPARATION, Cluster, Fusion, describe_cluster
from ..fusion.join_images import join_images
from ..lower import Lowering
from ..lowering.context import KernelBuilder, Sites
from ..pipeline import PassOptions
from .outline import Outline
from .places import Place
from .plan_bodies import BodyPlanner
from .plan_items import Item, Launched, Marked, made_kernel
from .schedule import is_host_call


def build_plan(program: Program, target: Any, options: PassOptions | None = None) -> Plan:
    """The launches, buffers and contracts of a step. `target` needs `vector_bits`, `registers`
    and `l2` (see codegen/target.py)."""
    return Planner(program, target, options or PassOptions()).run()


class Planner(Outline):
    """Plans a program, or with `inside` a body of one that has the run-time checks `sites`."""

    def __init__(
        self,
        program: Program,
        target: Any,
        options: PassOptions,
        inside: Inside | None = None,
        sites: Sites | None = None,
    ):
        super().__init__(program, frozenset(options.disable), inside)
        self.target = target
        self.options = options
        self.sites = sites or Sites(program.origin)
        self.calls: list[tuple[Node, tuple, tuple]] = []
        self.ids: dict[Hashable, int] = {}
        self._used_by: dict[Hashable, set[int]] = {}

    def run(self) -> Plan:
        items = self.items()
        self._keep(items)
        return self._assemble(items)

    def items(self) -> list[Item]:
        """Launches in order, those first that prepare for every run, with marks among them."""
        items: list[Item] = []
        rows = zip(self.schedule.launches, self.schedule.notes, strict=True)
        for number, (group, note) in enumerate(rows):
            if group[0].kind == BODIES:
                items += BodyPlanner(self, group[0].nodes[0], note).items()
                continue
            *before, launched = self._lower(group, self.schedule.branches.get(number, []))
            launched.note = note
            items += before
            if launched.kernel is None or launched.kernel.body:
                items.append(launched)
        return _preparing_first(items)

    def of_body(self, program: Program, inside: Inside) -> Planner:
        """The planner of a body within this one's program."""
        return Planner(program, self.target, self.options, inside, self.sites)

    def _keep(self, launches: list[Item]) -> None:
        """What launches of every run use of what is settled stays in memory from run to run."""
        settled = self.fusion.settled
        of_every_run: set[Hashable] = set()
        for launched in launches:
            for used in () if launched.prepared else launched.used:
                # The operands of what was packed are not needed any more. A mark has no kernel, and
                # uses all that it says: the sequences of a scan.
                for key in () if isinstance(launched, Marked) else list(used):
                    if isinstance(key, Tensor) and key in settled and key not in launched.keys:
                        del used[key]
                of_every_run.update(used)
        for launched in launches:
            for key in launched.keys if launched.prepared else ():  # in an order that never varies
                if key in launched.writes and key in of_every_run:
                    self.places[key] = Place(KEPT, 0)

    # -- kernels ------------------------------------------------------------------------------

    def _lower(self, clusters: list[Cluster], branches: list[list[Cluster]]) -> list[Launched]:
        """The launch of some clusters, after one that prepares for it what stays the same."""
        if is_host_call(clusters[0]):
            return [self._host_call(clusters[0])]
        written: dict[Hashable, None] = {}
        for cluster in clusters:
            written.update(dict.fromkeys(cluster.stored))
            if cluster.copy is not None:
                written[cluster.copy[1]] = None
        prepared = clusters[0].settled
        builder = KernelBuilder(self.sites, self.storage_of, self.describe, written)
        if not prepared:
            builder.settled = self.fusion.settled
        lowering = Lowering(self.fusion, self.target, self.disable)
        used: list[dict[Hashable, None]] = []
        writes: set[Hashable] = set()
        sites = len(self.sites.sites)
        owners: list[int] = []  # of the statements of the kernel: the numbers of their clusters

        def lower(cluster: Cluster) -> None:
            workspaces = len(builder.workspaces)
            builder.reads.clear()
            builder.writes.clear()
            lowering.cluster(builder, cluster)
            writes.update(builder.writes)
            mine = self.touched(cluster) | builder.reads | builder.writes
            used.append(mine | dict.fromkeys(builder.workspaces[workspaces:]))
            owners.extend([len(used) - 1] * (len(builder.blocks[0]) - len(owners)))

        tasks = []
        for branch in branches:
            with builder.branch() as task:
                for cluster in branch:
                    lower(cluster)
            tasks.append(tuple(task))
        if branches:
            builder.emit(_side_by_side(builder, tasks))
        else:
            for cluster in clusters:
                lower(cluster)
            if "join_images" not in self.disable:
                writes -= self._join(builder, clusters, used, owners)
        # A kernel that fails goes on to its end, and only then is the evidence looked at.
        for site in self.sites.sites[sites:]:
            used[-1] |= dict.fromkeys(site.buffers)
        name = _kernel_name(clusters)
        kernel, keys = made_kernel(name, builder, builder.workspaces)
        launched = Launched(
            clusters, kernel, keys, used, writes, prepared=prepared, branches=len(branches)
        )
        for cluster in clusters:
            cluster.fallible = cluster.fallible or builder.fallible
        once = builder.preparation
        if once is None or not once.blocks[0]:
            return [launched]
        kernel, keys = made_kernel(f"prepare_{name}", once, once.kept)
        moment, note = Cluster(-1, PREPARATION), "computed only when a variable has changed"
        return [
            Launched([moment], kernel, keys, [dict.fromkeys(keys)], set(once.kept), -1, note, True),
            launched,
        ]

    def _join(
        self,
        builder: KernelBuilder,
        clusters: list[Cluster],
        used: list[dict[Hashable, None]],
        owners: list[int],
    ) -> set[Hashable]:
        """Joins loops over images; gives what then is not in memory any more."""
        key_of: dict[loop.Target, Hashable] = {b: key for key, b in builder.buffers.items()}
        mine = {id(cluster) for cluster in clusters}
        private, lasting = set(), set()
        for key, buffer in builder.buffers.items():
            place = self.places.get(key)
            if place is not None and place.place not in (FEED, CONSTANT):
                lasting.add(buffer)
            elif place is None and key in builder.written and self._users(key) <= mine:
                private.add(buffer)
        dropped: set[Hashable] = set()
        body = builder.blocks[0]
        for joined in join_images(body, builder.math, private, lasting):
            inside = {key_of.get(t, t) for t in loop.targets([body[joined.second]])}
            used[owners[joined.second]].update(
                (key, None) for keys in used for key in list(keys) if key in inside
            )
            dropped.update(key_of[buffer] for buffer in joined.dropped)
        builder.blocks[0] = [s for s in body if not (isinstance(s, loop.For) and not s.body)]
        for keys in used:
            for key in dropped:
                keys.pop(key, None)
        return dropped

    def _users(self, key: Hashable) -> set[int]:
        """The clusters that use what is stored as `key`."""
        if not self._used_by:
            for cluster in self.clusters():
                for each in self.touched(cluster):
                    self._used_by.setdefault(each, set()).add(id(cluster))
        return self._used_by.get(key, set())

    def _host_call(self, cluster: Cluster) -> Launched:
        node = cluster.nodes[0]
        inputs = tuple(self.storage_of(t) for t in node.inputs)
        outputs = tuple(t for t in node.outputs if t.dtype.kind != "token")
        self.calls.append((node, inputs, outputs))
        keys = list(dict.fromkeys((*inputs, *outputs)))
        used = [dict.fromkeys(keys)]
        return Launched([cluster], None, keys, used, set(outputs), len(self.calls) - 1)

    # -- assembly -----------------------------------------------------------------------------

    def _assemble(self, items: list[Item]) -> Plan:
        found = self.arrange([row for it in items for row in it.moments()])
        launches = [item for item in items if isinstance(item, Launched)]
        in_place = self.schedule.in_place
        self.ids = found.ids
        buffers = []
        for key, stored in found.stored.items():
            id_ = found.ids[key]
            buffers.append(
                PlanBuffer(
                    id_,
                    stored.name,
                    stored.dtype,
                    stored.shape,
                    stored.place.place,
                    stored.place.index,
                    stored.bytes,
                    found.first.get(key, 0),
                    found.last.get(key, 0),
                    found.arena.offsets.get(id_, -1),
                )
            )
        commit = len(launches)
        prepared = sum(launched.prepared for launched in launches)
        writers = {self.states[v]["write"] for v in in_place}
        writers |= {v for v, key in self.schedule.chained.items() if key in writers}
        for number, launched in enumerate(launches):
            if writers & launched.writes:
                commit = min(commit, number)
        numbers = iter(range(len(launches)))
        steps = tuple(
            next(numbers) if isinstance(item, Launched) else item.mark(self.ids.__getitem__)
            for item in items
        )
        return Plan(
            launches=tuple(map(self._launch, launches)),
            steps=steps,
            buffers=tuple(buffers),
            feeds=tuple(self.ids[t] for t in self.program.feeds),
            constants=tuple(
                (self.ids[k], k.node.attrs["value"])
                for k, stored in found.stored.items()
                if isinstance(k, Tensor) and stored.place.place == CONSTANT
            ),
            states=tuple(self._plan_state(v, s, v in in_place) for v, s in self.states.items()),
            outputs=tuple(
                Output(self.stored(k).place.place, self.ids[k], self.stored(k).dtype, tuple(shape))
                for k, shape in self.outputs
            ),
            sites=tuple(
                replace(site, buffers=tuple(self.ids[key] for key in site.buffers))
                for site in self.sites.sites
            ),
            calls=tuple(
                HostCall(
                    node.attrs.get("function"),
                    tuple(self.ids[k] for k in inputs),
                    tuple(self.ids[k] for k in outputs),
                )
                for node, inputs, outputs in self.calls
            ),
            commit=commit,
            prepared=prepared,
            arena_bytes=found.arena.bytes,
            arena_lower_bound=found.arena.lower_bound,
            outside_bytes=found.outside_bytes,
            reasons=self._reasons(launches),
        )

    def _plan_state(self, variable: Any, state: dict[str, Any], in_place: bool) -> State:
        read, write = state["read"], state["write"]
        shape = read.dims if read is not None else state["shape"]
        return State(
            variable,
            -1 if read is None else self.ids[read],
            -1 if write is None else self.ids[write],
            in_place,
            variable.dtype,
            tuple(shape),
        )

    def _launch(self, launched: Launched) -> Launch:
        nodes = [n for c in launched.clusters for n in (*c.inlined, *c.nodes)]
        fallible = launched.kernel is None or any(c.fallible for c in launched.clusters)
        return Launch(
            launched.kernel,
            tuple(self.ids[k] for k in launched.keys),
            tuple(dict.fromkeys(nodes)),
            fallible,
            launched.call,
            launched.note,
            len(launched.moments()),
        )

    def _reasons(self, launches: list[Launched]) -> dict[str, str]:
        """What each launch is made of and why it is one; why a variable is not updated in place."""
        reasons = {}
        for number, launched in enumerate(launches):
            parts = [describe_cluster(cluster) for cluster in launched.clusters]
            start = f"not with the launch before: {launched.note}; " if launched.note else ""
            reasons[f"launch {number}"] = start + "; ".join(parts)
        for variable, state in self.states.items():
            if state["write"] is not None and variable not in self.schedule.in_place:
                reasons[f"variable {variable}"] = "not written in place: " + self._not_in_place(
                    state
                )
        return reasons

    def _not_in_place(self, state: dict[str, Any]) -> str:
        if state["read"] is None:
            return "its old value is not used"
        if any(key is state["read"] for key, _ in self.outputs):
            return "its old value is fetched"
        return "something that needs the new value can fail, or reads the old value later"


def _preparing_first(launches: Sequence[Item]) -> list[Item]:
    """Launches with those that prepare at the front, each after what it needs and nothing else:
    memory then holds few of the values that are only made to be packed."""
    preparing = [it for it in launches if it.prepared]
    writer = {key: number for number, it in enumerate(preparing) for key in it.writes}
    needs = [
        [writer[key] for used in it.used for key in used if writer.get(key, number) != number]
        for number, it in enumerate(preparing)
    ]
    needed = {other for found in needs for other in found}
    order: dict[int, None] = {}
    stack = [number for number in reversed(range(len(preparing))) if number not in needed]
    while stack:
        missing = [other for other in needs[stack[-1]] if other not in order]
        if missing:
            stack += reversed(missing)
        else:
            order[stack.pop()] = None
    return [*(preparing[number] for number in order), *(it for it in launches if not it.prepared)]


def _side_by_side(builder: KernelBuilder, tasks: Sequence[tuple[Stmt, ...]]) -> Stmt:
    """for t parallel:  task number t"""
    var = loop.Var(builder.name("t"))
    chosen = tasks[-1]
    for number in range(len(tasks) - 2, -1, -1):
        here = loop.apply("eq", var, loop.Const(number))
        chosen = (loop.If(here, tasks[number], chosen),)
    return loop.For(var, loop.Const(len(tasks)), loop.PARALLEL, chosen, 1)


_TELLING = ("contract", "contract_where", "convolve", "convolve_weights", "reduce")


def _kernel_name(clusters: list[Cluster]) -> str:
    """The ops it computes, most telling ones first."""
    names: dict[str, None] = {}
    for cluster in clusters:
        for node in cluster.nodes:
            names[node.op.name] = None
    telling = [n for n in names if n in _TELLING]
    rest = [n for n in names if n not in telling]
    shown = [*telling, *rest][:4]
    return "_".join(shown) or "copy"


__all__ = ["Fusion", "Size", "build_plan"]
