"""The CTC loss against the sum over all paths, and its gradients against differences."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import graphflow as tf
from graphflow.errors import InvalidArgumentError, OutOfRangeError, TypeRuleError

BACKENDS = ["compiled", "reference", "op-by-op"]


@pytest.fixture(params=BACKENDS)
def backend(request):
    return request.param


@pytest.fixture(autouse=True)
def graph():
    with tf.Graph().as_default() as graph:
        yield graph


def spelled(path, blank, merge=True):
    kept = [k for n, k in enumerate(path) if not (merge and n and path[n - 1] == k)]
    return tuple(k for k in kept if k != blank)


def log_softmax(x):
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def over_all_paths(labels, logits, blank, merge=True):
    """-log of the sum of the probabilities of all paths of logits [time, classes] that spell."""
    rows = log_softmax(logits)
    steps, classes = rows.shape
    total = 0.0
    for path in itertools.product(range(classes), repeat=steps):
        if spelled(path, blank, merge) == tuple(labels):
            total += np.exp(sum(rows[t, k] for t, k in enumerate(path)))
    return -np.log(total) if total else np.inf


def batch_of(blank, classes=4, dtype=np.float64):
    """Sequences of all kinds: empty, repeated, too short for their labels, padded."""
    a, b, c = (k for k in range(classes) if k != blank)
    sequences = [(a, b), (a, a), (), (c,), (b, b, a), (c, b, a), (), (a, b), (a, a)]
    lengths = [5, 3, 4, 1, 4, 5, 0, 0, 2]
    labels = np.full((len(sequences), 3), -7, np.int64)
    for row, sequence in zip(labels, sequences, strict=True):
        row[: len(sequence)] = sequence
    logits = np.random.default_rng(3).normal(0, 2, (5, len(sequences), classes)).astype(dtype)
    for n, length in enumerate(lengths):
        logits[length:, n] = np.nan
    return sequences, labels, logits, lengths


@pytest.mark.parametrize("blank", [0, 2, -1])
def test_the_loss_is_that_of_all_paths(backend, blank):
    sequences, labels, logits, lengths = batch_of(blank % 4)
    x = tf.placeholder(tf.float64, [None, None, 4])
    y = tf.placeholder(tf.int64, [None, None])
    n = tf.placeholder(tf.int32, [None])
    loss = tf.nn.ctc_loss_v2(y, x, [len(s) for s in sequences], n, blank_index=blank)
    with tf.Session(backend=backend) as session:
        found = session.run(loss, {x: logits, y: labels, n: lengths})
    want = [
        over_all_paths(s, logits[:length, k], blank % 4)
        for k, (s, length) in enumerate(zip(sequences, lengths, strict=True))
    ]
    np.testing.assert_allclose(found, want, rtol=1e-12)
    assert np.isinf(found[[4, 7, 8]]).tolist() == [False, True, True] and found[6] == 0


def test_batch_major_logits_and_constant_lengths():
    sequences, labels, logits, lengths = batch_of(0, dtype=np.float32)
    x = tf.placeholder(tf.float32, [9, 5, 4])
    counts = [len(s) for s in sequences]
    loss = tf.nn.ctc_loss_v2(labels, x, counts, lengths, logits_time_major=False)
    with tf.Session() as session:
        found = session.run(loss, {x: logits.transpose(1, 0, 2)})
    want = [
        over_all_paths(s, logits[:length, k].astype(np.float64), 0)
        for k, (s, length) in enumerate(zip(sequences, lengths, strict=True))
    ]
    np.testing.assert_allclose(found, want, rtol=2e-6)


def test_gradients_are_slopes_and_padding_has_none(backend):
    sequences, labels, logits, lengths = batch_of(0)
    x = tf.placeholder(tf.float64, [None, None, 4])
    n = tf.placeholder(tf.int32, [None])
    loss = tf.nn.ctc_loss_v2(labels, x, [len(s) for s in sequences], n)
    weights = np.arange(1.0, 10.0)
    total = tf.reduce_sum(tf.where(tf.is_finite(loss), loss * weights, tf.zeros_like(loss)))
    (slopes,) = tf.gradients(total, x)
    step = 1e-5
    with tf.Session(backend=backend) as session:
        found = session.run(slopes, {x: logits, n: lengths})
        for n_, length in enumerate(lengths):
            assert not found[length:, n_].any()
            for t, k in itertools.product(range(length), range(4)):
                ends = []
                for sign in (1, -1):
                    moved = logits.copy()
                    moved[t, n_, k] += sign * step
                    ends.append(session.run(total, {x: moved, n: lengths}))
                slope = (ends[0] - ends[1]) / (2 * step)
                assert abs(found[t, n_, k] - slope) < 1e-7
    assert np.isfinite(found).all()


def test_second_derivatives(backend):
    x = tf.placeholder(tf.float64, [4, 2, 3])
    loss = tf.reduce_sum(tf.nn.ctc_loss_v2([[1, 1], [2, 0]], x, [2, 1], [4, 3]))
    direction = np.random.default_rng(0).normal(size=(4, 2, 3))
    (slope,) = tf.gradients(loss, x)
    (curve,) = tf.gradients(tf.reduce_sum(slope * direction), x)
    at = np.random.default_rng(1).normal(size=(4, 2, 3))
    with tf.Session(backend=backend) as session:
        found = session.run(curve, {x: at})
        ends = [session.run(slope, {x: at + s * direction}) for s in (1e-5, -1e-5)]
    np.testing.assert_allclose(found, (ends[0] - ends[1]) / 2e-5, atol=1e-8)


def test_classes_that_are_ruled_out(backend):
    """Logits of minus infinity: no NaN in the loss nor in the gradient."""
    x = tf.placeholder(tf.float32, [3, 2, 3])
    loss = tf.nn.ctc_loss_v2([[1], [2]], x, [1, 1], [3, 3])
    (slopes,) = tf.gradients(tf.reduce_sum(loss[0]), x)
    logits = np.zeros((3, 2, 3), np.float32)
    logits[..., 2] = -np.inf
    with tf.Session(backend=backend) as session:
        found, gradient = session.run([loss, slopes], {x: logits})
    np.testing.assert_allclose(found, [-np.log(6 / 8), np.inf], rtol=1e-6)
    assert np.isfinite(gradient).all() and gradient[:, 0].any()


def test_long_sequences_do_not_underflow():
    steps = 2000
    x = tf.placeholder(tf.float32, [None, 1, 5])
    loss = tf.nn.ctc_loss_v2([[1, 2, 3, 4] * 10], x, [40], [steps])
    (slopes,) = tf.gradients(loss, x)
    logits = np.random.default_rng(0).normal(size=(steps, 1, 5)).astype(np.float32)
    with tf.Session() as session:
        found, gradient = session.run([loss, slopes], {x: logits})
    assert 1000 < found[0] < 5000
    # What a path takes from one class it gives to another.
    np.testing.assert_allclose(gradient.sum(-1), 0, atol=1e-4)


@pytest.mark.parametrize("merge", [True, False])
def test_without_merging_repetitions_are_labels(backend, merge):
    labels, logits = [0, 0, 1], np.random.default_rng(5).normal(size=(5, 1, 3))
    loss = tf.nn.ctc_loss(([labels], [3]), logits, [5], ctc_merge_repeated=merge)
    with tf.Session(backend=backend) as session:
        (found,) = session.run(loss)
    assert found == pytest.approx(over_all_paths(labels, logits[:, 0], 2, merge), rel=1e-12)


def test_labels_collapsed_beforehand(backend):
    logits = np.random.default_rng(5).normal(size=(5, 2, 3))
    labels = [[0, 0, 1, 1, 1], [1, 0, 0, 2, 2]]
    loss = tf.nn.ctc_loss((labels, [5, 3]), logits, [5, 4], preprocess_collapse_repeated=True)
    with tf.Session(backend=backend) as session:
        found = session.run(loss)
    want = [over_all_paths([0, 1], logits[:, 0], 2), over_all_paths([1, 0], logits[:4, 1], 2)]
    np.testing.assert_allclose(found, want, rtol=1e-12)


def test_sequences_too_short_for_their_labels(backend):
    logits = tf.placeholder(tf.float32, [None, 2, 3])
    arguments = (([[0, 0], [1, 0]], [2, 2]), logits, [2, 2])
    fails = tf.nn.ctc_loss(*arguments)
    zero = tf.nn.ctc_loss(*arguments, ignore_longer_outputs_than_inputs=True)
    (slopes,) = tf.gradients(tf.reduce_sum(zero), logits)
    feeds = {logits: np.zeros((2, 2, 3), np.float32)}
    with tf.Session(backend=backend) as session:
        with pytest.raises(InvalidArgumentError, match="too short for its labels"):
            session.run(fails, feeds)
        found, gradient = session.run([zero, slopes], feeds)
    np.testing.assert_allclose(found, [0, 2 * np.log(3)], rtol=1e-6)
    assert not gradient[:, 0].any() and gradient[:, 1].any()


def test_ragged_labels(backend):
    """One graph for any labels."""
    labels = tf.ragged.placeholder(tf.int32)
    logits = np.random.default_rng(5).normal(size=(4, 2, 3))
    loss = tf.nn.ctc_loss(labels, logits, [4, 3])
    with tf.Session(backend=backend) as session:
        for rows in ([[0, 0], [1]], [[], [0, 1, 0]]):
            want = [over_all_paths(row, logits[: 4 - k, k], 2) for k, row in enumerate(rows)]
            np.testing.assert_allclose(session.run(loss, labels.feed(rows)), want, rtol=1e-12)


def test_wrong_arguments(backend):
    x = tf.placeholder(tf.float32, [4, 2, 3])
    labels = tf.placeholder(tf.int32, [2, None])
    ctc = tf.nn.ctc_loss_v2
    with pytest.raises(TypeRuleError, match="labels must be a RaggedTensor or a pair"):
        tf.nn.ctc_loss(labels, x, [4, 4])
    with pytest.raises(TypeRuleError, match=r"must be floats \[time, batch, classes\]"):
        ctc(labels, x[0], [1, 1], [4, 4])
    with pytest.raises(TypeRuleError, match=r"int32 or int64 \[batch, max_label_length\]"):
        ctc(tf.constant([1, 2]), x, [1, 1], [4, 4])
    with pytest.raises(TypeRuleError, match="one entry for each of 2 sequences"):
        ctc(labels, x, [1, 1, 1], [4, 4])
    with pytest.raises(OutOfRangeError, match="logit_length 5"):
        ctc(labels, x, [1, 1], [4, 5])
    with pytest.raises(ValueError, match="blank_index=3 is no class of 3"):
        ctc(labels, x, [1, 1], [4, 4], blank_index=3)
    with pytest.raises(InvalidArgumentError, match="a label is the blank"):
        ctc([[1], [0]], x, [1, 1], [4, 4])
    loss = ctc(labels, x, [1, 1], [4, 4])
    feeds = {x: np.zeros((4, 2, 3), np.float32)}
    with tf.Session(backend=backend) as session:
        with pytest.raises(InvalidArgumentError, match="a label is the blank"):
            session.run(loss, {**feeds, labels: [[0], [1]]})
        with pytest.raises(OutOfRangeError, match="label 3 is outside"):
            session.run(loss, {**feeds, labels: [[1], [3]]})
        with pytest.raises(OutOfRangeError, match="label_length 1"):
            session.run(loss, {**feeds, labels: np.zeros((2, 0))})
