"""Wrong programs: each gives one short message that blames the right line of the program.

A program is a function; the line it must blame ends in the comment `# blame`. What a message must
say stands in the decorator.
"""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import graphflow as tf

PROGRAMS: list = []


def wrong(*words: str, line: bool = True):
    """Registers a wrong program whose message has these words, and its blamed line."""

    def register(function):
        PROGRAMS.append(pytest.param(function, words, line, id=function.__name__))
        return function

    return register


def blamed_line(function) -> int:
    source, first = inspect.getsourcelines(function)
    for offset, text in enumerate(source):
        if text.rstrip().endswith("# blame"):
            return first + offset
    raise AssertionError(f"{function.__name__} has no line marked # blame")


@pytest.mark.parametrize(("function", "words", "line"), PROGRAMS)
def test_wrong_program(function, words, line):
    with pytest.raises((tf.errors.GraphError, TypeError, ValueError, RuntimeError)) as caught:
        function()
    message = str(caught.value)
    assert len(message.splitlines()) < 12, message
    for word in words:
        assert word in message, f"{word!r} is missing in:\n{message}"
    if line:
        assert f"test_wrong_programs.py:{blamed_line(function)}" in message, message


def test_there_are_at_least_sixty():
    assert len(PROGRAMS) >= 60


def started(session):
    session.run(tf.global_variables_initializer())
    return session


X = np.ones((2, 3), np.float32)

# -- shapes that do not fit, at definition --------------------------------------------------------


@wrong("matmul", "float32[2,3]", "float32[4,5]")
def matmul_sizes():
    a, b = tf.zeros([2, 3]), tf.zeros([4, 5])
    tf.matmul(a, b)  # blame


@wrong("matmul", "rank")
def matmul_rank():
    a, b = tf.zeros([3]), tf.zeros([3, 5])
    tf.matmul(a, b)  # blame


@wrong("add", "[2,3]", "[4]")
def add_shapes():
    a, b = tf.zeros([2, 3]), tf.zeros([4])
    a + b  # blame


@wrong("mul", "float32[2,3]", "float32[2]")
def multiply_shapes():
    a, b = tf.placeholder(tf.float32, [2, 3]), tf.placeholder(tf.float32, [2])
    a * b  # blame


@wrong("reshape", "[2,3]")
def reshape_count():
    x = tf.zeros([2, 3])
    tf.reshape(x, [4])  # blame


@wrong("reshape", "-1")
def reshape_two_unknowns():
    x = tf.zeros([2, 3])
    tf.reshape(x, [-1, -1])  # blame


@wrong("transpose", "perm")
def transpose_permutation():
    x = tf.zeros([2, 3])
    tf.transpose(x, [0, 0])  # blame


@wrong("concat")
def concat_sizes():
    a, b = tf.zeros([2, 3]), tf.zeros([2, 4])
    tf.concat([a, b], axis=0)  # blame


@wrong("concat", "axis")
def concat_axis():
    a, b = tf.zeros([2, 3]), tf.zeros([2, 3])
    tf.concat([a, b], axis=2)  # blame


@wrong("stack")
def stack_shapes():
    a, b = tf.zeros([2]), tf.zeros([3])
    tf.stack([a, b])  # blame


@wrong("split", "3")
def split_uneven():
    x = tf.zeros([4, 2])
    tf.split(x, 3, axis=0)  # blame


@wrong("squeeze")
def squeeze_not_one():
    x = tf.zeros([2, 3])
    tf.squeeze(x, axis=[0])  # blame


@wrong("axis")
def reduce_axis():
    x = tf.zeros([2, 3])
    tf.reduce_sum(x, axis=2)  # blame


@wrong("axis")
def argmax_axis():
    x = tf.zeros([2, 3])
    tf.argmax(x, axis=5)  # blame


@wrong("expand_dims", "axis")
def expand_dims_axis():
    x = tf.zeros([2, 3])
    tf.expand_dims(x, axis=7)  # blame


@wrong("broadcast_to")
def broadcast_to_smaller():
    x = tf.zeros([2, 3])
    tf.broadcast_to(x, [2, 1])  # blame


@wrong("tile")
def tile_rank():
    x = tf.zeros([2, 3])
    tf.tile(x, [2])  # blame


@wrong("pad")
def pad_rank():
    x = tf.zeros([2, 3])
    tf.pad(x, [[1, 1]])  # blame


@wrong("index", "3")
def index_outside():
    x = tf.zeros([2, 3])
    x[3]  # blame


@wrong("indices")
def too_many_indices():
    x = tf.zeros([2, 3])
    x[0, 0, 0]  # blame


@wrong("slice")
def slice_outside():
    x = tf.zeros([2, 3])
    tf.slice(x, [0, 2], [1, 4])  # blame


@wrong("einsum")
def einsum_sizes():
    a, b = tf.zeros([2, 3]), tf.zeros([4, 5])
    tf.einsum("ij,jk->ik", a, b)  # blame


@wrong("einsum")
def einsum_letters():
    a = tf.zeros([2, 3])
    tf.einsum("ijk->ij", a)  # blame


@wrong("contract", "3", "4")
def tensordot_sizes():
    a, b = tf.zeros([2, 3]), tf.zeros([4, 5])
    tf.tensordot(a, b, axes=1)  # blame


@wrong("select")
def where_shapes():
    a, b = tf.zeros([2, 3]), tf.zeros([3, 3])
    tf.where(tf.ones([2, 3], tf.bool), a, b)  # blame


@wrong("mean_squared_error")
def loss_shapes():
    a, b = tf.zeros([4, 2]), tf.zeros([4, 3])
    tf.losses.mean_squared_error(a, b)  # blame


@wrong("rank")
def unknown_rank_matmul():
    x = tf.placeholder(tf.float32)
    tf.matmul(x, tf.zeros([2, 2]))  # blame


@wrong("dense", "last")
def dense_unknown_last():
    x = tf.placeholder(tf.float32, [2, None])
    tf.layers.dense(x, 3)  # blame


# -- dtypes ----------------------------------------------------------------------------------------


@wrong("float32", "int32")
def add_dtypes():
    a, b = tf.zeros([2]), tf.zeros([2], tf.int32)
    a + b  # blame


@wrong("float32", "float64")
def matmul_dtypes():
    a, b = tf.zeros([2, 2]), tf.zeros([2, 2], tf.float64)
    tf.matmul(a, b)  # blame


@wrong("int32")
def float_literal_beside_int():
    a = tf.zeros([2], tf.int32)
    a + 0.5  # blame


@wrong("sqrt", "int32")
def sqrt_of_int():
    a = tf.ones([2], tf.int32)
    tf.sqrt(a)  # blame


@wrong("logical_and", "float32")
def logical_of_float():
    a = tf.ones([2])
    tf.logical_and(a, a)  # blame


@wrong("bool")
def condition_not_bool():
    a = tf.ones([2])
    tf.where(a, a, a)  # blame


@wrong("indices", "float32")
def gather_float_indices():
    a = tf.ones([4, 2])
    tf.gather(a, tf.constant([0.0, 1.0]))  # blame


@wrong("float32")
def bitwise_of_float():
    a = tf.ones([2])
    tf.bitwise.bitwise_and(a, a)  # blame


@wrong("complex64", line=False)
def no_such_dtype():
    tf.placeholder("complex64", [2])  # blame


@wrong("string", line=False)
def constant_of_text():
    tf.constant(["a", "b"])  # blame


# -- graphs ----------------------------------------------------------------------------------------


@wrong("another graph")
def tensors_of_two_graphs():
    with tf.Graph().as_default():
        a = tf.zeros([2])
    b = tf.zeros([2])
    a + b  # blame


@wrong("finalized")
def finalized_graph():
    graph = tf.Graph()
    with graph.as_default():
        a = tf.zeros([2])
        graph.finalize()
        a + a  # blame


@wrong("another graph", line=False)
def fetch_from_another_graph():
    with tf.Graph().as_default():
        a = tf.zeros([2])
    tf.zeros([2])
    with tf.Session() as session:
        session.run(a)  # blame


@wrong("another graph", "x:0")
def feed_from_another_graph():
    with tf.Graph().as_default():
        other = tf.placeholder(tf.float32, [2], name="x")
    x = tf.placeholder(tf.float32, [2], name="x")  # blame
    y = x + 1
    with tf.Session() as session:
        session.run(y, {other: [1, 2]})


@wrong("nothing_like_this", line=False)
def fetch_unknown_name():
    tf.zeros([2])
    with tf.Session() as session:
        session.run("nothing_like_this:0")  # blame


@wrong("fetch", "3.5", line=False)
def fetch_a_number():
    tf.zeros([2])
    with tf.Session() as session:
        session.run(3.5)  # blame


# -- feeds -----------------------------------------------------------------------------------------


@wrong("x", "y")
def missing_feed():
    x = tf.placeholder(tf.float32, [2], name="x")  # blame
    y = tf.identity(x + 1, name="y")
    with tf.Session() as session:
        session.run(y)


@wrong("x", "rank")
def feed_rank():
    x = tf.placeholder(tf.float32, [None, 3], name="x")  # blame
    with tf.Session() as session:
        session.run(x + 1, {x: np.ones(3, np.float32)})


@wrong("x", "axis 1", "4", "3")
def feed_size():
    x = tf.placeholder(tf.float32, [None, 3], name="x")  # blame
    with tf.Session() as session:
        session.run(x + 1, {x: np.ones((2, 4), np.float32)})


@wrong("transposed")
def feed_transposed():
    x = tf.placeholder(tf.float32, [5, 3], name="x")  # blame
    with tf.Session() as session:
        session.run(x + 1, {x: np.ones((3, 5), np.float32)})


@wrong("text")
def feed_text():
    x = tf.placeholder(tf.float32, [2], name="x")  # blame
    with tf.Session() as session:
        session.run(x + 1, {x: ["a", "b"]})


@wrong("lengths")
def feed_ragged():
    x = tf.placeholder(tf.float32, [None, None], name="x")  # blame
    with tf.Session() as session:
        session.run(x + 1, {x: [[1, 2], [3]]})


@wrong("objects")
def feed_objects():
    x = tf.placeholder(tf.float32, [2], name="x")  # blame
    with tf.Session() as session:
        session.run(x + 1, {x: np.array([object(), object()])})


@wrong("complex")
def feed_complex():
    x = tf.placeholder(tf.float32, [2], name="x")  # blame
    with tf.Session() as session:
        session.run(x + 1, {x: np.array([1j, 2j])})


@wrong("not a tensor")
def feed_a_tensor():
    x = tf.placeholder(tf.float32, [2], name="x")  # blame
    y = x + 1
    with tf.Session() as session:
        session.run(y, {x: tf.zeros([2])})


@wrong("x", "y", "2", "3")
def disagreeing_sizes():
    x = tf.placeholder(tf.float32, [None, 2], name="x")
    y = tf.placeholder(tf.float32, [None, 2], name="y")
    z = x + y  # blame
    with tf.Session() as session:
        session.run(z, {x: np.ones((2, 2), np.float32), y: np.ones((3, 2), np.float32)})


@wrong("n", "4")
def disagreeing_contraction():
    x = tf.placeholder(tf.float32, [2, None], name="n")
    y = tf.zeros([4, 5])
    z = tf.matmul(x, y)  # blame
    with tf.Session() as session:
        session.run(z, {x: np.ones((2, 3), np.float32)})


# -- variables -------------------------------------------------------------------------------------


@wrong("w", "v", "not initialised")
def uninitialised_variables():
    w = tf.Variable(tf.zeros([2]), name="w")  # blame
    v = tf.Variable(tf.zeros([2]), name="v")
    with tf.Session() as session:
        session.run(w + v)


@wrong("w", "assign")
def two_unordered_assigns():
    w = tf.Variable(tf.zeros([2]), name="w")
    a = tf.assign(w, [1.0, 2.0])
    b = tf.assign(w, [3.0, 4.0])  # blame
    with tf.Session() as session:
        started(session).run([a, b])


@wrong("w", "[3]", "[2]")
def assign_shape():
    w = tf.Variable(tf.zeros([2]), name="w")
    tf.assign(w, tf.zeros([3]))  # blame


@wrong("w", "float32", "int32")
def assign_dtype():
    w = tf.Variable(tf.zeros([2]), name="w")
    tf.assign(w, tf.zeros([2], tf.int32))  # blame


@wrong("w", "n")
def initialiser_needs_a_placeholder():
    n = tf.placeholder(tf.float32, [2], name="n")  # blame
    tf.Variable(n * 2, name="w")
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())


@wrong("w", "exists", line=False)
def variable_name_taken():
    tf.get_variable("w", [2])
    tf.get_variable("w", [2])  # blame


@wrong("w", "not exist", line=False)
def reuse_of_nothing():
    with tf.variable_scope("scope", reuse=True):
        tf.get_variable("w", [2])  # blame


@wrong("no variable", line=False)
def nothing_to_train():
    x = tf.zeros([2])
    tf.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_sum(x))  # blame


# -- while running ---------------------------------------------------------------------------------


@wrong("gather", "7", "4")
def gather_index():
    table = tf.Variable(tf.zeros([4, 2]), name="table")
    ids = tf.placeholder(tf.int32, [None])
    rows = tf.gather(table, ids)  # blame
    with tf.Session() as session:
        started(session).run(rows, {ids: [0, 7]})


@wrong("sparse_softmax", "9", "4")
def label_outside():
    labels = tf.placeholder(tf.int32, [None])
    logits = tf.zeros([2, 4])
    loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)  # blame
    with tf.Session() as session:
        session.run(loss, {labels: [0, 9]})


@wrong("assert")
def failed_assertion():
    x = tf.placeholder(tf.float32, [None], name="x")
    check = tf.Assert(tf.reduce_all(x > 0), [x])  # blame
    with tf.control_dependencies([check]):
        y = x * 2
    with tf.Session() as session:
        session.run(y, {x: [1.0, -1.0]})


@wrong("x must be equal")
def failed_assert_equal():
    x = tf.placeholder(tf.int32, [None], name="x")
    check = tf.assert_equal(x, 3, message="x must be equal")  # blame
    with tf.control_dependencies([check]):
        y = x * 2
    with tf.Session() as session:
        session.run(y, {x: [3, 4]})


@wrong("log")
def nan_found():
    x = tf.placeholder(tf.float32, [None], name="x")
    y = tf.log(x)  # blame
    with tf.Session(config=tf.ConfigProto(check_numerics=True)) as session:
        session.run(y * 2, {x: [1.0, -1.0]})


@wrong("no derivative")
def gradient_without_derivative():
    x = tf.placeholder(tf.float32, [2])
    y = tf.py_func(lambda v: v, [x], tf.float32, shapes=[[2]])
    tf.gradients(y, x)  # blame


@wrong("closed", line=False)
def closed_session():
    x = tf.zeros([2])
    session = tf.Session()
    session.close()
    session.run(x)  # blame


@wrong("default session", line=False)
def no_default_session():
    x = tf.zeros([2])
    x.eval()  # blame
