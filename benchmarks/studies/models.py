"""The models of the benchmarks, as graphs: (session, train op, loss, feeds of one batch)."""

from __future__ import annotations

import numpy as np

import graphflow as tf


def dense_stack(x, sizes, activation):
    """Fully connected layers; the last one is linear."""
    h = x
    for position, units in enumerate(sizes):
        last = position == len(sizes) - 1
        h = tf.layers.dense(h, units, activation=None if last else activation)
    return h


def xor(config=None):
    x = tf.placeholder(tf.float32, [None, 2])
    y = tf.placeholder(tf.float32, [None, 2])
    loss = tf.losses.mean_squared_error(y, dense_stack(x, [5, 2], tf.sigmoid))
    train = tf.train.GradientDescentOptimizer(0.5).minimize(loss)
    a = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    t = np.array([[1, 0], [0, 1], [0, 1], [1, 0]], np.float32)
    return _session(config), train, loss, {x: a, y: t}


def classifier(features, sizes, batch, optimizer, activation, config=None, static=False):
    """A softmax classifier; `static` declares the batch size instead of leaving it open."""
    rows = batch if static else None
    x = tf.placeholder(tf.float32, [rows, features])
    y = tf.placeholder(tf.int32, [rows])
    logits = dense_stack(x, sizes, activation)
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits))
    train = optimizer.minimize(loss)
    rng = np.random.default_rng(0)
    feeds = {
        x: rng.standard_normal((batch, features), dtype=np.float32),
        y: rng.integers(0, sizes[-1], batch, dtype=np.int32),
    }
    return _session(config), train, loss, feeds


def fizzbuzz(config=None):
    optimizer = tf.train.GradientDescentOptimizer(0.1)
    return classifier(10, [100, 4], 64, optimizer, tf.sigmoid, config)


def mlp(config=None, batch=128, static=False):
    optimizer = tf.train.MomentumOptimizer(0.01, 0.9)
    return classifier(784, [512, 256, 10], batch, optimizer, tf.nn.relu, config, static)


def _session(config):
    session = tf.Session(config=config)
    session.run(tf.global_variables_initializer())
    return session
