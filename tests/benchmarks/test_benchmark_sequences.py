"""Recurrent nets, stacks and trees in the benchmarks: data, who runs what, and tables."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import data, sequence_tables, sequences, tables, workloads
from benchmarks.figures import Figures
from benchmarks.runner import COLD, WARM, Record, Variant
from benchmarks.sequences import REDUCE, SEQUENCE_MODELS, SHIFT, SKIP
from benchmarks.systems import SYSTEMS, Request, by_name, load


def record(system, workload, seconds, cache=WARM):
    figures = {"q1": seconds, "median": seconds, "q3": seconds, "samples": 1}
    figures |= {"first": 0.1, "value": [1.0, 0.5]}
    variant = Variant(system, "channels-last")
    return Record(workload, variant, 2, 0, cache, {"rows": {workload: figures}})


@pytest.mark.parametrize(
    ("model", "count"),
    [
        ("lstm", 5000 * 300 + 600 * 1200 + 1200 + 903),
        ("gru32", 2 * (32 * 96 + 96) + 330),
        ("rnn32", 64 * 32 + 32 + 330),
        ("spinn", 100 * 200 + 200 + 364 * 256 + 256 + 264 * 500 + 500 + 303),
        ("treelstm", 100 * 300 + 300 + 200 * 500 + 500 + 303),
    ],
)
def test_models_have_the_parameters_of_their_formulas(model, count):
    assert sum(value.size for _, value in data.initial(model)) == count


def test_every_system_that_runs_sequences_has_a_module_for_it():
    from pathlib import Path

    folder = Path(sequences.__file__).parent / "systems"
    asked = {s.module for s in SYSTEMS if set(s.kinds) & set(workloads.SEQUENCES)}
    assert asked == {path.stem.removeprefix("sequences_") for path in folder.glob("sequences_*")}


def test_a_system_runs_only_the_models_it_can():
    assert by_name("tf1-block").runs(workloads.by_name("lstm-train"))
    assert not by_name("tf1-block").runs(workloads.by_name("gru32-train"))
    assert not by_name("torch-loop").runs(workloads.by_name("mlp-train"))
    assert by_name("torch").runs(workloads.by_name("mlp-train"))


@pytest.mark.parametrize("words", [1, 2, 7, 25])
def test_random_trees_are_trees(words):
    steps = sequences.random_transitions(words, np.random.default_rng(words))
    assert len(steps) == 2 * words - 1
    height = np.cumsum([1 if step == SHIFT else -1 for step in steps])
    assert height.min() > 0
    assert height[-1] == 1


def test_trees_side_by_side():
    rng = np.random.default_rng(0)
    trees = sequences.random_trees(SEQUENCE_MODELS["spinn"], 16, rng)
    stacks = sequences.stacked(trees, 25)
    assert max(len(tree.words) for tree in trees) == 25
    for row, tree in enumerate(trees):
        n = len(tree.words)
        assert stacks.lengths[row] == n
        assert (stacks.words[row, :n] == tree.words).all()
        assert not stacks.words[row, n:].any()
        assert (stacks.transitions[row, : 2 * n - 1] == tree.transitions).all()
        assert (stacks.transitions[row, 2 * n - 1 :] == SKIP).all()
        assert (tree.transitions == REDUCE).sum() == n - 1


def test_batches_are_the_same_every_time():
    for workload in workloads.WORKLOADS:
        if workload.kind in workloads.SEQUENCES:
            (x, y), (again, labels) = (next(sequences.batches(workload, 1)) for _ in range(2))
            assert len(y) == workload.batch
            assert (y == labels).all()
            if isinstance(x, np.ndarray):
                assert (x == again).all()


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _logits(model, weights, x):
    """By the formulas at the head of benchmarks/sequences.py."""
    x = weights["embedding"][x] if model.vocabulary else x
    h = c = np.zeros((len(x), model.hidden), np.float32)
    kernel, bias = weights["cell/kernel"], weights["cell/bias"]
    for now in x.swapaxes(0, 1):
        if model.cell == "gru":
            r, z, n = np.split(now @ kernel + bias, 3, 1)
            mine = h @ weights["recurrent/kernel"] + weights["recurrent/bias"]
            of_r, of_z, of_n = np.split(mine, 3, 1)
            u = _sigmoid(z + of_z)
            h = (1 - u) * np.tanh(n + _sigmoid(r + of_r) * of_n) + u * h
            continue
        gates = np.concatenate([now, h], 1) @ kernel + bias
        if model.cell == "lstm":
            i, j, f, o = np.split(gates, 4, 1)
            c = _sigmoid(f + 1) * c + _sigmoid(i) * np.tanh(j)
            h = _sigmoid(o) * np.tanh(c)
        else:
            h = np.tanh(gates)
    return h @ weights["classes/kernel"] + weights["classes/bias"]


@pytest.mark.parametrize("name", ["lstm-infer-1", "lstm32-train", "gru32-train", "rnn32-train"])
def test_graphflow_runs_the_recurrences_of_the_formulas(tmp_path, name):
    import graphflow as tf

    workload = workloads.by_name(name)
    rng = np.random.default_rng(3)
    # Biases are drawn too: what is zero cannot be seen to be in its place.
    weights = {
        key: value if value.any() else rng.standard_normal(value.shape, dtype=np.float32)
        for key, value in sequences.initial(workload.model)
    }
    np.savez(tmp_path / "weights.npz", **weights)
    request = Request(name, "graphflow", weights=str(tmp_path / "weights.npz"))
    with tf.Graph().as_default():
        system = load(request)
        x, y = next(sequences.batches(workload, 1))
        wanted = _logits(SEQUENCE_MODELS[workload.model], weights, x)
        if workload.kind == workloads.RECURRENT_INFER:
            np.testing.assert_allclose(system.infer()(x, y), wanted, rtol=1e-4, atol=1e-5)
        else:
            chances = np.exp(wanted) / np.exp(wanted).sum(1, keepdims=True)
            loss = -np.log(chances[np.arange(len(y)), y]).mean()
            step = system.train()
            np.testing.assert_allclose(step(x, y), loss, rtol=1e-5)
            assert step(x, y) < loss
        facts = system.facts()
    assert facts["launches"] > 0 and facts["peak_bytes"] > 0


def _phrase(model, weights, tree):
    """(h, c) of a tree by the formulas at the head of benchmarks/sequences.py."""
    hidden, tracker = model.hidden, model.tracker

    def dense(name, x):
        return x @ weights[f"{name}/kernel"] + weights[f"{name}/bias"]

    if tracker:
        words = list(np.split(dense("words", tree.words), 2, 1))
    else:
        i, o, u = np.split(dense("leaf", tree.words), 3, 1)
        c = _sigmoid(i) * np.tanh(u)
        words = [_sigmoid(o) * np.tanh(c), c]
    waiting = list(zip(*words, strict=True))
    nothing = (np.zeros(hidden, np.float32), np.zeros(hidden, np.float32))
    stack = [nothing, nothing]
    h, c = np.zeros((2, tracker), np.float32)
    for transition in tree.transitions:
        (left, left_c), (right, right_c) = stack[-2:]
        if tracker:
            word = waiting[0] if waiting else nothing
            i, j, f, o = np.split(dense("tracker", np.concatenate([word[0], right, left, h])), 4)
            c = _sigmoid(f + 1) * c + _sigmoid(i) * np.tanh(j)
            h = _sigmoid(o) * np.tanh(c)
        if transition == SHIFT:
            stack.append(waiting.pop(0))
            continue
        i, f_left, f_right, o, u = np.split(dense("reduce", np.concatenate([left, right, h])), 5)
        made = _sigmoid(i) * np.tanh(u) + _sigmoid(f_left) * left_c + _sigmoid(f_right) * right_c
        stack[-2:] = [(_sigmoid(o) * np.tanh(made), made)]
    return stack[-1]


@pytest.mark.parametrize("name", ["spinn-train", "treelstm-train"])
def test_graphflow_runs_the_trees_of_the_formulas(tmp_path, name):
    import graphflow as tf

    workload = workloads.by_name(name)
    model = SEQUENCE_MODELS[workload.model]
    rng = np.random.default_rng(3)
    weights = {
        key: value if value.any() else rng.standard_normal(value.shape, dtype=np.float32)
        for key, value in sequences.initial(workload.model)
    }
    np.savez(tmp_path / "weights.npz", **weights)
    trees = sequences.random_trees(model, 8, rng)
    y = rng.integers(0, model.classes, 8, dtype=np.int32)
    heads = np.stack([_phrase(model, weights, tree)[0] for tree in trees])
    wanted = heads @ weights["classes/kernel"] + weights["classes/bias"]
    loss = np.log(np.exp(wanted).sum(1)) - wanted[np.arange(8), y]
    with tf.Graph().as_default():
        system = load(Request(name, "graphflow", weights=str(tmp_path / "weights.npz")))
        step = system.train()
        x = sequences.stacked(trees, model.words) if model.tracker else trees
        np.testing.assert_allclose(step(x, y), loss.mean(), rtol=1e-5)
        assert step(x, y) < loss.mean()
        facts = system.facts()
    assert facts["launches"] > 0 and facts["peak_bytes"] > 0


def test_many_lengths():
    made = list(sequences.batches(workloads.by_name("lstm-lengths"), 4))
    steps = [x.shape[1] for x, _ in made]
    assert len(made) == 40
    assert min(steps) >= 5 and max(steps) <= 60
    assert len(set(steps)) > 20


def test_a_system_that_people_write_instead_is_told_beside_the_fastest():
    name = "lstm-train"
    records = [record("graphflow", name, 1.0), record("torch", name, 1.2)]
    row = sequence_tables.sequences(Figures([*records, record("torch-loop", name, 2.9)])).rows[0]
    assert row[-6:] == ["≥ 1.1×", tables.MET, "torch-loop", "2.90×", "≥ 3×", tables.MISSED]
    assert sequence_tables.sequences(Figures(records)).rows[0][-2:] == ["≥ 3×", tables.NONE]
    assert sequence_tables.sequences(Figures([record("graphflow", "mlp-train", 1.0)])) is None


def test_many_lengths_are_told_with_cold_and_with_warm_caches():
    name = "lstm-lengths"
    figures = Figures(
        [
            record("graphflow", name, 2.0, COLD),
            record("graphflow", name, 1.0),
            record("torch", name, 2.1, COLD),
            record("torch", name, 2.2),
            record("jax", name, 19.0),
            record("torch.compile", name, 100.0, COLD),
        ]
    )
    rows = {row[0]: row[1:] for row in sequence_tables.lengths(figures).rows}
    assert rows["graphflow"][:2] == ["2.0", "1.0"]
    assert rows["torch"] == [
        *("2.1", "2.1"),
        *("1.05×", "≥ 1×", tables.MET),
        *("2.10×", "≥ 1.2×", tables.MET),
    ]
    assert rows["jax"][2:] == ["9.50×", "≥ 10×", tables.MISSED, "19.00×", "≥ 10×", tables.MET]
    assert rows["torch.compile"][1:5] == [tables.NONE, "50.00×", "≥ 10×", tables.MET]


def test_without_graphflow_there_is_no_verdict_on_lengths():
    rows = sequence_tables.lengths(Figures([record("torch", "lstm-lengths", 2.0)])).rows
    assert rows[0][1:3] == [tables.NONE, tables.NONE]
    assert rows[1][3:6] == [tables.NONE, "≥ 1×", tables.NONE]
