"""Variables: definition, reads and writes, initialisation, on every back end."""

from __future__ import annotations

import numpy as np
import pytest

import graphflow as tf
from graphflow import errors

BACKENDS = ["reference", "op-by-op", "compiled"]


@pytest.fixture(params=BACKENDS)
def session(request):
    """Opens a session of the graph when first used, after the test has defined it."""
    opened = []

    def run(fetches, feed_dict=None):
        if not opened:
            opened.append(tf.Session(backend=request.param))
            opened[0].run(tf.global_variables_initializer())
        return opened[0].run(fetches, feed_dict)

    yield run
    for each in opened:
        each.close()


def test_names_and_collections():
    w = tf.Variable(tf.zeros([2, 3]), name="w")
    again = tf.Variable(1.0, name="w")
    plain = tf.Variable([1, 2], trainable=False)
    assert [v.name for v in (w, again, plain)] == ["w:0", "w_1:0", "Variable:0"]
    assert w.op.name == "w"
    assert w.dtype == tf.float32
    assert plain.dtype == tf.int32
    assert w.shape.as_list() == w.get_shape().as_list() == [2, 3]
    assert w.initializer.name == "w/Assign"
    assert tf.global_variables() == [w, again, plain]
    assert tf.trainable_variables() == [w, again]
    assert tf.get_default_graph().get_tensor_by_name("w:0") is w._as_graph_element()


def test_name_scope_prefixes_variables():
    with tf.name_scope("layer"):
        w = tf.Variable(0.0, name="w")
    assert w.name == "layer/w:0"
    assert w.initializer.name == "layer/w/Assign"


def test_own_collections():
    v = tf.Variable(0.0, trainable=False, collections=[tf.GraphKeys.LOCAL_VARIABLES])
    assert tf.local_variables() == [v]
    assert tf.global_variables() == []


def test_equality_is_identity():
    a, b = tf.Variable(1.0), tf.Variable(1.0)
    assert a == a
    assert a != b
    assert {a: 1, b: 2}[a] == 1
    with pytest.raises(TypeError, match="no truth value"):
        bool(a)
    with pytest.raises(TypeError, match="cannot be iterated"):
        list(a)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: tf.Variable(None), "initial_value must be specified"),
        (lambda: tf.Variable(1.0, name="a:0"), "not a valid scope name"),
        (lambda: tf.Variable(1.0, collections="variables"), "must be a list"),
        (lambda: tf.Variable(1.0, constraint=3), "must be callable"),
        (lambda: tf.Variable([1.0, 2.0], expected_shape=[3]), r"shape \[2\], expected \[3\]"),
        (lambda: tf.Variable(tf.placeholder(tf.float32, [None, 2])), "shape must be known"),
        (lambda: tf.Variable(tf.constant(1.0), dtype=tf.int32), "int32 tensor is needed"),
    ],
)
def test_wrong_definitions(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def test_initial_values(session):
    constant = tf.Variable(np.arange(6, dtype=np.float32).reshape(2, 3))
    called = tf.Variable(lambda: tf.ones([2]) * 3)
    converted = tf.Variable([1, 2], dtype=tf.float64)
    values = session([constant, called, converted])
    np.testing.assert_array_equal(values[0], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(values[1], [3, 3])
    assert values[2].dtype == np.float64


def test_initial_value_from_another_variable(session):
    w = tf.Variable(tf.random_uniform([4]), name="w")
    double = tf.Variable(w * 2)
    sum_ = tf.Variable(double.initialized_value() + w)
    a, b, c = session([w, double, sum_])
    np.testing.assert_array_equal(b, a * 2)
    np.testing.assert_array_equal(c, a * 3)


def test_assignments_give_the_value_after_them(session):
    v = tf.Variable([1.0, 2.0])
    added = v.assign_add([1.0, 1.0])
    np.testing.assert_array_equal(session(added), [2, 3])
    np.testing.assert_array_equal(session(added), [3, 4])
    np.testing.assert_array_equal(session(v.assign_sub([3.0, 3.0])), [0, 1])
    np.testing.assert_array_equal(session(tf.assign(v, [7.0, 8.0])), [7, 8])
    assert session(v.assign([0.0, 0.0], read_value=False)) is None
    np.testing.assert_array_equal(session(v), [0, 0])


def test_reads_follow_control_dependencies(session):
    v = tf.Variable(1.0)
    before = v.read_value()
    with tf.control_dependencies([v.assign_add(1.0)]):
        after = v.read_value()
    assert session([before, after]) == [1.0, 2.0]


def test_additions_commute_and_all_apply(session):
    v = tf.Variable(0.0)
    session([v.assign_add(1.0), v.assign_add(10.0), v.assign_sub(100.0)])
    assert session(v) == -89.0


def test_unordered_assigns_are_refused(session):
    v = tf.Variable(0.0, name="v")
    with pytest.raises(errors.UnorderedWritesError, match="variable v"):
        session([v.assign(1.0), v.assign(2.0)])
    assert session(v) == 0.0


def test_arithmetic_reads(session):
    v = tf.Variable([[1.0, 2.0], [3.0, 4.0]])
    results = session([v + 1, 1 - v, v * v, v / 2, v @ v, -v, v[1], v > 2, np.float32(2) * v])
    a = np.array([[1, 2], [3, 4]], np.float32)
    expected = [a + 1, 1 - a, a * a, a / 2, a @ a, -a, a[1], a > 2, 2 * a]
    for result, want in zip(results, expected, strict=True):
        np.testing.assert_array_equal(result, want)


@pytest.mark.parametrize(
    "function, expected",
    [
        (tf.scatter_update, [[5, 6], [1, 1], [7, 8]]),
        (tf.scatter_add, [[6, 7], [1, 1], [8, 9]]),
        (tf.scatter_sub, [[-4, -5], [1, 1], [-6, -7]]),
        (tf.scatter_mul, [[5, 6], [1, 1], [7, 8]]),
        (tf.scatter_max, [[5, 6], [1, 1], [7, 8]]),
        (tf.scatter_min, [[1, 1], [1, 1], [1, 1]]),
    ],
)
def test_scatter(session, function, expected):
    v = tf.Variable(tf.ones([3, 2]))
    result = session(function(v, [2, 0], [[7.0, 8.0], [5.0, 6.0]]))
    np.testing.assert_array_equal(result, expected)


def test_scatter_adds_repeated_rows_and_scalars(session):
    v = tf.Variable(tf.zeros([3, 2]))
    np.testing.assert_array_equal(
        session(tf.scatter_add(v, [1, 1], [[1.0, 2.0], [3.0, 4.0]])), [[0, 0], [4, 6], [0, 0]]
    )
    np.testing.assert_array_equal(
        session(tf.scatter_update(v, [0, 2], 9.0)), [[9, 9], [4, 6], [9, 9]]
    )


def test_scatter_out_of_range_changes_nothing(session):
    v = tf.Variable(tf.zeros([3]))
    index = tf.placeholder(tf.int32, [None])
    update = tf.scatter_add(v, index, 1.0)
    with pytest.raises(errors.OutOfRangeError, match="3"):
        session([update, v.assign_add([1.0, 1.0, 1.0])], {index: [0, 3]})
    np.testing.assert_array_equal(session(v), [0, 0, 0])


@pytest.mark.parametrize(
    "write, message",
    [
        (lambda v: v.assign([1.0, 2.0]), r"variable v is float32\[3\], the value float32\[2\]"),
        (lambda v: v.assign_add(1.0), "shapes must be equal"),
        (lambda v: v.assign(tf.constant([1, 2, 3])), "float32 tensor is needed"),
        (lambda v: tf.scatter_add(v, [0.5], [1.0]), "indices are float32"),
        (lambda v: tf.scatter_add(v, [0, 1], [1.0]), "the updates are"),
        (lambda v: tf.assign(tf.zeros([3]), tf.ones([3])), "not a variable"),
        (lambda v: tf.scatter_div(tf.Variable([1, 2]), [0], [1]), "not floating"),
    ],
)
def test_wrong_writes(write, message):
    v = tf.Variable(tf.zeros([3]), name="v")
    with pytest.raises((ValueError, TypeError), match=message):
        write(v)


def test_assign_a_value_of_unknown_size(session):
    v = tf.Variable(tf.zeros([2, 3]))
    x = tf.placeholder(tf.float32, [None, 3])
    assign = v.assign(x)
    np.testing.assert_array_equal(session(assign, {x: np.ones((2, 3))}), np.ones((2, 3)))
    with pytest.raises(errors.GraphError):
        session(assign, {x: np.ones((4, 3))})
    np.testing.assert_array_equal(session(v), np.ones((2, 3)))


@pytest.mark.parametrize("backend", BACKENDS)
def test_load(backend):
    v = tf.Variable([1.0, 2.0], name="v")
    with tf.Session(backend=backend) as session:
        v.load([3, 4])
        np.testing.assert_array_equal(v.eval(), [3, 4])
        with pytest.raises(ValueError, match="variable v"):
            v.load([1.0, 2.0, 3.0], session)
        np.testing.assert_array_equal(v.eval(session), [3, 4])


@pytest.mark.parametrize("backend", BACKENDS)
def test_uninitialised(backend):
    a, b = tf.Variable(1.0, name="a"), tf.Variable(1.0, name="b")
    report = tf.report_uninitialized_variables()
    with tf.Session(backend=backend) as session:
        with pytest.raises(errors.FailedPreconditionError) as error:
            session.run(a + b)
        assert "a" in str(error.value)
        assert "b" in str(error.value)
        assert list(report.eval()) == ["a", "b"]
        session.run(a.initializer)
        assert tf.is_variable_initialized(a).eval(session)
        assert not tf.is_variable_initialized(b).eval(session)
        assert list(report.eval()) == ["b"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_initialiser_that_needs_a_placeholder(backend):
    x = tf.placeholder(tf.float32, [2], name="x")
    v = tf.Variable(x * 2, name="v")
    with tf.Session(backend=backend) as session:
        with pytest.raises(errors.FeedError) as error:
            session.run(tf.global_variables_initializer())
        assert "x:0" in str(error.value)
        assert "v/Assign" in str(error.value)
        session.run(v.initializer, {x: [1.0, 2.0]})
        np.testing.assert_array_equal(v.eval(), [2, 4])


@pytest.mark.parametrize("backend", BACKENDS)
def test_sessions_keep_their_own_values(backend):
    v = tf.Variable(0.0)
    one, two = tf.Session(backend=backend), tf.Session(backend=backend)
    one.run(v.initializer)
    two.run(v.initializer)
    one.run(v.assign_add(5.0))
    assert (one.run(v), two.run(v)) == (5.0, 0.0)
