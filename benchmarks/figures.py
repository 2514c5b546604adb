"""From records to figures: the best round of each system, ratios, agreement of results."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .runner import COLD, WARM, Record, Variant
from .systems import SYSTEMS

OURS = "graphflow"
OP_BY_OP = "graphflow-op-by-op"
DISK_CACHED = (OURS, OP_BY_OP, "torch.compile")  # whose first call is faster the second time
PEERS = tuple(system.name for system in SYSTEMS if system.peer)


@dataclass(frozen=True)
class Timing:
    """Of a system in a row of a workload, in seconds.

    median:    of the best round; low and high: the quartiles of that round
    spread:    slowest over fastest round of that variant
    variant:   of the best round
    """

    median: float
    low: float
    high: float
    spread: float
    variant: Variant


class Figures:
    """What the records of a run say, by workload, row (the workload itself, a kernel, a matrix
    product), system and number of threads."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = [r for r in records if not r.variant.options]
        self.ablations = [r for r in records if r.variant.options]

    def _of(self, workload: str, system: str, threads: int) -> list[Record]:
        return [
            r
            for r in self.records
            if (r.workload, r.variant.system, r.threads) == (workload, system, threads)
        ]

    def systems(self, workload: str, threads: int = 2) -> list[str]:
        """Those that were asked to run it, in the order of the table of systems."""
        asked = {
            r.variant.system
            for r in self.records
            if r.workload == workload and r.threads == threads
        }
        return [system.name for system in SYSTEMS if system.name in asked]

    def rows(self, workload: str) -> list[str]:
        records = [r for r in self.records if r.workload == workload]
        return list(dict.fromkeys(row for record in records for row in record.rows))

    def timing(self, workload: str, row: str, system: str, threads: int = 2) -> Timing | None:
        done = [r for r in self._of(workload, system, threads) if row in r.rows]
        if not done:
            return None
        best = min(done, key=lambda r: float(r.rows[row]["median"]))
        same = [float(r.rows[row]["median"]) for r in done if r.variant == best.variant]
        figures = best.rows[row]
        return Timing(
            float(figures["median"]),
            float(figures["q1"]),
            float(figures["q3"]),
            max(same) / min(same),
            best.variant,
        )

    def seconds(self, workload: str, row: str, system: str, threads: int = 2) -> float | None:
        timing = self.timing(workload, row, system, threads)
        return timing.median if timing else None

    def fastest_peer(
        self, workload: str, row: str, threads: int = 2, peers: Iterable[str] = PEERS
    ) -> tuple[str, float] | None:
        """(name, seconds)."""
        times = [
            (seconds, peer)
            for peer in peers
            if (seconds := self.seconds(workload, row, peer, threads)) is not None
        ]
        if not times:
            return None
        seconds, peer = min(times)
        return peer, seconds

    def ratio(self, workload: str, row: str, threads: int = 2) -> float | None:
        """How many times as long as graphflow the fastest peer takes."""
        ours = self.seconds(workload, row, OURS, threads)
        peer = self.fastest_peer(workload, row, threads)
        return peer[1] / ours if peer and ours else None

    def first_call(
        self, workload: str, system: str, cache: str = COLD, threads: int = 2
    ) -> float | None:
        """Seconds of the first call, median over processes."""
        taken = [
            float(record.rows[workload]["first"])
            for record in self._of(workload, system, threads)
            if workload in record.rows and (system not in DISK_CACHED or record.cache == cache)
        ]
        return statistics.median(taken) if taken else None

    def total(
        self, workload: str, system: str, cache: str = COLD, threads: int = 2
    ) -> float | None:
        """Seconds of a workload that is gone through once, of the best process with that cache."""
        taken = [
            float(record.rows[workload]["median"])
            for record in self._of(workload, system, threads)
            if workload in record.rows and (system not in DISK_CACHED or record.cache == cache)
        ]
        return min(taken, default=None)

    def memory(
        self, workload: str, system: str, cache: str | None = None, threads: int = 2
    ) -> int | None:
        """Peak bytes of a process: the least of its variants, since each is a choice a user has."""
        peaks = [
            int(record.output["rss_peak"])
            for record in self._of(workload, system, threads)
            if record.rows and cache in (None, record.cache)
        ]
        return min(peaks) if peaks else None

    def leanest_peer(self, workload: str, peers: Iterable[str] = PEERS) -> tuple[str, int] | None:
        found = [(m, peer) for peer in peers if (m := self.memory(workload, peer)) is not None]
        if not found:
            return None
        bytes_, peer = min(found)
        return peer, bytes_

    def error(self, workload: str, system: str) -> str:
        return next((r.error for r in self._of(workload, system, 2) if r.error), "")

    def fact(self, workload: str, system: str, name: str) -> int | None:
        known = (r.output.get(name) for r in self._of(workload, system, 2) if r.rows)
        return next((value for value in known if value is not None), None)

    def versions(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for record in self.records:
            if version := record.output.get("version"):
                found.setdefault(record.variant.system, str(version))
        return found

    def deviations(self) -> list[tuple[str, str, str, float, bool]]:
        """(workload, row, system, deviation, agrees) of every system that ran beside another."""
        found = []
        for workload in dict.fromkeys(r.workload for r in self.records):
            for row in self.rows(workload):
                values = {
                    r.variant.system: r.rows[row]["value"]
                    for r in reversed(self.records)
                    if r.workload == workload and row in r.rows and "value" in r.rows[row]
                }
                training = workload.split("-")[1:2] in (["train"], ["lengths"])
                for system, off in deviation(values, training).items():
                    found.append((workload, row, system, off, off <= TOLERANCE))
        return found


TOLERANCE = 1e-3


def deviation(values: dict[str, list[float]], training: bool) -> dict[str, float]:
    """How far each system's values are from the median of all, over the largest of them.

    Of training, the losses of the first two steps count: the second shows the gradients and the
    update. Later ones only amplify rounding.
    """
    if len(values) < 2:
        return {}
    counted = {system: value[:2] if training else value for system, value in values.items()}
    middle = [statistics.median(column) for column in zip(*counted.values(), strict=True)]
    scale = max(max(map(abs, middle)), 1e-30)
    off = {}
    for system, value in counted.items():
        furthest = max(abs(v - m) for v, m in zip(value, middle, strict=True))
        off[system] = furthest / scale if math.isfinite(furthest) else math.inf
    return off


def break_even(
    slow_first: float, fast_first: float, slow_step: float, fast_step: float
) -> float | None:
    """Steps after which a system with the longer first call and the shorter step has caught up."""
    if fast_step >= slow_step:
        return None
    return max(0.0, (fast_first - slow_first) / (slow_step - fast_step))


__all__ = [
    "COLD",
    "OP_BY_OP",
    "OURS",
    "PEERS",
    "TOLERANCE",
    "WARM",
    "Figures",
    "Timing",
    "break_even",
    "deviation",
]
