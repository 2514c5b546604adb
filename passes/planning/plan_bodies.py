"""Plans operations with bodies: loops and branches."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ...dtypes import int64
from ...errors import InternalError
from ...ir.node import Node, Region, Tensor
from ...ir.program import Program
from ...loop import nodes as loop
from ...ops.control_flow import cond_op, scan_op, split_scan
from ...plan import ARENA, LATE, ROW, STACK, Advance, Choose, End, Mark, Otherwise, Repeat, Row
from ...sizes import Dim, Shape, maximum, multiply, product
from ..analysis.bodies import Inside
from ..fusion.cluster import TOGETHER, Cluster
from ..lowering.context import KernelBuilder
from ..lowering.loops import elements
from .memory import reuse
from .places import Inner, Place, Stored, is_late
from .plan_items import Item, Launched, Marked, made_kernel

if TYPE_CHECKING:
    from .build_plan import Planner


class BodyPlanner:
    """Plans an operation with bodies: what comes before it, its bodies between marks, what comes
    after.

    A body is planned as a program of its own. Its parameters and results are memory of the program
    around it; the values that iterations hand on are to it what variables are to a run, so a new
    one is written over the old one where that is safe, and otherwise the two change places.
    """

    def __init__(self, around: Planner, node: Node, note: str):
        self.around = around
        self.node = node
        self.note = note
        self.before: list[Item] = []
        self.after: list[Item] = []
        # What has to stay in memory from the first iteration to the last.
        self.spanning: dict[Hashable, None] = {}

    def items(self) -> list[Item]:
        if self.node.op is cond_op:
            return self._choice()
        return self._loop()

    # -- branches -----------------------------------------------------------------------------

    def _choice(self) -> list[Item]:
        node, around = self.node, self.around
        predicate, *operands = [self._place(tensor) for tensor in node.inputs]
        marks: list[Item] = [
            Marked(lambda ids: Choose(ids(predicate), node), [{predicate: None}]),
            Marked(lambda ids: Otherwise()),
        ]
        outputs: dict[Hashable, None] = dict.fromkeys(node.outputs)
        found: list[Item] = []
        for mark, region in zip(marks, node.regions, strict=True):
            known: dict[Hashable, Hashable] = {}
            known.update(zip(region.parameters, operands, strict=True))
            program = _body_program(around.program, region.parameters, region.results, {}, region)
            sub = self._planner(program, Inside({}, ()))
            for (key, _), tensor in zip(sub.outputs, node.outputs, strict=True):
                known[key] = tensor
            found += [mark, *self._within(sub, known)]
        end = Marked(lambda ids: End(), [outputs])
        return [*self.before, *found, end]

    # -- loops --------------------------------------------------------------------------------

    def _loop(self) -> list[Item]:
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
        begin: list[_Copy] = []  # what is there at first
        again: list[_Copy] = []  # what is there after an iteration
        rows_of_sizes = attrs.get("varying", ())
        totals = {number: parts for number, *parts in attrs.get("totals", ())}
        varying = {number for number, *_ in rows_of_sizes}
        end: list[_Copy] = []  # results, and where they are at last
        for variable, parameter, start, result in zip(
            variables, own, starts, node.outputs, strict=False
        ):
            state = sub.states[variable]
            here: Hashable = result
            there: Hashable
            in_place = state["write"] is None or variable in sub.schedule.in_place
            if variable.number in varying or (is_late(parameter.dims) and not in_place):
                # Of another size in each iteration: the next value is copied to where there is room
                # for both. What has a size that some loop finds out is in memory that may move when
                # another one does, so it cannot change places.
                after = updates[variable]
                count = maximum(product(parameter.dims), product(after.dims))
                name = node.op.name
                here = Inner(Stored(name, parameter.dtype, (count,), Place(LATE, 0)))
                known[parameter] = here
                if state["write"] is not None:
                    there = known[state["write"]] = self._memory(after, LATE)
                    self.spanning[there] = None
                    again.append((here, there, after.dims))
                self.spanning[here] = None
                begin.append((here, start, start.dims))
                end.append((result, here, result.dims))
                continue
            if not in_place and result in around.places:
                here = self._memory(result, ARENA)
                end.append((result, here, result.dims))
            known[parameter] = here
            if state["write"] is not None:
                there = here if in_place else self._memory(result, ARENA)
                known[state["write"]] = there
                if not in_place:
                    swaps.append((here, there))
                    around.twins.append((here, there))
                    self.spanning[there] = None
            self.spanning[here] = None
            begin.append((here, start, start.dims))
        # Row, the whole, bytes of a row, and of those before where they differ.
        outside: list[tuple[Hashable, Hashable, Dim, Dim | None]] = []
        for parameter, sequence in zip(rows, sequences, strict=True):
            row: Hashable = self._memory(parameter, ROW)
            known[parameter] = row
            outside.append((row, self._place(sequence), _bytes(parameter), None))
        told = [(size, outside[number][0]) for number, size in enumerate(attrs.get("sizes", ()))]
        known.update(zip(lasting, map(self._place, captured), strict=True))
        fetched = [key for key, _ in sub.outputs]
        go_on: Hashable = None
        if not scan:
            go_on = known[fetched.pop(0)] = self._memory(region.results[0], ARENA)
            begin.append((go_on, node.inputs[0], ()))
            self.spanning[go_on] = None
        for number, (key, value, stack) in enumerate(
            zip(fetched, results[carries:], node.outputs[carries:], strict=True)
        ):
            whole: Hashable = stack
            grows = not scan or number in totals
            if grows and stack in around.places:
                whole = self._memory(stack, STACK)
                end.append((stack, whole, stack.dims))
            elif grows:
                around.places[stack] = Place(STACK, 0)
            row = self._memory(value, ROW)
            known[key] = row
            begin_at = multiply(totals[number][0], value.dtype.bytes) if number in totals else None
            outside.append((row, whole, _bytes(value), begin_at))
        for row, whole, *_ in outside:
            self.spanning[row] = self.spanning[whole] = None
        bound = self._place(bounds[0]) if bounds else None
        if bound is not None:
            self.spanning[bound] = None
        body = self._within(sub, known)
        self._copied(again, "next", body)
        if varying or totals:
            counts = {n: product(results[carries + n].dims) for n in totals}
            first_sizes = (
                *((v, starts[n].dims[axis]) for n, axis, v, _ in rows_of_sizes),
                *((so_far, 0) for so_far, _ in totals.values()),
            )
            next_sizes = (
                *((v, updates[variables[n]].dims[axis]) for n, axis, v, _ in rows_of_sizes),
                *((so_far, so_far + counts[n]) for n, (so_far, _) in totals.items()),
            )
            last_sizes = (
                *((o, v) for _, _, v, o in rows_of_sizes),
                *((total, so_far) for so_far, total in totals.values()),
            )
            self.before.append(Marked(lambda ids: Advance(first_sizes)))
            body.append(Marked(lambda ids: Advance(next_sizes)))
            self.after.append(Marked(lambda ids: Advance(last_sizes)))
        self._copied(begin, "begin", self.before)
        if bound is not None:
            alike = [s for n, s in enumerate(node.outputs[carries:]) if n not in totals]
            self._cleared(alike, bounds[0])
        if end:
            self._copied(end, "end", self.after)

        def mark(ids: Callable[[Hashable], int]) -> Mark:
            return Repeat(
                -1 if go_on is None else ids(go_on),
                attrs["length"] if scan else 0,
                -1 if bound is None else ids(bound),
                bool(scan and attrs["reverse"]),
                tuple(Row(ids(row), ids(whole), size, at) for row, whole, size, at in outside),
                tuple((ids(a), ids(b)) for a, b in swaps),
                tuple((size, ids(row)) for size, row in told),
                None if scan else attrs["trips"],
                node,
            )

        span = [dict(self.spanning)]
        first, last = Marked(mark, span), Marked(lambda ids: End(), span)
        return [*self.before, first, *body, last, *self.after]

    def _copied(self, rows: Sequence[_Copy], what: str, into: list[Item]) -> None:
        """A launch that puts values where they are wanted."""
        around = self.around
        if not rows:
            return
        builder = KernelBuilder(
            around.sites, around.storage_of, around.describe, [key for key, *_ in rows]
        )
        for key, value, dims in rows:
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

    def _emit(self, builder: KernelBuilder, name: str, into: list[Item]) -> None:
        kernel, keys = made_kernel(name, builder, builder.workspaces)
        used = builder.reads | builder.writes
        moment = Cluster(-1, TOGETHER)
        into.append(Launched([moment], kernel, keys, [used], set(builder.writes), -1, self.note))

    # -- bodies -------------------------------------------------------------------------------

    def _planner(self, program: Program, inside: Inside) -> Planner:
        return self.around.of_body(program, inside)

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

    def _within(self, sub: Planner, known: dict[Hashable, Hashable]) -> list[Item]:
        """The launches of a body over the memory of the program around it; `known` says which
        memory its parameters and results are."""
        around = self.around
        sites, calls = len(around.sites.sites), len(around.calls)
        items = sub.items()
        rows = [row for item in items for row in item.moments()]
        over: dict[Hashable, Hashable] = dict(sub.schedule.chained)
        if "memory.in_place" not in around.disable:
            first: dict[Hashable, int] = {}
            last: dict[Hashable, int] = {}
            for number, (_, keys) in enumerate(rows):
                for key in keys:
                    first.setdefault(key, number)
                    last[key] = number
            over.update(reuse([cluster for cluster, _ in rows], sub.places, first, last))
        mapped = dict(known)

        def here(key: Hashable) -> Hashable:
            key = over.get(key, key)
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

        result: list[Item] = []
        for item in items:
            item.keys = [here(key) for key in item.keys]
            item.used = [{here(key): None for key in used} for used in item.used]
            item.writes = {here(key) for key in item.writes}
            if isinstance(item, Marked):
                make = item.mark
                item.mark = partial(_translated, make, here)
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
            evidence: Any = tuple(here(key) for key in site.buffers)
            around.sites.sites[number] = replace(site, buffers=evidence)
        around.calls += [
            (node, tuple(map(here, inputs)), tuple(map(here, outputs)))
            for node, inputs, outputs in sub.calls
        ]
        around.twins += [(here(a), here(b)) for a, b in sub.twins]
        given = set(known.values())
        for item in result:
            for used in item.used:
                self.spanning.update(
                    {key: None for key in used if key in given and not self._is_packed(key, item)}
                )
        return result

    def _is_packed(self, key: Hashable, item: Item) -> bool:
        """Whether a launch has no use for a settled operand, since it was packed before."""
        return isinstance(item, Launched) and key not in item.keys and self._is_settled(key)

    def _is_settled(self, key: Hashable) -> bool:
        return isinstance(key, Tensor) and (
            key in self.around.fusion.settled or key.node.op.name == "constant"
        )


def _translated(make, here, ids) -> Mark:
    """A mark of a body, given the numbers of buffers of the program around it."""
    return make(lambda key: ids(here(key)))


# Memory, what is to be in it, a tensor or what is in other memory, and its shape.
_Copy = tuple[Hashable, Any, Shape]


@dataclass(frozen=True)
class _Carried:
    """What a body's program calls a value that iterations hand on."""

    number: int


def _bytes(tensor: Tensor) -> Dim:
    return multiply(product(tensor.dims), tensor.dtype.bytes)


def _body_program(around: Program, feeds, fetches, updates, region: Region) -> Program:
    return Program(tuple(feeds), tuple(fetches), updates, region.effects, around.interner)
