"""The command line: python -m graphflow COMMAND; see commands/."""

from __future__ import annotations

import argparse
import sys

from .commands import bisect, export, passes, show
from .errors import GraphError


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m graphflow")
    commands = parser.add_subparsers(dest="command", required=True)
    for command in (export, show, bisect, passes):
        command.add(commands)
    chosen = parser.parse_args(arguments)
    try:
        return chosen.run(chosen)
    except (GraphError, ValueError, OSError) as error:
        print(f"python -m graphflow {chosen.command}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
