"""Tables of recurrent nets, stacks and trees, beside the fastest peer and what people write."""

from __future__ import annotations

from .figures import COLD, OURS, PEERS, WARM, Figures
from .tables import NONE, Table, in_seconds, ran, steps, times, verdict
from .workloads import (
    LENGTHS,
    RECOMPILING,
    RECURRENT_INFER,
    RECURRENT_TRAIN,
    SPINN,
    TIMES_RECOMPILING,
    TREES,
    WARM_LENGTHS,
)


def sequences(figures: Figures) -> Table | None:
    """Recurrent nets, stacks and trees; beside the fastest peer, one that people write instead."""
    kinds = (RECURRENT_TRAIN, RECURRENT_INFER, SPINN, TREES)
    table = steps(figures, "Sequences and trees", kinds)
    if table is None:
        return None
    table.columns += ["beside", "ratio", "wanted", ""]
    for w, row in zip(ran(figures, kinds), table.rows, strict=True):
        if w.against is None:
            row += [NONE] * 4
            continue
        system, wanted = w.against
        other, ours = (figures.seconds(w.name, w.name, s) for s in (system, OURS))
        ratio = other / ours if other and ours else None
        row += [system, times(ratio), f"≥ {wanted:g}×", verdict(ratio, wanted)]
    table.notes.append(
        "torch is nn.LSTM and its like, stacks that are Python lists, one tree after the other; "
        "torch-loop goes through the steps in Python, and torch.compile compiles that loop; "
        "torch-levels is trees batched by hand. tf1 is dynamic_rnn, and thin stacks in while_loop; "
        "tf1-block the kernel that TensorFlow has for a whole LSTM. jax is scan."
    )
    return table


def lengths(figures: Figures) -> Table | None:
    """Batches of many lengths, compilation included: every system against graphflow."""
    workloads = ran(figures, (LENGTHS,))
    if not workloads:
        return None
    w = workloads[0]
    columns = ["cold, s", "warm, s", "cold, ratio", "wanted", "", "warm, ratio", "wanted", ""]
    table = Table(f"Many lengths: {w.title}", ["", *columns])
    systems = [OURS, *[s for s in figures.systems(w.name) if s in PEERS]]
    taken = {
        cache: {s: t for s in systems if (t := figures.total(w.name, s, cache)) is not None}
        for cache in (COLD, WARM)
    }
    for system in systems:
        row = [system, *[in_seconds(taken[cache].get(system)) for cache in (COLD, WARM)]]
        for cache, target in ((COLD, w.target), (WARM, WARM_LENGTHS)):
            peers = {s: t for s, t in taken[cache].items() if s != OURS}
            wanted = TIMES_RECOMPILING if system in RECOMPILING else None
            if peers and system == min(peers, key=lambda s: peers[s]):
                wanted = target
            ratio = None
            if system in peers and OURS in taken[cache]:
                ratio = peers[system] / taken[cache][OURS]
            row += [times(ratio), f"≥ {wanted:g}×" if wanted else NONE, verdict(ratio, wanted)]
        table.rows.append(row)
    table.notes.append("Of caches on disk, graphflow and torch.compile have one.")
    return table
