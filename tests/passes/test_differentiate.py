"""Gradients: against differences, forward against reverse, and what is refused."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from effort import calls

import graphflow as tf
from graphflow.errors import NonDifferentiableError, TypeRuleError
from graphflow.ir.evaluate import run_program
from graphflow.ir.op import POINTWISE, Op, define, undefine
from graphflow.ir.verify import verify
from graphflow.ops.region import composite
from graphflow.passes.cut.functionalize import cut


def run(fetches, feeds=None, states=None):
    feeds = feeds or {}
    program = cut(tf.get_default_graph(), list(fetches), list(feeds))
    verify(program)
    values = {v.handle: np.asarray(a) for v, a in (states or {}).items()}
    return run_program(program, list(feeds.values()), values).fetches


def differences(function, x: np.ndarray) -> np.ndarray:
    """Central differences of a scalar function."""
    result = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[index] += 1e-6
        down[index] -= 1e-6
        result[index] = (function(up) - function(down)) / 2e-6
    return result


X = np.linspace(-1.0, 1.5, 6).reshape(2, 3)
W = np.linspace(0.3, -0.7, 6).reshape(3, 2)


def network():
    x = tf.placeholder(tf.float64, [None, 3], name="x")
    w = tf.Variable(W, name="w")
    hidden = tf.tanh(tf.matmul(x, w))
    loss = tf.reduce_sum(hidden * hidden)
    return x, w, hidden, loss


def loss_of(x, w):
    return (np.tanh(x @ w) ** 2).sum()


def test_against_differences():
    x, w, hidden, loss = network()
    dx, dw, dh = run(tf.gradients(loss, [x, w, hidden]), {x: X}, {w: W})
    np.testing.assert_allclose(dx, differences(lambda v: loss_of(v, W), X), atol=1e-8)
    np.testing.assert_allclose(dw, differences(lambda v: loss_of(X, v), W), atol=1e-8)
    np.testing.assert_allclose(dh, 2 * np.tanh(X @ W))


def test_hessian_and_its_products_agree():
    x, w, _, loss = network()
    direction = np.cos(np.arange(6.0)).reshape(3, 2)
    (hessian,) = tf.hessians(loss, w)
    (product,) = tf.hessian_vector_product(loss, w, direction)
    full, applied = run([hessian, product], {x: X}, {w: W})
    assert full.shape == (3, 2, 3, 2)
    np.testing.assert_allclose(full, full.transpose(2, 3, 0, 1), atol=1e-12)
    np.testing.assert_allclose(applied, np.tensordot(full, direction, 2), atol=1e-12)
    for row, column in np.ndindex(3, 2):

        def slope(v, row=row, column=column):
            return differences(lambda u: loss_of(X, u), v)[row, column]

        expected = (slope(W + 1e-4 * direction) - slope(W - 1e-4 * direction)) / 2e-4
        np.testing.assert_allclose(applied[row, column], expected, atol=1e-4)


def test_forward_agrees_with_reverse():
    x, w, hidden, loss = network()
    direction = np.sin(np.arange(6.0)).reshape(3, 2)
    forward = tf.forward_gradients([loss, hidden], [w], [tf.constant(direction)])
    (dw,) = tf.gradients(loss, w)
    total, rows, reverse = run([*forward, dw], {x: X}, {w: W})
    np.testing.assert_allclose(total, (reverse * direction).sum())
    expected = (1 - np.tanh(X @ W) ** 2) * (X @ direction)
    np.testing.assert_allclose(rows, expected)


def test_several_ys_add_up_and_grad_ys_scale():
    x = tf.placeholder(tf.float64, [3], name="x")
    a, b = x * 2.0, x * x
    plain, scaled = tf.gradients([a, b], x), tf.gradients([a, b], x, grad_ys=[None, [1.0, 2.0, 3]])
    values = np.array([1.0, 2.0, 3.0])
    one, two = run([plain[0], scaled[0]], {x: values})
    np.testing.assert_allclose(one, 2 + 2 * values)
    np.testing.assert_allclose(two, 2 + 2 * values * [1, 2, 3])


def test_grad_ys_of_another_shape():
    x = tf.placeholder(tf.float32, [3], name="x")
    with pytest.raises(TypeRuleError, match="shapes must be equal"):
        tf.gradients(x * 2.0, x, grad_ys=[np.ones(2, np.float32)])
    with pytest.raises(ValueError, match="2 grad_ys for 1 ys"):
        tf.gradients(x * 2.0, x, grad_ys=[None, None])


def test_a_tensor_by_itself_and_used_twice():
    x = tf.placeholder(tf.float64, [2], name="x")
    one, many = tf.gradients(x, x)[0], tf.gradients(x * x + x, [x, x])
    values = np.array([3.0, 4.0])
    results = run([one, *many], {x: values})
    np.testing.assert_array_equal(results[0], [1, 1])
    np.testing.assert_array_equal(results[1], 2 * values + 1)
    np.testing.assert_array_equal(results[2], 2 * values + 1)


def test_none_only_where_there_is_no_path():
    x = tf.placeholder(tf.float32, [2], name="x")
    y = tf.placeholder(tf.float32, [2], name="y")
    n = tf.placeholder(tf.int32, [2], name="n")
    loss = tf.reduce_sum(x * tf.cast(n, tf.float32)) + tf.reduce_sum(tf.stop_gradient(y))
    by_x, by_y, by_n = tf.gradients(loss, [x, y, n])
    assert by_x is not None
    assert by_y is None
    assert by_n is None
    zeros = tf.gradients(loss, [y], unconnected_gradients="zero")
    (value,) = run(zeros, {y: np.ones(2, np.float32)})
    np.testing.assert_array_equal(value, [0, 0])
    # A gradient that is zero everywhere is a gradient.
    (flat,) = tf.gradients(tf.sign(x), x)
    assert flat is not None


def test_stop_gradients_are_constants():
    x = tf.placeholder(tf.float64, [], name="x")
    a = 2.0 * x
    b = a * x
    partial, full = tf.gradients(b, [x], stop_gradients=[a]), tf.gradients(b, [x])
    one, two = run([*partial, *full], {x: np.float64(3)})
    assert one == 6
    assert two == 12
    by_a, by_x = tf.gradients(b, [a, x], stop_gradients=[a])
    assert run([by_a, by_x], {x: np.float64(3)}) == [3, 6]


def test_every_read_of_a_variable_counts():
    w = tf.Variable(np.float64(3.0), name="w")
    loss = w * w
    with tf.control_dependencies([tf.no_op()]):
        loss = loss + w.read_value()
    (dw,) = run(tf.gradients(loss, w), {}, {w: 3.0})
    assert dw == 7
    read = w.value()
    (one,) = run(tf.gradients(read * w, read), {}, {w: 3.0})
    assert one == 3


def test_gathered_rows_stay_rows():
    w = tf.Variable(W, name="w")
    rows = tf.gather(w, [0, 2, 0])
    (gradient,) = tf.gradients(tf.reduce_sum(rows * rows), w)
    assert isinstance(gradient, tf.IndexedSlices)
    values, indices, dense = run(
        [gradient.values, gradient.indices, tf.convert_to_tensor(gradient)], {}, {w: W}
    )
    np.testing.assert_array_equal(indices, [0, 2, 0])
    np.testing.assert_allclose(values, 2 * W[[0, 2, 0]])
    np.testing.assert_allclose(dense, 2 * W * np.array([[2.0], [0.0], [1.0]]))


def test_rows_are_put_together_and_become_dense_beside_dense_ones():
    w = tf.Variable(W, name="w")
    loss = tf.reduce_sum(tf.gather(w, [0, 1])) + tf.reduce_sum(tf.gather(tf.identity(w), [1]))
    (rows,) = tf.gradients(loss, w)
    assert isinstance(rows, tf.IndexedSlices)
    indices, dense = run([rows.indices, tf.convert_to_tensor(rows)], {}, {w: W})
    np.testing.assert_array_equal(np.sort(indices), [0, 1, 1])
    np.testing.assert_array_equal(dense, [[1, 1], [2, 2], [0, 0]])
    (mixed,) = tf.gradients(loss + tf.reduce_sum(w * w), w)
    assert isinstance(mixed, tf.Tensor)
    np.testing.assert_allclose(
        run([mixed], {}, {w: W})[0], 2 * W + np.array([[1, 1], [2, 2], [0, 0]])
    )


def test_gradients_of_slices_lie_side_by_side():
    """Also of those that reach only over a part of another dimension; overlapping ones add up."""
    x = tf.placeholder(tf.float64, [6, 5])
    w = tf.constant(np.arange(30.0).reshape(6, 5))

    def gradient(*boxes):
        parts = [tf.reduce_sum(tf.sin(x[box]) * w[box]) for box in boxes]
        (found,) = tf.gradients(tf.add_n(parts), [x])
        value = np.random.default_rng(0).standard_normal((6, 5))
        want = np.zeros((6, 5))
        for box in boxes:
            want[box] += np.cos(value[box]) * np.arange(30.0).reshape(6, 5)[box]
        with tf.Session() as session:
            np.testing.assert_allclose(session.run(found, {x: value}), want, rtol=1e-12, atol=1e-12)
        return found.node.op.name

    rows, columns = np.s_[:, :2], np.s_[:, 2:]
    assert gradient(rows, columns) == "concat"
    assert gradient(columns, rows) == "concat"
    assert gradient(rows, np.s_[2:, 2:]) == "concat"
    assert gradient(np.s_[:4, 3:], rows, np.s_[1:5, 2:3]) == "concat"
    assert gradient(rows, np.s_[:, 1:]) == "add"
    assert gradient(rows, np.s_[:, 3:]) == "add"
    assert gradient(rows, np.s_[:4, 2:4]) == "add"
    assert gradient(np.s_[:3, :2], np.s_[3:, 2:]) == "concat"


def test_composites_without_a_derivative_are_opened():
    x = tf.placeholder(tf.float64, [3], name="x")
    y = composite("square", lambda a, b: a * b, x, x)
    z = composite("outer", lambda a: composite("inner", tf.exp, a) * a, y)
    (gradient,) = tf.gradients(z, x)
    values = np.array([0.1, 0.2, 0.3])
    inner = values * values
    (result,) = run([gradient], {x: values})
    np.testing.assert_allclose(result, np.exp(inner) * (1 + inner) * 2 * values)


def test_composites_with_their_own_derivative():
    x = tf.placeholder(tf.float64, [3], name="x")
    y = composite("odd", tf.exp, x, gradient=lambda node, gradients: [gradients[0] * 100.0])
    (result,) = run(tf.gradients(y, x), {x: np.zeros(3)})
    np.testing.assert_array_equal(result, [100, 100, 100])


def test_custom_gradient():
    @tf.custom_gradient
    def clipped(x):
        return tf.identity(x), lambda dy: tf.clip_by_value(dy, -1.0, 1.0)

    x = tf.placeholder(tf.float64, [2], name="x")
    (result,) = run(tf.gradients(clipped(x) * 5.0, x), {x: np.zeros(2)})
    np.testing.assert_array_equal(result, [1, 1])


def test_unknown_ranks():
    x = tf.placeholder(tf.float64, name="x")
    w = tf.Variable(np.float64([1.0, 2.0]), name="w")
    dx, dw = tf.gradients(tf.reduce_sum(tf.exp(x) * w), [x, w])
    program = cut(tf.get_default_graph(), [dx, dw], [x], [tf_type((3, 2))])
    values = np.arange(6.0).reshape(3, 2) / 6
    by_x, by_w = run_program(program, [values], {w.handle: np.float64([1, 2])}).fetches
    np.testing.assert_allclose(by_x, np.exp(values) * [1, 2])
    np.testing.assert_allclose(by_w, np.exp(values).sum(0))


def tf_type(shape):
    from graphflow.ir.types import TensorType

    return TensorType(tf.float64, shape)


def test_without_a_derivative():
    opaque = define(
        Op(
            name="opaque_for_test",
            kind=POINTWISE,
            infer=lambda types, attrs, sizes: types,
            reference=lambda arrays, attrs, node: arrays,
        )
    )
    try:
        x = tf.placeholder(tf.float32, [2], name="x")
        line = inspect.currentframe().f_lineno + 1
        y = opaque(x, name="opaque")
        with pytest.raises(NonDifferentiableError) as caught:
            tf.gradients(y * 2.0, x)
        text = str(caught.value)
        assert "opaque (opaque_for_test) has no derivative" in text
        assert f"{__file__}:{line}" in text
        assert f"{__file__}:{line + 2}" in text
        assert len(text.splitlines()) < 12
        assert tf.gradients(y * 2.0, y)[0] is not None
        assert tf.gradients(tf.cast(tf.cast(x, tf.int32), tf.float32), x) == [None]
    finally:
        undefine(opaque)


def test_wrong_arguments():
    x = tf.placeholder(tf.float32, [2], name="x")
    with pytest.raises(TypeError, match="neither a tensor nor a variable"):
        tf.gradients(x, "x")
    with pytest.raises(TypeRuleError, match="bool"):
        tf.gradients(x > 0.0, x)
    with pytest.raises(ValueError, match="nowhere"):
        tf.gradients(x, x, unconnected_gradients="nowhere")


def test_names_are_scoped():
    x = tf.placeholder(tf.float32, [2], name="x")
    (gradient,) = tf.gradients(tf.tanh(x), x)
    assert gradient.name.startswith("gradients/tanh_grad/")
    (again,) = tf.gradients(tf.tanh(x), x)
    assert again.name.startswith("gradients_1/")


def test_near_linear_without_recursion():
    def work(count: int) -> int:
        with tf.Graph().as_default():
            x = tf.placeholder(tf.float32, [None], name="x")
            y = x
            for _ in range(count):
                y = tf.sin(y)
            return calls(lambda: tf.gradients(y, x))

    work(100)
    assert work(4000) < 8 * work(500) * 1.2
