"""What each pass is worth: graphflow with one of them left out at a time."""

from __future__ import annotations

from .runner import DEFAULT, Runner, Variant
from .systems import CHANNELS_LAST
from .workloads import by_name

WORKLOADS = ("mlp-train", "simplecnn-train", "linknet-train", "resnet18-infer", "transformer-train")


def left_out() -> list[tuple[str, ...]]:
    """Every pass and planning rule by itself; rewrite rules only together, with `simplify`."""
    from graphflow.passes import pipeline
    from graphflow.passes.rewrite.simplify import RULES

    rewrites = {rule.name for rule in RULES}
    return [(name,) for name in pipeline.names() if name not in rewrites]


def run(runner: Runner, names: tuple[str, ...] = WORKLOADS, rounds: int = 2) -> None:
    """The whole pipeline in turn with each of the others, on two threads; and on one thread."""
    whole = Variant("graphflow", CHANNELS_LAST, DEFAULT)
    options = [(("disable", disabled),) for disabled in left_out()]
    options.append((("static", True),))
    for round_ in range(rounds):
        for name in names:
            workload = by_name(name)
            runner.process(workload, whole, 2, round_)
            runner.process(workload, whole, 1, round_)
            for option in options:
                variant = Variant("graphflow", CHANNELS_LAST, DEFAULT, option)
                runner.process(workload, variant, 2, round_)
