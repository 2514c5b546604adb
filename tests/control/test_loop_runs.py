"""Runs of steps with loops: caching, threads, interrupts, memory, plans."""

from __future__ import annotations

import os
import signal
import threading
import time

import numpy as np
import pytest

import graphflow as tf
from graphflow.errors import ResourceExhaustedError


def growing_sum():
    """x is a vector, n how often it is multiplied; with its gradient, which stacks rows."""
    x = tf.placeholder(tf.float64, [None], name="x")
    n = tf.placeholder(tf.int32, [], name="n")
    _, y = tf.while_loop(lambda i, _: i < n, lambda i, y: (i + 1, tf.sin(y) * x), [0, x])
    (slope,) = tf.gradients(y, x)
    return x, n, y, slope


def expected(x, n):
    y, slope = x, np.ones_like(x)
    for _ in range(n):
        y, slope = np.sin(y) * x, np.cos(y) * slope * x + np.sin(y)
    return y, slope


def test_one_compilation_serves_every_length():
    x, n, y, slope = growing_sum()
    with tf.Session() as session:
        for size, count in ((1, 0), (3, 5), (2, 100), (7, 2)):
            at = np.linspace(0.1, 0.9, size)
            found = session.run([y, slope], {x: at, n: count})
            for a, b in zip(found, expected(at, count), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-9)
        assert session.counters()["compilations"] == 1


def test_a_cached_step_runs_its_loops(tmp_path, monkeypatch):
    monkeypatch.setenv("GRAPHFLOW_CACHE", str(tmp_path))
    x, n, y, slope = growing_sum()
    results = []
    for _ in range(2):
        with tf.Session() as session:
            results.append(session.run([y, slope], {x: [0.3, 0.4], n: 6}))
            counters = session.counters()
    assert counters["cache_hits"] == 1
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


def test_threads_share_a_session():
    x, n, y, slope = growing_sum()
    wrong = []
    with tf.Session() as session:

        def work(seed):
            rng = np.random.default_rng(seed)
            for _ in range(40):
                at, count = rng.uniform(0, 1, rng.integers(1, 20)), int(rng.integers(0, 60))
                found = session.run([y, slope], {x: at, n: count})
                for a, b in zip(found, expected(at, count), strict=True):
                    if not np.allclose(a, b, rtol=1e-9):
                        wrong.append((seed, count))

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong


def test_an_endless_loop_can_be_interrupted():
    v = tf.Variable(1.0)
    y = tf.while_loop(lambda y: y > 0.0, lambda y: y + 1.0, [v])
    update = v.assign(y)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        timer = threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT))
        timer.start()
        start = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            session.run(update)
        assert time.monotonic() - start < 5
        timer.join()
        assert session.run(v) == 1.0


def test_memory_that_cannot_be_had_leaves_variables_as_they_were():
    v = tf.Variable(1.0)
    x = tf.placeholder(tf.float32, [None])
    _, y = tf.while_loop(
        lambda i, _: i < 1_000_000_000, lambda i, y: (i + 1, tf.sin(y) * x), [tf.constant(0), x]
    )
    (slope,) = tf.gradients(y, x)
    update = v.assign(tf.reduce_sum(slope))
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        with pytest.raises((ResourceExhaustedError, MemoryError)):
            session.run(update, {x: np.ones(1 << 20, np.float32)})
        assert session.run(v) == 1.0


def test_what_is_not_taken_is_not_computed():
    x = tf.placeholder(tf.float32, [512, 512])
    flag = tf.placeholder(tf.bool, [])

    def heavy():
        y = x
        for _ in range(20):
            y = y @ x
        return tf.reduce_sum(y)

    y = tf.cond(flag, heavy, lambda: tf.constant(0.0))
    metadata = tf.RunMetadata()
    options = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE)
    with tf.Session() as session:
        at = np.eye(512, dtype=np.float32)
        assert session.run(y, {x: at, flag: True}, options, metadata) == 512
        taken = len(metadata.kernels)
        assert session.run(y, {x: at, flag: False}, options, metadata) == 0
        assert len(metadata.kernels) < taken / 5


@pytest.mark.parametrize("switch", ["trim_bodies", "hoist", "batch_iterations", "fuse", "prepare",
                                    "in_place_state", "memory.in_place"])  # fmt: skip
def test_no_pass_is_needed(switch):
    x = tf.placeholder(tf.float64, [2, 3])
    w = tf.constant(np.random.default_rng(0).standard_normal((3, 3)))
    rows = tf.placeholder(tf.float64, [None, 2, 3])
    h = tf.scan(lambda h, r: tf.tanh(h @ w + r @ w), rows, x)
    slopes = tf.gradients(tf.reduce_sum(h * h), [x, rows, w])
    rng = np.random.default_rng(1)
    feeds = {x: rng.standard_normal((2, 3)), rows: rng.standard_normal((5, 2, 3))}
    found = []
    for disable in ((), (switch,)):
        with tf.Session(config=tf.ConfigProto(disable=disable)) as session:
            found.append(session.run([h, *slopes], feeds))
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def test_contractions_of_rows_leave_the_loop():
    x = tf.placeholder(tf.float32, [None, 4, 8])
    w, u = tf.Variable(tf.zeros([8, 8])), tf.Variable(tf.zeros([8, 8]))
    h = tf.foldl(lambda h, r: tf.tanh(h @ u + r @ w), x, tf.zeros([4, 8]))
    slopes = tf.gradients(tf.reduce_sum(h), [w, u])
    metadata = tf.RunMetadata()
    options = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for steps in (10, 50):
            session.run([h, *slopes], {x: np.zeros((steps, 4, 8), np.float32)}, options, metadata)
            # Forward and backward have a launch an iteration each, and everything else is outside.
            assert 2 * steps <= len(metadata.kernels) <= 2 * steps + 12
