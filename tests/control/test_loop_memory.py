"""What loops read stays in memory as long as they run, and from run to run."""

from __future__ import annotations

import numpy as np
import pytest

import graphflow as tf


@pytest.mark.parametrize(("steps", "depth", "units"), [(2, 4, 4), (5, 12, 16), (3, 8, 16)])
def test_sequences_that_are_settled_are_kept(steps, depth, units):
    """Of a constant and a variable: the projection of all steps is computed once, and then read by
    every iteration of every run."""
    x = np.random.default_rng(0).standard_normal((3, steps, depth)).astype(np.float32)
    tf.set_random_seed(5)
    cell = tf.nn.rnn_cell.BasicLSTMCell(units)
    outputs, state = tf.nn.dynamic_rnn(cell, tf.constant(x), dtype=tf.float32)
    other = tf.placeholder(tf.float32, [units, 200])
    wide = tf.reduce_sum(tf.matmul(outputs[:, -1], other))  # wants the memory of what has ended
    fed = {other: np.ones((units, 200), np.float32)}
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        kernel, bias = session.run(cell.weights)
        with tf.Session(backend="reference") as reference:
            cell.weights[0].load(kernel, reference)
            cell.weights[1].load(bias, reference)
            wanted = reference.run([outputs, state, wide], fed)
            cell.weights[0].load(2 * kernel, reference)
            changed = reference.run([outputs, state, wide], fed)
        for _ in range(3):
            found = session.run([outputs, state, wide], fed)
            for mine, right in zip(found, wanted, strict=True):
                np.testing.assert_allclose(mine, right, rtol=1e-5, atol=1e-6)
        cell.weights[0].load(2 * kernel, session)
        for mine, right in zip(session.run([outputs, state, wide], fed), changed, strict=True):
            np.testing.assert_allclose(mine, right, rtol=1e-5, atol=1e-6)


def grown(first, times):
    """`first` with a copy of its first row at the end, `times` times: a size only the run knows."""
    _, y = tf.while_loop(
        lambda i, _: i < times,
        lambda i, y: (i + 1, tf.concat([y, y[:1]], 0)),
        [0, first],
        shape_invariants=[[], [None]],
    )
    return y


def test_workspaces_of_sizes_that_a_loop_finds_out():
    """The gradient multiplies the rows of all iterations at once, which are packed before."""
    size = 64
    x, n = tf.placeholder(tf.float64, [size, size]), tf.placeholder(tf.int32, [])
    _, y = tf.while_loop(lambda i, _: i < n, lambda i, y: (i + 1, tf.sin(y @ x) + y * 0.5), [0, x])
    (slope,) = tf.gradients(tf.reduce_sum(y), x)
    at = np.random.default_rng(0).standard_normal((size, size)) * 0.05
    with tf.Session() as session, tf.Session(backend="reference") as reference:
        for steps in (20, 3, 60):
            found, wanted = (s.run(slope, {x: at, n: steps}) for s in (session, reference))
            np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-15)


def test_values_of_late_size_stay_what_they_are_while_other_loops_find_out_theirs():
    """The value is no product in place, and a loop inside ends in every iteration."""
    x, n = tf.placeholder(tf.float64, [None]), tf.placeholder(tf.int32, [])
    y = grown(x, n)
    m = tf.tensordot(y, y, 0) * 0.01

    def body(i, z):
        ones = grown(tf.ones([1], tf.float64), i % 4)
        return i + 1, z @ m + tf.reduce_sum(tf.cumsum(tf.ones_like(ones)))

    _, z = tf.while_loop(lambda i, _: i < n, body, [0, m])
    with tf.Session() as session, tf.Session(backend="reference") as reference:
        for steps in (4, 3, 40, 7):
            feeds = {x: [1, 2, 3], n: steps}
            np.testing.assert_allclose(session.run(z, feeds), reference.run(z, feeds), rtol=1e-9)


def test_what_is_known_of_a_run_whose_loops_find_out_sizes_is_told():
    x, n = tf.placeholder(tf.float32, [None]), tf.placeholder(tf.int32, [])
    total = tf.reduce_sum(tf.exp(grown(x, n)))
    with tf.Session() as session:
        report = session.explain(total, {x: [1, 2, 3], n: 4})
    assert report.peak_bytes > 0
    assert "t" in report.flops  # how many elements there are in the end, nothing tells
