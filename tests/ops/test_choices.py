"""What decoding loops choose with: the k best, and classes drawn by their probabilities."""

from __future__ import annotations

import numpy as np
import pytest

import graphflow as tf

RNG = np.random.default_rng(41)


def test_the_k_best_by_name(every_backend):
    x = RNG.permutation(24).reshape(2, 12).astype(np.float32)
    best = tf.nn.top_k(tf.constant(x), 3)
    assert (best[0], best[1]) == (best.values, best.indices)
    with tf.Session() as session:
        found = session.run(best)
    np.testing.assert_array_equal(found.indices, np.argsort(-x, axis=1)[:, :3])
    np.testing.assert_array_equal(found.values, np.take_along_axis(x, found.indices, 1))


def test_one_step_of_a_beam_search():
    """The best of all continuations of each beam, and the beams they continue."""
    batch, beams, words = 2, 3, 5
    so_far, logits = RNG.normal(size=(batch, beams)), RNG.normal(size=(batch, beams, words))
    states = RNG.normal(size=(batch, beams, 4))
    total = tf.expand_dims(tf.constant(so_far), 2) + tf.nn.log_softmax(tf.constant(logits))
    best = tf.nn.top_k(tf.reshape(total, [batch, beams * words]), beams)
    parent, word = best.indices // words, best.indices % words
    kept = tf.gather(tf.constant(states), parent, batch_dims=1)
    with tf.Session() as session:
        scores, parent, word, kept = session.run([best.values, parent, word, kept])
    plain = logits - np.log(np.exp(logits).sum(-1, keepdims=True)) + so_far[..., None]
    for b in range(batch):
        order = sorted(np.ndindex(beams, words), key=lambda p: -plain[b][p])[:beams]
        assert order == list(zip(parent[b], word[b], strict=True))
        np.testing.assert_allclose(scores[b], [plain[b][p] for p in order], rtol=1e-9)
        np.testing.assert_array_equal(kept[b], states[b][parent[b]])


@pytest.mark.parametrize("draw", [tf.multinomial, tf.random.categorical, tf.random.multinomial])
def test_classes_are_drawn_by_their_probabilities(draw):
    probabilities = np.array([[0.5, 0.3, 0.2, 0.0], [0.0, 0.1, 0.0, 0.9]])
    with np.errstate(divide="ignore"):
        drawn = draw(tf.constant(np.log(probabilities)), 4000)
    assert drawn.dtype is tf.int64
    with tf.Session() as session:
        one, other = session.run(drawn), session.run(drawn)
    shares = [np.bincount(row, minlength=4) / row.size for row in one]
    np.testing.assert_allclose(shares, probabilities, atol=0.04)
    assert all((share[p == 0] == 0).all() for share, p in zip(shares, probabilities, strict=True))
    assert (one != other).any()


def test_sampling_with_a_temperature_that_is_fed():
    logits, temperature = tf.constant([[1.0, 3.0, 2.0]]), tf.placeholder(tf.float32, [])
    drawn = tf.squeeze(tf.multinomial(logits / temperature, 200), [0])
    with tf.Session() as session:
        cold, hot = (session.run(drawn, {temperature: t}) for t in (0.01, 100.0))
    assert (cold == 1).all()
    assert len(set(hot)) == 3
