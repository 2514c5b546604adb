"""Ragged batches: conversions there and back, rows and reductions, on every back end."""

from __future__ import annotations

import numpy as np
import pytest
from running import run

import graphflow as tf
from graphflow.errors import InvalidArgumentError, OutOfRangeError, TypeRuleError

ROWS = [[3, 1, 4], [], [1, 5], [9], []]


def padded(rows, width, inner=(), fill=0):
    made = np.full((len(rows), width, *inner), fill, np.float64)
    for k, row in enumerate(rows):
        if len(row):
            made[k, : len(row)] = row
    return made


def random_rows(lengths, inner=(2,), seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(n, *inner)) for n in lengths]


def test_parts(backend):
    r = tf.ragged.placeholder(tf.int32)
    parts = [
        r, r.values, r.row_lengths(), r.row_splits, r.row_starts(), r.row_limits(),
        r.value_rowids(), r.nrows(),
    ]  # fmt: skip
    with tf.Session(backend=backend) as session:
        whole, *found = session.run(parts, r.feed(ROWS))
        want = [
            [3, 1, 4, 1, 5, 9], [3, 0, 2, 1, 0], [0, 3, 3, 5, 6, 6], [0, 3, 3, 5, 6],
            [3, 3, 5, 6, 6], [0, 0, 0, 2, 2, 3], 5,
        ]  # fmt: skip
        assert [x.tolist() for x in found] == want
        assert isinstance(whole, tf.RaggedTensorValue) and whole.to_list() == ROWS
        # Other rows, none, and only empty ones: the same graph.
        for rows in ([[7]], [], [[], []], [[], [1, 2]]):
            whole, ids = session.run([r, r.value_rowids()], r.feed(rows))
            assert whole.to_list() == rows
            assert ids.tolist() == [k for k, row in enumerate(rows) for _ in row]


@pytest.mark.parametrize("inner", [(), (3,), (2, 2)])
def test_to_tensor_and_back(backend, inner):
    r = tf.ragged.placeholder(tf.float64, inner)
    dense = r.to_tensor()
    filled = r.to_tensor(default_value=-1.0, maximum=6)
    back = r.with_tensor(filled)
    other = tf.RaggedTensor.from_tensor(filled, r.row_lengths(), tf.shape(r.values)[0])
    with tf.Session(backend=backend) as session:
        for lengths in ([2, 0, 5, 1], [0, 0], [3], []):
            rows = random_rows(lengths, inner)
            found = session.run([dense, filled, back, other], r.feed(rows))
            longest = max(lengths, default=0)
            np.testing.assert_array_equal(found[0], padded(rows, longest, inner))
            np.testing.assert_array_equal(found[1], padded(rows, 6, inner, -1))
            for value in found[2:]:
                np.testing.assert_array_equal(value.row_lengths, lengths)
                np.testing.assert_array_equal(value.values, r.feed(rows)[r._fed[0]])


def test_constants_need_no_sizes(backend):
    r = tf.ragged.constant([[1.5, 2.0], [], [3.0]])
    again = tf.RaggedTensor.from_tensor(r.to_tensor(), [2, 0, 1])
    assert r.dtype is tf.float32 and r.to_tensor().shape.as_list() == [3, 2]
    assert again.values.shape.as_list() == [3]
    dense, again = run(backend, [r.to_tensor(), again])
    assert dense.tolist() == [[1.5, 2], [0, 0], [3, 0]]
    assert again.to_list() == [[1.5, 2], [], [3]]


def test_other_ways_to_say_rows(backend):
    values = tf.constant([3, 1, 4, 1, 5, 9])
    splits = tf.placeholder(tf.int64, [None])
    ids = tf.placeholder(tf.int32, [None])
    made = [
        tf.RaggedTensor.from_row_splits(values, splits),
        tf.RaggedTensor.from_value_rowids(values, ids, 5),
        tf.RaggedTensor.from_value_rowids(values, [0, 0, 0, 2, 2, 3]),
        tf.RaggedTensor.from_row_splits(values, [0, 3, 3, 5, 6, 6]),
    ]
    feeds = {splits: [0, 3, 3, 5, 6, 6], ids: [0, 0, 0, 2, 2, 3]}
    found = run(backend, made, feeds)
    assert [f.to_list() for f in found] == [ROWS, ROWS, ROWS[:4], ROWS]


@pytest.mark.parametrize("kind", ["sum", "mean", "prod", "max", "min"])
def test_reductions_of_rows(backend, kind):
    r = tf.ragged.placeholder(tf.float64, (2,))
    lengths = [3, 0, 1, 4]
    rows = random_rows(lengths)
    result = getattr(r, f"reduce_{kind}")()
    (slopes,) = tf.gradients(result[2:] ** 2, r.values)
    found, gradient = run(backend, [result, slopes], r.feed(rows))
    empty = {"sum": 0, "mean": 0, "prod": 1, "max": tf.float64.min, "min": tf.float64.max}[kind]
    for row, value in zip(rows, found, strict=True):
        want = getattr(np, kind)(row, 0) if len(row) else np.full(2, empty)
        np.testing.assert_allclose(value, want, rtol=1e-12)
    assert not gradient[:3].any() and gradient[3:].any()


def test_functions_of_values(backend):
    r, s = tf.ragged.placeholder(tf.float64), tf.ragged.placeholder(tf.float64)
    y = tf.ragged.map_flat_values(
        lambda a, b, c: a * 2.0 + b - c, r, s, c=tf.constant(1.0, tf.float64)
    )
    rows = [[1, 2], [], [3]]
    feeds = {**r.feed(rows), **s.feed([[5, 6], [], [7]])}
    with tf.Session(backend=backend) as session:
        assert session.run(y, feeds).to_list() == [[6, 9], [], [12]]
        with pytest.raises(InvalidArgumentError, match="the rows have different lengths"):
            session.run(y, {**feeds, **s.feed([[5], [6], [7]])})


def test_gradients_through_padding(backend):
    r = tf.ragged.placeholder(tf.float64, (2,))
    weights = tf.placeholder(tf.float64, [None, None, 2])
    dense = r.to_tensor()
    total = tf.reduce_sum(r.with_tensor(dense * dense).values * 3.0) + tf.reduce_sum(
        dense * weights
    )
    (slopes,) = tf.gradients(total, r.values)
    rows = random_rows([2, 0, 3])
    w = np.random.default_rng(1).normal(size=(3, 3, 2))
    found = run(backend, slopes, {**r.feed(rows), weights: w})
    want = [6 * row + w[k, : len(row)] for k, row in enumerate(rows)]
    np.testing.assert_allclose(found, np.concatenate(want), rtol=1e-12)


def test_a_recurrence_over_ragged_rows(backend):
    """Equal to each row by itself."""
    r = tf.ragged.placeholder(tf.int32)
    table = tf.get_variable("table", [10, 3])
    cell = tf.nn.rnn_cell.GRUCell(4)
    embedded = tf.ragged.map_flat_values(lambda ids: tf.nn.embedding_lookup(table, ids), r)
    outputs, state = tf.nn.dynamic_rnn(
        cell, embedded.to_tensor(), sequence_length=r.row_lengths(), dtype=tf.float32
    )
    rows_of_outputs = r.with_tensor(outputs)
    with tf.Session(backend=backend) as session:
        session.run(tf.global_variables_initializer())
        found, last = session.run([rows_of_outputs, state], r.feed(ROWS))
        for row, values, at_end in zip(ROWS, found.to_list(), last, strict=True):
            alone, end = session.run([rows_of_outputs, state], r.feed([row]))
            # A product of one row may be summed in another order, which leaves 1e-8 of float32
            # states around 0.1: much of those that happen to be close to 0.
            near = {"rtol": 1e-5, "atol": 1e-7}
            np.testing.assert_allclose(np.reshape(values, (-1, 4)), alone.values, **near)
            np.testing.assert_allclose(at_end, end[0], **near)


def test_a_ragged_batch_as_a_loop_variable(backend):
    r = tf.ragged.placeholder(tf.float32)
    n = tf.placeholder(tf.int32, [])
    _, doubled = tf.while_loop(
        lambda i, x: i < n,
        lambda i, x: (i + 1, tf.ragged.map_flat_values(lambda v: v * 2.0, x)),
        (0, r),
    )
    either = tf.cond(n > 2, lambda: r, lambda: doubled)
    found = run(backend, [doubled, either], {**r.feed([[1], [], [2, 3]]), n: 2})
    assert [f.to_list() for f in found] == [[[4], [], [8, 12]]] * 2


def test_wrong_rows(backend):
    values = tf.placeholder(tf.float32, [None])
    lengths = tf.placeholder(tf.int32, [None])
    r = tf.RaggedTensor.from_row_lengths(values, lengths)
    dense = r.to_tensor(maximum=2)
    with tf.Session(backend=backend) as session:
        with pytest.raises(InvalidArgumentError, match="do not add up to the number of values"):
            session.run(r, {values: [1, 2, 3], lengths: [1, 1]})
        with pytest.raises(OutOfRangeError, match="row length -1 is outside"):
            session.run(r, {values: [1, 2, 3], lengths: [3, 1, -1]})
        with pytest.raises(OutOfRangeError, match=r"to_tensor: row length 3 is outside \[0, 3\)"):
            session.run(dense, {values: [1, 2, 3], lengths: [0, 3]})
    constant = tf.constant([1.0, 2.0, 3.0])
    with pytest.raises(InvalidArgumentError, match="do not add up"):
        tf.RaggedTensor.from_row_lengths(constant, [1, 1])
    with pytest.raises(InvalidArgumentError, match="begin with 0"):
        tf.RaggedTensor.from_row_splits(constant, [1, 3])
    with pytest.raises(InvalidArgumentError, match="must not decrease"):
        tf.RaggedTensor.from_value_rowids(constant, [0, 1, 0])


def test_wrong_arguments():
    r = tf.RaggedTensor.from_row_lengths(
        tf.placeholder(tf.float32, [None]), tf.placeholder(tf.int32, [None])
    )
    with pytest.raises(TypeRuleError, match="maximum is needed"):
        r.to_tensor()
    with pytest.raises(TypeRuleError, match="total is needed"):
        tf.RaggedTensor.from_tensor(tf.zeros([2, 3]), r.row_lengths())
    with pytest.raises(TypeRuleError, match="nrows is needed"):
        tf.RaggedTensor.from_value_rowids(r.values, r.row_lengths())
    with pytest.raises(TypeRuleError, match="is a ragged batch and no tensor"):
        tf.exp(r)
    with pytest.raises(ValueError, match=r"only what ragged\.placeholder made can be fed"):
        r.feed([[1]])
    with pytest.raises(ValueError, match="only the second dimension may be ragged"):
        tf.ragged.constant([[[1, 2]], [[1, 2, 3]]])
    with pytest.raises(ValueError, match="row 1 is 3, not a list"):
        tf.ragged.constant([[1], 3])
    with pytest.raises(TypeRuleError, match="there must be 2 of them"):
        tf.ragged.constant([[1], [2]]).with_values([1, 2, 3])
    with pytest.raises(ValueError, match="no argument is a RaggedTensor"):
        tf.ragged.map_flat_values(tf.exp, tf.constant(1.0))


@pytest.mark.parametrize("function", [tf.map_fn, tf.vectorized_map, tf.foldl, tf.scan])
def test_what_is_no_tensor_has_no_rows_to_go_through(function):
    """The values and lengths of a ragged batch are not its rows, even where there are as many."""
    array = tf.TensorArray(tf.float32, 2).unstack([1.0, 2.0])
    for elems in (tf.ragged.constant([[1.0], [2.0]]), array):
        with pytest.raises(TypeRuleError, match="give it as a tensor"):
            function(lambda *rows: rows[-1], elems)
