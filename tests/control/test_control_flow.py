"""Branches and loops, on every back end."""

from __future__ import annotations

import numpy as np
import pytest
from running import run

import graphflow as tf
from graphflow.errors import GraphError, InvalidArgumentError, TypeRuleError

# -- loops ---------------------------------------------------------------------------------------


def test_a_loop_ends_when_its_condition_says_so(backend):
    limit = tf.placeholder(tf.int32, [])
    i, total = tf.while_loop(lambda i, s: s < limit, lambda i, s: (i + 1, s + i), [0, 0])
    assert run(backend, [i, total], {limit: 10}) == [5, 10]
    assert run(backend, [i, total], {limit: 0}) == [0, 0]


def test_loop_variables_may_be_nested(backend):
    start = {"a": tf.constant([1.0, 2.0]), "b": (tf.constant(0), [tf.constant(3.0)])}

    def body(i, nest):
        count, (x,) = nest["b"]
        return i + 1, {"a": nest["a"] * 2.0, "b": (count + 2, [x + 1.0])}

    i, nest = tf.while_loop(lambda i, _: i < 3, body, (0, start))
    found = run(backend, [i, nest])
    assert found[0] == 3 and found[1]["b"][0] == 6 and found[1]["b"][1] == [6.0]
    np.testing.assert_array_equal(found[1]["a"], [8.0, 16.0])


def test_a_single_variable_comes_back_alone():
    assert isinstance(tf.while_loop(lambda i: i < 3, lambda i: i + 1, [0]), tf.Tensor)
    kept = tf.while_loop(lambda i: i < 3, lambda i: [i + 1], [0], return_same_structure=True)
    assert isinstance(kept, list) and len(kept) == 1


def test_what_a_body_uses_from_outside_may_have_any_size(backend):
    x = tf.placeholder(tf.float32, [None, 2])
    w = tf.placeholder(tf.float32, [2, 2])
    _, y = tf.while_loop(lambda i, y: i < tf.shape(x)[0], lambda i, y: (i + 1, y @ w + x), [0, x])
    rng = np.random.default_rng(0)
    for rows in (1, 3):
        a, b = rng.standard_normal((rows, 2)), rng.standard_normal((2, 2))
        want = a
        for _ in range(rows):
            want = want @ b + a
        np.testing.assert_allclose(run(backend, y, {x: a, w: b}), want, rtol=1e-5)


def test_variables_that_change_places(backend):
    a, b, _ = tf.while_loop(
        lambda a, b, i: i < 7, lambda a, b, i: (b, a + b, i + 1), [0, 1, tf.constant(0)]
    )
    assert run(backend, [a, b]) == [13, 21]


def test_loops_inside_loops(backend):
    n = tf.placeholder(tf.int32, [])

    def outer(i, total):
        _, inner = tf.while_loop(
            lambda j, s: j < i, lambda j, s: (j + 1, s + j * i), [0, tf.constant(0)]
        )
        return i + 1, total + inner

    _, total = tf.while_loop(lambda i, _: i < n, outer, [0, 0])
    want = sum(j * i for i in range(6) for j in range(i))
    assert run(backend, total, {n: 6}) == want


def test_maximum_iterations(backend):
    limit = tf.placeholder(tf.int32, [])
    by_number = tf.while_loop(lambda x: x < 100, lambda x: x + 1, [0], maximum_iterations=5)
    by_tensor = tf.while_loop(lambda x: x < 4, lambda x: x + 1, [0], maximum_iterations=limit)
    always = tf.while_loop(lambda x: True, lambda x: x + 2, [0], maximum_iterations=limit)
    assert run(backend, [by_number, by_tensor, always], {limit: 3}) == [5, 3, 6]
    assert run(backend, [by_tensor, always], {limit: 9}) == [4, 18]


def test_a_loop_that_must_end(backend):
    limit = tf.placeholder(tf.int32, [])
    x = tf.while_loop(
        lambda x: x < limit, lambda x: x + 1, [0], maximum_iterations=5, must_end=True
    )
    assert run(backend, x, {limit: 5}) == 5
    with pytest.raises(InvalidArgumentError, match="still holds after maximum_iterations = 5"):
        run(backend, x, {limit: 6})
    with pytest.raises(ValueError, match="needs maximum_iterations"):
        tf.while_loop(lambda x: x < limit, lambda x: x + 1, [0], must_end=True)


def test_a_body_reads_and_writes_variables(backend):
    w = tf.Variable(2.0)
    count = tf.Variable(0)

    def body(i, s):
        with tf.control_dependencies([tf.assign_add(count, 1)]):
            return i + 1, s * w + tf.cast(count, tf.float32)

    n = tf.placeholder(tf.int32, [])
    _, s = tf.while_loop(lambda i, s: i < n, body, [0, 1.0])
    with tf.Session(backend=backend) as session:
        session.run(tf.global_variables_initializer())
        # ((1 * 2 + 1) * 2 + 2) * 2 + 3
        assert session.run(s, {n: 3}) == 19.0
        assert session.run(count) == 3
        assert session.run(s, {n: 0}) == 1.0
        assert session.run(count) == 3


def test_a_variable_read_before_its_write_sees_the_last_iteration(backend):
    w = tf.Variable(1.0)

    def body(i, s):
        before = w.read_value()
        with tf.control_dependencies([before]):
            written = w.assign(before * 2.0)
        with tf.control_dependencies([written]):
            return i + 1, s + before

    _, s = tf.while_loop(lambda i, s: i < 4, body, [0, 0.0])
    with tf.Session(backend=backend) as session:
        session.run(tf.global_variables_initializer())
        assert session.run(s) == 1 + 2 + 4 + 8
        assert session.run(w) == 16.0


@pytest.mark.parametrize("times", [2, 3])
def test_what_is_written_over_a_result_of_a_loop_lasts(backend, times):
    """A loop whose variable needs two memories may end in either of them."""
    x = tf.placeholder(tf.float32, [32, 32])
    w = tf.placeholder(tf.float32, [32, 32])

    def powers(start):
        return tf.while_loop(lambda i, _: i < times, lambda i, y: (i + 1, y @ w), [0, start])[1]

    first = tf.sin(powers(x))
    second = tf.cos(powers(first))
    third = powers(second)
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 32, 32)) * 0.2

    def numpy_powers(y):
        return y @ np.linalg.matrix_power(b, times)

    one = np.sin(numpy_powers(a))
    two = np.cos(numpy_powers(one))
    found = run(backend, first * second + third * first, {x: a, w: b})
    np.testing.assert_allclose(found, one * two + numpy_powers(two) * one, rtol=1e-4, atol=1e-5)


def test_random_numbers_differ_from_iteration_to_iteration(backend):
    def body(i, low, high):
        x = tf.random_uniform([], seed=3)
        return i + 1, tf.minimum(low, x), tf.maximum(high, x)

    _, low, high = tf.while_loop(lambda i, *_: i < 20, body, [0, 1.0, 0.0])
    low, high = run(backend, [low, high])
    assert 0 <= low < 0.4 and 0.6 < high < 1


def test_checks_in_a_body_name_the_line(backend):
    x = tf.placeholder(tf.float32, [])

    def body(i, s):
        with tf.control_dependencies([tf.Assert(s < 10.0, [s])]):
            return i + 1, s * x

    _, s = tf.while_loop(lambda i, s: i < 5, body, [0, 1.0])
    assert run(backend, s, {x: 1.5}) == pytest.approx(1.5**5)
    with pytest.raises(InvalidArgumentError, match="assertion failed"):
        run(backend, s, {x: 9.0})


def test_prints_in_a_body(backend, capfd):
    def body(i):
        with tf.control_dependencies([tf.print("at", i)]):
            return i + 1

    run(backend, tf.while_loop(lambda i: i < 3, body, [0]))
    seen = capfd.readouterr()
    assert [line for line in (seen.out + seen.err).split("\n") if line] == ["at 0", "at 1", "at 2"]


def test_a_loop_that_never_runs(backend):
    x = tf.placeholder(tf.float32, [2])
    y, _ = tf.while_loop(lambda y, i: i < 0, lambda y, i: (y * 2, i + 1), [x, 0])
    np.testing.assert_array_equal(run(backend, y, {x: [1, 2]}), [1, 2])


def test_every_dtype_can_be_handed_on(backend):
    start = [tf.constant(1, d) for d in (tf.int32, tf.int64, tf.uint8, tf.float64)]
    start += [tf.constant(True)]
    found = tf.while_loop(
        lambda i, *_: i < 3,
        lambda i, a, b, c, d, e: (i + 1, a * 2, b * 3, c + tf.constant(1, tf.uint8), d / 2, ~e),
        [0, *start],
    )
    assert run(backend, found)[1:] == [8, 27, 4, 0.125, False]


# -- branches ------------------------------------------------------------------------------------


def test_only_the_taken_branch_runs(backend):
    x = tf.placeholder(tf.float32, [])
    taken, other = tf.Variable(0), tf.Variable(0)

    def yes():
        with tf.control_dependencies([tf.assign_add(taken, 1)]):
            return x * 2

    def no():
        with tf.control_dependencies([tf.assign_add(other, 1)]):
            return x - 1

    y = tf.cond(x > 0, yes, no)
    with tf.Session(backend=backend) as session:
        session.run(tf.global_variables_initializer())
        assert [session.run(y, {x: v}) for v in (1.0, 2.0, -1.0)] == [2.0, 4.0, -2.0]
        assert session.run([taken, other]) == [2, 1]


def test_branches_may_return_structures_and_what_is_outside(backend):
    x = tf.placeholder(tf.float32, [2])
    flag = tf.placeholder(tf.bool, [])
    y = tf.cond(flag, lambda: {"a": x, "b": [x + 1]}, lambda: {"a": x * 3, "b": [x]})
    found = run(backend, y, {x: [1, 2], flag: True})
    np.testing.assert_array_equal(found["a"], [1, 2])
    np.testing.assert_array_equal(found["b"][0], [2, 3])
    found = run(backend, y, {x: [1, 2], flag: False})
    np.testing.assert_array_equal(found["a"], [3, 6])


def test_branches_of_operations(backend):
    flag = tf.placeholder(tf.bool, [])
    v = tf.Variable(0)
    op = tf.cond(flag, lambda: tf.assign_add(v, 1).op, lambda: tf.no_op())
    with tf.Session(backend=backend) as session:
        session.run(tf.global_variables_initializer())
        for value in (True, False, True):
            session.run(op, {flag: value})
        assert session.run(v) == 2


def test_case_and_switch_case(backend):
    i = tf.placeholder(tf.int32, [])
    c = tf.case(
        [(i < 0, lambda: -1), (i < 10, lambda: 0)], default=lambda: tf.constant(1), exclusive=False
    )
    s = tf.switch_case(i, [lambda: tf.constant(10), lambda: tf.constant(11)], lambda: i * 2)
    sparse = tf.switch_case(i, {3: lambda: 30, -5: lambda: 50, 7: lambda: 70}, lambda: 0)
    found = [run(backend, [c, s, sparse], {i: n}) for n in (-5, 0, 1, 3, 20)]
    want = [[-1, -10, 50], [0, 10, 0], [0, 11, 0], [0, 6, 30], [1, 40, 0]]
    assert found == want


def test_case_without_a_true_predicate_fails(backend):
    x = tf.placeholder(tf.int32, [])
    y = tf.case([(x > 0, lambda: x), (x < -5, lambda: -x)])
    assert run(backend, y, {x: 3}) == 3
    assert run(backend, y, {x: -7}) == 7
    with pytest.raises(InvalidArgumentError, match="none is true"):
        run(backend, y, {x: -1})


def test_exclusive_cases(backend):
    x = tf.placeholder(tf.int32, [])
    y = tf.case([(x > 0, lambda: 1), (x > 5, lambda: 2)], lambda: 0, exclusive=True)
    assert run(backend, y, {x: 1}) == 1
    with pytest.raises(InvalidArgumentError, match="more than one"):
        run(backend, y, {x: 6})


def test_branches_in_loops(backend):
    def body(i, s):
        return i + 1, tf.cond(tf.equal(i % 2, 0), lambda: s + i, lambda: s * 2)

    _, s = tf.while_loop(lambda i, s: i < 5, body, [0, 1])
    assert run(backend, s) == ((1 + 0) * 2 + 2) * 2 + 4


# -- maps, folds, scans --------------------------------------------------------------------------


def test_maps_and_folds(backend):
    x = tf.placeholder(tf.float32, [None, 3])
    a = np.arange(12, dtype=np.float32).reshape(4, 3)
    found = run(
        backend,
        {
            "map": tf.map_fn(lambda r: tf.reduce_sum(r * r), x),
            "pair": tf.map_fn(lambda p: (p[0] + p[1], p[0] - p[1]), (x, x), (tf.float32,) * 2),
            "vector": tf.vectorized_map(lambda r: tf.cumsum(r), x),
            "left": tf.foldl(lambda s, r: s * 0.5 + r, x),
            "right": tf.foldr(lambda s, r: s * 0.5 + r, x),
            "scan": tf.scan(lambda s, r: s + r, x),
            "back": tf.scan(lambda s, r: s + tf.reduce_sum(r), x, 0.0, reverse=True),
        },
        {x: a},
    )
    np.testing.assert_allclose(found["map"], (a * a).sum(1))
    np.testing.assert_allclose(found["pair"][0], 2 * a)
    np.testing.assert_allclose(found["vector"], np.cumsum(a, 1))
    left, right = a[0], a[-1]
    for row in a[1:]:
        left = left * 0.5 + row
    for row in a[-2::-1]:
        right = right * 0.5 + row
    np.testing.assert_allclose(found["left"], left)
    np.testing.assert_allclose(found["right"], right)
    np.testing.assert_allclose(found["scan"], np.cumsum(a, 0))
    np.testing.assert_allclose(found["back"], np.cumsum(a.sum(1)[::-1])[::-1])


# -- bad input -----------------------------------------------------------------------------------


def test_a_variable_must_keep_its_dtype_and_shape():
    with pytest.raises(TypeRuleError, match=r"loop variable 1 .*int32\[\].*float32\[\]"):
        tf.while_loop(lambda i, s: i < 3, lambda i, s: (i + 1, tf.cast(s, tf.float32)), [0, 1])
    with pytest.raises(TypeRuleError, match=r"float32\[2\] when the loop begins and float32\[4\]"):
        tf.while_loop(
            lambda i, s: i < 3, lambda i, s: (i + 1, tf.concat([s, s], 0)), [0, tf.zeros([2])]
        )


def test_a_body_must_return_the_structure_it_gets():
    with pytest.raises(ValueError, match="structure"):
        tf.while_loop(lambda i, s: i < 3, lambda i, s: (i + 1,), [0, 1])
    with pytest.raises(ValueError, match="structure"):
        tf.while_loop(lambda i, s: i < 3, lambda i, s: (i + 1, (s, s)), [0, 1])


def test_a_condition_is_one_bool():
    with pytest.raises(TypeRuleError, match="bool scalar"):
        tf.while_loop(lambda i: i, lambda i: i + 1, [0])
    with pytest.raises(TypeRuleError, match="bool scalar"):
        tf.cond(tf.constant([True]), lambda: 1, lambda: 2)
    with pytest.raises(TypeError, match="Python bool"):
        tf.cond(True, lambda: 1, lambda: 2)


def test_branches_that_disagree():
    flag = tf.placeholder(tf.bool, [])
    with pytest.raises(TypeRuleError, match=r"result 0 of the branches is int32\[\].*float32"):
        tf.cond(flag, lambda: 1, lambda: 2.0)
    with pytest.raises(ValueError, match="same structure"):
        tf.cond(flag, lambda: (1, 2), lambda: 1)
    with pytest.raises(ValueError, match="same structure"):
        tf.cond(flag, lambda: tf.constant(1), lambda: tf.no_op())


def test_what_a_body_defines_stays_inside():
    inner = []

    def body(i):
        inner.append(i * 2)
        return i + 1

    tf.while_loop(lambda i: i < 3, body, [0])
    with pytest.raises(GraphError, match="defined inside the body of while"):
        inner[0] + 1


@pytest.mark.parametrize("backend", ["compiled", "reference", "op-by-op"])
def test_a_condition_may_write(backend):
    """It is asked once more than there are iterations, and its body sees what it has written."""
    asked, seen, other = tf.Variable(0), tf.Variable(0), tf.Variable(7)
    n = tf.placeholder(tf.int32, [])

    def condition(i, _):
        with tf.control_dependencies([tf.assign_add(asked, 1)]):
            return tf.identity(i) < n

    def body(i, y):
        with tf.control_dependencies([tf.assign(seen, asked * 10)]):
            return i + 1, y * asked.read_value() + other

    i, y = tf.while_loop(condition, body, [0, 1])
    with tf.Session(backend=backend) as session:
        session.run(tf.global_variables_initializer())
        assert session.run([i, y], {n: 3}) == [3, (((1 * 1 + 7) * 2 + 7) * 3 + 7)]
        assert session.run([asked, seen, other]) == [4, 30, 7]
        assert session.run(i, {n: 0}) == 0
        assert session.run([asked, seen]) == [5, 30]


def test_the_gradient_of_a_loop_whose_condition_writes():
    asked = tf.Variable(0)
    x = tf.placeholder(tf.float32, [])

    def condition(y):
        with tf.control_dependencies([tf.assign_add(asked, 1)]):
            return tf.identity(y) < 50.0

    y = tf.while_loop(condition, lambda y: y * x, [x])
    (slope,) = tf.gradients(y, x)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        assert session.run([y, slope], {x: 4.0}) == [64.0, 48.0]
        assert session.run(asked) == 3


def test_values_that_change_places_keep_their_memory():
    """A result may end up in the memory of the next value, which nobody else may have then."""
    n = tf.placeholder(tf.int32, [])

    def outer(i, total):
        _, inner = tf.while_loop(
            lambda j, s: j < i, lambda j, s: (j + 1, s + j * i), [0, tf.constant(0)]
        )
        return i + 1, total + inner

    _, total = tf.while_loop(lambda i, _: i < n, outer, [0, 0])
    config = tf.ConfigProto(disable=["in_place_state"])
    with tf.Session(config=config) as session:
        want = sum(j * i for i in range(6) for j in range(i))
        assert session.run(total, {n: 6}) == want
