"""Convolution layers: their variables, their names, and what they compute."""

from __future__ import annotations

import numpy as np
import pytest
from cases_convolution import attributes, plain_convolve

import graphflow as tf

pytestmark = pytest.mark.usefixtures("every_backend")

RNG = np.random.default_rng(19)
X1 = RNG.normal(size=(2, 9, 4)).astype(np.float32)
X2 = RNG.normal(size=(2, 7, 8, 4)).astype(np.float32)
X3 = RNG.normal(size=(1, 4, 5, 6, 3)).astype(np.float32)


def run(fetches, feeds=None):
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        return session.run(fetches, feeds)


def close(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=3e-5, atol=3e-5)


def declared():
    return {v.name: v.shape.as_list() for v in tf.global_variables()}


@pytest.mark.parametrize(
    ("layer", "x", "window"),
    [
        (tf.layers.conv1d, X1, [3]),
        (tf.layers.conv2d, X2, [3, 2]),
        (tf.layers.conv3d, X3, [2, 3, 2]),
    ],
    ids=["conv1d", "conv2d", "conv3d"],
)
def test_convolution(layer, x, window):
    y = layer(
        x, 5, window if len(window) > 1 else 3, strides=2, activation=tf.nn.relu,
        bias_initializer=tf.constant_initializer(0.25),
    )  # fmt: skip
    kind = layer.__name__
    assert declared() == {f"{kind}/kernel:0": [*window, x.shape[-1], 5], f"{kind}/bias:0": [5]}
    assert y.name == f"{kind}/Relu:0"
    found, w = run([y, tf.global_variables()[0]])
    plain = plain_convolve(x, w, attributes(len(window), strides=(2,) * len(window)))
    close(found, np.maximum(plain + 0.25, 0))
    assert y.shape.as_list() == list(plain.shape)
    # Glorot's uniform initializer, with the whole receptive field in both fans.
    limit = np.sqrt(6 / (np.prod(window) * (x.shape[-1] + 5)))
    assert 0.8 * limit < abs(w).max() <= limit


def test_formats_padding_dilation_and_groups_agree():
    arguments = {
        "padding": "SAME", "dilation_rate": (2, 1), "groups": 2,
        "kernel_initializer": tf.random_normal_initializer(seed=5), "name": "c",
    }  # fmt: skip
    last = tf.layers.conv2d(X2, 6, 3, **arguments)
    first = tf.layers.conv2d(
        np.moveaxis(X2, -1, 1), 6, 3, data_format="channels_first", reuse=True, **arguments
    )
    assert declared() == {"c/kernel:0": [3, 3, 2, 6], "c/bias:0": [6]}
    assert last.shape.as_list() == [2, 7, 8, 6]
    a, b, w = run([last, first, tf.global_variables()[0]])
    pads = ((2, 2), (1, 1))
    close(a, plain_convolve(X2, w, attributes(2, dilation=(2, 1), padding=pads, groups=2)))
    close(np.moveaxis(b, 1, -1), a)


def test_causal_outputs_see_no_later_inputs():
    x = tf.placeholder(tf.float32, [None, None, 4])
    y = tf.layers.conv1d(x, 3, 3, padding="causal", dilation_rate=2, use_bias=False)
    w = tf.global_variables()[0]
    found, kernel = run([y, w], {x: X1})
    close(found, plain_convolve(X1, kernel, attributes(1, dilation=(2,), padding=((4, 0),))))
    assert y.dims == (x.dims[0], x.dims[1], 3)


def test_transposed():
    x = tf.placeholder(tf.float32, [None, None, None, 4])
    same = tf.layers.conv2d_transpose(x, 3, 3, strides=2, padding="same", use_bias=False)
    valid = tf.layers.conv2d_transpose(x, 3, (3, 1), strides=2)
    first = tf.layers.conv2d_transpose(
        tf.transpose(x, [0, 3, 1, 2]), 3, (3, 1), 2, data_format="channels_first",
        name="conv2d_transpose_1", reuse=True,
    )  # fmt: skip
    assert declared() == {
        "conv2d_transpose/kernel:0": [3, 3, 3, 4],
        "conv2d_transpose_1/kernel:0": [3, 1, 3, 4],
        "conv2d_transpose_1/bias:0": [3],
    }
    assert same.dims == (x.dims[0], 2 * x.dims[1], 2 * x.dims[2], 3)
    a, b, c, w, v = run([same, valid, first, *tf.global_variables()[:2]], {x: X2})
    assert a.shape == (2, 14, 16, 3)
    assert b.shape == (2, 15, 16, 3)
    g = tf.nn.conv2d_backprop_input([2, 14, 16, 3], w, X2, 2, "SAME")
    h = tf.nn.conv2d_backprop_input([2, 15, 16, 3], v, X2, 2, "VALID")
    wanted = run([g, h])
    close(a, wanted[0])
    close(b, wanted[1])
    close(np.moveaxis(c, 1, -1), b)


def test_transposed_in_three_dimensions():
    y = tf.layers.conv3d_transpose(X3, 2, 2, strides=(1, 2, 2), padding="same")
    assert declared() == {
        "conv3d_transpose/kernel:0": [2, 2, 2, 2, 3],
        "conv3d_transpose/bias:0": [2],
    }
    found, w = run([y, tf.global_variables()[0]])
    assert found.shape == (1, 4, 10, 12, 2)
    x = tf.constant(np.zeros(found.shape, np.float32))
    (wanted,) = tf.gradients(tf.nn.conv3d(x, w, (1, 2, 2), "SAME"), [x], X3)
    close(found, run(wanted))


def test_separable():
    y = tf.layers.separable_conv2d(X2, 5, 3, strides=2, padding="same", depth_multiplier=2)
    line = tf.layers.separable_conv1d(X1, 5, 3)
    assert declared() == {
        "separable_conv2d/depthwise_kernel:0": [3, 3, 4, 2],
        "separable_conv2d/pointwise_kernel:0": [1, 1, 8, 5],
        "separable_conv2d/bias:0": [5],
        "separable_conv1d/depthwise_kernel:0": [3, 4, 1],
        "separable_conv1d/pointwise_kernel:0": [1, 4, 5],
        "separable_conv1d/bias:0": [5],
    }
    found, other, deep, point, _, narrow, mix, _ = run([y, line, *tf.global_variables()])
    close(found, run(tf.nn.separable_conv2d(X2, deep, point, [1, 2, 2, 1], "SAME")))
    between = sum(X1[:, k : k + 7] * narrow[k, :, 0] for k in range(3))
    close(other, between @ mix[0])


def test_scopes_reuse_and_regularisers():
    x = tf.constant(X2)
    one = tf.layers.conv2d(x, 3, 3, name="c", kernel_regularizer=tf.nn.l2_loss)
    two = tf.layers.conv2d(x, 3, 3, name="c", reuse=True)
    layer = tf.layers.Conv2D(3, 3)
    with tf.variable_scope("model"):
        layer(x)
        layer(2 * x)
    tf.layers.conv2d(x, 3, 3)
    tf.layers.conv2d(x, 3, 3)
    assert list(declared()) == [
        "c/kernel:0", "c/bias:0", "model/conv2d/kernel:0", "model/conv2d/bias:0",
        "conv2d/kernel:0", "conv2d/bias:0", "conv2d_1/kernel:0", "conv2d_1/bias:0",
    ]  # fmt: skip
    assert layer.kernel_size == (3, 3)
    assert layer.kernel.name == "model/conv2d/kernel:0"
    (loss,) = tf.losses.get_regularization_losses()
    a, b, loss, w = run([one, two, loss, tf.global_variables()[0]])
    close(a, b)
    np.testing.assert_allclose(loss, np.sum(w * w) / 2, rtol=1e-5)


def test_a_small_network_learns():
    """Images with a bright column against images with a bright row."""
    images = np.zeros((32, 8, 8, 1), np.float32)
    for n in range(32):
        where = (slice(None), n % 8) if n % 2 else (n % 8, slice(None))
        images[n][where] = 1
    x = tf.placeholder(tf.float32, [None, None, None, 1])
    labels = tf.placeholder(tf.int32, [None])
    init = tf.glorot_uniform_initializer(seed=3)
    h = tf.layers.conv2d(x, 8, 3, 2, "same", activation=tf.nn.relu, kernel_initializer=init)
    h = tf.layers.separable_conv2d(
        h, 8, 3, padding="same", activation=tf.nn.relu, depthwise_initializer=init,
        pointwise_initializer=init,
    )  # fmt: skip
    h = tf.layers.conv2d_transpose(h, 4, 2, 2, activation=tf.nn.relu, kernel_initializer=init)
    logits = tf.layers.dense(tf.reduce_mean(h, [1, 2]), 2, kernel_initializer=init)
    loss = tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    )
    step = tf.train.AdamOptimizer(0.02).minimize(loss)
    feeds = {x: images, labels: np.arange(32) % 2}
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        losses = [session.run([loss, step], feeds)[0] for _ in range(60)]
    assert losses[-1] < 0.1 < losses[0]


WRONG = {
    "filters": (lambda: tf.layers.conv2d(X2, 0, 3), "filters must be a positive integer"),
    "kernel_size": (lambda: tf.layers.conv2d(X2, 3, (3, 3, 3)), "kernel_size has 1 or 2 entries"),
    "strides": (lambda: tf.layers.conv2d(X2, 3, 3, strides=0), "strides must be positive"),
    "padding": (lambda: tf.layers.conv2d(X2, 3, 3, padding="full"), "padding is valid or same"),
    "causal": (lambda: tf.layers.conv2d(X2, 3, 3, padding="causal"), "padding is valid or same"),
    "data_format": (
        lambda: tf.layers.conv2d(X2, 3, 3, data_format="NHWC"),
        "data_format is channels_last or channels_first",
    ),
    "rank": (lambda: tf.layers.conv2d(X1, 3, 3), "conv2d: inputs need rank 4"),
    "channels": (
        lambda: tf.layers.conv2d(tf.placeholder(tf.float32, [None, 8, 8, None]), 3, 3),
        "channels of the inputs must be known",
    ),
    "groups": (lambda: tf.layers.conv2d(X2, 3, 3, groups=2), "do not divide into 2 groups"),
    "window": (lambda: tf.layers.conv2d(X2, 3, 8), "larger than spatial dimension 0"),
}


@pytest.mark.parametrize(("wrong", "words"), WRONG.values(), ids=list(WRONG))
def test_wrong(wrong, words):
    with pytest.raises(tf.errors.TypeRuleError, match=words) as caught:
        wrong()
    assert "test_convolutional_layers.py" in str(caught.value)
