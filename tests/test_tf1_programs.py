"""Ordinary small TF1 programs, written as people write them, with only the import changed."""

from __future__ import annotations

import numpy as np
import pytest

import graphflow as tf


@pytest.fixture(autouse=True)
def seeded():
    tf.set_random_seed(7)
    np.random.seed(7)


def test_linear_regression():
    data = np.linspace(-1, 1, 100).astype(np.float32)
    X = tf.placeholder("float")
    Y = tf.placeholder("float")
    W = tf.Variable(np.random.randn(), name="weight", dtype=tf.float32)
    b = tf.Variable(np.random.randn(), name="bias", dtype=tf.float32)
    cost = tf.reduce_sum(tf.pow(W * X + b - Y, 2)) / (2 * len(data))
    optimizer = tf.train.GradientDescentOptimizer(0.1).minimize(cost)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        for _ in range(100):
            for x, y in zip(data[::10], 3 * data[::10] + 2, strict=True):
                sess.run(optimizer, feed_dict={X: x, Y: y})
        for _ in range(300):
            sess.run(optimizer, feed_dict={X: data, Y: 3 * data + 2})
        assert abs(sess.run(W) - 3) < 0.05
        assert abs(sess.run(b) - 2) < 0.05


def test_classifier_with_dropout_and_accuracy():
    x = tf.placeholder(tf.float32, [None, 8])
    y_ = tf.placeholder(tf.float32, [None, 3])
    keep_prob = tf.placeholder(tf.float32)
    rate = tf.placeholder(tf.float32)

    def weight(shape):
        return tf.Variable(tf.truncated_normal(shape, stddev=0.3))

    h = tf.nn.relu(tf.matmul(x, weight([8, 32])) + tf.Variable(tf.constant(0.1, shape=[32])))
    h = tf.nn.dropout(h, keep_prob)
    y = tf.matmul(h, weight([32, 3])) + tf.Variable(tf.zeros([3]))
    loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(labels=y_, logits=y))
    train = tf.train.AdamOptimizer(rate).minimize(loss)
    right = tf.equal(tf.argmax(y, 1), tf.argmax(y_, 1))
    accuracy = tf.reduce_mean(tf.cast(right, tf.float32))
    data = np.random.randn(300, 8).astype(np.float32)
    labels = np.eye(3, dtype=np.float32)[np.argmax(data[:, :3], 1)]
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        for step in range(400):
            i = step * 50 % 300
            feed = {x: data[i : i + 50], y_: labels[i : i + 50], keep_prob: 0.8, rate: 0.01}
            sess.run(train, feed_dict=feed)
        assert accuracy.eval(feed_dict={x: data, y_: labels, keep_prob: 1.0}) > 0.95


def test_shared_variables_clipping_decay_and_regularisation():
    def net(x):
        with tf.variable_scope("net", reuse=tf.AUTO_REUSE):
            w = tf.get_variable("w", [4, 1], regularizer=lambda v: 0.001 * tf.nn.l2_loss(v))
            return tf.matmul(x, w)

    a, b = tf.placeholder(tf.float32, [None, 4]), tf.placeholder(tf.float32, [None, 4])
    target = np.array([[1.0], [-2.0], [3.0], [0.5]], np.float32)
    loss = tf.reduce_mean(tf.square(net(a) - tf.matmul(a, tf.constant(target))))
    loss += tf.reduce_mean(tf.square(net(b) - tf.matmul(b, tf.constant(target))))
    loss += tf.add_n(tf.get_collection(tf.GraphKeys.REGULARIZATION_LOSSES)[:1])
    step = tf.train.get_or_create_global_step()
    rate = tf.train.exponential_decay(0.2, step, 50, 0.9, staircase=True)
    optimizer = tf.train.MomentumOptimizer(rate, 0.9)
    grads, variables = zip(*optimizer.compute_gradients(loss), strict=True)
    clipped, norm = tf.clip_by_global_norm(grads, 1.0)
    train = optimizer.apply_gradients(zip(clipped, variables, strict=True), global_step=step)
    assert len(tf.trainable_variables()) == 1
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        for _ in range(200):
            feed = {a: np.random.randn(16, 4), b: np.random.randn(8, 4)}
            _, size = sess.run([train, norm], feed)
        assert sess.run(step) == 200
        assert size < 1.0
        np.testing.assert_allclose(sess.run(variables[0]), target, atol=0.05)


def test_embeddings_with_sparse_gradients():
    ids = tf.placeholder(tf.int32, [None])
    labels = tf.placeholder(tf.float32, [None])
    table = tf.get_variable("table", [50, 6])
    out = tf.reduce_sum(tf.nn.embedding_lookup(table, ids), axis=1)
    loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=out))
    train = tf.train.AdagradOptimizer(0.5).minimize(loss)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        before = sess.run(table)
        used = np.array([1, 3, 3, 7, 40], np.int32)
        for _ in range(100):
            _, value = sess.run([train, loss], {ids: used, labels: (used % 2).astype(np.float32)})
        after = sess.run(table)
    untouched = np.setdiff1d(np.arange(50), used)
    np.testing.assert_array_equal(before[untouched], after[untouched])
    assert value < 0.1


def test_adversarial_pair_with_variable_lists():
    z = tf.placeholder(tf.float32, [None, 1])
    real = tf.placeholder(tf.float32, [None, 1])
    with tf.variable_scope("g"):
        fake = tf.layers.dense(z, 1)

    def judge(x, reuse=None):
        with tf.variable_scope("d", reuse=reuse):
            return tf.layers.dense(tf.layers.dense(x, 8, tf.nn.tanh, name="h"), 1, name="o")

    on_real, on_fake = judge(real), judge(fake, reuse=True)
    bce = tf.nn.sigmoid_cross_entropy_with_logits
    d_loss = tf.reduce_mean(bce(labels=tf.ones_like(on_real), logits=on_real))
    d_loss += tf.reduce_mean(bce(labels=tf.zeros_like(on_fake), logits=on_fake))
    g_loss = tf.reduce_mean(bce(labels=tf.ones_like(on_fake), logits=on_fake))
    d_vars = tf.get_collection(tf.GraphKeys.TRAINABLE_VARIABLES, scope="d/")
    g_vars = tf.get_collection(tf.GraphKeys.TRAINABLE_VARIABLES, scope="g/")
    d_train = tf.train.AdamOptimizer(0.02).minimize(d_loss, var_list=d_vars)
    g_train = tf.train.AdamOptimizer(0.02).minimize(g_loss, var_list=g_vars)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        for _ in range(600):
            noise = np.random.randn(64, 1)
            sess.run(d_train, {z: noise, real: 0.5 * np.random.randn(64, 1) + 3})
            sess.run(g_train, {z: noise})
        made = sess.run(fake, {z: np.random.randn(500, 1)})
    assert abs(made.mean() - 3) < 1.0


def test_k_means():
    points = np.concatenate([np.random.randn(40, 2) + c for c in ([0, 8], [8, 0], [-8, -8])])
    x = tf.constant(points.astype(np.float32))
    centres = tf.Variable(points[[0, 40, 80]].astype(np.float32))
    distances = tf.reduce_sum(tf.square(tf.expand_dims(x, 1) - tf.expand_dims(centres, 0)), 2)
    nearest = tf.cast(tf.argmin(distances, 1), tf.int32)
    totals = tf.unsorted_segment_sum(x, nearest, 3)
    counts = tf.unsorted_segment_sum(tf.ones([tf.shape(x)[0], 1]), nearest, 3)
    update = tf.assign(centres, totals / counts)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        for _ in range(5):
            sess.run(update)
        found = sess.run(centres)
    wanted = np.stack([points[i : i + 40].mean(0) for i in (0, 40, 80)])
    np.testing.assert_allclose(found, wanted, atol=1e-3)


def test_batch_normalisation_moves_its_averages():
    x = tf.placeholder(tf.float32, [None, 5])
    training = tf.placeholder(tf.bool, [])
    y = tf.layers.batch_normalization(x, training=training, momentum=0.5)
    updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        for _ in range(40):
            out, _ = sess.run([y, updates], {x: np.random.randn(256, 5) * 2 + 3, training: True})
        np.testing.assert_allclose(out.mean(0), 0, atol=1e-4)
        out = sess.run(y, {x: np.full((1, 5), 3.0), training: False})
    np.testing.assert_allclose(out, 0, atol=0.3)


def test_policy_gradient_with_gather_nd_and_reshape():
    states = tf.placeholder(tf.float32, [None, 4])
    actions = tf.placeholder(tf.int32, [None])
    returns = tf.placeholder(tf.float32, [None])
    logits = tf.layers.dense(states, 3)
    log_p = tf.nn.log_softmax(logits)
    rows = tf.range(tf.shape(actions)[0])
    chosen = tf.gather_nd(log_p, tf.stack([rows, actions], axis=1))
    same = tf.reduce_sum(log_p * tf.one_hot(actions, 3), axis=1)
    loss = -tf.reduce_mean(chosen * returns)
    grads = tf.gradients(loss, tf.trainable_variables())
    flat = tf.concat([tf.reshape(g, [-1]) for g in grads], 0)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        feed = {states: np.random.randn(6, 4), actions: [0, 1, 2, 0, 1, 2], returns: np.ones(6)}
        a, b, g = sess.run([chosen, same, flat], feed)
    np.testing.assert_allclose(a, b, rtol=1e-5)
    assert g.shape == (15,)


def test_random_numbers_repeat_under_a_seed():
    a, b = tf.random_normal([5]), tf.random_shuffle(tf.range(10))
    runs = []
    for _ in range(2):
        with tf.Session() as sess:
            runs.append([sess.run([a, b]) for _ in range(3)])
    for first, second in zip(*runs, strict=True):
        np.testing.assert_array_equal(first[0], second[0])
        np.testing.assert_array_equal(first[1], second[1])
    assert not np.array_equal(runs[0][0][0], runs[0][1][0])


def test_hessian_vector_product_and_py_func():
    x = tf.Variable([1.0, 2.0, 3.0])
    y = tf.reduce_sum(x**3)
    (gradient,) = tf.gradients(y, [x])
    product = tf.gradients(gradient * tf.constant([1.0, 0.0, 2.0]), [x])[0]
    logged = []
    noted = tf.py_func(lambda v: logged.append(v.sum()) or v, [product], tf.float32, shapes=[[3]])
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        np.testing.assert_allclose(sess.run(noted), [6.0, 0.0, 36.0])
    assert logged == [42.0]
