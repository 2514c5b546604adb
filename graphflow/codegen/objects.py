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
from .link import link
from .module import Module
from .step import write_step
from .target import Target

_PIECE = 100_000  # bytes of LLVM IR that are compiled at a time
_OPTIMIZATION = 1  # of instruction selection and register allocation; no IR passes are run


@dataclass
class Report:
    """What a compilation took, and what it made. `want_assembly` asks for assembly text too.

    Of large steps, what LLVM takes ("parse", "select") goes on while IR is written ("emit"); what
    is left of it then is what is waited for.
    """

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
    apart = _linkable(target) and not report.want_assembly
    with _Pieces(target, report) as pieces:

        def written() -> None:
            if apart and module.pending > _PIECE:
                pieces.add(module.piece())

        report.functions = write_step(module, plan, symbols, written)
        report.seconds["emit"] = time.perf_counter() - start
        if not pieces.started:
            return emit(module.text(), target, report)
        pieces.add(module.piece())
        start = time.perf_counter()
        code = link(pieces.objects())
        report.seconds["wait for llvm"] = time.perf_counter() - start
    return code


def _linkable(target: Target) -> bool:
    return target.triple.startswith(("x86_64", "aarch64")) and "linux" in target.triple


class _Pieces:
    """A thread that compiles the pieces of a module while the next ones are written: LLVM does not
    need the interpreter. More than one would gain nothing, llvmlite lets in one at a time."""

    def __init__(self, target: Target, report: Report):
        self.target, self.report = target, report
        self.worker: Any = None
        self.results: list[Any] = []
        self.reports: list[Report] = []

    def __enter__(self) -> _Pieces:
        return self

    def __exit__(self, *_: object) -> None:
        if self.worker is not None:
            self.worker.shutdown(cancel_futures=True)

    @property
    def started(self) -> bool:
        return self.worker is not None

    def add(self, text: str) -> None:
        if self.worker is None:
            from concurrent.futures import ThreadPoolExecutor

            start = time.perf_counter()
            _machine(self.target)  # importing would be slow there, as long as Python runs here
            self.report.seconds["load llvm"] = time.perf_counter() - start
            self.worker = ThreadPoolExecutor(1, "graphflow-llvm")
        self.reports.append(Report(verify=self.report.verify))
        self.results.append(self.worker.submit(emit, text, self.target, self.reports[-1]))

    def objects(self) -> list[bytes]:
        objects = [result.result() for result in self.results]
        for one in self.reports:
            for stage, seconds in one.seconds.items():
                self.report.seconds[stage] = self.report.seconds.get(stage, 0.0) + seconds
        self.report.llvm = "\n".join(one.llvm for one in self.reports)
        return objects
