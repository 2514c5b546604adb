"""Pictures of a run: ratios to the fastest peer, matrix products, and what the graph buys."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from .figures import OP_BY_OP, OURS, PEERS, Figures
from .workloads import (
    FMA_PEAK,
    GEMM,
    GEMM_SIZES,
    INFER,
    KERNEL_NAMES,
    KERNELS,
    TRAIN,
    WORKLOADS,
    gemm_name,
)

COLOURS = {
    "graphflow": "#111111",
    "graphflow-op-by-op": "#8c8c8c",
    "torch": "#e4572e",
    "torch.compile": "#f3a712",
    "jax": "#2e86ab",
    "tf1": "#6a994e",
    "tf-eager": "#a7c957",
    "xla": "#386641",
    "onnxruntime": "#8e5aa8",
    "numpy": "#b08968",
}


def draw(figures: Figures, folder: Path) -> list[str]:
    """Writes the pictures there is something for; their file names."""
    try:
        import matplotlib
    except ImportError:
        return []
    matplotlib.use("Agg")
    from matplotlib import pyplot

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    drawn: dict[str, Callable[[Any, Figures], bool]] = {
        "models.png": _models,
        "gemm.png": _gemm,
        "graph.png": _graph,
    }
    for name, picture in drawn.items():
        figure, axes = pyplot.subplots(figsize=(9, 5))
        if picture(axes, figures):
            figure.tight_layout()
            figure.savefig(folder / name, dpi=110)
            written.append(name)
        pyplot.close(figure)
    return written


def _models(axes: Any, figures: Figures) -> bool:
    """Each system's time over graphflow's, one group of bars a workload."""
    entries = [(w.name, w.name, w.target) for w in WORKLOADS if w.kind in (TRAIN, INFER)]
    entries += [(KERNELS, name, 1.0) for name in KERNEL_NAMES]
    measured = [e for e in entries if figures.ratio(e[0], e[1]) is not None]
    if not measured:
        return False
    systems = [
        s for s in PEERS if any(figures.seconds(w, row, s) is not None for w, row, _ in measured)
    ]
    axes.figure.set_size_inches(9, 1.2 + 0.42 * len(measured))
    for number, (workload, row, target) in enumerate(measured):
        ours = figures.seconds(workload, row, OURS)
        for system in systems:
            seconds = figures.seconds(workload, row, system)
            if ours and seconds:
                axes.plot(seconds / ours, number, "o", color=COLOURS[system], markersize=6)
        if target:
            axes.plot([target] * 2, [number - 0.35, number + 0.35], color="#d00000", lw=2)
    axes.axvline(1, color=COLOURS[OURS], lw=1)
    axes.set_xscale("log")
    axes.set_yticks(range(len(measured)), [row for _, row, _ in measured])
    axes.invert_yaxis()
    axes.set_xlabel("time over graphflow's (right of 1: graphflow is faster)")
    for system in systems:
        axes.plot([], [], "o", color=COLOURS[system], label=system)
    axes.plot([], [], color="#d00000", lw=2, label="wanted of the fastest")
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    axes.grid(axis="x", which="both", alpha=0.2)
    return True


def _gemm(axes: Any, figures: Figures) -> bool:
    """GFLOP/s by size, second operand constant where that is faster, and the FMA peak."""
    systems = [s for s in (OURS, *PEERS) if s in figures.systems(GEMM)]
    if not systems:
        return False
    width = 0.8 / len(systems)
    for place, system in enumerate(systems):
        rates = []
        for size in GEMM_SIZES:
            found = [figures.seconds(GEMM, gemm_name(size, c), system) for c in (False, True)]
            fastest = min((seconds for seconds in found if seconds), default=None)
            flops = 2e-9 * size[0] * size[1] * size[2]
            rates.append(flops / fastest if fastest else 0)
        positions = [
            number + (place - len(systems) / 2 + 0.5) * width for number in range(len(rates))
        ]
        axes.bar(positions, rates, width, color=COLOURS[system], label=system)
    peak = figures.seconds(GEMM, FMA_PEAK, "machine")
    if peak:
        axes.axhline(1 / peak, color="#d00000", lw=1.5, label="FMA peak")
    labels = ["×".join(map(str, size)) for size in GEMM_SIZES]
    axes.set_xticks(range(len(labels)), labels, rotation=35, ha="right", fontsize=8)
    axes.set_ylabel("GFLOP/s")
    axes.legend(ncols=4, frameon=False, loc="upper center", bbox_to_anchor=(0.5, 1.16))
    axes.grid(axis="y", alpha=0.2)
    return True


def _graph(axes: Any, figures: Figures) -> bool:
    """Op by op over the whole graph."""
    ratios = []
    for w in WORKLOADS:
        parts = figures.seconds(w.name, w.name, OP_BY_OP)
        whole = figures.seconds(w.name, w.name, OURS)
        if parts and whole:
            ratios.append((parts / whole, w.name))
    if not ratios:
        return False
    ratios.sort()
    axes.figure.set_size_inches(8, 1 + 0.3 * len(ratios))
    names, gains = [name for _, name in ratios], [ratio - 1 for ratio, _ in ratios]
    bars = axes.barh(names, gains, left=1, color="#2e86ab")
    axes.bar_label(bars, [f"{ratio:.2f}" for ratio, _ in ratios], padding=3, fontsize=8)
    axes.axvline(1, color=COLOURS[OURS], lw=1)
    axes.set_xscale("log")
    axes.set_xlabel("time op by op over the whole graph: the same kernels")
    axes.margins(x=0.15)
    return True
