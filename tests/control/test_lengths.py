"""One compilation for batches of any length."""

from __future__ import annotations

import numpy as np

import graphflow as tf

SHORTEST, LONGEST, BATCHES = 5, 60, 40
WORDS, DEPTH, UNITS, CLASSES = 50, 12, 16, 3


def drawn_batches():
    rng = np.random.default_rng(11)
    for _ in range(BATCHES):
        batch, steps = rng.integers(3, 9), rng.integers(SHORTEST, LONGEST + 1)
        yield (
            rng.integers(0, WORDS, (batch, steps), dtype=np.int32),
            rng.integers(0, CLASSES, batch, dtype=np.int32),
        )


def classifier(x, y):
    """(loss, its gradients)"""
    tf.set_random_seed(5)
    with tf.variable_scope("classifier", reuse=tf.AUTO_REUSE):
        embedding = tf.get_variable("embedding", [WORDS, DEPTH])
        inputs = tf.nn.embedding_lookup(embedding, x)
        cell = tf.nn.rnn_cell.BasicLSTMCell(UNITS)
        _, state = tf.nn.dynamic_rnn(cell, inputs, dtype=tf.float32)
        loss = tf.losses.sparse_softmax_cross_entropy(y, tf.layers.dense(state.h, CLASSES))
    gradients = tf.gradients(loss, tf.trainable_variables())
    return loss, [tf.convert_to_tensor(gradient) for gradient in gradients]


def test_one_compilation_serves_batches_of_every_length():
    x, y = tf.placeholder(tf.int32, [None, None]), tf.placeholder(tf.int32, [None])
    whole = classifier(x, y)
    batches = list(drawn_batches())
    assert len({ids.shape[1] for ids, _ in batches}) > 20
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        before = session.counters()["compilations"]
        found = [session.run(whole, {x: ids, y: labels}) for ids, labels in batches]
        assert session.counters()["compilations"] == before + 1
        # The same variables, in steps that know their length.
        for number in (0, 7, 23):
            ids, labels = batches[number]
            alone = session.run(classifier(tf.constant(ids), tf.constant(labels)))
            loss, gradients = found[number]
            np.testing.assert_allclose(loss, alone[0], rtol=1e-5)
            for mine, wanted in zip(gradients, alone[1], strict=True):
                np.testing.assert_allclose(mine, wanted, rtol=1e-4, atol=1e-6)


def test_training_over_many_lengths_compiles_once():
    x, y = tf.placeholder(tf.int32, [None, None]), tf.placeholder(tf.int32, [None])
    loss, _ = classifier(x, y)
    train = tf.train.AdamOptimizer(1e-3).minimize(loss)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        before = session.counters()["compilations"]
        for ids, labels in drawn_batches():
            _, value = session.run([train, loss], {x: ids, y: labels})
            assert np.isfinite(value)
        assert session.counters()["compilations"] == before + 1
