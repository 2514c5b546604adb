"""Batches of sequences of different lengths: each as if it were alone, whatever its padding holds.

The nets are large enough for products of dead rows to be left out (`dead_rows`).
"""

from __future__ import annotations

import numpy as np
import pytest

import graphflow as tf

DEPTH, UNITS, STEPS = 40, 36, 7
LENGTHS = np.array([3, 0, 7, 1, 7, 2, 5, 4, 0, 6, 1, 3, 2, 7, 5, 2], np.int32)
CELLS = {
    "lstm": lambda: tf.nn.rnn_cell.LSTMCell(UNITS, use_peepholes=True),
    "projected": lambda: tf.nn.rnn_cell.LSTMCell(UNITS, num_proj=20),
    "gru": lambda: tf.nn.rnn_cell.GRUCell(UNITS),
    "two": lambda: tf.nn.rnn_cell.MultiRNNCell([tf.nn.rnn_cell.BasicRNNCell(UNITS + 40 * k)
                                                for k in (1, 2)]),
}  # fmt: skip


def net(cell, dtype=tf.float64, both=False):
    """(placeholders, [outputs, states], [a loss, its gradients])"""
    x = tf.placeholder(dtype, [None, None, DEPTH])
    n = tf.placeholder(tf.int32, [None])
    if both:
        outputs, states = tf.nn.bidirectional_dynamic_rnn(
            CELLS[cell](), CELLS[cell](), x, n, dtype=dtype
        )
    else:
        outputs, states = tf.nn.dynamic_rnn(CELLS[cell](), x, n, dtype=dtype)
    values = [*tf.nest.flatten(outputs), *tf.nest.flatten(states)]
    loss = tf.add_n([tf.reduce_sum(tf.sin(value * (1.0 + k))) for k, value in enumerate(values)])
    slopes = tf.gradients(loss, [x, *tf.trainable_variables()])
    return (x, n), values, [loss, *slopes]


def padded(rng, dtype=np.float64):
    """A batch with NaN behind the ends of its sequences."""
    x = rng.standard_normal((len(LENGTHS), STEPS, DEPTH)).astype(dtype)
    x[np.arange(STEPS) >= LENGTHS[:, None]] = np.nan
    return x


def initialize(session, rng):
    for variable in tf.trainable_variables():
        variable.load(rng.standard_normal(variable.shape.as_list()) * 0.2, session)


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_each_sequence_is_as_if_it_were_alone(cell, both):
    rng = np.random.default_rng(0)
    (x, n), values, slopes = net(cell, both=both)
    batch = padded(rng)
    with tf.Session() as session:
        initialize(session, rng)
        found, derived = session.run([values, slopes], {x: batch, n: LENGTHS})
        sums = [0.0] * (len(slopes) - 1)
        for row, length in enumerate(LENGTHS):
            alone = {x: batch[row : row + 1, :length], n: LENGTHS[row : row + 1]}
            wanted, (loss, of_x, *of_weights) = session.run([values, slopes], alone)
            for got, want in zip(found, wanted, strict=True):
                if want.ndim == 3:  # outputs: zeros behind the end
                    assert not got[row, length:].any()
                    got = got[:, :length]
                np.testing.assert_allclose(got[row], want[0], rtol=1e-11, atol=1e-12)
            np.testing.assert_allclose(derived[1][row, :length], of_x[0], rtol=1e-10, atol=1e-11)
            assert not derived[1][row, length:].any()
            sums = [a + b for a, b in zip(sums, [loss, *of_weights], strict=True)]
    for got, want in zip([derived[0], *derived[2:]], sums, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("both", [False, True])
def test_nothing_changes_by_what_is_left_out(both):
    """To second order, in float32; the values to the last bit."""
    rng = np.random.default_rng(1)
    (x, n), values, (loss, *slopes) = net("lstm", tf.float32, both)
    curves = tf.gradients(tf.add_n([tf.reduce_sum(s * s) for s in slopes]),
                          [x, *tf.trainable_variables()])  # fmt: skip
    feeds = {x: padded(rng, np.float32), n: LENGTHS}
    results = []
    for disable in ((), ("dead_rows",)):
        with tf.Session(config=tf.ConfigProto(disable=disable)) as session:
            initialize(session, np.random.default_rng(2))
            results.append([session.run(fetched, feeds) for fetched in (values, slopes, curves)])
    for got, want in zip(*(result[0] for result in results), strict=True):
        np.testing.assert_array_equal(got, want)
    for order, rtol in ((1, 1e-5), (2, 1e-4)):
        for got, want in zip(*(result[order] for result in results), strict=True):
            np.testing.assert_allclose(got, want, rtol=rtol, atol=rtol * np.abs(want).max())


def test_rows_chosen_by_hand():
    """A recurrence of one's own, whose rows come and go, with what is predicted in it."""
    x = tf.placeholder(tf.float64, [None, 11, DEPTH])
    w = tf.placeholder(tf.float64, [DEPTH, DEPTH])
    u = tf.placeholder(tf.float64, [DEPTH, DEPTH + 70])

    def step(state, row):
        live = row[:, 0] + state[:, 0] > 0
        seen = tf.where(live, state, tf.zeros_like(state))
        made = tf.tanh(tf.matmul(seen, w) + row)
        made = made + tf.matmul(tf.where(live, made, tf.zeros_like(made)), u)[:, :DEPTH]
        return tf.where(live, made, state * 0.5)

    last = tf.foldl(step, x, initializer=tf.zeros([11, DEPTH], tf.float64))
    loss = tf.reduce_sum(tf.sin(last))
    fetches = [last, *tf.gradients(loss, [x, w, u])]
    rng = np.random.default_rng(3)
    feeds = {t: rng.standard_normal(shape) * 0.3
             for t, shape in ((x, (6, 11, DEPTH)), (w, w.dims), (u, u.dims))}  # fmt: skip
    with tf.Session() as session, tf.Session(backend="reference") as reference:
        for got, want in zip(session.run(fetches, feeds), reference.run(fetches, feeds),
                             strict=True):  # fmt: skip
            np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-12)
