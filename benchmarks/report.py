"""The report of a run: every table, the machine, the versions; and what declaring a graph buys."""

from __future__ import annotations

import os
import platform
import statistics
from pathlib import Path

from . import sequence_tables, tables
from .figures import COLD, OP_BY_OP, OURS, WARM, Figures, break_even
from .systems import SYSTEMS
from .tables import milliseconds, times
from .workloads import DISPATCH, INFER, TRAIN, WORKLOADS


def machine_facts() -> list[str]:
    """Processor, instruction set, caches, memory, system: nothing about whose machine it is."""
    name, flags = platform.machine(), ""
    info = Path("/proc/cpuinfo")
    if info.exists():
        fields = dict(
            line.split(":", 1) for line in info.read_text().splitlines() if line.count(":") == 1
        )
        fields = {key.strip(): value.strip() for key, value in fields.items()}
        name, flags = fields.get("model name", name), fields.get("flags", "")
    known = [f for f in ("avx2", "fma", "avx512f", "avx512_bf16", "amx_tile") if f in flags.split()]
    caches = []
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, size = ((index / file).read_text().strip() for file in ("level", "size"))
        kind = (index / "type").read_text().strip()
        if kind != "Instruction":
            caches.append(f"L{level} {size}")
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    facts = [f"{name}; {cpus} CPUs; {', '.join(known) or 'no vector extensions known'}"]
    facts.append(f"caches {', '.join(caches) or 'unknown'}; {pages / 2**30:.0f} GiB of memory")
    libc = " ".join(platform.libc_ver())
    facts.append(f"{platform.system()}, {libc}, Python {platform.python_version()}")
    return facts


def all_tables(figures: Figures) -> list[tables.Table]:
    made = [
        tables.steps(figures, "Train steps", (TRAIN,)),
        tables.steps(figures, "Inference", (INFER,)),
        tables.steps(figures, "Dispatch", (DISPATCH,)),
        sequence_tables.sequences(figures),
        sequence_tables.lengths(figures),
        tables.kernels(figures),
        tables.gemm(figures),
        tables.batches(figures),
        tables.first_calls(figures),
        tables.memory(figures),
        tables.op_by_op(figures),
        tables.ablations(figures),
        tables.steps(figures, "One thread, train steps", (TRAIN,), 1),
        tables.steps(figures, "One thread, inference", (INFER,), 1),
        tables.gemm(figures, 1),
        tables.agreement(figures),
    ]
    return [table for table in made if table is not None]


def failures(figures: Figures) -> list[str]:
    seen = {
        (r.workload, r.variant.system, r.variant.allocator, r.variant.layout): r.error
        for r in [*figures.records, *figures.ablations]
        if r.error
    }
    return [f"{' '.join(key)}: {error}" for key, error in seen.items()]


def markdown(figures: Figures, absent: list[str], minutes: float, plots: list[str]) -> str:
    """The whole report."""
    versions = figures.versions()
    lines = ["# graphflow beside its peers", ""]
    lines += [f"- {fact}" for fact in machine_facts()]
    lines.append("- " + ", ".join(f"{system} {version}" for system, version in versions.items()))
    if absent:
        lines.append(f"- absent: {', '.join(absent)}")
    lines.append(f"- took {minutes:.0f} minutes")
    lines += [
        "",
        "Times are medians of many steps in the best of several rounds; a round runs every system "
        "once, each in a process of its own. Feeds are fresh, and the loss or the result is "
        "fetched as NumPy. Every peer has its better setting of memory allocation and of image "
        "layout. *Ratio*: how many times as long as graphflow the fastest peer takes. Ratios "
        "count; absolute times move between machines and runs.",
        "",
    ]
    lines += [f"![{name}]({name})" for name in plots]
    lines.append("")
    lines += [table.markdown() for table in all_tables(figures)]
    if failed := failures(figures):
        lines += ["## Failures", "", *[f"- {failure}" for failure in failed], ""]
    return "\n".join(lines)


# -- what does declaring the graph first buy? ------------------------------------------------------

NOTHING = 1.05  # a ratio below which declaring the graph has bought nothing that can be told


def static_graph(figures: Figures) -> str:
    """A page that answers with the figures of the run, including where the answer is: nothing."""
    compared = []
    for w in WORKLOADS:
        parts = figures.seconds(w.name, w.name, OP_BY_OP)
        whole = figures.seconds(w.name, w.name, OURS)
        if parts is not None and whole is not None:
            compared.append((parts / whole, w, parts, whole))
    lines = ["# What does declaring the graph first buy?", ""]
    if not compared:
        return "\n".join([*lines, "This run did not measure graphflow op by op.", ""])
    middle = statistics.median(ratio for ratio, *_ in compared)
    lines += [
        "Two questions are kept apart. The first holds the kernels fixed: the same generated code, "
        'once dispatched from Python one operation at a time (`Session(backend="op-by-op")`), '
        "once as the one native step that the whole graph becomes. The second looks at other "
        "people's systems, which offer both ways.",
        "",
        "## The same kernels, with and without the graph",
        "",
        f"The median over {len(compared)} workloads is {times(middle)}.",
        "",
        "| | op by op, ms | whole, ms | ratio | what it is made of |",
        "|---|---:|---:|---:|---|",
    ]
    for ratio, w, parts, whole in sorted(compared, key=lambda entry: -entry[0]):
        lines.append(
            f"| {w.title} | {milliseconds(parts)} | {milliseconds(whole)} | {times(ratio)} "
            f"| {_made_of(figures, w.name, parts, whole)} |"
        )
    lines += ["", *_ablated(figures), *_others(figures), *_costs(figures), *_nothing(figures)]
    return "\n".join(lines)


def _made_of(figures: Figures, workload: str, parts: float, whole: float) -> str:
    launches = figures.fact(workload, OURS, "launches")
    memory, other = figures.memory(workload, OURS), figures.memory(workload, OP_BY_OP)
    said = [f"{milliseconds(parts - whole)} ms saved a step"]
    if launches is not None:
        said.append(f"{launches} launches")
    if memory and other:
        said.append(f"{(other - memory) / 1e6:+.0f} MB without it")
    return ", ".join(said)


def _ablated(figures: Figures) -> list[str]:
    table = tables.ablations(figures)
    if table is None:
        return []
    table.title = "Which passes buy it"
    return [table.markdown()]


PAIRS = (
    ("torch", "torch.compile", "PyTorch"),
    ("tf-eager", "tf1", "TensorFlow, version 1's graphs"),
    ("tf-eager", "xla", "TensorFlow, XLA"),
)


def _others(figures: Figures) -> list[str]:
    """What the peers' own graphs buy over their eager execution."""
    lines = [
        "## In other systems",
        "",
        "Time of the eager system over that of its graphs: above 1 the graph is faster.",
        "",
        "| | " + " | ".join(title for _, _, title in PAIRS) + " |",
        "|---|" + "---:|" * len(PAIRS),
    ]
    rows = []
    for w in WORKLOADS:
        if w.kind not in (TRAIN, INFER):
            continue
        ratios = []
        for eager, graph, _ in PAIRS:
            a, b = (figures.seconds(w.name, w.name, system) for system in (eager, graph))
            ratios.append(times(a / b) if a and b else "–")
        if any(ratio != "–" for ratio in ratios):
            rows.append(f"| {w.title} | " + " | ".join(ratios) + " |")
    return [*lines, *rows, ""] if rows else []


def _costs(figures: Figures) -> list[str]:
    """The price: compilation, and after how many steps it has paid off."""
    lines = [
        "## What it costs",
        "",
        "The first call compiles. Against PyTorch's eager execution, which compiles nothing, that "
        "is repaid after so many steps:",
        "",
        "| | first call, cold, s | warm, s | torch, s | steps, cold | steps, warm |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    rows = []
    for w in WORKLOADS:
        if w.kind not in (TRAIN, INFER):
            continue
        ours, eager = (figures.seconds(w.name, w.name, s) for s in (OURS, "torch"))
        other = figures.first_call(w.name, "torch")
        calls = [figures.first_call(w.name, OURS, cache) for cache in (COLD, WARM)]
        if ours is None or eager is None or other is None or None in calls:
            continue
        repaid = [break_even(other, call or 0.0, eager, ours) for call in calls]
        said = ["never" if steps is None else f"{steps:,.0f}" for steps in repaid]
        shown = [f"{call:.3f}" for call in (*calls, other)]
        rows.append(f"| {w.title} | " + " | ".join([*shown, *said]) + " |")
    return [*lines, *rows, ""] if rows else []


def _nothing(figures: Figures) -> list[str]:
    """Where it buys nothing, said as plainly as where it does."""
    lines = ["## Where it buys nothing", ""]
    found = []
    for w in WORKLOADS:
        parts, whole = (figures.seconds(w.name, w.name, s) for s in (OP_BY_OP, OURS))
        if parts and whole and parts / whole < NOTHING:
            found.append(
                f"- {w.title}: {times(parts / whole)}. The kernels are the same and take nearly "
                "all of the time."
            )
        ratio = figures.ratio(w.name, w.name)
        peer = figures.fastest_peer(w.name, w.name)
        if ratio is not None and ratio < 1 and peer is not None:
            found.append(
                f"- {w.title}: {peer[0]} is faster all the same ({times(ratio)}); its kernels are."
            )
    idle = [label for label, most in _idle_passes(figures) if most < NOTHING]
    if idle:
        found.append(
            "- Passes that none of the models above is faster for: " + ", ".join(idle) + "."
        )
    found.append(
        "- A graph that is run once: the first call compiles (see above), where eager execution "
        "has its result at once."
    )
    return [*lines, *found, ""]


def _idle_passes(figures: Figures) -> list[tuple[str, float]]:
    """(pass, the most it buys on any workload)."""
    most: dict[str, float] = {}
    for record in figures.ablations:
        names = dict(record.variant.options).get("disable")
        for row, timing in record.rows.items():
            whole = figures.seconds(record.workload, row, OURS)
            if names and whole:
                label = "+".join(names)
                ratio = float(timing["median"]) / whole
                most[label] = max(most.get(label, 0.0), ratio)
    return sorted(most.items())


def absent(systems: tuple = SYSTEMS) -> list[str]:
    return [system.name for system in systems if not system.installed()]
