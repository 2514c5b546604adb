"""Giving memory back that only compiling needed.

A process that trains keeps its peak near what the step itself takes. What LLVM and the passes have
freed stays with the allocator until it is trimmed, and the pages of LLVM's own code stay mapped;
both come back by themselves, in a millisecond or so, when something is compiled again.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from pathlib import Path

_DONT_NEED = 4  # MADV_DONTNEED, on every Linux


def give_back() -> None:
    """Returns free memory and the code pages of LLVM to the system, where that is possible."""
    if not sys.platform.startswith("linux"):
        return
    library = ctypes.CDLL(None)
    with contextlib.suppress(AttributeError):  # not every C library has it
        library.malloc_trim(ctypes.c_size_t(0))
    with contextlib.suppress(AttributeError, OSError):
        for start, length in _code_of("llvmlite"):
            library.madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), _DONT_NEED)


def _code_of(name: str) -> list[tuple[int, int]]:
    """(address, bytes) of the executable mappings of the shared library so called. They are never
    written to, so that dropping their pages loses nothing: the next access reads the file."""
    found = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and fields[1] == "r-xp" and name in fields[5].rsplit("/", 1)[-1]:
            start, end = (int(part, 16) for part in fields[0].split("-"))
            found.append((start, end - start))
    return found


__all__ = ["give_back"]
