"""Bodies of operations in the reference, and gradients that users state."""

from __future__ import annotations

import numpy as np
import pytest

import graphflow as tf
from graphflow.dtypes import bool_, float32, int32
from graphflow.errors import GraphError, TypeRuleError
from graphflow.ir.build import build
from graphflow.ir.evaluate import run_program
from graphflow.ir.types import TensorType
from graphflow.ops import control_flow, region
from graphflow.passes.cut.functionalize import cut

SCALAR = TensorType(float32, ())
X = np.array([1.0, 2.0, 3.0], np.float32)


def run(fetches, feeds):
    program = cut(tf.get_default_graph(), fetches, list(feeds))
    return run_program(program, list(feeds.values())).fetches


def test_a_composite_is_one_operation_with_a_name():
    x = tf.placeholder(tf.float32, [3])
    y = region.composite("cube", lambda a: a * a * a, x)
    assert y.op.type == "call" and y.op.name == "cube"
    assert np.array_equal(run([y], {x: X})[0], X**3)


def test_a_composite_is_differentiated_through_its_body_or_by_its_rule():
    x = tf.placeholder(tf.float32, [3])
    plain = region.composite("square", lambda a: a * a, x)
    stated = region.composite(
        "square", lambda a: a * a, x, gradient=lambda node, gradients: [gradients[0] * 100]
    )
    g, h = tf.gradients(plain, x)[0], tf.gradients(stated, x)[0]
    results = run([g, h], {x: X})
    assert np.array_equal(results[0], 2 * X) and np.array_equal(results[1], [100] * 3)


def test_a_body_is_closed():
    x, outside = tf.placeholder(tf.float32, [3]), tf.placeholder(tf.float32, [3])
    with pytest.raises(GraphError, match="from outside; pass it in"):
        region.composite("open", lambda a: a + outside, x)
    body = region.make_region([SCALAR], lambda a: [a])
    with pytest.raises(TypeRuleError, match="takes 1 tensors, it gets 2"):
        build(region.call, (x, x), {"label": "f", "gradient": None}, None, (body,))
    with pytest.raises(TypeRuleError, match="must be equal"):
        build(region.call, (x,), {"label": "f", "gradient": None}, None, (body,))


def test_cond():
    predicate = tf.placeholder(tf.bool, [])
    x = tf.placeholder(tf.float32, [])
    branches = (
        region.make_region([SCALAR], lambda a: [a + 1]),
        region.make_region([SCALAR], lambda a: [a * 10]),
    )
    y = build(control_flow.cond_op, (predicate, x), {}, None, branches)
    feeds = {predicate: np.bool_(True), x: np.float32(3)}
    assert run([y], feeds)[0] == 4
    feeds[predicate] = np.bool_(False)
    assert run([y], feeds)[0] == 30
    other = region.make_region([SCALAR], lambda a: [a > 0])
    with pytest.raises(TypeRuleError, match="result 0 of the branches"):
        build(control_flow.cond_op, (predicate, x), {}, None, (branches[0], other))
    with pytest.raises(TypeRuleError, match="predicate must be a bool scalar"):
        build(control_flow.cond_op, (x, x), {}, None, branches)


def test_while():
    count, step = tf.placeholder(tf.int32, []), tf.placeholder(tf.int32, [])
    types = [TensorType(int32, ())] * 2
    condition = region.make_region(types, lambda i, s: [i < 10])
    body = region.make_region(types, lambda i, s: [i + s])
    attrs = {"variables": 1, "trips": None}
    y = build(control_flow.while_op, (count, step), attrs, None, (condition, body))
    assert run([y], {count: np.int32(0), step: np.int32(4)})[0] == 12
    changed = region.make_region(types, lambda i, s: [i > s])
    with pytest.raises(TypeRuleError, match="loop variable 0"):
        build(control_flow.while_op, (count, step), attrs, None, (condition, changed))
    with pytest.raises(TypeRuleError, match="one bool scalar"):
        build(control_flow.while_op, (count, step), attrs, None, (body, body))
    assert condition.results[0].dtype is bool_


def test_scan():
    start = tf.placeholder(tf.float32, [])
    sequence = tf.placeholder(tf.float32, [None])
    body = region.make_region([SCALAR, SCALAR], lambda carry, x: [carry + x, carry * x])
    attrs = {
        "carries": 1,
        "sequences": 1,
        "length": sequence.dims[0],
        "reverse": False,
        "bounded": False,
    }
    total, products = build(control_flow.scan_op, (start, sequence), attrs, None, (body,))
    assert products.dims == sequence.dims
    results = run([total, products], {start: np.float32(1), sequence: X})
    assert results[0] == 7 and results[1].tolist() == [1, 4, 12]
    attrs["reverse"] = True
    total, products = build(control_flow.scan_op, (start, sequence), attrs, None, (body,))
    results = run([total, products], {start: np.float32(1), sequence: X})
    assert results[0] == 7 and results[1].tolist() == [6, 8, 3]


# -- custom_gradient -----------------------------------------------------------------------------


@tf.custom_gradient
def log1pexp(x):
    e = tf.exp(x)

    def grad(dy):
        return dy * (1 - 1 / (1 + e))

    return tf.log(1 + e), grad


def test_custom_gradient_is_stable_where_the_derivative_is_not():
    x = tf.placeholder(tf.float32, [])
    y = log1pexp(x)
    (g,) = tf.gradients(y, x)
    (h,) = tf.gradients(g, x)
    value, slope, curvature = run([y, g, h], {x: np.float32(0)})
    np.testing.assert_allclose([value, slope, curvature], [np.log(2), 0.5, 0.25], rtol=1e-6)
    with np.errstate(over="ignore"):
        assert run([g], {x: np.float32(100)})[0] == 1


def test_custom_gradient_of_several():
    @tf.custom_gradient
    def swap(a, b):
        return [b, a], lambda da, db: [db * 2, da * 3]

    x, y = tf.placeholder(tf.float32, [3]), tf.placeholder(tf.float32, [3])
    second, first = swap(x, y)
    to_x, to_y = tf.gradients(tf.reduce_sum(first * 5 + second), [x, y])
    results = run([to_x, to_y], {x: X, y: X})
    assert results[0].tolist() == [10] * 3 and results[1].tolist() == [3] * 3
    (only,) = tf.gradients(tf.reduce_sum(first), y)
    assert np.array_equal(run([only], {x: X, y: X})[0], np.zeros(3))


def test_custom_gradient_with_variables():
    w = tf.Variable([2.0, 3.0], name="w")

    @tf.custom_gradient
    def scaled(x):
        def grad(dy, variables=None):
            assert variables == [w]
            return dy * 10, [dy * 100]

        return x * w, grad

    x = tf.placeholder(tf.float32, [2])
    to_x, to_w = tf.gradients(scaled(x), [x, w])
    feeds = {x: np.ones(2, np.float32)}
    program = cut(tf.get_default_graph(), [to_x, to_w], list(feeds))
    states = {w.handle: np.array([2, 3], np.float32)}
    results = run_program(program, list(feeds.values()), states).fetches
    assert results[0].tolist() == [10, 10] and results[1].tolist() == [100, 100]

    @tf.custom_gradient
    def forgetful(x):
        return x * w, lambda dy: dy

    with pytest.raises(TypeRuleError, match="keyword argument `variables`"):
        forgetful(x)


def test_custom_gradient_mistakes():
    x = tf.placeholder(tf.float32, [3])
    with pytest.raises(TypeRuleError, match="its result and a function"):
        tf.custom_gradient(lambda a: a)(x)
    y = tf.custom_gradient(lambda a: (a, lambda dy: [dy, dy]))(x)
    with pytest.raises(GraphError, match="gave 2 gradients for 1 arguments"):
        tf.gradients(y, x)
