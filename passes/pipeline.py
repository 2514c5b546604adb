"""The passes from a cut Program to the one that is lowered: one list, read top to bottom."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..ir.program import Program


@dataclass(frozen=True)
class PassOptions:
    """What a compilation asks of its passes.

    disable: names of passes and rewrite rules to leave out
    verify:  check the program before the first and after every pass
    check_numerics: have every float operation of the user's checked for NaN and infinity
    observe: called with (pass name, before, after, seconds) after every pass
    """

    disable: frozenset[str] = frozenset()
    verify: bool = False
    check_numerics: bool = False
    observe: Callable[[str, Any, Any, float], None] | None = None


Pass = Callable[[Program, PassOptions], Program]

GRAPH_PASSES: tuple[tuple[str, Pass], ...] = ()


def run_graph_passes(program: Program, options: PassOptions = PassOptions()) -> Program:
    """Rewrites `program` by every pass of GRAPH_PASSES that is not disabled, in order."""
    for name, rewrite in GRAPH_PASSES:
        if name in options.disable:
            continue
        start = time.perf_counter()
        after = rewrite(program, options)
        if options.observe is not None:
            options.observe(name, program, after, time.perf_counter() - start)
        program = after
    return program
