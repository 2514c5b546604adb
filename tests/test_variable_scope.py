"""`get_variable`, variable scopes and name scopes, as TensorFlow 1 has them."""

from __future__ import annotations

import pytest

import graphflow as tf
from graphflow.errors import GraphMismatchError

pytestmark = pytest.mark.usefixtures("every_backend")


def test_names_and_reuse():
    with tf.variable_scope("a") as scope:
        w = tf.get_variable("w", [2, 3])
        assert scope.name == "a"
        assert scope.original_name_scope == "a/"
    with tf.variable_scope("a", reuse=True):
        assert tf.get_variable("w", [2, 3]) is w
    with tf.variable_scope(scope, reuse=True):
        assert tf.get_variable("w") is w
    with tf.variable_scope("a", reuse=tf.AUTO_REUSE):
        assert tf.get_variable("w") is w
        assert tf.get_variable("b", [3]).name == "a/b:0"
    assert w.name == "a/w:0"


def test_nested_scopes_inherit():
    with tf.variable_scope("a", initializer=tf.ones_initializer(), dtype=tf.float64):
        with tf.variable_scope("b"):
            w = tf.get_variable("w", [2])
            with tf.variable_scope("c", reuse=tf.AUTO_REUSE):
                assert tf.get_variable_scope().reuse is tf.AUTO_REUSE
        assert tf.get_variable_scope().name == "a"
    assert w.name == "a/b/w:0"
    assert w.dtype == tf.float64
    assert tf.get_variable_scope().name == ""
    assert not tf.get_variable_scope().reuse


def test_reuse_cannot_be_taken_back():
    with tf.variable_scope("a"):
        tf.get_variable("w", [1])
    with tf.variable_scope("a", reuse=True), tf.variable_scope("b", reuse=False):
        assert tf.get_variable_scope().reuse is True


def test_reuse_variables():
    with tf.variable_scope("a") as scope:
        w = tf.get_variable("w", [1])
        scope.reuse_variables()
        assert tf.get_variable("w", [1]) is w


def test_default_names_are_unique():
    names = []
    for _ in range(3):
        with tf.variable_scope(None, default_name="layer") as scope:
            names.append(scope.name)
    assert names == ["layer", "layer_1", "layer_2"]
    with tf.variable_scope("outer"), tf.variable_scope(None, "layer") as scope:
        assert scope.name == "outer/layer"


def test_default_names_start_again_in_a_reentered_scope():
    def build():
        with tf.variable_scope(None, "layer"):
            return tf.get_variable("w", [1])

    with tf.variable_scope("model"):
        first = build()
    with tf.variable_scope("model", reuse=True):
        assert build() is first
    assert first.name == "model/layer/w:0"


def test_name_scopes_do_not_name_variables():
    with tf.name_scope("scope"):
        w = tf.get_variable("w", [1])
        total = tf.add(w, 1.0, name="total")
    assert w.name == "w:0"
    assert total.name == "scope/total:0"
    with tf.variable_scope("v"):
        assert tf.add(w, 1.0, name="total").name == "v/total:0"
    with tf.variable_scope("v"):
        assert tf.add(w, 1.0, name="total").name == "v_1/total:0"


@pytest.mark.parametrize(
    "wrong, message",
    [
        (lambda: tf.get_variable("w", [2]), "already exists, disallowed"),
        (lambda: tf.get_variable("n", shape=[None, 2]), "shape of a new variable must be known"),
        (lambda: tf.get_variable("n"), "did not get an initializer"),
        (lambda: tf.get_variable("n", [2], initializer=tf.zeros([2])), "do not specify shape"),
        (lambda: tf.get_variable("n", initializer=tf.zeros_initializer()), "needs a shape"),
        (
            lambda: tf.get_variable("n", dtype=tf.int32, initializer=tf.zeros([2])),
            "initializer is float32 and the dtype asked for int32",
        ),
        (lambda: tf.get_variable(""), "non-empty string"),
        (lambda: tf.get_variable("n", [2], partitioner=lambda **_: 1), "partitioned"),
        (lambda: tf.variable_scope(None), "must be given"),
        (lambda: tf.variable_scope(None, "d", reuse=True), "without a name_or_scope"),
        (lambda: tf.variable_scope("a", reuse="yes"), "AUTO_REUSE"),
        (lambda: tf.variable_scope(3), "takes a name or a scope"),
    ],
)
def test_wrong_calls(wrong, message):
    tf.get_variable("w", [2])
    with pytest.raises((ValueError, TypeError), match=message):
        wrong()


@pytest.mark.parametrize(
    "wrong, message",
    [
        (lambda: tf.get_variable("w", [3]), r"specified shape \[3\] and found shape \[2\]"),
        (lambda: tf.get_variable("w", [2], tf.int32), "specified dtype int32"),
        (lambda: tf.get_variable("n", [2]), "does not exist"),
    ],
)
def test_wrong_reuse(wrong, message):
    w = tf.get_variable("w", [2])
    with tf.variable_scope("", reuse=True), pytest.raises(ValueError, match=message):
        wrong()
    assert "test_variable_scope.py" in w.handle.location.file


def test_already_exists_names_the_first_definition():
    tf.get_variable("w", [2])
    with pytest.raises(ValueError, match=r"test_variable_scope\.py:\d+"):
        tf.get_variable("w", [2])


def test_initializers_of_all_kinds():
    values = [
        tf.get_variable("a", [2], initializer=tf.zeros_initializer),
        tf.get_variable("b", [2], initializer=lambda shape, dtype: tf.fill(shape, 2.0)),
        tf.get_variable("c", initializer=[3.0, 3.0]),
        tf.get_variable("d", initializer=tf.constant([4.0, 4.0])),
        tf.get_variable("e", initializer=lambda: tf.constant([5.0, 5.0])),
        tf.get_variable(
            "f", [2], initializer=lambda shape, dtype, partition_info: tf.fill(shape, 6.0)
        ),
        tf.get_variable("g", [2], tf.int32),
    ]
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        assert [v[0] for v in session.run(values)] == [0, 2, 3, 4, 5, 6, 0]


def test_regularizers_run_once():
    with tf.variable_scope("a", regularizer=tf.regularizers.l2_regularizer(0.5)):
        w = tf.get_variable("w", [2], initializer=tf.ones_initializer())
        tf.get_variable("b", [2], regularizer=tf.no_regularizer)
    with tf.variable_scope("a", reuse=True, regularizer=tf.regularizers.l2_regularizer(0.5)):
        tf.get_variable("w", [2])
    (loss,) = tf.losses.get_regularization_losses()
    assert loss.name.startswith("a/w/Regularizer/")
    with tf.Session() as session:
        session.run(w.initializer)
        assert session.run(loss) == 0.5


def test_custom_getter():
    asked = []

    def getter(inner, name, *args, **kwargs):
        asked.append(name)
        return inner(name, *args, **kwargs) * 2

    with tf.variable_scope("a", custom_getter=getter):
        w = tf.get_variable("w", [2])
    assert asked == ["a/w"]
    assert isinstance(w, tf.Tensor)


def test_collections_of_scopes():
    with tf.variable_scope("a") as a:
        w = tf.get_variable("w", [1])
        local = tf.get_local_variable("n", [1])
    with tf.variable_scope("ab"):
        tf.get_variable("w", [1])
    assert a.trainable_variables() == a.global_variables() == [w]
    assert a.local_variables() == [local]
    assert tf.trainable_variables("a/") == [w]


def test_template():
    def model(x):
        return x * tf.get_variable("w", [], initializer=tf.ones_initializer())

    shared = tf.make_template("scale", model)
    shared(tf.constant(1.0))
    shared(tf.constant(2.0))
    other = tf.make_template("scale", model)
    other(tf.constant(1.0))
    assert [v.name for v in tf.global_variables()] == ["scale/w:0", "scale_1/w:0"]


def test_values_choose_the_graph():
    other = tf.Graph()
    with other.as_default():
        x = tf.constant(1.0)
    with tf.variable_scope("a", values=[x]):
        w = tf.get_variable("w", [1])
        assert tf.get_default_graph() is other
    with tf.name_scope("b", values=[x]):
        assert tf.get_default_graph() is other
    assert w.graph is other
    y = tf.constant(1.0)
    with pytest.raises(GraphMismatchError, match="different graphs"):
        tf.name_scope("b", values=[x, y]).__enter__()


def test_device_is_checked_and_ignored():
    for name in ("/cpu:0", "/device:GPU:1", "/job:worker/task:3/cpu:0", "", None, lambda op: ""):
        with tf.device(name):
            tf.constant(1.0)
    with pytest.raises(ValueError, match="not a device"), tf.device("/tpu:x"):
        pass


def test_global_step():
    assert tf.train.get_global_step() is None
    step = tf.train.get_or_create_global_step()
    assert step.name == "global_step:0"
    assert step.dtype == tf.int64
    assert tf.train.get_global_step() is step is tf.train.get_or_create_global_step()
    assert tf.trainable_variables() == []
    with pytest.raises(ValueError, match="already exists"):
        tf.train.create_global_step()
