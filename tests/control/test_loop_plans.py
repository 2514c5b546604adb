"""Plans with loops and branches, run by the interpreter of plans: their order and their memory."""

from __future__ import annotations

import numpy as np
import pytest
from plans import check

import graphflow as tf
from graphflow.loop.evaluate_plan import run_plan
from graphflow.loop.memory import AccessError
from graphflow.plan import Choose, End, Repeat


def marks(plan, kind):
    return [step for step in plan.steps if isinstance(step, kind)]


@pytest.mark.parametrize("value", [-1.0, 2.0])
def test_branches(value):
    x = tf.placeholder(tf.float32, [5])
    y = tf.cond(
        tf.reduce_sum(x) > 0, lambda: tf.reduce_sum(tf.exp(x)), lambda: tf.reduce_max(x) - 1.0
    )
    plan = check([y * 2.0], {x: np.full(5, value, np.float32)})
    assert marks(plan, Choose)


def test_a_recurrence_whose_values_change_places():
    x, start = tf.placeholder(tf.float32, [None, 3]), tf.placeholder(tf.float32, [3])
    w = tf.constant(np.arange(9, dtype=np.float32).reshape(3, 3) / 10)

    def step(h, row):
        return tf.tanh(tf.reshape(tf.reshape(h, [1, 3]) @ w, [3]) + row)

    states = tf.scan(step, x, start)
    (slope,) = tf.gradients(tf.reduce_sum(states * states), x)
    for rows in (0, 1, 4):
        feeds = {x: np.ones((rows, 3), np.float32), start: np.zeros(3, np.float32)}
        plan = check([states, slope], feeds)
    repeats = marks(plan, Repeat)
    assert any(mark.reverse for mark in repeats) and any(mark.swaps for mark in repeats)


@pytest.mark.parametrize("limit", [0.0, 5.0, 40.0])
def test_loops_that_end_when_they_will(limit):
    x = tf.placeholder(tf.float32, [3, 3])
    y = tf.while_loop(lambda y: tf.reduce_sum(y) < limit, lambda y: tf.exp(y @ x) + y, [x])
    (slope,) = tf.gradients(tf.reduce_sum(y), x)
    plan = check([y, slope], {x: np.full((3, 3), 0.1, np.float32)}, rtol=1e-4)
    assert any(mark.trips is not None for mark in marks(plan, Repeat))


@pytest.mark.parametrize("count", [0, 1, 6])
def test_sizes_that_change(count):
    x, n = tf.placeholder(tf.float32, [None]), tf.placeholder(tf.int32, [])
    _, y = tf.while_loop(
        lambda i, _: i < n,
        lambda i, y: (i + 1, tf.concat([y, y[:1] + 1.0], 0)),
        [0, x],
        shape_invariants=[[], [None]],
    )
    feeds = {x: np.arange(3, dtype=np.float32), n: np.int32(count)}
    check([y, tf.reduce_sum(tf.exp(y / 10.0))], feeds)


def test_no_more_rows_than_there_are():
    x, lengths = tf.placeholder(tf.float32, [2, None, 3]), tf.placeholder(tf.int32, [2])
    cell = tf.nn.rnn_cell.BasicLSTMCell(3)
    outputs, _ = tf.nn.dynamic_rnn(cell, x, lengths, dtype=tf.float32)
    weights = dict(zip(cell.weights, (np.full((6, 12), 0.1), np.zeros(12)), strict=True))
    states = {v.handle: value.astype(np.float32) for v, value in weights.items()}
    (slope,) = tf.gradients(tf.reduce_sum(outputs), x)
    feeds = {x: np.ones((2, 5, 3), np.float32), lengths: np.array([2, 3], np.int32)}
    plan = check([outputs, slope], feeds, states)
    assert any(mark.bound >= 0 for mark in marks(plan, Repeat))


def test_loops_in_loops_with_branches():
    n = tf.placeholder(tf.int32, [])

    def inner(i):
        return tf.while_loop(lambda j, _: j < i, lambda j, s: (j + 1, s + j), [0, 0])[1]

    def outer(i, total):
        odd = tf.equal(i % 2, 1)
        return i + 1, total + tf.cond(odd, lambda: inner(i), lambda: tf.constant(100))

    _, total = tf.while_loop(lambda i, _: i < n, outer, [0, 0])
    plan = check([total], {n: np.int32(7)})
    assert len(marks(plan, End)) >= 3


def test_an_iteration_that_reads_what_none_has_stored_is_found():
    x = tf.placeholder(tf.float32, [4, 3])
    y = tf.scan(lambda h, row: tf.cumsum(h) + row, x, tf.zeros([3]))
    plan = check([y], {x: np.ones((4, 3), np.float32)})
    assert plan.has_loops
    (repeat,) = marks(plan, Repeat)
    begin = plan.steps.index(repeat)
    from dataclasses import replace

    broken = replace(plan, steps=plan.steps[begin:])
    with pytest.raises(AccessError):
        run_plan(broken, [np.ones((4, 3), np.float32)])
