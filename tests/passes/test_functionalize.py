"""Cutting a run out of a graph: what is needed, which sizes are one, which write a read sees."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from effort import calls

import graphflow as tf
from graphflow.errors import (
    FeedError,
    InvalidArgumentError,
    TypeRuleError,
    UnorderedWritesError,
)
from graphflow.ir.evaluate import run_program
from graphflow.ir.text import print_program
from graphflow.ir.types import TensorType
from graphflow.ir.verify import verify
from graphflow.passes.cut.functionalize import cut


def program_of(fetches, feeds=(), types=None, bindings=None):
    fetched = fetches if isinstance(fetches, (list, tuple)) else [fetches]
    program = cut(tf.get_default_graph(), fetched, list(feeds), types, bindings)
    verify(program)
    return program


def run(fetches, feeds=None, states=None):
    """(fetched arrays, {variable name: new value}) of one run by reference."""
    feeds = feeds or {}
    program = program_of(fetches, feeds)
    values = {v.handle: np.asarray(a, v.dtype.numpy) for v, a in (states or {}).items()}
    result = run_program(program, list(feeds.values()), values)
    return result.fetches, {variable.name: a for variable, a in result.updates.items()}


def here() -> int:
    """The caller's line."""
    return inspect.currentframe().f_back.f_lineno


def variable(value=1.0, name="w"):
    return tf.Variable(np.float32(value), name=name)


# -- what is needed ------------------------------------------------------------------------------


def test_only_what_the_fetches_need():
    x = tf.placeholder(tf.float32, [2], name="x")
    tf.placeholder(tf.float32, [2], name="unused") + x
    program = program_of(x * 2.0, [x])
    assert [node.op.name for node in program.nodes()] == ["feed", "constant", "mul"]


def test_any_tensor_can_be_fed():
    x = tf.placeholder(tf.float32, [2], name="x")
    middle = tf.exp(x)
    (value,), _ = run(middle * 2.0, {middle: np.float32([1, 2])})
    np.testing.assert_array_equal(value, [2, 4])


def test_a_fed_fetch_is_itself():
    x = tf.placeholder(tf.float32, [2], name="x")
    (value,), _ = run(x, {x: np.float32([1, 2])})
    np.testing.assert_array_equal(value, [1, 2])


def test_pure_nodes_are_interned():
    x = tf.placeholder(tf.float32, [2], name="x")
    program = program_of([tf.exp(x), tf.exp(x)], [x])
    assert program.fetches[0] is program.fetches[1]


def test_missing_feed_names_path_and_line():
    line = here() + 1
    x = tf.placeholder(tf.float32, [None, 3], name="image")
    other = tf.placeholder(tf.float32, [None, 3], name="images")
    loss = tf.reduce_sum(tf.exp(x, name="power"), name="loss") + tf.reduce_sum(other)
    with pytest.raises(FeedError) as caught:
        program_of(loss, [other])
    text = str(caught.value)
    assert "placeholder image:0 float32[image_0,3] must be fed" in text
    assert f"{__file__}:{line}" in text
    assert "power (exp) <- loss (reduce) <- add (add)" in text
    assert "images:0" in text
    assert len(text.splitlines()) < 12


def test_missing_feed_of_a_size():
    x = tf.placeholder(tf.float32, [None, 3], name="x")
    zeros = tf.zeros([tf.shape(x)[0], 5])
    with pytest.raises(FeedError, match="its size is needed by"):
        program_of(zeros)
    (value,), _ = run(zeros, {x: np.zeros((2, 3), np.float32)})
    assert value.shape == (2, 5)


def test_feed_of_another_graph():
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, [2], name="x")
    with pytest.raises(FeedError, match="another graph"):
        program_of(tf.constant(1.0), [x])


def test_unfed_default_is_its_input():
    source = tf.constant([[1.0, 2.0]])
    x = tf.placeholder_with_default(source, [None, 2], name="x")
    rows = tf.zeros([tf.shape(x)[0], 3])
    total = tf.reduce_sum(x) + tf.reduce_sum(rows)
    (value,), _ = run(total)
    assert value == 3
    (value,), _ = run([total], {x: np.ones((4, 2), np.float32)})
    assert value == 8


# -- sizes ---------------------------------------------------------------------------------------


def test_symbols_are_canonical():
    x = tf.placeholder(tf.float32, [None, None], name="x")
    assert str(program_of(tf.exp(x), [x]).fetches[0].tensor_type) == "float32[s0,s1]"


def test_sizes_that_must_be_equal_are_one_symbol_and_checked():
    x = tf.placeholder(tf.float32, [None, 3], name="x")
    y = tf.placeholder(tf.float32, [None, 3], name="y")
    program = program_of(tf.concat([x, y], axis=1), [x, y])
    assert str(program.fetches[0].tensor_type) == "float32[s0,6]"
    assert [str(t.tensor_type) for t in program.feeds] == ["float32[s0,3]"] * 2
    assert [str(t) for t in program.feed_types] == ["float32[s0,3]", "float32[s1,3]"]
    ((constraint, origins),) = program.constraints
    assert {str(constraint.a), str(constraint.b)} == {"s0", "s1"}
    assert not constraint.broadcast
    assert origins[0].name == "concat"
    with pytest.raises(InvalidArgumentError, match="must be equal but are 2 and 4") as caught:
        run_program(program, [np.zeros((2, 3), np.float32), np.zeros((4, 3), np.float32)])
    assert "concat" in str(caught.value)


def test_broadcasting_sizes_recut_with_one():
    x = tf.placeholder(tf.float32, [None, 3], name="x")
    y = tf.placeholder(tf.float32, [None, 3], name="y")
    (gradient,) = tf.gradients(tf.reduce_sum(x * y), y)
    program = program_of([x * y, gradient], [x, y])
    ((constraint, _),) = program.constraints
    assert constraint.broadcast
    assert str(program.fetches[1].tensor_type) == "float32[s0,3]"
    symbol = program.feed_types[1].shape[0].terms[0][0][0]
    special = program_of([x * y, gradient], [x, y], None, {symbol: 1})
    assert special.constraints == ()
    assert str(special.feed_types[1]) == "float32[1,3]"
    a, b = np.ones((4, 3), np.float32), np.ones((1, 3), np.float32)
    product, summed = run_program(special, [a, b]).fetches
    assert product.shape == (4, 3)
    np.testing.assert_array_equal(summed, [[4, 4, 4]])


def test_a_size_that_broadcasts_with_two_others_is_left_open():
    x = tf.placeholder(tf.float32, [None], name="x")
    total = tf.reduce_sum(x * np.ones(3, np.float32)) + tf.reduce_sum(x * np.ones(4, np.float32))
    program = program_of(total, [x])
    assert len(program.constraints) == 2
    symbol = program.feed_types[0].shape[0].terms[0][0][0]
    special = program_of(total, [x], None, {symbol: 1})
    assert run_program(special, [np.ones(1, np.float32)]).fetches[0] == 7


def test_a_size_known_from_a_constant():
    x = tf.placeholder(tf.float32, [None, 3], name="x")
    y = tf.matmul(np.ones((2, 5), np.float32), x)
    program = program_of(y, [x])
    assert str(program.feeds[0].tensor_type) == "float32[5,3]"
    assert str(program.feed_types[0]) == "float32[s0,3]"
    ((constraint, _),) = program.constraints
    assert {str(constraint.a), str(constraint.b)} == {"5", "s0"}


def test_unknown_rank_takes_the_fed_one():
    x = tf.placeholder(tf.float32, name="x")
    y = tf.reduce_sum(tf.exp(x) + 1.0)
    (gradient,) = tf.gradients(y, x)
    program = program_of([gradient], [x], [TensorType(tf.float32, (2, 3))])
    assert str(program.fetches[0].tensor_type) == "float32[2,3]"
    with pytest.raises(FeedError, match="rank"):
        program_of([y], [x])


def test_feed_types_reach_what_depends_on_them():
    x = tf.placeholder(tf.float32, [None, 3], name="x")
    y = tf.zeros([tf.shape(x)[0] * 2, 2])
    program = program_of(y, [x], [TensorType(tf.float32, (7, 3))])
    assert str(program.fetches[0].tensor_type) == "float32[14,2]"
    with pytest.raises(FeedError, match="cannot be fed"):
        program_of(y, [x], [TensorType(tf.float32, (7, 4))])


def test_a_fed_tensor_of_a_computed_size():
    x = tf.placeholder(tf.float32, [None], name="x")
    doubled = tf.concat([x, x], axis=0)
    y = tf.reshape(doubled, [tf.shape(x)[0], 2])
    program = program_of(y, [doubled])
    assert str(program.feed_types[0]) == "float32[s0]"
    (value,) = run_program(program, [np.arange(6, dtype=np.float32)]).fetches
    assert value.shape == (3, 2)
    with pytest.raises(InvalidArgumentError):
        run_program(program, [np.arange(5, dtype=np.float32)])


def test_types_that_do_not_fit_name_the_line():
    x = tf.placeholder(tf.float32, name="x")
    line = here() + 1
    y = x + np.ones(3, np.float32)
    with pytest.raises(TypeRuleError) as caught:
        program_of(y, [x], [TensorType(tf.float32, (4,))])
    assert f"{__file__}:{line}" in str(caught.value)


# -- variables -----------------------------------------------------------------------------------


def test_a_read_sees_the_value_before_an_unordered_write():
    w = variable()
    add = w.assign_add(5.0)
    (before, after), new = run([w.value(), add], states={w: 1})
    assert (before, after, new["w"]) == (1, 6, 6)


def test_a_read_sees_the_writes_it_depends_on():
    w = variable()
    add = w.assign_add(5.0)
    with tf.control_dependencies([add]):
        after = w.read_value()
    (value,), new = run([after], states={w: 1})
    assert (value, new["w"]) == (6, 6)


def test_a_read_sees_writes_it_depends_on_through_data():
    w = variable()
    u = variable(name="u")
    first = w.assign(3.0)
    second = u.assign(first * 2.0)
    with tf.control_dependencies([second]):
        both = w.read_value() + u.read_value()
    (value,), new = run([both], states={w: 1, u: 1})
    assert value == 9
    assert new == {"w": 3, "u": 6}


def test_additions_commute_and_apply_in_order_of_creation():
    w = variable()
    first, second = w.assign_add(1.0), w.assign_sub(10.0)
    (a, b), new = run([first, second], states={w: 0})
    assert (a, b, new["w"]) == (1, -9, -9)
    (b,), new = run([second], states={w: 0})
    assert (b, new["w"]) == (-10, -10)


def test_ordered_assigns():
    w = variable()
    first = w.assign(2.0)
    with tf.control_dependencies([first]):
        second = w.assign(w.read_value() * 10.0)
        with tf.control_dependencies([second]):
            third = w.assign_add(1.0)
    (value,), new = run([third.op.outputs[0]], states={w: 0})
    assert (value, new["w"]) == (21, 21)


def test_unordered_assigns_are_an_error_that_names_both_lines():
    w = variable()
    line = here() + 1
    first = w.assign(2.0)
    second = w.assign(3.0)
    with pytest.raises(UnorderedWritesError) as caught:
        program_of([first, second])
    text = str(caught.value)
    assert f"{__file__}:{line}" in text
    assert f"{__file__}:{line + 1}" in text
    assert "variable w" in text
    assert "control_dependencies" in text
    program_of([first])


@pytest.mark.parametrize("assign_first", [True, False])
def test_an_assign_unordered_with_an_addition(assign_first):
    w = variable()
    writes = [lambda: w.assign(2.0), lambda: w.assign_add(1.0)]
    made = [write() for write in (writes if assign_first else writes[::-1])]
    with pytest.raises(UnorderedWritesError):
        program_of(made)


def test_an_assign_must_follow_every_earlier_write():
    w = variable()
    first, second = w.assign_add(1.0), w.assign_add(2.0)
    with tf.control_dependencies([second]):
        last = w.assign(0.0)
    with pytest.raises(UnorderedWritesError):
        program_of([first, last])
    program_of([second, last])


def test_a_variable_that_is_only_assigned_is_not_read():
    w = variable()
    program = program_of([w.initializer])
    assert program.states() == []
    assert [v.name for v in program.updates] == ["w"]


def test_group_runs_everything_once():
    w = variable()
    add = w.assign_add(1.0)
    step = tf.group(add, tf.group(add))
    _, new = run([step], states={w: 1})
    assert new == {"w": 2}


def test_draws_advance_and_repeat():
    x = tf.random_uniform([3], seed=1)
    program = program_of([x])
    (counter,) = program.updates
    first = run_program(program, [])
    again = run_program(program, [], {counter: first.updates[counter]})
    assert not np.array_equal(first.fetches[0], again.fetches[0])
    np.testing.assert_array_equal(first.fetches[0], run_program(program, []).fetches[0])


# -- effects -------------------------------------------------------------------------------------


def test_effects_in_order_of_creation(capsys):
    x = tf.constant(1.0)
    one = tf.Print(x, [x], "one ")
    two = tf.Print(x, [x], "two ")
    program = program_of([two, one])
    assert [effect.serial for effect in program.effects] == [1, 2]
    run_program(program, [])
    text = "".join(capsys.readouterr())
    assert text.index("one") < text.index("two")


def test_effects_that_nothing_needs_stay_out():
    x = tf.placeholder(tf.float32, [], name="x")
    tf.Assert(x > 0.0, [x])
    assert program_of([x * 2.0], [x]).effects == ()


def test_a_failed_assertion_shows_data():
    x = tf.placeholder(tf.float32, [2], name="x")
    with tf.control_dependencies([tf.Assert(tf.reduce_all(x > 0.0), [x], name="positive")]):
        y = tf.identity(x)
    run([y], {x: np.float32([1, 2])})
    with pytest.raises(InvalidArgumentError) as caught:
        run([y], {x: np.float32([1, -2])})
    assert "-2" in str(caught.value)
    assert "positive" in str(caught.value)


def test_a_check_that_only_a_control_dependency_needs_is_made():
    x = tf.placeholder(tf.float32, [2], name="x")
    with tf.control_dependencies([tf.check_numerics(x, "x is bad")]):
        y = tf.constant(1.0) * 2.0
    run([y], {x: np.float32([1, 2])})
    with pytest.raises(InvalidArgumentError, match="x is bad"):
        run([y], {x: np.float32([1, np.nan])})


# -- the whole -----------------------------------------------------------------------------------


def test_equal_cuts_are_equal_texts():
    texts = []
    for _ in range(2):
        with tf.Graph().as_default() as graph:
            x = tf.placeholder(tf.float32, [None, 4], name="x")
            w = tf.Variable(np.ones((4, 2), np.float32), name="w")
            loss = tf.reduce_mean(tf.square(tf.matmul(x, w)))
            step = tf.train.GradientDescentOptimizer(0.1).minimize(loss)
            program = cut(graph, [step, loss], [x])
            texts.append(print_program(program, origins=False))
    assert texts[0] == texts[1]


def test_cutting_is_near_linear():
    def work(count: int) -> int:
        with tf.Graph().as_default() as graph:
            x = tf.placeholder(tf.float32, [None], name="x")
            y = x
            for _ in range(count):
                y = tf.sin(y)
            return calls(lambda: cut(graph, [y], [x]))

    work(100)
    assert work(4000) < 8 * work(500) * 1.2
