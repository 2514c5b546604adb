"""First calls: import, cold compilation, the disk cache in a new process, growth with size."""

from __future__ import annotations

import tempfile

from . import timing

IMPORT = """
import json, time
start = time.perf_counter()
import graphflow
print(json.dumps({"import": time.perf_counter() - start}))
"""

FIRST = """
import json, sys, time
start = time.perf_counter()
import graphflow as tf
imported = time.perf_counter()
from benchmarks.studies import models
session, train, loss, feeds = models.mlp()
declared = time.perf_counter()
session.run([train, loss], feeds)
ran = time.perf_counter()
print(json.dumps({"import": imported - start, "first": ran - declared,
                  "llvm": "llvmlite" in sys.modules,
                  "cache": session.cache_stats()}))
"""

JAX_FIRST = """
import json, time
from benchmarks.studies import steps
call = steps.jax_step("MLP")
start = time.perf_counter()
call()
print(json.dumps({"first": time.perf_counter() - start}))
"""

CHAIN = """
import json, time
import numpy as np
import graphflow as tf
x = tf.placeholder(tf.float32, [None, 8])
h = x
weights = [tf.constant(np.full(8, 0.5, np.float32)) for _ in range(4)]
nodes = {nodes}
start = time.perf_counter()
for i in range(nodes // 4):
    h = tf.tanh(h * weights[i % 4] + 0.1) - h
defined = time.perf_counter()
session = tf.Session()
session.run(h, {{x: np.zeros((3, 8), np.float32)}})
print(json.dumps({{"define": defined - start, "compile": time.perf_counter() - defined}}))
"""


def main() -> None:
    timing.heading("compile time: MLP 784-512-256-10 train step with momentum")
    imports = [timing.in_fresh_process(IMPORT)["import"] for _ in range(7)]
    timing.verdict("import graphflow, median", timing.median(imports), 0.25, " s")
    with tempfile.TemporaryDirectory() as directory:
        cold, warm = [], []
        for round_ in range(5):
            environment = {"GRAPHFLOW_CACHE": f"{directory}/{round_}"}
            first = timing.in_fresh_process(FIRST, environment)
            again = timing.in_fresh_process(FIRST, environment)
            cold.append(first["first"])
            warm.append(again["first"])
            if again["llvm"]:
                print("the warm start loaded LLVM")
    timing.verdict("first run, cold cache, median", timing.median(cold), 0.3, " s")
    timing.verdict("first run, warm cache, median", timing.median(warm), 0.05, " s")
    if timing.installed("jax"):
        peers = [timing.in_fresh_process(JAX_FIRST)["first"] for _ in range(5)]
        print(f"jax.jit first call, median: {timing.median(peers):.3f} s")
    print("\nnodes    define s    compile s    ms a node")
    points = []
    for nodes in (100, 300, 1000, 3000, 10000):
        figures = timing.in_fresh_process(CHAIN.format(nodes=nodes), {"GRAPHFLOW_CACHE": "off"})
        points.append((nodes, figures["compile"]))
        each = figures["compile"] / nodes * 1e3
        print(f"{nodes:6} {figures['define']:10.3f} {figures['compile']:12.3f} {each:12.4f}")
    plot(points)


def plot(points: list[tuple[int, float]]) -> None:
    """Draws compile time over graph size into benchmarks/results/, where matplotlib is there."""
    if not timing.installed("matplotlib"):
        return
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(5, 3.5))
    axes.loglog([n for n, _ in points], [s for _, s in points], "o-", label="graphflow")
    axes.loglog(
        [n for n, _ in points],
        [points[-1][1] * n / points[-1][0] for n, _ in points],
        "--",
        label="proportional",
    )
    axes.set(xlabel="operations in the graph", ylabel="compile time, seconds")
    axes.legend()
    figure.tight_layout()
    results = timing.ROOT / "benchmarks" / "results"
    results.mkdir(exist_ok=True)
    figure.savefig(results / "compile_time.png", dpi=120)
