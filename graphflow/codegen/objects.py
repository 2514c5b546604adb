"""From Loop kernels and Plans to relocatable objects."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any

from ..loop import nodes as loop
from ..plan import Plan
from ..sizes import Symbol
from . import llvm
from .link import link
from .module import Module
from .step import NAMES, write_step
from .target import Target

_PIECE = 16_000  # bytes of LLVM IR that are compiled at a time
_PATIENCE = 0.0005  # seconds that a thread coming back from LLVM waits for the interpreter


@dataclass
class Report:
    """What a compilation took, and what it made. `want_assembly` asks for assembly text too.

    Of large steps, what LLVM takes ("parse", "select", of all threads together) goes on while IR is
    written ("emit"); what is left of it then is what is waited for.
    """

    want_assembly: bool = False
    verify: bool = False
    seconds: dict[str, float] = field(default_factory=dict)
    llvm: str = ""
    assembly: str = ""
    functions: int = 0  # distinct kernels


def emit(text: str, target: Target, report: Report | None = None, machine: Any = None) -> bytes:
    """The object of a module's text. Who has a machine already (see llvm.py) may give it."""
    report = report or Report()
    start = time.perf_counter()
    binding, machine = llvm.loaded(), machine or llvm.machine(target)
    loaded = time.perf_counter()
    module = binding.parse_assembly(text, binding.create_context())
    if report.verify:
        module.verify()
    parsed = time.perf_counter()
    if report.want_assembly:
        report.assembly = machine.emit_assembly(module)
        module = binding.parse_assembly(text, binding.create_context())
        parsed = time.perf_counter()
    result = llvm.write_object(machine, module)
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
    plan: Plan,
    symbols: Sequence[Symbol],
    target: Target,
    report: Report | None = None,
    threads: int = 1,
    names: tuple[str, str] = NAMES,
) -> bytes:
    """The object of a whole step: it exports gf_sizes and gf_step (see frame.h), or the same under
    other `names`, C identifiers, for steps that share a program. Everything else in it is local.

    symbols: the order in which gf_sizes gets their values. gf_sizes writes those of
    `plan.values()`, in that order.
    threads: how many may compile; the object does not depend on it
    """
    report = report or Report()
    start = time.perf_counter()
    apart = linkable(target) and not report.want_assembly
    with _impatience, _Pieces(target, report, threads - 1) as pieces:

        def written() -> None:
            if apart and module.pending > _PIECE:
                pieces.add(module.piece())

        module = Module(target, written)
        report.functions = write_step(module, plan, symbols, names)
        report.seconds["emit"] = time.perf_counter() - start
        if not pieces.all:
            return emit(module.text(), target, report)
        pieces.add(module.piece())
        start = time.perf_counter()
        code = link(pieces.objects())
        report.seconds["wait for llvm"] = time.perf_counter() - start
    return code


def linkable(target: Target) -> bool:
    return target.triple.startswith(("x86_64", "aarch64", "riscv64")) and "linux" in target.triple


class _Piece:
    """A part of a module, and what became of it."""

    def __init__(self, text: str, verify: bool):
        self.text, self.report = text, Report(verify=verify)
        self.object = b""
        self.error: BaseException | None = None

    def compile(self, target: Target, machine: Any) -> None:
        try:
            self.object = emit(self.text, target, self.report, machine)
        except BaseException as error:
            self.error = error


class _Impatience:
    """Threads take turns in the interpreter more often than usual. A piece comes back from LLVM ten
    times, and would wait for who writes the next one for 5 ms each time."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.users = 0
        self.usual = 0.0

    def __enter__(self) -> None:
        with self.lock:
            if not self.users:
                self.usual = sys.getswitchinterval()
                sys.setswitchinterval(min(self.usual, _PATIENCE))
            self.users += 1

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.users -= 1
            if not self.users:
                sys.setswitchinterval(self.usual)


_impatience = _Impatience()


class _Pieces:
    """Threads that compile the pieces of a module while the next ones are written: LLVM does not
    need the interpreter. Who has written all of them joins in."""

    def __init__(self, target: Target, report: Report, workers: int):
        self.target, self.report, self.workers = target, report, workers
        self.all: list[_Piece] = []
        self.todo: SimpleQueue[_Piece | None] = SimpleQueue()  # None: there will be no more
        self.threads: list[Thread] = []

    def __enter__(self) -> _Pieces:
        return self

    def __exit__(self, *_: object) -> None:
        while not self.todo.empty():
            self.todo.get()
        self.finish()

    def add(self, text: str) -> None:
        if not self.all:
            start = time.perf_counter()
            llvm.loaded()  # importing would be slow there, as long as Python runs here
            self.report.seconds["load llvm"] = time.perf_counter() - start
        self.all.append(_Piece(text, self.report.verify))
        self.todo.put(self.all[-1])
        if len(self.threads) < self.workers:
            self.threads.append(Thread(target=self.work, name="graphflow-llvm", daemon=True))
            self.threads[-1].start()

    def work(self) -> None:
        machine = llvm.machine(self.target)
        while (piece := self.todo.get()) is not None:
            piece.compile(self.target, machine)

    def finish(self) -> None:
        for _ in self.threads:
            self.todo.put(None)
        for thread in self.threads:
            thread.join()
        self.threads.clear()

    def objects(self) -> list[bytes]:
        for _ in range(len(self.threads) + 1):
            self.todo.put(None)
        self.work()
        self.finish()
        for piece in self.all:
            if piece.error is not None:
                raise piece.error
            for stage, seconds in piece.report.seconds.items():
                self.report.seconds[stage] = self.report.seconds.get(stage, 0.0) + seconds
        self.report.llvm = "\n".join(piece.text for piece in self.all)
        return [piece.object for piece in self.all]
