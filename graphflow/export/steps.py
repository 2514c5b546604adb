"""The compiled steps of an export: every signature for every instruction set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..cache import CacheStats
from ..codegen.target import LEVELS, Target, host, level
from ..compile import Ahead, CompileOptions, Step, compile_step
from ..errors import GraphError
from ..ir.graph import Graph
from ..ir.node import all_nodes
from ..ir.program import Program
from ..ir.variable import VariableHandle
from ..knobs import Knobs
from ..runtime import Description
from .signatures import Signature

_X86_LEVELS = ("avx512", "avx2", "sse2")  # the best first


@dataclass(frozen=True)
class Variant:
    """An instruction set that an export has code for."""

    name: str
    target: Target

    def features(self) -> tuple[int, tuple[str, ...]]:
        """What a processor must have to run it: as bits (see cpu.h), and by name."""
        return self.target.needs_bits, self.target.needs


def variants(target: str | None) -> list[Variant]:
    """The instruction sets that a target stands for, the best first.

    None is the machine at hand, whatever processor of its kind; a triple the same for another
    machine. "native" is this very processor; the name of a level (avx2, ...) that level alone.
    ValueError for what is neither.
    """
    if target == "native":
        return [_native()]
    if target is None:
        target = host().machine
    if target in LEVELS and target not in ("aarch64", "riscv64", "wasm32"):
        return [Variant(target, level(target))]
    least = level({"x86_64": "sse2"}.get(target, target))
    if least.machine == "x86_64":
        return [Variant(name, level(name)) for name in _X86_LEVELS]
    return [Variant(least.machine, least)]


def _native() -> Variant:
    """The highest level that this processor has, with its caches."""
    here = host()
    if here.machine != "x86_64":
        return Variant(here.machine, here)
    name = "avx512" if here.has_masks else "avx2" if here.has_fma else "sse2"
    return Variant(name, replace(level(name), l1=here.l1, l2=here.l2, l3=here.l3))


@dataclass(frozen=True)
class Compiled:
    """A signature as one instruction set's code. Slots of its description's states are positions
    in the export's list of variables."""

    signature: Signature
    variant: Variant
    names: tuple[str, str]  # of the functions its object exports
    step: Step
    description: Description


@dataclass(frozen=True)
class Steps:
    """steps: by signature, then by variant."""

    variables: tuple[VariableHandle, ...]
    steps: tuple[tuple[Compiled, ...], ...]

    def written(self) -> set[VariableHandle]:
        """Variables that get a value from some signature that needs none of them before."""
        found: set[VariableHandle] = set()
        for row in self.steps:
            states = row[0].description.states
            found |= {self.variables[s.slot] for s in states if s.pointer_in < 0}
        return found


def compile_all(
    graph: Graph,
    signatures: Sequence[Signature],
    targets: Sequence[Variant],
    prefix: str,
    options: CompileOptions,
    knobs: Knobs,
) -> Steps:
    """Compiles each signature for each target. Raises GraphError for what needs Python to run."""
    variables: dict[VariableHandle, int] = {}
    rows = []
    for signature in signatures:
        row = []
        for variant in targets:
            stem = f"{prefix}_{signature.name}_{variant.name}"
            names = (f"{stem}_sizes", f"{stem}_step")
            step = compile_step(
                graph, signature.wanted, list(signature.feeds.values()), signature.types, options,
                knobs, CacheStats(), ahead=Ahead(variant.target, names),
            )  # fmt: skip
            _refuse_python(signature, step.program, step.description)
            slots = [variables.setdefault(v, len(variables)) for v in step.variables]
            states = [replace(s, slot=slots[s.slot]) for s in step.description.states]
            description = replace(step.description, states=states)
            row.append(Compiled(signature, variant, names, step, description))
        rows.append(tuple(row))
    return Steps(tuple(variables), tuple(rows))


def _refuse_python(signature: Signature, program: Program, description: Description) -> None:
    if not description.calls:
        return
    lines = [
        f"\n  {origin}"
        for node in all_nodes(program.nodes())
        if "function" in node.attrs
        for origin in program.origin(node)[:1]
    ]
    raise GraphError(
        f"export: signature {signature.name!r} calls Python, which a host does not have"
        + "".join(dict.fromkeys(lines))
    )


__all__ = ["Compiled", "Steps", "Variant", "compile_all", "variants"]
