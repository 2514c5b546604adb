"""Memory budgets: what is computed again, how small plans get, and that results stay the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from plans import TARGET, program_of

import graphflow as tf
from graphflow.ir.evaluate import run_program
from graphflow.ir.graph import reset_default_graph
from graphflow.ir.text import parse_program, pool_of, print_program
from graphflow.ir.verify import verify
from graphflow.passes.pipeline import PassOptions
from graphflow.passes.planning.build_plan import build_plan
from graphflow.passes.planning.rematerialize import rematerialize

RANDOM = np.random.default_rng(0)


def within(fetches, feeds, budget, *disable):
    """(program, plan) before the pass, and after it."""
    options = PassOptions(disable=frozenset(disable))
    program = program_of(fetches, feeds)
    plan = build_plan(program, TARGET, options)
    after = rematerialize(program, plan, budget, TARGET, options)
    verify(after[0], "rematerialize")
    return (program, plan), after


def dense(x, units, seed=0):
    size = x.shape.as_list()[-1]
    values = np.random.default_rng(seed).standard_normal((size, units)) / np.sqrt(size)
    weights = tf.Variable(values.astype(np.float32))
    bias = tf.Variable(np.zeros(units, np.float32))
    return tf.matmul(x, weights) + bias


def deep(layers, activation=tf.tanh, rows=256, width=16):
    """A training step of a chain of layers, and the bytes of the value of one."""
    x = h = tf.placeholder(tf.float32, [rows, width], name="x")
    for layer in range(layers):
        h = activation(dense(h, width, layer))
    loss = tf.reduce_mean(tf.square(h))
    return x, [loss, tf.train.GradientDescentOptimizer(0.1).minimize(loss)], rows * width * 4


def ops(program, name):
    return sum(node.op.name == name for node in program.nodes())


# -- what is rewritten -----------------------------------------------------------------------------


def test_a_copy_runs_after_what_comes_before_its_first_use():
    x = tf.placeholder(tf.float32, [4096], name="x")
    a = tf.exp(x)
    sums = tf.cumsum(tf.reverse(tf.cumsum(a), [0]))
    y = tf.cumsum(a * tf.reduce_max(sums))
    (_, plan), (after, smaller) = within([y], [x], 1)
    assert (plan.peak_bytes, smaller.peak_bytes) == (4 * 4096 * 4, 3 * 4096 * 4)
    text = print_program(after, origins=False)
    assert [line.strip().split(": float32")[-1] for line in text.splitlines()[1:-4]] == [
        "[4096] = feed(index=0)",
        "[4096] = exp(%0)",
        "[4096] = cumulative(%1, axis=0, exclusive=false, kind='sum', reverse=false)",
        "[4096] = reverse(%2, axes=(0,))",
        "[4096] = cumulative(%3, axis=0, exclusive=false, kind='sum', reverse=false)",
        "[] = reduce(%4, axes=(0,), kind='max')",
        "[4096] = exp(%0) after %5",
        "[4096] = mul(%6, %5)",
        "[4096] = cumulative(%7, axis=0, exclusive=false, kind='sum', reverse=false)",
    ]
    assert print_program(parse_program(text, pool_of(after)), origins=False) == text
    copy = next(node for node in after.nodes() if node.controls)
    assert after.origin(copy)[0].name == "exp"


def test_nothing_changes_within_the_budget():
    x, fetches, _ = deep(6)
    program = program_of(fetches, [x])
    plan = build_plan(program, TARGET, PassOptions())
    same = rematerialize(program, plan, plan.peak_bytes, TARGET, PassOptions())
    assert same[0] is program
    assert same[1] is plan


def test_nothing_changes_where_nothing_waits():
    x = h = tf.placeholder(tf.float32, [64, 16])
    for layer in range(6):
        h = tf.tanh(dense(h, 16, layer))
    (program, plan), (after, same) = within([h], [x], 1)
    assert after is program
    assert same is plan


def test_cheap_values_go_first():
    x, fetches, size = deep(8, lambda u: u * tf.sigmoid(tf.sin(u)), width=64)
    (program, plan), (after, smaller) = within(fetches, [x], 1 << 40)
    assert after is program
    (_, _), (after, smaller) = within(fetches, [x], plan.peak_bytes - size)
    assert smaller.peak_bytes <= plan.peak_bytes - size
    assert ops(after, "contract") == ops(program, "contract")
    assert ops(after, "sin") > ops(program, "sin")


def test_checks_and_effects_happen_once():
    x = tf.placeholder(tf.float32, [256, 16])
    rows = tf.placeholder(tf.int32, [256])
    h = x
    for layer in range(8):
        h = tf.tanh(dense(tf.gather(h, rows), 16, layer))
    seen = tf.stop_gradient(tf.py_func(lambda v: v, [h], tf.float32, shapes=[[256, 16]]))
    loss = tf.reduce_mean(tf.square(h)) + tf.reduce_mean(seen)
    train = tf.train.GradientDescentOptimizer(0.1).minimize(loss)
    (program, plan), (after, smaller) = within([loss, train], [x, rows], 1)
    assert smaller.peak_bytes < plan.peak_bytes
    for name in ("check_index", "host_call"):
        assert ops(after, name) == ops(program, name)
    assert len(after.effects) == len(program.effects)


# -- how small it gets ----------------------------------------------------------------------------


def test_a_chain_needs_memory_for_the_root_of_its_length():
    least = {}
    for layers in (16, 64, 144):
        reset_default_graph()
        x, fetches, size = deep(layers)
        (program, plan), (after, smaller) = within(fetches, [x], 1)
        assert plan.arena_bytes > layers * size
        least[layers] = smaller.arena_bytes / size
        assert least[layers] <= 2 * np.sqrt(layers) + 2
        # Twice for a round: √n segments of the chain, then of what is left of it.
        assert ops(after, "tanh") <= 3.5 * ops(program, "tanh")
    assert least[144] / least[16] < 3.2


@pytest.mark.parametrize("share", [0.95, 0.8, 0.6, 0.4, 0.3])
def test_budgets_are_met(share):
    x, fetches, _ = deep(36)
    (program, plan), _ = within(fetches, [x], 1 << 40)
    budget = int(share * plan.arena_bytes) + plan.outside_bytes
    _, (after, smaller) = within(fetches, [x], budget)
    assert smaller.peak_bytes <= budget
    assert smaller.arena_bytes >= 0.5 * share * plan.arena_bytes  # no more than is needed
    assert ops(after, "tanh") < 2 * ops(program, "tanh")


# -- results --------------------------------------------------------------------------------------

LAYERS = {
    "dense": lambda h, n: tf.tanh(dense(h, h.shape.as_list()[-1], n)),
    "wide": lambda h, n: tf.nn.relu(dense(h, 24 - n % 16, n)),
    "residual": lambda h, n: h + tf.sigmoid(dense(h, h.shape.as_list()[-1], n)),
    "gelu": lambda h, n: tf.nn.gelu(h),
    "softmax": lambda h, n: tf.nn.softmax(h * 2.0),
    "norm": lambda h, n: (
        (h - tf.reduce_mean(h, 1, keepdims=True))
        / tf.sqrt(tf.reduce_mean(tf.square(h), 1, keepdims=True) + 0.1)
    ),
    "dropout": lambda h, n: tf.nn.dropout(h, 0.7, seed=n),
    "turned": lambda h, n: tf.reverse(tf.cumsum(h, 1), [1]) * 0.1,
    "shaped": lambda h, n: tf.sin(tf.reshape(tf.transpose(tf.reshape(h, [8, -1])), h.shape)),
}


def net(names, skips):
    """A training step of these layers; `skips` says which of them are added to a later one."""
    x = h = tf.placeholder(tf.float32, [32, 16], name="x")
    kept = []
    for number, name in enumerate(names):
        h = LAYERS[name](h, number)
        if number in skips:
            kept.append(h)
        elif kept and kept[-1].shape.as_list() == h.shape.as_list():
            h = h + kept.pop()
    loss = tf.reduce_mean(tf.square(dense(h, 4, 99)))
    return x, loss, tf.train.MomentumOptimizer(0.1, 0.9).minimize(loss)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.sampled_from(sorted(LAYERS)), min_size=2, max_size=14),
    st.sets(st.integers(0, 12), max_size=4),
    st.floats(0.0, 1.0),
)
def test_programs_under_a_budget_compute_the_same(names, skips, share):
    reset_default_graph()
    tf.set_random_seed(3)
    x, loss, train = net(names, skips)
    (program, plan), (after, smaller) = within([loss, train], [x], 1)
    assert smaller.peak_bytes <= plan.peak_bytes
    budget = int(smaller.peak_bytes + share * (plan.peak_bytes - smaller.peak_bytes))
    _, (some, between) = within([loss, train], [x], budget)
    assert between.peak_bytes <= plan.peak_bytes
    assume(after is not program)
    values = [np.random.default_rng(1).standard_normal((32, 16)).astype(np.float32)]
    states = {
        s.node.attrs["variable"]: np.random.default_rng(k).random(s.dims).astype(np.float32)
        for k, s in enumerate(program.states())
        if s.node.attrs["variable"].initial is None
    }
    want = run_program(program, values, states)
    for other in (after, some):
        got = run_program(other, values, states)
        np.testing.assert_array_equal(got.fetches[0], want.fetches[0])
        for variable, value in want.updates.items():
            np.testing.assert_array_equal(got.updates[variable], value)


def convolutional():
    """Convolutions, batch normalisation, dropout and skip connections."""
    x = tf.placeholder(tf.float32, [4, 16, 16, 3])
    labels = tf.placeholder(tf.int32, [4])
    training = True
    h = tf.layers.conv2d(x, 8, 3, padding="same")
    for _ in range(4):
        inner = tf.nn.relu(tf.layers.batch_normalization(h, training=training))
        inner = tf.layers.conv2d(inner, 8, 3, padding="same", use_bias=False)
        h = h + tf.nn.dropout(inner, 0.8, seed=5)
    h = tf.reduce_mean(tf.nn.relu(h), [1, 2])
    loss = tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=tf.layers.dense(h, 10))
    )
    train = tf.train.AdamOptimizer(0.01).minimize(loss)
    feeds = {x: RANDOM.standard_normal((4, 16, 16, 3)), labels: [1, 2, 3, 4]}
    return [loss, train], feeds


def multilayer():
    x, fetches, _ = deep(20, rows=64)
    return fetches, {x: RANDOM.standard_normal((64, 16)).astype(np.float32)}


@pytest.mark.parametrize("model", [multilayer, convolutional])
def test_budgeted_sessions_train_alike(model):
    tf.set_random_seed(2)
    fetches, feeds = model()
    initialise = tf.global_variables_initializer()
    losses = []
    peak = None
    for share in (None, 0.8, 0.6):
        budget = None if share is None else int(peak * share)
        config = tf.ConfigProto(memory_budget=budget, cache=False)
        with tf.Session(config=config) as session:
            session.run(initialise)
            losses.append([session.run(fetches, feeds)[0] for _ in range(4)])
            report = session.explain(fetches, feeds)
            assert session.measured_bytes(fetches, feeds) == report.peak_bytes
            if budget is None:
                peak = report.peak_bytes
            else:
                assert report.peak_bytes <= budget
                assert "computed again" in report.reasons["rematerialize"]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)
    np.testing.assert_allclose(losses[2], losses[0], rtol=1e-5)


# -- what a session does --------------------------------------------------------------------------


def test_a_budget_out_of_reach_is_an_error_that_says_what_is_possible():
    x, fetches, size = deep(16)
    value = np.zeros((256, 16), np.float32)
    with tf.Session(config=tf.ConfigProto(memory_budget=9 * size, cache=False)) as session:
        session.run(tf.global_variables_initializer())
        peak = session.explain(fetches, {x: value}).peak_bytes
        assert peak <= 9 * size
        session.run(fetches, {x: value})
    with tf.Session(config=tf.ConfigProto(memory_budget=4 * size, cache=False)) as session:
        session.run(tf.global_variables_initializer())
        least = session.explain(fetches, {x: value}).peak_bytes
        assert 4 * size < least < 9 * size
        message = rf"needs {least:,} B at its peak, more than memory_budget={4 * size:,} B.*again"
        with pytest.raises(tf.errors.ResourceExhaustedError, match=message) as caught:
            session.run(fetches, {x: value})
        assert f"{size:,} B  tanh" in str(caught.value)


def test_unknown_sizes_are_decided_run_by_run():
    x = h = tf.placeholder(tf.float32, [None, 16])
    for layer in range(24):
        h = tf.tanh(dense(h, 16, layer))
    loss = tf.reduce_mean(tf.square(h))
    fetches = [loss, tf.train.GradientDescentOptimizer(0.1).minimize(loss)]
    small, large = np.ones((8, 16), np.float32), np.ones((512, 16), np.float32)
    budget = 16 * large.nbytes
    with tf.Session(config=tf.ConfigProto(memory_budget=budget, cache=False)) as session:
        session.run(tf.global_variables_initializer())
        session.run(fetches, {x: small})
        count = session.counters()["compilations"]
        for _ in range(3):
            session.run(fetches, {x: large})
            session.run(fetches, {x: small})
        assert session.counters()["compilations"] == count + 1
        report = session.explain(fetches, {x: large})
        assert report.peak_bytes <= budget
        assert session.measured_bytes(fetches, {x: large}) == report.peak_bytes
        assert session.counters()["compilations"] == count + 1
        assert "rematerialize" not in session.explain(fetches, {x: small}).reasons


def test_it_can_be_left_out():
    x, fetches, size = deep(16)
    config = tf.ConfigProto(memory_budget=9 * size, disable=("rematerialize",), cache=False)
    with tf.Session(config=config) as session:
        session.run(tf.global_variables_initializer())
        with pytest.raises(tf.errors.ResourceExhaustedError):
            session.run(fetches, {x: np.zeros((256, 16), np.float32)})
