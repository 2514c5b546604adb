"""CTC decoding against the probabilities of all labellings, found path by path."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import graphflow as tf
from graphflow.errors import TypeRuleError

BACKENDS = ["compiled", "reference", "op-by-op"]


@pytest.fixture(params=BACKENDS)
def backend(request):
    return request.param


@pytest.fixture(autouse=True)
def graph():
    with tf.Graph().as_default() as graph:
        yield graph


def run(backend, fetches, feeds=None):
    with tf.Session(backend=backend) as session:
        return session.run(fetches, feeds)


def lists(decoded):
    """The sequences of a batch, and a check that nothing stands behind them."""
    for row, length in zip(decoded.ids, decoded.lengths, strict=True):
        assert (row[length:] == -1).all()
    return [row[:n].tolist() for row, n in zip(decoded.ids, decoded.lengths, strict=True)]


def labellings(logits):
    """The probability of each labelling of logits [time, classes]; the blank is the last class."""
    rows = np.exp(logits - logits.max(-1, keepdims=True))
    rows /= rows.sum(-1, keepdims=True)
    steps, classes = rows.shape
    found: dict[tuple, float] = {}
    for path in itertools.product(range(classes), repeat=steps):
        merged = [k for n, k in enumerate(path) if not n or path[n - 1] != k]
        key = tuple(k for k in merged if k != classes - 1)
        found[key] = found.get(key, 0.0) + np.prod([rows[t, k] for t, k in enumerate(path)])
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def prefix_search(logits, width):
    """A beam of prefixes in dicts: (prefix, log-probability), best first."""
    rows = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    blank = rows.shape[1] - 1
    beam = {(): (0.0, -np.inf)}
    for row in rows:
        after: dict[tuple, list] = {}

        def add(prefix, number, value, after=after):
            pair = after.setdefault(prefix, [-np.inf, -np.inf])
            pair[number] = np.logaddexp(pair[number], value)

        for prefix, (on_blank, on_label) in beam.items():
            add(prefix, 0, np.logaddexp(on_blank, on_label) + row[blank])
            if prefix:
                add(prefix, 1, on_label + row[prefix[-1]])
            for k in range(blank):
                repeated = prefix and prefix[-1] == k
                before = on_blank if repeated else np.logaddexp(on_blank, on_label)
                add((*prefix, k), 1, before + row[k])
        best = sorted(after.items(), key=lambda item: -np.logaddexp(*item[1]))[:width]
        beam = dict(best)
    return [(prefix, np.logaddexp(*pair)) for prefix, pair in beam.items()]


def test_the_best_path(backend):
    best = np.array([[0, 0, 3, 0, 1, 1], [3, 2, 2, 1, 1, 0], [3, 3, 1, 1, 1, 1]])
    logits = np.where(np.eye(4)[best] > 0, 2.0, 0.5).transpose(1, 0, 2).astype(np.float32)
    x = tf.placeholder(tf.float32, [None, None, 4])
    lengths = [6, 4, 2]
    merged, kept = (tf.nn.ctc_greedy_decoder(x, lengths, merge_repeated=m) for m in (True, False))
    (one,), total = run(backend, merged, {x: logits})
    assert lists(one) == [[0, 0, 1], [2, 1], []]
    np.testing.assert_array_equal(total, [[-12], [-8], [-4]])
    (one,), _ = run(backend, kept, {x: logits})
    assert lists(one) == [[0, 0, 0, 1, 1], [2, 2, 1], []]


def test_a_wide_beam_finds_all_labellings(backend):
    logits = np.random.default_rng(2).normal(0, 1.5, (4, 3, 3))
    lengths = [4, 2, 0]
    for n, length in enumerate(lengths):
        logits[length:, n] = np.nan
    x = tf.placeholder(tf.float64, [None, None, 3])
    decoded, scores = run(
        backend, tf.nn.ctc_beam_search_decoder_v2(x, lengths, 64, 40), {x: logits}
    )
    paths = [lists(d) for d in decoded]
    for n, length in enumerate(lengths):
        want = labellings(logits[:length, n])
        assert [tuple(p[n]) for p in paths[: len(want)]] == list(want)
        np.testing.assert_allclose(scores[n, : len(want)], np.log(list(want.values())), rtol=1e-9)
        assert all(p[n] == [] for p in paths[len(want) :])
        assert np.isneginf(scores[n, len(want) :]).all()


@pytest.mark.parametrize("width", [1, 2, 3, 8])
def test_a_narrow_beam_is_the_textbook_search(backend, width):
    """Few labels and many steps, so that prefixes are dropped and found again."""
    logits = np.random.default_rng(width).normal(0, 1, (12, 16, 3))
    decoded, scores = run(
        backend, tf.nn.ctc_beam_search_decoder_v2(logits, [12] * 16, width, width)
    )
    paths = [lists(d) for d in decoded]
    for n in range(16):
        want = prefix_search(logits[:, n], width)
        assert [tuple(p[n]) for p in paths] == [prefix for prefix, _ in want]
        np.testing.assert_allclose(scores[n], [score for _, score in want], rtol=1e-9)


def test_merging_repetitions_of_a_result(backend):
    best = np.array([0, 2, 0, 1])
    logits = np.where(np.eye(3)[best] > 0, 9.0, 0.0)[:, None].astype(np.float32)
    (merged,), _ = run(backend, tf.nn.ctc_beam_search_decoder(logits, [4], 8))
    (kept,), _ = run(backend, tf.nn.ctc_beam_search_decoder(logits, [4], 8, merge_repeated=False))
    assert lists(merged) == [[0, 1]] and lists(kept) == [[0, 0, 1]]


def test_the_loss_of_what_was_decoded(backend):
    """The score of a wide beam is the loss of its labelling."""
    logits = np.random.default_rng(0).normal(0, 2, (5, 3, 3))
    (decoded,), scores = tf.nn.ctc_beam_search_decoder_v2(logits, [5, 4, 1], 64)
    loss = tf.nn.ctc_loss(decoded, logits, [5, 4, 1])
    loss, scores = run(backend, [loss, scores])
    np.testing.assert_allclose(loss, -scores[:, 0], rtol=1e-9)


def test_wrong_arguments():
    x = tf.placeholder(tf.float32, [4, 2, 3])
    with pytest.raises(ValueError, match=r"top_paths=3 must be in \[1, beam_width=2\]"):
        tf.nn.ctc_beam_search_decoder(x, [4, 4], 2, 3)
    with pytest.raises(TypeRuleError, match="no class but the blank"):
        tf.nn.ctc_beam_search_decoder(x[:, :, :1], [4, 4])
    with pytest.raises(TypeRuleError, match="one entry for each of 2 sequences"):
        tf.nn.ctc_greedy_decoder(x, [4])
