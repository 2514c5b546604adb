"""Locals in registers: their elements are SSA values, found by indices that are constant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import InternalError
from ..loop import nodes as loop
from .cpu_values import Linear, Operand, Value, poison

if TYPE_CHECKING:
    from .cpu import Emitter


class NeedsMemory(Exception):
    """A register Local is indexed by something that is not constant."""

    def __init__(self, local: loop.Local):
        super().__init__(local.name)
        self.local = local


def element(e: Emitter, local: loop.Local, index: Operand) -> tuple[int, int]:
    """(position, stride) of a constant index."""
    form = Linear.of(index) if not (isinstance(index, Value) and index.lanes) else None
    if form is None or form.terms:
        raise NeedsMemory(local)
    if form.stride not in (0, 1) and not is_square(e, local, form.stride):
        raise NeedsMemory(local)
    return form.constant, form.stride


def is_square(e: Emitter, local: loop.Local, side: int) -> bool:
    """Whether a tile is `side` vectors of `side` lanes, of which a column can be read."""
    layout = e.layouts.get(id(local))
    return (
        layout is not None
        and local.size == side * side
        and all(lanes == used == side for _, lanes, used in layout)
        and side % max(1, e.lanes) == 0
    )


def read_register(e: Emitter, local: loop.Local, index: Operand) -> Value:
    position, stride = element(e, local, index)
    elements = e.env[id(local)]
    layout = e.layouts.get(id(local))
    if stride > 1:
        start, column = divmod(position, stride)
        turned = e.f.transposed(elements)[column]
        if e.lanes == stride:
            return turned
        return e.f.shuffle(turned, range(start, start + e.lanes))
    if layout is None:
        if not stride:
            return elements[position]
    else:
        segment, offset = segment_of(layout, position)
        start, lanes, _ = layout[segment]
        if not stride:
            return e.f.extract(elements[segment], offset)
        if start == position and lanes == e.lanes:
            return elements[segment]
    vector = poison(local.dtype, e.lanes)
    for lane in range(e.used or e.lanes):
        if layout is None:
            part = elements[position + lane]
        else:
            segment, offset = segment_of(layout, position + lane)
            part = e.f.extract(elements[segment], offset)
        vector = e.f.insert(vector, part, lane)
    return vector


def segment_of(layout: list[tuple[int, int, int]], position: int) -> tuple[int, int]:
    for number, (start, _, used) in enumerate(layout):
        if start <= position < start + used:
            return number, position - start
    raise InternalError(f"element {position} is outside its register tile")


def write_register(e: Emitter, local: loop.Local, index: Operand, value: Value) -> None:
    position, stride = element(e, local, index)
    if stride > 1:
        raise NeedsMemory(local)
    elements = e.env[id(local)]
    layout = e.layouts.get(id(local))
    if not stride:
        if id(local) in e.lane_locals:
            value = e.f.broadcast(value, e.lanes)
        elif value.lanes:
            raise InternalError(f"lanes of {e.name} store to one element of {local.name}")
        if e.mask is not None and e.mask is not e.tail:
            value = e.f.select(e.mask, value, read_register(e, local, index))
        if layout is None:
            elements[position] = value
        else:
            segment, offset = segment_of(layout, position)
            lanes = layout[segment][1]
            elements[segment] = e.f.insert(elements[segment], value, offset) if lanes else value
        return
    value = e.f.broadcast(value, e.lanes)
    if e.mask is not None and e.mask is not e.tail:
        value = e.f.select(e.mask, value, read_register(e, local, index))
    if layout is not None:
        segment, offset = segment_of(layout, position)
        if layout[segment][:2] == (position, e.lanes):
            elements[segment] = value
            return
    for lane in range(e.used or e.lanes):
        part = e.f.extract(value, lane)
        if layout is None:
            elements[position + lane] = part
        else:
            segment, offset = segment_of(layout, position + lane)
            elements[segment] = (
                e.f.insert(elements[segment], part, offset) if layout[segment][1] else part
            )
