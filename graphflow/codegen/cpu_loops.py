"""How each kind of loop runs: serial, unrolled, parallel (outlined) and vector."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

from ..dtypes import bool_, int64
from ..errors import InternalError
from ..loop import nodes as loop
from . import cpu_operators as operators
from .cpu_analysis import VectorFacts, captures, lanes_dtype, packs
from .cpu_blocks import Function
from .cpu_flow import branch, clobber, counted
from .cpu_memory import Place
from .cpu_registers import NeedsMemory
from .cpu_values import Linear, Operand, Value, constant, memory_type, type_of, vector_literal

if TYPE_CHECKING:
    from .cpu import Emitter

_MOST_PACKS = 4  # of a vector loop of constant extent that becomes straight code
_ZERO = Linear(0, {})


def run_for(e: Emitter, stmt: loop.For) -> None:
    if stmt.kind == loop.UNROLLED:
        _unrolled(e, stmt)
    elif stmt.kind == loop.VECTOR:
        _vector(e, stmt)
    elif stmt.kind == loop.PARALLEL:
        _parallel(e, stmt)
    elif stmt.kind == loop.SERIAL:
        _serial(e, stmt, e.eval(stmt.extent))
    else:
        raise InternalError(f"{e.kernel.name}: a {stmt.kind} loop is not for a CPU")


def _serial(e: Emitter, stmt: loop.For, extent: Operand, start: Operand = _ZERO) -> None:
    def body(counter: Operand) -> None:
        e.vars[id(stmt.var)] = counter
        e.block(stmt.body)

    counted(e, start, extent, 1, e.analysis.writes(stmt.body), body)


def _unrolled(e: Emitter, stmt: loop.For) -> None:
    extent = Linear.of(e.eval(stmt.extent)).number
    if extent is None:
        raise InternalError(f"{e.kernel.name}: an unrolled loop of unknown extent")
    for number in range(extent):
        e.vars[id(stmt.var)] = Linear(number, {})
        e.block(stmt.body)


# -- vector loops --------------------------------------------------------------------------------


def _vector(e: Emitter, stmt: loop.For) -> None:
    if e.lanes:
        raise InternalError(f"{e.kernel.name}: a vector loop inside a vector loop")
    facts = e.analysis.vector(stmt)
    extent = e.eval(stmt.extent)
    tiles = any(e.analysis.in_register(local) for local in facts.tiles.values())
    if facts.lanes == 1:
        if tiles:
            _unrolled(e, stmt)
        else:
            _serial(e, stmt, extent)
        return
    number = Linear.of(extent).number
    if number is not None:
        plan = packs(number, facts.lanes, e.target.has_masks)
        if tiles or len(plan) <= _MOST_PACKS:
            shadows = _Shadows(e, facts, facts.lanes) if len(plan) > 1 else None
            for start, lanes, used in plan:
                _pack(e, stmt, Linear(start, {}), lanes, _fixed_mask(lanes, used), used)
            if shadows:
                shadows.combine()
            return
    _long_vector(e, stmt, facts, extent)


def _long_vector(e: Emitter, stmt: loop.For, facts: VectorFacts, extent: Operand) -> None:
    """Wide steps, then single vectors, then the rest: masked, or one by one."""
    writes = e.analysis.writes(stmt.body)
    lanes, wide = facts.lanes, facts.lanes * facts.unroll
    shadows = _Shadows(e, facts, wide)
    stop = _whole(e, extent, wide)
    counted(e, _ZERO, stop, wide, writes, lambda i: _pack(e, stmt, i, wide))
    shadows.narrow(lanes)
    number = Linear.of(extent).number
    if number is not None:
        done = Linear.of(stop).constant
        for start, part, used in packs(number - done, lanes, e.target.has_masks):
            _pack(e, stmt, Linear(done + start, {}), part, _fixed_mask(part, used), used)
        shadows.combine()
    elif e.target.has_masks:

        def masked(i: Operand) -> None:
            lane = Linear.of(i).plus(Linear(0, {}, 1))
            mask = operators.compare_linear(
                e.f, "lt", lane, extent, lanes, lanes_dtype(e.target, lanes)
            )
            _pack(e, stmt, i, lanes, mask)

        counted(e, stop, extent, lanes, writes, masked)
        shadows.combine()
    else:
        if facts.unroll > 1:
            single = _whole(e, extent, lanes)
            counted(e, stop, single, lanes, writes, lambda i: _pack(e, stmt, i, lanes))
            stop = single
        shadows.combine()
        _serial(e, stmt, extent, stop)


def _whole(e: Emitter, extent: Operand, step: int) -> Operand:
    """The largest multiple of a power of two that is not above the extent."""
    number = Linear.of(extent).number
    if number is not None:
        return Linear(number - number % step, {})
    whole = e.f.op("and", int64, e.f.scalar(extent), constant(-step, int64))
    whole.nonnegative = True
    return whole


def _fixed_mask(lanes: int, used: int) -> Value | None:
    if not lanes or used == lanes:
        return None
    flags = ["true" if lane < used else "false" for lane in range(lanes)]
    return Value(vector_literal("i1", flags), bool_, lanes)


def _pack(
    e: Emitter, stmt: loop.For, start: Operand, lanes: int, mask: Value | None = None, used: int = 0
) -> None:
    """The body for the iterations from `start` on, one a lane."""
    e.lanes, e.mask, e.tail, e.used = lanes, mask, mask, used
    e.vars[id(stmt.var)] = Linear.of(start).plus(Linear(0, {}, 1)) if lanes else start
    e.block(stmt.body)
    e.lanes, e.mask, e.tail, e.used = 0, None, None, 0


class _Shadows:
    """Vector accumulators that stand for the Locals a vector loop reduces into."""

    def __init__(self, e: Emitter, facts: VectorFacts, lanes: int):
        self.e = e
        self.made: list[tuple[loop.Local, str, loop.Local, str]] = []
        for local, op in facts.reductions.values():
            if not e.analysis.in_register(local):
                continue
            shadow = loop.Local(local.name + "_lanes", local.dtype, local.shape)
            value = constant(loop.neutral(op, local.dtype).value, local.dtype, lanes)
            e.env[id(shadow)] = [value] * local.size
            e.redirect[id(local)] = shadow
            e.lane_locals.add(id(shadow))
            self.made.append((local, op, shadow, value.text))

    def narrow(self, lanes: int) -> None:
        """Adds what wide steps gathered up to single vectors."""
        for _, op, shadow, _ in self.made:
            values = self.e.env[id(shadow)]
            values[:] = [self.e.halve(op, value, lanes) for value in values]

    def combine(self) -> None:
        for local, op, shadow, untouched in self.made:
            for position, value in enumerate(self.e.env.pop(id(shadow))):
                if value.text != untouched:
                    total = self.e.halve(op, value, 0)
                    at = Linear(position, {})
                    old = self.e.load(local, at)
                    self.e.store(local, at, self.e.apply(op, [old, total], local.dtype))
            del self.e.redirect[id(local)]


# -- parallel loops ------------------------------------------------------------------------------


def _parallel(e: Emitter, stmt: loop.For) -> None:
    extent = e.eval(stmt.extent)
    number = Linear.of(extent).number
    if e.in_parallel or (number is not None and number <= max(1, stmt.grain)):
        _serial(e, stmt, extent)
        return
    f = e.f
    count = f.scalar(extent)
    record, name = _outline(e, stmt)
    arguments = f"ptr %frame, ptr {record}"

    def inline() -> None:
        e.f.do(f"call void @{name}({arguments}, i64 0, i64 {count.text})")

    def spread() -> None:
        lines, function = e.module.layout.fetched(e.f, "parallel_for")
        for line in lines:
            e.f.do(line)
        grain = _even(e.f, count, stmt.grain)
        e.f.do(
            f"call void {function}(ptr %frame, ptr @{name}, ptr {record}, i64 {count.text},"
            f" i64 {grain})"
        )

    few = operators.compare_linear(f, "le", extent, Linear(stmt.grain, {}), 0, int64)
    writes = e.analysis.writes(stmt.body)
    assert few is not None
    branch(e, few, writes, inline, spread)
    clobber(e, writes)
    e.bump(None)


def _even(f: Function, count: Value, grain: int) -> str:
    """The size of chunks that are as many as those of `grain` iterations, but for one all as large:
    of 64 iterations in chunks of at most 53 two threads get 32 each. `count` is above `grain`."""
    if grain == 1:
        return "1"
    if count.number is not None:
        number = int(count.number)
        return str(-(-number // -(-number // grain)))
    up = f.define(f"add i64 {count.text}, {grain - 1}", int64)
    chunks = f.define(f"udiv i64 {up.text}, {grain}", int64)
    up = f.define(f"add i64 {count.text}, {chunks.text}", int64)
    up = f.define(f"sub i64 {up.text}, 1", int64)
    return f.define(f"udiv i64 {up.text}, {chunks.text}", int64).text


def _outline(e: Emitter, stmt: loop.For) -> tuple[str, str]:
    """The body as a function of its own; returns the record of what it captures, and its name.
    Bodies that are the same share one function."""
    outer = e.f
    found = captures((stmt,))
    for local in found.locals.values():
        if id(local) not in e.places:
            raise NeedsMemory(local)
    total = len(found.vars) + len(found.buffers) + len(found.locals) + len(found.sizes)
    record = outer.allocate("i64", max(1, total))  # which nothing in it is wider than
    slots: list[tuple[Value, str]] = []  # with the type each is stored as

    def capture(value: Value, kind: str) -> int:
        """Puts a value into the record; returns its slot."""
        source, stored = value.text, kind
        if kind == "i1":
            stored, source = "i8", outer.define(f"zext i1 {value.text} to i8", bool_).text
        address = outer.define(f"getelementptr i8, ptr {record.text}, i64 {8 * len(slots)}", int64)
        outer.do(f"store {stored} {source}, ptr {address.text}, align 8")
        slots.append((value, kind))
        return len(slots) - 1

    outside: list[tuple[Any, Hashable]] = [(stmt.var, "counter")]
    constants: dict[int, Operand] = {}
    vars_: dict[int, int] = {}
    for key, var in found.vars.items():
        operand = e.vars[key]
        if Linear.of(operand).number is not None and operand.dtype is int64:
            constants[key], known = operand, str(Linear.of(operand).number)
        else:
            value = outer.scalar(operand)
            if value.number is not None:
                constants[key], known = value, value.typed
            else:
                vars_[key] = capture(value, value.type)
                known = f"{value.type} {value.nonnegative}"
        outside.append((var, known))
    places: dict[int, int] = {}
    targets: dict[int, loop.Target] = {**found.buffers, **found.locals}
    for key, target in targets.items():
        places[key] = capture(e.places[key].base, "ptr")
        outside.append((target, (target.dtype.name, e.places[key].key is None)))
    sizes = {size: capture(e.sizes[size], "i64") for size in found.sizes}

    signature = e.module.signatures.part(stmt.body, outside, found.sizes)
    name = e.module.bodies.get(signature)
    if name is not None:
        return record.text, name
    name = e.module.unique(f"{e.name}.body")
    inner = Function(
        name, "void", ["ptr %frame", "ptr %context", "i64 %begin", "i64 %end"], "internal "
    )

    def captured(slot: int) -> Value:
        value, kind = slots[slot]
        stored = "i8" if kind == "i1" else kind
        place = inner.define(f"getelementptr i8, ptr %context, i64 {8 * slot}", int64)
        loaded = inner.define(f"load {stored}, ptr {place.text}, align 8", value.dtype)
        if kind == "i1":
            loaded = inner.define(f"trunc i8 {loaded.text} to i1", bool_)
        loaded.nonnegative = value.nonnegative
        return loaded

    saved = e.f, e.vars, e.places, e.sizes, e.env
    e.vars = {**constants, **{key: captured(slot) for key, slot in vars_.items()}}
    e.places = {
        key: Place(captured(slot), e.places[key].dtype, e.places[key].key)
        for key, slot in places.items()
    }
    e.sizes = {size: captured(slot) for size, slot in sizes.items()}
    e.f, e.env = inner, {}
    e.in_parallel = True
    begin = Value("%begin", int64, nonnegative=True)
    end = Value("%end", int64, nonnegative=True)
    _serial(e, stmt, end, begin)
    e.f.do("ret void")
    e.in_parallel = False
    e.f, e.vars, e.places, e.sizes, e.env = saved
    e.module.add(inner)
    e.module.bodies[signature] = name
    return record.text, name


__all__ = ["memory_type", "run_for", "type_of"]
