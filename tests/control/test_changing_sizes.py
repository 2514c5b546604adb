"""Loop variables whose sizes change, within what `shape_invariants` allow."""

from __future__ import annotations

import numpy as np
import pytest

import graphflow as tf
from graphflow.errors import TypeRuleError


def test_a_sequence_that_grows(backend):
    x = tf.placeholder(tf.float32, [None, 2])
    n = tf.placeholder(tf.int32, [])
    _, y = tf.while_loop(
        lambda i, _: i < n,
        lambda i, y: (i + 1, tf.concat([y, y[-1:] * 2.0 + y[:1]], 0)),
        [0, x],
        shape_invariants=[tf.TensorShape([]), tf.TensorShape([None, 2])],
    )
    total = tf.reduce_sum(y, 0)
    at = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    with tf.Session(backend=backend) as session:
        for count in (0, 3, 40, 1):
            want = at
            for _ in range(count):
                want = np.concatenate([want, want[-1:] * 2 + want[:1]])
            found, summed = session.run([y, total], {x: at, n: count})
            np.testing.assert_allclose(found, want, rtol=1e-6)
            np.testing.assert_allclose(summed, want.sum(0), rtol=1e-5)


def test_the_condition_sees_the_size(backend):
    x = tf.placeholder(tf.float32, [None])
    y = tf.while_loop(
        lambda y: tf.shape(y)[0] < 20,
        lambda y: tf.concat([y, y + 1.0], 0),
        [x],
        shape_invariants=[tf.TensorShape([None])],
    )
    with tf.Session(backend=backend) as session:
        assert session.run(y, {x: [1, 2, 3]}).shape == (24,)
        assert session.run(y, {x: np.zeros(20)}).shape == (20,)


def test_several_variables_change_together(backend):
    n = tf.placeholder(tf.int32, [])

    def body(i, a, b):
        return i + 1, tf.concat([a, b], 0), a

    _, a, b = tf.while_loop(
        lambda i, *_: i < n,
        body,
        [0, tf.ones([2]), tf.zeros([1])],
        shape_invariants=[[], [None], [None]],
    )
    with tf.Session(backend=backend) as session:
        found = session.run([a, b], {n: 4})
    want = np.ones(2), np.zeros(1)
    for _ in range(4):
        want = np.concatenate(want), want[0]
    for one, other in zip(found, want, strict=True):
        np.testing.assert_array_equal(one, other)


def test_inside_another_loop(backend):
    x = tf.placeholder(tf.float32, [3])

    def outer(i, total):
        y = tf.while_loop(
            lambda y: tf.shape(y)[0] < 3 * i,
            lambda y: tf.concat([y, y[:1] + 1.0], 0),
            [x],
            shape_invariants=[[None]],
        )
        return i + 1, total + tf.reduce_sum(y)

    _, total = tf.while_loop(lambda i, _: i < 4, outer, [0, 0.0])
    with tf.Session(backend=backend) as session:
        # 6 numbers, then 9, then (for i = 3) 9: what begins longer stays as it is.
        at = np.array([1.0, 2.0, 3.0], np.float32)
        want = sum(6 + 2.0 * max(0, 3 * i - 3) for i in range(4))
        assert session.run(total, {x: at}) == want


@pytest.mark.parametrize("shape", ["map", "fold"])
def test_bodies_know_sizes_of_loops_before_them(backend, shape):
    """Of y they use the size alone: they run after what finds it out, and do not run it again."""
    x, n = tf.placeholder(tf.float32, [None]), tf.placeholder(tf.int32, [])
    _, y = tf.while_loop(
        lambda i, _: i < n,
        lambda i, y: (i + 1, tf.concat([y, y[:1]], 0)),
        [0, x],
        shape_invariants=[[], [None]],
    )
    rows = tf.placeholder(tf.float32, [None])

    def total():
        return tf.reduce_sum(tf.cumsum(tf.ones_like(y)))

    if shape == "map":
        result, wanted = tf.map_fn(lambda r: r * total(), rows), [28.0, 56.0]
    else:
        result, wanted = tf.foldl(lambda h, r: h * total() + r, rows, 1.0), (28.0 + 1) * 28 + 2
    with tf.Session(backend=backend) as session:
        feeds = {x: [1, 2, 3], n: 4, rows: [1, 2]}
        np.testing.assert_allclose(session.run(result, feeds), wanted)


def test_a_size_that_may_change_and_does_not():
    x = tf.placeholder(tf.float32, [4])
    _, y = tf.while_loop(
        lambda i, _: i < 3, lambda i, y: (i + 1, y * 2.0), [0, x], shape_invariants=[[], [None]]
    )
    assert y.shape.as_list() == [4]
    assert tf.gradients(y, x)[0] is not None


def test_one_compilation_for_all_lengths():
    x = tf.placeholder(tf.float32, [None])
    n = tf.placeholder(tf.int32, [])
    _, y = tf.while_loop(
        lambda i, _: i < n,
        lambda i, y: (i + 1, tf.concat([y, y[:1]], 0)),
        [0, x],
        shape_invariants=[[], [None]],
    )
    with tf.Session() as session:
        for size, count in ((1, 2), (5, 100), (2, 0)):
            assert session.run(y, {x: np.zeros(size), n: count}).shape == (size + count,)
        assert session.counters()["compilations"] == 1


def test_errors():
    x = tf.placeholder(tf.float32, [2])
    grown = lambda i, y: (i + 1, tf.concat([y, y], 0))  # noqa: E731
    with pytest.raises(TypeRuleError, match="loop variable 1"):
        tf.while_loop(lambda i, _: i < 3, grown, [0, x])
    with pytest.raises(ValueError, match="rank"):
        tf.while_loop(lambda i, _: i < 3, grown, [0, x], shape_invariants=[[], [None, None]])
    with pytest.raises(ValueError, match="not of the shape"):
        tf.while_loop(lambda i, _: i < 3, grown, [0, x], shape_invariants=[[], [3]])
    with pytest.raises(ValueError, match="structures differ"):
        tf.while_loop(lambda i, _: i < 3, grown, [0, x], shape_invariants=[[None]])
