"""Program --> Plan: fuse, place values in memory, order, lower, lay out the arena.

    program  --fuse-->  clusters  --schedule-->  launches  --lower-->  kernels  --memory-->  plan

Where values live: feeds, constants and old values of variables are given; a variable's new value
and a fetched value are written where they stay; everything else that is stored is in the arena.
A fetched value that is also a variable's new value, or given, is not copied. A value that would
have to be in two such places, or that no cluster computes (a variable assigned a feed, two
variables swapped), is copied by a cluster of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..dtypes import int64
from ..errors import InternalError
from ..ir.node import Node, Region, Tensor
from ..ir.program import Program
from ..loop import nodes as loop
from ..loop.nodes import Buffer, Kernel, Stmt
from ..ops.control_flow import cond_op, scan_op, split_scan
from ..plan import (
    ARENA,
    CONSTANT,
    KEPT,
    ROW,
    STACK,
    Choose,
    End,
    HostCall,
    Launch,
    Mark,
    Otherwise,
    Output,
    Plan,
    PlanBuffer,
    Repeat,
    Row,
    State,
)
from ..sizes import Dim, Size, multiply, product
from .bodies import Inside
from .cluster import BODIES, PREPARATION, TOGETHER, Cluster, Fusion, describe_cluster
from .lower import Lowering
from .lower_context import KernelBuilder, Sites
from .lower_loops import elements
from .memory import reuse
from .outline import Outline, one_moment
from .pipeline import PassOptions
from .places import Inner, Place, Stored
from .schedule import is_host_call


@dataclass
class _Launched:
    """One launch, lowered."""

    clusters: list[Cluster]
    kernel: Kernel | None
    keys: list[Hashable]  # of the kernel's buffers, in order
    used: list[dict[Hashable, None]]  # what each of the clusters uses
    writes: set[Hashable]
    call: int = -1
    note: str = ""
    prepared: bool = False
    branches: int = 0  # of clusters that run side by side
    outside: bool = False  # of a body: what its clusters call their values means nothing here

    def moments(self) -> list[tuple[Cluster, dict[Hashable, None]]]:
        """Its clusters, each with what it uses: they run one after the other."""
        if self.outside:
            return [(Cluster(-1, TOGETHER), used) for used in self.used]
        rows = list(zip(self.clusters, self.used, strict=True))
        return one_moment(rows) if self.branches else rows


@dataclass
class _Marked:
    """A mark among the launches; `mark` makes it, given the numbers of buffers."""

    mark: Callable[[Callable[[Hashable], int]], Mark]
    used: list[dict[Hashable, None]] = field(default_factory=lambda: [{}])
    keys: list[Hashable] = field(default_factory=list)
    writes: set[Hashable] = field(default_factory=set)
    prepared: bool = False

    def moments(self) -> list[tuple[Cluster, dict[Hashable, None]]]:
        return [(Cluster(-1, TOGETHER), self.used[0])]


_Item = _Launched | _Marked


def build_plan(program: Program, target: Any, options: PassOptions | None = None) -> Plan:
    """The launches, buffers and contracts of a step. `target` needs `vector_bits`, `registers`
    and `l2` (see codegen/target.py)."""
    return _Planner(program, target, options or PassOptions()).run()


class _Planner(Outline):
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

    def run(self) -> Plan:
        items = self.items()
        self._keep(items)
        return self._assemble(items)

    def items(self) -> list[_Item]:
        """Launches in order, those first that prepare for every run, with marks among them."""
        items: list[_Item] = []
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
        items.sort(key=lambda it: not it.prepared)
        return items

    def _keep(self, launches: list[_Item]) -> None:
        """What launches of every run use of what is settled stays in memory from run to run."""
        settled = self.fusion.settled
        of_every_run: set[Hashable] = set()
        for launched in launches:
            for used in () if launched.prepared else launched.used:
                # The operands of what was packed are not needed any more.
                for key in list(used):
                    if isinstance(key, Tensor) and key in settled and key not in launched.keys:
                        del used[key]
                of_every_run.update(used)
        for launched in launches:
            for key in launched.writes if launched.prepared else ():
                if key in of_every_run:
                    self.places[key] = Place(KEPT, 0)

    # -- kernels ------------------------------------------------------------------------------

    def _lower(self, clusters: list[Cluster], branches: list[list[Cluster]]) -> list[_Launched]:
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

        def lower(cluster: Cluster) -> None:
            workspaces = len(builder.workspaces)
            builder.reads.clear()
            builder.writes.clear()
            lowering.cluster(builder, cluster)
            writes.update(builder.writes)
            mine = self.touched(cluster) | builder.reads | builder.writes
            used.append(mine | dict.fromkeys(builder.workspaces[workspaces:]))

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
        # A kernel that fails goes on to its end, and only then is the evidence looked at.
        for site in self.sites.sites[sites:]:
            used[-1] |= dict.fromkeys(site.buffers)
        name = _kernel_name(clusters)
        kernel, keys = _kernel(name, builder, builder.workspaces)
        launched = _Launched(
            clusters, kernel, keys, used, writes, prepared=prepared, branches=len(branches)
        )
        for cluster in clusters:
            cluster.fallible = cluster.fallible or builder.fallible
        once = builder.preparation
        if once is None or not once.blocks[0]:
            return [launched]
        kernel, keys = _kernel(f"prepare_{name}", once, once.kept)
        moment, note = Cluster(-1, PREPARATION), "computed only when a variable has changed"
        return [
            _Launched(
                [moment], kernel, keys, [dict.fromkeys(keys)], set(once.kept), -1, note, True
            ),
            launched,
        ]

    def _host_call(self, cluster: Cluster) -> _Launched:
        node = cluster.nodes[0]
        inputs = tuple(self.storage_of(t) for t in node.inputs)
        outputs = tuple(t for t in node.outputs if t.dtype.kind != "token")
        self.calls.append((node, inputs, outputs))
        keys = list(dict.fromkeys((*inputs, *outputs)))
        used = [dict.fromkeys(keys)]
        return _Launched([cluster], None, keys, used, set(outputs), len(self.calls) - 1)

    # -- assembly -----------------------------------------------------------------------------

    def _assemble(self, items: list[_Item]) -> Plan:
        found = self.arrange([row for it in items for row in it.moments()])
        launches = [item for item in items if isinstance(item, _Launched)]
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
        for number, launched in enumerate(launches):
            if writers & launched.writes:
                commit = min(commit, number)
        numbers = iter(range(len(launches)))
        steps = tuple(
            next(numbers) if isinstance(item, _Launched) else item.mark(self.ids.__getitem__)
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
            len(launched.moments()),
        )

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


class BodyPlanner:
    """Plans an operation with bodies: what comes before it, its bodies between marks, what comes
    after.

    A body is planned as a program of its own. Its parameters and results are memory of the program
    around it; the values that iterations hand on are to it what variables are to a run, so a new
    one is written over the old one where that is safe, and otherwise the two change places.
    """

    def __init__(self, around: _Planner, node: Node, note: str):
        self.around = around
        self.node = node
        self.note = note
        self.before: list[_Item] = []
        self.after: list[_Item] = []
        # What has to stay in memory from the first iteration to the last.
        self.spanning: dict[Hashable, None] = {}

    def items(self) -> list[_Item]:
        if self.node.op is cond_op:
            return self._choice()
        return self._loop()

    # -- branches -----------------------------------------------------------------------------

    def _choice(self) -> list[_Item]:
        node, around = self.node, self.around
        predicate, *operands = [self._place(tensor) for tensor in node.inputs]
        marks: list[_Item] = [
            _Marked(lambda ids: Choose(ids(predicate), node), [{predicate: None}]),
            _Marked(lambda ids: Otherwise()),
        ]
        outputs = {tensor: None for tensor in node.outputs}
        found: list[_Item] = []
        for mark, region in zip(marks, node.regions, strict=True):
            known = dict(zip(region.parameters, operands, strict=True))
            program = _body_program(around.program, region.parameters, region.results, {}, region)
            sub = self._planner(program, Inside({}, ()))
            for (key, _), tensor in zip(sub.outputs, node.outputs, strict=True):
                known[key] = tensor
            found += [mark, *self._within(sub, known)]
        end = _Marked(lambda ids: End(), [outputs])
        return [*self.before, *found, end]

    # -- loops --------------------------------------------------------------------------------

    def _loop(self) -> list[_Item]:
        node, around = self.node, self.around
        attrs, (region,) = node.attrs, node.regions
        scan = node.op is scan_op
        given = node.inputs if scan else node.inputs[1:]
        bounds: Sequence[Tensor] = ()
        if scan:
            bounds, starts, sequences, captured = split_scan(given, attrs)
        else:
            count = attrs["variables"]
            starts, sequences, captured = given[:count], (), given[count:]
        carries, moving = len(starts), len(sequences)
        own = region.parameters[:carries]
        rows = region.parameters[carries : carries + moving]
        lasting = region.parameters[carries + moving :]
        results = region.results if scan else region.results[1:]
        variables = [_Carried(number) for number in range(carries)]
        updates = dict(zip(variables, results[:carries], strict=True))
        flags = [] if scan else [region.results[0]]
        program = _body_program(
            around.program, [*rows, *lasting], [*flags, *results[carries:]], updates, region
        )
        sub = self._planner(program, Inside(dict(zip(own, variables, strict=True)), set(lasting)))

        known: dict[Hashable, Hashable] = {}
        swaps: list[tuple[Hashable, Hashable]] = []
        begin: list[tuple[Hashable, Tensor]] = []  # memory, and what is in it at first
        end: list[tuple[Tensor, Hashable]] = []  # results, and where they are at last
        for variable, parameter, start, result in zip(
            variables, own, starts, node.outputs, strict=False
        ):
            state = sub.states[variable]
            here: Hashable = result
            in_place = state["write"] is None or variable in sub.schedule.in_place
            if not in_place and result in around.places:
                here = self._memory(result, ARENA)
                end.append((result, here))
            known[parameter] = here
            if state["write"] is not None:
                there = here if in_place else self._memory(result, ARENA)
                known[state["write"]] = there
                if not in_place:
                    swaps.append((here, there))
                    self.spanning[there] = None
            self.spanning[here] = None
            begin.append((here, start))
        outside: list[tuple[Hashable, Hashable, Dim]] = []  # row, the whole, bytes of a row
        for parameter, sequence in zip(rows, sequences, strict=True):
            row = known[parameter] = self._memory(parameter, ROW)
            outside.append((row, self._place(sequence), _bytes(parameter)))
        known.update(zip(lasting, map(self._place, captured), strict=True))
        fetched = [key for key, _ in sub.outputs]
        go_on: Hashable = None
        if not scan:
            go_on = known[fetched.pop(0)] = self._memory(region.results[0], ARENA)
            begin.append((go_on, node.inputs[0]))
            self.spanning[go_on] = None
        for key, value, stack in zip(
            fetched, results[carries:], node.outputs[carries:], strict=True
        ):
            whole: Hashable = stack
            if not scan and stack in around.places:
                whole = self._memory(stack, STACK)
                end.append((stack, whole))
            elif not scan:
                around.places[stack] = Place(STACK, 0)
            row = known[key] = self._memory(value, ROW)
            outside.append((row, whole, _bytes(value)))
        for row, whole, _ in outside:
            self.spanning[row] = self.spanning[whole] = None
        bound = self._place(bounds[0]) if bounds else None
        if bound is not None:
            self.spanning[bound] = None
        body = self._within(sub, known)
        self._copied(begin, "begin", self.before)
        if bound is not None:
            stacks = node.outputs[carries:]
            self._cleared(stacks, bounds[0])
        if end:
            self._copied([(result, key) for result, key in end], "end", self.after)

        def mark(ids: Callable[[Hashable], int]) -> Mark:
            return Repeat(
                -1 if go_on is None else ids(go_on),
                attrs["length"] if scan else 0,
                -1 if bound is None else ids(bound),
                bool(scan and attrs["reverse"]),
                tuple(Row(ids(row), ids(whole), size) for row, whole, size in outside),
                tuple((ids(a), ids(b)) for a, b in swaps),
                None if scan else attrs["trips"],
                node,
            )

        span = [dict(self.spanning)]
        first, last = _Marked(mark, span), _Marked(lambda ids: End(), span)
        return [*self.before, first, *body, last, *self.after]

    def _copied(self, rows: Sequence[tuple[Hashable, Any]], what: str, into: list[_Item]) -> None:
        """A launch that puts values where they are wanted: tensors, or what is in memory."""
        around = self.around
        if not rows:
            return
        builder = KernelBuilder(
            around.sites, around.storage_of, around.describe, [key for key, _ in rows]
        )
        for key, value in rows:
            dims = around.describe(key).shape
            with elements(builder, product(dims), 4.0) as position:
                if isinstance(value, Tensor):
                    element = builder.at(value, position)
                else:
                    element = loop.Load(builder.buffer(value, write=False), builder.index(position))
                builder.store(key, position, element)
        self._emit(builder, f"{what}_{self.node.op.name}", into)

    def _cleared(self, stacks: Sequence[Tensor], bound: Tensor) -> None:
        """A launch that fills the rows with zeros that no iteration comes to."""
        around = self.around
        if not stacks:
            return
        builder = KernelBuilder(around.sites, around.storage_of, around.describe, stacks)
        for stack in stacks:
            length, *dims = stack.dims
            count = loop.cast(builder.at(bound, builder.math.constant(0)), int64)
            rows = loop.apply("minimum", loop.apply("maximum", count, loop.ZERO),
                              loop.index(length))  # fmt: skip
            first = builder.let(loop.mul(rows, loop.index(product(dims))))
            rest = loop.apply("sub", loop.index(product(stack.dims)), first)
            var = loop.Var(builder.name("i"))
            store = loop.Store(
                builder.buffer(stack, write=True),
                loop.add(first, var),
                loop.Const(0.0 if stack.dtype.is_floating else 0, stack.dtype),
            )
            builder.emit(loop.For(var, rest, loop.VECTOR, (store,)))
        self._emit(builder, "clear_rows", self.after)

    def _emit(self, builder: KernelBuilder, name: str, into: list[_Item]) -> None:
        kernel, keys = _kernel(name, builder, builder.workspaces)
        used = builder.reads | builder.writes
        moment = Cluster(-1, TOGETHER)
        into.append(_Launched([moment], kernel, keys, [used], set(builder.writes), -1, self.note))

    # -- bodies -------------------------------------------------------------------------------

    def _planner(self, program: Program, inside: Inside) -> _Planner:
        around = self.around
        return _Planner(program, around.target, around.options, inside, around.sites)

    def _place(self, tensor: Tensor) -> Hashable:
        """The memory of an operand."""
        key = self.around.storage_of(tensor)
        if key is None:
            raise InternalError(f"{self.node.op.name}: {tensor!r} is not in memory")
        return key

    def _memory(self, tensor: Tensor, place: str) -> Inner:
        """New memory for a value of this type."""
        name = self.node.op.name
        return Inner(Stored(name, tensor.dtype, tuple(tensor.dims), Place(place, 0)))

    def _within(self, sub: _Planner, known: dict[Hashable, Hashable]) -> list[_Item]:
        """The launches of a body over the memory of the program around it; `known` says which
        memory its parameters and results are."""
        around = self.around
        sites, calls = len(around.sites.sites), len(around.calls)
        items = sub.items()
        rows = [row for item in items for row in item.moments()]
        over: dict[Tensor, Tensor] = {}
        if "memory.in_place" not in around.disable:
            first: dict[Hashable, int] = {}
            last: dict[Hashable, int] = {}
            for number, (_, keys) in enumerate(rows):
                for key in keys:
                    first.setdefault(key, number)
                    last[key] = number
            over = reuse([cluster for cluster, _ in rows], sub.places, first, last)
        mapped = dict(known)

        def here(key: Hashable) -> Hashable:
            key = over.get(key, key)  # type: ignore[call-overload]
            if key in mapped:
                return mapped[key]
            if isinstance(key, Inner):
                found: Hashable = key
            elif isinstance(key, Tensor) and key.node.op.name == "constant":
                found = around.storage_of(key)
            else:
                found = Inner(sub.stored(key))
            mapped[key] = found
            return found

        result: list[_Item] = []
        for item in items:
            item.keys = [here(key) for key in item.keys]
            item.used = [{here(key): None for key in used} for used in item.used]
            item.writes = {here(key) for key in item.writes}
            if isinstance(item, _Marked):
                make = item.mark
                item.mark = lambda ids, make=make: make(lambda key: ids(here(key)))  # type: ignore
                result.append(item)
                continue
            if item.call >= 0:
                item.call += calls
            # What it computed in place is known by now; its clusters mean nothing outside.
            item.outside = True
            if item.prepared:
                item.prepared = all(
                    self._is_settled(key) for key in item.keys if key not in item.writes
                )
                self.spanning.update(dict.fromkeys(item.writes))
                self.before.append(item)
                continue
            result.append(item)
        for number, site in enumerate(around.sites.sites[sites:], sites):
            keys = tuple(here(key) for key in site.buffers)
            around.sites.sites[number] = replace(site, buffers=keys)
        around.calls += [
            (node, tuple(map(here, inputs)), tuple(map(here, outputs)))
            for node, inputs, outputs in sub.calls
        ]
        given = set(known.values())
        for item in result:
            for used in item.used:
                self.spanning.update({key: None for key in used if key in given})
        return result

    def _is_settled(self, key: Hashable) -> bool:
        return isinstance(key, Tensor) and (
            key in self.around.fusion.settled or key.node.op.name == "constant"
        )


@dataclass(frozen=True)
class _Carried:
    """What a body's program calls a value that iterations hand on."""

    number: int


def _bytes(tensor: Tensor) -> Dim:
    return multiply(product(tensor.dims), tensor.dtype.bytes)


def _body_program(around: Program, feeds, fetches, updates, region: Region) -> Program:
    return Program(tuple(feeds), tuple(fetches), updates, region.effects, around.interner)


def _side_by_side(builder: KernelBuilder, tasks: Sequence[tuple[Stmt, ...]]) -> Stmt:
    """for t parallel:  task number t"""
    var = loop.Var(builder.name("t"))
    chosen = tasks[-1]
    for number in range(len(tasks) - 2, -1, -1):
        here = loop.apply("eq", var, loop.Const(number))
        chosen = (loop.If(here, tasks[number], chosen),)
    return loop.For(var, loop.Const(len(tasks)), loop.PARALLEL, chosen, 1)


def _kernel(
    name: str, builder: KernelBuilder, workspaces: Sequence[Buffer]
) -> tuple[Kernel, list[Hashable]]:
    """What was built as a kernel, and the keys of its buffers: those that it uses."""
    body = tuple(builder.blocks[0])
    used = loop.targets(body)
    rows = [row for row in builder.buffers.items() if row[1] in used]
    rows += [(buffer, buffer) for buffer in workspaces if buffer in used]
    buffers = tuple(buffer for _, buffer in rows)
    return Kernel(name, buffers, body), [key for key, _ in rows]


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
