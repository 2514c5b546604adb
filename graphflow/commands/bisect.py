"""python -m graphflow bisect: the pass or rewrite rule behind a wrong answer."""

from __future__ import annotations

import argparse


def add(commands) -> None:
    parser = commands.add_parser(
        "bisect",
        help="find the pass or rewrite rule behind a wrong answer",
        description="Runs a script that exits with 0 when its answer is right, leaving out passes "
        "and rewrite rules by name until the one behind the wrong answer is found.",
    )
    parser.add_argument("script", nargs=argparse.REMAINDER, help="the script and its arguments")
    parser.set_defaults(run=run, fail=parser.error)


def run(chosen: argparse.Namespace) -> int:
    if not chosen.script:
        chosen.fail("which script?")
    from ..bisect import bisect
    from ..passes.pipeline import names, rule_names

    passes = [name for name in names() if name not in rule_names()]
    return bisect(chosen.script, passes, rule_names(), lambda line: print(line, flush=True))
