"""Installs the systems to compare with into the environment that runs this file.

    python benchmarks/install.py

All of requirements.txt at once, so that their dependencies fit together; if that fails, line by
line, and what cannot be installed stays absent. pip's own settings say where packages come from:
PyTorch's builds without CUDA, for one, have an index of their own (see README.md).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).parent / "requirements.txt"


def requirements(text: str) -> list[str]:
    lines = (line.split("#")[0].strip() for line in text.splitlines())
    return [line for line in lines if line]


def installs(*what: str) -> bool:
    command = [sys.executable, "-m", "pip", "install", "--quiet", *what]
    return subprocess.run(command, check=False).returncode == 0


def main() -> None:
    if installs("-r", str(REQUIREMENTS)):
        return
    print("not all of them can be installed together; one at a time:")
    for requirement in requirements(REQUIREMENTS.read_text()):
        print(f"  {requirement}: {'installed' if installs(requirement) else 'absent'}")


if __name__ == "__main__":
    main()
