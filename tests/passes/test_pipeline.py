"""The whole list of passes on random graphs: what comes out gives what went in gave."""

from __future__ import annotations

import numpy as np
import pytest
from effort import calls
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

import graphflow as tf
from graphflow.ir.evaluate import run_program
from graphflow.ir.text import parse_program, pool_of, print_program
from graphflow.passes.cut.functionalize import cut
from graphflow.passes.pipeline import GRAPH_PASSES, PassOptions, names, run_graph_passes

UNARY = [
    tf.exp, tf.sin, tf.tanh, tf.sigmoid, tf.negative, tf.abs, tf.square, tf.nn.softplus,
    tf.identity, tf.nn.relu, lambda x: tf.log(tf.sigmoid(x)), lambda x: tf.log(1 + tf.exp(x)),
    lambda x: 1 - tf.sigmoid(x), lambda x: x * 1.0, lambda x: x + 0.0, lambda x: x * -1.0,
    lambda x: x / 4.0, lambda x: tf.pow(tf.abs(x) + 0.5, 0.5), lambda x: tf.cast(x, tf.float64),
    lambda x: tf.negative(tf.negative(x)), lambda x: (x * 2.0) * 3.0,
    lambda x: 1 / (1 + tf.exp(-x)),
    lambda x: 1 / tf.sqrt(tf.abs(x) + 1.0), tf.nn.softmax, lambda x: tf.log(tf.nn.softmax(x)),
    lambda x: tf.transpose(tf.transpose(x)), lambda x: tf.reshape(x, [-1, 3]),
    lambda x: tf.reshape(tf.reshape(x, [-1]), [-1, 3]), lambda x: tf.reverse(x, [1]),
    lambda x: tf.reverse(tf.reverse(x, [1]), [1]), lambda x: x[:, ::-1], lambda x: x[:, :],
    lambda x: tf.pad(x, [[0, 0], [1, 0]])[:, :3], lambda x: tf.concat([x], 0),
    lambda x: tf.reduce_sum(x, 1, keepdims=True) + tf.zeros_like(x),
    lambda x: tf.reduce_mean(x) * tf.ones_like(x), lambda x: tf.where(x > 0.0, x, x * 0.5),
    lambda x: tf.matmul(x, tf.transpose(tf.constant(np.eye(3)[::-1].copy()))),
    lambda x: tf.reduce_max(tf.reshape(x, [-1, 3, 1]), 2), lambda x: tf.tile(x, [1, 2])[:, 3:],
]  # fmt: skip
BINARY = [
    tf.add, tf.subtract, tf.multiply, tf.maximum, tf.minimum,
    lambda a, b: a / (tf.abs(b) + 1.0), lambda a, b: a + -b, lambda a, b: a - -b,
    lambda a, b: tf.where(tf.logical_not(a > b), a, b), lambda a, b: -a * -b,
    lambda a, b: tf.matmul(a, tf.matmul(b, a, transpose_a=True)), lambda a, b: tf.concat(
        [a[:, :1], b[:, 1:]], 1), lambda a, b: a * tf.reciprocal(b * b + 1.0),
]  # fmt: skip


@st.composite
def graphs(draw):
    """(function of the tensors made so far, …): a recipe, so that failures shrink."""
    steps = []
    for count in range(draw(st.integers(1, 8))):
        if draw(st.booleans()):
            steps.append((draw(st.integers(0, len(UNARY) - 1)), draw(st.integers(0, count + 1))))
        else:
            pick = st.integers(0, count + 1)
            steps.append((draw(st.integers(0, len(BINARY) - 1)), draw(pick), draw(pick)))
    return steps


def build(steps):
    x = tf.placeholder(tf.float64, [None, 3], name="x")
    y = tf.placeholder(tf.float64, [None, 3], name="y")
    made = [x, y]
    for step in steps:
        if len(step) == 2:
            made.append(UNARY[step[0]](made[step[1]]))
        else:
            made.append(BINARY[step[0]](made[step[1]], made[step[2]]))
    return [x, y], made


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(graphs(), st.integers(1, 3), st.booleans())
def test_random_graphs(steps, rows, differentiate):
    with tf.Graph().as_default() as graph:
        feeds, made = build(steps)
        fetches = made[2:]
        if differentiate:
            fetches = [g for g in tf.gradients(made[-1], feeds) if g is not None] or fetches
        program = cut(graph, fetches, feeds)
        note(print_program(program))
        optimised = run_graph_passes(program, PassOptions(verify=True))
        note(print_program(optimised))
        text = print_program(optimised)
        again = parse_program(text, pool_of(optimised))
        assert print_program(again) == text
        random = np.random.default_rng(rows)
        arrays = [random.uniform(-1, 1, (rows, 3)) for _ in feeds]
        before = run_program(program, arrays).fetches
        after = run_program(optimised, arrays).fetches
        for a, b in zip(before, after, strict=True):
            big = np.abs(a[np.isfinite(a)]).max(initial=1.0)
            fine = np.isfinite(a) & (np.abs(a) < 1e100)
            np.testing.assert_allclose(b[fine], a[fine], rtol=1e-9, atol=1e-9 * min(big, 1e60))


def test_a_second_time_changes_nothing():
    x = tf.placeholder(tf.float32, [None, 3], name="x")
    loss = tf.reduce_mean(tf.log(tf.nn.softmax(x)))
    program = cut(tf.get_default_graph(), [loss, *tf.gradients(loss, x)], [x])
    once = run_graph_passes(program)
    assert print_program(run_graph_passes(once)) == print_program(once)


def test_every_name_can_be_left_out():
    x = tf.placeholder(tf.float64, [None, 3], name="x")
    y = tf.placeholder(tf.float64, [None, 3], name="y")
    fetches = [f(x) for f in UNARY] + [f(x, y) for f in BINARY]
    program = cut(tf.get_default_graph(), fetches, [x, y])
    arrays = [np.linspace(0.1, 1, 6).reshape(2, 3), np.linspace(1, -1, 6).reshape(2, 3)]
    expected = run_program(program, arrays).fetches
    assert len(set(names())) == len(names())
    for disable in [*({name} for name in names()), set(names())]:
        options = PassOptions(disable=frozenset(disable))
        results = run_program(run_graph_passes(program, options), arrays).fetches
        for a, b in zip(expected, results, strict=True):
            np.testing.assert_allclose(b, a, rtol=1e-9, atol=1e-12)


def test_observers():
    seen, fired = [], []
    x = tf.placeholder(tf.float32, [None], name="x")
    program = cut(tf.get_default_graph(), [x * 1.0 + (tf.constant(1.0) + 2.0)], [x])
    options = PassOptions(
        observe=lambda name, before, after, seconds: seen.append((name, before is not after)),
        fired=lambda name, before, after: fired.append(name),
    )
    run_graph_passes(program, options)
    assert [name for name, _ in seen] == [name for name, _ in GRAPH_PASSES]
    assert ("fold", True) in seen
    assert ("inline_calls", False) in seen
    assert fired == ["mul_one"]


def test_nan_checks_on_request():
    x = tf.placeholder(tf.float32, [None], name="x")
    program = cut(tf.get_default_graph(), [tf.log(x, name="danger") * 0.0], [x])
    bad = [np.float32([-1.0])]
    assert np.isnan(run_program(run_graph_passes(program), bad).fetches[0]).all()
    checked = run_graph_passes(program, PassOptions(check_numerics=True))
    with pytest.raises(tf.errors.InvalidArgumentError, match="danger : Tensor had NaN"):
        run_program(checked, bad)


def test_near_linear():
    def work(count: int) -> int:
        with tf.Graph().as_default() as graph:
            x = tf.placeholder(tf.float32, [None], name="x")
            y = x
            for index in range(count):
                y = tf.sin(y) * float(index + 2) + 0.0
            program = cut(graph, [y], [x])
            return calls(lambda: run_graph_passes(program))

    work(50)
    assert work(2000) < 8 * work(250) * 1.2
