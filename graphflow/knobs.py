"""Every setting that comes from the environment: the only module that reads it.

GRAPHFLOW_DEBUG    what to print to stderr, separated by commas: `passes` (names and times), `diff`
                   (what each pass changed; `pass=NAME` limits it to one), `kernels` (Loop text),
                   `plan`, `llvm`, `asm`, `cache` (hits, misses and why), or `all`
GRAPHFLOW_DUMP     a directory that receives every stage of every compilation, numbered
GRAPHFLOW_DISABLE  passes and rewrite rules to leave out, by name, separated by commas
GRAPHFLOW_VERIFY   1: verify the IR after every pass
GRAPHFLOW_CACHE    directory of the compile cache, or `off`; by default in the user's cache folder
GRAPHFLOW_THREADS  threads of a session whose config does not say; by default the CPUs this
                   process may use
GRAPHFLOW_TARGET   instruction set instead of the host's: `scalar`, `sse2`, `avx2`, `avx512`
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path

_TRUE = ("1", "true", "yes", "on")


def _words(name: str) -> frozenset[str]:
    return frozenset(w.strip() for w in os.environ.get(name, "").split(",") if w.strip())


def _cache_directory() -> Path | None:
    given = os.environ.get("GRAPHFLOW_CACHE")
    if given == "off":
        return None
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "graphflow"


def _threads() -> int:
    given = os.environ.get("GRAPHFLOW_THREADS", "")
    if given.isdigit() and int(given) > 0:
        return int(given)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Knobs:
    debug: frozenset[str] = field(default_factory=lambda: _words("GRAPHFLOW_DEBUG"))
    dump: str | None = field(default_factory=lambda: os.environ.get("GRAPHFLOW_DUMP") or None)
    disable: frozenset[str] = field(default_factory=lambda: _words("GRAPHFLOW_DISABLE"))
    verify: bool = field(
        default_factory=lambda: os.environ.get("GRAPHFLOW_VERIFY", "").lower() in _TRUE
    )
    cache: Path | None = field(default_factory=_cache_directory)
    threads: int = field(default_factory=_threads)
    target: str | None = field(default_factory=lambda: os.environ.get("GRAPHFLOW_TARGET") or None)


def read(**overrides) -> Knobs:
    """The settings of the environment now, with some replaced."""
    return replace(Knobs(), **overrides)


def environment_with(disable: frozenset[str]) -> dict[str, str]:
    """The environment for a child process in which these passes and rules are left out too, and
    nothing comes from the compile cache."""
    names = sorted(disable | _words("GRAPHFLOW_DISABLE"))
    return {**os.environ, "GRAPHFLOW_DISABLE": ",".join(names), "GRAPHFLOW_CACHE": "off"}
