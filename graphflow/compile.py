"""The compile driver: from fetches and feeds of a user's graph to a step the runtime can run.

    cut --> cache? --> graph passes --> plan --> machine code --> Step

What the runtime loads is plain data (`runtime.Description`), so that the disk cache stores the
very thing that runs; what cannot be stored (variables, Python functions, the origins of
nodes in the user's program) is referred to by its position in the cut Program.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .cache import CacheStats, DiskCache, Key
from .description import Parts, describe_plan
from .ir.graph import Graph
from .ir.node import Node, Tensor
from .ir.program import Origin, Program
from .ir.types import TensorType
from .ir.verify import verify as verify_program
from .knobs import Knobs
from .passes.cut.functionalize import cut
from .passes.pipeline import PassOptions, run_graph_passes
from .plan import ARENA, Plan
from .report import Report, describe, with_sizes
from .runtime import Description
from .sizes import Dim, Symbol, as_symbol
from .tracing import Trace
from .version import __version__

if TYPE_CHECKING:
    from .codegen.target import Target


@dataclass(frozen=True)
class CompileOptions:
    """What decides the code besides the program and the target.

    memory_budget: bytes that a run may need at its peak, where sizes are known; values are computed
        again to keep to it
    checkpoint: have loops keep checkpoints, whatever sizes a run may have
    """

    check_numerics: bool = False
    disable: frozenset[str] = frozenset()
    verify: bool = False
    memory_budget: int | None = None
    checkpoint: bool = False

    def as_settings(self) -> dict[str, str]:
        return {
            "check_numerics": str(self.check_numerics),
            "disable": ",".join(sorted(self.disable)),
            "memory_budget": str(self.memory_budget),
            "checkpoint": str(self.checkpoint),
        }


@dataclass(frozen=True)
class Ahead:
    """What is asked of a step that is not to run here.

    names: of the two functions that its object exports (see codegen/objects.py)
    """

    target: Target
    names: tuple[str, str]


@dataclass(frozen=True)
class Step:
    """One compiled step, with what belongs to this process attached.

    description: what the runtime loads. Slots of states are positions in `variables`; its notes
        hold the run-time checks ("sites"), whose origins are positions in `origins`
    variables:   VariableHandles of its states
    origins:     of the cut program's nodes
    """

    description: Description
    variables: tuple[Any, ...]
    origins: tuple[Origin, ...]
    program: Program
    report: Report

    def largest_buffers(self, shapes: Sequence[Sequence[int]]) -> list[tuple[str, int]]:
        """Names and bytes of what a run on feeds of these shapes has in memory when it has most,
        largest first."""
        sizes: dict[str, int] = {}
        for type_, shape in zip(self.program.bound_types(), shapes, strict=True):
            for dim, size in zip(type_.shape or (), shape, strict=True):
                sizes.setdefault(str(dim), size)
        rows = [row for row in with_sizes(self.report, sizes).memory if not row.shared]
        alive = [0] * (1 + max((row.last for row in rows), default=0))
        for row in rows:
            if row.place == ARENA:
                for moment in range(row.first, row.last + 1):
                    alive[moment] += int(row.bytes)
        peak = alive.index(max(alive))
        found = [
            (row.name, int(row.bytes))
            for row in rows
            if row.place != ARENA or row.first <= peak <= row.last
        ]
        return sorted(found, key=lambda row: -row[1])

    def load(self, slot: Callable[[Any], int], budget: int) -> Any:
        """Maps the code; `slot` numbers the variables of the session that will run it, `budget` is
        how many bytes a run may need (0: any)."""
        states = [replace(s, slot=slot(self.variables[s.slot])) for s in self.description.states]
        return replace(self.description, states=states, budget=budget).load()


def compile_step(
    graph: Graph,
    fetches: Sequence[Tensor | Node],
    feeds: Sequence[Tensor],
    feed_types: Sequence[TensorType],
    options: CompileOptions,
    knobs: Knobs,
    stats: CacheStats,
    use_disk: bool = True,
    bindings: Mapping[Symbol, Dim] | None = None,
    ahead: Ahead | None = None,
) -> Step:
    """Compiles the step that computes `fetches` from `feeds`, or finds it in the disk cache.

    `feed_types` are the feeds' types as far as known at the call (ranks always are). `bindings`
    fixes sizes, for a variant specialised to them. `ahead` is for steps that another process runs.
    """
    with _without_collection():
        start = time.perf_counter()
        program = cut(graph, fetches, feeds, feed_types, bindings or {})
        stages = {"cut": time.perf_counter() - start}
        sources = _symbol_sources(program, feeds)
        step = _compile(program, sources, stages, options, knobs, stats, use_disk, ahead)
        return _leanly(step, stages)


def compile_program(
    program: Program, options: CompileOptions, knobs: Knobs, stats: CacheStats, use_disk: bool
) -> Step:
    """Compiles the step of a Program, or finds it in the disk cache."""
    with _without_collection():
        stages: dict[str, float] = {}
        return _leanly(_compile(program, {}, stages, options, knobs, stats, use_disk), stages)


_MUCH_CODE = 100_000  # bytes of an object that took much memory to make


def _leanly(step: Step, stages: Mapping[str, float]) -> Step:
    """The step, when memory that only its compilation needed has been given back."""
    if "select" in stages and len(step.description.object) > _MUCH_CODE:
        from .codegen.footprint import give_back

        give_back()
    return step


@contextmanager
def _without_collection() -> Iterator[None]:
    """A compilation makes many small objects and next to no garbage in cycles: searching them for
    it took two thirds of the time of the passes at 11,000 nodes."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _compile(
    program: Program,
    sources: Mapping[str, str],
    stages: dict[str, float],
    options: CompileOptions,
    knobs: Knobs,
    stats: CacheStats,
    use_disk: bool,
    ahead: Ahead | None = None,
) -> Step:
    """`sources` says where the symbols of the program get their values, for the report; `stages`
    has the seconds of what was done before."""
    from .codegen.step import NAMES
    from .codegen.target import named
    from .ir.text import print_program

    trace = Trace(knobs)
    target = ahead.target if ahead is not None else named(knobs.target)
    names = ahead.names if ahead is not None else NAMES
    parts = Parts.of(program)
    settings = {
        **options.as_settings(),
        "target": target.key,
        "names": " ".join(names),
        "graphflow": f"{__version__} {_source_digest()}",
    }
    cache = DiskCache(knobs.cache) if use_disk and knobs.cache is not None else None
    key = None
    why = "the disk cache is off"
    if cache is not None:
        with _timed(stages, "look up"):
            key = Key.of(print_program(program, origins=False), settings)
            header, blobs, why = cache.load(key, settings)
        if header is not None:
            stats.disk_hits += 1
            trace.line("cache", f"disk hit {key.filename}")
            description = Description.from_bytes(blobs[0], parts.functions_of(header["calls"]))
            report = Report.from_json(header["report"])
            report.cache = "from the disk cache"
            return Step(description, parts.variables, parts.origins, program, report)
        stats.disk_misses += 1
        stats.reasons.append(why)
        trace.line("cache", f"disk miss: {why}")

    from .codegen.objects import Report as CodeReport
    from .codegen.objects import compile_plan
    from .passes.planning.build_plan import build_plan

    trace.stage("cut.gf", program)
    start = time.perf_counter()
    disable = options.disable | knobs.disable
    if options.memory_budget is not None:
        disable |= {"prepare"}  # what is kept between runs takes memory during all of them
    pass_options = PassOptions(
        disable=disable,
        verify=options.verify or knobs.verify,
        # Nothing tells their memory beforehand, so it is as little as it can be.
        checkpoint_whiles=options.memory_budget is not None,
        check_numerics=options.check_numerics,
        observe=trace.observe,
        fired=trace.fired,
    )
    if options.checkpoint:
        pass_options = _with_checkpoints(pass_options)
    optimised = run_graph_passes(program, pass_options)
    stages["graph passes"] = time.perf_counter() - start
    with _timed(stages, "plan"):
        plan = build_plan(optimised, target, pass_options)
    if options.memory_budget is not None and "checkpoint_loops" not in disable:
        with _timed(stages, "rematerialize"):
            optimised, plan = _checkpointed(
                program, optimised, plan, options.memory_budget, target, pass_options
            )
    if options.memory_budget is not None and "rematerialize" not in disable:
        with _timed(stages, "rematerialize"):
            optimised, plan = _within(optimised, plan, options.memory_budget, target, pass_options)
    with _timed(stages, "plan"):
        plan = _with_checks(plan, program)
        if pass_options.verify:
            from .loop.verify import verify

            for launch in plan.launches:
                if launch.kernel is not None:
                    verify(launch.kernel)
    trace.stage("plan.gfp", plan)
    trace.kernels(plan)
    made = CodeReport(want_assembly=trace.wants_code, verify=pass_options.verify)
    code = compile_plan(plan, parts.symbols, target, made, knobs.threads, names)
    stages.update(made.seconds)
    trace.code(made)
    computed = _node_names(optimised, plan)
    report = describe(plan, sources, stages, target.cpu, computed)
    if not parts.symbols:
        report = with_sizes(report, {})
    report.cache = f"compiled; {why}" if why else "compiled"
    description = describe_plan(plan, parts, code, program)
    if cache is not None and key is not None:
        calls = [parts.functions.index(call.function) for call in plan.calls]
        header = {
            "settings": settings,
            "report": {**report.to_json(), "stages": {}},
            "calls": calls,
        }
        cache.store(key, header, [description.to_bytes()])
    return Step(description, parts.variables, parts.origins, program, report)


def _with_checkpoints(options: PassOptions) -> PassOptions:
    return replace(options, checkpoint=True, disable=options.disable | {"batch_iterations"})


def _checkpointed(
    cut: Program, program: Program, plan: Plan, budget: int, target: Any, options: PassOptions
):
    """The program and its plan, or those with checkpoints in loops where that makes them smaller
    and they exceed the budget."""
    from .passes.planning.build_plan import build_plan

    if options.checkpoint or plan.peak_bytes is None or plan.peak_bytes <= budget:
        return program, plan
    if not plan.has_loops:
        return program, plan
    quiet = _with_checkpoints(options)
    after = run_graph_passes(cut, quiet)
    smaller = build_plan(after, target, quiet)
    if smaller.peak_bytes is None or smaller.peak_bytes >= plan.peak_bytes:
        return program, plan
    return after, smaller


def _within(program: Program, plan: Plan, budget: int, target: Any, options: PassOptions):
    """The program and its plan, or smaller ones where they exceed the budget."""
    from .passes.planning.rematerialize import rematerialize

    start = time.perf_counter()
    after, smaller = rematerialize(program, plan, budget, target, options)
    if options.observe is not None:
        options.observe("rematerialize", program, after, time.perf_counter() - start)
    if options.verify and after is not program:
        verify_program(after, "rematerialize")
    return after, smaller


def _with_checks(plan: Plan, program: Program) -> Plan:
    """`plan` as a run binds it: feeds of the types that are bound, and what must be equal then."""
    types = dict(zip(plan.feeds, program.bound_types(), strict=True))
    buffers = tuple(
        replace(buffer, shape=types[buffer.id].shape or ()) if buffer.id in types else buffer
        for buffer in plan.buffers
    )
    checks = tuple((c.a, c.b) for c, _ in program.constraints)
    return replace(plan, buffers=buffers, checks=checks)


def _node_names(program: Program, plan: Plan) -> dict[Any, str]:
    """op and user's name of every node a launch computes."""
    names = {}
    for launch in plan.launches:
        for node in launch.nodes:
            origins = program.origin(node)
            names[node] = f"{origins[0].name}({node.op.name})" if origins else node.op.name
    return names


def _symbol_sources(program: Program, feeds: Sequence[Tensor]) -> dict[str, str]:
    """Where each symbol's value comes from: a feed and its axis."""
    sources: dict[str, str] = {}
    for tensor, type_ in zip(feeds, program.bound_types(), strict=True):
        for axis, value in enumerate(type_.shape or ()):
            symbol = as_symbol(value)
            if symbol is not None:
                sources.setdefault(symbol.name, f"axis {axis} of {tensor.name}")
    return sources


def _source_digest() -> str:
    """Changes whenever the compiler does: sizes and times of its source files."""
    if not _digest:
        import hashlib

        state = hashlib.sha256()
        root = Path(__file__).parent
        for folder in ("", "ir", "loop", "ops", "passes", "codegen"):
            with os.scandir(root / folder) as entries:
                for entry in sorted(entries, key=lambda e: e.name):
                    if entry.name.endswith(".py"):
                        stat = entry.stat()
                        state.update(f"{entry.name}{stat.st_size}{stat.st_mtime_ns}".encode())
        _digest.append(state.hexdigest()[:16])
    return _digest[0]


_digest: list[str] = []


@contextmanager
def _timed(stages: dict[str, float], name: str):
    start = time.perf_counter()
    yield
    stages[name] = stages.get(name, 0.0) + time.perf_counter() - start


__all__ = ["Ahead", "CompileOptions", "Step", "compile_program", "compile_step"]
