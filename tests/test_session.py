"""Sessions: fetches, feeds, variables, sizes, copies, threads, transactions."""

from __future__ import annotations

import collections
import gc
import threading

import numpy as np
import pytest

import graphflow as tf


def counted(session, *names):
    counters = session.counters()
    return [counters[name] for name in names]


@pytest.fixture
def session():
    with tf.Session(config=tf.ConfigProto(cache=False, seed=1)) as session:
        yield session


def test_fetches_nest(session):
    x = tf.constant([1.0, 2.0])
    pair = collections.namedtuple("pair", "a b")
    nest = {"list": [x, (x + 1, None)], "pair": pair(x * 2, tf.no_op()), "name": "twice:0"}
    tf.multiply(x, 2.0, name="twice")
    result = session.run(nest)
    assert isinstance(result["list"], list)
    assert isinstance(result["list"][1], tuple)
    np.testing.assert_array_equal(result["list"][0], [1, 2])
    np.testing.assert_array_equal(result["list"][1][0], [2, 3])
    assert result["list"][1][1] is None
    assert isinstance(result["pair"], pair)
    np.testing.assert_array_equal(result["pair"].a, [2, 4])
    assert result["pair"].b is None
    np.testing.assert_array_equal(result["name"], [2, 4])


@pytest.mark.parametrize("backend", ["compiled", "op-by-op", "reference"])
def test_the_gradient_of_rows_is_fetched_as_rows(backend):
    table = tf.Variable(np.ones((6, 2), np.float32))
    ids = tf.placeholder(tf.int32, [None, 2])
    (gradient,) = tf.gradients(3 * tf.nn.embedding_lookup(table, ids), table)
    rows = tf.IndexedSlices([[1.0]], [0])
    with tf.Session(backend=backend) as session:
        session.run(tf.global_variables_initializer())
        for given in ([[1, 4], [4, 0]], [[5, 5]]):
            found, bare = session.run([gradient, rows], {ids: given})
            np.testing.assert_array_equal(found.indices, np.ravel(given))
            np.testing.assert_array_equal(found.values, np.full((np.size(given), 2), 3))
            np.testing.assert_array_equal(found.dense_shape, [6, 2])
            assert bare.dense_shape is None


def test_scalars_are_numpy_scalars(session):
    value = session.run(tf.constant(3.5))
    assert isinstance(value, np.float32)
    assert value == 3.5


def test_any_tensor_can_be_fed(session):
    x = tf.placeholder(tf.float32, [None])
    h = x * 2
    y = h + 1
    np.testing.assert_array_equal(session.run(y, {h: [10.0]}), [11.0])
    np.testing.assert_array_equal(session.run([h, y], {x: [1.0], h: [10.0]})[0], [10.0])


def test_only_what_is_fetched_runs(session):
    x = tf.placeholder(tf.float32, [2])
    session.run(tf.constant(1.0) + 1)
    calls = []
    other = tf.py_func(lambda v: calls.append(1) or v, [x], tf.float32, shapes=[[2]])
    session.run(x + 1, {x: [1, 2]})
    assert not calls
    session.run(other, {x: [1, 2]})
    assert calls == [1]


def test_make_callable(session):
    x = tf.placeholder(tf.float32, [None])
    y = tf.placeholder(tf.float32, [None])
    call = session.make_callable([x + y, x - y], [x, y])
    total, difference = call(np.array([3, 4], np.float32), [1, 2])
    np.testing.assert_array_equal(total, [4, 6])
    np.testing.assert_array_equal(difference, [2, 2])


def test_right_feeds_are_not_copied(session):
    x = tf.placeholder(tf.float32, [None, 3])
    y = x + 1
    array = np.ones((4, 3), np.float32)
    frozen = array.copy()
    frozen.flags.writeable = False
    session.run(y, {x: array})
    copied, kept, native = counted(session, "feeds_copied", "feeds_zero_copy", "native_calls")
    session.run(y, {x: array})
    session.run(y, {x: frozen})
    assert counted(session, "feeds_copied") == [copied]
    assert counted(session, "feeds_zero_copy") == [kept + 2]
    assert counted(session, "native_calls") == [native + 2]
    session.run(y, {x: array.astype(np.float64)})
    session.run(y, {x: np.ones((3, 4), np.float32).T})
    assert counted(session, "feeds_copied") == [copied + 2]


def test_fetched_arrays_are_the_callers(session):
    x = tf.placeholder(tf.float32, [4])
    y = x + 1
    first = session.run(y, {x: np.zeros(4)})
    first += 10
    second = session.run(y, {x: np.zeros(4)})
    np.testing.assert_array_equal(second, np.ones(4))
    np.testing.assert_array_equal(first, np.full(4, 11))
    given = np.zeros(4, np.float32)
    back = session.run(x, {x: given})
    back += 1
    np.testing.assert_array_equal(given, np.zeros(4))


def test_a_fetched_variable_keeps_its_value(session):
    v = tf.Variable([1.0, 2.0])
    grow = tf.assign_add(v, [1.0, 1.0])
    session.run(tf.global_variables_initializer())
    before = session.run(v)
    session.run(grow)
    np.testing.assert_array_equal(before, [1, 2])
    np.testing.assert_array_equal(session.run(v), [2, 3])
    assert not before.flags.writeable


def test_one_compilation_serves_a_thousand_sizes(session):
    x = tf.placeholder(tf.float32, [None, 3])
    y = tf.reduce_sum(tf.nn.relu(x) * 2, axis=1)
    session.run(y, {x: np.ones((1, 3))})
    before = session.counters()["compilations"]
    for size in range(1000):
        assert session.run(y, {x: np.ones((size, 3), np.float32)}).shape == (size,)
    assert session.counters()["compilations"] == before


def test_a_size_of_one_broadcasts_in_a_variant(session):
    a = tf.placeholder(tf.float32, [None, 2])
    b = tf.placeholder(tf.float32, [None, 2])
    c = a + b
    da, db = tf.gradients(tf.reduce_sum(c * c), [a, b])
    one, four = np.ones((1, 2), np.float32), np.arange(8, dtype=np.float32).reshape(4, 2)
    np.testing.assert_array_equal(session.run(c, {a: four, b: four}), four + four)
    for _ in range(2):
        np.testing.assert_array_equal(session.run(c, {a: four, b: one}), four + one)
        np.testing.assert_array_equal(session.run(c, {a: one, b: four}), four + one)
    grads = session.run([da, db], {a: four, b: one})
    np.testing.assert_allclose(grads[0], 2 * (four + one))
    np.testing.assert_allclose(grads[1], (2 * (four + one)).sum(0, keepdims=True))
    with pytest.raises(tf.errors.InvalidArgumentError, match="must be equal"):
        session.run(c, {a: four, b: np.ones((3, 2), np.float32)})


def test_unknown_ranks(session):
    rate = tf.placeholder(tf.float32)
    y = rate * 2.0 + 1.0
    assert session.run(y, {rate: 3}) == 7
    np.testing.assert_array_equal(session.run(y, {rate: [1, 2]}), [3, 5])
    np.testing.assert_array_equal(session.run(y, {rate: [[1], [2]]}), [[3], [5]])
    assert session.run(y, {rate: 4}) == 9
    compiled = session.counters()["compilations"]
    for value in (1.0, [1.0, 2.0], 2.0, [[3.0]]):
        session.run(y, {rate: value})
    assert session.counters()["compilations"] == compiled


def test_a_rank_is_taken_from_the_value(session):
    v = tf.Variable([1.0, 2.0])
    given = tf.placeholder(tf.float32)
    assign = v.assign(given)
    session.run(tf.global_variables_initializer())
    session.run(assign, {given: [5.0, 6.0]})
    np.testing.assert_array_equal(session.run(v), [5, 6])
    session.make_callable(assign, [given])([7.0, 8.0])
    np.testing.assert_array_equal(session.run(v), [7, 8])


def test_failed_run_changes_nothing(session):
    v = tf.Variable([1.0, 2.0, 3.0])
    x = tf.placeholder(tf.float32, [])
    update = tf.assign_add(v, [1.0, 1.0, 1.0])
    with tf.control_dependencies([update]):
        check = tf.Assert(x > 0, [x])
    session.run(tf.global_variables_initializer())
    with pytest.raises(tf.errors.InvalidArgumentError):
        session.run([update, check], {x: -1.0})
    np.testing.assert_array_equal(session.run(v), [1, 2, 3])
    session.run([update, check], {x: 1.0})
    np.testing.assert_array_equal(session.run(v), [2, 3, 4])


def test_reads_are_ordered_by_dependencies(session):
    v = tf.Variable(1.0)
    before = v + 0.0
    update = tf.assign(v, 5.0)
    with tf.control_dependencies([update]):
        after = v.read_value()
    session.run(tf.global_variables_initializer())
    assert session.run([before, after, update]) == [1.0, 5.0, 5.0]


def test_commuting_updates_apply_in_order_of_creation(session):
    v = tf.Variable(1.0)
    updates = [tf.assign_add(v, 2.0), tf.assign_sub(v, 0.5), tf.assign_add(v, 10.0)]
    session.run(tf.global_variables_initializer())
    session.run(updates)
    assert session.run(v) == 12.5


def test_two_variables_swap(session):
    a, b = tf.Variable([1.0, 2.0]), tf.Variable([3.0, 4.0])
    old_a, old_b = a.read_value(), b.read_value()
    swap = tf.group(tf.assign(a, old_b), tf.assign(b, old_a))
    session.run(tf.global_variables_initializer())
    session.run(swap)
    np.testing.assert_array_equal(session.run(a), [3, 4])
    np.testing.assert_array_equal(session.run(b), [1, 2])


def test_many_threads_on_one_session(session):
    x = tf.placeholder(tf.float32, [None, 64])
    w = tf.Variable(np.eye(64, dtype=np.float32))
    y = tf.matmul(x, w) + 1
    count = tf.Variable(0.0)
    add = tf.assign_add(count, 1.0)
    session.run(tf.global_variables_initializer())
    wrong = []

    def work(seed):
        data = np.random.default_rng(seed).standard_normal((seed + 1, 64)).astype(np.float32)
        for _ in range(100):
            result, _ = session.run([y, add], {x: data})
            if not np.allclose(result, data + 1, atol=1e-5):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert session.run(count) == 400


def test_several_sessions_over_one_graph():
    v = tf.Variable(0.0)
    add = tf.assign_add(v, 1.0)
    one, two = tf.Session(), tf.Session()
    for session in (one, two):
        session.run(tf.global_variables_initializer())
    one.run(add)
    assert one.run(v) == 1.0
    assert two.run(v) == 0.0
    one.close()
    two.close()


def test_interactive_session_is_the_default():
    session = tf.InteractiveSession()
    assert (tf.constant(2.0) * 3).eval() == 6.0
    session.close()


def test_results_do_not_depend_on_the_thread_count():
    rng = np.random.default_rng(0)
    data = rng.standard_normal((300, 200)).astype(np.float32)
    x = tf.placeholder(tf.float32, [None, 200])
    w = tf.Variable(rng.standard_normal((200, 150)).astype(np.float32))
    h = tf.nn.relu(tf.matmul(x, w))
    loss = tf.reduce_mean(h * h)
    fetches = [loss, tf.reduce_sum(h, axis=0), *tf.gradients(loss, [w])]
    results = []
    for threads in (1, 2, 3):
        config = tf.ConfigProto(intra_op_parallelism_threads=threads)
        with tf.Session(config=config) as session:
            session.run(tf.global_variables_initializer())
            results.append([r.tobytes() for r in session.run(fetches, {x: data})])
    assert results[0] == results[1] == results[2]


def test_growing_graph_warns_with_the_line(session, capsys):
    v = tf.constant(1.0)
    for _ in range(12):
        session.run(v + 1)
    message = capsys.readouterr().err
    assert "keeps growing" in message
    assert "test_session.py" in message


def test_sessions_are_collected():
    import weakref

    def make():
        session = tf.Session()
        session.run(tf.constant(1.0) + 1)
        session.close()
        return weakref.ref(session)

    references = [make() for _ in range(3)]
    gc.collect()
    assert all(reference() is None for reference in references)


def test_back_ends_agree():
    x = tf.placeholder(tf.float32, [None, 3])
    v = tf.Variable([1.0, 2.0, 3.0])
    y = tf.reduce_sum(x * v, axis=1)
    step = tf.assign_add(v, tf.reduce_mean(x, axis=0))
    data = np.arange(6, dtype=np.float32).reshape(2, 3)
    results = []
    for backend in ("compiled", "op-by-op", "reference"):
        with tf.Session(backend=backend) as session:
            session.run(tf.global_variables_initializer())
            first = session.run([y, step], {x: data})
            results.append((first[0], session.run(v)))
    for other in results[1:]:
        np.testing.assert_allclose(results[0][0], other[0])
        np.testing.assert_allclose(results[0][1], other[1])


def test_memory_budget_refuses_before_running():
    x = tf.constant(np.zeros((1000, 1000), np.float32))
    rows = tf.placeholder(tf.float32, [None, 1000])
    v = tf.Variable(0.0)
    grow = tf.assign_add(v, tf.reduce_sum(tf.sin(tf.matmul(rows, rows, transpose_b=True))))
    with tf.Session(config=tf.ConfigProto(memory_budget=1 << 20)) as session:
        with pytest.raises(tf.errors.ResourceExhaustedError, match="memory_budget"):
            session.run(x + 1)
        session.run(tf.global_variables_initializer())
        session.run(grow, {rows: np.zeros((10, 1000), np.float32)})
        with pytest.raises(tf.errors.ResourceExhaustedError, match="memory_budget") as caught:
            session.run(grow, {rows: np.ones((2000, 1000), np.float32)})
        assert len(str(caught.value).splitlines()) < 12
        assert session.run(v) == 0.0
        session.run(grow, {rows: np.zeros((20, 1000), np.float32)})


def test_traced_run_times_every_launch(session):
    x = tf.placeholder(tf.float32, [None, 3])
    metadata = tf.RunMetadata()
    options = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE)
    session.run(x + 1, {x: np.ones((2, 3))}, options=options, run_metadata=metadata)
    assert len(metadata.kernels) == metadata.launches == 1
    assert metadata.kernels[0].nanoseconds >= 0
    assert '"ph": "X"' in metadata.chrome_trace()
    assert "add" in metadata.table()


def test_empty_feeds(session):
    x = tf.placeholder(tf.float32, [None, 3])
    padded = tf.pad(x, [[1, 1], [0, 0]], constant_values=7.0)
    total, top = tf.reduce_sum(x), tf.reduce_max(x, axis=0)
    empty = np.ones((5, 3), np.float32)[5:]
    np.testing.assert_array_equal(session.run(padded, {x: empty}), np.full((2, 3), 7))
    assert session.run(total, {x: empty}) == 0
    np.testing.assert_array_equal(session.run(top, {x: empty}), np.full(3, -np.inf))
