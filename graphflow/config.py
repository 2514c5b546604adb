"""What a session and a run can be told, and what a traced run tells back."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass
class ConfigProto:
    """Settings of a session.

    intra_op_parallelism_threads: threads of the session's pool; 0 for GRAPHFLOW_THREADS or the
        CPUs this process may use. Results do not depend on it.
    seed: start of the random streams of operations whose graph and op seeds are both unset;
        None draws one from the operating system when the session is made.
    check_numerics: every float result of every operation is checked for NaN and infinity, inside
        the fused kernels; the first one found stops the run and names the operation and its line.
    memory_budget: bytes a step may use at its peak (`peak_bytes`); None for no limit. Values are
        computed again instead of being kept where that is needed to keep to it. A run that would
        still need more is refused before it starts. Where sizes are unknown, that is decided for
        those of a run: one that exceeds the budget is compiled once more for its own sizes.
    output_pool_bytes: how much memory of released fetched arrays is kept warm for reuse.
    disable: names of passes and rewrite rules to leave out.
    cache: False keeps this session away from the compile cache on disk.

    The remaining fields are TensorFlow 1's; they are accepted so that its programs run, and have
    no effect on a machine with one device.
    """

    intra_op_parallelism_threads: int = 0
    seed: int | None = None
    check_numerics: bool = False
    memory_budget: int | None = None
    output_pool_bytes: int = 256 << 20
    disable: tuple[str, ...] = ()
    cache: bool = True
    inter_op_parallelism_threads: int = 0
    allow_soft_placement: bool = False
    log_device_placement: bool = False
    device_count: dict = field(default_factory=dict)
    gpu_options: Any = None
    graph_options: Any = None

    def __post_init__(self) -> None:
        if self.intra_op_parallelism_threads < 0:
            raise ValueError(
                "ConfigProto: intra_op_parallelism_threads must be 0 or more, "
                f"got {self.intra_op_parallelism_threads}"
            )
        if self.memory_budget is not None and self.memory_budget <= 0:
            raise ValueError(
                f"ConfigProto: memory_budget must be positive, got {self.memory_budget}"
            )
        if isinstance(self.disable, str):
            self.disable = (self.disable,)
        self.disable = tuple(self.disable)


@dataclass
class RunOptions:
    """Settings of one run. `trace_level`: NO_TRACE, or FULL_TRACE to time every launch."""

    NO_TRACE = 0
    SOFTWARE_TRACE = 1
    HARDWARE_TRACE = 2
    FULL_TRACE = 3

    trace_level: int = 0
    timeout_in_ms: int = 0


@dataclass(frozen=True)
class KernelTime:
    """One launch of a traced run: its kernel, the operations it computes, and when it ran.

    `start` and `end` are nanoseconds on the monotonic clock.
    """

    launch: int
    kernel: str
    operations: tuple[str, ...]
    start: int
    end: int

    @property
    def nanoseconds(self) -> int:
        return self.end - self.start


@dataclass
class RunMetadata:
    """Filled by `session.run(..., options=RunOptions(trace_level=3), run_metadata=metadata)`."""

    kernels: list[KernelTime] = field(default_factory=list)
    launches: int = 0
    arena_bytes: int = 0

    @property
    def nanoseconds(self) -> int:
        """From the first launch's start to the last one's end."""
        return self.kernels[-1].end - self.kernels[0].start if self.kernels else 0

    def table(self) -> str:
        """The launches, slowest first, with their share of the time."""
        total = sum(k.nanoseconds for k in self.kernels) or 1
        lines = [f"{'launch':>6} {'time':>10} {'share':>6}  kernel"]
        for k in sorted(self.kernels, key=lambda k: -k.nanoseconds):
            lines.append(
                f"{k.launch:>6} {k.nanoseconds / 1000:>8.1f}us {k.nanoseconds / total:>6.1%}  "
                f"{k.kernel}: {', '.join(k.operations[:4])}"
            )
        return "\n".join(lines)

    def chrome_trace(self) -> str:
        """The run in the trace event format that chrome://tracing and Perfetto read (JSON)."""
        origin = self.kernels[0].start if self.kernels else 0
        events = [
            {
                "name": k.kernel,
                "cat": "kernel",
                "ph": "X",
                "ts": (k.start - origin) / 1000,
                "dur": k.nanoseconds / 1000,
                "pid": 0,
                "tid": 0,
                "args": {"launch": k.launch, "operations": list(k.operations)},
            }
            for k in self.kernels
        ]
        return json.dumps({"traceEvents": events, "displayTimeUnit": "ns"})
