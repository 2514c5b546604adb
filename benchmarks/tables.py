"""Tables of figures, as Markdown: one function a table, from Figures to rows of text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .figures import COLD, OP_BY_OP, OURS, PEERS, WARM, Figures
from .workloads import (
    AT_PEAK,
    COPY,
    DISPATCH,
    FMA_PEAK,
    GEMM,
    GEMM_SIZES,
    INFER,
    KERNEL_NAMES,
    KERNELS,
    OF_COPY_BANDWIDTH,
    OF_FMA_PEAK,
    TRAIN,
    WORKLOADS,
    Workload,
    gemm_name,
)

MET, MISSED = "met", "**missed**"
NONE = "–"

FIRST_OF_JAX, FIRST_OF_COMPILE, FIRST_WARM = 0.7, 0.1, 0.05
MEMORY_TRAIN, MEMORY_INFER = 0.6, 1.5
MOST_PROPORTIONAL = 1.1


@dataclass
class Table:
    title: str
    columns: list[str]
    rows: list[list[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        lines = [f"## {self.title}", ""]
        lines += [_line(self.columns), _line(["---", *["---:"] * (len(self.columns) - 1)])]
        lines += [_line(row) for row in self.rows]
        for note in self.notes:
            lines += ["", note]
        return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def milliseconds(seconds: float | None) -> str:
    """Three digits, in ms."""
    if seconds is None:
        return NONE
    value = seconds * 1e3
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3
    return f"{value:.{digits if value >= 0.01 else 5}f}"


def times(ratio: float | None) -> str:
    return NONE if ratio is None else f"{ratio:.2f}×"


def verdict(reached: float | None, wanted: float | None, most: bool = False) -> str:
    """Whether a figure reaches at least `wanted`, or at most."""
    if reached is None or wanted is None:
        return NONE
    return MET if (reached <= wanted if most else reached >= wanted) else MISSED


def megabytes(count: int | None) -> str:
    return NONE if count is None else f"{count / 1e6:.0f}"


def _present(figures: Figures, workloads: Sequence[Workload], threads: int = 2) -> list[str]:
    """Systems that ran any of these, ours first."""
    found = {s for w in workloads for s in figures.systems(w.name, threads)}
    return [s for s in (OURS, OP_BY_OP, *PEERS) if s in found]


def ran(figures: Figures, kinds: tuple[str, ...], threads: int = 2) -> list[Workload]:
    return [w for w in WORKLOADS if w.kind in kinds and figures.systems(w.name, threads)]


def _cell(figures: Figures, workload: str, row: str, system: str, threads: int) -> str:
    seconds = figures.seconds(workload, row, system, threads)
    if seconds is None and figures.error(workload, system):
        return "failed"
    return milliseconds(seconds)


def steps(figures: Figures, title: str, kinds: tuple[str, ...], threads: int = 2) -> Table | None:
    """Milliseconds of a step on every system, and the fastest peer over ours."""
    workloads = ran(figures, kinds, threads)
    if not workloads:
        return None
    systems = _present(figures, workloads, threads)
    columns = [title.split(",")[0] + ", ms", *systems, "spread", "fastest peer", "ratio"]
    wanted = threads == 2
    table = Table(title, columns + (["wanted", ""] if wanted else []))
    for w in workloads:
        cells = [_cell(figures, w.name, w.name, s, threads) for s in systems]
        peer = figures.fastest_peer(w.name, w.name, threads)
        ratio = figures.ratio(w.name, w.name, threads)
        ours = figures.timing(w.name, w.name, OURS, threads)
        spread = (
            f"{milliseconds(ours.low)}–{milliseconds(ours.high)}, {ours.spread - 1:.0%}"
            if ours
            else NONE
        )
        row = [w.title, *cells, spread, peer[0] if peer else NONE, times(ratio)]
        if wanted:
            goal = f"≥ {w.target:g}×" if w.target else NONE
            row += [goal, verdict(ratio, w.target)]
        table.rows.append(row)
    table.notes.append(
        "Spread: the quartiles of graphflow's best round, and how much slower its slowest round "
        "was than its fastest."
    )
    return table


def kernels(figures: Figures) -> Table | None:
    if not ran(figures, (KERNELS,)):
        return None
    systems = figures.systems(KERNELS)
    systems = [s for s in systems if s != "machine"]
    table = Table("Kernels", ["ms", *systems, "fastest peer", "ratio", "wanted", ""])
    for name in KERNEL_NAMES:
        cells = [_cell(figures, KERNELS, name, s, 2) for s in systems]
        peer = figures.fastest_peer(KERNELS, name)
        ratio = figures.ratio(KERNELS, name)
        label = peer[0] if peer else NONE
        table.rows.append([name, *cells, label, times(ratio), "≥ 1×", verdict(ratio, 1.0)])
    copy = figures.seconds(KERNELS, COPY, "machine")
    ours = figures.seconds(KERNELS, "gelu", OURS)
    if copy and ours:
        reached = copy / ours
        table.notes.append(
            f"gelu runs at {reached:.2f} of the copy bandwidth measured in the same rounds "
            f"({milliseconds(copy)} ms for the same bytes); wanted {OF_COPY_BANDWIDTH}: "
            f"{verdict(reached, OF_COPY_BANDWIDTH)}."
        )
    return table


def gemm(figures: Figures, threads: int = 2) -> Table | None:
    """GFLOP/s, which is the better the larger."""
    if not ran(figures, (GEMM,), threads):
        return None
    systems = [s for s in figures.systems(GEMM, threads) if s != "machine"]
    peak = figures.seconds(GEMM, FMA_PEAK, "machine", threads)
    each = 1 / peak * threads if peak else None
    title = f"Matrix products, {threads} thread{'s' if threads > 1 else ''}"
    table = Table(title, ["GFLOP/s", *systems, "of peak", "fastest peer", "ratio", "wanted", ""])
    total = each / threads if each else None
    for size in GEMM_SIZES:
        for constant in (False, True):
            name = gemm_name(size, constant)
            operations = 2e-9 * size[0] * size[1] * size[2]
            rates = {
                s: operations / seconds
                for s in systems
                if (seconds := figures.seconds(GEMM, name, s, threads))
            }
            cells = [f"{rates[s]:.0f}" if s in rates else NONE for s in systems]
            peer = figures.fastest_peer(GEMM, name, threads)
            ratio = figures.ratio(GEMM, name, threads)
            of_peak = rates[OURS] / total if total and OURS in rates else None
            met = verdict(ratio, 1.0)
            wanted = "≥ 1×"
            if size in AT_PEAK:
                wanted += f", ≥ {OF_FMA_PEAK} of peak"
                if met == MET:
                    met = verdict(of_peak, OF_FMA_PEAK)
            part = f"{of_peak:.2f}" if of_peak is not None else NONE
            label = peer[0] if peer else NONE
            table.rows.append([name, *cells, part, label, times(ratio), wanted, met])
    if total:
        table.notes.append(f"FMA peak measured in the same rounds: {total:.0f} GFLOP/s.")
    return table


def batches(figures: Figures) -> Table | None:
    """Ten times the batch, and a tenth of it."""
    table = Table(
        "Ten times the batch, a tenth of it",
        ["train step", "ms", "×10, ms", "over proportional", "", "tenth, ms", "ratio", ""],
    )
    for name in ("mlp-train", "simplecnn-train"):
        once, more, less = (
            figures.seconds(w, w, OURS) for w in (name, f"{name}-x10", f"{name}-tenth")
        )
        if once is None or more is None or less is None:
            continue
        grown = more / once / 10
        ratio = figures.ratio(f"{name}-tenth", f"{name}-tenth")
        table.rows.append(
            [
                name,
                milliseconds(once),
                milliseconds(more),
                f"{grown:.2f}",
                verdict(grown, MOST_PROPORTIONAL, most=True),
                milliseconds(less),
                times(ratio),
                verdict(ratio, 1.0),
            ]
        )
    return table if table.rows else None


def first_calls(figures: Figures) -> Table | None:
    """Seconds of the first call; with a cold cache on disk, and a warm one."""
    workloads = ran(figures, (TRAIN, INFER))
    if not workloads:
        return None
    systems = [s for s in _present(figures, workloads) if s != OURS]
    columns = ["first call, s", "graphflow, cold", "warm", *systems, "of jax", "of torch.compile"]
    table = Table("First call", [*columns, "cold", "warm"])
    for w in workloads:
        cold = figures.first_call(w.name, OURS, COLD)
        warm = figures.first_call(w.name, OURS, WARM)
        others = {s: figures.first_call(w.name, s) for s in systems}
        parts = [
            cold / other if cold is not None and (other := others.get(peer)) else None
            for peer in ("jax", "torch.compile")
        ]
        limits = (FIRST_OF_JAX, FIRST_OF_COMPILE)
        met = [verdict(p, limit, most=True) for p, limit in zip(parts, limits, strict=True)]
        known = [m for m in met if m != NONE]
        cold_met = NONE if not known else MET if all(m == MET for m in known) else MISSED
        table.rows.append(
            [
                w.title,
                in_seconds(cold),
                in_seconds(warm),
                *[in_seconds(others[s]) for s in systems],
                *["–" if p is None else f"{p:.2f}" for p in parts],
                cold_met,
                verdict(warm, FIRST_WARM, most=True),
            ]
        )
    table.notes.append(
        f"Wanted: cold at most {FIRST_OF_JAX} of JAX's and {FIRST_OF_COMPILE} of torch.compile's; "
        f"warm at most {FIRST_WARM * 1e3:.0f} ms, beside reading the weights (not in the figure). "
        "ONNX Runtime's includes reading its model."
    )
    return table


def in_seconds(value: float | None) -> str:
    return NONE if value is None else f"{value:.3f}" if value < 1 else f"{value:.1f}"


def memory(figures: Figures) -> Table | None:
    """Megabytes (10⁶ bytes) of a process at its peak."""
    workloads = ran(figures, (TRAIN, INFER))
    if not workloads:
        return None
    systems = [s for s in _present(figures, workloads) if s != OURS]
    columns = ["peak of the process, MB", "graphflow, cold", "warm", *systems]
    table = Table("Memory", [*columns, "compared with", "ratio", "wanted", ""])
    for w in workloads:
        cold, warm = (figures.memory(w.name, OURS, cache) for cache in (COLD, WARM))
        peaks = {s: figures.memory(w.name, s) for s in systems}
        if w.kind == TRAIN:
            peer, limit, ours = figures.leanest_peer(w.name), MEMORY_TRAIN, cold
        else:
            runtime = peaks.get("onnxruntime")
            peer = ("onnxruntime", runtime) if runtime else None
            limit, ours = MEMORY_INFER, warm
        ratio = ours / peer[1] if ours and peer else None
        table.rows.append(
            [
                w.title,
                megabytes(cold),
                megabytes(warm),
                *[megabytes(peaks[s]) for s in systems],
                peer[0] if peer else NONE,
                times(ratio),
                f"≤ {limit}×",
                verdict(ratio, limit, most=True),
            ]
        )
    table.notes.append(
        "With a cold cache the compiler is in the process too. Training compares that with the "
        "leanest peer, inference a warm start with ONNX Runtime. Each peer with its leaner "
        "allocator setting."
    )
    return table


def op_by_op(figures: Figures) -> Table | None:
    """The same kernels, dispatched from Python, against the whole graph."""
    table = Table(
        "The same step op by op",
        ["step", "op by op, ms", "whole graph, ms", "ratio", "launches", "", "memory, MB", "whole"],
    )
    for w in ran(figures, (DISPATCH, TRAIN, INFER)):
        parts = figures.seconds(w.name, w.name, OP_BY_OP)
        whole = figures.seconds(w.name, w.name, OURS)
        if parts is None or whole is None:
            continue
        ratio = parts / whole
        launches = figures.fact(w.name, OURS, "launches")
        table.rows.append(
            [
                w.title,
                milliseconds(parts),
                milliseconds(whole),
                times(ratio),
                NONE if launches is None else str(launches),
                verdict(ratio, 1.0),
                megabytes(figures.memory(w.name, OP_BY_OP)),
                megabytes(figures.memory(w.name, OURS)),
            ]
        )
    return table if table.rows else None


def ablations(figures: Figures) -> Table | None:
    """How many times as long a step takes without one pass or rule."""
    found: dict[str, dict[str, float]] = {}
    for record in figures.ablations:
        label = ", ".join(f"{_option(value)}" for _, value in record.variant.options)
        for row, timing in record.rows.items():
            of_label = found.setdefault(label, {})
            of_label[row] = min(of_label.get(row, float("inf")), float(timing["median"]))
    workloads = list(dict.fromkeys(row for of_label in found.values() for row in of_label))
    base = {w: figures.seconds(w, w, OURS) for w in workloads}
    if not found:
        return None
    table = Table("Without one pass or rule", ["left out", *workloads])
    for label, of_label in found.items():
        cells = []
        for w in workloads:
            without, whole = of_label.get(w), base[w]
            cells.append(times(without / whole) if without and whole else NONE)
        table.rows.append([label, *cells])
    extra = {
        "1 thread": lambda w: figures.seconds(w, w, OURS, 1),
        "op by op": lambda w: figures.seconds(w, w, OP_BY_OP),
    }
    for label, seconds in extra.items():
        cells = []
        for w in workloads:
            other, whole = seconds(w), base[w]
            cells.append(times(other / whole) if other and whole else NONE)
        table.rows.append([label, *cells])
    table.notes.append(
        "Time over that of the whole pipeline with two threads; 1.00× buys nothing. "
        "`declared batch`: the batch size given instead of left open."
    )
    return table


def _option(value: object) -> str:
    if value is True:
        return "declared batch"
    return "+".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def agreement(figures: Figures) -> Table | None:
    """Whether all systems computed the same."""
    off = figures.deviations()
    if not off:
        return None
    table = Table("Agreement of results", ["workload", "systems", "largest deviation", "of", ""])
    rows: dict[tuple[str, str], list[tuple[float, str]]] = {}
    for workload, row, system, amount, _ in off:
        rows.setdefault((workload, row), []).append((amount, system))
    bad = {(w, row) for w, row, _, _, agrees in off if not agrees}
    worst: dict[str, tuple[float, str, int, bool]] = {}
    for (workload, row), found in rows.items():
        amount, system = max(found)
        known = worst.get(workload, (-1.0, "", 0, True))
        agrees = known[3] and (workload, row) not in bad
        count = max(known[2], len(found))
        amount, system = max((amount, system), known[:2])
        worst[workload] = (amount, system, count, agrees)
    for workload, (amount, system, count, agrees) in worst.items():
        mark = "agree" if agrees else "**differ**"
        table.rows.append([workload, str(count), f"{amount:.1e}", system, mark])
    table.notes.append(
        "From the same initial weights: the losses of the first two steps, or elements of the "
        "result, against the median of all systems, over the largest value."
    )
    return table
