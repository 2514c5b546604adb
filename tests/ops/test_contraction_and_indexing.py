"""What wrong contractions, indices and orders say; and how graphs of these look."""

from __future__ import annotations

import numpy as np
import pytest

import graphflow as tf
from graphflow.errors import GraphError, OutOfRangeError, TypeRuleError
from graphflow.ir.node import topological


def floats(*shape):
    return tf.placeholder(tf.float32, list(shape))


def ints(*shape):
    return tf.placeholder(tf.int32, list(shape))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: tf.matmul(floats(2, 3), floats(4, 5)), "inner sizes 3 and 4 must be equal"),
        (lambda: tf.matmul(floats(2, 3), floats(2, 3)), r"float32\[2,3\]"),
        (lambda: tf.matmul(floats(3), floats(3, 2)), "rank of at least 2; matvec"),
        (lambda: tf.matmul(floats(5, 2, 3), floats(4, 3, 2)), "5.*4.*equal, or one of them 1"),
        (lambda: tf.matmul(floats(2, 2), tf.constant(np.eye(2))), "float32 and float64"),
        (lambda: tf.matmul(tf.constant([[True]]), tf.constant([[True]])), "cast them"),
        (lambda: tf.matmul(tf.placeholder(tf.float32), floats(2, 2)), "rank of .* is unknown"),
        (
            lambda: tf.matmul(floats(2, 2), floats(2, 2), transpose_a=True, adjoint_a=True),
            "not both",
        ),
        (lambda: tf.tensordot(floats(2, 3), floats(2, 3), 1), "sizes 3 and 2 must be equal"),
        (lambda: tf.tensordot(floats(2, 3), floats(2, 3), 3), "axes=3"),
        (lambda: tf.tensordot(floats(2, 3), floats(2, 3), [[0], [0, 1]]), "pair distinct"),
        (lambda: tf.tensordot(floats(2, 3), floats(1, 3), [[0], [0]]), "must be equal"),
        (lambda: tf.einsum("ij,jk", floats(2, 3)), "2 terms, but there are 1 inputs"),
        (lambda: tf.einsum("ij->k", floats(2, 3)), "output label 'k'"),
        (lambda: tf.einsum("ij->ii", floats(2, 3)), "occurs twice in the output"),
        (lambda: tf.einsum("ijk->i", floats(2, 3)), "does not fit"),
        (lambda: tf.einsum("i1->i", floats(2, 3)), "not an equation"),
        (lambda: tf.einsum("ij,jk", floats(2, 3), floats(4, 5)), "'j' .* sizes 3 and 4"),
        (lambda: tf.einsum("ii->i", floats(2, 3)), "'i' stands for sizes 2 and 3"),
        (lambda: tf.gather(floats(2, 3), floats(2)), "float32; they must be int32 or int64"),
        (lambda: tf.gather(floats(2, 3), [0, 2]), r"gather: index 2 is outside \[0, 2\)"),
        (lambda: tf.gather(floats(2, 3), [-1]), r"index -1 is outside \[0, 2\)"),
        (lambda: tf.gather(floats(2, 3), ints(2), axis=2), "axis 2 is out of range"),
        (lambda: tf.gather(floats(2, 3), ints(4), batch_dims=1, axis=1), "2 in .* and 4"),
        (lambda: tf.gather_nd(floats(2, 3), ints(4, 3)), "at most the rank"),
        (lambda: tf.gather_nd(floats(2, 3), [[0, 3]]), r"index 3 is outside \[0, 3\)"),
        (lambda: tf.scatter_nd(ints(4, 1), floats(3, 2), [5, 2]), "they must be"),
        (lambda: tf.scatter_nd([[5]], floats(1, 2), [5, 2]), r"index 5 is outside \[0, 5\)"),
        (lambda: tf.one_hot(floats(2), 3), "not integers"),
        (lambda: tf.one_hot(ints(2), -3), "must not be negative"),
        (lambda: tf.one_hot(ints(2), 3, axis=2), "axis 2"),
        (lambda: tf.segment_sum(floats(3), ints(3)), "use unsorted_segment_sum"),
        (lambda: tf.segment_sum(floats(3), [1, 0, 2]), "sorted"),
        (lambda: tf.unsorted_segment_sum(floats(2), [0, 3], 3), r"segment id 3 is outside \[0, 3"),
        (lambda: tf.nn.top_k(floats(2, 3), 4), r"k=4 must be in \[0, 3\]"),
        (lambda: tf.nn.top_k(tf.constant(3.0), 1), "scalar"),
        (lambda: tf.sort(floats(2, 3), direction="UP"), "'ASCENDING' or 'DESCENDING'"),
        (lambda: tf.sort(tf.constant([True])), "no order"),
        (lambda: tf.nn.in_top_k(floats(3), ints(3), 1), r"\[batch, classes\]"),
        (lambda: tf.nn.embedding_lookup([], ints(3)), "empty"),
        (
            lambda: tf.nn.embedding_lookup([floats(2, 1), floats(2, 1)], ints(3), "hash"),
            "'mod' or 'div'",
        ),
        (
            lambda: tf.nn.embedding_lookup(floats(2, 3), [2]),
            r"embedding_lookup: index 2 is outside",
        ),
        (lambda: tf.nn.embedding_lookup(tf.constant(1.0), ints(3)), "scalar .* has no rows"),
        (lambda: tf.nn.embedding_lookup(floats(2, 3), floats(2)), "float32; they must be int32"),
        (lambda: tf.sequence_mask([1, 2], -3), "maxlen must not be negative, got -3"),
        (lambda: tf.sequence_mask([1.0, 2.0], 3), "lengths are integers"),
        (lambda: tf.broadcast_to(1.0, [2, -3]), "negative dimension"),
        (lambda: tf.eye(-2), "size -2 is negative"),
        (lambda: tf.invert_permutation(ints(2, 2)), "not a vector"),
    ],
)
def test_errors_at_definition(build, message):
    with pytest.raises((GraphError, ValueError), match=message) as caught:
        build()
    if isinstance(caught.value, GraphError):
        assert "test_contraction_and_indexing.py" in str(caught.value)


@pytest.mark.parametrize("backend", ["compiled", "op-by-op", "reference"])
@pytest.mark.parametrize(
    ("build", "indices", "message"),
    [
        (lambda x, i: tf.gather(x, i), [0, 3], r"gather: index 3 is outside \[0, 3\)"),
        (lambda x, i: tf.gather(x, i), [-1, 0], r"gather: index -1 is outside \[0, 3\)"),
        (lambda x, i: tf.gather(x, i, axis=1), [0, 2], r"gather: index 2 is outside \[0, 2\)"),
        (lambda x, i: tf.gather_nd(x, tf.stack([i], 1)), [7, 0], r"index 7 is outside \[0, 3\)"),
        (
            lambda x, i: tf.scatter_nd(tf.stack([i], 1), x[:2], [4, 2]),
            [4, 0],
            r"scatter_nd: index 4 is outside \[0, 4\)",
        ),
        (
            lambda x, i: tf.unsorted_segment_sum(x[:2], i, 3),
            [-1, 3],
            r"unsorted_segment_sum: index 3 is outside \[0, 3\)",
        ),
        (
            lambda x, i: tf.nn.embedding_lookup(x, i),
            [-1, 1],
            r"embedding_lookup: index -1 is outside \[0, 3\)",
        ),
        (lambda x, i: tf.invert_permutation(i), [0, 2], r"index 2 is outside \[0, 2\)"),
    ],
)
def test_errors_of_a_run(backend, build, indices, message):
    x, i = tf.placeholder(tf.float32, [None, 2]), ints(None)
    y = build(x, i)
    session = tf.Session(config=tf.ConfigProto(cache=False), backend=backend)
    with session, pytest.raises(OutOfRangeError, match=message) as caught:
        session.run(y, {x: np.zeros((3, 2), np.float32), i: indices})
    assert "test_contraction_and_indexing.py" in str(caught.value)


def test_too_few_elements_for_top_k_are_an_error_of_the_run():
    x = floats(None)
    values, _ = tf.nn.top_k(x, 3)
    with tf.Session(config=tf.ConfigProto(cache=False)) as session:
        assert session.run(values, {x: [1, 3, 2, 4]}).tolist() == [4, 3, 2]
        with pytest.raises(OutOfRangeError, match="top_k: index 2 is outside"):
            session.run(values, {x: [1, 3]})


def operations(tensor):
    return [n.op.name for n in topological([tensor.node]) if n.op.name != "placeholder"]


def test_products_need_no_copies_of_their_operands():
    assert operations(tf.matmul(floats(5, 2, 3), floats(3, 4))) == ["contract"]
    assert operations(tf.matmul(floats(3, 2), floats(3, 4), transpose_a=True)) == ["contract"]
    assert operations(tf.einsum("bij,bjk->bik", floats(5, 2, 3), floats(5, 3, 4))) == ["contract"]
    assert operations(tf.einsum("i,i->i", floats(5), floats(5))) == ["mul"]
    assert operations(tf.einsum("bi,bi->b", floats(4, 5), floats(4, 5))) == ["mul", "reduce"]
    broadcast = tf.matmul(floats(2, 1, 3, 4), floats(5, 4, 2))
    assert "broadcast_to" not in operations(broadcast) and broadcast.dims == (2, 5, 3, 2)


def test_batches_of_unknown_size_multiply():
    a, b = floats(None, 2, 3), floats(None, 3, 4)
    product = tf.matmul(a, b)
    assert product.dims[1:] == (2, 4)
    with tf.Session(backend="reference") as session:
        feeds = {a: np.ones((5, 2, 3)), b: np.ones((5, 3, 4))}
        assert session.run(product, feeds).shape == (5, 2, 4)
        with pytest.raises(GraphError, match="must be equal"):
            session.run(product, {a: np.ones((5, 2, 3)), b: np.ones((4, 3, 4))})


def test_a_checked_index_is_not_checked_again():
    from graphflow.ops.index_check import checked

    table, ids = floats(9, 2), ints(4)
    rows = tf.gather(table, ids)
    (g,) = tf.gradients(rows, table)
    assert operations(rows) == ["check_index", "gather"]
    assert checked(g.indices, 9, "scatter_sub") is g.indices
    assert checked(g.indices, 8, "scatter_sub") is not g.indices


def test_names_of_results():
    assert tf.matmul(floats(2, 2), floats(2, 2), name="product").name == "product:0"
    assert tf.einsum("ij->ji", floats(2, 2), name="turned").name == "turned:0"
    assert tf.gather(floats(2, 2), ints(3), name="rows").name == "rows:0"
    assert tf.random_uniform([2], name="noise").name == "noise:0"
    with pytest.raises(TypeRuleError):
        tf.matmul(floats(2, 2), 3.0, name="product")


def test_a_failed_scatter_leaves_the_variable_as_it_was():
    v = tf.Variable(np.arange(6, dtype=np.float32).reshape(3, 2))
    ids = ints(None)
    update = tf.scatter_add(v, ids, 1.0)
    with tf.Session(config=tf.ConfigProto(cache=False)) as session:
        session.run(v.initializer)
        before = session.run(v)
        with pytest.raises(OutOfRangeError, match=r"scatter_add: index 3 is outside \[0, 3\)"):
            session.run(update, {ids: [0, 3, 1]})
        assert np.array_equal(session.run(v), before)
        assert session.run(update, {ids: [0, 2, 0]}).tolist() == [[2, 3], [2, 3], [5, 6]]
