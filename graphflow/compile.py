"""The compile driver: from fetches and feeds of a user's graph to a step the runtime can run.

    cut --> cache? --> graph passes --> plan --> machine code --> Step

A `Step` is plain data (a JSON-able description, the object, constants), so that the disk cache
stores the very thing that runs; what cannot be stored (variables, Python functions, the origins of
nodes in the user's program) is referred to by its position in the cut Program.
"""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .cache import CacheStats, DiskCache, Key
from .errors import InternalError
from .explain import Report, describe
from .ir.graph import Graph
from .ir.node import Node, Tensor
from .ir.program import Origin, Program
from .ir.types import Constraint, TensorType
from .knobs import Knobs
from .passes.functionalize import cut
from .passes.pipeline import PassOptions, run_graph_passes
from .plan import OUTPUT, Plan
from .sizes import Dim, Size, Symbol, symbols_of
from .version import __version__

_dumps = itertools.count()


@dataclass(frozen=True)
class CompileOptions:
    """What decides the code besides the program and the target."""

    check_numerics: bool = False
    disable: frozenset[str] = frozenset()
    verify: bool = False

    def as_settings(self) -> dict[str, str]:
        return {
            "check_numerics": str(self.check_numerics),
            "disable": ",".join(sorted(self.disable)),
        }


@dataclass(frozen=True)
class Step:
    """One compiled step, with what belongs to this process attached.

    description: see `describe_plan`; JSON-able
    constants:   arrays the description's constants refer to
    variables:   VariableHandles its states refer to
    functions:   Python functions its host calls refer to
    origins:     of the program's nodes; sites and checks refer to them
    """

    description: Mapping[str, Any]
    object: bytes
    constants: tuple[np.ndarray, ...]
    variables: tuple[Any, ...]
    functions: tuple[Any, ...]
    origins: tuple[Origin, ...]
    constraints: tuple[tuple[Constraint, tuple[Origin, ...]], ...]
    symbols: tuple[Symbol, ...]
    program: Program
    report: Report
    plan: Plan | None = field(default=None, repr=False)


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
) -> Step:
    """Compiles the step that computes `fetches` from `feeds`, or finds it in the disk cache.

    `feed_types` are the feeds' types as far as known at the call (ranks always are). `bindings`
    fixes sizes, for a variant specialised to them.
    """
    from .codegen.target import host
    from .ir.text import print_program

    stages: dict[str, float] = {}
    trace = _Trace(knobs)
    with _timed(stages, "cut"):
        program = cut(graph, fetches, feeds, feed_types, bindings or {})
    target = host(knobs.target)
    parts = _Parts.of(program)
    settings = {
        **options.as_settings(),
        "target": target.key(),
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
            return _restore(header, blobs, program, parts)
        stats.disk_misses += 1
        stats.reasons.append(why)
        trace.line("cache", f"disk miss: {why}")

    from .codegen.objects import compile_plan
    from .passes.build_plan import build_plan

    trace.stage("cut.gf", program)
    start = time.perf_counter()
    disable = options.disable | knobs.disable
    pass_options = PassOptions(
        disable=disable,
        verify=options.verify or knobs.verify,
        check_numerics=options.check_numerics,
        observe=trace.observe,
    )
    optimised = run_graph_passes(program, pass_options)
    stages["graph passes"] = time.perf_counter() - start
    with _timed(stages, "plan"):
        plan = build_plan(optimised, target, pass_options)
        plan = _with_checks(plan, program)
    trace.stage("plan.gfp", plan)
    trace.kernels(plan)
    symbols = parts.symbols
    with _timed(stages, "code"):
        code = compile_plan(plan, [Size.of(s) for s in symbols], target, trace.code)
    names = _node_names(optimised, plan)
    what = _symbol_sources(program, feeds)
    report = describe(plan, what, stages, target.name, names)
    report.peak_bytes = peak_bytes(plan)
    report.cache = f"compiled; {why}" if why else "compiled"
    description, constants = describe_plan(plan, parts)
    step = Step(
        description, code, constants, parts.variables, parts.functions, parts.origins,
        program.constraints, symbols, program, report, plan,
    )  # fmt: skip
    if cache is not None and key is not None:
        header = {"description": description, "report": report.to_json(), "settings": settings}
        cache.store(key, header, [code, *(array.tobytes() for array in constants)])
    return step


def _restore(header: Mapping[str, Any], blobs: list[bytes], program: Program,
             parts: _Parts) -> Step:  # fmt: skip
    description = header["description"]
    constants = []
    for row, blob in zip(description["constants"], blobs[1:], strict=True):
        array = np.frombuffer(blob, dtype=row["dtype"]).reshape(row["shape"])
        constants.append(array)
    report = Report.from_json(header["report"])
    report.stages = {}
    report.cache = "from the disk cache"
    return Step(
        description, blobs[0], tuple(constants), parts.variables, parts.functions, parts.origins,
        program.constraints, parts.symbols, program, report,
    )  # fmt: skip


@dataclass(frozen=True)
class _Parts:
    """What a stored description refers to by position, in the order of the cut Program."""

    variables: tuple[Any, ...]
    functions: tuple[Any, ...]
    origins: tuple[Origin, ...]
    symbols: tuple[Symbol, ...]

    @staticmethod
    def of(program: Program) -> _Parts:
        variables: dict[Any, None] = {}
        functions: dict[Any, None] = {}
        origins: dict[Origin, None] = {}
        for node in program.nodes():
            if node.op.name == "state":
                variables[node.attrs["variable"]] = None
            elif "function" in node.attrs:
                functions[node.attrs["function"]] = None
            for origin in program.origin(node):
                origins[origin] = None
        for variable in program.updates:
            variables[variable] = None
        symbols = dict.fromkeys(
            s for type_ in program.bound_types() for s in symbols_of(type_.shape)
        )
        return _Parts(tuple(variables), tuple(functions), tuple(origins), tuple(symbols))


def describe_plan(plan: Plan, parts: _Parts) -> tuple[dict[str, Any], tuple[np.ndarray, ...]]:
    """(description, constants): everything the runtime needs besides the object.

    A dim is a number >= 0, or ~k for the k-th value that `gf_sizes` computes. Buffers are named by
    their index in `frame->pointers`.
    """
    slots = {size: number for number, size in enumerate(plan.values())}
    by_id = {buffer.id: buffer for buffer in plan.buffers}
    symbol_index = {symbol: number for number, symbol in enumerate(parts.symbols)}
    variable_index = {variable: number for number, variable in enumerate(parts.variables)}
    function_index = {function: number for number, function in enumerate(parts.functions)}
    origin_index = {origin: number for number, origin in enumerate(parts.origins)}

    def dim(value: Dim) -> int:
        return ~slots[value] if isinstance(value, Size) else value

    def dims(shape) -> list[int]:
        return [dim(value) for value in shape]

    def array(buffer: int) -> dict[str, Any]:
        found = by_id[buffer]
        return {"pointer": buffer, "dtype": found.dtype.name, "dims": dims(found.shape)}

    bound: set[Symbol] = set()
    feeds = []
    for buffer in plan.feeds:
        binds = []
        for value in by_id[buffer].shape:
            symbol = _plain_symbol(value)
            first = symbol is not None and symbol not in bound
            binds.append(symbol_index[symbol] if first else -1)  # type: ignore[index]
            if first:
                bound.add(symbol)  # type: ignore[arg-type]
        feeds.append({**array(buffer), "binds": binds})
    constants = tuple(value.array for _, value in plan.constants)
    description = {
        "symbols": len(parts.symbols),
        "values": len(slots),
        "pointers": 1 + max((b.id for b in plan.buffers), default=-1),
        "feeds": feeds,
        "constants": [
            {"pointer": buffer, "dtype": value.array.dtype.name, "shape": list(value.array.shape)}
            for buffer, value in plan.constants
        ],
        "states": [
            {
                "variable": variable_index[state.variable],
                "pointer_in": state.read,
                "pointer_out": state.write,
                "in_place": state.in_place,
                "dims": dims(state.shape),
            }
            for state in plan.states
        ],
        "outputs": [
            {
                "pointer": output.buffer,
                "dtype": output.dtype.name,
                "dims": dims(output.shape),
                "source": "buffer" if output.place == OUTPUT else output.place,
                "index": by_id[output.buffer].index,
            }
            for output in plan.outputs
        ],
        "buffers": [
            {
                "pointer": b.id,
                "bytes": dim(b.bytes),
                "first": b.first,
                "last": b.last,
                "offset": b.offset,
            }
            for b in plan.buffers
            if b.place == "arena"
        ],
        "checks": [[dim(a), dim(b)] for a, b in plan.checks],
        "launches": len(plan.launches),
        "parallel": any(_is_parallel(launch.kernel) for launch in plan.launches),
        "arena_bytes": plan.arena_bytes,
        "calls": [
            {
                "function": function_index[call.function],
                "inputs": [array(b) for b in call.inputs],
                "outputs": [array(b) for b in call.outputs],
            }
            for call in plan.calls
        ],
        "sites": [
            {
                "message": site.message,
                "error": site.error,
                "origins": [origin_index[o] for o in site.origins if o in origin_index],
                "buffers": [array(b) for b in site.buffers],
            }
            for site in plan.sites
        ],
    }
    return description, constants


def _is_parallel(kernel) -> bool:
    from .loop.nodes import PARALLEL, For, statements

    return kernel is not None and any(
        isinstance(stmt, For) and stmt.kind == PARALLEL for stmt in statements(kernel.body)
    )


def _plain_symbol(value: Dim) -> Symbol | None:
    if isinstance(value, Size) and len(value.terms) == 1:
        (monomial, coefficient), *_ = value.terms
        if coefficient == 1 and len(monomial) == 1 and isinstance(monomial[0], Symbol):
            return monomial[0]
    return None


def _with_checks(plan: Plan, program: Program) -> Plan:
    """`plan` as a run binds it: feeds of the types that are bound, and what must be equal then."""
    from dataclasses import replace

    types = dict(zip(plan.feeds, program.bound_types(), strict=True))
    buffers = tuple(
        replace(buffer, shape=types[buffer.id].shape) if buffer.id in types else buffer
        for buffer in plan.buffers
    )
    checks = tuple((c.a, c.b) for c, _ in program.constraints)
    return replace(plan, buffers=buffers, checks=checks)


def peak_bytes(plan: Plan) -> int | None:
    """Arena, outputs, constants and variables of one run; None while sizes are unknown.

    A variable that is not written in place counts twice: its old and its new value are alive
    together until the run commits.
    """
    total = plan.arena_bytes
    if total is None:
        return None
    for buffer in plan.buffers:
        if buffer.place == "arena" or buffer.place == "feed":
            continue
        if not isinstance(buffer.bytes, int):
            return None
        total += buffer.bytes
    by_id = {buffer.id: buffer for buffer in plan.buffers}
    for state in plan.states:
        if state.in_place and state.read >= 0 and state.write >= 0:
            shared = by_id[state.write].bytes
            assert isinstance(shared, int)
            total -= shared
    return total


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
            symbol = _plain_symbol(value)
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


class _Trace:
    """What GRAPHFLOW_DEBUG prints and GRAPHFLOW_DUMP writes of one compilation."""

    def __init__(self, knobs: Knobs):
        self.debug = knobs.debug
        self.directory = None
        self.number = itertools.count()
        if knobs.dump is not None:
            self.directory = Path(knobs.dump) / f"{next(_dumps):03}"
            self.directory.mkdir(parents=True, exist_ok=True)
        # The callback of the code generator: None spares it from printing what nobody reads.
        self.code: Callable[[str, str], None] | None = None
        if self.directory is not None or self._wants("llvm") or self._wants("asm"):
            self.code = self._code

    def _wants(self, what: str) -> bool:
        return what in self.debug or "all" in self.debug

    def line(self, what: str, text: str) -> None:
        if self._wants(what):
            print(f"graphflow {what}: {text}", file=sys.stderr)

    def stage(self, name: str, value: Any) -> None:
        if self.directory is None and not (name.endswith(".gfp") and self._wants("plan")):
            return
        if isinstance(value, Program):
            from .ir.text import print_program

            text = print_program(value)
        else:
            text = str(value)
        if name.endswith(".gfp") and self._wants("plan"):
            print(text, file=sys.stderr)
        self._write(name, text)

    def observe(self, name: str, before: Any, after: Any, seconds: float) -> None:
        """Called after each pass with its input and output."""
        changed = before is not after
        self.line("passes", f"{name:20} {seconds * 1e3:8.2f} ms{'' if changed else ' unchanged'}")
        if not changed or not isinstance(after, Program):
            return
        only = [word[5:] for word in self.debug if word.startswith("pass=")]
        if self._wants("diff") and (not only or name in only):
            import difflib

            from .ir.text import print_program

            lines = difflib.unified_diff(
                print_program(before).splitlines(), print_program(after).splitlines(),
                f"before {name}", f"after {name}", lineterm="",
            )  # fmt: skip
            print("\n".join(lines), file=sys.stderr)
        self.stage(f"{name}.gf", after)

    def kernels(self, plan: Plan) -> None:
        if self.directory is None and not self._wants("kernels"):
            return
        from .loop.text import print_kernel

        texts = [print_kernel(la.kernel) for la in plan.launches if la.kernel is not None]
        if self._wants("kernels"):
            print("\n".join(texts), file=sys.stderr)
        self._write("kernels.gfl", "\n".join(texts))

    def _code(self, kind: str, text: str) -> None:
        """`kind` is "llvm" or "asm"."""
        if self._wants(kind):
            print(text, file=sys.stderr)
        self._write({"llvm": "step.ll", "asm": "step.s"}[kind], text)

    def _write(self, name: str, text: str) -> None:
        if self.directory is not None:
            path = self.directory / f"{next(self.number):02}-{name}"
            path.write_text(text if text.endswith("\n") else text + "\n")


def internal(message: str) -> InternalError:
    """An internal error with the advice every one of them gives."""
    return InternalError(
        f"{message}\n  this is a defect of graphflow: please report it with the folder that "
        "GRAPHFLOW_DUMP=<folder> fills"
    )


__all__ = ["CompileOptions", "Step", "compile_step", "describe_plan", "peak_bytes"]
