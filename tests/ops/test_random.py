"""Random numbers: published vectors of the generator, distributions, seeds and sequences."""

from __future__ import annotations

import math

import numpy as np
import pytest

import graphflow as tf
from graphflow.ir.evaluate import run_program
from graphflow.ops.random import RANDOM_STATES, SESSION_SEED
from graphflow.ops.random_bits import philox
from graphflow.passes.cut.functionalize import cut

# Random123's kat_vectors: counter, key, result of philox4x32 with 10 rounds.
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000",
     "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff",
     "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0",
     "d16cfe09 94fdcceb 5001e420 24126ea1"),
]  # fmt: skip


def _words(text: str):
    return [np.array([int(word, 16)], np.uint64) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_philox_gives_the_published_vectors(counter, key, expected):
    result = philox(_words(counter), _words(key))
    assert [int(word[0]) for word in result] == [int(word[0]) for word in _words(expected)]


def values(tensor, states=None):
    """(value, new states) of a tensor without feeds, by the reference evaluator."""
    program = cut(tf.get_default_graph(), [tensor], [])
    result = run_program(program, [], states)
    return result.fetches[0], {**(states or {}), **result.updates}


COUNT = 100_000


def close_to(sample: float, expected: float, deviation: float) -> None:
    """Within five standard errors of the mean of COUNT numbers."""
    assert abs(sample - expected) < 5 * deviation / math.sqrt(COUNT)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_uniform_floats(dtype):
    sample, _ = values(tf.random_uniform([COUNT], -2, 6, dtype, seed=1))
    assert sample.dtype == dtype and sample.min() >= -2 and sample.max() < 6
    close_to(sample.mean(), 2, 8 / math.sqrt(12))
    counts = np.bincount(((sample + 2) * 2).astype(int), minlength=16)
    expected = COUNT / 16
    # Chi squared with 15 degrees of freedom: above 50 with a probability of about 1e-5.
    assert ((counts - expected) ** 2 / expected).sum() < 50


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_uniform_integers(dtype):
    sample, _ = values(tf.random_uniform([COUNT], -3, 7, dtype, seed=2))
    assert sample.dtype == dtype and sample.min() == -3 and sample.max() == 6
    counts = np.bincount(sample + 3, minlength=10)
    assert ((counts - COUNT / 10) ** 2 / (COUNT / 10)).sum() < 45


@pytest.mark.parametrize(("dtype", "bits"), [("int32", 32), ("int64", 64)])
def test_uniform_integers_over_the_whole_range(dtype, bits):
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    sample, _ = values(tf.random_uniform([COUNT], low, high, dtype, seed=3))
    close_to(float(sample.astype(np.float64).mean()) / 2.0**bits, 0, 1 / math.sqrt(12))
    assert sample.min() < 0.99 * low and sample.max() > 0.99 * high


def test_an_empty_range_gives_its_lower_end():
    for dtype in ("int32", "int64"):
        sample, _ = values(tf.random_uniform([5], 4, 4, dtype))
        assert sample.tolist() == [4] * 5


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_normal(dtype):
    sample, _ = values(tf.random_normal([COUNT], 3.0, 2.0, dtype, seed=4))
    z = (sample.astype(np.float64) - 3) / 2
    for power, moment, deviation in ((1, 0, 1), (2, 1, math.sqrt(2)), (4, 3, math.sqrt(96))):
        close_to((z**power).mean(), moment, deviation)
    close_to((np.abs(z) > 2).mean(), math.erfc(math.sqrt(2)), 0.21)
    assert np.isfinite(sample).all()


def test_truncated_normal():
    sample, _ = values(tf.truncated_normal([COUNT], seed=5))
    assert np.abs(sample).max() <= 2.0
    close_to(sample.mean(), 0, 0.88)
    close_to((sample**2).mean(), 0.7737413, 0.9)  # 1 - 2·2·φ(2) / (1 - 2·Φ(-2))


def test_neighbouring_numbers_are_not_correlated():
    sample, _ = values(tf.random_normal([COUNT], seed=6))
    for lag in (1, 2, 4, 16):
        close_to((sample[lag:] * sample[:-lag]).mean(), 0, 1)


def test_shuffle_is_a_permutation_and_all_are_as_likely():
    with pytest.raises(tf.errors.GraphError, match="scalar"):
        tf.random_shuffle(tf.constant(3))
    shuffled = tf.random_shuffle(tf.constant([0, 1, 2]))
    seen: dict[tuple, int] = {}
    states = None
    for _ in range(600):
        order, states = values(shuffled, states)
        seen[tuple(order)] = seen.get(tuple(order), 0) + 1
    assert len(seen) == 6
    assert sum((n - 100) ** 2 / 100 for n in seen.values()) < 35


def test_multinomial_draws_by_probability():
    drawn, _ = values(tf.multinomial(tf.log([[0.2, 0.3, 0.5], [0.0, 1.0, 3.0]]), 20_000, seed=7))
    assert drawn.dtype == np.int64 and drawn.shape == (2, 20_000)
    parts = [np.bincount(row, minlength=3) / 20_000 for row in drawn]
    np.testing.assert_allclose(parts, [[0.2, 0.3, 0.5], [0, 0.25, 0.75]], atol=0.02)


def test_dropout_keeps_the_mean():
    x = tf.ones([200, 100])
    kept, _ = values(tf.nn.dropout(x, keep_prob=0.75, seed=8))
    assert set(np.unique(kept)) == {np.float32(0), np.float32(1 / 0.75)}
    assert abs(kept.mean() - 1) < 0.02


# -- seeds ---------------------------------------------------------------------------------------


def draw_twice(build):
    """Two draws of an operation in a new graph."""
    with tf.Graph().as_default():
        tensor = build()
        first, states = values(tensor)
        second, _ = values(tensor, states)
    return first.tolist(), second.tolist()


def test_every_run_draws_on():
    first, second = draw_twice(lambda: tf.random_uniform([4], seed=1))
    assert first != second
    assert (first, second) == draw_twice(lambda: tf.random_uniform([4], seed=1))


def test_operation_seeds():
    def pair(a, b):
        x, y = tf.random_uniform([4], seed=a), tf.random_uniform([4], seed=b)
        return tf.stack([x, y])

    (x, y), _ = draw_twice(lambda: pair(1, 1))
    assert x == y
    (x, y), _ = draw_twice(lambda: pair(1, 2))
    assert x != y


def test_graph_seed_gives_each_operation_its_own_sequence():
    def pair(seed):
        tf.set_random_seed(seed)
        return tf.stack([tf.random_uniform([4]), tf.random_uniform([4])])

    (x, y), _ = draw_twice(lambda: pair(5))
    assert x != y
    assert draw_twice(lambda: pair(5)) == draw_twice(lambda: pair(5)) != draw_twice(lambda: pair(6))


def test_without_seeds_sessions_differ_unless_the_config_says():
    x = tf.random_uniform([4])

    def drawn(**config):
        with tf.Session(config=tf.ConfigProto(**config)) as session:
            return [session.run(x).tolist() for _ in range(2)]

    assert drawn() != drawn()
    assert drawn(seed=3) == drawn(seed=3) != drawn(seed=4)


def test_fetching_twice_in_one_run_draws_once():
    x = tf.random_uniform([4], seed=1)
    with tf.Session() as session:
        a, b = session.run([x, tf.identity(x)])
    assert a.tolist() == b.tolist()


def test_compiled_numbers_are_the_reference_numbers():
    x = tf.random_uniform([1000], seed=9)
    expected, states = values(x)
    following, _ = values(x, states)
    with tf.Session() as session:
        assert np.array_equal(session.run(x), expected)
        assert np.array_equal(session.run(x), following)


def test_hidden_states_are_in_their_collection():
    tf.random_uniform([2])
    tf.random_normal([2])
    names = [handle.name for handle in tf.get_default_graph().get_collection(RANDOM_STATES)]
    assert names == [SESSION_SEED, "random_uniform/draws", "random_normal/draws"]


def test_get_seed_follows_tensorflow():
    from graphflow.ops.random import get_seed

    assert get_seed(None) == (None, None)
    assert get_seed(7) == (87654321, 7)
    tf.set_random_seed(3)
    assert get_seed(7) == (3, 7)
    assert get_seed(None) == (3, 0)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: tf.random_uniform([2], dtype=tf.int32), "maxval must be given"),
        (lambda: tf.random_uniform([2], 0, 9, dtype=tf.int8), "int8 is not supported"),
        (lambda: tf.random_normal([2], dtype=tf.int32), "int32 is not a float dtype"),
        (lambda: tf.random_uniform([-1]), "negative dimension"),
        (lambda: tf.random_uniform([2], seed="x"), "whole number or None"),
        (lambda: tf.random_uniform(tf.placeholder(tf.int32, [2])), "depends on data"),
        (lambda: tf.multinomial(tf.zeros([3]), 2), r"\[batch, classes\]"),
        (lambda: tf.nn.dropout(tf.zeros([3]), rate=1.5), r"\[0, 1\)"),
    ],
)
def test_errors(build, message):
    with pytest.raises((tf.errors.GraphError, ValueError), match=message):
        build()


def test_shapes_may_be_symbolic():
    x = tf.placeholder(tf.float32, [None, 3])
    noise = tf.random_normal(tf.shape(x), seed=1)
    assert noise.dims == x.dims
    program = cut(tf.get_default_graph(), [noise], [x])
    small = run_program(program, [np.zeros((2, 3), np.float32)]).fetches[0]
    large = run_program(program, [np.zeros((5, 3), np.float32)]).fetches[0]
    assert np.array_equal(small, large[:2])  # a number belongs to its position


def test_gradients_flow_through_what_is_done_with_random_numbers():
    x = tf.placeholder(tf.float32, [4])
    mean = tf.placeholder(tf.float32, [])
    y = tf.random_normal([4], mean, 2.0, seed=1) + x * tf.random_uniform([4], seed=2)
    to_mean, to_x = tf.gradients(tf.reduce_sum(y), [mean, x])
    assert to_mean is not None and to_x is not None
    shuffled = tf.random_shuffle(x, seed=3)
    (g,) = tf.gradients(tf.reduce_sum(shuffled * [1.0, 2.0, 3.0, 4.0]), x)
    g = tf.convert_to_tensor(g)
    program = cut(tf.get_default_graph(), [shuffled, g], [x])
    order, slope = run_program(program, [np.arange(4, dtype=np.float32)]).fetches
    assert np.array_equal(slope[order.astype(int)], [1, 2, 3, 4])
