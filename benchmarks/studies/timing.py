"""Timing on a noisy machine: interleaved rounds, medians, ratios within one run."""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def seconds_per_call(function: Callable[[], object], budget: float = 0.05) -> float:
    """Mean time of one call over a batch that lasts about `budget` seconds."""
    count = 1
    while True:
        start = time.perf_counter()
        for _ in range(count):
            function()
        elapsed = time.perf_counter() - start
        if elapsed >= budget or count >= 1 << 24:
            return elapsed / count
        count = max(count * 2, int(count * budget / max(elapsed, 1e-9) * 1.1))


def interleaved(
    functions: dict[str, Callable[[], object]], rounds: int = 9, budget: float = 0.05
) -> dict[str, list[float]]:
    """Seconds per call of each function, `rounds` times, in turn so that drift hits all alike."""
    for function in functions.values():
        function()
    times: dict[str, list[float]] = {name: [] for name in functions}
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for name, function in functions.items():
                times[name].append(seconds_per_call(function, budget))
    finally:
        gc.enable()
    return times


def median(values: list[float]) -> float:
    return statistics.median(values)


def microseconds(values: list[float]) -> str:
    """Median and spread, in µs."""
    low, high = min(values) * 1e6, max(values) * 1e6
    return f"{median(values) * 1e6:9.2f} µs  ({low:.2f} to {high:.2f})"


def in_fresh_process(code: str, environment: dict[str, str] | None = None) -> dict:
    """Runs Python code that prints one JSON object as its last line; returns the object."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environ, check=False
    )
    if done.returncode:
        raise RuntimeError(f"a benchmark process failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def machine() -> str:
    """One line about the machine the figures come from."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    return f"{name}, {len(os.sched_getaffinity(0))} CPUs, Python {platform.python_version()}"


def heading(title: str) -> None:
    print(f"\n## {title}\n{machine()}")


def verdict(text: str, value: float, limit: float, unit: str = "") -> None:
    """A figure beside the one to reach (smaller is better)."""
    mark = "met" if value <= limit else "MISSED"
    print(f"{text}: {value:.3g}{unit} (at most {limit:g}{unit}): {mark}")
