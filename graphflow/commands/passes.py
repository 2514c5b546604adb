"""python -m graphflow passes: what a run can leave out by name."""

from __future__ import annotations

import argparse


def add(commands) -> None:
    text = "list every pass and rewrite rule that can be left out"
    commands.add_parser("passes", help=text, description=text).set_defaults(run=run)


def run(chosen: argparse.Namespace) -> int:
    from ..passes.pipeline import names

    print("\n".join(names()))
    return 0
