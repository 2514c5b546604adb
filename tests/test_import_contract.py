"""Imports run only downwards through the rooms, and without cycles (docs/architecture.md)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent / "graphflow"

# A room is the first part of a module's path below graphflow/.
LEVEL = {
    "version": 0, "dtypes": 0, "sizes": 0, "errors": 0, "knobs": 0,
    "ir": 1, "nest": 1,
    "loop": 2, "plan": 2,
    "ops": 3,
    "passes": 4,
    "codegen": 5,
    "runtime": 6, "_native": 6,
    "session": 7, "session_base": 7, "compile": 7, "description": 7, "tracing": 7,
    "cache": 7, "report": 7, "bisect": 7,
    "export": 7, "config": 7, "failures": 7, "fetches": 7, "reference": 7,
    "interpreted": 7, "op_by_op": 7,
    "__init__": 9, "commands": 9, "__main__": 9,
}  # fmt: skip

# The rooms below passes/, from the one that imports none of the others up.
PASS_ROOMS = (
    "analysis", "rewrite", "loops", "cut", "gradients", "fusion", "lowering", "contraction",
    "convolution", "attention", "lower", "pipeline", "planning",
)  # fmt: skip


def modules() -> list[Path]:
    return sorted(p for p in ROOT.rglob("*.py"))


def room(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[0]


def level(name: str) -> int:
    return LEVEL.get(name, 8)


def imported_rooms(path: Path) -> list[tuple[int, str]]:
    """(line, room) of every graphflow module that a file imports, also inside functions."""
    found = []
    depth = len(path.relative_to(ROOT).parts) - 1
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [a.name.split(".", 1)[1] for a in node.names if a.name.startswith("graphflow.")]
        elif isinstance(node, ast.ImportFrom):
            if node.level == depth + 1:
                names = [node.module] if node.module else [a.name for a in node.names]
            elif node.level and node.level <= depth:
                inside = path.relative_to(ROOT).parts[: depth + 1 - node.level]
                names = [".".join(inside)]
            elif node.module and node.module.startswith("graphflow."):
                names = [node.module.split(".", 1)[1]]
        found += [(node.lineno, name.split(".")[0]) for name in names]
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_downwards(path: Path):
    mine = level(room(path))
    wrong = [
        f"line {line}: {room(path)} (level {mine}) imports {other} (level {level(other)})"
        for line, other in imported_rooms(path)
        if other != room(path) and level(other) > mine
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", sorted((ROOT / "passes").rglob("*.py")), ids=lambda p: p.stem)
def test_rooms_of_passes_import_only_those_before_them(path: Path):
    inside = path.relative_to(ROOT / "passes").with_suffix("").parts
    if inside[0] == "__init__":
        return
    package = ["passes", *inside[:-1]]
    mine = PASS_ROOMS.index(inside[0])
    wrong = []
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom) or not 0 < node.level <= len(package):
            continue
        module = package[: len(package) + 1 - node.level] + (node.module or "").split(".")
        if len(module) < 2 or module[0] != "passes" or not module[1]:
            continue
        if module[1] != inside[0] and PASS_ROOMS.index(module[1]) >= mine:
            wrong.append(f"line {node.lineno}: {inside[0]} imports {module[1]}")
    assert not wrong, "\n".join(wrong)


def test_only_knobs_reads_the_environment():
    readers = [
        str(path.relative_to(ROOT))
        for path in modules()
        if path.name != "knobs.py"
        and ("os.environ" in path.read_text() or "getenv" in path.read_text())
    ]
    assert readers == []


def test_only_runtime_imports_the_native_module():
    users = [
        str(path.relative_to(ROOT))
        for path in modules()
        if path.name != "runtime.py"
        and any(other == "_native" for _, other in imported_rooms(path))
    ]
    assert users == []
