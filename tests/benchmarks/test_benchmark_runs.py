"""What is run, and on which data: plans, environments, models; processes only of graphflow."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks import data, install, workloads
from benchmarks.models import MODELS
from benchmarks.runner import (
    DEFAULT,
    KEEP,
    Record,
    Runner,
    Settings,
    Variant,
    best_variant,
    contenders,
    environment,
    hopeless,
    variants,
)
from benchmarks.sequences import SEQUENCE_MODELS
from benchmarks.systems import CHANNELS_FIRST, CHANNELS_LAST, SYSTEMS, by_name
from benchmarks.worker import fingerprint, quartiles, sampled


def record(system, layout=CHANNELS_LAST, allocator=DEFAULT, **rows):
    figures = {row: {"median": median} for row, median in rows.items()}
    return Record("w", Variant(system, layout, allocator), 2, 0, "cold", {"rows": figures})


def test_peers_are_tried_with_both_allocators_and_layouts():
    workload = workloads.by_name("resnet18-infer")
    tried = variants(by_name("torch"), workload, (DEFAULT, KEEP))
    assert [(v.layout, v.allocator) for v in tried] == [
        (CHANNELS_FIRST, DEFAULT),
        (CHANNELS_FIRST, KEEP),
        (CHANNELS_LAST, KEEP),
    ]
    assert len(variants(by_name("graphflow"), workload, (DEFAULT, KEEP))) == 1
    assert len(variants(by_name("torch"), workloads.by_name("xor-train"), (DEFAULT, KEEP))) == 1


def test_later_rounds_use_the_setting_that_won_most_rows():
    records = [
        record("jax", a=1.0, b=1.0, c=1.0),
        record("jax", allocator=KEEP, a=0.5, b=0.5, c=2.0),
    ]
    assert best_variant(records, "jax") == records[1].variant
    assert best_variant(records, "torch") is None


def test_later_rounds_leave_out_peers_that_are_far_behind_in_every_row():
    records = [record("jax", a=1.0, b=9.0), record("torch", a=5.0, b=1.0), record("tf1", a=2, b=2)]
    assert contenders(records, ["jax", "torch", "tf1"]) == ["jax", "torch"]


def test_a_peer_without_hope_is_not_tried_in_another_way():
    records = [record("graphflow", a=1.0), record("jax", a=2.0), record("tf-eager", a=4.0)]
    assert hopeless(records, by_name("tf-eager"))
    assert not hopeless(records, by_name("jax"))
    assert not hopeless([record("jax", a=9.0, b=1.0), record("torch", a=1.0, b=9.0)], SYSTEMS[0])


def test_the_environment_of_a_process(tmp_path, monkeypatch):
    monkeypatch.setenv("GRAPHFLOW_DISABLE", "fuse")
    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")
    plain = environment(Variant("jax", CHANNELS_LAST), 1, tmp_path)
    kept = environment(Variant("jax", CHANNELS_LAST, KEEP), 1, tmp_path)
    assert plain["OMP_NUM_THREADS"] == plain["GRAPHFLOW_THREADS"] == "1"
    assert plain["GRAPHFLOW_CACHE"].startswith(str(tmp_path))
    assert "GRAPHFLOW_DISABLE" not in plain
    assert not any(name.startswith("MALLOC_") for name in plain)
    assert kept["MALLOC_MMAP_MAX_"] == "0"


def test_workloads_are_found_by_the_start_of_their_names():
    assert [w.name for w in workloads.matching(["resnet18"])] == [
        "resnet18-train",
        "resnet18-infer",
    ]
    assert [w.name for w in workloads.matching(["mlp-train-x10"])] == ["mlp-train-x10"]
    assert len(workloads.matching([])) == len(workloads.WORKLOADS)
    assert not workloads.matching(["res"])


def test_every_workload_has_its_model_and_every_system_its_module():
    named = {w.model for w in workloads.WORKLOADS if w.model}
    assert named == {*MODELS, *SEQUENCE_MODELS}
    names = [w.name for w in workloads.WORKLOADS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("model", "count"),
    # He et al. 2016's ResNet-18 with 1,000 classes, and LinkNet, have these many weights.
    [("mlp", 535_818), ("simplecnn", 62_006), ("resnet18", 11_689_512), ("linknet", 11_534_720)],
)
def test_models_have_the_parameters_of_their_papers(model, count):
    shapes = [shape for shape, _ in data.declaration(model).parameters.values()]
    assert sum(int(np.prod(shape)) for shape in shapes) == count


def test_data_are_the_same_every_time(tmp_path):
    data.write_weights("mlp", tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as file:
        for name, value in data.initial("mlp"):
            np.testing.assert_array_equal(file[name], value)
    first, second = data.batches("mlp", 4), data.batches("mlp", 4)
    assert all(np.array_equal(a, b) for a, b in zip(first[1], second[1], strict=True))
    assert not np.array_equal(first[0][0], first[1][0])
    assert first[0][0].ctypes.data % 64 == 0


def test_requirements_without_their_comments():
    assert install.requirements("# why\njax\n\ntorch==1  # pinned\n") == ["jax", "torch==1"]


def test_samples_and_their_quartiles():
    assert quartiles([4.0, 1.0, 2.0, 3.0, 5.0]) == {"q1": 2, "median": 3, "q3": 4, "samples": 5}
    calls: list[int] = []
    timing = sampled(lambda: calls.append(1), 0.01)
    assert len(calls) > timing["samples"]  # short steps are timed several at a time
    assert 0 < timing["q1"] <= timing["median"] <= timing["q3"]


def test_a_fingerprint_reaches_the_ends():
    assert fingerprint(np.arange(1000.0))[::63] == [0.0, 999.0]
    assert fingerprint(np.float32(2)) == [2.0]


@pytest.mark.parametrize("system", ["graphflow", "graphflow-op-by-op"])
def test_a_process_trains(tmp_path, system):
    workload = workloads.by_name("xor-train")
    said: list[str] = []
    runner = Runner(Settings(tmp_path, seconds=0.02), [by_name(system)], said.append)
    runner.prepare([workload])
    done = runner.process(workload, Variant(system, CHANNELS_LAST), 2, 0)
    assert not done.error
    row = done.rows["xor-train"]
    assert row["value"][0] > row["value"][-1] > 0
    assert done.output["rss_peak"] >= done.output["rss_import"] > 0
    assert "xor-train" in said[0]
    json.dumps(done.to_json())


def test_a_process_that_fails_says_why(tmp_path):
    runner = Runner(Settings(tmp_path), [], lambda line: None)
    variant = Variant("graphflow", CHANNELS_LAST, options=(("disable", ("no_such_pass",)),))
    done = runner.process(workloads.by_name("mlp-infer-1"), variant, 1, 0)
    assert done.error
    assert not done.rows
