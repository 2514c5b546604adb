"""The command line: python -m graphflow bisect script.py [arguments]"""

from __future__ import annotations

import argparse
import sys


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m graphflow")
    commands = parser.add_subparsers(dest="command", required=True)
    finder = commands.add_parser(
        "bisect",
        help="find the pass or rewrite rule behind a wrong answer",
        description="Runs a script that exits with 0 when its answer is right, leaving out passes "
        "and rewrite rules by name until the one behind the wrong answer is found.",
    )
    finder.add_argument("script", nargs=argparse.REMAINDER, help="the script and its arguments")
    commands.add_parser("passes", help="list every pass and rewrite rule that can be left out")
    chosen = parser.parse_args(arguments)

    from .passes.pipeline import names, rule_names

    if chosen.command == "passes":
        print("\n".join(names()))
        return 0
    if not chosen.script:
        finder.error("which script?")
    from .bisect import bisect

    passes = [name for name in names() if name not in rule_names()]
    return bisect(chosen.script, passes, rule_names(), lambda line: print(line, flush=True))


if __name__ == "__main__":
    sys.exit(main())
