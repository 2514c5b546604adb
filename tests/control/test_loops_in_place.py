"""Loop variables that several operations change in turn are changed where they are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphflow as tf
from graphflow.loop import nodes as loop
from graphflow.plan import Plan, Repeat
from tests.plans import plan_of

ROWS, WIDTH = 4, 3


def copies(plan: Plan) -> int:
    """How many launches copy what they would otherwise change in place, and how many loop variables
    are in another place after each iteration."""
    count = sum(len(step.swaps) for step in plan.steps if isinstance(step, Repeat))
    same = {state.write: state.read for state in plan.states if state.in_place}
    for launch in plan.launches:
        ids = dict(zip(launch.kernel.buffers, launch.buffers, strict=True))
        for expression in loop.expressions(launch.kernel.body):
            if isinstance(expression, loop.Same):
                a, b = ids[expression.a], ids[expression.b]
                count += same.get(a, a) != same.get(b, b)
    return count


def agree(fetches, feeds) -> None:
    """Compiled, with nothing written in place, and by the reference evaluator."""
    with tf.Session(backend="reference") as session:
        wanted = session.run(fetches, feeds)
    for disable in ([], ["in_place_state", "memory.in_place"], ["merge_launches"]):
        with tf.Session(config=tf.ConfigProto(disable=disable)) as session:
            for found, want in zip(session.run(fetches, feeds), wanted, strict=True):
                np.testing.assert_allclose(found, want, rtol=1e-10, atol=1e-10)


def values(*shape):
    return np.random.default_rng(0).standard_normal(shape)


def set_rows(x, at, rows):
    return tf.tensor_scatter_nd_update(x, [[at]], rows[None])


def add_rows(x, at, rows):
    return tf.tensor_scatter_nd_add(x, [[at]], rows[None])


def looped(body, *starts, steps=ROWS):
    """The loop variables after some steps of `body(i, *variables)`."""
    results = tf.while_loop(
        lambda i, *_: i < steps, lambda i, *rest: (i + 1, *body(i, *rest)), (0, *starts)
    )
    return list(results[1:])


def test_the_gradient_of_a_loop_that_rewrites_its_rows():
    x = tf.placeholder(tf.float64, [ROWS, WIDTH])
    array = tf.TensorArray(tf.float64, size=ROWS).unstack(x)
    _, array = tf.while_loop(
        lambda i, array: i < ROWS,
        lambda i, array: (i + 1, array.write(i, tf.tanh(array.read(i)))),
        (0, array),
    )
    fetches = [array.stack(), *tf.gradients(tf.reduce_sum(array.stack()), [x])]
    _, plan = plan_of(fetches, [x])
    assert copies(plan) == 0
    agree(fetches, {x: values(ROWS, WIDTH)})


def test_a_chain_of_writes():
    x = tf.placeholder(tf.float64, [ROWS, WIDTH])

    def body(i, y):
        first = set_rows(y, i, y[i] * 2.0)
        second = add_rows(first, ROWS - 1 - i, first[i])
        return (tf.tensor_scatter_nd_max(second, [[0]], second[1][None]),)

    fetches = looped(body, x)
    _, plan = plan_of(fetches, [x])
    assert copies(plan) == 0
    agree(fetches, {x: values(ROWS, WIDTH)})


def test_old_values_are_read_before_they_are_overwritten():
    """Although the operations that read them come later in the program."""
    x = tf.placeholder(tf.float64, [ROWS, WIDTH])

    def body(i, y, total):
        first = set_rows(y, i, tf.sin(y[0]))
        second = add_rows(first, ROWS - 1 - i, tf.cos(first[1]))
        of_first = tf.reduce_sum(first * first, axis=0)
        of_old = tf.reduce_sum(tf.exp(y), axis=1)
        return second, total + of_old[:WIDTH] * of_first + second[i]

    fetches = looped(body, x, tf.zeros([WIDTH], tf.float64))
    _, plan = plan_of(fetches, [x])
    assert copies(plan) == 0
    agree(fetches, {x: values(ROWS, WIDTH)})


def test_an_old_value_that_is_needed_later_is_copied_once():
    """What the second write adds depends on both what the first one makes and what was before."""
    x = tf.placeholder(tf.float64, [ROWS, WIDTH])

    def body(i, y):
        first = set_rows(y, i, tf.sin(y[0]))
        where = tf.cast(tf.argmax(first[:, 0]), tf.int32)
        second = add_rows(first, i, y[where])
        return (add_rows(second, where, first[where]),)

    fetches = looped(body, x)
    _, plan = plan_of(fetches, [x])
    agree(fetches, {x: values(ROWS, WIDTH)})
    assert 0 < copies(plan) <= 3


def test_variables_that_change_places_after_writes():
    x = tf.placeholder(tf.float64, [ROWS, WIDTH])

    def body(i, y, z):
        first, second = set_rows(y, i, z[i]), set_rows(z, 0, y[i])
        return add_rows(second, 1, first[i]), add_rows(first, 2, second[i])

    fetches = looped(body, x, tf.exp(x))
    plan_of(fetches, [x])
    agree(fetches, {x: values(ROWS, WIDTH)})


def test_a_value_on_the_way_that_is_also_a_result():
    x = tf.placeholder(tf.float64, [ROWS, WIDTH])

    def body(y, i):
        first = set_rows(y, i, tf.sin(y[0]))
        return add_rows(first, ROWS - 1 - i, first[i]), first

    final, between = tf.scan(
        lambda carried, i: body(carried[0], i), tf.range(ROWS), (x, tf.zeros_like(x))
    )
    agree([final, between, *tf.gradients(between, [x])], {x: values(ROWS, WIDTH)})


def test_variables_of_a_session_are_written_by_chains():
    """In place, and as they were where a check of the step fails."""
    v = tf.Variable(values(ROWS, WIDTH))
    at = tf.placeholder(tf.int32, [])
    first = tf.tensor_scatter_nd_update(v, [[0]], v[1][None] * 2.0)
    second = add_rows(first, at, first[2])
    update = v.assign(second)
    _, plan = plan_of([update.op], [at])
    assert copies(plan) == 0 and all(state.in_place for state in plan.states)
    right = values(ROWS, WIDTH)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for number in (1, 3):
            session.run(update.op, {at: number})
            right[0] = right[1] * 2
            right[number] += right[2]
            np.testing.assert_array_equal(session.run(v), right)
        with pytest.raises(tf.errors.OutOfRangeError):
            session.run(update.op, {at: ROWS})
        np.testing.assert_array_equal(session.run(v), right)


def test_a_fetched_value_is_written_where_it_stays():
    x = tf.placeholder(tf.float64, [ROWS, WIDTH])
    y = set_rows(tf.sin(x), 1, x[0])
    y = add_rows(y, 2, y[1])
    _, plan = plan_of([y], [x])
    assert copies(plan) == 0
    agree([y], {x: values(ROWS, WIDTH)})


def test_what_an_assertion_shows_is_not_overwritten_before():
    def body(i, y):
        checked = tf.Assert(y[0, 0] < 3.0, ["too large:", y])
        with tf.control_dependencies([checked]):
            written = set_rows(y, 0, y[0] + 1.0)
        return (add_rows(written, 0, tf.ones([WIDTH], tf.float64)),)

    fetches = looped(body, tf.zeros([1, WIDTH], tf.float64), steps=10)
    wanted = pytest.raises(tf.errors.InvalidArgumentError, match=r"4\.0, 4\.0")
    with tf.Session() as session, wanted:
        session.run(fetches)


# -- made by chance ------------------------------------------------------------------------------

OPERATIONS = ("set", "add", "max", "box", "rows", "all", "mixed", "read", "sum", "turn")


@st.composite
def bodies(draw):
    """What a body does to two loop variables: operations, and the values that they use, counted
    back from the last one; the values that are handed on, and those that are stacked."""
    steps = draw(
        st.lists(
            st.tuples(
                st.sampled_from(OPERATIONS), *[st.integers(0, 7)] * 2, st.integers(0, ROWS - 1)
            ),
            min_size=1, max_size=9,
        )
    )  # fmt: skip
    return steps, draw(st.tuples(*[st.integers(0, 5)] * 2)), draw(st.integers(0, 5))


def applied(steps, i, carried):
    """Values [ROWS, WIDTH], in the order in which they are made."""
    made = list(carried)
    row = tf.reduce_sum(carried[0], axis=0)
    for what, first, second, at in steps:
        x, y = made[-1 - first % len(made)], made[-1 - second % len(made)]
        where = (i + at) % ROWS
        if what == "set":
            made.append(set_rows(x, where, row))
        elif what == "add":
            made.append(add_rows(x, where, y[at]))
        elif what == "max":
            made.append(tf.tensor_scatter_nd_max(x, [[at], [0]], y[1:3]))
        elif what == "box":
            made.append(tf.concat([x[:at], y[at : at + 1], x[at + 1 :]], 0))
        elif what == "rows":
            made.append(tf.tensor_scatter_nd_update(x, [[1], [where]], tf.gather(y, [where, at])))
        elif what == "all":
            made.append(tf.sin(x))
        elif what == "mixed":
            made.append(0.5 * x - 0.25 * y)
        elif what == "read":
            row = tf.cos(x[where]) + 0.5 * row
        elif what == "sum":
            row = tf.tanh(tf.reduce_mean(x, axis=0) + row)
        else:
            made.append(tf.gather(x, [1, 0, 3, 2]))
    return made, row


@settings(max_examples=40, deadline=None)
@given(bodies(), st.booleans())
def test_bodies_made_by_chance(found, differentiated):
    steps, handed, stacked = found
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float64, [ROWS, WIDTH])

        def body(carried, i):
            made, row = applied(steps, i, carried[:2])
            first, second = (made[-1 - k % len(made)] for k in handed)
            return first, second, made[-1 - stacked % len(made)], row

        start = (x, tf.exp(x), tf.zeros_like(x), tf.zeros([WIDTH], tf.float64))
        fetches = list(tf.scan(body, tf.range(3), start))
        if differentiated:
            loss = tf.reduce_sum(tf.stack([tf.reduce_sum(y[-1]) for y in fetches]))
            fetches += tf.gradients(loss, [x])
        agree(fetches, {x: values(ROWS, WIDTH)})
