"""One process of the benchmarks: runs a workload on a system, and prints one line of JSON.

    python -m benchmarks.worker '{"workload": "mlp-train", "system": "jax", ...}'

The fields are those of systems.Request; what is printed is described in `run`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from . import data, sequences, systems
from .workloads import (
    DISPATCH,
    GEMM,
    GEMM_SIZES,
    INFER,
    KERNEL_NAMES,
    KERNELS,
    LENGTHS,
    RECURRENT_INFER,
    RECURRENT_TRAIN,
    SEQUENCES,
    SPINN,
    TRAIN,
    TRAINING,
    TREES,
    gemm_name,
)

LOSSES = 5  # of the first steps, to be compared between systems
FINGERPRINT = 64  # elements of a result that are compared
MOST_SAMPLES = 4000
LEAST_SAMPLES = 5
SHORTEST = 20e-6  # seconds; shorter steps are timed several at a time


def memory(field: str) -> int:
    """A field of /proc/self/status in bytes; 0 where there is no such file."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def quartiles(samples: list[float]) -> dict[str, Any]:
    low, middle, high = (float(q) for q in np.percentile(samples, (25, 50, 75)))
    return {"q1": low, "median": middle, "q3": high, "samples": len(samples)}


def sampled(step: Callable[[], Any], seconds: float) -> dict[str, Any]:
    """Seconds of one call of `step`: quartiles over calls that take `seconds` together, after a
    tenth of that for warming up."""
    clock = time.perf_counter
    end = clock() + seconds / 10
    taken = []
    while clock() < end or len(taken) < 2:
        start = clock()
        step()
        taken.append(clock() - start)
    calls = range(max(1, round(SHORTEST / max(min(taken), 1e-9))))
    samples: list[float] = []
    end = clock() + seconds
    while (clock() < end and len(samples) < MOST_SAMPLES) or len(samples) < LEAST_SAMPLES:
        start = clock()
        for _ in calls:
            step()
        samples.append((clock() - start) / len(calls))
    return quartiles(samples)


def fingerprint(result: np.ndarray) -> list[float]:
    """Elements from all over a result."""
    flat = np.asarray(result, np.float64).ravel()
    return flat[np.linspace(0, flat.size - 1, min(FINGERPRINT, flat.size)).astype(int)].tolist()


def batches(system: Any) -> list[tuple]:
    """Feeds of the system's workload."""
    workload = system.workload
    if workload.kind in SEQUENCES:
        return [system.feed(*batch) for batch in sequences.batches(workload, data.POOL)]
    return [system.feed(*batch) for batch in data.batches(workload.model, workload.batch)]


def run_model(system: Any) -> dict[str, Any]:
    """Feeds come from a small pool; what is timed ends with the loss or result as NumPy."""
    workload = system.workload
    pool = batches(system)
    start = time.perf_counter()
    step = system.train() if workload.kind in TRAINING else system.infer()
    built = time.perf_counter()
    result = step(*pool[0])
    first = time.perf_counter() - built
    if workload.kind in TRAINING:
        later = [float(step(*pool[i % len(pool)])) for i in range(1, LOSSES)]
        value = [float(result), *later]
    else:
        # Images are compared with channels last.
        moved = result.ndim == 4 and _channels_first(system)
        value = fingerprint(result.transpose(0, 2, 3, 1) if moved else result)
    feeds = cycle(pool)
    row = sampled(lambda: step(*next(feeds)), system.request.seconds)
    return {workload.name: {**row, "first": first, "build": built - start, "value": value}}


def run_lengths(system: Any) -> dict[str, Any]:
    """Seconds of all batches together, each fed once: what is compiled is compiled on the way."""
    pool = batches(system)
    start = time.perf_counter()
    step = system.train()
    built = time.perf_counter()
    value, ends = [], []
    for batch in pool:
        value.append(float(step(*batch)))
        ends.append(time.perf_counter())
    row = {**quartiles([ends[-1] - start]), "first": ends[0] - built, "build": built - start}
    return {system.workload.name: {**row, "value": value[:LOSSES]}}


def _channels_first(system: Any) -> bool:
    shape = system.feed(np.zeros((1, 2, 2, 3), np.float32), np.zeros(1, np.int32))[0].shape
    return shape[1] == 3


def run_kernels(system: Any) -> dict[str, Any]:
    rows = {}
    for name in KERNEL_NAMES:
        step = system.kernel(name)
        start = time.perf_counter()
        result = step()
        first = time.perf_counter() - start
        value = fingerprint(result)
        del result
        rows[name] = {**sampled(step, system.request.seconds), "first": first, "value": value}
    return rows


def run_gemm(system: Any) -> dict[str, Any]:
    rows = {}
    for size in GEMM_SIZES:
        for constant in (False, True):
            step, fetch = system.gemm(size, constant)
            step()
            row = sampled(step, system.request.seconds / 3)
            rows[gemm_name(size, constant)] = {**row, "value": fingerprint(fetch())}
    return rows


def run_dispatch(system: Any) -> dict[str, Any]:
    a = data.operand(4)
    step = system.dispatch()
    start = time.perf_counter()
    result = step(a)
    first = time.perf_counter() - start
    row = sampled(lambda: step(a), system.request.seconds)
    return {DISPATCH: {**row, "first": first, "value": fingerprint(result)}}


RUNS = {
    TRAIN: run_model,
    INFER: run_model,
    KERNELS: run_kernels,
    GEMM: run_gemm,
    DISPATCH: run_dispatch,
    RECURRENT_TRAIN: run_model,
    RECURRENT_INFER: run_model,
    LENGTHS: run_lengths,
    SPINN: run_model,
    TREES: run_model,
}


def run(request: systems.Request) -> dict[str, Any]:
    """`rows` by name: quartiles of the seconds of a step, `first` call's seconds, and `value` to
    compare between systems; `imported` seconds, `rss_import` and `rss_peak` bytes, and facts."""
    allowed = sorted(os.sched_getaffinity(0))[: request.threads]
    os.sched_setaffinity(0, allowed)
    start = time.perf_counter()
    system = systems.load(request)
    imported, rss_import = time.perf_counter() - start, memory("VmRSS")
    own = getattr(system, "rows", None)  # the machine measures itself
    rows = own() if own else RUNS[system.workload.kind](system)
    peak = memory("VmHWM")
    facts = {"imported": imported, "rss_import": rss_import, "rss_peak": peak}
    return {"rows": rows, **facts, **system.facts()}


def main(text: str) -> None:
    request = systems.Request(**json.loads(text))
    # Libraries write where they like; the result alone goes to standard output.
    out = os.dup(1)
    os.dup2(2, 1)
    line = json.dumps(run(request)) + "\n"
    os.write(out, line.encode())


if __name__ == "__main__":
    main(sys.argv[1])
