"""Gradients of loops and branches: against differences, on every back end, to higher orders."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphflow as tf
from graphflow.errors import GraphError, NonDifferentiableError


def slopes(value, at):
    """Central differences of a function of one float64 array."""
    result, step = np.zeros_like(at), 1e-6
    for k in range(at.size):
        change = np.zeros_like(at)
        change.flat[k] = step
        result.flat[k] = (value(at + change) - value(at - change)) / (2 * step)
    return result


def check(backend, loss, x, at, feeds=None, order=2, tolerance=1e-6):
    """The gradients of `loss` by `x` up to an order, each against differences of the one before."""
    rng = np.random.default_rng(1)
    with tf.Session(backend=backend) as session:
        for _ in range(order):
            (gradient,) = tf.gradients(loss, x, unconnected_gradients="zero")
            gradient = tf.convert_to_tensor(gradient)
            session.run(tf.global_variables_initializer())
            found = session.run(gradient, {x: at, **(feeds or {})})
            want = slopes(lambda v, y=loss: session.run(y, {x: v, **(feeds or {})}), at)
            scale = max(1.0, float(np.abs(want).max()))
            np.testing.assert_allclose(found, want, rtol=0, atol=tolerance * scale)
            loss = tf.reduce_sum(gradient * rng.standard_normal(at.shape))


def at(*shape):
    return np.random.default_rng(0).standard_normal(shape) * 0.5


def test_a_loop_of_unknown_length(backend):
    x = tf.placeholder(tf.float64, [3])
    n = tf.placeholder(tf.int32, [])
    _, y = tf.while_loop(lambda i, y: i < n, lambda i, y: (i + 1, tf.sin(y) * x + y), [0, x])
    for count in (0, 1, 4):
        check(backend, tf.reduce_sum(y * y), x, at(3), {n: count}, 3)


def test_a_loop_of_known_length_with_a_product(backend):
    w = tf.placeholder(tf.float64, [2, 2])
    x = tf.constant(at(3, 2))
    _, y = tf.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, tf.tanh(y @ w + x)), [0, x])
    check(backend, tf.reduce_sum(y), w, at(2, 2))


def test_a_loop_that_data_ends(backend):
    x = tf.placeholder(tf.float64, [])
    y = tf.while_loop(lambda y: y < 100.0, lambda y: y * y + x, [x + 2.0])
    check(backend, y, x, np.asarray(0.3), tolerance=1e-5)


def test_loops_inside_loops(backend):
    x = tf.placeholder(tf.float64, [2])
    n = tf.placeholder(tf.int32, [])

    def outer(i, y):
        _, z = tf.while_loop(lambda j, z: j < i, lambda j, z: (j + 1, tf.cos(z) + x * y[0]), [0, y])
        return i + 1, z * x

    _, y = tf.while_loop(lambda i, _: i < n, outer, [0, x])
    check(backend, tf.reduce_sum(y), x, at(2), {n: 4})


def test_a_gradient_taken_inside_a_body(backend):
    x = tf.placeholder(tf.float64, [2])

    def body(i, y):
        (slope,) = tf.gradients(tf.reduce_sum(tf.exp(y * 0.3) * x), y)
        return i + 1, y - 0.1 * slope

    _, y = tf.while_loop(lambda i, _: i < 3, body, [0, x])
    check(backend, tf.reduce_sum(y * y), x, at(2))


def test_branches(backend):
    x = tf.placeholder(tf.float64, [2, 2])
    flag = tf.placeholder(tf.bool, [])
    y = tf.cond(flag, lambda: tf.exp(x) @ tf.tanh(x @ x), lambda: tf.sin(x) * 2.0)
    for value in (True, False):
        check(backend, tf.reduce_sum(y * y), x, at(2, 2), {flag: value})


def test_branches_in_loops(backend):
    x = tf.placeholder(tf.float64, [3])

    def body(i, y):
        return i + 1, tf.cond(
            tf.reduce_sum(y) > 0.0, lambda: tf.sin(y) - x, lambda: tf.exp(y) * x * x
        )

    _, y = tf.while_loop(lambda i, _: i < 4, body, [0, x])
    check(backend, tf.reduce_sum(y), x, at(3))


def test_maps_scans_and_folds(backend):
    x = tf.placeholder(tf.float64, [4, 2])
    y = tf.map_fn(lambda r: tf.reduce_sum(tf.sin(r)) * r, x)
    z = tf.scan(lambda s, r: tf.tanh(s * r) + r, x)
    back = tf.scan(lambda s, r: tf.tanh(s * r) + r, x, reverse=True)
    right = tf.foldr(lambda s, r: s * r + tf.cos(s), x)
    loss = tf.reduce_sum(y) + tf.reduce_sum(z * z) + tf.reduce_sum(back) + tf.reduce_sum(right)
    check(backend, loss, x, at(4, 2))


def test_rows_taken_from_a_table_inside_a_loop(backend):
    table = tf.placeholder(tf.float64, [5, 2])
    ids = tf.constant([1, 3, 3, 0])
    (y, _) = tf.while_loop(
        lambda y, i: i < 4, lambda y, i: (tf.tanh(y + tf.gather(table, ids[i])), i + 1),
        [tf.zeros([2], tf.float64), 0],
    )  # fmt: skip
    check(backend, tf.reduce_sum(y * y), table, at(5, 2), order=1)


def test_what_no_gradient_goes_through():
    x = tf.placeholder(tf.float32, [])
    y = tf.while_loop(lambda y: y < 3.0, lambda y: y * 2, [x], back_prop=False)
    assert tf.gradients(y, x) == [None]
    count, _ = tf.while_loop(lambda i, y: y < 3.0, lambda i, y: (i + 1, y * 2), [0, x])
    assert tf.gradients(tf.cast(count, tf.float32), x) == [None]


def test_what_cannot_be_differentiated_says_so():
    x = tf.placeholder(tf.float32, [])
    y = tf.while_loop(
        lambda y: y < 3.0, lambda y: tf.py_func(lambda a: a * 2, [y], tf.float32, shapes=[()]), [x]
    )
    with pytest.raises(GraphError, match="no derivative"):
        tf.gradients(y, x)


def test_a_loop_runs_once_for_itself_and_its_gradient(backend):
    x = tf.placeholder(tf.float64, [])
    count = tf.Variable(0)

    def body(i, y):
        with tf.control_dependencies([tf.assign_add(count, 1)]):
            return i + 1, tf.sin(y) * x

    _, y = tf.while_loop(lambda i, _: i < 3, body, [0, x])
    (slope,) = tf.gradients(y, x)
    (second,) = tf.gradients(slope, x)
    with tf.Session(backend=backend) as session:
        session.run(tf.global_variables_initializer())
        session.run([y, slope, second], {x: 0.5})
        assert session.run(count) == 3


def test_dropout_in_a_loop_uses_one_mask_for_value_and_gradient(backend):
    x = tf.placeholder(tf.float64, [50])

    def body(i, y):
        return i + 1, tf.nn.dropout(y, 0.5, seed=1)

    _, y = tf.while_loop(lambda i, _: i < 2, body, [0, x])
    (slope,) = tf.gradients(tf.reduce_sum(y), x)
    with tf.Session(backend=backend) as session:
        value, gradient = session.run([y, slope], {x: np.ones(50)})
    np.testing.assert_allclose(gradient, value)
    assert 0 < (value == 0).sum() < 50


def test_forward_gradients_of_a_loop(backend):
    x = tf.placeholder(tf.float64, [2])
    _, y = tf.while_loop(lambda i, _: i < 3, lambda i, y: (i + 1, tf.sin(y) * x), [0, x])
    direction = at(2)
    (forward,) = tf.forward_gradients(y, x, tf.constant(direction))
    with tf.Session(backend=backend) as session:
        a, step = at(2) + 0.3, 1e-6
        found = session.run(forward, {x: a})
        ahead, behind = (session.run(y, {x: a + s * step * direction}) for s in (1, -1))
    np.testing.assert_allclose(found, (ahead - behind) / (2 * step), rtol=1e-6, atol=1e-9)


# -- random bodies -------------------------------------------------------------------------------

UNARY = [tf.sin, tf.tanh, tf.sigmoid, lambda x: x * 0.7, lambda x: tf.exp(-x * x)]
BINARY = [tf.add, tf.subtract, tf.multiply, lambda a, b: a / (2.0 + b * b)]


@st.composite
def bodies(draw):
    """A function of two loop variables and a captured tensor, all [2], and how it was drawn."""
    steps = draw(
        st.lists(
            st.tuples(st.integers(0, 8), st.integers(0, 50), st.integers(0, 50)),
            min_size=1,
            max_size=6,
        )
    )

    def body(a, b, c):
        values = [a, b, c]
        for kind, left, right in steps:
            x, y = values[left % len(values)], values[right % len(values)]
            if kind < len(UNARY):
                values.append(UNARY[kind](x))
            else:
                values.append(BINARY[kind - len(UNARY)](x, y))
        return values[-1], values[-2]

    return body


@settings(max_examples=200, deadline=None)
@given(bodies(), st.integers(0, 4), st.booleans())
def test_random_bodies(body, count, counted):
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float64, [2])
        n = tf.placeholder(tf.int32, [])
        limit = count if counted else n

        def step(i, a, b):
            return (i + 1, *body(a, b, x))

        _, a, b = tf.while_loop(lambda i, *_: i < limit, step, [0, x, tf.cos(x)])
        loss = tf.reduce_sum(a * a) + tf.reduce_sum(b)
        check("compiled", loss, x, at(2), {n: count}, 2, 2e-5)


def test_gradients_by_a_constant_from_outside(backend):
    w = tf.constant(at(2, 2))
    x = tf.placeholder(tf.float64, [2, 2])
    _, y = tf.while_loop(lambda i, _: i < 3, lambda i, y: (i + 1, tf.tanh(y @ w)), [0, x])
    z = tf.cond(tf.reduce_sum(x) > -100.0, lambda: w * x, lambda: x)
    slopes = tf.gradients([tf.reduce_sum(y), tf.reduce_sum(z)], w)
    v = tf.placeholder(tf.float64, [2, 2])
    _, y = tf.while_loop(lambda i, _: i < 3, lambda i, y: (i + 1, tf.tanh(y @ v)), [0, x])
    wanted = tf.gradients([tf.reduce_sum(y), tf.reduce_sum(v * x)], v)
    with tf.Session(backend=backend) as session:
        feeds = {x: at(2, 2), v: at(2, 2)}
        np.testing.assert_allclose(*session.run([slopes[0], wanted[0]], feeds), rtol=1e-12)


def test_a_branch_after_a_write_in_a_loop(backend):
    """What the gradient runs again of the branch does not wait for a write of the loop's body."""
    x = tf.placeholder(tf.float64, [3])
    n = tf.placeholder(tf.int32, [])
    seen = tf.Variable(0, trainable=False)

    def body(i, y):
        with tf.control_dependencies([tf.assign_add(seen, 1)]):
            step = tf.cond(tf.equal(i % 2, 0), lambda: tf.sin(y) * x, lambda: y + x)
        return i + 1, step

    _, y = tf.while_loop(lambda i, _: i < n, body, [0, x])
    check(backend, tf.reduce_sum(y), x, at(3), {n: 4})
    (slope,) = tf.gradients(tf.reduce_sum(y), x)
    with tf.Session(backend=backend) as session:
        session.run(tf.global_variables_initializer())
        session.run([y, slope], {x: at(3), n: 4})
        assert session.run(seen) == 4


def masked(kind, value):
    """`value` times random numbers that are drawn inside a branch or a loop, and these numbers."""
    if kind == "cond":
        draw = tf.cond(
            tf.reduce_sum(value) > -1e9,
            lambda: (value * (r := tf.random_uniform([3], dtype=tf.float64)), r),
            lambda: (value, value),
        )
    elif kind == "cond in cond":
        draw = tf.cond(
            tf.reduce_sum(value) > -1e9,
            lambda: masked("cond", value),
            lambda: (value, value),
        )
    else:
        draw = tf.map_fn(
            lambda v: (v * (r := tf.random_uniform([], dtype=tf.float64)), r),
            value,
            dtype=(tf.float64, tf.float64),
        )
    return tuple(draw)


@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize("kind", ["cond", "cond in cond", "map_fn"])
def test_what_draws_in_a_loop_draws_once(kind, counted, backend):
    """The gradient goes back over the numbers that were drawn, to the second order."""
    x = tf.placeholder(tf.float64, [3])
    n = tf.placeholder(tf.int32, [])
    limit = 3 if counted else n

    def body(i, y, all_):
        y, r = masked(kind, tf.sin(y))
        return i + 1, y, all_.write(i, r)

    drawn = tf.TensorArray(tf.float64, 3, element_shape=[3])
    _, y, drawn = tf.while_loop(lambda i, *_: i < limit, body, [0, x, drawn])
    (g,) = tf.gradients(tf.reduce_sum(y), x)
    (h,) = tf.gradients(tf.reduce_sum(g), x)
    with tf.Session(backend=backend) as session:
        value, first, second, masks = session.run([y, g, h, drawn.stack()], {x: at(3), n: 3})

    def follow(v):
        slope = np.ones(3)
        for r in masks:
            slope, v = slope * np.cos(v) * r, np.sin(v) * r
        return v, slope

    np.testing.assert_allclose(value, follow(at(3))[0], rtol=1e-12)
    np.testing.assert_allclose(first, follow(at(3))[1], rtol=1e-12)
    step = 1e-6
    change = (follow(at(3) + step)[1] - follow(at(3) - step)[1]) / (2 * step)
    np.testing.assert_allclose(second, change, rtol=1e-6)


def test_what_a_branch_in_a_loop_writes_is_written_once(backend):
    x = tf.placeholder(tf.float64, [3])
    total = tf.Variable(np.zeros(3), trainable=False)

    def add(y):
        with tf.control_dependencies([tf.assign_add(total, y)]):
            return tf.sin(y) * total.read_value()

    def body(i, y):
        return i + 1, tf.cond(tf.equal(i % 2, 0), lambda: add(y), lambda: y + x)

    _, y = tf.while_loop(lambda i, _: i < 4, body, [0, x])
    (g,) = tf.gradients(tf.reduce_sum(y), x)
    totals = []
    for fetches in (y, [y, g]):
        with tf.Session(backend=backend) as session:
            session.run(tf.global_variables_initializer())
            found = session.run(fetches, {x: at(3)})
            totals.append(session.run(total))
    np.testing.assert_array_equal(*totals)
    # total counts as a constant in the gradient: those of the two iterations that read it.
    a = at(3)
    b = np.sin(a) * a + a
    np.testing.assert_allclose(found[0], np.sin(b) * (a + b) + a, rtol=1e-12)
    slope = np.cos(b) * (a + b) * (np.cos(a) * a + 1) + 1
    np.testing.assert_allclose(found[1], slope, rtol=1e-12)


def test_a_loop_of_unknown_length_that_must_not_run_again():
    x = tf.placeholder(tf.float64, [3])
    n = tf.placeholder(tf.int32, [])

    def inner(y):
        mask = tf.random_uniform([3], dtype=tf.float64)
        return tf.while_loop(lambda j, _: j < n, lambda j, y: (j + 1, y * x + mask), [0, y])[1]

    def draws(y):
        def step(j, y):
            return j + 1, y * tf.random_uniform([3], dtype=tf.float64)

        return tf.while_loop(lambda j, _: j < n, step, [0, y])[1]

    _, y = tf.while_loop(lambda i, _: i < n, lambda i, y: (i + 1, inner(y)), [0, x])
    tf.gradients(y, x)  # draws outside of the inner loop
    _, y = tf.while_loop(lambda i, _: i < n, lambda i, y: (i + 1, draws(y)), [0, x])
    with pytest.raises(
        NonDifferentiableError, match="(?s)it would run again.*test_loop_gradients.py"
    ):
        tf.gradients(y, x)
