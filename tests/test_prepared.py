"""What stays the same from run to run is computed once: right whatever changes the variables."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import graphflow as tf

RANDOM = np.random.default_rng(3)


def array(*shape):
    return RANDOM.standard_normal(shape).astype(np.float32)


def launched(session, fetches, feeds=None):
    """The names of the kernels that a run launched."""
    options = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE)
    metadata = tf.RunMetadata()
    session.run(fetches, feeds, options=options, run_metadata=metadata)
    return [kernel.kernel for kernel in metadata.kernels]


def network():
    """A convolution with batch normalisation and a dense layer, as inference has them."""
    x = tf.placeholder(tf.float32, [None, 8, 8, 16], name="x")
    y = tf.layers.conv2d(x, 32, 3, padding="same", use_bias=False, name="conv")
    y = tf.nn.relu(tf.layers.batch_normalization(y, training=False, name="norm"))
    return x, tf.layers.dense(tf.layers.flatten(y), 10, name="dense")


def expected(fetches, feeds, session):
    """By the reference, with the variables of `session`."""
    with tf.Session(backend="reference") as reference:
        for variable in tf.global_variables():
            variable.load(session.run(variable), reference)
        return reference.run(fetches, feeds)


def close(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=2e-5)


def test_it_runs_only_when_a_variable_has_changed():
    x, y = network()
    feeds = {x: array(3, 8, 8, 16)}
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        first = launched(session, y, feeds)
        again = launched(session, y, feeds)
        assert len(again) == tf.explain(y).launches < len(first)
        assert [name for name in first if name.startswith("prepare_")]
        close(session.run(y, feeds), expected(y, feeds, session))
        kernel = tf.global_variables()[0]
        kernel.load(array(3, 3, 16, 32), session)
        close(session.run(y, feeds), expected(y, feeds, session))
        assert launched(session, y, feeds) == again


def test_memory_holds_few_of_the_values_that_are_made_to_be_packed():
    """Each layer's weights are scaled right before they are packed, not all layers' at first."""
    x = tf.placeholder(tf.float32, [1, 4, 4, 128])
    y, layers = x, 5
    for _ in range(layers):
        y = tf.layers.conv2d(y, 128, 3, padding="same", use_bias=False)
        y = tf.nn.relu(tf.layers.batch_normalization(y, training=False))
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        report = tf.explain(y, session=session)
        scaled = 3 * 3 * 128 * 128 * 4
        assert report.arena_bytes < 2 * scaled
        feeds = {x: array(1, 4, 4, 128)}
        close(session.run(y, feeds), expected(y, feeds, session))


def test_the_code_is_the_same_each_time(monkeypatch):
    monkeypatch.setenv("GRAPHFLOW_CACHE", "off")
    codes = set()
    for _ in range(3):
        with tf.Graph().as_default():
            y = x = tf.placeholder(tf.float32, [1, 4, 4, 32])
            for _ in range(6):
                y = tf.layers.conv2d(y, 32, 3, padding="same", use_bias=False)
                y = tf.nn.relu(tf.layers.batch_normalization(y, training=False))
            step = tf.Session().prepared(y, (x,)).step
            codes.add(step.description.object)
    assert len(codes) == 1


def test_every_way_of_changing_a_variable_counts(tmp_path):
    x, y = network()
    variables = tf.global_variables()
    gamma = next(v for v in variables if "gamma" in v.name)
    grow = gamma.assign_add(tf.ones_like(gamma))
    tf_labels = tf.constant(array(4, 10))
    train = tf.train.GradientDescentOptimizer(0.05).minimize(tf.reduce_mean((y - tf_labels) ** 2))
    feeds = {x: array(4, 8, 8, 16)}
    saver = tf.train.Saver()
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        path = saver.save(session, str(tmp_path / "model"))

        def check():
            for _ in range(2):
                close(session.run(y, feeds), expected(y, feeds, session))

        start = session.run(y, feeds)
        check()
        session.run(grow)
        check()
        for _ in range(3):
            session.run(train, feeds)
            check()
        saver.restore(session, path)
        check()
        assert np.array_equal(session.run(y, feeds), start)


def test_a_run_that_fails_leaves_nothing_stale():
    x = tf.placeholder(tf.float32, [None, 32], name="x")
    w = tf.Variable(array(32, 48))
    index = tf.placeholder(tf.int32, [], name="index")
    y = tf.gather(x @ tf.exp(w), index)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        a = array(4, 32)
        with pytest.raises(tf.errors.OutOfRangeError):
            session.run(y, {x: a, index: 9})
        close(session.run(y, {x: a, index: 2}), (a @ np.exp(session.run(w)))[2])
        w.load(array(32, 48), session)
        with pytest.raises(tf.errors.OutOfRangeError):
            session.run(y, {x: a, index: -9})
        close(session.run(y, {x: a, index: 3}), (a @ np.exp(session.run(w)))[3])


def test_a_step_that_writes_a_variable_keeps_nothing_of_it():
    x = tf.placeholder(tf.float32, [None, 32])
    w = tf.Variable(array(32, 48))
    y = x @ tf.exp(w)
    with tf.control_dependencies([y]):
        update = w.assign_add(tf.ones_like(w))
    report = tf.explain([y, update])
    assert not any(kernel.prepares for kernel in report.kernels)
    a = array(2, 32)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for _ in range(3):
            before = session.run(w)
            found, _ = session.run([y, update], {x: a})
            np.testing.assert_allclose(found, a @ np.exp(before), rtol=1e-4, atol=1e-3)


def test_what_is_handed_out_is_the_callers():
    """A settled value that is fetched is computed in every run, into memory of its own."""
    w = tf.Variable(array(16, 16))
    y = tf.exp(w) * 2.0
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        first = session.run(y)
        first[:] = 0
        close(session.run(y), np.exp(session.run(w)) * 2)


def test_threads_see_one_version_or_the_other():
    x = tf.placeholder(tf.float32, [None, 64])
    w = tf.Variable(np.zeros((64, 64), np.float32))
    y = tf.reduce_mean(x @ (w + 1.0), axis=1)
    ones = np.ones((3, 64), np.float32)
    grow = w.assign_add(tf.ones_like(w))
    wrong = []
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        over = threading.Event()

        def read():
            last = 0.0
            while not over.is_set():
                found = session.run(y, {x: ones})
                if len(set(found.tolist())) != 1 or found[0] % 64 or found[0] < last:
                    wrong.append(found)
                last = found[0]

        threads = [threading.Thread(target=read) for _ in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(300):
            session.run(grow)
        over.set()
        for thread in threads:
            thread.join()
        assert not wrong
        assert session.run(y, {x: ones})[0] == 64 * 301


def test_memory_is_as_predicted():
    x, y = network()
    feeds = {x: array(3, 8, 8, 16)}
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        report = tf.explain(y, feed_dict=feeds)
        session.run(y, feeds)
        assert any(row.place == "kept" for row in report.memory)
        assert session.measured_bytes(y, feeds) == report.peak_bytes


def test_it_can_be_switched_off():
    x, y = network()
    config = tf.ConfigProto(disable=("prepare",))
    feeds = {x: array(3, 8, 8, 16)}
    with tf.Session(config=config) as session:
        session.run(tf.global_variables_initializer())
        assert launched(session, y, feeds) == launched(session, y, feeds)
        close(session.run(y, feeds), expected(y, feeds, session))


def test_nothing_is_kept_under_a_memory_budget():
    x, y = network()
    with tf.Session(config=tf.ConfigProto(memory_budget=1 << 30)) as session:
        session.run(tf.global_variables_initializer())
        feeds = {x: array(3, 8, 8, 16)}
        assert launched(session, y, feeds) == launched(session, y, feeds)


# -- what is settled -------------------------------------------------------------------------------


def prepared(fetches):
    return [k for k in tf.explain(fetches).kernels if k.prepares]


def test_normalisation_is_folded_into_the_weights():
    x, y = network()
    last = tf.explain(y).kernels
    every_run = [op for kernel in last if not kernel.prepares for op in kernel.operations]
    assert not any("(mul)" in op or "(rsqrt)" in op for op in every_run)


def test_large_values_of_little_are_computed_anew():
    """A mask made of nothing, or a table that is mostly repetition, takes no memory for good."""
    x = tf.placeholder(tf.float32, [512, 512])
    row = tf.Variable(array(512))
    mask = tf.cast(tf.range(512)[:, None] >= tf.range(512)[None, :], tf.float32)
    assert not prepared(x * mask)
    assert sum(int(k.bytes_written) for k in prepared(x + tf.exp(row)[:, None])) <= 512 * 4


def test_random_values_are_drawn_in_every_run():
    w = tf.Variable(array(64, 64))
    x = tf.placeholder(tf.float32, [4, 64])
    y = x @ (w * tf.random_uniform([64, 64]))
    assert not prepared(y)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        a = array(4, 64)
        assert not np.array_equal(session.run(y, {x: a}), session.run(y, {x: a}))


def test_constants_are_prepared_once():
    x = tf.placeholder(tf.float32, [None, 300])
    table = tf.constant(array(300, 70))
    y = x @ table
    with tf.Session() as session:
        a = array(5, 300)
        session.run(y, {x: a})
        names = launched(session, y, {x: a})
        assert not [name for name in names if name.startswith("prepare_")]
        close = np.testing.assert_allclose
        close(session.run(y, {x: a}), a @ session.run(table), rtol=1e-4, atol=1e-4)
