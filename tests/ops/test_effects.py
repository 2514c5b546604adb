"""Assertions, checks, host calls, printing and the order of operations, compiled and not."""

from __future__ import annotations

import numpy as np
import pytest

import graphflow as tf
from graphflow.errors import InvalidArgumentError, TypeRuleError

X = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)


@pytest.fixture(params=["compiled", "op-by-op", "reference"])
def run(request):
    """run(fetches, feeds) in a session of that back end."""

    def call(fetches, feed_dict=None):
        config = tf.ConfigProto(cache=False)
        with tf.Session(config=config, backend=request.param) as session:
            return session.run(fetches, feed_dict)

    return call


def placeholder():
    return tf.placeholder(tf.float32, [None, 2], name="x")


# -- assertions ----------------------------------------------------------------------------------


def test_assert_passes_or_fails_with_its_data(run):
    x = placeholder()
    with tf.control_dependencies([tf.Assert(tf.reduce_all(x < 4), [x, "too large"])]):
        y = x + 1
    assert np.array_equal(run(y, {x: X - 1}), X)
    with pytest.raises(InvalidArgumentError, match="assertion failed too large") as caught:
        run(y, {x: X})
    assert "test_effects.py" in str(caught.value)


def test_nothing_asserts_that_is_not_asked_for(run):
    x = placeholder()
    tf.Assert(tf.reduce_all(x < 0), [x])
    assert np.array_equal(run(x * 1.0, {x: X}), X)


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (lambda x: tf.assert_positive(x), X, X - 1),
        (lambda x: tf.assert_negative(x), -X, X),
        (lambda x: tf.assert_non_negative(x), X - 1, X - 2),
        (lambda x: tf.assert_non_positive(x), X - 4, X),
        (lambda x: tf.assert_equal(x, [[1.0, 2.0]]), X[:1], X),
        (lambda x: tf.assert_none_equal(x, 9.0), X, X * 9),
        (lambda x: tf.assert_less(x, 5.0), X, X + 1),
        (lambda x: tf.assert_less_equal(x, 4.0), X, X + 1),
        (lambda x: tf.assert_greater(x, 0.0), X, X - 1),
        (lambda x: tf.assert_greater_equal(x, 1.0), X, X - 1),
        (lambda x: tf.assert_near(x, [[1.0, 2.0]]), X[:1] + 1e-7, X[:1] + 1e-3),
    ],
)
def test_relations(check, good, bad):
    x = placeholder()
    with tf.control_dependencies([check(x)]):
        y = tf.identity(x)
    with tf.Session(backend="reference") as session:
        session.run(y, {x: good})
        with pytest.raises(InvalidArgumentError, match="did not hold"):
            session.run(y, {x: bad})


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: tf.assert_equal(3, 4, message="sizes"), "sizes: .* == .* did not hold"),
        (lambda: tf.assert_rank(tf.zeros([2, 2]), 1), "its rank must be 1"),
        (lambda: tf.assert_rank_at_least(tf.zeros([2]), 2), "at least 2"),
        (lambda: tf.assert_rank_in(tf.zeros([2]), [0, 2]), "one of 0, 2"),
        (lambda: tf.assert_scalar(tf.zeros([2])), "not a scalar"),
        (lambda: tf.assert_type(tf.zeros([2]), tf.int32), "it must be int32"),
        (lambda: tf.assert_integer(tf.zeros([2])), "not of an integer dtype"),
        (lambda: tf.assert_near(tf.constant(1), 1), "only floats"),
        (lambda: tf.Assert(False, ["never"]), "assertion failed"),
        (lambda: tf.Assert(tf.zeros([2]), []), "float32, not bool"),
    ],
)
def test_what_is_known_fails_at_its_line(build, message):
    with pytest.raises((InvalidArgumentError, TypeRuleError), match=message) as caught:
        build()
    assert "test_effects.py" in str(caught.value)


def test_what_is_known_to_hold_is_nothing():
    assert tf.assert_equal(3, 3).type == "no_op"
    assert tf.assert_rank(tf.zeros([2]), 1).type == "no_op"


def test_check_numerics(run):
    x = placeholder()
    y = tf.check_numerics(tf.log(x), "logarithm")
    np.testing.assert_allclose(run(y, {x: X}), np.log(X), rtol=1e-6)
    with pytest.raises(InvalidArgumentError, match="logarithm : Tensor had NaN values.*element 2"):
        run(y, {x: np.array([[1, 2], [-1, 3]], np.float32)})
    with pytest.raises(InvalidArgumentError, match="logarithm : Tensor had Inf values"):
        run(y, {x: np.array([[1, 0]], np.float32)})


# -- Python functions ----------------------------------------------------------------------------


def test_py_func(run):
    x = placeholder()
    rows = tf.py_func(lambda a: a.sum(1), [x], tf.float32, shapes=[x.shape[0]])
    assert rows.dims == x.dims[:1]
    both = tf.py_func(
        lambda a, b: (a * 2, len(b)), [x, rows], [tf.float32, tf.int64], shapes=[x.shape, []]
    )
    doubled, count = run([both[0] + 1, both[1]], {x: X})
    assert np.array_equal(doubled, X * 2 + 1) and count == 2


def test_py_func_is_called_in_order_and_once(run):
    x = placeholder()
    calls: list[str] = []
    first = tf.py_func(lambda a: calls.append("first"), [x], [])
    with tf.control_dependencies([first]):
        second = tf.py_func(lambda a: calls.append("second") or a, [x], tf.float32, shapes=x.shape)
    run([second + second, tf.reduce_sum(second)], {x: X})
    assert calls == ["first", "second"]


def test_py_func_errors(run):
    x = placeholder()

    def wrong(function):
        return tf.py_func(function, [x], tf.float32, shapes=x.shape)

    with pytest.raises(KeyError, match="mine"):
        run(wrong(lambda a: {}["mine"]), {x: X})
    with pytest.raises((InvalidArgumentError, ValueError), match="shape"):
        run(wrong(lambda a: a[0]), {x: X})
    with pytest.raises(InvalidArgumentError, match="gave float64 as result 0, Tout declares"):
        run(wrong(lambda a: a.astype(np.float64)), {x: X})
    with pytest.raises(InvalidArgumentError, match="gave 2 results, Tout declares 3"):
        run(tf.py_func(lambda a: (a, a), [x], [tf.float32] * 3, shapes=[[2, 2]] * 3)[0], {x: X})


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda x: tf.py_func(np.sum, [x], tf.float32), "is not known; declare it"),
        (lambda x: tf.py_func("sum", [x], tf.float32, shapes=[]), "cannot be called"),
        (lambda x: tf.py_func(np.sum, [x], [tf.float32], shapes=[[], []]), "1 results, but 2"),
    ],
)
def test_py_func_definitions(build, message):
    with pytest.raises(TypeRuleError, match=message):
        build(placeholder())


def test_py_func_has_no_gradient():
    x = placeholder()
    y = tf.py_func(np.negative, [x], tf.float32, shapes=x.shape)
    with pytest.raises(tf.errors.GraphError, match="host_call|PyFunc|gradient"):
        tf.gradients(tf.reduce_sum(y), x)


# -- printing ------------------------------------------------------------------------------------


def test_print(run, capfd):
    x = placeholder()
    operation = tf.print("x is", x, {"twice": [x * 2]}, sep="|", end="!\n")
    run(operation, {x: X[:1]})
    assert capfd.readouterr().err == "x is|[[1. 2.]]|{'twice': [[[2. 4.]]]}!\n"


def test_print_to_a_stream_shortens(tmp_path):
    x = tf.placeholder(tf.int32, [None])
    path = tmp_path / "log"
    operation = tf.print(x, output_stream=f"file://{path}", summarize=2)
    with tf.Session(backend="reference") as session:
        session.run(operation, {x: np.arange(10)})
        session.run(operation, {x: np.arange(3)})
    assert path.read_text() == "[0 1 ... 8 9]\n[0 1 2]\n"


def test_tf1_print_passes_its_input_on(run, capfd):
    x = placeholder()
    y = tf.Print(x, [x, tf.shape(x)], "seen: ", summarize=2) * 2
    assert np.array_equal(run(y, {x: X}), X * 2)
    assert capfd.readouterr().err == "seen: [1.0 2.0...][2 2]\n"


def test_tf1_print_stops_after_first_n(capfd):
    x = placeholder()
    y = tf.Print(x, [x], first_n=2)
    with tf.Session(backend="reference") as session:
        for _ in range(4):
            session.run(y, {x: X})
    assert capfd.readouterr().err.count("\n") == 2


def test_print_arguments():
    with pytest.raises(TypeError, match="colour"):
        tf.print("a", colour=1)
    with pytest.raises(TypeRuleError, match="not a stream"):
        tf.print("a", output_stream=3)


# -- order ---------------------------------------------------------------------------------------


def test_group_runs_what_it_groups(run):
    x = placeholder()
    seen: list[int] = []
    effects = [tf.py_func(lambda a, n=n: seen.append(n), [x], []) for n in range(3)]
    assert run(tf.group(*effects[:2], None, [effects[2]], name="all"), {x: X}) is None
    assert seen == [0, 1, 2]


def test_tuple_waits_for_all(run):
    x = placeholder()
    seen: list[int] = []
    effect = tf.py_func(lambda a: seen.append(1), [x], [])
    first, nothing, second = tf.tuple([x, None, x * 2], control_inputs=[effect])
    assert nothing is None
    assert np.array_equal(run(second, {x: X}), X * 2) and seen == [1]
    with pytest.raises(TypeRuleError, match="no tensor"):
        tf.tuple([None])


def test_no_op_does_nothing(run):
    assert run(tf.no_op()) is None
