"""Runs the benchmark named on the command line, or all of them."""

from __future__ import annotations

import importlib
import sys

NAMES = ("dispatch", "steps", "sizes", "compile_time", "memory")


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        print(f"no benchmark named {', '.join(unknown)}; there are {', '.join(NAMES)}")
        return 2
    for name in names or NAMES:
        importlib.import_module(f"benchmarks.{name}").main()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
