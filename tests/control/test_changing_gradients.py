"""Gradients of loops whose variables change their size: against differences, on every back end, and
against the same iterations written out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plans import check as check_plan
from test_loop_gradients import at, check

import graphflow as tf
from graphflow.ir.graph_reader import parse_graph
from graphflow.ir.graph_text import print_graph
from graphflow.plan import Repeat


def repeated(count, body, *start, free):
    """`body` so often, with dimensions of the variables that are free to change."""
    _, *values = tf.while_loop(
        lambda i, *_: i < count,
        lambda i, *values: (i + 1, *body(*values)),
        [0, *start],
        shape_invariants=[[], *free],
    )
    return values


def test_a_sequence_that_grows(backend):
    x, n = tf.placeholder(tf.float64, [None, 2]), tf.placeholder(tf.int32, [])

    def body(y):
        new = tf.tanh(y[-1:] * 2.0) * y[:1] + tf.reduce_mean(y, 0, keepdims=True)
        return [tf.concat([y, new], 0)]

    (y,) = repeated(n, body, x, free=[[None, 2]])
    for count in (0, 1, 4):
        check(backend, tf.reduce_sum(y * y), x, at(3, 2), {n: count})


def test_a_sequence_that_shrinks(backend):
    x, n = tf.placeholder(tf.float64, [9]), tf.placeholder(tf.int32, [])
    (y,) = repeated(n, lambda y: [y[1:] * tf.sin(y[:-1])], x, free=[[None]])
    for count in (0, 1, 5, 9):  # at last there is nothing left
        check(backend, tf.reduce_sum(y) ** 2, x, at(9), {n: count})


def test_sizes_that_are_halved_until_one_is_left(backend):
    x = tf.placeholder(tf.float64, [None])

    def body(y):
        return y[::2] * tf.concat(
            [y[1::2], tf.ones(tf.shape(y[::2]) - tf.shape(y[1::2]), y.dtype)], 0
        )

    y = tf.while_loop(lambda y: tf.size(y) > 1, body, [x], shape_invariants=[[None]])
    for size in (1, 2, 7, 8):
        check(backend, tf.reduce_sum(y * y), x, at(size) + 1.0)


def test_sizes_that_grow_like_fibonacci_numbers(backend):
    x, n = tf.placeholder(tf.float64, [2]), tf.placeholder(tf.int32, [])

    def body(a, b):
        return tf.concat([a, tf.sin(b)], 0), a * 1.5

    a, b = repeated(n, body, x, tf.ones([1], tf.float64), free=[[None], [None]])
    loss = tf.reduce_sum(a * a) + tf.reduce_sum(b)
    for count in (0, 1, 5):
        check(backend, loss, x, at(2), {n: count})


def test_two_dimensions_of_one_variable(backend):
    x, n = tf.placeholder(tf.float64, [2, 3]), tf.placeholder(tf.int32, [])

    def body(y):
        return [tf.pad(tf.sin(y), [[0, 1], [1, 0]], constant_values=0.5)]

    (y,) = repeated(n, body, x, free=[[None, None]])
    loss = tf.reduce_sum(tf.matmul(y, y, transpose_b=True) ** 2)
    for count in (0, 1, 3):
        check(backend, loss, x, at(2, 3), {n: count})


def test_values_from_outside(backend):
    """Their gradients are sums over iterations of different sizes."""
    w, n = tf.placeholder(tf.float64, [3, 3]), tf.placeholder(tf.int32, [])
    x = tf.constant(at(2, 3))
    scale = tf.placeholder_with_default(np.float64(0.7), [])

    def body(y):
        return [tf.concat([tf.tanh(y @ w), y[:1] * scale], 0)]

    (y,) = repeated(n, body, x, free=[[None, 3]])
    loss = tf.reduce_sum(y * y)
    for count in (0, 1, 4):
        check(backend, loss, w, at(3, 3), {n: count})
    check(backend, loss, scale, np.array(0.3), {n: 3, w: at(3, 3)})


def test_rows_that_are_looked_up(backend):
    """The gradient of a lookup is sparse, and of as many rows as the loop has got."""
    table, n = tf.placeholder(tf.float64, [5, 2]), tf.placeholder(tf.int32, [])
    first = tf.placeholder(tf.int32, [None])

    def body(k):
        return [tf.concat([k, (k[-1:] + 2) % 5], 0)]

    def whole(k, total):
        rows = tf.gather(table, k)
        return *body(k), total + tf.reduce_sum(rows * rows * rows)

    _, total = repeated(n, whole, first, tf.zeros([], tf.float64), free=[[None], []])
    check(backend, total, table, at(5, 2), {first: [1, 3], n: 4})


def test_inside_another_loop(backend):
    x = tf.placeholder(tf.float64, [3])

    def outer(i, total):
        y = tf.while_loop(
            lambda y: tf.size(y) < 3 + 2 * i,
            lambda y: tf.concat([y, tf.sin(y[-2:-1]) * total], 0),
            [x],
            shape_invariants=[[None]],
        )
        return i + 1, total + tf.reduce_sum(y * y)

    _, total = tf.while_loop(lambda i, _: i < 3, outer, [0, tf.constant(0.5, tf.float64)])
    check(backend, total, x, at(3))


def test_another_loop_inside(backend):
    x, n = tf.placeholder(tf.float64, [2]), tf.placeholder(tf.int32, [])

    def body(y):
        sums = tf.scan(lambda a, b: tf.tanh(a) * 0.9 + b, y, tf.zeros([], y.dtype))
        return [tf.concat([sums, y[:1]], 0)]

    (y,) = repeated(n, body, x, free=[[None]])
    for count in (0, 2):
        check(backend, tf.reduce_sum(y * y), x, at(2), {n: count})


def test_a_size_that_an_inner_loop_finds_out(backend):
    x, n = tf.placeholder(tf.float64, [2]), tf.placeholder(tf.int32, [])

    def body(y):
        return [
            tf.while_loop(
                lambda z: tf.reduce_sum(z) < 4.0 + tf.reduce_sum(y),
                lambda z: tf.concat([z, z[-1:] * 1.25], 0),
                [y],
                shape_invariants=[[None]],
            )
        ]

    (y,) = repeated(n, body, x, free=[[None]])
    for count in (0, 1, 2):
        check(backend, tf.reduce_sum(y * y), x, np.array([0.7, 1.1]), {n: count})


def test_branches_in_the_body(backend):
    x, n = tf.placeholder(tf.float64, [2]), tf.placeholder(tf.int32, [])

    def body(i, y):
        new = tf.cond(
            tf.equal(i % 2, 0),
            lambda: tf.exp(y[-1:]) * tf.reduce_sum(tf.sin(y)),
            lambda: y[:1] * y[:1],
        )
        return i + 1, tf.concat([y, new], 0)

    _, y = tf.while_loop(lambda i, _: i < n, body, [0, x], shape_invariants=[[], [None]])
    for count in (0, 1, 4):
        check(backend, tf.reduce_sum(y * y), x, at(2), {n: count})


def test_an_array_of_dynamic_size_beside_it(backend):
    x, n = tf.placeholder(tf.float64, [2]), tf.placeholder(tf.int32, [])
    array = tf.TensorArray(tf.float64, 0, dynamic_size=True)

    def body(i, y, array):
        return i + 1, tf.concat([y, y[-1:] * y[:1]], 0), array.write(i, tf.reduce_sum(tf.sin(y)))

    _, y, array = tf.while_loop(
        lambda i, *_: i < n, body, [0, x, array], shape_invariants=[[], [None], None]
    )
    loss = tf.reduce_sum(array.stack() ** 2) + tf.reduce_sum(y)
    for count in (0, 1, 4):
        check(backend, loss, x, at(2), {n: count})


def test_third_order():
    x, n = tf.placeholder(tf.float64, [2]), tf.placeholder(tf.int32, [])
    (y,) = repeated(n, lambda y: [tf.concat([y, tf.sin(y[-1:]) * y[:1]], 0)], x, free=[[None]])
    check("compiled", tf.reduce_sum(y * y), x, at(2), {n: 3}, order=3, tolerance=1e-5)


def test_forward_mode(backend):
    """As the gradient, by the weights, of a gradient that has them."""
    x, n = tf.placeholder(tf.float64, [3]), tf.placeholder(tf.int32, [])
    (y,) = repeated(n, lambda y: [tf.concat([y, tf.sin(y[-1:]) * y[:1]], 0)], x, free=[[None]])
    weights = tf.ones_like(y)
    (g,) = tf.gradients(y, x, grad_ys=weights)
    direction = tf.constant(at(3) + 1.0)
    (forward,) = tf.gradients(g, weights, grad_ys=direction)
    with tf.Session(backend=backend) as session:
        point, step = at(3), 1e-6
        ahead = session.run(y, {x: point + step * (at(3) + 1.0), n: 4})
        behind = session.run(y, {x: point - step * (at(3) + 1.0), n: 4})
        found = session.run(forward, {x: point, n: 4})
    np.testing.assert_allclose(found, (ahead - behind) / (2 * step), atol=1e-8)


# -- the same iterations, written out -------------------------------------------------------------

STEPS = {
    "last row": lambda y, w: tf.concat([y, tf.tanh(y[-1:] @ w)], 0),
    "first row": lambda y, w: tf.concat([y[:1] * y[-1:], tf.sin(y)], 0),
    "twice as many": lambda y, w: tf.concat([y, y @ w], 0) * 0.7,
    "without the first": lambda y, w: y[1:] * tf.reduce_mean(y),
    "every second": lambda y, w: y[::2] + tf.sin(tf.reduce_sum(y)),
    "without the last": lambda y, w: tf.tanh(y[:-1] @ w) + y[1:],
    "softmax": lambda y, w: tf.concat([tf.nn.softmax(y, 0), y[1:2]], 0),
    "as it is": lambda y, w: tf.tanh(y @ w),
}


LOOPS = {
    "names": st.lists(st.sampled_from(sorted(STEPS)), min_size=1, max_size=2),
    "size": st.integers(2, 5),
    "count": st.integers(0, 3),
    "known": st.booleans(),
    "turned": st.booleans(),
}


@settings(max_examples=60, deadline=None)
@given(**LOOPS)
def test_as_written_out(names, size, count, known, turned):
    as_written_out("reference", names, size, count, known, turned)


@settings(max_examples=8, deadline=None)
@given(**LOOPS)
def test_compiled_as_written_out(names, size, count, known, turned):
    as_written_out("compiled", names, size, count, known, turned)


def as_written_out(backend, names, size, count, known, turned):
    """Values, gradients by the start and by a weight, and gradients of those, of any such body."""

    def body(y, w):
        y = tf.transpose(y) if turned else y
        for name in names:
            y = STEPS[name](y, w)
        return tf.transpose(y) if turned else y

    with tf.Graph().as_default():
        shape = [2, size] if turned else [size, 2]
        x = tf.placeholder(
            tf.float64, shape if known else [None if d == size else d for d in shape]
        )
        w, n = tf.placeholder(tf.float64, [2, 2]), tf.placeholder(tf.int32, [])
        (looped,) = repeated(
            n, lambda y: [body(y, w)], x, free=[[2, None] if turned else [None, 2]]
        )
        plain = x
        for _ in range(count):
            plain = body(plain, w)
        results = []
        for y in (looped, plain):
            loss = tf.reduce_sum(y * tf.sin(y))
            first = tf.gradients(loss, [x, w], unconnected_gradients="zero")
            square = sum(tf.reduce_sum(g * g) for g in first)
            second = tf.gradients(square, [x, w], unconnected_gradients="zero")
            results.append([y, *first, *second])
        with tf.Session(backend=backend) as session:
            found, want = session.run(results, {x: at(*shape), w: at(2, 2), n: count})
    for one, other in zip(found, want, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-10)


# -- what the compiler does with them -------------------------------------------------------------


def grown(dtype=tf.float64):
    """A loop in which one variable grows while another one shrinks, and what it depends on."""
    x, w = tf.placeholder(dtype, [None, 2]), tf.placeholder(dtype, [2, 2])
    n = tf.placeholder(tf.int32, [])

    def body(y, z):
        return tf.concat([y, tf.tanh(y[-1:] @ w)], 0), z[1:] * tf.reduce_mean(y)

    y, z = repeated(n, body, x, tf.sin(x), free=[[None, 2], [None, 2]])
    loss = tf.reduce_sum(y * y) + tf.reduce_sum(z)
    slopes = tf.gradients(loss, [x, w])
    curves = tf.gradients(sum(tf.reduce_sum(s * s) for s in slopes), [x, w])
    return [y, z, *slopes, *curves], x, w, n


@pytest.mark.parametrize("count", [0, 1, 4])
def test_plans(count):
    fetches, x, w, n = grown(tf.float32)
    feeds = {
        x: at(5, 2).astype(np.float32),
        w: at(2, 2).astype(np.float32),
        n: np.array(count, np.int32),
    }
    plan = check_plan(fetches, feeds, rtol=1e-4)
    repeats = [step for step in plan.steps if isinstance(step, Repeat)]
    assert any(mark.sizes for mark in repeats)
    assert any(row.begin is not None for mark in repeats for row in mark.rows)


@pytest.mark.parametrize(
    "switch",
    ["trim_bodies", "hoist", "unroll_loops", "batch_iterations", "simplify", "fold", "cse", "dce",
     "fuse", "rematerialize", "prepare", "inline", "in_place_state", "memory.in_place"],
)  # fmt: skip
def test_no_pass_is_needed(switch):
    fetches, x, w, n = grown()
    feeds = {x: at(5, 2), w: at(2, 2), n: 4}
    found = []
    for disable in ((), (switch,)):
        with tf.Session(config=tf.ConfigProto(disable=disable)) as session:
            found.append(session.run(fetches, feeds))
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_one_compilation_for_all_sizes():
    fetches, x, w, n = grown()
    with tf.Session() as session, tf.Session(backend="reference") as other:
        for size, count in ((1, 1), (6, 3), (200, 150), (2, 0), (40, 40)):
            feeds = {x: at(size, 2), w: at(2, 2), n: count}
            rows = zip(session.run(fetches, feeds), other.run(fetches, feeds), strict=True)
            for found, want in rows:
                np.testing.assert_allclose(found, want, rtol=1e-8, atol=1e-10)
        assert session.counters()["compilations"] == 1


def test_under_a_memory_budget():
    fetches, x, w, n = grown()
    feeds = {x: at(50, 2), w: at(2, 2), n: 30}
    with tf.Session() as session:
        want = session.run(fetches, feeds)
    with tf.Session(config=tf.ConfigProto(memory_budget=1 << 20)) as session:
        found = session.run(fetches, feeds)
    for a, b in zip(found, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_a_saved_graph():
    fetches, x, w, n = grown()
    feeds = {x: at(3, 2), w: at(2, 2), n: 3}
    with tf.Session() as session:
        want = session.run(fetches, feeds)
    text, pool = print_graph(x.graph)
    again = parse_graph(text, pool)
    assert print_graph(again)[0] == text
    tensors = {tensor: again.get_tensor_by_name(tensor.name) for tensor in (*fetches, *feeds)}
    with again.as_default(), tf.Session() as session:
        found = session.run(
            [tensors[t] for t in fetches], {tensors[t]: value for t, value in feeds.items()}
        )
        # What is made of them later tells the same loops apart by the same sizes.
        (further,) = tf.gradients(tf.reduce_sum(tensors[fetches[2]]), tensors[w])
        session.run(further, {tensors[t]: value for t, value in feeds.items()})
    for a, b in zip(found, want, strict=True):
        np.testing.assert_array_equal(a, b)


def test_checks_and_prints_in_the_body(backend, capfd):
    x, limit = tf.placeholder(tf.float64, [2]), tf.placeholder(tf.float64, [])

    def body(y):
        last = tf.reduce_max(y)
        with tf.control_dependencies([tf.Assert(last < limit, ["too large", last])]):
            return [tf.concat([y, y[-1:] * 2.0], 0)]

    (y,) = repeated(4, body, x, free=[[None]])
    (slope,) = tf.gradients(tf.reduce_sum(y), x)
    with tf.Session(backend=backend) as session:
        np.testing.assert_array_equal(
            session.run(slope, {x: [1.0, 2.0], limit: 100.0}), [1.0, 31.0]
        )
        with pytest.raises(tf.errors.InvalidArgumentError, match="too large"):
            session.run(slope, {x: [1.0, 2.0], limit: 9.0})


def test_random_numbers_are_drawn_once(backend):
    """The gradient goes back over the numbers that the loop drew."""
    x, n = tf.placeholder(tf.float64, [2]), tf.placeholder(tf.int32, [])
    (y,) = repeated(
        n,
        lambda y: [tf.concat([y, y[:1] * tf.random_uniform([1], dtype=tf.float64)], 0)],
        x,
        free=[[None]],
    )
    (slope,) = tf.gradients(tf.reduce_sum(y), x)
    with tf.Session(backend=backend) as session:
        found, values = session.run([slope, y], {x: [1.0, 0.0], n: 5})
    np.testing.assert_allclose(found, [values.sum(), 1.0], rtol=1e-12)


def test_nothing_flows_back_where_that_is_asked_for():
    x = tf.placeholder(tf.float64, [2])
    _, y = tf.while_loop(
        lambda i, _: i < 3,
        lambda i, y: (i + 1, tf.concat([y, y[:1]], 0)),
        [0, x],
        shape_invariants=[[], [None]],
        back_prop=False,
    )
    assert tf.gradients(y, x) == [None]


def test_a_variable_that_becomes_empty(backend):
    x = tf.placeholder(tf.float64, [None])
    y = tf.while_loop(
        lambda y: tf.size(y) > 0,
        lambda y: y[: tf.shape(y)[0] // 2] * 2.0,
        [x],
        shape_invariants=[[None]],
    )
    loss = tf.reduce_sum(y) + tf.reduce_sum(x)
    check(backend, loss, x, at(5))
    check(backend, loss, x, at(1))


def test_a_variable_whose_dimensions_change_places(backend):
    """Its elements stay where they are in memory."""
    x, n = tf.placeholder(tf.float64, [None, 3]), tf.placeholder(tf.int32, [])
    (y,) = repeated(
        n, lambda y: [tf.reshape(y, [tf.shape(y)[1], tf.shape(y)[0]])], x, free=[[None, None]]
    )
    loss = tf.reduce_sum(tf.cumsum(y, 0) ** 2)
    for count in (0, 1, 2, 5):
        check(backend, loss, x, at(2, 3), {n: count})
