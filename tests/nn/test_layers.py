"""Layers: their variables, their names, and what they compute."""

from __future__ import annotations

import numpy as np
import pytest

import graphflow as tf

pytestmark = pytest.mark.usefixtures("every_backend")

RNG = np.random.default_rng(9)
A = RNG.normal(size=(5, 4)).astype(np.float32)


def run(fetches, feeds=None):
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        return session.run(fetches, feeds)


def names():
    return [v.name for v in tf.global_variables()]


def test_dense():
    x = tf.placeholder(tf.float32, [None, 4])
    y = tf.layers.dense(x, 3, activation=tf.nn.relu)
    z = tf.layers.dense(y, 2, use_bias=False)
    assert names() == ["dense/kernel:0", "dense/bias:0", "dense_1/kernel:0"]
    assert [v.shape.as_list() for v in tf.global_variables()] == [[4, 3], [3], [3, 2]]
    assert y.name.startswith("dense/")
    y, z, w, b, v = run([y, z, *tf.global_variables()], {x: A})
    np.testing.assert_allclose(y, np.maximum(A @ w + b, 0), rtol=1e-5)
    np.testing.assert_allclose(z, y @ v, rtol=1e-5)
    assert (b == 0).all()
    assert abs(w).max() <= np.sqrt(6 / 7)  # Glorot's uniform initialiser


def test_dense_of_higher_rank():
    x = tf.placeholder(tf.float32, [None, 2, 4])
    y = tf.layers.dense(x, 3, bias_initializer=tf.ones_initializer())
    assert y.shape.as_list() == [None, 2, 3]
    a = RNG.normal(size=(6, 2, 4)).astype(np.float32)
    found, w = run([y, tf.global_variables()[0]], {x: a})
    np.testing.assert_allclose(found, a @ w + 1, rtol=1e-5, atol=1e-6)


def test_reuse_by_name_and_by_object():
    x, other = tf.constant(A), tf.constant(2 * A)
    first = tf.layers.dense(x, 3, name="fc")
    again = tf.layers.dense(other, 3, name="fc", reuse=True)
    layer = tf.layers.Dense(3, kernel_initializer=tf.ones_initializer())
    with tf.variable_scope("inner"):
        one = layer(x)
        two = layer(other)
    assert names() == ["fc/kernel:0", "fc/bias:0", "inner/dense/kernel:0", "inner/dense/bias:0"]
    assert layer.name == "dense"
    assert layer.scope_name == "inner/dense"
    a, b, c, d = run([first, again, one, two])
    np.testing.assert_allclose(2 * a, b, rtol=1e-5)
    np.testing.assert_allclose(2 * c, d, rtol=1e-5)
    with pytest.raises(ValueError, match="already exists"):
        tf.layers.dense(x, 3, name="fc")


def test_scopes_name_layers():
    x = tf.constant(A)
    with tf.variable_scope("model"):
        tf.layers.dense(x, 1)
        tf.layers.dense(x, 1)
    with tf.variable_scope("model", reuse=True):
        tf.layers.dense(x, 1)
    assert names() == [
        "model/dense/kernel:0",
        "model/dense/bias:0",
        "model/dense_1/kernel:0",
        "model/dense_1/bias:0",
    ]


def test_regularisers_and_trainable():
    layer = tf.layers.Dense(
        2,
        kernel_initializer=tf.ones_initializer(),
        kernel_regularizer=tf.regularizers.l2_regularizer(0.5),
        activity_regularizer=tf.reduce_sum,
        trainable=False,
    )
    y = layer(tf.constant(A))
    assert tf.trainable_variables() == []
    assert layer.trainable_weights == []
    assert layer.non_trainable_weights == layer.weights == tf.global_variables()
    assert layer.losses == tf.losses.get_regularization_losses()
    (of_kernel, of_activity), value = run([layer.losses, y])
    np.testing.assert_allclose(of_kernel, 0.5 * 8 / 2)
    np.testing.assert_allclose(of_activity, value.sum(), rtol=1e-5)


@pytest.mark.parametrize(
    "wrong, message",
    [
        (lambda: tf.layers.dense(tf.constant(A), 0), "units must be a positive integer"),
        (lambda: tf.layers.dense(tf.constant(A), 2.5), "units must be a positive integer"),
        (lambda: tf.layers.dense(tf.constant([1.0]), 2), "rank 2 or more"),
        (
            lambda: tf.layers.dense(tf.placeholder(tf.float32, [2, None]), 2),
            "last dimension of the inputs must be known",
        ),
        (lambda: tf.layers.dense(tf.placeholder(tf.float32), 2), "rank 2 or more"),
        (lambda: tf.layers.batch_normalization(tf.constant(A), axis=2), "axis 2"),
        (lambda: tf.layers.dropout(tf.constant(A), 1.5, training=True), r"in \[0, 1\)"),
        (lambda: tf.nn.dropout(tf.constant(A)), "give either rate or keep_prob"),
        (lambda: tf.nn.dropout(tf.constant(A), 0.0), r"keep_prob must be in \(0, 1\]"),
        (lambda: tf.nn.dropout(tf.constant([1, 2]), 0.5), "must be floating-point"),
        (lambda: tf.nn.bias_add(tf.constant(A), [1.0, 2.0]), "4 channels"),
        (lambda: tf.nn.bias_add(tf.constant(A), A), "must be a vector"),
        (lambda: tf.nn.bias_add(tf.constant(A), [1.0] * 4, "HW"), "data_format"),
    ],
)
def test_wrong_calls(wrong, message):
    with pytest.raises((ValueError, TypeError), match=message):
        wrong()


def test_errors_blame_the_users_line():
    with pytest.raises(ValueError, match=r"test_layers\.py:\d+"):
        tf.layers.dense(tf.constant([1.0]), 2)


def test_dropout():
    x = tf.ones([1000])
    on = tf.layers.dropout(x, 0.25, training=True, seed=1)
    off = tf.layers.dropout(x, 0.25)
    flag = tf.placeholder(tf.bool, [])
    chosen = tf.layers.dropout(x, 0.25, training=flag)
    rows = tf.nn.dropout(tf.ones([50, 4]), rate=0.5, noise_shape=[None, 1])
    kept = tf.placeholder(tf.float32, [])
    fed = tf.nn.dropout(x, kept)
    assert tf.nn.dropout(x, keep_prob=1.0) is x
    feeds = {flag: True, kept: 0.5}
    with tf.Session() as session:
        a, b, c, d, e = session.run([on, off, chosen, rows, fed], feeds)
        untouched, fed_all = session.run([chosen, fed], {flag: False, kept: 1.0})
    scale = np.float32(1) / np.float32(0.75)
    assert set(a.tolist()) <= {0.0, float(scale)}
    assert 0.68 < (a > 0).mean() < 0.82
    assert (b == 1).all()
    assert 0.68 < (c > 0).mean() < 0.82
    assert (untouched == 1).all()
    assert (fed_all == 1).all()
    assert ((d == 0) | (d == 2)).all()
    assert (d == d[:, :1]).all()
    assert set(e.tolist()) == {0.0, 2.0}


def test_dropout_gradient_has_the_same_mask():
    x = tf.ones([100])
    y = tf.nn.dropout(x, rate=0.5)
    (gradient,) = tf.gradients(y, [x])
    a, b = run([y, gradient])
    np.testing.assert_array_equal(a, b)


def test_flatten_and_embedding():
    x = tf.placeholder(tf.float32, [None, 2, 3])
    flat = tf.layers.flatten(x)
    assert flat.shape.as_list() == [None, 6]
    ids = tf.placeholder(tf.int32, [None, 2])
    table = tf.layers.Embedding(10, 3)
    rows = table(ids)
    assert names() == ["embedding/embeddings:0"]
    a = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    found, looked, all_rows = run([flat, rows, table.embeddings], {x: a, ids: [[1, 2], [9, 1]]})
    np.testing.assert_array_equal(found, a.reshape(2, 6))
    np.testing.assert_array_equal(looked, all_rows[[[1, 2], [9, 1]]])


@pytest.mark.parametrize("shape, axis", [((6, 3), -1), ((2, 3, 4, 5), 1), ((4, 3, 5), [1, 2])])
@pytest.mark.parametrize("training", ["python", "tensor"])
def test_batch_normalization(shape, axis, training):
    a = RNG.normal(2.0, 3.0, shape).astype(np.float32)
    x = tf.placeholder(tf.float32, [None, *shape[1:]])
    flag = tf.placeholder(tf.bool, []) if training == "tensor" else True
    layer = tf.layers.BatchNormalization(axis=axis, momentum=0.9)
    y = layer(x, training=flag)
    assert layer.updates == tf.get_collection(tf.GraphKeys.UPDATE_OPS)
    assert [v.name.split("/")[1] for v in tf.trainable_variables()] == ["gamma:0", "beta:0"]
    inference = layer(x)
    kept = [n % len(shape) for n in (axis if isinstance(axis, list) else [axis])]
    others = tuple(n for n in range(len(shape)) if n not in kept)
    mean, variance = a.mean(others, keepdims=True), a.var(others, keepdims=True)
    count = np.prod([shape[n] for n in others])
    unbiased = count / (count - 1) if len(shape) == 4 else 1
    moved_mean = 0.1 * mean
    moved_variance = 0.9 + 0.1 * variance * unbiased
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        feeds = {x: a, flag: True} if training == "tensor" else {x: a}
        found, _ = session.run([y, layer.updates], feeds)
        np.testing.assert_allclose(
            found, (a - mean) / np.sqrt(variance + 1e-3), rtol=1e-4, atol=1e-4
        )
        wanted = (a - moved_mean) / np.sqrt(moved_variance + 1e-3)
        np.testing.assert_allclose(session.run(inference, {x: a}), wanted, rtol=1e-4, atol=1e-4)
        if training == "tensor":
            found, _ = session.run([y, layer.updates], {x: a, flag: False})
            np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
            moving = session.run(layer.moving_mean)
            np.testing.assert_allclose(moving.ravel(), moved_mean.ravel(), rtol=1e-5)


def test_small_pieces():
    x, w, b = A, RNG.normal(size=(4, 3)).astype(np.float32), np.ones(3, np.float32)
    image = RNG.normal(size=(2, 3, 4, 4)).astype(np.float32)
    found = run(
        [
            tf.nn.xw_plus_b(x, w, b),
            tf.nn.relu_layer(x, w, b),
            tf.nn.crelu(x),
            tf.nn.bias_add(image, b * 2, data_format="NCHW"),
            tf.nn.batch_normalization(x, x.mean(0), x.var(0), None, None, 1e-3),
            tf.nn.zero_fraction([0.0, 1.0, 0.0, 3.0]),
        ]
    )
    wanted = [
        x @ w + b,
        np.maximum(x @ w + b, 0),
        np.maximum(np.concatenate([x, -x], 1), 0),
        image + 2,
        (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-3),
        0.5,
    ]
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_moments_to_second_order():
    x = tf.placeholder(tf.float64, [6])
    _, variance = tf.nn.moments(x, [0])
    (hessian,) = tf.hessians(variance, [x])
    np.testing.assert_allclose(
        run(hessian, {x: np.arange(6.0)}), 2 / 6 * (np.eye(6) - 1 / 6), atol=1e-12
    )
