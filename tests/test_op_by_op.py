"""Sessions that dispatch one kernel for each operation: what they share, copy and give away."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import graphflow as tf


@pytest.fixture
def session():
    config = tf.ConfigProto(cache=False, seed=1)
    with tf.Session(config=config, backend="op-by-op") as session:
        yield session


def compilations(session) -> int:
    return session.counters()["compilations"]


def native_calls(session) -> int:
    return session.counters()["native_calls"]


def test_one_kernel_for_equal_operations(session):
    x, y = tf.placeholder(tf.float32, [4]), tf.placeholder(tf.float32, [4])
    z = tf.exp(tf.exp(x) + tf.exp(y)) + x
    values = {x: np.arange(4, dtype=np.float32), y: np.ones(4, np.float32)}
    want = np.exp(np.exp(values[x]) + np.exp(values[y])) + values[x]
    np.testing.assert_allclose(session.run(z, values), want, rtol=1e-5)
    assert compilations(session) == 2
    assert native_calls(session) == 5
    session.run([z, x - y], values)
    assert compilations(session) == 3


def test_nothing_is_rewritten_or_merged(session):
    x = tf.placeholder(tf.float32, [4])
    y = x * 1.0 + 0.0
    session.run(y, {x: np.zeros(4)})
    assert native_calls(session) == 2


def test_reshapes_run_nothing_and_share_memory(session):
    x = tf.placeholder(tf.float32, [2, 3])
    y = tf.reshape(x, [3, 2])
    given = np.arange(6, dtype=np.float32).reshape(2, 3)
    back, doubled = session.run([y, tf.reshape(y + y, [6])], {x: given})
    assert native_calls(session) == 1
    np.testing.assert_array_equal(doubled, 2 * np.arange(6))
    back += 1
    np.testing.assert_array_equal(given.reshape(-1), np.arange(6))


def test_sizes_compile_again_and_are_kept(session):
    x = tf.placeholder(tf.float32, [None, 3])
    y = tf.reduce_sum(x * x, axis=1)
    for size in (2, 5, 2, 0):
        value = np.ones((size, 3), np.float32)
        np.testing.assert_array_equal(session.run(y, {x: value}), np.full(size, 3.0))
    assert compilations(session) == 6


def test_a_size_of_one_broadcasts(session):
    a, b = tf.placeholder(tf.float32, [None, 2]), tf.placeholder(tf.float32, [None, 2])
    gradients = tf.gradients(tf.reduce_sum(a * b), [a, b])
    one, four = np.ones((1, 2), np.float32), np.arange(8, dtype=np.float32).reshape(4, 2)
    da, db = session.run(gradients, {a: four, b: one})
    np.testing.assert_array_equal(da, np.ones((4, 2)))
    np.testing.assert_array_equal(db, four.sum(0, keepdims=True))
    with pytest.raises(tf.errors.InvalidArgumentError, match="3"):
        session.run(gradients, {a: four, b: np.ones((3, 2))})


def test_feeds_of_the_right_type_are_not_copied(session):
    x = tf.placeholder(tf.float32, [None])
    y = x + x
    session.run(y, {x: np.ones(3, np.float32)})
    assert session.counters()["feeds_copied"] == 0
    np.testing.assert_array_equal(session.run(y, {x: np.arange(6.0)[::2]}), [0, 4, 8])


def test_fetched_values_are_the_callers(session):
    x = tf.placeholder(tf.float32, [2])
    v = tf.Variable([1.0, 2.0])
    y = x + 1.0
    session.run(tf.global_variables_initializer())
    given = np.zeros(2, np.float32)
    fed, first, second, state = session.run([x, y, tf.reshape(y, [2, 1]), v], {x: given})
    fed += 5
    first += 7
    np.testing.assert_array_equal(given, [0, 0])
    np.testing.assert_array_equal(second, [[1], [1]])
    assert not state.flags.writeable
    session.run(tf.assign_add(v, y), {x: given})
    np.testing.assert_array_equal(state, [1, 2])
    np.testing.assert_array_equal(session.run(v), [2, 3])


def test_a_variable_assigned_a_feed_keeps_its_own_copy(session):
    x = tf.placeholder(tf.float32, [2])
    v = tf.Variable([0.0, 0.0])
    given = np.array([1, 2], np.float32)
    session.run(tf.assign(v, x), {x: given})
    given[:] = 9
    np.testing.assert_array_equal(session.run(v), [1, 2])
    session.load_variable(v.handle, given)
    given[:] = 7
    np.testing.assert_array_equal(session.run(v), [9, 9])


def test_a_failed_run_changes_nothing(session):
    x = tf.placeholder(tf.float32, [2])
    v = tf.Variable([1.0, 1.0])
    grow = tf.assign_add(v, x)
    with tf.control_dependencies([grow]):
        check = tf.Assert(tf.reduce_sum(x) < 10.0, [x])
    session.run(tf.global_variables_initializer())
    session.run([grow, check], {x: [1, 2]})
    with pytest.raises(tf.errors.InvalidArgumentError, match="Assert .* at .*test_op_by_op"):
        session.run([grow, check], {x: [10, 20]})
    np.testing.assert_array_equal(session.run(v), [2, 3])


def test_many_threads_count_every_update(session):
    v = tf.Variable(0)
    grow = tf.assign_add(v, 1)
    session.run(tf.global_variables_initializer())
    session.run(grow)
    threads = [
        threading.Thread(target=lambda: [session.run(grow) for _ in range(50)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert session.run(v) == 201


def test_numbers_are_checked_on_request():
    x = tf.placeholder(tf.float32, [2])
    y = tf.log(x) * 2.0
    config = tf.ConfigProto(cache=False, check_numerics=True)
    with tf.Session(config=config, backend="op-by-op") as session:
        np.testing.assert_array_equal(session.run(y, {x: [1, 1]}), [0, 0])
        with pytest.raises(tf.errors.InvalidArgumentError, match="^log .*Inf"):
            session.run(y, {x: [0, 1]})


def test_traced_runs_time_every_operation(session):
    x = tf.placeholder(tf.float32, [2])
    y = tf.exp(x + 1.0, name="last")
    metadata = tf.RunMetadata()
    session.run(y, {x: [0, 0]}, run_metadata=metadata)
    assert [kernel.kernel for kernel in metadata.kernels] == ["add", "exp"]
    assert metadata.kernels[1].operations == ("last",)
    assert metadata.launches == 2


def test_kernels_are_cached_on_disk(tmp_path, monkeypatch):
    monkeypatch.setenv("GRAPHFLOW_CACHE", str(tmp_path))
    x = tf.placeholder(tf.float32, [2])
    for hits in (0, 2):
        with tf.Session(backend="op-by-op") as session:
            np.testing.assert_array_equal(session.run(tf.exp(-x), {x: [0, 0]}), [1, 1])
            assert session.counters()["cache_hits"] == hits


def test_programs_of_one_operation_are_sound(monkeypatch):
    monkeypatch.setenv("GRAPHFLOW_VERIFY", "1")
    x = tf.placeholder(tf.float32, [2, 3])
    y = tf.gather(tf.reshape(tf.nn.softmax(x), [3, 2]), [2, 0])
    with tf.Session(config=tf.ConfigProto(cache=False), backend="op-by-op") as session:
        np.testing.assert_allclose(session.run(y, {x: np.zeros((2, 3))}), np.full((2, 2), 1 / 3))


def test_unknown_back_ends_are_refused():
    with pytest.raises(ValueError, match="'compiled', 'op-by-op' or 'reference', got 'eager'"):
        tf.Session(backend="eager")
