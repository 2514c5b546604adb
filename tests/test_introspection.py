"""Seeing inside: explain, dumps, debug output, graphs, leaving passes out, numeric checks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import graphflow as tf

ROOT = Path(__file__).resolve().parent.parent


def classifier():
    x = tf.placeholder(tf.float32, [None, 20], name="x")
    labels = tf.placeholder(tf.int32, [None], name="labels")
    h = tf.layers.dense(x, 16, tf.nn.relu, name="hidden")
    logits = tf.layers.dense(h, 4, name="output")
    loss = tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    )
    train = tf.train.MomentumOptimizer(0.1, 0.9).minimize(loss)
    return x, labels, loss, train


def batch(x, labels, rows=8):
    rng = np.random.default_rng(0)
    return {
        x: rng.standard_normal((rows, 20)).astype(np.float32),
        labels: rng.integers(0, 4, rows).astype(np.int32),
    }


def test_explain_without_and_with_sizes():
    x, labels, loss, train = classifier()
    feeds = batch(x, labels)
    with tf.Session(config=tf.ConfigProto(cache=False)) as session:
        session.run(tf.global_variables_initializer())
        report = tf.explain([train, loss], session)
        assert report.launches == len(report.kernels) > 0
        assert report.arena_bytes is None
        assert "s0" in report.flops
        assert report.symbols["s0"] == "axis 0 of x:0"
        assert sum(report.stages.values()) > 0
        text = str(report)
        assert "launches" in text
        assert "hidden" in text
        sized = tf.explain([train, loss], session, feeds)
        assert sized.flops.isdigit()
        assert sized.arena_bytes <= 1.1 * sized.arena_lower_bound + 64 * report.launches
        assert sized.peak_bytes >= sized.arena_bytes
        assert report.to_json()["kernels"]


def test_every_kernel_says_why_it_is_one():
    x, labels, loss, train = classifier()
    with tf.Session(config=tf.ConfigProto(cache=False)) as session:
        report = tf.explain([train, loss], session)
    assert all(kernel.note for kernel in report.kernels)


def script(tmp_path, body):
    path = tmp_path / "script.py"
    path.write_text(
        "import numpy as np\nimport graphflow as tf\n"
        "x = tf.placeholder(tf.float32, [None, 3], name='x')\n" + body
    )
    return path


def start(path, *arguments, **environment):
    environ = {**os.environ, "GRAPHFLOW_CACHE": "off", "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(
        [sys.executable, *arguments, str(path)], env=environ, capture_output=True, text=True
    )


RUN = "tf.Session().run(tf.nn.softmax(x * 1 + 0), {x: np.ones((2, 3), np.float32)})\n"


def test_dump_is_the_same_every_time(tmp_path):
    path = script(tmp_path, RUN)
    folders = []
    for name in ("a", "b"):
        folder = tmp_path / name
        done = start(path, GRAPHFLOW_DUMP=str(folder))
        assert done.returncode == 0, done.stderr
        folders.append({p.name: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()})
    assert folders[0] == folders[1]
    names = " ".join(folders[0])
    for stage in ("cut.gf", "plan.gfp", "kernels.gfl", "step.ll", "step.s"):
        assert stage in names


def test_debug_prints_what_was_asked_for(tmp_path):
    done = start(script(tmp_path, RUN), GRAPHFLOW_DEBUG="passes,kernels,cache,diff")
    assert done.returncode == 0
    assert re.search(r"passes: simplify +[0-9.]+ ms", done.stderr)
    assert "kernel " in done.stderr
    assert "--- before simplify" in done.stderr


def test_a_pass_and_a_rule_can_be_left_out():
    x = tf.placeholder(tf.float32, [None, 3])
    y = tf.nn.softmax(x * 2) * 3
    data = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    results, launches = [], []
    for disable in ((), ("fuse",), ("simplify", "fold", "cse")):
        config = tf.ConfigProto(disable=disable, cache=False)
        with tf.Session(config=config) as session:
            results.append(session.run(y, {x: data}))
            launches.append(tf.explain(y, session, {x: data}).launches)
    np.testing.assert_allclose(results[0], results[1], rtol=1e-6)
    np.testing.assert_allclose(results[0], results[2], rtol=1e-6)
    assert launches[1] > launches[0]


def test_bisect_finds_a_planted_bug(tmp_path):
    """A rule made to answer wrongly is found by its name, among all passes and rules."""
    path = tmp_path / "wrong.py"
    path.write_text(
        "import sys\nimport numpy as np\nimport graphflow as tf\n"
        "from graphflow.passes.rewrite import simplify\n"
        "def wrong(node):\n"
        "    return node.inputs[0] if node.inputs[0].node.op.name == 'neg' else None\n"
        "simplify.RULES = tuple(\n"
        "    r._replace(apply=wrong) if r.name == 'neg_neg' else r for r in simplify.RULES)\n"
        "x = tf.placeholder(tf.float32, [None])\n"
        "y = -(-x) * 1 + tf.exp(tf.constant(0.0))\n"
        "result = tf.Session().run(y, {x: [1.0, 2.0]})\n"
        "sys.exit(0 if np.allclose(result, [2.0, 3.0]) else 1)\n"
    )
    done = start(path, "-m", "graphflow", "bisect")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "comes from: neg_neg" in done.stdout


def test_graph_as_networkx_and_graphviz():
    x, _, loss, train = classifier()
    graph = tf.get_default_graph()
    drawn = graph.to_networkx()
    assert drawn.number_of_nodes() == len(graph.nodes)
    assert drawn.nodes[x.op.name]["op"] == "placeholder"
    text = tf.to_dot(graph)
    assert text.startswith("digraph")
    assert "hidden" in text


@pytest.mark.parametrize("fed", [np.nan, np.inf])
def test_numeric_checks_survive_fusion(fed):
    x = tf.placeholder(tf.float32, [None])
    y = tf.reduce_sum(tf.tanh(x * 2 + 1))
    v = tf.Variable(0.0)
    update = tf.assign_add(v, y)
    with tf.Session(config=tf.ConfigProto(check_numerics=True, cache=False)) as session:
        session.run(tf.global_variables_initializer())
        session.run(update, {x: [1.0, 2.0]})
        before = session.run(v)
        with pytest.raises(tf.errors.InvalidArgumentError, match="mul"):
            session.run(update, {x: [1.0, fed]})
        assert session.run(v) == before


def test_planned_memory_is_what_a_run_uses():
    x, labels, loss, train = classifier()
    feeds = batch(x, labels, 50)
    with tf.Session(config=tf.ConfigProto(cache=False)) as session:
        session.run(tf.global_variables_initializer())
        planned = tf.explain([train, loss], session, feeds).peak_bytes
        assert session.measured_bytes([train, loss], feeds) == planned
