"""The networks of graphflow.models: shapes, counts, formats, gradients, training."""

from __future__ import annotations

import numpy as np
import pytest

import graphflow as tf
from graphflow import models
from graphflow.errors import TypeRuleError

RANDOM = np.random.default_rng(4)


def array(*shape):
    return RANDOM.standard_normal(shape).astype(np.float32)


def count():
    return sum(int(np.prod(v.shape.as_list())) for v in tf.trainable_variables())


def tokens(number, features):
    return tf.placeholder(tf.float32, [None, number, features])


def encode(x):
    return tf.reduce_mean(models.transformer_encoder(tf.reshape(x, [4, 32, 96]), 2), axis=1)


def images(side=32, channels=3, batch=None):
    return tf.placeholder(tf.float32, [batch, side, side, channels])


@pytest.mark.parametrize(
    ("make", "parameters"),
    [
        (lambda: models.resnet18(images(224)), 11_689_512),
        (lambda: models.resnet34(images(224)), 21_797_672),
        (lambda: models.resnet50(images(224)), 25_557_032),
        (lambda: models.simplecnn(images(32)), 62_006),
        (lambda: models.lenet(images(28, 1)), 61_706),
        (lambda: models.mlp(tf.placeholder(tf.float32, [None, 784]), [512, 256], 10), 535_818),
        (lambda: models.transformer_encoder(tf.placeholder(tf.float32, [None, 9, 256])), 3_159_552),
    ],
)
def test_published_numbers_of_parameters(make, parameters):
    make()
    assert count() == parameters


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: models.resnet18(images(None), classes=7), [None, 7]),
        (lambda: models.resnet50(images(64), classes=7), [None, 7]),
        (lambda: models.linknet(images(64), 5), [None, 64, 64, 5]),
        (lambda: models.simplecnn(images(32)), [None, 10]),
        (
            lambda: models.transformer_encoder(tf.placeholder(tf.float32, [None, 9, 8])),
            [None, 9, 8],
        ),
    ],
)
def test_shapes(make, shape):
    assert make().shape.as_list() == shape


@pytest.mark.parametrize(
    ("network", "side"),
    [
        (lambda x, **m: models.resnet18(x, 6, name="net", **m), 64),
        (lambda x, **m: models.resnet50(x, 6, name="net", **m), 64),
        (lambda x, **m: models.simplecnn(x, 6, name="net", **m), 32),
        (lambda x, **m: models.linknet(x, 6, name="net", **m), 64),
    ],
    ids=["resnet18", "resnet50", "simplecnn", "linknet"],
)
def test_both_formats_give_the_same(network, side):
    a = array(2, side, side, 3)
    last = network(tf.constant(a))
    first = network(tf.constant(a.transpose(0, 3, 1, 2)), data_format="channels_first", reuse=True)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        y, z = session.run([last, first])
    if y.ndim == 4:
        z = z.transpose(0, 2, 3, 1)
    elif side == 32:  # flattened in another order
        assert z.shape == y.shape
        return
    np.testing.assert_allclose(z, y, rtol=2e-3, atol=2e-3 * np.abs(y).max())


def test_reuse_makes_no_variables():
    x = images(32)
    models.simplecnn(x)
    before = len(tf.global_variables())
    models.simplecnn(x, reuse=True)
    assert len(tf.global_variables()) == before
    assert tf.trainable_variables()[0].name == "simplecnn/conv1/kernel:0"


def classify(logits, labels):
    return tf.losses.sparse_softmax_cross_entropy(labels, logits)


@pytest.mark.parametrize(
    ("network", "side", "rate"),
    [
        (lambda x: models.resnet18(x, 4, training=True, zero_last_gamma=True), 32, 0.02),
        (lambda x: models.resnet50(x, 4, training=True), 32, 0.01),
        (lambda x: models.simplecnn(x, 4), 32, 0.02),
        (lambda x: models.linknet(x, 4, training=True), 32, 0.05),
        (encode, 32, 0.02),
    ],
    ids=["resnet18", "resnet50", "simplecnn", "linknet", "transformer"],
)  # fmt: skip
def test_training_reduces_the_loss(network, side, rate):
    tf.set_random_seed(3)
    x = tf.constant(array(4, side, side, 3))
    y = network(x)
    labels = RANDOM.integers(0, 4, y.shape.as_list()[:-1])
    loss = classify(y, tf.constant(labels.astype(np.int32)))
    gradients = tf.gradients(loss, tf.trainable_variables())
    assert all(g is not None for g in gradients)
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        step = tf.train.MomentumOptimizer(rate, 0.9).minimize(loss)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        before = session.run(loss)
        for _ in range(30):
            session.run(step)
        assert session.run(loss) < 0.8 * before


def test_blocks_begin_as_shortcuts():
    x = tf.constant(array(2, 32, 32, 3))
    models.resnet18(x, zero_last_gamma=True)
    last = [v for v in tf.trainable_variables() if v.name.endswith("conv2_norm/gamma:0")]
    assert len(last) == 8
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        assert not any(session.run(v).any() for v in last)


def test_training_as_a_placeholder():
    training = tf.placeholder(tf.bool, [])
    x = tf.constant(array(4, 32, 32, 3))
    y = models.resnet18(x, 5, training=training)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        on, off = (session.run(y, {training: flag}) for flag in (True, False))
    assert not np.allclose(on, off)


def test_positions_are_told_apart():
    with tf.Session() as session:
        found = session.run(models.positional_encoding(50, 8))
    assert found.shape == (50, 8)
    np.testing.assert_allclose(found[3, :2], [np.sin(3), np.cos(3)], rtol=1e-6)


def test_causal_encoders_do_not_look_ahead():
    x = tf.placeholder(tf.float32, [1, 6, 8])
    y = models.transformer_encoder(x, 2, 2, is_causal=True)
    a = array(1, 6, 8)
    b = a.copy()
    b[:, 4:] = array(1, 2, 8)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        one, other = session.run(y, {x: a}), session.run(y, {x: b})
    np.testing.assert_allclose(one[:, :4], other[:, :4], rtol=1e-5, atol=1e-5)
    assert np.abs(one[:, 4:] - other[:, 4:]).max() > 1e-3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: models.resnet18(tf.zeros([3, 32, 32])), "images"),
        (lambda: models.resnet18(tf.zeros([1, 32, 32, 3], tf.int32)), "of floats"),
        (lambda: models.resnet18(images(), data_format="NHWC"), "data_format"),
        (lambda: models.linknet(images(48), 3), "multiples of 32"),
        (lambda: models.simplecnn(images(8)), "sides of 16"),
        (lambda: models.transformer_encoder(tf.zeros([2, 3, 10]), heads=3), "3 heads"),
        (lambda: models.mlp(tf.zeros([2, 3, 4]), [5], 2), "features"),
    ],
)
def test_wrong_inputs(make, message):
    with pytest.raises(TypeRuleError, match=message):
        make()
