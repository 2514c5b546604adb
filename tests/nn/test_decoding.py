"""Decoding against exhaustive search and plain loops over a small table of probabilities."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import graphflow as tf
from graphflow.errors import TypeRuleError

BACKENDS = ["compiled", "reference", "op-by-op"]
WORDS, END = 3, 2


@pytest.fixture(params=BACKENDS)
def backend(request):
    return request.param


@pytest.fixture(autouse=True)
def graph():
    with tf.Graph().as_default() as graph:
        yield graph


def run(backend, fetches, feeds=None):
    with tf.Session(backend=backend) as session:
        session.run(tf.global_variables_initializer())
        return session.run(fetches, feeds)


def table(seed=0, words=WORDS, scale=1.5):
    """Logits [before last, last, next]."""
    return np.random.default_rng(seed).normal(0, scale, (words, words, words))


def model(logits):
    """The next token depends on the last two: the state holds the one before the last, in a nest
    with a count of steps, which has no rows."""

    def step(tokens, state):
        rows = tf.gather_nd(logits, tf.stack([state["before"], tokens], 1))
        return rows, {"before": tokens, "count": (state["count"][0] + 1,)}

    return step


def start(batch):
    return {"before": tf.zeros([batch], tf.int32), "count": (tf.constant(0),)}


def score(logits, first, sequence):
    rows = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    total, before, last = 0.0, 0, first
    for token in sequence:
        total, before, last = total + rows[before, last, token], last, token
    return total


def sequences(length, end=END, words=WORDS):
    """All that end with the end token, or are of the full length and have none."""
    for n in range(1, length + 1):
        for s in itertools.product(range(words), repeat=n):
            if end not in s[:-1] and (n == length or s[-1] == end):
                yield s


def best(logits, first, length, alpha, end=END):
    found = {
        s: score(logits, first, s) / ((5 + len(s)) / 6) ** alpha for s in sequences(length, end)
    }
    return sorted(found.items(), key=lambda item: -item[1])


# -- beam search ---------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_a_beam_as_wide_as_everything_is_exhaustive(backend, alpha):
    logits, length, width = table(), 4, 81
    found = tf.nn.beam_search(
        model(tf.constant(logits)), start(2), [0, 1], END, width, length, alpha, dtype=tf.float64
    )
    found = run(backend, found)
    for row, first in enumerate([0, 1]):
        want = best(logits, first, length, alpha)
        for k, (sequence, value) in enumerate(want):
            size = found.lengths[row, k]
            assert found.ids[row, k, :size].tolist() == list(sequence)
            assert (found.ids[row, k, size:] == END).all()
            assert found.scores[row, k] == pytest.approx(value, rel=1e-9)
            assert found.log_probs[row, k] == pytest.approx(score(logits, first, sequence))
        rest = slice(len(want), None)
        assert np.isneginf(found.scores[row, rest]).all()
        assert not found.lengths[row, rest].any() and (found.ids[row, rest] == END).all()


def textbook(logits, first, end, width, length, alpha):
    """The search in lists."""

    def value(item):
        return item[0] / ((5 + len(item[1])) / 6) ** alpha

    beam = [(0.0, ())]
    for _ in range(length):
        after = []
        for total, s in beam:
            if s and s[-1] == end:
                after.append((total, s))
                continue
            after += [(score(logits, first, (*s, k)), (*s, k)) for k in range(logits.shape[-1])]
        beam = sorted(after, key=value, reverse=True)[:width]
    return [(s, value((total, s))) for total, s in beam]


@pytest.mark.parametrize(("width", "alpha"), [(1, 0.0), (2, 0.6), (4, 0.0), (5, 1.5)])
def test_a_narrow_beam_is_the_textbook_search(backend, width, alpha):
    logits, length = table(3, words=6), 7
    x = tf.placeholder(tf.int64, [None])
    state = {"before": tf.zeros_like(x, tf.int32), "count": (tf.constant(0),)}
    found = tf.nn.beam_search(
        model(tf.constant(logits)), state, x, 5, width, length, alpha, dtype=tf.float64
    )
    firsts = [0, 3, 1, 4, 2]
    found = run(backend, found, {x: firsts})
    for row, first in enumerate(firsts):
        for k, (sequence, value) in enumerate(textbook(logits, first, 5, width, length, alpha)):
            assert found.ids[row, k, : found.lengths[row, k]].tolist() == list(sequence)
            assert found.scores[row, k] == pytest.approx(value, rel=1e-9)


def test_a_search_without_an_end_token(backend):
    logits = table(1)
    found = run(backend, tf.nn.beam_search(model(tf.constant(logits)), start(1), [1], None, 30, 3))
    want = sorted(itertools.product(range(WORDS), repeat=3), key=lambda s: -score(logits, 1, s))
    assert found.ids[0, :27].tolist() == [list(s) for s in want]
    assert (found.lengths[0, :27] == 3).all() and not found.lengths[0, 27:].any()


def test_the_search_ends_when_all_sequences_have(backend):
    """However long they might have become, the model is not asked again."""
    asked = tf.Variable(0)
    logits = np.full((3, 3), -30.0, np.float32)
    logits[[0, 1], [1, 2]] = 30  # 0 -> 1 -> end
    logits[2, 2] = 30

    def step(tokens, state):
        with tf.control_dependencies([tf.assign_add(asked, 1)]):
            return tf.gather(logits, tokens), state

    searches = [
        tf.nn.beam_search(step, (), [0, 1], END, 1, 1000),
        tf.nn.greedy_decode(step, (), [0, 1], END, 1000),
    ]
    for search in searches:
        with tf.Session(backend=backend) as session:
            session.run(tf.global_variables_initializer())
            found = session.run(search)
            assert session.run(asked) == 2
        assert found.lengths.reshape(-1).tolist() == [2, 1]
        assert found.ids.reshape(2, 1000)[:, :3].tolist() == [[1, 2, 2], [2, 2, 2]]


def test_recurrent_cells_decode(backend):
    """States of cells, and the sizes of batch and length, as they come."""
    cell = tf.nn.rnn_cell.LSTMCell(5)
    table = tf.get_variable("table", [7, 4])
    out = tf.get_variable("out", [5, 7])

    def step(tokens, state):
        output, state = cell(tf.nn.embedding_lookup(table, tokens), state)
        return output @ out, state

    x = tf.placeholder(tf.int32, [None])
    like = tf.placeholder(tf.float32, [None])
    state = cell.zero_state(tf.shape(x)[0], tf.float32)
    beam = tf.nn.beam_search(step, state, x, 6, 1, tf.shape(like)[0])
    greedy = tf.nn.greedy_decode(step, state, x, 6, tf.shape(like)[0])
    one, other = run(backend, [beam, greedy], {x: [0, 3, 5], like: np.zeros(9)})
    assert one.ids.shape == (3, 1, 9)
    np.testing.assert_array_equal(one.ids[:, 0], other.ids)
    np.testing.assert_allclose(one.scores[:, 0], other.log_probs, rtol=1e-5)


# -- one sequence --------------------------------------------------------------------------------


def test_greedy_decoding(backend):
    logits, length = table(7, words=5, scale=1.0), 12
    firsts = [0, 1, 2, 3]
    state = start(4)
    found = run(backend, tf.nn.greedy_decode(model(tf.constant(logits)), state, firsts, 4, length))
    ended = 0
    for row, first in enumerate(firsts):
        want, before, last = [], 0, first
        while len(want) < length and (not want or last != 4):
            before, last = last, int(logits[before, last].argmax())
            want.append(last)
        ended += last == 4
        assert found.ids[row].tolist() == want + [4] * (length - len(want))
        assert found.lengths[row] == len(want)
        assert found.log_probs[row] == pytest.approx(score(logits, first, want), rel=1e-5)
    assert 0 < ended < 4


def sampler(logits, batch, length, **options):
    step = model(tf.constant(logits))
    return tf.nn.sample_sequence(step, start(batch), [0] * batch, END, length, **options)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_samples_come_as_often_as_they_should(backend, temperature):
    logits, length, count = table(4, scale=1.0), 3, 20000
    found = run(backend, sampler(logits, count, length, temperature=temperature, seed=5))
    drawn: dict[tuple, int] = {}
    for ids, size, value in zip(found.ids, found.lengths, found.log_probs, strict=True):
        assert (ids[size:] == END).all()
        key = tuple(ids[:size].tolist())
        drawn[key] = drawn.get(key, 0) + 1
        if drawn[key] == 1:
            assert value == pytest.approx(score(logits, 0, key), rel=1e-4)
    want = {s: np.exp(score(logits / temperature, 0, s)) for s in sequences(length)}
    assert set(drawn) <= set(want)
    for s, p in want.items():
        assert abs(drawn.get(s, 0) - count * p) < 5 * np.sqrt(count * p * (1 - p)) + 1


def test_samples_of_the_likeliest_tokens_only(backend):
    logits, count = table(4, words=5, scale=1.0), 5000
    found = run(backend, sampler(logits, count, 1, top_k=2, seed=5)).ids[:, 0]
    kept = np.argsort(-logits[0, 0])[:2]
    share = np.exp(logits[0, 0, kept])
    share /= share.sum()
    for token, p in zip(kept, share, strict=True):
        assert abs((found == token).sum() - count * p) < 5 * np.sqrt(count * p * (1 - p))
    assert np.isin(found, kept).all()
    greedy = run(backend, sampler(logits, 4, 6, top_k=1, seed=1))
    assert (greedy.ids == greedy.ids[0]).all()


def test_a_seed_decides_the_samples(backend):
    logits = table(2, scale=0.3)
    one, same, other = (sampler(logits, 16, 8, seed=seed).ids for seed in (1, 1, 2))
    with tf.Session(backend=backend) as session:
        first = session.run([one, same, other])
        second = session.run(one)
    np.testing.assert_array_equal(first[0], first[1])
    assert (first[0] != first[2]).any() and (first[0] != second).any()
    with tf.Session(backend=backend) as session:
        np.testing.assert_array_equal(session.run(one), first[0])
    with tf.Session(backend="reference") as session:
        np.testing.assert_array_equal(session.run(one), first[0])


# -- wrong models --------------------------------------------------------------------------------


def test_wrong_arguments():
    step = model(tf.constant(table()))
    state = start(2)
    beam, sample = tf.nn.beam_search, tf.nn.sample_sequence
    with pytest.raises(TypeError, match="step must be a function"):
        beam(3, state, [0, 1], END, 2, 4)
    with pytest.raises(TypeRuleError, match=r"start_tokens must be int32 or int64 \[batch\]"):
        beam(step, state, [[0, 1]], END, 2, 4)
    with pytest.raises(TypeRuleError, match="but there are 3 start_tokens"):
        beam(step, state, [0, 1, 1], END, 2, 4)
    with pytest.raises(ValueError, match="beam_width=0"):
        beam(step, state, [0, 1], END, 0, 4)
    with pytest.raises(TypeRuleError, match="end_token=3 is outside a vocabulary of 3"):
        beam(step, state, [0, 1], 3, 2, 4)
    with pytest.raises(ValueError, match="end_token=-1 is no token"):
        beam(step, state, [0, 1], -1, 2, 4)
    with pytest.raises(ValueError, match="temperature=0"):
        sample(step, state, [0, 1], END, 4, temperature=0)
    with pytest.raises(ValueError, match="top_k=0"):
        sample(step, state, [0, 1], END, 4, top_k=0)
    with pytest.raises(TypeError, match=r"must return \(logits, state\)"):
        beam(lambda tokens, state: tf.zeros([4, 3]), state, [0, 1], END, 2, 4)
    with pytest.raises(TypeRuleError, match=r"logits \[rows, vocabulary\]"):
        beam(lambda tokens, state: (tokens, state), state, [0, 1], END, 2, 4)
    with pytest.raises(TypeRuleError, match="structures differ"):
        beam(lambda tokens, state: (tf.zeros([4, 3]), [state]), state, [0, 1], END, 2, 4)
