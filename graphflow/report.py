"""What the compiler made of a run: kernels and why, FLOPs, bytes, memory, compile time."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from .ir.node import Node
from .ir.op import REDUCE
from .plan import ARENA, FEED, LATE, ROW, STACK, Plan
from .runtime import plan_arena
from .sizes import Dim, is_trip_symbol, parse_size, product, symbol, symbols_of


@dataclass
class KernelReport:
    """One launch: what it computes, reads and writes. Sizes are text where they are symbolic.

    operations: op and name of every operation it computes
    loops:      its loops in order, with what was fused into each, and why not more
    note:       why it is a launch of its own
    prepares:   whether it runs only when a variable has changed; what it computes is kept
    """

    name: str
    operations: list[str]
    loops: list[str]
    note: str
    flops: str
    bytes_read: str
    bytes_written: str
    prepares: bool = False


@dataclass
class MemoryRow:
    """A buffer of a run: `bytes` is text where symbolic. Arena buffers live from moment `first` to
    `last`, where the loops of all launches are moments, in order; `shared` ones are another's
    memory (a variable written in place)."""

    name: str
    place: str
    bytes: str
    first: int
    last: int
    shared: bool = False


@dataclass
class Report:
    """What `explain` returns; `str(report)` is for people.

    kernels: one entry a launch, in order
    launches: kernel launches and host calls of one run, after those that only prepare it
    flops, bytes: of one run, without those too; text such as "2*s0*784" while sizes are unknown
    arena_bytes, arena_lower_bound: temporary memory, and the largest set of values alive at once;
        None while sizes are unknown (pass feed_dict to `explain` to know them)
    peak_bytes: everything a run needs: arena, outputs, constants, variables it reads and writes
    memory: its buffers
    stages: seconds of each stage of the compilation; empty when it came from the disk cache
    cache: "compiled", or where the code came from, and why the cache missed
    """

    kernels: list[KernelReport]
    flops: str
    bytes: str
    symbols: dict[str, str]
    arena_bytes: int | None = None
    arena_lower_bound: int | None = None
    peak_bytes: int | None = None
    memory: list[MemoryRow] = field(default_factory=list)
    stages: dict[str, float] = field(default_factory=dict)
    cache: str = "compiled"
    reasons: dict[str, str] = field(default_factory=dict)
    target: str = ""

    @property
    def launches(self) -> int:
        return sum(not kernel.prepares for kernel in self.kernels)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Report:
        kernels = [KernelReport(**kernel) for kernel in data["kernels"]]
        memory = [MemoryRow(**row) for row in data["memory"]]
        return Report(**{**data, "kernels": kernels, "memory": memory})

    def __str__(self) -> str:
        lines = [
            f"{self.launches} launches, {_amount(self.flops, 'FLOP')}, "
            f"{_amount(self.bytes, 'B')} moved, for {self.target}"
        ]
        if self.symbols:
            lines.append(
                "sizes: " + ", ".join(f"{name} is {what}" for name, what in self.symbols.items())
            )
        for number, kernel in enumerate(self.kernels):
            once = "when a variable has changed: " if kernel.prepares else ""
            lines.append(
                f"{number:3} {once}{kernel.name}: {_amount(kernel.flops, 'FLOP')}, "
                f"reads {_amount(kernel.bytes_read, 'B')}, "
                f"writes {_amount(kernel.bytes_written, 'B')}"
            )
            lines.extend(_wrapped(kernel.operations))
            lines.extend(line for loop in kernel.loops for line in _wrapped(loop.split(), "  - "))
            lines.append(f"      a launch of its own: {kernel.note}")
        if self.arena_bytes is not None:
            lines.append(
                f"arena {self.arena_bytes:,} B; in this order no fewer than "
                f"{self.arena_lower_bound:,} B are possible"
            )
        if self.peak_bytes is not None:
            lines.append(f"peak of a run {self.peak_bytes:,} B, known before it")
        lines.append(f"code: {self.cache}")
        if self.stages:
            total = sum(self.stages.values())
            lines.append(
                f"compiled in {total * 1e3:.1f} ms: "
                + ", ".join(f"{name} {s * 1e3:.1f}" for name, s in self.stages.items())
            )
        lines.extend(f"{name}: {reason}" for name, reason in self.reasons.items())
        return "\n".join(lines)


def _wrapped(words: Sequence[str], mark: str = "", width: int = 96) -> list[str]:
    """Words, as many to a line as fit, below a kernel's line."""
    return textwrap.wrap(
        " ".join(words), width, initial_indent="    " + mark, subsequent_indent="        ",
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _amount(text: str, unit: str) -> str:
    if not text.lstrip("-").isdigit():
        return f"{text} {unit}"
    value, prefixes = float(text), ["T", "G", "M", "k", ""]
    while abs(value) >= 1000 and len(prefixes) > 1:
        value /= 1000
        prefixes.pop()
    return f"{value:.3g} {prefixes[-1]}{unit}"


def flops_of(node: Node) -> Dim:
    """Arithmetic a node does, counting a fused multiply-add as two."""
    elements = product(node.outputs[0].dims or ()) if node.outputs else 0
    if node.op.count_flops is not None:
        return node.op.count_flops(node)
    if node.op.kind == REDUCE:
        return product(node.inputs[0].dims or ())
    return elements * int(node.op.flops)


def describe(
    plan: Plan,
    symbols: Mapping[str, str],
    stages: Mapping[str, float],
    target: str,
    names: Mapping[Any, str],
) -> Report:
    """The report of a plan. `names` gives the text of a Program node: op and user's name."""
    by_id = {buffer.id: buffer for buffer in plan.buffers}
    kernels: list[KernelReport] = []
    all_flops: Dim = 0
    all_bytes: Dim = 0
    for number, launch in enumerate(plan.launches):
        loops = plan.reasons.get(f"launch {number}", "")
        flops: Dim = sum((flops_of(node) for node in launch.nodes), 0)
        reads: Dim = 0
        writes: Dim = 0
        if launch.kernel is not None:
            for parameter, buffer in zip(launch.kernel.buffers, launch.buffers, strict=True):
                if parameter.role in ("in", "inout"):
                    reads = reads + by_id[buffer].bytes
                if parameter.role in ("out", "inout"):
                    writes = writes + by_id[buffer].bytes
        kernels.append(
            KernelReport(
                launch.kernel.name if launch.kernel is not None else "host call",
                [names.get(node, node.op.name) for node in launch.nodes],
                [part for part in loops.split("; ") if part and "launch before" not in part],
                launch.note or "it is the first",
                str(flops),
                str(reads),
                str(writes),
                number < plan.prepared,
            )
        )
        if number >= plan.prepared:
            all_flops = all_flops + flops
            all_bytes = all_bytes + reads + writes
    return Report(
        kernels,
        str(all_flops),
        str(all_bytes),
        dict(symbols),
        plan.arena_bytes,
        plan.arena_lower_bound,
        stages=dict(stages),
        reasons={k: v for k, v in plan.reasons.items() if not k.startswith("launch ")},
        target=target,
        memory=memory_rows(plan),
    )


def memory_rows(plan: Plan) -> list[MemoryRow]:
    """The buffers of a plan. Feeds are the caller's and count for nothing, rows are part of other
    buffers, and what a loop finds out the size of is not known before."""
    in_place = {state.write for state in plan.states if state.in_place and state.read >= 0}
    return [
        MemoryRow(b.name, b.place, str(b.bytes), b.first, b.last, b.id in in_place)
        for b in plan.buffers
        if b.place not in (FEED, ROW, STACK, LATE)
        and not any(map(is_trip_symbol, symbols_of(b.bytes)))
    ]


def with_sizes(report: Report, bindings: Mapping[str, int]) -> Report:
    """The report with every symbolic amount worked out for the sizes of one run. Sizes that loops
    of the run find out stay symbols in the work of kernels."""

    def number(text: str) -> Dim:
        return parse_size(text, lambda name: bindings[name] if name in bindings else symbol(name))

    kernels = [
        replace(
            kernel,
            flops=str(number(kernel.flops)),
            bytes_read=str(number(kernel.bytes_read)),
            bytes_written=str(number(kernel.bytes_written)),
        )
        for kernel in report.kernels
    ]
    memory = [replace(row, bytes=str(number(row.bytes))) for row in report.memory]
    arena = [(int(r.bytes), r.first, r.last) for r in memory if r.place == ARENA]
    if report.arena_bytes is not None:
        arena_bytes, bound = report.arena_bytes, report.arena_lower_bound
    else:
        moments = 1 + max((last for _, _, last in arena), default=0)
        _, arena_bytes, bound = plan_arena(arena, moments)
    outside = sum(int(r.bytes) for r in memory if r.place != ARENA and not r.shared)
    return replace(
        report,
        kernels=kernels,
        memory=memory,
        flops=str(number(report.flops)),
        bytes=str(number(report.bytes)),
        arena_bytes=arena_bytes,
        arena_lower_bound=bound,
        peak_bytes=arena_bytes + outside,
    )
