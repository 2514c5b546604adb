"""Attention over a memory: against NumPy, with padding of any kind, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from recurrences import check_slopes, randomize

import graphflow as tf
from graphflow.errors import GraphError

RNG = np.random.default_rng(31)
BATCH, QUERIES, KEYS, DEPTH, FEATURES, UNITS = 4, 3, 6, 5, 2, 7
QUERY = RNG.normal(size=(BATCH, QUERIES, DEPTH))
MEMORY = RNG.normal(size=(BATCH, KEYS, FEATURES))
LENGTHS = np.array([6, 1, 0, 4])
WITHIN = np.arange(KEYS) < LENGTHS[:, None]


def additive(w, query, memory):
    v = w["attention_v:0"]
    keys = memory @ w["memory_layer/kernel:0"]
    if "attention_g:0" in w:
        v, keys = w["attention_g:0"] * v / np.linalg.norm(v), keys + w["attention_b:0"]
    queries = query @ w["query_layer/kernel:0"]
    return np.tanh(queries[:, :, None] + keys[:, None]) @ v


def dot(w, query, memory):
    keys = memory @ w["memory_layer/kernel:0"] if w else memory
    return w.get("attention_g:0", 1.0) * np.einsum("bqd,bkd->bqk", query, keys)


def attended(scores, seen, values):
    """Each query's weights and context by itself, over the positions it may look at."""
    weights = np.zeros(scores.shape)
    for place in np.ndindex(*scores.shape[:2]):
        rows = np.broadcast_to(seen, scores.shape)[place]
        powers = np.exp(scores[place][rows] - scores[place][rows].max(initial=-np.inf))
        weights[place][rows] = powers / powers.sum()
    return np.einsum("bqk,bkn->bqn", weights, values), weights


LAYERS = {
    "additive": (
        lambda: tf.layers.AdditiveAttention(UNITS),
        additive,
        ["query_layer/kernel:0", "memory_layer/kernel:0", "attention_v:0"],
    ),
    "normalized": (
        lambda: tf.layers.AdditiveAttention(UNITS, normalize=True),
        additive,
        [
            "query_layer/kernel:0", "memory_layer/kernel:0", "attention_v:0", "attention_g:0",
            "attention_b:0",
        ],
    ),
    "dot": (lambda: tf.layers.DotAttention(), dot, []),
    "general": (
        lambda: tf.layers.DotAttention(DEPTH, scale=True), dot,
        ["memory_layer/kernel:0", "attention_g:0"],
    ),
}  # fmt: skip


def memory_of(name):
    return np.concatenate([MEMORY, MEMORY, MEMORY], 2)[..., :DEPTH] if name == "dot" else MEMORY


def weights_of(layer, session):
    scope = f"{layer.scope_name}/"
    return {v.name.removeprefix(scope): session.run(v) for v in layer.weights}


def close(found, wanted, tolerance=1e-9):
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("padding", ["lengths", "mask", "both", "each", "none"])
@pytest.mark.parametrize("name", LAYERS)
def test_against_numpy(name, padding):
    make, scores, variables = LAYERS[name]
    layer, memory = make(), memory_of(name)
    arguments, seen = {}, np.ones((BATCH, 1, KEYS), bool)
    if padding in ("lengths", "both"):
        arguments["lengths"] = tf.constant(LENGTHS)
        seen = seen & WITHIN[:, None]
    if padding in ("mask", "both"):
        mask = RNG.random((BATCH, KEYS)) < 0.7
        arguments["mask"], seen = tf.constant(mask), seen & mask[:, None]
    if padding == "each":
        seen = RNG.random((BATCH, QUERIES, KEYS)) < 0.7
        arguments["mask"] = tf.constant(seen)
    values = RNG.normal(size=(BATCH, KEYS, 3))
    query = tf.placeholder(tf.float64, [None, None, DEPTH])
    shape = [None, None, memory.shape[2]]
    keys = tf.placeholder(tf.float64, shape)
    found = [layer(query, keys, **arguments), layer(query, keys, values=values, **arguments)]
    assert [v.name for v in layer.weights] == [f"{layer.scope_name}/{v}" for v in variables]
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        randomize(session)
        found = session.run(found, {query: QUERY, keys: memory})
        of = scores(weights_of(layer, session), QUERY, memory)
    for pair, summed in zip(found, (memory, values), strict=True):
        for a, b in zip(pair, attended(of, seen, summed), strict=True):
            close(a, b)


@pytest.mark.parametrize("name", LAYERS)
def test_one_query_and_padding_that_is_no_number(name, every_backend):
    make, scores, _ = LAYERS[name]
    layer, memory = make(), memory_of(name)
    dirty = np.where(WITHIN[..., None], memory, np.nan)
    context, weights = layer(tf.constant(QUERY[:, 0]), tf.constant(dirty), lengths=LENGTHS)
    assert context.shape.as_list() == [BATCH, memory.shape[2]]
    assert weights.shape.as_list() == [BATCH, KEYS]
    variables = tf.trainable_variables()
    gradients = tf.gradients(tf.reduce_sum(tf.sin(context)), variables)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        randomize(session)
        context, weights, gradients = session.run([context, weights, gradients])
        of = scores(weights_of(layer, session), QUERY[:, :1], memory)
    wanted, wanted_weights = attended(of, WITHIN[:, None], memory)
    close(context, wanted[:, 0])
    close(weights, wanted_weights[:, 0])
    assert not weights[2].any() and not context[2].any()
    assert all(np.isfinite(g).all() for g in gradients)


@pytest.mark.parametrize("name", LAYERS)
def test_gradients(name):
    layer, memory = LAYERS[name][0](), tf.Variable(memory_of(name))
    query = tf.Variable(QUERY)
    context, weights = layer(query, memory, lengths=LENGTHS)
    mix = RNG.normal(size=(BATCH, QUERIES, KEYS))
    loss = tf.reduce_sum(tf.sin(context)) + tf.reduce_sum(weights * mix)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        randomize(session)
        check_slopes(session, loss, tf.trainable_variables())
        first = tf.gradients(loss, tf.trainable_variables())
        squares = sum(tf.reduce_sum(g * g) for g in first)
        check_slopes(session, squares, tf.trainable_variables(), tolerance=1e-5)


def test_a_layer_shares_its_variables():
    layer = tf.layers.AdditiveAttention(3, normalize=True, name="look")
    a = layer(tf.constant(QUERY), tf.constant(MEMORY))
    b = layer(tf.constant(QUERY[:, 1]), tf.constant(MEMORY))
    assert [v.name for v in tf.global_variables()] == [v.name for v in layer.weights]
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        (_, a), (_, b) = session.run([a, b])
        close(session.run(layer.weights[3]), 3**-0.5, 1e-6)
    close(a[:, 1], b)


@pytest.mark.parametrize("axis", [0, -1])
def test_masked_softmax(axis, every_backend):
    x = RNG.normal(size=(5, 6)).astype(np.float32)
    mask = RNG.random((5, 6)) < 0.5
    mask[3], mask[:, 2] = False, False
    x[~mask] = np.inf
    logits = tf.constant(x)
    y = tf.nn.masked_softmax(logits, mask, axis)
    (gradient,) = tf.gradients(y * y, logits)
    with tf.Session() as session:
        found, slopes = session.run([y, gradient])
    powers = np.where(mask, np.exp(np.where(mask, x, 0)), 0)
    total = powers.sum(axis, keepdims=True)
    wanted = powers / np.where(total, total, 1)
    np.testing.assert_allclose(found, wanted, rtol=2e-6, atol=1e-7)
    wanted = 2 * wanted * (wanted - (wanted * wanted).sum(axis, keepdims=True))
    np.testing.assert_allclose(slopes, wanted, rtol=2e-5, atol=1e-6)
    assert not slopes[~mask].any()


# -- what is refused ------------------------------------------------------------------------------


def look(query=QUERY, memory=MEMORY, layer=None, **more):
    layer = layer or tf.layers.AdditiveAttention(2)
    return layer(tf.constant(query), tf.constant(memory), **more)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: tf.layers.AdditiveAttention(0), ["additive_attention", "positive integer, got 0"]),
        (lambda: tf.layers.DotAttention(units=1.5), ["dot_attention", "positive integer, got 1.5"]),
        (lambda: look(query=QUERY[0, 0]), ["additive_attention", "float64[5]", "[batch, depth]"]),
        (
            lambda: look(memory=MEMORY[0]),
            ["memory", "float64[6,2]", "[batch, positions, features]"],
        ),
        (lambda: look(memory=MEMORY.astype(np.float32)), ["memory", "float64 tensor is needed"]),
        (lambda: look(values=MEMORY[0]), ["values", "float64[6,2]"]),
        (lambda: look(mask=WITHIN[0]), ["mask", "bool[6]", "[batch, positions]"]),
        (lambda: look(mask=WITHIN * 1.0), ["mask", "bool was expected"]),
        (lambda: look(lengths=[1, 2, 7, 0]), ["lengths 7 is outside [0, 7)"]),
        (lambda: look(lengths=[1, -2, 3, 0]), ["lengths -2 is outside [0, 7)"]),
        (lambda: look(lengths=[1, 2]), ["there are 2 lengths for 4 of"]),
        (lambda: look(lengths=[[1]]), ["lengths must be int32 or int64 [batch]"]),
        (
            lambda: look(layer=tf.layers.DotAttention()),
            ["float64[4,3,5]", "must have the depth 2", "give units"],
        ),
        (lambda: look(layer=tf.layers.DotAttention(4)), ["must have the depth 4"]),
    ],
)
def test_wrong_calls(wrong, words):
    with pytest.raises(GraphError) as caught:
        wrong()
    for word in [*words, "test_memory_attention.py"]:
        assert word in str(caught.value)
