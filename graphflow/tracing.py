"""What GRAPHFLOW_DEBUG prints and GRAPHFLOW_DUMP writes of one compilation."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

from .ir.node import Node, Tensor
from .ir.program import Program
from .knobs import Knobs
from .plan import Plan

_dumps = itertools.count()


class Trace:
    """Told of each stage of a compilation; says and writes what the settings ask for."""

    def __init__(self, knobs: Knobs):
        self.debug = knobs.debug
        self.directory = None
        self.number = itertools.count()
        if knobs.dump is not None:
            self.directory = Path(knobs.dump) / f"{next(_dumps):03}"
            self.directory.mkdir(parents=True, exist_ok=True)
        self.wants_code = self.directory is not None or self._wants("llvm") or self._wants("asm")

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

    def fired(self, name: str, before: Node, after: Tensor) -> None:
        """Called for each rewrite by a rule; its name is the one GRAPHFLOW_DISABLE takes."""
        if self._wants("passes"):
            self.line("passes", f"  {name}: {before.op.name} -> {after.node.op.name}")

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

    def code(self, made: Any) -> None:
        """The LLVM IR and assembly of a step."""
        for kind, name, text in (("llvm", "step.ll", made.llvm), ("asm", "step.s", made.assembly)):
            if self._wants(kind):
                print(text, file=sys.stderr)
            if self.wants_code:
                self._write(name, text)

    def _write(self, name: str, text: str) -> None:
        if self.directory is not None:
            path = self.directory / f"{next(self.number):02}-{name}"
            path.write_text(text if text.endswith("\n") else text + "\n")


__all__ = ["Trace"]
