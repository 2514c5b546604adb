"""From Loop kernels and Plans to relocatable objects: the only user of LLVM."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from ..loop import nodes as loop
from ..plan import Plan
from ..sizes import Symbol
from .module import Module
from .step import write_step
from .target import Target

_OPTIMIZATION = 1  # of instruction selection and register allocation; no IR passes are run


@dataclass
class Report:
    """What a compilation took, and what it made. `want_assembly` asks for assembly text too."""

    want_assembly: bool = False
    verify: bool = False
    seconds: dict[str, float] = field(default_factory=dict)
    llvm: str = ""
    assembly: str = ""
    functions: int = 0  # distinct kernels


@cache
def _llvm():
    """llvmlite's binding, with the targets it was built for. Loaded when first needed."""
    import llvmlite.binding as binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    return binding


@cache
def _foreign() -> None:
    binding = _llvm()
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()


@cache
def _machine(target: Target) -> Any:
    binding = _llvm()
    try:
        found = binding.Target.from_triple(target.triple)
    except RuntimeError:
        _foreign()
        found = binding.Target.from_triple(target.triple)
    return found.create_target_machine(
        cpu=target.cpu, features=target.features, opt=_OPTIMIZATION, reloc="pic", codemodel="small"
    )


def emit(text: str, target: Target, report: Report | None = None) -> bytes:
    """The object of a module's text."""
    report = report or Report()
    start = time.perf_counter()
    binding, machine = _llvm(), _machine(target)
    loaded = time.perf_counter()
    module = binding.parse_assembly(text)
    if report.verify:
        module.verify()
    parsed = time.perf_counter()
    if report.want_assembly:
        report.assembly = machine.emit_assembly(module)
        module = binding.parse_assembly(text)
        parsed = time.perf_counter()
    result = machine.emit_object(module)
    report.seconds["load llvm"] = loaded - start
    report.seconds["parse"] = parsed - loaded
    report.seconds["select"] = time.perf_counter() - parsed
    report.llvm = text
    return result


def compile_kernels(
    kernels: Sequence[loop.Kernel], target: Target, report: Report | None = None
) -> bytes:
    """An object that exports each kernel under its own name, as a function
    void(frame, a pointer a buffer, i64 sizes in the order of kernel.sizes(), i64 scalars)."""
    module = Module(target)
    for kernel in kernels:
        module.kernel(kernel, kernel.name, "")
    return emit(module.text(), target, report)


def compile_plan(
    plan: Plan, symbols: Sequence[Symbol], target: Target, report: Report | None = None
) -> bytes:
    """The object of a whole step: it exports gf_sizes and gf_step (see frame.h).

    symbols: the order in which gf_sizes gets their values. gf_sizes writes those of
    `plan.values()`, in that order.
    """
    report = report or Report()
    start = time.perf_counter()
    module = Module(target)
    report.functions = write_step(module, plan, symbols)
    text = module.text()
    report.seconds["emit"] = time.perf_counter() - start
    return emit(text, target, report)
