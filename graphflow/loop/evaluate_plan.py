"""Runs a whole Plan with NumPy, by the kernel evaluator: the oracle of fusion, order and memory.

With separate memory for every buffer, each launch may read only what an earlier one stored. With a
shared arena the buffers lie where the Plan puts them and are overwritten with rubbish after the
last launch that needs them, so that a lifetime that is too short gives a wrong answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .. import errors
from ..plan import ARENA, FEED, STATE_IN, Plan, PlanBuffer
from ..sizes import product
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
    sizes = SizeValues(bindings or {})
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
        if buffer.id in values:
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

    moment = 0
    for launch in plan.launches:
        if launch.kernel is None:
            _host_call(plan, launch.call, buffers, values, stored, sizes)
        else:
            _launch(plan, launch, values, stored, sizes, vectorize, backward)
        if arena is not None:
            arena.spoil(moment, moment + launch.moments, arena_buffers)
            moment += launch.moments

    def shaped(id_: int, shape) -> np.ndarray:
        defined = stored[id_]
        if defined is not None and not defined.all():
            raise AccessError(f"no launch stored element {int(np.argmin(defined))} of "
                              f"{buffers[id_].name}")  # fmt: skip
        return values[id_].reshape(tuple(sizes(dim) for dim in shape)).copy()

    outputs = [shaped(output.buffer, output.shape) for output in plan.outputs]
    after: list[np.ndarray | None] = []
    for state, value in zip(plan.states, states, strict=True):
        if state.write >= 0:
            after.append(shaped(state.write, buffers[state.write].shape))
        else:
            after.append(value)
    return outputs, after


def _launch(plan, launch, values, stored, sizes, vectorize, backward) -> None:
    def fail(site: int, first: int, second: int) -> None:
        found = plan.sites[site]
        raise getattr(errors, found.error)(found.message.format(first, second))

    kernel = launch.kernel
    memories = [
        Memory(kernel.name, buffer.name, values[id_], stored[id_])
        for buffer, id_ in zip(kernel.buffers, launch.buffers, strict=True)
    ]
    failures: list[tuple[int, int, int]] = []
    run_memories(
        kernel, memories, sizes, (), lambda *f: failures.append(f),
        vectorize=vectorize, backward=backward,
    )  # fmt: skip
    if failures:
        fail(*failures[0])


def _host_call(plan, number, buffers, values, stored, sizes) -> None:
    call = plan.calls[number]

    def shape(id_: int) -> tuple[int, ...]:
        return tuple(sizes(dim) for dim in buffers[id_].shape)

    results = call.function(*(values[id_].reshape(shape(id_)).copy() for id_ in call.inputs))
    if not isinstance(results, (tuple, list)):
        results = () if results is None else (results,)
    for id_, result in zip(call.outputs, results, strict=True):
        values[id_][:] = np.asarray(result, buffers[id_].dtype.numpy).reshape(-1)
        if stored[id_] is not None:
            stored[id_][:] = True
