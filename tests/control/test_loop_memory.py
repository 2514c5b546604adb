"""What loops read stays in memory as long as they run, and from run to run."""

from __future__ import annotations

import numpy as np
import pytest

import graphflow as tf


@pytest.fixture(autouse=True)
def graph():
    with tf.Graph().as_default() as graph:
        yield graph


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
