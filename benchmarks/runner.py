"""Processes, one after the other: which ones, with which settings, in which order."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from . import data
from .systems import Request, SystemInfo
from .workloads import DISPATCH, GEMM, KERNELS, LENGTHS, TRAINING, Workload

ROOT = Path(__file__).resolve().parent.parent

DEFAULT, KEEP = "default", "keep"
# What makes glibc keep the memory that a program frees, instead of mapping it anew (and having
# every page of it faulted in) at each use. Thresholds over 32 MB are refused: no mapping at all.
ALLOCATORS = {
    DEFAULT: {},
    KEEP: {
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
        "MALLOC_TRIM_THRESHOLD_": str(16 << 30),
        "MALLOC_TOP_PAD_": str(64 << 20),
    },
}
COLD, WARM = "cold", "warm"
CONTENDER = 1.5  # peers this many times slower than the fastest are not measured again
HOPELESS = 3.0  # nor tried in another way: memory that is kept saves up to half of the time


@dataclass(frozen=True)
class Variant:
    """How a system is run on a workload."""

    system: str
    layout: str
    allocator: str = DEFAULT
    options: tuple[tuple[str, Any], ...] = ()


@dataclass
class Record:
    """What one process said, or why it said nothing.

    cache:  of compiled code, on disk: COLD or WARM
    output: see worker.run
    """

    workload: str
    variant: Variant
    threads: int
    round: int
    cache: str
    output: dict[str, Any] = field(default_factory=dict)
    error: str = ""

    @property
    def rows(self) -> dict[str, dict[str, Any]]:
        return self.output.get("rows", {})

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(fields: dict[str, Any]) -> Record:
        variant = dict(fields["variant"])
        variant["options"] = tuple(
            (key, tuple(value) if isinstance(value, list) else value)
            for key, value in variant["options"]
        )
        return Record(**{**fields, "variant": Variant(**variant)})


@dataclass
class Settings:
    """seconds: to measure each figure; timeout: of a process; allocators: tried for peers."""

    folder: Path
    rounds: int = 3
    seconds: float = 1.0
    timeout: float = 400.0
    allocators: tuple[str, ...] = (DEFAULT, KEEP)


def environment(variant: Variant, threads: int, caches: Path) -> dict[str, str]:
    """Of a process: threads, allocator, and compile caches of its own."""
    count = str(threads)
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("GRAPHFLOW", "MALLOC_"))}
    # Peers come with their bytecode: so does this repository after the first process.
    inherited.pop("PYTHONDONTWRITEBYTECODE", None)
    names = ("OMP", "MKL", "OPENBLAS", "NUMEXPR")
    return {
        **inherited,
        **{f"{name}_NUM_THREADS": count for name in names},
        "PYTHONPATH": str(ROOT),
        "GRAPHFLOW_THREADS": count,
        "GRAPHFLOW_CACHE": str(caches / "graphflow"),
        "TORCHINDUCTOR_CACHE_DIR": str(caches / "inductor"),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "JAX_PLATFORMS": "cpu",
        **ALLOCATORS[variant.allocator],
    }


def variants(system: SystemInfo, workload: Workload, allocators: Iterable[str]) -> list[Variant]:
    """Every way to try: each allocator in the first layout, the last of them in the others."""
    layouts = system.layouts if workload.images else system.layouts[:1]
    if not system.peer or workload.small:
        allocators = (DEFAULT,)
    tried = [Variant(system.name, layouts[0], allocator) for allocator in allocators]
    return tried + [Variant(system.name, layout, tried[-1].allocator) for layout in layouts[1:]]


def best_variant(records: list[Record], system: str) -> Variant | None:
    """The one that was fastest in most rows."""
    done = [r for r in records if r.variant.system == system and r.rows]
    wins: dict[Variant, int] = {}
    for row in {row for record in done for row in record.rows}:
        fastest = min(
            (r for r in done if row in r.rows), key=lambda r: float(r.rows[row]["median"])
        )
        wins[fastest.variant] = wins.get(fastest.variant, 0) + 1
    return max(wins, key=lambda variant: wins[variant]) if wins else None


def contenders(records: list[Record], peers: Iterable[str]) -> list[str]:
    """Peers that are the fastest in some row, or nearly."""
    times: dict[str, dict[str, float]] = {}
    for record in records:
        for row, figures in record.rows.items():
            if record.variant.system in peers:
                of_row = times.setdefault(row, {})
                median = float(figures["median"])
                known = of_row.get(record.variant.system, median)
                of_row[record.variant.system] = min(known, median)
    near: set[str] = set()
    for of_row in times.values():
        limit = min(of_row.values()) * CONTENDER
        near |= {system for system, median in of_row.items() if median <= limit}
    return [peer for peer in peers if peer in near]


def hopeless(records: list[Record], system: SystemInfo) -> bool:
    """Whether a peer is far behind in the only row of a workload."""
    times: dict[str, float] = {}
    for record in records:
        if len(record.rows) > 1:
            return False
        for figures in record.rows.values():
            median = float(figures["median"])
            name = record.variant.system
            times[name] = min(times.get(name, median), median)
    mine = times.get(system.name)
    return system.peer and mine is not None and mine > HOPELESS * min(times.values())


class Runner:
    """Runs processes and keeps their records; `say` tells a person how it goes."""

    def __init__(
        self,
        settings: Settings,
        systems: list[SystemInfo],
        say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
    ) -> None:
        self.settings = settings
        self.systems = systems
        self.say = say
        self.records: list[Record] = []
        self._cached: set[str] = set()
        self.started = time.time()

    def prepare(self, workloads: Iterable[Workload]) -> None:
        """Writes initial weights and exported models into the folder."""
        folder = self.settings.folder
        folder.mkdir(parents=True, exist_ok=True)
        exported = any(system.name == "onnxruntime" for system in self.systems)
        for workload in workloads:
            weights = folder / f"{workload.model}.npz"
            if workload.model and not weights.exists():
                data.write_weights(workload.model, weights)
            if exported and workload.kind not in (*TRAINING, LENGTHS):
                code = [sys.executable, "-m", "benchmarks.onnx_export", workload.name]
                environ = {**os.environ, "PYTHONPATH": str(ROOT)}
                subprocess.run(
                    [*code, str(folder), str(weights)], check=True, env=environ, cwd=ROOT
                )

    def run(self, workloads: list[Workload], threads: int, rounds: int | None = None) -> None:
        """All rounds: systems take turns within a round, workloads within a run."""
        for round_ in range(self.settings.rounds if rounds is None else rounds):
            for workload in workloads:
                self._round(workload, threads, round_)

    def _round(self, workload: Workload, threads: int, round_: int) -> None:
        runs = [s for s in self.systems if s.runs(workload)]
        before = self._of(workload, threads)
        again = contenders(before, [s.name for s in runs if s.peer])
        for system in runs:
            if round_ == 0:
                tried = variants(system, workload, self.settings.allocators)
            else:
                best = best_variant(before, system.name)
                slow = system.peer and system.name not in again
                tried = [] if best is None or slow else [best]
            for variant in tried:
                if system.name == "graphflow" and workload.kind not in (KERNELS, GEMM, DISPATCH):
                    self.process(workload, variant, threads, round_, COLD)
                self.process(workload, variant, threads, round_)
                if hopeless(self._of(workload, threads), system):
                    break

    def _of(self, workload: Workload, threads: int) -> list[Record]:
        return [r for r in self.records if r.workload == workload.name and r.threads == threads]

    def process(
        self, workload: Workload, variant: Variant, threads: int, round_: int, cache: str = WARM
    ) -> Record:
        """One process; its record, which is kept too. The first of its kind finds a cold cache,
        and so does one that is asked to."""
        seconds = self.settings.seconds
        if workload.kind in (KERNELS, GEMM):
            seconds = seconds / 2
        request = Request(
            workload.name,
            variant.system,
            threads,
            variant.layout,
            seconds,
            str(self.settings.folder / f"{workload.model}.npz"),
            str(self.settings.folder),
            dict(variant.options),
        )
        options = [f"{key}={value}" for key, value in variant.options]
        label = "-".join((workload.name, variant.system, variant.layout, str(threads), *options))
        caches = self.settings.folder / "caches" / label.replace("/", "-")
        if cache == COLD or label not in self._cached:
            cache = COLD
            shutil.rmtree(caches, ignore_errors=True)
            self._cached.add(label)
        record = Record(workload.name, variant, threads, round_, cache)
        self._fill(record, request, environment(variant, threads, caches))
        self.records.append(record)
        self._tell(record)
        return record

    def _fill(self, record: Record, request: Request, environ: dict[str, str]) -> None:
        command = [sys.executable, "-m", "benchmarks.worker", json.dumps(asdict(request))]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                env=environ,
                cwd=ROOT,
                timeout=self.settings.timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            record.error = f"no result within {self.settings.timeout:g} s"
            return
        lines = done.stdout.strip().splitlines()
        if done.returncode or not lines:
            errors = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
            record.error = errors[-1][:300]
            return
        record.output = json.loads(lines[-1])

    def _tell(self, record: Record) -> None:
        variant = record.variant
        how = [variant.allocator, variant.layout, record.cache, f"{record.threads} threads"]
        how += [f"{key}={value}" for key, value in variant.options]
        row = next(iter(record.rows.values()), None)
        text = f"{float(row['median']) * 1e3:10.4f} ms" if row else f"failed: {record.error}"
        minutes = (time.time() - self.started) / 60
        self.say(
            f"{minutes:5.1f} min  round {record.round}  {record.workload:20} "
            f"{variant.system:18} {text}  ({', '.join(how)})"
        )
