"""What the runtime has to know of a plan, beside its code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from . import runtime
from .ir.loop_sizes import bound_in
from .ir.node import all_nodes
from .ir.program import Origin, Program
from .plan import ARENA, CONSTANT, FEED, KEPT, LATE, OUTPUT, ROW, STATE_IN, STATE_OUT, Output, Plan
from .report import flops_of
from .runtime import Description
from .sizes import (
    Dim,
    Size,
    Symbol,
    as_symbol,
    evaluate,
    is_trip_symbol,
    multiply,
    product,
    symbols_of,
)


@dataclass(frozen=True)
class Parts:
    """What a stored description refers to by position, in the order of the cut Program."""

    variables: tuple[Any, ...]
    functions: tuple[Any, ...]
    origins: tuple[Origin, ...]
    symbols: tuple[Symbol, ...]

    def functions_of(self, numbers: Sequence[int]) -> list[Any]:
        return [self.functions[number] for number in numbers]

    @staticmethod
    def of(program: Program) -> Parts:
        variables: dict[Any, None] = {}
        functions: dict[Any, None] = {}
        origins: dict[Origin, None] = {}
        trips: list[Symbol] = []
        for node in all_nodes(program.nodes()):
            if node.op.name == "state":
                variables[node.attrs["variable"]] = None
            elif "function" in node.attrs:
                functions[node.attrs["function"]] = None
            trips += bound_in(node.attrs)
            for origin in program.origin(node):
                origins[origin] = None
        for variable in program.updates:
            variables[variable] = None
        symbols = dict.fromkeys(
            s for type_ in program.bound_types() for s in symbols_of(type_.shape)
        )
        symbols.update(dict.fromkeys(trips))
        return Parts(tuple(variables), tuple(functions), tuple(origins), tuple(symbols))


def _prepares_from(plan: Plan) -> list[int]:
    """The states that the launches read which fill the kept buffers."""
    read = {buffer for launch in plan.launches[: plan.prepared] for buffer in launch.buffers}
    return [number for number, state in enumerate(plan.states) if state.read in read]


def describe_plan(plan: Plan, parts: Parts, code: bytes, program: Program) -> Description:
    """What the runtime loads: the plan, its code, and the positions of what `parts` has."""
    slots = {size: number for number, size in enumerate(plan.values())}
    by_id = {buffer.id: buffer for buffer in plan.buffers}
    symbol_index = {symbol: number for number, symbol in enumerate(parts.symbols)}
    variable_index = {variable: number for number, variable in enumerate(parts.variables)}
    origin_index = {origin: number for number, origin in enumerate(parts.origins)}
    state_index = {}
    for number, state in enumerate(plan.states):
        state_index[STATE_IN, state.read] = state_index[STATE_OUT, state.write] = number
    constant_index = {buffer: number for number, (buffer, _) in enumerate(plan.constants)}
    feed_index = {buffer: number for number, buffer in enumerate(plan.feeds)}

    def size(value: Dim) -> int:
        return ~slots[value] if isinstance(value, Size) else value

    def sizes(shape) -> tuple[int, ...]:
        return tuple(size(value) for value in shape)

    def operand(buffer: int) -> runtime.Operand:
        found = by_id[buffer]
        return runtime.Operand(buffer, found.dtype.name, sizes(found.shape))

    def output(row: Output) -> runtime.Output:
        index = {
            FEED: feed_index.get(row.buffer, -1),
            CONSTANT: constant_index.get(row.buffer, -1),
        }.get(row.place, state_index.get((row.place, row.buffer), -1))
        source = "buffer" if row.place == OUTPUT else row.place
        pointer = row.buffer if row.place == OUTPUT else -1
        late = source == "buffer" and any(map(is_trip_symbol, symbols_of(row.shape)))
        return runtime.Output(row.dtype.name, sizes(row.shape), pointer, source, index, late)

    bound: set[Symbol] = set()
    feeds = []
    for buffer, type_ in zip(plan.feeds, program.bound_types(), strict=True):
        binds = []
        for value in type_.shape or ():
            symbol = as_symbol(value)
            first = symbol is not None and symbol not in bound
            binds.append(symbol_index[symbol] if first else -1)  # type: ignore[index]
            if first:
                bound.add(symbol)  # type: ignore[arg-type]
        feeds.append(runtime.Feed(buffer, type_.dtype.name, sizes(type_.shape or ()), tuple(binds)))
    sites = [
        {
            "message": site.message,
            "error": site.error,
            "origins": [origin_index[o] for o in site.origins if o in origin_index],
        }
        for site in plan.sites
    ]
    parallel = any(_is_parallel(launch.kernel) for launch in plan.launches)
    return Description(
        code,
        symbol_count=len(parts.symbols),
        value_count=len(slots),
        late_count=sum(map(is_trip_symbol, parts.symbols)),
        moments=plan.moments,
        feeds=feeds,
        constants=[runtime.Constant(buffer, value.array) for buffer, value in plan.constants],
        states=[
            runtime.State(
                variable_index[state.variable],
                state.variable.dtype.name,
                sizes(state.shape),
                state.read,
                state.write,
                state.in_place,
            )
            for state in plan.states
        ],
        outputs=[output(row) for row in plan.outputs],
        buffers=[
            runtime.Buffer(b.id, size(b.bytes), b.first, b.last, -1, b.offset)
            for b in plan.buffers
            if b.place == ARENA
        ],
        late=[runtime.Late(b.id, size(b.bytes)) for b in plan.buffers if b.place == LATE],
        stacks=[
            runtime.Stack(b.id, size(multiply(product(b.shape[1:]), b.dtype.bytes)))
            for b in plan.stacks()
        ],
        rows=[b.id for b in plan.buffers if b.place == ROW],
        kept=[runtime.Kept(b.id, b.bytes) for b in plan.buffers if b.place == KEPT],  # type: ignore[arg-type]
        prepares_from=_prepares_from(plan),
        checks=[
            runtime.Check(size(a), size(b), number) for number, (a, b) in enumerate(plan.checks)
        ],
        calls=[
            runtime.HostCall(
                tuple(map(operand, call.inputs)), tuple(map(operand, call.outputs)), call.function
            )
            for call in plan.calls
        ],
        evidence=[tuple(map(operand, site.buffers)) for site in plan.sites],
        outside_bytes=size(plan.outside_bytes),
        small=not parallel and not plan.calls and not plan.has_loops and _is_brief(plan),
        notes={"sites": sites},
    )


# A run of up to about this many FLOPs keeps the interpreter's lock: it takes less time than giving
# the lock away and waiting for it again would.
_BRIEF_FLOPS = 100_000
_TYPICAL_SIZE = 64


def _is_brief(plan: Plan) -> bool:
    flops: Dim = sum((flops_of(n) + 1 for la in plan.launches for n in la.nodes), 0)
    typical = dict.fromkeys(symbols_of(flops), _TYPICAL_SIZE)
    return evaluate(flops, typical) <= _BRIEF_FLOPS


def _is_parallel(kernel) -> bool:
    from .loop.nodes import PARALLEL, For, statements

    return kernel is not None and any(
        isinstance(stmt, For) and stmt.kind == PARALLEL for stmt in statements(kernel.body)
    )


__all__ = ["Parts", "describe_plan"]
