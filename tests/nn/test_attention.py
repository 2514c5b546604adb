"""Attention in nn and layers: sizes, memory, second derivatives, and the pass that finds it."""

from __future__ import annotations

import numpy as np
import pytest
from cases_attention import attended
from hypothesis import given, settings
from hypothesis import strategies as st

import graphflow as tf
from graphflow.errors import TypeRuleError

RANDOM = np.random.default_rng(11)


def array(*shape):
    return RANDOM.standard_normal(shape).astype(np.float32)


def run(fetches, feeds=None, **config):
    with tf.Session(config=tf.ConfigProto(**config)) as session:
        session.run(tf.global_variables_initializer())
        return session.run(fetches, feeds)


def close(found, wanted, tolerance=2e-5):
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance)


def composed(q, k, v, scale, bias=None):
    scores = tf.matmul(q, k, transpose_b=True) * scale
    return tf.matmul(tf.nn.softmax(scores if bias is None else scores + bias), v)


@given(
    lead=st.lists(st.integers(1, 3), max_size=2), queries=st.integers(1, 150),
    keys=st.integers(1, 300), size=st.integers(1, 70), width=st.integers(1, 70),
    causal=st.booleans(), unknown=st.booleans(),
)  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_any_sizes(lead, queries, keys, size, width, causal, unknown):
    a = [array(*lead, n, s) for n, s in ((queries, size), (keys, size), (keys, width))]
    with tf.Graph().as_default():
        shapes = [[*(None if unknown else n for n in x.shape[:-1]), x.shape[-1]] for x in a]
        inputs = [tf.placeholder(tf.float32, shape) for shape in shapes]
        y = tf.nn.scaled_dot_product_attention(*inputs, is_causal=causal)
        gradients = tf.gradients(tf.reduce_sum(y * y), inputs)
        feeds = dict(zip(inputs, a, strict=True))
        found = tf.Session().run([y, *gradients], feeds)
        wanted = tf.Session(backend="reference").run([y, *gradients], feeds)
    close(found[0], attended(*a, causal=causal))
    for one, other in zip(found, wanted, strict=True):
        # Where a row has one key, two products of vectors cancel in the gradients of its score.
        atol = 1e-4 * max(1, np.abs(other).max())
        np.testing.assert_allclose(one, other, rtol=0, atol=atol)


def test_threads_change_nothing():
    a = [array(3, 200, 32) for _ in range(3)]
    q, k, v = map(tf.constant, a)
    y = tf.nn.scaled_dot_product_attention(q, k, v, is_causal=True)
    fetches = [y, *tf.gradients(y * y, [q, k, v])]
    one, two = (run(fetches, intra_op_parallelism_threads=n) for n in (1, 2))
    for x, z in zip(one, two, strict=True):
        assert np.array_equal(x, z)


def test_memory_grows_with_the_length_not_its_square():
    def peak(length):
        with tf.Graph().as_default():
            inputs = [tf.placeholder(tf.float32, [1, length, 64]) for _ in range(3)]
            y = tf.nn.scaled_dot_product_attention(*inputs)
            return tf.explain(tf.gradients(y, inputs)).peak_bytes

    assert peak(8192) <= 2.1 * peak(4096)
    assert peak(8192) < 8192 * 8192 * 4 / 4


def test_second_derivatives():
    q, k, v = (tf.constant(array(2, 5, 3).astype(np.float64)) for _ in range(3))
    bias = tf.constant(RANDOM.standard_normal((5, 5)))

    def second(attend):
        y = attend(q, k, v, bias)
        first = tf.gradients(tf.reduce_sum(tf.sin(y)), [q, k, v, bias])
        return tf.gradients(sum(tf.reduce_sum(g * g) for g in first), [q, k, v, bias])

    blocks = second(lambda q, k, v, b: tf.nn.scaled_dot_product_attention(q, k, v, b, scale=0.7))
    whole = second(lambda q, k, v, b: composed(q, k, v, tf.constant(0.7, tf.float64), b))
    for one, other in zip(*run([blocks, whole]), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)


def test_causal_second_derivatives():
    q, k, v = (tf.constant(array(1, 6, 3).astype(np.float64)) for _ in range(3))
    y = tf.nn.scaled_dot_product_attention(q, k, v, is_causal=True)
    low = tf.constant(np.where(np.tri(6, dtype=bool), 0.0, -1e30))
    z = composed(q, k, v, tf.constant(3**-0.5, tf.float64), low)
    found = [
        tf.gradients(tf.reduce_sum(tf.gradients(tf.reduce_sum(r * r), q)[0] ** 2), [q, k, v])
        for r in (y, z)
    ]
    for one, other in zip(*run(found), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)


def test_dropout_keeps_the_mean():
    q, k = (tf.constant(array(1, 40, 8)) for _ in range(2))
    v = tf.constant(np.ones((1, 40, 8), np.float32))
    y = tf.nn.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_rate=0.25, seed=3)
    found = run(y)
    assert 0.9 < found.mean() < 1.1
    assert np.abs(found - 1).max() > 0.01


# -- wrong ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shapes", "more", "message"),
    [
        (((2, 3), (2, 4), (2, 4)), {}, "different sizes"),
        (((2, 3), (4, 3), (5, 3)), {}, "other numbers of keys"),
        (((2, 2, 3), (3, 4, 3), (3, 4, 3)), {}, "axis 0"),
        (((2, 3), (4, 3), (4, 3)), {"mask": np.zeros((2, 5), np.float32)}, "does not broadcast"),
        (((2, 3), (4, 3), (4, 3)), {"mask": np.zeros((2, 4), np.int32)}, "must be bool or float32"),
        (((3,), (4, 3), (4, 3)), {}, "rank 2"),
    ],
)
def test_shapes_that_do_not_fit(shapes, more, message):
    with pytest.raises(TypeRuleError, match=message):
        tf.nn.scaled_dot_product_attention(*(tf.constant(array(*s)) for s in shapes), **more)


# -- layers --------------------------------------------------------------------------------------


def test_multi_head_attention():
    x, memory = array(2, 6, 12), array(2, 9, 10)
    layer = tf.layers.MultiHeadAttention(3, 4, value_dim=5, name="mha")
    y = layer(tf.constant(x), values=tf.constant(memory))
    names = [v.name for v in layer.variables]
    assert [n for n in names if "kernel" in n] == [
        "mha/query/kernel:0", "mha/key/kernel:0", "mha/value/kernel:0", "mha/output/kernel:0",
    ]  # fmt: skip
    found, *values = run([y, *layer.variables])
    w = dict(zip(names, values, strict=True))

    def heads(a, name, size):
        b = a @ w[f"mha/{name}/kernel:0"] + w[f"mha/{name}/bias:0"]
        return b.reshape(2, -1, 3, size).transpose(0, 2, 1, 3)

    mixed = attended(heads(x, "query", 4), heads(memory, "key", 4), heads(memory, "value", 5))
    flat = mixed.transpose(0, 2, 1, 3).reshape(2, 6, 15)
    close(found, flat @ w["mha/output/kernel:0"] + w["mha/output/bias:0"])


def test_one_mask_for_all_heads_and_reuse():
    x = tf.constant(array(2, 5, 8))
    seen = np.tril(np.ones((2, 5, 5), bool))
    masked = tf.layers.multi_head_attention(x, 2, 4, mask=seen, name="a")
    causal = tf.layers.multi_head_attention(x, 2, 4, is_causal=True, name="a", reuse=True)
    assert len(tf.trainable_variables()) == 8
    close(*run([masked, causal]))


def test_dropout_only_while_training():
    x = tf.constant(array(1, 20, 8))
    training = tf.placeholder(tf.bool, [])
    layer = tf.layers.MultiHeadAttention(2, 4, dropout=0.5)
    y, plain = layer(x, training=training), layer(x)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        off, wanted = session.run([y, plain], {training: False})
        close(off, wanted)
        assert np.abs(session.run(y, {training: True}) - wanted).max() > 1e-3


def test_it_trains():
    x, y = array(8, 10, 6), array(8, 10, 6)
    h = tf.layers.multi_head_attention(tf.constant(x), 2, 8)
    loss = tf.reduce_mean((h - y) ** 2)
    step = tf.train.AdamOptimizer(0.01).minimize(loss)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        before = session.run(loss)
        for _ in range(100):
            session.run(step)
        assert session.run(loss) < 0.8 * before


@pytest.mark.parametrize("sizes", [(0, 4), (2, 0), (True, 4)])
def test_sizes_of_heads_must_be_positive(sizes):
    with pytest.raises(TypeRuleError, match="positive integer"):
        tf.layers.MultiHeadAttention(*sizes)


# -- the pass that finds it ------------------------------------------------------------------------


def operations(fetches):
    return " ".join(op for k in tf.explain(fetches).kernels for op in k.operations)


def test_compositions_are_found():
    q, k, v = (tf.placeholder(tf.float32, [None, 2, 64, 16]) for _ in range(3))
    bias = tf.placeholder(tf.float32, [64, 64])
    for y in (
        composed(q, k, v, 0.25),
        composed(q, k, v, 0.25, bias),
        composed(q * 0.25, k, v, 1.0),
    ):
        assert "(attention)" in operations(y)
    feeds = {q: array(3, 2, 64, 16), k: array(3, 2, 64, 16), v: array(3, 2, 64, 16),
             bias: array(64, 64)}  # fmt: skip
    y = composed(q, k, v, 0.25, bias)
    close(run(y, feeds), run(y, feeds, disable=("find_attention",)))


def test_compositions_whose_weights_are_needed_stay():
    q, k, v = (tf.placeholder(tf.float32, [2, 64, 16]) for _ in range(3))
    weights = tf.nn.softmax(tf.matmul(q, k, transpose_b=True))
    y = tf.matmul(weights, v)
    assert "(attention)" not in operations([y, weights])
    assert "(attention)" not in operations(tf.gradients(y, [q]))
    assert "(attention)" not in operations(tf.matmul(weights, v, transpose_a=True))
    assert "(attention)" not in operations(
        tf.matmul(tf.nn.softmax(tf.matmul(q, k, transpose_b=True), axis=1), v)
    )
