"""The commands that build a host of an exported model, as its files quote them.

They name the runtime's sources runtime/[a-z]*.c: the usual pattern would open a comment of C.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..codegen.target import host
from .model import Model


@dataclass(frozen=True)
class Build:
    """What a host links, for one kind of library.

    libraries: file names; the runtime is among them where the library holds it
    cc, cxx:   compilers for the target
    """

    kind: str
    libraries: tuple[str, ...]
    cc: str
    cxx: str
    threads: bool

    @property
    def _flags(self) -> str:
        return "-O2 -pthread" if self.threads else "-O2 -DGF_NO_THREADS"

    @property
    def _links(self) -> str:
        """What follows the sources."""
        parts = list(self.libraries)
        if self.kind == "shared":
            parts.append("-Wl,-rpath,'$ORIGIN'")
        else:
            parts += ["-pthread", "-lm"] if self.threads else ["-lm"]
        return " ".join(parts)

    def c_host(self, source: str, program: str) -> str:
        """One command from C source to a program, run where the export lies."""
        sources = source if self.kind == "shared" else f"-Iruntime {source} runtime/[a-z]*.c"
        return f"{self.cc} -std=c11 {self._flags} -o {program} {sources} {self._links}"

    def cpp_host(self, source: str, program: str) -> str:
        """One command line from C++ source to a program, run where the export lies. The runtime is
        C, which needs a compiler (or a standard) of its own."""
        if self.kind == "shared":
            return f"{self.cxx} -std=c++17 -O2 -o {program} {source} {self._links}"
        runtime = "-Iruntime -r -nostdlib -o runtime/runtime.o runtime/[a-z]*.c"
        return (
            f"{self.cc} -std=c11 {self._flags} {runtime} && "
            f"{self.cxx} -std=c++17 -O2 -o {program} {source} runtime/runtime.o {self._links}"
        )


def build_of(model: Model, kind: str, present: Sequence[str]) -> Build:
    """`present`: the files of the export."""
    suffix = {"static": ".a", "shared": ".so", "object": ".o"}[kind]
    libraries = tuple(name for name in present if name.endswith(suffix) and "/" not in name)
    if model.triple.startswith("wasm"):
        clang = "--target=wasm32-wasi"
        return Build(kind, libraries, f"clang {clang}", f"clang++ {clang}", False)
    if model.triple == host().triple:
        return Build(kind, libraries, "cc", "c++", True)
    tools = model.triple.replace("-unknown", "")
    return Build(kind, libraries, f"{tools}-gcc", f"{tools}-g++", True)


__all__ = ["Build", "build_of"]
