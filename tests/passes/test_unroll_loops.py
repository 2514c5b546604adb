"""Short loops of elementwise work are written out, and no others."""

from __future__ import annotations

import numpy as np
import pytest
from plans import check, program_of

import graphflow as tf


@pytest.fixture(autouse=True)
def graph():
    with tf.Graph().as_default() as graph:
        yield graph


def loops(fetches, feeds):
    return [node for node in program_of(fetches, feeds).nodes() if node.op.name == "scan"]


def counted(times, body, start):
    return tf.while_loop(lambda i, _: i < times, lambda i, y: (i + 1, body(i, y)), [0, start])[1]


@pytest.mark.parametrize("times", [0, 1, 2, 4])
def test_elementwise_bodies_are_one_kernel(times):
    x = tf.placeholder(tf.float32, [5])
    y = counted(times, lambda i, y: tf.sin(y) * tf.cast(i, tf.float32) + x, x)
    feeds = {x: np.linspace(-1, 1, 5, dtype=np.float32)}
    assert not loops([y], feeds)
    assert len(check([y], feeds).launches) == min(times, 1)


@pytest.mark.parametrize("fold", [tf.foldl, tf.foldr])
def test_rows_come_in_their_order(fold):
    x = tf.placeholder(tf.float32, [3, 2])
    y = fold(lambda h, row: h * 2.0 + tf.exp(row), x, tf.zeros([2]))
    feeds = {x: np.arange(6, dtype=np.float32).reshape(3, 2) / 5}
    assert not loops([y], feeds)
    check([y], feeds)
    (slope,) = tf.gradients(y, x)
    check([slope], feeds)


def test_inner_loops_are_written_out_in_the_body():
    x, n = tf.placeholder(tf.float32, [4]), tf.placeholder(tf.int32, [])
    inner = lambda y: counted(2, lambda i, y: tf.sin(y) + x, y)  # noqa: E731
    _, y = tf.while_loop(lambda i, _: i < n, lambda i, y: (i + 1, inner(y)), [0, x])
    check([y], {x: np.ones(4, np.float32), n: np.int32(3)})


def test_what_stays_a_loop():
    x = tf.placeholder(tf.float32, [4, 4])
    feeds = {x: np.ones((4, 4), np.float32)}
    longer = counted(5, lambda i, y: tf.sin(y), x)
    product = counted(3, lambda i, y: tf.sin(y @ x), x)
    rows = tf.scan(lambda h, row: tf.sin(h) + row, x)
    for kept in (longer, product, rows):
        assert loops([kept], feeds)


def test_the_switch():
    x = tf.placeholder(tf.float32, [4])
    y = counted(3, lambda i, y: tf.sin(y) + x, x)
    feeds = {x: np.ones(4, np.float32)}
    values = []
    for disable in ((), ("unroll_loops",)):
        with tf.Session(config=tf.ConfigProto(disable=disable)) as session:
            values.append(session.run(y, feeds))
    np.testing.assert_allclose(*values, rtol=1e-6)
