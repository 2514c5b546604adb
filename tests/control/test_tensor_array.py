"""TensorArrays: in loops, branches and scans, with gradients, on every back end."""

from __future__ import annotations

import numpy as np
import pytest
from running import run

import graphflow as tf
from graphflow.errors import InvalidArgumentError, OutOfRangeError, TypeRuleError


def at(*shape):
    return np.random.default_rng(0).standard_normal(shape) * 0.5


def check(backend, loss, x, value, feeds=None, order=2):
    """The gradients of `loss` by `x` up to an order, each against differences of the one before."""
    rng = np.random.default_rng(1)
    step = 1e-6
    with tf.Session(backend=backend) as session:
        for _ in range(order):
            (gradient,) = tf.gradients(loss, x, unconnected_gradients="zero")
            gradient = tf.convert_to_tensor(gradient)
            found = session.run(gradient, {x: value, **(feeds or {})})
            want = np.zeros_like(value)
            for k in range(value.size):
                change = np.zeros_like(value)
                change.flat[k] = step
                high, low = (
                    session.run(loss, {x: v, **(feeds or {})})
                    for v in (value + change, value - change)
                )
                want.flat[k] = (high - low) / (2 * step)
            scale = max(1.0, float(np.abs(want).max()))
            np.testing.assert_allclose(found, want, rtol=0, atol=1e-6 * scale)
            loss = tf.reduce_sum(gradient * rng.standard_normal(value.shape))


def names_this_file(error) -> bool:
    return "test_tensor_array.py" in str(error.value)


# -- at known indices ----------------------------------------------------------------------------


def test_elements_at_known_indices(backend):
    x = tf.placeholder(tf.float32, [2])
    array = tf.TensorArray(tf.float32, 3, tensor_array_name="steps")
    array = array.write(2, x).write(0, x * 2.0)
    later = array.write(1, x * 3.0)
    assert array.dtype is tf.float32 and array.handle is None
    found = run(
        backend,
        [later.stack(), later.read(1), array.read(2), later.gather([2, 0]), later.concat(),
         later.size()],
        {x: [1.0, 2.0]},
    )  # fmt: skip
    np.testing.assert_array_equal(found[0], [[2, 4], [3, 6], [1, 2]])
    np.testing.assert_array_equal(found[1], [3, 6])
    np.testing.assert_array_equal(found[2], [1, 2])
    np.testing.assert_array_equal(found[3], [[1, 2], [2, 4]])
    np.testing.assert_array_equal(found[4], [2, 4, 3, 6, 1, 2])
    assert found[5] == 3
    assert later.element_shape.as_list() == [2]


def test_a_write_beyond_the_end_makes_a_dynamic_array_larger(backend):
    array = tf.TensorArray(tf.float32, dynamic_size=True)
    array = array.write(0, 1.0).write(1, 2.0)
    assert run(backend, array.size()) == 2
    rows = tf.TensorArray(tf.float32, 0, dynamic_size=True).unstack(tf.constant([1.0, 2.0]))
    more = rows.write(3, 5.0)
    assert run(backend, [more.size(), more.read(3), more.read(1)]) == [4, 5.0, 2.0]
    with pytest.raises(InvalidArgumentError, match="never written"):
        run(backend, more.stack())
    np.testing.assert_array_equal(run(backend, more.write(2, 4.0).stack()), [1, 2, 4, 5])


def test_unstack_and_stack_of_any_number_of_rows(backend):
    x = tf.placeholder(tf.float32, [None, 2])
    array = tf.TensorArray(tf.float32, tf.shape(x)[0]).unstack(x)
    i = tf.placeholder(tf.int32, [])
    for rows in (1, 4):
        value = at(rows, 2).astype(np.float32)
        found = run(backend, [array.stack(), array.read(i), array.size()], {x: value, i: rows - 1})
        np.testing.assert_array_equal(found[0], value)
        np.testing.assert_array_equal(found[1], value[-1])
        assert found[2] == rows


def test_unstack_into_a_larger_array(backend):
    x = tf.placeholder(tf.float32, [None])
    n = tf.placeholder(tf.int32, [])
    array = tf.TensorArray(tf.float32, 4).unstack(x)
    assert run(backend, array.read(n), {x: [1.0, 2.0], n: 1}) == 2.0
    assert run(backend, array.size(), {x: [1.0, 2.0]}) == 4
    with pytest.raises(InvalidArgumentError, match="never written"):
        run(backend, array.read(n), {x: [1.0, 2.0], n: 2})
    with pytest.raises(InvalidArgumentError, match="more rows"):
        run(backend, array.read(n), {x: np.ones(5), n: 2})
    whole = array.scatter([2, 3], tf.constant([7.0, 8.0]))
    np.testing.assert_array_equal(run(backend, whole.stack(), {x: [1.0, 2.0]}), [1, 2, 7, 8])


def test_a_size_that_depends_on_data(backend):
    n = tf.placeholder(tf.int32, [])
    x = tf.placeholder(tf.float32, [None])
    array = tf.TensorArray(tf.float32, n).unstack(x)
    np.testing.assert_array_equal(run(backend, array.stack(), {x: [1, 2], n: 2}), [1, 2])
    with pytest.raises(InvalidArgumentError, match="not all"):
        run(backend, array.stack(), {x: [1, 2], n: 3})
    with pytest.raises(InvalidArgumentError, match="more rows"):
        run(backend, array.read(0), {x: [1, 2], n: 1})
    written = tf.TensorArray(tf.float32, n).write(0, 3.0).write(1, 4.0)
    assert run(backend, [written.read(1), written.size()], {n: 2}) == [4.0, 2]
    np.testing.assert_array_equal(run(backend, written.stack(), {n: 2}), [3, 4])
    with pytest.raises(InvalidArgumentError, match="outside its size"):
        run(backend, written.read(1), {n: 1})


def test_gather_and_scatter(backend):
    x = tf.placeholder(tf.float64, [3, 2])
    order = tf.placeholder(tf.int32, [3])
    array = tf.TensorArray(tf.float64, 5).scatter(order, x)
    y = array.gather(tf.constant([4, 1]))
    value = at(3, 2)
    found = run(backend, y, {x: value, order: [1, 0, 4]})
    np.testing.assert_array_equal(found, value[[2, 0]])
    check(backend, tf.reduce_sum(y * y * y), x, value, {order: [1, 0, 4]})
    with pytest.raises(InvalidArgumentError, match="never written"):
        run(backend, y, {x: value, order: [1, 0, 3]})
    with pytest.raises(OutOfRangeError, match="TensorArray.*scatter: index 5 is outside"):
        run(backend, y, {x: value, order: [1, 5, 4]})
    whole = tf.TensorArray(tf.float64, 0, dynamic_size=True).scatter([2, 0, 1], x)
    np.testing.assert_array_equal(run(backend, whole.stack(), {x: value}), value[[1, 2, 0]])


def test_split_and_concat(backend):
    x = tf.placeholder(tf.float64, [6, 2])
    value = at(6, 2)
    even = tf.TensorArray(tf.float64, 3).split(x, [2, 2, 2])
    uneven = tf.TensorArray(tf.float64, 3).split(x, tf.constant([1, 3, 2]))
    i = tf.placeholder(tf.int32, [])
    found = run(
        backend, [even.read(i), uneven.read(1), even.concat(), uneven.concat()], {x: value, i: 2}
    )
    np.testing.assert_array_equal(found[0], value[4:])
    np.testing.assert_array_equal(found[1], value[1:4])
    np.testing.assert_array_equal(found[2], value)
    np.testing.assert_array_equal(found[3], value)
    y = uneven.write(1, tf.sin(uneven.read(1))).concat()
    check(backend, tf.reduce_sum(y * y), x, value)


def test_split_by_symbolic_sizes(backend):
    x = tf.placeholder(tf.float32, [None])
    y = tf.placeholder(tf.float32, [None])
    both = tf.concat([x, y], 0)
    lengths = [tf.shape(x)[0], tf.shape(y)[0]]
    array = tf.TensorArray(tf.float32, 2).split(both, lengths)
    found = run(backend, [array.read(0), array.read(1)], {x: [1.0], y: [2.0, 3.0]})
    np.testing.assert_array_equal(found[0], [1])
    np.testing.assert_array_equal(found[1], [2, 3])


def test_elements_of_different_shapes(backend):
    array = tf.TensorArray(tf.float32, 2, infer_shape=False)
    array = array.write(0, [[1.0]]).write(1, [[2.0], [3.0]])
    np.testing.assert_array_equal(run(backend, array.concat()), [[1], [2], [3]])
    with pytest.raises(TypeRuleError, match="the others have"):
        array.stack()


def test_identity_runs_after_control_dependencies(backend):
    count = tf.Variable(0)
    array = tf.TensorArray(tf.float32, 1).write(0, 2.0)
    with tf.control_dependencies([tf.assign_add(count, 1), array.flow, array.close()]):
        after = array.identity()
    with tf.Session(backend=backend) as session:
        session.run(tf.global_variables_initializer())
        assert session.run(after.read(0)) == 2.0
        assert session.run(count) == 1


# -- in loops ------------------------------------------------------------------------------------


def test_rows_go_through_a_loop(backend):
    x = tf.placeholder(tf.float64, [None, 3])
    n = tf.shape(x)[0]
    inputs = tf.TensorArray(tf.float64, n).unstack(x)
    _, outputs = tf.while_loop(
        lambda i, _: i < n,
        lambda i, out: (i + 1, out.write(i, tf.sin(inputs.read(i)))),
        (0, tf.TensorArray(tf.float64, n)),
    )
    y = outputs.stack()
    assert y.dims == x.dims
    for rows in (0, 1, 4):
        np.testing.assert_allclose(run(backend, y, {x: at(rows, 3)}), np.sin(at(rows, 3)))
    check(backend, tf.reduce_sum(y * y), x, at(3, 3))


def test_a_recurrent_network_by_hand(backend):
    """`dynamic_rnn` as it was written with TensorArrays: both are loop variables."""
    x = tf.placeholder(tf.float64, [2, None, 3])  # batch, time, features
    w, u = tf.constant(at(3, 4)), tf.constant(at(4, 4))
    steps = tf.shape(x)[1]
    rows = tf.transpose(x, [1, 0, 2])
    inputs = tf.TensorArray(tf.float64, steps, tensor_array_name="inputs").unstack(rows)
    outputs = tf.TensorArray(tf.float64, steps, tensor_array_name="outputs")

    def body(time, state, inputs, outputs):
        state = tf.tanh(inputs.read(time) @ w + state @ u)
        return time + 1, state, inputs, outputs.write(time, state)

    start = (tf.constant(0), tf.zeros([2, 4], tf.float64), inputs, outputs)
    _, state, _, outputs = tf.while_loop(lambda t, *_: t < steps, body, start)
    y = outputs.stack()
    value = at(2, 5, 3)
    want, each = np.zeros((2, 4)), []
    for step in range(5):
        want = np.tanh(value[:, step] @ at(3, 4) + want @ at(4, 4))
        each.append(want)
    found = run(backend, [y, state], {x: value})
    np.testing.assert_allclose(found[0], each)
    np.testing.assert_allclose(found[1], want)
    check(backend, tf.reduce_sum(y * y) + tf.reduce_sum(state), x, at(2, 3, 3))


def test_an_array_grows_by_as_many_iterations_as_there_are(backend):
    x = tf.placeholder(tf.float64, [2])
    limit = tf.placeholder(tf.float64, [])
    array = tf.TensorArray(tf.float64, size=0, dynamic_size=True)
    _, _, array = tf.while_loop(
        lambda i, y, _: tf.reduce_sum(y) < limit,
        lambda i, y, array: (i + 1, y + x * x, array.write(i, y)),
        (0, x, array),
    )
    rows = array.stack()
    value = np.asarray([0.5, 0.25])
    for most, count in ((1.9, 4), (0.0, 0)):
        found, size, mean = run(
            backend, [rows, array.size(), tf.reduce_mean(rows)], {x: value, limit: most}
        )
        assert size == count and len(found) == count
        np.testing.assert_allclose(found, [value + k * value**2 for k in range(count)] or found)
        if count:
            np.testing.assert_allclose(mean, found.mean())
    assert run(backend, array.size(), {x: value, limit: 1.9}) == 4
    np.testing.assert_allclose(run(backend, array.read(3), {x: value, limit: 1.9}),
                               value + 3 * value**2)  # fmt: skip
    with pytest.raises(OutOfRangeError, match="read: index 4 is outside"):
        run(backend, array.read(4), {x: value, limit: 1.9})
    check(backend, tf.reduce_sum(rows * rows * rows), x, value, {limit: 1.9}, 3)


def test_a_growing_array_that_has_elements_already(backend):
    x = tf.placeholder(tf.float64, [])
    n = tf.placeholder(tf.int32, [])
    array = tf.TensorArray(tf.float64, 1, dynamic_size=True).write(0, x)
    _, y, array = tf.while_loop(
        lambda i, *_: i < n, lambda i, y, a: (i + 1, y * x, a.write(i, y * x)), (1, x, array)
    )
    rows = array.stack()
    np.testing.assert_allclose(run(backend, rows, {x: 2.0, n: 5}), [2, 4, 8, 16, 32])
    np.testing.assert_allclose(run(backend, rows, {x: 2.0, n: 0}), [2])
    check(backend, tf.reduce_sum(rows * rows), x, np.asarray(0.7), {n: 4})
    again = tf.while_loop(
        lambda i, _: i < n + 2, lambda i, a: (i + 1, a.write(i, 0.0)), (tf.shape(rows)[0], array)
    )[1]
    np.testing.assert_allclose(run(backend, again.stack(), {x: 2.0, n: 2}), [2, 4, 0, 0])


def test_a_size_that_depends_on_data_in_a_loop(backend):
    n, steps = tf.placeholder(tf.int32, []), tf.placeholder(tf.int32, [])
    _, array = tf.while_loop(
        lambda i, _: i < steps,
        lambda i, a: (i + 1, a.write(i, tf.cast(i, tf.float32) * 2.0)),
        (0, tf.TensorArray(tf.float32, n, tensor_array_name="found")),
    )
    np.testing.assert_array_equal(run(backend, array.stack(), {n: 3, steps: 3}), [0, 2, 4])
    assert run(backend, [array.read(1), array.size()], {n: 3, steps: 2}) == [2.0, 3]
    with pytest.raises(InvalidArgumentError, match="found: stack: not all"):
        run(backend, array.stack(), {n: 3, steps: 2})
    with pytest.raises(InvalidArgumentError, match="found: write: the index is outside") as error:
        run(backend, array.read(0), {n: 3, steps: 4})
    assert names_this_file(error)


def test_a_loop_that_writes_only_some(backend):
    steps = tf.placeholder(tf.int32, [])
    i = tf.placeholder(tf.int32, [])
    _, array = tf.while_loop(
        lambda i, _: i < steps,
        lambda i, a: (i + 1, a.write(i, i * i)),
        (0, tf.TensorArray(tf.int32, 5, tensor_array_name="squares")),
    )
    np.testing.assert_array_equal(run(backend, array.stack(), {steps: 5}), [0, 1, 4, 9, 16])
    assert run(backend, array.read(i), {steps: 3, i: 2}) == 4
    for fetch in (array.read(i), array.stack(), array.gather([i]), array.gather([0, 4])):
        with pytest.raises(InvalidArgumentError, match="squares.*never written") as error:
            run(backend, fetch, {steps: 3, i: 3})
        assert names_this_file(error)
    with pytest.raises(InvalidArgumentError, match="squares: write: the index is outside"):
        run(backend, array.read(i), {steps: 6, i: 3})
    with pytest.raises(OutOfRangeError, match=r"squares: read: index 5 is outside \[0, 5\)"):
        run(backend, array.read(i), {steps: 5, i: 5})


def test_a_body_reads_what_it_wrote_before(backend):
    x = tf.placeholder(tf.float64, [2, 3])
    array = tf.TensorArray(tf.float64, 6).write(0, x[0]).write(1, x[1])
    _, array = tf.while_loop(
        lambda i, _: i < 6,
        lambda i, a: (i + 1, a.write(i, a.read(i - 1) * a.read(i - 2))),
        (2, array),
    )
    y = array.stack()
    value = at(2, 3)
    want = list(value)
    for _ in range(4):
        want.append(want[-1] * want[-2])
    np.testing.assert_allclose(run(backend, y, {x: value}), want)
    check(backend, tf.reduce_sum(y), x, value + 1.0)


def test_the_shape_of_an_element_is_found_in_the_body(backend):
    """Written at an index that is no counter, so that no stack can take its place."""
    order = tf.placeholder(tf.int32, [4])
    x = tf.placeholder(tf.float64, [4, 2])
    _, array = tf.while_loop(
        lambda i, _: i < 4,
        lambda i, a: (i + 1, a.write(order[i], tf.exp(x[i]))),
        (0, tf.TensorArray(tf.float64, 4)),
    )
    y = array.stack()
    found = run(backend, y, {x: at(4, 2), order: [3, 1, 0, 2]})
    np.testing.assert_allclose(found, np.exp(at(4, 2))[[2, 1, 3, 0]])
    with pytest.raises(InvalidArgumentError, match="never written"):
        run(backend, y, {x: at(4, 2), order: [3, 1, 0, 0]})
    check(backend, tf.reduce_sum(y * y), x, at(4, 2), {order: [3, 1, 0, 2]})


def test_an_array_in_loops_inside_loops(backend):
    x = tf.placeholder(tf.float64, [3])

    def outer(i, array):
        def inner(j, array):
            return j + 1, array.write(i * 3 + j, x[i] * x[j])

        return i + 1, tf.while_loop(lambda j, _: j < 3, inner, (0, array))[1]

    _, array = tf.while_loop(lambda i, _: i < 3, outer, (0, tf.TensorArray(tf.float64, 9)))
    y = array.stack()
    np.testing.assert_allclose(run(backend, y, {x: at(3)}), np.outer(at(3), at(3)).reshape(-1))
    check(backend, tf.reduce_sum(tf.sin(y)), x, at(3))


def test_a_branch_writes_or_not(backend):
    x = tf.placeholder(tf.float64, [4])

    def body(i, array):
        return i + 1, tf.cond(
            x[i] > 0.0, lambda: array.write(i, x[i] * x[i]), lambda: array.write(i, -x[i])
        )

    _, array = tf.while_loop(lambda i, _: i < 4, body, (0, tf.TensorArray(tf.float64, 4)))
    y = array.stack()
    value = np.asarray([1.0, -2.0, 3.0, -4.0])
    np.testing.assert_allclose(run(backend, y, {x: value}), [1, 2, 9, 4])
    check(backend, tf.reduce_sum(y * y), x, value)


def test_branches_outside_loops(backend):
    flag = tf.placeholder(tf.bool, [])
    x = tf.placeholder(tf.float64, [2])
    whole = tf.TensorArray(tf.float64, 2).unstack(tf.stack([x, x]))
    array = tf.cond(flag, lambda: whole, lambda: tf.TensorArray(tf.float64, 2).write(1, x * x))
    for value in (True, False):
        found = run(backend, array.read(1), {x: [2.0, 3.0], flag: value})
        np.testing.assert_array_equal(found, [2, 3] if value else [4, 9])
    with pytest.raises(InvalidArgumentError, match="never written"):
        run(backend, array.stack(), {x: [2.0, 3.0], flag: False})
    y = array.read(1)
    check(backend, tf.reduce_sum(y * y), x, at(2), {flag: False})


def test_folds_and_maps(backend):
    x = tf.placeholder(tf.float64, [3, 2])
    table = tf.TensorArray(tf.float64, 3).unstack(x)
    y = tf.map_fn(lambda i: tf.sin(table.read(i)), tf.constant([2, 0]), dtype=tf.float64)
    np.testing.assert_allclose(run(backend, y, {x: at(3, 2)}), np.sin(at(3, 2))[[2, 0]])

    def step(state, row):
        i, array = state
        return i + 1, array.write(2 - i, row * row)

    _, array = tf.foldl(step, x, (tf.constant(0), tf.TensorArray(tf.float64, 3)))
    z = array.stack()
    np.testing.assert_allclose(run(backend, z, {x: at(3, 2)}), (at(3, 2) ** 2)[::-1])
    check(backend, tf.reduce_sum(y * y) + tf.reduce_sum(z * z), x, at(3, 2))


def test_maximum_iterations_and_one_variable(backend):
    i, array = tf.while_loop(
        lambda i, _: True,
        lambda i, a: (i + 1, a.write(i, i)),
        [0, tf.TensorArray(tf.int32, 0, dynamic_size=True)],
        maximum_iterations=3,
    )
    np.testing.assert_array_equal(run(backend, array.stack()), [0, 1, 2])
    assert run(backend, i) == 3


def test_an_array_that_a_loop_only_carries(backend):
    empty = tf.TensorArray(tf.float32, 2)
    _, same = tf.while_loop(lambda i, _: i < 3, lambda i, a: (i + 1, a), [0, empty])
    np.testing.assert_array_equal(
        run(backend, same.write(0, 1.0).write(1, 2.0).stack()), [1.0, 2.0]
    )


# -- errors --------------------------------------------------------------------------------------


def test_errors_at_definition():
    array = tf.TensorArray(tf.float32, 2, tensor_array_name="few").write(0, [1.0, 2.0])
    for wrong in (2, -1):
        with pytest.raises(OutOfRangeError, match=rf"few: write: index {wrong} is outside") as e:
            array.write(wrong, [1.0, 2.0])
        assert names_this_file(e)
    with pytest.raises(OutOfRangeError, match="few: read: index 5 is outside"):
        array.read(5)
    with pytest.raises(InvalidArgumentError, match="few: read: element 1: was never written") as e:
        array.read(1)
    assert names_this_file(e)
    with pytest.raises(InvalidArgumentError, match="few: stack: element 1: was never written"):
        array.stack()
    with pytest.raises(TypeRuleError, match=r"few: write: .* has shape \[3\], the others have"):
        array.write(1, [1.0, 2.0, 3.0])
    with pytest.raises(TypeRuleError, match="few: write"):
        array.write(1, tf.constant([1, 2]))
    with pytest.raises(TypeRuleError, match="the index is"):
        array.write(0.5, [1.0, 2.0])
    with pytest.raises(TypeRuleError, match="there are 3 rows, the size of the TensorArray is 2"):
        array.unstack(tf.zeros([3, 2]))
    with pytest.raises(InvalidArgumentError, match="are 5 in all"):
        array.split(tf.zeros([4]), [2, 3])
    with pytest.raises(NotImplementedError, match="tf.gradients"):
        array.grad("gradients")
    with pytest.raises(ValueError, match="it needs a size"):
        tf.TensorArray(tf.float32)
    with pytest.raises(ValueError, match="handle and flow"):
        tf.TensorArray(tf.float32, 2, flow=array.flow)
    shaped = tf.TensorArray(tf.float32, 2, element_shape=[None, 3])
    with pytest.raises(TypeRuleError, match=r"the others have \[\?, 3\]"):
        shaped.write(0, tf.zeros([2, 2]))


def test_what_cannot_grow_says_so():
    n = tf.placeholder(tf.int32, [])
    array = tf.TensorArray(tf.float32, 0, dynamic_size=True, tensor_array_name="more")
    with pytest.raises(TypeRuleError, match="more: write: its size is not known") as error:
        array.write(n, 1.0)
    assert names_this_file(error)
    bodies = {
        "more than once": lambda i, a: (i + 1, a.write(i, 1.0).write(i, 2.0)),
        "it is read": lambda i, a: (i + 1, a.write(i, a.read(0))),
        "it is not written at a loop variable": lambda i, a: (i + 1, a.write(i + 1, 2.0)),
        "it goes into a branch": lambda i, a: (
            i + 1, tf.cond(n > 1, lambda: a.write(i, 1.0), lambda: a),
        ),
    }  # fmt: skip
    for reason, body in bodies.items():
        with pytest.raises(TypeRuleError, match=f"more: it is to grow .* {reason}") as error:
            tf.while_loop(lambda i, _: i < n, body, [0, array])
        assert names_this_file(error)
    with pytest.raises(TypeRuleError, match="writes it from index 1 on"):
        tf.while_loop(lambda i, _: i < n, lambda i, a: (i + 1, a.write(i, 1.0)), [1, array])
    with pytest.raises(ValueError, match="a TensorArray, but a tensor comes back"):
        tf.while_loop(lambda i, _: i < n, lambda i, a: (i + 1, i), [0, array])


def test_indices_outside_in_a_loop(backend):
    n = tf.placeholder(tf.int32, [])
    x = tf.placeholder(tf.float32, [3])
    array = tf.TensorArray(tf.float32, 3, tensor_array_name="narrow").unstack(x)
    _, total = tf.while_loop(lambda i, _: i < n, lambda i, s: (i + 1, s + array.read(i)), [0, 0.0])
    assert run(backend, total, {x: [1, 2, 3], n: 3}) == 6.0
    with pytest.raises(OutOfRangeError, match=r"narrow: read: index 3 is outside \[0, 3\)") as e:
        run(backend, total, {x: [1, 2, 3], n: 4})
    assert names_this_file(e)


# -- what this rests on --------------------------------------------------------------------------


def test_constants_made_after_a_check_in_a_body_are_everyones(backend):
    """The gradient's body shares the constants of the loop's, but not its checks."""
    x = tf.placeholder(tf.float64, [3])
    flags = tf.placeholder(tf.bool, [3])

    def body(i, total):
        with tf.control_dependencies([tf.Assert(flags[i], ["no"])]):
            return i + 1, total * 3.0 * x

    _, y = tf.while_loop(lambda i, _: i < 3, body, [0, x])
    check(backend, tf.reduce_sum(y), x, at(3), {flags: [True] * 3})


def test_the_number_of_rows_is_known_when_the_loop_has_run(backend):
    n = tf.placeholder(tf.int32, [])
    _, array = tf.while_loop(
        lambda i, _: i < n,
        lambda i, a: (i + 1, a.write(i, 1.0)),
        [0, tf.TensorArray(tf.float32, 0, dynamic_size=True)],
    )
    rows = array.stack()
    found = run(backend, [rows, tf.shape(rows), tf.size(rows) * 2, tf.zeros([array.size()])],
                {n: 3})  # fmt: skip
    np.testing.assert_array_equal(found[1], [3])
    assert found[2] == 6 and found[3].shape == (3,)


def test_a_body_that_is_defined_again_has_its_variables_once():
    """Its array is no stack, and has elements of a shape that only the body tells."""
    x = tf.placeholder(tf.float32, [2, 4])
    order = tf.placeholder(tf.int32, [3])

    def inner(i, array):
        rows = tf.layers.dense(x, 3)
        with tf.variable_scope("own"):
            scale = tf.get_variable("scale", [3])
        return i + 1, array.write(order[i], rows * scale)

    def outer(i, array):
        array = tf.while_loop(lambda i, _: i < 3, inner, [0, array])[1]
        return i + 1, array.write(0, tf.layers.dense(array.read(0), 3))

    tf.while_loop(lambda i, _: i < 2, outer, [0, tf.TensorArray(tf.float32, 3)])
    names = ["dense/kernel", "dense/bias", "own/scale", "dense_1/kernel", "dense_1/bias"]
    assert [v.op.name for v in tf.global_variables()] == names
    tf.layers.dense(x, 3)
    assert tf.global_variables()[-1].op.name == "dense_2/bias"
    with pytest.raises(ValueError, match="already exists"), tf.variable_scope("own"):
        tf.get_variable("scale", [3])
