"""Other machines to run C programs on: cross compilers, and what plays the machine."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from graphflow.codegen.target import host

NATIVE = Path(__file__).resolve().parents[1] / "native"
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Werror"]

# What only a process that maps objects itself needs.
LOADER = ("loader.c", "relocate.c")


@dataclass(frozen=True)
class Machine:
    """target: what graphflow calls it; compiler, player: the beginnings of commands"""

    name: str
    target: str
    compiler: tuple[str, ...]
    player: tuple[str, ...] = ()
    flags: tuple[str, ...] = ("-pthread",)

    def build(self, program: Path, *sources: Path | str) -> Path:
        """Compiles and links C sources and objects, with the core's headers at hand."""
        includes = [f"-I{NATIVE / 'include'}", f"-I{NATIVE / 'core'}"]
        flags = ["-std=c11", "-O1", *WARNINGS, *includes, *self.flags]
        command = [*self.compiler, *flags, *map(str, sources), "-o", str(program), "-lm"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-4000:]
        return program

    def run(self, program: Path, *arguments: str, **options) -> subprocess.CompletedProcess:
        command = [*self.player, str(program), *arguments]
        return subprocess.run(command, capture_output=True, timeout=200, check=False, **options)


_HERE = {"x86_64": "sse2"}.get(host().machine, host().machine)
_WASI = Path(__file__).with_name("native") / "run_wasi.mjs"
_MACHINES = (
    Machine("here", _HERE, ("cc",)),
    Machine("here-without-threads", _HERE, ("cc",), flags=("-DGF_NO_THREADS",)),
    Machine(
        "aarch64", "aarch64", ("aarch64-linux-gnu-gcc", "-static"), ("qemu-aarch64",)
    ),
    Machine(
        "riscv64", "riscv64", ("riscv64-linux-gnu-gcc", "-static"), ("qemu-riscv64",)
    ),
    Machine(
        "wasm32", "wasm32", ("clang", "--target=wasm32-wasi"),
        ("node", "--no-warnings", "--experimental-wasi-unstable-preview1", str(_WASI)),
        flags=("-DGF_NO_THREADS",),
    ),
)  # fmt: skip
MACHINES = [pytest.param(machine, id=machine.name) for machine in _MACHINES]
# One for each kind of generated code.
MACHINES_BY_CODE = [p for p in MACHINES if p.id != "here-without-threads"]


def needs(machine: Machine) -> None:
    """Skips the test where a tool is missing."""
    for command in (machine.compiler, machine.player):
        if command and shutil.which(command[0]) is None:
            pytest.skip(f"needs {command[0]}")
    if machine.target == "wasm32":
        tool = "wasm-ld"
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool}")
        empty = subprocess.run(
            [*machine.compiler, "-x", "c", "-", "-o", "/dev/null"],
            input=b"#include <stdio.h>\nint main(void) { return 0; }\n",
            capture_output=True, check=False,
        )  # fmt: skip
        if empty.returncode:
            pytest.skip("needs wasi-libc and libclang-rt-dev-wasm32")


def core(*, without: tuple[str, ...] = ()) -> list[Path]:
    """The sources that hosts of exported models compile."""
    left_out = {*LOADER, *without}
    return sorted(path for path in (NATIVE / "core").glob("*.c") if path.name not in left_out)
