"""Finds the pass or rewrite rule behind a wrong answer, by leaving them out.

The program under test says by its exit status whether its answer is right, as the scripts of
`git bisect run` do. Every trial runs it in a process of its own with GRAPHFLOW_DISABLE set.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence

from . import knobs


def smallest_cure(names: Sequence[str], is_right: Callable[[frozenset[str]], bool]) -> list[str]:
    """The fewest names (with respect to leaving any one back in) that must be left out for a
    right answer, given that leaving all of `names` out gives one.

    Halves first, so that a single culprit among n is found in about log2(n) trials, then the
    delta debugging of Zeller and Hildebrandt (2002), "Simplifying and Isolating Failure-Inducing
    Input", with ever finer parts.
    """
    cure = list(names)
    parts = 2
    while len(cure) >= 2:
        size = -(-len(cure) // parts)
        chunks = [cure[i : i + size] for i in range(0, len(cure), size)]
        for chunk in chunks:
            if is_right(frozenset(chunk)):
                cure, parts = chunk, 2
                break
        else:
            for chunk in chunks if parts > 2 else ():
                rest = [name for name in cure if name not in chunk]
                if is_right(frozenset(rest)):
                    cure, parts = rest, max(parts - 1, 2)
                    break
            else:
                if parts >= len(cure):
                    return cure
                parts = min(len(cure), parts * 2)
    return cure


def bisect(
    command: Sequence[str],
    passes: Sequence[str],
    rules: Sequence[str],
    say: Callable[[str], None],
) -> int:
    """Runs `command` (a Python script and its arguments) under ever other sets of disabled names;
    reports through `say`. Returns 0 when a culprit was found."""
    trials: dict[frozenset[str], bool] = {}

    def is_right(disabled: frozenset[str]) -> bool:
        if disabled not in trials:
            environment = knobs.environment_with(disable=disabled)
            done = subprocess.run(
                [sys.executable, *command],
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=False,
            )
            trials[disabled] = done.returncode == 0
            state = "right" if trials[disabled] else "wrong"
            shown = ", ".join(sorted(disabled)) if len(disabled) <= 4 else f"{len(disabled)} names"
            say(f"without {shown or 'nothing'}: {state}")
        return trials[disabled]

    if is_right(frozenset()):
        say("the program succeeds as it is (exit status 0): there is nothing to find")
        return 1
    # A rule is a finer answer than the pass that applies it.
    for candidates in (rules, [*passes, *rules]):
        if is_right(frozenset(candidates)):
            break
    else:
        say("the program fails even with every pass and rule left out: none of them is behind it")
        return 1
    cure = smallest_cure(candidates, is_right)
    say(f"the wrong answer comes from: {', '.join(cure)}")
    return 0
