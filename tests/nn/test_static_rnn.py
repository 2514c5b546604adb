"""Unrolled recurrences: each sequence as if it were alone, whatever its padding holds."""

from __future__ import annotations

import numpy as np
import pytest
from recurrences import alone, check_slopes, gru_step, lstm_step, randomize, weights_of

import graphflow as tf
from graphflow.errors import OutOfRangeError

cells = tf.nn.rnn_cell
RNG = np.random.default_rng(23)
STEPS, BATCH, DEPTH, UNITS = 5, 4, 3, 6
X = RNG.normal(size=(STEPS, BATCH, DEPTH))
LENGTHS = np.array([5, 1, 0, 3], np.int32)


def padded(value):
    x = X.copy()
    for b, n in enumerate(LENGTHS):
        x[n:, b] = value
    return x


def close(found, wanted, tolerance=1e-9):
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("padding", [0.0, 1e30, np.inf, np.nan])
def test_each_sequence_as_if_alone(padding):
    cell = cells.LSTMCell(UNITS, use_peepholes=True, num_proj=2)
    xs = [tf.placeholder(tf.float64, [None, DEPTH]) for _ in range(STEPS)]
    lengths = tf.placeholder(tf.int32, [None])
    outputs, state = tf.nn.static_rnn(cell, xs, dtype=tf.float64, sequence_length=lengths)
    total = sum(tf.reduce_sum(tf.sin(y)) for y in outputs) + tf.reduce_sum(state.c)
    gradients = tf.gradients(total, [*tf.trainable_variables(), *xs])
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        randomize(session)
        w = weights_of(cell, session)
        feeds = {lengths: LENGTHS, **dict(zip(xs, padded(padding), strict=True))}
        outputs, state, slopes = session.run([outputs, state, gradients], feeds)
        clean = {lengths: LENGTHS, **dict(zip(xs, padded(0.0), strict=True))}
        for a, b in zip(slopes, session.run(gradients, clean), strict=True):
            close(a, b)
        if padding == 0:
            check_slopes(session, total, tf.trainable_variables(), feeds)
    for b, n in enumerate(LENGTHS):
        start = np.zeros((1, UNITS)), np.zeros((1, 2))
        wanted, (c, h) = alone(lstm_step, w, X[:n, b], start)
        close(np.array(outputs)[:n, b], np.reshape(wanted, (n, 2)))
        assert not any(y[b].any() for y in outputs[n:])
        close(state.c[b], c[0])
        close(state.h[b], h[0])


def test_bidirectional(every_backend):
    forward, backward = cells.GRUCell(UNITS), cells.LSTMCell(2)
    xs = [tf.constant(x) for x in padded(np.nan)]
    outputs, state, state_bw = tf.nn.static_bidirectional_rnn(
        forward, backward, xs, dtype=tf.float64, sequence_length=LENGTHS
    )
    assert [v.name for v in tf.global_variables() if "bias" in v.name] == [
        "bidirectional_rnn/fw/gru_cell/gates/bias:0",
        "bidirectional_rnn/fw/gru_cell/candidate/bias:0",
        "bidirectional_rnn/bw/lstm_cell/bias:0",
    ]
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        randomize(session)
        w, w_bw = weights_of(forward, session), weights_of(backward, session)
        outputs, state, state_bw = session.run([outputs, state, state_bw])
    for b, n in enumerate(LENGTHS):
        wanted, h = alone(gru_step, w, X[:n, b], np.zeros((1, UNITS)))
        start = np.zeros((1, 2)), np.zeros((1, 2))
        other, (c, _) = alone(lstm_step, w_bw, X[:n, b][::-1], start)
        for t in range(n):
            close(outputs[t][b], np.concatenate([wanted[t], other[n - 1 - t]]))
        assert not any(y[b].any() for y in outputs[n:])
        close(state[b], h[0])
        close(state_bw.c[b], c[0])


def test_bidirectional_without_lengths():
    cell = cells.GRUCell(2), cells.GRUCell(3)
    xs = [tf.constant(x) for x in X]
    outputs, _, state = tf.nn.static_bidirectional_rnn(*cell, xs, dtype=tf.float64, scope="both")
    assert tf.global_variables()[0].name == "both/fw/gru_cell/gates/kernel:0"
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        outputs, state = session.run([outputs, state])
        wanted, h = np.zeros((BATCH, 3)), None
        for t in reversed(range(STEPS)):
            wanted, h = gru_step(weights_of(cell[1], session), X[t], wanted)
            close(outputs[t][:, 2:], wanted)
    close(state, h)


def test_an_initial_state_and_reuse():
    cell = cells.BasicRNNCell(2)
    start = cells.BasicRNNCell(2).zero_state(BATCH, tf.float64) + 1.0
    xs = [tf.constant(x) for x in X]
    one, last = tf.nn.static_rnn(cell, xs, initial_state=start, scope="a")
    with tf.variable_scope("a", reuse=True) as scope:
        again, _ = tf.nn.static_rnn(cells.BasicRNNCell(2), xs, initial_state=start, scope=scope)
    assert [v.name for v in tf.global_variables()] == [
        "a/basic_rnn_cell/kernel:0", "a/basic_rnn_cell/bias:0",
    ]  # fmt: skip
    first, _ = tf.nn.static_rnn(cell, xs[:2], initial_state=start)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        one, again, first, last = session.run([one, again, first, last])
    close(one, again)
    close(first[1], one[1])
    close(last, one[-1])


class Pair(cells.RNNCell):
    """A cell whose inputs, outputs and states are nests, and whose count has no batch."""

    state_size = {"sum": DEPTH, "steps": tf.TensorShape([])}
    output_size = (DEPTH, 1)

    def zero_state(self, batch_size, dtype):
        return {"sum": tf.zeros([batch_size, DEPTH], dtype), "steps": tf.zeros([], tf.int32)}

    def call(self, inputs, state):
        a, b = inputs
        total = state["sum"] + a
        return (total, b), {"sum": total, "steps": state["steps"] + 1}


def test_nested_inputs_and_states():
    xs = [(tf.constant(x), tf.constant(x[:, :1])) for x in X]
    outputs, state = tf.nn.static_rnn(Pair(), xs, dtype=tf.float64, sequence_length=LENGTHS)
    with tf.Session() as session:
        outputs, state = session.run([outputs, state])
    within = np.arange(STEPS)[:, None] < LENGTHS
    close(state["sum"], (X * within[..., None]).sum(0))
    assert state["steps"] == STEPS
    close([y[1] for y in outputs], X[..., :1] * within[..., None])


# -- what is refused ------------------------------------------------------------------------------


def static(inputs=None, cell=None, **more):
    inputs = [tf.constant(x) for x in X] if inputs is None else inputs
    more.setdefault("dtype", tf.float64)
    return tf.nn.static_rnn(cells.GRUCell(2) if cell is None else cell, inputs, **more)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: static(tf.constant(X)), "inputs must be a list with an entry a step"),
        (lambda: static([]), "inputs is empty"),
        (lambda: static(dtype=None), "without an initial_state, dtype must be given"),
        (lambda: static(cell=len), "static_rnn: cell must be an RNNCell"),
        (lambda: static([tf.constant(1.0)]), r"float32\[\], without a batch\n.*test_static_rnn.py"),
        (lambda: static(sequence_length=[1.0] * 4), r"sequence_length must be int32 or int64 \[b"),
        (lambda: static(sequence_length=3), r"int32 or int64 \[batch\], but .* is int32\[\]"),
        (lambda: static(sequence_length=[1, 2]), r"int32\[2\], but the batch of .* is 4"),
        (
            lambda: static(sequence_length=[1, 2, -1, 0]),
            r"static_rnn: sequence_length -1 is outside \[0, 6\)\n.*test_static_rnn.py",
        ),
        (lambda: static(sequence_length=[6, 2, 1, 0]), r"sequence_length 6 is outside \[0, 6\)"),
        (lambda: static(initial_state=np.ones((4, 3))), r"float64\[4,3\].* it must be \[4,2\]"),
        (
            lambda: tf.nn.static_bidirectional_rnn(cells.GRUCell(1), 5, [X[0]], dtype=tf.float64),
            "cell_bw must be an RNNCell",
        ),
    ],
)
def test_wrong_calls(wrong, message):
    with pytest.raises((TypeError, ValueError, OutOfRangeError), match=message):
        wrong()


@pytest.mark.parametrize("length", [-1, 6])
def test_a_length_that_a_run_brings(length, every_backend):
    lengths = tf.placeholder(tf.int64, [None])
    outputs, _ = static(sequence_length=lengths)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        with pytest.raises(OutOfRangeError, match=rf"sequence_length {length} is outside \[0, 6\)"):
            session.run(outputs, {lengths: [0, 5, length, 1]})
        assert session.run(outputs, {lengths: [0, 5, 2, 1]})[0].shape == (4, 2)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: tf.reverse_sequence(X, [1, 2, 3], 0, 0), "are both axis 0"),
        (lambda: tf.reverse_sequence(X, [1, 2, 3]), "seq_axis is needed"),
        (lambda: tf.reverse_sequence(X, [1, 2, 3], 3), "axis 3 is out of range"),
        (lambda: tf.reverse_sequence(X, [1, 2, 3], 0, 1), "one entry for each along axis 1"),
        (lambda: tf.reverse_sequence(X, [[1]], 0, 1), r"seq_lengths must be .* \[batch\]"),
        (lambda: tf.reverse_sequence(X, [6, 1, 1, 1], 0, 1), r"seq_lengths 6 is outside \[0, 6\)"),
    ],
)
def test_wrong_reverses(wrong, message):
    with pytest.raises((ValueError, OutOfRangeError), match=message) as caught:
        wrong()
    assert "test_static_rnn.py" in str(caught.value)
