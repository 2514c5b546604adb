"""From records to tables: ratios, verdicts, absent and failing peers. Nothing is run."""

from __future__ import annotations

import pytest

from benchmarks import report, tables
from benchmarks.figures import Figures, break_even, deviation
from benchmarks.runner import COLD, KEEP, WARM, Record, Variant
from benchmarks.systems import SystemInfo


def record(system, median, workload="mlp-train", *, row=None, round_=0, cache=WARM, **more):
    figures = {"q1": median * 0.9, "median": median, "q3": median * 1.1, "samples": 9}
    figures |= {"first": more.pop("first", 1.0), "value": more.pop("value", [1.0, 0.5])}
    variant = Variant(
        system, "channels-last", more.pop("allocator", "default"), more.pop("options", ())
    )
    output = {"rows": {row or workload: figures}, "rss_peak": more.pop("memory", 10**8)}
    threads = more.pop("threads", 2)
    return Record(workload, variant, threads, round_, cache, {**output, **more})


def test_the_best_round_of_the_better_setting_counts():
    figures = Figures(
        [
            record("jax", 3.0),
            record("jax", 2.0, allocator=KEEP),
            record("jax", 2.5, round_=1, allocator=KEEP),
        ]
    )
    timing = figures.timing("mlp-train", "mlp-train", "jax")
    assert timing is not None
    assert (timing.median, timing.variant.allocator) == (2.0, KEEP)
    assert timing.spread == pytest.approx(1.25)


def test_the_ratio_is_to_the_fastest_peer():
    figures = Figures([record("graphflow", 1.0), record("jax", 3.0), record("torch", 2.0)])
    assert figures.fastest_peer("mlp-train", "mlp-train") == ("torch", 2.0)
    assert figures.ratio("mlp-train", "mlp-train") == pytest.approx(2.0)


def test_op_by_op_and_the_machine_are_no_peers():
    figures = Figures([record("graphflow", 1.0), record("graphflow-op-by-op", 0.5)])
    assert figures.ratio("mlp-train", "mlp-train") is None


def test_without_peers_there_is_a_table_but_no_verdict():
    table = tables.steps(Figures([record("graphflow", 1e-3)]), "Train steps", ("train",))
    assert table is not None
    assert table.rows[0][-1] == tables.NONE
    assert "1.00" in table.markdown()


def test_a_row_is_met_or_missed():
    met = Figures([record("graphflow", 1.0), record("jax", 1.3)])
    missed = Figures([record("graphflow", 1.0), record("jax", 1.2)])
    rows = [tables.steps(f, "Train steps", ("train",)).rows[0] for f in (met, missed)]
    assert [row[-1] for row in rows] == [tables.MET, tables.MISSED]
    assert [row[-3] for row in rows] == ["1.30×", "1.20×"]


def test_a_peer_that_fails_is_said_to():
    failed = Record("mlp-train", Variant("jax", "channels-last"), 2, 0, COLD, error="no memory")
    figures = Figures([record("graphflow", 1.0), failed])
    row = tables.steps(figures, "Train steps", ("train",)).rows[0]
    assert "failed" in row
    assert report.failures(figures) == ["mlp-train jax default channels-last: no memory"]
    assert "no memory" in report.markdown(figures, ["torch"], 1.0, [])


def test_absent_systems_are_named():
    systems = (
        SystemInfo("here", "on_numpy", ("json",), ()),
        SystemInfo("there", "on_numpy", ("json", "no_such_package"), ()),
    )
    assert report.absent(systems) == ["there"]
    assert "- absent: there" in report.markdown(Figures([]), ["there"], 1.0, [])


def test_first_calls_with_cold_and_warm_caches():
    figures = Figures(
        [
            record("graphflow", 1.0, cache=COLD, first=0.2),
            record("graphflow", 1.0, cache=WARM, first=0.01),
            record("jax", 1.0, cache=WARM, first=0.4),
            record("torch.compile", 1.0, cache=COLD, first=1.0),
            record("torch.compile", 1.0, cache=WARM, first=0.1),
        ]
    )
    row = tables.first_calls(figures).rows[0]
    assert row[1:3] == ["0.200", "0.010"]
    assert row[-4:] == ["0.50", "0.20", tables.MISSED, tables.MET]  # 0.2 of torch.compile's


def test_memory_is_compared_with_the_leanest_peer():
    figures = Figures(
        [
            record("graphflow", 1.0, cache=COLD, memory=50),
            record("graphflow", 1.0, memory=20),
            record("jax", 1.0, memory=100),
            record("torch", 1.0, memory=300),
            record("torch", 1.0, memory=80, allocator=KEEP),
        ]
    )
    row = tables.memory(figures).rows[0]
    assert row[-4:-1] == ["torch", "0.62×", "≤ 0.6×"]
    assert row[-1] == tables.MISSED


def test_matrix_products_are_held_to_the_peak():
    size, seconds = "512x512x512", 2e-9 * 512**3 / 460
    figures = Figures(
        [
            record("graphflow", seconds, "gemm", row=size),
            record("jax", seconds * 1.1, "gemm", row=size),
            record("machine", 1 / 480, "gemm", row="fma peak"),
        ]
    )
    table = tables.gemm(figures)
    row = next(row for row in table.rows if row[0] == size)
    assert row[1] == "460"
    assert row[-5] == "0.96"
    assert row[-1] == tables.MET
    assert table.notes == ["FMA peak measured in the same rounds: 480 GFLOP/s."]


def test_gelu_is_held_to_the_copy_bandwidth():
    figures = Figures(
        [
            record("graphflow", 1.2, "kernels", row="gelu"),
            record("machine", 1.0, "kernels", row="copy"),
        ]
    )
    assert "0.83 of the copy bandwidth" in tables.kernels(figures).notes[0]
    assert tables.kernels(figures).notes[0].endswith(f"{tables.MISSED}.")


def test_ten_times_the_batch():
    figures = Figures(
        [
            record("graphflow", 1.0, "mlp-train"),
            record("graphflow", 12.0, "mlp-train-x10"),
            record("graphflow", 0.2, "mlp-train-tenth"),
            record("jax", 0.3, "mlp-train-tenth"),
        ]
    )
    row = tables.batches(figures).rows[0]
    assert row[3:5] == ["1.20", tables.MISSED]
    assert row[-2:] == ["1.50×", tables.MET]


def test_an_ablation_is_compared_with_the_whole_pipeline():
    figures = Figures(
        [
            record("graphflow", 1.0),
            record("graphflow", 1.5, options=(("disable", ("fuse",)),)),
            record("graphflow", 1.8, threads=1),
        ]
    )
    table = tables.ablations(figures)
    assert [row for row in table.rows if row[0] in ("fuse", "1 thread")] == [
        ["fuse", "1.50×"],
        ["1 thread", "1.80×"],
    ]


def test_results_that_differ_are_marked():
    figures = Figures(
        [
            record("graphflow", 1.0, value=[2.0, 1.5]),
            record("jax", 1.0, value=[2.0, 1.5]),
            record("torch", 1.0, value=[2.0, 1.0]),
        ]
    )
    row = tables.agreement(figures).rows[0]
    assert row[-2:] == ["torch", "**differ**"]


def test_a_result_that_is_not_finite_differs():
    off = deviation({"a": [1.0], "b": [1.0], "c": [float("nan")]}, training=False)
    assert off["c"] == float("inf")


def test_break_even():
    assert break_even(0.0, 1.0, 2e-3, 1e-3) == pytest.approx(1000)
    assert break_even(0.0, 1.0, 1e-3, 2e-3) is None
    assert break_even(2.0, 1.0, 2e-3, 1e-3) == 0


def test_the_page_on_static_graphs_says_where_they_buy_nothing():
    figures = Figures(
        [
            record("graphflow", 1.0, launches=8),
            record("graphflow-op-by-op", 1.02),
            record("jax", 0.5),
            record("graphflow", 1.01, options=(("disable", ("cse",)),)),
        ]
    )
    page = report.static_graph(figures)
    nothing = page[page.index("## Where it buys nothing") :]
    assert "MLP 784-512-256-10, batch 128, momentum: 1.02×" in nothing
    assert "jax is faster all the same (0.50×)" in nothing
    assert "cse" in nothing


def test_records_survive_their_file():
    made = record("graphflow", 1.0, options=(("disable", ("fuse", "cse")), ("static", True)))
    import json

    assert Record.from_json(json.loads(json.dumps(made.to_json()))) == made
