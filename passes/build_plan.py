"""Program --> Plan: fuse, place values in memory, order, lower, lay out the arena.

    program  --fuse-->  clusters  --schedule-->  launches  --lower-->  kernels  --memory-->  plan

Where values live: feeds, constants and old values of variables are given; a variable's new value
and a fetched value are written where they stay; everything else that is stored is in the arena.
A fetched value that is also a variable's new value, or given, is not copied. A value that would
have to be in two such places, or that no cluster computes (a variable assigned a feed, two
variables swapped), is copied by a cluster of its own.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from typing import Any

from ..ir.node import Node, Tensor
from ..ir.op import LEAF
from ..ir.program import Program
from ..loop.nodes import Buffer, Kernel
from ..plan import (
    ARENA,
    CONSTANT,
    FEED,
    OUTPUT,
    STATE_IN,
    STATE_OUT,
    HostCall,
    Launch,
    Output,
    Plan,
    PlanBuffer,
    State,
)  # fmt: skip
from ..sizes import Dim, Shape, Size, multiply, product
from .cluster import (
    COPY,
    Cluster,
    Fusion,
    describe_cluster,
    root,
)  # fmt: skip
from .fuse import fuse
from .lower import Lowering
from .lower_context import KernelBuilder, Sites, Storage
from .memory import Life, assign, reuse, safe_in_place
from .pipeline import PassOptions
from .relations import SAME
from .schedule import Schedule, Write, is_host_call, schedule


@dataclass(frozen=True, eq=False)
class Copy:
    """Memory for a second copy of a value."""

    of: Tensor


@dataclass
class _Place:
    place: str
    index: int


@dataclass
class _Launched:
    """One launch, lowered."""

    clusters: list[Cluster]
    kernel: Kernel | None
    keys: list[Hashable]  # of the kernel's buffers, in order
    reads: set[Hashable] = field(default_factory=set)
    writes: set[Hashable] = field(default_factory=set)
    call: int = -1
    note: str = ""


def build_plan(program: Program, target: Any, options: PassOptions | None = None) -> Plan:
    """The launches, buffers and contracts of a step. `target` needs `vector_bits`, `registers`
    and `l2` (see codegen/target.py)."""
    return _Planner(program, target, options or PassOptions()).run()


class _Planner:
    def __init__(self, program: Program, target: Any, options: PassOptions):
        self.program = program
        self.target = target
        self.disable = frozenset(options.disable)
        self.places: dict[Hashable, _Place] = {}
        self.constants = 0
        self.copies: list[Cluster] = []
        self.states: dict[Any, dict[str, Any]] = {}
        self.outputs: list[tuple[Hashable, Shape]] = []
        self.sites = Sites(program.origin)
        self.calls: list[tuple[Node, tuple, tuple]] = []
        self.ids: dict[Hashable, int] = {}

    def run(self) -> Plan:
        self.fusion = fuse(self.program, self.disable)
        self._place_given()
        self._place_updates()
        self._place_outputs()
        self.schedule = self._schedule()
        launches = []
        for group, note in zip(self.schedule.launches, self.schedule.notes, strict=True):
            launched = self._lower(group)
            launched.note = note
            if launched.kernel is None or launched.kernel.body:
                launches.append(launched)
        return self._assemble(launches)

    # -- places -------------------------------------------------------------------------------

    def _place_given(self) -> None:
        for index, tensor in enumerate(self.program.feeds):
            self.places[tensor] = _Place(FEED, index)
        for node in self.program.nodes():
            if node.op.name == "state":
                variable = node.attrs["variable"]
                state = self._state(variable)
                state["read"] = node.outputs[0]
                self.places[node.outputs[0]] = _Place(STATE_IN, state["index"])

    def _state(self, variable: Any) -> dict[str, Any]:
        if variable not in self.states:
            self.states[variable] = {"index": len(self.states), "read": None, "write": None}
        return self.states[variable]

    def _place_updates(self) -> None:
        for variable, tensor in self.program.updates.items():
            state = self._state(variable)
            source = root(tensor)
            if source is state["read"]:
                continue
            place = _Place(STATE_OUT, state["index"])
            state["shape"] = tensor.dims
            if source.node.op.kind == LEAF or source in self.places:
                state["write"] = self._copy(tensor, place)
            else:
                self.places[source] = place
                state["write"] = source

    def _place_outputs(self) -> None:
        for number, tensor in enumerate(self.program.fetches):
            source = root(tensor)
            place = self.places.get(source)
            key: Hashable = source
            if source.node.op.kind == LEAF:
                if source.node.op.name == "constant":
                    self._constant(source)
            elif place is None:
                self.places[source] = _Place(OUTPUT, number)
            elif place.place == OUTPUT:
                key = self._copy(tensor, _Place(OUTPUT, number))
            self.outputs.append((key, tensor.dims))

    def _copy(self, tensor: Tensor, place: _Place) -> Copy:
        key = Copy(tensor)
        self.places[key] = place
        cluster = Cluster(len(self.fusion.clusters) + len(self.copies), COPY)
        cluster.count = product(tensor.dims)
        cluster.reads = {root(tensor): SAME}
        cluster.copy = (tensor, key)
        self.copies.append(cluster)
        return key

    def _constant(self, tensor: Tensor) -> None:
        if tensor not in self.places:
            self.places[tensor] = _Place(CONSTANT, self.constants)
            self.constants += 1

    def storage_of(self, tensor: Tensor) -> Hashable | None:
        """The key of the memory that holds a tensor, if any."""
        source = root(tensor)
        if source.node.op.kind == LEAF:
            if source.node.op.name == "constant":
                self._constant(source)
            return source
        cluster = self.fusion.cluster_of.get(source)
        return source if cluster is not None and source in cluster.stored else None

    def describe(self, key: Hashable) -> Storage:
        tensor = key.of if isinstance(key, Copy) else key
        assert isinstance(tensor, Tensor)
        return Storage(key, tensor.dtype, tensor.dims)

    # -- order --------------------------------------------------------------------------------

    def _schedule(self) -> Schedule:
        clusters = [*self.fusion.clusters, *self.copies]
        by_copy = {c.copy[1]: c for c in self.copies if c.copy is not None}
        fetched = {key for key, _ in self.outputs}
        writes, updates = [], set()
        for variable, state in self.states.items():
            key, read = state["write"], state["read"]
            if key is None:
                continue
            cluster = by_copy.get(key) or self.fusion.cluster_of[key]
            updates.add(cluster)
            if read is None or read in fetched or "in_place_state" in self.disable:
                continue
            if tuple(state["shape"]) == tuple(read.dims) and safe_in_place(cluster, key, read):
                writes.append(Write(variable, cluster, read))

        def arena_bytes(tensor: Tensor) -> int:
            from .index_math import estimate

            if tensor in self.places or tensor.node.op.kind == LEAF:
                return 0
            return estimate(product(tensor.dims)) * tensor.dtype.bytes

        return schedule(
            clusters, self.fusion.cluster_of, writes, updates, arena_bytes, self.disable
        )

    # -- kernels ------------------------------------------------------------------------------

    def _lower(self, clusters: list[Cluster]) -> _Launched:
        if is_host_call(clusters[0]):
            return self._host_call(clusters[0])
        written: dict[Hashable, None] = {}
        for cluster in clusters:
            written.update(dict.fromkeys(cluster.stored))
            if cluster.copy is not None:
                written[cluster.copy[1]] = None
        builder = KernelBuilder(self.sites, self.storage_of, self.describe, written)
        lowering = Lowering(self.fusion, self.target)
        for cluster in clusters:
            lowering.cluster(builder, cluster)
        keys: list[Hashable] = list(builder.buffers)
        buffers = [builder.buffers[key] for key in keys]
        for buffer in builder.workspaces:
            keys.append(buffer)
            buffers.append(buffer)
        kernel = Kernel(_kernel_name(clusters), tuple(buffers), tuple(builder.blocks[0]))
        launched = _Launched(clusters, kernel, keys, set(builder.reads), set(builder.writes))
        for cluster in clusters:
            cluster.fallible = cluster.fallible or builder.fallible
        return launched

    def _host_call(self, cluster: Cluster) -> _Launched:
        node = cluster.nodes[0]
        inputs = tuple(self.storage_of(t) for t in node.inputs)
        outputs = tuple(t for t in node.outputs if t.dtype.kind != "token")
        self.calls.append((node, inputs, outputs))
        keys = list(dict.fromkeys((*inputs, *outputs)))
        return _Launched([cluster], None, keys, set(inputs), set(outputs), call=len(self.calls) - 1)

    # -- assembly -----------------------------------------------------------------------------

    def _assemble(self, launches: list[_Launched]) -> Plan:
        in_place = self.schedule.in_place
        first: dict[Hashable, int] = {}
        last: dict[Hashable, int] = {}
        for number, launched in enumerate(launches):
            for key in launched.keys:
                first.setdefault(key, number)
                last[key] = number
        shapes: dict[Hashable, tuple[str, Any, Shape, _Place]] = {}
        for key in [*self.places, *first]:
            if key in shapes:
                continue
            place = self.places.get(key, _Place(ARENA, 0))
            if isinstance(key, Buffer):  # a workspace
                shapes[key] = (key.name, key.dtype, (key.size,), place)
            else:
                storage = self.describe(key)
                shape = storage.shape
                if place.place == STATE_OUT:
                    shape = list(self.states.values())[place.index]["shape"]
                shapes[key] = (self._name(key), storage.dtype, shape, place)
        order = {FEED: 0, CONSTANT: 1, STATE_IN: 2, STATE_OUT: 3, OUTPUT: 4, ARENA: 5}
        keys = sorted(
            shapes, key=lambda k: (order[shapes[k][3].place], shapes[k][3].index)
        )  # stable: arena buffers stay in order of first use
        over = {}
        if "memory.in_place" not in self.disable:
            given = set(self.places)
            over = reuse([(it.clusters, given) for it in launches], first, last)
        for key, source in over.items():
            last[source] = max(last[source], last[key])
        keys = [key for key in keys if key not in over]
        self.ids = {key: number for number, key in enumerate(keys)}
        for key, source in over.items():
            self.ids[key] = self.ids[source]
        arena = assign(
            [
                Life(self.ids[k], _bytes(shapes[k]), first[k], last[k])
                for k in keys
                if shapes[k][3].place == ARENA
            ]
        )
        buffers = []
        for key in keys:
            name, dtype, shape, place = shapes[key]
            id_ = self.ids[key]
            buffers.append(
                PlanBuffer(
                    id_,
                    name,
                    dtype,
                    tuple(shape),
                    place.place,
                    place.index,
                    _bytes(shapes[key]),
                    first.get(key, 0),
                    last.get(key, 0),
                    arena.offsets.get(id_, -1),
                )
            )
        commit = len(launches)
        writers = {self.states[v]["write"] for v in in_place}
        for number, launched in enumerate(launches):
            if writers & launched.writes:
                commit = min(commit, number)
        return Plan(
            launches=tuple(map(self._launch, launches)),
            buffers=tuple(buffers),
            feeds=tuple(self.ids[t] for t in self.program.feeds),
            constants=tuple(
                (self.ids[k], k.node.attrs["value"])
                for k in keys
                if isinstance(k, Tensor) and shapes[k][3].place == CONSTANT
            ),
            states=tuple(self._plan_state(v, s, v in in_place) for v, s in self.states.items()),
            outputs=tuple(
                Output(shapes[k][3].place, self.ids[k], shapes[k][1], tuple(shape))
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
            arena_bytes=arena.bytes,
            arena_lower_bound=arena.lower_bound,
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

    def _launch(self, launched: _Launched) -> Launch:
        nodes = [n for c in launched.clusters for n in (*c.inlined, *c.nodes)]
        fallible = launched.kernel is None or any(c.fallible for c in launched.clusters)
        return Launch(
            launched.kernel,
            tuple(self.ids[k] for k in launched.keys),
            tuple(dict.fromkeys(nodes)),
            fallible,
            launched.call,
            launched.note,
        )

    def _name(self, key: Hashable) -> str:
        tensor = key.of if isinstance(key, Copy) else key
        assert isinstance(tensor, Tensor)
        if tensor.node.op.name == "state":
            return str(tensor.node.attrs["variable"])
        origins = self.program.origin(tensor.node)
        return origins[0].name if origins else tensor.node.op.name

    def _reasons(self, launches: list[_Launched]) -> dict[str, str]:
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


def _bytes(entry) -> Dim:
    _, dtype, shape, _ = entry
    return multiply(product(shape), dtype.bytes)


_TELLING = ("contract", "convolve", "convolve_weights", "reduce")


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
