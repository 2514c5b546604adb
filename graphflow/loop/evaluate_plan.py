"""Runs a whole Plan with NumPy, by the kernel evaluator: the oracle of fusion, order and memory.

With separate memory for every buffer, each launch may read only what an earlier one stored. With a
shared arena the buffers lie where the Plan puts them and are overwritten with rubbish after the
last launch that needs them, so that a lifetime that is too short gives a wrong answer.
Marks of loops and branches are followed as the step follows them: rows are parts of the memory of
their whole, what changes places does, and memory of sizes that loops find out comes when they do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import errors
from ..plan import (
    ARENA,
    FEED,
    LATE,
    OUTPUT,
    ROW,
    STACK,
    STATE_IN,
    Advance,
    Choose,
    End,
    Otherwise,
    Plan,
    PlanBuffer,
    Repeat,
    Row,
)
from ..sizes import Dim, Size, is_trip_symbol, product, symbols_of
from .evaluate import SizeValues, run_memories
from .memory import AccessError, Memory

_RUBBISH = 0xA5
_ALIGNMENT = 64


@dataclass
class _Arena:
    """One block of bytes for all arena buffers, at the Plan's offsets or, where sizes were unknown
    to it, first fit by lifetime."""

    bytes: np.ndarray
    ranges: dict[int, tuple[int, int]]

    @staticmethod
    def of(buffers: Sequence[PlanBuffer], sizes: SizeValues) -> _Arena:
        ranges: dict[int, tuple[int, int]] = {}
        for buffer in buffers:
            count = sizes(buffer.bytes)
            if buffer.offset >= 0:
                ranges[buffer.id] = (buffer.offset, buffer.offset + count)
                continue
            taken = sorted(
                ranges[other.id]
                for other in buffers
                if other.id in ranges and other.first <= buffer.last and buffer.first <= other.last
            )
            start = 0
            for begin, end in taken:
                if start + count <= begin:
                    break
                start = max(start, -(-end // _ALIGNMENT) * _ALIGNMENT)
            ranges[buffer.id] = (start, start + count)
        total = max((end for _, end in ranges.values()), default=0)
        return _Arena(np.full(total, _RUBBISH, np.uint8), ranges)

    def spoil(self, begin: int, end: int, buffers: Sequence[PlanBuffer]) -> None:
        """Overwrites the buffers last used by a launch that took the moments from `begin` to
        before `end`, except where others still live."""
        alive = np.zeros(self.bytes.size, bool)
        for buffer in buffers:
            if buffer.first < end <= buffer.last:
                alive[slice(*self.ranges[buffer.id])] = True
        for buffer in buffers:
            if begin <= buffer.last < end:
                where = slice(*self.ranges[buffer.id])
                self.bytes[where][~alive[where]] = _RUBBISH


def run_plan(
    plan: Plan,
    feeds: Sequence[np.ndarray],
    states: Sequence[np.ndarray | None] = (),
    bindings: Mapping | None = None,
    *,
    shared_arena: bool = False,
    vectorize: bool = True,
    backward: bool = False,
) -> tuple[list[np.ndarray], list[np.ndarray | None]]:
    """(outputs, values of the states afterwards) of one run of a Plan.

    feeds: arrays in the order of `plan.feeds`. states: the variables' values in the order of
    `plan.states`, None where the step only writes. bindings: a number for each symbol. The
    arguments are not changed. `vectorize` and `backward` are those of `run_kernel`.
    Raises the error of a Site, with its message, when a check fails, AccessError for a wrong
    access or a read of something no launch stored.
    """
    late = {s: 0 for s in symbols_of(plan.values()) if is_trip_symbol(s)}
    sizes = SizeValues({**late, **(bindings or {})})
    buffers = {buffer.id: buffer for buffer in plan.buffers}
    arena_buffers = [buffer for buffer in plan.buffers if buffer.place == ARENA]
    arena = _Arena.of(arena_buffers, sizes) if shared_arena else None
    values: dict[int, np.ndarray] = {}
    stored: dict[int, np.ndarray | None] = {}

    def give(id_: int, array: np.ndarray) -> None:
        values[id_] = np.array(array, buffers[id_].dtype.numpy, order="C").reshape(-1)
        stored[id_] = None

    for id_, array in zip(plan.feeds, feeds, strict=True):
        give(id_, array)
    for id_, constant in plan.constants:
        give(id_, constant.array)
    for state, value in zip(plan.states, states, strict=True):
        if state.read >= 0:
            if value is None:
                raise errors.FailedPreconditionError(f"{state.variable} has no value")
            give(state.read, value)
        if state.write >= 0 and state.in_place:
            if state.read >= 0:
                values[state.write], stored[state.write] = values[state.read], None
            elif value is not None:
                give(state.write, value)
    for buffer in plan.buffers:
        if buffer.id in values or buffer.place == ROW:
            continue
        if buffer.place in (FEED, STATE_IN):
            raise AccessError(f"the plan never gives {buffer.name} a value")
        if buffer.place == ARENA and arena is not None:
            begin, end = arena.ranges[buffer.id]
            held = arena.bytes[begin:end].view(buffer.dtype.numpy)
            values[buffer.id] = held[: sizes(product(buffer.shape))]
            stored[buffer.id] = None
        else:
            values[buffer.id] = np.zeros(sizes(product(buffer.shape)), buffer.dtype.numpy)
            stored[buffer.id] = np.zeros(values[buffer.id].size, bool)

    run = _Run(plan, values, stored, sizes, arena, arena_buffers, (vectorize, backward))
    run.steps(0, len(run.order))

    outputs = [run.shaped(output.buffer, output.shape) for output in plan.outputs]
    after: list[np.ndarray | None] = []
    for state, value in zip(plan.states, states, strict=True):
        if state.write >= 0:
            after.append(run.shaped(state.write, buffers[state.write].shape))
        else:
            after.append(value)
    return outputs, after


@dataclass
class _Run:
    """A run under way: what each buffer is at the moment, by number."""

    plan: Plan
    values: dict[int, Any]  # arrays
    stored: dict[int, Any]  # which of their elements are; None for all
    sizes: SizeValues
    arena: _Arena | None
    arena_buffers: Sequence[PlanBuffer]
    how: tuple[bool, bool]

    def __post_init__(self) -> None:
        plan = self.plan
        self.order: Sequence = plan.steps or range(len(plan.launches))
        self.moments = []  # at which each step begins
        self.ends: dict[int, list[int]] = {}  # of a mark: where what it begins goes on, and ends
        moment, under_way = 0, []
        for number, step in enumerate(self.order):
            self.moments.append(moment)
            moment += plan.launches[step].moments if isinstance(step, int) else 1
            if isinstance(step, (Repeat, Choose)):
                under_way.append(number)
                self.ends[number] = []
            elif isinstance(step, (Otherwise, End)):
                self.ends[under_way[-1]].append(number)
                if isinstance(step, End):
                    under_way.pop()
        self.moments.append(moment)
        self.late = {
            buffer.id: buffer
            for buffer in plan.buffers
            if buffer.place in (LATE, STACK)
            or (buffer.place == OUTPUT and any(map(is_trip_symbol, symbols_of(buffer.shape))))
        }

    def steps(self, number: int, end: int) -> None:
        while number < end:
            step, last = self.order[number], number
            if isinstance(step, int):
                self._launch(self.plan.launches[step])
            elif isinstance(step, Repeat):
                last = self.ends[number][-1]
                self._after(number)
                self._repeat(step, number + 1, last)
            elif isinstance(step, Choose):
                middle, last = self.ends[number]
                taken = bool(self.values[step.predicate][0])
                self._after(number)
                self.steps(*((number + 1, middle) if taken else (middle + 1, last)))
            elif isinstance(step, Advance):
                self._bind({size: self.sizes(now) for size, now in step.sizes})
            self._after(last)
            number = last + 1

    def _after(self, number: int) -> None:
        if self.arena is not None:
            begin, end = self.moments[number : number + 2]
            self.arena.spoil(begin, end, self.arena_buffers)

    def _repeat(self, mark: Repeat, begin: int, end: int) -> None:
        count = self.sizes(mark.count)
        if mark.bound >= 0:
            count = max(0, min(count, int(self.values[mark.bound][0])))
        here = 0
        while here < count if mark.predicate < 0 else self.values[mark.predicate][0]:
            self._rows(mark, count - 1 - here if mark.reverse else here)
            self.steps(begin, end)
            for a, b in mark.swaps:
                for table in (self.values, self.stored):
                    table[a], table[b] = table[b], table[a]
            here += 1
        if mark.trips is not None:
            self._bind({mark.trips: here})

    def _rows(self, mark: Repeat, here: int) -> None:
        places = {buffer.id: buffer for buffer in self.plan.buffers}
        for row in mark.rows:
            if row.begin is None:
                self._row(row, here * self.sizes(row.bytes), places[row.of])
        self._bind({size: int(self.values[id_][0]) for size, id_ in mark.sizes})
        for row in mark.rows:
            if row.begin is not None:
                self._row(row, self.sizes(row.begin), places[row.of])

    def _row(self, row: Row, begin: int, whole: PlanBuffer) -> None:
        first, size = begin // whole.dtype.bytes, self.sizes(row.bytes) // whole.dtype.bytes
        if whole.place == STACK:
            self._resize(row.of, max(first + size, self.values[row.of].size))
        for table in (self.values, self.stored):
            array = table[row.of]
            table[row.id] = None if array is None else array[first : first + size]

    def _bind(self, found: Mapping[Size, int]) -> None:
        """Sizes become known, and with them what depends on them, which keeps what is in it. Only
        what is fetched ever gets smaller: what a body has computed may still be read."""
        symbols: dict = {Size.of(s): value for s, value in self.sizes.symbols.items()}
        self.sizes = SizeValues({**symbols, **found})
        for buffer in self.late.values():
            if not set(found).isdisjoint(map(Size.of, symbols_of(buffer.shape))):
                count = self.sizes(product(buffer.shape))
                least = 0 if buffer.place == OUTPUT else self.values[buffer.id].size
                self._resize(buffer.id, max(count, least))

    def _resize(self, id_: int, count: int) -> None:
        for table in (self.values, self.stored):
            before = table[id_]
            if before is not None and before.size != count:
                after = np.zeros(count, before.dtype)
                after[: before.size] = before[:count]
                table[id_] = after

    def _launch(self, launch) -> None:
        if launch.kernel is None:
            self._host_call(launch.call)
        else:
            self._kernel(launch)

    def _kernel(self, launch) -> None:
        kernel = launch.kernel
        memories = []
        for buffer, id_ in zip(kernel.buffers, launch.buffers, strict=True):
            values, stored = self.values[id_], self.stored[id_]
            if id_ in self.late:  # there may be room for more
                count = self.sizes(buffer.size)
                values, stored = values[:count], stored if stored is None else stored[:count]
            memories.append(Memory(kernel.name, buffer.name, values, stored))
        failures: list[tuple[int, int, int]] = []
        vectorize, backward = self.how
        run_memories(
            kernel, memories, self.sizes, (), lambda *f: failures.append(f),
            vectorize=vectorize, backward=backward,
        )  # fmt: skip
        for site, first, second in failures[:1]:
            found = self.plan.sites[site]
            raise getattr(errors, found.error)(found.message.format(first, second))

    def _host_call(self, number: int) -> None:
        call = self.plan.calls[number]
        buffers = {buffer.id: buffer for buffer in self.plan.buffers}
        arrays = (self.shaped(id_, buffers[id_].shape) for id_ in call.inputs)
        results = call.function(*arrays)
        if not isinstance(results, (tuple, list)):
            results = () if results is None else (results,)
        for id_, result in zip(call.outputs, results, strict=True):
            self.values[id_][:] = np.asarray(result, buffers[id_].dtype.numpy).reshape(-1)
            defined = self.stored[id_]
            if defined is not None:
                defined[:] = True

    def shaped(self, id_: int, shape: Sequence[Dim]) -> np.ndarray:
        """A copy of what a buffer holds; all of it has been stored."""
        dims = tuple(self.sizes(dim) for dim in shape)
        count = math.prod(dims)
        defined = self.stored[id_]
        if defined is not None and not defined[:count].all():
            name = next(buffer.name for buffer in self.plan.buffers if buffer.id == id_)
            raise AccessError(f"no launch stored element {int(np.argmin(defined))} of {name}")
        return self.values[id_][:count].reshape(dims).copy()
