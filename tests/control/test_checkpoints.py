"""Loops under a memory budget: checkpoints instead of residuals of all iterations."""

from __future__ import annotations

import numpy as np
import pytest

import graphflow as tf
from graphflow.errors import ResourceExhaustedError


def recurrence(steps, size=32, reverse=False):
    """Loss and gradients of a recurrence over rows, with a feed for each."""
    rows = tf.placeholder(tf.float64, [None, size, size])
    w = tf.placeholder(tf.float64, [size, size])
    start = tf.zeros([size, size], tf.float64)
    fold = tf.foldr if reverse else tf.foldl
    last = fold(lambda h, r: tf.tanh(h @ w + r) * tf.sin(h), rows, start + 0.5)
    loss = tf.reduce_sum(last * last)
    rng = np.random.default_rng(0)
    feeds = {
        rows: rng.standard_normal((steps, size, size)) * 0.3,
        w: rng.standard_normal((size, size)) * 0.2,
    }
    return [loss, *tf.gradients(loss, w)], feeds


def peak(session, fetches, feeds):
    return session.explain(fetches, feeds).peak_bytes


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("steps", [16, 29, 50])
def test_a_budget_is_kept_to_and_changes_no_result(steps, reverse):
    fetches, feeds = recurrence(steps, reverse=reverse)
    with tf.Session() as session:
        wanted = session.run(fetches, feeds)
        free = peak(session, fetches, feeds)
    config = tf.ConfigProto(memory_budget=free * 3 // 4)
    with tf.Session(config=config) as session:
        found = session.run(fetches, feeds)
        assert peak(session, fetches, feeds) <= free * 3 // 4
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_memory_grows_with_the_root_of_the_length():
    size = 32

    def least(steps):
        with tf.Graph().as_default():
            x = tf.placeholder(tf.float64, [size, size])
            _, y = tf.while_loop(
                lambda i, _: i < steps, lambda i, y: (i + 1, tf.sin(y @ x) + y), [0, x]
            )
            (slope,) = tf.gradients(tf.reduce_sum(y), x)
            session = tf.Session(config=tf.ConfigProto(memory_budget=1))
            with session, pytest.raises(ResourceExhaustedError) as caught:
                session.run(slope, {x: np.eye(size)})
        text = str(caught.value).split(" B at its peak")[0]
        return int(text.split()[-1].replace(",", ""))

    few, many = least(64), least(1024)
    # Sixteen times the iterations, four times the rows; some rows belong to no iteration.
    assert many < 5 * few
    assert many < 1024 * size * size * 8 / 4


def test_predicted_and_measured_bytes_are_equal():
    fetches, feeds = recurrence(40)
    with tf.Session() as session:
        free = peak(session, fetches, feeds)
    with tf.Session(config=tf.ConfigProto(memory_budget=free * 2 // 3)) as session:
        session.run(fetches, feeds)
        predicted = peak(session, fetches, feeds)
        assert predicted <= free * 2 // 3
        assert session.measured_bytes(fetches, feeds) == predicted


def test_gradients_of_gradients_under_a_budget():
    x = tf.placeholder(tf.float64, [16, 16])
    _, y = tf.while_loop(lambda i, _: i < 20, lambda i, y: (i + 1, tf.sin(y @ x) + y), [0, x])
    (slope,) = tf.gradients(tf.reduce_sum(y), x)
    (second,) = tf.gradients(tf.reduce_sum(slope * slope), x)
    at = np.random.default_rng(0).standard_normal((16, 16)) * 0.1
    with tf.Session() as session:
        wanted = session.run(second, {x: at})
        free = peak(session, second, {x: at})
    with tf.Session(config=tf.ConfigProto(memory_budget=int(free * 0.9))) as session:
        np.testing.assert_allclose(session.run(second, {x: at}), wanted, rtol=1e-7, atol=1e-9)


def slope_of_loop(steps, size=16):
    """d/dx of a loop whose body says when it ends, after `steps` iterations."""
    x, n = tf.placeholder(tf.float64, [size, size]), tf.placeholder(tf.int32, [])
    _, y = tf.while_loop(lambda i, y: i < n, lambda i, y: (i + 1, tf.sin(y @ x) + y * 0.5), [0, x])
    (slope,) = tf.gradients(tf.reduce_sum(y), x)
    at = np.random.default_rng(0).standard_normal((size, size)) * 0.1
    return [y, slope], x, n, at


@pytest.mark.parametrize("backend", ["compiled", "op-by-op"])
def test_loops_of_an_unknown_number_of_iterations(backend):
    fetches, x, n, at = slope_of_loop(16)
    with tf.Session(backend=backend) as session:
        wanted = [session.run(fetches, {x: at, n: k}) for k in (0, 1, 15, 16, 17, 33, 34, 200)]
    with tf.Session(config=tf.ConfigProto(memory_budget=1 << 20)) as session:
        for k, right in zip((0, 1, 15, 16, 17, 33, 34, 200), wanted, strict=True):
            found = session.run(fetches, {x: at, n: k})
            for mine, theirs in zip(found, right, strict=True):
                np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-12)
        assert session.counters()["compilations"] == 1


def test_memory_of_an_unknown_number_of_iterations_grows_with_its_root():
    size = 64
    fetches, x, n, at = slope_of_loop(16, size)

    def most(steps, **options):
        with tf.Session(config=tf.ConfigProto(**options)) as session:
            session.run(fetches, {x: at, n: steps})
            return session.measured_bytes(fetches, {x: at, n: steps})

    row = size * size * 8
    assert most(2000) > 2000 * row
    # About sixty segments of up to seventy-six iterations; stacks have room for twice the rows.
    assert most(2000, memory_budget=1 << 30) < 400 * row


def test_a_while_whose_rows_are_read_elsewhere_stays_as_it_is():
    fetches, x, n, at = slope_of_loop(8)
    (second,) = tf.gradients(tf.reduce_sum(fetches[1] * fetches[1]), x)
    with tf.Session() as session:
        wanted = session.run(second, {x: at, n: 20})
    with tf.Session(config=tf.ConfigProto(memory_budget=1 << 30)) as session:
        np.testing.assert_allclose(session.run(second, {x: at, n: 20}), wanted, rtol=1e-9)


def test_one_compilation_with_checkpoints_serves_all_lengths():
    fetches, feeds = recurrence(400)
    rows, w = feeds
    with tf.Session() as session:
        free = peak(session, fetches, feeds)
    lengths = (100, 163, 200, 361, 399, 400)
    with tf.Session() as session:
        wanted = [session.run(fetches, {rows: feeds[rows][:k], w: feeds[w]}) for k in lengths]
    with tf.Session(config=tf.ConfigProto(memory_budget=free // 4)) as session:
        for k, right in zip(lengths, wanted, strict=True):
            fed = {rows: feeds[rows][:k], w: feeds[w]}
            for mine, theirs in zip(session.run(fetches, fed), right, strict=True):
                np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-12)
            assert peak(session, fetches, fed) <= free // 4
        assert session.counters()["compilations"] == 2
